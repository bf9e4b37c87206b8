/* The floor's requests. Signature Version 4 by hand on OpenSSL: one canonical request, the operator's signing keys
 * cached with their HMAC states begun, so that a signature costs three hashes. Forms and headers have the names and
 * lengths of those that the worker sends. Replies are searched, not parsed. Uses nothing of the product. */
#include "tests/bench/floor_request.h"

#include <openssl/evp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define HASH_BYTES 32
#define BLOCK      64
#define CACHE_MAX  64

struct floor_key {
    char id[32], scope[96]; /* scope: "date/region/service/aws4_request" */
    EVP_MD_CTX *inner, *outer;
};

static EVP_MD *sha256;
static struct floor_key cache[CACHE_MAX];
static size_t cached;

static void must(bool ok, const char *what)
{
    if (ok) return;
    fprintf(stderr, "floor: %s\n", what);
    exit(1);
}

static EVP_MD_CTX *context(void)
{
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    must(c != NULL, "out of memory");
    return c;
}

/* ---- hashes -------------------------------------------------------------------------------------------------------
 */

static void hash_hex(const uint8_t digest[HASH_BYTES], char out[2 * HASH_BYTES + 1])
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < HASH_BYTES; i++) {
        out[2 * i] = digits[digest[i] >> 4];
        out[2 * i + 1] = digits[digest[i] & 15];
    }
    out[2 * HASH_BYTES] = '\0';
}

static void hash(const void *data, size_t len, char hex[2 * HASH_BYTES + 1])
{
    static EVP_MD_CTX *c;
    uint8_t digest[HASH_BYTES];
    if (!c) c = context();
    must(EVP_DigestInit_ex2(c, sha256, NULL) && EVP_DigestUpdate(c, data, len) && EVP_DigestFinal_ex(c, digest, NULL),
         "hash");
    hash_hex(digest, hex);
}

static void hmac_begin(struct floor_key *k, const void *key, size_t len)
{
    uint8_t inner[BLOCK], outer[BLOCK];
    memset(inner, 0x36, BLOCK);
    memset(outer, 0x5c, BLOCK);
    for (size_t i = 0; i < len; i++) {
        inner[i] ^= ((const uint8_t *)key)[i];
        outer[i] ^= ((const uint8_t *)key)[i];
    }
    if (!k->inner) k->inner = context();
    if (!k->outer) k->outer = context();
    must(EVP_DigestInit_ex2(k->inner, sha256, NULL) && EVP_DigestUpdate(k->inner, inner, BLOCK), "hmac");
    must(EVP_DigestInit_ex2(k->outer, sha256, NULL) && EVP_DigestUpdate(k->outer, outer, BLOCK), "hmac");
}

static void hmac_end(const struct floor_key *k, const void *data, size_t len, uint8_t out[HASH_BYTES])
{
    static EVP_MD_CTX *c;
    uint8_t digest[HASH_BYTES];
    if (!c) c = context();
    must(EVP_MD_CTX_copy_ex(c, k->inner) && EVP_DigestUpdate(c, data, len) && EVP_DigestFinal_ex(c, digest, NULL),
         "hmac");
    must(EVP_MD_CTX_copy_ex(c, k->outer) && EVP_DigestUpdate(c, digest, HASH_BYTES) && EVP_DigestFinal_ex(c, out, NULL),
         "hmac");
}

/* ---- signing ------------------------------------------------------------------------------------------------------
 */

static void derive(struct floor_key *k, const char *secret, const char *date, const char *region, const char *service)
{
    char first[80];
    uint8_t digest[HASH_BYTES];
    const char *const parts[] = {date, region, service, "aws4_request"};
    int n = snprintf(first, sizeof(first), "AWS4%s", secret);
    hmac_begin(k, first, (size_t)n);
    for (size_t i = 0; i < 4; i++) {
        hmac_end(k, parts[i], strlen(parts[i]), digest);
        hmac_begin(k, digest, HASH_BYTES);
    }
}

/* keep: an operator's key; one of a licence is used twice and forgotten. */
static const struct floor_key *key_for(const char *id, const char *secret, const char *date, const char *region,
                                       const char *service, const char *scope, bool keep)
{
    static struct floor_key once;
    for (size_t i = 0; keep && i < cached; i++)
        if (!strcmp(cache[i].id, id) && !strcmp(cache[i].scope, scope)) return &cache[i];
    struct floor_key *k = keep && cached < CACHE_MAX ? &cache[cached++] : &once;
    snprintf(k->id, sizeof(k->id), "%s", id);
    snprintf(k->scope, sizeof(k->scope), "%s", scope);
    derive(k, secret, date, region, service);
    return k;
}

