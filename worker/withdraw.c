/* Taking a new key back (R1): withdraw, when it was offered to the instance and refused, or may have been offered, and
 * undo, when it was never offered. What the instance uses is never taken back. Rows of rotate.c's table. */
#include "lib/err.h"
#include "lib/mutant.h"
#include "lib/text.h"
#include "worker/rotate.h"

#include <stdio.h>
#include <string.h>

/* Looks at keys and instance follow, of which each that goes well clears what failed before it. */
static void note_cause(struct rotation *r)
{
    r->cause.error = r->error;
    text_copy(r->cause.step, sizeof(r->cause.step), r->step);
    text_copy(r->cause.reason, sizeof(r->cause.reason), r->reason);
}

static void tell_cause(struct rotation *r)
{
    if (r->error || !r->cause.error) return;
    rotation_note(r, r->cause.error, true, "%s", r->cause.reason);
    text_copy(r->step, sizeof(r->step), r->cause.step);
}

/* ---- withdraw: the instance refused a key that it was offered (R1) ---- */

struct saga_verdict withdraw(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (r->journal.repair) return saga_jump(ABSENT); /* nothing new was offered: the journal ends, decide anew */
    if (s->attempt == 0) {
        note_cause(r);
        r->journal.written_ms = step_latest_ms(r); /* all writes were begun before now */
        if (r->journal.offered_ms == TIME_NONE)
            r->journal.offered_ms = step_now_ms(r); /* from undo(): it may have been */
    }
    return step_put_journal(r, JOURNAL_WITHDRAW);
}

struct saga_verdict withdraw_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_WITHDRAWN);
}

struct saga_verdict withdraw_wait(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    /* until the last write cannot land any more, and then until what landed is shown */
    int64_t left = step_left_ms(r, r->journal.written_ms + 2 * r->can.write_life_ms);
    if (!left || MUTANT(UNDO_OFFERED)) return saga_next();
    if (left <= WAIT_IN_PLACE_MS) return saga_again(left + 1);
    char text[RECORD_TEXT_MAX];
    snprintf(text, sizeof(text), "%.140s: waiting until no late write can land",
             r->cause.error ? r->cause.reason : "the instance refused the new key");
    return rotate_wait_until(r, step_now_ms(r) + left + 1, RECORD_RETRY, text);
}

/* A person looks which key the instance uses. Names each listed one: one may be nobody's, where Redis lost what it was
 * made for. */
static struct saga_verdict ask_which(struct rotation *r, const char *why)
{
    char text[RECORD_TEXT_MAX], ids[AWS_KEYS_MAX * (AWS_KEY_ID_MAX + 2)] = "";
    size_t len = 0;
    for (size_t i = 0; i < r->n_keys && len < sizeof(ids); i++)
        len += (size_t)snprintf(ids + len, sizeof(ids) - len, "%s%s", i ? ", " : "", r->keys[i].id);
    snprintf(text, sizeof(text), "%s: look which key it uses (%s), then run: keyroll adopt %s", why, ids,
             r->job->licence);
    return rotate_ask_person(r, RECORD_AWAITING, text);
}

static struct saga_verdict cannot_be_read(struct rotation *r)
{
    char why[RECORD_TEXT_MAX];
    snprintf(why, sizeof(why), "the instance refused %s and cannot be read", r->journal.key_new);
    return ask_which(r, why);
}

struct saga_verdict withdraw_judge(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (r->seen == INSTANCE_SEEN_ID && !strcmp(r->seen_id, r->journal.key_new))
        return saga_next(); /* it landed: forward */
    if (r->seen == INSTANCE_SEEN_UNKNOWN) return cannot_be_read(r);
    return saga_jump(WITHDRAW_DEACTIVATE);
}

struct saga_verdict withdraw_forward(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    r->journal.direction = DIRECTION_SET;
    if (r->journal.offered_ms == TIME_NONE) {
        r->journal.offered_ms = step_now_ms(r);
        r->journal.written_ms = step_latest_ms(r);
    }
    return step_put_journal(r, JOURNAL_SET);
}

struct saga_verdict withdraw_forward_got(struct saga *s, const void *result)
{
    struct saga_verdict v = step_journal_got(s, result);
    return v.move == SAGA_NEXT ? saga_jump(TEST) : v;
}

struct saga_verdict withdraw_deactivate(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    return rotate_take_key(r, AWS_UPDATE_ACCESS_KEY, r->journal.key_new, r->read_mono_ms);
}

