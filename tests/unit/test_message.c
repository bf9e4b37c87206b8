/* Jobs, events and dead letters: round trips, limits, headers. The verdicts on many messages are in
 * tests/integration/test_schema.py. */
#include "lib/err.h"
#include "schema/deadletter.h"
#include "schema/event.h"
#include "schema/job.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

static const struct job sample = {.job_id = "b664397e3d63868442aa841d0c1e6c66",
                                  .kind = JOB_ROTATE,
                                  .reason = JOB_OPERATOR,
                                  .licence = "L1",
                                  .account = "123456789012",
                                  .user = "SynergistExpress-L1",
                                  .bucket = "bucket-1",
                                  .region = "eu-west-1",
                                  .instance_url = "https://l1.example/",
                                  .profile = "default",
                                  .credentials = "file:/etc/keyroll/logins.csv#L1",
                                  .replace_key_id = "AKIAIOSFODNN7EXAMPLE",
                                  .rotation = 1763888888123,
                                  .urgent = true,
                                  .created_at_ms = 1763888888123,
                                  .requested_by = "jo \"the\" \\ops"};

static void encode(const struct job *j, struct buf *out)
{
    buf_init(out, JOB_MAX_BYTES);
    assert_int_equal(job_encode(j, out), 0);
}

static void test_job_round_trip(void **state)
{
    (void)state;
    AUTO_BUF struct buf text;
    struct job j;
    memset(&j, 0xaa, sizeof j);
    encode(&sample, &text);
    assert_int_equal(job_decode(text.data, text.len, &j, NULL), 0);
    AUTO_BUF struct buf again;
    encode(&j, &again);
    assert_string_equal(buf_str(&text), buf_str(&again));
    assert_string_equal(j.requested_by, sample.requested_by);
    assert_string_equal(j.time_zone, "");
    assert_false(j.confirm);
    char key[IDENTITY_KEY_MAX];
    assert_int_equal(job_key(&j, key), 0);
    assert_string_equal(key, "123456789012/synergistexpress-l1");
}

static void test_job_errors(void **state)
{
    (void)state;
    struct job j;
    struct message_fault fault;
    AUTO_BUF struct buf text;
    encode(&sample, &text);
    assert_int_equal(job_decode("", 0, &j, &fault), ERR_SYNTAX);
    assert_int_equal(job_decode("{\"version\":\"keyroll.job/2\"}", 27, &j, &fault), ERR_VERSION);
    assert_int_equal(job_decode("{}", 2, &j, &fault), ERR_VERSION);
    assert_int_equal(job_decode("{\"version\":\"keyroll.job/1\"}", 27, &j, &fault), ERR_INVALID);
    assert_string_equal(fault.text, "job_id: absent");
    static char large[JOB_MAX_BYTES + 1];
    memset(large, ' ', sizeof large);
    memcpy(large, text.data, text.len);
    assert_int_equal(job_decode(large, JOB_MAX_BYTES, &j, &fault), 0);
    assert_int_equal(job_decode(large, sizeof large, &j, &fault), ERR_TOO_LARGE);
    large[text.len - 1] = '\0'; /* the library would skip it */
    large[text.len] = '}';
    assert_int_equal(job_decode(large, text.len + 1, &j, &fault), ERR_SYNTAX);
    for (size_t len = 0; len < text.len; len++) assert_int_equal(job_decode(text.data, len, &j, &fault), ERR_SYNTAX);
}

static void test_what_cannot_be_decoded_is_not_encoded(void **state)
{
    (void)state;
    AUTO_BUF struct buf out;
    buf_init(&out, JOB_MAX_BYTES);
    assert_int_equal(buf_adds(&out, "before"), 0);
    struct job j = sample;
    j.user[0] = '\0';
    assert_int_equal(job_encode(&j, &out), ERR_INVALID);
    j = sample;
    memset(j.licence, 'x', sizeof j.licence); /* no end */
    assert_int_equal(job_encode(&j, &out), ERR_INVALID);
    j = sample;
    j.kind = JOB_KINDS;
    assert_int_equal(job_encode(&j, &out), ERR_INVALID);
    j = sample;
    j.kind = JOB_REAP;
    j.replace_key_id[0] = '\0';
    assert_int_equal(job_encode(&j, &out), ERR_INVALID);
    j = sample;
    j.created_at_ms = -1;
    assert_int_equal(job_encode(&j, &out), ERR_INVALID);
    assert_string_equal(buf_str(&out), "before");
}

