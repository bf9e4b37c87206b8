/* Kafka producer.
 *
 * librdkafka's threads do the sending; their answers come as events (delivery reports, errors, logs) through one queue
 * that wakes the loop by an eventfd. A turn takes at most EVENTS_PER_TURN of them and asks to be called again.
 *
 * Each message has a struct sent, its opaque, which carries the ticket; the list of them is what is pending. Topics get
 * a handle at first use, because producing by name lets the first message wait up to a second (librdkafka issue 5032,
 * fixed in 2.10.1). producev, not produceva: the latter frees headers twice on errors below 2.12 (issue 4628).
 *
 * What can be refused at once (too large, unknown topic) is also completed later, as all tickets are.
 * Limits: at most 100000 messages or 64 MiB wait locally (ERR_BUSY beyond), 16 topics. */
#include "lib/kafka_out.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/kafka_conf.h"
#include "lib/loop.h"

#include <librdkafka/rdkafka.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define EVENTS_PER_TURN     100
#define DELIVERY_DEFAULT_MS 10000
#define DESTROY_WAIT_MS     2000
#define PURGE_WAIT_MS       200
#define TOPICS_MAX          16

struct sent {
    struct ticket ticket;
    int err;                  /* refused at once: what to complete with */
    const char *detail;       /* static text that goes with err */
    struct sent *prev, *next; /* in kafka_out.open or .refused */
};

struct sent_list {
    struct sent *first, *last;
    size_t count;
};

struct topic {
    char *name; /* owned */
    rd_kafka_topic_t *rkt;
};

struct kafka_out {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue; /* main queue: reports, errors, logs */
    struct kafka_wake *wake;
    struct topic topics[TOPICS_MAX];
    size_t n_topics;
    struct sent_list open;    /* given to librdkafka */
    struct sent_list refused; /* to be completed in the next turn */
    bool fatal;
    bool closing;
    int depth;             /* callbacks under way */
    int64_t close_wait_ms; /* from a kafka_out_free() inside a callback */
    void (*on_fatal)(void *arg, const char *reason);
    void (*on_log)(void *arg, int level, const char *fac, const char *text);
    void *arg;
};

/* ---- pending messages ---- */

static void list_add(struct sent_list *l, struct sent *s)
{
    s->prev = l->last;
    s->next = NULL;
    if (l->last)
        l->last->next = s;
    else
        l->first = s;
    l->last = s;
    l->count++;
}

static void list_remove(struct sent_list *l, struct sent *s)
{
    if (s->prev)
        s->prev->next = s->next;
    else
        l->first = s->next;
    if (s->next)
        s->next->prev = s->prev;
    else
        l->last = s->prev;
    l->count--;
}

static void complete(struct sent_list *l, struct sent *s, const struct kafka_report *report)
{
    struct ticket ticket = s->ticket;
    list_remove(l, s);
    free(s);
    ticket_complete(ticket, report);
}

static void complete_all(struct sent_list *l, int err, const char *detail)
{
    for (size_t n = l->count; n > 0 && l->first; n--) {
        struct kafka_report report = {.err = l->first->err ? l->first->err : err,
                                      .partition = -1,
                                      .offset = -1,
                                      .detail = l->first->detail ? l->first->detail : detail};
        complete(l, l->first, &report);
    }
}

/* ---- errors ---- */

static bool is_refusal(rd_kafka_resp_err_t err)
{
    switch ((int)err) {
    case RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_RECORD_LIST_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_MSG_SIZE:
    case RD_KAFKA_RESP_ERR_INVALID_RECORD:
    case RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_POLICY_VIOLATION:
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        return true;
    default:
        return false;
    }
}

static int delivery_err(const struct kafka_out *k, rd_kafka_resp_err_t err)
{
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) return 0;
    if (is_refusal(err)) return ERR_KAFKA_REFUSED;
    return k->fatal || err == RD_KAFKA_RESP_ERR__FATAL ? ERR_KAFKA_FATAL : ERR_KAFKA_UNDELIVERED;
}

