/* The Redis client against a real redis-server, and against a server that misbehaves. */
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/redis.h"
#include "lib/redis_resp.h"
#include "lib/redis_url.h"

#include "tests/unit/redis_process.h"

#include <setjmp.h>
#include <stdarg.h>
#include <cmocka.h>
#include <sys/resource.h>

/* ---- harness ---- */

struct client {
    struct loop *loop;
    struct redis *redis;
    struct redis_port port;
    int ready, waiting, last_err; /* counts of on_state, error of the last WAITING */
    int wake;                     /* loop_run_until flag */
};

static void on_state(void *arg, enum redis_state s, const struct redis_server *server, int err)
{
    struct client *c = arg;
    if (s == REDIS_READY) {
        assert_non_null(server);
        assert_int_equal(err, 0);
        c->ready++;
    } else {
        assert_int_equal(s, REDIS_WAITING);
        c->waiting++;
        c->last_err = err;
    }
    c->wake = 1;
}

static void wake(void *arg)
{
    *(int *)arg = 1;
}

/* Runs until cond, at most ten seconds. */
#define RUN_UNTIL(c, cond)                                                                                             \
    do {                                                                                                               \
        struct loop_timer *limit_ = loop_timer_new((c)->loop, wake, &(c)->wake);                                       \
        int64_t end_ = clock_mono_ms(&clock_system) + 10000;                                                           \
        while (!(cond) && clock_mono_ms(&clock_system) < end_) {                                                       \
            (c)->wake = 0;                                                                                             \
            loop_timer_start(limit_, 1000);                                                                            \
            loop_run_until((c)->loop, &(c)->wake);                                                                     \
        }                                                                                                              \
        loop_timer_free(limit_);                                                                                       \
        assert_true(cond);                                                                                             \
    } while (0)

static void client_open(struct client *c, const char *url, const char *password, const char *ca_file,
                        int64_t timeout_ms)
{
    *c = (struct client){.loop = loop_new()};
    assert_non_null(c->loop);
    AUTO_SECRET struct secret *secret = password ? secret_from_string(password) : NULL;
    struct redis_options o = {.url = url,
                              .password = secret,
                              .ca_file = ca_file,
                              .command_timeout_ms = timeout_ms,
                              .on_state = on_state,
                              .arg = c};
    assert_int_equal(redis_new(c->loop, &o, &c->redis), 0);
    c->port = redis_port(c->redis);
}

static void client_close(struct client *c)
{
    redis_free(c->redis);
    loop_free(c->loop);
}

/* One command's outcome, kept as text. */
struct outcome {
    struct client *c;
    int calls, err;
    enum redis_type type;
    int64_t integer;
    size_t count;
    char text[256];
};

static void done(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct outcome *o = self;
    const struct redis_reply *reply = result;
    o->calls++;
    o->err = reply->err;
    if (reply->value) {
        o->type = reply->value->type;
        o->integer = reply->value->integer;
        o->count = reply->value->count;
        if (reply->value->str) snprintf(o->text, sizeof(o->text), "%s", reply->value->str);
    }
    o->c->wake = 1;
}

static struct ticket ticket_to(struct outcome *o)
{
    return (struct ticket){.done = done, .self = o};
}

static int start(struct outcome *o, const char *const *words)
{
    struct redis_arg args[16];
    size_t n = 0;
    for (; words[n]; n++) args[n] = (struct redis_arg){words[n], strlen(words[n])};
    return o->c->port.command(o->c->port.self, n, args, ticket_to(o));
}

#define COMMAND(o, ...) start(o, (const char *const[]){__VA_ARGS__, NULL})

/* Runs one command to its end. */
#define ASK(client, ...)                                                                                               \
    __extension__({                                                                                                    \
        struct outcome o_ = {.c = (client)};                                                                           \
        assert_int_equal(COMMAND(&o_, __VA_ARGS__), 0);                                                                \
        assert_int_equal(o_.calls, 0);                                                                                 \
        RUN_UNTIL(client, o_.calls == 1);                                                                              \
        o_;                                                                                                            \
    })

static struct redis_process server;

static int start_server(void **state)
{
    (void)state;
    return redis_process_start(&server, NULL);
}

static int stop_server(void **state)
{
    (void)state;
    redis_process_stop(&server);
    return 0;
}

/* ---- pure parts ---- */

