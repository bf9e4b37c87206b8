/* The consumers against librdkafka's mock broker, without memory when a message or a rebalance comes. No message is
 * passed over: what could not be copied is fetched again, and nothing behind it is handed on before it, since the
 * commit would pass it. A rebalance that cannot be noted is told as fatal, since nobody would read its partitions. */
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/kafka_follow.h"
#include "lib/kafka_in.h"
#include "lib/kafka_mock.h"
#include "lib/kafka_out.h"
#include "lib/loop.h"
#include "tests/torture/torture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MESSAGES 12

static struct kafka_mock *mock;
static const char *brokers;

/* One consumer of either kind, and what it was given. */
struct reader {
    struct loop *loop;
    struct kafka_in *in;
    struct kafka_follow *follow;
    int wake, assigned, fatal, missed;
    int64_t next;              /* the offset that has to come now; all others fail the test */
    int64_t every, refused_at; /* after so many messages an allocation is refused, once; 0: never */
    int64_t three_after;       /* after so many, the next three; 0: never */
    char reason[200];
};

static void wake(void *arg)
{
    *(int *)arg = 1;
}

/* Turns the loop until wake is set, or for a second. */
static void turn(struct reader *r)
{
    torture_pause(true); /* the timer is the test's own */
    struct loop_timer *t = loop_timer_new(r->loop, wake, &r->wake);
    torture_pause(false);
    r->wake = 0;
    loop_timer_start(t, 1000);
    loop_run_until(r->loop, &r->wake);
    loop_timer_free(t);
}

static void on_message(void *arg, const struct kafka_message_in *m)
{
    struct reader *r = arg;
    assert_int_equal(m->offset, r->next);
    r->next++;
    r->wake = 1;
    if (r->next == r->three_after) torture_arm_many(1, 3);
    if (!r->every || r->next % r->every || r->next == r->refused_at) return;
    r->refused_at = r->next;
    torture_arm(1);
}

static void on_assigned(void *arg, const struct kafka_partition *p, size_t n)
{
    struct reader *r = arg;
    (void)p;
    r->assigned += (int)n;
    r->wake = 1;
}

static void on_fatal(void *arg, const char *reason)
{
    struct reader *r = arg;
    r->fatal++;
    snprintf(r->reason, sizeof(r->reason), "%s", reason);
    r->wake = 1;
}

static void on_log(void *arg, int level, const char *fac, const char *text)
{
    struct reader *r = arg;
    (void)level;
    r->missed += !strcmp(fac, "MESSAGE") && strstr(text, "no memory");
}

static void on_caught_up(void *arg)
{
    ((struct reader *)arg)->wake = 1;
}

static void join(struct reader *r, const char *topic, const char *group)
{
    const struct kafka_in_options o = {.brokers = brokers,
                                       .group = group,
                                       .topics = &topic,
                                       .n_topics = 1,
                                       .session_timeout_ms = 60000,
                                       .heartbeat_ms = 500,
                                       .on_message = on_message,
                                       .on_assigned = on_assigned,
                                       .on_fatal = on_fatal,
                                       .on_log = on_log,
                                       .arg = r};
    assert_int_equal(kafka_in_new(r->loop, &o, &r->in, NULL), 0);
}

static void follow(struct reader *r, const char *topic)
{
    const struct kafka_follow_options o = {.brokers = brokers,
                                           .topic = topic,
                                           .on_message = on_message,
                                           .on_caught_up = on_caught_up,
                                           .on_log = on_log,
                                           .arg = r};
    assert_int_equal(kafka_follow_new(r->loop, &o, &r->follow, NULL), 0);
}

static void delivered(void *self, uint64_t id, const void *result)
{
    (void)id;
    assert_int_equal(((const struct kafka_report *)result)->err, 0);
    ++*(int *)self;
}

