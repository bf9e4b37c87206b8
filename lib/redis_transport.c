/* The byte stream under the Redis client.
 *
 * libuv for names, TCP and unix sockets; OpenSSL over memory BIOs for rediss://, because hiredis 0.14 has no TLS and no
 * hiredis release checks the peer's name. TLS is 1.2 or later, the chain and the name (or address) are always checked.
 *
 * A connection is a struct conn of its own, freed in its close callback; dropping it only cuts the link to its owner,
 * so a late callback finds owner == NULL. A write tries the socket at once; what does not fit is copied and queued. The
 * TLS context (the CA bundle costs 20 ms to parse) lives as long as the transport. No timers: the client has them. */
#include "lib/redis_transport.h"

#include "lib/err.h"
#include "lib/loop.h"
#include "lib/secret.h"
#include "lib/text.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <uv.h>

#define CONN_MAGIC   0x6b72636e
#define READ_MAX     65536
#define KEEP_ALIVE_S 30

struct lookup {
    uv_getaddrinfo_t req;
    struct redis_transport *owner; /* NULL once dropped */
};

struct conn {
    unsigned magic;
    struct redis_transport *owner; /* NULL once dropped */
    union {
        uv_handle_t handle;
        uv_stream_t stream;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } h;
    uv_connect_t connect;
    SSL *ssl;          /* owned; NULL without TLS */
    bool open;         /* on_open was called */
    char in[READ_MAX]; /* what libuv read last */
};

struct redis_transport {
    struct loop *loop;
    const struct redis_url *url;
    struct redis_transport_events events;
    void *arg;
    SSL_CTX *ssl_ctx;              /* owned; NULL without TLS */
    struct lookup *lookup;         /* under way, or NULL */
    struct addrinfo *addrs, *next; /* owned list and the address to try next */
    struct conn *conn;             /* current, or NULL */
    char why[160];
};

struct write {
    uv_write_t req;
    size_t len;
    char data[];
};

static void conn_fail(struct conn *c, int err, const char *why);
static int try_next(struct redis_transport *t);

/* ---- life of a connection ---- */

static void conn_closed(uv_handle_t *h)
{
    struct conn *c = h->data;
    assert(c->magic == CONN_MAGIC);
    SSL_free(c->ssl);
    secret_wipe(c->in, sizeof(c->in));
    free(c);
}

static void conn_close(struct conn *c)
{
    if (c->owner && c->owner->conn == c) c->owner->conn = NULL;
    c->owner = NULL;
    if (!uv_is_closing(&c->h.handle)) uv_close(&c->h.handle, conn_closed);
}

/* Reports the end of a connection; while it was not open, the next address is tried first. */
static void conn_fail(struct conn *c, int err, const char *why)
{
    struct redis_transport *t = c->owner;
    if (!t) return;
    bool was_open = c->open;
    conn_close(c);
    text_copy(t->why, sizeof(t->why), why);
    if (!was_open && try_next(t) == 0) return;
    t->events.on_down(t->arg, err, t->why);
}

/* ---- TLS ---- */

static const char *tls_reason(const struct conn *c)
{
    long verify = SSL_get_verify_result(c->ssl);
    if (verify != X509_V_OK) return X509_verify_cert_error_string(verify);
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    return reason ? reason : "TLS failed";
}