static void urls_are_split(void **state)
{
    (void)state;
    struct redis_url u;
    assert_int_equal(redis_url_parse("redis://example.org", &u), 0);
    assert_string_equal(u.host, "example.org");
    assert_int_equal(u.port, 6379);
    assert_false(u.tls);
    redis_url_done(&u);
    assert_int_equal(redis_url_parse("rediss://key%20roll@[::1]:7000/3", &u), 0);
    assert_string_equal(u.host, "::1");
    assert_string_equal(u.user, "key roll");
    assert_int_equal(u.port, 7000);
    assert_int_equal(u.db, 3);
    assert_true(u.tls);
    redis_url_done(&u);
    assert_int_equal(redis_url_parse("unix:///run/redis.sock?db=2", &u), 0);
    assert_string_equal(u.path, "/run/redis.sock");
    assert_int_equal(u.db, 2);
    redis_url_done(&u);
    const char *const bad[] = {"",
                               "http://x",
                               "redis://",
                               "redis://:pw@h",
                               "redis://u:pw@h",
                               "redis://h:0",
                               "redis://h:70000",
                               "redis://h:1x",
                               "redis://h/99999",
                               "redis://h/x",
                               "redis://[::1",
                               "redis://h%0a",
                               "unix://x",
                               "unix:///p?x=1",
                               "redis://h/1?x=2",
                               "redis://h:"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) assert_int_equal(redis_url_parse(bad[i], &u), ERR_INVALID);
}

static void requests_are_written(void **state)
{
    (void)state;
    struct resp w = {0};
    assert_true(resp_reserve(&w, 200));
    resp_array(&w, 3);
    resp_text(&w, "SET");
    resp_bulk(&w, "a\0b", 3);
    resp_number(&w, 1234567890);
    static const char want[] = "*3\r\n$3\r\nSET\r\n$3\r\na\0b\r\n$10\r\n1234567890\r\n";
    assert_int_equal(w.len, sizeof(want) - 1);
    assert_memory_equal(w.data, want, w.len);
    resp_wipe(&w);
}

/* ---- a real server ---- */

static void reads_and_writes(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 0);
    assert_false(redis_ready(c.redis));
    RUN_UNTIL(&c, redis_ready(c.redis));
    const struct redis_server *s = redis_server(c.redis);
    assert_int_equal(strlen(s->run_id), 40);
    assert_int_equal(strlen(s->repl_id), 40);
    assert_true(strlen(s->version) > 2);
    assert_false(s->is_replica);
    assert_false(s->is_cluster);
    assert_int_equal(s->aof_enabled, 0);
    assert_string_equal(s->maxmemory_policy, "noeviction");
    struct outcome o = ASK(&c, "SET", "k", "v");
    assert_int_equal(o.err, 0);
    assert_int_equal(o.type, REDIS_STATUS);
    assert_string_equal(o.text, "OK");
    o = ASK(&c, "GET", "k");
    assert_int_equal(o.type, REDIS_STRING);
    assert_string_equal(o.text, "v");
    o = ASK(&c, "GET", "none");
    assert_int_equal(o.err, 0);
    assert_int_equal(o.type, REDIS_NIL);
    o = ASK(&c, "RPUSH", "l", "1", "2");
    assert_int_equal(o.integer, 2);
    o = ASK(&c, "LRANGE", "l", "0", "-1");
    assert_int_equal(o.type, REDIS_ARRAY);
    assert_int_equal(o.count, 2);
    o = ASK(&c, "LPUSH", "k", "1");
    assert_int_equal(o.err, ERR_REDIS_REFUSED);
    assert_int_equal(strncmp(o.text, "WRONGTYPE", 9), 0);
    client_close(&c);
}

static const struct redis_script add_script = {"add", "return redis.call('INCRBY', KEYS[1], ARGV[1])"};
static const struct redis_script nest_script = {"nest", "return {1, {'a', {false, 'b'}}, {}}"};
static const struct redis_script deep_script = {"deep", "return {{{{{{{{1}}}}}}}}"};
static const struct redis_script fail_script = {"fail", "return redis.error_reply('MYERR no')"};

static int eval(struct outcome *o, const struct redis_script *s, const char *key, const char *arg)
{
    struct redis_arg args[] = {{key, strlen(key)}, {arg, strlen(arg)}};
    return o->c->port.eval(o->c->port.self, s, 1, 2, args, ticket_to(o));
}

