/* Looks that are old by the time a key is to be taken away: something between the two was held up, and others changed
 * keys or instance meanwhile. What is taken away goes by a look of the last minutes (R6), in every job. */
#include "tests/saga/saga_test.h"

static struct sim_key *newest(struct sim_world *w)
{
    return &w->truth.keys[w->truth.n - 1];
}

static void deactivate_newest(struct sim_world *w)
{
    sim_truth_update(&w->truth, newest(w)->id, AWS_KEY_INACTIVE, SIM_BY_STRANGER);
}

static void delete_newest(struct sim_world *w)
{
    if (newest(w)->exists) sim_truth_delete(&w->truth, newest(w)->id, SIM_BY_STRANGER);
}

static void activate_newest(struct sim_world *w)
{
    sim_truth_update(&w->truth, newest(w)->id, AWS_KEY_ACTIVE, SIM_BY_STRANGER);
}

static void use_newest(struct sim_world *w)
{
    sim_truth_touch(&w->truth, newest(w)->id);
}

static void give_newest(struct sim_world *w)
{
    if (strcmp(w->truth.instance.id, newest(w)->id))
        sim_truth_write(&w->truth, newest(w)->id, newest(w)->secret, SIM_BY_STRANGER, w->sim.mono_ms);
}

/* ---- retire, reap -------------------------------------------------------------------------------------------------
 */

/* A look-up or a read waits for its answer for a quarter of an hour, in which a stranger sets the newest key Inactive:
 * its predecessor is not taken away by the list of before. */
static void an_old_list(const char *table, const char *step, bool can_look)
{
    struct sim_rule rules[] = {
        {SIM_ANY, .table = table, .step = step, .fault = {SIM_LATE_ANSWER, 0}, .act = deactivate_newest}};
    struct sim_options o = plain_options(1);
    o.can.can_read = o.can.can_test = can_look;
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    const struct sim_key *old = sim_start_plain(w);
    const bool retires = !strcmp(table, "retire");
    sim_schedule(w);
    sim_run_quiet(w, DAYS);
    assert_true(rules[0].hit);
    assert_well(sim_check_end(w));
    assert_true(old->exists);
    if (retires) assert_int_equal(old->status, AWS_KEY_ACTIVE);
    sim_world_free(w);
}

static void an_old_list_takes_no_key_away(void **state)
{
    (void)state;
    an_old_list("retire", "last used", false);
    an_old_list("retire", "test", true);
    an_old_list("retire", "read again", true);
    an_old_list("reap", "last used", false);
    an_old_list("reap", "last used", true);
}

/* A stranger deletes the key in use, and the survey after it still lists it: its predecessor, the only way back, is not
 * taken away, whether or not the instance can test its key. */
static void a_list_of_before(const char *table, bool can_read, bool can_test)
{
    struct sim_rule rules[] = {
        {SIM_ANY, .table = table, .step = "survey", .fault = {SIM_STALE, 0}, .act = delete_newest}};
    struct sim_options o = plain_options(1);
    o.can.can_read = can_read;
    o.can.can_test = can_test;
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    const struct sim_key *old = sim_start_plain(w);
    sim_schedule(w);
    sim_run_quiet(w, DAYS);
    assert_true(rules[0].hit);
    assert_well(w->truth.violation);
    assert_well(sim_check_end(w));
    assert_true(old->exists);
    if (!strcmp(table, "retire")) assert_int_equal(old->status, AWS_KEY_ACTIVE);
    sim_world_free(w);
}

static void a_list_of_before_takes_no_key_away(void **state)
{
    (void)state;
    static const char *const tables[] = {"retire", "reap"};
    for (size_t i = 0; i < ARRAY_LEN(tables); i++)
        for (int can = 0; can < 4; can++) a_list_of_before(tables[i], can & 1, can & 2);
}

/* ---- doubt --------------------------------------------------------------------------------------------------------
 */

/* The reply to a create is lost. While keyroll is held up on its way to take the newcomer away, somebody shows that it
 * is his: a person is asked, and the key stays as it is. */
