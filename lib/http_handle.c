/* Handles (http_handle.h). What libcurl allocates is wiped when it is freed, since headers, bodies and replies hold
 * secrets; OpenSSL is told to clear decrypted records. */
#include "lib/http_handle.h"

#include "lib/err.h"
#include "lib/secret.h"
#include "lib/text.h"

#include <assert.h>
#include <limits.h>
#include <malloc.h>
#include <openssl/ssl.h>
#include <string.h>
#include <strings.h>

enum {
    DNS_KEEP_S =
        2, /* libcurl walks all kept names after each transfer; those of a fleet are not asked for again soon */
    WARM_BODY_BYTES = 8192, /* a reply buffer up to this size is kept for the handle's next request */
};

/* ---- libcurl's memory: wiped when freed ---- */

static void wiping_free(void *p)
{
    if (!p) return;
    secret_wipe(p, malloc_usable_size(p));
    free(p);
}

static void *wiping_realloc(void *p, size_t size)
{
    void *fresh = malloc(size ? size : 1);
    if (!fresh || !p) return fresh;
    size_t old = malloc_usable_size(p);
    memcpy(fresh, p, old < size ? old : size);
    wiping_free(p);
    return fresh;
}

int http_handle_global_init(void)
{
    CURLcode rc = curl_global_init_mem(CURL_GLOBAL_DEFAULT, malloc, wiping_free, wiping_realloc, strdup, calloc);
    return rc == CURLE_OK ? 0 : ERR_NOMEM;
}

/* ---- options that stay ---- */

static size_t on_header(char *line, size_t size, size_t count, void *arg)
{
    struct http_handle *a = arg;
    return http_head_line(&a->head, line, size * count) == 0 ? size * count : 0;
}

static size_t on_body(char *bytes, size_t size, size_t count, void *arg)
{
    struct http_handle *a = arg;
    return buf_add(&a->body, bytes, size * count) == 0 ? size * count : 0;
}

/* OpenSSL: no decrypted bytes left in its buffers, and no 34 kB of buffers on an idle connection. */
static CURLcode on_ssl_context(CURL *easy, void *context, void *arg)
{
    (void)easy, (void)arg;
    SSL_CTX *ctx = context;
    SSL_CTX_set_options(ctx, SSL_OP_CLEANSE_PLAINTEXT);
    SSL_CTX_set_mode(ctx, SSL_MODE_RELEASE_BUFFERS);
    return CURLE_OK;
}

#define SET(option, value)                                                                                             \
    if (curl_easy_setopt(easy, option, value) != CURLE_OK) return ERR_NOMEM

/* The options that are the same for every request of a handle. QUICK_EXIT: without it libcurl waits for its resolver
 * thread when a transfer ends while its name is being looked up, and the loop with it. */
static int set_fixed_options(struct http_handle *a)
{
    CURL *easy = a->easy;
    const struct http_handle_options *o = &a->o;
    SET(CURLOPT_PRIVATE, o->owner);
    SET(CURLOPT_ERRORBUFFER, a->error);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_NOPROGRESS, 1L);
    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_DISALLOW_USERNAME_IN_URL, 1L);
    SET(CURLOPT_NETRC, (long)CURL_NETRC_IGNORED);
    SET(CURLOPT_TCP_NODELAY, 1L);
    SET(CURLOPT_PATH_AS_IS, 1L);    /* what was signed is what is sent */
    SET(CURLOPT_BUFFERSIZE, 4096L); /* replies are short; each buffer is made and wiped with its handle */
    SET(CURLOPT_UPLOAD_BUFFERSIZE, 16384L);
    SET(CURLOPT_DNS_CACHE_TIMEOUT, (long)DNS_KEEP_S);
    SET(CURLOPT_USERAGENT, o->user_agent);
    SET(CURLOPT_CAPATH, NULL); /* a CA path turns off the cache of the parsed bundle: 20 ms per connection */
    SET(CURLOPT_CAINFO, o->ca_file);
    SET(CURLOPT_PROXY_CAPATH, NULL);
    SET(CURLOPT_PROXY_CAINFO, o->ca_file);
    SET(CURLOPT_SSL_VERIFYPEER, 1L);
    SET(CURLOPT_SSL_VERIFYHOST, 2L);
    SET(CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    SET(CURLOPT_SSL_CTX_FUNCTION, on_ssl_context);
    /* A session is worth its memory (8 per handle) only where connections repeat. */
    SET(CURLOPT_SSL_SESSIONID_CACHE, o->class == HTTP_IAM || o->class == HTTP_STS ? 1L : 0L);
    SET(CURLOPT_HEADERFUNCTION, on_header);
    SET(CURLOPT_HEADERDATA, a);
    SET(CURLOPT_WRITEFUNCTION, on_body);
    SET(CURLOPT_WRITEDATA, a);
    SET(CURLOPT_OPENSOCKETFUNCTION, o->open_socket);
    SET(CURLOPT_OPENSOCKETDATA, o->owner);
    SET(CURLOPT_CLOSESOCKETFUNCTION, o->close_socket);
    SET(CURLOPT_CLOSESOCKETDATA, o->close_arg);
    return 0;
}

