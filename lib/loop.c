/* One libuv loop for the whole process.
 *
 * A turn is: timers, deferred calls, end-of-turn calls (uv_prepare), sleep, ready descriptors, deferred calls
 * (uv_check). Deferred calls sit in a vector that is swapped out before it is walked, so that a call deferred by a
 * deferred call runs at the next drain point and can never starve the rest; an active uv_idle keeps the loop from
 * sleeping while some wait.
 *
 * Busy time of a turn is the time from one uv_prepare to the next less what libuv spent asleep in epoll_wait
 * (UV_METRICS_IDLE_TIME): ready-descriptor callbacks run inside libuv's poll phase, so the span between uv_check and
 * uv_prepare would miss most of the work. The durations of the last minute are kept in slices of a log-linear histogram
 * (8 steps per power of two: at most 12.5 % off).
 *
 * Limits: one loop per thread; only loop_heartbeat_mono_ms() may be called from another thread. SIGPIPE is ignored for
 * the whole process, because OpenSSL writes to sockets without MSG_NOSIGNAL. */
#include "lib/loop.h"

#include "lib/clock.h"
#include "lib/err.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <uv.h>

enum {
    HEARTBEAT_MS = 1000, /* an idle loop still turns this often */
    SLICES = 12,
    SLICE_MS = 5000, /* 12 slices of 5 s: the last minute */
    STEPS = 8,       /* buckets per power of two */
    POWERS = 30,     /* up to 2^30 us, 18 minutes */
    BUCKETS = STEPS * POWERS,
    DEFERRED_START = 64,
};

struct deferred {
    loop_fn fn; /* NULL: cancelled */
    void *arg;
};

struct deferred_list {
    struct deferred *items; /* owned */
    size_t len, cap;
};

/* What timers, descriptors and signals have in common; freed in the close callback. */
struct watch {
    union {
        uv_handle_t any;
        uv_timer_t timer;
        uv_poll_t poll;
        uv_signal_t signal;
    } uv;
    struct loop *l;
    loop_fn fn;
    void *arg;
    struct watch *prev, *next; /* in loop.watches while open */
};

struct loop_timer {
    struct watch w;
};
struct loop_fd {
    struct watch w;
};

struct loop_turn {
    struct loop *l;
    loop_fn fn;
    void *arg;
    struct loop_turn *prev, *next;
};

struct slice {
    uint64_t epoch; /* number of the 5-second span it holds */
    uint64_t count, max_ns;
    uint32_t buckets[BUCKETS];
};

struct loop {
    uv_loop_t uv;
    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active while calls are deferred */
    uv_timer_t heartbeat;
    bool stopping;
    bool draining;
    struct deferred_list deferred, running;
    struct loop_turn *turns, *turn_next; /* turn_next: cursor of the walk, moved on when its target is freed */
    struct watch *watches;
    _Atomic int64_t heartbeat_mono_ms;
    uint64_t turn_began_ns; /* 0: no turn measured yet */
    uint64_t asleep_ns;     /* libuv's idle time at turn_began_ns */
    struct slice slices[SLICES];
};

/* ---- turn durations ---- */

static unsigned bucket_of(uint64_t us)
{
    if (us < STEPS) return (unsigned)us;
    unsigned power = 63U - (unsigned)__builtin_clzll(us); /* >= 3 */
    unsigned bucket = (power - 2) * STEPS + (unsigned)((us >> (power - 3)) & (STEPS - 1));
    return bucket < BUCKETS ? bucket : BUCKETS - 1;
}

/* Middle of a bucket, microseconds. */
static double bucket_value(unsigned bucket)
{
    if (bucket < STEPS) return bucket;
    unsigned power = bucket / STEPS + 2, step = bucket % STEPS;
    double width = (double)(1ULL << (power - 3));
    return (double)(STEPS + step) * width + width / 2;
}

static void record_turn(struct loop *l, uint64_t busy_ns, uint64_t now_ns)
{
    uint64_t epoch = now_ns / 1000000 / SLICE_MS + 1;
    struct slice *s = &l->slices[epoch % SLICES];
    if (s->epoch != epoch) *s = (struct slice){.epoch = epoch};
    s->count++;
    s->buckets[bucket_of(busy_ns / 1000)]++;
    if (busy_ns > s->max_ns) s->max_ns = busy_ns;
}

static void measure_turn(struct loop *l)
{
    uint64_t now = uv_hrtime(), asleep = uv_metrics_idle_time(&l->uv);
    if (l->turn_began_ns != 0) {
        uint64_t span = now - l->turn_began_ns, slept = asleep - l->asleep_ns;
        record_turn(l, span > slept ? span - slept : 0, now);
    }
    l->turn_began_ns = now;
    l->asleep_ns = asleep;
    atomic_store_explicit(&l->heartbeat_mono_ms, clock_mono_ms(&clock_system), memory_order_relaxed);
}

static double percentile(const uint64_t *buckets, uint64_t count, double part)
{
    uint64_t seen = 0;
    for (unsigned i = 0; i < BUCKETS && count > 0; i++) {
        seen += buckets[i];
        if ((double)seen >= part * (double)count) return bucket_value(i);
    }
    return 0;
}

