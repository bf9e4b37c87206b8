/* The calendar on the system's tz database: windows, the nightly copy, blackouts and leads, on ordinary days and on
 * those on which the clocks change. */
#include "lib/clock.h"
#include "producer/calendar.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define MINUTE 60000LL
#define HOUR   (60 * MINUTE)
#define DAY    (24 * HOUR)

static struct policy_rules rules;

static struct zone *zone_of(const char *name)
{
    static char bytes[ZONE_FILE_MAX];
    char path[200];
    struct zone *z = NULL;
    snprintf(path, sizeof path, "/usr/share/zoneinfo/%s", name);
    FILE *file = fopen(path, "r");
    if (!file) fail_msg("%s is not there: install tzdata", path);
    size_t n = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    assert_int_equal(zone_parse(bytes, n, &z), 0);
    return z;
}

static int64_t at(const char *text)
{
    int64_t ms = time_parse(text);
    assert_true(ms != TIME_NONE);
    return ms;
}

/* Any time but what the test adds. */
static void plain(void)
{
    policy_rules_init(&rules, 80 * DAY, 10 * DAY);
    rules.has_nightly_copy = false;
    rules.lead_ms = 0;
}

static void window(unsigned days, int from_min, int to_min)
{
    rules.windows[rules.n_windows++] = (struct policy_span){days, from_min, to_min};
}

static void expect_next(const struct zone *z, enum calendar_work work, const char *from, const char *then)
{
    char text[TIME_TEXT_MAX];
    int64_t next = calendar_next(&rules, z, work, at(from));
    if (next == TIME_NONE) fail_msg("after %s: never", from);
    time_format(next, text);
    if (next != at(then)) fail_msg("after %s: %s, not %s", from, text, then);
}

static void any_time_without_rules(void **state)
{
    (void)state;
    plain();
    for (int work = 0; work < CALENDAR_WORKS; work++)
        expect_next(NULL, (enum calendar_work)work, "2026-11-25T13:45:10Z", "2026-11-25T13:45:10Z");
}

static void never_in_the_nightly_copy(void **state)
{
    (void)state;
    AUTO_ZONE struct zone *london = zone_of("Europe/London");
    AUTO_ZONE struct zone *sydney = zone_of("Australia/Sydney");
    policy_rules_init(&rules, 80 * DAY, 10 * DAY);
    expect_next(london, CALENDAR_ROTATE, "2026-11-25T19:49:59Z", "2026-11-25T19:49:59Z");
    expect_next(london, CALENDAR_ROTATE, "2026-11-25T19:50:00Z", "2026-11-25T22:30:00Z"); /* ten minutes before */
    expect_next(london, CALENDAR_ROTATE, "2026-11-25T22:29:59.999Z", "2026-11-25T22:30:00Z");
    expect_next(london, CALENDAR_ROTATE, "2026-07-01T19:10:00Z", "2026-07-01T21:30:00Z"); /* summer time */
    expect_next(sydney, CALENDAR_RETIRE, "2026-11-25T10:00:00Z", "2026-11-25T11:30:00Z");
    expect_next(london, CALENDAR_REAP, "2026-11-25T20:30:00Z", "2026-11-25T20:30:00Z");
    const char *why = NULL;
    assert_int_equal(calendar_look(&rules, london, CALENDAR_ROTATE, at("2026-11-25T20:00:00Z"), &why),
                     CALENDAR_NIGHTLY_COPY);
    assert_non_null(why);
    assert_int_equal(calendar_look(&rules, london, CALENDAR_ROTATE, at("2026-11-25T19:55:00Z"), &why), CALENDAR_LEAD);
}

/* Whatever the zone and the minute of two years: nothing is begun in the copy or in the lead before it, and what
 * calendar_next() tells is open while all before is not. */