struct signer {
    const char *id, *secret, *region, *service;
    bool keep;
};

/* Fills Authorization, X-Amz-Date and, for S3, X-Amz-Content-SHA256. host and path are those of the URL. */
static void sign(struct floor_message *m, const struct signer *s, const char *host, const char *path, const char *query)
{
    static const char form[] = "application/x-www-form-urlencoded; charset=utf-8";
    char stamp[20], date[12], scope[96], payload[65], digest[65], canonical[1024], text[256];
    uint8_t signature[HASH_BYTES];
    bool s3 = m->host == HOST_S3;
    time_t now = time(NULL);
    struct tm tm;
    gmtime_r(&now, &tm);
    strftime(stamp, sizeof(stamp), "%Y%m%dT%H%M%SZ", &tm);
    strftime(date, sizeof(date), "%Y%m%d", &tm);
    snprintf(scope, sizeof(scope), "%s/%s/%s/aws4_request", date, s->region, s->service);
    hash(m->body, m->body_len, payload);
    int n = s3 ? snprintf(canonical, sizeof(canonical),
                          "GET\n%s\n%s\nhost:%s\nx-amz-content-sha256:%s\nx-amz-date:%s\n\n%s\n%s", path, query, host,
                          payload, stamp, "host;x-amz-content-sha256;x-amz-date", payload)
               : snprintf(canonical, sizeof(canonical), "POST\n%s\n\ncontent-type:%s\nhost:%s\nx-amz-date:%s\n\n%s\n%s",
                          path, form, host, stamp, "content-type;host;x-amz-date", payload);
    hash(canonical, (size_t)n, digest);
    n = snprintf(text, sizeof(text), "AWS4-HMAC-SHA256\n%s\n%s\n%s", stamp, scope, digest);
    hmac_end(key_for(s->id, s->secret, date, s->region, s->service, scope, s->keep), text, (size_t)n, signature);
    hash_hex(signature, digest);
    snprintf(m->head[0], sizeof(m->head[0]),
             "Authorization: AWS4-HMAC-SHA256 Credential=%s/%s, SignedHeaders=%s, Signature=%s", s->id, scope,
             s3 ? "host;x-amz-content-sha256;x-amz-date" : "content-type;host;x-amz-date", digest);
    snprintf(m->head[1], sizeof(m->head[1]), "X-Amz-Date: %s", stamp);
    if (s3)
        snprintf(m->head[2], sizeof(m->head[2]), "X-Amz-Content-SHA256: %s", payload);
    else
        snprintf(m->head[2], sizeof(m->head[2]), "Content-Type: %s", form);
    m->heads = 3;
}

/* ---- AWS ----------------------------------------------------------------------------------------------------------
 */

static void build_query(const struct floor_endpoints *e, const struct floor_target *t, enum floor_call call,
                        struct floor_message *m)
{
    static const char *const actions[CALLS] = {[CALL_LIST] = "ListAccessKeys",
                                               [CALL_CREATE] = "CreateAccessKey",
                                               [CALL_IDENTITY] = "GetCallerIdentity",
                                               [CALL_DEACTIVATE] = "UpdateAccessKey",
                                               [CALL_LAST_USED] = "GetAccessKeyLastUsed",
                                               [CALL_DELETE] = "DeleteAccessKey"};
    bool sts = call == CALL_IDENTITY;
    const char *base = sts ? e->sts : e->iam;
    m->host = sts ? HOST_STS : HOST_IAM;
    int n =
        snprintf(m->body, sizeof(m->body), "Action=%s&Version=%s", actions[call], sts ? "2011-06-15" : "2010-05-08");
    if (!sts && call != CALL_LAST_USED)
        n += snprintf(m->body + n, sizeof(m->body) - (size_t)n, "&UserName=%s", t->user);
    if (call == CALL_DEACTIVATE || call == CALL_LAST_USED || call == CALL_DELETE)
        n += snprintf(m->body + n, sizeof(m->body) - (size_t)n, "&AccessKeyId=%s", t->old_id);
    if (call == CALL_DEACTIVATE) n += snprintf(m->body + n, sizeof(m->body) - (size_t)n, "&Status=Inactive");
    m->body_len = (size_t)n;
    snprintf(m->url, sizeof(m->url), "%s/", base);
    const struct signer own = {t->operator_id, t->operator_secret, "us-east-1", "iam", true};
    const struct signer probe = {t->new_id, t->new_secret, t->region, "sts", false};
    sign(m, sts ? &probe : &own, strstr(base, "://") + 3, "/", "");
}

