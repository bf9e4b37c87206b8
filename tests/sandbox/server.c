/* The HTTP side: listening, reading requests, sending replies when their time has come.
 *
 * One thread. libmicrohttpd runs without threads of its own; its epoll descriptor sits in a libuv loop beside the
 * timers. A reply that is due later (simulated latency, a fault) suspends its connection and waits in a heap; ten
 * thousand waiting requests cost one heap entry each. An effect that is due later may outlive its connection.
 *
 * Limits: bodies up to 8 MiB, 64 headers; HTTP/1.1. libmicrohttpd 0.9.75 walks all suspended connections when one
 * is resumed, so due replies are resumed together, at most once a millisecond. */
#include "tests/sandbox/server.h"

#include "tests/sandbox/control.h"
#include "tests/sandbox/dispatch.h"
#include "tests/sandbox/uses.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <uv.h>

#define BODY_MAX        (8u << 20)
#define CONNECTIONS_MAX 60000u
#define POOL_BYTES      (16u << 10)
#define BACKLOG         4096
#define TICK_MS         20
#define RUNS_AT_ONCE    64

enum stage { STAGE_HEAD, STAGE_BODY, STAGE_WAITING, STAGE_READY };

/* A request on its way through the server. */
struct exchange {
    struct request r;
    struct MHD_Connection *connection; /* NULL when it is gone and only a late effect is left */
    enum stage stage;
    enum dispatched next;
    uint64_t due_ms; /* loop time; valid while waiting */
    bool too_big;
    bool in_heap;
};

struct port {
    struct MHD_Daemon *daemon;
    uv_poll_t poll;
    uv_timer_t timer; /* what libmicrohttpd itself asks to be called for */
    int fd;
    bool tls;
};

static struct world *world;
static uv_loop_t loop;
static struct port ports[2];
static size_t n_ports;
static uv_timer_t due_timer, tick_timer;
static uv_signal_t signals[2];
static struct exchange **heap;
static size_t heap_n, heap_cap;

/* ---- heap of waiting replies ----------------------------------------------------------------------------- */

static void heap_swap(size_t a, size_t b)
{
    struct exchange *x = heap[a];
    heap[a] = heap[b];
    heap[b] = x;
}

static void heap_push(struct exchange *x)
{
    if (heap_n == heap_cap) {
        heap_cap = heap_cap ? heap_cap * 2 : 256;
        heap = must_realloc(heap, heap_cap * sizeof(struct exchange *));
    }
    x->in_heap = true;
    heap[heap_n++] = x;
    for (size_t i = heap_n - 1; i && heap[i]->due_ms < heap[(i - 1) / 2]->due_ms; i = (i - 1) / 2)
        heap_swap(i, (i - 1) / 2);
}

static struct exchange *heap_pop(void)
{
    struct exchange *top = heap[0];
    heap[0] = heap[--heap_n];
    for (size_t i = 0;;) {
        size_t least = i, left = 2 * i + 1;
        if (left < heap_n && heap[left]->due_ms < heap[least]->due_ms) least = left;
        if (left + 1 < heap_n && heap[left + 1]->due_ms < heap[least]->due_ms) least = left + 1;
        if (least == i) break;
        heap_swap(i, least);
        i = least;
    }
    top->in_heap = false;
    return top;
}

/* ---- driving libmicrohttpd ------------------------------------------------------------------------------- */

static void on_port_timer(uv_timer_t *t);

/* Runs a daemon until it has nothing more to do at once. */
static void pump(struct port *p)
{
    MHD_UNSIGNED_LONG_LONG wait = 0;
    for (int i = 0; i < RUNS_AT_ONCE; i++) {
        (void)MHD_run(p->daemon);
        if (MHD_get_timeout(p->daemon, &wait) != MHD_YES) {
            (void)uv_timer_stop(&p->timer);
            return;
        }
        if (wait > 0) break;
    }
    (void)uv_timer_start(&p->timer, on_port_timer, wait, 0);
}

static void on_port_timer(uv_timer_t *t)
{
    pump(t->data);
}

static void on_port_ready(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    pump(poll->data);
    if (control_quit_asked()) uv_stop(&loop);
}

/* ---- replies --------------------------------------------------------------------------------------------- */

