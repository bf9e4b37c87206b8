/* AWS Signature Version 4 by hand: 300 lines instead of the differences between libcurl's versions (7.88 sorts no query
 * and sends no S3 hash), and a tenth of the cost. Rules:
 * docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html. Cost: SHA-256 is fetched from
 * OpenSSL once, contexts and the scratch buffer are kept, the derived key (four HMACs) is cached per key id, day,
 * region and service in a table with least-recently-used eviction. A cached key is used only when the secret is the one
 * it was derived from: a probe with a wrong secret must fail; a hash of the secret stands for it, since the cache
 * outlives the rotation whose secret it was. Derived keys live in struct secret. Limits: header
 * signing only, no chunked uploads, no SigV4a; at most 32 headers and 128 query parameters; loop thread only. */
#include "lib/aws_sign.h"

#include "lib/clock.h"
#include "lib/err.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <string.h>
#include <strings.h>
#include <sys/queue.h>

#define HASH_BYTES    32
#define BLOCK_BYTES   64
#define HEADERS_MAX   32
#define PARAMS_MAX    128
#define SCOPE_MAX     288 /* key id 128, day 8, region 64, service 64, slashes */
#define CANONICAL_MAX ((size_t)64 << 10)
#define AMZ_DATE_MAX  17 /* 20150830T123600Z */

struct entry {
    TAILQ_ENTRY(entry) use; /* least recently used first */
    struct entry *next;     /* in its bucket */
    uint64_t hash;
    struct secret *material; /* derived key (32 bytes), then the hash of its secret */
    char scope[];            /* "AKID/20150830/us-east-1/iam" */
};
struct aws_sign_keys {
    EVP_MD *sha256;
    EVP_MD_CTX *ctx;
    struct buf scratch; /* canonical request; secret because of the session token */
    TAILQ_HEAD(, entry) uses;
    struct entry **buckets;
    size_t n_buckets, n_entries, max_entries;
};

/* ---- hashes ---- */

struct hasher {
    const EVP_MD *md;
    EVP_MD_CTX *ctx;
};

static int hash2(struct hasher h, const void *a, size_t a_len, const void *b, size_t b_len, uint8_t out[HASH_BYTES])
{
    bool ok = EVP_DigestInit_ex2(h.ctx, h.md, NULL) && EVP_DigestUpdate(h.ctx, a, a_len) &&
              EVP_DigestUpdate(h.ctx, b, b_len) && EVP_DigestFinal_ex(h.ctx, out, NULL);
    return ok ? 0 : ERR_NOMEM;
}

/* HMAC-SHA-256 (RFC 2104). out may be key. */
static int hmac(struct hasher h, const void *key, size_t key_len, const void *data, size_t len, uint8_t out[HASH_BYTES])
{
    uint8_t pad[BLOCK_BYTES] = {0}, inner[HASH_BYTES];
    int rc = 0;
    if (key_len > BLOCK_BYTES)
        rc = hash2(h, key, key_len, "", 0, pad);
    else
        memcpy(pad, key, key_len);
    for (size_t i = 0; i < BLOCK_BYTES; i++) pad[i] ^= 0x36;
    if (!rc) rc = hash2(h, pad, BLOCK_BYTES, data, len, inner);
    for (size_t i = 0; i < BLOCK_BYTES; i++) pad[i] ^= 0x36 ^ 0x5c;
    if (!rc) rc = hash2(h, pad, BLOCK_BYTES, inner, HASH_BYTES, out);
    secret_wipe(pad, sizeof(pad));
    return rc;
}

/* ---- cache of derived keys ---- */

static size_t power_of_two(size_t at_least)
{
    size_t n = 16;
    while (n < at_least) n *= 2;
    return n;
}

struct aws_sign_keys *aws_sign_keys_new(size_t max_entries)
{
    struct aws_sign_keys *k = calloc(1, sizeof(*k));
    if (!k) return NULL;
    TAILQ_INIT(&k->uses);
    k->max_entries = max_entries ? max_entries : 1;
    k->n_buckets = power_of_two(k->max_entries);
    k->buckets = calloc(k->n_buckets, sizeof(struct entry *));
    k->sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    k->ctx = EVP_MD_CTX_new();
    buf_init_secret(&k->scratch, CANONICAL_MAX);
    if (k->buckets && k->sha256 && k->ctx) return k;
    aws_sign_keys_free(k);
    return NULL;
}

static void entry_drop(struct aws_sign_keys *k, struct entry *e)
{
    struct entry **at = &k->buckets[e->hash & (k->n_buckets - 1)];
    while (*at != e) at = &(*at)->next;
    *at = e->next;
    TAILQ_REMOVE(&k->uses, e, use);
    k->n_entries--;
    secret_free(e->material);
    free(e);
}

