/* Completions by ticket. A starter takes a ticket and completes it exactly once, never before it returns, also when
 * cancelled or timed out. A ticket names a slot and a generation, not memory: a late answer finds a newer generation
 * and is dropped by its receiver. */
#ifndef KEYROLL_TICKET_H
#define KEYROLL_TICKET_H

#include <stdint.h>

struct ticket {
    void (*done)(void *self, uint64_t id, const void *result); /* result: borrowed, typed by the starter's contract */
    void *self;
    uint64_t id;
};
static inline void ticket_complete(struct ticket t, const void *result)
{
    t.done(t.self, t.id, result);
}

#endif
