/* Our own AWS identity and the roles assumed with it: one slot for ourselves, one per account that has a role.
 * A slot holds a set of credentials, those who wait for one, and at most one fetch at a time, which they share.
 *
 *   get() -> usable? answer : fetch -> { provider chain | AssumeRole with our own set } -> settle -> drain: answer all
 *
 * The provider chain is a table in botocore's order; a row says whether it is configured and starts a fetch, which may
 * end at once (environment, files), at STS (roles, web identity), at the container's endpoint or at the instance's
 * metadata service. Refreshing follows the SDKs: from 15 minutes before expiry in the background, from 10 minutes
 * before everybody waits; for short-lived sets these become three quarters and half of their life. A failed fetch is
 * not tried again for a second, so that thousands of waiting jobs do not storm STS. No failure here has class UNKNOWN:
 * nothing was changed in AWS. Limits: no SSO, no credential_process, no MFA; a profile's chain of roles is four long.
 * Loop thread only. */
#include "lib/aws_creds.h"

#include "lib/aws_container.h"
#include "lib/aws_endpoint.h"
#include "lib/aws_error.h"
#include "lib/aws_imds.h"
#include "lib/aws_profile.h"
#include "lib/aws_sign.h"
#include "lib/aws_sts.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/loop.h"
#include "lib/text.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#define ADVISORY_MS          (INT64_C(15) * 60000)
#define MANDATORY_MS         (INT64_C(10) * 60000)
#define HOLD_OFF_MS          1000
#define ADVISORY_HOLD_OFF_MS 30000 /* a failed refresh ahead of time harms nobody yet */
#define STS_TIMEOUT_MS       10000
#define ROLES_MAX            4
#define TOKEN_MAX            20000 /* AssumeRoleWithWebIdentity's limit */
#define FORM_MAX             ((size_t)128 << 10)
#define HEAD_MAX             ((size_t)32 << 10)

struct waiter {
    STAILQ_ENTRY(waiter) link;
    struct ticket ticket;
};
STAILQ_HEAD(waiters, waiter);

struct slot {
    TAILQ_ENTRY(slot) link;
    struct aws_creds *c;
    struct aws_identity *identity; /* NULL: none yet, or dropped */
    int64_t lifetime_ms;           /* of identity when it was fetched; TIME_NONE: no end */
    struct waiters waiters;
    struct fetch *fetch;  /* NULL: nothing under way */
    bool waits_for_own;   /* an account's slot, until our own identity is there */
    int64_t hold_mono_ms; /* no new fetch before */
    int last_err;
    char last_message[200];
    char account[]; /* "" for our own */
};
struct role {
    char *arn, *external_id, *session_name;
    int duration_s;
};
/* One run of a provider: a chain of STS calls, each signed with what the one before gave. Freed when it settles. */
struct fetch {
    struct slot *slot;            /* NULL: the creds are gone */
    struct aws_identity *signer;  /* NULL: web identity, unsigned */
    struct role roles[ROLES_MAX]; /* assumed in order; the last is what is wanted */
    size_t n_roles, at;
    char *token_file; /* web identity: read anew for each call */
    bool clock_retried, token_retried;
    struct buf form, head;
    const char *headers[8];
};
struct aws_creds {
    struct loop *loop;
    const struct clock *clock;
    struct http *http;
    char *profile, *role_template, *external_id, *session_name;
    bool explicit_profile;
    struct aws_endpoint sts;
    struct aws_sign_keys *keys;
    struct aws_imds *imds;
    struct loop_timer *drain;
    struct slot *own;
    TAILQ_HEAD(, slot) slots;
    int64_t offset_ms; /* STS's clock minus ours */
    bool closing;
    char source[128];
};

static void slot_fetch(struct slot *s);
static int fetch_send(struct fetch *f);

/* ---- time ---- */

static int64_t now_ms(const struct aws_creds *c)
{
    return clock_wall_ms(c->clock) + c->offset_ms;
}

enum freshness { FRESH, ADVISORY, MANDATORY };

