/* The plain life: rotate, retire, reap, until one key is left and nothing else; the same from every start that a user
 * may have, with duplicates, late nudges and people; and the same trace for the same seed. */
#include "tests/saga/saga_test.h"
#include "worker/rotation.h"

static struct sim_key *put(struct sim_world *w, enum aws_key_status status, bool in_instance)
{
    struct sim_key *k = sim_truth_put(&w->truth, status, 100 * DAY_MS, true);
    if (in_instance) sim_truth_write(&w->truth, k->id, k->secret, SIM_BY_STRANGER, w->sim.mono_ms);
    return k;
}

static void assert_reason_names(struct sim_world *w, const char *id)
{
    struct record r;
    assert_true(sim_record(w, &r));
    if (!strstr(r.reason, id)) fail_msg("'%s' does not name %s", r.reason, id);
}

static bool in_quarantine(struct sim_world *w)
{
    return sim_state(w) == RECORD_QUARANTINE && !sim_leased(w) && !sim_messages(w);
}

/* ---- the whole life -----------------------------------------------------------------------------------------------
 */

static void whole_life(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    struct sim_key *k = sim_start_plain(w);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 1);
    assert_int_equal(w->truth.deletes, 1);
    assert_false(k->exists);
    assert_int_equal(w->outcomes[OUTCOME_DEAD] + w->outcomes[OUTCOME_ABANDONED] + w->outcomes[OUTCOME_RETRY], 0);
    sim_world_free(w);
}

static uint64_t trace_of(uint64_t seed)
{
    struct sim_options o = plain_options(seed);
    o.swarm = (struct sim_swarm){50, UINT32_MAX, DAY_MS, 0};
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_schedule(w);
    sim_run_quiet(w, DAYS);
    uint64_t trace = w->sim.trace;
    sim_world_free(w);
    return trace;
}

static void same_seed_same_trace(void **state)
{
    (void)state;
    assert_true(trace_of(11) == trace_of(11));
    assert_true(trace_of(11) != trace_of(12));
}

/* ---- starts -------------------------------------------------------------------------------------------------------
 */

static void no_key_at_all(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 1);
    assert_int_equal(w->truth.deletes, 0);
    sim_world_free(w);
}

static void dead_key(enum aws_key_status status)
{
    struct sim_world *w = make_world(NULL);
    struct sim_key *k = put(w, status, true);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 1);
    assert_false(k->exists);
    sim_world_free(w);
}

static void inactive_key_in_use(void **state)
{
    (void)state;
    dead_key(AWS_KEY_INACTIVE);
}

static void expired_key_in_use(void **state)
{
    (void)state;
    dead_key(AWS_KEY_EXPIRED);
}

/* A key that keyroll neither made nor saw in use is never touched, and no third key is made beside it. */
static void second_key(enum aws_key_status status, bool used)
{
    struct sim_world *w = make_world(NULL);
    put(w, AWS_KEY_ACTIVE, true);
    struct sim_key *other = put(w, status, false);
    other->was_used = used;
    sim_schedule(w);
    assert_becomes(w, RECORD_AWAITING);
    assert_reason_names(w, other->id);
    assert_true(other->exists && other->status == status);
    assert_int_equal(w->truth.creates, 0);
    sim_world_free(w);
}

static void second_key_active(void **state)
{
    (void)state;
    second_key(AWS_KEY_ACTIVE, true);
    second_key(AWS_KEY_ACTIVE, false);
}

static void second_key_inactive(void **state)
{
    (void)state;
    second_key(AWS_KEY_INACTIVE, false);
    second_key(AWS_KEY_EXPIRED, true);
    second_key(AWS_KEY_STATUS_UNKNOWN, true);
}

static void three_keys(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    put(w, AWS_KEY_ACTIVE, true);
    put(w, AWS_KEY_ACTIVE, false);
    put(w, AWS_KEY_INACTIVE, false);
    sim_schedule(w);
    assert_becomes(w, RECORD_AWAITING);
    assert_int_equal(sim_truth_count(&w->truth), 3);
    sim_world_free(w);
}

/* The instance uses a key of which AWS knows nothing: one key of a person's lies there, nobody can tell what for. */
static void instance_uses_a_foreign_key(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    struct sim_key *k = put(w, AWS_KEY_ACTIVE, false);
    sim_truth_write(&w->truth, "AKIAOTHERACCOUNTSKEY", "x", SIM_BY_STRANGER, w->sim.mono_ms);
    sim_schedule(w);
    sim_run_quiet(w, DAYS);
    assert_well(sim_check_end(w));
    assert_true(sim_asks(w));
    assert_true(k->exists && k->status == AWS_KEY_ACTIVE);
    sim_world_free(w);
}

