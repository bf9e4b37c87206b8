/* The simulated Redis server (redis.h): runs the shipped Lua files through liblua 5.1 with a `redis.call` of our own,
 * converting values as Redis documents it
 * (https://redis.io/docs/latest/develop/interact/programmability/lua-api/#data-type-conversion): nil is false, numbers
 * become integers, an array ends at its first nil. One Lua state serves all servers of a process, since compiling the
 * scripts takes longer than running them; they keep nothing from call to call.
 *
 * Snapshots before each writing command (16 of them) are what a failover goes back to. */
#include "tests/sim/redis.h"

#include "lib/err.h"
#include "lib/mutant.h"
#include "lib/text.h"
#include "tests/sim/redis_db.h"

#include <assert.h>
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SCRIPTS_MAX 32
#define SNAPSHOTS   16
#define CLIENTS_MAX 16
#define TIMEOUT_MS  5000 /* lib/redis.h: command_timeout_ms */

struct port {
    struct sim_redis *redis;
    struct sim_client *client;
};
struct sim_redis {
    struct sim_net *net;
    struct sim_db db, snapshots[SNAPSHOTS];
    uint64_t n_snapshots;
    struct port ports[CLIENTS_MAX];
    size_t n_ports;
    struct redis_server server;
    unsigned epoch; /* changes with each restart: calls of an earlier one are lost */
    bool down;
    int lose;
    unsigned losses;
    int64_t lost_wall_ms;
    sim_fn *up;
    void *up_arg;
    sim_fn *effect;
    void *effect_arg;
    bool no_snapshots;
    int64_t ahead_ms;        /* its wall clock, of the true time */
    struct sim_reply *reply; /* of the script that runs */
    bool acquires;           /* it is the one that takes a lease */
};

static struct {
    lua_State *state;
    const struct redis_script *scripts[SCRIPTS_MAX];
    int refs[SCRIPTS_MAX]; /* their functions in the registry */
    size_t n_scripts;
    struct sim_redis *server; /* whose script runs */
} lua;

struct redis_op {
    struct sim_op op;
    struct sim_redis *redis;
    unsigned epoch;
    const struct redis_script *script;
    size_t n_keys, n_args;
    struct redis_arg *args; /* with their bytes behind them; owned */
    struct sim_reply reply;
};

static int64_t now_us(const struct sim_redis *r)
{
    return (sim_wall_ms(r->net->sim) + r->ahead_ms) * 1000;
}

/* ---- Lua ----------------------------------------------------------------------------------------------------------
 */

static void push(lua_State *l, const struct redis_value *v)
{
    switch (v->type) {
    case REDIS_NIL:
        lua_pushboolean(l, 0);
        return;
    case REDIS_STRING:
        lua_pushlstring(l, v->str, v->len);
        return;
    case REDIS_INTEGER:
        lua_pushnumber(l, (lua_Number)v->integer);
        return;
    case REDIS_STATUS:
        lua_newtable(l);
        lua_pushlstring(l, v->str, v->len);
        lua_setfield(l, -2, "ok");
        return;
    case REDIS_ERROR:
        lua_newtable(l);
        lua_pushlstring(l, v->str, v->len);
        lua_setfield(l, -2, "err");
        return;
    case REDIS_ARRAY:
        lua_newtable(l);
        for (size_t i = 0; i < v->count; i++) {
            push(l, v->items[i]);
            lua_rawseti(l, -2, (int)i + 1);
        }
        return;
    }
}

