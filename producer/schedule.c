/* The scheduler daemon. At every tick it compares what is (Redis, restored from the keys topic where Redis lost it)
 * with what should be (inventory and policy) and publishes what is missing; it remembers nothing that matters (design,
 * section 3).
 *
 * What must be there before anything is published: the lead (one of several schedulers publishes), an inventory, and
 * the whole keys topic once read, because a licence that Redis forgot must not look like one that was never rotated.
 * Each of these is waited for, and /readyz and the log say which. A tick is one survey, then one list of jobs; both are
 * dropped when the lead is lost.
 *
 * SIGHUP and a changed inventory file load it anew; a file that cannot be read leaves the generation before in use.
 * SIGTERM gives the lead back, waits for outstanding delivery reports and ends; a second one ends at once. */
#include "producer/schedule.h"

#include "lib/aws_call.h"
#include "lib/err.h"
#include "lib/kafka_follow.h"
#include "lib/log.h"
#include "lib/metrics.h"
#include "producer/client.h"
#include "producer/dispatch.h"
#include "producer/fleet.h"
#include "producer/leader.h"
#include "producer/probes.h"
#include "producer/strays.h"
#include "producer/survey.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define REDISCOVER_MS 600000 /* how often the accounts are asked for their users again */
#define LEFT_OUT_MAX  20     /* lines about single licences per load */
#define SAY_AGAIN_MS  60000  /* the same complaint is not logged more often */

struct schedule {
    const struct options *o;
    struct client c;
    struct policy policy;
    struct states states;
    struct kafka_follow *keys;
    struct leader *leader;
    struct fleet *fleet;
    struct inventory *inventory, *next_inventory; /* in use; loaded, taken over at the next tick */
    struct survey *survey;
    struct dispatch *dispatch;
    struct strays *strays;
    struct probes *probes;
    struct metrics *metrics;
    struct loop_timer *tick;
    int64_t tick_began_mono_ms, loaded_mono_ms;
    bool loading, reload, stopping, fatal, leads;
    unsigned complaints;
    char said[300]; /* the last complaint about Kafka or Redis */
    int64_t said_mono_ms;
    char not_ready[200];
    struct {
        struct metric *licences, *due, *published, *failed, *oldest, *leader, *tick, *bad_rows, *restored, *limited;
    } m;
};

/* ---- metrics ---- */

static void make_metrics(struct schedule *s)
{
    static const double seconds[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30};
    struct metrics *m = s->metrics;
    s->m.licences = metric_new(m, METRIC_GAUGE, "keyroll_licences",
                               "Licences of the inventory by state of their record", "state", NULL, NULL, 0);
    s->m.due =
        metric_new(m, METRIC_GAUGE, "keyroll_due", "Licences with due work at the last tick", "what", NULL, NULL, 0);
    s->m.published = metric_new(m, METRIC_COUNTER, "keyroll_jobs_published_total", "Jobs published, delivery report in",
                                "kind", "reason", NULL, 0);
    s->m.failed = metric_new(m, METRIC_COUNTER, "keyroll_jobs_undelivered_total", "Jobs that could not be published",
                             "kind", NULL, NULL, 0);
    s->m.oldest = metric_new(m, METRIC_GAUGE, "keyroll_oldest_key_age_seconds", "Age of the oldest key in use", NULL,
                             NULL, NULL, 0);
    s->m.leader =
        metric_new(m, METRIC_GAUGE, "keyroll_leader", "1 while this scheduler publishes", NULL, NULL, NULL, 0);
    s->m.tick = metric_new(m, METRIC_HISTOGRAM, "keyroll_tick_seconds", "Time of one survey of the fleet", NULL, NULL,
                           seconds, ARRAY_LEN(seconds));
    s->m.bad_rows = metric_new(m, METRIC_GAUGE, "keyroll_inventory_bad_rows", "Rows of the inventory that were refused",
                               NULL, NULL, NULL, 0);
    s->m.restored = metric_new(m, METRIC_COUNTER, "keyroll_records_restored_total",
                               "Records put back after Redis had lost them", NULL, NULL, NULL, 0);
    s->m.limited = metric_new(m, METRIC_GAUGE, "keyroll_rotations_waiting",
                              "Due rotations that wait for max_rotations_per_hour", NULL, NULL, NULL, 0);
    metric_set(s->m.leader, NULL, NULL, 0);
}

