/* The state of the simulated world: accounts, users, keys, licences with their instances. */
#ifndef SANDBOX_WORLD_H
#define SANDBOX_WORLD_H

#include "tests/sandbox/hash.h"
#include "tests/sandbox/request.h"
#include "tests/sandbox/settings.h"
#include "tests/sandbox/table.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct policy;

/* ---- keys ------------------------------------------------------------------------------------------------ */

enum key_status { KEY_ACTIVE, KEY_INACTIVE, KEY_DELETED };
/* Who did something to a key. */
enum actor { ACTOR_INITIAL, ACTOR_API, ACTOR_STRANGER };

struct key_event {
    int64_t at_ms;
    uint8_t status; /* what it became; the first event is its creation */
    uint8_t actor;
};

struct sigv4_cache; /* derived signing keys, sigv4.c */

struct key {
    char id[24];
    char secret[48];
    struct user *user;       /* NULL for a session key */
    struct session *session; /* NULL for a long-term key */
    struct key *next;        /* of the same user, oldest first */
    uint8_t status;          /* the truth */
    uint8_t was_status;      /* what a service still sees until lag_until_ms of it */
    uint8_t last_used_service;
    bool stored_once; /* an instance held it */
    bool used_once;   /* an instance used it and was accepted */
    int64_t lag_until_ms[SVC_SIGNED];
    int64_t usable_from_ms[SVC_SIGNED];
    int64_t last_used_ms; /* 0 = never */
    int64_t changed_ms;   /* creation or last change of status, for the credential report */
    struct key_event *events;
    uint32_t n_events;
    struct sigv4_cache *cache;
};

struct session {
    char *token;
    char *name; /* RoleSessionName */
    char *role_name;
    struct account *account;
    int64_t expires_ms;
};

/* ---- users and accounts ---------------------------------------------------------------------------------- */

enum role { ROLE_OPERATOR, ROLE_ROTATOR, ROLE_INSTANCE, ROLE_PLAIN };

struct tag {
    const char *key;
    const char *value;
};

struct user {
    char *name;
    char *index; /* "account/lower-case name", the table's key */
    char id[24]; /* AIDA... */
    const char *path;
    struct account *account;
    struct key *keys; /* deleted ones included */
    struct licence *licence;
    int64_t created_ms;
    enum role role;
};

struct token_bucket {
    double tokens;
    int64_t at_ms;
    bool started;
};

enum bucket_kind { BUCKET_IAM_READ, BUCKET_IAM_WRITE, BUCKET_STS, BUCKET_S3, BUCKET_COUNT };

struct report {
    char *csv; /* NULL = none yet */
    size_t len;
    int64_t started_ms; /* 0 = none was asked for */
    int64_t ready_at_ms;
};

struct account {
    char id[24];         /* 12 digits */
    struct user **users; /* in order of creation */
    size_t n_users;
    size_t cap_users;
    struct user *operator_user;
    struct key *operator_key;
    struct token_bucket buckets[BUCKET_COUNT];
    struct report report;
    uint64_t throttled;
};

/* ---- licences and their instances ------------------------------------------------------------------------ */

enum error_style { STYLE_XML, STYLE_OLD_XML, STYLE_JSON, STYLE_JSON_200, STYLE_HTML };

struct instance_flags {
    bool readback;
    bool write;
    bool presigned;
    bool test;
    bool login_refused;
    bool disabled; /* 404003 */
    bool down;
    bool lose_writes; /* accepted and lost */
    bool mixed_case;
    uint8_t error_style;
    int32_t slow_ms;
    int32_t apply_delay_ms; /* until a written pair is used */
    int32_t show_old_ms;    /* read-back shows the old id this long */
};

struct pair {
    char *id; /* NULL = empty */
    char *secret;
};

#define ISSUED_MAX 4
/* A key that signed presigned URLs for others. */
struct issued {
    struct key *key;
    int64_t last_ms;
    bool broken; /* already counted */
};

struct call_count {
    const char *action; /* static */
    uint8_t service;
    uint32_t n;
};

struct call_entry {
    int64_t at_ms;
    const char *action;
    uint8_t service;
    uint16_t http;
};

#define CALLS_KEPT 64

struct object {
    struct object *next;
    char *name;
    char *data;
    size_t len;
};

struct licence {
    char *name;
    char *lower;
    char *bucket;
    const char *region;
    struct user *user;
    const char *kind; /* odd start, for the books: "plain", "expired", ... */

