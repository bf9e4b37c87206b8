/* Turns over a fake loop and HTTP: who may begin, with what slot, and what never waits for it. */
#include "fake_aws.h"

#include "lib/aws_call.h"
#include "lib/aws_creds.h"
#include "lib/aws_turns.h"

#define A    "123456789012"
#define B    "210987654321"
#define MANY (AWS_TURNS_PLACES + 8)

static struct aws_creds *creds;
static struct aws_call *edge;
static struct aws_port port;
static struct aws_turn_port turns;
static struct aws_turn t[MANY];
static int n_ready, order[MANY];

static void on_ready(struct aws_turn *one)
{
    order[n_ready++] = (int)(one - t);
}

static int setup_rate(double rate)
{
    (void)setenv("AWS_ACCESS_KEY_ID", "AKIAWORKERWORKER0001", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "worker-secret", 1);
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
    (void)setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
    struct aws_creds_options co = {.clock = &fake_clock, .rng = &rng_system, .region = "eu-west-1"};
    struct aws_call_options o = {
        .clock = &fake_clock, .rng = &rng_system, .region = "eu-west-1", .calls_per_s = rate, .burst = 2};
    n_ready = 0;
    memset(t, 0, sizeof t);
    for (int i = 0; i < MANY; i++) t[i].ready = on_ready;
    if (aws_creds_new(NULL, &co, &creds) < 0) return 1;
    o.creds = creds;
    if (aws_call_new(NULL, &o, &edge) < 0) return 1;
    port = aws_call_port(edge);
    turns = aws_call_turns(edge);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_rate(0);
}
static int setup_slow(void **state)
{
    (void)state;
    return setup_rate(1);
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < MANY; i++) turns.end(turns.self, &t[i]);
    aws_call_free(edge);
    aws_creds_free(creds);
    fake_reset();
    return secret_count() != 0 || !LIST_EMPTY(&fake_timers);
}

static int take(const char *account, int i)
{
    return turns.take(turns.self, account, &t[i]);
}

static void on_done(void *self, uint64_t id, const void *result)
{
    (void)self, (void)id, (void)result;
}

static void call(enum aws_op op, bool urgent, struct aws_turn *turn)
{
    const struct aws_request q = {.op = op,
                                  .account = A,
                                  .user = "SynergistExpress-77",
                                  .key_id = "AKIAIOSFODNN7EXAMPLE",
                                  .urgent = urgent,
                                  .turn = turn};
    assert_int_equal(port.call(port.self, &q, (struct ticket){.done = on_done}), 0);
}

static void a_turn_is_a_slot_of_the_budget(void **state)
{
    (void)state;
    assert_int_equal(take(A, 0), 1);
    assert_int_equal(take(A, 1), 1); /* the burst */
    assert_int_equal(take(A, 2), 0);
    assert_int_equal(take(A, 3), 0);
    assert_int_equal(take(B, 4), 1); /* another account has a budget of its own */
    turn(999);
    assert_int_equal(n_ready, 0);
    turn(2);
    assert_int_equal(n_ready, 1);
    assert_int_equal(order[0], 2);
    call(AWS_LIST_ACCESS_KEYS, false, &t[2]); /* it has its slot */
    turn(0);
    assert_int_equal(n_sent, 1);
    call(AWS_LIST_ACCESS_KEYS, false, &t[2]); /* and only one */
    turn(0);
    assert_int_equal(n_sent, 1);
    turn(1000);
    assert_int_equal(n_sent, 2); /* a call goes before a turn */
    assert_int_equal(n_ready, 1);
    turn(1000);
    assert_int_equal(n_ready, 2);
    assert_int_equal(order[1], 3);
}

static void a_slot_does_not_keep(void **state)
{
    (void)state;
    assert_int_equal(take(A, 0), 1);
    assert_int_equal(take(A, 1), 1);
    turn(AWS_TURNS_SLOT_MS + 1);
    call(AWS_GET_USER, true, NULL); /* what has come together meanwhile */
    turn(0);
    assert_int_equal(n_sent, 1);
    call(AWS_LIST_ACCESS_KEYS, false, &t[0]);
    turn(0);
    assert_int_equal(n_sent, 1);
    turn(1000);
    assert_int_equal(n_sent, 2);
}

static void who_gave_up_has_no_turn(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) (void)take(A, i);
    turns.end(turns.self, &t[2]);
    turns.end(turns.self, &t[2]);
    turns.end(turns.self, &t[7]); /* never taken */
    turn(1001);
    assert_int_equal(n_ready, 1);
    assert_int_equal(order[0], 3);
}

static void writes_that_queue_hold_beginners_back(void **state)
{
    (void)state;
    for (int i = 0; i < 2 + 33; i++) call(AWS_UPDATE_ACCESS_KEY, true, NULL); /* the burst, and one too many */
    turn(0);
    assert_int_equal(n_sent, 2);
    assert_int_equal(take(A, 0), 0);
    assert_int_equal(take(B, 1), 1);
    turn(1001);
    assert_int_equal(n_sent, 3);
    assert_int_equal(n_ready, 0);
    turn(1000);
    assert_int_equal(n_ready, 1);
}

static void so_many_begin_at_once(void **state)
{
    (void)state;
    for (int i = 0; i < AWS_TURNS_PLACES; i++) assert_int_equal(take(A, i), 1); /* no rate */
    for (int i = 0; i < 6; i++) assert_int_equal(take(i == 5 ? B : A, AWS_TURNS_PLACES + i), 0);
    call(AWS_LIST_ACCESS_KEYS, false, NULL); /* a call needs no place */
    turn(0);
    assert_int_equal(n_sent, 1);
    assert_int_equal(n_ready, 0);
    turns.end(turns.self, &t[3]);
    turns.end(turns.self, &t[4]);
    turn(0);
    assert_int_equal(n_ready, 2);
    assert_true(order[0] == AWS_TURNS_PLACES + 5 || order[1] == AWS_TURNS_PLACES + 5); /* accounts turn about */
    turn(AWS_TURNS_PLACE_MS); /* places run out, so the rest begin */
    assert_int_equal(n_ready, 6);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_turn_is_a_slot_of_the_budget, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(a_slot_does_not_keep, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(who_gave_up_has_no_turn, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(writes_that_queue_hold_beginners_back, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(so_many_begin_at_once, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
