/* Credentials references: the plain file, re-reading, modes, broken files, 100,000 licences. */
#include "lib/credref.h"

#include "lib/cleanup.h"
#include "lib/clock.h"
#include "lib/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
/* cmocka.h needs some of the above */
#include <cmocka.h>

struct fixture {
    char dir[64], path[96], ref[160];
    struct credref *c;
    int warnings;
    char last_warning[512];
    int64_t now;
};

static void on_warn(void *arg, const char *text)
{
    struct fixture *f = arg;
    f->warnings++;
    (void)snprintf(f->last_warning, sizeof(f->last_warning), "%s", text);
}

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.now = 1000000};
    (void)snprintf(f.dir, sizeof(f.dir), "/tmp/keyroll-credref-XXXXXX");
    if (!mkdtemp(f.dir)) return -1;
    (void)snprintf(f.path, sizeof(f.path), "%s/logins.json", f.dir);
    (void)snprintf(f.ref, sizeof(f.ref), "file:%s#A1", f.path);
    f.c = credref_new(&(struct credref_options){.warn = on_warn, .warn_arg = &f});
    *state = &f;
    return f.c ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    credref_free(f->c);
    (void)unlink(f->path);
    (void)rmdir(f->dir);
    return secret_count() == 0 ? 0 : -1; /* none is left behind */
}

/* Replaces the file by rename, as one should. */
static void write_file(const struct fixture *f, const char *text, mode_t mode)
{
    char fresh[128];
    (void)snprintf(fresh, sizeof(fresh), "%s.new", f->path);
    FILE *out = fopen(fresh, "w");
    assert_non_null(out);
    assert_int_equal(fputs(text, out) >= 0, 1);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(fresh, mode), 0);
    assert_int_equal(rename(fresh, f->path), 0);
}

static int get(struct fixture *f, const char *ref, char *user, char *password, char *reason)
{
    struct credref_login l;
    int rc = credref_get(f->c, ref, f->now, &l, reason);
    if (rc < 0) return rc;
    strcpy(user, l.user);
    memcpy(password, secret_bytes(l.password), secret_len(l.password) + 1);
    secret_free(l.password);
    return 0;
}

static void expect(struct fixture *f, const char *user, const char *password)
{
    char u[CREDREF_USER_MAX], p[2000], reason[CREDREF_REASON_MAX];
    int rc = get(f, f->ref, u, p, reason);
    if (rc) print_error("%s: %s\n", err_name(rc), reason);
    assert_int_equal(rc, 0);
    assert_string_equal(u, user);
    assert_string_equal(p, password);
}

static void expect_error(struct fixture *f, const char *ref, int err, const char *word)
{
    char u[CREDREF_USER_MAX], p[2000], reason[CREDREF_REASON_MAX];
    assert_int_equal(get(f, ref, u, p, reason), err);
    if (!strstr(reason, word)) print_error("reason: %s\n", reason);
    assert_non_null(strstr(reason, word));
    assert_null(strstr(reason, "pw-"));
}

static void plain_file(void **state)
{
    struct fixture *f = *state;
    write_file(f,
               "{\"A1\":{\"user\":\"api\",\"password\":\"pw-one\"},\n \"B2\" : { \"password\" : "
               "\"pw\\u00e9\\n\\\"\\ud83d\\ude00\", \"note\":\"x\", \"user\":\"b\" } }\n",
               0600);
    expect(f, "api", "pw-one");
    char ref[160];
    (void)snprintf(ref, sizeof(ref), "file:%s#B2", f->path);
    char u[CREDREF_USER_MAX], p[2000], reason[CREDREF_REASON_MAX];
    assert_int_equal(get(f, ref, u, p, reason), 0);
    assert_string_equal(u, "b");
    assert_string_equal(p, "pw\xc3\xa9\n\"\xf0\x9f\x98\x80");
    (void)snprintf(ref, sizeof(ref), "file:%s#C3", f->path);
    expect_error(f, ref, ERR_NOT_FOUND, "C3");
    assert_int_equal(f->warnings, 0);
}

static void read_again(void **state)
{
    struct fixture *f = *state;
    expect_error(f, f->ref, ERR_NOT_FOUND, f->path);
    write_file(f, "{\"A1\":{\"user\":\"api\",\"password\":\"pw-one\"}}", 0600);
    expect_error(f, f->ref, ERR_NOT_FOUND, f->path); /* within the second: not looked at */
    f->now += 1000;
    expect(f, "api", "pw-one");
    write_file(f, "{\"A1\":{\"user\":\"api\",\"password\":\"pw-two\"}}", 0600);
    f->now += 999;
    expect(f, "api", "pw-one");
    f->now += 1;
    expect(f, "api", "pw-two");
    write_file(f, "{\"A1\":{\"user\":\"ap", 0600); /* half-written: the old one stays, and it is told once */
    f->now += 1000;
    expect(f, "api", "pw-two");
    f->now += 1000;
    expect(f, "api", "pw-two");
    assert_int_equal(f->warnings, 1);
    write_file(f, "{\"A1\":{\"user\":\"api\",\"password\":\"pw-three\"}}", 0600);
    f->now += 1000;
    expect(f, "api", "pw-three");
    assert_int_equal(unlink(f->path), 0);
    f->now += 1000;
    expect_error(f, f->ref, ERR_NOT_FOUND, f->path); /* gone is meant */
}

