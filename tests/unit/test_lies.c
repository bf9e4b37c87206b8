/* Replies that lie, through the whole of the real way in: libcurl, the AWS edge with its signatures, the Synergist edge
 * with a profile, the credentials of a container. A server on loopback says the same nonsense to each call: every call
 * ends, in an error whose class says what it means (what may have had an effect is UNKNOWN, never "it did not happen"),
 * with little memory, and what a redirect names never hears of us. */
#include "lib/aws_call.h"
#include "lib/aws_container.h"
#include "lib/aws_creds.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/loop.h"
#include "lib/profile.h"
#include "lib/synergist.h"
#include "tests/unit/raw_server.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define KEY        "AKIAIOSFODNN7EXAMPLE"
#define SECRET     "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define TIMEOUT_MS 20000 /* a reply that never ends is refused for its size, long before */
#define SHORT_MS   700   /* for the one that drips */
#define GROWTH_KB  16384 /* a reply is at most a mebibyte, held twice while its buffer grows */

/* ---- the lies ---- */

static char filler[65536], deep_json[300000], deep_xml[300000], bomb[2000], redirects[5][300], foreign[400];

/* FILL: .fill and its length. */
#define FILL(s) .fill = s, .fill_len = sizeof(s) - 1
/* LASTS: nothing of it is a reply yet, so only the time limit ends it. DRIPS: that is the one way it can end. */
/* SAYS_YES: the instance's documented success, bytes that are no UTF-8 included (synergist_reply.c); it proves nothing.
 */
enum effect { DRIPS = 1, LASTS = 2, SAYS_YES = 4 };
struct lie {
    const char *name;
    struct raw_answer answer;
    unsigned is;
};
#define HEAD(type) "HTTP/1.1 200 OK\r\nContent-Type: " type "\r\nConnection: close\r\n"
#define XML        HEAD("text/xml") "\r\n"
#define JSON       HEAD("application/json") "\r\n"
#define BYTES(s)                                                                                                       \
    {                                                                                                                  \
        .head = s, .head_len = sizeof(s) - 1                                                                           \
    }

