/* Settings read by table: values, sources and their order, errors, texts. */
#include "lib/err.h"
#include "lib/secret.h"
#include "lib/settings.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

struct target {
    char *text, *path;
    struct secret *secret;
    struct settings_list list;
    int64_t count, wait_ms, size;
    double rate;
    bool on;
    int choice;
    char *other;
};
#define F(f) offsetof(struct target, f)

static const struct setting rows[] = {
    {.name = "text",
     .type = SETTING_STRING,
     .programs = 1,
     .offset = F(text),
     .fallback = "preset",
     .section = "First",
     .env = "OLD_TEXT,OTHER_TEXT",
     .text = "A text."},
    {.name = "path", .type = SETTING_PATH, .programs = 1, .offset = F(path), .text = "A path."},
    {.name = "secret", .type = SETTING_SECRET, .programs = 1, .offset = F(secret), .text = "A secret."},
    {.name = "list", .type = SETTING_LIST, .programs = 1, .offset = F(list), .max = 3, .text = "A list."},
    {.name = "count",
     .type = SETTING_INT,
     .programs = 1,
     .offset = F(count),
     .min = -5,
     .max = 100,
     .fallback = "7",
     .unit = "things",
     .section = "Second",
     .text = "A count."},
    {.name = "long_wait",
     .type = SETTING_DURATION,
     .programs = 1,
     .offset = F(wait_ms),
     .min = 1000,
     .max = 86400000,
     .fallback = "25s",
     .text = "A wait."},
    {.name = "size",
     .type = SETTING_SIZE,
     .programs = 1,
     .offset = F(size),
     .max = 1 << 30,
     .fallback = "64KiB",
     .text = "A size."},
    {.name = "rate",
     .type = SETTING_DOUBLE,
     .programs = 1,
     .offset = F(rate),
     .max = 10,
     .fallback = "0.5",
     .text = "A rate."},
    {.name = "on", .type = SETTING_BOOL, .programs = 1, .fallback = "false", .offset = F(on), .text = "A switch."},
    {.name = "choice",
     .type = SETTING_ENUM,
     .programs = 1,
     .offset = F(choice),
     .choices = "red|green|blue",
     .fallback = "green",
     .text = "A choice."},
    {.name = "other",
     .type = SETTING_STRING,
     .programs = 2,
     .offset = F(other),
     .text = "Another program's, - with a \\ and a -dash."},
};

struct fixture {
    struct target t;
    struct settings s;
    char *error;
    char file[64];
};

static int setup(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    assert_int_equal(settings_init(&f->s, rows, ARRAY_LEN(rows), &f->t), 0);
    f->s.programs = 1;
    f->s.pass_prefix = "kafka.";
    f->s.home = "/home/jo";
    *state = f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    settings_done(&f->s);
    free(f->error);
    if (f->file[0]) unlink(f->file);
    free(f);
    return 0;
}