static enum freshness freshness(const struct slot *s)
{
    if (!s->identity) return MANDATORY;
    if (s->identity->expires_ms == TIME_NONE) return FRESH;
    int64_t left = s->identity->expires_ms - now_ms(s->c);
    int64_t mandatory = s->lifetime_ms / 2 < MANDATORY_MS ? s->lifetime_ms / 2 : MANDATORY_MS;
    int64_t advisory = s->lifetime_ms / 4 * 3 < ADVISORY_MS ? s->lifetime_ms / 4 * 3 : ADVISORY_MS;
    return left <= mandatory ? MANDATORY : left <= advisory ? ADVISORY : FRESH;
}

/* ---- slots ---- */

static struct slot *slot_new(struct aws_creds *c, const char *account)
{
    size_t len = strlen(account) + 1;
    struct slot *s = calloc(1, sizeof(*s) + len);
    if (!s) return NULL;
    s->c = c;
    STAILQ_INIT(&s->waiters);
    memcpy(s->account, account, len);
    TAILQ_INSERT_TAIL(&c->slots, s, link);
    return s;
}

/* The slot that serves an account: our own where no role is to be assumed. */
static struct slot *slot_find(struct aws_creds *c, const char *account, bool make)
{
    if (!account || !c->role_template) return c->own;
    struct slot *s;
    TAILQ_FOREACH(s, &c->slots, link)
    if (strcmp(s->account, account) == 0) return s;
    return make ? slot_new(c, account) : NULL;
}

static int add_waiter(struct slot *s, struct ticket t)
{
    struct waiter *w = malloc(sizeof(*w));
    if (!w) return ERR_NOMEM;
    w->ticket = t;
    STAILQ_INSERT_TAIL(&s->waiters, w, link);
    return 0;
}

static void answer(struct slot *s, int err, const char *message)
{
    struct waiters ready = STAILQ_HEAD_INITIALIZER(ready);
    STAILQ_CONCAT(&ready, &s->waiters);
    struct aws_creds_result r = {.err = err, .identity = err ? NULL : aws_identity_ref(s->identity)};
    text_copy(r.message, sizeof(r.message), err ? message : "");
    while (!STAILQ_EMPTY(&ready)) {
        struct waiter *w = STAILQ_FIRST(&ready);
        STAILQ_REMOVE_HEAD(&ready, link);
        struct ticket t = w->ticket;
        free(w);
        ticket_complete(t, &r);
    }
    aws_identity_unref(r.identity);
}

/* Answers everybody whose slot has an answer: a set that may be used, or a failure with nothing under way. */
static void on_drain(void *arg)
{
    struct aws_creds *c = arg;
    struct slot *s;
    TAILQ_FOREACH(s, &c->slots, link)
    {
        if (STAILQ_EMPTY(&s->waiters)) continue;
        if (freshness(s) != MANDATORY)
            answer(s, 0, "");
        else if (!s->fetch && !s->waits_for_own)
            answer(s, s->last_err ? s->last_err : ERR_AWS_CREDENTIALS, s->last_message);
    }
}

static void drain_soon(struct aws_creds *c)
{
    if (!c->closing) loop_timer_start(c->drain, 0);
}

/* The key id and the token become parts of headers, which libcurl or we would refuse at each call. */
static bool fits_header(const struct aws_identity *i)
{
    for (const char *p = i->access_key_id; *p; p++)
        if (*p <= ' ' || *p > '~' || *p == '/' || *p == ',') return false;
    const char *token = i->session_token ? secret_bytes(i->session_token) : "";
    for (size_t n = i->session_token ? secret_len(i->session_token) : 0; n > 0; n--)
        if (token[n - 1] <= ' ' || token[n - 1] > '~') return false;
    return true;
}

/* A fetch ended. Takes identity over (err 0). */
static void settle(struct slot *s, int err, const char *message, struct aws_identity *identity)
{
    struct aws_creds *c = s->c;
    int64_t now = now_ms(c);
    if (!err && identity->expires_ms != TIME_NONE && identity->expires_ms <= now) {
        aws_identity_unref(identity);
        err = ERR_AWS_CREDENTIALS;
        message = "the credentials had expired when they were fetched";
    } else if (!err && !fits_header(identity)) {
        aws_identity_unref(identity);
        err = ERR_AWS_CREDENTIALS;
        message = "the credentials hold characters that no header can carry";
    }
    s->last_err = err;
    aws_text_copy(s->last_message, sizeof(s->last_message), message, strlen(message));
    if (err) {
        bool early = freshness(s) == ADVISORY;
        s->hold_mono_ms = clock_mono_ms(c->clock) + (early ? ADVISORY_HOLD_OFF_MS : HOLD_OFF_MS);
    } else {
        aws_identity_unref(s->identity);
        s->identity = identity;
        s->lifetime_ms = identity->expires_ms == TIME_NONE ? TIME_NONE : identity->expires_ms - now;
    }
    drain_soon(c);
}

