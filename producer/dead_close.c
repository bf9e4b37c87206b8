/* The mark goes first: it is what counts. Should the event be lost, the mark still says who, when and why. */
#include "producer/dead_close.h"

#include "lib/err.h"
#include "schema/options.h"

#include <stdio.h>
#include <string.h>

/* Waits for the reports. */
struct closing {
    struct ticket t;
    unsigned open;
    int err;
};

static void settle(struct closing *c, int err)
{
    if (err && !c->err) c->err = err;
    if (--c->open) return;
    ticket_complete(c->t, &c->err);
    free(c);
}

static void on_report(void *self, uint64_t id, const void *result)
{
    (void)id;
    settle(self, ((const struct kafka_report *)result)->err);
}

static int send_mark(struct kafka_port kafka, const struct options *o, const struct dead *l, const struct deadmark *m,
                     struct closing *c)
{
    AUTO_BUF struct buf value;
    buf_init(&value, DEADMARK_MAX_BYTES);
    int rc = deadmark_encode(m, &value);
    if (rc < 0) return rc;
    const struct kafka_message_out out = {
        .topic = o->topic_dead, .key = l->key, .key_len = strlen(l->key), .value = value.data, .value_len = value.len};
    return kafka.produce(kafka.self, &out, (struct ticket){on_report, c, 0});
}

static int send_event(struct kafka_port kafka, const struct options *o, const struct dead *l, const struct deadmark *m,
                      struct closing *c)
{
    static const enum event_type types[] = {EVENT_REPLAYED, EVENT_DROPPED, EVENT_RESOLVED};
    struct event e = {.type = (int)types[m->action], .kind = l->kind, .at_ms = m->at_ms};
    struct event_header_set headers;
    AUTO_BUF struct buf value;
    char key[IDENTITY_KEY_MAX];
    buf_init(&value, EVENT_MAX_BYTES);
    memcpy(e.licence, l->licence, sizeof e.licence);
    memcpy(e.account, l->account, sizeof e.account);
    memcpy(e.user, l->user, sizeof e.user);
    memcpy(e.job_id, l->job_id, sizeof e.job_id);
    memcpy(e.step, l->step, sizeof e.step);
    memcpy(e.by, m->by, sizeof e.by);
    memcpy(e.reason, m->reason, sizeof e.reason);
    memcpy(e.error_code, l->error_code, sizeof e.error_code);
    memcpy(e.error_class, l->error_class, sizeof e.error_class);
    int rc = event_encode(&e, &value);
    if (rc == 0) rc = event_headers(&e, o->worker_id, &headers);
    if (rc == 0) rc = event_key(&e, key);
    if (rc < 0) return rc;
    const struct kafka_message_out out = {o->topic_events, key,      strlen(key), value.data, value.len,
                                          headers.headers, headers.n};
    return kafka.produce(kafka.self, &out, (struct ticket){on_report, c, 0});
}

int dead_close(struct kafka_port kafka, const struct options *o, const struct dead *l, enum deadmark_action action,
               const char *by, const char *reason, int64_t now_ms, struct ticket t)
{
    struct deadmark m = {.action = (int)action, .partition = l->partition, .offset = l->offset, .at_ms = now_ms};
    struct closing *c = calloc(1, sizeof *c);
    if (!c) return ERR_NOMEM;
    *c = (struct closing){t, 1, 0};
    memcpy(m.job_id, l->job_id, sizeof m.job_id);
    memcpy(m.licence, l->licence, sizeof m.licence);
    memcpy(m.account, l->account, sizeof m.account);
    memcpy(m.user, l->user, sizeof m.user);
    snprintf(m.by, sizeof m.by, "%s", by);
    message_words(m.reason, sizeof m.reason, reason);
    int rc = send_mark(kafka, o, l, &m, c);
    if (rc < 0) {
        free(c);
        return rc;
    }
    if (!l->has_job) return 0;
    c->open = 2;
    rc = send_event(kafka, o, l, &m, c);
    if (rc < 0) settle(c, rc); /* the mark's report completes the ticket, with this error */
    return 0;
}
