/* Metrics in Prometheus text format 0.0.4 (https://prometheus.io/docs/instrumenting/exposition_formats/). Counters,
 * gauges and histograms with at most two labels of bounded values. Loop thread only. */
#ifndef KEYROLL_METRICS_H
#define KEYROLL_METRICS_H

#include "lib/buf.h"

#include <stdint.h>

struct metrics;
struct metric;
enum metric_type { METRIC_COUNTER, METRIC_GAUGE, METRIC_HISTOGRAM };
struct metrics *metrics_new(void);
void metrics_free(struct metrics *m);
/* label1, label2: names, NULL when unused. bounds: histogram upper bounds in base units, ascending (n_bounds 0
 * otherwise). NULL: out of memory. Registering a name twice gives the same metric. max 64 label pairs per metric: more
 * are folded into "other". */
struct metric *metric_new(struct metrics *m, enum metric_type type, const char *name, const char *help,
                          const char *label1, const char *label2, const double *bounds, size_t n_bounds);
void metric_add(struct metric *m, const char *v1, const char *v2,
                double amount); /* counter, gauge; NULL metric is ignored */
void metric_set(struct metric *m, const char *v1, const char *v2,
                double value); /* gauge; a counter that is kept elsewhere */
/* gauge: no less than this from now on. What is folded into "other" shows the worst. */
void metric_raise(struct metric *m, const char *v1, const char *v2, double value);
/* All its series are 0 again, for what is added up or raised anew at each exposition. */
void metric_zero(struct metric *m);
void metric_observe(struct metric *m, const char *v1, const char *v2, double value); /* histogram */
/* Called before each exposition, to fill gauges. */
void metrics_on_collect(struct metrics *m, void (*fn)(void *arg), void *arg);
int metrics_write(struct metrics *m, struct buf *out);

#endif
