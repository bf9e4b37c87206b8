/* Building a world, running it, and the judge at its end (world.h). */
#include "tests/sim/world.h"

#include "lib/err.h"
#include "lib/mutant.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LEASE_TTL_MS 15000
#define DAY_MS       INT64_C(86400000)
#define HOUR_MS      INT64_C(3600000)
#define EVENTS_MAX   400000
#define LOOK_MS      6000 /* from asking for the marks to the call that makes a key Active */

int keyroll_mutant = MUTANT_NONE;

const char *const sim_topic_events = "keyroll.events", *const sim_topic_keys = "keyroll.keys";

static const int64_t rungs[] = {30000, 300000};

void sim_options_default(struct sim_options *o, uint64_t seed)
{
    *o = (struct sim_options){
        .seed = seed,
        .can = {true, true, true, 120000, 10000, 10000, 30000},
        .rotation = {.overlap_ms = 25 * 3600000,
                     .quarantine_ms = DAY_MS,
                     .skew_limit_ms = 900000,
                     .create_doubt_ms = 300000,
                     .newcomer_wait_ms = 3600000,
                     .settle_successes = 3,
                     .settle_interval_ms = 2000,
                     .settle_timeout_ms = 120000,
                     .retire_watch_ms = 60000,
                     .assisted_poll_ms = 300000,
                     .mutate_timeout_ms = 10000,
                     .read_timeout_ms = 30000,
                     .max_per_hour = 20,
                     .retry_delays_ms = rungs,
                     .n_retry_delays = ARRAY_LEN(rungs),
                     .retry_cap_ms = 6 * 3600000,
                     .max_attempts = 8},
        .policy = {.max_age_ms = 80 * DAY_MS,
                   .audit_interval_ms = DAY_MS,
                   .assisted_poll_ms = 300000,
                   .rungs = ARRAY_LEN(rungs)},
    };
}

/* One escrow for all worlds of a process (secrets do not outlive a fork): its master key is fixed, so that traces
 * repeat.
 */
static const struct escrow *the_escrow(void)
{
    static struct escrow *e, *volatile inherited; /* its memory is gone here: not used, and no leak */
    static pid_t made_by;
    if (e && e != inherited && made_by == getpid()) return e;
    inherited = e;
    made_by = getpid();
    struct sim fixed;
    char path[] = "/tmp/keyroll-sim-escrow-XXXXXX", *reason = NULL;
    int fd = mkstemp(path);
    if (fd < 0) abort();
    close(fd);
    unlink(path);
    sim_init(&fixed, 1, NULL);
    if (escrow_make_file(&fixed.rng, path) < 0 || escrow_load(path, &e, &reason) < 0) abort();
    unlink(path);
    sim_done(&fixed);
    return e;
}

/* ---- faults -------------------------------------------------------------------------------------------------------
 */

static bool matches(const struct sim_rule *r, const struct sim_call *c)
{
    const struct sim_client *by = c->client;
    if (r->table && (!by->table || strcmp(r->table, by->table))) return false;
    if (r->step && (!by->step || strcmp(r->step, by->step))) return false;
    if (r->row >= 0 && r->row != by->row) return false;
    if (r->edge >= 0 && r->edge != (int)c->edge) return false;
    return !r->op || !strcmp(r->op, c->op);
}

