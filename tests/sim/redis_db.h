/* The data of the simulated Redis and its commands; no time, no network (redis.h has those). */
#ifndef KEYROLL_SIM_REDIS_DB_H
#define KEYROLL_SIM_REDIS_DB_H

#include "lib/redis.h"

/* Replies: a tree from a chunk of memory that is freed as one. */
struct sim_reply {
    struct redis_value *root;
    struct sim_chunk *chunks;
};
void *sim_reply_alloc(struct sim_reply *r, size_t size);
struct redis_value *sim_reply_value(struct sim_reply *r, enum redis_type type);
struct redis_value *sim_reply_string(struct sim_reply *r, enum redis_type type, const char *s, size_t len);
struct redis_value *sim_reply_integer(struct sim_reply *r, int64_t n);
struct redis_value *sim_reply_array(struct sim_reply *r, size_t n);
void sim_reply_set(struct redis_value *array, size_t i, const struct redis_value *item);
void sim_reply_free(struct sim_reply *r);

struct sim_db_field {
    char *name, *data;
    size_t name_len, len;
};
struct sim_db_key {
    char *name;
    size_t name_len;
    bool is_hash, is_set; /* neither: a string in fields[0] */
    struct sim_db_field *fields;
    size_t n, cap;
    int64_t expire_ms; /* wall clock; INT64_MAX never */
};
struct sim_db {
    struct sim_db_key *keys;
    size_t n, cap;
    uint64_t writes; /* commands that changed something */
};
void sim_db_clear(struct sim_db *db);
void sim_db_copy(struct sim_db *to, const struct sim_db *from);
/* The key, unless its time is over; then it is removed, as a command does. */
struct sim_db_key *sim_db_find(struct sim_db *db, const char *name, int64_t now_ms);
/* The same without a trace: what expired is there again when the clock is set back. */
const struct sim_db_key *sim_db_look(const struct sim_db *db, const char *name, int64_t now_ms);
const struct sim_db_field *sim_db_field(const struct sim_db_key *k, const char *name);
/* Runs one command. Unknown commands and wrong types give a REDIS_ERROR. now_us: server time in microseconds. */
struct redis_value *sim_db_command(struct sim_db *db, size_t argc, const struct redis_arg *argv, int64_t now_us,
                                   struct sim_reply *reply);

#endif
