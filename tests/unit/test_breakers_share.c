/* Breakers that workers tell each other of: what is written when one opens and closes here, and what another worker's
 * word does. Redis is the test's, the clock is real: a look comes every half second. */
#include "lib/err.h"
#include "lib/loop.h"
#include "worker/breakers_share.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ACCOUNT "123456789012"
#define NAME    "account:" ACCOUNT
#define CALLS   25 /* enough to open it */

struct world {
    struct loop *loop;
    struct store store;
    struct breakers *b;
    struct breakers_share *share;
    struct ticket look, call[CALLS]; /* asked for and not answered */
    int looks, wake;
    size_t n_calls, n_sets, n_dels;
    char value[400];
};

static int command(void *self, size_t n, const struct redis_arg *args, struct ticket t)
{
    struct world *w = self;
    assert_string_equal(args[1].data, "kr:breakers");
    if (!strcmp(args[0].data, "HGETALL")) {
        w->look = t;
        w->looks++;
        w->wake = 1;
        return 0;
    }
    assert_string_equal(args[2].data, NAME);
    w->n_sets += !strcmp(args[0].data, "HSET");
    w->n_dels += !strcmp(args[0].data, "HDEL");
    if (n == 4) snprintf(w->value, sizeof(w->value), "%.*s", (int)args[3].len, (const char *)args[3].data);
    return 0;
}

static int aws_call(void *self, const struct aws_request *req, struct ticket t)
{
    struct world *w = self;
    (void)req;
    w->call[w->n_calls++ % CALLS] = t;
    return 0;
}

static void on_result(void *self, uint64_t id, const void *result)
{
    (void)self, (void)id, (void)result;
}

/* One call for this user, answered with err; or the code it was refused with. */
static int call_in(struct world *w, const char *account, const char *user, int err)
{
    struct aws_port p = breakers_aws(w->b);
    const struct aws_request q = {.op = AWS_LIST_ACCESS_KEYS, .account = account, .user = user};
    size_t at = w->n_calls % CALLS;
    int rc = p.call(p.self, &q, (struct ticket){on_result, w, 0});
    if (rc < 0) return rc;
    struct aws_result r = {.err = err, .retry_after_ms = -1};
    snprintf(r.message, sizeof(r.message), "they said \"no\"");
    ticket_complete(w->call[at], &r);
    return 0;
}

static int call(struct world *w, const char *user, int err)
{
    return call_in(w, ACCOUNT, user, err);
}

static void open_it(struct world *w)
{
    for (int i = 0; i < CALLS && !breakers_open(w->b); i++) {
        char user[16];
        snprintf(user, sizeof(user), "u%d", i);
        assert_int_equal(call(w, user, ERR_AWS_FAILURE), 0);
    }
    assert_int_equal(breakers_open(w->b), 1);
}

static void wait_for_look(struct world *w)
{
    int before = w->looks;
    while (w->looks == before) {
        w->wake = 0;
        loop_run_until(w->loop, &w->wake);
    }
}

/* Answers the look: what the hash holds, or err. */
static void answer(struct world *w, bool is_open, int err)
{
    static const struct redis_value field = {.type = REDIS_STRING, .str = NAME, .len = sizeof(NAME) - 1},
                                    value = {.type = REDIS_STRING, .str = "{}", .len = 2};
    static const struct redis_value *const items[] = {&field, &value};
    const struct redis_value array = {.type = REDIS_ARRAY, .count = is_open ? 2 : 0, .items = items};
    const struct redis_reply r = {.err = err, .value = &array};
    ticket_complete(w->look, &r);
}

static int setup(void **state)
{
    static struct world w;
    memset(&w, 0, sizeof(w));
    w.loop = loop_new();
    store_init(&w.store, (struct redis_port){.self = &w, .command = command}, &rng_system, "kr:", 15000);
    const struct breakers_share_options s = {.loop = w.loop, .store = &w.store, .worker_id = "w1"};
    assert_int_equal(breakers_share_new(&s, &w.share), 0);
    const struct breakers_options b = {.clock = &clock_system,
                                       .rng = &rng_system,
                                       .aws = {.self = &w, .call = aws_call},
                                       .on_change = breakers_share_changed,
                                       .arg = w.share};
    assert_int_equal(breakers_new(&b, &w.b), 0);
    breakers_share_bind(w.share, w.b, NULL);
    *state = &w;
    return 0;
}

