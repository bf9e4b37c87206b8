/* An IAM policy document, enforced.
 *
 * Effect, Action/NotAction, Resource/NotResource with the wildcards * and ?, and Condition with the string, ARN and
 * Bool operators over the keys that a policy for key rotation has a use for. An explicit Deny wins, then an Allow,
 * else the answer is no. Limits: no Principal, no permissions boundary, no session policy; the policy variables are
 * ${aws:username}, ${aws:PrincipalAccount} and ${aws:ResourceTag/...}. */
#include "tests/sandbox/policy.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct policy {
    json_t *statements;
};

struct operator_row {
    const char *name;
    bool negated;
    bool wild;
    bool fold;
};

static const struct operator_row operators[] = {
    {"StringEquals", false, false, false},
    {"StringNotEquals", true, false, false},
    {"StringEqualsIgnoreCase", false, false, true},
    {"StringNotEqualsIgnoreCase", true, false, true},
    {"StringLike", false, true, false},
    {"StringNotLike", true, true, false},
    {"ArnEquals", false, true, false},
    {"ArnNotEquals", true, true, false},
    {"ArnLike", false, true, false},
    {"ArnNotLike", true, true, false},
    {"Bool", false, false, true},
};

/* Does text match a pattern with * and ? ? */
static bool like(const char *pattern, const char *text, bool fold)
{
    const char *star = NULL, *again = NULL;
    while (*text) {
        bool same = fold ? strncasecmp(pattern, text, 1) == 0 : *pattern == *text;
        if (*pattern == '*') {
            star = pattern++;
            again = text;
        } else if (*pattern && (same || *pattern == '?')) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star + 1;
            text = ++again;
        } else {
            return false;
        }
    }
    while (*pattern == '*') pattern++;
    return *pattern == 0;
}

static const char *tag_value(const struct policy_question *q, const char *key)
{
    for (int i = 0; i < q->n_tags; i++)
        if (strcmp(q->tags[i].key, key) == 0) return q->tags[i].value;
    return NULL;
}

/* The value of a condition key, or NULL when the request has none. *ret_known tells a key we do not support. */
static const char *context_value(const struct policy_question *q, const char *key, bool *ret_known)
{
    *ret_known = true;
    if (strcasecmp(key, "aws:PrincipalArn") == 0) return q->principal_arn;
    if (strcasecmp(key, "aws:username") == 0) return q->principal_name;
    if (strcasecmp(key, "aws:PrincipalAccount") == 0) return q->account;
    if (strcasecmp(key, "aws:ResourceAccount") == 0) return q->account;
    if (strcasecmp(key, "aws:SecureTransport") == 0) return q->tls ? "true" : "false";
    if (strncasecmp(key, "aws:ResourceTag/", 16) == 0) return tag_value(q, key + 16);
    if (strncasecmp(key, "iam:ResourceTag/", 16) == 0) return tag_value(q, key + 16);
    *ret_known = false;
    return NULL;
}

/* Replaces ${key} by its value; an unknown or absent one makes the text match nothing. */
static bool expand(const struct policy_question *q, const char *text, char *out, size_t size)
{
    size_t n = 0;
    while (*text && n + 1 < size) {
        const char *close = strncmp(text, "${", 2) == 0 ? strchr(text, '}') : NULL;
        if (!close) {
            out[n++] = *text++;
            continue;
        }
        char key[128];
        bool known = false;
        (void)snprintf(key, sizeof(key), "%.*s", (int)(close - text - 2), text + 2);
        const char *value = context_value(q, key, &known);
        if (!value) return false;
        n += (size_t)snprintf(out + n, size - n, "%s", value);
        if (n >= size) return false;
        text = close + 1;
    }
    out[n] = 0;
    return *text == 0;
}

static size_t list_size(const json_t *j)
{
    return json_is_array(j) ? json_array_size(j) : j ? 1 : 0;
}

static const char *list_text(const json_t *j, size_t i)
{
    return json_string_value(json_is_array(j) ? json_array_get(j, i) : j);
}

static bool any_matches(const json_t *list, const struct policy_question *q, const char *text, bool fold, bool wild)
{
    for (size_t i = 0; i < list_size(list); i++) {
        char pattern[2048];
        if (!expand(q, list_text(list, i), pattern, sizeof(pattern))) continue;
        if (wild ? like(pattern, text, fold) : (fold ? strcasecmp(pattern, text) : strcmp(pattern, text)) == 0)
            return true;
    }
    return false;
}

static const struct operator_row *operator_find(const char *name, bool *ret_if_exists)
{
    size_t len = strlen(name);
    *ret_if_exists = len > 8 && strcmp(name + len - 8, "IfExists") == 0;
    if (*ret_if_exists) len -= 8;
    for (size_t i = 0; i < sizeof(operators) / sizeof(operators[0]); i++)
        if (strlen(operators[i].name) == len && strncmp(operators[i].name, name, len) == 0) return &operators[i];
    return NULL;
}

