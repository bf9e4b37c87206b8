/* A fleet of workers under an autoscaler, in virtual time (tests/chart/test_scaling.py): how many workers there are is
 * told on stdin, what Prometheus would scrape from them is told on stdout. What makes a job wait is the real thing:
 * turns and queues (lib/aws_turns.c, lib/aws_pace.c), the budget that all workers share (lib/budget.c,
 * schema/budget_store.c and the shipped budget_take.lua), the hour's allowance of the scheduler (producer/publish.c)
 * and of the workers' gate (gate.lua), and an AWS that is a token bucket for each account and family. The job itself is
 * short: a read, a create, the wait until the key is usable, a read. Kafka is a queue from which each worker takes what
 * it has places for.
 *
 * usage: keyroll-scaled DUE ACCOUNTS PLACES
 *   limit N     calls a second that AWS bears from now on, per account and family; 0: any number
 *   per_hour N  max_rotations_per_hour from now on
 *   go S N      S seconds with N workers wanted; then come, for each process, "process NAME" and its metrics, then
 *               "rotated N throttled N." */
#include "lib/aws_turns.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/metrics.h"
#include "producer/publish.h"
#include "schema/budget_store.h"
#include "tests/sim/redis.h"
#include "worker/budget_metrics.h"

#include <assert.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define WORKERS_MAX  64
#define ACCOUNTS_MAX 200
#define START_MS     10000 /* until a pod that was wanted takes work */
#define TICK_MS      30000 /* the scheduler's */
#define SETTLE_MS    18000 /* a new key's way to be usable, at least */
#define SETTLE_SPAN  4000
#define AWAY_MS      40
#define GATE_LOOK_MS 60000 /* as in worker/rotate.c */
#define IAM_PER_S    8     /* the settings' defaults: iam_calls_per_s, iam_share */
#define IAM_SHARE    0.7

enum step { STEP_TURN, STEP_LIST, STEP_GATE, STEP_CREATE, STEP_SETTLE, STEP_TEST };
struct worker;
struct task {
    struct task *next; /* in the queue */
    struct worker *k;
    struct aws_turn turn;
    struct aws_pace_item item;
    unsigned account;
    enum step step;
    bool throttled;
};
struct queue {
    struct task *first, **last;
    size_t n;
};
struct worker {
    char name[16];
    struct sim_client client;
    struct store store;
    struct budget_store edge;
    struct aws_turns turns;
    struct aws_pace *pace;
    struct task *held[4096]; /* what it has taken */
    unsigned n;
    bool ready, draining, gone;
};
struct bucket {
    double tokens;
    int64_t filled_ms;
};

static struct sim sim;
static struct sim_net net;
static struct sim_redis *redis;
static struct worker *workers[WORKERS_MAX];
static unsigned n_workers, n_accounts, places;
static char accounts[ACCOUNTS_MAX][16];
static struct bucket buckets[ACCOUNTS_MAX][AWS_FAMILIES];
static double limit_per_s;
static int64_t per_hour = 1000000000;
static struct pace hour;                /* of the scheduler */
static struct queue unpublished, kafka; /* due; published */
static size_t told_due, told_limited, n_all;
static uint64_t rotated, throttled;
static bool taking; /* on_take() will run */

/* ---- timers, for lib/aws_pace.c: in front of lib/loop.c ---- */

struct loop_timer {
    loop_fn fn;
    void *arg;
    int64_t due_ms, armed_ms; /* armed: the one event that counts; -1 none */
};

static void on_timer(void *arg)
{
    struct loop_timer *t = arg;
    if (t->armed_ms != sim.mono_ms) return;
    t->armed_ms = -1;
    if (t->due_ms > sim.mono_ms)
        loop_timer_start(t, t->due_ms - sim.mono_ms);
    else
        t->fn(t->arg);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn fn, void *arg)
{
    (void)l;
    struct loop_timer *t = malloc(sizeof *t);
    if (t) *t = (struct loop_timer){fn, arg, -1, -1};
    return t;
}

