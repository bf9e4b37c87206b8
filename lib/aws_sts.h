/* STS: forms and answers of GetCallerIdentity, AssumeRole and AssumeRoleWithWebIdentity. Pure.
 * docs.aws.amazon.com/STS/latest/APIReference */
#ifndef KEYROLL_AWS_STS_H
#define KEYROLL_AWS_STS_H

#include "lib/aws.h"
#include "lib/aws_creds.h"
#include "lib/buf.h"

struct aws_sts_role {
    const char *arn, *session_name; /* required; session_name 2..64 of [\w+=,.@-] */
    const char *external_id;        /* may be NULL */
    int duration_s;                 /* 900..43200; 0: STS's default of an hour */
};
/* Each appends a form; errors are those of buf_add(). The web identity form holds a token: out is a secret buffer. */
MUST_CHECK int aws_sts_form_identity(struct buf *out);
MUST_CHECK int aws_sts_form_assume(const struct aws_sts_role *role, struct buf *out);
MUST_CHECK int aws_sts_form_web_identity(const struct aws_sts_role *role, const struct secret *token, struct buf *out);
/* Fills identity_account, identity_arn, identity_user_id; ERR_NET_BAD_REPLY when one is missing. */
MUST_CHECK int aws_sts_parse_identity(const char *body, size_t len, struct aws_result *r);
/* The Credentials of an answer as a new identity with one reference. All four parts are required. ERR_NET_BAD_REPLY,
 * ERR_NOMEM. */
MUST_CHECK int aws_sts_parse_credentials(const char *body, size_t len, struct aws_identity **ret_identity);
/* The user's name in "arn:aws:iam::123456789012:user/path/Name"; false for roles, the root user and anything else.
 * Pure. */
bool aws_arn_user(const char *arn, char out[AWS_USER_MAX]);

/* A new identity with one reference; copies. token may be NULL. NULL when out of memory. */
struct aws_identity *aws_identity_new(const char *key_id, const char *secret, size_t secret_len, const char *token,
                                      size_t token_len, int64_t expires_ms);

#endif
