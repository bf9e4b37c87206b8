/* The numbers are kept in the queues and told anew each time. They are added up from zero, not set: of more accounts
 * than a metric has series for, all that are folded into "other" count, since the workers are scaled by how many jobs
 * wait. */
#include "worker/budget_metrics.h"

static const struct row {
    enum metric_type type;
    const char *name, *help;
} rows[] = {
    {METRIC_GAUGE, "keyroll_budget_rate", "Calls per second that all workers together may make"},
    {METRIC_GAUGE, "keyroll_budget_worked", "Calls per second that the account was seen to bear"},
    {METRIC_GAUGE, "keyroll_budget_waiting", "Calls of this worker that wait for the budget"},
    {METRIC_GAUGE, "keyroll_budget_held", "Calls that this worker has reserved"},
    {METRIC_COUNTER, "keyroll_budget_calls_total", "Calls of this worker let through"},
    {METRIC_COUNTER, "keyroll_budget_throttled_total", "Calls of this worker that AWS throttled"},
    {METRIC_COUNTER, "keyroll_budget_asks_total", "Times this worker asked Redis for its share"},
};

static struct metric *metric_of(struct metrics *m, const struct row *row)
{
    return metric_new(m, row->type, row->name, row->help, "account", "family", NULL, 0);
}

void budget_metrics_begin(struct budget_metrics *b, struct metrics *m)
{
    *b = (struct budget_metrics){.m = m};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) metric_zero(metric_of(m, &rows[i]));
}

void budget_metrics_add(void *arg, const struct aws_pace_view *v)
{
    struct budget_metrics *b = arg;
    const double values[ARRAY_LEN(rows)] = {v->rate_per_s,    v->base_per_s,        v->waiting,     v->held,
                                            (double)v->calls, (double)v->throttled, (double)v->asks};
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        metric_add(metric_of(b->m, &rows[i]), v->account, aws_family_name(v->family), values[i]);
    b->waiting += v->waiting;
}

void budget_metrics_end(struct budget_metrics *b, size_t in_flight)
{
    metric_set(metric_new(b->m, METRIC_GAUGE, "keyroll_jobs_working",
                          "Jobs under way that do not wait for a budget of AWS calls", NULL, NULL, NULL, 0),
               NULL, NULL, in_flight > b->waiting ? (double)(in_flight - b->waiting) : 0);
}
