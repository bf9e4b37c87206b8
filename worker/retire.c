/* Retire: the predecessor is set Inactive after the overlap, the instance is watched, and the key is made Active again
 * when the instance fails. The message is only a nudge (R6): the record must name this key with this rotation's number,
 * its time must have passed, and two fresh reads must show the newest key in use. */
#include "lib/err.h"
#include "lib/mutant.h"
#include "lib/text.h"
#include "worker/steps.h"

#include <stdio.h>
#include <string.h>

enum row {
    LEASE,
    CHECK,
    READ_FIRST,
    LIST,
    READ_AGAIN,
    JUDGE,
    NEW_LAST_USED,
    OLD_LAST_USED,
    BASELINE,
    PROVE,
    JOURNAL,
    DEACTIVATE,
    WATCH,
    WATCHED,
    PREPARE,
    INACTIVE_EVENT,
    CLOSE,
    BACK,
    MARKS,
    REACTIVATE,
    REACTIVATED_EVENT,
    HAND_OVER_EVENT,
    HAND_OVER,
    DONE_RELEASE,
    FAIL_RECORD,
    PARK,
    ROWS
};
enum rotate_row { ROTATE_LIST = 1 }; /* rotate_table's survey */

#define DATE_GRAIN_MS  2000 /* two dates of whole seconds */
#define WATCH_POLL_MS  5000
#define WATCH_FAILURES 3

static struct record_key *target(struct rotation *r)
{
    return record_find(&r->record, r->target);
}

static struct saga_verdict check(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (r->has_journal) {
        text_copy(r->target, sizeof(r->target), r->journal.key_old);
        return saga_jump(r->journal.step == JOURNAL_REACTIVATE ? MARKS : READ_FIRST);
    }
    const struct record_key *k = target(r);
    if (!k || r->env->policy.observe || k->role == KEY_CURRENT || k->next != KEY_NEXT_RETIRE)
        return saga_jump(DONE_RELEASE);
    bool early = k->rotation != r->job->rotation || (k->next_ms > step_now_ms(r) && !k->exposed);
    if (early && !MUTANT(NUDGE_BELIEVED)) return saga_jump(DONE_RELEASE);
    if (r->record.state == RECORD_DRIFTED || r->record.state == RECORD_EXCLUDED) return saga_jump(DONE_RELEASE);
    return saga_next();
}

/* The instance shows something else than the newest key, or that key is not alive: the rotation's own table knows what
 * to do. */
static struct saga_verdict hand_over(struct rotation *r)
{
    if (r->has_journal) return saga_jump(HAND_OVER_EVENT); /* it may have been set Inactive: the record's next survey */
    r->saga.table = &rotate_table; /* its target is not the current key: it repairs or reports, and never creates */
    return saga_jump(ROTATE_LIST);
}

static struct saga_verdict begin_watch(struct rotation *r)
{
    r->watch_began_mono_ms = clock_mono_ms(r->env->clock);
    r->polls = 0;
    return saga_jump(r->can.can_test || r->can.can_read ? WATCH : PREPARE);
}

static struct saga_verdict judge(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    const struct record_key *current = record_current(&r->record);
    const struct aws_key *newest = current ? step_listed(r, current->id) : NULL;
    const struct aws_key *old = step_listed(r, r->target);
    if (!newest || newest->status != AWS_KEY_ACTIVE || !strcmp(newest->id, r->target)) return hand_over(r);
    step_weigh_reads(r, newest->id);
    if (r->seen != INSTANCE_SEEN_UNKNOWN && strcmp(r->seen_id, current->id) && !MUTANT(RETIRE_BLIND))
        return step_shows_old(r) ? saga_jump_in(READ_FIRST, LAG_LOOK_MS) : hand_over(r);
    if (!old) return saga_jump(PREPARE);
    if (old->status == AWS_KEY_INACTIVE) /* by whom this is taken over from, who may not have watched to the end */
        return r->has_journal ? begin_watch(r) : saga_jump(PREPARE);
    if (old->status != AWS_KEY_ACTIVE && old->status != AWS_KEY_EXPIRED) {
        rotation_note(r, ERR_NEEDS_PERSON, false, "key %s has a status that keyroll does not know: look at it in AWS",
                      r->target);
        r->end_state = RECORD_AWAITING;
        return saga_jump(FAIL_RECORD);
    }
    const struct record_key *k = target(r);
    bool unseen = r->seen == INSTANCE_SEEN_UNKNOWN || (k && k->unseen);
    return saga_jump(unseen && !MUTANT(USE_UNASKED) ? NEW_LAST_USED : BASELINE);
}

