/* The loop: order of calls in a turn, cancelling, freeing inside callbacks, busy time. */
#include "lib/loop.h"

#include "lib/clock.h"
#include "lib/err.h"

#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct loop *l;
    struct loop_timer *timer, *other;
    struct loop_turn *turn, *turn_b;
    struct loop_fd *watch;
    char story[64];
    int count, flag, fd;
};

static int64_t now_us(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.l = loop_new()};
    *state = &f;
    return f.l ? 0 : -1;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    loop_free(f->l);
    return 0;
}

static void tell(struct fixture *f, char c)
{
    size_t len = strlen(f->story);
    if (len + 1 < sizeof f->story) f->story[len] = c;
}

static void tell_a(void *arg)
{
    tell(arg, 'a');
}

static void tell_b(void *arg)
{
    tell(arg, 'b');
}

static void set_flag(void *arg)
{
    ((struct fixture *)arg)->flag = 1;
}

static void timer_that_defers(void *arg)
{
    struct fixture *f = arg;
    tell(f, 't');
    assert_int_equal(loop_defer(f->l, tell_a, f), 0);
    assert_int_equal(loop_defer(f->l, tell_b, f), 0);
    tell(f, 'u');
}

static void timer_is_one_shot_and_not_early(void **state)
{
    struct fixture *f = *state;
    for (int delay_ms = 0; delay_ms < 12; delay_ms += 3) {
        f->timer = loop_timer_new(f->l, set_flag, f);
        f->flag = 0;
        int64_t start = now_us();
        loop_timer_start(f->timer, delay_ms);
        loop_run_until(f->l, &f->flag);
        assert_true(now_us() - start >= delay_ms * 1000);
        assert_int_equal(f->flag, 1);
        loop_timer_free(f->timer);
    }
    assert_int_equal(loop_run(f->l), 0); /* returns: nothing is left */
}

static void stopped_timer_does_not_fire(void **state)
{
    struct fixture *f = *state;
    f->timer = loop_timer_new(f->l, set_flag, f);
    loop_timer_start(f->timer, 1);
    loop_timer_stop(f->timer);
    assert_int_equal(loop_run(f->l), 0);
    assert_int_equal(f->flag, 0);
    loop_timer_free(f->timer);
}

static void deferred_calls_run_in_order_after_the_callback(void **state)
{
    struct fixture *f = *state;
    f->timer = loop_timer_new(f->l, timer_that_defers, f);
    f->turn = loop_on_turn(f->l, tell_b, f); /* the turn's end comes after the deferred calls */
    loop_timer_start(f->timer, 0);
    assert_int_equal(loop_run(f->l), 0);
    assert_memory_equal(f->story, "tuabb", 5);
    loop_turn_free(f->turn);
    loop_timer_free(f->timer);
}

static void defer_again(void *arg)
{
    struct fixture *f = arg;
    if (++f->count < 1000) assert_int_equal(loop_defer(f->l, defer_again, f), 0);
}

static void a_call_that_defers_itself_does_not_starve_timers(void **state)
{
    struct fixture *f = *state;
    f->timer = loop_timer_new(f->l, tell_a, f);
    loop_timer_start(f->timer, 0);
    assert_int_equal(loop_defer(f->l, defer_again, f), 0);
    while (f->story[0] == 0 && f->count < 1000) loop_run_until(f->l, &f->count);
    assert_true(f->count < 1000);
    assert_int_equal(loop_run(f->l), 0);
    assert_int_equal(f->count, 1000);
    loop_timer_free(f->timer);
}

static void cancel_others(void *arg)
{
    struct fixture *f = arg;
    tell(f, 'c');
    loop_defer_cancel(f->l, tell_b, f);
}

static void cancelled_call_does_not_run(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_defer(f->l, tell_a, f), 0);
    loop_defer_cancel(f->l, tell_a, f);
    assert_int_equal(loop_defer(f->l, cancel_others, f), 0);
    assert_int_equal(loop_defer(f->l, tell_b, f), 0); /* cancelled while its batch runs */
    assert_int_equal(loop_run(f->l), 0);
    assert_string_equal(f->story, "c");
}

static void free_turns(void *arg)
{
    struct fixture *f = arg;
    tell(f, 'x');
    loop_turn_free(f->turn);
    loop_turn_free(f->turn_b);
    f->turn = f->turn_b = NULL;
}

static void turns_may_be_freed_from_a_turn(void **state)
{
    struct fixture *f = *state;
    f->turn_b = loop_on_turn(f->l, tell_b, f); /* would run after the next one, which frees both */
    f->turn = loop_on_turn(f->l, free_turns, f);
    assert_int_equal(loop_defer(f->l, tell_a, f), 0);
    assert_int_equal(loop_run(f->l), 0);
    assert_string_equal(f->story, "ax");
}

