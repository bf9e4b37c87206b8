/* The books: what happened to each licence and to all of them. */
#ifndef SANDBOX_BOOKS_H
#define SANDBOX_BOOKS_H

#include "tests/sandbox/world.h"

/* Files one finished request. took_us: our own time for it, without simulated latency. */
void books_call(struct world *w, const struct request *r, int64_t took_us);
/* {"licences": {...}, "totals": {...}} of all, or of the one named. Returns false when there is no such licence. */
bool books_write(struct world *w, struct buf *out, const char *licence);
void books_summary(struct world *w, struct buf *out);
/* Requests about one licence, by action, and the last ones; of all (counts only) when licence is NULL. */
bool books_requests(struct world *w, struct buf *out, const char *licence);
/* Every secret that exists or existed. */
void books_secrets(struct world *w, struct buf *out);
/* Requests by class and action, rates, time and memory of the process. */
void books_stats(struct world *w, struct buf *out);
void books_done(void);

#endif
