/* What commands print: a table with aligned columns, times and ages in words. */
#ifndef KEYROLL_TABLE_H
#define KEYROLL_TABLE_H

#include "lib/cleanup.h"

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define TABLE_COLUMNS_MAX 10

struct table {
    const char *const *heads;
    size_t n_columns;
    char **cells; /* owned; row after row */
    size_t n_cells, cap;
    int error; /* ERR_NOMEM, sticky */
};
/* heads: borrowed, n of them. */
void table_init(struct table *t, const char *const *heads, size_t n);
void table_done(struct table *t);
/* The next cell; NULL counts as "". Control characters become blanks. */
void table_add(struct table *t, const char *text);
void table_addf(struct table *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* Prints heads and rows, the last column unpadded. */
void table_print(const struct table *t, FILE *out);

#define TABLE_TIME_MAX 32
/* "2026-11-23 08:53" in UTC; "-" for TIME_NONE and 0. */
void table_time(int64_t wall_ms, char out[TABLE_TIME_MAX]);
/* A span as one number: "12d", "5h", "40m", "7s"; "-" for TIME_NONE. */
void table_span(int64_t ms, char out[TABLE_TIME_MAX]);

#define AUTO_TABLE CLEANUP(table_done)

#endif
