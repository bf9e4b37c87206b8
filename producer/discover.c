/* Discovery reads each account with GetAccountAuthorizationDetails (users with their tags, a page of up to a thousand
 * at a time). Where our role may not call it, ListUsers and one ListUserTags per user do the same, slowly: the
 * account's call rate holds for them. Users are chosen by discover_path, discover_prefix and discover_tag; their tags
 * describe them: synergist:licence (else what the user's name has in place of {licence}), :bucket, :instance, :region,
 * :profile, :credentials, :time-zone, :policy. An instance may be a host
 * name alone: https. A tag value cannot hold "#"
 * (https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html), so that a credentials tag "file:PATH" means
 * "file:PATH#LICENCE". Rows are checked by the inventory, as a file's are. */
#include "producer/discover.h"

#include "lib/aws_call.h"
#include "lib/err.h"
#include "lib/xml.h"
#include "producer/map.h"
#include "schema/identity.h"

#include <stdio.h>
#include <string.h>

#define TAG_PREFIX "synergist:"
#define VALUE_MAX  257
#define PAGE_ITEMS "1000"
#define PAGES_MAX  500 /* of one list: half a million users */

enum field { LICENCE, BUCKET, INSTANCE, REGION, PROFILE, CREDENTIALS, TIME_ZONE, POLICY, FIELDS };
static const char *const field_names[FIELDS] = {"licence", "bucket",      "instance",  "region",
                                                "profile", "credentials", "time-zone", "policy"};

/* One user as it is being read. */
struct found {
    char user[AWS_USER_MAX], path[520];
    char value[FIELDS][VALUE_MAX];
    char key[130], tag[VALUE_MAX]; /* the tag at hand */
    unsigned tags_met;             /* bits of discover_tag */
};

struct discover {
    struct loop *loop;
    const struct options *o;
    struct aws_call *aws;
    struct inventory *inv;
    struct map known; /* licences and user keys that the file has, in lower case */
    void (*done)(void *arg, int err, const char *reason);
    void *arg;
    size_t account;                      /* index in inventory_discover */
    enum { DETAILS, USERS, TAGS } phase; /* USERS, TAGS: the slow way */
    struct found now;
    char marker[2048], asked[2048]; /* of the page that comes next; of the one at hand */
    size_t pages;
    bool truncated, result;      /* result: the answer is one to what was asked */
    char (*names)[AWS_USER_MAX]; /* the slow way: users to ask for their tags */
    size_t n_names, at_name;
    int err;
    char reason[400];
};

static const char *account(const struct discover *d)
{
    return d->o->inventory_discover.items[d->account];
}

/* ---- one user ---- */

static bool starts_with(const char *s, const char *prefix)
{
    return !prefix || strncmp(s, prefix, strlen(prefix)) == 0;
}

static void note_tag(const struct discover *d, struct found *u)
{
    const struct settings_list *wanted = &d->o->discover_tag;
    for (size_t i = 0; i < wanted->n && i < 32; i++) {
        const char *eq = strchr(wanted->items[i], '=');
        size_t len = eq ? (size_t)(eq - wanted->items[i]) : strlen(wanted->items[i]);
        if (strlen(u->key) == len && strncmp(u->key, wanted->items[i], len) == 0 &&
            (!eq || strcmp(eq + 1, u->tag) == 0))
            u->tags_met |= 1u << i;
    }
    if (!starts_with(u->key, TAG_PREFIX)) return;
    for (size_t i = 0; i < FIELDS; i++)
        if (strcmp(u->key + strlen(TAG_PREFIX), field_names[i]) == 0) snprintf(u->value[i], VALUE_MAX, "%s", u->tag);
}

