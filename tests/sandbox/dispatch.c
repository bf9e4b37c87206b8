/* From a request to its reply: route, fault, verify, act, book.
 *
 * Which service a request is for is told by its host name when that names one (iam.*, sts.REGION.*, s3.REGION.*,
 * BUCKET.s3.REGION.*, LICENCE.i.*, each under localhost or amazonaws.com), else by its form: /LICENCE/jsonapi/ is an
 * instance, a Version of the Query protocol is IAM or STS, the rest is S3 in path style.
 *
 * A fault rule acts at one of three places: instead of the action, between its effect and the reply, or by moving
 * the effect to a later time. The signature is verified on arrival in every case, as a real service would. */
#include "tests/sandbox/dispatch.h"

#include "tests/sandbox/access.h"
#include "tests/sandbox/books.h"
#include "tests/sandbox/control.h"
#include "tests/sandbox/faults.h"
#include "tests/sandbox/iam.h"
#include "tests/sandbox/reply.h"
#include "tests/sandbox/s3.h"
#include "tests/sandbox/sigv4.h"
#include "tests/sandbox/sts.h"
#include "tests/sandbox/synergist.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <time.h>

/* ---- routing --------------------------------------------------------------------------------------------- */

/* What a host name says. Empty strings where it says nothing. */
struct place {
    const char *service; /* "iam", "sts", "s3", "i" or "" */
    const char *region;  /* NULL when none is named */
    const char *first;   /* bucket or licence in front of the service, NULL when there is none */
};

/* Cuts off port and domain, in lower case; NULL when the host is under neither localhost nor amazonaws.com. */
static char *local_name(struct request *r)
{
    static const char *const domains[] = {".localhost", ".amazonaws.com"};
    size_t len = strcspn(r->host, ":");
    for (size_t i = 0; i < 2; i++) {
        size_t cut = strlen(domains[i]);
        if (len <= cut || strncasecmp(r->host + len - cut, domains[i], cut) != 0) continue;
        char *name = arena_dup(&r->arena, r->host, len - cut);
        for (char *p = name; *p; p++) *p = (char)tolower((unsigned char)*p);
        return name;
    }
    return NULL;
}

static struct place read_host(struct request *r)
{
    struct place place = {"", NULL, NULL};
    char *name = local_name(r);
    if (!name) return place;
    char *before = NULL;
    for (char *label = name; label;) {
        char *dot = strchr(label, '.'), *next = dot ? dot + 1 : NULL;
        size_t len = dot ? (size_t)(dot - label) : strlen(label);
        bool service = (len == 3 && (strncmp(label, "iam", 3) == 0 || strncmp(label, "sts", 3) == 0)) ||
                       (len == 2 && strncmp(label, "s3", 2) == 0) || (len == 1 && *label == 'i');
        if (service) {
            label[len] = 0;
            place.service = label;
            place.region = next && *label != 'i' ? next : NULL;
            if (before) label[-1] = 0;
            place.first = before;
            return place;
        }
        before = name;
        label = next;
    }
    return place;
}

static void route_query_api(struct request *r, enum service service)
{
    const char *name = form_get(&r->params, "Action");
    r->service = service;
    const char *known = !name ? NULL : service == SVC_IAM ? iam_action(name) : sts_action(name);
    r->action = known ? known : "";
}

static void route(struct world *w, struct request *r)
{
    struct place place = read_host(r);
    const char *version = form_get(&r->params, "Version");
    r->action = "";
    r->endpoint_region = place.region;
    if (strncmp(r->path, "/_control/", 10) == 0)
        r->service = SVC_CONTROL;
    else if (strcmp(place.service, "iam") == 0)
        route_query_api(r, SVC_IAM);
    else if (strcmp(place.service, "sts") == 0)
        route_query_api(r, SVC_STS);
    else if (strcmp(place.service, "i") == 0)
        (void)synergist_route(w, r, place.first);
    else if (!*place.service && synergist_route(w, r, NULL))
        return;
    else if (!*place.service && version && strcmp(version, "2010-05-08") == 0)
        route_query_api(r, SVC_IAM);
    else if (!*place.service && version && strcmp(version, "2011-06-15") == 0)
        route_query_api(r, SVC_STS);
    else {
        r->service = SVC_S3;
        s3_route(w, r, strcmp(place.service, "s3") == 0 ? place.first : NULL);
    }
}

