/* The real intake under simulation. worker/intake.c is included here, so that a simulated crash can drop what it has in
 * memory, and so that its loop timers and the hooks that it gives to the engine are the simulation's. Timers of an idle
 * worker stand still until the next message: virtual days pass in one step. */
#define loop_timer_new   sim_timer_new /* lib/loop.c is linked too */
#define loop_timer_start sim_timer_start
#define loop_timer_stop  sim_timer_stop
#define loop_timer_free  sim_timer_free
#define loop_timer_unref sim_timer_unref

#include "lib/log.h"
#include "tests/sim/world.h"

#include <stdlib.h>

static int engine_new(const struct clock *clock, const struct rng *rng, const struct saga_hooks *hooks,
                      struct saga_engine **ret_engine);
#undef LOG
#define LOG(level, event, message, ...)                                                                                \
    do {                                                                                                               \
        if (false) {                                                                                                   \
            const struct log_field f_[] = {__VA_ARGS__};                                                               \
            log_event(level, event, message, f_, ARRAY_LEN(f_));                                                       \
        }                                                                                                              \
    } while (0)
#define saga_engine_new engine_new
#include "worker/intake.c" /* NOLINT */
#undef saga_engine_new

#define LEASE_TICK_MS 1000 /* the real one looks ten times as often */

static const char *const outcomes[] = {"done", "retry", "dead", "abandoned", "parked", "waiting"};

/* ---- timers -------------------------------------------------------------------------------------------------------
 */

struct loop {
    struct sim_worker *worker;
    struct loop_timer *first;
};
struct loop_timer {
    struct loop *loop;
    loop_fn fn;
    void *arg;
    unsigned generation; /* a later start or stop makes an event void */
    bool armed, parked;
    struct loop_timer *next, **link;
};
struct shot {
    struct loop_timer *timer;
    unsigned generation;
};

static bool only_when_busy(const struct loop_timer *t)
{
    return t->fn == on_commit_timer || t->fn == on_lease_timer;
}

static void on_timer(void *arg)
{
    struct loop_timer *t = arg;
    struct sim_worker *k = t->loop->worker;
    if (sim_client_frozen(&k->client)) {
        sim_after(&k->world->sim, k->client.frozen_until_ms - k->world->sim.mono_ms, on_timer, t, t);
        return;
    }
    t->armed = false;
    sim_worker_intake_calls(k, t->fn == on_lease_timer ? "renew" : "timer");
    t->fn(t->arg);
}

struct loop_timer *loop_timer_new(struct loop *l, loop_fn fn, void *arg)
{
    struct loop_timer *t = calloc(1, sizeof(*t));
    if (!t) return NULL; /* only in tests/torture */
    *t = (struct loop_timer){.loop = l, .fn = fn, .arg = arg, .next = l->first, .link = &l->first};
    if (t->next) t->next->link = &t->next;
    l->first = t;
    return t;
}

void loop_timer_stop(struct loop_timer *t)
{
    if (t->armed) sim_cancel(&t->loop->worker->world->sim, t);
    t->armed = t->parked = false;
}

void loop_timer_start(struct loop_timer *t, int64_t delay_ms)
{
    struct sim_worker *k = t->loop->worker;
    loop_timer_stop(t);
    if (only_when_busy(t) && sim_intake_idle(k)) {
        t->parked = true;
        return;
    }
    if (t->fn == on_lease_timer) delay_ms = LEASE_TICK_MS;
    t->armed = true;
    sim_after(&k->world->sim, delay_ms, on_timer, t, t);
}

void loop_timer_free(struct loop_timer *t)
{
    if (!t) return;
    loop_timer_stop(t);
    *t->link = t->next;
    if (t->next) t->next->link = t->link;
    free(t);
}

static void unpark(struct loop *l)
{
    for (struct loop_timer *t = l->first; t; t = t->next)
        if (t->parked) {
            t->parked = false;
            t->armed = true;
            sim_after(&l->worker->world->sim, t->fn == on_lease_timer ? LEASE_TICK_MS : COMMIT_EVERY_MS, on_timer, t,
                      t);
        }
}

/* ---- hooks --------------------------------------------------------------------------------------------------------
 */

static struct saga_hooks real;

static struct sim_worker *worker_of(const struct intake *i)
{
    return i->o.arg;
}

static int64_t guard_hook(void *arg, struct saga *s, const struct saga_step *step)
{
    struct sim_worker *k = worker_of(arg);
    sim_worker_intake_calls(k, "renew");
    int64_t rc = real.guard(arg, s, step);
    sim_worker_step_calls(k, ROTATION(s));
    return rc;
}

/* The message that this saga began with; NULL: its partition is another's by now. */
static struct sim_entry *entry_of(struct intake *i, const struct rotation *r)
{
    struct sim_group *g = &worker_of(i)->world->group;
    const struct offset_ref ref = ((struct item *)r->owner)->ref;
    const char *topic = NULL;
    int32_t partition;
    uint32_t epoch;
    if (!offsets_name(i->offsets, (int)ref.partition, &topic, &partition, &epoch) || epoch != ref.epoch) return NULL;
    for (int t = 0; t < SIM_TOPICS; t++)
        if (!strcmp(topic, sim_topic_names[t]) && ref.offset < g->logs[t].end) return &g->logs[t].v[ref.offset];
    return NULL;
}

