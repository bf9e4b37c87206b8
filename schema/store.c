/* The Redis side of the contract (store.h): builds the calls of schema/lua and turns replies into typed results. Each
 * call keeps a small block until its reply; the block translates and frees itself, so callers see only their ticket.
 * The scripts are compiled in from the files in schema/lua (schema/lua.h is made at build time), so that the shipped
 * text is the tested one. */
#include "schema/store.h"

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/mutant.h"
#include "lib/text.h"
#include "schema/lua.h" /* generated */

#include <stdio.h>
#include <string.h>

#define ARGS_MAX        24
#define DOC_FIRST_BYTES 1500 /* most journals and records fit */

enum call_kind {
    CALL_ACQUIRE,
    CALL_PUT,
    CALL_LEASE,
    CALL_SEEN,
    CALL_GATE,
    CALL_PEEK,
    CALL_NUMBER,
    CALL_LEADER,
    CALL_TRIGGER,
    CALL_ANY
};
struct call {
    enum call_kind kind;
    struct store *store;
    size_t n; /* PEEK: users asked */
    struct ticket t;
};

static const struct redis_script script_server_seen = {"server_seen", lua_server_seen};
static const struct redis_script script_acquire = {"lease_acquire", lua_lease_acquire};
static const struct redis_script script_renew = {"lease_renew", lua_lease_renew};
static const struct redis_script script_release = {"lease_release", lua_lease_release};
static const struct redis_script script_journal_put = {"journal_put", lua_journal_put};
static const struct redis_script script_record_put = {"record_put", lua_record_put};
static const struct redis_script script_gate = {"gate", lua_gate};
static const struct redis_script script_peek = {"peek", lua_peek};
static const struct redis_script script_restore = {"restore", lua_restore};
static const struct redis_script script_restore_newer = {"restore_newer", lua_restore_newer};
static const struct redis_script script_reseal = {"reseal", lua_reseal};
static const struct redis_script script_trigger_take = {"trigger_take", lua_trigger_take};
static const struct redis_script script_member_beat = {"member_beat", lua_member_beat};
static const struct redis_script script_leader_take = {"leader_take", lua_leader_take};
static const struct redis_script script_campaign_put = {"campaign_put", lua_campaign_put};
static const struct redis_script script_leader_release = {"leader_release", lua_leader_release};

/* ---- replies ------------------------------------------------------------------------------------------------------
 */

static const char *text_of(const struct redis_value *v)
{
    return v && (v->type == REDIS_STRING || v->type == REDIS_STATUS) ? v->str : NULL;
}

static int64_t number_of(const struct redis_value *v)
{
    if (!v) return 0;
    if (v->type == REDIS_INTEGER) return v->integer;
    const char *s = text_of(v);
    return s ? strtoll(s, NULL, 10) : 0;
}

/* A field of a hash: text, or nil when it is not there. */
static bool is_field(const struct redis_value *v)
{
    return v && (v->type == REDIS_NIL || text_of(v));
}

static bool are_fields(const struct redis_value *v, size_t n)
{
    bool fine = v && v->type == REDIS_ARRAY && v->count >= n;
    for (size_t i = 0; fine && i < n; i++) fine = is_field(redis_item(v, i));
    return fine;
}

static bool is_word(const struct redis_value *v, const char *word)
{
    const char *s = text_of(redis_item(v, 0));
    return s && !strcmp(s, word);
}

static int read_lease_journal(const struct redis_value *v, struct store_lease *l)
{
    const struct redis_value *doc = redis_item(v, 2), *sealed = redis_item(v, 3);
    l->journal_version = number_of(redis_item(v, 0));
    l->late_ms = number_of(redis_item(v, 4));
    if (!text_of(doc)) return 0;
    int rc = journal_decode(doc->str, doc->len, &l->journal);
    if (rc < 0) return rc;
    l->has_journal = true;
    l->journal.version = l->journal_version;
    if (text_of(sealed)) {
        l->sealed = sealed->str;
        l->sealed_len = sealed->len;
    }
    return 0;
}

