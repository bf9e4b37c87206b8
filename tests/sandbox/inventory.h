/* Files that tell others about the simulated world. */
#ifndef SANDBOX_INVENTORY_H
#define SANDBOX_INVENTORY_H

#include "tests/sandbox/world.h"

/* Writes addresses and operator keys as JSON, mode 0600. Returns 0, or -1 with errno. */
int inventory_endpoints(const struct world *w, const char *path);
/* Writes inventory.csv and credentials (mode 0600) into a folder, made if absent. Returns 0, or -1 with errno. */
int inventory_write(struct world *w, const char *dir);

#endif
