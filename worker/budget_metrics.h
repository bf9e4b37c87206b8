/* What the budgets of AWS calls (lib/aws_pace.h) tell Prometheus: keyroll_budget_*, by account and family. */
#ifndef KEYROLL_BUDGET_METRICS_H
#define KEYROLL_BUDGET_METRICS_H

#include "lib/aws_pace.h"
#include "lib/metrics.h"

/* Before each exposition: this, then budget_metrics_add() for each budget. */
void budget_metrics_begin(struct metrics *m);
/* arg: the struct metrics. For aws_pace_each(). */
void budget_metrics_add(void *arg, const struct aws_pace_view *v);

#endif
