/* One request and its reply, as the services see them; no word of the HTTP library. */
#ifndef SANDBOX_REQUEST_H
#define SANDBOX_REQUEST_H

#include "tests/sandbox/buf.h"
#include "tests/sandbox/form.h"
#include "tests/sandbox/settings.h"

#include <stdbool.h>
#include <stdint.h>

#define REQUEST_HEADERS_MAX 64
#define REPLY_HEADERS_MAX   6

struct header {
    const char *name;
    const char *value;
};

enum reply_end {
    REPLY_NORMAL,
    REPLY_CLOSE,  /* close the connection without a byte */
    REPLY_ENDLESS /* headers, then a body without end */
};

struct reply {
    int status;
    const char *type; /* static */
    struct buf body;
    struct header extra[REPLY_HEADERS_MAX]; /* values live in the request's arena or are static */
    int n_extra;
    enum reply_end end;
    int64_t delay_ms; /* on top of the service's latency */
};

struct request {
    struct arena arena;
    /* As received. */
    const char *method;
    const char *path;  /* raw, without the query */
    const char *query; /* raw, "" when there is none */
    const char *host;  /* Host header with its port, "" when there is none */
    bool tls;
    bool has_body;
    struct header headers[REQUEST_HEADERS_MAX];
    int n_headers;
    struct buf body;
    struct params params; /* query and form together */
    int64_t now_ms;       /* arrival, sandbox clock, Unix ms */

    /* Filled in while it is routed. */
    enum service service;
    const char *action;          /* static name, "" when unknown */
    bool xml_api;                /* instance: xmlapi, not jsonapi */
    const char *endpoint_region; /* NULL when the address names none */
    const char *bucket;          /* S3: decoded */
    const char *object;          /* S3: decoded, "" for the bucket itself */
    struct sigv4_auth *auth;     /* what the request says of its signature; NULL when it says nothing */
    struct key *signer;          /* key named in the request, verified or not; NULL when unknown */
    struct principal *caller;    /* set once verified */
    struct account *account;
    struct user *target;     /* IAM user acted on, NULL when unknown */
    struct licence *licence; /* whose request this is in the books, NULL when nobody's */
    int64_t stale_ms;        /* lists show the state of this long ago (a fault rule) */

    struct reply reply;
};

/* First header of that name (any case), or NULL. */
const char *request_header(const struct request *r, const char *name);
void request_done(struct request *r);
void reply_header(struct request *r, const char *name, const char *value);

#endif
