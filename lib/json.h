/* Reading JSON with jansson such that "no memory" is told from "not JSON": jansson says the first in few of its ways to
 * fail, and a good message must not be given up as malformed because memory was short. */
#ifndef KEYROLL_JSON_H
#define KEYROLL_JSON_H

#include "lib/cleanup.h"

#include <jansson.h>
#include <stdbool.h>

/* Parses len bytes; flags: jansson's. *ret_root: owned by the caller. where may be NULL. ERR_SYNTAX with *where,
 * ERR_NOMEM. */
MUST_CHECK int json_read(const char *bytes, size_t len, size_t flags, json_t **ret_root, json_error_t *where);

/* The same for a tree that stays: its memory is apart from that of the short-lived ones. */
MUST_CHECK int json_read_kept(const char *bytes, size_t len, size_t flags, json_t **ret_root, json_error_t *where);

/* True when no short-lived tree is left: a worker at rest has none. */
bool json_arena_empty(void);

/* From now on each block is libc's: for tests in which allocations fail. Before the first reading. */
void json_without_arena(void);

#endif
