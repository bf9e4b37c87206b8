/* The keys topic as a table, the map under it, the record that adopt writes, and what commands print. */
#include "lib/clock.h"
#include "lib/err.h"
#include "producer/adopt.h"
#include "producer/progress.h"
#include "producer/states.h"
#include "producer/table.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define USER "123456789012/synergistexpress-0001"

/* ---- map ---- */

static void map_keeps_and_forgets(void **state)
{
    (void)state;
    struct map m = {0};
    static int values[2000];
    char key[32];
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        assert_int_equal(map_put(&m, key, &values[i], NULL), 0);
    }
    for (int i = 0; i < 2000; i += 2) {
        snprintf(key, sizeof key, "key-%d", i);
        assert_ptr_equal(map_take(&m, key), &values[i]);
        assert_null(map_take(&m, key));
    }
    assert_int_equal(m.n, 1000);
    for (int i = 0; i < 2000; i++) {
        snprintf(key, sizeof key, "key-%d", i);
        assert_ptr_equal(map_get(&m, key), i % 2 ? &values[i] : NULL);
    }
    size_t at = 0, n = 0;
    while (map_next(&m, &at, NULL)) n++;
    assert_int_equal(n, 1000);
    void *before = NULL;
    assert_int_equal(map_put(&m, "key-1", &values[0], &before), 0);
    assert_ptr_equal(before, &values[1]);
    map_done(&m, NULL);
    assert_null(map_get(&m, "key-1"));
}

/* ---- states ---- */

static void encode(struct buf *out, int64_t number, bool open)
{
    struct record r;
    struct journal j;
    record_init(&r, "0001", "123456789012", "SynergistExpress-0001");
    r.number = number;
    r.rotation = number;
    journal_init(&j, JOURNAL_ROTATE);
    j.step = JOURNAL_CREATED;
    buf_reset(out);
    assert_int_equal(buf_adds(out, "{\"version\":\"keyroll.state/1\",\"record\":"), 0);
    assert_int_equal(record_encode(&r, out), 0);
    assert_int_equal(buf_adds(out, ",\"journal\":"), 0);
    if (open)
        assert_int_equal(journal_encode(&j, out), 0);
    else
        assert_int_equal(buf_adds(out, "null"), 0);
    assert_int_equal(buf_adds(out, ",\"exposed\":[\"AKIAEXPOSEDKEY000001\",\"x\",3]}"), 0);
}

static void newest_state_counts(void **state)
{
    (void)state;
    struct states s = {0};
    struct state found;
    AUTO_BUF struct buf text;
    buf_init(&text, 65536);
    assert_int_equal(states_number(&s, USER), -1);
    assert_int_equal(states_find(&s, USER, &found), ERR_NOT_FOUND);
    encode(&text, 5, true);
    assert_int_equal(states_take(&s, USER, text.data, text.len), 0);
    assert_int_equal(states_find(&s, USER, &found), 0);
    assert_true(found.has_journal);
    assert_int_equal(states_number(&s, USER), 5);
    assert_true(states_is_open(&s, USER));
    assert_true(found.journal.secret_lost); /* the sealed pair is not part of the state */
    assert_int_equal(found.n_exposed, 1);
    assert_string_equal(found.exposed[0], "AKIAEXPOSEDKEY000001");
    encode(&text, 4, false); /* of a worker that was frozen */
    assert_int_equal(states_take(&s, USER, text.data, text.len), 0);
    assert_int_equal(states_find(&s, USER, &found), 0);
    assert_int_equal(found.record.rotation, 5);
    encode(&text, 5, false); /* the same holder, later */
    assert_int_equal(states_take(&s, USER, text.data, text.len), 0);
    assert_int_equal(states_find(&s, USER, &found), 0);
    assert_false(found.has_journal);
    size_t at = 0;
    const char *key;
    bool open;
    assert_true(states_next(&s, &at, &key, &open));
    assert_string_equal(key, USER);
    assert_false(open);
    assert_false(states_next(&s, &at, &key, &open));
    assert_int_equal(states_take(&s, USER, "", 0), 0); /* a tombstone */
    assert_false(states_knows(&s, USER));
    states_done(&s);
}

static void bad_states_are_counted(void **state)
{
    static const struct {
        const char *text;
        int err;
    } bad[] = {{"", 0},
               {"x", ERR_SYNTAX},
               {"[]", ERR_SYNTAX},
               {"{}", ERR_VERSION},
               {"{\"version\":\"keyroll.state/2\",\"record\":{}}", ERR_VERSION},
               {"{\"version\":\"keyroll.state/10\",\"record\":{}}", ERR_VERSION},
               {"{\"version\":\"keyroll.state/1\",\"record\":null}", ERR_SYNTAX},
               {"{\"version\":\"keyroll.state/1\"}", ERR_SYNTAX},
               {"{\"version\":\"keyroll.state/1\",\"version\":\"keyroll.state/1\"}", ERR_SYNTAX}};
    (void)state;
    struct states s = {0};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(states_take(&s, USER, bad[i].text, strlen(bad[i].text)), bad[i].err);
    assert_int_equal(s.bad, ARRAY_LEN(bad) - 1);
    assert_false(states_knows(&s, USER));
    states_done(&s);
}

/* ---- adopt ---- */

static struct aws_key keys[] = {{"AKIAINUSE00000000001", AWS_KEY_ACTIVE, 1000},
                                {"AKIAOTHER00000000001", AWS_KEY_ACTIVE, 2000}};
