/* S3: the few calls a key is proven with.
 *
 * ListObjectsV2, HEAD bucket, and GET, HEAD, PUT and DELETE of small objects, path style and virtual-host style,
 * signed by header or presigned. Every licence has one bucket; three attachments exist in it from the start.
 * Source: docs.aws.amazon.com/AmazonS3/latest/API/ */
#include "tests/sandbox/s3.h"

#include "tests/sandbox/access.h"
#include "tests/sandbox/reply.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHUNK_LINE_MAX 4096

void s3_route(struct world *w, struct request *r, const char *virtual_bucket)
{
    const char *rest = r->path + 1;
    r->bucket = virtual_bucket;
    if (!virtual_bucket) {
        size_t len = strcspn(rest, "/");
        r->bucket = len ? form_decode(&r->arena, rest, len, 0, NULL) : NULL;
        rest += len + (rest[len] == '/');
    }
    r->object = form_decode(&r->arena, rest, strlen(rest), 0, NULL);
    r->licence = r->bucket ? table_get(&w->bucket_owner, r->bucket) : NULL;
    bool head = strcmp(r->method, "HEAD") == 0, get = strcmp(r->method, "GET") == 0;
    r->action = "";
    if (*r->object) {
        if (head)
            r->action = "HeadObject";
        else if (get)
            r->action = "GetObject";
        else if (strcmp(r->method, "PUT") == 0)
            r->action = "PutObject";
        else if (strcmp(r->method, "DELETE") == 0)
            r->action = "DeleteObject";
    } else if (r->bucket) {
        if (head)
            r->action = "HeadBucket";
        else if (get && form_get(&r->params, "list-type"))
            r->action = "ListObjectsV2";
        else if (get && form_get(&r->params, "location"))
            r->action = "GetBucketLocation";
    }
}

bool s3_redirected(struct world *w, struct request *r)
{
    if (!r->endpoint_region || !r->licence || strcmp(r->endpoint_region, r->licence->region) == 0) return false;
    reply_header(r, "x-amz-bucket-region", r->licence->region);
    reply_error(w, r, 301, "PermanentRedirect",
                "The bucket you are attempting to access must be addressed using the "
                "specified endpoint. Please send all future requests to this endpoint.");
    return true;
}

/* ---- objects --------------------------------------------------------------------------------------------- */

static struct object *find_object(const struct licence *l, const char *name)
{
    for (struct object *o = l->objects; o; o = o->next)
        if (strcmp(o->name, name) == 0) return o;
    return NULL;
}

static struct object *put_object(struct licence *l, const char *name, const char *data, size_t len)
{
    struct object *o = find_object(l, name);
    if (!o) {
        struct object **at = &l->objects;
        while (*at && strcmp((*at)->name, name) < 0) at = &(*at)->next;
        o = must_alloc(sizeof(*o));
        o->name = must_dup(name);
        o->next = *at;
        *at = o;
    }
    free(o->data);
    o->data = must_alloc(len + 1);
    memcpy(o->data, data, len);
    o->len = len;
    return o;
}

/* Attachments are made when somebody first looks: 100,000 empty buckets should cost nothing. */
static void ensure_attachments(struct licence *l)
{
    if (find_object(l, "attachment_1.txt")) return;
    for (int i = 1; i <= S3_ATTACHMENTS; i++) {
        char name[32], text[96];
        (void)snprintf(name, sizeof(name), "attachment_%d.txt", i);
        int n = snprintf(text, sizeof(text), "attachment %d of %s\n", i, l->name);
        (void)put_object(l, name, text, (size_t)n);
    }
}

/* Takes the payload out of aws-chunked framing: hex-size[;extension] CRLF bytes CRLF ... 0 CRLF trailers. */
static bool unchunk(struct buf *body)
{
    size_t in = 0, out = 0;
    while (in < body->len) {
        char *end = NULL;
        unsigned long n = strtoul(body->data + in, &end, 16);
        char *eol = memmem(body->data + in, body->len - in, "\r\n", 2);
        if (!eol || eol - end > CHUNK_LINE_MAX) return false;
        in = (size_t)(eol + 2 - body->data);
        if (n == 0) break;
        if (n > body->len - in || body->len - in - n < 2) return false;
        memmove(body->data + out, body->data + in, n);
        out += n;
        in += n + 2;
    }
    body->len = out;
    return true;
}

/* ---- replies --------------------------------------------------------------------------------------------- */

static void ok(struct world *w, struct request *r, const char *type)
{
    r->reply.status = 200;
    r->reply.type = type;
    reply_header(r, "x-amz-request-id", reply_request_id(w, r));
}

static void etag(struct request *r, const struct object *o)
{
    uint8_t digest[SHA256_BYTES];
    char hex[65];
    hash_sha256(o->data, o->len, digest);
    hash_hex(digest, 16, hex);
    reply_header(r, "ETag", arena_printf(&r->arena, "\"%.32s\"", hex));
}

static void put_name(struct request *r, const char *name)
{
    const char *encoding = form_get(&r->params, "encoding-type");
    buf_puts(&r->reply.body, "<Key>");
    if (encoding && strcmp(encoding, "url") == 0)
        buf_uri(&r->reply.body, name, strlen(name), 1);
    else
        buf_xml(&r->reply.body, name);
    buf_puts(&r->reply.body, "</Key>");
}

