/* Intake (intake.h). One block per admitted message (struct item) ties together offset, headers and the running saga.
 * What is not admitted is not remembered: its partition is paused at that offset and resumed there, when places are
 * free or when the head of a retry topic is due. */
#include "worker/intake.h"

#include "lib/err.h"
#include "lib/log.h"
#include "lib/mutant.h"
#include "lib/loop.h"
#include "lib/text.h"
#include "schema/deadletter.h"
#include "schema/options.h"
#include "worker/report.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define MAX_SPAN         65536 /* offsets between the head and the newest taken one, per partition */
#define COMMIT_EVERY_MS  500
#define PRODUCE_AGAIN_MS 1000
#define READ_AGAIN_MS    1000
#define PARK_AFTER_MS    120000
#define AHEAD_MS         100 /* a retry topic's partition is resumed so long before its head is due, see is_early() */
#define RESUME_SHARE     80  /* % of the limit at which paused partitions go on, one for each job that ends */
#define RESUME_ALL_SHARE 40  /* and all at once */

enum pause_cause { RUNNING, PAUSED_FULL, PAUSED_UNTIL };

/* What is paused, and where to go on. One per partition ever assigned, in the order of offsets' indexes. */
struct gate {
    enum pause_cause cause;
    bool urgent;
    int64_t offset;
    int64_t due_ms; /* PAUSED_UNTIL: when to resume, by the common clock */
    int64_t
        ahead_ms; /* of a retry topic: how far a clock was ahead by which messages were timed, see intake_due_ms() */
};

/* One admitted message. */
struct item {
    struct intake *intake;
    struct item *next, **link;
    struct offset_ref ref;
    bool urgent;
    bool handed_on; /* the head was parked: a copy is on a retry topic, the offset is finished */
    struct job_headers headers;
    struct rotation *r; /* under way; NULL while its outcome is being written */
    struct job *job;    /* owned while r is NULL, see job_of(); as it came: for retries and dead letters */
    int64_t taken_mono_ms;
    /* the message that makes the outcome durable */
    const char *out_topic;
    struct buf out_value;
    struct job_headers out_headers;
    struct loop_timer *again;
    bool telling;                     /* the saga ended, and r is kept until the event of its end is delivered */
    int outcome;                      /* of the saga */
    bool finishing;                   /* out_value is the saga's outcome (else: the copy of a parked head) */
    char waits_for[BREAKER_NAME_MAX]; /* the breaker whose probe this job is, "" none */
    bool waits;                       /* until that probe's time comes */
    bool early;                       /* fetched just before it was due, and not begun yet */
    struct loop_timer *wait;
};

/* What a commit tells the broker. The epochs are those of the moment: by the time of the answer the partition may have
 * been given anew, or its log may have begun anew. */
struct commit {
    struct kafka_partition *p;
    struct commit_of {
        int index;
        uint32_t epoch;
    } * of; /* beside p */
    size_t n;
};

enum reader { READER_JOBS, READER_OTHERS, READERS };

struct intake {
    struct loop *loop;
    struct intake_options o;
    struct kafka_in *reader[READERS]; /* READER_OTHERS NULL: READER_JOBS reads all topics */
    struct offsets *offsets;
    struct gate *gates;
    size_t n_gates, resume_from; /* where the next look for a paused gate begins: none starves */
    struct saga_engine *engine;
    struct loop_timer *engine_timer, *commit_timer, *gate_timer, *lease_timer;
    int64_t rung_ms[OPTIONS_RETRIES_MAX]; /* not-before of the last message that was handed to each retry topic */
    struct commit committing[READERS];    /* sent and not answered: one at a time; n 0: none */
    struct item *first;
    size_t n_items, n_ordinary;
    bool draining;
    struct metric *m_jobs, *m_running, *m_limit, *m_step, *m_delay, *m_steps_failed, *m_dead, *m_done, *m_oldest,
        *m_rebalances;
};

static const char *const outcome_names[] = {"done", "retry", "dead", "abandoned", "parked", "waiting"};

static int64_t wall(const struct intake *i)
{
    return clock_wall_ms(i->o.env->clock);
}

/* By what retried jobs are timed: a worker whose clock is wrong must neither hold back nor hurry those that others
 * published or take. */
static int64_t common(const struct intake *i)
{
    return leases_time_ms(i->o.env->leases);
}

static enum reader reader_of(const struct intake *i, const char *topic)
{
    return !i->reader[READER_OTHERS] || !strcmp(topic, i->o.topic_jobs) ? READER_JOBS : READER_OTHERS;
}

static struct kafka_in *in_of(const struct intake *i, const char *topic)
{
    return i->reader[reader_of(i, topic)];
}

/* The rotation has the job while it runs. */
static struct job *job_of(const struct item *t)
{
    return t->r ? t->r->job : t->job;
}

/* ---- items --------------------------------------------------------------------------------------------------------
 */

static struct item *item_new(struct intake *i, struct offset_ref ref, bool urgent)
{
    struct item *t = calloc(1, sizeof(*t));
    struct job *job = calloc(1, sizeof(*job));
    if (!t || !job) {
        free(t);
        free(job);
        return NULL;
    }
    t->job = job;
    t->intake = i;
    t->ref = ref;
    t->urgent = urgent;
    t->taken_mono_ms = clock_mono_ms(i->o.env->clock);
    buf_init(&t->out_value, DEADLETTER_MAX_BYTES);
    t->next = i->first;
    t->link = &i->first;
    if (t->next) t->next->link = &t->next;
    i->first = t;
    i->n_items++;
    if (!urgent) i->n_ordinary++;
    return t;
}

