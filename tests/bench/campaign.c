/* A campaign over a large fleet in virtual time, with AWS's limits: the shipped decisions (policy, campaigns, dispatch,
 * turns, paces, the budget's script) between a simulated AWS and instances that take their time. No rotation is carried
 * out, its calls are: one read and one create a licence, each throttled above the account's limit.
 *
 * campaign COUNT ACCOUNTS CALLS_PER_S WAVES PUBLISHED_PER_S: prints NAME VALUE. AWS's own minimum is the time that one
 * account's creates take at its limit; canaries_s is what passes until the waves before the last are proven, during
 * which nothing else may begin; the foretold ends are those that `keyroll campaign show` would tell. */
#include "lib/aws_turns.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "producer/campaigns.h"
#include "producer/dispatch.h"
#include "schema/budget_store.h"
#include "schema/options.h"
#include "tests/sim/redis.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define DAY          86400000LL
#define ACCOUNTS_MAX 100
#define WORKERS      4
#define IN_FLIGHT    1000
#define SEED         20261125

struct world;
struct licence {
    int64_t rotated_ms; /* 0: not yet */
    bool open;          /* its journal */
};
struct bucket {
    double tokens, per_s;
    int64_t filled_ms;
};
struct worker {
    struct world *w;
    struct sim_client client;
    struct store store;
    struct budget_store budget;
    struct aws_pace *pace;
    struct aws_turns turns;
    struct aws_turn_port port;
    uint32_t *queue; /* rows, a ring of w->count */
    size_t first, n, in_flight;
};
/* One job under way. */
struct task {
    struct aws_turn turn;
    struct aws_pace_item item;
    struct worker *k;
    uint32_t row;
    enum aws_family call; /* READ: the list, WRITE: the create */
};
struct world {
    struct sim sim;
    struct sim_net net;
    struct sim_redis *redis;
    struct sim_client client; /* the scheduler's */
    struct store store;
    struct options o;
    struct inventory *inv;
    struct campaigns *campaigns;
    struct dispatch *dispatch;
    struct policy policy;
    struct licence *licences;
    struct survey_due *due;
    struct campaign doc;
    struct store_peek peek;
    char accounts[ACCOUNTS_MAX][AWS_ACCOUNT_MAX];
    size_t count, n_accounts, rotated;
    struct bucket buckets[ACCOUNTS_MAX][AWS_FAMILIES];
    struct worker workers[WORKERS];
    uint64_t calls, throttled, ticks;
    size_t canaries;       /* licences in the waves before the last */
    int64_t canaries_ms;   /* when they were all proven, since the start */
    double foretold_worst; /* share of the whole by which an end was foretold wrong */
    struct {
        int64_t at_ms, end_ms;
    } foretold[4096];
    size_t n_foretold;
};

static _Noreturn void die(const char *what, int rc)
{
    fprintf(stderr, "campaign: %s: %s\n", what, err_text(rc));
    exit(1);
}

/* ---- the loop's timers, in virtual time: the linker puts these in the place of lib/loop.c's ---- */

struct loop_timer *__wrap_loop_timer_new(struct loop *l, loop_fn fn, void *arg);
void __wrap_loop_timer_start(struct loop_timer *t, int64_t delay_ms);
void __wrap_loop_timer_stop(struct loop_timer *t);
void __wrap_loop_timer_free(struct loop_timer *t);

static struct sim *timers_sim;
struct loop_timer {
    loop_fn fn;
    void *arg;
    int64_t due_ms, armed_ms; /* -1: not started; the event that looks, INT64_MAX none */
};

static void arm(struct loop_timer *t);
static void fire(void *arg)
{
    struct loop_timer *t = arg;
    t->armed_ms = INT64_MAX;
    if (t->due_ms < 0) return;
    if (t->due_ms > timers_sim->mono_ms) {
        arm(t);
        return;
    }
    t->due_ms = -1;
    t->fn(t->arg);
}

