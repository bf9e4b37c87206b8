/* All data of one job under way: what the steps of rotate, retire, reap and audit work on, and the edges they use. */
#ifndef KEYROLL_ROTATION_H
#define KEYROLL_ROTATION_H

#include "lib/escrow.h"
#include "lib/instance.h"
#include "lib/kafka_out.h"
#include "lib/trace.h"
#include "schema/job.h"
#include "schema/keyslots.h"
#include "schema/store.h"
#include "worker/breakers.h"
#include "worker/lease.h"
#include "worker/saga.h"

struct report;

/* Waits and limits of the rotation; from the settings, or from a simulation. All in ms unless the name says otherwise.
 */
struct rotation_policy {
    bool observe; /* mode = observe: only audits have an effect, and that on the record only */
    int64_t overlap_ms, quarantine_ms, skew_limit_ms, create_doubt_ms, newcomer_wait_ms;
    unsigned settle_successes;
    int64_t settle_interval_ms, settle_timeout_ms;
    int64_t retire_watch_ms, assisted_poll_ms;
    int64_t mutate_timeout_ms, read_timeout_ms;
    int64_t max_per_hour;
    const int64_t *retry_delays_ms;
    size_t n_retry_delays; /* the Kafka rungs, rising */
    int64_t retry_cap_ms;
    unsigned max_attempts;
};

/* Everything outside: real in the worker, simulated in tests. */
struct rotation_env {
    const struct clock *clock;
    const struct rng *rng;
    struct aws_port aws;
    struct aws_turn_port turns; /* take NULL: every job begins at once */
    struct instance_port instance;
    struct store *store;
    struct leases *leases;
    const struct escrow *escrow;
    struct report *report;
    struct breaker_port breakers; /* all NULL: none */
    struct rotation_policy policy;
    bool draining;
};

/* How a job ended, for the intake. */
enum rotation_outcome {
    OUTCOME_DONE,      /* nothing more to do for this message */
    OUTCOME_RETRY,     /* publish to a retry topic, then done; or done, when the record holds the time */
    OUTCOME_DEAD,      /* publish a dead letter, then done */
    OUTCOME_ABANDONED, /* the lease was lost: somebody else goes on; publish to the shortest retry topic, then done */
    OUTCOME_PARKED,    /* draining: leave the message uncommitted */
    OUTCOME_WAITING, /* a breaker is open (record.parked): the first such job stays and is its probe, others are done */
};

struct rotation {
    struct saga saga; /* first: the engine's handle */
    struct rotation_env *env;
    struct job *job; /* owned */
    struct lease lease;
    int64_t others_until_mono_ms; /* so long another one may have the lease, as Redis told; 0: it told of none */
    struct aws_turn turn;         /* waited for before the lease */
    bool turned;
    struct instance_abilities can;
    bool no_profile; /* the job names one that is not here: told in the record, nothing is done */

    /* What is known, loaded with the lease and kept up to date. */
    bool has_journal;
    enum record_state state_before; /* the record's, as it was loaded */
    struct record record;
    struct journal journal;
    struct secret *secret;      /* the new key's (or, for a repair, the kept pair's); NULL: not at hand */
    bool secret_sealed;         /* it lies in the journal */
    bool kept;                  /* the record has the kept pair of the current key */
    struct secret *kept_secret; /* opened; NULL: cannot be opened */
    char kept_id[AWS_KEY_ID_MAX];
    char (*exposed)[AWS_KEY_ID_MAX];
    size_t n_exposed; /* owned; NULL when there are none */

