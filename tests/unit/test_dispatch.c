/* Publishing what is due: held back, paced, and what was parked without either. */
#include "lib/err.h"
#include "producer/dispatch.h"
#include "schema/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define NOW  1800000000000LL
#define MANY 50

static int64_t now_mono_ms = 1000000;
static int64_t wall_ms(void *self)
{
    (void)self;
    return NOW + now_mono_ms;
}
static int64_t mono_ms(void *self)
{
    (void)self;
    return now_mono_ms;
}
static const struct clock clock = {NULL, wall_ms, mono_ms};

static size_t sent, delivered;
static struct ticket tickets[5000];
static struct job last; /* as the last message has it */
static int produce(void *self, const struct kafka_message_out *m, struct ticket t)
{
    (void)self;
    assert_int_equal(job_decode(m->value, m->value_len, &last, NULL), 0);
    tickets[sent++] = t;
    return 0;
}
static void list(struct dispatch *d, struct survey_due *due, size_t n)
{
    struct kafka_report report = {.err = 0};
    dispatch_list(d, due, n);
    while (delivered < sent) ticket_complete(tickets[delivered++], &report);
}
static void reported(void *arg, const struct dispatch_sent *m, int err, const char *detail)
{
    (void)arg, (void)m, (void)detail;
    assert_int_equal(err, 0);
}

/* The step of the dead letters that are there; NULL: the topic is not read yet. */
static const char *letters = "";
static const char *dead_step(void *arg, const char *user_key, int kind, int64_t first_failed_ms)
{
    (void)arg;
    assert_string_equal(user_key, "123456789012/l0000");
    assert_int_equal(kind, JOB_ROTATE);
    assert_int_equal(first_failed_ms, NOW);
    return letters;
}

static char names[MANY][16];
static struct inventory_row rows[MANY];
static struct survey_due due[MANY];
static char jobs[] = "jobs", urgent[] = "urgent";
static struct options options = {.tick_ms = 3600000,
                                 .plan_publish_rate = 1,
                                 .max_rotations_per_hour = 5,
                                 .topic_jobs = jobs,
                                 .topic_urgent = urgent};

static struct dispatch *begin(struct loop **ret_loop)
{
    const struct dispatch_options d =
        { *ret_loop = loop_new(), {NULL, produce}, &options, &clock, "me", reported, dead_step, NULL};
    assert_non_null(d.loop);
    for (size_t i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof names[i], "L%04zu", i % 10000);
        rows[i] = (struct inventory_row){.licence = names[i],
                                         .account = "123456789012",
                                         .user = names[i],
                                         .bucket = "bucket",
                                         .region = "eu-west-1",
                                         .instance_url = "https://x.example.com",
                                         .time_zone = "",
                                         .policy = "",
                                         .profile = "default",
                                         .credentials = "env:LOGIN"};
        due[i] = (struct survey_due){.row = &rows[i], .signature = 1};
        due[i].verdict = (struct policy_verdict){
            .rank = POLICY_ROTATE, .kind = JOB_ROTATE, .reason = JOB_SCHEDULED, .failing_since_ms = TIME_NONE};
    }
    sent = delivered = 0;
    return dispatch_new(&d);
}

/* As survey and policy would say: the jobs ran, parked, and what they parked on answers again. */
static void recover(bool recovered, uint64_t signature)
{
    for (size_t i = 0; i < MANY; i++) {
        due[i].verdict.recovered = recovered;
        due[i].signature = signature;
    }
}

static void what_was_parked_goes_at_once(void **state)
{
    struct loop *l;
    struct dispatch *d = begin(&l);
    (void)state;
    list(d, due, MANY);
    assert_int_equal(sent, 1); /* one a second */
    for (int i = 0; i < 10; i++) {
        now_mono_ms += 1000;
        list(d, due, MANY);
    }
    assert_int_equal(sent, 5); /* five an hour, and none twice */
    recover(false, 2);
    now_mono_ms += 1;
    list(d, due, MANY);
    assert_int_equal(sent, 5); /* it parked: still held, and still counted */
    recover(true, 2);
    list(d, due, MANY);
    assert_int_equal(sent, 5 + MANY);
    list(d, due, MANY);
    assert_int_equal(sent, 5 + MANY); /* these messages queue */
    recover(true, 3);
    list(d, due, MANY);
    assert_int_equal(sent, 5 + 2 * MANY); /* a worker that did not know yet parked them again */
    recover(false, 3);
    now_mono_ms += 100;
    list(d, due, MANY);
    assert_int_equal(sent, 5 + 2 * MANY);
    dispatch_free(d);
    loop_free(l);
}

/* What was not published yet first, then what was and has not ended. */
static void list_from(struct dispatch *d, struct survey_due *all, size_t ended, size_t n)
{
    static struct survey_due order[3000];
    size_t fresh = sent < n ? n - sent : 0, at = 0;
    for (size_t i = n - fresh; i < n; i++) order[at++] = all[i];
    for (size_t i = ended; i < n - fresh; i++) order[at++] = all[i];
    list(d, order, at);
}

/* A long list whose jobs are worked off slowly: what queues is bounded by what had an effect lately. */
static void no_more_queues_than_is_worked_off(void **state)
{
    enum { LONG = 3000 };
    static struct survey_due all[LONG];
    static struct inventory_row who[LONG];
    static char name[LONG][16];
    struct loop *l;
    (void)state;
    options.plan_publish_rate = 100;
    options.tick_ms = 1000;
    struct dispatch *d = begin(&l);
    for (size_t i = 0; i < LONG; i++) {
        snprintf(name[i], sizeof name[i], "M%04zu", i % 10000);
        who[i] = rows[0];
        who[i].licence = who[i].user = name[i];
        all[i] = due[0];
        all[i].row = &who[i];
        all[i].verdict.reason = JOB_OPERATOR;
    }
    for (int i = 0; i < 30; i++, now_mono_ms += 1000) list_from(d, all, 0, LONG);
    assert_int_equal(sent, 500); /* nothing is worked off */
    for (int i = 0; i < 20; i++, now_mono_ms += 1000) list_from(d, all, 300, LONG);
    assert_int_equal(sent, 500 + 2 * 300); /* room for those, and as many as were worked off lately */
    size_t ended = 300, before = sent;
    for (int i = 0; i < 10; i++, now_mono_ms += 1000) list_from(d, all, ended += 100, LONG);
    assert_int_equal(sent - before, 1000); /* now they are quick: as many as plan_publish_rate lets through */
    options.plan_publish_rate = 1;
    options.tick_ms = 3600000;
    dispatch_free(d);
    loop_free(l);
}

/* What is failing is tried again with the step of its dead letter, and not before it is known whether it has one. */
static void a_later_try_knows_its_dead_letter(void **state)
{
    struct loop *l;
    struct dispatch *d = begin(&l);
    (void)state;
    letters = NULL;
    due[0].verdict.failing_since_ms = NOW;
    list(d, due, 1);
    assert_int_equal(sent, 0);
    list(d, due + 1, 1);
    assert_int_equal(sent, 1); /* it never failed: nobody asks */
    assert_string_equal(last.dead_step, "");
    letters = "make-room";
    now_mono_ms += 1000;
    list(d, due, 1);
    assert_int_equal(sent, 2);
    assert_string_equal(last.dead_step, "make-room");
    letters = "";
    dispatch_free(d);
    loop_free(l);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(no_more_queues_than_is_worked_off),
                                       cmocka_unit_test(what_was_parked_goes_at_once),
                                       cmocka_unit_test(a_later_try_knows_its_dead_letter)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
