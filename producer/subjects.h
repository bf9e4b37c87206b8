/* The licences that a command was given: found in the inventory, with what Redis holds of them. */
#ifndef KEYROLL_SUBJECTS_H
#define KEYROLL_SUBJECTS_H

#include "producer/client.h"
#include "schema/inventory.h"

struct subject {
    const struct inventory_row *row;
    char key[IDENTITY_KEY_MAX];
    struct store_peek peek;
};
struct subjects {
    struct inventory *inventory; /* owned */
    struct subject *items;       /* owned, n of them */
    size_t n;
};
/* Loads the inventory and finds the licences named (argc 0: all of them), once each. peek: Redis is asked for each.
 * Errors with c->error: an unknown licence is ERR_NOT_FOUND. *ret is to be released in any case. */
MUST_CHECK int subjects_find(struct client *c, int argc, char **argv, bool peek, struct subjects *ret);
/* Asks Redis again for all. */
MUST_CHECK int subjects_peek(struct client *c, struct subjects *s);
void subjects_done(struct subjects *s);

#endif
