/* The AWS edge: carries one call of aws.h from its request to its result.
 *
 *   call() -> own identity (cached, or waited for) -> the account's rate -> http queue -> prepare(): sign -> reply ->
 * result
 *
 * Probes (a pair under test) skip the first two. Every call completes exactly once, later. What decides about effects:
 * - A mutating IAM call is dated with the time at which call() was entered, which the caller reads after its lease
 * check has begun: a worker that slept in between is refused by AWS itself (rule R7). Reads are dated when they leave.
 * - A call whose lease runs out while it waits is never sent: it must leave before deadline - timeout.
 * - CreateAccessKey goes out once, on a connection of its own, and is never repeated here. Anything unclear about it
 * has class UNKNOWN. Other calls are repeated once when AWS says that our own token had expired, reads also for a wrong
 * clock, and a few times, through the account's queue, when AWS throttled them. Limits: one partition per process;
 * results and errors are for the caller to judge, nothing is logged. Loop thread only. */
#include "lib/aws_call.h"

#include "lib/aws_creds.h"
#include "lib/aws_endpoint.h"
#include "lib/aws_error.h"
#include "lib/aws_iam.h"
#include "lib/aws_s3.h"
#include "lib/aws_sign.h"
#include "lib/aws_sts.h"
#include "lib/aws_turns.h"
#include "lib/buf.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/text.h"
#include "lib/trace.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define DEFAULT_TIMEOUT_MS 10000
#define RAW_TIMEOUT_MS     60000
#define RAW_REPLY_MAX      ((size_t)48 << 20) /* a credential report of 5,000 users, in base64 */
#define QUEUE_MAX_MS       600000             /* in the HTTP queue, for calls without a deadline */
#define SIGN_KEYS          4096
#define FORM_MAX           ((size_t)64 << 10)
#define HEAD_MAX           ((size_t)32 << 10)
#define PAGES_MAX          32
#define SKEW_MIN_MS        60000 /* AWS tolerates five minutes; less than one is not worth a correction */
#define SKEW_REPLY_MAX_MS  10000 /* a Date of a reply that took longer says nothing about now */
#define THROTTLED_MAX      5     /* a call that AWS throttled has had no effect: it queues again, so often */

struct aws_call {
    struct loop *loop;
    struct aws_call_options o;
    char *override_s3, *region;
    struct aws_endpoint iam, sts;
    bool common_budget; /* and not unlimited */
    struct aws_sign_keys *keys;
    struct aws_pace *pace;
    struct aws_turns turns;
    int64_t offset_ms; /* AWS's clock minus ours */
    bool closing;
    TAILQ_HEAD(, call) calls;
    struct aws_result result; /* of the call being completed */
};

struct call {
    TAILQ_ENTRY(call) link;
    struct aws_pace_item pace;
    struct aws_call *c; /* NULL: the edge is gone, the ticket was completed */
    struct ticket ticket;
    struct aws_request req;                              /* its strings lie in text; probe_secret is owned */
    bool raw, identity_retried, clock_retried, has_slot; /* has_slot: its turn brought one */
    unsigned throttled;
    struct aws_identity *identity; /* NULL for probes */
    struct secret *probe;
    int64_t wall_ms; /* when call() was entered, AWS's clock */
    int64_t sent_wall_ms;
    unsigned pages;
    char *marker;              /* next page to ask for */
    struct aws_result *so_far; /* pages read before */
    struct buf form, head;
    char trace[TRACE_HEADER_MAX]; /* "" none */
    const char *headers[8];
    char text[];
};

static int call_begin(struct call *call);
static void on_turn(void *arg, struct aws_pace_item *item, bool expired);

/* ---- the edge ---- */

static int endpoints_init(struct aws_call *c, const struct aws_call_options *o)
{
    const char *partition = o->partition ? o->partition : aws_partition_of(o->region);
    const char *s3 = o->endpoint_s3 ? o->endpoint_s3 : o->endpoint;
    int rc = aws_endpoint_iam(partition, o->endpoint_iam ? o->endpoint_iam : o->endpoint, &c->iam);
    if (!rc) rc = aws_endpoint_sts(o->region, o->endpoint_sts ? o->endpoint_sts : o->endpoint, &c->sts);
    if (rc) return rc;
    c->region = strdup(o->region);
    c->override_s3 = s3 ? strdup(s3) : NULL;
    return c->region && (!s3 || c->override_s3) ? 0 : ERR_NOMEM;
}

