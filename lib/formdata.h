/* Bodies of form posts: multipart/form-data (RFC 7578) or application/x-www-form-urlencoded (WHATWG URL, section 5).
 * Pure but for the randomness handed in. Bodies are secret buffers: they carry passwords and keys. */
#ifndef KEYROLL_FORMDATA_H
#define KEYROLL_FORMDATA_H

#include "lib/buf.h"
#include "lib/clock.h"

#include <stdbool.h>

struct formdata {
    struct buf body;
    bool multipart;
    char boundary[48];
    char content_type[112]; /* "Content-Type: ..." as a header line */
};

/* max: most bytes of the body. The boundary is 128 random bits, so no value can hold it but by chance that never comes.
 */
void formdata_init(struct formdata *f, bool multipart, const struct rng *rng, size_t max);
void formdata_done(struct formdata *f);
/* Appends a field. name: [A-Za-z0-9_.-]+, the caller's duty (assert). value: any bytes, UTF-8 for the other side to
 * understand it. Errors stick in body.error (ERR_NOMEM, ERR_TOO_LARGE) and are told by formdata_end(). */
void formdata_add(struct formdata *f, const char *name, const void *value, size_t len);
void formdata_adds(struct formdata *f, const char *name, const char *value);
/* Closes the body. 0, ERR_NOMEM, ERR_TOO_LARGE. */
MUST_CHECK int formdata_end(struct formdata *f);

/* Appends a JSON string with its quotes (RFC 8259 section 7); bytes from 0x80 on go as they are. Into a secret buffer
 * this leaves no copy behind, which jansson would. Errors stick in b. */
void formdata_json_string(struct buf *b, const char *s, size_t len);

#endif
