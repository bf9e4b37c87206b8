/* Breakers by name (breakers.h). A call under way keeps a small block with its ticket, so the outcome is noted before
 * the step hears of it. Breakers are few (accounts and hosts) and stay for the life of the process. */
#include "worker/breakers.h"

#include "lib/err.h"
#include "lib/fnv.h"
#include "lib/text.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define BUCKETS 1024

struct circuit {
    struct circuit *next; /* in its bucket */
    struct breaker one;
    bool held; /* a job waits to be the probe */
    char name[BREAKER_NAME_MAX];
};
struct breakers {
    struct breakers_options o;
    struct circuit *buckets[BUCKETS];
};
#define WORDS_MAX 300

enum call_kind { CALL_AWS, CALL_INSTANCE, CALL_KAFKA };
struct call {
    struct breakers *b;
    struct circuit *c;
    enum call_kind kind;
    uint64_t subject;
    bool probe;
    struct ticket t;
};

/* ---- names ---- */

static uint64_t hash(const char *s)
{
    return fnv1a_fold(FNV1A_START, s) | 1;
}

static struct circuit *find(const struct breakers *b, const char *name)
{
    for (struct circuit *c = b->buckets[hash(name) % BUCKETS]; c; c = c->next)
        if (!strcmp(c->name, name)) return c;
    return NULL;
}

static struct circuit *need(struct breakers *b, const char *name)
{
    struct circuit *c = find(b, name);
    if (c || !name[0]) return c;
    c = calloc(1, sizeof *c);
    if (!c) return NULL;
    text_copy(c->name, sizeof c->name, name);
    c->one.faded_mono_ms = clock_mono_ms(b->o.clock);
    struct circuit **bucket = &b->buckets[hash(name) % BUCKETS];
    c->next = *bucket;
    *bucket = c;
    return c;
}

void breakers_host_name(const char *url, char out[BREAKER_NAME_MAX])
{
    const char *at = strstr(url, "://");
    out[0] = '\0';
    if (!at) return;
    at += 3;
    size_t len = strcspn(at, "/?#");
    if (!len || len > BREAKER_NAME_MAX - 6 - 1) return;
    snprintf(out, BREAKER_NAME_MAX, "host:%.*s", (int)len, at);
    for (char *p = out; *p; p++) *p = (char)tolower((unsigned char)*p);
}

static void account_name(const char *account, char out[BREAKER_NAME_MAX])
{
    snprintf(out, BREAKER_NAME_MAX, "account:%s", account);
}

/* ---- what errors tell ---- */

int breakers_judge_account(int err)
{
    switch (err) {
    case ERR_AWS_THROTTLED:
    case ERR_AWS_FAILURE:
    case ERR_AWS_DENIED:
    case ERR_AWS_CREDENTIALS:
    case ERR_AWS_NO_CREDENTIALS:
    case ERR_NET_CONNECT:
    case ERR_NET_RESOLVE:
    case ERR_NET_TLS:
    case ERR_NET_LOST:
    case ERR_NET_BAD_REPLY:
    case ERR_TIMEOUT_SENT:
        return -1;
    case ERR_TIMEOUT:
    case ERR_CANCELLED:
    case ERR_NOMEM:
    case ERR_INVALID:
    case ERR_BREAKER_OPEN:
        return 0;
    default:
        return 1;
    }
}

int breakers_judge_host(int err)
{
    switch (err) {
    case ERR_NET_CONNECT:
    case ERR_NET_RESOLVE:
    case ERR_NET_TLS:
    case ERR_NET_LOST:
    case ERR_TIMEOUT_SENT:
        return -1;
    case 0:
    case ERR_INSTANCE_LOGIN:
    case ERR_INSTANCE_REFUSED:
    case ERR_INSTANCE_TEST:
    case ERR_INSTANCE_UNSUPPORTED:
        return 1;
    default:
        return 0; /* an instance that fails or is busy says little about its host */
    }
}

static int judge(enum call_kind kind, const void *result, int *ret_err)
{
    if (kind == CALL_AWS) return breakers_judge_account(*ret_err = ((const struct aws_result *)result)->err);
    if (kind == CALL_INSTANCE) return breakers_judge_host(*ret_err = ((const struct instance_result *)result)->err);
    *ret_err = ((const struct kafka_report *)result)->err;
    return *ret_err == 0 ? 1 : *ret_err == ERR_KAFKA_UNDELIVERED ? -1 : 0;
}

/* ---- calls ---- */

/* What the other side said, for the log: a code alone does not tell a person what to do. */
static void words_of(enum call_kind kind, const void *result, char out[WORDS_MAX])
{
    const char *code = "", *message = "";
    if (kind == CALL_AWS) {
        code = ((const struct aws_result *)result)->code;
        message = ((const struct aws_result *)result)->message;
    } else if (kind == CALL_INSTANCE) {
        code = ((const struct instance_result *)result)->code;
        message = ((const struct instance_result *)result)->message;
    } else if (((const struct kafka_report *)result)->detail) {
        message = ((const struct kafka_report *)result)->detail;
    }
    snprintf(out, WORDS_MAX, "%s%s%s", code, code[0] && message[0] ? ": " : "", message);
}