int aws_call_new(struct loop *l, const struct aws_call_options *o, struct aws_call **ret_call)
{
    if (!aws_region_valid(o->region)) return ERR_INVALID;
    struct aws_call *c = calloc(1, sizeof(*c));
    if (!c) return ERR_NOMEM;
    c->loop = l;
    c->o = (struct aws_call_options){.clock = o->clock,
                                     .http = o->http,
                                     .creds = o->creds,
                                     .s3_path_style = o->s3_path_style,
                                     .calls_per_s = o->calls_per_s};
    TAILQ_INIT(&c->calls);
    int rc = endpoints_init(c, o);
    c->common_budget = o->budget.take && o->calls_per_s > 0;
    c->keys = aws_sign_keys_new(SIGN_KEYS);
    aws_turns_init(&c->turns, o->clock);
    c->pace = c->turns.pace = aws_pace_new(l, &(struct aws_pace_options){.clock = o->clock,
                                                                         .per_s = o->calls_per_s,
                                                                         .burst = o->burst,
                                                                         .budget = o->budget,
                                                                         .on_turn = on_turn,
                                                                         .arg = c,
                                                                         .begin_at = aws_turns_begin_at,
                                                                         .begin_arg = &c->turns});
    if (!rc && (!c->keys || !c->pace)) rc = ERR_NOMEM;
    if (rc < 0)
        aws_call_free(c);
    else
        *ret_call = c;
    return rc;
}

int64_t aws_call_now_ms(const struct aws_call *c)
{
    return clock_wall_ms(c->o.clock) + c->offset_ms;
}

/* ---- one call: birth and end ---- */

static void call_free(struct call *call)
{
    aws_identity_unref(call->identity);
    secret_free(call->probe);
    free(call->marker);
    free(call->so_far);
    buf_done(&call->form);
    buf_done(&call->head);
    free(call);
}

/* Completes the call with r and frees it. The completion may start calls, but not free the edge. */
static void finish(struct call *call, struct aws_result *r, const char *body, size_t body_len)
{
    struct aws_call *c = call->c;
    struct ticket t = call->ticket;
    struct secret *created = r->created_secret;
    r->sent_wall_ms = call->sent_wall_ms;
    if (r->err && call->req.op == AWS_LIST_ACCESS_KEYS) r->n_keys = 0; /* half a list is none */
    aws_pace_leave(c->pace, &call->pace);
    TAILQ_REMOVE(&c->calls, call, link);
    if (call->raw) {
        struct aws_raw_result raw = {.base = *r, .body = r->err ? NULL : body, .body_len = r->err ? 0 : body_len};
        ticket_complete(t, &raw);
    } else {
        ticket_complete(t, r);
    }
    secret_free(created);
    call_free(call);
}

static void result_init(struct aws_result *r)
{
    memset(r, 0, sizeof(*r));
    r->date_ms = r->sent_wall_ms = r->used_at_ms = TIME_NONE;
    r->retry_after_ms = -1;
}

static void finish_error(struct call *call, int err, const char *message)
{
    struct aws_result *r = &call->c->result;
    result_init(r);
    r->err = err;
    text_copy(r->message, sizeof(r->message), message);
    finish(call, r, NULL, 0);
}

void aws_call_free(struct aws_call *c)
{
    if (!c) return;
    c->closing = true;
    while (!TAILQ_EMPTY(
        &c->calls)) { /* each is known to http, to creds or to the pace queue: the first two free it later */
        struct call *call = TAILQ_FIRST(&c->calls);
        struct ticket t = call->ticket;
        bool queued = call->pace.account != NULL;
        aws_pace_leave(c->pace, &call->pace);
        TAILQ_REMOVE(&c->calls, call, link);
        call->c = NULL;
        if (queued) call_free(call);
        result_init(&c->result);
        c->result.err = ERR_CANCELLED;
        struct aws_raw_result raw = {.base = c->result};
        ticket_complete(t, &raw); /* base is its first member: right for both kinds */
    }
    aws_pace_free(c->pace);
    aws_sign_keys_free(c->keys);
    free(c->override_s3);
    free(c->region);
    free(c);
}

