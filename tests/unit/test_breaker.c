/* Breakers: when they open, who probes, what an outcome tells, and thousands of histories of a flapping other side. */
#include "lib/breaker.h"
#include "lib/err.h"
#include "worker/breakers.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static uint64_t dice = 1;
static void fill(void *self, void *out, size_t len)
{
    (void)self;
    for (size_t i = 0; i < len; i++) {
        dice = dice * 6364136223846793005u + 1442695040888963407u;
        ((unsigned char *)out)[i] = (unsigned char)(dice >> 56);
    }
}
static const struct rng rng = {NULL, fill};

static void opens_when_all_fail(void **state)
{
    (void)state;
    struct breaker b = {0};
    for (unsigned i = 1; i < BREAKER_FEW; i++) assert_false(breaker_note(&b, false, i, 1000, &rng));
    assert_true(breaker_allows(&b, 1, 1000));
    assert_true(breaker_note(&b, false, 77, 1000, &rng));
    assert_int_equal(b.state, BREAKER_OPEN);
    assert_false(breaker_allows(&b, 1, 1001));
    int64_t wait = breaker_wait_ms(&b, 1000);
    assert_in_range(wait, BREAKER_WAIT_MS * 3 / 4, BREAKER_WAIT_MS);
    assert_true(breaker_allows(&b, 1, 1000 + wait)); /* the probe */
    assert_int_equal(b.state, BREAKER_HALF_OPEN);
    assert_false(breaker_allows(&b, 1, 1000 + wait + 1)); /* one only */
    assert_true(breaker_note(&b, true, 5, 1100 + wait, &rng));
    assert_int_equal(b.state, BREAKER_CLOSED);
    assert_true(breaker_allows(&b, 1, 1100 + wait));
    breaker_done(&b);
}

static void one_of_many_does_not_open_it(void **state)
{
    (void)state;
    struct breaker b = {0};
    for (int i = 0; i < 100; i++) {
        assert_false(breaker_note(&b, i % 3 == 0, (uint64_t)(i % 3 ? 9 : 1), i * 100, &rng) && i % 3 == 0);
        if (b.state != BREAKER_CLOSED) fail_msg("opened by one subject at %d", i);
    }
    for (int i = 0; i < 100; i++) breaker_note(&b, true, 1, 10000 + i * 10, &rng);
    for (unsigned i = 0; i < 10; i++) breaker_note(&b, false, i + 1, 11000, &rng); /* 10 % fail */
    assert_int_equal(b.state, BREAKER_CLOSED);
    breaker_done(&b);
}

static void waits_grow_to_a_cap(void **state)
{
    (void)state;
    struct breaker b = {0};
    int64_t now = 0, last = 0;
    for (unsigned i = 1; i <= BREAKER_FEW; i++) breaker_note(&b, false, i, now, &rng);
    for (int i = 0; i < 12; i++) {
        int64_t wait = breaker_wait_ms(&b, now);
        assert_true(wait <= BREAKER_WAIT_MAX_MS && (wait > last || wait > BREAKER_WAIT_MAX_MS / 2));
        last = wait;
        now += wait;
        assert_true(breaker_allows(&b, 1, now));
        breaker_note(&b, false, 3, now, &rng);
    }
    breaker_done(&b);
}

/* Ten licences of a host are ill. While the others succeed, and a minute after, their failures tell nothing. */
static void the_ill_do_not_open_it(void **state)
{
    (void)state;
    struct breaker b = {0};
    int64_t now = 0;
    for (unsigned i = 0; i < 1000; i++, now += 10)
        breaker_note(&b, i % 20 != 0, i % 20 ? 1000 + i : i / 20 % 10 + 1, now, &rng);
    assert_int_equal(b.state, BREAKER_CLOSED);
    for (unsigned i = 0; i < 500; i++, now += 100) breaker_note(&b, false, i % 10 + 1, now, &rng);
    assert_int_equal(b.state, BREAKER_CLOSED);
    assert_false(breaker_suspects(&b, false, now)); /* it is theirs, and counted as such */
    for (unsigned i = 1; i <= BREAKER_ROW; i++) breaker_note(&b, false, 1000 + i, now, &rng); /* those were well */
    assert_int_equal(b.state, BREAKER_OPEN);
    breaker_done(&b);
    b = (struct breaker){0};
    breaker_note(&b, true, 99, 0, &rng);
    for (unsigned i = 0; i < 200 && b.state == BREAKER_CLOSED; i++, now += 1000)
        breaker_note(&b, false, i % 3 + 1, now, &rng);
    assert_int_equal(b.state, BREAKER_OPEN); /* few, but nobody succeeded since: it is the host */
    breaker_done(&b);
}

