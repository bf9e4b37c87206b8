/* Replies of servers, through libcurl and lib/http, over a real socket. */
#include "lib/err.h"
#include "lib/http.h"
#include "lib/loop.h"
#include "tests/fuzz/fuzz.h"

#include <netinet/in.h>
#include <sys/socket.h>

#define REPLY_MAX 65536

static struct loop *loop;
static struct http *http;
static int listener, peer = -1, finished;
static char url[64];
static int port;
static const uint8_t *reply;
static size_t reply_len;
static struct loop_fd *peer_watch;

static void hang_up(void)
{
    loop_fd_free(peer_watch);
    peer_watch = NULL;
    if (peer >= 0) close(peer);
    peer = -1;
}

/* The request is there: the whole reply at once, then the end. */
static void on_request(void *arg)
{
    char request[4096];
    (void)arg;
    ssize_t n = recv(peer, request, sizeof request, 0);
    if (n > 0)
        for (size_t at = 0; at < reply_len && n > 0; at += (size_t)n) {
            n = send(peer, reply + at, reply_len - at, MSG_NOSIGNAL);
            if (n <= 0) break;
        }
    hang_up();
}

static void on_connection(void *arg)
{
    (void)arg;
    hang_up();
    peer = accept(listener, NULL, NULL);
    FUZZ_REQUIRE(peer >= 0);
    peer_watch = loop_fd_new(loop, peer, on_request, NULL);
}

static void listen_somewhere(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    a.sin_addr.s_addr = htonl(INADDR_ANY); /* all of 127.0.0.0/8, see next_url() */
    listener = socket(AF_INET, SOCK_STREAM, 0);
    FUZZ_REQUIRE(bind(listener, (struct sockaddr *)&a, len) == 0 && listen(listener, 16) == 0);
    FUZZ_REQUIRE(getsockname(listener, (struct sockaddr *)&a, &len) == 0);
    port = ntohs(a.sin_port);
    FUZZ_REQUIRE(loop_fd_new(loop, listener, on_connection, NULL));
}

/* Another address each time: closed connections keep their pair of ports for a minute. */
static void next_url(void)
{
    static unsigned n;
    n = (n + 1) % 60000;
    snprintf(url, sizeof url, "http://127.1.%u.%u:%d/x", n / 250, n % 250 + 1, port);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    loop = loop_new();
    FUZZ_REQUIRE(loop && http_new(loop, &(struct http_options){0}, &http) == 0);
    listen_somewhere();
    return 0;
}

static void got(void *self, uint64_t id, const void *result)
{
    const struct http_reply *r = result;
    (void)self;
    (void)id;
    finished = 1;
    if (r->err) {
        fuzz_touch(r->detail);
        return;
    }
    FUZZ_REQUIRE(r->status >= 100 && r->body[r->body_len] == '\0' && r->body_len <= REPLY_MAX);
    FUZZ_REQUIRE(r->retry_after_ms >= -1 && r->retry_after_ms <= 24 * 3600 * 1000);
    fuzz_touch(r->content_type);
    fuzz_touch(r->location);
    fuzz_touch(r->request_id);
    fuzz_touch(r->bucket_region);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct http_request request = {.class = HTTP_OTHER,
                                         .method = "GET",
                                         .url = url,
                                         .last_on_connection = true,
                                         .timeout_ms = 2000,
                                         .max_reply_bytes = REPLY_MAX};
    next_url();
    reply = data;
    reply_len = size;
    finished = 0;
    FUZZ_REQUIRE(http_send(http, &request, (struct ticket){got, NULL, 1}) == 0);
    loop_run_until(loop, &finished);
    hang_up();
    return 0;
}
