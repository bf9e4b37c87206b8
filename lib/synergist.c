/* The real Synergist edge. A call of lib/instance.h becomes one or a few requests, walked by stage: each stage has a
 * function that fills its form and one that judges the reply and names the next stage. The order is short enough to
 * state here:
 *
 *   VERSION    version
 *   WRITE_KEY  [version: the record's identifier] [record: its version number] write
 *   READ_KEY   read back, else list [, details]: the presigned URL's key
 *   TEST       the instance's test call, else list [, details] and fetch: a GET of the presigned URL
 *
 * The port retries nothing and sets no timer: attempts and backoff are the caller's, timeouts are http's. Calls to one
 * instance are queued in its lane (address and licence) and go one at a time, since nobody documented how many an
 * instance stands. A call (struct op) is one heap block with its own copies; it outlives the client if http still holds
 * its request when the client is freed, and goes when that request completes. Limits: one record is written; replies up
 * to 1 MiB; a bare 404 to a read-back or a test counts as "no such call" for the way on to the presigned URL only (see
 * lib/synergist_reply.c for what a write makes of it). */
#include "lib/synergist.h"

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fnv.h"
#include "lib/http.h"
#include "lib/loop.h"
#include "lib/presigned.h"
#include "lib/synergist_reply.h"
#include "lib/synergist_request.h"
#include "lib/text.h"
#include "lib/trace.h"

#include <assert.h>
#include <string.h>
#include <strings.h>

#define OP_MAGIC          0x5e9e5257u
#define LANE_BUCKETS      4096u
#define QUEUE_MAX         16
#define FORM_BYTES_MAX    ((size_t)65536)
#define REPLY_BYTES_MAX   ((size_t)1 << 20)
#define FETCH_BYTES_MAX   ((size_t)65536) /* an S3 error is under 2 KiB; our Range asks for one byte */
#define FIELD_MAX         256
#define QUEUE_TIME_MAX_MS 600000

enum stage {
    STAGE_VERSION,
    STAGE_RECORD, /* the read-back call, for the record's version number */
    STAGE_WRITE,
    STAGE_READ_BACK,
    STAGE_LIST,    /* attachments */
    STAGE_DETAILS, /* one attachment, by the id that the list showed */
    STAGE_TEST,
    STAGE_FETCH, /* GET of the presigned URL */
    STAGES,
    STAGE_DONE /* op->result is what the caller gets */
};

struct op {
    uint32_t magic;
    struct synergist *s; /* NULL: the client was freed, the ticket is completed */
    struct lane *lane;   /* NULL: it never got into one */
    struct op *next;     /* in the lane */
    bool deferred;       /* on_deferred() will come for it; else http holds it, if it is the first of its lane */
    const struct profile *p;
    struct instance_request req; /* strings point behind the struct; secret is owned */
    struct ticket ticket;
    int64_t timeout_ms;
    int64_t started_mono_ms;    /* when the first request left; 0 before */
    int64_t request_timeout_ms; /* of the request under way */
    enum stage stage;
    char user[CREDREF_USER_MAX];
    struct secret *password;                                   /* as the reference gave it; owned */
    struct secret *sent_password;                              /* what goes on the wire; owned */
    char id[FIELD_MAX], record_version[64], attachment_id[64]; /* read before; "" = not */
    char *fetch_url;                                           /* owned */
    char content_type[112];
    char trace[TRACE_HEADER_MAX]; /* "" none; not sent to S3 */
    const char *headers[3];
    struct instance_result result;
    char strings[];
};
/* Calls to one instance; the first one is under way. */
struct lane {
    struct lane *next;         /* in its bucket */
    const char *url, *licence; /* borrowed from the first op, moved on with it */
    uint64_t hash;
    struct op *first, *last;
    unsigned n;
};
struct synergist {
    struct loop *loop;
    struct synergist_options o;
    struct credref *credref;
    struct lane *lanes[LANE_BUCKETS];
    struct op *loose; /* not in a lane, waiting for their deferred completion */
    bool closing;
};

static void on_reply(void *self, uint64_t id, const void *result);

/* ---- results ----------------------------------------------------------------------------------------------- */

static enum stage done(struct op *op, int err)
{
    op->result.err = err;
    return STAGE_DONE;
}

