/* The instance client over a fake http: what is sent in which order, what comes back, lanes, deadlines, both orders of
 * closing. */
#include "lib/synergist.h"

#include "lib/cleanup.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/loop.h"
#include "lib/profile.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h needs the four above */
#include <cmocka.h>

#define KEY    "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define URL    "https://acme.s3.amazonaws.com/a.pdf?X-Amz-Credential=" KEY "%2F20261123%2Feu-west-1%2Fs3%2Faws4_request"

/* ---- the fake http: holds requests until the test answers the oldest ---- */

#define SENT_MAX 64
struct sent {
    struct ticket t;
    enum http_class class;
    char method[8], url[512], body[4096];
    bool last, secret;
    int (*prepare)(void *, const char *const **);
    void *prepare_arg;
    int64_t timeout_ms;
    char headers[256];
};
static struct {
    struct sent q[SENT_MAX];
    size_t first, n; /* answered, sent so far */
    int refuse;      /* http_send's next result */
} http;

int http_send(struct http *h, const struct http_request *req, struct ticket t)
{
    (void)h;
    if (http.refuse) return http.refuse;
    assert_true(http.n < SENT_MAX);
    struct sent *s = &http.q[http.n++];
    *s = (struct sent){.t = t,
                       .class = req->class,
                       .last = req->last_on_connection,
                       .secret = req->body_is_secret,
                       .prepare = req->prepare,
                       .prepare_arg = req->prepare_arg,
                       .timeout_ms = req->timeout_ms};
    (void)snprintf(s->method, sizeof(s->method), "%s", req->method);
    (void)snprintf(s->url, sizeof(s->url), "%s", req->url);
    (void)snprintf(s->body, sizeof(s->body), "%.*s", (int)req->body_len, req->body ? (const char *)req->body : "");
    assert_null(strstr(req->url, SECRET));
    return 0;
}

static size_t waiting(void)
{
    return http.n - http.first;
}

static const struct sent *oldest(void)
{
    assert_true(waiting() > 0);
    return &http.q[http.first];
}

static void answer_with(struct http_reply reply)
{
    assert_true(waiting() > 0);
    struct sent *s = &http.q[http.first++];
    const char *const *headers = NULL;
    int rc = s->prepare(s->prepare_arg, &headers);
    if (rc < 0) {
        reply = (struct http_reply){.err = rc, .body = "", .detail = "", .retry_after_ms = -1};
    } else {
        for (; *headers; headers++) {
            strcat(s->headers, *headers);
            strcat(s->headers, "\n");
        }
    }
    ticket_complete(s->t, &reply);
}

static void answer(int status, const char *body)
{
    answer_with((struct http_reply){.status = status,
                                    .body = body,
                                    .body_len = strlen(body),
                                    .content_type = "",
                                    .location = "",
                                    .retry_after_ms = -1,
                                    .detail = "",
                                    .started_mono_ms = 1});
}

/* ---- the fixture ---- */

#define RESULTS_MAX 64
struct fixture {
    struct loop *l;
    struct profiles *set;
    struct synergist *s;
    struct instance_port port;
    struct secret *secret;
    struct instance_result results[RESULTS_MAX];
    uint64_t ids[RESULTS_MAX];
    size_t n;
    bool in_call;
    struct synergist_options o;
};
static int64_t now_mono_ms;

static int64_t fake_now(void *self)
{
    (void)self;
    return now_mono_ms;
}
static const struct clock fake_clock = {.wall_ms = fake_now, .mono_ms = fake_now};

static int set_up(void **state)
{
    static struct fixture f;
    f = (struct fixture){.l = loop_new()};
    memset(&http, 0, sizeof(http));
    now_mono_ms = 5000000;
    (void)setenv("KEYROLL_TEST_LOGIN", "api:pass-word-1", 1);
    char *reason = NULL;
    if (!f.l || profiles_load(NULL, &f.set, &reason) < 0) return -1;
    f.o = (struct synergist_options){
        .clock = &fake_clock, .rng = &rng_system, .http = (struct http *)&http, .profiles = f.set};
    if (synergist_new(f.l, &f.o, &f.s) < 0) return -1;
    f.port = synergist_port(f.s);
    f.secret = secret_from_string(SECRET);
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    synergist_free(f->s);
    profiles_free(f->set);
    secret_free(f->secret);
    loop_free(f->l);
    return secret_count() == 0 ? 0 : -1;
}

