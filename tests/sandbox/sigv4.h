/* AWS Signature Version 4: reading, verifying, and presigning for the simulated instances. */
#ifndef SANDBOX_SIGV4_H
#define SANDBOX_SIGV4_H

#include "tests/sandbox/request.h"

#include <stdbool.h>

struct world;
struct key;
struct sigv4_cache;

/* What a request says of its own signature. Strings live in the request's arena. */
struct sigv4_auth {
    bool in_query;  /* presigned URL */
    bool malformed; /* some part is missing or odd */
    const char *key_id;
    const char *day; /* YYYYMMDD */
    const char *region;
    const char *service;
    const char *date; /* YYYYMMDDTHHMMSSZ */
    const char *signed_headers;
    const char *signature;
    const char *token; /* session token or NULL */
    const char *expires;
};

/* Why a signature was refused, in the service's own words. */
struct sigv4_failure {
    int http;
    const char *code;
    const char *message;
};

/* Reads the Authorization header or the X-Amz- query. Returns NULL when the request carries neither. */
struct sigv4_auth *sigv4_read(struct request *r);

/* Verifies r->auth for r->service. region: the endpoint's region, or NULL when the address names none (then the
 * world's own region and us-east-1 are taken). Key state, scope, clock, session token, payload hash and signature
 * are checked. Returns true when all is well, else false and *ret_why.
 * Source: docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html */
bool sigv4_verify(struct world *w, struct request *r, const char *region, struct sigv4_failure *ret_why);

/* The query string of a presigned S3 URL, signed with any pair, good or bad. host and path as they will be sent. */
const char *sigv4_presign(struct arena *a, const char *method, const char *host, const char *path, const char *region,
                          const char *key_id, const char *secret, int64_t now_ms, int expires_s);

void sigv4_cache_free(struct sigv4_cache *c);
/* YYYYMMDDTHHMMSSZ of a Unix time. */
void sigv4_time(int64_t now_ms, char out[17]);

#endif