/* ---- where it goes and how it is signed ---- */

static bool is_iam(const struct call *call)
{
    return call->raw || (call->req.op != AWS_CALLER_IDENTITY && call->req.op != AWS_LIST_BUCKET);
}

static bool is_mutating(const struct call *call)
{
    enum aws_op op = call->req.op;
    return !call->raw && (op == AWS_CREATE_ACCESS_KEY || op == AWS_UPDATE_ACCESS_KEY || op == AWS_DELETE_ACCESS_KEY);
}

/* STS has a limit of its own, which only the common budget looks after: a single command makes a call or two. */
static bool is_paced(const struct call *call)
{
    return is_iam(call) || (call->c->common_budget && call->req.op == AWS_CALLER_IDENTITY && call->req.account);
}

/* AWS limits reads and writes apart, and STS. */
static enum aws_family family_of(const struct call *call)
{
    if (!is_iam(call)) return AWS_FAMILY_STS;
    return is_mutating(call) ? AWS_FAMILY_WRITE : AWS_FAMILY_READ;
}

/* The endpoint of a call: a borrowed one, or a bucket's, written to own. */
static int endpoint_of(const struct call *call, struct aws_endpoint *own, const struct aws_endpoint **ret)
{
    const struct aws_call *c = call->c;
    *ret = is_iam(call) ? &c->iam : &c->sts;
    if (call->raw || call->req.op != AWS_LIST_BUCKET) return 0;
    *ret = own;
    return aws_s3_list_endpoint(call->req.bucket, call->req.region ? call->req.region : c->region, c->override_s3,
                                c->o.s3_path_style, own);
}

static int64_t leave_by(const struct call *call)
{
    int64_t at = call->req.deadline_mono_ms;
    if (!at) return 0;
    at -= call->req.timeout_ms;
    return at > 0 ? at : 1;
}

static int add_user_agent(struct call *call)
{
    const char *note = call->req.session_note;
    return buf_addf(&call->head, "User-Agent: keyroll/" KEYROLL_VERSION "%s%s", note ? " job/" : "",
                    note ? note : "") ||
           buf_addc(&call->head, '\0');
}

static int sign(struct call *call)
{
    struct aws_call *c = call->c;
    struct aws_endpoint own;
    const struct aws_endpoint *e;
    bool s3 = !is_iam(call) && call->req.op == AWS_LIST_BUCKET;
    int rc = endpoint_of(call, &own, &e);
    if (rc < 0) return rc;
    static const char form_type[] = "application/x-www-form-urlencoded; charset=utf-8";
    struct aws_sign_header signed_headers[] = {{"Host", e->host}, {"Content-Type", form_type}};
    struct aws_sign_request r = {.method = s3 ? "GET" : "POST",
                                 .path = e->path,
                                 .query = s3 ? AWS_S3_LIST_QUERY : NULL,
                                 .headers = signed_headers,
                                 .n_headers = s3 ? 1 : 2,
                                 .body = call->form.data,
                                 .body_len = call->form.len,
                                 .region = e->region,
                                 .service = s3             ? "s3"
                                            : is_iam(call) ? "iam"
                                                           : "sts",
                                 .double_encode_path = !s3,
                                 .normalize_path = !s3,
                                 .add_content_sha256 = s3,
                                 .wall_ms = call->sent_wall_ms};
    const char *key_id = call->probe ? call->req.key_id : call->identity->access_key_id;
    const struct secret *secret = call->probe ? call->probe : call->identity->secret;
    const struct secret *token = call->probe ? NULL : call->identity->session_token;
    size_t n = 0, at = 0;
    buf_reset(&call->head);
    if (buf_reserve(&call->head, 512 + (token ? secret_len(token) : 0)) || add_user_agent(call))
        return call->head.error;
    rc = aws_sign(c->keys, &r, key_id, secret, token, &call->head, &n);
    if (rc < 0) return rc;
    const char *line = call->head.data;
    for (size_t i = 0; i <= n; i++, line += strlen(line) + 1)
        call->headers[at++] = line; /* the user agent and n signed ones */
    if (!s3) call->headers[at++] = "Content-Type: application/x-www-form-urlencoded; charset=utf-8";
    if (call->trace[0]) call->headers[at++] = call->trace;
    call->headers[at] = NULL;
    assert(at < ARRAY_LEN(call->headers));
    return 0;
}

