/* Data and commands of the simulated Redis (redis_db.h). Keys and fields stand in arrays in the order of their arrival:
 * a world has a dozen of them. Every value carries a NUL behind its bytes. Commands check types as Redis does, since a
 * script that mixes them up must fail here too. */
#include "tests/sim/redis_db.h"

#include "lib/text.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define CHUNK_BYTES 4096

/* ---- replies ------------------------------------------------------------------------------------------------------
 */

struct sim_chunk {
    struct sim_chunk *next;
    size_t used, size;
    char data[];
};

static void *must(void *p)
{
    if (!p) abort();
    return p;
}

void *sim_reply_alloc(struct sim_reply *r, size_t size)
{
    struct sim_chunk *c = r->chunks;
    size = (size + 15) & ~(size_t)15;
    if (!c || c->used + size > c->size) {
        size_t bytes = size > CHUNK_BYTES ? size : CHUNK_BYTES;
        c = must(malloc(sizeof(*c) + bytes));
        *c = (struct sim_chunk){r->chunks, 0, bytes};
        r->chunks = c;
    }
    c->used += size;
    return c->data + c->used - size;
}

struct redis_value *sim_reply_value(struct sim_reply *r, enum redis_type type)
{
    struct redis_value *v = sim_reply_alloc(r, sizeof(*v));
    *v = (struct redis_value){.type = type};
    return v;
}

struct redis_value *sim_reply_string(struct sim_reply *r, enum redis_type type, const char *s, size_t len)
{
    struct redis_value *v = sim_reply_value(r, type);
    char *copy = sim_reply_alloc(r, len + 1);
    memcpy(copy, s, len);
    copy[len] = '\0';
    v->str = copy;
    v->len = len;
    return v;
}

struct redis_value *sim_reply_integer(struct sim_reply *r, int64_t n)
{
    struct redis_value *v = sim_reply_value(r, REDIS_INTEGER);
    v->integer = n;
    return v;
}

struct redis_value *sim_reply_array(struct sim_reply *r, size_t n)
{
    struct redis_value *v = sim_reply_value(r, REDIS_ARRAY);
    v->count = n;
    v->items = sim_reply_alloc(r, n * sizeof(struct redis_value *));
    return v;
}

void sim_reply_set(struct redis_value *array, size_t i, const struct redis_value *item)
{
    ((const struct redis_value **)(uintptr_t)array->items)[i] = item;
}

void sim_reply_free(struct sim_reply *r)
{
    while (r->chunks) {
        struct sim_chunk *next = r->chunks->next;
        free(r->chunks);
        r->chunks = next;
    }
    r->root = NULL;
}

/* ---- data ---------------------------------------------------------------------------------------------------------
 */

static char *copy_bytes(const char *s, size_t len)
{
    char *p = must(malloc(len + 1));
    memcpy(p, s, len);
    p[len] = '\0';
    return p;
}

static void key_free(struct sim_db_key *k)
{
    for (size_t i = 0; i < k->n; i++) {
        free(k->fields[i].name);
        free(k->fields[i].data);
    }
    free(k->fields);
    free(k->name);
}

void sim_db_clear(struct sim_db *db)
{
    for (size_t i = 0; i < db->n; i++) key_free(&db->keys[i]);
    free(db->keys);
    *db = (struct sim_db){.writes = db->writes};
}

static struct sim_db_key *add_key(struct sim_db *db, const char *name)
{
    if (db->n == db->cap) {
        db->cap = db->cap ? db->cap * 2 : 8;
        db->keys = must(realloc(db->keys, db->cap * sizeof(*db->keys)));
    }
    struct sim_db_key *k = &db->keys[db->n++];
    const size_t len = strlen(name);
    *k = (struct sim_db_key){.name = copy_bytes(name, len), .name_len = len, .expire_ms = INT64_MAX};
    return k;
}

static void set_field(struct sim_db_key *k, const char *name, const char *data, size_t len)
{
    struct sim_db_field *f = (struct sim_db_field *)(uintptr_t)sim_db_field(k, name);
    if (!f) {
        if (k->n == k->cap) {
            k->cap = k->cap ? k->cap * 2 : 8;
            k->fields = must(realloc(k->fields, k->cap * sizeof(*k->fields)));
        }
        f = &k->fields[k->n++];
        const size_t name_len = strlen(name);
        *f = (struct sim_db_field){.name = copy_bytes(name, name_len), .name_len = name_len};
    }
    free(f->data);
    f->data = copy_bytes(data, len);
    f->len = len;
}

