/* Leases held by this worker: how long each surely lasts, and their renewal. The remaining time is counted from before
 * the request was sent, on the monotonic clock; renewal needs progress of its holder and ends at a maximum age. */
#ifndef KEYROLL_LEASE_H
#define KEYROLL_LEASE_H

#include "lib/slots.h"
#include "schema/store.h"

struct leases {
    struct store *store;
    const struct clock *clock;
    int64_t ttl_ms, renew_ms, max_age_ms;
    struct slots renewals;
    struct lease *first, **last; /* oldest request first */
    size_t n;
    int64_t told_ms, told_mono_ms; /* Redis's time in the last grant, and when that was asked for; 0: no grant yet */
    int64_t steady_mono_ms;        /* since when Redis's clock was not seen to be set forwards */
    int64_t common_ms, common_mono_ms; /* Redis's time in the grant that leases_time_ms() goes by, and when it came */
};
struct lease {
    struct store_user user;
    struct leases *leases;
    bool held, lost, renewing;
    int64_t asked_mono_ms; /* when the request that last prolonged it was made */
    int64_t taken_mono_ms;
    int64_t server_ms, told_mono_ms; /* Redis's time in the grant, and when it came; 0: no grant yet */
    uint64_t renewal;                /* id of the renewal under way */
    int64_t renewal_asked_ms;
    struct lease *next, **link;
};
void leases_init(struct leases *l, struct store *store, const struct clock *clock, int64_t ttl_ms, int64_t renew_ms,
                 int64_t max_age_ms);
void leases_done(struct leases *l);
/* Renews what is due, no more than twice the usual number at once: thousands that were taken together fall due
 * together. Call it every LEASES_TICK_MS. */
#define LEASES_TICK_MS 100
void leases_tick(struct leases *l);
void lease_init(struct lease *l, struct leases *owner, const char *user_key);
/* The request for it is made now. */
void lease_asking(struct lease *l);
/* It was granted. The first grant sets lease_time_ms(). */
void lease_granted(struct lease *l, const struct store_lease *reply);
/* Leases end by Redis's wall clock. True: for one lifetime at least it was not seen to be set forwards, so one that is
 * gone has run out. Looks at grants, also at the last one. */
bool leases_steady(const struct leases *l);
/* It ended (released, or was found lost): no more renewals. Safe to call twice, and before the memory goes. */
void lease_dropped(struct lease *l);
/* Milliseconds during which nobody else can have it; <= 0: lost or not held. */
int64_t lease_left_ms(const struct lease *l);
/* Monotonic time at which it surely ends. */
int64_t lease_until_mono_ms(const struct lease *l);
/* Redis's time now: what it said in the grant, and the monotonic clock since. False: no grant yet. Not later than it
 * is; *ret_most_ms (NULL: not wanted) is not earlier: the answer may have been on its way, or in a frozen process. */
bool lease_time_ms(const struct lease *l, int64_t *ret_ms, int64_t *ret_most_ms);
/* Redis's time now, as grants of leases told it: the one clock that all workers have in common. It is that of the grant
 * in the last minute whose answer came quickest, so it is behind by that answer's way only. Our own wall clock before
 * the first grant. */
int64_t leases_time_ms(const struct leases *l);
/* Asks for a renewal now, if none is under way. */
void lease_renew_now(struct lease *l);

#endif
