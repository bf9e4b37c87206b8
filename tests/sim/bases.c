/* The base stories (bases.h): one fault or one stranger's act each, at a row by its name. */
#include "tests/sim/bases.h"

#include "tests/sim/happen.h"

#include <string.h>

#define HOUR_MS INT64_C(3600000)

/* ---- what strangers and bad luck do -------------------------------------------------------------------------------
 */

static struct sim_key *newest(struct sim_world *w)
{
    struct sim_key *k = NULL;
    for (size_t i = 0; i < w->truth.n; i++)
        if (w->truth.keys[i].exists && w->truth.keys[i].made_by == SIM_BY_KEYROLL) k = &w->truth.keys[i];
    return k;
}

static void delete_newest(struct sim_world *w)
{
    if (newest(w)) sim_truth_delete(&w->truth, newest(w)->id, SIM_BY_STRANGER);
}

static void deactivate_newest(struct sim_world *w)
{
    if (newest(w)) sim_truth_update(&w->truth, newest(w)->id, AWS_KEY_INACTIVE, SIM_BY_STRANGER);
}

static void restore_original(struct sim_world *w)
{
    if (w->truth.keys[0].exists) sim_restore_instance(w, &w->truth.keys[0]);
}

/* The record's sealed pair cannot be opened any more, so that it cannot be written again. */
static void restore_and_lose_pair(struct sim_world *w)
{
    char key[STORE_KEY_MAX];
    restore_original(w);
    store_key(&w->scheduler_store, SIM_USER_KEY, "record", key);
    if (sim_redis_peek(w->redis, key, "sealed", NULL))
        sim_redis_poke(w->redis, key, "sealed", "kr1.0123456789abcdef.AAAA");
}

static void tests_work(void *arg)
{
    struct sim_world *w = arg;
    sim_instance_fail_tests(w->instance, false);
}

/* For an hour. */
static void fail_tests(struct sim_world *w)
{
    sim_instance_fail_tests(w->instance, true);
    sim_after(&w->sim, HOUR_MS, tests_work, w, w);
}

static void break_seal(struct sim_world *w)
{
    char key[STORE_KEY_MAX];
    store_key(&w->scheduler_store, SIM_USER_KEY, "journal", key);
    if (sim_redis_peek(w->redis, key, "sealed", NULL))
        sim_redis_poke(w->redis, key, "sealed", "kr1.0123456789abcdef.AAAA");
    for (unsigned i = 0; i < w->o.workers; i++) sim_worker_crash(&w->workers[i]);
}

static void evict_lease(struct sim_world *w)
{
    sim_evict(w, "lease");
}

static void flush(struct sim_world *w)
{
    sim_redis_flush(w->redis);
}

static void drain(struct sim_world *w)
{
    for (unsigned i = 0; i < w->o.workers; i++) sim_worker_drain(&w->workers[i]);
}

static void expose_in_use(struct sim_world *w)
{
    sim_happen(w, HAPPEN_EXPOSED, 0);
}

static void twice(struct sim_options *o)
{
    o->copies = 2;
    o->restless = true;
}

static void no_test(struct sim_options *o)
{
    o->can.can_test = false;
}

static void no_readback(struct sim_options *o)
{
    o->can.can_read = false;
}

static void assisted(struct sim_options *o)
{
    o->can.can_write = false;
}

