/* Slot map: gives out ids that are not used again soon. An id names a slot and a generation, so a late answer for
 * something that ended finds nothing instead of freed memory. Pure. */
#ifndef KEYROLL_SLOTS_H
#define KEYROLL_SLOTS_H

#include "lib/cleanup.h"

#include <stddef.h>
#include <stdint.h>

struct slots {
    struct slot {
        void *owner;
        uint32_t generation;
        uint32_t next_free;
    } * v;
    size_t n, cap, used;
    uint32_t free_head; /* index + 1, 0 = none */
};
void slots_done(struct slots *s);
/* A new id for owner, never 0; 0 when out of memory. */
uint64_t slots_add(struct slots *s, void *owner);
/* The owner of a live id, else NULL. */
void *slots_find(const struct slots *s, uint64_t id);
/* Ends this id, gives the same slot a new generation: the owner's next wait. 0 when id is not live. */
uint64_t slots_next(struct slots *s, uint64_t id);
void slots_remove(struct slots *s, uint64_t id);

#endif
