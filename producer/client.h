/* What a command or the daemon talks to: Redis, Kafka, AWS, instances; each made when first asked for. The commands
 * wait for one answer at a time on the loop. Every failure leaves one plain line in `error`. */
#ifndef KEYROLL_CLIENT_H
#define KEYROLL_CLIENT_H

#include "lib/instance.h"
#include "lib/kafka_out.h"
#include "lib/loop.h"
#include "schema/options.h"
#include "schema/store.h"

struct aws_call;
struct aws_creds;
struct http;
struct profiles;
struct synergist;

#define CLIENT_ERROR_MAX 400
#define CLIENT_REDIS_MS  5000 /* how long a command waits for Redis */

#define CLIENT_NO_CLUSTER "a Redis Cluster is not supported: use a single server, with replicas if you like"

struct client {
    const struct options *o; /* borrowed */
    struct loop *loop;
    struct redis *redis;
    struct store store; /* valid when redis is */
    struct kafka_out *kafka;
    struct http *http;
    struct aws_creds *creds;
    struct aws_call *aws;
    struct profiles *profiles;
    struct synergist *instances;
    int redis_done; /* READY, or why not is in redis_err */
    int redis_err;
    char kafka_said[200]; /* librdkafka's last complaint */
    char error[CLIENT_ERROR_MAX];
    const char *service; /* Kafka client id */
};

/* 0 or ERR_NOMEM. */
MUST_CHECK int client_init(struct client *c, const struct options *o, const char *service);
void client_done(struct client *c);
/* Notes a line for a person; returns err. */
int client_fail(struct client *c, int err, const char *fmt, ...) PRINTF_LIKE(3, 4);

/* Makes the part if it is not there. Errors of what it is made of, with c->error. */
MUST_CHECK int client_open_redis(struct client *c,
                                 void (*on_state)(void *arg, enum redis_state s, const struct redis_server *server,
                                                  int err),
                                 void *arg);   /* the daemon: does not wait */
MUST_CHECK int client_redis(struct client *c); /* waits until it is ready, at most CLIENT_REDIS_MS */
MUST_CHECK int client_kafka(struct client *c); /* does not wait */
MUST_CHECK int client_open_kafka(struct client *c, void (*on_fatal)(void *arg, const char *reason),
                                 void (*on_log)(void *arg, int level, const char *fac, const char *text), void *arg);
/* HTTP alone. */
MUST_CHECK int client_http(struct client *c);
MUST_CHECK int client_aws(struct client *c);
MUST_CHECK int client_profiles(struct client *c);
MUST_CHECK int client_instances(struct client *c);

/* ---- waiting for one answer ---- */

/* A ticket whose answer the waiter's copy() takes in; then client_wait() returns. */
struct waiter {
    int done;
    void (*copy)(void *into, const void *result);
    void *into;
};
struct ticket client_ticket(struct waiter *w, void (*copy)(void *into, const void *result), void *into);
/* Runs the loop until the answer came. 0; ERR_CANCELLED: the loop was stopped (a signal). */
MUST_CHECK int client_wait(struct client *c, struct waiter *w);
/* Runs the loop until *flag is set, by somebody or, after so long, by a timer of its own. */
void client_pause(struct client *c, int64_t ms, int *flag);

/* Synchronous forms. Errors come with c->error. */
MUST_CHECK int client_peek(struct client *c, const char *const *user_keys, size_t n,
                           struct store_peek *ret); /* any n */
MUST_CHECK int client_reply(struct client *c, int started, struct waiter *w, const struct store_reply *r,
                            const char *what);
void client_copy_reply(void *into, const void *result); /* struct store_reply */
MUST_CHECK int client_aws_call(struct client *c, const struct aws_request *req,
                               struct aws_result *ret); /* the result's err; created_secret is dropped */
MUST_CHECK int client_instance_call(struct client *c, const struct instance_request *req, struct instance_result *ret);
MUST_CHECK int client_produce(struct client *c, const struct kafka_message_out *m); /* waits for the delivery report */
/* A plain Redis command. copy: as for a waiter, gets const struct redis_reply *. */
MUST_CHECK int client_command(struct client *c, size_t n, const char *const *words,
                              void (*copy)(void *into, const void *result), void *into);

#endif
