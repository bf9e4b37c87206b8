/* The plain life: rotate, retire, reap, until one key is left and nothing else; the same from every start that a user
 * may have; and the same trace for the same seed. */
#include "tests/saga/saga_test.h"

static void whole_life(void **state)
{
    (void)state;
    struct sim_options o = plain_options(1);
    struct sim_world *w = sim_world_new(&o);
    struct sim_key *k = sim_start_plain(w);
    sim_schedule(w);
    assert_becomes_current(w);
    assert_int_equal(w->truth.creates, 1);
    assert_int_equal(w->truth.deletes, 1);
    assert_false(k->exists);
    assert_int_equal(w->outcomes[OUTCOME_DEAD] + w->outcomes[OUTCOME_ABANDONED] + w->outcomes[OUTCOME_RETRY], 0);
    sim_world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_life),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
