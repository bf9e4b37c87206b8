/* The matrix: every row that makes a call x everything that can go wrong with that call, from several base stories that
 * together lead through all rows. Each cell is a world of its own, run until it rests. Whatever the fault, once: the
 * licence has to end current, with one key in use and nothing left over; the invariants are checked at each event on
 * the way. */
#include "tests/saga/saga_test.h"
#include "worker/rotation.h"

#include <stdio.h>

#define FAILURES_SHOWN 12
#define RULES_MAX      6

/* A story that leads to rows which the plain life does not visit. */
struct base {
    const char *name;
    struct sim_rule rules[4];
    void (*options)(struct sim_options *o);
    void (*drive)(struct sim_world *w); /* NULL: the scheduler alone */
    bool asks;                          /* a person may be asked: some faults cannot be told apart here */
};

/* ---- what strangers and bad luck do -------------------------------------------------------------------------------
 */

static struct sim_key *newest(struct sim_world *w)
{
    struct sim_key *k = NULL;
    for (size_t i = 0; i < w->truth.n; i++)
        if (w->truth.keys[i].exists && w->truth.keys[i].made_by == SIM_BY_KEYROLL) k = &w->truth.keys[i];
    return k;
}

static void delete_newest(struct sim_world *w)
{
    if (newest(w)) sim_truth_delete(&w->truth, newest(w)->id, SIM_BY_STRANGER);
}

static void deactivate_newest(struct sim_world *w)
{
    if (newest(w)) sim_truth_update(&w->truth, newest(w)->id, AWS_KEY_INACTIVE, SIM_BY_STRANGER);
}

static void restore_original(struct sim_world *w)
{
    if (w->truth.keys[0].exists) sim_restore_instance(w, &w->truth.keys[0]);
}

static void tests_work(void *arg)
{
    struct sim_world *w = arg;
    sim_instance_fail_tests(w->instance, false);
}

/* For an hour. */
static void fail_tests(struct sim_world *w)
{
    sim_instance_fail_tests(w->instance, true);
    sim_after(&w->sim, HOUR_MS, tests_work, w, w);
}

static void break_seal(struct sim_world *w)
{
    char key[STORE_KEY_MAX];
    store_key(&w->scheduler_store, SIM_USER_KEY, "journal", key);
    if (sim_redis_peek(w->redis, key, "sealed", NULL))
        sim_redis_poke(w->redis, key, "sealed", "kr1.0123456789abcdef.AAAA");
    for (unsigned i = 0; i < w->o.workers; i++) sim_worker_crash(&w->workers[i]);
}

static void evict_lease(struct sim_world *w)
{
    sim_evict(w, "lease");
}

static void flush(struct sim_world *w)
{
    sim_redis_flush(w->redis);
}

/* ---- other ways to drive ------------------------------------------------------------------------------------------
 */

static void no_readback(struct sim_options *o)
{
    o->can.can_read = false;
}

static void assisted(struct sim_options *o)
{
    o->can.can_write = false;
}

static void drive_person(struct sim_world *w)
{
    for (int i = 0; i < 5; i++) {
        struct sim_pair pair;
        struct journal j;
        sim_schedule(w);
        sim_run_quiet(w, DAYS);
        if (!sim_journal(w, &j) || sim_state(w) != RECORD_AWAITING || !sim_reveal(w, &pair)) break;
        sim_run_for(w, 120000);
        sim_paste(w, &pair);
    }
}

static const struct base bases[] = {
    {"plain", {{0}}, NULL, NULL, false},
    {"create answered late, made", {{SIM_ANY, .step = "create", .fault = {SIM_LOST_AFTER, 0}}}, NULL, NULL, false},
    {"create answered late, not made", {{SIM_ANY, .step = "create", .fault = {SIM_LOST_BEFORE, 0}}}, NULL, NULL, false},
    {"new key refused at settle", {{SIM_ANY, .step = "settle", .fault = {SIM_PERMANENT, 0}}}, NULL, NULL, false},
    {"set refused", {{SIM_ANY, .step = "set", .fault = {SIM_PERMANENT, 0}}}, NULL, NULL, false},
    {"set refused, lands later", {{SIM_ANY, .step = "set", .fault = {SIM_REFUSED_LATER, 60000}}}, NULL, NULL, false},
    {"new key deleted after set", {{SIM_ANY, .step = "read back", .act = delete_newest}}, NULL, NULL, false},
    {"new key made Inactive after set", {{SIM_ANY, .step = "read back", .act = deactivate_newest}}, NULL, NULL, false},
    {"instance fails after retire",
     {{SIM_ANY, .table = "retire", .step = "deactivate", .act = fail_tests}},
     NULL,
     NULL,
     false},
    {"instance restored in overlap",
     {{SIM_ANY, .table = "audit", .skip = 8, .act = restore_original}},
     NULL,
     NULL,
     false},
    {"seal broken", {{SIM_ANY, .step = "settle", .act = break_seal}}, NULL, NULL, false},
    {"lease evicted at create", {{SIM_ANY, .step = "create", .act = evict_lease}}, NULL, NULL, false},
    {"Redis flushed after set", {{SIM_ANY, .step = "read back", .act = flush}}, NULL, NULL, false},
    {"nothing can be read", {{0}}, no_readback, NULL, true},
    {"assisted", {{0}}, assisted, drive_person, false},
};

