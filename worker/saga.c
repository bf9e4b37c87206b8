/* The saga engine (saga.h). One binary heap of due times for all sagas: a saga waits for one thing at a time, so its
 * retry timer, poll timer and deadline share one entry. The engine loops over rows until one waits; it never recurses.
 * A late answer (after a timeout) finds a newer generation in the slot map and is dropped. */
#include "worker/saga.h"

#include "lib/err.h"

#include <assert.h>
#include <string.h>

#define SAGA_MAGIC      0x53414741u
#define DEFAULT_TIMEOUT 60000
#define RETRY_BASE_MS   200
#define RETRY_CAP_MS    5000

struct saga_engine {
    const struct clock *clock;
    const struct rng *rng;
    struct saga_hooks hooks;
    struct slots slots;
    struct saga **heap;
    size_t n, cap;
    bool ticking;
    int64_t armed;
};

/* ---- heap of due times --------------------------------------------------------------------------------------------
 */

static void place(struct saga_engine *e, size_t i, struct saga *s)
{
    e->heap[i] = s;
    s->heap = i + 1;
}

static void sift_up(struct saga_engine *e, size_t i)
{
    struct saga *s = e->heap[i];
    while (i && e->heap[(i - 1) / 2]->due_mono_ms > s->due_mono_ms) {
        place(e, i, e->heap[(i - 1) / 2]);
        i = (i - 1) / 2;
    }
    place(e, i, s);
}

static void sift_down(struct saga_engine *e, size_t i)
{
    struct saga *s = e->heap[i];
    for (;;) {
        size_t c = 2 * i + 1;
        if (c >= e->n) break;
        if (c + 1 < e->n && e->heap[c + 1]->due_mono_ms < e->heap[c]->due_mono_ms) c++;
        if (e->heap[c]->due_mono_ms >= s->due_mono_ms) break;
        place(e, i, e->heap[c]);
        i = c;
    }
    place(e, i, s);
}

static void heap_remove(struct saga_engine *e, struct saga *s)
{
    size_t i = s->heap - 1;
    struct saga *last = e->heap[--e->n];
    s->heap = 0;
    if (last == s) return;
    place(e, i, last);
    sift_up(e, i);
    sift_down(e, last->heap - 1);
}

static int heap_add(struct saga_engine *e, struct saga *s)
{
    if (e->n == e->cap) {
        size_t cap = e->cap ? e->cap * 2 : 64;
        struct saga **heap = realloc(e->heap, cap * sizeof(struct saga *));
        if (!heap) return ERR_NOMEM;
        e->heap = heap;
        e->cap = cap;
    }
    place(e, e->n++, s);
    sift_up(e, e->n - 1);
    return 0;
}

/* Every live saga stays in the heap, so setting a due time cannot fail. */
static void set_due(struct saga *s, int64_t due_mono_ms)
{
    struct saga_engine *e = s->engine;
    s->due_mono_ms = due_mono_ms;
    sift_up(e, s->heap - 1);
    sift_down(e, s->heap - 1);
    if (!e->ticking && due_mono_ms < e->armed) {
        e->armed = due_mono_ms;
        e->hooks.rearm(e->hooks.arg, due_mono_ms);
    }
}

/* ---- life ---------------------------------------------------------------------------------------------------------
 */

int saga_engine_new(const struct clock *clock, const struct rng *rng, const struct saga_hooks *hooks,
                    struct saga_engine **ret_engine)
{
    struct saga_engine *e = calloc(1, sizeof(*e));
    if (!e) return ERR_NOMEM;
    e->clock = clock;
    e->rng = rng;
    e->hooks = *hooks;
    e->armed = INT64_MAX;
    *ret_engine = e;
    return 0;
}

void saga_engine_free(struct saga_engine *e)
{
    if (!e) return;
    assert(e->n == 0);
    slots_done(&e->slots);
    free(e->heap);
    free(e);
}

int saga_start(struct saga_engine *e, struct saga *s, const struct saga_table *table, int row)
{
    int64_t now = clock_mono_ms(e->clock);
    memset(s, 0, sizeof(*s));
    s->magic = SAGA_MAGIC;
    s->engine = e;
    s->table = table;
    s->row = row;
    s->due_mono_ms = s->row_mono_ms = s->moved_mono_ms = now;
    s->id = slots_add(&e->slots, s);
    if (!s->id) return ERR_NOMEM;
    int rc = heap_add(e, s);
    if (rc < 0) {
        slots_remove(&e->slots, s->id);
        return rc;
    }
    set_due(s, now);
    return 0;
}

void saga_drop(struct saga *s)
{
    slots_remove(&s->engine->slots, s->id);
    heap_remove(s->engine, s);
    s->ended = true;
}

static void end(struct saga *s, int outcome)
{
    struct saga_engine *e = s->engine;
    saga_drop(s);
    e->hooks.ended(e->hooks.arg, s, outcome); /* s may be gone now */
}

/* ---- moving -------------------------------------------------------------------------------------------------------
 */

const struct saga_step *saga_row(const struct saga *s)
{
    return &s->table->steps[s->row];
}

static void enter(struct saga *s, int row, int err, int64_t now)
{
    const struct saga_step *from = saga_row(s);
    assert(row >= 0 && (size_t)row < s->table->n_steps);
    s->engine->hooks.moved(s->engine->hooks.arg, s, from, &s->table->steps[row], err, now - s->row_mono_ms);
    s->row = row;
    s->attempt = 0;
    s->row_mono_ms = s->moved_mono_ms = now;
}

