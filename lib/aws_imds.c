/* Three requests, one after the other: token, role, credentials. What the token protects against (a request forged
 * through a proxy or a web application) is the reason never to fall back to version 1. The token is the service's, for
 * this instance only; it is kept for the life that the service gave it, and made anew at the first 401. Where the
 * answer does not come the message says what that usually means, since the hop limit is invisible from inside a
 * container. Limits: no fallback to an expired set while the service is out of order. Loop thread only. */
#include "lib/aws_imds.h"

#include "lib/aws_creds.h"
#include "lib/aws_error.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/json.h"
#include "lib/secret.h"

#include <assert.h>
#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define ENDPOINT_IPV4  "http://169.254.169.254"
#define ENDPOINT_IPV6  "http://[fd00:ec2::254]"
#define TOKEN_PATH     "/latest/api/token"
#define ROLE_PATH      "/latest/meta-data/iam/security-credentials/"
#define TTL_HEADER     "X-aws-ec2-metadata-token-ttl-seconds: "
#define TOKEN_TTL_S    21600 /* the longest there is */
#define TOKEN_MARGIN_S 60
#define TIMEOUT_MS     1000
#define TOKEN_MAX      4096
#define URL_MAX        1024

struct aws_imds {
    struct http *http;
    const struct clock *clock;
    struct secret *token;     /* NULL: none held */
    int64_t token_until_mono; /* ms */
    int refs;
};

enum stage { STAGE_TOKEN, STAGE_ROLE, STAGE_CREDENTIALS };

/* One fetch. Freed when done was called. */
struct request {
    struct aws_imds *m;
    aws_container_fn *done;
    void *arg;
    enum stage stage;
    bool token_retried;
    char endpoint[URL_MAX - sizeof(ROLE_PATH) - AWS_IMDS_ROLE_MAX];
    char role[AWS_IMDS_ROLE_MAX];
};

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

bool aws_imds_configured(void)
{
    const char *off = env("AWS_EC2_METADATA_DISABLED");
    return !off || strcasecmp(off, "true") != 0;
}

int aws_imds_role(const char *body, size_t len, char ret_role[AWS_IMDS_ROLE_MAX])
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-";
    size_t n = 0;
    while (n < len && body[n] && body[n] != '\n' && body[n] != '\r') n++;
    if (n == 0 || n >= AWS_IMDS_ROLE_MAX) return ERR_NET_BAD_REPLY;
    char role[AWS_IMDS_ROLE_MAX];
    memcpy(role, body, n);
    role[n] = '\0';
    if (strspn(role, allowed) != n || strspn(role, ".") == n) return ERR_NET_BAD_REPLY;
    memcpy(ret_role, role, n + 1);
    return 0;
}

struct aws_imds *aws_imds_new(struct http *h, const struct clock *clock)
{
    struct aws_imds *m = calloc(1, sizeof(*m));
    if (m) *m = (struct aws_imds){.http = h, .clock = clock, .refs = 1};
    return m;
}

void aws_imds_unref(struct aws_imds *m)
{
    if (!m || --m->refs > 0) return;
    secret_free(m->token);
    free(m);
}

static void drop_token(struct aws_imds *m)
{
    secret_free(m->token);
    m->token = NULL;
}

static bool token_lives(const struct aws_imds *m)
{
    return m->token && clock_mono_ms(m->clock) < m->token_until_mono;
}

/* ---- ends ---- */

static void end(struct request *q, int err, const char *message, struct aws_identity *identity)
{
    if (err_class(err) == ERR_CLASS_UNKNOWN) err = ERR_AWS_CREDENTIALS; /* nothing was changed by asking */
    q->done(q->arg, err, message, identity);
    aws_imds_unref(q->m);
    free(q);
}

static void end_unanswered(struct request *q, const struct http_reply *reply)
{
    char message[200];
    bool sent = q->stage == STAGE_TOKEN && reply->err == ERR_TIMEOUT_SENT;
    (void)snprintf(message, sizeof(message), "instance metadata at %.60s: %s%s", q->endpoint, err_text(reply->err),
                   sent ? " (in a container its hop limit must be 2)" : "");
    end(q, reply->err == ERR_CANCELLED ? ERR_CANCELLED : ERR_AWS_CREDENTIALS, message, NULL);
}

static void end_refused(struct request *q, const struct http_reply *reply)
{
    char message[200];
    bool off = q->stage == STAGE_TOKEN && reply->status == 403;
    bool no_role = q->stage != STAGE_TOKEN && reply->status == 404;
    static const char *const asked[] = {"session token", "role", "credentials"};
    (void)snprintf(message, sizeof(message), "instance metadata: HTTP %d to the request for a %s%s", reply->status,
                   asked[q->stage],
                   off       ? ": the service is switched off"
                   : no_role ? ": no role is attached to the instance"
                             : "");
    end(q, off ? ERR_AWS_NO_CREDENTIALS : ERR_AWS_CREDENTIALS, message, NULL);
}

/* ---- the three requests ---- */

static void on_reply(void *self, uint64_t id, const void *result);

static int send(struct request *q, const char *method, const char *path, const char *tail, const char *header)
{
    char url[URL_MAX];
    int len = snprintf(url, sizeof(url), "%s%s%s", q->endpoint, path, tail);
    assert(len > 0 && len < URL_MAX);
    const char *const headers[] = {header, NULL};
    const struct http_request r = {
        .class = HTTP_OTHER, .method = method, .url = url, .headers = headers, .timeout_ms = TIMEOUT_MS};
    return http_send(q->m->http, &r, (struct ticket){.done = on_reply, .self = q});
}

