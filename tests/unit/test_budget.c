/* The common budget: the shipped script and the processes' shares in virtual time, against an AWS that is a token
 * bucket. Each case runs over many seeds: numbers of workers, latencies, limits and moments differ. */
#include "lib/aws_pace.h"
#include "lib/err.h"
#include "schema/budget_store.h"
#include "tests/sim/redis.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#define WORKERS_MAX 8
#define SECONDS_MAX 400

struct world;
struct worker {
    struct world *w;
    struct sim_client client;
    struct store store;
    struct budget_store edge;
    struct aws_budget_port port;
    struct budget_share share;
    struct budget_ask ask;
    unsigned waiting, emergency; /* calls that want to leave */
    int64_t emergency_since_ms;
    bool dead, frozen;
    int64_t timer_ms; /* when its timer is due; -1 none */
};
struct world {
    struct sim sim;
    struct sim_net net;
    struct sim_redis *redis;
    struct worker worker[WORKERS_MAX];
    unsigned n;
    bool saturated; /* there is always more to do */
    double limit, depth_s, tokens, foreign_per_s;
    int64_t begun_ms, filled_ms;
    uint64_t calls, throttled, asks;
    unsigned accepted_in[SECONDS_MAX], throttled_in[SECONDS_MAX];
    int64_t emergency_ms; /* longest wait of an emergency */
    int64_t latency_ms;
};
struct sent {
    struct worker *k;
    int64_t epoch;
    bool throttled;
};

static void pump(struct worker *k);

static void fine(void *arg, const struct sim_call *call, struct sim_fault *fault)
{
    struct world *w = arg;
    (void)call;
    *fault = (struct sim_fault){SIM_SLOW, 1 + (int64_t)(sim_random(&w->sim) % 5)};
}

static bool aws_takes(struct world *w)
{
    double size = w->limit * w->depth_s;
    w->tokens += (w->limit - w->foreign_per_s) * (double)(w->sim.mono_ms - w->filled_ms) / 1000;
    w->filled_ms = w->sim.mono_ms;
    if (w->tokens > size) w->tokens = size;
    if (w->tokens < 1) return false;
    w->tokens -= 1;
    return true;
}

static void on_reply(void *arg)
{
    struct sent *s = arg;
    struct worker *k = s->k;
    if (!k->dead && s->throttled) {
        budget_throttled(&k->share, s->epoch);
        k->waiting++;
    }
    free(s);
    if (!k->dead) pump(k);
}

static void send_call(struct worker *k, int64_t epoch)
{
    struct world *w = k->w;
    struct sent *s = malloc(sizeof *s);
    int64_t second = (w->sim.mono_ms - w->begun_ms) / 1000;
    *s = (struct sent){k, epoch, !aws_takes(w)};
    w->calls++;
    w->throttled += s->throttled;
    if (second < SECONDS_MAX) (s->throttled ? w->throttled_in : w->accepted_in)[second]++;
    sim_after(&w->sim, w->latency_ms + (int64_t)(sim_random(&w->sim) % 30), on_reply, s, NULL);
}

static void on_timer(void *arg)
{
    struct worker *k = arg;
    if (k->timer_ms > k->w->sim.mono_ms || k->timer_ms < 0) return;
    k->timer_ms = -1;
    if (!k->dead) pump(k);
}

static void on_granted(void *self, uint64_t id, const void *result)
{
    struct worker *k = self;
    const struct budget_grant *g = result;
    (void)id;
    if (k->dead) return;
    if (g->err)
        budget_failed(&k->share, &k->ask, 8, k->w->sim.mono_ms);
    else
        budget_granted(&k->share, &k->ask, g, k->w->sim.mono_ms);
    pump(k);
}