/* A handle is free: the last moment to refuse, and the time for a signature. */
static int prepare(void *arg, const char *const **ret_headers)
{
    struct call *call = arg;
    struct aws_call *c = call->c;
    if (!c) return ERR_CANCELLED;
    int64_t by = leave_by(call);
    if (by && clock_mono_ms(c->o.clock) > by) return ERR_TIMEOUT;
    if (!call->probe) { /* it may have been refreshed while this call waited */
        struct aws_identity *fresh = aws_creds_now(c->o.creds, call->req.account);
        if (fresh && fresh != call->identity) {
            aws_identity_unref(call->identity);
            call->identity = aws_identity_ref(fresh);
        }
    }
    call->sent_wall_ms = is_mutating(call) ? call->wall_ms : aws_call_now_ms(c);
    int rc = sign(call);
    if (rc < 0) call->sent_wall_ms = TIME_NONE;
    *ret_headers = call->headers;
    return rc;
}

/* ---- replies ---- */

static void learn_clock(struct aws_call *c, const struct http_reply *reply)
{
    if (reply->date_ms == TIME_NONE || clock_mono_ms(c->o.clock) - reply->started_mono_ms > SKEW_REPLY_MAX_MS) return;
    int64_t off = reply->date_ms - aws_call_now_ms(c);
    if (off > SKEW_MIN_MS || off < -SKEW_MIN_MS) c->offset_ms += off;
}

static void check_probe_user(const struct call *call, struct aws_result *r)
{
    const struct aws_request *q = &call->req;
    char user[AWS_USER_MAX];
    if (!call->probe) return;
    bool other_account = q->account && strcmp(q->account, r->identity_account) != 0;
    bool other_user = q->user && (!aws_arn_user(r->identity_arn, user) || strcasecmp(user, q->user) != 0);
    if (other_account || other_user) r->err = ERR_KEY_WRONG_USER;
}

static void read_success(struct call *call, const struct http_reply *reply, struct aws_result *r)
{
    const struct aws_request *q = &call->req;
    if (call->raw) return;
    if (q->op == AWS_LIST_BUCKET) {
        r->err = aws_s3_parse_list(reply->body, reply->body_len);
    } else if (q->op == AWS_CALLER_IDENTITY) {
        r->err = aws_sts_parse_identity(reply->body, reply->body_len, r);
        if (!r->err) check_probe_user(call, r);
    } else {
        free(call->marker);
        call->marker = NULL;
        r->err = aws_iam_parse(q->op, q->user, reply->body, reply->body_len, r, &call->marker);
    }
    if (r->err && q->op == AWS_CREATE_ACCESS_KEY)
        r->err = ERR_NET_BAD_REPLY; /* the key exists: UNKNOWN, whatever kept us from reading of it */
}

static void read_refusal(struct call *call, const struct http_reply *reply, struct aws_result *r)
{
    enum aws_op op = call->raw ? AWS_OPS : call->req.op;
    if (op == AWS_LIST_BUCKET) {
        aws_s3_refusal(reply->status, reply->bucket_region, reply->body, reply->body_len, r);
    } else {
        aws_error_parse(reply->body, reply->body_len, r, NULL, 0);
        /* GetCallerIdentity under our own identity: what would be said of a probed pair is said of us */
        bool own = op == AWS_CALLER_IDENTITY && !call->probe;
        r->err = aws_error_map(own ? AWS_OPS : op, reply->status, r->code);
    }
    if (aws_error_is_clock(r) && reply->status < 500) r->err = ERR_AWS_CLOCK;
}