static void check_idle(struct intake *i)
{
    if (i->draining && i->n_items == 0 && i->o.on_idle) i->o.on_idle(i->o.arg);
}

static void resume_full(struct intake *i);
static void come_again(struct intake *i, struct offset_ref ref);

/* finished: its outcome is durable. Otherwise the message stays uncommitted and comes again, here or, when this worker
 * drains, elsewhere. */
static void item_end(struct item *t, bool finished)
{
    struct intake *i = t->intake;
    if (finished)
        offsets_done(i->offsets, t->ref);
    else if (!i->draining)
        come_again(i, t->ref);
    *t->link = t->next;
    if (t->next) t->next->link = t->link;
    i->n_items--;
    if (!t->urgent) i->n_ordinary--;
    buf_done(&t->out_value);
    if (t->again) loop_timer_free(t->again);
    if (t->wait) loop_timer_free(t->wait);
    if (t->waits_for[0]) breakers_let_go(i->o.breakers, t->waits_for);
    free(t->job);
    free(t);
    resume_full(i);
    check_idle(i);
}

/* ---- handing on: retry topics and dead letters ----------------------------------------------------------------------
 */

static void send_out(struct item *t);

static void tell_end(struct item *t);

static void send_again(void *arg)
{
    struct item *t = arg;
    if (t->telling)
        tell_end(t);
    else
        send_out(t);
}

static void on_sent(void *self, uint64_t id, const void *result)
{
    struct item *t = self;
    const struct kafka_report *k = result;
    (void)id;
    if (k->err && !t->intake->draining) {
        LOG(LOG_LEVEL_WARN, "handover-failed", "an outcome could not be written to Kafka yet",
            LOG_S("kafka.topic", t->out_topic), LOG_S("keyroll.job_id", job_of(t)->job_id),
            LOG_S("error.code", err_name(k->err)), LOG_S("error.message", k->detail));
        if (!t->again) t->again = loop_timer_new(t->intake->loop, send_again, t);
        if (t->again) {
            loop_timer_start(t->again, PRODUCE_AGAIN_MS);
            return;
        }
    }
    if (t->finishing) {
        item_end(t, k->err == 0);
        return;
    }
    if (k->err == 0) { /* the copy of a parked head is safe: the commit may move on, the saga goes on here */
        offsets_done(t->intake->offsets, t->ref);
        t->handed_on = true;
    }
    buf_reset(&t->out_value);
    t->out_topic = NULL;
    if (!t->r) item_end(t, t->handed_on); /* the saga ended meanwhile and waited for this */
}

static void send_out(struct item *t)
{
    if (MUTANT(COMMIT_EARLY)) offsets_done(t->intake->offsets, t->ref);
    char key[IDENTITY_KEY_MAX] = "";
    struct job_header_set headers = {.n = 0};
    if (job_of(t)->account[0]) (void)!job_key(job_of(t), key); /* a message that is no job has no key */
    job_headers_encode(&t->out_headers, &headers);
    const struct kafka_message_out m = {t->out_topic,    key,      strlen(key), t->out_value.data, t->out_value.len,
                                        headers.headers, headers.n};
    int rc = t->intake->o.kafka.produce(t->intake->o.kafka.self, &m, (struct ticket){on_sent, t, 0});
    if (rc == 0) return;
    if (!t->again) t->again = loop_timer_new(t->intake->loop, send_again, t);
    if (t->again) {
        loop_timer_start(t->again, PRODUCE_AGAIN_MS);
    } else if (t->finishing) {
        item_end(t, false);
    } else { /* the copy of a head: the next look parks it anew */
        buf_reset(&t->out_value);
        t->out_topic = NULL;
    }
}

size_t intake_rung(size_t n, unsigned attempts)
{
    size_t k = attempts ? attempts - 1 : 0;
    return k < n ? k : n - 1;
}

static int64_t longest_wait_ms(int64_t rung_ms)
{
    return rung_ms + rung_ms / 10;
}

int64_t intake_due_ms(int64_t not_before_ms, int64_t rung_ms, int64_t now_ms, int64_t *ahead_ms)
{
    int64_t most = now_ms + longest_wait_ms(rung_ms);
    if (not_before_ms <= most) return not_before_ms;
    if (not_before_ms - *ahead_ms > most) *ahead_ms = not_before_ms - most;
    return not_before_ms - *ahead_ms;
}

/* Jitter goes on top of the rung's delay, and never below what was published before: the head of a rung is the first
 * one due, and nothing behind it is due while it waits. */
static int64_t not_before_ms(struct intake *i, size_t k)
{
    int64_t rung_ms = i->o.retry_delay_ms[k], now = common(i);
    int64_t at = now + rung_ms + (int64_t)rng_below(i->o.env->rng, (uint64_t)(rung_ms / 10) + 1);
    int64_t most = now + longest_wait_ms(rung_ms); /* a clock that was set back must not hold all up */
    if (at < i->rung_ms[k] && i->rung_ms[k] <= most) at = i->rung_ms[k];
    return i->rung_ms[k] = at;
}

/* k: which of the retry topics. */
static void hand_to_retry(struct item *t, size_t k, bool counted, int err)
{
    struct intake *i = t->intake;
    t->out_topic = i->o.topic_retry[k];
    t->out_headers = t->headers;
    t->out_headers.attempt += counted;
    t->out_headers.not_before_ms = not_before_ms(i, k);
    if (!t->out_headers.first_seen_ms) t->out_headers.first_seen_ms = wall(i);
    if (err)
        snprintf(t->out_headers.last_error, sizeof(t->out_headers.last_error), "%s %s", err_name(err),
                 err_class_name(err_class(err)));
    buf_reset(&t->out_value);
    if (job_encode(job_of(t), &t->out_value) < 0) { /* it was decoded from a message: only memory can be missing */
        t->out_topic = NULL;
        if (t->finishing) item_end(t, false);
        return;
    }
    send_out(t);
}

