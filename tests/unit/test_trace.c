/* Trace context: form of the standard, children stay in their trace, what is not in form begins a new one. */
#include "lib/trace.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

/* The standard's own example (section 3.2). */
#define EXAMPLE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void zeros(void *self, void *out, size_t n)
{
    (void)self;
    memset(out, 0, n);
}

static void has_the_form(const char *p)
{
    assert_int_equal(strlen(p), 55);
    assert_int_equal(strncmp(p, "00-", 3), 0);
    assert_int_equal(strspn(p + 3, "0123456789abcdef"), 32);
    assert_int_equal(p[35], '-');
    assert_int_equal(strspn(p + 36, "0123456789abcdef"), 16);
    assert_string_equal(p + 52, "-01");
}

static void a_new_trace_has_the_form(void **state)
{
    (void)state;
    char one[TRACE_PARENT_MAX], two[TRACE_PARENT_MAX];
    trace_make(&rng_system, one);
    trace_make(&rng_system, two);
    has_the_form(one);
    has_the_form(two);
    assert_string_not_equal(one, two);
}

static void ids_are_never_all_zero(void **state)
{
    (void)state;
    const struct rng broken = {NULL, zeros};
    char one[TRACE_PARENT_MAX];
    trace_make(&broken, one);
    assert_string_equal(one, "00-00000000000000000000000000000001-0000000000000001-01");
}

static void a_child_stays_in_the_trace(void **state)
{
    (void)state;
    char child[TRACE_PARENT_MAX], id[TRACE_ID_MAX];
    trace_child(&rng_system, EXAMPLE, child);
    has_the_form(child);
    assert_int_equal(memcmp(child, EXAMPLE, 36), 0);
    assert_int_not_equal(memcmp(child + 36, &EXAMPLE[36], 16), 0);
    trace_id(child, id);
    assert_string_equal(id, "4bf92f3577b34da6a3ce929d0e0e4736");
}

static void what_is_not_in_form_begins_a_trace(void **state)
{
    (void)state;
    static const char *const bad[] = {NULL,
                                      "",
                                      "00-",
                                      "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
                                      "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
                                      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
                                      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-\n1",
                                      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-\r\n",
                                      "00-4bf92f3577b34da6a3ce929d0e0e4736 00f067aa0ba902b7-01"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char child[TRACE_PARENT_MAX], id[TRACE_ID_MAX], header[TRACE_HEADER_MAX];
        trace_child(&rng_system, bad[i], child);
        has_the_form(child);
        trace_id(bad[i], id);
        assert_string_equal(id, "");
        assert_false(trace_header(bad[i], header));
        assert_string_equal(header, "");
    }
}

static void the_header_is_a_line(void **state)
{
    (void)state;
    char header[TRACE_HEADER_MAX];
    assert_true(trace_header(EXAMPLE, header));
    assert_string_equal(header, "traceparent: " EXAMPLE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_trace_has_the_form),   cmocka_unit_test(ids_are_never_all_zero),
        cmocka_unit_test(a_child_stays_in_the_trace), cmocka_unit_test(what_is_not_in_form_begins_a_trace),
        cmocka_unit_test(the_header_is_a_line),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
