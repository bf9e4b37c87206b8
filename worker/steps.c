/* Steps that several job kinds share (steps.h). Each starts one operation through an edge of rotation_env and copies
 * what it needs from the borrowed result. */
#include "worker/steps.h"

#include "lib/err.h"
#include "lib/mutant.h"
#include "lib/text.h"
#include "worker/report.h"

#include <assert.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#define LEASE_MARGIN_MS     500  /* between a call's deadline and the end of the lease */
#define CALL_MIN_MS         1000 /* a mutating call is not begun with less time than this */
#define HELD_POLL_MAX_MS    2000 /* a lease that is busy is asked for again at the latest after this */
#define UNSENT_AGAIN_MS     100
#define TURN_LOOK_MS        3600000 /* it is woken */
#define HELD_BACK_SLACK_MS  1000
#define MARKS_FRESH_MS      5000
#define MARKS_LOOKS         8 /* each for one more try of the call, in one run */
#define RELEASE_FROM_END    3 /* every table ends with the rows release, record, park */
#define KAFKA_DOWN_AGAIN_MS 500
#define LOOK_MOST_MS        240000 /* the promise is five minutes (SAFETY.md): the list was a while on its way */
#define OLD_LOOKS           2 /* in one run: each may take 15 minutes, and a lease is renewed for 30 (lease_max_age) */
#define PARKED_AGAIN_MS     60000   /* should nobody say that it is back */
#define OVERLAP_SPARE_MS    3600000 /* of an overlap, by default: 25 h for links that live 24 h */

/* Times in journal and record are compared by whatever worker comes next. So they are not this host's wall clock but
 * Redis's, which all workers share, carried on by the monotonic clock: a wall clock that jumps, or two that disagree,
 * count for nothing. Where ending a wait early would break something, Redis's clock is not trusted alone (a replica on
 * another host may take over): such stamps are the later of both clocks and such waits end by the earlier one, so one
 * clock that is wrong makes a wait longer, never shorter. */
int64_t step_now_ms(const struct rotation *r)
{
    int64_t now;
    return lease_time_ms(&r->lease, &now, NULL) ? now : clock_wall_ms(r->env->clock);
}

int64_t step_latest_ms(const struct rotation *r)
{
    int64_t wall = clock_wall_ms(r->env->clock), now, most;
    return lease_time_ms(&r->lease, &now, &most) && most > wall ? most : wall;
}

int64_t step_left_ms(const struct rotation *r, int64_t until_ms)
{
    int64_t wall = clock_wall_ms(r->env->clock), now = step_now_ms(r), left = until_ms - (now < wall ? now : wall);
    return left > 0 ? left : 0;
}

const struct aws_key *step_listed(const struct rotation *r, const char *id)
{
    for (size_t i = 0; id[0] && i < r->n_keys; i++)
        if (!strcmp(r->keys[i].id, id)) return &r->keys[i];
    return NULL;
}

enum keyslots_lag step_list_lag(const struct rotation *r)
{
    const int64_t ago_ms = clock_mono_ms(r->env->clock) - r->listed_mono_ms, aws_ms = step_aws_ms(r);
    return keyslots_lags(&r->record, r->keys, r->n_keys, r->env->policy.create_doubt_ms, step_now_ms(r) - ago_ms,
                         aws_ms == TIME_NONE ? TIME_NONE : aws_ms - ago_ms);
}

bool step_shows_old(struct rotation *r)
{
    const int64_t life_ms = r->can.write_life_ms, now = clock_mono_ms(r->env->clock);
    const bool known = r->seen != INSTANCE_SEEN_ID || record_find(&r->record, r->seen_id);
    const bool decided = known ? r->kept_secret != NULL : step_listed(r, r->seen_id) != NULL;
    const bool old = keyslots_shows_old(&r->record, r->seen, r->seen_id, life_ms, step_now_ms(r), step_aws_ms(r));
    if (decided || !old) {
        r->doubted_mono_ms = 0;
        return false;
    }
    if (!r->doubted_mono_ms) r->doubted_mono_ms = now;
    return now - r->doubted_mono_ms < life_ms; /* whatever clock was set */
}

bool step_is_exposed(const struct rotation *r, const char *id)
{
    if (MUTANT(EXPOSED_REVIVED) || !id[0]) return false;
    for (size_t i = 0; i < r->n_exposed; i++)
        if (!strcmp(r->exposed[i], id)) return true;
    const struct record_key *k = record_find_const(&r->record, id); /* the mark itself may be lost */
    return k && k->exposed;
}

/* ---- how a run ends -----------------------------------------------------------------------------------------------
 */

void rotation_note(struct rotation *r, int err, bool counted, const char *fmt, ...)
{
    va_list ap;
    r->error = err;
    r->counted = counted;
    text_copy(r->step, sizeof(r->step), saga_row(&r->saga)->name);
    va_start(ap, fmt);
    vsnprintf(r->reason, sizeof(r->reason), fmt, ap);
    va_end(ap);
}

void rotation_note_wait(struct rotation *r, int64_t until_ms, const char *fmt, ...)
{
    va_list ap;
    r->error = 0;
    r->counted = false;
    r->next_ms = until_ms;
    text_copy(r->step, sizeof(r->step), saga_row(&r->saga)->name);
    va_start(ap, fmt);
    vsnprintf(r->reason, sizeof(r->reason), fmt, ap);
    va_end(ap);
}