static const char *date_now(void)
{
    static char text[40];
    static time_t last;
    time_t now = (time_t)(world_now_ms(world) / 1000);
    if (now != last) {
        struct tm tm;
        (void)gmtime_r(&now, &tm);
        (void)strftime(text, sizeof(text), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        last = now;
    }
    return text;
}

static ssize_t endless(void *cls, uint64_t at, char *buffer, size_t max)
{
    (void)cls;
    (void)at;
    memset(buffer, ' ', max);
    return (ssize_t)max;
}

static struct MHD_Response *make_response(struct request *r)
{
    if (r->reply.end == REPLY_ENDLESS)
        return MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 16384, endless, NULL, NULL);
    struct buf *b = &r->reply.body;
    if (!b->data) return MHD_create_response_from_buffer(0, NULL, MHD_RESPMEM_PERSISTENT);
    struct MHD_Response *response = MHD_create_response_from_buffer(b->len, b->data, MHD_RESPMEM_MUST_FREE);
    if (response) *b = (struct buf){0}; /* libmicrohttpd owns it now */
    return response;
}

static enum MHD_Result send_reply(struct exchange *x)
{
    struct request *r = &x->r;
    if (r->reply.end == REPLY_CLOSE) return MHD_NO;
    struct MHD_Response *response = make_response(r);
    if (!response) return MHD_NO;
    (void)MHD_add_response_header(response, MHD_HTTP_HEADER_DATE, date_now());
    if (r->reply.type) (void)MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, r->reply.type);
    for (int i = 0; i < r->reply.n_extra; i++)
        (void)MHD_add_response_header(response, r->reply.extra[i].name, r->reply.extra[i].value);
    enum MHD_Result rc = MHD_queue_response(x->connection, (unsigned)r->reply.status, response);
    MHD_destroy_response(response);
    return rc;
}

static void free_exchange(struct exchange *x)
{
    request_done(&x->r);
    free(x);
}

static void on_due(uv_timer_t *t);

static void arm_due_timer(void)
{
    if (!heap_n) return;
    uint64_t now = uv_now(&loop);
    (void)uv_timer_start(&due_timer, on_due, heap[0]->due_ms > now ? heap[0]->due_ms - now : 0, 0);
}

/* A waiting exchange's time has come. */
static void release(struct exchange *x)
{
    if (x->next != DISPATCHED_REPLY) dispatch_late(world, &x->r);
    if (!x->connection) {
        free_exchange(x);
        return;
    }
    x->next = DISPATCHED_REPLY;
    x->stage = STAGE_READY;
    MHD_resume_connection(x->connection);
}

static void on_due(uv_timer_t *t)
{
    (void)t;
    bool any = false;
    while (heap_n && heap[0]->due_ms <= uv_now(&loop)) {
        release(heap_pop());
        any = true;
    }
    for (size_t i = 0; any && i < n_ports; i++) pump(&ports[i]);
    arm_due_timer();
}

/* ---- requests -------------------------------------------------------------------------------------------- */

static void *on_uri(void *cls, const char *uri, struct MHD_Connection *connection)
{
    struct exchange *x = must_alloc(sizeof(*x));
    const struct port *p = cls;
    size_t len = strcspn(uri, "?");
    x->connection = connection;
    x->r.tls = p->tls;
    x->r.path = *uri == '/' ? arena_dup(&x->r.arena, uri, len) : "/";
    x->r.query = uri[len] ? arena_dup(&x->r.arena, uri + len + 1, strlen(uri + len + 1)) : "";
    return x;
}

static enum MHD_Result on_header(void *cls, enum MHD_ValueKind kind, const char *name, const char *value)
{
    struct request *r = cls;
    (void)kind;
    if (r->n_headers == REQUEST_HEADERS_MAX) return MHD_NO;
    r->headers[r->n_headers++] = (struct header){name, value ? value : ""};
    return MHD_YES;
}

static void read_head(struct exchange *x, const char *method)
{
    struct request *r = &x->r;
    r->method = arena_dup(&r->arena, method, strlen(method));
    (void)MHD_get_connection_values(x->connection, MHD_HEADER_KIND, on_header, r);
    const char *host = request_header(r, "host");
    r->host = host ? arena_dup(&r->arena, host, strlen(host)) : "";
    x->stage = STAGE_BODY;
}

static enum MHD_Result wait_until_due(struct exchange *x)
{
    uv_update_time(&loop);
    x->due_ms = uv_now(&loop) + (uint64_t)x->r.reply.delay_ms;
    x->stage = STAGE_WAITING;
    heap_push(x);
    arm_due_timer();
    if (x->next == DISPATCHED_CLOSE_AND_LATER) return MHD_NO;
    MHD_suspend_connection(x->connection);
    return MHD_YES;
}

