/* Scope-bound cleanup and moving out: a local frees itself unless TAKE() moved it to its new owner. */
#ifndef KEYROLL_CLEANUP_H
#define KEYROLL_CLEANUP_H

#include <jansson.h>
#include <stdlib.h>

/* A result that must not be ignored. */
#define MUST_CHECK             __attribute__((warn_unused_result))
#define PRINTF_LIKE(fmt, args) __attribute__((format(printf, fmt, args)))

/* CLEANUP(fn) T *x: calls fn(&x) at the end of the scope. */
#define CLEANUP(fn) __attribute__((cleanup(fn)))

/* Moves a pointer out of a variable: yields its value, leaves NULL behind. */
#define TAKE(p)                                                                                                        \
    __extension__({                                                                                                    \
        __typeof__(p) taken_ = (p);                                                                                    \
        (p) = NULL;                                                                                                    \
        taken_;                                                                                                        \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

static inline void freep(void *p)
{
    free(*(void **)p);
}

#define AUTO_FREE CLEANUP(freep)
#define AUTO_JSON CLEANUP(json_decrefp) /* jansson brings json_decrefp */

#endif