/* What the name has in place of {licence}; "" when it does not fit the template. */
static void licence_of_name(const struct discover *d, const char *user, char out[VALUE_MAX])
{
    const char *open = strstr(d->o->user_template, "{licence}"), *rest = open + strlen("{licence}");
    size_t before = (size_t)(open - d->o->user_template), after = strlen(rest), len = strlen(user);
    out[0] = '\0';
    if (len <= before + after || strncmp(user, d->o->user_template, before) != 0 ||
        strcmp(user + len - after, rest) != 0)
        return;
    snprintf(out, VALUE_MAX, "%.*s", (int)(len - before - after), user + before);
}

static bool is_wanted(const struct discover *d, const struct found *u)
{
    size_t n = d->o->discover_tag.n < 32 ? d->o->discover_tag.n : 32;
    unsigned all = n == 32 ? ~0u : (1u << n) - 1;
    return u->user[0] && starts_with(u->user, d->o->discover_prefix) && starts_with(u->path, d->o->discover_path) &&
           (u->tags_met & all) == all;
}

/* A licence, or its user, that a person wrote into the file is taken from there. */
static bool is_known(const struct discover *d, const char *licence, const char *user)
{
    char name[VALUE_MAX], key[IDENTITY_KEY_MAX];
    identity_lower(licence, name, sizeof name);
    return map_get(&d->known, name) || (identity_key(account(d), user, key) == 0 && map_get(&d->known, key));
}

static int add_row(struct discover *d, struct found *u)
{
    char credentials[2 * VALUE_MAX];
    if (!is_wanted(d, u)) return 0;
    if (!u->value[LICENCE][0]) licence_of_name(d, u->user, u->value[LICENCE]);
    if (!u->value[LICENCE][0]) return 0; /* neither tag nor name says which licence it is: not one of ours */
    if (is_known(d, u->value[LICENCE], u->user)) return 0;
    bool add_licence = starts_with(u->value[CREDENTIALS], "file:") && !strchr(u->value[CREDENTIALS], '#');
    snprintf(credentials, sizeof credentials, add_licence ? "%s#%s" : "%s", u->value[CREDENTIALS], u->value[LICENCE]);
    char url[VALUE_MAX + 8];
    bool is_host = u->value[INSTANCE][0] && !strstr(u->value[INSTANCE], "://");
    snprintf(url, sizeof url, "%s%s", is_host ? "https://" : "", u->value[INSTANCE]);
    const struct inventory_row row = {.licence = u->value[LICENCE],
                                      .account = account(d),
                                      .user = u->user,
                                      .bucket = u->value[BUCKET],
                                      .region = u->value[REGION],
                                      .instance_url = url,
                                      .time_zone = u->value[TIME_ZONE],
                                      .policy = u->value[POLICY],
                                      .profile = u->value[PROFILE],
                                      .credentials = credentials};
    return inventory_add(d->inv, &row);
}

static const char *action(const struct discover *d)
{
    return d->phase == DETAILS ? "GetAccountAuthorizationDetails" : d->phase == USERS ? "ListUsers" : "ListUserTags";
}

/* ---- reading replies ---- */

static int on_enter(void *arg, const char *path)
{
    struct discover *d = arg;
    char result[64];
    snprintf(result, sizeof result, "%sResult", action(d));
    if (xml_path_ends(path, result)) d->result = true;
    return 0;
}

/* A word that is not understood must not make half a list the whole one. */
static int read_truncated(struct discover *d, const char *text)
{
    if (d->truncated || (strcmp(text, "true") != 0 && strcmp(text, "false") != 0)) return ERR_NET_BAD_REPLY;
    d->truncated = strcmp(text, "true") == 0;
    return 0;
}

