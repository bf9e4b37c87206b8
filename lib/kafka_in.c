/* Kafka consumer.
 *
 * librdkafka's threads fetch into one queue that wakes the loop by an eventfd. A turn takes at most MESSAGES_PER_TURN
 * messages by rd_kafka_consumer_poll() (never the batch calls: below 2.1 they lose messages around pause and rebalance)
 * and asks to be called again if there are more. Key and value are copied, the message is destroyed before the next one
 * is taken: a held message pins its whole fetch and can hang the end.
 *
 * Rebalance: cooperative. On revoke the owner commits, then the partitions are given up; between that and the end of
 * the rebalance no commit is sent, because librdkafka below 2.10 may lose the assignment by it. Lost: nothing is
 * committed.
 *
 * Pausing is tracked here, since resuming a partition that is not paused may rewind it (librdkafka below 2.4) and the
 * state cannot be asked for. The prefetch is small, because a pause throws it away.
 *
 * Memory: a message that cannot be copied is fetched again a moment later, and nothing behind it is taken before it. A
 * rebalance that cannot be noted is fatal: its partitions would be read by nobody while the group takes them for
 * served.
 *
 * Ending: close through a queue of its own, with a deadline; then destroy in a thread. A consumer that is joining waits
 * for its first assignment before (await_assignment()). Below 2.3 one that never had any is not closed: it may crash
 * there (librdkafka 2.3.0's change log), and its membership times out. One that could not be closed in time gives its
 * partitions up before it is destroyed (give_up()). */
#include "lib/kafka_in.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/kafka_conf.h"
#include "lib/loop.h"

#include <librdkafka/rdkafka.h>

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define MESSAGES_PER_TURN    200
#define HEADERS_MAX          64
#define SESSION_DEFAULT_MS   8000
#define HEARTBEAT_DEFAULT_MS 2000
#define DESTROY_WAIT_MS      2000
#define LOG_WARN             4
#define CLOSE_VERSION        0x02030000 /* 2.3.0 */

struct part {
    char *topic; /* owned */
    int32_t partition;
    bool is_paused;
    struct kafka_missed missed;
};

struct kafka_in {
    rd_kafka_t *rk;
    const struct clock *clock;
    rd_kafka_queue_t *queue; /* the consumer's: messages, rebalances, commit answers, errors, logs */
    struct kafka_wake *wake;
    struct loop_timer *missed_timer;
    struct part *parts; /* assigned, sorted by topic and partition */
    size_t n_parts;
    bool was_assigned;            /* an assignment came, maybe an empty one */
    int assigns_to_come;          /* partitions were given up: so many assignments until the rebalance is over */
    int64_t rebalancing_mono_ms;  /* since when */
    int64_t rebalancing_limit_ms; /* the longest that commits wait for it */
    bool is_stopped, is_fatal, is_committing, is_closing;
    int depth;             /* callbacks under way */
    int64_t close_wait_ms; /* from a kafka_in_free() inside a callback */
    char *copy;            /* owned: key and value of the message at hand */
    size_t copy_cap;
    void (*on_message)(void *arg, const struct kafka_message_in *m);
    void (*on_assigned)(void *arg, const struct kafka_partition *p, size_t n);
    void (*on_revoked)(void *arg, const struct kafka_partition *p, size_t n, bool lost);
    void (*on_committed)(void *arg, const struct kafka_partition *p, size_t n, int err);
    void (*on_end)(void *arg, const char *topic, int32_t partition);
    void (*on_fatal)(void *arg, const char *reason);
    void (*on_log)(void *arg, int level, const char *fac, const char *text);
    void *arg;
};

static void say(const struct kafka_in *k, int level, const char *fac, const char *text)
{
    if (k->on_log && !k->is_closing) k->on_log(k->arg, level, fac, text);
}

/* ---- lists of partitions ---- */

static void list_freep(rd_kafka_topic_partition_list_t **l)
{
    if (*l) rd_kafka_topic_partition_list_destroy(*l);
}
#define AUTO_LIST CLEANUP(list_freep)

static rd_kafka_topic_partition_list_t *list_of(const struct kafka_partition *p, size_t n)
{
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new((int)n);
    for (size_t i = 0; l && i < n; i++) {
        rd_kafka_topic_partition_list_add(l, p[i].topic, p[i].partition)->offset = p[i].offset;
    }
    return l;
}

