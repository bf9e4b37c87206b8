/* HTTP client: one curl multi handle (socket API) on the loop.
 *
 * Requests wait in a queue per class, oldest first behind those marked `ahead`, as one small block each; a fixed set of
 * easy handles per class, made when first needed and kept warm, takes them from there. libcurl's cost per transfer
 * grows with the number of transfers it holds for one host, so it never holds more than that set. Instances that keep
 * silent must not take the set from the others: a transfer that has been under way for SLOW_MS lends its place, so
 * there may be twice as many of that class as long as so many are slow.
 *
 * Sockets are watched by an epoll descriptor of our own, itself watched by the loop: a change that libcurl takes back
 * in the same turn (a kept connection goes idle and is taken again) costs no system call, and one turn takes only as
 * many ready sockets as fit its time budget; the others stay ready for the next turn. A TLS handshake is 1.3 ms of CPU
 * and cannot be cut, hence also the limit on connections opened per turn.
 *
 * libcurl is only called from our own entry points (on_kick, on_ready, on_timeout, http_new, http_free), never from its
 * callbacks; a zero timeout becomes a deferred call. Completions run from those entry points too, never inside
 * http_send().
 *
 * "Sent" means that libcurl wrote at least one byte of the request (CURLINFO_REQUEST_SIZE): then the effect is unknown.
 * libcurl repeats a POST by itself when a reused connection dies before the first byte of the reply; only
 * fresh_connection prevents that (7.88.1, no option turns it off).
 *
 * Secrets: the blocks and reply buffers are wiped (http_request.h, http_handle.h), and SSLKEYLOGFILE is taken out of
 * the environment.
 *
 * libcurl forgets a transfer's timeout when anything else is due for it within the last millisecond before (7.88.1,
 * add_next_timeout()): it ends with the next byte then, or never. So the sweep ends what is over.
 *
 * Limits: HTTP/1.1, no redirects, no cookies, no compression, no request streaming. Names are resolved in libcurl's
 * threads. Queue timeouts are exact for the first one due, others up to SWEEP_MIN_MS late. */
#include "lib/http.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/http_handle.h"
#include "lib/http_valid.h"
#include "lib/loop.h"

#include <assert.h>
#include <curl/curl.h>
#include <errno.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    DEFAULT_HANDLES = 128, /* measured: at 256 to one host a request costs a quarter more CPU */
    DEFAULT_HANDLES_IAM = 64,
    DEFAULT_HANDSHAKES_PER_TURN = 8,
    TURN_BUDGET_US = 4000,    /* after this much time in a turn, sockets and starts wait for the next */
    READY_PER_TURN = 128,     /* ready sockets taken per turn */
    KEEP_OPEN_PER_CLASS = 32, /* beyond it a fresh connection is closed after its request */
    SPARE_CONNECTIONS = 64,
    SWEEP_MIN_MS = 200, /* a sweep walks queues and handles */
    LATE_MS = 100,      /* after its timeout a transfer is ended here */
    SLOW_MS = 500,
};
#define DEFAULT_CA_FILE "/etc/ssl/certs/ca-certificates.crt"
#define FAR_AWAY_MS     INT64_MAX

/* A place for one transfer. */
struct slot {
    struct http_handle handle;
    struct http *h;
    enum http_class class;
    struct request *r; /* owned; NULL: the slot is free */
    struct slot *next_free;
    TAILQ_ENTRY(slot) under_way;
    bool slow;                             /* it lent its place */
    int64_t started_mono_ms, over_mono_ms; /* over: libcurl should have ended it before */
};

struct queue {
    struct request *first, *last, *last_ahead;     /* those that go ahead stand in front; NULL: there are none */
    struct slot **slots;                           /* owned; slots_len made so far */
    unsigned slots_len, slots_max, slots_lent_max; /* lent: on top of slots_max */
    struct slot *free_slots;
    TAILQ_HEAD(, slot) under_way; /* in the order in which they began */
    struct slot *next_slow;       /* the oldest of them that is not slow yet */
    unsigned n_slow;
    unsigned queued, running;
    unsigned open;          /* sockets */
    int64_t due_mono_ms[2]; /* no request is due earlier, by `ahead` */
};