static void list_objects(struct world *w, struct request *r)
{
    const char *prefix = form_get(&r->params, "prefix"), *max_keys = form_get(&r->params, "max-keys");
    const char *after = form_get(&r->params, "continuation-token"), *last = NULL;
    long max = max_keys ? atol(max_keys) : 1000, n = 0;
    bool more = false;
    struct buf *b = &r->reply.body;
    ensure_attachments(r->licence);
    ok(w, r, "application/xml");
    buf_puts(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"
                "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">");
    buf_element(b, "Name", r->bucket);
    buf_element(b, "Prefix", prefix ? prefix : "");
    for (const struct object *o = r->licence->objects; o && !more; o = o->next) {
        if (prefix && strncmp(o->name, prefix, strlen(prefix)) != 0) continue;
        if (after && strcmp(o->name, after) <= 0) continue;
        if (n == max) {
            more = true;
            continue;
        }
        buf_puts(b, "<Contents>");
        put_name(r, o->name);
        buf_printf(b, "<LastModified>%s</LastModified><Size>%zu</Size><StorageClass>STANDARD</StorageClass></Contents>",
                   reply_time(&r->arena, r->licence->user->created_ms), o->len);
        last = o->name;
        n++;
    }
    buf_printf(b, "<MaxKeys>%ld</MaxKeys><KeyCount>%ld</KeyCount><IsTruncated>%s</IsTruncated>", max, n,
               more ? "true" : "false");
    if (form_get(&r->params, "encoding-type")) buf_puts(b, "<EncodingType>url</EncodingType>");
    if (more && last) buf_element(b, "NextContinuationToken", last);
    buf_puts(b, "</ListBucketResult>");
}

static void read_object(struct world *w, struct request *r)
{
    ensure_attachments(r->licence);
    const struct object *o = find_object(r->licence, r->object);
    if (!o) {
        reply_error(w, r, 404, "NoSuchKey", "The specified key does not exist.");
        return;
    }
    ok(w, r, "binary/octet-stream");
    etag(r, o);
    buf_put(&r->reply.body, o->data, o->len);
}

static void write_object(struct world *w, struct request *r)
{
    const char *hash = request_header(r, "x-amz-content-sha256"), *coding = request_header(r, "content-encoding");
    bool chunked = (hash && strncmp(hash, "STREAMING-", 10) == 0) || (coding && strstr(coding, "aws-chunked"));
    if (chunked && !unchunk(&r->body)) {
        reply_error(w, r, 400, "IncompleteBody", "The request body terminated unexpectedly.");
        return;
    }
    const struct object *o = put_object(r->licence, r->object, r->body.data ? r->body.data : "", r->body.len);
    ok(w, r, "application/xml");
    etag(r, o);
}

static void delete_object(struct world *w, struct request *r)
{
    for (struct object **at = &r->licence->objects; *at; at = &(*at)->next) {
        struct object *o = *at;
        if (strcmp(o->name, r->object) != 0) continue;
        *at = o->next;
        free(o->name);
        free(o->data);
        free(o);
        break;
    }
    ok(w, r, "application/xml");
    r->reply.status = 204;
}

static bool permitted(struct world *w, struct request *r)
{
    bool on_object = *r->object != 0;
    const char *verb = on_object ? r->action : "ListBucket";
    if (strcmp(verb, "HeadObject") == 0) verb = "GetObject";
    const char *resource = arena_printf(&r->arena, "arn:aws:s3:::%s%s%s", r->bucket, on_object ? "/" : "", r->object);
    bool same_account = r->licence->user->account == r->account;
    if (same_account && access_ask(w, r, arena_printf(&r->arena, "s3:%s", verb), resource, NULL) == VERDICT_ALLOW)
        return true;
    reply_error(w, r, 403, "AccessDenied",
                arena_printf(&r->arena,
                             "User: %s is not authorized to perform: s3:%s on resource: \"%s\" because no "
                             "identity-based policy allows the s3:%s action",
                             r->caller->arn, verb, resource, verb));
    return false;
}

void s3_handle(struct world *w, struct request *r)
{
    if (!access_rate(w, r->account, BUCKET_S3, r->now_ms)) {
        reply_error(w, r, 503, "SlowDown", "Please reduce your request rate.");
        return;
    }
    if (!*r->action) {
        reply_error(w, r, 501, "NotImplemented", "A header you provided implies functionality that is not implemented");
        return;
    }
    if (!r->licence) {
        reply_error(w, r, 404, "NoSuchBucket", "The specified bucket does not exist");
        return;
    }
    if (!permitted(w, r)) return;
    if (strcmp(r->action, "ListObjectsV2") == 0) {
        list_objects(w, r);
    } else if (strcmp(r->action, "HeadBucket") == 0) {
        ok(w, r, "application/xml");
        reply_header(r, "x-amz-bucket-region", r->licence->region);
    } else if (strcmp(r->action, "GetBucketLocation") == 0) {
        ok(w, r, "application/xml");
        buf_printf(&r->reply.body,
                   "<LocationConstraint xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">%s"
                   "</LocationConstraint>",
                   r->licence->region);
    } else if (strcmp(r->action, "PutObject") == 0) {
        write_object(w, r);
    } else if (strcmp(r->action, "DeleteObject") == 0) {
        delete_object(w, r);
    } else {
        read_object(w, r);
    }
}
