/* Intake: from a Kafka message to a job under way and back. Decodes, opens the offset, admits within the limits, starts
 * the saga; when it ended, makes its outcome durable (retry topic, dead letter, or the record that is already written)
 * and only then finishes the offset (I7). Retry topics: a partition is paused until its head is due. */
#ifndef KEYROLL_INTAKE_H
#define KEYROLL_INTAKE_H

#include "lib/kafka_in.h"
#include "lib/metrics.h"
#include "worker/offsets.h"
#include "worker/rotation.h"

struct loop;
struct intake;

struct intake_options {
    struct rotation_env *env;
    struct kafka_port kafka;
    struct breakers *breakers; /* NULL: none */
    const char *worker_id;
    const char *topic_jobs, *topic_urgent, *topic_dead;
    const char *const *topic_retry;
    const int64_t *retry_delay_ms;
    size_t n_retry;                     /* rising delays */
    size_t max_in_flight, urgent_share; /* urgent_share: places that ordinary jobs may not take */
    int64_t park_after_ms; /* a head that is open for longer is handed on, so that the commit moves; 0 = 120 s */
    struct metrics *metrics;
    void (*on_idle)(void *arg); /* draining and nothing is left */
    void *arg;
};
MUST_CHECK int intake_new(struct loop *l, const struct intake_options *o, struct intake **ret_intake);
void intake_free(struct intake *i);
/* The consumers that the callbacks below belong to; before messages flow. One reads the jobs' topic, the other those of
 * urgent and retried ones: the group's assignor counts the partitions of a member whatever their topic, and gives a
 * newcomer those of the first topic by name, which would be nearly all that there is to do. NULL: none, or the first
 * one reads all topics. */
void intake_bind(struct intake *i, struct kafka_in *jobs, struct kafka_in *others);
/* kafka_in callbacks; arg = the intake. */
void intake_on_message(void *arg, const struct kafka_message_in *m);
void intake_on_assigned(void *arg, const struct kafka_partition *p, size_t n);
void intake_on_revoked(void *arg, const struct kafka_partition *p, size_t n, bool lost);
void intake_on_committed(void *arg, const struct kafka_partition *p, size_t n, int err);
void intake_on_others_committed(void *arg, const struct kafka_partition *p, size_t n, int err);
/* A breaker has closed: the job that waited to be its probe goes on at once. */
void intake_recovered(struct intake *i, const char *breaker);
/* The job that waits for this breaker, or did last, NULL: none is here. Borrowed until the next call. */
const struct job *intake_waiting_for(const struct intake *i, const char *breaker);
/* Takes nothing more; what runs reaches a journal boundary and parks; then on_idle. */
void intake_drain(struct intake *i);
/* Commits what is finished and waits for the answer, at most wait_ms: the end of a drain. */
void intake_commit_now(struct intake *i, int64_t wait_ms);
size_t intake_in_flight(const struct intake *i);

/* Pure: which of n >= 1 retry topics a job goes to after so many failures: the first, the second, at most the last. By
 * number and not by time: what is left of the wait is a little less than the topic's delay by then. */
size_t intake_rung(size_t n, unsigned attempts);
/* Pure: when a message of a retry topic with this delay is due that says not_before_ms. No message waits for longer
 * than delay and jitter, so a time that lies further ahead was written by a clock that is ahead of now_ms. *ahead_ms:
 * by how much, as learned from messages of this partition before, 0 at first; those behind are then told apart by it as
 * they were meant, and do not wait for one delay each. */
int64_t intake_due_ms(int64_t not_before_ms, int64_t rung_ms, int64_t now_ms, int64_t *ahead_ms);

#endif
