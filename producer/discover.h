/* Discovery: IAM users that are licences, found by path, name and tags, and described by their tags. */
#ifndef KEYROLL_DISCOVER_H
#define KEYROLL_DISCOVER_H

#include "lib/loop.h"
#include "schema/inventory.h"
#include "schema/options.h"

struct aws_call;
struct discover;

/* Adds what the accounts of inventory_discover hold to inv, one account after the other; a licence that inv has already
 * is left out. done runs once, later: err 0, or the first failure with a line for a person. NULL when out of memory. */
struct discover *discover_new(struct loop *l, const struct options *o, struct aws_call *aws, struct inventory *inv,
                              void (*done)(void *arg, int err, const char *reason), void *arg);
/* Takes NULL. Only when done has run, or before the calls it made can be answered. */
void discover_free(struct discover *d);

#endif
