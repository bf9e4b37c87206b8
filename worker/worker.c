/* The worker process (worker.h). Start order: clients of the outside, Redis, Kafka producer, intake, Kafka consumer,
 * probes. Jobs may arrive before Redis is ready: they wait at their lease. SIGTERM drains: no new jobs, what runs
 * reaches a journal boundary, offsets are committed, leases given back, the group is left; a second SIGTERM, or the
 * deadline, leaves at once, and the journal tells others where to go on. */
#include "worker/worker.h"

#include "lib/aws_call.h"
#include "lib/aws_creds.h"
#include "lib/cgroup.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/http_server.h"
#include "lib/log.h"
#include "lib/profile.h"
#include "lib/synergist.h"
#include "schema/budget_store.h"
#include "worker/breakers_share.h"
#include "worker/budget_metrics.h"
#include "worker/calls.h"
#include "worker/capacity.h"
#include "worker/hosts.h"
#include "worker/intake.h"
#include "worker/members.h"
#include "worker/report.h"
#include "schema/options_use.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#define HEARTBEAT_MAX_MS 10000
#define PARK_HEAD_MS     120000
#define SEEN_AGAIN_MS    500
#define COMMIT_WAIT_MS   3000
#define LEAVE_WAIT_MS    1500 /* each of the two consumers, */
#define LEAVE_PATIENT_MS 5000 /* and where the drain left time: the broker may be busy */
#define LINGER_MS        5    /* each transition waits so long: a tenth less CPU for 2 % more time (tests/bench) */

struct worker {
    const struct options *o;
    struct loop *loop;
    struct http *http;
    struct aws_creds *creds;
    struct aws_call *aws;
    struct profiles *profiles;
    struct synergist *synergist;
    struct calls *calls;
    struct hosts *hosts;
    struct members *members;
    struct escrow *escrow;
    struct redis *redis;
    struct store store;
    struct budget_store budgets;
    struct leases leases;
    struct kafka_out *out;
    struct kafka_in *in, *others; /* two members of the group, see intake_bind() */
    struct breakers *breakers;
    struct breakers_share *share;
    struct report *report;
    struct intake *intake;
    struct metrics *metrics;
    struct http_server *server;
    struct loop_timer *drain_timer, *others_timer, *seen_timer;
    struct rotation_env env;
    bool redis_ready, draining, drained, failed;
    int64_t drain_end_mono_ms;
};

static char *reason(const char *what, const char *why)
{
    char *text;
    return asprintf(&text, "%s: %s", what, why ? why : "out of memory") < 0 ? NULL : text;
}

static void fail(struct worker *w, const char *event, const char *message, const char *detail)
{
    LOG(LOG_LEVEL_ERROR, event, message, LOG_S("error.message", detail));
    w->failed = true;
    loop_stop(w->loop);
}

/* ---- Redis ----------------------------------------------------------------------------------------------------------
 */

static void on_server_seen(void *self, uint64_t id, const void *result)
{
    struct worker *w = self;
    const struct store_reply *r = result;
    (void)id;
    if (r->err) { /* when the connection went the next one asks, too */
        loop_timer_start(w->seen_timer, SEEN_AGAIN_MS);
        return;
    }
    w->redis_ready = true;
    if (r->version > 0)
        LOG(LOG_LEVEL_INFO, "lease-hold-off", "Redis is new to us or was restarted: no lease until old ones have ended",
            LOG_I("keyroll.wait_ms", r->version));
}

/* Which server this is: until Redis took that no lease is asked for (store.h). */
static void ask_server(void *arg)
{
    struct worker *w = arg;
    const struct redis_server *server = redis_ready(w->redis) ? redis_server(w->redis) : NULL;
    if (server && store_server_seen(&w->store, server, (struct ticket){on_server_seen, w, 0}) < 0)
        loop_timer_start(w->seen_timer, SEEN_AGAIN_MS);
}