/* ---- guard --------------------------------------------------------------------------------------------------------
 */

static int64_t effect_time_ms(const struct rotation *r)
{
    int64_t left = lease_left_ms(&r->lease) - LEASE_MARGIN_MS;
    return left < r->env->policy.mutate_timeout_ms ? left : r->env->policy.mutate_timeout_ms;
}

int64_t rotation_guard(void *arg, struct saga *s, const struct saga_step *step)
{
    struct rotation *r = ROTATION(s);
    (void)arg;
    if (r->env->draining && (step->flags & SAGA_BOUNDARY)) return ERR_DRAINING;
    if (!(step->flags & (SAGA_LEASED | SAGA_EFFECT))) return 0;
    if (MUTANT(GUARD_BLIND)) return 0;
    if (lease_left_ms(&r->lease) <= LEASE_MARGIN_MS) return ERR_LEASE_LOST;
    if (!(step->flags & SAGA_EFFECT)) return 0;
    int64_t enough = r->env->policy.mutate_timeout_ms / 2;
    if (effect_time_ms(r) >= (enough > CALL_MIN_MS ? enough : CALL_MIN_MS)) return 0;
    lease_renew_now(&r->lease); /* its answer makes room; without one the lease runs out and the next look says lost */
    return 20;
}

struct saga_verdict rotation_failed(struct rotation *r, int row, int err, int fail_record_row, int park_row)
{
    if (err == ERR_DRAINING) return r->lease.held ? saga_jump(park_row) : saga_end(OUTCOME_PARKED);
    if (err == ERR_LEASE_LOST || err == ERR_JOURNAL_VERSION) {
        rotation_note(r, err, false, "%s", err_text(err));
        return saga_end(OUTCOME_ABANDONED);
    }
    if (row == fail_record_row) return saga_end(OUTCOME_ABANDONED);
    if (row == park_row) return saga_end(OUTCOME_PARKED);
    if (err == ERR_BREAKER_OPEN || !r->reason[0] || !r->error) rotation_note(r, err, true, "%s", err_text(err));
    if (MUTANT(LEASE_KEPT)) return saga_end(OUTCOME_DONE);
    /* Granted, but its predecessor was still waited for: what is there was never loaded, an empty record would take its
     * place. The lease runs out, not given back: who comes next waits for that predecessor, too. */
    if (!r->lease.held || !r->loaded)
        return saga_end(err_class(err) == ERR_CLASS_PERMANENT ? OUTCOME_DEAD : OUTCOME_RETRY);
    return saga_jump(fail_record_row);
}

/* ---- lease --------------------------------------------------------------------------------------------------------
 */

static void on_turn(struct aws_turn *t)
{
    struct rotation *r = (struct rotation *)(void *)((char *)t - offsetof(struct rotation, turn));
    r->turned = true;
    saga_wake(&r->saga);
}

/* A job that would only queue for its account's budget holds no lease meanwhile. Who is urgent, or goes on with what
 * was begun, does not wait for a turn: its calls go before those of others. */
static bool has_turn(struct rotation *r)
{
    const struct aws_turn_port *p = &r->env->turns;
    const struct job *j = r->job;
    bool waits = !j->urgent && !j->confirm && j->reason != JOB_RESUME && j->reason != JOB_POLL;
    if (!p->take || !waits || r->turned || r->lease.held) return true;
    if (r->turn.item.account) return false; /* in the queue already */
    r->turn.ready = on_turn;
    r->turned = p->take(p->self, j->account, &r->turn) != 0; /* without memory for it: now */
    return r->turned;
}

/* It has begun: its first calls are answered. */
static void end_turn(struct rotation *r)
{
    if (r->env->turns.end) r->env->turns.end(r->env->turns.self, &r->turn);
}

struct saga_verdict step_lease(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (r->env->draining && !r->lease.held) return saga_fail(ERR_DRAINING);
    if (!has_turn(r)) return saga_again(TURN_LOOK_MS);
    lease_asking(&r->lease);
    r->lease.user.wall_ms = clock_wall_ms(r->env->clock);
    int rc = store_acquire(r->env->store, &r->lease.user, saga_ticket(s));
    if (rc == ERR_REDIS_DOWN || rc == ERR_BUSY) return saga_again(1000);
    return rc < 0 ? saga_fail(rc) : saga_wait();
}

/* What cannot be opened is lost (R13): the steps see NULL. A want of memory says nothing about it. */
static int open_pair(const struct rotation *r, const char *key_id, const char *envelope, size_t len,
                     struct secret **ret_secret)
{
    int rc = escrow_open(r->env->escrow, r->job->user, key_id, envelope, len, ret_secret);
    return rc == ERR_NOMEM ? rc : 0;
}

