/* Which of the workers' breakers are open, as hash kr:breakers says (worker/breakers_share.h writes it). A licence that
 * is parked on one that is not among them has nothing to wait for any more. Loop thread only. */
#ifndef KEYROLL_CIRCUITS_H
#define KEYROLL_CIRCUITS_H

#include "schema/store.h"

/* What opened or was probed in vain so long ago is nobody's any more: the worker that said so is gone. */
#define CIRCUITS_STALE_MS 300000

struct circuits;
/* NULL when out of memory. Both are borrowed. */
struct circuits *circuits_new(struct store *store, const struct clock *clock);
/* After redis_free(). Takes NULL. */
void circuits_free(struct circuits *c);
/* Reads the hash, and removes from it what is stale; known before any answer to a command that is sent later. What
 * cannot be read stays as it was. */
void circuits_look(struct circuits *c);
/* May what is parked on this breaker go on? False before the first look. */
bool circuits_closed(const struct circuits *c, const char *breaker);

/* Pure: does the value that a worker wrote say that the breaker is open now? */
bool circuits_open_now(const char *value, int64_t now_ms);

#endif
