/* AWS Signature Version 4: reading, verifying, and presigning for the simulated instances.
 *
 * Written from the published description, on purpose without a line shared with the programs under test: two
 * independent readings of the rules have to agree.
 *
 * The chain of derived keys depends on secret, day, region and service only, so it is kept per key (sigv4_cache);
 * a verification then costs four SHA-256 runs over short texts. The canonical request is built in one static buffer.
 * Limits: one thread; SigV4a and signed chunks are not understood. */
#include "tests/sandbox/sigv4.h"

#include "tests/sandbox/hash.h"
#include "tests/sandbox/world.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#define ALGORITHM       "AWS4-HMAC-SHA256"
#define SKEW_MS         (5 * 60 * 1000)
#define S3_SKEW_MS      (15 * 60 * 1000)
#define QUERY_PARTS_MAX 64

struct sigv4_cache {
    struct sigv4_cache *next;
    char day[9];
    char region[32];
    char service[8];
    uint8_t key[SHA256_BYTES];
};

void sigv4_cache_free(struct sigv4_cache *c)
{
    while (c) {
        struct sigv4_cache *next = c->next;
        free(c);
        c = next;
    }
}

void sigv4_time(int64_t now_ms, char out[17])
{
    time_t t = (time_t)(now_ms / 1000);
    struct tm tm;
    (void)gmtime_r(&t, &tm);
    (void)strftime(out, 17, "%Y%m%dT%H%M%SZ", &tm);
}

/* ---- reading --------------------------------------------------------------------------------------------- */

/* Splits "KEY/DAY/REGION/SERVICE/aws4_request". */
static void read_scope(struct request *r, struct sigv4_auth *auth, const char *credential)
{
    char *copy = arena_dup(&r->arena, credential, strlen(credential)), *save = NULL;
    const char *part[6] = {0};
    int n = 0;
    for (char *p = strtok_r(copy, "/", &save); p && n < 6; p = strtok_r(NULL, "/", &save)) part[n++] = p;
    auth->key_id = n > 0 ? part[0] : "";
    auth->day = n > 1 ? part[1] : "";
    auth->region = n > 2 ? part[2] : "";
    auth->service = n > 3 ? part[3] : "";
    if (n != 5 || strcmp(part[4], "aws4_request") != 0) auth->malformed = true;
}

static struct sigv4_auth *read_query(struct request *r)
{
    const char *algorithm = form_get(&r->params, "X-Amz-Algorithm");
    if (!algorithm) return NULL;
    struct sigv4_auth *auth = arena_alloc(&r->arena, sizeof(*auth));
    auth->in_query = true;
    auth->date = form_get(&r->params, "X-Amz-Date");
    auth->signed_headers = form_get(&r->params, "X-Amz-SignedHeaders");
    auth->signature = form_get(&r->params, "X-Amz-Signature");
    auth->token = form_get(&r->params, "X-Amz-Security-Token");
    auth->expires = form_get(&r->params, "X-Amz-Expires");
    const char *credential = form_get(&r->params, "X-Amz-Credential");
    read_scope(r, auth, credential ? credential : "");
    if (strcmp(algorithm, ALGORITHM) != 0 || !auth->date || !auth->signed_headers || !auth->signature)
        auth->malformed = true;
    return auth;
}

/* The value of name= in "Credential=..., SignedHeaders=..., Signature=...". */
static const char *header_part(struct request *r, const char *text, const char *name)
{
    const char *p = strstr(text, name);
    if (!p) return NULL;
    p += strlen(name);
    return arena_dup(&r->arena, p, strcspn(p, ", "));
}

struct sigv4_auth *sigv4_read(struct request *r)
{
    const char *text = request_header(r, "authorization");
    if (!text) return read_query(r);
    struct sigv4_auth *auth = arena_alloc(&r->arena, sizeof(*auth));
    if (strncmp(text, ALGORITHM " ", sizeof(ALGORITHM)) != 0) auth->malformed = true;
    const char *credential = header_part(r, text, "Credential=");
    read_scope(r, auth, credential ? credential : "");
    auth->signed_headers = header_part(r, text, "SignedHeaders=");
    auth->signature = header_part(r, text, "Signature=");
    auth->token = request_header(r, "x-amz-security-token");
    auth->date = request_header(r, "x-amz-date");
    if (!auth->signed_headers || !auth->signature || !auth->date) auth->malformed = true;
    return auth;
}

