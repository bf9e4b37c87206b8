/* HTTP client: curl multi on the loop, behind a queue of our own in front of a fixed set of easy handles per class of
 * host (facts/performance: libcurl collapses beyond some hundred transfers to one host). Loop thread only. */
#ifndef KEYROLL_HTTP_H
#define KEYROLL_HTTP_H

#include "lib/buf.h"
#include "lib/ticket.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;
struct http;

/* Classes of hosts: each has its own handles, its own queue and its own connection rule. */
enum http_class { HTTP_IAM, HTTP_STS, HTTP_S3, HTTP_INSTANCE, HTTP_OTHER, HTTP_CLASSES };

struct http_options {
    const char *ca_file;              /* CA bundle; NULL: /etc/ssl/certs/ca-certificates.crt. CAPATH is always NULL. */
    unsigned handles[HTTP_CLASSES];   /* transfers at once per class; 0 = default (128; IAM 64) */
    unsigned new_handshakes_per_turn; /* TLS connections begun per loop turn, 0 = default 8: bounds the turn's length */
    const char *user_agent;           /* NULL: keyroll/VERSION */
};

/* One request. Everything is borrowed until http_send() returns, which copies what it keeps (body bytes of a secret
 * request are wiped after sending). */
struct http_request {
    enum http_class class;
    const char *method;         /* GET, POST, HEAD, PUT or another upper-case word */
    const char *url;            /* absolute http:// or https:// */
    const char *const *headers; /* "Name: value" strings, NULL-terminated; may be NULL. No empty values (ERR_INVALID) */
    const void *body;           /* may be NULL */
    size_t body_len;
    bool body_is_secret;     /* wipe our copy; never logged anyway */
    bool fresh_connection;   /* CURLOPT_FRESH_CONNECT: CreateAccessKey (libcurl repeats a POST on a dead reused one).
                                Closed after use when its class has 32 connections open already. */
    bool last_on_connection; /* CURLOPT_FORBID_REUSE: instance's and bucket's last request of a job */
    bool ahead;              /* goes before all queued requests of its class that are not: what was begun is finished
                                first, while its connections are open and its lease lasts */
    /* Called when a handle is free and the request is about to go out, if set: the last moment to compute time-bound
     * headers (signature) or to refuse (lease over). Returns 0 to go on; another code completes the request with it,
     * unsent. *ret_headers: NULL-terminated array owned by `prepare_arg`, valid until the completion, sent in addition
     * to `headers`; may stay NULL. */
    int (*prepare)(void *prepare_arg, const char *const **ret_headers);
    void *prepare_arg;
    int64_t queue_timeout_ms; /* most time in our queue, 0 = same as timeout */
    int64_t timeout_ms;       /* whole transfer once it left the queue (connect included), >= 1 */
    size_t max_reply_bytes;   /* larger replies end as ERR_NET_BAD_REPLY; 0 = 1 MiB. Counted after decoding: no
                                 compressed encodings are asked for or accepted. */
};

/* What a ticket is completed with: const struct http_reply *. Borrowed: dies when the completion returns. */
struct http_reply {
    int err;          /* 0: a reply came (any status). ERR_TIMEOUT (never sent), ERR_TIMEOUT_SENT, ERR_NET_CONNECT,
                         ERR_NET_RESOLVE, ERR_NET_TLS, ERR_NET_LOST (sent, no whole reply), ERR_NET_BAD_REPLY,
                         ERR_CANCELLED, ERR_NOMEM, or prepare's */
    int status;       /* HTTP status, 0 when none */
    const char *body; /* NUL-terminated; wiped afterwards when `secret_reply` */
    size_t body_len;
    const char *content_type;  /* "" when absent */
    const char *location;      /* "" when absent; redirects are never followed */
    int64_t date_ms;           /* Date header, TIME_NONE when absent */
    int64_t retry_after_ms;    /* Retry-After (seconds or date) or x-amz-retry-after (ms), -1 when absent */
    const char *request_id;    /* x-amzn-RequestId / x-amz-request-id, "" when absent */
    const char *bucket_region; /* x-amz-bucket-region, "" when absent */
    const char *detail;        /* curl's error text when err != 0; holds no secret */
    int64_t started_mono_ms;   /* when it left the queue; 0 when it never did. With ERR_CANCELLED and a time here the
                                  request may have been sent. */
};

/* Takes SSLKEYLOGFILE out of the environment. ERR_NOMEM, ERR_IO (descriptors), ERR_INTERNAL (libcurl). */
MUST_CHECK int http_new(struct loop *l, const struct http_options *o, struct http **ret_http);
/* Completes everything that is open with ERR_CANCELLED, then frees. Takes NULL. Not from within a completion. */
void http_free(struct http *h);
/* Queues a request. 0: the ticket will be completed exactly once, later. ERR_NOMEM/ERR_INVALID, or ERR_CANCELLED when
 * called from a completion that http_free() causes: nothing happened. Proxies are taken from the environment
 * (https_proxy, HTTPS_PROXY, http_proxy, no_proxy), never for loopback and link-local hosts.
 * All reply buffers are treated as secret (wiped). */
MUST_CHECK int http_send(struct http *h, const struct http_request *req, struct ticket t);
/* Counters for metrics: queued and running transfers per class. */
void http_load(const struct http *h, enum http_class c, unsigned *ret_queued, unsigned *ret_running);

/* The version of libcurl, at run time. */
const char *http_library_version(void);

#endif