int http_handle_init(struct http_handle *a, const struct http_handle_options *o)
{
    *a = (struct http_handle){.o = *o, .easy = curl_easy_init()};
    http_head_init(&a->head);
    buf_init_secret(&a->body, HTTP_REPLY_BYTES);
    return a->easy ? set_fixed_options(a) : ERR_NOMEM;
}

void http_handle_done(struct http_handle *a)
{
    curl_easy_cleanup(a->easy);
    http_head_done(&a->head);
    buf_done(&a->body);
    free(a->nodes);
}

/* ---- options of a request ---- */

static bool url_is_local(const char *url)
{
    const char *host = strstr(url, "://") + 3;
    size_t len = strcspn(host, "/?#");
    const char *at = memchr(host, '@', len);
    if (at) return false; /* refused by libcurl anyway */
    if (*host == '[') return http_host_is_local(host + 1, strcspn(host + 1, "]/?#"));
    size_t host_len = strcspn(host, ":/?#");
    return http_host_is_local(host, host_len < len ? host_len : len);
}

/* libcurl's own list type, filled by hand: it reads the list and neither copies nor frees it. */
static void add_node(struct http_handle *a, size_t *count, const char *header)
{
    union {
        const char *in;
        char *out;
    } text = {.in = header};
    a->nodes[*count] = (struct curl_slist){.data = text.out};
    if (*count > 0) a->nodes[*count - 1].next = &a->nodes[*count];
    ++*count;
}

static int link_headers(struct http_handle *a, const struct request *r, const char *const *more, unsigned more_count)
{
    size_t need = r->headers + more_count + 2, count = 0;
    assert(more || more_count == 0);
    if (need > a->nodes_cap) {
        struct curl_slist *nodes = reallocarray(a->nodes, need, sizeof *nodes);
        if (!nodes) return ERR_NOMEM;
        a->nodes = nodes;
        a->nodes_cap = need;
    }
    const char *text = r->header_text;
    for (unsigned i = 0; i < r->headers; i++, text += strlen(text) + 1) add_node(a, &count, text);
    for (unsigned i = 0; i < more_count; i++) add_node(a, &count, more[i]);
    bool has_type = false;
    for (size_t i = 0; i < count; i++)
        if (strncasecmp(a->nodes[i].data, "content-type:", 13) == 0) has_type = true;
    if (!has_type) add_node(a, &count, "Content-Type:"); /* libcurl would call any body a form */
    add_node(a, &count, "Expect:");                      /* and wait for 100 Continue before a large one */
    return 0;
}

static int set_method(CURL *easy, const struct request *r)
{
    bool get = strcmp(r->method, "GET") == 0, head = strcmp(r->method, "HEAD") == 0;
    bool post = strcmp(r->method, "POST") == 0;
    SET(CURLOPT_CUSTOMREQUEST, get || head || post ? NULL : r->method);
    if (head) {
        SET(CURLOPT_NOBODY, 1L);
    } else if (r->body_len == 0 && (get || strcmp(r->method, "DELETE") == 0)) {
        SET(CURLOPT_HTTPGET, 1L);
    } else {
        SET(CURLOPT_POST, 1L);
        if (get) SET(CURLOPT_CUSTOMREQUEST, r->method);
        SET(CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)r->body_len);
        SET(CURLOPT_POSTFIELDS, r->body);
    }
    return 0;
}

static int set_request_options(struct http_handle *a, const struct request *r, bool close_after)
{
    CURL *easy = a->easy;
    int rc = set_method(easy, r);
    if (rc < 0) return rc;
    SET(CURLOPT_URL, r->url);
    SET(CURLOPT_HTTPHEADER, a->nodes);
    SET(CURLOPT_FRESH_CONNECT, r->fresh_connection ? 1L : 0L);
    SET(CURLOPT_FORBID_REUSE, close_after ? 1L : 0L);
    SET(CURLOPT_TIMEOUT_MS, r->timeout_ms < LONG_MAX ? (long)r->timeout_ms : LONG_MAX);
    SET(CURLOPT_PROXY, url_is_local(r->url) ? "" : NULL); /* NULL: what the environment says */
    return 0;
}