static void find_signer(struct world *w, struct request *r)
{
    r->auth = sigv4_read(r);
    r->signer = r->auth ? key_find(w, r->auth->key_id) : NULL;
    if (!r->signer) return;
    r->account = r->signer->user ? r->signer->user->account : r->signer->session->account;
    if (r->service == SVC_IAM) iam_target(w, r);
    if (r->service == SVC_STS && r->signer->user) r->licence = r->signer->user->licence;
    if (!r->target) r->target = r->licence ? r->licence->user : NULL;
}

static void parse_params(struct request *r)
{
    const char *type = request_header(r, "content-type");
    form_parse(&r->arena, &r->params, r->query, strlen(r->query));
    if (!type || !r->body.len) return;
    if (strncasecmp(type, "application/x-www-form-urlencoded", 33) == 0)
        form_parse(&r->arena, &r->params, r->body.data, r->body.len);
    else if (strncasecmp(type, "multipart/form-data", 19) == 0)
        (void)form_parse_multipart(&r->arena, &r->params, type, r->body.data, r->body.len);
}

/* ---- verifying and acting -------------------------------------------------------------------------------- */

/* Returns true when the request may be carried out; the refusal is in r->reply otherwise. */
static bool verify(struct world *w, struct request *r)
{
    struct sigv4_failure why;
    if (r->service == SVC_INSTANCE) return true;
    if (r->service == SVC_STS && sts_unsigned(r->action)) return true;
    if (r->service == SVC_S3 && s3_redirected(w, r)) return false;
    const char *region = r->service == SVC_IAM  ? "us-east-1"
                         : r->service == SVC_S3 ? (r->licence ? r->licence->region : w->region)
                                                : r->endpoint_region;
    if (sigv4_verify(w, r, region, &why)) {
        access_identify(w, r);
        return true;
    }
    reply_error(w, r, why.http, why.code, why.message);
    return false;
}

static void act(struct world *w, struct request *r)
{
    switch (r->service) {
    case SVC_IAM:
        iam_handle(w, r);
        break;
    case SVC_STS:
        sts_handle(w, r);
        break;
    case SVC_S3:
        s3_handle(w, r);
        break;
    case SVC_INSTANCE:
        synergist_handle(w, r);
        break;
    default:
        control_handle(w, r);
    }
}

static void server_error(struct world *w, struct request *r)
{
    r->reply.n_extra = 0;
    if (r->service == SVC_S3)
        reply_error(w, r, 500, "InternalError", "We encountered an internal error.");
    else if (r->service == SVC_INSTANCE)
        reply_error(w, r, 500, "404500", "internal error");
    else
        reply_error(w, r, 500, r->service == SVC_IAM ? "ServiceFailure" : "InternalFailure",
                    "The request processing has failed because of an unknown error, exception or failure.");
}

static void throttled(struct world *w, struct request *r)
{
    if (r->service == SVC_S3)
        reply_error(w, r, 503, "SlowDown", "Please reduce your request rate.");
    else if (r->service == SVC_INSTANCE)
        reply_error(w, r, 503, "404500", "server busy");
    else
        reply_error(w, r, 400, "Throttling", "Rate exceeded");
}

/* ---- faults ---------------------------------------------------------------------------------------------- */

