/* What we keep of a reply's header lines. Pure: bytes in, fields out. */
#ifndef KEYROLL_HTTP_HEAD_H
#define KEYROLL_HTTP_HEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { HTTP_HEAD_MAX_BYTES = 128 * 1024, HTTP_LOCATION_MAX_BYTES = 4096 };

struct http_head {
    char content_type[128], request_id[128], bucket_region[64]; /* "" when absent; longer values are cut */
    char *location;                                             /* owned; NULL when absent, too long or out of memory */
    int64_t date_ms;                                            /* Date, TIME_NONE when absent or malformed */
    int64_t retry_ms;    /* x-amz-retry-after, or Retry-After in seconds turned into ms; -1 when absent */
    int64_t retry_at_ms; /* Retry-After as a date, TIME_NONE when absent */
    bool encoded;        /* Content-Encoding names anything but identity */
    bool retry_is_amz;   /* retry_ms came from x-amz-retry-after, which is the finer one and wins */
    bool bad_status;     /* the last status line is none (RFC 9112 section 4), whatever libcurl made of it */
    bool complete;       /* the empty line after the last reply's fields came */
    size_t bytes;        /* header bytes seen since http_head_init, of all replies of one transfer */
};

/* Empties a head; memory is not read. */
void http_head_init(struct http_head *head);
void http_head_done(struct http_head *head);
/* Takes one header line with or without its line end; a status line ("HTTP/...") forgets the fields of an earlier reply
 * (100 Continue). Returns 0, or ERR_TOO_LARGE when more than HTTP_HEAD_MAX_BYTES of lines came in all. */
int http_head_line(struct http_head *head, const char *line, size_t len);
/* Milliseconds to wait before a retry (RFC 9110 section 10.2.3), 0..24 h, -1 when the reply does not say. A date counts
 * from the reply's own Date, or from wall_ms when it has none. */
int64_t http_head_retry_after_ms(const struct http_head *head, int64_t wall_ms);
/* True when host (no port, no brackets) can only be this machine or its link: never asked through a proxy. */
bool http_host_is_local(const char *host, size_t len);

#endif
