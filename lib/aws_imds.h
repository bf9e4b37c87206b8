/* Credentials of the role attached to an EC2 instance, from its metadata service, version 2 only.
 * docs.aws.amazon.com/AWSEC2/latest/UserGuide/configuring-instance-metadata-service.html and
 * .../instance-metadata-security-credentials.html; the environment variables are those of
 * docs.aws.amazon.com/sdkref/latest/guide/feature-imds-credentials.html */
#ifndef KEYROLL_AWS_IMDS_H
#define KEYROLL_AWS_IMDS_H

#include "lib/aws_container.h" /* aws_container_fn */
#include "lib/cleanup.h"
#include "lib/clock.h"

#include <stdbool.h>
#include <stddef.h>

struct http;
struct aws_imds;

/* May the service be asked? Always, unless AWS_EC2_METADATA_DISABLED is "true": whether there is one shows only then.
 */
bool aws_imds_configured(void);

/* A role's name as the service tells it, which becomes part of a path: the first line of body, 1..64 of [\w+=,.@-].
 * Pure. ERR_NET_BAD_REPLY when it is none. */
#define AWS_IMDS_ROLE_MAX 65
MUST_CHECK int aws_imds_role(const char *body, size_t len, char ret_role[AWS_IMDS_ROLE_MAX]);

/* Keeps the session token between fetches. NULL when out of memory. */
struct aws_imds *aws_imds_new(struct http *h, const struct clock *clock);
/* Takes NULL. A fetch under way still completes. */
void aws_imds_unref(struct aws_imds *m);

/* Asks once: PUT for a session token (unless one is held that still lives), the role's name, its credentials. A token
 * that is refused (401) is replaced once. Never asks without a token (version 1). Each request has a second: where
 * there is no such service its address swallows packets, and so does a hop limit of 1 with the answers to a container.
 * done: as with aws_container_fetch(). ERR_AWS_NO_CREDENTIALS: the service is switched off (403); else RETRIABLE.
 * Errors: ERR_AWS_NO_CREDENTIALS with a reason (AWS_EC2_METADATA_SERVICE_ENDPOINT or its _MODE is none), those of
 * http_send(); then done is not called. Loop thread only. */
MUST_CHECK int aws_imds_fetch(struct aws_imds *m, aws_container_fn *done, void *arg, char reason[200]);

#endif
