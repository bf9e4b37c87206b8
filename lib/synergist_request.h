/* What is sent to an instance: addresses and form bodies of the calls that a profile describes. Pure but for the
 * randomness of the boundary. */
#ifndef KEYROLL_SYNERGIST_REQUEST_H
#define KEYROLL_SYNERGIST_REQUEST_H

#include "lib/formdata.h"
#include "lib/profile.h"

/* The login as it goes on the wire. */
struct synergist_login {
    const char *user;
    const struct secret *password; /* plain, or the hash that stands for it: see synergist_password() */
};

/* What the profile's auth mode sends in place of the password: a copy of it, or hex(SHA-512(recipe)). ERR_NOMEM;
 * ERR_INVALID when the password is not UTF-8 and the recipe wants UTF-16. Caller frees. */
MUST_CHECK int synergist_password(const struct profile *p, const char *user, const struct secret *password,
                                  struct secret **ret_sent);

/* May this address be called? https, or http to a loopback address, or any http where the profile says so. ERR_INVALID
 * with a sentence in *ret_reason (static) otherwise. */
MUST_CHECK int synergist_check_url(const struct profile *p, const char *base, const char **ret_reason);
/* Appends BASE/jsonapi/AREA.json to out; base may end with slashes. */
int synergist_url(const char *base, const char *area, struct buf *out);

/* The forms, whole but for formdata_end(). Errors stick in f->body. */
void synergist_form_version(struct formdata *f, const struct profile *p, const struct synergist_login *l);
void synergist_form_read_back(struct formdata *f, const struct profile *p, const struct synergist_login *l);
/* attachment_id: the record to read; NULL: the profile's, or its list. */
void synergist_form_presigned(struct formdata *f, const struct profile *p, const struct synergist_login *l,
                              const char *attachment_id);
void synergist_form_test(struct formdata *f, const struct profile *p, const struct synergist_login *l);
/* Both halves in one record; never an identifier alone, which is a deletion on some versions (assert: both are there
 * and not empty). id, record_version: as read before; NULL when the profile sends none. */
void synergist_form_write(struct formdata *f, const struct profile *p, const struct synergist_login *l,
                          const char *key_id, const struct secret *secret, const char *id, const char *record_version);

#endif