static void hand_to_dead(struct item *t, const struct kafka_message_in *raw, int err, const char *step,
                         const char *reason, unsigned attempts, int64_t first_ms)
{
    struct intake *i = t->intake;
    const char *topic = "";
    int32_t partition = -1;
    uint32_t epoch;
    struct deadletter *d = calloc(1, sizeof(*d));
    if (!d) {
        item_end(t, false);
        return;
    }
    d->has_job = !raw;
    d->job = *job_of(t);
    int rc = raw ? deadletter_set_raw(d, raw->value, raw->value_len) : 0;
    event_step(step, d->step);
    deadletter_set_error(d, err, reason);
    d->attempts = attempts ? attempts : 1;
    d->last_failed_at_ms = wall(i);
    d->first_failed_at_ms = first_ms > 0 ? first_ms : d->last_failed_at_ms;
    text_copy(d->by, sizeof(d->by), i->o.worker_id);
    if (offsets_name(i->offsets, (int)t->ref.partition, &topic, &partition, &epoch))
        text_copy(d->origin_topic, sizeof(d->origin_topic), topic);
    if (raw) text_copy(d->origin_topic, sizeof(d->origin_topic), raw->topic);
    d->origin_partition = partition;
    d->origin_offset = t->ref.offset;
    t->out_topic = i->o.topic_dead;
    t->out_headers = t->headers;
    buf_reset(&t->out_value);
    if (!rc) rc = deadletter_encode(d, &t->out_value);
    free(d);
    metric_add(i->m_dead, step, err_name(err), 1);
    if (rc < 0) {
        LOG(LOG_LEVEL_ERROR, "dead-letter-lost", "a dead letter could not be written; the message stays",
            LOG_S("error.code", err_name(rc)));
        item_end(t, false);
        return;
    }
    t->finishing = true;
    send_out(t);
}

/* ---- the saga's end
 * -------------------------------------------------------------------------------------------------- */

static void log_end(const struct item *t, const struct rotation *r, int outcome)
{
    enum log_level level = outcome == OUTCOME_DEAD ? LOG_LEVEL_ERROR : r->error ? LOG_LEVEL_WARN : LOG_LEVEL_INFO;
    char trace[TRACE_ID_MAX];
    trace_id(r->traceparent, trace);
    LOG(level, "job-end", r->reason[0] ? r->reason : "finished", LOG_S("keyroll.job_id", r->job->job_id),
        LOG_S("keyroll.kind", job_kind_name(r->job->kind)), LOG_S("keyroll.licence", r->job->licence),
        LOG_S("cloud.account.id", r->job->account), LOG_S("keyroll.outcome", outcome_names[outcome]),
        LOG_S("keyroll.step", r->error ? r->step : NULL), LOG_S("error.code", r->error ? err_name(r->error) : NULL),
        LOG_S("keyroll.state", record_state_name(r->record.state)), LOG_I("keyroll.attempt", t->headers.attempt),
        LOG_I("event.duration", 1000000 * (clock_mono_ms(r->env->clock) - r->begun_mono_ms)), LOG_S("trace.id", trace));
}

static int begin(struct item *t);
static void on_wait_over(void *arg);

/* ---- jobs that wait for their time, and jobs that wait for a breaker ---- */

static void begin_or_hand_on(struct item *t)
{
    int rc = begin(t);
    if (rc == 0) return;
    t->finishing = true;
    if (rc == ERR_INVALID)
        hand_to_dead(t, NULL, rc, "begin", "the job names no IAM user that can be", 1, 0);
    else
        hand_to_retry(t, 0, false, rc);
}

/* A fetch that is under way when a partition is resumed asks for the others only, and the broker holds it for
 * fetch.wait.max.ms. So partitions are resumed AHEAD_MS early, and what comes in that time waits here. */
static bool is_early(const struct intake *i, const struct item *t)
{
    return t->headers.not_before_ms > common(i);
}

static void wait_until_due(struct item *t)
{
    struct intake *i = t->intake;
    if (!t->wait) t->wait = loop_timer_new(i->loop, on_wait_over, t);
    t->early = t->wait != NULL;
    if (t->early)
        loop_timer_start(t->wait, t->headers.not_before_ms - common(i));
    else
        item_end(t, false); /* no memory: it comes again */
}

static void on_wait_over(void *arg)
{
    struct item *t = arg;
    if (t->early) {
        t->early = false;
        if (is_early(t->intake, t))
            wait_until_due(t);
        else
            begin_or_hand_on(t);
        return;
    }
    if (!t->waits) return;
    t->waits = false;
    breakers_let_go(t->intake->o.breakers, t->waits_for); /* held again if it fails again */
    if (begin(t) < 0) item_end(t, t->handed_on);          /* the record says when it is tried again */
}

/* The record tells that the licence waits, so the message is done. One job per breaker stays here to be the probe. */
static void wait_for_breaker(struct item *t, const char *name)
{
    struct intake *i = t->intake;
    int64_t wait_ms = 0;
    t->waits_for[0] = '\0';
    if (i->draining || !i->o.breakers || !name[0] || !breakers_hold(i->o.breakers, name, &wait_ms)) {
        item_end(t, true);
        return;
    }
    text_copy(t->waits_for, sizeof(t->waits_for), name);
    if (!t->wait) t->wait = loop_timer_new(i->loop, on_wait_over, t);
    if (!t->wait) {
        item_end(t, true);
        return;
    }
    offsets_done(i->offsets, t->ref);
    t->handed_on = t->waits = true;
    t->finishing = false;
    loop_timer_start(t->wait, wait_ms);
}

