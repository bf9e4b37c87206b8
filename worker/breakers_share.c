/* Breakers in Redis, in the log and on the events topic (breakers_share.h). Nothing here is needed for correctness: a
 * write that is lost is made good by the next change, and the scheduler looks by itself now and then. */
#include "worker/breakers_share.h"

#include "lib/err.h"
#include "lib/log.h"
#include "lib/loop.h"
#include "lib/text.h"
#include "schema/event.h"
#include "worker/intake.h"

#include <stdio.h>
#include <string.h>

#define POLL_MS  500
#define YOUNG_MS 1500 /* what opened so lately may not stand in Redis yet */

struct breakers_share {
    struct breakers_share_options o;
    struct breakers *b;
    struct intake *intake;
    struct loop_timer *poll;
    bool asking, closing;
    int64_t opened_mono_ms; /* the last one */
};

static void on_ignored(void *self, uint64_t id, const void *result)
{
    (void)self, (void)id, (void)result;
}

static void command(struct breakers_share *s, const char *const *words, size_t n)
{
    struct redis_arg args[4];
    for (size_t i = 0; i < n; i++) args[i] = (struct redis_arg){words[i], strlen(words[i])};
    struct redis_port *p = &s->o.store->redis;
    (void)!p->command(p->self, n, args, (struct ticket){on_ignored, NULL, 0});
}

static void write_state(struct breakers_share *s, const char *name, enum breaker_state state, int err)
{
    char key[STORE_KEY_MAX], value[300];
    store_key(s->o.store, NULL, "breakers", key);
    if (state == BREAKER_CLOSED) {
        const char *const words[] = {"HDEL", key, name};
        command(s, words, ARRAY_LEN(words));
        return;
    }
    snprintf(value, sizeof value, "{\"state\":\"%s\",\"by\":\"%.80s\",\"error\":\"%s\",\"at_ms\":%lld}",
             breaker_state_name(state), s->o.worker_id, err_name(err), (long long)clock_wall_ms(&clock_system));
    const char *const words[] = {"HSET", key, name, value};
    command(s, words, ARRAY_LEN(words));
}

/* Told with the job that waited for it: an event belongs to a user. Without one nothing is parked from here. */
static void publish_recovery(struct breakers_share *s, const char *name)
{
    const struct job *j = intake_waiting_for(s->intake, name);
    struct event_header_set headers;
    char key[IDENTITY_KEY_MAX];
    struct event e = {.type = EVENT_RECOVERED, .at_ms = clock_wall_ms(&clock_system)};
    AUTO_BUF struct buf value;
    buf_init(&value, EVENT_MAX_BYTES);
    if (!j || job_key(j, key) < 0) return;
    e.kind = j->kind;
    memcpy(e.licence, j->licence, sizeof e.licence);
    memcpy(e.account, j->account, sizeof e.account);
    memcpy(e.user, j->user, sizeof e.user);
    memcpy(e.job_id, j->job_id, sizeof e.job_id);
    text_copy(e.by, sizeof e.by, s->o.worker_id);
    char text[200];
    snprintf(text, sizeof text, "%s answers again", name);
    message_words(e.reason, sizeof e.reason, text);
    if (event_encode(&e, &value) < 0 || event_headers(&e, s->o.worker_id, &headers) < 0) return;
    const struct kafka_message_out m = {s->o.topic_events, key,      strlen(key), value.data, value.len,
                                        headers.headers,   headers.n};
    (void)!s->o.kafka.produce(s->o.kafka.self, &m, (struct ticket){on_ignored, NULL, 0});
}

