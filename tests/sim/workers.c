/* Simulated workers (world.h): the real intake, engine, step tables, leases, store and report on simulated edges. A
 * crash takes memory only: leases, journals, sealed pairs, offsets and calls on their way stay as they are. */
#include "tests/sim/world.h"

#include "lib/err.h"

#include <stdlib.h>
#include <string.h>

#define LEASE_TTL_MS   15000
#define LEASE_RENEW_MS 5000
#define LEASE_AGE_MS   1800000
#define SESSION_MS     10000 /* until the partitions of a silent worker go to another one */
#define RESTART_MS     4000
#define SEEN_AGAIN_MS  500

void sim_worker_intake_calls(struct sim_worker *k, const char *step)
{
    k->calling = NULL;
    k->client.table = "intake";
    k->client.step = step;
    k->client.row = 0;
}

void sim_worker_step_calls(struct sim_worker *k, struct rotation *r)
{
    k->calling = r;
    k->client.table = r->saga.table->kind;
    k->client.step = saga_row(&r->saga)->name;
    k->client.row = r->saga.row;
}

static int64_t wall_ms(void *self)
{
    const struct sim_worker *k = self;
    return sim_wall_ms(&k->world->sim) + k->wall_off_ms;
}

static int64_t mono_ms(void *self)
{
    const struct sim_worker *k = self;
    return k->world->sim.mono_ms;
}

static void ignore(void *self, uint64_t id, const void *result)
{
    (void)self;
    (void)id;
    (void)result;
}

static void on_seen(void *self, uint64_t id, const void *result);

/* Before anything else on a new connection, until it is told (worker/worker.c). */
static void greet(void *arg)
{
    struct sim_worker *k = arg;
    k->client.table = NULL;
    k->client.step = NULL;
    if (sim_redis_is_down(k->world->redis)) return; /* on_up comes */
    if (store_server_seen(&k->store, sim_redis_server(k->world->redis), (struct ticket){on_seen, k, 0}) < 0)
        sim_after(&k->world->sim, SEEN_AGAIN_MS, greet, k, k);
}

static void on_seen(void *self, uint64_t id, const void *result)
{
    struct sim_worker *k = self;
    const struct store_reply *r = result;
    (void)id;
    if (r->err && r->err != ERR_CANCELLED) sim_after(&k->world->sim, SEEN_AGAIN_MS, greet, k, k);
}

static void start(struct sim_worker *k)
{
    struct sim_world *w = k->world;
    const struct report_topics topics = {sim_topic_events, sim_topic_keys};
    store_init(&k->store, sim_redis_port(w->redis, &k->client), &w->sim.rng, "kr:", LEASE_TTL_MS);
    k->clock = (struct clock){k, wall_ms, mono_ms};
    leases_init(&k->leases, &k->store, &k->clock, LEASE_TTL_MS, LEASE_RENEW_MS, LEASE_AGE_MS);
    if (report_new(sim_kafka_port(w->kafka, &k->client), &k->clock, &topics, k->name, &k->report) < 0) abort();
    k->env = (struct rotation_env){.clock = &k->clock,
                                   .rng = &w->sim.rng,
                                   .aws = sim_aws_port(w->aws, &k->client),
                                   .instance = sim_instance_port(w->instance, &k->client),
                                   .store = &k->store,
                                   .leases = &k->leases,
                                   .escrow = w->escrow,
                                   .report = k->report,
                                   .policy = w->o.rotation};
    k->client.frozen_until_ms = 0;
    k->alive = true;
    k->in = (struct kafka_in){.worker = k};
    sim_intake_start(k);
    greet(k);
    sim_group_join(k);
}

static void on_restart(void *arg)
{
    struct sim_worker *k = arg;
    sim_say(&k->world->sim, "%s starts again", k->name);
    start(k);
}