static void cannot_read(struct sim_options *o)
{
    o->can.can_read = false;
}

static void cannot_read_or_test(struct sim_options *o)
{
    o->can.can_read = o->can.can_test = false;
}

static void without_a_read_back(void **state)
{
    (void)state;
    struct sim_world *w = make_world(cannot_read);
    sim_start_plain(w);
    sim_schedule(w);
    assert_becomes_current(w);
    sim_world_free(w);
    w = make_world(cannot_read_or_test);
    sim_start_plain(w);
    sim_schedule(w);
    assert_becomes_current(w);
    sim_world_free(w);
}

/* The first key of all, made and taken back, is not what the instance uses: it only is the one that is listed. */
static void first_key_undone_where_nothing_is_read(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .step = "settle", .fault = {SIM_PERMANENT, 0}},
                               {SIM_ANY, .step = "undo event", .fault = {SIM_CRASH_BEFORE, 0}}};
    struct sim_options o = plain_options(1);
    o.can.can_read = false;
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_true(rules[1].hit);
    sim_world_free(w);
}

static void tests_go_well(void *arg)
{
    struct sim_world *w = arg;
    sim_instance_fail_tests(w->instance, false);
}

static void fail_tests_for_an_hour(struct sim_world *w)
{
    sim_instance_fail_tests(w->instance, true);
    sim_after(&w->sim, HOUR_MS, tests_go_well, w, w);
}

static void delete_first(struct sim_world *w)
{
    sim_truth_delete(&w->truth, w->truth.keys[0].id, SIM_BY_STRANGER);
}

/* The predecessor would be made Active again, and somebody has deleted it: nothing is left to be done about it. */
static void no_way_back_is_left(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .table = "retire", .step = "deactivate", .act = fail_tests_for_an_hour},
                               {SIM_ANY, .table = "retire", .step = "back", .act = delete_first}};
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    assert_becomes_current(w);
    assert_true(rules[1].hit);
    sim_world_free(w);
}

/* I1: who watched the instance after its predecessor went Inactive crashed. The next one watches it anew. */
static void a_watch_is_taken_over(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .table = "retire", .step = "deactivate", .act = fail_tests_for_an_hour},
                               {SIM_ANY, .table = "retire", .step = "watch", .fault = {SIM_CRASH_AFTER, 0}},
                               {SIM_ANY, .table = "retire", .step = "reactivate"}};
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    assert_becomes_current(w);
    assert_true(rules[1].hit && rules[2].hit);
    sim_world_free(w);
}

/* I5: a copy of what was answered already, which cannot even look, is no failure. */
static void a_copy_that_cannot_look(void **state)
{
    (void)state;
    struct sim_rule denied = {SIM_ANY, .table = "rotate", .step = "survey", .skip = 1, .fault = {SIM_PERMANENT, 0}};
    struct sim_options o = plain_options(1);
    o.copies = 2;
    o.rules = &denied;
    o.n_rules = 1;
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_true(denied.hit);
    assert_int_equal(w->outcomes[OUTCOME_DEAD], 0);
    sim_world_free(w);
}

/* The instance's own test fails. Where its key lives no rotation mends that: a person is told. */
static void a_failing_instance(enum aws_key_status status, bool told)
{
    struct record r;
    struct sim_options o = plain_options(1);
    o.policy.observe = o.rotation.observe = true; /* it is only looked at */
    struct sim_world *w = sim_world_new(&o);
    put(w, status, true);
    sim_instance_fail_tests(w->instance, true);
    sim_publish(w, JOB_AUDIT, JOB_OPERATOR, "", 0);
    sim_run_for(w, 60000);
    assert_true(sim_record(w, &r));
    assert_int_equal(r.state, RECORD_CURRENT);
    assert_int_equal(r.error, told ? ERR_INSTANCE_TEST : 0);
    assert_non_null(strstr(r.reason, told ? "is Active in AWS: look at the instance" : "own test failed"));
    sim_world_free(w);
}

static void an_instance_that_fails_is_told(void **state)
{
    (void)state;
    a_failing_instance(AWS_KEY_ACTIVE, true);
    a_failing_instance(AWS_KEY_INACTIVE, false);
    a_failing_instance(AWS_KEY_EXPIRED, false);
}

