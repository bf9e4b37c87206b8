/* Re-sealing, one user at a time: look without a lease; where something is stale take the lease, open, seal, write both
 * envelopes in one script, give the lease back. A process that dies in between leaves a lease that runs out and pairs
 * that open: each is under the old key or under the new one, and both are loaded. Done again it finds what is left.
 *
 * Workers that are not restarted yet with the new key first would seal under the old one again, and could not open what
 * we seal if they do not have the new one at all: `keyroll doctor` compares them, the operator restarts first. */
#include "producer/rekey.h"

#include "lib/err.h"

#include <stdio.h>
#include <string.h>

#define SCAN_COUNT "1000"

/* ---- which users ---- */

struct scan {
    char cursor[24];
    const char *prefix;
    char **users;
    size_t n, cap;
    int err;
};

static int keep(struct scan *s, const char *user, size_t len)
{
    char *copy = strndup(user, len);
    if (!copy) return ERR_NOMEM;
    if (s->n == s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 256;
        char **more = realloc(s->users, cap * sizeof *more);
        if (!more) {
            free(copy);
            return ERR_NOMEM;
        }
        s->users = more;
        s->cap = cap;
    }
    s->users[s->n++] = copy;
    return 0;
}

/* "PREFIX{ACCOUNT/USER}:record" or ":journal"; anything else is not ours. */
static int take_key(struct scan *s, const struct redis_value *v)
{
    size_t skip = strlen(s->prefix);
    if (!v || v->type != REDIS_STRING || strncmp(v->str, s->prefix, skip) != 0 || v->str[skip] != '{') return 0;
    const char *user = v->str + skip + 1, *end = strchr(user, '}');
    if (!end || (strcmp(end, "}:record") != 0 && strcmp(end, "}:journal") != 0)) return 0;
    return (size_t)(end - user) < IDENTITY_KEY_MAX ? keep(s, user, (size_t)(end - user)) : 0;
}