static void pump(struct worker *k)
{
    struct world *w = k->w;
    int64_t now = w->sim.mono_ms, epoch;
    if (w->saturated && k->waiting < 50) k->waiting = 50;
    while (k->emergency && budget_use(&k->share, true, now, &epoch)) {
        if (now - k->emergency_since_ms > w->emergency_ms) w->emergency_ms = now - k->emergency_since_ms;
        k->emergency--;
        send_call(k, epoch);
    }
    while (!k->emergency && k->waiting && budget_use(&k->share, false, now, &epoch)) {
        k->waiting--;
        send_call(k, epoch);
    }
    const struct budget_need need = {k->waiting, k->emergency};
    if (budget_wants(&k->share, &need, now, &k->ask)) {
        w->asks++;
        if (k->port.take(k->port.self, "123456789012", AWS_FAMILY_READ, &k->ask, (struct ticket){on_granted, k, 0}) < 0)
            budget_failed(&k->share, &k->ask, 8, now);
    }
    int64_t due = budget_due_ms(&k->share, &need, now);
    if (due == INT64_MAX || (k->timer_ms >= 0 && k->timer_ms <= due)) return;
    k->timer_ms = due;
    sim_after(&w->sim, due > now ? due - now : 1, on_timer, k, NULL);
}

static void begin(struct world *w, uint64_t seed, unsigned n, double limit, double share)
{
    memset(w, 0, sizeof *w);
    sim_init(&w->sim, seed, NULL);
    w->net = (struct sim_net){.sim = &w->sim, .choose = fine, .arg = w};
    w->redis = sim_redis_new(&w->net);
    w->n = n;
    w->begun_ms = w->filled_ms = w->sim.mono_ms;
    w->limit = limit;
    w->depth_s = 1;
    w->tokens = limit;
    w->saturated = true;
    w->latency_ms = 5 + (int64_t)(sim_random(&w->sim) % 60);
    for (unsigned i = 0; i < n; i++) {
        struct worker *k = &w->worker[i];
        k->w = w;
        k->client = (struct sim_client){.net = &w->net, .name = "worker"};
        k->timer_ms = -1;
        store_init(&k->store, sim_redis_port(w->redis, &k->client), &w->sim.rng, "kr:", 15000);
        k->edge = (struct budget_store){&k->store, 8, BUDGET_MOST_PER_S, share};
        k->port = budget_store_port(&k->edge);
        pump(k);
    }
}

static void until(struct world *w, int64_t s)
{
    while (sim_next_ms(&w->sim) <= w->begun_ms + s * 1000 && sim_step(&w->sim)) {
    }
    for (unsigned i = 0; i < w->n; i++)
        if (!w->worker[i].dead) pump(&w->worker[i]);
}

static void end(struct world *w)
{
    for (unsigned i = 0; i < w->n; i++) w->worker[i].dead = true;
    w->saturated = false;
    while (sim_step(&w->sim)) {
    }
    sim_redis_free(w->redis);
    sim_done(&w->sim);
}

static double per_s(const unsigned *in, int from, int to)
{
    unsigned sum = 0;
    for (int s = from; s < to; s++) sum += in[s];
    return sum / (double)(to - from);
}

static int seeds(void)
{
    const char *n = getenv("KEYROLL_SEEDS");
    return n ? atoi(n) : 400;
}

/* The case: a hidden limit of 20 a second, four workers, share 100 %. */
static void limit_is_found_and_used(void **state)
{
    (void)state;
    double least = 1, most = 0, per_ask = 1e9, sum = 0;
    for (int seed = 1; seed <= seeds(); seed++) {
        struct world w;
        begin(&w, (uint64_t)seed, 4, 20, 1);
        until(&w, 180);
        double used = per_s(w.accepted_in, 30, 180) / 20;
        double refused = per_s(w.throttled_in, 30, 180) / (per_s(w.throttled_in, 30, 180) + used * 20);
        double ratio = (double)w.calls / (double)w.asks;
        if (used < least) least = used;
        if (refused > most) most = refused;
        if (ratio < per_ask) per_ask = ratio;
        sum += refused;
        end(&w);
    }
    print_message(
        "limit 20/s, 4 workers: used >= %.1f %%, throttled <= %.2f %% (mean %.2f %%), calls per command >= %.1f\n",
        least * 100, most * 100, sum / seeds() * 100, per_ask);
    assert_true(least >= 0.9);
    assert_true(most < 0.01);
    assert_true(per_ask >= 10);
}

