/* One scheduler publishes, the others stand by: a lease in Redis. Two at once would only publish duplicates, so this is
 * thrift, not safety. Loop thread only. */
#ifndef KEYROLL_LEADER_H
#define KEYROLL_LEADER_H

#include "lib/loop.h"
#include "schema/store.h"

#define LEADER_TTL_MS 15000

struct leader;

struct leader_options {
    struct loop *loop;
    struct store *store;
    const struct clock *clock;
    const char *name;                                             /* of this process, shown to those who stand by */
    void (*on_change)(void *arg, bool leads, const char *holder); /* holder: who leads, "" unknown */
    void *arg;
};
/* NULL when out of memory. Begins at once. */
struct leader *leader_new(const struct leader_options *o);
/* Takes NULL. Gives nothing back: leader_resign() does. */
void leader_free(struct leader *l);
/* True while the lease surely lasts. */
bool leader_leads(const struct leader *l);
/* Asks at once, for example when Redis is back. */
void leader_ask_now(struct leader *l);
/* Gives the lease back and asks no more. done: runs when Redis answered, also when there was nothing to give. */
void leader_resign(struct leader *l, void (*done)(void *arg), void *arg);

#endif
