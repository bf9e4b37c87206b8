/* Redis's wall clock is set, forwards or back, while a call of any row is under way. Forwards, its leases end under
 * their living holders, and a second worker is given them at once. Its messages come again at the same moment, so that
 * there is one, and the call takes a while, so that this one comes to act. Whatever the row: effects begin in the order
 * of the leases' numbers (I4; the judge of the simulated world sees to it), all other invariants hold, and the licence
 * ends current or in a state that has a name: these are two faults, and waits that a clock cut short count as tries. */
#include "tests/saga/each_base.h"

#include <stdio.h>

#define RULES_MAX 6
#define SLOW_MS   4000 /* less than a renewal takes to tell the holder that its lease is gone */

static int64_t ahead_ms;

static void set_clock(struct sim_world *w)
{
    sim_set_redis_clock(w, ahead_ms);
    for (int t = 0; t < SIM_TOPICS; t++) sim_group_redeliver(&w->group, (enum sim_topic)t, 2);
}

static struct sim_world *make(const struct sim_base *b, const struct sim_rule *extra, struct sim_rule rules[RULES_MAX],
                              FILE *out)
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
    o.log_cells = !extra;
    return sim_world_new(&o);
}

static void drive(const struct sim_base *b, struct sim_world *w)
{
    sim_start_plain(w);
    sim_drive(w, b->person, 0, 120000, DAYS);
}

/* Returns whether the world fails, with its reason told. */
static bool fails(const struct sim_base *b, const struct sim_rule *extra, const struct sim_cell *c, FILE *out)
{
    struct sim_rule rules[RULES_MAX];
    struct sim_world *w = make(b, extra, rules, out);
    drive(b, w);
    const char *why = sim_check_end(w);
    bool failed = why[0] != '\0';
    if (failed) fprintf(stderr, "%s | %s/%s(%d) %s | %s\n", b->name, c->table, c->step, c->row, c->op, why);
    sim_world_free(w);
    return failed;
}

/* Under ASan, where each world takes ten times as long, every fourth call will do, unless all is asked for. */
static size_t stride(void)
{
#ifdef __SANITIZE_ADDRESS__
    const char *size = getenv("KEYROLL_TEST_SIZE");
    return size && !strcmp(size, "full") ? 1 : 4;
#else
    return 1;
#endif
}

static void at_each_call(void **state)
{
    const struct sim_base *b = *state;
    struct sim_rule rules[RULES_MAX];
    struct sim_world *w = make(b, NULL, rules, NULL);
    drive(b, w);
    assert_well(b->asks && sim_asks(w) ? sim_check_end(w) : sim_check_current(w));
    unsigned worlds = 0, failed = 0;
    const bool both = b == &sim_bases[0]; /* set back, leases last longer: the plain story shows it */
    for (size_t i = 0; i < (both ? 2 : 1) * w->n_cells; i += stride()) {
        const struct sim_cell *c = &w->cells[i % w->n_cells];
        const struct sim_rule extra = {.table = c->table,
                                       .row = c->row,
                                       .edge = (int)c->edge,
                                       .op = c->op,
                                       .fault = {SIM_SLOW, SLOW_MS},
                                       .act = set_clock};
        ahead_ms = i < w->n_cells ? HOUR_MS : -HOUR_MS;
        worlds++;
        if (fails(b, &extra, c, NULL) && failed++ == 0 && story()) fails(b, &extra, c, story());
    }
    sim_world_free(w);
    print_message("%s: %u worlds, %u failed\n", b->name, worlds, failed);
    assert_int_equal(failed, 0);
}

int main(void)
{
    return run_each_base("redis_clock", at_each_call);
}