static bool conditions_hold(json_t *conditions, const struct policy_question *q)
{
    const char *name, *key;
    json_t *keys, *values;
    json_object_foreach(conditions, name, keys)
    {
        bool if_exists = false, known = false;
        const struct operator_row *op = operator_find(name, &if_exists);
        json_object_foreach(keys, key, values)
        {
            const char *text = context_value(q, key, &known);
            if (!text && (if_exists || op->negated)) continue;
            if (!text || any_matches(values, q, text, op->fold, op->wild) == op->negated) return false;
        }
    }
    return true;
}

static bool applies(json_t *s, const struct policy_question *q)
{
    json_t *action = json_object_get(s, "Action"), *resource = json_object_get(s, "Resource");
    if (action && !any_matches(action, q, q->action, true, true)) return false;
    if (!action && any_matches(json_object_get(s, "NotAction"), q, q->action, true, true)) return false;
    if (resource && !any_matches(resource, q, q->resource, false, true)) return false;
    if (!resource && any_matches(json_object_get(s, "NotResource"), q, q->resource, false, true)) return false;
    return conditions_hold(json_object_get(s, "Condition"), q);
}

enum verdict policy_ask(const struct policy *p, const struct policy_question *q)
{
    enum verdict verdict = VERDICT_IMPLICIT_DENY;
    for (size_t i = 0; i < json_array_size(p->statements); i++) {
        json_t *s = json_array_get(p->statements, i);
        if (!applies(s, q)) continue;
        if (strcmp(json_string_value(json_object_get(s, "Effect")), "Deny") == 0) return VERDICT_EXPLICIT_DENY;
        verdict = VERDICT_ALLOW;
    }
    return verdict;
}

/* ---- loading --------------------------------------------------------------------------------------------- */

static bool is_text_list(const json_t *j)
{
    for (size_t i = 0; i < list_size(j); i++)
        if (!list_text(j, i)) return false;
    return list_size(j) > 0;
}

static const char *check_conditions(json_t *conditions)
{
    const char *name, *key;
    json_t *keys, *values;
    struct policy_question nothing = {0};
    json_object_foreach(conditions, name, keys)
    {
        bool if_exists = false, known = false;
        if (!operator_find(name, &if_exists)) return "an unknown condition operator";
        json_object_foreach(keys, key, values)
        {
            (void)context_value(&nothing, key, &known);
            if (!known) return "an unknown condition key";
            if (!is_text_list(values)) return "a condition value that is no string";
        }
    }
    return NULL;
}

static const char *check_statement(json_t *s)
{
    static const char *const members[] = {"Sid",      "Effect",      "Action",   "NotAction",
                                          "Resource", "NotResource", "Condition"};
    const char *effect = json_string_value(json_object_get(s, "Effect")), *name;
    json_t *value;
    json_object_foreach(s, name, value)
    {
        bool known = false;
        for (size_t i = 0; i < sizeof(members) / sizeof(members[0]); i++)
            known = known || strcmp(name, members[i]) == 0;
        if (!known) return "an unknown element";
    }
    if (!effect || (strcmp(effect, "Allow") != 0 && strcmp(effect, "Deny") != 0)) return "no Effect Allow or Deny";
    json_t *action = json_object_get(s, "Action"), *not_action = json_object_get(s, "NotAction");
    json_t *resource = json_object_get(s, "Resource"), *not_resource = json_object_get(s, "NotResource");
    if (!action == !not_action || !is_text_list(action ? action : not_action)) return "not one Action or NotAction";
    if (!resource == !not_resource || !is_text_list(resource ? resource : not_resource))
        return "not one Resource or NotResource";
    return check_conditions(json_object_get(s, "Condition"));
}

struct policy *policy_load(const char *path, char *error, size_t error_size)
{
    json_error_t why;
    json_t *root = json_load_file(path, 0, &why);
    if (!root) {
        (void)snprintf(error, error_size, "%s: %s", path, why.text);
        return NULL;
    }
    json_t *statements = json_object_get(root, "Statement");
    json_t *list = json_is_array(statements) ? json_incref(statements) : json_array();
    if (json_is_object(statements)) (void)json_array_append(list, statements);
    const char *problem = json_array_size(list) ? NULL : "no Statement";
    for (size_t i = 0; i < json_array_size(list) && !problem; i++) problem = check_statement(json_array_get(list, i));
    json_decref(root);
    if (problem) {
        (void)snprintf(error, error_size, "%s: %s", path, problem);
        json_decref(list);
        return NULL;
    }
    struct policy *p = must_alloc(sizeof(*p));
    p->statements = list;
    return p;
}

void policy_free(struct policy *p)
{
    if (!p) return;
    json_decref(p->statements);
    free(p);
}
