/* Requests to the probes' server, over a real socket. */
#include "lib/http_server.h"
#include "lib/loop.h"
#include "tests/fuzz/fuzz.h"

#include <netinet/in.h>
#include <signal.h>
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

/* A socket that has sent the bytes; their server has not run meanwhile. libFuzzer's clock is a SIGALRM every few
 * seconds, which would end connect() with EINTR: it waits till we are done. Caller closes. */
static int send_all(const uint8_t *data, size_t size)
{
    const struct sockaddr_in a = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)http_server_port(server)),
                                  .sin_addr = {htonl(INADDR_LOOPBACK)}};
    sigset_t alarm, before;
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    FUZZ_REQUIRE(sigprocmask(SIG_BLOCK, &alarm, &before) == 0);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    FUZZ_REQUIRE(connect(fd, (const struct sockaddr *)&a, sizeof a) == 0);
    FUZZ_REQUIRE(send(fd, data, size, MSG_NOSIGNAL) == (ssize_t)size);
    FUZZ_REQUIRE(sigprocmask(SIG_SETMASK, &before, NULL) == 0);
    return fd;
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
    if (size > 32768) return 0; /* fits the socket's buffer */
    int client = send_all(data, size);
    turns(4);
    const struct linger at_once = {1, 0}; /* or the ports would run out */
    FUZZ_REQUIRE(setsockopt(client, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once) == 0);
    close(client); /* also when it is not answered: it may be half a request */
    turns(3);
    return 0;
}