void aws_sign_keys_free(struct aws_sign_keys *k)
{
    if (!k) return;
    while (!TAILQ_EMPTY(&k->uses)) entry_drop(k, TAILQ_FIRST(&k->uses));
    free(k->buckets);
    EVP_MD_free(k->sha256);
    EVP_MD_CTX_free(k->ctx);
    buf_done(&k->scratch);
    free(k);
}

static uint64_t fnv1a(const char *s)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (; *s; s++) h = (h ^ (unsigned char)*s) * 0x100000001b3u;
    return h;
}

static struct entry *entry_find(struct aws_sign_keys *k, const char *scope, uint64_t hash)
{
    struct entry *e = k->buckets[hash & (k->n_buckets - 1)];
    while (e && (e->hash != hash || strcmp(e->scope, scope) != 0)) e = e->next;
    return e;
}

static int hash_secret(struct hasher h, const struct secret *secret, uint8_t out[HASH_BYTES])
{
    static const char label[] = "keyroll signing cache";
    return hash2(h, label, sizeof(label), secret_bytes(secret), secret_len(secret), out);
}

static bool entry_is_for(struct hasher h, const struct entry *e, const struct secret *secret)
{
    uint8_t hash[HASH_BYTES];
    return hash_secret(h, secret, hash) == 0 &&
           CRYPTO_memcmp(secret_bytes(e->material) + HASH_BYTES, hash, HASH_BYTES) == 0;
}

static int entry_add(struct aws_sign_keys *k, const char *scope, uint64_t hash, struct secret *material,
                     struct entry **ret)
{
    if (k->n_entries >= k->max_entries) entry_drop(k, TAILQ_FIRST(&k->uses));
    size_t len = strlen(scope) + 1;
    struct entry *e = malloc(sizeof(*e) + len);
    if (!e) return ERR_NOMEM;
    e->hash = hash;
    e->material = material;
    memcpy(e->scope, scope, len);
    struct entry **bucket = &k->buckets[hash & (k->n_buckets - 1)];
    e->next = *bucket;
    *bucket = e;
    TAILQ_INSERT_TAIL(&k->uses, e, use);
    k->n_entries++;
    *ret = e;
    return 0;
}

/* The chain of four HMACs. scope: "AKID/day/region/service", taken apart from its end. */
static int derive(struct hasher h, const struct secret *secret, const char *day, const char *region,
                  const char *service, struct secret **ret_material)
{
    AUTO_BUF struct buf first, material;
    uint8_t key[HASH_BYTES];
    buf_init_secret(&first, CANONICAL_MAX);
    buf_init_secret(&material, CANONICAL_MAX);
    (void)buf_adds(&first, "AWS4"); /* the error sticks */
    int rc = buf_add(&first, secret_bytes(secret), secret_len(secret));
    if (!rc) rc = hmac(h, first.data, first.len, day, 8, key);
    if (!rc) rc = hmac(h, key, sizeof(key), region, strlen(region), key);
    if (!rc) rc = hmac(h, key, sizeof(key), service, strlen(service), key);
    if (!rc) rc = hmac(h, key, sizeof(key), "aws4_request", 12, key);
    (void)buf_add(&material, key, sizeof(key));
    secret_wipe(key, sizeof(key));
    if (!rc) rc = hash_secret(h, secret, key);
    if (!rc) rc = buf_add(&material, key, sizeof(key));
    if (rc) return rc;
    *ret_material = secret_new(material.data, material.len);
    return *ret_material ? 0 : ERR_NOMEM;
}

static int signing_key(struct aws_sign_keys *k, struct hasher h, const char *scope, const char *day,
                       const struct aws_sign_request *req, const struct secret *secret,
                       const struct secret **ret_material)
{
    uint64_t hash = fnv1a(scope);
    struct entry *e = entry_find(k, scope, hash);
    if (e && !entry_is_for(h, e, secret)) {
        entry_drop(k, e);
        e = NULL;
    }
    if (e) {
        TAILQ_REMOVE(&k->uses, e, use);
        TAILQ_INSERT_TAIL(&k->uses, e, use);
        *ret_material = e->material;
        return 0;
    }
    AUTO_SECRET struct secret *material = NULL;
    int rc = derive(h, secret, day, req->region, req->service, &material);
    if (rc == 0) rc = entry_add(k, scope, hash, material, &e);
    if (rc < 0) return rc;
    *ret_material = TAKE(material);
    return 0;
}

