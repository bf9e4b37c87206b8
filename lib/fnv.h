/* FNV-1a, 64 bits (RFC 9923): the hash of our tables, and of what must be the same on every machine (spread of due
 * times, order of a campaign). Not for keys that an attacker chooses and whose tables must stay fast. Pure. */
#ifndef KEYROLL_FNV_H
#define KEYROLL_FNV_H

#include <stddef.h>
#include <stdint.h>

#define FNV1A_START 14695981039346656037u

static inline uint64_t fnv1a_byte(uint64_t h, unsigned char c)
{
    return (h ^ c) * 1099511628211u;
}

static inline uint64_t fnv1a_bytes(uint64_t h, const char *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++) h = fnv1a_byte(h, (unsigned char)bytes[i]);
    return h;
}

static inline uint64_t fnv1a(uint64_t h, const char *s)
{
    for (; *s; s++) h = fnv1a_byte(h, (unsigned char)*s);
    return h;
}

/* A to Z as a to z. */
static inline uint64_t fnv1a_fold(uint64_t h, const char *s)
{
    for (; *s; s++) h = fnv1a_byte(h, (unsigned char)(*s >= 'A' && *s <= 'Z' ? *s + 32 : *s));
    return h;
}

/* Every bit of the text in every bit of the number (the finish of MurmurHash3), where the high bits are used alone. */
static inline uint64_t fnv_mix(uint64_t h)
{
    h ^= h >> 33;
    h *= 0xff51afd7ed558ccdu;
    return h ^ (h >> 33);
}

#endif
