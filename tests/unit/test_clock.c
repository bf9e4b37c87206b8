/* Times as text and back, random numbers, backoff. */
#include "lib/clock.h"

#include "lib/cleanup.h"

#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

static void formats(void **state)
{
    (void)state;
    char out[TIME_TEXT_MAX];
    time_format(INT64_C(1795423980123), out);
    assert_string_equal(out, "2026-11-23T08:53:00.123Z");
    time_format(0, out);
    assert_string_equal(out, "1970-01-01T00:00:00.000Z");
    time_format(-1, out);
    assert_string_equal(out, "1969-12-31T23:59:59.999Z");
    time_format(TIME_NONE, out);
    assert_string_equal(out, "0000-00-00T00:00:00.000Z");
    time_format(INT64_MAX, out);
    assert_string_equal(out, "0000-00-00T00:00:00.000Z");
}

static void there_and_back(void **state)
{
    (void)state;
    char out[TIME_TEXT_MAX];
    for (int64_t day = -719162; day < 2932896; day += 97) { /* years 1 to 9999 */
        int64_t ms = day * 86400000 + (day & 0xffff) * 1000 + 7;
        time_format(ms, out);
        if (time_parse(out) != ms) fail_msg("%s", out);
    }
}

static void parses(void **state)
{
    (void)state;
    int64_t t = INT64_C(1795423980000);
    assert_int_equal(time_parse("2026-11-23T08:53:00Z"), t);
    assert_int_equal(time_parse("2026-11-23t08:53:00z"), t);
    assert_int_equal(time_parse("2026-11-23T08:53:00+00:00"), t);
    assert_int_equal(time_parse("2026-11-23T08:53:00+0000"), t);
    assert_int_equal(time_parse("2026-11-23T10:53:00+02:00"), t);
    assert_int_equal(time_parse("2026-11-23T05:23:00-03:30"), t);
    assert_int_equal(time_parse("2026-11-23T08:53:00.5Z"), t + 500);
    assert_int_equal(time_parse("2026-11-23T08:53:00.123456789Z"), t + 123);
    assert_int_equal(time_parse("2026-11-23T08:52:60Z"), t); /* a leap second is read as the next one */
    assert_int_equal(time_parse("2024-02-29T00:00:00Z") + 86400000, time_parse("2024-03-01T00:00:00Z"));
    static const char *const bad[] = {"",
                                      "x",
                                      "2026-11-23",
                                      "2026-11-23T08:53:00",
                                      "2026-11-23T08:53Z",
                                      "2026-13-01T00:00:00Z",
                                      "2026-00-01T00:00:00Z",
                                      "2026-02-29T00:00:00Z",
                                      "2026-11-31T00:00:00Z",
                                      "2026-11-23T24:00:00Z",
                                      "2026-11-23T08:60:00Z",
                                      "2026-11-23T08:53:61Z",
                                      "2026-11-23T08:53:00.Z",
                                      "2026-11-23T08:53:00Zx",
                                      "2026-11-23T08:53:00+24:00",
                                      "2026-11-23T08:53:00+2",
                                      "0000-01-01T00:00:00Z",
                                      "no_information",
                                      "N/A"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (time_parse(bad[i]) != TIME_NONE) fail_msg("%s", bad[i]);
    assert_int_equal(time_parse(NULL), TIME_NONE);
}

static void http_dates(void **state)
{
    (void)state;
    assert_int_equal(time_parse_http("Mon, 23 Nov 2026 08:53:00 GMT"), INT64_C(1795423980000));
    assert_int_equal(time_parse_http("Sun, 06 Nov 1994 08:49:37 GMT"),
                     INT64_C(784111777000)); /* RFC 9110's own example */
    static const char *const bad[] = {"",
                                      "Sunday, 06-Nov-94 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:49:37 UTC",
                                      "Sun, 06 Xxx 1994 08:49:37 GMT",
                                      "Sun, 31 Feb 1994 08:49:37 GMT",
                                      "Sun, 06 Nov 1994 08:49:37 GMT "};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (time_parse_http(bad[i]) != TIME_NONE) fail_msg("%s", bad[i]);
    assert_int_equal(time_parse_http(NULL), TIME_NONE);
}

static void random_numbers(void **state)
{
    (void)state;
    unsigned seen[7] = {0};
    for (int i = 0; i < 7000; i++) seen[rng_below(&rng_system, 7)]++;
    for (int i = 0; i < 7; i++) assert_in_range(seen[i], 700, 1300);
    assert_int_equal(rng_below(&rng_system, 1), 0);
    char a[33], b[33];
    rng_hex(&rng_system, 16, a);
    rng_hex(&rng_system, 16, b);
    assert_int_equal(strlen(a), 32);
    assert_int_equal(strspn(a, "0123456789abcdef"), 32);
    assert_string_not_equal(a, b);
}

static void fill_with(void *self, void *out, size_t len)
{
    memset(out, *(unsigned char *)self, len);
}

static void backoff(void **state)
{
    (void)state;
    unsigned char byte = 0;
    struct rng lowest = {&byte, fill_with};
    assert_int_equal(backoff_ms(&lowest, 0, 100, 10000), 50);
    assert_int_equal(backoff_ms(&lowest, 3, 100, 10000), 400);
    assert_int_equal(backoff_ms(&lowest, 60, 100, 10000), 5000);
    assert_int_equal(backoff_ms(&lowest, UINT32_MAX, INT64_MAX / 2, INT64_MAX), INT64_MAX / 2);
    assert_int_equal(backoff_ms(&lowest, 0, 1, 1), 0);
    for (int i = 0; i < 1000; i++) assert_in_range(backoff_ms(&rng_system, 2, 100, 10000), 200, 400);
}

static void system_clocks(void **state)
{
    (void)state;
    int64_t mono = clock_mono_ms(&clock_system);
    assert_true(clock_mono_ms(&clock_system) >= mono);
    assert_true(clock_wall_ms(&clock_system) / 1000 - (int64_t)time(NULL) <= 1);
}

/* In a time namespace whose time since boot is an hour ahead, as after a suspend of an hour. */
static int an_hour_asleep(void)
{
    const int64_t before = clock_mono_ms(&clock_system);
    FILE *f = unshare(CLONE_NEWTIME) == 0 ? fopen("/proc/self/timens_offsets", "w") : NULL;
    if (!f) return 2; /* not allowed here */
    int rc = fprintf(f, "boottime 3600 0\n") < 0;
    if (fclose(f) || rc) return 2;
    const pid_t child = fork(); /* it is in the namespace */
    if (child == 0) _exit(clock_mono_ms(&clock_system) - before >= 3600000 ? 0 : 1);
    return child > 0 && waitpid(child, &rc, 0) == child && WIFEXITED(rc) ? WEXITSTATUS(rc) : 2;
}

/* Leases end while the host sleeps: whoever wakes must not believe that it holds one still (I4). */
static void a_suspended_host_grows_older(void **state)
{
    (void)state;
    int rc;
    const pid_t child = fork();
    if (child == 0) _exit(an_hour_asleep());
    assert_int_equal(waitpid(child, &rc, 0), child);
    assert_true(WIFEXITED(rc));
    if (WEXITSTATUS(rc) == 2) skip();
    assert_int_equal(WEXITSTATUS(rc), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats),        cmocka_unit_test(there_and_back),
        cmocka_unit_test(parses),         cmocka_unit_test(http_dates),
        cmocka_unit_test(random_numbers), cmocka_unit_test(backoff),
        cmocka_unit_test(system_clocks),  cmocka_unit_test(a_suspended_host_grows_older),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