/* ---- canonical request ----------------------------------------------------------------------------------- */

struct query_part {
    const char *name;
    const char *value;
};

static int compare_parts(const void *a, const void *b)
{
    const struct query_part *x = a, *y = b;
    int c = strcmp(x->name, y->name);
    return c ? c : strcmp(x->value, y->value);
}

static const char *encode_again(struct arena *a, const char *text, size_t len)
{
    size_t n = 0;
    const char *plain = form_decode(a, text, len, 1, &n);
    struct buf b = {0};
    buf_uri(&b, plain, n, 0);
    const char *kept = arena_dup(a, b.data, b.len);
    buf_done(&b);
    return kept;
}

static void canonical_query(struct arena *a, struct buf *out, const char *query)
{
    struct query_part parts[QUERY_PARTS_MAX];
    size_t n = 0;
    while (*query && n < QUERY_PARTS_MAX) {
        size_t len = strcspn(query, "&");
        const char *eq = memchr(query, '=', len);
        size_t name_len = eq ? (size_t)(eq - query) : len;
        bool skip = len == 0 || (name_len == 15 && memcmp(query, "X-Amz-Signature", 15) == 0);
        if (!skip) {
            parts[n].name = encode_again(a, query, name_len);
            parts[n++].value = eq ? encode_again(a, eq + 1, len - name_len - 1) : "";
        }
        query += len + (query[len] == '&');
    }
    qsort(parts, n, sizeof(parts[0]), compare_parts);
    for (size_t i = 0; i < n; i++) buf_printf(out, "%s%s=%s", i ? "&" : "", parts[i].name, parts[i].value);
}

/* Appends a header value with its blanks trimmed and squeezed. */
static void canonical_value(struct buf *out, const char *v)
{
    while (*v == ' ' || *v == '\t') v++;
    for (; *v; v++) {
        bool blank = *v == ' ' || *v == '\t';
        if (!blank)
            buf_putc(out, *v);
        else if (v[1] && v[1] != ' ' && v[1] != '\t')
            buf_putc(out, ' ');
    }
}

/* Appends "name:value\n" for each signed header. Returns false when host is not among them or one is missing. */
static bool canonical_headers(struct buf *out, const struct request *r, const char *signed_headers)
{
    bool host = false;
    for (const char *p = signed_headers; *p;) {
        size_t len = strcspn(p, ";");
        buf_put(out, p, len);
        buf_putc(out, ':');
        int found = 0;
        for (int i = 0; i < r->n_headers; i++) {
            if (strncasecmp(r->headers[i].name, p, len) != 0 || r->headers[i].name[len]) continue;
            if (found++) buf_putc(out, ',');
            canonical_value(out, r->headers[i].value);
        }
        if (!found) return false;
        if (len == 4 && memcmp(p, "host", 4) == 0) host = true;
        buf_putc(out, '\n');
        p += len + (p[len] == ';');
    }
    return host;
}

static bool canonical_request(struct request *r, struct buf *out, const char *payload_hash)
{
    buf_clear(out);
    buf_printf(out, "%s\n", r->method);
    if (r->service == SVC_S3) {
        size_t n = 0;
        const char *plain = form_decode(&r->arena, r->path, strlen(r->path), 0, &n);
        buf_uri(out, plain, n, 1);
    } else {
        buf_uri(out, r->path, strlen(r->path), 1);
    }
    buf_putc(out, '\n');
    canonical_query(&r->arena, out, r->query);
    buf_putc(out, '\n');
    if (!canonical_headers(out, r, r->auth->signed_headers)) return false;
    buf_printf(out, "\n%s\n%s", r->auth->signed_headers, payload_hash);
    return true;
}

/* ---- signature ------------------------------------------------------------------------------------------- */

static void derive(const char *secret, const char *day, const char *region, const char *service,
                   uint8_t out[SHA256_BYTES])
{
    char start[64];
    int n = snprintf(start, sizeof(start), "AWS4%.50s", secret);
    hash_hmac(start, (size_t)n, day, strlen(day), out);
    hash_hmac(out, SHA256_BYTES, region, strlen(region), out);
    hash_hmac(out, SHA256_BYTES, service, strlen(service), out);
    hash_hmac(out, SHA256_BYTES, "aws4_request", 12, out);
}