static int load_pairs(struct rotation *r, const struct store_lease *l)
{
    int rc = 0;
    secret_free(TAKE(r->secret));
    secret_free(TAKE(r->kept_secret));
    r->secret_sealed = l->sealed != NULL;
    r->kept = l->kept != NULL;
    text_copy(r->kept_id, sizeof(r->kept_id), l->kept ? l->kept_id : "");
    if (l->sealed && r->journal.key_new[0]) rc = open_pair(r, r->journal.key_new, l->sealed, l->sealed_len, &r->secret);
    if (!rc && l->kept) rc = open_pair(r, l->kept_id, l->kept, l->kept_len, &r->kept_secret);
    if (rc < 0) return rc;
    if (r->journal.repair && !r->secret && r->kept_secret && !strcmp(l->kept_id, r->journal.key_new)) {
        r->secret = secret_copy(r->kept_secret);
        if (!r->secret) return ERR_NOMEM;
    }
    return 0;
}

static int load_exposed(struct rotation *r, const char (*ids)[AWS_KEY_ID_MAX], size_t n)
{
    free(TAKE(r->exposed));
    r->n_exposed = 0;
    if (n) {
        r->exposed = calloc(n, sizeof(*r->exposed));
        if (!r->exposed) return ERR_NOMEM;
        r->n_exposed = n;
        memcpy(r->exposed, ids, n * sizeof(*r->exposed));
    }
    for (size_t i = 0; i < n; i++) {
        struct record_key *k = record_find(&r->record, ids[i]);
        if (k) k->exposed = true;
    }
    return 0;
}

bool step_marks_are_fresh(const struct rotation *r)
{
    return r->looks && clock_mono_ms(r->env->clock) - r->marks_mono_ms <= MARKS_FRESH_MS;
}

struct saga_verdict step_marks(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    const char *key = r->lease.user.key;
    if (s->attempt == 0 && r->looks++ >= MARKS_LOOKS) return saga_fail(r->error ? r->error : ERR_NEEDS_PERSON);
    r->marks_mono_ms = clock_mono_ms(r->env->clock);
    int rc = store_peek(r->env->store, &key, 1, saga_ticket(s));
    return rc < 0 ? saga_fail(rc) : saga_wait();
}

struct saga_verdict step_marks_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct store_peek_reply *p = result;
    if (p->err) return saga_fail(p->err);
    if (p->n == 1 && p->users[0].lease_number != r->lease.user.number && !MUTANT(NO_FENCE))
        return saga_fail(ERR_LEASE_LOST);
    int rc = p->n == 1 ? load_exposed(r, p->users[0].exposed_ids, p->users[0].n_exposed) : ERR_SYNTAX;
    return rc < 0 ? saga_fail(rc) : saga_next();
}

/* Redis was replaced since the journal began. Two of its times are only held against each other where the journal is an
 * older build's: its clock may have been set meanwhile. */
static bool went_back(const struct store_lease *l)
{
    if (!l->has_journal) return false;
    return l->journal.hold_off_ms == TIME_NONE ? l->hold_off_ms > l->journal.started_ms
                                               : l->hold_off_ms != l->journal.hold_off_ms;
}

static int load(struct rotation *r, const struct store_lease *l)
{
    r->has_journal = l->has_journal;
    if (l->has_journal) r->journal = l->journal;
    r->resumed = l->has_journal;
    r->hold_off_ms = l->hold_off_ms;
    r->went_back = went_back(l);
    r->told_anew = r->journal.told_anew;
    r->journal.told_anew = r->told_anew || r->went_back;
    if (l->takeover) { /* a call of the frozen holder may still land until then; written with the next journal entry */
        int64_t last_ms =
            l->late_ms > r->journal.updated_ms ? l->late_ms : r->journal.updated_ms; /* either clock may be slow */
        int64_t until = last_ms + r->env->policy.skew_limit_ms;
        if (until > r->journal.patient_ms) r->journal.patient_ms = until;
    }
    if (l->has_journal && l->hold_off_ms > 0) r->offer_ms = l->hold_off_ms + r->env->policy.skew_limit_ms;
    if (l->has_record) r->record = l->record;
    r->loaded = true;
    r->state_before = r->record.state;
    int rc = load_exposed(r, l->exposed, l->n_exposed);
    return rc < 0 ? rc : load_pairs(r, l);
}

static const struct saga_table *table_of(enum journal_kind kind)
{
    return kind == JOURNAL_RETIRE ? &retire_table : kind == JOURNAL_REAP ? &reap_table : &rotate_table;
}

/* The job was made from a record. Without one Redis has lost it: to take the world as it looks would hide what was
 * under way. The scheduler puts it back (R8) and asks again. */
static bool state_is_lost(const struct job *j, const struct store_lease *l)
{
    if (l->has_record || l->has_journal) return false;
    bool may_be_first = j->kind == JOB_AUDIT || j->kind == JOB_ROTATE;
    return !may_be_first || j->rotation > 0 || j->replace_key_id[0];
}

/* The record holds the next try back, and this is not it: a copy of the message that failed. It would only count
 * against the licence (I5). A person's word, and a leaked key, go first. */
static bool is_held_back(const struct rotation *r)
{
    const struct job *j = r->job;
    bool waits = r->record.state == RECORD_RETRY && r->record.next_ms > step_now_ms(r) + HELD_BACK_SLACK_MS;
    return waits && !r->record.parked[0] && j->kind != JOB_AUDIT && j->reason != JOB_OPERATOR &&
           j->reason != JOB_EXPOSED && !j->confirm;
}

