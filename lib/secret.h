/* A secret's only home: wiped when freed, compared in constant time, without a way to print it. */
#ifndef KEYROLL_SECRET_H
#define KEYROLL_SECRET_H

#include "lib/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

struct secret; /* opaque: memory is locked where RLIMIT_MEMLOCK allows, excluded from core dumps, wiped on free */

/* Copies len bytes. NULL when out of memory. The caller still has to wipe its own copy (secret_wipe). */
struct secret *secret_new(const void *bytes, size_t len);
struct secret *secret_from_string(const char *s);
struct secret *secret_copy(const struct secret *s);
/* Wipes and frees; takes NULL. */
void secret_free(struct secret *s);
void secret_freep(struct secret **s);
/* Borrowed bytes, NUL-terminated behind len: only for signing, sealing, sending and showing on request. */
const char *secret_bytes(const struct secret *s);
size_t secret_len(const struct secret *s);
/* Constant time in the contents. */
bool secret_equal(const struct secret *a, const struct secret *b);
/* Overwrites memory in a way that the compiler keeps. */
void secret_wipe(void *p, size_t len);
/* Number of live secrets, for the metrics and the leak tests. */
size_t secret_count(void);

#define AUTO_SECRET CLEANUP(secret_freep)

#endif
