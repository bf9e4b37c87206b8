/* Codec of the record and the journal: what is written is read back the same, unknown members pass, documents that were
 * changed at random never crash and never give a value outside its range; then the small functions on records. */
#include "lib/clock.h"
#include "lib/err.h"
#include "schema/record.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static uint64_t seed;

static uint64_t dice(uint64_t bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % bound;
}

static int64_t a_time(void)
{
    return dice(4) ? (int64_t)dice(1u << 30) * 1000 : TIME_NONE;
}

static void an_id(char out[AWS_KEY_ID_MAX])
{
    snprintf(out, AWS_KEY_ID_MAX, "AKIA%016llX", (unsigned long long)dice(1u << 30));
}

static void random_key(struct record *r)
{
    char id[AWS_KEY_ID_MAX];
    an_id(id);
    struct record_key *k = record_add(r, id);
    if (!k) return;
    k->role = (enum key_role)dice(4);
    k->status = (enum aws_key_status)dice(4);
    k->listed = dice(2);
    k->exposed = dice(2);
    k->unseen = dice(2);
    if (dice(2)) an_id(k->replaced_by);
    k->rotation = (int64_t)dice(1u << 30);
    k->created_ms = a_time();
    k->seen_ms = a_time();
    k->offered_ms = a_time();
    k->replaced_ms = a_time();
    k->inactive_ms = a_time();
    k->next = (enum key_next)dice(3);
    k->next_ms = a_time();
}

static void random_record(struct record *r)
{
    static const char *const words[] = {"", "plain", "with \"quotes\" and \\", "line\nbreak\ttab", "{\"a\":[1]}"};
    record_init(r, "4711", "123456789012", "SynergistExpress-4711");
    r->state = (enum record_state)dice(RECORD_EXCLUDED + 1);
    r->rotation = (int64_t)dice(1u << 30);
    r->rotated_ms = a_time();
    for (uint64_t n = dice(RECORD_KEYS_MAX + 1); n--;) random_key(r);
    r->next_ms = a_time();
    snprintf(r->reason, sizeof(r->reason), "%s", words[dice(5)]);
    snprintf(r->step, sizeof(r->step), "%s", dice(2) ? "make room" : "");
    r->error = -(int)dice(97);
    r->attempts = (unsigned)dice(100);
    r->asked = dice(2);
    r->looked = dice(2);
    r->repair = dice(2);
    r->drifts = (unsigned)dice(3);
    r->first_failed_ms = a_time();
    r->audited_ms = a_time();
    r->updated_ms = a_time();
    r->number = (int64_t)dice(1u << 30);
}

static void random_journal(struct journal *j)
{
    journal_init(j, (enum journal_kind)dice(3));
    j->step = (enum journal_step)dice(JOURNAL_STEPS);
    j->direction = (enum journal_direction)dice(3);
    j->rotation = (int64_t)dice(1u << 30);
    if (dice(2)) snprintf(j->job_id, sizeof(j->job_id), "0123456789abcdef0123456789abcdef");
    for (uint64_t n = dice(AWS_KEYS_MAX + 1); n--;) an_id(j->seen[j->n_seen++]);
    j->intent_ms = a_time();
    j->intent_last_ms = a_time();
    if (dice(2)) an_id(j->key_new);
    j->key_new_created_ms = a_time();
    if (dice(2)) an_id(j->key_old);
    j->old_seen = dice(2);
    if (dice(2)) an_id(j->key_doubt);
    j->doubt_inactive_ms = a_time();
    j->offered_ms = a_time();
    j->written_ms = a_time();
    j->repair = dice(2);
    j->assisted = dice(2);
    j->exposed = dice(2);
    j->secret_lost = dice(2);
    j->patient_ms = a_time();
    j->hold_off_ms = a_time();
    j->told_anew = dice(2);
    j->started_ms = a_time();
    j->updated_ms = a_time();
    j->number = (int64_t)dice(1u << 30);
}

static void encode_record(const struct record *r, struct buf *out)
{
    buf_init(out, 32768);
    assert_int_equal(record_encode(r, out), 0);
}

static void encode_journal(const struct journal *j, struct buf *out)
{
    buf_init(out, 32768);
    assert_int_equal(journal_encode(j, out), 0);
}

/* Both codecs start from zeroed memory, so that padding and text behind a terminator compare as well. */
static void record_comes_back(void **state)
{
    (void)state;
    for (seed = 1; seed < 2000 * 1000003u; seed += 1000003u) {
        uint64_t keep = seed;
        struct record r, back;
        random_record(&r);
        AUTO_BUF struct buf one, two;
        encode_record(&r, &one);
        assert_int_equal(record_decode(one.data, one.len, &back), 0);
        encode_record(&back, &two);
        assert_string_equal(one.data, two.data);
        assert_int_equal(back.n_keys, r.n_keys);
        for (size_t i = 0; i < r.n_keys; i++) assert_memory_equal(&back.keys[i], &r.keys[i], sizeof(r.keys[i]));
        assert_string_equal(back.reason, r.reason);
        assert_int_equal(back.next_ms, r.next_ms);
        seed = keep;
    }
}