static void arm(struct loop_timer *t)
{
    if (t->armed_ms <= t->due_ms) return;
    sim_cancel(timers_sim, t);
    t->armed_ms = t->due_ms;
    sim_after(timers_sim, t->due_ms - timers_sim->mono_ms, fire, t, t);
}

struct loop_timer *__wrap_loop_timer_new(struct loop *l, loop_fn fn, void *arg)
{
    struct loop_timer *t = calloc(1, sizeof *t);
    (void)l;
    if (t) *t = (struct loop_timer){fn, arg, -1, INT64_MAX};
    return t;
}

void __wrap_loop_timer_start(struct loop_timer *t, int64_t delay_ms)
{
    t->due_ms = timers_sim->mono_ms + delay_ms;
    arm(t);
}

void __wrap_loop_timer_stop(struct loop_timer *t)
{
    t->due_ms = -1;
}

void __wrap_loop_timer_free(struct loop_timer *t)
{
    if (t) sim_cancel(timers_sim, t);
    free(t);
}

/* ---- AWS and the instances ---- */

static bool aws_takes(struct world *w, const struct task *t)
{
    struct bucket *b = &w->buckets[t->row % w->n_accounts][t->call];
    b->tokens += b->per_s * (double)(w->sim.mono_ms - b->filled_ms) / 1000;
    b->filled_ms = w->sim.mono_ms;
    if (b->tokens > b->per_s) b->tokens = b->per_s; /* a second's worth */
    w->calls++;
    if (b->tokens >= 1) {
        b->tokens -= 1;
        return true;
    }
    w->throttled++;
    return false;
}

static void later(struct task *t, int64_t least_ms, int64_t most_ms, sim_fn *fn)
{
    sim_after(&t->k->w->sim, sim_between(&t->k->w->sim, least_ms, most_ms), fn, t, NULL);
}

/* ---- a worker's job ---- */

static void take_jobs(struct worker *k);

static void call_again(void *arg);
static void on_throttled(void *arg)
{
    struct task *t = arg;
    aws_pace_throttled(t->k->pace, t->k->w->accounts[t->row % t->k->w->n_accounts], t->call, t->item.epoch);
    if (t->call == AWS_FAMILY_WRITE)
        later(t, 200, 400, call_again); /* a create is for the saga to repeat */
    else
        call_again(t);
}

static void tick(void *arg);

static void on_rotated(void *arg)
{
    struct task *t = arg;
    struct worker *k = t->k;
    struct licence *l = &k->w->licences[t->row];
    assert(!l->rotated_ms); /* each once */
    l->open = false;
    l->rotated_ms = sim_wall_ms(&k->w->sim);
    if (++k->w->rotated == k->w->canaries) k->w->canaries_ms = l->rotated_ms - k->w->doc.created_at_ms;
    if (campaigns_wait(k->w->campaigns)) sim_after(&k->w->sim, 1000, tick, k->w, NULL); /* told by the keys topic */
    k->in_flight--;
    free(t);
    take_jobs(k);
}

static void on_read(void *arg)
{
    struct task *t = arg;
    struct licence *l = &t->k->w->licences[t->row];
    t->k->port.end(t->k->port.self, &t->turn);
    if (l->rotated_ms || l->open) { /* published twice: nothing is left to do */
        t->k->in_flight--;
        take_jobs(t->k);
        free(t);
        return;
    }
    l->open = true;
    t->call = AWS_FAMILY_WRITE;
    call_again(t);
}

static void on_called(void *arg)
{
    struct task *t = arg;
    if (t->call == AWS_FAMILY_READ)
        later(t, 150, 500, on_read); /* the instance says which key it uses */
    else
        later(t, 7000, 12000, on_rotated); /* settled three times, 2 s apart; written, read back, tested */
}

static void send_call(struct task *t)
{
    later(t, 60, 180, aws_takes(t->k->w, t) ? on_called : on_throttled);
}

