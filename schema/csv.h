/* CSV as RFC 4180 has it, one record at a time, in place. */
#ifndef KEYROLL_CSV_H
#define KEYROLL_CSV_H

#include <stddef.h>
#include <stdint.h>

#define CSV_FIELDS_MAX 64

struct csv {
    char *next; /* where the next record begins */
    uint32_t next_line;
    uint32_t line;                /* line that the record began in, from 1 */
    char *fields[CSV_FIELDS_MAX]; /* n of them, NUL-terminated, in the text itself */
    size_t n;
    const char *fault; /* static text, after -1 */
};

/* text: NUL-terminated, changed in place, must outlive the fields. A UTF-8 byte order mark is skipped. */
void csv_init(struct csv *c, char *text);
/* Reads the next record that is not blank. 1: fields are set; 0: the end; -1: this record is malformed, fault says how,
 * and the next call goes on behind it. Blanks around a field without quotes are cut off. */
int csv_next(struct csv *c);

#endif
