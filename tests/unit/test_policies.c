/* Policy of a licence: from the file, in its zone, and what that does to the verdict. */
#include "lib/err.h"
#include "producer/policies.h"
#include "schema/options.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#define HOUR 3600000LL
#define DAY  (24 * HOUR)
#define NOON 1795608000000LL /* 2026-11-25T12:00:00Z, a Wednesday */

static const char text[] =
    "{\"version\":\"keyroll.policy/1\",\"policies\":{"
    "\"default\":{\"max_age\":\"90d\"},"
    "\"weekend\":{\"windows\":[{\"days\":[\"sat\"],\"from\":\"01:00\",\"to\":\"05:00\"}]},"
    "\"frozen\":{\"blackouts\":[{\"from\":\"2026-11-20\",\"to\":\"2026-11-30\",\"reason\":\"year end\"}]},"
    "\"gap\":{\"max_age\":\"30d\",\"max_age_jitter\":\"0s\",\"min_gap\":\"20d\"}},"
    "\"canaries\":[\"0003\"],"
    "\"exclusions\":[{\"licence\":\"0002\",\"expires\":\"2026-12-01\",\"reason\":\"go-live\"}]}";

static char path[] = "/tmp/keyroll-test-policies-XXXXXX";
static struct options o = {
    .max_age_ms = 80 * DAY, .max_age_jitter_ms = 10 * DAY, .audit_interval_ms = DAY, .mode = OPTIONS_ROTATE};
static struct policies *p;
static struct store_peek u;
static struct policy_verdict v;

static void write_file(const char *what)
{
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, what, strlen(what)), (ssize_t)strlen(what));
    close(fd);
}

static int set_up(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    if (fd < 0) return -1;
    close(fd);
    write_file(text);
    o.policy_file = path;
    return policies_new(&o, NULL, NULL, NULL, &p);
}

static int tear_down(void **state)
{
    (void)state;
    policies_free(p);
    return unlink(path);
}

/* A licence that is well, with a key of this age. */
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
    k->created_ms = NOON - age_ms;
    record_settle(&u.record);
    u.record.audited_ms = u.record.updated_ms = NOON - HOUR;
    journal_init(&u.journal, JOURNAL_ROTATE);
}

static void judge(const char *licence, const char *policy, const char *zone, int64_t now_ms)
{
    const struct inventory_row row = {.licence = licence, .policy = policy, .time_zone = zone};
    struct policy one;
    policies_for(p, &row, &one);
    u.record.audited_ms = now_ms - HOUR;
    policy_judge(&one, licence, &u, now_ms, &v);
}

static void expect_due(const char *licence, const char *policy, const char *zone, int64_t now_ms)
{
    judge(licence, policy, zone, now_ms);
    if (v.rank != POLICY_ROTATE) fail_msg("not due: %s", v.why);
    assert_false(v.waits);
}

static void expect_waits(int64_t until_ms, const char *why)
{
    assert_int_equal(v.rank, POLICY_NOTHING);
    assert_true(v.waits);
    assert_int_equal(v.kind, JOB_ROTATE);
    assert_int_equal(v.at_ms, until_ms);
    if (!strstr(v.why, why)) fail_msg("%s", v.why);
}

static void windows_and_zones(void **state)
{
    (void)state;
    well(100 * DAY);
    expect_due("0001", "", "", NOON);
    judge("0001", "", "Asia/Tokyo", NOON); /* 21:00 there: the nightly copy */
    expect_waits(NOON + HOUR + HOUR / 2, "nightly copy");
    judge("0001", "weekend", "", NOON);
    expect_waits(NOON + 2 * DAY + 13 * HOUR, "no maintenance window");
    expect_due("0001", "weekend", "", NOON + 2 * DAY + 13 * HOUR);
    judge("0001", "frozen", "", NOON);
    expect_waits(NOON + 5 * DAY + 12 * HOUR, "year end");
}

static void exclusions_end(void **state)
{
    (void)state;
    well(100 * DAY);
    judge("0002", "", "", NOON);
    expect_waits(1796083200000LL, "excluded: go-live");
    expect_due("0002", "", "", 1796083200000LL);
    u.record.keys[0].exposed = true; /* a leak does not wait */
    judge("0002", "", "", NOON);
    assert_int_equal(v.rank, POLICY_EXPOSED);
    well(100 * DAY);
    u.has_journal = true; /* what is open is ended (R2) */
    u.journal.step = JOURNAL_CREATED;
    judge("0002", "", "", NOON);
    assert_int_equal(v.rank, POLICY_RESUME);
}

static void retirement_and_deletion(void **state)
{
    (void)state;
    well(DAY);
    struct record_key *k = record_add(&u.record, "AKIAPREDECESSOR00001");
    k->role = KEY_REPLACED;
    k->status = AWS_KEY_ACTIVE;
    k->listed = true;
    k->rotation = 5;
    k->next = KEY_NEXT_RETIRE;
    k->next_ms = NOON - DAY;
    record_settle(&u.record);
    judge("0001", "weekend", "", NOON);
    assert_int_equal(v.rank, POLICY_RETIRE); /* no window is needed */
    judge("0001", "", "Asia/Tokyo", NOON);
    assert_true(v.waits && v.kind == JOB_RETIRE);
    k->next = KEY_NEXT_REAP;
    judge("0001", "", "Asia/Tokyo", NOON);
    assert_int_equal(v.rank, POLICY_REAP);
    judge("0001", "frozen", "", NOON);
    assert_true(v.waits && v.kind == JOB_REAP);
    judge("0002", "", "", NOON);
    assert_true(v.waits && v.kind == JOB_REAP);
}