static enum stage done_saying(struct op *op, int err, const char *message)
{
    const struct secret *const secrets[] = {op->password, op->sent_password, op->req.secret};
    synergist_clean(message, secrets, ARRAY_LEN(secrets), op->result.message, sizeof(op->result.message));
    return done(op, err);
}

/* Code and words of a reply into the result; words of our own where it has none. */
static enum stage done_by_reply(struct op *op, const struct synergist_reply *r, int err)
{
    char text[64];
    memcpy(op->result.code, r->code, sizeof(op->result.code));
    if (r->text || !err) return done_saying(op, err, r->text);
    if (r->not_ours) return done_saying(op, err, "HTTP 404 without an error of the API: is the address right?");
    (void)snprintf(text, sizeof(text), "HTTP %d, a reply that the API does not document", op->result.http_status);
    return done_saying(op, err, text);
}

static void set_seen(struct op *op, const char *key_id, enum instance_proof proof)
{
    op->result.seen = INSTANCE_SEEN_ID;
    op->result.proof = proof;
    text_copy(op->result.key_seen, sizeof(op->result.key_seen), key_id);
}

static void set_retry_after(struct op *op)
{
    if (op->result.retry_after_ms >= 0) return;
    if (op->result.err == ERR_BUSY) op->result.retry_after_ms = op->p->busy_after_ms;
    if (op->result.err == ERR_INSTANCE_FAILURE) op->result.retry_after_ms = op->p->failure_after_ms;
}

/* ---- stages: judge a reply, name the next stage --------------------------------------------------------------- */

static enum stage after_version(struct op *op, const struct synergist_reply *r);
static enum stage after_record(struct op *op, const struct synergist_reply *r);
static enum stage after_write(struct op *op, const struct synergist_reply *r);
static enum stage after_read_back(struct op *op, const struct synergist_reply *r);
static enum stage after_list(struct op *op, const struct synergist_reply *r);
static enum stage after_test(struct op *op, const struct synergist_reply *r);

static enum stage (*const after[STAGES])(struct op *op, const struct synergist_reply *r) = {
    [STAGE_VERSION] = after_version,     [STAGE_RECORD] = after_record, [STAGE_WRITE] = after_write,
    [STAGE_READ_BACK] = after_read_back, [STAGE_LIST] = after_list,     [STAGE_DETAILS] = after_list,
    [STAGE_TEST] = after_test,
};

static enum stage first_stage(const struct op *op)
{
    const struct profile *p = op->p;
    switch (op->req.op) {
    case INSTANCE_VERSION:
        return STAGE_VERSION;
    case INSTANCE_READ_KEY:
        return p->can_read_back ? STAGE_READ_BACK : p->can_presign ? STAGE_LIST : STAGE_DONE;
    case INSTANCE_TEST:
        return p->test_by == PROFILE_TEST_CALL        ? STAGE_TEST
               : p->test_by == PROFILE_TEST_PRESIGNED ? STAGE_LIST
                                                      : STAGE_DONE;
    case INSTANCE_WRITE_KEY:
        if (!p->can_write) return STAGE_DONE;
        return p->write.id_member ? STAGE_VERSION : p->write.record_version_field ? STAGE_RECORD : STAGE_WRITE;
    case INSTANCE_OPS:
        break;
    }
    return STAGE_DONE;
}

/* A member of a record as text; "" when it is absent, ambiguous or of another type. */
static const char *member_text(const json_t *record, const char *name, char *out, size_t max)
{
    out[0] = '\0';
    if (!synergist_text(synergist_member(record, name, NULL), out, max)) out[0] = '\0';
    return out;
}

static enum stage tell_version(struct op *op, const json_t *record)
{
    char number[32], letter[16], api[32], text[128];
    (void)snprintf(text, sizeof(text), "Synergist %s%s, API %s",
                   member_text(record, "systemparameters_versionno", number, sizeof(number)),
                   member_text(record, "systemparameters_versionrevision", letter, sizeof(letter)),
                   member_text(record, "variable_apiversion", api, sizeof(api)));
    return done_saying(op, 0, text);
}

