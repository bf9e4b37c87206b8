/* Trace context (trace.h). Version 00 only, and always sampled: a job is rare and each one is wanted. */
#include "lib/trace.h"

#include "lib/text.h"

#include <stdio.h>
#include <string.h>

#define PARENT_LEN 55
#define SPAN_AT    36 /* "00-" and 32 digits and "-" */
#define FLAGS_AT   53 /* and 16 digits and "-" */

static bool in_form(const char *p)
{
    if (!p || strlen(p) != PARENT_LEN || strncmp(p, "00-", 3) != 0) return false;
    if (strspn(p + 3, "0123456789abcdef") != 32 || p[35] != '-') return false;
    if (strspn(p + SPAN_AT, "0123456789abcdef") != 16 || p[52] != '-') return false;
    return strspn(p + FLAGS_AT, "0123456789abcdef") == 2; /* all of it: it goes into a header's line */
}

/* n random bytes in hex; never all zero, which the standard forbids. */
static void add_hex(const struct rng *rng, char *out, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[16];
    rng->fill(rng->self, bytes, n);
    bytes[n - 1] |= 1;
    for (size_t i = 0; i < n; i++) {
        out[2 * i] = digits[bytes[i] >> 4];
        out[2 * i + 1] = digits[bytes[i] & 15];
    }
    out[2 * n] = '\0';
}

void trace_make(const struct rng *rng, char out[TRACE_PARENT_MAX])
{
    memcpy(out, "00-", 4);
    add_hex(rng, out + 3, 16);
    out[35] = '-';
    add_hex(rng, out + SPAN_AT, 8);
    memcpy(out + 52, "-01", 4);
}

void trace_child(const struct rng *rng, const char *parent, char out[TRACE_PARENT_MAX])
{
    char id[TRACE_ID_MAX];
    trace_id(parent, id);
    trace_make(rng, out);
    if (id[0]) memcpy(out + 3, id, 32);
}

void trace_id(const char *parent, char out[TRACE_ID_MAX])
{
    text_copy(out, TRACE_ID_MAX, in_form(parent) ? parent + 3 : "");
}

bool trace_header(const char *parent, char out[TRACE_HEADER_MAX])
{
    bool is_there = in_form(parent);
    if (is_there)
        snprintf(out, TRACE_HEADER_MAX, "traceparent: %s", parent);
    else
        out[0] = 0;
    return is_there;
}
