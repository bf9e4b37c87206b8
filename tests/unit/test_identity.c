/* Names, templates and job ids; addresses. */
#include "lib/err.h"
#include "schema/identity.h"
#include "lib/url.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static char *repeat(char c, size_t n)
{
    static char text[512];
    memset(text, c, n);
    text[n] = '\0';
    return text;
}

static void test_names(void **state)
{
    (void)state;
    assert_true(identity_licence_valid("L0-1_2+=,.@"));
    assert_true(identity_licence_valid(repeat('x', 47)));
    assert_false(identity_licence_valid(repeat('x', 48)));
    assert_false(identity_licence_valid(""));
    assert_false(identity_licence_valid(NULL));
    assert_false(identity_licence_valid("a b"));
    assert_false(identity_licence_valid("a\xe2\x80\x93"));
    assert_true(identity_user_valid(repeat('x', 64)));
    assert_false(identity_user_valid(repeat('x', 65)));
    assert_false(identity_user_valid(""));
    assert_true(identity_account_valid("012345678901"));
    assert_false(identity_account_valid("01234567890"));
    assert_false(identity_account_valid("0123456789012"));
    assert_false(identity_account_valid("01234567890a"));
    assert_true(identity_key_id_valid("AKIAIOSFODNN7EXAMPLE"));
    assert_false(identity_key_id_valid("AKIAIOSFODNN7EX"));
    assert_false(identity_key_id_valid("AKIAIOSFODNN7-EXAMPLE"));
    assert_true(identity_bucket_valid("a.b-c"));
    assert_false(identity_bucket_valid("a."));
    assert_false(identity_bucket_valid("-ab"));
    assert_false(identity_bucket_valid("aB1"));
    assert_false(identity_bucket_valid(NULL));
    assert_true(identity_region_valid("us-gov-west-1"));
    assert_false(identity_region_valid("eu/west"));
}

static void test_templates(void **state)
{
    (void)state;
    const char *why;
    assert_int_equal(identity_template_check(IDENTITY_TEMPLATE, &why), 0);
    assert_int_equal(identity_template_check("{licence}", &why), 0);
    assert_int_equal(identity_template_check("a{licence}b", &why), 0);
    static const char *const bad[] = {"",
                                      "SynergistExpress-",
                                      "SynergistExpress \xe2\x80\x93{licence}",
                                      "Synergist Express-{licence}",
                                      "{licence}{licence}",
                                      "x{licence}{",
                                      "{Licence}",
                                      "EighteenCharacters{licence}",
                                      "a/{licence}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        why = NULL;
        assert_int_equal(identity_template_check(bad[i], &why), ERR_INVALID);
        assert_non_null(why);
    }
    assert_int_equal(identity_template_check(NULL, &why), ERR_INVALID);
    char user[AWS_USER_MAX];
    assert_int_equal(identity_user(IDENTITY_TEMPLATE, "L1", user), 0);
    assert_string_equal(user, "SynergistExpress-L1");
    assert_int_equal(identity_user(IDENTITY_TEMPLATE, repeat('x', 47), user), 0);
    assert_int_equal(strlen(user), 64);
    assert_int_equal(identity_user(IDENTITY_TEMPLATE, "", user), ERR_INVALID);
    assert_int_equal(identity_user("no placeholder", "L1", user), ERR_INVALID);
}

static void test_keys_and_case(void **state)
{
    (void)state;
    char key[IDENTITY_KEY_MAX], out[4];
    assert_int_equal(identity_key("123456789012", "SynergistExpress-Ab", key), 0);
    assert_string_equal(key, "123456789012/synergistexpress-ab");
    assert_int_equal(identity_key("123456789012", repeat('X', 64), key), 0);
    assert_int_equal(strlen(key), IDENTITY_KEY_MAX - 1);
    assert_int_equal(identity_key("12345678901", "a", key), ERR_INVALID);
    assert_int_equal(identity_key("123456789012", "", key), ERR_INVALID);
    assert_true(identity_same("aBc", "AbC"));
    assert_true(identity_same("", ""));
    assert_false(identity_same("a", "ab"));
    assert_false(identity_same("[", "{")); /* letters only */
    assert_int_equal(identity_lower("ABCDEF", out, sizeof out), 3);
    assert_string_equal(out, "abc");
}