static struct saga_verdict new_last_used(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    return step_aws(r, AWS_ACCESS_KEY_LAST_USED, record_current(&r->record)->id, AWS_KEY_ACTIVE);
}

/* R11: where nothing can be read, AWS's last-used has to show it: the new key used since it was offered, and not by our
 * own proof of a moment before ... */
static struct saga_verdict new_last_used_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    const struct record_key *current = record_current(&r->record);
    if (step_aws_error(r, a)) return a->err == ERR_TIMEOUT ? saga_again(100) : saga_fail(a->err);
    if (a->used == AWS_USED_AT && current->offered_ms != TIME_NONE &&
        a->used_at_ms > current->offered_ms + step_behind_aws_ms(r) + DATE_GRAIN_MS)
        return saga_next();
    rotation_note(r, ERR_INSTANCE_UNPROVEN, true, "AWS has not seen %s in use since it was given to the instance",
                  current->id);
    r->end_state = RECORD_STUCK; /* when it stays so: both keys are alive and a person has to look */
    r->next_ms = step_now_ms(r) + r->env->policy.retry_cap_ms;
    return saga_jump(FAIL_RECORD);
}

static struct saga_verdict old_last_used(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    return step_aws(r, AWS_ACCESS_KEY_LAST_USED, r->target, AWS_KEY_ACTIVE);
}

/* ... and the old one not used since it was replaced. */
static struct saga_verdict old_last_used_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    const struct record_key *k = target(r);
    if (step_aws_error(r, a)) return a->err == ERR_TIMEOUT ? saga_again(100) : saga_fail(a->err);
    bool quiet = a->used == AWS_USED_NEVER || (a->used == AWS_USED_AT && k && k->replaced_ms != TIME_NONE &&
                                               a->used_at_ms < k->replaced_ms + step_behind_aws_ms(r));
    if (quiet) return saga_next();
    rotation_note(r, ERR_INSTANCE_UNPROVEN, true, "AWS saw %s in use after it was replaced: somebody still holds it",
                  r->target);
    r->end_state = RECORD_STUCK;
    r->next_ms = step_now_ms(r) + r->env->policy.retry_cap_ms;
    return saga_jump(FAIL_RECORD);
}

/* Where the instance cannot test its key, its pair is tried as it was before it was offered. That comes after AWS's
 * last-used was asked for: it counts as a use. */
static struct saga_verdict prove(struct saga *s)
{
    return ROTATION(s)->can.can_test ? saga_next() : step_prove_kept(s);
}

static struct saga_verdict put_journal(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (s->attempt == 0 && !r->has_journal) {
        journal_init(&r->journal, JOURNAL_RETIRE);
        r->journal.rotation = r->record.rotation;
        r->journal.started_ms = step_now_ms(r);
        text_copy(r->journal.job_id, sizeof(r->journal.job_id), r->job->job_id);
        text_copy(r->journal.key_old, sizeof(r->journal.key_old), r->target);
        r->journal.exposed = step_is_exposed(r, r->target);
    }
    return step_put_journal(r, JOURNAL_DEACTIVATE);
}

static struct saga_verdict deactivate(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    return step_take_key(r, AWS_UPDATE_ACCESS_KEY, r->target, r->listed_mono_ms, READ_FIRST, FAIL_RECORD);
}

static struct saga_verdict deactivate_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    if (a->err == ERR_TIMEOUT) return saga_again(100);
    if (a->err != ERR_AWS_NO_ENTITY && step_aws_error(r, a)) return saga_fail(a->err);
    return begin_watch(r);
}

