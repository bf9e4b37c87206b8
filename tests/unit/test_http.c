/* The HTTP client against a server that misbehaves on request: what is told apart, what is bounded, what is kept. */
#include "lib/http.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "tests/unit/raw_server.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#include <cmocka.h>

enum { ANSWERS = 300 };

struct answer {
    int done, err, status, order; /* order: completions before it */
    size_t len;
    char body[1024], location[64], type[64], request_id[64], region[32], detail[300];
    int64_t date_ms, retry_ms, started;
};

struct fixture {
    struct loop *l;
    struct http *h;
    struct raw_server *s;
    struct answer a[ANSWERS];
    int completions, awaited, all_done;
    char url[256];
};

/* ---- a resolver that hangs on "slow.test" until the test lets go: stands in for libc's in this program ---- */

static pthread_mutex_t slow_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t slow_changed = PTHREAD_COND_INITIALIZER;
static int slow_waiting, slow_released;

int getaddrinfo(const char *restrict node, const char *restrict service, const struct addrinfo *restrict hints,
                struct addrinfo **restrict result)
{
    union {
        void *address;
        int (*call)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    } real = {.address = dlsym(RTLD_NEXT, "getaddrinfo")};
    if (!node || strcmp(node, "slow.test") != 0) return real.call(node, service, hints, result);
    pthread_mutex_lock(&slow_lock);
    slow_waiting++;
    while (!slow_released) pthread_cond_wait(&slow_changed, &slow_lock);
    slow_waiting--;
    pthread_cond_broadcast(&slow_changed);
    pthread_mutex_unlock(&slow_lock);
    return EAI_NONAME;
}

/* ---- a clock that can be held: stands in for libc's, for libcurl, too ---- */

static int64_t held_us; /* 0: it runs */

int clock_gettime(clockid_t id, struct timespec *ts)
{
    if (!held_us || (id != CLOCK_MONOTONIC && id != CLOCK_BOOTTIME)) return (int)syscall(SYS_clock_gettime, id, ts);
    *ts = (struct timespec){.tv_sec = held_us / 1000000, .tv_nsec = held_us % 1000000 * 1000};
    return 0;
}

static int64_t now_us(void)
{
    struct timespec ts;
    (void)syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &ts);
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- fixture ---- */

static void set_up(struct fixture *f, int tls, const struct http_options *o)
{
    *f = (struct fixture){.l = loop_new(), .s = raw_server_new(tls)};
    struct http_options mine = *o;
    if (tls && !mine.ca_file) mine.ca_file = raw_server_ca(f->s);
    assert_non_null(f->l);
    assert_int_equal(http_new(f->l, &mine, &f->h), 0);
}

static struct fixture shared;

static int setup(void **state)
{
    set_up(&shared, 0, &(struct http_options){0});
    *state = &shared;
    return 0;
}

static int setup_narrow(void **state)
{
    set_up(&shared, 0, &(struct http_options){.handles = {1, 1, 1, 1, 1}});
    *state = &shared;
    return 0;
}

static int setup_tls(void **state)
{
    set_up(&shared, 1, &(struct http_options){0});
    *state = &shared;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    http_free(f->h);
    raw_server_free(f->s);
    loop_free(f->l);
    return 0;
}

#define KEEP(to, from) (void)snprintf(to, sizeof(to), "%s", from)

static void on_reply(void *self, uint64_t id, const void *result)
{
    struct fixture *f = self;
    struct answer *a = &f->a[id];
    const struct http_reply *r = result;
    assert_int_equal(a->done, 0); /* exactly once */
    assert_int_equal(strlen(r->body), strnlen(r->body, r->body_len));
    *a = (struct answer){.done = 1,
                         .err = r->err,
                         .status = r->status,
                         .len = r->body_len,
                         .date_ms = r->date_ms,
                         .retry_ms = r->retry_after_ms,
                         .started = r->started_mono_ms,
                         .order = f->completions};
    KEEP(a->body, r->body);
    KEEP(a->location, r->location);
    KEEP(a->type, r->content_type);
    KEEP(a->request_id, r->request_id);
    KEEP(a->region, r->bucket_region);
    KEEP(a->detail, r->detail);
    if (++f->completions == f->awaited) f->all_done = 1;
}

static const char *url_of(struct fixture *f, const char *path)
{
    const char *scheme = raw_server_ca(f->s)[0] ? "https" : "http";
    (void)snprintf(f->url, sizeof f->url, "%s://127.0.0.1:%d%s", scheme, raw_server_port(f->s), path);
    return f->url;
}

/* A GET of class OTHER, to be changed by the test. url is valid until the next call. */
static struct http_request get(struct fixture *f, const char *path)
{
    return (struct http_request){.class = HTTP_OTHER, .method = "GET", .url = url_of(f, path), .timeout_ms = 10000};
}

static void send_as(struct fixture *f, const struct http_request *req, unsigned id)
{
    f->a[id] = (struct answer){0};
    f->awaited++;
    f->all_done = 0;
    assert_int_equal(http_send(f->h, req, (struct ticket){on_reply, f, id}), 0);
    assert_int_equal(f->a[id].done, 0); /* never before it returns */
}

