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
    const struct sim_key *k = &w->truth.keys[0]; /* a copy has only what the instance once had */
    if (k->exists && k->was_shown) sim_restore_instance(w, k);
}

/* The record's sealed pair cannot be opened any more, so that it cannot be written again. */
static void restore_and_lose_pair(struct sim_world *w)
{
    char key[STORE_KEY_MAX];
    restore_original(w);
    store_key(&w->scheduler_store, SIM_USER_KEY, "record", key);
    if (!sim_redis_peek(w->redis, key, "sealed", NULL)) return;
    sim_redis_poke(w->redis, key, "sealed", "kr1.0123456789abcdef.AAAA");
    w->dead_pair_lost = w->truth.keys[0].status == AWS_KEY_INACTIVE;
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
    if (sim_redis_peek(w->redis, key, "sealed", NULL)) {
        sim_redis_poke(w->redis, key, "sealed", "kr1.0123456789abcdef.AAAA");
        if (newest(w)) memcpy(w->unsealable, newest(w)->id, sizeof(w->unsealable));
    }
    for (unsigned i = 0; i < w->o.workers; i++) sim_worker_crash(&w->workers[i]);
}

static void evict_lease(struct sim_world *w)
{
    sim_evict(w, "lease");
}

static void flush(struct sim_world *w)
{
    sim_redis_goes(w);
    sim_redis_flush(w->redis);
}

/* The last write goes with a failover, and the new key does not prove itself a second time. */
static void lose_last_write(struct sim_world *w)
{
    sim_redis_goes(w);
    sim_redis_restart(w->redis, 100, 1);
    sim_aws_deny_probe(w->aws);
}

/* The writes that gave out the lease and opened the journal go with a failover, while a second worker asks for both. */
static void lose_lease(struct sim_world *w)
{
    struct record r;
    sim_redis_goes(w);
    sim_redis_restart(w->redis, 100, 2);
    if (sim_record(w, &r)) sim_publish(w, JOB_AUDIT, JOB_OPERATOR, "", 0);
}

/* The instance goes back, and the pair that was just written cannot be written again. */
static void restore_and_break_seal(struct sim_world *w)
{
    restore_original(w);
    break_seal(w);
}

/* The instance goes back, and of the rotation only what Kafka was told is left. */
static void restore_and_evict_journal(struct sim_world *w)
{
    restore_original(w);
    sim_evict(w, "journal");
    for (unsigned i = 0; i < w->o.workers; i++) sim_client_freeze(&w->workers[i].client, 120000);
}

