/* What lags and what lands late: reads of the instance, the intent to create, a write of a key that is gone. A person
 * is asked for none of it. */
#include "tests/saga/saga_test.h"

static bool rotated(struct sim_world *w)
{
    struct record r;
    return sim_record(w, &r) && r.rotation > 0 && !sim_leased(w) && !sim_messages(w);
}

/* The rotation is told as done, and the next look shows what the instance held before it. */
static void a_stale_read(const char *table, const char *step, unsigned skip, bool with_key)
{
    struct sim_rule rules[] = {
        {SIM_ANY, .table = table, .step = step, .skip = skip, .fault = {SIM_STALE, 0}},
        {SIM_ANY, .op = "write key", .skip = 1000}, /* counts */
    };
    struct sim_rule *stale = &rules[0], *writes = &rules[1];
    struct sim_options o = plain_options(1);
    o.copies = 2;
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    if (with_key) sim_start_plain(w);
    sim_schedule(w);
    if (!strcmp(table, "audit")) {
        assert_true(sim_run_until(w, rotated, DAY_MS));
        stale->skip = 0;
        sim_publish(w, JOB_AUDIT, JOB_OPERATOR, "", 0);
    }
    assert_becomes_current(w);
    assert_true(stale->hit);
    assert_int_equal(w->truth.creates, 1);
    assert_in_range(writes->seen, 1, with_key ? 2 : 1); /* a kept pair is simply written again */
    sim_world_free(w);
}

static void a_stale_read_asks_nobody(void **state)
{
    (void)state;
    a_stale_read("rotate", "read", 1, false);
    a_stale_read("rotate", "read", 1, true);
    a_stale_read("audit", "read", 1000, false);
    a_stale_read("audit", "read", 1000, true);
}

/* The same when Redis's clock, by which the record has its times, was set in between. */
static void a_stale_look(const char *step, int64_t by_ms, bool with_key)
{
    struct sim_rule stale = {SIM_ANY, .table = "audit", .step = step, .skip = 1000, .fault = {SIM_STALE, 0}};
    struct sim_options o = plain_options(1);
    o.rules = &stale;
    o.n_rules = 1;
    struct sim_world *w = sim_world_new(&o);
    if (with_key) sim_start_plain(w);
    sim_schedule(w);
    assert_true(sim_run_until(w, rotated, DAY_MS));
    stale.skip = 0;
    sim_step_redis_clock(w, by_ms);
    sim_publish(w, JOB_AUDIT, JOB_OPERATOR, "", 0);
    assert_becomes_current(w);
    assert_true(stale.hit);
    sim_world_free(w);
}

static void a_stale_look_when_a_clock_was_set(void **state)
{
    (void)state;
    a_stale_look("survey", -600000, true);
    a_stale_look("survey", 600000, true);
    a_stale_look("read", -600000, true);
    a_stale_look("read", 600000, true);
    a_stale_look("read", -600000, false);
    a_stale_look("read", 600000, false); /* the instance shows no key, and the pair is not kept */
}

static void restore_old(struct sim_world *w)
{
    sim_restore_instance(w, &w->truth.keys[0]);
}

/* The instance goes back to the predecessor when that is about to go; the first read shows it, the second one what the
 * instance held before. Whoever went by the last word would take the key in use away. */
static void of_two_reads_that_differ_the_first_counts_too(void **state)
{
    static const char *const tables[] = {"retire", "reap"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
        struct sim_rule rules[] = {
            {SIM_ANY, .table = tables[i], .step = "lease", .act = restore_old},
            {SIM_ANY, .table = tables[i], .step = "read again", .fault = {SIM_STALE, 0}},
        };
        struct sim_options o = plain_options(1);
        o.rules = rules;
        o.n_rules = ARRAY_LEN(rules);
        struct sim_world *w = sim_world_new(&o);
        sim_start_plain(w);
        sim_schedule(w);
        assert_becomes_current(w);
        assert_true(rules[1].hit);
        assert_int_equal(w->truth.creates, 1);
        sim_world_free(w);
    }
}

/* R3: Redis was restarted and does not take who it is. No lease is asked for before it did, and none is given for a
 * lifetime then. */