static void on_done(void *self, uint64_t id, const void *result)
{
    struct fixture *f = self;
    assert_false(f->in_call); /* never before the starter returned */
    assert_true(f->n < RESULTS_MAX);
    f->ids[f->n] = id;
    f->results[f->n++] = *(const struct instance_result *)result;
}

#define TRACE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static int call_as(struct fixture *f, struct instance_request req, uint64_t id)
{
    f->in_call = true;
    int rc = f->port.call(f->port.self, &req, (struct ticket){.done = on_done, .self = f, .id = id});
    f->in_call = false;
    return rc;
}

static struct instance_request request(const struct fixture *f, enum instance_op op, const char *profile)
{
    struct instance_request r = {
        .traceparent = TRACE,
        .op = op,
        .target = {.licence = "A1",
                   .url = "https://host/A1",
                   .profile = profile,
                   .credentials = "env:KEYROLL_TEST_LOGIN"},
    };
    if (op == INSTANCE_WRITE_KEY) {
        r.key_id = KEY;
        r.secret = f->secret;
    }
    return r;
}

static void call(struct fixture *f, enum instance_op op, const char *profile)
{
    assert_int_equal(call_as(f, request(f, op, profile), 7), 0);
}

/* The one result so far, taken. */
static struct instance_result result(struct fixture *f)
{
    (void)loop_run(f->l); /* deferred completions */
    assert_int_equal(f->n, 1);
    f->n = 0;
    assert_int_equal(f->ids[0], 7);
    return f->results[0];
}

static void expect_sent(const char *url_end, const char *body_part)
{
    const struct sent *s = oldest();
    size_t n = strlen(s->url), m = strlen(url_end);
    if (n < m || strcmp(s->url + n - m, url_end) != 0) print_error("%s\n", s->url);
    assert_true(n >= m && strcmp(s->url + n - m, url_end) == 0);
    if (!strstr(s->body, body_part)) print_error("%s\n", s->body);
    assert_non_null(strstr(s->body, body_part));
}

#define OK(data)       "{\"success\":true,\"errorcode\":0,\"errormessage\":\"\",\"data\":[" data "]}"
#define SHOWS(id)      OK("{\"SystemParameters_IAMAccessKey\":\"" id "\",\"systemRecordVersionNumber\":64}")
#define ERROR(n, text) "<Responses><Error ErrorID=\"" n "\"><ErrorText>" text "</ErrorText></Error></Responses>"
#define ATTACHMENT     OK("{\"attachmentID\":42,\"attachmentS3UrlGet\":\"" URL "\"}")
#define NO_ATTACHMENT  OK("{\"attachmentID\":42,\"attachmentS3UrlGet\":\"\"}")

/* ---- writing ---- */

static void write_plain(void **state)
{
    struct fixture *f = *state;
    call(f, INSTANCE_WRITE_KEY, "default");
    expect_sent("https://host/A1/jsonapi/system.json", "\"systemparameters_iamsecretkey\":\"" SECRET "\"");
    assert_string_equal(oldest()->method, "POST");
    assert_int_equal(oldest()->class, HTTP_INSTANCE);
    assert_true(oldest()->secret && !oldest()->last);
    assert_int_equal(oldest()->timeout_ms, 10000);
    assert_non_null(strstr(oldest()->body, "name=\"password\"\r\n\r\npass-word-1\r\n"));
    answer(200, OK("{\"uuid\":\"0\"}"));
    assert_non_null(strstr(http.q[0].headers, "Content-Type: multipart/form-data; boundary="));
    assert_non_null(strstr(http.q[0].headers, "\ntraceparent: " TRACE "\n"));
    struct instance_result r = result(f);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.http_status, 200);
    assert_int_equal(r.seen, INSTANCE_SEEN_UNKNOWN); /* a write is no proof */
    assert_int_equal(r.proof, INSTANCE_PROOF_NONE);
    assert_int_equal(r.retry_after_ms, -1);
    assert_int_equal(waiting(), 0); /* nothing more goes out */
}