static void scripts_load_themselves(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 0);
    RUN_UNTIL(&c, redis_ready(c.redis));
    for (int round = 1; round <= 2; round++) {
        assert_int_equal(ASK(&c, "SCRIPT", "FLUSH").err, 0);
        struct outcome o[3] = {{.c = &c}, {.c = &c}, {.c = &c}};
        for (int i = 0; i < 3; i++) assert_int_equal(eval(&o[i], &add_script, "sum", "2"), 0);
        RUN_UNTIL(&c, o[2].calls == 1);
        for (int i = 0; i < 3; i++) {
            assert_int_equal(o[i].calls, 1);
            assert_int_equal(o[i].err, 0);
        }
        assert_int_equal(o[2].integer, round * 6);
    }
    struct outcome o = {.c = &c};
    assert_int_equal(eval(&o, &fail_script, "k", "x"), 0);
    RUN_UNTIL(&c, o.calls == 1);
    assert_int_equal(o.err, ERR_REDIS_REFUSED);
    assert_string_equal(o.text, "MYERR no");
    client_close(&c);
}

static void walk_nest(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct outcome *o = self;
    const struct redis_reply *reply = result;
    const struct redis_value *v = reply->value;
    assert_int_equal(redis_item(v, 0)->integer, 1);
    assert_string_equal(redis_item(redis_item(v, 1), 0)->str, "a");
    assert_int_equal(redis_item(redis_item(redis_item(v, 1), 1), 0)->type, REDIS_NIL);
    assert_string_equal(redis_item(redis_item(redis_item(v, 1), 1), 1)->str, "b");
    assert_int_equal(redis_item(v, 2)->count, 0);
    assert_null(redis_item(v, 3));
    assert_null(redis_item(NULL, 0));
    o->calls++;
    o->c->wake = 1;
}

static void nested_replies_become_trees(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 0);
    RUN_UNTIL(&c, redis_ready(c.redis));
    struct outcome o = {.c = &c};
    assert_int_equal(c.port.eval(c.port.self, &nest_script, 0, 0, NULL, (struct ticket){.done = walk_nest, .self = &o}),
                     0);
    RUN_UNTIL(&c, o.calls == 1);
    o = (struct outcome){.c = &c};
    assert_int_equal(c.port.eval(c.port.self, &deep_script, 0, 0, NULL, ticket_to(&o)), 0);
    RUN_UNTIL(&c, o.calls == 1);
    assert_int_equal(o.err, ERR_REDIS_LOST); /* too deep: a wrong reply, so the connection ended */
    assert_int_equal(c.last_err, ERR_NET_BAD_REPLY);
    RUN_UNTIL(&c, redis_ready(c.redis));
    client_close(&c);
}

struct flood {
    struct client *c;
    int open, sent, total;
    int64_t sum;
};

static void flood_done(void *self, uint64_t id, const void *result)
{
    struct flood *f = self;
    const struct redis_reply *reply = result;
    assert_int_equal(reply->err, 0);
    f->sum += (int64_t)id;
    f->open--;
    if (f->sent < f->total) {
        struct redis_arg args[] = {
            {"{u1}:lease", 10}, {"7", 1}, {"some journal text of usual size, sealed and so on....", 50}};
        struct ticket t = {.done = flood_done, .self = f, .id = (uint64_t)f->sent++};
        assert_int_equal(f->c->port.eval(f->c->port.self, &add_script, 1, 3, args, t), 0);
        f->open++;
    }
    if (f->open == 0) f->c->wake = 1;
}

static double cpu_us(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e6 + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec);
}

static void many_are_pipelined(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 0);
    RUN_UNTIL(&c, redis_ready(c.redis));
    struct flood f = {.c = &c, .total = 50000};
    struct redis_reply ok = {0};
    double before = cpu_us();
    f.open = 100;
    for (int i = 0; i < 100; i++) flood_done(&f, 0, &ok);
    RUN_UNTIL(&c, f.open == 0);
    print_message("client CPU per script: %.2f us, 9 scripts: %.1f us\n", (cpu_us() - before) / f.total,
                  9 * (cpu_us() - before) / f.total);
    assert_int_equal(f.sum, (int64_t)f.total * (f.total - 1) / 2);
    client_close(&c);
}

