/* The simulated consumer group (group.h) and the functions of lib/kafka_in.h on it. Cooperative: a rebalance takes only
 * what moves. A member that is silent for a session's time loses its partitions without knowing it. */
#include "tests/sim/group.h"

#include "lib/err.h"
#include "tests/sim/world.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define SESSION_MS 10000

const char *const sim_topic_names[SIM_TOPICS] = {"keyroll.jobs", "keyroll.urgent", "keyroll.retry.30s",
                                                 "keyroll.retry.5m"};
const char *const sim_topic_dead = "keyroll.dead";

static struct sim *sim_of(const struct sim_group *g)
{
    return &g->world->sim;
}

static struct sim_log *log_named(struct sim_group *g, const char *name, int *ret_topic)
{
    for (int i = 0; i < SIM_TOPICS; i++) {
        if (strcmp(sim_topic_names[i], name)) continue;
        *ret_topic = i;
        return &g->logs[i];
    }
    return NULL;
}

static struct sim_worker *owner_of(const struct sim_log *l)
{
    return l->owner >= 0 ? &l->group->world->workers[l->owner] : NULL;
}

static int topic_of(const struct sim_log *l)
{
    return (int)(l - l->group->logs);
}

/* ---- delivery -----------------------------------------------------------------------------------------------------
 */

static void fetch(struct sim_log *l);

static bool flows(const struct sim_log *l)
{
    const struct sim_worker *k = owner_of(l);
    if (!k || !k->alive || sim_client_frozen(&k->client) || k->in.stopped) return false;
    return k->in.t[topic_of(l)].assigned && !k->in.t[topic_of(l)].paused;
}

static void on_fetch(void *arg)
{
    struct sim_log *l = arg;
    l->fetching = false;
    if (!flows(l)) return;
    struct sim_worker *k = owner_of(l);
    const int t = topic_of(l);
    if (k->in.t[t].position < l->start) k->in.t[t].position = l->start; /* auto.offset.reset = earliest */
    if (k->in.t[t].position >= l->end) return;
    const int64_t offset = k->in.t[t].position++;
    const struct sim_kafka_message *m = sim_kafka_at(l->group->world->kafka, l->v[offset].message);
    const struct kafka_message_in in = {sim_topic_names[t], 0,          offset,       m->key, strlen(m->key), m->value,
                                        m->value_len,       m->headers, m->n_headers, -1};
    sim_worker_intake_calls(k, "take");
    intake_on_message(k->intake, &in);
    sim_intake_busy(k);
    fetch(l);
}

static void fetch(struct sim_log *l)
{
    if (l->fetching || !flows(l) || owner_of(l)->in.t[topic_of(l)].position >= l->end) return;
    l->fetching = true;
    sim_after(sim_of(l->group), sim_between(sim_of(l->group), 1, 30), on_fetch, l, l->group->world);
}

static void add_entry(struct sim_log *l, size_t index, const char *job_id)
{
    if (l->end == l->cap) {
        l->cap = l->cap ? l->cap * 2 : 32;
        l->v = realloc(l->v, (size_t)l->cap * sizeof(*l->v));
        if (!l->v) abort();
    }
    l->v[l->end] = (struct sim_entry){.message = index};
    snprintf(l->v[l->end++].job_id, sizeof(l->v->job_id), "%s", job_id);
    fetch(l);
}

static const char *job_id_of(const struct sim_kafka_message *m)
{
    for (size_t i = 0; i < m->n_headers; i++)
        if (!strcmp(m->headers[i].name, "keyroll-job-id")) return m->headers[i].value;
    return "";
}

void sim_group_append(struct sim_group *g, const struct sim_kafka_message *m, size_t index)
{
    int topic = SIM_TOPICS;
    struct sim_log *l = log_named(g, m->topic, &topic);
    const char *id = job_id_of(m);
    if (!l && strcmp(m->topic, sim_topic_dead)) return;
    for (int i = 0; i < SIM_TOPICS && (!l || topic >= SIM_RETRY_SHORT); i++)
        for (int64_t o = g->logs[i].start; o < g->logs[i].end; o++)
            if (!strcmp(g->logs[i].v[o].job_id, id)) g->logs[i].v[o].copy = true;
    if (l) add_entry(l, index, id);
}

