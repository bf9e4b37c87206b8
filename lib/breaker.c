/* Circuit breaker (breaker.h). */
#include "lib/breaker.h"

#include <stdlib.h>
#include <string.h>

const char *breaker_state_name(enum breaker_state s)
{
    static const char *const names[] = {"closed", "half-open", "open"};
    return names[s];
}

static void fade(struct breaker *b, int64_t now)
{
    int64_t passed = now - b->faded_mono_ms;
    if (passed <= 0) return;
    double left = passed > 60 * BREAKER_HALF_LIFE_MS ? 0 : 1;
    for (; left > 0 && passed >= BREAKER_HALF_LIFE_MS; passed -= BREAKER_HALF_LIFE_MS) left /= 2;
    left *= 1 - (double)passed / (2 * BREAKER_HALF_LIFE_MS); /* a straight line between the halves */
    b->good *= left;
    b->bad *= left;
    b->faded_mono_ms = now;
    if (b->bad >= 0.1) return;
    b->subject = 0; /* long ago */
    b->alone = 0;
    b->several = false;
}

/* ---- who failed last ---- */

static struct breaker_ill *find_ill(const struct breaker *b, uint64_t subject)
{
    for (unsigned i = 0; i < b->n_ill; i++)
        if (b->ill[i].subject == subject) return &b->ill[i];
    return NULL;
}

/* Without memory, or when there are too many, it is merely not remembered. */
static void fell_ill(struct breaker *b, uint64_t subject, int64_t now)
{
    if (find_ill(b, subject)) return;
    if (b->n_ill == b->cap_ill) {
        unsigned cap = b->cap_ill ? 2 * b->cap_ill : 8;
        struct breaker_ill *ill = cap > BREAKER_ILL_MAX ? NULL : reallocarray(b->ill, cap, sizeof *ill);
        if (!ill) return;
        b->ill = ill;
        b->cap_ill = cap;
    }
    b->ill[b->n_ill++] = (struct breaker_ill){subject, now};
}

static void got_well(struct breaker *b, uint64_t subject, int64_t now)
{
    struct breaker_ill *ill = find_ill(b, subject);
    if (ill) *ill = b->ill[--b->n_ill];
    b->good_mono_ms = now;
    b->any_good = true;
}

/* It failed before, and others succeeded since: a success of its own would have ended that. */
static bool is_own_matter(const struct breaker *b, uint64_t subject, int64_t now)
{
    const struct breaker_ill *ill = find_ill(b, subject);
    return ill && b->any_good && b->good_mono_ms >= ill->since_mono_ms && now - b->good_mono_ms < BREAKER_ILL_MS;
}

void breaker_done(struct breaker *b)
{
    free(b->ill);
    b->ill = NULL;
    b->n_ill = b->cap_ill = 0;
}

/* ---- opening and closing ---- */

static void close_it(struct breaker *b, int64_t now)
{
    b->state = BREAKER_CLOSED;
    b->row = b->alone = b->opened = 0;
    b->good = b->bad = 0;
    b->subject = 0;
    b->several = false;
    b->faded_mono_ms = now;
}

/* The wait doubles; a quarter of it is random, so that many processes do not probe together. */
static void open_it(struct breaker *b, int64_t now, const struct rng *rng)
{
    int64_t wait = BREAKER_WAIT_MS;
    for (unsigned i = 0; i < b->opened && wait < BREAKER_WAIT_MAX_MS; i++) wait *= 2;
    if (wait > BREAKER_WAIT_MAX_MS) wait = BREAKER_WAIT_MAX_MS;
    b->state = BREAKER_OPEN;
    b->opened++;
    b->until_mono_ms = now + wait - (int64_t)rng_below(rng, (uint64_t)wait / 4);
    b->fresh_mono_ms = now + (b->until_mono_ms - now) / BREAKER_FRESH;
}

bool breaker_would_allow(const struct breaker *b, uint64_t subject, int64_t now_mono_ms)
{
    if (b->state == BREAKER_CLOSED) return true;
    if (b->state == BREAKER_HALF_OPEN) return now_mono_ms >= b->until_mono_ms + BREAKER_PROBE_MS;
    return now_mono_ms >= b->until_mono_ms || (now_mono_ms >= b->fresh_mono_ms && !find_ill(b, subject));
}

bool breaker_allows(struct breaker *b, uint64_t subject, int64_t now_mono_ms)
{
    if (b->state == BREAKER_CLOSED) return true;
    if (!breaker_would_allow(b, subject, now_mono_ms)) return false;
    b->state = BREAKER_HALF_OPEN;
    b->until_mono_ms = now_mono_ms;
    return true;
}

static void count_bad(struct breaker *b, uint64_t subject)
{
    b->bad += 1;
    if (b->subject && b->subject != subject) b->several = true;
    b->subject = subject;
    b->alone = b->several ? 0 : b->alone + 1;
}

bool breaker_note(struct breaker *b, bool good, uint64_t subject, int64_t now_mono_ms, const struct rng *rng)
{
    fade(b, now_mono_ms);
    bool own = !good && is_own_matter(b, subject, now_mono_ms);
    if (good)
        got_well(b, subject, now_mono_ms);
    else
        fell_ill(b, subject, now_mono_ms);
    if (b->state == BREAKER_OPEN) return false; /* it left before */
    if (b->state == BREAKER_HALF_OPEN) {
        if (good)
            close_it(b, now_mono_ms);
        else
            open_it(b, now_mono_ms, rng);
        return true;
    }
    if (good) {
        b->good += 1;
        b->row = 0;
        return false;
    }
    if (own) return false;
    count_bad(b, subject);
    b->row++;
    bool share = b->bad >= BREAKER_FEW - 0.5 && b->bad >= BREAKER_SHARE * (b->good + b->bad);
    if (!b->several || (!share && b->row < BREAKER_ROW)) return false;
    open_it(b, now_mono_ms, rng);
    return true;
}

void breaker_unprobed(struct breaker *b, int64_t now_mono_ms)
{
    if (b->state != BREAKER_HALF_OPEN) return;
    b->state = BREAKER_OPEN;
    b->until_mono_ms = b->fresh_mono_ms = now_mono_ms;
}

bool breaker_close(struct breaker *b, int64_t now_mono_ms)
{
    bool was = b->state != BREAKER_CLOSED;
    if (was) close_it(b, now_mono_ms);
    return was;
}

bool breaker_suspects(struct breaker *b, bool single, int64_t now_mono_ms)
{
    fade(b, now_mono_ms);
    if (b->state != BREAKER_CLOSED) return true;
    if (b->bad < 0.5 || b->good >= 0.5) return false;
    return b->several || (single && b->alone < BREAKER_ALONE);
}

int64_t breaker_wait_ms(const struct breaker *b, int64_t now_mono_ms)
{
    if (b->state == BREAKER_CLOSED || b->until_mono_ms <= now_mono_ms) return 0;
    return b->until_mono_ms - now_mono_ms;
}
