/* What is told of the budgets: nothing is lost of more accounts than a metric has series for. */
#include "worker/budget_metrics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define ACCOUNTS 100

static double sum_of(const char *text, const char *name)
{
    double sum = 0;
    size_t len = strlen(name);
    for (const char *line = text; line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, name, len) == 0 && line[len] == '{') sum += strtod(strchr(line, '}') + 1, NULL);
    }
    return sum;
}

static void tell(struct metrics *m, struct buf *out, unsigned waiting, uint64_t calls)
{
    char account[16];
    struct budget_metrics b;
    budget_metrics_begin(&b, m);
    for (unsigned i = 0; i < ACCOUNTS; i++) {
        snprintf(account, sizeof account, "%012u", i);
        const struct aws_pace_view v = {
            .account = account, .family = AWS_FAMILY_READ, .waiting = waiting, .calls = calls, .rate_per_s = 8};
        budget_metrics_add(&b, &v);
    }
    budget_metrics_end(&b, 4 * ACCOUNTS);
    buf_reset(out);
    assert_int_equal(metrics_write(m, out), 0);
}

static void all_accounts_count(void **state)
{
    (void)state;
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 20);
    struct metrics *m = metrics_new();
    tell(m, &out, 7, 10); /* more calls wait than there are jobs: not all of them are of jobs */
    assert_non_null(strstr(buf_str(&out), "\nkeyroll_jobs_working 0\n"));
    tell(m, &out, 3, 20); /* each time anew */
    assert_true(sum_of(buf_str(&out), "keyroll_budget_waiting") == 3 * ACCOUNTS);
    assert_true(sum_of(buf_str(&out), "keyroll_budget_calls_total") == 20 * ACCOUNTS);
    assert_non_null(strstr(buf_str(&out), "keyroll_budget_rate{account=\"000000000000\",family=\"iam-read\"} 8\n"));
    assert_non_null(strstr(buf_str(&out), "\nkeyroll_jobs_working 100\n"));
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(all_accounts_count)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