static struct saga_verdict watch(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    bool last = clock_mono_ms(r->env->clock) - r->watch_began_mono_ms >= r->env->policy.retire_watch_ms;
    return step_instance(r, r->can.can_test ? INSTANCE_TEST : INSTANCE_READ_KEY, last);
}

/* Only the instance's own word that its key fails counts against us; a network that is down proves nothing. */
static struct saga_verdict watch_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct instance_result *i = result;
    const struct record_key *current = record_current(&r->record);
    bool other = !i->err && i->seen == INSTANCE_SEEN_ID && current && strcmp(i->key_seen, current->id);
    r->polls = i->err == ERR_INSTANCE_TEST || other ? r->polls + 1 : 0;
    if (r->polls >= WATCH_FAILURES && !step_is_exposed(r, r->target)) return saga_jump(BACK);
    return saga_next();
}

static struct saga_verdict watched(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    int64_t most = r->env->policy.retire_watch_ms, gone = clock_mono_ms(r->env->clock) - r->watch_began_mono_ms;
    /* an exposed key does not come back: what is wrong with the instance is the audits' to tell */
    if (gone >= most && (r->polls == 0 || step_is_exposed(r, r->target))) return saga_next();
    int64_t pause = most / 4 < WATCH_POLL_MS ? most / 4 : WATCH_POLL_MS;
    return saga_jump_in(WATCH, pause > 0 ? pause : 1);
}

static struct saga_verdict prepare(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    int64_t now = step_now_ms(r);
    struct record_key *k = target(r), *current = record_find(&r->record, record_current(&r->record)->id);
    if (r->seen == INSTANCE_SEEN_ID && !strcmp(r->seen_id, current->id)) current->seen_ms = now;
    if (k && !step_listed(r, k->id)) {
        record_remove(&r->record, k->id);
    } else if (k) {
        step_note_inactive(r, k, k->status == AWS_KEY_INACTIVE && k->inactive_ms != TIME_NONE);
        k->status = AWS_KEY_INACTIVE;
        k->next = KEY_NEXT_REAP;
        k->next_ms = MUTANT(REAP_EARLY) ? now : step_quarantine_end_ms(r);
    }
    r->record.audited_ms = now;
    record_settle(&r->record);
    r->closing = true;
    return saga_next();
}

static struct saga_verdict inactive_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_INACTIVE);
}

static struct saga_verdict close_record(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    return step_put_record(r, true, true, step_pair_left(r), NULL);
}

/* ---- the way back ---------------------------------------------------------------------------------------------------
 */

static struct saga_verdict back(struct saga *s)
{
    return step_put_journal(ROTATION(s), JOURNAL_REACTIVATE);
}

static struct saga_verdict reactivate(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (!step_marks_are_fresh(r)) return saga_jump(MARKS);
    if (step_is_exposed(r, r->target)) return saga_jump(READ_FIRST); /* never made Active again (R7) */
    return step_aws(r, AWS_UPDATE_ACCESS_KEY, r->target, AWS_KEY_ACTIVE);
}

static struct saga_verdict reactivate_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    if (a->err == ERR_TIMEOUT) return saga_again(100);
    if (a->err == ERR_AWS_NO_ENTITY) return saga_jump(READ_FIRST); /* somebody deleted it: survey again */
    if (step_aws_error(r, a)) return saga_fail(a->err);
    struct record_key *k = target(r);
    if (k) {
        k->status = AWS_KEY_ACTIVE;
        k->inactive_ms = k->inactive_aws_ms = TIME_NONE;
        k->next = KEY_NEXT_RETIRE;
        k->next_ms = step_overlap_end_ms(r);
    }
    r->record.state = RECORD_STUCK;
    r->record.error = ERR_INSTANCE_TEST;
    r->record.next_ms = step_overlap_end_ms(r);
    snprintf(r->record.step, sizeof(r->record.step), "watch");
    snprintf(r->record.reason, sizeof(r->record.reason),
             "the instance failed after %s was set Inactive: it is Active again; run: keyroll audit %s", r->target,
             r->job->licence);
    rotation_note(r, ERR_INSTANCE_TEST, true,
                  "the instance failed after %s was set Inactive: it is Active again; run: keyroll audit %s", r->target,
                  r->job->licence);
    r->closing = true;
    r->end_outcome = OUTCOME_DEAD;
    return saga_next();
}

