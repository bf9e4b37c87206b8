/* The rotation: create, set, test, finish (AWS Secrets Manager's terms), with what must hold when any step fails, is
 * repeated or is gone on with by another worker. The table below is the story; each row starts one operation. `set` is
 * the pivot: before it a rotation is undone, after it there is only forward. Resumption reads the journal and enters at
 * the row that follows it. R1..R14 name the rules of the design, section 2. */
#include "lib/err.h"
#include "lib/mutant.h"
#include "lib/text.h"
#include "worker/rotate.h"

#include <stdio.h>
#include <string.h>

#define CHECK_POLL_MS  1000
#define CHECK_POLLS    5
#define PROOF_FRESH_MS 2000
#define LAG_AGAIN_MS   30000
#define GATE_LOOK_MS   60000
#define FIRST_LOOK_MS  5000
#define SET_ROUNDS     3
#define INTENTS        5 /* of one run that came too late */

/* ---- decide ---- */

struct saga_verdict rotate_ask_person(struct rotation *r, enum record_state state, const char *reason)
{
    char text[RECORD_TEXT_MAX]; /* reason may be our own */
    text_copy(text, sizeof(text), reason);
    rotation_note(r, ERR_NEEDS_PERSON, false, "%s", text);
    r->end_state = state;
    if (state != RECORD_DRIFTED || r->record.state == RECORD_DRIFTED) return saga_jump(FAIL_RECORD);
    if (++r->record.drifts >= 2) { /* looking again at the same one does not count */
        r->end_state = RECORD_EXCLUDED;
        snprintf(r->reason, sizeof(r->reason), "another rotator: %.170s", text);
    }
    return saga_jump(FAIL_RECORD);
}

struct saga_verdict rotate_wait_until(struct rotation *r, int64_t until_ms, enum record_state state, const char *reason)
{
    rotation_note_wait(r, until_ms, "%s", reason);
    r->end_state = state;
    return saga_jump(FAIL_RECORD);
}

static struct saga_verdict be_patient(struct rotation *r, int64_t left_ms, const char *reason)
{
    if (left_ms <= WAIT_IN_PLACE_MS) return saga_jump_in(LIST, left_ms + 1); /* and survey again */
    return rotate_wait_until(r, step_now_ms(r) + left_ms, RECORD_RETRY, reason);
}

struct saga_verdict rotate_take_key(struct rotation *r, enum aws_op op, const char *key_id, int64_t looked_mono_ms)
{
    return step_take_key(r, op, key_id, looked_mono_ms, LIST, FAIL_RECORD);
}

struct saga_verdict rotate_effect_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    if (a->err == ERR_TIMEOUT) return saga_again(100);
    if (a->err == ERR_AWS_NO_ENTITY) return saga_next(); /* gone already: what was wanted */
    return step_aws_error(r, a) ? saga_fail(a->err) : saga_next();
}

struct saga_verdict rotate_close_journal(struct saga *s)
{
    return step_put_record(ROTATION(s), true, true, STORE_PAIR_SAME, NULL);
}

/* The pair is written (again) only after one more look at the key: a key that died meanwhile would take the instance
 * from one that works (I1). */
static struct saga_verdict prove_and_write(struct rotation *r, int64_t delay_ms)
{
    r->settled = r->env->policy.settle_successes - 1;
    r->settle_began_mono_ms = clock_mono_ms(r->env->clock) + delay_ms;
    return saga_jump_in(SETTLE_STS, delay_ms);
}

/* A pair that was shown is not taken back: somebody may paste it late. */
static struct saga_verdict wait_for_paste(struct rotation *r)
{
    char text[RECORD_TEXT_MAX] = "waiting for the revealed pair to be pasted into the instance";
    if (r->job->confirm)
        snprintf(text, sizeof(text),
                 "confirmed, but the instance still shows another key: paste the pair again (keyroll reveal)");
    if (!r->secret)
        snprintf(text, sizeof(text),
                 "the secret of %s was shown, and is lost since: paste it, or run: keyroll adopt %s --force",
                 r->journal.key_new, r->job->licence);
    return rotate_wait_until(r, step_now_ms(r) + r->env->policy.assisted_poll_ms, RECORD_AWAITING, text);
}

/* After the pivot: where the instance and AWS stand decides how to go on (R8, R11, R12). */
static struct saga_verdict resume_set(struct rotation *r)
{
    const struct journal *j = &r->journal;
    const struct aws_key *k = step_listed(r, j->key_new);
    if (!k) return saga_jump_in(REVIEW_LIST, CHECK_POLL_MS);
    if (k->status == AWS_KEY_INACTIVE && !step_is_exposed(r, j->key_new) && !MUTANT(DEAD_STAYS))
        return saga_jump(MARKS);
    if (r->seen == INSTANCE_SEEN_ID && !strcmp(r->seen_id, j->key_new)) return saga_jump(TEST);
    if (r->seen == INSTANCE_SEEN_ID && strcmp(r->seen_id, j->key_old) && !record_find(&r->record, r->seen_id)) {
        char text[RECORD_TEXT_MAX];
        snprintf(text, sizeof(text),
                 "the instance uses %s, which keyroll does not know as given to it (that is %s); run: keyroll adopt %s",
                 r->seen_id, j->key_new, r->job->licence);
        return rotate_ask_person(r, RECORD_DRIFTED, text);
    }
    if (j->assisted) {
        if (r->job->confirm && r->seen == INSTANCE_SEEN_UNKNOWN) return saga_jump(TEST);
        /* a kept pair that is lost cannot be shown any more, and what the instance uses is known */
        if (j->repair && !r->secret && r->seen == INSTANCE_SEEN_ID) return saga_jump(WITHDRAW);
        return wait_for_paste(r);
    }
    if (MUTANT(OFFERED_UNDONE) && !r->secret) return saga_jump(UNDO_DELETE);
    return r->secret ? prove_and_write(r, 0) : saga_jump(WITHDRAW);
}

/* A failover lost the pivot's write, but the write to the instance got there: what it uses is never undone (I1). */
bool rotate_is_offered(const struct rotation *r)
{
    if (MUTANT(UNDO_BLIND)) return false;
    return r->seen == INSTANCE_SEEN_ID && r->journal.key_new[0] && !strcmp(r->seen_id, r->journal.key_new);
}