/* ---- fetches over STS ---- */

static void fetch_free(struct fetch *f)
{
    if (!f) return;
    for (size_t i = 0; i < f->n_roles; i++) {
        free(f->roles[i].arn);
        free(f->roles[i].external_id);
        free(f->roles[i].session_name);
    }
    aws_identity_unref(f->signer);
    free(f->token_file);
    buf_done(&f->form);
    buf_done(&f->head);
    free(f);
}

static void fetch_freep(struct fetch **f)
{
    fetch_free(*f);
}

static struct fetch *fetch_new(struct slot *s, struct aws_identity *signer)
{
    struct fetch *f = calloc(1, sizeof(*f));
    if (!f) return NULL;
    f->slot = s;
    f->signer = aws_identity_ref(signer);
    buf_init_secret(&f->form, FORM_MAX);
    buf_init_secret(&f->head, HEAD_MAX);
    return f;
}

static void fetch_end(struct fetch *f, int err, const char *message, struct aws_identity *identity)
{
    struct slot *s = f->slot;
    s->fetch = NULL;
    settle(s, err, message, identity);
    fetch_free(f);
}

/* RoleSessionName is 2..64 of [\w+=,.@-]: other characters become '-'. */
static char *session_name(const char *wanted)
{
    char *name = strndup(wanted && strlen(wanted) >= 2 ? wanted : "keyroll", 64);
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+=,.@-";
    for (char *p = name; p && *p; p++)
        if (!strchr(allowed, *p)) *p = '-';
    return name;
}

static int add_role(struct fetch *f, const char *arn, const char *external_id, const char *session, int duration_s)
{
    if (f->n_roles == ROLES_MAX) return ERR_TOO_LARGE;
    struct role *r = &f->roles[f->n_roles++];
    r->arn = strdup(arn);
    r->external_id = external_id ? strdup(external_id) : NULL;
    r->session_name = session_name(session);
    r->duration_s = duration_s;
    return r->arn && r->session_name && (!external_id || r->external_id) ? 0 : ERR_NOMEM;
}

static int prepare(void *arg, const char *const **ret_headers)
{
    static const char form_type[] = "Content-Type: application/x-www-form-urlencoded; charset=utf-8";
    struct fetch *f = arg;
    if (!f->slot) return ERR_CANCELLED;
    struct aws_creds *c = f->slot->c;
    size_t n = 0, at = 0;
    if (f->signer) {
        struct aws_sign_header headers[] = {{"Host", c->sts.host},
                                            {"Content-Type", form_type + strlen("Content-Type: ")}};
        struct aws_sign_request r = {.method = "POST",
                                     .path = c->sts.path,
                                     .headers = headers,
                                     .n_headers = 2,
                                     .body = f->form.data,
                                     .body_len = f->form.len,
                                     .region = c->sts.region,
                                     .service = "sts",
                                     .double_encode_path = true,
                                     .normalize_path = true,
                                     .wall_ms = now_ms(c)};
        buf_reset(&f->head);
        int rc =
            aws_sign(c->keys, &r, f->signer->access_key_id, f->signer->secret, f->signer->session_token, &f->head, &n);
        if (rc < 0) return rc;
    }
    const char *line = f->head.data;
    for (size_t i = 0; i < n; i++, line += strlen(line) + 1) f->headers[at++] = line;
    f->headers[at++] = form_type;
    f->headers[at] = NULL;
    *ret_headers = f->headers;
    return 0;
}