static int read_lease_record(const struct redis_value *v, struct store_lease *l)
{
    const struct redis_value *doc = redis_item(v, 1), *id = redis_item(v, 2), *sealed = redis_item(v, 3);
    l->record_version = number_of(redis_item(v, 0));
    if (!text_of(doc)) return 0;
    int rc = record_decode(doc->str, doc->len, &l->record);
    if (rc < 0) return rc;
    l->has_record = true;
    if (text_of(id) && text_of(sealed) && aws_key_id_valid(id->str)) {
        text_copy(l->kept_id, sizeof(l->kept_id), id->str);
        l->kept = sealed->str;
        l->kept_len = sealed->len;
    }
    return 0;
}

static size_t read_ids(const struct redis_value *v, char ids[RECORD_KEYS_MAX][AWS_KEY_ID_MAX])
{
    size_t n = 0;
    for (size_t i = 0; v && i < v->count && n < RECORD_KEYS_MAX; i++) {
        const char *id = text_of(redis_item(v, i));
        if (id && aws_key_id_valid(id)) text_copy(ids[n++], AWS_KEY_ID_MAX, id);
    }
    return n;
}

/* What lease_acquire.lua grants. Half of it must not be taken for "nothing is open": a second key would be made. */
static bool is_grant(const struct redis_value *v)
{
    const struct redis_value *exposed = redis_item(v, 6);
    return is_word(v, "OK") && text_of(redis_item(v, 1)) && text_of(redis_item(v, 2)) &&
           are_fields(redis_item(v, 3), 5) && are_fields(redis_item(v, 4), 4) && text_of(redis_item(v, 5)) && exposed &&
           exposed->type == REDIS_ARRAY;
}

static void complete_acquire(struct call *c, const struct redis_reply *reply)
{
    struct store_lease l;
    memset(&l, 0, sizeof(l));
    const struct redis_value *v = reply->value;
    if (reply->err) {
        l.err = reply->err;
    } else if (is_word(v, "HELD") || is_word(v, "HOLD")) {
        l.err = is_word(v, "HELD") ? ERR_LEASE_HELD : ERR_LEASE_HOLD_OFF;
        l.wait_ms = number_of(redis_item(v, 1));
    } else if (is_grant(v)) {
        l.number = number_of(redis_item(v, 1));
        l.now_ms = number_of(redis_item(v, 2));
        l.err = read_lease_journal(redis_item(v, 3), &l);
        if (!l.err) l.err = read_lease_record(redis_item(v, 4), &l);
        l.n_exposed = read_ids(redis_item(v, 6), l.exposed);
        l.hold_off_ms = number_of(redis_item(v, 5));
        const char *writer = text_of(redis_item(redis_item(v, 3), 1));
        l.takeover = l.has_journal && writer && writer[0];
    } else {
        l.err = ERR_NET_BAD_REPLY;
    }
    ticket_complete(c->t, &l);
}

static void complete_put(struct call *c, const struct redis_reply *reply)
{
    struct store_reply r = {.err = reply->err};
    const struct redis_value *v = reply->value;
    if (!r.err) {
        if (is_word(v, "OK"))
            r.version = number_of(redis_item(v, 1));
        else if (is_word(v, "LEASE"))
            r.err = ERR_LEASE_LOST;
        else if (is_word(v, "VERSION"))
            r.err = ERR_JOURNAL_VERSION;
        else if (is_word(v, "DIRECTION"))
            r.err = ERR_JOURNAL_DIRECTION;
        else
            r.err = ERR_NET_BAD_REPLY;
    }
    ticket_complete(c->t, &r);
}

static void complete_trigger(struct call *c, const struct redis_reply *reply)
{
    struct store_reply r = {.err = reply->err};
    const char *word = reply->err ? NULL : text_of(reply->value);
    if (!r.err && word && !strcmp(word, "SEEN"))
        r.err = ERR_BUSY;
    else if (!r.err && word && !strcmp(word, "LIMITED"))
        r.err = ERR_RATE_LIMITED;
    else if (!r.err && (!word || strcmp(word, "TAKEN") != 0))
        r.err = ERR_NET_BAD_REPLY;
    ticket_complete(c->t, &r);
}