static struct saga_verdict resume(struct rotation *r)
{
    const struct journal *j = &r->journal;
    switch (j->step) {
    case JOURNAL_INTENT:
        return saga_jump(DOUBT_JUDGE);
    case JOURNAL_DOUBT:
        return saga_jump(DOUBT_RESUME);
    case JOURNAL_CREATED:
        if (rotate_is_offered(r)) return saga_jump(FORWARD);
        if (MUTANT(UNSEALABLE_AWAITED) && !r->secret)
            return rotate_wait_until(r, step_now_ms(r) + DOUBT_POLL_MS, RECORD_RETRY, "a mutant waits");
        return saga_jump(r->secret ? CREATED_EVENT
                                   : UNDO); /* it may not have been told: R8's witness has to know the key */
    case JOURNAL_AWAIT:
        if (rotate_is_offered(r)) return saga_jump(FORWARD);
        if (!r->secret) return saga_jump(UNDO);
        if (r->can.can_write) return saga_jump(SETTLE);
        return rotate_wait_until(r, TIME_NONE, RECORD_AWAITING,
                                 "a new key is ready: keyroll reveal shows the pair to paste");
    case JOURNAL_SET:
        return resume_set(r);
    case JOURNAL_WITHDRAW:
        return saga_jump(WITHDRAW_WAIT);
    case JOURNAL_UNDO:
        return saga_jump(UNDO_DELETE);
    default:
        return rotate_ask_person(r, RECORD_AWAITING, "the journal names a step that a rotation does not have");
    }
}

/* R9: the goal of urgent work is "key not Active": a replaced key that is exposed is retired at once. */
static bool hurry_exposed(struct rotation *r)
{
    bool any = false;
    for (size_t i = 0; i < r->record.n_keys && !MUTANT(EXPOSED_WAITS); i++) {
        struct record_key *k = &r->record.keys[i];
        if (!k->exposed || k->role == KEY_CURRENT || k->next != KEY_NEXT_RETIRE || k->next_ms <= step_now_ms(r))
            continue;
        k->next_ms = step_now_ms(r);
        any = true;
    }
    return any;
}

static void begin_journal(struct rotation *r)
{
    struct journal *j = &r->journal;
    journal_init(j, JOURNAL_ROTATE);
    j->rotation = r->lease.user.number;
    j->started_ms = step_now_ms(r);
    j->hold_off_ms = r->hold_off_ms;
    text_copy(j->job_id, sizeof(j->job_id), r->job->job_id);
    text_copy(j->key_old, sizeof(j->key_old), r->slots.old_id);
    j->old_seen = r->slots.old_seen;
    j->exposed = step_is_exposed(r, j->key_old);
    for (size_t i = 0; i < r->n_keys; i++) memcpy(j->seen[i], r->keys[i].id, AWS_KEY_ID_MAX);
    j->n_seen = r->n_keys;
}

static struct saga_verdict free_slot(struct rotation *r)
{
    text_copy(r->target, sizeof(r->target), r->slots.key_id);
    r->again = true;
    r->saga.table = &reap_table;
    return saga_jump(1);
}

/* Both keys change their parts; neither is touched. The one that was current may still sign links: its overlap begins.
 */
static struct saga_verdict begin_fall_back(struct rotation *r)
{
    const int64_t now = step_now_ms(r);
    struct record_key *lost = record_find(&r->record, record_current(&r->record)->id);
    struct record_key *back = record_find(&r->record, r->slots.key_id);
    begin_journal(r); /* for the event; it is not written */
    text_copy(r->journal.key_new, sizeof(r->journal.key_new), back->id);
    text_copy(r->journal.key_old, sizeof(r->journal.key_old), lost->id);
    lost->role = KEY_REPLACED;
    lost->rotation = r->journal.rotation; /* as plan_predecessor(): the record's may be lost, and its job needs one */
    lost->replaced_ms = now;
    lost->unseen = false;
    lost->next = lost->status == AWS_KEY_INACTIVE ? KEY_NEXT_REAP : KEY_NEXT_RETIRE;
    lost->next_ms = lost->status == AWS_KEY_INACTIVE ? now + r->env->policy.quarantine_ms
                    : lost->exposed                  ? now
                                                     : step_overlap_end_ms(r);
    text_copy(lost->replaced_by, sizeof(lost->replaced_by), back->id);
    back->role = KEY_CURRENT;
    back->next = KEY_NEXT_NONE;
    back->next_ms = TIME_NONE;
    back->seen_ms = now;
    back->replaced_by[0] = '\0';
    r->record.audited_ms = now;
    record_settle(&r->record);
    r->closing = true;
    return saga_jump(FALL_BACK_EVENT);
}

static struct saga_verdict act_on_slots(struct rotation *r)
{
    switch (r->slots.action) {
    case SLOT_CREATE:
        return saga_jump(GATE);
    case SLOT_REPAIR:
        return r->kept_secret ? saga_jump(REPAIR) : rotate_ask_person(r, RECORD_DRIFTED, r->slots.reason);
    case SLOT_FALL_BACK:
        return begin_fall_back(r);
    case SLOT_FREE:
        return free_slot(r);
    case SLOT_WAIT: /* the record plans retire and reap; they make the room */
        return rotate_wait_until(r, hurry_exposed(r) ? TIME_NONE : r->slots.until_ms, RECORD_NEW, r->slots.reason);
    case SLOT_NOTHING:
        if (r->job->kind != JOB_ROTATE) { /* handed over, and still nothing is found that could be done */
            rotation_note(r, ERR_INSTANCE_UNPROVEN, true, "%s of %s waits: the instance does not show that it uses %s",
                          job_kind_name(r->job->kind), r->job->replace_key_id, r->slots.key_id);
            r->end_state = RECORD_STUCK;
            return saga_jump(FAIL_RECORD);
        }
        if (hurry_exposed(r)) return rotate_wait_until(r, TIME_NONE, RECORD_NEW, "an exposed key is retired at once");
        return saga_jump(DONE_RELEASE);
    case SLOT_LOST: /* R12: gone from AWS while nothing was open */
        record_remove(&r->record, r->slots.key_id);
        return saga_jump(DECIDE);
    case SLOT_DRIFTED:
        return rotate_ask_person(r, RECORD_DRIFTED, r->slots.reason);
    case SLOT_PERSON:
        return rotate_ask_person(
            r,
            r->record.state == RECORD_DRIFTED || r->record.state == RECORD_EXCLUDED ? r->record.state : RECORD_AWAITING,
            r->slots.reason);
    }
    return saga_end(OUTCOME_ABANDONED);
}