static void call_again(void *arg)
{
    struct task *t = arg;
    t->item.order = AWS_PACE_BEGUN;
    int rc = aws_pace_enter(t->k->pace, t->k->w->accounts[t->row % t->k->w->n_accounts], t->call, &t->item);
    if (rc < 0) die("pace", rc);
    if (rc > 0) send_call(t);
}

static void on_leased(void *arg)
{
    struct task *t = arg;
    if (aws_turns_use(&t->k->turns, &t->turn, &t->item.epoch))
        send_call(t);
    else
        call_again(t);
}

static void on_turn_ready(struct aws_turn *turn)
{
    later((struct task *)turn, 1, 4, on_leased); /* turn is its first member */
}

static void on_pace(void *arg, struct aws_pace_item *item, bool expired)
{
    struct worker *k = arg;
    assert(!expired);
    if (item->order == AWS_PACE_TURN)
        aws_turns_granted(&k->turns, item);
    else
        send_call((struct task *)(void *)((char *)item - offsetof(struct task, item)));
}

static void take_jobs(struct worker *k)
{
    while (k->n && k->in_flight < IN_FLIGHT) {
        struct task *t = calloc(1, sizeof *t);
        if (!t) die("memory", ERR_NOMEM);
        t->k = k;
        t->row = k->queue[k->first];
        t->turn.ready = on_turn_ready;
        k->first = (k->first + 1) % k->w->count;
        k->n--;
        k->in_flight++;
        int rc = k->port.take(k->port.self, k->w->accounts[t->row % k->w->n_accounts], &t->turn);
        if (rc < 0) die("turn", rc);
        if (rc > 0) on_turn_ready(&t->turn);
    }
}

/* ---- Kafka ---- */

struct delivery {
    struct world *w;
    struct ticket ticket;
    uint32_t row;
    bool job;
};

static void deliver(void *arg)
{
    struct delivery *d = arg;
    struct worker *k = &d->w->workers[d->row % 32 % WORKERS];
    const struct kafka_report report = {.err = 0};
    ticket_complete(d->ticket, &report);
    if (d->job && k->n < d->w->count) {
        k->queue[(k->first + k->n++) % d->w->count] = d->row;
        take_jobs(k);
    }
    free(d);
}

static int produce(void *self, const struct kafka_message_out *m, struct ticket t)
{
    struct world *w = self;
    struct delivery *d = calloc(1, sizeof *d);
    if (!d) return ERR_BUSY;
    *d = (struct delivery){w, t, 0, strcmp(m->topic, w->o.topic_jobs) == 0};
    if (d->job) d->row = (uint32_t)strtoul((const char *)m->key + m->key_len - 6, NULL, 10);
    sim_after(&w->sim, 3, deliver, d, NULL);
    return 0;
}

/* ---- the scheduler ---- */

static int by_verdict(const void *a, const void *b)
{
    const struct survey_due *x = a, *y = b;
    int order = policy_compare(&x->verdict, &y->verdict);
    return order ? order : (x->row > y->row) - (x->row < y->row);
}

static void look_at(struct world *w, size_t i)
{
    const struct licence *l = &w->licences[i];
    struct record *r = &w->peek.record;
    w->peek.has_journal = l->open;
    w->peek.lease_ms = l->open ? 10000 : -2;
    r->rotated_ms = l->rotated_ms ? l->rotated_ms : w->doc.created_at_ms - 20 * DAY;
    r->keys[0].created_ms = r->rotated_ms;
    snprintf(r->keys[0].id, sizeof r->keys[0].id, "AKIA%015zu%d", i, l->rotated_ms != 0);
}

