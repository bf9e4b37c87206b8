/* The scheduler daemon: `keyroll schedule`. */
#ifndef KEYROLL_SCHEDULE_H
#define KEYROLL_SCHEDULE_H

#include "schema/options.h"

#include <stdbool.h>

/* Runs until SIGTERM or SIGINT; once: until one look at the fleet is over and what was due is published, or another
 * scheduler leads. Returns the exit code: 0 clean, 1 failed start, a fatal error, or (once) a job that could not be
 * published, 2 settings. */
int schedule_run(const struct options *o, bool once);

#endif