/* A duplicate, or a late copy, of what the last rotation did: the key id alone does not tell when there was none to be
 * replaced. Jobs that go on with an open rotation carry its own number, all others that of the last finished one. */
static bool is_stale(const struct rotation *r)
{
    const struct job *j = r->job;
    bool goes_on = j->confirm || j->reason == JOB_RESUME || j->reason == JOB_POLL;
    if (j->kind != JOB_ROTATE) return false;
    if (MUTANT(UNDONE_IS_DONE) && r->record.attempts) return true;
    return r->record.rotation > j->rotation || (goes_on && j->rotation > 0 && r->record.rotation == j->rotation);
}

/* An open rotation goes on by its journal, whatever the list shows. */
static enum keyslots_lag list_lag(const struct rotation *r)
{
    if (r->has_journal) return KEYSLOTS_IN_STEP;
    return step_list_lag(r);
}

/* Where nothing can be read, a first look takes the only listed key for the instance's. Not the one that the open
 * rotation made, or may have made: that would be missed as soon as it is taken back. */
static void forget_guess(struct rotation *r)
{
    const struct record_key *k = record_current(&r->record);
    if (!r->has_journal || r->seen != INSTANCE_SEEN_UNKNOWN || !k || !strcmp(k->id, r->journal.key_old)) return;
    char id[AWS_KEY_ID_MAX];
    text_copy(id, sizeof(id), k->id);
    record_remove(&r->record, id);
}

/* A first look has no record to hold the list against. The key that the instance shows may have been made a moment ago
 * and not be listed yet: one list is no absence (R12). */
static bool first_list_lags(struct rotation *r)
{
    return !r->has_journal && r->record.n_keys == 0 && r->seen == INSTANCE_SEEN_ID && !step_listed(r, r->seen_id) &&
           !r->first_looks++;
}

static struct saga_verdict decide(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    char drift[RECORD_TEXT_MAX];
    if (first_list_lags(r)) return saga_jump_in(LIST, FIRST_LOOK_MS);
    const enum keyslots_lag lag = list_lag(r);
    if (lag == KEYSLOTS_BEHIND) return saga_jump_in(LIST, LAG_LOOK_MS);
    if (lag == KEYSLOTS_GONE_LISTED)
        return rotate_wait_until(r, step_now_ms(r) + LAG_AGAIN_MS, RECORD_RETRY,
                                 "AWS still lists the new key that somebody else deleted: a new rotation begins later");
    if (!r->has_journal && step_shows_old(r)) return saga_jump_in(LIST, LAG_LOOK_MS);
    const bool is_first = r->record.n_keys == 0;
    bool drifted = keyslots_observe(&r->record, r->keys, r->n_keys, r->seen, r->seen_id, step_now_ms(r), drift);
    if (is_first) forget_guess(r);
    if (r->has_journal && !MUTANT(DONE_BEFORE_JOURNAL)) return resume(r);
    if (r->env->policy.observe) return saga_jump(DONE_RELEASE);
    if (drifted && r->record.state != RECORD_DRIFTED && r->record.state != RECORD_EXCLUDED)
        return rotate_ask_person(r, RECORD_DRIFTED, drift);
    const struct keyslots_in in = {.keys = r->keys,
                                   .n_keys = r->n_keys,
                                   .seen = r->seen,
                                   .seen_id = r->seen_id,
                                   .record = &r->record,
                                   .replace_id = r->target,
                                   .is_stale = is_stale(r),
                                   .pair_kept = r->kept_secret != NULL,
                                   .now_ms = step_now_ms(r)};
    keyslots_decide(&in, &r->slots);
    return act_on_slots(r);
}

/* ---- create ---- */

static struct saga_verdict gate(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    bool leaked = step_is_exposed(r, r->slots.old_id);
    int64_t most = leaked ? STORE_GATE_ANY : r->env->policy.max_per_hour;
    int rc = store_gate(r->env->store, r->job->account, most, saga_ticket(s));
    return rc < 0 ? saga_fail(rc) : saga_wait();
}

/* Whoever paused, or set the allowance, may take that back before it ends by itself. */
static struct saga_verdict held_at_gate(struct rotation *r, int64_t wait_ms, const char *why)
{
    return rotate_wait_until(r, step_now_ms(r) + (wait_ms < GATE_LOOK_MS ? wait_ms : GATE_LOOK_MS), RECORD_NEW, why);
}

static struct saga_verdict gate_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct store_reply *g = result;
    if (g->err == ERR_PAUSED) return held_at_gate(r, GATE_LOOK_MS, g->text);
    if (g->err == ERR_RATE_LIMITED)
        return held_at_gate(r, g->wait_ms, "max_rotations_per_hour is used up; raise it, or wait");
    return g->err ? saga_fail(g->err) : saga_next();
}

static struct saga_verdict intent(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (s->attempt == 0) {
        begin_journal(r);
        r->intent_mono_ms = clock_mono_ms(r->env->clock);
        r->journal.intent_ms = step_now_ms(r);
        r->journal.intent_last_ms = step_latest_ms(r);
        r->journal.intent_aws_ms = step_aws_ms(r);
    }
    if (MUTANT(EFFECT_FIRST)) return saga_jump(CREATE);
    return step_put_journal(r, JOURNAL_INTENT);
}

static struct saga_verdict intent_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_INTENT);
}

/* What is found, or not found, after a lost reply is judged by the time of the intent (R4): one that Redis or Kafka
 * took late, or that queued for long, is told anew before the call. Nothing was sent for it. */