static enum MHD_Result on_request(void *cls, struct MHD_Connection *connection, const char *url, const char *method,
                                  const char *version, const char *data, size_t *size, void **state)
{
    struct exchange *x = *state;
    (void)cls;
    (void)connection;
    (void)url;
    (void)version;
    if (x->stage == STAGE_HEAD) {
        read_head(x, method);
        return MHD_YES;
    }
    if (x->stage == STAGE_READY) return send_reply(x);
    if (*size) {
        x->too_big = x->too_big || x->r.body.len + *size > BODY_MAX;
        if (!x->too_big) buf_put(&x->r.body, data, *size);
        *size = 0;
        return MHD_YES;
    }
    if (x->too_big) {
        x->r.reply.status = MHD_HTTP_CONTENT_TOO_LARGE;
        return send_reply(x);
    }
    x->next = dispatch(world, &x->r);
    if (x->next == DISPATCHED_REPLY && x->r.reply.delay_ms <= 0) return send_reply(x);
    return wait_until_due(x);
}

static void on_completed(void *cls, struct MHD_Connection *connection, void **state,
                         enum MHD_RequestTerminationCode why)
{
    struct exchange *x = *state;
    (void)cls;
    (void)connection;
    (void)why;
    *state = NULL;
    if (!x) return;
    if (x->in_heap)
        x->connection = NULL; /* a late effect is still to come */
    else
        free_exchange(x);
}

static bool is_loopback(const struct sockaddr *address)
{
    if (address->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)(const void *)address;
        return ntohl(in->sin_addr.s_addr) >> 24 == 127;
    }
    if (address->sa_family != AF_INET6) return false;
    const struct in6_addr *six = &((const struct sockaddr_in6 *)(const void *)address)->sin6_addr;
    if (IN6_IS_ADDR_LOOPBACK(six)) return true;
    return IN6_IS_ADDR_V4MAPPED(six) && six->s6_addr[12] == 127;
}

static enum MHD_Result on_accept(void *cls, const struct sockaddr *address, socklen_t len)
{
    (void)cls;
    (void)len;
    return is_loopback(address) ? MHD_YES : MHD_NO;
}

/* ---- opening --------------------------------------------------------------------------------------------- */

/* A socket for ADDR:PORT, or for every address of both families when any is set. Returns -1 with errno. */
static int listen_socket(const char *where, bool any, int *ret_port)
{
    char address[64];
    const char *colon = strrchr(where, ':');
    if (!colon || (size_t)(colon - where) >= sizeof(address)) return -1;
    (void)snprintf(address, sizeof(address), "%.*s", (int)(colon - where), where);
    uint16_t port = (uint16_t)atoi(colon + 1);
    struct sockaddr_in four = {.sin_family = AF_INET, .sin_port = htons(port)};
    struct sockaddr_in6 six = {.sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = in6addr_any};
    if (any)
        four.sin_addr.s_addr = htonl(INADDR_ANY);
    else if (inet_pton(AF_INET, address, &four.sin_addr) != 1)
        return -1;
    int on = 1, off = 0;
    int fd = any ? socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0) : -1;
    bool bound = fd >= 0 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof(off)) == 0 &&
                 setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                 bind(fd, (struct sockaddr *)&six, sizeof(six)) == 0;
    if (!bound) { /* one address, or a machine without IPv6 */
        if (fd >= 0) (void)close(fd);
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
            bind(fd, (struct sockaddr *)&four, sizeof(four)) < 0)
            goto fail;
    }
    struct sockaddr_storage got;
    socklen_t len = sizeof(got);
    if (listen(fd, BACKLOG) < 0 || getsockname(fd, (struct sockaddr *)&got, &len) < 0) goto fail;
    *ret_port = ntohs(got.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)(void *)&got)->sin6_port
                                                : ((struct sockaddr_in *)(void *)&got)->sin_port);
    return fd;
fail:
    if (fd >= 0) (void)close(fd);
    return -1;
}

static char *read_file(const char *path)
{
    FILE *f = path ? fopen(path, "r") : NULL;
    if (!f) return NULL;
    struct buf b = {0};
    char part[4096];
    size_t n;
    while ((n = fread(part, 1, sizeof(part), f)) > 0) buf_put(&b, part, n);
    (void)fclose(f);
    return b.data;
}

