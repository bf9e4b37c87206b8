/* The engine: order of rows, retries by class, timeouts, answers that come late or never, jumps, polls, ends inside
 * callbacks, the guard, and many sagas at once. Steps here are scripted; the clock is turned by hand. */
#include "lib/err.h"
#include "worker/saga.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int64_t now;

static int64_t now_ms(void *self)
{
    (void)self;
    return now;
}

static void fill(void *self, void *out, size_t len)
{
    (void)self;
    memset(out, 0, len); /* backoff is then half of its range at most */
}

static const struct clock clock_fake = {.wall_ms = now_ms, .mono_ms = now_ms};
static const struct rng rng_zero = {.fill = fill};

/* What a scripted saga does and what was seen of it. */
struct probe {
    struct saga saga;
    char story[512];
    struct ticket out;
    struct saga_verdict say;  /* what the next start says */
    struct saga_verdict then; /* what `got` says */
    bool has_failed_say;
    struct saga_verdict failed_say;
    int failed_err, failed_row;
    unsigned starts;
    int outcome;
    bool ended;
};
static struct saga_engine *engine;
static int64_t guard_says, armed;
static unsigned n_ended;

static void tell(struct probe *p, const char *word)
{
    size_t n = strlen(p->story);
    snprintf(p->story + n, sizeof(p->story) - n, "%s%s", n ? " " : "", word);
}

static struct saga_verdict start(struct saga *s)
{
    struct probe *p = (struct probe *)s;
    tell(p, saga_row(s)->name);
    p->starts++;
    if (p->say.move == SAGA_WAIT) p->out = saga_ticket(s);
    return p->say;
}

static struct saga_verdict got(struct saga *s, const void *result)
{
    struct probe *p = (struct probe *)s;
    const int *err = result;
    tell(p, "got");
    return *err ? saga_fail(*err) : p->then;
}

static struct saga_verdict failed(struct saga *s, int row, int err)
{
    struct probe *p = (struct probe *)s;
    p->failed_row = row;
    p->failed_err = err;
    return p->has_failed_say ? p->failed_say : saga_end(err);
}

static const struct saga_step rows[] = {
    {"a", start, got, 1000, 3, SAGA_REPEATABLE},
    {"b", start, got, 0, 2, SAGA_EFFECT},
    {"c", start, got, 1000, 1, 0},
    {"d", start, got, 1000, 1, SAGA_BOUNDARY},
    {"e", start, got, 1000, 1, SAGA_BOUNDARY | SAGA_REPEATABLE},
};
static const struct saga_table table = {"probe", rows, ARRAY_LEN(rows), failed};

static int64_t guard(void *arg, struct saga *s, const struct saga_step *step)
{
    (void)arg, (void)s, (void)step;
    return guard_says;
}

static void moved(void *arg, struct saga *s, const struct saga_step *from, const struct saga_step *to, int err,
                  int64_t took_ms)
{
    (void)arg, (void)s, (void)from, (void)to, (void)err;
    assert_true(took_ms >= 0);
}

static void ended(void *arg, struct saga *s, int outcome)
{
    struct probe *p = (struct probe *)s;
    (void)arg;
    p->outcome = outcome;
    p->ended = true;
    n_ended++;
}

static void rearm(void *arg, int64_t due)
{
    (void)arg;
    armed = due;
}

static int setup(void **state)
{
    (void)state;
    const struct saga_hooks hooks = {guard, moved, ended, rearm, NULL};
    now = 1000000;
    guard_says = 0;
    n_ended = 0;
    armed = INT64_MAX;
    return saga_engine_new(&clock_fake, &rng_zero, &hooks, &engine);
}

static int teardown(void **state)
{
    (void)state;
    assert_int_equal(saga_count(engine), 0);
    saga_engine_free(engine);
    return 0;
}

static struct probe *begin(int row)
{
    static struct probe p;
    memset(&p, 0, sizeof(p));
    p.say = saga_wait();
    p.then = saga_next();
    assert_int_equal(saga_start(engine, &p.saga, &table, row), 0);
    assert_int_equal(armed, now);
    saga_engine_tick(engine);
    return &p;
}

static void answer(struct probe *p, int err)
{
    struct ticket t = p->out;
    ticket_complete(t, &err);
}

