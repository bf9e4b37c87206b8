/* Redis client.
 *
 * Commands are formatted into one buffer and handed to the transport once per loop turn; replies come back in order, so
 * the open commands are a ring (struct queue). hiredis parses; its object functions build struct redis_value in an
 * arena that is emptied after each reply, so there is one tree and no free per node.
 *
 * After connecting: AUTH, SELECT, INFO; only then READY. While it is not READY a command fails with ERR_REDIS_DOWN in
 * the next turn: nothing is kept for later, since the caller's deadlines decide what is still worth doing.
 * A lost connection, a wrong reply or a command over its time ends the connection (replies would be out of step) and
 * completes what is open: ERR_REDIS_LOST when it was written, else ERR_REDIS_DOWN. READONLY tells of a failover behind
 * our back: no more commands are taken, what is open is answered, then it connects again (to where the name points
 * now).
 *
 * Scripts go by SHA; NOSCRIPT sends the same arguments once more with the body, so they are kept until the answer.
 *
 * Limits: one server (no MOVED/ASK: such a reply is ERR_REDIS_REFUSED), RESP2, replies up to 16 MiB and 6 levels.
 * Completions may call back into the client, redis_free() included (depth, epoch). */
#include "lib/redis.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/redis_resp.h"
#include "lib/redis_transport.h"
#include "lib/redis_url.h"
#include "lib/text.h"

#include <hiredis/hiredis.h>
#include <hiredis/read.h>
#include <openssl/evp.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define REPLY_MAX          (16u << 20)
#define DEPTH_MAX          6
#define CHUNK_BYTES        16384
#define FEED_BYTES         4096 /* hiredis moves the rest of its buffer per kilobyte read: feed it in small pieces */
#define TIMEOUT_DEFAULT_MS 5000
#define PENDING_DEFAULT    100000
#define BACKOFF_BASE_MS    50
#define BACKOFF_CAP_MS     2000
#define BACKOFF_AUTH_MS    10000 /* a refused login does not heal by itself; some servers ban fast callers */
#define SHA_LEN            40

/* ---- types ---- */

struct chunk {
    struct chunk *next;
    size_t used, cap;
    max_align_t data[];
};

/* Memory of one reply. */
struct arena {
    struct chunk *head;
    size_t total; /* bytes given out since the last reset */
};

struct known_script {
    const struct redis_script *script;
    char sha[SHA_LEN + 1];
};

struct pending {
    struct ticket ticket;
    int64_t deadline_ms;               /* monotonic */
    const struct redis_script *script; /* sent by SHA and not answered yet, else NULL */
    char *args;                        /* owned; with script: its number of keys and arguments as they were sent */
    size_t args_len, n_args;           /* n_args: array items in args */
};

/* Ring of open commands, oldest first; capacity is a power of two. */
struct queue {
    struct pending *items;
    size_t head, count, cap;
};

struct redis {
    struct loop *loop;
    struct redis_url url;
    struct secret *password; /* owned, or NULL */
    int64_t command_timeout_ms;
    size_t max_pending;
    void (*on_state)(void *arg, enum redis_state s, const struct redis_server *server, int err);
    void *arg;

    struct redis_transport *transport;
    struct loop_turn *turn;      /* writes what was queued */
    struct loop_timer *deadline; /* of the oldest command or of connecting; runs on when it fires early */
    struct loop_timer *retry;    /* next attempt to connect */
    struct loop_timer *refuse;   /* completes `refused` in the next turn */
    redisReader *reader;         /* of this connection, else NULL */
    struct arena arena;

    enum redis_state state;
    bool stale; /* take no more commands; connect again when the open ones are answered */
    bool deadline_armed;
    bool grace;       /* a deadline passed: replies that wait in the socket are read before it counts */
    bool closing;     /* redis_free() was called inside a callback */
    int depth;        /* callbacks under way */
    uint64_t epoch;   /* counts connections: changes when one ends */
    unsigned attempt; /* since it was READY last */
    int64_t connect_by_ms;