/* A descriptor libcurl told us about. */
struct sock {
    uint8_t wanted, armed; /* CURL_POLL_IN | CURL_POLL_OUT */
    bool ours;             /* opened by on_open_socket; else libcurl's own (resolver) */
    bool dirty;            /* in http.dirty */
    enum http_class class; /* valid when ours */
};

struct http {
    struct loop *l;
    CURLM *multi;
    bool curl_ready;
    int epoll_fd;
    struct loop_fd *epoll_watch;
    struct loop_timer *timer, *sweep;
    struct loop_turn *turn;
    struct queue queues[HTTP_CLASSES];
    struct sock *socks; /* by descriptor */
    size_t socks_len;
    int *dirty; /* descriptors whose wanted and armed may differ */
    size_t dirty_len, dirty_cap;
    char *ca_file, *user_agent;
    unsigned handshakes_per_turn;
    bool kicked;      /* on_kick is deferred */
    bool timeout_due; /* libcurl asked for a timeout of zero */
    bool held_back;   /* this turn's limits left requests in a queue */
    bool closing;
    int depth;             /* > 0 inside an entry point: http_free is not allowed */
    int64_t turn_began_us; /* 0: nothing done in this turn yet */
    unsigned handshakes;   /* TLS connections begun in this turn */
    int64_t sweep_at_mono_ms;
};

static int64_t mono_us(void)
{
    struct timespec ts;
    (void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail */
    return (int64_t)ts.tv_sec * 1000000 + ts.tv_nsec / 1000;
}

/* ---- sockets ---- */

static struct sock *sock_at(struct http *h, curl_socket_t fd)
{
    if (fd < 0) return NULL;
    if ((size_t)fd < h->socks_len) return &h->socks[fd];
    size_t len = h->socks_len ? h->socks_len : 64;
    while (len <= (size_t)fd) len *= 2;
    struct sock *socks = reallocarray(h->socks, len, sizeof *socks);
    if (!socks) return NULL;
    memset(socks + h->socks_len, 0, (len - h->socks_len) * sizeof *socks);
    h->socks = socks;
    h->socks_len = len;
    return &h->socks[fd];
}

/* The epoll set is brought in line with what libcurl wants. ENOENT and EEXIST mean that the descriptor was closed and
 * its number used again behind our back; the opposite operation is then right. */
static void sock_arm(struct http *h, int fd)
{
    struct sock *s = &h->socks[fd];
    if (s->wanted == s->armed) return;
    struct epoll_event ev = {.data.fd = fd};
    if (s->wanted & CURL_POLL_IN) ev.events |= EPOLLIN;
    if (s->wanted & CURL_POLL_OUT) ev.events |= EPOLLOUT;
    int op = s->wanted == 0 ? EPOLL_CTL_DEL : s->armed == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD;
    int rc = epoll_ctl(h->epoll_fd, op, fd, &ev);
    if (rc < 0 && op == EPOLL_CTL_ADD && errno == EEXIST) rc = epoll_ctl(h->epoll_fd, EPOLL_CTL_MOD, fd, &ev);
    if (rc < 0 && op == EPOLL_CTL_MOD && errno == ENOENT) (void)epoll_ctl(h->epoll_fd, EPOLL_CTL_ADD, fd, &ev);
    s->armed = s->wanted; /* a socket that cannot be watched ends by its transfer's timeout */
}

static bool mark_dirty(struct http *h, int fd)
{
    if (h->socks[fd].dirty) return true;
    if (h->dirty_len == h->dirty_cap) {
        size_t cap = h->dirty_cap ? h->dirty_cap * 2 : 64;
        int *dirty = reallocarray(h->dirty, cap, sizeof *dirty);
        if (!dirty) return false;
        h->dirty = dirty;
        h->dirty_cap = cap;
    }
    h->dirty[h->dirty_len++] = fd;
    h->socks[fd].dirty = true;
    return true;
}

static void arm_dirty(struct http *h)
{
    for (size_t i = 0; i < h->dirty_len; i++) {
        h->socks[h->dirty[i]].dirty = false;
        sock_arm(h, h->dirty[i]);
    }
    h->dirty_len = 0;
}

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    (void)easy, (void)unused;
    struct http *h = arg;
    struct sock *s = sock_at(h, fd);
    if (!s) return -1;
    s->wanted = what == CURL_POLL_REMOVE ? 0 : (uint8_t)(what & CURL_POLL_INOUT);
    /* libcurl closes its resolver's descriptors without telling: those follow at once. */
    if (!s->ours || !mark_dirty(h, fd)) sock_arm(h, fd);
    return 0;
}

