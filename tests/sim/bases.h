/* Stories that lead to rows which the plain life does not visit; together they lead through all rows. What the saga
 * matrix multiplies by faults, and what directed histories begin with. */
#ifndef KEYROLL_SIM_BASES_H
#define KEYROLL_SIM_BASES_H

#include "tests/sim/world.h"

#define SIM_BASE_RULES 4
struct sim_base {
    const char *name;
    struct sim_rule rules[SIM_BASE_RULES]; /* without a step and a table: none */
    void (*options)(struct sim_options *o);
    bool loses;  /* Redis loses its last writes */
    bool person; /* somebody pastes what is shown */
    bool asks;   /* a person may be asked: some faults cannot be told apart here */
};
extern const struct sim_base sim_bases[];
extern const size_t sim_n_bases;

/* Copies the base's rules to rules (room for SIM_BASE_RULES); returns how many. */
size_t sim_base_rules(const struct sim_base *b, struct sim_rule *rules);
/* Runs a world from its plain start until it rests; a person pastes when asked, wrongly first as often as `wrong` says.
 */
void sim_drive(struct sim_world *w, bool person, unsigned wrong, int64_t late_ms, int days);

#endif
