/* AWS's shared files (~/.aws/credentials, ~/.aws/config): the settings of one profile that identity needs.
 * docs.aws.amazon.com/sdkref/latest/guide/file-format.html */
#ifndef KEYROLL_AWS_PROFILE_H
#define KEYROLL_AWS_PROFILE_H

#include "lib/cleanup.h"
#include "lib/secret.h"

#include <stdbool.h>

/* Strings are owned; NULL where the files say nothing. */
struct aws_profile {
    bool found;     /* the profile is in one of the files */
    bool in_config; /* its static keys come from the config file */
    char *access_key_id;
    struct secret *secret, *token;
    char *role_arn, *source_profile, *credential_source, *external_id, *role_session_name, *web_identity_token_file,
        *mfa_serial;
    char *credential_process, *sso;
    int duration_s; /* 0: not set */
};

/* Reads the files that AWS_SHARED_CREDENTIALS_FILE and AWS_CONFIG_FILE name, or those under $HOME/.aws; what the
 * credentials file says wins. A missing file is an empty one. Blocking, for small local files. Errors: ERR_NOMEM,
 * ERR_IO (there but not readable), ERR_SYNTAX (a line which is no section, no setting and no comment). */
MUST_CHECK int aws_profile_load(const char *name, struct aws_profile *ret);
void aws_profile_done(struct aws_profile *p);
/* Does it hold a whole static pair? */
bool aws_profile_has_keys(const struct aws_profile *p);

/* Reads a small file that holds a secret into one, without the blanks around it: 1..max bytes. ERR_NOT_FOUND, ERR_IO,
 * ERR_TOO_LARGE, ERR_NOMEM; ERR_INVALID when there is nothing in it. */
MUST_CHECK int aws_secret_file(const char *path, size_t max, struct secret **ret);

#endif