static struct saga_verdict create(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (clock_mono_ms(r->env->clock) - r->intent_mono_ms <= CREATE_BEGIN_MS || MUTANT(EFFECT_FIRST)) {
        r->intents = 0; /* telling is not what takes long: a call may queue for as long as a budget binds */
        return step_aws(r, AWS_CREATE_ACCESS_KEY, NULL, AWS_KEY_ACTIVE);
    }
    if (++r->intents < INTENTS) return saga_jump(INTENT);
    rotation_note(r, ERR_TIMEOUT, true, "telling Redis and Kafka that a key will be made takes too long each time");
    return saga_fail(ERR_TIMEOUT);
}

static struct saga_verdict create_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    if (a->err == ERR_TIMEOUT)
        return saga_again(100); /* it never left: the account's rate queue was longer than the lease */
    if (step_aws_error(r, a)) return saga_fail(a->err);
    struct journal *j = &r->journal;
    if (step_listed(r, a->keys[0].id) || record_find(&r->record, a->keys[0].id)) {
        /* Not new: it would be taken back like a new one. What was made is found as after a lost reply. */
        rotation_note(r, ERR_NET_BAD_REPLY, true, "the answer to CreateAccessKey names %s, which is an older key",
                      a->keys[0].id);
        return saga_fail(ERR_NET_BAD_REPLY);
    }
    secret_free(r->secret);
    r->secret = secret_copy(a->created_secret);
    text_copy(j->key_new, sizeof(j->key_new), a->keys[0].id);
    j->key_new_created_ms = a->keys[0].created_ms;
    if (MUTANT(SECRET_TOLD)) text_copy(r->record.reason, sizeof(r->record.reason), secret_bytes(r->secret));
    if (rotation_room_for_keys(r, r->n_keys + 1)) r->keys[r->n_keys++] = a->keys[0];
    return r->secret ? saga_next() : saga_jump(UNDO); /* no memory for the only copy: the key goes again */
}

static struct saga_verdict escrow(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    AUTO_BUF struct buf sealed;
    buf_init(&sealed, STORE_SEALED_MAX);
    int rc = escrow_seal(r->env->escrow, r->env->rng, r->job->user, r->journal.key_new, r->secret, &sealed);
    if (rc < 0) return saga_fail(rc);
    if (MUTANT(UNSEALED)) return step_put_journal(r, JOURNAL_CREATED);
    return step_put_journal_sealed(r, JOURNAL_CREATED, sealed.data, sealed.len);
}

static struct saga_verdict created_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_CREATED);
}

/* ---- settle ---- */

static struct saga_verdict settle(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    r->settled = 0;
    r->polls = 0;
    r->settle_began_mono_ms = clock_mono_ms(r->env->clock);
    return saga_next();
}

/* A key that is "too new" is asked again until the cap; k successes in a row, since one proves nothing (facts/aws,
 * section 5). */
static struct saga_verdict unsettled(struct rotation *r, const struct aws_result *a)
{
    const struct rotation_policy *p = &r->env->policy;
    int64_t now = clock_mono_ms(r->env->clock);
    r->settled = 0;
    step_aws_error(r, a);
    if (now - r->settle_began_mono_ms >= p->settle_timeout_ms) return saga_fail(a->err);
    bool soon = a->err == ERR_KEY_TOO_NEW || a->err == ERR_KEY_NO_ACCESS || err_class(a->err) != ERR_CLASS_PERMANENT;
    return soon ? saga_jump_in(SETTLE_STS, p->settle_interval_ms) : saga_fail(a->err);
}

static struct saga_verdict probe_new(struct rotation *r, enum aws_op op)
{
    return step_probe(r, op, r->journal.key_new, r->secret);
}

static struct saga_verdict settle_sts(struct saga *s)
{
    return probe_new(ROTATION(s), AWS_CALLER_IDENTITY);
}

static struct saga_verdict settle_sts_got(struct saga *s, const void *result)
{
    const struct aws_result *a = result;
    return a->err && !MUTANT(UNSETTLED) ? unsettled(ROTATION(s), a) : saga_next();
}

static struct saga_verdict settle_bucket(struct saga *s)
{
    return probe_new(ROTATION(s), AWS_LIST_BUCKET);
}

static struct saga_verdict settle_bucket_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    if (a->err && !MUTANT(UNSETTLED)) return unsettled(r, a);
    r->error = 0;
    r->reason[0] = '\0';
    r->settle_ok_mono_ms = clock_mono_ms(r->env->clock);
    if (++r->settled < r->env->policy.settle_successes && !MUTANT(SETTLE_ONCE))
        return saga_jump_in(SETTLE_STS, r->env->policy.settle_interval_ms);
    int64_t left = step_offer_patience_ms(r);
    if (left) return be_patient(r, left, "Redis lost its last writes: a call that takes this key back may still land");
    return saga_jump(r->can.can_write || r->journal.direction == DIRECTION_SET || r->journal.repair ? PIVOT : AWAIT);
}

/* ---- assisted ---- */

static struct saga_verdict await(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    r->journal.assisted = true;
    return step_put_journal(r, JOURNAL_AWAIT);
}

static struct saga_verdict await_event(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    r->record.state = RECORD_AWAITING;
    return step_put_event(r, EVENT_AWAITING);
}

static struct saga_verdict await_record(struct saga *s)
{
    (void)s;
    return rotate_wait_until(ROTATION(s), TIME_NONE, RECORD_AWAITING,
                             "a new key is ready: keyroll reveal shows the pair to paste");
}

/* ---- set: the pivot ---- */

static struct saga_verdict repair(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    begin_journal(r);
    r->journal.repair = true;
    text_copy(r->journal.key_new, sizeof(r->journal.key_new), r->slots.key_id);
    text_copy(r->journal.key_old, sizeof(r->journal.key_old), r->seen == INSTANCE_SEEN_ID ? r->seen_id : "");
    r->journal.assisted = !r->can.can_write;
    secret_free(r->secret);
    r->secret = secret_copy(r->kept_secret);
    r->polls = 0;
    return r->secret ? prove_and_write(r, 0) : saga_fail(ERR_NOMEM);
}

static struct saga_verdict fall_back(struct saga *s)
{
    return step_put_record(ROTATION(s), false, true, STORE_PAIR_DROP, NULL);
}

