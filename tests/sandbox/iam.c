/* IAM's Query API, version 2010-05-08: users and access keys.
 *
 * One table of actions: name, which token bucket it draws from, what resource its permission is asked for, and the
 * function that does it. Order of checks as at AWS: rate, parameters,
 * permission, existence, quota. Credential reports and account details are in report.c.
 * Source: docs.aws.amazon.com/IAM/latest/APIReference/ */
#include "tests/sandbox/iam.h"

#include "tests/sandbox/access.h"
#include "tests/sandbox/reply.h"
#include "tests/sandbox/report.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum resource { ON_USER, ON_ANY };

struct iam_row {
    const char *name;
    enum bucket_kind bucket;
    enum resource resource;
    void (*run)(struct world *w, struct request *r);
};

/* ---- paging ---------------------------------------------------------------------------------------------- */

bool iam_page(struct world *w, struct request *r, size_t n, struct page *ret)
{
    const char *marker = form_get(&r->params, "Marker"), *items = form_get(&r->params, "MaxItems");
    char *end = NULL;
    long long max = 100, from = 0;
    if (items) {
        max = strtoll(items, &end, 10);
        if (*end || max < 1 || max > 1000) {
            reply_error(w, r, 400, "ValidationError",
                        "Value at 'maxItems' failed to satisfy constraint: Member must "
                        "have value between 1 and 1000");
            return false;
        }
    }
    if (marker && *marker) {
        from = strncmp(marker, "AAIsbx", 6) == 0 ? strtoll(marker + 6, &end, 16) : -1;
        if (from < 0 || *end) {
            reply_error(w, r, 400, "ValidationError", "Invalid Marker.");
            return false;
        }
    }
    *ret = (struct page){.from = (size_t)from < n ? (size_t)from : n};
    size_t left = n - ret->from, take = left < (size_t)max ? left : (size_t)max;
    if (take > 1 && rng_unit(&w->rng) < w->set.short_pages) take = (size_t)rng_between(&w->rng, 1, (int64_t)take - 1);
    ret->to = ret->from + take;
    ret->truncated = ret->to < n;
    return true;
}

void iam_page_end(struct request *r, const struct page *p)
{
    buf_printf(&r->reply.body, "    <IsTruncated>%s</IsTruncated>\n", p->truncated ? "true" : "false");
    if (p->truncated) buf_printf(&r->reply.body, "    <Marker>AAIsbx%zx</Marker>\n", p->to);
}

/* ---- what is acted on ------------------------------------------------------------------------------------ */

/* The name in UserName, or the caller's own when it is absent or empty. NULL after a refusal. */
static const char *user_name(struct world *w, struct request *r)
{
    const char *name = form_get(&r->params, "UserName");
    if (!name || !*name) {
        if (r->caller->user) return r->caller->user->name;
        reply_error(w, r, 400, "ValidationError", "Must specify userName when calling with non-User credentials");
        return NULL;
    }
    bool good = strlen(name) <= 128;
    for (const char *p = name; *p && good; p++) good = isalnum((unsigned char)*p) || strchr("_+=,.@-", *p);
    if (good) return name;
    reply_error(w, r, 400, "ValidationError",
                "The specified value for userName is invalid. It must contain only "
                "alphanumeric characters and/or the following: +=,.@_-");
    return NULL;
}

static void no_such_user(struct world *w, struct request *r, const char *name)
{
    reply_error(w, r, 404, "NoSuchEntity", arena_printf(&r->arena, "The user with name %s cannot be found.", name));
}

/* The user acted on; NULL after a refusal. Was found by iam_handle. */
static struct user *target(struct world *w, struct request *r)
{
    if (!r->target) no_such_user(w, r, form_get(&r->params, "UserName"));
    return r->target;
}

static struct key *target_key(struct world *w, struct request *r)
{
    struct user *u = target(w, r);
    if (!u) return NULL;
    const char *id = form_get(&r->params, "AccessKeyId");
    if (!id || strlen(id) < 16 || strlen(id) > 128) {
        reply_error(w, r, 400, "ValidationError",
                    "Value at 'accessKeyId' failed to satisfy constraint: Member must "
                    "have length between 16 and 128");
        return NULL;
    }
    struct key *k = key_find(w, id);
    if (k && k->user == u && k->status != KEY_DELETED) return k;
    reply_error(w, r, 404, "NoSuchEntity", arena_printf(&r->arena, "The Access Key with id %s cannot be found.", id));
    return NULL;
}

