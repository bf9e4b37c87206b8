/* A fixed rate of calls per account: a token bucket and a queue each, urgent calls first. IAM's limits are per account
 * and shared with every other tool in it; they are not published. Loop thread only. */
#ifndef KEYROLL_AWS_PACE_H
#define KEYROLL_AWS_PACE_H

#include "lib/cleanup.h"
#include "lib/clock.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

struct loop;
struct aws_pace;
struct aws_pace_account;

/* Embedded in what waits. Set urgent and leave_by_mono_ms before aws_pace_enter(). */
struct aws_pace_item {
    TAILQ_ENTRY(aws_pace_item) link;
    struct aws_pace_account *account; /* NULL unless queued */
    int64_t leave_by_mono_ms;         /* waits no longer than that; 0: for ever */
    bool urgent;
};
struct aws_pace_options {
    const struct clock *clock;
    double per_s;   /* 0: unlimited */
    unsigned burst; /* 0: as per_s, at least 1 */
    /* Called from the loop when a queued item may go, or may not any more (its time has passed). */
    void (*on_turn)(void *arg, struct aws_pace_item *item, bool expired);
    void *arg;
};
struct aws_pace *aws_pace_new(struct loop *l, const struct aws_pace_options *o); /* NULL: out of memory */
/* Items still queued are forgotten, not called. Takes NULL. */
void aws_pace_free(struct aws_pace *p);
/* 1: go at once, a token was taken. 0: queued, on_turn() will be called. ERR_NOMEM. */
MUST_CHECK int aws_pace_enter(struct aws_pace *p, const char *account, struct aws_pace_item *item);
/* Takes an item out of its queue, if it is in one. */
void aws_pace_leave(struct aws_pace *p, struct aws_pace_item *item);
/* AWS throttled a call of this account: nothing leaves for hold_ms. */
void aws_pace_hold(struct aws_pace *p, const char *account, int64_t hold_ms);

#endif