static void vanish(struct sim_worker *k)
{
    sim_intake_drop(k);
    sim_cancel(&k->world->sim, k);
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
    sim_group_died(k);
    vanish(k);
    sim_after(&k->world->sim, RESTART_MS, on_restart, k, k);
}

/* ---- drain --------------------------------------------------------------------------------------------------------
 */

static void on_gone(void *arg)
{
    struct sim_worker *k = arg;
    sim_worker_intake_calls(k, "commit");
    intake_commit_now(k->intake, 3000);
    sim_say(&k->world->sim, "%s has drained", k->name);
    sim_group_leave(k);
    vanish(k);
    sim_after(&k->world->sim, RESTART_MS, on_restart, k, k);
}

void sim_worker_drained(void *arg)
{
    struct sim_worker *k = arg;
    sim_after(&k->world->sim, 0, on_gone, k, k);
}

void sim_worker_drain(struct sim_worker *k)
{
    if (!k->alive || k->env.draining || sim_client_frozen(&k->client)) return;
    sim_say(&k->world->sim, "%s drains", k->name);
    sim_intake_drain(k);
}

/* ---- freeze -------------------------------------------------------------------------------------------------------
 */

static void on_silent(void *arg)
{
    struct sim_worker *k = arg;
    if (sim_client_frozen(&k->client)) sim_group_silent(k);
}

static void on_wake(void *arg)
{
    struct sim_worker *k = arg;
    if (!sim_client_frozen(&k->client)) sim_group_woke(k);
}

static void froze(struct sim_client *c, int64_t ms)
{
    struct sim_worker *k = (struct sim_worker *)c;
    if (ms > SESSION_MS) sim_after(&k->world->sim, SESSION_MS, on_silent, k, k);
    sim_after(&k->world->sim, ms, on_wake, k, k);
}

static void crash(struct sim_client *c)
{
    sim_worker_crash((struct sim_worker *)c);
}

/* ---- all ----------------------------------------------------------------------------------------------------------
 */

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
            vanish(&w->workers[i]);
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
        if (w->workers[i].alive && !sim_intake_idle(&w->workers[i])) return false;
    return true;
}

/* ---- jobs ---------------------------------------------------------------------------------------------------------
 */

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
}

void sim_publish_job(struct sim_world *w, struct sim_client *by, const struct job *j)
{
    struct job_headers h = {.attempt = 1, .first_seen_ms = j->created_at_ms};
    struct job_header_set set;
    AUTO_BUF struct buf value;
    buf_init(&value, JOB_MAX_BYTES);
    if (job_encode(j, &value) < 0) {
        sim_violate(&w->truth, "a job that cannot travel");
        return;
    }
    snprintf(h.job_id, sizeof(h.job_id), "%s", j->job_id);
    job_headers_encode(&h, &set);
    const struct kafka_message_out m = {sim_topic_names[j->urgent ? SIM_URGENT : SIM_JOBS],
                                        SIM_USER_KEY,
                                        strlen(SIM_USER_KEY),
                                        value.data,
                                        value.len,
                                        set.headers,
                                        set.n};
    const struct kafka_port port = sim_kafka_port(w->kafka, by);
    w->published++;
    (void)!port.produce(port.self, &m, (struct ticket){ignore, NULL, 0}); /* lost ones are asked for again */
}

void sim_publish(struct sim_world *w, int kind, int reason, const char *key_id, int64_t rotation)
{
    struct job j;
    sim_fill_job(w, kind, reason, key_id, rotation, &j);
    sim_publish_job(w, &w->person, &j);
}

void sim_world_outcome(struct sim_world *w, const struct rotation *r, int outcome)
{
    w->outcomes[outcome]++;
    if (outcome != OUTCOME_DEAD) return;
    snprintf(w->dead_step, sizeof(w->dead_step), "%s", r->step);
    snprintf(w->dead_reason, sizeof(w->dead_reason), "%s", r->reason);
    w->dead_error = r->error;
}
