/* STS's Query protocol, version 2011-06-15. Credentials pass from the XML reader's wiped buffer straight into struct
 * secret. */
#include "lib/aws_sts.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/xml.h"

#include <string.h>

static void add_field(struct buf *out, const char *name, const char *value, size_t len)
{
    (void)buf_adds(out, name); /* errors stick and are returned by the forms */
    (void)buf_add_percent(out, value, len);
}

int aws_sts_form_identity(struct buf *out)
{
    return buf_adds(out, "Action=GetCallerIdentity&Version=2011-06-15");
}

static int add_role(const char *action, const struct aws_sts_role *role, struct buf *out)
{
    (void)buf_adds(out, action);
    add_field(out, "&Version=2011-06-15&RoleArn=", role->arn, strlen(role->arn));
    add_field(out, "&RoleSessionName=", role->session_name, strlen(role->session_name));
    if (role->external_id && *role->external_id)
        add_field(out, "&ExternalId=", role->external_id, strlen(role->external_id));
    if (role->duration_s) (void)buf_addf(out, "&DurationSeconds=%d", role->duration_s);
    return out->error;
}

int aws_sts_form_assume(const struct aws_sts_role *role, struct buf *out)
{
    return add_role("Action=AssumeRole", role, out);
}

int aws_sts_form_web_identity(const struct aws_sts_role *role, const struct secret *token, struct buf *out)
{
    int rc = add_role("Action=AssumeRoleWithWebIdentity", role, out);
    if (rc < 0) return rc;
    add_field(out, "&WebIdentityToken=", secret_bytes(token), secret_len(token));
    return out->error;
}

static int copy(char *out, size_t max, const char *text, size_t len)
{
    if (len >= max || strlen(text) != len) return ERR_NET_BAD_REPLY;
    memcpy(out, text, len + 1);
    return 0;
}

static int identity_leaf(void *arg, const char *path, const char *text, size_t len)
{
    struct aws_result *r = arg;
    if (xml_path_ends(path, "GetCallerIdentityResult/Account"))
        return copy(r->identity_account, sizeof(r->identity_account), text, len);
    if (xml_path_ends(path, "GetCallerIdentityResult/Arn"))
        return copy(r->identity_arn, sizeof(r->identity_arn), text, len);
    if (xml_path_ends(path, "GetCallerIdentityResult/UserId"))
        return copy(r->identity_user_id, sizeof(r->identity_user_id), text, len);
    if (xml_path_ends(path, "ResponseMetadata/RequestId") && !r->request_id[0])
        (void)copy(r->request_id, sizeof(r->request_id), text, len); /* for logs only */
    return 0;
}

int aws_sts_parse_identity(const char *body, size_t len, struct aws_result *r)
{
    struct xml_handler h = {.leaf = identity_leaf, .arg = r};
    int rc = xml_read(body, len, &h);
    if (rc == ERR_SYNTAX) return ERR_NET_BAD_REPLY;
    if (rc < 0) return rc;
    return aws_account_valid(r->identity_account) && r->identity_arn[0] && r->identity_user_id[0] ? 0
                                                                                                  : ERR_NET_BAD_REPLY;
}

struct credentials {
    char key_id[AWS_KEY_ID_MAX];
    struct secret *secret, *token;
    int64_t expires_ms;
};

static int credentials_leaf(void *arg, const char *path, const char *text, size_t len)
{
    struct credentials *c = arg;
    if (xml_path_ends(path, "Credentials/AccessKeyId")) return copy(c->key_id, sizeof(c->key_id), text, len);
    if (xml_path_ends(path, "Credentials/Expiration")) c->expires_ms = time_parse(text);
    bool secret = xml_path_ends(path, "Credentials/SecretAccessKey"),
         token = xml_path_ends(path, "Credentials/SessionToken");
    if (!secret && !token) return 0;
    struct secret **at = secret ? &c->secret : &c->token;
    if (*at || len == 0) return ERR_NET_BAD_REPLY;
    *at = secret_new(text, len);
    return *at ? 0 : ERR_NOMEM;
}

static int make_identity(struct credentials *c, struct aws_identity **ret)
{
    if (!aws_key_id_valid(c->key_id) || !c->secret || !c->token || c->expires_ms == TIME_NONE) return ERR_NET_BAD_REPLY;
    *ret = aws_identity_new(c->key_id, secret_bytes(c->secret), secret_len(c->secret), secret_bytes(c->token),
                            secret_len(c->token), c->expires_ms);
    return *ret ? 0 : ERR_NOMEM;
}

int aws_sts_parse_credentials(const char *body, size_t len, struct aws_identity **ret_identity)
{
    struct credentials c = {.expires_ms = TIME_NONE};
    struct xml_handler h = {.leaf = credentials_leaf, .arg = &c};
    int rc = xml_read(body, len, &h);
    if (rc == ERR_SYNTAX) rc = ERR_NET_BAD_REPLY;
    if (rc == 0) rc = make_identity(&c, ret_identity);
    secret_free(c.secret);
    secret_free(c.token);
    return rc;
}

bool aws_arn_user(const char *arn, char out[AWS_USER_MAX])
{
    const char *p = arn;
    for (int colons = 0; colons < 5; colons++) {
        p = strchr(p, ':');
        if (!p) return false;
        p++;
    }
    if (strncmp(p, "user/", 5) != 0) return false;
    const char *name = strrchr(p, '/') + 1;
    if (!aws_user_name_valid(name)) return false;
    memcpy(out, name, strlen(name) + 1);
    return true;
}

struct aws_identity *aws_identity_new(const char *key_id, const char *secret, size_t secret_len_, const char *token,
                                      size_t token_len, int64_t expires_ms)
{
    struct aws_identity *i = calloc(1, sizeof(*i));
    if (!i) return NULL;
    i->refs = 1;
    i->expires_ms = expires_ms;
    i->access_key_id = strdup(key_id);
    i->secret = secret_new(secret, secret_len_);
    i->session_token = token ? secret_new(token, token_len) : NULL;
    if (i->access_key_id && i->secret && (!token || i->session_token)) return i;
    aws_identity_unref(i);
    return NULL;
}

struct aws_identity *aws_identity_ref(struct aws_identity *i)
{
    if (i) i->refs++;
    return i;
}

void aws_identity_unref(struct aws_identity *i)
{
    if (!i || --i->refs > 0) return;
    free(i->access_key_id);
    secret_free(i->secret);
    secret_free(i->session_token);
    free(i);
}
