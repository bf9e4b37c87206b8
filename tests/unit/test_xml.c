/* The XML reader: paths by local name, what it refuses, what it leaves behind. */
#include "lib/xml.h"

#include "lib/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static struct buf seen;

static int enter(void *arg, const char *path)
{
    (void)arg;
    return buf_addf(&seen, "<%s>", path);
}
static int leaf(void *arg, const char *path, const char *text, size_t len)
{
    (void)arg;
    assert_int_equal(strlen(text), len);
    return buf_addf(&seen, "%s=%s;", strrchr(path, '/') ? strrchr(path, '/') + 1 : path, text);
}
static int leave(void *arg, const char *path)
{
    (void)arg;
    return buf_addf(&seen, "</%s>", path);
}

static int read_text(const char *text)
{
    struct xml_handler h = {.enter = enter, .leaf = leaf, .leave = leave};
    buf_reset(&seen);
    return xml_read(text, strlen(text), &h);
}

static void elements_in_order(void **state)
{
    (void)state;
    assert_int_equal(read_text("<?xml version=\"1.0\"?>\n<a xmlns=\"u\" xmlns:p=\"v\"> <p:b "
                               "x=\"1\">t&amp;&#65;&lt;</p:b><c/><!-- x --><b><![CDATA[<d>]]></b></a>"),
                     0);
    assert_string_equal(buf_str(&seen), "<a><a/b>b=t&A<;</a/b><a/c>c=;</a/c><a/b>b=<d>;</a/b></a>");
}

static void first_by_path(void **state)
{
    (void)state;
    static const char text[] = "<R><Error><Code>One</Code><Code>Two</Code></Error><XCode>3</XCode></R>";
    AUTO_BUF struct buf b;
    buf_init(&b, 3);
    assert_int_equal(xml_find(text, sizeof(text) - 1, "Error/Code", &b), 0);
    assert_string_equal(buf_str(&b), "One");
    assert_int_equal(xml_find(text, sizeof(text) - 1, "Error", &b), ERR_NOT_FOUND); /* no leaf */
    assert_int_equal(xml_find(text, sizeof(text) - 1, "Nope", &b), ERR_NOT_FOUND);
    assert_int_equal(xml_find(text, sizeof(text) - 1, "XCode", &b), ERR_TOO_LARGE);
    assert_true(xml_path_ends("R/Error/Code", "Error/Code"));
    assert_true(xml_path_ends("Code", "Code"));
    assert_false(xml_path_ends("R/XCode", "Code"));
    assert_false(xml_path_ends("Code", "R/Code"));
}

static void refusals(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        " ",
        "text",
        "<a>",
        "<a></b>",
        "<a><b></a>",
        "<a/><b/>",
        "<a>&unknown;</a>",
        "<a>\xff</a>",
        "<a b=1/>",
        "<!DOCTYPE a><a/>",
        "<!DOCTYPE a [<!ENTITY x \"y\">]><a>&x;</a>",
        "<!DOCTYPE a [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><a>&x;</a>",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (read_text(bad[i]) != ERR_SYNTAX) fail_msg("%s", bad[i]);
}

static void limits(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 1 << 20);
    for (int i = 0; i < XML_DEPTH_MAX; i++) (void)buf_adds(&b, "<a>");
    for (int i = 0; i < XML_DEPTH_MAX; i++) (void)buf_adds(&b, "</a>");
    assert_int_equal(read_text(b.data), 0);
    buf_reset(&b);
    for (int i = 0; i <= XML_DEPTH_MAX; i++) (void)buf_adds(&b, "<a>");
    assert_int_equal(read_text(b.data), ERR_SYNTAX);
    char name[XML_PATH_MAX + 1];
    memset(name, 'n', sizeof(name) - 1);
    name[sizeof(name) - 1] = '\0';
    buf_reset(&b);
    assert_int_equal(buf_addf(&b, "<%s/>", name), 0);
    assert_int_equal(read_text(b.data), ERR_SYNTAX);
    /* A path that is filled to its last byte, and an element inside it: found by fuzzing. */
    for (int fill = XML_PATH_MAX - 6; fill < XML_PATH_MAX; fill++) {
        buf_reset(&b);
        name[fill] = '\0';
        assert_int_equal(buf_addf(&b, "<%s><b><c><d/></c></b></%s>", name, name), 0);
        assert_int_equal(read_text(b.data), ERR_SYNTAX);
        name[fill] = 'n';
    }
    assert_int_equal(xml_read("<a/>", XML_BYTES_MAX + 1, &(struct xml_handler){0}), ERR_TOO_LARGE);
}