/* librdkafka's list as ours, borrowing its topic names. NULL when it is empty or out of memory. */
static struct kafka_partition *partitions_of(const rd_kafka_topic_partition_list_t *l)
{
    if (!l || l->cnt <= 0) return NULL;
    struct kafka_partition *p = calloc((size_t)l->cnt, sizeof(*p));
    for (int i = 0; p && i < l->cnt; i++) {
        p[i] = (struct kafka_partition){l->elems[i].topic, l->elems[i].partition, l->elems[i].offset};
    }
    return p;
}

static int compare_parts(const void *a, const void *b)
{
    const struct part *x = a, *y = b;
    int order = strcmp(x->topic, y->topic);
    return order ? order : (x->partition > y->partition) - (x->partition < y->partition);
}

static struct part *find_part(const struct kafka_in *k, const char *topic, int32_t partition)
{
    struct part key = {.topic = (char *)(uintptr_t)topic, .partition = partition};
    return k->n_parts ? bsearch(&key, k->parts, k->n_parts, sizeof(key), compare_parts) : NULL;
}

/* False when out of memory: messages of those that are missing are not taken. */
static bool add_parts(struct kafka_in *k, const rd_kafka_topic_partition_list_t *l)
{
    if (l->cnt <= 0) return true;
    struct part *parts = realloc(k->parts, (k->n_parts + (size_t)l->cnt) * sizeof(*parts));
    if (!parts) return false;
    k->parts = parts;
    size_t n = k->n_parts; /* find_part() searches the sorted ones, that is those from before */
    bool is_whole = true;
    for (int i = 0; i < l->cnt && is_whole; i++) {
        if (find_part(k, l->elems[i].topic, l->elems[i].partition)) continue;
        char *topic = strdup(l->elems[i].topic);
        is_whole = topic != NULL;
        if (is_whole) parts[n++] = (struct part){.topic = topic, .partition = l->elems[i].partition};
    }
    k->n_parts = n;
    qsort(parts, n, sizeof(*parts), compare_parts);
    return is_whole;
}

static int set_paused(struct kafka_in *k, struct part *p, bool is_paused);

/* Before the partitions are given up. A pause outlives that: when the same partition comes back at once, as after a
 * restart of the broker, librdkafka 2.0.2 still has it paused and nothing would ever be fetched from it again. */
static void remove_parts(struct kafka_in *k, const rd_kafka_topic_partition_list_t *l)
{
    for (int i = 0; i < l->cnt; i++) {
        struct part *p = find_part(k, l->elems[i].topic, l->elems[i].partition);
        if (!p) continue;
        if (p->is_paused && set_paused(k, p, false) < 0) say(k, LOG_WARN, "RESUME", p->topic);
        free(p->topic);
        size_t at = (size_t)(p - k->parts);
        memmove(p, p + 1, (k->n_parts - at - 1) * sizeof(*p));
        k->n_parts--;
    }
}

/* ---- pause and resume ---- */

static int set_paused(struct kafka_in *k, struct part *p, bool is_paused)
{
    AUTO_LIST rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(1);
    if (!l) return ERR_NOMEM;
    rd_kafka_topic_partition_list_add(l, p->topic, p->partition);
    rd_kafka_resp_err_t err = is_paused ? rd_kafka_pause_partitions(k->rk, l) : rd_kafka_resume_partitions(k->rk, l);
    if (!err) err = l->elems[0].err;
    if (!err) p->is_paused = is_paused;
    return kafka_err(err);
}

int kafka_in_pause(struct kafka_in *k, const char *topic, int32_t partition)
{
    struct part *p = find_part(k, topic, partition);
    if (!p) return ERR_NOT_FOUND;
    return p->is_paused ? 0 : set_paused(k, p, true);
}

/* Wakes the fetcher by a seek (librdkafka 2.0; in 2.8 it may sleep on for up to a second after everything on its broker
 * was paused); with time-out 0 it does not wait for the outcome (and other time-outs are a thousand
 * times too short below 2.1). */