void loop_timer_start(struct loop_timer *t, int64_t delay_ms)
{
    t->due_ms = sim.mono_ms + delay_ms;
    if (t->armed_ms >= 0 && t->armed_ms <= t->due_ms) return;
    t->armed_ms = t->due_ms;
    sim_after(&sim, delay_ms, on_timer, t, t);
}

void loop_timer_free(struct loop_timer *t)
{
    sim_cancel(&sim, t);
    free(t);
}

/* ---- jobs ---- */

static void put(struct queue *q, struct task *j)
{
    j->next = NULL;
    *q->last = j;
    q->last = &j->next;
    q->n++;
}

static struct task *get(struct queue *q)
{
    struct task *j = q->first;
    if (!j) return NULL;
    q->first = j->next;
    if (!q->first) q->last = &q->first;
    q->n--;
    return j;
}

static void release(struct task *j)
{
    struct worker *k = j->k;
    unsigned i = 0;
    while (k->held[i] != j) i++;
    k->held[i] = k->held[--k->n];
    aws_turns_port(&k->turns).end(&k->turns, &j->turn);
    j->k = NULL;
}

static void next(struct task *j, enum step step);
static void take_jobs(void);

static bool aws_takes(const struct task *j, enum aws_family f)
{
    struct bucket *b = &buckets[j->account][f];
    const double full = limit_per_s > 1 ? limit_per_s : 1;
    if (limit_per_s <= 0) return true;
    b->tokens += limit_per_s * (double)(sim.mono_ms - b->filled_ms) / 1000;
    b->filled_ms = sim.mono_ms;
    if (b->tokens > full) b->tokens = full;
    if (b->tokens < 1) return false;
    b->tokens -= 1;
    return true;
}

static enum aws_family family_of(const struct task *j)
{
    return j->step == STEP_CREATE ? AWS_FAMILY_WRITE : AWS_FAMILY_READ;
}

static void enter(struct task *j);

static void on_answer(void *arg)
{
    struct task *j = arg;
    if (j->throttled) {
        throttled++;
        aws_pace_throttled(j->k->pace, accounts[j->account], family_of(j), j->item.epoch);
        enter(j);
        return;
    }
    if (j->step == STEP_LIST) aws_turns_port(&j->k->turns).end(&j->k->turns, &j->turn); /* as worker/steps.c */
    next(j, j->step + 1);
}

static void call(struct task *j)
{
    j->throttled = !aws_takes(j, family_of(j));
    sim_after(&sim, sim_between(&sim, AWAY_MS, 2 * AWAY_MS), on_answer, j, NULL);
}

static void enter(struct task *j)
{
    j->item.order = j->throttled ? AWS_PACE_BEGUN : AWS_PACE_ORDINARY;
    j->item.leave_by_mono_ms = 0;
    int rc = aws_pace_enter(j->k->pace, accounts[j->account], family_of(j), &j->item);
    assert(rc >= 0);
    if (rc > 0) call(j);
}

static void on_turn(void *arg, struct aws_pace_item *item, bool expired)
{
    struct worker *k = arg;
    assert(!expired);
    if (item->order == AWS_PACE_TURN)
        aws_turns_granted(&k->turns, item);
    else
        call((struct task *)(void *)((char *)item - offsetof(struct task, item)));
}

static void on_ready(struct aws_turn *t)
{
    next((struct task *)(void *)((char *)t - offsetof(struct task, turn)), STEP_LIST);
}

static void on_settled(void *arg)
{
    next(arg, STEP_TEST);
}

static void on_back(void *arg)
{
    put(&kafka, arg);
    take_jobs();
}

static void on_gate(void *self, uint64_t id, const void *result)
{
    struct task *j = self;
    const struct store_reply *g = result;
    (void)id;
    if (!g->err) {
        next(j, STEP_CREATE);
        return;
    }
    assert(g->err == ERR_RATE_LIMITED);
    release(j);
    sim_after(&sim, g->wait_ms < GATE_LOOK_MS ? g->wait_ms : GATE_LOOK_MS, on_back, j, NULL);
    take_jobs();
}

static void end(struct task *j)
{
    rotated++;
    release(j);
    take_jobs();
}

