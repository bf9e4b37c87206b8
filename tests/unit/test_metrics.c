/* The exposition text, byte for byte, and the bound on series. */
#include "lib/metrics.h"

#include "lib/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static const char *text_of(struct metrics *m, struct buf *b)
{
    buf_reset(b);
    assert_int_equal(metrics_write(m, b), 0);
    return buf_str(b);
}

static void exposition(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 100000);
    struct metrics *ms = metrics_new();
    assert_string_equal(text_of(ms, &b), "");
    struct metric *jobs = metric_new(ms, METRIC_COUNTER, "jobs_total", "Jobs\ndone \\ all", "kind", "result", NULL, 0);
    struct metric *up = metric_new(ms, METRIC_GAUGE, "up", NULL, NULL, NULL, NULL, 0);
    const double bounds[] = {0.1, 1};
    struct metric *seconds = metric_new(ms, METRIC_HISTOGRAM, "step_seconds", "Time", "step", NULL, bounds, 2);
    assert_ptr_equal(metric_new(ms, METRIC_COUNTER, "jobs_total", "", NULL, NULL, NULL, 0), jobs);
    metric_add(jobs, "rotate", "a\"b\\c\nd", 1);
    metric_add(jobs, "rotate", "a\"b\\c\nd", 2);
    metric_add(jobs, "reap", NULL, 1e15);
    metric_observe(seconds, "set", NULL, 0.1);
    metric_observe(seconds, "set", NULL, 0.5);
    metric_observe(seconds, "set", NULL, 70);
    metric_add(NULL, "x", "y", 1); /* no memory at start: ignored */
    metric_set(NULL, "x", "y", 1);
    metric_observe(NULL, "x", "y", 1);
    assert_string_equal(text_of(ms, &b), "# HELP jobs_total Jobs\\ndone \\\\ all\n# TYPE jobs_total counter\n"
                                         "jobs_total{kind=\"rotate\",result=\"a\\\"b\\\\c\\nd\"} 3\n"
                                         "jobs_total{kind=\"reap\",result=\"\"} 1e+15\n"
                                         "# HELP up \n# TYPE up gauge\nup 0\n"
                                         "# HELP step_seconds Time\n# TYPE step_seconds histogram\n"
                                         "step_seconds_bucket{step=\"set\",le=\"0.1\"} 1\n"
                                         "step_seconds_bucket{step=\"set\",le=\"1\"} 2\n"
                                         "step_seconds_bucket{step=\"set\",le=\"+Inf\"} 3\n"
                                         "step_seconds_sum{step=\"set\"} 70.6\n"
                                         "step_seconds_count{step=\"set\"} 3\n");
    metric_set(up, NULL, NULL, 0.25);
    assert_non_null(strstr(text_of(ms, &b), "\nup 0.25\n"));
    metrics_free(ms);
    metrics_free(NULL);
}

static void series_are_bounded(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 1 << 20);
    struct metrics *ms = metrics_new();
    struct metric *m = metric_new(ms, METRIC_COUNTER, "c", "", "v", NULL, NULL, 0);
    char value[32];
    for (int i = 0; i < 1000; i++) {
        (void)snprintf(value, sizeof(value), "v%d", i);
        metric_add(m, value, NULL, 1);
    }
    const char *text = text_of(ms, &b);
    assert_non_null(strstr(text, "c{v=\"v63\"} 1\n"));
    assert_null(strstr(text, "v64"));
    assert_non_null(strstr(text, "c{v=\"other\"} 936\n"));
    metrics_free(ms);
}

static struct metric *filled;
static void fill(void *arg)
{
    metric_set(filled, NULL, NULL, *(double *)arg);
}

static void filled_on_collection(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 1000);
    double value = 7;
    struct metrics *ms = metrics_new();
    filled = metric_new(ms, METRIC_GAUGE, "g", "", NULL, NULL, NULL, 0);
    metrics_on_collect(ms, fill, &value);
    assert_non_null(strstr(text_of(ms, &b), "\ng 7\n"));
    struct buf small;
    buf_init(&small, 5);
    assert_int_equal(metrics_write(ms, &small), ERR_TOO_LARGE);
    buf_done(&small);
    metrics_free(ms);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exposition),
        cmocka_unit_test(series_are_bounded),
        cmocka_unit_test(filled_on_collection),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
