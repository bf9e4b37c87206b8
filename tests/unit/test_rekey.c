/* keyroll escrow rekey on a real Redis: everything ends under the first key, documents and takeover marks stay as they
 * were, what is held or cannot be opened is left and told, and a kill in the middle costs nothing. */
#include "lib/err.h"
#include "lib/escrow.h"
#include "producer/command.h"
#include "producer/rekey.h"
#include "tests/unit/redis_process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define KEY_ID "AKIAIOSFODNN7EXAMPLE"
#define USERS  400

static struct redis_process redis;
static char old_file[96], new_file[96], lost_file[96], old_only[96], lost_only[96], both[200];
static struct options o;
static struct client c;

static void run_on(const char *keys)
{
    char *words[8] = {(char[]){"test"}, (char[]){"--config="}}, url[160], files[220], *why = NULL;
    int n = 4;
    snprintf(url, sizeof url, "--redis-url=%s", redis.url);
    snprintf(files, sizeof files, "--escrow-key-file=%s", keys);
    words[2] = url;
    words[3] = files;
    options_done(&o);
    if (options_load(&o, OPTIONS_ALL, &n, words, NULL, &why) < 0) fail_msg("%s", why);
    o.lease_ttl_ms = 700; /* so that a killed run's lease ends soon */
    assert_int_equal(n, 1);
}

static int setup(void **state)
{
    (void)state;
    if (redis_process_start(&redis, NULL) < 0) return -1;
    snprintf(old_file, sizeof old_file, "%s/old", redis.dir);
    snprintf(new_file, sizeof new_file, "%s/new", redis.dir);
    snprintf(lost_file, sizeof lost_file, "%s/lost", redis.dir);
    snprintf(old_only, sizeof old_only, "%s", old_file);
    snprintf(lost_only, sizeof lost_only, "%s", lost_file);
    snprintf(both, sizeof both, "%s,%s", new_file, old_file);
    if (escrow_make_file(&rng_system, old_file) < 0 || escrow_make_file(&rng_system, new_file) < 0) return -1;
    if (escrow_make_file(&rng_system, lost_file) < 0) return -1;
    run_on(both);
    return client_init(&c, &o, "test") < 0 ? -1 : client_redis(&c);
}

static int teardown(void **state)
{
    (void)state;
    client_done(&c);
    options_done(&o);
    redis_process_stop(&redis);
    return 0;
}

/* ---- Redis by hand ---- */

struct text {
    char s[4096];
    int64_t n;
    bool is_nil;
};

static void copy_text(void *into, const void *result)
{
    struct text *t = into;
    const struct redis_reply *r = result;
    assert_int_equal(r->err, 0);
    t->is_nil = r->value->type == REDIS_NIL;
    t->n = r->value->integer;
    snprintf(t->s, sizeof t->s, "%s", r->value->type == REDIS_STRING ? r->value->str : "");
}

static struct text *redis_do(const char *a, const char *b, const char *d, const char *e)
{
    static struct text t;
    const char *const words[] = {a, b, d, e};
    size_t n = e ? 4 : d ? 3 : b ? 2 : 1;
    assert_int_equal(client_command(&c, n, words, copy_text, &t), 0);
    return &t;
}

static const char *key_of(const char *user, const char *what)
{
    static char key[4][STORE_KEY_MAX];
    static unsigned i;
    i = (i + 1) % 4;
    store_key(&c.store, user, what, key[i]);
    return key[i];
}

