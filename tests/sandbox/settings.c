/* What may be changed while the sandbox runs: rates, latencies, delays.
 *
 * One table: the command line, POST /_control/settings, GET /_control/settings and --help are all derived from it. */
#include "tests/sandbox/settings.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum kind { INTEGER, RANGE, REAL };

static const struct row {
    const char *name;
    enum kind kind;
    size_t at;
    const char *text;
} rows[] = {
    {"latency-iam", INTEGER, offsetof(struct settings, latency_ms[SVC_IAM]), "ms until an IAM reply"},
    {"latency-sts", INTEGER, offsetof(struct settings, latency_ms[SVC_STS]), "ms until an STS reply"},
    {"latency-s3", INTEGER, offsetof(struct settings, latency_ms[SVC_S3]), "ms until an S3 reply"},
    {"latency-instance", INTEGER, offsetof(struct settings, latency_ms[SVC_INSTANCE]), "ms until an instance's reply"},
    {"jitter-iam", INTEGER, offsetof(struct settings, jitter_ms[SVC_IAM]), "up to this many ms more"},
    {"jitter-sts", INTEGER, offsetof(struct settings, jitter_ms[SVC_STS]), "up to this many ms more"},
    {"jitter-s3", INTEGER, offsetof(struct settings, jitter_ms[SVC_S3]), "up to this many ms more"},
    {"jitter-instance", INTEGER, offsetof(struct settings, jitter_ms[SVC_INSTANCE]), "up to this many ms more"},
    {"new-key-delay-ms", RANGE, offsetof(struct settings, new_key_delay_ms), "until a service accepts a new key"},
    {"status-delay-ms", RANGE, offsetof(struct settings, status_delay_ms), "until a service sees a status or deletion"},
    {"flap-ms", INTEGER, offsetof(struct settings, flap_ms), "a new key is refused at times for this long after"},
    {"list-lag-ms", RANGE, offsetof(struct settings, list_lag_ms), "age of the state that ListAccessKeys shows"},
    {"use-interval-ms", INTEGER, offsetof(struct settings, use_interval_ms), "between two uses of an instance's key"},
    {"presign-life-ms", INTEGER, offsetof(struct settings, presign_life_ms), "promised life of presigned URLs (books)"},
    {"report-ms", INTEGER, offsetof(struct settings, report_ms), "making a credential report takes"},
    {"report-life-ms", INTEGER, offsetof(struct settings, report_life_ms), "a credential report is good for"},
    {"clock-offset-ms", INTEGER, offsetof(struct settings, clock_offset_ms), "sandbox clock minus machine clock"},
    {"iam-rate", REAL, offsetof(struct settings, iam_rate), "IAM reads/s and writes/s per account, 0 = no limit"},
    {"sts-rate", REAL, offsetof(struct settings, sts_rate), "STS calls/s per account, 0 = no limit"},
    {"s3-rate", REAL, offsetof(struct settings, s3_rate), "S3 calls/s per account, 0 = no limit"},
    {"short-pages", REAL, offsetof(struct settings, short_pages), "probability that a list page is cut short"},
    {"max-keys", INTEGER, offsetof(struct settings, max_keys), "access keys per user"},
};
#define ROWS (sizeof(rows) / sizeof(rows[0]))

const char *service_name(enum service s)
{
    static const char *const names[] = {"iam", "sts", "s3", "instance", "control"};
    return names[s];
}

void settings_default(struct settings *s)
{
    *s = (struct settings){.use_interval_ms = 1000,
                           .presign_life_ms = 86400000,
                           .report_ms = 300,
                           .report_life_ms = 4 * 3600000,
                           .max_keys = 2};
}

static int same_name(const char *a, const char *b)
{
    for (; *a && *b; a++, b++)
        if (*a != *b && !(*a == '_' && *b == '-')) return 0;
    return *a == *b;
}

bool settings_known(const char *name)
{
    for (size_t i = 0; i < ROWS; i++)
        if (same_name(name, rows[i].name)) return true;
    return false;
}

static int parse_range(const char *value, struct range *ret)
{
    char *end = NULL;
    long long min = strtoll(value, &end, 10), max = min;
    if (end == value) return -1;
    if (*end == '-') {
        const char *second = end + 1;
        max = strtoll(second, &end, 10);
        if (end == second) return -1;
    }
    if (*end || max < min) return -1;
    *ret = (struct range){min, max};
    return 0;
}

int settings_set(struct settings *s, const char *name, const char *value)
{
    for (size_t i = 0; i < ROWS; i++) {
        if (!same_name(name, rows[i].name)) continue;
        char *at = (char *)s + rows[i].at, *end = NULL;
        if (rows[i].kind == RANGE) return parse_range(value, (struct range *)(void *)at);
        if (rows[i].kind == INTEGER) {
            long long v = strtoll(value, &end, 10);
            if (end == value || (*end && *end != '.')) return -1;
            *(int64_t *)(void *)at = v;
            return 0;
        }
        double v = strtod(value, &end);
        if (end == value || *end) return -1;
        *(double *)(void *)at = v;
        return 0;
    }
    return -1;
}

void settings_help(void)
{
    struct settings d;
    settings_default(&d);
    for (size_t i = 0; i < ROWS; i++) {
        const char *at = (const char *)&d + rows[i].at;
        char value[64] = "0";
        if (rows[i].kind == INTEGER)
            (void)snprintf(value, sizeof(value), "%lld", (long long)*(const int64_t *)(const void *)at);
        (void)printf("  --%-18s %s %s [%s]\n", rows[i].name, rows[i].kind == RANGE ? "MIN-MAX" : "N      ",
                     rows[i].text, value);
    }
}

json_t *settings_json(const struct settings *s)
{
    json_t *o = json_object();
    for (size_t i = 0; i < ROWS; i++) {
        const char *at = (const char *)s + rows[i].at;
        if (rows[i].kind == REAL) {
            (void)json_object_set_new(o, rows[i].name, json_real(*(const double *)(const void *)at));
        } else if (rows[i].kind == INTEGER) {
            (void)json_object_set_new(o, rows[i].name, json_integer(*(const int64_t *)(const void *)at));
        } else {
            const struct range *r = (const struct range *)(const void *)at;
            (void)json_object_set_new(o, rows[i].name, json_sprintf("%lld-%lld", (long long)r->min, (long long)r->max));
        }
    }
    return o;
}
