/* The simulated schedulers (world.h): look at Redis as the real one does, put back what Redis lost (R8), and publish
 * what the real policy calls due. The first one also notices when the world has come to rest: looks that only look
 * change nothing any more. */
#include "tests/sim/world.h"

#include "lib/err.h"

#include <stdlib.h>
#include <string.h>

#define TICK_MS     5000
#define RESTLESS_MS 20000  /* between two publications of the same work */
#define IDLE_MS     900000 /* the same where a few of them have changed nothing: all that they began ends meanwhile */
#define IDLE_LOOKS  8
#define DAY_MS      INT64_C(86400000)
#define SAME_LOOKS  2  /* looks without a change until the world counts as quiet */
#define SAME_TRIES  30 /* the same for a named state in which work is tried again and again, held by the record */
#define SAME_MS     (14 * INT64_C(3600000)) /* and so long: twice the longest pause between two tries */

static void on_tick(void *arg);

static void tick_in(struct sim_scheduler *s, int64_t delay_ms)
{
    if (!s->world->quiet) sim_after(&s->world->sim, delay_ms > 0 ? delay_ms : TICK_MS, on_tick, s, s);
}

static void on_restored(void *self, uint64_t id, const void *result)
{
    struct sim_scheduler *s = self;
    const struct store_reply *r = result;
    (void)id;
    if (r->err == ERR_CANCELLED) return;
    if (!r->err && r->version == 1) {
        s->world->restored++;
        if (s->outranked) s->world->went_back = true;
        sim_say(&s->world->sim, "the scheduler puts the state back");
    }
    tick_in(s, TICK_MS);
}

/* A failover lost a lease, and then Redis's clock was set back: what was told under that lease has a higher number than
 * the rotation that was begun since, whose key it does not know. */
static bool is_outranked(const struct sim_world *w, const struct store_peek *u, const struct state *told)
{
    const char *id = u->has_journal ? u->journal.key_new : "";
    if (!w->redis_set_back || !sim_redis_losses(w->redis) || !id[0]) return false;
    return !record_find_const(&told->record, id) && (!told->has_journal || strcmp(told->journal.key_new, id));
}

/* True: not judged now (producer/survey.c). */
static bool restore(struct sim_scheduler *sc, const struct store_peek *u)
{
    struct state s;
    const char *ids[RECORD_KEYS_MAX];
    struct sim_world *w = sc->world;
    if (!states_knows(&w->states, SIM_USER_KEY) || states_find(&w->states, SIM_USER_KEY, &s) < 0) return false;
    for (size_t i = 0; i < s.n_exposed; i++) ids[i] = s.exposed[i];
    const struct journal *j = s.has_journal ? &s.journal : NULL;
    const struct ticket t = {on_restored, sc, 0};
    sc->outranked = is_outranked(w, u, &s);
    int rc = u->has_record || u->has_journal
                 ? store_restore_newer(&sc->store, SIM_USER_KEY, u, &s.record, j, ids, s.n_exposed, t)
                 : store_restore(&sc->store, SIM_USER_KEY, &s.record, j, ids, s.n_exposed, t);
    if (rc < 0) tick_in(sc, TICK_MS);
    return true;
}

/* Work that looks and does not change: audits, polls, waiting for an age that is far away. */
static bool only_looks(const struct sim_world *w, const struct policy_verdict *v)
{
    if (v->kind < 0 || v->kind == JOB_AUDIT || v->reason == JOB_POLL || v->held) return true;
    return v->kind == JOB_ROTATE && !policy_is_due(v) && v->at_ms != TIME_NONE &&
           v->at_ms - sim_wall_ms(&w->sim) > 30 * DAY_MS;
}

static void notice_rest(struct sim_world *w, const struct store_peek *u, const struct policy_verdict *v)
{
    uint64_t digest = sim_world_digest(w);
    const struct sim_swarm *s = &w->o.swarm;
    bool faults_may_come = s->per_thousand && s->until_ms && w->sim.mono_ms - 1000000 < s->until_ms;
    bool open =
        sim_redis_is_down(w->redis) || w->net.effects || sim_messages(w) || !sim_workers_idle(w) || faults_may_come;
    if (open && digest == w->last_digest) return; /* the other scheduler's messages, say */
    if (u->has_record && u->record.state != RECORD_CURRENT && !sim_asks(w))
        return; /* the record says that more comes */
    /* workers go by Redis's clock: by the scheduler's, planned work may be due an hour before */
    const bool planned = policy_is_due(v) && (v->kind == JOB_RETIRE || v->kind == JOB_REAP);
    if (digest != w->last_digest || (planned && !w->planned)) {
        w->planned = planned;
        w->last_digest = digest;
        w->same = 0;
        w->same_since_ms = w->sim.mono_ms;
        return;
    }
    w->same++;
    if (only_looks(w, v))
        w->quiet = w->same > SAME_LOOKS;
    else
        w->quiet = w->same >= SAME_TRIES && w->sim.mono_ms - w->same_since_ms >= SAME_MS;
}