    struct queue pending; /* queued or written */
    size_t n_unwritten;   /* of these, at the tail */
    struct queue refused; /* to be completed with ERR_REDIS_DOWN */
    struct resp out;
    struct known_script *scripts;
    size_t n_scripts;
    struct redis_server server;
    char reason[160];
};

static void connection_lost(struct redis *r, int err, const char *why);
static void start_connecting(struct redis *r);

/* ---- arena and reply tree ---- */

static void *arena_take(struct arena *a, size_t size)
{
    size = (size + sizeof(max_align_t) - 1) & ~(sizeof(max_align_t) - 1);
    if (size > REPLY_MAX || a->total > REPLY_MAX - size) return NULL;
    if (!a->head || a->head->cap - a->head->used < size) {
        size_t cap = size > CHUNK_BYTES ? size : CHUNK_BYTES;
        struct chunk *c = malloc(sizeof(*c) + cap);
        if (!c) return NULL;
        *c = (struct chunk){.next = a->head, .cap = cap};
        a->head = c;
    }
    void *p = (char *)a->head->data + a->head->used;
    a->head->used += size;
    a->total += size;
    return p;
}

/* Empties it; one chunk of the usual size is kept. */
static void arena_reset(struct arena *a)
{
    while (a->head && (a->head->next || a->head->cap > CHUNK_BYTES)) {
        struct chunk *c = a->head;
        a->head = c->next;
        free(c);
    }
    if (a->head) a->head->used = 0;
    a->total = 0;
}

static void arena_done(struct arena *a)
{
    arena_reset(a);
    free(a->head);
    a->head = NULL;
}

/* A new node, linked into its parent. NULL (which ends the connection) when out of memory or nested too deep. */
static struct redis_value *node_new(const redisReadTask *task, enum redis_type type)
{
    int level = 0;
    for (const redisReadTask *t = task; t->parent; t = t->parent) level++;
    if (level > DEPTH_MAX) return NULL;
    struct redis_value *v = arena_take(task->privdata, sizeof(*v));
    if (!v) return NULL;
    *v = (struct redis_value){.type = type};
    if (task->parent) {
        const struct redis_value *parent = task->parent->obj;
        assert(task->idx >= 0 && (size_t)task->idx < parent->count);
        ((const struct redis_value **)(uintptr_t)parent->items)[task->idx] = v;
    }
    return v;
}

static void *make_string(const redisReadTask *task, char *str, size_t len)
{
    enum redis_type type;
    if (task->type == REDIS_REPLY_STRING)
        type = REDIS_STRING;
    else if (task->type == REDIS_REPLY_STATUS)
        type = REDIS_STATUS;
    else if (task->type == REDIS_REPLY_ERROR)
        type = REDIS_ERROR;
    else
        return NULL; /* RESP3: we did not ask for it */
    struct redis_value *v = node_new(task, type);
    char *copy = v ? arena_take(task->privdata, len + 1) : NULL;
    if (!copy) return NULL;
    memcpy(copy, str, len);
    copy[len] = '\0';
    v->str = copy;
    v->len = len;
    return v;
}

#ifdef REDIS_REPLY_DOUBLE /* hiredis 1.x */
#define ARRAY_COUNT size_t
#else
#define ARRAY_COUNT int
#endif

static void *make_array(const redisReadTask *task, ARRAY_COUNT count)
{
    if (task->type != REDIS_REPLY_ARRAY || count > (ARRAY_COUNT)(REPLY_MAX / sizeof(void *))) return NULL;
    struct redis_value *v = node_new(task, REDIS_ARRAY);
    if (!v || count <= 0) return v;
    const struct redis_value **items = arena_take(task->privdata, (size_t)count * sizeof(*items));
    if (!items) return NULL;
    memset(items, 0, (size_t)count * sizeof(*items));
    v->items = items;
    v->count = (size_t)count;
    return v;
}