void intake_recovered(struct intake *i, const char *breaker)
{
    for (struct item *t = i->first; t; t = t->next)
        if (t->waits && !strcmp(t->waits_for, breaker)) loop_timer_start(t->wait, 0);
}

const struct job *intake_waiting_for(const struct intake *i, const char *breaker)
{
    for (const struct item *t = i->first; t; t = t->next)
        if (!strcmp(t->waits_for, breaker)) return job_of(t);
    return NULL;
}

static void drop_waiting(struct intake *i)
{
    for (struct item *t = i->first, *next; t; t = next) {
        next = t->next;
        if (t->waits || t->early) item_end(t, t->waits);
    }
}

static void finish(struct item *t)
{
    struct intake *i = t->intake;
    struct rotation *r = t->r;
    const int outcome = t->outcome;
    const int err = r->error;
    char step[RECORD_STEP_MAX], reason[RECORD_TEXT_MAX], parked[RECORD_PARKED_MAX];
    int64_t first_ms = r->record.first_failed_ms;
    unsigned attempts = r->record.attempts;
    bool again = r->again && outcome == OUTCOME_DONE && !err && !i->draining;
    text_copy(step, sizeof(step), r->step);
    text_copy(reason, sizeof(reason), r->reason);
    text_copy(parked, sizeof(parked), r->record.parked);
    t->r = NULL;
    t->job = TAKE(r->job);
    rotation_free(r);
    if (again && begin(t) == 0) return;
    if (t->out_topic && !t->finishing && !t->handed_on)
        return; /* a copy of this head is on its way: on_sent ends the item */
    t->finishing = true;
    switch (outcome) {
    case OUTCOME_DONE:
        item_end(t, true);
        return;
    case OUTCOME_PARKED:
        item_end(t, t->handed_on || MUTANT(PARKED_DONE));
        return;
    case OUTCOME_RETRY:
        hand_to_retry(t, intake_rung(i->o.n_retry, attempts), true, err);
        return;
    case OUTCOME_ABANDONED:
        if (MUTANT(ABANDONED_DONE)) {
            item_end(t, true);
            return;
        }
        hand_to_retry(t, 0, false, err);
        return;
    case OUTCOME_WAITING:
        wait_for_breaker(t, parked);
        return;
    case OUTCOME_DEAD:
        hand_to_dead(t, NULL, err, step, reason, attempts, first_ms);
        return;
    }
    assert(!"outcome");
}

/* Before the message is finished it is told how it ended (I8): a record alone tells nobody. */
static void wait_to_tell(struct item *t)
{
    if (!t->again) t->again = loop_timer_new(t->intake->loop, send_again, t);
    if (t->again) {
        loop_timer_start(t->again, PRODUCE_AGAIN_MS);
        return;
    }
    t->telling = false; /* no memory: the log told it */
    finish(t);
}

static void on_told(void *self, uint64_t id, const void *result)
{
    struct item *t = self;
    (void)id;
    if (!t->telling) return; /* nobody waits for it any more */
    if (!((const struct kafka_report *)result)->err || t->intake->draining) {
        t->telling = false;
        finish(t);
        return;
    }
    wait_to_tell(t);
}

static void tell_end(struct item *t)
{
    int type = report_end_type(t->r, t->outcome);
    int rc = type < 0 ? ERR_INVALID : report_end(t->intake->o.env->report, t->r, type, (struct ticket){on_told, t, 0});
    t->telling = rc == 0 || (rc == ERR_BUSY && !t->intake->draining);
    if (rc == ERR_BUSY && t->telling)
        wait_to_tell(t);
    else if (!t->telling)
        finish(t); /* nothing to tell, or what cannot be written; the log told it */
}

static void on_ended(void *arg, struct saga *s, int outcome)
{
    struct intake *i = arg;
    struct rotation *r = ROTATION(s);
    struct item *t = r->owner;
    if (outcome == OUTCOME_DEAD && report_letter_is_there(r)) outcome = OUTCOME_DONE; /* the record has what is new */
    log_end(t, r, outcome);
    metric_add(i->m_jobs, job_kind_name(r->job->kind), outcome_names[outcome], 1);
    if (outcome == OUTCOME_DONE && !r->error && !r->again) {
        int64_t due_ms = r->job->due_at_ms ? r->job->due_at_ms : r->job->created_at_ms;
        metric_observe(i->m_done, job_kind_name(r->job->kind), NULL, (double)(wall(i) - due_ms) / 1000);
    }
    t->outcome = outcome;
    tell_end(t);
}

static void on_moved(void *arg, struct saga *s, const struct saga_step *from, const struct saga_step *to, int err,
                     int64_t took_ms)
{
    struct intake *i = arg;
    metric_observe(i->m_step, s->table->kind, from->name, (double)took_ms / 1000);
    if (err) metric_add(i->m_steps_failed, from->name, err_name(err), 1);
    if (!log_enabled(LOG_LEVEL_DEBUG)) return;
    const struct rotation *r = ROTATION(s);
    LOG(LOG_LEVEL_DEBUG, "step", to ? to->name : "end", LOG_S("keyroll.job_id", r->job->job_id),
        LOG_S("keyroll.licence", r->job->licence), LOG_S("keyroll.step", from->name),
        LOG_S("error.code", err ? err_name(err) : NULL), LOG_S("event.reason", err ? r->reason : NULL),
        LOG_I("keyroll.attempt", s->attempt), LOG_I("event.duration", took_ms * 1000000));
}

