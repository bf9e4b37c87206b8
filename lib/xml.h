/* A bounded XML reader by local name: elements are named by the path of local names from the root,
 * "ErrorResponse/Error/Code"; namespaces and prefixes are ignored, unknown elements are simply not looked at. No DTD,
 * hence no entities but the five of XML itself and character references: a document type declaration ends the reading.
 */
#ifndef KEYROLL_XML_H
#define KEYROLL_XML_H

#include "lib/buf.h"

#include <stdbool.h>
#include <stddef.h>

#define XML_DEPTH_MAX 32                 /* elements inside each other */
#define XML_PATH_MAX  512                /* bytes of a path, terminator included */
#define XML_BYTES_MAX ((size_t)64 << 20) /* bytes of a document */

/* What is called while reading; any of them may be NULL. Strings are borrowed until the callback returns.
 * A callback returns 0 to go on, another code to stop: xml_read() returns that code. */
struct xml_handler {
    int (*enter)(void *arg, const char *path);
    /* An element without child elements ended. text: decoded, NUL-terminated, "" when empty; blanks are kept. */
    int (*leaf)(void *arg, const char *path, const char *text, size_t len);
    int (*leave)(void *arg, const char *path); /* any element ended, after leaf() */
    /* One attribute of the element that was just entered, by local name, after enter(). */
    int (*attribute)(void *arg, const char *path, const char *name, const char *value);
    void *arg;
};

/* Reads a whole document. Everything that was held of it is wiped afterwards: it may carry a secret.
 * Errors: ERR_SYNTAX (not well-formed, a DTD, too deep, a path too long), ERR_TOO_LARGE, ERR_NOMEM, a callback's code.
 */
MUST_CHECK int xml_read(const char *data, size_t len, const struct xml_handler *h);

/* Appends the text of the first leaf whose path ends with `end` (see xml_path_ends). ERR_NOT_FOUND, those of
 * xml_read(), those of buf_add(). */
MUST_CHECK int xml_find(const char *data, size_t len, const char *end, struct buf *out);

/* Does path consist of, or end with, the whole names of `end`? "ErrorResponse/Error/Code" ends with "Error/Code", not
 * with "ode". Case-sensitive. Pure. */
bool xml_path_ends(const char *path, const char *end);

/* The version of expat, at run time. */
const char *xml_library_version(void);

#endif