/* A job from before the first record begins, and Redis has lost that record since: to the worker it is the first look.
 */
static void note_old_first_look(struct sim_world *w, const struct job *j)
{
    struct record r;
    const bool old = j->reason == JOB_OPERATOR || j->created_at_ms <= sim_redis_lost_wall_ms(w->redis);
    if (j->rotation > 0 || j->replace_key_id[0] || !old || !sim_redis_losses(w->redis)) return;
    if (!sim_record(w, &r)) w->old_first_look = true;
}

static void moved_hook(void *arg, struct saga *s, const struct saga_step *from, const struct saga_step *to, int err,
                       int64_t took_ms)
{
    struct sim_worker *k = worker_of(arg);
    struct sim_entry *e = s->row == 0 ? entry_of(arg, ROTATION(s)) : NULL;
    const char *const words[] = {k->name,
                                 " ",
                                 s->table->kind,
                                 ": ",
                                 from->name,
                                 " -> ",
                                 to ? to->name : "end",
                                 err ? " " : "",
                                 err ? err_name(err) : ""};
    sim_say_words(&k->world->sim, ARRAY_LEN(words), words); /* most of what is said */
    if (e) e->more = false;
    if (s->row == 0) note_old_first_look(k->world, ROTATION(s)->job);
    real.moved(arg, s, from, to, err, took_ms);
}

static void ended_hook(void *arg, struct saga *s, int outcome)
{
    struct intake *i = arg;
    struct sim_worker *k = worker_of(i);
    struct sim_world *w = k->world;
    struct rotation *r = ROTATION(s);
    /* waiting: the record tells for what */
    struct sim_entry *e = outcome == OUTCOME_DONE || outcome == OUTCOME_WAITING ? entry_of(i, r) : NULL;
    sim_say(&w->sim, "%s ends %s: %s, %s%s%s", k->name, job_kind_name(r->job->kind), outcomes[outcome],
            record_state_name(r->record.state), r->reason[0] ? ", " : "", r->reason);
    sim_world_outcome(w, r, outcome);
    if (k->calling == r) k->calling = NULL;
    sim_worker_intake_calls(k, "hand over");
    if (e && r->again) e->more = true;
    if (e && !r->again) e->done = true;
    real.ended(arg, s, outcome); /* r may be gone */
}

static int engine_new(const struct clock *clock, const struct rng *rng, const struct saga_hooks *hooks,
                      struct saga_engine **ret_engine)
{
    const struct saga_hooks mine = {guard_hook, moved_hook, ended_hook, hooks->rearm, hooks->arg};
    real = *hooks;
    return saga_engine_new(clock, rng, &mine, ret_engine);
}

/* ---- life ---------------------------------------------------------------------------------------------------------
 */

void sim_intake_start(struct sim_worker *k)
{
    static const int64_t delays[] = {30000, 300000};
    struct loop *l = calloc(1, sizeof(*l));
    if (!l) abort();
    l->worker = k;
    k->loop = l;
    const struct intake_options o = {.env = &k->env,
                                     .kafka = sim_kafka_port(k->world->kafka, &k->client),
                                     .worker_id = k->name,
                                     .topic_jobs = sim_topic_names[SIM_JOBS],
                                     .topic_urgent = sim_topic_names[SIM_URGENT],
                                     .topic_dead = sim_topic_dead,
                                     .topic_retry = &sim_topic_names[SIM_RETRY_SHORT],
                                     .retry_delay_ms = delays,
                                     .n_retry = 2,
                                     .max_in_flight = 4,
                                     .urgent_share = 1,
                                     .on_idle = sim_worker_drained,
                                     .arg = k};
    if (intake_new(l, &o, &k->intake) < 0) abort();
    intake_bind(k->intake, &k->in, NULL);
}

void sim_intake_drop(struct sim_worker *k)
{
    struct intake *i = k->intake;
    i->draining = true;
    i->o.on_idle = NULL;
    for (struct item *t = i->first; t; t = t->next) {
        if (!t->r) continue;
        if (!t->r->saga.ended) saga_drop(&t->r->saga); /* else its end is being told */
        t->job = TAKE(t->r->job);
        rotation_free(t->r);
        t->r = NULL;
        t->telling = false;
    }
    sim_client_dropped(&k->client); /* what waits for a delivery report hears that there is none */
    while (i->first) item_end(i->first, false);
    intake_free(i);
    while (k->loop->first) loop_timer_free(k->loop->first);
    free(k->loop);
    k->intake = NULL;
    k->loop = NULL;
}

bool sim_intake_idle(const struct sim_worker *k)
{
    const struct intake *i = k->intake;
    int64_t offset;
    const char *topic;
    int32_t partition;
    uint32_t epoch;
    if (!i) return true;
    if (i->n_items) return false;
    for (size_t n = 0; n < offsets_count(i->offsets); n++)
        if (offsets_name(i->offsets, (int)n, &topic, &partition, &epoch) &&
            offsets_to_commit(i->offsets, (int)n, &offset))
            return false;
    return true;
}

void sim_intake_busy(struct sim_worker *k)
{
    if (k->loop && !sim_intake_idle(k)) unpark(k->loop);
}

void sim_intake_drain(struct sim_worker *k)
{
    intake_drain(k->intake);
}
