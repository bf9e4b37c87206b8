/* What stands in for the loop, the clock and HTTP in the tests of the AWS edge: defined here, so that the archive's own
 * objects are not linked. Time is turned by hand; a request lies in `sent` until the test lets it leave and replies. */
#ifndef KEYROLL_FAKE_AWS_H
#define KEYROLL_FAKE_AWS_H

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/http.h"
#include "lib/loop.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/queue.h>

#include <cmocka.h>

/* ---- clock ---- */

static int64_t fake_wall = INT64_C(1795423980000), fake_mono = 1000000; /* 2026-11-23T08:53:00Z */
static int64_t fake_wall_ms(void *self)
{
    (void)self;
    return fake_wall;
}
static int64_t fake_mono_ms(void *self)
{
    (void)self;
    return fake_mono;
}
static const struct clock fake_clock = {.wall_ms = fake_wall_ms, .mono_ms = fake_mono_ms};

/* ---- timers ---- */

struct loop_timer {
    LIST_ENTRY(loop_timer) link;
    loop_fn fn;
    void *arg;
    int64_t due; /* -1: not started */
};
static LIST_HEAD(, loop_timer) fake_timers = LIST_HEAD_INITIALIZER(fake_timers);

struct loop_timer *loop_timer_new(struct loop *l, loop_fn fn, void *arg)
{
    (void)l;
    struct loop_timer *t = calloc(1, sizeof(*t));
    t->fn = fn;
    t->arg = arg;
    t->due = -1;
    LIST_INSERT_HEAD(&fake_timers, t, link);
    return t;
}
void loop_timer_start(struct loop_timer *t, int64_t delay_ms)
{
    t->due = fake_mono + delay_ms;
}
void loop_timer_stop(struct loop_timer *t)
{
    t->due = -1;
}
void loop_timer_free(struct loop_timer *t)
{
    if (!t) return;
    LIST_REMOVE(t, link);
    free(t);
}

/* Turns time forward by ms and fires what is due on the way, in order. */
static void turn(int64_t ms)
{
    for (int64_t end = fake_mono + ms;;) {
        struct loop_timer *t, *next = NULL;
        LIST_FOREACH(t, &fake_timers, link)
        if (t->due >= 0 && t->due <= end && (!next || t->due < next->due)) next = t;
        int64_t to = next ? next->due : end;
        if (to > fake_mono) {
            fake_wall += to - fake_mono;
            fake_mono = to;
        }
        if (!next) return;
        next->due = -1;
        next->fn(next->arg);
    }
}

/* ---- HTTP ---- */

struct sent {
    struct http_request req; /* url and body copied */
    struct ticket t;
    bool open, left;
    int64_t left_at;
    char given[256]; /* the first header that came with the request */
    char headers[12][2048];
    size_t n_headers;
};
static struct sent sent[4096];
static size_t n_sent, n_answered;
static int fake_http_send_fails;

int http_send(struct http *h, const struct http_request *req, struct ticket t)
{
    (void)h;
    if (fake_http_send_fails) return fake_http_send_fails;
    struct sent *s = &sent[n_sent++];
    memset(s, 0, sizeof(*s));
    s->req = *req;
    s->req.url = strdup(req->url);
    s->req.body = req->body ? memcpy(calloc(1, req->body_len + 1), req->body, req->body_len) : NULL;
    if (req->headers && req->headers[0]) (void)snprintf(s->given, sizeof(s->given), "%s", req->headers[0]);
    s->t = t;
    s->open = true;
    return 0;
}

static void sent_close(struct sent *s, const struct http_reply *r)
{
    s->open = false;
    n_answered++;
    ticket_complete(s->t, r);
    free((void *)(uintptr_t)s->req.url);
    free((void *)(uintptr_t)s->req.body);
    s->req.url = s->req.body = NULL;
}

static const struct http_reply reply_nothing = {.body = "",
                                                .content_type = "",
                                                .location = "",
                                                .date_ms = TIME_NONE,
                                                .retry_after_ms = -1,
                                                .request_id = "",
                                                .bucket_region = "",
                                                .detail = ""};

/* Lets a request leave the queue; false when it refused (and completed). */
static inline bool leave(struct sent *s)
{
    const char *const *headers = NULL;
    assert_true(s->open && !s->left);
    int rc = s->req.prepare(s->req.prepare_arg, &headers);
    if (rc) {
        struct http_reply r = reply_nothing;
        r.err = rc;
        sent_close(s, &r);
        return false;
    }
    s->left = true;
    s->left_at = fake_mono;
    for (; headers && *headers; headers++)
        (void)snprintf(s->headers[s->n_headers++], sizeof(s->headers[0]), "%s", *headers);
    return true;
}

static inline const char *header(const struct sent *s, const char *name)
{
    for (size_t i = 0; i < s->n_headers; i++)
        if (strncmp(s->headers[i], name, strlen(name)) == 0 && s->headers[i][strlen(name)] == ':')
            return s->headers[i] + strlen(name) + 2;
    return NULL;
}

/* The oldest request without a reply. */
static inline struct sent *oldest(void)
{
    for (size_t i = 0; i < n_sent; i++)
        if (sent[i].open) return &sent[i];
    fail_msg("nothing is under way");
    return NULL;
}

static inline void reply_with(struct sent *s, struct http_reply r)
{
    if (!s->left && !leave(s)) return;
    r.started_mono_ms = s->left_at;
    r.body_len = strlen(r.body);
    sent_close(s, &r);
}

static inline void reply(struct sent *s, int status, const char *body)
{
    struct http_reply r = reply_nothing;
    r.status = status;
    r.body = body;
    reply_with(s, r);
}

static inline void reply_lost(struct sent *s, int err)
{
    struct http_reply r = reply_nothing;
    r.err = err;
    r.detail = "as the test wishes";
    reply_with(s, r);
}

static void fake_reset(void)
{
    while (n_answered < n_sent) {
        struct http_reply r = reply_nothing;
        r.err = ERR_CANCELLED;
        sent_close(oldest(), &r);
    }
    n_sent = n_answered = 0;
    fake_http_send_fails = 0;
}

#endif