static enum stage after_version(struct op *op, const struct synergist_reply *r)
{
    if (r->err) return done_by_reply(op, r, r->err);
    const json_t *record = synergist_record(r, 0);
    if (op->req.op == INSTANCE_VERSION) return tell_version(op, record);
    if (!*member_text(record, op->p->write.id_member, op->id, sizeof(op->id)))
        return done_saying(op, ERR_INSTANCE_UNSUPPORTED,
                           "action=version shows no identifier to write with: see write.identifier");
    return op->p->write.record_version_field ? STAGE_RECORD : STAGE_WRITE;
}

static enum stage after_record(struct op *op, const struct synergist_reply *r)
{
    if (r->err) return done_by_reply(op, r, r->err);
    const char *field = op->p->write.record_version_field;
    if (!*member_text(synergist_record(r, 0), field, op->record_version, sizeof(op->record_version)))
        return done_saying(op, ERR_INSTANCE_UNSUPPORTED,
                           "the record shows no version number: see write.record_version_field");
    return STAGE_WRITE;
}

static enum stage after_write(struct op *op, const struct synergist_reply *r)
{
    return done_by_reply(op, r, r->err);
}

static const char *trim(char *text)
{
    char *end = text + strlen(text);
    while (end > text && strchr(" \t\r\n", end[-1])) *--end = '\0';
    return text + strspn(text, " \t\r\n");
}

/* The read-back did not tell: by the presigned URL, if the profile has one. */
static enum stage unseen(struct op *op)
{
    if (op->stage == STAGE_READ_BACK && op->p->can_presign) return STAGE_LIST;
    return done_saying(op, 0, "the instance shows no access key id");
}

static enum stage after_read_back(struct op *op, const struct synergist_reply *r)
{
    char text[FIELD_MAX];
    if ((r->err == ERR_INSTANCE_REFUSED || r->not_ours) && op->p->can_presign)
        return STAGE_LIST; /* a read has no effect */
    if (r->err) return done_by_reply(op, r, r->err);
    if (!synergist_record(r, 0) || synergist_record(r, 1)) return unseen(op); /* System Parameters are one record */
    const json_t *value = synergist_member(synergist_record(r, 0), op->p->read_back.field, NULL);
    if (!json_is_string(value) || !synergist_text(value, text, sizeof(text))) return unseen(op);
    const char *shown = trim(text);
    if (!*shown) {
        op->result.seen = INSTANCE_SEEN_NONE;
        op->result.proof = INSTANCE_PROOF_READ_BACK;
        return done(op, 0);
    }
    bool is_id = presigned_key_id_shown(shown);
    if (is_id) set_seen(op, shown, INSTANCE_PROOF_READ_BACK);
    secret_wipe(text, sizeof(text)); /* a wrong field could be the secret's */
    return is_id ? done(op, 0) : unseen(op);
}

/* The presigned URL among the records that was signed last: an instance may still show one that an older key signed.
 * for_fetch: the first field only, and only where we may fetch. Borrowed from the reply. */
static const char *newest_url(const struct op *op, const struct synergist_reply *r, bool for_fetch,
                              struct presigned *ret)
{
    const char *best = NULL;
    const json_t *record;
    size_t n_fields = for_fetch ? 1 : op->p->presigned.n_fields;
    for (size_t i = 0; i < op->p->presigned.rows && (record = synergist_record(r, i)); i++) {
        for (size_t k = 0; k < n_fields; k++) {
            const char *url = json_string_value(synergist_member(record, op->p->presigned.fields[k], NULL));
            struct presigned parsed;
            if (!url || presigned_parse(url, &parsed) < 0 || (for_fetch && !parsed.may_fetch)) continue;
            if (best && parsed.signed_ms <= ret->signed_ms) continue;
            best = url;
            *ret = parsed;
        }
    }
    return best;
}