static void complete_gate(struct call *c, const struct redis_reply *reply)
{
    struct store_reply r = {.err = reply->err};
    const struct redis_value *v = reply->value;
    if (!r.err && is_word(v, "PAUSED")) {
        r.err = ERR_PAUSED;
        snprintf(r.text, sizeof(r.text), "%s paused: %s", text_of(redis_item(v, 1)) ? text_of(redis_item(v, 1)) : "",
                 text_of(redis_item(v, 2)) ? text_of(redis_item(v, 2)) : "");
    } else if (!r.err && is_word(v, "LIMITED")) {
        r.err = ERR_RATE_LIMITED;
        r.wait_ms = number_of(redis_item(v, 1));
    } else if (!r.err && !is_word(v, "OK")) {
        r.err = ERR_NET_BAD_REPLY;
    }
    ticket_complete(c->t, &r);
}

static void complete_leader(struct call *c, const struct redis_reply *reply)
{
    struct store_reply r = {.err = reply->err};
    const struct redis_value *v = reply->value;
    if (!r.err && is_word(v, "HELD")) {
        const char *holder = text_of(redis_item(v, 2));
        r.err = ERR_LEASE_HELD;
        r.wait_ms = number_of(redis_item(v, 1));
        text_copy(r.text, sizeof(r.text), holder ? holder : "");
    } else if (!r.err && !is_word(v, "OK")) {
        r.err = ERR_NET_BAD_REPLY;
    }
    ticket_complete(c->t, &r);
}

/* lease: 1 ours, 0 lost; numbers: as they come. */
static void complete_number(struct call *c, const struct redis_reply *reply)
{
    struct store_reply r = {.err = reply->err};
    if (!r.err) r.version = number_of(reply->value);
    if (!r.err && c->kind == CALL_LEASE && r.version != 1) r.err = ERR_LEASE_LOST;
    if (!r.err) r.wait_ms = r.version;
    ticket_complete(c->t, &r);
}

static void read_peek(const struct redis_value *v, struct store_peek *u)
{
    const struct redis_value *jdoc = redis_item(v, 2), *rdoc = redis_item(v, 4);
    u->lease_ms = number_of(redis_item(v, 0));
    if (text_of(jdoc)) {
        int rc = journal_decode(jdoc->str, jdoc->len, &u->journal);
        if (rc < 0) u->err = rc;
        u->has_journal = true;
        u->journal.version = number_of(redis_item(v, 1));
    }
    if (text_of(rdoc)) {
        int rc = record_decode(rdoc->str, rdoc->len, &u->record);
        if (rc < 0) u->err = rc;
        u->has_record = rc == 0;
    }
    u->record_version = number_of(redis_item(v, 3));
    u->kept = text_of(redis_item(v, 5)) != NULL;
    u->now_ms = number_of(redis_item(v, 6));
    u->lease_number = number_of(redis_item(v, 7));
    u->n_exposed = read_ids(redis_item(v, 8), u->exposed_ids);
    u->exposed = u->n_exposed > 0;
}

static void complete_peek(struct call *c, const struct redis_reply *reply)
{
    struct store_peek_reply r = {.err = reply->err};
    struct store_peek *users = calloc(c->n ? c->n : 1, sizeof(*users));
    if (!r.err && !users) r.err = ERR_NOMEM;
    if (!r.err && (reply->value->type != REDIS_ARRAY || reply->value->count != c->n)) r.err = ERR_NET_BAD_REPLY;
    if (!r.err) {
        for (size_t i = 0; i < c->n; i++) read_peek(redis_item(reply->value, i), &users[i]);
        r.n = c->n;
        r.users = users;
    }
    ticket_complete(c->t, &r);
    free(users);
}

static void on_reply(void *self, uint64_t id, const void *result)
{
    struct call *c = self;
    const struct redis_reply *reply = result;
    (void)id;
    switch (c->kind) {
    case CALL_ACQUIRE:
        complete_acquire(c, reply);
        break;
    case CALL_PUT:
        complete_put(c, reply);
        break;
    case CALL_GATE:
        complete_gate(c, reply);
        break;
    case CALL_PEEK:
        complete_peek(c, reply);
        break;
    case CALL_LEADER:
        complete_leader(c, reply);
        break;
    case CALL_TRIGGER:
        complete_trigger(c, reply);
        break;
    case CALL_SEEN:
        if (!reply->err) c->store->unseen = false;
        complete_number(c, reply);
        break;
    case CALL_LEASE:
    case CALL_NUMBER:
    case CALL_ANY:
        complete_number(c, reply);
        break;
    }
    free(c);
}

