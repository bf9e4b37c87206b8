/* Programs run once: what reaches them, and what becomes of them. */
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/subprocess.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>
#include <unistd.h>

static struct subprocess_result last;
static int done;

static void on_done(void *self, uint64_t id, const void *result)
{
    (void)self, (void)id;
    last = *(const struct subprocess_result *)result;
    done = 1;
}

static const char *const env[] = {"PATH=/usr/bin:/bin", "ONE=1", NULL};

static int run(struct loop *l, const char *script, const char *input, int64_t timeout_ms)
{
    const char *const argv[] = {"/bin/sh", "-c", script, NULL};
    const struct subprocess_options o = {argv, env, input, strlen(input), timeout_ms};
    struct subprocess *p;
    done = 0;
    int rc = subprocess_run(l, &o, (struct ticket){on_done, NULL, 0}, &p);
    if (rc == 0) loop_run_until(l, &done);
    return rc ? rc : last.err;
}

static void outcomes(void **state)
{
    struct loop *l = *state;
    assert_int_equal(run(l, "read line && test \"$line\" = hello", "hello\n", 10000), 0);
    assert_int_equal(run(l, "exit 3", "nobody reads it", 10000), ERR_IO);
    assert_int_equal(last.exit_status, 3);
    assert_int_equal(run(l, "kill -9 $$", "", 10000), ERR_IO);
    assert_int_equal(last.exit_status, -1);
    setenv("KEYROLL_UNIT_LEAK", "x", 1);
    assert_int_equal(run(l, "test \"$ONE\" = 1 && test -z \"$KEYROLL_UNIT_LEAK\"", "", 10000), 0);
}

/* A deadline reaches what the program started, too: else the pipe that it holds would be open for ever. */
static void deadline(void **state)
{
    struct loop *l = *state;
    assert_int_equal(run(l, "sleep 1000 & sleep 1000", "", 100), ERR_TIMEOUT_SENT);
    assert_int_equal(last.exit_status, -1);
}

static void no_program(void **state)
{
    struct loop *l = *state;
    const char *const argv[] = {"/nowhere/at/all", NULL};
    const struct subprocess_options o = {argv, env, "x", 1, 1000};
    struct subprocess *p;
    assert_int_equal(subprocess_run(l, &o, (struct ticket){on_done, NULL, 0}, &p), ERR_IO);
}

static void abandoned(void **state)
{
    struct loop *l = *state;
    const char *const argv[] = {"/bin/sleep", "1000", NULL};
    const struct subprocess_options o = {argv, env, "x", 1, 1000000};
    struct subprocess *p;
    done = 0;
    assert_int_equal(subprocess_run(l, &o, (struct ticket){on_done, NULL, 0}, &p), 0);
    subprocess_abandon(p);
    subprocess_abandon(NULL);
    loop_run(l); /* returns: nothing is left of it */
    assert_int_equal(done, 0);
}

static int setup(void **state)
{
    *state = loop_new();
    return *state ? 0 : -1;
}

static int teardown(void **state)
{
    loop_free(*state);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(outcomes, setup, teardown),
        cmocka_unit_test_setup_teardown(deadline, setup, teardown),
        cmocka_unit_test_setup_teardown(no_program, setup, teardown),
        cmocka_unit_test_setup_teardown(abandoned, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
