/* Leases held here: the time that is surely left, renewals whose answer is lost, late or a refusal, the maximum age.
 * The store below talks to a Redis edge that only remembers what was asked; the test gives the answers. */
#include "lib/err.h"
#include "worker/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define TTL   15000
#define RENEW 5000
#define AGE   60000

static struct {
    int64_t now;
    struct ticket asked[16];
    size_t n;
    int refuse;
} edge;

static int64_t now_ms(void *self)
{
    (void)self;
    return edge.now;
}

static int eval(void *self, const struct redis_script *script, size_t n_keys, size_t n_args,
                const struct redis_arg *args, struct ticket t)
{
    (void)self, (void)n_keys, (void)n_args, (void)args;
    assert_string_equal(script->name, "lease_renew");
    if (edge.refuse) return edge.refuse;
    assert_true(edge.n < ARRAY_LEN(edge.asked));
    edge.asked[edge.n++] = t;
    return 0;
}

static void answer(size_t i, int err, int64_t value)
{
    struct redis_value v = {.type = REDIS_INTEGER, .integer = value};
    struct redis_reply r = {err, &v};
    ticket_complete(edge.asked[i], &r);
}

struct fixture {
    struct store store;
    struct leases leases;
    struct lease lease;
};
static const struct clock clock_fake = {.wall_ms = now_ms, .mono_ms = now_ms};

static int setup(void **state)
{
    static struct fixture f;
    memset(&edge, 0, sizeof(edge));
    edge.now = 1000000;
    store_init(&f.store, (struct redis_port){.eval = eval}, &rng_system, "kr:", TTL);
    leases_init(&f.leases, &f.store, &clock_fake, TTL, RENEW, AGE);
    lease_init(&f.lease, &f.leases, "123456789012/u");
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    lease_dropped(&f->lease);
    assert_int_equal(f->leases.n, 0);
    leases_done(&f->leases);
    return 0;
}

static void take(struct fixture *f)
{
    const struct store_lease granted = {.number = 7, .record_version = 3, .journal_version = 2};
    lease_asking(&f->lease);
    lease_granted(&f->lease, &granted);
}

static void time_counts_from_the_request(void **state)
{
    struct fixture *f = *state;
    const struct store_lease granted = {.number = 7};
    assert_int_equal(lease_left_ms(&f->lease), 0);
    lease_asking(&f->lease);
    edge.now += 400;
    lease_granted(&f->lease, &granted);
    assert_int_equal(lease_left_ms(&f->lease), TTL - 400);
    assert_int_equal(lease_until_mono_ms(&f->lease), edge.now - 400 + TTL);
    assert_int_equal(f->lease.user.number, 7);
    edge.now += TTL;
    assert_true(lease_left_ms(&f->lease) <= 0);
}

/* The quickest answer of the last minute counts, since a slow one makes the server's clock look behind; then any does,
 * so that a clock that was set back is believed. */
static void the_time_of_the_server(void **state)
{
    struct fixture *f = *state;
    const int64_t ahead = 600000, start = edge.now;
    const struct {
        int64_t after, behind, told; /* ms from the start; the answer's age; expected: how far the server is ahead */
    } steps[] = {{0, 40, ahead - 40},
                 {1000, 5, ahead - 5},
                 {2000, 900, ahead - 5},
                 {60999, 3600000, ahead - 5},
                 {61000, 3600000, ahead - 3600000}};
    assert_int_equal(leases_time_ms(&f->leases), start); /* our own */
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        edge.now = start + steps[i].after;
        const struct store_lease granted = {.number = 7, .now_ms = edge.now + ahead - steps[i].behind};
        lease_asking(&f->lease);
        lease_granted(&f->lease, &granted);
        edge.now += 10;
        assert_int_equal(leases_time_ms(&f->leases) - edge.now, steps[i].told);
        lease_dropped(&f->lease);
    }
}

/* A grant after so long, in which the clock of Redis went on by so much; its answer takes delay_ms. */
static void take_at(struct fixture *f, int64_t passed_ms, int64_t server_passed_ms, int64_t delay_ms)
{
    static int64_t server_ms = 1700000000000;
    struct store_lease granted = {.number = 7};
    lease_dropped(&f->lease);
    edge.now += passed_ms;
    lease_asking(&f->lease);
    granted.now_ms = server_ms += server_passed_ms;
    edge.now += delay_ms;
    lease_granted(&f->lease, &granted);
}

