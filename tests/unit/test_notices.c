/* What a person is told, and how it is gathered into messages. */
#include "lib/err.h"
#include "lib/json.h"
#include "producer/notices.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define NOW  1800000000000LL
#define HOUR 3600000LL

static struct notice stuck(const char *licence, int64_t at_ms)
{
    struct event e = {.type = EVENT_STUCK, .at_ms = at_ms, .step = "test", .error_code = "INSTANCE_TEST"};
    struct notice one;
    snprintf(e.licence, sizeof e.licence, "%s", licence);
    snprintf(e.reason, sizeof e.reason, "the instance refuses the new key é");
    assert_true(notice_from_event(&e, &one));
    return one;
}

static struct notice dead(const char *licence, const char *step, const char *error)
{
    static struct deadletter d;
    struct notice one;
    memset(&d, 0, sizeof d);
    d.has_job = *licence != '\0';
    d.last_failed_at_ms = NOW;
    snprintf(d.job.licence, sizeof d.job.licence, "%s", licence);
    snprintf(d.step, sizeof d.step, "%s", step);
    snprintf(d.error_code, sizeof d.error_code, "%s", error);
    assert_true(notice_from_dead(&d, &one));
    return one;
}

static json_t *take(struct notices *n, int64_t mono_ms)
{
    AUTO_BUF struct buf out;
    json_t *root = NULL;
    buf_init(&out, NOTICES_MAX_BYTES);
    assert_int_equal(notices_take(n, "me", NOW, mono_ms, &out), 0);
    assert_int_equal(json_read(out.data, out.len, 0, &root, NULL), 0);
    return root;
}

static void what_is_told(void **state)
{
    (void)state;
    static const enum event_type not_told[] = {EVENT_INTENT, EVENT_RETRY, EVENT_AUDITED, EVENT_FAILED, EVENT_RECOVERED};
    struct notice one;
    for (size_t i = 0; i < ARRAY_LEN(not_told); i++) {
        const struct event e = {.type = (int)not_told[i]};
        assert_false(notice_from_event(&e, &one));
    }
    const struct event drifted = {.type = EVENT_DRIFTED, .licence = "0001"};
    assert_true(notice_from_event(&drifted, &one));
    assert_string_equal(notice_kind_name(one.kind), "drifted");
    struct event failing = {.type = EVENT_AUDITED, .licence = "0001", .reason = "the instance has no key"};
    assert_false(notice_from_event(&failing, &one)); /* keyroll gives it one */
    event_set_error(&failing, ERR_INSTANCE_TEST);
    assert_true(notice_from_event(&failing, &one));
    assert_string_equal(notice_kind_name(one.kind), "failing");
    struct campaign c = {.name = "leak", .state = CAMPAIGN_RUNNING, .why = "3 of 10 failed"};
    assert_false(notice_from_campaign(&c, &one));
    c.state = CAMPAIGN_STOPPED;
    assert_true(notice_from_campaign(&c, &one));
    assert_string_equal(one.reason, "3 of 10 failed");
}

static void one_message_an_interval(void **state)
{
    struct notices n = {0};
    struct notice one = stuck("0001", NOW);
    (void)state;
    assert_int_equal(notices_wait_ms(&n, 60000, 1000), -1);
    assert_true(notices_add(&n, &one, NOW, 1000));
    assert_int_equal(notices_wait_ms(&n, 60000, 1000), NOTICES_SETTLE_MS); /* the first one hardly waits */
    one = stuck("0002", NOW);
    assert_true(notices_add(&n, &one, NOW, 1900));
    assert_int_equal(notices_wait_ms(&n, 60000, 2000), 0);
    AUTO_JSON json_t *first = take(&n, 2000);
    assert_int_equal(json_array_size(json_object_get(first, "notices")), 2);
    assert_string_equal(json_string_value(json_object_get(first, "version")), "keyroll.notice/1");
    assert_non_null(
        strstr(json_string_value(json_object_get(first, "text")), "keyroll: 2 stuck\n0001: stuck at test: "));
    assert_int_equal(notices_wait_ms(&n, 60000, 2000), -1);
    one = stuck("0003", NOW);
    assert_true(notices_add(&n, &one, NOW, 3000));
    assert_int_equal(notices_wait_ms(&n, 60000, 3000), 59000);
    assert_int_equal(notices_wait_ms(&n, 60000, 62000), 0);
    notices_done(&n);
}

static void nothing_twice(void **state)
{
    struct notices n = {0};
    struct notice one = stuck("0001", NOW);
    (void)state;
    assert_true(notices_add(&n, &one, NOW, 1));
    assert_false(notices_add(&n, &one, NOW + HOUR, 1)); /* also after it was sent */
    one.at_ms = NOW + NOTICES_AGAIN_MS;
    assert_true(notices_add(&n, &one, one.at_ms, 1)); /* it still is: told again */
    one = stuck("0009", NOW - NOTICES_FRESH_MS);
    assert_false(notices_add(&n, &one, NOW, 1)); /* read again after days: old news */
    notices_done(&n);
}

static void first_dead_letter_of_a_kind(void **state)
{
    struct notices n = {0};
    struct notice one = stuck("0001", NOW);
    (void)state;
    assert_true(notices_add(&n, &one, NOW, 1));
    one = dead("0001", "test", "INSTANCE_TEST");
    assert_false(notices_add(&n, &one, NOW, 1)); /* it is told as stuck */
    one = dead("0002", "create", "AWS_DENIED");
    assert_true(notices_add(&n, &one, NOW, 1));
    one = dead("0003", "create", "AWS_DENIED");
    assert_false(notices_add(&n, &one, NOW, 1));
    one = dead("0004", "survey", "AWS_DENIED");
    assert_true(notices_add(&n, &one, NOW, 1));
    one = dead("", "decode", "SYNTAX");
    assert_true(notices_add(&n, &one, NOW, 1));
    notices_done(&n);
}

static void bounded(void **state)
{
    struct notices n = {0};
    char licence[16];
    (void)state;
    for (int i = 0; i < 30000; i++) { /* more than is remembered, too */
        snprintf(licence, sizeof licence, "L%06d", i);
        struct notice one = stuck(licence, NOW);
        assert_true(notices_add(&n, &one, NOW, 1));
    }
    assert_int_equal(n.n, NOTICES_MAX);
    AUTO_JSON json_t *root = take(&n, 1);
    assert_int_equal(json_array_size(json_object_get(root, "notices")), NOTICES_MAX);
    assert_int_equal(json_integer_value(json_object_get(json_object_get(root, "more"), "stuck")), 30000 - NOTICES_MAX);
    assert_non_null(strstr(json_string_value(json_object_get(root, "text")), "keyroll: 30000 stuck"));
    assert_int_equal(notices_wait_ms(&n, 1, 100000), -1);
    notices_done(&n);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_told),  cmocka_unit_test(one_message_an_interval),
        cmocka_unit_test(nothing_twice), cmocka_unit_test(first_dead_letter_of_a_kind),
        cmocka_unit_test(bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
