/* What a campaign asks for, and how far it is: pure decisions over the campaign's document, the inventory and what
 * Redis holds of each licence. Nothing of it is remembered: a scheduler that starts anew finds the same. */
#ifndef KEYROLL_CAMPAIGN_PLAN_H
#define KEYROLL_CAMPAIGN_PLAN_H

#include "producer/policy.h"
#include "schema/campaign.h"
#include "schema/inventory.h"

/* X(name, text): how one licence of a campaign stands. */
#define CAMPAIGN_MEMBERS(X)                                                                                            \
    X(MEMBER_PENDING, "pending")          /* nothing of it is under way */                                             \
    X(MEMBER_RUNNING, "running")          /* a journal is open, or it is tried again by itself */                      \
    X(MEMBER_NO_SLOT, "waits for a slot") /* its predecessors are not gone yet: two keys are all that AWS allows */    \
    X(MEMBER_DONE, "done") /* rotated since the campaign began; exposed: and the leaked key is not Active */           \
    X(MEMBER_FAILED, "failed")                                                                                         \
    X(MEMBER_PERSON, "waits for a person")                                                                             \
    X(MEMBER_LEFT_OUT, "left out") /* drifted or excluded: not touched */
enum campaign_member {
#define MEMBER_ENUM(name, text) name,
    CAMPAIGN_MEMBERS(MEMBER_ENUM)
#undef MEMBER_ENUM
        MEMBER_KINDS
};
const char *campaign_member_name(enum campaign_member m);
/* Nothing more will come of it by itself: the next wave does not wait for it. */
static inline bool campaign_member_ended(enum campaign_member m)
{
    return m >= MEMBER_DONE;
}

#define CAMPAIGN_STEPS_MAX 32
/* Reads "1,10,100%" into counts out of total, rising, the last one total. Returns how many; ERR_SYNTAX with a sentence.
 */
MUST_CHECK int campaign_waves(const char *text, size_t total, size_t ret_bounds[CAMPAIGN_STEPS_MAX], char reason[200]);
/* "2%", "0.5%", "off" -> 1/100 %. ERR_SYNTAX. */
MUST_CHECK int campaign_share(const char *text, int64_t *ret_share);
/* "2/s", "30/m", "100/h", "off" -> licences per 1,000 s. ERR_SYNTAX. */
MUST_CHECK int campaign_pace(const char *text, int64_t *ret_milli);

/* The members of one campaign over one generation of the inventory. */
struct campaign_members {
    uint32_t *order; /* rows in the order in which they begin: n of them; owned */
    uint32_t *place; /* by row: its position in order, UINT32_MAX not a member; owned */
    uint8_t *now;    /* by position: enum campaign_member; owned */
    size_t n, rows;
    size_t unknown; /* names of the list that the inventory does not have */
};
/* Chooses and orders: by a hash of campaign and licence, so that a first wave is a sample and always the same one.
 * ERR_NOMEM; ERR_SYNTAX: the filter, with a sentence. */
MUST_CHECK int campaign_members_find(const struct campaign *c, const struct inventory *inv,
                                     struct campaign_members *ret, char reason[200]);
void campaign_members_done(struct campaign_members *m);

/* How one member stands. u: u->err 0. */
enum campaign_member campaign_judge(const struct campaign *c, const struct store_peek *u);
/* Whether its key has to be marked as exposed first (reason exposed): the id, or NULL. */
const char *campaign_to_mark(const struct campaign *c, const struct store_peek *u);
/* Makes a pending member's rotation due, unless more urgent work is due on it already. */
void campaign_ask(const struct campaign *c, const struct store_peek *u, int64_t now_ms, struct policy_verdict *v);

struct campaign_progress {
    size_t members, count[MEMBER_KINDS];
    size_t wave, waves; /* the open one, from 1 */
    size_t before;      /* members of the waves before it */
    size_t bound;       /* members of the waves up to the open one */
    bool ended;         /* every member ended */
    bool too_many;      /* the failures pass stop_share */
    char why[200];      /* too_many: in words */
};
/* Sums up m->now. ERR_SYNTAX: the waves (a document of another hand). */
MUST_CHECK int campaign_sum(const struct campaign *c, const struct campaign_members *m, struct campaign_progress *ret);
/* The rate of the open wave, from the times at which its members were rotated: those of the last third of its time (a
 * minute at least), so that neither the small waves before it, nor its own beginning, nor how long a single rotation
 * takes come into it. */
struct campaign_rate {
    int64_t *at_ms; /* owned; as added, then in order */
    size_t n, cap;
};
void campaign_rate_done(struct campaign_rate *r);
/* rotated_ms: wall clock, of a member since the campaign began; TIME_NONE or 0: not yet. Without memory: not counted.
 */
void campaign_rate_add(struct campaign_rate *r, int64_t rotated_ms);
/* Licences per second; 0 unknown. */
double campaign_rate_per_s(struct campaign_rate *r);
/* How long what has not ended will take at that rate; TIME_NONE unknown. */
int64_t campaign_left_ms(const struct campaign_progress *p, struct campaign_rate *r);

/* How many members may have begun: the bound of the open wave, less what the pace holds back. opened_ms: when the wave
 * was opened; before: bound of the waves before it. */
size_t campaign_allowed(const struct campaign *c, size_t before, size_t bound, int64_t opened_ms, int64_t now_ms);

#endif