static void write_outcomes(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *body;
        int err;
        const char *code;
    } cases[] = {
        {404, ERROR("404002", "invalid credentials supplied"), ERR_INSTANCE_LOGIN, "404002"},
        {404, ERROR("404500", "no permission"), ERR_INSTANCE_REFUSED, "404500"},
        {404, "<html>nothing here</html>", ERR_INSTANCE_FAILURE, ""},
        {503, "<html>", ERR_INSTANCE_FAILURE, ""},
        {200, "", ERR_INSTANCE_FAILURE, ""},
        {302, "", ERR_NET_REDIRECT, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        call(f, INSTANCE_WRITE_KEY, "default");
        answer(cases[i].status, cases[i].body);
        struct instance_result r = result(f);
        assert_int_equal(r.err, cases[i].err);
        assert_string_equal(r.code, cases[i].code);
        assert_int_equal(r.retry_after_ms, r.err == ERR_INSTANCE_FAILURE ? 10000 : -1);
    }
    call(f, INSTANCE_WRITE_KEY, "default");
    answer_with((struct http_reply){
        .status = 301, .body = "", .location = "https://other/A1", .detail = "", .retry_after_ms = -1});
    assert_string_equal(result(f).message, "redirected to https://other/A1: correct the instance's address");
    static const int net[] = {ERR_TIMEOUT_SENT, ERR_NET_LOST, ERR_NET_CONNECT, ERR_NET_TLS, ERR_NET_BAD_REPLY};
    for (size_t i = 0; i < ARRAY_LEN(net); i++) {
        call(f, INSTANCE_WRITE_KEY, "default");
        answer_with((struct http_reply){.err = net[i], .body = "", .detail = "what curl said", .retry_after_ms = -1});
        struct instance_result r = result(f);
        assert_int_equal(r.err, net[i]);
        assert_string_equal(r.message, "what curl said");
    }
}

static void no_secret_in_messages(void **state)
{
    struct fixture *f = *state;
    call(f, INSTANCE_WRITE_KEY, "default");
    answer(404, ERROR("404777", "cannot store " SECRET " in the field"));
    struct instance_result r = result(f);
    assert_string_equal(r.message, "(withheld: the reply repeats what was sent)");
    call(f, INSTANCE_WRITE_KEY, "default");
    answer(404, ERROR("404002", "user api with pass-word-1"));
    r = result(f);
    assert_null(strstr(r.message, "word-1"));
}

static void write_with_identifier_and_version(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "{\"name\":\"own\",\"write\":{\"area\":\"system\",\"key_id_field\":\"a\",\"secret_field\":\"b\","
        "\"identifier\":{\"field\":\"uuid\",\"from\":\"version\"},"
        "\"record_version_field\":\"systemRecordVersionNumber\"},"
        "\"read_back\":{\"area\":\"system\",\"model\":\"systemdetails\",\"field\":\"a\"},"
        "\"errors\":{\"mismatch\":[\"404901\"]},\"retry\":{\"busy_ms\":1234}}";
    char *reason = NULL;
    assert_int_equal(profiles_add(f->set, text, strlen(text), "own", &reason), 0);
    call(f, INSTANCE_WRITE_KEY, "own");
    expect_sent("/system.json", "\r\n\r\nversion\r\n");
    assert_null(strstr(oldest()->body, "input"));
    answer(200, OK("{\"uuid\":\"00AA\"}"));
    expect_sent("/system.json", "systemdetails");
    answer(200, SHOWS(""));
    expect_sent("/system.json", "{\"data\":[{\"uuid\":\"00AA\",\"systemRecordVersionNumber\":64,\"a\":\"" KEY
                                "\",\"b\":\"" SECRET "\"}]}");
    answer(404, ERROR("404901", "record was changed"));
    struct instance_result r = result(f);
    assert_int_equal(r.err, ERR_BUSY);
    assert_int_equal(r.retry_after_ms, 1234);
    call(f, INSTANCE_WRITE_KEY, "own"); /* no identifier to be had: nothing is written */
    answer(200, OK("{}"));
    assert_int_equal(result(f).err, ERR_INSTANCE_UNSUPPORTED);
    assert_int_equal(waiting(), 0);
}

