/* Counts and times every call to AWS and to instances: ports that stand in front of the real ones. Rate, errors and
 * duration by operation, in keyroll_aws_call_* and keyroll_instance_call_*. Loop thread only. */
#ifndef KEYROLL_CALLS_H
#define KEYROLL_CALLS_H

#include "lib/clock.h"
#include "lib/instance.h"
#include "lib/metrics.h"

struct calls;
/* m, clock: borrowed. The ports behind: see aws.h, instance.h. ERR_NOMEM. */
MUST_CHECK int calls_new(struct metrics *m, const struct clock *clock, struct aws_port aws,
                         struct instance_port instance, struct calls **ret_calls);
/* After the ports behind are freed: what they never answered is dropped. Takes NULL. */
void calls_free(struct calls *c);
struct aws_port calls_aws(struct calls *c);
struct instance_port calls_instance(struct calls *c);

#endif
