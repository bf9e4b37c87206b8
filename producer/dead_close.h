/* Closes a dead letter: a mark on its topic, and an event for the audit log. */
#ifndef KEYROLL_DEAD_CLOSE_H
#define KEYROLL_DEAD_CLOSE_H

#include "producer/deads.h"

struct options;

/* Sends both. by: who did it; reason: why, "" none. The ticket is completed with const int * (0 or the first error)
 * when both delivery reports are in. What was no job has no event, since an event is about a licence: its mark holds
 * all. ERR_NOMEM, ERR_INVALID; those of kafka_port.produce(): nothing happened. */
MUST_CHECK int dead_close(struct kafka_port kafka, const struct options *o, const struct dead *l,
                          enum deadmark_action action, const char *by, const char *reason, int64_t now_ms,
                          struct ticket t);

#endif
