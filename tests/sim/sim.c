/* Event queue, clock and randomness (sim.h). A binary heap ordered by time and then by number, so that equal times keep
 * the order in which they were asked for. Random numbers are SplitMix64 (https://prng.di.unimi.it/splitmix64.c
 * describes it): one state word, the same everywhere. Running out of memory ends the test program: it is not a
 * simulated fault here. */
#include "tests/sim/sim.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define LINE_BYTES 400

static int64_t wall_ms(void *self)
{
    return sim_wall_ms(self);
}

static int64_t mono_ms(void *self)
{
    const struct sim *s = self;
    return s->mono_ms;
}

uint64_t sim_random(struct sim *s)
{
    uint64_t z = s->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static void fill(void *self, void *out, size_t len)
{
    unsigned char *p = out;
    while (len) {
        uint64_t v = sim_random(self);
        for (int i = 0; i < 8 && len; i++, len--) *p++ = (unsigned char)(v >> (8 * i));
    }
}

int64_t sim_between(struct sim *s, int64_t least, int64_t most)
{
    return least + (int64_t)(sim_random(s) % (uint64_t)(most - least + 1));
}

void sim_init(struct sim *s, uint64_t seed, FILE *story)
{
    memset(s, 0, sizeof(*s));
    s->clock = (struct clock){s, wall_ms, mono_ms};
    s->rng = (struct rng){s, fill};
    s->mono_ms = SIM_START_MONO_MS;
    s->wall_offset_ms = SIM_START_WALL_MS - s->mono_ms;
    s->state = seed * 0x2545f4914f6cdd1du + 1;
    s->trace = 14695981039346656037u;
    s->story = story;
}

void sim_done(struct sim *s)
{
    free(s->heap);
    memset(s, 0, sizeof(*s));
}

/* ---- queue --------------------------------------------------------------------------------------------------------
 */

static bool before(const struct sim_event *a, const struct sim_event *b)
{
    return a->at_ms != b->at_ms ? a->at_ms < b->at_ms : a->seq < b->seq;
}

static void sift_up(struct sim *s, size_t i)
{
    struct sim_event e = s->heap[i];
    while (i && before(&e, &s->heap[(i - 1) / 2])) {
        s->heap[i] = s->heap[(i - 1) / 2];
        i = (i - 1) / 2;
    }
    s->heap[i] = e;
}

static void sift_down(struct sim *s, size_t i)
{
    struct sim_event e = s->heap[i];
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= s->n) break;
        if (c + 1 < s->n && before(&s->heap[c + 1], &s->heap[c])) c++;
        if (before(&e, &s->heap[c])) break;
        s->heap[i] = s->heap[c];
        i = c;
    }
    s->heap[i] = e;
}

void sim_after(struct sim *s, int64_t delay_ms, sim_fn *fn, void *arg, const void *owner)
{
    assert(delay_ms >= 0);
    if (s->n == s->cap) {
        s->cap = s->cap ? s->cap * 2 : 64;
        s->heap = realloc(s->heap, s->cap * sizeof(*s->heap));
        if (!s->heap) abort();
    }
    s->heap[s->n] = (struct sim_event){s->mono_ms + delay_ms, ++s->seq, fn, arg, owner};
    sift_up(s, s->n++);
}

void sim_cancel(struct sim *s, const void *owner)
{
    size_t kept = 0;
    for (size_t i = 0; i < s->n; i++)
        if (s->heap[i].owner != owner) s->heap[kept++] = s->heap[i];
    if (kept == s->n) return;
    s->n = kept;
    for (size_t i = kept / 2; i-- > 0;) sift_down(s, i);
}

int64_t sim_next_ms(const struct sim *s)
{
    return s->n ? s->heap[0].at_ms : INT64_MAX;
}

bool sim_step(struct sim *s)
{
    if (!s->n) return false;
    struct sim_event e = s->heap[0];
    s->heap[0] = s->heap[--s->n];
    if (s->n) sift_down(s, 0);
    assert(e.at_ms >= s->mono_ms);
    s->mono_ms = e.at_ms;
    s->ran++;
    e.fn(e.arg);
    return true;
}

/* ---- story --------------------------------------------------------------------------------------------------------
 */

static void say(struct sim *s, const char *line)
{
    uint64_t h = (s->trace ^ (uint64_t)s->mono_ms) * 1099511628211u;
    for (const char *p = line; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
    s->trace = h;
    if (!s->story) return;
    int64_t t = s->mono_ms - 1000000;
    fprintf(s->story, "%4" PRId64 "d %02d:%02d:%02d.%03d  %s\n", t / 86400000, (int)(t / 3600000 % 24),
            (int)(t / 60000 % 60), (int)(t / 1000 % 60), (int)(t % 1000), line);
}

void sim_say(struct sim *s, const char *fmt, ...)
{
    char line[LINE_BYTES];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    say(s, line);
}

void sim_say_words(struct sim *s, size_t n, const char *const *words)
{
    char line[LINE_BYTES];
    size_t at = 0;
    for (size_t i = 0; i < n; i++) {
        const size_t len = strnlen(words[i], sizeof(line) - 1 - at);
        memcpy(line + at, words[i], len);
        at += len;
    }
    line[at] = '\0';
    say(s, line);
}
