/* The log: whole lines of JSON, whatever the values are. */
#include "lib/log.h"

#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static int ends[2];
static char line[65536];

/* What was written since the last call, as text. */
static const char *written(void)
{
    ssize_t n = read(ends[0], line, sizeof(line) - 1);
    line[n > 0 ? n : 0] = '\0';
    return line;
}

static json_t *as_json(void)
{
    const char *text = written();
    size_t len = strlen(text);
    assert_true(len > 0 && text[len - 1] == '\n');
    assert_ptr_equal(strchr(text, '\n'), text + len - 1); /* one line */
    json_t *j = json_loads(text, 0, NULL);
    if (!j) fail_msg("%s", text);
    return j;
}

static const char *text_of(json_t *j, const char *name)
{
    const char *s = json_string_value(json_object_get(j, name));
    return s ? s : "(none)";
}

static void plain(void **state)
{
    (void)state;
    log_open(ends[1], LOG_LEVEL_INFO, "keyroll-test", "node-1");
    LOG(LOG_LEVEL_WARN, "saga.step", "went on", LOG_S("job", "j-1"), LOG_I("ms", -5), LOG_S("absent", NULL));
    AUTO_JSON json_t *j = as_json();
    assert_string_equal(text_of(j, "log.level"), "warn");
    assert_string_equal(text_of(j, "service.name"), "keyroll-test");
    assert_string_equal(text_of(j, "service.node.name"), "node-1");
    assert_string_equal(text_of(j, "event.action"), "saga.step");
    assert_string_equal(text_of(j, "message"), "went on");
    assert_string_equal(text_of(j, "job"), "j-1");
    assert_int_equal(json_integer_value(json_object_get(j, "ms")), -5);
    assert_null(json_object_get(j, "absent"));
    assert_int_equal(strlen(text_of(j, "@timestamp")), 24);
}

static void levels(void **state)
{
    (void)state;
    LOG0(LOG_LEVEL_DEBUG, "x", "y");
    assert_string_equal(written(), "");
    assert_false(log_enabled(LOG_LEVEL_DEBUG));
    assert_true(log_enabled(LOG_LEVEL_ERROR));
    enum log_level l = LOG_LEVEL_ERROR;
    assert_true(log_level_parse("debug", &l));
    assert_int_equal(l, LOG_LEVEL_DEBUG);
    assert_false(log_level_parse("loud", &l));
}

static void hostile_values(void **state)
{
    (void)state;
    LOG(LOG_LEVEL_INFO, "e", "a\"b\\c\n{\"forged\":1}\t\x01\x7f", LOG_S("utf8", "\xc3\xa9\xf0\x9f\x98\x80"),
        LOG_S("broken", "a\xff\xc3(\xed\xa0\x80\xc0\xaf\xf4\x90\x80\x80z"), LOG_S("cut", "\xe2\x82"));
    AUTO_JSON json_t *j = as_json();
    assert_string_equal(text_of(j, "message"), "a\"b\\c\n{\"forged\":1}\t\x01\x7f");
    assert_string_equal(text_of(j, "utf8"), "\xc3\xa9\xf0\x9f\x98\x80");
    assert_int_equal(strncmp(text_of(j, "broken"), "a\xef\xbf\xbd\xef\xbf\xbd(", 8), 0);
    assert_non_null(strchr(text_of(j, "broken"), 'z'));
    assert_null(json_object_get(j, "forged"));
}

static void too_much(void **state)
{
    (void)state;
    char big[5000];
    memset(big, 0x01, sizeof(big) - 1); /* each becomes six bytes */
    big[sizeof(big) - 1] = '\0';
    LOG(LOG_LEVEL_INFO, "e", "m", LOG_S("a", big), LOG_S("b", big), LOG_S("c", "small"));
    AUTO_JSON json_t *j = as_json();
    assert_int_equal(strlen(text_of(j, "a")), 2000);
    assert_null(json_object_get(j, "b"));
    assert_string_equal(text_of(j, "c"), "small");
    assert_true(json_is_true(json_object_get(j, "log.truncated")));
}

static void a_closed_pipe_is_survived(void **state)
{
    (void)state;
    log_open(-1, LOG_LEVEL_INFO, "x", NULL);
    LOG0(LOG_LEVEL_ERROR, "e", NULL);
    log_open(STDERR_FILENO, LOG_LEVEL_INFO, NULL, NULL);
}

static int open_pipe(void **state)
{
    (void)state;
    return pipe2(ends, O_NONBLOCK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain),
        cmocka_unit_test(levels),
        cmocka_unit_test(hostile_values),
        cmocka_unit_test(too_much),
        cmocka_unit_test(a_closed_pipe_is_survived),
    };
    return cmocka_run_group_tests(tests, open_pipe, NULL);
}
