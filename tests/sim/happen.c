/* Happenings (happen.h). All choices come from arg, so that a history can be told again. */
#include "tests/sim/happen.h"

#include <string.h>

#define HOUR_MS INT64_C(3600000)

static const char *const names[] = {
#define HAPPENING_NAME(name, text) text,
    SIM_HAPPENINGS(HAPPENING_NAME)
#undef HAPPENING_NAME
};

const char *sim_happening_name(int n)
{
    return names[n];
}

static void ignore(void *self, uint64_t id, const void *result)
{
    (void)self;
    (void)id;
    (void)result;
}

/* The arg-th key that exists; NULL: none. */
static struct sim_key *pick_key(struct sim_world *w, int64_t arg)
{
    size_t n = sim_truth_count(&w->truth), at = n ? (size_t)arg % n : 0;
    for (size_t i = 0; i < w->truth.n; i++)
        if (w->truth.keys[i].exists && at-- == 0) return &w->truth.keys[i];
    return NULL;
}

static void expose(struct sim_world *w)
{
    struct sim_key *k = sim_truth_find(&w->truth, w->truth.instance.id);
    if (!k) return;
    k->exposed = true;
    sim_say(&w->sim, "%s is exposed", k->id);
    (void)!store_mark_exposed(&w->person_store, SIM_USER_KEY, k->id, (struct ticket){ignore, NULL, 0});
}

static void operator_asks(struct sim_world *w)
{
    struct record r;
    bool has = sim_record(w, &r);
    const struct record_key *k = has ? record_current(&r) : NULL;
    sim_publish(w, JOB_ROTATE, JOB_OPERATOR, k ? k->id : "", has ? r.rotation : 0);
}

static void late_copy(struct sim_world *w, int64_t arg)
{
    const struct sim_log *l = &w->group.logs[arg % 2 ? SIM_JOBS : SIM_URGENT];
    if (!l->end) return;
    const struct sim_kafka_message *m = sim_kafka_at(w->kafka, l->v[arg / 2 % l->end].message);
    const struct kafka_message_out again = {m->topic,     m->key,     strlen(m->key), m->value,
                                            m->value_len, m->headers, m->n_headers};
    const struct kafka_port port = sim_kafka_port(w->kafka, &w->person);
    (void)!port.produce(port.self, &again, (struct ticket){ignore, NULL, 0});
}

static void up_again(void *arg)
{
    sim_instance_down(((struct sim_world *)arg)->instance, false);
}

static void writes_again(void *arg)
{
    sim_instance_refuse_writes(((struct sim_world *)arg)->instance, false);
}

static void tests_again(void *arg)
{
    sim_instance_fail_tests(((struct sim_world *)arg)->instance, false);
}

static void sees_again(void *arg)
{
    sim_aws_blind(((struct sim_world *)arg)->aws, false);
}

static void of_the_instance(struct sim_world *w, int n, int64_t arg)
{
    struct sim_key *k = pick_key(w, arg);
    if (n == HAPPEN_INSTANCE_DOWN) {
        sim_instance_down(w->instance, true);
        sim_after(&w->sim, HOUR_MS, up_again, w, w);
    } else if (n == HAPPEN_WRITES_REFUSED) {
        sim_instance_refuse_writes(w->instance, true);
        sim_after(&w->sim, HOUR_MS, writes_again, w, w);
    } else if (n == HAPPEN_TESTS_FAIL) {
        sim_instance_fail_tests(w->instance, true);
        sim_after(&w->sim, HOUR_MS, tests_again, w, w);
    } else if (k && k->was_shown) {
        sim_restore_instance(w, k);
    }
}

/* Whether a stranger's change of this key leaves something that only a person can judge. */
static bool hurts(const struct sim_world *w, const struct sim_key *k, int n)
{
    if (n == HAPPEN_STRANGER_ACTIVATES) return k->status == AWS_KEY_INACTIVE;
    if (n == HAPPEN_STRANGER_DEACTIVATES && k->status == AWS_KEY_INACTIVE) return false;
    const bool held = w->truth.instance.any && !strcmp(w->truth.instance.id, k->id);
    return held || k == &w->truth.keys[w->truth.n - 1];
}