/* Effects that come instead of the action. Returns true when the reply is made. */
static bool fault_before(struct world *w, struct request *r, const struct fault *f)
{
    switch (f->kind) {
    case FAULT_REFUSE:
        reply_error(w, r, f->http, f->text, "Refused by a fault rule.");
        return true;
    case FAULT_THROTTLE:
        throttled(w, r);
        return true;
    case FAULT_CLOSE_BEFORE:
        r->reply.end = REPLY_CLOSE;
        return true;
    case FAULT_TIMEOUT:
        r->reply.delay_ms = f->ms;
        r->reply.end = REPLY_CLOSE;
        return true;
    case FAULT_REDIRECT:
        reply_error(w, r, 307, "TemporaryRedirect", "Please re-send this request to the specified endpoint.");
        reply_header(r, "Location", f->text);
        return true;
    case FAULT_RETRY_AFTER:
        throttled(w, r);
        reply_header(r, "Retry-After", arena_printf(&r->arena, "%lld", (long long)(f->ms + 999) / 1000));
        reply_header(r, "x-amz-retry-after", arena_printf(&r->arena, "%lld", (long long)f->ms));
        return true;
    case FAULT_STALE_LIST:
        r->stale_ms = f->ms;
        return false;
    default:
        return false;
    }
}

/* Effects that spoil the reply of an action that was carried out. */
static void fault_after(struct world *w, struct request *r, const struct fault *f)
{
    switch (f->kind) {
    case FAULT_EFFECT_THEN_CLOSE:
        r->reply.end = REPLY_CLOSE;
        break;
    case FAULT_EFFECT_THEN_500:
        server_error(w, r);
        break;
    case FAULT_SLOW:
        r->reply.delay_ms += f->ms;
        break;
    case FAULT_BAD_XML:
        if (r->reply.body.len > 2) r->reply.body.len /= 2; /* cut off in the middle of an element */
        buf_puts(&r->reply.body, "<\x01&");
        break;
    case FAULT_ENDLESS_BODY:
        r->reply.end = REPLY_ENDLESS;
        break;
    default:
        break;
    }
}

/* ---- the whole ------------------------------------------------------------------------------------------- */

static int64_t latency(struct world *w, enum service s)
{
    return w->set.latency_ms[s] + (w->set.jitter_ms[s] ? rng_between(&w->rng, 0, w->set.jitter_ms[s]) : 0);
}

static enum dispatched carry_out(struct world *w, struct request *r)
{
    struct fault *f = faults_match(w, r);
    r->reply.delay_ms = latency(w, r->service);
    if (f && fault_before(w, r, f)) return DISPATCHED_REPLY;
    if (!verify(w, r)) return DISPATCHED_REPLY;
    if (f && (f->kind == FAULT_DELAY_EFFECT || f->kind == FAULT_CLOSE_THEN_EFFECT)) {
        r->reply.delay_ms = f->ms;
        return f->kind == FAULT_DELAY_EFFECT ? DISPATCHED_LATER : DISPATCHED_CLOSE_AND_LATER;
    }
    act(w, r);
    if (f) fault_after(w, r, f);
    return DISPATCHED_REPLY;
}

static int64_t mono_us(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000 + t.tv_nsec / 1000;
}

enum dispatched dispatch(struct world *w, struct request *r)
{
    int64_t began = mono_us();
    r->now_ms = world_now_ms(w);
    parse_params(r);
    route(w, r);
    enum dispatched next = DISPATCHED_REPLY;
    if (r->service == SVC_CONTROL) {
        control_handle(w, r);
    } else {
        if (r->service != SVC_INSTANCE) find_signer(w, r);
        next = carry_out(w, r);
    }
    if (next == DISPATCHED_REPLY) books_call(w, r, mono_us() - began);
    return next;
}

void dispatch_late(struct world *w, struct request *r)
{
    r->now_ms = world_now_ms(w);
    act(w, r);
    r->reply.end = REPLY_CLOSE; /* the effect came, its reply is lost */
    books_call(w, r, 0);
}
