/* When a licence may be worked on: windows, quiet times and blackout dates of a policy, in the instance's own time
 * zone. Pure: the zone is an argument. */
#ifndef KEYROLL_CALENDAR_H
#define KEYROLL_CALENDAR_H

#include "producer/zone.h"
#include "schema/policy_file.h"

/* What is to be done; each is kept from fewer times than the one before. */
enum calendar_work {
    CALENDAR_ROTATE, /* writes to the instance: windows, nightly copy, quiet times, blackouts */
    CALENDAR_RETIRE, /* the instance might still use the old key: all but the windows */
    CALENDAR_REAP,   /* blackouts only */
    CALENDAR_WORKS
};
enum calendar_hindrance {
    CALENDAR_OPEN,
    CALENDAR_BLACKOUT,
    CALENDAR_NIGHTLY_COPY,
    CALENDAR_QUIET,
    CALENDAR_NO_WINDOW,
    CALENDAR_LEAD, /* one of these begins within the lead */
};

/* What keeps this work from being begun at utc_ms. zone NULL: UTC. *ret_reason (may be NULL): a blackout's reason,
 * borrowed from r, else a static text. */
enum calendar_hindrance calendar_look(const struct policy_rules *r, const struct zone *zone, enum calendar_work work,
                                      int64_t utc_ms, const char **ret_reason);
/* The first moment at or after utc_ms at which the work may be begun; TIME_NONE: not within 800 days. */
int64_t calendar_next(const struct policy_rules *r, const struct zone *zone, enum calendar_work work, int64_t utc_ms);
/* Days since 1970-01-01 of the local date. */
int64_t calendar_day(const struct zone *zone, int64_t utc_ms);

/* The same for many licences that share policy and zone: remembers the last answer. Zeroed, then rules and zone set. */
struct calendar_gate {
    const struct policy_rules *rules;
    const struct zone *zone;
    struct calendar_memo {
        bool known;
        int64_t from_ms, next_ms; /* closed from from_ms until before next_ms (TIME_NONE: always) */
        const char *reason;
    } memo[CALENDAR_WORKS];
};
/* As calendar_next(); *ret_reason: why not now, NULL when it may be begun at utc_ms. */
int64_t calendar_gate_next(struct calendar_gate *g, enum calendar_work work, int64_t utc_ms, const char **ret_reason);

#endif
