/* Simulated workers (world.h): the real engine, step tables, leases, store and report on simulated edges, and what the
 * intake does around them: an outcome becomes a retry message, a dead letter or nothing; a job whose worker died comes
 * again. A crash takes memory only: leases, journals, sealed pairs and calls on their way stay as they are. */
#include "tests/sim/world.h"

#include "lib/err.h"
#include "worker/steps.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define LEASE_TTL_MS   15000
#define LEASE_RENEW_MS 5000
#define LEASE_AGE_MS   1800000
#define LEASE_TICK_MS  1000
#define SESSION_MS     10000 /* until the messages of a dead worker go to another one */
#define RESTART_MS     4000

struct message {
    struct sim_world *world;
    struct job job;
    unsigned attempt;
};
/* A message in a worker's hands. */
struct sim_item {
    struct sim_worker *worker;
    struct message *message;
    struct rotation *rotation;
    struct sim_item *next, **link;
};

static const char *const outcome_names[] = {"done", "retry", "dead", "abandoned", "parked"};

static void deliver_in(struct message *m, int64_t delay_ms);

/* ---- messages -----------------------------------------------------------------------------------------------------
 */

static void message_end(struct message *m)
{
    m->world->messages--;
    free(m);
}

static void item_end(struct sim_item *i)
{
    *i->link = i->next;
    if (i->next) i->next->link = i->link;
    free(i);
}

static int begin(struct sim_item *i)
{
    struct sim_worker *k = i->worker;
    struct job *job = malloc(sizeof(*job));
    if (!job) abort();
    *job = i->message->job;
    int rc = rotation_new(&k->env, job, &i->rotation);
    if (rc < 0) {
        free(job);
        return rc;
    }
    i->rotation->owner = i;
    rc = rotation_begin(k->engine, i->rotation);
    if (rc < 0) abort();
    return 0;
}

static void take(struct sim_worker *k, struct message *m)
{
    struct sim_item *i = calloc(1, sizeof(*i));
    if (!i) abort();
    i->worker = k;
    i->message = m;
    i->next = k->first;
    i->link = &k->first;
    if (i->next) i->next->link = &i->next;
    k->first = i;
    sim_say(&k->world->sim, "%s takes %s %s", k->name, job_kind_name(m->job.kind), job_reason_name(m->job.reason));
    if (begin(i) < 0) {
        sim_violate(&k->world->truth, "a job cannot begin");
        item_end(i);
        message_end(m);
    }
}

static void on_deliver(void *arg)
{
    struct message *m = arg;
    struct sim_world *w = m->world;
    struct sim_worker *able[SIM_WORKERS_MAX];
    size_t n = 0;
    for (size_t i = 0; i < w->o.workers; i++)
        if (w->workers[i].alive && !sim_client_frozen(&w->workers[i].client)) able[n++] = &w->workers[i];
    if (n)
        take(able[sim_random(&w->sim) % n], m);
    else
        deliver_in(m, 1000);
}

static void deliver_in(struct message *m, int64_t delay_ms)
{
    sim_after(&m->world->sim, delay_ms + sim_between(&m->world->sim, 1, 30), on_deliver, m, m->world);
}

void sim_publish_job(struct sim_world *w, const struct job *j, int64_t delay_ms, unsigned attempt)
{
    struct message *m = calloc(1, sizeof(*m));
    if (!m) abort();
    *m = (struct message){w, *j, attempt};
    w->messages++;
    w->published++;
    deliver_in(m, delay_ms);
}

void sim_fill_job(struct sim_world *w, int kind, int reason, const char *key_id, int64_t rotation, struct job *ret)
{
    *ret = (struct job){.kind = kind, .reason = reason, .rotation = rotation, .created_at_ms = sim_wall_ms(&w->sim)};
    snprintf(ret->licence, sizeof(ret->licence), SIM_LICENCE);
    snprintf(ret->account, sizeof(ret->account), SIM_ACCOUNT);
    snprintf(ret->user, sizeof(ret->user), SIM_USER);
    snprintf(ret->bucket, sizeof(ret->bucket), "bucket-4711");
    snprintf(ret->region, sizeof(ret->region), "eu-west-1");
    snprintf(ret->instance_url, sizeof(ret->instance_url), "https://4711.example");
    snprintf(ret->profile, sizeof(ret->profile), "sim");
    snprintf(ret->credentials, sizeof(ret->credentials), "env:SIM");
    snprintf(ret->replace_key_id, sizeof(ret->replace_key_id), "%s", key_id);
    if (job_identify(ret) < 0) abort();
    struct buf text;
    struct job back;
    struct message_fault fault;
    buf_init(&text, JOB_MAX_BYTES);
    int rc = job_encode(ret, &text); /* what travels is what the decoder gives */
    if (!rc) rc = job_decode(text.data, text.len, &back, &fault);
    if (rc < 0) sim_violate(&w->truth, "a job that cannot travel: %s", err_name(rc));
    buf_done(&text);
}