static const char *const other[] = {"AKIAOTHER00000000001", NULL};

static struct adopt_in adoption(void)
{
    return (struct adopt_in){.keys = keys,
                             .n_keys = 2,
                             .current_id = keys[0].id,
                             .current_seen = true,
                             .overlap_ms = 100,
                             .quarantine_ms = 1000,
                             .now_ms = 5000,
                             .number = 42};
}

static void adopt_plans_replaced_keys(void **state)
{
    (void)state;
    struct record r;
    char why[RECORD_TEXT_MAX];
    struct adopt_in in = adoption();
    record_init(&r, "0001", "123456789012", "u");
    r.state = RECORD_DRIFTED;
    r.drifts = 1;
    in.replaced = other;
    assert_int_equal(adopt_record(&in, &r, why), 0);
    assert_int_equal(r.state, RECORD_OVERLAP);
    assert_int_equal(r.drifts, 1);
    assert_int_equal(r.rotation, 42);
    assert_string_equal(record_current(&r)->id, keys[0].id);
    assert_int_equal(record_current(&r)->offered_ms, 5000);
    const struct record_key *k = record_find_const(&r, other[0]);
    assert_int_equal(k->role, KEY_REPLACED);
    assert_true(k->unseen);
    assert_int_equal(k->rotation, 42);
    assert_int_equal(k->next, KEY_NEXT_RETIRE);
    assert_int_equal(k->next_ms, 5100);
    keys[1].status = AWS_KEY_INACTIVE;
    assert_int_equal(adopt_record(&in, &r, why), 0);
    keys[1].status = AWS_KEY_ACTIVE;
    assert_int_equal(r.state, RECORD_QUARANTINE);
    assert_int_equal(record_find_const(&r, other[0])->next_ms, 6000);
    in.replaced = NULL;
    in.left = other;
    assert_int_equal(adopt_record(&in, &r, why), 0);
    assert_int_equal(r.state, RECORD_CURRENT);
    assert_int_equal(record_find_const(&r, other[0])->role, KEY_LEFT);
}

static void adopt_refuses(void **state)
{
    static const char *const unlisted[] = {"AKIANOTLISTED0000001", NULL}, *const in_use[] = {"AKIAINUSE00000000001",
                                                                                             NULL};
    (void)state;
    struct record r;
    char why[RECORD_TEXT_MAX];
    struct adopt_in in = adoption();
    record_init(&r, "0001", "123456789012", "u");
    assert_int_equal(adopt_record(&in, &r, why), ERR_INVALID); /* a key that nobody named */
    assert_non_null(strstr(why, other[0]));
    in.replaced = unlisted;
    assert_int_equal(adopt_record(&in, &r, why), ERR_INVALID);
    in.replaced = in_use;
    assert_int_equal(adopt_record(&in, &r, why), ERR_INVALID);
    in.replaced = in.left = other;
    assert_int_equal(adopt_record(&in, &r, why), ERR_INVALID);
    assert_int_equal(r.n_keys, 0);
}

/* ---- texts ---- */

static void spans_and_times(void **state)
{
    (void)state;
    char text[TABLE_TIME_MAX];
    table_span(90 * 86400000LL, text);
    assert_string_equal(text, "90d");
    table_span(5 * 3600000LL, text);
    assert_string_equal(text, "5h");
    table_span(-7000, text);
    assert_string_equal(text, "-7s");
    table_span(TIME_NONE, text);
    assert_string_equal(text, "-");
    table_time(0, text);
    assert_string_equal(text, "-");
    table_time(1795433717404LL, text);
    assert_string_equal(text, "2026-11-23 11:35");
}

static void tables_align_and_clean(void **state)
{
    static const char *const heads[] = {"A", "B"};
    (void)state;
    char text[200] = "";
    AUTO_TABLE struct table t;
    table_init(&t, heads, 2);
    table_add(&t, "long\x1b[31m");
    table_add(&t, "x");
    table_add(&t, NULL);
    table_addf(&t, "%d", 7);
    FILE *out = fmemopen(text, sizeof text, "w");
    assert_non_null(out);
    table_print(&t, out);
    fclose(out);
    assert_string_equal(text, "A          B\nlong [31m  x\n           7\n");
}

static void progress_tells_rate_and_rest(void **state)
{
    (void)state;
    struct progress p;
    char text[200];
    progress_begin(&p, "rotated", 40, 0);
    progress_text(&p, 0, 0, 1000, text, sizeof text);
    assert_string_equal(text, "[........................] 0/40 rotated");
    progress_text(&p, 10, 1, 5000, text, sizeof text);
    assert_string_equal(text, "[######..................] 10/40 rotated, 1 failed, 2.0/s, 15s left");
    progress_text(&p, 40, 0, 20000, text, sizeof text);
    assert_string_equal(text, "[########################] 40/40 rotated, 2.0/s, 0s left");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(map_keeps_and_forgets),  cmocka_unit_test(newest_state_counts),
        cmocka_unit_test(bad_states_are_counted), cmocka_unit_test(adopt_plans_replaced_keys),
        cmocka_unit_test(adopt_refuses),          cmocka_unit_test(spans_and_times),
        cmocka_unit_test(tables_align_and_clean), cmocka_unit_test(progress_tells_rate_and_rest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