static void note_fatal(struct kafka_out *k)
{
    char text[512] = "";
    if (k->fatal || rd_kafka_fatal_error(k->rk, text, sizeof(text)) == RD_KAFKA_RESP_ERR_NO_ERROR) return;
    k->fatal = true;
    if (k->on_fatal && !k->closing) k->on_fatal(k->arg, text);
}

/* ---- events ---- */

static void take_reports(struct kafka_out *k, rd_kafka_event_t *ev)
{
    const rd_kafka_message_t *m;
    while ((m = rd_kafka_event_message_next(ev))) {
        struct sent *s = m->_private;
        struct kafka_report report = {
            .err = delivery_err(k, m->err),
            .partition = m->partition,
            .offset = m->offset,
            .detail = m->err ? rd_kafka_err2str(m->err) : "",
        };
        complete(&k->open, s, &report);
    }
}

static void take_log(struct kafka_out *k, rd_kafka_event_t *ev)
{
    const char *fac, *text;
    int level;
    if (rd_kafka_event_log(ev, &fac, &text, &level) != 0 || kafka_log_is_noise(fac, text)) return;
    if (k->on_log && !k->closing) k->on_log(k->arg, level, fac, text);
}

static void take_error(struct kafka_out *k, rd_kafka_event_t *ev)
{
    rd_kafka_resp_err_t err = rd_kafka_event_error(ev);
    if (err == RD_KAFKA_RESP_ERR__FATAL)
        note_fatal(k);
    else if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && k->on_log && !k->closing) /* the others are logged, too */
        k->on_log(k->arg, 4, "ERROR", rd_kafka_event_error_string(ev));
}

static void take_event(struct kafka_out *k, rd_kafka_event_t *ev)
{
    switch (rd_kafka_event_type(ev)) {
    case RD_KAFKA_EVENT_DR:
        note_fatal(k); /* before its messages, so that they say so */
        take_reports(k, ev);
        break;
    case RD_KAFKA_EVENT_ERROR:
        take_error(k, ev);
        break;
    case RD_KAFKA_EVENT_LOG:
        take_log(k, ev);
        break;
    default:
        break;
    }
    rd_kafka_event_destroy(ev);
}

/* Takes events until there are none, `limit` were taken, or the owner freed us. True: there may be more. */
static bool take_events(struct kafka_out *k, int limit, int wait_ms)
{
    for (int i = 0; i < limit; i++) {
        rd_kafka_event_t *ev = rd_kafka_queue_poll(k->queue, wait_ms);
        if (!ev) return false;
        take_event(k, ev);
        wait_ms = 0;
    }
    return true;
}

static void finish(struct kafka_out *k);

static void serve(void *arg)
{
    struct kafka_out *k = arg;
    k->depth++;
    complete_all(&k->refused, ERR_KAFKA_REFUSED, "");
    if (take_events(k, EVENTS_PER_TURN, 0)) kafka_wake_again(k->wake);
    if (--k->depth == 0 && k->closing) finish(k);
}

/* ---- producing ---- */

static rd_kafka_topic_t *topic_handle(struct kafka_out *k, const char *name)
{
    for (size_t i = 0; i < k->n_topics; i++) {
        if (strcmp(k->topics[i].name, name) == 0) return k->topics[i].rkt;
    }
    if (k->n_topics == TOPICS_MAX) return NULL;
    struct topic t = {.name = strdup(name), .rkt = rd_kafka_topic_new(k->rk, name, NULL)};
    if (!t.name || !t.rkt) {
        free(t.name);
        if (t.rkt) rd_kafka_topic_destroy(t.rkt);
        return NULL;
    }
    k->topics[k->n_topics++] = t;
    return t.rkt;
}

