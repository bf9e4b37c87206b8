/* Open addressing with linear probing and backward-shift deletion; grows at three quarters. Keys are user keys, which
 * come from our own inventory, so the hash need not resist an adversary. */
#include "producer/map.h"

#include "lib/err.h"
#include "lib/fnv.h"

#include <stdint.h>
#include <string.h>

static size_t hash(const char *s)
{
    uint64_t h = fnv1a(FNV1A_START, s);
    return (size_t)(h ^ (h >> 32));
}

/* The slot of key, or the free one where it belongs. cap > 0. */
static size_t place(const struct map *m, const char *key)
{
    size_t i = hash(key) & (m->cap - 1);
    while (m->slots[i].key && strcmp(m->slots[i].key, key) != 0) i = (i + 1) & (m->cap - 1);
    return i;
}

static int grow(struct map *m)
{
    struct map bigger = {.cap = m->cap ? m->cap * 2 : 64, .n = m->n};
    bigger.slots = calloc(bigger.cap, sizeof *bigger.slots);
    if (!bigger.slots) return ERR_NOMEM;
    for (size_t i = 0; i < m->cap; i++)
        if (m->slots[i].key) bigger.slots[place(&bigger, m->slots[i].key)] = m->slots[i];
    free(m->slots);
    *m = bigger;
    return 0;
}

void *map_get(const struct map *m, const char *key)
{
    return m->cap ? m->slots[place(m, key)].value : NULL;
}

int map_put(struct map *m, const char *key, void *value, void **ret_before)
{
    if ((m->n + 1) * 4 > m->cap * 3 && grow(m) < 0) return ERR_NOMEM;
    struct map_slot *s = &m->slots[place(m, key)];
    if (ret_before) *ret_before = s->value;
    if (!s->key) {
        if (!(s->key = strdup(key))) return ERR_NOMEM;
        m->n++;
    }
    s->value = value;
    return 0;
}

void *map_take(struct map *m, const char *key)
{
    size_t i = m->cap ? place(m, key) : 0;
    if (!m->cap || !m->slots[i].key) return NULL;
    void *value = m->slots[i].value;
    free(m->slots[i].key);
    m->n--;
    for (size_t j = (i + 1) & (m->cap - 1); m->slots[j].key; j = (j + 1) & (m->cap - 1)) {
        size_t home = hash(m->slots[j].key) & (m->cap - 1);
        if (((j - home) & (m->cap - 1)) < ((j - i) & (m->cap - 1))) continue; /* it would move in front of its home */
        m->slots[i] = m->slots[j];
        i = j;
    }
    m->slots[i] = (struct map_slot){0};
    return value;
}

void *map_next(const struct map *m, size_t *at, const char **ret_key)
{
    while (*at < m->cap) {
        const struct map_slot *s = &m->slots[(*at)++];
        if (!s->key) continue;
        if (ret_key) *ret_key = s->key;
        return s->value;
    }
    return NULL;
}

void map_done(struct map *m, void (*free_value)(void *value))
{
    for (size_t i = 0; i < m->cap; i++) {
        if (m->slots[i].key && free_value) free_value(m->slots[i].value);
        free(m->slots[i].key);
    }
    free(m->slots);
    *m = (struct map){0};
}
