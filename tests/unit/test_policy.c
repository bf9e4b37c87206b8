/* The scheduler's policy: which job is due for one licence, rule by rule. */
#include "lib/clock.h"
#include "lib/err.h"
#include "producer/dispatch.h"
#include "producer/policy.h"
#include "producer/publish.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define NOW  1800000000000LL
#define DAY  86400000LL
#define HOUR 3600000LL

static const struct policy policy = {.max_age_ms = 80 * DAY,
                                     .max_age_jitter_ms = 10 * DAY,
                                     .audit_interval_ms = DAY,
                                     .assisted_poll_ms = 300000,
                                     .rungs = 2};

static struct store_peek u;
static struct policy_verdict v;

/* A licence that is well: one key, `age` old, looked at an hour ago. */
static struct record_key *well(int64_t age_ms)
{
    memset(&u, 0, sizeof u);
    u.lease_ms = -2;
    u.has_record = true;
    record_init(&u.record, "0001", "123456789012", "SynergistExpress-0001");
    struct record_key *k = record_add(&u.record, "AKIACURRENTKEY000001");
    k->role = KEY_CURRENT;
    k->status = AWS_KEY_ACTIVE;
    k->listed = true;
    k->created_ms = NOW - age_ms;
    k->seen_ms = NOW - HOUR;
    record_settle(&u.record);
    u.record.rotation = 7;
    u.record.audited_ms = u.record.updated_ms = NOW - HOUR;
    journal_init(&u.journal, JOURNAL_ROTATE);
    return k;
}

static struct record_key *predecessor(enum key_next next, int64_t at_ms)
{
    struct record_key *k = record_add(&u.record, "AKIAPREDECESSOR00001");
    k->role = KEY_REPLACED;
    k->status = next == KEY_NEXT_RETIRE ? AWS_KEY_ACTIVE : AWS_KEY_INACTIVE;
    k->listed = true;
    k->rotation = 5;
    k->next = next;
    k->next_ms = at_ms;
    record_settle(&u.record);
    return record_find(&u.record, k->id);
}

static void open_journal(enum journal_kind kind, enum journal_step step)
{
    u.has_journal = true;
    journal_init(&u.journal, kind);
    u.journal.step = step;
    u.journal.rotation = 9;
    u.journal.updated_ms = NOW - 1000;
    snprintf(u.journal.key_old, sizeof u.journal.key_old, "AKIACURRENTKEY000001");
}

static void judge(void)
{
    policy_judge(&policy, "0001", &u, NOW, &v);
}

static void expect(enum policy_rank rank, int kind, int reason)
{
    judge();
    assert_int_equal(v.rank, rank);
    assert_int_equal(v.kind, kind);
    assert_int_equal(v.reason, reason);
}

static void expect_nothing(void)
{
    judge();
    assert_int_equal(v.rank, POLICY_NOTHING);
}

static void first_look(void **state)
{
    (void)state;
    memset(&u, 0, sizeof u);
    u.lease_ms = -2;
    expect(POLICY_FIRST, JOB_AUDIT, JOB_DAILY);
    u.lease_ms = 500;
    expect_nothing();
}

static void open_journals(void **state)
{
    (void)state;
    well(DAY);
    open_journal(JOURNAL_ROTATE, JOURNAL_CREATED);
    expect(POLICY_RESUME, JOB_ROTATE, JOB_RESUME);
    assert_string_equal(v.replace_key_id, "AKIACURRENTKEY000001");
    u.lease_ms = 3000; /* a worker is at it */
    expect_nothing();
    u.lease_ms = -1;
    u.record.state = RECORD_RETRY;
    u.record.next_ms = NOW + 1;
    expect_nothing();
    u.record.next_ms = NOW - 1;
    expect(POLICY_RESUME, JOB_ROTATE, JOB_RESUME);
    open_journal(JOURNAL_RETIRE, JOURNAL_DEACTIVATE);
    expect(POLICY_RESUME, JOB_RETIRE, JOB_RESUME);
    open_journal(JOURNAL_REAP, JOURNAL_DELETE);
    u.journal.rotation = 0; /* making room for a first rotation */
    expect(POLICY_RESUME, JOB_REAP, JOB_RESUME);
    assert_int_equal(v.rotation, 1);
    u.has_record = false; /* an operator's rotation before the first look */
    expect(POLICY_RESUME, JOB_REAP, JOB_RESUME);
}