static void *make_integer(const redisReadTask *task, long long value)
{
    struct redis_value *v = node_new(task, REDIS_INTEGER);
    if (v) v->integer = value;
    return v;
}

static void *make_nil(const redisReadTask *task)
{
    return node_new(task, REDIS_NIL);
}

static void keep_object(void *obj)
{
    (void)obj; /* the arena owns it */
}

#ifdef REDIS_REPLY_DOUBLE
static void *refuse_double(const redisReadTask *task, double value, char *str, size_t len)
{
    (void)task, (void)value, (void)str, (void)len;
    return NULL;
}

static void *refuse_bool(const redisReadTask *task, int value)
{
    (void)task, (void)value;
    return NULL;
}
#endif

static redisReplyObjectFunctions object_functions = {
    .createString = make_string,
    .createArray = make_array,
    .createInteger = make_integer,
    .createNil = make_nil,
    .freeObject = keep_object,
#ifdef REDIS_REPLY_DOUBLE
    .createDouble = refuse_double,
    .createBool = refuse_bool,
#endif
};

const struct redis_value *redis_item(const struct redis_value *v, size_t i)
{
    return v && v->type == REDIS_ARRAY && i < v->count ? v->items[i] : NULL;
}

/* ---- queue ---- */

static bool queue_reserve(struct queue *q)
{
    if (q->count < q->cap) return true;
    size_t cap = q->cap ? q->cap * 2 : 64;
    struct pending *items = malloc(cap * sizeof(*items));
    if (!items) return false;
    for (size_t i = 0; i < q->count; i++) items[i] = q->items[(q->head + i) & (q->cap - 1)];
    free(q->items);
    *q = (struct queue){.items = items, .count = q->count, .cap = cap};
    return true;
}

static void queue_push(struct queue *q, const struct pending *p)
{
    assert(q->count < q->cap);
    q->items[(q->head + q->count++) & (q->cap - 1)] = *p;
}

static struct pending queue_pop(struct queue *q)
{
    assert(q->count > 0);
    struct pending p = q->items[q->head];
    q->head = (q->head + 1) & (q->cap - 1);
    q->count--;
    return p;
}

/* ---- life ---- */

static void enter(struct redis *r)
{
    r->depth++;
}

static void destroy(struct redis *r)
{
    loop_timer_free(r->deadline);
    loop_timer_free(r->retry);
    loop_timer_free(r->refuse);
    loop_turn_free(r->turn);
    redis_transport_free(r->transport);
    if (r->reader) redisReaderFree(r->reader);
    arena_done(&r->arena);
    resp_done(&r->out);
    free(r->pending.items);
    free(r->refused.items);
    free(r->scripts);
    redis_url_done(&r->url);
    secret_free(r->password);
    free(r);
}

static void leave(struct redis *r)
{
    if (--r->depth == 0 && r->closing) destroy(r);
}

/* Completes one command without a reply. */
static void complete(struct pending *p, int err)
{
    free(p->args);
    struct redis_reply reply = {.err = err};
    ticket_complete(p->ticket, &reply);
}

/* Completes the first n of q; commands started meanwhile go elsewhere, because the client is not READY. */
static void complete_all(struct queue *q, size_t n, int err)
{
    while (n-- > 0 && q->count > 0) {
        struct pending p = queue_pop(q);
        complete(&p, err);
    }
}

void redis_free(struct redis *r)
{
    if (!r || r->closing) return;
    r->closing = true;
    r->epoch++;
    r->state = REDIS_CLOSED;
    redis_transport_drop(r->transport);
    enter(r);
    complete_all(&r->pending, r->pending.count, ERR_CANCELLED);
    complete_all(&r->refused, r->refused.count, ERR_CANCELLED);
    leave(r);
}

bool redis_ready(const struct redis *r)
{
    return r->state == REDIS_READY && !r->stale;
}

