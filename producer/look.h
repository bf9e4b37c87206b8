/* A live look at one licence, as `keyroll audit` and `adopt` take it: what AWS lists, what the instance uses. */
#ifndef KEYROLL_LOOK_H
#define KEYROLL_LOOK_H

#include "producer/client.h"
#include "schema/inventory.h"

struct look {
    int list_err, read_err; /* 0, or why the part below is not there */
    char list_why[CLIENT_ERROR_MAX], read_why[CLIENT_ERROR_MAX];
    struct aws_key keys[AWS_KEYS_MAX];
    size_t n_keys;
    struct instance_abilities can;
    enum instance_seen seen;
    enum instance_proof proof;
    char seen_id[AWS_KEY_ID_MAX];
};
/* Asks both. Failures stand in ret; only ERR_NOMEM and the like are returned, with c->error. */
MUST_CHECK int look_at(struct client *c, const struct inventory_row *row, struct look *ret);
struct instance_target look_target(const struct inventory_row *row);

#endif