/* Opened by those who are ill: who is not probes soon, and the ill ones' probes do not delay that. */
static void a_fresh_one_probes_early(void **state)
{
    (void)state;
    struct breaker b = {0};
    int64_t now = 0;
    for (unsigned i = 1; i <= BREAKER_FEW; i++) breaker_note(&b, false, i, now, &rng);
    for (int i = 0; i < 8; i++) {
        now += breaker_wait_ms(&b, now);
        assert_true(breaker_allows(&b, 1, now));
        breaker_note(&b, false, 1, now, &rng);
    }
    int64_t wait = breaker_wait_ms(&b, now);
    assert_true(wait > BREAKER_WAIT_MAX_MS / 2);
    now += wait / BREAKER_FRESH;
    assert_false(breaker_would_allow(&b, 1, now));
    assert_true(breaker_would_allow(&b, 77, now));
    assert_true(breaker_allows(&b, 77, now));
    assert_false(breaker_allows(&b, 78, now)); /* one only */
    breaker_note(&b, true, 77, now, &rng);
    assert_int_equal(b.state, BREAKER_CLOSED);
    breaker_done(&b);
}

static void suspicion(void **state)
{
    (void)state;
    struct breaker b = {0};
    assert_false(breaker_suspects(&b, true, 0));
    breaker_note(&b, false, 7, 0, &rng);
    assert_true(breaker_suspects(&b, true, 0));   /* nothing works: an account */
    assert_false(breaker_suspects(&b, false, 0)); /* one instance alone says nothing of its host */
    for (unsigned i = 1; i < BREAKER_ALONE; i++) breaker_note(&b, false, 7, 0, &rng);
    assert_false(breaker_suspects(&b, true, 0)); /* always the same one: its own matter */
    breaker_note(&b, false, 8, 0, &rng);
    assert_true(breaker_suspects(&b, false, 0));
    breaker_note(&b, true, 9, 0, &rng);
    assert_false(breaker_suspects(&b, true, 0));
    assert_false(breaker_suspects(&b, true, 1000 * BREAKER_HALF_LIFE_MS));
    breaker_done(&b);
}

static void lost_probe_is_made_good(void **state)
{
    (void)state;
    struct breaker b = {0};
    for (unsigned i = 1; i <= BREAKER_FEW; i++) breaker_note(&b, false, i, 0, &rng);
    assert_true(breaker_allows(&b, 1, 10000));
    assert_false(breaker_allows(&b, 1, 10000 + BREAKER_PROBE_MS - 1));
    assert_true(breaker_allows(&b, 1, 10000 + BREAKER_PROBE_MS));
    breaker_unprobed(&b, 200000); /* was not sent after all */
    assert_true(breaker_allows(&b, 1, 200000));
    assert_true(breaker_close(&b, 200001));
    assert_false(breaker_close(&b, 200001));
    breaker_done(&b);
}

/* Histories: an other side that is up and down at random, ten callers. Down for long, few calls are wasted; up again,
 * it is noticed within one wait; never more than one probe is out. */
static void histories(void **state)
{
    (void)state;
    double worst = 0;
    for (unsigned seed = 1; seed <= 5000; seed++) {
        struct breaker b = {0};
        dice = seed;
        int64_t now = 0, down_at = 5000 + (int64_t)rng_below(&rng, 20000), up_at = down_at + 60000, back = -1;
        unsigned wasted = 0;
        for (; now < up_at + BREAKER_WAIT_MAX_MS + 1000; now += 100) {
            bool down = now >= down_at && now < up_at;
            for (unsigned k = 1; k <= 10; k++) {
                if (!breaker_allows(&b, k, now)) continue;
                wasted += down;
                breaker_note(&b, !down, k, now, &rng);
                if (!down && now >= up_at && b.state == BREAKER_CLOSED && back < 0) back = now;
            }
        }
        assert_true(back >= 0 && back - up_at <= BREAKER_WAIT_MAX_MS);
        breaker_done(&b);
        if (wasted > worst) worst = wasted;
        assert_true(wasted < 120); /* of 6,000 */
    }
    print_message("a minute's outage cost at most %.0f of 6000 calls\n", worst);
}