/* ---- calls --------------------------------------------------------------------------------------------------------
 */

struct args {
    struct redis_arg v[ARGS_MAX];
    size_t n;
};

static void add(struct args *a, const void *data, size_t len)
{
    if (a->n < ARGS_MAX) a->v[a->n++] = (struct redis_arg){data, len};
}

static void adds(struct args *a, const char *s)
{
    add(a, s, strlen(s));
}

/* Numbers live in the caller's text buffer until the call was copied. */
static void addn(struct args *a, int64_t n, char text[TEXT_INT_MAX])
{
    add(a, text, text_int(text, n));
}

static struct ticket begin(struct store *s, enum call_kind kind, size_t n, struct ticket t)
{
    struct call *c = malloc(sizeof(*c));
    if (c) *c = (struct call){kind, s, n, t};
    return (struct ticket){on_reply, c, 0};
}

static int eval(struct store *s, const struct redis_script *script, size_t n_keys, const struct args *a,
                enum call_kind kind, struct ticket t)
{
    struct ticket mine = begin(s, kind, 0, t);
    if (!mine.self) return ERR_NOMEM;
    int rc = s->redis.eval(s->redis.self, script, n_keys, a->n, a->v, mine);
    if (rc < 0) free(mine.self);
    return rc;
}

void store_key(const struct store *s, const char *user_key, const char *what, char out[STORE_KEY_MAX])
{
    const char *const parts[] = {s->prefix, user_key ? "{" : "", user_key ? user_key : "", user_key ? "}:" : "", what};
    size_t at = 0; /* by hand: some thirty names in each rotation */
    for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
        size_t len = strnlen(parts[i], STORE_KEY_MAX - 1 - at);
        memcpy(out + at, parts[i], len);
        at += len;
    }
    out[at] = '\0';
}

/* lease, journal, record, exposed: the first n of them. */
struct user_keys {
    char k[4][STORE_KEY_MAX];
};

static void add_user(const struct store *s, struct args *a, const char *user_key, size_t n, struct user_keys *keys)
{
    static const char *const what[] = {"lease", "journal", "record", "exposed"};
    for (size_t i = 0; i < n; i++) {
        store_key(s, user_key, what[i], keys->k[i]);
        adds(a, keys->k[i]);
    }
}

void store_init(struct store *s, struct redis_port redis, const struct rng *rng, const char *prefix,
                int64_t lease_ttl_ms)
{
    memset(s, 0, sizeof(*s));
    s->redis = redis;
    s->rng = rng;
    text_copy(s->prefix, sizeof(s->prefix), prefix);
    s->lease_ttl_ms = lease_ttl_ms;
}

void store_opid(const struct store *s, char *out)
{
    rng_hex(s->rng, (STORE_TOKEN_MAX - 1) / 2, out);
}

void store_user_init(const struct store *s, struct store_user *u, const char *user_key)
{
    memset(u, 0, sizeof(*u));
    text_copy(u->key, sizeof(u->key), user_key);
    store_opid(s, u->token);
}

void store_user_hold(struct store_user *u, const struct store_lease *l)
{
    u->number = l->number;
    u->record_version = l->record_version;
    u->journal_version = l->journal_version;
}

int store_server_seen(struct store *s, const struct redis_server *server, struct ticket t)
{
    char id[100], n[24], k1[STORE_KEY_MAX], k2[STORE_KEY_MAX];
    struct args a = {.n = 0};
    snprintf(id, sizeof(id), "%s %s", server->run_id, server->repl_id);
    store_key(s, NULL, "server", k1);
    store_key(s, NULL, "holdoff", k2);
    adds(&a, k1);
    adds(&a, k2);
    adds(&a, id);
    addn(&a, MUTANT(NO_HOLD_OFF) ? 0 : s->lease_ttl_ms, n);
    s->unseen = true;
    return eval(s, &script_server_seen, 2, &a, CALL_SEEN, t);
}

