/* Telling a person (notify.h). One message is under way at a time; what happens meanwhile is gathered for the next. A
 * message that one way took and the other did not is tried again by the other alone, with growing waits, for as long as
 * it takes: memory is bounded by notices.h, and what a crash or a rebalance takes away is read again from the topics.
 *
 * Where to go on: the offsets behind the newest news that a message holds are noted when it is taken and committed when
 * it was told. While there is nothing to tell they are committed as they come. A partition that was taken away in
 * between has another epoch, so nothing old is committed for it. */
#include "producer/notify.h"

#include "lib/err.h"
#include "lib/kafka_in.h"
#include "lib/secret_file.h"
#include "lib/subprocess.h"
#include "producer/notices.h"

#include <stdio.h>
#include <string.h>

#define COMMIT_MS    1000
#define AGAIN_MS     1000
#define AGAIN_MAX_MS 300000
#define TIMEOUT_MS   20000
#define ADDRESS_MAX  2048

enum way { COMMAND, URL, WAYS };

struct place {
    const char *topic; /* borrowed from the options */
    int32_t partition;
    unsigned epoch;
    bool ours, ended;              /* ended: read to its end since it is ours */
    int64_t next, told, committed; /* offsets: behind the last one read; told; as committed or about to be */
    int64_t noted;                 /* next, when the message under way was taken */
    unsigned noted_epoch;
};

struct notify {
    struct notify_options o;
    struct kafka_in *in;
    struct loop_timer *timer, *commit_timer;
    struct notices notices;
    struct place *places;
    size_t n_places;
    struct buf message; /* under way; empty: none */
    bool owed[WAYS], running[WAYS];
    unsigned tries;
    struct subprocess *command;
    bool committing, stopping;
};

static void go_on(void *arg);

/* ---- offsets ---- */

static struct place *place_of(struct notify *n, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < n->n_places; i++)
        if (n->places[i].partition == partition && strcmp(n->places[i].topic, topic) == 0) return &n->places[i];
    const struct options *o = n->o.o;
    const char *const known[] = {o->topic_events, o->topic_dead, o->topic_campaigns};
    const char *own = NULL;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strcmp(known[i], topic) == 0) own = known[i];
    struct place *places = own ? realloc(n->places, (n->n_places + 1) * sizeof *places) : NULL;
    if (!places) return NULL;
    n->places = places;
    places[n->n_places] = (struct place){.topic = own, .partition = partition};
    return &places[n->n_places++];
}

static bool is_idle(const struct notify *n)
{
    return !n->message.len && notices_wait_ms(&n->notices, 0, 0) < 0;
}

static size_t to_commit(struct notify *n, struct kafka_partition *list, size_t most)
{
    size_t count = 0;
    for (size_t i = 0; i < n->n_places && count < most; i++) {
        struct place *p = &n->places[i];
        if (is_idle(n)) p->told = p->next;
        if (p->ours && p->told > p->committed)
            list[count++] = (struct kafka_partition){p->topic, p->partition, p->told};
    }
    return count;
}

static void note_committed(struct notify *n, const struct kafka_partition *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        struct place *p = place_of(n, list[i].topic, list[i].partition);
        if (p && p->ours && list[i].offset > p->committed) p->committed = list[i].offset;
    }
}

static void commit(void *arg)
{
    struct notify *n = arg;
    struct kafka_partition list[64];
    if (n->stopping) return;
    size_t count = n->committing ? 0 : to_commit(n, list, ARRAY_LEN(list));
    if (count && kafka_in_commit(n->in, list, count) == 0) n->committing = true;
    loop_timer_start(n->commit_timer, COMMIT_MS);
}

static void commit_now(struct notify *n, int64_t wait_ms)
{
    struct kafka_partition list[64];
    size_t count = to_commit(n, list, ARRAY_LEN(list));
    if (count && kafka_in_commit_sync(n->in, list, count, wait_ms) == 0) note_committed(n, list, count);
}

static void on_committed(void *arg, const struct kafka_partition *list, size_t count, int err)
{
    struct notify *n = arg;
    n->committing = false;
    if (!err) note_committed(n, list, count);
}

static void on_assigned(void *arg, const struct kafka_partition *list, size_t count)
{
    struct notify *n = arg;
    for (size_t i = 0; i < count; i++) {
        struct place *p = place_of(n, list[i].topic, list[i].partition);
        if (p) p->ours = true;
    }
}

static void on_end(void *arg, const char *topic, int32_t partition)
{
    struct notify *n = arg;
    struct place *p = place_of(n, topic, partition);
    if (p) p->ended = true;
}

bool notify_settled(const struct notify *n)
{
    if (!is_idle(n) || !kafka_in_steady(n->in)) return false;
    for (size_t i = 0; i < n->n_places; i++)
        if (n->places[i].ours && !n->places[i].ended) return false;
    return true;
}

