/* Tells a person (I8): follows the events, the dead letters and the campaigns as a consumer group of its own and hands
 * what notices.h picks to notify_command and notify_url. At least once: offsets are committed when the message that
 * holds their news was taken by all of them. Loop thread only. */
#ifndef KEYROLL_NOTIFY_H
#define KEYROLL_NOTIFY_H

#include "lib/http.h"
#include "lib/loop.h"
#include "schema/options.h"

struct notify;
struct notify_options {
    struct loop *loop;
    const struct options *o;
    const struct clock *clock;
    const struct rng *rng;
    struct http *http; /* Required with notify_url */
    /* A message was taken (err 0) or not. by: "command" or "url"; detail may be "". */
    void (*sent)(void *arg, const char *by, int err, const char *detail);
    void (*on_fatal)(void *arg, const char *reason);
    void (*on_log)(void *arg, int level, const char *fac, const char *text);
    void *arg;
};
/* Is anything set to notify? */
bool notify_wanted(const struct options *o);
/* Joins group "<group>-notify". Errors as kafka_in_new(). */
MUST_CHECK int notify_new(const struct notify_options *o, struct notify **ret, char **ret_reason);
/* All that is there was read, here or by another one, and what is to be told of it was told. */
bool notify_settled(const struct notify *n);
/* Takes no more, commits what was told, kills the command; blocks at most about wait_ms and two seconds. NULL is fine.
 */
void notify_stop(struct notify *n, int64_t wait_ms);
/* After http_free(), whose completions come until then. Takes NULL. */
void notify_free(struct notify *n);

#endif