static enum stage after_list(struct op *op, const struct synergist_reply *r)
{
    struct presigned parsed;
    bool for_fetch = op->req.op == INSTANCE_TEST;
    if (r->err) return done_by_reply(op, r, for_fetch && r->no_such_call ? ERR_INSTANCE_UNSUPPORTED : r->err);
    const char *url = newest_url(op, r, for_fetch, &parsed);
    if (url) {
        set_seen(op, parsed.key_id, INSTANCE_PROOF_PRESIGNED);
        if (!for_fetch) return done(op, 0);
        op->fetch_url = strdup(url);
        return op->fetch_url ? STAGE_FETCH : done(op, ERR_NOMEM);
    }
    bool by_id = op->stage == STAGE_LIST && op->p->presigned.id_field && !op->p->presigned.attachment_id;
    if (by_id &&
        *member_text(synergist_record(r, 0), op->p->presigned.id_field, op->attachment_id, sizeof(op->attachment_id)))
        return STAGE_DETAILS;
    if (!for_fetch) return unseen(op);
    return done_saying(op, ERR_INSTANCE_UNSUPPORTED, "no attachment shows a presigned URL to test with");
}

static bool test_succeeded(const struct op *op, const struct synergist_reply *r, char *shown, size_t max)
{
    const struct profile *p = op->p;
    if (p->test.success == PROFILE_SUCCESS_ENVELOPE) return true;
    member_text(synergist_record(r, 0), p->test.member, shown, max);
    if (!*shown) member_text(r->root, p->test.member, shown, max);
    return strcmp(shown, p->test.equals) == 0;
}

static enum stage after_test(struct op *op, const struct synergist_reply *r)
{
    char shown[FIELD_MAX] = "";
    /* A bare 404 may say the same in an instance's own words. If it meant a failed test, the presigned URL fails too:
     * it is signed with the same key. */
    if (r->not_ours && op->p->can_presign) return STAGE_LIST;
    if (r->no_such_call) return op->p->can_presign ? STAGE_LIST : done_by_reply(op, r, ERR_INSTANCE_UNSUPPORTED);
    if (r->err == ERR_INSTANCE_REFUSED && !r->denied)
        return done_by_reply(op, r, ERR_INSTANCE_TEST); /* it ran and says why not */
    if (r->err) return done_by_reply(op, r, r->err);
    if (!test_succeeded(op, r, shown, sizeof(shown)))
        return done_saying(op, ERR_INSTANCE_TEST, *shown ? shown : "the reply lacks the member that tells of success");
    op->result.proof = INSTANCE_PROOF_TEST;
    return done(op, 0);
}

static enum stage after_fetch(struct op *op, const struct http_reply *reply)
{
    char code[64], text[160];
    int err = presigned_verdict(reply->status, reply->body, reply->body_len, code, sizeof(code));
    if (err == 0) return done(op, 0);
    (void)snprintf(op->result.code, sizeof(op->result.code), "%.15s", code);
    (void)snprintf(text, sizeof(text), "S3 answered the presigned URL with HTTP %d %s", reply->status, code);
    return done_saying(op, err, text);
}

/* A request that got no whole reply. */
static enum stage after_failure(struct op *op, const struct http_reply *reply)
{
    int err = reply->err;
    if (op->stage == STAGE_FETCH && err == ERR_NET_BAD_REPLY && reply->status / 100 == 2)
        return done(op, 0); /* S3 took no notice of the Range and began to send the object: the key was accepted */
    if (op->stage == STAGE_WRITE && err == ERR_CANCELLED && reply->started_mono_ms)
        err = ERR_NET_LOST; /* it may have left */
    return done_saying(op, err, reply->detail);
}

/* Never followed: the login would go to an address that nobody entered. */
static enum stage after_redirect(struct op *op, const struct http_reply *reply)
{
    char text[512];
    (void)snprintf(text, sizeof(text), "redirected to %.400s: correct the instance's address", reply->location);
    return done_saying(op, ERR_NET_REDIRECT, text);
}

static enum stage judge(struct op *op, const struct http_reply *reply)
{
    op->result.http_status = reply->status;
    op->result.retry_after_ms = reply->retry_after_ms;
    op->result.told_to_wait = reply->retry_after_ms >= 0;
    if (reply->err) return after_failure(op, reply);
    if (op->stage == STAGE_FETCH) return after_fetch(op, reply);
    if (reply->status / 100 == 3) return after_redirect(op, reply);
    struct synergist_reply r;
    synergist_reply_read(op->p, reply->status, reply->body, reply->body_len, &r);
    enum stage next = after[op->stage](op, &r);
    synergist_reply_done(&r);
    return next;
}

/* ---- sending ------------------------------------------------------------------------------------------------ */