static void modes(void **state)
{
    struct fixture *f = *state;
    const char *text = "{\"A1\":{\"user\":\"api\",\"password\":\"pw-one\"}}";
    static const mode_t bad[] = {0644, 0604, 0601, 0620, 0660, 0666};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        write_file(f, text, bad[i]);
        f->now += 1000;
        expect_error(f, f->ref, ERR_PERMISSION, "chmod 600");
    }
    assert_int_equal(f->warnings, 0);
    write_file(f, text, 0640);
    f->now += 1000;
    expect(f, "api", "pw-one");
    assert_int_equal(f->warnings, 1);
    f->now += 1000;
    expect(f, "api", "pw-one");
    assert_int_equal(f->warnings, 1); /* once per state */
    assert_int_equal(chmod(f->path, 0644), 0);
    f->now += 1000;
    expect_error(f, f->ref, ERR_PERMISSION, "chmod 600"); /* a change of mode alone is seen */
    assert_int_equal(chmod(f->path, 0400), 0);
    f->now += 1000;
    expect(f, "api", "pw-one");
    char dir_ref[160];
    (void)snprintf(dir_ref, sizeof(dir_ref), "file:%s#A1", f->dir);
    expect_error(f, dir_ref, ERR_INVALID, "not a file");
}

static void broken_files(void **state)
{
    struct fixture *f = *state;
    static const char *const texts[] = {
        "",
        "   ",
        "[]",
        "{",
        "{\"A1\"",
        "{\"A1\":",
        "{\"A1\":{",
        "{\"A1\":{}}",
        "{\"A1\":{\"user\":\"a\"}}",
        "{\"A1\":{\"password\":\"pw-x\"}}",
        "{\"A1\":{\"user\":1,\"password\":\"pw-x\"}}",
        "{\"A1\":{\"user\":\"\",\"password\":\"pw-x\"}}",
        "{\"A1\":{\"user\":\"a\",\"password\":\"pw-x\"}} x",
        "{\"A1\":{\"user\":\"a\",\"password\":\"pw-x\"},}",
        "{\"A1\":{\"user\":\"a\",\"password\":\"pw-x\\q\"}}",
        "{\"A1\":{\"user\":\"a\",\"password\":\"pw-x\\ud800\"}}",
        "{\"A1\":{\"user\":\"a\",\"password\":\"pw-x\\u0000\"}}",
        "{\"A1\":{\"user\":\"a\",\"password\":\"pw-x\n\"}}",
        "{\"A1\":[{\"user\":\"a\",\"password\":\"pw-x\"}]}",
        "{\"A1\":{\"user\":\"a\",\"password\":\"pw-x\\u12\"}}",
    };
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        write_file(f, texts[i], 0600);
        f->now += 1000;
        expect_error(f, f->ref, ERR_SYNTAX, "expected");
    }
    write_file(f, "{\"A1\":{\"user\":\"a\",\"password\":\"pw-1\"},\"A1\":{\"user\":\"a\",\"password\":\"pw-2\"}}",
               0600);
    f->now += 1000;
    expect(f, "a", "pw-2");
    assert_non_null(strstr(f->last_warning, "more than once"));
    write_file(f, "{}", 0600);
    f->now += 1000;
    expect_error(f, f->ref, ERR_NOT_FOUND, "no login");
}

static void environment(void **state)
{
    struct fixture *f = *state;
    char u[CREDREF_USER_MAX], p[2000], reason[CREDREF_REASON_MAX];
    assert_int_equal(setenv("KEYROLL_TEST_LOGIN", "api:pw-a:b", 1), 0);
    assert_int_equal(get(f, "env:KEYROLL_TEST_LOGIN", u, p, reason), 0);
    assert_string_equal(u, "api");
    assert_string_equal(p, "pw-a:b");
    assert_int_equal(setenv("KEYROLL_TEST_LOGIN", "pw-nocolon", 1), 0);
    expect_error(f, "env:KEYROLL_TEST_LOGIN", ERR_INVALID, "user:password");
    assert_int_equal(unsetenv("KEYROLL_TEST_LOGIN"), 0);
    expect_error(f, "env:KEYROLL_TEST_LOGIN", ERR_NOT_FOUND, "KEYROLL_TEST_LOGIN");
}

static void forms(void **state)
{
    struct fixture *f = *state;
    static const char *const bad[] = {"",        "x",    "file:",  "file:#",  "file:a",   "file:a#",
                                      "file:#b", "env:", "env:1A", "env:A B", "vault:a#b"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(credref_check(bad[i]), ERR_INVALID);
        expect_error(f, bad[i], ERR_INVALID, "file:PATH#LICENCE");
    }
    assert_int_equal(credref_check("file:/etc/a#b"), 0);
    assert_int_equal(credref_check("file:/etc/a#1#b"), 0); /* the last # divides */
    assert_int_equal(credref_check("env:A_1"), 0);
}

static void many_licences(void **state)
{
    struct fixture *f = *state;
    const int n = 100000;
    FILE *out = fopen(f->path, "w");
    assert_non_null(out);
    for (int i = 0; i < n; i++)
        fprintf(out, "%s\"L%06d\":{\"user\":\"u%d\",\"password\":\"pw-%d\"}", i ? ",\n" : "{", i, i, i);
    fputs("}", out);
    assert_int_equal(fclose(out), 0);
    assert_int_equal(chmod(f->path, 0600), 0);
    char ref[160], u[CREDREF_USER_MAX], p[2000], reason[CREDREF_REASON_MAX], want[32];
    int64_t began = clock_mono_ms(&clock_system);
    for (int i = 0; i < n; i++) {
        (void)snprintf(ref, sizeof(ref), "file:%s#L%06d", f->path, i);
        assert_int_equal(get(f, ref, u, p, reason), 0);
        (void)snprintf(want, sizeof(want), "pw-%d", i);
        assert_string_equal(p, want);
    }
    print_message("parsed once and looked up %d times in %lld ms\n", n,
                  (long long)(clock_mono_ms(&clock_system) - began));
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(plain_file),  TEST(read_again), TEST(modes),         TEST(broken_files),
        TEST(environment), TEST(forms),      TEST(many_licences),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