/* hold_ms: asked for by the other side. For longer than the engine would wait by itself nobody keeps a lease. */
static bool retry_here(const struct saga *s, int err, int64_t hold_ms)
{
    const struct saga_step *step = saga_row(s);
    enum err_class c = err_class(err);
    /* These tell about ourselves, not about the operation: the table decides at once. */
    if (err == ERR_LEASE_LOST || err == ERR_DRAINING || err == ERR_JOURNAL_VERSION || err == ERR_BREAKER_OPEN)
        return false;
    if (hold_ms > RETRY_CAP_MS) return false;
    if (s->attempt + 1 >= (step->attempts ? step->attempts : 1)) return false;
    return c == ERR_CLASS_RETRIABLE || (c == ERR_CLASS_UNKNOWN && (step->flags & SAGA_REPEATABLE));
}

/* Applies a verdict. Returns true when the saga runs on at once. May end (and free) the saga: then false. */
static bool apply(struct saga *s, struct saga_verdict v)
{
    struct saga_engine *e = s->engine;
    int64_t now = clock_mono_ms(e->clock);
    const struct saga_step *step = saga_row(s);
    const int64_t hold_ms = s->hold_ms;
    s->hold_ms = 0;
    if (v.move == SAGA_FAIL) {
        s->last_error = v.arg;
        if (retry_here(s, v.arg, hold_ms)) {
            int64_t delay = backoff_ms(e->rng, s->attempt++, RETRY_BASE_MS, RETRY_CAP_MS);
            if (delay < hold_ms) delay = hold_ms;
            e->hooks.moved(e->hooks.arg, s, step, step, v.arg, now - s->row_mono_ms);
            set_due(s, now + (delay > v.delay_ms ? delay : v.delay_ms));
            return false;
        }
        int err = v.arg;
        v = s->table->failed(s, s->row, err);
        assert(v.move != SAGA_FAIL);
        if (v.move == SAGA_NEXT) v = saga_jump(s->row + 1);
        if (v.move == SAGA_JUMP && v.delay_ms <= 0) {
            enter(s, v.arg, err, now);
            return true;
        }
        if (v.move == SAGA_END) e->hooks.moved(e->hooks.arg, s, step, NULL, err, now - s->row_mono_ms);
    }
    switch (v.move) {
    case SAGA_NEXT:
        enter(s, s->row + 1, 0, now);
        return true;
    case SAGA_JUMP:
        enter(s, v.arg, 0, now);
        if (v.delay_ms <= 0) return true;
        set_due(s, now + v.delay_ms);
        return false;
    case SAGA_AGAIN:
        s->moved_mono_ms = now;
        set_due(s, now + (v.delay_ms > 0 ? v.delay_ms : 0));
        return false;
    case SAGA_WAIT:
        set_due(s, now + (step->timeout_ms ? step->timeout_ms : DEFAULT_TIMEOUT));
        return false;
    case SAGA_END:
        end(s, v.arg);
        return false;
    case SAGA_FAIL:
        break;
    }
    return false;
}

static struct saga_verdict start_row(struct saga *s)
{
    struct saga_engine *e = s->engine;
    const struct saga_step *step = saga_row(s);
    int64_t guard = e->hooks.guard(e->hooks.arg, s, step);
    if (guard > 0) return saga_again(guard);
    if (guard < 0) return saga_fail((int)guard);
    return step->start(s);
}

static void run(struct saga *s)
{
    bool on = true;
    while (on) {
        s->waiting = false;
        s->id = slots_next(&s->engine->slots, s->id); /* answers to anything earlier are late now */
        struct saga_verdict v = start_row(s);
        if (v.move == SAGA_WAIT) s->waiting = true;
        on = apply(s, v);
    }
}

/* Timer: either a sleep is over, or the pending answer never came. */
static void due(struct saga *s)
{
    if (!s->waiting) {
        run(s);
        return;
    }
    s->waiting = false;
    s->id = slots_next(&s->engine->slots, s->id);
    if (apply(s, saga_fail(ERR_TIMEOUT_SENT))) run(s);
}

int64_t saga_engine_tick(struct saga_engine *e)
{
    int64_t now = clock_mono_ms(e->clock);
    assert(!e->ticking);
    e->ticking = true;
    size_t budget = e->n + 1; /* what becomes due meanwhile waits for the next tick: one saga cannot starve the loop */
    while (e->n && e->heap[0]->due_mono_ms <= now && budget--) due(e->heap[0]);
    e->ticking = false;
    e->armed = e->n ? e->heap[0]->due_mono_ms : INT64_MAX;
    if (e->armed != INT64_MAX) e->hooks.rearm(e->hooks.arg, e->armed);
    return e->armed;
}

static void on_answer(void *self, uint64_t id, const void *result)
{
    struct saga_engine *e = self;
    struct saga *s = slots_find(&e->slots, id);
    if (!s || !s->waiting || s->id != id) return; /* late: its saga went on without it */
    assert(s->magic == SAGA_MAGIC);
    s->waiting = false;
    s->moved_mono_ms = clock_mono_ms(e->clock);
    if (apply(s, saga_row(s)->got(s, result))) run(s);
}

struct ticket saga_ticket(struct saga *s)
{
    return (struct ticket){on_answer, s->engine, s->id};
}

void saga_wake(struct saga *s)
{
    const unsigned only_reads = SAGA_BOUNDARY | SAGA_REPEATABLE;
    if (s->waiting && (saga_row(s)->flags & only_reads) != only_reads) return;
    if (s->waiting) s->id = slots_next(&s->engine->slots, s->id); /* its answer is late now */
    s->waiting = false;
    set_due(s, clock_mono_ms(s->engine->clock));
}

size_t saga_count(const struct saga_engine *e)
{
    return e->n;
}

void saga_each(struct saga_engine *e, void (*fn)(void *arg, struct saga *s), void *arg)
{
    for (size_t i = 0; i < e->n; i++) fn(arg, e->heap[i]);
}