/* Redis told that the lease is another one's, or may be, for so long. */
static void note_other(struct rotation *r, int64_t wait_ms)
{
    int64_t until = clock_mono_ms(r->env->clock) + wait_ms;
    if (until > r->others_until_mono_ms) r->others_until_mono_ms = until;
}

/* Milliseconds until a predecessor that did not give the lease back must believe that it has lost it, too. Redis counts
 * leases by its wall clock: when that is set forwards, a lease ends under its living holder, who may have journalled an
 * effect and begin it (I4). Each counts its lease from its request on and by its monotonic clock, so nothing of it
 * begins later than one lifetime from now; who watched the lease knows its end better. Without the name of a
 * predecessor in the journal nothing was begun: no effect comes before that. */
static int64_t predecessor_ms(struct rotation *r, const struct store_lease *l)
{
    if (!l->takeover) return 0;
    if (!r->others_until_mono_ms) note_other(r, leases_steady(r->env->leases) ? 0 : r->env->leases->ttl_ms);
    return r->others_until_mono_ms - clock_mono_ms(r->env->clock);
}

struct saga_verdict step_lease_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct store_lease *l = result;
    if (l->err == ERR_LEASE_HELD || l->err == ERR_LEASE_HOLD_OFF) {
        note_other(r, l->wait_ms);
        if (r->env->draining) return saga_fail(ERR_DRAINING);
        return saga_again(l->wait_ms < 1 ? 1 : l->wait_ms < HELD_POLL_MAX_MS ? l->wait_ms + 1 : HELD_POLL_MAX_MS);
    }
    if (l->err == ERR_REDIS_DOWN || l->err == ERR_REDIS_LOST || l->err == ERR_REDIS_REFUSED ||
        l->err == ERR_TIMEOUT_SENT || l->err == ERR_BUSY)
        return saga_again(1000); /* the same token: a lease that was granted unseen is simply confirmed */
    if (l->err == ERR_SYNTAX || l->err == ERR_VERSION || l->err == ERR_TOO_LARGE) {
        rotation_note(r, l->err, false,
                      "the record or journal in Redis cannot be read; a newer keyroll may have written it");
        return saga_end(OUTCOME_DEAD); /* the lease ends by itself */
    }
    if (l->err) return saga_fail(l->err);
    lease_granted(&r->lease, l);
    int64_t wait_ms = predecessor_ms(r, l);
    if (wait_ms > 0) return r->env->draining ? saga_fail(ERR_DRAINING) : saga_again(wait_ms);
    int rc = load(r, l);
    if (rc < 0) return saga_fail(rc); /* the lease is ours: the next try confirms it */
    if (state_is_lost(r->job, l) || is_held_back(r)) return saga_jump((int)s->table->n_steps - RELEASE_FROM_END);
    char name[BREAKER_NAME_MAX];
    const struct breaker_port *b = &r->env->breakers;
    if (b->blocked && b->blocked(b->self, r->job, name)) return saga_fail(ERR_BREAKER_OPEN);
    if (s->table != &audit_table || r->has_journal)
        r->record.parked[0] = '\0'; /* an audit only looks: see its judge() */
    if (r->no_profile) {            /* under the lease, so that the record tells it */
        rotation_note(r, ERR_INVALID, true,
                      "no profile \"%s\" in profiles_dir of the worker: add it there, or mend the inventory",
                      r->job->profile);
        return saga_fail(ERR_INVALID);
    }
    if (!r->has_journal || s->table == table_of(r->journal.kind)) return saga_next();
    r->again = s->table != &audit_table;
    s->table = table_of(r->journal.kind); /* every table begins with the same row */
    return saga_jump(1);
}

struct saga_verdict step_park(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    int rc = store_release(r->env->store, &r->lease.user, saga_ticket(s));
    return rc < 0 ? saga_end(OUTCOME_PARKED) : saga_wait();
}

struct saga_verdict step_park_got(struct saga *s, const void *result)
{
    (void)result;
    lease_dropped(&ROTATION(s)->lease);
    return saga_end(OUTCOME_PARKED);
}

struct saga_verdict step_done(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    int rc = store_release(r->env->store, &r->lease.user, saga_ticket(s));
    return rc < 0 ? saga_end(OUTCOME_DONE) : saga_wait();
}

struct saga_verdict step_done_got(struct saga *s, const void *result)
{
    (void)result; /* an answer that is lost frees the lease a little later */
    lease_dropped(&ROTATION(s)->lease);
    return saga_end(OUTCOME_DONE);
}

/* ---- Redis and Kafka ----------------------------------------------------------------------------------------------
 */

/* One opid per logical write: kept while the row is repeated, so that a write whose answer was lost is recognised. */
static void fresh_opid(struct rotation *r)
{
    /* also the attempt that the engine gave up, whose answer nobody waits for any more */
    if (r->saga.attempt && err_class(r->saga.last_error) == ERR_CLASS_UNKNOWN) r->put_unknown = true;
    if (r->saga.attempt) return;
    store_opid(r->env->store, r->opid);
    r->put_unknown = false;
}

