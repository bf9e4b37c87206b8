/* The simulated scheduler (world.h): looks at Redis as the real one does, puts back what Redis lost (R8), and publishes
 * what the real policy calls due. It also notices when the world has come to rest: looks that only look change nothing
 * any more. */
#include "tests/sim/world.h"

#include "lib/err.h"

#include <stdlib.h>
#include <string.h>

#define TICK_MS    5000
#define DAY_MS     INT64_C(86400000)
#define SAME_LOOKS 2  /* looks without a change until the world counts as quiet */
#define SAME_TRIES 30 /* the same for work that is tried again and again: a named state, held by the record */

static void on_tick(void *arg);

static void tick_in(struct sim_world *w, int64_t delay_ms)
{
    if (!w->quiet) sim_after(&w->sim, delay_ms > 0 ? delay_ms : TICK_MS, on_tick, w, w);
}

static void on_restored(void *self, uint64_t id, const void *result)
{
    struct sim_world *w = self;
    const struct store_reply *r = result;
    (void)id;
    if (r->err == ERR_CANCELLED) return;
    if (!r->err && r->version == 1) {
        w->restored++;
        sim_say(&w->sim, "the scheduler puts the state back");
    }
    tick_in(w, TICK_MS);
}

static bool restore(struct sim_world *w)
{
    struct state s;
    const char *ids[RECORD_KEYS_MAX];
    if (!states_knows(&w->states, SIM_USER_KEY) || states_find(&w->states, SIM_USER_KEY, &s) < 0) return false;
    for (size_t i = 0; i < s.n_exposed; i++) ids[i] = s.exposed[i];
    return store_restore(&w->scheduler_store, SIM_USER_KEY, &s.record, s.has_journal ? &s.journal : NULL, ids,
                         s.n_exposed, (struct ticket){on_restored, w, 0}) == 0;
}

/* Work that looks and does not change: audits, polls, waiting for an age that is far away. */
static bool only_looks(const struct sim_world *w, const struct policy_verdict *v)
{
    if (v->kind < 0 || v->kind == JOB_AUDIT || v->reason == JOB_POLL || v->held) return true;
    return v->kind == JOB_ROTATE && !policy_is_due(v) && v->at_ms != TIME_NONE &&
           v->at_ms - sim_wall_ms(&w->sim) > 30 * DAY_MS;
}

static void notice_rest(struct sim_world *w, const struct policy_verdict *v)
{
    uint64_t digest = sim_world_digest(w);
    bool faults_may_come = w->o.swarm.per_thousand && w->sim.mono_ms - 1000000 < w->o.swarm.until_ms;
    if (digest != w->last_digest || w->net.effects || faults_may_come) {
        w->last_digest = digest;
        w->same = 0;
        return;
    }
    w->same++;
    if (w->same >= (only_looks(w, v) ? SAME_LOOKS + 1 : SAME_TRIES)) w->quiet = true;
}

static void publish(struct sim_world *w, const struct policy_verdict *v)
{
    struct job j;
    sim_say(&w->sim, "due: %s %s, %s", job_kind_name(v->kind), job_reason_name(v->reason), v->why);
    sim_fill_job(w, v->kind, v->reason, v->replace_key_id, v->rotation, &j);
    j.urgent = v->urgent;
    for (unsigned i = 0; i < w->o.copies; i++) sim_publish_job(w, &j, 0, 1);
}

static void judge(struct sim_world *w, const struct store_peek *u)
{
    struct policy_verdict v;
    int64_t now = sim_wall_ms(&w->sim);
    if (u->err) {
        sim_violate(&w->truth, "a document in Redis cannot be read");
        return;
    }
    if (!u->has_record && !u->has_journal && u->lease_ms < 0 && restore(w)) return;
    policy_judge(&w->o.policy, SIM_LICENCE, u, now, &v);
    if (u->lease_ms < 0) notice_rest(w, &v);
    if (w->quiet) return;
    if (policy_is_due(&v) && !v.held) {
        publish(w, &v);
        tick_in(w, TICK_MS);
        return;
    }
    int64_t wait = TICK_MS;
    if (u->lease_ms < 0) wait = v.at_ms != TIME_NONE && v.at_ms > now ? v.at_ms - now : w->o.policy.audit_interval_ms;
    if (wait > w->o.policy.audit_interval_ms) wait = w->o.policy.audit_interval_ms;
    tick_in(w, wait);
}

static void on_peek(void *self, uint64_t id, const void *result)
{
    struct sim_world *w = self;
    const struct store_peek_reply *r = result;
    (void)id;
    w->asking = false;
    if (r->err == ERR_CANCELLED) return;
    if (r->err || r->n != 1)
        tick_in(w, TICK_MS);
    else
        judge(w, &r->users[0]);
}

static void on_tick(void *arg)
{
    struct sim_world *w = arg;
    const char *key = SIM_USER_KEY;
    if (w->messages || !sim_workers_idle(w)) {
        tick_in(w, TICK_MS);
        return;
    }
    w->scheduler.table = NULL;
    w->asking = store_peek(&w->scheduler_store, &key, 1, (struct ticket){on_peek, w, 0}) == 0;
    if (!w->asking) tick_in(w, TICK_MS);
}

void sim_scheduler_start(struct sim_world *w)
{
    w->quiet = false;
    w->same = 0;
    w->last_digest = 0;
    sim_after(&w->sim, 1, on_tick, w, w);
}

void sim_schedule(struct sim_world *w)
{
    sim_scheduler_start(w);
}