static int tls_context(struct redis_transport *t, const char *ca_file)
{
    t->ssl_ctx = SSL_CTX_new(TLS_client_method());
    if (!t->ssl_ctx) return ERR_NOMEM;
    SSL_CTX_set_verify(t->ssl_ctx, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_options(t->ssl_ctx, SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
    SSL_CTX_set_mode(t->ssl_ctx, SSL_MODE_RELEASE_BUFFERS);
    if (SSL_CTX_set_min_proto_version(t->ssl_ctx, TLS1_2_VERSION) != 1) return ERR_INVALID;
    int ok = ca_file ? SSL_CTX_load_verify_locations(t->ssl_ctx, ca_file, NULL)
                     : SSL_CTX_set_default_verify_paths(t->ssl_ctx);
    ERR_clear_error();
    return ok == 1 ? 0 : ERR_INVALID;
}

static bool is_address(const char *host)
{
    struct sockaddr_in in4;
    struct sockaddr_in6 in6;
    return uv_ip4_addr(host, 0, &in4) == 0 || uv_ip6_addr(host, 0, &in6) == 0;
}

/* Prepares the TLS side with the name that the certificate must carry. */
static int tls_start(struct conn *c)
{
    struct redis_transport *t = c->owner;
    c->ssl = SSL_new(t->ssl_ctx);
    BIO *in = BIO_new(BIO_s_mem()), *out = BIO_new(BIO_s_mem());
    if (!c->ssl || !in || !out) {
        BIO_free(in);
        BIO_free(out);
        return ERR_NOMEM;
    }
    SSL_set_bio(c->ssl, in, out);
    SSL_set_connect_state(c->ssl);
    const char *host = t->url->host;
    if (is_address(host)) return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(c->ssl), host) == 1 ? 0 : ERR_INVALID;
    SSL_set_hostflags(c->ssl, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    if (SSL_set1_host(c->ssl, host) != 1 || SSL_set_tlsext_host_name(c->ssl, host) != 1) return ERR_NOMEM;
    return 0;
}

/* ---- writing ---- */

static void written(uv_write_t *req, int status)
{
    struct conn *c = req->handle->data;
    struct write *w = req->data;
    secret_wipe(w->data, w->len);
    free(w);
    if (status < 0 && status != UV_ECANCELED) conn_fail(c, ERR_NET_LOST, uv_strerror(status));
}

/* Sends bytes as they are. False when memory ran out: the stream has a hole and must end. */
static bool send_bytes(struct conn *c, const char *data, size_t len)
{
    if (uv_stream_get_write_queue_size(&c->h.stream) == 0) {
        uv_buf_t b = uv_buf_init((char *)(uintptr_t)data, (unsigned)len);
        int n = uv_try_write(&c->h.stream, &b, 1);
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        } /* a failure shows again in uv_write, which reports it by its callback */
    }
    if (len == 0) return true;
    struct write *w = malloc(sizeof(*w) + len);
    if (!w) return false;
    w->len = len;
    w->req.data = w;
    memcpy(w->data, data, len);
    uv_buf_t b = uv_buf_init(w->data, (unsigned)len);
    if (uv_write(&w->req, &c->h.stream, &b, 1, written) == 0) return true;
    secret_wipe(w->data, len);
    free(w);
    return false;
}

/* Sends what TLS produced. */
static bool tls_flush(struct conn *c)
{
    BIO *out = SSL_get_wbio(c->ssl);
    char *data = NULL;
    long len = BIO_get_mem_data(out, &data);
    if (len <= 0) return true;
    bool ok = send_bytes(c, data, (size_t)len);
    (void)BIO_reset(out); /* a memory BIO cannot fail here */
    return ok;
}

/* The stream cannot go on. Not reported from here (the caller is inside write): shutting the socket down makes the
 * read side see the end in a later turn. */
static void break_off(struct conn *c)
{
    uv_os_fd_t fd;
    if (uv_fileno(&c->h.handle, &fd) == 0) (void)shutdown(fd, SHUT_RDWR); /* it may be gone already: same result */
}

void redis_transport_write(struct redis_transport *t, const void *data, size_t len)
{
    struct conn *c = t->conn;
    if (!c || !c->open || len == 0) return;
    bool ok = true;
    if (c->ssl) {
        size_t done = 0;
        ERR_clear_error();
        ok = SSL_write_ex(c->ssl, data, len, &done) == 1 && done == len && tls_flush(c);
    } else {
        ok = send_bytes(c, data, len);
    }
    if (!ok) break_off(c);
}

/* ---- reading ---- */

static void announce_open(struct conn *c)
{
    struct redis_transport *t = c->owner;
    c->open = true;
    if (t->addrs) uv_freeaddrinfo(t->addrs);
    t->addrs = t->next = NULL;
    t->events.on_open(t->arg);
}

/* Goes on with the handshake. False: not ready yet, or the connection is gone. */
static bool tls_handshake(struct conn *c)
{
    if (c->open) return true;
    ERR_clear_error();
    int rc = SSL_do_handshake(c->ssl);
    bool wants_more = rc != 1 && SSL_get_error(c->ssl, rc) == SSL_ERROR_WANT_READ;
    bool sent = tls_flush(c); /* an alert too */
    if ((rc != 1 && !wants_more) || !sent) {
        conn_fail(c, ERR_NET_TLS, tls_reason(c));
        return false;
    }
    if (wants_more) return false;
    announce_open(c);
    return c->owner != NULL;
}

static void tls_received(struct conn *c, const char *data, size_t len)
{
    if (BIO_write(SSL_get_rbio(c->ssl), data, (int)len) != (int)len) {
        conn_fail(c, ERR_NET_LOST, "out of memory");
        return;
    }
    if (!tls_handshake(c)) return;
    char plain[16384];
    while (c->owner) {
        size_t n = 0;
        ERR_clear_error();
        int rc = SSL_read_ex(c->ssl, plain, sizeof(plain), &n);
        if (rc == 1) {
            c->owner->events.on_data(c->owner->arg, plain, n);
            continue;
        }
        int why = SSL_get_error(c->ssl, rc);
        if (why == SSL_ERROR_WANT_READ) {
            if (!tls_flush(c)) conn_fail(c, ERR_NET_LOST, "out of memory");
        } else if (why == SSL_ERROR_ZERO_RETURN) {
            conn_fail(c, ERR_NET_LOST, "closed by the server");
        } else {
            conn_fail(c, ERR_NET_TLS, tls_reason(c));
        }
        break;
    }
}

static void give_buffer(uv_handle_t *h, size_t suggested, uv_buf_t *ret_buf)
{
    struct conn *c = h->data;
    (void)suggested; /* libuv's guess; the buffer's size is ours */
    *ret_buf = uv_buf_init(c->in, sizeof(c->in));
}

static void received(uv_stream_t *s, ssize_t n, const uv_buf_t *b)
{
    struct conn *c = s->data;
    assert(c->magic == CONN_MAGIC);
    if (!c->owner || n == 0) return;
    if (n < 0) {
        conn_fail(c, c->open ? ERR_NET_LOST : ERR_NET_CONNECT,
                  n == UV_EOF ? "closed by the server" : uv_strerror((int)n));
    } else if (c->ssl) {
        tls_received(c, b->base, (size_t)n);
    } else {
        c->owner->events.on_data(c->owner->arg, b->base, (size_t)n);
    }
}

/* ---- connecting ---- */

static void connected(uv_connect_t *req, int status)
{
    struct conn *c = req->handle->data;
    assert(c->magic == CONN_MAGIC);
    struct redis_transport *t = c->owner;
    if (!t) return;
    if (status < 0) {
        conn_fail(c, ERR_NET_CONNECT, uv_strerror(status));
        return;
    }
    if (!t->url->path) {
        (void)uv_tcp_nodelay(&c->h.tcp, 1); /* both only make things better */
        (void)uv_tcp_keepalive(&c->h.tcp, 1, KEEP_ALIVE_S);
    }
    int rc = t->url->tls ? tls_start(c) : 0;
    if (rc < 0 || uv_read_start(&c->h.stream, give_buffer, received) < 0) {
        conn_fail(c, ERR_NET_CONNECT, "out of memory");
        return;
    }
    if (c->ssl) {
        (void)tls_handshake(c); /* sends the hello; failures are reported inside */
    } else {
        announce_open(c);
    }
}

/* A connection without a socket yet. NULL when out of memory. */
static struct conn *conn_new(struct redis_transport *t)
{
    struct conn *c = calloc(1, sizeof(*c));
    if (!c) return NULL;
    uv_loop_t *uv = loop_uv(t->loop);
    int rc = t->url->path ? uv_pipe_init(uv, &c->h.pipe, 0) : uv_tcp_init(uv, &c->h.tcp);
    if (rc < 0) {
        free(c);
        return NULL;
    }
    c->magic = CONN_MAGIC;
    c->owner = t;
    c->h.handle.data = c;
    t->conn = c;
    return c;
}

/* Tries the next address. ERR_NET_CONNECT when there is none left. */
static int try_next(struct redis_transport *t)
{
    while (t->next) {
        const struct addrinfo *a = t->next;
        t->next = a->ai_next;
        struct conn *c = conn_new(t);
        if (!c) return ERR_NOMEM;
        int rc = uv_tcp_connect(&c->connect, &c->h.tcp, a->ai_addr, connected);
        if (rc == 0) return 0;
        text_copy(t->why, sizeof(t->why), uv_strerror(rc));
        conn_close(c);
    }
    return ERR_NET_CONNECT;
}

static void resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *addrs)
{
    struct lookup *k = req->data;
    struct redis_transport *t = k->owner;
    free(k);
    if (!t) {
        uv_freeaddrinfo(addrs);
        return;
    }
    t->lookup = NULL;
    if (status < 0) {
        t->events.on_down(t->arg, ERR_NET_RESOLVE, uv_strerror(status));
        return;
    }
    t->addrs = t->next = addrs;
    int rc = try_next(t);
    if (rc < 0) t->events.on_down(t->arg, rc == ERR_NOMEM ? ERR_NET_CONNECT : rc, t->why);
}