static void tell_metrics(struct schedule *s, const struct survey_result *r)
{
    for (size_t i = 0; i < SURVEY_STATES; i++)
        metric_set(s->m.licences, record_state_name((enum record_state)i), NULL, (double)r->states[i]);
    metric_set(s->m.licences, "unknown", NULL, (double)r->unknown);
    metric_set(s->m.licences, "unreadable", NULL, (double)r->unreadable);
    metric_set(s->m.licences, "rotating", NULL, (double)r->rotating);
    for (size_t i = 0; i < POLICY_NOTHING; i++)
        metric_set(s->m.due, policy_rank_name((enum policy_rank)i), NULL, (double)r->due[i]);
    if (r->oldest_created_ms != TIME_NONE)
        metric_set(s->m.oldest, NULL, NULL, (double)(clock_wall_ms(&clock_system) - r->oldest_created_ms) / 1000);
    metric_set(s->m.limited, NULL, NULL, (double)dispatch_limited(s->dispatch));
}

/* ---- complaints ---- */

/* Servers that are away complain many times a second: the same words once a minute will do. */
static void complain(struct schedule *s, enum log_level level, const char *event, const char *text)
{
    int64_t now = clock_mono_ms(&clock_system);
    if (strcmp(text, s->said) == 0 && now - s->said_mono_ms < SAY_AGAIN_MS) return;
    snprintf(s->said, sizeof s->said, "%s", text);
    s->said_mono_ms = now;
    LOG0(level, event, text);
}

/* What is waited for; told once when it changes. */
static bool wait_for(struct schedule *s, const char *what)
{
    if (strcmp(s->not_ready, what) != 0) {
        snprintf(s->not_ready, sizeof s->not_ready, "%s", what);
        LOG0(LOG_LEVEL_INFO, "waiting", what);
    }
    return false;
}

/* ---- inventory ---- */

static void row_refused(void *arg, const struct inventory_complaint *c)
{
    struct schedule *s = arg;
    bool whole = c->line == 0 && !c->licence[0]; /* told when the load ends */
    if (whole || ++s->complaints > LEFT_OUT_MAX) return;
    LOG(LOG_LEVEL_WARN, "inventory-row", c->reason, LOG_I("line", c->line),
        LOG_S("licence", c->licence[0] ? c->licence : NULL));
}

static void note_change(void *arg, enum inventory_change what, const struct inventory_row *before,
                        const struct inventory_row *after)
{
    static const char *const events[] = {"licence-vanished", "licence-added", "licence-moved"};
    struct schedule *s = arg;
    if (what == INVENTORY_ADDED || ++s->complaints > LEFT_OUT_MAX) return;
    LOG(LOG_LEVEL_WARN, events[what],
        what == INVENTORY_VANISHED ? "the inventory does not name it any more: it is not touched"
                                   : "the inventory names another user, instance or bucket",
        LOG_S("licence", before ? before->licence : after->licence));
}

static void tick_now(struct schedule *s)
{
    if (!s->stopping) loop_timer_start(s->tick, 0);
}

static void on_loaded(void *self, uint64_t id, const void *result)
{
    struct schedule *s = self;
    const struct fleet_result *r = result;
    (void)id;
    s->loading = false;
    if (r->err) {
        LOG(LOG_LEVEL_ERROR, "inventory", r->reason,
            LOG_S("then", s->inventory ? "the inventory read before stays in use" : "nothing is scheduled"));
        wait_for(s, r->reason);
        return;
    }
    inventory_free(s->next_inventory);
    s->next_inventory = r->inventory;
    LOG(LOG_LEVEL_INFO, "inventory", "loaded", LOG_I("licences", inventory_count(r->inventory)),
        LOG_I("bad_rows", inventory_bad(r->inventory)));
    metric_set(s->m.bad_rows, NULL, NULL, (double)inventory_bad(r->inventory));
    tick_now(s);
}

static void load_inventory(struct schedule *s)
{
    int64_t now = clock_mono_ms(&clock_system);
    bool discover = s->o->inventory_discover.n && now - s->loaded_mono_ms >= REDISCOVER_MS;
    bool first = !s->inventory && !s->next_inventory;
    if (s->loading || !(first || s->reload || discover || fleet_file_changed(s->fleet))) return;
    s->complaints = 0;
    int rc = fleet_load(s->fleet, (struct ticket){on_loaded, s, 0});
    if (rc < 0) {
        LOG0(LOG_LEVEL_ERROR, "inventory", err_text(rc));
        return;
    }
    s->loading = true;
    s->reload = false;
    s->loaded_mono_ms = now;
}

