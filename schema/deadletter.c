/* Dead letters.
 *
 * The job stands inside as it was, so that a replay can publish it again and a person sees the whole target. What could
 * not be read as a job is kept as base64, cut to a size that always fits. The origin (topic, partition, offset) finds
 * the message that caused it while the broker still has it. */
#include "schema/deadletter.h"

#include "lib/err.h"

#include <string.h>

static bool class_valid(const char *s)
{
    return strcmp(s, "retriable") == 0 || strcmp(s, "unknown") == 0 || strcmp(s, "permanent") == 0 ||
           strcmp(s, "fatal") == 0;
}

static bool code_valid(const char *s)
{
    size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return len >= 1 && !s[len];
}

static bool topic_valid(const char *s)
{
    size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-");
    return len >= 1 && !s[len];
}

/* Whole groups of four, the last one may be padded. */
static bool base64_valid(const char *s)
{
    size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"),
           pad = strspn(s + len, "=");
    return len >= 1 && pad <= 2 && (len + pad) % 4 == 0 && !s[len + pad];
}

#define AT(member) .offset = offsetof(struct deadletter, member), .size = sizeof(((struct deadletter *)0)->member)

static const struct field fields[] = {
    {"raw", FIELD_TEXT, false, AT(raw), .valid = base64_valid},
    {"step", FIELD_TEXT, true, AT(step), .valid = message_word_valid},
    {"error_code", FIELD_TEXT, true, AT(error_code), .valid = code_valid},
    {"error_class", FIELD_TEXT, true, AT(error_class), .valid = class_valid},
    {"reason", FIELD_WORDS, true, AT(reason)},
    {"attempts", FIELD_INT, true, AT(attempts), .least = 1, .most = 1000000},
    {"first_failed_at_ms", FIELD_INT, true, AT(first_failed_at_ms), .most = MESSAGE_TIME_MAX},
    {"last_failed_at_ms", FIELD_INT, true, AT(last_failed_at_ms), .most = MESSAGE_TIME_MAX},
    {"by", FIELD_TEXT, false, AT(by), .valid = message_printable},
    {"origin_topic", FIELD_TEXT, false, AT(origin_topic), .valid = topic_valid},
    {"origin_partition", FIELD_INT, false, AT(origin_partition), .least = -1, .most = INT32_MAX, .absent = -1},
    {"origin_offset", FIELD_INT, false, AT(origin_offset), .least = -1, .most = MESSAGE_INT_MAX, .absent = -1},
};
static const struct form form = {"keyroll.deadletter", fields, ARRAY_LEN(fields), DEADLETTER_MAX_BYTES};

int deadletter_set_raw(struct deadletter *d, const char *bytes, size_t len)
{
    AUTO_BUF struct buf text;
    buf_init(&text, DEADLETTER_BASE64_MAX);
    int rc = buf_add_base64(&text, bytes, len < DEADLETTER_RAW_MAX ? len : DEADLETTER_RAW_MAX);
    if (rc < 0) return rc;
    memcpy(d->raw, buf_str(&text), text.len + 1);
    d->has_job = false;
    return 0;
}

void deadletter_set_error(struct deadletter *d, int code, const char *words)
{
    struct event e;
    event_set_error(&e, code);
    memcpy(d->error_code, e.error_code, sizeof d->error_code);
    memcpy(d->error_class, e.error_class, sizeof d->error_class);
    message_words(d->reason, sizeof d->reason, words ? words : err_text(code));
}

int deadletter_decode(const char *bytes, size_t len, struct deadletter *ret, struct message_fault *fault)
{
    AUTO_JSON json_t *root = NULL;
    int rc = message_parse(&form, bytes, len, &root, fault);
    if (rc == 0) rc = message_read(&form, root, ret, fault);
    if (rc < 0) return rc;
    const json_t *job = json_object_get(root, "job");
    ret->has_job = job != NULL;
    if (job && !json_is_object(job)) {
        if (fault) *fault = (struct message_fault){"job: not an object"};
        return ERR_INVALID;
    }
    return job ? job_read(job, &ret->job, fault) : 0;
}

int deadletter_encode(const struct deadletter *d, struct buf *out)
{
    size_t before = out->len;
    (void)buf_addc(out, '{');
    int rc = message_write_members(&form, d, out);
    if (rc == 0 && d->has_job) {
        (void)buf_adds(out, ",\"job\":");
        rc = job_encode(&d->job, out);
    }
    (void)buf_addc(out, '}');
    if (rc == 0 && out->error == 0 && out->len - before > form.max_bytes) rc = ERR_TOO_LARGE;
    if (rc == 0) rc = out->error;
    if (rc < 0 && out->data) {
        out->len = before;
        out->data[before] = '\0';
    }
    return rc;
}
