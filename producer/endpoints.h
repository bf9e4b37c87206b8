/* What `keyroll up` hands on: endpoints.conf, a settings file from which the scheduler, the worker and every command
 * run, and the environment that goes with it. */
#ifndef KEYROLL_ENDPOINTS_H
#define KEYROLL_ENDPOINTS_H

#include "schema/options.h"

#define ENDPOINTS_FILE "endpoints.conf"

/* What `up` adds to the settings it was given. Borrowed. */
struct endpoints {
    const char *brokers, *redis_url, *escrow_key_file;
};

/* Appends the settings file: what `o` was given by file, environment and flags, and the endpoints, and the shorter
 * Kafka timings that suit one machine unless others were given. ERR_INVALID with *ret_reason (caller frees): a value
 * that cannot stand in a file. ERR_NOMEM. */
MUST_CHECK int endpoints_write(const struct options *o, const struct endpoints *e, struct buf *out, char **ret_reason);
/* A copy of env without the variables that are settings: the file holds them, and the environment would win over it.
 * The strings are borrowed from env, the array is the caller's to free. NULL when out of memory. */
char **endpoints_environment(char *const *env);

#endif