static void a_clock_set_forwards_is_noticed(void **state)
{
    struct fixture *f = *state;
    assert_false(leases_steady(&f->leases)); /* nobody knows what was before */
    take_at(f, 0, 0, 10);
    assert_false(leases_steady(&f->leases));
    edge.now += TTL;
    assert_true(leases_steady(&f->leases));
    take_at(f, 3600000, 3600000 + TTL + 2000, 2000); /* an hour's drift, and the answer was late */
    assert_true(leases_steady(&f->leases));
    take_at(f, 1000, 1000 + 2000 + TTL, 0); /* by a lifetime */
    assert_false(leases_steady(&f->leases));
    edge.now += TTL - 1;
    assert_false(leases_steady(&f->leases));
    edge.now++;
    assert_true(leases_steady(&f->leases));
    take_at(f, 0, -3600000, 0); /* leases last longer: no harm */
    assert_true(leases_steady(&f->leases));
    take_at(f, 10, 3600000, 0); /* and back again */
    assert_false(leases_steady(&f->leases));
}

static void renewal_prolongs_from_its_request(void **state)
{
    struct fixture *f = *state;
    take(f);
    edge.now += RENEW - 1 - RENEW / 2; /* renewals may be spread over an earlier half, never later than due */
    edge.now += RENEW / 2 + 1;
    leases_tick(&f->leases);
    assert_int_equal(edge.n, 1);
    int64_t asked = edge.now;
    leases_tick(&f->leases); /* one at a time */
    assert_int_equal(edge.n, 1);
    edge.now += 3000;
    answer(0, 0, 1);
    assert_int_equal(lease_until_mono_ms(&f->lease), asked + TTL);
}

static void lost_answer_changes_nothing(void **state)
{
    struct fixture *f = *state;
    take(f);
    int64_t until = lease_until_mono_ms(&f->lease);
    edge.now += RENEW;
    leases_tick(&f->leases);
    answer(0, ERR_REDIS_LOST, 0);
    assert_int_equal(lease_until_mono_ms(&f->lease), until);
    assert_false(f->lease.lost);
    leases_tick(&f->leases);
    assert_int_equal(edge.n, 2); /* and is asked again */
    answer(1, 0, 1);
    assert_int_equal(lease_left_ms(&f->lease), TTL);
}

static void refusal_ends_it(void **state)
{
    struct fixture *f = *state;
    take(f);
    edge.now += RENEW;
    leases_tick(&f->leases);
    answer(0, 0, 0);
    assert_true(f->lease.lost);
    assert_int_equal(lease_left_ms(&f->lease), 0);
    leases_tick(&f->leases);
    lease_renew_now(&f->lease);
    assert_int_equal(edge.n, 1);
}

static void expired_lease_is_not_renewed(void **state)
{
    struct fixture *f = *state;
    take(f);
    edge.now += TTL;
    leases_tick(&f->leases);
    assert_int_equal(edge.n, 0);
}

static void age_has_an_end(void **state)
{
    struct fixture *f = *state;
    take(f);
    for (int i = 0; i < 40; i++) {
        size_t before = edge.n;
        edge.now += 2000;
        leases_tick(&f->leases);
        if (edge.n > before) {
            edge.n = 0;
            answer(0, 0, 1);
        }
    }
    assert_true(lease_left_ms(&f->lease) <= 0); /* 80 s after the start, though renewed for 60 s */
}

static void late_answer_of_a_dropped_lease(void **state)
{
    struct fixture *f = *state;
    take(f);
    edge.now += RENEW;
    leases_tick(&f->leases);
    lease_dropped(&f->lease);
    lease_dropped(&f->lease);
    memset(&f->lease, 0x55, sizeof(f->lease)); /* its memory is gone */
    answer(0, 0, 1);
    lease_init(&f->lease, &f->leases, "123456789012/u");
}

static void redis_down_is_asked_again(void **state)
{
    struct fixture *f = *state;
    take(f);
    edge.now += RENEW;
    edge.refuse = ERR_REDIS_DOWN;
    leases_tick(&f->leases);
    assert_false(f->lease.renewing);
    edge.refuse = 0;
    leases_tick(&f->leases);
    assert_int_equal(edge.n, 1);
    answer(0, 0, 1);
    assert_int_equal(lease_left_ms(&f->lease), TTL);
}

static void many_leases(void **state)
{
    struct fixture *f = *state;
    static struct lease l[12];
    const struct store_lease granted = {.number = 1};
    for (size_t i = 0; i < ARRAY_LEN(l); i++) {
        lease_init(&l[i], &f->leases, "123456789012/many");
        lease_asking(&l[i]);
        lease_granted(&l[i], &granted);
    }
    assert_int_equal(f->leases.n, ARRAY_LEN(l));
    lease_dropped(&l[0]);
    lease_dropped(&l[5]);
    lease_dropped(&l[11]);
    edge.now += RENEW;
    leases_tick(&f->leases);
    assert_int_equal(edge.n, ARRAY_LEN(l) - 3);
    for (size_t i = 0; i < edge.n; i++) answer(i, 0, 1);
    for (size_t i = 0; i < ARRAY_LEN(l); i++) {
        assert_int_equal(lease_left_ms(&l[i]), i == 0 || i == 5 || i == 11 ? 0 : TTL);
        lease_dropped(&l[i]);
    }
}