static void begin_turn(struct task *j)
{
    j->turn = (struct aws_turn){.ready = on_ready};
    int rc = aws_turns_port(&j->k->turns).take(&j->k->turns, accounts[j->account], &j->turn);
    assert(rc >= 0);
    if (rc > 0) next(j, STEP_LIST);
}

static void next(struct task *j, enum step step)
{
    struct worker *k = j->k;
    j->step = step;
    j->throttled = false;
    switch (step) {
    case STEP_TURN:
        begin_turn(j);
        return;
    case STEP_LIST:
        if (aws_turns_use(&k->turns, &j->turn, &j->item.epoch))
            call(j);
        else
            enter(j);
        return;
    case STEP_GATE:
        if (store_gate(&k->store, accounts[j->account], per_hour, (struct ticket){on_gate, j, 0}) < 0) abort();
        return;
    case STEP_SETTLE:
        sim_after(&sim, sim_between(&sim, SETTLE_MS, SETTLE_MS + SETTLE_SPAN), on_settled, j, NULL);
        return;
    case STEP_CREATE:
    case STEP_TEST:
        enter(j);
        return;
    default:
        end(j);
    }
}

/* ---- workers ---- */

/* One each in turn, while there are places. Not from within a job: what it takes runs at once. */
static void on_take(void *arg)
{
    (void)arg;
    taking = false;
    for (bool took = true; took && kafka.first;) {
        took = false;
        for (unsigned i = 0; i < n_workers && kafka.first; i++) {
            struct worker *k = workers[i];
            if (!k->ready || k->draining || k->n >= places) continue;
            struct task *j = get(&kafka);
            j->k = k;
            k->held[k->n++] = j;
            next(j, STEP_TURN);
            took = true;
        }
    }
}

static void take_jobs(void)
{
    if (!taking) sim_after(&sim, 0, on_take, NULL, NULL);
    taking = true;
}

static void on_started(void *arg)
{
    struct worker *k = arg;
    k->ready = true;
    take_jobs();
}

static void fine(void *arg, const struct sim_call *c, struct sim_fault *fault)
{
    (void)arg, (void)c;
    *fault = (struct sim_fault){SIM_SLOW, sim_between(&sim, 1, 5)};
}

static void worker_start(int64_t delay_ms)
{
    assert(n_workers < WORKERS_MAX);
    struct worker *k = workers[n_workers] = calloc(1, sizeof *k);
    assert(k);
    snprintf(k->name, sizeof k->name, "worker-%u", n_workers++);
    k->client = (struct sim_client){.net = &net, .name = k->name};
    store_init(&k->store, sim_redis_port(redis, &k->client), &sim.rng, "kr:", 15000);
    k->edge = (struct budget_store){&k->store, IAM_PER_S, BUDGET_MOST_PER_S, IAM_SHARE};
    aws_turns_init(&k->turns, &sim.clock);
    k->pace = aws_pace_new(NULL, &(struct aws_pace_options){.clock = &sim.clock,
                                                            .per_s = IAM_PER_S,
                                                            .budget = budget_store_port(&k->edge),
                                                            .on_turn = on_turn,
                                                            .arg = k,
                                                            .begin_at = aws_turns_begin_at,
                                                            .begin_arg = &k->turns});
    assert(k->pace);
    k->turns.pace = k->pace;
    sim_after(&sim, delay_ms, on_started, k, k);
}

/* Who waits for a turn leaves at once, the rest comes to its end. */
static void worker_drain(struct worker *k)
{
    k->draining = true;
    for (unsigned i = k->n; i-- > 0;) {
        struct task *j = k->held[i];
        if (j->step != STEP_TURN) continue;
        release(j);
        put(&kafka, j);
    }
    take_jobs();
}

static void scale(unsigned wanted)
{
    unsigned n = 0;
    for (unsigned i = 0; i < n_workers; i++) n += !workers[i]->draining;
    for (; n < wanted; n++) worker_start(START_MS);
    for (unsigned i = n_workers; n > wanted && i-- > 0;) {
        if (workers[i]->draining) continue;
        worker_drain(workers[i]);
        n--;
    }
}

/* ---- the scheduler ---- */