void loop_stats(struct loop *l, struct loop_stats *ret)
{
    uint64_t buckets[BUCKETS] = {0}, max_ns = 0, epoch = uv_hrtime() / 1000000 / SLICE_MS + 1;
    *ret = (struct loop_stats){0};
    for (unsigned i = 0; i < SLICES; i++) {
        const struct slice *s = &l->slices[i];
        if (s->epoch + SLICES <= epoch) continue;
        ret->turns += s->count;
        if (s->max_ns > max_ns) max_ns = s->max_ns;
        for (unsigned b = 0; b < BUCKETS; b++) buckets[b] += s->buckets[b];
    }
    ret->max_us = (double)max_ns / 1000;
    ret->p50_us = percentile(buckets, ret->turns, 0.50);
    ret->p99_us = percentile(buckets, ret->turns, 0.99);
    if (ret->p50_us > ret->max_us) ret->p50_us = ret->max_us;
    if (ret->p99_us > ret->max_us) ret->p99_us = ret->max_us;
}

int64_t loop_heartbeat_mono_ms(const struct loop *l)
{
    return atomic_load_explicit(&l->heartbeat_mono_ms, memory_order_relaxed);
}

/* ---- deferred and end-of-turn calls ---- */

static void drain_deferred(struct loop *l)
{
    if (l->draining || l->deferred.len == 0) return;
    struct deferred_list batch = l->deferred;
    l->deferred = l->running;
    l->deferred.len = 0;
    l->running = batch;
    l->draining = true;
    for (size_t i = 0; i < l->running.len; i++) {
        struct deferred d = l->running.items[i];
        l->running.items[i].fn = NULL;
        if (d.fn) d.fn(d.arg);
    }
    l->running.len = 0;
    l->draining = false;
    if (l->deferred.len == 0) uv_idle_stop(&l->idle);
}

static void on_idle(uv_idle_t *handle)
{
    drain_deferred(handle->data);
}

static void on_check(uv_check_t *handle)
{
    drain_deferred(handle->data);
}

static void on_prepare(uv_prepare_t *handle)
{
    struct loop *l = handle->data;
    for (struct loop_turn *t = l->turns; t; t = l->turn_next) {
        l->turn_next = t->next;
        t->fn(t->arg);
    }
    measure_turn(l);
}

static void on_heartbeat(uv_timer_t *handle)
{
    (void)handle; /* its only use is that a turn begins */
}

int loop_defer(struct loop *l, loop_fn fn, void *arg)
{
    struct deferred_list *d = &l->deferred;
    if (d->len == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : DEFERRED_START;
        struct deferred *items = reallocarray(d->items, cap, sizeof *items);
        if (!items) return ERR_NOMEM;
        d->items = items;
        d->cap = cap;
    }
    d->items[d->len++] = (struct deferred){fn, arg};
    uv_idle_start(&l->idle, on_idle);
    return 0;
}

static void cancel_in(struct deferred_list *d, loop_fn fn, const void *arg)
{
    for (size_t i = 0; i < d->len; i++)
        if (d->items[i].fn == fn && d->items[i].arg == arg) d->items[i].fn = NULL;
}

void loop_defer_cancel(struct loop *l, loop_fn fn, const void *arg)
{
    cancel_in(&l->deferred, fn, arg);
    cancel_in(&l->running, fn, arg);
}

struct loop_turn *loop_on_turn(struct loop *l, loop_fn fn, void *arg)
{
    struct loop_turn *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    *t = (struct loop_turn){.l = l, .fn = fn, .arg = arg, .next = l->turns};
    if (l->turns) l->turns->prev = t;
    l->turns = t;
    return t;
}

void loop_turn_free(struct loop_turn *t)
{
    if (!t) return;
    struct loop *l = t->l;
    if (l->turn_next == t) l->turn_next = t->next;
    if (t->prev)
        t->prev->next = t->next;
    else
        l->turns = t->next;
    if (t->next) t->next->prev = t->prev;
    free(t);
}

/* ---- timers, descriptors, signals ---- */

static void watch_link(struct watch *w, struct loop *l, loop_fn fn, void *arg)
{
    w->uv.any.data = w;
    w->l = l;
    w->fn = fn;
    w->arg = arg;
    w->next = l->watches;
    if (l->watches) l->watches->prev = w;
    l->watches = w;
}

static void on_watch_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void watch_close(struct watch *w)
{
    if (w->prev)
        w->prev->next = w->next;
    else
        w->l->watches = w->next;
    if (w->next) w->next->prev = w->prev;
    uv_close(&w->uv.any, on_watch_closed);
}

static void on_timer(uv_timer_t *handle)
{
    struct watch *w = handle->data;
    w->fn(w->arg);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn fn, void *arg)
{
    struct loop_timer *t = calloc(1, sizeof *t);
    if (!t) return NULL;
    (void)uv_timer_init(&l->uv, &t->w.uv.timer); /* cannot fail */
    watch_link(&t->w, l, fn, arg);
    return t;
}

