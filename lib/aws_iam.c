/* IAM requests and answers. Everything in an answer is optional in AWS's model, so each operation names what it cannot
 * do without; unknown elements are ignored and any order is accepted. A page may be shorter than asked for while
 * IsTruncated says that more follow; a page without its result element is an error, never an empty list. What an answer
 * says twice, or in words that the model does not have, is not believed: half of it would be. */
#include "lib/aws_iam.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/xml.h"

#include <string.h>
#include <strings.h>

static bool needs_user(enum aws_op op)
{
    return op == AWS_LIST_ACCESS_KEYS || op == AWS_CREATE_ACCESS_KEY || op == AWS_UPDATE_ACCESS_KEY ||
           op == AWS_DELETE_ACCESS_KEY || op == AWS_GET_USER;
}

static bool needs_key(enum aws_op op)
{
    return op == AWS_UPDATE_ACCESS_KEY || op == AWS_DELETE_ACCESS_KEY || op == AWS_ACCESS_KEY_LAST_USED;
}

int aws_iam_check(const struct aws_request *req)
{
    if (needs_user(req->op) && !aws_user_name_valid(req->user)) return ERR_INVALID;
    if (needs_key(req->op) && !aws_key_id_valid(req->key_id)) return ERR_INVALID;
    if (req->op == AWS_UPDATE_ACCESS_KEY && req->status != AWS_KEY_ACTIVE && req->status != AWS_KEY_INACTIVE)
        return ERR_INVALID;
    return 0;
}

static void add_field(struct buf *out, const char *name, const char *value)
{
    (void)buf_adds(out, name); /* the error sticks and is returned by aws_iam_form() */
    (void)buf_add_percent(out, value, strlen(value));
}

int aws_iam_form(const struct aws_request *req, const char *marker, struct buf *out)
{
    (void)buf_adds(out, "Action=");
    (void)buf_adds(out, aws_op_name(req->op));
    (void)buf_adds(out, "&Version=2010-05-08");
    if (needs_user(req->op)) add_field(out, "&UserName=", req->user);
    if (needs_key(req->op)) add_field(out, "&AccessKeyId=", req->key_id);
    if (req->op == AWS_UPDATE_ACCESS_KEY) add_field(out, "&Status=", aws_key_status_name(req->status));
    if (marker) add_field(out, "&Marker=", marker);
    return out->error;
}

struct reading {
    enum aws_op op;
    const char *user; /* NULL: not compared */
    struct aws_result *r;
    struct aws_key *key; /* LIST: the member being read */
    bool result, truncated, truncated_seen, last_used_seen, service_seen, never;
    char *marker;
};

/* Into a field that is empty so far. */
static int copy(char *out, size_t max, const char *text, size_t len)
{
    if (out[0] || len >= max || strlen(text) != len) return ERR_NET_BAD_REPLY;
    memcpy(out, text, len + 1);
    return 0;
}

static int same_user(const struct reading *x, const char *text)
{
    return !x->user || strcasecmp(x->user, text) == 0 ? 0 : ERR_NET_BAD_REPLY;
}

static int read_key(struct aws_key *key, const char *path, const char *text, size_t len)
{
    if (xml_path_ends(path, "AccessKeyId"))
        return aws_key_id_valid(text) ? copy(key->id, sizeof(key->id), text, len) : ERR_NET_BAD_REPLY;
    const bool status = xml_path_ends(path, "Status"), date = xml_path_ends(path, "CreateDate");
    if ((status && key->status != AWS_KEY_STATUS_UNKNOWN) || (date && key->created_ms != TIME_NONE))
        return ERR_NET_BAD_REPLY;
    if (status) key->status = aws_key_status_parse(text);
    if (date) key->created_ms = time_parse(text);
    return 0;
}

/* A word that is not understood must not make half a list the whole one. */
static int read_truncated(struct reading *x, const char *text)
{
    x->truncated = strcmp(text, "true") == 0;
    if (x->truncated_seen || (!x->truncated && strcmp(text, "false") != 0)) return ERR_NET_BAD_REPLY;
    x->truncated_seen = true;
    return 0;
}

static int leaf_list(struct reading *x, const char *path, const char *text, size_t len)
{
    if (x->key && xml_path_ends(path, "member/UserName")) return same_user(x, text);
    if (x->key) return read_key(x->key, path, text, len);
    if (xml_path_ends(path, "ListAccessKeysResult/UserName")) return same_user(x, text);
    if (xml_path_ends(path, "ListAccessKeysResult/IsTruncated")) return read_truncated(x, text);
    if (!xml_path_ends(path, "ListAccessKeysResult/Marker")) return 0;
    if (x->marker) return ERR_NET_BAD_REPLY;
    x->marker = strdup(text);
    return x->marker ? 0 : ERR_NOMEM;
}

static int leaf_create(struct reading *x, const char *path, const char *text, size_t len)
{
    if (xml_path_ends(path, "AccessKey/UserName")) return same_user(x, text);
    if (!xml_path_ends(path, "AccessKey/SecretAccessKey")) return read_key(&x->r->keys[0], path, text, len);
    if (x->r->created_secret || len == 0) return ERR_NET_BAD_REPLY;
    x->r->created_secret = secret_new(text, len);
    return x->r->created_secret ? 0 : ERR_NOMEM;
}

static int leaf_last_used(struct reading *x, const char *path, const char *text, size_t len)
{
    struct aws_result *r = x->r;
    if (xml_path_ends(path, "GetAccessKeyLastUsedResult/UserName")) {
        int rc = same_user(x, text); /* else it is not of the key that was asked about */
        return rc ? rc : copy(r->used_user, sizeof(r->used_user), text, len);
    }
    if (xml_path_ends(path, "AccessKeyLastUsed/ServiceName")) {
        x->never = strcmp(text, "N/A") == 0;
        if (x->service_seen) return ERR_NET_BAD_REPLY;
        x->service_seen = true;
    }
    if (!xml_path_ends(path, "AccessKeyLastUsed/LastUsedDate") || len == 0) return 0;
    if (x->last_used_seen) return ERR_NET_BAD_REPLY;
    x->last_used_seen = true;
    r->used_at_ms = time_parse(text);
    return 0;
}