static void a_doubted_key(struct sim_rule held, bool can_read, enum record_state asks)
{
    struct sim_rule rules[] = {{SIM_ANY, .step = "create", .fault = {SIM_LATE_ANSWER, 0}}, held};
    struct sim_options o = plain_options(1);
    o.can.can_read = can_read;
    o.rules = rules;
    o.n_rules = ARRAY_LEN(rules);
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    sim_schedule(w);
    assert_becomes(w, asks);
    assert_true(rules[1].hit);
    assert_int_equal(w->truth.creates, 1);
    assert_true(newest(w)->exists);
    assert_int_equal(newest(w)->status, AWS_KEY_ACTIVE);
    sim_world_free(w);
}

/* Ten tries, of a minute each, to tell Kafka that the key is doubted. */
#define TOLD_LATE SIM_ANY, .step = "doubt event", .times = 20, .fault = {SIM_LATE_ANSWER, 0}

static void a_doubted_key_that_is_somebodys_stays(void **state)
{
    (void)state;
    a_doubted_key((struct sim_rule){TOLD_LATE, .act = give_newest}, true, RECORD_DRIFTED);
    a_doubted_key((struct sim_rule){TOLD_LATE, .act = use_newest}, false, RECORD_AWAITING);
    a_doubted_key((struct sim_rule){SIM_ANY, .step = "doubt delete", .times = 60, .fault = {SIM_UNSENT, 0},
                                    .act = activate_newest},
                  true, RECORD_AWAITING);
    a_doubted_key((struct sim_rule){SIM_ANY, .step = "doubt last used", .skip = 1, .fault = {SIM_LATE_ANSWER, 0},
                                    .act = activate_newest},
                  true, RECORD_AWAITING);
}

/* Whoever goes on with it asks again whether it was used. */
static void a_doubted_key_that_was_used_meanwhile_stays(void **state)
{
    (void)state;
    a_doubted_key((struct sim_rule){SIM_ANY, .step = "doubt event", .fault = {SIM_CRASH_BEFORE, 0}, .act = use_newest},
                  true, RECORD_AWAITING);
}

/* ---- withdraw, undo -----------------------------------------------------------------------------------------------
 */

/* A refused key gets into the instance after all, while its deactivation waits for its turn: it is gone on with. */
static void a_withdrawn_key_that_is_held_stays(void **state)
{
    (void)state;
    struct sim_rule rules[] = {
        {SIM_ANY, .table = "rotate", .step = "set", .fault = {SIM_PERMANENT, 0}},
        {SIM_ANY, .step = "withdraw key", .times = 60, .fault = {SIM_UNSENT, 0}, .act = give_newest}};
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    assert_becomes_current(w);
    assert_true(rules[1].hit);
    assert_int_equal(w->truth.creates, 1);
    assert_string_equal(w->truth.instance.id, newest(w)->id);
    sim_world_free(w);
}

/* A key that was never offered is found in the instance, while its deletion is held up: it stays, and a person is
 * asked. */
static void an_undone_key(struct sim_rule held)
{
    struct sim_rule rules[] = {{SIM_ANY, .step = "settle", .fault = {SIM_PERMANENT, 0}}, held};
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    assert_becomes(w, RECORD_DRIFTED);
    assert_true(rules[1].hit);
    assert_int_equal(w->truth.creates, 1);
    assert_true(newest(w)->exists);
    sim_world_free(w);
}

static void an_undone_key_that_is_held_stays(void **state)
{
    (void)state;
    an_undone_key((struct sim_rule){SIM_ANY, .step = "undo event", .times = 20, .fault = {SIM_LATE_ANSWER, 0},
                                    .act = give_newest});
    an_undone_key(
        (struct sim_rule){SIM_ANY, .step = "undo delete", .times = 60, .fault = {SIM_UNSENT, 0}, .act = give_newest});
}

static bool is_taken_back(struct sim_world *w)
{
    struct record r;
    return sim_record(w, &r) && r.attempts && !sim_leased(w);
}