static struct sim_rule *refuse_later;

static void lose_pivot(struct sim_world *w)
{
    sim_redis_restart(w->redis, 100, 1);
    refuse_later->skip = 0;
}

/* I3: Redis lost that the key was offered, and nothing tells what the instance uses: that key is not taken back. */
static void a_lost_pivot_where_nothing_is_read(void **state)
{
    (void)state;
    struct sim_rule rules[] = {
        {SIM_ANY, .step = "offered event", .act = lose_pivot},
        {SIM_ANY, .table = "rotate", .step = "settle", .skip = 1000, .fault = {SIM_PERMANENT, 0}}};
    struct sim_options o = plain_options(1);
    refuse_later = &rules[1];
    o.can.can_read = false;
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_schedule(w);
    sim_run_quiet(w, DAYS);
    assert_true(rules[1].hit);
    assert_well(sim_check_end(w));
    assert_true(sim_truth_works(&w->truth));
    sim_world_free(w);
}

static void instance_up(void *arg)
{
    struct sim_world *w = arg;
    sim_instance_down(w->instance, false);
}

static void instance_down(struct sim_world *w)
{
    sim_instance_down(w->instance, true);
    sim_after(&w->sim, HOUR_MS, instance_up, w, w);
}

/* The daily audit finds the instance down. The first one that goes well again ends that. */
static void an_audit_that_failed(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .table = "audit", .step = "read", .skip = 1, .act = instance_down}};
    struct sim_options o = plain_options(1);
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    o.policy.max_age_ms = 500 * DAY_MS; /* nothing else is due */
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_schedule(w);
    sim_run_for(w, 3 * DAY_MS);
    assert_true(rules[0].hit);
    assert_string_equal(record_state_name(sim_state(w)), "current");
    assert_becomes_current(w);
    sim_world_free(w);
}

/* One that fails for good becomes a dead letter; a later one that goes well ends that, too, so that the letter
 * resolves. */
static void an_audit_that_became_a_dead_letter(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .table = "audit", .step = "read", .skip = 1, .act = instance_down}};
    struct sim_options o = plain_options(1);
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    o.rotation.max_attempts = 1;
    o.policy.max_age_ms = 500 * DAY_MS; /* nothing else is due */
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_schedule(w);
    bool failed = false;
    for (int i = 0; i < 48 && !failed; i++) {
        sim_run_for(w, HOUR_MS);
        failed = strcmp(record_state_name(sim_state(w)), "failed") == 0;
    }
    assert_true(rules[0].hit);
    assert_true(failed);
    sim_run_for(w, 3 * DAY_MS);
    assert_string_equal(record_state_name(sim_state(w)), "current");
    sim_world_free(w);
}

/* ---- modes --------------------------------------------------------------------------------------------------------
 */

static void observing(struct sim_options *o)
{
    o->rotation.observe = true;
}

static void observe_changes_nothing(void **state)
{
    (void)state;
    struct sim_world *w = make_world(observing);
    sim_start_plain(w);
    sim_schedule(w);
    sim_run_quiet(w, DAYS);
    assert_well(sim_check_end(w));
    sim_publish(w, JOB_ROTATE, JOB_OPERATOR, w->truth.keys[0].id, 0);
    sim_run_for(w, HOUR_MS);
    assert_int_equal(w->truth.creates + w->truth.deletes, 0);
    assert_int_equal(sim_state(w), RECORD_CURRENT);
    sim_world_free(w);
}

static void a_pause_holds_creates(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    sim_start_plain(w);
    sim_pause(w, "holidays");
    sim_schedule(w);
    sim_run_for(w, DAY_MS);
    assert_int_equal(w->truth.creates, 0);
    sim_pause(w, NULL);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 1);
    sim_world_free(w);
}

/* ---- messages -----------------------------------------------------------------------------------------------------
 */

static void many_copies(struct sim_options *o)
{
    o->copies = 4;
    o->workers = 3;
}

static void duplicates_change_nothing(void **state)
{
    (void)state;
    struct sim_world *w = make_world(many_copies);
    sim_start_plain(w);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 1);
    assert_int_equal(w->truth.deletes, 1);
    sim_world_free(w);
}

