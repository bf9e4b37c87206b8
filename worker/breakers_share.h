/* What workers tell each other, the scheduler and people of their breakers: hash kr:breakers, field the breaker's name,
 * value {"state","by","error","at_ms","until_ms"}; absent = closed. While one is open here the hash is read twice a
 * second, so a recovery that another worker saw holds here, too; the one that sees it publishes an event, on which the
 * scheduler starts what is parked. */
#ifndef KEYROLL_BREAKERS_SHARE_H
#define KEYROLL_BREAKERS_SHARE_H

#include "lib/metrics.h"
#include "schema/store.h"
#include "worker/breakers.h"

struct breakers_share;
struct intake;
struct loop;

struct breakers_share_options {
    struct loop *loop;
    struct store *store;
    struct kafka_port kafka;
    const char *topic_events, *worker_id;
};
MUST_CHECK int breakers_share_new(const struct breakers_share_options *o, struct breakers_share **ret_share);
void breakers_share_free(struct breakers_share *s);
/* Before anything changes. */
void breakers_share_bind(struct breakers_share *s, struct breakers *b, struct intake *i);
/* breakers_options.on_change; arg = the share. */
void breakers_share_changed(void *arg, const char *name, enum breaker_state before, enum breaker_state now, int err,
                            const char *words);
/* keyroll_breaker_state{breaker}: 0 closed, 1 half-open, 2 open. */
void breakers_share_collect(struct breakers_share *s, struct metrics *m, bool redis_ready);

#endif