static void journals_that_wait_for_a_person(void **state)
{
    (void)state;
    well(100 * DAY);
    open_journal(JOURNAL_ROTATE, JOURNAL_AWAIT);
    u.journal.assisted = true;
    u.record.state = RECORD_AWAITING;
    expect_nothing();
    assert_int_equal(v.at_ms, NOW - 1000 + DAY);
    u.journal.secret_lost = true; /* rebuilt from the keys topic: nothing can be revealed */
    expect(POLICY_RESUME, JOB_ROTATE, JOB_RESUME);
    u.record.error = ERR_NEEDS_PERSON; /* it may have been offered, and a person was asked: not at every tick */
    expect_nothing();
    assert_int_equal(v.at_ms, NOW - 1000 + DAY);
    u.record.error = 0;
    u.journal.secret_lost = false;
    u.journal.step = JOURNAL_SET;
    expect_nothing();
    u.journal.updated_ms = NOW - 300000;
    u.record.updated_ms = NOW - 300000;
    expect(POLICY_RESUME, JOB_ROTATE, JOB_POLL);
    u.record.next_ms = NOW + 1;
    expect_nothing();
    u.record.next_ms = TIME_NONE;
    u.record.state = RECORD_DRIFTED; /* until adopt: a look a day */
    expect_nothing();
    u.record.updated_ms = u.journal.updated_ms = NOW - DAY;
    expect(POLICY_RESUME, JOB_ROTATE, JOB_POLL);
}

/* Redis's clock, by which a worker stamps its looks, is ten minutes behind: five minutes after each is when the next
 * one comes, not at every tick. */
static void a_slow_redis_makes_no_more_looks(void **state)
{
    (void)state;
    well(100 * DAY);
    open_journal(JOURNAL_ROTATE, JOURNAL_SET);
    u.journal.assisted = true;
    u.journal.updated_ms = NOW - HOUR;
    u.record.state = RECORD_AWAITING;
    u.now_ms = NOW - 600000;
    u.record.updated_ms = u.now_ms - 60000; /* a minute ago */
    expect_nothing();
    assert_int_equal(v.at_ms, NOW + 240000);
    u.record.updated_ms = u.now_ms - 300000;
    expect(POLICY_RESUME, JOB_ROTATE, JOB_POLL);
    u.now_ms = NOW - 365 * DAY;
    u.record.updated_ms = NOW - 60000; /* stamped by a command, which goes by its own clock */
    expect_nothing();
    assert_int_equal(v.at_ms, NOW + 240000);
    u.record.updated_ms = NOW - 300000;
    expect(POLICY_RESUME, JOB_ROTATE, JOB_POLL);
    u.now_ms = NOW + 600000; /* ahead */
    expect(POLICY_RESUME, JOB_ROTATE, JOB_POLL);
}

static void states_that_wait_for_a_person(void **state)
{
    static const enum record_state states[] = {RECORD_DRIFTED, RECORD_EXCLUDED, RECORD_AWAITING};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(states); i++) {
        well(100 * DAY);
        predecessor(KEY_NEXT_RETIRE, NOW - 1);
        u.record.state = states[i];
        u.record.repair = true;
        expect_nothing();
        u.record.audited_ms = u.record.updated_ms = NOW - DAY;
        expect(POLICY_AUDIT, JOB_AUDIT, JOB_DAILY);
    }
}

static void planned_keys(void **state)
{
    (void)state;
    well(100 * DAY);
    predecessor(KEY_NEXT_RETIRE, NOW + 1);
    expect_nothing();
    assert_int_equal(v.kind, JOB_RETIRE);
    assert_int_equal(v.at_ms, NOW + 1);
    predecessor(KEY_NEXT_RETIRE, NOW);
    expect(POLICY_RETIRE, JOB_RETIRE, JOB_SCHEDULED);
    assert_string_equal(v.replace_key_id, "AKIAPREDECESSOR00001");
    assert_int_equal(v.rotation, 5);
    assert_false(v.urgent);
    predecessor(KEY_NEXT_REAP, NOW);
    expect(POLICY_REAP, JOB_REAP, JOB_SCHEDULED);
    u.record.state = RECORD_RETRY;
    u.record.next_ms = NOW + 5;
    expect_nothing();
    u.record.next_ms = NOW - 5;
    expect(POLICY_REAP, JOB_REAP, JOB_SCHEDULED);
}