/* All messages of the whole life again, in reverse order, after its end. */
static void late_messages_change_nothing(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    struct sim_key *old = sim_start_plain(w);
    sim_schedule(w);
    assert_becomes_current(w);
    struct record r;
    assert_true(sim_record(w, &r));
    const char *ids[] = {old->id, r.keys[0].id, ""};
    for (size_t i = 0; i < ARRAY_LEN(ids); i++)
        for (int64_t rotation = 0; rotation < 2; rotation++) {
            if (ids[i][0]) sim_publish(w, JOB_REAP, JOB_SCHEDULED, ids[i], rotation ? r.rotation : 1);
            if (ids[i][0]) sim_publish(w, JOB_RETIRE, JOB_SCHEDULED, ids[i], rotation ? r.rotation : 1);
            if (strcmp(ids[i], r.keys[0].id)) sim_publish(w, JOB_ROTATE, JOB_SCHEDULED, ids[i], rotation ? 1 : 0);
        }
    sim_run_for(w, DAY_MS);
    assert_int_equal(w->truth.creates, 1);
    assert_int_equal(w->truth.deletes, 1);
    assert_well(sim_check_current(w));
    sim_world_free(w);
}

/* The answer to a commit that was sent before the topic was deleted and made anew: it says nothing of the new log. */
static void a_commit_of_an_earlier_log(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    sim_start_plain(w);
    sim_schedule(w);
    assert_true(sim_run_until(w, in_overlap, DAY_MS));
    const struct kafka_partition p = {sim_topic_names[SIM_JOBS], 0, w->group.logs[SIM_JOBS].committed};
    assert_true(p.offset > 0);
    sim_group_recreate(&w->group, SIM_JOBS);
    sim_run_for(w, 1000);
    intake_on_committed(w->workers[0].intake, &p, 1, 0);
    sim_publish(w, JOB_AUDIT, JOB_SCHEDULED, "", 0);
    sim_run_for(w, 60000);
    assert_int_equal(w->group.logs[SIM_JOBS].end, 1);
    assert_int_equal(sim_messages(w), 0);
    assert_becomes_current(w);
    sim_world_free(w);
}

/* R6: a nudge before its time, or for another rotation, does nothing. */
static void early_nudges_change_nothing(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    struct sim_key *old = sim_start_plain(w);
    struct record r;
    sim_schedule(w);
    assert_true(sim_run_until(w, in_overlap, DAY_MS));
    assert_true(sim_record(w, &r));
    sim_publish(w, JOB_RETIRE, JOB_SCHEDULED, old->id, r.rotation);
    sim_publish(w, JOB_REAP, JOB_SCHEDULED, old->id, r.rotation);
    sim_publish(w, JOB_RETIRE, JOB_SCHEDULED, old->id, r.rotation - 1);
    sim_run_for(w, HOUR_MS);
    assert_int_equal(old->status, AWS_KEY_ACTIVE);
    assert_true(sim_run_until(w, in_quarantine, 3 * DAY_MS));
    sim_publish(w, JOB_REAP, JOB_SCHEDULED, old->id, r.rotation);
    sim_run_for(w, HOUR_MS);
    assert_true(old->exists);
    assert_becomes_current(w);
    sim_world_free(w);
}

/* R10: a rotate while the predecessor is in overlap waits; nothing is counted as a failure. */
static void a_rotation_in_overlap_waits(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    sim_start_plain(w);
    struct record r;
    sim_schedule(w);
    assert_true(sim_run_until(w, in_overlap, DAY_MS));
    assert_true(sim_record(w, &r));
    sim_publish(w, JOB_ROTATE, JOB_OPERATOR, record_current(&r)->id, r.rotation);
    sim_run_for(w, HOUR_MS);
    assert_int_equal(w->truth.creates, 1);
    assert_int_equal(w->outcomes[OUTCOME_DEAD] + w->outcomes[OUTCOME_RETRY], 0);
    assert_becomes_current(w);
    sim_world_free(w);
}

static void lose_seal(struct sim_world *w)
{
    lose_pair(w, "journal");
}

static void an_operator_asks(struct sim_world *w)
{
    struct record r;
    assert_true(sim_record(w, &r));
    sim_publish(w, JOB_ROTATE, JOB_OPERATOR, record_current(&r)->id, r.rotation);
}

/* The key that an operator asked for was taken back before it was offered: he need not ask again. */
static void what_an_operator_asked_for_is_tried_again(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .step = "created event", .skip = 2, .act = lose_seal}};
    struct sim_options o;
    sim_options_default(&o, 1);
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    sim_schedule(w);
    assert_becomes_current(w);
    an_operator_asks(w);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_true(rules[0].hit);
    assert_int_equal(w->truth.creates, 3);
    sim_world_free(w);
}