static void await_all(struct fixture *f)
{
    loop_run_until(f->l, &f->all_done);
    assert_int_equal(f->completions, f->awaited);
}

static const struct answer *ask(struct fixture *f, const struct http_request *req)
{
    send_as(f, req, 0);
    await_all(f);
    return &f->a[0];
}

static const struct answer *ask_path(struct fixture *f, const char *path)
{
    struct http_request req = get(f, path);
    return ask(f, &req);
}

static void set_flag(void *arg)
{
    *(int *)arg = 1;
}

/* Lets the loop turn for about a millisecond. */
static void turn_once(struct fixture *f)
{
    int over = 0;
    struct loop_timer *t = loop_timer_new(f->l, set_flag, &over);
    loop_timer_start(t, 1);
    loop_run_until(f->l, &over);
    loop_timer_free(t);
}

/* ---- plain use ---- */

static void a_get_sends_what_was_asked_and_little_more(void **state)
{
    struct fixture *f = *state;
    struct http_request req = get(f, "/echo?a=b");
    const char *headers[] = {"X-One: 1", "Authorization: AWS4 x", NULL};
    req.headers = headers;
    const struct answer *a = ask(f, &req);
    char expected[512];
    (void)snprintf(expected, sizeof expected,
                   "GET /echo?a=b HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUser-Agent: keyroll/" KEYROLL_VERSION
                   "\r\nAccept: */*\r\nX-One: 1\r\nAuthorization: AWS4 x\r\n\r\n",
                   raw_server_port(f->s));
    assert_int_equal(a->err, 0);
    assert_int_equal(a->status, 200);
    assert_string_equal(a->body, expected);
    assert_int_equal(a->len, strlen(expected));
    assert_string_equal(a->detail, "");
    assert_true(a->started > 0);
    assert_int_equal(a->retry_ms, -1);
    assert_int_equal(a->date_ms, TIME_NONE);
}

static void methods_and_bodies_go_out_as_given(void **state)
{
    static const struct {
        const char *method, *body, *type, *expect, *forbid;
    } cases[] = {
        {"POST", "Action=X", "Content-Type: application/x-www-form-urlencoded", "Content-Length: 8\r\n", "Expect"},
        {"POST", "{}", NULL, "Content-Length: 2\r\n", "Content-Type"},
        {"POST", NULL, NULL, "Content-Length: 0\r\n", "Content-Type"},
        {"PUT", "{\"a\":1}", "Content-Type: application/json", "Content-Type: application/json\r\n", "urlencoded"},
        {"PUT", NULL, NULL, "Content-Length: 0\r\n", "Content-Type"},
        {"DELETE", NULL, NULL, "DELETE /echo", "Content-Length"},
        {"GET", "body", NULL, "GET /echo", "Content-Type"},
        {"PATCH", "p", NULL, "PATCH /echo", "Content-Type"},
    };
    struct fixture *f = *state;
    for (int turn = 0; turn < 2; turn++) { /* the second time on a used handle */
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            struct http_request req = get(f, "/echo");
            const char *headers[] = {cases[i].type, NULL};
            req.method = cases[i].method;
            req.body = cases[i].body;
            req.body_len = cases[i].body ? strlen(cases[i].body) : 0;
            req.headers = headers;
            const struct answer *a = ask(f, &req);
            assert_int_equal(a->err, 0);
            assert_memory_equal(a->body, cases[i].method, strlen(cases[i].method));
            assert_non_null(strstr(a->body, cases[i].expect));
            assert_null(strstr(a->body, cases[i].forbid));
            assert_null(strstr(a->body, "Accept-Encoding"));
            if (cases[i].body) assert_string_equal(strstr(a->body, "\r\n\r\n") + 4, cases[i].body);
        }
        struct http_request head = get(f, "/echo");
        head.method = "HEAD";
        const struct answer *a = ask(f, &head);
        assert_int_equal(a->err, 0);
        assert_int_equal(a->status, 200);
        assert_int_equal(a->len, 0);
    }
    assert_int_equal(raw_server_connections(f->s), 1);
}

static void a_large_post_is_not_held_back(void **state)
{
    struct fixture *f = *state;
    static char body[40000];
    memset(body, 'b', sizeof body);
    struct http_request req = get(f, "/echo");
    req.method = "POST";
    req.body = body;
    req.body_len = sizeof body;
    const struct answer *a = ask(f, &req);
    assert_int_equal(a->err, 0);
    assert_true(a->len > sizeof body);
    assert_null(strstr(a->body, "Expect"));
}

static void reply_fields_are_handed_over(void **state)
{
    struct fixture *f = *state;
    const struct answer *a = ask_path(f, "/fields");
    assert_int_equal(a->date_ms, 784111777000LL);
    assert_string_equal(a->type, "text/xml");
    assert_string_equal(a->request_id, "r-1");
    assert_string_equal(a->region, "eu-west-1");
    a = ask_path(f, "/continue"); /* fields of the interim reply are gone, also those of the request before */
    assert_int_equal(a->status, 503);
    assert_int_equal(a->retry_ms, 7000);
    assert_string_equal(a->request_id, "");
    assert_string_equal(a->region, "");
    assert_int_equal(ask_path(f, "/no-content")->status, 204);
    assert_string_equal(ask_path(f, "/chunked")->body, "abcde");
    assert_string_equal(ask_path(f, "/no-length")->body, "until the end");
    assert_string_equal(ask_path(f, "/identity")->body, "ok");
}

