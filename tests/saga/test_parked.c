/* A licence that is parked: what it needs fails for everybody, and it waits for that to be back. The scheduler is told
 * of it and starts what the records call parked (producer/policy.c); so what only looks leaves that word alone. */
#include "tests/saga/saga_test.h"

#define HOST "host:licence-1.example.com:443"

static bool is_away;

static bool blocked(void *self, const struct job *j, char name[BREAKER_NAME_MAX])
{
    (void)self, (void)j;
    snprintf(name, BREAKER_NAME_MAX, "%s", HOST);
    return is_away;
}

static bool blames(void *self, const struct job *j, int err, char name[BREAKER_NAME_MAX])
{
    return err == ERR_BREAKER_OPEN && blocked(self, j, name);
}

/* A young key that was looked at; then its host is away and this job parks. */
static struct sim_world *make_parked(struct sim_rule *rules, size_t n, int kind, int reason, struct record *ret)
{
    struct sim_world *w = make_ruled(rules, n);
    struct sim_key *k = sim_truth_put(&w->truth, AWS_KEY_ACTIVE, DAY_MS, true);
    sim_truth_write(&w->truth, k->id, k->secret, SIM_BY_STRANGER, w->sim.mono_ms);
    for (unsigned i = 0; i < w->o.workers; i++)
        w->workers[i].env.breakers = (struct breaker_port){.blocked = blocked, .blames = blames};
    is_away = false;
    sim_publish(w, JOB_AUDIT, JOB_DAILY, "", 0);
    sim_run_for(w, 10000);
    assert_int_equal(sim_state(w), RECORD_CURRENT);
    is_away = true;
    sim_publish(w, kind, reason, k->id, 0);
    sim_run_for(w, 10000);
    assert_true(sim_record(w, ret));
    assert_int_equal(ret->state, RECORD_RETRY);
    assert_string_equal(ret->parked, HOST);
    return w;
}

static bool is_handled(struct sim_world *w)
{
    return sim_messages(w) == 0;
}

static void audit(struct sim_world *w, struct record *ret)
{
    sim_publish(w, JOB_AUDIT, JOB_DAILY, "", 0);
    sim_run_for(w, 10000);
    assert_true(is_handled(w) || sim_run_until(w, is_handled, HOUR_MS)); /* what differs is looked at again first */
    assert_true(sim_record(w, ret));
}

/* Nobody is told that the host is back: the record's time brings it. */
static void assert_rotates_once(struct sim_world *w)
{
    sim_schedule(w);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 1);
    sim_world_free(w);
}

/* What the scheduler publishes when it hears that the host is back. */
static struct policy_verdict judge_recovered(struct sim_world *w, const struct record *r)
{
    struct policy_verdict v;
    struct policy p = w->o.policy;
    const struct store_peek u = {.record = *r, .has_record = true, .lease_ms = -1};
    p.recovered = r->parked[0] != '\0';
    policy_judge(&p, SIM_LICENCE, &u, sim_wall_ms(&w->sim), &v);
    return v;
}

/* An audit begins when the host is back, just before the scheduler hears of that: the rotation starts all the same. */
static void an_audit_leaves_the_rotation_parked(void **state)
{
    (void)state;
    struct record r;
    struct sim_world *w = make_parked(NULL, 0, JOB_ROTATE, JOB_OPERATOR, &r);
    const int64_t again_ms = r.next_ms;
    is_away = false;
    audit(w, &r);
    assert_true(r.audited_ms > 0 && sim_wall_ms(&w->sim) < again_ms);
    assert_string_equal(r.parked, HOST);
    const struct policy_verdict v = judge_recovered(w, &r);
    assert_true(policy_is_due(&v) && v.recovered);
    assert_int_equal(v.kind, JOB_ROTATE);
    sim_publish(w, v.kind, v.reason, v.replace_key_id, v.rotation);
    sim_run_for(w, HOUR_MS);
    assert_true(sim_record(w, &r));
    assert_int_equal(r.state, RECORD_OVERLAP);
    assert_string_equal(r.parked, "");
    sim_schedule(w);
    assert_becomes_current(w);
    sim_world_free(w);
}

static void what_is_parked_has_its_time(void **state)
{
    (void)state;
    struct record r;
    struct sim_world *w = make_parked(NULL, 0, JOB_ROTATE, JOB_OPERATOR, &r);
    is_away = false;
    audit(w, &r);
    assert_rotates_once(w);
}

/* The audit itself was parked: the next one that gets through ends that, at once. Else it would be due at every tick
 * until the record's time has come. */
static void an_audit_ends_what_an_audit_left(void **state)
{
    (void)state;
    struct record r;
    struct sim_world *w = make_parked(NULL, 0, JOB_AUDIT, JOB_DAILY, &r);
    is_away = false;
    struct policy_verdict v = judge_recovered(w, &r);
    assert_true(policy_is_due(&v));
    assert_int_equal(v.kind, JOB_AUDIT);
    audit(w, &r);
    assert_int_equal(r.state, RECORD_CURRENT);
    assert_string_equal(r.parked, "");
    v = judge_recovered(w, &r);
    assert_false(policy_is_due(&v));
    sim_world_free(w);
}

/* The audit finds the host away, too: parked as before. */
static void an_audit_parks_it_again(void **state)
{
    (void)state;
    struct record r;
    struct sim_world *w = make_parked(NULL, 0, JOB_ROTATE, JOB_OPERATOR, &r);
    audit(w, &r);
    assert_int_equal(r.state, RECORD_RETRY);
    assert_string_equal(r.parked, HOST);
    assert_true(r.asked);
    is_away = false;
    assert_rotates_once(w);
}

/* The audit fails by itself: then the record waits for that, by its time, and the host's return does not hurry it. */
static void an_audit_that_fails_is_not_parked(void **state)
{
    (void)state;
    struct record r;
    struct sim_rule fails = {SIM_ANY,   .table = "audit", .step = "survey",
                             .skip = 1, .times = 1000,    .fault = {SIM_PERMANENT, 0}};
    struct sim_world *w = make_parked(&fails, 1, JOB_ROTATE, JOB_OPERATOR, &r);
    is_away = false;
    audit(w, &r);
    assert_true(fails.hit);
    assert_int_equal(r.state, RECORD_FAILED);
    assert_string_equal(r.parked, "");
    sim_world_free(w);
}

/* The audit finds that a person is needed: what he is told stands, and the host's return starts nothing. */
static void an_audit_that_asks_a_person_is_not_parked(void **state)
{
    (void)state;
    struct record r;
    struct sim_world *w = make_parked(NULL, 0, JOB_ROTATE, JOB_OPERATOR, &r);
    is_away = false;
    sim_truth_write(&w->truth, "AKIAOTHERACCOUNTSKEY", "x", SIM_BY_STRANGER, w->sim.mono_ms);
    audit(w, &r);
    assert_int_equal(r.state, RECORD_DRIFTED);
    assert_string_equal(r.parked, "");
    assert_false(judge_recovered(w, &r).recovered);
    sim_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_audit_leaves_the_rotation_parked),
        cmocka_unit_test(what_is_parked_has_its_time),
        cmocka_unit_test(an_audit_ends_what_an_audit_left),
        cmocka_unit_test(an_audit_parks_it_again),
        cmocka_unit_test(an_audit_that_fails_is_not_parked),
        cmocka_unit_test(an_audit_that_asks_a_person_is_not_parked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