static void refused_at_once(void **state)
{
    struct fixture *f = *state;
    struct instance_request good = request(f, INSTANCE_WRITE_KEY, "default"), r;
    AUTO_SECRET struct secret *empty = secret_new("", 0);
    r = good, r.key_id = NULL;
    assert_int_equal(call_as(f, r, 1), ERR_INVALID);
    r = good, r.key_id = "";
    assert_int_equal(call_as(f, r, 1), ERR_INVALID);
    r = good, r.key_id = "not an id, really";
    assert_int_equal(call_as(f, r, 1), ERR_INVALID);
    r = good, r.secret = NULL;
    assert_int_equal(call_as(f, r, 1), ERR_INVALID);
    r = good, r.secret = empty;
    assert_int_equal(call_as(f, r, 1), ERR_INVALID);
    r = good, r.target.profile = "nosuch";
    assert_int_equal(call_as(f, r, 1), ERR_INVALID);
    r = good, r.target.url = "";
    assert_int_equal(call_as(f, r, 1), ERR_INVALID);
    r = good, r.target.credentials = NULL;
    assert_int_equal(call_as(f, r, 1), ERR_INVALID);
    r = good, r.op = INSTANCE_OPS;
    assert_int_equal(call_as(f, r, 1), ERR_INVALID);
    (void)loop_run(f->l);
    assert_int_equal(f->n, 0);
    assert_int_equal(http.n, 0);
}

static void refused_by_ticket(void **state)
{
    struct fixture *f = *state;
    struct instance_request r = request(f, INSTANCE_WRITE_KEY, "assisted");
    assert_int_equal(call_as(f, r, 7), 0);
    assert_int_equal(result(f).err, ERR_INSTANCE_UNSUPPORTED);
    r = request(f, INSTANCE_WRITE_KEY, "default");
    r.target.url = "http://host.example/A1";
    assert_int_equal(call_as(f, r, 7), 0);
    struct instance_result got = result(f);
    assert_int_equal(got.err, ERR_INVALID);
    assert_non_null(strstr(got.message, "https://"));
    r = request(f, INSTANCE_VERSION, "default");
    r.target.credentials = "env:KEYROLL_TEST_NOT_THERE";
    assert_int_equal(call_as(f, r, 7), 0);
    got = result(f);
    assert_int_equal(got.err, ERR_NOT_FOUND);
    assert_non_null(strstr(got.message, "KEYROLL_TEST_NOT_THERE"));
    r.target.credentials = "nonsense";
    assert_int_equal(call_as(f, r, 7), 0);
    assert_int_equal(result(f).err, ERR_INVALID);
    http.refuse = ERR_NOMEM;
    call(f, INSTANCE_VERSION, "default");
    assert_int_equal(result(f).err, ERR_NOMEM);
    assert_int_equal(http.n, 0);
}

/* ---- reading ---- */

static void read_back_answers(void **state)
{
    struct fixture *f = *state;
    call(f, INSTANCE_READ_KEY, "default");
    expect_sent("/A1/jsonapi/system.json", "name=\"modelstructure\"\r\n\r\nsystemdetails\r\n");
    assert_null(strstr(oldest()->body, "action"));
    answer(200, SHOWS(" " KEY "\\n"));
    struct instance_result r = result(f);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.seen, INSTANCE_SEEN_ID);
    assert_int_equal(r.proof, INSTANCE_PROOF_READ_BACK);
    assert_string_equal(r.key_seen, KEY);
    call(f, INSTANCE_READ_KEY, "default");
    answer(200, SHOWS(""));
    r = result(f);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.seen, INSTANCE_SEEN_NONE);
    assert_int_equal(r.proof, INSTANCE_PROOF_READ_BACK);
    assert_int_equal(waiting(), 0);
}

/* What does not show an id goes on to the presigned URL. */
static void read_falls_back(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *body;
    } cases[] = {
        {404, ERROR("404500", "invalid action ")},
        {404, ERROR("404004", "request not recognised")},
        {404, "<html>not here</html>"},
        {404, ""},
        {404, ERROR("404777", "not permitted")},
        {200, OK("{\"uuid\":\"1\"}")},
        {200, SHOWS("********")},
        {200, SHOWS(SECRET)},
        {200, OK("{\"systemparameters_iamaccesskey\":null}")},
        {200, OK("")},
        {200, OK("{\"systemparameters_iamaccesskey\":\"" KEY "\"},{}")},
        {200, OK("{\"systemparameters_iamaccesskey\":\"" KEY "\",\"SYSTEMPARAMETERS_iamaccesskey\":\"x\"}")},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        call(f, INSTANCE_READ_KEY, "default");
        answer(cases[i].status, cases[i].body);
        expect_sent("/A1/jsonapi/attachments.json", "name=\"rows\"\r\n\r\n1\r\n");
        answer(200, ATTACHMENT);
        struct instance_result r = result(f);
        assert_int_equal(r.err, 0);
        assert_int_equal(r.seen, INSTANCE_SEEN_ID);
        assert_int_equal(r.proof, INSTANCE_PROOF_PRESIGNED);
        assert_string_equal(r.key_seen, KEY);
    }
    assert_int_equal(waiting(), 0);
}

