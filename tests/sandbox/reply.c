/* The envelopes of the AWS services' replies.
 *
 * IAM and STS put RequestId beside Error, S3 puts it inside; that difference is one of the traps clients fall into,
 * so it is kept. */
#include "tests/sandbox/reply.h"

#include "tests/sandbox/sigv4.h"
#include "tests/sandbox/synergist.h"

#include <string.h>
#include <time.h>

static const char *namespace_of(const struct request *r)
{
    return r->service == SVC_IAM ? "https://iam.amazonaws.com/doc/2010-05-08/"
                                 : "https://sts.amazonaws.com/doc/2011-06-15/";
}

const char *reply_time(struct arena *a, int64_t at_ms)
{
    time_t t = (time_t)(at_ms / 1000);
    struct tm tm;
    char text[32];
    (void)gmtime_r(&t, &tm);
    size_t n = strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
    return arena_dup(a, text, n);
}

const char *reply_request_id(struct world *w, struct request *r)
{
    uint64_t x = rng_next(&w->rng), y = rng_next(&w->rng);
    return arena_printf(&r->arena, "%08x-%04x-%04x-%04x-%012llx", (unsigned)(x >> 32), (unsigned)(x >> 16 & 0xffff),
                        (unsigned)(x & 0xffff), (unsigned)(y >> 48), (unsigned long long)(y & 0xffffffffffffull));
}

static void s3_error(struct world *w, struct request *r, int http, const char *code, const char *message)
{
    const char *id = reply_request_id(w, r);
    reply_header(r, "x-amz-request-id", id);
    r->reply.status = http;
    r->reply.type = "application/xml";
    if (strcmp(r->method, "HEAD") == 0) return; /* a HEAD reply has no body, so no code either */
    struct buf *b = &r->reply.body;
    buf_puts(b, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error>");
    buf_element(b, "Code", code);
    buf_element(b, "Message", message);
    if (r->bucket) buf_element(b, "BucketName", r->bucket);
    if (strcmp(code, "AuthorizationHeaderMalformed") == 0 || strcmp(code, "PermanentRedirect") == 0)
        buf_element(b, "Region", w->region);
    if (strcmp(code, "InvalidAccessKeyId") == 0 && r->auth) buf_element(b, "AWSAccessKeyId", r->auth->key_id);
    buf_element(b, "RequestId", id);
    buf_puts(b, "<HostId>sandbox</HostId></Error>");
}

void reply_error(struct world *w, struct request *r, int http, const char *code, const char *message)
{
    buf_clear(&r->reply.body);
    if (r->service == SVC_S3) {
        s3_error(w, r, http, code, message);
        return;
    }
    if (r->service == SVC_INSTANCE) {
        synergist_error(r, http, code, message);
        return;
    }
    const char *id = reply_request_id(w, r);
    struct buf *b = &r->reply.body;
    r->reply.status = http;
    r->reply.type = "text/xml";
    reply_header(r, "x-amzn-RequestId", id);
    buf_printf(b, "<ErrorResponse xmlns=\"%s\">\n  <Error>\n    <Type>%s</Type>\n    ", namespace_of(r),
               http >= 500 ? "Receiver" : "Sender");
    buf_element(b, "Code", code);
    buf_puts(b, "\n    ");
    buf_element(b, "Message", message);
    buf_puts(b, "\n  </Error>\n  ");
    buf_element(b, "RequestId", id);
    buf_puts(b, "\n</ErrorResponse>\n");
}

void reply_begin(struct request *r, bool with_result)
{
    r->reply.status = 200;
    r->reply.type = "text/xml";
    buf_clear(&r->reply.body);
    buf_printf(&r->reply.body, "<%sResponse xmlns=\"%s\">\n", r->action, namespace_of(r));
    if (with_result) buf_printf(&r->reply.body, "  <%sResult>\n", r->action);
}

void reply_end(struct world *w, struct request *r, bool with_result)
{
    const char *id = reply_request_id(w, r);
    reply_header(r, "x-amzn-RequestId", id);
    if (with_result) buf_printf(&r->reply.body, "  </%sResult>\n", r->action);
    buf_printf(&r->reply.body,
               "  <ResponseMetadata>\n    <RequestId>%s</RequestId>\n  </ResponseMetadata>\n</%sResponse>\n", id,
               r->action);
}