static curl_socket_t on_open_socket(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)purpose;
    struct slot *slot = arg;
    struct http *h = slot->h;
    int fd = socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
    if (fd < 0) return CURL_SOCKET_BAD;
    struct sock *s = sock_at(h, fd);
    if (!s) {
        close(fd);
        return CURL_SOCKET_BAD;
    }
    bool dirty = s->dirty;
    *s = (struct sock){.ours = true, .class = slot->class, .dirty = dirty};
    h->queues[slot->class].open++;
    if (slot->r && strncasecmp(slot->r->url, "https", 5) == 0) h->handshakes++;
    return fd;
}

static int on_close_socket(void *arg, curl_socket_t fd)
{
    struct http *h = arg;
    struct sock *s = sock_at(h, fd);
    if (s && s->ours) {
        bool dirty = s->dirty;
        h->queues[s->class].open--;
        *s = (struct sock){.dirty = dirty}; /* closing takes it out of the epoll set */
    }
    return close(fd);
}

/* ---- queues ---- */

static void queue_push(struct queue *q, struct request *r)
{
    r->prev = r->ahead ? q->last_ahead : q->last;
    r->next = r->prev ? r->prev->next : q->first;
    if (r->prev)
        r->prev->next = r;
    else
        q->first = r;
    if (r->next)
        r->next->prev = r;
    else
        q->last = r;
    if (r->ahead) q->last_ahead = r;
    if (r->queue_deadline_mono_ms < q->due_mono_ms[r->ahead]) q->due_mono_ms[r->ahead] = r->queue_deadline_mono_ms;
    q->queued++;
}

static void queue_remove(struct queue *q, struct request *r)
{
    if (q->last_ahead == r) q->last_ahead = r->prev;
    if (r->prev)
        r->prev->next = r->next;
    else
        q->first = r->next;
    if (r->next)
        r->next->prev = r->prev;
    else
        q->last = r->prev;
    r->prev = r->next = NULL;
    q->queued--;
}

/* Ends a request without a reply; started_mono_ms is 0 when it never left the queue. */
static void complete_unsent(struct request *r, int64_t started_mono_ms, int err, const char *detail)
{
    const struct http_reply reply = {
        .err = err,
        .body = "",
        .content_type = "",
        .location = "",
        .date_ms = TIME_NONE,
        .retry_after_ms = -1,
        .request_id = "",
        .bucket_region = "",
        .detail = detail,
        .started_mono_ms = started_mono_ms,
    };
    struct ticket t = r->ticket;
    http_request_free(r);
    ticket_complete(t, &reply);
}

/* ---- slots ---- */

static void slot_free(struct slot *slot)
{
    if (!slot) return;
    http_handle_done(&slot->handle);
    free(slot);
}

static struct slot *slot_new(struct http *h, enum http_class class)
{
    struct slot *slot = calloc(1, sizeof *slot);
    if (!slot) return NULL;
    slot->h = h;
    slot->class = class;
    const struct http_handle_options o = {slot, class, h->ca_file, h->user_agent, on_open_socket, on_close_socket, h};
    if (http_handle_init(&slot->handle, &o) == 0) return slot;
    slot_free(slot);
    return NULL;
}

/* ---- places that are lent ---- */

static unsigned lent(const struct queue *q)
{
    return q->n_slow < q->slots_lent_max ? q->n_slow : q->slots_lent_max;
}

static bool has_place(const struct queue *q)
{
    return q->running < q->slots_max + lent(q);
}

