/* Assisted mode: a person is shown the pair and pastes it (R11). */
#include "tests/saga/saga_test.h"

static void cannot_write(struct sim_options *o)
{
    o->can.can_write = false;
}

static void cannot_write_or_read(struct sim_options *o)
{
    o->can.can_write = o->can.can_read = false;
}

static struct sim_world *revealed(void (*change)(struct sim_options *o), struct sim_pair *pair)
{
    struct sim_world *w = make_world(change);
    sim_start_plain(w);
    sim_schedule(w);
    assert_becomes(w, RECORD_AWAITING);
    assert_true(sim_reveal(w, pair));
    return w;
}

static void assisted_pasted(void **state)
{
    (void)state;
    struct sim_pair pair, again;
    struct sim_world *w = revealed(cannot_write, &pair);
    assert_true(sim_reveal(w, &again)); /* repeatable until proven */
    assert_string_equal(pair.id, again.id);
    sim_paste(w, &pair);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 1);
    sim_world_free(w);
}

static void assisted_pasted_days_later(void **state)
{
    (void)state;
    struct sim_pair pair;
    struct sim_world *w = revealed(cannot_write, &pair);
    sim_schedule(w);
    sim_run_for(w, 6 * DAY_MS);
    assert_int_equal(sim_state(w), RECORD_AWAITING);
    sim_paste(w, &pair);
    sim_schedule(w);
    assert_becomes_current(w);
    sim_world_free(w);
}

/* A late nudge meets the rotation that waits for a person: it looks once and is done, and does not come again at once.
 */
static void assisted_nudged_meanwhile(void **state)
{
    (void)state;
    struct sim_pair pair;
    struct sim_world *w = revealed(cannot_write, &pair);
    uint64_t ran = w->sim.ran;
    sim_publish(w, JOB_RETIRE, JOB_SCHEDULED, w->truth.keys[0].id, 1);
    sim_publish(w, JOB_REAP, JOB_SCHEDULED, w->truth.keys[0].id, 1);
    sim_run_for(w, HOUR_MS);
    assert_string_equal(w->truth.violation, "");
    assert_in_range(w->sim.ran - ran, 1, 20000);
    sim_paste(w, &pair);
    sim_schedule(w);
    assert_becomes_current(w);
    sim_world_free(w);
}

/* The old pair again: confirm is no proof, the read contradicts it (R11). */
static void assisted_wrong_pair(void **state)
{
    (void)state;
    struct sim_pair pair;
    struct sim_world *w = revealed(cannot_write, &pair);
    sim_confirm(w);
    sim_schedule(w);
    assert_becomes(w, RECORD_AWAITING);
    assert_int_equal(w->truth.keys[0].status, AWS_KEY_ACTIVE);
    sim_paste(w, &pair);
    sim_schedule(w);
    assert_becomes_current(w);
    sim_world_free(w);
}

/* A pair that was shown and then lost is asked for: nobody can show it again, and somebody may paste it. */
static void assisted_shown_and_lost(void **state)
{
    (void)state;
    struct sim_pair pair;
    struct record r;
    struct sim_world *w = revealed(cannot_write, &pair);
    lose_pair(w, "journal");
    sim_schedule(w);
    assert_becomes(w, RECORD_AWAITING);
    assert_true(sim_record(w, &r));
    assert_non_null(strstr(r.reason, "keyroll adopt"));
    assert_int_equal(w->truth.creates, 1);
    sim_paste(w, &pair);
    sim_schedule(w);
    assert_becomes_current(w);
    sim_world_free(w);
}

/* The instance is restored in the overlap and the kept pair is to be pasted again, but it is lost: nobody can be shown
 * it. What the instance uses counts, as where keyroll itself would have written the pair. */
static void assisted_restored_and_lost(void **state)
{
    (void)state;
    struct sim_pair pair;
    struct record r;
    struct sim_world *w = revealed(cannot_write, &pair);
    sim_paste(w, &pair);
    sim_schedule(w);
    assert_true(sim_run_until(w, in_overlap, 2 * DAY_MS));
    sim_restore_instance(w, &w->truth.keys[0]);
    sim_publish(w, JOB_AUDIT, JOB_SCHEDULED, "", 0);
    sim_run_for(w, HOUR_MS / 60);
    assert_true(sim_record(w, &r));
    assert_string_equal(r.reason, "the kept pair must be pasted again: keyroll reveal shows it");
    lose_pair(w, "record");
    sim_run_for(w, HOUR_MS);
    assert_int_equal(w->truth.creates, 1);
    assert_true(sim_record(w, &r));
    assert_int_not_equal(r.state, RECORD_AWAITING);
    assert_string_equal(record_current(&r)->id, w->truth.keys[0].id);
    sim_run_quiet(w, DAYS);
    assert_well(sim_check_end(w));
    sim_world_free(w);
}

/* Where nothing can be read, a false confirmation keeps both keys alive until AWS saw the new one in use (R11). */
static void assisted_blind_confirm(void **state)
{
    (void)state;
    struct sim_pair pair;
    struct sim_world *w = revealed(cannot_write_or_read, &pair);
    sim_confirm(w);
    sim_schedule(w);
    sim_run_for(w, 4 * DAY_MS);
    assert_int_equal(w->truth.keys[0].status, AWS_KEY_ACTIVE);
    assert_well(w->truth.violation);
    sim_paste(w, &pair);
    sim_world_free(w);
}

/* A foreign pair is drift at once (R11). */
static void assisted_foreign_pair(void **state)
{
    (void)state;
    struct sim_pair pair;
    struct sim_world *w = revealed(cannot_write, &pair);
    sim_truth_write(&w->truth, "AKIAOTHERACCOUNTSKEY", "x", SIM_BY_STRANGER, w->sim.mono_ms);
    sim_schedule(w);
    assert_becomes(w, RECORD_DRIFTED);
    sim_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assisted_pasted),           cmocka_unit_test(assisted_pasted_days_later),
        cmocka_unit_test(assisted_nudged_meanwhile), cmocka_unit_test(assisted_wrong_pair),
        cmocka_unit_test(assisted_shown_and_lost),   cmocka_unit_test(assisted_restored_and_lost),
        cmocka_unit_test(assisted_blind_confirm),    cmocka_unit_test(assisted_foreign_pair),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
