/* A user under the lease of a command (reveal, adopt): taken, worked on step by step, given back. Everything waits. */
#ifndef KEYROLL_HELD_H
#define KEYROLL_HELD_H

#include "producer/client.h"
#include "schema/inventory.h"

struct held {
    struct client *c;
    const struct inventory_row *row;
    struct store_user user;
    bool is_held, has_journal, has_record, takeover;
    struct record record;
    struct journal journal;
    char sealed[STORE_SEALED_MAX], kept[STORE_SEALED_MAX]; /* envelopes, sealed_len and kept_len bytes */
    size_t sealed_len, kept_len;
    char kept_id[AWS_KEY_ID_MAX];
    char exposed[RECORD_KEYS_MAX][AWS_KEY_ID_MAX];
    size_t n_exposed;
};
/* Takes the lease; a busy one is waited for, at most wait_ms. Errors with c->error; nothing is held then. */
MUST_CHECK int held_take(struct held *h, struct client *c, const struct inventory_row *row, int64_t wait_ms);
/* Writes h->journal; its version is kept up to date. */
MUST_CHECK int held_put_journal(struct held *h);
/* Writes h->record and gives the lease back in the same step. end_journal: nothing is open any more. */
MUST_CHECK int held_close(struct held *h, bool end_journal);
MUST_CHECK int held_renew(struct held *h);
/* Gives the lease back if it is held; an answer that is lost only means that it ends by itself. */
void held_release(struct held *h);

/* Publishes an event and the user's state, as the workers do, and waits for both delivery reports. by: who did it. */
MUST_CHECK int held_report(struct held *h, int type, int kind, const char *by, const char *reason);
/* The same for a user that is not held: what a peek showed of it. */
MUST_CHECK int witness_report(struct client *c, const struct inventory_row *row, const struct store_peek *u, int type,
                              const char *key_old, const char *by, const char *reason);
/* The name of the person at the keyboard, for events and jobs: SUDO_USER, else the account's name. */
void person_name(char *out, size_t size);

#endif