static int leaf_user(struct reading *x, const char *path, const char *text, size_t len)
{
    struct aws_result *r = x->r;
    if (xml_path_ends(path, "User/UserName")) return same_user(x, text);
    if (xml_path_ends(path, "User/Arn")) return copy(r->identity_arn, sizeof(r->identity_arn), text, len);
    if (xml_path_ends(path, "User/UserId")) return copy(r->identity_user_id, sizeof(r->identity_user_id), text, len);
    return 0;
}

/* One row per operation with an answer: the element that must be there, and who reads its leaves. */
static const struct answer {
    const char *result;
    int (*leaf)(struct reading *x, const char *path, const char *text, size_t len);
} answers[AWS_OPS] = {
    [AWS_LIST_ACCESS_KEYS] = {"ListAccessKeysResult/AccessKeyMetadata", leaf_list},
    [AWS_CREATE_ACCESS_KEY] = {"CreateAccessKeyResult/AccessKey", leaf_create},
    [AWS_UPDATE_ACCESS_KEY] = {"UpdateAccessKeyResponse", NULL},
    [AWS_DELETE_ACCESS_KEY] = {"DeleteAccessKeyResponse", NULL},
    [AWS_ACCESS_KEY_LAST_USED] = {"GetAccessKeyLastUsedResult/AccessKeyLastUsed", leaf_last_used},
    [AWS_GET_USER] = {"GetUserResult/User", leaf_user},
};

static int on_enter(void *arg, const char *path)
{
    struct reading *x = arg;
    if (xml_path_ends(path, answers[x->op].result)) x->result = true;
    if (x->op != AWS_LIST_ACCESS_KEYS || !xml_path_ends(path, "AccessKeyMetadata/member")) return 0;
    if (x->r->n_keys == AWS_KEYS_MAX) return ERR_TOO_LARGE;
    x->key = &x->r->keys[x->r->n_keys];
    *x->key = (struct aws_key){.status = AWS_KEY_STATUS_UNKNOWN, .created_ms = TIME_NONE};
    return 0;
}

static int on_leaf(void *arg, const char *path, const char *text, size_t len)
{
    struct reading *x = arg;
    if (xml_path_ends(path, "ResponseMetadata/RequestId")) {
        if (!x->r->request_id[0] && len < sizeof(x->r->request_id))
            (void)copy(x->r->request_id, sizeof(x->r->request_id), text, len);
        return 0; /* for logs only: a long one is left out */
    }
    return answers[x->op].leaf ? answers[x->op].leaf(x, path, text, len) : 0;
}

static int on_leave(void *arg, const char *path)
{
    struct reading *x = arg;
    if (!x->key || !xml_path_ends(path, "AccessKeyMetadata/member")) return 0;
    if (!x->key->id[0]) return ERR_NET_BAD_REPLY; /* a key that cannot be named cannot be acted upon */
    struct aws_key *known = x->r->keys;
    while (strcmp(known->id, x->key->id) != 0) known++; /* it is at the end, if it is new */
    if (known == x->key)
        x->r->n_keys++;
    else
        *known = *x->key; /* the list changed between two pages */
    x->key = NULL;
    return 0;
}

/* What each answer cannot do without. */
static int check_answer(struct reading *x)
{
    struct aws_result *r = x->r;
    if (!x->result) return ERR_NET_BAD_REPLY;
    switch (x->op) {
    case AWS_LIST_ACCESS_KEYS:
        return x->truncated && (!x->marker || !*x->marker) ? ERR_NET_BAD_REPLY : 0;
    case AWS_CREATE_ACCESS_KEY:
        if (!r->keys[0].id[0] || !r->created_secret) return ERR_NET_BAD_REPLY;
        r->n_keys = 1;
        return 0;
    case AWS_ACCESS_KEY_LAST_USED: /* the date is left out for a key never used; then the service is "N/A" */
        if (x->last_used_seen)
            r->used = r->used_at_ms == TIME_NONE ? AWS_USED_UNKNOWN : AWS_USED_AT;
        else
            r->used = x->never ? AWS_USED_NEVER : AWS_USED_UNKNOWN;
        return 0;
    case AWS_GET_USER:
        return r->identity_arn[0] ? 0 : ERR_NET_BAD_REPLY;
    default:
        return 0;
    }
}

int aws_iam_parse(enum aws_op op, const char *user, const char *body, size_t len, struct aws_result *r,
                  char **ret_marker)
{
    struct reading x = {.op = op, .user = user, .r = r};
    struct xml_handler h = {.enter = on_enter, .leaf = on_leaf, .leave = on_leave, .arg = &x};
    if (op == AWS_CREATE_ACCESS_KEY)
        r->keys[0] = (struct aws_key){.status = AWS_KEY_STATUS_UNKNOWN, .created_ms = TIME_NONE};
    *ret_marker = NULL;
    int rc = xml_read(body, len, &h);
    if (rc == ERR_SYNTAX) rc = ERR_NET_BAD_REPLY;
    if (rc == 0) rc = check_answer(&x);
    if (rc == 0 && x.truncated) *ret_marker = TAKE(x.marker);
    free(x.marker);
    if (rc < 0) {
        secret_free(r->created_secret);
        r->created_secret = NULL;
        r->used = AWS_USED_UNKNOWN;
    }
    return rc;
}
