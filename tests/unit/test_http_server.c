/* The server for probes and metrics: plain requests, refused methods, hostile bytes, limits, clean end. */
#include "lib/http_server.h"

#include "lib/err.h"
#include "lib/http.h"
#include "lib/loop.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
    struct loop *l;
    struct http *h;
    struct http_server *s;
    struct loop_timer *timer;
    int calls, done, status, err, elapsed;
    char body[128], type[64];
    size_t body_len;
};

static int count_descriptors(void)
{
    int n = 0;
    DIR *d = opendir("/proc/self/fd");
    assert_non_null(d);
    while (readdir(d)) n++;
    closedir(d);
    return n;
}

static int answer(void *arg, const struct http_server_request *req, struct buf *body, const char **ret_content_type)
{
    struct fixture *f = arg;
    f->calls++;
    if (strcmp(req->path, "/huge") == 0)
        while (buf_adds(body, "0123456789abcdef0123456789abcdef") == 0) {
        }
    if (strcmp(req->path, "/json") == 0) *ret_content_type = "application/json";
    (void)buf_addf(body, "%s %s\n", req->method, req->path); /* sticky */
    return strcmp(req->path, "/readyz") == 0 ? 503 : 200;
}

static void elapsed(void *arg)
{
    ((struct fixture *)arg)->elapsed = 1;
}

static int setup(void **state)
{
    static struct fixture f;
    f = (struct fixture){.l = loop_new()};
    f.timer = loop_timer_new(f.l, elapsed, &f);
    assert_int_equal(http_new(f.l, &(struct http_options){0}, &f.h), 0);
    assert_int_equal(http_server_new(f.l, "127.0.0.1:0", answer, &f, &f.s), 0);
    *state = &f;
    return 0;
}

static int teardown(void **state)
{
    struct fixture *f = *state;
    http_free(f->h);
    http_server_free(f->s);
    loop_timer_free(f->timer);
    loop_free(f->l);
    return 0;
}

static void on_reply(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct fixture *f = self;
    const struct http_reply *r = result;
    f->err = r->err;
    f->status = r->status;
    f->body_len = r->body_len;
    (void)snprintf(f->body, sizeof f->body, "%s", r->body);
    (void)snprintf(f->type, sizeof f->type, "%s", r->content_type);
    f->done = 1;
}

static void ask(struct fixture *f, const char *method, const char *path, const char *body)
{
    char url[128];
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%d%s", http_server_port(f->s), path);
    const struct http_request req = {
        .class = HTTP_OTHER,
        .method = method,
        .url = url,
        .timeout_ms = 5000,
        .body = body,
        .body_len = body ? strlen(body) : 0,
    };
    f->done = 0;
    assert_int_equal(http_send(f->h, &req, (struct ticket){on_reply, f, 1}), 0);
    loop_run_until(f->l, &f->done);
}

static void turn_for(struct fixture *f, int ms)
{
    f->elapsed = 0;
    loop_timer_start(f->timer, ms);
    loop_run_until(f->l, &f->elapsed);
}

static int dial(const struct fixture *f)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)http_server_port(f->s))};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    return fd;
}

static void plain_requests_are_answered(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET", "/healthz?x=1", NULL);
    assert_int_equal(f->err, 0);
    assert_int_equal(f->status, 200);
    assert_string_equal(f->body, "GET /healthz\n");
    assert_string_equal(f->type, "text/plain; charset=utf-8");
    ask(f, "GET", "/readyz", NULL);
    assert_int_equal(f->status, 503);
    ask(f, "GET", "/json", NULL);
    assert_string_equal(f->type, "application/json");
    ask(f, "HEAD", "/healthz", NULL);
    assert_int_equal(f->status, 200);
    assert_int_equal(f->body_len, 0);
    assert_int_equal(f->calls, 4);
}

static void other_methods_and_bodies_are_refused(void **state)
{
    struct fixture *f = *state;
    ask(f, "POST", "/healthz", "x");
    assert_int_equal(f->status, 405);
    ask(f, "DELETE", "/healthz", NULL);
    assert_int_equal(f->status, 405);
    ask(f, "GET", "/healthz", "body");
    assert_int_equal(f->status, 413);
    assert_int_equal(f->calls, 0);
}