static void read_fd(void *arg)
{
    struct fixture *f = arg;
    uint64_t value = 0;
    assert_int_equal(read(f->fd, &value, sizeof value), sizeof value);
    f->count += (int)value;
    loop_fd_free(f->watch); /* inside its own callback */
}

static void descriptor_is_watched(void **state)
{
    struct fixture *f = *state;
    f->fd = eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC);
    f->watch = loop_fd_new(f->l, f->fd, read_fd, f);
    assert_non_null(f->watch);
    assert_int_equal(loop_run(f->l), 0);
    assert_int_equal(f->count, 3);
    close(f->fd);
    assert_null(loop_fd_new(f->l, -1, read_fd, f));
}

static void signal_stops_the_loop(void *arg)
{
    loop_stop(((struct fixture *)arg)->l);
}

static void raise_signal(void *arg)
{
    (void)arg;
    raise(SIGUSR1);
}

static void signals_arrive_and_stop(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(loop_signal(f->l, SIGUSR1, signal_stops_the_loop, f), 0);
    assert_int_equal(loop_signal(f->l, -5, signal_stops_the_loop, f), ERR_IO);
    f->timer = loop_timer_new(f->l, raise_signal, f);
    f->other = loop_timer_new(f->l, tell_a, f); /* would keep the loop for an hour; freed by loop_free */
    loop_timer_start(f->timer, 0);
    loop_timer_start(f->other, 3600000);
    assert_int_equal(loop_run(f->l), 0);
    assert_true(loop_stopping(f->l));
    loop_run_until(f->l, &f->flag); /* a stopped loop runs no more */
    assert_int_equal(loop_run(f->l), 0);
    assert_string_equal(f->story, "");
}

static void burn(void *arg)
{
    struct fixture *f = arg;
    uint64_t value = 0;
    assert_int_equal(read(f->fd, &value, sizeof value), sizeof value);
    int64_t until = now_us() + 30000;
    while (now_us() < until) {
    }
    loop_timer_start(f->timer, 1000); /* asleep time must not count */
}

static void busy_time_counts_descriptor_callbacks_and_not_sleep(void **state)
{
    struct fixture *f = *state;
    f->fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC);
    f->watch = loop_fd_new(f->l, f->fd, burn, f);
    f->timer = loop_timer_new(f->l, set_flag, f);
    loop_run_until(f->l, &f->flag);
    loop_fd_free(f->watch);
    loop_timer_free(f->timer);
    close(f->fd);
    assert_int_equal(loop_run(f->l), 0);
    struct loop_stats s;
    loop_stats(f->l, &s);
    assert_true(s.turns >= 2);
    assert_true(s.max_us >= 29000);
    assert_true(s.p50_us < 500000); /* the turn that slept 1 s was short */
    assert_true(s.p99_us <= s.max_us);
}

static void heartbeat_moves_while_idle(void **state)
{
    struct fixture *f = *state;
    int64_t before = loop_heartbeat_mono_ms(f->l);
    f->timer = loop_timer_new(f->l, set_flag, f);
    loop_timer_start(f->timer, 1300);
    loop_run_until(f->l, &f->flag);
    loop_timer_free(f->timer);
    assert_true(loop_heartbeat_mono_ms(f->l) >= before + 900);
    assert_true(clock_mono_ms(&clock_system) - loop_heartbeat_mono_ms(f->l) < 900);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(timer_is_one_shot_and_not_early, setup, teardown),
        cmocka_unit_test_setup_teardown(stopped_timer_does_not_fire, setup, teardown),
        cmocka_unit_test_setup_teardown(deferred_calls_run_in_order_after_the_callback, setup, teardown),
        cmocka_unit_test_setup_teardown(a_call_that_defers_itself_does_not_starve_timers, setup, teardown),
        cmocka_unit_test_setup_teardown(cancelled_call_does_not_run, setup, teardown),
        cmocka_unit_test_setup_teardown(turns_may_be_freed_from_a_turn, setup, teardown),
        cmocka_unit_test_setup_teardown(descriptor_is_watched, setup, teardown),
        cmocka_unit_test_setup_teardown(signals_arrive_and_stop, setup, teardown),
        cmocka_unit_test_setup_teardown(busy_time_counts_descriptor_callbacks_and_not_sleep, setup, teardown),
        cmocka_unit_test_setup_teardown(heartbeat_moves_while_idle, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
