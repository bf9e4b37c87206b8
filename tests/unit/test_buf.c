/* The byte buffer: growth, the cap, the sticky error, encodings. */
#include "lib/buf.h"

#include "lib/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static void grows_and_terminates(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 100000);
    assert_string_equal(buf_str(&b), "");
    for (int i = 0; i < 10000; i++) assert_int_equal(buf_addc(&b, 'x'), 0);
    assert_int_equal(b.len, 10000);
    assert_int_equal(strlen(b.data), 10000);
    buf_reset(&b);
    assert_string_equal(buf_str(&b), "");
    assert_int_equal(buf_addf(&b, "%s-%d", "a", 7), 0);
    assert_int_equal(buf_adds(&b, "!"), 0);
    assert_string_equal(b.data, "a-7!");
    assert_int_equal(buf_add(&b, "\0z", 2), 0);
    assert_int_equal(b.len, 6);
}

static void the_cap_holds_and_sticks(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 5);
    assert_int_equal(buf_adds(&b, "12345"), 0);
    assert_int_equal(buf_addc(&b, '6'), ERR_TOO_LARGE);
    assert_int_equal(buf_add(&b, "", 0), ERR_TOO_LARGE); /* sticky */
    assert_string_equal(b.data, "12345");
    assert_true(b.cap <= 6);
    buf_reset(&b);
    assert_int_equal(buf_addf(&b, "%s", "123456"), ERR_TOO_LARGE);
    buf_reset(&b);
    assert_int_equal(buf_add_percent(&b, "//", 2), ERR_TOO_LARGE);
    assert_int_equal(b.len, 0);
    buf_reset(&b);
    assert_int_equal(buf_add_base64(&b, "1234", 4), ERR_TOO_LARGE);
    buf_reset(&b);
    assert_int_equal(buf_add_hex(&b, "123", 3), ERR_TOO_LARGE);
    buf_reset(&b);
    assert_int_equal(buf_add(&b, "x", SIZE_MAX), ERR_TOO_LARGE);
}

static void encodings(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 1000);
    assert_int_equal(buf_add_percent(&b, "aZ09-_.~ /+=\xc3\xa9", 14), 0);
    assert_string_equal(b.data, "aZ09-_.~%20%2F%2B%3D%C3%A9");
    buf_reset(&b);
    assert_int_equal(buf_add_hex(&b, "\x00\xff\x1a", 3), 0);
    assert_string_equal(b.data, "00ff1a");
}

static void base64_of_rfc4648(void **state)
{
    (void)state;
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xff\xef\xfe", "/+/+"}};
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        AUTO_BUF struct buf b;
        char out[16] = "";
        buf_init(&b, 100);
        assert_int_equal(buf_add_base64(&b, pairs[i][0], strlen(pairs[i][0])), 0);
        assert_string_equal(buf_str(&b), pairs[i][1]);
        assert_int_equal(base64_decode(pairs[i][1], strlen(pairs[i][1]), out, sizeof(out)), strlen(pairs[i][0]));
        assert_memory_equal(out, pairs[i][0], strlen(pairs[i][0]));
    }
    static const char *const bad[] = {
        "Z", "Zg", "Zg=", "Z===", "====", "Zm9v=", "Zg==Zg==", "Zh==", "Zm9=", "Zm 9", "Zm9-", "Z=9v"};
    char out[16];
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (base64_decode(bad[i], strlen(bad[i]), out, sizeof(out)) != ERR_SYNTAX) fail_msg("%s", bad[i]);
    assert_int_equal(base64_decode("Zm9vYmFy", 8, out, 5), ERR_TOO_LARGE);
}

static void taken_contents(void **state)
{
    (void)state;
    struct buf b;
    buf_init(&b, 10);
    AUTO_FREE char *empty = buf_take(&b);
    assert_string_equal(empty, "");
    assert_int_equal(buf_adds(&b, "abc"), 0);
    AUTO_FREE char *abc = buf_take(&b);
    assert_string_equal(abc, "abc");
    assert_string_equal(buf_str(&b), "");
    buf_done(&b);
}

static void a_secret_buffer_forgets(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init_secret(&b, 1000);
    assert_int_equal(buf_reserve(&b, 500), 0);
    const char *before = b.data;
    assert_int_equal(buf_adds(&b, "a secret"), 0);
    assert_ptr_equal(before, b.data); /* reserved: did not move */
    buf_reset(&b);
    for (size_t i = 0; i < b.cap; i++) assert_int_equal(b.data[i], 0);
    assert_int_equal(buf_reserve(&b, 1001), ERR_TOO_LARGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(grows_and_terminates),
        cmocka_unit_test(the_cap_holds_and_sticks),
        cmocka_unit_test(encodings),
        cmocka_unit_test(base64_of_rfc4648),
        cmocka_unit_test(taken_contents),
        cmocka_unit_test(a_secret_buffer_forgets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
