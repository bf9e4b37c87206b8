/* Calls, counted (calls.h). A call takes the caller's ticket along in a block of its own and completes it with the
 * answer as it came. The time is that of the whole call, queueing for the rate budget and for a handle included: what
 * the rotation waits for. */
#include "worker/calls.h"

#include "lib/err.h"

#include <stdlib.h>

struct call {
    struct call *next, **link;
    struct calls *calls;
    struct ticket t;
    bool to_aws;
    const char *op;
    int64_t began_mono_ms;
};

struct calls {
    const struct clock *clock;
    struct aws_port aws;
    struct instance_port instance;
    struct call *first;
    struct metric *aws_time, *aws_failed, *instance_time, *instance_failed;
};

static struct call *begin(struct calls *c, bool to_aws, const char *op, struct ticket t)
{
    struct call *k = calloc(1, sizeof(*k));
    if (!k) return NULL;
    *k = (struct call){c->first, &c->first, c, t, to_aws, op, clock_mono_ms(c->clock)};
    if (k->next) k->next->link = &k->next;
    c->first = k;
    return k;
}

static void forget(struct call *k)
{
    *k->link = k->next;
    if (k->next) k->next->link = k->link;
    free(k);
}

static void on_answer(void *self, uint64_t id, const void *result)
{
    struct call *k = self;
    struct calls *c = k->calls;
    struct ticket t = k->t;
    int err = k->to_aws ? ((const struct aws_result *)result)->err : ((const struct instance_result *)result)->err;
    double seconds = (double)(clock_mono_ms(c->clock) - k->began_mono_ms) / 1000;
    (void)id;
    metric_observe(k->to_aws ? c->aws_time : c->instance_time, k->op, NULL, seconds);
    if (err) metric_add(k->to_aws ? c->aws_failed : c->instance_failed, k->op, err_name(err), 1);
    forget(k);
    ticket_complete(t, result);
}

static int call_aws(void *self, const struct aws_request *req, struct ticket t)
{
    struct calls *c = self;
    struct call *k = begin(c, true, aws_op_name(req->op), t);
    if (!k) return ERR_NOMEM;
    int rc = c->aws.call(c->aws.self, req, (struct ticket){on_answer, k, 0});
    if (rc < 0) forget(k);
    return rc;
}

static int call_instance(void *self, const struct instance_request *req, struct ticket t)
{
    struct calls *c = self;
    struct call *k = begin(c, false, instance_op_name(req->op), t);
    if (!k) return ERR_NOMEM;
    int rc = c->instance.call(c->instance.self, req, (struct ticket){on_answer, k, 0});
    if (rc < 0) forget(k);
    return rc;
}

static bool abilities(void *self, const char *profile, struct instance_abilities *ret)
{
    struct calls *c = self;
    return c->instance.abilities(c->instance.self, profile, ret);
}

int calls_new(struct metrics *m, const struct clock *clock, struct aws_port aws, struct instance_port instance,
              struct calls **ret_calls)
{
    static const double seconds[] = {0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60};
    struct calls *c = calloc(1, sizeof(*c));
    if (!c) return ERR_NOMEM;
    *c = (struct calls){.clock = clock, .aws = aws, .instance = instance};
    c->aws_time = metric_new(m, METRIC_HISTOGRAM, "keyroll_aws_call_duration_seconds",
                             "Time of a call to AWS, waiting for its turn included", "operation", NULL, seconds,
                             ARRAY_LEN(seconds));
    c->aws_failed = metric_new(m, METRIC_COUNTER, "keyroll_aws_call_failures_total", "Calls to AWS that failed",
                               "operation", "code", NULL, 0);
    c->instance_time = metric_new(m, METRIC_HISTOGRAM, "keyroll_instance_call_duration_seconds",
                                  "Time of a call to an instance, waiting for its turn included", "operation", NULL,
                                  seconds, ARRAY_LEN(seconds));
    c->instance_failed = metric_new(m, METRIC_COUNTER, "keyroll_instance_call_failures_total",
                                    "Calls to instances that failed", "operation", "code", NULL, 0);
    *ret_calls = c;
    return 0;
}

void calls_free(struct calls *c)
{
    if (!c) return;
    while (c->first) forget(c->first);
    free(c);
}

struct aws_port calls_aws(struct calls *c)
{
    return (struct aws_port){c, call_aws};
}

struct instance_port calls_instance(struct calls *c)
{
    return (struct instance_port){c, call_instance, abilities};
}
