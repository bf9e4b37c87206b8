/* The allocators that our libraries are linked with here: they count, fail on request, and otherwise are libc's. */
#include "tests/torture/torture.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static size_t fail_at, count;

static bool fails(void)
{
    return fail_at && ++count == fail_at;
}

void *torture_malloc(size_t n);
void *torture_calloc(size_t n, size_t size);
void *torture_realloc(void *p, size_t n);
void *torture_reallocarray(void *p, size_t n, size_t size);
char *torture_strdup(const char *s);
char *torture_strndup(const char *s, size_t n);
int torture_asprintf(char **out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int torture_vasprintf(char **out, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

void *torture_malloc(size_t n)
{
    return fails() ? NULL : malloc(n);
}

void *torture_calloc(size_t n, size_t size)
{
    return fails() ? NULL : calloc(n, size);
}

void *torture_realloc(void *p, size_t n)
{
    return fails() ? NULL : realloc(p, n);
}

void *torture_reallocarray(void *p, size_t n, size_t size)
{
    return fails() ? NULL : reallocarray(p, n, size);
}

char *torture_strdup(const char *s)
{
    return fails() ? NULL : strdup(s);
}

char *torture_strndup(const char *s, size_t n)
{
    return fails() ? NULL : strndup(s, n);
}

int torture_vasprintf(char **out, const char *fmt, va_list ap)
{
    return fails() ? -1 : vasprintf(out, fmt, ap);
}

int torture_asprintf(char **out, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = torture_vasprintf(out, fmt, ap);
    va_end(ap);
    return n;
}

void torture_arm(size_t nth)
{
    fail_at = nth;
    count = 0;
}

bool torture_disarm(void)
{
    bool reached = fail_at && count >= fail_at;
    fail_at = 0;
    return reached;
}