static void names_and_errors(void **state)
{
    (void)state;
    char name[BREAKER_NAME_MAX];
    breakers_host_name("https://Cloud7.Example.com:8443/L000001?x", name);
    assert_string_equal(name, "host:cloud7.example.com:8443");
    breakers_host_name("nonsense", name);
    assert_string_equal(name, "");
    assert_int_equal(breakers_judge_account(0), 1);
    assert_int_equal(breakers_judge_account(ERR_AWS_NO_ENTITY), 1);
    assert_int_equal(breakers_judge_account(ERR_AWS_DENIED), -1);
    assert_int_equal(breakers_judge_account(ERR_TIMEOUT), 0);
    assert_int_equal(breakers_judge_host(ERR_NET_CONNECT), -1);
    assert_int_equal(breakers_judge_host(ERR_INSTANCE_LOGIN), 1);
    assert_int_equal(breakers_judge_host(ERR_INSTANCE_FAILURE), 0);
}

/* ---- around ports ---- */

static int64_t now_mono;
static int64_t clock_now(void *self)
{
    (void)self;
    return now_mono;
}
static const struct clock test_clock = {NULL, clock_now, clock_now};
static struct {
    struct ticket t[64];
    unsigned n, changes;
} edge;

static int fake_aws(void *self, const struct aws_request *req, struct ticket t)
{
    (void)self, (void)req;
    edge.t[edge.n++ % 64] = t;
    return 0;
}

static int last_err;
static void on_result(void *self, uint64_t id, const void *result)
{
    (void)self, (void)id;
    last_err = ((const struct aws_result *)result)->err;
}

static void on_change(void *arg, const char *name, enum breaker_state before, enum breaker_state now, int err,
                      const char *words)
{
    (void)arg, (void)before, (void)now, (void)err, (void)words;
    assert_string_equal(name, "account:123456789012");
    edge.changes++;
}

static void refused_account_is_left_alone(void **state)
{
    (void)state;
    struct breakers *b;
    const struct breakers_options o = {
        .clock = &test_clock, .rng = &rng, .aws = {NULL, fake_aws}, .on_change = on_change};
    char user[32], name[BREAKER_NAME_MAX];
    int64_t wait;
    memset(&edge, 0, sizeof edge);
    assert_int_equal(breakers_new(&o, &b), 0);
    struct aws_port port = breakers_aws(b);
    struct breaker_port ask = breakers_port(b);
    struct aws_request q = {.op = AWS_LIST_ACCESS_KEYS, .account = "123456789012", .user = user};
    static struct job j;
    snprintf(j.account, sizeof j.account, "123456789012");
    const struct aws_result denied = {.err = ERR_AWS_DENIED}, fine = {0};
    for (unsigned i = 0; i < BREAKER_FEW; i++) {
        snprintf(user, sizeof user, "u%u", i);
        assert_int_equal(port.call(port.self, &q, (struct ticket){on_result, NULL, 0}), 0);
        ticket_complete(edge.t[i], &denied);
        assert_int_equal(last_err, ERR_AWS_DENIED);
        assert_true(ask.blames(ask.self, &j, ERR_AWS_DENIED, name)); /* from the first one on: no attempt is burnt */
    }
    assert_int_equal(edge.changes, 1);
    assert_int_equal(port.call(port.self, &q, (struct ticket){on_result, NULL, 0}), ERR_BREAKER_OPEN);
    assert_true(ask.blocked(ask.self, &j, name));
    assert_true(breakers_hold(b, name, &wait));
    assert_false(breakers_hold(b, name, &wait));
    now_mono += wait;
    assert_false(ask.blocked(ask.self, &j, name));
    assert_int_equal(port.call(port.self, &q, (struct ticket){on_result, NULL, 0}), 0);
    assert_int_equal(port.call(port.self, &q, (struct ticket){on_result, NULL, 0}), ERR_BREAKER_OPEN);
    ticket_complete(edge.t[BREAKER_FEW], &fine);
    assert_int_equal(port.call(port.self, &q, (struct ticket){on_result, NULL, 0}), 0);
    ticket_complete(edge.t[BREAKER_FEW + 1], &fine);
    assert_int_equal(breakers_open(b), 0);
    assert_false(ask.blames(ask.self, &j, ERR_AWS_DENIED, name)); /* it works for others */
    breakers_free(b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(opens_when_all_fail),     cmocka_unit_test(one_of_many_does_not_open_it),
        cmocka_unit_test(waits_grow_to_a_cap),     cmocka_unit_test(suspicion),
        cmocka_unit_test(lost_probe_is_made_good), cmocka_unit_test(histories),
        cmocka_unit_test(names_and_errors),        cmocka_unit_test(refused_account_is_left_alone),
        cmocka_unit_test(the_ill_do_not_open_it),  cmocka_unit_test(a_fresh_one_probes_early),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
