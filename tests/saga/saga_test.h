/* What the saga tests share: a world with its story behind KEYROLL_STORY=1, and assertions that tell it on failure. */
#ifndef KEYROLL_SAGA_TEST_H
#define KEYROLL_SAGA_TEST_H

#include "lib/err.h"
#include "tests/sim/world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define HOUR_MS INT64_C(3600000)
#define DAY_MS  (24 * HOUR_MS)
#define DAYS    40 /* long enough for every wait there is */

static inline FILE *story(void)
{
    return getenv("KEYROLL_STORY") ? stderr : NULL;
}

/* Settings with a story when one is asked for. */
static inline struct sim_options plain_options(uint64_t seed)
{
    struct sim_options o;
    sim_options_default(&o, seed);
    o.story = story();
    return o;
}

/* A world of its own, with these changes to the settings. */
static inline struct sim_world *make_world(void (*change)(struct sim_options *o))
{
    struct sim_options o = plain_options(1);
    if (change) change(&o);
    return sim_world_new(&o);
}

/* One with these rules; borrowed, they may change while it runs. */
static inline struct sim_world *make_ruled(struct sim_rule *rules, size_t n)
{
    struct sim_options o = plain_options(1);
    o.rules = rules;
    o.n_rules = n;
    return sim_world_new(&o);
}

/* A plain start that the scheduler begins to look at, with these rules. */
static inline struct sim_world *begin_plain(struct sim_rule *rules, size_t n)
{
    struct sim_world *w = make_ruled(rules, n);
    sim_start_plain(w);
    sim_schedule(w);
    return w;
}

static inline void assert_well(const char *violation)
{
    if (violation[0]) fail_msg("%s", violation);
}

/* Runs to the end and expects one key in use. */
static inline void assert_becomes_current(struct sim_world *w)
{
    sim_run_quiet(w, DAYS);
    assert_well(sim_check_current(w));
}

/* Runs to the end and expects a named state, well kept. */
static inline void assert_becomes(struct sim_world *w, enum record_state state)
{
    sim_run_quiet(w, DAYS);
    assert_well(sim_check_end(w));
    assert_string_equal(record_state_name(sim_state(w)), record_state_name(state));
}

static inline bool in_overlap(struct sim_world *w)
{
    return sim_state(w) == RECORD_OVERLAP && !sim_leased(w) && !sim_messages(w);
}

/* What lies sealed in the record or the journal cannot be opened any more; the workers begin anew. */
static inline void lose_pair(struct sim_world *w, const char *of)
{
    char key[STORE_KEY_MAX];
    store_key(&w->scheduler_store, SIM_USER_KEY, of, key);
    sim_redis_poke(w->redis, key, "sealed", "kr1.0123456789abcdef.AAAA");
    for (unsigned i = 0; i < w->o.workers; i++) sim_worker_crash(&w->workers[i]);
}

#endif
