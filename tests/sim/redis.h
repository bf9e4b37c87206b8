/* Redis in memory: the commands that the shipped scripts use, run through Lua 5.1 as Redis runs them, with expiry by
 * the virtual clock. One server; several clients. */
#ifndef KEYROLL_SIM_REDIS_H
#define KEYROLL_SIM_REDIS_H

#include "lib/redis.h"
#include "tests/sim/net.h"

struct sim_redis;

struct sim_redis *sim_redis_new(struct sim_net *net);
/* All clients are dropped and the queue is empty. */
void sim_redis_free(struct sim_redis *r);
/* The client's edge. self stays valid as long as the redis. */
struct redis_port sim_redis_port(struct sim_redis *r, struct sim_client *c);

/* Everything is gone (FLUSHALL); connections stay. */
void sim_redis_flush(struct sim_redis *r);
/* The server goes: what is under way is lost, calls are refused for down_ms. Then it is back with a new run id, without
 * its last `lost_writes` writing commands (at most 16; -1: with nothing at all), and up(arg) is called. */
void sim_redis_restart(struct sim_redis *r, int64_t down_ms, int lost_writes);
/* It will never lose its last writes only: need not keep them. */
void sim_redis_no_failover(struct sim_redis *r);
/* Its wall clock is so much ahead of the true time from now on: keys whose time has come are gone at once. */
void sim_redis_set_clock(struct sim_redis *r, int64_t ahead_ms);
void sim_redis_on_up(struct sim_redis *r, sim_fn *up, void *arg);
/* effect(arg) is called after each command and script. */
void sim_redis_on_effect(struct sim_redis *r, sim_fn *effect, void *arg);
bool sim_redis_is_down(const struct sim_redis *r);
const struct redis_server *sim_redis_server(const struct sim_redis *r);
/* How many times it lost data (flush, or restart with lost writes). */
unsigned sim_redis_losses(const struct sim_redis *r);
/* Of the last one; 0 none. */
int64_t sim_redis_lost_wall_ms(const struct sim_redis *r);

/* The truth, for checkers: borrowed until the next command; NULL when absent. field NULL: the string under key. */
const char *sim_redis_peek(struct sim_redis *r, const char *key, const char *field, size_t *ret_len);
/* Changes the truth behind everybody's back. */
void sim_redis_poke(struct sim_redis *r, const char *key, const char *field, const char *value);
/* One key goes, as by eviction: counts as a loss. False: it was not there. */
bool sim_redis_evict(struct sim_redis *r, const char *key);
/* Calls fn for each value stored under any key. */
void sim_redis_each(struct sim_redis *r,
                    void (*fn)(void *arg, const char *key, const char *field, const char *value, size_t len),
                    void *arg);
/* Runs one command (script NULL) or script now, without a network. reply: zeroed; what is returned lives in it until
 * sim_reply_free(). */
struct sim_reply;
const struct redis_value *sim_redis_run(struct sim_redis *r, const struct redis_script *script, size_t n_keys,
                                        size_t n_args, const struct redis_arg *args, struct sim_reply *reply);
/* A hash over all that is stored, without expiry times. */
uint64_t sim_redis_digest(struct sim_redis *r);

#endif
