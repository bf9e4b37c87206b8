/* Clocks that lie: a worker's wall clock jumps by an hour, forwards or back, while a wait is under way that something
 * late depends on. No such wait may end early (R1, R4, R5, R7). */
#include "tests/saga/saga_test.h"

static int64_t jump_ms;    /* by how much the clocks of all workers jump */
static int64_t seen_at_ms; /* when the marked call was begun last; -1 never */

static void jump(struct sim_world *w)
{
    for (unsigned i = 0; i < w->o.workers; i++) w->workers[i].wall_off_ms += jump_ms;
}

static void note_call(struct sim_world *w)
{
    seen_at_ms = w->sim.mono_ms;
}

static struct sim_world *make(struct sim_rule *rules, size_t n)
{
    struct sim_options o = plain_options(3);
    o.workers = 2;
    o.rules = rules;
    o.n_rules = n;
    seen_at_ms = -1;
    return sim_world_new(&o);
}

static void live(struct sim_world *w)
{
    sim_start_plain(w);
    sim_schedule(w);
    assert_becomes_current(w);
}

/* R1: the instance refuses the pair and applies it nearly at the end of a write's life. */
static void a_withdrawal_waits(void)
{
    struct sim_rule rules[] = {{SIM_ANY, .step = "set", .fault = {SIM_REFUSED_LATER, 115000}},
                               {SIM_ANY, .step = "withdraw event", .act = jump}};
    struct sim_world *w = make(rules, ARRAY_LEN(rules));
    live(w);
    assert_true(rules[1].hit);
    sim_world_free(w);
}

/* R7: a worker dies at its destructive call, another one takes over. */
static void a_takeover_waits(void)
{
    struct sim_rule rules[] = {
        {SIM_ANY, .table = "retire", .step = "journal", .act = note_call},
        {SIM_ANY, .table = "retire", .step = "deactivate", .fault = {SIM_CRASH_BEFORE, 0}, .act = jump},
        {SIM_ANY, .table = "retire", .step = "deactivate", .act = note_call}};
    struct sim_world *w = make(rules, ARRAY_LEN(rules));
    sim_start_plain(w);
    sim_schedule(w);
    while (!rules[0].hit && sim_step(&w->sim)) continue;
    const int64_t journalled_ms = w->sim.mono_ms;
    while (!rules[2].hit && sim_step(&w->sim)) continue;
    assert_true(w->sim.mono_ms - journalled_ms >= w->o.rotation.skew_limit_ms);
    assert_becomes_current(w);
    sim_world_free(w);
}

/* R4: absence of a key whose create got no answer is believed after the last moment at which AWS may still make it. */
static void a_doubt_waits(void)
{
    struct sim_rule rules[] = {{SIM_ANY, .step = "create", .fault = {SIM_LATE_EFFECT, 850000}},
                               {SIM_ANY, .step = "doubt", .act = jump}};
    struct sim_world *w = make(rules, ARRAY_LEN(rules));
    live(w);
    assert_int_equal(w->truth.creates, 2);
    sim_world_free(w);
}

/* R5: the truth counts the quarantine by a clock that is right. */
static void a_quarantine_lasts(void)
{
    struct sim_rule rules[] = {{SIM_ANY, .table = "retire", .step = "inactive event", .act = jump}};
    struct sim_world *w = make(rules, ARRAY_LEN(rules));
    live(w);
    sim_world_free(w);
}

static void make_first_active(struct sim_world *w)
{
    sim_truth_update(&w->truth, w->truth.keys[0].id, AWS_KEY_ACTIVE, SIM_BY_STRANGER);
}

/* R5: a call that had no answer lands when the one that was sent after it has long been answered, on a key that
 * somebody made Active meanwhile: it is Inactive since then only. */
static void a_quarantine_begins_after_late_calls(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .table = "retire", .step = "deactivate", .fault = {SIM_LATE_EFFECT, 850000}},
                               {SIM_ANY, .table = "retire", .step = "inactive event", .act = make_first_active}};
    struct sim_world *w = make(rules, ARRAY_LEN(rules));
    live(w);
    assert_true(rules[0].hit && rules[1].hit);
    sim_world_free(w);
}

static void drain_all(void *world)
{
    struct sim_world *w = world;
    for (unsigned i = 0; i < w->o.workers; i++) sim_worker_drain(&w->workers[i]);
}

static void drain_soon(struct sim_world *w)
{
    sim_after(&w->sim, 1000, drain_all, w, w);
}

/* R7: whoever takes over is told to end while it waits for its predecessor, and gives the lease back: the next one
 * waits all the same until the frozen one's call can no longer land. */