struct saga_verdict withdraw_prepare(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    int64_t now = step_now_ms(r);
    struct record_key *k = record_add(&r->record, r->journal.key_new);
    if (k) {
        k->role = KEY_UNUSED;
        k->status = AWS_KEY_INACTIVE;
        k->listed = true;
        k->rotation = r->journal.rotation;
        k->created_ms = r->journal.key_new_created_ms;
        k->offered_ms = r->journal.offered_ms;
        step_note_inactive(r, k, false);
        k->next = KEY_NEXT_REAP;
        k->next_ms = step_quarantine_end_ms(r);
    }
    tell_cause(r);
    if (!r->secret && !r->error)
        rotation_note(r, ERR_SEAL_KEY, true,
                      "the sealed secret of %s was lost, and the key may have been offered: it was withdrawn",
                      r->journal.key_new);
    r->record.attempts++;
    const bool dead = r->error != ERR_SEAL_KEY || r->record.attempts >= r->env->policy.max_attempts;
    r->record.state = dead ? RECORD_FAILED : RECORD_RETRY;
    r->record.asked = !dead && (r->record.asked || r->job->reason == JOB_OPERATOR);
    if (r->record.first_failed_ms == TIME_NONE) r->record.first_failed_ms = now;
    if (!r->error) /* resumed: the record tells of the wait */
        rotation_note(r, ERR_INSTANCE_REFUSED, true, "the instance refused the new key; it was withdrawn");
    r->record.error = r->error;
    text_copy(r->record.reason, sizeof(r->record.reason), r->reason);
    snprintf(r->record.step, sizeof(r->record.step), "set");
    r->record.next_ms = now + (dead ? r->env->policy.retry_cap_ms : r->env->policy.retry_delays_ms[0]);
    r->closing = true;
    r->end_outcome = dead ? OUTCOME_DEAD : OUTCOME_DONE;
    return saga_next();
}

struct saga_verdict withdraw_done_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_INACTIVE);
}

/* ---- undo: a key that was never offered ---- */

/* One more look before anything is taken back: see rotate_is_offered(). */
struct saga_verdict undo_read_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const int why = r->error; /* of the failure that is undone: a read that went well clears it */
    char reason[RECORD_TEXT_MAX];
    memcpy(reason, r->reason, sizeof(reason));
    struct saga_verdict v = step_read_got(s, result);
    if (v.move != SAGA_NEXT) return v;
    if (rotate_is_offered(r)) return saga_jump(FORWARD);
    r->error = why;
    memcpy(r->reason, reason, sizeof(reason));
    return v;
}

/* A Redis that was replaced may have lost that the key was offered, and the instance does not tell (I3). */
static struct saga_verdict may_be_offered(struct rotation *r)
{
    return ask_which(r, "Redis was replaced meanwhile, and the instance cannot be read");
}

struct saga_verdict undo(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (r->went_back && r->seen == INSTANCE_SEEN_UNKNOWN) return may_be_offered(r);
    /* It shows another one: a write may be under way, or was taken back by a restore that others may follow (R1). A
     * journal without its pair was put back from what was told, which knows of each offer, unless it was told anew. */
    if (r->went_back && (r->secret || r->told_anew) && !MUTANT(UNDO_BLIND)) return saga_jump(WITHDRAW);
    if (s->attempt == 0) note_cause(r);
    r->journal.direction = DIRECTION_UNDO;
    r->journal.secret_lost = r->secret == NULL;
    return step_put_journal(r, JOURNAL_UNDO);
}

struct saga_verdict undo_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_UNDO_STARTED);
}

struct saga_verdict undo_delete(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (rotate_is_offered(r)) { /* the direction is decided and cannot be turned (R1) */
        char text[RECORD_TEXT_MAX];
        snprintf(text, sizeof(text),
                 "the instance uses %s, whose rotation was being undone: it stays; run: keyroll adopt %s",
                 r->journal.key_new, r->job->licence);
        return rotate_ask_person(r, RECORD_DRIFTED, text);
    }
    return rotate_take_key(r, AWS_DELETE_ACCESS_KEY, r->journal.key_new, r->read_mono_ms);
}

struct saga_verdict undo_prepare(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    struct record *rec = &r->record;
    tell_cause(r);
    bool lost = r->journal.secret_lost && !r->error;
    if (lost)
        rotation_note(r, ERR_SEAL_KEY, true, "the sealed secret of %s could not be opened: the key was deleted unused",
                      r->journal.key_new);
    if (!r->error) /* resumed: the record does not know any more why */
        rotation_note(r, ERR_AWS_NOT_READY, true, "the rotation was undone before %s was offered", r->journal.key_new);
    rec->attempts++;
    if (rec->first_failed_ms == TIME_NONE) rec->first_failed_ms = step_now_ms(r);
    /* workers with different master keys would make and undo keys for ever */
    bool dead = rec->attempts >= r->env->policy.max_attempts || (!lost && err_class(r->error) == ERR_CLASS_PERMANENT);
    rec->state = dead ? RECORD_FAILED : RECORD_RETRY;
    rec->asked = !dead && (rec->asked || r->job->reason == JOB_OPERATOR);
    rec->error = r->error;
    text_copy(rec->reason, sizeof(rec->reason), r->reason);
    text_copy(rec->step, sizeof(rec->step), r->step);
    rec->next_ms = step_now_ms(r) + (dead ? r->env->policy.retry_cap_ms : r->env->policy.retry_delays_ms[0]);
    r->end_outcome = dead ? OUTCOME_DEAD : OUTCOME_DONE;
    r->closing = true;
    return saga_next();
}

struct saga_verdict undo_done_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_UNDONE);
}
