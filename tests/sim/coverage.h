/* What a set of histories went through: for each call of each row, how often it went well and how often it was hurt, by
 * what. A cell is step x call x (outcome or crash point): refused for now or for good, lost before or after its effect,
 * late, ...; the caller crashes or freezes before the call leaves it, or after the effect and before it hears of it. */
#ifndef KEYROLL_SIM_COVERAGE_H
#define KEYROLL_SIM_COVERAGE_H

#include "tests/sim/net.h"

#define SIM_TABLES       5 /* rotate, retire, reap, audit, intake */
#define SIM_ROWS_MAX     80
#define SIM_CALLS_OF_ROW 10

struct sim_coverage_call {
    const char *op, *step; /* names that last as long as the process */
    enum sim_edge edge;
    bool writes;
    unsigned long kinds[SIM_FAULT_KINDS];
};
struct sim_coverage {
    struct sim_coverage_row {
        struct sim_coverage_call calls[SIM_CALLS_OF_ROW];
        size_t n;
    } rows[SIM_TABLES][SIM_ROWS_MAX];
};

/* One call, and what happened to it. Calls of no row are left out. */
void sim_coverage_note(struct sim_coverage *v, const struct sim_call *c, enum sim_fault_kind kind);
unsigned long sim_coverage_of(const struct sim_coverage *v, const struct sim_call *c, enum sim_fault_kind kind);
void sim_coverage_add(struct sim_coverage *to, const struct sim_coverage *from);
/* The table: a line for each call, a column for each kind; "-" where the kind cannot be, with the reasons
 * (sim_fault_why_not()) below, "!" behind a number below least. Returns how many cells are below least, and rows that
 * make calls and were never reached. */
unsigned sim_coverage_print(const struct sim_coverage *v, unsigned long least, FILE *out);

#endif
