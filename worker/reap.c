/* Reap: deletes, by its id, a key that is Inactive, has been so for its quarantine, and whose successor is in use (I3,
 * R5, R6). Also used by the rotation to make room. Anything unknown on the way is a reason to leave the key alone. */
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
    LAST_USED,
    READ_AGAIN,
    JUDGE,
    PROVE,
    JOURNAL,
    DELETE,
    UNMARK,
    PREPARE,
    DELETED_EVENT,
    CLOSE,
    HAND_OVER_EVENT,
    HAND_OVER,
    DONE_RELEASE,
    FAIL_RECORD,
    PARK,
    ROWS
};
enum rotate_row { ROTATE_LIST = 1 };

#define DATE_GRAIN_MS 2000 /* two dates of whole seconds */
#define LAST_USED_GRAIN_MS                                                                                             \
    (20 * 60000) /* last-used keeps the first use in each 15 minutes and lags (facts/aws, section 11) */

static struct record_key *target(struct rotation *r)
{
    return record_find(&r->record, r->target);
}

static struct saga_verdict check(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (r->has_journal) {
        text_copy(r->target, sizeof(r->target), r->journal.key_old);
        return saga_next();
    }
    const struct record_key *k = target(r);
    bool nudged = r->job->kind != JOB_REAP || (k && k->rotation == r->job->rotation);
    if (!k || !nudged || r->env->policy.observe || k->role == KEY_CURRENT || k->role == KEY_LEFT)
        return saga_jump(DONE_RELEASE);
    if (k->next != KEY_NEXT_REAP || k->next_ms > step_now_ms(r)) return saga_jump(DONE_RELEASE);
    if (r->record.state == RECORD_DRIFTED || r->record.state == RECORD_EXCLUDED) return saga_jump(DONE_RELEASE);
    return saga_next();
}

static struct saga_verdict ask_person(struct rotation *r, enum record_state state, const char *what)
{
    rotation_note(r, ERR_NEEDS_PERSON, false, "key %s %s; run: keyroll audit %s", r->target, what, r->job->licence);
    r->end_state = state;
    return saga_jump(FAIL_RECORD);
}

/* After the list: is there still something to delete, and may it be? */
static struct saga_verdict last_used(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    const struct aws_key *k = step_listed(r, r->target);
    if (!k) return saga_jump(UNMARK);
    if (k->status == AWS_KEY_ACTIVE) return ask_person(r, RECORD_DRIFTED, "was made Active again by somebody else");
    if (k->status != AWS_KEY_INACTIVE) return ask_person(r, RECORD_AWAITING, "is neither Active nor Inactive");
    return step_aws(r, AWS_ACCESS_KEY_LAST_USED, r->target, AWS_KEY_INACTIVE);
}

/* When the key was set Inactive by AWS's clock, which tells when it was used. Where a record does not know, by how far
 * the clock of its times (step_now_ms()) is behind AWS's now. */
static int64_t inactive_aws_ms(const struct rotation *r, const struct record_key *k, const struct aws_result *a)
{
    if (k->inactive_aws_ms != TIME_NONE) return k->inactive_aws_ms;
    int64_t behind = a->date_ms == TIME_NONE ? 0 : a->date_ms - step_now_ms(r);
    return k->inactive_ms + (behind > 0 ? behind : 0);
}

static struct saga_verdict last_used_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    const struct record_key *k = target(r);
    if (step_aws_error(r, a)) return a->err == ERR_TIMEOUT ? saga_again(100) : saga_fail(a->err);
    if (a->used == AWS_USED_UNKNOWN && MUTANT(BLIND_ASKS)) return ask_person(r, RECORD_AWAITING, "may have been used");
    if (a->used == AWS_USED_UNKNOWN) {
        rotation_note(r, ERR_AWS_NOT_READY, true, "nobody knows whether %s was used: it stays", r->target);
        return saga_fail(ERR_AWS_NOT_READY);
    }
    if (a->used == AWS_USED_AT && k && k->inactive_ms != TIME_NONE &&
        a->used_at_ms > inactive_aws_ms(r, k, a) + LAST_USED_GRAIN_MS) {
        rotation_note(r, ERR_NEEDS_PERSON, false,
                      "key %s was used after it had been set Inactive; run: keyroll adopt %s --replaced %s (may be "
                      "removed) or --leave %s",
                      r->target, r->job->licence, r->target, r->target);
        r->end_state = RECORD_AWAITING;
        return saga_jump(FAIL_RECORD);
    }
    return saga_next();
}

/* What is left of the quarantine by AWS's clock (R5): the due time was noted by Redis's, which may have been slow. */
static int64_t quarantine_left_ms(const struct rotation *r, const struct record_key *k)
{
    if (MUTANT(REAP_EARLY) || !k || k->inactive_aws_ms == TIME_NONE || r->aws_ms == TIME_NONE) return 0;
    int64_t left = k->inactive_aws_ms + r->env->policy.quarantine_ms - step_aws_ms(r);
    return left > DATE_GRAIN_MS ? left : 0;
}

