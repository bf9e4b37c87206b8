/* Kafka consumer on the loop: classic group, cooperative-sticky, explicit commits. It copies each message and destroys
 * librdkafka's at once; without memory for one it fetches it again, and hands nothing of its partition on before it. It
 * decides nothing about offsets: worker/offsets does. Loop thread only. */
#ifndef KEYROLL_KAFKA_IN_H
#define KEYROLL_KAFKA_IN_H

#include "lib/kafka_out.h"

#include <stdbool.h>

struct kafka_in;

struct kafka_message_in { /* borrowed, dies when the callback returns */
    const char *topic;
    int32_t partition;
    int64_t offset;
    const char *key;
    size_t key_len; /* both NUL-terminated copies, "" when the message has none */
    const char *value;
    size_t value_len;
    const struct kafka_header *headers;
    size_t n_headers;
    int64_t timestamp_ms; /* broker or producer timestamp, -1 when none */
};
struct kafka_partition {
    const char *topic;
    int32_t partition;
    int64_t offset;
};

struct kafka_in_options {
    const char *brokers;
    const char *group;
    const char *client_id;
    const char *const *topics;
    size_t n_topics;
    const struct kafka_conf *conf;
    size_t n_conf;
    int64_t session_timeout_ms, heartbeat_ms; /* 0 = 8000 / 2000 */
    const struct clock *clock;                /* for our own deadlines; NULL: clock_system */
    void (*on_message)(void *arg, const struct kafka_message_in *m);
    /* assigned: start tracking. revoked: called before the unassign; commit with kafka_in_commit_sync() in it what is
     * finished. lost: as revoked, but nothing may be committed. */
    void (*on_assigned)(void *arg, const struct kafka_partition *p, size_t n);
    void (*on_revoked)(void *arg, const struct kafka_partition *p, size_t n, bool lost);
    void (*on_committed)(void *arg, const struct kafka_partition *p, size_t n, int err); /* answer to kafka_in_commit */
    void (*on_end)(void *arg, const char *topic, int32_t partition); /* all that is there was read; NULL: not told */
    void (*on_fatal)(void *arg, const char *reason);
    void (*on_log)(void *arg, int level, const char *fac, const char *text);
    void *arg;
};
/* Subscribes; messages flow as soon as the group is joined. Errors as kafka_out_new. */
MUST_CHECK int kafka_in_new(struct loop *l, const struct kafka_in_options *o, struct kafka_in **ret_in,
                            char **ret_reason);
/* Leaves the group and frees; blocks at most about wait_ms and two seconds. No callback comes any more, on_revoked
 * neither: commit before. Uncommitted offsets are not committed. Takes NULL; may be called inside a callback. */
void kafka_in_free(struct kafka_in *k, int64_t wait_ms);
/* Commits offset (= next to read) per partition, asynchronously; the answer comes by on_committed. Never lower an
 * offset: the broker would take it. Errors: ERR_BUSY (one is under way, or a rebalance is: try again after an
 * on_assigned), ERR_INVALID (n = 0), ERR_KAFKA_DOWN, ERR_NOMEM. */
MUST_CHECK int kafka_in_commit(struct kafka_in *k, const struct kafka_partition *p, size_t n);
/* The same and waits for the answer, at most wait_ms: only inside on_revoked and while draining. Errors:
 * ERR_KAFKA_DOWN, ERR_TIMEOUT_SENT (unknown), ERR_CANCELLED (the partitions are not ours any more), ERR_KAFKA_REFUSED,
 * ERR_NOMEM. */
MUST_CHECK int kafka_in_commit_sync(struct kafka_in *k, const struct kafka_partition *p, size_t n, int64_t wait_ms);
/* Pauses a partition (prefetched messages are dropped by librdkafka and fetched again later). Idempotent; state kept
 * here. Errors: ERR_NOT_FOUND (not assigned), ERR_KAFKA_DOWN. */
MUST_CHECK int kafka_in_pause(struct kafka_in *k, const char *topic, int32_t partition);
/* Resumes at `offset`, with the resume-then-seek(0) trick (plain resume costs up to 1 s). offset < 0: where it was,
 * without the trick. Not paused: nothing happens. Errors as kafka_in_pause(). */
MUST_CHECK int kafka_in_resume(struct kafka_in *k, const char *topic, int32_t partition, int64_t offset);
bool kafka_in_paused(const struct kafka_in *k, const char *topic, int32_t partition);
/* Stops taking any message (drain): pauses all partitions, also those assigned later. Polling goes on, so the
 * membership stays. kafka_in_resume() wakes single partitions again; kafka_in_allow_intake() lets later assignments
 * flow again. */
void kafka_in_stop_intake(struct kafka_in *k);
void kafka_in_allow_intake(struct kafka_in *k);
/* Joined and steady (an assignment, possibly empty, was received and no rebalance is under way). */
bool kafka_in_steady(const struct kafka_in *k);

#endif
