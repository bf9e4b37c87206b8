/* What all our messages have in common.
 *
 * A form is a table of fields; the decoder walks the table, not the message, so what a newer version adds is ignored
 * and nothing outside of the table can reach a struct. It accepts exactly what the published JSON Schema accepts (a
 * test runs both over one corpus), which is why integers may be written as 8.0 and text lengths are counted in
 * characters. Beyond the schema, three things that JSON Schema cannot say are refused: names that stand twice, NUL
 * characters, and messages over the form's limit.
 *
 * Decoding a job is in the worker's hot path: one parse, one look-up per field, no allocation of our own. */
#include "schema/message.h"

#include "lib/err.h"
#include "lib/json.h"
#include "schema/identity.h"
#include "schema/minor.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int refuse(int rc, struct message_fault *fault, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int refuse(int rc, struct message_fault *fault, const char *fmt, ...)
{
    if (!fault) return rc;
    va_list args;
    va_start(args, fmt);
    vsnprintf(fault->text, sizeof fault->text, fmt, args);
    va_end(args);
    return rc;
}

/* ---- characters ---- */

bool message_printable(const char *s)
{
    if (!*s) return false;
    for (; *s; s++)
        if (*s < 0x20 || *s > 0x7e) return false;
    return true;
}

static bool is_hex(const char *s, size_t n)
{
    return strspn(s, "0123456789abcdef") >= n;
}

bool message_job_id_valid(const char *s)
{
    return strlen(s) == IDENTITY_JOB_ID_MAX - 1 && is_hex(s, IDENTITY_JOB_ID_MAX - 1);
}

bool message_word_valid(const char *s)
{
    size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return len >= 1 && len <= 100 && !s[len];
}

bool message_traceparent_valid(const char *s)
{
    return strlen(s) == 55 && strncmp(s, "00-", 3) == 0 && is_hex(s + 3, 32) && s[35] == '-' && is_hex(s + 36, 16) &&
           s[52] == '-' && is_hex(s + 53, 2);
}

/* Bytes of the UTF-8 character at p (1..4), 0 when it is none (RFC 3629: shortest form, no surrogates, up to U+10FFFF).
 */
static size_t utf8_len(const unsigned char *p)
{
    if (p[0] < 0x80) return 1;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4) return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)) return 0;
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
    return n;
}

static bool is_control(unsigned char c)
{
    return c < 0x20 || c == 0x7f;
}

/* At most max characters of UTF-8, none of them a control character. */
static bool words_valid(const char *s, size_t max)
{
    const unsigned char *p = (const unsigned char *)s;
    size_t chars = 0;
    while (*p) {
        size_t n = utf8_len(p);
        if (n == 0 || is_control(*p) || ++chars > max) return false;
        p += n;
    }
    return true;
}

void message_words(char *out, size_t size, const char *text)
{
    const unsigned char *p = (const unsigned char *)(text ? text : "");
    size_t at = 0;
    for (size_t chars = 0; *p && chars < (size - 1) / 4; chars++) {
        size_t n = utf8_len(p);
        if (n == 0 || is_control(*p)) {
            out[at++] = '?';
            p++;
            continue;
        }
        memcpy(out + at, p, n);
        at += n;
        p += n;
    }
    out[at] = '\0';
}

/* ---- reading ---- */

int message_parse(const struct form *f, const char *bytes, size_t len, json_t **ret_root, struct message_fault *fault)
{
    json_error_t where;
    if (len > f->max_bytes) return refuse(ERR_TOO_LARGE, fault, "larger than %zu bytes", f->max_bytes);
    /* Jansson 2.14 skips a raw NUL between tokens as if it were not there. */
    if (len && memchr(bytes, '\0', len)) return refuse(ERR_SYNTAX, fault, "not JSON, holds a NUL");
    json_t *root = NULL;
    int rc = json_read(bytes, len, JSON_REJECT_DUPLICATES, &root, &where);
    if (rc == ERR_NOMEM) return rc;
    if (rc < 0) return refuse(ERR_SYNTAX, fault, "not JSON, line %d column %d", where.line, where.column);
    if (!json_is_object(root)) {
        json_decref(root);
        return refuse(ERR_SYNTAX, fault, "not a JSON object");
    }
    *ret_root = root;
    return 0;
}

/* An integer, also one that is written as 8.0 or 8e0. */
static bool read_integer(const json_t *v, int64_t *ret)
{
    if (json_is_integer(v)) {
        *ret = json_integer_value(v);
        return true;
    }
    if (!json_is_real(v)) return false;
    double real = json_real_value(v);
    if (!(real >= -(double)MESSAGE_INT_MAX && real <= (double)MESSAGE_INT_MAX)) return false;
    *ret = (int64_t)real;
    return (double)*ret == real;
}

