/* Topics and lag, against librdkafka's mock broker and, with KEYROLL_TEST_KAFKA, against real brokers: the mock makes
 * and changes no topics. */
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/kafka_admin.h"
#include "lib/kafka_mock.h"
#include "lib/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>

static struct kafka_mock *mock;

static int start_mock(void **state)
{
    (void)state;
    const struct kafka_mock_topic topics[] = {{"jobs", 3}, {"dead", 1}};
    return kafka_mock_start(1, topics, ARRAY_LEN(topics), &mock, NULL);
}

static int stop_mock(void **state)
{
    (void)state;
    kafka_mock_stop(mock);
    return 0;
}

static struct kafka_admin *open_admin(const char *brokers, int64_t wait_ms)
{
    struct kafka_admin *a = NULL;
    AUTO_FREE char *reason = NULL;
    int rc = kafka_admin_new(brokers, NULL, 0, wait_ms, &a, &reason);
    if (rc < 0) print_message("%s\n", reason ? reason : err_text(rc));
    assert_int_equal(rc, 0);
    return a;
}

static void make_plan(struct kafka_admin *a, const struct kafka_topic_spec *specs, size_t n, struct kafka_plan *plan)
{
    AUTO_FREE char *reason = NULL;
    int rc = kafka_admin_plan(a, specs, n, plan, &reason);
    if (rc < 0) print_message("%s\n", reason ? reason : err_text(rc));
    assert_int_equal(rc, 0);
}

static void what_is_missing_is_planned(void **state)
{
    (void)state;
    struct kafka_admin *a = open_admin(kafka_mock_brokers(mock), 3000);
    int brokers = 0;
    assert_int_equal(kafka_admin_ping(a, &brokers, NULL), 0);
    assert_int_equal(brokers, 1);
    const struct kafka_topic_spec specs[] = {
        {.name = "jobs", .partitions = 3},
        {.name = "none", .partitions = 6},
        {.name = "dead", .partitions = 2, .replication = 3},
    };
    struct kafka_plan plan = {0};
    make_plan(a, specs, ARRAY_LEN(specs), &plan);
    assert_int_equal(plan.n, 3);
    assert_int_equal(plan.changes[0].kind, KAFKA_CREATE);
    assert_int_equal(plan.changes[0].spec, 1);
    assert_string_equal(plan.changes[0].want, "6");
    assert_int_equal(plan.changes[1].kind, KAFKA_PARTITIONS);
    assert_string_equal(plan.changes[1].have, "1");
    assert_string_equal(plan.changes[1].want, "2");
    assert_int_equal(plan.changes[2].kind, KAFKA_CANNOT);
    assert_string_equal(plan.changes[2].what, "replication");
    kafka_plan_done(&plan);
    make_plan(a, specs, 1, &plan);
    assert_int_equal(plan.n, 0);
    kafka_plan_done(&plan);
    const struct kafka_topic_spec fewer = {.name = "jobs", .partitions = 1};
    make_plan(a, &fewer, 1, &plan);
    assert_int_equal(plan.n, 1);
    assert_int_equal(plan.changes[0].kind, KAFKA_CANNOT);
    assert_int_equal(kafka_admin_apply(a, &fewer, 1, &plan, NULL), 0); /* passed over */
    kafka_plan_done(&plan);
    kafka_admin_free(a);
}

static void a_broker_without_such_requests_is_named(void **state)
{
    (void)state;
    struct kafka_admin *a = open_admin(kafka_mock_brokers(mock), 1000);
    const struct kafka_topic_spec spec = {.name = "new", .partitions = 1};
    struct kafka_plan plan = {0};
    make_plan(a, &spec, 1, &plan);
    int64_t start = clock_mono_ms(&clock_system);
    AUTO_FREE char *reason = NULL;
    int rc = kafka_admin_apply(a, &spec, 1, &plan, &reason);
    print_message("%s: %s\n", err_name(rc), reason);
    assert_true(rc == ERR_TIMEOUT_SENT || rc == ERR_KAFKA_REFUSED);
    assert_non_null(strstr(reason, "creating topic new"));
    assert_true(clock_mono_ms(&clock_system) - start < 30000); /* its second, not the client's own minute */
    kafka_plan_done(&plan);
    kafka_admin_free(a);
}

static void nobody_there_is_told_in_time(void **state)
{
    (void)state;
    struct kafka_admin *a = open_admin("127.0.0.1:1", 700);
    int brokers = 0;
    int64_t start = clock_mono_ms(&clock_system);
    AUTO_FREE char *reason = NULL;
    assert_int_equal(kafka_admin_ping(a, &brokers, &reason), ERR_KAFKA_DOWN);
    print_message("%s\n", reason);
    assert_non_null(strstr(reason, "127.0.0.1:1"));
    assert_true(clock_mono_ms(&clock_system) - start < 30000);
    kafka_admin_free(a);
    struct kafka_lag *lag = NULL;
    size_t n = 0;
    AUTO_FREE char *why = NULL;
    const char *const topics[] = {"jobs"};
    assert_int_equal(kafka_group_lag("127.0.0.1:1", NULL, 0, "g", topics, 1, 500, &lag, &n, &why), ERR_KAFKA_DOWN);
    assert_non_null(why);
}

struct sending {
    int done, wake;
    int32_t partition;
};

static void delivered(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct sending *s = self;
    const struct kafka_report *r = result;
    assert_int_equal(r->err, 0);
    s->partition = r->partition;
    s->done++;
    s->wake = s->done == 5;
}

