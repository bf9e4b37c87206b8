/* The edges of a command (client.h), wired from the settings. A part is made when it is first asked for, so that
 * `keyroll plan` needs no Kafka and `keyroll status` no AWS. The daemon uses the same wiring and never waits. */
#include "producer/client.h"

#include "lib/aws_call.h"
#include "lib/aws_creds.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/profile.h"
#include "lib/synergist.h"
#include "schema/options_use.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int client_fail(struct client *c, int err, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->error, sizeof c->error, fmt, ap);
    va_end(ap);
    return err;
}

int client_init(struct client *c, const struct options *o, const char *service)
{
    *c = (struct client){.o = o, .service = service};
    c->loop = loop_new();
    return c->loop ? 0 : ERR_NOMEM;
}

void client_done(struct client *c)
{
    kafka_out_free(c->kafka, 2000);
    synergist_free(c->instances);
    aws_call_free(c->aws);
    aws_creds_free(c->creds);
    http_free(c->http);
    profiles_free(c->profiles);
    redis_free(c->redis);
    loop_free(c->loop);
    *c = (struct client){0};
}

/* ---- Redis ---- */

int client_open_redis(struct client *c,
                      void (*on_state)(void *arg, enum redis_state s, const struct redis_server *server, int err),
                      void *arg)
{
    AUTO_FREE char *why = NULL;
    AUTO_SECRET struct secret *password = NULL;
    if (c->redis) return 0;
    int rc = options_require(c->o, OPTIONS_NEED_REDIS, &why);
    if (rc == 0) rc = options_redis_password(c->o, &password, &why);
    if (rc < 0) return client_fail(c, rc, "%s", why ? why : err_text(rc));
    const struct redis_options ro = {
        .url = c->o->redis_url, .password = password, .ca_file = c->o->ca_file, .on_state = on_state, .arg = arg};
    rc = redis_new(c->loop, &ro, &c->redis);
    if (rc < 0) return client_fail(c, rc, "redis_url = %s: %s", c->o->redis_url, err_text(rc));
    store_init(&c->store, redis_port(c->redis), &rng_system, c->o->redis_prefix, c->o->lease_ttl_ms);
    return 0;
}

static void redis_changed(void *arg, enum redis_state s, const struct redis_server *server, int err)
{
    struct client *c = arg;
    (void)server;
    c->redis_err = s == REDIS_READY ? 0 : err ? err : ERR_REDIS_DOWN;
    c->redis_done = s == REDIS_READY || err == ERR_REDIS_AUTH || err == ERR_REDIS_REFUSED;
}

/* The server is told apart from the one that leases were last given by (R3), before any lease is asked for. */
static int greet_server(struct client *c)
{
    struct store_reply reply = {0};
    struct waiter w;
    int rc = store_server_seen(&c->store, redis_server(c->redis), client_ticket(&w, client_copy_reply, &reply));
    return client_reply(c, rc, &w, &reply, "Redis");
}

int client_redis(struct client *c)
{
    if (c->redis && redis_ready(c->redis)) return 0;
    int rc = client_open_redis(c, redis_changed, c);
    if (rc < 0) return rc;
    client_pause(c, CLIENT_REDIS_MS, &c->redis_done);
    if (redis_ready(c->redis) && redis_server(c->redis)->is_cluster)
        return client_fail(c, ERR_INVALID, "redis_url = %s: %s", c->o->redis_url, CLIENT_NO_CLUSTER);
    if (redis_ready(c->redis)) return greet_server(c);
    const char *why = redis_reason(c->redis);
    rc = c->redis_err ? c->redis_err : ERR_REDIS_DOWN;
    if (rc == ERR_REDIS_AUTH)
        return client_fail(c, rc, "Redis at %s refused the user or password: check redis_password_file (%s)",
                           c->o->redis_url, why);
    return client_fail(c, rc, "Redis at %s: %s", c->o->redis_url, why[0] ? why : err_text(rc));
}

/* ---- Kafka ---- */