static void exposed_keys(void **state)
{
    (void)state;
    struct record_key *k = well(DAY);
    u.n_exposed = 1;
    snprintf(u.exposed_ids[0], AWS_KEY_ID_MAX, "%s", k->id);
    expect(POLICY_EXPOSED, JOB_ROTATE, JOB_EXPOSED);
    assert_true(v.urgent);
    well(DAY);
    predecessor(KEY_NEXT_RETIRE, NOW + DAY);
    u.n_exposed = 1;
    snprintf(u.exposed_ids[0], AWS_KEY_ID_MAX, "AKIAPREDECESSOR00001");
    expect(POLICY_EXPOSED, JOB_RETIRE, JOB_EXPOSED); /* in overlap: at once (R9) */
    assert_true(v.urgent);
    well(DAY);
    predecessor(KEY_NEXT_REAP, NOW + DAY)->exposed = true; /* Inactive already: its quarantine stands */
    expect_nothing();
}

static void repairs(void **state)
{
    (void)state;
    well(DAY);
    predecessor(KEY_NEXT_RETIRE, NOW + DAY);
    u.record.repair = true;
    expect(POLICY_URGENT, JOB_ROTATE, JOB_REPAIR);
    assert_true(v.urgent);
    u.record.state = RECORD_RETRY;
    u.record.next_ms = NOW + 1;
    expect_nothing();
}

static void parked(void **state)
{
    (void)state;
    struct policy back = policy;
    back.recovered = true;
    well(100 * DAY);
    u.record.state = RECORD_RETRY;
    u.record.error = ERR_BREAKER_OPEN;
    u.record.next_ms = NOW + HOUR;
    policy_judge(&back, "0001", &u, NOW, &v);
    assert_int_equal(v.rank, POLICY_NOTHING); /* it failed by itself: its time stands */
    snprintf(u.record.parked, sizeof u.record.parked, "host:example.com:443");
    expect_nothing();
    assert_false(v.recovered);
    policy_judge(&back, "0001", &u, NOW, &v);
    assert_int_equal(v.rank, POLICY_ROTATE);
    assert_true(v.recovered);
    u.has_journal = true;
    u.journal.step = JOURNAL_SET;
    policy_judge(&back, "0001", &u, NOW, &v);
    assert_int_equal(v.rank, POLICY_RESUME);
    assert_true(v.recovered);
    u.lease_ms = 1000; /* a worker is at it already */
    policy_judge(&back, "0001", &u, NOW, &v);
    assert_int_equal(v.rank, POLICY_NOTHING);
    assert_false(v.recovered);
}

/* A person's request outlives its message, whatever the key's age. */
static void asked_for(void **state)
{
    (void)state;
    well(DAY);
    u.record.state = RECORD_RETRY;
    u.record.asked = true;
    u.record.next_ms = NOW + 1;
    expect_nothing();
    assert_int_equal(v.kind, JOB_ROTATE);
    assert_int_equal(v.at_ms, NOW + 1);
    u.record.next_ms = NOW;
    expect(POLICY_ROTATE, JOB_ROTATE, JOB_OPERATOR);
    u.record.state = RECORD_FAILED; /* a dead letter was sent: replay is the person's to ask for */
    expect(POLICY_AUDIT, JOB_AUDIT, JOB_DAILY);
    record_settle(&u.record);
    assert_false(u.record.asked);
}