/* ---- canonical request ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Appends text of len bytes percent-encoded; %XX in it is decoded first when asked; bytes in keep stay. */
static void add_encoded(struct buf *out, const char *text, size_t len, bool decode, char keep)
{
    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        if (c == keep && keep) {
            (void)buf_addc(out, c); /* errors of out stick and are returned by canonical() */
            continue;
        }
        if (decode && c == '%' && i + 2 < len && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
            c = (char)(hex_digit(text[i + 1]) << 4 | hex_digit(text[i + 2]));
            i += 2;
        }
        if (c == keep && keep)
            (void)buf_addc(out, c);
        else
            (void)buf_add_percent(out, &c, 1);
    }
}

/* RFC 3986 section 5.2.4, and repeated slashes made one; the path begins with a slash. */
static void add_normalized(struct buf *out, const char *path)
{
    while (*path) {
        while (*path == '/') path++;
        size_t len = strcspn(path, "/");
        bool last = path[len] == '\0';
        bool dot = len == 1 && path[0] == '.', dots = len == 2 && path[0] == '.' && path[1] == '.';
        if (dots) {
            while (out->len && out->data[--out->len] != '/') {
            }
            if (out->data) out->data[out->len] = '\0';
        } else if (len && !dot) {
            (void)buf_addc(out, '/');
            (void)buf_add(out, path, len);
        }
        if (last && (len == 0 || dot || dots))
            (void)buf_addc(out, '/'); /* it ended with a slash, or a dot stood for one */
        path += len;
    }
}

static int add_path(struct buf *out, const struct aws_sign_request *req)
{
    const char *path = req->path && *req->path ? req->path : "/";
    if (strcmp(path, "/") == 0) return buf_addc(out, '/');
    AUTO_BUF struct buf plain;
    buf_init(&plain, CANONICAL_MAX);
    if (req->normalize_path)
        add_normalized(&plain, path);
    else
        (void)buf_adds(&plain, path);
    if (plain.error) return plain.error;
    add_encoded(out, buf_str(&plain), plain.len, !req->double_encode_path, '/');
    return out->error;
}

struct param {
    size_t name, name_len, value, value_len; /* places in the encoded text */
};

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int c = memcmp(a, b, a_len < b_len ? a_len : b_len);
    return c ? c : (a_len > b_len) - (a_len < b_len);
}

static int compare_params(const void *a, const void *b, void *text)
{
    const struct param *x = a, *y = b;
    const char *t = text;
    int c = compare_bytes(t + x->name, x->name_len, t + y->name, y->name_len);
    return c ? c : compare_bytes(t + x->value, x->value_len, t + y->value, y->value_len);
}

static int split_query(const char *query, struct buf *text, struct param *params, size_t *ret_n)
{
    size_t n = 0;
    while (*query) {
        size_t len = strcspn(query, "&"), name_len = strcspn(query, "=&");
        if (len && n == PARAMS_MAX) return ERR_TOO_LARGE;
        if (len) {
            struct param *p = &params[n++];
            p->name = text->len;
            add_encoded(text, query, name_len, true, '\0');
            p->name_len = text->len - p->name;
            p->value = text->len;
            if (name_len < len) add_encoded(text, query + name_len + 1, len - name_len - 1, true, '\0');
            p->value_len = text->len - p->value;
        }
        query += len + (query[len] == '&');
    }
    *ret_n = n;
    return text->error;
}

