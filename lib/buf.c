/* A growing byte buffer. Growth doubles from 64 bytes up to the cap given at birth, so that no input from outside can
 * make us allocate without bound. The first failure sticks: callers append many times and look at the error once.
 * Secret buffers never use realloc, which could leave a copy of the old bytes behind: they allocate, copy and wipe.
 * Limits: not thread-safe; pointers into the data die with the next append. */
#include "lib/buf.h"

#include "lib/err.h"
#include "lib/secret.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#define BUF_FIRST_BYTES 64

void buf_init(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max};
}

void buf_init_secret(struct buf *b, size_t max)
{
    *b = (struct buf){.max = max, .is_secret = 1};
}

static void free_bytes(struct buf *b)
{
    if (b->is_secret && b->data) secret_wipe(b->data, b->cap);
    free(b->data);
}

void buf_done(struct buf *b)
{
    if (!b) return;
    free_bytes(b);
    *b = (struct buf){.max = b->max, .is_secret = b->is_secret};
}

void buf_reset(struct buf *b)
{
    if (b->is_secret && b->data) secret_wipe(b->data, b->cap);
    b->len = 0;
    b->error = 0;
    if (b->data) b->data[0] = '\0';
}

static int move_secret(struct buf *b, size_t cap)
{
    char *fresh = malloc(cap);
    if (!fresh) return ERR_NOMEM;
    if (b->len) memcpy(fresh, b->data, b->len);
    free_bytes(b);
    b->data = fresh;
    return 0;
}

static int move_plain(struct buf *b, size_t cap)
{
    char *fresh = realloc(b->data, cap);
    if (!fresh) return ERR_NOMEM;
    b->data = fresh;
    return 0;
}

/* Makes room for extra bytes and the terminator. */
static int reserve(struct buf *b, size_t extra)
{
    if (b->error) return b->error;
    if (extra > b->max || b->len > b->max - extra) return b->error = ERR_TOO_LARGE;
    size_t need = b->len + extra + 1;
    if (need <= b->cap) return 0;
    size_t cap = b->cap ? b->cap : BUF_FIRST_BYTES;
    while (cap < need) cap = cap > SIZE_MAX / 2 ? need : cap * 2;
    if (cap > b->max + 1) cap = b->max + 1;
    int rc = b->is_secret ? move_secret(b, cap) : move_plain(b, cap);
    if (rc < 0) return b->error = rc;
    b->cap = cap;
    b->data[b->len] = '\0';
    return 0;
}

/* What reserve() would find without doing anything, as it mostly is: texts are put together from bits. The cap is asked
 * too, since the limit of a kept buffer may have been lowered. */
static bool has_room(const struct buf *b, size_t extra)
{
    return !b->error && extra < b->cap - b->len && b->len + extra <= b->max;
}

int buf_reserve(struct buf *b, size_t bytes)
{
    return reserve(b, bytes);
}

int buf_add(struct buf *b, const void *data, size_t len)
{
    int rc = has_room(b, len) ? 0 : reserve(b, len);
    if (rc < 0) return rc;
    if (len) memcpy(b->data + b->len, data, len);
    b->len += len;
    b->data[b->len] = '\0';
    return 0;
}

int buf_adds(struct buf *b, const char *s)
{
    return buf_add(b, s, strlen(s));
}

int buf_addc(struct buf *b, char c)
{
    if (!has_room(b, 1)) return buf_add(b, &c, 1);
    b->data[b->len++] = c;
    b->data[b->len] = '\0';
    return 0;
}

int buf_addf(struct buf *b, const char *fmt, ...)
{
    va_list first, again;
    size_t room = b->error || !b->data ? 0 : b->cap - b->len; /* most texts fit: printed once */
    va_start(first, fmt);
    va_copy(again, first);
    int len = vsnprintf(room ? b->data + b->len : NULL, room, fmt, first);
    va_end(first);
    int rc = len < 0 ? (b->error = ERR_INVALID) : reserve(b, (size_t)len);
    if (rc == 0 && (size_t)len >= room) (void)vsnprintf(b->data + b->len, (size_t)len + 1, fmt, again);
    if (rc == 0) b->len += (size_t)len;
    if (rc < 0 && room) b->data[b->len] = '\0';
    va_end(again);
    return rc;
}