static void big_values_pass(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 0);
    RUN_UNTIL(&c, redis_ready(c.redis));
    size_t len = 12u << 20;
    char *big = malloc(len);
    memset(big, 'x', len);
    struct redis_arg set[] = {{"SET", 3}, {"big", 3}, {big, len}};
    struct outcome o = {.c = &c};
    assert_int_equal(c.port.command(c.port.self, 3, set, ticket_to(&o)), 0);
    RUN_UNTIL(&c, o.calls == 1);
    assert_int_equal(o.err, 0);
    assert_int_equal(ASK(&c, "GET", "big").err, 0);
    assert_int_equal(ASK(&c, "APPEND", "big", "y").err, 0);
    struct redis_arg append[] = {{"APPEND", 6}, {"big", 3}, {big, len}};
    o = (struct outcome){.c = &c};
    assert_int_equal(c.port.command(c.port.self, 3, append, ticket_to(&o)), 0);
    RUN_UNTIL(&c, o.calls == 1);
    assert_int_equal(ASK(&c, "GET", "big").err, ERR_REDIS_LOST); /* 24 MiB: more than we take */
    RUN_UNTIL(&c, redis_ready(c.redis));
    assert_int_equal(ASK(&c, "DEL", "big").err, 0);
    free(big);
    client_close(&c);
}

static void not_ready_fails_in_the_next_turn(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, "unix:///nonexistent/redis.sock", NULL, NULL, 0);
    struct outcome o = ASK(&c, "PING");
    assert_int_equal(o.err, ERR_REDIS_DOWN);
    RUN_UNTIL(&c, c.waiting >= 2);
    assert_int_equal(c.last_err, ERR_NET_CONNECT);
    assert_true(redis_reason(c.redis)[0] != '\0');
    client_close(&c);
}

static void free_cancels(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 0);
    struct outcome early = {.c = &c}, late = {.c = &c};
    assert_int_equal(COMMAND(&early, "PING"), 0);
    redis_free(c.redis);
    assert_int_equal(early.calls, 1);
    assert_int_equal(early.err, ERR_CANCELLED);
    loop_free(c.loop);
    client_open(&c, server.url, NULL, NULL, 0);
    late.c = &c;
    RUN_UNTIL(&c, redis_ready(c.redis));
    assert_int_equal(COMMAND(&late, "PING"), 0);
    client_close(&c);
    assert_int_equal(late.calls, 1);
    assert_int_equal(late.err, ERR_CANCELLED);
}

static void free_inside(void *self, uint64_t id, const void *result)
{
    (void)id;
    (void)result;
    struct outcome *o = self;
    o->calls++;
    redis_free(TAKE(o->c->redis));
    o->c->wake = 1;
}

static void may_be_freed_inside_a_completion(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 0);
    RUN_UNTIL(&c, redis_ready(c.redis));
    struct outcome o = {.c = &c}, next = {.c = &c};
    struct redis_arg ping = {"PING", 4};
    assert_int_equal(c.port.command(c.port.self, 1, &ping, (struct ticket){.done = free_inside, .self = &o}), 0);
    assert_int_equal(COMMAND(&next, "PING"), 0);
    RUN_UNTIL(&c, o.calls == 1);
    assert_int_equal(next.calls, 1);
    assert_int_equal(next.err, ERR_CANCELLED);
    loop_free(c.loop);
}

static void a_killed_server_is_survived(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 0);
    RUN_UNTIL(&c, redis_ready(c.redis));
    char old_run_id[48];
    snprintf(old_run_id, sizeof(old_run_id), "%s", redis_server(c.redis)->run_id);
    struct outcome o = {.c = &c}, unwritten = {.c = &c};
    assert_int_equal(COMMAND(&o, "BLPOP", "nothing", "0"), 0);
    c.wake = 0;
    struct loop_timer *t = loop_timer_new(c.loop, wake, &c.wake);
    loop_timer_start(t, 50);
    loop_run_until(c.loop, &c.wake);
    loop_timer_free(t);
    redis_process_kill(&server);
    assert_int_equal(COMMAND(&unwritten, "PING"),
                     0); /* goes into a socket whose peer is gone: cannot be told from sent */
    RUN_UNTIL(&c, o.calls == 1 && unwritten.calls == 1);
    assert_int_equal(o.err, ERR_REDIS_LOST);
    assert_false(redis_ready(c.redis));
    assert_int_equal(ASK(&c, "PING").err, ERR_REDIS_DOWN);
    assert_int_equal(redis_process_run(&server, NULL), 0);
    RUN_UNTIL(&c, redis_ready(c.redis));
    assert_string_not_equal(redis_server(c.redis)->run_id, old_run_id);
    assert_int_equal(ASK(&c, "PING").err, 0);
    client_close(&c);
}