const struct redis_server *redis_server(const struct redis *r)
{
    return &r->server;
}

const char *redis_reason(const struct redis *r)
{
    return r->reason;
}

/* ---- deadlines ---- */

static int64_t now_ms(void)
{
    return clock_mono_ms(&clock_system);
}

static void arm_deadline(struct redis *r, int64_t at_ms)
{
    if (r->deadline_armed) return;
    r->deadline_armed = true;
    int64_t delay = at_ms - now_ms();
    loop_timer_start(r->deadline, delay > 0 ? delay : 0);
}

/* The time of the oldest command, or of connecting, may be over. */
static void deadline_fired(void *arg)
{
    struct redis *r = arg;
    r->deadline_armed = false;
    if (r->state != REDIS_READY && r->state != REDIS_CONNECTING) return;
    bool connecting = r->state == REDIS_CONNECTING;
    if (!connecting && r->pending.count == 0) return;
    int64_t due = connecting ? r->connect_by_ms : r->pending.items[r->pending.head].deadline_ms;
    if (due > now_ms()) {
        arm_deadline(r, due);
        return;
    }
    if (!r->grace) { /* the loop may have been late itself: read the socket once before giving up */
        r->grace = true;
        r->deadline_armed = true;
        loop_timer_start(r->deadline, 1);
        return;
    }
    connection_lost(r, ERR_TIMEOUT, "no reply in time");
}

/* ---- end of a connection ---- */

static void schedule_retry(struct redis *r, int err)
{
    int64_t base = err == ERR_REDIS_AUTH ? BACKOFF_AUTH_MS : BACKOFF_BASE_MS;
    int64_t cap = err == ERR_REDIS_AUTH ? BACKOFF_AUTH_MS : BACKOFF_CAP_MS;
    loop_timer_start(r->retry, backoff_ms(&rng_system, r->attempt, base, cap));
    if (r->attempt < 16) r->attempt++;
}

/* Completes what was open on a connection that ended; q is detached from the client. */
static void complete_lost(struct queue *q, size_t n_unwritten, int64_t now, bool timed_out)
{
    size_t n_written = q->count - n_unwritten;
    for (size_t i = 0; i < n_written; i++) {
        struct pending p = queue_pop(q);
        complete(&p, timed_out && p.deadline_ms <= now ? ERR_TIMEOUT_SENT : ERR_REDIS_LOST);
    }
    complete_all(q, q->count, ERR_REDIS_DOWN);
    free(q->items);
}

/* Ends the connection and schedules the next attempt. */
static void connection_lost(struct redis *r, int err, const char *why)
{
    text_copy(r->reason, sizeof(r->reason), why);
    r->epoch++;
    r->state = REDIS_WAITING;
    r->stale = false;
    r->grace = false;
    r->deadline_armed = false;
    loop_timer_stop(r->deadline);
    redis_transport_drop(r->transport);
    struct queue open = r->pending;
    size_t n_unwritten = r->n_unwritten;
    r->pending = (struct queue){0};
    r->n_unwritten = 0;
    r->out.len = 0;
    schedule_retry(r, err);
    enter(r);
    complete_lost(&open, n_unwritten, now_ms(), err == ERR_TIMEOUT);
    if (r->on_state && !r->closing) r->on_state(r->arg, REDIS_WAITING, NULL, err);
    leave(r);
}

static void transport_down(void *arg, int err, const char *why)
{
    struct redis *r = arg;
    connection_lost(r, err == ERR_NET_LOST ? ERR_REDIS_LOST : err, why);
}

/* ---- commands ---- */

static void refuse_fired(void *arg)
{
    struct redis *r = arg;
    enter(r);
    complete_all(&r->refused, r->refused.count, ERR_REDIS_DOWN); /* those added meanwhile: next turn */
    if (r->refused.count > 0 && !r->closing) loop_timer_start(r->refuse, 0);
    leave(r);
}

