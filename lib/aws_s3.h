/* S3 as a proof that a key is accepted at a bucket: ListObjectsV2 with max-keys=1, because HEAD's refusals carry no
 * code. Pure. docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html */
#ifndef KEYROLL_AWS_S3_H
#define KEYROLL_AWS_S3_H

#include "lib/aws.h"
#include "lib/aws_endpoint.h"

#define AWS_S3_LIST_QUERY "list-type=2&max-keys=1"

/* Where to send the probe of a bucket. Errors: ERR_INVALID (bucket's or region's name), ERR_TOO_LARGE. */
MUST_CHECK int aws_s3_list_endpoint(const char *bucket, const char *region, const char *override, bool path_style,
                                    struct aws_endpoint *ret);
/* Is this the answer to a list (ListBucketResult)? 0 or ERR_NET_BAD_REPLY: any web server can say 200. */
MUST_CHECK int aws_s3_parse_list(const char *body, size_t len);
/* Fills code, message and err of a refusal. bucket_region: the x-amz-bucket-region header, "" when absent. For a bucket
 * of another region the message ends with the right one. */
void aws_s3_refusal(int http_status, const char *bucket_region, const char *body, size_t len, struct aws_result *r);

#endif
