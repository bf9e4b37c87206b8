/* The record and the journal of one IAM user: what the scheduler, the workers and the console know of it, in Redis.
 * The record lives as long as the user is looked after; the journal only while a change is under way. Both are JSON
 * documents (record.schema.json, journal.schema.json); the sealed pair lies beside them, never inside. Pure values: no
 * I/O. */
#ifndef KEYROLL_RECORD_H
#define KEYROLL_RECORD_H

#include "lib/aws.h"
#include "lib/buf.h"

#include <stdbool.h>
#include <stdint.h>

#define RECORD_KEYS_MAX    8
#define RECORD_TEXT_MAX    200
#define RECORD_LICENCE_MAX 48
#define RECORD_JOB_ID_MAX  33
#define RECORD_STEP_MAX    24
#define RECORD_PARKED_MAX  96

/* X(name, text): the named states of a licence (design, section 2). Texts are part of the published form. */
#define RECORD_STATES(X)                                                                                               \
    X(RECORD_NEW, "new")                    /* never looked at */                                                      \
    X(RECORD_CURRENT, "current")            /* one key, in use */                                                      \
    X(RECORD_OVERLAP, "overlap")            /* new key live, predecessor still Active */                               \
    X(RECORD_QUARANTINE, "quarantine")      /* predecessor Inactive */                                                 \
    X(RECORD_RETRY, "retry")                /* failed, tried again at next_at */                                       \
    X(RECORD_AWAITING, "awaiting operator") /* a person must paste, confirm, or look */                                \
    X(RECORD_STUCK, "stuck")                /* dead letter after the pivot: both keys alive */                         \
    X(RECORD_FAILED, "failed")              /* dead letter before the pivot: undone */                                 \
    X(RECORD_DRIFTED, "drifted")            /* instance and AWS disagree or a stranger changed a key: until `adopt` */ \
    X(RECORD_EXCLUDED, "excluded")          /* not ours to touch */
enum record_state {
#define RECORD_ENUM(name, text) name,
    RECORD_STATES(RECORD_ENUM)
#undef RECORD_ENUM
};
const char *record_state_name(enum record_state s);

enum key_role {
    KEY_CURRENT,  /* the instance uses it */
    KEY_REPLACED, /* the instance was seen to use it and now uses replaced_by */
    KEY_UNUSED,   /* we made it and the instance does not use it (withdrawn, doubtful create) */
    KEY_LEFT,     /* a person said: leave it alone */
};
enum key_next { KEY_NEXT_NONE, KEY_NEXT_RETIRE, KEY_NEXT_REAP };

/* One key that the record explains. */
struct record_key {
    char id[AWS_KEY_ID_MAX];
    enum key_role role;
    enum aws_key_status status; /* as AWS last told us or as we last set it; UNKNOWN also when it was not listed */
    bool listed;                /* AWS listed it at the last look */
    bool exposed;               /* R9 */
    bool unseen;                /* replaced, but nothing could be read: retire needs the last-used rule (R11) */
    char replaced_by[AWS_KEY_ID_MAX]; /* REPLACED: its successor, "" else */
    int64_t rotation;   /* number of the rotation that made (CURRENT, UNUSED) or replaced (REPLACED) it, 0 = not ours */
    int64_t created_ms; /* AWS's CreateDate, TIME_NONE unknown */
    int64_t seen_ms;    /* CURRENT: last time the instance was seen to use it; TIME_NONE never */
    int64_t offered_ms; /* CURRENT, UNUSED: when it was first offered to the instance; TIME_NONE never */
    int64_t replaced_ms;     /* REPLACED: when its successor was proven */
    int64_t inactive_ms;     /* when it was set Inactive, or first seen so; TIME_NONE = it is not */
    int64_t inactive_aws_ms; /* the same by AWS's clock, which tells when a key was used; TIME_NONE = not known */
    enum key_next next;      /* what happens to it next */
    int64_t next_ms;         /* and when */
};

struct record {
    char licence[RECORD_LICENCE_MAX], account[AWS_ACCOUNT_MAX], user[AWS_USER_MAX];
    enum record_state state;
    int64_t rotation;   /* number of the last finished rotation, 0 = none */
    int64_t rotated_ms; /* when it finished, TIME_NONE never */
    struct record_key keys[RECORD_KEYS_MAX];
    size_t n_keys;
    int64_t next_ms; /* not touched by the scheduler before (RETRY, AWAITING poll); TIME_NONE = nothing set */
    char reason[RECORD_TEXT_MAX];   /* why the state is what it is, and what to do; "" when all is well */
    char step[RECORD_STEP_MAX];     /* where the last failure happened */
    int error;                      /* err.h code of the last failure */
    unsigned attempts;              /* failed runs in a row */
    char parked[RECORD_PARKED_MAX]; /* RETRY: the breaker it waits for, "account:..." or "host:..."; "" none */
    bool asked;                     /* RETRY: a person asked for this rotation, whatever the key's age */
    bool looked;                    /* FAILED: it was an audit that failed, no change; one that goes well ends it */
    bool repair;                    /* the instance went back to a predecessor: the kept pair must be written again */
    unsigned drifts;                /* changes by others in a row (two = another rotator) */
    int64_t first_failed_ms;
    int64_t audited_ms; /* last successful audit or proof */
    int64_t updated_ms;
    int64_t number; /* lease number of the last writer: the newer of two snapshots wins by it */
};