static void on_revoked(void *arg, const struct kafka_partition *list, size_t count, bool lost)
{
    struct notify *n = arg;
    if (!lost) commit_now(n, 2000);
    for (size_t i = 0; i < count; i++) {
        struct place *p = place_of(n, list[i].topic, list[i].partition);
        if (!p) continue;
        p->ours = p->ended = false;
        p->epoch++;
        p->next = p->told = p->committed = 0;
    }
}

/* ---- what is read ---- */

static bool read_notice(const struct notify *n, const struct kafka_message_in *m, struct notice *ret)
{
    const struct options *o = n->o.o;
    if (strcmp(m->topic, o->topic_events) == 0) {
        int type = event_headers_type(m->headers, m->n_headers);
        struct event e;
        bool wanted = type == EVENT_STUCK || type == EVENT_AWAITING || type == EVENT_DRIFTED || type == EVENT_AUDITED;
        return wanted && event_decode(m->value, m->value_len, &e, NULL) == 0 && notice_from_event(&e, ret);
    }
    if (strcmp(m->topic, o->topic_dead) == 0) {
        AUTO_FREE struct deadletter *d = malloc(sizeof *d);
        return d && deadletter_decode(m->value, m->value_len, d, NULL) == 0 && notice_from_dead(d, ret);
    }
    AUTO_CAMPAIGN struct campaign *c = calloc(1, sizeof *c);
    return c && m->value_len && campaign_decode(m->value, m->value_len, c, NULL) == 0 && notice_from_campaign(c, ret);
}

static void on_message(void *arg, const struct kafka_message_in *m)
{
    struct notify *n = arg;
    struct notice one;
    struct place *p = place_of(n, m->topic, m->partition);
    if (!p || n->stopping) return;
    p->ours = true;
    if (read_notice(n, m, &one) &&
        notices_add(&n->notices, &one, clock_wall_ms(n->o.clock), clock_mono_ms(n->o.clock)) && !n->message.len)
        go_on(n);
    p->next = m->offset + 1; /* after it was added: what is told includes it */
}

/* ---- sending ---- */

static void ended(struct notify *n, enum way way, int err, const char *detail)
{
    static const char *const names[] = {"command", "url"};
    n->running[way] = false;
    if (n->stopping) return;
    n->owed[way] = err != 0;
    n->o.sent(n->o.arg, names[way], err, detail);
    for (int w = 0; w < WAYS; w++)
        if (n->running[w]) return;
    if (n->owed[COMMAND] || n->owed[URL]) {
        loop_timer_start(n->timer, backoff_ms(n->o.rng, n->tries++, AGAIN_MS, AGAIN_MAX_MS));
        return;
    }
    n->tries = 0;
    buf_reset(&n->message);
    for (size_t i = 0; i < n->n_places; i++) {
        struct place *p = &n->places[i];
        if (p->noted_epoch == p->epoch && p->noted > p->told) p->told = p->noted;
    }
    go_on(n);
}

static void on_command(void *self, uint64_t id, const void *result)
{
    struct notify *n = self;
    const struct subprocess_result *r = result;
    char detail[64] = "it was killed: it took too long";
    (void)id;
    n->command = NULL;
    if (r->err != ERR_TIMEOUT_SENT && r->exit_status >= 0)
        snprintf(detail, sizeof detail, "exit status %d", r->exit_status);
    else if (r->err != ERR_TIMEOUT_SENT)
        snprintf(detail, sizeof detail, "ended by a signal");
    ended(n, COMMAND, r->err, r->err ? detail : "");
}

static void on_reply(void *self, uint64_t id, const void *result)
{
    struct notify *n = self;
    const struct http_reply *r = result;
    char status[64];
    (void)id;
    bool good = !r->err && r->status / 100 == 2;
    snprintf(status, sizeof status, "HTTP status %d", r->status);
    ended(n, URL, r->err ? r->err : good ? 0 : ERR_IO, good ? "" : r->err ? err_text(r->err) : status);
}

static int run_command(struct notify *n)
{
    static const char *const env[] = {"PATH=/usr/local/bin:/usr/bin:/bin", "LANG=C.UTF-8", NULL};
    const struct settings_list *words = &n->o.o->notify_command;
    AUTO_FREE const char **argv = calloc(words->n + 1, sizeof *argv);
    if (!argv) return ERR_NOMEM;
    for (size_t i = 0; i < words->n; i++) argv[i] = words->items[i];
    const struct subprocess_options so = {argv, env, n->message.data, n->message.len, TIMEOUT_MS};
    return subprocess_run(n->o.loop, &so, (struct ticket){on_command, n, 0}, &n->command);
}

/* The address, from its file where it is a secret; read each time, so that a new one is taken. */
static int read_address(const struct options *o, struct buf *out)
{
    int rc = o->notify_url_file ? secret_file_read(o->notify_url_file, out, NULL) : buf_adds(out, o->notify_url);
    if (rc < 0) return rc;
    if (out->len) out->data[strcspn(out->data, "\r\n")] = '\0';
    return options_notify_url_valid(buf_str(out)) ? 0 : ERR_INVALID;
}