static int read_text(struct fixture *f, const char *text)
{
    snprintf(f->file, sizeof f->file, "/tmp/keyroll-test-settings-%ld", (long)getpid());
    FILE *file = fopen(f->file, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    free(f->error);
    f->error = NULL;
    return settings_read_file(&f->s, f->file, &f->error);
}

static int set(struct fixture *f, const char *name, const char *value)
{
    free(f->error);
    f->error = NULL;
    return settings_set(&f->s, name, value, SETTINGS_FLAG, "here", &f->error);
}

static void refuses(struct fixture *f, int rc, const char *part)
{
    assert_int_equal(rc, ERR_INVALID);
    assert_non_null(f->error);
    if (!strstr(f->error, part)) fail_msg("\"%s\" does not hold \"%s\"", f->error, part);
    assert_null(strchr(f->error, '\n'));
}

static void test_defaults(void **state)
{
    struct fixture *f = *state;
    assert_string_equal(f->t.text, "preset");
    assert_null(f->t.path);
    assert_int_equal(f->t.count, 7);
    assert_int_equal(f->t.wait_ms, 25000);
    assert_int_equal(f->t.size, 65536);
    assert_true(f->t.rate > 0.49 && f->t.rate < 0.51);
    assert_int_equal(f->t.choice, 1);
    assert_int_equal(settings_source(&f->s, "text"), SETTINGS_DEFAULT);
}

static void test_durations(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t ms;
    } good[] = {{"25h", 90000000},  {"90s", 90000}, {"500ms", 500}, {"7d", 604800000},
                {"1h30m", 5400000}, {"0", 0},       {"0s", 0},      {"1d2h3m4s5ms", 93784005}};
    static const char *const bad[] = {"",
                                      "5",
                                      "s",
                                      "5 s",
                                      "5x",
                                      "-5s",
                                      "1m1h",
                                      "1s1s",
                                      "5.5s",
                                      "5ms3",
                                      "99999999999999999999s",
                                      "9999999999999999d",
                                      "1h 30m",
                                      "5hs"};
    int64_t ms;
    char text[SETTINGS_DURATION_MAX];
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        assert_int_equal(settings_parse_duration(good[i].text, &ms), 0);
        assert_int_equal(ms, good[i].ms);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        if (settings_parse_duration(bad[i], &ms) == 0) fail_msg("accepted %s", bad[i]);
    static const char *const round[] = {"25h", "80d", "1m30s", "500ms", "0s", "1h30m", "2d", "1d"};
    for (size_t i = 0; i < ARRAY_LEN(round); i++) {
        assert_int_equal(settings_parse_duration(round[i], &ms), 0);
        settings_format_duration(ms, text);
        assert_string_equal(text, round[i]);
    }
    settings_format_duration(INT64_MAX, text);
    int64_t again;
    assert_int_equal(settings_parse_duration(text, &again), 0);
    assert_int_equal(again, INT64_MAX);
}

static void test_values(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(set(f, "count", "-5"), 0);
    assert_int_equal(f->t.count, -5);
    refuses(f, set(f, "count", "-6"), "-5..100");
    refuses(f, set(f, "count", "1x"), "whole number");
    refuses(f, set(f, "count", ""), "whole number");
    assert_int_equal(set(f, "size", "3MiB"), 0);
    assert_int_equal(f->t.size, 3 << 20);
    refuses(f, set(f, "size", "3MB"), "KiB");
    refuses(f, set(f, "long_wait", "999ms"), "1s..1d");
    refuses(f, set(f, "rate", "nan"), "not a number");
    refuses(f, set(f, "rate", "11"), "0..10");
    assert_int_equal(set(f, "on", "YES"), 0);
    assert_true(f->t.on);
    refuses(f, set(f, "on", "maybe"), "true or false");
    assert_int_equal(set(f, "choice", "Blue"), 0);
    assert_int_equal(f->t.choice, 2);
    refuses(f, set(f, "choice", "gre"), "red|green|blue");
    assert_int_equal(set(f, "list", " a , ,b,"), 0);
    assert_int_equal(f->t.list.n, 2);
    assert_string_equal(f->t.list.items[1], "b");
    refuses(f, set(f, "list", "1,2,3,4"), "0 to 3");
    assert_int_equal(f->t.list.n, 2);
    assert_int_equal(set(f, "path", "~/x"), 0);
    assert_string_equal(f->t.path, "/home/jo/x");
    assert_int_equal(set(f, "path", ""), 0);
    assert_null(f->t.path);
    refuses(f, set(f, "colour", "1"), "unknown setting \"colour\"");
    refuses(f, set(f, "cuont", "1"), "did you mean count?");
}

/* What is written for a row is read back as the same value. */
static void test_written_values(void **state)
{
    static const char *const values[][2] = {{"text", "a b"},     {"path", "/x/y"}, {"list", "a,b"},  {"count", "-5"},
                                            {"long_wait", "1h"}, {"size", "3MiB"}, {"rate", "0.25"}, {"on", "true"},
                                            {"choice", "blue"},  {"list", ""}};
    struct fixture *f = *state;
    AUTO_BUF struct buf out;
    buf_init(&out, 1000);
    for (size_t i = 0; i < ARRAY_LEN(values); i++) {
        assert_int_equal(set(f, values[i][0], values[i][1]), 0);
        buf_reset(&out);
        settings_write_value(&f->s, settings_find(&f->s, values[i][0]), &out);
        assert_string_equal(buf_str(&out), values[i][1]);
    }
    assert_int_equal(set(f, "secret", "hush"), 0);
    buf_reset(&out);
    settings_write_value(&f->s, settings_find(&f->s, "secret"), &out);
    assert_string_equal(buf_str(&out), "");
}

