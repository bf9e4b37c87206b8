/* The heart of the simulation: virtual time, seeded randomness, one queue of events, and the trace of what happened.
 * The same seed gives the same events in the same order on every machine: nothing here reads a real clock, an address
 * or a hash order. */
#ifndef KEYROLL_SIM_H
#define KEYROLL_SIM_H

#include "lib/clock.h"
#include "lib/cleanup.h"

#include <stdbool.h>
#include <stdio.h>

struct sim;
typedef void sim_fn(void *arg);

struct sim_event {
    int64_t at_ms;
    uint64_t seq; /* order among equals */
    sim_fn *fn;
    void *arg;
    const void *owner; /* sim_cancel() */
};
struct sim {
    struct clock clock; /* wall and monotonic, both virtual */
    struct rng rng;
    int64_t mono_ms;
    int64_t wall_offset_ms; /* wall = mono + this */
    uint64_t state;         /* of the random numbers */
    struct sim_event *heap;
    size_t n, cap;
    uint64_t seq, ran;
    uint64_t trace; /* hash over every line told */
    FILE *story;    /* NULL: lines are hashed only */
};

#define SIM_START_MONO_MS 1000000
#define SIM_START_WALL_MS INT64_C(1795423980000) /* 2026-11-23T08:53:00Z */

void sim_init(struct sim *s, uint64_t seed, FILE *story);
void sim_done(struct sim *s);
/* Runs fn(arg) after delay_ms (>= 0). owner: for sim_cancel(); may be NULL. */
void sim_after(struct sim *s, int64_t delay_ms, sim_fn *fn, void *arg, const void *owner);
/* Drops all events of this owner. */
void sim_cancel(struct sim *s, const void *owner);
/* Runs the next event; false when there is none. */
bool sim_step(struct sim *s);
/* Time of the next event; INT64_MAX: none. */
int64_t sim_next_ms(const struct sim *s);
static inline int64_t sim_wall_ms(const struct sim *s)
{
    return s->mono_ms + s->wall_offset_ms;
}
/* A line of the story: hashed, and printed with its time when there is a story. Never with an address in it. */
void sim_say(struct sim *s, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* The same of n words in a row, without a format. */
void sim_say_words(struct sim *s, size_t n, const char *const *words);
uint64_t sim_random(struct sim *s);
/* least..most, both included. */
int64_t sim_between(struct sim *s, int64_t least, int64_t most);

#endif