static bool is_proven(const struct rotation *r)
{
    int64_t ago = clock_mono_ms(r->env->clock) - r->settle_ok_mono_ms;
    return ago <= r->env->policy.settle_interval_ms + PROOF_FRESH_MS;
}

static struct saga_verdict pivot(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    struct journal *j = &r->journal;
    if (s->attempt == 0 && !is_proven(r)) return saga_jump(SETTLE);
    j->direction = DIRECTION_SET;
    if (j->offered_ms == TIME_NONE) j->offered_ms = step_now_ms(r);
    j->written_ms = step_latest_ms(r);
    return step_put_journal(r, JOURNAL_SET);
}

static struct saga_verdict offered_event(struct saga *s)
{
    if (ROTATION(s)->told_offered || MUTANT(OFFERED_UNTOLD)) return saga_jump(SET);
    return step_put_event(ROTATION(s), EVENT_OFFERED);
}

static struct saga_verdict offered_event_got(struct saga *s, const void *result)
{
    struct saga_verdict v = step_event_got(s, result);
    if (v.move == SAGA_NEXT) ROTATION(s)->told_offered = true;
    return v;
}

static struct saga_verdict set(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (r->journal.assisted)
        return rotate_wait_until(r, step_now_ms(r), RECORD_AWAITING,
                                 "the kept pair must be pasted again: keyroll reveal shows it");
    if (s->attempt == 0 && !is_proven(r)) return prove_and_write(r, 0); /* once more directly before `set` */
    return step_instance(r, INSTANCE_WRITE_KEY, false);
}

static struct saga_verdict set_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct instance_result *i = result;
    if (i->err == ERR_TIMEOUT) return saga_again(100);
    if (!i->err) return saga_next();
    step_note_wait(r, i);
    rotation_note(r, i->err, true, "%s%s%s%s%.110s", err_text(i->err), i->code[0] ? " (" : "", i->code,
                  i->code[0] ? ") " : "", i->message);
    return saga_fail(i->err);
}

static struct saga_verdict check_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    struct saga_verdict v = step_read_got(s, result);
    if (v.move != SAGA_NEXT) return v;
    if (r->seen == INSTANCE_SEEN_UNKNOWN) return saga_next(); /* nothing can be read: the test has to do */
    if (r->seen == INSTANCE_SEEN_ID && !strcmp(r->seen_id, r->journal.key_new)) return saga_next();
    if (r->seen == INSTANCE_SEEN_ID && strcmp(r->seen_id, r->journal.key_old) && !record_find(&r->record, r->seen_id))
        return resume_set(r);
    if (++r->polls % CHECK_POLLS) return saga_again(CHECK_POLL_MS); /* the instance may apply it a little later */
    if (r->polls >= CHECK_POLLS * SET_ROUNDS || !r->secret) {
        rotation_note(r, ERR_INSTANCE_UNPROVEN, true, "the instance took the pair but still shows %s",
                      r->seen_id[0] ? r->seen_id : "no key");
        return saga_fail(ERR_INSTANCE_UNPROVEN);
    }
    return prove_and_write(r, 0); /* the same pair again */
}

/* ---- finish ---- */

/* When the pair was offered last: directly before that keyroll proved it, which AWS counts as its use, too (R11). Not
 * by a worker's clock that is ahead. */
static int64_t last_offer_ms(const struct rotation *r)
{
    const struct journal *j = &r->journal;
    const int64_t now = step_now_ms(r), written = j->written_ms < now ? j->written_ms : now;
    return written > j->offered_ms ? written : j->offered_ms;
}

/* What becomes of the key that was replaced. */
static void plan_predecessor(struct rotation *r, struct record_key *k)
{
    const struct rotation_policy *p = &r->env->policy;
    const struct aws_key *a = step_listed(r, k->id);
    int64_t now = step_now_ms(r);
    k->role = KEY_REPLACED;
    k->rotation = r->journal.rotation;
    k->replaced_ms = now;
    k->unseen = !r->journal.old_seen || r->seen != INSTANCE_SEEN_ID;
    k->exposed = k->exposed || r->journal.exposed || step_is_exposed(r, k->id);
    text_copy(k->replaced_by, sizeof(k->replaced_by), r->journal.key_new);
    if (a) k->status = a->status;
    if (k->status == AWS_KEY_INACTIVE) {
        step_note_inactive(r, k, k->inactive_ms != TIME_NONE);
        k->next = KEY_NEXT_REAP;
        k->next_ms = now + p->quarantine_ms;
    } else {
        k->next = KEY_NEXT_RETIRE;
        k->next_ms = k->exposed && !MUTANT(EXPOSED_WAITS) ? now : step_overlap_end_ms(r);
    }
}

static void make_current(struct rotation *r)
{
    const struct journal *j = &r->journal;
    for (size_t i = 0; i < r->record.n_keys; i++)
        if (r->record.keys[i].role == KEY_CURRENT && strcmp(r->record.keys[i].id, j->key_new))
            plan_predecessor(r, &r->record.keys[i]);
    if (j->key_old[0] && strcmp(j->key_old, j->key_new) && step_listed(r, j->key_old) &&
        !record_find(&r->record, j->key_old)) {
        struct record_key *old = record_add(&r->record, j->key_old);
        if (old) plan_predecessor(r, old);
    }
    struct record_key *k = record_add(&r->record, j->key_new);
    if (!k) return;
    k->role = KEY_CURRENT;
    k->status = AWS_KEY_ACTIVE;
    k->listed = true;
    k->next = KEY_NEXT_NONE;
    k->next_ms = TIME_NONE;
    if (j->key_new_created_ms != TIME_NONE) k->created_ms = j->key_new_created_ms;
    k->offered_ms = last_offer_ms(r);
    k->seen_ms = r->seen == INSTANCE_SEEN_ID ? step_now_ms(r) : k->seen_ms;
    if (!j->repair) k->rotation = j->rotation;
}

/* A key that AWS no longer lists needs no retire and no reap. */
static void forget_gone(struct rotation *r)
{
    for (size_t i = r->record.n_keys; r->was_listed && i-- > 0;) {
        const struct record_key *k = &r->record.keys[i];
        if (k->role != KEY_CURRENT && !step_listed(r, k->id)) record_remove(&r->record, k->id);
    }
}