static int begin(struct item *t)
{
    struct intake *i = t->intake;
    struct rotation *r;
    int rc = rotation_new(i->o.env, t->job, &r);
    if (rc < 0) return rc;
    trace_child(&rng_system, t->headers.traceparent, r->traceparent);
    rc = rotation_begin(i->engine, r);
    if (rc < 0) {
        t->job = TAKE(r->job);
        rotation_free(r);
        return rc;
    }
    r->owner = t;
    t->r = r;
    t->job = NULL;
    return 0;
}

/* ---- admission
 * ------------------------------------------------------------------------------------------------------- */

static void arm_gates(struct intake *i);

static void pause_at(struct intake *i, int index, const struct kafka_message_in *m, enum pause_cause cause,
                     int64_t due_ms)
{
    struct gate *g = &i->gates[index];
    *g = (struct gate){cause, !strcmp(m->topic, i->o.topic_urgent), m->offset, due_ms, g->ahead_ms};
    if (kafka_in_pause(in_of(i, m->topic), m->topic, m->partition) < 0)
        LOG(LOG_LEVEL_WARN, "pause-failed", "a partition could not be paused", LOG_S("kafka.topic", m->topic));
    if (cause == PAUSED_UNTIL) arm_gates(i);
}

/* There is no memory now: from this offset on the partition is read again in a while. */
static void read_again(struct intake *i, int index, int64_t offset)
{
    uint32_t epoch;
    struct kafka_message_in m = {.offset = offset};
    if (!offsets_name(i->offsets, index, &m.topic, &m.partition, &epoch)) return;
    LOG(LOG_LEVEL_WARN, "read-again", "no memory: messages of a partition are read again",
        LOG_S("kafka.topic", m.topic), LOG_I("kafka.partition", m.partition), LOG_I("kafka.offset", offset));
    pause_at(i, index, &m, PAUSED_UNTIL, common(i) + READ_AGAIN_MS);
}

/* This message was taken and nothing became of it. What else is open in its partition comes twice, which changes
 * nothing (I5); ends of the first copies no longer count. */
static void come_again(struct intake *i, struct offset_ref ref)
{
    int64_t offset = offsets_rewind(i->offsets, ref);
    if (offset >= 0) read_again(i, (int)ref.partition, offset);
}

static void resume_gate(struct intake *i, int index)
{
    const char *topic;
    int32_t partition;
    uint32_t epoch;
    struct gate *g = &i->gates[index];
    if (g->cause == RUNNING || i->draining) return;
    if (!offsets_name(i->offsets, index, &topic, &partition, &epoch)) return;
    if (kafka_in_resume(in_of(i, topic), topic, partition, g->offset) == 0) g->cause = RUNNING;
}

static size_t limit_of(const struct intake *i, bool urgent)
{
    return urgent ? i->o.max_in_flight : i->o.max_in_flight - i->o.urgent_share;
}

static bool is_full(const struct intake *i, bool urgent)
{
    return urgent ? i->n_items >= i->o.max_in_flight
                  : i->n_ordinary >= limit_of(i, false) || i->n_items >= i->o.max_in_flight;
}

/* One ordinary partition fills many places, and each pause and resume waits for a thread of librdkafka and fetches
 * anew: so few are resumed while there is work. Called whenever a job ended, so the last ones resume all. */
static void resume_full(struct intake *i)
{
    size_t limit = limit_of(i, false), first = i->resume_from;
    if (i->draining || i->n_items * 100 > limit * RESUME_SHARE) return;
    bool enough = false, all = i->n_items * 100 <= limit * RESUME_ALL_SHARE;
    for (size_t k = 0; k < i->n_gates; k++) {
        size_t at = (first + k) % i->n_gates;
        struct gate *g = &i->gates[at];
        if (g->cause != PAUSED_FULL || (enough && !g->urgent)) continue;
        resume_gate(i, (int)at);
        if (all || g->urgent) continue;
        enough = true;
        i->resume_from = at + 1;
    }
}

static void on_gate_timer(void *arg)
{
    struct intake *i = arg;
    int64_t now = common(i);
    for (size_t k = 0; k < i->n_gates; k++)
        if (i->gates[k].cause == PAUSED_UNTIL && i->gates[k].due_ms <= now) resume_gate(i, (int)k);
    arm_gates(i);
}

static void arm_gates(struct intake *i)
{
    int64_t first = INT64_MAX, now = common(i);
    if (i->draining) return; /* nothing is resumed any more */
    for (size_t k = 0; k < i->n_gates; k++)
        if (i->gates[k].cause == PAUSED_UNTIL && i->gates[k].due_ms < first) first = i->gates[k].due_ms;
    if (first == INT64_MAX) return;
    int64_t wait = first - now;
    loop_timer_start(i->gate_timer, wait < 1      ? 1
                                    : wait < 1000 ? wait
                                                  : 1000); /* a clock that is set is noticed within a second */
}

/* Which of the retry topics; n_retry: none. */
static size_t retry_of(const struct intake *i, const char *topic)
{
    size_t k = 0;
    while (k < i->o.n_retry && strcmp(topic, i->o.topic_retry[k]) != 0) k++;
    return k;
}

/* A message that is no job: to the dead letters, with its bytes. */
static void refuse(struct item *t, const struct kafka_message_in *m, int err, const char *why)
{
    LOG(LOG_LEVEL_ERROR, "message-refused", why, LOG_S("kafka.topic", m->topic), LOG_I("kafka.partition", m->partition),
        LOG_I("kafka.offset", m->offset), LOG_S("error.code", err_name(err)));
    t->finishing = true;
    hand_to_dead(t, m, err, "decode", why, 1, 0);
}

