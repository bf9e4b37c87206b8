/* Scripted replies are literal bytes in a table; the few behaviours that need code (endless, slow, silent) follow it.
 */
#include "tests/unit/raw_server.h"

#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>

enum { PATHS_MAX = 65536, REQUEST_MAX = 65536, CONNECTIONS_MAX = 4096 };

struct connection {
    struct raw_server *s;
    pthread_t thread;
    int fd;
    bool open;
    SSL *ssl;
};

struct raw_server {
    int fd, port, stop_pipe[2];
    pthread_t thread;
    pthread_mutex_t lock;
    struct connection *connections[CONNECTIONS_MAX];
    int accepted, open, paths_len;
    const struct raw_answer *answer; /* under the lock */
    char *paths[PATHS_MAX];
    SSL_CTX *ctx;
    char ca[64];
};

#define MUST(condition)                                                                                                \
    if (!(condition)) {                                                                                                \
        perror(#condition);                                                                                            \
        abort();                                                                                                       \
    }

static const struct {
    const char *path, *reply;
    bool close; /* afterwards */
} scripts[] = {
    {"/ok", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", false},
    {"/chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", false},
    {"/die", "", true},
    {"/short", "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc", true},
    {"/half-head", "HTTP/1.1 200 OK\r\nContent-Le", true},
    {"/short-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", true},
    {"/bad-chunk", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc", true},
    {"/bad-length", "HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nabc", true},
    {"/http09", "hello, this is no status line at all", true},
    {"/garbage", "\x16\x03\x01\x02\r\n\r\n\x01\x02", true},
    {"/gzip", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08", false},
    {"/identity", "HTTP/1.1 200 OK\r\nContent-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", false},
    {"/redirect", "HTTP/1.1 302 Found\r\nLocation: /ok\r\nContent-Length: 0\r\n\r\n", false},
    {"/continue",
     "HTTP/1.1 100 Continue\r\nx-amz-request-id: early\r\n\r\nHTTP/1.1 503 Slow\r\nRetry-After: 7\r\nContent-Length: "
     "0\r\n\r\n",
     false},
    {"/fields",
     "HTTP/1.1 200 OK\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\ncontent-type: text/xml\r\nx-amzn-RequestId: r-1\r\n"
     "X-Amz-Bucket-Region: eu-west-1\r\nContent-Length: 0\r\n\r\n",
     false},
    {"/no-length", "HTTP/1.1 200 OK\r\n\r\nuntil the end", true},
    {"/closing", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", true},
    {"/no-status", "HTTP/200 OK\r\nContent-Length: 2\r\n\r\nok", true},
    {"/folded-first", "HTTP/1.1 200 OK\r\n folded: without a line before\r\nContent-Length: 0\r\n\r\n", false},
    {"/gzip-bomb", /* a kilobyte's beginning of what would be a gigabyte */
     "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x01\x02\xec\xc1\x01\x01", true},
    {"/promised", "HTTP/1.1 200 OK\r\nContent-Length: 104857600\r\n\r\nthe rest never comes", true},
    {"/elsewhere",
     "HTTP/1.1 307 Temporary Redirect\r\nLocation: https://elsewhere.example/\r\nContent-Length: 0\r\n\r\n", false},
    {"/no-content", "HTTP/1.1 204 No Content\r\n\r\n", false},
};

static bool conn_write(struct connection *c, const char *bytes, size_t len)
{
    while (len > 0) {
        ssize_t n = c->ssl ? SSL_write(c->ssl, bytes, (int)len) : send(c->fd, bytes, len, MSG_NOSIGNAL);
        if (n <= 0) return false;
        bytes += n;
        len -= (size_t)n;
    }
    return true;
}

static ssize_t conn_read(struct connection *c, char *out, size_t max)
{
    return c->ssl ? SSL_read(c->ssl, out, (int)max) : recv(c->fd, out, max, 0);
}

/* True when the server stops or the peer speaks or leaves within ms. */
static bool disturbed(struct connection *c, int ms)
{
    struct pollfd fds[] = {{.fd = c->fd, .events = POLLIN}, {.fd = c->s->stop_pipe[0], .events = POLLIN}};
    return poll(fds, 2, ms) != 0;
}

static void run_endless(struct connection *c)
{
    char chunk[6 + 16 * 1024 + 2] = "4000\r\n"; /* 16 KiB in hexadecimal */
    memset(chunk + 6, 'x', 16 * 1024);
    memcpy(chunk + 6 + 16 * 1024, "\r\n", 2);
    if (!conn_write(c, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", 47)) return;
    while (conn_write(c, chunk, sizeof chunk)) {
    }
}

static void run_endless_head(struct connection *c)
{
    static const char line[] = "X-Filler: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n";
    if (!conn_write(c, "HTTP/1.1 200 OK\r\n", 17)) return;
    while (conn_write(c, line, sizeof line - 1)) {
    }
}

static void run_slow(struct connection *c)
{
    if (!conn_write(c, "HTTP/1.1 200 OK\r\nContent-Length: 100000\r\n\r\n", 43)) return;
    while (conn_write(c, "x", 1) && !disturbed(c, 20)) {
    }
}

static bool run_echo(struct connection *c, const char *request, size_t len)
{
    char head[128];
    int n = snprintf(head, sizeof head, "HTTP/1.1 200 OK\r\nContent-Length: %zu\r\n\r\n", len);
    return conn_write(c, head, (size_t)n) && conn_write(c, request, strncmp(request, "HEAD", 4) == 0 ? 0 : len);
}

static void run_answer(struct connection *c, const struct raw_answer *a)
{
    char block[16384]; /* many small ones at once */
    size_t len = 0;
    for (; !a->gap_ms && a->fill_len && len + a->fill_len <= sizeof block; len += a->fill_len)
        memcpy(block + len, a->fill, a->fill_len);
    const char *part = len ? block : a->fill;
    if (!len) len = a->fill_len;
    bool more = conn_write(c, a->head, a->head_len ? a->head_len : strlen(a->head)) && len;
    for (long long out = 0; more && (a->fill_total < 0 || out < a->fill_total); out += (long long)len) {
        more = conn_write(c, part, len);
        if (a->gap_ms && disturbed(c, a->gap_ms)) return;
    }
    (void)shutdown(c->fd, SHUT_WR); /* and waits for the peer to leave, so that no reset overtakes the answer */
    if (!c->ssl) (void)disturbed(c, 1000);
}

/* Returns whether the connection stays. */
static bool respond(struct connection *c, const char *path, const char *request, size_t len)
{
    pthread_mutex_lock(&c->s->lock);
    const struct raw_answer *answer = c->s->answer;
    pthread_mutex_unlock(&c->s->lock);
    if (answer) {
        run_answer(c, answer);
        return false;
    }
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++)
        if (strcmp(scripts[i].path, path) == 0)
            return conn_write(c, scripts[i].reply, strlen(scripts[i].reply)) && !scripts[i].close;
    if (strncmp(path, "/echo", 5) == 0) return run_echo(c, request, len);
    if (strcmp(path, "/endless") == 0)
        run_endless(c);
    else if (strcmp(path, "/endless-head") == 0)
        run_endless_head(c);
    else if (strcmp(path, "/slow") == 0)
        run_slow(c);
    else if (strcmp(path, "/silent") == 0)
        (void)disturbed(c, -1);
    else if (strcmp(path, "/reset") == 0) {
        struct linger hard = {1, 0};
        (void)setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    } else if (strcmp(path, "/die-and-stop-listening") == 0) {
        (void)shutdown(c->s->fd, SHUT_RDWR);
    }
    return false;
}

static void note(struct raw_server *s, const char *path)
{
    pthread_mutex_lock(&s->lock);
    MUST(s->paths_len < PATHS_MAX);
    s->paths[s->paths_len++] = strdup(path);
    pthread_mutex_unlock(&s->lock);
}

/* Reads one request (head and Content-Length body); false at the end of the connection. */
static bool read_request(struct connection *c, char *out, size_t *ret_len)
{
    size_t len = 0, need = 0;
    while (need == 0 || len < need) {
        ssize_t n = conn_read(c, out + len, REQUEST_MAX - 1 - len);
        if (n <= 0) return false;
        len += (size_t)n;
        out[len] = '\0';
        const char *end = strstr(out, "\r\n\r\n"), *length = strcasestr(out, "\r\nContent-Length:");
        if (!end || need) continue;
        need = (size_t)(end + 4 - out) + (length && length < end ? strtoul(length + 17, NULL, 10) : 0);
    }
    *ret_len = len;
    return true;
}

static void serve(struct connection *c)
{
    char *request = malloc(REQUEST_MAX), path[256] = "";
    size_t len;
    MUST(request);
    for (bool stays = true; stays && read_request(c, request, &len);) {
        MUST(sscanf(request, "%*s %255s", path) == 1);
        note(c->s, path);
        stays = respond(c, path, request, len);
    }
    free(request);
}

static void *run_connection(void *arg)
{
    struct connection *c = arg;
    if (c->s->ctx) {
        c->ssl = SSL_new(c->s->ctx);
        SSL_set_fd(c->ssl, c->fd);
        if (SSL_accept(c->ssl) == 1) serve(c);
        SSL_free(c->ssl);
    } else {
        serve(c);
    }
    pthread_mutex_lock(&c->s->lock);
    close(c->fd);
    c->open = false;
    c->s->open--;
    pthread_mutex_unlock(&c->s->lock);
    return NULL;
}

static void *run_accept(void *arg)
{
    struct raw_server *s = arg;
    for (int fd; (fd = accept4(s->fd, NULL, NULL, SOCK_CLOEXEC)) >= 0;) {
        struct connection *c = calloc(1, sizeof *c);
        MUST(c && s->accepted < CONNECTIONS_MAX);
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)); /* only slower without */
        *c = (struct connection){.s = s, .fd = fd, .open = true};
        pthread_mutex_lock(&s->lock);
        s->open++;
        s->connections[s->accepted++] = c;
        pthread_mutex_unlock(&s->lock);
        MUST(pthread_create(&c->thread, NULL, run_connection, c) == 0);
    }
    return NULL;
}

/* ---- TLS ---- */

static X509 *make_certificate(EVP_PKEY *key, enum raw_tls how)
{
    X509 *cert = X509_new();
    MUST(cert && X509_set_version(cert, 2) == 1);
    ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    X509_gmtime_adj(X509_getm_notBefore(cert), how == RAW_TLS_NOT_YET ? 3600 : -7200);
    X509_gmtime_adj(X509_getm_notAfter(cert), how == RAW_TLS_EXPIRED ? -3600 : 3600 * 24);
    X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"keyroll test", -1, -1, 0);
    X509_set_issuer_name(cert, name);
    const char *names = how == RAW_TLS_OTHER_NAME ? "DNS:elsewhere.example,IP:192.0.2.1"
                                                  : "DNS:localhost,DNS:*.s3.localhost,IP:127.0.0.1";
    X509_EXTENSION *alt = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, names);
    MUST(alt && X509_add_ext(cert, alt, -1) == 1 && X509_sign(cert, key, EVP_sha256()) > 0);
    X509_EXTENSION_free(alt);
    return cert;
}

static void write_certificate(struct raw_server *s, X509 *cert)
{
    strcpy(s->ca, "/tmp/keyroll-test-ca.XXXXXX");
    int fd = mkstemp(s->ca);
    FILE *out = fdopen(fd, "w");
    MUST(out && PEM_write_X509(out, cert) == 1 && fclose(out) == 0);
}

static void set_up_tls(struct raw_server *s, enum raw_tls how)
{
    EVP_PKEY *key = EVP_RSA_gen(2048), *other = how == RAW_TLS_UNTRUSTED ? EVP_RSA_gen(2048) : NULL;
    X509 *cert = make_certificate(key, how), *trusted = other ? make_certificate(other, how) : cert;
    write_certificate(s, trusted);
    s->ctx = SSL_CTX_new(TLS_server_method());
    MUST(s->ctx && SSL_CTX_use_certificate(s->ctx, cert) == 1 && SSL_CTX_use_PrivateKey(s->ctx, key) == 1);
    if (how == RAW_TLS_OLD) /* OpenSSL 3 speaks it at security level 0 only */
        MUST(SSL_CTX_set_cipher_list(s->ctx, "DEFAULT:@SECLEVEL=0") == 1 &&
             SSL_CTX_set_min_proto_version(s->ctx, TLS1_VERSION) == 1 &&
             SSL_CTX_set_max_proto_version(s->ctx, TLS1_1_VERSION) == 1);
    if (how == RAW_TLS_12) MUST(SSL_CTX_set_max_proto_version(s->ctx, TLS1_2_VERSION) == 1);
    X509_free(cert);
    if (other) X509_free(trusted);
    EVP_PKEY_free(key);
    EVP_PKEY_free(other);
}

/* ---- public ---- */

struct raw_server *raw_server_new(enum raw_tls tls)
{
    struct raw_server *s = calloc(1, sizeof *s);
    struct sockaddr_in a = {.sin_family = AF_INET};
    socklen_t len = sizeof a;
    MUST(s && pipe(s->stop_pipe) == 0 && pthread_mutex_init(&s->lock, NULL) == 0);
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    (void)signal(SIGPIPE, SIG_IGN);
    s->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    MUST(bind(s->fd, (struct sockaddr *)&a, sizeof a) == 0 && listen(s->fd, 1024) == 0);
    MUST(getsockname(s->fd, (struct sockaddr *)&a, &len) == 0);
    s->port = ntohs(a.sin_port);
    if (tls) set_up_tls(s, tls);
    MUST(pthread_create(&s->thread, NULL, run_accept, s) == 0);
    return s;
}

void raw_server_free(struct raw_server *s)
{
    if (!s) return;
    (void)shutdown(s->fd, SHUT_RDWR);
    close(s->stop_pipe[1]);
    pthread_join(s->thread, NULL);
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->accepted; i++)
        if (s->connections[i]->open) (void)shutdown(s->connections[i]->fd, SHUT_RDWR);
    pthread_mutex_unlock(&s->lock);
    for (int i = 0; i < s->accepted; i++) {
        pthread_join(s->connections[i]->thread, NULL);
        free(s->connections[i]);
    }
    for (int i = 0; i < s->paths_len; i++) free(s->paths[i]);
    close(s->fd);
    close(s->stop_pipe[0]);
    SSL_CTX_free(s->ctx);
    if (s->ca[0]) (void)unlink(s->ca);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int raw_server_port(const struct raw_server *s)
{
    return s->port;
}

const char *raw_server_ca(const struct raw_server *s)
{
    return s->ca;
}

void raw_server_answer(struct raw_server *s, const struct raw_answer *a)
{
    pthread_mutex_lock(&s->lock);
    s->answer = a;
    pthread_mutex_unlock(&s->lock);
}

int raw_server_hits(struct raw_server *s, const char *path)
{
    int n = 0;
    pthread_mutex_lock(&s->lock);
    for (int i = 0; i < s->paths_len; i++) n += strncmp(s->paths[i], path, strlen(path)) == 0;
    pthread_mutex_unlock(&s->lock);
    return n;
}

int raw_server_connections(struct raw_server *s)
{
    pthread_mutex_lock(&s->lock);
    int n = s->accepted;
    pthread_mutex_unlock(&s->lock);
    return n;
}

int raw_server_open(struct raw_server *s)
{
    pthread_mutex_lock(&s->lock);
    int n = s->open;
    pthread_mutex_unlock(&s->lock);
    return n;
}