/* The value on top as a reply; pops it. */
static struct redis_value *pull(lua_State *l, struct sim_reply *reply)
{
    struct redis_value *v = NULL;
    switch (lua_type(l, -1)) {
    case LUA_TSTRING: {
        size_t len;
        const char *s = lua_tolstring(l, -1, &len);
        v = sim_reply_string(reply, REDIS_STRING, s, len);
        break;
    }
    case LUA_TBOOLEAN:
        v = lua_toboolean(l, -1) ? sim_reply_integer(reply, 1) : sim_reply_value(reply, REDIS_NIL);
        break;
    case LUA_TNUMBER:
        v = sim_reply_integer(reply, (int64_t)lua_tonumber(l, -1));
        break;
    case LUA_TTABLE: {
        size_t n = 0;
        for (;; n++) {
            lua_rawgeti(l, -1, (int)n + 1);
            bool end = lua_isnil(l, -1);
            lua_pop(l, 1);
            if (end) break;
        }
        v = sim_reply_array(reply, n);
        for (size_t i = 0; i < n; i++) {
            lua_rawgeti(l, -1, (int)i + 1);
            sim_reply_set(v, i, pull(l, reply));
        }
        break;
    }
    default:
        v = sim_reply_value(reply, REDIS_NIL);
        break;
    }
    lua_settop(l, -2);
    return v;
}

/* As Redis writes a number: "%.17g", which is the digits alone where it is whole and has no more than 15 of them. */
static void push_number(lua_State *l, double n)
{
    char text[40];
    const int64_t whole = n > -1e15 && n < 1e15 ? (int64_t)n : INT64_MAX;
    if ((double)whole == n && (whole || !signbit(n)))
        text_int(text, whole);
    else
        snprintf(text, sizeof(text), "%.17g", n);
    lua_pushstring(l, text);
}

static int redis_call(lua_State *l)
{
    struct sim_redis *r = lua.server;
    struct redis_arg argv[100];
    int n = lua_gettop(l);
    if (n < 1 || n > 99) return luaL_error(l, "wrong number of arguments");
    for (int i = 1; i <= n; i++) {
        if (lua_type(l, i) == LUA_TNUMBER) {
            push_number(l, lua_tonumber(l, i));
            lua_replace(l, i);
        }
        if (lua_type(l, i) != LUA_TSTRING)
            return luaL_error(l, "Lua redis() command arguments must be strings or integers");
        argv[i - 1].data = lua_tolstring(l, i, &argv[i - 1].len);
    }
    if (MUTANT(NO_FENCE) && !r->acquires && n == 3 && !strcmp(argv[0].data, "HGET") && !strcmp(argv[2].data, "token")) {
        lua_getglobal(l, "ARGV");
        lua_rawgeti(l, -1, 1);
        return 1;
    }
    const struct redis_value *v = sim_db_command(&r->db, (size_t)n, argv, now_us(r), r->reply);
    if (v->type == REDIS_ERROR) return luaL_error(l, "%s", v->str);
    push(l, v);
    return 1;
}

static void open_lua(void)
{
    if (lua.state) return;
    lua_State *l = lua.state = luaL_newstate();
    if (!l) abort();
    static const lua_CFunction libs[] = {luaopen_base, luaopen_table, luaopen_string, luaopen_math};
    static const char *const names[] = {"", LUA_TABLIBNAME, LUA_STRLIBNAME, LUA_MATHLIBNAME};
    for (size_t i = 0; i < ARRAY_LEN(libs); i++) {
        lua_pushcfunction(l, libs[i]);
        lua_pushstring(l, names[i]);
        lua_call(l, 1, 0);
    }
    lua_newtable(l);
    lua_pushcfunction(l, redis_call);
    lua_setfield(l, -2, "call");
    lua_setglobal(l, "redis");
    lua_gc(l, LUA_GCSETPAUSE, 1000);
}

static void push_script(lua_State *l, const struct redis_script *script)
{
    for (size_t i = 0; i < lua.n_scripts; i++) {
        if (lua.scripts[i] != script) continue;
        lua_rawgeti(l, LUA_REGISTRYINDEX, lua.refs[i]);
        return;
    }
    assert(lua.n_scripts < SCRIPTS_MAX);
    if (luaL_loadbuffer(l, script->body, strlen(script->body), script->name)) {
        fprintf(stderr, "%s: %s\n", script->name, lua_tostring(l, -1));
        abort();
    }
    lua_pushvalue(l, -1);
    lua.scripts[lua.n_scripts] = script;
    lua.refs[lua.n_scripts++] = luaL_ref(l, LUA_REGISTRYINDEX);
}

