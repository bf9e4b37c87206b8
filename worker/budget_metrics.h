/* What the budgets of AWS calls (lib/aws_pace.h) tell Prometheus: keyroll_budget_*, by account and family, and
 * keyroll_jobs_working, the jobs that do not wait for one. */
#ifndef KEYROLL_BUDGET_METRICS_H
#define KEYROLL_BUDGET_METRICS_H

#include "lib/aws_pace.h"
#include "lib/metrics.h"

struct budget_metrics {
    struct metrics *m;
    size_t waiting;
};
/* Before each exposition: this, then budget_metrics_add() for each budget, then the end. */
void budget_metrics_begin(struct budget_metrics *b, struct metrics *m);
/* arg: the struct budget_metrics. For aws_pace_each(). */
void budget_metrics_add(void *arg, const struct aws_pace_view *v);
/* in_flight: jobs under way. */
void budget_metrics_end(struct budget_metrics *b, size_t in_flight);

#endif
