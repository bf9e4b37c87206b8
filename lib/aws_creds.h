/* Our own AWS identity: environment, shared files (profile, source_profile/role_arn), web identity, container endpoint,
 * EC2 instance metadata; AssumeRole per account. Refreshed ahead of expiry as the SDKs do (facts 9: advisory from 15
 * min, mandatory from 10 min before). Loop thread only. */
#ifndef KEYROLL_AWS_CREDS_H
#define KEYROLL_AWS_CREDS_H

#include "lib/clock.h"
#include "lib/secret.h"
#include "lib/ticket.h"

#include <stdint.h>

struct loop;
struct http;
struct aws_creds;

/* One set of credentials, reference counted (calls in flight keep the set they were signed with). */
struct aws_identity {
    char *access_key_id;
    struct secret *secret;
    struct secret *session_token; /* NULL for long-term keys */
    int64_t expires_ms;           /* TIME_NONE: never */
    int refs;
};
struct aws_identity *aws_identity_ref(struct aws_identity *i);
void aws_identity_unref(struct aws_identity *i);

struct aws_creds_options {
    const struct clock *clock;
    const struct rng *rng;
    struct http *http;
    const char *region;       /* STS region */
    const char *sts_endpoint; /* AWS_ENDPOINT_URL_STS / AWS_ENDPOINT_URL, NULL = regional */
    const char *profile;      /* AWS_PROFILE; an explicit profile removes the environment step */
    const char *role_template, *external_id, *session_name; /* as in aws_call_options */
};
MUST_CHECK int aws_creds_new(struct loop *l, const struct aws_creds_options *o, struct aws_creds **ret_creds);
void aws_creds_free(struct aws_creds *c);
/* Gives the identity to use for an account (NULL: our own). Completed with const struct aws_creds_result *, later,
 * exactly once. Waiters of one refresh share it. */
struct aws_creds_result {
    int err;
    struct aws_identity *identity;
    char message[200];
}; /* identity borrowed: ref it */
MUST_CHECK int aws_creds_get(struct aws_creds *c, const char *account, struct ticket t);
/* The set to use at once when there is one that needs no waiting (borrowed: ref it), else NULL: ask aws_creds_get().
 * Begins a refresh ahead of expiry by itself. The short way for calls on the hot path. */
struct aws_identity *aws_creds_now(struct aws_creds *c, const char *account);
/* The set was refused (ExpiredToken, InvalidClientTokenId on our own key): fetch anew at the next get. */
void aws_creds_invalidate(struct aws_creds *c, const char *account);
/* Where our own identity comes from: "environment", "shared file, profile x", "web identity", "container endpoint",
 * "instance metadata", "none". */
const char *aws_creds_source(struct aws_creds *c);

#endif
