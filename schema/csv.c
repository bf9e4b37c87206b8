/* CSV as RFC 4180 has it: fields separated by commas, records by LF or CRLF; a field in quotes may hold commas, line
 * ends and doubled quotes. Parsed in place: separators become NULs, doubled quotes are closed up, and fields point into
 * the text.
 *
 * Beyond the RFC: blanks around a field without quotes do not count, blank lines are skipped. Less than some readers: a
 * quote inside of a field without quotes is an error, not a guess. After an error reading goes on with the next line.
 */
#include "schema/csv.h"

#include <string.h>

void csv_init(struct csv *c, char *text)
{
    *c = (struct csv){.next = text, .next_line = 1};
    if (strncmp(text, "\xef\xbb\xbf", 3) == 0) c->next += 3;
}

static int fail(struct csv *c, char *from, const char *fault)
{
    char *end = strchrnul(from, '\n');
    c->next = end + (*end == '\n');
    c->next_line += *end == '\n';
    c->fault = fault;
    return -1;
}

/* True at the end of a field: a comma, a line end, the end of the text. */
static int is_end(const char *p)
{
    return *p == ',' || *p == '\n' || !*p || (*p == '\r' && (p[1] == '\n' || !p[1]));
}

/* Reads a quoted field at *p (behind the quote) and moves *p to its end. NULL: never closed. */
static char *read_quoted(struct csv *c, char **p)
{
    char *from = *p, *to = from, *at = from;
    for (;; at++) {
        if (!*at) return NULL;
        if (*at == '"' && at[1] != '"') break;
        if (*at == '"') at++;
        c->next_line += *at == '\n';
        *to++ = *at;
    }
    *p = at + 1;
    *to = '\0'; /* at or before the closing quote */
    return from;
}

/* Reads a plain field at *p and moves *p to its end. NULL: a quote in it. *ret_stop: where its NUL belongs. */
static char *read_plain(char **p, char **ret_stop)
{
    char *from = *p, *at = from;
    for (; !is_end(at); at++)
        if (*at == '"') return NULL;
    *p = *ret_stop = at;
    while (*ret_stop > from && ((*ret_stop)[-1] == ' ' || (*ret_stop)[-1] == '\t')) (*ret_stop)--;
    return from;
}

/* Moves behind the separator at p, which was `end` before a NUL took its place. 1: more fields follow, 0: the record
 * ends. */
static int pass_separator(struct csv *c, char **p, char end)
{
    if (end == ',' || end == '\r') ++*p;
    if (end == ',') return 1;
    if (end == '\r') end = **p;
    c->next_line += end == '\n';
    c->next = *p + (end == '\n');
    return 0;
}

/* Reads one field at *p and moves behind it: as pass_separator, or -1 when it is malformed. */
static int read_field(struct csv *c, char **p)
{
    char *stop = NULL, *start = *p, *field;
    if (c->n == CSV_FIELDS_MAX) return fail(c, start, "more than 64 fields");
    *p += strspn(*p, " \t");
    if (**p == '"') {
        ++*p;
        field = read_quoted(c, p);
        if (!field)
            return fail(c, strchr(start, '\0'), "a quote is never closed: close it, or double it inside a field");
        *p += strspn(*p, " \t");
        if (!is_end(*p)) return fail(c, *p, "text behind a closing quote: double the quotes inside a field");
    } else {
        field = read_plain(p, &stop);
        if (!field) return fail(c, start, "a quote inside a field: put the field in quotes and double the quote");
    }
    char end = **p;
    if (stop) *stop = '\0';
    c->fields[c->n++] = field;
    return pass_separator(c, p, end);
}

int csv_next(struct csv *c)
{
    char *p = c->next, *blank = p + strspn(p, " \t\r");
    for (; *blank == '\n'; blank = p + strspn(p, " \t\r")) {
        p = blank + 1;
        c->next_line++;
    }
    if (!*blank) p = blank;
    c->next = p;
    c->n = 0;
    c->line = c->next_line;
    if (!*p) return 0;
    int rc;
    do {
        rc = read_field(c, &p);
    } while (rc == 1);
    return rc < 0 ? -1 : 1;
}