static int post(struct notify *n)
{
    static const char *const headers[] = {"Content-Type: application/json", NULL};
    AUTO_BUF struct buf address;
    buf_init_secret(&address, ADDRESS_MAX);
    int rc = read_address(n->o.o, &address);
    const struct http_request req = {.class = HTTP_OTHER,
                                     .method = "POST",
                                     .url = buf_str(&address),
                                     .headers = headers,
                                     .body = n->message.data,
                                     .body_len = n->message.len,
                                     .last_on_connection = true,
                                     .timeout_ms = TIMEOUT_MS};
    return rc < 0 ? rc : http_send(n->o.http, &req, (struct ticket){on_reply, n, 0});
}

static void try_all(struct notify *n)
{
    static int (*const starts[])(struct notify *) = {run_command, post};
    bool wanted[WAYS];
    for (int w = 0; w < WAYS; w++) n->running[w] = wanted[w] = n->owed[w];
    for (int w = 0; w < WAYS; w++) {
        int rc = wanted[w] ? starts[w](n) : 0;
        if (rc < 0) ended(n, (enum way)w, rc, err_text(rc));
    }
}

static void take_message(struct notify *n)
{
    if (notices_take(&n->notices, n->o.o->worker_id, clock_wall_ms(n->o.clock), clock_mono_ms(n->o.clock),
                     &n->message) < 0) {
        buf_reset(&n->message);
        loop_timer_start(n->timer, AGAIN_MS);
        return;
    }
    for (size_t i = 0; i < n->n_places; i++) {
        n->places[i].noted = n->places[i].next;
        n->places[i].noted_epoch = n->places[i].epoch;
    }
    n->owed[COMMAND] = n->o.o->notify_command.n > 0;
    n->owed[URL] = n->o.o->notify_url || n->o.o->notify_url_file;
    try_all(n);
}

static void go_on(void *arg)
{
    struct notify *n = arg;
    if (n->stopping || n->running[COMMAND] || n->running[URL]) return;
    if (n->message.len) {
        try_all(n);
        return;
    }
    int64_t wait = notices_wait_ms(&n->notices, n->o.o->notify_interval_ms, clock_mono_ms(n->o.clock));
    if (wait == 0)
        take_message(n);
    else if (wait > 0)
        loop_timer_start(n->timer, wait);
}

/* ---- life ---- */

bool notify_wanted(const struct options *o)
{
    return o->notify_command.n > 0 || o->notify_url || o->notify_url_file;
}

static void on_fatal(void *arg, const char *reason)
{
    struct notify *n = arg;
    n->o.on_fatal(n->o.arg, reason);
}

static void on_log(void *arg, int level, const char *fac, const char *text)
{
    struct notify *n = arg;
    n->o.on_log(n->o.arg, level, fac, text);
}

static int join(struct notify *n, char **ret_reason)
{
    const struct options *o = n->o.o;
    const char *const topics[] = {o->topic_events, o->topic_dead, o->topic_campaigns};
    char group[300];
    snprintf(group, sizeof group, "%s-notify", o->group);
    const struct kafka_in_options ki = {.brokers = o->brokers,
                                        .group = group,
                                        .client_id = "keyroll-notify",
                                        .topics = topics,
                                        .n_topics = ARRAY_LEN(topics),
                                        .conf = o->kafka,
                                        .n_conf = o->n_kafka,
                                        .session_timeout_ms = o->session_timeout_ms,
                                        .heartbeat_ms = o->heartbeat_ms,
                                        .on_message = on_message,
                                        .on_assigned = on_assigned,
                                        .on_revoked = on_revoked,
                                        .on_committed = on_committed,
                                        .on_end = on_end,
                                        .on_fatal = on_fatal,
                                        .on_log = on_log,
                                        .arg = n};
    return kafka_in_new(n->o.loop, &ki, &n->in, ret_reason);
}

int notify_new(const struct notify_options *o, struct notify **ret, char **ret_reason)
{
    struct notify *n = calloc(1, sizeof *n);
    if (!n) return ERR_NOMEM;
    n->o = *o;
    buf_init(&n->message, NOTICES_MAX_BYTES);
    n->timer = loop_timer_new(o->loop, go_on, n);
    n->commit_timer = loop_timer_new(o->loop, commit, n);
    int rc = n->timer && n->commit_timer ? join(n, ret_reason) : ERR_NOMEM;
    if (rc < 0) {
        notify_free(n);
        return rc;
    }
    loop_timer_start(n->commit_timer, COMMIT_MS);
    *ret = n;
    return 0;
}

void notify_stop(struct notify *n, int64_t wait_ms)
{
    if (!n || n->stopping) return;
    if (n->in) commit_now(n, wait_ms);
    n->stopping = true;
    loop_timer_stop(n->timer);
    loop_timer_stop(n->commit_timer);
    subprocess_abandon(TAKE(n->command));
    kafka_in_free(TAKE(n->in), wait_ms);
}

void notify_free(struct notify *n)
{
    if (!n) return;
    notify_stop(n, 0);
    loop_timer_free(n->timer);
    loop_timer_free(n->commit_timer);
    notices_done(&n->notices);
    buf_done(&n->message);
    free(n->places);
    free(n);
}
