/* Which retry topic a job goes to. */
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

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(rungs)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