static void admit(struct intake *i, int index, const struct kafka_message_in *m, bool urgent,
                  const struct job_headers *headers, int headers_err, const struct message_fault *headers_fault)
{
    struct offset_ref ref;
    struct message_fault fault = {""};
    int rc = offsets_take(i->offsets, index, m->offset, &ref);
    if (rc == ERR_BUSY) {
        pause_at(i, index, m, PAUSED_FULL, 0);
        return;
    }
    if (rc == ERR_NOMEM) read_again(i, index, m->offset);
    if (rc < 0) return; /* revoked meanwhile, or delivered twice: it comes again or is under way */
    struct item *t = item_new(i, ref, urgent);
    if (!t) {
        come_again(i, ref);
        return;
    }
    t->headers = *headers;
    if (headers_err == 0) rc = job_decode(m->value, m->value_len, t->job, &fault);
    if (headers_err == ERR_NOMEM || rc == ERR_NOMEM) { /* which says nothing about the message */
        item_end(t, false);
        return;
    }
    if (headers_err) {
        refuse(t, m, headers_err, headers_fault->text);
        return;
    }
    if (rc < 0) {
        memset(t->job, 0, sizeof(*t->job));
        refuse(t, m, rc, fault.text);
        return;
    }
    if (!t->headers.job_id[0]) text_copy(t->headers.job_id, sizeof(t->headers.job_id), t->job->job_id);
    if (m->timestamp_ms > 0)
        metric_observe(i->m_delay, urgent ? "urgent" : "ordinary", NULL, (double)(wall(i) - m->timestamp_ms) / 1000);
    if (retry_of(i, m->topic) < i->o.n_retry && is_early(i, t))
        wait_until_due(t);
    else
        begin_or_hand_on(t);
}

/* Begins to track a partition. Returns its index, or ERR_NOMEM. */
static int track(struct intake *i, const char *topic, int32_t partition)
{
    int index = offsets_assign(i->offsets, topic, partition);
    if (index < 0) return index;
    size_t need = (size_t)index + 1;
    if (need > i->n_gates) {
        struct gate *g = reallocarray(i->gates, need, sizeof(*g));
        if (!g) {
            offsets_revoke(i->offsets, topic, partition);
            return ERR_NOMEM;
        }
        memset(g + i->n_gates, 0, (need - i->n_gates) * sizeof(*g)); /* RUNNING */
        i->gates = g;
        i->n_gates = need;
    }
    i->gates[index] = (struct gate){.cause = RUNNING};
    return index;
}

/* A message of a partition that cannot be tracked for want of memory: nothing behind it may be taken before it, or the
 * commit would pass it. */
static void fetch_again(struct intake *i, const struct kafka_message_in *m)
{
    struct kafka_in *in = in_of(i, m->topic);
    int rc = kafka_in_pause(in, m->topic, m->partition);
    if (rc == 0) rc = kafka_in_resume(in, m->topic, m->partition, m->offset);
    if (rc < 0)
        LOG(LOG_LEVEL_WARN, "read-again", "no memory: a message comes again after the next rebalance only",
            LOG_S("kafka.topic", m->topic), LOG_I("kafka.partition", m->partition), LOG_I("kafka.offset", m->offset),
            LOG_S("error.code", err_name(rc)));
}

void intake_on_message(void *arg, const struct kafka_message_in *m)
{
    struct intake *i = arg;
    struct job_headers headers;
    struct message_fault fault = {""};
    if (i->draining) return;
    int index = offsets_find(i->offsets, m->topic, m->partition);
    if (index < 0) index = track(i, m->topic, m->partition);
    if (index < 0) {
        fetch_again(i, m);
        return;
    }
    if (i->gates[index].cause != RUNNING) return; /* fetched before a pause: comes again */
    bool urgent = !strcmp(m->topic, i->o.topic_urgent);
    int rc = job_headers_decode(m->headers, m->n_headers, &headers, &fault);
    size_t rung = retry_of(i, m->topic);
    if (!rc && rung < i->o.n_retry) {
        struct gate *g = &i->gates[index];
        headers.not_before_ms =
            intake_due_ms(headers.not_before_ms, i->o.retry_delay_ms[rung], common(i), &g->ahead_ms);
        if (headers.not_before_ms - AHEAD_MS > common(i)) {
            pause_at(i, index, m, PAUSED_UNTIL, headers.not_before_ms - AHEAD_MS);
            return;
        }
    }
    if (is_full(i, urgent)) {
        pause_at(i, index, m, PAUSED_FULL, 0);
        return;
    }
    admit(i, index, m, urgent, &headers, rc, &fault);
}

/* ---- assignment and commits
 * ------------------------------------------------------------------------------------------- */

void intake_on_assigned(void *arg, const struct kafka_partition *p, size_t n)
{
    struct intake *i = arg;
    metric_add(i->m_rebalances, "assigned", NULL, (double)n);
    for (size_t k = 0; k < n; k++) (void)track(i, p[k].topic, p[k].partition); /* no memory: its first message does */
}

/* Finished offsets of the partitions that one consumer reads; only those of p when given. */
static void collect(struct intake *i, enum reader reader, const struct kafka_partition *p, size_t n, struct commit *ret)
{
    const size_t most = offsets_count(i->offsets);
    *ret = (struct commit){calloc(most ? most : 1, sizeof(*ret->p)), calloc(most ? most : 1, sizeof(*ret->of)), 0};
    for (size_t k = 0; k < most && ret->p && ret->of; k++) {
        const char *topic;
        int32_t partition;
        uint32_t epoch;
        int64_t offset;
        if (!offsets_name(i->offsets, (int)k, &topic, &partition, &epoch) ||
            !offsets_to_commit(i->offsets, (int)k, &offset) || reader_of(i, topic) != reader)
            continue;
        bool wanted = p == NULL;
        for (size_t x = 0; x < n && !wanted; x++) wanted = p[x].partition == partition && !strcmp(p[x].topic, topic);
        if (!wanted) continue;
        ret->of[ret->n] = (struct commit_of){(int)k, epoch};
        ret->p[ret->n++] = (struct kafka_partition){topic, partition, offset};
    }
}