static int seek_to(struct kafka_in *k, const struct part *p, int64_t offset)
{
    const struct kafka_partition where = {p->topic, p->partition, offset};
    AUTO_LIST rd_kafka_topic_partition_list_t *l = list_of(&where, 1);
    if (!l) return ERR_NOMEM;
    rd_kafka_error_t *error = rd_kafka_seek_partitions(k->rk, l, 0);
    rd_kafka_resp_err_t err = error ? rd_kafka_error_code(error) : l->elems[0].err;
    if (error) rd_kafka_error_destroy(error);
    return err == RD_KAFKA_RESP_ERR__IN_PROGRESS ? 0 : kafka_err(err); /* "in progress" is what time-out 0 gives */
}

int kafka_in_resume(struct kafka_in *k, const char *topic, int32_t partition, int64_t offset)
{
    struct part *p = find_part(k, topic, partition);
    if (!p) return ERR_NOT_FOUND;
    if (!p->is_paused) return 0;
    int rc = set_paused(k, p, false);
    if (p->missed.any && (offset < 0 || offset > p->missed.offset)) offset = p->missed.offset;
    if (p->missed.any) loop_timer_start(k->missed_timer, KAFKA_MISSED_AGAIN_MS);
    return rc == 0 && offset >= 0 ? seek_to(k, p, offset) : rc;
}

bool kafka_in_paused(const struct kafka_in *k, const char *topic, int32_t partition)
{
    const struct part *p = find_part(k, topic, partition);
    return p && p->is_paused;
}

void kafka_in_stop_intake(struct kafka_in *k)
{
    k->is_stopped = true;
    for (size_t i = 0; i < k->n_parts; i++) {
        if (!k->parts[i].is_paused && set_paused(k, &k->parts[i], true) < 0)
            say(k, LOG_WARN, "PAUSE", k->parts[i].topic);
    }
}

void kafka_in_allow_intake(struct kafka_in *k)
{
    k->is_stopped = false;
}

/* ---- rebalance ---- */

static void fail(struct kafka_in *k, const char *why)
{
    if (k->is_fatal) return;
    k->is_fatal = true;
    if (k->on_fatal && !k->is_closing) k->on_fatal(k->arg, why);
}

static void report_error(const struct kafka_in *k, const char *what, rd_kafka_error_t *error)
{
    if (!error) return;
    say(k, LOG_WARN, what, rd_kafka_error_string(error));
    rd_kafka_error_destroy(error);
}

static void assign(struct kafka_in *k, rd_kafka_topic_partition_list_t *l)
{
    report_error(k, "ASSIGN", rd_kafka_incremental_assign(k->rk, l));
    k->was_assigned = true;
    if (k->assigns_to_come > 0) k->assigns_to_come--;
    AUTO_FREE struct kafka_partition *p = partitions_of(l);
    if (!add_parts(k, l) || (!p && l->cnt > 0)) {
        fail(k, "there is no memory for the partitions that the group gave");
        return;
    }
    if (k->is_stopped) kafka_in_stop_intake(k);
    if (k->on_assigned && !k->is_closing) k->on_assigned(k->arg, p, p ? (size_t)l->cnt : 0);
}

static void revoke(struct kafka_in *k, rd_kafka_topic_partition_list_t *l)
{
    bool lost = rd_kafka_assignment_lost(k->rk) != 0;
    AUTO_FREE struct kafka_partition *p = partitions_of(l);
    if (!p && l->cnt > 0) fail(k, "there is no memory for the partitions that the group takes");
    if (p && k->on_revoked && !k->is_closing) k->on_revoked(k->arg, p, (size_t)l->cnt, lost);
    remove_parts(k, l);
    k->assigns_to_come =
        lost ? 1 : 2; /* librdkafka: a normal revoke is followed by an assign at once, then it joins again */
    k->rebalancing_mono_ms = clock_mono_ms(k->clock);
    report_error(k, "UNASSIGN", rd_kafka_incremental_unassign(k->rk, l));
}

static void rebalanced(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *l, void *opaque)
{
    struct kafka_in *k = opaque;
    if (err == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS) {
        assign(k, l);
    } else if (err == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
        revoke(k, l);
    } else {
        say(k, LOG_WARN, "REBALANCE", rd_kafka_err2str(err));
        rd_kafka_assign(rk, NULL);
    }
}

bool kafka_in_steady(const struct kafka_in *k)
{
    return k->was_assigned && k->assigns_to_come == 0 && !k->is_fatal;
}

/* ---- messages and errors ---- */

