/* The policy file's decoder: what it takes over, and what it refuses (the corpus is compared with the schema by
 * tests/integration/test_policy_schema.py). */
#include "lib/err.h"
#include "schema/policy_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define DAY 86400000LL

static struct policy_rules base;
static char told[4096];

static void tell(void *arg, const char *path, const char *reason)
{
    (void)arg;
    size_t len = strlen(told);
    snprintf(told + len, sizeof told - len, "%s: %s\n", path, reason);
}

static int decode(const char *text, struct policy_file *f)
{
    told[0] = '\0';
    *f = (struct policy_file){0};
    policy_rules_init(&base, 80 * DAY, 10 * DAY);
    return policy_file_decode(text, strlen(text), &base, tell, NULL, f);
}

static void defaults_and_inheritance(void **state)
{
    (void)state;
    AUTO_POLICY_FILE struct policy_file f;
    assert_int_equal(
        decode("{\"version\":\"keyroll.policy/1\",\"policies\":{"
               "\"late\":{\"max_age\":\"360d\",\"windows\":[{\"days\":[\"sat\",\"sun\"],\"from\":\"22:45\","
               "\"to\":\"04:00\"}]},"
               "\"default\":{\"max_age_jitter\":\"5d\",\"blackouts\":[{\"from\":\"2026-12-24\",\"reason\":"
               "\"closed\"}]},"
               "\"hourly\":{\"max_age\":\"2h\",\"max_age_jitter\":\"0s\",\"nightly_copy\":null}},"
               "\"canaries\":[\"B\",\"a\"],"
               "\"exclusions\":[{\"licence\":\"Zoo\",\"expires\":\"2027-01-01\",\"reason\":\"go-live\"}]}",
               &f),
        0);
    assert_int_equal(f.n_policies, 3);
    const struct policy_rules *d = policy_file_find(&f, ""), *late = policy_file_find(&f, "late"),
                              *hourly = policy_file_find(&f, "hourly");
    assert_ptr_equal(d, policy_file_find(&f, "default"));
    assert_null(policy_file_find(&f, "other"));
    assert_int_equal(d->max_age_ms, 80 * DAY);
    assert_int_equal(d->max_age_jitter_ms, 5 * DAY);
    assert_int_equal(d->min_gap_ms, DAY);
    assert_true(d->has_nightly_copy && d->nightly_copy.from_min == 1200 && d->nightly_copy.to_min == 1350);
    assert_int_equal(late->max_age_ms, 360 * DAY);
    assert_int_equal(late->n_blackouts, 1);
    assert_int_equal(late->blackouts[0].first_day, late->blackouts[0].last_day);
    assert_int_equal(late->windows[0].days, 0x60);
    assert_int_equal(hourly->min_gap_ms, DAY / 24);
    assert_false(hourly->has_nightly_copy);
    assert_true(policy_file_is_canary(&f, "A") && policy_file_is_canary(&f, "b"));
    assert_false(policy_file_is_canary(&f, "c"));
    const struct policy_exclusion *x = policy_file_exclusion(&f, "zOO");
    assert_non_null(x);
    assert_int_equal(x->expires_ms, 1798761600000LL);
    assert_null(policy_file_exclusion(&f, "zo"));
}

static void all_faults_are_told_with_their_places(void **state)
{
    (void)state;
    struct policy_file f;
    assert_int_equal(
        decode("{\"version\":\"keyroll.policy/1\",\"polices\":{},\"policies\":{\"default\":{\"max_age\":80,"
               "\"windows\":[{\"from\":\"2:00\",\"to\":\"25:00\"},{\"from\":\"02:00\",\"to\":\"02:00\"}],"
               "\"blackouts\":[{\"from\":\"2026-02-30\",\"reason\":\"\"}]}},"
               "\"exclusions\":[{\"licence\":\"a b\",\"expires\":\"soon\"}],\"canaries\":[\"x\",\"X\"]}",
               &f),
        ERR_INVALID);
    static const char *const places[] = {"polices: ",
                                         "policies.default.max_age: ",
                                         "policies.default.windows[0].from: ",
                                         "policies.default.windows[0].to: ",
                                         "policies.default.windows[1].to: ",
                                         "policies.default.blackouts[0].from: ",
                                         "policies.default.blackouts[0].reason: ",
                                         "exclusions[0]: \"reason\" is missing",
                                         "canaries: licence x stands twice"};
    for (size_t i = 0; i < ARRAY_LEN(places); i++)
        if (!strstr(told, places[i])) fail_msg("%s is not told in:\n%s", places[i], told);
    assert_null(f.policies);
}

static void what_only_shows_when_taken_over(void **state)
{
    (void)state;
    struct policy_file f;
    assert_int_equal(decode("{\"version\":\"keyroll.policy/1\",\"policies\":{\"a\":{\"max_age\":\"10d\"}}}", &f),
                     ERR_INVALID); /* as long as the jitter of the settings */
    assert_int_equal(decode("{\"version\":\"keyroll.policy/1\",\"policies\":{\"a\":{\"windows\":[{\"from\":\"01:00\","
                            "\"to\":\"01:10\"}]}}}",
                            &f),
                     ERR_INVALID); /* no longer than the lead */
}

static void other_texts(void **state)
{
    (void)state;
    struct policy_file f;
    assert_int_equal(decode("", &f), ERR_SYNTAX);
    assert_int_equal(decode("[]", &f), ERR_SYNTAX);
    assert_int_equal(decode("{\"version\":\"keyroll.policy/2\"}", &f), ERR_VERSION);
    assert_int_equal(decode("{\"version\":\"keyroll.job/1\"}", &f), ERR_INVALID);
    assert_int_equal(decode("{\"version\":\"keyroll.policy/1\",\"version\":\"keyroll.policy/1\"}", &f), ERR_SYNTAX);
    assert_int_equal(decode("{\"version\":\"keyroll.policy/1.3\"}", &f), 0);
    assert_int_equal(f.n_policies, 1);
    policy_file_done(&f);
    assert_int_equal(policy_file_read("/nowhere/policy.json", &base, tell, NULL, &f), ERR_IO);
}

static void dates(void **state)
{
    (void)state;
    int64_t day;
    char text[11];
    assert_true(policy_date_parse("1970-01-01", &day) && day == 0);
    assert_true(policy_date_parse("2024-02-29", &day) && day == 19782);
    policy_date_format(19782, text);
    assert_string_equal(text, "2024-02-29");
    static const char *const bad[] = {"2023-02-29", "2026-13-01", "2026-00-01",  "2026-01-00", "2026-1-1",
                                      "2100-01-01", "1969-12-31", "2026-01-01T", "x"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) assert_false(policy_date_parse(bad[i], &day));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_and_inheritance),
        cmocka_unit_test(all_faults_are_told_with_their_places),
        cmocka_unit_test(what_only_shows_when_taken_over),
        cmocka_unit_test(other_texts),
        cmocka_unit_test(dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
