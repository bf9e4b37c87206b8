/* The counting ports: answers and refusals pass through as they came, time and failures are counted by operation, and
 * what is never answered is dropped at the end. */
#include "lib/err.h"
#include "worker/calls.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static int64_t now_ms;
static struct ticket held; /* of the last call */
static int refuse;
static int answered_err;
static uint64_t answered_id;

static int64_t clock_now(void *self)
{
    (void)self;
    return now_ms;
}
static const struct clock fake_clock = {.mono_ms = clock_now, .wall_ms = clock_now};

static int take_aws(void *self, const struct aws_request *req, struct ticket t)
{
    (void)self;
    (void)req;
    held = t;
    return refuse;
}
static int take_instance(void *self, const struct instance_request *req, struct ticket t)
{
    (void)self;
    (void)req;
    held = t;
    return refuse;
}
static bool can(void *self, const char *profile, struct instance_abilities *ret)
{
    (void)self;
    ret->can_write = strcmp(profile, "default") == 0;
    return true;
}
static void answered(void *self, uint64_t id, const void *result)
{
    *(const void **)self = result;
    answered_id = id;
    answered_err++;
}

struct fixture {
    struct metrics *m;
    struct calls *c;
    const void *got;
};

static void open_it(struct fixture *f)
{
    *f = (struct fixture){.m = metrics_new()};
    refuse = answered_err = 0;
    assert_int_equal(calls_new(f->m, &fake_clock, (struct aws_port){NULL, take_aws},
                               (struct instance_port){NULL, take_instance, can}, &f->c),
                     0);
}

static void close_it(struct fixture *f)
{
    calls_free(f->c);
    metrics_free(f->m);
}

static bool shows(struct fixture *f, const char *line)
{
    AUTO_BUF struct buf out;
    buf_init(&out, 65536);
    assert_int_equal(metrics_write(f->m, &out), 0);
    return strstr(buf_str(&out), line) != NULL;
}

static int call_aws(struct fixture *f, enum aws_op op)
{
    struct aws_port p = calls_aws(f->c);
    return p.call(p.self, &(struct aws_request){.op = op}, (struct ticket){answered, &f->got, 7});
}

static void answers_pass_through_and_are_timed(void **state)
{
    (void)state;
    struct fixture f;
    open_it(&f);
    const struct aws_result good = {.err = 0}, bad = {.err = ERR_AWS_THROTTLED};
    assert_int_equal(call_aws(&f, AWS_LIST_ACCESS_KEYS), 0);
    now_ms += 200;
    ticket_complete(held, &good);
    assert_ptr_equal(f.got, &good);
    assert_int_equal(answered_id, 7);
    assert_int_equal(call_aws(&f, AWS_LIST_ACCESS_KEYS), 0);
    now_ms += 3000;
    ticket_complete(held, &bad);
    assert_ptr_equal(f.got, &bad);
    assert_true(shows(&f, "keyroll_aws_call_duration_seconds_bucket{operation=\"ListAccessKeys\",le=\"0.25\"} 1\n"));
    assert_true(shows(&f, "keyroll_aws_call_duration_seconds_sum{operation=\"ListAccessKeys\"} 3.2\n"));
    assert_true(shows(&f, "keyroll_aws_call_duration_seconds_count{operation=\"ListAccessKeys\"} 2\n"));
    assert_true(shows(&f, "keyroll_aws_call_failures_total{operation=\"ListAccessKeys\",code=\"AWS_THROTTLED\"} 1\n"));
    close_it(&f);
}

static void instances_are_counted_by_themselves(void **state)
{
    (void)state;
    struct fixture f;
    struct instance_abilities a = {0};
    open_it(&f);
    const struct instance_result bad = {.err = ERR_INSTANCE_LOGIN};
    struct instance_port p = calls_instance(f.c);
    assert_true(p.abilities(p.self, "default", &a) && a.can_write);
    assert_int_equal(
        p.call(p.self, &(struct instance_request){.op = INSTANCE_WRITE_KEY}, (struct ticket){answered, &f.got, 7}), 0);
    ticket_complete(held, &bad);
    assert_ptr_equal(f.got, &bad);
    assert_true(shows(&f, "keyroll_instance_call_duration_seconds_count{operation=\"write key\"} 1\n"));
    assert_true(shows(&f, "keyroll_instance_call_failures_total{operation=\"write key\",code=\"INSTANCE_LOGIN\"} 1\n"));
    assert_false(shows(&f, "keyroll_aws_call_duration_seconds_count"));
    close_it(&f);
}

static void a_refused_call_is_not_counted(void **state)
{
    (void)state;
    struct fixture f;
    open_it(&f);
    refuse = ERR_INVALID;
    assert_int_equal(call_aws(&f, AWS_CREATE_ACCESS_KEY), ERR_INVALID);
    assert_false(shows(&f, "CreateAccessKey"));
    close_it(&f);
}

static void what_is_never_answered_is_dropped(void **state)
{
    (void)state;
    struct fixture f;
    open_it(&f);
    assert_int_equal(call_aws(&f, AWS_GET_USER), 0);
    assert_int_equal(call_aws(&f, AWS_GET_USER), 0);
    close_it(&f); /* the leak checker tells */
    assert_int_equal(answered_err, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers_pass_through_and_are_timed),
        cmocka_unit_test(instances_are_counted_by_themselves),
        cmocka_unit_test(a_refused_call_is_not_counted),
        cmocka_unit_test(what_is_never_answered_is_dropped),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