static void read_reply(struct call *call, const struct http_reply *reply, struct aws_result *r)
{
    r->err = reply->err;
    r->http_status = reply->status;
    r->date_ms = reply->date_ms;
    r->retry_after_ms = reply->retry_after_ms;
    if (reply->err) {
        aws_text_copy(r->message, sizeof(r->message), reply->detail ? reply->detail : "",
                      reply->detail ? strlen(reply->detail) : 0);
        return;
    }
    aws_text_copy(r->request_id, sizeof(r->request_id), reply->request_id, strlen(reply->request_id));
    if (reply->status == 200)
        read_success(call, reply, r);
    else
        read_refusal(call, reply, r);
    if ((r->err == ERR_NET_BAD_REPLY || r->err == ERR_NET_REDIRECT) && !r->message[0])
        (void)snprintf(r->message, sizeof(r->message), "HTTP %d, not an answer of AWS's API", reply->status);
}

static bool is_expired_token(const struct aws_result *r)
{
    return strcmp(r->code, "ExpiredToken") == 0 || strcmp(r->code, "ExpiredTokenException") == 0;
}

/* Our own credentials were refused: drop them, unless somebody else did already. */
static void drop_identity(struct call *call)
{
    struct aws_creds *creds = call->c->o.creds;
    if (aws_creds_now(creds, call->req.account) == call->identity) aws_creds_invalidate(creds, call->req.account);
    aws_identity_unref(call->identity);
    call->identity = NULL;
}

/* Is the refusal one that a second try mends? Never for CREATE: that is for the saga to decide. */
static bool should_repeat(struct call *call, const struct aws_result *r)
{
    bool own = !call->probe;
    if (r->err == ERR_AWS_CREDENTIALS && own && strcmp(r->code, "SignatureDoesNotMatch") != 0) drop_identity(call);
    if (!call->raw && call->req.op == AWS_CREATE_ACCESS_KEY) return false;
    if (r->err == ERR_AWS_THROTTLED && r->retry_after_ms > 0) return false; /* told how long to wait: by the caller */
    if (r->err == ERR_AWS_THROTTLED && is_iam(call) && call->c->o.calls_per_s > 0)
        return call->throttled++ < THROTTLED_MAX;
    if (own && is_expired_token(r) && !call->identity_retried) return call->identity_retried = true;
    if (r->err == ERR_AWS_CLOCK && !is_mutating(call) && !call->clock_retried) return call->clock_retried = true;
    return false;
}

/* A list that goes on: keep what was read and ask for the next page. */
static int next_page(struct call *call, struct aws_result *r)
{
    if (++call->pages == PAGES_MAX) return ERR_TOO_LARGE;
    if (!call->so_far) {
        call->so_far = malloc(sizeof(*call->so_far));
        if (!call->so_far) return ERR_NOMEM;
        *call->so_far = *r;
    }
    buf_reset(&call->form);
    return call_begin(call);
}

static void on_reply(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct call *call = self;
    struct aws_call *c = call->c;
    const struct http_reply *reply = result;
    if (!c) { /* the ticket was completed when the edge was freed */
        call_free(call);
        return;
    }
    if (!reply->err && (is_iam(call) || call->req.op == AWS_CALLER_IDENTITY)) learn_clock(c, reply);
    struct aws_result *r = call->so_far ? call->so_far : &c->result;
    if (!call->so_far) {
        result_init(r);
        r->listed_mono_ms = clock_mono_ms(c->o.clock);
    }
    r->code[0] = r->message[0] = r->request_id[0] = '\0';
    read_reply(call, reply, r);
    if (r->err == ERR_AWS_THROTTLED && is_paced(call))
        aws_pace_throttled(c->pace, call->req.account, family_of(call), call->pace.epoch);
    int rc = 0;
    if (!r->err && call->marker)
        rc = next_page(call, r);
    else if (r->err && should_repeat(call, r))
        rc = call_begin(call);
    else
        rc = 1; /* done */
    if (rc < 0) r->err = rc;
    if (rc) finish(call, r, reply->body, reply->body_len);
}

/* ---- the way out ---- */