static void other_limits_are_found(void **state)
{
    (void)state;
    static const double limits[] = {2, 5, 10, 50, 100};
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        double least = 1, most = 0;
        for (int seed = 1; seed <= seeds() / 10; seed++) {
            struct world w;
            begin(&w, (uint64_t)seed, 1 + (unsigned)seed % WORKERS_MAX, limits[i], 1);
            w.depth_s = 1 + seed % 3; /* AWS does not say how deep its buckets are */
            until(&w, 200);
            double used = per_s(w.accepted_in, 80, 200) / limits[i];
            double refused = per_s(w.throttled_in, 80, 200) / (per_s(w.throttled_in, 80, 200) + used * limits[i]);
            if (used < least) least = used;
            if (refused > most) most = refused;
            end(&w);
        }
        print_message("limit %.0f/s: used >= %.1f %%, throttled <= %.2f %%\n", limits[i], least * 100, most * 100);
        assert_true(least >= 0.75);
        assert_true(most < (limits[i] <= 10 ? 0.08 : 0.04));
    }
}

/* Halved and doubled in the middle: 20 s later the new limit is used, and little is refused. */
static void change_is_followed(void **state)
{
    (void)state;
    double down = 1, up = 1, refused = 0;
    for (int seed = 1; seed <= seeds(); seed++) {
        struct world w;
        int at = 60 + seed % 16, back = at + 50;
        begin(&w, (uint64_t)seed, 4, 20, 1);
        until(&w, at);
        w.limit = 10;
        until(&w, back);
        w.limit = 20;
        until(&w, back + 45);
        double low = per_s(w.accepted_in, at + 20, back) / 10, high = per_s(w.accepted_in, back + 20, back + 45) / 20;
        double r = per_s(w.throttled_in, at + 20, back) / per_s(w.accepted_in, at + 20, back);
        if (low < down) down = low;
        if (high < up) up = high;
        if (r > refused) refused = r;
        end(&w);
    }
    print_message("20 s after the change: >= %.1f %% of half, >= %.1f %% of double, throttled <= %.2f %%\n", down * 100,
                  up * 100, refused * 100);
    assert_true(down >= 0.85);
    assert_true(up >= 0.8);
    assert_true(refused < 0.05);
}

/* A worker dies or leaves with its slots: what is lost is what it had reserved at once, whatever the rate, and five
 * seconds later the others have all of it. */
static void dead_worker_costs_nothing(void **state)
{
    (void)state;
    double least = 1, lost = 0;
    for (int seed = 1; seed <= seeds(); seed++) {
        struct world w;
        begin(&w, (uint64_t)seed, 4, 20, 1);
        int at = 60 + seed % 10;
        until(&w, at);
        w.worker[seed % 4].dead = true;
        until(&w, at + 65);
        double used = per_s(w.accepted_in, at + 5, at + 65) / 20;
        lost += 4 * (per_s(w.accepted_in, at - 10, at) - per_s(w.accepted_in, at, at + 4)) / seeds();
        if (used < least) least = used;
        end(&w);
    }
    print_message("after a death: %.1f calls are lost (mean), then >= %.1f %% of the limit\n", lost, least * 100);
    assert_true(lost <= BUDGET_BATCH + BUDGET_LOW);
    assert_true(least >= 0.9);
}

/* 70 %: what is left is enough for somebody who takes a quarter; he is not throttled by us for long. */
static void share_leaves_room(void **state)
{
    (void)state;
    double most = 0, least = 1, refused = 0;
    for (int seed = 1; seed <= seeds() / 4; seed++) {
        struct world w;
        begin(&w, (uint64_t)seed, 4, 20, 0.7);
        until(&w, 40);
        w.foreign_per_s = 5;
        until(&w, 160);
        double used = per_s(w.accepted_in, 40, 160) / 20;
        double r = per_s(w.throttled_in, 40, 160) / (used * 20);
        if (used > most) most = used;
        if (used < least) least = used;
        if (r > refused) refused = r;
        end(&w);
    }
    print_message("share 70 %%: used %.1f..%.1f %%, throttled <= %.2f %%\n", least * 100, most * 100, refused * 100);
    assert_true(most <= 0.75);
    assert_true(least >= 0.5);
    assert_true(refused < 0.01);
}