int store_acquire(struct store *s, const struct store_user *u, struct ticket t)
{
    struct user_keys keys;
    char hold[STORE_KEY_MAX], n1[24], n2[24], n3[24];
    struct args a = {.n = 0};
    if (s->unseen) return ERR_REDIS_DOWN;
    add_user(s, &a, u->key, 4, &keys);
    store_key(s, NULL, "holdoff", hold);
    adds(&a, hold);
    adds(&a, u->token);
    addn(&a, s->lease_ttl_ms, n1);
    addn(&a, MUTANT(NO_HOLD_OFF) ? 0 : s->lease_ttl_ms, n2);
    addn(&a, u->wall_ms, n3);
    return eval(s, &script_acquire, 5, &a, CALL_ACQUIRE, t);
}

int store_renew(struct store *s, const struct store_user *u, struct ticket t)
{
    struct user_keys keys;
    char n[24];
    struct args a = {.n = 0};
    add_user(s, &a, u->key, 1, &keys);
    adds(&a, u->token);
    addn(&a, s->lease_ttl_ms, n);
    return eval(s, &script_renew, 1, &a, CALL_LEASE, t);
}

int store_release(struct store *s, const struct store_user *u, struct ticket t)
{
    struct user_keys keys;
    struct args a = {.n = 0};
    add_user(s, &a, u->key, 2, &keys);
    adds(&a, u->token);
    return eval(s, &script_release, 2, &a, CALL_LEASE, t);
}

int store_journal_put(struct store *s, const struct store_user *u, const struct journal *j, const char *opid,
                      const void *sealed, size_t sealed_len, struct ticket t)
{
    struct user_keys keys;
    char n[24];
    struct args a = {.n = 0};
    AUTO_BUF struct buf doc;
    buf_init(&doc, 16384);
    (void)buf_reserve(&doc, DOC_FIRST_BYTES); /* no memory: the first append says so */
    int rc = journal_encode(j, &doc);
    if (rc < 0) return rc;
    add_user(s, &a, u->key, 2, &keys);
    adds(&a, u->token);
    addn(&a, u->journal_version, n);
    adds(&a, opid);
    adds(&a, journal_direction_name(j->direction));
    add(&a, doc.data, doc.len);
    add(&a, sealed ? sealed : "", sealed ? sealed_len : 0);
    return eval(s, &script_journal_put, 2, &a, CALL_PUT, t);
}

int store_record_put(struct store *s, const struct store_user *u, const struct record *r,
                     const struct store_record_put *how, struct ticket t)
{
    static const char *const pair[] = {"same", "drop", "journal"};
    struct user_keys keys;
    char n1[24], n2[24];
    struct args a = {.n = 0};
    AUTO_BUF struct buf doc;
    buf_init(&doc, 16384);
    (void)buf_reserve(&doc, DOC_FIRST_BYTES); /* no memory: the first append says so */
    int rc = record_encode(r, &doc);
    if (rc < 0) return rc;
    add_user(s, &a, u->key, 3, &keys);
    adds(&a, u->token);
    addn(&a, u->record_version, n1);
    adds(&a, how->opid);
    add(&a, doc.data, doc.len);
    adds(&a, how->end_journal ? "end" : "keep");
    addn(&a, u->journal_version, n2);
    adds(&a, pair[how->pair]);
    adds(&a, how->pair_key_id ? how->pair_key_id : "");
    adds(&a, how->release ? "release" : "keep");
    return eval(s, &script_record_put, 3, &a, CALL_PUT, t);
}

int store_reseal(struct store *s, const struct store_user *u, const char *opid, const char *journal_sealed,
                 const char *record_sealed, struct ticket t)
{
    struct user_keys keys;
    char n1[24], n2[24];
    struct args a = {.n = 0};
    add_user(s, &a, u->key, 3, &keys);
    adds(&a, u->token);
    adds(&a, opid);
    addn(&a, u->journal_version, n1);
    adds(&a, journal_sealed ? journal_sealed : "");
    addn(&a, u->record_version, n2);
    adds(&a, record_sealed ? record_sealed : "");
    return eval(s, &script_reseal, 3, &a, CALL_PUT, t);
}