static bool read_text(const struct field *f, const json_t *v, char *out)
{
    const char *text = json_string_value(v);
    if (!text) return false;
    size_t len = json_string_length(v);
    bool fine = f->type == FIELD_WORDS ? words_valid(text, (f->size - 1) / 4) : len < f->size && f->valid(text);
    if (fine) memcpy(out, text, len + 1);
    return fine;
}

static bool read_choice(const struct field *f, const json_t *v, int *out)
{
    const char *text = json_string_value(v);
    if (!text) return false;
    for (size_t i = 0; i < f->n_choices; i++) {
        if (strcmp(text, f->choices[i]) != 0) continue;
        *out = (int)i;
        return true;
    }
    return false;
}

static bool read_keys(const json_t *v, struct message_keys *out)
{
    if (!json_is_array(v) || json_array_size(v) > MESSAGE_KEYS_MAX) return false;
    out->n = 0;
    for (size_t i = 0; i < json_array_size(v); i++) {
        const char *id = json_string_value(json_array_get(v, i));
        if (!id || !identity_key_id_valid(id)) return false;
        memcpy(out->ids[out->n++], id, strlen(id) + 1);
    }
    return true;
}

static bool read_field(const struct field *f, const json_t *v, char *at)
{
    switch (f->type) {
    case FIELD_TEXT:
    case FIELD_WORDS:
        return read_text(f, v, at);
    case FIELD_INT:
        return read_integer(v, (int64_t *)(void *)at) && *(int64_t *)(void *)at >= f->least &&
               *(int64_t *)(void *)at <= f->most;
    case FIELD_BOOL:
        *(bool *)at = json_is_true(v);
        return json_is_boolean(v);
    case FIELD_CHOICE:
        return read_choice(f, v, (int *)(void *)at);
    case FIELD_KEYS:
        return read_keys(v, (struct message_keys *)(void *)at);
    }
    return false;
}

static void set_absent(const struct field *f, char *at)
{
    switch (f->type) {
    case FIELD_TEXT:
    case FIELD_WORDS:
        *at = '\0';
        break;
    case FIELD_INT:
        *(int64_t *)(void *)at = f->absent;
        break;
    case FIELD_BOOL:
        *(bool *)at = false;
        break;
    case FIELD_CHOICE:
        *(int *)(void *)at = 0;
        break;
    case FIELD_KEYS:
        ((struct message_keys *)(void *)at)->n = 0;
        break;
    }
}

/* "NAME/1" or "NAME/1.x" with 1..4 digits; another number before the dot is another major version. */
static int check_version(const struct form *f, const json_t *root, struct message_fault *fault)
{
    const char *text = json_string_value(json_object_get(root, "version"));
    size_t name = strlen(f->name);
    if (!text || strncmp(text, f->name, name) != 0 || text[name] != '/')
        return refuse(ERR_VERSION, fault, "version: not %s/1", f->name);
    const char *major = text + name + 1;
    if (*major != '1' || (major[1] && major[1] != '.'))
        return refuse(ERR_VERSION, fault, "version: only %s/1 is known", f->name);
    if (!major[1]) return 0;
    size_t digits = strspn(major + 2, "0123456789");
    if (digits < 1 || digits > 4 || major[2 + digits])
        return refuse(ERR_VERSION, fault, "version: not %s/1.N", f->name);
    return 0;
}

int message_read(const struct form *f, const json_t *root, void *into, struct message_fault *fault)
{
    int rc = check_version(f, root, fault);
    if (rc < 0) return rc;
    for (size_t i = 0; i < f->n_fields; i++) {
        const struct field *field = &f->fields[i];
        char *at = (char *)into + field->offset;
        const json_t *v = json_object_get(root, field->name);
        if (v && !read_field(field, v, at)) return refuse(ERR_INVALID, fault, "%s: not allowed", field->name);
        if (!v && field->required) return refuse(ERR_INVALID, fault, "%s: absent", field->name);
        if (!v) set_absent(field, at);
    }
    return 0;
}

int message_decode(const struct form *f, const char *bytes, size_t len, void *into, struct message_fault *fault)
{
    AUTO_JSON json_t *root = NULL;
    int rc = message_parse(f, bytes, len, &root, fault);
    return rc < 0 ? rc : message_read(f, root, into, fault);
}

/* ---- writing ---- */