/* Where Redis's clock is behind, what its times put off is due here all the while: to publish it at each tick would use
 * up a history's events, or let no run be the last one. */
static bool is_idle(struct sim_scheduler *s)
{
    const uint64_t digest = sim_world_digest(s->world);
    s->idle = digest == s->digest ? s->idle + 1 : 0;
    s->digest = digest;
    return s->idle >= IDLE_LOOKS;
}

static void publish(struct sim_scheduler *s, const struct policy_verdict *v)
{
    struct job j;
    struct sim_world *w = s->world;
    sim_say(&w->sim, "%s, due: %s %s, %s", s->client.name, job_kind_name(v->kind), job_reason_name(v->reason), v->why);
    sim_fill_job(w, v->kind, v->reason, v->replace_key_id, v->rotation, &j);
    j.urgent = v->urgent;
    for (unsigned i = 0; i < w->o.copies; i++) sim_publish_job(w, &s->client, &j);
}

static void judge(struct sim_scheduler *s, const struct store_peek *u)
{
    struct policy_verdict v;
    struct sim_world *w = s->world;
    int64_t now = sim_wall_ms(&w->sim);
    if (u->err == ERR_NOMEM) { /* only in tests/torture */
        tick_in(s, TICK_MS);
        return;
    }
    if (u->err) {
        sim_violate(&w->truth, "a document in Redis cannot be read");
        return;
    }
    if (states_are_newer(&w->states, SIM_USER_KEY, u) && restore(s, u)) return;
    policy_judge(&w->o.policy, SIM_LICENCE, u, now, &v);
    if (u->lease_ms < 0 && s == &w->schedulers[0]) notice_rest(w, u, &v);
    if (w->quiet) return;
    if (policy_is_due(&v) && !v.held) {
        publish(s, &v);
        tick_in(s, is_idle(s) ? IDLE_MS : w->o.restless ? RESTLESS_MS : TICK_MS);
        return;
    }
    int64_t wait = TICK_MS;
    if (u->lease_ms < 0) {
        s->idle = 0; /* its time has yet to come */
        wait = v.at_ms != TIME_NONE && v.at_ms > now ? v.at_ms - now : w->o.policy.audit_interval_ms;
    }
    if (wait > w->o.policy.audit_interval_ms) wait = w->o.policy.audit_interval_ms;
    tick_in(s, wait);
}

static void on_peek(void *self, uint64_t id, const void *result)
{
    struct sim_scheduler *s = self;
    const struct store_peek_reply *r = result;
    (void)id;
    if (r->err == ERR_CANCELLED) return;
    if (r->err || r->n != 1)
        tick_in(s, TICK_MS);
    else
        judge(s, &r->users[0]);
}

static void on_tick(void *arg)
{
    struct sim_scheduler *s = arg;
    struct sim_world *w = s->world;
    const char *key = SIM_USER_KEY;
    bool waits = !w->o.restless && (sim_messages(w) || !sim_workers_idle(w));
    if (waits || store_peek(&s->store, &key, 1, (struct ticket){on_peek, s, 0}) < 0) tick_in(s, TICK_MS);
}

void sim_scheduler_start(struct sim_world *w)
{
    w->quiet = false;
    w->same = 0;
    w->last_digest = 0;
    for (int i = 0; i < (w->o.two_schedulers ? 2 : 1); i++) {
        struct sim_scheduler *s = &w->schedulers[i];
        s->idle = 0;
        sim_client_dropped(&s->client); /* its looks of before would go on beside the new ones */
        sim_after(&w->sim, 1 + i * 2500, on_tick, s, s);
    }
}

void sim_schedule(struct sim_world *w)
{
    sim_scheduler_start(w);
}
