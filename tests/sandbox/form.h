/* Parameters of a request: query string, URL-encoded form, multipart form. */
#ifndef SANDBOX_FORM_H
#define SANDBOX_FORM_H

#include "tests/sandbox/buf.h"

#include <stddef.h>

struct param {
    const char *name;
    const char *value;
    size_t name_len;
    size_t value_len;
};

struct params {
    struct param *v;
    size_t n;
    size_t cap;
};

/* Decodes %XX (and '+' as a blank when plus is set) into the arena; returns the text, *ret_len its length. */
char *form_decode(struct arena *a, const char *text, size_t len, int plus, size_t *ret_len);
/* Appends the pairs of "a=b&c=d". All strings live in the arena. */
void form_parse(struct arena *a, struct params *p, const char *text, size_t len);
/* Appends the parts of a multipart/form-data body; returns 0, or -1 if the boundary or a part is malformed. */
int form_parse_multipart(struct arena *a, struct params *p, const char *content_type, const char *body, size_t len);
/* First value of a name, or NULL. The second form ignores case. */
const char *form_get(const struct params *p, const char *name);
const char *form_get_any_case(const struct params *p, const char *name);

#endif
