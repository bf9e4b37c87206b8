/* Real time and randomness, and the pure conversions between milliseconds and text.
 * Conversions are done here rather than by strptime/timegm: these depend on the locale and accept more than AWS or
 * RFC 9110 write. Proleptic Gregorian calendar, years 1 to 9999, no leap seconds (:60 is read as the next minute's
 * :00). */
#include "lib/clock.h"

#include "lib/cleanup.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#define MS_PER_DAY INT64_C(86400000)

static int64_t read_clock(clockid_t id)
{
    struct timespec ts;
    if (clock_gettime(id, &ts) != 0) abort(); /* cannot fail for these clocks */
    return (int64_t)ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

static int64_t system_wall_ms(void *self)
{
    (void)self;
    return read_clock(CLOCK_REALTIME);
}

/* Not CLOCK_MONOTONIC: that one stands still while the host is suspended, and leases do not. */
static int64_t system_mono_ms(void *self)
{
    (void)self;
    return read_clock(CLOCK_BOOTTIME);
}

const struct clock clock_system = {.wall_ms = system_wall_ms, .mono_ms = system_mono_ms};

static void from_kernel(unsigned char *p, size_t len)
{
    while (len) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) abort();
        p += n;
        len -= (size_t)n;
    }
}

/* Small requests come out of a store that is filled by one system call and wiped as it is handed out. One per thread,
 * and a child after fork() begins an empty one. */
static _Thread_local unsigned char store[256];
static _Thread_local size_t store_left;

static void forget_store(void)
{
    store_left = 0;
}

static void watch_forks(void)
{
    if (pthread_atfork(NULL, NULL, forget_store) != 0) abort();
}

static void system_fill(void *self, void *out, size_t len)
{
    static pthread_once_t watched = PTHREAD_ONCE_INIT;
    (void)self;
    if (len > sizeof(store) / 4) {
        from_kernel(out, len);
        return;
    }
    if (len > store_left) {
        pthread_once(&watched, watch_forks);
        from_kernel(store, sizeof(store));
        store_left = sizeof(store);
    }
    store_left -= len;
    memcpy(out, store + store_left, len);
    explicit_bzero(store + store_left, len);
}

const struct rng rng_system = {.fill = system_fill};

uint64_t rng_below(const struct rng *r, uint64_t bound)
{
    assert(bound >= 1);
    uint64_t limit = UINT64_MAX - UINT64_MAX % bound; /* a multiple of bound: no value is favoured */
    uint64_t v;
    do {
        r->fill(r->self, &v, sizeof(v));
    } while (v >= limit);
    return v % bound;
}

void rng_hex(const struct rng *r, size_t len_bytes, char *out)
{
    static const char hex[] = "0123456789abcdef";
    unsigned char bytes[32]; /* one system call for what callers ask for */
    for (size_t at = 0; at < len_bytes; at += sizeof(bytes)) {
        size_t n = len_bytes - at < sizeof(bytes) ? len_bytes - at : sizeof(bytes);
        r->fill(r->self, bytes, n);
        for (size_t i = 0; i < n; i++) {
            *out++ = hex[bytes[i] >> 4];
            *out++ = hex[bytes[i] & 15];
        }
    }
    *out = '\0';
}

int64_t backoff_ms(const struct rng *r, unsigned attempt, int64_t base_ms, int64_t cap_ms)
{
    assert(base_ms >= 1 && cap_ms >= 1);
    int64_t d = base_ms;
    while (attempt-- && d < cap_ms) d = d > INT64_MAX / 2 ? cap_ms : d * 2;
    if (d > cap_ms) d = cap_ms;
    int64_t half = d / 2;
    return half + (int64_t)rng_below(r, (uint64_t)(d - half) + 1);
}

/* Days since 1970-01-01. Years are counted from March, so that the leap day comes last. */
static int64_t days_from_civil(int year, int month, int day)
{
    int64_t y = month <= 2 ? year - 1 : year;
    int64_t m = month <= 2 ? month + 9 : month - 3;
    return 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719468;
}

static int days_in_month(int year, int month)
{
    static const char days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return month == 2 && leap ? 29 : days[month - 1];
}

