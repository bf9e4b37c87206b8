/* The names of things, in one normal form, derived in one place: licence -> IAM user -> Kafka and Redis key -> job id.
 */
#ifndef KEYROLL_IDENTITY_H
#define KEYROLL_IDENTITY_H

#include "lib/aws.h"
#include "lib/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define IDENTITY_LICENCE_MAX 48 /* 47 characters: what IAM leaves behind "SynergistExpress-" */
#define IDENTITY_KEY_MAX     (AWS_ACCOUNT_MAX + AWS_USER_MAX) /* "account/user" and the terminator: 78 */
#define IDENTITY_JOB_ID_MAX  33                               /* 32 lower-case hex digits */
#define IDENTITY_TEMPLATE    "SynergistExpress-{licence}"

/* 1..47 characters of [A-Za-z0-9_+=,.@-], which is what an IAM user name allows
 * (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html). NULL is not valid. Pure. */
bool identity_licence_valid(const char *licence);
/* 1..64 characters of the same set: never empty, an empty name makes IAM act on the caller. */
bool identity_user_valid(const char *user);
/* Exactly 12 digits. */
bool identity_account_valid(const char *account);
/* 16..128 characters of [A-Za-z0-9_]. */
bool identity_key_id_valid(const char *key_id);
/* 3..63 characters of [a-z0-9.-], first and last a letter or digit
 * (https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html). */
bool identity_bucket_valid(const char *bucket);
/* 1..31 characters of [a-z0-9-]: it becomes part of host names. */
bool identity_region_valid(const char *region);

/* Checks a user template: {licence} exactly once, and a name that IAM allows for every licence of up to 47 characters.
 * Returns 0, or ERR_INVALID with *ret_reason pointing at a static sentence that says what to do. */
MUST_CHECK int identity_template_check(const char *template, const char **ret_reason);
/* Writes the IAM user of a licence. ERR_INVALID: the licence, the template or the result is not allowed. */
MUST_CHECK int identity_user(const char *template, const char *licence, char out[AWS_USER_MAX]);
/* Writes "account/user" in lower case: the Kafka key, the Redis hash tag and the look-up key, since IAM names are
 * unique without regard to case. ERR_INVALID: one of the two is not valid. */
MUST_CHECK int identity_key(const char *account, const char *user, char out[IDENTITY_KEY_MAX]);
/* Compares names without regard to ASCII case, whatever the locale. */
bool identity_same(const char *a, const char *b);
/* Copies with ASCII letters in lower case, whatever the locale; cuts at max - 1 bytes. Returns the length written. */
size_t identity_lower(const char *s, char *out, size_t max);

/* Writes the first 32 hex digits of SHA-256 over (kind, account, user in lower case, key id to be replaced, rotation
 * number), so that the same work asked for twice has the same id. replace_key_id may be NULL (none). ERR_INTERNAL: no
 * SHA-256. */
MUST_CHECK int identity_job_id(const char *kind, const char *account, const char *user, const char *replace_key_id,
                               int64_t rotation, char out[IDENTITY_JOB_ID_MAX]);

#endif
