/* Reports transitions (report.h). Two messages each: the event for people and other programs, the state for rebuilding.
 * Both must be delivered before the ticket completes without an error, since the next effect relies on them (R8). */
#include "worker/report.h"

#include "lib/err.h"
#include "lib/text.h"
#include "schema/minor.h"

#include <stdio.h>
#include <string.h>

#define STATE_MAX 32768

struct report {
    struct kafka_port kafka;
    const struct clock *clock;
    char worker_id[JOB_BY_MAX];
    char events[128], keys[128];
    struct buf value, state; /* kept from one transition to the next, empty between */
};

/* Waits for both delivery reports. */
struct pair {
    struct ticket t;
    unsigned open;
    int err;
};

int report_new(struct kafka_port kafka, const struct clock *clock, const struct report_topics *topics,
               const char *worker_id, struct report **ret_report)
{
    struct report *rep = calloc(1, sizeof(*rep));
    if (!rep) return ERR_NOMEM;
    rep->kafka = kafka;
    rep->clock = clock;
    text_copy(rep->worker_id, sizeof(rep->worker_id), worker_id);
    text_copy(rep->events, sizeof(rep->events), topics->events);
    text_copy(rep->keys, sizeof(rep->keys), topics->keys);
    buf_init(&rep->value, STATE_MAX);
    buf_init(&rep->state, STATE_MAX);
    *ret_report = rep;
    return 0;
}

void report_free(struct report *r)
{
    if (!r) return;
    buf_done(&r->value);
    buf_done(&r->state);
    free(r);
}

static void settle_one(struct pair *p, int err)
{
    if (err && !p->err) p->err = err;
    if (--p->open) return;
    ticket_complete(p->t, &p->err);
    free(p);
}

static void on_delivered(void *self, uint64_t id, const void *result)
{
    const struct kafka_report *k = result;
    (void)id;
    settle_one(self, k->err);
}

/* An instance whose key does not work: the scheduler looks at once (producer/alarms.c). */
static void tell_dead_key(const struct record *rec, struct event *e)
{
    const struct record_key *k = record_current(rec);
    char text[200];
    if (k && k->listed && k->status != AWS_KEY_INACTIVE) return;
    if (k)
        snprintf(text, sizeof(text), "the instance uses %s, which is %s in AWS", k->id,
                 k->listed ? aws_key_status_name(k->status) : "gone");
    else
        snprintf(text, sizeof(text), "the instance has no key");
    message_words(e->reason, sizeof(e->reason), text);
}

static void fill_event(const struct report *rep, const struct rotation *r, enum event_type type, struct event *e)
{
    const struct journal *j = &r->journal;
    memset(e, 0, sizeof(*e));
    e->type = (int)type;
    e->kind = r->job->kind;
    text_copy(e->licence, sizeof(e->licence), r->job->licence);
    text_copy(e->account, sizeof(e->account), r->job->account);
    text_copy(e->user, sizeof(e->user), r->job->user);
    text_copy(e->job_id, sizeof(e->job_id), r->job->job_id);
    text_copy(e->by, sizeof(e->by), rep->worker_id);
    e->at_ms = clock_wall_ms(rep->clock);
    e->number = r->lease.user.number;
    e->rotation = j->rotation ? j->rotation : r->record.rotation;
    text_copy(e->key_new, sizeof(e->key_new), j->key_new);
    text_copy(e->key_old, sizeof(e->key_old), j->key_doubt[0] ? j->key_doubt : j->key_old[0] ? j->key_old : r->target);
    event_step(saga_row(&r->saga)->name, e->step);
    message_words(e->reason, sizeof(e->reason), r->record.reason);
    if (type == EVENT_AUDITED && !e->reason[0]) tell_dead_key(&r->record, e);
    event_set_error(e, r->error);
    e->assisted = j->assisted;
    e->repair = j->repair;
    e->exposed = j->exposed;
    if (type != EVENT_INTENT) return;
    for (size_t i = 0; i < j->n_seen && i < MESSAGE_KEYS_MAX; i++)
        text_copy(e->keys_seen.ids[e->keys_seen.n++], MESSAGE_KEY_ID_MAX, j->seen[i]);
}

/* The record carries this lease's number, as it will in Redis: with the number it was loaded with, the last state of a
 * job (it has no journal any more) would be taken for older than those before it. */