static void check_server(struct worker *w, const struct redis_server *s)
{
    if (s->is_cluster) {
        fail(w, "redis-cluster",
             "redis_url points at a Redis Cluster, which is not supported: use a single server, with replicas if you "
             "like",
             s->version);
        return;
    }
    if (s->aof_enabled == 0)
        LOG0(LOG_LEVEL_WARN, "redis-no-aof",
             "Redis does not persist (appendonly no): a restart loses journals and costs rebuilding from Kafka; set "
             "appendonly yes");
    if (s->maxmemory_policy[0] && strcmp(s->maxmemory_policy, "noeviction"))
        LOG(LOG_LEVEL_WARN, "redis-evicts", "Redis may evict leases and journals: set maxmemory-policy noeviction",
            LOG_S("redis.maxmemory_policy", s->maxmemory_policy));
}

static void on_members(void *arg, size_t n)
{
    struct worker *w = arg;
    hosts_share(w->hosts, n);
    LOG(LOG_LEVEL_INFO, "workers", "so many workers share max_calls_per_host", LOG_I("keyroll.workers", n),
        LOG_I("keyroll.calls_per_host", hosts_limit(w->hosts)));
}

static void on_redis_state(void *arg, enum redis_state s, const struct redis_server *server, int err)
{
    struct worker *w = arg;
    if (err == ERR_REDIS_AUTH) {
        fail(w, "redis-login", "Redis refused the login: check redis_password_file and the user in redis_url",
             err_text(err));
        return;
    }
    if (s != REDIS_READY) {
        if (w->redis_ready || err)
            LOG(LOG_LEVEL_WARN, "redis-down", "Redis is not reachable: jobs wait; check redis_url and the server",
                LOG_S("error.code", err_name(err)));
        w->redis_ready = false;
        return;
    }
    check_server(w, server);
    if (w->failed) return;
    LOG(LOG_LEVEL_INFO, "redis-ready", "connected to Redis", LOG_S("redis.version", server->version));
    ask_server(w);
    members_beat(w->members);
}

/* ---- Kafka ----------------------------------------------------------------------------------------------------------
 */

static void on_kafka_fatal(void *arg, const char *why)
{
    fail(arg, "kafka-fatal", "the Kafka client cannot go on: the process ends and must be started again", why);
}

static void on_kafka_log(void *arg, int level, const char *fac, const char *text)
{
    (void)arg;
    LOG(level <= 4 ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "kafka", text, LOG_S("kafka.facility", fac));
}

/* ---- probes ---------------------------------------------------------------------------------------------------------
 */

/* It takes jobs. The consumer of urgent and retried ones joins behind it, in a rebalance of its own: that takes until
 * the next heartbeat, in which a group's other workers have those. */
static bool has_joined(const struct worker *w)
{
    return w->in && kafka_in_steady(w->in);
}

static bool is_ready(const struct worker *w)
{
    return w->redis_ready && !w->draining && !w->failed && has_joined(w);
}

static int on_request(void *arg, const struct http_server_request *req, struct buf *body, const char **ret_content_type)
{
    struct worker *w = arg;
    *ret_content_type = "text/plain; charset=utf-8";
    if (!strcmp(req->path, "/healthz")) {
        bool alive = !w->failed && clock_mono_ms(&clock_system) - loop_heartbeat_mono_ms(w->loop) < HEARTBEAT_MAX_MS;
        buf_adds(body, alive ? "ok\n" : "the loop stands still\n");
        return alive ? 200 : 503;
    }
    if (!strcmp(req->path, "/readyz")) {
        buf_addf(body, "redis %s\nkafka %s\n%s", w->redis_ready ? "ok" : "down", has_joined(w) ? "ok" : "joining",
                 w->draining ? "draining\n" : "");
        return is_ready(w) ? 200 : 503;
    }
    if (!strcmp(req->path, "/metrics")) {
        *ret_content_type = "text/plain; version=0.0.4; charset=utf-8";
        return metrics_write(w->metrics, body) < 0 ? 500 : 200;
    }
    buf_adds(body, "try /healthz, /readyz or /metrics\n");
    return 404;
}

