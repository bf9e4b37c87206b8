/* A small HTTP server for probes and metrics: libmicrohttpd without threads, driven by the loop.
 *
 * The daemon's epoll descriptor is watched by the loop; MHD_run() is called when it is readable and when the daemon's
 * own timeout is over. The listening socket is ours, so that a bad address or a busy port is an error code and not a
 * log line. Only GET and HEAD are served; the handler runs on the loop and must be quick.
 *
 * Limits: MAX_CONNECTIONS at once, IDLE_S without progress ends a connection, MEMORY_BYTES of head and buffers per
 * connection, BODY_MAX_BYTES per reply. No TLS, no authentication: listen on loopback or inside the cluster. */
#include "lib/http_server.h"

#include "lib/err.h"
#include "lib/loop.h"

#include <errno.h>
#include <microhttpd.h>
#include <netdb.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
    MAX_CONNECTIONS = 64,
    IDLE_S = 15,
    MEMORY_BYTES = 16 * 1024,
    BODY_MAX_BYTES = 4 * 1024 * 1024,
    BACKLOG = 64,
    HOST_MAX = 256,
    LONGEST_WAIT_MS = 1000,
};

struct http_server {
    struct loop *l;
    http_server_fn fn;
    void *arg;
    struct MHD_Daemon *daemon;
    struct loop_fd *watch;
    struct loop_timer *timer;
    int listen_fd; /* the daemon's once it runs */
    int port;
};

/* ---- listening ---- */

/* "host:port" or "[v6]:port" into its parts; false when malformed. */
static bool split_listen(const char *text, char host[HOST_MAX], const char **ret_port)
{
    const char *colon = strrchr(text, ':');
    if (!colon || colon[1] == '\0' || strspn(colon + 1, "0123456789") != strlen(colon + 1)) return false;
    size_t len = (size_t)(colon - text);
    if (len >= 2 && text[0] == '[' && text[len - 1] == ']') {
        text++;
        len -= 2;
    } else if (memchr(text, ':', len)) {
        return false; /* an IPv6 address needs its brackets */
    }
    if (len == 0 || len >= HOST_MAX || strtol(colon + 1, NULL, 10) > 65535) return false;
    memcpy(host, text, len);
    host[len] = '\0';
    *ret_port = colon + 1;
    return true;
}

static int bind_socket(const struct addrinfo *a)
{
    int fd = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), on = 1;
    if (fd < 0) return ERR_IO;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on); /* without it a restart may have to wait: no harm */
    if (bind(fd, a->ai_addr, a->ai_addrlen) == 0 && listen(fd, BACKLOG) == 0) return fd;
    close(fd);
    return ERR_IO;
}

/* Returns the descriptor, ERR_INVALID or ERR_IO. */
static int open_listener(const char *listen_on)
{
    char host[HOST_MAX];
    const char *port;
    struct addrinfo *found,
        hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV | AI_NUMERICHOST};
    if (!split_listen(listen_on, host, &port)) return ERR_INVALID;
    if (strcmp(host, "localhost") == 0) memcpy(host, "127.0.0.1", sizeof "127.0.0.1");
    if (getaddrinfo(host, port, &hints, &found) != 0) return ERR_INVALID;
    int fd = bind_socket(found);
    freeaddrinfo(found);
    return fd;
}

static int bound_port(int fd)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } a = {0};
    socklen_t len = sizeof a;
    if (getsockname(fd, &a.any, &len) < 0) return 0;
    return ntohs(a.any.sa_family == AF_INET6 ? a.v6.sin6_port : a.v4.sin_port);
}

/* ---- answering ---- */

static enum MHD_Result send_bytes(struct MHD_Connection *c, int status, const char *type, const char *bytes, size_t len)
{
    union {
        const void *in;
        void *out;
    } body = {.in = bytes}; /* copied, in spite of the type */
    struct MHD_Response *r = MHD_create_response_from_buffer(len, body.out, MHD_RESPMEM_MUST_COPY);
    if (!r) return MHD_NO;
    enum MHD_Result ok = MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, type);
    if (ok == MHD_YES) ok = MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    if (ok == MHD_YES && status == MHD_HTTP_METHOD_NOT_ALLOWED)
        ok = MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, "GET, HEAD");
    if (ok == MHD_YES) ok = MHD_queue_response(c, (unsigned)status, r);
    MHD_destroy_response(r);
    return ok;
}

static enum MHD_Result send_text(struct MHD_Connection *c, int status, const char *text)
{
    return send_bytes(c, status, "text/plain; charset=utf-8", text, strlen(text));
}

/* libmicrohttpd calls this once when the head is complete, and again for the body and its end. A request that announces
 * a body is refused on the first call, which makes the library close the connection. */
