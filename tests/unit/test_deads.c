/* The dead-letter topic as a table: one row per job, its history, what closes a letter and what opens it again. */
#include "lib/clock.h"
#include "lib/err.h"
#include "producer/deads.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

static struct deads d;
static struct deadletter letter;

static int set_up(void **state)
{
    (void)state;
    deads_init(&d, true);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    deads_done(&d);
    return 0;
}

static void take(int32_t partition, int64_t offset, const struct buf *value, int expected)
{
    const struct kafka_message_in m = {.topic = "keyroll.dead",
                                       .partition = partition,
                                       .offset = offset,
                                       .key = "123456789012/synergistexpress-0001",
                                       .value = buf_str(value),
                                       .value_len = value->len};
    assert_int_equal(deads_take(&d, &m), expected);
}

static void add_letter(int32_t partition, int64_t offset, bool has_job, int64_t at_ms)
{
    AUTO_BUF struct buf value;
    buf_init(&value, DEADLETTER_MAX_BYTES);
    letter =
        (struct deadletter){.has_job = has_job, .attempts = 3, .first_failed_at_ms = 1000, .last_failed_at_ms = at_ms};
    snprintf(letter.step, sizeof letter.step, "create");
    deadletter_set_error(&letter, ERR_AWS_DENIED, "denied");
    struct job *j = &letter.job;
    *j = (struct job){.kind = JOB_ROTATE, .created_at_ms = 1000};
    snprintf(j->licence, sizeof j->licence, "0001");
    snprintf(j->account, sizeof j->account, "123456789012");
    snprintf(j->user, sizeof j->user, "SynergistExpress-0001");
    snprintf(j->bucket, sizeof j->bucket, "bucket");
    snprintf(j->region, sizeof j->region, "eu-west-1");
    snprintf(j->instance_url, sizeof j->instance_url, "https://h/");
    snprintf(j->profile, sizeof j->profile, "default");
    assert_int_equal(job_identify(j), 0);
    if (!has_job) assert_int_equal(deadletter_set_raw(&letter, "x", 1), 0);
    assert_int_equal(deadletter_encode(&letter, &value), 0);
    take(partition, offset, &value, 0);
}

static void add_mark(int32_t partition, int64_t offset, enum deadmark_action action)
{
    AUTO_BUF struct buf value;
    buf_init(&value, DEADMARK_MAX_BYTES);
    struct deadmark m = {.action = (int)action, .partition = partition, .offset = offset, .at_ms = 5000};
    snprintf(m.by, sizeof m.by, "kim");
    assert_int_equal(deadmark_encode(&m, &value), 0);
    assert_true(deadmark_is(buf_str(&value), value.len));
    take(0, 999, &value, 0); /* wherever it stands */
}

static const struct dead *only(void)
{
    size_t at = 0;
    const struct dead *l = deads_next(&d, &at), *more = deads_next(&d, &at);
    assert_non_null(l);
    assert_null(more);
    return l;
}

static void one_row_per_job_with_its_history(void **state)
{
    (void)state;
    add_letter(3, 7, true, 2000);
    assert_int_equal(deads_state(&d, only(), NULL), DEAD_OPEN);
    add_mark(3, 7, DEADMARK_REPLAYED);
    assert_int_equal(deads_state(&d, only(), NULL), DEAD_REPLAYED);
    add_letter(3, 9, true, 3000); /* it failed again */
    const struct dead *l = only();
    assert_int_equal(l->offset, 9);
    assert_int_equal(l->times, 2);
    assert_int_equal(deads_state(&d, l, NULL), DEAD_OPEN);
    const struct dead *before = deads_earlier(&d, l);
    const struct deadmark *mark;
    assert_int_equal(before->offset, 7);
    assert_int_equal(deads_state(&d, before, &mark), DEAD_REPLAYED);
    assert_string_equal(mark->by, "kim");
    assert_null(deads_earlier(&d, before));
    assert_int_equal(dead_letter(l, &letter), 0);
    assert_string_equal(letter.job.licence, "0001");
    add_mark(3, 9, DEADMARK_DROPPED);
    assert_int_equal(deads_state(&d, only(), NULL), DEAD_DROPPED);
}

#define USER_KEY "123456789012/synergistexpress-0001"