void time_format(int64_t wall_ms, char out[TIME_TEXT_MAX])
{
    int64_t days = wall_ms / MS_PER_DAY, ms = wall_ms % MS_PER_DAY;
    if (ms < 0) {
        ms += MS_PER_DAY;
        days--;
    }
    struct tm tm;
    time_t seconds = (time_t)(days * 86400);
    int year = gmtime_r(&seconds, &tm) ? tm.tm_year + 1900 : 0;
    if (year < 0 || year > 9999) {
        memcpy(out, "0000-00-00T00:00:00.000Z", TIME_TEXT_MAX); /* TIME_NONE and other nonsense */
        return;
    }
    const struct {
        int value, at, digits;
    } parts[] = {{year, 0, 4},
                 {tm.tm_mon + 1, 5, 2},
                 {tm.tm_mday, 8, 2},
                 {(int)(ms / 3600000), 11, 2},
                 {(int)(ms / 60000 % 60), 14, 2},
                 {(int)(ms / 1000 % 60), 17, 2},
                 {(int)(ms % 1000), 20, 3}};
    memcpy(out, "0000-00-00T00:00:00.000Z", TIME_TEXT_MAX); /* by hand: in each event and each signature */
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        for (int left = parts[i].value, k = parts[i].digits; k-- > 0; left /= 10)
            out[parts[i].at + k] = (char)('0' + left % 10);
}

/* Reads exactly n digits. */
static bool digits(const char **p, int n, int *ret)
{
    int v = 0;
    for (int i = 0; i < n; i++, (*p)++) {
        if (**p < '0' || **p > '9') return false;
        v = v * 10 + (**p - '0');
    }
    *ret = v;
    return true;
}

static bool literal(const char **p, char c)
{
    if (**p != c) return false;
    (*p)++;
    return true;
}

struct civil {
    int year, month, day, hour, minute, second, ms;
};

static int64_t civil_ms(const struct civil *c)
{
    if (c->year < 1 || c->month < 1 || c->month > 12 || c->day < 1 || c->day > days_in_month(c->year, c->month) ||
        c->hour > 23 || c->minute > 59 || c->second > 60)
        return TIME_NONE;
    int64_t seconds = days_from_civil(c->year, c->month, c->day) * 86400 + c->hour * 3600 + c->minute * 60 + c->second;
    return seconds * 1000 + c->ms;
}

/* Fraction of any length; the first three digits count. */
static bool fraction(const char **p, int *ret_ms)
{
    int n = 0, ms = 0;
    for (; **p >= '0' && **p <= '9'; (*p)++, n++)
        if (n < 3) ms = ms * 10 + (**p - '0');
    for (int i = n; i < 3; i++) ms *= 10;
    *ret_ms = ms;
    return n > 0;
}

static bool offset(const char **p, int *ret_minutes)
{
    *ret_minutes = 0;
    if (literal(p, 'Z') || literal(p, 'z')) return true;
    int sign = **p == '-' ? -1 : 1, hour, minute;
    if (!literal(p, '+') && !literal(p, '-')) return false;
    if (!digits(p, 2, &hour)) return false;
    (void)literal(p, ':'); /* +0000 is seen as well as +00:00 */
    if (!digits(p, 2, &minute) || hour > 23 || minute > 59) return false;
    *ret_minutes = sign * (hour * 60 + minute);
    return true;
}

int64_t time_parse(const char *text)
{
    struct civil c = {0};
    const char *p = text;
    int shift;
    if (!p || !digits(&p, 4, &c.year) || !literal(&p, '-') || !digits(&p, 2, &c.month) || !literal(&p, '-') ||
        !digits(&p, 2, &c.day) || !(literal(&p, 'T') || literal(&p, 't') || literal(&p, ' ')) ||
        !digits(&p, 2, &c.hour) || !literal(&p, ':') || !digits(&p, 2, &c.minute) || !literal(&p, ':') ||
        !digits(&p, 2, &c.second))
        return TIME_NONE;
    if (literal(&p, '.') && !fraction(&p, &c.ms)) return TIME_NONE;
    if (!offset(&p, &shift) || *p) return TIME_NONE;
    int64_t ms = civil_ms(&c);
    return ms == TIME_NONE ? TIME_NONE : ms - (int64_t)shift * 60000;
}

/* "Sun, 06 Nov 1994 08:49:37 GMT"; the name of the day is not checked against the date. */
int64_t time_parse_http(const char *text)
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct civil c = {0};
    if (!text || strlen(text) != 29 || text[3] != ',' || text[4] != ' ') return TIME_NONE;
    const char *p = text + 5;
    if (!digits(&p, 2, &c.day) || !literal(&p, ' ')) return TIME_NONE;
    for (int m = 0; m < 12; m++)
        if (memcmp(p, months + 3 * m, 3) == 0) c.month = m + 1;
    p += 3;
    if (!literal(&p, ' ') || !digits(&p, 4, &c.year) || !literal(&p, ' ') || !digits(&p, 2, &c.hour) ||
        !literal(&p, ':') || !digits(&p, 2, &c.minute) || !literal(&p, ':') || !digits(&p, 2, &c.second) ||
        strcmp(p, " GMT") != 0)
        return TIME_NONE;
    return civil_ms(&c);
}
