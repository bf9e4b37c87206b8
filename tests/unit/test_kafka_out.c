/* The Kafka producer against librdkafka's mock broker. */
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/kafka_conf.h"
#include "lib/kafka_mock.h"
#include "lib/kafka_out.h"
#include "lib/loop.h"

#include <librdkafka/rdkafka.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

static struct kafka_mock *mock;

static int start_mock(void **state)
{
    (void)state;
    const struct kafka_mock_topic topics[] = {{"jobs", 3}, {"other", 1}};
    return kafka_mock_start(1, topics, ARRAY_LEN(topics), &mock, NULL);
}

static int stop_mock(void **state)
{
    (void)state;
    kafka_mock_stop(mock);
    return 0;
}

struct client {
    struct loop *loop;
    struct kafka_out *out;
    struct kafka_port port;
    int wake, fatal;
    char fatal_text[256];
};

static void wake(void *arg)
{
    *(int *)arg = 1;
}

#define RUN_UNTIL(c, cond)                                                                                             \
    do {                                                                                                               \
        struct loop_timer *limit_ = loop_timer_new((c)->loop, wake, &(c)->wake);                                       \
        int64_t end_ = clock_mono_ms(&clock_system) + 60000;                                                           \
        while (!(cond) && clock_mono_ms(&clock_system) < end_) {                                                       \
            (c)->wake = 0;                                                                                             \
            loop_timer_start(limit_, 1000);                                                                            \
            loop_run_until((c)->loop, &(c)->wake);                                                                     \
        }                                                                                                              \
        loop_timer_free(limit_);                                                                                       \
        assert_true(cond);                                                                                             \
    } while (0)

static void on_fatal(void *arg, const char *reason)
{
    struct client *c = arg;
    c->fatal++;
    snprintf(c->fatal_text, sizeof(c->fatal_text), "%s", reason);
    c->wake = 1;
}

static void on_log(void *arg, int level, const char *fac, const char *text)
{
    (void)arg;
    if (getenv("KEYROLL_TEST_LOG")) print_message("%d %s %s\n", level, fac, text);
}

static void open_client(struct client *c, int64_t delivery_timeout_ms, const struct kafka_conf *conf, size_t n_conf)
{
    static const char *const topics[] = {"jobs"};
    *c = (struct client){.loop = loop_new()};
    struct kafka_out_options o = {
        .brokers = kafka_mock_brokers(mock),
        .topics = topics,
        .n_topics = 1,
        .conf = conf,
        .n_conf = n_conf,
        .delivery_timeout_ms = delivery_timeout_ms,
        .on_fatal = on_fatal,
        .on_log = on_log,
        .arg = c,
    };
    char *reason = NULL;
    int rc = kafka_out_new(c->loop, &o, &c->out, &reason);
    if (rc < 0) print_message("%s\n", reason ? reason : "?");
    assert_int_equal(rc, 0);
    c->port = kafka_out_port(c->out);
}

static void close_client(struct client *c, int64_t wait_ms)
{
    kafka_out_free(c->out, wait_ms);
    loop_free(c->loop);
}

struct outcome {
    struct client *c;
    int calls, err;
    int32_t partition;
    int64_t offset;
    int64_t at_ns;
};

static int64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void done(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct outcome *o = self;
    const struct kafka_report *r = result;
    o->calls++;
    o->err = r->err;
    o->partition = r->partition;
    o->offset = r->offset;
    o->at_ns = now_ns();
    assert_non_null(r->detail);
    o->c->wake = 1;
}

static int send_to(struct outcome *o, const char *topic, const char *key, const void *value, size_t len)
{
    const struct kafka_header headers[] = {{"job-id", "j1", 2}, {"attempt", "1", 1}, {"empty", NULL, 0}};
    struct kafka_message_out m = {.topic = topic,
                                  .key = key,
                                  .key_len = strlen(key),
                                  .value = value,
                                  .value_len = len,
                                  .headers = headers,
                                  .n_headers = ARRAY_LEN(headers)};
    return o->c->port.produce(o->c->port.self, &m, (struct ticket){.done = done, .self = o});
}