static int start_lookup(struct redis_transport *t)
{
    struct lookup *k = calloc(1, sizeof(*k));
    if (!k) return ERR_NOMEM;
    k->owner = t;
    k->req.data = k;
    char port[8];
    snprintf(port, sizeof(port), "%u", t->url->port);
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM};
    if (uv_getaddrinfo(loop_uv(t->loop), &k->req, resolved, t->url->host, port, &hints) < 0) {
        free(k);
        return ERR_IO;
    }
    t->lookup = k;
    return 0;
}

int redis_transport_connect(struct redis_transport *t)
{
    redis_transport_drop(t);
    t->why[0] = '\0';
    if (!t->url->path) return start_lookup(t);
    struct conn *c = conn_new(t);
    if (!c) return ERR_NOMEM;
    uv_pipe_connect(&c->connect, &c->h.pipe, t->url->path, connected);
    return 0;
}

void redis_transport_drop(struct redis_transport *t)
{
    if (t->lookup) {
        t->lookup->owner = NULL;
        (void)uv_cancel((uv_req_t *)&t->lookup->req); /* when it runs already, its callback only frees */
        t->lookup = NULL;
    }
    if (t->conn) conn_close(t->conn);
    if (t->addrs) uv_freeaddrinfo(t->addrs);
    t->addrs = t->next = NULL;
}

int redis_transport_new(struct loop *l, const struct redis_url *url, const char *ca_file,
                        const struct redis_transport_events *events, void *arg, struct redis_transport **ret_transport)
{
    struct redis_transport *t = calloc(1, sizeof(*t));
    if (!t) return ERR_NOMEM;
    t->loop = l;
    t->url = url;
    t->events = *events;
    t->arg = arg;
    int rc = url->tls ? tls_context(t, ca_file) : 0;
    if (rc < 0) {
        redis_transport_free(t);
        return rc;
    }
    *ret_transport = t;
    return 0;
}

void redis_transport_free(struct redis_transport *t)
{
    if (!t) return;
    redis_transport_drop(t);
    SSL_CTX_free(t->ssl_ctx);
    free(t);
}
