/* Triggers (trigger.h). An event may be wrapped: SNS puts it as text into "Message", CloudEvents as an object into
 * "data" (or base64 into "data_base64", which none of these senders does). Wrappers are opened a few deep and no more.
 */
#include "schema/trigger.h"

#include "lib/err.h"
#include "lib/json.h"
#include "lib/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define WRAPPERS_MAX 3

static int refuse(int rc, struct message_fault *fault, const char *text)
{
    if (fault) text_copy(fault->text, sizeof fault->text, text);
    return rc;
}

/* ---- reading any JSON ---- */

/* The member at a path of names, NULL: not there. */
static const json_t *at(const json_t *o, const char *const *path)
{
    for (; o && *path; path++) o = json_object_get(o, *path);
    return o;
}
#define AT(o, ...) at(o, (const char *const[]){__VA_ARGS__, NULL})

static const char *text_at(const json_t *o, const char *const *path)
{
    const char *text = json_string_value(at(o, path));
    return text ? text : "";
}
#define TEXT(o, ...) text_at(o, (const char *const[]){__VA_ARGS__, NULL})

/* GuardDuty's findings come with names in camelCase, in some feeds in PascalCase. */
static const json_t *either(const json_t *o, const char *name)
{
    char other[64];
    const json_t *v = json_object_get(o, name);
    if (v || !*name) return v;
    snprintf(other, sizeof other, "%c%s", name[0] - 'a' + 'A', name + 1);
    return json_object_get(o, other);
}

static const char *either_text(const json_t *o, const char *name)
{
    const char *text = json_string_value(either(o, name));
    return text ? text : "";
}

/* Takes text over when it is valid; what is not is as if it were not there. */
static void take(char *out, size_t size, const char *text, bool (*valid)(const char *))
{
    out[0] = '\0';
    if (strlen(text) < size && valid(text)) text_copy(out, size, text);
}

/* Texts of others in words that may be logged. */
static void take_words(char *out, size_t size, const char *text)
{
    size_t n = 0;
    for (; *text && n + 1 < size; text++) out[n++] = *text > 0x20 && *text < 0x7f ? *text : '_';
    out[n] = '\0';
}

static void set_kind(struct trigger *t, const char *source, const char *name)
{
    char a[TRIGGER_KIND_MAX / 2], b[TRIGGER_KIND_MAX / 2];
    take_words(a, sizeof a, source);
    take_words(b, sizeof b, name);
    snprintf(t->kind, sizeof t->kind, "%s %s", a[0] ? a : "-", b[0] ? b : "-");
}

/* AKIA is a long-term key of a user; ASIA is one of a role's session, which nobody can rotate
 * (https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-unique-ids). */
static void add_key(struct trigger *t, const char *id)
{
    if (!aws_key_id_valid(id) || strncmp(id, "ASIA", 4) == 0 || t->keys.n == MESSAGE_KEYS_MAX) return;
    for (size_t i = 0; i < t->keys.n; i++)
        if (strcmp(t->keys.ids[i], id) == 0) return;
    text_copy(t->keys.ids[t->keys.n++], MESSAGE_KEY_ID_MAX, id);
}

/* ---- EventBridge ---- */

static int read_health(const json_t *detail, struct trigger *t, struct message_fault *fault)
{
    const json_t *entities = json_object_get(detail, "affectedEntities"), *one;
    size_t i;
    set_kind(t, "aws.health", TEXT(detail, "eventTypeCode"));
    if (strcmp(TEXT(detail, "eventTypeCode"), "AWS_RISK_CREDENTIALS_EXPOSED") != 0) return 0;
    json_array_foreach((json_t *)(uintptr_t)entities, i, one) add_key(t, TEXT(one, "entityValue"));
    /* With the organisation's view the envelope's account is not the affected one: the keys alone count. */
    if (!t->keys.n) return refuse(ERR_INVALID, fault, "affectedEntities: no access key id");
    t->want = TRIGGER_EXPOSED;
    return 0;
}

