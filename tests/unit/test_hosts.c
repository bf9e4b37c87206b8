/* Calls per host: never more than allowed at one, others not held up by it, urgent ones first, requests kept whole. */
#include "lib/err.h"
#include "lib/secret.h"
#include "worker/hosts.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define MANY 64

static struct ticket open_tickets[MANY]; /* of the calls that left */
static char left[MANY][32];              /* their licences, in order */
static size_t n_left, n_answered;
static int refuse, answers[MANY];
static bool again; /* an owner calls again as soon as it is answered */
static struct hosts *h;

static int take(void *self, const struct instance_request *req, struct ticket t)
{
    (void)self;
    if (refuse) return refuse;
    assert_string_equal(req->target.profile, "default");
    assert_string_equal(secret_bytes(req->secret), "a secret");
    snprintf(left[n_left], sizeof left[n_left], "%s", req->target.licence);
    open_tickets[n_left++] = t;
    return 0;
}
static bool can(void *self, const char *profile, struct instance_abilities *ret)
{
    (void)self, (void)profile, (void)ret;
    return true;
}

static void answered(void *self, uint64_t id, const void *result);

static int call(const char *url, const char *licence, bool urgent, uint64_t id)
{
    char at[64], who[32]; /* as a caller may: they go when the call returned */
    AUTO_SECRET struct secret *secret = secret_from_string("a secret");
    snprintf(at, sizeof at, "%s", url);
    snprintf(who, sizeof who, "%s", licence);
    const struct instance_request req = {
        .op = INSTANCE_WRITE_KEY, .target = {who, at, "default", "env:LOGIN"}, .secret = secret, .urgent = urgent};
    struct instance_port p = hosts_instance(h);
    int rc = p.call(p.self, &req, (struct ticket){answered, NULL, id});
    memset(at, 'x', sizeof at);
    memset(who, 'x', sizeof who);
    return rc;
}

static void answered(void *self, uint64_t id, const void *result)
{
    (void)self;
    answers[id] = ((const struct instance_result *)result)->err;
    n_answered++;
    if (!again) return;
    again = false;
    assert_int_equal(call("http://one:80", "again", false, MANY - 1), 0);
}

static void answer(size_t i)
{
    const struct instance_result r = {.err = 0};
    ticket_complete(open_tickets[i], &r);
}

static int setup(void **state)
{
    (void)state;
    n_left = n_answered = 0;
    refuse = 0;
    return hosts_new((struct instance_port){NULL, take, can}, 2, &h);
}

static int teardown(void **state)
{
    (void)state;
    hosts_free(h);
    return 0;
}

static void a_host_has_its_share(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 5; i++) assert_int_equal(call("http://one:80/L1/", "one", false, i), 0);
    assert_int_equal(n_left, 2);
    assert_int_equal(hosts_waiting(h), 3);
    assert_int_equal(call("http://two:80", "two", false, 5), 0); /* not held up */
    assert_int_equal(call("HTTP://ONE:80/L2", "urgent", true, 6), 0);
    assert_int_equal(n_left, 3);
    answer(0);
    assert_int_equal(n_left, 4);
    assert_string_equal(left[3], "urgent");
    for (size_t i = 1; i < n_left; i++) {
        answer(i);
        assert_in_range(n_left - n_answered, 0, 2 + 1); /* two at one, one at two */
    }
    assert_int_equal(n_answered, 7);
    assert_int_equal(hosts_waiting(h), 0);
}

/* The limit is that of all workers: what is begun beyond this one's part ends, and what waits goes when the part grows.
 */
static void workers_share_a_host(void **state)
{
    (void)state;
    assert_int_equal(hosts_limit(h), 2);
    for (uint64_t i = 0; i < 6; i++) assert_int_equal(call("http://one:80", "a", false, i), 0);
    assert_int_equal(call("http://two:80", "b", false, 6), 0);
    assert_int_equal(n_left, 3);
    hosts_share(h, 2);
    assert_int_equal(hosts_limit(h), 1);
    answer(0);
    assert_int_equal(n_left, 3); /* one is under way: no other */
    answer(1);
    assert_int_equal(n_left, 4);
    hosts_share(h, 5000); /* more workers than calls: one each, or their jobs would never end */
    assert_int_equal(hosts_limit(h), 1);
    hosts_share(h, 1);
    assert_int_equal(n_left, 5);
    assert_int_equal(hosts_waiting(h), 2);
    hosts_share(h, 2);
    refuse = ERR_BREAKER_OPEN;
    hosts_share(h, 1); /* both are taken: nothing may leave */
    assert_int_equal(n_answered, 2);
    for (size_t i = 2; i < 5; i++) answer(i);
    assert_int_equal(n_answered, 7); /* the last ones were refused when their turn came */
    assert_int_equal(hosts_waiting(h), 0);
}

static void the_next_call_waits_behind_others(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 3; i++) assert_int_equal(call("http://one:80", i < 2 ? "first" : "third", false, i), 0);
    again = true;
    answer(0);
    assert_int_equal(n_left, 3);
    assert_string_equal(left[2], "third");
    answer(1);
    assert_string_equal(left[3], "again");
    answer(2);
    answer(3);
}

/* What is refused when its turn comes (a breaker opened meanwhile) is answered, and the next one has its turn. */
static void refusals(void **state)
{
    (void)state;
    refuse = ERR_NOMEM;
    assert_int_equal(call("http://one:80", "a", false, 0), ERR_NOMEM);
    refuse = 0;
    for (uint64_t i = 0; i < 6; i++) assert_int_equal(call("http://one:80", "a", false, i), 0);
    refuse = ERR_BREAKER_OPEN;
    answer(0);
    assert_int_equal(n_answered, 5);
    for (size_t i = 2; i < 6; i++) assert_int_equal(answers[i], ERR_BREAKER_OPEN);
    refuse = 0;
    answer(1);
    assert_int_equal(call("http://one:80", "b", false, 7), 0);
    assert_string_equal(left[2], "b");
    answer(2);
}

static void the_end(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < 5; i++) assert_int_equal(call("http://one:80", "a", false, i), 0);
    hosts_stop(h);
    answer(0); /* the port behind answers what is under way; what waits is dropped */
    answer(1);
    assert_int_equal(n_left, 2);
    assert_int_equal(n_answered, 2);
    assert_int_equal(hosts_waiting(h), 3);
    assert_int_equal(call("http://one:80", "a", false, 0), ERR_CANCELLED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_host_has_its_share, setup, teardown),
        cmocka_unit_test_setup_teardown(workers_share_a_host, setup, teardown),
        cmocka_unit_test_setup_teardown(the_next_call_waits_behind_others, setup, teardown),
        cmocka_unit_test_setup_teardown(refusals, setup, teardown),
        cmocka_unit_test_setup_teardown(the_end, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
