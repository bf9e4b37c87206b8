/* Turns (aws_turns.h). The queue is the pace's; here is who has a place. Places run out by time, and a slot that was
 * not used in time is lost to the account, so both are given only when the job can go at once. */
#include "lib/aws_turns.h"

#include <stddef.h>

void aws_turns_init(struct aws_turns *a, const struct clock *clock)
{
    a->clock = clock;
    a->pace = NULL;
    a->n = 0;
    TAILQ_INIT(&a->places);
}

static void give_back(struct aws_turns *a, struct aws_turn *t)
{
    if (!t->has_place) return;
    TAILQ_REMOVE(&a->places, t, link);
    t->has_place = false;
    a->n--;
}

static void begin(struct aws_turns *a, struct aws_turn *t)
{
    t->begun_mono_ms = clock_mono_ms(a->clock);
    t->has_place = t->has_slot = true;
    TAILQ_INSERT_TAIL(&a->places, t, link);
    a->n++;
}

static int take(void *self, const char *account, struct aws_turn *t)
{
    struct aws_turns *a = self;
    t->item.order = AWS_PACE_TURN;
    t->item.leave_by_mono_ms = 0;
    int rc = aws_pace_enter(a->pace, account, AWS_FAMILY_READ, &t->item);
    if (rc > 0) begin(a, t);
    return rc;
}

static void end(void *self, struct aws_turn *t)
{
    struct aws_turns *a = self;
    bool had_place = t->has_place;
    aws_pace_leave(a->pace, &t->item);
    give_back(a, t);
    t->has_slot = false;
    if (had_place) aws_pace_wake(a->pace);
}

struct aws_turn_port aws_turns_port(struct aws_turns *a)
{
    return (struct aws_turn_port){a, take, end};
}

int64_t aws_turns_begin_at(void *self)
{
    struct aws_turns *a = self;
    int64_t now = clock_mono_ms(a->clock);
    struct aws_turn *t;
    while ((t = TAILQ_FIRST(&a->places)) && now - t->begun_mono_ms >= AWS_TURNS_PLACE_MS) give_back(a, t);
    return a->n < AWS_TURNS_PLACES ? 0 : t->begun_mono_ms + AWS_TURNS_PLACE_MS;
}

void aws_turns_granted(struct aws_turns *a, struct aws_pace_item *item)
{
    struct aws_turn *t = (struct aws_turn *)(void *)((char *)item - offsetof(struct aws_turn, item));
    begin(a, t);
    t->ready(t);
}

bool aws_turns_use(struct aws_turns *a, struct aws_turn *t, int64_t *ret_epoch)
{
    bool good = t->has_slot && clock_mono_ms(a->clock) - t->begun_mono_ms <= AWS_TURNS_SLOT_MS;
    t->has_slot = false;
    if (good) *ret_epoch = t->item.epoch;
    return good;
}
