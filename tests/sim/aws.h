/* IAM, STS and S3 for one user, on the truth of truth.h. */
#ifndef KEYROLL_SIM_AWS_H
#define KEYROLL_SIM_AWS_H

#include "lib/aws.h"
#include "tests/sim/net.h"
#include "tests/sim/truth.h"

struct sim_aws;
#define SIM_MAKES_ACTIVE "UpdateAccessKey Active" /* for acts */

struct sim_aws_options {
    struct sim_net *net;
    struct sim_truth *truth;
    int64_t skew_limit_ms; /* a request that arrives later than this after it was signed is refused */
    /* A mutating call begins: may it? (I4) */
    void (*acts)(void *arg, struct sim_client *c, const char *what, const char *key_id);
    void *arg;
};
struct sim_aws *sim_aws_new(const struct sim_aws_options *o);
void sim_aws_free(struct sim_aws *a);
struct aws_port sim_aws_port(struct sim_aws *a, struct sim_client *c);
/* The next probe at STS is refused for good. */
void sim_aws_deny_probe(struct sim_aws *a);
/* The next create is answered with this key's id and the new one's secret. */
void sim_aws_misname(struct sim_aws *a, const char *id);
/* GetAccessKeyLastUsed cannot tell from now on. */
void sim_aws_blind(struct sim_aws *a, bool blind);

#endif
