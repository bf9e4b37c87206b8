/* The instance client as a whole: the first byte chooses the call and the profile, the rest is the instance's replies,
 * one after the other, separated by a line "====": status line, blank, body. lib/http is replaced. */
#include "lib/cleanup.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/loop.h"
#include "lib/profile.h"
#include "lib/synergist.h"
#include "tests/fuzz/fuzz.h"

#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

static struct loop *loop;
static struct profiles *set;
static struct synergist *client;
static struct secret *secret;
static struct {
    struct ticket t;
    int (*prepare)(void *, const char *const **);
    void *arg;
    bool open;
} sent;
static const char *rest;
static size_t rest_len;
static int finished;

int http_send(struct http *h, const struct http_request *req, struct ticket t)
{
    (void)h;
    FUZZ_REQUIRE(!sent.open && !strstr(req->url, SECRET));
    sent.t = t;
    sent.prepare = req->prepare;
    sent.arg = req->prepare_arg;
    sent.open = true;
    return 0;
}

static void answer(void)
{
    const char *const *headers = NULL;
    const char *cut = memmem(rest, rest_len, "\n====\n", 6);
    size_t len = cut ? (size_t)(cut - rest) : rest_len;
    AUTO_FREE char *text = fuzz_text((const uint8_t *)rest, len);
    size_t skip = len >= 4 && text[3] == '\n' ? 4 : 0;
    int status = skip ? atoi(text) : 200;
    rest += cut ? len + 6 : len;
    rest_len -= cut ? len + 6 : len;
    AUTO_FREE char *body = fuzz_text((const uint8_t *)text + skip, len - skip);
    sent.open = false;
    int rc = sent.prepare ? sent.prepare(sent.arg, &headers) : 0;
    ticket_complete(sent.t, &(struct http_reply){.err = rc,
                                                 .status = rc || status < 100 || status > 599 ? 500 : status,
                                                 .body = body,
                                                 .body_len = len - skip,
                                                 .content_type = "text/html",
                                                 .location = "http://elsewhere.example/",
                                                 .date_ms = TIME_NONE,
                                                 .request_id = "",
                                                 .bucket_region = "",
                                                 .retry_after_ms = -1,
                                                 .detail = "",
                                                 .started_mono_ms = 1});
}

static void got(void *self, uint64_t id, const void *result)
{
    const struct instance_result *r = result;
    (void)self;
    (void)id;
    finished = 1;
    FUZZ_REQUIRE(!strstr(r->message, "wJalrXUt") && !strstr(r->message, "pass-word"));
    FUZZ_REQUIRE(r->seen != INSTANCE_SEEN_ID || aws_key_id_valid(r->key_seen));
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    AUTO_FREE char *reason = NULL;
    (void)argc;
    (void)argv;
    setenv("FUZZ_LOGIN", "user:pass-word", 1);
    loop = loop_new();
    secret = secret_from_string(SECRET);
    FUZZ_REQUIRE(loop && secret && profiles_load(NULL, &set, &reason) == 0);
    const struct synergist_options o = {
        .clock = &clock_system, .rng = &rng_system, .http = (struct http *)loop, .profiles = set};
    FUZZ_REQUIRE(synergist_new(loop, &o, &client) == 0);
    return 0;
}

static void stop_turn(void *arg)
{
    *(int *)arg = 1;
}

static void turn(void)
{
    int turned = 0;
    FUZZ_REQUIRE(loop_defer(loop, stop_turn, &turned) == 0);
    loop_run_until(loop, &turned);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    const char *profile = profiles_name(set, data[0] / INSTANCE_OPS % 3u);
    struct instance_port port = synergist_port(client);
    const struct instance_request r = {.op = (enum instance_op)(data[0] % INSTANCE_OPS),
                                       .target = {"acme", "http://127.0.0.1:1/", profile, "env:FUZZ_LOGIN"},
                                       .key_id = "AKIAIOSFODNN7EXAMPLE",
                                       .secret = secret,
                                       .timeout_ms = 100000};
    rest = (const char *)data + 1;
    rest_len = size - 1;
    finished = 0;
    if (port.call(port.self, &r, (struct ticket){got, NULL, 1}) < 0) return 0;
    for (int i = 0; i < 100 && !finished; i++) {
        if (sent.open)
            answer();
        else
            turn();
    }
    FUZZ_REQUIRE(finished); /* no reply keeps a call open for ever */
    while (sent.open) answer();
    return 0;
}