static void take_inventory(struct schedule *s)
{
    if (!s->next_inventory) return;
    s->complaints = 0;
    if (s->inventory) inventory_compare(s->inventory, s->next_inventory, note_change, s);
    dispatch_stop(s->dispatch);
    inventory_free(s->inventory);
    s->inventory = TAKE(s->next_inventory);
    strays_renew(s->strays, s->inventory);
}

/* ---- the tick ---- */

static bool can_work(struct schedule *s)
{
    if (!redis_ready(s->c.redis)) return wait_for(s, "Redis is not reachable");
    if (!leader_leads(s->leader)) return wait_for(s, "another scheduler leads: standing by");
    if (!s->inventory)
        return s->loading ? false : wait_for(s, s->not_ready[0] ? s->not_ready : "the inventory was not read yet");
    if (!kafka_follow_caught_up(s->keys)) {
        const char *why = kafka_follow_reason(s->keys);
        return wait_for(s, why[0] ? why : "reading the keys topic");
    }
    if (s->not_ready[0]) LOG0(LOG_LEVEL_INFO, "ready", "scheduling");
    s->not_ready[0] = '\0';
    return true;
}

static void tick(void *arg)
{
    struct schedule *s = arg;
    if (s->stopping) return;
    loop_timer_start(s->tick, s->o->tick_ms);
    load_inventory(s);
    if (survey_busy(s->survey)) return; /* a slow Redis: the tick after will do */
    take_inventory(s);
    if (!can_work(s)) return;
    dispatch_stop(s->dispatch);
    s->tick_began_mono_ms = clock_mono_ms(&clock_system);
    int rc = survey_begin(s->survey, s->inventory);
    if (rc < 0) complain(s, LOG_LEVEL_WARN, "survey", err_text(rc));
    strays_look(s->strays);
}

static void surveyed(void *arg, const struct survey_result *r)
{
    struct schedule *s = arg;
    if (s->stopping) return;
    if (r->err) {
        complain(s, LOG_LEVEL_WARN, "survey", err_text(r->err));
        return;
    }
    metric_observe(s->m.tick, NULL, NULL, (double)(clock_mono_ms(&clock_system) - s->tick_began_mono_ms) / 1000);
    if (r->unreadable) {
        char text[200];
        snprintf(text, sizeof text, "%zu records cannot be read (first: %s): a newer keyroll may have written them",
                 r->unreadable, r->unreadable_licence);
        complain(s, LOG_LEVEL_ERROR, "unreadable", text);
    }
    if (r->restored) {
        LOG(LOG_LEVEL_WARN, "restored", "Redis had lost records: put back from the keys topic",
            LOG_I("records", r->restored));
        metric_add(s->m.restored, NULL, NULL, (double)r->restored);
        tick_now(s);
    }
    if (leader_leads(s->leader)) dispatch_list(s->dispatch, r->items, r->n_items);
    tell_metrics(s, r);
}

static void reported(void *arg, const struct job *j, int err, const char *detail)
{
    struct schedule *s = arg;
    if (err) {
        char text[300];
        snprintf(text, sizeof text, "a job could not be published: %s%s%.150s; it is tried again", err_text(err),
                 *detail ? ": " : "", detail);
        metric_add(s->m.failed, job_kind_name(j->kind), NULL, 1);
        complain(s, LOG_LEVEL_WARN, "undelivered", text);
        return;
    }
    metric_add(s->m.published, job_kind_name(j->kind), job_reason_name(j->reason), 1);
    LOG(LOG_LEVEL_INFO, "published", job_kind_name(j->kind), LOG_S("licence", j->licence), LOG_S("job_id", j->job_id),
        LOG_S("reason", job_reason_name(j->reason)), LOG_S("key_id", j->replace_key_id[0] ? j->replace_key_id : NULL));
}

/* ---- what happens outside ---- */

static void lead_changed(void *arg, bool leads, const char *holder)
{
    struct schedule *s = arg;
    metric_set(s->m.leader, NULL, NULL, leads);
    if (leads && !s->leads) LOG0(LOG_LEVEL_INFO, "leader", "this scheduler leads");
    if (!leads && (s->leads || holder[0]))
        LOG(LOG_LEVEL_INFO, "standby", "another scheduler leads", LOG_S("holder", holder));
    s->leads = leads;
    if (leads)
        tick_now(s);
    else
        dispatch_stop(s->dispatch);
}