static void silence_times_out(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 200);
    RUN_UNTIL(&c, redis_ready(c.redis));
    int64_t before = clock_mono_ms(&clock_system);
    struct outcome slow = {.c = &c};
    assert_int_equal(COMMAND(&slow, "BLPOP", "nothing", "1"), 0);
    RUN_UNTIL(&c, slow.calls == 1);
    int64_t took = clock_mono_ms(&clock_system) - before;
    assert_int_equal(slow.err, ERR_TIMEOUT_SENT);
    assert_in_range(took, 200, 900);
    assert_int_equal(c.last_err, ERR_TIMEOUT);
    RUN_UNTIL(&c, redis_ready(c.redis));
    client_close(&c);
}

/* A loop that stood still does not blame the server. */
static void own_lateness_is_no_timeout(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 100);
    RUN_UNTIL(&c, redis_ready(c.redis));
    struct outcome o = {.c = &c};
    assert_int_equal(COMMAND(&o, "PING"), 0);
    c.wake = 1;
    struct loop_timer *t = loop_timer_new(c.loop, wake, &c.wake);
    loop_timer_start(t, 0);
    c.wake = 0;
    loop_run_until(c.loop, &c.wake); /* written */
    loop_timer_free(t);
    nanosleep(&(struct timespec){.tv_nsec = 300000000}, NULL);
    RUN_UNTIL(&c, o.calls == 1);
    assert_int_equal(o.err, 0);
    client_close(&c);
}

static void too_many_are_refused(void **state)
{
    (void)state;
    struct client c = {.loop = loop_new()};
    struct redis_options o = {.url = server.url, .max_pending = 3, .on_state = on_state, .arg = &c};
    assert_int_equal(redis_new(c.loop, &o, &c.redis), 0);
    c.port = redis_port(c.redis);
    RUN_UNTIL(&c, redis_ready(c.redis));
    struct outcome out = {.c = &c};
    for (int i = 0; i < 3; i++) assert_int_equal(COMMAND(&out, "PING"), 0);
    assert_int_equal(COMMAND(&out, "PING"), ERR_BUSY);
    RUN_UNTIL(&c, out.calls == 3);
    client_close(&c);
}

static void a_demoted_server_is_left(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 0);
    RUN_UNTIL(&c, redis_ready(c.redis));
    assert_int_equal(ASK(&c, "REPLICAOF", "127.0.0.1", "1").err, 0);
    struct outcome o = ASK(&c, "SET", "k", "v");
    assert_int_equal(o.err, ERR_REDIS_REFUSED);
    RUN_UNTIL(&c, c.waiting == 1);
    assert_int_equal(c.last_err, ERR_REDIS_REFUSED);
    RUN_UNTIL(&c, redis_ready(c.redis));
    assert_true(redis_server(c.redis)->is_replica);
    assert_int_equal(ASK(&c, "REPLICAOF", "NO", "ONE").err, 0);
    client_close(&c);
}

