/* One process's share of a call budget that all workers of an account have in common. A budget is a timeline of slots,
 * one call each; a process reserves some slots ahead (schema/lua/budget_take.lua), keeps them here and uses each when
 * its time has come. So the account sees evenly spaced calls whoever makes them, and what a process that died or left
 * had reserved is merely not used: BUDGET_BATCH + BUDGET_LOW calls at most, once. Pure: time comes as an argument,
 * nothing is read or sent. */
#ifndef KEYROLL_BUDGET_H
#define KEYROLL_BUDGET_H

#include <stdbool.h>
#include <stdint.h>

#define BUDGET_SLOTS_MAX 64
#define BUDGET_BATCH     16   /* slots asked for at once */
#define BUDGET_LOW       2    /* asks for more when so few are left, so that the next ones are here in time */
#define BUDGET_AGAIN_MS  1000 /* after a failed ask */

struct budget_slots {
    struct budget_slot {
        int64_t at_mono_ms, until_mono_ms; /* may be used from, until */
        int64_t epoch;                     /* of the budget when it was given */
    } v[BUDGET_SLOTS_MAX];                 /* a ring */
    unsigned first, n;
};
struct budget_share {
    struct budget_slots ordinary, emergency;
    int64_t epoch;             /* of the budget, as last told */
    unsigned throttled;        /* not reported yet */
    unsigned dropped;          /* slots given up for that, not reported yet */
    int64_t throttled_epoch;   /* under which those were sent */
    bool asking;               /* an ask is under way */
    int64_t ask_not_before_ms; /* monotonic */
    double rate_per_s;         /* what the budget allows all workers together, as last told; 0 unknown */
};

/* What is waiting in this process. */
struct budget_need {
    unsigned ordinary, emergency;
};
struct budget_ask {
    unsigned n;         /* slots wanted, > 0 unless only throttled is to be told */
    bool emergency;     /* before all others, and from the whole of what works instead of a share of it */
    unsigned throttled; /* calls that AWS throttled since the last ask */
    unsigned dropped;   /* slots that were given up for it */
    int64_t epoch;      /* the latest under which they were sent: tells which Throttling is news */
};
struct budget_grant {
    int err; /* not 0: nothing is known, see budget_failed() */
    int64_t epoch;
    unsigned n;         /* slots given */
    double first_ms;    /* from now to the first one */
    double interval_ms; /* between them */
    int64_t valid_ms;   /* a slot that is not used for so long after its time is gone */
    int64_t wait_ms;    /* n is 0: ask again after */
    double rate_per_s;  /* now allowed to all together */
    double base_per_s;  /* what was seen to work */
};

/* Decides whether to ask now. True: *ret is to be sent, and the answer goes to budget_granted() or budget_failed(). */
bool budget_wants(struct budget_share *b, const struct budget_need *need, int64_t now_mono_ms, struct budget_ask *ret);
void budget_granted(struct budget_share *b, const struct budget_ask *ask, const struct budget_grant *g,
                    int64_t now_mono_ms);
/* The common budget cannot be asked: goes on alone, at an eighth of the last rate (at least one call a second). */
void budget_failed(struct budget_share *b, const struct budget_ask *ask, double start_per_s, int64_t now_mono_ms);
/* Takes a slot for a call that leaves now; *ret_epoch is for budget_throttled(). False: there is none yet. */
bool budget_use(struct budget_share *b, bool emergency, int64_t now_mono_ms, int64_t *ret_epoch);
/* AWS throttled a call: slots given no later than its own are too many and are given up; the next ask tells. */
void budget_throttled(struct budget_share *b, int64_t sent_epoch);
/* When budget_use() or budget_wants() may next say something else; INT64_MAX: only after an answer. */
int64_t budget_due_ms(struct budget_share *b, const struct budget_need *need, int64_t now_mono_ms);
/* Slots held that are still good. */
unsigned budget_held(struct budget_share *b, int64_t now_mono_ms);

#endif
