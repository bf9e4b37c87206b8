/* Credentials from the endpoint that ECS and EKS Pod Identity give to a container.
 * docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html */
#ifndef KEYROLL_AWS_CONTAINER_H
#define KEYROLL_AWS_CONTAINER_H

#include "lib/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

struct http;
struct aws_identity;

/* Is AWS_CONTAINER_CREDENTIALS_RELATIVE_URI or _FULL_URI set? */
bool aws_container_configured(void);

/* May credentials be asked for at this address? https anywhere; http only on loopback and at the container hosts'
 * link-local addresses (169.254.170.2, 169.254.170.23, [fd00:ec2::23]). Pure. */
bool aws_container_url_allowed(const char *url);

/* One reply's credentials (JSON: AccessKeyId, SecretAccessKey, Token, Expiration), the caller's to unref. The body's
 * copies inside are wiped. Errors: ERR_NET_BAD_REPLY (not such an object, no Expiration), ERR_NOMEM. */
MUST_CHECK int aws_container_parse(const char *body, size_t len, struct aws_identity **ret_identity);

/* Asks once. The authorization is the content of AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE, read anew each time, else
 * AWS_CONTAINER_AUTHORIZATION_TOKEN.
 * done: called exactly once, later; an identity is its to unref; err has class RETRIABLE unless the caller must change
 * something (ERR_AWS_NO_CREDENTIALS) or everything ends (ERR_CANCELLED).
 * Errors: ERR_AWS_NO_CREDENTIALS with a reason (address not allowed, token unreadable or with a line break), those of
 * http_send(); then done is not called. Loop thread only. */
typedef void aws_container_fn(void *arg, int err, const char *message, struct aws_identity *identity);
MUST_CHECK int aws_container_fetch(struct http *h, aws_container_fn *done, void *arg, char reason[200]);

#endif