static void canaries_and_the_oldest_go_first(void **state)
{
    (void)state;
    struct policy_verdict canary, old, young;
    well(81 * DAY);
    expect_due("0003", "", "", NOON); /* at the earliest age: 80 days */
    canary = v;
    well(200 * DAY);
    expect_due("0001", "", "", NOON);
    old = v;
    well(150 * DAY);
    expect_due("0004", "", "", NOON);
    young = v;
    assert_true(policy_compare(&canary, &old) < 0);
    assert_true(policy_compare(&old, &young) < 0);
    assert_true(policy_compare(&young, &canary) > 0);
}

static void gap_between_rotations(void **state)
{
    (void)state;
    well(100 * DAY);
    u.record.rotated_ms = NOON - 5 * DAY; /* the key is old all the same: adopted, for one */
    judge("0001", "gap", "", NOON);
    assert_int_equal(v.rank, POLICY_NOTHING);
    assert_int_equal(v.at_ms, NOON + 15 * DAY);
    expect_due("0001", "gap", "", NOON + 15 * DAY);
}

static void an_instance_without_a_living_key_does_not_wait(void **state)
{
    (void)state;
    well(DAY);
    u.record.keys[0].status = AWS_KEY_INACTIVE;
    u.record.rotated_ms = NOON - HOUR;
    expect_due("0001", "", "Asia/Tokyo", NOON);
    judge("0002", "", "", NOON); /* but for what a person said */
    assert_true(v.waits);
}

static bool allowed(const char *licence, const char *zone, const char *expected)
{
    const struct inventory_row row = {.licence = licence, .policy = "", .time_zone = zone};
    struct policy one;
    char why[RECORD_TEXT_MAX];
    policies_for(p, &row, &one);
    bool yes = policy_allows_rotation(&one, &u, NOON, why);
    if (!yes && !strstr(why, expected)) fail_msg("%s", why);
    return yes;
}

/* What events may ask for: any age, but nothing against policy or in the middle of something. */
static void rotations_that_events_ask_for(void **state)
{
    (void)state;
    well(DAY);
    assert_true(allowed("0001", "", ""));
    assert_false(allowed("0001", "Asia/Tokyo", "nightly copy"));
    assert_false(allowed("0002", "", "go-live"));
    assert_false(allowed("0001", "Europe/Lundon", "time zone"));
    u.record.rotated_ms = NOON - HOUR;
    assert_false(allowed("0001", "", "min_gap"));
    well(DAY);
    u.has_journal = true;
    assert_false(allowed("0001", "", "under way"));
    well(DAY);
    u.record.state = RECORD_DRIFTED;
    assert_false(allowed("0001", "", "state does not allow"));
    u.record.state = RECORD_OVERLAP;
    assert_false(allowed("0001", "", "not over"));
    well(DAY);
    u.has_record = false;
    assert_false(allowed("0001", "", "does not know"));
}

static void unknown_names(void **state)
{
    (void)state;
    well(100 * DAY);
    judge("0001", "nightshift", "", NOON);
    expect_waits(TIME_NONE, "no policy of the name");
    static const char *const zones[] = {"Europe/Lundon", "../../etc/passwd", "/etc/passwd", "Europe", "zone.tab"};
    for (size_t i = 0; i < ARRAY_LEN(zones); i++) {
        judge("0001", "", zones[i], NOON);
        expect_waits(TIME_NONE, "time zone");
    }
    u.record.audited_ms = NOON - 2 * DAY; /* it is looked at nevertheless */
    const struct inventory_row row = {.licence = "0001", .policy = "nightshift", .time_zone = ""};
    struct policy one;
    policies_for(p, &row, &one);
    policy_judge(&one, "0001", &u, NOON, &v);
    assert_int_equal(v.rank, POLICY_AUDIT);
}

static void files_that_change(void **state)
{
    (void)state;
    struct policies *other = NULL;
    assert_false(policies_changed(p));
    write_file("{\"version\":\"keyroll.policy/1\"");
    assert_true(policies_changed(p));
    assert_int_equal(policies_new(&o, NULL, NULL, NULL, &other), ERR_SYNTAX);
    write_file(text);
    o.policy_file = NULL; /* the settings alone */
    assert_int_equal(policies_new(&o, NULL, NULL, NULL, &other), 0);
    const struct inventory_row row = {.licence = "0001", .policy = "weekend", .time_zone = ""};
    struct policy one;
    policies_for(other, &row, &one);
    assert_non_null(one.blocked);
    policies_free(other);
    o.policy_file = path;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(windows_and_zones),
        cmocka_unit_test(exclusions_end),
        cmocka_unit_test(retirement_and_deletion),
        cmocka_unit_test(canaries_and_the_oldest_go_first),
        cmocka_unit_test(gap_between_rotations),
        cmocka_unit_test(an_instance_without_a_living_key_does_not_wait),
        cmocka_unit_test(rotations_that_events_ask_for),
        cmocka_unit_test(unknown_names),
        cmocka_unit_test(files_that_change),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