/* The last moment before the request leaves: is there still time for it inside the caller's lease? */
static int on_prepare(void *arg, const char *const **ret_headers)
{
    struct op *op = arg;
    if (!op->s) return ERR_CANCELLED;
    int64_t now = clock_mono_ms(op->s->o.clock);
    int64_t deadline = op->req.deadline_mono_ms;
    if (deadline && now + op->request_timeout_ms > deadline) return ERR_TIMEOUT;
    if (!op->started_mono_ms) op->started_mono_ms = now;
    *ret_headers = op->headers;
    return 0;
}

static int64_t time_left(const struct op *op)
{
    if (!op->started_mono_ms) return op->timeout_ms;
    return op->timeout_ms - (clock_mono_ms(op->s->o.clock) - op->started_mono_ms);
}

/* Most time in http's queue: a call without a deadline waits for its turn, however many are in front of it. */
static int64_t queue_time(const struct op *op)
{
    if (!op->req.deadline_mono_ms) return QUEUE_TIME_MAX_MS;
    int64_t left = op->req.deadline_mono_ms - op->request_timeout_ms - clock_mono_ms(op->s->o.clock);
    return left > 1 ? left : 1;
}

static const char *area_of(const struct op *op)
{
    switch (op->stage) {
    case STAGE_RECORD:
    case STAGE_READ_BACK:
        return op->p->read_back.area;
    case STAGE_WRITE:
        return op->p->write.area;
    case STAGE_LIST:
    case STAGE_DETAILS:
        return op->p->presigned.area;
    case STAGE_TEST:
        return op->p->test.area;
    default:
        return "system"; /* action=version is documented, so it is no setting */
    }
}

static void fill_form(const struct op *op, struct formdata *f)
{
    const struct synergist_login login = {.user = op->user, .password = op->sent_password};
    const char *id = op->p->write.id_value ? op->p->write.id_value : *op->id ? op->id : NULL;
    switch (op->stage) {
    case STAGE_RECORD:
    case STAGE_READ_BACK:
        synergist_form_read_back(f, op->p, &login);
        break;
    case STAGE_WRITE:
        synergist_form_write(f, op->p, &login, op->req.key_id, op->req.secret, id,
                             *op->record_version ? op->record_version : NULL);
        break;
    case STAGE_LIST:
        synergist_form_presigned(f, op->p, &login, NULL);
        break;
    case STAGE_DETAILS:
        synergist_form_presigned(f, op->p, &login, op->attachment_id);
        break;
    case STAGE_TEST:
        synergist_form_test(f, op->p, &login);
        break;
    default:
        synergist_form_version(f, op->p, &login);
        break;
    }
}

static int post_form(struct op *op)
{
    AUTO_BUF struct buf url;
    CLEANUP(formdata_done) struct formdata form;
    buf_init(&url, 4096);
    (void)buf_reserve(&url, strlen(op->req.target.url) + 64); /* no memory: the first append says so */
    formdata_init(&form, op->p->encoding == PROFILE_MULTIPART, op->s->o.rng, FORM_BYTES_MAX);
    fill_form(op, &form);
    int rc = formdata_end(&form);
    if (rc == 0) rc = synergist_url(op->req.target.url, area_of(op), &url);
    if (rc < 0) return rc;
    memcpy(op->content_type, form.content_type, sizeof(op->content_type));
    op->headers[0] = op->content_type;
    op->headers[1] = op->trace[0] ? op->trace : NULL;
    const struct http_request request = {
        .class = HTTP_INSTANCE,
        .method = "POST",
        .url = buf_str(&url),
        .body = buf_str(&form.body),
        .body_len = form.body.len,
        .body_is_secret = true,
        /* Each request that may be the last one to the instance: what follows is known only from its reply. */
        .ahead = op->req.urgent,
        .last_on_connection = op->req.last_on_connection && op->stage != STAGE_VERSION && op->stage != STAGE_RECORD,
        .prepare = on_prepare,
        .prepare_arg = op,
        .queue_timeout_ms = queue_time(op),
        .timeout_ms = op->request_timeout_ms,
        .max_reply_bytes = REPLY_BYTES_MAX,
    };
    return http_send(op->s->o.http, &request, (struct ticket){.done = on_reply, .self = op});
}