static void redirects_are_not_followed(void **state)
{
    struct fixture *f = *state;
    const struct answer *a = ask_path(f, "/redirect");
    assert_int_equal(a->err, 0);
    assert_int_equal(a->status, 302);
    assert_string_equal(a->location, "/ok");
    assert_int_equal(raw_server_hits(f->s, "/ok"), 0);
}

static void localhost_names_need_no_resolver(void **state)
{
    static const char *const hosts[] = {"localhost", "bucket.s3.localhost", "A.LOCALHOST"};
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++) {
        struct http_request req = get(f, "/ok");
        (void)snprintf(f->url, sizeof f->url, "http://%s:%d/ok", hosts[i], raw_server_port(f->s));
        assert_int_equal(ask(f, &req)->err, 0);
    }
}

static void malformed_requests_are_refused_at_once(void **state)
{
    struct fixture *f = *state;
    const char *bad_headers[][2] = {{"no colon", NULL}, {": x", NULL},          {"A:", NULL},
                                    {"A: ", NULL},      {"A: b\r\nC: d", NULL}, {"A: b\n", NULL}};
    const char *bad_urls[] = {"", "ftp://a/", "file:///etc/passwd", "//a", "http://a b/", "http://a/\r\nX: y"};
    const char *bad_methods[] = {"", "get", "GET /", "TOOLONGAMETHODNAME"};
    struct ticket t = {on_reply, f, 0};
    struct http_request req = get(f, "/ok");
    for (size_t i = 0; i < ARRAY_LEN(bad_headers); i++) {
        req.headers = bad_headers[i];
        assert_int_equal(http_send(f->h, &req, t), ERR_INVALID);
    }
    req.headers = NULL;
    for (size_t i = 0; i < ARRAY_LEN(bad_urls); i++) {
        req.url = bad_urls[i];
        assert_int_equal(http_send(f->h, &req, t), ERR_INVALID);
    }
    req = get(f, "/ok");
    for (size_t i = 0; i < ARRAY_LEN(bad_methods); i++) {
        req.method = bad_methods[i];
        assert_int_equal(http_send(f->h, &req, t), ERR_INVALID);
    }
    req = get(f, "/ok");
    req.timeout_ms = 0;
    assert_int_equal(http_send(f->h, &req, t), ERR_INVALID);
    req = get(f, "/ok");
    req.class = HTTP_CLASSES;
    assert_int_equal(http_send(f->h, &req, t), ERR_INVALID);
    assert_int_equal(loop_run(f->l), 0);
    assert_int_equal(f->completions, 0);
    req = get(f, "/ok");
    (void)snprintf(f->url, sizeof f->url, "http://user:secret@127.0.0.1:%d/ok", raw_server_port(f->s));
    assert_int_equal(ask(f, &req)->err, ERR_INVALID);
    assert_int_equal(raw_server_connections(f->s), 0);
}

/* ---- prepare ---- */

struct preparation {
    int calls, rc;
    const char *headers[3];
};

static int prepare(void *arg, const char *const **ret_headers)
{
    struct preparation *p = arg;
    p->calls++;
    *ret_headers = p->headers;
    return p->rc;
}

static void prepare_adds_headers_or_refuses(void **state)
{
    struct fixture *f = *state;
    struct preparation p = {.headers = {"X-Late: 1", "X-Amz-Date: now", NULL}};
    struct http_request req = get(f, "/echo");
    const char *early[] = {"X-Early: 1", NULL};
    req.headers = early;
    req.prepare = prepare;
    req.prepare_arg = &p;
    const struct answer *a = ask(f, &req);
    assert_int_equal(p.calls, 1);
    assert_non_null(strstr(a->body, "X-Early: 1\r\nX-Late: 1\r\nX-Amz-Date: now\r\n"));
    p.rc = ERR_LEASE_LOST;
    a = ask(f, &req);
    assert_int_equal(a->err, ERR_LEASE_LOST);
    assert_int_equal(a->started, 0);
    p.rc = 0;
    p.headers[0] = "X: a\r\nInjected: b";
    assert_int_equal(ask(f, &req)->err, ERR_INVALID);
    assert_int_equal(raw_server_hits(f->s, "/echo"), 1);
}

/* ---- connections ---- */

static void a_fresh_post_reaches_the_server_once_when_the_reply_is_lost(void **state)
{
    struct fixture *f = *state;
    struct http_request req = get(f, "/ok");
    req.class = HTTP_IAM;
    assert_int_equal(ask(f, &req)->err, 0);
    req = get(f, "/die"); /* the server acts, then the connection is gone */
    req.class = HTTP_IAM;
    req.method = "POST";
    req.fresh_connection = true;
    assert_int_equal(ask(f, &req)->err, ERR_NET_LOST);
    assert_int_equal(raw_server_hits(f->s, "/die"), 1);
    assert_int_equal(raw_server_connections(f->s), 2);
}

