/* Presigned URLs: the plain one of the documentation, then hostile ones. */
#include "lib/presigned.h"

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h needs the four above */
#include <cmocka.h>

#define HOST "https://acme.s3-eu-west-1.amazonaws.com/drawing_7160.pdf?"
#define REST "&X-Amz-Date=20261123T085300Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=00ff"

static void plain(void **state)
{
    (void)state;
    struct presigned p;
    assert_int_equal(presigned_parse(HOST "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential="
                                          "AKIAIOSFODNN7EXAMPLE%2F20261123%2Feu-west-1%2Fs3%2Faws4_request" REST,
                                     &p),
                     0);
    assert_string_equal(p.key_id, "AKIAIOSFODNN7EXAMPLE");
    assert_string_equal(p.region, "eu-west-1");
    assert_int_equal(p.signed_ms, time_parse("2026-11-23T08:53:00Z"));
    assert_int_equal(p.expires_s, 86400);
    assert_true(p.may_fetch);
}

static void accepted(void **state)
{
    (void)state;
    static const char *const urls[] = {
        HOST "x-amz-credential=AKIAIOSFODNN7EXAMPLE/20261123/eu-west-1/s3/aws4_request", /* not encoded, lower case */
        HOST "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2f20261123",
        HOST "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/#fragment",
        "http://127.0.0.1:9000/bucket/a.pdf?a&b=&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1",
        "http://bucket.s3.eu-west-1.localhost:9000/a.pdf?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1",
        "http://[::1]:9000/bucket/a.pdf?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1",
        "http://[0::01]:9000/bucket/a.pdf?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1",
    };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct presigned p;
        assert_int_equal(presigned_parse(urls[i], &p), 0);
        assert_string_equal(p.key_id, "AKIAIOSFODNN7EXAMPLE");
        assert_true(p.may_fetch);
    }
}

static void not_fetched(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "http://169.254.169.254/latest?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1",
        "http://bucket.s3.amazonaws.com/a?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1",
        "http://127.0.0.1.example.net/a?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1",
        "http://127.00.0.1/a?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1", /* octal to some */
        "http://evillocalhost/a?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1",
        "http://localhost.example.net/a?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F1",
    };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct presigned p;
        assert_int_equal(presigned_parse(urls[i], &p), 0);
        assert_false(p.may_fetch);
    }
}

static void refused(void **state)
{
    (void)state;
    static const char *const urls[] = {
        "",
        "x",
        "https://",
        "https:///a",
        "ftp://host/?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/1",
        HOST,
        HOST "X-Amz-Credential=",
        HOST "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE", /* no slash */
        HOST "X-Amz-Credential=AKIA/1",
        HOST "X-Amz-Credential=akiaiosfodnn7example/1",
        HOST "X-Amz-Credential=AKIA-OSFODNN7EXAMPLE/1",
        HOST "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/1&X-Amz-Credential=AKIAIOSFODNN7EXAMPL2/1",
        HOST "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2",
        HOST "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%00/1",
        HOST "X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%zz/1",
        HOST "#X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/1",
        "https://user@host/?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/1",
        "https://127.0.0.1@evil/?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/1",
        "https://ho st/?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/1",
        "https://host\\@x/?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/1",
        "https://host:port/?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/1",
        "https://host/\r\nX: y?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/1",
        "https://[::1/?X-Amz-Credential=AKIAIOSFODNN7EXAMPLE/1",
    };
    for (size_t i = 0; i < ARRAY_LEN(urls); i++) {
        struct presigned p = {.key_id = "untouched"};
        if (presigned_parse(urls[i], &p) != ERR_SYNTAX) print_error("accepted: %s\n", urls[i]);
        assert_int_equal(presigned_parse(urls[i], &p), ERR_SYNTAX);
        assert_string_equal(p.key_id, "untouched");
    }
    char big[10000];
    memset(big, 'a', sizeof(big) - 1);
    big[sizeof(big) - 1] = '\0';
    memcpy(big, HOST, strlen(HOST));
    struct presigned p;
    assert_int_equal(presigned_parse(big, &p), ERR_SYNTAX);
}

static void odd_dates(void **state)
{
    (void)state;
    static const char *const tails[] = {"&X-Amz-Date=", "&X-Amz-Date=2026-11-23T08:53:00Z",
                                        "&X-Amz-Date=20261323T085300Z",
                                        "&X-Amz-Date=20261123T085300Z&X-Amz-Date=20261123T085300Z"};
    for (size_t i = 0; i < ARRAY_LEN(tails); i++) {
        char url[512];
        struct presigned p;
        (void)snprintf(url, sizeof(url), "%sX-Amz-Credential=AKIAIOSFODNN7EXAMPLE/1%s", HOST, tails[i]);
        assert_int_equal(presigned_parse(url, &p), 0);
        assert_true(p.signed_ms == TIME_NONE);
        assert_int_equal(p.expires_s, -1);
    }
}

static void key_ids(void **state)
{
    (void)state;
    char longest[130];
    memset(longest, 'A', 129);
    longest[129] = '\0';
    assert_false(presigned_key_id_shown(longest));
    longest[128] = '\0';
    assert_true(presigned_key_id_shown(longest));
    assert_true(presigned_key_id_shown("AKIA_0123456789X"));
    assert_false(presigned_key_id_shown("AKIA0123456789X"));
    assert_false(presigned_key_id_shown("wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY12"));
    assert_false(presigned_key_id_shown("****************"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),   cmocka_unit_test(accepted),  cmocka_unit_test(not_fetched),
        cmocka_unit_test(refused), cmocka_unit_test(odd_dates), cmocka_unit_test(key_ids),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
