/* The matrix: every row that makes a call x everything that can go wrong with that call, from several base stories that
 * together lead through all rows. Each cell is a world of its own, run until it rests. Whatever the fault, once: the
 * licence has to end current, with one key in use and nothing left over; the invariants are checked at each event on
 * the way. */
#include "tests/saga/each_base.h"
#include "worker/rotation.h"

#include <stdio.h>

#define FAILURES_SHOWN 12
#define RULES_MAX      6

/* ---- one cell ------------------------------------------------------------------------------------------------------
 */

static struct sim_world *make(const struct sim_base *b, const struct sim_rule *extra, struct sim_rule rules[RULES_MAX],
                              bool log, FILE *out)
{
    struct sim_options o;
    sim_options_default(&o, 7);
    o.story = out;
    o.workers = 2;
    if (b->options) b->options(&o);
    memset(rules, 0, RULES_MAX * sizeof(*rules));
    o.n_rules = sim_base_rules(b, rules);
    if (extra) rules[o.n_rules++] = *extra;
    o.rules = rules;
    o.log_cells = log;
    return sim_world_new(&o);
}

static void drive(const struct sim_base *b, struct sim_world *w)
{
    sim_start_plain(w);
    sim_drive(w, b->person, 0, 120000, DAYS);
}

/* "" when it ended as it should. */
static const char *verdict(const struct sim_base *b, struct sim_world *w)
{
    return b->asks && sim_asks(w) ? sim_check_end(w) : sim_check_current(w);
}

static bool run(const struct sim_base *b, const struct sim_rule *extra, char why[512])
{
    struct sim_rule rules[RULES_MAX];
    struct sim_world *w = make(b, extra, rules, false, NULL);
    drive(b, w);
    snprintf(why, 512, "%s", verdict(b, w));
    sim_world_free(w);
    return !why[0];
}

static void tell_story(const struct sim_base *b, const struct sim_rule *extra)
{
    struct sim_rule rules[RULES_MAX];
    struct sim_world *w = make(b, extra, rules, false, stderr);
    drive(b, w);
    (void)verdict(b, w);
    sim_world_free(w);
}

struct tally {
    unsigned cells, failures;
};

static void one_cell(const struct sim_base *b, const struct sim_cell *c, enum sim_fault_kind kind, unsigned times,
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

static void base_story(const struct sim_base *b, struct sim_cell **ret_cells, size_t *ret_n)
{
    struct sim_rule rules[RULES_MAX];
    struct sim_world *w = make(b, NULL, rules, true, NULL);
    drive(b, w);
    if (verdict(b, w)[0]) {
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
    const struct sim_base *b = *state;
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
    return run_each_base("matrix", matrix);
}