static void note_fatal(struct kafka_in *k)
{
    char text[512] = "";
    if (k->is_fatal || rd_kafka_fatal_error(k->rk, text, sizeof(text)) == RD_KAFKA_RESP_ERR_NO_ERROR) return;
    fail(k, text);
}

static void erred(rd_kafka_t *rk, int err, const char *text, void *opaque)
{
    (void)rk;
    struct kafka_in *k = opaque;
    if (err == RD_KAFKA_RESP_ERR__FATAL)
        note_fatal(k);
    else if (err == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) { /* the others are logged, too */
        char line[300];
        snprintf(line, sizeof(line), "no broker can be reached (%.180s): check brokers and kafka.*", text);
        say(k, LOG_WARN, "ERROR", line);
    }
}

static void logged(const rd_kafka_t *rk, int level, const char *fac, const char *text)
{
    if (!kafka_log_is_noise(fac, text)) say(rd_kafka_opaque(rk), level, fac, text);
}

/* Copies key and value with a NUL behind each. False when out of memory. */
static bool copy_bytes(struct kafka_in *k, const rd_kafka_message_t *m, struct kafka_message_in *ret)
{
    size_t need = m->key_len + m->len + 2;
    if (need > k->copy_cap) {
        size_t cap = need > 4096 ? need + need / 2 : 4096;
        char *copy = realloc(k->copy, cap);
        if (!copy) return false;
        k->copy = copy;
        k->copy_cap = cap;
    }
    char *key = k->copy, *value = key + m->key_len + 1;
    if (m->key_len > 0) memcpy(key, m->key, m->key_len);
    if (m->len > 0) memcpy(value, m->payload, m->len);
    key[m->key_len] = '\0';
    value[m->len] = '\0';
    ret->key = key;
    ret->key_len = m->key_len;
    ret->value = value;
    ret->value_len = m->len;
    return true;
}

static size_t read_headers(const rd_kafka_message_t *m, struct kafka_header *out)
{
    rd_kafka_headers_t *headers = NULL;
    if (rd_kafka_message_headers(m, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR) return 0;
    size_t n = 0;
    while (n < HEADERS_MAX && rd_kafka_header_get_all(headers, n, &out[n].name, &out[n].value, &out[n].len) ==
                                  RD_KAFKA_RESP_ERR_NO_ERROR) {
        n++;
    }
    return n;
}

static void take_message(struct kafka_in *k, const rd_kafka_message_t *m)
{
    const char *topic = rd_kafka_topic_name(m->rkt);
    struct part *p = find_part(k, topic, m->partition);
    if (!p || p->is_paused) return; /* not committed: comes again, here after the resume or elsewhere */
    if (!kafka_missed_takes(&p->missed, m->offset)) return;
    struct kafka_header headers[HEADERS_MAX];
    struct kafka_message_in in = {.topic = topic, .partition = m->partition, .offset = m->offset, .headers = headers};
    if (!copy_bytes(k, m, &in)) {
        say(k, LOG_WARN, "MESSAGE", "there is no memory for a message: it is fetched again");
        p->missed = (struct kafka_missed){.any = true, .offset = m->offset};
        loop_timer_start(k->missed_timer, KAFKA_MISSED_AGAIN_MS);
        return;
    }
    rd_kafka_timestamp_type_t type;
    in.timestamp_ms = rd_kafka_message_timestamp(m, &type);
    in.n_headers = read_headers(m, headers);
    k->on_message(k->arg, &in);
}

static void fetch_missed(void *arg)
{
    struct kafka_in *k = arg;
    bool again = false;
    for (size_t i = 0; i < k->n_parts; i++) { /* one that is paused: at the resume */
        struct part *p = &k->parts[i];
        if (!p->is_paused && kafka_missed_seek(&p->missed, k->rk, p->topic, p->partition)) again = true;
    }
    if (again) loop_timer_start(k->missed_timer, KAFKA_MISSED_AGAIN_MS);
}

static void take(struct kafka_in *k, rd_kafka_message_t *m)
{
    if (m->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        take_message(k, m);
    } else if (m->err == RD_KAFKA_RESP_ERR__FATAL) {
        note_fatal(k);
    } else if (m->err == RD_KAFKA_RESP_ERR__PARTITION_EOF) {
        const struct part *p = find_part(k, rd_kafka_topic_name(m->rkt), m->partition);
        if (k->on_end && p && !p->missed.any) k->on_end(k->arg, rd_kafka_topic_name(m->rkt), m->partition);
    } else {
        say(k, LOG_WARN, rd_kafka_err2name(m->err), rd_kafka_message_errstr(m));
    }
    rd_kafka_message_destroy(m);
}

static void finish(struct kafka_in *k);

static void serve(void *arg)
{
    struct kafka_in *k = arg;
    k->depth++;
    int taken = 0;
    while (taken < MESSAGES_PER_TURN && !k->is_closing) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(k->rk, 0);
        if (!m) break;
        take(k, m);
        taken++;
    }
    if (taken == MESSAGES_PER_TURN) kafka_wake_again(k->wake);
    if (--k->depth == 0 && k->is_closing) finish(k);
}

