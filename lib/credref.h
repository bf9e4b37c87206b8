/* Credentials references: where an instance's login is found. "file:PATH#LICENCE" names a member of a JSON file,
 * {"LICENCE": {"user": "...", "password": "..."}, ...}; "env:NAME" an environment variable that holds "user:password".
 */
#ifndef KEYROLL_CREDREF_H
#define KEYROLL_CREDREF_H

#include "lib/secret.h"

#include <stdint.h>

struct credref;

#define CREDREF_USER_MAX   256 /* bytes of a login name, terminator included */
#define CREDREF_REASON_MAX 200

/* warn: called once per new state of a file with what a person should know (readable by the group; a new version that
 * cannot be parsed, so that the old one is still used; a licence twice); may be NULL. Text holds paths and licences,
 * never a secret. */
struct credref_options {
    void (*warn)(void *arg, const char *text);
    void *warn_arg;
};

/* NULL when out of memory. Files are read when first asked for. */
struct credref *credref_new(const struct credref_options *o);
/* Takes NULL. */
void credref_free(struct credref *c);

struct credref_login {
    char user[CREDREF_USER_MAX];
    struct secret *password; /* owned by the caller: secret_free() */
};
/* Looks a reference up. now_mono_ms: a file is looked at (stat) at most once a second and read again when its
 * modification time, inode or size changed; in between the answer is one hash look-up. Blocks for the reading only (6
 * MB and 100,000 licences: some tens of milliseconds). Errors, with a sentence in ret_reason: ERR_NOT_FOUND (no such
 * file, licence, variable), ERR_INVALID (not a reference; a variable without ":"; a login name too long or empty),
 * ERR_PERMISSION (the file may not be read by us, or may be read by all or written by the group: we refuse to use it),
 * ERR_SYNTAX, ERR_TOO_LARGE (over 64 MiB), ERR_IO, ERR_NOMEM. */
MUST_CHECK int credref_get(struct credref *c, const char *reference, int64_t now_mono_ms,
                           struct credref_login *ret_login, char ret_reason[CREDREF_REASON_MAX]);
/* Checks the form of a reference only (inventory). 0 or ERR_INVALID. Pure. */
MUST_CHECK int credref_check(const char *reference);

#endif
