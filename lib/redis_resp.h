/* Writer of Redis' request format (RESP arrays of bulk strings). Pure memory. */
#ifndef KEYROLL_REDIS_RESP_H
#define KEYROLL_REDIS_RESP_H

#include "lib/cleanup.h"

#include <stdbool.h>
#include <stddef.h>

struct resp {
    char *data; /* owned */
    size_t len, cap;
};

/* Upper bounds of what resp_array() and resp_bulk() add: the caller reserves the sum once per command. */
#define RESP_ARRAY_MAX     24
#define RESP_BULK_MAX(len) ((len) + 26)

/* Makes room for n more bytes. False when out of memory: nothing changed. */
MUST_CHECK bool resp_reserve(struct resp *w, size_t n);
/* The rest needs room reserved before (asserted). */
void resp_array(struct resp *w, size_t count);
void resp_bulk(struct resp *w, const void *data, size_t len);
void resp_text(struct resp *w, const char *s);
void resp_number(struct resp *w, size_t number);
void resp_raw(struct resp *w, const void *data, size_t len);
/* Frees; resp_wipe overwrites first (a login went through it). */
void resp_done(struct resp *w);
void resp_wipe(struct resp *w);

#endif