static void server_seen(void *self, uint64_t id, const void *result)
{
    const struct store_reply *r = result;
    (void)self;
    (void)id;
    if (!r->err && r->wait_ms > 0)
        LOG(LOG_LEVEL_WARN, "redis", "the server changed: no lease is given for a while", LOG_I("ms", r->wait_ms));
}

static void redis_changed(void *arg, enum redis_state state, const struct redis_server *server, int err)
{
    struct schedule *s = arg;
    if (s->stopping) return;
    if (state == REDIS_READY) {
        s->said[0] = '\0';
        if (server->is_cluster) {
            LOG(LOG_LEVEL_ERROR, "redis-cluster", CLIENT_NO_CLUSTER, LOG_S("redis_url", s->o->redis_url));
            s->fatal = true;
            loop_stop(s->c.loop);
            return;
        }
        LOG(LOG_LEVEL_INFO, "redis", "connected", LOG_S("version", server->version));
        (void)!store_server_seen(&s->c.store, server, (struct ticket){server_seen, s, 0}); /* the workers ask, too */
        leader_ask_now(s->leader);
    } else if (err) {
        char text[300];
        snprintf(text, sizeof text, err == ERR_REDIS_AUTH ? "Redis refused the user or password: %s" : "Redis: %s",
                 redis_reason(s->c.redis));
        complain(s, err == ERR_REDIS_AUTH ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "redis", text);
    }
}

static void kafka_fatal(void *arg, const char *reason)
{
    struct schedule *s = arg;
    LOG0(LOG_LEVEL_ERROR, "kafka-fatal", reason);
    s->fatal = true;
    loop_stop(s->c.loop);
}

static void kafka_logged(void *arg, int level, const char *fac, const char *text)
{
    struct schedule *s = arg;
    char line[300];
    snprintf(line, sizeof line, "broker: %s: %s", fac, text);
    complain(s, level <= 4 ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "kafka", line);
}

static void state_message(void *arg, const struct kafka_message_in *m)
{
    struct schedule *s = arg;
    int rc = states_take(&s->states, m->key, m->value, m->value_len);
    if (rc < 0)
        LOG(LOG_LEVEL_WARN, "state", "a message of the keys topic cannot be read: its user could not be restored",
            LOG_S("user", m->key), LOG_S("error", err_text(rc)), LOG_I("offset", m->offset));
}

static void caught_up(void *arg)
{
    struct schedule *s = arg;
    LOG(LOG_LEVEL_INFO, "keys-topic", "read to its end", LOG_I("users", s->states.users.n));
    if (s->inventory) strays_renew(s->strays, s->inventory);
    tick_now(s);
}

static bool is_ready(void *arg, char *why, size_t size)
{
    struct schedule *s = arg;
    const char *text = NULL;
    if (!redis_ready(s->c.redis))
        text = "Redis is not reachable";
    else if (!kafka_follow_caught_up(s->keys))
        text = kafka_follow_reason(s->keys)[0] ? kafka_follow_reason(s->keys) : "reading the keys topic";
    else if (!s->inventory && !s->next_inventory)
        text = "no inventory could be read";
    if (text) snprintf(why, size, "%s", text);
    return !text;
}

/* ---- start and end ---- */

static void resigned(void *arg)
{
    struct schedule *s = arg;
    loop_stop(s->c.loop);
}

static void on_terminate(void *arg)
{
    struct schedule *s = arg;
    if (s->stopping) {
        loop_stop(s->c.loop);
        return;
    }
    LOG0(LOG_LEVEL_INFO, "stopping", "the lead is given back");
    s->stopping = true;
    loop_timer_stop(s->tick);
    dispatch_stop(s->dispatch);
    leader_resign(s->leader, resigned, s);
}

static void on_hangup(void *arg)
{
    struct schedule *s = arg;
    s->reload = true;
    tick_now(s);
}

static int open_edges(struct schedule *s)
{
    const struct options *o = s->o;
    AUTO_FREE char *why = NULL;
    int rc = options_require(o, OPTIONS_NEED_KAFKA | OPTIONS_NEED_REDIS | OPTIONS_NEED_INVENTORY, &why);
    if (rc < 0) return client_fail(&s->c, rc, "%s", why ? why : err_text(rc));
    if ((rc = client_open_redis(&s->c, redis_changed, s)) < 0) return rc;
    if ((rc = client_open_kafka(&s->c, kafka_fatal, kafka_logged, s)) < 0) return rc;
    if (o->inventory_discover.n && (rc = client_aws(&s->c)) < 0) return rc;
    const struct kafka_follow_options ko = {.brokers = o->brokers,
                                            .client_id = s->c.service,
                                            .topic = o->topic_keys,
                                            .conf = o->kafka,
                                            .n_conf = o->n_kafka,
                                            .on_message = state_message,
                                            .on_caught_up = caught_up,
                                            .on_fatal = kafka_fatal,
                                            .on_log = kafka_logged,
                                            .arg = s};
    rc = kafka_follow_new(s->c.loop, &ko, &s->keys, &why);
    return rc < 0 ? client_fail(&s->c, rc, "Kafka: %s", why ? why : err_text(rc)) : 0;
}