static void on_collect(void *arg)
{
    struct worker *w = arg;
    struct budget_metrics budgets;
    budget_metrics_begin(&budgets, w->metrics);
    aws_call_budgets(w->aws, budget_metrics_add, &budgets);
    budget_metrics_end(&budgets, w->intake ? intake_in_flight(w->intake) : 0);
    breakers_share_collect(w->share, w->metrics, w->redis_ready);
    struct loop_stats s;
    loop_stats(w->loop, &s);
    metric_set(metric_new(w->metrics, METRIC_GAUGE, "keyroll_loop_turn_p99_seconds",
                          "p99 of a loop turn in the last minute", NULL, NULL, NULL, 0),
               NULL, NULL, s.p99_us / 1e6);
    metric_set(metric_new(w->metrics, METRIC_GAUGE, "keyroll_leases_held", "Leases held", NULL, NULL, NULL, 0), NULL,
               NULL, (double)w->leases.n);
    metric_set(
        metric_new(w->metrics, METRIC_GAUGE, "keyroll_secrets_in_memory", "Secrets in memory", NULL, NULL, NULL, 0),
        NULL, NULL, (double)secret_count());
    metric_set(
        metric_new(w->metrics, METRIC_GAUGE, "keyroll_redis_connected", "1 while Redis answers", NULL, NULL, NULL, 0),
        NULL, NULL, w->redis_ready);
    metric_set(metric_new(w->metrics, METRIC_GAUGE, "keyroll_host_calls_limit",
                          "Calls that this worker may have under way at one host: its part of max_calls_per_host", NULL,
                          NULL, NULL, 0),
               NULL, NULL, (double)hosts_limit(w->hosts));
    metric_set(metric_new(w->metrics, METRIC_GAUGE, "keyroll_ready", "1 when ready", NULL, NULL, NULL, 0), NULL, NULL,
               is_ready(w));
    metric_set(metric_new(w->metrics, METRIC_GAUGE, "keyroll_build_info", "Versions", "version", "librdkafka", NULL, 0),
               KEYROLL_VERSION, kafka_version(), 1);
}

/* ---- drain ----------------------------------------------------------------------------------------------------------
 */

static void on_idle(void *arg)
{
    struct worker *w = arg;
    w->drained = true;
    loop_stop(w->loop);
}

static void on_drain_deadline(void *arg)
{
    struct worker *w = arg;
    LOG(LOG_LEVEL_WARN, "drain-deadline", "leaving with jobs under way: their journals tell others where to go on",
        LOG_I("keyroll.jobs", intake_in_flight(w->intake)));
    loop_stop(w->loop);
}

static void on_sigterm(void *arg)
{
    struct worker *w = arg;
    if (w->draining) { /* the second one */
        on_drain_deadline(w);
        return;
    }
    w->draining = true;
    w->drain_end_mono_ms = clock_mono_ms(&clock_system) + w->o->drain_timeout_ms;
    LOG(LOG_LEVEL_INFO, "drain", "stopping: no new jobs", LOG_I("keyroll.jobs", intake_in_flight(w->intake)));
    loop_timer_start(w->drain_timer, w->o->drain_timeout_ms);
    intake_drain(w->intake);
}

/* ---- building -------------------------------------------------------------------------------------------------------
 */

static void fill_policy(struct rotation_policy *p, const struct options *o)
{
    *p = (struct rotation_policy){
        .observe = o->mode == OPTIONS_OBSERVE,
        .overlap_ms = o->overlap_ms,
        .quarantine_ms = o->quarantine_ms,
        .skew_limit_ms = o->skew_limit_ms,
        .create_doubt_ms = o->create_doubt_ms,
        .newcomer_wait_ms = o->newcomer_wait_ms,
        .settle_successes = (unsigned)o->settle_successes,
        .settle_interval_ms = o->settle_interval_ms,
        .settle_timeout_ms = o->settle_timeout_ms,
        .retire_watch_ms = o->retire_watch_ms,
        .assisted_poll_ms = o->assisted_poll_ms,
        .mutate_timeout_ms = o->mutate_timeout_ms,
        .read_timeout_ms = o->read_timeout_ms,
        .max_per_hour = o->max_rotations_per_hour,
        .retry_delays_ms = o->retry_delay_ms,
        .n_retry_delays = o->retry_delays.n,
        .retry_cap_ms = o->retry_cap_ms,
        .max_attempts = (unsigned)o->max_attempts,
    };
}

