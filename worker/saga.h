/* The saga engine: walks a table of steps. It owns time (deadlines, retries with backoff, polls) and the one pending
 * answer of each saga; it knows no step, no Kafka, no Redis. A step starts one operation and says what it waits for;
 * the engine moves. Deterministic: clock and randomness are arguments, so simulation runs the same code. Loop thread
 * only. */
#ifndef KEYROLL_SAGA_H
#define KEYROLL_SAGA_H

#include "lib/clock.h"
#include "lib/slots.h"
#include "lib/ticket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct saga;
struct saga_engine;

/* What a step says to the engine. */
enum saga_move {
    SAGA_NEXT,  /* go on with the next row */
    SAGA_WAIT,  /* an operation was started with saga_ticket(); `got` will be called with its result */
    SAGA_JUMP,  /* go on with row `arg`, after delay_ms */
    SAGA_AGAIN, /* run this row again after delay_ms: a poll, not counted as an attempt */
    SAGA_FAIL,  /* error `arg`: the engine retries the row or asks the table's `failed`; delay_ms > 0: not before */
    SAGA_END,   /* the saga is over with outcome `arg` */
};
struct saga_verdict {
    enum saga_move move;
    int arg;
    int64_t delay_ms;
};
static inline struct saga_verdict saga_next(void)
{
    return (struct saga_verdict){SAGA_NEXT, 0, 0};
}
static inline struct saga_verdict saga_wait(void)
{
    return (struct saga_verdict){SAGA_WAIT, 0, 0};
}
static inline struct saga_verdict saga_jump(int row)
{
    return (struct saga_verdict){SAGA_JUMP, row, 0};
}
static inline struct saga_verdict saga_jump_in(int row, int64_t delay_ms)
{
    return (struct saga_verdict){SAGA_JUMP, row, delay_ms};
}
static inline struct saga_verdict saga_again(int64_t delay_ms)
{
    return (struct saga_verdict){SAGA_AGAIN, 0, delay_ms};
}
static inline struct saga_verdict saga_fail(int err)
{
    return (struct saga_verdict){SAGA_FAIL, err, 0};
}
static inline struct saga_verdict saga_end(int outcome)
{
    return (struct saga_verdict){SAGA_END, outcome, 0};
}

enum saga_flag {
    SAGA_LEASED = 1,     /* needs the lease */
    SAGA_EFFECT = 2,     /* changes the world outside Redis and Kafka: needs lease time left for the whole call */
    SAGA_REPEATABLE = 4, /* an unknown outcome may simply be repeated (reads, writes by id or with the same opid) */
    SAGA_BOUNDARY =
        8, /* nothing is under way that a journal does not tell: the worker may park before it when it drains */
    SAGA_LAST_CALL = 16, /* the job's last request to the instance: its connection is not needed again for weeks */
};
struct saga_step {
    const char *name; /* published in logs, events and dead letters */
    struct saga_verdict (*start)(struct saga *s);
    struct saga_verdict (*got)(struct saga *s, const void *result); /* NULL when start never waits */
    int64_t timeout_ms; /* for the pending answer; a safety net above the operation's own timeout. 0 = 60 s */
    unsigned attempts;  /* runs in all before `failed` is asked; 0 = 1 */
    unsigned flags;     /* enum saga_flag */
};
struct saga_table {
    const char *kind;
    const struct saga_step *steps;
    size_t n_steps;
    /* A row failed for good (attempts spent, or not to be repeated). Says where to go; SAGA_FAIL from here is a bug
     * (assert). */
    struct saga_verdict (*failed)(struct saga *s, int row, int err);
};

/* Embedded as the first member of what the steps work on. */
struct saga {
    uint32_t magic;
    struct saga_engine *engine;
    const struct saga_table *table;
    uint64_t id; /* names the current wait; changes with every wait */
    int row;
    unsigned attempt; /* failed runs of this row so far */
    bool waiting;     /* a ticket is out */
    bool ended;
    int64_t due_mono_ms;   /* when the engine acts next; INT64_MAX = never */
    size_t heap;           /* index + 1 in the timer heap, 0 = not there */
    int64_t row_mono_ms;   /* when this row was entered */
    int64_t moved_mono_ms; /* last progress */
    int last_error;
    int64_t hold_ms; /* set by a step whose call failed: the other side asked to be left alone for so long */
};

struct saga_hooks {
    /* Before each start: 0 goes on; < 0 fails the row with that error; > 0 asks again after so many ms. */
    int64_t (*guard)(void *arg, struct saga *s, const struct saga_step *step);
    /* Row changes and failures, for the log and metrics: err 0 for plain moves. */
    void (*moved)(void *arg, struct saga *s, const struct saga_step *from, const struct saga_step *to, int err,
                  int64_t took_ms);
    /* The saga is over; its owner may free it here. Never called before saga_start() returned. */
    void (*ended)(void *arg, struct saga *s, int outcome);
    /* The earliest due time changed: arm one timer for saga_engine_tick(). */
    void (*rearm)(void *arg, int64_t due_mono_ms);
    void *arg;
};
MUST_CHECK int saga_engine_new(const struct clock *clock, const struct rng *rng, const struct saga_hooks *hooks,
                               struct saga_engine **ret_engine);
/* All sagas must have ended. */
void saga_engine_free(struct saga_engine *e);
/* Queues a saga to begin at `row` at the next tick. 0 or ERR_NOMEM. */
MUST_CHECK int saga_start(struct saga_engine *e, struct saga *s, const struct saga_table *table, int row);
/* Runs everything that is due. Returns the next due time (INT64_MAX none). Not re-entrant. */
int64_t saga_engine_tick(struct saga_engine *e);
/* Takes a saga out without a word to anybody: its owner goes with all it knew (simulated crashes). Not from within its
 * own steps. */
void saga_drop(struct saga *s);
size_t saga_count(const struct saga_engine *e);
/* Calls fn for each live saga. */
void saga_each(struct saga_engine *e, void (*fn)(void *arg, struct saga *s), void *arg);
/* The ticket for the operation that this row starts now. Once per start. */
struct ticket saga_ticket(struct saga *s);
/* For a drain: makes a saga look again now that sleeps (poll, backoff) or waits for an answer without which it may park
 * (SAGA_BOUNDARY and SAGA_REPEATABLE: a read, that may be asked for anew). Any other pending answer is left alone. */
void saga_wake(struct saga *s);
const struct saga_step *saga_row(const struct saga *s);

#endif