static void journal_comes_back(void **state)
{
    (void)state;
    for (seed = 1; seed < 2000 * 1000003u; seed += 1000003u) {
        uint64_t keep = seed;
        struct journal j, back;
        random_journal(&j);
        AUTO_BUF struct buf one;
        encode_journal(&j, &one);
        assert_int_equal(journal_decode(one.data, one.len, &back), 0);
        assert_memory_equal(&back, &j, sizeof(j));
        seed = keep;
    }
}

static int read_record(const char *text)
{
    struct record r;
    return record_decode(text, strlen(text), &r);
}

static void odd_documents(void **state)
{
    (void)state;
    assert_int_equal(read_record(""), ERR_SYNTAX);
    assert_int_equal(read_record("[]"), ERR_SYNTAX);
    assert_int_equal(read_record("{}"), ERR_SYNTAX);
    assert_int_equal(read_record("{\"format\":\"keyroll.record/1\"}"), 0);
    assert_int_equal(read_record("{\"format\":\"keyroll.record/1.9\",\"later\":{\"x\":1}}"), 0);
    assert_int_equal(read_record("{\"format\":\"keyroll.record/2\"}"), ERR_VERSION);
    assert_int_equal(read_record("{\"format\":\"keyroll.record/10\"}"), ERR_VERSION);
    assert_int_equal(read_record("{\"format\":\"keyroll.journal/1\"}"), ERR_VERSION);
    assert_int_equal(read_record("{\"format\":\"keyroll.record/1\",\"format\":\"keyroll.record/1\"}"), ERR_SYNTAX);
    assert_int_equal(read_record("{\"format\":\"keyroll.record/1\",\"state\":\"sleepy\"}"), ERR_SYNTAX);
    assert_int_equal(read_record("{\"format\":\"keyroll.record/1\",\"attempts\":-1}"), ERR_SYNTAX);
    assert_int_equal(read_record("{\"format\":\"keyroll.record/1\",\"attempts\":1.5}"), ERR_SYNTAX);
    assert_int_equal(read_record("{\"format\":\"keyroll.record/1\",\"keys\":[{}]}"), ERR_SYNTAX);
    assert_int_equal(read_record("{\"format\":\"keyroll.record/1\",\"keys\":[{\"id\":\"short\"}]}"), ERR_SYNTAX);
    assert_int_equal(read_record("{\"format\":\"keyroll.record/1\",\"keys\":[{\"id\":\"AKIAIOSFODNN7EXAMPLE\"}]}"), 0);
}

/* A status that a newer AWS invents stays unknown: neither Active nor Inactive. */
static void foreign_status_is_unknown(void **state)
{
    (void)state;
    struct record r;
    static const char text[] =
        "{\"format\":\"keyroll.record/1\",\"keys\":[{\"id\":\"AKIAIOSFODNN7EXAMPLE\",\"status\":\"Frozen\"}]}";
    assert_int_equal(record_decode(text, strlen(text), &r), 0);
    assert_int_equal(r.keys[0].status, AWS_KEY_STATUS_UNKNOWN);
}

static void check_record(const struct record *r)
{
    assert_true((unsigned)r->state <= RECORD_EXCLUDED);
    assert_true(r->n_keys <= RECORD_KEYS_MAX);
    for (size_t i = 0; i < r->n_keys; i++) {
        assert_true(aws_key_id_valid(r->keys[i].id));
        assert_true((unsigned)r->keys[i].role <= KEY_LEFT && (unsigned)r->keys[i].next <= KEY_NEXT_REAP);
    }
}

static void mutate(struct buf *b)
{
    static const char pieces[][12] = {"\"", "}",       "]",    "null", "-1",          "1e99",
                                      "[[", "\\u0000", "true", ",",    "99999999999", "\xff"};
    for (uint64_t n = 1 + dice(4); n--;) {
        size_t at = (size_t)dice(b->len);
        if (dice(2)) {
            b->data[at] = (char)dice(256);
        } else {
            const char *p = pieces[dice(12)];
            for (size_t i = 0; p[i] && at + i < b->len; i++) b->data[at + i] = p[i];
        }
    }
    if (dice(5) == 0) b->len = (size_t)dice(b->len) + 1;
}