static int fetch_form(struct fetch *f)
{
    const struct role *r = &f->roles[f->at];
    struct aws_sts_role role = {r->arn, r->session_name, r->external_id, r->duration_s};
    buf_reset(&f->form);
    if (f->signer) return aws_sts_form_assume(&role, &f->form);
    AUTO_SECRET struct secret *token = NULL;
    int rc = aws_secret_file(f->token_file, TOKEN_MAX, &token);
    return rc ? rc : aws_sts_form_web_identity(&role, token, &f->form);
}

/* Nothing was changed in AWS, so a lost reply or a server failure is no UNKNOWN here. */
static int retriable(int err)
{
    return err_class(err) == ERR_CLASS_UNKNOWN ? ERR_AWS_CREDENTIALS : err;
}

static void learn_clock(struct aws_creds *c, const struct http_reply *reply)
{
    int64_t off = reply->date_ms == TIME_NONE ? 0 : reply->date_ms - now_ms(c);
    if (off > 60000 || off < -60000) c->offset_ms += off;
}

/* STS refused: is one more try worth it? */
static bool should_repeat(struct fetch *f, const struct aws_result *r)
{
    bool token = strcmp(r->code, "InvalidIdentityToken") == 0 || strcmp(r->code, "ExpiredTokenException") == 0 ||
                 strcmp(r->code, "IDPCommunicationError") == 0; /* the token file may have been renewed in between */
    if (!f->signer && token && !f->token_retried) return f->token_retried = true;
    if (r->err == ERR_AWS_CLOCK && !f->clock_retried) return f->clock_retried = true;
    return false;
}

static void on_refusal(struct fetch *f, const struct http_reply *reply)
{
    struct aws_creds *c = f->slot->c;
    struct aws_result r = {0};
    char message[400];
    aws_error_parse(reply->body, reply->body_len, &r, NULL, 0);
    r.err = aws_error_is_clock(&r) ? ERR_AWS_CLOCK : aws_error_map(AWS_OPS, reply->status, r.code);
    if (should_repeat(f, &r)) {
        int rc = fetch_send(f);
        if (rc < 0) fetch_end(f, rc, "", NULL);
        return;
    }
    if (r.err == ERR_AWS_CREDENTIALS && f->slot != c->own && f->signer == c->own->identity)
        aws_creds_invalidate(c, NULL);
    (void)snprintf(message, sizeof(message), "STS for %.60s: HTTP %d %s %s", f->roles[f->at].arn, reply->status, r.code,
                   r.message);
    fetch_end(f, retriable(r.err), message, NULL);
}

static void on_reply(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct fetch *f = self;
    const struct http_reply *reply = result;
    if (!f->slot) {
        fetch_free(f);
        return;
    }
    if (reply->err) {
        char message[200];
        (void)snprintf(message, sizeof(message), "STS: %s: %.120s", err_text(reply->err),
                       reply->detail ? reply->detail : "");
        fetch_end(f, retriable(reply->err), message, NULL);
        return;
    }
    learn_clock(f->slot->c, reply);
    if (reply->status != 200) {
        on_refusal(f, reply);
        return;
    }
    struct aws_identity *identity = NULL;
    int rc = aws_sts_parse_credentials(reply->body, reply->body_len, &identity);
    if (rc < 0 || ++f->at == f->n_roles) {
        fetch_end(f, retriable(rc), rc ? "STS's answer holds no credentials" : "", identity);
        return;
    }
    aws_identity_unref(f->signer);
    f->signer = identity;
    rc = fetch_send(f);
    if (rc < 0) fetch_end(f, rc, "", NULL);
}

/* Sends the STS call of role `at`. An error: nothing was sent, f is still the caller's. */
static int fetch_send(struct fetch *f)
{
    struct aws_creds *c = f->slot->c;
    int rc = fetch_form(f);
    if (rc < 0) return rc;
    struct http_request r = {.class = HTTP_STS,
                             .method = "POST",
                             .url = c->sts.url,
                             .body = f->form.data,
                             .body_len = f->form.len,
                             .body_is_secret = !f->signer,
                             .prepare = prepare,
                             .prepare_arg = f,
                             .timeout_ms = STS_TIMEOUT_MS};
    return http_send(c->http, &r, (struct ticket){.done = on_reply, .self = f});
}

static int fetch_start(struct fetch **f)
{
    int rc = fetch_send(*f);
    if (rc < 0) return rc;
    (*f)->slot->fetch = *f;
    *f = NULL;
    return 0;
}