void sim_publish(struct sim_world *w, int kind, int reason, const char *key_id, int64_t rotation)
{
    struct job j;
    sim_fill_job(w, kind, reason, key_id, rotation, &j);
    sim_publish_job(w, &j, 0, 1);
}

/* ---- hooks, as the intake's -----------------------------------------------------------------------------------------
 */

static void republish(struct message *m, int64_t delay_ms, unsigned attempt)
{
    m->attempt = attempt;
    m->world->published++;
    deliver_in(m, delay_ms);
}

static int64_t rung_ms(const struct sim_world *w, int64_t delay_ms)
{
    const struct rotation_policy *p = &w->o.rotation;
    size_t k = 0;
    while (k + 1 < p->n_retry_delays && p->retry_delays_ms[k + 1] <= delay_ms) k++;
    return p->retry_delays_ms[k];
}

static void remember_dead(struct sim_world *w, const struct rotation *r)
{
    snprintf(w->dead_step, sizeof(w->dead_step), "%s", r->step);
    snprintf(w->dead_reason, sizeof(w->dead_reason), "%s", r->reason);
    w->dead_error = r->error;
}

static void on_ended(void *arg, struct saga *s, int outcome)
{
    struct sim_worker *k = arg;
    struct sim_world *w = k->world;
    struct rotation *r = ROTATION(s);
    struct sim_item *i = r->owner;
    struct message *m = i->message;
    int64_t delay_ms = r->record.next_ms == TIME_NONE ? 0 : r->record.next_ms - sim_wall_ms(&w->sim);
    bool again = r->again && outcome == OUTCOME_DONE && !r->error && !k->env.draining;
    sim_say(&w->sim, "%s ends %s: %s, %s%s%s", k->name, job_kind_name(m->job.kind), outcome_names[outcome],
            record_state_name(r->record.state), r->reason[0] ? ", " : "", r->reason);
    w->outcomes[outcome]++;
    if (outcome == OUTCOME_DEAD) remember_dead(w, r);
    if (k->calling == r) k->calling = NULL;
    i->rotation = NULL;
    rotation_free(r);
    if (again && begin(i) == 0) return;
    item_end(i);
    switch (outcome) {
    case OUTCOME_RETRY:
        republish(m, rung_ms(w, delay_ms > 0 ? delay_ms : 0), m->attempt + 1);
        return;
    case OUTCOME_ABANDONED:
        republish(m, rung_ms(w, 0), m->attempt);
        return;
    case OUTCOME_PARKED:
        republish(m, SESSION_MS, m->attempt);
        return;
    default:
        message_end(m);
        return;
    }
}

static void on_moved(void *arg, struct saga *s, const struct saga_step *from, const struct saga_step *to, int err,
                     int64_t took_ms)
{
    struct sim_worker *k = arg;
    (void)took_ms;
    sim_say(&k->world->sim, "%s %s: %s -> %s%s%s", k->name, s->table->kind, from->name, to ? to->name : "end",
            err ? " " : "", err ? err_name(err) : "");
}

static int64_t on_guard(void *arg, struct saga *s, const struct saga_step *step)
{
    struct sim_worker *k = arg;
    k->calling = NULL;
    k->client.table = "lease";
    k->client.step = "renew";
    k->client.row = 0;
    int64_t rc = rotation_guard(arg, s, step);
    k->calling = ROTATION(s);
    k->client.table = s->table->kind;
    k->client.step = step->name;
    k->client.row = s->row;
    return rc;
}

/* ---- time ---------------------------------------------------------------------------------------------------------
 */

static void arm(struct sim_worker *k, int64_t due_ms);

static void on_lease_tick(void *arg)
{
    struct sim_worker *k = arg;
    struct sim *s = &k->world->sim;
    k->lease_tick = false;
    if (!k->leases.n) return;
    k->lease_tick = true;
    if (sim_client_frozen(&k->client)) {
        sim_after(s, k->client.frozen_until_ms - s->mono_ms, on_lease_tick, k, k);
        return;
    }
    k->client.table = "lease";
    k->client.step = "renew";
    k->client.row = 0;
    leases_tick(&k->leases);
    sim_after(s, LEASE_TICK_MS, on_lease_tick, k, k);
}

static void watch_leases(struct sim_worker *k)
{
    if (!k->leases.n || k->lease_tick) return;
    k->lease_tick = true;
    sim_after(&k->world->sim, LEASE_TICK_MS, on_lease_tick, k, k);
}

static void on_timer(void *arg)
{
    struct sim_worker *k = arg;
    k->armed_ms = INT64_MAX;
    if (sim_client_frozen(&k->client)) {
        arm(k, k->client.frozen_until_ms);
        return;
    }
    saga_engine_tick(k->engine);
    watch_leases(k);
}

static void arm(struct sim_worker *k, int64_t due_ms)
{
    struct sim *s = &k->world->sim;
    if (due_ms == INT64_MAX || due_ms >= k->armed_ms) return;
    k->armed_ms = due_ms;
    sim_after(s, due_ms > s->mono_ms ? due_ms - s->mono_ms : 0, on_timer, k, k);
}