/* I8: what an operator asked for and was refused for good rests with a reason, and is his to ask for again. */
static void what_an_operator_asked_for_is_his(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .step = "create", .skip = 1, .fault = {SIM_PERMANENT, 0}}};
    struct sim_options o;
    sim_options_default(&o, 1);
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    sim_schedule(w);
    assert_becomes_current(w); /* it had no key: there is no predecessor, nothing is planned */
    an_operator_asks(w);
    sim_run_for(w, HOUR_MS);
    sim_schedule(w);
    assert_becomes(w, RECORD_STUCK);
    assert_int_equal(w->outcomes[OUTCOME_DEAD], 1);
    an_operator_asks(w);
    sim_run_for(w, HOUR_MS);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 2);
    sim_world_free(w);
}

/* ---- a retry's time ------------------------------------------------------------------------------------------------
 */

struct retried {
    struct sim_world *w;
    int64_t began_wall_ms; /* the first call after the message came to the retry topic; 0: none yet */
};

static const struct sim_kafka_message *retry_message(const struct sim_world *w)
{
    for (size_t i = 0; i < sim_kafka_count(w->kafka); i++) {
        const struct sim_kafka_message *m = sim_kafka_at(w->kafka, i);
        if (!strcmp(m->topic, sim_topic_names[SIM_RETRY_SHORT])) return m;
    }
    return NULL;
}

static void note_start(void *arg, const struct sim_call *c, enum sim_fault_kind kind)
{
    struct retried *t = arg;
    (void)kind;
    if (t->w && !t->began_wall_ms && c->client->table && !strcmp(c->client->table, "rotate") && retry_message(t->w))
        t->began_wall_ms = sim_wall_ms(&t->w->sim);
}

/* The head of a retry topic is fetched ahead of its time and begun at it, however long the fetch takes. Its time is
 * told by Redis, whose answer was on its way for so long at most (tests/sim/net.c). */
#define WAY_MOST_MS 20
static void a_retry_begins_when_due(void **state)
{
    (void)state;
    struct retried t = {.w = NULL};
    struct sim_rule down = {SIM_ANY, .table = "rotate", .step = "survey", .times = 40, .fault = {SIM_RETRIABLE, 0}};
    struct sim_options o = plain_options(1);
    o.rules = &down;
    o.n_rules = 1;
    o.cover = note_start;
    o.cover_arg = &t;
    struct sim_world *w = t.w = sim_world_new(&o);
    sim_start_plain(w);
    sim_schedule(w);
    assert_true(sim_run_until(w, in_overlap, DAY_MS));
    const struct sim_kafka_message *m = retry_message(w);
    struct job_headers headers;
    struct message_fault fault;
    assert_non_null(m);
    assert_int_equal(job_headers_decode(m->headers, m->n_headers, &headers, &fault), 0);
    assert_in_range(t.began_wall_ms, headers.not_before_ms, headers.not_before_ms + WAY_MOST_MS);
    assert_becomes_current(w);
    sim_world_free(w);
}

static bool has_retry(struct sim_world *w)
{
    return retry_message(w) != NULL;
}

static void set_clocks(struct sim_world *w, int64_t off_ms)
{
    for (unsigned i = 0; i < w->o.workers; i++) w->workers[i].wall_off_ms = off_ms;
}

/* Who publishes to a retry topic and who takes the message may have other clocks: neither holds it back nor hurries it.
 */
static void a_retry_waits_its_delay_whatever_the_clocks(void **state)
{
    (void)state;
    static const int64_t clocks_ms[][2] = {{600000, 0}, {-600000, 0}, {0, 600000}, {0, -600000}, {-600000, 600000}};
    for (size_t i = 0; i < ARRAY_LEN(clocks_ms); i++) {
        struct retried t = {.w = NULL};
        struct sim_rule down = {SIM_ANY, .table = "rotate", .step = "survey", .times = 40, .fault = {SIM_RETRIABLE, 0}};
        struct sim_options o = plain_options(1);
        o.rules = &down;
        o.n_rules = 1;
        o.cover = note_start;
        o.cover_arg = &t;
        struct sim_world *w = t.w = sim_world_new(&o);
        sim_start_plain(w);
        set_clocks(w, clocks_ms[i][0]);
        sim_schedule(w);
        assert_true(sim_run_until(w, has_retry, DAY_MS));
        int64_t published = sim_wall_ms(&w->sim);
        set_clocks(w, clocks_ms[i][1]);
        assert_true(sim_run_until(w, in_overlap, DAY_MS));
        assert_in_range(t.began_wall_ms - published, 30000 - 3 * WAY_MOST_MS, 33000 + 3 * WAY_MOST_MS);
        sim_world_free(w);
    }
}