    /* This run's findings. */
    struct aws_key *keys;
    size_t n_keys, max_keys; /* owned; listed, with room for one more. NULL before the first list */
    bool was_listed;
    int64_t listed_mono_ms;      /* when */
    unsigned first_looks;        /* how often a first list did not show the key in use */
    unsigned old_looks;          /* how often that was too long ago for what was decided by it (step_take_key) */
    int64_t aws_ms, aws_mono_ms; /* AWS's time in its last reply, and when that came; TIME_NONE none yet */
    enum instance_seen seen;
    char seen_id[AWS_KEY_ID_MAX];
    enum instance_seen seen_first; /* what a read before the survey showed, where another one follows it */
    char seen_first_id[AWS_KEY_ID_MAX];
    int64_t read_mono_ms;    /* when the read that told it began */
    int64_t doubted_mono_ms; /* since when that is doubted (step_shows_old); 0 it is not */
    enum instance_proof proof;
    enum aws_used used;
    int64_t used_at_ms;
    struct keyslots_out slots;
    int64_t intent_mono_ms; /* when the create that is not sent yet was intended */
    unsigned intents;       /* how many were told too late, in a row */
    unsigned settled;
    bool told_offered; /* this run's `offered` is on the events: the pair may be written */
    int64_t settle_began_mono_ms, settle_ok_mono_ms;
    unsigned polls; /* rounds of the current poll */
    int64_t watch_began_mono_ms;
    int64_t offer_ms;      /* no offer of a key before: Redis may have lost that it was taken back; TIME_NONE none */
    bool resumed;          /* a journal was open when the lease was taken */
    bool loaded;           /* record and journal are those of Redis */
    int64_t hold_off_ms;   /* when the last hold-off ended (R3), by the clock of Redis; 0 there was none */
    bool went_back;        /* Redis was replaced since that journal began: it may have lost what came after */
    bool told_anew;        /* and that was so already for who wrote the journal: its pair is no witness of that */
    bool may_land;         /* a call that sets a key Inactive had no answer and was repeated: it may still land */
    int64_t marks_mono_ms; /* when the marks of exposed keys were asked for last, by step_marks */
    unsigned looks;        /* how often */
    char opid[STORE_TOKEN_MAX];
    bool put_unknown; /* an earlier try of this write had no answer (R14) */
    int64_t sent_ms;  /* X-Amz-Date of the create */

    /* How it ends. */
    int error;                    /* err.h code, 0 fine */
    char step[RECORD_STEP_MAX];   /* row that failed */
    char reason[RECORD_TEXT_MAX]; /* for a person */
    struct {
        int error; /* 0: none, or not known any more */
        char step[RECORD_STEP_MAX], reason[RECORD_TEXT_MAX];
    } cause;      /* the failure for which the new key is taken back; what is looked at meanwhile does not clear it */
    bool counted; /* the failure counts as an attempt */
    enum record_state end_state; /* state to record with the failure */
    int64_t next_ms;             /* when to try again, TIME_NONE: by the attempts */
    int64_t retry_after_ms;      /* the other side asked for it, -1 none */
    char target[AWS_KEY_ID_MAX]; /* retire, reap: the key; rotate: the job's key to be replaced, "" = the current one */
    bool closing;                /* the journal ends with the next record write: the published state has none */
    bool drop_journal;           /* the failure leaves nothing open: end the journal with it */
    void *owner;                 /* whoever started it */
    char traceparent[TRACE_PARENT_MAX]; /* this run's span; "" none */
    bool again;                         /* an older journal was finished first: run the job once more */
    int end_outcome;
    int64_t begun_mono_ms;
};

#define ROTATION(s) ((struct rotation *)(s))

/* Prepares a run. job: owned from now on; on failure it stays the caller's. 0 or ERR_NOMEM, ERR_INVALID (names). */
MUST_CHECK int rotation_new(struct rotation_env *env, struct job *job, struct rotation **ret_rotation);
/* Makes room for n listed keys, contents kept. False: no memory. */
bool rotation_room_for_keys(struct rotation *r, size_t n);
/* Begins it at the first row of its kind's table. 0 or ERR_NOMEM. */
MUST_CHECK int rotation_begin(struct saga_engine *e, struct rotation *r);
void rotation_free(struct rotation *r);
/* The engine's guard for all kinds: lease time left, draining. */
int64_t rotation_guard(void *arg, struct saga *s, const struct saga_step *step);

/* The step tables, one per job kind (rotate.c, retire.c, reap.c, audit.c). Row 0 takes the lease. */
extern const struct saga_table rotate_table, retire_table, reap_table, audit_table;

#endif
