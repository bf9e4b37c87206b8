/* Writer of Redis' request format, https://redis.io/docs/latest/develop/reference/protocol-spec/ ("Sending commands").
 *
 * A worker writes a million of these strings per minute, so space is reserved once per command and the numbers are
 * formatted by hand; a command is either written whole or not at all. No I/O, no limits of its own. */
#include "lib/redis_resp.h"

#include "lib/secret.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

bool resp_reserve(struct resp *w, size_t n)
{
    if (n <= w->cap - w->len) return true;
    size_t cap = w->cap ? w->cap : 4096;
    while (cap - w->len < n) {
        if (cap > SIZE_MAX / 2) return false;
        cap *= 2;
    }
    char *data = realloc(w->data, cap);
    if (!data) return false;
    w->data = data;
    w->cap = cap;
    return true;
}

/* Writes the type byte, the number and CR LF. */
static void put_header(struct resp *w, char type, size_t number)
{
    char digits[20];
    size_t n = 0;
    do {
        digits[n++] = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    assert(w->cap - w->len >= n + 3);
    char *p = w->data + w->len;
    *p++ = type;
    while (n > 0) *p++ = digits[--n];
    *p++ = '\r';
    *p++ = '\n';
    w->len = (size_t)(p - w->data);
}

void resp_array(struct resp *w, size_t count)
{
    put_header(w, '*', count);
}

void resp_bulk(struct resp *w, const void *data, size_t len)
{
    put_header(w, '$', len);
    assert(w->cap - w->len >= len + 2);
    if (len > 0) memcpy(w->data + w->len, data, len);
    memcpy(w->data + w->len + len, "\r\n", 2);
    w->len += len + 2;
}

void resp_text(struct resp *w, const char *s)
{
    resp_bulk(w, s, strlen(s));
}

void resp_number(struct resp *w, size_t number)
{
    char digits[20], *p = digits + sizeof(digits);
    do {
        *--p = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    resp_bulk(w, p, (size_t)(digits + sizeof(digits) - p));
}

void resp_raw(struct resp *w, const void *data, size_t len)
{
    assert(w->cap - w->len >= len);
    if (len > 0) memcpy(w->data + w->len, data, len);
    w->len += len;
}

void resp_done(struct resp *w)
{
    free(w->data);
    *w = (struct resp){0};
}

void resp_wipe(struct resp *w)
{
    if (w->data) secret_wipe(w->data, w->cap);
    resp_done(w);
}
