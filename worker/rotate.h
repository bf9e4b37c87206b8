/* What the files of the rotation share: its rows, by which they jump, and the helpers of rotate.c. The story is the
 * table in rotate.c; doubt.c has the rows for a create whose reply was lost (R4), withdraw.c those that take a key back
 * (R1). */
#ifndef KEYROLL_ROTATE_H
#define KEYROLL_ROTATE_H

#include "worker/steps.h"

/* CreateAccessKey is begun so long after its intent at most, or the intent is told anew. */
#define CREATE_BEGIN_MS 20000

enum rotate_row {
    LEASE,
    LIST,
    READ,
    DECIDE,
    GATE,
    INTENT,
    INTENT_EVENT,
    CREATE,
    ESCROW,
    CREATED_EVENT,
    SETTLE,
    SETTLE_STS,
    SETTLE_BUCKET,
    AWAIT,
    AWAIT_EVENT,
    AWAIT_RECORD,
    REPAIR,
    FALL_BACK_EVENT,
    FALL_BACK,
    PIVOT,
    OFFERED_EVENT,
    SET,
    CHECK,
    TEST,
    FINISH_PREPARE,
    REPLACED_EVENT,
    FINISH,
    REVIEW_LIST,
    REVIEW,
    MARKS,
    REVIVE,
    LOST_PREPARE,
    LOST_EVENT,
    LOST_CLOSE,
    DOUBT_LIST,
    DOUBT_JUDGE,
    DOUBT_READ,
    DOUBT_LAST_USED,
    DOUBT_JOURNAL,
    DOUBT_EVENT,
    DOUBT_DEACTIVATE,
    DOUBT_INACTIVE,
    DOUBT_WAIT,
    DOUBT_RESUME,
    DOUBT_UNUSED,
    DOUBT_DELETE,
    DOUBT_DELETED_EVENT,
    ABSENT,
    WITHDRAW,
    WITHDRAW_EVENT,
    WITHDRAW_WAIT,
    WITHDRAW_READ,
    WITHDRAW_JUDGE,
    FORWARD,
    WITHDRAW_DEACTIVATE,
    WITHDRAW_PREPARE,
    WITHDRAWN_EVENT,
    WITHDRAW_CLOSE,
    UNDO_READ,
    UNDO,
    UNDO_EVENT,
    UNDO_DELETE,
    UNDO_PREPARE,
    UNDONE_EVENT,
    UNDO_CLOSE,
    ORPHAN,
    DONE_RELEASE,
    FAIL_RECORD,
    PARK,
    ROTATE_ROWS
};

#define DOUBT_POLL_MS 1000

/* Ends the run in this state, which asks for a person; reason may be r's own. */
struct saga_verdict rotate_ask_person(struct rotation *r, enum record_state state, const char *reason);
/* Ends the run without a failure until this time (step_now_ms; TIME_NONE: until somebody asks). RECORD_NEW: the state
 * stays. */
struct saga_verdict rotate_wait_until(struct rotation *r, int64_t until_ms, enum record_state state,
                                      const char *reason);
/* step_take_key() with the rows of this table. */
struct saga_verdict rotate_take_key(struct rotation *r, enum aws_op op, const char *key_id, int64_t looked_mono_ms);
/* The instance was seen to use the new key, though the journal does not say that it was offered. */
bool rotate_is_offered(const struct rotation *r);
step_got_fn rotate_effect_got;
step_start_fn rotate_close_journal;

/* Rows: doubt.c, withdraw.c. */
step_start_fn doubt_absent_put, doubt_deactivate, doubt_delete, doubt_deleted_event, doubt_event, doubt_inactive,
    doubt_journal, doubt_judge, doubt_last_used, doubt_resume, doubt_wait, undo, undo_delete, undo_done_event,
    undo_event, undo_prepare, withdraw, withdraw_deactivate, withdraw_done_event, withdraw_event, withdraw_forward,
    withdraw_judge, withdraw_prepare, withdraw_wait;
step_got_fn doubt_absent_got, doubt_last_used_got, doubt_read_got, undo_read_got, withdraw_forward_got;

#endif