/* ---- the provider chain ---- */

/* One way to an identity. start: 0 with *ret_identity, 0 with a fetch begun for slot s, or an error with a reason. */
struct provider {
    const char *name;
    bool (*configured)(struct aws_creds *c);
    int (*start)(struct slot *s, struct aws_identity **ret_identity, char reason[200]);
};

static const char *env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

static bool environment_configured(struct aws_creds *c)
{
    return !c->explicit_profile && (env("AWS_ACCESS_KEY_ID") || env("AWS_SECRET_ACCESS_KEY"));
}

static int environment_start(struct slot *s, struct aws_identity **ret_identity, char reason[200])
{
    (void)s;
    const char *id = env("AWS_ACCESS_KEY_ID"), *secret = env("AWS_SECRET_ACCESS_KEY"),
               *token = env("AWS_SESSION_TOKEN");
    const char *expires = env("AWS_CREDENTIAL_EXPIRATION");
    if (!id || !secret) {
        (void)snprintf(reason, 200, "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set");
        return ERR_AWS_NO_CREDENTIALS;
    }
    int64_t expires_ms = expires ? time_parse(expires) : TIME_NONE;
    if (expires && expires_ms == TIME_NONE) {
        (void)snprintf(reason, 200, "AWS_CREDENTIAL_EXPIRATION is no ISO 8601 time");
        return ERR_AWS_NO_CREDENTIALS;
    }
    *ret_identity = aws_identity_new(id, secret, strlen(secret), token, token ? strlen(token) : 0, expires_ms);
    return *ret_identity ? 0 : ERR_NOMEM;
}

static bool profile_has(struct aws_creds *c, bool (*what)(const struct aws_profile *p))
{
    CLEANUP(aws_profile_done) struct aws_profile p = {0};
    return aws_profile_load(c->profile, &p) == 0 && what(&p);
}

static bool is_role(const struct aws_profile *p)
{
    return p->role_arn && !p->web_identity_token_file;
}
static bool is_web_identity(const struct aws_profile *p)
{
    return p->role_arn && p->web_identity_token_file;
}
static bool has_file_keys(const struct aws_profile *p)
{
    return (p->access_key_id || p->secret) && !p->in_config;
}
static bool has_config_keys(const struct aws_profile *p)
{
    return p->in_config;
}

static int identity_of(const struct aws_profile *p, struct aws_identity **ret)
{
    if (!aws_profile_has_keys(p)) return ERR_AWS_NO_CREDENTIALS;
    *ret = aws_identity_new(p->access_key_id, secret_bytes(p->secret), secret_len(p->secret),
                            p->token ? secret_bytes(p->token) : NULL, p->token ? secret_len(p->token) : 0, TIME_NONE);
    return *ret ? 0 : ERR_NOMEM;
}

static bool role_configured(struct aws_creds *c)
{
    return profile_has(c, is_role);
}

/* Follows role_arn and source_profile down to a static pair: roles[] from the top, to be assumed from the bottom. */
static int walk_sources(struct aws_creds *c, struct fetch *f, struct aws_identity **ret_base, char reason[200])
{
    char name[128];
    text_copy(name, sizeof(name), c->profile);
    for (;;) {
        CLEANUP(aws_profile_done) struct aws_profile p = {0};
        int rc = aws_profile_load(name, &p);
        if (rc < 0) return rc;
        bool self = p.source_profile && strcmp(p.source_profile, name) == 0;
        if (p.mfa_serial) (void)snprintf(reason, 200, "profile %.60s wants MFA, which a service cannot give", name);
        if (!p.found) (void)snprintf(reason, 200, "profile %.60s is in no file", name);
        if (!p.found || p.mfa_serial) return ERR_AWS_NO_CREDENTIALS;
        if (p.role_arn) {
            rc = add_role(f, p.role_arn, p.external_id, p.role_session_name ? p.role_session_name : c->session_name,
                          p.duration_s);
            if (rc < 0) return rc;
        }
        if (p.role_arn && p.credential_source && strcmp(p.credential_source, "Environment") == 0)
            return environment_start(NULL, ret_base, reason);
        if (!p.role_arn || self) {
            (void)snprintf(reason, 200, "profile %.60s holds no access key", name);
            return identity_of(&p, ret_base);
        }
        if (!p.source_profile) {
            (void)snprintf(reason, 200, "profile %.60s has role_arn but no source_profile that is supported", name);
            return ERR_AWS_NO_CREDENTIALS;
        }
        text_copy(name, sizeof(name), p.source_profile);
    }
}

