/* Minds the processes of the embedded default: broker, Redis, scheduler, worker. For `keyroll up`. */
#ifndef KEYROLL_UP_H
#define KEYROLL_UP_H

#include "schema/options.h"

/* Where things are. All paths absolute; borrowed. */
struct up_places {
    const char *state_dir;    /* ours alone, mode 0700 */
    const char *self;         /* this program, for `keyroll schedule` and the broker */
    const char *worker;       /* keyroll-worker */
    const char *redis_server; /* redis-server */
    int lock;                 /* descriptor that holds the lock of state_dir; every child keeps it too */
};

/* Starts everything, keeps it running until SIGTERM or SIGINT, stops it in order. Tells what happens on standard
 * output. Returns the exit code: 0 stopped as asked, 1 could not start, 2 the settings were refused by a child. */
int up_run(const struct options *o, const struct up_places *places);

#endif