void message_add_string(struct buf *out, const char *text)
{
    (void)buf_addc(out, '"');
    while (*text) {
        size_t plain = 0;
        while (text[plain] && text[plain] != '"' && text[plain] != '\\' && !is_control((unsigned char)text[plain]))
            plain++;
        if (plain) (void)buf_add(out, text, plain);
        text += plain;
        if (!*text) break;
        if (is_control((unsigned char)*text))
            (void)buf_addf(out, "\\u%04x", (unsigned)(unsigned char)*text);
        else
            (void)buf_add(out, (char[]){'\\', *text}, 2);
        text++;
    }
    (void)buf_addc(out, '"');
}

static bool is_absent(const struct field *f, const char *at)
{
    switch (f->type) {
    case FIELD_TEXT:
    case FIELD_WORDS:
        return !*at;
    case FIELD_INT:
        return *(const int64_t *)(const void *)at == f->absent;
    case FIELD_BOOL:
        return !*(const bool *)at;
    case FIELD_CHOICE:
        return *(const int *)(const void *)at == 0;
    case FIELD_KEYS:
        return ((const struct message_keys *)(const void *)at)->n == 0;
    }
    return true;
}

static bool keys_fine(const struct message_keys *keys)
{
    if (keys->n > MESSAGE_KEYS_MAX) return false;
    for (size_t i = 0; i < keys->n; i++)
        if (!identity_key_id_valid(keys->ids[i])) return false;
    return true;
}

static bool is_fine(const struct field *f, const char *at)
{
    switch (f->type) {
    case FIELD_TEXT:
        return memchr(at, '\0', f->size) && f->valid(at);
    case FIELD_WORDS:
        return memchr(at, '\0', f->size) && words_valid(at, (f->size - 1) / 4);
    case FIELD_INT:
        return *(const int64_t *)(const void *)at >= f->least && *(const int64_t *)(const void *)at <= f->most;
    case FIELD_BOOL:
        return true;
    case FIELD_CHOICE:
        return *(const unsigned *)(const void *)at < f->n_choices;
    case FIELD_KEYS:
        return keys_fine((const struct message_keys *)(const void *)at);
    }
    return false;
}

static void write_number(struct buf *out, int64_t n)
{
    char text[24];
    size_t at = sizeof text;
    uint64_t rest = n < 0 ? 0 - (uint64_t)n : (uint64_t)n;
    do {
        text[--at] = (char)('0' + rest % 10);
        rest /= 10;
    } while (rest);
    if (n < 0) text[--at] = '-';
    (void)buf_add(out, text + at, sizeof text - at);
}

static void write_value(const struct field *f, const char *at, struct buf *out)
{
    switch (f->type) {
    case FIELD_TEXT:
    case FIELD_WORDS:
        message_add_string(out, at);
        break;
    case FIELD_INT:
        write_number(out, *(const int64_t *)(const void *)at);
        break;
    case FIELD_BOOL:
        (void)buf_adds(out, *(const bool *)at ? "true" : "false");
        break;
    case FIELD_CHOICE:
        message_add_string(out, f->choices[*(const int *)(const void *)at]);
        break;
    case FIELD_KEYS:
        (void)buf_addc(out, '[');
        for (size_t i = 0; i < ((const struct message_keys *)(const void *)at)->n; i++) {
            if (i) (void)buf_addc(out, ',');
            message_add_string(out, ((const struct message_keys *)(const void *)at)->ids[i]);
        }
        (void)buf_addc(out, ']');
        break;
    }
}

int message_write_members(const struct form *f, const void *from, struct buf *out)
{
    for (size_t i = 0; i < f->n_fields; i++) {
        const char *at = (const char *)from + f->fields[i].offset;
        if ((f->fields[i].required || !is_absent(&f->fields[i], at)) && !is_fine(&f->fields[i], at)) return ERR_INVALID;
    }
    (void)buf_adds(out, "\"version\":\"");
    (void)buf_adds(out, f->name);
    (void)buf_adds(out, "/1" SCHEMA_MINOR "\"" SCHEMA_MINOR_MEMBER);
    for (size_t i = 0; i < f->n_fields; i++) {
        const struct field *field = &f->fields[i];
        const char *at = (const char *)from + field->offset;
        if (!field->required && is_absent(field, at)) continue;
        (void)buf_adds(out, ",\"");
        (void)buf_adds(out, field->name);
        (void)buf_adds(out, "\":");
        write_value(field, at, out);
    }
    return out->error;
}

int message_encode(const struct form *f, const void *from, struct buf *out)
{
    size_t before = out->len;
    (void)buf_addc(out, '{');
    int rc = message_write_members(f, from, out);
    (void)buf_addc(out, '}');
    if (rc == 0 && out->error == 0 && out->len - before > f->max_bytes) rc = ERR_TOO_LARGE;
    if (rc == 0) rc = out->error;
    if (rc < 0 && out->data) {
        out->len = before;
        out->data[before] = '\0';
    }
    return rc;
}