static struct saga_verdict finish_prepare(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    struct record *rec = &r->record;
    make_current(r);
    forget_gone(r);
    int64_t now = step_now_ms(r);
    /* the instance may have gone back to it: whichever the predecessor, it signed links up to now */
    const int64_t overlap_end_ms = step_overlap_end_ms(r);
    for (size_t i = 0; i < rec->n_keys; i++)
        if (rec->keys[i].next == KEY_NEXT_RETIRE && !rec->keys[i].exposed && rec->keys[i].next_ms < overlap_end_ms)
            rec->keys[i].next_ms = overlap_end_ms;
    if (!r->journal.repair) {
        rec->rotation = r->journal.rotation;
        rec->rotated_ms = now;
    }
    rec->audited_ms = now;
    record_settle(rec);
    r->closing = true;
    return saga_next();
}

static struct saga_verdict replaced_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_REPLACED);
}

static struct saga_verdict finish(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    enum store_pair pair = STORE_PAIR_DROP;
    for (size_t i = 0; i < r->record.n_keys; i++) /* kept until the predecessor is gone (R5) */
        if (r->record.keys[i].role == KEY_REPLACED) pair = STORE_PAIR_FROM_JOURNAL;
    if (r->journal.repair) pair = STORE_PAIR_SAME;
    return step_put_record(r, true, true, pair, r->journal.key_new);
}

/* ---- review: the new key itself was touched by somebody (R12) ---- */

static struct saga_verdict review(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    const struct aws_key *k = step_listed(r, r->journal.key_new);
    if (k && k->status == AWS_KEY_INACTIVE && !step_is_exposed(r, k->id) && !MUTANT(DEAD_STAYS)) return saga_next();
    if (k) { /* it is there and Active: the failure that brought us here stands */
        if (!r->error) rotation_note(r, ERR_INSTANCE_UNPROVEN, true, "the instance does not prove the new key");
        return saga_jump(FAIL_RECORD);
    }
    if (r->polls++ == 0) return saga_jump_in(REVIEW_LIST, CHECK_POLL_MS);
    const int64_t until = r->journal.written_ms + 2 * r->can.write_life_ms; /* as for a withdrawal */
    const int64_t read_ago = clock_mono_ms(r->env->clock) - r->read_mono_ms;
    int64_t left = step_left_ms(r, until);
    bool shown = r->seen == INSTANCE_SEEN_UNKNOWN || !strcmp(r->seen_id, r->journal.key_new);
    bool taken_over = r->journal.patient_ms != TIME_NONE; /* the frozen worker's own write may be under way still */
    if ((!shown || taken_over) && left)
        return rotate_wait_until(r, step_now_ms(r) + left + 1, RECORD_RETRY,
                                 "somebody else deleted the new key: waiting until no late write of it can land");
    if (!shown && step_left_ms(r, until + read_ago)) return saga_jump(LIST); /* it may have landed since it was read */
    return saga_jump(LOST_PREPARE);
}

static struct saga_verdict revive(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (!step_marks_are_fresh(r)) return saga_jump(MARKS);
    if (step_is_exposed(r, r->journal.key_new)) return resume_set(r); /* marked meanwhile: never Active again (R7) */
    return step_aws(r, AWS_UPDATE_ACCESS_KEY, r->journal.key_new, AWS_KEY_ACTIVE);
}

static struct saga_verdict revive_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    if (step_aws_error(r, result)) return saga_fail(r->error);
    return saga_jump_in(LIST, CHECK_POLL_MS);
}

/* The record goes on telling what the instance holds: the dead key as the current one, or the predecessor to which it
 * went back. */
static struct saga_verdict lost_prepare(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    const char *id = r->journal.key_new;
    bool held = r->seen == INSTANCE_SEEN_UNKNOWN || !strcmp(r->seen_id, id);
    if (held) {
        make_current(r);
        struct record_key *k = record_find(&r->record, id);
        if (k) {
            k->listed = false;
            k->status = AWS_KEY_STATUS_UNKNOWN;
            k->inactive_ms = step_now_ms(r); /* since when it is gone */
        }
    } else {
        record_remove(&r->record, id);
        struct record_key *k = record_current(&r->record) ? NULL : record_find(&r->record, r->seen_id);
        if (k) {
            k->role = KEY_CURRENT;
            k->next = KEY_NEXT_NONE;
            k->next_ms = TIME_NONE;
            k->seen_ms = step_now_ms(r);
        }
    }
    record_settle(&r->record);
    snprintf(r->record.reason, sizeof(r->record.reason),
             "the new key was deleted by somebody else: a new rotation begins");
    r->record.next_ms = TIME_NONE;
    r->record.rotation = r->journal.rotation;
    r->again = true;
    r->error = 0;
    r->reason[0] = '\0';
    r->closing = true;
    return saga_next();
}

static struct saga_verdict lost_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_LOST);
}

/* ---- the rest ---- */

/* R14: escrow was refused for certain, so nobody else knows of this key; the one effect allowed without a lease. */
static struct saga_verdict orphan(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    struct aws_request q = {.op = AWS_DELETE_ACCESS_KEY,
                            .account = r->job->account,
                            .user = r->job->user,
                            .key_id = r->journal.key_new,
                            .timeout_ms = r->env->policy.mutate_timeout_ms,
                            .urgent = true,
                            .traceparent = r->traceparent,
                            .session_note = r->job->job_id};
    int rc = r->env->aws.call(r->env->aws.self, &q, saga_ticket(s));
    return rc < 0 ? saga_fail(rc) : saga_wait();
}

static struct saga_verdict orphan_got(struct saga *s, const void *result)
{
    const struct aws_result *a = result;
    (void)s;
    if (a->err && a->err != ERR_AWS_NO_ENTITY) return saga_fail(a->err);
    return saga_end(OUTCOME_ABANDONED);
}

#define READS (SAGA_LEASED | SAGA_REPEATABLE)
#define PUTS  (SAGA_LEASED | SAGA_REPEATABLE)
#define BY_ID (SAGA_LEASED | SAGA_EFFECT | SAGA_REPEATABLE)