/* Before 8.1.1 libcurl keeps a pointer to the last header of a handle's earlier reply, freed by then, and writes
 * through it when the first header line of the next reply begins with a blank (github.com/curl/curl/pull/11103).
 * Instances, and hosts that they name, are not trusted with that, so their handles serve one request. Those for AWS are
 * kept: whoever answers there has proven to be AWS, or is an endpoint that the operator set. */
static int replace_used_handle(struct http_handle *a)
{
    bool trusted = a->o.class == HTTP_IAM || a->o.class == HTTP_STS || a->o.class == HTTP_S3;
    if (!a->used || trusted || curl_version_info(CURLVERSION_NOW)->version_num >= 0x080101) return 0;
    curl_easy_cleanup(a->easy);
    a->easy = curl_easy_init();
    if (!a->easy || set_fixed_options(a) < 0) return ERR_NOMEM;
    a->used = false;
    return 0;
}

int http_handle_load(struct http_handle *a, const struct request *r, const char *const *more, unsigned more_count,
                     bool close_after)
{
    int rc = replace_used_handle(a);
    if (rc == 0) rc = link_headers(a, r, more, more_count);
    if (rc < 0) return rc;
    a->body.max = r->max_reply_bytes;
    a->error[0] = '\0';
    http_head_init(&a->head);
    rc = set_request_options(a, r, close_after);
    if (rc == 0) a->used = true;
    return rc;
}

void http_handle_rest(struct http_handle *a)
{
    if (a->body.cap > WARM_BODY_BYTES)
        buf_done(&a->body);
    else
        buf_reset(&a->body);
    http_head_done(&a->head);
}

/* ---- results ---- */

static int map_unsent(CURLcode code)
{
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT;
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return ERR_NET_RESOLVE;
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_ENGINE_INITFAILED:
        return ERR_NET_TLS;
    case CURLE_URL_MALFORMAT:
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_LOGIN_DENIED:
        return ERR_INVALID;
    case CURLE_OUT_OF_MEMORY:
        return ERR_NOMEM;
    default:
        return ERR_NET_CONNECT;
    }
}

static int map_sent(CURLcode code)
{
    switch (code) {
    case CURLE_OPERATION_TIMEDOUT:
        return ERR_TIMEOUT_SENT;
    case CURLE_WRITE_ERROR: /* our own limits: reply or header bytes */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_UNSUPPORTED_PROTOCOL: /* HTTP/0.9 or 2 */
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_FILESIZE_EXCEEDED:
    case CURLE_OUT_OF_MEMORY:
        return ERR_NET_BAD_REPLY; /* a header or chunk too long for libcurl */
    default:
        return ERR_NET_LOST;
    }
}

long http_handle_status(const struct http_handle *a)
{
    long status = 0;
    (void)curl_easy_getinfo(a->easy, CURLINFO_RESPONSE_CODE, &status);
    return status;
}

int http_handle_result(const struct http_handle *a, CURLcode code)
{
    long sent_bytes = 0, status = http_handle_status(a);
    if (code == CURLE_OK && (status < 100 || a->head.bad_status)) return ERR_NET_BAD_REPLY; /* "HTTP/200 OK" */
    if (code == CURLE_OK && !a->head.complete) return ERR_NET_LOST; /* ended inside the head: fine for libcurl */
    if (code == CURLE_OK) return a->head.encoded && a->body.len > 0 ? ERR_NET_BAD_REPLY : 0;
    (void)curl_easy_getinfo(a->easy, CURLINFO_REQUEST_SIZE, &sent_bytes); /* stays 0 when unknown to libcurl */
    return sent_bytes == 0 ? map_unsent(code) : map_sent(code);
}

const char *http_handle_words(struct http_handle *a, CURLcode code, int err)
{
    if (code == CURLE_WRITE_ERROR && a->body.error == ERR_TOO_LARGE)
        (void)snprintf(a->error, sizeof(a->error), "the reply is larger than %zu bytes", a->body.max);
    else if (code == CURLE_WRITE_ERROR)
        text_copy(a->error, sizeof(a->error), a->body.error ? err_text(a->body.error) : "the reply's head is too long");
    else if (code == CURLE_OUT_OF_MEMORY && err == ERR_NET_BAD_REPLY)
        (void)snprintf(a->error, sizeof(a->error), "a line of the reply's head is too long, or out of memory");
    if (code != CURLE_OK) return a->error[0] ? a->error : curl_easy_strerror(code);
    if (!err) return "";
    if (http_handle_status(a) < 100 || a->head.bad_status) return "the reply has no status";
    return a->head.complete ? "the reply is compressed" : "the reply's head is cut off";
}
