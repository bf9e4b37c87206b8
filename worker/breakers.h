/* The breakers of a worker: "account:ID" around the IAM calls, "host:HOST:PORT" around the calls of the instances,
 * "kafka" around messages. They stand between the steps and the edges (three ports in, three ports out), so that a
 * refused call is never sent; and they say of a job that failed whether it was the other side that fails for everybody.
 * Shared with the other workers through Redis (kr:breakers), where `keyroll status` and the scheduler read them. */
#ifndef KEYROLL_BREAKERS_H
#define KEYROLL_BREAKERS_H

#include "lib/aws.h"
#include "lib/breaker.h"
#include "lib/instance.h"
#include "lib/kafka_out.h"
#include "schema/job.h"

#define BREAKER_NAME_MAX 96

struct breakers;
struct breakers_options {
    const struct clock *clock;
    const struct rng *rng;
    struct aws_port aws;
    struct instance_port instance;
    struct kafka_port kafka;
    /* A state changed here. err: of the call that did it, 0 none; words: what the other side said, "" nothing. */
    void (*on_change)(void *arg, const char *name, enum breaker_state before, enum breaker_state now, int err,
                      const char *words);
    void *arg;
};
/* What the steps ask. The simulation leaves both NULL: nothing is ever blocked. */
struct breaker_port {
    void *self;
    /* Is something that this job needs not to be used now? Then the job parks. */
    bool (*blocked)(void *self, const struct job *j, char name[BREAKER_NAME_MAX]);
    /* It failed with err: was it the other side, for everybody? */
    bool (*blames)(void *self, const struct job *j, int err, char name[BREAKER_NAME_MAX]);
    bool (*kafka_down)(void *self);
};

MUST_CHECK int breakers_new(const struct breakers_options *o, struct breakers **ret_breakers);
void breakers_free(struct breakers *b); /* after the edges: their completions come here */
struct aws_port breakers_aws(struct breakers *b);
struct instance_port breakers_instance(struct breakers *b);
struct kafka_port breakers_kafka(struct breakers *b);
struct breaker_port breakers_port(struct breakers *b);

/* Chooses one parked job per breaker to be the probe: true for the first that asks, with the wait until it may try. */
bool breakers_hold(struct breakers *b, const char *name, int64_t *ret_wait_ms);
void breakers_let_go(struct breakers *b, const char *name);
/* Another worker saw that it is back. */
void breakers_close(struct breakers *b, const char *name);
void breakers_each(struct breakers *b, void (*fn)(void *arg, const char *name, const struct breaker *one), void *arg);
size_t breakers_open(const struct breakers *b); /* how many are not closed */

/* Pure: what an error tells about the other side. -1 it fails, 1 it answers, 0 nothing. */
int breakers_judge_account(int err);
int breakers_judge_host(int err);
/* "host:HOST:PORT" of an instance's address, lower case, without path; "" when it has none. Pure. */
void breakers_host_name(const char *url, char out[BREAKER_NAME_MAX]);

#endif
