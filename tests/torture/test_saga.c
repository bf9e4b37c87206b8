/* Whole lives of a licence (tests/sim/bases.h) in which memory is refused: the n-th allocation of our code in turn, and
 * dozens in a row. Workers, sagas, lease, journal, escrow, intake and offsets run; the simulated world keeps its
 * memory. What has to come of it is what comes of any other single fault: the licence ends current, with one key in
 * use, nothing left over and no invariant broken on the way; no secret and no memory stays behind.
 *
 * At CI size each story is cut at 60 places, spread evenly; full (KEYROLL_TEST_SIZE=full): at each. */
#include "tests/saga/each_base.h"
#include "tests/torture/torture.h"

#include "lib/secret.h"

#define RULES_MAX 6
#define CI_PLACES 60
#define SHORTAGE  40 /* allocations refused in a row */

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define LEAKS() __lsan_do_recoverable_leak_check()
#else
#define LEAKS() 0
#endif

/* Lives it once. nth 0: nothing is refused. Returns the number of allocations. */
static size_t live(const struct sim_base *b, size_t nth, size_t most, FILE *told, char why[512])
{
    struct sim_options o;
    struct sim_rule rules[RULES_MAX];
    sim_options_default(&o, 7);
    o.workers = 2;
    o.story = told;
    if (b->options) b->options(&o);
    memset(rules, 0, sizeof rules);
    o.n_rules = sim_base_rules(b, rules);
    o.rules = rules;
    struct sim_world *w = sim_world_new(&o);
    sim_start_plain(w);
    torture_arm_many(nth ? nth : SIZE_MAX, most);
    sim_drive(w, b->person, 0, 120000, DAYS);
    size_t n = torture_count();
    (void)torture_disarm();
    snprintf(why, 512, "%s", b->asks && sim_asks(w) ? sim_check_end(w) : sim_check_current(w));
    sim_world_free(w);
    return n;
}

static void one_place(const struct sim_base *b, size_t nth, size_t most, size_t secrets)
{
    char why[512];
    (void)live(b, nth, most, NULL, why);
    if (why[0] && getenv("KEYROLL_STORY")) (void)live(b, nth, most, stderr, why);
    if (why[0]) fail_msg("%s: %zu allocations from number %zu on are refused: %s", b->name, most, nth, why);
    if (secret_count() != secrets) fail_msg("%s: allocation %zu is refused: a secret is left", b->name, nth);
}

static void every_allocation(void **state)
{
    const struct sim_base *b = *state;
    char why[512];
    const char *size = getenv("KEYROLL_TEST_SIZE");
    size_t n = live(b, 0, 1, NULL, why), secrets = secret_count();
    assert_string_equal(why, "");
    assert_true(n > 100);
    size_t step = size && strcmp(size, "full") == 0 ? 1 : n / CI_PLACES + 1, places = 0;
    for (size_t i = 1; i <= n; i += step, places++) one_place(b, i, 1, secrets);
    for (size_t i = 1; i <= n; i += 4 * step, places++) one_place(b, i, SHORTAGE, secrets);
    assert_int_equal(LEAKS(), 0);
    print_message("%s: %zu allocations, refused at %zu places\n", b->name, n, places);
}

int main(void)
{
    return run_each_base("torture", every_allocation);
}