static void test_job_headers(void **state)
{
    (void)state;
    struct job_headers h = {.job_id = "b664397e3d63868442aa841d0c1e6c66",
                            .attempt = 3,
                            .not_before_ms = 1763888888123,
                            .first_seen_ms = 1763888880000,
                            .last_error = "NET_CONNECT retriable",
                            .traceparent = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
                       back;
    struct job_header_set set;
    struct message_fault fault;
    job_headers_encode(&h, &set);
    assert_int_equal(set.n, JOB_HEADERS_MAX);
    assert_int_equal(job_headers_decode(set.headers, set.n, &back, &fault), 0);
    assert_string_equal(back.job_id, h.job_id);
    assert_int_equal(back.attempt, 3);
    assert_int_equal(back.not_before_ms, h.not_before_ms);
    assert_int_equal(back.first_seen_ms, h.first_seen_ms);
    assert_string_equal(back.last_error, h.last_error);
    assert_string_equal(back.traceparent, h.traceparent);
    assert_int_equal(job_headers_decode(NULL, 0, &back, &fault), 0);
    assert_int_equal(back.attempt, 1);
    assert_string_equal(back.job_id, "");
    job_headers_encode(&back, &set);
    assert_int_equal(set.n, 1);
}

static void test_bad_job_headers(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
        int rc;
    } cases[] = {{"keyroll-attempt", "0", ERR_INVALID},
                 {"keyroll-attempt", "-1", ERR_INVALID},
                 {"keyroll-attempt", "1 ", ERR_INVALID},
                 {"keyroll-attempt", "", ERR_INVALID},
                 {"keyroll-attempt", "99999999999999999999", ERR_INVALID},
                 {"keyroll-not-before", "9999999999999", ERR_INVALID},
                 {"keyroll-job-id", "xyz", ERR_INVALID},
                 {"keyroll-last-error", "a\x01", 0},
                 {"traceparent", "00-xyz", 0},
                 {"something-else", "\xff", 0}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct kafka_header h = {cases[i].name, cases[i].value, strlen(cases[i].value)};
        struct job_headers back;
        struct message_fault fault = {""};
        if (job_headers_decode(&h, 1, &back, &fault) != cases[i].rc) fail_msg("%s: %s", cases[i].name, cases[i].value);
        assert_int_equal(back.attempt, 1);
        assert_string_equal(back.last_error, "");
        if (cases[i].rc) assert_non_null(strstr(fault.text, cases[i].name));
    }
    struct kafka_header none = {"keyroll-attempt", NULL, 0};
    static const char two[] = "0123456789abcdef0123456789abcdef\0and more";
    struct kafka_header nul = {"keyroll-job-id", two, sizeof two - 1};
    struct job_headers back;
    assert_int_equal(job_headers_decode(&nul, 1, &back, NULL), ERR_INVALID);
    assert_int_equal(job_headers_decode(&none, 1, &back, NULL), ERR_INVALID);
}

static void test_job_ids_follow_the_work(void **state)
{
    (void)state;
    struct job a = sample, b = sample;
    b.reason = JOB_EXPOSED;
    b.created_at_ms++;
    b.user[0] = 's';
    assert_int_equal(job_identify(&a) | job_identify(&b), 0);
    assert_string_equal(a.job_id, b.job_id);
    b.rotation++;
    assert_int_equal(job_identify(&b), 0);
    assert_string_not_equal(a.job_id, b.job_id);
    assert_int_equal(job_kind_parse("reap"), JOB_REAP);
    assert_int_equal(job_kind_parse("x"), -1);
    assert_string_equal(job_kind_name(-1), "unknown");
    assert_string_equal(job_reason_name(JOB_DAILY), "audit");
}

static void test_event(void **state)
{
    (void)state;
    struct event e = {.type = EVENT_INTENT,
                      .kind = JOB_ROTATE,
                      .licence = "L1",
                      .account = "123456789012",
                      .user = "SynergistExpress-L1",
                      .job_id = "b664397e3d63868442aa841d0c1e6c66",
                      .step = "create",
                      .at_ms = 1763888888123,
                      .keys_seen = {1, {"AKIAIOSFODNN7EXAMPLE"}}},
                 back;
    event_set_error(&e, ERR_NET_LOST);
    message_words(e.reason, sizeof e.reason, "caf\xc3\xa9\nbad\xff \"q\"");
    AUTO_BUF struct buf text;
    buf_init(&text, EVENT_MAX_BYTES);
    assert_int_equal(event_encode(&e, &text), 0);
    assert_int_equal(event_decode(text.data, text.len, &back, NULL), 0);
    assert_string_equal(back.reason, "caf\xc3\xa9?bad? \"q\"");
    assert_string_equal(back.error_code, "NET_LOST");
    assert_string_equal(back.error_class, "unknown");
    assert_int_equal(back.keys_seen.n, 1);
    assert_string_equal(back.keys_seen.ids[0], "AKIAIOSFODNN7EXAMPLE");
    struct event_header_set set;
    assert_int_equal(event_headers(&e, "worker-1", &set), 0);
    static const char *const expected[][2] = {{"ce_specversion", "1.0"},
                                              {"ce_id", "b664397e3d63868442aa841d0c1e6c66.intent.create.1763888888123"},
                                              {"ce_source", "/keyroll/worker-1"},
                                              {"ce_type", "keyroll.rotation.intent"},
                                              {"ce_time", "2025-11-23T09:08:08.123Z"},
                                              {"ce_subject", "123456789012/synergistexpress-l1"},
                                              {"content-type", "application/json"}};
    assert_int_equal(set.n, ARRAY_LEN(expected));
    for (size_t i = 0; i < set.n; i++) {
        assert_string_equal(set.headers[i].name, expected[i][0]);
        assert_string_equal(set.headers[i].value, expected[i][1]);
        assert_int_equal(set.headers[i].len, strlen(expected[i][1]));
    }
    assert_int_equal(event_headers_type(set.headers, set.n), EVENT_INTENT);
    assert_int_equal(event_headers_type(set.headers, 2), -1);
}

