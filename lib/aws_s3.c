/* S3's answers. AccessDenied proves that the pair is accepted (ERR_KEY_NO_ACCESS), not that it may use the bucket;
 * another region shows itself as 301, 307 or as AuthorizationHeaderMalformed with the right Region, and is never
 * followed: the signature would not hold there. */
#include "lib/aws_s3.h"

#include "lib/aws_error.h"
#include "lib/err.h"
#include "lib/xml.h"

#include <stdio.h>
#include <string.h>

int aws_s3_list_endpoint(const char *bucket, const char *region, const char *override, bool path_style,
                         struct aws_endpoint *ret)
{
    return aws_endpoint_bucket(bucket, region, override, path_style, AWS_S3_LIST_QUERY, ret);
}

static int on_enter(void *arg, const char *path)
{
    bool *list = arg;
    if (strcmp(path, "ListBucketResult") == 0) *list = true;
    return 0;
}

int aws_s3_parse_list(const char *body, size_t len)
{
    bool list = false;
    struct xml_handler h = {.enter = on_enter, .arg = &list};
    int rc = xml_read(body, len, &h);
    if (rc == ERR_NOMEM) return rc;
    return rc == 0 && list ? 0 : ERR_NET_BAD_REPLY;
}

void aws_s3_refusal(int http_status, const char *bucket_region, const char *body, size_t len, struct aws_result *r)
{
    char region[AWS_REGION_MAX];
    aws_error_parse(body, len, r, region, sizeof(region));
    r->err = aws_error_map(AWS_LIST_BUCKET, http_status, r->code);
    if (bucket_region[0]) aws_text_copy(region, sizeof(region), bucket_region, strlen(bucket_region));
    if (r->err == ERR_NET_REDIRECT && region[0]) r->err = ERR_BUCKET_REGION;
    /* a malformed header without a region is our mistake, not the bucket's place */
    if (r->err == ERR_BUCKET_REGION && !region[0] && http_status == 400) r->err = ERR_AWS_INVALID;
    if (r->err == ERR_BUCKET_REGION && aws_region_valid(region))
        (void)snprintf(r->message, sizeof(r->message), "the bucket is in region %s", region);
}
