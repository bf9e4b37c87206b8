/* Turns what is due into messages: one job, built from an inventory row and a verdict, sent with its headers. */
#ifndef KEYROLL_PUBLISH_H
#define KEYROLL_PUBLISH_H

#include "lib/clock.h"
#include "producer/policy.h"
#include "schema/inventory.h"

/* Builds the job. by: who asks, printable. ERR_INVALID: the row and the verdict make no valid job. */
MUST_CHECK int publish_make(const struct inventory_row *row, const struct policy_verdict *v, const char *by,
                            int64_t now_ms, struct job *ret);
/* Sends it to topic_urgent when it is urgent, else to topic_jobs. The ticket is completed with const struct
 * kafka_report *. Errors: those of job_encode() and kafka_port.produce(). */
MUST_CHECK int publish_job(struct kafka_port kafka, const struct options *o, const struct job *j, struct ticket t);

/* ---- pacing: counters of the last hour, pure ---- */

struct pace {
    int64_t minute[61]; /* which minute each counter is for */
    int64_t count[61];
};
/* How many more may pass within this hour. */
int64_t pace_left(const struct pace *p, int64_t most_per_hour, int64_t now_ms);
void pace_count(struct pace *p, int64_t now_ms);

#endif