void sim_db_copy(struct sim_db *to, const struct sim_db *from)
{
    sim_db_clear(to);
    for (size_t i = 0; i < from->n; i++) {
        const struct sim_db_key *k = &from->keys[i];
        struct sim_db_key *copy = add_key(to, k->name);
        copy->is_hash = k->is_hash;
        copy->is_set = k->is_set;
        copy->expire_ms = k->expire_ms;
        for (size_t f = 0; f < k->n; f++) set_field(copy, k->fields[f].name, k->fields[f].data, k->fields[f].len);
    }
    to->writes = from->writes;
}

static void remove_key(struct sim_db *db, struct sim_db_key *k)
{
    size_t i = (size_t)(k - db->keys);
    key_free(k);
    memmove(k, k + 1, (db->n - i - 1) * sizeof(*k));
    db->n--;
}

static struct sim_db_key *named(const struct sim_db *db, const char *name)
{
    const size_t len = strlen(name);
    for (size_t i = 0; i < db->n; i++)
        if (db->keys[i].name_len == len && !memcmp(db->keys[i].name, name, len)) return &db->keys[i];
    return NULL;
}

/* As Redis: in its last millisecond it is there. */
static bool lives(const struct sim_db_key *k, int64_t now_ms)
{
    return k->expire_ms >= now_ms;
}

const struct sim_db_key *sim_db_look(const struct sim_db *db, const char *name, int64_t now_ms)
{
    const struct sim_db_key *k = named(db, name);
    return k && lives(k, now_ms) ? k : NULL;
}

struct sim_db_key *sim_db_find(struct sim_db *db, const char *name, int64_t now_ms)
{
    struct sim_db_key *k = named(db, name);
    if (!k || lives(k, now_ms)) return k;
    remove_key(db, k);
    return NULL;
}

const struct sim_db_field *sim_db_field(const struct sim_db_key *k, const char *name)
{
    const size_t len = strlen(name);
    for (size_t i = 0; i < k->n; i++)
        if (k->fields[i].name_len == len && !memcmp(k->fields[i].name, name, len)) return &k->fields[i];
    return NULL;
}

static bool remove_field(struct sim_db *db, struct sim_db_key *k, const char *name)
{
    struct sim_db_field *f = (struct sim_db_field *)(uintptr_t)sim_db_field(k, name);
    if (!f) return false;
    free(f->name);
    free(f->data);
    memmove(f, f + 1, (k->n - (size_t)(f - k->fields) - 1) * sizeof(*f));
    if (--k->n == 0) remove_key(db, k);
    return true;
}

/* ---- commands -----------------------------------------------------------------------------------------------------
 */

struct run {
    struct sim_db *db;
    size_t argc;
    const struct redis_arg *argv;
    int64_t now_ms, now_us;
    struct sim_reply *reply;
    struct redis_value *error;
};

static const char *arg(const struct run *r, size_t i)
{
    return r->argv[i].data;
}

static struct redis_value *fail(struct run *r, const char *text)
{
    r->error = sim_reply_string(r->reply, REDIS_ERROR, text, strlen(text));
    return r->error;
}

static struct redis_value *ok(struct run *r)
{
    return sim_reply_string(r->reply, REDIS_STATUS, "OK", 2);
}

static struct redis_value *integer(struct run *r, int64_t n)
{
    return sim_reply_integer(r->reply, n);
}

static struct redis_value *bulk(struct run *r, const struct sim_db_field *f)
{
    return f ? sim_reply_string(r->reply, REDIS_STRING, f->data, f->len) : sim_reply_value(r->reply, REDIS_NIL);
}

#define NOT_AN_INTEGER "ERR value is not an integer or out of range"

/* As Redis reads one: no blanks, no sign but '-', no leading zeros, 64 bits. */
static bool number(const char *s, size_t len, int64_t *ret)
{
    const char *digits = s + (*s == '-');
    if (!*digits || (*digits == '0' && len > 1) || strspn(digits, "0123456789") != len - (size_t)(digits - s))
        return false;
    errno = 0;
    *ret = strtoll(s, NULL, 10);
    return errno == 0;
}

