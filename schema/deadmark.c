/* Marks of dead letters (deadmark.h). */
#include "schema/deadmark.h"

#include "lib/err.h"

#include <string.h>

#define NAME "keyroll.deadmark"

static const char *const actions[] = {"replayed", "dropped", "resolved"};

#define AT(member) .offset = offsetof(struct deadmark, member), .size = sizeof(((struct deadmark *)0)->member)

static const struct field fields[] = {
    {"action", FIELD_CHOICE, true, AT(action), .choices = actions, .n_choices = ARRAY_LEN(actions)},
    {"partition", FIELD_INT, true, AT(partition), .most = INT32_MAX},
    {"offset", FIELD_INT, true, AT(offset), .most = MESSAGE_INT_MAX},
    {"job_id", FIELD_TEXT, false, AT(job_id), .valid = message_job_id_valid},
    {"licence", FIELD_TEXT, false, AT(licence), .valid = identity_licence_valid},
    {"account", FIELD_TEXT, false, AT(account), .valid = identity_account_valid},
    {"user", FIELD_TEXT, false, AT(user), .valid = identity_user_valid},
    {"by", FIELD_TEXT, false, AT(by), .valid = message_printable},
    {"reason", FIELD_WORDS, false, AT(reason)},
    {"at_ms", FIELD_INT, true, AT(at_ms), .most = MESSAGE_TIME_MAX},
};
static const struct form form = {NAME, fields, ARRAY_LEN(fields), DEADMARK_MAX_BYTES};

int deadmark_decode(const char *bytes, size_t len, struct deadmark *ret, struct message_fault *fault)
{
    return message_decode(&form, bytes, len, ret, fault);
}

int deadmark_encode(const struct deadmark *m, struct buf *out)
{
    return message_encode(&form, m, out);
}

const char *deadmark_action_name(int action)
{
    return (unsigned)action < ARRAY_LEN(actions) ? actions[action] : "unknown";
}

bool deadmark_is(const char *bytes, size_t len)
{
    static const char start[] = "{\"version\":\"" NAME "/";
    return len >= sizeof start - 1 && memcmp(bytes, start, sizeof start - 1) == 0;
}