static struct saga_verdict judge(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    int64_t left = r->has_journal ? 0 : quarantine_left_ms(r, target(r));
    if (left) {
        rotation_note_wait(r, step_now_ms(r) + left, "the quarantine is not over by AWS's clock");
        return saga_jump(FAIL_RECORD);
    }
    const struct record_key *current = record_current(&r->record);
    const struct aws_key *newest = current ? step_listed(r, current->id) : NULL;
    const struct record_key *k = target(r);
    step_weigh_reads(r, current ? current->id : "");
    bool seen_other = r->seen != INSTANCE_SEEN_UNKNOWN && strcmp(r->seen_id, r->target);
    if (k && k->role == KEY_UNUSED && seen_other) return saga_jump(JOURNAL); /* ours, which the instance does not use */
    bool shown = newest && (r->seen == INSTANCE_SEEN_UNKNOWN || !strcmp(r->seen_id, newest->id));
    if (newest && newest->status == AWS_KEY_ACTIVE && shown && strcmp(newest->id, r->target)) return saga_next();
    if (step_shows_old(r)) return saga_jump_in(READ_FIRST, LAG_LOOK_MS);
    if (r->has_journal) return saga_jump(HAND_OVER_EVENT);
    if (r->job->kind == JOB_ROTATE) { /* it came from there to make room */
        rotation_note(r, ERR_INSTANCE_UNPROVEN, true,
                      "about to delete %s, but the instance does not show the newest key", r->target);
        return saga_jump(FAIL_RECORD);
    }
    r->saga.table = &rotate_table; /* it repairs or reports, and never creates: its target is not the current key */
    return saga_jump(ROTATE_LIST);
}

static struct saga_verdict put_journal(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (s->attempt == 0 && !r->has_journal) {
        journal_init(&r->journal, JOURNAL_REAP);
        r->journal.rotation = r->record.rotation;
        r->journal.started_ms = step_now_ms(r);
        text_copy(r->journal.job_id, sizeof(r->journal.job_id), r->job->job_id);
        text_copy(r->journal.key_old, sizeof(r->journal.key_old), r->target);
    }
    return step_put_journal(r, JOURNAL_DELETE);
}

static struct saga_verdict delete (struct saga *s)
{
    struct rotation *r = ROTATION(s);
    const char *id = MUTANT(DELETE_FIRST) && r->n_keys ? r->keys[r->n_keys - 1].id : r->target;
    return step_take_key(r, AWS_DELETE_ACCESS_KEY, id, r->listed_mono_ms, READ_FIRST, FAIL_RECORD);
}

static struct saga_verdict delete_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    if (a->err == ERR_TIMEOUT) return saga_again(100);
    if (a->err != ERR_AWS_NO_ENTITY && step_aws_error(r, a)) return saga_fail(a->err);
    return saga_next();
}

static struct saga_verdict unmark(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (!step_is_exposed(r, r->target)) return saga_next();
    int rc = store_unmark_exposed(r->env->store, r->lease.user.key, r->target, saga_ticket(s));
    return rc < 0 ? saga_fail(rc) : saga_wait();
}

static struct saga_verdict unmark_got(struct saga *s, const void *result)
{
    const struct store_reply *reply = result;
    (void)s;
    return reply->err ? saga_fail(reply->err) : saga_next();
}

static struct saga_verdict prepare(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    int64_t now = step_now_ms(r);
    const struct record_key *current = record_current(&r->record);
    if (current && r->seen == INSTANCE_SEEN_ID && !strcmp(r->seen_id, current->id))
        record_find(&r->record, current->id)->seen_ms = now;
    record_remove(&r->record, r->target);
    r->record.audited_ms = now;
    if (r->record.state != RECORD_AWAITING) record_settle(&r->record);
    r->closing = true;
    return saga_next();
}

static struct saga_verdict deleted_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_DELETED);
}

static struct saga_verdict close_record(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    return step_put_record(r, true, true, step_pair_left(r), NULL);
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
    [LAST_USED] =        {"last used",        last_used,          last_used_got,        900000,   4,  READS},
    [READ_AGAIN] =       {"read again",       step_read,          step_read_got,        900000,   4,  READS | SAGA_LAST_CALL},
    [JUDGE] =            {"judge",            judge,              NULL,                      0,   1,  SAGA_LEASED},
    [PROVE] =            {"prove",            step_prove_kept,    step_prove_kept_got,  900000,   4,  READS},
    [JOURNAL] =          {"journal",          put_journal,        step_journal_got,      20000,   5,  READS},
    [DELETE] =           {"delete",           delete,             delete_got,            60000,   4,  BY_ID},
    [UNMARK] =           {"unmark",           unmark,             unmark_got,            20000,   8,  READS},
    [PREPARE] =          {"finish",           prepare,            NULL,                      0,   1,  SAGA_LEASED},
    [DELETED_EVENT] =    {"deleted event",    deleted_event,      step_event_got,        60000,  20,  READS},
    [CLOSE] =            {"finish",           close_record,       step_closed_got,       20000,  10,  READS},
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

const struct saga_table reap_table = {"reap", rows, ROWS, failed};