static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path, const char *method,
                                  const char *version, const char *upload, size_t *upload_len, void **state)
{
    (void)version, (void)upload, (void)upload_len;
    static int seen;
    struct http_server *s = arg;
    if (strcmp(method, "GET") != 0 && strcmp(method, "HEAD") != 0)
        return send_text(c, MHD_HTTP_METHOD_NOT_ALLOWED, "only GET and HEAD\n");
    if (!*state) {
        const char *len = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
        bool chunked = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_TRANSFER_ENCODING) != NULL;
        if (chunked || (len && strcmp(len, "0") != 0))
            return send_text(c, MHD_HTTP_CONTENT_TOO_LARGE, "no request body\n");
        *state = &seen;
        return MHD_YES;
    }
    CLEANUP(buf_done) struct buf body;
    buf_init(&body, BODY_MAX_BYTES);
    const char *type = "text/plain; charset=utf-8";
    int status = s->fn(s->arg, &(struct http_server_request){.method = method, .path = path}, &body, &type);
    if (body.error) return send_text(c, MHD_HTTP_INTERNAL_SERVER_ERROR, "the reply does not fit\n");
    return send_bytes(c, status, type, buf_str(&body), body.len);
}

/* The library's own messages (client gone, and the like) are of no use to an operator. */
static void drop_log(void *arg, const char *format, va_list ap)
{
    (void)arg, (void)format, (void)ap;
}

/* ---- driving ---- */

/* At its limit of connections the library (0.9.75) stops watching the listening socket and takes it up again only at
 * the start of a run: without one more run after a connection ended, it would be deaf. */
static bool is_full(const struct http_server *s)
{
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_CURRENT_CONNECTIONS);
    return info && info->num_connections >= MAX_CONNECTIONS;
}

static void run(void *arg)
{
    struct http_server *s = arg;
    MHD_UNSIGNED_LONG_LONG wait_ms = 0;
    bool was_full = is_full(s);
    (void)MHD_run(s->daemon); /* fails only for a daemon with threads */
    if (was_full && !is_full(s)) (void)MHD_run(s->daemon);
    if (MHD_get_timeout(s->daemon, &wait_ms) == MHD_YES)
        loop_timer_start(s->timer, wait_ms < LONGEST_WAIT_MS ? (int64_t)wait_ms : LONGEST_WAIT_MS);
    else
        loop_timer_stop(s->timer);
}

static int start_daemon(struct http_server *s)
{
    s->daemon =
        MHD_start_daemon(MHD_USE_EPOLL | MHD_USE_ERROR_LOG, 0, NULL, NULL, on_request, s, MHD_OPTION_EXTERNAL_LOGGER,
                         drop_log, NULL, MHD_OPTION_LISTEN_SOCKET, s->listen_fd, MHD_OPTION_CONNECTION_LIMIT,
                         (unsigned)MAX_CONNECTIONS, MHD_OPTION_CONNECTION_TIMEOUT, (unsigned)IDLE_S,
                         MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)MEMORY_BYTES, MHD_OPTION_END);
    if (!s->daemon) return ERR_IO;
    s->listen_fd = -1;
    const union MHD_DaemonInfo *info = MHD_get_daemon_info(s->daemon, MHD_DAEMON_INFO_EPOLL_FD);
    if (!info) return ERR_IO;
    s->watch = loop_fd_new(s->l, info->epoll_fd, run, s);
    return s->watch ? 0 : ERR_NOMEM;
}

int http_server_new(struct loop *l, const char *listen_on, http_server_fn fn, void *arg,
                    struct http_server **ret_server)
{
    struct http_server *s = calloc(1, sizeof *s);
    if (!s) return ERR_NOMEM;
    *s = (struct http_server){.l = l, .fn = fn, .arg = arg, .listen_fd = open_listener(listen_on)};
    int rc = s->listen_fd < 0 ? s->listen_fd : 0;
    if (rc == 0) s->port = bound_port(s->listen_fd);
    s->timer = loop_timer_new(l, run, s);
    if (rc == 0 && !s->timer) rc = ERR_NOMEM;
    if (rc == 0) rc = start_daemon(s);
    if (rc < 0)
        http_server_free(s);
    else
        *ret_server = s;
    return rc;
}

int http_server_port(const struct http_server *s)
{
    return s->port;
}

void http_server_free(struct http_server *s)
{
    if (!s) return;
    loop_fd_free(s->watch);
    loop_timer_free(s->timer);
    if (s->daemon) MHD_stop_daemon(s->daemon);
    if (s->listen_fd >= 0) close(s->listen_fd);
    free(s);
}

const char *http_server_library_version(void)
{
    return MHD_get_version();
}