static void tell(struct breakers *b, const struct circuit *c, enum breaker_state before, int err, const char *words)
{
    if (before != c->one.state && b->o.on_change) b->o.on_change(b->o.arg, c->name, before, c->one.state, err, words);
}

static void on_done(void *self, uint64_t id, const void *result)
{
    struct call *call = self;
    struct breakers *b = call->b;
    struct circuit *c = call->c;
    struct ticket t = call->t;
    enum breaker_state before = c->one.state;
    int err, said = judge(call->kind, result, &err);
    int64_t now = clock_mono_ms(b->o.clock);
    (void)id;
    /* while it is half open only the probe's outcome counts: the others left before */
    if (said && (call->probe || before == BREAKER_CLOSED))
        (void)breaker_note(&c->one, said > 0, call->subject, now, b->o.rng);
    else if (call->probe)
        breaker_unprobed(&c->one, now);
    const enum call_kind kind = call->kind;
    free(call);
    if (err != ERR_CANCELLED && before != c->one.state) {
        char words[WORDS_MAX];
        words_of(kind, result, words);
        tell(b, c, before, err, words);
    }
    ticket_complete(t, result);
}

/* 0 with *ret_call (NULL: no breaker is concerned), ERR_BREAKER_OPEN, ERR_NOMEM. */
static int enter(struct breakers *b, const char *name, enum call_kind kind, uint64_t subject, struct ticket t,
                 struct call **ret_call)
{
    struct circuit *c = need(b, name);
    *ret_call = NULL;
    if (!c) return 0; /* no memory for a breaker: the call tells by itself */
    enum breaker_state before = c->one.state;
    if (!breaker_allows(&c->one, subject, clock_mono_ms(b->o.clock))) return ERR_BREAKER_OPEN;
    bool probe = c->one.state == BREAKER_HALF_OPEN;
    struct call *call = malloc(sizeof *call);
    if (!call) {
        if (probe) breaker_unprobed(&c->one, clock_mono_ms(b->o.clock));
        return ERR_NOMEM;
    }
    *call = (struct call){b, c, kind, subject, probe, t};
    *ret_call = call;
    tell(b, c, before, 0, "");
    return 0;
}

/* The edge took it, or nothing happened: then the block goes. */
static int entered(struct call *call, int rc)
{
    if (rc == 0 || !call) return rc;
    if (call->probe) breaker_unprobed(&call->c->one, clock_mono_ms(call->b->o.clock));
    free(call);
    return rc;
}

static int aws_call(void *self, const struct aws_request *req, struct ticket t)
{
    struct breakers *b = self;
    char name[BREAKER_NAME_MAX];
    struct call *call;
    if (req->probe_secret || !req->account || req->op == AWS_CALLER_IDENTITY)
        return b->o.aws.call(b->o.aws.self, req, t); /* says something about the pair, not about the account */
    account_name(req->account, name);
    int rc = enter(b, name, CALL_AWS, hash(req->user ? req->user : "-"), t, &call);
    if (rc < 0) return rc;
    return entered(call, b->o.aws.call(b->o.aws.self, req, call ? (struct ticket){on_done, call, 0} : t));
}

static int instance_call(void *self, const struct instance_request *req, struct ticket t)
{
    struct breakers *b = self;
    char name[BREAKER_NAME_MAX];
    struct call *call;
    breakers_host_name(req->target.url ? req->target.url : "", name);
    int rc = enter(b, name, CALL_INSTANCE, hash(req->target.licence ? req->target.licence : "-"), t, &call);
    if (rc < 0) return rc;
    return entered(call, b->o.instance.call(b->o.instance.self, req, call ? (struct ticket){on_done, call, 0} : t));
}

static bool instance_abilities(void *self, const char *profile, struct instance_abilities *ret)
{
    struct breakers *b = self;
    return b->o.instance.abilities(b->o.instance.self, profile, ret);
}

/* Messages always go: they are how a job ends. The steps ask kafka_down() before they begin one. */
static int kafka_produce(void *self, const struct kafka_message_out *m, struct ticket t)
{
    struct breakers *b = self;
    struct circuit *c = need(b, "kafka");
    struct call *call = c ? malloc(sizeof *call) : NULL;
    if (!call) return b->o.kafka.produce(b->o.kafka.self, m, t);
    enum breaker_state before = c->one.state;
    char subject[IDENTITY_KEY_MAX];
    snprintf(subject, sizeof subject, "%.*s", (int)(m->key_len < sizeof subject ? m->key_len : 0),
             (const char *)m->key);
    (void)breaker_allows(&c->one, hash(subject), clock_mono_ms(b->o.clock));
    *call = (struct call){b, c, CALL_KAFKA, hash(subject), c->one.state == BREAKER_HALF_OPEN, t};
    int rc = b->o.kafka.produce(b->o.kafka.self, m, (struct ticket){on_done, call, 0});
    tell(b, c, before, 0, "");
    return entered(call, rc);
}

