/* Hash table from text to pointer. Keys are borrowed: they must live as long as their entry. */
#ifndef SANDBOX_TABLE_H
#define SANDBOX_TABLE_H

#include <stddef.h>

struct table_slot {
    const char *key;
    void *value;
};

struct table {
    struct table_slot *slots;
    size_t n;
    size_t cap;
};

void table_done(struct table *t);
/* Returns the value, or NULL. */
void *table_get(const struct table *t, const char *key);
/* Adds or replaces. */
void table_put(struct table *t, const char *key, void *value);

#endif