static int fetch_presigned(struct op *op)
{
    op->headers[0] = "Range: bytes=0-0"; /* not among the signed headers, so it is free to us */
    op->headers[1] = NULL;
    const struct http_request request = {
        .class = HTTP_OTHER, /* a host that the instance named */
        .method = "GET",
        .url = op->fetch_url,
        .ahead = op->req.urgent,
        .last_on_connection = true,
        .prepare = on_prepare,
        .prepare_arg = op,
        .queue_timeout_ms = queue_time(op),
        .timeout_ms = op->request_timeout_ms,
        .max_reply_bytes = FETCH_BYTES_MAX,
    };
    return http_send(op->s->o.http, &request, (struct ticket){.done = on_reply, .self = op});
}

static int send_stage(struct op *op)
{
    op->request_timeout_ms = time_left(op);
    if (op->request_timeout_ms < 1) return ERR_TIMEOUT; /* this one was not sent */
    return op->stage == STAGE_FETCH ? fetch_presigned(op) : post_form(op);
}

/* ---- a call's begin and end ---------------------------------------------------------------------------------- */

static void op_free(struct op *op)
{
    if (!op) return;
    secret_free((struct secret *)(uintptr_t)op->req.secret); /* our own copy, see op_new() */
    secret_free(op->password);
    secret_free(op->sent_password);
    if (op->fetch_url) secret_wipe(op->fetch_url, strlen(op->fetch_url)); /* a presigned URL opens its object */
    free(op->fetch_url);
    op->magic = 0;
    free(op);
}

static int resolve_login(struct op *op)
{
    struct credref_login login = {.password = NULL};
    char reason[CREDREF_REASON_MAX];
    int rc = credref_get(op->s->credref, op->req.target.credentials, clock_mono_ms(op->s->o.clock), &login, reason);
    if (rc < 0) {
        (void)done_saying(op, rc, reason);
        return rc;
    }
    memcpy(op->user, login.user, sizeof(op->user));
    op->password = login.password;
    return synergist_password(op->p, op->user, op->password, &op->sent_password);
}

/* Sends the first request. Another code: the call ends with it, unsent; the message may be set. */
static int op_start(struct op *op)
{
    const char *reason;
    int rc = synergist_check_url(op->p, op->req.target.url, &reason);
    if (rc < 0) {
        (void)done_saying(op, rc, reason);
        return rc;
    }
    op->stage = first_stage(op);
    if (op->stage == STAGE_DONE) {
        (void)done_saying(op, ERR_INSTANCE_UNSUPPORTED, "the profile has no way to do this");
        return ERR_INSTANCE_UNSUPPORTED;
    }
    rc = resolve_login(op);
    return rc < 0 ? rc : send_stage(op);
}

static uint64_t lane_hash(const char *url, const char *licence)
{
    uint64_t h = fnv1a(fnv1a_byte(fnv1a(FNV1A_START, url), 0), licence);
    return h ^ h >> 32;
}

static struct lane **lane_place(struct synergist *s, const struct op *op, uint64_t hash)
{
    struct lane **at = &s->lanes[hash % LANE_BUCKETS];
    while (*at && ((*at)->hash != hash || strcmp((*at)->url, op->req.target.url) != 0 ||
                   strcmp((*at)->licence, op->req.target.licence) != 0))
        at = &(*at)->next;
    return at;
}

/* Takes the first call off its lane; the lane goes with its last call. Returns the next call, which is to be started.
 */
static struct op *lane_pop(struct synergist *s, struct op *op)
{
    struct lane *l = op->lane;
    op->lane = NULL;
    l->first = op->next;
    op->next = NULL;
    l->n--;
    if (l->first) {
        l->url = l->first->req.target.url;
        l->licence = l->first->req.target.licence;
        return l->first;
    }
    struct lane **at = &s->lanes[l->hash % LANE_BUCKETS];
    while (*at != l) at = &(*at)->next;
    *at = l->next;
    free(l);
    return NULL;
}

static void complete(struct op *op)
{
    set_retry_after(op);
    ticket_complete(op->ticket, &op->result);
    op_free(op);
}

/* Ends the first call of a lane and starts the next one, before the ticket is completed: its owner may call again at
 * once. */
