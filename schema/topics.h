/* The topics of keyroll as they should be: schema/topics.json, built in, with this installation's names. */
#ifndef KEYROLL_TOPICS_H
#define KEYROLL_TOPICS_H

#include "lib/kafka_admin.h"

struct options;

struct topics {
    struct kafka_topic_spec *specs; /* n of them; ready for kafka_admin_plan() */
    size_t n;
    struct topics_store *store; /* owns what the specs point to */
};

/* Makes the list: names from topic_prefix and retry_delays; replication and min.insync.replicas no higher than
 * `brokers` allow (0: as the file says). path: another file of the same form, for other partitions or retention; NULL:
 * the built-in one. The dead letters' retention must be longer than overlap and quarantine. ERR_IO, ERR_SYNTAX,
 * ERR_INVALID with *ret_reason (caller frees): file, what is wrong; ERR_NOMEM. */
MUST_CHECK int topics_init(struct topics *t, const struct options *o, const char *path, int brokers, char **ret_reason);
void topics_done(struct topics *t); /* takes a zeroed struct */

#endif
