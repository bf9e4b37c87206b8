/* Following a topic without a group, against librdkafka's mock broker. */
#include "lib/err.h"
#include "lib/kafka_admin.h"
#include "lib/kafka_follow.h"
#include "lib/kafka_mock.h"
#include "lib/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define MESSAGES 300

struct run {
    struct loop *loop;
    struct kafka_mock *mock;
    struct kafka_out *out;
    struct kafka_follow *follow;
    struct loop_timer *limit;
    int reports, wanted_reports, all_reported;
    int taken, wanted, all_taken, caught_up, said, bad;
    int64_t next[4]; /* per partition: the order within it */
};

static void give_up(void *arg)
{
    (void)arg;
    fail_msg("nothing came in time");
}

static int set_up(void **state)
{
    static const struct kafka_mock_topic topics[] = {{"table", 4}};
    struct run *r = calloc(1, sizeof *r);
    AUTO_FREE char *why = NULL;
    r->loop = loop_new();
    r->limit = loop_timer_new(r->loop, give_up, r);
    loop_timer_start(r->limit, 30000);
    if (kafka_mock_start(1, topics, 1, &r->mock, &why) < 0) return -1;
    const struct kafka_out_options o = {.brokers = kafka_mock_brokers(r->mock)};
    if (kafka_out_new(r->loop, &o, &r->out, &why) < 0) return -1;
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct run *r = *state;
    kafka_follow_free(r->follow, 2000);
    kafka_out_free(r->out, 2000);
    kafka_mock_stop(r->mock);
    loop_timer_free(r->limit);
    loop_free(r->loop);
    free(r);
    return 0;
}

static void on_report(void *self, uint64_t id, const void *result)
{
    struct run *r = self;
    (void)id;
    assert_int_equal(((const struct kafka_report *)result)->err, 0);
    if (++r->reports == r->wanted_reports) r->all_reported = 1;
}

static void produce(struct run *r, int n)
{
    struct kafka_port port = kafka_out_port(r->out);
    r->reports = r->all_reported = 0;
    r->wanted_reports = n;
    for (int i = 0; i < n; i++) {
        char key[16], value[16];
        snprintf(key, sizeof key, "user-%d", i);
        snprintf(value, sizeof value, "%d", i);
        const struct kafka_message_out m = {
            .topic = "table", .key = key, .key_len = strlen(key), .value = value, .value_len = strlen(value)};
        assert_int_equal(port.produce(port.self, &m, (struct ticket){on_report, r, 0}), 0);
    }
    loop_run_until(r->loop, &r->all_reported);
}

static void on_message(void *arg, const struct kafka_message_in *m)
{
    struct run *r = arg;
    if (strcmp(m->key + 5, m->value) != 0 || m->partition > 3 || m->offset < r->next[m->partition]) r->bad++;
    r->next[m->partition] = m->offset + 1;
    if (++r->taken == r->wanted) r->all_taken = 1;
}

static void on_caught_up(void *arg)
{
    struct run *r = arg;
    r->caught_up++;
}

static void on_log(void *arg, int level, const char *fac, const char *text)
{
    struct run *r = arg;
    (void)level;
    if (strcmp(fac, "TOPIC") == 0 && strstr(text, "topics apply")) r->said = 1;
}

static void follow(struct run *r, const char *topic, bool from_end)
{
    AUTO_FREE char *why = NULL;
    const struct kafka_follow_options o = {.brokers = kafka_mock_brokers(r->mock),
                                           .topic = topic,
                                           .from_end = from_end,
                                           .on_message = on_message,
                                           .on_caught_up = on_caught_up,
                                           .on_log = on_log,
                                           .arg = r};
    assert_int_equal(kafka_follow_new(r->loop, &o, &r->follow, &why), 0);
}

static void reads_all_then_follows(void **state)
{
    struct run *r = *state;
    produce(r, MESSAGES);
    r->wanted = MESSAGES;
    follow(r, "table", false);
    loop_run_until(r->loop, &r->caught_up);
    assert_int_equal(r->taken, MESSAGES); /* caught up means all of them */
    assert_true(kafka_follow_caught_up(r->follow));
    r->wanted = MESSAGES + 10;
    r->all_taken = 0;
    produce(r, 10);
    loop_run_until(r->loop, &r->all_taken);
    assert_int_equal(r->bad, 0);
    assert_int_equal(r->caught_up, 1); /* once */
}

static void from_the_end_only_news(void **state)
{
    struct run *r = *state;
    produce(r, MESSAGES);
    follow(r, "table", true);
    loop_run_until(r->loop, &r->caught_up);
    assert_int_equal(r->taken, 0);
    r->wanted = 20;
    produce(r, 20);
    loop_run_until(r->loop, &r->all_taken);
    assert_int_equal(r->taken, 20);
    assert_int_equal(r->bad, 0);
}

static void empty_topic_is_caught_up(void **state)
{
    struct run *r = *state;
    follow(r, "table", false);
    loop_run_until(r->loop, &r->caught_up);
    assert_int_equal(r->taken, 0);
}

static void raise_flag(void *arg)
{
    *(int *)arg = 1;
}

static void absent_broker_is_waited_for(void **state)
{
    struct run *r = *state;
    assert_int_equal(kafka_mock_set_down(r->mock, 1, 1), 0);
    follow(r, "table", false);
    int over = 0;
    struct loop_timer *t = loop_timer_new(r->loop, raise_flag, &over);
    loop_timer_start(t, 300);
    loop_run_until(r->loop, &over);
    loop_timer_free(t);
    assert_false(kafka_follow_caught_up(r->follow));
    assert_int_equal(kafka_mock_set_down(r->mock, 1, 0), 0);
    loop_run_until(r->loop, &r->caught_up);
}

static void bad_settings(void **state)
{
    struct run *r = *state;
    AUTO_FREE char *why = NULL;
    const struct kafka_conf conf[] = {{"group.id", "x"}};
    const struct kafka_follow_options o = {
        .brokers = "127.0.0.1:1", .topic = "table", .conf = conf, .n_conf = 1, .on_message = on_message, .arg = r};
    struct kafka_follow *f = NULL;
    assert_int_equal(kafka_follow_new(r->loop, &o, &f, &why), ERR_INVALID);
    assert_non_null(why);
    assert_null(f);
}

/* What is set for the workers' group must not keep out a client that joins none. */
static void settings_of_the_group_do_not_matter(void **state)
{
    struct run *r = *state;
    AUTO_FREE char *why = NULL, *also = NULL;
    const struct kafka_conf conf[] = {{"max.poll.interval.ms", "12000"}};
    const struct kafka_follow_options o = {
        .brokers = "127.0.0.1:1", .topic = "table", .conf = conf, .n_conf = 1, .on_message = on_message, .arg = r};
    struct kafka_follow *f = NULL;
    struct kafka_admin *a = NULL;
    assert_int_equal(kafka_follow_new(r->loop, &o, &f, &why), 0);
    kafka_follow_free(f, 100);
    assert_int_equal(kafka_admin_new("127.0.0.1:1", conf, 1, 100, &a, &also), 0);
    kafka_admin_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(reads_all_then_follows, set_up, tear_down),
        cmocka_unit_test_setup_teardown(from_the_end_only_news, set_up, tear_down),
        cmocka_unit_test_setup_teardown(empty_topic_is_caught_up, set_up, tear_down),
        cmocka_unit_test_setup_teardown(absent_broker_is_waited_for, set_up, tear_down),
        cmocka_unit_test_setup_teardown(bad_settings, set_up, tear_down),
        cmocka_unit_test_setup_teardown(settings_of_the_group_do_not_matter, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