static void copy_scan(void *into, const void *result)
{
    struct scan *s = into;
    const struct redis_reply *r = result;
    const struct redis_value *cursor = redis_item(r->value, 0), *keys = redis_item(r->value, 1);
    s->err = r->err;
    if (s->err) return;
    if (!cursor || cursor->type != REDIS_STRING || cursor->len >= sizeof s->cursor || !keys) {
        s->err = ERR_NET_BAD_REPLY;
        return;
    }
    snprintf(s->cursor, sizeof s->cursor, "%s", cursor->str);
    for (size_t i = 0; i < keys->count && !s->err; i++) s->err = take_key(s, redis_item(keys, i));
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Record and journal name the same user, and SCAN may show a key twice. */
static void drop_doubles(struct scan *s)
{
    size_t n = 0;
    if (s->n) qsort(s->users, s->n, sizeof *s->users, by_name);
    for (size_t i = 0; i < s->n; i++) {
        if (n && strcmp(s->users[n - 1], s->users[i]) == 0)
            free(s->users[i]);
        else
            s->users[n++] = s->users[i];
    }
    s->n = n;
}

int rekey_list(struct client *c, char ***ret_users, size_t *ret_n)
{
    struct scan s = {.cursor = "0", .prefix = c->store.prefix};
    char pattern[2 * sizeof c->store.prefix + 8], *p = pattern;
    for (const char *from = s.prefix; *from; from++) {
        if (strchr("*?[]\\", *from)) *p++ = '\\';
        *p++ = *from;
    }
    memcpy(p, "{*}:*", 6);
    do {
        const char *const words[] = {"SCAN", s.cursor, "MATCH", pattern, "COUNT", SCAN_COUNT};
        int rc = client_command(c, ARRAY_LEN(words), words, copy_scan, &s);
        if (rc == 0) rc = s.err;
        if (rc < 0) {
            rekey_free_users(s.users, s.n);
            return c->error[0] ? rc : client_fail(c, rc, "Redis: %s", err_text(rc));
        }
    } while (strcmp(s.cursor, "0") != 0);
    drop_doubles(&s);
    *ret_users = s.users;
    *ret_n = s.n;
    return 0;
}

void rekey_free_users(char **users, size_t n)
{
    for (size_t i = 0; i < n; i++) free(users[i]);
    free(users);
}

/* ---- one user ---- */

struct pair {
    char key_id[AWS_KEY_ID_MAX];
    char envelope[STORE_SEALED_MAX]; /* "" none */
};
/* What the lease shows; journal first. */
struct held_pairs {
    int err;
    int64_t wait_ms;
    struct store_user user;
    struct pair pair[REKEY_FOUND_MAX];
};

static void copy_pair(struct pair *p, const char *id, const char *envelope, size_t len, int *err)
{
    if (!envelope || !len) return;
    if (len >= sizeof p->envelope || memchr(envelope, '\0', len)) {
        *err = ERR_SEAL_BROKEN;
        return;
    }
    memcpy(p->envelope, envelope, len);
    p->envelope[len] = '\0';
    snprintf(p->key_id, sizeof p->key_id, "%s", id);
}

static void copy_lease(void *into, const void *result)
{
    struct held_pairs *h = into;
    const struct store_lease *l = result;
    h->err = l->err;
    h->wait_ms = l->wait_ms;
    if (l->err) return;
    store_user_hold(&h->user, l);
    if (l->has_journal) copy_pair(&h->pair[0], l->journal.key_new, l->sealed, l->sealed_len, &h->err);
    copy_pair(&h->pair[1], l->kept_id, l->kept, l->kept_len, &h->err);
}

/* Opens the pair and seals it into `into` (STORE_SEALED_MAX bytes); "" when it is fresh or there is none. */
static int reseal(const struct escrow *e, const char *user_key, const struct pair *p, char *into)
{
    const char *user = strchr(user_key, '/');
    AUTO_SECRET struct secret *secret = NULL;
    AUTO_BUF struct buf out;
    into[0] = '\0';
    buf_init(&out, STORE_SEALED_MAX - 1);
    if (!p->envelope[0] || escrow_is_fresh(e, p->envelope, strlen(p->envelope))) return 0;
    if (!user) return ERR_INVALID;
    int rc = escrow_open(e, user + 1, p->key_id, p->envelope, strlen(p->envelope), &secret);
    if (rc == 0) rc = escrow_seal(e, &rng_system, user + 1, p->key_id, secret, &out);
    if (rc == 0) snprintf(into, STORE_SEALED_MAX, "%s", buf_str(&out));
    return rc;
}

static int write_pairs(struct client *c, struct held_pairs *h, const struct escrow *e, struct rekey_user *ret)
{
    char fresh[REKEY_FOUND_MAX][STORE_SEALED_MAX], opid[STORE_TOKEN_MAX];
    struct store_reply r = {0};
    struct waiter w;
    for (size_t i = 0; i < REKEY_FOUND_MAX; i++) {
        int rc = reseal(e, h->user.key, &h->pair[i], fresh[i]);
        if (rc < 0) {
            ret->outcome = REKEY_CLOSED;
            ret->err = rc;
            return 0;
        }
    }
    ret->outcome = REKEY_RESEALED;
    if (!fresh[0][0] && !fresh[1][0]) return 0; /* somebody did it meanwhile */
    store_opid(&c->store, opid);
    int rc = store_reseal(&c->store, &h->user, opid, fresh[0], fresh[1], client_ticket(&w, client_copy_reply, &r));
    rc = client_reply(c, rc, &w, &r, h->user.key);
    if (rc == ERR_LEASE_LOST || rc == ERR_JOURNAL_VERSION) {
        ret->outcome = REKEY_BUSY; /* we were too slow: nothing was written */
        c->error[0] = '\0';
        rc = 0;
    }
    return rc;
}

static int give_back(struct client *c, const struct store_user *u)
{
    struct store_reply r = {0};
    struct waiter w;
    int rc = store_release(&c->store, u, client_ticket(&w, client_copy_reply, &r));
    rc = client_reply(c, rc, &w, &r, u->key);
    if (rc != ERR_LEASE_LOST) return rc;
    c->error[0] = '\0';
    return 0; /* it ran out: not ours to give */
}

static int under_lease(struct client *c, const struct escrow *e, const char *user_key, struct rekey_user *ret)
{
    struct held_pairs h = {0};
    struct waiter w;
    store_user_init(&c->store, &h.user, user_key);
    h.user.wall_ms = clock_wall_ms(&clock_system);
    int rc = store_acquire(&c->store, &h.user, client_ticket(&w, copy_lease, &h));
    if (rc == 0) rc = client_wait(c, &w);
    if (rc < 0) return client_fail(c, rc, "%s: %s", user_key, err_text(rc));
    if (h.err == ERR_LEASE_HELD || h.err == ERR_LEASE_HOLD_OFF) {
        ret->outcome = REKEY_BUSY;
        ret->wait_ms = h.wait_ms;
        return 0;
    }
    if (h.err == ERR_SYNTAX || h.err == ERR_VERSION || h.err == ERR_SEAL_BROKEN) {
        ret->outcome = REKEY_CLOSED; /* a document that we cannot read: the lease is ours all the same */
        ret->err = h.err;
    } else if (h.err < 0) {
        return client_fail(c, h.err, "%s: %s", user_key, err_text(h.err));
    } else {
        rc = write_pairs(c, &h, e, ret);
        if (rc < 0) return rc; /* unknown outcome: the lease runs out by itself */
    }
    return give_back(c, &h.user);
}

/* ---- looking without a lease ---- */

struct look {
    const struct escrow *e;
    struct rekey_user *ret;
    int err;
    bool stale;
};

static void copy_sealed(void *into, const void *result)
{
    struct look *l = into;
    const struct redis_reply *r = result;
    l->err = r->err;
    if (r->err || !r->value || r->value->type == REDIS_NIL) return;
    if (r->value->type != REDIS_STRING) {
        l->err = ERR_NET_BAD_REPLY;
        return;
    }
    escrow_sealed_by(r->value->str, r->value->len, l->ret->under[l->ret->n_found++]);
    if (!escrow_is_fresh(l->e, r->value->str, r->value->len)) l->stale = true;
}

int rekey_user(struct client *c, const struct escrow *escrow, const char *user_key, bool dry, struct rekey_user *ret)
{
    static const char *const what[] = {"journal", "record"};
    struct look l = {.e = escrow, .ret = ret};
    *ret = (struct rekey_user){0};
    for (size_t i = 0; i < ARRAY_LEN(what); i++) {
        char key[STORE_KEY_MAX];
        store_key(&c->store, user_key, what[i], key);
        const char *const words[] = {"HGET", key, "sealed"};
        int rc = client_command(c, ARRAY_LEN(words), words, copy_sealed, &l);
        if (rc == 0) rc = l.err;
        if (rc < 0) return c->error[0] ? rc : client_fail(c, rc, "%s: %s", user_key, err_text(rc));
    }
    ret->outcome = !ret->n_found ? REKEY_NOTHING : l.stale ? REKEY_STALE : REKEY_FRESH;
    return ret->outcome != REKEY_STALE || dry ? 0 : under_lease(c, escrow, user_key, ret);
}