int store_gate(struct store *s, const char *account, int64_t most_per_hour, struct ticket t)
{
    char all[STORE_KEY_MAX], one[STORE_KEY_MAX], rate[STORE_KEY_MAX], what[32], n[24];
    struct args a = {.n = 0};
    store_key(s, NULL, "pause:all", all);
    snprintf(what, sizeof(what), "pause:%s", account);
    store_key(s, NULL, what, one);
    store_key(s, NULL, "rate", rate);
    adds(&a, all);
    adds(&a, one);
    adds(&a, rate);
    addn(&a, most_per_hour, n);
    return eval(s, &script_gate, 3, &a, CALL_GATE, t);
}

static int send_peek(struct store *s, const char *const *user_keys, size_t n, struct user_keys *keys, struct ticket t)
{
    struct redis_arg v[4 * STORE_PEEK_MAX];
    for (size_t i = 0; i < n; i++) {
        struct args a = {.n = 0};
        add_user(s, &a, user_keys[i], 4, &keys[i]);
        memcpy(&v[i * 4], a.v, 4 * sizeof(*v));
    }
    struct ticket mine = begin(s, CALL_PEEK, n, t);
    if (!mine.self) return ERR_NOMEM;
    int rc = s->redis.eval(s->redis.self, &script_peek, n * 4, n * 4, v, mine);
    if (rc < 0) free(mine.self);
    return rc;
}

int store_peek(struct store *s, const char *const *user_keys, size_t n, struct ticket t)
{
    if (n > STORE_PEEK_MAX) return ERR_TOO_LARGE;
    struct user_keys *keys = malloc((n ? n : 1) * sizeof(*keys));
    int rc = keys ? send_peek(s, user_keys, n, keys, t) : ERR_NOMEM;
    free(keys);
    return rc;
}

int store_restore(struct store *s, const char *user_key, const struct record *r, const struct journal *j,
                  const char *const *exposed, size_t n_exposed, struct ticket t)
{
    struct user_keys keys;
    char n[24];
    struct args a = {.n = 0};
    AUTO_BUF struct buf doc, jdoc;
    buf_init(&doc, 16384);
    buf_init(&jdoc, 16384);
    int rc = record_encode(r, &doc);
    if (!rc && j) rc = journal_encode(j, &jdoc);
    if (rc < 0) return rc;
    add_user(s, &a, user_key, 4, &keys);
    add(&a, doc.data, doc.len);
    add(&a, jdoc.len ? jdoc.data : "", jdoc.len);
    adds(&a, j ? journal_direction_name(j->direction) : "");
    addn(&a, j && j->number > r->number ? j->number : r->number, n);
    for (size_t i = 0; i < n_exposed; i++) adds(&a, exposed[i]);
    return eval(s, &script_restore, 4, &a, CALL_NUMBER, t);
}

int store_restore_newer(struct store *s, const char *user_key, const struct store_peek *seen, const struct record *r,
                        const struct journal *j, const char *const *exposed, size_t n_exposed, struct ticket t)
{
    struct user_keys keys;
    char n[24], rv[24], jv[24];
    struct args a = {.n = 0};
    AUTO_BUF struct buf doc, jdoc;
    buf_init(&doc, 16384);
    buf_init(&jdoc, 16384);
    bool same_pair = j && seen->has_journal && j->key_new[0] && !strcmp(seen->journal.key_new, j->key_new);
    int rc = record_encode(r, &doc);
    if (!rc && j) {
        struct journal known = *j;
        known.secret_lost = j->secret_lost && !same_pair;
        rc = journal_encode(&known, &jdoc);
    }
    if (rc < 0) return rc;
    add_user(s, &a, user_key, 4, &keys);
    add(&a, doc.data, doc.len);
    add(&a, jdoc.len ? jdoc.data : "", jdoc.len);
    adds(&a, j ? journal_direction_name(j->direction) : "");
    addn(&a, j && j->number > r->number ? j->number : r->number, n);
    addn(&a, seen->record_version, rv);
    addn(&a, seen->has_journal ? seen->journal.version : 0, jv);
    adds(&a, same_pair ? "1" : "");
    for (size_t i = 0; i < n_exposed; i++) adds(&a, exposed[i]);
    return eval(s, &script_restore_newer, 4, &a, CALL_NUMBER, t);
}

