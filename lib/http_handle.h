/* One easy handle of libcurl and what its transfer needs: options, header list, reply, result. It knows nothing of
 * queues, sockets and turns: those are http.c's. Only for lib/http*.c; loop thread only. */
#ifndef KEYROLL_HTTP_HANDLE_H
#define KEYROLL_HTTP_HANDLE_H

#include "lib/http_head.h"
#include "lib/http_request.h"

#include <curl/curl.h>

struct http_handle_options {
    void *owner; /* CURLOPT_PRIVATE, and the first argument of open_socket */
    enum http_class class;
    const char *ca_file, *user_agent; /* borrowed for as long as the handle lives */
    curl_opensocket_callback open_socket;
    curl_closesocket_callback close_socket;
    void *close_arg;
};
struct http_handle {
    struct http_handle_options o;
    CURL *easy;
    struct http_head head;
    struct buf body;
    struct curl_slist *nodes; /* owned array, linked in order; data points into the request */
    size_t nodes_cap;
    bool used; /* it had a transfer */
    char error[CURL_ERROR_SIZE];
};

/* libcurl with an allocator that wipes what it frees; curl_global_cleanup() ends it. ERR_NOMEM. */
MUST_CHECK int http_handle_global_init(void);
/* ERR_NOMEM; a is to be given to http_handle_done() in any case. */
MUST_CHECK int http_handle_init(struct http_handle *a, const struct http_handle_options *o);
void http_handle_done(struct http_handle *a);
/* Sets all options for this request, which stays the caller's until the transfer ended. more: headers on top of its
 * own, more_count of them. close_after: the connection is not kept. ERR_NOMEM. */
MUST_CHECK int http_handle_load(struct http_handle *a, const struct request *r, const char *const *more,
                                unsigned more_count, bool close_after);
/* Wipes the reply; the handle stays warm. */
void http_handle_rest(struct http_handle *a);
/* The reply's status, 0 none. */
long http_handle_status(const struct http_handle *a);
/* How a transfer ended, as http_reply.err. "Sent" means that libcurl wrote at least one byte of the request. */
int http_handle_result(const struct http_handle *a, CURLcode code);
/* Why, in words: libcurl's where it knows, ours where the limit or the rule is ours. err: from http_handle_result().
 * Borrowed until the next transfer. */
const char *http_handle_words(struct http_handle *a, CURLcode code, int err);

#endif
