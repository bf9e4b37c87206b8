/* Copying text and numbers into arrays. */
#include "lib/text.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

static void numbers_are_written_as_printf_writes_them(void **state)
{
    (void)state;
    static const int64_t numbers[] = {0, 1, -1, 9, 10, -10, 1764129600000, INT64_MAX, INT64_MIN, INT64_MIN + 1};
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        char mine[TEXT_INT_MAX], other[TEXT_INT_MAX];
        const int n = snprintf(other, sizeof(other), "%" PRId64, numbers[i]);
        assert_int_equal(text_int(mine, numbers[i]), n);
        assert_string_equal(mine, other);
    }
}

static void text_is_cut_to_its_array(void **state)
{
    (void)state;
    char out[4];
    text_copy(out, sizeof(out), "ab");
    assert_string_equal(out, "ab");
    text_copy(out, sizeof(out), "abcd");
    assert_string_equal(out, "abc");
    text_copy(out, 1, "abcd");
    assert_string_equal(out, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(numbers_are_written_as_printf_writes_them),
                                       cmocka_unit_test(text_is_cut_to_its_array)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
