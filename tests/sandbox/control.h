/* The control API under /_control/. */
#ifndef SANDBOX_CONTROL_H
#define SANDBOX_CONTROL_H

#include "tests/sandbox/world.h"

/* Answers a request whose path begins with /_control/. */
void control_handle(struct world *w, struct request *r);
/* True once somebody asked the sandbox to end. */
bool control_quit_asked(void);

#endif