static int make_aws(struct worker *w, char **reterr)
{
    const struct options *o = w->o;
    const struct http_options h = {.ca_file = o->ca_file};
    int rc = http_new(w->loop, &h, &w->http);
    if (rc < 0) {
        *reterr = reason("http client (ca_file)", err_text(rc));
        return rc;
    }
    const struct aws_creds_options c = options_aws_creds(o, w->http);
    rc = aws_creds_new(w->loop, &c, &w->creds);
    w->budgets = (struct budget_store){&w->store, o->iam_calls_per_s, BUDGET_MOST_PER_S, (double)o->iam_share / 100};
    struct aws_call_options a = options_aws_call(o, w->http, w->creds);
    a.budget = budget_store_port(&w->budgets);
    if (!rc) rc = aws_call_new(w->loop, &a, &w->aws);
    if (rc < 0) *reterr = reason("AWS client", err_text(rc));
    return rc;
}

static void on_credentials_warning(void *arg, const char *text)
{
    (void)arg;
    LOG0(LOG_LEVEL_WARN, "credentials", text);
}

static int make_instance(struct worker *w, char **reterr)
{
    int rc = profiles_load(w->o->profiles_dir, &w->profiles, reterr);
    if (rc < 0) return rc;
    const struct synergist_options s = {.clock = &clock_system,
                                        .rng = &rng_system,
                                        .http = w->http,
                                        .profiles = w->profiles,
                                        .credentials = {on_credentials_warning, NULL}};
    rc = synergist_new(w->loop, &s, &w->synergist);
    if (rc < 0) *reterr = reason("instance client", err_text(rc));
    return rc;
}

static int make_escrow(struct worker *w, char **reterr)
{
    return options_escrow(w->o, &w->escrow, reterr);
}

/* What the doctor is told of this worker; NULL without memory. Caller frees. */
static char *about(const struct worker *w)
{
    AUTO_JSON json_t *o =
        json_pack("{s:s, s:s, s:[]}", "worker", w->o->worker_id, "version", KEYROLL_VERSION, "escrow");
    for (size_t i = 0; o && escrow_key_id(w->escrow, i); i++) {
        if (json_array_append_new(json_object_get(o, "escrow"), json_string(escrow_key_id(w->escrow, i))) < 0)
            return NULL;
    }
    return o ? json_dumps(o, JSON_COMPACT) : NULL;
}

static int make_members(struct worker *w)
{
    AUTO_FREE char *text = about(w);
    return text ? members_new(w->loop, &w->store, text, on_members, w, &w->members) : ERR_NOMEM;
}

static int make_redis(struct worker *w, char **reterr)
{
    AUTO_SECRET struct secret *password = NULL;
    int rc = options_redis_password(w->o, &password, reterr);
    if (rc < 0) return rc;
    const struct redis_options r = {
        .url = w->o->redis_url, .password = password, .ca_file = w->o->ca_file, .on_state = on_redis_state, .arg = w};
    rc = redis_new(w->loop, &r, &w->redis);
    if (rc < 0) {
        *reterr = reason("redis_url", err_text(rc));
        return rc;
    }
    store_init(&w->store, redis_port(w->redis), &rng_system, w->o->redis_prefix, w->o->lease_ttl_ms);
    rc = make_members(w);
    if (rc < 0) {
        *reterr = reason("members", err_text(rc));
        return rc;
    }
    leases_init(&w->leases, &w->store, &clock_system, w->o->lease_ttl_ms, w->o->lease_renew_ms, w->o->lease_max_age_ms);
    return 0;
}