static void read_does_not_fall_back(void **state)
{
    struct fixture *f = *state;
    call(f, INSTANCE_READ_KEY, "default");
    answer(404, ERROR("404003", "account disabled"));
    assert_int_equal(result(f).err, ERR_INSTANCE_LOGIN); /* each try may lock the account */
    call(f, INSTANCE_READ_KEY, "default");
    answer(503, "");
    assert_int_equal(result(f).err, ERR_INSTANCE_FAILURE);
    call(f, INSTANCE_READ_KEY, "default");
    answer_with((struct http_reply){.err = ERR_NET_CONNECT, .body = "", .detail = "", .retry_after_ms = -1});
    assert_int_equal(result(f).err, ERR_NET_CONNECT);
    assert_int_equal(waiting(), 0);
}

static void read_presigned(void **state)
{
    struct fixture *f = *state;
    call(f, INSTANCE_READ_KEY, "no-readback");
    expect_sent("/attachments.json", "rows");
    answer(200, NO_ATTACHMENT);
    expect_sent("/attachments.json",
                "name=\"attachmentid\"\r\n\r\n42\r\n"); /* the list may hide it, the details may show it */
    assert_null(strstr(oldest()->body, "rows"));
    answer(200, ATTACHMENT);
    assert_string_equal(result(f).key_seen, KEY);
    call(f, INSTANCE_READ_KEY, "no-readback");
    answer(200, NO_ATTACHMENT);
    answer(200, NO_ATTACHMENT);
    struct instance_result r = result(f);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.seen, INSTANCE_SEEN_UNKNOWN);
    assert_int_equal(r.proof, INSTANCE_PROOF_NONE);
    call(f, INSTANCE_READ_KEY, "no-readback");
    answer(200, OK("")); /* no attachment at all */
    r = result(f);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.seen, INSTANCE_SEEN_UNKNOWN);
    call(f, INSTANCE_READ_KEY, "assisted");
    answer(404, ERROR("404500", "invalid action"));
    assert_int_equal(result(f).err, ERR_INSTANCE_REFUSED);
}

/* ---- testing ---- */

static void test_call(void **state)
{
    struct fixture *f = *state;
    call(f, INSTANCE_TEST, "default");
    expect_sent("/A1/jsonapi/system.json", "\r\n\r\ntestaws\r\n");
    assert_int_equal(oldest()->timeout_ms, 30000);
    answer(200, OK("{}"));
    struct instance_result r = result(f);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.proof, INSTANCE_PROOF_TEST);
    assert_int_equal(r.seen, INSTANCE_SEEN_UNKNOWN);
    call(f, INSTANCE_TEST, "default");
    answer(200,
           "{\"success\":false,\"errorcode\":404500,\"errormessage\":\"AWS test failed: 403 InvalidAccessKeyId\"}");
    r = result(f);
    assert_int_equal(r.err, ERR_INSTANCE_TEST);
    assert_string_equal(r.message, "AWS test failed: 403 InvalidAccessKeyId");
    call(f, INSTANCE_TEST, "default");
    answer(503, "<html>");
    assert_int_equal(result(f).err, ERR_INSTANCE_FAILURE);
    call(f, INSTANCE_TEST, "default"); /* a bare 404: by the presigned URL, which does not lie */
    answer(404, "<html>");
    answer(200, ATTACHMENT);
    answer(403, "<Error><Code>InvalidAccessKeyId</Code></Error>");
    assert_int_equal(result(f).err, ERR_INSTANCE_TEST);
    call(f, INSTANCE_TEST, "default");
    answer(404, ERROR("404002", "x"));
    assert_int_equal(result(f).err, ERR_INSTANCE_LOGIN);
    assert_int_equal(waiting(), 0);
}