/* Five messages with one key into `topic`; returns their partition. */
static int32_t send_five(const char *brokers, const char *topic)
{
    struct loop *loop = loop_new();
    struct kafka_out_options o = {.brokers = brokers};
    struct kafka_out *out = NULL;
    assert_int_equal(kafka_out_new(loop, &o, &out, NULL), 0);
    struct kafka_port port = kafka_out_port(out);
    struct sending s = {0};
    for (int i = 0; i < 5; i++) {
        struct kafka_message_out m = {.topic = topic, .key = "k", .key_len = 1, .value = "v", .value_len = 1};
        assert_int_equal(port.produce(port.self, &m, (struct ticket){.done = delivered, .self = &s}), 0);
    }
    loop_run_until(loop, &s.wake);
    assert_int_equal(s.done, 5);
    kafka_out_free(out, 1000);
    loop_free(loop);
    return s.partition;
}

static void lag_counts_what_is_not_committed(void **state)
{
    (void)state;
    const char *brokers = kafka_mock_brokers(mock);
    int32_t partition = send_five(brokers, "jobs");
    const char *const topics[] = {"jobs", "not there"};
    struct kafka_lag *lag = NULL;
    size_t n = 0;
    AUTO_FREE char *reason = NULL;
    assert_int_equal(kafka_group_lag(brokers, NULL, 0, "workers", topics, 2, 3000, &lag, &n, &reason), 0);
    assert_int_equal(n, 3);
    for (size_t i = 0; i < n; i++) {
        assert_string_equal(lag[i].topic, "jobs");
        assert_int_equal(lag[i].committed, -1);
        assert_int_equal(lag[i].lag, lag[i].partition == partition ? 5 : 0);
        assert_int_equal(lag[i].end, lag[i].lag);
    }
    kafka_lag_free(lag, n);
}

/* ---- real brokers ---- */

static void topics_are_made_and_changed(void **state)
{
    (void)state;
    const char *brokers = getenv("KEYROLL_TEST_KAFKA");
    if (!brokers) return;
    char name[64];
    snprintf(name, sizeof(name), "ka%d", (int)getpid());
    struct kafka_conf conf[] = {{"cleanup.policy", "compact"}, {"retention.ms", "3600000"}};
    struct kafka_topic_spec spec = {.name = name, .partitions = 2, .replication = 1, .config = conf, .n_config = 2};
    struct kafka_admin *a = open_admin(brokers, 10000);
    struct kafka_plan plan = {0};
    make_plan(a, &spec, 1, &plan);
    assert_int_equal(plan.n, 1);
    assert_int_equal(kafka_admin_apply(a, &spec, 1, &plan, NULL), 0);
    kafka_plan_done(&plan);
    for (int i = 0; i < 100; i++) { /* the broker answers before all of it knows */
        make_plan(a, &spec, 1, &plan);
        if (plan.n == 0) break;
        kafka_plan_done(&plan);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    assert_int_equal(plan.n, 0);
    conf[1].value = "7200000"; /* and the other setting must survive, though it is not ours any more */
    spec.config = &conf[1];
    spec.n_config = 1;
    spec.partitions = 4;
    make_plan(a, &spec, 1, &plan);
    assert_int_equal(plan.n, 2);
    assert_int_equal(plan.changes[0].kind, KAFKA_PARTITIONS);
    assert_int_equal(plan.changes[1].kind, KAFKA_CONFIG);
    assert_string_equal(plan.changes[1].what, "retention.ms");
    assert_string_equal(plan.changes[1].have, "3600000");
    AUTO_FREE char *reason = NULL;
    int rc = kafka_admin_apply(a, &spec, 1, &plan, &reason);
    if (rc < 0) print_message("%s\n", reason ? reason : "?");
    assert_int_equal(rc, 0);
    kafka_plan_done(&plan);
    spec.config = conf;
    spec.n_config = 2;
    for (int i = 0; i < 100; i++) {
        make_plan(a, &spec, 1, &plan);
        if (plan.n == 0) break;
        kafka_plan_done(&plan);
        nanosleep(&(struct timespec){.tv_nsec = 50000000}, NULL);
    }
    assert_int_equal(plan.n, 0);
    conf[0].value = "nonsense";
    make_plan(a, &spec, 1, &plan);
    AUTO_FREE char *why = NULL;
    assert_int_equal(kafka_admin_apply(a, &spec, 1, &plan, &why), ERR_KAFKA_REFUSED);
    print_message("%s\n", why);
    kafka_plan_done(&plan);
    int32_t partition = send_five(brokers, name);
    const char *const topics[] = {name};
    struct kafka_lag *lag = NULL;
    size_t n = 0;
    assert_int_equal(kafka_group_lag(brokers, NULL, 0, "nobody", topics, 1, 10000, &lag, &n, NULL), 0);
    assert_int_equal(n, 4);
    assert_int_equal(lag[partition].lag, 5);
    kafka_lag_free(lag, n);
    kafka_admin_free(a);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_missing_is_planned),   cmocka_unit_test(a_broker_without_such_requests_is_named),
        cmocka_unit_test(nobody_there_is_told_in_time), cmocka_unit_test(lag_counts_what_is_not_committed),
        cmocka_unit_test(topics_are_made_and_changed),
    };
    return cmocka_run_group_tests(tests, start_mock, stop_mock);
}