static int make_producer(struct worker *w, char **reterr)
{
    const struct options *o = w->o;
    const struct kafka_out_options k = {.brokers = o->brokers,
                                        .linger_ms = LINGER_MS,
                                        .conf = o->kafka,
                                        .n_conf = o->n_kafka,
                                        .on_fatal = on_kafka_fatal,
                                        .on_log = on_kafka_log,
                                        .arg = w};
    int rc = kafka_out_new(w->loop, &k, &w->out, reterr);
    if (rc < 0) return rc;
    const struct breakers_share_options s = {w->loop, &w->store, kafka_out_port(w->out), o->topic_events, o->worker_id};
    rc = breakers_share_new(&s, &w->share);
    const struct breakers_options b = {.clock = &clock_system,
                                       .rng = &rng_system,
                                       .aws = aws_call_port(w->aws),
                                       .instance = synergist_port(w->synergist),
                                       .kafka = kafka_out_port(w->out),
                                       .on_change = breakers_share_changed,
                                       .arg = w->share};
    if (!rc) rc = breakers_new(&b, &w->breakers);
    if (rc < 0) {
        *reterr = reason("breakers", err_text(rc));
        return rc;
    }
    const struct report_topics topics = {o->topic_events, o->topic_keys};
    rc = report_new(breakers_kafka(w->breakers), &clock_system, &topics, o->worker_id, &w->report);
    if (rc < 0) *reterr = reason("reports", err_text(rc));
    return rc;
}

/* max_in_flight, or what fits into the memory that the container has. */
static size_t in_flight_limit(const struct options *o)
{
    uint64_t memory = cgroup_memory_limit_bytes("/proc/self/cgroup", "/sys/fs/cgroup");
    size_t fits = capacity_in_flight((size_t)o->max_in_flight, memory);
    if (fits < (size_t)o->max_in_flight)
        LOG(LOG_LEVEL_WARN, "in-flight-limited",
            "fewer jobs at once than max_in_flight: the memory limit allows no more", LOG_I("keyroll.jobs", fits),
            LOG_I("keyroll.memory_bytes", memory));
    return fits;
}

static int make_intake(struct worker *w, char **reterr)
{
    size_t in_flight = in_flight_limit(w->o);
    const struct options *o = w->o;
    int rc = hosts_new(breakers_instance(w->breakers), (unsigned)o->max_calls_per_host, &w->hosts);
    if (!rc) rc = calls_new(w->metrics, &clock_system, breakers_aws(w->breakers), hosts_instance(w->hosts), &w->calls);
    if (rc < 0) {
        *reterr = reason("intake", err_text(rc));
        return rc;
    }
    w->env = (struct rotation_env){.clock = &clock_system,
                                   .rng = &rng_system,
                                   .aws = calls_aws(w->calls),
                                   .turns = aws_call_turns(w->aws),
                                   .instance = calls_instance(w->calls),
                                   .breakers = breakers_port(w->breakers),
                                   .store = &w->store,
                                   .leases = &w->leases,
                                   .escrow = w->escrow,
                                   .report = w->report};
    fill_policy(&w->env.policy, o);
    const struct intake_options i = {.env = &w->env,
                                     .kafka = breakers_kafka(w->breakers),
                                     .breakers = w->breakers,
                                     .worker_id = o->worker_id,
                                     .topic_jobs = o->topic_jobs,
                                     .topic_urgent = o->topic_urgent,
                                     .topic_dead = o->topic_dead,
                                     .topic_retry = (const char *const *)o->topic_retry,
                                     .retry_delay_ms = o->retry_delay_ms,
                                     .n_retry = o->retry_delays.n,
                                     .max_in_flight = in_flight,
                                     .urgent_share = in_flight * (size_t)o->urgent_share / 100,
                                     .park_after_ms = PARK_HEAD_MS,
                                     .metrics = w->metrics,
                                     .on_idle = on_idle,
                                     .arg = w};
    rc = intake_new(w->loop, &i, &w->intake);
    if (rc < 0)
        *reterr = reason("intake", err_text(rc));
    else
        breakers_share_bind(w->share, w->breakers, w->intake);
    return rc;
}

