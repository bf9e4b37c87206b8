/* SHA-256, SHA-512 and HMAC-SHA-256, and a seeded random generator. */
#ifndef SANDBOX_HASH_H
#define SANDBOX_HASH_H

#include <stddef.h>
#include <stdint.h>

#define SHA256_BYTES 32

/* Fetches the algorithms once; ends the process if the library lacks them. Call before anything else here. */
void hash_init(void);
void hash_done(void);
void hash_sha256(const void *bytes, size_t len, uint8_t out[SHA256_BYTES]);
void hash_sha512_hex(const void *bytes, size_t len, char out[129]);
void hash_hmac(const void *key, size_t key_len, const void *bytes, size_t len, uint8_t out[SHA256_BYTES]);
/* Lower-case hex with a closing NUL: out holds 2 * len + 1. */
void hash_hex(const void *bytes, size_t len, char *out);

/* xorshift-multiply generator: repeatable runs matter here, unpredictability does not. */
struct rng {
    uint64_t state;
};
uint64_t rng_next(struct rng *g);
double rng_unit(struct rng *g);                               /* [0, 1) */
int64_t rng_between(struct rng *g, int64_t min, int64_t max); /* both included */
/* len characters out of set, and a NUL. */
void rng_text(struct rng *g, const char *set, size_t len, char *out);

#endif