static int call_send(struct call *call)
{
    struct aws_call *c = call->c;
    struct aws_endpoint own;
    const struct aws_endpoint *e;
    bool s3 = !is_iam(call) && call->req.op == AWS_LIST_BUCKET;
    int rc = endpoint_of(call, &own, &e);
    if (!rc && !call->form.len && is_iam(call)) rc = aws_iam_form(&call->req, call->marker, &call->form);
    if (!rc && !call->form.len && !s3) rc = aws_sts_form_identity(&call->form);
    if (rc < 0) return rc;
    int64_t by = leave_by(call), queue_ms = by ? by - clock_mono_ms(c->o.clock) : QUEUE_MAX_MS;
    struct http_request hr = {.class = s3             ? HTTP_S3
                                       : is_iam(call) ? HTTP_IAM
                                                      : HTTP_STS,
                              .method = s3 ? "GET" : "POST",
                              .url = e->url,
                              .body = s3 ? NULL : call->form.data,
                              .body_len = call->form.len,
                              .prepare = prepare,
                              .prepare_arg = call,
                              .fresh_connection = !call->raw && call->req.op == AWS_CREATE_ACCESS_KEY,
                              .last_on_connection = s3 && call->req.last_on_connection,
                              .ahead = call->req.urgent,
                              .queue_timeout_ms = queue_ms > 1 ? queue_ms : 1,
                              .timeout_ms = call->req.timeout_ms,
                              .max_reply_bytes = call->raw ? RAW_REPLY_MAX : 0};
    return http_send(c->o.http, &hr, (struct ticket){.done = on_reply, .self = call});
}

/* Through the account's rate. 0: on its way or queued. */
static int call_admit(struct call *call)
{
    if (!is_paced(call)) return call_send(call);
    if (call->has_slot) {
        call->has_slot = false; /* a repetition queues */
        return call_send(call);
    }
    bool first = call->req.urgent || call->throttled;
    call->pace.order = call->req.emergency ? AWS_PACE_EMERGENCY : first ? AWS_PACE_BEGUN : AWS_PACE_ORDINARY;
    call->pace.leave_by_mono_ms = leave_by(call);
    int rc = aws_pace_enter(call->c->pace, call->req.account, family_of(call), &call->pace);
    return rc > 0 ? call_send(call) : rc;
}

static void on_turn(void *arg, struct aws_pace_item *item, bool expired)
{
    struct aws_call *c = arg;
    if (item->order == AWS_PACE_TURN) {
        aws_turns_granted(&c->turns, item);
        return;
    }
    struct call *call = (struct call *)(void *)((char *)item - offsetof(struct call, pace));
    int rc = expired ? ERR_TIMEOUT : call_send(call);
    if (rc < 0) finish_error(call, rc, expired ? "its time passed while it waited for the account's rate" : "");
}

static void on_identity(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct call *call = self;
    const struct aws_creds_result *got = result;
    if (!call->c) {
        call_free(call);
        return;
    }
    int rc = got->err;
    if (rc == 0) {
        call->identity = aws_identity_ref(got->identity);
        rc = call_admit(call);
    }
    if (rc < 0) finish_error(call, rc, got->err ? got->message : "");
}

/* Starts the call, or starts it again. 0: it will complete later; else nothing happened. */
static int call_begin(struct call *call)
{
    struct aws_call *c = call->c;
    if (call->probe) return call_admit(call);
    struct aws_identity *now = aws_creds_now(c->o.creds, call->req.account);
    if (now && now != call->identity) {
        aws_identity_unref(call->identity);
        call->identity = aws_identity_ref(now);
    }
    if (now) return call_admit(call);
    aws_identity_unref(call->identity);
    call->identity = NULL;
    return aws_creds_get(c->o.creds, call->req.account, (struct ticket){.done = on_identity, .self = call});
}

/* ---- the port ---- */

static const char *keep(char **at, const char *text)
{
    if (!text) return NULL;
    size_t len = strlen(text) + 1;
    char *copy = memcpy(*at, text, len);
    *at += len;
    return copy;
}

static size_t kept(const char *text)
{
    return text ? strlen(text) + 1 : 0;
}

