/* The Redis side of the contract: leases, journals, records, pauses. Names of keys, the Lua scripts (schema/lua, one
 * round trip each, all comparing lease token and versions) and typed replies. No policy. Loop thread only.
 *
 * Keys, for prefix "kr:" and user key "account/user": kr:{account/user}:lease | :journal | :record | :exposed, all in
 * one hash slot; kr:server, kr:holdoff, kr:pause:all, kr:pause:<account>, kr:rate. */
#ifndef KEYROLL_STORE_H
#define KEYROLL_STORE_H

#include "lib/clock.h"
#include "lib/redis.h"
#include "schema/identity.h"
#include "schema/record.h"

#define STORE_TOKEN_MAX  33   /* 16 random bytes as hex, and the terminator */
#define STORE_SEALED_MAX 1024 /* bytes of a sealed pair's envelope */

struct store {
    struct redis_port redis; /* borrowed */
    const struct rng *rng;
    char prefix[32];
    int64_t lease_ttl_ms; /* also the hold-off after a change of server */
    bool unseen;          /* which server this is was asked, and not told yet: no lease is asked for */
};

/* One user's view while its lease is held. Filled by store_acquire, kept up to date by the puts. */
struct store_user {
    char key[IDENTITY_KEY_MAX]; /* "account/user" */
    char token[STORE_TOKEN_MAX];
    int64_t number;                          /* the lease's fencing number */
    int64_t wall_ms;                         /* the caller's time, set before store_acquire(); 0 unknown */
    int64_t record_version, journal_version; /* 0 = not there */
};

/* store_acquire: const struct store_lease *. Borrowed. */
struct store_lease {
    int err; /* 0; ERR_LEASE_HELD, ERR_LEASE_HOLD_OFF (both with wait_ms), ERR_REDIS_*, ERR_SYNTAX/ERR_VERSION (a
                document cannot be read) */
    int64_t wait_ms;
    int64_t number, now_ms; /* fencing number; the server's time */
    int64_t hold_off_ms;    /* when the last hold-off ended (R3): writes of before it may be lost; the server's time */
    bool has_journal, has_record;
    bool takeover;          /* whoever had the lease before did not give it back (R7) */
    int64_t late_ms;        /* takeover: when that was found, by the clock of Redis; 0: not known */
    struct journal journal; /* valid when has_journal */
    struct record record;   /* valid when has_record */
    int64_t journal_version, record_version;
    const char *sealed;
    size_t sealed_len; /* the journal's sealed pair, NULL none */
    const char *kept;
    size_t kept_len; /* the record's kept pair, NULL none */
    char kept_id[AWS_KEY_ID_MAX];
    char exposed[RECORD_KEYS_MAX][AWS_KEY_ID_MAX];
    size_t n_exposed;
};
/* All the others: const struct store_reply *. Borrowed. */
struct store_reply {
    int err; /* 0; ERR_LEASE_LOST, ERR_JOURNAL_VERSION, ERR_JOURNAL_DIRECTION: definite refusals, nothing was written;
                ERR_PAUSED, ERR_RATE_LIMITED (gate); ERR_REDIS_* / ERR_TIMEOUT_SENT: outcome unknown for LOST and
                TIMEOUT, repeat with the same opid */
    int64_t version;            /* puts: the new version */
    int64_t wait_ms;            /* gate: ERR_RATE_LIMITED; server_seen: hold-off left */
    char text[RECORD_TEXT_MAX]; /* gate: ERR_PAUSED: why */
};
/* store_peek: const struct store_peek_reply *, one entry per user asked, in order. Borrowed. */
struct store_peek {
    int64_t lease_ms;     /* time left, < 0 none */
    int64_t lease_number; /* its fencing number, 0 none */
    int64_t now_ms;       /* the server's time; 0 not known */
    int err;              /* a document of this user cannot be read */
    bool has_journal, has_record, kept;
    int64_t record_version; /* 0 = not there */
    bool exposed;           /* at least one key is marked */
    char exposed_ids[RECORD_KEYS_MAX][AWS_KEY_ID_MAX];
    size_t n_exposed;
    struct journal journal;
    struct record record;
};
struct store_peek_reply {
    int err;
    size_t n;
    const struct store_peek *users;
};

void store_init(struct store *s, struct redis_port redis, const struct rng *rng, const char *prefix,
                int64_t lease_ttl_ms);
/* New token for one attempt to hold a lease. */
void store_user_init(const struct store *s, struct store_user *u, const char *user_key);

/* Every function: 0 and the ticket completes exactly once, later; ERR_NOMEM, ERR_REDIS_DOWN, ERR_BUSY: nothing
 * happened. */
/* First on each connection, and again until it succeeds: before that store_acquire() is ERR_REDIS_DOWN, since the
 * server may have been replaced and leases of others be lost (R3). */
MUST_CHECK int store_server_seen(struct store *s, const struct redis_server *server, struct ticket t);
/* Repeating it with the same token is harmless. On success the caller copies number and versions into u
 * (store_user_hold). */