/* Finds who became slow. Returns when the next one will, FAR_AWAY_MS: none. */
static int64_t find_slow(struct queue *q, int64_t now)
{
    for (; q->next_slow; q->next_slow = TAILQ_NEXT(q->next_slow, under_way)) {
        int64_t slow_at = q->next_slow->started_mono_ms + SLOW_MS;
        if (slow_at > now) return slow_at;
        q->next_slow->slow = true;
        q->n_slow++;
    }
    return FAR_AWAY_MS;
}

static void begins(struct queue *q, struct slot *slot)
{
    TAILQ_INSERT_TAIL(&q->under_way, slot, under_way);
    if (!q->next_slow) q->next_slow = slot;
    slot->slow = false;
    q->running++;
}

static void ends(struct queue *q, struct slot *slot)
{
    if (q->next_slow == slot) q->next_slow = TAILQ_NEXT(slot, under_way);
    TAILQ_REMOVE(&q->under_way, slot, under_way);
    q->n_slow -= slot->slow;
    q->running--;
}

/* A free slot, made on first use; NULL when all are busy. When there is no memory for another, the set ends at its
 * present size; a class without any slot fails its oldest request instead of waiting for ever. */
static struct slot *slot_take(struct http *h, enum http_class class)
{
    struct queue *q = &h->queues[class];
    struct slot *slot = q->free_slots;
    if (!has_place(q)) return NULL;
    if (slot) {
        q->free_slots = slot->next_free;
        return slot;
    }
    if (q->slots_len == q->slots_max + q->slots_lent_max) return NULL;
    slot = slot_new(h, class);
    if (slot) {
        q->slots[q->slots_len++] = slot;
    } else if (q->slots_len > 0) {
        if (q->slots_max > q->slots_len) q->slots_max = q->slots_len;
        q->slots_lent_max = q->slots_len - q->slots_max;
    } else {
        struct request *r = q->first;
        queue_remove(q, r);
        complete_unsent(r, 0, ERR_NOMEM, "no memory for a transfer");
    }
    return slot;
}

static void slot_give_back(struct slot *slot)
{
    struct queue *q = &slot->h->queues[slot->class];
    http_handle_rest(&slot->handle);
    http_request_free(slot->r);
    slot->r = NULL;
    slot->next_free = q->free_slots;
    q->free_slots = slot;
}

/* ---- starting a transfer ---- */

static bool closes_after(const struct slot *slot)
{
    const struct request *r = slot->r;
    const struct queue *q = &slot->h->queues[r->class];
    unsigned keep = q->slots_max < KEEP_OPEN_PER_CLASS ? q->slots_max : KEEP_OPEN_PER_CLASS;
    return r->last_on_connection || (r->fresh_connection && q->open >= keep);
}

/* Everything that may fail before libcurl owns the transfer. */
static int slot_load(struct slot *slot)
{
    const struct request *r = slot->r;
    const char *const *more = NULL;
    unsigned more_count = 0;
    size_t more_bytes;
    int rc = r->prepare ? r->prepare(r->prepare_arg, &more) : 0;
    if (rc != 0) return rc;
    if (!http_headers_are_valid(more, &more_count, &more_bytes)) return ERR_INVALID;
    rc = http_handle_load(&slot->handle, r, more, more_count, closes_after(slot));
    if (rc < 0) return rc;
    return curl_multi_add_handle(slot->h->multi, slot->handle.easy) == CURLM_OK ? 0 : ERR_NOMEM;
}

static void arm_sweep(struct http *h, int64_t at_mono_ms, int64_t least_ms)
{
    if (at_mono_ms >= h->sweep_at_mono_ms) return;
    int64_t wait_ms = at_mono_ms - clock_mono_ms(&clock_system);
    if (wait_ms < least_ms) wait_ms = least_ms;
    h->sweep_at_mono_ms = at_mono_ms;
    loop_timer_start(h->sweep, wait_ms);
}