/* ---- access keys ----------------------------------------------------------------------------------------- */

static const char *status_text(enum key_status s)
{
    return s == KEY_ACTIVE ? "Active" : "Inactive";
}

static void create_access_key(struct world *w, struct request *r)
{
    struct user *u = target(w, r);
    if (!u) return;
    if (user_key_count(u) >= w->set.max_keys) {
        reply_error(
            w, r, 409, "LimitExceeded",
            arena_printf(&r->arena, "Cannot exceed quota for AccessKeysPerUser: %lld", (long long)w->set.max_keys));
        return;
    }
    struct key *k = key_new(w, u, ACTOR_API, r->now_ms);
    if (u->licence) u->licence->creates++;
    w->totals.creates++;
    struct buf *b = &r->reply.body;
    reply_begin(r, true);
    buf_puts(b, "    <AccessKey>\n      ");
    buf_element(b, "UserName", u->name);
    buf_element(b, "AccessKeyId", k->id);
    buf_element(b, "Status", "Active");
    buf_element(b, "SecretAccessKey", k->secret);
    buf_element(b, "CreateDate", reply_time(&r->arena, r->now_ms));
    buf_puts(b, "\n    </AccessKey>\n");
    reply_end(w, r, true);
}

static void update_access_key(struct world *w, struct request *r)
{
    const char *status = form_get(&r->params, "Status");
    bool active = status && strcmp(status, "Active") == 0;
    if (!status || (!active && strcmp(status, "Inactive") != 0)) {
        reply_error(w, r, 400, "ValidationError",
                    "Value at 'status' failed to satisfy constraint: Member must satisfy "
                    "enum value set: [Active, Inactive]");
        return;
    }
    struct key *k = target_key(w, r);
    if (!k) return;
    key_set_status(w, k, active ? KEY_ACTIVE : KEY_INACTIVE, ACTOR_API);
    if (k->user->licence) k->user->licence->updates++;
    w->totals.updates++;
    reply_begin(r, false);
    reply_end(w, r, false);
}

static void delete_access_key(struct world *w, struct request *r)
{
    struct key *k = target_key(w, r);
    if (!k) return;
    key_set_status(w, k, KEY_DELETED, ACTOR_API);
    if (k->user->licence) k->user->licence->deletes++;
    w->totals.deletes++;
    reply_begin(r, false);
    reply_end(w, r, false);
}

struct seen_key {
    const struct key *key;
    enum key_status status;
};

/* The user's keys as a list shows them: up to max, in seen. */
static size_t seen_keys(struct world *w, struct request *r, const struct user *u, struct seen_key *seen, size_t max)
{
    int64_t lag = rng_between(&w->rng, w->set.list_lag_ms.min, w->set.list_lag_ms.max);
    if (r->stale_ms > lag) lag = r->stale_ms;
    size_t n = 0;
    for (const struct key *k = u->keys; k && n < max; k = k->next) {
        enum key_status status;
        if (!key_seen_at(k, world_now_ms(w) - lag, &status)) continue;
        seen[n++] = (struct seen_key){k, status};
    }
    return n;
}

static void list_access_keys(struct world *w, struct request *r)
{
    struct user *u = target(w, r);
    if (!u) return;
    struct seen_key seen[64];
    struct page page;
    size_t n = seen_keys(w, r, u, seen, 64);
    if (!iam_page(w, r, n, &page)) return;
    struct buf *b = &r->reply.body;
    reply_begin(r, true);
    buf_puts(b, "    <AccessKeyMetadata>\n");
    for (size_t i = page.from; i < page.to; i++) {
        buf_puts(b, "      <member>");
        buf_element(b, "UserName", u->name);
        buf_element(b, "AccessKeyId", seen[i].key->id);
        buf_element(b, "Status", status_text(seen[i].status));
        buf_element(b, "CreateDate", reply_time(&r->arena, seen[i].key->events[0].at_ms));
        buf_puts(b, "</member>\n");
    }
    buf_puts(b, "    </AccessKeyMetadata>\n");
    iam_page_end(r, &page);
    reply_end(w, r, true);
}