static struct saga_verdict reactivated_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_REACTIVATED);
}

static struct saga_verdict reactivated_got(struct saga *s, const void *result)
{
    struct saga_verdict v = step_event_got(s, result);
    return v.move == SAGA_NEXT ? saga_jump(CLOSE) : v;
}

#define READS (SAGA_LEASED | SAGA_REPEATABLE)
#define BY_ID (SAGA_LEASED | SAGA_EFFECT | SAGA_REPEATABLE)

/* clang-format off */
static const struct saga_step rows[ROWS] = {
    /*                    name                start               got                   timeout  tries  flags */
    [LEASE] =            {"lease",            step_lease,         step_lease_got,        20000,   5,  SAGA_BOUNDARY},
    [CHECK] =            {"check",            check,              NULL,                      0,   1,  SAGA_LEASED},
    [READ_FIRST] =       {"read",             step_read,          step_read_first_got,  900000,   4,  READS | SAGA_BOUNDARY},
    [LIST] =             {"survey",           step_list,          step_list_got,        900000,   4,  READS | SAGA_BOUNDARY},
    [READ_AGAIN] =       {"read again",       step_read,          step_read_got,        900000,   4,  READS},
    [JUDGE] =            {"judge",            judge,              NULL,                      0,   1,  SAGA_LEASED},
    [NEW_LAST_USED] =    {"last used",        new_last_used,      new_last_used_got,    900000,   4,  READS},
    [OLD_LAST_USED] =    {"last used",        old_last_used,      old_last_used_got,    900000,   4,  READS},
    [BASELINE] =         {"test",             step_test,          step_test_got,        900000,   4,  READS | SAGA_BOUNDARY},
    [PROVE] =            {"prove",            prove,              step_prove_kept_got,  900000,   4,  READS},
    [JOURNAL] =          {"journal",          put_journal,        step_journal_got,      20000,   5,  READS},
    [DEACTIVATE] =       {"deactivate",       deactivate,         deactivate_got,        60000,   4,  BY_ID},
    [WATCH] =            {"watch",            watch,              watch_got,            900000,   1,  READS},
    [WATCHED] =          {"watch",            watched,            NULL,                      0,   1,  SAGA_LEASED},
    [PREPARE] =          {"finish",           prepare,            NULL,                      0,   1,  SAGA_LEASED},
    [INACTIVE_EVENT] =   {"inactive event",   inactive_event,     step_event_got,        60000,  20,  READS},
    [CLOSE] =            {"finish",           close_record,       step_closed_got,       20000,  10,  READS},
    [BACK] =             {"back",             back,               step_journal_got,      20000,   5,  READS},
    [MARKS] =            {"marks",            step_marks,         step_marks_got,        20000,   5,  READS},
    [REACTIVATE] =       {"reactivate",       reactivate,         reactivate_got,        60000,   8,  BY_ID},
    [REACTIVATED_EVENT] = {"reactivated event", reactivated_event, reactivated_got,      60000,  20,  READS},
    [HAND_OVER_EVENT] =  {"hand over event",  step_hand_over_event, step_event_got,      60000,  20,  READS},
    [HAND_OVER] =        {"hand over",        step_hand_over,     step_hand_over_got,    20000,  10,  READS},
    [DONE_RELEASE] =     {"release",          step_done,          step_done_got,         20000,   1,  0},
    [FAIL_RECORD] =      {"record",           step_fail_record,   step_fail_record_got,  20000,   8,  READS},
    [PARK] =             {"park",             step_park,          step_park_got,         10000,   1,  0},
};
/* clang-format on */

static struct saga_verdict failed(struct saga *s, int row, int err)
{
    if (row == DONE_RELEASE) return step_done_got(s, NULL);
    return rotation_failed(ROTATION(s), row, err, FAIL_RECORD, PARK);
}

const struct saga_table retire_table = {"retire", rows, ROWS, failed};