static bool number_arg(const struct run *r, size_t i, int64_t *ret)
{
    return number(r->argv[i].data, r->argv[i].len, ret);
}

enum want { WANT_STRING, WANT_HASH, WANT_SET };

/* The key of the first argument; sets r->error when it has another type. */
static struct sim_db_key *find_typed(struct run *r, enum want want)
{
    struct sim_db_key *k = sim_db_find(r->db, arg(r, 1), r->now_ms);
    if (k && (k->is_hash != (want == WANT_HASH) || k->is_set != (want == WANT_SET))) {
        fail(r, "WRONGTYPE Operation against a key holding the wrong kind of value");
        return NULL;
    }
    return k;
}

static struct sim_db_key *find_or_add(struct run *r, enum want want)
{
    struct sim_db_key *k = find_typed(r, want);
    if (k || r->error) return k;
    k = add_key(r->db, arg(r, 1));
    k->is_hash = want == WANT_HASH;
    k->is_set = want == WANT_SET;
    return k;
}

static struct redis_value *cmd_get(struct run *r)
{
    struct sim_db_key *k = find_typed(r, WANT_STRING);
    return r->error ? r->error : bulk(r, k ? &k->fields[0] : NULL);
}

/* now + n units. False: no such time. */
static bool time_after(const struct run *r, int64_t n, int64_t unit, int64_t *ret_ms)
{
    return !__builtin_mul_overflow(n, unit, ret_ms) && !__builtin_add_overflow(*ret_ms, r->now_ms, ret_ms);
}

static struct redis_value *cmd_set(struct run *r)
{
    int64_t expire = INT64_MAX, n = 0;
    size_t unit = 0, when = 0;
    bool only_new = false;
    for (size_t i = 3; i < r->argc; i++) {
        bool px = !strcasecmp(arg(r, i), "PX"), ex = !strcasecmp(arg(r, i), "EX");
        if (!strcasecmp(arg(r, i), "NX")) {
            only_new = true;
        } else if ((px || ex) && !unit && i + 1 < r->argc) {
            unit = px ? 1 : 1000;
            when = ++i;
        } else {
            return fail(r, "ERR syntax error");
        }
    }
    if (unit && !number_arg(r, when, &n)) return fail(r, NOT_AN_INTEGER);
    if (unit && (n <= 0 || !time_after(r, n, (int64_t)unit, &expire)))
        return fail(r, "ERR invalid expire time in 'set' command");
    struct sim_db_key *k = sim_db_find(r->db, arg(r, 1), r->now_ms);
    if (k && only_new) return sim_reply_value(r->reply, REDIS_NIL);
    if (k) remove_key(r->db, k);
    k = add_key(r->db, arg(r, 1));
    set_field(k, "", r->argv[2].data, r->argv[2].len);
    k->expire_ms = expire;
    r->db->writes++;
    return ok(r);
}

static struct redis_value *cmd_del(struct run *r)
{
    int64_t n = 0;
    for (size_t i = 1; i < r->argc; i++) {
        struct sim_db_key *k = sim_db_find(r->db, arg(r, i), r->now_ms);
        if (!k) continue;
        remove_key(r->db, k);
        n++;
    }
    if (n) r->db->writes++;
    return integer(r, n);
}

static struct redis_value *cmd_exists(struct run *r)
{
    int64_t n = 0;
    for (size_t i = 1; i < r->argc; i++) n += sim_db_find(r->db, arg(r, i), r->now_ms) != NULL;
    return integer(r, n);
}

static struct redis_value *cmd_hget(struct run *r)
{
    struct sim_db_key *k = find_typed(r, WANT_HASH);
    return r->error ? r->error : bulk(r, k ? sim_db_field(k, arg(r, 2)) : NULL);
}

static struct redis_value *cmd_hexists(struct run *r)
{
    struct sim_db_key *k = find_typed(r, WANT_HASH);
    return r->error ? r->error : integer(r, k && sim_db_field(k, arg(r, 2)));
}

static struct redis_value *cmd_hmget(struct run *r)
{
    struct sim_db_key *k = find_typed(r, WANT_HASH);
    if (r->error) return r->error;
    struct redis_value *a = sim_reply_array(r->reply, r->argc - 2);
    for (size_t i = 2; i < r->argc; i++) sim_reply_set(a, i - 2, bulk(r, k ? sim_db_field(k, arg(r, i)) : NULL));
    return a;
}