static void a_reply_over_the_cap_is_an_error_not_a_cut(void **state)
{
    struct fixture *f = *state;
    ask(f, "GET", "/huge", NULL);
    assert_int_equal(f->status, 500);
}

static void hostile_bytes_do_no_harm(void **state)
{
    static const char *const lines[] = {
        "\r\n\r\n\r\n",
        "GET\r\n\r\n",
        "\x16\x03\x01\x02garbage",
        "GET / HTTP/9.9\r\n\r\n",
        "GET /%00%ff HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
        "GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    };
    struct fixture *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(lines); i++) {
        int fd = dial(f);
        assert_true(send(fd, lines[i], strlen(lines[i]), MSG_NOSIGNAL) > 0);
        turn_for(f, 5);
        close(fd);
    }
    int fd = dial(f);
    static char big[64 * 1024]; /* a head larger than a connection's memory */
    memset(big, 'a', sizeof big);
    memcpy(big, "GET /", 5);
    ssize_t sent = send(fd, big, sizeof big, MSG_NOSIGNAL | MSG_DONTWAIT);
    assert_true(sent > 0);
    turn_for(f, 20);
    close(fd);
    ask(f, "GET", "/healthz", NULL);
    assert_int_equal(f->status, 200);
}

static void silent_clients_do_not_keep_others_out_of_the_loop(void **state)
{
    struct fixture *f = *state;
    int fds[80]; /* more than the limit of connections */
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) {
        fds[i] = dial(f);
        if (i % 16 == 15) turn_for(f, 5); /* the backlog is as long as the limit */
    }
    for (size_t i = 0; i < ARRAY_LEN(fds); i++) close(fds[i]);
    turn_for(f, 20);
    ask(f, "GET", "/healthz", NULL);
    assert_int_equal(f->status, 200);
    struct loop_stats st;
    loop_stats(f->l, &st);
    assert_true(st.turns < 2000); /* it slept while they were silent */
}

static void addresses_are_checked(void **state)
{
    static const char *const bad[] = {"",
                                      ":",
                                      "127.0.0.1",
                                      "127.0.0.1:",
                                      ":80",
                                      "::1:80",
                                      "127.0.0.1:99999",
                                      "127.0.0.1:-1",
                                      "127.0.0.1:http",
                                      "no.such.invalid:80",
                                      "[::1:80"};
    struct fixture *f = *state;
    struct http_server *s = NULL;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(http_server_new(f->l, bad[i], answer, f, &s), ERR_INVALID);
        assert_null(s);
    }
    char taken[64];
    (void)snprintf(taken, sizeof taken, "127.0.0.1:%d", http_server_port(f->s));
    assert_int_equal(http_server_new(f->l, taken, answer, f, &s), ERR_IO);
    int rc = http_server_new(f->l, "[::1]:0", answer, f, &s);
    if (rc == 0) assert_true(http_server_port(s) > 0);
    http_server_free(s);
}

static void nothing_is_left_open(void **state)
{
    setup(state); /* once before counting: libraries open files on first use */
    ask(*state, "GET", "/healthz", NULL);
    teardown(state);
    int before = count_descriptors();
    setup(state);
    ask(*state, "GET", "/healthz", NULL);
    teardown(state);
    assert_int_equal(count_descriptors(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(plain_requests_are_answered, setup, teardown),
        cmocka_unit_test_setup_teardown(other_methods_and_bodies_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(a_reply_over_the_cap_is_an_error_not_a_cut, setup, teardown),
        cmocka_unit_test_setup_teardown(hostile_bytes_do_no_harm, setup, teardown),
        cmocka_unit_test_setup_teardown(silent_clients_do_not_keep_others_out_of_the_loop, setup, teardown),
        cmocka_unit_test_setup_teardown(addresses_are_checked, setup, teardown),
        cmocka_unit_test(nothing_is_left_open),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