/* Moves the oldest request of a class onto a handle. */
static void start_next(struct http *h, struct slot *slot)
{
    struct queue *q = &h->queues[slot->class];
    struct request *r = q->first;
    queue_remove(q, r);
    if (clock_mono_ms(&clock_system) >= r->queue_deadline_mono_ms) {
        slot_give_back(slot);
        complete_unsent(r, 0, ERR_TIMEOUT, "waited too long in the queue");
        return;
    }
    slot->r = r;
    slot->started_mono_ms = clock_mono_ms(&clock_system);
    slot->over_mono_ms =
        r->timeout_ms < FAR_AWAY_MS / 2 ? slot->started_mono_ms + r->timeout_ms + LATE_MS : FAR_AWAY_MS;
    int rc = slot_load(slot);
    if (rc == 0) {
        begins(q, slot);
        arm_sweep(h, slot->over_mono_ms, 0);
        return;
    }
    slot->r = NULL;
    slot_give_back(slot);
    complete_unsent(r, 0, rc, "not sent");
}

/* ---- ending a transfer ---- */

static void complete_slot(struct slot *slot, CURLcode code)
{
    struct http_handle *a = &slot->handle;
    const struct http_head *head = &a->head;
    const int err = http_handle_result(a, code);
    const long status = http_handle_status(a);
    (void)curl_multi_remove_handle(slot->h->multi, a->easy); /* fails for a foreign handle only */
    ends(&slot->h->queues[slot->class], slot);
    const struct http_reply reply = {
        .err = err,
        .status = (int)status,
        .body = buf_str(&a->body),
        .body_len = a->body.len,
        .content_type = head->content_type,
        .location = head->location ? head->location : "",
        .date_ms = head->date_ms,
        .retry_after_ms = http_head_retry_after_ms(head, clock_wall_ms(&clock_system)),
        .request_id = head->request_id,
        .bucket_region = head->bucket_region,
        .detail = http_handle_words(a, code, err),
        .started_mono_ms = slot->started_mono_ms,
    };
    ticket_complete(slot->r->ticket, &reply);
    slot_give_back(slot);
}

/* ---- the turn ---- */

static bool budget_left(const struct http *h)
{
    return mono_us() - h->turn_began_us < TURN_BUDGET_US;
}

static void enter(struct http *h)
{
    h->depth++;
    if (h->turn_began_us == 0) h->turn_began_us = mono_us();
}

static void on_kick(void *arg);

static int kick(struct http *h)
{
    if (h->kicked || h->closing) return 0;
    int rc = loop_defer(h->l, on_kick, h);
    h->kicked = rc == 0;
    return rc;
}

static bool anything_startable(const struct http *h)
{
    for (int c = 0; c < HTTP_CLASSES; c++) {
        const struct queue *q = &h->queues[c];
        if (q->first && has_place(q) && (q->free_slots || q->slots_len < q->slots_max + q->slots_lent_max)) return true;
    }
    return false;
}

static void stop_idle_sweep(struct http *h)
{
    for (int c = 0; c < HTTP_CLASSES; c++)
        if (h->queues[c].first || h->queues[c].running) return;
    if (h->sweep_at_mono_ms == FAR_AWAY_MS) return;
    h->sweep_at_mono_ms = FAR_AWAY_MS;
    loop_timer_stop(h->sweep);
}

/* When requests wait for a place: who lends one now, and a look when the next one will. */
static void look_for_slow(struct http *h)
{
    for (int c = 0; c < HTTP_CLASSES; c++) {
        struct queue *q = &h->queues[c];
        if (!q->slots_lent_max || !q->first || has_place(q)) continue;
        int64_t slow_at = find_slow(q, clock_mono_ms(&clock_system));
        if (slow_at != FAR_AWAY_MS) arm_sweep(h, slow_at, 0);
    }
}

/* Requests, queued or running, keep the loop alive by the sweep timer. */
static void leave(struct http *h)
{
    h->depth--;
    stop_idle_sweep(h);
    look_for_slow(h);
    if (!h->timeout_due && (h->held_back || !anything_startable(h))) return;
    if (kick(h) < 0) loop_timer_start(h->timer, 1); /* no memory for a deferred call: soon, then */
}

/* Completes what ended. */
static void harvest(struct http *h)
{
    int left;
    for (CURLMsg *m; (m = curl_multi_info_read(h->multi, &left));) {
        struct slot *slot = NULL;
        CURLcode code = m->data.result; /* m dies with its handle */
        if (m->msg != CURLMSG_DONE) continue;
        if (curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&slot) != CURLE_OK || !slot) continue;
        complete_slot(slot, code);
    }
}