static void no_lease_before_the_server_is_known(void **state)
{
    (void)state;
    struct sim_rule rules[] = {
        {SIM_ANY, .op = "server_seen", .skip = 1, .times = 3, .fault = {SIM_PERMANENT, 0}},
        {SIM_ANY, .op = "lease_acquire", .skip = 1000}, /* counts */
    };
    struct sim_options o = plain_options(1);
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_run_for(w, 60000);
    sim_redis_restart(w->redis, 100, 0);
    sim_run_for(w, 200);
    sim_publish(w, JOB_AUDIT, JOB_OPERATOR, "", 0);
    sim_run_for(w, 1000);
    assert_int_equal(rules[0].hit, 3);
    assert_int_equal(rules[1].seen, 0);
    sim_run_for(w, 5000);
    assert_false(sim_leased(w));
    sim_schedule(w);
    assert_becomes_current(w);
    sim_world_free(w);
}

/* Neither can be what the instance held before, or nothing is lost if it is: nobody waits for the end of a lag. */
static void what_is_no_old_value_is_acted_on_at_once(void **state)
{
    (void)state;
    struct sim_options o = plain_options(1);
    struct sim_world *w = sim_world_new(&o);
    struct sim_key *other;
    sim_start_plain(w);
    const struct sim_key before = w->truth.keys[0];
    sim_schedule(w);
    assert_true(sim_run_until(w, rotated, DAY_MS));
    char id[sizeof(w->truth.instance.id)];
    memcpy(id, w->truth.instance.id, sizeof(id));
    sim_restore_instance(w, &before); /* the pair is kept until the predecessor is gone */
    sim_publish(w, JOB_AUDIT, JOB_OPERATOR, "", 0);
    sim_run_for(w, 30000);
    assert_string_equal(w->truth.instance.id, id);
    sim_world_free(w);

    w = sim_world_new(&o);
    sim_schedule(w);
    assert_true(sim_run_until(w, rotated, DAY_MS));
    assert_int_equal(sim_truth_create(&w->truth, SIM_BY_STRANGER, &other), 0);
    sim_truth_write(&w->truth, other->id, other->secret, SIM_BY_STRANGER, w->sim.mono_ms);
    sim_publish(w, JOB_AUDIT, JOB_OPERATOR, "", 0);
    sim_run_for(w, 10000);
    assert_int_equal(sim_state(w), RECORD_DRIFTED);
    sim_world_free(w);
}

/* What is there still when an old value can no longer be shown is no stale read: it is told. */
static void what_stays_is_drift(void **state)
{
    (void)state;
    struct record r;
    struct sim_options o = plain_options(1);
    struct sim_world *w = sim_world_new(&o);
    sim_schedule(w);
    assert_true(sim_run_until(w, rotated, DAY_MS));
    sim_truth_write(&w->truth, "AKIAOTHERACCOUNTSKEY", "x", SIM_BY_STRANGER, w->sim.mono_ms);
    sim_publish(w, JOB_AUDIT, JOB_OPERATOR, "", 0);
    sim_run_for(w, w->o.can.write_life_ms + 60000);
    assert_int_equal(sim_state(w), RECORD_DRIFTED);
    assert_true(sim_record(w, &r));
    assert_non_null(strstr(r.reason, "AKIAOTHERACCOUNTSKEY"));
    assert_becomes(w, RECORD_DRIFTED);
    sim_world_free(w);
}

/* R4: Kafka takes the intent only minutes later. What the create leaves is known by when it was sent, not by when it
 * was intended: it is not believed absent too soon, nor called another one's. */
static void told_late(unsigned minutes, enum sim_fault_kind kind)
{
    /* two messages a try, each for a minute */
    struct sim_rule rules[] = {
        {SIM_ANY, .step = "intent event", .times = 2 * minutes, .fault = {SIM_LATE_ANSWER, 0}},
        {SIM_ANY, .table = "rotate", .step = "create", .fault = {kind, 0}},
    };
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    rules[1].fault.delay_ms = kind == SIM_LATE_EFFECT ? w->o.rotation.skew_limit_ms - 1000 : 0;
    assert_becomes_current(w);
    assert_true(rules[1].hit);
    sim_world_free(w);
}

static void an_intent_that_is_told_late(void **state)
{
    (void)state;
    told_late(4, SIM_LATE_EFFECT);
    told_late(8, SIM_LATE_EFFECT);
    told_late(18, SIM_LOST_AFTER);
}

