/* What is due for one licence, and why: a pure function of its settings, its record and journal, and the time. */
#ifndef KEYROLL_POLICY_H
#define KEYROLL_POLICY_H

#include "producer/calendar.h"
#include "schema/job.h"
#include "schema/store.h"

struct options;

struct policy {
    bool observe; /* mode = observe: only audits may be published */
    int64_t max_age_ms, max_age_jitter_ms;
    int64_t audit_interval_ms;
    int64_t assisted_poll_ms;
    bool wordless;  /* why is left empty: the survey of a large fleet needs no words */
    unsigned rungs; /* retry topics: that many failures are tried again by Kafka, not by us */

    bool recovered; /* what its record is parked on answers again (survey): it is due at once */

    /* Of one licence (policies_for); zeroed: none of it holds. */
    int64_t min_gap_ms;         /* after a finished rotation no scheduled one is begun for so long */
    bool canary;                /* goes first */
    struct calendar_gate *gate; /* borrowed; NULL: at any time */
    const char *excluded;       /* the reason, borrowed; NULL: it is not. Until excluded_until_ms */
    int64_t excluded_until_ms;
    const char *blocked; /* why nothing is done on schedule: its policy or zone is not known; static, NULL: all well */
};

/* In the order in which due work is published. */
enum policy_rank {
    POLICY_EXPOSED, /* a key that leaked is still Active */
    POLICY_URGENT,  /* an instance went back to an old key */
    POLICY_RETIRE,
    POLICY_REAP,
    POLICY_RESUME,
    POLICY_ROTATE,
    POLICY_FIRST, /* never looked at */
    POLICY_AUDIT,
    POLICY_NOTHING, /* nothing is due: at_ms says when something will be */
};

struct policy_verdict {
    enum policy_rank rank;
    bool held;  /* due, but mode = observe keeps it from being published */
    bool waits; /* it would be due, but calendar, gap, exclusion or an unknown policy keep it until at_ms */
    bool canary;
    bool recovered; /* due since what it was parked on answers again: goes before other work, and without pace */
    bool wordless;  /* as in the policy */
    int kind,
        reason; /* enum job_kind and job_reason of the job that is due or comes next; kind -1: nothing is planned */
    bool urgent;
    char replace_key_id[AWS_KEY_ID_MAX];
    int64_t failing_since_ms;  /* record.first_failed_ms, TIME_NONE: it does not fail. A dead letter may be there */
    int64_t rotation;          /* the job's rotation number */
    int64_t at_ms;             /* when it became due, or will be; TIME_NONE: always was, or never */
    int64_t oldest_ms;         /* rotate: when the key was made; else as at_ms: orders what is due */
    char why[RECORD_TEXT_MAX]; /* one plain sentence without a full stop */
};

void policy_from_options(const struct options *o, struct policy *ret);
/* Judges one licence. u: what Redis holds of its user (u->err 0). Pure. */
void policy_judge(const struct policy *p, const char *licence, const struct store_peek *u, int64_t now_ms,
                  struct policy_verdict *ret);
/* Whether a rotation that nobody of ours asked for by name may be begun now: calendar, gap, exclusion, and what the
 * record says. u->err 0. False: why not, a plain sentence. Pure. */
bool policy_allows_rotation(const struct policy *p, const struct store_peek *u, int64_t now_ms,
                            char ret_why[RECORD_TEXT_MAX]);
static inline bool policy_is_due(const struct policy_verdict *v)
{
    return v->rank != POLICY_NOTHING;
}
/* Puts a rotation that somebody else made due off to the time that policy allows: windows, exclusions, an unknown
 * policy. Pure. */
void policy_put_off(const struct policy *p, int64_t now_ms, struct policy_verdict *v);
/* Orders due work: what is urgent, what was parked, then by rank; canaries, then the oldest key (what is no rotation:
 * the longest due) first. For qsort-like use. */
int policy_compare(const struct policy_verdict *a, const struct policy_verdict *b);
/* The age at which this licence's key is due: max_age less its own, stable part of the jitter; of a canary less all of
 * it. Pure. */
int64_t policy_age_ms(const struct policy *p, const char *licence);
const char *policy_rank_name(enum policy_rank r);

#endif
