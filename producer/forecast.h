/* What a policy will do in the coming days, if all goes well: how many rotations, retirements and deletions fall on
 * each day, with windows, exclusions, order and max_rotations_per_hour. Pure. */
#ifndef KEYROLL_FORECAST_H
#define KEYROLL_FORECAST_H

#include "producer/policy.h"

struct forecast;

struct forecast_day {
    int64_t begin_ms; /* midnight UTC; of the first day the rest counts */
    size_t rotate, retire, reap;
    size_t waiting;            /* due, but not rotated when the day ends: windows, or the hourly limit */
    int64_t oldest_created_ms; /* of the keys in use when it ends; TIME_NONE: none known */
};
struct forecast_options {
    int64_t from_ms;
    unsigned days; /* 1..400 */
    int64_t most_per_hour, overlap_ms, quarantine_ms;
};

/* When this licence's key will be rotated on schedule next, now_ms at the earliest, by policy and calendar alone;
 * TIME_NONE: nothing is foreseen (no record yet, a person is waited for, an unknown policy). Pure. */
int64_t forecast_next_ms(const struct policy *p, const char *licence, const struct store_peek *u, int64_t now_ms);

/* NULL when out of memory. */
struct forecast *forecast_new(const struct forecast_options *o);
void forecast_free(struct forecast *f); /* takes NULL */
/* Adds a licence; p: its policy, whose gate stays borrowed until forecast_run() ends. *ret_foreseen (may be NULL):
 * false when forecast_next_ms() tells nothing. ERR_NOMEM. */
MUST_CHECK int forecast_add(struct forecast *f, const struct policy *p, const char *licence, const struct store_peek *u,
                            bool *ret_foreseen);
/* Goes through the days. ERR_NOMEM. */
MUST_CHECK int forecast_run(struct forecast *f);
/* o->days of them (one more when they do not begin at midnight). */
const struct forecast_day *forecast_days(const struct forecast *f, size_t *ret_n);

static inline void forecast_freep(struct forecast **f)
{
    forecast_free(*f);
}
#define AUTO_FORECAST CLEANUP(forecast_freep)

#endif