struct aws_port breakers_aws(struct breakers *b)
{
    return (struct aws_port){b, aws_call};
}

struct instance_port breakers_instance(struct breakers *b)
{
    return (struct instance_port){.self = b, .call = instance_call, .abilities = instance_abilities};
}

struct kafka_port breakers_kafka(struct breakers *b)
{
    return (struct kafka_port){b, kafka_produce};
}

/* ---- what the steps ask ---- */

static bool is_shut(struct breakers *b, const char *name, const char *subject)
{
    const struct circuit *c = name[0] ? find(b, name) : NULL;
    if (!c || c->one.state == BREAKER_CLOSED) return false;
    return c->one.state == BREAKER_HALF_OPEN || !breaker_would_allow(&c->one, hash(subject), clock_mono_ms(b->o.clock));
}

static bool port_blocked(void *self, const struct job *j, char name[BREAKER_NAME_MAX])
{
    struct breakers *b = self;
    account_name(j->account, name);
    if (is_shut(b, name, j->user)) return true;
    breakers_host_name(j->instance_url, name);
    return is_shut(b, name, j->licence);
}

static bool port_blames(void *self, const struct job *j, int err, char name[BREAKER_NAME_MAX])
{
    struct breakers *b = self;
    int64_t now = clock_mono_ms(b->o.clock);
    struct circuit *c;
    if (err == ERR_BREAKER_OPEN && port_blocked(b, j, name)) return true;
    account_name(j->account, name);
    c = find(b, name);
    if (err == ERR_BREAKER_OPEN && c && c->one.state != BREAKER_CLOSED) return true;
    bool aws_only = err == ERR_AWS_THROTTLED || err == ERR_AWS_FAILURE || err == ERR_AWS_DENIED ||
                    err == ERR_AWS_CREDENTIALS || err == ERR_AWS_NO_CREDENTIALS;
    if (c && breakers_judge_account(err) < 0 && breaker_suspects(&c->one, aws_only, now)) return true;
    breakers_host_name(j->instance_url, name);
    c = find(b, name);
    if (err == ERR_BREAKER_OPEN) return true;
    return c && breakers_judge_host(err) < 0 && breaker_suspects(&c->one, false, now);
}

static bool port_kafka_down(void *self)
{
    return is_shut(self, "kafka", "");
}

struct breaker_port breakers_port(struct breakers *b)
{
    return (struct breaker_port){b, port_blocked, port_blames, port_kafka_down};
}

bool breakers_hold(struct breakers *b, const char *name, int64_t *ret_wait_ms)
{
    struct circuit *c = find(b, name);
    if (!c || c->held) return false;
    c->held = true;
    *ret_wait_ms = breaker_wait_ms(&c->one, clock_mono_ms(b->o.clock));
    if (*ret_wait_ms < 1) *ret_wait_ms = c->one.state == BREAKER_CLOSED ? BREAKER_WAIT_MS : 1000;
    return true;
}

void breakers_let_go(struct breakers *b, const char *name)
{
    struct circuit *c = find(b, name);
    if (c) c->held = false;
}

void breakers_close(struct breakers *b, const char *name)
{
    struct circuit *c = find(b, name);
    if (!c) return;
    enum breaker_state before = c->one.state;
    if (breaker_close(&c->one, clock_mono_ms(b->o.clock))) tell(b, c, before, ERR_CANCELLED, "");
}

void breakers_each(struct breakers *b, void (*fn)(void *arg, const char *name, const struct breaker *one), void *arg)
{
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct circuit *c = b->buckets[i]; c; c = c->next) fn(arg, c->name, &c->one);
}

size_t breakers_open(const struct breakers *b)
{
    size_t n = 0;
    for (size_t i = 0; i < BUCKETS; i++)
        for (const struct circuit *c = b->buckets[i]; c; c = c->next) n += c->one.state != BREAKER_CLOSED;
    return n;
}

int breakers_new(const struct breakers_options *o, struct breakers **ret_breakers)
{
    struct breakers *b = calloc(1, sizeof *b);
    if (!b) return ERR_NOMEM;
    b->o = *o;
    *ret_breakers = b;
    return 0;
}

void breakers_free(struct breakers *b)
{
    if (!b) return;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (b->buckets[i]) {
            struct circuit *c = b->buckets[i];
            b->buckets[i] = c->next;
            breaker_done(&c->one);
            free(c);
        }
    }
    free(b);
}