/* ---- exposed, restored, drifted -------------------------------------------------------------------------------------
 */

static void exposed_before(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    struct sim_key *k = sim_truth_put(&w->truth, AWS_KEY_ACTIVE, DAY_MS, true);
    sim_truth_write(&w->truth, k->id, k->secret, SIM_BY_STRANGER, w->sim.mono_ms);
    sim_run_for(w, 600000);
    sim_schedule(w);
    sim_run_quiet(w, DAYS);
    assert_int_equal(w->truth.creates, 0); /* young: not due */
    sim_mark_exposed(w, k->id);
    sim_schedule(w);
    sim_run_for(w, HOUR_MS);
    assert_int_equal(k->status, AWS_KEY_INACTIVE); /* no overlap for it */
    assert_becomes_current(w);
    sim_world_free(w);
}

static void ignore_answer(void *self, uint64_t id, const void *result)
{
    (void)self;
    (void)id;
    (void)result;
}

static void mark(struct sim_world *w, struct sim_key *k)
{
    k->exposed = true;
    (void)!store_mark_exposed(&w->person_store, SIM_USER_KEY, k->id, (struct ticket){ignore_answer, NULL, 0});
}

static void mark_old(struct sim_world *w)
{
    mark(w, &w->truth.keys[0]);
}

static void mark_new(struct sim_world *w)
{
    mark(w, &w->truth.keys[1]);
}

static void deactivate_new(struct sim_world *w)
{
    sim_truth_update(&w->truth, w->truth.keys[1].id, AWS_KEY_INACTIVE, SIM_BY_STRANGER);
}

static void fail_tests(struct sim_world *w)
{
    sim_instance_fail_tests(w->instance, true);
}

static void restore_old(struct sim_world *w)
{
    sim_restore_instance(w, &w->truth.keys[0]);
}

/* The instance is restored to its old key while a retire (or reap) of that key is under way, whose worker dies. The
 * kept pair is written again, and no person is needed. */
static void restored_during(const char *table, const char *step)
{
    struct sim_rule rules[] = {
        {SIM_ANY, .table = table, .step = step, .fault = {SIM_CRASH_BEFORE, 0}, .act = restore_old}};
    struct sim_options o = plain_options(1);
    o.workers = 2;
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_true(rules[0].hit);
    assert_int_equal(w->truth.creates, 1);
    sim_world_free(w);
}

static void restore_now(void *world)
{
    restore_old(world);
}

static void lose_pivot_then_restore(struct sim_world *w)
{
    lose_pivot(w);
    sim_after(&w->sim, 5000, restore_now, w, w); /* the pair is written by then, and the hold-off lasts longer */
}

/* R1: Redis lost that the key was offered, and the instance was restored since: that it does not show the key does not
 * make it one that was never offered. */
static void a_lost_pivot_and_a_restore(void **state)
{
    (void)state;
    struct sim_rule rules[] = {
        {SIM_ANY, .step = "offered event", .act = lose_pivot_then_restore},
        {SIM_ANY, .table = "rotate", .step = "settle", .skip = 1000, .fault = {SIM_PERMANENT, 0}}};
    struct sim_options o = plain_options(1);
    refuse_later = &rules[1];
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

static void lose_the_rest(struct sim_world *w)
{
    sim_redis_flush(w->redis);
}

/* The same, and the pair is lost, too: Redis is flushed after the new key was told anew as one that was only made. */
static void a_lost_pivot_a_restore_and_no_pair(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .step = "offered event", .act = lose_pivot_then_restore},
                               {SIM_ANY, .table = "rotate", .step = "settle", .skip = 1000, .act = lose_the_rest}};
    refuse_later = &rules[1];
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    sim_run_quiet(w, DAYS);
    assert_true(rules[1].hit);
    assert_well(sim_check_end(w));
    sim_world_free(w);
}

static void restored_during_a_retire(void **state)
{
    (void)state;
    restored_during("retire", "deactivate");
}

static void restored_during_a_reap(void **state)
{
    (void)state;
    restored_during("reap", "delete");
}

/* Redis is lost in the overlap, and the sealed pair with it; then the instance goes back to its predecessor: that one
 * is current again, the other is retired, and the rotation begins anew. */
