/* Instance API profiles: how one kind of Synergist instance is read, written and tested. All configuration, JSON files. */
#ifndef KEYROLL_PROFILE_H
#define KEYROLL_PROFILE_H

#include "lib/instance.h"

struct profiles;

/* Loads the shipped profiles (default, no-readback, assisted) and then every *.json in dir (NULL: none), which may override them.
 * ERR_SYNTAX / ERR_INVALID with *ret_reason (caller frees): file, place, what to do. */
MUST_CHECK int profiles_load(const char *dir, struct profiles **ret_profiles, char **ret_reason);
void profiles_free(struct profiles *p);
/* NULL when there is none of that name. Borrowed. */
const struct profile *profiles_find(const struct profiles *p, const char *name);
void profile_abilities(const struct profile *p, struct instance_abilities *ret);

#endif
