/* Container credentials: one GET, with the rules of the SDKs: an allow-list for plain http, so that an environment
 * variable cannot send the token abroad; the token file is read for each request, because the kubelet renews it. A
 * failed fetch is tried again by the caller, whose hold-off of a second is the pause between tries. Loop thread only.
 */
#include "lib/aws_container.h"

#include "lib/aws_creds.h"
#include "lib/aws_error.h"
#include "lib/aws_profile.h"
#include "lib/aws_sts.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/json.h"

#include <jansson.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define RELATIVE_HOST "http://169.254.170.2"
#define TIMEOUT_MS    2000
#define TOKEN_MAX     16384
#define URL_MAX       2048

struct request {
    aws_container_fn *done;
    void *arg;
};

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

bool aws_container_configured(void)
{
    return env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI") || env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
}

static bool is_loopback(const char *host, size_t len)
{
    unsigned a, b, c;
    char text[64];
    int end = 0;
    if (len == 0 || len >= sizeof(text)) return false;
    memcpy(text, host, len);
    text[len] = '\0';
    if (strcasecmp(text, "localhost") == 0 || strcmp(text, "[::1]") == 0) return true;
    /* NOLINTNEXTLINE(cert-err34-c): at most three digits each, none can overflow */
    return sscanf(text, "127.%3u.%3u.%3u%n", &a, &b, &c, &end) == 3 && (size_t)end == len && a < 256 && b < 256 &&
           c < 256;
}

bool aws_container_url_allowed(const char *url)
{
    static const char *const hosts[] = {"169.254.170.2", "169.254.170.23", "[fd00:ec2::23]"};
    if (strncmp(url, "https://", 8) == 0 && url[8]) return true;
    if (strncmp(url, "http://", 7) != 0) return false;
    const char *host = url + 7;
    size_t authority = strcspn(host, "/?#\\");
    if (memchr(host, '@', authority)) return false; /* what stands before it only looks like the host */
    size_t len = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    if (len > authority || (len < authority && host[len] != ':')) return false;
    for (size_t i = 0; i < ARRAY_LEN(hosts); i++)
        if (strlen(hosts[i]) == len && strncasecmp(host, hosts[i], len) == 0) return true;
    return is_loopback(host, len);
}

/* ---- the reply ---- */

static void wipe(json_t *root, const char *name)
{
    json_t *value = json_object_get(root, name);
    if (json_is_string(value)) secret_wipe((char *)(uintptr_t)json_string_value(value), json_string_length(value));
}

int aws_container_parse(const char *body, size_t len, struct aws_identity **ret_identity)
{
    json_t *root = NULL;
    if (json_read(body, len, 0, &root, NULL) == ERR_NOMEM) return ERR_NOMEM;
    const char *id = json_string_value(json_object_get(root, "AccessKeyId"));
    const char *secret = json_string_value(json_object_get(root, "SecretAccessKey"));
    const char *token = json_string_value(json_object_get(root, "Token"));
    const char *expires = json_string_value(json_object_get(root, "Expiration"));
    int64_t expires_ms = expires ? time_parse(expires) : TIME_NONE;
    int rc = ERR_NET_BAD_REPLY;
    if (id && *id && secret && *secret && token && *token && expires_ms != TIME_NONE) {
        *ret_identity = aws_identity_new(id, secret, strlen(secret), token, strlen(token), expires_ms);
        rc = *ret_identity ? 0 : ERR_NOMEM;
    }
    wipe(root, "SecretAccessKey");
    wipe(root, "Token");
    json_decref(root);
    return rc;
}

/* What a refusal says: {"code": ..., "message": ...}. */
static void refusal(const struct http_reply *reply, char out[200])
{
    json_t *root = NULL;
    (void)!json_read(reply->body, reply->body_len, 0, &root, NULL); /* NULL: the status alone is told */
    const char *code = json_string_value(json_object_get(root, "code"));
    const char *text = json_string_value(json_object_get(root, "message"));
    char line[200];
    (void)snprintf(line, sizeof(line), "container credentials: HTTP %d %.40s %.100s", reply->status, code ? code : "",
                   text ? text : "");
    aws_text_copy(out, 200, line, strlen(line));
    json_decref(root);
}