static struct lie lies[] = {
    {"hundred megabytes",
     {.head = HEAD("text/xml") "Content-Length: 104857600\r\n\r\n",
      .fill = filler,
      .fill_len = sizeof filler,
      .fill_total = 104857600},
     0},
    {"endless body", {.head = XML, .fill = filler, .fill_len = sizeof filler, .fill_total = -1}, 0},
    {"endless list",
     {.head = XML "<ListAccessKeysResponse><ListAccessKeysResult><AccessKeyMetadata>",
      FILL("<member><UserName>u</UserName></member>"),
      .fill_total = -1},
     0},
    {"endless array",
     {.head = JSON "{\"success\":true,\"data\":[", .fill = "{\"a\":1},", .fill_len = 8, .fill_total = -1},
     0},
    {"endless chunks",
     {.head = HEAD("text/xml") "Transfer-Encoding: chunked\r\n\r\n",
      FILL("10\r\n0123456789abcdef\r\n"),
      .fill_total = -1},
     0},
    {"endless chunk extension",
     {.head = HEAD("text/xml") "Transfer-Encoding: chunked\r\n\r\n1;",
      .fill = filler,
      .fill_len = sizeof filler,
      .fill_total = -1},
     LASTS},
    {"endless trailer",
     {.head = HEAD("text/xml") "Transfer-Encoding: chunked\r\n\r\n0\r\n", FILL("X-A: b\r\n"), .fill_total = -1},
     LASTS},
    {"endless head",
     {.head = "HTTP/1.1 200 OK\r\n", FILL("X-Filler: aaaaaaaaaaaaaaaaaaaaaaaa\r\n"), .fill_total = -1},
     0},
    {"endless head line",
     {.head = "HTTP/1.1 200 OK\r\nX-A: ", .fill = filler, .fill_len = sizeof filler, .fill_total = -1},
     0},
    {"endless interim answers",
     {.head = "", FILL("HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n"), .fill_total = -1},
     LASTS},
    {"one byte a second", {.head = XML, FILL("x"), .fill_total = -1, .gap_ms = 1000}, DRIPS | LASTS},
    {"bad chunk size", BYTES(HEAD("text/xml") "Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n"), 0},
    {"huge chunk size",
     BYTES(HEAD("text/xml") "Transfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\nabc\r\n0\r\n\r\n"), 0},
    {"negative chunk size", BYTES(HEAD("text/xml") "Transfer-Encoding: chunked\r\n\r\n-5\r\nabc\r\n0\r\n\r\n"), 0},
    {"two lengths", BYTES("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 200\r\n\r\nok"), 0},
    {"gzip bomb",
     {.head = HEAD("text/xml") "Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08",
      .fill = filler,
      .fill_len = sizeof filler,
      .fill_total = -1},
     0},
    {"gzip as transfer",
     {.head = HEAD("text/xml") "Transfer-Encoding: gzip, chunked\r\n\r\n4\r\n\x1f\x8b\x08\x01\r\n",
      FILL("10\r\n0123456789abcdef\r\n"),
      .fill_total = -1},
     0},
    {"brotli", {.head = HEAD("text/xml") "Content-Encoding: br\r\n\r\nabc", 0}, 0},
    {"login page",
     BYTES(
         HEAD("text/html") "\r\n<!DOCTYPE html><html><body><form action=/login><input name=user></form></body></html>"),
     0},
    {"plain text", BYTES(HEAD("text/plain") "\r\nOK"), 0},
    {"empty", BYTES(HEAD("text/xml") "Content-Length: 0\r\n\r\n"), 0},
    {"no content", BYTES("HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"), 0},
    {"only blanks", BYTES(XML "  \r\n\t "), 0},
    {"only a byte order mark", BYTES(XML "\xef\xbb\xbf"), 0},
    {"truncated XML",
     BYTES(XML "<?xml "
               "version=\"1.0\"?><CreateAccessKeyResponse><CreateAccessKeyResult><AccessKey><UserName>u</"
               "UserName><AccessKeyId>" KEY "</AccessKeyId><SecretAccessKey>wJal"),
     0},
    {"truncated JSON", BYTES(JSON "{\"success\":true,\"data\":[{\"systemparameters_iamaccesskey\":\"AKI"), 0},
    {"two documents", BYTES(JSON "{\"success\":true}{\"success\":true}"), 0},
    {"somebody else's XML", BYTES(XML "<Success/>"), 0},
    {"entity bomb", {.head = bomb}, 0},
    {"entity from outside", {.head = foreign}, 0},
    {"deep XML", {.head = deep_xml}, 0},
    {"deep JSON", {.head = deep_json}, 0},
    {"invalid UTF-8 in XML",
     BYTES(XML "<ListAccessKeysResponse><ListAccessKeysResult><AccessKeyMetadata><member><UserName>\xff\xfe\xc3(</"
               "UserName></member></AccessKeyMetadata></ListAccessKeysResult></ListAccessKeysResponse>"),
     0},
    {"invalid UTF-8 in JSON",
     BYTES(JSON "{\"success\":true,\"data\":[{\"systemparameters_iamaccesskey\":\"\xff\xc3(\"}]}"), SAYS_YES},
    {"NUL bytes in XML",
     BYTES(XML "<ListAccessKeysResponse>\0<ListAccessKeysResult>\0\0</ListAccessKeysResult></ListAccessKeysResponse>"),
     0},
    {"NUL bytes in JSON", BYTES(JSON "{\"success\":true,\0\"data\":[]}"), 0},
    {"NUL as a character",
     BYTES(JSON "{\"success\":true,\"data\":[{\"systemparameters_iamaccesskey\":\"AKIA\\u0000\"}]}"), 0},
    {"NUL bytes in the head", BYTES("HTTP/1.1 200 OK\r\nX-A: \0b\r\nContent-Length: 0\r\n\r\n"), 0},
    {"status 000", BYTES("HTTP/1.1 000 Nothing\r\nContent-Length: 0\r\n\r\n"), 0},
    {"status 999", BYTES("HTTP/1.1 999 Whatever\r\nContent-Length: 0\r\n\r\n"), 0},
    {"a proxy's refusal",
     BYTES("HTTP/1.1 403 Forbidden\r\nContent-Type: text/html\r\nConnection: close\r\n\r\n<h1>Blocked</h1>"), 0},
    {"a proxy asks for a login",
     BYTES("HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic realm=x\r\nContent-Length: "
           "0\r\n\r\n"),
     0},
    {"a server asks for a login",
     BYTES("HTTP/1.1 401 Unauthorized\r\nWWW-Authenticate: Negotiate\r\nWWW-Authenticate: Basic "
           "realm=x\r\nContent-Length: 0\r\n\r\n"),
     0},
    {"redirect 301", {.head = redirects[0]}, 0},
    {"redirect 302", {.head = redirects[1]}, 0},
    {"redirect 303", {.head = redirects[2]}, 0},
    {"redirect 307", {.head = redirects[3]}, 0},
    {"redirect 308", {.head = redirects[4]}, 0},
};