static int add_query(struct buf *out, const char *query)
{
    if (!query || !*query) return 0;
    struct param params[PARAMS_MAX];
    size_t n = 0;
    AUTO_BUF struct buf text;
    buf_init(&text, CANONICAL_MAX);
    int rc = split_query(query, &text, params, &n);
    if (rc < 0) return rc;
    qsort_r(params, n, sizeof(*params), compare_params, text.data);
    for (size_t i = 0; i < n; i++) {
        if (i) (void)buf_addc(out, '&');
        (void)buf_add(out, text.data + params[i].name, params[i].name_len);
        (void)buf_addc(out, '=');
        (void)buf_add(out, text.data + params[i].value, params[i].value_len);
    }
    return out->error;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Trims both ends and makes each run of blanks one space. */
static void add_header_value(struct buf *out, const char *value)
{
    while (is_blank(*value)) value++;
    const char *run = value;
    while (*value) {
        if (!is_blank(*value) || (*value == ' ' && value[1] && !is_blank(value[1]))) {
            value++; /* a single space inside is left as it is */
            continue;
        }
        (void)buf_add(out, run, (size_t)(value - run));
        while (is_blank(*value)) value++;
        if (*value) (void)buf_addc(out, ' ');
        run = value;
    }
    (void)buf_add(out, run, (size_t)(value - run));
}

static void add_lower(struct buf *out, const char *name)
{
    for (; *name; name++) (void)buf_addc(out, *name >= 'A' && *name <= 'Z' ? (char)(*name + 32) : *name);
}

/* Sorted by name, order kept among equal ones. Returns how many, or ERR_TOO_LARGE, ERR_INVALID (no host). */
static int sort_headers(const struct aws_sign_header *in, size_t n_in, const struct aws_sign_header *added,
                        size_t n_added, const struct aws_sign_header **sorted)
{
    bool host = false;
    size_t n = n_in + n_added;
    if (n > HEADERS_MAX) return ERR_TOO_LARGE;
    for (size_t i = 0; i < n; i++) {
        const struct aws_sign_header *h = i < n_in ? &in[i] : &added[i - n_in];
        host |= strcasecmp(h->name, "host") == 0;
        size_t at = i;
        for (; at && strcasecmp(sorted[at - 1]->name, h->name) > 0; at--) sorted[at] = sorted[at - 1];
        sorted[at] = h;
    }
    return host ? (int)n : ERR_INVALID;
}

static int add_headers(struct buf *out, const struct aws_sign_header *const *sorted, size_t n,
                       struct buf *signed_headers)
{
    for (size_t i = 0; i < n; i++) {
        bool repeated = i && strcasecmp(sorted[i]->name, sorted[i - 1]->name) == 0;
        if (repeated) {
            (void)buf_addc(out, ',');
        } else {
            if (i) (void)buf_adds(out, "\n");
            add_lower(out, sorted[i]->name);
            (void)buf_addc(out, ':');
            if (i) (void)buf_addc(signed_headers, ';');
            add_lower(signed_headers, sorted[i]->name);
        }
        add_header_value(out, sorted[i]->value);
    }
    (void)buf_adds(out, "\n\n");
    return out->error ? out->error : signed_headers->error;
}

struct added { /* the headers that signing adds */
    char date[AMZ_DATE_MAX];
    char hash[2 * HASH_BYTES + 1]; /* of the body, hex; "" when payload_hash is given */
    struct aws_sign_header headers[3];
    size_t n;
};

static void set_date(struct added *a, int64_t wall_ms)
{
    char t[TIME_TEXT_MAX];
    time_format(wall_ms, t);
    memcpy(
        a->date,
        (char[]){t[0], t[1], t[2], t[3], t[5], t[6], t[8], t[9], 'T', t[11], t[12], t[14], t[15], t[17], t[18], 'Z', 0},
        AMZ_DATE_MAX);
}

static void to_hex(const uint8_t hash[HASH_BYTES], char out[2 * HASH_BYTES + 1])
{
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < HASH_BYTES; i++) {
        out[2 * i] = hex[hash[i] >> 4];
        out[2 * i + 1] = hex[hash[i] & 15];
    }
    out[2 * HASH_BYTES] = '\0';
}

static const char *payload(const struct aws_sign_request *req, const struct added *a)
{
    return req->payload_hash ? req->payload_hash : a->hash;
}

static int added_fill(struct added *a, const struct aws_sign_request *req, const struct secret *token, struct hasher h)
{
    a->n = 0;
    a->hash[0] = '\0';
    set_date(a, req->wall_ms);
    if (!req->payload_hash) {
        uint8_t hash[HASH_BYTES];
        int rc = hash2(h, req->body ? req->body : "", req->body_len, "", 0, hash);
        if (rc < 0) return rc;
        to_hex(hash, a->hash);
    }
    a->headers[a->n++] = (struct aws_sign_header){"X-Amz-Date", a->date};
    if (token) a->headers[a->n++] = (struct aws_sign_header){"X-Amz-Security-Token", secret_bytes(token)};
    if (req->add_content_sha256) a->headers[a->n++] = (struct aws_sign_header){"X-Amz-Content-Sha256", payload(req, a)};
    return 0;
}

static int canonical(const struct aws_sign_request *req, const struct added *a, struct buf *out,
                     struct buf *signed_headers)
{
    const struct aws_sign_header *sorted[HEADERS_MAX];
    int n = sort_headers(req->headers, req->n_headers, a->headers, a->n, sorted);
    if (n < 0) return n;
    (void)buf_adds(out, req->method);
    (void)buf_addc(out, '\n');
    int rc = add_path(out, req);
    (void)buf_addc(out, '\n');
    if (!rc) rc = add_query(out, req->query);
    (void)buf_addc(out, '\n');
    if (!rc) rc = add_headers(out, sorted, (size_t)n, signed_headers);
    if (rc < 0) return rc;
    (void)buf_add(out, signed_headers->data, signed_headers->len);
    (void)buf_addc(out, '\n');
    return buf_adds(out, payload(req, a));
}

