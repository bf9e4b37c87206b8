/* Policy files: what is accepted makes sense to the calendar. */
#include "schema/policy_file.h"
#include "tests/fuzz/fuzz.h"

static void tell(void *arg, const char *path, const char *reason)
{
    (void)arg;
    fuzz_touch(path);
    fuzz_touch(reason);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct policy_rules base;
    AUTO_POLICY_FILE struct policy_file f = {0};
    AUTO_FREE char *text = fuzz_text(data, size);
    policy_rules_init(&base, 80 * 86400000LL, 10 * 86400000LL);
    if (policy_file_decode(text, size, &base, tell, NULL, &f) < 0) return 0;
    FUZZ_REQUIRE(f.n_policies >= 1 && policy_file_find(&f, "") == &f.policies[0]);
    for (size_t i = 0; i < f.n_policies; i++) {
        const struct policy_rules *r = &f.policies[i];
        FUZZ_REQUIRE(r->max_age_ms > r->max_age_jitter_ms && r->max_age_jitter_ms >= 0);
        FUZZ_REQUIRE(r->min_gap_ms >= 0 && r->min_gap_ms <= r->max_age_ms - r->max_age_jitter_ms);
        for (size_t k = 0; k < r->n_windows; k++)
            FUZZ_REQUIRE(r->windows[k].days && r->windows[k].from_min < 1440 && r->windows[k].to_min <= 1440);
        for (size_t k = 0; k < r->n_blackouts; k++) FUZZ_REQUIRE(r->blackouts[k].first_day <= r->blackouts[k].last_day);
    }
    for (size_t i = 0; i < f.n_exclusions; i++)
        FUZZ_REQUIRE(policy_file_exclusion(&f, f.exclusions[i].licence) == &f.exclusions[i]);
    return 0;
}