static void set_list(lua_State *l, const char *name, size_t n, const struct redis_arg *args)
{
    lua_createtable(l, (int)n, 0);
    for (size_t i = 0; i < n; i++) {
        lua_pushlstring(l, args[i].data, args[i].len);
        lua_rawseti(l, -2, (int)i + 1);
    }
    lua_setglobal(l, name);
}

static struct redis_value *eval(struct sim_redis *r, const struct redis_script *script, size_t n_keys, size_t n_args,
                                const struct redis_arg *args, struct sim_reply *reply)
{
    lua_State *l = lua.state;
    lua.server = r;
    r->reply = reply;
    r->acquires = !strcmp(script->name, "lease_acquire");
    set_list(l, "KEYS", n_keys, args);
    set_list(l, "ARGV", n_args - n_keys, args + n_keys);
    push_script(l, script);
    if (lua_pcall(l, 0, 1, 0)) {
        size_t len;
        const char *text = lua_tolstring(l, -1, &len);
        struct redis_value *v = sim_reply_string(reply, REDIS_ERROR, text, len);
        lua_pop(l, 1);
        return v;
    }
    return pull(l, reply);
}

/* ---- operations ---------------------------------------------------------------------------------------------------
 */

static void remember(struct sim_redis *r)
{
    sim_db_copy(&r->snapshots[r->n_snapshots++ % SNAPSHOTS], &r->db);
}

static struct redis_value *execute(struct sim_redis *r, const struct redis_script *script, size_t n_keys, size_t n_args,
                                   const struct redis_arg *args, struct sim_reply *reply, bool writes)
{
    if (writes && !r->no_snapshots) remember(r);
    return script ? eval(r, script, n_keys, n_args, args, reply)
                  : sim_db_command(&r->db, n_args, args, now_us(r), reply);
}

static void op_effect(struct sim_op *op)
{
    struct redis_op *o = (struct redis_op *)op;
    struct sim_redis *r = o->redis;
    if (r->down || o->epoch != r->epoch) { /* it reached nobody */
        op->err = op->err ? op->err : ERR_REDIS_LOST;
        return;
    }
    o->reply.root = execute(r, o->script, o->n_keys, o->n_args, o->args, &o->reply, op->writes);
    if (r->effect) r->effect(r->effect_arg);
    if (o->script && o->reply.root->type == REDIS_ERROR) /* a shipped script never fails on what our programs write */
        fprintf(stderr, "%s: %s\n", o->script->name, o->reply.root->str);
}

static void op_answer(struct sim_op *op, int err)
{
    struct redis_op *o = (struct redis_op *)op;
    struct redis_value *text = NULL;
    if (!err && (o->epoch != o->redis->epoch || o->redis->down)) err = ERR_REDIS_LOST;
    if (!err && !o->reply.root) err = ERR_REDIS_LOST;
    if (!err && o->reply.root->type == REDIS_ERROR) err = ERR_REDIS_REFUSED;
    if (err == ERR_REDIS_REFUSED && !o->reply.root)
        text = sim_reply_string(&o->reply, REDIS_ERROR, "OOM command not allowed", 23);
    const struct redis_reply reply = {err, err && err != ERR_REDIS_REFUSED ? NULL : text ? text : o->reply.root};
    ticket_complete(op->ticket, &reply);
}

static void op_free(struct sim_op *op)
{
    struct redis_op *o = (struct redis_op *)op;
    sim_reply_free(&o->reply);
    free(o->args);
    free(o);
}

static const struct sim_op_class redis_class = {SIM_REDIS,         true,           op_effect,
                                                op_answer,         op_free,        ERR_REDIS_REFUSED,
                                                ERR_REDIS_REFUSED, ERR_REDIS_LOST, ERR_REDIS_LOST};

static struct redis_arg *copy_args(size_t n, const struct redis_arg *args)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) bytes += args[i].len + 1;
    struct redis_arg *copy = malloc(n * sizeof(*copy) + bytes);
    if (!copy) abort();
    char *at = (char *)(copy + n);
    for (size_t i = 0; i < n; i++) {
        if (args[i].len) memcpy(at, args[i].data, args[i].len);
        at[args[i].len] = '\0';
        copy[i] = (struct redis_arg){at, args[i].len};
        at += args[i].len + 1;
    }
    return copy;
}

