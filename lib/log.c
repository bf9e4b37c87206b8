/* The log: one JSON object per line, built in memory and handed to the kernel by one write(2), so that lines of several
 * threads do not mix. Names follow the Elastic Common Schema. Text that is not UTF-8 or holds control characters is
 * escaped: a line cannot be forged by what a server answered.
 * Limits: a value is cut after 2,000 bytes, a line holds 16 KiB (fields that do not fit are left out and said so);
 * a line that the kernel refuses is lost: logging must not stop the work. */
#include "lib/log.h"

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define VALUE_MAX      ((size_t)2000)
#define LINE_MAX_BYTES ((size_t)16384)

static const char *const level_names[] = {"error", "warn", "info", "debug"};
static atomic_int out_fd = STDERR_FILENO;
static atomic_int max_level = LOG_LEVEL_INFO;
static char service_name[64] = "keyroll";
static char instance_name[128];

void log_open(int fd, enum log_level max, const char *service, const char *instance_id)
{
    text_copy(service_name, sizeof(service_name), service ? service : "keyroll");
    text_copy(instance_name, sizeof(instance_name), instance_id ? instance_id : "");
    atomic_store(&out_fd, fd);
    atomic_store(&max_level, (int)max);
}

bool log_enabled(enum log_level l)
{
    return (int)l <= atomic_load_explicit(&max_level, memory_order_relaxed);
}

bool log_level_parse(const char *name, enum log_level *ret_level)
{
    for (size_t i = 0; i < ARRAY_LEN(level_names); i++) {
        if (strcmp(name, level_names[i]) != 0) continue;
        *ret_level = (enum log_level)i;
        return true;
    }
    return false;
}

/* Length of the well-formed UTF-8 sequence at p (RFC 3629: no overlong forms, no surrogates), 0 when there is none. */
static size_t utf8_len(const unsigned char *p, size_t left)
{
    size_t n = p[0] < 0x80                   ? 1
               : p[0] >= 0xc2 && p[0] < 0xe0 ? 2
               : (p[0] & 0xf0) == 0xe0       ? 3
               : p[0] >= 0xf0 && p[0] < 0xf5 ? 4
                                             : 0;
    if (n == 0 || n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80) return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f)) return 0;
    if ((p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f)) return 0;
    return n;
}

static void add_text(struct buf *b, const char *text)
{
    size_t left = strnlen(text, VALUE_MAX);
    const unsigned char *p = (const unsigned char *)text;
    (void)buf_addc(b, '"'); /* errors of a buffer stick: looked at once, in add_field() and log_event() */
    while (left) {
        size_t n = utf8_len(p, left);
        if (n == 0)
            (void)buf_adds(b, "\\ufffd");
        else if (*p == '"' || *p == '\\')
            (void)buf_addf(b, "\\%c", *p);
        else if (*p < 0x20 || *p == 0x7f)
            (void)buf_addf(b, "\\u%04x", *p);
        else
            (void)buf_add(b, p, n);
        p += n ? n : 1;
        left -= n ? n : 1;
    }
    (void)buf_addc(b, '"');
}

static void add_named(struct buf *b, const char *name, const char *text)
{
    (void)buf_addc(b, ',');
    add_text(b, name);
    (void)buf_addc(b, ':');
    add_text(b, text);
}

/* Adds a field whole or not at all. */
static bool add_field(struct buf *b, const struct log_field *f)
{
    size_t before = b->len;
    if (f->is_number) {
        (void)buf_addc(b, ',');
        add_text(b, f->name);
        (void)buf_addf(b, ":%" PRId64, f->number);
    } else {
        add_named(b, f->name, f->text);
    }
    if (!b->error) return true;
    b->len = before;
    b->error = 0;
    if (b->data) b->data[before] = '\0';
    return false;
}

static void add_head(struct buf *b, enum log_level l, const char *event, const char *message)
{
    char time[TIME_TEXT_MAX];
    time_format(clock_wall_ms(&clock_system), time);
    (void)buf_addf(b, "{\"@timestamp\":\"%s\",\"log.level\":\"%s\",\"ecs.version\":\"8.11.0\"", time, level_names[l]);
    add_named(b, "service.name", service_name);
    if (instance_name[0]) add_named(b, "service.node.name", instance_name);
    add_named(b, "event.action", event);
    if (message) add_named(b, "message", message);
}

static void write_line(const char *line, size_t len)
{
    int fd = atomic_load(&out_fd);
    while (len) {
        ssize_t n = write(fd, line, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return; /* lost: see the head of this file */
        line += n;
        len -= (size_t)n;
    }
}

void log_event(enum log_level l, const char *event, const char *message, const struct log_field *fields, size_t n)
{
    if (!log_enabled(l)) return;
    AUTO_BUF struct buf b;
    buf_init(&b, LINE_MAX_BYTES);
    add_head(&b, l, event, message);
    bool whole = true;
    b.max = LINE_MAX_BYTES - 32; /* room for the mark and the end */
    for (size_t i = 0; i < n; i++)
        if (fields[i].is_number || fields[i].text) whole &= add_field(&b, &fields[i]);
    b.max = LINE_MAX_BYTES;
    (void)buf_adds(&b, whole ? "}\n" : ",\"log.truncated\":true}\n");
    if (!b.error) write_line(b.data, b.len);
}
