/* The policies in use: the policy file, the settings behind it, and the time zones that the inventory names. Gives the
 * policy of one licence. Reads the tz database when a zone is first asked for. Loop thread only. */
#ifndef KEYROLL_POLICIES_H
#define KEYROLL_POLICIES_H

#include "producer/policy.h"
#include "schema/inventory.h"

struct client;
struct policies;

/* Loads o->policy_file, or path when it is not NULL; with neither, the settings alone. complain: as policy_file_read().
 * Errors of policy_file_read(); ERR_NOMEM. o: borrowed. */
MUST_CHECK int policies_new(const struct options *o, const char *path, policy_complain *complain, void *arg,
                            struct policies **ret);
void policies_free(struct policies *p); /* takes NULL */
/* The file was written to, or is another one, since it was read. */
bool policies_changed(const struct policies *p);
/* The policy of one licence; borrows from p and from the row. A policy or zone that is not known makes one that lets
 * nothing be rotated on schedule and says why. */
void policies_for(struct policies *p, const struct inventory_row *row, struct policy *ret);
const struct policy_file *policies_file(const struct policies *p);
/* Tells rows whose policy or zone is not known, exclusions and canaries that name no licence. Returns their number. */
size_t policies_check(struct policies *p, const struct inventory *inv, policy_complain *complain, void *arg);

/* For commands: faults are told on stderr. Errors with c->error. */
MUST_CHECK int policies_now(struct client *c, const char *path, struct policies **ret);

static inline void policies_freep(struct policies **p)
{
    policies_free(*p);
}
#define AUTO_POLICIES CLEANUP(policies_freep)

#endif
