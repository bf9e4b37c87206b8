/* Hash table from text to pointer: open addressing, FNV-1a, doubled at three quarters full.
 *
 * Nothing is ever removed: deleted access keys stay known (their secrets are needed for leak searches, their history
 * for the books). */
#include "tests/sandbox/table.h"

#include "tests/sandbox/buf.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static size_t hash(const char *key)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *key; key++) h = (h ^ (unsigned char)*key) * 0x100000001b3u;
    return (size_t)(h ^ (h >> 29));
}

void table_done(struct table *t)
{
    free(t->slots);
    *t = (struct table){0};
}

static struct table_slot *find(const struct table *t, const char *key)
{
    size_t i = hash(key) & (t->cap - 1);
    while (t->slots[i].key && strcmp(t->slots[i].key, key) != 0) i = (i + 1) & (t->cap - 1);
    return &t->slots[i];
}

void *table_get(const struct table *t, const char *key)
{
    return t->cap ? find(t, key)->value : NULL;
}

static void grow(struct table *t)
{
    struct table bigger = {.cap = t->cap ? t->cap * 2 : 64};
    bigger.slots = must_alloc(bigger.cap * sizeof(*bigger.slots));
    for (size_t i = 0; i < t->cap; i++) {
        if (!t->slots[i].key) continue;
        *find(&bigger, t->slots[i].key) = t->slots[i];
        bigger.n++;
    }
    free(t->slots);
    *t = bigger;
}

void table_put(struct table *t, const char *key, void *value)
{
    if ((t->n + 1) * 4 > t->cap * 3) grow(t);
    struct table_slot *s = find(t, key);
    if (!s->key) t->n++;
    *s = (struct table_slot){key, value};
}
