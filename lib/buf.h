/* A growing byte buffer with a hard cap given at birth. Contents are always NUL-terminated behind len. */
#ifndef KEYROLL_BUF_H
#define KEYROLL_BUF_H

#include "lib/cleanup.h"

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

struct buf {
    char *data;    /* NULL until the first byte; owned */
    size_t len;    /* bytes in use, without the terminator */
    size_t cap;    /* bytes allocated */
    size_t max;    /* most bytes it may ever hold */
    int error;     /* first failure (ERR_NOMEM, ERR_TOO_LARGE): sticky, so that a run of appends is checked once */
    int is_secret; /* wiped when freed or moved by growth */
};

void buf_init(struct buf *b, size_t max);
/* As buf_init, and every byte it held is wiped on growth, reset and done. */
void buf_init_secret(struct buf *b, size_t max);
void buf_done(struct buf *b);
/* Makes room for `bytes` more, so that they are added without growing. 0 or the sticky error. */
int buf_reserve(struct buf *b, size_t bytes);
/* Empties it, keeps the memory (wiped when secret), clears the error. */
void buf_reset(struct buf *b);
/* Appending: 0, or the sticky ERR_NOMEM / ERR_TOO_LARGE, in which case nothing was added. */
int buf_add(struct buf *b, const void *data, size_t len);
int buf_adds(struct buf *b, const char *s);
int buf_addc(struct buf *b, char c);
int buf_addf(struct buf *b, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Percent-encodes all but A-Za-z0-9-_.~ (RFC 3986 unreserved), upper-case hex. */
int buf_add_percent(struct buf *b, const void *data, size_t len);
/* Base64 of RFC 4648, with padding. */
int buf_add_base64(struct buf *b, const void *data, size_t len);
/* Lower-case hex. */
int buf_add_hex(struct buf *b, const void *data, size_t len);
/* The contents as a C string ("" when empty); borrowed until the next change. */
const char *buf_str(const struct buf *b);
/* Moves the contents out (caller frees); an empty buffer gives an allocated "". NULL when out of memory. */
char *buf_take(struct buf *b);

/* Decodes base64 (with padding) into out, at most max bytes. Returns the length, ERR_SYNTAX or ERR_TOO_LARGE. */
MUST_CHECK long base64_decode(const char *text, size_t len, void *out, size_t max);

#define AUTO_BUF CLEANUP(buf_done)

#endif