int client_open_kafka(struct client *c, void (*on_fatal)(void *arg, const char *reason),
                      void (*on_log)(void *arg, int level, const char *fac, const char *text), void *arg)
{
    AUTO_FREE char *why = NULL;
    if (c->kafka) return 0;
    int rc = options_require(c->o, OPTIONS_NEED_KAFKA, &why);
    if (rc < 0) return client_fail(c, rc, "%s", why ? why : err_text(rc));
    const char *const topics[] = {c->o->topic_jobs, c->o->topic_urgent};
    const struct kafka_out_options ko = {.brokers = c->o->brokers,
                                         .client_id = c->service,
                                         .topics = topics,
                                         .n_topics = ARRAY_LEN(topics),
                                         .conf = c->o->kafka,
                                         .n_conf = c->o->n_kafka,
                                         .on_fatal = on_fatal,
                                         .on_log = on_log,
                                         .arg = arg};
    rc = kafka_out_new(c->loop, &ko, &c->kafka, &why);
    if (rc < 0) return client_fail(c, rc, "Kafka: %s", why ? why : err_text(rc));
    return 0;
}

static void kafka_said(void *arg, int level, const char *fac, const char *text)
{
    struct client *c = arg;
    (void)fac;
    if (level <= 4) snprintf(c->kafka_said, sizeof c->kafka_said, "%s", text);
}

static void kafka_fatal(void *arg, const char *reason)
{
    kafka_said(arg, 0, "", reason);
}

int client_kafka(struct client *c)
{
    return client_open_kafka(c, kafka_fatal, kafka_said, c);
}

/* ---- AWS and instances ---- */

int client_http(struct client *c)
{
    if (c->http) return 0;
    const struct http_options ho = {.ca_file = c->o->ca_file};
    int rc = http_new(c->loop, &ho, &c->http);
    return rc < 0 ? client_fail(c, rc, "HTTP client: %s", err_text(rc)) : 0;
}

int client_aws(struct client *c)
{
    const struct options *o = c->o;
    if (c->aws) return 0;
    int rc = client_http(c);
    if (rc < 0) return rc;
    const struct aws_creds_options co = options_aws_creds(o, c->http);
    rc = c->creds ? 0 : aws_creds_new(c->loop, &co, &c->creds);
    if (rc < 0) return client_fail(c, rc, "AWS credentials: %s", err_text(rc));
    const struct aws_call_options ao = options_aws_call(o, c->http, c->creds);
    rc = aws_call_new(c->loop, &ao, &c->aws);
    return rc < 0 ? client_fail(c, rc, "AWS: %s", err_text(rc)) : 0;
}

int client_profiles(struct client *c)
{
    AUTO_FREE char *why = NULL;
    if (c->profiles) return 0;
    int rc = profiles_load(c->o->profiles_dir, &c->profiles, &why);
    return rc < 0 ? client_fail(c, rc, "profiles: %s", why ? why : err_text(rc)) : 0;
}

int client_instances(struct client *c)
{
    if (c->instances) return 0;
    int rc = client_http(c);
    if (rc == 0) rc = client_profiles(c);
    if (rc < 0) return rc;
    const struct synergist_options so = {
        .clock = &clock_system, .rng = &rng_system, .http = c->http, .profiles = c->profiles};
    rc = synergist_new(c->loop, &so, &c->instances);
    return rc < 0 ? client_fail(c, rc, "instances: %s", err_text(rc)) : 0;
}

/* ---- waiting ---- */

static void waited(void *self, uint64_t id, const void *result)
{
    struct waiter *w = self;
    (void)id;
    if (w->copy) w->copy(w->into, result);
    w->done = 1;
}

struct ticket client_ticket(struct waiter *w, void (*copy)(void *into, const void *result), void *into)
{
    *w = (struct waiter){.copy = copy, .into = into};
    return (struct ticket){waited, w, 0};
}

int client_wait(struct client *c, struct waiter *w)
{
    loop_run_until(c->loop, &w->done);
    return w->done ? 0 : client_fail(c, ERR_CANCELLED, "interrupted");
}

static void raise_flag(void *arg)
{
    *(int *)arg = 1;
}

void client_pause(struct client *c, int64_t ms, int *flag)
{
    struct loop_timer *timer = loop_timer_new(c->loop, raise_flag, flag);
    if (!timer) return;
    loop_timer_start(timer, ms);
    loop_run_until(c->loop, flag);
    loop_timer_free(timer);
}

void client_copy_reply(void *into, const void *result)
{
    *(struct store_reply *)into = *(const struct store_reply *)result;
}

int client_reply(struct client *c, int started, struct waiter *w, const struct store_reply *r, const char *what)
{
    int rc = started < 0 ? started : client_wait(c, w);
    if (rc == ERR_CANCELLED) return rc;
    if (rc == 0) rc = r->err;
    return rc < 0 ? client_fail(c, rc, "%s: %s", what, err_text(rc)) : 0;
}

