/* The JSON that programs write to each other, read without jansson's lexer. */
#ifndef KEYROLL_JSON_PLAIN_H
#define KEYROLL_JSON_PLAIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* Reads an object or array in which nothing is out of the ordinary: no escape, only ASCII, whole numbers, few levels,
 * no name twice. The tree is the one that json_loadb() gives. NULL: ask json_loadb(); nothing is left of the attempt.
 */
json_t *json_plain_read(const char *bytes, size_t len);

#endif
