/* Events and their CloudEvents attributes.
 *
 * One flat form for all types: which fields a type fills is said beside its name in the header. The attributes stand in
 * Kafka headers (binary content mode,
 * https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md section 3.2), so that
 * any CloudEvents consumer can route without reading our JSON; the value repeats what a rebuild of the records needs
 * and can be read alone. */
#include "schema/event.h"

#include "lib/err.h"
#include "lib/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TYPE_PREFIX "keyroll.rotation."

static const char *const types[] = {
#define EVENT_NAME(name, text) text,
    EVENT_TYPES(EVENT_NAME)
#undef EVENT_NAME
};
static const char *const kinds[] = {"rotate", "retire", "reap", "audit"};
static const char *const classes[] = {"retriable", "unknown", "permanent", "fatal"};

static bool class_valid(const char *s)
{
    for (size_t i = 0; i < ARRAY_LEN(classes); i++)
        if (strcmp(s, classes[i]) == 0) return true;
    return false;
}

static bool code_valid(const char *s)
{
    size_t len = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return len >= 1 && !s[len];
}

#define AT(member) .offset = offsetof(struct event, member), .size = sizeof(((struct event *)0)->member)

static const struct field fields[] = {
    {"type", FIELD_CHOICE, true, AT(type), .choices = types, .n_choices = ARRAY_LEN(types)},
    {"kind", FIELD_CHOICE, true, AT(kind), .choices = kinds, .n_choices = ARRAY_LEN(kinds)},
    {"licence", FIELD_TEXT, true, AT(licence), .valid = identity_licence_valid},
    {"account", FIELD_TEXT, true, AT(account), .valid = identity_account_valid},
    {"user", FIELD_TEXT, true, AT(user), .valid = identity_user_valid},
    {"job_id", FIELD_TEXT, false, AT(job_id), .valid = message_job_id_valid},
    {"rotation", FIELD_INT, false, AT(rotation), .most = MESSAGE_INT_MAX},
    {"number", FIELD_INT, false, AT(number), .most = MESSAGE_INT_MAX},
    {"key_new", FIELD_TEXT, false, AT(key_new), .valid = identity_key_id_valid},
    {"key_old", FIELD_TEXT, false, AT(key_old), .valid = identity_key_id_valid},
    {"keys_seen", FIELD_KEYS, false, AT(keys_seen)},
    {"step", FIELD_TEXT, false, AT(step), .valid = message_word_valid},
    {"reason", FIELD_WORDS, false, AT(reason)},
    {"error_code", FIELD_TEXT, false, AT(error_code), .valid = code_valid},
    {"error_class", FIELD_TEXT, false, AT(error_class), .valid = class_valid},
    {"by", FIELD_TEXT, false, AT(by), .valid = message_printable},
    {"at_ms", FIELD_INT, true, AT(at_ms), .most = MESSAGE_TIME_MAX},
    {"next_at_ms", FIELD_INT, false, AT(next_at_ms), .most = MESSAGE_TIME_MAX},
    {"assisted", FIELD_BOOL, false, AT(assisted)},
    {"repair", FIELD_BOOL, false, AT(repair)},
    {"unseen", FIELD_BOOL, false, AT(unseen)},
    {"exposed", FIELD_BOOL, false, AT(exposed)},
};
static const struct form form = {"keyroll.event", fields, ARRAY_LEN(fields), EVENT_MAX_BYTES};

int event_decode(const char *bytes, size_t len, struct event *ret_event, struct message_fault *fault)
{
    return message_decode(&form, bytes, len, ret_event, fault);
}

int event_encode(const struct event *e, struct buf *out)
{
    return message_encode(&form, e, out);
}

const char *event_type_name(int type)
{
    return (unsigned)type < ARRAY_LEN(types) ? types[type] : "unknown";
}

void event_step(const char *name, char out[EVENT_STEP_MAX])
{
    text_copy(out, EVENT_STEP_MAX, name);
    for (char *p = out; *p; p++)
        if (*p == ' ') *p = '-';
}

void event_set_error(struct event *e, int code)
{
    text_copy(e->error_code, sizeof e->error_code, code ? err_name(code) : "");
    text_copy(e->error_class, sizeof e->error_class, code ? err_class_name(err_class(code)) : "");
}

int event_key(const struct event *e, char out[IDENTITY_KEY_MAX])
{
    return identity_key(e->account, e->user, out);
}

static void add(struct event_header_set *out, const char *name, const char *value)
{
    out->headers[out->n++] = (struct kafka_header){name, value, strlen(value)};
}

int event_headers(const struct event *e, const char *source, struct event_header_set *out)
{
    out->n = 0;
    if (event_key(e, out->subject) < 0) return ERR_INVALID;
    snprintf(out->id, sizeof out->id, "%s.%s.%s.%" PRId64, e->job_id, event_type_name(e->type), e->step, e->at_ms);
    snprintf(out->source, sizeof out->source, "/keyroll/%s", source);
    snprintf(out->type, sizeof out->type, TYPE_PREFIX "%s", event_type_name(e->type));
    time_format(e->at_ms, out->time);
    add(out, "ce_specversion", "1.0");
    add(out, "ce_id", out->id);
    add(out, "ce_source", out->source);
    add(out, "ce_type", out->type);
    add(out, "ce_time", out->time);
    add(out, "ce_subject", out->subject);
    add(out, "content-type", "application/json");
    return 0;
}

int event_headers_type(const struct kafka_header *headers, size_t n)
{
    const size_t prefix = strlen(TYPE_PREFIX);
    for (size_t i = 0; i < n; i++) {
        if (strcmp(headers[i].name, "ce_type") != 0 || headers[i].len <= prefix) continue;
        const char *text = headers[i].value;
        if (memcmp(text, TYPE_PREFIX, prefix) != 0) continue;
        for (size_t k = 0; k < ARRAY_LEN(types); k++)
            if (strlen(types[k]) == headers[i].len - prefix &&
                memcmp(types[k], text + prefix, headers[i].len - prefix) == 0)
                return (int)k;
    }
    return -1;
}