static void make_key(struct sim_world *w)
{
    struct sim_key *k = NULL;
    assert_int_equal(sim_truth_create(&w->truth, SIM_BY_STRANGER, &k), 0);
}

static void flush(struct sim_world *w)
{
    sim_redis_flush(w->redis);
}

/* R4: a stranger makes a key as we intend to, and the intent is told anew. When that telling gets nowhere, the first
 * one, which Redis or Kafka has, is gone on with: by that one the key may be our own. */
static void told_anew(enum sim_fault_kind kind, void (*act)(struct sim_world *))
{
    struct sim_rule rules[] = {
        {SIM_ANY, .step = "gate", .act = make_key},
        {SIM_ANY, .step = "intent event", .times = 2, .fault = {SIM_LATE_ANSWER, 0}},
        {SIM_ANY, .table = "rotate", .step = "intent", .skip = 1, .fault = {kind, 0}, .act = act},
    };
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    assert_becomes_current(w);
    assert_true(rules[2].hit);
    assert_int_equal(w->truth.creates, 1);
    sim_world_free(w);
}

static void an_intent_told_anew_is_lost(void **state)
{
    (void)state;
    told_anew(SIM_CRASH_BEFORE, NULL);
    told_anew(SIM_FINE, flush);
}

static const struct sim_rule *telling;

static bool ends_its_run(struct sim_world *w)
{
    return telling->hit == telling->times && !sim_leased(w);
}

/* Each telling of the intent, two messages, takes longer than it is good for. Four in a row cost nothing; the fifth
 * ends the run as a try that is told, and AWS was not called. */
static void tellings_that_take_too_long(unsigned times)
{
    struct record r;
    struct sim_rule slow = {SIM_ANY, .step = "intent event", .times = 2 * times, .fault = {SIM_SLOW, 25000}};
    struct sim_world *w = begin_plain(&slow, 1);
    telling = &slow;
    assert_true(sim_run_until(w, ends_its_run, HOUR_MS));
    assert_true(sim_record(w, &r));
    assert_int_equal(r.attempts, times == 5);
    assert_int_equal(strstr(r.reason, "takes too long") != NULL, times == 5);
    assert_int_equal(w->truth.creates, times < 5);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 1);
    sim_world_free(w);
}

static void an_intent_is_told_five_times(void **state)
{
    (void)state;
    tellings_that_take_too_long(4);
    tellings_that_take_too_long(5);
}

static void delete_new(struct sim_world *w)
{
    sim_truth_delete(&w->truth, w->truth.keys[1].id, SIM_BY_STRANGER);
}

/* The write of the new key lands late, after a stranger deleted that key and the instance was looked at for the last
 * time: what keyroll offered is not called another one's. */
static void a_deleted_key_lands_late(void **state)
{
    (void)state;
    struct sim_rule rules[] = {
        {SIM_ANY, .table = "rotate", .step = "set", .op = "write key", .fault = {SIM_LATE_EFFECT, 100000}},
        {SIM_ANY, .table = "rotate", .step = "read back", .skip = 1, .act = delete_new},
        {SIM_ANY, .table = "rotate", .step = "review", .fault = {SIM_LATE_ANSWER, 0}}};
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    assert_becomes_current(w);
    assert_true(rules[2].hit);
    assert_int_equal(w->truth.creates, 2);
    sim_world_free(w);
}

static bool has_next_one(struct sim_world *w)
{
    return w->truth.creates == 2 && rotated(w);
}

/* A stranger deletes the new key, the next one is given to the instance, and a look shows the deleted one once more.
 * The pair is kept, since the first key is in its overlap; the record knows nothing of what is gone. */
static void a_deleted_key_is_shown_once_more(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .table = "rotate", .step = "read back", .act = delete_new},
                               {SIM_ANY, .table = "audit", .step = "read", .skip = 1000, .fault = {SIM_STALE, 0}}};
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    assert_true(sim_run_until(w, has_next_one, DAY_MS));
    rules[1].skip = 0;
    sim_publish(w, JOB_AUDIT, JOB_OPERATOR, "", 0);
    assert_becomes_current(w);
    assert_true(rules[1].hit);
    assert_int_equal(w->truth.creates, 2);
    sim_world_free(w);
}