static void reports_come_back(void **state)
{
    (void)state;
    struct client c;
    open_client(&c, 0, NULL, 0);
    struct outcome first = {.c = &c}, second = {.c = &c}, elsewhere = {.c = &c};
    int64_t start = now_ns();
    assert_int_equal(send_to(&first, "jobs", "acct/user", "{}", 2), 0);
    assert_int_equal(kafka_out_pending(c.out), 1);
    assert_int_equal(first.calls, 0);
    RUN_UNTIL(&c, first.calls == 1);
    print_message("first report after %.1f ms\n", (double)(first.at_ns - start) / 1e6);
    assert_int_equal(first.err, 0);
    assert_true(first.offset >= 0);
    assert_int_equal(send_to(&second, "jobs", "acct/user", "{}", 2), 0);
    RUN_UNTIL(&c, second.calls == 1);
    assert_int_equal(second.partition, first.partition);
    assert_int_equal(second.offset, first.offset + 1);
    start = now_ns();
    assert_int_equal(send_to(&elsewhere, "other", "k", "v", 1), 0);
    RUN_UNTIL(&c, elsewhere.calls == 1);
    print_message("first report of a topic not announced: %.1f ms\n", (double)(elsewhere.at_ns - start) / 1e6);
    assert_int_equal(kafka_out_pending(c.out), 0);
    close_client(&c, 100);
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

/* The fastest is judged, so that a busy machine does not matter: librdkafka's own linger.ms is 5. */
static void nothing_lingers(void **state)
{
    (void)state;
    struct client c;
    open_client(&c, 0, NULL, 0);
    double ms[200];
    for (int i = 0; i < 200; i++) {
        struct outcome o = {.c = &c};
        int64_t start = now_ns();
        assert_int_equal(send_to(&o, "jobs", "k", "v", 1), 0);
        RUN_UNTIL(&c, o.calls == 1);
        ms[i] = (double)(o.at_ns - start) / 1e6;
    }
    qsort(ms, 200, sizeof(ms[0]), compare);
    print_message("produce to report: min %.2f ms, p50 %.2f ms, p99 %.2f ms\n", ms[0], ms[100], ms[198]);
    assert_true(ms[0] < 5);
    close_client(&c, 100);
}

static void many_are_reported_each_once(void **state)
{
    (void)state;
    struct client c;
    open_client(&c, 0, NULL, 0);
    enum { N = 20000 };
    struct outcome *o = calloc(N, sizeof(*o));
    char value[600];
    memset(value, 'v', sizeof(value));
    for (int i = 0; i < N; i++) {
        char key[16];
        snprintf(key, sizeof(key), "u%d", i);
        o[i].c = &c;
        int rc = send_to(&o[i], "jobs", key, value, sizeof(value));
        assert_int_equal(rc, 0);
    }
    RUN_UNTIL(&c, kafka_out_pending(c.out) == 0);
    for (int i = 0; i < N; i++) assert_true(o[i].calls == 1 && o[i].err == 0);
    free(o);
    close_client(&c, 100);
}

static void too_large_is_refused_later(void **state)
{
    (void)state;
    struct client c;
    open_client(&c, 0, NULL, 0);
    struct outcome o = {.c = &c};
    size_t len = 2000000;
    char *big = calloc(1, len);
    assert_int_equal(send_to(&o, "jobs", "k", big, len), 0);
    assert_int_equal(o.calls, 0);
    RUN_UNTIL(&c, o.calls == 1);
    assert_int_equal(o.err, ERR_KAFKA_REFUSED);
    free(big);
    close_client(&c, 100);
}

static void a_full_queue_is_busy(void **state)
{
    (void)state;
    struct client c;
    const struct kafka_conf conf[] = {{"queue.buffering.max.messages", "5"}};
    assert_int_equal(kafka_mock_set_down(mock, 1, 1), 0);
    open_client(&c, 1000, conf, 1);
    struct outcome o[5], sixth = {.c = &c};
    for (int i = 0; i < 5; i++) {
        o[i] = (struct outcome){.c = &c};
        assert_int_equal(send_to(&o[i], "jobs", "k", "v", 1), 0);
    }
    assert_int_equal(send_to(&sixth, "jobs", "k", "v", 1), ERR_BUSY);
    RUN_UNTIL(&c, kafka_out_pending(c.out) == 0); /* the broker is away: the delivery time-out */
    for (int i = 0; i < 5; i++) {
        assert_int_equal(o[i].calls, 1);
        assert_int_equal(o[i].err, ERR_KAFKA_UNDELIVERED);
    }
    assert_int_equal(sixth.calls, 0);
    assert_int_equal(kafka_mock_set_down(mock, 1, 0), 0);
    close_client(&c, 100);
}

static void free_waits_then_gives_up(void **state)
{
    (void)state;
    struct client c;
    open_client(&c, 0, NULL, 0);
    struct outcome sent = {.c = &c}, lost = {.c = &c};
    assert_int_equal(send_to(&sent, "jobs", "k", "v", 1), 0);
    close_client(&c, 60000);
    assert_int_equal(sent.calls, 1);
    assert_int_equal(sent.err, 0);
    assert_int_equal(kafka_mock_set_down(mock, 1, 1), 0);
    open_client(&c, 300000, NULL, 0);
    lost.c = &c;
    assert_int_equal(send_to(&lost, "jobs", "k", "v", 1), 0);
    int64_t start = now_ns();
    close_client(&c, 200);
    assert_int_equal(lost.calls, 1);
    assert_int_equal(lost.err, ERR_KAFKA_UNDELIVERED);
    print_message("free without a broker took %.0f ms\n", (double)(now_ns() - start) / 1e6);
    assert_true(now_ns() - start < 60000000000LL); /* and not as long as a delivery may take */
    assert_int_equal(kafka_mock_set_down(mock, 1, 0), 0);
}

static void free_in_done(void *self, uint64_t id, const void *result)
{
    (void)id;
    (void)result;
    struct outcome *o = self;
    o->calls++;
    kafka_out_free(TAKE(o->c->out), 1000);
    o->c->wake = 1;
}

static void may_be_freed_inside_a_completion(void **state)
{
    (void)state;
    struct client c;
    open_client(&c, 0, NULL, 0);
    struct outcome o = {.c = &c}, other = {.c = &c};
    struct kafka_message_out m = {.topic = "jobs", .key = "k", .key_len = 1, .value = "v", .value_len = 1};
    assert_int_equal(c.port.produce(c.port.self, &m, (struct ticket){.done = free_in_done, .self = &o}), 0);
    assert_int_equal(send_to(&other, "jobs", "k", "v", 1), 0);
    RUN_UNTIL(&c, o.calls == 1);
    assert_int_equal(other.calls, 1);
    loop_free(c.loop);
}

/* No producer id is to be had: an idempotent producer cannot go on. */
static void fatal_errors_are_told(void **state)
{
    (void)state;
    struct client c;
    kafka_mock_fail(mock, 22 /* InitProducerId */, 5, 31 /* CLUSTER_AUTHORIZATION_FAILED */);
    assert_int_equal(kafka_mock_set_down(mock, 1, 1), 0); /* it is not to hear of that before it has a message */
    open_client(&c, 0, NULL, 0);
    struct outcome o = {.c = &c}, after = {.c = &c};
    assert_int_equal(send_to(&o, "jobs", "k", "v", 1), 0);
    assert_int_equal(kafka_mock_set_down(mock, 1, 0), 0);
    RUN_UNTIL(&c, c.fatal && o.calls == 1);
    assert_int_equal(c.fatal, 1);
    assert_true(c.fatal_text[0] != '\0');
    assert_int_equal(o.err, ERR_KAFKA_FATAL);
    assert_int_equal(send_to(&after, "jobs", "k", "v", 1), ERR_KAFKA_FATAL);
    close_client(&c, 100);
    assert_int_equal(after.calls, 0);
}

static void settings_are_checked(void **state)
{
    (void)state;
    struct loop *l = loop_new();
    static const struct kafka_conf bad[] = {
        {"enable.idempotence", "false"}, {"acks", "1"},           {"no.such.property", "1"}, {"linger.ms", "soon"},
        {"enable.auto.commit", "true"},  {"group.id", "another"}, {"sasl.mechanism", "x"},
    };
    for (size_t i = 0; i + 1 < ARRAY_LEN(bad); i++) {
        struct kafka_out_options o = {.brokers = "127.0.0.1:1", .conf = &bad[i], .n_conf = 1};
        struct kafka_out *out = NULL;
        AUTO_FREE char *reason = NULL;
        assert_int_equal(kafka_out_new(l, &o, &out, &reason), ERR_INVALID);
        assert_non_null(reason);
        assert_non_null(strstr(reason, bad[i].name));
        assert_null(out);
    }
    const struct kafka_conf secret = {"ssl.key.password\n", "hunter2"};
    struct kafka_out_options o = {.brokers = "127.0.0.1:1", .conf = &secret, .n_conf = 1};
    struct kafka_out *out = NULL;
    AUTO_FREE char *reason = NULL;
    assert_int_equal(kafka_out_new(l, &o, &out, &reason), ERR_INVALID);
    assert_null(strstr(reason, "hunter2"));
    loop_free(l);
}

/* There is no switch that leaves a certificate unverified, unless nothing leaves this machine. */
static void certificates_are_always_verified(void **state)
{
    (void)state;
    static const struct kafka_conf off[] = {{"enable.ssl.certificate.verification", "false"},
                                            {"enable.ssl.certificate.verification", "F"},
                                            {"enable.ssl.certificate.verification", "0"},
                                            {"ssl.endpoint.identification.algorithm", "none"}};
    static const struct kafka_conf on[] = {{"enable.ssl.certificate.verification", "TRUE"},
                                           {"ssl.endpoint.identification.algorithm", "https"}};
    static const char *const far[] = {"kafka.example:9093",  "127.0.0.1:9093,10.0.0.1:9093", "SSL://10.0.0.1:9093",
                                      "localhost.example:1", "127.0.0.1:1, kafka:2",         "127.0.0.1@kafka:1"};
    static const char *const here[] = {"127.0.0.1:9093", "localhost:1,[::1]:2", "SSL://127.0.0.1:1, SSL://localhost:2"};
    for (size_t i = 0; i < ARRAY_LEN(off); i++) {
        for (size_t k = 0; k < ARRAY_LEN(far); k++) {
            struct rd_kafka_conf_s *conf = NULL;
            AUTO_FREE char *reason = NULL;
            if (kafka_conf_make(far[k], &off[i], 1, NULL, 0, NULL, 0, &conf, &reason) != ERR_INVALID)
                fail_msg("%s with %s = %s", far[k], off[i].name, off[i].value);
            assert_non_null(strstr(reason, off[i].name));
        }
        for (size_t k = 0; k < ARRAY_LEN(here); k++) {
            struct rd_kafka_conf_s *conf = NULL;
            assert_int_equal(kafka_conf_make(here[k], &off[i], 1, NULL, 0, NULL, 0, &conf, NULL), 0);
            rd_kafka_conf_destroy(conf);
        }
    }
    struct rd_kafka_conf_s *conf = NULL;
    assert_int_equal(kafka_conf_make(far[0], on, ARRAY_LEN(on), NULL, 0, NULL, 0, &conf, NULL), 0);
    rd_kafka_conf_destroy(conf);
}

static void scram_is_refused_on_old_versions(void **state)
{
    (void)state;
    unsigned major = 0, minor = 0, patch = 0;
    assert_true(sscanf(kafka_version(), "%u.%u.%u", &major, &minor, &patch) == 3);
    int is_old = major * 10000 + minor * 100 + patch < 20601;
    const struct kafka_conf scram[] = {{"sasl.mechanism", "SCRAM-SHA-512"}};
    const struct kafka_conf plain[] = {{"sasl.mechanisms", "scram-sha-256"}, {"sasl.mechanisms", "PLAIN"}};
    assert_int_equal(kafka_conf_refused(scram, 1) != NULL, is_old);
    assert_null(kafka_conf_refused(plain, 2)); /* later wins */
    assert_null(kafka_conf_refused(NULL, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reports_come_back),
        cmocka_unit_test(nothing_lingers),
        cmocka_unit_test(many_are_reported_each_once),
        cmocka_unit_test(too_large_is_refused_later),
        cmocka_unit_test(a_full_queue_is_busy),
        cmocka_unit_test(free_waits_then_gives_up),
        cmocka_unit_test(may_be_freed_inside_a_completion),
        cmocka_unit_test(fatal_errors_are_told),
        cmocka_unit_test(settings_are_checked),
        cmocka_unit_test(certificates_are_always_verified),
        cmocka_unit_test(scram_is_refused_on_old_versions),
    };
    return cmocka_run_group_tests(tests, start_mock, stop_mock);
}