static void mutated_documents(void **state)
{
    (void)state;
    int fine = 0, refused = 0;
    seed = 42;
    for (int round = 0; round < 20000; round++) {
        struct record r, back;
        struct journal j, jback;
        random_record(&r);
        random_journal(&j);
        AUTO_BUF struct buf rec, jour;
        encode_record(&r, &rec);
        encode_journal(&j, &jour);
        mutate(&rec);
        mutate(&jour);
        int rc = record_decode(rec.data, rec.len, &back);
        if (rc == 0) check_record(&back);
        if (journal_decode(jour.data, jour.len, &jback) == 0) {
            assert_true((unsigned)jback.step < JOURNAL_STEPS && jback.n_seen <= AWS_KEYS_MAX &&
                        (unsigned)jback.direction <= DIRECTION_UNDO);
            assert_true(!jback.key_new[0] || aws_key_id_valid(jback.key_new));
        }
        if (rc == 0)
            fine++;
        else
            refused++;
    }
    assert_true(fine > 100 && refused > 1000);
}

static void foreign_text_stays_readable(void **state)
{
    (void)state;
    struct record r, back;
    record_init(&r, "1", "123456789012", "u");
    snprintf(r.reason, sizeof(r.reason), "caf\xe9 \x01 \xc3\xa9");
    AUTO_BUF struct buf text;
    encode_record(&r, &text);
    assert_int_equal(record_decode(text.data, text.len, &back), 0);
}

/* ---- values -------------------------------------------------------------------------------------------------------
 */

static void keys_of_a_record(void **state)
{
    (void)state;
    struct record r;
    char id[AWS_KEY_ID_MAX];
    record_init(&r, "1", "123456789012", "u");
    assert_null(record_current(&r));
    assert_null(record_find(&r, ""));
    for (int i = 0; i < RECORD_KEYS_MAX; i++) {
        snprintf(id, sizeof(id), "AKIA%016d", i);
        assert_ptr_equal(record_add(&r, id), &r.keys[i]);
        r.keys[i].role = KEY_LEFT;
        assert_ptr_equal(record_add(&r, id), &r.keys[i]); /* once only */
    }
    assert_null(record_add(&r, "AKIAANOTHERKEYANOTHER"));
    record_remove(&r, "AKIA0000000000000003");
    assert_null(record_find(&r, "AKIA0000000000000003"));
    assert_non_null(record_find(&r, "AKIA0000000000000007"));
    assert_int_equal(r.n_keys, RECORD_KEYS_MAX - 1);
    record_remove(&r, "AKIA0000000000000003");
    assert_int_equal(r.n_keys, RECORD_KEYS_MAX - 1);
    record_find(&r, "AKIA0000000000000005")->role = KEY_CURRENT;
    assert_string_equal(record_current(&r)->id, "AKIA0000000000000005");
}

static void settle_names_the_state(void **state)
{
    (void)state;
    struct record r;
    record_init(&r, "1", "123456789012", "u");
    r.state = RECORD_RETRY;
    r.attempts = 3;
    r.error = ERR_BUSY;
    r.next_ms = 5;
    snprintf(r.reason, sizeof(r.reason), "x");
    record_add(&r, "AKIA0000000000000001");
    record_settle(&r);
    assert_int_equal(r.state, RECORD_CURRENT);
    assert_true(!r.attempts && !r.error && r.next_ms == TIME_NONE && !r.reason[0]);
    struct record_key *old = record_add(&r, "AKIA0000000000000002");
    old->role = KEY_REPLACED;
    old->next = KEY_NEXT_REAP;
    old->next_ms = 90;
    record_settle(&r);
    assert_int_equal(r.state, RECORD_QUARANTINE);
    struct record_key *older = record_add(&r, "AKIA0000000000000003");
    older->role = KEY_REPLACED;
    older->next = KEY_NEXT_RETIRE;
    older->next_ms = 100;
    record_settle(&r);
    assert_int_equal(r.state, RECORD_OVERLAP);
    assert_string_equal(record_next_key(&r)->id, "AKIA0000000000000002");
}

static void names_are_total(void **state)
{
    (void)state;
    assert_string_equal(record_state_name(RECORD_AWAITING), "awaiting operator");
    assert_string_equal(record_state_name((enum record_state)99), "unknown");
    for (int i = 0; i < JOURNAL_STEPS; i++) assert_true(strcmp(journal_step_name((enum journal_step)i), "unknown"));
    assert_string_equal(journal_step_name(JOURNAL_STEPS), "unknown");
    assert_string_equal(journal_direction_name(DIRECTION_NONE), "");
    assert_string_equal(journal_direction_name((enum journal_direction)9), "unknown");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(record_comes_back), cmocka_unit_test(journal_comes_back),
        cmocka_unit_test(odd_documents),     cmocka_unit_test(foreign_status_is_unknown),
        cmocka_unit_test(mutated_documents), cmocka_unit_test(foreign_text_stays_readable),
        cmocka_unit_test(keys_of_a_record),  cmocka_unit_test(settle_names_the_state),
        cmocka_unit_test(names_are_total),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