/* Not READY: completes the ticket in the next turn. */
static int refuse(struct redis *r, struct ticket t)
{
    if (r->closing) return ERR_REDIS_DOWN;
    if (r->refused.count >= r->max_pending) return ERR_BUSY;
    if (!queue_reserve(&r->refused)) return ERR_NOMEM;
    if (r->refused.count == 0) loop_timer_start(r->refuse, 0);
    queue_push(&r->refused, &(struct pending){.ticket = t});
    return 0;
}

/* Makes room for one more command of at most `bytes`. */
static int make_room(struct redis *r, size_t bytes)
{
    if (r->pending.count >= r->max_pending) return ERR_BUSY;
    return queue_reserve(&r->pending) && resp_reserve(&r->out, bytes) ? 0 : ERR_NOMEM;
}

static void push(struct redis *r, struct pending p)
{
    p.deadline_ms = now_ms() + r->command_timeout_ms;
    queue_push(&r->pending, &p);
    r->n_unwritten++;
    arm_deadline(r, p.deadline_ms);
}

static size_t args_bytes(size_t n, const struct redis_arg *args)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++) bytes += RESP_BULK_MAX(args[i].len);
    return bytes;
}

static int port_command(void *self, size_t n_args, const struct redis_arg *args, struct ticket t)
{
    struct redis *r = self;
    if (!redis_ready(r)) return refuse(r, t);
    int rc = make_room(r, RESP_ARRAY_MAX + args_bytes(n_args, args));
    if (rc < 0) return rc;
    resp_array(&r->out, n_args);
    for (size_t i = 0; i < n_args; i++) resp_bulk(&r->out, args[i].data, args[i].len);
    push(r, (struct pending){.ticket = t});
    return 0;
}

/* The script's SHA, computed once. NULL when out of memory. */
static const char *script_sha(struct redis *r, const struct redis_script *script)
{
    for (size_t i = 0; i < r->n_scripts; i++) {
        if (r->scripts[i].script == script) return r->scripts[i].sha;
    }
    struct known_script *grown = realloc(r->scripts, (r->n_scripts + 1) * sizeof(*grown));
    if (!grown) return NULL;
    r->scripts = grown;
    struct known_script *k = &grown[r->n_scripts];
    k->script = script;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(script->body, strlen(script->body), digest, &len, EVP_sha1(), NULL) != 1 || len != SHA_LEN / 2)
        return NULL;
    for (unsigned i = 0; i < len; i++) snprintf(k->sha + 2 * i, 3, "%02x", digest[i]);
    r->n_scripts++;
    return k->sha;
}

static int port_eval(void *self, const struct redis_script *script, size_t n_keys, size_t n_args,
                     const struct redis_arg *args, struct ticket t)
{
    struct redis *r = self;
    if (!redis_ready(r)) return refuse(r, t);
    size_t bytes = RESP_BULK_MAX(20) + args_bytes(n_args, args);
    int rc = make_room(r, RESP_ARRAY_MAX + RESP_BULK_MAX(7) + RESP_BULK_MAX(SHA_LEN) + bytes);
    if (rc < 0) return rc;
    const char *sha = script_sha(r, script);
    AUTO_FREE char *copy = sha ? malloc(bytes) : NULL;
    if (!copy) return ERR_NOMEM;
    resp_array(&r->out, n_args + 3);
    resp_bulk(&r->out, "EVALSHA", 7);
    resp_bulk(&r->out, sha, SHA_LEN);
    size_t start = r->out.len;
    resp_number(&r->out, n_keys);
    for (size_t i = 0; i < n_args; i++) resp_bulk(&r->out, args[i].data, args[i].len);
    size_t len = r->out.len - start;
    memcpy(copy, r->out.data + start, len);
    push(r, (struct pending){.ticket = t, .script = script, .args = TAKE(copy), .args_len = len, .n_args = n_args + 1});
    return 0;
}