/* The answer is in. */
static void end_commit(struct intake *i, struct commit *c, bool done)
{
    for (size_t k = 0; k < c->n && done; k++)
        offsets_committed(i->offsets, c->of[k].index, c->of[k].epoch, c->p[k].offset);
    free(c->p);
    free(c->of);
    *c = (struct commit){NULL, NULL, 0};
}

static void commit_sync(struct intake *i, const struct kafka_partition *only, size_t n_only, int64_t wait_ms)
{
    for (enum reader reader = READER_JOBS; reader < READERS; reader++) {
        struct commit c;
        if (!i->reader[reader]) continue;
        collect(i, reader, only, n_only, &c);
        int rc = c.n ? kafka_in_commit_sync(i->reader[reader], c.p, c.n, wait_ms) : 0;
        end_commit(i, &c, rc == 0);
        if (rc < 0)
            LOG(LOG_LEVEL_WARN, "commit-failed",
                "offsets were not committed; the messages come again and change nothing",
                LOG_S("error.code", err_name(rc)));
    }
}

void intake_on_revoked(void *arg, const struct kafka_partition *p, size_t n, bool lost)
{
    struct intake *i = arg;
    metric_add(i->m_rebalances, lost ? "lost" : "revoked", NULL, (double)n);
    if (!lost) commit_sync(i, p, n, 3000);
    for (size_t k = 0; k < n; k++) {
        int index = offsets_find(i->offsets, p[k].topic, p[k].partition);
        if (index >= 0) i->gates[index].cause = RUNNING;
        offsets_revoke(i->offsets, p[k].topic, p[k].partition);
    }
}

void intake_on_committed(void *arg, const struct kafka_partition *p, size_t n, int err)
{
    struct intake *i = arg;
    (void)p; /* what was sent is kept, with its epochs */
    (void)n;
    end_commit(i, &i->committing[READER_JOBS], err == 0);
}

void intake_on_others_committed(void *arg, const struct kafka_partition *p, size_t n, int err)
{
    struct intake *i = arg;
    (void)p;
    (void)n;
    end_commit(i, &i->committing[READER_OTHERS], err == 0);
}

/* A head that is open for too long is copied to the longest rung, so that the commit moves on; the copy finds the lease
 * busy or the work done, and changes nothing. */
static void park_heads(struct intake *i)
{
    int64_t now = clock_mono_ms(i->o.env->clock), most = i->o.park_after_ms ? i->o.park_after_ms : PARK_AFTER_MS;
    struct item *next;
    for (struct item *t = i->first; t; t = next) {
        int64_t span = 0;
        next = t->next;
        if (now - t->taken_mono_ms < most || t->out_topic || t->handed_on || !t->r || t->telling) continue;
        if (offsets_head(i->offsets, (int)t->ref.partition, &span) != t->ref.offset || span < 2) continue;
        hand_to_retry(t, i->o.n_retry - 1, false, 0);
    }
}

static void on_commit_timer(void *arg)
{
    struct intake *i = arg;
    for (enum reader reader = READER_JOBS; reader < READERS; reader++) {
        struct commit *c = &i->committing[reader];
        if (!i->reader[reader] || c->n) continue;
        collect(i, reader, NULL, 0, c);
        if (!c->n || kafka_in_commit(i->reader[reader], c->p, c->n) < 0) end_commit(i, c, false);
    }
    if (!i->draining) park_heads(i);
    loop_timer_start(i->commit_timer, COMMIT_EVERY_MS);
}

static void on_lease_timer(void *arg)
{
    struct intake *i = arg;
    leases_tick(i->o.env->leases);
    loop_timer_start(i->lease_timer, LEASES_TICK_MS);
}

/* ---- life
 * ------------------------------------------------------------------------------------------------------------- */

static void on_engine_timer(void *arg)
{
    struct intake *i = arg;
    saga_engine_tick(i->engine);
}

static void on_rearm(void *arg, int64_t due_mono_ms)
{
    struct intake *i = arg;
    int64_t wait = due_mono_ms - clock_mono_ms(i->o.env->clock);
    loop_timer_start(i->engine_timer, wait > 0 ? wait : 0);
}

static void on_collect(void *arg)
{
    struct intake *i = arg;
    int64_t now = clock_mono_ms(i->o.env->clock), oldest = now;
    for (const struct item *t = i->first; t; t = t->next)
        if (t->taken_mono_ms < oldest) oldest = t->taken_mono_ms;
    metric_set(i->m_running, NULL, NULL, (double)i->n_items);
    metric_set(i->m_limit, NULL, NULL, (double)i->o.max_in_flight);
    metric_set(i->m_oldest, NULL, NULL, (double)(now - oldest) / 1000);
}