static int teardown(void **state)
{
    struct world *w = *state;
    breakers_share_free(w->share);
    breakers_free(w->b);
    loop_free(w->loop);
    return 0;
}

static void one_that_opens_is_told(void **state)
{
    struct world *w = *state;
    open_it(w);
    assert_int_equal(w->n_sets, 1);
    assert_non_null(strstr(w->value, "\"state\":\"open\""));
    assert_non_null(strstr(w->value, "\"by\":\"w1\""));
    assert_null(strstr(w->value, "they said")); /* words of others stay in the log */
    assert_int_equal(call(w, "u1", 0), ERR_BREAKER_OPEN);
}

static void what_others_closed_closes_here(void **state)
{
    struct world *w = *state;
    open_it(w);
    wait_for_look(w);
    answer(w, false, 0); /* too young: it may not stand there yet */
    assert_int_equal(breakers_open(w->b), 1);
    int64_t end = clock_mono_ms(&clock_system) + 1500;
    while (clock_mono_ms(&clock_system) < end) {
        wait_for_look(w);
        answer(w, true, 0);
        assert_int_equal(breakers_open(w->b), 1);
    }
    wait_for_look(w);
    answer(w, false, ERR_REDIS_DOWN); /* which tells nothing */
    assert_int_equal(breakers_open(w->b), 1);
    wait_for_look(w);
    answer(w, false, 0);
    assert_int_equal(breakers_open(w->b), 0);
    assert_int_equal(call(w, "u1", 0), 0);
    assert_int_equal(w->n_sets, 1);
    assert_int_equal(w->n_dels, 0); /* who saw it has told Redis */
}

static void a_probe_that_is_answered_is_told(void **state)
{
    struct world *w = *state;
    open_it(w);
    while (call(w, "another", 0) == ERR_BREAKER_OPEN) { /* until the probe's time has come */
        wait_for_look(w);
        answer(w, true, 0);
    }
    assert_int_equal(breakers_open(w->b), 0);
    assert_int_equal(w->n_dels, 1);
}

static void an_answer_after_the_end(void **state)
{
    struct world *w = *state;
    open_it(w);
    wait_for_look(w);
    breakers_share_free(TAKE(w->share));
    answer(w, false, 0);
    assert_int_equal(breakers_open(w->b), 1);
}

/* An open one is seen among more than a metric has series for. */
static void an_open_one_among_many_is_told(void **state)
{
    struct world *w = *state;
    AUTO_BUF struct buf text;
    buf_init(&text, 1 << 20);
    struct metrics *m = metrics_new();
    for (unsigned i = 0; i < 300; i++) {
        char account[16];
        snprintf(account, sizeof(account), "%012u", i);
        assert_int_equal(call_in(w, account, "u1", 0), 0);
    }
    breakers_share_collect(w->share, m, true);
    open_it(w);
    breakers_share_collect(w->share, m, true);
    assert_int_equal(metrics_write(m, &text), 0);
    assert_non_null(strstr(buf_str(&text), "\"} 2\n"));
    breakers_close(w->b, NAME);
    breakers_share_collect(w->share, m, true);
    buf_reset(&text);
    assert_int_equal(metrics_write(m, &text), 0);
    assert_null(strstr(buf_str(&text), "\"} 2\n"));
    metrics_free(m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_that_opens_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(what_others_closed_closes_here, setup, teardown),
        cmocka_unit_test_setup_teardown(a_probe_that_is_answered_is_told, setup, teardown),
        cmocka_unit_test_setup_teardown(an_answer_after_the_end, setup, teardown),
        cmocka_unit_test_setup_teardown(an_open_one_among_many_is_told, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
