/* Following a topic without a group (kafka_follow.h).
 *
 * Partitions are assigned by hand, all of them. How many there are is asked by a thread of its own, because librdkafka
 * has no other way to ask for metadata than a blocking call; it asks again every minute, so that partitions added later
 * are read, too. "Caught up" rests on librdkafka's end-of-partition event: each partition has reported it once.
 *
 * As in kafka_in.c, messages are copied and destroyed at once and a turn takes a bounded number of them. Limits:
 * freeing waits for the metadata call under way, at most METADATA_MS. */
#include "lib/kafka_follow.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/kafka_conf.h"
#include "lib/loop.h"

#include <librdkafka/rdkafka.h>

#include <assert.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define MESSAGES_PER_TURN 500
#define HEADERS_MAX       64
#define METADATA_MS       1000
#define AGAIN_SOON_MS     500
#define AGAIN_MS          60000
#define LOG_WARN          4

struct part {
    int64_t next; /* offset to go on with */
    bool at_end;  /* its end was reached once */
    struct kafka_missed missed;
};

/* What the asking thread and the loop share. */
struct asked {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    pthread_t thread;
    bool is_running, stop;
    int n_parts;      /* 0: not known yet */
    char reason[160]; /* why not */
};

struct kafka_follow {
    rd_kafka_t *rk;
    rd_kafka_topic_t *topic;
    rd_kafka_queue_t *queue;
    struct kafka_wake *wake;
    struct loop_timer *missed_timer;
    struct asked asked;
    struct part *parts;
    int n_parts;
    bool from_end, caught_up, is_fatal, is_closing;
    char reason[160]; /* the last one told */
    char *copy;
    size_t copy_cap;
    struct kafka_follow_options o; /* callbacks only are used after _new */
};

static void say(const struct kafka_follow *k, int level, const char *fac, const char *text)
{
    if (k->o.on_log && !k->is_closing) k->o.on_log(k->o.arg, level, fac, text);
}

/* ---- how many partitions: the thread ---- */

/* Returns the number of partitions, or 0 with a reason. */
static int ask(struct kafka_follow *k, char *reason, size_t size)
{
    const struct rd_kafka_metadata *m = NULL;
    rd_kafka_resp_err_t err = rd_kafka_metadata(k->rk, 0, k->topic, &m, METADATA_MS);
    int n = 0;
    if (!err && m->topic_cnt == 1) {
        err = m->topics[0].err;
        if (!err) n = m->topics[0].partition_cnt;
    }
    if (m) rd_kafka_metadata_destroy(m);
    if (err == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART || err == RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC || (!err && n == 0))
        snprintf(reason, size, "topic %s does not exist: run keyroll topics apply", rd_kafka_topic_name(k->topic));
    else if (err)
        snprintf(reason, size, "topic %s: %s", rd_kafka_topic_name(k->topic), rd_kafka_err2str(err));
    return n;
}

static void wait_ms(struct asked *a, int64_t ms)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    int rc = 0;
    while (!a->stop && rc == 0) rc = pthread_cond_timedwait(&a->cond, &a->lock, &until);
}

static void *asking(void *arg)
{
    struct kafka_follow *k = arg;
    struct asked *a = &k->asked;
    pthread_mutex_lock(&a->lock);
    while (!a->stop) {
        char reason[sizeof a->reason] = "";
        pthread_mutex_unlock(&a->lock);
        int n = ask(k, reason, sizeof reason);
        pthread_mutex_lock(&a->lock);
        bool news = (n > 0 && n != a->n_parts) || strcmp(reason, a->reason) != 0;
        if (n > 0) a->n_parts = n;
        memcpy(a->reason, reason, sizeof reason);
        if (news)
            (void)!write(kafka_wake_fd(k->wake), kafka_wake_bytes, sizeof kafka_wake_bytes); /* full: it is awake */
        wait_ms(a, n > 0 ? AGAIN_MS : AGAIN_SOON_MS);
    }
    pthread_mutex_unlock(&a->lock);
    return NULL;
}

static int start_asking(struct kafka_follow *k)
{
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&k->asked.lock, NULL);
    pthread_cond_init(&k->asked.cond, &attr);
    pthread_condattr_destroy(&attr);
    if (pthread_create(&k->asked.thread, NULL, asking, k) == 0) {
        k->asked.is_running = true;
        return 0;
    }
    pthread_cond_destroy(&k->asked.cond);
    pthread_mutex_destroy(&k->asked.lock);
    return ERR_NOMEM;
}

static void stop_asking(struct asked *a)
{
    if (!a->is_running) return;
    pthread_mutex_lock(&a->lock);
    a->stop = true;
    pthread_cond_signal(&a->cond);
    pthread_mutex_unlock(&a->lock);
    pthread_join(a->thread, NULL);
    pthread_cond_destroy(&a->cond);
    pthread_mutex_destroy(&a->lock);
    a->is_running = false;
}

/* ---- assignment ---- */