static void tell_no_use(struct sim_world *w)
{
    sim_happen(w, HAPPEN_BLIND, 0);
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

static void several(struct sim_options *o)
{
    o->workers = 3;
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
    {"plain", {{0}}, .options = NULL},
    {"create answered late, made", {{SIM_ANY, .step = "create", .fault = {SIM_LOST_AFTER, 0}}}, .options = NULL},
    {"create answered late, not made", {{SIM_ANY, .step = "create", .fault = {SIM_LOST_BEFORE, 0}}}, .options = NULL},
    {"new key refused at settle", {{SIM_ANY, .step = "settle", .fault = {SIM_PERMANENT, 0}}}, .options = NULL},
    {"set refused", {{SIM_ANY, .step = "set", .fault = {SIM_PERMANENT, 0}}}, .options = NULL},
    {"set refused, lands later", {{SIM_ANY, .step = "set", .fault = {SIM_REFUSED_LATER, 60000}}}, .options = NULL},
    {"new key deleted after set", {{SIM_ANY, .step = "read back", .act = delete_newest}}, .options = NULL},
    {"new key made Inactive after set", {{SIM_ANY, .step = "read back", .act = deactivate_newest}}, .options = NULL},
    {"instance fails after retire",
     {{SIM_ANY, .table = "retire", .step = "deactivate", .act = fail_tests}},
     .options = NULL},
    {"instance restored in overlap",
     {{SIM_ANY, .table = "audit", .skip = 8, .act = restore_original}},
     .options = NULL},
    {"instance restored in overlap, the kept pair lost",
     {{SIM_ANY, .table = "audit", .skip = 8, .act = restore_and_lose_pair}},
     .options = NULL},
    {"instance restored in an open retire",
     {{SIM_ANY, .table = "retire", .step = "journal", .fault = {SIM_CRASH_AFTER, 0}, .act = restore_original}},
     .options = NULL},
    {"instance restored in an open reap",
     {{SIM_ANY, .table = "reap", .step = "journal", .fault = {SIM_CRASH_AFTER, 0}, .act = restore_original}},
     .options = NULL},
    {"seal broken", {{SIM_ANY, .step = "settle", .act = break_seal}}, .options = NULL},
    {"lease evicted at create", {{SIM_ANY, .step = "create", .act = evict_lease}}, .options = NULL},
    {"Redis flushed after set", {{SIM_ANY, .step = "read back", .act = flush}}, .options = NULL},
    {"Redis flushed before a late write lands",
     {{SIM_ANY, .step = "set", .fault = {SIM_APPLIED_LATER, 110000}}, {SIM_ANY, .step = "read back", .act = flush}},
     .options = NULL,
     .asks = true},
    {"a failover loses the pivot",
     {{SIM_ANY, .step = "offered event", .act = lose_last_write}},
     .options = NULL,
     .asks = true,
     .loses = true},
    {"a failover loses the lease of who tries again",
     {{SIM_ANY, .table = "reap", .step = "delete", .fault = {SIM_RETRIABLE, 0}, .act = lose_lease},
      {SIM_ANY, .table = "reap", .step = "delete", .times = 2, .fault = {SIM_RETRIABLE, 0}}},
     .options = several,
     .loses = true},
    {"instance restored after set, seal broken",
     {{SIM_ANY, .step = "read back", .act = restore_and_break_seal}},
     .options = NULL},
    {"instance restored after set, journal evicted",
     {{SIM_ANY, .step = "read back", .act = restore_and_evict_journal}},
     .options = NULL,
     .asks = true},
    {"escrow answered late, then asleep",
     {{SIM_ANY, .step = "escrow", .fault = {SIM_LATE_ANSWER, 0}},
      {SIM_ANY, .step = "escrow", .fault = {SIM_FREEZE_BEFORE, 600000}}},
     .options = NULL,
     .asks = true},
    {"nobody tells of use at a reap",
     {{SIM_ANY, .table = "reap", .step = "read", .act = tell_no_use}},
     .options = NULL},
    {"told to end, in a rotation", {{SIM_ANY, .table = "rotate", .step = "settle", .act = drain}}, .options = NULL},
    {"told to end, later",
     {{SIM_ANY, .table = "retire", .step = "read", .act = drain},
      {SIM_ANY, .table = "reap", .step = "read", .act = drain},
      {SIM_ANY, .table = "audit", .step = "survey", .act = drain}},
     .options = NULL},
    {"looks fail",
     {{SIM_ANY, .table = "retire", .step = "survey", .times = 4, .fault = {SIM_RETRIABLE, 0}},
      {SIM_ANY, .table = "reap", .step = "survey", .times = 4, .fault = {SIM_RETRIABLE, 0}},
      {SIM_ANY, .table = "audit", .step = "survey", .times = 4, .fault = {SIM_RETRIABLE, 0}}},
     .options = NULL},
    {"jobs come twice", {{0}}, .options = twice},
    {"jobs come twice, an answer is late",
     {{SIM_ANY, .table = "rotate", .step = "read", .fault = {SIM_LATE_ANSWER, 0}}},
     .options = twice},
    {"Redis flushed at an audit",
     {{SIM_ANY, .table = "audit", .step = "lease", .skip = 2, .act = flush}},
     .options = NULL},
    {"the key is exposed", {{SIM_ANY, .table = "audit", .step = "test", .act = expose_in_use}}, .options = NULL},
    {"no test", {{0}}, .options = no_test},
    {"nothing can be read", {{0}}, .options = no_readback, .asks = true},
    {"assisted", {{0}}, .options = assisted, .person = true},
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
