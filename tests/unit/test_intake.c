/* Which retry topic a job goes to, and when it is due there. */
#include "worker/intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void rungs(void **state)
{
    (void)state;
    assert_int_equal(intake_rung(3, 0), 0); /* a failure that does not count */
    assert_int_equal(intake_rung(3, 1), 0);
    assert_int_equal(intake_rung(3, 2), 1);
    assert_int_equal(intake_rung(3, 3), 2);
    assert_int_equal(intake_rung(3, 9), 2); /* longer waits are held by the record */
    assert_int_equal(intake_rung(1, 2), 0);
}

static void due_by_a_clock_that_is_right(void **state)
{
    (void)state;
    int64_t ahead = 0;
    assert_int_equal(intake_due_ms(1030000, 30000, 1000000, &ahead), 1030000);
    assert_int_equal(intake_due_ms(1033000, 30000, 1000000, &ahead), 1033000); /* all of the jitter */
    assert_int_equal(intake_due_ms(900000, 30000, 1000000, &ahead), 900000);
    assert_int_equal(intake_due_ms(0, 30000, 1000000, &ahead), 0);
    assert_int_equal(ahead, 0);
}

/* A clock ten minutes ahead holds its messages back by their delay, once, and not by ten minutes each. */
static void due_by_a_clock_that_is_ahead(void **state)
{
    (void)state;
    const int64_t minutes = 600000, now = 1000000;
    int64_t ahead = 0;
    assert_int_equal(intake_due_ms(now + minutes + 30000, 30000, now, &ahead), now + 33000);
    assert_int_equal(intake_due_ms(now + minutes + 30000, 30000, now + 33000, &ahead), now + 33000); /* it is due */
    assert_int_equal(intake_due_ms(now + minutes + 35000, 30000, now + 33000, &ahead), now + 38000); /* the next one */
    assert_int_equal(intake_due_ms(now + 40000, 30000, now + 38000, &ahead), now + 40000); /* another worker's */
    assert_int_equal(intake_due_ms(now + minutes + 36000, 30000, now + 40000, &ahead), now + 39000);
    /* further ahead still */
    assert_int_equal(intake_due_ms(now + 2 * minutes, 30000, now + 40000, &ahead), now + 73000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rungs), cmocka_unit_test(due_by_a_clock_that_is_right),
                                       cmocka_unit_test(due_by_a_clock_that_is_ahead)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
