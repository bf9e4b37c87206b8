/* Reports transitions: an event to <prefix>.events (the audit log) and the whole state, without secrets, to
 * <prefix>.keys (compacted, keyed by user: what records are rebuilt from when Redis is lost, R8). */
#ifndef KEYROLL_REPORT_H
#define KEYROLL_REPORT_H

#include "schema/event.h"
#include "worker/rotation.h"

struct report_topics {
    const char *events, *keys;
};
MUST_CHECK int report_new(struct kafka_port kafka, const struct clock *clock, const struct report_topics *topics,
                          const char *worker_id, struct report **ret_report);
void report_free(struct report *r);
/* Completed with const int * (0 or the error of the first that failed) when event and state are both delivered. */
MUST_CHECK int report_transition(struct report *rep, const struct rotation *r, enum event_type type, struct ticket t);

/* True when a run that failed for good failed as its job did before, at the step whose dead letter is on the topic
 * (job.dead_step): that letter stands for it, too. Pure. */
bool report_letter_is_there(const struct rotation *r);
/* Which event tells how a run ended that did not end well; -1: none is due. Nothing is told twice of a licence that
 * goes on waiting for a person. Pure. */
int report_end_type(const struct rotation *r, int outcome);
/* Sends that event. Completed with const struct kafka_report *. */
MUST_CHECK int report_end(struct report *rep, const struct rotation *r, int type, struct ticket t);

#endif