static void test_file(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(read_text(f, "# comment\n\n  text =  a # b = c \r\ncount=3\nsecret = s3cret\nkafka.sasl.password "
                                  "= pw=1\n\tchoice = red"),
                     0);
    assert_string_equal(f->t.text, "a # b = c");
    assert_int_equal(f->t.count, 3);
    assert_string_equal(secret_bytes(f->t.secret), "s3cret");
    assert_int_equal(f->t.choice, 0);
    assert_int_equal(f->s.n_pairs, 1);
    assert_string_equal(f->s.pairs[0].name, "sasl.password");
    assert_string_equal(f->s.pairs[0].value, "pw=1");
    assert_int_equal(settings_source(&f->s, "count"), SETTINGS_FILE);
    refuses(f, read_text(f, "count = 3\n\ncuont = 4\n"), ":3: unknown setting \"cuont\", did you mean count?");
    refuses(f, read_text(f, "count 3\n"), ":1: no \"=\"");
    refuses(f, read_text(f, "count = 1\ncount = 2\n"), ":2: count is set twice, first in line 1");
    refuses(f, read_text(f, "kafka.a.b = 1\nkafka.a.b = 2\n"), ":2: kafka.a.b is set twice, first in line 1");
    refuses(f, read_text(f, "kafka.A = 1\n"), "lower case");
    refuses(f, read_text(f, "long_wait = 5\n"), ":1: long_wait = \"5\": not a duration");
    free(f->error);
    assert_int_equal(settings_read_file(&f->s, "/nonexistent/keyroll.conf", &f->error), ERR_IO);
    assert_non_null(strstr(f->error, "/nonexistent/keyroll.conf"));
}

static void test_order_of_sources(void **state)
{
    struct fixture *f = *state;
    char *env[] = {(char[]){"OTHER_TEXT=from other"},
                   (char[]){"OLD_TEXT=from old"},
                   (char[]){"KEYROLL_COUNT=5"},
                   (char[]){"KEYROLL_LIST="},
                   (char[]){"KEYROLL_KAFKA_CLIENT_RACK=b"},
                   (char[]){"KEYROLL_SERVICE_HOST=10.0.0.1"},
                   (char[]){"KEYROLL_PORT=tcp://10.0.0.1:80"},
                   (char[]){"KEYROLL_OTHER=fine"},
                   NULL};
    char *argv[] = {(char[]){"test"}, (char[]){"rotate"},         (char[]){"--count"},
                    (char[]){"6"},    (char[]){"--long-wait=2s"}, (char[]){"--wait"},
                    (char[]){"L1"},   (char[]){"--on"},           (char[]){"--kafka.client.rack=c"},
                    (char[]){"--"},   (char[]){"--count=9"},      NULL};
    int argc = 11;
    assert_int_equal(read_text(f, "text = file\ncount = 4\nlist = x\nkafka.client.rack = a\n"), 0);
    assert_int_equal(settings_read_env(&f->s, env, &f->error), 0);
    assert_string_equal(f->t.text, "from other"); /* the later variable of the row wins */
    assert_int_equal(f->t.count, 5);
    assert_int_equal(f->t.list.n, 1); /* an empty variable counts as unset */
    assert_string_equal(f->t.other, "fine");
    assert_string_equal(f->s.pairs[0].value, "b");
    assert_int_equal(settings_take_flags(&f->s, &argc, argv, &f->error), 0);
    assert_int_equal(f->t.count, 6);
    assert_int_equal(f->t.wait_ms, 2000);
    assert_true(f->t.on);
    assert_int_equal(f->s.n_pairs, 1);
    assert_string_equal(f->s.pairs[0].value, "c");
    assert_int_equal(settings_source(&f->s, "count"), SETTINGS_FLAG);
    static const char *const left[] = {"test", "rotate", "--wait", "L1", "--", "--count=9"};
    assert_int_equal(argc, ARRAY_LEN(left));
    for (size_t i = 0; i < ARRAY_LEN(left); i++) assert_string_equal(argv[i], left[i]);
    assert_null(argv[argc]);
}

