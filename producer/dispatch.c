/* Publishing is paced twice: jobs per second (plan_publish_rate), so that a fleet that comes due at once does not flood
 * the topic, and new keys per hour (max_rotations_per_hour). The workers' gate is the hard limit of the latter; pacing
 * here only keeps the topic free of work that would have to wait there. What operators ask for and exposed keys do not
 * count.
 *
 * Nor does more queue than is worked off in a few minutes (unless plan_publish_rate is off): what was published and
 * shows no effect yet is bounded by what had an effect lately. Else a job would queue for longer than its repetition is
 * held back, the topic would fill with copies, and what is resumed or retired would wait behind them.
 *
 * Nothing here is needed for correctness: a job published twice is the same job, and the hold-back below is thrift. It
 * is lifted as soon as record or journal show that the job had an effect, with a growing pause so that nothing runs in
 * a circle. */
#include "producer/dispatch.h"

#include "lib/err.h"
#include "producer/map.h"
#include "producer/publish.h"
#include "schema/options.h"

#include <stdio.h>
#include <string.h>

#define HOLD_MIN_MS     60000
#define HOLD_TICKS      10
#define HOLD_FIRST_MS   1000
#define PACE_MS         20
#define PRUNE_EVERY     200 /* lists */
#define QUEUED_LITTLE   500 /* at least so much may queue */
#define HOLD_MOST_MS    3600000
#define EFFECTS_KEPT    16
#define EFFECTS_MS      120000
#define EFFECTS_SPAN_MS (EFFECTS_MS / EFFECTS_KEPT)

struct hold {
    char job_id[IDENTITY_JOB_ID_MAX];
    uint64_t signature;
    int64_t mono_ms; /* when it was published last */
    unsigned times;
    bool queued; /* counted as such */
};

struct dispatch {
    struct dispatch_options o;
    struct loop_timer *timer;
    const struct survey_due *items;
    size_t n, at;
    struct map holds; /* user key -> struct hold */
    struct pace pace;
    double tokens;
    int64_t tokens_mono_ms;
    size_t limited, outstanding;
    size_t queued; /* of the jobs that are subject to it: published, without an effect yet */
    struct {
        int64_t span; /* of time: monotonic / EFFECTS_SPAN_MS */
        size_t n;
    } effects[EFFECTS_KEPT]; /* a ring */
    unsigned lists;
};

/* A message under way: what its report is about. Many may wait for the broker at once, so only that is kept of the job.
 */
struct sent {
    struct dispatch *d;
    struct dispatch_sent m; /* its strings lie in text */
    const char *user_key;
    char text[];
};

static void publish_some(void *arg);

struct dispatch *dispatch_new(const struct dispatch_options *o)
{
    struct dispatch *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    d->o = *o;
    d->tokens = o->o->plan_publish_rate;
    d->tokens_mono_ms = clock_mono_ms(o->clock);
    if ((d->timer = loop_timer_new(o->loop, publish_some, d))) return d;
    free(d);
    return NULL;
}

void dispatch_free(struct dispatch *d)
{
    if (!d) return;
    loop_timer_free(d->timer);
    map_done(&d->holds, free);
    free(d);
}

/* ---- hold-back ---- */

int64_t dispatch_hold_ms(int64_t tick_ms, unsigned times, bool changed)
{
    int64_t longest = HOLD_TICKS * tick_ms > HOLD_MIN_MS ? HOLD_TICKS * tick_ms : HOLD_MIN_MS;
    if (!changed) return longest;
    int64_t ms = times < 16 ? HOLD_FIRST_MS << (times ? times - 1 : 0) : longest;
    return ms < longest ? ms : longest;
}

/* ---- how much may queue ---- */

static bool is_bounded(const struct dispatch *d, const struct survey_due *due)
{
    return d->o.o->plan_publish_rate > 0 && due->verdict.rank >= POLICY_ROTATE && !due->verdict.recovered;
}

static size_t effects_lately(const struct dispatch *d)
{
    size_t n = 0;
    int64_t since = clock_mono_ms(d->o.clock) / EFFECTS_SPAN_MS - EFFECTS_KEPT;
    for (size_t i = 0; i < EFFECTS_KEPT; i++)
        if (d->effects[i].span > since) n += d->effects[i].n;
    return n;
}

/* What queues for long is held back for longer: twice the time that the queue takes as it goes now. */
static int64_t hold_ms(const struct dispatch *d, unsigned times, bool changed)
{
    int64_t ms = dispatch_hold_ms(d->o.o->tick_ms, times, changed), most = ms > HOLD_MOST_MS ? ms : HOLD_MOST_MS;
    size_t effects = effects_lately(d);
    if (changed || d->queued <= QUEUED_LITTLE) return ms;
    int64_t queue_ms = 2 * (int64_t)d->queued * EFFECTS_MS / (int64_t)(effects ? effects : 1);
    return queue_ms < ms ? ms : queue_ms < most ? queue_ms : most;
}