struct peeked {
    int err;
    size_t n;
    struct store_peek *into;
};

static void copy_peek(void *into, const void *result)
{
    struct peeked *p = into;
    const struct store_peek_reply *r = result;
    p->err = r->err;
    if (!r->err) memcpy(p->into, r->users, r->n * sizeof *r->users);
}

int client_peek(struct client *c, const char *const *user_keys, size_t n, struct store_peek *ret)
{
    for (size_t at = 0; at < n; at += STORE_PEEK_MAX) {
        size_t part = n - at < STORE_PEEK_MAX ? n - at : STORE_PEEK_MAX;
        struct peeked p = {.into = ret + at};
        struct waiter w;
        int rc = store_peek(&c->store, user_keys + at, part, client_ticket(&w, copy_peek, &p));
        if (rc == 0) rc = client_wait(c, &w);
        if (rc == ERR_CANCELLED) return rc;
        if (rc == 0) rc = p.err;
        if (rc < 0) return client_fail(c, rc, "Redis: %s", err_text(rc));
    }
    return 0;
}

static void copy_aws(void *into, const void *result)
{
    struct aws_result *r = into;
    *r = *(const struct aws_result *)result;
    r->created_secret = NULL;
}

int client_aws_call(struct client *c, const struct aws_request *req, struct aws_result *ret)
{
    struct waiter w;
    struct aws_port port = aws_call_port(c->aws);
    *ret = (struct aws_result){0};
    int rc = port.call(port.self, req, client_ticket(&w, copy_aws, ret));
    if (rc == 0) rc = client_wait(c, &w);
    if (rc < 0) return rc == ERR_CANCELLED ? rc : client_fail(c, rc, "%s: %s", aws_op_name(req->op), err_text(rc));
    if (!ret->err) return 0;
    return client_fail(c, ret->err, "%s: %s%s%s%s%s", aws_op_name(req->op), err_text(ret->err),
                       ret->code[0] ? " (" : "", ret->code, ret->code[0] ? ") " : " ", ret->message);
}

static void copy_instance(void *into, const void *result)
{
    *(struct instance_result *)into = *(const struct instance_result *)result;
}

int client_instance_call(struct client *c, const struct instance_request *req, struct instance_result *ret)
{
    struct waiter w;
    struct instance_port port = synergist_port(c->instances);
    *ret = (struct instance_result){0};
    int rc = port.call(port.self, req, client_ticket(&w, copy_instance, ret));
    if (rc == 0) rc = client_wait(c, &w);
    if (rc < 0) return rc == ERR_CANCELLED ? rc : client_fail(c, rc, "instance: %s", err_text(rc));
    if (!ret->err) return 0;
    return client_fail(c, ret->err, "%s: %s%s%s%s%s", instance_op_name(req->op), err_text(ret->err),
                       ret->code[0] ? " (" : "", ret->code, ret->code[0] ? ") " : " ", ret->message);
}

struct report {
    int err;
    char detail[120];
};

static void copy_report(void *into, const void *result)
{
    struct report *r = into;
    const struct kafka_report *k = result;
    r->err = k->err;
    snprintf(r->detail, sizeof r->detail, "%s", k->detail ? k->detail : "");
}

int client_produce(struct client *c, const struct kafka_message_out *m)
{
    struct waiter w;
    struct report r = {0};
    struct kafka_port port = kafka_out_port(c->kafka);
    int rc = port.produce(port.self, m, client_ticket(&w, copy_report, &r));
    if (rc == 0) rc = client_wait(c, &w);
    if (rc == ERR_CANCELLED) return rc;
    if (rc == 0) rc = r.err;
    if (rc == 0) return 0;
    return client_fail(c, rc, "Kafka topic %s: %s%s%s", m->topic, err_text(rc),
                       r.detail[0] || c->kafka_said[0] ? ": " : "", r.detail[0] ? r.detail : c->kafka_said);
}

int client_command(struct client *c, size_t n, const char *const *words, void (*copy)(void *into, const void *result),
                   void *into)
{
    struct waiter w;
    struct redis_arg args[16];
    if (n > ARRAY_LEN(args)) return ERR_INVALID;
    for (size_t i = 0; i < n; i++) args[i] = (struct redis_arg){words[i], strlen(words[i])};
    int rc = c->store.redis.command(c->store.redis.self, n, args, client_ticket(&w, copy, into));
    if (rc == 0) return client_wait(c, &w);
    return client_fail(c, rc, "Redis: %s", err_text(rc));
}