static void restored_without_the_pair(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    struct sim_key *old = sim_start_plain(w);
    sim_schedule(w);
    assert_true(sim_run_until(w, in_overlap, DAY_MS));
    const struct sim_key *lost = &w->truth.keys[1];
    sim_redis_flush(w->redis);
    sim_restore_instance(w, old);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 2);
    assert_false(old->exists || lost->exists);
    sim_world_free(w);
}

static void flush(struct sim_world *w)
{
    sim_redis_flush(w->redis);
}

/* The same, while the repair is under way. */
static void pair_lost_during_the_repair(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .table = "audit", .skip = 8, .act = restore_old},
                               {SIM_ANY, .step = "set", .skip = 1, .fault = {SIM_CRASH_BEFORE, 0}, .act = flush}};
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    sim_run_quiet(w, DAYS);
    assert_true(rules[1].hit);
    assert_well(sim_check_current(w));
    sim_world_free(w);
}

/* R7: the mark comes while a run is under way that is about to make the key Active again. */
static void exposed_before_a_revival(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .step = "read back", .act = deactivate_new},
                               {SIM_ANY, .step = "review", .act = mark_new},
                               {SIM_ANY, .step = "revive"}};
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    sim_run_quiet(w, DAYS);
    assert_well(sim_check_end(w));
    assert_true(rules[1].hit && !rules[2].hit);
    sim_world_free(w);
}

static void exposed_before_a_reactivation(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .table = "retire", .step = "deactivate", .act = fail_tests},
                               {SIM_ANY, .step = "back", .act = mark_old},
                               {SIM_ANY, .step = "reactivate"}};
    struct sim_options o = plain_options(1);
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    struct sim_key *old = sim_start_plain(w);
    sim_schedule(w);
    sim_run_for(w, 3 * DAY_MS);
    assert_true(rules[1].hit && !rules[2].hit);
    assert_true(!old->exists || old->status == AWS_KEY_INACTIVE);
    sim_instance_fail_tests(w->instance, false);
    assert_becomes_current(w);
    sim_world_free(w);
}

static void exposed_in_overlap(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    struct sim_key *k = sim_start_plain(w);
    sim_schedule(w);
    assert_true(sim_run_until(w, in_overlap, DAY_MS));
    sim_mark_exposed(w, k->id);
    sim_schedule(w);
    sim_run_for(w, HOUR_MS);
    assert_int_equal(k->status, AWS_KEY_INACTIVE);
    assert_becomes_current(w);
    sim_world_free(w);
}

static void restored(bool (*when)(struct sim_world *w))
{
    struct sim_world *w = make_world(NULL);
    struct sim_key *k = sim_start_plain(w);
    sim_schedule(w);
    assert_true(sim_run_until(w, when, 5 * DAY_MS));
    sim_restore_instance(w, k);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 1); /* the kept pair, no third key (R5) */
    sim_world_free(w);
}

static void restored_in_overlap(void **state)
{
    (void)state;
    restored(in_overlap);
}

static void restored_in_quarantine(void **state)
{
    (void)state;
    restored(in_quarantine);
}

static void a_strangers_key_is_drift(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    sim_start_plain(w);
    sim_schedule(w);
    assert_becomes_current(w);
    struct sim_key *k = sim_truth_put(&w->truth, AWS_KEY_ACTIVE, 0, false);
    sim_schedule(w);
    assert_becomes(w, RECORD_DRIFTED);
    assert_reason_names(w, k->id);
    assert_true(k->exists && k->status == AWS_KEY_ACTIVE);
    sim_world_free(w);
}

static void a_deleted_key_is_drift(void **state)
{
    (void)state;
    struct sim_world *w = make_world(NULL);
    struct record r;
    sim_start_plain(w);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_true(sim_record(w, &r));
    sim_truth_delete(&w->truth, r.keys[0].id, SIM_BY_STRANGER);
    sim_schedule(w);
    assert_becomes(w, RECORD_DRIFTED);
    assert_reason_names(w, r.keys[0].id);
    sim_world_free(w);
}

/* R4: nobody knows whether the key that a lost reply left behind was used: it stays, and is named. */
static void blind_doubt_asks(void **state)
{
    (void)state;
    struct sim_options o = plain_options(1);
    struct sim_rule lost = {SIM_ANY, .step = "create", .fault = {SIM_LOST_AFTER, 0}};
    o.rules = &lost;
    o.n_rules = 1;
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_aws_blind(w->aws, true);
    sim_schedule(w);
    assert_becomes(w, RECORD_AWAITING);
    assert_reason_names(w, w->truth.keys[1].id);
    assert_int_equal(w->truth.keys[1].status, AWS_KEY_ACTIVE);
    sim_world_free(w);
}