static void act(struct http *h, curl_socket_t fd, int events)
{
    int running;
    if (fd == CURL_SOCKET_TIMEOUT) h->timeout_due = false;
    (void)curl_multi_socket_action(h->multi, fd, events, &running); /* failures arrive as messages */
    harvest(h);
}

/* Starts requests, a class after the other, until queues, handles or this turn's limits end. Each class may start one
 * even when the time is over, so that none starves. */
static void start_queued(struct http *h)
{
    bool progress = true;
    h->held_back = false;
    for (int round = 0; progress; round++) {
        progress = false;
        for (enum http_class c = 0; c < HTTP_CLASSES; c++) {
            if (!h->queues[c].first) continue;
            if (h->handshakes >= h->handshakes_per_turn || (round > 0 && !budget_left(h))) {
                h->held_back = true;
                return;
            }
            struct slot *slot = slot_take(h, c);
            if (!slot) continue; /* all are busy */
            start_next(h, slot);
            progress = true;
            if (h->timeout_due) act(h, CURL_SOCKET_TIMEOUT, 0); /* sends it, or opens its connection */
        }
    }
}

static void on_kick(void *arg)
{
    struct http *h = arg;
    h->kicked = false;
    enter(h);
    if (h->timeout_due) act(h, CURL_SOCKET_TIMEOUT, 0);
    start_queued(h);
    leave(h);
}

static void on_timeout(void *arg)
{
    struct http *h = arg;
    enter(h);
    act(h, CURL_SOCKET_TIMEOUT, 0);
    leave(h);
}

static int events_of(const struct sock *s, uint32_t events)
{
    int action = 0;
    if (events & (EPOLLIN | EPOLLHUP | EPOLLRDHUP)) action |= CURL_CSELECT_IN;
    if (events & EPOLLOUT) action |= CURL_CSELECT_OUT;
    if (events & EPOLLERR) action |= CURL_CSELECT_ERR;
    /* A broken socket is reported whatever was asked for. */
    return (events & (EPOLLERR | EPOLLHUP)) || (action & s->wanted) ? action : 0;
}

static void on_ready(void *arg)
{
    struct http *h = arg;
    struct epoll_event ready[READY_PER_TURN];
    enter(h);
    int n = epoll_wait(h->epoll_fd, ready, READY_PER_TURN, 0);
    for (int i = 0; i < n; i++) {
        int fd = ready[i].data.fd;
        int events = h->socks[fd].wanted ? events_of(&h->socks[fd], ready[i].events) : 0;
        if (events) act(h, fd, events);
        if (!budget_left(h)) break; /* the rest stays ready */
    }
    leave(h);
}

/* libcurl's timer callback: never calls libcurl back. */
static int on_timer_wish(CURLM *multi, long timeout_ms, void *arg)
{
    (void)multi;
    struct http *h = arg;
    h->timeout_due = timeout_ms == 0;
    if (timeout_ms > 0)
        loop_timer_start(h->timer, timeout_ms);
    else
        loop_timer_stop(h->timer);
    if (timeout_ms == 0 && h->depth == 0 && kick(h) < 0) loop_timer_start(h->timer, 1);
    return 0;
}

static void on_turn_end(void *arg)
{
    struct http *h = arg;
    arm_dirty(h);
    h->turn_began_us = 0;
    h->handshakes = 0;
    if (!h->held_back) return;
    h->held_back = false;
    if (kick(h) < 0) loop_timer_start(h->timer, 1);
}

/* ---- timeouts ---- */

/* Ends what waited too long in one part of a queue. Completions may append to the queues; they cannot take from them.
 */
static void end_overdue(struct queue *q, bool ahead, int64_t now)
{
    struct request *next, *rest = q->last_ahead ? q->last_ahead->next : q->first;
    q->due_mono_ms[ahead] = FAR_AWAY_MS;
    for (struct request *r = ahead ? q->first : rest; r && r->ahead == ahead; r = next) {
        next = r->next;
        if (r->queue_deadline_mono_ms > now) {
            if (r->queue_deadline_mono_ms < q->due_mono_ms[ahead]) q->due_mono_ms[ahead] = r->queue_deadline_mono_ms;
            continue;
        }
        queue_remove(q, r);
        complete_unsent(r, 0, ERR_TIMEOUT, "waited too long in the queue");
    }
}