/* ---- one cell ------------------------------------------------------------------------------------------------------
 */

static struct sim_world *make(const struct base *b, const struct sim_rule *extra, struct sim_rule rules[RULES_MAX],
                              bool log, FILE *out)
{
    struct sim_options o;
    sim_options_default(&o, 7);
    o.story = out;
    o.workers = 2;
    if (b->options) b->options(&o);
    memset(rules, 0, RULES_MAX * sizeof(*rules));
    for (size_t i = 0; i < ARRAY_LEN(b->rules) && (b->rules[i].step || b->rules[i].table); i++)
        rules[o.n_rules++] = b->rules[i];
    if (extra) rules[o.n_rules++] = *extra;
    o.rules = rules;
    o.log_cells = log;
    return sim_world_new(&o);
}

static void drive(const struct base *b, struct sim_world *w)
{
    sim_start_plain(w);
    if (b->drive) {
        b->drive(w);
    } else {
        sim_schedule(w);
        sim_run_quiet(w, DAYS);
    }
}

static bool run(const struct base *b, const struct sim_rule *extra, char why[512])
{
    struct sim_rule rules[RULES_MAX];
    struct sim_world *w = make(b, extra, rules, false, NULL);
    drive(b, w);
    snprintf(why, 512, "%s", b->asks && sim_asks(w) ? sim_check_end(w) : sim_check_current(w));
    sim_world_free(w);
    return !why[0];
}

static void tell_story(const struct base *b, const struct sim_rule *extra)
{
    struct sim_rule rules[RULES_MAX];
    struct sim_world *w = make(b, extra, rules, false, stderr);
    drive(b, w);
    (void)sim_check_current(w);
    sim_world_free(w);
}

struct tally {
    unsigned cells, failures;
};

static void one_cell(const struct base *b, const struct sim_cell *c, enum sim_fault_kind kind, unsigned times,
                     struct tally *t)
{
    char why[512];
    const struct sim_rule extra = {
        .table = c->table, .row = c->row, .edge = (int)c->edge, .op = c->op, .times = times, .fault = {kind, 0}};
    t->cells++;
    if (run(b, &extra, why)) return;
    if (t->failures++ >= FAILURES_SHOWN) return;
    fprintf(stderr, "%s | %s/%s(%d) %s: %s x%u | %s\n", b->name, c->table, c->step, c->row, c->op, sim_fault_name(kind),
            times, why);
    if (getenv("KEYROLL_STORY") && t->failures == 1) tell_story(b, &extra);
}

static void base_story(const struct base *b, struct sim_cell **ret_cells, size_t *ret_n)
{
    struct sim_rule rules[RULES_MAX];
    struct sim_world *w = make(b, NULL, rules, true, NULL);
    drive(b, w);
    if (sim_check_current(w)[0]) {
        fprintf(stderr, "base %s: %s\n", b->name, w->truth.violation);
        if (getenv("KEYROLL_STORY")) tell_story(b, NULL);
    }
    assert_string_equal(w->truth.violation, "");
    *ret_n = w->n_cells;
    *ret_cells = w->n_cells ? malloc(w->n_cells * sizeof(**ret_cells)) : NULL;
    assert_non_null(*ret_cells);
    memcpy(*ret_cells, w->cells, w->n_cells * sizeof(**ret_cells));
    sim_world_free(w);
}

static void matrix(void **state)
{
    const struct base *b = *state;
    struct sim_cell *cells;
    struct tally t = {0, 0};
    size_t n;
    base_story(b, &cells, &n);
    const char *only = getenv("KEYROLL_CELL"); /* "row,kind" to look at one */
    for (size_t i = 0; i < n; i++)
        for (int k = SIM_FINE + 1; k < SIM_FAULT_KINDS; k++) {
            char name[32];
            snprintf(name, sizeof(name), "%s,%d,%d", cells[i].table, cells[i].row, k);
            if (only && strcmp(only, name)) continue;
            if (!sim_fault_possible(cells[i].edge, cells[i].op, cells[i].writes, true, (enum sim_fault_kind)k))
                continue;
            one_cell(b, &cells[i], (enum sim_fault_kind)k, 1, &t);
        }
    free(cells);
    print_message("%s: %u cells, %u failed\n", b->name, t.cells, t.failures);
    assert_int_equal(t.failures, 0);
}

int main(void)
{
    struct CMUnitTest tests[ARRAY_LEN(bases)];
    const char *only = getenv("KEYROLL_BASE");
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(bases); i++) {
        if (only && strcmp(only, bases[i].name)) continue;
        tests[n++] = (struct CMUnitTest){bases[i].name, matrix, NULL, NULL, (void *)(uintptr_t)&bases[i]};
    }
    return _cmocka_run_group_tests("matrix", tests, n, NULL, NULL);
}
