/* Leases held here (lease.h). A renewal whose outcome is unknown changes nothing: the lease lasts as long as the last
 * answer allowed. One that is refused marks the lease as lost; the engine's guard then stops its saga before the next
 * step. */
#include "worker/lease.h"

#include "lib/err.h"

#include <string.h>

#define SET_FORWARDS_MS 500 /* what two clocks may differ by, beside a thousandth */
#define TICK_RENEWALS   50  /* in one tick, beside what the number of leases asks for */
#define TIME_KEPT_MS    60000

void leases_init(struct leases *l, struct store *store, const struct clock *clock, int64_t ttl_ms, int64_t renew_ms,
                 int64_t max_age_ms)
{
    memset(l, 0, sizeof(*l));
    l->store = store;
    l->clock = clock;
    l->ttl_ms = ttl_ms;
    l->renew_ms = renew_ms;
    l->max_age_ms = max_age_ms;
    l->last = &l->first;
}

void leases_done(struct leases *l)
{
    slots_done(&l->renewals);
}

void lease_init(struct lease *l, struct leases *owner, const char *user_key)
{
    memset(l, 0, sizeof(*l));
    l->leases = owner;
    store_user_init(owner->store, &l->user, user_key);
}

/* The list is in the order of the last request, so that a tick looks at those that are due and no others. */
static void append(struct lease *l)
{
    struct leases *owner = l->leases;
    l->next = NULL;
    l->link = owner->last;
    *owner->last = l;
    owner->last = &l->next;
}

static void prepend(struct lease *l)
{
    struct leases *owner = l->leases;
    l->next = owner->first;
    l->link = &owner->first;
    if (l->next)
        l->next->link = &l->next;
    else
        owner->last = &l->next;
    owner->first = l;
}

static void take_out(struct lease *l)
{
    *l->link = l->next;
    if (l->next)
        l->next->link = l->link;
    else
        l->leases->last = l->link;
}

void lease_asking(struct lease *l)
{
    if (!l->held) l->asked_mono_ms = clock_mono_ms(l->leases->clock);
}

/* A slow answer makes the server's clock look behind; one that was set back is believed after a while. */
static void note_time(struct leases *l, int64_t server_ms)
{
    int64_t now = clock_mono_ms(l->clock);
    bool later = server_ms - now > l->common_ms - l->common_mono_ms;
    if (l->common_mono_ms && !later && now - l->common_mono_ms < TIME_KEPT_MS) return;
    l->common_ms = server_ms;
    l->common_mono_ms = now;
}

/* Redis's clock against the monotonic one, over the time from the request for one grant to the answer of another. */
static void watch_clock(struct leases *owner, int64_t server_ms, int64_t asked_mono_ms)
{
    int64_t now = clock_mono_ms(owner->clock), passed = now - owner->told_mono_ms;
    if (!owner->told_mono_ms || server_ms - owner->told_ms > passed + passed / 1000 + SET_FORWARDS_MS)
        owner->steady_mono_ms = now;
    owner->told_ms = server_ms;
    owner->told_mono_ms = asked_mono_ms;
}

bool leases_steady(const struct leases *l)
{
    return l->told_mono_ms && clock_mono_ms(l->clock) - l->steady_mono_ms >= l->ttl_ms;
}

void lease_granted(struct lease *l, const struct store_lease *reply)
{
    watch_clock(l->leases, reply->now_ms, l->asked_mono_ms);
    store_user_hold(&l->user, reply);
    note_time(l->leases, reply->now_ms);
    if (l->held) return;
    l->held = true;
    l->lost = false;
    l->taken_mono_ms = l->asked_mono_ms;
    if (!l->told_mono_ms) {
        l->server_ms = reply->now_ms;
        l->told_mono_ms = clock_mono_ms(l->leases->clock);
    }
    append(l);
    l->leases->n++;
}

void lease_dropped(struct lease *l)
{
    if (!l->leases) return;
    if (l->renewing) slots_remove(&l->leases->renewals, l->renewal);
    l->renewing = false;
    if (!l->held) return;
    l->held = false;
    take_out(l);
    l->leases->n--;
}

int64_t lease_until_mono_ms(const struct lease *l)
{
    return l->held && !l->lost ? l->asked_mono_ms + l->leases->ttl_ms : 0;
}

int64_t leases_time_ms(const struct leases *l)
{
    if (!l->common_mono_ms) return clock_wall_ms(l->clock);
    return l->common_ms + clock_mono_ms(l->clock) - l->common_mono_ms;
}

bool lease_time_ms(const struct lease *l, int64_t *ret_ms, int64_t *ret_most_ms)
{
    if (!l->told_mono_ms) return false;
    int64_t now = clock_mono_ms(l->leases->clock);
    *ret_ms = l->server_ms + now - l->told_mono_ms;
    if (ret_most_ms) *ret_most_ms = l->server_ms + now - l->taken_mono_ms;
    return true;
}

int64_t lease_left_ms(const struct lease *l)
{
    if (!l->held || l->lost) return 0;
    return lease_until_mono_ms(l) - clock_mono_ms(l->leases->clock);
}

static void on_renewed(void *self, uint64_t id, const void *result)
{
    struct leases *owner = self;
    const struct store_reply *reply = result;
    struct lease *l = slots_find(&owner->renewals, id);
    if (!l) return;
    slots_remove(&owner->renewals, id);
    l->renewing = false;
    if (reply->err == 0) {
        l->asked_mono_ms = l->renewal_asked_ms;
    } else if (reply->err == ERR_LEASE_LOST) {
        l->lost = true;
    } else { /* asked again at the next tick */
        take_out(l);
        prepend(l);
    }
}

/* Returns 1 when it was asked for, 0 when there is nothing to ask for, or the error. */
static int renew(struct lease *l, int64_t now)
{
    struct leases *owner = l->leases;
    if (!l->held || l->lost || l->renewing || lease_left_ms(l) <= 0 || now - l->taken_mono_ms > owner->max_age_ms)
        return 0;
    l->renewal = slots_add(&owner->renewals, l);
    if (!l->renewal) return ERR_NOMEM;
    l->renewing = true;
    l->renewal_asked_ms = now;
    int rc = store_renew(owner->store, &l->user, (struct ticket){on_renewed, owner, l->renewal});
    if (rc == 0) {
        take_out(l);
        append(l);
        return 1;
    }
    slots_remove(&owner->renewals, l->renewal);
    l->renewing = false;
    return rc;
}

void lease_renew_now(struct lease *l)
{
    (void)!renew(l, clock_mono_ms(l->leases->clock)); /* without it the lease runs out, and its holder sees that */
}

void leases_tick(struct leases *l)
{
    int64_t now = clock_mono_ms(l->clock), most = TICK_RENEWALS + 2 * (int64_t)l->n * LEASES_TICK_MS / l->renew_ms;
    struct lease *next;
    for (struct lease *p = l->first; p && most > 0; p = next) {
        int64_t asked_ms = p->renewing ? p->renewal_asked_ms : p->asked_mono_ms;
        next = p->next;
        if (now - asked_ms < l->renew_ms) break;
        int rc = renew(p, now);
        if (rc < 0) break; /* so would the others: at the next tick, then */
        most -= rc;
    }
}