static int command(struct store *s, const struct args *a, struct ticket t)
{
    struct ticket mine = begin(s, CALL_ANY, 0, t);
    if (!mine.self) return ERR_NOMEM;
    int rc = s->redis.command(s->redis.self, a->n, a->v, mine);
    if (rc < 0) free(mine.self);
    return rc;
}

static int mark(struct store *s, const char *verb, const char *user_key, const char *key_id, struct ticket t)
{
    char k[STORE_KEY_MAX];
    struct args a = {.n = 0};
    store_key(s, user_key, "exposed", k);
    adds(&a, verb);
    adds(&a, k);
    adds(&a, key_id);
    return command(s, &a, t);
}

int store_mark_exposed(struct store *s, const char *user_key, const char *key_id, struct ticket t)
{
    return mark(s, "SADD", user_key, key_id, t);
}

int store_unmark_exposed(struct store *s, const char *user_key, const char *key_id, struct ticket t)
{
    return mark(s, "SREM", user_key, key_id, t);
}

int store_pause(struct store *s, const char *account, const char *reason, struct ticket t)
{
    char k[STORE_KEY_MAX], what[32];
    struct args a = {.n = 0};
    snprintf(what, sizeof(what), "pause:%s", account ? account : "all");
    store_key(s, NULL, what, k);
    adds(&a, reason ? "SET" : "DEL");
    adds(&a, k);
    if (reason) adds(&a, reason);
    return command(s, &a, t);
}

int store_trigger_take(struct store *s, const char *user_key, const char *what, const char *counter,
                       const char *message, int64_t seen_ms, int64_t most_per_hour, struct ticket t)
{
    char seen[STORE_KEY_MAX], hour[STORE_KEY_MAX], name[STORE_KEY_MAX], n1[24], n2[24];
    struct args a = {.n = 0};
    snprintf(name, sizeof(name), "trigger:%s", what);
    store_key(s, user_key, name, seen);
    store_key(s, user_key, counter, hour);
    adds(&a, seen);
    adds(&a, hour);
    adds(&a, message);
    addn(&a, seen_ms, n1);
    addn(&a, most_per_hour, n2);
    return eval(s, &script_trigger_take, 2, &a, CALL_TRIGGER, t);
}

int store_leader_take(struct store *s, const char *token, int64_t ttl_ms, struct ticket t)
{
    char k[STORE_KEY_MAX], n[24];
    struct args a = {.n = 0};
    store_key(s, NULL, "leader", k);
    adds(&a, k);
    adds(&a, token);
    addn(&a, ttl_ms, n);
    return eval(s, &script_leader_take, 1, &a, CALL_LEADER, t);
}

int store_member_beat(struct store *s, const char *token, int64_t life_ms, const char *about, struct ticket t)
{
    char k[STORE_KEY_MAX], n[24];
    struct args a = {.n = 0};
    store_key(s, NULL, "members", k);
    adds(&a, k);
    adds(&a, token);
    addn(&a, life_ms, n);
    adds(&a, about);
    return eval(s, &script_member_beat, 1, &a, CALL_NUMBER, t);
}

int store_leader_release(struct store *s, const char *token, struct ticket t)
{
    char k[STORE_KEY_MAX];
    struct args a = {.n = 0};
    store_key(s, NULL, "leader", k);
    adds(&a, k);
    adds(&a, token);
    return eval(s, &script_leader_release, 1, &a, CALL_NUMBER, t);
}

int store_campaign_put(struct store *s, const char *name, int64_t expected, const char *opid, const char *doc,
                       size_t len, struct ticket t)
{
    char docs[STORE_KEY_MAX], revisions[STORE_KEY_MAX], n[24];
    struct args a = {.n = 0};
    store_key(s, NULL, "campaigns", docs);
    store_key(s, NULL, "campaigns:revisions", revisions);
    adds(&a, docs);
    adds(&a, revisions);
    adds(&a, name);
    addn(&a, expected, n);
    adds(&a, opid);
    add(&a, doc, len);
    return eval(s, &script_campaign_put, 2, &a, CALL_PUT, t);
}

bool store_peek_exposed(const struct store_peek *u, const char *key_id)
{
    for (size_t i = 0; i < u->n_exposed; i++)
        if (strcmp(u->exposed_ids[i], key_id) == 0) return true;
    return false;
}
