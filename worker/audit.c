/* Audit: looks and changes nothing but the record. Does what AWS lists match what the record explains and what the
 * instance uses, and does it work? The first audit of a licence writes its record; later ones find drift, restored
 * instances and keys that died. */
#include "lib/err.h"

#include "lib/text.h"
#include "worker/steps.h"

#include <stdio.h>
#include <string.h>

enum row { LEASE, LIST, READ, TEST, JUDGE, EVENT, CLOSE, DONE_RELEASE, FAIL_RECORD, PARK, ROWS };

static void note_person(struct record *rec, enum record_state state, const char *reason)
{
    if (state == RECORD_DRIFTED && rec->state != RECORD_DRIFTED && rec->state != RECORD_EXCLUDED &&
        ++rec->drifts >= 2) {
        state = RECORD_EXCLUDED;
        snprintf(rec->reason, sizeof(rec->reason), "another rotator: %.170s", reason);
    } else if (rec->state != RECORD_EXCLUDED) {
        text_copy(rec->reason, sizeof(rec->reason), reason);
    }
    if (rec->state != RECORD_EXCLUDED) rec->state = state;
    rec->next_ms = TIME_NONE;
    rec->parked[0] = '\0';
}

static bool settled_state(enum record_state s)
{
    return s == RECORD_NEW || s == RECORD_CURRENT || s == RECORD_OVERLAP || s == RECORD_QUARANTINE ||
           s == RECORD_AWAITING;
}

/* A step that is overdue asked for a person: that stands until somebody says what to do. */
static bool asked_by_a_step(const struct record *rec, int64_t now_ms)
{
    const struct record_key *k = record_next_key(rec);
    return rec->state == RECORD_AWAITING && k && k->next_ms <= now_ms;
}

/* Policy asks for an audit only when nothing else is due: the state of a failure that is still there after its time was
 * left by an audit, and this one got through; so is that of one that was parked, which need not wait for its time. So
 * is that of an audit which became a dead letter. That the instance's own test fails is told below. done: the key that
 * something was planned with is gone, so that nothing is left to fail. */
static bool is_over(const struct rotation *r, bool done)
{
    const struct record *rec = &r->record;
    if (r->has_journal || rec->repair) return false;
    if (rec->state == RECORD_FAILED) return rec->looked || done;
    return rec->state == RECORD_RETRY && !rec->asked && (rec->parked[0] || rec->next_ms <= step_now_ms(r));
}

/* Keys that died before keyroll ever saw the instance use another: stay as they are, policy makes them due at once. */
static void judge_world(struct rotation *r, bool done)
{
    struct record *rec = &r->record;
    struct keyslots_out out;
    const struct keyslots_in in = {.keys = r->keys,
                                   .n_keys = r->n_keys,
                                   .seen = r->seen,
                                   .seen_id = r->seen_id,
                                   .record = rec,
                                   .replace_id = "",
                                   .pair_kept = r->kept_secret != NULL,
                                   .now_ms = step_now_ms(r)};
    keyslots_decide(&in, &out);
    const bool settles = settled_state(rec->state) || is_over(r, done);
    if (out.action == SLOT_PERSON && settles) note_person(rec, RECORD_AWAITING, out.reason);
    if (out.action == SLOT_DRIFTED) note_person(rec, RECORD_DRIFTED, out.reason);
    if (out.action == SLOT_PERSON || out.action == SLOT_DRIFTED) return;
    if (asked_by_a_step(rec, step_now_ms(r))) return;
    if (settles) record_settle(rec);
    if (out.action == SLOT_REPAIR || out.action == SLOT_FALL_BACK) {
        rec->repair = true;
        text_copy(rec->reason, sizeof(rec->reason), out.reason);
    }
}

/* The instance's own test failed. A dead key is replaced without being told; with one that lives no rotation helps, and
 * a person is told by the event's error (producer/notices.c). */
