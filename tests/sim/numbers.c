/* Numbers in and out of Lua for keyroll-sim. Each script turns a dozen of them into text and back, and the C library's
 * strtod() and sprintf("%.0f") took a twentieth of a history. These stand in front of them where liblua calls them:
 * what is a whole number of few digits is done here, everything else by the C library, with the same result. Left out
 * of the sanitizers' builds, which bring their own. */
#include "lib/text.h"

#include <limits.h>
#include <locale.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#define DIGITS 15 /* so many are exact in a double, and "%.17g" and "%.14g" (one less) write them as they are */

static bool is_more(char c)
{
    return (c >= '0' && c <= '9') || c == '.' || c == 'e' || c == 'E' || c == 'x' || c == 'X';
}

double strtod(const char *restrict s, char **restrict end)
{
    static locale_t c;
    int64_t n = 0;
    size_t len = 0;
    while (s[len] >= '0' && s[len] <= '9' && len < DIGITS) n = n * 10 + (s[len++] - '0');
    if (len && !is_more(s[len])) {
        if (end) *end = (char *)(uintptr_t)(s + len);
        return (double)n;
    }
    return c || (c = newlocale(LC_ALL_MASK, "C", NULL)) ? strtod_l(s, end, c) : NAN;
}

/* NOLINTNEXTLINE: the C library's name */
int __sprintf_chk(char *out, int flag, size_t size, const char *fmt, ...) __attribute__((format(printf, 4, 5)));
int __sprintf_chk(char *out, int flag, size_t size, const char *fmt, ...) /* NOLINT */
{
    va_list ap;
    va_start(ap, fmt);
    int len = -1;
    (void)flag;
    if (size >= TEXT_INT_MAX && (!strcmp(fmt, "%.0f") || !strcmp(fmt, "%.14g"))) {
        va_list first;
        va_copy(first, ap);
        const double n = va_arg(first, double);
        va_end(first);
        const int64_t whole = n > -1e14 && n < 1e14 ? (int64_t)n : INT64_MAX;
        if ((double)whole == n && (whole || !signbit(n))) len = (int)text_int(out, whole);
    }
    if (len < 0) len = vsnprintf(out, size < INT_MAX ? size : INT_MAX, fmt, ap);
    va_end(ap);
    return len;
}
