/* Jansson's lexer (2.14) fetches each byte by a call, decodes it as UTF-8, copies it, and copies it again: some 80
 * instructions a byte, four fifths of what reading a record takes. Records, journals, jobs and states are read at each
 * step, and nearly all of them are plain. Here a text is taken only as long as there is no doubt about it; whatever is
 * unusual or wrong is left to jansson, whole and from the start, so that there is one opinion on what JSON is, and one
 * text for what is not. tests/fuzz/fuzz_json.c compares the two.
 *
 * Values are made by jansson, so its allocations are those that json.c notes. */
#include "lib/json_plain.h"

#include <stdint.h>
#include <string.h>

#define LEVELS   16
#define NAME_MAX 64
#define DIGITS   18 /* always an int64_t */

struct plain {
    const char *at, *end;
};

static json_t *read_value(struct plain *p, int levels);

static void skip_space(struct plain *p)
{
    while (p->at < p->end && (*p->at == ' ' || *p->at == '\n' || *p->at == '\t' || *p->at == '\r')) p->at++;
}

static bool take(struct plain *p, char c)
{
    skip_space(p);
    if (p->at == p->end || *p->at != c) return false;
    p->at++;
    return true;
}

/* What is between the quotes. False: it is not plain. */
static bool take_string(struct plain *p, const char **ret_s, size_t *ret_len)
{
    if (!take(p, '"')) return false;
    const char *s = p->at;
    while (p->at < p->end && (signed char)*p->at >= 0x20 && *p->at != '"' && *p->at != '\\') p->at++;
    if (p->at == p->end || *p->at != '"') return false;
    *ret_s = s;
    *ret_len = (size_t)(p->at++ - s);
    return true;
}

static json_t *read_string(struct plain *p)
{
    const char *s;
    size_t len;
    return take_string(p, &s, &len) ? json_stringn_nocheck(s, len) : NULL;
}

/* Where a fraction or an exponent follows, no comma or bracket does: that is noticed there. */
static json_t *read_integer(struct plain *p)
{
    const bool negative = *p->at == '-';
    const char *first = p->at += negative;
    int64_t n = 0;
    while (p->at < p->end && *p->at >= '0' && *p->at <= '9' && p->at - first < DIGITS) n = n * 10 + (*p->at++ - '0');
    if (p->at == first || (*first == '0' && p->at - first > 1)) return NULL;
    return json_integer(negative ? -n : n);
}

static json_t *read_word(struct plain *p, const char *word, json_t *value)
{
    const size_t len = strlen(word);
    if ((size_t)(p->end - p->at) < len || memcmp(p->at, word, len) != 0) return NULL;
    p->at += len;
    return value;
}

static bool read_member(struct plain *p, json_t *object, int levels)
{
    char name[NAME_MAX];
    const char *s;
    size_t len;
    if (!take_string(p, &s, &len) || len >= sizeof(name) || !take(p, ':')) return false;
    memcpy(name, s, len);
    name[len] = '\0';
    const size_t n = json_object_size(object);
    if (json_object_set_new_nocheck(object, name, read_value(p, levels)) != 0) return false; /* NULL is refused */
    return json_object_size(object) > n;                                                     /* else it was there */
}

static bool read_members(struct plain *p, json_t *object, int levels)
{
    if (take(p, '}')) return true;
    do {
        if (!read_member(p, object, levels)) return false;
    } while (take(p, ','));
    return take(p, '}');
}

static bool read_items(struct plain *p, json_t *array, int levels)
{
    if (take(p, ']')) return true;
    do {
        if (json_array_append_new(array, read_value(p, levels)) != 0) return false;
    } while (take(p, ','));
    return take(p, ']');
}

static json_t *read_nested(struct plain *p, json_t *v, int levels,
                           bool (*inside)(struct plain *p, json_t *v, int levels))
{
    p->at++;
    if (v && levels && inside(p, v, levels - 1)) return v;
    json_decref(v);
    return NULL;
}

static json_t *read_value(struct plain *p, int levels)
{
    skip_space(p);
    switch (p->at < p->end ? *p->at : '\0') {
    case '{':
        return read_nested(p, json_object(), levels, read_members);
    case '[':
        return read_nested(p, json_array(), levels, read_items);
    case '"':
        return read_string(p);
    case 't':
        return read_word(p, "true", json_true());
    case 'f':
        return read_word(p, "false", json_false());
    case 'n':
        return read_word(p, "null", json_null());
    default:
        return p->at < p->end ? read_integer(p) : NULL;
    }
}

json_t *json_plain_read(const char *bytes, size_t len)
{
    if (!len) return NULL;
    struct plain p = {bytes, bytes + len};
    skip_space(&p);
    if (p.at == p.end || (*p.at != '{' && *p.at != '[')) return NULL;
    json_t *root = read_value(&p, LEVELS);
    skip_space(&p);
    if (!root || p.at == p.end) return root;
    json_decref(root);
    return NULL;
}
