/* Tables for people. Texts of others (reasons, error messages) pass through here, so control characters are taken out:
 * nothing that an instance answered may steer a terminal. */
#include "producer/table.h"

#include "lib/clock.h"
#include "lib/err.h"

#include <stdarg.h>
#include <string.h>

void table_init(struct table *t, const char *const *heads, size_t n)
{
    *t = (struct table){.heads = heads, .n_columns = n};
}

void table_done(struct table *t)
{
    for (size_t i = 0; i < t->n_cells; i++) free(t->cells[i]);
    free(t->cells);
    *t = (struct table){0};
}

void table_add(struct table *t, const char *text)
{
    if (t->n_cells == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 64;
        char **cells = realloc(t->cells, cap * sizeof *cells);
        if (!cells) {
            t->error = ERR_NOMEM;
            return;
        }
        t->cells = cells;
        t->cap = cap;
    }
    char *cell = strdup(text ? text : "");
    if (!cell) {
        t->error = ERR_NOMEM;
        return;
    }
    for (char *p = cell; *p; p++)
        if ((unsigned char)*p < 0x20 || *p == 0x7f) *p = ' ';
    t->cells[t->n_cells++] = cell;
}

void table_addf(struct table *t, const char *fmt, ...)
{
    char text[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    table_add(t, text);
}

/* Columns of a text: bytes that begin a character. */
static size_t width_of(const char *s)
{
    size_t n = 0;
    for (; *s; s++) n += ((unsigned char)*s & 0xc0) != 0x80;
    return n;
}

static void print_cell(const char *text, size_t width, int is_last, FILE *out)
{
    fputs(text, out);
    if (is_last) {
        fputc('\n', out);
        return;
    }
    for (size_t n = width_of(text); n < width + 2; n++) fputc(' ', out);
}

void table_print(const struct table *t, FILE *out)
{
    size_t width[TABLE_COLUMNS_MAX] = {0};
    for (size_t i = 0; i < t->n_columns; i++) width[i] = width_of(t->heads[i]);
    for (size_t i = 0; i < t->n_cells; i++) {
        size_t w = width_of(t->cells[i]);
        if (w > width[i % t->n_columns]) width[i % t->n_columns] = w;
    }
    for (size_t i = 0; i < t->n_columns; i++) print_cell(t->heads[i], width[i], i + 1 == t->n_columns, out);
    for (size_t i = 0; i < t->n_cells; i++)
        print_cell(t->cells[i], width[i % t->n_columns], (i + 1) % t->n_columns == 0, out);
}

void table_time(int64_t wall_ms, char out[TABLE_TIME_MAX])
{
    char text[TIME_TEXT_MAX];
    snprintf(out, TABLE_TIME_MAX, "-");
    if (wall_ms == TIME_NONE || wall_ms == 0) return;
    time_format(wall_ms, text);
    text[10] = ' ';
    snprintf(out, TABLE_TIME_MAX, "%.16s", text);
}

void table_span(int64_t ms, char out[TABLE_TIME_MAX])
{
    static const struct {
        int64_t ms;
        char unit;
    } units[] = {{86400000, 'd'}, {3600000, 'h'}, {60000, 'm'}, {1000, 's'}};
    snprintf(out, TABLE_TIME_MAX, "-");
    if (ms == TIME_NONE) return;
    int64_t size = ms < 0 ? -ms : ms;
    size_t i = 0;
    while (i + 1 < ARRAY_LEN(units) && size < 2 * units[i].ms) i++;
    snprintf(out, TABLE_TIME_MAX, "%s%lld%c", ms < 0 ? "-" : "", (long long)(size / units[i].ms), units[i].unit);
}