/* Sends a script's body after NOSCRIPT. False when that is not possible. */
static bool send_body(struct redis *r, const struct pending *p)
{
    size_t body_len = strlen(p->script->body);
    if (!queue_reserve(&r->pending)) return false;
    if (!resp_reserve(&r->out, RESP_ARRAY_MAX + RESP_BULK_MAX(4) + RESP_BULK_MAX(body_len) + p->args_len)) return false;
    resp_array(&r->out, p->n_args + 2);
    resp_bulk(&r->out, "EVAL", 4);
    resp_bulk(&r->out, p->script->body, body_len);
    resp_raw(&r->out, p->args, p->args_len);
    push(r, (struct pending){.ticket = p->ticket});
    return true;
}

struct redis_port redis_port(struct redis *r)
{
    return (struct redis_port){.self = r, .eval = port_eval, .command = port_command};
}

/* Once per turn: one write for all commands of the turn. */
static void turn_ended(void *arg)
{
    struct redis *r = arg;
    if (r->out.len == 0) return;
    redis_transport_write(r->transport, r->out.data, r->out.len);
    r->out.len = 0;
    r->n_unwritten = 0;
    if (r->out.cap > (1u << 20)) resp_done(&r->out);
}

/* ---- replies ---- */

static bool has_prefix(const struct redis_value *v, const char *prefix)
{
    return v->type == REDIS_ERROR && strncmp(v->str, prefix, strlen(prefix)) == 0;
}

static void answer(struct redis *r, struct pending *p, const struct redis_value *v)
{
    if (p->script && has_prefix(v, "NOSCRIPT") && send_body(r, p)) {
        free(p->args);
        return;
    }
    if (v->type == REDIS_ERROR && strstr(v->str, "READONLY")) r->stale = true; /* inside a script's error before 7.0 */
    free(p->args);
    struct redis_reply reply = {.err = v->type == REDIS_ERROR ? ERR_REDIS_REFUSED : 0, .value = v};
    ticket_complete(p->ticket, &reply);
}

/* Takes one reply out of the reader. 1: took one, 0: needs more bytes, ERR_NET_BAD_REPLY. */
static int next_reply(struct redis *r)
{
    void *obj = NULL;
    if (redisReaderGetReply(r->reader, &obj) != REDIS_OK) return ERR_NET_BAD_REPLY;
    if (!obj) return r->reader->len > REPLY_MAX ? ERR_NET_BAD_REPLY : 0;
    if (r->pending.count == r->n_unwritten) return ERR_NET_BAD_REPLY; /* nobody asked */
    struct pending p = queue_pop(&r->pending);
    r->grace = false;
    answer(r, &p, obj);
    return 1;
}

/* Handles all replies in the reader. False when the connection ended. */
static bool handle_replies(struct redis *r)
{
    uint64_t epoch = r->epoch;
    int rc;
    while ((rc = next_reply(r)) == 1) {
        arena_reset(&r->arena);
        if (r->epoch != epoch) return false;
    }
    if (rc < 0) {
        connection_lost(r, ERR_NET_BAD_REPLY, "the reply cannot be understood");
        return false;
    }
    return true;
}

static void transport_data(void *arg, const char *data, size_t len)
{
    struct redis *r = arg;
    enter(r);
    bool open = true;
    while (open && len > 0) {
        size_t n = len < FEED_BYTES ? len : FEED_BYTES;
        if (redisReaderFeed(r->reader, data, n) != REDIS_OK) {
            connection_lost(r, ERR_NET_BAD_REPLY, "out of memory");
            break;
        }
        data += n;
        len -= n;
        open = handle_replies(r);
    }
    if (open && r->stale && r->pending.count == 0) connection_lost(r, ERR_REDIS_REFUSED, "the server became a replica");
    leave(r);
}

/* ---- after connecting ---- */

