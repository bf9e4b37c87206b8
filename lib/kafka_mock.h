/* librdkafka's mock broker in this process, for `keyroll up` and the tests: real TCP on 127.0.0.1, everything in
 * memory. */
#ifndef KEYROLL_KAFKA_MOCK_H
#define KEYROLL_KAFKA_MOCK_H

#include "lib/cleanup.h"

#include <stddef.h>

struct kafka_mock;
struct kafka_mock_topic {
    const char *name;
    int partitions; /* 1.. */
};

/* Starts `brokers` (1..9) of them with these topics; other topics come into being when used, with 4 partitions.
 * Errors: ERR_INVALID with *ret_reason (caller frees), ERR_NOMEM. */
MUST_CHECK int kafka_mock_start(int brokers, const struct kafka_mock_topic *topics, size_t n_topics,
                                struct kafka_mock **ret_mock, char **ret_reason);
/* "127.0.0.1:port,...": for other processes too. Borrowed. */
const char *kafka_mock_brokers(const struct kafka_mock *m);
/* Cuts a broker off (or lets it come back): id from 1. For tests. ERR_NOT_FOUND. */
MUST_CHECK int kafka_mock_set_down(struct kafka_mock *m, int id, int is_down);
/* The next n answers to this request (Kafka's ApiKey) are this error (librdkafka's number). For tests. */
void kafka_mock_fail(struct kafka_mock *m, int api_key, int n, int rd_err);
/* Takes NULL. */
void kafka_mock_stop(struct kafka_mock *m);

#endif