static void never_in_the_nightly_copy_in_any_minute(void **state)
{
    (void)state;
    static const char *const names[] = {"Europe/London",     "America/New_York", "Australia/Lord_Howe",
                                        "America/St_Johns",  "Asia/Kathmandu",   "Pacific/Apia",
                                        "Africa/Casablanca", "America/Sao_Paulo"};
    policy_rules_init(&rules, 80 * DAY, 10 * DAY);
    for (size_t k = 0; k < ARRAY_LEN(names); k++) {
        AUTO_ZONE struct zone *z = zone_of(names[k]);
        int64_t open_until = 0;
        for (int64_t t = at("2026-01-01T00:00:00Z"); t < at("2028-01-01T00:00:00Z"); t += MINUTE) {
            bool open = calendar_look(&rules, z, CALENDAR_ROTATE, t, NULL) == CALENDAR_OPEN;
            int64_t next = t < open_until ? open_until : calendar_next(&rules, z, CALENDAR_ROTATE, t);
            for (int64_t ahead = 0; open && ahead <= 10 * MINUTE; ahead += 5 * MINUTE) {
                int64_t local = t + ahead + zone_offset_s(z, t + ahead) * 1000LL, minute = local % DAY / MINUTE;
                if (minute >= 20 * 60 && minute < 22 * 60 + 30) fail_msg("%s at %lld", names[k], (long long)t);
            }
            if (open != (next == t)) fail_msg("%s at %lld: next %lld", names[k], (long long)t, (long long)next);
            open_until = open ? 0 : next;
        }
    }
}

static void clocks_that_go_forward(void **state)
{
    (void)state;
    AUTO_ZONE struct zone *london = zone_of("Europe/London"); /* 29 March 2026, 01:00 becomes 02:00 */
    plain();
    window(POLICY_DAYS_ALL, 60, 120); /* 01:00 to 02:00 */
    expect_next(london, CALENDAR_ROTATE, "2026-03-28T00:30:00Z", "2026-03-28T01:00:00Z");
    expect_next(london, CALENDAR_ROTATE, "2026-03-28T02:00:00Z",
                "2026-03-30T00:00:00Z"); /* the 29th has no such hour */
    plain();
    window(POLICY_DAYS_ALL, 90, 150); /* 01:30 to 02:30: its first half is left out */
    expect_next(london, CALENDAR_ROTATE, "2026-03-29T00:00:00Z", "2026-03-29T01:00:00Z");
    expect_next(london, CALENDAR_ROTATE, "2026-03-29T01:30:00Z", "2026-03-30T00:30:00Z");
}

static void clocks_that_go_back(void **state)
{
    (void)state;
    AUTO_ZONE struct zone *london = zone_of("Europe/London"); /* 25 October 2026, 02:00 becomes 01:00 */
    plain();
    window(POLICY_DAYS_ALL, 75, 105); /* 01:15 to 01:45 comes twice */
    expect_next(london, CALENDAR_ROTATE, "2026-10-25T00:00:00Z", "2026-10-25T00:15:00Z");
    expect_next(london, CALENDAR_ROTATE, "2026-10-25T00:45:00Z", "2026-10-25T01:15:00Z");
    expect_next(london, CALENDAR_ROTATE, "2026-10-25T01:45:00Z", "2026-10-26T01:15:00Z");
}

static void days_of_the_week_and_midnight(void **state)
{
    (void)state;
    AUTO_ZONE struct zone *tokyo = zone_of("Asia/Tokyo");
    plain();
    window(1u << 5, 23 * 60, 3 * 60); /* Saturday 23:00 to Sunday 03:00 */
    expect_next(tokyo, CALENDAR_ROTATE, "2026-11-25T00:00:00Z", "2026-11-28T14:00:00Z");
    expect_next(tokyo, CALENDAR_ROTATE, "2026-11-28T17:59:59Z", "2026-11-28T17:59:59Z");
    expect_next(tokyo, CALENDAR_ROTATE, "2026-11-28T18:00:00Z", "2026-12-05T14:00:00Z");
    assert_int_equal(calendar_next(&rules, tokyo, CALENDAR_RETIRE, at("2026-11-25T00:00:00Z")),
                     at("2026-11-25T00:00:00Z")); /* windows are for rotations */
    plain();
    window(1u << 0, 0, 1440);
    expect_next(NULL, CALENDAR_ROTATE, "2026-11-24T00:00:00Z", "2026-11-30T00:00:00Z");
    expect_next(NULL, CALENDAR_ROTATE, "2026-11-30T23:59:00Z", "2026-11-30T23:59:00Z");
}