/* Ends running transfers that libcurl has forgotten. Returns when the next one is over. */
static int64_t end_forgotten(struct queue *q, int64_t now)
{
    int64_t next_at = FAR_AWAY_MS;
    for (unsigned i = 0; i < q->slots_len; i++) { /* completions make no slots */
        struct slot *slot = q->slots[i];
        if (slot->r && slot->over_mono_ms <= now) complete_slot(slot, CURLE_OPERATION_TIMEDOUT);
        if (slot->r && slot->over_mono_ms < next_at) next_at = slot->over_mono_ms;
    }
    return next_at;
}

static void on_sweep(void *arg)
{
    struct http *h = arg;
    int64_t now = clock_mono_ms(&clock_system), next_at = FAR_AWAY_MS;
    h->sweep_at_mono_ms = FAR_AWAY_MS;
    enter(h);
    act(h, CURL_SOCKET_TIMEOUT, 0); /* what it has not forgotten it ends itself */
    for (enum http_class c = 0; c < HTTP_CLASSES; c++) {
        struct queue *q = &h->queues[c];
        for (int ahead = 0; ahead < 2; ahead++) {
            if (q->due_mono_ms[ahead] <= now) end_overdue(q, ahead, now);
            if (q->due_mono_ms[ahead] < next_at) next_at = q->due_mono_ms[ahead];
        }
        int64_t over_at = end_forgotten(q, now);
        if (over_at < next_at) next_at = over_at;
    }
    if (next_at != FAR_AWAY_MS) arm_sweep(h, next_at, SWEEP_MIN_MS);
    leave(h);
}

/* ---- public ---- */

int http_send(struct http *h, const struct http_request *req, struct ticket t)
{
    struct request *r;
    if (h->closing) return ERR_CANCELLED;
    int rc = http_request_new(req, t, &r);
    if (rc < 0) return rc;
    rc = kick(h);
    if (rc < 0) {
        http_request_free(r);
        return rc;
    }
    int64_t wait_ms = req->queue_timeout_ms ? req->queue_timeout_ms : req->timeout_ms,
            now = clock_mono_ms(&clock_system);
    r->queue_deadline_mono_ms = wait_ms < FAR_AWAY_MS - now ? now + wait_ms : FAR_AWAY_MS - 1;
    queue_push(&h->queues[r->class], r);
    arm_sweep(h, r->queue_deadline_mono_ms, 0);
    return 0;
}

void http_load(const struct http *h, enum http_class c, unsigned *ret_queued, unsigned *ret_running)
{
    *ret_queued = h->queues[c].queued;
    *ret_running = h->queues[c].running;
}

static int init_queues(struct http *h, const struct http_options *o, long *ret_handles)
{
    for (int c = 0; c < HTTP_CLASSES; c++) {
        struct queue *q = &h->queues[c];
        q->slots_max = o->handles[c] ? o->handles[c] : c == HTTP_IAM ? DEFAULT_HANDLES_IAM : DEFAULT_HANDLES;
        q->due_mono_ms[0] = q->due_mono_ms[1] = FAR_AWAY_MS;
        q->slots_lent_max = c == HTTP_INSTANCE ? q->slots_max : 0;
        TAILQ_INIT(&q->under_way);
        q->slots = calloc(q->slots_max + q->slots_lent_max, sizeof *q->slots);
        if (!q->slots) return ERR_NOMEM;
        *ret_handles += q->slots_max + q->slots_lent_max;
    }
    return 0;
}