static void nest(char *out, size_t size, const char *head, const char *item)
{
    size_t n = strlen(head), step = strlen(item);
    memcpy(out, head, n);
    for (; n + step < size; n += step) memcpy(out + n, item, step);
    out[n] = '\0';
}

static void make_lies(int other_port)
{
    static const int codes[] = {301, 302, 303, 307, 308};
    nest(deep_json, sizeof deep_json, JSON, "[");
    nest(deep_xml, sizeof deep_xml, XML, "<a>");
    memset(filler, 'x', sizeof filler);
    for (size_t i = 0; i < ARRAY_LEN(codes); i++)
        (void)snprintf(redirects[i], sizeof redirects[i],
                       "HTTP/1.1 %d Elsewhere\r\nLocation: http://127.0.0.1:%d/there\r\nRefresh: 0; "
                       "url=http://127.0.0.1:%d/there\r\nContent-Length: 0\r\n\r\n",
                       codes[i], other_port, other_port);
    (void)snprintf(foreign, sizeof foreign,
                   XML "<?xml version=\"1.0\"?><!DOCTYPE a SYSTEM \"http://127.0.0.1:%d/dtd\" [<!ENTITY e SYSTEM "
                       "\"http://127.0.0.1:%d/e\">]><Success>&e;</Success>",
                   other_port, other_port);
    size_t n = (size_t)snprintf(bomb, sizeof bomb, XML "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY e0 \"ha\">");
    for (int i = 1; i < 30; i++)
        n += (size_t)snprintf(bomb + n, sizeof bomb - n, "<!ENTITY e%d \"&e%d;&e%d;\">", i, i - 1, i - 1);
    (void)snprintf(bomb + n, sizeof bomb - n, "]><ListAccessKeysResponse>&e29;</ListAccessKeysResponse>");
}

/* ---- who is lied to ---- */

static struct {
    struct loop *l;
    struct http *http;
    struct raw_server *server, *other;
    struct aws_creds *creds, *role_creds;
    struct aws_call *aws, *role_aws;
    struct profiles *profiles;
    struct synergist *synergist;
    struct secret *secret;
    char url[100];
    int done, err;
    char message[200];
} w;

static int open_aws(struct aws_call **ret_aws, struct aws_creds **ret_creds, const char *role)
{
    const struct aws_creds_options co = {.clock = &clock_system,
                                         .rng = &rng_system,
                                         .http = w.http,
                                         .region = "eu-west-1",
                                         .sts_endpoint = w.url,
                                         .role_template = role,
                                         .session_name = "keyroll-test"};
    if (aws_creds_new(w.l, &co, ret_creds) < 0) return -1;
    const struct aws_call_options o = {.clock = &clock_system,
                                       .rng = &rng_system,
                                       .http = w.http,
                                       .creds = *ret_creds,
                                       .region = "eu-west-1",
                                       .endpoint = w.url,
                                       .s3_path_style = true,
                                       .role_template = role,
                                       .session_name = "keyroll-test"};
    return aws_call_new(w.l, &o, ret_aws) < 0 ? -1 : 0;
}

static void close_role(void)
{
    aws_call_free(w.role_aws);
    aws_creds_free(w.role_creds);
    w.role_aws = NULL;
    w.role_creds = NULL;
}

static int setup(void **state)
{
    (void)state;
    w.l = loop_new();
    w.server = raw_server_new(0);
    w.other = raw_server_new(0);
    make_lies(raw_server_port(w.other));
    (void)snprintf(w.url, sizeof w.url, "http://127.0.0.1:%d", raw_server_port(w.server));
    char container[120];
    (void)snprintf(container, sizeof container, "%s/credentials", w.url);
    setenv("AWS_ACCESS_KEY_ID", "AKIAWORKERWORKER0001", 1);
    setenv("AWS_SECRET_ACCESS_KEY", "worker-secret", 1);
    setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
    setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
    setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", container, 1);
    setenv("KEYROLL_TEST_LOGIN", "api:pass-word-1", 1);
    w.secret = secret_from_string(SECRET);
    if (!w.l || http_new(w.l, &(struct http_options){0}, &w.http) < 0 || profiles_load(NULL, &w.profiles, NULL) < 0)
        return -1;
    const struct synergist_options so = {
        .clock = &clock_system, .rng = &rng_system, .http = w.http, .profiles = w.profiles};
    if (synergist_new(w.l, &so, &w.synergist) < 0) return -1;
    return open_aws(&w.aws, &w.creds, NULL);
}