#define LEASE_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

/* ---- what Redis grants ---- */

static int eval_acquire(void *self, const struct redis_script *script, size_t n_keys, size_t n_args,
                        const struct redis_arg *args, struct ticket t)
{
    (void)self, (void)n_keys, (void)n_args, (void)args;
    assert_string_equal(script->name, "lease_acquire");
    edge.asked[0] = t;
    return 0;
}

static void on_lease(void *self, uint64_t id, const void *result)
{
    (void)id;
    *(int *)self = ((const struct store_lease *)result)->err;
}

#define TEXT_VALUE(s)                                                                                                  \
    {                                                                                                                  \
        .type = REDIS_STRING, .str = (s), .len = sizeof(s) - 1                                                         \
    }
#define LIST_VALUE(v)                                                                                                  \
    {                                                                                                                  \
        .type = REDIS_ARRAY, .count = ARRAY_LEN(v), .items = (v)                                                       \
    }

/* A grant that is not whole says nothing of what is open: without its journal a second key would be made (I2). Each
 * part in turn is of another type, or is the first that is missing. */
static void half_a_grant_is_none(void **state)
{
    struct fixture *f = *state;
    static const struct redis_value ok = TEXT_VALUE("OK"), number = TEXT_VALUE("7"), now = TEXT_VALUE("1000"),
                                    hold = TEXT_VALUE("1"), nil = {.type = REDIS_NIL}, strange = {.type = REDIS_ARRAY};
    const struct redis_value *journal[] = {&nil, &nil, &nil, &nil, &hold}, *record[] = {&nil, &nil, &nil, &nil};
    struct redis_value j = LIST_VALUE(journal), r = LIST_VALUE(record);
    const struct redis_value *parts[] = {&ok, &number, &now, &j, &r, &hold, &strange};
    struct redis_value grant = LIST_VALUE(parts);
    const struct redis_reply reply = {0, &grant};
    struct store store;
    struct store_user u;
    int err = 1;
    store_init(&store, (struct redis_port){.eval = eval_acquire}, &rng_system, "kr:", TTL);
    store_user_init(&store, &u, f->lease.user.key);
    const struct ticket t = {on_lease, &err, 0};
#define GRANT() (assert_int_equal(store_acquire(&store, &u, t), 0), ticket_complete(edge.asked[0], &reply), err)
    assert_int_equal(GRANT(), 0);
    for (size_t n = 1; n < ARRAY_LEN(parts); n++) {
        grant.count = n;
        if (GRANT() != ERR_NET_BAD_REPLY) fail_msg("%zu parts: %s", n, err_name(err));
    }
    grant.count = ARRAY_LEN(parts);
    for (size_t i = 1; i < ARRAY_LEN(parts); i++) {
        const struct redis_value *kept = parts[i], wrong = {.type = i == 5 ? REDIS_ARRAY : REDIS_INTEGER};
        parts[i] = &wrong;
        if (GRANT() != ERR_NET_BAD_REPLY) fail_msg("part %zu: %s", i, err_name(err));
        parts[i] = kept;
    }
    for (size_t i = 0; i < ARRAY_LEN(journal) + ARRAY_LEN(record); i++) {
        const struct redis_value **at = i < ARRAY_LEN(journal) ? &journal[i] : &record[i - ARRAY_LEN(journal)],
                                 *kept = *at;
        *at = &strange;
        if (GRANT() != ERR_NET_BAD_REPLY) fail_msg("field %zu: %s", i, err_name(err));
        *at = kept;
    }
    j.count = 2;
    assert_int_equal(GRANT(), ERR_NET_BAD_REPLY);
    j.count = ARRAY_LEN(journal);
    r.count = 1;
    assert_int_equal(GRANT(), ERR_NET_BAD_REPLY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        LEASE_TEST(time_counts_from_the_request),
        LEASE_TEST(the_time_of_the_server),
        LEASE_TEST(a_clock_set_forwards_is_noticed),
        LEASE_TEST(renewal_prolongs_from_its_request),
        LEASE_TEST(lost_answer_changes_nothing),
        LEASE_TEST(refusal_ends_it),
        LEASE_TEST(expired_lease_is_not_renewed),
        LEASE_TEST(age_has_an_end),
        LEASE_TEST(late_answer_of_a_dropped_lease),
        LEASE_TEST(redis_down_is_asked_again),
        LEASE_TEST(many_leases),
        LEASE_TEST(half_a_grant_is_none),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