struct saga_verdict step_put_journal_sealed(struct rotation *r, enum journal_step step, const char *sealed, size_t len)
{
    struct journal *j = &r->journal;
    fresh_opid(r);
    j->step = step;
    j->updated_ms = step_latest_ms(r);
    j->number = r->lease.user.number;
    int rc = store_journal_put(r->env->store, &r->lease.user, j, r->opid, sealed, len, saga_ticket(&r->saga));
    return rc < 0 ? saga_fail(rc) : saga_wait();
}

struct saga_verdict step_put_journal(struct rotation *r, enum journal_step step)
{
    return step_put_journal_sealed(r, step, NULL, 0);
}

static struct saga_verdict put_refused(struct rotation *r, int err)
{
    if (err_class(err) == ERR_CLASS_UNKNOWN) r->put_unknown = true;
    return saga_fail(err);
}

struct saga_verdict step_journal_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct store_reply *reply = result;
    if (reply->err) return put_refused(r, reply->err);
    r->lease.user.journal_version = reply->version;
    r->journal.version = reply->version;
    r->has_journal = true;
    return saga_next();
}

struct saga_verdict step_put_record(struct rotation *r, bool end_journal, bool release, enum store_pair pair,
                                    const char *pair_key_id)
{
    fresh_opid(r);
    r->record.updated_ms = step_now_ms(r);
    r->record.number = r->lease.user.number;
    const struct store_record_put how = {end_journal, release, pair, pair_key_id, r->opid};
    int rc = store_record_put(r->env->store, &r->lease.user, &r->record, &how, saga_ticket(&r->saga));
    return rc < 0 ? saga_fail(rc) : saga_wait();
}

enum store_pair step_pair_left(const struct rotation *r)
{
    for (size_t i = 0; i < r->record.n_keys; i++)
        if (r->record.keys[i].role == KEY_REPLACED) return STORE_PAIR_SAME;
    return STORE_PAIR_DROP;
}

struct saga_verdict step_record_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct store_reply *reply = result;
    if (reply->err) return put_refused(r, reply->err);
    r->lease.user.record_version = reply->version;
    return saga_next();
}

struct saga_verdict step_closed_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    struct saga_verdict v = step_record_got(s, result);
    if (v.move != SAGA_NEXT) return v;
    lease_dropped(&r->lease);
    return saga_end(r->end_outcome);
}

struct saga_verdict step_hand_over_event(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    r->closing = true;
    rotation_note_wait(r, TIME_NONE, "%s of %s is put off: the instance does not show the newest key", s->table->kind,
                       r->target);
    return step_put_event(r, EVENT_RETRY);
}

struct saga_verdict step_hand_over(struct saga *s)
{
    return step_put_record(ROTATION(s), true, false, STORE_PAIR_SAME, NULL);
}

struct saga_verdict step_hand_over_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    struct saga_verdict v = step_record_got(s, result);
    if (v.move != SAGA_NEXT) return v;
    r->has_journal = r->closing = false;
    r->lease.user.journal_version = 0;
    journal_init(&r->journal, JOURNAL_ROTATE);
    s->table = &rotate_table;
    return saga_jump(1); /* its survey */
}

struct saga_verdict step_put_event(struct rotation *r, enum event_type type)
{
    const struct breaker_port *b = &r->env->breakers;
    if (b->kafka_down && b->kafka_down(b->self)) return saga_again(KAFKA_DOWN_AGAIN_MS); /* not an attempt */
    /* the state that goes with it counts against those of other holders by this number */
    r->record.number = r->journal.number = r->lease.user.number;
    int rc = report_transition(r->env->report, r, type, saga_ticket(&r->saga));
    return rc < 0 ? saga_fail(rc) : saga_wait();
}

struct saga_verdict step_event_got(struct saga *s, const void *result)
{
    const int *err = result;
    (void)s;
    return *err ? saga_fail(*err) : saga_next();
}

/* ---- AWS ----------------------------------------------------------------------------------------------------------
 */

/* What was begun is finished before other work begins. */
static bool goes_first(const struct rotation *r)
{
    return r->job->urgent || r->has_journal;
}

static bool is_mutation(enum aws_op op)
{
    return op == AWS_CREATE_ACCESS_KEY || op == AWS_UPDATE_ACCESS_KEY || op == AWS_DELETE_ACCESS_KEY;
}

/* The row's last call that sets a key Inactive had no answer: it may still land. */
static void note_unanswered(struct rotation *r)
{
    r->may_land = r->may_land || (r->saga.attempt && err_class(r->saga.last_error) == ERR_CLASS_UNKNOWN);
}

struct saga_verdict step_aws(struct rotation *r, enum aws_op op, const char *key_id, enum aws_key_status status)
{
    const struct rotation_policy *p = &r->env->policy;
    struct aws_request q = {.op = op,
                            .account = r->job->account,
                            .user = r->job->user,
                            .key_id = key_id,
                            .status = status,
                            .urgent = goes_first(r),
                            .emergency = r->job->urgent,
                            .timeout_ms = p->read_timeout_ms,
                            .traceparent = r->traceparent,
                            .session_note = r->job->job_id,
                            .turn = &r->turn};
    if (op == AWS_UPDATE_ACCESS_KEY && status == AWS_KEY_INACTIVE) note_unanswered(r);
    if (is_mutation(op)) {
        q.timeout_ms = effect_time_ms(r);
        q.deadline_mono_ms = lease_until_mono_ms(&r->lease) - LEASE_MARGIN_MS;
    }
    int rc = r->env->aws.call(r->env->aws.self, &q, saga_ticket(&r->saga));
    return rc < 0 ? saga_fail(rc) : saga_wait();
}