/* libcurl 7.88.1 repeats any request on a dead reused connection. Should this one fail some day, fresh connections are
 * no longer needed for CreateAccessKey. */
static void a_post_on_a_reused_connection_is_repeated_by_libcurl(void **state)
{
    struct fixture *f = *state;
    struct http_request req = get(f, "/ok");
    assert_int_equal(ask(f, &req)->err, 0);
    req = get(f, "/die");
    req.method = "POST";
    assert_int_equal(ask(f, &req)->err, ERR_NET_LOST);
    assert_int_equal(raw_server_hits(f->s, "/die"), 2);
}

static void a_repeat_that_cannot_connect_still_counts_as_sent(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask_path(f, "/ok")->err, 0);
    const struct answer *a = ask_path(f, "/die-and-stop-listening");
    assert_int_equal(a->err, ERR_NET_LOST);
    assert_int_equal(raw_server_hits(f->s, "/die"), 1);
    assert_int_equal(ask_path(f, "/ok")->err, ERR_NET_CONNECT); /* this one was never sent */
}

static void connections_are_kept_or_closed_as_asked(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 5; i++) assert_int_equal(ask_path(f, "/ok")->err, 0);
    assert_int_equal(raw_server_connections(f->s), 1);
    struct http_request req = get(f, "/ok");
    req.last_on_connection = true;
    assert_int_equal(ask(f, &req)->err, 0); /* on the kept one, which ends with it */
    assert_int_equal(raw_server_connections(f->s), 1);
    assert_int_equal(ask_path(f, "/ok")->err, 0);
    assert_int_equal(raw_server_connections(f->s), 2);
    assert_int_equal(ask_path(f, "/closing")->err, 0);
    assert_int_equal(ask_path(f, "/ok")->err, 0); /* a connection the server closed is not used again */
    assert_int_equal(raw_server_connections(f->s), 3);
}

static void fresh_connections_do_not_pile_up(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 100; i++) {
        struct http_request req = get(f, "/ok");
        req.class = HTTP_IAM;
        req.fresh_connection = true;
        assert_int_equal(ask(f, &req)->err, 0);
    }
    assert_int_equal(raw_server_connections(f->s), 100);
    assert_true(raw_server_open(f->s) <= 34); /* 32 kept, and a thread that is about to notice */
}

static void proxies_are_not_asked_for_this_machine(void **state)
{
    struct fixture *f = *state;
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    assert_int_equal(ask_path(f, "/ok")->err, 0);
    struct http_request req = get(f, "/ok");
    req.url = "http://elsewhere.invalid/";
    assert_int_equal(ask(f, &req)->err, ERR_NET_CONNECT); /* to the proxy; not ERR_NET_RESOLVE */
    unsetenv("http_proxy");
    assert_int_equal(ask(f, &req)->err, ERR_NET_RESOLVE);
}

/* ---- time ---- */

static void timeouts_tell_sent_from_unsent(void **state)
{
    struct fixture *f = *state;
    struct http_request req = get(f, "/silent");
    req.timeout_ms = 500;
    const struct answer *a = ask(f, &req);
    assert_int_equal(a->err, ERR_TIMEOUT_SENT);
    assert_true(a->detail[0] != '\0');
    req = get(f, "/slow"); /* a byte every 20 ms is no reason to go on */
    req.timeout_ms = 500;
    assert_int_equal(ask(f, &req)->err, ERR_TIMEOUT_SENT);

    /* A listener whose backlog is full answers no SYN: nothing was sent. */
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof addr;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), full[4];
    assert_int_equal(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
    assert_int_equal(listen(fd, 0), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&addr, &len), 0);
    for (size_t i = 0; i < ARRAY_LEN(full); i++) {
        full[i] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        (void)connect(full[i], (struct sockaddr *)&addr, sizeof addr);
    }
    req = get(f, "/");
    (void)snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d/", ntohs(addr.sin_port));
    req.timeout_ms = 150;
    assert_int_equal(ask(f, &req)->err, ERR_TIMEOUT);
    for (size_t i = 0; i < ARRAY_LEN(full); i++) close(full[i]);
    close(fd);
}

