/* Requests to the probes' server, over a real socket. */
#include "lib/http_server.h"
#include "lib/loop.h"
#include "tests/fuzz/fuzz.h"

#include <netinet/in.h>
#include <sys/socket.h>

static struct loop *loop;
static struct http_server *server;

static int answer(void *arg, const struct http_server_request *req, struct buf *body, const char **ret_content_type)
{
    (void)arg;
    fuzz_touch(req->method);
    *ret_content_type = "text/plain";
    FUZZ_REQUIRE(strcmp(req->method, "GET") == 0 || strcmp(req->method, "HEAD") == 0);
    buf_adds(body, req->path);
    return 200;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    loop = loop_new();
    FUZZ_REQUIRE(loop && http_server_new(loop, "127.0.0.1:0", answer, NULL, &server) == 0);
    return 0;
}

static void stop_turn(void *arg)
{
    *(int *)arg = 1;
}

static void turns(int n)
{
    for (int turned; n > 0; n--) {
        turned = 0;
        FUZZ_REQUIRE(loop_defer(loop, stop_turn, &turned) == 0);
        loop_run_until(loop, &turned);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons((uint16_t)http_server_port(server)),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    if (size > 32768) return 0; /* fits the socket's buffer */
    int client = socket(AF_INET, SOCK_STREAM, 0);
    FUZZ_REQUIRE(connect(client, (struct sockaddr *)&a, sizeof a) == 0);
    FUZZ_REQUIRE(send(client, data, size, MSG_NOSIGNAL) == (ssize_t)size);
    turns(4);
    const struct linger at_once = {1, 0}; /* or the ports would run out */
    FUZZ_REQUIRE(setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(client); /* also when it is not answered: it may be half a request */
    turns(3);
    return 0;
}