static void test_job_ids(void **state)
{
    (void)state;
    char a[IDENTITY_JOB_ID_MAX], b[IDENTITY_JOB_ID_MAX];
    /* printf 'rotate\n123456789012\nsynergistexpress-l1\nAKIAIOSFODNN7EXAMPLE\n7' | sha256sum */
    assert_int_equal(identity_job_id("rotate", "123456789012", "SynergistExpress-L1", "AKIAIOSFODNN7EXAMPLE", 7, a), 0);
    assert_string_equal(a, "63939e6346dda50eb19ca5593936d337");
    assert_int_equal(identity_job_id("rotate", "123456789012", "SYNERGISTEXPRESS-L1", "AKIAIOSFODNN7EXAMPLE", 7, b), 0);
    assert_string_equal(a, b);
    assert_int_equal(identity_job_id("retire", "123456789012", "SynergistExpress-L1", "AKIAIOSFODNN7EXAMPLE", 7, b), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(identity_job_id("rotate", "123456789012", "SynergistExpress-L1", "AKIAIOSFODNN7EXAMPLE", 8, b), 0);
    assert_string_not_equal(a, b);
    assert_int_equal(identity_job_id("rotate", "123456789012", "SynergistExpress-L1", NULL, 7, a), 0);
    assert_int_equal(identity_job_id("rotate", "123456789012", "SynergistExpress-L1", "", 7, b), 0);
    assert_string_equal(a, b);
}

static void test_urls(void **state)
{
    (void)state;
    char host[URL_HOST_MAX];
    assert_true(url_host("https://A.Example:8443/x?y#z", host));
    assert_string_equal(host, "a.example");
    assert_true(url_host("http://[::1]:80", host));
    assert_string_equal(host, "::1");
    static const char *const bad[] = {"",
                                      "http://",
                                      "http:///x",
                                      "ftp://a/",
                                      "a.example",
                                      "http://u@a/",
                                      "http://u:p@a/",
                                      "http://a b/",
                                      "http://a\\b/",
                                      "http://a:port/",
                                      "http://a:123456/",
                                      "http://[::1",
                                      "http://[::1]x/",
                                      "http://a%2fb/",
                                      "http://a\n/",
                                      "http://\xc3\xa9/",
                                      "HTTP://a/"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (url_valid(bad[i])) fail_msg("accepted: %s", bad[i]);
    assert_false(url_valid(NULL));
}

static void test_loopback(void **state)
{
    (void)state;
    static const char *const near[] = {"http://127.0.0.1/",    "http://127.255.0.3:9000",
                                       "https://[::1]:1/",     "http://localhost",
                                       "http://LOCALHOST:80/", "http://bucket.s3.localhost:4566/x"};
    static const char *const far[] = {"http://128.0.0.1/",
                                      "http://127.0.0.1.example/",
                                      "http://localhost.example/",
                                      "http://xlocalhost/",
                                      "http://127.1/",
                                      "http://2130706433/",
                                      "http://0x7f.0.0.1/",
                                      "http://[::ffff:127.0.0.1]/",
                                      "http://127.0.0.1@evil.example/",
                                      "http://evil.example\\@127.0.0.1/",
                                      "http://0.0.0.0/",
                                      "http://localhost./",
                                      "http://evil.example/127.0.0.1",
                                      "https://evil.example#localhost",
                                      ""};
    for (size_t i = 0; i < ARRAY_LEN(near); i++)
        if (!url_is_loopback(near[i])) fail_msg("not loopback: %s", near[i]);
    for (size_t i = 0; i < ARRAY_LEN(far); i++)
        if (url_is_loopback(far[i])) fail_msg("loopback: %s", far[i]);
    assert_true(url_host_is_loopback("127.0.0.1:9092"));
    assert_true(url_host_is_loopback("[::1]"));
    assert_false(url_host_is_loopback("kafka.example:9092"));
    assert_false(url_host_is_loopback("kafka.example/localhost"));
    assert_false(url_host_is_loopback(repeat('x', 400)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),   cmocka_unit_test(test_templates), cmocka_unit_test(test_keys_and_case),
        cmocka_unit_test(test_job_ids), cmocka_unit_test(test_urls),      cmocka_unit_test(test_loopback),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