static void rows_run_in_order(void **state)
{
    (void)state;
    struct probe *p = begin(0);
    assert_string_equal(p->story, "a");
    answer(p, 0);
    answer(p, 0);
    p->then = saga_end(7);
    answer(p, 0);
    assert_string_equal(p->story, "a got b got c got");
    assert_true(p->ended);
    assert_int_equal(p->outcome, 7);
}

static void retriable_errors_are_repeated_with_backoff(void **state)
{
    (void)state;
    struct probe *p = begin(0);
    answer(p, ERR_NET_CONNECT);
    assert_int_equal(p->starts, 1); /* not at once */
    assert_true(armed > now && armed <= now + 200);
    now = armed;
    saga_engine_tick(engine);
    assert_int_equal(p->starts, 2);
    assert_int_equal(p->saga.attempt, 1);
    answer(p, ERR_NET_CONNECT);
    now = armed;
    saga_engine_tick(engine);
    assert_int_equal(p->starts, 3);
    answer(p, ERR_NET_CONNECT); /* attempts are spent */
    assert_true(p->ended);
    assert_int_equal(p->failed_err, ERR_NET_CONNECT);
    assert_int_equal(p->failed_row, 0);
}

static void permanent_errors_are_not_repeated(void **state)
{
    (void)state;
    struct probe *p = begin(0);
    answer(p, ERR_AWS_DENIED);
    assert_int_equal(p->starts, 1);
    assert_int_equal(p->outcome, ERR_AWS_DENIED);
}

static void unknown_outcome_is_repeated_only_where_allowed(void **state)
{
    (void)state;
    struct probe *p = begin(0);
    answer(p, ERR_NET_LOST);
    now = armed;
    saga_engine_tick(engine);
    assert_int_equal(p->starts, 2);
    answer(p, 0);
    assert_string_equal(saga_row(&p->saga)->name, "b");
    answer(p, ERR_NET_LOST); /* a create: never again */
    assert_int_equal(p->failed_row, 1);
    assert_true(p->ended);
}

static void errors_about_ourselves_go_to_the_table_at_once(void **state)
{
    (void)state;
    static const int ours[] = {ERR_LEASE_LOST, ERR_JOURNAL_VERSION, ERR_DRAINING};
    for (size_t i = 0; i < ARRAY_LEN(ours); i++) {
        struct probe *p = begin(0);
        answer(p, ours[i]);
        assert_true(p->ended && p->starts == 1 && p->failed_err == ours[i]);
    }
}

static void unanswered_operation_times_out_as_unknown(void **state)
{
    (void)state;
    struct probe *p = begin(1); /* not repeatable */
    assert_int_equal(armed, now + 60000);
    now += 59999;
    saga_engine_tick(engine);
    assert_false(p->ended);
    now += 1;
    saga_engine_tick(engine);
    assert_true(p->ended);
    assert_int_equal(p->failed_err, ERR_TIMEOUT_SENT);
}

static void late_answer_is_dropped(void **state)
{
    (void)state;
    struct probe *p = begin(0);
    struct ticket first = p->out;
    int fine = 0;
    now += 1000;
    saga_engine_tick(engine); /* timed out: the row sleeps before its next try */
    ticket_complete(first, &fine);
    assert_string_equal(p->story, "a");
    now = armed;
    saga_engine_tick(engine);
    ticket_complete(first, &fine);
    assert_string_equal(p->story, "a a");
    answer(p, 0);
    assert_string_equal(p->story, "a a got b");
    ticket_complete(first, &fine);
    p->then = saga_end(1);
    answer(p, 0);
    ticket_complete(first, &fine); /* after the end */
    assert_int_equal(n_ended, 1);
}

static void answer_counts_once(void **state)
{
    (void)state;
    struct probe *p = begin(0);
    struct ticket first = p->out;
    int fine = 0;
    ticket_complete(first, &fine);
    ticket_complete(first, &fine);
    assert_string_equal(p->story, "a got b");
    p->then = saga_end(0);
    answer(p, 0);
}