static struct hold *hold_of(const struct dispatch *d, const struct survey_due *due)
{
    char key[IDENTITY_KEY_MAX];
    if (!is_bounded(d, due) || identity_key(due->row->account, due->row->user, key) < 0) return NULL;
    return map_get(&d->holds, key);
}

/* What queued at the last list or was published since, and neither still does nor was given up, had its effect. */
static void count_queued(struct dispatch *d)
{
    size_t now = 0, given_up = 0;
    int64_t mono_ms = clock_mono_ms(d->o.clock), span = mono_ms / EFFECTS_SPAN_MS;
    if (d->o.o->plan_publish_rate <= 0) return;
    for (size_t i = 0; i < d->n; i++) {
        struct hold *h = hold_of(d, &d->items[i]);
        if (!h || !h->queued || h->signature != d->items[i].signature) continue;
        h->queued = mono_ms - h->mono_ms < hold_ms(d, h->times, false);
        now += h->queued;
        given_up += !h->queued;
    }
    size_t at = (size_t)(span % EFFECTS_KEPT);
    if (d->effects[at].span != span) d->effects[at].n = 0;
    d->effects[at].span = span;
    if (d->queued > now + given_up) d->effects[at].n += d->queued - now - given_up;
    d->queued = now;
}

/* What a tick publishes, and what had an effect lately. */
static bool may_queue(const struct dispatch *d)
{
    double tick = d->o.o->plan_publish_rate * (double)d->o.o->tick_ms / 1000;
    size_t always = tick > QUEUED_LITTLE ? (size_t)tick : QUEUED_LITTLE;
    return d->queued < always + effects_lately(d);
}

/* What parked had no effect and was counted before: once it may go on, only a message that still queues holds it. */
static bool is_held(const struct dispatch *d, const char *user_key, const struct job *j, const struct survey_due *due)
{
    const struct hold *h = map_get(&d->holds, user_key);
    uint64_t signature = due->signature;
    if (!h || strcmp(h->job_id, j->job_id) != 0) return false;
    if (due->verdict.recovered && h->signature != signature) return false;
    return clock_mono_ms(d->o.clock) - h->mono_ms < hold_ms(d, h->times, h->signature != signature);
}

/* False when this very job was counted already: it was lost or still queues. */
static bool is_new(const struct dispatch *d, const char *user_key, const struct job *j, uint64_t signature)
{
    const struct hold *h = map_get(&d->holds, user_key);
    return !h || strcmp(h->job_id, j->job_id) != 0 || h->signature != signature;
}

static void hold(struct dispatch *d, const char *user_key, const struct job *j, const struct survey_due *due)
{
    struct hold *h = map_get(&d->holds, user_key);
    if (!h) {
        h = calloc(1, sizeof *h);
        if (!h) return; /* it is published again at the next tick: harmless */
        if (map_put(&d->holds, user_key, h, NULL) < 0) {
            free(h);
            return;
        }
    }
    bool same = strcmp(h->job_id, j->job_id) == 0;
    memcpy(h->job_id, j->job_id, sizeof h->job_id);
    h->times = same ? h->times + 1 : 1;
    h->signature = due->signature;
    h->mono_ms = clock_mono_ms(d->o.clock);
    h->queued = is_bounded(d, due);
    d->queued += h->queued;
}

static void release(struct dispatch *d, const char *user_key)
{
    free(map_take(&d->holds, user_key));
}

/* Forgets what is long past, so that licences that left do not stay for ever. */
static void prune(struct dispatch *d)
{
    int64_t now = clock_mono_ms(d->o.clock), longest = 2 * hold_ms(d, 0, false);
    struct map kept = {0};
    const char *key;
    size_t at = 0;
    for (struct hold *h; (h = map_next(&d->holds, &at, &key));) {
        if (now - h->mono_ms >= longest || map_put(&kept, key, h, NULL) < 0) free(h);
    }
    map_done(&d->holds, NULL);
    d->holds = kept;
}

/* ---- publishing ---- */

static const char *keep(char **at, const char *text)
{
    size_t len = strlen(text) + 1;
    char *copy = memcpy(*at, text, len);
    *at += len;
    return copy;
}

static struct sent *sent_new(struct dispatch *d, const struct job *j, const char *user_key)
{
    size_t len = strlen(j->job_id) + strlen(j->licence) + strlen(j->replace_key_id) + strlen(user_key) + 4;
    struct sent *s = malloc(sizeof *s + len);
    if (!s) return NULL;
    char *at = s->text;
    *s = (struct sent){.d = d, .m = {.kind = j->kind, .reason = j->reason}};
    s->m.job_id = keep(&at, j->job_id);
    s->m.licence = keep(&at, j->licence);
    s->m.key_id = keep(&at, j->replace_key_id);
    s->user_key = keep(&at, user_key);
    return s;
}