/* ---- commit ---- */

/* One outcome of a commit: the first failure counts. */
static int commit_outcome(rd_kafka_resp_err_t err, const rd_kafka_topic_partition_list_t *l)
{
    if (err == RD_KAFKA_RESP_ERR__NO_OFFSET) return 0;
    for (int i = 0; !err && l && i < l->cnt; i++) err = l->elems[i].err;
    return kafka_err(err);
}

static void committed(rd_kafka_t *rk, rd_kafka_resp_err_t err, rd_kafka_topic_partition_list_t *l, void *opaque)
{
    (void)rk;
    struct kafka_in *k = opaque;
    k->is_committing = false;
    AUTO_FREE struct kafka_partition *p = partitions_of(l);
    if (k->on_committed && !k->is_closing) k->on_committed(k->arg, p, p ? (size_t)l->cnt : 0, commit_outcome(err, l));
}

/* A rebalance without a next assignment (the group is gone for good) must not stop commits for ever. */
static bool must_wait(const struct kafka_in *k)
{
    return k->assigns_to_come > 0 && clock_mono_ms(k->clock) - k->rebalancing_mono_ms < k->rebalancing_limit_ms;
}

int kafka_in_commit(struct kafka_in *k, const struct kafka_partition *p, size_t n)
{
    if (n == 0) return ERR_INVALID;
    if (k->is_committing || k->is_closing || must_wait(k)) return ERR_BUSY;
    AUTO_LIST rd_kafka_topic_partition_list_t *l = list_of(p, n);
    if (!l) return ERR_NOMEM;
    rd_kafka_resp_err_t err = rd_kafka_commit_queue(k->rk, l, k->queue, committed, k);
    if (err) return kafka_err(err);
    k->is_committing = true;
    return 0;
}

int kafka_in_commit_sync(struct kafka_in *k, const struct kafka_partition *p, size_t n, int64_t wait_ms)
{
    if (n == 0) return 0;
    AUTO_LIST rd_kafka_topic_partition_list_t *l = list_of(p, n);
    rd_kafka_queue_t *q = l ? rd_kafka_queue_new(k->rk) : NULL;
    if (!q) return ERR_NOMEM;
    int rc = kafka_err(rd_kafka_commit_queue(k->rk, l, q, committed, k)); /* the callback is not used with events */
    rd_kafka_event_t *ev = rc == 0 ? rd_kafka_queue_poll(q, (int)wait_ms) : NULL;
    if (ev) {
        rc = commit_outcome(rd_kafka_event_error(ev), rd_kafka_event_topic_partition_list(ev));
        rd_kafka_event_destroy(ev);
    } else if (rc == 0) {
        rc = ERR_TIMEOUT_SENT;
    }
    rd_kafka_queue_destroy(q);
    return rc;
}

/* ---- life ---- */

/* The group knows it, and it has no assignment yet. */
static bool is_joining(const struct kafka_in *k)
{
    if (k->was_assigned || k->is_fatal || !k->rk) return false;
    char *id = rd_kafka_memberid(k->rk);
    bool is_known = id && *id;
    if (id) rd_kafka_mem_free(k->rk, id);
    return is_known;
}

/* Of one that is joining: a leave is read by the broker behind the join only, and the group would keep the member for a
 * session timeout. librdkafka below 2.3 cannot even be destroyed then: it asserts a state that the first assignment
 * makes (its issue 4312). Also of one that has no id yet: the answer to its first join may bring that at any moment,
 * and librdkafka joins again with it at once. */
