/* Slot map (slots.h): an array of (owner, generation) with a free list. Generations wrap after 2^32 uses of one slot,
 * far beyond the life of any answer. */
#include "lib/slots.h"

#include <string.h>

static struct slot *live(const struct slots *s, uint64_t id)
{
    size_t i = (size_t)(uint32_t)id;
    if (id == 0 || i >= s->n) return NULL;
    struct slot *slot = &s->v[i];
    return slot->owner && slot->generation == (uint32_t)(id >> 32) ? slot : NULL;
}

static uint64_t id_of(const struct slots *s, const struct slot *slot)
{
    return ((uint64_t)slot->generation << 32) | (uint64_t)(slot - s->v);
}

void slots_done(struct slots *s)
{
    free(s->v);
    memset(s, 0, sizeof(*s));
}

static int grow(struct slots *s)
{
    size_t cap = s->cap ? s->cap * 2 : 64;
    struct slot *v = realloc(s->v, cap * sizeof(*v));
    if (!v) return -1;
    s->v = v;
    s->cap = cap;
    return 0;
}

uint64_t slots_add(struct slots *s, void *owner)
{
    struct slot *slot;
    if (s->free_head) {
        slot = &s->v[s->free_head - 1];
        s->free_head = slot->next_free;
    } else {
        if (s->n == s->cap && grow(s) < 0) return 0;
        slot = &s->v[s->n++];
        slot->generation = 0;
    }
    slot->owner = owner;
    slot->generation++;
    if (slot->generation == 0) slot->generation = 1;
    s->used++;
    return id_of(s, slot);
}

void *slots_find(const struct slots *s, uint64_t id)
{
    struct slot *slot = live(s, id);
    return slot ? slot->owner : NULL;
}

uint64_t slots_next(struct slots *s, uint64_t id)
{
    struct slot *slot = live(s, id);
    if (!slot) return 0;
    slot->generation++;
    if (slot->generation == 0) slot->generation = 1;
    return id_of(s, slot);
}

void slots_remove(struct slots *s, uint64_t id)
{
    struct slot *slot = live(s, id);
    if (!slot) return;
    slot->owner = NULL;
    slot->next_free = s->free_head;
    s->free_head = (uint32_t)(slot - s->v) + 1;
    s->used--;
}