static void get_access_key_last_used(struct world *w, struct request *r)
{
    const char *id = form_get(&r->params, "AccessKeyId");
    struct key *k = id ? key_find(w, id) : NULL;
    if (!k || !k->user || k->user->account != r->account || k->status == KEY_DELETED) {
        reply_error(w, r, 403, "AccessDenied",
                    arena_printf(&r->arena,
                                 "User: %s is not authorized to perform: iam:GetAccessKeyLastUsed on "
                                 "resource: access key %s",
                                 r->caller->arn, id ? id : ""));
        return;
    }
    struct buf *b = &r->reply.body;
    reply_begin(r, true);
    buf_puts(b, "    ");
    buf_element(b, "UserName", k->user->name);
    buf_puts(b, "\n    <AccessKeyLastUsed>");
    if (k->last_used_ms) buf_element(b, "LastUsedDate", reply_time(&r->arena, k->last_used_ms));
    buf_element(b, "ServiceName", k->last_used_ms ? service_name(k->last_used_service) : "N/A");
    buf_element(b, "Region", !k->last_used_ms ? "N/A" : k->last_used_service == SVC_IAM ? "us-east-1" : w->region);
    buf_puts(b, "</AccessKeyLastUsed>\n");
    reply_end(w, r, true);
}

/* ---- users ----------------------------------------------------------------------------------------------- */

static void put_tags(const struct world *w, struct request *r, const struct user *u)
{
    struct tag tags[USER_TAGS_MAX];
    int n = user_tags(&r->arena, w, u, tags);
    if (!n) return;
    buf_puts(&r->reply.body, "<Tags>");
    for (int i = 0; i < n; i++) {
        buf_puts(&r->reply.body, "<member>");
        buf_element(&r->reply.body, "Key", tags[i].key);
        buf_element(&r->reply.body, "Value", tags[i].value);
        buf_puts(&r->reply.body, "</member>");
    }
    buf_puts(&r->reply.body, "</Tags>");
}

static void put_user(struct request *r, const struct user *u)
{
    struct buf *b = &r->reply.body;
    buf_element(b, "Path", u->path);
    buf_element(b, "UserName", u->name);
    buf_element(b, "UserId", u->id);
    buf_element(b, "Arn", user_arn(&r->arena, u));
    buf_element(b, "CreateDate", reply_time(&r->arena, u->created_ms));
}

static void get_user(struct world *w, struct request *r)
{
    struct user *u = target(w, r);
    if (!u) return;
    reply_begin(r, true);
    buf_puts(&r->reply.body, "    <User>");
    put_user(r, u);
    put_tags(w, r, u);
    buf_puts(&r->reply.body, "</User>\n");
    reply_end(w, r, true);
}

static void list_users(struct world *w, struct request *r)
{
    const struct account *a = r->account;
    const char *prefix = form_get(&r->params, "PathPrefix");
    struct user **chosen = arena_alloc(&r->arena, (a->n_users + 1) * sizeof(struct user *));
    size_t n = 0;
    for (size_t i = 0; i < a->n_users; i++)
        if (!prefix || strncmp(a->users[i]->path, prefix, strlen(prefix)) == 0) chosen[n++] = a->users[i];
    struct page page;
    if (!iam_page(w, r, n, &page)) return;
    reply_begin(r, true);
    buf_puts(&r->reply.body, "    <Users>\n");
    for (size_t i = page.from; i < page.to; i++) {
        buf_puts(&r->reply.body, "      <member>");
        put_user(r, chosen[i]);
        buf_puts(&r->reply.body, "</member>\n");
    }
    buf_puts(&r->reply.body, "    </Users>\n");
    iam_page_end(r, &page);
    reply_end(w, r, true);
}

static void list_user_tags(struct world *w, struct request *r)
{
    struct user *u = target(w, r);
    if (!u) return;
    struct tag tags[USER_TAGS_MAX];
    struct page page;
    size_t n = (size_t)user_tags(&r->arena, w, u, tags);
    if (!iam_page(w, r, n, &page)) return;
    struct buf *b = &r->reply.body;
    reply_begin(r, true);
    buf_puts(b, "    <Tags>");
    for (size_t i = page.from; i < page.to; i++) {
        buf_puts(b, "<member>");
        buf_element(b, "Key", tags[i].key);
        buf_element(b, "Value", tags[i].value);
        buf_puts(b, "</member>");
    }
    buf_puts(b, "</Tags>\n");
    iam_page_end(r, &page);
    reply_end(w, r, true);
}