static void test_words_are_cut_between_characters(void **state)
{
    (void)state;
    char out[13]; /* three characters */
    message_words(out, sizeof out, "\xf0\x9f\x94\x91\xf0\x9f\x94\x91\xf0\x9f\x94\x91\xf0\x9f\x94\x91");
    assert_int_equal(strlen(out), 12);
    message_words(out, sizeof out, "abcdef");
    assert_string_equal(out, "abc");
    message_words(out, sizeof out, NULL);
    assert_string_equal(out, "");
    message_words(out, sizeof out, "\xed\xa0\x80"); /* a surrogate */
    assert_string_equal(out, "???");
    message_words(out, sizeof out, "\xc3");
    assert_string_equal(out, "?");
}

static void test_deadletter(void **state)
{
    (void)state;
    static struct deadletter d, back;
    d = (struct deadletter){.has_job = true,
                            .job = sample,
                            .step = "set",
                            .attempts = 8,
                            .first_failed_at_ms = 1,
                            .last_failed_at_ms = 2,
                            .by = "worker-1",
                            .origin_topic = "keyroll.jobs",
                            .origin_partition = 3,
                            .origin_offset = 42};
    deadletter_set_error(&d, ERR_INSTANCE_REFUSED, "the instance says no");
    AUTO_BUF struct buf text;
    buf_init(&text, DEADLETTER_MAX_BYTES);
    assert_int_equal(deadletter_encode(&d, &text), 0);
    assert_int_equal(deadletter_decode(text.data, text.len, &back, NULL), 0);
    assert_true(back.has_job);
    assert_string_equal(back.job.licence, "L1");
    assert_string_equal(back.error_code, "INSTANCE_REFUSED");
    assert_int_equal(back.origin_offset, 42);
    d.job.account[0] = 'x';
    assert_int_equal(deadletter_encode(&d, &text), ERR_INVALID);
}

static void test_deadletter_of_garbage(void **state)
{
    (void)state;
    static struct deadletter d, back;
    static char garbage[20000];
    memset(garbage, 0xfe, sizeof garbage);
    d = (struct deadletter){.step = "decode",
                            .attempts = 1,
                            .first_failed_at_ms = 1,
                            .last_failed_at_ms = 1,
                            .origin_partition = -1,
                            .origin_offset = -1};
    deadletter_set_error(&d, ERR_SYNTAX, NULL);
    assert_int_equal(deadletter_set_raw(&d, garbage, sizeof garbage), 0);
    AUTO_BUF struct buf text;
    buf_init(&text, DEADLETTER_MAX_BYTES);
    assert_int_equal(deadletter_encode(&d, &text), 0);
    assert_int_equal(deadletter_decode(text.data, text.len, &back, NULL), 0);
    assert_false(back.has_job);
    unsigned char raw[DEADLETTER_RAW_MAX];
    assert_int_equal(base64_decode(back.raw, strlen(back.raw), raw, sizeof raw), DEADLETTER_RAW_MAX);
    assert_int_equal(raw[DEADLETTER_RAW_MAX - 1], 0xfe);
    assert_int_equal(back.origin_partition, -1);
    assert_int_equal(deadletter_set_raw(&d, "", 0), 0);
    buf_reset(&text);
    assert_int_equal(deadletter_encode(&d, &text), 0);
    assert_int_equal(deadletter_decode(text.data, text.len, &back, NULL), 0);
    assert_string_equal(back.raw, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_job_round_trip),
        cmocka_unit_test(test_job_errors),
        cmocka_unit_test(test_what_cannot_be_decoded_is_not_encoded),
        cmocka_unit_test(test_job_headers),
        cmocka_unit_test(test_bad_job_headers),
        cmocka_unit_test(test_job_ids_follow_the_work),
        cmocka_unit_test(test_event),
        cmocka_unit_test(test_words_are_cut_between_characters),
        cmocka_unit_test(test_deadletter),
        cmocka_unit_test(test_deadletter_of_garbage),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
