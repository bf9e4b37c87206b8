/* SHA-256, SHA-512 and HMAC-SHA-256 over OpenSSL's EVP, and a seeded random generator.
 *
 * The algorithms are fetched once and one context is used again and again: fetching per call would cost more than
 * hashing the few hundred bytes of a request. HMAC is written out over SHA-256 (RFC 2104) for the same reason.
 * Limits: one thread. */
#include "tests/sandbox/hash.h"

#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_BYTES 64

static EVP_MD *sha256;
static EVP_MD *sha512;
static EVP_MD_CTX *ctx;

void hash_init(void)
{
    sha256 = EVP_MD_fetch(NULL, "SHA256", NULL);
    sha512 = EVP_MD_fetch(NULL, "SHA512", NULL);
    ctx = EVP_MD_CTX_new();
    if (sha256 && sha512 && ctx) return;
    (void)fputs("keyroll-sandbox: no SHA-2 in the crypto library\n", stderr);
    abort();
}

void hash_done(void)
{
    EVP_MD_CTX_free(ctx);
    EVP_MD_free(sha256);
    EVP_MD_free(sha512);
}

static void must(int ok)
{
    if (ok != 1) abort();
}

void hash_sha256(const void *bytes, size_t len, uint8_t out[SHA256_BYTES])
{
    must(EVP_DigestInit_ex2(ctx, sha256, NULL));
    must(EVP_DigestUpdate(ctx, bytes, len));
    must(EVP_DigestFinal_ex(ctx, out, NULL));
}

void hash_sha512_hex(const void *bytes, size_t len, char out[129])
{
    uint8_t digest[64];
    must(EVP_DigestInit_ex2(ctx, sha512, NULL));
    must(EVP_DigestUpdate(ctx, bytes, len));
    must(EVP_DigestFinal_ex(ctx, digest, NULL));
    hash_hex(digest, sizeof(digest), out);
}

void hash_hmac(const void *key, size_t key_len, const void *bytes, size_t len, uint8_t out[SHA256_BYTES])
{
    uint8_t k[BLOCK_BYTES] = {0}, pad[BLOCK_BYTES], inner[SHA256_BYTES];
    if (key_len > BLOCK_BYTES)
        hash_sha256(key, key_len, k);
    else
        memcpy(k, key, key_len);
    for (int i = 0; i < BLOCK_BYTES; i++) pad[i] = k[i] ^ 0x36;
    must(EVP_DigestInit_ex2(ctx, sha256, NULL));
    must(EVP_DigestUpdate(ctx, pad, sizeof(pad)));
    must(EVP_DigestUpdate(ctx, bytes, len));
    must(EVP_DigestFinal_ex(ctx, inner, NULL));
    for (int i = 0; i < BLOCK_BYTES; i++) pad[i] = k[i] ^ 0x5c;
    must(EVP_DigestInit_ex2(ctx, sha256, NULL));
    must(EVP_DigestUpdate(ctx, pad, sizeof(pad)));
    must(EVP_DigestUpdate(ctx, inner, sizeof(inner)));
    must(EVP_DigestFinal_ex(ctx, out, NULL));
}

void hash_hex(const void *bytes, size_t len, char *out)
{
    static const char hex[] = "0123456789abcdef";
    const uint8_t *p = bytes;
    for (size_t i = 0; i < len; i++) {
        out[2 * i] = hex[p[i] >> 4];
        out[2 * i + 1] = hex[p[i] & 15];
    }
    out[2 * len] = 0;
}

/* SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators"). */
uint64_t rng_next(struct rng *g)
{
    uint64_t z = (g->state += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

double rng_unit(struct rng *g)
{
    return (double)(rng_next(g) >> 11) / 9007199254740992.0;
}

int64_t rng_between(struct rng *g, int64_t min, int64_t max)
{
    if (max <= min) return min;
    return min + (int64_t)(rng_next(g) % (uint64_t)(max - min + 1));
}

void rng_text(struct rng *g, const char *set, size_t len, char *out)
{
    size_t n = strlen(set);
    for (size_t i = 0; i < len; i++) out[i] = set[rng_next(g) % n];
    out[len] = 0;
}
