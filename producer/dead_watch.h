/* Dead letters in the scheduler: counts the open ones and closes those whose licence is well again. Loop thread only.
 */
#ifndef KEYROLL_DEAD_WATCH_H
#define KEYROLL_DEAD_WATCH_H

#include "lib/loop.h"
#include "producer/deads.h"
#include "schema/options.h"

struct dead_watch;
struct dead_watch_options {
    struct loop *loop;
    const struct options *o;
    const struct clock *clock;
    /* A letter was closed. Borrowed. */
    void (*resolved)(void *arg, const struct dead *l);
    void (*caught_up)(void *arg); /* once: dead_watch_step() can tell */
    void *arg;
};
/* Begins to follow the topic. Errors as kafka_follow_new(). */
MUST_CHECK int dead_watch_new(const struct dead_watch_options *o, struct dead_watch **ret, char **ret_reason);
/* Before dead_watch_free(): follows no more. Blocks at most about wait_ms. Takes NULL. */
void dead_watch_stop(struct dead_watch *w, int64_t wait_ms);
/* After kafka_out_free(): reports come until then. Takes NULL. */
void dead_watch_free(struct dead_watch *w);
/* One licence as a survey saw it: marks its letters when it is well again. A mark that cannot be written is tried again
 * at the next survey. */
void dead_watch_see(struct dead_watch *w, struct kafka_port kafka, const char *user_key, const struct store_peek *u);
/* As deads_standing_step(). NULL, too, while the topic is not read to its end yet: nobody knows. */
const char *dead_watch_step(const struct dead_watch *w, const char *user_key, int kind, int64_t first_failed_ms);
bool dead_watch_caught_up(const struct dead_watch *w);
/* Jobs whose newest letter is open. */
size_t dead_watch_open(const struct dead_watch *w);

#endif