static int send_token(struct request *q)
{
    char ttl[64];
    (void)snprintf(ttl, sizeof(ttl), TTL_HEADER "%d", TOKEN_TTL_S);
    q->stage = STAGE_TOKEN;
    return send(q, "PUT", TOKEN_PATH, "", ttl);
}

static int send_get(struct request *q, enum stage stage)
{
    struct buf line;
    buf_init_secret(&line, TOKEN_MAX + 64);
    q->stage = stage;
    int rc = buf_adds(&line, "X-aws-ec2-metadata-token: ");
    if (rc == 0) rc = buf_add(&line, secret_bytes(q->m->token), secret_len(q->m->token));
    if (rc == 0) rc = send(q, "GET", ROLE_PATH, stage == STAGE_ROLE ? "" : q->role, line.data);
    buf_done(&line);
    return rc;
}

/* ---- the three replies ---- */

static int take_token(struct request *q, const struct http_reply *reply)
{
    struct aws_imds *m = q->m;
    if (reply->body_len == 0 || reply->body_len > TOKEN_MAX) return ERR_NET_BAD_REPLY;
    for (size_t i = 0; i < reply->body_len; i++) /* it becomes a header */
        if (reply->body[i] <= ' ' || reply->body[i] > '~') return ERR_NET_BAD_REPLY;
    drop_token(m);
    m->token = secret_new(reply->body, reply->body_len);
    m->token_until_mono = clock_mono_ms(m->clock) + (int64_t)(TOKEN_TTL_S - TOKEN_MARGIN_S) * 1000;
    return m->token ? send_get(q, STAGE_ROLE) : ERR_NOMEM;
}

static int take_role(struct request *q, const struct http_reply *reply)
{
    int rc = aws_imds_role(reply->body, reply->body_len, q->role);
    return rc ? rc : send_get(q, STAGE_CREDENTIALS);
}

/* A reply of status 200 may still say that there are none: {"Code": "AssumeRoleUnauthorizedAccess", "Message": ...}. */
static void take_credentials(struct request *q, const struct http_reply *reply)
{
    struct aws_identity *identity = NULL;
    char message[200] = "", line[200];
    int rc = aws_container_parse(reply->body, reply->body_len, &identity);
    if (rc == ERR_NET_BAD_REPLY) {
        json_t *root = NULL;
        (void)!json_read(reply->body, reply->body_len, 0, &root, NULL); /* NULL: no code is told */
        const char *code = json_string_value(json_object_get(root, "Code"));
        const char *text = json_string_value(json_object_get(root, "Message"));
        (void)snprintf(line, sizeof(line), "instance metadata holds no credentials of role %s: %.40s %.60s", q->role,
                       code ? code : "", text ? text : "");
        aws_text_copy(message, sizeof(message), line, strlen(line));
        json_decref(root);
        rc = ERR_AWS_CREDENTIALS;
    }
    end(q, rc, message, identity);
}

/* True when the request was sent again with a new token. */
static bool renew_token(struct request *q)
{
    if (q->stage == STAGE_TOKEN || q->token_retried) return false;
    q->token_retried = true;
    drop_token(q->m);
    int rc = send_token(q);
    if (rc < 0) end(q, rc, err_text(rc), NULL);
    return true;
}

static void on_reply(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct request *q = self;
    const struct http_reply *reply = result;
    if (reply->err) {
        end_unanswered(q, reply);
        return;
    }
    if (reply->status == 401 && renew_token(q)) return;
    if (reply->status != 200) {
        end_refused(q, reply);
        return;
    }
    if (q->stage == STAGE_CREDENTIALS) {
        take_credentials(q, reply);
        return;
    }
    int rc = q->stage == STAGE_TOKEN ? take_token(q, reply) : take_role(q, reply);
    if (rc < 0) end(q, rc, rc == ERR_NET_BAD_REPLY ? "instance metadata: not such a service" : err_text(rc), NULL);
}

/* ---- the start ---- */

static int endpoint(char *out, size_t cap, char reason[200])
{
    const char *url = env("AWS_EC2_METADATA_SERVICE_ENDPOINT"), *mode = env("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    bool v6 = mode && strcasecmp(mode, "IPv6") == 0;
    if (!url) url = v6 ? ENDPOINT_IPV6 : ENDPOINT_IPV4;
    size_t len = strlen(url);
    while (len && url[len - 1] == '/') len--;
    bool http = strncmp(url, "http://", 7) == 0 ? len > 7 : strncmp(url, "https://", 8) == 0 && len > 8;
    bool fits = len < cap && strcspn(url, "?#@ \r\n") >= len;
    if (mode && !v6 && strcasecmp(mode, "IPv4") != 0) {
        (void)snprintf(reason, 200, "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE is neither IPv4 nor IPv6");
        return ERR_AWS_NO_CREDENTIALS;
    }
    if (!http || !fits) {
        (void)snprintf(reason, 200, "AWS_EC2_METADATA_SERVICE_ENDPOINT is no http or https address");
        return ERR_AWS_NO_CREDENTIALS;
    }
    memcpy(out, url, len);
    out[len] = '\0';
    return 0;
}

int aws_imds_fetch(struct aws_imds *m, aws_container_fn *done, void *arg, char reason[200])
{
    struct request *q = calloc(1, sizeof(*q));
    if (!q) return ERR_NOMEM;
    *q = (struct request){.m = m, .done = done, .arg = arg};
    int rc = endpoint(q->endpoint, sizeof(q->endpoint), reason);
    if (rc == 0) rc = token_lives(m) ? send_get(q, STAGE_ROLE) : send_token(q);
    if (rc == 0)
        m->refs++;
    else
        free(q);
    return rc;
}