static int make_parts(struct schedule *s)
{
    const struct leader_options lo = {s->c.loop, &s->c.store, &clock_system, s->o->worker_id, lead_changed, s};
    const struct fleet_options fo = {s->c.loop, s->o, s->c.aws, row_refused, s};
    const struct survey_options so = {&s->c.store, &s->policy, &s->states, &clock_system, surveyed, s};
    const struct dispatch_options d = {
        s->c.loop, kafka_out_port(s->c.kafka), s->o, &clock_system, s->o->worker_id, reported, s};
    policy_from_options(s->o, &s->policy);
    s->dispatch = dispatch_new(&d);
    s->survey = survey_new(&so);
    s->fleet = fleet_new(&fo);
    s->strays = strays_new(&s->c.store, &s->states);
    s->tick = loop_timer_new(s->c.loop, tick, s);
    s->leader = s->dispatch ? leader_new(&lo) : NULL;
    if (s->survey && s->fleet && s->strays && s->tick && s->leader) return 0;
    return client_fail(&s->c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
}

static int listen_for_probes(struct schedule *s)
{
    const struct probes_options po = {s->c.loop, s->o->listen, s->metrics, is_ready, s};
    if (!s->o->listen) return 0;
    int rc = probes_new(&po, &s->probes);
    if (rc < 0)
        return client_fail(&s->c, ERR_IO, "listen = %s: %s (is the address in use?)", s->o->listen, err_text(rc));
    LOG(LOG_LEVEL_INFO, "listening", "probes and metrics", LOG_S("listen", s->o->listen),
        LOG_I("port", probes_port(s->probes)));
    return 0;
}

static int start(struct schedule *s)
{
    s->metrics = metrics_new();
    if (!s->metrics || client_init(&s->c, s->o, "keyroll-scheduler") < 0)
        return client_fail(&s->c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    make_metrics(s);
    int rc = open_edges(s);
    if (rc == 0) rc = make_parts(s);
    if (rc == 0) rc = listen_for_probes(s);
    if (rc == 0) rc = loop_signal(s->c.loop, SIGTERM, on_terminate, s);
    if (rc == 0) rc = loop_signal(s->c.loop, SIGINT, on_terminate, s);
    if (rc == 0) rc = loop_signal(s->c.loop, SIGHUP, on_hangup, s);
    if (rc == 0) tick_now(s);
    return rc;
}

static void done(struct schedule *s)
{
    s->stopping = true;
    probes_free(s->probes);
    kafka_follow_free(s->keys, 1000);
    loop_timer_free(s->tick);
    kafka_out_free(TAKE(s->c.kafka), 2000); /* reports come in until here */
    redis_free(TAKE(s->c.redis));           /* and answers until here */
    aws_call_free(TAKE(s->c.aws));
    strays_free(s->strays);
    survey_free(s->survey);
    dispatch_free(s->dispatch);
    leader_free(s->leader);
    fleet_free(s->fleet);
    inventory_free(s->inventory);
    inventory_free(s->next_inventory);
    states_done(&s->states);
    metrics_free(s->metrics);
    client_done(&s->c);
}

int schedule_run(const struct options *o)
{
    struct schedule *s = calloc(1, sizeof *s);
    if (!s) return 1;
    s->o = o;
    int rc = start(s), code = 0;
    if (rc < 0) {
        LOG0(LOG_LEVEL_ERROR, "start", s->c.error);
        code = rc == ERR_INVALID || rc == ERR_SYNTAX ? 2 : 1;
    } else {
        LOG(LOG_LEVEL_INFO, "started",
            o->mode == OPTIONS_OBSERVE ? "mode = observe: plans and audits only" : "mode = rotate",
            LOG_S("version", KEYROLL_VERSION));
        loop_run(s->c.loop);
        LOG0(LOG_LEVEL_INFO, "stopped", s->fatal ? "after a fatal error" : "clean");
        code = s->fatal ? 1 : 0;
    }
    done(s);
    free(s);
    return code;
}
