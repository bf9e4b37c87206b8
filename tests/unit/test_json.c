/* Reading JSON: whole, broken, large; under valgrind and the address sanitizer nothing is left over or freed twice. */
#include "lib/json.h"

#include "lib/buf.h"
#include "lib/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define MEMBERS 2000

/* An array of objects: keys are freed long after they were made, tables when they grow. */
static void large(struct buf *text, const char *end)
{
    buf_init(text, 1 << 20);
    (void)buf_adds(text, "[{}");
    for (int i = 0; i < MEMBERS; i++) (void)buf_addf(text, ",{\"L%d\":[\"%d\",{\"a\":\"b\"}],\"n\":%d}", i, i, i);
    assert_int_equal(buf_adds(text, end), 0);
}

static void whole(void **state)
{
    (void)state;
    AUTO_BUF struct buf text;
    large(&text, "]");
    json_t *root;
    assert_int_equal(json_read(text.data, text.len, 0, &root, NULL), 0);
    assert_int_equal(json_array_size(root), MEMBERS + 1);
    for (int i = 0; i < MEMBERS; i++)
        assert_int_equal(json_integer_value(json_object_get(json_array_get(root, (size_t)i + 1), "n")), i);
    json_decref(root);
}

static void broken_off(void **state)
{
    (void)state;
    AUTO_BUF struct buf text;
    large(&text, "}");
    json_t *root = NULL;
    json_error_t where;
    assert_int_equal(json_read(text.data, text.len, 0, &root, &where), ERR_SYNTAX);
    assert_null(root);
    assert_int_equal(where.position, text.len);
    for (size_t len = 0; len < 400; len++) assert_int_equal(json_read(text.data, len, 0, &root, NULL), ERR_SYNTAX);
    whole(state); /* what was noted then is forgotten */
}

static json_t *short_text(int (*read)(const char *, size_t, size_t, json_t **, json_error_t *))
{
    static const char text[] = "{\"a\":[1,{\"b\":\"c\"}]}";
    json_t *root = NULL;
    assert_int_equal(read(text, sizeof(text) - 1, 0, &root, NULL), 0);
    assert_non_null(root);
    return root;
}

static void what_stays_is_not_in_the_way(void **state)
{
    (void)state;
    json_t *kept = short_text(json_read_kept);
    assert_true(json_arena_empty());
    json_t *one = short_text(json_read), *other = short_text(json_read);
    json_decref(one);
    json_decref(other);
    assert_true(json_arena_empty());
    json_t *root = NULL;
    assert_int_equal(json_read("{\"a\":", 5, 0, &root, NULL), ERR_SYNTAX);
    assert_true(json_arena_empty());
    assert_string_equal(json_string_value(json_object_get(json_array_get(json_object_get(kept, "a"), 1), "b")), "c");
    json_decref(kept);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole), cmocka_unit_test(broken_off),
                                       cmocka_unit_test(what_stays_is_not_in_the_way)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