static void on_message(void *arg, const struct kafka_message_in *m)
{
    intake_on_message(((struct worker *)arg)->intake, m);
}

static void on_assigned(void *arg, const struct kafka_partition *p, size_t n)
{
    intake_on_assigned(((struct worker *)arg)->intake, p, n);
}

static void on_jobs_assigned(void *arg, const struct kafka_partition *p, size_t n)
{
    struct worker *w = arg;
    intake_on_assigned(w->intake, p, n);
    if (!w->others) loop_timer_start(w->others_timer, 0); /* not in here: this one is still being assigned */
}

static void on_revoked(void *arg, const struct kafka_partition *p, size_t n, bool lost)
{
    intake_on_revoked(((struct worker *)arg)->intake, p, n, lost);
}

static void on_committed(void *arg, const struct kafka_partition *p, size_t n, int err)
{
    intake_on_committed(((struct worker *)arg)->intake, p, n, err);
}

static void on_others_committed(void *arg, const struct kafka_partition *p, size_t n, int err)
{
    intake_on_others_committed(((struct worker *)arg)->intake, p, n, err);
}

/* One member of the group. */
static int make_consumer(struct worker *w, const char *const *topics, size_t n, struct kafka_in **ret_in, char **reterr)
{
    const struct options *o = w->o;
    const struct kafka_in_options k = {.brokers = o->brokers,
                                       .group = o->group,
                                       .client_id = o->worker_id,
                                       .topics = topics,
                                       .n_topics = n,
                                       .conf = o->kafka,
                                       .n_conf = o->n_kafka,
                                       .session_timeout_ms = o->session_timeout_ms,
                                       .heartbeat_ms = o->heartbeat_ms,
                                       .on_message = on_message,
                                       .on_assigned = ret_in == &w->in ? on_jobs_assigned : on_assigned,
                                       .on_revoked = on_revoked,
                                       .on_committed = ret_in == &w->in ? on_committed : on_others_committed,
                                       .on_fatal = on_kafka_fatal,
                                       .on_log = on_kafka_log,
                                       .arg = w};
    return kafka_in_new(w->loop, &k, ret_in, reterr);
}

static int make_jobs_consumer(struct worker *w, char **reterr)
{
    int rc = make_consumer(w, (const char *const[]){w->o->topic_jobs}, 1, &w->in, reterr);
    if (!rc) intake_bind(w->intake, w->in, NULL);
    return rc;
}

/* The consumer of urgent and retried jobs, once the jobs' one is a member: did it happen to join first, the other would
 * learn of its own place by a heartbeat only, and the worker would be ready so much later. */
static void make_others_consumer(void *arg)
{
    struct worker *w = arg;
    const char *topics[1 + OPTIONS_RETRIES_MAX] = {w->o->topic_urgent};
    AUTO_FREE char *why = NULL;
    size_t n = 1;
    if (w->others || w->draining) return;
    for (size_t i = 0; i < w->o->retry_delays.n; i++) topics[n++] = w->o->topic_retry[i];
    int rc = make_consumer(w, topics, n, &w->others, &why);
    if (rc < 0)
        on_kafka_fatal(w, why ? why : err_text(rc));
    else
        intake_bind(w->intake, w->in, w->others);
}

static int make_probes(struct worker *w, char **reterr)
{
    metrics_on_collect(w->metrics, on_collect, w);
    if (!w->o->listen) return 0;
    int rc = http_server_new(w->loop, w->o->listen, on_request, w, &w->server);
    if (rc < 0)
        *reterr = reason("listen", rc == ERR_IO ? "the address is in use or not ours" : err_text(rc));
    else
        LOG(LOG_LEVEL_INFO, "listening", "probes and metrics", LOG_I("server.port", http_server_port(w->server)));
    return rc;
}