/* clang-format off */
static const struct saga_step rows[ROTATE_ROWS] = {
    /*                    name                start               got                   timeout  tries  flags */
    [LEASE] =            {"lease",            step_lease,         step_lease_got,        20000,   5,  SAGA_BOUNDARY},
    [LIST] =             {"survey",           step_list,          step_list_got,        900000,   4,  READS | SAGA_BOUNDARY},
    [READ] =             {"read",             step_read,          step_read_got,        900000,   4,  READS | SAGA_BOUNDARY},
    [DECIDE] =           {"make room",        decide,             NULL,                      0,   1,  SAGA_LEASED},
    [GATE] =             {"gate",             gate,               gate_got,              20000,   5,  READS | SAGA_BOUNDARY},
    [INTENT] =           {"intent",           intent,             step_journal_got,      20000,   5,  PUTS},
    [INTENT_EVENT] =     {"intent event",     intent_event,       step_event_got,        60000,  20,  PUTS},
    [CREATE] =           {"create",           create,             create_got,            60000,   3,  SAGA_LEASED | SAGA_EFFECT},
    [ESCROW] =           {"escrow",           escrow,             step_journal_got,      20000,  10,  SAGA_REPEATABLE},
    [CREATED_EVENT] =    {"created event",    created_event,      step_event_got,        60000,  20,  PUTS},
    [SETTLE] =           {"settle",           settle,             NULL,                      0,   1,  SAGA_LEASED | SAGA_BOUNDARY},
    [SETTLE_STS] =       {"settle",           settle_sts,         settle_sts_got,       900000,   4,  READS | SAGA_BOUNDARY},
    [SETTLE_BUCKET] =    {"settle bucket",    settle_bucket,      settle_bucket_got,    900000,   4,  READS},
    [AWAIT] =            {"await",            await,              step_journal_got,      20000,   5,  PUTS},
    [AWAIT_EVENT] =      {"await event",      await_event,        step_event_got,        60000,  20,  PUTS},
    [AWAIT_RECORD] =     {"await record",     await_record,       NULL,                      0,   1,  SAGA_LEASED},
    [REPAIR] =           {"repair",           repair,             NULL,                      0,   1,  SAGA_LEASED},
    [FALL_BACK_EVENT] =  {"fall back event",  replaced_event,     step_event_got,        60000,  20,  PUTS},
    [FALL_BACK] =        {"fall back",        fall_back,          step_closed_got,       20000,  10,  PUTS},
    [PIVOT] =            {"pivot",            pivot,              step_journal_got,      20000,   5,  PUTS},
    [OFFERED_EVENT] =    {"offered event",    offered_event,      offered_event_got,       60000,  20,  PUTS},
    [SET] =              {"set",              set,                set_got,              120000,   4,  SAGA_LEASED | SAGA_EFFECT},
    [CHECK] =            {"read back",        step_read,          check_got,            900000,   5,  READS},
    [TEST] =             {"test",             step_test,          step_test_got,        900000,   6,  READS | SAGA_BOUNDARY | SAGA_LAST_CALL},
    [FINISH_PREPARE] =   {"finish",           finish_prepare,     NULL,                      0,   1,  SAGA_LEASED},
    [REPLACED_EVENT] =   {"replaced event",   replaced_event,     step_event_got,        60000,  20,  PUTS},
    [FINISH] =           {"finish",           finish,             step_closed_got,       20000,  10,  PUTS},
    [REVIEW_LIST] =      {"review",           step_list,          step_list_got,        900000,   4,  READS},
    [REVIEW] =           {"review",           review,             NULL,                      0,   1,  SAGA_LEASED},
    [MARKS] =            {"marks",            step_marks,         step_marks_got,        20000,   5,  READS},
    [REVIVE] =           {"revive",           revive,             revive_got,            60000,   4,  BY_ID},
    [LOST_PREPARE] =     {"lost",             lost_prepare,       NULL,                      0,   1,  SAGA_LEASED},
    [LOST_EVENT] =       {"lost event",       lost_event,         step_event_got,        60000,  20,  PUTS},
    [LOST_CLOSE] =       {"lost",             rotate_close_journal,      step_closed_got,       20000,  10,  PUTS},
    [DOUBT_LIST] =       {"doubt",            step_list,          step_list_got,        900000,   4,  READS},
    [DOUBT_JUDGE] =      {"doubt",            doubt_judge,        NULL,                      0,   1,  SAGA_LEASED},
    [DOUBT_READ] =       {"doubt read",       step_read,          doubt_read_got,       900000,   4,  READS},
    [DOUBT_LAST_USED] =  {"doubt last used",  doubt_last_used,    doubt_last_used_got,  900000,   4,  READS},
    [DOUBT_JOURNAL] =    {"doubt journal",    doubt_journal,      step_journal_got,      20000,   5,  PUTS},
    [DOUBT_EVENT] =      {"doubt event",      doubt_event,        step_event_got,        60000,  20,  PUTS},
    [DOUBT_DEACTIVATE] = {"doubt deactivate", doubt_deactivate,   rotate_effect_got,            60000,   4,  BY_ID},
    [DOUBT_INACTIVE] =   {"doubt inactive",   doubt_inactive,     step_journal_got,      20000,   5,  PUTS},
    [DOUBT_WAIT] =       {"doubt wait",       doubt_wait,         NULL,                      0,   1,  SAGA_LEASED},
    [DOUBT_RESUME] =     {"doubt",            doubt_resume,       NULL,                      0,   1,  SAGA_LEASED},
    [DOUBT_UNUSED] =     {"doubt last used",  doubt_last_used,    doubt_last_used_got,  900000,   4,  READS},
    [DOUBT_DELETE] =     {"doubt delete",     doubt_delete,       rotate_effect_got,            60000,   4,  BY_ID},
    [DOUBT_DELETED_EVENT] = {"deleted event", doubt_deleted_event,      step_event_got,        60000,  20,  PUTS},
    [ABSENT] =           {"absent",           doubt_absent_put,             doubt_absent_got,            20000,   5,  PUTS},
    [WITHDRAW] =         {"withdraw",         withdraw,           step_journal_got,      20000,   5,  PUTS},
    [WITHDRAW_EVENT] =   {"withdraw event",   withdraw_event,     step_event_got,        60000,  20,  PUTS},
    [WITHDRAW_WAIT] =    {"withdraw wait",    withdraw_wait,      NULL,                      0,   1,  SAGA_LEASED | SAGA_BOUNDARY},
    [WITHDRAW_READ] =    {"withdraw read",    step_read,          step_read_got,        900000,   4,  READS},
    [WITHDRAW_JUDGE] =   {"withdraw",         withdraw_judge,     NULL,                      0,   1,  SAGA_LEASED},
    [FORWARD] =          {"forward",          withdraw_forward,            withdraw_forward_got,           20000,   5,  PUTS},
    [WITHDRAW_DEACTIVATE] = {"withdraw key",  withdraw_deactivate, rotate_effect_got,           60000,   4,  BY_ID},
    [WITHDRAW_PREPARE] = {"withdraw",         withdraw_prepare,   NULL,                      0,   1,  SAGA_LEASED},
    [WITHDRAWN_EVENT] =  {"withdrawn event",  withdraw_done_event,    step_event_got,        60000,  20,  PUTS},
    [WITHDRAW_CLOSE] =   {"withdraw",         rotate_close_journal,      step_closed_got,       20000,  10,  PUTS},
    [UNDO_READ] =        {"undo read",        step_read,          undo_read_got,        900000,   4,  READS},
    [UNDO] =             {"undo",             undo,               step_journal_got,      20000,   5,  PUTS},
    [UNDO_EVENT] =       {"undo event",       undo_event,         step_event_got,        60000,  20,  PUTS},
    [UNDO_DELETE] =      {"undo delete",      undo_delete,        rotate_effect_got,            60000,   4,  BY_ID},
    [UNDO_PREPARE] =     {"undo",             undo_prepare,       NULL,                      0,   1,  SAGA_LEASED},
    [UNDONE_EVENT] =     {"undone event",     undo_done_event,       step_event_got,        60000,  20,  PUTS},
    [UNDO_CLOSE] =       {"undo",             rotate_close_journal,      step_closed_got,       20000,  10,  PUTS},
    [ORPHAN] =           {"orphan",           orphan,             orphan_got,            60000,   8,  SAGA_REPEATABLE},
    [DONE_RELEASE] =     {"release",          step_done,          step_done_got,         20000,   1,  0},
    [FAIL_RECORD] =      {"record",           step_fail_record,   step_fail_record_got,  20000,   8,  PUTS},
    [PARK] =             {"park",             step_park,          step_park_got,         10000,   1,  0},
};
/* clang-format on */