/* A byte that comes within the last millisecond makes libcurl forget the timeout (lib/http.c); then nothing comes. */
static void a_timeout_is_kept_when_a_byte_comes_just_before(void **state)
{
    struct fixture *f = *state;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    static const char begun[] = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nx";
    char request[4096];
    int fd = -1, l = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(l, (struct sockaddr *)&a, len), 0);
    assert_true(listen(l, 1) == 0 && getsockname(l, (struct sockaddr *)&a, &len) == 0);
    (void)snprintf(f->url, sizeof f->url, "http://127.0.0.1:%d/", ntohs(a.sin_port));
    while (now_us() % 1000000 > 500000) usleep(1000); /* libcurl's milliseconds are another's across a full second */
    const int64_t start_us = held_us = now_us(), timeout_ms = 300; /* its other timeouts are over by then */
    send_as(f, &(struct http_request){.class = HTTP_OTHER, .method = "GET", .url = f->url, .timeout_ms = timeout_ms},
            0);
    while (fd < 0) {
        uv_run(loop_uv(f->l), UV_RUN_NOWAIT);
        fd = accept4(l, NULL, NULL, SOCK_NONBLOCK);
    }
    while (recv(fd, request, sizeof request, 0) <= 0) uv_run(loop_uv(f->l), UV_RUN_NOWAIT);
    held_us = start_us + 1000 * timeout_ms - 500;
    assert_int_equal(send(fd, begun, sizeof begun - 1, 0), sizeof begun - 1);
    for (int i = 0; i < 20; i++) uv_run(loop_uv(f->l), UV_RUN_NOWAIT);
    assert_int_equal(f->a[0].done, 0);
    while (now_us() < start_us + 1000 * timeout_ms) {
    }
    held_us = 0;
    loop_run_until(f->l, &f->a[0].done);
    assert_int_equal(f->a[0].done, 1);
    assert_int_equal(f->a[0].err, ERR_TIMEOUT_SENT);
    close(fd);
    close(l);
}

static void a_tls_handshake_that_hangs_is_unsent(void **state)
{
    struct fixture *f = *state; /* a plain server: it waits for the end of a head that never comes */
    struct http_request req = get(f, "/");
    (void)snprintf(f->url, sizeof f->url, "https://127.0.0.1:%d/", raw_server_port(f->s));
    req.timeout_ms = 150;
    assert_int_equal(ask(f, &req)->err, ERR_TIMEOUT);
    assert_int_equal(raw_server_connections(f->s), 1);
}

static void waiting_in_the_queue_has_a_limit_of_its_own(void **state)
{
    struct fixture *f = *state; /* one handle per class */
    unsigned queued, running;
    struct http_request req = get(f, "/silent");
    req.timeout_ms = 400;
    send_as(f, &req, 0);
    for (unsigned i = 1; i < 4; i++) {
        req = get(f, "/ok");
        req.queue_timeout_ms = 20 * (int64_t)i;
        send_as(f, &req, i);
    }
    req = get(f, "/echo");
    send_as(f, &req, 4); /* waits as long as its timeout: survives */
    http_load(f->h, HTTP_OTHER, &queued, &running);
    assert_int_equal(queued, 5);
    await_all(f);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(f->a[i].err, ERR_TIMEOUT);
        assert_int_equal(f->a[i].started, 0);
        assert_int_equal(f->a[i].order, (int)i - 1);
    }
    assert_int_equal(f->a[0].err, ERR_TIMEOUT_SENT);
    assert_int_equal(f->a[4].err, 0);
    assert_int_equal(raw_server_hits(f->s, "/ok"), 0);
    http_load(f->h, HTTP_OTHER, &queued, &running);
    assert_int_equal(queued + running, 0);
}

static void a_hanging_resolver_does_not_stop_the_loop(void **state)
{
    struct fixture *f = *state;
    struct http_request req = get(f, "/");
    req.url = "http://slow.test/";
    req.timeout_ms = 100;
    send_as(f, &req, 0);
    req = get(f, "/ok");
    send_as(f, &req, 1);
    await_all(f);
    assert_int_equal(f->a[0].err, ERR_TIMEOUT);
    assert_int_equal(f->a[1].err, 0);
    pthread_mutex_lock(&slow_lock);
    assert_int_equal(slow_waiting, 1); /* still hanging while the answer is here */
    slow_released = 1;
    pthread_cond_broadcast(&slow_changed);
    while (slow_waiting > 0) pthread_cond_wait(&slow_changed, &slow_lock);
    pthread_mutex_unlock(&slow_lock);
}

/* ---- bad replies ---- */

static void bad_replies_have_unknown_effect(void **state)
{
    static const struct {
        const char *path;
        int err, other; /* either is right */
    } cases[] = {
        {"/die", ERR_NET_LOST, ERR_NET_LOST},
        {"/reset", ERR_NET_LOST, ERR_NET_LOST},
        {"/short", ERR_NET_LOST, ERR_NET_BAD_REPLY},
        {"/short-chunk", ERR_NET_LOST, ERR_NET_BAD_REPLY},
        {"/half-head", ERR_NET_LOST, ERR_NET_BAD_REPLY},
        {"/bad-chunk", ERR_NET_LOST, ERR_NET_BAD_REPLY},
        {"/bad-length", ERR_NET_LOST, ERR_NET_BAD_REPLY},
        {"/http09", ERR_NET_BAD_REPLY, ERR_NET_BAD_REPLY},
        {"/garbage", ERR_NET_BAD_REPLY, ERR_NET_BAD_REPLY},
        {"/gzip", ERR_NET_BAD_REPLY, ERR_NET_BAD_REPLY},
        {"/endless-head", ERR_NET_BAD_REPLY, ERR_NET_BAD_REPLY},
        {"/endless", ERR_NET_BAD_REPLY, ERR_NET_BAD_REPLY},
        {"/gzip-bomb", ERR_NET_BAD_REPLY, ERR_NET_BAD_REPLY},
        {"/no-status", ERR_NET_BAD_REPLY, ERR_NET_BAD_REPLY},
        {"/promised", ERR_NET_LOST, ERR_NET_BAD_REPLY},
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct http_request req = get(f, cases[i].path);
        req.fresh_connection = true;
        const struct answer *a = ask(f, &req);
        if (a->err != cases[i].err && a->err != cases[i].other)
            fail_msg("%s: %s (%s)", cases[i].path, err_name(a->err), a->detail);
        assert_int_equal(err_class(a->err), ERR_CLASS_UNKNOWN);
        assert_true(a->detail[0] != '\0');
    }
    assert_int_equal(ask_path(f, "/ok")->err, 0); /* and the handles are as good as new */
}

