/* Reply header fields: plain, repeated, hostile. */
#include "lib/http_head.h"

#include "lib/cleanup.h"

#include "lib/clock.h"
#include "lib/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static void feed(struct http_head *head, const char *line)
{
    assert_int_equal(http_head_line(head, line, strlen(line)), 0);
}

static void fields_are_found_whatever_their_case(void **state)
{
    (void)state;
    struct http_head h;
    http_head_init(&h);
    feed(&h, "HTTP/1.1 200 OK\r\n");
    feed(&h, "DATE: Sun, 06 Nov 1994 08:49:37 GMT\r\n");
    feed(&h, "content-type:text/xml \t\r\n");
    feed(&h, "X-Amz-Request-Id: abc\r\n");
    feed(&h, "x-amz-bucket-region: eu-west-1\r\n");
    feed(&h, "Location: https://a/b?c\r\n");
    assert_false(h.complete);
    feed(&h, "\r\n");
    assert_true(h.complete);
    assert_int_equal(h.date_ms, 784111777000LL);
    assert_string_equal(h.content_type, "text/xml");
    assert_string_equal(h.request_id, "abc");
    assert_string_equal(h.bucket_region, "eu-west-1");
    assert_string_equal(h.location, "https://a/b?c");
    assert_false(h.encoded);
    assert_int_equal(http_head_retry_after_ms(&h, 0), -1);
    feed(&h, "HTTP/1.1 200 OK\r\n"); /* a second reply starts afresh */
    assert_false(h.complete);
    assert_string_equal(h.request_id, "");
    assert_null(h.location);
    assert_int_equal(h.date_ms, TIME_NONE);
    http_head_done(&h);
}

static void status_lines(void **state)
{
    (void)state;
    static const char *const good[] = {"HTTP/1.1 200 OK\r\n", "HTTP/1.0 404\r\n", "HTTP/2 200 \r\n", "HTTP/1.1 503"};
    static const char *const bad[] = {
        "HTTP/200 OK\r\n",     "HTTP/1.1 20\r\n",   "HTTP/1.1 2000 OK\r\n", "HTTP/1.1\r\n",
        "HTTP/1.1 OK 200\r\n", "HTTP/x 200 OK\r\n", "HTTP/1. 200\r\n",      "HTTP/"};
    for (size_t i = 0; i < ARRAY_LEN(good) + ARRAY_LEN(bad); i++) {
        struct http_head h;
        bool is_good = i < ARRAY_LEN(good);
        http_head_init(&h);
        feed(&h, is_good ? good[i] : bad[i - ARRAY_LEN(good)]);
        assert_int_equal(h.bad_status, !is_good);
        feed(&h, "HTTP/1.1 200 OK\r\n");
        assert_false(h.bad_status);
        http_head_done(&h);
    }
}

static int64_t wait_of(const char *a, const char *b)
{
    struct http_head h;
    http_head_init(&h);
    feed(&h, a);
    feed(&h, b);
    int64_t ms = http_head_retry_after_ms(&h, 784111777000LL);
    http_head_done(&h);
    return ms;
}

static void waits_are_read_in_all_forms(void **state)
{
    (void)state;
    assert_int_equal(wait_of("Retry-After: 0", ""), 0);
    assert_int_equal(wait_of("Retry-After: 120", ""), 120000);
    assert_int_equal(wait_of("Retry-After: 99999999999999999999999999", ""), 24 * 3600 * 1000LL);
    assert_int_equal(wait_of("Retry-After: -1", ""), -1);
    assert_int_equal(wait_of("Retry-After: 1x", ""), -1);
    assert_int_equal(wait_of("Retry-After:", ""), -1);
    assert_int_equal(wait_of("x-amz-retry-after: 250", ""), 250);
    assert_int_equal(wait_of("x-amz-retry-after: 250", "Retry-After: 9"), 250);
    assert_int_equal(wait_of("Retry-After: 9", "x-amz-retry-after: 250"), 250);
    assert_int_equal(wait_of("Retry-After: Sun, 06 Nov 1994 08:49:47 GMT", ""), 10000);
    assert_int_equal(wait_of("Retry-After: Sun, 06 Nov 1994 08:49:00 GMT", ""), 0);
    assert_int_equal(wait_of("Retry-After: Sun, 06 Nov 1994 08:49:47 GMT", "Date: Sun, 06 Nov 1994 08:49:42 GMT"),
                     5000);
    assert_int_equal(wait_of("Retry-After: Fri, 31 Dec 9999 23:59:59 GMT", ""), 24 * 3600 * 1000LL);
}

static void encodings_are_noticed(void **state)
{
    (void)state;
    static const struct {
        const char *line;
        bool encoded;
    } cases[] = {{"Content-Encoding: gzip", true},
                 {"Content-Encoding: identity", false},
                 {"Content-Encoding:", false},
                 {"Content-Encoding: identity, br", true}};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct http_head h;
        http_head_init(&h);
        feed(&h, cases[i].line);
        assert_int_equal(h.encoded, cases[i].encoded);
        http_head_done(&h);
    }
}

static void hostile_lines_are_bounded(void **state)
{
    (void)state;
    struct http_head h;
    http_head_init(&h);
    char line[6000] = "x-amz-request-id: ";
    memset(line + 18, 'a', sizeof line - 19);
    feed(&h, line);
    assert_int_equal(strlen(h.request_id), sizeof h.request_id - 1);
    memcpy(line, "Location:         ", 18);
    feed(&h, line);
    assert_null(h.location);
    feed(&h, ":");
    feed(&h, " Date: x");
    feed(&h, "no colon");
    int rc = 0;
    for (int i = 0; i < 100 && rc == 0; i++) rc = http_head_line(&h, line, sizeof line - 1);
    assert_int_equal(rc, ERR_TOO_LARGE);
    http_head_done(&h);
}

static void local_hosts_are_told_from_others(void **state)
{
    (void)state;
    static const char *const local[] = {"localhost", "LOCALHOST", "a.b.localhost",  "127.0.0.1",
                                        "127.9.9.9", "::1",       "169.254.169.254"};
    static const char *const other[] = {
        "127.0.0.1.example", "localhost.example", "xlocalhost", "1.127.0.0", "12.7.0.1", "", ".localhost", "::2",
        "169.25.1.1",        "127.a.b.c"};
    for (size_t i = 0; i < sizeof local / sizeof local[0]; i++)
        assert_true(http_host_is_local(local[i], strlen(local[i])));
    for (size_t i = 0; i < sizeof other / sizeof other[0]; i++)
        assert_false(http_host_is_local(other[i], strlen(other[i])));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_are_found_whatever_their_case),
        cmocka_unit_test(status_lines),
        cmocka_unit_test(waits_are_read_in_all_forms),
        cmocka_unit_test(encodings_are_noticed),
        cmocka_unit_test(hostile_lines_are_bounded),
        cmocka_unit_test(local_hosts_are_told_from_others),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