/* ---- what the intake calls ------------------------------------------------------------------------------------------
 */

int kafka_in_pause(struct kafka_in *k, const char *topic, int32_t partition)
{
    int t;
    (void)partition;
    if (!log_named(&k->worker->world->group, topic, &t) || !k->t[t].assigned) return ERR_NOT_FOUND;
    k->t[t].paused = true;
    return 0;
}

int kafka_in_resume(struct kafka_in *k, const char *topic, int32_t partition, int64_t offset)
{
    int t;
    struct sim_log *l = log_named(&k->worker->world->group, topic, &t);
    (void)partition;
    if (!l || !k->t[t].assigned) return ERR_NOT_FOUND;
    if (!k->t[t].paused) return 0;
    k->t[t].paused = false;
    if (offset >= 0) k->t[t].position = offset;
    fetch(l);
    return 0;
}

void kafka_in_stop_intake(struct kafka_in *k)
{
    k->stopped = true;
}

/* ---- commits ------------------------------------------------------------------------------------------------------
 */

struct commit_op {
    struct sim_op op;
    struct sim_worker *worker;
    unsigned epochs[SIM_TOPICS];
    int64_t offsets[SIM_TOPICS]; /* -1 not in it */
    int err;
};

/* I7. What was done is seen by a hook on the saga's end, what was handed on by its arrival at the broker. */
static void judge_commit(struct sim_log *l, int64_t to)
{
    for (int64_t o = l->committed < l->start ? l->start : l->committed; o < to && o < l->end; o++)
        if (!l->v[o].done && !l->v[o].more && !l->v[o].copy)
            sim_violate(&l->group->world->truth, "I7: offset %lld of %s is committed, but its outcome is nowhere",
                        (long long)o, sim_topic_names[topic_of(l)]);
}

static void take_commit(struct sim_log *l, int64_t to)
{
    judge_commit(l, to);
    l->committed = to;
}

/* A member that was thrown out, or lost the partition, commits nothing: the broker knows its generation. */
static void commit_effect(struct sim_op *op)
{
    struct commit_op *o = (struct commit_op *)op;
    struct sim_group *g = &o->worker->world->group;
    for (int t = 0; t < SIM_TOPICS; t++)
        if (o->offsets[t] >= 0 && g->logs[t].epoch != o->epochs[t]) o->err = ERR_CANCELLED;
    for (int t = 0; t < SIM_TOPICS && !o->err; t++)
        if (o->offsets[t] >= 0) take_commit(&g->logs[t], o->offsets[t]);
}

static void commit_answer(struct sim_op *op, int err)
{
    struct commit_op *o = (struct commit_op *)op;
    if (err == ERR_CANCELLED) return; /* its process is gone */
    struct kafka_partition p[SIM_TOPICS];
    size_t n = 0;
    for (int t = 0; t < SIM_TOPICS; t++)
        if (o->offsets[t] >= 0) p[n++] = (struct kafka_partition){sim_topic_names[t], 0, o->offsets[t]};
    sim_worker_intake_calls(o->worker, "committed");
    intake_on_committed(o->worker->intake, p, n, err ? err : o->err);
}

static void commit_free(struct sim_op *op)
{
    free(op);
}

static const struct sim_op_class commit_class = {SIM_KAFKA,       true,           commit_effect,     commit_answer,
                                                 commit_free,     ERR_KAFKA_DOWN, ERR_KAFKA_REFUSED, ERR_TIMEOUT_SENT,
                                                 ERR_TIMEOUT_SENT};

static void no_ticket(void *self, uint64_t id, const void *result)
{
    (void)self;
    (void)id;
    (void)result;
}

int kafka_in_commit(struct kafka_in *k, const struct kafka_partition *p, size_t n)
{
    struct sim_group *g = &k->worker->world->group;
    struct commit_op *o = calloc(1, sizeof(*o));
    if (!o) abort();
    o->worker = k->worker;
    for (int t = 0; t < SIM_TOPICS; t++) o->offsets[t] = -1;
    for (size_t i = 0; i < n; i++) {
        int t = 0;
        const struct sim_log *l = log_named(g, p[i].topic, &t);
        if (!l) continue;
        o->epochs[t] = l->owner == k->worker - g->world->workers ? l->epoch : 0;
        o->offsets[t] = p[i].offset;
    }
    sim_worker_intake_calls(k->worker, "commit");
    sim_op_begin(&g->world->net, &k->worker->client, &o->op, &commit_class, "commit", true, 5000,
                 (struct ticket){no_ticket, NULL, 0});
    return 0;
}

