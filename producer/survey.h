/* One look at the whole fleet: every licence's record and journal from Redis, judged by policy. Restores on the way
 * what Redis lost and the keys topic knows (R8). Loop thread only. */
#ifndef KEYROLL_SURVEY_H
#define KEYROLL_SURVEY_H

#include "producer/policies.h"
#include "producer/states.h"
#include "schema/inventory.h"

#define SURVEY_STATES (RECORD_EXCLUDED + 1)
#define SURVEY_RANKS  (POLICY_NOTHING + 1)
#define SURVEY_AGES   8
extern const int survey_age_days[SURVEY_AGES]; /* rising, the first 0 */

/* One licence with something to do. */
struct survey_due {
    const struct inventory_row *row; /* borrowed from the inventory */
    struct policy_verdict verdict;
    uint64_t signature; /* changes with record and journal: whether a job published before had an effect */
};
struct survey_result {
    int err;                  /* Redis failed on the way: nothing of it counts */
    size_t licences, unknown; /* unknown: without a record */
    size_t states[SURVEY_STATES];
    size_t rotating; /* open journals with a live lease */
    size_t due[SURVEY_RANKS];
    size_t held;    /* due, but mode = observe: not among due[] */
    size_t waiting; /* kept from being due by calendar, gap, exclusion or an unknown policy */
    size_t restored, unreadable;
    int64_t oldest_created_ms; /* of all current keys; TIME_NONE none known */
    size_t aged[SURVEY_AGES];  /* licences whose current key is at least survey_age_days[i] old */
    struct survey_due *items;
    size_t n_items;                                /* to be published, in order; borrowed until the next survey */
    char unreadable_licence[IDENTITY_LICENCE_MAX]; /* the first of them */
};

struct survey;
struct survey_options {
    struct store *store;
    struct policies *const *policies; /* looked at for each licence: may be another one from survey to survey */
    const struct states *states;      /* NULL: restores nothing */
    const struct clock *clock;
    /* Each licence with what Redis holds of it; may be NULL. user_key: as identity_key() writes it. */
    void (*seen)(void *arg, const char *user_key, const struct store_peek *u);
    /* Does what a licence is parked on answer again? NULL: nobody knows. */
    bool (*recovered)(void *arg, const char *breaker);
    void (*done)(void *arg, const struct survey_result *r);
    void *arg;
    /* May change the verdict on one licence (campaigns); row: its place in the inventory. NULL: policy alone decides.
     */
    void (*adjust)(void *arg, size_t row, const struct inventory_row *who, const struct policy *p,
                   const struct store_peek *u, struct policy_verdict *v);
    void *adjust_arg;
};
struct survey *survey_new(const struct survey_options *o);
/* Takes NULL. Only while none is under way, or after redis_free(). */
void survey_free(struct survey *s);
/* Begins one; done runs later, exactly once. inv: borrowed until the next survey ends. ERR_BUSY: one is under way;
 * ERR_REDIS_DOWN, ERR_NOMEM. */
MUST_CHECK int survey_begin(struct survey *s, const struct inventory *inv);
bool survey_busy(const struct survey *s);
uint64_t survey_signature(const struct store_peek *u);

#endif