static void by_age(void **state)
{
    (void)state;
    int64_t age = policy_age_ms(&policy, "0001");
    assert_in_range(age, 70 * DAY, 80 * DAY);
    assert_int_equal(age, policy_age_ms(&policy, "0001"));
    well(age - 1);
    expect_nothing();
    assert_int_equal(v.kind, JOB_ROTATE);
    assert_int_equal(v.at_ms, NOW + 1);
    well(age);
    expect(POLICY_ROTATE, JOB_ROTATE, JOB_SCHEDULED);
    assert_int_equal(v.rotation, 7);
    predecessor(KEY_NEXT_RETIRE, NOW + DAY); /* a rotation while the predecessor is in overlap waits (R10) */
    expect_nothing();
    well(DAY)->status = AWS_KEY_INACTIVE;
    expect(POLICY_ROTATE, JOB_ROTATE, JOB_SCHEDULED);
    well(DAY)->listed = false; /* given by us, deleted by others (R12) */
    expect(POLICY_URGENT, JOB_ROTATE, JOB_SCHEDULED);
    well(DAY)->listed = false;
    u.record.rotation = 0;
    expect(POLICY_ROTATE, JOB_ROTATE, JOB_SCHEDULED);
    well(DAY);
    record_remove(&u.record, "AKIACURRENTKEY000001"); /* the instance has no key at all */
    expect(POLICY_ROTATE, JOB_ROTATE, JOB_SCHEDULED);
    assert_string_equal(v.replace_key_id, "");
    u.record.next_ms = NOW + 60000; /* paused, or the hour's allowance is used up */
    expect_nothing();
}

static void failures(void **state)
{
    (void)state;
    well(100 * DAY);
    u.record.state = RECORD_RETRY;
    u.record.error = ERR_INSTANCE_FAILURE;
    u.record.attempts = 5;
    u.record.next_ms = NOW + 1;
    expect_nothing();
    u.record.next_ms = NOW;
    expect(POLICY_ROTATE, JOB_ROTATE, JOB_SCHEDULED);
    u.record.attempts = 1; /* on a retry topic: left to Kafka for a while */
    u.record.updated_ms = NOW - 10000;
    expect_nothing();
    u.record.updated_ms = u.record.next_ms = NOW - 60000;
    expect(POLICY_ROTATE, JOB_ROTATE, JOB_SCHEDULED);
    well(DAY);
    u.record.state = RECORD_FAILED; /* not due by age: one look when its time has come */
    u.record.next_ms = NOW - 1;
    expect(POLICY_AUDIT, JOB_AUDIT, JOB_DAILY);
    u.record.audited_ms = NOW - 1;
    expect_nothing();
    well(100 * DAY);
    u.record.audited_ms = TIME_NONE; /* its first look failed */
    u.record.state = RECORD_RETRY;
    u.record.next_ms = NOW - 1;
    expect(POLICY_AUDIT, JOB_AUDIT, JOB_DAILY);
}

static void daily_audit(void **state)
{
    (void)state;
    well(DAY);
    u.record.audited_ms = NOW - DAY + 1;
    expect_nothing();
    u.record.audited_ms = NOW - DAY;
    expect(POLICY_AUDIT, JOB_AUDIT, JOB_DAILY);
    predecessor(KEY_NEXT_RETIRE, NOW + DAY);
    expect(POLICY_AUDIT, JOB_AUDIT, JOB_DAILY);
}

static void observe(void **state)
{
    (void)state;
    struct policy p = policy;
    p.observe = true;
    well(100 * DAY);
    policy_judge(&p, "0001", &u, NOW, &v);
    assert_int_equal(v.rank, POLICY_ROTATE);
    assert_true(v.held);
    u.has_record = false;
    policy_judge(&p, "0001", &u, NOW, &v);
    assert_int_equal(v.rank, POLICY_FIRST);
    assert_false(v.held);
}

static void order(void **state)
{
    (void)state;
    struct policy_verdict a = {.rank = POLICY_RETIRE, .at_ms = 5},
                          b = {.rank = POLICY_ROTATE, .at_ms = 2, .oldest_ms = 1},
                          c = {.rank = POLICY_ROTATE, .at_ms = 1, .oldest_ms = 2};
    assert_true(policy_compare(&a, &b) < 0);
    assert_true(policy_compare(&b, &c) < 0);
    assert_true(policy_compare(&c, &b) > 0);
    assert_int_equal(policy_compare(&c, &c), 0);
    c.recovered = true; /* goes before all but what is urgent */
    assert_true(policy_compare(&c, &b) < 0 && policy_compare(&c, &a) < 0 && policy_compare(&a, &c) > 0);
    a.rank = POLICY_URGENT;
    assert_true(policy_compare(&c, &a) > 0 && policy_compare(&a, &c) < 0 && policy_compare(&c, &c) == 0);
}