static int on_leaf(void *arg, const char *path, const char *text, size_t len)
{
    struct discover *d = arg;
    struct found *u = &d->now;
    if (xml_path_ends(path, "UserDetailList/member/UserName") || xml_path_ends(path, "Users/member/UserName"))
        snprintf(u->user, sizeof u->user, "%s", text);
    else if (xml_path_ends(path, "UserDetailList/member/Path") || xml_path_ends(path, "Users/member/Path"))
        snprintf(u->path, sizeof u->path, "%s", text);
    else if (xml_path_ends(path, "Tags/member/Key"))
        snprintf(u->key, sizeof u->key, "%s", text);
    else if (xml_path_ends(path, "Tags/member/Value"))
        snprintf(u->tag, sizeof u->tag, "%s", text);
    else if (xml_path_ends(path, "IsTruncated"))
        return read_truncated(d, text);
    else if (xml_path_ends(path, "Marker") && len >= sizeof d->marker)
        return ERR_TOO_LARGE;
    else if (xml_path_ends(path, "Marker"))
        snprintf(d->marker, sizeof d->marker, "%s", text);
    return 0;
}

static int remember_name(struct discover *d)
{
    struct found *u = &d->now;
    if (!starts_with(u->user, d->o->discover_prefix) || !starts_with(u->path, d->o->discover_path)) return 0;
    if (d->n_names % 256 == 0) {
        char(*more)[AWS_USER_MAX] = realloc(d->names, (d->n_names + 256) * sizeof *more);
        if (!more) return ERR_NOMEM;
        d->names = more;
    }
    memcpy(d->names[d->n_names++], u->user, AWS_USER_MAX);
    return 0;
}

static int on_leave(void *arg, const char *path)
{
    struct discover *d = arg;
    int rc = 0;
    if (xml_path_ends(path, "Tags/member")) {
        note_tag(d, &d->now);
        d->now.key[0] = d->now.tag[0] = '\0';
    } else if (xml_path_ends(path, "UserDetailList/member")) {
        rc = add_row(d, &d->now);
        d->now = (struct found){0};
    } else if (xml_path_ends(path, "Users/member")) {
        rc = remember_name(d);
        d->now = (struct found){0};
    }
    return rc;
}

/* ---- calls ---- */

static void ask(struct discover *d);

static void finish(void *arg)
{
    struct discover *d = arg;
    d->done(d->arg, d->err, d->reason);
}

static void fail(struct discover *d, int err, const char *action, const struct aws_result *r)
{
    d->err = err;
    snprintf(d->reason, sizeof d->reason, "discovery in account %s: %s: %s%s%s%s %.150s", account(d), action,
             err_text(err), r && r->code[0] ? " (" : "", r ? r->code : "", r && r->code[0] ? ")" : "",
             r ? r->message : "");
    finish(d);
}

static void next_account(struct discover *d)
{
    free(TAKE(d->names));
    d->n_names = d->at_name = 0;
    d->phase = DETAILS;
    d->marker[0] = '\0';
    if (++d->account < d->o->inventory_discover.n)
        ask(d);
    else
        finish(d);
}

/* One reply was read: what comes next. The users are listed to the end before the first is asked for its tags. */
static void go_on(struct discover *d)
{
    if (d->truncated) {
        ask(d);
        return;
    }
    d->marker[0] = '\0';
    d->pages = 0;
    if (d->phase == USERS && d->n_names > 0)
        d->phase = TAGS;
    else if (d->phase == TAGS)
        d->at_name++;
    if (d->phase == TAGS && d->at_name < d->n_names)
        ask(d);
    else
        next_account(d);
}

/* A page that says that more follow, and not where, or the same again, leaves half a list: what is missing from that
 * would be missing from the fleet. */
static int check_page(struct discover *d)
{
    if (!d->result) return ERR_NET_BAD_REPLY;
    if (!d->truncated) return 0;
    if (!d->marker[0] || strcmp(d->marker, d->asked) == 0) return ERR_NET_BAD_REPLY;
    return ++d->pages == PAGES_MAX ? ERR_TOO_LARGE : 0;
}

