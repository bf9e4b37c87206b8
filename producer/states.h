/* The keys topic as a table: the newest state that the workers published of each user, from which records are put back
 * when Redis has lost them (R8). Loop thread only. */
#ifndef KEYROLL_STATES_H
#define KEYROLL_STATES_H

#include "producer/map.h"
#include "schema/store.h"

#include <stdbool.h>

#define STATES_VERSION "keyroll.state/1"

/* What a message of the keys topic says. */
struct state {
    struct record record;
    struct journal journal;
    bool has_journal;
    char exposed[RECORD_KEYS_MAX][AWS_KEY_ID_MAX];
    size_t n_exposed;
};

struct states {
    struct map users; /* user key -> struct state_entry (private) */
    struct map keys;  /* access key id -> user key; ids that a record no longer names may stay */
    uint64_t bad;     /* messages that could not be read */
};
void states_done(struct states *s);
/* Takes one message in; len 0 forgets the user. An older state than the one that is known is dropped. ERR_SYNTAX,
 * ERR_VERSION, ERR_TOO_LARGE: counted, nothing changed; ERR_NOMEM. */
MUST_CHECK int states_take(struct states *s, const char *user_key, const char *value, size_t len);
bool states_knows(const struct states *s, const char *user_key);
/* Lease number of the newest state's writer, -1 when the user is not known. */
int64_t states_number(const struct states *s, const char *user_key);
/* Redis has nothing of this user, or what is older than the keys topic: states go there under the lease's number after
 * Redis has the journal, so that a higher number there means that Redis lost writes. False while a lease is held, and
 * where Redis has a journal and the topic none: the worker that told the end died before it wrote it, and the next one
 * comes to the same end. */
bool states_are_newer(const struct states *s, const char *user_key, const struct store_peek *u);
/* Whether the newest state has a journal. */
bool states_is_open(const struct states *s, const char *user_key);
/* The newest state, decoded. A journal that is open has lost its sealed pair: secret_lost is set. ERR_NOT_FOUND; else
 * as state_decode. */
MUST_CHECK int states_find(const struct states *s, const char *user_key, struct state *ret);
/* The user whose record names this access key, or did; borrowed, NULL: none. Look at the record before acting on it. */
const char *states_user_of(const struct states *s, const char *key_id);
/* Writes a state as the workers do; j NULL: nothing is open. ERR_NOMEM, ERR_TOO_LARGE. */
MUST_CHECK int state_encode(const struct record *r, const struct journal *j, const char (*exposed)[AWS_KEY_ID_MAX],
                            size_t n_exposed, struct buf *out);
/* Walks: *at from 0; false at the end. */
bool states_next(const struct states *s, size_t *at, const char **ret_user_key, bool *ret_open);
/* ERR_SYNTAX, ERR_VERSION, ERR_TOO_LARGE, ERR_NOMEM. */
MUST_CHECK int state_decode(const char *value, size_t len, struct state *ret);

#endif
