/* A job and its Kafka headers.
 *
 * The value says what to do on whom, and stays the same however often it is tried; the headers say how it fared so far
 * (attempt, not before, first seen, last error), so that a retry only rewrites headers. Nothing in either is trusted
 * beyond its form: whether there is anything left to do is decided by the journal and the world (design, R2 and R10).
 * The fields below are job.schema.json; a test holds the two together. */
#include "schema/job.h"

#include "lib/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const kinds[] = {"rotate", "retire", "reap", "audit"};
static const char *const reasons[] = {"scheduled", "operator", "exposed", "repair", "resume", "poll", "audit"};

bool job_credentials_valid(const char *s)
{
    if (strncmp(s, "file:", 5) == 0) return message_printable(s + 5);
    if (strncmp(s, "env:", 4) != 0) return false;
    size_t len = strspn(s + 4, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    return len >= 1 && !s[4 + len] && (s[4] < '0' || s[4] > '9');
}

bool job_time_zone_valid(const char *s)
{
    size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_+/-");
    return len >= 1 && !s[len];
}

#define AT(member) .offset = offsetof(struct job, member), .size = sizeof(((struct job *)0)->member)

static const struct field fields[] = {
    {"job_id", FIELD_TEXT, true, AT(job_id), .valid = message_job_id_valid},
    {"kind", FIELD_CHOICE, true, AT(kind), .choices = kinds, .n_choices = ARRAY_LEN(kinds)},
    {"reason", FIELD_CHOICE, true, AT(reason), .choices = reasons, .n_choices = ARRAY_LEN(reasons)},
    {"licence", FIELD_TEXT, true, AT(licence), .valid = identity_licence_valid},
    {"account", FIELD_TEXT, true, AT(account), .valid = identity_account_valid},
    {"user", FIELD_TEXT, true, AT(user), .valid = identity_user_valid},
    {"bucket", FIELD_TEXT, true, AT(bucket), .valid = identity_bucket_valid},
    {"region", FIELD_TEXT, true, AT(region), .valid = identity_region_valid},
    {"instance_url", FIELD_TEXT, true, AT(instance_url), .valid = url_valid},
    {"profile", FIELD_TEXT, true, AT(profile), .valid = message_word_valid},
    {"credentials", FIELD_TEXT, false, AT(credentials), .valid = job_credentials_valid},
    {"time_zone", FIELD_TEXT, false, AT(time_zone), .valid = job_time_zone_valid},
    {"replace_key_id", FIELD_TEXT, false, AT(replace_key_id), .valid = identity_key_id_valid},
    {"rotation", FIELD_INT, true, AT(rotation), .most = MESSAGE_INT_MAX},
    {"confirm", FIELD_BOOL, false, AT(confirm)},
    {"urgent", FIELD_BOOL, false, AT(urgent)},
    {"created_at_ms", FIELD_INT, true, AT(created_at_ms), .most = MESSAGE_TIME_MAX},
    {"due_at_ms", FIELD_INT, false, AT(due_at_ms), .most = MESSAGE_TIME_MAX},
    {"requested_by", FIELD_TEXT, false, AT(requested_by), .valid = message_printable},
    {"dead_step", FIELD_TEXT, false, AT(dead_step), .valid = message_word_valid},
};

const struct form job_form = {"keyroll.job", fields, ARRAY_LEN(fields), JOB_MAX_BYTES};

/* A retire or reap names its key and its rotation (R6). */
static bool is_complete(const struct job *j)
{
    return (j->kind != JOB_RETIRE && j->kind != JOB_REAP) || (j->replace_key_id[0] && j->rotation >= 1);
}

int job_read(const json_t *root, struct job *ret_job, struct message_fault *fault)
{
    int rc = message_read(&job_form, root, ret_job, fault);
    if (rc < 0 || is_complete(ret_job)) return rc;
    if (fault) snprintf(fault->text, sizeof fault->text, "retire and reap need replace_key_id and rotation");
    return ERR_INVALID;
}

int job_decode(const char *bytes, size_t len, struct job *ret_job, struct message_fault *fault)
{
    AUTO_JSON json_t *root = NULL;
    int rc = message_parse(&job_form, bytes, len, &root, fault);
    return rc < 0 ? rc : job_read(root, ret_job, fault);
}

int job_encode(const struct job *j, struct buf *out)
{
    return is_complete(j) ? message_encode(&job_form, j, out) : ERR_INVALID;
}

int job_identify(struct job *j)
{
    return identity_job_id(job_kind_name(j->kind), j->account, j->user, j->replace_key_id, j->rotation, j->job_id);
}

int job_key(const struct job *j, char out[IDENTITY_KEY_MAX])
{
    return identity_key(j->account, j->user, out);
}

const char *job_kind_name(int kind)
{
    return (unsigned)kind < ARRAY_LEN(kinds) ? kinds[kind] : "unknown";
}

const char *job_reason_name(int reason)
{
    return (unsigned)reason < ARRAY_LEN(reasons) ? reasons[reason] : "unknown";
}

int job_kind_parse(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (strcmp(name, kinds[i]) == 0) return (int)i;
    return -1;
}

/* ---- headers ---- */

static void add(struct job_header_set *out, const char *name, const char *value)
{
    if (*value) out->headers[out->n++] = (struct kafka_header){name, value, strlen(value)};
}

void job_headers_encode(const struct job_headers *h, struct job_header_set *out)
{
    out->n = 0;
    snprintf(out->text[0], sizeof out->text[0], "%" PRId64, h->attempt);
    snprintf(out->text[1], sizeof out->text[1], "%" PRId64, h->not_before_ms);
    snprintf(out->text[2], sizeof out->text[2], "%" PRId64, h->first_seen_ms);
    add(out, "keyroll-job-id", h->job_id);
    add(out, "keyroll-attempt", out->text[0]);
    add(out, "keyroll-not-before", h->not_before_ms ? out->text[1] : "");
    add(out, "keyroll-first-seen", h->first_seen_ms ? out->text[2] : "");
    add(out, "keyroll-last-error", h->last_error);
    add(out, "traceparent", h->traceparent);
}

/* Copies a header's value as text; false when it does not fit or holds a NUL. */
static bool header_text(const struct kafka_header *h, char *out, size_t size)
{
    if (!h->value || h->len == 0 || h->len >= size || memchr(h->value, '\0', h->len)) return false;
    memcpy(out, h->value, h->len);
    out[h->len] = '\0';
    return true;
}

static bool header_number(const struct kafka_header *h, int64_t least, int64_t most, int64_t *ret)
{
    char text[24], *end;
    if (!header_text(h, text, sizeof text) || strspn(text, "0123456789") != h->len || h->len > 16) return false;
    int64_t n = strtoll(text, &end, 10);
    if (n < least || n > most) return false;
    *ret = n;
    return true;
}

/* Reads one header; false when it is one that matters and is malformed. */
static bool read_header(const struct kafka_header *h, struct job_headers *ret)
{
    char text[JOB_ERROR_MAX] = "";
    if (strcmp(h->name, "keyroll-job-id") == 0) {
        if (!header_text(h, text, sizeof text) || !message_job_id_valid(text)) return false;
        memcpy(ret->job_id, text, sizeof ret->job_id);
    } else if (strcmp(h->name, "keyroll-attempt") == 0) {
        return header_number(h, 1, 1000000, &ret->attempt);
    } else if (strcmp(h->name, "keyroll-not-before") == 0) {
        return header_number(h, 0, MESSAGE_TIME_MAX, &ret->not_before_ms);
    } else if (strcmp(h->name, "keyroll-first-seen") == 0) {
        return header_number(h, 0, MESSAGE_TIME_MAX, &ret->first_seen_ms);
    } else if (strcmp(h->name, "keyroll-last-error") == 0) {
        if (header_text(h, text, sizeof text) && message_printable(text)) memcpy(ret->last_error, text, sizeof text);
    } else if (strcmp(h->name, "traceparent") == 0) {
        if (header_text(h, text, sizeof text) && message_traceparent_valid(text))
            memcpy(ret->traceparent, text, sizeof ret->traceparent);
    }
    return true;
}

int job_headers_decode(const struct kafka_header *headers, size_t n, struct job_headers *ret,
                       struct message_fault *fault)
{
    int rc = 0;
    *ret = (struct job_headers){.attempt = 1};
    for (size_t i = 0; i < n; i++) {
        if (read_header(&headers[i], ret)) continue;
        if (fault && rc == 0) snprintf(fault->text, sizeof fault->text, "header %.60s: not allowed", headers[i].name);
        rc = ERR_INVALID;
    }
    return rc;
}