/* The spread is even enough that no day of the jitter is empty for a thousand licences. */
static void jitter_spreads(void **state)
{
    (void)state;
    unsigned days[10] = {0};
    for (int i = 0; i < 1000; i++) {
        char name[16];
        snprintf(name, sizeof name, "L%06d", i);
        int64_t off = policy.max_age_ms - policy_age_ms(&policy, name);
        assert_in_range(off, 0, policy.max_age_jitter_ms);
        days[off / DAY < 10 ? off / DAY : 9]++;
    }
    for (int i = 0; i < 10; i++) assert_in_range(days[i], 50, 150);
}

static void hourly_pace(void **state)
{
    (void)state;
    struct pace p = {{0}, {0}};
    for (int i = 0; i < 20; i++) {
        assert_true(pace_left(&p, 20, NOW + i * 60000) > 0);
        pace_count(&p, NOW + i * 60000);
    }
    assert_int_equal(pace_left(&p, 20, NOW + 20 * 60000), 0);
    assert_int_equal(pace_left(&p, 20, NOW + 60 * 60000), 0); /* the first minute is just within the hour */
    assert_int_equal(pace_left(&p, 20, NOW + 61 * 60000), 1);
    assert_int_equal(pace_left(&p, 20, NOW + 200 * 60000), 20);
    assert_int_equal(pace_left(&p, 5, NOW + 20 * 60000), 0);
}

static void hold_back(void **state)
{
    (void)state;
    assert_int_equal(dispatch_hold_ms(30000, 1, false), 300000);
    assert_int_equal(dispatch_hold_ms(500, 1, false), 60000);
    assert_int_equal(dispatch_hold_ms(500, 1, true), 1000); /* it had an effect: soon again */
    assert_int_equal(dispatch_hold_ms(500, 4, true), 8000);
    assert_int_equal(dispatch_hold_ms(500, 1000, true), 60000);
}

static void jobs(void **state)
{
    (void)state;
    const struct inventory_row row = {.licence = "0001",
                                      .account = "123456789012",
                                      .user = "SynergistExpress-0001",
                                      .bucket = "synergist-0001",
                                      .region = "eu-west-1",
                                      .instance_url = "https://0001.example.com",
                                      .time_zone = "",
                                      .policy = "",
                                      .profile = "default",
                                      .credentials = "env:LOGIN"};
    struct job a, b;
    AUTO_BUF struct buf text;
    well(100 * DAY);
    judge();
    assert_int_equal(publish_make(&row, &v, "host-1", NOW, &a), 0);
    assert_int_equal(publish_make(&row, &v, "host-2", NOW + 5, &b), 0);
    assert_string_equal(a.job_id, b.job_id); /* asked for twice: the same job */
    assert_string_equal(a.replace_key_id, "AKIACURRENTKEY000001");
    buf_init(&text, JOB_MAX_BYTES);
    assert_int_equal(job_encode(&a, &text), 0);
    u.record.rotation = 8;
    judge();
    assert_int_equal(publish_make(&row, &v, "host-1", NOW, &b), 0);
    assert_string_not_equal(a.job_id, b.job_id);
    v.kind = -1;
    assert_int_equal(publish_make(&row, &v, "host-1", NOW, &b), ERR_INVALID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_look),
        cmocka_unit_test(open_journals),
        cmocka_unit_test(journals_that_wait_for_a_person),
        cmocka_unit_test(a_slow_redis_makes_no_more_looks),
        cmocka_unit_test(states_that_wait_for_a_person),
        cmocka_unit_test(planned_keys),
        cmocka_unit_test(exposed_keys),
        cmocka_unit_test(repairs),
        cmocka_unit_test(parked),
        cmocka_unit_test(asked_for),
        cmocka_unit_test(by_age),
        cmocka_unit_test(failures),
        cmocka_unit_test(daily_audit),
        cmocka_unit_test(observe),
        cmocka_unit_test(order),
        cmocka_unit_test(jitter_spreads),
        cmocka_unit_test(hourly_pace),
        cmocka_unit_test(hold_back),
        cmocka_unit_test(jobs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