/* What is under way. */
enum journal_kind { JOURNAL_ROTATE, JOURNAL_RETIRE, JOURNAL_REAP };
enum journal_step {
    JOURNAL_INTENT,     /* CreateAccessKey is about to be, or was, called: outcome unknown */
    JOURNAL_DOUBT,      /* a newcomer that is ours by R4 is being removed: key_doubt */
    JOURNAL_CREATED,    /* key_new exists, its secret is sealed */
    JOURNAL_AWAIT,      /* assisted: settled, waits for a person to ask for it */
    JOURNAL_SET,        /* the pivot: key_new was, or may have been, offered to the instance */
    JOURNAL_WITHDRAW,   /* the instance refused it: wait out late writes, read back, else Inactive */
    JOURNAL_UNDO,       /* never offered: key_new is being deleted */
    JOURNAL_DEACTIVATE, /* retire: key_old is being set Inactive */
    JOURNAL_REACTIVATE, /* retire went wrong: key_old is being made Active again */
    JOURNAL_DELETE,     /* reap, or room: key_old is being deleted */
    JOURNAL_STEPS
};
const char *journal_step_name(enum journal_step s);
/* Decided once per rotation, by compare-and-set (R1). */
enum journal_direction { DIRECTION_NONE, DIRECTION_SET, DIRECTION_UNDO };
const char *journal_direction_name(enum journal_direction d); /* "", "set", "undo" */

struct journal {
    int64_t version; /* 0 = there is no journal */
    enum journal_kind kind;
    enum journal_step step;
    enum journal_direction direction;
    int64_t rotation; /* number of this rotation = the lease number that began it */
    char job_id[RECORD_JOB_ID_MAX];
    char seen[AWS_KEYS_MAX][AWS_KEY_ID_MAX]; /* ids listed before the first unresolved create (R4 keeps the first) */
    size_t n_seen;
    int64_t intent_ms;      /* X-Amz-Date of that create at the earliest */
    int64_t intent_last_ms; /* and of the last one */
    int64_t intent_aws_ms;  /* intent_ms by AWS's clock, a moment before; TIME_NONE = not known */
    char key_new[AWS_KEY_ID_MAX];
    int64_t key_new_created_ms;
    char key_old[AWS_KEY_ID_MAX]; /* the key the instance used when this began, "" = none known */
    bool old_seen;                /* it was really seen there (I3), not only assumed */
    char key_doubt[AWS_KEY_ID_MAX];
    int64_t doubt_inactive_ms; /* when key_doubt was set Inactive, TIME_NONE not yet */
    int64_t offered_ms;        /* first time, TIME_NONE never */
    int64_t written_ms;        /* last write sent to the instance */
    bool repair;               /* the kept pair is written again; no new key */
    bool assisted;
    bool exposed;     /* key_old is exposed */
    bool secret_lost; /* rebuilt without its sealed pair (R8, R13) */
    int64_t
        patient_ms; /* no destructive call before: one of a frozen earlier holder may still land (R7); TIME_NONE none */
    int64_t started_ms, updated_ms;
    int64_t hold_off_ms; /* rotate: when the last hold-off before it ended (R3), 0 none; TIME_NONE not known */
    bool told_anew;      /* written after Redis was replaced: it may have lost that key_new was offered */
    int64_t number;      /* lease number of the last writer */
};

void record_init(struct record *r, const char *licence, const char *account, const char *user);
/* 0; ERR_SYNTAX, ERR_VERSION (unknown major), ERR_TOO_LARGE. Unknown members are ignored. */
MUST_CHECK int record_decode(const char *json, size_t len, struct record *ret_record);
/* The same of an object that stands in a larger document. */
MUST_CHECK int record_read(const json_t *o, struct record *ret_record);
MUST_CHECK int record_encode(const struct record *r, struct buf *out);
void journal_init(struct journal *j, enum journal_kind kind);
MUST_CHECK int journal_decode(const char *json, size_t len, struct journal *ret_journal);
MUST_CHECK int journal_read(const json_t *o, struct journal *ret_journal);
MUST_CHECK int journal_encode(const struct journal *j, struct buf *out);

/* NULL when the record does not explain this id. */
struct record_key *record_find(struct record *r, const char *id);
const struct record_key *record_find_const(const struct record *r, const char *id);
const struct record_key *record_current(const struct record *r);
/* Adds or returns the entry of id. NULL when the table is full. */
struct record_key *record_add(struct record *r, const char *id);
void record_remove(struct record *r, const char *id);
/* Derives state (CURRENT, OVERLAP, QUARANTINE) from the keys, clears reason, error and attempts: all is well. */
void record_settle(struct record *r);
/* The key whose next action is due first; NULL when none is planned. */
const struct record_key *record_next_key(const struct record *r);

#endif