static int init_multi(struct http *h, long handles)
{
    h->multi = curl_multi_init();
    if (!h->multi) return ERR_NOMEM;
    bool ok = curl_multi_setopt(h->multi, CURLMOPT_SOCKETFUNCTION, on_socket) == CURLM_OK &&
              curl_multi_setopt(h->multi, CURLMOPT_SOCKETDATA, h) == CURLM_OK &&
              curl_multi_setopt(h->multi, CURLMOPT_TIMERFUNCTION, on_timer_wish) == CURLM_OK &&
              curl_multi_setopt(h->multi, CURLMOPT_TIMERDATA, h) == CURLM_OK &&
              curl_multi_setopt(h->multi, CURLMOPT_PIPELINING, (long)CURLPIPE_NOTHING) == CURLM_OK &&
              curl_multi_setopt(h->multi, CURLMOPT_MAXCONNECTS, handles + SPARE_CONNECTIONS) == CURLM_OK;
    return ok ? 0 : ERR_INTERNAL;
}

static int init_loop(struct http *h)
{
    h->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (h->epoll_fd < 0) return ERR_IO;
    h->epoll_watch = loop_fd_new(h->l, h->epoll_fd, on_ready, h);
    h->timer = loop_timer_new(h->l, on_timeout, h);
    h->sweep = loop_timer_new(h->l, on_sweep, h);
    h->turn = loop_on_turn(h->l, on_turn_end, h);
    if (!h->epoll_watch || !h->timer || !h->sweep || !h->turn) return ERR_NOMEM;
    loop_fd_unref(h->epoll_watch); /* the timers keep the loop alive; an idle client does not */
    return 0;
}

int http_new(struct loop *l, const struct http_options *o, struct http **ret_http)
{
    struct http *h = calloc(1, sizeof *h);
    if (!h) return ERR_NOMEM;
    h->l = l;
    h->epoll_fd = -1;
    h->sweep_at_mono_ms = FAR_AWAY_MS;
    h->handshakes_per_turn = o->new_handshakes_per_turn ? o->new_handshakes_per_turn : DEFAULT_HANDSHAKES_PER_TURN;
    h->ca_file = strdup(o->ca_file ? o->ca_file : DEFAULT_CA_FILE);
    h->user_agent = strdup(o->user_agent ? o->user_agent : "keyroll/" KEYROLL_VERSION);
    (void)unsetenv("SSLKEYLOGFILE"); /* libcurl reads it in its global init; cannot fail for this name */
    h->curl_ready = http_handle_global_init() == 0;
    long handles = 0;
    int rc = h->ca_file && h->user_agent && h->curl_ready ? 0 : ERR_NOMEM;
    if (rc == 0) rc = init_queues(h, o, &handles);
    if (rc == 0) rc = init_loop(h);
    if (rc == 0) rc = init_multi(h, handles);
    if (rc < 0)
        http_free(h);
    else
        *ret_http = h;
    return rc;
}

static void cancel_all(struct http *h)
{
    for (enum http_class c = 0; c < HTTP_CLASSES; c++) {
        struct queue *q = &h->queues[c];
        for (unsigned i = 0; i < q->slots_len; i++) {
            struct request *r = q->slots[i]->r;
            if (!r) continue;
            (void)curl_multi_remove_handle(h->multi, q->slots[i]->handle.easy); /* it is in there */
            q->slots[i]->r = NULL;
            ends(q, q->slots[i]);
            complete_unsent(r, q->slots[i]->started_mono_ms, ERR_CANCELLED, "cancelled");
        }
        for (struct request *r; (r = q->first);) {
            queue_remove(q, r);
            complete_unsent(r, 0, ERR_CANCELLED, "cancelled");
        }
        for (unsigned i = 0; i < q->slots_len; i++) slot_free(q->slots[i]);
        free(q->slots);
    }
}

void http_free(struct http *h)
{
    if (!h) return;
    assert(h->depth == 0);
    h->closing = true;
    cancel_all(h);
    if (h->multi) (void)curl_multi_cleanup(h->multi); /* all handles are out of it */
    if (h->curl_ready) curl_global_cleanup();
    loop_defer_cancel(h->l, on_kick, h);
    loop_turn_free(h->turn);
    loop_timer_free(h->timer);
    loop_timer_free(h->sweep);
    loop_fd_free(h->epoll_watch);
    if (h->epoll_fd >= 0) close(h->epoll_fd);
    free(h->socks);
    free(h->dirty);
    free(h->ca_file);
    free(h->user_agent);
    free(h);
}

const char *http_library_version(void)
{
    return curl_version_info(CURLVERSION_NOW)->version;
}