static void await_assignment(struct kafka_in *k, int64_t end_mono_ms)
{
    while (!k->was_assigned && !k->is_fatal && clock_mono_ms(k->clock) < end_mono_ms) {
        rd_kafka_message_t *m = rd_kafka_consumer_poll(k->rk, 20);
        if (m) rd_kafka_message_destroy(m);
    }
}

/* Frees what is there; the consumer may be half-built. */
static void destroy(struct kafka_in *k)
{
    if (k->queue) {
        rd_kafka_queue_io_event_enable(k->queue, -1, NULL, 0);
        rd_kafka_queue_destroy(k->queue);
    }
    kafka_wake_free(k->wake);
    k->wake = NULL;
    loop_timer_free(TAKE(k->missed_timer));
    bool cannot_end = rd_kafka_version() < CLOSE_VERSION && is_joining(k); /* see await_assignment() */
    bool ended = !k->rk || (!cannot_end && kafka_destroy(k->rk, DESTROY_WAIT_MS));
    for (size_t i = 0; i < k->n_parts; i++) free(k->parts[i].topic);
    free(k->parts);
    free(k->copy);
    k->parts = NULL;
    k->n_parts = 0;
    k->copy = NULL;
    if (ended) free(k); /* else: left to the client in the background, whose opaque it is */
}

/* What still comes while closing: partitions are given up, fetched messages are dropped (uncommitted). */
static void closing_event(struct kafka_in *k, rd_kafka_event_t *ev)
{
    if (rd_kafka_event_type(ev) == RD_KAFKA_EVENT_REBALANCE) {
        if (rd_kafka_event_error(ev) == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS) {
            report_error(k, "UNASSIGN", rd_kafka_incremental_unassign(k->rk, rd_kafka_event_topic_partition_list(ev)));
        } else {
            rd_kafka_assign(k->rk, NULL);
        }
    }
    rd_kafka_event_destroy(ev);
}

/* Of a client whose close is unfinished. With an assignment it must not be destroyed: when the connection breaks under
 * its question for the committed offsets, rd_kafka_assignment_handle_OffsetFetch() reads a list that is NULL
 * (librdkafka 2.0.2 and later, its issue 4789 has the same line). That needs an assignment that is still the one it
 * asked for, and a client that is ending, so that it does not ask again. */
static void give_up(struct kafka_in *k)
{
    (void)rd_kafka_assign(k->rk, NULL); /* fails when the close came to its end meanwhile: nothing is assigned then */
}

/* Leaves the group, at most until end. */
static void leave_group(struct kafka_in *k, int64_t end_mono_ms)
{
    rd_kafka_queue_t *q = rd_kafka_queue_new(k->rk);
    if (!q) return;
    rd_kafka_error_t *error = rd_kafka_consumer_close_queue(k->rk, q);
    bool is_under_way = !error;
    if (error) rd_kafka_error_destroy(error);
    while (is_under_way && !rd_kafka_consumer_closed(k->rk) && clock_mono_ms(k->clock) < end_mono_ms) {
        rd_kafka_event_t *ev = rd_kafka_queue_poll(q, 20);
        if (ev) closing_event(k, ev);
    }
    if (!rd_kafka_consumer_closed(k->rk)) give_up(k);
    rd_kafka_queue_destroy(q);
}

static void finish(struct kafka_in *k)
{
    int64_t end = clock_mono_ms(k->clock) + k->close_wait_ms;
    rd_kafka_queue_io_event_enable(k->queue, -1, NULL, 0);
    await_assignment(k, end);
    if (k->was_assigned || rd_kafka_version() >= CLOSE_VERSION) leave_group(k, end);
    destroy(k);
}

void kafka_in_free(struct kafka_in *k, int64_t wait_ms)
{
    if (!k || k->is_closing) return;
    k->is_closing = true;
    k->close_wait_ms = wait_ms;
    if (k->depth == 0) finish(k);
}