static void jumps_and_polls(void **state)
{
    (void)state;
    struct probe *p = begin(0);
    p->then = saga_jump_in(2, 500);
    answer(p, 0);
    assert_int_equal(p->saga.row, 2);
    assert_int_equal(p->starts, 1);
    now += 499;
    saga_engine_tick(engine);
    assert_int_equal(p->starts, 1);
    now += 1;
    saga_engine_tick(engine);
    assert_int_equal(p->starts, 2);
    p->then = saga_again(100);
    answer(p, 0);
    assert_int_equal(p->saga.attempt, 0); /* a poll is no attempt */
    saga_wake(&p->saga);
    saga_engine_tick(engine);
    assert_int_equal(p->starts, 3);
    p->then = saga_end(0);
    answer(p, 0);
}

static void wake_leaves_a_pending_answer_alone(void **state)
{
    (void)state;
    struct probe *p = begin(0);
    saga_wake(&p->saga);
    saga_engine_tick(engine);
    assert_int_equal(p->starts, 1);
    p->then = saga_end(0);
    answer(p, 0);
    assert_true(p->ended);
}

/* A drain: what only reads before a boundary is not waited for, an effect and a lease that may be granted unseen are.
 */
static void wake_gives_up_a_read(void **state)
{
    (void)state;
    struct probe *p = begin(3);
    saga_wake(&p->saga);
    saga_engine_tick(engine);
    assert_int_equal(p->starts, 1);
    p->then = saga_jump(4);
    answer(p, 0);
    assert_string_equal(p->story, "d got e");
    struct ticket asked = p->out;
    int fine = 0;
    guard_says = ERR_DRAINING;
    p->has_failed_say = true;
    p->failed_say = saga_end(5);
    saga_wake(&p->saga);
    saga_engine_tick(engine);
    assert_true(p->ended);
    assert_int_equal(p->outcome, 5);
    ticket_complete(asked, &fine); /* comes all the same, and finds nobody */
    assert_string_equal(p->story, "d got e");
}

static void failed_row_may_go_elsewhere(void **state)
{
    (void)state;
    struct probe *p = begin(0);
    p->has_failed_say = true;
    p->failed_say = saga_jump(2);
    answer(p, ERR_AWS_DENIED);
    assert_string_equal(p->story, "a got c");
    p->failed_say = saga_jump_in(1, 300);
    answer(p, ERR_AWS_DENIED);
    assert_string_equal(p->story, "a got c got");
    now += 300;
    saga_engine_tick(engine);
    assert_string_equal(p->story, "a got c got b");
    p->then = saga_end(3);
    answer(p, 0);
    assert_int_equal(p->outcome, 3);
}

static void retry_after_is_obeyed(void **state)
{
    (void)state;
    struct probe *p = begin(0);
    p->then = (struct saga_verdict){SAGA_FAIL, ERR_AWS_THROTTLED, 9000};
    answer(p, 0);
    assert_int_equal(p->saga.due_mono_ms, now + 9000);
    now += 9000;
    p->then = saga_end(0);
    saga_engine_tick(engine);
    answer(p, 0);
}

/* What the step was told by the other side; for longer than a few seconds the table decides, and nobody keeps a lease.
 */
static void the_other_side_is_left_alone(void **state)
{
    (void)state;
    struct probe *p = begin(0);
    p->saga.hold_ms = 4000;
    answer(p, ERR_AWS_THROTTLED);
    assert_int_equal(p->saga.due_mono_ms, now + 4000);
    now += 4000;
    saga_engine_tick(engine);
    assert_int_equal(p->starts, 2);
    answer(p, ERR_AWS_THROTTLED); /* said once, obeyed once */
    assert_true(armed <= now + 400);
    now = armed;
    saga_engine_tick(engine);
    answer(p, 0);
    assert_string_equal(saga_row(&p->saga)->name, "b");
    p->saga.hold_ms = 60000;
    answer(p, ERR_AWS_THROTTLED);
    assert_true(p->ended);
    assert_int_equal(p->failed_row, 1);
}

