/* Compiled in front of sources whose allocations are to go through torture.c; for archives objcopy does the same. */
#ifndef KEYROLL_TORTURE_NAMES_H
#define KEYROLL_TORTURE_NAMES_H

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

void *torture_malloc(size_t n);
void *torture_calloc(size_t n, size_t size);
void *torture_realloc(void *p, size_t n);
void *torture_reallocarray(void *p, size_t n, size_t size);
char *torture_strdup(const char *s);
char *torture_strndup(const char *s, size_t n);
int torture_asprintf(char **out, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
int torture_vasprintf(char **out, const char *fmt, va_list ap) __attribute__((format(printf, 2, 0)));

#ifndef KEYROLL_TORTURE_ITSELF
#undef strdup
#undef strndup
#undef asprintf
#undef vasprintf
#define malloc       torture_malloc
#define calloc       torture_calloc
#define realloc      torture_realloc
#define reallocarray torture_reallocarray
#define strdup       torture_strdup
#define strndup      torture_strndup
#define asprintf     torture_asprintf
#define vasprintf    torture_vasprintf
#endif

#endif
