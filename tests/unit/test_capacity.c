/* Jobs at once, by memory. */
#include "worker/capacity.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)

static void without_a_limit(void **state)
{
    (void)state;
    assert_int_equal(capacity_in_flight(1000, 0), 1000);
    assert_int_equal(capacity_in_flight(100000, 0), 100000);
}

static void memory_decides(void **state)
{
    (void)state;
    assert_in_range(capacity_in_flight(100000, 128 * MIB), 2500,
                    3000); /* 2,000 ordinary ones beside the urgent share */
    assert_int_equal(capacity_in_flight(1000, 128 * MIB), 1000);
    assert_in_range(capacity_in_flight(100000, 512 * MIB), 19000, 25000);
    assert_int_equal(capacity_in_flight(100000, UINT64_MAX), 100000);
}

static void never_none(void **state)
{
    (void)state;
    assert_int_equal(capacity_in_flight(1000, 1), CAPACITY_LEAST);
    assert_int_equal(capacity_in_flight(1000, 64 * MIB), CAPACITY_LEAST);
    assert_int_equal(capacity_in_flight(5, 64 * MIB), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_a_limit),
        cmocka_unit_test(memory_decides),
        cmocka_unit_test(never_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
