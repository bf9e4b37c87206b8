/* keyroll-sim: runs histories and tells what broke. Every violation is shrunk before it is told. Seeds and mutants are
 * shared out among processes (--jobs), which meet in one piece of shared memory; a history is the same in whichever
 * process it runs. */
#include "tests/sim/history.h"

#include "lib/err.h"
#include "lib/mutant.h"

#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define JOBS_MAX   64
#define CELLS_MAX  4096
#define SEEDS_ONCE 20 /* that a process takes at a time */
#define CHUNK      500 /* histories: how fast the fastest of such chunks was is told, since others use the machine, too */
#define TRIES      20 /* histories for each time that a cell is short of */
#define TOPUP_SEED UINT64_C(1000000000000)

static const char usage[] =
    "usage: keyroll-sim [--from N] [--count N] [--failures N] [--coverage LEAST]\n"
    "                                                           runs histories, 20000 from seed 1 by default; with a\n"
    "                                                           table of what they went through, each cell LEAST "
    "times\n"
    "       keyroll-sim --seed N [--shrink]                     tells one history as a timeline\n"
    "       keyroll-sim --plan FILE                             runs the regressions in FILE\n"
    "       keyroll-sim --mutants N                             switches each mutant on, for N histories at most\n"
    "       keyroll-sim --traces N                              prints the trace hash of each of the first N seeds\n"
    "       ... --jobs N                                        in so many processes, 1 by default\n"
    "exit status: 0 all invariants held, 1 one was broken, 2 wrong usage\n";

struct args {
    uint64_t from, count, seed, traces, mutants, coverage;
    unsigned failures, jobs;
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

/* ---- several processes --------------------------------------------------------------------------------------------
 */

struct part { /* of one process */
    struct sim_coverage coverage;
    uint64_t n, more, events;
    unsigned states[16], heals;
    double took_s, events_a_second; /* of the fastest chunk */
};
struct caught {
    char violation[400];
    uint64_t after;     /* seed; 0 not caught */
    size_t plan, least; /* items of its plan, before and after shrinking */
};
struct shared {
    atomic_ullong next; /* seed, or mutant */
    atomic_uint failed;
    struct caught caught[MUTANTS];
    unsigned short_of[CELLS_MAX];
    struct part parts[JOBS_MAX];
};

static struct shared *shared_new(void)
{
    void *p = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) abort();
    return p;
}

/* Runs work in each of the processes; false when one of them died. */
static bool share(const struct args *a, struct shared *v,
                  void (*work)(const struct args *a, struct shared *v, struct part *mine))
{
    bool fine = true;
    fflush(stdout);
    for (unsigned i = 0; i < a->jobs; i++) {
        pid_t pid = fork();
        if (pid < 0) abort();
        if (pid) continue;
        const double began = seconds();
        work(a, v, &v->parts[i]);
        v->parts[i].took_s += seconds() - began;
        fflush(stdout);
        exit(0); /* not _exit(): LeakSanitizer looks then */
    }
    for (int status; wait(&status) > 0;)
        if (!WIFEXITED(status) || WEXITSTATUS(status)) fine = false;
    if (!fine) printf("a process ended badly\n");
    return fine;
}

/* ---- histories ----------------------------------------------------------------------------------------------------
 */

static void one_of_many(const struct args *a, struct shared *v, struct part *mine, uint64_t seed)
{
    struct sim_history h;
    sim_history_run(seed, NULL, NULL, a->coverage ? &mine->coverage : NULL, &h);
    mine->n++;
    mine->events += h.events;
    mine->states[h.state]++;
    mine->heals += h.heals;
    if (a->states && h.asks) printf("%" PRIu64 " %s: %s\n", seed, record_state_name(h.state), h.reason);
    if (!h.violation[0]) return;
    if (atomic_fetch_add(&v->failed, 1) < a->failures) tell(&h);
}

struct chunk { /* where it began */
    uint64_t n, events;
    double at_s;
};

/* Events, since one history has many more of them than another. */
static void end_chunk(struct chunk *c, struct part *mine)
{
    if (mine->n - c->n < CHUNK) return;
    const double now = seconds(), rate = (double)(mine->events - c->events) / (now - c->at_s);
    if (rate > mine->events_a_second) mine->events_a_second = rate;
    *c = (struct chunk){mine->n, mine->events, now};
}