static void test_by_member(void **state)
{
    struct fixture *f = *state;
    static const char text[] =
        "{\"name\":\"own\",\"write\":\"off\",\"assisted\":true,\"errors\":{\"denied\":[\"404902\"]},"
        "\"test\":{\"area\":\"system\",\"action\":\"testaws\",\"success\":{\"rule\":\"member\","
        "\"member\":\"awstest\",\"equals\":\"OK\"}}}";
    char *reason = NULL;
    assert_int_equal(profiles_add(f->set, text, strlen(text), "own", &reason), 0);
    call(f, INSTANCE_TEST, "own");
    answer(200, OK("{\"AwsTest\":\"OK\"}"));
    assert_int_equal(result(f).err, 0);
    call(f, INSTANCE_TEST, "own");
    answer(200, "{\"success\":true,\"errorcode\":0,\"data\":[],\"awstest\":\"OK\"}");
    assert_int_equal(result(f).err, 0);
    call(f, INSTANCE_TEST, "own");
    answer(200, OK("{\"awstest\":\"bucket not reachable\"}"));
    struct instance_result r = result(f);
    assert_int_equal(r.err, ERR_INSTANCE_TEST);
    assert_string_equal(r.message, "bucket not reachable");
    call(f, INSTANCE_TEST, "own");
    answer(200, OK("{}"));
    assert_int_equal(result(f).err, ERR_INSTANCE_TEST);
    call(f, INSTANCE_TEST, "own");
    answer(404, ERROR("404902", "not for you"));
    assert_int_equal(result(f).err, ERR_INSTANCE_REFUSED);
    call(f, INSTANCE_TEST, "own"); /* no such call, no presigned URL in the profile */
    answer(404, ERROR("404500", "invalid action testaws"));
    assert_int_equal(result(f).err, ERR_INSTANCE_UNSUPPORTED);
    call(f, INSTANCE_READ_KEY, "own");
    assert_int_equal(result(f).err, ERR_INSTANCE_UNSUPPORTED);
}

static void expect_fetch(void)
{
    const struct sent *s = oldest();
    assert_string_equal(s->method, "GET");
    assert_string_equal(s->url, URL);
    assert_int_equal(s->class, HTTP_OTHER);
    assert_string_equal(s->body, ""); /* and no login anywhere */
    assert_true(s->last);
}

