/* What all our messages have in common: JSON objects of a named, versioned form, read and written by a table of fields.
 */
#ifndef KEYROLL_MESSAGE_H
#define KEYROLL_MESSAGE_H

#include "lib/buf.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum field_type {
    FIELD_TEXT,   /* char[size]: ASCII that `valid` accepts; "" when absent */
    FIELD_WORDS,  /* char[size]: any Unicode text without control characters, at most (size - 1) / 4 characters */
    FIELD_INT,    /* int64_t in least..most; `absent` when absent */
    FIELD_BOOL,   /* bool, false when absent */
    FIELD_CHOICE, /* int, the position in choices; 0 when absent */
    FIELD_KEYS,   /* struct message_keys: a list of access key ids */
};

#define MESSAGE_KEYS_MAX   16
#define MESSAGE_KEY_ID_MAX 129
struct message_keys {
    size_t n;
    char ids[MESSAGE_KEYS_MAX][MESSAGE_KEY_ID_MAX];
};

/* One field of a message. Static storage. */
struct field {
    const char *name;
    enum field_type type;
    bool required;
    size_t offset, size;         /* size: TEXT, WORDS */
    bool (*valid)(const char *); /* TEXT */
    int64_t least, most, absent; /* INT */
    const char *const *choices;  /* CHOICE: n_choices names */
    size_t n_choices;
};

/* A form: "keyroll.job", its fields and its limit. */
struct form {
    const char *name;
    const struct field *fields;
    size_t n_fields;
    size_t max_bytes;
};

/* Times in messages are integers: wall clock milliseconds since 1970 UTC, up to the year 2100. */
#define MESSAGE_TIME_MAX 4102444800000LL
/* Largest integer that JSON readers agree on (RFC 8259 section 6): 2^53 - 1. */
#define MESSAGE_INT_MAX 9007199254740991LL

/* Why a message was refused, for a dead letter's reason: names the field, never holds its value. */
struct message_fault {
    char text[120];
};

/* Parses len bytes as one JSON object. ERR_TOO_LARGE (over the form's limit), ERR_SYNTAX (no JSON object, a name twice,
 * a NUL), ERR_NOMEM. *ret_root: owned by the caller. fault may be NULL, here and below. */
MUST_CHECK int message_parse(const struct form *f, const char *bytes, size_t len, json_t **ret_root,
                             struct message_fault *fault);
/* Checks "version" (NAME/1, NAME/1.x: ok; another major: ERR_VERSION) and reads the fields into `into`; fields that the
 * form does not know are ignored. ERR_INVALID: a field is absent or not allowed. */
MUST_CHECK int message_read(const struct form *f, const json_t *root, void *into, struct message_fault *fault);
/* The two together. */
MUST_CHECK int message_decode(const struct form *f, const char *bytes, size_t len, void *into,
                              struct message_fault *fault);

/* Appends the object; optional fields that hold what "absent" reads as are left out. ERR_INVALID: a field holds what
 * decoding would refuse (nothing is appended). ERR_NOMEM, ERR_TOO_LARGE (over the form's limit). */
MUST_CHECK int message_encode(const struct form *f, const void *from, struct buf *out);
/* Appends the members without the braces, for forms that add members of their own. */
MUST_CHECK int message_write_members(const struct form *f, const void *from, struct buf *out);
/* Appends text as a JSON string. Text must be UTF-8. */
void message_add_string(struct buf *out, const char *text);

/* Copies words from outside into a WORDS field: control characters and what is not UTF-8 become '?', and it is cut to
 * the (size - 1) / 4 characters that the field may have. NULL counts as "". */
void message_words(char *out, size_t size, const char *text);

/* Printable ASCII, at least one character. */
bool message_printable(const char *s);
/* 32 lower-case hex digits. */
bool message_job_id_valid(const char *s);
/* 1..100 of [A-Za-z0-9._-]: workers, profiles, steps, policies. */
bool message_word_valid(const char *s);
/* W3C trace context, version 00 (https://www.w3.org/TR/trace-context/#traceparent-header). */
bool message_traceparent_valid(const char *s);

#endif
