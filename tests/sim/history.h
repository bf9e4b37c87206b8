/* One seed = one history of one licence: a start, abilities of the instance, a random subset of faults (a swarm),
 * things that happen, and for most seeds faults at one to three rows by turns (directed), so that no cell stays empty.
 */
#ifndef KEYROLL_SIM_HISTORY_H
#define KEYROLL_SIM_HISTORY_H

#include "tests/sim/bases.h"
#include "tests/sim/coverage.h"

struct sim_history {
    uint64_t seed;
    char violation[400]; /* "" all held */
    uint64_t trace;
    struct sim_plan plan; /* what went wrong, to be told again */
    enum record_state state;
    bool asks;  /* it ended with a person */
    bool heals; /* and must not */
    char reason[RECORD_TEXT_MAX];
    uint64_t events;
    unsigned creates, deletes;
};

/* Finds the directed cells; once per process. */
void sim_history_prepare(void);
/* Cells that a fault can be directed at; how often one was covered; a plan that leads there from the nth of its bases.
 */
size_t sim_history_cells(void);
unsigned long sim_history_covered(const struct sim_coverage *v, size_t cell);
void sim_history_direct(size_t cell, unsigned nth, struct sim_plan *ret);
/* replay: this plan instead of the seed's own; NULL. story, coverage: may be NULL. */
void sim_history_run(uint64_t seed, const struct sim_plan *replay, FILE *story, struct sim_coverage *coverage,
                     struct sim_history *ret);
/* Leaves out faults one by one while the same invariant still breaks. Returns the number of runs. */
unsigned sim_history_shrink(struct sim_history *h);
/* "12 crash before 0; ..." */
void sim_plan_print(const struct sim_plan *p, FILE *out);
/* Reads what sim_plan_print wrote. False: not a plan of this program. */
bool sim_plan_parse(char *text, struct sim_plan *ret);

#endif
