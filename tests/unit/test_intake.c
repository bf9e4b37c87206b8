/* Which retry topic a job goes to. */
#include "worker/intake.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

static void rungs(void **state)
{
    static const int64_t delays[] = {30000, 300000, 3600000};
    (void)state;
    assert_int_equal(intake_rung(delays, 3, 0), 0);
    assert_int_equal(intake_rung(delays, 3, 30000), 0);
    assert_int_equal(intake_rung(delays, 3, 30001), 1);
    assert_int_equal(intake_rung(delays, 3, 299990), 1); /* a little of the five minutes went by meanwhile */
    assert_int_equal(intake_rung(delays, 3, 300000), 1);
    assert_int_equal(intake_rung(delays, 3, 7200000), 2); /* longer waits are held by the record */
    assert_int_equal(intake_rung(delays, 1, 7200000), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rungs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
