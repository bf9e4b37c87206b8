/* The scheduler daemon: `keyroll schedule`. */
#ifndef KEYROLL_SCHEDULE_H
#define KEYROLL_SCHEDULE_H

#include "schema/options.h"

/* Runs until SIGTERM or SIGINT. Returns the exit code: 0 clean, 1 failed start or a fatal error, 2 settings. */
int schedule_run(const struct options *o);

#endif