static void a_drain_keeps_the_patience(void **state)
{
    (void)state;
    struct sim_rule rules[] = {
        {SIM_ANY, .table = "retire", .step = "journal", .act = note_call},
        {SIM_ANY, .table = "retire", .step = "deactivate", .fault = {SIM_CRASH_BEFORE, 0}},
        {SIM_ANY, .op = "lease_acquire", .table = "retire", .skip = 1, .times = 8, .fault = {SIM_RETRIABLE, 0}},
        {SIM_ANY, .op = "lease_acquire", .table = "retire", .skip = 1, .act = drain_soon},
        {SIM_ANY, .table = "retire", .step = "deactivate", .act = note_call}};
    struct sim_options o = plain_options(3);
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_schedule(w);
    while (!rules[0].hit && sim_step(&w->sim)) continue;
    const int64_t journalled_ms = w->sim.mono_ms;
    while (!rules[4].hit && sim_step(&w->sim)) continue;
    assert_true(rules[3].hit);
    assert_true(w->sim.mono_ms - journalled_ms >= w->o.rotation.skew_limit_ms);
    assert_becomes_current(w);
    sim_world_free(w);
}

static void crash_all(void *world)
{
    struct sim_world *w = world;
    for (unsigned i = 0; i < w->o.workers; i++) sim_worker_crash(&w->workers[i]);
}

static void lose_undo(struct sim_world *w)
{
    sim_after(&w->sim, 1, crash_all, w, w);
    sim_redis_restart(w->redis, 100, 1);
    jump(w);
}

/* I1: a key is taken back, Redis loses that it is, its worker dies, and the delete is still under way when another
 * worker goes on with the key: not before it can no longer land does the instance get it. */
static void an_offer_waits(void)
{
    struct sim_rule rules[] = {{SIM_ANY, .step = "settle", .fault = {SIM_PERMANENT, 0}},
                               {SIM_ANY, .step = "undo delete", .fault = {SIM_LATE_EFFECT, 600000}, .act = lose_undo}};
    struct sim_world *w = make(rules, ARRAY_LEN(rules));
    live(w);
    assert_true(rules[1].hit);
    assert_int_equal(w->truth.creates, 2);
    sim_world_free(w);
}

static void all(int64_t by_ms)
{
    jump_ms = by_ms;
    a_withdrawal_waits();
    a_takeover_waits();
    a_doubt_waits();
    a_quarantine_lasts();
    an_offer_waits();
}

static void a_jump_forwards(void **state)
{
    (void)state;
    all(HOUR_MS);
}

static void a_jump_back(void **state)
{
    (void)state;
    all(-HOUR_MS);
}

static void redis_ahead(struct sim_world *w, int64_t ahead_ms)
{
    sim_set_redis_clock(w, ahead_ms);
}

static void redis_goes_back(struct sim_world *w)
{
    redis_ahead(w, -HOUR_MS);
}

static void redis_is_right(struct sim_world *w)
{
    redis_ahead(w, 0);
}

/* A key is set Inactive while the clock of Redis is an hour slow. Its last use, of a moment before, is no use after
 * that, nor is a key whose create had no answer then somebody else's: AWS tells both times, and its own clock is held
 * against them. Nobody is asked. */
static void a_slow_redis_asks_nobody(void **state)
{
    (void)state;
    struct sim_rule retired[] = {{SIM_ANY, .table = "retire", .step = "lease", .act = redis_goes_back},
                                 {SIM_ANY, .table = "reap", .step = "lease", .act = redis_is_right}};
    struct sim_world *w = make(retired, ARRAY_LEN(retired));
    live(w);
    assert_true(retired[0].hit && retired[1].hit);
    sim_world_free(w);
    struct sim_rule created[] = {{SIM_ANY, .table = "rotate", .step = "lease", .act = redis_goes_back},
                                 {SIM_ANY, .step = "create", .fault = {SIM_LOST_AFTER, 0}, .act = redis_is_right}};
    w = make(created, ARRAY_LEN(created));
    live(w);
    assert_true(created[0].hit && created[1].hit);
    sim_world_free(w);
}

static void redis_goes_far_back(struct sim_world *w)
{
    redis_ahead(w, -3 * HOUR_MS);
}

/* A key is replaced while the clock of Redis is three hours slow, and that is mended then: links that the key signed
 * live for a day all the same (R6). */
static void an_overlap_lasts(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .table = "rotate", .step = "lease", .act = redis_goes_far_back}};
    struct sim_world *w = make(rules, ARRAY_LEN(rules));
    sim_start_plain(w);
    sim_schedule(w);
    sim_run_for(w, 12 * HOUR_MS);
    assert_true(rules[0].hit);
    redis_is_right(w);
    assert_becomes_current(w);
    sim_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_jump_forwards),
                                       cmocka_unit_test(a_jump_back),
                                       cmocka_unit_test(a_slow_redis_asks_nobody),
                                       cmocka_unit_test(a_quarantine_begins_after_late_calls),
                                       cmocka_unit_test(a_drain_keeps_the_patience),
                                       cmocka_unit_test(an_overlap_lasts)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