/* Copies the value of "field:value" in INFO's text. */
static bool info_field(const char *info, const char *field, char *out, size_t max)
{
    size_t field_len = strlen(field);
    for (const char *line = info; *line;) {
        size_t len = strcspn(line, "\r\n");
        if (len > field_len && line[field_len] == ':' && memcmp(line, field, field_len) == 0) {
            snprintf(out, max, "%.*s", (int)(len - field_len - 1), line + field_len + 1);
            return true;
        }
        line += len;
        line += strspn(line, "\r\n");
    }
    return false;
}

static bool info_is(const char *info, const char *field, const char *value)
{
    char text[32];
    return info_field(info, field, text, sizeof(text)) && strcmp(text, value) == 0;
}

static void read_info(struct redis_server *s, const char *info)
{
    char aof[8];
    *s = (struct redis_server){.aof_enabled = -1};
    (void)info_field(info, "run_id", s->run_id, sizeof(s->run_id)); /* a field that is missing stays "" */
    (void)info_field(info, "master_replid", s->repl_id, sizeof(s->repl_id));
    (void)info_field(info, "redis_version", s->version, sizeof(s->version));
    (void)info_field(info, "maxmemory_policy", s->maxmemory_policy, sizeof(s->maxmemory_policy));
    s->is_replica = info_is(info, "role", "slave") || info_is(info, "role", "replica");
    s->is_cluster = info_is(info, "cluster_enabled", "1");
    if (info_field(info, "aof_enabled", aof, sizeof(aof))) s->aof_enabled = aof[0] == '1';
}

/* Tells why the greeting was refused. The server's text never repeats a password. */
static void greeting_refused(struct redis *r, const struct redis_value *v)
{
    bool login = has_prefix(v, "WRONGPASS") || has_prefix(v, "NOAUTH") || has_prefix(v, "NOPERM") ||
                 has_prefix(v, "ERR invalid password") || has_prefix(v, "ERR Client sent AUTH") ||
                 has_prefix(v, "ERR AUTH");
    connection_lost(r, login ? ERR_REDIS_AUTH : ERR_REDIS_REFUSED, v->str);
}

static void greeted(void *self, uint64_t id, const void *result)
{
    struct redis *r = self;
    const struct redis_reply *reply = result;
    if (id != r->epoch || r->closing) return; /* completed by the end of its connection */
    if (reply->err == ERR_REDIS_REFUSED) greeting_refused(r, reply->value);
}

static void info_came(void *self, uint64_t id, const void *result)
{
    struct redis *r = self;
    const struct redis_reply *reply = result;
    if (id != r->epoch || r->closing) return;
    if (reply->err == ERR_REDIS_REFUSED) {
        greeting_refused(r, reply->value);
        return;
    }
    if (reply->err != 0 || reply->value->type != REDIS_STRING) {
        connection_lost(r, ERR_NET_BAD_REPLY, "INFO gave no text");
        return;
    }
    if (info_is(reply->value->str, "loading", "1")) {
        connection_lost(r, ERR_REDIS_REFUSED, "the server is loading its data");
        return;
    }
    read_info(&r->server, reply->value->str);
    r->state = REDIS_READY;
    r->attempt = 0;
    r->reason[0] = '\0';
    if (r->on_state) r->on_state(r->arg, REDIS_READY, &r->server, 0);
}

static void greet(struct redis *r, struct resp *w, size_t n_args, const char *const *texts,
                  void (*done)(void *, uint64_t, const void *))
{
    resp_array(w, n_args);
    for (size_t i = 0; i < n_args; i++) resp_text(w, texts[i]);
    push(r, (struct pending){.ticket = {.done = done, .self = r, .id = r->epoch}});
}

