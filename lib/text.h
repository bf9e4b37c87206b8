/* Copying text into arrays. Pure. */
#ifndef KEYROLL_TEXT_H
#define KEYROLL_TEXT_H

#include <stddef.h>
#include <string.h>

/* As snprintf(out, size, "%s", text), which takes several times as long: cut to size - 1 bytes, always terminated.
 * size > 0; the two do not overlap. */
static inline void text_copy(char *out, size_t size, const char *text)
{
    size_t len = strnlen(text, size - 1);
    memcpy(out, text, len);
    out[len] = '\0';
}

#endif