/* Within a rebalance: done at once, or its answer is lost (with or without the effect). */
int kafka_in_commit_sync(struct kafka_in *k, const struct kafka_partition *p, size_t n, int64_t wait_ms)
{
    struct sim_group *g = &k->worker->world->group;
    (void)wait_ms;
    int luck = sim_luck(g->world);
    for (size_t i = 0; i < n && luck != 1; i++) {
        int t;
        struct sim_log *l = log_named(g, p[i].topic, &t);
        if (l && l->owner == k->worker - g->world->workers) take_commit(l, p[i].offset);
    }
    return luck ? ERR_TIMEOUT_SENT : 0;
}

/* ---- membership ---------------------------------------------------------------------------------------------------
 */

static void give_up(struct sim_worker *k, int t, bool lost)
{
    const struct kafka_partition p = {sim_topic_names[t], 0, -1};
    if (!k->in.t[t].assigned) return;
    k->in.t[t].assigned = false;
    if (!k->alive) return;
    sim_worker_intake_calls(k, "revoked");
    intake_on_revoked(k->intake, &p, 1, lost);
}

static void give(struct sim_log *l, int to)
{
    struct sim_worker *k = &l->group->world->workers[to];
    const int t = topic_of(l);
    const struct kafka_partition p = {sim_topic_names[t], 0, -1};
    l->owner = to;
    l->epoch++;
    k->in.t[t].assigned = true;
    k->in.t[t].paused = false;
    k->in.t[t].position = l->committed > l->start ? l->committed : l->start;
    sim_say(sim_of(l->group), "%s gets %s at %lld", k->name, sim_topic_names[t], (long long)k->in.t[t].position);
    sim_worker_intake_calls(k, "assigned");
    intake_on_assigned(k->intake, &p, 1);
    fetch(l);
}

static int any_member(const struct sim_group *g)
{
    int able[SIM_WORKERS_MAX], n = 0;
    for (unsigned i = 0; i < g->world->o.workers; i++) {
        const struct sim_worker *k = &g->world->workers[i];
        if (k->alive && k->in.joined && !sim_client_frozen(&k->client)) able[n++] = (int)i;
    }
    return n ? able[sim_random(sim_of(g)) % (unsigned)n] : -1;
}

static void move(struct sim_log *l, bool lost)
{
    struct sim_worker *k = owner_of(l);
    if (k) give_up(k, topic_of(l), lost);
    l->owner = -1;
    l->epoch++;
    int to = any_member(l->group);
    if (to >= 0) give(l, to);
}

static void on_rebalance(void *arg)
{
    struct sim_group *g = arg;
    g->rebalancing = false;
    for (int t = 0; t < SIM_TOPICS; t++)
        if (g->logs[t].owner == -1) move(&g->logs[t], false);
}

static void rebalance_in(struct sim_group *g, int64_t delay_ms)
{
    if (g->rebalancing) return;
    g->rebalancing = true;
    sim_after(sim_of(g), delay_ms, on_rebalance, g, g->world);
}

void sim_group_join(struct sim_worker *k)
{
    k->in = (struct kafka_in){.worker = k, .joined = true};
    rebalance_in(&k->world->group, sim_between(&k->world->sim, 1, 200));
}

void sim_group_leave(struct sim_worker *k)
{
    struct sim_group *g = &k->world->group;
    k->in.joined = false;
    for (int t = 0; t < SIM_TOPICS; t++) {
        if (owner_of(&g->logs[t]) != k) continue;
        k->in.t[t].assigned = false;
        g->logs[t].owner = -1;
        g->logs[t].epoch++;
    }
    rebalance_in(g, sim_between(&k->world->sim, 1, 200));
}

#define DEAD -2

static void on_session_over(void *arg)
{
    struct sim_group *g = arg;
    for (int t = 0; t < SIM_TOPICS; t++)
        if (g->logs[t].owner == DEAD) g->logs[t].owner = -1;
    rebalance_in(g, 1);
}