    /* The instance. */
    struct instance_flags flags;
    char password[25];
    char uuid[33];
    struct pair stored;  /* in use */
    struct pair before;  /* what stored replaced */
    struct pair pending; /* written, not yet applied */
    int64_t apply_at_ms; /* 0 = nothing pending */
    int64_t show_old_until_ms;
    struct key *stored_key; /* the key named by stored.id, NULL if there is no such key */
    uint32_t record_version;
    int64_t modified_ms;
    uint32_t writes; /* pairs accepted by the instance */
    char **held;     /* ids stored so far, in order, without repeats in a row */
    uint32_t n_held;
    struct object *objects;

    /* What its own use of the key told. */
    bool ever_accepted;
    bool failing;
    int64_t failing_since_ms;
    uint32_t uses;
    uint32_t refused;
    uint32_t outages;
    uint32_t rotated;
    uint32_t presign_breaks;
    struct issued issued[ISSUED_MAX];

    /* Requests about it. */
    struct call_count *counts;
    uint32_t n_counts;
    struct call_entry *calls; /* ring of CALLS_KEPT */
    uint32_t n_calls;
    uint32_t creates, deletes, updates;
};

/* ---- world ----------------------------------------------------------------------------------------------- */

struct totals {
    uint64_t creates, deletes, updates, writes, rotated, outages, refused_uses, uses, presign_breaks, throttled;
    int64_t outage_ms; /* of outages that ended */
};

struct world {
    struct settings set;
    struct rng rng;
    const char *region;
    const char *role_name;
    const char *external_id; /* NULL = none asked for */
    const char *web_token;   /* NULL = AssumeRoleWithWebIdentity is refused */
    const char *user_path;
    const char *time_zone;  /* of all instances */
    char credentials[4096]; /* the file that inventory_write() wrote last, "" none */
    const char *licence_prefix;
    const char *presign_style; /* "path" or "virtual" */
    int port, tls_port;        /* 0 = not listening */
    struct policy *policy;     /* of the rotator and the role; NULL = everything in IAM */
    struct account *accounts;
    size_t n_accounts;
    struct user *rotator_user;
    struct key *rotator_key;
    struct licence **licences;
    size_t n_licences, cap_licences;
    struct table keys;            /* id -> struct key */
    struct table users;           /* account/lower name -> struct user */
    struct table licence_by_name; /* lower name -> struct licence */
    struct table bucket_owner;    /* bucket -> struct licence */
    struct key **all_keys;
    size_t n_keys, cap_keys;
    struct totals totals;
    int64_t started_ms;
};

/* What an initial licence looks like. */
struct licence_start {
    const char *name; /* NULL: prefix and next number */
    const char *kind; /* one of the names of the mix */
    int64_t key_age_ms;
};

int64_t world_now_ms(const struct world *w);
void world_init(struct world *w, size_t n_accounts);
void world_done(struct world *w);
/* Adds a licence with its user, bucket and instance. NULL when the name exists or the kind is unknown. */
struct licence *world_add_licence(struct world *w, const struct licence_start *start);
bool world_kind_known(const char *kind);
struct licence *world_licence(const struct world *w, const char *name);                    /* any case */
struct user *world_user(const struct world *w, const struct account *a, const char *name); /* any case */
struct account *world_account(const struct world *w, const char *id);
struct user *world_add_user(struct world *w, struct account *a, const char *name, const char *path, enum role role);
/* arn:aws:iam::ID:user/path/name in the arena. */
const char *user_arn(struct arena *a, const struct user *u);
/* The n tags of an instance user (keys sorted); 0 for others. */
/* The shipped profile that fits an instance's flags. */
const char *licence_profile(const struct licence *l);
#define USER_TAGS_MAX 7
int user_tags(struct arena *a, const struct world *w, const struct user *u, struct tag tags[USER_TAGS_MAX]);

struct key *key_new(struct world *w, struct user *u, enum actor actor, int64_t at_ms);
/* A temporary key; takes the session over. */
struct key *key_new_session(struct world *w, struct session *s);
struct key *key_find(const struct world *w, const char *id);
void key_set_status(struct world *w, struct key *k, enum key_status status, enum actor actor);
/* Would this service accept the key now? */
bool key_usable(struct world *w, struct key *k, enum service s, int64_t now_ms);
/* State as it was at a moment; returns false when the key did not exist then (or was deleted). */
bool key_seen_at(const struct key *k, int64_t at_ms, enum key_status *ret_status);
int user_key_count(const struct user *u); /* not deleted */

/* The instance takes a pair (both may be NULL). Copies. */
void instance_store(struct world *w, struct licence *l, const char *id, const char *secret);
/* Writes as through its API: obeys apply_delay, show_old and lose flags. */
void instance_write(struct world *w, struct licence *l, const char *id, const char *secret);

#endif