static bool found_it_gone(struct sim_world *w)
{
    struct record r;
    const struct record_key *k = sim_record(w, &r) ? record_current(&r) : NULL;
    return k && !k->listed && !sim_leased(w) && !sim_messages(w);
}

/* A stranger deletes the new key, which is noticed, and a list of before shows it to an audit. The instance's test
 * fails all the while: the list is not believed for that, else the next one would seem to be a second loss. */
static void a_deleted_key_is_listed_once_more(void **state)
{
    (void)state;
    struct sim_rule rules[] = {
        {SIM_ANY, .table = "rotate", .step = "read back", .act = delete_new},
        {SIM_ANY, .table = "rotate", .step = "lost", .op = "record_put", .fault = {SIM_LOST_AFTER, 0}},
        {SIM_ANY, .table = "audit", .step = "survey", .fault = {SIM_STALE, 0}}};
    struct sim_world *w = make_ruled(rules, ARRAY_LEN(rules));
    sim_start_plain(w);
    sim_publish(w, JOB_ROTATE, JOB_OPERATOR, "", 0);
    assert_true(sim_run_until(w, found_it_gone, HOUR_MS));
    sim_publish(w, JOB_AUDIT, JOB_OPERATOR, "", 0);
    sim_run_for(w, HOUR_MS);
    assert_true(rules[1].hit && rules[2].hit);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 2);
    sim_world_free(w);
}

static bool holds_newest(struct sim_world *w)
{
    return w->truth.n == 2 && !strcmp(w->truth.instance.id, w->truth.keys[1].id);
}

/* A refused write lands when its key was taken back long ago, later than the profile says that it can. Nothing here can
 * make that whole without the pair of the key before; but it is told as what it is: keyroll's own key. */
static void a_write_that_outlives_its_life(void **state)
{
    (void)state;
    struct record r;
    struct sim_rule rule = {SIM_ANY, .table = "rotate", .step = "set", .fault = {SIM_REFUSED_LATER, HOUR_MS}};
    struct sim_world *w = begin_plain(&rule, 1);
    assert_true(sim_run_until(w, holds_newest, DAY_MS));
    sim_publish(w, JOB_AUDIT, JOB_OPERATOR, "", 0);
    sim_run_for(w, 10 * 60000);
    assert_true(sim_record(w, &r));
    assert_int_equal(r.state, RECORD_DRIFTED);
    assert_null(strstr(r.reason, "did not give"));
    assert_non_null(strstr(r.reason, w->truth.keys[1].id));
    assert_non_null(strstr(r.reason, "took back"));
    assert_int_equal(w->truth.creates, 1);
    assert_int_equal(sim_truth_count(&w->truth), 2);
    sim_world_free(w);
}

/* A budget that binds lets a create queue for many times the life of its intent: that is no failure. */
static void a_create_that_queues_burns_no_try(void **state)
{
    (void)state;
    struct sim_rule unsent = {SIM_ANY, .table = "rotate", .step = "create", .times = 40, .fault = {SIM_UNSENT, 0}};
    struct sim_world *w = begin_plain(&unsent, 1);
    for (int minute = 0; minute < 60 && !rotated(w); minute++) {
        struct record r;
        sim_run_for(w, 60000);
        if (sim_record(w, &r)) assert_int_equal(r.attempts, 0);
    }
    assert_true(rotated(w));
    assert_true(unsent.hit >= 40);
    assert_int_equal(w->truth.creates, 1);
    sim_world_free(w);
}

/* What was put off for want of allowance does not wait for an hour when that is raised. */
static void a_raised_allowance_is_noticed(void **state)
{
    (void)state;
    struct sim_options o = plain_options(1);
    o.rotation.max_per_hour = 0;
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_schedule(w);
    sim_run_for(w, 20 * 60000);
    assert_int_equal(w->truth.creates, 0);
    for (unsigned i = 0; i < SIM_WORKERS_MAX; i++) w->workers[i].env.policy.max_per_hour = 20;
    sim_run_for(w, 2 * 60000);
    assert_int_equal(w->truth.creates, 1);
    sim_world_free(w);
}

static void deactivate_newest(struct sim_world *w)
{
    struct sim_key *k = &w->truth.keys[w->truth.n - 1];
    sim_truth_update(&w->truth, k->id, AWS_KEY_INACTIVE, SIM_BY_STRANGER);
}

