/* The intake of topic triggers: events from outside become jobs, as far as policy allows. Loop thread only. */
#ifndef KEYROLL_TRIGGERS_H
#define KEYROLL_TRIGGERS_H

#include "lib/kafka_in.h"
#include "lib/loop.h"
#include "producer/policies.h"
#include "producer/states.h"
#include "schema/trigger.h"

/* What became of an event, or of one of the keys that it names. */
enum trigger_outcome {
    TRIGGER_ASKED,     /* its job was published */
    TRIGGER_MARKED,    /* the key is marked as exposed; what is under way obeys that */
    TRIGGER_KNOWN,     /* asked for before, or nothing is left to do */
    TRIGGER_OWN,       /* we did that ourselves */
    TRIGGER_STRANGE,   /* not a user or key that we look after */
    TRIGGER_REFUSED,   /* policy does not allow it now */
    TRIGGER_LIMITED,   /* triggers_per_hour is used up for this licence */
    TRIGGER_UNKNOWN,   /* of a kind that is not known: it stays on the topic */
    TRIGGER_MALFORMED, /* no event: it stays on the topic */
    TRIGGER_OUTCOMES
};
const char *trigger_outcome_name(enum trigger_outcome o);

struct triggers;
struct triggers_options {
    struct loop *loop;
    const struct options *o;
    const struct clock *clock;
    struct store *store;
    struct kafka_port kafka;
    const struct states *states; /* must be caught up when ready() says so */
    /* What is in use now; NULL: not yet. Asked for each event; nothing of it is kept. */
    const struct inventory *(*inventory)(void *arg);
    struct policies *(*policies)(void *arg);
    bool (*ready)(void *arg); /* Redis is there, the states are read */
    /* licence "" unknown; why: a plain sentence. Texts in t come from outside, without control characters. */
    void (*told)(void *arg, const struct trigger *t, enum trigger_outcome what, const char *licence, const char *why);
    void (*on_fatal)(void *arg, const char *reason);
    void (*on_log)(void *arg, int level, const char *fac, const char *text);
    void *arg;
};
/* Joins group "<group>-triggers". Errors as kafka_in_new(). */
MUST_CHECK int triggers_new(const struct triggers_options *o, struct triggers **ret, char **ret_reason);
/* Takes no more, commits what is done and leaves the group; blocks at most about wait_ms and two seconds. NULL is fine.
 */
void triggers_stop(struct triggers *t, int64_t wait_ms);
/* After kafka_out_free() and redis_free(): answers come until then. Takes NULL. */
void triggers_free(struct triggers *t);
/* Something became ready: goes on with what waits. */
void triggers_wake(struct triggers *t);

#endif