static int role_start(struct slot *s, struct aws_identity **ret_identity, char reason[200])
{
    (void)ret_identity;
    struct aws_identity *base = NULL;
    CLEANUP(fetch_freep) struct fetch *f = fetch_new(s, NULL);
    if (!f) return ERR_NOMEM;
    int rc = walk_sources(s->c, f, &base, reason);
    if (rc < 0) return rc;
    f->signer = base;
    for (size_t i = 0, j = f->n_roles - 1; i < j; i++, j--) { /* the deepest first */
        struct role swap = f->roles[i];
        f->roles[i] = f->roles[j];
        f->roles[j] = swap;
    }
    return fetch_start(&f);
}

static bool web_identity_configured(struct aws_creds *c)
{
    bool by_env = !c->explicit_profile && env("AWS_WEB_IDENTITY_TOKEN_FILE");
    return by_env || profile_has(c, is_web_identity);
}

static int web_identity_start(struct slot *s, struct aws_identity **ret_identity, char reason[200])
{
    (void)ret_identity;
    struct aws_creds *c = s->c;
    CLEANUP(aws_profile_done) struct aws_profile p = {0};
    int rc = aws_profile_load(c->profile, &p);
    if (rc < 0) return rc;
    bool by_env = !c->explicit_profile && env("AWS_WEB_IDENTITY_TOKEN_FILE");
    const char *file = by_env ? env("AWS_WEB_IDENTITY_TOKEN_FILE") : p.web_identity_token_file;
    const char *arn = by_env ? env("AWS_ROLE_ARN") : p.role_arn;
    const char *session = by_env ? env("AWS_ROLE_SESSION_NAME") : p.role_session_name;
    if (!arn) {
        (void)snprintf(reason, 200, "AWS_WEB_IDENTITY_TOKEN_FILE is set but AWS_ROLE_ARN is not");
        return ERR_AWS_NO_CREDENTIALS;
    }
    CLEANUP(fetch_freep) struct fetch *f = fetch_new(s, NULL);
    if (!f || !(f->token_file = strdup(file))) return ERR_NOMEM;
    rc = add_role(f, arn, NULL, session ? session : c->session_name, p.duration_s);
    if (rc == 0) rc = fetch_start(&f);
    if (rc < 0) (void)snprintf(reason, 200, "web identity token file %.120s: %s", file, err_text(rc));
    return rc;
}

static bool file_configured(struct aws_creds *c)
{
    return profile_has(c, has_file_keys);
}
static bool config_configured(struct aws_creds *c)
{
    return profile_has(c, has_config_keys);
}

static int file_start(struct slot *s, struct aws_identity **ret_identity, char reason[200])
{
    CLEANUP(aws_profile_done) struct aws_profile p = {0};
    int rc = aws_profile_load(s->c->profile, &p);
    if (rc == 0) rc = identity_of(&p, ret_identity);
    if (rc < 0) (void)snprintf(reason, 200, "profile %.60s of the shared files: %s", s->c->profile, err_text(rc));
    return rc;
}

static bool container_configured(struct aws_creds *c)
{
    return !c->explicit_profile && aws_container_configured();
}

static void on_endpoint(void *arg, int err, const char *message, struct aws_identity *identity)
{
    struct fetch *f = arg;
    if (f->slot) {
        fetch_end(f, err, message, identity);
        return;
    }
    aws_identity_unref(identity);
    fetch_free(f);
}

static int container_start(struct slot *s, struct aws_identity **ret_identity, char reason[200])
{
    (void)ret_identity;
    CLEANUP(fetch_freep) struct fetch *f = fetch_new(s, NULL);
    if (!f) return ERR_NOMEM;
    int rc = aws_container_fetch(s->c->http, on_endpoint, f, reason);
    if (rc < 0) return rc;
    s->fetch = TAKE(f);
    return 0;
}