static void finish(struct op *op)
{
    struct synergist *s = op->s;
    struct op *ended = op;
    while (ended) {
        struct op *next = lane_pop(s, ended), *failed = NULL;
        if (next) {
            int rc = s->closing ? ERR_CANCELLED : op_start(next);
            if (rc < 0) {
                next->result.err = rc;
                failed = next;
            }
        }
        complete(ended);
        ended = failed;
    }
}

static void on_reply(void *self, uint64_t id, const void *result)
{
    struct op *op = self;
    const struct http_reply *reply = result;
    (void)id;
    assert(op->magic == OP_MAGIC);
    if (!op->s) { /* the client went first and completed the ticket */
        op_free(op);
        return;
    }
    if (reply->err == ERR_CANCELLED) op->s->closing = true; /* http is being freed: nothing more can be sent */
    enum stage next = judge(op, reply);
    if (next != STAGE_DONE) {
        op->stage = next;
        int rc = send_stage(op);
        if (rc == 0) return;
        (void)done(op, rc);
    }
    finish(op);
}

/* A call that failed before anything was sent, one loop turn later: a starter never completes before it returns. */
static void on_deferred(void *arg)
{
    struct op *op = arg;
    assert(op->magic == OP_MAGIC);
    op->deferred = false;
    if (op->lane) {
        finish(op);
        return;
    }
    struct op **at = &op->s->loose;
    while (*at != op) at = &(*at)->next;
    *at = op->next;
    complete(op);
}

static int defer(struct op *op)
{
    int rc = loop_defer(op->s->loop, on_deferred, op);
    op->deferred = rc == 0;
    return rc;
}

/* ---- the port ------------------------------------------------------------------------------------------------ */

static size_t text_bytes(const char *s)
{
    return s ? strlen(s) + 1 : 0;
}

static const char *keep(char **at, const char *s)
{
    if (!s) return NULL;
    size_t n = strlen(s) + 1;
    char *start = memcpy(*at, s, n);
    *at += n;
    return start;
}

static int64_t profile_timeout(const struct profile *p, enum instance_op op)
{
    return op == INSTANCE_WRITE_KEY ? p->write_timeout_ms
           : op == INSTANCE_TEST    ? p->test_timeout_ms
                                    : p->read_timeout_ms;
}

static struct op *op_new(struct synergist *s, const struct profile *p, const struct instance_request *req,
                         struct ticket t)
{
    const struct instance_target *g = &req->target;
    size_t bytes = text_bytes(g->licence) + text_bytes(g->url) + text_bytes(g->credentials) + text_bytes(req->key_id);
    struct op *op = calloc(1, sizeof(*op) + bytes);
    if (!op) return NULL;
    char *at = op->strings;
    op->magic = OP_MAGIC;
    op->s = s;
    op->p = p;
    op->ticket = t;
    op->req = *req;
    op->req.target = (struct instance_target){.licence = keep(&at, g->licence),
                                              .url = keep(&at, g->url),
                                              .profile = p->name,
                                              .credentials = keep(&at, g->credentials)};
    op->req.key_id = keep(&at, req->key_id);
    (void)trace_header(req->traceparent, op->trace);
    op->req.traceparent = NULL;
    op->timeout_ms = req->timeout_ms > 0 ? req->timeout_ms : profile_timeout(p, req->op);
    op->result.retry_after_ms = -1;
    op->req.secret = req->secret ? secret_copy(req->secret) : NULL;
    if (req->secret && !op->req.secret) {
        op_free(op);
        return NULL;
    }
    return op;
}

static bool request_is_valid(const struct instance_request *req)
{
    const struct instance_target *g = &req->target;
    if ((unsigned)req->op >= INSTANCE_OPS || !g->licence || !g->url || !*g->url || !g->credentials ||
        req->timeout_ms < 0)
        return false;
    if (req->op != INSTANCE_WRITE_KEY) return true;
    return req->key_id && presigned_key_id_shown(req->key_id) && req->secret && secret_len(req->secret) > 0;
}

/* Ends a call that is in no lane, later. Takes op over, also when it fails. */
static int fail_later(struct synergist *s, struct op *op, int err, const char *message)
{
    (void)done_saying(op, err, message);
    int rc = defer(op);
    if (rc < 0) {
        op_free(op);
        return rc;
    }
    op->next = s->loose;
    s->loose = op;
    return 0;
}