static int is_unreserved(unsigned char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_' ||
           c == '.' || c == '~';
}

int buf_add_percent(struct buf *b, const void *data, size_t len)
{
    static const char hex[] = "0123456789ABCDEF";
    const unsigned char *p = data;
    size_t escaped = 0;
    for (size_t i = 0; i < len; i++) escaped += !is_unreserved(p[i]);
    if (escaped > (SIZE_MAX - len) / 2) return b->error = ERR_TOO_LARGE;
    int rc = reserve(b, len + 2 * escaped);
    if (rc < 0) return rc;
    char *out = b->data + b->len;
    for (size_t i = 0; i < len; i++) {
        if (is_unreserved(p[i])) {
            *out++ = (char)p[i];
            continue;
        }
        *out++ = '%';
        *out++ = hex[p[i] >> 4];
        *out++ = hex[p[i] & 15];
    }
    *out = '\0';
    b->len += len + 2 * escaped;
    return 0;
}

int buf_add_base64(struct buf *b, const void *data, size_t len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *p = data;
    if (len > SIZE_MAX / 2) return b->error = ERR_TOO_LARGE;
    size_t total = (len + 2) / 3 * 4;
    int rc = reserve(b, total);
    if (rc < 0) return rc;
    char *out = b->data + b->len;
    for (size_t i = 0; i < len; i += 3) {
        size_t left = len - i;
        uint32_t v = (uint32_t)p[i] << 16 | (left > 1 ? (uint32_t)p[i + 1] << 8 : 0) | (left > 2 ? p[i + 2] : 0);
        *out++ = digits[v >> 18];
        *out++ = digits[v >> 12 & 63];
        *out++ = left > 1 ? digits[v >> 6 & 63] : '=';
        *out++ = left > 2 ? digits[v & 63] : '=';
    }
    *out = '\0';
    b->len += total;
    return 0;
}

int buf_add_hex(struct buf *b, const void *data, size_t len)
{
    static const char hex[] = "0123456789abcdef";
    const unsigned char *p = data;
    if (len > SIZE_MAX / 2) return b->error = ERR_TOO_LARGE;
    int rc = reserve(b, 2 * len);
    if (rc < 0) return rc;
    for (size_t i = 0; i < len; i++) {
        b->data[b->len++] = hex[p[i] >> 4];
        b->data[b->len++] = hex[p[i] & 15];
    }
    b->data[b->len] = '\0';
    return 0;
}

const char *buf_str(const struct buf *b)
{
    return b->data ? b->data : "";
}

char *buf_take(struct buf *b)
{
    if (!b->data && reserve(b, 0) < 0) return NULL;
    char *data = b->data;
    *b = (struct buf){.max = b->max, .is_secret = b->is_secret};
    return data;
}

static int base64_value(char c)
{
    if (c >= 'A' && c <= 'Z') return c - 'A';
    if (c >= 'a' && c <= 'z') return c - 'a' + 26;
    if (c >= '0' && c <= '9') return c - '0' + 52;
    if (c == '+') return 62;
    return c == '/' ? 63 : -1;
}

/* One group of four characters; pad of them are '=' at the end. Returns the 24 bits, or -1. */
static long base64_group(const char *text, size_t pad)
{
    long bits = 0;
    for (size_t i = 0; i < 4; i++) {
        int v = i < 4 - pad ? base64_value(text[i]) : 0;
        if (v < 0) return -1;
        bits = bits << 6 | v;
    }
    long unused = pad == 2 ? 0xffff : pad == 1 ? 0xff : 0;
    return bits & unused ? -1 : bits; /* RFC 4648 section 3.5: unused bits are zero */
}

long base64_decode(const char *text, size_t len, void *out, size_t max)
{
    unsigned char *p = out;
    size_t n = 0;
    if (len % 4) return ERR_SYNTAX;
    for (size_t i = 0; i < len; i += 4) {
        size_t pad = i + 4 < len ? 0 : text[i + 3] != '=' ? 0 : text[i + 2] != '=' ? 1 : 2;
        long bits = base64_group(text + i, pad);
        if (bits < 0) return ERR_SYNTAX;
        if (n + 3 - pad > max) return ERR_TOO_LARGE;
        for (size_t k = 0; k < 3 - pad; k++) p[n++] = (unsigned char)(bits >> (16 - 8 * k));
    }
    return (long)n;
}
