/* The rate of calls per AWS account and API family: a queue each, emergencies first, then what was begun, then the
 * rest, then those who wait for their turn to begin (lib/aws_turns.h). Slots come from the budget that all workers
 * share (lib/budget.h, a port), or, without one, from a token bucket of this process at a fixed rate. IAM's limits are
 * per account and shared with every other tool in it; they are not published. Loop thread only. */
#ifndef KEYROLL_AWS_PACE_H
#define KEYROLL_AWS_PACE_H

#include "lib/budget.h"
#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/ticket.h"

#include <sys/queue.h>

struct loop;
struct aws_pace;
struct aws_pace_account;

enum aws_family { AWS_FAMILY_READ, AWS_FAMILY_WRITE, AWS_FAMILY_STS, AWS_FAMILIES };
const char *aws_family_name(enum aws_family f); /* "iam-read", "iam-write", "sts" */

/* The common budget, or nothing (take NULL). */
struct aws_budget_port {
    void *self;
    /* 0: the ticket completes once, later, with const struct budget_grant *. Otherwise nothing happened. */
    int (*take)(void *self, const char *account, enum aws_family f, const struct budget_ask *ask, struct ticket t);
};

enum aws_pace_order { AWS_PACE_EMERGENCY, AWS_PACE_BEGUN, AWS_PACE_ORDINARY, AWS_PACE_TURN, AWS_PACE_ORDERS };
/* Embedded in what waits. Set order and leave_by_mono_ms before aws_pace_enter(). */
struct aws_pace_item {
    TAILQ_ENTRY(aws_pace_item) link;
    struct aws_pace_account *account; /* NULL unless queued */
    int64_t leave_by_mono_ms;         /* waits no longer than that; 0: for ever */
    int64_t epoch;                    /* of its slot, once it goes: for aws_pace_throttled() */
    enum aws_pace_order order;
};
struct aws_pace_options {
    const struct clock *clock;
    double per_s;   /* 0: unlimited. With a budget: what to start with */
    unsigned burst; /* fixed rate only; 0: as per_s, at least 1 */
    struct aws_budget_port budget;
    /* Called from the loop when a queued item may go, or may not any more (its time has passed). */
    void (*on_turn)(void *arg, struct aws_pace_item *item, bool expired);
    void *arg;
    /* When the next item of order AWS_PACE_TURN may go, its slot apart: monotonic; now or past: at once. NULL: at once.
     */
    int64_t (*begin_at)(void *begin_arg);
    void *begin_arg;
};
struct aws_pace *aws_pace_new(struct loop *l, const struct aws_pace_options *o); /* NULL: out of memory */
/* Items still queued are forgotten, not called. Takes NULL. */
void aws_pace_free(struct aws_pace *p);
/* 1: go at once, a slot was taken. 0: queued, on_turn() will be called. ERR_NOMEM. */
MUST_CHECK int aws_pace_enter(struct aws_pace *p, const char *account, enum aws_family f, struct aws_pace_item *item);
/* Takes an item out of its queue, if it is in one. */
void aws_pace_leave(struct aws_pace *p, struct aws_pace_item *item);
/* begin_at() may say something else now: the queues are looked at in the loop's next turn. */
void aws_pace_wake(struct aws_pace *p);
/* AWS throttled a call of this account whose item had this epoch: the budget is told; a fixed rate pauses a second. */
void aws_pace_throttled(struct aws_pace *p, const char *account, enum aws_family f, int64_t sent_epoch);

/* For metrics: each account and family in turn. */
struct aws_pace_view {
    const char *account;
    enum aws_family family;
    double rate_per_s; /* allowed to all workers together, 0 unknown */
    double base_per_s; /* seen to work */
    unsigned held, waiting;
    uint64_t calls, throttled, asks; /* of this process so far */
};
void aws_pace_each(struct aws_pace *p, void (*fn)(void *arg, const struct aws_pace_view *v), void *arg);

#endif
