/* The forecast: days, the hourly limit, windows, what follows a rotation. */
#include "producer/forecast.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define HOUR 3600000LL
#define DAY  (24 * HOUR)
#define FROM 1795564800000LL /* 2026-11-25T00:00:00Z, a Wednesday */

static struct policy policy = {.max_age_ms = 80 * DAY};
static struct store_peek u;

static void well(int64_t age_ms)
{
    memset(&u, 0, sizeof u);
    u.lease_ms = -2;
    u.has_record = true;
    record_init(&u.record, "x", "123456789012", "SynergistExpress-x");
    struct record_key *k = record_add(&u.record, "AKIACURRENTKEY000001");
    k->role = KEY_CURRENT;
    k->status = AWS_KEY_ACTIVE;
    k->listed = true;
    k->created_ms = FROM - age_ms;
    record_settle(&u.record);
    u.record.audited_ms = u.record.updated_ms = FROM;
}

static struct forecast *start(unsigned days, int64_t per_hour)
{
    const struct forecast_options fo = {FROM, days, per_hour, 25 * HOUR, 7 * DAY};
    struct forecast *f = forecast_new(&fo);
    assert_non_null(f);
    return f;
}

static void add(struct forecast *f, const struct policy *p)
{
    bool foreseen;
    assert_int_equal(forecast_add(f, p, "0001", &u, &foreseen), 0);
    assert_true(foreseen);
}

static size_t sum(const struct forecast *f, size_t *ret_retire, size_t *ret_reap)
{
    size_t n, rotate = 0;
    const struct forecast_day *d = forecast_days(f, &n);
    *ret_retire = *ret_reap = 0;
    for (size_t i = 0; i < n; i++) {
        rotate += d[i].rotate;
        *ret_retire += d[i].retire;
        *ret_reap += d[i].reap;
    }
    return rotate;
}

static void one_licence(void **state)
{
    (void)state;
    AUTO_FORECAST struct forecast *f = start(30, 20);
    size_t n;
    well(70 * DAY);
    assert_int_equal(forecast_next_ms(&policy, "0001", &u, FROM), FROM + 10 * DAY);
    add(f, &policy);
    assert_int_equal(forecast_run(f), 0);
    const struct forecast_day *d = forecast_days(f, &n);
    assert_int_equal(n, 30);
    for (size_t i = 0; i < n; i++) {
        assert_int_equal(d[i].rotate, i == 10);
        assert_int_equal(d[i].retire, i == 11);
        assert_int_equal(d[i].reap, i == 18);
        assert_int_equal(d[i].waiting, 0);
    }
    assert_int_equal(d[9].oldest_created_ms, FROM - 70 * DAY);
    assert_int_equal(d[10].oldest_created_ms, FROM + 10 * DAY);
}

static void the_hourly_limit(void **state)
{
    (void)state;
    AUTO_FORECAST struct forecast *f = start(3, 2);
    size_t n, retire, reap;
    for (int i = 0; i < 100; i++) {
        well((100 + i) * DAY);
        add(f, &policy);
    }
    assert_int_equal(forecast_run(f), 0);
    const struct forecast_day *d = forecast_days(f, &n);
    assert_int_equal(d[0].rotate, 48);
    assert_int_equal(d[0].waiting, 52);
    assert_int_equal(d[0].oldest_created_ms, FROM - 151 * DAY); /* the oldest went first */
    assert_int_equal(d[1].rotate, 48);
    assert_int_equal(d[2].rotate, 4);
    assert_int_equal(sum(f, &retire, &reap), 100);
}

static void windows_and_exclusions(void **state)
{
    (void)state;
    AUTO_FORECAST struct forecast *f = start(10, 5);
    struct policy_rules rules;
    size_t n;
    policy_rules_init(&rules, 80 * DAY, 0);
    rules.windows[rules.n_windows++] = (struct policy_span){1u << 5, 60, 120}; /* Saturday, an hour */
    struct calendar_gate gate = {.rules = &rules};
    struct policy saturdays = {.max_age_ms = 80 * DAY, .gate = &gate};
    struct policy excluded = {.max_age_ms = 80 * DAY, .excluded = "x", .excluded_until_ms = FROM + 6 * DAY};
    for (int i = 0; i < 8; i++) {
        well(100 * DAY);
        add(f, &saturdays);
    }
    add(f, &excluded);
    assert_int_equal(forecast_run(f), 0);
    const struct forecast_day *d = forecast_days(f, &n);
    for (size_t i = 0; i < n; i++) assert_int_equal(d[i].rotate, i == 3 ? 5 : i == 6 ? 1 : 0);
    assert_int_equal(d[2].waiting, 8);
    assert_int_equal(d[3].waiting, 3);
}

static void what_is_planned_comes_first(void **state)
{
    (void)state;
    AUTO_FORECAST struct forecast *f = start(30, 20);
    size_t n;
    well(100 * DAY);
    struct record_key *k = record_add(&u.record, "AKIAPREDECESSOR00001");
    k->role = KEY_REPLACED;
    k->status = AWS_KEY_ACTIVE;
    k->next = KEY_NEXT_RETIRE;
    k->next_ms = FROM + DAY;
    add(f, &policy);
    assert_int_equal(forecast_run(f), 0);
    const struct forecast_day *d = forecast_days(f, &n);
    assert_int_equal(d[1].retire, 1);
    assert_int_equal(d[8].reap, 1);
    assert_int_equal(d[8].rotate, 1);
}

static void what_is_not_foreseen(void **state)
{
    (void)state;
    struct policy blocked = {.max_age_ms = 80 * DAY, .blocked = "no zone"};
    well(100 * DAY);
    assert_true(forecast_next_ms(&blocked, "0001", &u, FROM) == TIME_NONE);
    u.record.state = RECORD_DRIFTED;
    assert_true(forecast_next_ms(&policy, "0001", &u, FROM) == TIME_NONE);
    well(100 * DAY);
    u.has_record = false;
    assert_true(forecast_next_ms(&policy, "0001", &u, FROM) == TIME_NONE);
    well(100 * DAY);
    u.has_journal = true;
    assert_true(forecast_next_ms(&policy, "0001", &u, FROM) == TIME_NONE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_licence),
        cmocka_unit_test(the_hourly_limit),
        cmocka_unit_test(windows_and_exclusions),
        cmocka_unit_test(what_is_planned_comes_first),
        cmocka_unit_test(what_is_not_foreseen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