static void note_failing(struct rotation *r, bool is_reason)
{
    struct record *rec = &r->record;
    const struct record_key *k = record_current(rec);
    const bool lives = k && k->listed && k->status == AWS_KEY_ACTIVE;
    if (is_reason && lives)
        snprintf(rec->reason, sizeof(rec->reason), "%.120s; its key %s is Active in AWS: look at the instance",
                 r->reason, k->id);
    else if (is_reason)
        text_copy(rec->reason, sizeof(rec->reason), r->reason);
    if (!lives) r->error = 0;
    if (is_reason) rec->error = r->error;
}

static struct saga_verdict judge(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    struct record *rec = &r->record;
    char drift[RECORD_TEXT_MAX];
    int64_t now = step_now_ms(r);
    const enum keyslots_lag lag = step_list_lag(r);
    /* the instance's own test failed: that a key of ours is gone or dead is what it says, too; that one is back, not */
    if (lag == KEYSLOTS_GONE_LISTED || (lag == KEYSLOTS_BEHIND && !r->error)) return saga_jump_in(LIST, LAG_LOOK_MS);
    if (step_shows_old(r)) return saga_jump_in(LIST, LAG_LOOK_MS);
    const bool planned = record_next_key(rec) != NULL;
    bool drifted = keyslots_observe(rec, r->keys, r->n_keys, r->seen, r->seen_id, now, drift);
    if (drifted)
        note_person(rec, RECORD_DRIFTED, drift);
    else
        judge_world(r, planned && !record_next_key(rec));
    bool told = rec->state == RECORD_AWAITING && rec->reason[0]; /* what a person was asked for stays */
    if (r->error) note_failing(r, settled_state(rec->state) && !told);
    rec->audited_ms = now;
    r->closing = true;
    return saga_next();
}

static struct saga_verdict audit_event(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    enum record_state now = r->record.state;
    bool asks = now == RECORD_AWAITING && r->state_before != RECORD_AWAITING;
    return step_put_event(r, now == RECORD_DRIFTED ? EVENT_DRIFTED : asks ? EVENT_AWAITING : EVENT_AUDITED);
}

static struct saga_verdict close_record(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    const bool at_rest = r->record.state == RECORD_CURRENT; /* a reap that lost its lease may have left the pair (R5) */
    return step_put_record(r, false, true, at_rest ? step_pair_left(r) : STORE_PAIR_SAME, NULL);
}

#define READS (SAGA_LEASED | SAGA_REPEATABLE)

/* clang-format off */
static const struct saga_step rows[ROWS] = {
    /*                name        start             got                   timeout  tries  flags */
    [LEASE] =        {"lease",    step_lease,       step_lease_got,        20000,   5,  SAGA_BOUNDARY},
    [LIST] =         {"survey",   step_list,        step_list_got,        900000,   4,  READS | SAGA_BOUNDARY},
    [READ] =         {"read",     step_read,        step_read_got,        900000,   4,  READS | SAGA_BOUNDARY},
    [TEST] =         {"test",     step_test,        step_test_got,        900000,   3,  READS | SAGA_BOUNDARY},
    [JUDGE] =        {"judge",    judge,            NULL,                      0,   1,  SAGA_LEASED},
    [EVENT] =        {"event",    audit_event,      step_event_got,        60000,  20,  READS},
    [CLOSE] =        {"finish",   close_record,     step_closed_got,       20000,  10,  READS},
    [DONE_RELEASE] = {"release",  step_done,        step_done_got,         20000,   1,  0},
    [FAIL_RECORD] =  {"record",   step_fail_record, step_fail_record_got,  20000,   8,  READS},
    [PARK] =         {"park",     step_park,        step_park_got,         10000,   1,  0},
};
/* clang-format on */

static struct saga_verdict failed(struct saga *s, int row, int err)
{
    struct rotation *r = ROTATION(s);
    bool ourselves = err == ERR_LEASE_LOST || err == ERR_JOURNAL_VERSION || err == ERR_DRAINING;
    if (row == DONE_RELEASE) return step_done_got(s, NULL);
    if (!ourselves && row == TEST && err == ERR_INSTANCE_TEST) return saga_jump(JUDGE);
    return rotation_failed(r, row, err, FAIL_RECORD, PARK);
}

const struct saga_table audit_table = {"audit", rows, ROWS, failed};