static void on_tick(void *arg)
{
    (void)arg;
    told_due = unpublished.n + kafka.n; /* what the gate put off has its time */
    for (unsigned i = 0; i < n_workers; i++)
        for (unsigned k = 0; k < workers[i]->n; k++) told_due += workers[i]->held[k]->step == STEP_TURN; /* no lease */
    while (unpublished.first && pace_left(&hour, per_hour, sim_wall_ms(&sim)) > 0) {
        pace_count(&hour, sim_wall_ms(&sim));
        put(&kafka, get(&unpublished));
    }
    told_limited = unpublished.n;
    take_jobs();
    sim_after(&sim, TICK_MS, on_tick, NULL, NULL);
}

/* ---- metrics ---- */

static void tell(const char *process, struct metrics *m)
{
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 20);
    if (metrics_write(m, &out) < 0) abort();
    printf("process %s\n%.*s", process, (int)out.len, out.data);
    metrics_free(m);
}

static void gauge(struct metrics *m, const char *name, const char *label, const char *value, size_t n)
{
    metric_set(metric_new(m, METRIC_GAUGE, name, "as the programs", label, NULL, NULL, 0), value, NULL, (double)n);
}

static void tell_all(void)
{
    for (unsigned i = 0; i < n_workers; i++) {
        struct worker *k = workers[i];
        if (k->draining && !k->n && !k->gone) {
            k->gone = true;
            aws_pace_free(k->pace);
        }
        if (k->gone || !k->ready) continue;
        struct metrics *m = metrics_new();
        gauge(m, "keyroll_jobs_in_flight", NULL, NULL, k->n);
        struct budget_metrics b;
        budget_metrics_begin(&b, m);
        aws_pace_each(k->pace, budget_metrics_add, &b);
        budget_metrics_end(&b, k->n);
        tell(k->name, m);
    }
    struct metrics *m = metrics_new();
    gauge(m, "keyroll_due", "what", "rotate", told_due);
    gauge(m, "keyroll_rotations_waiting", NULL, NULL, told_limited);
    gauge(m, "keyroll_leader", NULL, NULL, 1);
    tell("scheduler", m);
    printf("rotated %" PRIu64 " throttled %" PRIu64 ".\n", rotated, throttled);
    fflush(stdout);
}

static void go(int64_t s, unsigned wanted)
{
    int64_t end_ms = sim.mono_ms + s * 1000;
    scale(wanted);
    while (sim_next_ms(&sim) <= end_ms && sim_step(&sim)) {
    }
    sim.mono_ms = end_ms;
    tell_all();
}

int main(int argc, char **argv)
{
    char line[100];
    if (argc != 4) return 2;
    n_all = strtoul(argv[1], NULL, 10);
    n_accounts = (unsigned)strtoul(argv[2], NULL, 10);
    places = (unsigned)strtoul(argv[3], NULL, 10);
    assert(n_accounts >= 1 && n_accounts <= ACCOUNTS_MAX && places <= ARRAY_LEN(workers[0]->held));
    sim_init(&sim, 1, NULL);
    net = (struct sim_net){.sim = &sim, .choose = fine};
    redis = sim_redis_new(&net);
    sim_redis_no_failover(redis);
    unpublished.last = &unpublished.first;
    kafka.last = &kafka.first;
    for (unsigned i = 0; i < n_accounts; i++) snprintf(accounts[i], sizeof accounts[i], "%012u", i);
    struct task *jobs = calloc(n_all, sizeof *jobs);
    assert(jobs);
    for (size_t i = 0; i < n_all; i++) {
        jobs[i].account = (unsigned)(i % n_accounts);
        put(&unpublished, &jobs[i]);
    }
    sim_after(&sim, 0, on_tick, NULL, NULL);
    while (fgets(line, sizeof line, stdin)) {
        int64_t a;
        unsigned n;
        if (sscanf(line, "limit %lf", &limit_per_s) == 1 || sscanf(line, "per_hour %" SCNd64, &per_hour) == 1) continue;
        if (sscanf(line, "go %" SCNd64 " %u", &a, &n) != 2) return 2;
        go(a, n);
    }
    return 0;
}
