/* The producer's side of Kafka: messages are kept in the order in which they arrived. */
#ifndef KEYROLL_SIM_KAFKA_H
#define KEYROLL_SIM_KAFKA_H

#include "lib/kafka_out.h"
#include "tests/sim/net.h"

struct sim_kafka_message {
    char *topic, *key, *value; /* NUL-terminated */
    size_t value_len;
    int64_t wall_ms;
    struct kafka_header *headers; /* with their bytes behind them; owned */
    size_t n_headers;
};
struct sim_kafka;

struct sim_kafka *sim_kafka_new(struct sim_net *net);
void sim_kafka_free(struct sim_kafka *k);
struct kafka_port sim_kafka_port(struct sim_kafka *k, struct sim_client *c);
size_t sim_kafka_count(const struct sim_kafka *k);
const struct sim_kafka_message *sim_kafka_at(const struct sim_kafka *k, size_t i);
/* Called for each message that arrives. */
void sim_kafka_on_message(struct sim_kafka *k, void (*fn)(void *arg, const struct sim_kafka_message *m), void *arg);

#endif