static void big_text(void **state)
{
    (void)state;
    size_t n = 3 << 20;
    AUTO_FREE char *text = malloc(n + 16);
    memcpy(text, "<a>", 3);
    memset(text + 3, 'x', n);
    memcpy(text + 3 + n, "</a>", 5);
    AUTO_BUF struct buf b;
    buf_init(&b, n);
    assert_int_equal(xml_find(text, n + 7, "a", &b), 0);
    assert_int_equal(b.len, n);
}

/* A text may take more bytes in UTF-8 than in its document. */
static void other_encodings(void **state)
{
    (void)state;
    AUTO_BUF struct buf b, text;
    buf_init(&b, 1 << 20);
    buf_init(&text, 1 << 20);
    (void)buf_adds(&b, "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><a>");
    for (int i = 0; i < 1000; i++) (void)buf_addc(&b, '\xe9');
    assert_int_equal(buf_adds(&b, "</a>"), 0);
    assert_int_equal(xml_find(b.data, b.len, "a", &text), 0);
    assert_int_equal(text.len, 2000);

    buf_reset(&b);
    buf_reset(&text);
    (void)buf_add(&b, "\xff\xfe<\0a\0>\0", 8);
    for (int i = 0; i < 1000; i++) (void)buf_add(&b, "\x2d\x4e", 2); /* U+4E2D: three bytes */
    assert_int_equal(buf_add(&b, "<\0/\0a\0>\0", 8), 0);
    assert_int_equal(xml_find(b.data, b.len, "a", &text), 0);
    assert_int_equal(text.len, 3000);
}

static int nested(void *arg, const char *path, const char *text, size_t len)
{
    (void)path;
    (void)len;
    AUTO_BUF struct buf b;
    buf_init(&b, 100);
    assert_int_equal(xml_find("<i><j>inner</j></i>", 19, "i/j", &b), 0); /* a reading inside a reading */
    assert_string_equal(buf_str(&b), "inner");
    return buf_adds(arg, text);
}

static int stop(void *arg, const char *path, const char *text, size_t len)
{
    (void)path;
    (void)text;
    (void)len;
    ++*(int *)arg;
    return ERR_BUSY;
}

static void callbacks(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 100);
    struct xml_handler h = {.leaf = nested, .arg = &b};
    assert_int_equal(xml_read("<a><b>1</b><c>2</c></a>", 23, &h), 0);
    assert_string_equal(buf_str(&b), "12");
    int calls = 0;
    h = (struct xml_handler){.leaf = stop, .arg = &calls};
    assert_int_equal(xml_read("<a><b>1</b><c>2</c></a>", 23, &h), ERR_BUSY);
    assert_int_equal(calls, 1);
    assert_int_equal(xml_read("<a><b>1</b></a>", 15, &(struct xml_handler){0}), 0);
}

static int open_seen(void **state)
{
    (void)state;
    buf_init(&seen, 1 << 20);
    return 0;
}
static int close_seen(void **state)
{
    (void)state;
    buf_done(&seen);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_in_order), cmocka_unit_test(first_by_path),
        cmocka_unit_test(refusals),          cmocka_unit_test(limits),
        cmocka_unit_test(big_text),          cmocka_unit_test(other_encodings),
        cmocka_unit_test(callbacks),
    };
    return cmocka_run_group_tests(tests, open_seen, close_seen);
}