static void work_seeds(const struct args *a, struct shared *v, struct part *mine)
{
    struct chunk chunk = {.at_s = seconds()};
    for (;;) {
        end_chunk(&chunk, mine);
        const uint64_t first = a->from + atomic_fetch_add(&v->next, SEEDS_ONCE), end = a->from + a->count;
        if (first >= end) return;
        for (uint64_t seed = first; seed < end && seed < first + SEEDS_ONCE; seed++) {
            if (atomic_load(&v->failed) >= a->failures) return;
            one_of_many(a, v, mine, seed);
        }
    }
}

/* Cells that the histories left with too few get more of them, which are directed at nothing else. */
static void work_cells(const struct args *a, struct shared *v, struct part *mine)
{
    for (size_t cell; (cell = atomic_fetch_add(&v->next, 1)) < sim_history_cells();) {
        const uint64_t short_of = v->short_of[cell], had = sim_history_covered(&mine->coverage, cell);
        for (unsigned i = 0; i < TRIES * short_of; i++) {
            struct sim_plan p;
            struct sim_history h;
            if (sim_history_covered(&mine->coverage, cell) >= had + short_of) break;
            sim_history_direct(cell, i, &p);
            sim_history_run(TOPUP_SEED + cell * 1000 + i, &p, NULL, &mine->coverage, &h);
            mine->more++;
            if (h.violation[0] && atomic_fetch_add(&v->failed, 1) < a->failures) tell(&h);
        }
    }
}

static void merge(const struct args *a, const struct shared *v, struct part *all)
{
    memset(all, 0, sizeof(*all));
    for (unsigned i = 0; i < a->jobs; i++) {
        const struct part *p = &v->parts[i];
        sim_coverage_add(&all->coverage, &p->coverage);
        all->n += p->n;
        all->more += p->more;
        all->events += p->events;
        all->took_s += p->took_s;
        all->heals += p->heals;
        if (p->events_a_second > all->events_a_second) all->events_a_second = p->events_a_second;
        for (int k = 0; k < 16; k++) all->states[k] += p->states[k];
    }
}

static bool top_up(const struct args *a, struct shared *v, struct part *all)
{
    unsigned n = 0;
    for (size_t cell = 0; cell < sim_history_cells() && cell < CELLS_MAX; cell++) {
        const unsigned long had = sim_history_covered(&all->coverage, cell);
        v->short_of[cell] = had < a->coverage ? (unsigned)(a->coverage - had) : 0;
        n += v->short_of[cell] != 0;
    }
    atomic_store(&v->next, 0);
    if (!share(a, v, work_cells)) return false;
    merge(a, v, all);
    printf("%" PRIu64 " more histories for %u cells that were short of %" PRIu64 "\n", all->more, n, a->coverage);
    return true;
}

