/* Reading JSON: whole, broken, large; under valgrind and the address sanitizer nothing is left over or freed twice. */
#include "lib/json.h"

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json_plain.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
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

/* The tree as text, or NULL; freed by the caller. */
static char *told(json_t *root)
{
    char *text = root ? json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    json_decref(root);
    return text;
}

/* What json_plain.c reads itself; each must be the tree that jansson gives. */
static void plain_texts_are_read_as_jansson_reads_them(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "{}",
        "[]",
        " {\t\"a\" :\n[ ] , \"b\":{ }\r} ",
        "[true,false,null,\"\",\"x\",[[]],{\"\":{}}]",
        "[0,-0,7,-7,999999999999999999,-999999999999999999]",
        "{\"z\":1,\"a\":2,\"m\":\"a \x7f~/'\"}",
        "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
        char *mine = told(json_plain_read(texts[i], strlen(texts[i])));
        char *jansson = told(json_loadb(texts[i], strlen(texts[i]), JSON_REJECT_DUPLICATES, NULL));
        assert_non_null(mine);
        assert_string_equal(mine, jansson);
        free(mine);
        free(jansson);
    }
}

/* What it leaves to jansson, be it JSON or not; and each text that breaks off. */
static void what_is_not_plain_is_left_to_jansson(void **state)
{
    (void)state;
    static const char *const texts[] = {
        "",
        " ",
        "1",
        "\"a\"",
        "true",
        "{\"a\":1,\"a\":2}",
        "{\"a\":1,}",
        "[1,]",
        "[,1]",
        "{,}",
        "{\"a\"}",
        "{\"a\":}",
        "{a:1}",
        "[1 2]",
        "[01]",
        "[-]",
        "[-01]",
        "[+1]",
        "[1.0]",
        "[1e3]",
        "[1E3]",
        "[1x]",
        "[.5]",
        "[1000000000000000000]",
        "[tru]",
        "[truex]",
        "[nul]",
        "[\"\\u0041\"]",
        "[\"\\n\"]",
        "[\"\xc3\xa4\"]",
        "[\"a\nb\"]",
        "[\"a]",
        "[]]",
        "{}{}",
        "[1]x",
        "[//\n]",
        "\xef\xbb\xbf{}",
        "['a']",
        "[NaN]",
        "[1]\v",
        "{\"0123456789012345678901234567890123456789012345678901234567890123\":1}",
        "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]",
    };
    for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
        assert_null(json_plain_read(texts[i], strlen(texts[i])));
    assert_null(json_plain_read("[1]\0", 4));
    assert_null(json_plain_read("[\"a\0b\"]", 7));
    assert_null(json_plain_read("{\"a\0b\":1}", 9));
    static const char whole_text[] = "{\"a\":[1,true,\"b\",{\"c\":null}]}";
    for (size_t len = 0; len + 1 < sizeof(whole_text) - 1; len++) assert_null(json_plain_read(whole_text, len));
}

/* Where it gives up halfway, nothing of it stays, and jansson's verdict is the one that counts. */
static void giving_up_leaves_nothing(void **state)
{
    (void)state;
    static const char text[] = "{\"a\":[1,{\"b\":\"c\"}],\"d\":\"\\u00e4\",\"a\":1.5}";
    json_t *root = NULL;
    json_error_t where;
    assert_int_equal(json_read(text, sizeof(text) - 1, JSON_REJECT_DUPLICATES, &root, &where), ERR_SYNTAX);
    assert_true(json_arena_empty());
    assert_int_equal(json_read(text, sizeof(text) - 1, 0, &root, NULL), 0);
    assert_true(json_real_value(json_object_get(root, "a")) > 1.4);
    json_decref(root);
    assert_int_equal(json_read("7 ", 2, JSON_DECODE_ANY, &root, NULL), 0);
    json_decref(root);
    assert_true(json_arena_empty());
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(whole),
                                       cmocka_unit_test(broken_off),
                                       cmocka_unit_test(what_stays_is_not_in_the_way),
                                       cmocka_unit_test(plain_texts_are_read_as_jansson_reads_them),
                                       cmocka_unit_test(what_is_not_plain_is_left_to_jansson),
                                       cmocka_unit_test(giving_up_leaves_nothing)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