static int take(struct fixture *f, const char *flag)
{
    char copy[200];
    snprintf(copy, sizeof copy, "%s", flag);
    char *argv[] = {(char[]){"test"}, copy, NULL};
    int argc = 2;
    free(f->error);
    f->error = NULL;
    return settings_take_flags(&f->s, &argc, argv, &f->error);
}

static void test_flags_that_are_refused(void **state)
{
    struct fixture *f = *state;
    refuses(f, take(f, "--secret=x"), "must not be on the command line");
    refuses(f, take(f, "--kafka.sasl.password=geheim"), "must not be on the command line");
    assert_null(strstr(f->error, "geheim"));
    refuses(f, take(f, "--count"), "needs a value");
    refuses(f, take(f, "--other=1"), "no use for other");
    refuses(f, take(f, "--count=x"), "flag --count: count = \"x\"");
    refuses(f, take(f, "--no-on=1"), "takes no value");
    assert_int_equal(take(f, "--on"), 0);
    assert_int_equal(take(f, "--no-on"), 0);
    assert_false(f->t.on);
    char *argv[] = {(char[]){"t"}, (char[]){"--long-wait"}, (char[]){"3s"}, (char[]){"--"}, (char[]){"--text=x"}, NULL};
    assert_string_equal(settings_peek_flag(5, argv, "long_wait"), "3s");
    assert_null(settings_peek_flag(5, argv, "text"));
}

static void test_texts(void **state)
{
    (void)state;
    static const char *const programs[] = {"first", "second", NULL};
    AUTO_BUF struct buf help, sample, man;
    buf_init(&help, 65536);
    buf_init(&sample, 65536);
    buf_init(&man, 65536);
    settings_write_help(rows, ARRAY_LEN(rows), 1, &help);
    settings_write_sample(rows, ARRAY_LEN(rows), programs, &sample);
    settings_write_man(rows, ARRAY_LEN(rows), programs, &man);
    assert_int_equal(help.error | sample.error | man.error, 0);
    assert_non_null(strstr(buf_str(&help), "--long-wait  (duration, 1s..1d, default 25s)"));
    assert_non_null(strstr(buf_str(&help), "secret (settings file or environment only)"));
    assert_null(strstr(buf_str(&help), "--secret"));
    assert_null(strstr(buf_str(&help), "--other"));
    assert_non_null(strstr(buf_str(&sample), "#long_wait = 25s\n"));
    assert_non_null(strstr(buf_str(&sample), "#path =\n"));
    assert_non_null(strstr(buf_str(&sample), "KEYROLL_TEXT,OLD_TEXT,OTHER_TEXT"));
    assert_non_null(strstr(buf_str(&man), "Another program's, \\- with a \\e and a \\-dash."));
}

/* The sample with every # before a setting removed is a settings file that changes nothing. */
static void test_sample_is_a_settings_file(void **state)
{
    struct fixture *f = *state;
    static const char *const programs[] = {"first", "second", NULL};
    AUTO_BUF struct buf sample;
    buf_init(&sample, 65536);
    settings_write_sample(rows, ARRAY_LEN(rows), programs, &sample);
    for (char *p = sample.data; p; p = strstr(p + 1, "\n#")) {
        char *hash = *p == '#' ? p : p + 1;
        if (*hash == '#' && hash[1] != ' ') *hash = ' ';
    }
    assert_int_equal(read_text(f, buf_str(&sample)), 0);
    assert_string_equal(f->t.text, "preset");
    assert_int_equal(f->t.wait_ms, 25000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
        cmocka_unit_test(test_durations),
        cmocka_unit_test_setup_teardown(test_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_written_values, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file, setup, teardown),
        cmocka_unit_test_setup_teardown(test_order_of_sources, setup, teardown),
        cmocka_unit_test_setup_teardown(test_flags_that_are_refused, setup, teardown),
        cmocka_unit_test(test_texts),
        cmocka_unit_test_setup_teardown(test_sample_is_a_settings_file, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