static void on_report(void *self, uint64_t id, const void *result)
{
    struct sent *s = self;
    const struct kafka_report *r = result;
    (void)id;
    s->d->outstanding--;
    if (r->err) release(s->d, s->user_key);
    s->d->o.reported(s->d->o.arg, &s->m, r->err, r->detail ? r->detail : "");
    free(s);
}

static bool counts(const struct job *j)
{
    return j->kind == JOB_ROTATE && j->reason == JOB_SCHEDULED;
}

/* Hands the job to Kafka. counted: as one of the hour's new keys. */
static int send(struct dispatch *d, const struct survey_due *due, const struct job *j, const char *user_key,
                bool counted)
{
    struct sent *s = sent_new(d, j, user_key);
    if (!s) return ERR_NOMEM;
    int rc = publish_job(d->o.kafka, d->o.o, j, (struct ticket){on_report, s, 0});
    if (rc < 0) {
        free(s);
        return rc;
    }
    hold(d, user_key, j, due);
    if (counted) pace_count(&d->pace, j->created_at_ms);
    if (!due->verdict.recovered) d->tokens -= 1;
    d->outstanding++;
    return 0;
}

/* What failed for good is tried again without another dead letter. False: it is not known yet whether there is one. */
static bool note_letter(const struct dispatch *d, const struct survey_due *due, const char *user_key, struct job *j)
{
    int64_t since = due->verdict.failing_since_ms;
    if (since == TIME_NONE || !d->o.dead_step) return true;
    const char *step = d->o.dead_step(d->o.arg, user_key, j->kind, since);
    if (step) snprintf(j->dead_step, sizeof j->dead_step, "%s", step);
    return step != NULL;
}

/* 0: done with this one, in one way or the other. ERR_BUSY: the client's queue is full, later. */
static int publish_one(struct dispatch *d, const struct survey_due *due)
{
    struct job j = {.job_id = ""};
    char key[IDENTITY_KEY_MAX];
    int64_t now = clock_wall_ms(d->o.clock);
    int rc = publish_make(due->row, &due->verdict, d->o.by, now, &j);
    if (rc == 0) rc = job_key(&j, key);
    if (rc == 0 && (is_held(d, key, &j, due) || (is_bounded(d, due) && !may_queue(d)))) return 0;
    if (rc == 0 && !note_letter(d, due, key, &j)) return 0;
    bool counted = rc == 0 && counts(&j) && !due->verdict.recovered && is_new(d, key, &j, due->signature);
    if (counted && pace_left(&d->pace, d->o.o->max_rotations_per_hour, now) <= 0) {
        d->limited++;
        return 0;
    }
    if (rc == 0) rc = send(d, due, &j, key, counted);
    if (rc == 0 || rc == ERR_BUSY) return rc;
    const struct dispatch_sent m = {.kind = due->verdict.kind,
                                    .reason = due->verdict.reason,
                                    .job_id = j.job_id,
                                    .licence = due->row->licence,
                                    .key_id = ""};
    d->o.reported(d->o.arg, &m, rc, "");
    return 0;
}

/* Tokens for the time that has gone by; at most one second's worth is saved up. */
static bool may_publish(struct dispatch *d)
{
    double rate = d->o.o->plan_publish_rate;
    int64_t now = clock_mono_ms(d->o.clock);
    if (rate <= 0) return true;
    d->tokens += rate * (double)(now - d->tokens_mono_ms) / 1000;
    d->tokens_mono_ms = now;
    double most = rate > 1 ? rate : 1;
    if (d->tokens > most) d->tokens = most;
    return d->tokens >= 1;
}

static void publish_some(void *arg)
{
    struct dispatch *d = arg;
    int rc = 0;
    for (int n = 0; n < 500 && d->at < d->n && (d->items[d->at].verdict.recovered || may_publish(d)); n++) {
        rc = publish_one(d, &d->items[d->at]);
        if (rc == ERR_BUSY) break;
        d->at++;
    }
    if (d->at < d->n) loop_timer_start(d->timer, d->o.o->plan_publish_rate <= 0 && rc == 0 ? 0 : PACE_MS);
}

void dispatch_list(struct dispatch *d, const struct survey_due *items, size_t n)
{
    d->items = items;
    d->n = n;
    d->at = 0;
    d->limited = 0;
    count_queued(d);
    if (++d->lists % PRUNE_EVERY == 0) prune(d);
    publish_some(d);
}

void dispatch_forget(struct dispatch *d)
{
    map_done(&d->holds, free);
    d->holds = (struct map){0};
    d->queued = 0;
}

void dispatch_stop(struct dispatch *d)
{
    d->n = d->at = 0;
    loop_timer_stop(d->timer);
}

size_t dispatch_left(const struct dispatch *d)
{
    return d->n - d->at;
}

size_t dispatch_limited(const struct dispatch *d)
{
    return d->limited;
}

size_t dispatch_outstanding(const struct dispatch *d)
{
    return d->outstanding;
}