static const uint8_t *signing_key(struct key *k, const struct sigv4_auth *auth)
{
    struct sigv4_cache *same_place = NULL;
    for (struct sigv4_cache *c = k->cache; c; c = c->next) {
        if (strcmp(c->region, auth->region) != 0 || strcmp(c->service, auth->service) != 0) continue;
        if (strcmp(c->day, auth->day) == 0) return c->key;
        same_place = c;
    }
    if (!same_place) {
        same_place = must_alloc(sizeof(*same_place));
        same_place->next = k->cache;
        k->cache = same_place;
    }
    (void)snprintf(same_place->day, sizeof(same_place->day), "%s", auth->day);
    (void)snprintf(same_place->region, sizeof(same_place->region), "%s", auth->region);
    (void)snprintf(same_place->service, sizeof(same_place->service), "%s", auth->service);
    derive(k->secret, auth->day, auth->region, auth->service, same_place->key);
    return same_place->key;
}

static void sign(const uint8_t *key, const char *date, const char *scope, const struct buf *canonical, char out[65])
{
    uint8_t digest[SHA256_BYTES];
    char hex[65], text[256];
    hash_sha256(canonical->data, canonical->len, digest);
    hash_hex(digest, sizeof(digest), hex);
    int n = snprintf(text, sizeof(text), ALGORITHM "\n%.16s\n%.120s\n%s", date, scope, hex);
    hash_hmac(key, SHA256_BYTES, text, (size_t)n, digest);
    hash_hex(digest, sizeof(digest), out);
}

/* ---- verification ---------------------------------------------------------------------------------------- */

static bool refuse(struct sigv4_failure *why, int http, const char *code, const char *message)
{
    *why = (struct sigv4_failure){http, code, message};
    return false;
}

static bool check_form(const struct request *r, struct sigv4_failure *why)
{
    const struct sigv4_auth *auth = r->auth;
    bool s3 = r->service == SVC_S3;
    if (!auth) {
        if (s3) return refuse(why, 403, "AccessDenied", "Access Denied");
        return refuse(why, 403, "MissingAuthenticationToken", "Request is missing Authentication Token");
    }
    if (auth->malformed && s3 && auth->in_query)
        return refuse(why, 400, "AuthorizationQueryParametersError",
                      "Query-string authentication version 4 requires "
                      "the X-Amz-Algorithm, X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
                      "X-Amz-Expires parameters.");
    if (auth->malformed && s3)
        return refuse(why, 400, "AuthorizationHeaderMalformed", "The authorization header is malformed.");
    if (auth->malformed)
        return refuse(why, 400, "IncompleteSignature",
                      "Authorization header requires 'Credential', 'Signature', "
                      "'SignedHeaders' and a date parameter.");
    return true;
}

static bool check_key(struct world *w, struct request *r, struct sigv4_failure *why)
{
    bool s3 = r->service == SVC_S3;
    struct key *k = r->signer;
    if (!k || !key_usable(w, k, r->service, r->now_ms)) {
        if (s3)
            return refuse(why, 403, "InvalidAccessKeyId",
                          "The AWS Access Key Id you provided does not exist in our "
                          "records.");
        return refuse(why, 403, "InvalidClientTokenId", "The security token included in the request is invalid.");
    }
    if (!k->session) return true;
    const char *token = r->auth->token;
    if (!token || strcmp(token, k->session->token) != 0) {
        if (s3 && token)
            return refuse(why, 400, "InvalidToken", "The provided token is malformed or otherwise invalid.");
        if (s3)
            return refuse(why, 403, "InvalidAccessKeyId",
                          "The AWS Access Key Id you provided does not exist in our "
                          "records.");
        return refuse(why, 403, "InvalidClientTokenId", "The security token included in the request is invalid.");
    }
    if (k->session->expires_ms > r->now_ms) return true;
    if (s3) return refuse(why, 400, "ExpiredToken", "The provided token has expired.");
    return refuse(why, 403, "ExpiredToken", "The security token included in the request is expired");
}