static int teardown(void **state)
{
    (void)state;
    aws_call_free(w.aws);
    aws_creds_free(w.creds);
    close_role();
    synergist_free(w.synergist);
    http_free(w.http);
    profiles_free(w.profiles);
    secret_free(w.secret);
    raw_server_free(w.server);
    raw_server_free(w.other);
    loop_free(w.l);
    return secret_count() == 0 ? 0 : -1;
}

static void on_end(int err, const char *message)
{
    w.err = err;
    (void)snprintf(w.message, sizeof w.message, "%s", message);
    w.done++;
}

static void on_aws(void *self, uint64_t id, const void *result)
{
    (void)self, (void)id;
    const struct aws_result *r = result;
    on_end(r->err, r->message);
    assert_null(r->created_secret);
    assert_true(r->used == AWS_USED_UNKNOWN && (r->err || r->n_keys == 0));
}

static void on_instance(void *self, uint64_t id, const void *result)
{
    (void)self, (void)id;
    const struct instance_result *r = result;
    on_end(r->err, r->message);
    assert_int_equal(r->seen, INSTANCE_SEEN_UNKNOWN);
    assert_true(!r->err || r->proof == INSTANCE_PROOF_NONE);
}

static void on_credentials(void *arg, int err, const char *message, struct aws_identity *identity)
{
    (void)arg;
    on_end(err, message);
    assert_null(identity);
}

enum way { AWS, ROLE, INSTANCE, CONTAINER };
static const struct who {
    const char *name;
    enum way way;
    int op;
    bool mutates;
} everybody[] = {
    {"ListAccessKeys", AWS, AWS_LIST_ACCESS_KEYS, false},
    {"CreateAccessKey", AWS, AWS_CREATE_ACCESS_KEY, true},
    {"UpdateAccessKey", AWS, AWS_UPDATE_ACCESS_KEY, true},
    {"DeleteAccessKey", AWS, AWS_DELETE_ACCESS_KEY, true},
    {"GetAccessKeyLastUsed", AWS, AWS_ACCESS_KEY_LAST_USED, false},
    {"GetUser", AWS, AWS_GET_USER, false},
    {"GetCallerIdentity", AWS, AWS_CALLER_IDENTITY, false},
    {"ListObjectsV2", AWS, AWS_LIST_BUCKET, false},
    {"AssumeRole", ROLE, AWS_GET_USER, false},
    {"instance: read", INSTANCE, INSTANCE_READ_KEY, false},
    {"instance: write", INSTANCE, INSTANCE_WRITE_KEY, true},
    {"instance: test", INSTANCE, INSTANCE_TEST, false},
    {"instance: version", INSTANCE, INSTANCE_VERSION, false},
    {"container credentials", CONTAINER, 0, false},
};

static int start(const struct who *who, int64_t timeout_ms)
{
    close_role(); /* its role was refused and is left alone for a second */
    if (who->way == ROLE && open_aws(&w.role_aws, &w.role_creds, "arn:aws:iam::{account}:role/keyroll") < 0)
        return ERR_NOMEM;
    if (who->way == CONTAINER) {
        char reason[200] = "";
        return aws_container_fetch(w.http, on_credentials, NULL, reason);
    }
    if (who->way == INSTANCE) {
        const struct instance_request q = {.op = (enum instance_op)who->op,
                                           .target = {"A1", w.url, "default", "env:KEYROLL_TEST_LOGIN"},
                                           .key_id = KEY,
                                           .secret = who->mutates ? w.secret : NULL,
                                           .timeout_ms = timeout_ms};
        struct instance_port p = synergist_port(w.synergist);
        return p.call(p.self, &q, (struct ticket){on_instance, NULL, 0});
    }
    bool probe = who->op == AWS_CALLER_IDENTITY || who->op == AWS_LIST_BUCKET;
    const struct aws_request q = {.op = (enum aws_op)who->op,
                                  .account = "123456789012",
                                  .user = "u",
                                  .key_id = KEY,
                                  .status = AWS_KEY_INACTIVE,
                                  .probe_secret = probe ? w.secret : NULL,
                                  .bucket = "synergist-a1",
                                  .region = "eu-west-1",
                                  .timeout_ms = timeout_ms};
    struct aws_port p = aws_call_port(who->way == ROLE ? w.role_aws : w.aws);
    return p.call(p.self, &q, (struct ticket){on_aws, NULL, 0});
}