/* Findings about credentials of a user: stolen, exposed or used by a stranger. Others are told about only. */
static bool is_about_credentials(const char *type)
{
    return strstr(type, "IAMUser") != NULL;
}

static int read_guardduty(const json_t *detail, struct trigger *t, struct message_fault *fault)
{
    const char *type = either_text(detail, "type");
    const json_t *key = either(either(detail, "resource"), "accessKeyDetails");
    set_kind(t, "aws.guardduty", type);
    if (!is_about_credentials(type)) return 0;
    const char *user_type = either_text(key, "userType");
    if (*user_type && strcmp(user_type, "IAMUser") != 0) return 0; /* a role's session: nothing to rotate */
    add_key(t, either_text(key, "accessKeyId"));
    take(t->account, sizeof t->account, either_text(detail, "accountId"), identity_account_valid);
    take(t->user, sizeof t->user, either_text(key, "userName"), identity_user_valid);
    if (!t->keys.n) return refuse(ERR_INVALID, fault, "accessKeyDetails: no long-term access key id");
    t->want = TRIGGER_EXPOSED;
    return 0;
}

/* The session or user name behind the last slash of the caller's ARN. */
static void read_actor(const json_t *detail, struct trigger *t)
{
    const char *arn = TEXT(detail, "userIdentity", "arn"), *slash = strrchr(arn, '/');
    take_words(t->actor, sizeof t->actor, slash ? slash + 1 : arn);
}

static int read_cloudtrail(const json_t *detail, struct trigger *t, struct message_fault *fault)
{
    static const char *const names[] = {"CreateAccessKey", "UpdateAccessKey", "DeleteAccessKey"};
    const char *name = TEXT(detail, "eventName"), *account = TEXT(detail, "recipientAccountId");
    bool known = false;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) known = known || strcmp(names[i], name) == 0;
    set_kind(t, "aws.iam", name);
    if (!known || *TEXT(detail, "errorCode")) return 0; /* a refused call changed nothing */
    if (!*account) account = TEXT(detail, "userIdentity", "accountId");
    const char *user = TEXT(detail, "requestParameters", "userName"); /* requestParameters may be null */
    if (!*user) user = TEXT(detail, "responseElements", "accessKey", "userName");
    if (!*user) user = TEXT(detail, "userIdentity", "userName"); /* a user's call about itself */
    take(t->account, sizeof t->account, account, identity_account_valid);
    take(t->user, sizeof t->user, user, identity_user_valid);
    add_key(t, TEXT(detail, "requestParameters", "accessKeyId"));
    add_key(t, TEXT(detail, "responseElements", "accessKey", "accessKeyId"));
    read_actor(detail, t);
    if (!t->account[0] || !t->user[0]) return refuse(ERR_INVALID, fault, "no account or user of the access key");
    t->want = TRIGGER_LOOK;
    return 0;
}

static int read_eventbridge(const json_t *root, struct trigger *t, struct message_fault *fault)
{
    const char *source = TEXT(root, "source"), *type = TEXT(root, "detail-type");
    const json_t *detail = json_object_get(root, "detail");
    set_kind(t, source, type);
    if (!json_is_object(detail)) return refuse(ERR_INVALID, fault, "detail: not an object");
    /* By what happened, not by who says so: Health sends under several services. */
    if (strcmp(type, "AWS Health Event") == 0) return read_health(detail, t, fault);
    if (strcmp(type, "GuardDuty Finding") == 0) return read_guardduty(detail, t, fault);
    if (strcmp(type, "AWS API Call via CloudTrail") == 0 && strcmp(source, "aws.iam") == 0)
        return read_cloudtrail(detail, t, fault);
    return 0;
}

/* ---- our own form ---- */

static const char *const actions[] = {"rotate", "exposed", "failing"};

