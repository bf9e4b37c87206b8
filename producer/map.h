/* A map from short strings to pointers. Owns copies of its keys, not the values. Pure. */
#ifndef KEYROLL_MAP_H
#define KEYROLL_MAP_H

#include "lib/cleanup.h"

#include <stddef.h>

struct map {
    struct map_slot {
        char *key; /* owned; NULL: free */
        void *value;
    } * slots;
    size_t n, cap; /* cap: 0 or a power of two */
};
/* free_value: for each value left, may be NULL. */
void map_done(struct map *m, void (*free_value)(void *value));
/* NULL: not there. */
void *map_get(const struct map *m, const char *key);
/* Sets key to value (not NULL); *ret_before: what was there, may be NULL. ERR_NOMEM: nothing changed. */
MUST_CHECK int map_put(struct map *m, const char *key, void *value, void **ret_before);
/* Removes a key and returns its value, NULL: it was not there. Not while map_next() walks, but for the key it gave
 * last. */
void *map_take(struct map *m, const char *key);
/* Walks: *at from 0; NULL at the end. *ret_key is borrowed. */
void *map_next(const struct map *m, size_t *at, const char **ret_key);

#endif