/* ---- failures ---- */

static bool spent(const struct rotation *r, int err)
{
    return err_class(err) == ERR_CLASS_PERMANENT || r->record.attempts + 1 >= r->env->policy.max_attempts;
}

static struct saga_verdict escrow_failed(struct rotation *r, int err)
{
    bool definite = err == ERR_LEASE_LOST || err == ERR_JOURNAL_VERSION || err == ERR_JOURNAL_DIRECTION;
    if (definite && (!r->put_unknown || MUTANT(ORPHAN_IN_DOUBT))) return saga_jump(ORPHAN);
    rotation_note(r, err, false, "%s", err_text(err));
    return saga_end(
        OUTCOME_ABANDONED); /* the intent is journalled: whoever comes next finds the key by R4, or its sealed pair */
}

/* The create was refused for certain: nothing is open any more. */
static struct saga_verdict create_failed(struct rotation *r, int err)
{
    if (err_class(err) == ERR_CLASS_UNKNOWN) {
        if (MUTANT(CREATE_AGAIN)) return saga_jump(CREATE);
        r->polls = 0;
        return saga_jump_in(DOUBT_LIST, DOUBT_POLL_MS);
    }
    if (err == ERR_AWS_LIMIT)
        r->error = ERR_BUSY; /* a slot was taken since the list, or the list was old: look again later */
    r->drop_journal = true;
    return saga_jump(FAIL_RECORD);
}

static struct saga_verdict set_failed(struct rotation *r, int err)
{
    if (err_class(err) == ERR_CLASS_UNKNOWN) {
        if (r->can.can_read) return saga_jump_in(CHECK, CHECK_POLL_MS);
        return ++r->polls < SET_ROUNDS ? prove_and_write(r, CHECK_POLL_MS) : saga_jump(TEST);
    }
    if (err_class(err) == ERR_CLASS_PERMANENT && !r->journal.repair) return saga_jump(WITHDRAW);
    return saga_jump(FAIL_RECORD);
}

static struct saga_verdict failed(struct saga *s, int row, int err)
{
    struct rotation *r = ROTATION(s);
    if (row == ESCROW) return escrow_failed(r, err);
    if (row == ORPHAN) return saga_end(OUTCOME_ABANDONED);
    if (row == DONE_RELEASE) return step_done_got(s, NULL);
    bool ourselves =
        err == ERR_LEASE_LOST || err == ERR_JOURNAL_VERSION || err == ERR_DRAINING || err == ERR_BREAKER_OPEN;
    if (err == ERR_BREAKER_OPEN && row == CREATE) r->drop_journal = true; /* for certain not called */
    if (!ourselves && row == CREATE) return create_failed(r, err);
    if (!ourselves && row == SET) return set_failed(r, err);
    bool settling = row == SETTLE_STS || row == SETTLE_BUCKET, offered = r->journal.direction == DIRECTION_SET;
    if (!ourselves && r->has_journal && (row == TEST || (settling && offered))) {
        r->polls = 0;
        return saga_jump(REVIEW_LIST);
    }
    if (!ourselves && settling && !r->journal.repair && spent(r, err)) return saga_jump(UNDO_READ);
    if (!ourselves && !r->has_journal && (row == LIST || row == READ) && is_stale(r))
        return saga_jump(DONE_RELEASE); /* a copy of what was answered: that it cannot look says nothing (I5) */
    return rotation_failed(r, row, err, FAIL_RECORD, PARK);
}

const struct saga_table rotate_table = {"rotate", rows, ROTATE_ROWS, failed};