static void guard_waits_and_fails(void **state)
{
    (void)state;
    guard_says = 250;
    struct probe *p = begin(0);
    assert_int_equal(p->starts, 0);
    assert_int_equal(armed, now + 250);
    guard_says = 0;
    now += 250;
    saga_engine_tick(engine);
    assert_int_equal(p->starts, 1);
    guard_says = ERR_LEASE_LOST;
    answer(p, 0); /* row b is refused before its start */
    assert_true(p->ended);
    assert_int_equal(p->failed_row, 1);
    assert_int_equal(p->starts, 1);
}

static void ends_without_waiting(void **state)
{
    (void)state;
    static struct probe p;
    memset(&p, 0, sizeof(p));
    p.say = saga_end(5);
    assert_int_equal(saga_start(engine, &p.saga, &table, 0), 0);
    assert_false(p.ended); /* never before saga_start() returned */
    saga_engine_tick(engine);
    assert_true(p.ended && p.outcome == 5);
}

/* An owner may free the saga and start the next one inside `ended`. */
static void restart_ended(void *arg, struct saga *s, int outcome)
{
    struct probe *p = (struct probe *)s;
    (void)arg;
    unsigned left = p->starts;
    bool again = ++n_ended < 1000;
    assert_int_equal(outcome, 9);
    assert_int_equal(left, 1);
    free(p);
    if (!again) return;
    p = calloc(1, sizeof(*p));
    assert_non_null(p);
    p->say = saga_end(9);
    assert_int_equal(saga_start(engine, &p->saga, &table, 0), 0);
}

static void owner_frees_and_restarts_inside_ended(void **state)
{
    (void)state;
    const struct saga_hooks hooks = {guard, moved, restart_ended, rearm, NULL};
    saga_engine_free(engine);
    assert_int_equal(saga_engine_new(&clock_fake, &rng_zero, &hooks, &engine), 0);
    struct probe *p = calloc(1, sizeof(*p));
    assert_non_null(p);
    p->say = saga_end(9);
    assert_int_equal(saga_start(engine, &p->saga, &table, 0), 0);
    unsigned ticks = 0;
    while (saga_count(engine)) {
        saga_engine_tick(engine);
        assert_true(++ticks < 5000);
    }
    assert_int_equal(n_ended, 1000);
    assert_true(ticks > 100); /* one that restarts for ever does not keep the loop */
}

#define MANY 500

static void many_sagas_wake_in_order(void **state)
{
    (void)state;
    static struct probe p[MANY];
    memset(p, 0, sizeof(p));
    for (int i = 0; i < MANY; i++) {
        p[i].say = saga_again(1 + (i * 7919) % 1000);
        assert_int_equal(saga_start(engine, &p[i].saga, &table, 0), 0);
    }
    saga_engine_tick(engine);
    assert_int_equal(saga_count(engine), MANY);
    int64_t t0 = now;
    for (int i = 0; i < MANY; i++) p[i].say = saga_end(0);
    while (saga_count(engine)) {
        assert_true(armed >= now && armed <= t0 + 1000);
        now = armed;
        saga_engine_tick(engine);
        for (int i = 0; i < MANY; i++) assert_int_equal(p[i].ended, t0 + 1 + (i * 7919) % 1000 <= now);
    }
    assert_int_equal(n_ended, MANY);
}

#define SAGA_TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        SAGA_TEST(rows_run_in_order),
        SAGA_TEST(retriable_errors_are_repeated_with_backoff),
        SAGA_TEST(permanent_errors_are_not_repeated),
        SAGA_TEST(unknown_outcome_is_repeated_only_where_allowed),
        SAGA_TEST(errors_about_ourselves_go_to_the_table_at_once),
        SAGA_TEST(unanswered_operation_times_out_as_unknown),
        SAGA_TEST(late_answer_is_dropped),
        SAGA_TEST(answer_counts_once),
        SAGA_TEST(jumps_and_polls),
        SAGA_TEST(wake_leaves_a_pending_answer_alone),
        SAGA_TEST(wake_gives_up_a_read),
        SAGA_TEST(failed_row_may_go_elsewhere),
        SAGA_TEST(retry_after_is_obeyed),
        SAGA_TEST(the_other_side_is_left_alone),
        SAGA_TEST(guard_waits_and_fails),
        SAGA_TEST(ends_without_waiting),
        SAGA_TEST(owner_frees_and_restarts_inside_ended),
        SAGA_TEST(many_sagas_wake_in_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