static void assign(struct kafka_follow *k, int n)
{
    struct part *parts = realloc(k->parts, (size_t)n * sizeof *parts);
    rd_kafka_topic_partition_list_t *l = parts ? rd_kafka_topic_partition_list_new(n) : NULL;
    if (parts) k->parts = parts;
    if (!l) {
        say(k, LOG_WARN, "ASSIGN", err_text(ERR_NOMEM));
        return;
    }
    for (int i = k->n_parts; i < n; i++) {
        bool end = k->from_end && k->n_parts == 0; /* what a partition added later holds is all new */
        parts[i] = (struct part){.next = end ? RD_KAFKA_OFFSET_END : RD_KAFKA_OFFSET_BEGINNING};
    }
    for (int i = 0; i < n; i++)
        rd_kafka_topic_partition_list_add(l, rd_kafka_topic_name(k->topic), i)->offset = parts[i].next;
    rd_kafka_resp_err_t err = rd_kafka_assign(k->rk, l);
    rd_kafka_topic_partition_list_destroy(l);
    if (err)
        say(k, LOG_WARN, "ASSIGN", rd_kafka_err2str(err));
    else
        k->n_parts = n;
}

static void look_at_answer(struct kafka_follow *k)
{
    struct asked *a = &k->asked;
    char reason[sizeof a->reason];
    if (!a->is_running) return;
    pthread_mutex_lock(&a->lock);
    int n = a->n_parts;
    memcpy(reason, a->reason, sizeof reason);
    pthread_mutex_unlock(&a->lock);
    if (strcmp(reason, k->reason) != 0) {
        memcpy(k->reason, reason, sizeof reason);
        if (reason[0]) say(k, LOG_WARN, "TOPIC", reason);
    }
    if (n > k->n_parts) assign(k, n);
}

/* ---- messages ---- */

static bool copy_bytes(struct kafka_follow *k, const rd_kafka_message_t *m, struct kafka_message_in *ret)
{
    size_t need = m->key_len + m->len + 2;
    if (need > k->copy_cap) {
        char *copy = realloc(k->copy, need + 4096);
        if (!copy) return false;
        k->copy = copy;
        k->copy_cap = need + 4096;
    }
    char *key = k->copy, *value = key + m->key_len + 1;
    if (m->key_len > 0) memcpy(key, m->key, m->key_len);
    if (m->len > 0) memcpy(value, m->payload, m->len);
    key[m->key_len] = value[m->len] = '\0';
    ret->key = key;
    ret->key_len = m->key_len;
    ret->value = value;
    ret->value_len = m->len;
    return true;
}

static void take_message(struct kafka_follow *k, const rd_kafka_message_t *m)
{
    struct kafka_header headers[HEADERS_MAX];
    struct kafka_message_in in = {
        .topic = rd_kafka_topic_name(m->rkt), .partition = m->partition, .offset = m->offset, .headers = headers};
    rd_kafka_headers_t *h = NULL;
    rd_kafka_timestamp_type_t type;
    if (m->partition < 0 || m->partition >= k->n_parts) return;
    struct part *p = &k->parts[m->partition];
    if (!kafka_missed_takes(&p->missed, m->offset)) return;
    if (!copy_bytes(k, m, &in)) {
        say(k, LOG_WARN, "MESSAGE", "there is no memory for a message: it is fetched again");
        p->next = m->offset;
        p->missed = (struct kafka_missed){.any = true, .offset = m->offset};
        loop_timer_start(k->missed_timer, KAFKA_MISSED_AGAIN_MS);
        return;
    }
    p->next = m->offset + 1;
    in.timestamp_ms = rd_kafka_message_timestamp(m, &type);
    if (!rd_kafka_message_headers(m, &h))
        while (in.n_headers < HEADERS_MAX &&
               !rd_kafka_header_get_all(h, in.n_headers, &headers[in.n_headers].name, &headers[in.n_headers].value,
                                        &headers[in.n_headers].len))
            in.n_headers++;
    k->o.on_message(k->o.arg, &in);
}

static void fetch_missed(void *arg)
{
    struct kafka_follow *k = arg;
    bool again = false;
    for (int i = 0; i < k->n_parts; i++)
        if (kafka_missed_seek(&k->parts[i].missed, k->rk, rd_kafka_topic_name(k->topic), i)) again = true;
    if (again) loop_timer_start(k->missed_timer, KAFKA_MISSED_AGAIN_MS);
}

static void note_end(struct kafka_follow *k, const rd_kafka_message_t *m)
{
    if (m->partition < 0 || m->partition >= k->n_parts) return;
    if (k->parts[m->partition].missed.any) return; /* there is a message before it */
    k->parts[m->partition].at_end = true;
    k->parts[m->partition].next = m->offset;
    for (int i = 0; i < k->n_parts; i++)
        if (!k->parts[i].at_end) return;
    if (k->caught_up) return;
    k->caught_up = true;
    if (k->o.on_caught_up) k->o.on_caught_up(k->o.arg);
}

static void note_fatal(struct kafka_follow *k)
{
    char text[512] = "";
    if (k->is_fatal || !rd_kafka_fatal_error(k->rk, text, sizeof(text))) return;
    k->is_fatal = true;
    if (k->o.on_fatal) k->o.on_fatal(k->o.arg, text);
}