static int begin(struct port *p, const struct redis_script *script, size_t n_keys, size_t n_args,
                 const struct redis_arg *args, const char *name, bool writes, struct ticket t)
{
    struct sim_redis *r = p->redis;
    if (r->down) return ERR_REDIS_DOWN;
    struct redis_op *o = calloc(1, sizeof(*o));
    if (!o) abort();
    o->redis = r;
    o->epoch = r->epoch;
    o->script = script;
    o->n_keys = n_keys;
    o->n_args = n_args;
    o->args = copy_args(n_args, args);
    sim_op_begin(r->net, p->client, &o->op, &redis_class, name, writes, TIMEOUT_MS, t);
    return 0;
}

static int port_eval(void *self, const struct redis_script *script, size_t n_keys, size_t n_args,
                     const struct redis_arg *args, struct ticket t)
{
    return begin(self, script, n_keys, n_args, args, script->name, strcmp(script->name, "peek") != 0, t);
}

static int port_command(void *self, size_t n_args, const struct redis_arg *args, struct ticket t)
{
    return begin(self, NULL, 0, n_args, args, "command", true, t);
}

/* ---- life ---------------------------------------------------------------------------------------------------------
 */

static void new_run_id(struct sim_redis *r)
{
    rng_hex(&r->net->sim->rng, 20, r->server.run_id);
    rng_hex(&r->net->sim->rng, 20, r->server.repl_id);
}

struct sim_redis *sim_redis_new(struct sim_net *net)
{
    struct sim_redis *r = calloc(1, sizeof(*r));
    if (!r) abort();
    r->net = net;
    snprintf(r->server.version, sizeof(r->server.version), "7.0.15");
    r->server.aof_enabled = 1;
    new_run_id(r);
    open_lua();
    return r;
}

void sim_redis_free(struct sim_redis *r)
{
    sim_db_clear(&r->db);
    for (size_t i = 0; i < SNAPSHOTS; i++) sim_db_clear(&r->snapshots[i]);
    free(r);
}

struct redis_port sim_redis_port(struct sim_redis *r, struct sim_client *c)
{
    for (size_t i = 0; i < r->n_ports; i++)
        if (r->ports[i].client == c) return (struct redis_port){&r->ports[i], port_eval, port_command};
    assert(r->n_ports < CLIENTS_MAX);
    r->ports[r->n_ports] = (struct port){r, c};
    return (struct redis_port){&r->ports[r->n_ports++], port_eval, port_command};
}

static void note_loss(struct sim_redis *r)
{
    r->losses++;
    r->lost_wall_ms = sim_wall_ms(r->net->sim);
}

void sim_redis_flush(struct sim_redis *r)
{
    sim_say(r->net->sim, "Redis is flushed");
    sim_db_clear(&r->db);
    note_loss(r);
}

static void on_up(void *arg)
{
    struct sim_redis *r = arg;
    r->down = false;
    new_run_id(r);
    uint64_t n = r->lose < 0 ? 0 : (uint64_t)r->lose;
    if (n > r->n_snapshots) n = r->n_snapshots;
    if (r->lose < 0) sim_db_clear(&r->db);
    if (n) sim_db_copy(&r->db, &r->snapshots[(r->n_snapshots - n) % SNAPSHOTS]);
    if (r->lose) note_loss(r);
    r->n_snapshots = 0;
    sim_say(r->net->sim, "Redis is back, %d writes lost", r->lose);
    if (r->up) r->up(r->up_arg);
}

void sim_redis_restart(struct sim_redis *r, int64_t down_ms, int lost_writes)
{
    if (r->down) return;
    assert(lost_writes <= SNAPSHOTS && (lost_writes <= 0 || !r->no_snapshots));
    sim_say(r->net->sim, "Redis goes down");
    r->down = true;
    r->epoch++;
    r->lose = lost_writes;
    sim_after(r->net->sim, down_ms, on_up, r, r);
}

