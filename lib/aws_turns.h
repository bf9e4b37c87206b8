/* Turns: leave to begin a job on an account. A job takes nothing - no lease, no record, no connection - before the
 * account's read budget has a slot for its first call and there is a place among those who begin. So what queues costs
 * nobody anything, a lease is not renewed for minutes by jobs that do nothing, and what was begun is not held up by
 * what was not. Loop thread only. */
#ifndef KEYROLL_AWS_TURNS_H
#define KEYROLL_AWS_TURNS_H

#include "lib/aws.h"
#include "lib/aws_pace.h"

#define AWS_TURNS_PLACES   256  /* more than the handles of any class, so that none of them stands idle */
#define AWS_TURNS_PLACE_MS 5000 /* who takes longer, at a slow instance say, does not keep others from beginning */
#define AWS_TURNS_SLOT_MS  1000 /* a slot that is used later than that would come on top of those given out since */

struct aws_turns {
    const struct clock *clock;
    struct aws_pace *pace;
    TAILQ_HEAD(, aws_turn) places; /* oldest first */
    unsigned n;
};
void aws_turns_init(struct aws_turns *a, const struct clock *clock);
struct aws_turn_port aws_turns_port(struct aws_turns *a);

/* For the pace: when may the next one begin (monotonic; past or 0: now), and: item, of order AWS_PACE_TURN, may go. */
int64_t aws_turns_begin_at(void *self);
void aws_turns_granted(struct aws_turns *a, struct aws_pace_item *item);

/* Takes the turn's slot for a call that leaves now; *ret_epoch as in aws_pace_item. False: there is none, or it is
 * stale: queue. */
bool aws_turns_use(struct aws_turns *a, struct aws_turn *t, int64_t *ret_epoch);

#endif
