/* What may be changed while the sandbox runs: rates, latencies, delays. Set by options, then by /_control/settings. */
#ifndef SANDBOX_SETTINGS_H
#define SANDBOX_SETTINGS_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

enum service { SVC_IAM, SVC_STS, SVC_S3, SVC_INSTANCE, SVC_CONTROL, SVC_COUNT };
#define SVC_SIGNED 3 /* IAM, STS and S3 look at keys */

struct range {
    int64_t min;
    int64_t max;
};

struct settings {
    int64_t latency_ms[SVC_COUNT];
    int64_t jitter_ms[SVC_COUNT];  /* up to this much more, at random */
    struct range new_key_delay_ms; /* until a service accepts a new key; drawn per key and service */
    struct range status_delay_ms;  /* until a service sees a change of status or a deletion */
    int64_t flap_ms;               /* after that a new key is still refused now and then for this long */
    struct range list_lag_ms;      /* how old the state may be that IAM's reads show */
    int64_t use_interval_ms;       /* each instance uses its key once in this time; 0 = never */
    int64_t presign_life_ms;       /* how long presigned URLs are expected to live (books only) */
    int64_t report_ms;             /* making a credential report */
    int64_t report_life_ms;        /* a new report at most this often */
    int64_t clock_offset_ms;       /* our clock against the machine's */
    double iam_rate;               /* calls/s per account, reads and writes each; 0 = no limit */
    double sts_rate;
    double s3_rate;
    double short_pages; /* probability that a page is cut short */
    int64_t max_keys;   /* AccessKeysPerUser */
};

const char *service_name(enum service s);
void settings_default(struct settings *s);
/* Sets one by name (the option's name with '-' or '_'); value "5", "0.5" or "MIN-MAX".
 * Returns 0, or -1 when the name or the value is not understood. */
int settings_set(struct settings *s, const char *name, const char *value);
bool settings_known(const char *name);
/* Prints name, meaning and default of each, for --help. */
void settings_help(void);
json_t *settings_json(const struct settings *s);

#endif