/* libcurl before 8.1.1 follows a stale pointer here when a handle had a reply before: found by fuzzing. */
static void a_folded_first_line_harms_no_later_reply(void **state)
{
    struct fixture *f = *state;
    static const enum http_class classes[] = {HTTP_INSTANCE, HTTP_OTHER};
    for (size_t i = 0; i < 3 * ARRAY_LEN(classes); i++) {
        struct http_request req = get(f, "/fields");
        req.class = classes[i / 3];
        assert_int_equal(ask(f, &req)->err, 0);
        req.url = url_of(f, "/folded-first");
        int err = ask(f, &req)->err;
        assert_true(err == 0 || err_class(err) == ERR_CLASS_UNKNOWN);
        req.url = url_of(f, "/ok");
        assert_int_equal(ask(f, &req)->err, 0);
    }
}

static void the_reply_cap_is_exact(void **state)
{
    struct fixture *f = *state;
    struct http_request req = get(f, "/chunked"); /* 5 bytes */
    req.max_reply_bytes = 5;
    assert_int_equal(ask(f, &req)->err, 0);
    req.max_reply_bytes = 4;
    assert_int_equal(ask(f, &req)->err, ERR_NET_BAD_REPLY);
}

static void refused_connections_are_unsent(void **state)
{
    struct fixture *f = *state;
    struct http_request req = get(f, "/");
    req.url = "http://127.0.0.1:1/";
    assert_int_equal(ask(f, &req)->err, ERR_NET_CONNECT);
    req.url = "http://no-such-host.invalid/";
    assert_int_equal(ask(f, &req)->err, ERR_NET_RESOLVE);
}

/* ---- the queue ---- */

static void many_requests_are_answered_in_order_by_one_handle(void **state)
{
    struct fixture *f = *state; /* one handle per class */
    unsigned queued, running;
    for (unsigned i = 0; i < ANSWERS; i++) {
        struct http_request req = get(f, "/ok");
        send_as(f, &req, i);
    }
    http_load(f->h, HTTP_OTHER, &queued, &running);
    assert_int_equal(queued, ANSWERS);
    assert_int_equal(running, 0); /* started after this turn's callbacks, all together */
    await_all(f);
    for (unsigned i = 0; i < ANSWERS; i++) assert_int_equal(f->a[i].order, (int)i);
    assert_int_equal(raw_server_connections(f->s), 1);
}

static void what_goes_ahead_keeps_its_order_too(void **state)
{
    struct fixture *f = *state; /* one handle per class */
    for (unsigned i = 0; i < 30; i++) {
        struct http_request req = get(f, "/ok");
        req.ahead = i % 3 == 1;
        send_as(f, &req, i);
    }
    await_all(f);
    for (unsigned i = 0, ahead = 0, behind = 10; i < 30; i++)
        assert_int_equal(f->a[i].order, (int)(i % 3 == 1 ? ahead++ : behind++));

    struct http_request req = get(f, "/silent");
    f->completions = f->awaited = 0;
    req.timeout_ms = 1500;
    send_as(f, &req, 0);
    turn_once(f);
    req = get(f, "/ok");
    for (unsigned i = 1; i < 5; i++) { /* the last one that goes ahead leaves the queue by its timeout */
        req.ahead = i == 2 || i == 3;
        req.queue_timeout_ms = i == 3 ? 20 : 0;
        send_as(f, &req, i);
    }
    loop_run_until(f->l, &f->a[3].done);
    req.ahead = true;
    req.queue_timeout_ms = 0;
    send_as(f, &req, 5);
    await_all(f);
    assert_int_equal(f->a[3].err, ERR_TIMEOUT);
    static const int order[] = {1, 4, 2, 0, 5, 3};
    for (unsigned i = 0; i < 6; i++) assert_int_equal(f->a[i].order, order[i]);
}

static void classes_do_not_wait_for_each_other(void **state)
{
    struct fixture *f = *state;
    struct http_request req = get(f, "/silent");
    req.class = HTTP_S3;
    req.timeout_ms = 1500;
    send_as(f, &req, 0);
    req = get(f, "/ok");
    req.class = HTTP_STS;
    send_as(f, &req, 1);
    await_all(f);
    assert_int_equal(f->a[1].err, 0);
    assert_int_equal(f->a[1].order, 0);
}