static void make_newest_active(struct sim_world *w)
{
    struct sim_key *k = &w->truth.keys[w->truth.n - 1];
    sim_truth_update(&w->truth, k->id, AWS_KEY_ACTIVE, SIM_BY_STRANGER);
}

/* R4: who makes a newcomer Active again, which keyroll took for its own and set Inactive, says that it is his. */
static void a_newcomer_made_active_again_asks(void **state)
{
    (void)state;
    struct sim_rule rules[] = {{SIM_ANY, .step = "create", .fault = {SIM_LOST_AFTER, 0}},
                               {SIM_ANY, .step = "doubt inactive", .act = make_newest_active}};
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    assert_becomes(w, RECORD_AWAITING);
    assert_int_equal(w->truth.deletes, 0);
    sim_world_free(w);
}

/* ---- an answer that lies ------------------------------------------------------------------------------------------
 */

/* The answer to a create names the key that the instance uses. It is never taken back as a new one (I1, I3): what was
 * made is found as after a lost reply. */
static void a_create_that_names_an_older_key(void **state)
{
    (void)state;
    for (int can_read = 0; can_read < 2; can_read++) {
        struct sim_options o = plain_options(1);
        o.can.can_read = o.can.can_test = can_read;
        struct sim_world *w = sim_world_new(&o);
        const struct sim_key *k = sim_start_plain(w);
        sim_aws_misname(w->aws, k->id);
        sim_schedule(w);
        assert_becomes_current(w);
        assert_int_equal(w->truth.creates, 2);
        sim_world_free(w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_life),
        cmocka_unit_test(same_seed_same_trace),
        cmocka_unit_test(no_key_at_all),
        cmocka_unit_test(inactive_key_in_use),
        cmocka_unit_test(expired_key_in_use),
        cmocka_unit_test(second_key_active),
        cmocka_unit_test(second_key_inactive),
        cmocka_unit_test(three_keys),
        cmocka_unit_test(instance_uses_a_foreign_key),
        cmocka_unit_test(without_a_read_back),
        cmocka_unit_test(first_key_undone_where_nothing_is_read),
        cmocka_unit_test(no_way_back_is_left),
        cmocka_unit_test(a_watch_is_taken_over),
        cmocka_unit_test(a_lost_pivot_where_nothing_is_read),
        cmocka_unit_test(a_lost_pivot_and_a_restore),
        cmocka_unit_test(a_lost_pivot_a_restore_and_no_pair),
        cmocka_unit_test(a_copy_that_cannot_look),
        cmocka_unit_test(an_instance_that_fails_is_told),
        cmocka_unit_test(observe_changes_nothing),
        cmocka_unit_test(an_audit_that_failed),
        cmocka_unit_test(an_audit_that_became_a_dead_letter),
        cmocka_unit_test(a_pause_holds_creates),
        cmocka_unit_test(duplicates_change_nothing),
        cmocka_unit_test(late_messages_change_nothing),
        cmocka_unit_test(a_commit_of_an_earlier_log),
        cmocka_unit_test(early_nudges_change_nothing),
        cmocka_unit_test(a_rotation_in_overlap_waits),
        cmocka_unit_test(what_an_operator_asked_for_is_his),
        cmocka_unit_test(what_an_operator_asked_for_is_tried_again),
        cmocka_unit_test(a_retry_begins_when_due),
        cmocka_unit_test(a_retry_waits_its_delay_whatever_the_clocks),
        cmocka_unit_test(exposed_before),
        cmocka_unit_test(exposed_in_overlap),
        cmocka_unit_test(restored_during_a_retire),
        cmocka_unit_test(restored_during_a_reap),
        cmocka_unit_test(restored_without_the_pair),
        cmocka_unit_test(pair_lost_during_the_repair),
        cmocka_unit_test(exposed_before_a_revival),
        cmocka_unit_test(exposed_before_a_reactivation),
        cmocka_unit_test(restored_in_overlap),
        cmocka_unit_test(restored_in_quarantine),
        cmocka_unit_test(a_strangers_key_is_drift),
        cmocka_unit_test(a_deleted_key_is_drift),
        cmocka_unit_test(blind_doubt_asks),
        cmocka_unit_test(a_newcomer_made_active_again_asks),
        cmocka_unit_test(a_create_that_names_an_older_key),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
