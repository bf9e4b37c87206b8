/* What may be given to the HTTP client: nothing that would become another request on the wire. Pure. */
#ifndef KEYROLL_HTTP_VALID_H
#define KEYROLL_HTTP_VALID_H

#include <stdbool.h>
#include <stddef.h>

/* Capital letters, at most 15. */
bool http_method_is_valid(const char *method);
/* http or https, without blanks and control characters, at most 8 KiB. */
bool http_url_is_valid(const char *url);
/* NULL-terminated "Name: value" lines, each with a value and without line ends, at most 64. headers may be NULL. The
 * bytes include a NUL for each. */
bool http_headers_are_valid(const char *const *headers, unsigned *ret_count, size_t *ret_bytes);

#endif
