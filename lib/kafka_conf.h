/* What the Kafka files share: settings made of ours and the user's, error mapping, waking the loop, ending in time. */
#ifndef KEYROLL_KAFKA_CONF_H
#define KEYROLL_KAFKA_CONF_H

#include "lib/kafka_out.h"

#include <stdbool.h>

struct loop;
struct rd_kafka_conf_s; /* rd_kafka_conf_t */
struct rd_kafka_s;      /* rd_kafka_t */

/* Makes a configuration: `defaults` (what this librdkafka does not know is passed over), then the user's properties in
 * order, then `forced`.
 * Errors: ERR_INVALID with *ret_reason (caller frees; it never repeats the value of a password), ERR_NOMEM. */
MUST_CHECK int kafka_conf_make(const char *brokers, const struct kafka_conf *user, size_t n_user,
                               const struct kafka_conf *defaults, size_t n_defaults, const struct kafka_conf *forced,
                               size_t n_forced, struct rd_kafka_conf_s **ret_conf, char **ret_reason);

/* Forced for consumers that join no group: librdkafka holds max.poll.interval.ms, set by the user for the workers'
 * group, against a session.timeout.ms that these do not have (default 45 s), and would refuse to start. */
#define KAFKA_NO_MEMBER_POLL_MS "300000"

/* Why the user may not set this property, or NULL: what we promise about jobs rests on it, or it has a setting of its
 * own. Static text. */
const char *kafka_conf_reserved(const char *name);

/* Maps librdkafka's error to ours. Requests, not deliveries: ERR_KAFKA_DOWN (retriable), ERR_TIMEOUT_SENT,
 * ERR_CANCELLED (the group moved on: the assignment is not ours any more), ERR_KAFKA_REFUSED, ERR_KAFKA_FATAL,
 * ERR_INVALID. */
int kafka_err(int rd_err);

/* An event descriptor for rd_kafka_queue_io_event_enable() and a timer: fn runs when the queue became non-empty, after
 * kafka_wake_again(), and once a second (an idle topic writes no event, and the group wants polling).
 * fn must empty the queue or call kafka_wake_again(): the queue writes only when it turns from empty to non-empty. */
struct kafka_wake;
struct kafka_wake *kafka_wake_new(struct loop *l, void (*fn)(void *arg), void *arg);
int kafka_wake_fd(const struct kafka_wake *w); /* non-blocking, takes writes of KAFKA_WAKE_BYTES */
void kafka_wake_again(struct kafka_wake *w);   /* fn runs again in the next turn */
/* Disable the queue's events first. Takes NULL. */
void kafka_wake_free(struct kafka_wake *w);
extern const char kafka_wake_bytes[8]; /* what the queue has to write */

/* A message that was missed for want of memory, per partition. Nothing behind it may be taken before it, or the commit
 * would pass it. Zeroed: none is missed. */
struct kafka_missed {
    bool any;
    int64_t offset;
    unsigned seeks; /* since it was missed */
};
#define KAFKA_MISSED_AGAIN_MS 500 /* between two seeks */
/* May this message be taken? Not what lies behind the missed one; unless several seeks did not bring that, because the
 * broker has deleted it meanwhile. */
bool kafka_missed_takes(struct kafka_missed *m, int64_t offset);
/* Seeks to the missed message; harmless to repeat. True: call it again in KAFKA_MISSED_AGAIN_MS, since librdkafka does
 * not tell whether a seek without a wait was done. */
bool kafka_missed_seek(struct kafka_missed *m, struct rd_kafka_s *rk, const char *topic, int32_t partition);

/* Destroys the client in a thread of its own and waits for it at most wait_ms (librdkafka may hang in name resolution
 * or in its own bugs). False: it goes on in the background, what its callbacks use must stay. */
bool kafka_destroy(struct rd_kafka_s *rk, int64_t wait_ms);

/* True for log lines that only say that a property of the other kind of client is ignored: both get the same settings.
 */
bool kafka_log_is_noise(const char *fac, const char *text);

/* Copies a reason, so that the caller can free it. NULL out pointer or no memory: nothing. */
void kafka_reason(char **ret_reason, const char *fmt, ...) PRINTF_LIKE(2, 3);

#endif
