/* Growable text buffer and a bump allocator for one request. */
#ifndef SANDBOX_BUF_H
#define SANDBOX_BUF_H

#include <stddef.h>
#include <stdint.h>

/* Bytes with a length; always followed by a NUL when data is not NULL. Zero-initialise before use. */
struct buf {
    char *data;
    size_t len;
    size_t cap;
};

void buf_done(struct buf *b);
void buf_clear(struct buf *b); /* keeps the memory */
void buf_put(struct buf *b, const void *bytes, size_t len);
void buf_puts(struct buf *b, const char *text);
void buf_putc(struct buf *b, char c);
void buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
void buf_xml(struct buf *b, const char *text);                             /* text with XML entities */
void buf_json(struct buf *b, const char *text);                            /* "text" quoted for JSON; NULL is null */
void buf_uri(struct buf *b, const char *text, size_t len, int keep_slash); /* percent-encoded as SigV4 wants it */
void buf_base64(struct buf *b, const void *bytes, size_t len);
/* <name>text</name> */
void buf_element(struct buf *b, const char *name, const char *text);

/* Memory that lives as long as its request. */
struct arena {
    struct arena_chunk *head;
};

void arena_done(struct arena *a);
void *arena_alloc(struct arena *a, size_t size); /* zeroed, aligned for any object */
char *arena_dup(struct arena *a, const char *text, size_t len);
char *arena_printf(struct arena *a, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* malloc/realloc/strdup that end the process when memory runs out: a simulator has nothing better to do. */
void *must_alloc(size_t size); /* zeroed */
void *must_realloc(void *old, size_t size);
char *must_dup(const char *text);

#endif