void breakers_share_changed(void *arg, const char *name, enum breaker_state before, enum breaker_state now, int err,
                            const char *words)
{
    struct breakers_share *s = arg;
    if (s->closing) return;
    enum log_level level = now == BREAKER_OPEN && before == BREAKER_CLOSED ? LOG_LEVEL_ERROR : LOG_LEVEL_INFO;
    LOG(level, "breaker",
        now == BREAKER_CLOSED      ? "it answers again: what was parked goes on"
        : now == BREAKER_HALF_OPEN ? "one call probes whether it is back"
                                   : "it fails for everybody: jobs park and nothing is counted",
        LOG_S("keyroll.breaker", name), LOG_S("keyroll.before", breaker_state_name(before)),
        LOG_S("keyroll.now", breaker_state_name(now)), LOG_S("error.code", err ? err_name(err) : NULL),
        LOG_S("error.message", *words ? words : NULL));
    bool by_others = now == BREAKER_CLOSED && err == ERR_CANCELLED; /* they have told Redis and the scheduler */
    if (!by_others && now != BREAKER_HALF_OPEN) write_state(s, name, now, err);
    if (now == BREAKER_OPEN) {
        s->opened_mono_ms = clock_mono_ms(&clock_system);
        loop_timer_start(s->poll, POLL_MS);
    }
    if (now != BREAKER_CLOSED || !s->intake) return;
    if (!by_others) publish_recovery(s, name);
    intake_recovered(s->intake, name);
}

/* ---- what others saw ---- */

struct look {
    struct breakers_share *s;
    const struct redis_value *open;
    char gone[8][BREAKER_NAME_MAX];
    size_t n;
};

static void compare(void *arg, const char *name, const struct breaker *one)
{
    struct look *l = arg;
    if (one->state == BREAKER_CLOSED || !strcmp(name, "kafka") || l->n == ARRAY_LEN(l->gone)) return;
    for (size_t i = 0; i + 1 < l->open->count; i += 2) {
        const struct redis_value *field = redis_item(l->open, i);
        if (field && field->str && !strcmp(field->str, name)) return;
    }
    text_copy(l->gone[l->n++], BREAKER_NAME_MAX, name);
}

static void on_read(void *self, uint64_t id, const void *result)
{
    struct breakers_share *s = self;
    const struct redis_reply *r = result;
    (void)id;
    s->asking = false;
    if (s->closing) {
        free(s);
        return;
    }
    if (r->err || r->value->type != REDIS_ARRAY || clock_mono_ms(&clock_system) - s->opened_mono_ms < YOUNG_MS) return;
    struct look l = {.s = s, .open = r->value};
    breakers_each(s->b, compare, &l);
    for (size_t i = 0; i < l.n; i++) breakers_close(s->b, l.gone[i]);
}

static void poll_now(void *arg)
{
    struct breakers_share *s = arg;
    if (!s->b || !breakers_open(s->b)) return;
    loop_timer_start(s->poll, POLL_MS);
    if (s->asking) return;
    char key[STORE_KEY_MAX];
    store_key(s->o.store, NULL, "breakers", key);
    const struct redis_arg args[] = {{"HGETALL", 7}, {key, strlen(key)}};
    struct redis_port *p = &s->o.store->redis;
    if (p->command(p->self, ARRAY_LEN(args), args, (struct ticket){on_read, s, 0}) == 0) s->asking = true;
}

/* ---- metrics, life ---- */

static void one_metric(void *arg, const char *name, const struct breaker *one)
{
    metric_raise(arg, name, NULL, (double)one->state); /* of many, an open one is seen in "other", too */
}

void breakers_share_collect(struct breakers_share *s, struct metrics *m, bool redis_ready)
{
    struct metric *state =
        metric_new(m, METRIC_GAUGE, "keyroll_breaker_state", "Breakers of this worker: 0 closed, 1 half-open, 2 open",
                   "breaker", NULL, NULL, 0);
    metric_zero(state);
    metric_set(state, "redis", NULL, redis_ready ? BREAKER_CLOSED : BREAKER_OPEN); /* its reconnects are the probes */
    if (s->b) breakers_each(s->b, one_metric, state);
}

int breakers_share_new(const struct breakers_share_options *o, struct breakers_share **ret_share)
{
    struct breakers_share *s = calloc(1, sizeof *s);
    if (!s) return ERR_NOMEM;
    s->o = *o;
    s->poll = loop_timer_new(o->loop, poll_now, s);
    if (!s->poll) {
        free(s);
        return ERR_NOMEM;
    }
    *ret_share = s;
    return 0;
}

void breakers_share_bind(struct breakers_share *s, struct breakers *b, struct intake *i)
{
    s->b = b;
    s->intake = i;
}

void breakers_share_free(struct breakers_share *s)
{
    if (!s) return;
    loop_timer_free(s->poll);
    s->closing = true;
    if (!s->asking) free(s); /* else with the answer */
}