struct saga_verdict step_probe(struct rotation *r, enum aws_op op, const char *key_id, const struct secret *secret)
{
    struct aws_request q = {.op = op,
                            .account = r->job->account,
                            .user = r->job->user,
                            .key_id = key_id,
                            .probe_secret = secret,
                            .bucket = r->job->bucket,
                            .region = r->job->region,
                            .urgent = goes_first(r),
                            .timeout_ms = r->env->policy.read_timeout_ms,
                            .last_on_connection = r->settled + 1 >= r->env->policy.settle_successes,
                            .traceparent = r->traceparent,
                            .session_note = r->job->job_id};
    int rc = r->env->aws.call(r->env->aws.self, &q, saga_ticket(&r->saga));
    return rc < 0 ? saga_fail(rc) : saga_wait();
}

/* "what it means (CODE): their words". */
static void note_answer(struct rotation *r, int err, const char *code, const char *message)
{
    rotation_note(r, err, true, "%s%s%s%s%s%.110s", err_text(err), code[0] ? " (" : "", code, code[0] ? ")" : "",
                  message[0] ? ": " : "", message);
}

int64_t step_aws_ms(const struct rotation *r)
{
    return r->aws_ms == TIME_NONE ? TIME_NONE : r->aws_ms + clock_mono_ms(r->env->clock) - r->aws_mono_ms;
}

void step_note_inactive(const struct rotation *r, struct record_key *k, bool was)
{
    if (was) return;
    k->inactive_ms = step_now_ms(r);
    k->inactive_aws_ms = step_aws_ms(r);
}

int step_aws_error(struct rotation *r, const struct aws_result *a)
{
    if (a->date_ms != TIME_NONE) {
        r->aws_ms = a->date_ms;
        r->aws_mono_ms = clock_mono_ms(r->env->clock);
    }
    if (!a->err) return 0;
    r->retry_after_ms = a->retry_after_ms;
    if (a->retry_after_ms > 0) r->saga.hold_ms = a->retry_after_ms;
    note_answer(r, a->err, a->code, a->message);
    return a->err;
}

int64_t step_behind_aws_ms(const struct rotation *r)
{
    int64_t aws = step_aws_ms(r), behind = aws == TIME_NONE ? 0 : aws - step_now_ms(r);
    return behind > 0 ? behind : 0;
}

struct saga_verdict step_list(struct saga *s)
{
    return step_aws(ROTATION(s), AWS_LIST_ACCESS_KEYS, NULL, AWS_KEY_ACTIVE);
}

struct saga_verdict step_list_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    if (step_aws_error(r, a)) return a->err == ERR_TIMEOUT ? saga_again(UNSENT_AGAIN_MS) : saga_fail(a->err);
    if (!rotation_room_for_keys(r, a->n_keys + 1)) return saga_fail(ERR_NOMEM);
    r->n_keys = a->n_keys;
    memcpy(r->keys, a->keys, a->n_keys * sizeof(a->keys[0]));
    r->was_listed = true;
    r->listed_mono_ms = a->listed_mono_ms;
    r->error = 0;
    r->reason[0] = '\0';
    return saga_next();
}

struct saga_verdict step_prove_kept(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    const struct record_key *current = record_current(&r->record);
    if (!current || !r->kept_secret || strcmp(r->kept_id, current->id)) return saga_next();
    return step_probe(r, AWS_CALLER_IDENTITY, r->kept_id, r->kept_secret);
}

struct saga_verdict step_prove_kept_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    if (!step_aws_error(r, a) || a->err == ERR_AWS_DENIED) { /* who is denied was known */
        r->error = 0;
        r->reason[0] = '\0';
        return saga_next();
    }
    if (a->err == ERR_TIMEOUT) return saga_again(UNSENT_AGAIN_MS);
    if (a->err == ERR_KEY_TOO_NEW)
        rotation_note(r, a->err, true, "AWS lists %s as Active and does not accept it: %s stays", r->kept_id,
                      r->target);
    return saga_fail(a->err);
}

/* Milliseconds until no call of the worker that was taken over from can land any more (R7). */
static int64_t patience_ms(const struct rotation *r)
{
    if (!r->has_journal || r->journal.patient_ms == TIME_NONE) return 0;
    return step_left_ms(r, r->journal.patient_ms);
}

static bool look_is_old(struct rotation *r, int64_t looked_mono_ms)
{
    const struct saga *s = &r->saga;
    if (clock_mono_ms(r->env->clock) - looked_mono_ms <= LOOK_MOST_MS) return false;
    note_unanswered(r); /* the row's tries are counted anew when it comes back to it */
    const bool queued = s->attempt == 0 && s->row_mono_ms - looked_mono_ms <= LOOK_MOST_MS;
    r->old_looks = queued ? 0 : r->old_looks + 1; /* the call may queue for as long as a budget binds */
    return true;
}