/* Last: that it is there shows only in the asking, so whatever else is configured comes before it. */
static bool imds_configured(struct aws_creds *c)
{
    return !c->explicit_profile && aws_imds_configured();
}

static int imds_start(struct slot *s, struct aws_identity **ret_identity, char reason[200])
{
    (void)ret_identity;
    CLEANUP(fetch_freep) struct fetch *f = fetch_new(s, NULL);
    if (!f) return ERR_NOMEM;
    int rc = aws_imds_fetch(s->c->imds, on_endpoint, f, reason);
    if (rc < 0) return rc;
    s->fetch = TAKE(f);
    return 0;
}

/* botocore's order (facts: credential chain). */
static const struct provider chain[] = {
    {"environment", environment_configured, environment_start},
    {"assumed role, profile", role_configured, role_start},
    {"web identity", web_identity_configured, web_identity_start},
    {"shared file, profile", file_configured, file_start},
    {"config file, profile", config_configured, file_start},
    {"container endpoint", container_configured, container_start},
    {"instance metadata", imds_configured, imds_start},
};

static const struct provider *provider_of(struct aws_creds *c)
{
    for (size_t i = 0; i < ARRAY_LEN(chain); i++)
        if (chain[i].configured(c)) return &chain[i];
    return NULL;
}

const char *aws_creds_source(struct aws_creds *c)
{
    const struct provider *p = provider_of(c);
    bool named = p && strstr(p->name, "profile");
    (void)snprintf(c->source, sizeof(c->source), "%s%s%s", p ? p->name : "none", named ? " " : "",
                   named ? c->profile : "");
    return c->source;
}

/* Why no provider is configured: a file that cannot be read looks the same as none. */
static const char *why_none(struct aws_creds *c, char reason[200])
{
    CLEANUP(aws_profile_done) struct aws_profile p = {0};
    int rc = aws_profile_load(c->profile, &p);
    if (rc < 0)
        (void)snprintf(reason, 200, "the shared AWS files: %s", err_text(rc));
    else if (p.found)
        (void)snprintf(reason, 200,
                       "profile %.60s holds nothing that is supported (keys, role_arn, web_identity_token_file)",
                       c->profile);
    else if (c->explicit_profile)
        (void)snprintf(reason, 200, "profile %.60s is in no shared file", c->profile);
    else
        (void)snprintf(
            reason, 200,
            "no AWS credentials in the environment, the shared files, a web identity token or a container endpoint, "
            "and AWS_EC2_METADATA_DISABLED is set");
    return reason;
}

static void fetch_own(struct slot *s)
{
    struct aws_identity *identity = NULL;
    char reason[200] = "";
    const struct provider *p = provider_of(s->c);
    if (!p) {
        settle(s, ERR_AWS_NO_CREDENTIALS, why_none(s->c, reason), NULL);
        return;
    }
    int rc = p->start(s, &identity, reason);
    if (rc < 0 || identity) settle(s, rc, reason, identity);
}

/* ---- an account's role ---- */

/* "arn:aws:iam::{account}:role/keyroll" with the account put in. */
static char *role_arn(const char *template, const char *account)
{
    struct buf b;
    buf_init(&b, 2048);
    for (const char *mark; (mark = strstr(template, "{account}")); template = mark + strlen("{account}")) {
        (void)buf_add(&b, template, (size_t)(mark - template));
        (void)buf_adds(&b, account);
    }
    if (buf_adds(&b, template) == 0) return buf_take(&b);
    buf_done(&b);
    return NULL;
}

static void assume_with(struct slot *s, struct aws_identity *own)
{
    struct aws_creds *c = s->c;
    AUTO_FREE char *arn = role_arn(c->role_template, s->account);
    CLEANUP(fetch_freep) struct fetch *f = fetch_new(s, own);
    int rc = arn && f ? add_role(f, arn, c->external_id, c->session_name, 0) : ERR_NOMEM;
    if (rc == 0) rc = fetch_start(&f);
    if (rc < 0) settle(s, rc, err_text(rc), NULL);
}

static void on_own(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct slot *s = self;
    const struct aws_creds_result *r = result;
    s->waits_for_own = false;
    if (s->c->closing) return;
    if (r->err)
        settle(s, r->err, r->message, NULL);
    else
        assume_with(s, r->identity);
}

