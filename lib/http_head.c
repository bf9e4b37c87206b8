/* Picks the few reply header fields the program acts on: who answered (request ids), when (Date), in which region, and
 * how long to wait. Everything else is dropped as it passes by. Names are compared without case (RFC 9110 section 5.1).
 * Limits: folded lines (obsolete) are ignored; of a repeated field the last one counts. */
#include "lib/http_head.h"

#include "lib/clock.h"
#include "lib/err.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define RETRY_MAX_MS (24 * 3600 * 1000LL)

struct span {
    const char *at;
    size_t len;
};

static void forget_fields(struct http_head *head)
{
    size_t bytes = head->bytes;
    free(head->location);
    *head = (struct http_head){.date_ms = TIME_NONE, .retry_ms = -1, .retry_at_ms = TIME_NONE, .bytes = bytes};
}

void http_head_init(struct http_head *head)
{
    head->location = NULL;
    head->bytes = 0;
    forget_fields(head);
}

void http_head_done(struct http_head *head)
{
    free(head->location);
    head->location = NULL;
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

static struct span trim(struct span s)
{
    while (s.len > 0 && is_space(s.at[0])) s.at++, s.len--;
    while (s.len > 0 && is_space(s.at[s.len - 1])) s.len--;
    return s;
}

static bool named(struct span name, const char *text)
{
    return name.len == strlen(text) && strncasecmp(name.at, text, name.len) == 0;
}

static void keep(char *out, size_t size, struct span value)
{
    size_t len = value.len < size ? value.len : size - 1;
    memcpy(out, value.at, len);
    out[len] = '\0';
}

/* Digits only, at most 24 h in ms; -1 when it is no number. */
static int64_t parse_wait_ms(struct span value, int64_t unit_ms)
{
    if (value.len == 0) return -1;
    int64_t ms = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.at[i] < '0' || value.at[i] > '9') return -1;
        ms = ms * 10 + (value.at[i] - '0') * unit_ms;
        if (ms > RETRY_MAX_MS) ms = RETRY_MAX_MS; /* clamped at every digit: no overflow */
    }
    return ms;
}

static int64_t parse_date(struct span value)
{
    char text[64];
    if (value.len >= sizeof text) return TIME_NONE;
    keep(text, sizeof text, value);
    return time_parse_http(text);
}

static void take_retry_after(struct http_head *head, struct span value)
{
    int64_t ms = parse_wait_ms(value, 1000);
    if (ms < 0)
        head->retry_at_ms = parse_date(value);
    else if (!head->retry_is_amz)
        head->retry_ms = ms;
}

static void take_amz_retry_after(struct http_head *head, struct span value)
{
    int64_t ms = parse_wait_ms(value, 1);
    if (ms < 0) return;
    head->retry_ms = ms;
    head->retry_is_amz = true;
}

static void take_location(struct http_head *head, struct span value)
{
    free(head->location);
    head->location = value.len <= HTTP_LOCATION_MAX_BYTES ? strndup(value.at, value.len) : NULL;
}

static void take_field(struct http_head *head, struct span name, struct span value)
{
    if (named(name, "date"))
        head->date_ms = parse_date(value);
    else if (named(name, "content-type"))
        keep(head->content_type, sizeof head->content_type, value);
    else if (named(name, "content-encoding"))
        head->encoded = value.len > 0 && !named(value, "identity");
    else if (named(name, "location"))
        take_location(head, value);
    else if (named(name, "retry-after"))
        take_retry_after(head, value);
    else if (named(name, "x-amz-retry-after"))
        take_amz_retry_after(head, value);
    else if (named(name, "x-amzn-requestid") || named(name, "x-amz-request-id"))
        keep(head->request_id, sizeof head->request_id, value);
    else if (named(name, "x-amz-bucket-region"))
        keep(head->bucket_region, sizeof head->bucket_region, value);
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200" or "HTTP/2 200", with or without words behind. libcurl 8.14 also reads a status from "HTTP/200 OK". */
static bool status_line_fine(const char *line, size_t len)
{
    size_t at = 5;
    if (at >= len || !is_digit(line[at++])) return false;
    if (at + 1 < len && line[at] == '.' && is_digit(line[at + 1])) at += 2;
    if (at >= len || line[at++] != ' ') return false;
    size_t digits = 0;
    while (at + digits < len && is_digit(line[at + digits])) digits++;
    return digits == 3 && (at + digits == len || is_space(line[at + digits]));
}

int http_head_line(struct http_head *head, const char *line, size_t len)
{
    if (len > HTTP_HEAD_MAX_BYTES - head->bytes) return ERR_TOO_LARGE;
    head->bytes += len;
    if (len >= 5 && memcmp(line, "HTTP/", 5) == 0) {
        forget_fields(head);
        head->bad_status = !status_line_fine(line, len);
        return 0;
    }
    if (trim((struct span){line, len}).len == 0) {
        head->complete = true;
        return 0;
    }
    const char *colon = memchr(line, ':', len);
    if (!colon || is_space(line[0])) return 0;
    struct span name = {line, (size_t)(colon - line)};
    struct span value = {colon + 1, len - name.len - 1};
    take_field(head, name, trim(value));
    return 0;
}

int64_t http_head_retry_after_ms(const struct http_head *head, int64_t wall_ms)
{
    if (head->retry_ms >= 0) return head->retry_ms;
    if (head->retry_at_ms == TIME_NONE) return -1;
    int64_t wait_ms = head->retry_at_ms - (head->date_ms != TIME_NONE ? head->date_ms : wall_ms);
    if (wait_ms < 0) return 0;
    return wait_ms < RETRY_MAX_MS ? wait_ms : RETRY_MAX_MS;
}

bool http_host_is_local(const char *host, size_t len)
{
    static const char suffix[] = ".localhost";
    struct span h = {host, len};
    if (named(h, "localhost") || named(h, "::1")) return true;
    if (len > sizeof suffix - 1 && strncasecmp(host + len - (sizeof suffix - 1), suffix, sizeof suffix - 1) == 0)
        return true;
    if (len < 7 || strspn(host, "0123456789.") < len) return false; /* only dotted quads below */
    return strncmp(host, "127.", 4) == 0 || strncmp(host, "169.254.", 8) == 0;
}
