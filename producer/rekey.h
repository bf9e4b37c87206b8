/* Seals the pairs that lie in Redis again, under the first master key (R13), so that older ones can be taken away. */
#ifndef KEYROLL_REKEY_H
#define KEYROLL_REKEY_H

#include "lib/escrow.h"
#include "producer/client.h"

#define REKEY_FOUND_MAX 2 /* pairs of one user: the journal's and the record's */

/* What became of one user. */
enum rekey_outcome {
    REKEY_NOTHING,  /* no pair */
    REKEY_FRESH,    /* all under the first key */
    REKEY_STALE,    /* dry: some under another key */
    REKEY_RESEALED, /* all under the first key now */
    REKEY_BUSY,     /* somebody holds the lease, or Redis is held off: try again later */
    REKEY_CLOSED,   /* a pair that these keys do not open, was changed, or whose document cannot be read; untouched */
};
struct rekey_user {
    enum rekey_outcome outcome;
    int err;                         /* REKEY_CLOSED: why */
    int64_t wait_ms;                 /* REKEY_BUSY */
    size_t n_found;                  /* pairs before */
    char under[REKEY_FOUND_MAX][17]; /* the id of the master key of each; "" no envelope of ours */
};

/* Lists the users that have a record or a journal in Redis: "account/user" each, *ret_users and its strings are the
 * caller's (rekey_free_users). Errors with c->error. */
MUST_CHECK int rekey_list(struct client *c, char ***ret_users, size_t *ret_n);
void rekey_free_users(char **users, size_t n);
/* Looks at one user and, unless dry, seals what is stale anew: under the user's lease, at the versions that were read.
 * Errors with c->error: Redis is away or answers nonsense; what was written then is whole either way. */
MUST_CHECK int rekey_user(struct client *c, const struct escrow *escrow, const char *user_key, bool dry,
                          struct rekey_user *ret);

#endif
