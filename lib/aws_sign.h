/* AWS Signature Version 4 (docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html). Pure: time is an argument.
 * Caches the derived signing key per (key id, date, region, service). Tested on the published vectors. */
#ifndef KEYROLL_AWS_SIGN_H
#define KEYROLL_AWS_SIGN_H

#include "lib/buf.h"
#include "lib/secret.h"

#include <stdbool.h>
#include <stdint.h>

struct aws_sign_header {
    const char *name;
    const char *value;
}; /* any case; trimmed and squeezed here */
struct aws_sign_request {
    const char *method;
    const char *path; /* encoded once as it goes on the wire; "/" when empty */
    const char *
        query; /* as it goes on the wire, without "?", sorted and re-encoded here for the canonical form; may be NULL */
    const struct aws_sign_header *headers;
    size_t n_headers; /* must hold host; x-amz-date and the token are added here */
    const void *body;
    size_t body_len;
    const char *payload_hash; /* NULL: hash of body; or a literal such as UNSIGNED-PAYLOAD */
    const char *region, *service;
    bool double_encode_path; /* all services but s3 */
    bool normalize_path;     /* dot segments and repeated slashes are removed: all services but s3 */
    bool add_content_sha256; /* s3 */
    int64_t wall_ms;
};
struct aws_sign_keys; /* cache of derived keys, one per process; wiped on free */
struct aws_sign_keys *aws_sign_keys_new(size_t max_entries);
void aws_sign_keys_free(struct aws_sign_keys *k);

/* Appends to out the header lines "Name: value\0" for X-Amz-Date, X-Amz-Security-Token, X-Amz-Content-Sha256 (as they
 * apply) and Authorization, each NUL-terminated, ret_n of them. Errors: ERR_NOMEM, ERR_TOO_LARGE, ERR_INVALID (no host
 * header). */
MUST_CHECK int aws_sign(struct aws_sign_keys *keys, const struct aws_sign_request *req, const char *access_key_id,
                        const struct secret *secret, const struct secret *session_token, struct buf *out,
                        size_t *ret_n);
/* The parts, for the vectors: canonical request and string to sign. */
MUST_CHECK int aws_sign_canonical(const struct aws_sign_request *req, const struct secret *session_token,
                                  struct buf *ret_canonical, struct buf *ret_signed_headers);

#endif