void sim_redis_on_up(struct sim_redis *r, sim_fn *up, void *arg)
{
    r->up = up;
    r->up_arg = arg;
}

void sim_redis_no_failover(struct sim_redis *r)
{
    r->no_snapshots = true;
}

void sim_redis_on_effect(struct sim_redis *r, sim_fn *effect, void *arg)
{
    r->effect = effect;
    r->effect_arg = arg;
}

void sim_redis_set_clock(struct sim_redis *r, int64_t ahead_ms)
{
    r->ahead_ms = ahead_ms;
    sim_say(r->net->sim, "the clock of Redis is %lld ms ahead", (long long)ahead_ms);
}

bool sim_redis_is_down(const struct sim_redis *r)
{
    return r->down;
}

const struct redis_server *sim_redis_server(const struct sim_redis *r)
{
    return &r->server;
}

unsigned sim_redis_losses(const struct sim_redis *r)
{
    return r->losses;
}

int64_t sim_redis_lost_wall_ms(const struct sim_redis *r)
{
    return r->lost_wall_ms;
}

/* ---- truth --------------------------------------------------------------------------------------------------------
 */

const char *sim_redis_peek(struct sim_redis *r, const char *key, const char *field, size_t *ret_len)
{
    const struct sim_db_key *k = sim_db_look(&r->db, key, now_us(r) / 1000);
    const struct sim_db_field *f = k ? sim_db_field(k, field ? field : "") : NULL;
    if (f && ret_len) *ret_len = f->len;
    return f ? f->data : NULL;
}

void sim_redis_poke(struct sim_redis *r, const char *key, const char *field, const char *value)
{
    struct sim_reply reply = {0};
    const struct redis_arg set[] = {{"SET", 3}, {key, strlen(key)}, {value, strlen(value)}};
    const struct redis_arg hset[] = {
        {"HSET", 4}, {key, strlen(key)}, {field ? field : "", field ? strlen(field) : 0}, {value, strlen(value)}};
    (void)sim_db_command(&r->db, field ? 4 : 3, field ? hset : set, now_us(r), &reply);
    sim_reply_free(&reply);
}

bool sim_redis_evict(struct sim_redis *r, const char *key)
{
    struct sim_reply reply = {0};
    const struct redis_arg del[] = {{"DEL", 3}, {key, strlen(key)}};
    bool was = sim_db_command(&r->db, 2, del, now_us(r), &reply)->integer > 0;
    sim_reply_free(&reply);
    if (!was) return false;
    sim_say(r->net->sim, "Redis evicts %s", key);
    note_loss(r);
    return true;
}

void sim_redis_each(struct sim_redis *r,
                    void (*fn)(void *arg, const char *key, const char *field, const char *value, size_t len), void *arg)
{
    for (size_t i = 0; i < r->db.n; i++)
        for (size_t f = 0; f < r->db.keys[i].n; f++) {
            const struct sim_db_field *d = &r->db.keys[i].fields[f];
            fn(arg, r->db.keys[i].name, d->name, d->data, d->len);
        }
}

const struct redis_value *sim_redis_run(struct sim_redis *r, const struct redis_script *script, size_t n_keys,
                                        size_t n_args, const struct redis_arg *args, struct sim_reply *reply)
{
    AUTO_FREE struct redis_arg *copy = copy_args(n_args, args);
    return reply->root = execute(r, script, n_keys, n_args, copy, reply, true);
}

static void mix(void *arg, const char *key, const char *field, const char *value, size_t len)
{
    uint64_t *h = arg;
    for (const char *p = key; *p; p++) *h = (*h ^ (unsigned char)*p) * 1099511628211u;
    for (const char *p = field; *p; p++) *h = (*h ^ (unsigned char)*p) * 1099511628211u;
    for (size_t i = 0; i < len; i++) *h = (*h ^ (unsigned char)value[i]) * 1099511628211u;
}

uint64_t sim_redis_digest(struct sim_redis *r)
{
    uint64_t h = 14695981039346656037u;
    sim_redis_each(r, mix, &h);
    return h;
}