static int connect_client(struct kafka_in *k, const struct kafka_in_options *o, char **ret_reason)
{
    char session[24], heartbeat[24], text[512];
    int64_t session_ms = o->session_timeout_ms > 0 ? o->session_timeout_ms : SESSION_DEFAULT_MS;
    int64_t heartbeat_ms = o->heartbeat_ms > 0 ? o->heartbeat_ms : HEARTBEAT_DEFAULT_MS;
    snprintf(session, sizeof(session), "%lld", (long long)session_ms);
    snprintf(heartbeat, sizeof(heartbeat), "%lld", (long long)heartbeat_ms);
    k->rebalancing_limit_ms = 3 * session_ms;
    const struct kafka_conf defaults[] = {
        /* A small prefetch, but more messages than one fetch of a partition brings: when the queue is over its mark,
         * the fetcher sleeps for up to a second, even if the queue is empty a moment later. */
        {"queued.min.messages", "2000"},
        {"queued.max.messages.kbytes", "8192"},
        {"max.partition.fetch.bytes", "262144"},
        {"fetch.queue.backoff.ms", "50"}, /* that second, where it can be set */
        {"fetch.wait.max.ms", "50"},
        {"fetch.error.backoff.ms", "100"},
        {"allow.auto.create.topics", "false"},
        {"client.id", o->client_id ? o->client_id : "keyroll"},
    };
    const struct kafka_conf forced[] = {
        {"group.id", o->group},
        {"enable.auto.commit", "false"},
        {"auto.offset.reset", "earliest"},
        {"enable.auto.offset.store", "false"},
        {"enable.partition.eof", o->on_end ? "true" : "false"},
        {"session.timeout.ms", session},
        {"partition.assignment.strategy", "cooperative-sticky"},
        {"heartbeat.interval.ms", heartbeat},
    };
    rd_kafka_conf_t *conf = NULL;
    int rc = kafka_conf_make(o->brokers, o->conf, o->n_conf, defaults, ARRAY_LEN(defaults), forced, ARRAY_LEN(forced),
                             &conf, ret_reason);
    if (rc < 0) return rc;
    rd_kafka_conf_set_opaque(conf, k);
    rd_kafka_conf_set_rebalance_cb(conf, rebalanced);
    rd_kafka_conf_set_error_cb(conf, erred);
    rd_kafka_conf_set_log_cb(conf, logged);
    k->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, text, sizeof(text));
    if (!k->rk) {
        rd_kafka_conf_destroy(conf);
        kafka_reason(ret_reason, "%s", text);
        return ERR_INVALID;
    }
    rd_kafka_poll_set_consumer(k->rk);
    k->queue = rd_kafka_queue_get_consumer(k->rk);
    rd_kafka_set_log_queue(k->rk, NULL); /* to the main queue, which now leads to the consumer's */
    return k->queue ? 0 : ERR_NOMEM;
}

static int subscribe(struct kafka_in *k, const struct kafka_in_options *o, char **ret_reason)
{
    AUTO_LIST rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new((int)o->n_topics);
    if (!l) return ERR_NOMEM;
    for (size_t i = 0; i < o->n_topics; i++) rd_kafka_topic_partition_list_add(l, o->topics[i], RD_KAFKA_PARTITION_UA);
    rd_kafka_resp_err_t err = rd_kafka_subscribe(k->rk, l);
    if (!err) return 0;
    kafka_reason(ret_reason, "subscribing: %s", rd_kafka_err2str(err));
    return ERR_INVALID;
}

int kafka_in_new(struct loop *l, const struct kafka_in_options *o, struct kafka_in **ret_in, char **ret_reason)
{
    struct kafka_in *k = calloc(1, sizeof(*k));
    if (!k) return ERR_NOMEM;
    assert(o->on_message);
    k->clock = o->clock ? o->clock : &clock_system;
    k->on_message = o->on_message;
    k->on_assigned = o->on_assigned;
    k->on_revoked = o->on_revoked;
    k->on_committed = o->on_committed;
    k->on_end = o->on_end;
    k->on_fatal = o->on_fatal;
    k->on_log = o->on_log;
    k->arg = o->arg;
    int rc = connect_client(k, o, ret_reason);
    if (rc == 0 && !(k->wake = kafka_wake_new(l, serve, k))) rc = ERR_NOMEM;
    if (rc == 0 && !(k->missed_timer = loop_timer_new(l, fetch_missed, k))) rc = ERR_NOMEM;
    if (rc == 0) rc = subscribe(k, o, ret_reason);
    if (rc < 0) {
        destroy(k);
        return rc;
    }
    rd_kafka_queue_io_event_enable(k->queue, kafka_wake_fd(k->wake), kafka_wake_bytes, sizeof(kafka_wake_bytes));
    *ret_in = k;
    return 0;
}
