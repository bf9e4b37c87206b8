/* The real Synergist edge: the calls of lib/instance.h over lib/http, as a profile (lib/profile.h) describes them. */
#ifndef KEYROLL_SYNERGIST_H
#define KEYROLL_SYNERGIST_H

#include "lib/clock.h"
#include "lib/credref.h"
#include "lib/instance.h"

struct http;
struct loop;
struct profiles;
struct synergist;

/* Everything is borrowed and must outlive the client, but for http, which may be freed before or after it. */
struct synergist_options {
    const struct clock *clock;          /* Required */
    const struct rng *rng;              /* Required: multipart boundaries */
    struct http *http;                  /* Required */
    const struct profiles *profiles;    /* Required */
    struct credref_options credentials; /* what a person should know about a credentials file */
    unsigned queue_max;                 /* calls that may wait for one instance; 0 = 16; more end as ERR_BUSY */
};

/* 0 or ERR_NOMEM. */
MUST_CHECK int synergist_new(struct loop *l, const struct synergist_options *o, struct synergist **ret_synergist);
/* Completes everything that is open with ERR_CANCELLED (a write that may have left: ERR_NET_LOST), then frees. Not from
 * within a completion. Takes NULL. */
void synergist_free(struct synergist *s);

/* The table of calls. Loop thread only.
 *
 * call(): one call at a time per instance (address and licence); others wait in order, at most queue_max. A call may
 * need several requests (read-back refused, then a presigned URL); its timeout, the request's or the profile's, holds
 * from the first one that leaves to the last answer. deadline_mono_ms: no request leaves later than deadline less what
 * is left of the timeout: ERR_TIMEOUT. ERR_INVALID at once: an address, licence, profile or reference is missing, or a
 * WRITE_KEY lacks a half of the pair or has one that no instance should be given (key id not of A-Z0-9_).
 *
 * Results, beyond what lib/instance.h says:
 *   READ_KEY   err 0 and seen UNKNOWN: the instance answered but shows no key id (field absent, masked, no attachment).
 *   WRITE_KEY  err 0: the documented success. It is no proof; read the key back.
 *   TEST       ERR_INSTANCE_UNSUPPORTED: nothing to test with (no such call, no attachment with a presigned URL). By
 * presigned URL: proof, seen and key_seen name the key that signed it, also when the test failed. The URL is fetched
 * without any credentials, one byte of it, and only over https or from a loopback address. VERSION    message:
 * "Synergist 13.1b, API 4.0" as far as the instance told. ERR_BUSY   the record is locked or was changed meanwhile
 * (codes of the profile), or queue_max. ERR_INVALID, ERR_NOT_FOUND, ERR_PERMISSION, ERR_SYNTAX by ticket: the address
 * or the credentials reference; message says which. message    is cleaned; if it repeats a part of the password or of
 * the secret, a fixed sentence stands for it. */
struct instance_port synergist_port(struct synergist *s);

#endif