static void build_list_bucket(const struct floor_endpoints *e, const struct floor_target *t, struct floor_message *m)
{
    static const char query[] = "list-type=2&max-keys=1";
    const char *host = strstr(e->s3, "://") + 3;
    char own_host[FLOOR_TEXT_MAX + 64], path[80];
    snprintf(own_host, sizeof(own_host), "%s%s%s", e->virtual_buckets ? t->bucket : "", e->virtual_buckets ? "." : "",
             host);
    snprintf(path, sizeof(path), "/%s", e->virtual_buckets ? "" : t->bucket);
    m->host = HOST_S3;
    m->body_len = 0;
    snprintf(m->url, sizeof(m->url), "%.*s%s%s?%s", (int)(host - e->s3), e->s3, own_host, path, query);
    const struct signer probe = {t->new_id, t->new_secret, t->region, "s3", false};
    sign(m, &probe, own_host, path, query);
}

/* ---- instance -----------------------------------------------------------------------------------------------------
 */

#define BOUNDARY "keyroll-0123456789abcdef0123456789abcdef"

static void add_field(struct floor_message *m, const char *name, const char *value)
{
    int n = snprintf(m->body + m->body_len, sizeof(m->body) - m->body_len,
                     "--" BOUNDARY "\r\nContent-Disposition: form-data; name=\"%s\"\r\n\r\n%s\r\n", name, value);
    m->body_len += (size_t)n;
    must(m->body_len < sizeof(m->body), "a form is too long");
}

static void build_instance(const struct floor_target *t, enum floor_call call, struct floor_message *m)
{
    char input[256];
    m->host = HOST_INSTANCE;
    m->body_len = 0;
    snprintf(m->url, sizeof(m->url), "%s/jsonapi/system.json", t->instance);
    add_field(m, "user", t->login);
    add_field(m, "password", t->password);
    add_field(m, "version", "4");
    if (call == CALL_READ) {
        add_field(m, "style", "modeldata");
        add_field(m, "modelstructure", "systemdetails");
    } else {
        add_field(m, "action", call == CALL_WRITE ? "update" : "testaws");
    }
    if (call == CALL_WRITE) {
        snprintf(input, sizeof(input),
                 "{\"data\":[{\"systemparameters_iamaccesskey\":\"%s\",\"systemparameters_iamsecretkey\":\"%s\"}]}",
                 t->new_id, t->new_secret);
        add_field(m, "input", input);
    }
    m->body_len += (size_t)snprintf(m->body + m->body_len, sizeof(m->body) - m->body_len, "--" BOUNDARY "--\r\n");
    snprintf(m->head[0], sizeof(m->head[0]), "Content-Type: multipart/form-data; boundary=" BOUNDARY);
    m->heads = 1;
}

void floor_build(const struct floor_endpoints *e, const struct floor_target *t, enum floor_call call,
                 struct floor_message *ret)
{
    if (!sha256) sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    must(sha256 != NULL, "SHA256");
    if (call == CALL_READ || call == CALL_WRITE || call == CALL_TEST)
        build_instance(t, call, ret);
    else if (call == CALL_BUCKET)
        build_list_bucket(e, t, ret);
    else
        build_query(e, t, call, ret);
}

/* ---- replies ------------------------------------------------------------------------------------------------------
 */

/* Copies what stands between two texts. */
static bool between(const char *body, const char *before, const char *after, char *out, size_t size)
{
    const char *from = strstr(body, before), *to = from ? strstr(from + strlen(before), after) : NULL;
    if (!to) return false;
    from += strlen(before);
    size_t len = (size_t)(to - from);
    if (len == 0 || len >= size) return false;
    memcpy(out, from, len);
    out[len] = '\0';
    return true;
}

bool floor_take(struct floor_target *t, enum floor_call call, long status, const char *body)
{
    char id[32];
    if (status != 200) return false;
    switch (call) {
    case CALL_LIST:
        return t->new_id[0] ? strstr(body, t->new_id) != NULL
                            : between(body, "<AccessKeyId>", "<", t->old_id, sizeof(t->old_id));
    case CALL_CREATE:
        return between(body, "<AccessKeyId>", "<", t->new_id, sizeof(t->new_id)) &&
               between(body, "<SecretAccessKey>", "<", t->new_secret, sizeof(t->new_secret));
    case CALL_IDENTITY:
        return strstr(body, t->user) != NULL;
    case CALL_BUCKET:
        return strstr(body, "<ListBucketResult") != NULL;
    case CALL_READ:
        return between(body, "systemparameters_iamaccesskey\":\"", "\"", id, sizeof(id)) ||
               strstr(body, t->new_id[0] ? t->new_id : t->old_id);
    default:
        return true;
    }
}