static void fetch_account(struct slot *s)
{
    struct aws_creds *c = s->c;
    struct aws_identity *own = aws_creds_now(c, NULL);
    if (own) {
        assume_with(s, own);
        return;
    }
    s->waits_for_own = true;
    int rc = aws_creds_get(c, NULL, (struct ticket){.done = on_own, .self = s});
    if (rc == 0) return;
    s->waits_for_own = false;
    settle(s, rc, err_text(rc), NULL);
}

/* Begins a fetch unless one is under way or the last failed just now. */
static void slot_fetch(struct slot *s)
{
    if (s->fetch || s->waits_for_own || clock_mono_ms(s->c->clock) < s->hold_mono_ms) return;
    if (s == s->c->own)
        fetch_own(s);
    else
        fetch_account(s);
}

/* ---- the face ---- */

struct aws_identity *aws_creds_now(struct aws_creds *c, const char *account)
{
    struct slot *s = slot_find(c, account, false);
    if (!s || c->closing) return NULL;
    enum freshness f = freshness(s);
    if (f == ADVISORY) slot_fetch(s);
    return f == MANDATORY ? NULL : s->identity;
}

int aws_creds_get(struct aws_creds *c, const char *account, struct ticket t)
{
    if (c->closing) return ERR_CANCELLED;
    if (account && !aws_account_valid(account)) return ERR_INVALID;
    struct slot *s = slot_find(c, account, true);
    int rc = s ? add_waiter(s, t) : ERR_NOMEM;
    if (rc < 0) return rc;
    if (freshness(s) != FRESH) slot_fetch(s);
    drain_soon(c);
    return 0;
}

void aws_creds_invalidate(struct aws_creds *c, const char *account)
{
    struct slot *s = slot_find(c, account, false);
    if (!s) return;
    aws_identity_unref(s->identity);
    s->identity = NULL;
}

static int copy(char **at, const char *text)
{
    *at = text && *text ? strdup(text) : NULL;
    return !text || !*text || *at ? 0 : ERR_NOMEM;
}

int aws_creds_new(struct loop *l, const struct aws_creds_options *o, struct aws_creds **ret_creds)
{
    struct aws_creds *c = calloc(1, sizeof(*c));
    if (!c) return ERR_NOMEM;
    TAILQ_INIT(&c->slots);
    c->loop = l;
    c->clock = o->clock;
    c->http = o->http;
    c->explicit_profile = o->profile && *o->profile;
    int rc = aws_endpoint_sts(o->region, o->sts_endpoint, &c->sts);
    if (!rc) rc = copy(&c->profile, c->explicit_profile ? o->profile : "default");
    if (!rc) rc = copy(&c->role_template, o->role_template);
    if (!rc) rc = copy(&c->external_id, o->external_id);
    if (!rc) rc = copy(&c->session_name, o->session_name);
    c->keys = aws_sign_keys_new(16);
    c->imds = aws_imds_new(c->http, c->clock);
    c->drain = loop_timer_new(l, on_drain, c);
    c->own = slot_new(c, "");
    if (!rc && (!c->keys || !c->imds || !c->drain || !c->own)) rc = ERR_NOMEM;
    if (rc < 0)
        aws_creds_free(c);
    else
        *ret_creds = c;
    return rc;
}

void aws_creds_free(struct aws_creds *c)
{
    if (!c) return;
    struct slot *s;
    c->closing = true;
    loop_timer_free(c->drain);
    TAILQ_FOREACH(s, &c->slots, link) answer(s, ERR_CANCELLED, "stopping");
    while (!TAILQ_EMPTY(&c->slots)) {
        s = TAILQ_FIRST(&c->slots);
        TAILQ_REMOVE(&c->slots, s, link);
        if (s->fetch) s->fetch->slot = NULL; /* http completes it later, then it frees itself */
        aws_identity_unref(s->identity);
        free(s);
    }
    aws_sign_keys_free(c->keys);
    aws_imds_unref(c->imds);
    free(c->profile);
    free(c->role_template);
    free(c->external_id);
    free(c->session_name);
    free(c);
}