const struct sim_base sim_bases[] = {
    {"plain", {{0}}, NULL, false, false},
    {"create answered late, made", {{SIM_ANY, .step = "create", .fault = {SIM_LOST_AFTER, 0}}}, NULL, false, false},
    {"create answered late, not made",
     {{SIM_ANY, .step = "create", .fault = {SIM_LOST_BEFORE, 0}}},
     NULL,
     false,
     false},
    {"new key refused at settle", {{SIM_ANY, .step = "settle", .fault = {SIM_PERMANENT, 0}}}, NULL, false, false},
    {"set refused", {{SIM_ANY, .step = "set", .fault = {SIM_PERMANENT, 0}}}, NULL, false, false},
    {"set refused, lands later", {{SIM_ANY, .step = "set", .fault = {SIM_REFUSED_LATER, 60000}}}, NULL, false, false},
    {"new key deleted after set", {{SIM_ANY, .step = "read back", .act = delete_newest}}, NULL, false, false},
    {"new key made Inactive after set", {{SIM_ANY, .step = "read back", .act = deactivate_newest}}, NULL, false, false},
    {"instance fails after retire",
     {{SIM_ANY, .table = "retire", .step = "deactivate", .act = fail_tests}},
     NULL,
     false,
     false},
    {"instance restored in overlap",
     {{SIM_ANY, .table = "audit", .skip = 8, .act = restore_original}},
     NULL,
     false,
     false},
    {"instance restored in overlap, the kept pair lost",
     {{SIM_ANY, .table = "audit", .skip = 8, .act = restore_and_lose_pair}},
     NULL,
     false,
     false},
    {"instance restored in an open retire",
     {{SIM_ANY, .table = "retire", .step = "journal", .fault = {SIM_CRASH_AFTER, 0}, .act = restore_original}},
     NULL,
     false,
     false},
    {"instance restored in an open reap",
     {{SIM_ANY, .table = "reap", .step = "journal", .fault = {SIM_CRASH_AFTER, 0}, .act = restore_original}},
     NULL,
     false,
     false},
    {"seal broken", {{SIM_ANY, .step = "settle", .act = break_seal}}, NULL, false, false},
    {"lease evicted at create", {{SIM_ANY, .step = "create", .act = evict_lease}}, NULL, false, false},
    {"Redis flushed after set", {{SIM_ANY, .step = "read back", .act = flush}}, NULL, false, false},
    {"told to end, in a rotation", {{SIM_ANY, .table = "rotate", .step = "settle", .act = drain}}, NULL, false, false},
    {"told to end, later",
     {{SIM_ANY, .table = "retire", .step = "read", .act = drain},
      {SIM_ANY, .table = "reap", .step = "read", .act = drain},
      {SIM_ANY, .table = "audit", .step = "survey", .act = drain}},
     NULL,
     false,
     false},
    {"looks fail",
     {{SIM_ANY, .table = "retire", .step = "survey", .times = 4, .fault = {SIM_RETRIABLE, 0}},
      {SIM_ANY, .table = "reap", .step = "survey", .times = 4, .fault = {SIM_RETRIABLE, 0}},
      {SIM_ANY, .table = "audit", .step = "survey", .times = 4, .fault = {SIM_RETRIABLE, 0}}},
     NULL,
     false,
     false},
    {"jobs come twice", {{0}}, twice, false, false},
    {"jobs come twice, an answer is late",
     {{SIM_ANY, .table = "rotate", .step = "read", .fault = {SIM_LATE_ANSWER, 0}}},
     twice,
     false,
     false},
    {"Redis flushed at an audit",
     {{SIM_ANY, .table = "audit", .step = "lease", .skip = 2, .act = flush}},
     NULL,
     false,
     false},
    {"the key is exposed", {{SIM_ANY, .table = "audit", .step = "test", .act = expose_in_use}}, NULL, false, false},
    {"no test", {{0}}, no_test, false, false},
    {"nothing can be read", {{0}}, no_readback, false, true},
    {"assisted", {{0}}, assisted, true, false},
};

const size_t sim_n_bases = ARRAY_LEN(sim_bases);

size_t sim_base_rules(const struct sim_base *b, struct sim_rule *rules)
{
    size_t n = 0;
    while (n < SIM_BASE_RULES && (b->rules[n].step || b->rules[n].table)) {
        rules[n] = b->rules[n];
        n++;
    }
    return n;
}

void sim_drive(struct sim_world *w, bool person, unsigned wrong, int64_t late_ms, int days)
{
    sim_schedule(w);
    sim_run_quiet(w, days);
    for (int i = 0; person && i < 6; i++) {
        struct sim_pair pair;
        struct journal j;
        if (!sim_journal(w, &j) || sim_state(w) != RECORD_AWAITING) return;
        if (!sim_reveal(w, &pair)) { /* Redis was away, say: the person comes again */
            sim_schedule(w);
            sim_run_quiet(w, days);
            continue;
        }
        sim_run_for(w, late_ms);
        const struct sim_key *old = sim_truth_find(&w->truth, j.key_old);
        if (wrong && old) {
            wrong--;
            w->wrong = true;
            const struct sim_pair other = {.any = true};
            pair = other;
            snprintf(pair.id, sizeof(pair.id), "%s", old->id);
            snprintf(pair.secret, sizeof(pair.secret), "%s", old->secret);
        }
        sim_paste(w, &pair);
        if (!w->o.can.can_read) sim_confirm(w);
        sim_schedule(w);
        sim_run_quiet(w, days);
    }
}