static int make_timers(struct worker *w, char **reterr)
{
    w->metrics = metrics_new();
    w->drain_timer = loop_timer_new(w->loop, on_drain_deadline, w);
    w->others_timer = loop_timer_new(w->loop, make_others_consumer, w);
    w->seen_timer = loop_timer_new(w->loop, ask_server, w);
    int rc = w->metrics && w->drain_timer && w->others_timer && w->seen_timer ? 0 : ERR_NOMEM;
    if (!rc) rc = loop_signal(w->loop, SIGTERM, on_sigterm, w);
    if (!rc) rc = loop_signal(w->loop, SIGINT, on_sigterm, w);
    if (rc < 0) *reterr = reason("start", err_text(rc));
    return rc;
}

int worker_new(struct loop *l, const struct options *o, struct worker **ret_worker, char **reterr)
{
    typedef int make_fn(struct worker *, char **);
    static make_fn *const parts[] = {make_timers,   make_escrow, make_aws,           make_instance, make_redis,
                                     make_producer, make_intake, make_jobs_consumer, make_probes};
    struct worker *w = calloc(1, sizeof(*w));
    if (!w) return ERR_NOMEM;
    w->o = o;
    w->loop = l;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        int rc = parts[i](w, reterr);
        if (rc == 0) continue;
        worker_free(w);
        return rc;
    }
    *ret_worker = w;
    return 0;
}

/* A member that has not left holds the group up for a session. */
static int64_t leave_wait_ms(const struct worker *w)
{
    int64_t left = w->drained && !w->failed ? w->drain_end_mono_ms - clock_mono_ms(&clock_system) : 0;
    return left < LEAVE_WAIT_MS ? LEAVE_WAIT_MS : left < LEAVE_PATIENT_MS ? left : LEAVE_PATIENT_MS;
}

int worker_run(struct worker *w)
{
    LOG(LOG_LEVEL_INFO, "start", "keyroll-worker is starting", LOG_S("service.version", KEYROLL_VERSION),
        LOG_S("keyroll.mode", w->env.policy.observe ? "observe" : "rotate"),
        LOG_S("aws.identity", aws_creds_source(w->creds)), LOG_S("keyroll.librdkafka", kafka_version()));
    loop_run(w->loop);
    if (w->draining && !w->failed) intake_commit_now(w->intake, COMMIT_WAIT_MS);
    intake_bind(w->intake, NULL, NULL);
    kafka_in_free(TAKE(w->in), leave_wait_ms(w));
    kafka_in_free(TAKE(w->others), leave_wait_ms(w));
    LOG0(LOG_LEVEL_INFO, "stop", w->drained ? "drained" : "stopped");
    return w->drained && !w->failed ? 0 : 1;
}

void worker_free(struct worker *w)
{
    if (!w) return;
    http_server_free(w->server);
    kafka_in_free(w->in, LEAVE_WAIT_MS);
    kafka_in_free(w->others, LEAVE_WAIT_MS);
    if (w->share) breakers_share_bind(w->share, w->breakers, NULL);
    kafka_out_free(w->out, COMMIT_WAIT_MS);
    intake_free(w->intake);
    redis_free(w->redis);
    members_free(w->members);
    hosts_stop(w->hosts);
    synergist_free(w->synergist);
    aws_call_free(w->aws);
    aws_creds_free(w->creds);
    http_free(w->http);
    calls_free(w->calls);
    hosts_free(w->hosts);
    profiles_free(w->profiles);
    breakers_share_free(w->share);
    breakers_free(w->breakers);
    report_free(w->report);
    leases_done(&w->leases);
    escrow_free(w->escrow);
    if (w->drain_timer) loop_timer_free(w->drain_timer);
    if (w->others_timer) loop_timer_free(w->others_timer);
    if (w->seen_timer) loop_timer_free(w->seen_timer);
    metrics_free(w->metrics);
    free(w);
}
