/* The small HTTP server (libmicrohttpd on the loop) for /healthz, /readyz, /metrics. Loop thread only. */
#ifndef KEYROLL_HTTP_SERVER_H
#define KEYROLL_HTTP_SERVER_H

#include "lib/buf.h"

#include <stdint.h>

struct loop;
struct http_server;
struct http_server_request {
    const char *method, *path;
};
/* Fills body and content type; returns the HTTP status. */
typedef int (*http_server_fn)(void *arg, const struct http_server_request *req, struct buf *body,
                              const char **ret_content_type);
/* listen: numeric "127.0.0.1:9464", "[::]:9464", or "localhost:9464"; port 0 = any. ERR_INVALID, ERR_IO (address in
 * use ...), ERR_NOMEM. fn runs on the loop for GET and HEAD; other methods (405) and requests with a body (413) are
 * refused without it. A body beyond 4 MiB becomes a 500. It may not free the server. */
MUST_CHECK int http_server_new(struct loop *l, const char *listen, http_server_fn fn, void *arg,
                               struct http_server **ret_server);
/* The port it listens on. */
int http_server_port(const struct http_server *s);
/* Closes all connections. Takes NULL. */
void http_server_free(struct http_server *s);

/* The version of libmicrohttpd, at run time. */
const char *http_server_library_version(void);

#endif
