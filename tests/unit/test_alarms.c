/* What makes the scheduler look at once: which events are alarms, and which breakers count as open. */
#include "producer/alarms.h"
#include "producer/circuits.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define NOW 1800000000000LL

static void events(void **state)
{
    struct event e = {.type = EVENT_RECOVERED};
    (void)state;
    assert_true(alarms_is_one(&e));
    e.type = EVENT_AUDITED;
    assert_false(alarms_is_one(&e)); /* all is well */
    snprintf(e.error_code, sizeof e.error_code, "INSTANCE_TEST");
    assert_true(alarms_is_one(&e));
    e = (struct event){.type = EVENT_AUDITED, .reason = "the instance uses AKIA, which is Inactive in AWS"};
    assert_true(alarms_is_one(&e));
    e.type = EVENT_RETRY; /* tried again by itself */
    assert_false(alarms_is_one(&e));
}

static void breakers(void **state)
{
    (void)state;
    assert_true(circuits_open_now("{\"state\":\"open\",\"at_ms\":1799999999000}", NOW));
    assert_true(circuits_open_now("{\"state\":\"open\",\"at_ms\":1800000001000}", NOW)); /* another clock */
    assert_false(circuits_open_now("{\"state\":\"open\",\"at_ms\":1799999000000}", NOW));
    assert_true(circuits_open_now("{\"state\":\"open\"}", NOW));
    assert_true(circuits_open_now("not JSON", NOW));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(events), cmocka_unit_test(breakers)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