/* Why a key was taken back is told, also where that took a second look, or a wait. */
static void tells_why(struct sim_rule cause, struct sim_rule held, int error, const char *why)
{
    struct sim_rule rules[] = {cause, held};
    struct record r;
    struct sim_world *w = begin_plain(rules, ARRAY_LEN(rules));
    assert_true(sim_run_until(w, is_taken_back, DAY_MS));
    assert_true(rules[0].hit && rules[1].hit);
    assert_true(sim_record(w, &r));
    assert_int_equal(r.error, error);
    if (!strstr(r.reason, why)) fail_msg("'%s' does not tell: %s", r.reason, why);
    sim_run_quiet(w, DAYS);
    assert_well(sim_check_end(w));
    sim_world_free(w);
}

static void the_reason_outlives_the_looks(void **state)
{
    (void)state;
    const struct sim_rule unsettled = {SIM_ANY, .step = "settle", .fault = {SIM_PERMANENT, 0}};
    const struct sim_rule refused = {SIM_ANY, .table = "rotate", .step = "set", .fault = {SIM_PERMANENT, 0}};
    const struct sim_rule busy = {SIM_ANY, .step = "withdraw key", .times = 60, .fault = {SIM_UNSENT, 0}};
    tells_why(unsettled, (struct sim_rule){SIM_ANY, .step = "undo event", .times = 10, .fault = {SIM_LATE_ANSWER, 0}},
              ERR_AWS_DENIED, err_text(ERR_AWS_DENIED));
    tells_why(refused, (struct sim_rule){SIM_ANY, .step = "withdraw key"}, ERR_INSTANCE_REFUSED, "it was withdrawn");
    tells_why(refused, busy, ERR_INSTANCE_REFUSED, "it was withdrawn");
}

/* ---- looks without an end -----------------------------------------------------------------------------------------
 */

static bool looked_in_vain(struct sim_world *w)
{
    struct record r;
    return sim_record(w, &r) && strstr(r.reason, "takes too long");
}

/* Each look takes too long, and is failed for it: nobody waits in silence. */
static void looks_in_vain(struct sim_rule *rules, size_t n)
{
    struct record r;
    struct sim_world *w = begin_plain(rules, n);
    assert_true(sim_run_until(w, looked_in_vain, 3 * DAY_MS));
    assert_true(sim_record(w, &r));
    assert_int_equal(r.attempts, 1);
    assert_int_equal(sim_truth_count(&w->truth), 2);
    assert_int_equal(w->truth.keys[0].status, AWS_KEY_ACTIVE);
    assert_becomes_current(w);
    sim_world_free(w);
}

/* The first try of each look's last call. */
static struct sim_rule slow_look(const char *table, const char *step, unsigned skip)
{
    return (struct sim_rule){SIM_ANY, .table = table, .step = step, .skip = skip, .fault = {SIM_LATE_ANSWER, 0}};
}

static void looks_that_take_too_long(void **state)
{
    (void)state;
    struct sim_rule retire[] = {slow_look("retire", "test", 0), slow_look("retire", "test", 1)};
    looks_in_vain(retire, ARRAY_LEN(retire));
    struct sim_rule doubt[] = {{SIM_ANY, .step = "create", .fault = {SIM_LATE_ANSWER, 0}},
                               slow_look("rotate", "doubt last used", 1),
                               slow_look("rotate", "doubt last used", 2)};
    looks_in_vain(doubt, ARRAY_LEN(doubt));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_old_list_takes_no_key_away),
        cmocka_unit_test(a_list_of_before_takes_no_key_away),
        cmocka_unit_test(a_doubted_key_that_is_somebodys_stays),
        cmocka_unit_test(a_doubted_key_that_was_used_meanwhile_stays),
        cmocka_unit_test(a_withdrawn_key_that_is_held_stays),
        cmocka_unit_test(an_undone_key_that_is_held_stays),
        cmocka_unit_test(the_reason_outlives_the_looks),
        cmocka_unit_test(looks_that_take_too_long),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