/* What `keyroll campaign show` would foretell now. */
static void foretell(struct world *w)
{
    struct campaign_members m;
    struct campaign_progress p;
    struct campaign_rate rate = {.n = 0};
    char reason[200];
    int rc = campaign_members_find(&w->doc, w->inv, &m, reason);
    if (rc < 0) die(reason, rc);
    for (size_t i = 0; i < m.n; i++) {
        look_at(w, m.order[i]);
        m.now[i] = (uint8_t)campaign_judge(&w->doc, &w->peek);
    }
    if ((rc = campaign_sum(&w->doc, &m, &p)) < 0) die("waves", rc);
    for (size_t i = p.before; i < p.bound; i++) campaign_rate_add(&rate, w->licences[m.order[i]].rotated_ms);
    int64_t left_ms = campaign_left_ms(&p, &rate);
    campaign_members_done(&m);
    campaign_rate_done(&rate);
    if (left_ms == TIME_NONE || w->rotated * 10 < w->count || w->n_foretold == ARRAY_LEN(w->foretold)) return;
    w->foretold[w->n_foretold].at_ms = sim_wall_ms(&w->sim);
    w->foretold[w->n_foretold++].end_ms = sim_wall_ms(&w->sim) + left_ms;
}

static void survey(void *self, uint64_t id, const void *result)
{
    struct world *w = self;
    size_t n = 0;
    int64_t now = sim_wall_ms(&w->sim);
    (void)id, (void)result;
    for (size_t i = 0; i < w->count; i++) {
        const struct inventory_row *row = inventory_row(w->inv, i);
        struct survey_due *due = &w->due[n];
        look_at(w, i);
        policy_judge(&w->policy, row->licence, &w->peek, now, &due->verdict);
        campaigns_adjust(w->campaigns, i, row, &w->policy, &w->peek, &due->verdict);
        due->row = row;
        due->signature = (uint64_t)w->licences[i].rotated_ms * 2 + w->licences[i].open;
        n += policy_is_due(&due->verdict);
    }
    qsort(w->due, n, sizeof *w->due, by_verdict);
    if (campaigns_sum_up(w->campaigns)) sim_after(&w->sim, 0, tick, w, NULL);
    dispatch_list(w->dispatch, w->due, n);
    foretell(w);
    w->ticks++;
}

static void tick(void *arg)
{
    struct world *w = arg;
    dispatch_stop(w->dispatch);
    int rc = campaigns_load(w->campaigns, (struct ticket){survey, w, 0});
    if (rc < 0 && rc != ERR_BUSY) die("campaigns", rc);
}

static void tick_timer(void *arg)
{
    struct world *w = arg;
    tick(w);
    if (w->rotated < w->count) sim_after(&w->sim, w->o.tick_ms, tick_timer, w, NULL);
}

static void reported(void *arg, const struct dispatch_sent *m, int err, const char *detail)
{
    (void)arg, (void)m;
    if (err) die(detail, err);
}

/* ---- set-up ---- */

static void fine(void *arg, const struct sim_call *call, struct sim_fault *fault)
{
    struct world *w = arg;
    (void)call;
    *fault = (struct sim_fault){SIM_SLOW, 1 + (int64_t)(sim_random(&w->sim) % 3)};
}

static void complain(void *arg, const struct inventory_complaint *c)
{
    (void)arg;
    fprintf(stderr, "campaign: %s: %s\n", c->licence, c->reason);
}

static void make_inventory(struct world *w)
{
    w->inv = inventory_new(&w->o, complain, NULL);
    for (size_t i = 0; w->inv && i < w->count; i++) {
        char name[16], user[40], bucket[40], url[64];
        snprintf(name, sizeof name, "L%06zu", i);
        snprintf(user, sizeof user, "SynergistExpress-L%06zu", i);
        snprintf(bucket, sizeof bucket, "synergist-l%06zu", i);
        snprintf(url, sizeof url, "http://127.0.0.1:9/L%06zu", i);
        const struct inventory_row row = {.licence = name,
                                          .account = w->accounts[i % w->n_accounts],
                                          .user = user,
                                          .bucket = bucket,
                                          .region = "eu-west-1",
                                          .instance_url = url,
                                          .credentials = "file:/x#L",
                                          .profile = "default",
                                          .time_zone = "",
                                          .policy = ""};
        int rc = inventory_add(w->inv, &row);
        if (rc < 0) die("inventory", rc);
    }
    int rc = w->inv ? inventory_seal(w->inv) : ERR_NOMEM;
    if (rc < 0 || inventory_count(w->inv) != w->count) die("inventory", rc < 0 ? rc : ERR_INVALID);
}