/* One handle per class, and silent instances: each lends its place, but so that there are twice as many at most. */
static void silent_instances_lend_their_place(void **state)
{
    struct fixture *f = *state;
    static const char *const paths[] = {"/silent", "/silent", "/ok", "/echo"};
    static const int64_t timeouts_ms[] = {2500, 800, 10000, 10000};
    for (unsigned i = 0; i < ARRAY_LEN(paths); i++) {
        struct http_request req = get(f, paths[i]);
        req.class = HTTP_INSTANCE;
        req.timeout_ms = timeouts_ms[i];
        req.queue_timeout_ms = 20000;
        send_as(f, &req, i);
    }
    await_all(f);
    static const int order[] = {3, 0, 1, 2}; /* the second silent one took the only place that the first could lend */
    for (unsigned i = 0; i < ARRAY_LEN(order); i++) assert_int_equal(f->a[i].order, order[i]);
    assert_int_equal(f->a[2].err, 0);
}

static void send_next(void *self, uint64_t id, const void *result)
{
    struct fixture *f = self;
    on_reply(self, id, result);
    if (id + 1 >= 50) return;
    struct http_request req = get(f, "/ok");
    f->awaited++;
    f->all_done = 0;
    assert_int_equal(http_send(f->h, &req, (struct ticket){send_next, f, id + 1}), 0);
}

static void completions_may_send(void **state)
{
    struct fixture *f = *state;
    struct http_request req = get(f, "/ok");
    f->awaited = 1;
    assert_int_equal(http_send(f->h, &req, (struct ticket){send_next, f, 0}), 0);
    await_all(f);
    assert_int_equal(f->completions, 50);
    assert_int_equal(raw_server_connections(f->s), 1);
}

static void try_to_send(void *self, uint64_t id, const void *result)
{
    struct fixture *f = self;
    on_reply(self, id, result);
    struct http_request req = get(f, "/ok");
    assert_int_equal(http_send(f->h, &req, (struct ticket){on_reply, f, 299}), ERR_CANCELLED);
}

static void freeing_cancels_everything_once(void **state)
{
    struct fixture *f = *state; /* one handle per class */
    for (unsigned i = 0; i < 10; i++) {
        struct http_request req = get(f, "/silent");
        req.class = i % 2 ? HTTP_S3 : HTTP_IAM;
        f->awaited++;
        assert_int_equal(http_send(f->h, &req, (struct ticket){try_to_send, f, i}), 0);
    }
    struct http_request req = get(f, "/ok");
    assert_int_equal(http_send(f->h, &req, (struct ticket){on_reply, f, 10}), 0);
    while (f->completions == 0 || raw_server_hits(f->s, "/silent") < 2) turn_once(f);
    http_free(f->h);
    f->h = NULL;
    assert_int_equal(f->completions, 11);
    for (unsigned i = 0; i < 10; i++) assert_int_equal(f->a[i].err, ERR_CANCELLED);
    int under_way = 0;
    for (unsigned i = 0; i < 10; i++) under_way += f->a[i].started != 0;
    assert_int_equal(under_way, 2);
}

static void an_unused_queue_is_cancelled_too(void **state)
{
    struct fixture *f = *state;
    struct http_request req = get(f, "/ok");
    send_as(f, &req, 0);
    http_free(f->h); /* before the loop ever turned */
    f->h = NULL;
    assert_int_equal(f->a[0].err, ERR_CANCELLED);
    assert_int_equal(f->a[0].started, 0);
    assert_int_equal(loop_run(f->l), 0);
    http_free(NULL);
}

static int count_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static void an_idle_client_lets_the_loop_end_and_leaves_nothing_open(void **state)
{
    struct fixture *f = *state;
    int before = count_descriptors();
    struct http *h;
    assert_int_equal(http_new(f->l, &(struct http_options){0}, &h), 0);
    assert_int_equal(ask_path(f, "/ok")->err, 0);
    assert_int_equal(loop_run(f->l), 0);
    http_free(h);
    http_free(f->h);
    f->h = NULL;
    while (raw_server_open(f->s) > 0) turn_once(f);
    assert_int_equal(loop_run(f->l), 0);
    assert_true(count_descriptors() <= before);
}

/* ---- TLS ---- */

static void tls_is_verified(void **state)
{
    struct fixture *f = *state;
    assert_int_equal(ask_path(f, "/ok")->err, 0);
    struct http_request req = get(f, "/ok");
    (void)snprintf(f->url, sizeof f->url, "https://bucket.s3.localhost:%d/ok", raw_server_port(f->s));
    assert_int_equal(ask(f, &req)->err, 0);
    (void)snprintf(f->url, sizeof f->url, "https://127.0.0.2:%d/ok", raw_server_port(f->s));
    req.url = f->url;
    int listens_there = ask(f, &req)->err;
    assert_true(listens_there == ERR_NET_TLS || listens_there == ERR_NET_CONNECT);
    (void)snprintf(f->url, sizeof f->url, "https://other.localhost:%d/ok",
                   raw_server_port(f->s)); /* no such name in it */
    const struct answer *a = ask(f, &req);
    assert_int_equal(a->err, ERR_NET_TLS);
    assert_int_equal(err_class(a->err), ERR_CLASS_RETRIABLE);
    http_free(f->h);
    assert_int_equal(http_new(f->l, &(struct http_options){0}, &f->h), 0); /* the system's CAs do not know it */
    assert_int_equal(ask_path(f, "/ok")->err, ERR_NET_TLS);
    http_free(f->h);
    assert_int_equal(http_new(f->l, &(struct http_options){.ca_file = "/nonexistent"}, &f->h), 0);
    assert_int_equal(ask_path(f, "/ok")->err, ERR_NET_TLS);
}