/* libuv counts from the turn's cached millisecond, rounded down: without a fresh clock and one more millisecond a timer
 * fires early. */
void loop_timer_start(struct loop_timer *t, int64_t delay_ms)
{
    assert(delay_ms >= 0);
    uv_update_time(&t->w.l->uv);
    (void)uv_timer_start(&t->w.uv.timer, on_timer, delay_ms > 0 ? (uint64_t)delay_ms + 1 : 0, 0);
}

void loop_timer_stop(struct loop_timer *t)
{
    (void)uv_timer_stop(&t->w.uv.timer);
}

void loop_timer_free(struct loop_timer *t)
{
    if (t) watch_close(&t->w);
}

static void on_signal(uv_signal_t *handle, int signum)
{
    (void)signum;
    struct watch *w = handle->data;
    w->fn(w->arg);
}

int loop_signal(struct loop *l, int signum, loop_fn fn, void *arg)
{
    struct watch *w = calloc(1, sizeof *w);
    if (!w) return ERR_IO;
    if (uv_signal_init(&l->uv, &w->uv.signal) < 0) {
        free(w);
        return ERR_IO;
    }
    watch_link(w, l, fn, arg);
    uv_unref(&w->uv.any);
    if (uv_signal_start(&w->uv.signal, on_signal, signum) == 0) return 0;
    watch_close(w);
    return ERR_IO;
}

/* A poll error (EBADF and the like) is reported as readiness: the owner's read then sees it. */
static void on_readable(uv_poll_t *handle, int status, int events)
{
    (void)status;
    (void)events;
    struct watch *w = handle->data;
    w->fn(w->arg);
}

struct loop_fd *loop_fd_new(struct loop *l, int fd, loop_fn fn, void *arg)
{
    struct loop_fd *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    if (uv_poll_init(&l->uv, &f->w.uv.poll, fd) < 0) {
        free(f);
        return NULL;
    }
    watch_link(&f->w, l, fn, arg);
    if (uv_poll_start(&f->w.uv.poll, UV_READABLE, on_readable) == 0) return f;
    watch_close(&f->w);
    return NULL;
}

void loop_fd_free(struct loop_fd *f)
{
    if (f) watch_close(&f->w);
}

void loop_fd_unref(struct loop_fd *f)
{
    uv_unref(&f->w.uv.any);
}

void loop_timer_unref(struct loop_timer *t)
{
    uv_unref(&t->w.uv.any);
}

/* ---- the loop ---- */

struct loop *loop_new(void)
{
    struct loop *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    if (uv_loop_init(&l->uv) < 0) {
        free(l);
        return NULL;
    }
    (void)uv_loop_configure(&l->uv, UV_METRICS_IDLE_TIME); /* known since 1.39; no other way to fail */
    (void)uv_prepare_init(&l->uv, &l->prepare);            /* these four cannot fail */
    (void)uv_check_init(&l->uv, &l->check);
    (void)uv_idle_init(&l->uv, &l->idle);
    (void)uv_timer_init(&l->uv, &l->heartbeat);
    l->prepare.data = l->check.data = l->idle.data = l->heartbeat.data = l;
    (void)uv_prepare_start(&l->prepare, on_prepare);
    (void)uv_check_start(&l->check, on_check);
    (void)uv_timer_start(&l->heartbeat, on_heartbeat, HEARTBEAT_MS, HEARTBEAT_MS);
    uv_unref((uv_handle_t *)&l->prepare);
    uv_unref((uv_handle_t *)&l->check);
    uv_unref((uv_handle_t *)&l->heartbeat);
    atomic_store(&l->heartbeat_mono_ms, clock_mono_ms(&clock_system));
    (void)signal(SIGPIPE, SIG_IGN);
    return l;
}

static void close_foreign(uv_handle_t *handle, void *arg)
{
    (void)arg;
    if (!uv_is_closing(handle)) uv_close(handle, NULL);
}

void loop_free(struct loop *l)
{
    if (!l) return;
    while (l->turns) loop_turn_free(l->turns);
    while (l->watches) watch_close(l->watches);
    uv_walk(&l->uv, close_foreign, NULL);
    while (uv_run(&l->uv, UV_RUN_DEFAULT) != 0) {
    }
    int rc = uv_loop_close(&l->uv);
    assert(rc == 0);
    (void)rc;
    free(l->deferred.items);
    free(l->running.items);
    free(l);
}

int loop_run(struct loop *l)
{
    if (!l->stopping) (void)uv_run(&l->uv, UV_RUN_DEFAULT);
    return 0;
}

void loop_run_until(struct loop *l, const int *flag)
{
    while (*flag == 0 && !l->stopping)
        if (uv_run(&l->uv, UV_RUN_ONCE) == 0) break; /* nothing left that could set it */
}

void loop_stop(struct loop *l)
{
    l->stopping = true;
    uv_stop(&l->uv);
}

bool loop_stopping(const struct loop *l)
{
    return l->stopping;
}

void *loop_uv(struct loop *l)
{
    return &l->uv;
}

const char *loop_library_version(void)
{
    return uv_version_string();
}
