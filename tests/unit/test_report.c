/* What the worker publishes on the keys topic, read back as the scheduler does when Redis has lost it (R8), and how the
 * scheduler's side puts it there again. */
#include "lib/clock.h"
#include "lib/err.h"
#include "producer/states.h"
#include "schema/store.h"
#include "worker/report.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define USER "123456789012/synergistexpress-0001"

/* ---- a Kafka that feeds the keys topic to the scheduler's table ---- */

struct fake_kafka {
    struct states states;
    struct ticket open[2];
    size_t n;
};

static int produce(void *self, const struct kafka_message_out *m, struct ticket t)
{
    struct fake_kafka *k = self;
    if (!strcmp(m->topic, "keys")) assert_int_equal(states_take(&k->states, m->key, m->value, m->value_len), 0);
    assert_true(k->n < ARRAY_LEN(k->open));
    k->open[k->n++] = t;
    return 0;
}

static void deliver(struct fake_kafka *k)
{
    const struct kafka_report done = {0};
    for (size_t i = 0; i < k->n; i++) ticket_complete(k->open[i], &done);
    k->n = 0;
}

static void on_told(void *self, uint64_t id, const void *result)
{
    (void)id;
    assert_int_equal(*(const int *)result, 0);
    ++*(int *)self;
}

static struct rotation *rotation(struct rotation *r, struct job *job)
{
    static const struct saga_step row = {.name = "finish"};
    static const struct saga_table table = {"rotate", &row, 1, NULL};
    *job = (struct job){.kind = JOB_ROTATE, .rotation = 7, .licence = "0001", .account = "123456789012", .user = "U"};
    *r = (struct rotation){.job = job};
    r->saga.table = &table;
    record_init(&r->record, "0001", "123456789012", "SynergistExpress-0001");
    snprintf(r->lease.user.key, sizeof r->lease.user.key, "%s", USER);
    snprintf(job->job_id, sizeof job->job_id, "0123456789abcdef0123456789abcdef");
    return r;
}

static void the_last_state_of_a_job_wins(void **state)
{
    (void)state;
    struct fake_kafka kafka = {.n = 0};
    struct state found;
    struct rotation r;
    struct job job;
    struct report *rep;
    int told = 0;
    const struct report_topics topics = {"events", "keys"};
    assert_int_equal(report_new((struct kafka_port){&kafka, produce}, &clock_system, &topics, "w", &rep), 0);
    rotation(&r, &job);
    r.record.number = 100; /* of the audit before */
    r.lease.user.number = 200;
    journal_init(&r.journal, JOURNAL_ROTATE);
    r.journal.step = JOURNAL_SET;
    r.journal.number = 200;
    r.has_journal = true;
    assert_int_equal(report_transition(rep, &r, EVENT_OFFERED, (struct ticket){on_told, &told, 0}), 0);
    deliver(&kafka);
    assert_int_equal(states_find(&kafka.states, USER, &found), 0);
    assert_true(found.has_journal);
    r.closing = true;
    r.record.state = RECORD_OVERLAP;
    assert_int_equal(report_transition(rep, &r, EVENT_REPLACED, (struct ticket){on_told, &told, 0}), 0);
    deliver(&kafka);
    assert_int_equal(told, 2);
    assert_int_equal(states_find(&kafka.states, USER, &found), 0);
    assert_false(found.has_journal);
    assert_int_equal(found.record.state, RECORD_OVERLAP);
    assert_int_equal(found.record.number, 200);
    report_free(rep);
    states_done(&kafka.states);
}

/* ---- putting it back ---- */

static int note_eval(void *self, const struct redis_script *script, size_t n_keys, size_t n_args,
                     const struct redis_arg *args, struct ticket t)
{
    (void)script;
    (void)t;
    assert_true(n_args > n_keys + 3);
    snprintf(self, 32, "%.*s", (int)args[n_keys + 3].len, (const char *)args[n_keys + 3].data);
    return ERR_REDIS_DOWN; /* nothing happens, no ticket comes */
}

static void a_record_is_put_back_with_or_without_a_journal(void **state)
{
    (void)state;
    struct store store;
    struct record r;
    struct journal j;
    char number[32];
    store_init(&store, (struct redis_port){number, note_eval, NULL}, &rng_system, "kr:", 15000);
    record_init(&r, "0001", "123456789012", "SynergistExpress-0001");
    assert_int_equal(store_restore(&store, USER, &r, NULL, NULL, 0, (struct ticket){0}), ERR_REDIS_DOWN);
    assert_string_equal(number, "0");
    r.number = 5;
    assert_int_equal(store_restore(&store, USER, &r, NULL, NULL, 0, (struct ticket){0}), ERR_REDIS_DOWN);
    assert_string_equal(number, "5");
    journal_init(&j, JOURNAL_ROTATE);
    j.number = 6;
    assert_int_equal(store_restore(&store, USER, &r, &j, NULL, 0, (struct ticket){0}), ERR_REDIS_DOWN);
    assert_string_equal(number, "6");
}

