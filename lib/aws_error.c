/* The one place where AWS's words become our codes. Three traps decide the shape of the table: IAM throttles with HTTP
 * 400; LimitExceeded is a quota while LimitExceededException is a throttle; ReportInProgress comes with 404. A 5xx to
 * CreateAccessKey may have made a key, whatever its code says: always ERR_AWS_FAILURE (class UNKNOWN). */
#include "lib/aws_error.h"

#include "lib/err.h"
#include "lib/xml.h"

#include <string.h>

struct row {
    const char *code;
    int err;
};

static const struct row common[] = {
    {"Throttling", ERR_AWS_THROTTLED},
    {"ThrottlingException", ERR_AWS_THROTTLED},
    {"ThrottledException", ERR_AWS_THROTTLED},
    {"RequestThrottled", ERR_AWS_THROTTLED},
    {"RequestThrottledException", ERR_AWS_THROTTLED},
    {"TooManyRequestsException", ERR_AWS_THROTTLED},
    {"RequestLimitExceeded", ERR_AWS_THROTTLED},
    {"LimitExceededException", ERR_AWS_THROTTLED},
    {"SlowDown", ERR_AWS_THROTTLED},
    {"PriorRequestNotComplete", ERR_AWS_THROTTLED},
    {"ServiceFailure", ERR_AWS_FAILURE},
    {"InternalFailure", ERR_AWS_FAILURE},
    {"InternalError", ERR_AWS_FAILURE},
    {"ServiceUnavailable", ERR_AWS_FAILURE},
    {"RequestTimeout", ERR_AWS_FAILURE},
    {"IDPCommunicationError", ERR_AWS_FAILURE},
    {"LimitExceeded", ERR_AWS_LIMIT},
    {"NoSuchEntity", ERR_AWS_NO_ENTITY},
    {"EntityTemporarilyUnmodifiable", ERR_AWS_BUSY_ENTITY},
    {"ConcurrentModification", ERR_AWS_BUSY_ENTITY},
    {"AccessDenied", ERR_AWS_DENIED},
    {"AccessDeniedException", ERR_AWS_DENIED},
    {"OptInRequired", ERR_AWS_DENIED},
    {"RegionDisabledException", ERR_AWS_DENIED},
    {"InvalidClientTokenId", ERR_AWS_CREDENTIALS},
    {"UnrecognizedClientException", ERR_AWS_CREDENTIALS},
    {"SignatureDoesNotMatch", ERR_AWS_CREDENTIALS},
    {"ExpiredToken", ERR_AWS_CREDENTIALS},
    {"ExpiredTokenException", ERR_AWS_CREDENTIALS},
    {"InvalidIdentityToken", ERR_AWS_CREDENTIALS},
    {"RequestExpired", ERR_AWS_CLOCK},
    {"RequestTimeTooSkewed", ERR_AWS_CLOCK},
    {"ReportInProgress", ERR_AWS_NOT_READY},
    {"ReportNotPresent", ERR_AWS_NOT_READY},
    {"ReportExpired", ERR_AWS_NOT_READY},
};
/* The pair under test, not our own identity, is what these speak of. */
static const struct row probes[] = {
    {"InvalidClientTokenId", ERR_KEY_TOO_NEW}, {"UnrecognizedClientException", ERR_KEY_TOO_NEW},
    {"InvalidAccessKeyId", ERR_KEY_TOO_NEW},   {"SignatureDoesNotMatch", ERR_KEY_BAD_SECRET},
    {"ExpiredToken", ERR_AWS_INVALID},         {"InvalidToken", ERR_AWS_INVALID},
};
static const struct row bucket[] = {
    {"AccessDenied", ERR_KEY_NO_ACCESS},
    {"AllAccessDisabled", ERR_KEY_NO_ACCESS},
    {"NoSuchBucket", ERR_BUCKET_MISSING},
    {"InvalidBucketName", ERR_BUCKET_MISSING},
    {"PermanentRedirect", ERR_BUCKET_REGION},
    {"AuthorizationHeaderMalformed", ERR_BUCKET_REGION},
    {"IllegalLocationConstraintException", ERR_BUCKET_REGION},
};

static int find(const struct row *rows, size_t n, const char *code)
{
    for (size_t i = 0; i < n; i++)
        if (strcmp(rows[i].code, code) == 0) return rows[i].err;
    return 0;
}

static int by_status(enum aws_op op, int status, bool aws_said)
{
    if (status >= 500) return ERR_AWS_FAILURE;
    /* Who redirects or refuses here is not AWS's API: a key may have been made all the same. */
    if (op == AWS_CREATE_ACCESS_KEY && !aws_said) return ERR_NET_BAD_REPLY;
    if (status == 429) return ERR_AWS_THROTTLED;
    if (op == AWS_LIST_BUCKET && status == 301) return ERR_BUCKET_REGION;
    if (status >= 300 && status < 400) return ERR_NET_REDIRECT;
    if (!aws_said) return ERR_NET_BAD_REPLY; /* a proxy's page proves nothing about the call */
    return status == 403 ? ERR_AWS_DENIED : ERR_AWS_INVALID;
}

int aws_error_map(enum aws_op op, int http_status, const char *code)
{
    if (op == AWS_CREATE_ACCESS_KEY && http_status >= 500) return ERR_AWS_FAILURE;
    if (op == AWS_CREATE_ACCESS_KEY && http_status < 400) return ERR_NET_BAD_REPLY; /* IAM refuses with a 4xx */
    int err = 0;
    if (op == AWS_LIST_BUCKET) err = find(bucket, ARRAY_LEN(bucket), code);
    if (!err && (op == AWS_LIST_BUCKET || op == AWS_CALLER_IDENTITY)) err = find(probes, ARRAY_LEN(probes), code);
    if (!err) err = find(common, ARRAY_LEN(common), code);
    return err ? err : by_status(op, http_status, code[0] != '\0');
}

void aws_text_copy(char *out, size_t max, const char *text, size_t len)
{
    size_t n = 0;
    for (size_t i = 0; i < len && n + 1 < max; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n' && n) break;
        if (c >= 0x20 && c != 0x7f) out[n++] = (char)c;
    }
    out[n] = '\0';
}

struct reading {
    struct aws_result *r;
    char *region;
    size_t region_max;
};

static int on_leaf(void *arg, const char *path, const char *text, size_t len)
{
    struct reading *x = arg;
    struct aws_result *r = x->r;
    if (xml_path_ends(path, "Error/Code"))
        aws_text_copy(r->code, sizeof(r->code), text, len);
    else if (xml_path_ends(path, "Error/Message"))
        aws_text_copy(r->message, sizeof(r->message), text, len);
    else if (xml_path_ends(path, "Error/Region") && x->region)
        aws_text_copy(x->region, x->region_max, text, len);
    else if (xml_path_ends(path, "RequestId") && !r->request_id[0])
        aws_text_copy(r->request_id, sizeof(r->request_id), text, len);
    return 0;
}

void aws_error_parse(const char *body, size_t len, struct aws_result *r, char *ret_region, size_t region_max)
{
    struct reading x = {r, ret_region, region_max};
    struct xml_handler h = {.leaf = on_leaf, .arg = &x};
    r->code[0] = r->message[0] = '\0';
    if (ret_region) ret_region[0] = '\0';
    if (xml_read(body, len, &h) < 0) r->code[0] = r->message[0] = '\0'; /* half an answer is no answer */
}

bool aws_error_is_clock(const struct aws_result *r)
{
    return strncmp(r->message, "Signature expired", 17) == 0 ||
           strncmp(r->message, "Signature not yet current", 25) == 0;
}
