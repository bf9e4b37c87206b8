/* Parameters of a request: query string, URL-encoded form, multipart form.
 *
 * One list of name/value pairs whatever the encoding, kept in the request's arena. Multipart is read as RFC 7578
 * describes it, as far as HTTP clients use it for plain fields: no nested multipart, no transfer encodings.
 * Limits: the whole body is in memory (the server caps it). */
#include "tests/sandbox/form.h"

#include <string.h>
#include <strings.h>

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

char *form_decode(struct arena *a, const char *text, size_t len, int plus, size_t *ret_len)
{
    char *out = arena_alloc(a, len + 1);
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        if (text[i] == '%' && i + 2 < len && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0) {
            out[n++] = (char)(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2]));
            i += 2;
        } else {
            out[n++] = plus && text[i] == '+' ? ' ' : text[i];
        }
    }
    out[n] = 0;
    if (ret_len) *ret_len = n;
    return out;
}

static struct param *add(struct arena *a, struct params *p)
{
    if (p->n == p->cap) {
        size_t cap = p->cap ? p->cap * 2 : 16;
        struct param *v = arena_alloc(a, cap * sizeof(*v));
        if (p->n) memcpy(v, p->v, p->n * sizeof(*v));
        p->v = v;
        p->cap = cap;
    }
    return &p->v[p->n++];
}

void form_parse(struct arena *a, struct params *p, const char *text, size_t len)
{
    const char *end = text + len;
    while (text < end) {
        const char *amp = memchr(text, '&', (size_t)(end - text));
        if (!amp) amp = end;
        const char *eq = memchr(text, '=', (size_t)(amp - text));
        if (amp > text) {
            struct param *one = add(a, p);
            const char *name_end = eq ? eq : amp;
            one->name = form_decode(a, text, (size_t)(name_end - text), 1, &one->name_len);
            one->value = eq ? form_decode(a, eq + 1, (size_t)(amp - eq - 1), 1, &one->value_len) : "";
        }
        text = amp + 1;
    }
}

/* The value of name="..." in a Content-Disposition line, or NULL. */
static char *disposition_name(struct arena *a, const char *line, size_t len)
{
    const char *end = line + len;
    for (const char *p = line; p + 6 < end; p++) {
        if (strncasecmp(p, "name=\"", 6) != 0 || (p > line && p[-1] != ' ' && p[-1] != ';')) continue;
        const char *quote = memchr(p + 6, '"', (size_t)(end - p - 6));
        return quote ? arena_dup(a, p + 6, (size_t)(quote - p - 6)) : NULL;
    }
    return NULL;
}

/* Reads one part's header lines from *at; leaves *at on the first byte of its body. */
static char *part_name(struct arena *a, const char **at, const char *end)
{
    char *name = NULL;
    for (;;) {
        const char *eol = memmem(*at, (size_t)(end - *at), "\r\n", 2);
        if (!eol) return NULL;
        size_t len = (size_t)(eol - *at);
        const char *line = *at;
        *at = eol + 2;
        if (len == 0) return name;
        if (len > 20 && strncasecmp(line, "content-disposition:", 20) == 0) name = disposition_name(a, line, len);
    }
}

int form_parse_multipart(struct arena *a, struct params *p, const char *content_type, const char *body, size_t len)
{
    const char *b = strcasestr(content_type, "boundary=");
    if (!b) return -1;
    b += 9;
    size_t b_len = *b == '"' ? strcspn(++b, "\"") : strcspn(b, "; \t");
    char *mark = arena_printf(a, "\r\n--%.*s", (int)b_len, b);
    size_t mark_len = strlen(mark);
    const char *at = body, *end = body + len;
    if (len < mark_len - 2 || memcmp(at, mark + 2, mark_len - 2) != 0) return -1;
    at += mark_len - 2;
    while (end - at >= 2 && memcmp(at, "\r\n", 2) == 0) {
        at += 2;
        char *name = part_name(a, &at, end);
        const char *stop = name ? memmem(at, (size_t)(end - at), mark, mark_len) : NULL;
        if (!stop) return -1;
        struct param *one = add(a, p);
        one->name = name;
        one->name_len = strlen(name);
        one->value_len = (size_t)(stop - at);
        one->value = arena_dup(a, at, one->value_len);
        at = stop + mark_len;
    }
    return end - at >= 2 && memcmp(at, "--", 2) == 0 ? 0 : -1;
}

const char *form_get(const struct params *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcmp(p->v[i].name, name) == 0) return p->v[i].value;
    return NULL;
}

const char *form_get_any_case(const struct params *p, const char *name)
{
    for (size_t i = 0; i < p->n; i++)
        if (strcasecmp(p->v[i].name, name) == 0) return p->v[i].value;
    return NULL;
}