/* Copies a request; the call is not linked yet. */
static struct call *call_new(struct aws_call *c, const struct aws_request *req, struct ticket t)
{
    size_t text = kept(req->account) + kept(req->user) + kept(req->key_id) + kept(req->bucket) + kept(req->region) +
                  kept(req->session_note);
    struct call *call = calloc(1, sizeof(*call) + text);
    if (!call) return NULL;
    char *at = call->text;
    call->c = c;
    call->ticket = t;
    call->req = *req;
    call->req.account = keep(&at, req->account);
    call->req.user = keep(&at, req->user);
    call->req.key_id = keep(&at, req->key_id);
    call->req.bucket = keep(&at, req->bucket);
    call->req.region = keep(&at, req->region);
    call->req.session_note = keep(&at, req->session_note);
    (void)trace_header(req->traceparent, call->trace);
    call->req.traceparent = NULL;
    call->req.probe_secret = NULL;
    call->req.turn = NULL;
    if (req->timeout_ms <= 0) call->req.timeout_ms = DEFAULT_TIMEOUT_MS;
    call->wall_ms = aws_call_now_ms(c);
    call->sent_wall_ms = TIME_NONE;
    buf_init(&call->form, FORM_MAX);
    buf_init_secret(&call->head, HEAD_MAX);
    return call;
}

/* A note goes into a header: printable, without blanks. */
static bool note_valid(const char *note)
{
    for (size_t i = 0; note && note[i]; i++)
        if (i == 128 || note[i] <= 0x20 || note[i] >= 0x7f) return false;
    return true;
}

static int check(const struct aws_request *req)
{
    bool probe = req->probe_secret != NULL;
    if ((unsigned)req->op >= AWS_OPS || !note_valid(req->session_note)) return ERR_INVALID;
    if (probe && !aws_key_id_valid(req->key_id)) return ERR_INVALID;
    if (req->op == AWS_LIST_BUCKET)
        return probe && aws_bucket_name_valid(req->bucket) && (!req->region || aws_region_valid(req->region))
                   ? 0
                   : ERR_INVALID;
    if (req->op == AWS_CALLER_IDENTITY) return 0;
    return aws_account_valid(req->account) && !probe ? aws_iam_check(req) : ERR_INVALID;
}

static int launch(struct aws_call *c, struct call *call)
{
    TAILQ_INSERT_TAIL(&c->calls, call, link);
    int rc = call_begin(call);
    if (rc == 0) return 0;
    TAILQ_REMOVE(&c->calls, call, link);
    call_free(call);
    return rc;
}

static int port_call(void *self, const struct aws_request *req, struct ticket t)
{
    struct aws_call *c = self;
    int rc = c->closing ? ERR_CANCELLED : check(req);
    if (rc < 0) return rc;
    struct call *call = call_new(c, req, t);
    if (!call) return ERR_NOMEM;
    if (req->probe_secret && !(call->probe = secret_copy(req->probe_secret))) {
        call_free(call);
        return ERR_NOMEM;
    }
    if (req->turn && is_iam(call) && family_of(call) == AWS_FAMILY_READ)
        call->has_slot = aws_turns_use(&c->turns, req->turn, &call->pace.epoch);
    return launch(c, call);
}

struct aws_turn_port aws_call_turns(struct aws_call *c)
{
    return aws_turns_port(&c->turns);
}

void aws_call_budgets(const struct aws_call *c, void (*fn)(void *arg, const struct aws_pace_view *v), void *arg)
{
    aws_pace_each(c->pace, fn, arg);
}

struct aws_port aws_call_port(struct aws_call *c)
{
    return (struct aws_port){.self = c, .call = port_call};
}

int aws_call_raw_iam(struct aws_call *c, const char *account, const char *action, const char *form, struct ticket t)
{
    if (!aws_account_valid(account)) return ERR_INVALID;
    struct aws_request req = {.op = AWS_GET_USER, .account = account, .timeout_ms = RAW_TIMEOUT_MS};
    struct call *call = call_new(c, &req, t);
    if (!call) return ERR_NOMEM;
    call->raw = true;
    int rc =
        buf_addf(&call->form, "Action=%s&Version=2010-05-08%s%s", action, form && *form ? "&" : "", form ? form : "");
    if (rc == 0) return launch(c, call);
    call_free(call);
    return rc;
}
