/* Events that are worth a look at the fleet at once, not at the next tick: what licences were parked on answers again,
 * or a look at an instance found its key failing. Follows the events topic from its present end; what it missed is
 * found by the ticks. Loop thread only. */
#ifndef KEYROLL_ALARMS_H
#define KEYROLL_ALARMS_H

#include "lib/loop.h"
#include "schema/event.h"
#include "schema/options.h"

struct alarms;
struct alarms_options {
    struct loop *loop;
    const struct options *o;
    void (*rung)(void *arg, const struct event *e);
    void (*on_fatal)(void *arg, const char *reason);
    void (*on_log)(void *arg, int level, const char *fac, const char *text);
    void *arg;
};
/* Errors as kafka_follow_new(). */
MUST_CHECK int alarms_new(const struct alarms_options *o, struct alarms **ret, char **ret_reason);
/* Blocks at most about wait_ms. Takes NULL. */
void alarms_free(struct alarms *a, int64_t wait_ms);

/* Pure. Is this event one? An audit that found something tells it as reason or error. */
bool alarms_is_one(const struct event *e);

#endif