static void test_by_presigned(void **state)
{
    struct fixture *f = *state;
    static const struct {
        int status;
        const char *body;
        int err;
    } cases[] = {
        {206, "%", 0},
        {404, "<Error><Code>NoSuchKey</Code></Error>", 0},
        {403, "<Error><Code>InvalidAccessKeyId</Code><Message>x</Message></Error>", ERR_INSTANCE_TEST},
        {503, "<Error><Code>SlowDown</Code></Error>", ERR_INSTANCE_FAILURE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        call(f, INSTANCE_TEST, "assisted");
        answer(200, ATTACHMENT);
        expect_fetch();
        size_t at = http.first;
        answer(cases[i].status, cases[i].body);
        assert_string_equal(http.q[at].headers, "Range: bytes=0-0\n");
        struct instance_result r = result(f);
        assert_int_equal(r.err, cases[i].err);
        assert_int_equal(r.proof, INSTANCE_PROOF_PRESIGNED);
        assert_string_equal(r.key_seen, KEY);
        assert_null(strstr(r.message, "http"));
    }
    call(f, INSTANCE_TEST, "assisted"); /* the Range was ignored and the object is large */
    answer(200, ATTACHMENT);
    answer_with(
        (struct http_reply){.err = ERR_NET_BAD_REPLY, .status = 200, .body = "", .detail = "", .retry_after_ms = -1});
    assert_int_equal(result(f).err, 0);
    call(f, INSTANCE_TEST, "default"); /* the instance has no test call */
    answer(404, ERROR("404500", "invalid action testaws"));
    answer(200, ATTACHMENT);
    expect_fetch();
    answer(200, "x");
    struct instance_result r = result(f);
    assert_int_equal(r.err, 0);
    assert_int_equal(r.proof, INSTANCE_PROOF_PRESIGNED);
    call(f, INSTANCE_TEST, "assisted"); /* only over https or to ourselves */
    answer(200, OK("{\"attachmentS3UrlGet\":\"http://169.254.169.254/?X-Amz-Credential=" KEY "%2F1\"}"));
    r = result(f);
    assert_int_equal(r.err, ERR_INSTANCE_UNSUPPORTED);
    assert_int_equal(waiting(), 0);
}

static void version(void **state)
{
    struct fixture *f = *state;
    call(f, INSTANCE_VERSION, "assisted");
    expect_sent("/A1/jsonapi/system.json", "\r\n\r\nversion\r\n");
    answer(200, OK("{\"uuid\":\"1\",\"systemparameters_versionno\":13.1,\"systemparameters_versionrevision\":\"b\","
                   "\"variable_apiversion\":\"4.0\"}"));
    struct instance_result r = result(f);
    assert_int_equal(r.err, 0);
    assert_string_equal(r.message, "Synergist 13.1b, API 4.0");
    call(f, INSTANCE_VERSION, "assisted");
    answer(
        404,
        "<Errors><Error><ErrorID>404002</ErrorID><ErrorText>invalid credentials supplied</ErrorText></Error></Errors>");
    r = result(f);
    assert_int_equal(r.err, ERR_INSTANCE_LOGIN);
    assert_string_equal(r.message, "invalid credentials supplied");
}

/* ---- time, lanes, ends ---- */

static void deadlines(void **state)
{
    struct fixture *f = *state;
    struct instance_request r = request(f, INSTANCE_WRITE_KEY, "default");
    r.timeout_ms = 4000;
    r.deadline_mono_ms = now_mono_ms + 5000;
    assert_int_equal(call_as(f, r, 7), 0);
    assert_int_equal(oldest()->timeout_ms, 4000);
    now_mono_ms += 1001; /* it waited in http's queue: too late to be over in time */
    answer(200, OK("{}"));
    assert_int_equal(result(f).err, ERR_TIMEOUT);
    r.deadline_mono_ms = now_mono_ms + 5000;
    assert_int_equal(call_as(f, r, 7), 0);
    now_mono_ms += 1000;
    answer(200, OK("{}"));
    assert_int_equal(result(f).err, 0);
    r = request(f, INSTANCE_READ_KEY, "default"); /* two requests share one timeout */
    r.timeout_ms = 4000;
    assert_int_equal(call_as(f, r, 7), 0);
    answer(404, "");
    assert_int_equal(oldest()->timeout_ms, 4000);
    answer_with((struct http_reply){.err = ERR_TIMEOUT_SENT, .body = "", .detail = "", .retry_after_ms = -1});
    assert_int_equal(result(f).err, ERR_TIMEOUT_SENT);
    r.target.profile = "no-readback";
    assert_int_equal(call_as(f, r, 7), 0);
    const struct sent *first = oldest();
    const char *const *headers;
    assert_int_equal(first->prepare(first->prepare_arg, &headers), 0); /* it left */
    now_mono_ms += 1500;
    answer(200, NO_ATTACHMENT);
    assert_int_equal(oldest()->timeout_ms, 2500);
    now_mono_ms += 2500;
    answer(200, ATTACHMENT);
    assert_int_equal(result(f).err, 0);
}

static void one_at_a_time(void **state)
{
    struct fixture *f = *state;
    struct instance_request a = request(f, INSTANCE_READ_KEY, "default"), b = a;
    b.target.licence = "B2";
    for (uint64_t i = 0; i < 3; i++) assert_int_equal(call_as(f, a, i), 0);
    assert_int_equal(call_as(f, b, 10), 0);
    assert_int_equal(waiting(), 2); /* one per instance */
    answer(200, SHOWS(KEY));
    assert_int_equal(f->ids[0], 0);
    answer(200, SHOWS(KEY)); /* b */
    assert_int_equal(f->ids[1], 10);
    assert_int_equal(waiting(), 1);
    http.refuse = ERR_NOMEM; /* the third fails to be sent */
    answer(200, SHOWS(KEY));
    http.refuse = 0;
    assert_int_equal(f->n, 4);
    assert_int_equal(f->ids[2], 1);
    assert_int_equal(f->ids[3], 2);
    assert_int_equal(f->results[3].err, ERR_NOMEM);
    assert_int_equal(waiting(), 0);
}

static void bounded_queue(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 20; i++) assert_int_equal(call_as(f, request(f, INSTANCE_VERSION, "default"), i), 0);
    (void)loop_run(f->l);
    assert_int_equal(f->n, 3); /* one under way, sixteen wait */
    assert_int_equal(f->results[0].err, ERR_BUSY);
    assert_int_equal(f->results[0].retry_after_ms, 5000);
    for (int i = 0; i < 17; i++) answer(200, OK("{}"));
    assert_int_equal(f->n, 20);
}

