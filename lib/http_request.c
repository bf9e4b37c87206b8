/* Requests (http_request.h). Thousands may wait, so each is one allocation of the size that it needs. */
#include "lib/http_request.h"

#include "lib/err.h"
#include "lib/http_valid.h"
#include "lib/secret.h"

#include <string.h>

void http_request_free(struct request *r)
{
    if (!r) return;
    secret_wipe(r, r->block_bytes);
    free(r);
}

static const char *put(char **at, const void *bytes, size_t len)
{
    char *start = *at;
    if (len) memcpy(start, bytes, len);
    *at += len;
    return start;
}

int http_request_new(const struct http_request *req, struct ticket t, struct request **ret_request)
{
    unsigned headers;
    size_t header_bytes, url_len;
    if (!req->method || !req->url || (unsigned)req->class >= HTTP_CLASSES || req->timeout_ms < 1) return ERR_INVALID;
    if (!http_method_is_valid(req->method) || !http_url_is_valid(req->url) || req->queue_timeout_ms < 0)
        return ERR_INVALID;
    if (!http_headers_are_valid(req->headers, &headers, &header_bytes)) return ERR_INVALID;
    if (req->body_len > 0 && (!req->body || strcmp(req->method, "HEAD") == 0)) return ERR_INVALID;
    url_len = strlen(req->url);
    size_t method_len = strlen(req->method);
    size_t bytes = sizeof(struct request) + url_len + 1 + method_len + 1 + header_bytes + req->body_len + 1;
    struct request *r = malloc(bytes);
    if (!r) return ERR_NOMEM;
    *r = (struct request){
        .ticket = t,
        .class = req->class,
        .fresh_connection = req->fresh_connection,
        .last_on_connection = req->last_on_connection,
        .ahead = req->ahead,
        .prepare = req->prepare,
        .prepare_arg = req->prepare_arg,
        .timeout_ms = req->timeout_ms,
        .max_reply_bytes = req->max_reply_bytes ? req->max_reply_bytes : HTTP_REPLY_BYTES,
        .body_len = req->body_len,
        .block_bytes = bytes,
        .headers = headers,
    };
    char *at = (char *)(r + 1);
    r->method = put(&at, req->method, method_len + 1);
    r->url = put(&at, req->url, url_len + 1);
    r->header_text = at;
    for (unsigned i = 0; i < headers; i++) (void)put(&at, req->headers[i], strlen(req->headers[i]) + 1);
    r->body = put(&at, req->body, req->body_len);
    *at = '\0';
    *ret_request = r;
    return 0;
}
