/* Time and randomness as arguments: the program hands the real ones in, simulation hands in its own. */
#ifndef KEYROLL_CLOCK_H
#define KEYROLL_CLOCK_H

#include <stddef.h>
#include <stdint.h>

/* Times: *_ms = wall clock, milliseconds since 1970 UTC; *_mono_ms = monotonic milliseconds, meaningful in one process.
 */
struct clock {
    void *self;
    int64_t (*wall_ms)(void *self);
    int64_t (*mono_ms)(void *self);
};
static inline int64_t clock_wall_ms(const struct clock *c)
{
    return c->wall_ms(c->self);
}
static inline int64_t clock_mono_ms(const struct clock *c)
{
    return c->mono_ms(c->self);
}
/* CLOCK_REALTIME and CLOCK_BOOTTIME, which goes on while the host is suspended. */
extern const struct clock clock_system;

/* Random bytes. The real one is the kernel's (getrandom); a failure there is fatal (abort), it has no fallback. */
struct rng {
    void *self;
    void (*fill)(void *self, void *out, size_t len);
};
extern const struct rng rng_system;
/* Uniform in [0, bound), bound >= 1. */
uint64_t rng_below(const struct rng *r, uint64_t bound);
/* len_bytes random bytes as lower-case hex; out holds 2 * len_bytes + 1. */
void rng_hex(const struct rng *r, size_t len_bytes, char *out);

/* RFC 3339 in UTC with milliseconds, "2026-11-23T08:53:00.123Z": out holds 25 bytes. */
#define TIME_TEXT_MAX 25
void time_format(int64_t wall_ms, char out[TIME_TEXT_MAX]);
/* ISO 8601 as AWS and we write it (Z, +00:00 or other offsets, optional fraction). Returns ms, or INT64_MIN. */
int64_t time_parse(const char *text);
/* HTTP Date header (RFC 9110 IMF-fixdate). Returns ms, or INT64_MIN. */
int64_t time_parse_http(const char *text);
#define TIME_NONE INT64_MIN

/* Exponential backoff with full jitter above half: random in [d/2, d], d = min(base << attempt, cap). Pure.
 * attempt from 0; base and cap in ms, base >= 1. */
int64_t backoff_ms(const struct rng *r, unsigned attempt, int64_t base_ms, int64_t cap_ms);

#endif