static bool check_scope(struct world *w, struct request *r, const char *region, struct sigv4_failure *why)
{
    const struct sigv4_auth *auth = r->auth;
    bool right_region = region ? strcmp(auth->region, region) == 0
                               : strcmp(auth->region, w->region) == 0 || strcmp(auth->region, "us-east-1") == 0;
    bool right_service = strcmp(auth->service, service_name(r->service)) == 0;
    bool right_day = strlen(auth->day) == 8 && strncmp(auth->day, auth->date, 8) == 0;
    if (right_region && right_service && right_day) return true;
    if (r->service == SVC_S3 && !right_region)
        return refuse(why, 400, "AuthorizationHeaderMalformed",
                      arena_printf(&r->arena,
                                   "The authorization header is malformed; the region '%s' is wrong; "
                                   "expecting '%s'",
                                   auth->region, region ? region : w->region));
    if (r->service == SVC_S3)
        return refuse(why, 400, "AuthorizationHeaderMalformed",
                      "The authorization header is malformed; the "
                      "credential scope is wrong.");
    if (!right_region)
        return refuse(why, 403, "SignatureDoesNotMatch", "Credential should be scoped to a valid region. ");
    if (!right_service)
        return refuse(why, 403, "SignatureDoesNotMatch",
                      arena_printf(&r->arena, "Credential should be scoped to correct service: '%s'. ",
                                   service_name(r->service)));
    return refuse(why, 403, "SignatureDoesNotMatch",
                  "Date in Credential scope does not match YYYYMMDD from ISO-8601 "
                  "version of date from HTTP");
}

/* Unix ms of YYYYMMDDTHHMMSSZ, or -1. */
static int64_t read_time(const char *text)
{
    struct tm tm = {0};
    const char *end = strptime(text, "%Y%m%dT%H%M%SZ", &tm);
    if (!end || *end) return -1;
    return (int64_t)timegm(&tm) * 1000;
}

static bool check_presigned_time(const struct request *r, int64_t at_ms, struct sigv4_failure *why)
{
    long long expires = r->auth->expires ? atoll(r->auth->expires) : 0;
    if (expires < 1 || expires > 604800)
        return refuse(why, 400, "AuthorizationQueryParametersError",
                      "X-Amz-Expires must be a number of seconds "
                      "between 1 and 604800");
    if (at_ms > r->now_ms + S3_SKEW_MS) return refuse(why, 403, "AccessDenied", "Request is not valid yet");
    if (at_ms + expires * 1000 < r->now_ms) return refuse(why, 403, "AccessDenied", "Request has expired");
    return true;
}

static bool check_time(struct request *r, struct sigv4_failure *why)
{
    int64_t at_ms = read_time(r->auth->date);
    if (at_ms < 0 && r->service != SVC_S3)
        return refuse(why, 400, "IncompleteSignature", "Date must be in ISO-8601 'basic format'.");
    if (at_ms < 0)
        return refuse(why, 403, "AccessDenied",
                      "AWS authentication requires a valid Date or x-amz-date "
                      "header");
    if (r->auth->in_query && r->service == SVC_S3) return check_presigned_time(r, at_ms, why);
    int64_t off = r->now_ms - at_ms;
    if (r->service == SVC_S3) {
        if (off <= S3_SKEW_MS && off >= -S3_SKEW_MS) return true;
        return refuse(why, 403, "RequestTimeTooSkewed",
                      "The difference between the request time and the current time "
                      "is too large.");
    }
    if (off <= SKEW_MS && off >= -SKEW_MS) return true;
    char now[17], bound[17];
    sigv4_time(r->now_ms, now);
    sigv4_time(r->now_ms + (off > 0 ? -SKEW_MS : SKEW_MS), bound);
    return refuse(why, 403, "SignatureDoesNotMatch",
                  off > 0
                      ? arena_printf(&r->arena, "Signature expired: %s is now earlier than %s (%s - 5 min.)",
                                     r->auth->date, bound, now)
                      : arena_printf(&r->arena, "Signature not yet current: %s is still later than %s (%s + 5 min.)",
                                     r->auth->date, bound, now));
}