/* What a failover rolled back: replaced as it was seen, and the secret is not lost while its sealed pair is there. */
static int note_newer(void *self, const struct redis_script *script, size_t n_keys, size_t n_args,
                      const struct redis_arg *args, struct ticket t)
{
    const struct redis_arg *a = args + n_keys;
    (void)script;
    (void)t;
    assert_true(n_args >= n_keys + 7);
    snprintf(self, 200, "%.*s %.*s %.*s [%.*s] %s", (int)a[3].len, (const char *)a[3].data, (int)a[4].len,
             (const char *)a[4].data, (int)a[5].len, (const char *)a[5].data, (int)a[6].len, (const char *)a[6].data,
             memmem(a[1].data, a[1].len, "secret_lost\":true", 17) ? "lost" : "there");
    return ERR_REDIS_DOWN;
}

static void a_newer_state_replaces_what_was_seen(void **state)
{
    (void)state;
    struct store store;
    struct store_peek seen = {.record_version = 3, .has_record = true, .has_journal = true};
    struct record r;
    struct journal j;
    char noted[200];
    store_init(&store, (struct redis_port){noted, note_newer, NULL}, &rng_system, "kr:", 15000);
    record_init(&r, "0001", "123456789012", "SynergistExpress-0001");
    r.number = 9;
    journal_init(&j, JOURNAL_ROTATE);
    j.secret_lost = true;
    snprintf(j.key_new, sizeof j.key_new, "AKIANEWNEWNEWNEWNEW1");
    seen.journal = j;
    seen.journal.version = 4;
    assert_int_equal(store_restore_newer(&store, USER, &seen, &r, &j, NULL, 0, (struct ticket){0}), ERR_REDIS_DOWN);
    assert_string_equal(noted, "9 3 4 [1] there");
    seen.journal.key_new[0] = '\0'; /* rolled back to before the create */
    assert_int_equal(store_restore_newer(&store, USER, &seen, &r, &j, NULL, 0, (struct ticket){0}), ERR_REDIS_DOWN);
    assert_string_equal(noted, "9 3 4 [] lost");
    seen.has_journal = false;
    assert_int_equal(store_restore_newer(&store, USER, &seen, &r, &j, NULL, 0, (struct ticket){0}), ERR_REDIS_DOWN);
    assert_string_equal(noted, "9 3 0 [] lost");
}

/* How a run ended is told once, of what waits for a person only when it begins to wait. */
static void ends(void **state)
{
    struct rotation r;
    struct job job;
    (void)state;
    rotation(&r, &job);
    assert_int_equal(report_end_type(&r, OUTCOME_DONE), -1);
    r.error = ERR_INSTANCE_UNPROVEN;
    r.lease.user.number = 5;
    r.record.state = RECORD_STUCK;
    assert_int_equal(report_end_type(&r, OUTCOME_DEAD), EVENT_STUCK);
    r.record.state = RECORD_FAILED;
    assert_int_equal(report_end_type(&r, OUTCOME_DEAD), EVENT_FAILED);
    r.record.state = RECORD_RETRY;
    assert_int_equal(report_end_type(&r, OUTCOME_RETRY), EVENT_RETRY);
    assert_int_equal(report_end_type(&r, OUTCOME_DONE), EVENT_RETRY); /* the record holds the time */
    assert_int_equal(report_end_type(&r, OUTCOME_WAITING), -1);       /* parked: the breaker is told of */
    r.record.state = RECORD_AWAITING;
    assert_int_equal(report_end_type(&r, OUTCOME_DONE), EVENT_AWAITING);
    r.state_before = RECORD_AWAITING;
    assert_int_equal(report_end_type(&r, OUTCOME_DONE), -1);
    r.record.state = RECORD_DRIFTED;
    assert_int_equal(report_end_type(&r, OUTCOME_DONE), EVENT_DRIFTED);
    r.closing = true; /* an audit told it itself */
    assert_int_equal(report_end_type(&r, OUTCOME_DONE), -1);
}

/* A later try that fails where the job's dead letter says it failed is no news; elsewhere it is. */
static void a_letter_that_is_there_stands_for_later_tries(void **state)
{
    struct rotation r;
    struct job job;
    (void)state;
    rotation(&r, &job);
    r.error = ERR_AWS_LIMIT;
    r.lease.user.number = 5;
    snprintf(r.step, sizeof r.step, "make room");
    assert_false(report_letter_is_there(&r));
    snprintf(job.dead_step, sizeof job.dead_step, "make-room");
    assert_true(report_letter_is_there(&r));
    snprintf(job.dead_step, sizeof job.dead_step, "test");
    assert_false(report_letter_is_there(&r));
    for (int i = 0; i < 2; i++) { /* told as another try, not as stuck or failed once more */
        r.record.state = r.state_before = i ? RECORD_STUCK : RECORD_FAILED;
        assert_int_equal(report_end_type(&r, OUTCOME_DONE), EVENT_RETRY);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ends),
        cmocka_unit_test(a_letter_that_is_there_stands_for_later_tries),
        cmocka_unit_test(the_last_state_of_a_job_wins),
        cmocka_unit_test(a_record_is_put_back_with_or_without_a_journal),
        cmocka_unit_test(a_newer_state_replaces_what_was_seen),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
