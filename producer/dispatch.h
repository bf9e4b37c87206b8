/* Publishes what a survey found: in order, at the given rates, and not the same thing again while it queues. Loop
 * thread only. */
#ifndef KEYROLL_DISPATCH_H
#define KEYROLL_DISPATCH_H

#include "lib/kafka_out.h"
#include "lib/loop.h"
#include "producer/survey.h"

struct dispatch;
/* A message whose report is in. */
struct dispatch_sent {
    enum job_kind kind;
    enum job_reason reason;
    const char *job_id, *licence, *key_id; /* key_id: to be replaced, "" none. Borrowed */
};
struct dispatch_options {
    struct loop *loop;
    struct kafka_port kafka;
    const struct options *o;
    const struct clock *clock;
    const char *by; /* requested_by of the jobs */
    /* A delivery report: err 0, or it is tried again at the next tick. kind: of the job. */
    void (*reported)(void *arg, const struct dispatch_sent *m, int err, const char *detail);
    /* Optional. The step of the dead letter that stands for these failures already, "" none; NULL: not known yet, or a
     * replay is under way: the job waits for a later list. */
    const char *(*dead_step)(void *arg, const char *user_key, int kind, int64_t first_failed_ms);
    void *arg;
};
struct dispatch *dispatch_new(const struct dispatch_options *o);
/* After kafka_out_free(): reports come until then. Takes NULL. */
void dispatch_free(struct dispatch *d);
/* Takes a new list in place of what is left of the one before; items are borrowed until the next call. */
void dispatch_list(struct dispatch *d, const struct survey_due *items, size_t n);
/* Redis lost records: what was published before them did not have its effect, so nothing is held back for it. */
void dispatch_forget(struct dispatch *d);
/* Drops the list: the lead was lost, or the process ends. */
void dispatch_stop(struct dispatch *d);
/* Jobs of this list not yet looked at, and rotations that wait for max_rotations_per_hour. */
size_t dispatch_left(const struct dispatch *d);
size_t dispatch_limited(const struct dispatch *d);
/* Jobs handed to Kafka whose delivery report is not in yet. */
size_t dispatch_outstanding(const struct dispatch *d);

/* How long the same job is held back. times: publications in a row before; changed: record or journal changed since the
 * last. Pure. */
int64_t dispatch_hold_ms(int64_t tick_ms, unsigned times, bool changed);

#endif
