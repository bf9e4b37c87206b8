/* The instances' own use of their keys, and the outages that shows. */
#ifndef SANDBOX_USES_H
#define SANDBOX_USES_H

#include "tests/sandbox/world.h"

/* Lets the next instances use their keys, as many as the time since the last call asks for. */
void uses_tick(struct world *w);
/* One use now: NULL when S3 accepts the stored pair on the instance's bucket, else the error code. Books it. */
const char *uses_once(struct world *w, struct licence *l, int64_t now_ms);
/* Applies a written pair whose time has come. */
void uses_settle(struct world *w, struct licence *l, int64_t now_ms);
/* Remembers that the stored key signs URLs for others now. */
void uses_issued(struct licence *l, struct key *k, int64_t now_ms);

#endif