static struct redis_value *cmd_hset(struct run *r)
{
    if (r->argc % 2) return fail(r, "ERR wrong number of arguments for 'hset' command");
    struct sim_db_key *k = find_or_add(r, WANT_HASH);
    if (r->error) return r->error;
    int64_t fresh = 0;
    for (size_t i = 2; i < r->argc; i += 2) {
        fresh += sim_db_field(k, arg(r, i)) == NULL;
        set_field(k, arg(r, i), r->argv[i + 1].data, r->argv[i + 1].len);
    }
    r->db->writes++;
    return integer(r, fresh);
}

static struct redis_value *cmd_hdel(struct run *r)
{
    struct sim_db_key *k = find_typed(r, WANT_HASH);
    int64_t n = 0;
    for (size_t i = 2; k && i < r->argc; i++) {
        size_t left = k->n;
        if (!remove_field(r->db, k, arg(r, i))) continue;
        n++;
        if (left == 1) k = NULL; /* the last field took the key with it */
    }
    if (n) r->db->writes++;
    return r->error ? r->error : integer(r, n);
}

static struct redis_value *cmd_hgetall(struct run *r)
{
    struct sim_db_key *k = find_typed(r, WANT_HASH);
    if (r->error) return r->error;
    struct redis_value *a = sim_reply_array(r->reply, k ? k->n * 2 : 0);
    for (size_t i = 0; k && i < k->n; i++) {
        sim_reply_set(a, 2 * i, sim_reply_string(r->reply, REDIS_STRING, k->fields[i].name, strlen(k->fields[i].name)));
        sim_reply_set(a, 2 * i + 1, bulk(r, &k->fields[i]));
    }
    return a;
}

/* The sum under a field of k, which stays as it is on failure. */
static struct redis_value *add_to(struct run *r, struct sim_db_key *k, const char *field, int64_t by,
                                  const char *refusal)
{
    int64_t sum = 0;
    char text[TEXT_INT_MAX];
    const struct sim_db_field *f = sim_db_field(k, field);
    if (f && !number(f->data, f->len, &sum)) return fail(r, refusal);
    if (__builtin_add_overflow(sum, by, &sum)) return fail(r, "ERR increment or decrement would overflow");
    set_field(k, field, text, text_int(text, sum));
    r->db->writes++;
    return integer(r, sum);
}

static struct redis_value *cmd_hincrby(struct run *r)
{
    int64_t by;
    if (!number_arg(r, 3, &by)) return fail(r, NOT_AN_INTEGER);
    struct sim_db_key *k = find_or_add(r, WANT_HASH);
    return r->error ? r->error : add_to(r, k, arg(r, 2), by, "ERR hash value is not an integer");
}

static struct redis_value *cmd_incr(struct run *r)
{
    struct sim_db_key *k = find_or_add(r, WANT_STRING);
    return r->error ? r->error : add_to(r, k, "", 1, NOT_AN_INTEGER);
}

static struct redis_value *expire_in(struct run *r, int64_t unit)
{
    int64_t n, when;
    if (!number_arg(r, 2, &n)) return fail(r, NOT_AN_INTEGER);
    if (!time_after(r, n, unit, &when)) return fail(r, "ERR invalid expire time in 'expire' command");
    struct sim_db_key *k = sim_db_find(r->db, arg(r, 1), r->now_ms);
    if (!k) return integer(r, 0);
    r->db->writes++;
    if (when <= r->now_ms)
        remove_key(r->db, k);
    else
        k->expire_ms = when;
    return integer(r, 1);
}

static struct redis_value *cmd_expire(struct run *r)
{
    return expire_in(r, 1000);
}

static struct redis_value *cmd_pexpire(struct run *r)
{
    return expire_in(r, 1);
}

static struct redis_value *cmd_pttl(struct run *r)
{
    const struct sim_db_key *k = sim_db_find(r->db, arg(r, 1), r->now_ms);
    return integer(r, !k ? -2 : k->expire_ms == INT64_MAX ? -1 : k->expire_ms - r->now_ms);
}