/* Messages that each need more room than all before, so that each makes the consumer allocate. */
static void fill(const char *topic)
{
    struct loop *loop = loop_new();
    struct kafka_out *out;
    const struct kafka_out_options o = {.brokers = brokers};
    assert_int_equal(kafka_out_new(loop, &o, &out, NULL), 0);
    struct kafka_port port = kafka_out_port(out);
    for (int i = 0; i < MESSAGES; i++) {
        static char value[MESSAGES * 8000];
        int done = 0;
        memset(value, 'v', sizeof value);
        const struct kafka_message_out m = {
            .topic = topic, .key = "k", .key_len = 1, .value = value, .value_len = (size_t)(i + 1) * 8000};
        assert_int_equal(port.produce(port.self, &m, (struct ticket){.done = delivered, .self = &done}), 0);
        while (!done) {
            int stop = 0;
            struct loop_timer *t = loop_timer_new(loop, wake, &stop);
            loop_timer_start(t, 10);
            loop_run_until(loop, &stop);
            loop_timer_free(t);
        }
    }
    kafka_out_free(out, 1000);
    loop_free(loop);
}

static void a_group_member_misses_nothing(void **state)
{
    (void)state;
    struct reader r = {.loop = loop_new(), .every = 3};
    fill("jobs");
    join(&r, "jobs", "jobs");
    while (!r.assigned) turn(&r);
    torture_arm_many(1, 3); /* the first message, twice more when it has come again */
    while (r.next < MESSAGES) turn(&r);
    (void)torture_disarm();
    print_message("%d times a message was missed and came again\n", r.missed);
    assert_true(r.missed > 3); /* others in the middle of what was fetched, too */
    assert_int_equal(r.fatal, 0);
    kafka_in_free(r.in, 5000);
    loop_free(r.loop);
}

static void a_follower_misses_nothing(void **state)
{
    (void)state;
    struct reader r = {.loop = loop_new(), .three_after = 1}; /* there and then: all may have come at once */
    fill("keys");
    follow(&r, "keys");
    while (r.next < MESSAGES) turn(&r);
    (void)torture_disarm();
    assert_int_equal(r.missed, 3);
    while (!kafka_follow_caught_up(r.follow)) turn(&r);
    kafka_follow_free(r.follow, 3000);
    loop_free(r.loop);
}

/* The n-th allocation of a rebalance is refused, until there is none left to refuse. */
static void a_rebalance_is_noted_or_fatal(void **state)
{
    (void)state;
    bool reached = true;
    int n = 1;
    for (; reached && n < 20; n++) {
        char name[16];
        snprintf(name, sizeof(name), "two%d", n);
        struct reader r = {.loop = loop_new()};
        join(&r, name, name);
        torture_arm((size_t)n);
        while (!r.assigned && !r.fatal) turn(&r);
        reached = torture_disarm();
        assert_int_equal(r.fatal, reached);
        if (reached) {
            assert_non_null(strstr(r.reason, "no memory"));
            assert_false(kafka_in_steady(r.in));
        }
        kafka_in_free(r.in, 5000);
        loop_free(r.loop);
    }
    print_message("%d allocations of a rebalance\n", n - 2);
    assert_true(n > 3 && !reached);
}

static int start_mock(void **state)
{
    (void)state;
    static const struct kafka_mock_topic topics[] = {{"jobs", 1}, {"keys", 1}, {"two1", 2}, {"two2", 2}, {"two3", 2},
                                                     {"two4", 2}, {"two5", 2}, {"two6", 2}, {"two7", 2}, {"two8", 2}};
    if (kafka_mock_start(1, topics, ARRAY_LEN(topics), &mock, NULL) < 0) return -1;
    brokers = kafka_mock_brokers(mock);
    return 0;
}

static int stop_mock(void **state)
{
    (void)state;
    kafka_mock_stop(mock);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_group_member_misses_nothing),
        cmocka_unit_test(a_follower_misses_nothing),
        cmocka_unit_test(a_rebalance_is_noted_or_fatal),
    };
    return cmocka_run_group_tests(tests, start_mock, stop_mock);
}