static const char *standing(void)
{
    return deads_standing_step(&d, USER_KEY, JOB_ROTATE, 1000, 5000 + DEADS_REPLAY_MS);
}

/* A later try is told that the letter is there, unless somebody closed it as done with. */
static void a_letter_stands_until_it_is_replayed_or_resolved(void **state)
{
    (void)state;
    assert_string_equal(standing(), "");
    add_letter(3, 7, true, 2000);
    assert_string_equal(standing(), "create");
    assert_string_equal(deads_standing_step(&d, USER_KEY, JOB_ROTATE, 1001, 6000), ""); /* it was well in between */
    assert_string_equal(deads_standing_step(&d, USER_KEY, JOB_AUDIT, 1000, 6000), "");
    assert_string_equal(deads_standing_step(&d, "123456789012/other", JOB_ROTATE, 1000, 6000), "");
    add_mark(3, 7, DEADMARK_DROPPED);
    assert_string_equal(standing(), "create");
    add_mark(3, 7, DEADMARK_REPLAYED);
    assert_null(deads_standing_step(&d, USER_KEY, JOB_ROTATE, 1000, 5001)); /* that is the next try */
    assert_string_equal(standing(), "");                                    /* it was lost, it seems */
    add_letter(3, 9, true, 3000);                                           /* the replay failed */
    assert_string_equal(standing(), "create");
    add_mark(3, 9, DEADMARK_RESOLVED);
    assert_string_equal(standing(), "");
}

/* Partitions are read in any order. */
static void marks_before_letters(void **state)
{
    (void)state;
    add_mark(1, 4, DEADMARK_RESOLVED);
    add_letter(1, 4, true, 2000);
    assert_int_equal(deads_state(&d, only(), NULL), DEAD_RESOLVED);
}

static void what_is_no_job_stands_alone(void **state)
{
    (void)state;
    add_letter(1, 4, false, 2000);
    add_letter(1, 5, false, 2000);
    size_t at = 0, n = 0;
    while (deads_next(&d, &at)) n++;
    assert_int_equal(n, 2);
    add_mark(1, 5, DEADMARK_DROPPED);
    at = n = 0;
    for (const struct dead *l; (l = deads_next(&d, &at));) n += deads_state(&d, l, NULL) == DEAD_OPEN;
    assert_int_equal(n, 1);
}

static void what_cannot_be_read_is_counted(void **state)
{
    (void)state;
    AUTO_BUF struct buf value;
    buf_init(&value, 1000);
    (void)buf_adds(&value, "{\"version\":\"keyroll.deadmark/1\",\"action\":\"lost\"}");
    take(0, 1, &value, ERR_INVALID);
    buf_reset(&value);
    (void)buf_adds(&value, "junk");
    take(0, 2, &value, ERR_SYNTAX);
    assert_int_equal(d.bad, 2);
    size_t at = 0;
    assert_null(deads_next(&d, &at));
}

static void resolved_by_a_record_that_is_well(void **state)
{
    (void)state;
    static struct store_peek u;
    add_letter(1, 4, true, 2000);
    const struct dead *l = only();
    memset(&u, 0, sizeof u);
    assert_false(dead_is_resolved(l, &u)); /* nothing is known */
    u.has_record = true;
    record_init(&u.record, "0001", "123456789012", "SynergistExpress-0001");
    u.record.updated_ms = 3000;
    for (int s = RECORD_NEW; s <= RECORD_EXCLUDED; s++) {
        u.record.state = (enum record_state)s;
        bool well = s == RECORD_CURRENT || s == RECORD_OVERLAP || s == RECORD_QUARANTINE;
        assert_int_equal(dead_is_resolved(l, &u), well);
    }
    u.record.state = RECORD_CURRENT;
    u.record.updated_ms = 2000; /* as it was when it failed */
    assert_false(dead_is_resolved(l, &u));
    u.record.updated_ms = 3000;
    u.has_journal = true;
    assert_false(dead_is_resolved(l, &u));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(one_row_per_job_with_its_history, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_letter_stands_until_it_is_replayed_or_resolved, set_up, tear_down),
        cmocka_unit_test_setup_teardown(marks_before_letters, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_is_no_job_stands_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_cannot_be_read_is_counted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(resolved_by_a_record_that_is_well, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
