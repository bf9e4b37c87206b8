/* The one libuv loop of a process: timers, signals, deferred calls and a heartbeat. Loop thread only unless said. */
#ifndef KEYROLL_LOOP_H
#define KEYROLL_LOOP_H

#include "lib/cleanup.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct loop_timer;
typedef void (*loop_fn)(void *arg);

/* NULL when out of memory or file descriptors. */
struct loop *loop_new(void);
/* All users must have closed their handles; frees what is left. Takes NULL. */
void loop_free(struct loop *l);
/* Runs until loop_stop() or nothing is left. Returns 0. */
int loop_run(struct loop *l);
/* Runs until *flag is not 0 or loop_stop() is called: for the commands, which wait for one answer at a time. */
void loop_run_until(struct loop *l, const int *flag);
void loop_stop(struct loop *l);
bool loop_stopping(const struct loop *l);
/* The uv_loop_t, for the lib files which own handles. */
void *loop_uv(struct loop *l);

/* One-shot timer, re-armable; fires not before delay_ms (>= 0). Freed in its close callback. unref: does not keep
 * loop_run() from returning. The _free functions take NULL. */
struct loop_timer *loop_timer_new(struct loop *l, loop_fn fn, void *arg);
void loop_timer_start(struct loop_timer *t, int64_t delay_ms);
void loop_timer_stop(struct loop_timer *t);
void loop_timer_unref(struct loop_timer *t);
void loop_timer_free(struct loop_timer *t);

/* Calls fn in this turn, after the current callback returned (keeps "never completes before it returns"). 0 or
 * ERR_NOMEM. */
MUST_CHECK int loop_defer(struct loop *l, loop_fn fn, void *arg);
/* Drops all calls deferred with this fn and arg which did not run yet (before arg is freed). */
void loop_defer_cancel(struct loop *l, loop_fn fn, const void *arg);
/* Calls fn at the end of each turn, before the loop sleeps (batching of writes). One registration per caller; NULL on
 * ENOMEM. */
struct loop_turn;
struct loop_turn *loop_on_turn(struct loop *l, loop_fn fn, void *arg);
void loop_turn_free(struct loop_turn *t);

/* fn runs on each arrival of signum, on the loop. Does not keep loop_run() from returning. 0 or ERR_IO. */
MUST_CHECK int loop_signal(struct loop *l, int signum, loop_fn fn, void *arg);
/* Watches a file descriptor for reading; fn runs in each turn in which it is readable or broken. NULL on failure. Does
 * not own fd: free the watch before closing fd. unref: as for timers. */
struct loop_fd;
struct loop_fd *loop_fd_new(struct loop *l, int fd, loop_fn fn, void *arg);
void loop_fd_unref(struct loop_fd *f);
void loop_fd_free(struct loop_fd *f);

/* Monotonic ms of the last turn begun, readable from any thread: the liveness heartbeat. An idle loop turns once a
 * second. */
int64_t loop_heartbeat_mono_ms(const struct loop *l);
/* Turn durations (time between waking and sleeping), microseconds: count and p50/p99/max of the last minute, for
 * metrics. */
struct loop_stats {
    uint64_t turns;
    double p50_us, p99_us, max_us;
};
void loop_stats(struct loop *l, struct loop_stats *ret);

/* The version of libuv, at run time. */
const char *loop_library_version(void);

#endif
