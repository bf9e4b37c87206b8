/* STS's Query API, version 2011-06-15: who am I, and become another.
 *
 * GetCallerIdentity needs no permission and cannot be denied. One role exists in every account; the operators and
 * the rotator may assume it (its trust policy), with the ExternalId if one was configured, and their own policy must
 * allow sts:AssumeRole on it. Sessions are remembered as keys with a token and an end.
 * Source: docs.aws.amazon.com/STS/latest/APIReference/ */
#include "tests/sandbox/sts.h"

#include "tests/sandbox/access.h"
#include "tests/sandbox/reply.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *const actions[] = {"GetCallerIdentity", "AssumeRole", "AssumeRoleWithWebIdentity",
                                      "GetAccessKeyInfo"};

const char *sts_action(const char *name)
{
    for (size_t i = 0; i < sizeof(actions) / sizeof(actions[0]); i++)
        if (strcmp(actions[i], name) == 0) return actions[i];
    return NULL;
}

bool sts_unsigned(const char *action)
{
    return strcmp(action, "AssumeRoleWithWebIdentity") == 0;
}

static void get_caller_identity(struct world *w, struct request *r)
{
    struct buf *b = &r->reply.body;
    reply_begin(r, true);
    buf_puts(b, "    ");
    buf_element(b, "Arn", r->caller->arn);
    buf_element(b, "UserId", r->caller->unique_id);
    buf_element(b, "Account", r->account->id);
    buf_putc(b, '\n');
    reply_end(w, r, true);
}

static void get_access_key_info(struct world *w, struct request *r)
{
    const char *id = form_get(&r->params, "AccessKeyId");
    struct key *k = id ? key_find(w, id) : NULL;
    if (!k) {
        reply_error(w, r, 400, "ValidationError", "Unable to resolve access key id.");
        return;
    }
    reply_begin(r, true);
    buf_element(&r->reply.body, "Account", k->user ? k->user->account->id : k->session->account->id);
    reply_end(w, r, true);
}

/* The account of an ARN of our role, or NULL. */
static struct account *role_account(const struct world *w, struct request *r, const char *arn)
{
    for (size_t i = 0; arn && i < w->n_accounts; i++) {
        struct account *a = &w->accounts[i];
        if (strcmp(arn, arena_printf(&r->arena, "arn:aws:iam::%s:role/%s", a->id, w->role_name)) == 0) return a;
    }
    return NULL;
}

static bool valid_session(struct world *w, struct request *r, const char *name, const char *duration)
{
    bool good = name && strlen(name) >= 2 && strlen(name) <= 64;
    for (const char *p = name; good && *p; p++) good = isalnum((unsigned char)*p) || strchr("_+=,.@-", *p);
    if (!good) {
        reply_error(w, r, 400, "ValidationError",
                    "Value at 'roleSessionName' failed to satisfy constraint: Member must "
                    "satisfy regular expression pattern: [\\w+=,.@-]*");
        return false;
    }
    long seconds = duration ? atol(duration) : 3600;
    if (seconds >= 900 && seconds <= 43200) return true;
    reply_error(w, r, 400, "ValidationError",
                "Value at 'durationSeconds' failed to satisfy constraint: Member must "
                "have value between 900 and 43200");
    return false;
}

static void grant(struct world *w, struct request *r, struct account *a)
{
    const char *name = form_get(&r->params, "RoleSessionName"), *duration = form_get(&r->params, "DurationSeconds");
    if (!valid_session(w, r, name, duration)) return;
    struct session *s = must_alloc(sizeof(*s));
    s->token = must_alloc(201);
    rng_text(&w->rng, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/", 198, s->token);
    (void)strcat(s->token, "==");
    s->name = must_dup(name);
    s->role_name = must_dup(w->role_name);
    s->account = a;
    s->expires_ms = r->now_ms + (duration ? atol(duration) : 3600) * 1000;
    struct key *k = key_new_session(w, s);
    struct buf *b = &r->reply.body;
    reply_begin(r, true);
    buf_puts(b, "    <AssumedRoleUser>");
    buf_element(b, "AssumedRoleId", arena_printf(&r->arena, "AROA%.8sKEYROLLRO:%s", a->id + 4, name));
    buf_element(b, "Arn", arena_printf(&r->arena, "arn:aws:sts::%s:assumed-role/%s/%s", a->id, w->role_name, name));
    buf_puts(b, "</AssumedRoleUser>\n    <Credentials>");
    buf_element(b, "AccessKeyId", k->id);
    buf_element(b, "SecretAccessKey", k->secret);
    buf_element(b, "SessionToken", s->token);
    buf_element(b, "Expiration", reply_time(&r->arena, s->expires_ms));
    buf_puts(b, "</Credentials>\n");
    reply_end(w, r, true);
}

static void assume_role(struct world *w, struct request *r)
{
    const char *arn = form_get(&r->params, "RoleArn"), *external = form_get(&r->params, "ExternalId");
    struct account *a = role_account(w, r, arn);
    const struct principal *p = r->caller;
    bool trusted = a && (p->role == ROLE_OPERATOR || p->role == ROLE_ROTATOR);
    if (trusted && w->external_id && (!external || strcmp(external, w->external_id) != 0)) trusted = false;
    if (trusted && access_ask(w, r, "sts:AssumeRole", arn, NULL) != VERDICT_ALLOW) trusted = false;
    if (trusted) {
        grant(w, r, a);
        return;
    }
    reply_error(w, r, 403, "AccessDenied",
                arena_printf(&r->arena,
                             "User: %s is not authorized to perform: "
                             "sts:AssumeRole on resource: %s",
                             p->arn, arn ? arn : ""));
}

static void assume_role_with_web_identity(struct world *w, struct request *r)
{
    const char *token = form_get(&r->params, "WebIdentityToken");
    struct account *a = role_account(w, r, form_get(&r->params, "RoleArn"));
    if (!token || strlen(token) < 4 || strlen(token) > 20000 || !w->web_token || strcmp(token, w->web_token) != 0) {
        reply_error(w, r, 400, "InvalidIdentityToken", "The web identity token provided is invalid.");
        return;
    }
    if (!a) {
        reply_error(w, r, 403, "AccessDenied", "Not authorized to perform sts:AssumeRoleWithWebIdentity");
        return;
    }
    r->account = a;
    grant(w, r, a);
}

void sts_handle(struct world *w, struct request *r)
{
    if (!access_rate(w, r->account, BUCKET_STS, r->now_ms))
        reply_error(w, r, 400, "Throttling", "Rate exceeded");
    else if (strcmp(r->action, "GetCallerIdentity") == 0)
        get_caller_identity(w, r);
    else if (strcmp(r->action, "AssumeRole") == 0)
        assume_role(w, r);
    else if (sts_unsigned(r->action))
        assume_role_with_web_identity(w, r);
    else if (strcmp(r->action, "GetAccessKeyInfo") == 0)
        get_access_key_info(w, r);
    else
        reply_error(w, r, 400, "InvalidAction", "Could not find operation for version 2011-06-15");
}
