/* Runs our decoders for tests in other languages. Reads "KIND LENGTH\n" and LENGTH bytes, again and again, from stdin;
 * writes one line for each: "ok JSON" (what our encoder makes of what was decoded) or "err NAME FAULT". */
#include "lib/err.h"
#include "schema/campaign.h"
#include "schema/deadletter.h"
#include "schema/deadmark.h"
#include "schema/event.h"
#include "schema/job.h"
#include "schema/policy_file.h"
#include "schema/trigger.h"

#include <stdio.h>
#include <string.h>

#define INPUT_MAX 100000

static int job_trip(const char *bytes, size_t len, struct buf *out, struct message_fault *fault)
{
    struct job j;
    int rc = job_decode(bytes, len, &j, fault);
    return rc < 0 ? rc : job_encode(&j, out);
}

static int event_trip(const char *bytes, size_t len, struct buf *out, struct message_fault *fault)
{
    struct event e;
    int rc = event_decode(bytes, len, &e, fault);
    return rc < 0 ? rc : event_encode(&e, out);
}

static int deadletter_trip(const char *bytes, size_t len, struct buf *out, struct message_fault *fault)
{
    struct deadletter d;
    int rc = deadletter_decode(bytes, len, &d, fault);
    return rc < 0 ? rc : deadletter_encode(&d, out);
}

static int campaign_trip(const char *bytes, size_t len, struct buf *out, struct message_fault *fault)
{
    struct campaign c;
    int rc = campaign_decode(bytes, len, &c, fault);
    if (rc == 0) rc = campaign_encode(&c, out);
    campaign_done(&c);
    return rc;
}

static int deadmark_trip(const char *bytes, size_t len, struct buf *out, struct message_fault *fault)
{
    struct deadmark m;
    int rc = deadmark_decode(bytes, len, &m, fault);
    return rc < 0 ? rc : deadmark_encode(&m, out);
}

/* A trigger is only read: what comes out is what it wants. */
static int trigger_trip(const char *bytes, size_t len, struct buf *out, struct message_fault *fault)
{
    struct trigger t;
    int rc = trigger_decode(bytes, len, &t, fault);
    return rc < 0 ? rc : buf_addf(out, "{\"want\":%d,\"licence\":\"%s\",\"keys\":%zu}", t.want, t.licence, t.keys.n);
}

#define DAY 86400000LL

static void note_first(void *arg, const char *path, const char *reason)
{
    struct message_fault *f = arg;
    if (!f->text[0]) snprintf(f->text, sizeof f->text, "%.50s: %.60s", path, reason);
}

/* A policy file is only read: what comes out is what its policies amount to. */
static int policy_trip(const char *bytes, size_t len, struct buf *out, struct message_fault *fault)
{
    struct policy_rules base;
    AUTO_POLICY_FILE struct policy_file f = {0};
    policy_rules_init(&base, 80 * DAY, 10 * DAY);
    int rc = policy_file_decode(bytes, len, &base, note_first, fault, &f);
    if (rc < 0) return rc;
    (void)buf_adds(out, "{\"policies\":{");
    for (size_t i = 0; i < f.n_policies; i++) {
        const struct policy_rules *r = &f.policies[i];
        (void)buf_addf(out, "%s\"%s\":[%lld,%lld,%lld,%lld,%zu,%zu,%zu,%d]", i ? "," : "", r->name,
                       (long long)r->max_age_ms, (long long)r->max_age_jitter_ms, (long long)r->min_gap_ms,
                       (long long)r->lead_ms, r->n_windows, r->n_quiet, r->n_blackouts, r->has_nightly_copy);
    }
    return buf_addf(out, "},\"canaries\":%zu,\"exclusions\":%zu}", f.n_canaries, f.n_exclusions);
}

static const struct {
    const char *name;
    int (*trip)(const char *, size_t, struct buf *, struct message_fault *);
} kinds[] = {{"job", job_trip},           {"event", event_trip},       {"deadletter", deadletter_trip},
             {"campaign", campaign_trip}, {"deadmark", deadmark_trip}, {"trigger", trigger_trip},
             {"policy", policy_trip}};

static int trip(const char *kind, const char *bytes, size_t len)
{
    AUTO_BUF struct buf out;
    struct message_fault fault = {""};
    buf_init(&out, INPUT_MAX);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (strcmp(kind, kinds[i].name) != 0) continue;
        int rc = kinds[i].trip(bytes, len, &out, &fault);
        if (rc < 0)
            printf("err %s %s\n", err_name(rc), fault.text);
        else
            printf("ok %s\n", buf_str(&out));
        return 0;
    }
    fprintf(stderr, "decode_message: no kind %s\n", kind);
    return 1;
}

int main(void)
{
    char kind[32], *bytes;
    size_t len;
    while (scanf("%31s %zu", kind, &len) == 2) {
        if (getchar() != '\n' || len > INPUT_MAX || !(bytes = malloc(len + 1))) return 1;
        size_t got = fread(bytes, 1, len, stdin);
        bytes[got] = '\0';
        int rc = got == len ? trip(kind, bytes, len) : 1;
        free(bytes);
        if (rc) return rc;
    }
    return 0;
}
