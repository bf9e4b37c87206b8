/* One request and its reply, as the services see them. */
#include "tests/sandbox/request.h"

#include <strings.h>

const char *request_header(const struct request *r, const char *name)
{
    for (int i = 0; i < r->n_headers; i++)
        if (strcasecmp(r->headers[i].name, name) == 0) return r->headers[i].value;
    return NULL;
}

void request_done(struct request *r)
{
    buf_done(&r->body);
    buf_done(&r->reply.body);
    arena_done(&r->arena);
}

void reply_header(struct request *r, const char *name, const char *value)
{
    if (r->reply.n_extra < REPLY_HEADERS_MAX) r->reply.extra[r->reply.n_extra++] = (struct header){name, value};
}
