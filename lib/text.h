/* Copying text and numbers into arrays. Pure. */
#ifndef KEYROLL_TEXT_H
#define KEYROLL_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define TEXT_INT_MAX 24 /* any int64_t and its NUL */

/* As snprintf(out, size, "%s", text), which takes several times as long: cut to size - 1 bytes, always terminated.
 * size > 0; the two do not overlap. */
static inline void text_copy(char *out, size_t size, const char *text)
{
    size_t len = strnlen(text, size - 1);
    memcpy(out, text, len);
    out[len] = '\0';
}

/* As snprintf(out, TEXT_INT_MAX, "%" PRId64, n), the same. Returns the length. */
static inline size_t text_int(char out[TEXT_INT_MAX], int64_t n)
{
    char digits[TEXT_INT_MAX];
    size_t at = sizeof(digits), len = 0;
    uint64_t left = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do digits[--at] = (char)('0' + left % 10);
    while (left /= 10);
    if (n < 0) out[len++] = '-';
    memcpy(out + len, digits + at, sizeof(digits) - at);
    len += sizeof(digits) - at;
    out[len] = '\0';
    return len;
}

#endif