void sim_group_died(struct sim_worker *k)
{
    struct sim_group *g = &k->world->group;
    k->in.joined = false;
    for (int t = 0; t < SIM_TOPICS; t++) {
        if (owner_of(&g->logs[t]) != k) continue;
        g->logs[t].owner = DEAD;
        g->logs[t].epoch++;
    }
    sim_after(&k->world->sim, SESSION_MS, on_session_over, g, g->world);
}

void sim_group_silent(struct sim_worker *k)
{
    struct sim_group *g = &k->world->group;
    k->in.joined = false;
    for (int t = 0; t < SIM_TOPICS; t++) { /* it goes on believing that they are its own */
        if (owner_of(&g->logs[t]) != k) continue;
        g->logs[t].owner = -1;
        g->logs[t].epoch++;
    }
    sim_say(&k->world->sim, "%s is thrown out of its group", k->name);
    rebalance_in(g, 1);
}

void sim_group_woke(struct sim_worker *k)
{
    struct sim_group *g = &k->world->group;
    if (k->in.joined) {
        for (int t = 0; t < SIM_TOPICS; t++) fetch(&g->logs[t]);
        rebalance_in(g, 1); /* nobody else was there while it slept */
        return;
    }
    for (int t = 0; t < SIM_TOPICS; t++) give_up(k, t, true);
    k->in.joined = true;
    k->in.stopped = k->env.draining;
    rebalance_in(g, sim_between(&k->world->sim, 1, 200));
}

/* ---- faults -------------------------------------------------------------------------------------------------------
 */

void sim_group_shuffle(struct sim_group *g)
{
    sim_say(sim_of(g), "the group rebalances");
    for (int t = 0; t < SIM_TOPICS; t++) {
        const struct sim_worker *k = owner_of(&g->logs[t]);
        if (k && !sim_client_frozen(&k->client)) move(&g->logs[t], sim_random(sim_of(g)) % 4 == 0);
    }
}

void sim_group_redeliver(struct sim_group *g, enum sim_topic t, int64_t back)
{
    struct sim_log *l = &g->logs[t];
    const struct sim_worker *k = owner_of(l);
    if (k && sim_client_frozen(&k->client)) return;
    sim_say(sim_of(g), "the last commits of %s are lost", sim_topic_names[t]);
    if (l->committed >= 0) l->committed = l->committed > l->start + back ? l->committed - back : l->start;
    move(l, true);
}

void sim_group_truncate(struct sim_group *g, enum sim_topic t)
{
    struct sim_log *l = &g->logs[t];
    sim_say(sim_of(g), "%s is truncated", sim_topic_names[t]);
    l->start = l->end;
    if (l->committed >= 0 && l->committed < l->start) l->committed = l->start;
}

void sim_group_recreate(struct sim_group *g, enum sim_topic t)
{
    struct sim_log *l = &g->logs[t];
    const struct sim_worker *k = owner_of(l);
    if (k && sim_client_frozen(&k->client)) return;
    sim_say(sim_of(g), "%s is deleted and made anew", sim_topic_names[t]);
    if (k) give_up(&g->world->workers[l->owner], (int)t, true);
    l->owner = -1;
    l->epoch++;
    l->start = l->end = 0;
    l->committed = -1;
    rebalance_in(g, 500);
}

int64_t sim_group_lag(const struct sim_group *g)
{
    int64_t lag = 0;
    for (int t = 0; t < SIM_TOPICS; t++) {
        const struct sim_log *l = &g->logs[t];
        lag += l->end - (l->committed > l->start ? l->committed : l->start);
    }
    return lag;
}

void sim_group_init(struct sim_group *g, struct sim_world *w)
{
    memset(g, 0, sizeof(*g));
    g->world = w;
    for (int t = 0; t < SIM_TOPICS; t++) {
        g->logs[t].group = g;
        g->logs[t].owner = -1;
        g->logs[t].committed = -1;
        g->logs[t].epoch = 1;
    }
}

void sim_group_done(struct sim_group *g)
{
    for (int t = 0; t < SIM_TOPICS; t++) free(g->logs[t].v);
}