static struct MHD_Daemon *start_daemon(struct port *p, int fd, char *cert, char *key)
{
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_SUPPRESS_DATE_NO_CLOCK;
    struct MHD_OptionItem tls[] = {
        {MHD_OPTION_HTTPS_MEM_CERT, 0, cert}, {MHD_OPTION_HTTPS_MEM_KEY, 0, key}, {MHD_OPTION_END, 0, NULL}};
    struct MHD_OptionItem none[] = {{MHD_OPTION_END, 0, NULL}};
    return MHD_start_daemon(flags | (p->tls ? MHD_USE_TLS : 0), 0, on_accept, NULL, on_request, NULL,
                            MHD_OPTION_LISTEN_SOCKET, fd, MHD_OPTION_CONNECTION_LIMIT, CONNECTIONS_MAX,
                            MHD_OPTION_CONNECTION_MEMORY_LIMIT, (size_t)POOL_BYTES, MHD_OPTION_URI_LOG_CALLBACK, on_uri,
                            p, MHD_OPTION_NOTIFY_COMPLETED, on_completed, NULL, MHD_OPTION_ARRAY, p->tls ? tls : none,
                            MHD_OPTION_END);
}

/* Opens one port. Returns 0, or -1 after a line on stderr. */
static int open_port(const struct server_options *o, const char *where, bool tls, int *ret_port)
{
    struct port *p = &ports[n_ports];
    int fd = listen_socket(where, o->any_loopback, ret_port);
    if (fd < 0) {
        (void)fprintf(stderr, "keyroll-sandbox: cannot listen on %s\n", where);
        return -1;
    }
    char *cert = tls ? read_file(o->tls_cert) : NULL, *key = tls ? read_file(o->tls_key) : NULL;
    p->tls = tls;
    p->daemon = tls && (!cert || !key) ? NULL : start_daemon(p, fd, cert, key);
    free(cert);
    free(key);
    const union MHD_DaemonInfo *info = p->daemon ? MHD_get_daemon_info(p->daemon, MHD_DAEMON_INFO_EPOLL_FD) : NULL;
    if (!info) {
        (void)fprintf(stderr, "keyroll-sandbox: cannot serve on %s%s\n", where, tls ? " (certificate and key?)" : "");
        (void)close(fd);
        return -1;
    }
    p->poll.data = p;
    p->timer.data = p;
    (void)uv_poll_init(&loop, &p->poll, info->epoll_fd);
    (void)uv_timer_init(&loop, &p->timer);
    (void)uv_poll_start(&p->poll, UV_READABLE, on_port_ready);
    n_ports++;
    return 0;
}

static void raise_file_limit(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) < 0) return;
    limit.rlim_cur = limit.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* fewer connections then, nothing worse */
}

static void on_tick(uv_timer_t *t)
{
    (void)t;
    uses_tick(world);
}

static void on_signal(uv_signal_t *s, int number)
{
    (void)s;
    (void)number;
    uv_stop(&loop);
}

int server_open(struct world *w, const struct server_options *o)
{
    world = w;
    raise_file_limit();
    (void)signal(SIGPIPE, SIG_IGN);
    if (uv_loop_init(&loop) < 0) return -1;
    (void)uv_timer_init(&loop, &due_timer);
    (void)uv_timer_init(&loop, &tick_timer);
    if (o->listen && open_port(o, o->listen, false, &w->port) < 0) return -1;
    if (o->tls_listen && open_port(o, o->tls_listen, true, &w->tls_port) < 0) return -1;
    static const int numbers[] = {SIGTERM, SIGINT};
    for (int i = 0; i < 2; i++) {
        (void)uv_signal_init(&loop, &signals[i]);
        (void)uv_signal_start(&signals[i], on_signal, numbers[i]);
    }
    (void)uv_timer_start(&tick_timer, on_tick, TICK_MS, TICK_MS);
    return 0;
}

static void close_handle(uv_handle_t *h, void *arg)
{
    (void)arg;
    if (!uv_is_closing(h)) uv_close(h, NULL);
}

void server_run(void)
{
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    while (heap_n) { /* the replies that wait are not sent any more, their effects do not come any more */
        struct exchange *x = heap_pop();
        x->r.reply.end = REPLY_CLOSE;
        x->next = DISPATCHED_REPLY;
        release(x);
    }
    for (size_t i = 0; i < n_ports; i++) {
        (void)uv_poll_stop(&ports[i].poll);
        for (int n = 0; n < RUNS_AT_ONCE; n++) (void)MHD_run(ports[i].daemon);
    }
    uv_walk(&loop, close_handle, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    for (size_t i = 0; i < n_ports; i++) MHD_stop_daemon(ports[i].daemon);
    (void)uv_loop_close(&loop);
    free(heap);
}