struct saga_verdict step_take_key(struct rotation *r, enum aws_op op, const char *key_id, int64_t looked_mono_ms,
                                  int survey, int fail_record)
{
    const int64_t left = patience_ms(r);
    if (left > WAIT_IN_PLACE_MS) {
        rotation_note_wait(r, step_now_ms(r) + left, "taken over from a worker whose last calls may still land");
        if (r->journal.kind == JOURNAL_ROTATE) r->end_state = RECORD_RETRY;
        return saga_jump(fail_record);
    }
    if (left) return saga_jump_in(survey, left + 1);
    if (!look_is_old(r, looked_mono_ms)) return step_aws(r, op, key_id, AWS_KEY_INACTIVE);
    if (r->old_looks < OLD_LOOKS) return saga_jump(survey);
    rotation_note(r, ERR_TIMEOUT, true, "looking at keys and instance takes too long to act on %s", key_id);
    return saga_jump(fail_record);
}

int64_t step_may_land_ms(const struct rotation *r)
{
    return r->may_land || r->resumed ? r->env->policy.skew_limit_ms : 0;
}

int64_t step_quarantine_end_ms(const struct rotation *r)
{
    return step_now_ms(r) + r->env->policy.quarantine_ms + step_may_land_ms(r);
}

int64_t step_overlap_end_ms(const struct rotation *r)
{
    const int64_t behind_ms = step_behind_aws_ms(r);
    return step_now_ms(r) + r->env->policy.overlap_ms + (behind_ms > OVERLAP_SPARE_MS ? behind_ms : 0);
}

int64_t step_offer_patience_ms(const struct rotation *r)
{
    return r->offer_ms == TIME_NONE ? 0 : step_left_ms(r, r->offer_ms);
}

/* ---- instance -----------------------------------------------------------------------------------------------------
 */

struct saga_verdict step_instance(struct rotation *r, enum instance_op op, bool last)
{
    struct instance_request q = {
        .op = op,
        .target = {r->job->licence, r->job->instance_url, r->job->profile, r->job->credentials},
        .key_id = r->journal.key_new,
        .secret = r->secret,
        .last_on_connection = last,
        .urgent = goes_first(r),
        .traceparent = r->traceparent,
        .timeout_ms = op == INSTANCE_TEST ? r->can.test_timeout_ms : r->can.read_timeout_ms};
    if (op == INSTANCE_WRITE_KEY) {
        int64_t most = effect_time_ms(r);
        q.timeout_ms = r->can.write_timeout_ms > 0 && r->can.write_timeout_ms < most ? r->can.write_timeout_ms : most;
        q.deadline_mono_ms = lease_until_mono_ms(&r->lease) - LEASE_MARGIN_MS;
    }
    int rc = r->env->instance.call(r->env->instance.self, &q, saga_ticket(&r->saga));
    return rc < 0 ? saga_fail(rc) : saga_wait();
}

void step_note_wait(struct rotation *r, const struct instance_result *i)
{
    r->retry_after_ms = i->retry_after_ms;
    if (i->told_to_wait && i->retry_after_ms > 0) r->saga.hold_ms = i->retry_after_ms;
}

static int instance_error(struct rotation *r, const struct instance_result *i)
{
    if (!i->err) return 0;
    step_note_wait(r, i);
    note_answer(r, i->err, i->code, i->message);
    return i->err;
}

struct saga_verdict step_read(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    r->seen = INSTANCE_SEEN_UNKNOWN;
    r->seen_id[0] = '\0';
    r->read_mono_ms = clock_mono_ms(r->env->clock);
    if (!r->can.can_read) {
        end_turn(r);
        return saga_next();
    }
    return step_instance(r, INSTANCE_READ_KEY, saga_row(s)->flags & SAGA_LAST_CALL);
}

struct saga_verdict step_read_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct instance_result *i = result;
    end_turn(r);
    if (i->err == ERR_INSTANCE_UNSUPPORTED) return saga_next();
    if (instance_error(r, i)) return saga_fail(i->err);
    r->seen = i->seen;
    r->proof = i->proof;
    text_copy(r->seen_id, sizeof(r->seen_id), i->seen == INSTANCE_SEEN_ID ? i->key_seen : "");
    r->error = 0;
    r->reason[0] = '\0';
    return saga_next();
}

struct saga_verdict step_read_first_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    struct saga_verdict v = step_read_got(s, result);
    r->seen_first = r->seen;
    text_copy(r->seen_first_id, sizeof(r->seen_first_id), r->seen_id);
    return v;
}

void step_weigh_reads(struct rotation *r, const char *newest_id)
{
    const bool again_shown = r->seen == INSTANCE_SEEN_UNKNOWN || !strcmp(r->seen_id, newest_id);
    if (r->seen_first == INSTANCE_SEEN_UNKNOWN || !strcmp(r->seen_first_id, newest_id)) return;
    if (!again_shown && strcmp(r->seen_first_id, r->target)) return;
    r->seen = r->seen_first;
    text_copy(r->seen_id, sizeof(r->seen_id), r->seen_first_id);
}

struct saga_verdict step_test(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (!r->can.can_test) return saga_next();
    return step_instance(r, INSTANCE_TEST, saga_row(s)->flags & SAGA_LAST_CALL);
}