static void on_reply(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct request *q = self;
    const struct http_reply *reply = result;
    struct aws_identity *identity = NULL;
    char message[200] = "";
    int err = reply->err;
    if (err) {
        (void)snprintf(message, sizeof(message), "container credentials: %s", err_text(err));
    } else if (reply->status != 200) {
        err = ERR_AWS_CREDENTIALS;
        refusal(reply, message);
    } else {
        err = aws_container_parse(reply->body, reply->body_len, &identity);
        if (err)
            (void)snprintf(message, sizeof(message), "%s",
                           err == ERR_NOMEM ? err_text(err) : "the container endpoint's answer holds no credentials");
    }
    if (err_class(err) == ERR_CLASS_UNKNOWN) err = ERR_AWS_CREDENTIALS; /* nothing was changed by asking */
    q->done(q->arg, err, message, identity);
    free(q);
}

/* ---- the request ---- */

/* *ret_token stays NULL when none is configured. */
static int authorization(struct secret **ret_token, char reason[200])
{
    const char *file = env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"), *text = env("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    int rc = 0;
    if (file)
        rc = aws_secret_file(file, TOKEN_MAX, ret_token);
    else if (text && !(*ret_token = secret_new(text, strlen(text))))
        rc = ERR_NOMEM;
    if (rc < 0) (void)snprintf(reason, 200, "container token file %.120s: %s", file ? file : "", err_text(rc));
    if (rc < 0 || !*ret_token) return rc;
    if (strpbrk(secret_bytes(*ret_token), "\r\n") == NULL) return 0;
    (void)snprintf(reason, 200, "the container authorization token holds a line break");
    return ERR_AWS_NO_CREDENTIALS;
}

static int address(char url[URL_MAX], char reason[200])
{
    const char *relative = env("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    const char *full = env("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    bool fits = relative ? *relative == '/' && snprintf(url, URL_MAX, RELATIVE_HOST "%s", relative) < URL_MAX
                         : snprintf(url, URL_MAX, "%s", full ? full : "") < URL_MAX;
    if (fits && aws_container_url_allowed(url)) return 0;
    (void)snprintf(reason, 200,
                   "AWS_CONTAINER_CREDENTIALS_%s is not allowed: https, loopback, 169.254.170.2, 169.254.170.23 or "
                   "[fd00:ec2::23]",
                   relative ? "RELATIVE_URI" : "FULL_URI");
    return ERR_AWS_NO_CREDENTIALS;
}

int aws_container_fetch(struct http *h, aws_container_fn *done, void *arg, char reason[200])
{
    char url[URL_MAX];
    AUTO_SECRET struct secret *token = NULL;
    int rc = address(url, reason);
    if (rc == 0) rc = authorization(&token, reason);
    if (rc < 0) return rc;
    struct buf line;
    buf_init_secret(&line, TOKEN_MAX + 32);
    if (token) {
        rc = buf_adds(&line, "Authorization: ");
        if (rc == 0) rc = buf_add(&line, secret_bytes(token), secret_len(token));
    }
    struct request *q = rc == 0 ? malloc(sizeof(*q)) : NULL;
    if (q) {
        *q = (struct request){done, arg};
        const char *const headers[] = {token ? line.data : NULL, NULL};
        const struct http_request r = {
            .class = HTTP_OTHER, .method = "GET", .url = url, .headers = headers, .timeout_ms = TIMEOUT_MS};
        rc = http_send(h, &r, (struct ticket){.done = on_reply, .self = q});
        if (rc < 0) free(q);
    } else if (rc == 0) {
        rc = ERR_NOMEM;
    }
    buf_done(&line);
    return rc;
}
