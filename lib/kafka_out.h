/* Kafka producer on the loop. Idempotent, acks=all, linger.ms=0. Loop thread only. (Topics: lib/kafka_admin.h.) */
#ifndef KEYROLL_KAFKA_OUT_H
#define KEYROLL_KAFKA_OUT_H

#include "lib/cleanup.h"
#include "lib/ticket.h"

#include <stddef.h>
#include <stdint.h>

struct loop;
struct kafka_out;

struct kafka_header {
    const char *name;
    const void *value;
    size_t len;
};
struct kafka_message_out {
    const char *topic;
    const void *key;
    size_t key_len;
    const void *value;
    size_t value_len;
    const struct kafka_header *headers;
    size_t n_headers;
};
/* What a ticket is completed with: const struct kafka_report *. */
struct kafka_report {
    int err; /* 0 delivered; ERR_KAFKA_UNDELIVERED (may or may not be there), ERR_KAFKA_REFUSED (too large, unknown
                topic, not authorised), ERR_KAFKA_FATAL */
    int32_t partition;
    int64_t offset;
    const char *detail;
};
/* The edge for simulation. Copies everything. 0: the ticket completes exactly once with the delivery report, later.
 * ERR_BUSY: local queue full, nothing happened. ERR_KAFKA_FATAL. */
struct kafka_port {
    void *self;
    int (*produce)(void *self, const struct kafka_message_out *m, struct ticket t);
};

/* key/value pairs passed through to librdkafka (kafka.* settings), in order; later wins. */
struct kafka_conf {
    const char *name;
    const char *value;
};
struct kafka_out_options {
    const char *brokers;       /* Required */
    const char *client_id;     /* Optional: NULL = "keyroll" */
    const char *const *topics; /* Optional: asked for at once, so that the first message to one does not wait */
    size_t n_topics;
    const struct kafka_conf *conf;
    size_t n_conf;
    int64_t delivery_timeout_ms; /* 0 = 10000 */
    unsigned linger_ms;          /* messages may wait so long for others; 0: each goes at once (jobs) */
    void (*on_fatal)(void *arg, const char *reason);                         /* the process must end */
    void (*on_log)(void *arg, int level, const char *fac, const char *text); /* syslog's levels; on the loop */
    void *arg;
};
/* ERR_INVALID with *ret_reason (caller frees) naming the refused property; ERR_NOMEM. */
MUST_CHECK int kafka_out_new(struct loop *l, const struct kafka_out_options *o, struct kafka_out **ret_out,
                             char **ret_reason);
/* Waits up to wait_ms for outstanding reports (blocking), completes the rest with ERR_KAFKA_UNDELIVERED, frees. Takes
 * NULL. */
void kafka_out_free(struct kafka_out *k, int64_t wait_ms);
struct kafka_port kafka_out_port(struct kafka_out *k);
size_t kafka_out_pending(const struct kafka_out *k);

/* Refuses known-bad combinations of librdkafka version and settings (facts: SCRAM below 2.6.1). NULL when fine, else
 * static text. */
const char *kafka_conf_refused(const struct kafka_conf *conf, size_t n_conf);
/* librdkafka's version string. */
const char *kafka_version(void);

#endif