static void logins_are_checked(void **state)
{
    (void)state;
    struct client c;
    client_open(&c, server.url, NULL, NULL, 0);
    RUN_UNTIL(&c, redis_ready(c.redis));
    assert_int_equal(ASK(&c, "ACL", "SETUSER", "roller", "on", ">right", "~*", "+@all").err, 0);
    assert_int_equal(ASK(&c, "CONFIG", "SET", "requirepass", "main").err, 0);
    struct client d;
    client_open(&d, server.url, NULL, NULL, 0); /* none given */
    RUN_UNTIL(&d, d.waiting == 1);
    assert_int_equal(d.last_err, ERR_REDIS_AUTH);
    client_close(&d);
    client_open(&d, server.url, "wrong", NULL, 0);
    RUN_UNTIL(&d, d.waiting == 1);
    assert_int_equal(d.last_err, ERR_REDIS_AUTH);
    assert_null(strstr(redis_reason(d.redis), "wrong "));
    int64_t end = clock_mono_ms(&clock_system) + 500;
    struct loop_timer *t = loop_timer_new(d.loop, wake, &d.wake);
    loop_timer_start(t, 500);
    while (clock_mono_ms(&clock_system) < end) {
        d.wake = 0;
        loop_run_until(d.loop, &d.wake);
    }
    assert_int_equal(d.waiting, 1); /* no tight loop */
    client_close(&d);
    client_open(&d, server.url, "main", NULL, 0);
    RUN_UNTIL(&d, redis_ready(d.redis));
    client_close(&d);
    char url[160];
    snprintf(url, sizeof(url), "unix://roller@%s?db=5", server.socket);
    client_open(&d, url, "right", NULL, 0);
    RUN_UNTIL(&d, redis_ready(d.redis));
    assert_string_equal(ASK(&d, "ACL", "WHOAMI").text, "roller");
    assert_int_equal(ASK(&d, "SET", "in5", "1").err, 0);
    assert_int_equal(ASK(&c, "EXISTS", "in5").integer, 0);
    client_close(&d);
    assert_int_equal(ASK(&c, "CONFIG", "SET", "requirepass", "").err, 0);
    client_close(&c);
}

/* ---- TLS ---- */

static void make_certificate(const char *dir, const char *name, const char *san)
{
    char key[160], crt[160], subject[64], alt[96];
    snprintf(key, sizeof(key), "%s/%s.key", dir, name);
    snprintf(crt, sizeof(crt), "%s/%s.crt", dir, name);
    snprintf(subject, sizeof(subject), "/CN=%s", name);
    snprintf(alt, sizeof(alt), "subjectAltName=%s", san);
    const char *const argv[] = {
        "openssl", "req",     "-x509",   "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
        "-nodes",  "-keyout", key,       "-out",    crt,  "-days",    "2",
        "-subj",   subject,   "-addext", alt,       NULL};
    assert_int_equal(run_program(argv), 0);
}

static void tls_connect_gives(const char *url, const char *ca, int want_err)
{
    struct client c;
    client_open(&c, url, NULL, ca, 0);
    RUN_UNTIL(&c, c.ready + c.waiting > 0);
    assert_int_equal(c.ready ? 0 : c.last_err, want_err);
    if (c.ready) {
        struct outcome o = ASK(&c, "ECHO", "through tls");
        assert_string_equal(o.text, "through tls");
    }
    client_close(&c);
}

static void tls_checks_chain_and_name(void **state)
{
    (void)state;
    struct redis_process s = {0};
    assert_int_equal(redis_process_start(&s, NULL), 0);
    redis_process_kill(&s);
    make_certificate(s.dir, "right", "DNS:localhost");
    make_certificate(s.dir, "other", "DNS:localhost,IP:127.0.0.1");
    char port[8], crt[128], key[128], other[128], named[64], numbered[64];
    snprintf(port, sizeof(port), "%u", free_port());
    snprintf(crt, sizeof(crt), "%s/right.crt", s.dir);
    snprintf(key, sizeof(key), "%s/right.key", s.dir);
    snprintf(other, sizeof(other), "%s/other.crt", s.dir);
    const char *const extra[] = {"--tls-port",
                                 port,
                                 "--tls-cert-file",
                                 crt,
                                 "--tls-key-file",
                                 key,
                                 "--tls-ca-cert-file",
                                 crt,
                                 "--tls-auth-clients",
                                 "no",
                                 "--bind",
                                 "127.0.0.1",
                                 NULL};
    assert_int_equal(redis_process_run(&s, extra), 0);
    snprintf(named, sizeof(named), "rediss://localhost:%s", port);
    snprintf(numbered, sizeof(numbered), "rediss://127.0.0.1:%s", port);
    tls_connect_gives(named, crt, 0);
    tls_connect_gives(numbered, crt, ERR_NET_TLS); /* the name is not in the certificate */
    tls_connect_gives(named, other, ERR_NET_TLS);  /* signed by somebody else */
    tls_connect_gives(named, NULL, ERR_NET_TLS);   /* the system's authorities do not know it */
    struct redis *r = NULL;
    struct loop *l = loop_new();
    struct redis_options o = {.url = named, .ca_file = "/nonexistent.pem"};
    assert_int_equal(redis_new(l, &o, &r), ERR_INVALID);
    loop_free(l);
    redis_process_stop(&s);
}