static void last_on_connection(void **state)
{
    struct fixture *f = *state;
    struct instance_request r = request(f, INSTANCE_READ_KEY, "default");
    r.last_on_connection = true;
    assert_int_equal(call_as(f, r, 7), 0);
    assert_true(oldest()->last);
    answer(404, "");
    assert_true(oldest()->last);
    answer(200, ATTACHMENT);
    assert_int_equal(result(f).err, 0);
}

static void client_closes_first(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 3; i++) assert_int_equal(call_as(f, request(f, INSTANCE_WRITE_KEY, "default"), i), 0);
    struct instance_request bad = request(f, INSTANCE_VERSION, "default");
    bad.target.licence = "B2";
    bad.target.credentials = "nonsense"; /* waits for its deferred completion */
    assert_int_equal(call_as(f, bad, 3), 0);
    const struct sent *first = oldest();
    const char *const *headers;
    assert_int_equal(first->prepare(first->prepare_arg, &headers), 0); /* the first one left */
    synergist_free(f->s);
    f->s = NULL;
    assert_int_equal(f->n, 4);
    for (size_t i = 0; i < 4; i++) assert_int_equal(f->results[i].err, f->ids[i] == 0 ? ERR_NET_LOST : ERR_CANCELLED);
    answer(200, OK("{}")); /* http's late answer finds nobody and frees the call */
    (void)loop_run(f->l);
    assert_int_equal(f->n, 4);
}

static void http_closes_first(void **state)
{
    struct fixture *f = *state;
    for (uint64_t i = 0; i < 3; i++) assert_int_equal(call_as(f, request(f, INSTANCE_WRITE_KEY, "default"), i), 0);
    answer_with((struct http_reply){
        .err = ERR_CANCELLED, .body = "", .detail = "", .retry_after_ms = -1, .started_mono_ms = 1});
    assert_int_equal(f->n, 3);
    assert_int_equal(f->results[0].err, ERR_NET_LOST); /* the write may have left */
    assert_int_equal(f->results[1].err, ERR_CANCELLED);
    assert_int_equal(f->results[2].err, ERR_CANCELLED);
    assert_int_equal(http.n, 1);
    assert_int_equal(call_as(f, request(f, INSTANCE_VERSION, "default"), 5), 0);
    (void)loop_run(f->l);
    assert_int_equal(f->results[3].err, ERR_CANCELLED);
}

static void abilities(void **state)
{
    struct fixture *f = *state;
    struct instance_abilities a;
    assert_true(f->port.abilities(f->port.self, "default", &a));
    assert_true(a.can_write && a.can_read && a.can_test);
    assert_true(f->port.abilities(f->port.self, "assisted", &a));
    assert_false(a.can_write);
    assert_false(f->port.abilities(f->port.self, "nosuch", &a));
    assert_string_equal(instance_op_name(INSTANCE_WRITE_KEY), "write key");
    assert_string_equal(instance_proof_name(INSTANCE_PROOF_PRESIGNED), "presigned URL");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(write_plain),
        TEST(write_outcomes),
        TEST(no_secret_in_messages),
        TEST(write_with_identifier_and_version),
        TEST(refused_at_once),
        TEST(refused_by_ticket),
        TEST(read_back_answers),
        TEST(read_falls_back),
        TEST(read_does_not_fall_back),
        TEST(read_presigned),
        TEST(test_call),
        TEST(test_by_member),
        TEST(test_by_presigned),
        TEST(version),
        TEST(deadlines),
        TEST(one_at_a_time),
        TEST(bounded_queue),
        TEST(last_on_connection),
        TEST(client_closes_first),
        TEST(http_closes_first),
        TEST(abilities),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
