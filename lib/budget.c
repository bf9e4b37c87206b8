/* A process's slots (budget.h). Two rings: slots of the shared timeline, and those given to emergencies, which may be
 * used by emergencies only. Asking ahead costs a reservation that may lapse, asking late costs an idle gap: so it asks
 * when few are left and only while something waits. */
#include "lib/budget.h"

#include <string.h>

static struct budget_slot *front(struct budget_slots *s, int64_t now)
{
    while (s->n && s->v[s->first].until_mono_ms < now) { /* lapsed */
        s->first = (s->first + 1) % BUDGET_SLOTS_MAX;
        s->n--;
    }
    return s->n ? &s->v[s->first] : NULL;
}

static void add(struct budget_slots *s, int64_t at, int64_t until, int64_t epoch)
{
    if (s->n == BUDGET_SLOTS_MAX) return;
    s->v[(s->first + s->n++) % BUDGET_SLOTS_MAX] = (struct budget_slot){at, until, epoch};
}

static bool take(struct budget_slots *s, int64_t now, int64_t *ret_epoch)
{
    struct budget_slot *slot = front(s, now);
    if (!slot || slot->at_mono_ms > now) return false;
    *ret_epoch = slot->epoch;
    s->first = (s->first + 1) % BUDGET_SLOTS_MAX;
    s->n--;
    return true;
}

unsigned budget_held(struct budget_share *b, int64_t now_mono_ms)
{
    (void)front(&b->ordinary, now_mono_ms);
    (void)front(&b->emergency, now_mono_ms);
    return b->ordinary.n + b->emergency.n;
}

/* Epochs rise along the ring. */
static unsigned drop(struct budget_slots *s, int64_t epoch)
{
    unsigned n = 0;
    for (; s->n && s->v[s->first].epoch <= epoch; n++) {
        s->first = (s->first + 1) % BUDGET_SLOTS_MAX;
        s->n--;
    }
    return n;
}

static unsigned slots_wanted(unsigned waiting, unsigned held)
{
    if (!waiting || held >= waiting || held > BUDGET_LOW) return 0;
    return BUDGET_BATCH;
}

bool budget_wants(struct budget_share *b, const struct budget_need *need, int64_t now_mono_ms, struct budget_ask *ret)
{
    if (b->asking) return false;
    (void)budget_held(b, now_mono_ms);
    unsigned urgent = need->emergency > b->emergency.n ? need->emergency - b->emergency.n : 0;
    unsigned n = slots_wanted(need->ordinary + need->emergency, b->ordinary.n);
    bool early = now_mono_ms < b->ask_not_before_ms;
    if (early) n = 0; /* emergencies and bad news do not wait, unless nobody answers */
    if (early && b->rate_per_s <= 0) return false;
    if (urgent > BUDGET_BATCH) urgent = BUDGET_BATCH;
    if (!urgent && !n && !b->throttled) return false;
    *ret = (struct budget_ask){.n = urgent ? urgent : n,
                               .emergency = urgent > 0,
                               .throttled = b->throttled,
                               .dropped = b->dropped,
                               .epoch = b->throttled ? b->throttled_epoch : b->epoch};
    b->throttled = b->dropped = 0;
    b->asking = true;
    return true;
}

void budget_granted(struct budget_share *b, const struct budget_ask *ask, const struct budget_grant *g,
                    int64_t now_mono_ms)
{
    struct budget_slots *s = ask->emergency ? &b->emergency : &b->ordinary;
    b->asking = false;
    b->rate_per_s = g->rate_per_s;
    b->epoch = g->epoch;
    for (unsigned i = 0; i < g->n; i++) {
        int64_t at = now_mono_ms + (int64_t)(g->first_ms + (double)i * g->interval_ms + 0.999);
        add(s, at, at + g->valid_ms, g->epoch);
    }
    if (g->n == 0 && ask->n > 0) b->ask_not_before_ms = now_mono_ms + (g->wait_ms > 1 ? g->wait_ms : 1);
}

void budget_failed(struct budget_share *b, const struct budget_ask *ask, double start_per_s, int64_t now_mono_ms)
{
    double alone = (b->rate_per_s > 0 ? b->rate_per_s : start_per_s) / 8;
    if (alone < 1) alone = 1;
    b->asking = false;
    b->throttled += ask->throttled;
    b->dropped += ask->dropped;
    if (ask->throttled && ask->epoch > b->throttled_epoch) b->throttled_epoch = ask->epoch;
    /* A few dozen turns, each slot at its own fraction of a millisecond.
     * NOLINTNEXTLINE(cert-flp30-c,clang-analyzer-security.FloatLoopCounter) */
    for (double ms = 0; ms < BUDGET_AGAIN_MS; ms += 1000 / alone)
        add(&b->ordinary, now_mono_ms + (int64_t)ms, now_mono_ms + BUDGET_AGAIN_MS, b->epoch);
    b->ask_not_before_ms = now_mono_ms + BUDGET_AGAIN_MS;
}

bool budget_use(struct budget_share *b, bool emergency, int64_t now_mono_ms, int64_t *ret_epoch)
{
    if (emergency && take(&b->emergency, now_mono_ms, ret_epoch)) return true;
    return take(&b->ordinary, now_mono_ms, ret_epoch);
}

void budget_throttled(struct budget_share *b, int64_t sent_epoch)
{
    b->throttled++;
    if (sent_epoch > b->throttled_epoch) b->throttled_epoch = sent_epoch;
    b->dropped += drop(&b->ordinary, sent_epoch) + drop(&b->emergency, sent_epoch);
}

int64_t budget_due_ms(struct budget_share *b, const struct budget_need *need, int64_t now_mono_ms)
{
    int64_t due = INT64_MAX;
    if (!need->ordinary && !need->emergency && !b->throttled) return due;
    const struct budget_slot *o = front(&b->ordinary, now_mono_ms), *e = front(&b->emergency, now_mono_ms);
    if (o) due = o->at_mono_ms;
    if (e && need->emergency && e->at_mono_ms < due) due = e->at_mono_ms;
    bool asks = b->throttled || b->ordinary.n <= BUDGET_LOW;
    if (!b->asking && asks && b->ask_not_before_ms < due)
        due = b->ask_not_before_ms > now_mono_ms ? b->ask_not_before_ms : due;
    return due;
}
