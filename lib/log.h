/* Log: one JSON object per line on stderr (or a file descriptor given). Programs log, library code returns errors.
 * One failure is logged once, by the one who handles it. Never a secret: values are strings that the caller owns. */
#ifndef KEYROLL_LOG_H
#define KEYROLL_LOG_H

#include "lib/cleanup.h"

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };
struct log_field {
    const char *name;
    const char *text;
    int64_t number;
    bool is_number;
};
#define LOG_S(n, v)                                                                                                    \
    (struct log_field)                                                                                                 \
    {                                                                                                                  \
        .name = (n), .text = (v)                                                                                       \
    }
#define LOG_I(n, v)                                                                                                    \
    (struct log_field)                                                                                                 \
    {                                                                                                                  \
        .name = (n), .number = (int64_t)(v), .is_number = true                                                         \
    }

/* fd: where lines go. service: "keyroll-worker". Thread-safe (librdkafka logs from its threads); one write(2) per line.
 */
void log_open(int fd, enum log_level max, const char *service, const char *instance_id);
bool log_enabled(enum log_level l);
/* Fields with a NULL text are left out. Names follow ECS (https://www.elastic.co/guide/en/ecs): event.action,
 * error.code, event.duration (ns), ...; what ECS has no name for stands under keyroll., kafka., redis. or aws. */
void log_event(enum log_level l, const char *event, const char *message, const struct log_field *fields, size_t n);
/* LOG: with fields; LOG0: without. */
#define LOG(level, event, message, ...)                                                                                \
    do {                                                                                                               \
        if (log_enabled(level)) {                                                                                      \
            const struct log_field f_[] = {__VA_ARGS__};                                                               \
            log_event(level, event, message, f_, ARRAY_LEN(f_));                                                       \
        }                                                                                                              \
    } while (0)
#define LOG0(level, event, message) log_event(level, event, message, NULL, 0)
/* Maps "error", "warn", "info", "debug"; false when unknown. */
bool log_level_parse(const char *name, enum log_level *ret_level);

#endif