static void evict_and_resume(void *world)
{
    struct sim_world *w = world;
    sim_evict(w, "lease");
    sim_publish(w, JOB_ROTATE, JOB_RESUME, "", 0);
}

static void evict_lease_later(struct sim_world *w)
{
    sim_after(&w->sim, 8500, evict_and_resume, w, w); /* after the last renewal before the call times out */
}

/* I4: Redis evicts the lease while a call is without an answer, the next worker takes it, finishes and gives it back:
 * the first one sees before it tries again that the lease is not its own any more. */
static void a_lease_evicted_during_a_revival(void **state)
{
    (void)state;
    struct sim_rule rules[] = {
        {SIM_ANY, .step = "read back", .act = deactivate_newest},
        {SIM_ANY, .step = "revive", .fault = {SIM_LATE_EFFECT, 170000}, .act = evict_lease_later}};
    struct sim_options o = plain_options(1);
    o.workers = 2;
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_schedule(w);
    sim_run_quiet(w, DAYS);
    assert_true(rules[1].hit);
    assert_well(sim_check_end(w));
    sim_world_free(w);
}

/* R11: an instance that can neither be read nor tested, and that nobody works with for days, says yes to a pair and
 * does not take it. AWS saw the new key in use since it was first offered: by keyroll, which proved it anew before the
 * write. That is no use by the instance, and its key stays Active. */
static void our_own_proof_is_no_use(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .step = "offered event", .times = 34, .fault = {SIM_LATE_ANSWER, 0}},
                               {SIM_ANY, .step = "set", .op = "write key", .fault = {SIM_IGNORED, 0}}};
    struct sim_options o = plain_options(1);
    o.can.can_read = o.can.can_test = false;
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    const struct sim_key *old = sim_start_plain(w);
    w->truth.idle = true;
    sim_schedule(w);
    assert_becomes(w, RECORD_STUCK);
    assert_true(rules[1].hit);
    assert_int_equal(old->status, AWS_KEY_ACTIVE);
    sim_world_free(w);
}

static void make_first(struct sim_world *w)
{
    sim_start_plain(w);
}

/* The first list of all does not show the key that the instance uses, which was made a moment ago: it is no key that
 * somebody deleted, and would lie there unexplained after the rotation. */
static void a_lagging_first_list(int kind)
{
    struct sim_rule rules[] = {
        {SIM_ANY, .table = job_kind_name(kind), .step = "survey", .fault = {SIM_STALE, 0}, .act = make_first}};
    struct sim_world *w = make_ruled(rules, ARRAY_LEN(rules));
    sim_publish(w, kind, JOB_OPERATOR, "", 0);
    sim_run_for(w, HOUR_MS);
    assert_true(rules[0].hit);
    sim_schedule(w);
    assert_becomes_current(w);
    sim_world_free(w);
}

static void a_first_list_that_lags(void **state)
{
    (void)state;
    a_lagging_first_list(JOB_ROTATE);
    a_lagging_first_list(JOB_AUDIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_stale_read_asks_nobody),
        cmocka_unit_test(a_stale_look_when_a_clock_was_set),
        cmocka_unit_test(what_stays_is_drift),
        cmocka_unit_test(of_two_reads_that_differ_the_first_counts_too),
        cmocka_unit_test(what_is_no_old_value_is_acted_on_at_once),
        cmocka_unit_test(no_lease_before_the_server_is_known),
        cmocka_unit_test(an_intent_that_is_told_late),
        cmocka_unit_test(an_intent_told_anew_is_lost),
        cmocka_unit_test(an_intent_is_told_five_times),
        cmocka_unit_test(a_deleted_key_lands_late),
        cmocka_unit_test(a_deleted_key_is_shown_once_more),
        cmocka_unit_test(a_deleted_key_is_listed_once_more),
        cmocka_unit_test(a_raised_allowance_is_noticed),
        cmocka_unit_test(a_create_that_queues_burns_no_try),
        cmocka_unit_test(a_write_that_outlives_its_life),
        cmocka_unit_test(a_lease_evicted_during_a_revival),
        cmocka_unit_test(our_own_proof_is_no_use),
        cmocka_unit_test(a_first_list_that_lags),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