/* The payload hash to put into the canonical request, or NULL after refusing. */
static const char *payload_hash(struct request *r, struct sigv4_failure *why)
{
    uint8_t digest[SHA256_BYTES];
    char *hex = arena_alloc(&r->arena, 65);
    if (r->service == SVC_S3 && r->auth->in_query) return "UNSIGNED-PAYLOAD";
    const char *claimed = request_header(r, "x-amz-content-sha256");
    if (r->service == SVC_S3 && !claimed) {
        (void)refuse(why, 400, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256");
        return NULL;
    }
    if (r->service == SVC_S3 && strlen(claimed) != 64) {
        if (strcmp(claimed, "UNSIGNED-PAYLOAD") == 0 || strcmp(claimed, "STREAMING-UNSIGNED-PAYLOAD-TRAILER") == 0)
            return claimed;
        (void)refuse(why, 400, "InvalidArgument",
                     "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, or a valid sha256 "
                     "value.");
        return NULL;
    }
    hash_sha256(r->body.data ? r->body.data : "", r->body.len, digest);
    hash_hex(digest, sizeof(digest), hex);
    if (r->service == SVC_S3 && strcmp(hex, claimed) != 0) {
        (void)refuse(why, 400, "XAmzContentSHA256Mismatch",
                     "The provided 'x-amz-content-sha256' header does not match "
                     "what was computed.");
        return NULL;
    }
    return hex;
}

static bool check_signature(struct request *r, struct sigv4_failure *why)
{
    static struct buf canonical;
    const struct sigv4_auth *auth = r->auth;
    const char *hash = payload_hash(r, why);
    if (!hash) return false;
    char scope[128], wanted[65];
    (void)snprintf(scope, sizeof(scope), "%s/%s/%s/aws4_request", auth->day, auth->region, auth->service);
    if (canonical_request(r, &canonical, hash)) {
        sign(signing_key(r->signer, auth), auth->date, scope, &canonical, wanted);
        if (strlen(auth->signature) == 64 && CRYPTO_memcmp(wanted, auth->signature, 64) == 0) return true;
    }
    if (r->service == SVC_S3)
        return refuse(why, 403, "SignatureDoesNotMatch",
                      "The request signature we calculated does not match the "
                      "signature you provided. Check your key and signing method.");
    return refuse(why, 403, "SignatureDoesNotMatch",
                  "The request signature we calculated does not match the signature "
                  "you provided. Check your AWS Secret Access Key and signing method. Consult the service "
                  "documentation for details.");
}

bool sigv4_verify(struct world *w, struct request *r, const char *region, struct sigv4_failure *ret_why)
{
    return check_form(r, ret_why) && check_scope(w, r, region, ret_why) && check_key(w, r, ret_why) &&
           check_time(r, ret_why) && check_signature(r, ret_why);
}

/* ---- presigning ------------------------------------------------------------------------------------------ */

const char *sigv4_presign(struct arena *a, const char *method, const char *host, const char *path, const char *region,
                          const char *key_id, const char *secret, int64_t now_ms, int expires_s)
{
    char date[17], day[9], scope[128], signature[65];
    uint8_t key[SHA256_BYTES];
    sigv4_time(now_ms, date);
    (void)snprintf(day, sizeof(day), "%.8s", date);
    (void)snprintf(scope, sizeof(scope), "%s/%s/s3/aws4_request", day, region);
    struct buf credential = {0}, canonical = {0};
    char *full = arena_printf(a, "%s/%s", key_id, scope);
    buf_uri(&credential, full, strlen(full), 0);
    const char *query = arena_printf(a,
                                     "X-Amz-Algorithm=" ALGORITHM "&X-Amz-Credential=%s&X-Amz-Date=%s"
                                     "&X-Amz-Expires=%d&X-Amz-SignedHeaders=host",
                                     credential.data, date, expires_s);
    buf_printf(&canonical, "%s\n", method);
    buf_puts(&canonical, path);
    buf_printf(&canonical, "\n%s\nhost:%s\n\nhost\nUNSIGNED-PAYLOAD", query, host);
    derive(secret, day, region, "s3", key);
    sign(key, date, scope, &canonical, signature);
    buf_done(&credential);
    buf_done(&canonical);
    return arena_printf(a, "%s&X-Amz-Signature=%s", query, signature);
}