struct saga_verdict step_test_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct instance_result *i = result;
    if (i->err == ERR_INSTANCE_UNSUPPORTED) return saga_next();
    if (instance_error(r, i)) return saga_fail(i->err);
    r->error = 0;
    r->reason[0] = '\0';
    return saga_next();
}

/* ---- the failure's record -----------------------------------------------------------------------------------------
 */

/* Kafka rungs first, then growing waits in the record up to the cap. */
static int64_t retry_delay_ms(const struct rotation *r, unsigned attempt)
{
    const struct rotation_policy *p = &r->env->policy;
    int64_t delay;
    if (attempt <= p->n_retry_delays)
        delay = p->retry_delays_ms[attempt ? attempt - 1 : 0];
    else
        delay = backoff_ms(r->env->rng, attempt - (unsigned)p->n_retry_delays,
                           p->n_retry_delays ? p->retry_delays_ms[p->n_retry_delays - 1] : 60000, p->retry_cap_ms);
    return r->retry_after_ms > delay ? r->retry_after_ms : delay;
}

/* The other side fails for everybody: the licence waits for it and nothing is counted. */
static bool park(struct rotation *r)
{
    const struct breaker_port *b = &r->env->breakers;
    struct record *rec = &r->record;
    char name[BREAKER_NAME_MAX];
    if (!r->error || r->end_state != RECORD_NEW || !b->blames || !b->blames(b->self, r->job, r->error, name))
        return false;
    int64_t now = step_now_ms(r);
    text_copy(rec->parked, sizeof(rec->parked), name);
    snprintf(rec->reason, sizeof(rec->reason), "parked until %s answers again: %.120s", name, r->reason);
    rec->state = RECORD_RETRY;
    if (rec->first_failed_ms == TIME_NONE) rec->first_failed_ms = now;
    rec->next_ms = now + PARKED_AGAIN_MS + (int64_t)rng_below(r->env->rng, PARKED_AGAIN_MS / 4);
    r->end_outcome = OUTCOME_WAITING;
    return true;
}

/* Decides state and next time of a failed run; leaves them in the record and in end_outcome. */
static void judge_failure(struct rotation *r)
{
    struct record *rec = &r->record;
    int64_t now = step_now_ms(r);
    text_copy(rec->reason, sizeof(rec->reason), r->reason);
    text_copy(rec->step, sizeof(rec->step), r->step);
    rec->error = r->error;
    rec->parked[0] = '\0'; /* whatever it waited for: now it waits for this, by the time that is set below */
    if (r->job->kind == JOB_ROTATE && r->job->reason == JOB_OPERATOR) rec->asked = true;
    if (!r->error) { /* a wait: nothing failed */
        if (r->end_state != RECORD_NEW) rec->state = r->end_state;
        rec->next_ms = r->next_ms;
        r->end_outcome = OUTCOME_DONE;
        return;
    }
    if (park(r)) return;
    if (r->counted) rec->attempts++;
    if (rec->first_failed_ms == TIME_NONE) rec->first_failed_ms = now;
    bool spent = err_class(r->error) == ERR_CLASS_PERMANENT || rec->attempts >= r->env->policy.max_attempts;
    if (r->end_state == RECORD_AWAITING || r->end_state == RECORD_DRIFTED || r->end_state == RECORD_EXCLUDED) {
        rec->state = r->end_state; /* a person is asked: no dead letter, nothing is tried meanwhile */
        rec->next_ms = r->next_ms;
        rec->asked = false;
        r->end_outcome = OUTCOME_DONE;
        return;
    }
    if (spent) {
        rec->asked = false;
        rec->looked = r->job->kind == JOB_AUDIT && !r->has_journal;
        rec->state = r->has_journal || r->end_state == RECORD_STUCK ? RECORD_STUCK : RECORD_FAILED;
        rec->next_ms = now + r->env->policy.retry_cap_ms;
        r->end_outcome = OUTCOME_DEAD;
        return;
    }
    int64_t delay = retry_delay_ms(r, rec->attempts);
    rec->state = RECORD_RETRY;
    rec->next_ms = r->next_ms != TIME_NONE ? r->next_ms : now + delay;
    /* what the other side asked to wait longer than the rung does waits in the record: a rung would bring it early */
    const struct rotation_policy *p = &r->env->policy;
    bool on_rung = rec->attempts <= p->n_retry_delays && p->n_retry_delays && r->next_ms == TIME_NONE &&
                   delay <= p->retry_delays_ms[rec->attempts ? rec->attempts - 1 : 0];
    r->end_outcome = on_rung ? OUTCOME_RETRY : OUTCOME_DONE;
}

struct saga_verdict step_fail_record(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (s->attempt == 0) judge_failure(r);
    return step_put_record(r, r->drop_journal, true, STORE_PAIR_SAME, NULL);
}

struct saga_verdict step_fail_record_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct store_reply *reply = result;
    if (reply->err) return put_refused(r, reply->err);
    if (r->has_journal) r->again = false; /* it waits, and the job would find it open again, at once and for ever */
    lease_dropped(&r->lease);
    return saga_end(r->end_outcome);
}
