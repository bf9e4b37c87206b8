/* Escrow: seals a secret so that it may lie in Redis until the instance is proven to use it. AES-256-GCM; user and key
 * id are associated data, so an envelope opens for its own user and key only. The envelope names its master key (R13).
 */
#ifndef KEYROLL_ESCROW_H
#define KEYROLL_ESCROW_H

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/secret.h"

struct escrow;

/* files: paths separated by commas; the first key seals, all of them open. Each file holds exactly 32 bytes and may be
 * read by its owner only (mode 0600 or stricter; 0640 where it belongs to somebody else). ERR_NOT_FOUND,
 * ERR_PERMISSION, ERR_INVALID (size), with *ret_reason (caller frees). */
MUST_CHECK int escrow_load(const char *files, struct escrow **ret_escrow, char **ret_reason);
/* Makes a key file of 32 random bytes, mode 0600; leaves an existing one alone. 0 or ERR_IO. */
MUST_CHECK int escrow_make_file(const struct rng *rng, const char *path);
void escrow_free(struct escrow *e);
/* Id (16 hex digits) of the i-th master key, NULL behind the last: for the doctor, which compares them across workers.
 */
const char *escrow_key_id(const struct escrow *e, size_t i);
/* Appends the envelope, printable ASCII. Nonces are 96 random bits: with fewer than 2^32 envelopes under one key the
 * chance of a repeat stays under 2^-32 (NIST SP 800-38D, section 8.3). ERR_NOMEM, ERR_INTERNAL. */
MUST_CHECK int escrow_seal(const struct escrow *e, const struct rng *rng, const char *user, const char *key_id,
                           const struct secret *secret, struct buf *out);
/* ERR_SEAL_KEY: its master key is not loaded; ERR_SEAL_BROKEN: changed, swapped or foreign; ERR_NOMEM: try again. */
MUST_CHECK int escrow_open(const struct escrow *e, const char *user, const char *key_id, const char *envelope,
                           size_t len, struct secret **ret_secret);
/* Writes the id of the master key that an envelope names, loaded or not; "" when it is no envelope of ours. */
void escrow_sealed_by(const char *envelope, size_t len, char out[17]);
/* The envelope was sealed by the first key (nothing to re-seal). */
bool escrow_is_fresh(const struct escrow *e, const char *envelope, size_t len);

#endif