static struct redis_value *cmd_sadd(struct run *r)
{
    struct sim_db_key *k = find_or_add(r, WANT_SET);
    int64_t n = 0;
    if (r->error) return r->error;
    for (size_t i = 2; i < r->argc; i++) {
        if (sim_db_field(k, arg(r, i))) continue;
        set_field(k, arg(r, i), "", 0);
        n++;
    }
    if (n) r->db->writes++;
    return integer(r, n);
}

static struct redis_value *cmd_srem(struct run *r)
{
    struct sim_db_key *k = find_typed(r, WANT_SET);
    int64_t n = 0;
    for (size_t i = 2; k && i < r->argc; i++) {
        size_t left = k->n;
        if (!remove_field(r->db, k, arg(r, i))) continue;
        n++;
        if (left == 1) k = NULL;
    }
    if (n) r->db->writes++;
    return r->error ? r->error : integer(r, n);
}

static struct redis_value *cmd_smembers(struct run *r)
{
    struct sim_db_key *k = find_typed(r, WANT_SET);
    if (r->error) return r->error;
    struct redis_value *a = sim_reply_array(r->reply, k ? k->n : 0);
    for (size_t i = 0; k && i < k->n; i++)
        sim_reply_set(a, i, sim_reply_string(r->reply, REDIS_STRING, k->fields[i].name, strlen(k->fields[i].name)));
    return a;
}

static struct redis_value *cmd_scard(struct run *r)
{
    const struct sim_db_key *k = find_typed(r, WANT_SET);
    return r->error ? r->error : integer(r, k ? (int64_t)k->n : 0);
}

static struct redis_value *cmd_time(struct run *r)
{
    char text[TEXT_INT_MAX];
    struct redis_value *a = sim_reply_array(r->reply, 2);
    const int64_t parts[] = {r->now_us / 1000000, r->now_us % 1000000};
    for (size_t i = 0; i < 2; i++)
        sim_reply_set(a, i, sim_reply_string(r->reply, REDIS_STRING, text, text_int(text, parts[i])));
    return a;
}

static struct redis_value *cmd_flushall(struct run *r)
{
    sim_db_clear(r->db);
    r->db->writes++;
    return ok(r);
}

static const struct command {
    const char *name;
    size_t least, most; /* arguments, the name included */
    struct redis_value *(*run)(struct run *r);
} commands[] = {
    /* the frequent ones first */
    {"HGET", 3, 3, cmd_hget},       {"TIME", 1, 1, cmd_time},         {"PTTL", 2, 2, cmd_pttl},
    {"HMGET", 3, 99, cmd_hmget},    {"PEXPIRE", 3, 3, cmd_pexpire},   {"HSET", 4, 99, cmd_hset},
    {"GET", 2, 2, cmd_get},         {"SMEMBERS", 2, 2, cmd_smembers}, {"SET", 3, 6, cmd_set},
    {"DEL", 2, 99, cmd_del},        {"EXISTS", 2, 99, cmd_exists},    {"HDEL", 3, 99, cmd_hdel},
    {"HGETALL", 2, 2, cmd_hgetall}, {"HINCRBY", 4, 4, cmd_hincrby},   {"HEXISTS", 3, 3, cmd_hexists},
    {"EXPIRE", 3, 3, cmd_expire},   {"SADD", 3, 99, cmd_sadd},        {"SREM", 3, 99, cmd_srem},
    {"SCARD", 2, 2, cmd_scard},     {"FLUSHALL", 1, 2, cmd_flushall}, {"INCR", 2, 2, cmd_incr},
};

struct redis_value *sim_db_command(struct sim_db *db, size_t argc, const struct redis_arg *argv, int64_t now_us,
                                   struct sim_reply *reply)
{
    struct run r = {db, argc, argv, now_us / 1000, now_us, reply, NULL};
    const char first = argc ? *(const char *)argv[0].data & ~0x20 : '\0'; /* a capital */
    for (size_t i = 0; argc && i < sizeof(commands) / sizeof(commands[0]); i++) {
        if (commands[i].name[0] != first || strcasecmp(commands[i].name, argv[0].data)) continue;
        if (argc < commands[i].least || argc > commands[i].most) return fail(&r, "ERR wrong number of arguments");
        return commands[i].run(&r);
    }
    return fail(&r, "ERR unknown command");
}
