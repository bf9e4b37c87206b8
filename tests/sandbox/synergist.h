/* The Synergist API of the simulated instances. */
#ifndef SANDBOX_SYNERGIST_H
#define SANDBOX_SYNERGIST_H

#include "tests/sandbox/world.h"

/* Is this an instance's address? Sets licence and action if so. host_licence: from the host name, or NULL. */
bool synergist_route(struct world *w, struct request *r, const char *host_licence);
void synergist_handle(struct world *w, struct request *r);
/* An error in the instance's own style; code is one of the vendor's numbers as text. */
void synergist_error(struct request *r, int http, const char *code, const char *text);

#endif