/* Writes AUTH, SELECT and INFO in a buffer of their own, which is wiped. */
static int send_greeting(struct redis *r)
{
    struct resp w = {0};
    size_t secrets = r->password ? secret_len(r->password) : 0, user = r->url.user ? strlen(r->url.user) : 0;
    if (!queue_reserve(&r->pending) || !resp_reserve(&w, 512 + secrets + user))
        return ERR_NOMEM; /* an empty ring: 64 */
    if (r->password) {
        resp_array(&w, r->url.user ? 3 : 2);
        resp_text(&w, "AUTH");
        if (r->url.user) resp_text(&w, r->url.user);
        resp_bulk(&w, secret_bytes(r->password), secrets);
        push(r, (struct pending){.ticket = {.done = greeted, .self = r, .id = r->epoch}});
    }
    char db[8];
    snprintf(db, sizeof(db), "%u", r->url.db);
    if (r->url.db > 0) greet(r, &w, 2, (const char *const[]){"SELECT", db}, greeted);
    greet(r, &w, 1, (const char *const[]){"INFO"}, info_came);
    redis_transport_write(r->transport, w.data, w.len);
    r->n_unwritten = 0;
    resp_wipe(&w);
    return 0;
}

static void transport_open(void *arg)
{
    struct redis *r = arg;
    if (r->reader) redisReaderFree(r->reader);
    arena_reset(&r->arena);
    r->reader = redisReaderCreateWithFunctions(&object_functions);
    if (r->reader) r->reader->privdata = &r->arena;
    if (!r->reader || send_greeting(r) < 0) connection_lost(r, ERR_NOMEM, "out of memory");
}

static void start_connecting(struct redis *r)
{
    r->state = REDIS_CONNECTING;
    r->connect_by_ms = now_ms() + r->command_timeout_ms;
    int rc = redis_transport_connect(r->transport);
    if (rc < 0) {
        connection_lost(r, rc, err_text(rc));
        return;
    }
    arm_deadline(r, r->connect_by_ms);
}

static void retry_fired(void *arg)
{
    struct redis *r = arg;
    start_connecting(r);
}

/* ---- construction ---- */

static const struct redis_transport_events transport_events = {
    .on_open = transport_open,
    .on_data = transport_data,
    .on_down = transport_down,
};

static int init(struct redis *r, const struct redis_options *o)
{
    int rc = redis_url_parse(o->url, &r->url);
    if (rc < 0) return rc;
    if (o->password && !(r->password = secret_copy(o->password))) return ERR_NOMEM;
    rc = redis_transport_new(r->loop, &r->url, o->ca_file, &transport_events, r, &r->transport);
    if (rc < 0) return rc;
    r->deadline = loop_timer_new(r->loop, deadline_fired, r);
    r->retry = loop_timer_new(r->loop, retry_fired, r);
    r->refuse = loop_timer_new(r->loop, refuse_fired, r);
    r->turn = loop_on_turn(r->loop, turn_ended, r);
    if (!r->deadline || !r->retry || !r->refuse || !r->turn) return ERR_NOMEM;
    loop_timer_start(r->retry, 0);
    return 0;
}

int redis_new(struct loop *l, const struct redis_options *o, struct redis **ret_redis)
{
    struct redis *r = calloc(1, sizeof(*r));
    if (!r) return ERR_NOMEM;
    r->loop = l;
    r->command_timeout_ms = o->command_timeout_ms > 0 ? o->command_timeout_ms : TIMEOUT_DEFAULT_MS;
    r->max_pending = o->max_pending > 0 ? o->max_pending : PENDING_DEFAULT;
    r->on_state = o->on_state;
    r->arg = o->arg;
    r->server.aof_enabled = -1;
    r->epoch = 1;
    int rc = init(r, o);
    if (rc < 0) {
        destroy(r);
        return rc;
    }
    *ret_redis = r;
    return 0;
}

#define TEXT(x)   #x
#define NUMBER(x) TEXT(x)
const char *redis_library_version(void)
{
    return NUMBER(HIREDIS_MAJOR) "." NUMBER(HIREDIS_MINOR) "." NUMBER(HIREDIS_PATCH);
}