static void get_account_summary(struct world *w, struct request *r)
{
    struct buf *b = &r->reply.body;
    const struct {
        const char *key;
        long long value;
    } entries[] = {{"Users", (long long)r->account->n_users},
                   {"UsersQuota", 5000},
                   {"AccessKeysPerUserQuota", (long long)w->set.max_keys},
                   {"AccountAccessKeysPresent", 0},
                   {"Roles", 1},
                   {"RolesQuota", 1000}};
    reply_begin(r, true);
    buf_puts(b, "    <SummaryMap>\n");
    for (size_t i = 0; i < sizeof(entries) / sizeof(entries[0]); i++)
        buf_printf(b, "      <entry><key>%s</key><value>%lld</value></entry>\n", entries[i].key, entries[i].value);
    buf_puts(b, "    </SummaryMap>\n");
    reply_end(w, r, true);
}

/* ---- table and dispatch ---------------------------------------------------------------------------------- */

static const struct iam_row rows[] = {
    {"CreateAccessKey", BUCKET_IAM_WRITE, ON_USER, create_access_key},
    {"UpdateAccessKey", BUCKET_IAM_WRITE, ON_USER, update_access_key},
    {"DeleteAccessKey", BUCKET_IAM_WRITE, ON_USER, delete_access_key},
    {"ListAccessKeys", BUCKET_IAM_READ, ON_USER, list_access_keys},
    {"GetAccessKeyLastUsed", BUCKET_IAM_READ, ON_ANY, get_access_key_last_used},
    {"GetUser", BUCKET_IAM_READ, ON_USER, get_user},
    {"ListUsers", BUCKET_IAM_READ, ON_ANY, list_users},
    {"ListUserTags", BUCKET_IAM_READ, ON_USER, list_user_tags},
    {"GetAccountSummary", BUCKET_IAM_READ, ON_ANY, get_account_summary},
    {"GenerateCredentialReport", BUCKET_IAM_READ, ON_ANY, report_generate},
    {"GetCredentialReport", BUCKET_IAM_READ, ON_ANY, report_get},
    {"GetAccountAuthorizationDetails", BUCKET_IAM_READ, ON_ANY, report_details},
};

static const struct iam_row *row_of(const char *name)
{
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    return NULL;
}

const char *iam_action(const char *name)
{
    const struct iam_row *row = row_of(name);
    return row ? row->name : NULL;
}

void iam_target(struct world *w, struct request *r)
{
    const char *name = form_get(&r->params, "UserName"), *id = form_get(&r->params, "AccessKeyId");
    if (r->account && name && *name) r->target = world_user(w, r->account, name);
    struct key *k = !r->target && id && !name ? key_find(w, id) : NULL;
    struct user *u = k ? k->user : r->target;
    r->licence = u ? u->licence : NULL;
}

static bool permitted(struct world *w, struct request *r, const struct iam_row *row)
{
    const char *resource = "*", *action = arena_printf(&r->arena, "iam:%s", row->name);
    if (row->resource == ON_USER) {
        const char *name = user_name(w, r);
        if (!name) return false;
        r->target = world_user(w, r->account, name);
        resource = r->target ? user_arn(&r->arena, r->target)
                             : arena_printf(&r->arena, "arn:aws:iam::%s:user/%s", r->account->id, name);
    }
    enum verdict v = access_ask(w, r, action, resource, r->target);
    if (v == VERDICT_ALLOW) return true;
    reply_error(
        w, r, 403, "AccessDenied",
        arena_printf(&r->arena, "User: %s is not authorized to perform: %s on resource: %s %s", r->caller->arn, action,
                     resource,
                     v == VERDICT_EXPLICIT_DENY
                         ? "with an explicit deny in an identity-based policy"
                         : arena_printf(&r->arena, "because no identity-based policy allows the %s action", action)));
    return false;
}

void iam_handle(struct world *w, struct request *r)
{
    const struct iam_row *row = row_of(r->action);
    if (!row) {
        reply_error(w, r, 400, "InvalidAction", "Could not find operation for version 2010-05-08");
        return;
    }
    if (!access_rate(w, r->account, row->bucket, r->now_ms)) {
        reply_error(w, r, 400, "Throttling", "Rate exceeded");
        return;
    }
    if (permitted(w, r, row)) row->run(w, r);
}