static void seal_with(const char *files, const char *user, struct buf *out)
{
    struct escrow *e;
    char *why = NULL;
    AUTO_SECRET struct secret *s = secret_from_string("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    assert_int_equal(escrow_load(files, &e, &why), 0);
    buf_init(out, 4096);
    assert_int_equal(escrow_seal(e, &rng_system, strchr(user, '/') + 1, KEY_ID, s, out), 0);
    escrow_free(e);
}

static bool opens_with(const char *files, const char *user, const char *envelope)
{
    struct escrow *e;
    char *why = NULL;
    AUTO_SECRET struct secret *s = NULL;
    assert_int_equal(escrow_load(files, &e, &why), 0);
    int rc = escrow_open(e, strchr(user, '/') + 1, KEY_ID, envelope, strlen(envelope), &s);
    bool good = rc == 0 && strcmp(secret_bytes(s), "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY") == 0;
    escrow_free(e);
    return good;
}

/* A record with a kept pair and, if asked, a journal with a sealed one. */
static void put_user(const char *user, const char *files, bool journal)
{
    AUTO_BUF struct buf a, b;
    seal_with(files, user, &a);
    seal_with(files, user, &b);
    const char *record = key_of(user, "record"), *j = key_of(user, "journal");
    redis_do("HSET", record, "version", "7");
    redis_do("HSET", record, "doc", "{\"format\":\"keyroll.record/1\",\"later\":1}");
    redis_do("HSET", record, "sealed_id", KEY_ID);
    redis_do("HSET", record, "sealed", buf_str(&a));
    if (!journal) return;
    redis_do("HSET", j, "version", "3");
    redis_do("HSET", j, "token", "a-worker-that-died");
    redis_do("HSET", j, "direction", "set");
    redis_do("HSET", j, "doc",
             "{\"format\":\"keyroll.journal/1\",\"kind\":\"rotate\",\"step\":\"set\",\"direction\":\"set\",\"key_new\":"
             "\"" KEY_ID "\"}");
    redis_do("HSET", j, "sealed", buf_str(&b));
}

static int rekey(const char *flag)
{
    char words[2][16] = {"rekey"}, *argv[3] = {words[0], NULL, NULL};
    if (flag) argv[1] = strcpy(words[1], flag);
    return cmd_escrow(&o, flag ? 2 : 1, argv);
}

static void start_with(const char *files)
{
    redis_do("FLUSHALL", NULL, NULL, NULL);
    redis_do("SET", key_of(NULL, "holdoff"), "1", NULL); /* no hold-off: not a new server */
    run_on(files);
}

/* ---- tests ---- */

static void pairs_move_to_the_first_key(void **state)
{
    (void)state;
    static const char user[] = "123456789012/synergistexpress-a", other[] = "123456789012/synergistexpress-b";
    start_with(both);
    put_user(user, old_only, true);
    put_user(other, old_only, false);
    assert_int_equal(rekey("--dry-run"), EXIT_BAD);
    assert_true(opens_with(old_only, user, redis_do("HGET", key_of(user, "record"), "sealed", NULL)->s));
    assert_int_equal(rekey(NULL), EXIT_OK);
    static const char *const what[] = {"record", "journal"};
    for (int i = 0; i < 2; i++) {
        const char *sealed = redis_do("HGET", key_of(user, what[i]), "sealed", NULL)->s;
        assert_true(opens_with(new_file, user, sealed));
        assert_false(opens_with(old_only, user, sealed));
    }
    assert_true(opens_with(new_file, other, redis_do("HGET", key_of(other, "record"), "sealed", NULL)->s));
    /* Nothing else changed, members of later versions included; who wrote the journal is still to be seen (R7). */
    assert_string_equal(redis_do("HGET", key_of(user, "record"), "doc", NULL)->s,
                        "{\"format\":\"keyroll.record/1\",\"later\":1}");
    assert_string_equal(redis_do("HGET", key_of(user, "record"), "version", NULL)->s, "8");
    assert_string_equal(redis_do("HGET", key_of(user, "journal"), "version", NULL)->s, "4");
    assert_string_equal(redis_do("HGET", key_of(user, "journal"), "token", NULL)->s, "a-worker-that-died");
    assert_string_equal(redis_do("HGET", key_of(user, "journal"), "direction", NULL)->s, "set");
    assert_int_equal(redis_do("EXISTS", key_of(user, "lease"), NULL, NULL)->n, 0);
    /* A second run finds nothing to do and changes nothing. */
    assert_int_equal(rekey(NULL), EXIT_OK);
    assert_string_equal(redis_do("HGET", key_of(user, "record"), "version", NULL)->s, "8");
}

static void a_held_user_is_left_alone(void **state)
{
    (void)state;
    static const char user[] = "123456789012/synergistexpress-a";
    start_with(both);
    put_user(user, old_only, true);
    redis_do("HSET", key_of(user, "lease"), "token", "somebody"); /* without an end */
    redis_do("PEXPIRE", key_of(user, "lease"), "60000", NULL);
    assert_int_equal(rekey(NULL), EXIT_BAD);
    assert_true(opens_with(old_only, user, redis_do("HGET", key_of(user, "record"), "sealed", NULL)->s));
    assert_string_equal(redis_do("HGET", key_of(user, "lease"), "token", NULL)->s, "somebody");
    redis_do("PEXPIRE", key_of(user, "lease"), "300", NULL); /* ends while it runs: waited for */
    assert_int_equal(rekey(NULL), EXIT_OK);
    assert_true(opens_with(new_file, user, redis_do("HGET", key_of(user, "record"), "sealed", NULL)->s));
}

static void what_does_not_open_stays(void **state)
{
    (void)state;
    static const char lost[] = "123456789012/synergistexpress-a", good[] = "123456789012/synergistexpress-b",
                      swapped[] = "123456789012/synergistexpress-c";
    start_with(both);
    put_user(lost, lost_only, false);
    put_user(good, old_only, false);
    put_user(swapped, old_only, false);
    static char foreign[4096];
    snprintf(foreign, sizeof foreign, "%s", redis_do("HGET", key_of(good, "record"), "sealed", NULL)->s);
    redis_do("HSET", key_of(swapped, "record"), "sealed", foreign);
    assert_int_equal(rekey(NULL), EXIT_BAD);
    assert_true(opens_with(lost_only, lost, redis_do("HGET", key_of(lost, "record"), "sealed", NULL)->s));
    assert_string_equal(redis_do("HGET", key_of(swapped, "record"), "sealed", NULL)->s, foreign);
    assert_true(opens_with(new_file, good, redis_do("HGET", key_of(good, "record"), "sealed", NULL)->s));
    assert_int_equal(redis_do("EXISTS", key_of(lost, "lease"), NULL, NULL)->n, 0);
}

/* The script itself: a lease that is gone, versions that moved on, the same call twice. */
static void the_script_compares(void **state)
{
    (void)state;
    static const char user[] = "123456789012/synergistexpress-a";
    struct store_user u;
    struct store_reply r;
    struct waiter w;
    start_with(both);
    put_user(user, old_only, true);
    store_user_init(&c.store, &u, user);
    u.record_version = 7;
    u.journal_version = 3;
    int rc = store_reseal(&c.store, &u, "op1", "x", "y", client_ticket(&w, client_copy_reply, &r));
    assert_int_equal(client_reply(&c, rc, &w, &r, "t"), ERR_LEASE_LOST);
    redis_do("HSET", key_of(user, "lease"), "token", u.token);
    u.journal_version = 2;
    rc = store_reseal(&c.store, &u, "op1", "x", "y", client_ticket(&w, client_copy_reply, &r));
    assert_int_equal(client_reply(&c, rc, &w, &r, "t"), ERR_JOURNAL_VERSION);
    u.journal_version = 3;
    for (int i = 0; i < 2; i++) {
        rc = store_reseal(&c.store, &u, "op1", "x", "y", client_ticket(&w, client_copy_reply, &r));
        assert_int_equal(client_reply(&c, rc, &w, &r, "t"), 0);
        assert_int_equal(r.version, 8);
    }
    assert_string_equal(redis_do("HGET", key_of(user, "journal"), "version", NULL)->s, "4");
    rc = store_reseal(&c.store, &u, "op2", "x", "y", client_ticket(&w, client_copy_reply, &r));
    assert_int_equal(client_reply(&c, rc, &w, &r, "t"), ERR_JOURNAL_VERSION);
}

static size_t under_new(void)
{
    size_t n = 0;
    char user[64];
    for (int i = 0; i < USERS; i++) {
        snprintf(user, sizeof user, "123456789012/u%03d", i);
        n += opens_with(new_file, user, redis_do("HGET", key_of(user, "record"), "sealed", NULL)->s);
    }
    return n;
}

static void a_kill_in_the_middle_costs_nothing(void **state)
{
    (void)state;
    char user[64];
    start_with(both);
    for (int i = 0; i < USERS; i++) {
        snprintf(user, sizeof user, "123456789012/u%03d", i);
        put_user(user, old_only, false);
    }
    redis_do("HSET", key_of(user, "lease"), "token", "somebody"); /* the last one: however fast it is, it is not done */
    pid_t pid = fork();
    if (pid == 0) _exit(rekey(NULL));
    snprintf(user, sizeof user, "123456789012/u%03d", 20); /* in the order of names: twenty are done when this one is */
    while (!opens_with(new_file, user, redis_do("HGET", key_of(user, "record"), "sealed", NULL)->s)) {
    }
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    size_t done = under_new();
    assert_true(done > 20 && done < USERS);
    snprintf(user, sizeof user, "123456789012/u%03d", USERS - 1);
    redis_do("DEL", key_of(user, "lease"), NULL, NULL);
    assert_int_equal(rekey(NULL), EXIT_OK);
    assert_int_equal(under_new(), USERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pairs_move_to_the_first_key),        cmocka_unit_test(a_held_user_is_left_alone),
        cmocka_unit_test(what_does_not_open_stays),           cmocka_unit_test(the_script_compares),
        cmocka_unit_test(a_kill_in_the_middle_costs_nothing),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