static void blackouts(void **state)
{
    (void)state;
    AUTO_ZONE struct zone *auckland = zone_of("Pacific/Auckland");
    plain();
    assert_true(policy_date_parse("2026-12-20", &rules.blackouts[0].first_day));
    assert_true(policy_date_parse("2027-01-03", &rules.blackouts[0].last_day));
    snprintf(rules.blackouts[0].reason, sizeof rules.blackouts[0].reason, "stocktaking");
    rules.n_blackouts = 1;
    const char *why = NULL;
    assert_int_equal(calendar_look(&rules, auckland, CALENDAR_REAP, at("2026-12-19T12:00:00Z"), &why),
                     CALENDAR_BLACKOUT); /* the 20th there */
    assert_string_equal(why, "stocktaking");
    for (int work = 0; work < CALENDAR_WORKS; work++) {
        expect_next(auckland, (enum calendar_work)work, "2026-12-19T10:59:59Z", "2026-12-19T10:59:59Z");
        expect_next(auckland, (enum calendar_work)work, "2026-12-19T11:00:00Z", "2027-01-03T11:00:00Z");
    }
    rules.lead_ms = 30 * MINUTE;
    expect_next(auckland, CALENDAR_ROTATE, "2026-12-19T10:31:00Z", "2027-01-03T11:00:00Z");
}

static void windows_that_never_open(void **state)
{
    (void)state;
    plain();
    window(POLICY_DAYS_ALL, 20 * 60, 22 * 60);
    rules.has_nightly_copy = true;
    assert_true(calendar_next(&rules, NULL, CALENDAR_ROTATE, at("2026-11-25T00:00:00Z")) == TIME_NONE);
}

static void gates_remember(void **state)
{
    (void)state;
    AUTO_ZONE struct zone *z = zone_of("America/New_York");
    policy_rules_init(&rules, 80 * DAY, 10 * DAY);
    window(0x60, 8 * 60, 12 * 60);
    struct calendar_gate g = {.rules = &rules, .zone = z};
    for (int64_t t = at("2026-10-25T00:00:00Z"); t < at("2026-11-25T00:00:00Z"); t += 7 * MINUTE)
        for (int work = 0; work < CALENDAR_WORKS; work++) {
            const char *why = NULL;
            int64_t next = calendar_gate_next(&g, (enum calendar_work)work, t, &why);
            assert_int_equal(next, calendar_next(&rules, z, (enum calendar_work)work, t));
            assert_true((why == NULL) == (next == t));
        }
    const char *why = NULL; /* and back in time */
    assert_int_equal(calendar_gate_next(&g, CALENDAR_ROTATE, at("2026-10-25T00:00:00Z"), &why),
                     calendar_next(&rules, z, CALENDAR_ROTATE, at("2026-10-25T00:00:00Z")));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_time_without_rules),
        cmocka_unit_test(never_in_the_nightly_copy),
        cmocka_unit_test(never_in_the_nightly_copy_in_any_minute),
        cmocka_unit_test(clocks_that_go_forward),
        cmocka_unit_test(clocks_that_go_back),
        cmocka_unit_test(days_of_the_week_and_midnight),
        cmocka_unit_test(blackouts),
        cmocka_unit_test(windows_that_never_open),
        cmocka_unit_test(gates_remember),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