static void answered(void *self, uint64_t id, const void *result)
{
    struct discover *d = self;
    const struct aws_raw_result *r = result;
    (void)id;
    memcpy(d->asked, d->marker, sizeof d->asked);
    d->truncated = d->result = false;
    if (r->base.err == ERR_AWS_DENIED && d->phase == DETAILS && !d->asked[0]) {
        d->phase = USERS;
        ask(d);
        return;
    }
    if (r->base.err == ERR_AWS_NO_ENTITY && d->phase == TAGS) { /* deleted since the list */
        go_on(d);
        return;
    }
    if (r->base.err) {
        fail(d, r->base.err, action(d), &r->base);
        return;
    }
    const struct xml_handler h = {.enter = on_enter, .leaf = on_leaf, .leave = on_leave, .arg = d};
    d->marker[0] = '\0';
    if (d->phase != TAGS) d->now = (struct found){0};
    int rc = xml_read(r->body, r->body_len, &h);
    if (rc == 0) rc = check_page(d);
    if (rc == 0 && d->phase == TAGS && !d->truncated) rc = add_row(d, &d->now);
    if (rc < 0)
        fail(d, rc == ERR_SYNTAX ? ERR_NET_BAD_REPLY : rc, action(d), NULL);
    else
        go_on(d);
}

static void add_param(struct buf *form, const char *name, const char *value)
{
    if (!value || !value[0]) return;
    if (form->len) (void)buf_addc(form, '&');
    (void)buf_adds(form, name);
    (void)buf_addc(form, '=');
    (void)buf_add_percent(form, value, strlen(value)); /* errors are sticky: looked at before it is sent */
}

/* The user whose tags are asked for; its path passed the filter already. */
static void begin_user(struct discover *d)
{
    d->now = (struct found){0};
    memcpy(d->now.user, d->names[d->at_name], AWS_USER_MAX);
    snprintf(d->now.path, sizeof d->now.path, "%s", d->o->discover_path ? d->o->discover_path : "/");
}

static void ask(struct discover *d)
{
    AUTO_BUF struct buf form;
    buf_init(&form, 8192);
    if (d->phase == TAGS) {
        if (!d->marker[0]) begin_user(d);
        add_param(&form, "UserName", d->now.user);
    } else {
        add_param(&form, d->phase == USERS ? "PathPrefix" : "Filter.member.1",
                  d->phase == USERS ? d->o->discover_path : "User");
        add_param(&form, "MaxItems", PAGE_ITEMS);
    }
    add_param(&form, "Marker", d->marker);
    int rc = form.error
                 ? form.error
                 : aws_call_raw_iam(d->aws, account(d), action(d), buf_str(&form), (struct ticket){answered, d, 0});
    if (rc == 0) return;
    d->err = rc;
    snprintf(d->reason, sizeof d->reason, "discovery in account %s: %s: %s", account(d), action(d), err_text(rc));
    if (loop_defer(d->loop, finish, d) < 0) finish(d);
}

static void begin(void *arg)
{
    ask(arg);
}

static int learn_known(struct discover *d)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < inventory_count(d->inv); i++) {
        const struct inventory_row *row = inventory_row(d->inv, i);
        char name[VALUE_MAX], key[IDENTITY_KEY_MAX];
        identity_lower(row->licence, name, sizeof name);
        rc = map_put(&d->known, name, d, NULL);
        if (rc == 0 && identity_key(row->account, row->user, key) == 0) rc = map_put(&d->known, key, d, NULL);
    }
    return rc;
}

struct discover *discover_new(struct loop *l, const struct options *o, struct aws_call *aws, struct inventory *inv,
                              void (*done)(void *arg, int err, const char *reason), void *arg)
{
    struct discover *d = calloc(1, sizeof *d);
    if (!d) return NULL;
    *d = (struct discover){.loop = l, .o = o, .aws = aws, .inv = inv, .done = done, .arg = arg};
    if (learn_known(d) == 0 && loop_defer(l, begin, d) == 0) return d;
    discover_free(d);
    return NULL;
}

void discover_free(struct discover *d)
{
    if (!d) return;
    loop_defer_cancel(d->loop, begin, d);
    loop_defer_cancel(d->loop, finish, d);
    map_done(&d->known, NULL);
    free(d->names);
    free(d);
}