/* A series that begins at 1 shows no increase: what alerts watch begins at 0. */
static void zero_counters(struct intake *i)
{
    static const char *const changes[] = {"assigned", "revoked", "lost"};
    static const int refusals[] = {ERR_SYNTAX, ERR_VERSION, ERR_INVALID, ERR_TOO_LARGE};
    for (int kind = 0; kind < JOB_KINDS; kind++)
        for (size_t k = 0; k < ARRAY_LEN(outcome_names); k++)
            metric_add(i->m_jobs, job_kind_name(kind), outcome_names[k], 0);
    for (size_t k = 0; k < ARRAY_LEN(changes); k++) metric_add(i->m_rebalances, changes[k], NULL, 0);
    for (size_t k = 0; k < ARRAY_LEN(refusals); k++) metric_add(i->m_dead, "decode", err_name(refusals[k]), 0);
}

static void make_metrics(struct intake *i)
{
    static const double steps[] = {0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 120};
    static const double due[] = {1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600, 7 * 24 * 3600};
    struct metrics *m = i->o.metrics;
    if (!m) return;
    i->m_jobs = metric_new(m, METRIC_COUNTER, "keyroll_jobs_total", "Jobs ended, by kind and outcome", "kind",
                           "outcome", NULL, 0);
    i->m_running = metric_new(m, METRIC_GAUGE, "keyroll_jobs_in_flight", "Jobs under way", NULL, NULL, NULL, 0);
    i->m_limit =
        metric_new(m, METRIC_GAUGE, "keyroll_jobs_in_flight_limit",
                   "Jobs that may be under way: max_in_flight, or what fits into the memory", NULL, NULL, NULL, 0);
    i->m_step = metric_new(m, METRIC_HISTOGRAM, "keyroll_step_duration_seconds", "Time spent in a step", "kind", "step",
                           steps, ARRAY_LEN(steps));
    i->m_steps_failed =
        metric_new(m, METRIC_COUNTER, "keyroll_step_failures_total", "Failed tries of a step", "step", "code", NULL, 0);
    i->m_delay = metric_new(m, METRIC_HISTOGRAM, "keyroll_job_start_delay_seconds", "From publication to start",
                            "queue", NULL, steps, ARRAY_LEN(steps));
    i->m_dead =
        metric_new(m, METRIC_COUNTER, "keyroll_dead_letters_total", "Dead letters written", "step", "code", NULL, 0);
    i->m_done = metric_new(m, METRIC_HISTOGRAM, "keyroll_job_due_to_done_seconds",
                           "From when a job was due to when it was done", "kind", NULL, due, ARRAY_LEN(due));
    i->m_oldest = metric_new(m, METRIC_GAUGE, "keyroll_job_oldest_age_seconds",
                             "Time since the oldest job under way was taken", NULL, NULL, NULL, 0);
    i->m_rebalances = metric_new(m, METRIC_COUNTER, "keyroll_partition_changes_total", "Partitions given and taken",
                                 "event", NULL, NULL, 0);
    zero_counters(i);
    metrics_on_collect(m, on_collect, i);
}

int intake_new(struct loop *l, const struct intake_options *o, struct intake **ret_intake)
{
    struct intake *i = calloc(1, sizeof(*i));
    if (!i) return ERR_NOMEM;
    assert(o->n_retry > 0 && o->n_retry <= OPTIONS_RETRIES_MAX && o->urgent_share < o->max_in_flight);
    i->loop = l;
    i->o = *o;
    const struct saga_hooks hooks = {rotation_guard, on_moved, on_ended, on_rearm, i};
    int rc = saga_engine_new(o->env->clock, o->env->rng, &hooks, &i->engine);
    if (!rc) rc = offsets_new(MAX_SPAN, &i->offsets);
    i->engine_timer = loop_timer_new(l, on_engine_timer, i);
    i->commit_timer = loop_timer_new(l, on_commit_timer, i);
    i->gate_timer = loop_timer_new(l, on_gate_timer, i);
    i->lease_timer = loop_timer_new(l, on_lease_timer, i);
    if (!rc && (!i->engine_timer || !i->commit_timer || !i->gate_timer || !i->lease_timer)) rc = ERR_NOMEM;
    if (rc < 0) {
        intake_free(i);
        return rc;
    }
    make_metrics(i);
    loop_timer_start(i->commit_timer, COMMIT_EVERY_MS);
    loop_timer_start(i->lease_timer, LEASES_TICK_MS);
    *ret_intake = i;
    return 0;
}

void intake_free(struct intake *i)
{
    if (!i) return;
    if (i->engine_timer) loop_timer_free(i->engine_timer);
    if (i->commit_timer) loop_timer_free(i->commit_timer);
    if (i->gate_timer) loop_timer_free(i->gate_timer);
    if (i->lease_timer) loop_timer_free(i->lease_timer);
    for (size_t k = 0; k < READERS; k++) end_commit(i, &i->committing[k], false);
    offsets_free(i->offsets);
    free(i->gates);
    if (i->engine && saga_count(i->engine) == 0)
        saga_engine_free(i->engine); /* else the process ends at its drain deadline */
    free(i);
}

void intake_bind(struct intake *i, struct kafka_in *jobs, struct kafka_in *others)
{
    i->reader[READER_JOBS] = jobs;
    i->reader[READER_OTHERS] = others;
}

static void wake(void *arg, struct saga *s)
{
    (void)arg;
    saga_wake(s);
}

void intake_drain(struct intake *i)
{
    if (i->draining) return;
    i->draining = true;
    i->o.env->draining = true;
    for (size_t k = 0; k < READERS; k++)
        if (i->reader[k]) kafka_in_stop_intake(i->reader[k]);
    drop_waiting(i);
    saga_each(i->engine, wake, NULL);
    check_idle(i);
}

void intake_commit_now(struct intake *i, int64_t wait_ms)
{
    commit_sync(i, NULL, 0, wait_ms / READERS); /* one after the other */
}

size_t intake_in_flight(const struct intake *i)
{
    return i->n_items;
}
