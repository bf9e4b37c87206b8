/* What an instance answered: the documented envelopes and the odd ones, turned into one verdict. Pure. */
#ifndef KEYROLL_SYNERGIST_REPLY_H
#define KEYROLL_SYNERGIST_REPLY_H

#include "lib/profile.h"

#include <jansson.h>

/* The verdict on a reply to one call of the instance's API. */
struct synergist_reply {
    int err; /* 0: the documented success. ERR_INSTANCE_LOGIN, ERR_INSTANCE_REFUSED (definite, no effect), ERR_BUSY
                (record locked or changed by somebody else: definite, no effect; the profile's codes), ERR_INSTANCE_TEST
                (the profile's codes), ERR_INSTANCE_FAILURE (anything not understood: may have had an effect),
                ERR_NET_REDIRECT, ERR_NOMEM */
    bool no_such_call; /* a definite "this instance has no such call": 404004, 404500 "invalid action ..." */
    bool denied;       /* one of the profile's `denied` codes: the login may not do this */
    bool not_ours;     /* HTTP 404 without an envelope: whoever answered does not speak the API at this address */
    char code[16];     /* the instance's error code, "" when none */
    char *text;        /* the instance's words, uncleaned, may be NULL; owned */
    json_t *root; /* the JSON envelope, NULL when the reply was none; owned, its strings are wiped with the reply */
};

/* Judges the reply to a call. p: for its error codes. status: HTTP status (>= 100). body: NUL-terminated behind len.
 * Never fails: what cannot be understood is ERR_INSTANCE_FAILURE. End with synergist_reply_done(). */
void synergist_reply_read(const struct profile *p, int status, const char *body, size_t len,
                          struct synergist_reply *ret);
void synergist_reply_done(struct synergist_reply *r);

/* A member by name without regard to case; NULL when it is absent or there several times (then *ret_ambiguous, which
 * may be NULL). Borrowed. */
const json_t *synergist_member(const json_t *obj, const char *name, bool *ret_ambiguous);
/* The n-th record of the envelope's data: data[n], or data itself for n = 0 when it is an object. NULL when there is
 * none. */
const json_t *synergist_record(const struct synergist_reply *r, size_t n);
/* A string, or a number or boolean as text, into out. False when it is none of these or too long. */
bool synergist_text(const json_t *value, char *out, size_t max);

/* Copies text for people: control characters and blanks become one blank, invalid UTF-8 is dropped, cut at a whole
 * character. If any of the n secrets (or eight bytes in a row of one, also percent-encoded) occur in it, a fixed
 * sentence stands for the whole text. */
struct secret;
void synergist_clean(const char *text, const struct secret *const *secrets, size_t n, char *out, size_t max);

/* The verdict on a plain GET of a presigned URL (S3's answers,
 * https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html): 0 when the key was accepted (2xx, 304, 404
 * NoSuchKey, 416), ERR_INSTANCE_TEST for a 403, 400 or a missing bucket, ERR_NET_REDIRECT for 3xx, ERR_INSTANCE_FAILURE
 * for all else. code: S3's error code, "" when none. */
int presigned_verdict(int status, const char *body, size_t len, char *code, size_t code_max);

#endif
