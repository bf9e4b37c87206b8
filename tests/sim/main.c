/* keyroll-sim: runs histories and tells what broke. Every violation is shrunk before it is told. */
#include "tests/sim/history.h"

#include "lib/err.h"
#include "lib/mutant.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char usage[] =
    "usage: keyroll-sim [--from N] [--count N] [--failures N]   runs histories, 20000 from seed 1 by default\n"
    "       keyroll-sim --seed N [--shrink]                     tells one history as a timeline\n"
    "       keyroll-sim --plan FILE                             runs the regressions in FILE\n"
    "       keyroll-sim --mutants N                             switches each mutant on, for N histories at most\n"
    "       keyroll-sim --traces N                              prints the trace hash of each of the first N seeds\n"
    "exit status: 0 all invariants held, 1 one was broken, 2 wrong usage\n";

struct args {
    uint64_t from, count, seed, traces, mutants;
    unsigned failures;
    const char *plan, *only;
    bool one, shrink, states;
};

static double seconds(void)
{
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void tell(struct sim_history *h)
{
    unsigned runs = sim_history_shrink(h);
    printf("seed %" PRIu64 ": %s\n  plan (%zu left after %u runs): ", h->seed, h->violation, h->plan.n, runs);
    sim_plan_print(&h->plan, stdout);
    fflush(stdout);
}

static int one(const struct args *a)
{
    struct sim_history h;
    sim_history_run(a->seed, NULL, a->shrink ? NULL : stdout, NULL, &h);
    if (a->shrink && h.violation[0]) {
        struct sim_history again;
        tell(&h);
        sim_history_run(a->seed, &h.plan, stdout, NULL, &again);
    }
    printf("seed %" PRIu64 ": %s, %s%s, %" PRIu64 " events, trace %016" PRIx64 "\n  plan: ", a->seed,
           h.violation[0] ? h.violation : "all invariants held", record_state_name(h.state), h.asks ? " (asks)" : "",
           h.events, h.trace);
    sim_plan_print(&h.plan, stdout);
    return h.violation[0] ? 1 : 0;
}

static int many(const struct args *a)
{
    struct sim_history h;
    unsigned failed = 0, states[16] = {0};
    uint64_t events = 0, n = 0;
    const double began = seconds();
    for (uint64_t seed = a->from; seed < a->from + a->count; seed++, n++) {
        sim_history_run(seed, NULL, NULL, NULL, &h);
        events += h.events;
        states[h.state]++;
        if (a->states && h.asks) printf("%" PRIu64 " %s: %s\n", seed, record_state_name(h.state), h.reason);
        if (!h.violation[0]) continue;
        tell(&h);
        if (++failed >= a->failures) break;
    }
    const double took = seconds() - began;
    printf("%" PRIu64 " histories, %.0f per second and core, %.0f events each; %u broke an invariant\n", n,
           (double)n / took, (double)events / (double)n, failed);
    for (int i = 0; i < 16; i++)
        if (states[i]) printf("  %-18s %u\n", record_state_name((enum record_state)i), states[i]);
    return failed ? 1 : 0;
}

static int traces(const struct args *a)
{
    struct sim_history h;
    for (uint64_t seed = 1; seed <= a->traces; seed++) {
        sim_history_run(seed, NULL, NULL, NULL, &h);
        printf("%" PRIu64 " %016" PRIx64 "\n", seed, h.trace);
    }
    return 0;
}

static int mutants(const struct args *a)
{
    static const char *const texts[][3] = {
#define MUTANT_TEXT(name, text, rule) {#name, text, rule},
        KEYROLL_MUTANT_LIST(MUTANT_TEXT)
#undef MUTANT_TEXT
    };
    struct sim_history h = {.seed = 0};
    int caught = 0, tried = 0;
    for (int m = MUTANT_NONE + 1; m < MUTANTS; m++) {
        uint64_t seed = 1;
        if (a->only && strcmp(a->only, texts[m - 1][0])) continue;
        tried++;
        keyroll_mutant = m;
        do sim_history_run(seed, NULL, NULL, NULL, &h);
        while (!h.violation[0] && seed++ < a->mutants);
        caught += h.violation[0] != '\0';
        printf("%-20s %-4s %-70s %s%" PRIu64 " histories  %.60s\n", texts[m - 1][0], texts[m - 1][2], texts[m - 1][1],
               h.violation[0] ? "caught after " : "NOT CAUGHT in ", h.violation[0] ? seed : a->mutants, h.violation);
        fflush(stdout);
    }
    keyroll_mutant = MUTANT_NONE;
    printf("mutants: %d of %d caught\n", caught, tried);
    return caught == tried ? 0 : 1;
}

/* Lines of "seed plan"; a seed alone runs as it is. */
static int regressions(const struct args *a)
{
    char line[4096];
    unsigned n = 0, failed = 0;
    FILE *f = fopen(a->plan, "r");
    if (!f) {
        fprintf(stderr, "keyroll-sim: %s cannot be read\n", a->plan);
        return 2;
    }
    while (fgets(line, sizeof(line), f)) {
        char *text;
        struct sim_plan p;
        struct sim_history h;
        const uint64_t seed = strtoull(line, &text, 10);
        if (text == line) continue;
        text += strspn(text, " ");
        bool known = sim_plan_parse(text, &p);
        if (!known) printf("seed %" PRIu64 ": its plan names something that is no more\n", seed);
        sim_history_run(seed, p.n ? &p : NULL, NULL, NULL, &h);
        if (h.violation[0]) printf("seed %" PRIu64 ": %s\n", seed, h.violation);
        failed += h.violation[0] || !known;
        n++;
    }
    fclose(f);
    printf("regressions: %u run, %u failed\n", n, failed);
    return failed ? 1 : 0;
}

static bool parse(int argc, char **argv, struct args *a)
{
    static const struct option options[] = {
        {"from", 1, NULL, 'f'},     {"count", 1, NULL, 'c'},  {"seed", 1, NULL, 's'},    {"shrink", 0, NULL, 'k'},
        {"plan", 1, NULL, 'p'},     {"traces", 1, NULL, 't'}, {"mutants", 1, NULL, 'm'}, {"only", 1, NULL, 'o'},
        {"failures", 1, NULL, 'n'}, {"states", 0, NULL, 'a'}, {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'f') a->from = strtoull(optarg, NULL, 10);
        if (c == 'c') a->count = strtoull(optarg, NULL, 10);
        if (c == 't') a->traces = strtoull(optarg, NULL, 10);
        if (c == 'n') a->failures = (unsigned)strtoul(optarg, NULL, 10);
        if (c == 'm') a->mutants = strtoull(optarg, NULL, 10);
        if (c == 'o') a->only = optarg;
        if (c == 'k') a->shrink = true;
        if (c == 'a') a->states = true;
        if (c == 'p') a->plan = optarg;
        if (c == 's') {
            a->seed = strtoull(optarg, NULL, 10);
            a->one = true;
        }
        if (c == '?') return false;
    }
    return optind == argc;
}

int main(int argc, char **argv)
{
    struct args a = {.from = 1, .count = 20000, .failures = 10};
    if (!parse(argc, argv, &a)) {
        fputs(usage, stderr);
        return 2;
    }
    sim_history_prepare();
    if (a.one) return one(&a);
    if (a.traces) return traces(&a);
    if (a.mutants) return mutants(&a);
    if (a.plan) return regressions(&a);
    return many(&a);
}