static void of_strangers(struct sim_world *w, int n, int64_t arg)
{
    struct sim_key *k = pick_key(w, arg);
    if (n == HAPPEN_STRANGER_MAKES ? sim_truth_count(&w->truth) < 2 : k && hurts(w, k, n)) w->stranger_hurts = true;
    if (n == HAPPEN_STRANGER_MAKES && sim_truth_count(&w->truth) < 2) {
        k = sim_truth_put(&w->truth, AWS_KEY_ACTIVE, 0, false);
        if (arg / 2 % 2) sim_truth_touch(&w->truth, k->id);
    } else if (k && n == HAPPEN_STRANGER_DELETES)
        sim_truth_delete(&w->truth, k->id, SIM_BY_STRANGER);
    else if (k && n == HAPPEN_STRANGER_DEACTIVATES)
        sim_truth_update(&w->truth, k->id, AWS_KEY_INACTIVE, SIM_BY_STRANGER);
    else if (k && n == HAPPEN_STRANGER_ACTIVATES)
        sim_truth_update(&w->truth, k->id, AWS_KEY_ACTIVE, SIM_BY_STRANGER);
}

static void of_kafka(struct sim_world *w, int n, int64_t arg)
{
    const enum sim_topic t = (enum sim_topic)(arg % SIM_TOPICS);
    if (n == HAPPEN_SHUFFLE)
        sim_group_shuffle(&w->group);
    else if (n == HAPPEN_REDELIVER)
        sim_group_redeliver(&w->group, t, 1 + arg / SIM_TOPICS % 4);
    else if (n == HAPPEN_TRUNCATE)
        sim_group_truncate(&w->group, t);
    else
        sim_group_recreate(&w->group, t);
}

static void of_redis(struct sim_world *w, int n, int64_t arg)
{
    static const char *const what[] = {"lease", "journal", "record", "exposed"};
    sim_redis_goes(w);
    if (n == HAPPEN_FLUSH)
        sim_redis_flush(w->redis);
    else if (n == HAPPEN_REDIS_CLOCK)
        sim_step_redis_clock(w,
                             (arg / 8 % 2 ? 1 : -1) * (arg / 16 % 4 ? HOUR_MS / 6 : HOUR_MS)); /* an hour takes long */
    else if (n == HAPPEN_EVICT)
        sim_evict(w, what[arg % 4]);
    else
        sim_redis_restart(w->redis, 100 + arg % 20000,
                          n == HAPPEN_REDIS_RESTART    ? 0
                          : n == HAPPEN_REDIS_FAILOVER ? (int)(1 + arg % 8)
                                                       : -1);
}

static void of_workers(struct sim_world *w, int n, int64_t arg)
{
    struct sim_worker *k = &w->workers[arg % w->o.workers];
    if (n == HAPPEN_CRASH)
        sim_worker_crash(k);
    else if (n == HAPPEN_DRAIN)
        sim_worker_drain(k);
    else if (n == HAPPEN_FREEZE && k->alive)
        sim_client_freeze(&k->client, 1000 + arg % 100000);
    else if (n == HAPPEN_CLOCK) {
        k->wall_off_ms += arg / 8 % 2 ? HOUR_MS : -HOUR_MS;
        sim_say(&w->sim, "the clock of %s is off by %lld ms", k->name, (long long)k->wall_off_ms);
    }
}

void sim_happen(struct sim_world *w, int n, int64_t arg)
{
    sim_say(&w->sim, "-- %s", names[n]);
    switch (n) {
    case HAPPEN_CRASH:
    case HAPPEN_FREEZE:
    case HAPPEN_DRAIN:
    case HAPPEN_CLOCK:
        of_workers(w, n, arg);
        return;
    case HAPPEN_REDIS_RESTART:
    case HAPPEN_REDIS_FAILOVER:
    case HAPPEN_REDIS_EMPTY:
    case HAPPEN_FLUSH:
    case HAPPEN_EVICT:
    case HAPPEN_REDIS_CLOCK:
        of_redis(w, n, arg);
        return;
    case HAPPEN_SHUFFLE:
    case HAPPEN_REDELIVER:
    case HAPPEN_TRUNCATE:
    case HAPPEN_RECREATE:
        of_kafka(w, n, arg);
        return;
    case HAPPEN_LATE_COPY:
        late_copy(w, arg);
        return;
    case HAPPEN_OPERATOR:
        operator_asks(w);
        return;
    case HAPPEN_EXPOSED:
        expose(w);
        return;
    case HAPPEN_BLIND:
        sim_aws_blind(w->aws, true);
        sim_after(&w->sim, 24 * HOUR_MS, sees_again, w, w);
        return;
    case HAPPEN_INSTANCE_DOWN:
    case HAPPEN_WRITES_REFUSED:
    case HAPPEN_TESTS_FAIL:
    case HAPPEN_RESTORE:
        of_the_instance(w, n, arg);
        return;
    default:
        of_strangers(w, n, arg);
        return;
    }
}
