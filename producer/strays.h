/* Users that keyroll looked after and the inventory does not name any more: told, never touched. Their list lies in
 * Redis (kr:strays, user key -> licence), where `keyroll status` shows it. Loop thread only. */
#ifndef KEYROLL_STRAYS_H
#define KEYROLL_STRAYS_H

#include "producer/states.h"
#include "schema/inventory.h"
#include "schema/store.h"

struct strays;
/* NULL when out of memory. Borrows both. */
struct strays *strays_new(struct store *store, const struct states *states);
/* Takes NULL. After redis_free(). */
void strays_free(struct strays *s);
/* A new inventory, or the keys topic was read: compares and tells. */
void strays_renew(struct strays *s, const struct inventory *inv);
/* At each tick: writes the list if it changed and Redis did not take it yet. */
void strays_look(struct strays *s);

#endif