static int many(const struct args *a)
{
    struct shared *v = shared_new();
    static struct part all_parts, *all = &all_parts;
    bool fine = share(a, v, work_seeds);
    merge(a, v, all);
    if (a->coverage && fine && !atomic_load(&v->failed) && !top_up(a, v, all)) fine = false;
    const unsigned failed = atomic_load(&v->failed);
    if (all->n < a->count && !failed) fine = false;
    if (a->coverage && fine && !failed && sim_coverage_print(&all->coverage, a->coverage, stdout)) fine = false;
    const double each = (double)all->events / (double)all->n;
    if (!(all->events_a_second > 0)) all->events_a_second = (double)all->events / all->took_s; /* not one whole chunk */
    printf("%" PRIu64
           " histories, %.0f a second of CPU (%.0f when it was fastest), %.0f events each; %u broke an invariant\n",
           all->n, (double)(all->n + all->more) / all->took_s, all->events_a_second / each, each, failed);
    printf("  %u of them had to end without a person\n", all->heals);
    for (int i = 0; i < 16; i++)
        if (all->states[i]) printf("  %-18s %u\n", record_state_name((enum record_state)i), all->states[i]);
    return fine && !failed ? 0 : 1;
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

/* ---- mutants ------------------------------------------------------------------------------------------------------
 */

static const char *const mutant_texts[][3] = {
#define MUTANT_TEXT(name, text, rule, first) {#name, text, rule},
    KEYROLL_MUTANT_LIST(MUTANT_TEXT)
#undef MUTANT_TEXT
};

static const uint64_t mutant_first[] = {
#define MUTANT_FIRST(name, text, rule, first) first,
    KEYROLL_MUTANT_LIST(MUTANT_FIRST)
#undef MUTANT_FIRST
};
static const char *const unseen_texts[][3] = {
#define UNSEEN_TEXT(text, rule, why) {text, rule, why},
    KEYROLL_MUTANTS_UNSEEN(UNSEEN_TEXT)
#undef UNSEEN_TEXT
};

static bool is_asked_for(const struct args *a, int m)
{
    return !a->only || !strcmp(a->only, mutant_texts[m - 1][0]);
}

/* A history that also breaks without the mutant does not count. */
static void try_mutant(const struct args *a, int m, struct caught *ret)
{
    struct sim_history h, without;
    for (uint64_t n = 0; n < a->mutants; n++) {
        const uint64_t seed = 1 + (mutant_first[m - 1] - 1 + n) % a->mutants;
        keyroll_mutant = m;
        sim_history_run(seed, NULL, NULL, NULL, &h);
        keyroll_mutant = MUTANT_NONE;
        if (!h.violation[0]) continue;
        sim_history_run(seed, NULL, NULL, NULL, &without);
        if (without.violation[0]) continue;
        ret->after = seed;
        ret->plan = h.plan.n;
        keyroll_mutant = m;
        (void)sim_history_shrink(&h);
        keyroll_mutant = MUTANT_NONE;
        ret->least = h.plan.n;
        memcpy(ret->violation, h.violation, sizeof(ret->violation));
        return;
    }
}

static void work_mutants(const struct args *a, struct shared *v, struct part *mine)
{
    (void)mine;
    for (int m; (m = MUTANT_NONE + 1 + (int)atomic_fetch_add(&v->next, 1)) < MUTANTS;)
        if (is_asked_for(a, m)) try_mutant(a, m, &v->caught[m]);
}

static int mutants(const struct args *a)
{
    struct shared *v = shared_new();
    size_t plans = 0, least = 0;
    int caught = 0, tried = 0;
    bool fine = share(a, v, work_mutants);
    for (int m = MUTANT_NONE + 1; m < MUTANTS; m++) {
        const struct caught *c = &v->caught[m];
        const char *const *t = mutant_texts[m - 1];
        if (!is_asked_for(a, m)) continue;
        tried++;
        caught += c->after != 0;
        plans += c->plan;
        least += c->least;
        printf("%-20s %-4s %-66s ", t[0], t[2], t[1]);
        if (c->after)
            printf("caught by seed %5" PRIu64 ", plan %2zu shrunk to %zu: %.80s\n", c->after, c->plan, c->least,
                   strstr(c->violation, ": ") + 2);
        else
            printf("NOT CAUGHT in %" PRIu64 " histories\n", a->mutants);
    }
    for (size_t i = 0; i < ARRAY_LEN(unseen_texts) && !a->only; i++)
        printf("%-20s %-4s %-66s no history shows it: %s\n", "-", unseen_texts[i][1], unseen_texts[i][0],
               unseen_texts[i][2]);
    if (!a->only) printf("shrinking: %zu items of plans became %zu\n", plans, least);
    printf("mutants: %d of %d caught\n", caught, tried);
    return fine && caught == tried && (a->only || least * 2 < plans) ? 0 : 1;
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
        {"from", 1, NULL, 'f'},     {"count", 1, NULL, 'c'},  {"seed", 1, NULL, 's'},     {"shrink", 0, NULL, 'k'},
        {"plan", 1, NULL, 'p'},     {"traces", 1, NULL, 't'}, {"mutants", 1, NULL, 'm'},  {"only", 1, NULL, 'o'},
        {"failures", 1, NULL, 'n'}, {"states", 0, NULL, 'a'}, {"coverage", 1, NULL, 'v'}, {"jobs", 1, NULL, 'j'},
        {NULL, 0, NULL, 0}};
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'f') a->from = strtoull(optarg, NULL, 10);
        if (c == 'c') a->count = strtoull(optarg, NULL, 10);
        if (c == 't') a->traces = strtoull(optarg, NULL, 10);
        if (c == 'n') a->failures = (unsigned)strtoul(optarg, NULL, 10);
        if (c == 'm') a->mutants = strtoull(optarg, NULL, 10);
        if (c == 'v') a->coverage = strtoull(optarg, NULL, 10);
        if (c == 'j') a->jobs = (unsigned)strtoul(optarg, NULL, 10);
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
    return optind == argc && a->jobs >= 1 && a->jobs <= JOBS_MAX;
}

int main(int argc, char **argv)
{
    struct args a = {.from = 1, .count = 20000, .failures = 10, .jobs = 1};
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