struct own {
    int action;
    char licence[IDENTITY_LICENCE_MAX], key_id[AWS_KEY_ID_MAX], by[JOB_BY_MAX];
    char reason[TRIGGER_REASON_MAX];
};
#define FIELD(member) .offset = offsetof(struct own, member), .size = sizeof(((struct own *)0)->member)
static const struct field fields[] = {
    {"action", FIELD_CHOICE, true, FIELD(action), .choices = actions, .n_choices = ARRAY_LEN(actions)},
    {"licence", FIELD_TEXT, false, FIELD(licence), .valid = identity_licence_valid},
    {"key_id", FIELD_TEXT, false, FIELD(key_id), .valid = identity_key_id_valid},
    {"by", FIELD_TEXT, false, FIELD(by), .valid = message_printable},
    {"reason", FIELD_WORDS, true, FIELD(reason)},
};
static const struct form form = {"keyroll.trigger", fields, ARRAY_LEN(fields), TRIGGER_MAX_BYTES};

static int read_own(const json_t *root, struct trigger *t, struct message_fault *fault)
{
    struct own own;
    set_kind(t, "keyroll", "-");
    int rc = message_read(&form, root, &own, fault);
    if (rc < 0) return rc;
    bool exposed = own.action == 1;
    set_kind(t, "keyroll", actions[own.action]);
    if (exposed ? !own.key_id[0] : !own.licence[0])
        return refuse(ERR_INVALID, fault, exposed ? "exposed needs key_id" : "rotate and failing need licence");
    if (own.key_id[0]) add_key(t, own.key_id);
    if (exposed && !t->keys.n) return refuse(ERR_INVALID, fault, "key_id: not a long-term access key");
    memcpy(t->licence, own.licence, sizeof t->licence);
    memcpy(t->actor, own.by, sizeof t->actor);
    memcpy(t->reason, own.reason, sizeof t->reason);
    static const int wants[] = {TRIGGER_ROTATE, TRIGGER_EXPOSED, TRIGGER_LOOK};
    t->want = wants[own.action];
    t->urgent = own.action == 2;
    return 0;
}

/* ---- wrappers ---- */

static bool is_own(const json_t *root)
{
    return strncmp(TEXT(root, "version"), "keyroll.trigger/", strlen("keyroll.trigger/")) == 0;
}

static int read_any(const json_t *root, unsigned depth, struct trigger *t, struct message_fault *fault)
{
    if (!json_is_object(root)) return refuse(ERR_SYNTAX, fault, "not a JSON object");
    if (depth == WRAPPERS_MAX) return refuse(ERR_INVALID, fault, "wrapped too deep");
    if (is_own(root)) return read_own(root, t, fault);
    if (json_object_get(root, "detail-type")) return read_eventbridge(root, t, fault);
    const json_t *sns = json_object_get(root, "Message");
    if (json_is_string(sns) && strcmp(TEXT(root, "Type"), "Notification") == 0) {
        AUTO_JSON json_t *inner = NULL;
        int rc = json_read(json_string_value(sns), json_string_length(sns), JSON_REJECT_DUPLICATES, &inner, NULL);
        if (rc == ERR_NOMEM) return rc;
        return rc < 0 ? refuse(ERR_SYNTAX, fault, "Message: not JSON") : read_any(inner, depth + 1, t, fault);
    }
    if (*TEXT(root, "specversion")) {
        set_kind(t, TEXT(root, "source"), TEXT(root, "type"));
        const json_t *data = json_object_get(root, "data");
        return json_is_object(data) ? read_any(data, depth + 1, t, fault)
                                    : refuse(ERR_INVALID, fault, "data: not a JSON object");
    }
    set_kind(t, "unknown", "");
    return 0;
}

int trigger_decode(const char *bytes, size_t len, struct trigger *ret, struct message_fault *fault)
{
    AUTO_JSON json_t *root = NULL;
    *ret = (struct trigger){.want = TRIGGER_NOTHING};
    int rc = message_parse(&form, bytes, len, &root, fault);
    if (rc == 0) rc = read_any(root, 0, ret, fault);
    if (rc < 0) ret->want = TRIGGER_NOTHING;
    return rc;
}