/* ---- memory ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define MEASURED 0 /* the sanitizers keep what is freed */
#else
#define MEASURED 1
#endif

static long status_kb(const char *name)
{
    char line[200];
    long kb = -1;
    FILE *f = fopen("/proc/self/status", "r");
    assert_non_null(f);
    while (fgets(line, sizeof line, f))
        if (strncmp(line, name, strlen(name)) == 0) kb = strtol(line + strlen(name) + 1, NULL, 10);
    (void)fclose(f);
    return kb;
}

/* The peak starts anew from what is resident now. */
static void reset_peak(void)
{
    FILE *f = fopen("/proc/self/clear_refs", "w");
    assert_non_null(f);
    assert_true(fputs("5", f) >= 0 && fclose(f) == 0);
}

/* ---- the tests ---- */

static long worst_kb;

/* The other server's requests so far do not count. */
static void lie_to(const struct lie *lie, const struct who *who)
{
    bool one_of_each =
        who->op == AWS_LIST_ACCESS_KEYS || who->op == AWS_CREATE_ACCESS_KEY || who->op == AWS_LIST_BUCKET;
    if ((lie->is & LASTS) && ((who->way != AWS && who->way != INSTANCE) || !one_of_each))
        return; /* they take their time */
    raw_server_answer(w.server, &lie->answer);
    w.done = 0;
    reset_peak();
    long before = status_kb("VmRSS");
    assert_int_equal(start(who, lie->is & LASTS ? SHORT_MS : TIMEOUT_MS), 0);
    loop_run_until(w.l, &w.done);
    long grown = status_kb("VmHWM") - before;
    if (grown > worst_kb) worst_kb = grown;

    enum err_class class = err_class(w.err);
    bool may_pass = (lie->is & SAYS_YES) && who->way == INSTANCE && w.err == 0;
    if (w.done != 1 || ((!w.err || !class) && !may_pass))
        fail_msg("%s, told to %s: it is believed (ended %d times, %s)", lie->name, who->name, w.done, err_name(w.err));
    if (MEASURED && grown > GROWTH_KB) fail_msg("%s, told to %s: %ld KiB more memory", lie->name, who->name, grown);
    if (getenv("KEYROLL_STORY"))
        print_message("%-26s %-22s %-18s %-9s %s\n", lie->name, who->name, err_name(w.err), err_class_name(class),
                      w.message);
    if (class == ERR_CLASS_FATAL)
        fail_msg("%s, told to %s: %s stops the process", lie->name, who->name, err_name(w.err));
    if ((lie->is & DRIPS) && w.err != ERR_TIMEOUT_SENT)
        fail_msg("%s, told to %s: %s", lie->name, who->name, err_name(w.err));
    /* Nothing here says that a change was not made. */
    if (who->mutates && !may_pass && class != ERR_CLASS_UNKNOWN && w.err != ERR_NET_REDIRECT &&
        w.err != ERR_INSTANCE_REFUSED && w.err != ERR_INSTANCE_LOGIN)
        fail_msg("%s, told to %s: %s, of class %s", lie->name, who->name, err_name(w.err), err_class_name(class));
    if (who->op == AWS_CREATE_ACCESS_KEY && who->way == AWS && class != ERR_CLASS_UNKNOWN)
        fail_msg("%s: a key may have been made, and it ends as %s", lie->name, err_name(w.err));
}

static void every_lie_to_everybody(void **state)
{
    (void)state;
    for (size_t l = 0; l < ARRAY_LEN(lies); l++)
        for (size_t i = 0; i < ARRAY_LEN(everybody); i++) lie_to(&lies[l], &everybody[i]);
    raw_server_answer(w.server, NULL);
    print_message("%zu lies, %zu calls each, most memory one took: %ld KiB\n", ARRAY_LEN(lies), ARRAY_LEN(everybody),
                  worst_kb);
    assert_int_equal(raw_server_connections(w.other),
                     0); /* whoever a reply names is not asked, least of all with a signature */
    assert_true(raw_server_hits(w.server, "/") >= (int)((ARRAY_LEN(lies) - 4) * ARRAY_LEN(everybody)));
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(every_lie_to_everybody)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
