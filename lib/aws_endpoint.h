/* Where AWS's services are and with which region a request to them is signed. Pure.
 * IAM is one endpoint per partition; STS and S3 are regional (docs.aws.amazon.com/general/latest/gr/iam-service.html).
 */
#ifndef KEYROLL_AWS_ENDPOINT_H
#define KEYROLL_AWS_ENDPOINT_H

#include "lib/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

#define AWS_URL_MAX    512
#define AWS_REGION_MAX 64

struct aws_endpoint {
    char url[AWS_URL_MAX];       /* whole, with path and query */
    char host[256];              /* the Host header: with the port when it is not the scheme's own */
    char path[256];              /* as it is signed */
    char region[AWS_REGION_MAX]; /* to sign with */
};

/* The partition of a region: "aws", "aws-cn", "aws-us-gov", "aws-eusc", "aws-iso", ... Static storage. */
const char *aws_partition_of(const char *region);
/* The region in which a partition's IAM signs, NULL for an unknown partition. aws-cn is cn-north-1. */
const char *aws_partition_iam_region(const char *partition);
/* "amazonaws.com", "amazonaws.com.cn", ...; NULL for an unknown partition. */
const char *aws_partition_suffix(const char *partition);

/* override: NULL, or the base URL of another server ("http://127.0.0.1:5000"). Errors: ERR_INVALID (partition, URL),
 * ERR_TOO_LARGE. */
MUST_CHECK int aws_endpoint_iam(const char *partition, const char *override, struct aws_endpoint *ret);
MUST_CHECK int aws_endpoint_sts(const char *region, const char *override, struct aws_endpoint *ret);
/* A bucket: virtual host style; path style when asked, for names with dots, which no wildcard certificate covers, and
 * where the override's host is an address. query: appended after "?", may be NULL. Errors as above; ERR_INVALID for a
 * name S3 would not accept. */
MUST_CHECK int aws_endpoint_bucket(const char *bucket, const char *region, const char *override, bool path_style,
                                   const char *query, struct aws_endpoint *ret);
bool aws_bucket_name_valid(const char *bucket); /* 3..63 of [a-z0-9.-], and [A-Za-z_] of old ones up to 255 */
bool aws_region_valid(const char *region);      /* 1..63 of [a-z0-9-] */

#endif