/* An emergency goes at once, though the timeline is full for seconds. */
static void emergency_goes_first(void **state)
{
    (void)state;
    int64_t longest = 0;
    for (int seed = 1; seed <= seeds() / 4; seed++) {
        struct world w;
        begin(&w, (uint64_t)seed, 4, 20, 0.7);
        until(&w, 50);
        for (int i = 0; i < 10; i++) {
            struct worker *k = &w.worker[(seed + i) % 4];
            k->emergency += 3;
            k->emergency_since_ms = w.sim.mono_ms;
            pump(k);
            until(&w, 51 + i);
            assert_int_equal(k->emergency, 0);
        }
        if (w.emergency_ms > longest) longest = w.emergency_ms;
        end(&w);
    }
    print_message("emergencies: three calls on a busy account leave within %lld ms\n", (long long)longest);
    assert_true(longest < 1000);
}

static void lone_calls_are_not_held_up(void **state)
{
    (void)state;
    struct world w;
    begin(&w, 1, 2, 20, 0.7);
    w.saturated = false;
    w.worker[0].waiting = w.worker[1].waiting = 0;
    until(&w, 20);
    uint64_t calls = w.calls, asks = w.asks;
    for (int i = 0; i < 60; i++) { /* three calls a second */
        w.worker[0].waiting += 3;
        pump(&w.worker[0]);
        until(&w, 21 + i);
        assert_true(w.worker[0].waiting == 0);
    }
    print_message("3 calls/s: %.1f calls per command\n", (double)(w.calls - calls) / (double)(w.asks - asks));
    assert_true(w.calls - calls >= 5 * (w.asks - asks));
    end(&w);
}

/* Without Redis each goes on slowly by itself. */
static void without_redis_it_crawls(void **state)
{
    (void)state;
    struct budget_share b = {.rate_per_s = 16};
    struct budget_ask ask;
    const struct budget_need need = {.ordinary = 100};
    int used = 0;
    int64_t epoch;
    for (int64_t now = 0; now < 10000; now++) {
        if (budget_wants(&b, &need, now, &ask)) budget_failed(&b, &ask, 8, now);
        used += budget_use(&b, false, now, &epoch);
    }
    assert_in_range(used, 18, 22); /* an eighth of 16 for 10 s */
}

static void late_throttling_counts_once(void **state)
{
    (void)state;
    struct budget_share b = {.epoch = 7};
    struct budget_ask ask = {.n = 4};
    const struct budget_grant g = {.epoch = 7, .n = 4, .valid_ms = 1000, .rate_per_s = 10};
    budget_granted(&b, &ask, &g, 0);
    budget_throttled(&b, 6);
    assert_int_equal(budget_held(&b, 0), 4); /* sent before the last cut: no news about these slots */
    budget_throttled(&b, 7);
    assert_int_equal(budget_held(&b, 0), 0);
    const struct budget_need none = {0};
    assert_true(budget_wants(&b, &none, 0, &ask));
    assert_int_equal(ask.throttled, 2);
    assert_int_equal(ask.epoch, 7);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limit_is_found_and_used),     cmocka_unit_test(other_limits_are_found),
        cmocka_unit_test(change_is_followed),          cmocka_unit_test(dead_worker_costs_nothing),
        cmocka_unit_test(share_leaves_room),           cmocka_unit_test(emergency_goes_first),
        cmocka_unit_test(lone_calls_are_not_held_up),  cmocka_unit_test(without_redis_it_crawls),
        cmocka_unit_test(late_throttling_counts_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