static rd_kafka_headers_t *make_headers(const struct kafka_message_out *m)
{
    rd_kafka_headers_t *headers = rd_kafka_headers_new(m->n_headers);
    for (size_t i = 0; headers && i < m->n_headers; i++) {
        const struct kafka_header *h = &m->headers[i];
        if (rd_kafka_header_add(headers, h->name, -1, h->value, (ssize_t)h->len) == RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        rd_kafka_headers_destroy(headers);
        headers = NULL;
    }
    return headers;
}

/* Hands the message to librdkafka, which copies it. On failure the headers are freed here. */
static rd_kafka_resp_err_t hand_over(struct kafka_out *k, const struct kafka_message_out *m, struct sent *s)
{
    rd_kafka_topic_t *rkt = topic_handle(k, m->topic);
    if (!rkt) return RD_KAFKA_RESP_ERR__INVALID_ARG;
    rd_kafka_headers_t *headers = make_headers(m);
    if (!headers) return RD_KAFKA_RESP_ERR__QUEUE_FULL;
    /* The tags themselves: their checking macros are not ISO C. Each is followed by exactly the types of its macro. */
    rd_kafka_resp_err_t err = rd_kafka_producev(
        k->rk, RD_KAFKA_VTYPE_RKT, rkt, RD_KAFKA_VTYPE_PARTITION, (int32_t)RD_KAFKA_PARTITION_UA,
        RD_KAFKA_VTYPE_MSGFLAGS, (int)RD_KAFKA_MSG_F_COPY, RD_KAFKA_VTYPE_KEY, m->key, m->key_len, RD_KAFKA_VTYPE_VALUE,
        m->value, m->value_len, RD_KAFKA_VTYPE_HEADERS, headers, RD_KAFKA_VTYPE_OPAQUE, (void *)s, RD_KAFKA_VTYPE_END);
    if (err) rd_kafka_headers_destroy(headers);
    return err;
}

static int produce(void *self, const struct kafka_message_out *m, struct ticket t)
{
    struct kafka_out *k = self;
    if (k->fatal) return ERR_KAFKA_FATAL;
    if (k->closing) return ERR_BUSY;
    struct sent *s = calloc(1, sizeof(*s));
    if (!s) return ERR_BUSY;
    s->ticket = t;
    list_add(&k->open, s);
    rd_kafka_resp_err_t err = hand_over(k, m, s);
    if (err == RD_KAFKA_RESP_ERR_NO_ERROR) return 0;
    list_remove(&k->open, s);
    if (is_refusal(err)) {
        s->err = ERR_KAFKA_REFUSED;
        s->detail = rd_kafka_err2str(err);
        list_add(&k->refused, s);
        kafka_wake_again(k->wake);
        return 0;
    }
    free(s);
    return err == RD_KAFKA_RESP_ERR__FATAL ? ERR_KAFKA_FATAL : ERR_BUSY;
}

struct kafka_port kafka_out_port(struct kafka_out *k)
{
    return (struct kafka_port){.self = k, .produce = produce};
}

size_t kafka_out_pending(const struct kafka_out *k)
{
    return k->open.count + k->refused.count;
}

/* ---- life ---- */

/* Frees what is there; the client may be half-built. */
static void destroy(struct kafka_out *k)
{
    if (k->queue) {
        rd_kafka_queue_io_event_enable(k->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(k->queue);
    }
    for (size_t i = 0; i < k->n_topics; i++) {
        rd_kafka_topic_destroy(k->topics[i].rkt);
        free(k->topics[i].name);
    }
    if (k->rk) (void)kafka_destroy(k->rk, DESTROY_WAIT_MS); /* left behind: it has no callbacks into us */
    kafka_wake_free(k->wake);
    free(k);
}

static void finish(struct kafka_out *k)
{
    int64_t end = clock_mono_ms(&clock_system) + k->close_wait_ms;
    k->depth++; /* callbacks may call kafka_out_free() again */
    complete_all(&k->refused, ERR_KAFKA_REFUSED, "");
    while (k->open.count > 0) {
        int64_t left = end - clock_mono_ms(&clock_system);
        if (left <= 0) break;
        (void)take_events(k, EVENTS_PER_TURN, left > 100 ? 100 : (int)left);
    }
    if (k->open.count > 0) {
        rd_kafka_purge(k->rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT | RD_KAFKA_PURGE_F_NON_BLOCKING);
        end = clock_mono_ms(&clock_system) + PURGE_WAIT_MS;
        while (k->open.count > 0 && clock_mono_ms(&clock_system) < end) (void)take_events(k, EVENTS_PER_TURN, 20);
    }
    complete_all(&k->open, ERR_KAFKA_UNDELIVERED, "the program ended");
    destroy(k);
}

void kafka_out_free(struct kafka_out *k, int64_t wait_ms)
{
    if (!k || k->closing) return;
    k->closing = true;
    k->close_wait_ms = wait_ms;
    if (k->depth == 0) finish(k);
}

/* Makes the client and its queue. */
static int connect_client(struct kafka_out *k, const struct kafka_out_options *o, char **ret_reason)
{
    char delivery[24], linger[16], text[512];
    int64_t delivery_ms = o->delivery_timeout_ms > 0 ? o->delivery_timeout_ms : DELIVERY_DEFAULT_MS;
    snprintf(delivery, sizeof(delivery), "%lld", (long long)delivery_ms);
    snprintf(linger, sizeof(linger), "%u", o->linger_ms);
    const struct kafka_conf defaults[] = {
        {"linger.ms", linger},
        {"queue.buffering.max.messages", "100000"},
        {"queue.buffering.max.kbytes", "65536"},
        {"partitioner", "murmur2_random"}, /* as the Java clients, so that a key has one partition whoever writes it */
        {"client.id", o->client_id ? o->client_id : "keyroll"},
    };
    const struct kafka_conf forced[] = {
        {"enable.idempotence", "true"}, {"acks", "all"}, {"message.timeout.ms", delivery}};
    rd_kafka_conf_t *conf = NULL;
    int rc = kafka_conf_make(o->brokers, o->conf, o->n_conf, defaults, ARRAY_LEN(defaults), forced, ARRAY_LEN(forced),
                             &conf, ret_reason);
    if (rc < 0) return rc;
    rd_kafka_conf_set_events(conf, RD_KAFKA_EVENT_DR | RD_KAFKA_EVENT_ERROR | RD_KAFKA_EVENT_LOG);
    k->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text));
    if (!k->rk) {
        rd_kafka_conf_destroy(conf);
        kafka_reason(ret_reason, "%s", text);
        return ERR_INVALID;
    }
    k->queue = rd_kafka_queue_get_main(k->rk);
    rd_kafka_set_log_queue(k->rk, NULL); /* to the main queue */
    return 0;
}

int kafka_out_new(struct loop *l, const struct kafka_out_options *o, struct kafka_out **ret_out, char **ret_reason)
{
    struct kafka_out *k = calloc(1, sizeof(*k));
    if (!k) return ERR_NOMEM;
    k->on_fatal = o->on_fatal;
    k->on_log = o->on_log;
    k->arg = o->arg;
    int rc = connect_client(k, o, ret_reason);
    if (rc == 0 && !(k->wake = kafka_wake_new(l, serve, k))) rc = ERR_NOMEM;
    if (rc < 0) {
        destroy(k);
        return rc;
    }
    rd_kafka_queue_io_event_enable(k->queue, kafka_wake_fd(k->wake), kafka_wake_bytes, sizeof(kafka_wake_bytes));
    for (size_t i = 0; i < o->n_topics; i++) (void)topic_handle(k, o->topics[i]); /* again at the first message */
    *ret_out = k;
    return 0;
}
