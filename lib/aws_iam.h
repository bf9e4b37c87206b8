/* IAM's Query protocol: what each operation of aws.h sends and what its answer holds. Pure; lib/aws_call.c sends.
 * docs.aws.amazon.com/IAM/latest/APIReference */
#ifndef KEYROLL_AWS_IAM_H
#define KEYROLL_AWS_IAM_H

#include "lib/aws.h"
#include "lib/buf.h"

/* Appends the form of one IAM operation. marker: the page to ask for, NULL for the first. req was checked by
 * aws_iam_check(). Errors: those of buf_add(). */
MUST_CHECK int aws_iam_form(const struct aws_request *req, const char *marker, struct buf *out);
/* ERR_INVALID when a name or id that the operation needs is missing or malformed: an empty UserName would act on the
 * caller's own user. Pure. */
MUST_CHECK int aws_iam_check(const struct aws_request *req);
/* Reads the answer of status 200 into r. LIST appends to r->keys, so that pages add up; *ret_marker (caller frees) is
 * the next page's marker, NULL when this was the last. CREATE: r->created_secret is a new secret owned by the caller.
 * user: the name asked for, compared without regard to case. Errors: ERR_NET_BAD_REPLY (not the expected answer,
 * another user's answer, an id missing), ERR_TOO_LARGE (more than AWS_KEYS_MAX keys), ERR_NOMEM. */
MUST_CHECK int aws_iam_parse(enum aws_op op, const char *user, const char *body, size_t len, struct aws_result *r,
                             char **ret_marker);

#endif