/* Topics are named by the message, which goes. */
const char *sim_lasting_name(const struct sim_call *c)
{
    const char *topic = c->op;
    if (c->edge != SIM_KAFKA) return topic;
    const char *const names[] = {sim_topic_events, sim_topic_keys, sim_topic_dead, "commit"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (!strcmp(names[i], topic)) return names[i];
    for (size_t i = 0; i < SIM_TOPICS; i++)
        if (!strcmp(sim_topic_names[i], topic)) return sim_topic_names[i];
    return topic;
}

static void log_cell(struct sim_world *w, const struct sim_call *c)
{
    if (!c->client->table) return;
    for (size_t i = 0; i < w->n_cells; i++) {
        const struct sim_cell *x = &w->cells[i];
        if (!strcmp(x->table, c->client->table) && x->row == c->client->row && !strcmp(x->op, c->op)) return;
    }
    if (w->n_cells == w->cap_cells) {
        w->cap_cells = w->cap_cells ? w->cap_cells * 2 : 64;
        w->cells = realloc(w->cells, w->cap_cells * sizeof(*w->cells));
        if (!w->cells) abort();
    }
    const char *op = sim_lasting_name(c);
    w->cells[w->n_cells++] =
        (struct sim_cell){c->client->table, c->client->step, op, c->client->row, c->edge, c->writes};
}

struct act {
    struct sim_world *w;
    void (*fn)(struct sim_world *w);
};

static void on_act(void *arg)
{
    struct act *a = arg;
    a->fn(a->w);
    free(a);
}

static void act_soon(struct sim_world *w, void (*fn)(struct sim_world *w))
{
    struct act *a = malloc(sizeof(*a));
    if (!a) abort();
    *a = (struct act){w, fn};
    sim_after(&w->sim, 0, on_act, a, NULL);
}

const char *sim_fault_why_not(enum sim_edge edge, const char *op, bool writes, bool worker, enum sim_fault_kind k)
{
    const bool is_http = edge == SIM_AWS || edge == SIM_INSTANCE;
    switch (k) {
    case SIM_CRASH_BEFORE:
    case SIM_CRASH_AFTER:
    case SIM_FREEZE_BEFORE:
    case SIM_FREEZE_AFTER:
        return worker ? NULL : "only workers crash and freeze";
    case SIM_UNSENT:
        return is_http ? NULL : "Redis and Kafka clients know of no call that was queued and certainly never sent";
    case SIM_IGNORED:
    case SIM_REFUSED_LATER:
    case SIM_APPLIED_LATER:
        return edge == SIM_INSTANCE && writes ? NULL : "only writes to the instance";
    case SIM_STALE:
        return is_http && !writes ? NULL : "only lists of AWS and reads of the instance lag behind";
    case SIM_PAGED:
        return !strcmp(op, aws_op_name(AWS_LIST_ACCESS_KEYS)) ? NULL : "only lists of keys have pages";
    case SIM_TEST_FAILS:
        return edge == SIM_INSTANCE && !strcmp(op, instance_op_name(INSTANCE_TEST)) ? NULL : "only the instance's test";
    case SIM_LOGIN:
        return edge == SIM_INSTANCE ? NULL : "only the instance has a login";
    case SIM_LATE_EFFECT:
        return edge != SIM_KAFKA ? NULL : "an idempotent producer keeps its order, and so does a consumer's connection";
    case SIM_LATE_ANSWER:
        return strcmp(op, "commit") != 0 ? NULL : "librdkafka answers a commit in time";
    default:
        return NULL;
    }
}

uint64_t sim_fate(struct sim_world *w)
{
    uint64_t z = w->fate += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static int64_t fate_between(struct sim_world *w, int64_t least, int64_t most)
{
    return least + (int64_t)(sim_fate(w) % (uint64_t)(most - least + 1));
}

/* How late or long, where that says something. Later than these nothing lands: the instance's write life, AWS's skew
 * limit. */
static int64_t delay_of(struct sim_world *w, const struct sim_call *c, enum sim_fault_kind k)
{
    const int64_t most = c->edge == SIM_INSTANCE ? w->o.can.write_life_ms
                         : c->edge == SIM_AWS    ? w->o.rotation.skew_limit_ms
                                                 : 20000;
    switch (k) {
    case SIM_LATE_EFFECT:
        return fate_between(w, 100, most - 1000);
    case SIM_REFUSED_LATER:
    case SIM_APPLIED_LATER:
        return fate_between(w, 100, most - 1000);
    case SIM_FREEZE_BEFORE:
        return fate_between(w, 1000, c->edge == SIM_INSTANCE ? most - 1000 : 60000);
    case SIM_FREEZE_AFTER:
        return fate_between(w, 1000, 1000000);
    case SIM_SLOW:
    case SIM_PAGED:
        return fate_between(w, 100, 8000);
    default:
        return 0;
    }
}

static void note_plan(struct sim_world *w, int what, int64_t arg)
{
    if (w->plan.n < SIM_PLAN_MAX) w->plan.v[w->plan.n++] = (struct sim_plan_item){w->calls, what, arg};
}

static bool swarm_is_out(const struct sim_world *w)
{
    const struct sim_swarm *s = &w->o.swarm;
    if (!s->per_thousand || (s->calls && w->calls > s->calls) || w->plan.n >= SIM_PLAN_MAX) return false;
    return !s->until_ms || w->sim.mono_ms - 1000000 < s->until_ms;
}

/* A kind for this call, or SIM_FINE. */
static enum sim_fault_kind swarm(struct sim_world *w)
{
    const struct sim_swarm *s = &w->o.swarm;
    if (!swarm_is_out(w) || sim_fate(w) % 1000 >= s->per_thousand) return SIM_FINE;
    enum sim_fault_kind k = (enum sim_fault_kind)(sim_fate(w) % SIM_FAULT_KINDS);
    return s->kinds >> k & 1 ? k : SIM_FINE;
}

struct happening {
    struct sim_world *w;
    int n;
    int64_t arg;
};

static void on_happen(void *arg)
{
    struct happening *h = arg;
    h->w->same = 0; /* what was looked at before says nothing any more */
    h->w->last_digest = 0;
    h->w->o.happen(h->w, h->n, h->arg);
    free(h);
}

static void happen_soon(struct sim_world *w, int n, int64_t arg)
{
    struct happening *h = malloc(sizeof(*h));
    if (!h) abort();
    *h = (struct happening){w, n, arg};
    sim_after(&w->sim, 0, on_happen, h, NULL);
}

/* Happenings stand in the plan from the start, faults only when it is told again. */
static bool planned(struct sim_world *w, struct sim_fault *f)
{
    const struct sim_plan *p = w->o.replay;
    bool any = false;
    for (size_t i = 0; p && i < p->n; i++) {
        const struct sim_plan_item *x = &p->v[i];
        if (x->call != w->calls) continue;
        if (x->what >= SIM_HAPPENING_0) {
            happen_soon(w, x->what - SIM_HAPPENING_0, x->arg);
            continue;
        }
        *f = (struct sim_fault){(enum sim_fault_kind)x->what, x->arg};
        any = true;
    }
    return any;
}

static void choose_fault(struct sim_world *w, const struct sim_call *c, struct sim_fault *f)
{
    w->calls++;
    if (w->o.log_cells) log_cell(w, c);
    for (size_t i = 0; i < w->o.n_rules; i++) {
        struct sim_rule *r = &w->o.rules[i];
        if (!matches(r, c) || r->seen++ < r->skip || r->hit >= (r->times ? r->times : 1)) continue;
        r->hit++;
        if (r->act) act_soon(w, r->act);
        if (r->fault.kind == SIM_FINE) continue;
        *f = r->fault;
        if (!f->delay_ms) f->delay_ms = delay_of(w, c, f->kind);
        return;
    }
    enum sim_fault_kind k = SIM_FINE;
    if (!planned(w, f)) {
        k = swarm(w);
        if (k == SIM_FINE) return;
        *f = (struct sim_fault){k, delay_of(w, c, k)};
    }
    if (!sim_fault_possible(c->edge, c->op, c->writes, c->client->table != NULL, f->kind))
        *f = (struct sim_fault){SIM_FINE, 0};
    else if (k != SIM_FINE)
        note_plan(w, (int)k, f->delay_ms);
}

/* Jobs and dead letters are the intake's, also when a delivery report of its own, and no step, let it send them. */
static void name_intake(const struct sim_call *c)
{
    if (!c->client->table || c->edge != SIM_KAFKA || !strcmp(c->client->table, "intake")) return;
    bool hands_over = !strcmp(c->op, sim_topic_dead);
    for (size_t i = 0; i < SIM_TOPICS; i++) hands_over = hands_over || !strcmp(c->op, sim_topic_names[i]);
    if (hands_over) sim_worker_intake_calls((struct sim_worker *)c->client, "hand over");
}

static void choose(void *arg, const struct sim_call *c, struct sim_fault *f)
{
    struct sim_world *w = arg;
    name_intake(c);
    if (c->edge == SIM_REDIS && c->client->step && !strcmp(c->client->step, "gate")) sim_truth_gate(&w->truth);
    if (c->edge == SIM_REDIS && c->client->step && !strcmp(c->client->step, "intent")) sim_truth_intend(&w->truth);
    choose_fault(w, c, f);
    const bool refuses_key = c->edge == SIM_INSTANCE && c->client->step && !strcmp(c->client->step, "set") &&
                             (f->kind == SIM_LOGIN || f->kind == SIM_REFUSED_LATER);
    if (f->kind == SIM_PERMANENT || refuses_key) w->refused = true;
    if (f->kind != SIM_FINE && c->edge == SIM_INSTANCE) w->instance_hurt = true;
    if (f->kind != SIM_FINE) w->same = 0; /* it is not at rest */
    if (w->o.cover) w->o.cover(w->o.cover_arg, c, f->kind);
}

int sim_luck(struct sim_world *w)
{
    struct sim_fault f = {SIM_FINE, 0};
    w->calls++;
    if (!planned(w, &f)) {
        f.kind = swarm(w);
        if (f.kind == SIM_LOST_BEFORE || f.kind == SIM_LOST_AFTER) note_plan(w, (int)f.kind, 0);
    }
    return f.kind == SIM_LOST_BEFORE ? 1 : f.kind == SIM_LOST_AFTER ? 2 : 0;
}

/* ---- judges on the way --------------------------------------------------------------------------------------------
 */

static const char *lease_says(struct sim_world *w, const char *field)
{
    char key[STORE_KEY_MAX];
    store_key(&w->scheduler_store, SIM_USER_KEY, "lease", key);
    return sim_redis_peek(w->redis, key, field, NULL);
}

static const char *lease_token(struct sim_world *w)
{
    return lease_says(w, "token");
}

/* Redis is about to drop the lease under its holder. */
static void note_dropped(struct sim_world *w)
{
    const char *token = lease_token(w);
    if (!token) return;
    snprintf(w->dropped[w->n_dropped % SIM_DROPPED].token, STORE_TOKEN_MAX, "%s", token);
    w->dropped[w->n_dropped++ % SIM_DROPPED].at_ms = w->sim.mono_ms;
}

static bool was_dropped(const struct sim_world *w, const char *token)
{
    for (size_t i = 0; i < SIM_DROPPED; i++)
        if (!strcmp(w->dropped[i].token, token) && w->sim.mono_ms < w->dropped[i].at_ms + LEASE_TTL_MS) return true;
    return false;
}

/* A failover that loses writes may bring a lease back that was given back, or ran out, before that of this number was
 * taken: nobody holds it. */
static bool came_back(struct sim_world *w, int64_t number)
{
    const char *stored = lease_says(w, "number");
    return sim_redis_losses(w->redis) != w->leases_evicted && stored && strtoll(stored, NULL, 10) < number;
}

static void judge_lease(struct sim_world *w, const struct sim_worker *k, const char *what)
{
    const struct rotation *r = k->calling;
    const char *token = lease_token(w);
    const bool whole = sim_redis_losses(w->redis) == w->leases_evicted; /* Redis has all but leases */
    if (!strcmp(k->client.step, "orphan")) return;                      /* R14 */
    const bool dropped = was_dropped(w, r->lease.user.token);
    if (whole && r->lease.user.number < w->effect_number)
        sim_violate(&w->truth, "I4: %s begins %s after its successor began something", k->name, what);
    w->effect_number = r->lease.user.number;
    if (dropped) return;
    if (token && strcmp(token, r->lease.user.token) && !came_back(w, r->lease.user.number))
        sim_violate(&w->truth, "I4: %s begins %s while another one holds the lease", k->name, what);
    if (!token && whole) sim_violate(&w->truth, "I4: %s begins %s without a lease", k->name, what);
}

static bool record_keeps_pair(struct sim_world *w, const char *key_id)
{
    char key[STORE_KEY_MAX];
    store_key(&w->scheduler_store, SIM_USER_KEY, "record", key);
    const char *id = sim_redis_peek(w->redis, key, "sealed_id", NULL);
    return id && !strcmp(id, key_id);
}

static void judge_sealed(struct sim_world *w, const struct sim_worker *k, const char *key_id)
{
    char key[STORE_KEY_MAX];
    struct journal j;
    if (sim_redis_losses(w->redis)) return;
    store_key(&w->scheduler_store, SIM_USER_KEY, "journal", key);
    if (sim_redis_peek(w->redis, key, "sealed", NULL) && sim_journal(w, &j) && !strcmp(j.key_new, key_id)) return;
    if (record_keeps_pair(w, key_id)) return;
    sim_violate(&w->truth, "I2: %s offers %s, whose secret lies sealed nowhere", k->name, key_id);
}

/* A create is open from its intent until a journal names the key, or none is left: then whoever goes on knows what
 * became of it. What Redis loses it may be open again. */
static void follow_create(struct sim_world *w)
{
    struct journal j;
    if (!w->truth.create_open || sim_redis_losses(w->redis)) return;
    const bool is_open = sim_journal(w, &j),
               in_doubt = is_open && (j.step == JOURNAL_INTENT || j.step == JOURNAL_DOUBT);
    if (in_doubt) w->intent_lies = true;
    if (in_doubt || !w->intent_lies) return;
    w->truth.create_open = w->intent_lies = false;
}

/* When the marks of exposed keys came to lie in Redis. */
static void on_redis_effect(void *arg)
{
    struct sim_world *w = arg;
    char key[STORE_KEY_MAX];
    follow_create(w);
    for (size_t i = 0; i < w->truth.n; i++) {
        struct sim_key *k = &w->truth.keys[i];
        if (!k->exposed || k->marked_ms >= 0) continue;
        store_key(&w->scheduler_store, SIM_USER_KEY, "exposed", key);
        if (sim_redis_peek(w->redis, key, k->id, NULL)) k->marked_ms = w->sim.mono_ms;
    }
}

static bool is_marked(struct sim_world *w, const char *key_id)
{
    char key[STORE_KEY_MAX];
    store_key(&w->scheduler_store, SIM_USER_KEY, "exposed", key);
    return sim_redis_peek(w->redis, key, key_id, NULL) != NULL;
}

/* R7. A mark that comes between the last look and the call is seen by the next run; one that Redis lost is not seen. */
static void judge_revival(struct sim_world *w, const struct sim_worker *k, const char *key_id)
{
    const struct sim_key *x = sim_truth_find(&w->truth, key_id);
    if (!x || x->marked_ms < 0 || w->sim.mono_ms - x->marked_ms <= LOOK_MS) return;
    if (is_marked(w, key_id))
        sim_violate(&w->truth, "R7: %s makes %s Active again, which is marked as exposed", k->name, key_id);
}

/* R6: links that the key signed live for 24 h; the hour beyond is for late writes and for the age of what Redis told
 * about the time. */
static void judge_overlap(struct sim_world *w, const struct sim_worker *k, const char *key_id)
{
    const struct sim_key *x = sim_truth_find(&w->truth, key_id);
    if (!x || x->exposed || x->left_ms < 0 || sim_redis_losses(w->redis)) return;
    if (!x->was_seen && !strncmp(k->client.step, "withdraw", 8)) return; /* refused, landed, and gone again unseen */
    if (w->sim.mono_ms - x->left_ms < w->o.rotation.overlap_ms - HOUR_MS)
        sim_violate(&w->truth, "R6: %s sets %s Inactive before its overlap is over", k->name, key_id);
}

/* R9: an exposed key that was replaced does not wait for its overlap. */
static void judge_wait(struct sim_world *w, const struct sim_worker *k, const char *key_id)
{
    const struct sim_key *x = sim_truth_find(&w->truth, key_id);
    if (!x || x->marked_ms < 0 || x->left_ms < 0 || !w->o.can.can_read || !is_marked(w, key_id)) return;
    if (w->truth.outside_ms) return; /* its successor may be gone: that is replaced first */
    const int64_t since = x->left_ms > x->marked_ms ? x->left_ms : x->marked_ms;
    if (w->sim.mono_ms - since >= w->o.rotation.overlap_ms)
        sim_violate(&w->truth, "R9: %s sets %s Inactive, which is exposed, after a whole overlap", k->name, key_id);
}

/* A key is taken back because it may be the one of a create without an answer. Of our own keys only these rows do so:
 * the others know it. */
static void note_doubt(struct sim_world *w, const struct sim_worker *k, const char *key_id)
{
    struct sim_key *x = sim_truth_find(&w->truth, key_id);
    const bool open = w->truth.create_open || sim_redis_losses(w->redis);
    const bool in_doubt = !strncmp(k->client.step, "doubt", 5);
    if (!x) return;
    x->was_doubted = open && (in_doubt || x->made_by == SIM_BY_STRANGER);
    if (x->was_doubted) x->doubted_ms = w->sim.mono_ms;
}

/* Whether the pair that the instance holds is kept and can be opened. */
static bool has_pair(struct sim_world *w)
{
    const char *id = w->truth.instance.id;
    return record_keeps_pair(w, id) && strcmp(id, w->unsealable) != 0 && !w->dead_pair_lost;
}

static void on_acts(void *arg, struct sim_client *c, const char *what, const char *key_id)
{
    struct sim_world *w = arg;
    const struct sim_worker *k = (const struct sim_worker *)c;
    if (!k->calling) return;
    judge_lease(w, k, what);
    const bool tests = w->o.can.can_test && strcmp(what, aws_op_name(AWS_DELETE_ACCESS_KEY)) != 0; /* retire does */
    w->truth.unproven = !tests && !has_pair(w);
    if (strcmp(what, instance_op_name(INSTANCE_WRITE_KEY)) != 0) note_doubt(w, k, key_id);
    if (!strcmp(what, instance_op_name(INSTANCE_WRITE_KEY))) judge_sealed(w, k, key_id);
    if (!strcmp(what, SIM_MAKES_ACTIVE)) judge_revival(w, k, key_id);
    if (strcmp(what, aws_op_name(AWS_UPDATE_ACCESS_KEY)) != 0) return;
    judge_overlap(w, k, key_id);
    judge_wait(w, k, key_id);
}

static bool holds_secret(const struct sim_world *w, const char *text)
{
    for (size_t i = 0; i < w->truth.n; i++)
        if (strstr(text, w->truth.keys[i].secret)) return true;
    return false;
}

static void on_message(void *arg, const struct sim_kafka_message *m)
{
    struct sim_world *w = arg;
    if (holds_secret(w, m->value)) sim_violate(&w->truth, "I6: a secret in %s", m->topic);
    sim_group_append(&w->group, m, sim_kafka_count(w->kafka) - 1);
    if (strcmp(m->topic, sim_topic_keys)) return;
    if (states_take(&w->states, m->key, m->value, m->value_len) < 0)
        sim_violate(&w->truth, "R8: a state that cannot be read");
}

/* ---- life ---------------------------------------------------------------------------------------------------------
 */

static const char *lies(struct sim_world *w, const char *what)
{
    char key[STORE_KEY_MAX];
    store_key(&w->scheduler_store, SIM_USER_KEY, what, key);
    return sim_redis_peek(w->redis, key, "doc", NULL);
}

static uint64_t state_hash(struct sim_world *w)
{
    static const char *const whats[] = {"record", "journal"};
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < ARRAY_LEN(whats); i++) {
        const char *doc = lies(w, whats[i]);
        for (h ^= doc != NULL; doc && *doc; doc++) h = (h ^ (unsigned char)*doc) * 1099511628211u;
    }
    return h;
}

void sim_step_redis_clock(struct sim_world *w, int64_t by_ms)
{
    w->redis_ahead_ms += by_ms;
    w->redis_set_back = w->redis_set_back || by_ms < 0;
    sim_set_redis_clock(w, w->redis_ahead_ms);
}

void sim_redis_goes(struct sim_world *w)
{
    if (sim_redis_is_down(w->redis)) return;
    w->state_before = state_hash(w);
}

static void on_redis_up(void *arg)
{
    struct sim_world *w = arg;
    const bool is_left = lies(w, "record") || lies(w, "journal");
    if (is_left && state_hash(w) != w->state_before) w->went_back = true;
    sim_workers_redis_up(w);
}

struct sim_world *sim_world_new(const struct sim_options *o)
{
    struct sim_world *w = calloc(1, sizeof(*w));
    if (!w) abort();
    sim_init(&w->sim, o->seed, o->story);
    w->o = *o;
    if (!w->o.workers) w->o.workers = 1;
    if (!w->o.copies) w->o.copies = 1;
    w->o.policy.observe = w->o.rotation.observe;
    w->net = (struct sim_net){.sim = &w->sim, .choose = choose, .arg = w};
    sim_truth_init(&w->truth, &w->sim);
    w->truth.propagate_most_ms = 15000;
    w->truth.quarantine_ms = o->rotation.quarantine_ms;
    w->truth.rest_ms = o->rotation.newcomer_wait_ms;
    w->redis = sim_redis_new(&w->net);
    sim_redis_on_up(w->redis, on_redis_up, w);
    sim_redis_on_effect(w->redis, on_redis_effect, w);
    w->aws = sim_aws_new(&(struct sim_aws_options){&w->net, &w->truth, o->rotation.skew_limit_ms, on_acts, w});
    w->truth.unreadable = !o->can.can_read;
    w->instance = sim_instance_new(&(struct sim_instance_options){&w->net, &w->truth, o->can, "sim", on_acts, w});
    w->kafka = sim_kafka_new(&w->net);
    sim_kafka_on_message(w->kafka, on_message, w);
    w->escrow = the_escrow();
    sim_group_init(&w->group, w);
    w->fate = o->seed * 0x9e6c63d0876a9a47u + 7;
    for (int i = 0; i < 2; i++) {
        struct sim_scheduler *s = &w->schedulers[i];
        *s = (struct sim_scheduler){.client = {.net = &w->net, .name = i ? "scheduler 2" : "scheduler"}, .world = w};
        store_init(&s->store, sim_redis_port(w->redis, &s->client), &w->sim.rng, "kr:", LEASE_TTL_MS);
    }
    w->person = (struct sim_client){.net = &w->net, .name = "person"};
    w->scheduler_store = w->schedulers[0].store;
    store_init(&w->person_store, sim_redis_port(w->redis, &w->person), &w->sim.rng, "kr:", LEASE_TTL_MS);
    /* This server has been up for long: no hold-off at the start. */
    char server[120];
    snprintf(server, sizeof(server), "%s %s", sim_redis_server(w->redis)->run_id, sim_redis_server(w->redis)->repl_id);
    sim_redis_poke(w->redis, "kr:server", NULL, server);
    sim_redis_poke(w->redis, "kr:holdoff", NULL, "1");
    sim_workers_start(w);
    return w;
}

void sim_world_free(struct sim_world *w)
{
    sim_workers_stop(w);
    for (int i = 0; i < 2; i++) sim_client_dropped(&w->schedulers[i].client);
    sim_client_dropped(&w->person);
    sim_cancel(&w->sim, w);
    while (sim_step(&w->sim)) continue; /* what is on its way frees itself */
    states_done(&w->states);
    sim_redis_free(w->redis);
    sim_aws_free(w->aws);
    sim_instance_free(w->instance);
    sim_kafka_free(w->kafka);
    sim_group_done(&w->group);
    free(w->cells);
    sim_done(&w->sim);
    free(w);
}

struct sim_key *sim_start_plain(struct sim_world *w)
{
    struct sim_key *k = sim_truth_put(&w->truth, AWS_KEY_ACTIVE, 100 * DAY_MS, true);
    sim_truth_write(&w->truth, k->id, k->secret, SIM_BY_STRANGER, w->sim.mono_ms);
    sim_run_for(w, 600000); /* long ago: no list and no read is behind */
    return k;
}

void sim_run_for(struct sim_world *w, int64_t ms)
{
    int64_t until = w->sim.mono_ms + ms;
    uint64_t ran = w->sim.ran;
    while (sim_next_ms(&w->sim) <= until) {
        if (w->sim.ran - ran >= EVENTS_MAX) {
            sim_violate(&w->truth, "I8: it runs in circles");
            return;
        }
        sim_step(&w->sim);
    }
    w->sim.mono_ms = until;
}

bool sim_run_until(struct sim_world *w, bool (*until)(struct sim_world *w), int64_t max_ms)
{
    int64_t end = w->sim.mono_ms + max_ms;
    while (!until(w)) {
        if (sim_next_ms(&w->sim) > end || !sim_step(&w->sim)) return false;
    }
    return true;
}

bool sim_run_quiet(struct sim_world *w, int days)
{
    int64_t end = 1000000 + days * DAY_MS;
    uint64_t ran = w->sim.ran;
    while (!w->quiet && sim_next_ms(&w->sim) < end && w->sim.ran - ran < EVENTS_MAX && sim_step(&w->sim)) continue;
    return w->quiet;
}

void sim_set_redis_clock(struct sim_world *w, int64_t ahead_ms)
{
    note_dropped(w); /* it may end early, as after an eviction */
    sim_redis_set_clock(w->redis, ahead_ms);
}

void sim_evict(struct sim_world *w, const char *what)
{
    char key[STORE_KEY_MAX];
    store_key(&w->scheduler_store, SIM_USER_KEY, what, key);
    if ((lies(w, "journal") || sim_leased(w)) && (!strcmp(what, "journal") || !strcmp(what, "record")))
        w->went_back = true;
    if (!strcmp(what, "lease")) note_dropped(w);
    if (sim_redis_evict(w->redis, key) && !strcmp(what, "lease")) w->leases_evicted++;
}

/* ---- what Redis holds ---------------------------------------------------------------------------------------------
 */

bool sim_record(struct sim_world *w, struct record *ret)
{
    char key[STORE_KEY_MAX];
    size_t len;
    store_key(&w->scheduler_store, SIM_USER_KEY, "record", key);
    const char *doc = sim_redis_peek(w->redis, key, "doc", &len);
    return doc && record_decode(doc, len, ret) == 0;
}

bool sim_journal(struct sim_world *w, struct journal *ret)
{
    char key[STORE_KEY_MAX];
    size_t len;
    store_key(&w->scheduler_store, SIM_USER_KEY, "journal", key);
    const char *doc = sim_redis_peek(w->redis, key, "doc", &len);
    return doc && journal_decode(doc, len, ret) == 0;
}

bool sim_leased(struct sim_world *w)
{
    return lease_token(w) != NULL;
}

enum record_state sim_state(struct sim_world *w)
{
    struct record r;
    return sim_record(w, &r) ? r.state : RECORD_NEW;
}

uint64_t sim_world_digest(struct sim_world *w)
{
    struct record r;
    struct journal j;
    uint64_t h = sim_truth_digest(&w->truth);
    bool has = sim_record(w, &r);
    h = (h ^ (has ? (uint64_t)r.state + 1 : 0)) * 1099511628211u;
    h = (h ^ (has && r.repair)) * 1099511628211u;
    h = (h ^ (has ? r.n_keys : 0)) * 1099511628211u;
    has = sim_journal(w, &j);
    return (h ^ (has ? (uint64_t)j.step + 1 : 0)) * 1099511628211u;
}

/* ---- the end ------------------------------------------------------------------------------------------------------
 */

static void look_for_secret(void *arg, const char *key, const char *field, const char *value, size_t len)
{
    struct sim_world *w = arg;
    (void)len;
    if (holds_secret(w, value)) sim_violate(&w->truth, "I6: a secret in Redis, %s %s", key, field);
}

static bool is_named_state(enum record_state s)
{
    return s == RECORD_AWAITING || s == RECORD_DRIFTED || s == RECORD_EXCLUDED || s == RECORD_STUCK ||
           s == RECORD_FAILED;
}

bool sim_asks(struct sim_world *w)
{
    return is_named_state(sim_state(w));
}

/* Every key is in use, planned for, or named to a person. */
static void check_keys(struct sim_world *w, struct record *r, const struct journal *j)
{
    bool waits = is_named_state(r->state);
    for (size_t i = 0; i < w->truth.n; i++) {
        const struct sim_key *k = &w->truth.keys[i];
        if (!k->exists) continue;
        const struct record_key *known = record_find(r, k->id);
        if (known && (known->role == KEY_CURRENT || known->role == KEY_LEFT || known->next != KEY_NEXT_NONE)) continue;
        bool in_journal =
            j && (!strcmp(j->key_new, k->id) || !strcmp(j->key_old, k->id) || !strcmp(j->key_doubt, k->id));
        if (waits && w->truth.instance.any && !strcmp(w->truth.instance.id, k->id)) continue; /* it is in use */
        if (waits && (in_journal || known || strstr(r->reason, k->id))) continue;
        if (waits && (k->original || k->made_by == SIM_BY_STRANGER)) continue; /* a person looks at the user anyway */
        if (w->orphan_allowed) continue;
        sim_violate(&w->truth, "I2: %s is left over: nobody uses, plans for or names it (%s)", k->id,
                    record_state_name(r->state));
    }
}

/* R9: the goal is "not Active", not "not in use". */
static void check_exposed(struct sim_world *w, const struct record *r)
{
    for (size_t i = 0; i < w->truth.n; i++) {
        const struct sim_key *k = &w->truth.keys[i];
        if (k->exists && k->exposed && k->status == AWS_KEY_ACTIVE && is_marked(w, k->id) && !is_named_state(r->state))
            sim_violate(&w->truth, "R9: %s is exposed and rests Active", k->id);
    }
}

const char *sim_check_end(struct sim_world *w)
{
    struct record r;
    struct journal j;
    if (sim_leased(w)) sim_run_for(w, LEASE_TTL_MS + 1000); /* a release whose call was lost */
    bool has_record = sim_record(w, &r), has_journal = sim_journal(w, &j);
    sim_redis_each(w->redis, look_for_secret, w);
    if (!w->quiet)
        sim_violate(&w->truth, "I8: it never comes to rest (%s)",
                    has_record ? record_state_name(r.state) : "no record");
    if (!has_record) {
        sim_violate(&w->truth, "I8: there is no record");
        return w->truth.violation;
    }
    check_keys(w, &r, has_journal ? &j : NULL);
    check_exposed(w, &r);
    const bool can_look = w->o.can.can_read || w->o.can.can_test;
    if (w->truth.outrun && can_look && !sim_truth_works(&w->truth) && !is_named_state(r.state) && !r.reason[0])
        sim_violate(&w->truth, "I8: the instance was restored to a key while that was taken, and nobody is told");
    if (sim_leased(w)) sim_violate(&w->truth, "a lease is left");
    if (has_journal && !is_named_state(r.state))
        sim_violate(&w->truth, "I8: a journal is left open in state %s", record_state_name(r.state));
    if (r.state != RECORD_CURRENT && !is_named_state(r.state))
        sim_violate(&w->truth, "I8: it rests as %s, which no person is asked about: %s", record_state_name(r.state),
                    r.reason);
    if (is_named_state(r.state) && !r.reason[0])
        sim_violate(&w->truth, "I8: state %s without a reason", record_state_name(r.state));
    for (int t = 0; sim_messages(w) && t < SIM_TOPICS; t++) {
        const struct sim_log *l = &w->group.logs[t];
        if (l->end > l->start && l->committed < l->end)
            sim_violate(&w->truth, "I8: messages are left in %s: committed %lld of %lld, read up to %lld%s",
                        sim_topic_names[t], (long long)l->committed, (long long)l->end,
                        (long long)(l->owner >= 0 ? w->workers[l->owner].in.t[t].position : -1),
                        l->owner >= 0 && w->workers[l->owner].in.t[t].paused ? ", paused" : "");
    }
    return w->truth.violation;
}

const char *sim_check_current(struct sim_world *w)
{
    struct record r;
    sim_check_end(w);
    bool has = sim_record(w, &r);
    if (!has || r.state != RECORD_CURRENT) {
        sim_violate(&w->truth, "not current but %s: %s", has ? record_state_name(r.state) : "unknown",
                    has ? r.reason : "");
        return w->truth.violation;
    }
    const struct record_key *k = record_current(&r);
    if (sim_truth_count(&w->truth) != 1) sim_violate(&w->truth, "%zu keys are left", sim_truth_count(&w->truth));
    if (!k || !w->truth.instance.any || strcmp(k->id, w->truth.instance.id))
        sim_violate(&w->truth, "the instance does not hold the current key");
    if (!sim_truth_works(&w->truth)) sim_violate(&w->truth, "the instance's key is not accepted");
    if (r.n_keys != 1) sim_violate(&w->truth, "the record names %zu keys", r.n_keys);
    char key[STORE_KEY_MAX];
    store_key(&w->scheduler_store, SIM_USER_KEY, "record", key);
    if (sim_redis_peek(w->redis, key, "sealed", NULL))
        sim_violate(&w->truth, "R5: a pair is kept though its predecessor is gone");
    return w->truth.violation;
}
