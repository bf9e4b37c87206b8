/* The inventory as the scheduler and the commands load it: the file, and the IAM users that discovery finds. */
#ifndef KEYROLL_FLEET_H
#define KEYROLL_FLEET_H

#include "lib/loop.h"
#include "lib/ticket.h"
#include "schema/inventory.h"
#include "schema/options.h"

struct aws_call;
struct client;
struct fleet;

struct fleet_options {
    struct loop *loop;
    const struct options *o;      /* borrowed, as all the rest */
    struct aws_call *aws;         /* Required when inventory_discover is set */
    inventory_complain *complain; /* one call per bad row; may be NULL */
    void *arg;
};
/* What a ticket is completed with: const struct fleet_result *. */
struct fleet_result {
    int err; /* 0; the file's or discovery's, with a line in reason: keep the generation before */
    const char *reason;
    struct inventory *inventory; /* err 0: sealed; the receiver owns it from here on */
};

/* NULL when out of memory. */
struct fleet *fleet_new(const struct fleet_options *o);
/* Takes NULL. Not while a load is under way: its ticket is completed by http_free() at the latest. */
void fleet_free(struct fleet *f);
/* Loads a new generation. 0: the ticket is completed exactly once, later. ERR_BUSY: one is under way; ERR_NOMEM. */
MUST_CHECK int fleet_load(struct fleet *f, struct ticket t);
/* The file is another one, or was written to, since the last load began. */
bool fleet_file_changed(const struct fleet *f);

/* For commands: loads and waits; bad rows are told on stderr when told is set. Errors with c->error. */
MUST_CHECK int fleet_load_now(struct client *c, bool told, struct inventory **ret_inventory);

#endif