static void make_workers(struct world *w)
{
    for (size_t i = 0; i < WORKERS; i++) {
        struct worker *k = &w->workers[i];
        k->w = w;
        k->client = (struct sim_client){.net = &w->net, .name = "worker"};
        store_init(&k->store, sim_redis_port(w->redis, &k->client), &w->sim.rng, "kr:", 15000);
        k->budget = (struct budget_store){&k->store, w->o.iam_calls_per_s, BUDGET_MOST_PER_S, 1};
        k->queue = calloc(w->count, sizeof *k->queue);
        aws_turns_init(&k->turns, &w->sim.clock);
        const struct aws_pace_options po = {.clock = &w->sim.clock,
                                            .per_s = w->o.iam_calls_per_s,
                                            .budget = budget_store_port(&k->budget),
                                            .on_turn = on_pace,
                                            .arg = k,
                                            .begin_at = aws_turns_begin_at,
                                            .begin_arg = &k->turns};
        k->pace = k->turns.pace = aws_pace_new(NULL, &po);
        k->port = aws_turns_port(&k->turns);
        if (!k->pace || !k->queue) die("worker", ERR_NOMEM);
    }
}

static void on_put(void *self, uint64_t id, const void *result)
{
    const struct store_reply *r = result;
    (void)self, (void)id;
    if (r->err) die("campaign", r->err);
}

static void start_campaign(struct world *w, const char *waves)
{
    AUTO_BUF struct buf text;
    char opid[STORE_TOKEN_MAX];
    buf_init(&text, CAMPAIGN_MAX_BYTES);
    w->doc = (struct campaign){.reason = CAMPAIGN_OPERATOR,
                               .state = CAMPAIGN_RUNNING,
                               .selector = CAMPAIGN_ALL,
                               .stop_share = 200,
                               .created_at_ms = sim_wall_ms(&w->sim),
                               .changed_at_ms = sim_wall_ms(&w->sim),
                               .revision = 1};
    snprintf(w->doc.name, sizeof w->doc.name, "all");
    snprintf(w->doc.by, sizeof w->doc.by, "bench");
    snprintf(w->doc.waves, sizeof w->doc.waves, "%s", waves);
    size_t bounds[CAMPAIGN_STEPS_MAX];
    char reason[200];
    int n = campaign_waves(waves, w->count, bounds, reason);
    if (n < 0) die(reason, n);
    w->canaries = n > 1 ? bounds[n - 2] : 0;
    int rc = campaign_encode(&w->doc, &text);
    store_opid(&w->store, opid);
    if (rc == 0)
        rc = store_campaign_put(&w->store, "all", 0, opid, text.data, text.len, (struct ticket){on_put, NULL, 0});
    if (rc < 0) die("campaign", rc);
}

static void make_scheduler(struct world *w)
{
    const struct kafka_port kafka = {w, produce};
    w->client = (struct sim_client){.net = &w->net, .name = "scheduler"};
    store_init(&w->store, sim_redis_port(w->redis, &w->client), &w->sim.rng, "kr:", 15000);
    const struct campaigns_options co = {.store = &w->store,
                                         .kafka = kafka,
                                         .topic = "campaigns",
                                         .clock = &w->sim.clock,
                                         .by = "bench",
                                         .metrics = metrics_new()};
    w->campaigns = campaigns_new(&co);
    const struct dispatch_options d = {NULL, kafka, &w->o, &w->sim.clock, "bench", reported, NULL, w};
    w->dispatch = dispatch_new(&d);
    w->licences = calloc(w->count, sizeof *w->licences);
    w->due = calloc(w->count + 1, sizeof *w->due);
    if (!w->campaigns || !w->dispatch || !w->licences || !w->due) die("scheduler", ERR_NOMEM);
    campaigns_renew(w->campaigns, w->inv);
    campaigns_caught_up(w->campaigns);
    w->policy =
        (struct policy){.max_age_ms = 3650 * DAY, .audit_interval_ms = 3650 * DAY, .wordless = true, .rungs = 2};
    w->peek.lease_ms = -2;
    w->peek.has_record = true;
    record_init(&w->peek.record, "L000000", w->accounts[0], "u");
    struct record_key *k = record_add(&w->peek.record, "AKIAIOSFODNN7EXAMPLE");
    k->role = KEY_CURRENT;
    k->status = AWS_KEY_ACTIVE;
    k->listed = true;
    record_settle(&w->peek.record);
    w->peek.record.audited_ms = w->peek.record.updated_ms = sim_wall_ms(&w->sim);
}

