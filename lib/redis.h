/* Redis client: our own libuv (and OpenSSL, peer name checked) transport, hiredis as reader and formatter.
 * Commands are pipelined and written once per loop turn. Reconnects by itself with backoff. Loop thread only. */
#ifndef KEYROLL_REDIS_H
#define KEYROLL_REDIS_H

#include "lib/secret.h"
#include "lib/ticket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct loop;
struct redis;

/* A reply as a tree; borrowed, dies when the completion returns. */
enum redis_type { REDIS_NIL, REDIS_STRING, REDIS_INTEGER, REDIS_ARRAY, REDIS_STATUS, REDIS_ERROR };
struct redis_value {
    enum redis_type type;
    int64_t integer; /* REDIS_INTEGER */
    const char *str; /* REDIS_STRING, REDIS_STATUS, REDIS_ERROR: NUL-terminated bytes */
    size_t len;
    size_t count; /* REDIS_ARRAY */
    const struct redis_value *const *items;
};

/* What a ticket is completed with: const struct redis_reply *. */
struct redis_reply {
    int err; /* 0; ERR_REDIS_DOWN (was not sent), ERR_REDIS_LOST (sent, no reply: effect unknown), ERR_TIMEOUT_SENT,
                ERR_REDIS_REFUSED (error reply: READONLY, OOM, MISCONF, LOADING, NOSCRIPT that stayed, script error),
                ERR_CANCELLED */
    const struct redis_value *value; /* never NULL when err is 0 or ERR_REDIS_REFUSED */
};

/* A Lua script. Loaded by SHA; NOSCRIPT falls back to EVAL once, by itself. Static storage expected. */
struct redis_script {
    const char *name; /* for logs and for the simulation's own Lua */
    const char *body;
};
struct redis_arg {
    const void *data;
    size_t len;
};

/* The edge that schema/store uses: the real client, or the simulation's. */
struct redis_port {
    void *self;
    /* Runs a script. args: n_keys keys, then the rest. Copies what it keeps. 0: the ticket is completed exactly once,
     * later. ERR_NOMEM / ERR_REDIS_DOWN: nothing happened. */
    int (*eval)(void *self, const struct redis_script *script, size_t n_keys, size_t n_args,
                const struct redis_arg *args, struct ticket t);
    /* Runs any other command (argv form). */
    int (*command)(void *self, size_t n_args, const struct redis_arg *args, struct ticket t);
};

enum redis_state { REDIS_CONNECTING, REDIS_READY, REDIS_WAITING, REDIS_CLOSED };

/* What INFO said after each (re)connection; run_id changes with each server process, repl_id with each failover. */
struct redis_server {
    char run_id[48], repl_id[48], version[32];
    bool is_replica, is_cluster;
    char aof_enabled;          /* 1, 0, or -1 unknown */
    char maxmemory_policy[32]; /* "" when CONFIG/INFO does not tell */
};

struct redis_options {
    const char *url; /* redis://[user@]host:port[/db], rediss://..., unix:///path[?db=N]. No password here. */
    const struct secret *password; /* NULL: none. Copied. */
    const char *ca_file;           /* rediss: CA bundle, NULL: system's */
    int64_t command_timeout_ms;    /* per command, 0 = 5000 */
    size_t max_pending;            /* commands queued or in flight, 0 = 100000; more: ERR_BUSY */
    /* READY (server: what INFO said, err 0) and WAITING (server NULL; err: why: ERR_NET_*, ERR_REDIS_LOST,
     * ERR_REDIS_AUTH, ERR_REDIS_REFUSED, ERR_TIMEOUT; a new attempt follows by itself). Not called by redis_new() and
     * redis_free(). */
    void (*on_state)(void *arg, enum redis_state s, const struct redis_server *server, int err);
    void *arg;
};

/* Starts connecting. ERR_INVALID (bad URL), ERR_NOMEM. A refused password is reported through on_state with
 * ERR_REDIS_AUTH. */
MUST_CHECK int redis_new(struct loop *l, const struct redis_options *o, struct redis **ret_redis);
/* Completes what is open with ERR_CANCELLED and frees. Takes NULL. */
void redis_free(struct redis *r);
bool redis_ready(const struct redis *r);
const struct redis_server *redis_server(const struct redis *r); /* valid once it was READY */
/* Why it is not ready, in words for a log line; "" when there is nothing to tell. Never holds a password. */
const char *redis_reason(const struct redis *r);
struct redis_port redis_port(struct redis *r);

/* The i-th item of an array, or NULL (also for a NULL value or another type); helper for replies. */
const struct redis_value *redis_item(const struct redis_value *v, size_t i);

/* The version of hiredis, as built: it tells none at run time. */
const char *redis_library_version(void);

#endif