MUST_CHECK int store_acquire(struct store *s, const struct store_user *u, struct ticket t);
void store_user_hold(struct store_user *u, const struct store_lease *l);
MUST_CHECK int store_renew(struct store *s, const struct store_user *u, struct ticket t);
MUST_CHECK int store_release(struct store *s, const struct store_user *u, struct ticket t);
/* A fresh opid per logical write; the same one when repeating after an unknown outcome. out: STORE_TOKEN_MAX bytes. */
void store_opid(const struct store *s, char *out);
/* Writes the journal at u->journal_version; the caller stores reply->version in u on success. sealed: NULL keeps. */
MUST_CHECK int store_journal_put(struct store *s, const struct store_user *u, const struct journal *j, const char *opid,
                                 const void *sealed, size_t sealed_len, struct ticket t);
enum store_pair { STORE_PAIR_SAME, STORE_PAIR_DROP, STORE_PAIR_FROM_JOURNAL };
struct store_record_put {
    bool end_journal, release;
    enum store_pair pair;
    const char *pair_key_id; /* FROM_JOURNAL */
    const char *opid;
};
MUST_CHECK int store_record_put(struct store *s, const struct store_user *u, const struct record *r,
                                const struct store_record_put *how, struct ticket t);
/* Asked before every create. STORE_GATE_ANY: a leaked key is replaced however many went before; it counts for those
 * after it, and a pause holds it, too. */
#define STORE_GATE_ANY (-1)
MUST_CHECK int store_gate(struct store *s, const char *account, int64_t most_per_hour, struct ticket t);
/* Up to 200 users at once. */
#define STORE_PEEK_MAX 200
MUST_CHECK int store_peek(struct store *s, const char *const *user_keys, size_t n, struct ticket t);
/* The key carries the mark of a leak, beside what its record says (R9). Pure. */
bool store_peek_exposed(const struct store_peek *u, const char *key_id);
MUST_CHECK int store_restore(struct store *s, const char *user_key, const struct record *r, const struct journal *j,
                             const char *const *exposed, size_t n_exposed,
                             struct ticket t); /* reply.version: 1 put back, 0 something was there */
/* The same where something older is there (R8: a failover lost the last writes). seen: as peeked; nothing happens when
 * it has changed since or the lease is held. The sealed pair stays when it is that of j->key_new. */
MUST_CHECK int store_restore_newer(struct store *s, const char *user_key, const struct store_peek *seen,
                                   const struct record *r, const struct journal *j, const char *const *exposed,
                                   size_t n_exposed, struct ticket t);
/* Marks a key as exposed (R9), without a lease: the mark is only ever added here and removed with the key. */
MUST_CHECK int store_mark_exposed(struct store *s, const char *user_key, const char *key_id, struct ticket t);
MUST_CHECK int store_unmark_exposed(struct store *s, const char *user_key, const char *key_id, struct ticket t);
/* Puts other envelopes of the same pairs in the place of those that journal and record hold, at the versions of u;
 * NULL: that one stays. Errors as the puts; reply.version: the record's. The journal's version counts up by one when
 * its envelope was replaced. */
MUST_CHECK int store_reseal(struct store *s, const struct store_user *u, const char *opid, const char *journal_sealed,
                            const char *record_sealed, struct ticket t);
/* account NULL: everything. reason NULL: resume. */
MUST_CHECK int store_pause(struct store *s, const char *account, const char *reason, struct ticket t);

/* The lead of the schedulers: "kr:leader", a string that names its holder. token: printable, begins with who it is,
 * different for each process. Taking it again renews it. reply.err: 0 it is ours for ttl_ms; ERR_LEASE_HELD: wait_ms is
 * left to the other one, whose token is in text. */
#define STORE_LEADER_MAX 160
MUST_CHECK int store_leader_take(struct store *s, const char *token, int64_t ttl_ms, struct ticket t);
/* Gives it back; nothing happens when it is not ours (reply.version 0). */
MUST_CHECK int store_leader_release(struct store *s, const char *token, struct ticket t);

/* A worker's sign of life, good for life_ms ("kr:members", schema/lua/member_beat.lua), and what it tells of itself,
 * which stands behind the first space of the hash's value. reply.version: how many workers give one, this one included.
 */
MUST_CHECK int store_member_beat(struct store *s, const char *token, int64_t life_ms, const char *about,
                                 struct ticket t);

/* A campaign's document, under the revision that the caller knows: expected, 0 = there is none yet; the document holds
 * the next one. reply.err: ERR_JOURNAL_VERSION when somebody else changed it meanwhile. All documents are the hash
 * "kr:campaigns", name -> document. */
MUST_CHECK int store_campaign_put(struct store *s, const char *name, int64_t expected, const char *opid,
                                  const char *doc, size_t len, struct ticket t);

/* May a trigger ask for work (schema/lua/trigger_take.lua)? what: names what it asks for, once in seen_ms; message:
 * where it came from, so that the same message is let through again. counter: the hour's count it falls under.
 * reply.err: 0; ERR_BUSY: asked for before; ERR_RATE_LIMITED: this licence used up its hour. */
MUST_CHECK int store_trigger_take(struct store *s, const char *user_key, const char *what, const char *counter,
                                  const char *message, int64_t seen_ms, int64_t most_per_hour, struct ticket t);

/* Redis key names, for the console and the tests. */
#define STORE_KEY_MAX 160
void store_key(const struct store *s, const char *user_key, const char *what, char out[STORE_KEY_MAX]);

#endif
