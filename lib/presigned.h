/* Presigned S3 URLs (Signature V4 in the query string,
 * https://docs.aws.amazon.com/AmazonS3/latest/API/sigv4-query-string-auth.html): whose key signed them, until when.
 * Pure. */
#ifndef KEYROLL_PRESIGNED_H
#define KEYROLL_PRESIGNED_H

#include "lib/aws.h"

struct presigned {
    char key_id[AWS_KEY_ID_MAX]; /* first part of X-Amz-Credential */
    char region[32];             /* third part; "" when absent */
    int64_t signed_ms;           /* X-Amz-Date, TIME_NONE when absent or unreadable */
    int64_t expires_s;           /* X-Amz-Expires, -1 when absent */
    bool may_fetch; /* https anywhere, http to a loopback address: our rule for a URL that somebody else chose */
};

/* Reads a URL. ERR_SYNTAX: not a presigned URL (no or several X-Amz-Credential, no such key id, control characters,
 * longer than 8,192 bytes). Names are matched without regard to case, values are percent-decoded. */
MUST_CHECK int presigned_parse(const char *url, struct presigned *ret);

/* An absolute http(s) URL without user info, blanks or control characters. *ret_loopback: its host is 127.0.0.0/8,
 * [::1], localhost or a name under it (RFC 6761, section 6.3); *ret_tls: https. Used for instance addresses too.
 * ERR_SYNTAX. */
MUST_CHECK int presigned_check_url(const char *url, bool *ret_tls, bool *ret_loopback);

/* What an instance may show as an access key id: 16 to 128 of A-Z, 0-9 and _ (AWS's rule is wider, \w; but a secret in
 * the wrong field must not pass for an id, and ids that AWS makes are upper case). Pure. */
bool presigned_key_id_shown(const char *text);

#endif