static void on_rearm(void *arg, int64_t due_mono_ms)
{
    struct sim_worker *k = arg;
    watch_leases(k);
    arm(k, due_mono_ms);
}

/* ---- life ---------------------------------------------------------------------------------------------------------
 */

static void ignore(void *self, uint64_t id, const void *result)
{
    (void)self;
    (void)id;
    (void)result;
}

/* Before anything else on a new connection. */
static void greet(struct sim_worker *k)
{
    k->client.table = NULL;
    k->client.step = NULL;
    (void)!store_server_seen(&k->store, sim_redis_server(k->world->redis),
                             (struct ticket){ignore, NULL, 0}); /* down: on_up comes */
}

static void start(struct sim_worker *k)
{
    struct sim_world *w = k->world;
    const struct saga_hooks hooks = {on_guard, on_moved, on_ended, on_rearm, k};
    const struct report_topics topics = {sim_topic_events, sim_topic_keys};
    store_init(&k->store, sim_redis_port(w->redis, &k->client), &w->sim.rng, "kr:", LEASE_TTL_MS);
    leases_init(&k->leases, &k->store, &w->sim.clock, LEASE_TTL_MS, LEASE_RENEW_MS, LEASE_AGE_MS);
    if (report_new(sim_kafka_port(w->kafka, &k->client), &w->sim.clock, &topics, k->name, &k->report) < 0) abort();
    if (saga_engine_new(&w->sim.clock, &w->sim.rng, &hooks, &k->engine) < 0) abort();
    k->env = (struct rotation_env){.clock = &w->sim.clock,
                                   .rng = &w->sim.rng,
                                   .aws = sim_aws_port(w->aws, &k->client),
                                   .instance = sim_instance_port(w->instance, &k->client),
                                   .store = &k->store,
                                   .leases = &k->leases,
                                   .escrow = w->escrow,
                                   .report = k->report,
                                   .policy = w->o.rotation};
    k->armed_ms = INT64_MAX;
    k->lease_tick = false;
    k->client.frozen_until_ms = 0;
    k->alive = true;
    greet(k);
}

static void on_restart(void *arg)
{
    struct sim_worker *k = arg;
    sim_say(&k->world->sim, "%s starts again", k->name);
    start(k);
}

/* Memory goes; nobody is told. */
static void vanish(struct sim_worker *k, bool redeliver)
{
    while (k->first) {
        struct sim_item *i = k->first;
        saga_drop(&i->rotation->saga);
        rotation_free(i->rotation);
        if (redeliver)
            deliver_in(i->message, SESSION_MS);
        else
            message_end(i->message);
        item_end(i);
    }
    sim_cancel(&k->world->sim, k);
    sim_client_dropped(&k->client);
    saga_engine_free(k->engine);
    leases_done(&k->leases);
    report_free(k->report);
    k->calling = NULL;
    k->alive = false;
}

void sim_worker_crash(struct sim_worker *k)
{
    if (!k->alive) return;
    sim_say(&k->world->sim, "%s crashes", k->name);
    k->world->crashes++;
    vanish(k, true);
    sim_after(&k->world->sim, RESTART_MS, on_restart, k, k);
}

/* It is thrown out of its group when it is silent for a session: others get what it has in hand, while it may still
 * wake. */
static void on_thrown_out(void *arg)
{
    struct sim_worker *k = arg;
    if (!sim_client_frozen(&k->client)) return;
    for (const struct sim_item *i = k->first; i; i = i->next)
        sim_publish_job(k->world, &i->message->job, 0, i->message->attempt);
}

static void froze(struct sim_client *c, int64_t ms)
{
    struct sim_worker *k = (struct sim_worker *)c;
    if (ms > SESSION_MS) sim_after(&k->world->sim, SESSION_MS, on_thrown_out, k, k);
}

static void crash(struct sim_client *c)
{
    sim_worker_crash((struct sim_worker *)c);
}

void sim_workers_start(struct sim_world *w)
{
    for (unsigned i = 0; i < w->o.workers; i++) {
        struct sim_worker *k = &w->workers[i];
        k->world = w;
        snprintf(k->name, sizeof(k->name), "w%u", i + 1);
        k->client = (struct sim_client){.net = &w->net, .name = k->name, .crash = crash, .froze = froze};
        start(k);
    }
}

void sim_workers_stop(struct sim_world *w)
{
    for (unsigned i = 0; i < w->o.workers; i++)
        if (w->workers[i].alive)
            vanish(&w->workers[i], false);
        else
            sim_cancel(&w->sim, &w->workers[i]);
}

void sim_workers_redis_up(struct sim_world *w)
{
    for (unsigned i = 0; i < w->o.workers; i++)
        if (w->workers[i].alive) greet(&w->workers[i]);
}

bool sim_workers_idle(const struct sim_world *w)
{
    for (unsigned i = 0; i < w->o.workers; i++)
        if (w->workers[i].first) return false;
    return true;
}