static void tls_faults_are_told_apart_as_without(void **state)
{
    struct fixture *f = *state;
    struct http_request req = get(f, "/die");
    req.method = "POST";
    req.fresh_connection = true;
    assert_int_equal(ask(f, &req)->err, ERR_NET_LOST);
    assert_int_equal(raw_server_hits(f->s, "/die"), 1);
    req = get(f, "/silent");
    req.timeout_ms = 500;
    assert_int_equal(ask(f, &req)->err, ERR_TIMEOUT_SENT);
}

static void session_keys_are_never_logged(void **state)
{
    (void)state;
    char path[] = "/tmp/keyroll-test-keylog.XXXXXX";
    int fd = mkstemp(path);
    setenv("SSLKEYLOGFILE", path, 1);
    set_up(&shared, 1, &(struct http_options){0});
    assert_int_equal(ask_path(&shared, "/ok")->err, 0);
    void *again = &shared;
    teardown(&again);
    assert_int_equal(lseek(fd, 0, SEEK_END), 0);
    close(fd);
    unlink(path);
}

static void many_handshakes_leave_the_loop_responsive(void **state)
{
    struct fixture *f = *state;
    const int64_t start_us = now_us();
    for (unsigned i = 0; i < 200; i++) {
        struct http_request req = get(f, "/ok");
        req.class = HTTP_INSTANCE;
        req.fresh_connection = req.last_on_connection = true;
        req.timeout_ms = 60000;
        send_as(f, &req, i);
    }
    await_all(f);
    for (unsigned i = 0; i < 200; i++) assert_int_equal(f->a[i].err, 0);
    struct loop_stats st;
    loop_stats(f->l, &st);
    assert_true(st.turns > 20);                          /* spread, not done in a few long turns */
    assert_true(st.p50_us < (now_us() - start_us) / 20); /* of what all took: a machine may be slow */
}

#define WITH(set, name) cmocka_unit_test_setup_teardown(name, set, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH(setup, a_get_sends_what_was_asked_and_little_more),
        WITH(setup, methods_and_bodies_go_out_as_given),
        WITH(setup, a_large_post_is_not_held_back),
        WITH(setup, reply_fields_are_handed_over),
        WITH(setup, redirects_are_not_followed),
        WITH(setup, localhost_names_need_no_resolver),
        WITH(setup, malformed_requests_are_refused_at_once),
        WITH(setup, prepare_adds_headers_or_refuses),
        WITH(setup, a_fresh_post_reaches_the_server_once_when_the_reply_is_lost),
        WITH(setup, a_post_on_a_reused_connection_is_repeated_by_libcurl),
        WITH(setup, a_repeat_that_cannot_connect_still_counts_as_sent),
        WITH(setup, connections_are_kept_or_closed_as_asked),
        WITH(setup, fresh_connections_do_not_pile_up),
        WITH(setup, proxies_are_not_asked_for_this_machine),
        WITH(setup, timeouts_tell_sent_from_unsent),
        WITH(setup, a_timeout_is_kept_when_a_byte_comes_just_before),
        WITH(setup, a_tls_handshake_that_hangs_is_unsent),
        WITH(setup_narrow, waiting_in_the_queue_has_a_limit_of_its_own),
        WITH(setup, a_hanging_resolver_does_not_stop_the_loop),
        WITH(setup, bad_replies_have_unknown_effect),
        WITH(setup_narrow, a_folded_first_line_harms_no_later_reply),
        WITH(setup, the_reply_cap_is_exact),
        WITH(setup, refused_connections_are_unsent),
        WITH(setup_narrow, many_requests_are_answered_in_order_by_one_handle),
        WITH(setup_narrow, what_goes_ahead_keeps_its_order_too),
        WITH(setup_narrow, silent_instances_lend_their_place),
        WITH(setup, classes_do_not_wait_for_each_other),
        WITH(setup, completions_may_send),
        WITH(setup_narrow, freeing_cancels_everything_once),
        WITH(setup, an_unused_queue_is_cancelled_too),
        WITH(setup, an_idle_client_lets_the_loop_end_and_leaves_nothing_open),
        WITH(setup_tls, tls_is_verified),
        WITH(setup_tls, tls_faults_are_told_apart_as_without),
        cmocka_unit_test(session_keys_are_never_logged),
        WITH(setup_tls, many_handshakes_leave_the_loop_responsive),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
