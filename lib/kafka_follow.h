/* Follows one topic on the loop without a consumer group: every partition, from the beginning (a compacted topic that
 * is read as a table) or from its present end (waiting for an event). Commits nothing. Loop thread only. */
#ifndef KEYROLL_KAFKA_FOLLOW_H
#define KEYROLL_KAFKA_FOLLOW_H

#include "lib/kafka_in.h"

struct kafka_follow;

struct kafka_follow_options {
    const char *brokers;   /* Required */
    const char *client_id; /* Optional: NULL = "keyroll" */
    const char *topic;     /* Required */
    bool from_end;         /* only what comes from now on */
    const struct kafka_conf *conf;
    size_t n_conf;
    void (*on_message)(void *arg, const struct kafka_message_in *m); /* in order within a partition */
    /* Once: everything that stood in the topic when it was opened was handed out (from_end: what comes now will be). */
    void (*on_caught_up)(void *arg);
    void (*on_fatal)(void *arg, const char *reason);
    void (*on_log)(void *arg, int level, const char *fac, const char *text); /* syslog's levels; on the loop */
    void *arg;
};
/* Starts; an absent broker or topic is waited for (on_log says so). Errors as kafka_out_new(). */
MUST_CHECK int kafka_follow_new(struct loop *l, const struct kafka_follow_options *o, struct kafka_follow **ret_follow,
                                char **ret_reason);
/* No callback comes any more. Blocks at most about wait_ms. Takes NULL; not from within a callback. */
void kafka_follow_free(struct kafka_follow *k, int64_t wait_ms);
bool kafka_follow_caught_up(const struct kafka_follow *k);
/* Why it does not go on, "" when there is nothing to tell. */
const char *kafka_follow_reason(const struct kafka_follow *k);

#endif
