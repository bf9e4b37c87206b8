/* A request of http.h in the queue or under way: one block, its strings and body behind it. Only for lib/http*.c. */
#ifndef KEYROLL_HTTP_REQUEST_H
#define KEYROLL_HTTP_REQUEST_H

#include "lib/http.h"

#define HTTP_REPLY_BYTES ((size_t)1024 * 1024) /* most bytes of a reply whose request does not say */

struct request {
    struct request *prev, *next; /* in the queue */
    struct ticket ticket;
    enum http_class class;
    bool fresh_connection, last_on_connection, ahead;
    int (*prepare)(void *, const char *const **);
    void *prepare_arg;
    int64_t queue_deadline_mono_ms, timeout_ms;
    size_t max_reply_bytes, body_len, block_bytes;
    unsigned headers; /* number of strings at header_text */
    const char *method, *url, *header_text, *body;
};

/* Copies what the caller gave. ERR_INVALID: see http_send(); ERR_NOMEM. */
MUST_CHECK int http_request_new(const struct http_request *req, struct ticket t, struct request **ret_request);
/* Wipes it: url, headers and body may hold secrets. Takes NULL. */
void http_request_free(struct request *r);

#endif
