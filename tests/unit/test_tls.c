/* Who is spoken to over TLS: libcurl's way (AWS, instances) and ours (Redis), each against servers that must be refused
 * and two that must not. No byte of a request reaches a server that is refused. */
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/loop.h"
#include "lib/redis.h"
#include "tests/unit/raw_server.h"

#include <openssl/ssl.h>

#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

static const struct {
    const char *name;
    enum raw_tls tls;
    bool good;
} servers[] = {
    {"trusted", RAW_TLS, true},
    {"trusted, TLS 1.2", RAW_TLS_12, true},
    {"expired", RAW_TLS_EXPIRED, false},
    {"not valid yet", RAW_TLS_NOT_YET, false},
    {"another name", RAW_TLS_OTHER_NAME, false},
    {"signed by itself", RAW_TLS_UNTRUSTED, false},
    {"TLS 1.1", RAW_TLS_OLD, false},
};

struct outcome {
    int done, err;
    char why[300];
};

static void on_reply(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct outcome *o = self;
    const struct http_reply *r = result;
    o->err = r->err;
    snprintf(o->why, sizeof o->why, "%s", r->detail);
    o->done = 1;
}

static struct outcome ask_http(struct raw_server *s, const char *url)
{
    struct loop *l = loop_new();
    struct http *h = NULL;
    struct outcome o = {0};
    const struct http_options options = {.ca_file = raw_server_ca(s)};
    assert_int_equal(http_new(l, &options, &h), 0);
    const struct http_request q = {
        .class = HTTP_INSTANCE, .method = "POST", .url = url, .body = "secret", .body_len = 6, .timeout_ms = 30000};
    assert_int_equal(http_send(h, &q, (struct ticket){on_reply, &o, 0}), 0);
    loop_run_until(l, &o.done);
    http_free(h);
    loop_free(l);
    return o;
}

static void on_state(void *arg, enum redis_state state, const struct redis_server *server, int err)
{
    (void)server;
    struct outcome *o = arg;
    assert_int_equal(state, REDIS_WAITING); /* there is no Redis behind it */
    if (!o->done) o->err = err;
    o->done = 1;
}

static struct outcome ask_redis(struct raw_server *s, const char *url)
{
    struct loop *l = loop_new();
    struct redis *r = NULL;
    struct outcome o = {0};
    AUTO_SECRET struct secret *password = secret_from_string("secret");
    const struct redis_options options = {.url = url,
                                          .password = password,
                                          .ca_file = raw_server_ca(s),
                                          .command_timeout_ms = 500,
                                          .on_state = on_state,
                                          .arg = &o};
    assert_int_equal(redis_new(l, &options, &r), 0);
    loop_run_until(l, &o.done);
    snprintf(o.why, sizeof o.why, "%s", redis_reason(r));
    redis_free(r);
    loop_free(l);
    return o;
}

static void http_speaks_to_the_right_ones_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(servers); i++) {
        struct raw_server *s = raw_server_new(servers[i].tls);
        char url[100];
        snprintf(url, sizeof url, "https://localhost:%d/ok", raw_server_port(s));
        struct outcome o = ask_http(s, url);
        print_message("%s: %s %s\n", servers[i].name, err_name(o.err), o.why);
        assert_int_equal(o.err, servers[i].good ? 0 : ERR_NET_TLS);
        assert_int_equal(raw_server_hits(s, "/"), servers[i].good ? 1 : 0);
        assert_true(servers[i].good || o.why[0]);
        raw_server_free(s);
    }
}

static void redis_speaks_to_the_right_ones_only(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(servers); i++) {
        struct raw_server *s = raw_server_new(servers[i].tls);
        char url[100];
        snprintf(url, sizeof url, "rediss://localhost:%d", raw_server_port(s));
        struct outcome o = ask_redis(s, url);
        print_message("%s: %s %s\n", servers[i].name, err_name(o.err), o.why);
        if (servers[i].good)
            assert_int_not_equal(o.err, ERR_NET_TLS); /* it got as far as AUTH, which nobody answers */
        else
            assert_int_equal(o.err, ERR_NET_TLS);
        raw_server_free(s);
    }
}

/* The server that is refused for its age does speak TLS 1.1 with whoever wants to. */
static void the_old_server_works(void **state)
{
    (void)state;
    struct raw_server *s = raw_server_new(RAW_TLS_OLD);
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)raw_server_port(s)),
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    assert_int_equal(SSL_CTX_set_cipher_list(ctx, "DEFAULT:@SECLEVEL=0"), 1);
    assert_int_equal(SSL_CTX_set_min_proto_version(ctx, TLS1_VERSION), 1);
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    assert_int_equal(SSL_connect(ssl), 1);
    assert_int_equal(SSL_version(ssl), TLS1_1_VERSION);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    close(fd);
    raw_server_free(s);
}

/* Neither an environment nor a configuration file of a library turns any of it off. */
static void no_switch_turns_it_off(void **state)
{
    (void)state;
    char conf[] = "/tmp/keyroll-test-openssl.XXXXXX", keys[] = "/tmp/keyroll-test-keylog-XXXXXX",
         home[] = "/tmp/keyroll-test-home-XXXXXX", curlrc[64];
    int fd = mkstemp(conf), log = mkstemp(keys);
    assert_true(fd >= 0 && log >= 0 && mkdtemp(home));
    close(fd);
    close(log);
    unlink(keys); /* not even made */
    snprintf(curlrc, sizeof curlrc, "%s/.curlrc", home);
    FILE *f = fopen(curlrc, "w");
    assert_true(f && fputs("insecure\n", f) >= 0 && fclose(f) == 0);
    f = fopen(conf, "w");
    assert_true(f &&
                fputs("openssl_conf = a\n[a]\nssl_conf = b\n[b]\nsystem_default = c\n[c]\nMinProtocol = "
                      "TLSv1\nVerifyMode = Accept\nCipherString = DEFAULT:@SECLEVEL=0\n",
                      f) >= 0 &&
                fclose(f) == 0);
    setenv("OPENSSL_CONF", conf, 1);
    setenv("HOME", home, 1);
    setenv("CURL_HOME", home, 1);
    setenv("CURL_INSECURE", "1", 1);
    setenv("SSLKEYLOGFILE", keys, 1);
    setenv("SSL_NO_VERIFY", "1", 1);
    http_speaks_to_the_right_ones_only(NULL);
    setenv("SSLKEYLOGFILE", keys, 1); /* http_new takes it out of the environment */
    redis_speaks_to_the_right_ones_only(NULL);
    assert_int_not_equal(access(keys, F_OK), 0);
    unlink(conf);
    unlink(curlrc);
    rmdir(home);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(the_old_server_works),
                                       cmocka_unit_test(http_speaks_to_the_right_ones_only),
                                       cmocka_unit_test(redis_speaks_to_the_right_ones_only)};
    const struct CMUnitTest loose[] = {
        cmocka_unit_test(no_switch_turns_it_off)}; /* a process of its own: OpenSSL reads its file once */
    (void)argv;
    return argc > 1 ? cmocka_run_group_tests(loose, NULL, NULL) : cmocka_run_group_tests(tests, NULL, NULL);
}