static void take(struct kafka_follow *k, rd_kafka_message_t *m)
{
    if (!m->err)
        take_message(k, m);
    else if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
        note_end(k, m);
    else if (m->err == RD_KAFKA_RESP_ERR__FATAL)
        note_fatal(k);
    else
        say(k, LOG_WARN, rd_kafka_err2name(m->err), rd_kafka_message_errstr(m));
    rd_kafka_message_destroy(m);
}

static void serve(void *arg)
{
    struct kafka_follow *k = arg;
    look_at_answer(k);
    for (int taken = 0; taken < MESSAGES_PER_TURN; taken++) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(k->rk, 0);
        if (!m) return;
        take(k, m);
    }
    kafka_wake_again(k->wake);
}

static void erred(rd_kafka_t *rk, int err, const char *text, void *opaque)
{
    (void)rk;
    struct kafka_follow *k = opaque;
    if (err == RD_KAFKA_RESP_ERR__FATAL)
        note_fatal(k);
    else
        say(k, LOG_WARN, "ERROR", text);
}

static void logged(const rd_kafka_t *rk, int level, const char *fac, const char *text)
{
    if (!kafka_log_is_noise(fac, text)) say(rd_kafka_opaque(rk), level, fac, text);
}

/* ---- life ---- */

static int connect_client(struct kafka_follow *k, char **ret_reason)
{
    const struct kafka_follow_options *o = &k->o;
    char text[512];
    const struct kafka_conf defaults[] = {
        {"queued.min.messages", "2000"},       {"queued.max.messages.kbytes", "8192"},
        {"fetch.wait.max.ms", "100"},          {"fetch.error.backoff.ms", "100"},
        {"allow.auto.create.topics", "false"}, {"client.id", o->client_id ? o->client_id : "keyroll"},
    };
    const struct kafka_conf forced[] = {
        {"group.id", "keyroll-follow"}, /* librdkafka wants one; nothing joins it */
        {"max.poll.interval.ms", KAFKA_NO_MEMBER_POLL_MS},
        {"enable.auto.commit", "false"},
        {"enable.auto.offset.store", "false"},
        {"auto.offset.reset", "earliest"},
        {"enable.partition.eof", "true"},
    };
    rd_kafka_conf_t *conf = NULL;
    int rc = kafka_conf_make(o->brokers, o->conf, o->n_conf, defaults, ARRAY_LEN(defaults), forced, ARRAY_LEN(forced),
                             &conf, ret_reason);
    if (rc < 0) return rc;
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_error_cb(conf, erred);
    rd_kafka_conf_set_log_cb(conf, logged);
    k->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (!k->rk) {
        rd_kafka_conf_destroy(conf);
        kafka_reason(ret_reason, "%s", text);
        return ERR_INVALID;
    }
    rd_kafka_poll_set_consumer(k->rk);
    rd_kafka_set_log_queue(k->rk, NULL);
    k->queue = rd_kafka_queue_get_consumer(k->rk);
    k->topic = rd_kafka_topic_new(k->rk, o->topic, NULL);
    return k->queue && k->topic ? 0 : ERR_NOMEM;
}

int kafka_follow_new(struct loop *l, const struct kafka_follow_options *o, struct kafka_follow **ret_follow,
                     char **ret_reason)
{
    struct kafka_follow *k = calloc(1, sizeof(*k));
    if (!k) return ERR_NOMEM;
    assert(o->on_message);
    k->o = *o;
    k->from_end = o->from_end;
    int rc = connect_client(k, ret_reason);
    if (rc == 0 && !(k->wake = kafka_wake_new(l, serve, k))) rc = ERR_NOMEM;
    if (rc == 0 && !(k->missed_timer = loop_timer_new(l, fetch_missed, k))) rc = ERR_NOMEM;
    if (rc == 0) rc = start_asking(k);
    if (rc < 0) {
        kafka_follow_free(k, 1000);
        return rc;
    }
    rd_kafka_queue_io_event_enable(k->queue, kafka_wake_fd(k->wake), kafka_wake_bytes, sizeof(kafka_wake_bytes));
    *ret_follow = k;
    return 0;
}

void kafka_follow_free(struct kafka_follow *k, int64_t wait_up_to_ms)
{
    if (!k) return;
    k->is_closing = true;
    stop_asking(&k->asked);
    if (k->queue) {
        rd_kafka_queue_io_event_enable(k->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(k->queue);
    }
    kafka_wake_free(k->wake);
    loop_timer_free(TAKE(k->missed_timer));
    if (k->topic) rd_kafka_topic_destroy(k->topic);
    bool ended = !k->rk || kafka_destroy(k->rk, wait_up_to_ms);
    free(TAKE(k->parts));
    free(TAKE(k->copy));
    if (ended) free(k); /* else: left to the client in the background, whose opaque it is */
}

bool kafka_follow_caught_up(const struct kafka_follow *k)
{
    return k->caught_up;
}

const char *kafka_follow_reason(const struct kafka_follow *k)
{
    return k->reason;
}