/* ---- a server that misbehaves ---- */

/* Answers the greeting, then whatever the test wants, in a child process. */
static pid_t fake_server(const char *path, const char *reply)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    unlink(path);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 5), 0);
    pid_t pid = fork();
    if (pid > 0) close(fd);
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    static const char info[] = "$15\r\nrun_id:abc\r\nx:y\r\n";
    for (;;) {
        int s = accept(fd, NULL, NULL);
        char in[4096];
        if (s < 0) _exit(1);
        for (ssize_t n = read(s, in, sizeof(in)); n > 0; n = read(s, in, sizeof(in))) {
            int greeting = memmem(in, (size_t)n, "INFO", 4) != NULL;
            const char *out = greeting ? info : reply;
            if (write(s, out, strlen(out)) < 0) break;
        }
        close(s);
    }
}

static void wrong_replies_end_the_connection(void **state)
{
    (void)state;
    const char *const wrong[] = {
        "hello\r\n",      "*99999999999\r\n",   "$-7\r\n",  "*2147483647\r\n", "$99999999999\r\n",
        "+OK\r\n+OK\r\n", "%1\r\n+a\r\n+b\r\n", ",1.5\r\n", "#t\r\n",          ":12x\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        char path[64];
        snprintf(path, sizeof(path), "/tmp/keyroll-test-fake-%d.sock", (int)getpid());
        pid_t pid = fake_server(path, wrong[i]);
        char url[96];
        snprintf(url, sizeof(url), "unix://%s", path);
        struct client c;
        client_open(&c, url, NULL, NULL, 300);
        RUN_UNTIL(&c, redis_ready(c.redis));
        assert_string_equal(redis_server(c.redis)->run_id, "abc");
        assert_int_equal(redis_server(c.redis)->aof_enabled, -1);
        struct outcome o = {.c = &c};
        assert_int_equal(COMMAND(&o, "PING"), 0);
        RUN_UNTIL(&c, o.calls == 1 && c.waiting >= 1);
        if (strncmp(wrong[i], "+OK", 3) == 0)
            assert_int_equal(o.err, 0); /* the first was the answer, the second is too much */
        else
            assert_true(o.err == ERR_REDIS_LOST || o.err == ERR_TIMEOUT_SENT);
        client_close(&c);
        kill(pid, SIGKILL);
        waitpid(pid, NULL, 0);
        unlink(path);
    }
}

static void loading_is_waited_for(void **state)
{
    (void)state;
    struct client c;
    char path[64], url[96];
    snprintf(path, sizeof(path), "/tmp/keyroll-test-fake-%d.sock", (int)getpid());
    snprintf(url, sizeof(url), "unix://%s", path);
    pid_t pid = fake_server(path, "-LOADING Redis is loading the dataset in memory\r\n");
    client_open(&c, url, NULL, NULL, 0);
    RUN_UNTIL(&c, redis_ready(c.redis));
    assert_int_equal(ASK(&c, "GET", "k").err, ERR_REDIS_REFUSED);
    client_close(&c);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(urls_are_split),
        cmocka_unit_test(requests_are_written),
        cmocka_unit_test(reads_and_writes),
        cmocka_unit_test(scripts_load_themselves),
        cmocka_unit_test(nested_replies_become_trees),
        cmocka_unit_test(many_are_pipelined),
        cmocka_unit_test(big_values_pass),
        cmocka_unit_test(not_ready_fails_in_the_next_turn),
        cmocka_unit_test(free_cancels),
        cmocka_unit_test(may_be_freed_inside_a_completion),
        cmocka_unit_test(silence_times_out),
        cmocka_unit_test(own_lateness_is_no_timeout),
        cmocka_unit_test(too_many_are_refused),
        cmocka_unit_test(a_demoted_server_is_left),
        cmocka_unit_test(logins_are_checked),
        cmocka_unit_test(tls_checks_chain_and_name),
        cmocka_unit_test(wrong_replies_end_the_connection),
        cmocka_unit_test(loading_is_waited_for),
        cmocka_unit_test(a_killed_server_is_survived),
    };
    return cmocka_run_group_tests(tests, start_server, stop_server);
}