static int write_state(const struct rotation *r, struct buf *out)
{
    struct record record = r->record;
    record.number = r->lease.user.number;
    buf_adds(out, "{\"version\":\"keyroll.state/1" SCHEMA_MINOR "\"" SCHEMA_MINOR_MEMBER ",\"record\":");
    int rc = record_encode(&record, out);
    buf_adds(out, ",\"journal\":");
    bool open = r->has_journal && !r->closing;
    if (!rc && open) rc = journal_encode(&r->journal, out);
    if (!open) buf_adds(out, "null");
    buf_adds(out, ",\"exposed\":[");
    for (size_t i = 0; i < r->n_exposed; i++) buf_addf(out, "%s\"%s\"", i ? "," : "", r->exposed[i]);
    int full = buf_adds(out, "]}");
    return rc < 0 ? rc : full;
}

static int produce(struct report *rep, const char *topic, const char *key, const struct buf *value,
                   const struct kafka_header *headers, size_t n, struct pair *p)
{
    const struct kafka_message_out m = {topic, key, strlen(key), value->data, value->len, headers, n};
    return rep->kafka.produce(rep->kafka.self, &m, (struct ticket){on_delivered, p, 0});
}

static int send_both(struct report *rep, const struct rotation *r, const struct event *e, struct pair *p)
{
    struct event_header_set headers;
    buf_reset(&rep->value);
    buf_reset(&rep->state);
    int rc = event_encode(e, &rep->value);
    if (!rc) rc = write_state(r, &rep->state);
    if (!rc) rc = event_headers(e, rep->worker_id, &headers);
    if (!rc && r->traceparent[0] && headers.n < EVENT_HEADERS_MAX)
        headers.headers[headers.n++] = (struct kafka_header){"traceparent", r->traceparent, strlen(r->traceparent)};
    if (!rc) rc = produce(rep, rep->events, r->lease.user.key, &rep->value, headers.headers, headers.n, p);
    if (rc < 0) return rc;
    p->open = 2;
    rc = produce(rep, rep->keys, r->lease.user.key, &rep->state, NULL, 0, p);
    if (rc < 0) settle_one(p, rc); /* the first one's report completes the ticket, with this error */
    return 0;
}

int report_transition(struct report *rep, const struct rotation *r, enum event_type type, struct ticket t)
{
    struct event e;
    struct pair *p = calloc(1, sizeof(*p));
    if (!p) return ERR_NOMEM;
    p->t = t;
    fill_event(rep, r, type, &e);
    int rc = send_both(rep, r, &e, p);
    if (rc < 0) free(p);
    return rc;
}

bool report_letter_is_there(const struct rotation *r)
{
    char step[EVENT_STEP_MAX];
    event_step(r->step, step);
    return r->job->dead_step[0] && strcmp(step, r->job->dead_step) == 0;
}

int report_end_type(const struct rotation *r, int outcome)
{
    enum record_state now = r->record.state;
    if (outcome == OUTCOME_DEAD) return now == RECORD_STUCK ? EVENT_STUCK : EVENT_FAILED;
    if (outcome == OUTCOME_RETRY) return r->lease.user.number ? EVENT_RETRY : -1;
    if (outcome != OUTCOME_DONE || !r->error || r->closing) return -1; /* closing: its last event told all */
    if (now == RECORD_RETRY) return EVENT_RETRY;
    if (now == RECORD_STUCK || now == RECORD_FAILED) return EVENT_RETRY; /* again: the first one was told as such */
    if (now == r->state_before) return -1;
    if (now == RECORD_AWAITING) return EVENT_AWAITING;
    return now == RECORD_DRIFTED || now == RECORD_EXCLUDED ? EVENT_DRIFTED : -1;
}

int report_end(struct report *rep, const struct rotation *r, int type, struct ticket t)
{
    struct event e;
    struct event_header_set headers;
    AUTO_BUF struct buf value;
    buf_init(&value, STATE_MAX);
    fill_event(rep, r, (enum event_type)type, &e);
    if (r->step[0]) event_step(r->step, e.step);
    if (!e.reason[0]) message_words(e.reason, sizeof(e.reason), r->reason);
    if (r->record.next_ms > 0) e.next_at_ms = r->record.next_ms;
    int rc = event_encode(&e, &value);
    if (!rc) rc = event_headers(&e, rep->worker_id, &headers);
    if (rc < 0) return rc;
    const struct kafka_message_out m = {
        rep->events, r->lease.user.key, strlen(r->lease.user.key), value.data, value.len, headers.headers, headers.n};
    return rep->kafka.produce(rep->kafka.self, &m, t);
}