int main(int argc, char **argv)
{
    static struct world w;
    if (argc != 6) return 2;
    w.count = (size_t)strtoull(argv[1], NULL, 10);
    w.n_accounts = (size_t)strtoull(argv[2], NULL, 10);
    const double limit = strtod(argv[3], NULL);
    if (!w.count || w.count > 999999 || !w.n_accounts || w.n_accounts > ACCOUNTS_MAX || limit <= 0) return 2;
    sim_init(&w.sim, SEED, NULL);
    timers_sim = &w.sim;
    w.net = (struct sim_net){.sim = &w.sim, .choose = fine, .arg = &w};
    w.redis = sim_redis_new(&w.net);
    char no_file[] = "--config=", *words[] = {argv[0], no_file, NULL}, *env[] = {NULL};
    int n = 2;
    AUTO_FREE char *why = NULL;
    int rc = options_load(&w.o, OPTIONS_ALL, &n, words, env, &why);
    if (rc < 0) die(why ? why : "options", rc);
    w.o.max_rotations_per_hour = 1000000000; /* all else as by default */
    w.o.plan_publish_rate = strtod(argv[5], NULL);
    for (size_t a = 0; a < w.n_accounts; a++) {
        snprintf(w.accounts[a], sizeof w.accounts[a], "%012zu", 100000000000 + a);
        for (int f = 0; f < AWS_FAMILIES; f++) w.buckets[a][f] = (struct bucket){limit, limit, w.sim.mono_ms};
    }
    make_inventory(&w);
    make_scheduler(&w);
    make_workers(&w);
    start_campaign(&w, argv[4]);
    tick_timer(&w);
    while (w.rotated < w.count && sim_step(&w.sim)) {
    }
    double took_s = (double)(sim_wall_ms(&w.sim) - w.doc.created_at_ms) / 1000;
    size_t largest = (w.count + w.n_accounts - 1) / w.n_accounts;
    double least_s = (double)largest / limit;
    for (size_t i = 0; i < w.n_foretold; i++) {
        double wrong = (double)(w.foretold[i].end_ms - sim_wall_ms(&w.sim)) / 1000 / took_s;
        if (wrong < 0) wrong = -wrong;
        if (wrong > w.foretold_worst) w.foretold_worst = wrong;
    }
    printf("rotated %zu\ntook_s %.0f\nleast_s %.0f\nratio %.3f\n", w.rotated, took_s, least_s, took_s / least_s);
    double canaries_s = (double)w.canaries_ms / 1000;
    printf("canaries_s %.1f\nratio_after_canaries %.3f\n", canaries_s, took_s / (least_s + canaries_s));
    printf("foretold %zu\nforetold_wrong %.3f\nfirst_foretold_s %.0f\n", w.n_foretold, w.foretold_worst,
           w.n_foretold ? (double)(w.foretold[0].at_ms - w.doc.created_at_ms) / 1000 : -1);
    printf("throttled %.4f\nticks %llu\n", (double)w.throttled / (double)w.calls, (unsigned long long)w.ticks);
    return 0; /* the rest is the system's to free */
}
