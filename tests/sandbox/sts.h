/* STS's Query API, version 2011-06-15. */
#ifndef SANDBOX_STS_H
#define SANDBOX_STS_H

#include "tests/sandbox/world.h"

/* The static name of an action, or NULL. */
const char *sts_action(const char *name);
/* True for the one action that carries no signature. */
bool sts_unsigned(const char *action);
void sts_handle(struct world *w, struct request *r);

#endif