int aws_sign_canonical(const struct aws_sign_request *req, const struct secret *session_token,
                       struct buf *ret_canonical, struct buf *ret_signed_headers)
{
    struct added a;
    EVP_MD_CTX *ctx = EVP_MD_CTX_new();
    if (!ctx) return ERR_NOMEM;
    int rc = added_fill(&a, req, session_token, (struct hasher){EVP_sha256(), ctx});
    EVP_MD_CTX_free(ctx);
    return rc ? rc : canonical(req, &a, ret_canonical, ret_signed_headers);
}

/* ---- signature ---- */

static int make_scope(char out[SCOPE_MAX], const char *access_key_id, const char *day,
                      const struct aws_sign_request *req)
{
    size_t id = strlen(access_key_id), region = strlen(req->region), service = strlen(req->service);
    if (id + region + service + 12 > SCOPE_MAX) return ERR_TOO_LARGE;
    char *p = mempcpy(out, access_key_id, id);
    *p++ = '/';
    p = mempcpy(p, day, 8);
    *p++ = '/';
    p = mempcpy(p, req->region, region);
    *p++ = '/';
    p = mempcpy(p, req->service, service);
    *p = '\0';
    return 0;
}

static int sign_text(struct hasher h, const struct secret *material, const struct added *a, const char *scope_of_day,
                     const struct buf *canonical_request, char ret_signature[2 * HASH_BYTES + 1])
{
    uint8_t hash[HASH_BYTES];
    char hex[2 * HASH_BYTES + 1], text[SCOPE_MAX + 128];
    int rc = hash2(h, canonical_request->data, canonical_request->len, "", 0, hash);
    if (rc < 0) return rc;
    to_hex(hash, hex);
    char *p = mempcpy(text, "AWS4-HMAC-SHA256\n", 17);
    p = mempcpy(p, a->date, AMZ_DATE_MAX - 1);
    *p++ = '\n';
    p = mempcpy(p, scope_of_day, strlen(scope_of_day));
    p = mempcpy(p, "/aws4_request\n", 14);
    p = mempcpy(p, hex, sizeof(hex) - 1);
    rc = hmac(h, secret_bytes(material), HASH_BYTES, text, (size_t)(p - text), hash);
    if (rc < 0) return rc;
    to_hex(hash, ret_signature);
    return 0;
}

static int add_lines(struct buf *out, const struct added *a, const char *scope, const char *signed_headers,
                     const char *signature)
{
    for (size_t i = 0; i < a->n; i++) {
        (void)buf_adds(out, a->headers[i].name);
        (void)buf_adds(out, ": ");
        (void)buf_add(out, a->headers[i].value, strlen(a->headers[i].value) + 1);
    }
    (void)buf_adds(out, "Authorization: AWS4-HMAC-SHA256 Credential=");
    (void)buf_adds(out, scope);
    (void)buf_adds(out, "/aws4_request, SignedHeaders=");
    (void)buf_adds(out, signed_headers);
    (void)buf_adds(out, ", Signature=");
    return buf_add(out, signature, 2 * HASH_BYTES + 1);
}

int aws_sign(struct aws_sign_keys *keys, const struct aws_sign_request *req, const char *access_key_id,
             const struct secret *secret, const struct secret *session_token, struct buf *out, size_t *ret_n)
{
    struct hasher h = {keys->sha256, keys->ctx};
    struct added a;
    char scope[SCOPE_MAX], signature[2 * HASH_BYTES + 1], names[512];
    const struct secret *material = NULL;
    struct buf signed_headers = {
        .data = names, .cap = sizeof(names), .max = sizeof(names) - 1}; /* never grows, never freed */
    int rc = added_fill(&a, req, session_token, h);
    if (!rc) rc = make_scope(scope, access_key_id, a.date, req);
    buf_reset(&keys->scratch);
    if (!rc) rc = canonical(req, &a, &keys->scratch, &signed_headers);
    if (!rc) rc = signing_key(keys, h, scope, a.date, req, secret, &material);
    if (!rc) rc = sign_text(h, material, &a, scope + strlen(access_key_id) + 1, &keys->scratch, signature);
    if (!rc) rc = add_lines(out, &a, scope, names, signature);
    buf_reset(&keys->scratch);
    if (rc < 0) return rc;
    *ret_n = a.n + 1;
    return 0;
}