static struct lane *lane_new(struct synergist *s, const struct op *op, uint64_t hash)
{
    struct lane *l = calloc(1, sizeof(*l));
    if (!l) return NULL;
    struct lane **bucket = &s->lanes[hash % LANE_BUCKETS];
    *l = (struct lane){.next = *bucket, .url = op->req.target.url, .licence = op->req.target.licence, .hash = hash};
    *bucket = l;
    return l;
}

/* The first call of a new lane: starts it. Takes op over, also when it fails. */
static int start_lane(struct synergist *s, struct op *op, uint64_t hash)
{
    struct lane *l = lane_new(s, op, hash);
    if (!l) {
        op_free(op);
        return ERR_NOMEM;
    }
    l->first = l->last = op;
    l->n = 1;
    op->lane = l;
    int rc = op_start(op);
    if (rc == 0) return 0;
    op->result.err = rc;
    rc = defer(op);
    if (rc == 0) return 0;
    (void)lane_pop(s, op); /* it was alone */
    op_free(op);
    return rc;
}

static int port_call(void *self, const struct instance_request *req, struct ticket t)
{
    struct synergist *s = self;
    if (!request_is_valid(req)) return ERR_INVALID;
    const struct profile *p = profiles_find(s->o.profiles, req->target.profile);
    if (!p) return ERR_INVALID;
    struct op *op = op_new(s, p, req, t);
    if (!op) return ERR_NOMEM;
    if (s->closing) return fail_later(s, op, ERR_CANCELLED, "the client is being closed");
    uint64_t hash = lane_hash(op->req.target.url, op->req.target.licence);
    struct lane *l = *lane_place(s, op, hash);
    if (!l) return start_lane(s, op, hash);
    if (l->n > s->o.queue_max) return fail_later(s, op, ERR_BUSY, "too many calls wait for this instance");
    op->lane = l;
    l->last->next = op;
    l->last = op;
    l->n++;
    return 0;
}

static bool port_abilities(void *self, const char *name, struct instance_abilities *ret)
{
    const struct synergist *s = self;
    const struct profile *p = profiles_find(s->o.profiles, name);
    if (p) profile_abilities(p, ret);
    return p != NULL;
}

struct instance_port synergist_port(struct synergist *s)
{
    return (struct instance_port){.self = s, .call = port_call, .abilities = port_abilities};
}

/* ---- life ---------------------------------------------------------------------------------------------------- */

int synergist_new(struct loop *l, const struct synergist_options *o, struct synergist **ret_synergist)
{
    struct synergist *s = calloc(1, sizeof(*s));
    if (!s) return ERR_NOMEM;
    s->loop = l;
    s->o = *o;
    if (!s->o.queue_max) s->o.queue_max = QUEUE_MAX;
    s->credref = credref_new(&o->credentials);
    if (!s->credref) {
        free(s);
        return ERR_NOMEM;
    }
    *ret_synergist = s;
    return 0;
}

/* Completes the ticket now. with_http: the block goes when http gives it back. */
static void cancel(struct op *op, bool with_http)
{
    if (op->deferred) loop_defer_cancel(op->s->loop, on_deferred, op);
    with_http = with_http && !op->deferred;
    op->result.err = with_http && op->stage == STAGE_WRITE && op->started_mono_ms ? ERR_NET_LOST : ERR_CANCELLED;
    op->s = NULL;
    op->lane = NULL;
    ticket_complete(op->ticket, &op->result);
    if (!with_http) op_free(op);
}

static void cancel_lane(struct lane *l)
{
    bool first = true;
    for (struct op *op = l->first, *next; op; op = next) {
        next = op->next;
        cancel(op, first);
        first = false;
    }
    free(l);
}

void synergist_free(struct synergist *s)
{
    if (!s) return;
    s->closing = true;
    for (size_t i = 0; i < LANE_BUCKETS; i++) {
        while (s->lanes[i]) {
            struct lane *l = s->lanes[i];
            s->lanes[i] = l->next;
            cancel_lane(l);
        }
    }
    while (s->loose) {
        struct op *op = s->loose;
        s->loose = op->next;
        cancel(op, false);
    }
    credref_free(s->credref);
    free(s);
}
