/* The Redis client against a real redis-server, its n-th allocation refused in turn: from its making through
 * connecting, commands and scripts to the end. Each call that was taken completes exactly once, with its answer or an
 * error that is retried or read back; the client comes back by itself and answers again; nothing leaks. */
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/redis.h"
#include "tests/torture/torture.h"
#include "tests/unit/redis_process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>

#include <cmocka.h>

#define MOST  2000
#define CALLS 6

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define LEAKS() __lsan_do_recoverable_leak_check()
#else
#define LEAKS() 0
#endif

static struct redis_process server;

struct one {
    struct loop *loop;
    struct redis *redis;
    int wake;
    bool ready;
    int done[CALLS], errs[CALLS];
    size_t n_done;
};

static void on_state(void *arg, enum redis_state s, const struct redis_server *info, int err)
{
    (void)info, (void)err;
    struct one *o = arg;
    o->ready = s == REDIS_READY;
    o->wake = 1;
}

static void on_reply(void *self, uint64_t id, const void *result)
{
    struct one *o = self;
    o->done[id]++;
    o->errs[id] = ((const struct redis_reply *)result)->err;
    o->n_done++;
    o->wake = 1;
}

static void until_ready(struct one *o)
{
    while (!o->ready) {
        o->wake = 0;
        loop_run_until(o->loop, &o->wake);
    }
}

static const struct redis_script script = {"add",
                                           "redis.call('INCR', KEYS[1]) return {KEYS[1], ARGV[1], {1, 2, 'three'}}"};

/* Starts the calls; what is refused at once counts as done with that error. */
static void call_all(struct one *o)
{
    static char large[9000];
    memset(large, 'x', sizeof large);
    const struct redis_arg set[] = {{"SET", 3}, {"k", 1}, {large, sizeof large}}, get[] = {{"GET", 3}, {"k", 1}},
                           args[] = {{"n", 1}, {"v", 1}};
    struct redis_port p = redis_port(o->redis);
    for (uint64_t i = 0; i < CALLS; i++) {
        const struct ticket t = {on_reply, o, i};
        int rc = i % 3 == 0   ? p.command(p.self, 3, set, t)
                 : i % 3 == 1 ? p.command(p.self, 2, get, t)
                              : p.eval(p.self, &script, 1, 2, args, t);
        if (rc < 0) on_reply(o, i, &(const struct redis_reply){.err = rc});
    }
    while (o->n_done < CALLS) {
        o->wake = 0;
        loop_run_until(o->loop, &o->wake);
    }
}

/* ERR_NOMEM of redis_new, or 0. */
static int live(size_t nth)
{
    struct one o = {.loop = loop_new()};
    assert_non_null(o.loop);
    AUTO_SECRET struct secret *password = secret_from_string("word");
    const struct redis_options options = {.url = server.url, .password = password, .on_state = on_state, .arg = &o};
    torture_arm(nth);
    int rc = redis_new(o.loop, &options, &o.redis);
    if (rc == 0) {
        until_ready(&o);
        call_all(&o);
        (void)torture_disarm();
        for (size_t i = 0; i < CALLS; i++) {
            enum err_class class = err_class(o.errs[i]);
            if (o.done[i] != 1 || class == ERR_CLASS_PERMANENT || class == ERR_CLASS_FATAL)
                fail_msg("allocation %zu is refused: call %zu is completed %d times, %s", nth, i, o.done[i],
                         err_name(o.errs[i]));
        }
        until_ready(&o); /* and with memory all is well again */
        memset(o.done, 0, sizeof o.done);
        o.n_done = 0;
        call_all(&o);
        for (size_t i = 0; i < CALLS; i++) assert_int_equal(o.errs[i], 0);
    }
    (void)torture_disarm();
    redis_free(o.redis);
    loop_free(o.loop);
    return rc;
}

static void every_allocation(void **state)
{
    (void)state;
    assert_int_equal(live(SIZE_MAX), 0);
    size_t secrets = secret_count(), n = 1, refused = 0;
    for (bool reached = true; reached && n < MOST; n++) {
        int rc = live(n);
        assert_true(rc == 0 || rc == ERR_NOMEM);
        refused += rc == ERR_NOMEM;
        reached = torture_count() >= n;
        assert_int_equal(secret_count(), secrets);
        if (LEAKS()) fail_msg("allocation %zu is refused: a leak, see above", n);
    }
    assert_true(n > 10 && n < MOST && refused > 0);
    print_message("%zu allocations, %zu at the making\n", n - 1, refused);
}

static int setup(void **state)
{
    (void)state;
    return redis_process_start(&server, (const char *const[]){"--requirepass", "word", NULL});
}

static int teardown(void **state)
{
    (void)state;
    redis_process_stop(&server);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_allocation)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
