/* What the Kafka files share.
 *
 * Settings: librdkafka takes strings; the user's kafka.* properties go to consumer and producer alike, ours are laid
 * under (defaults) and over (forced) them. Properties on which exactly-once effects rest are refused with a reason
 * instead of being overruled in silence.
 *
 * Known bad combinations of version and setting are refused here, too: librdkafka below 2.6.1 cannot do SCRAM with
 * Kafka 4 (edenhill/kcat issue 462; fixed in librdkafka 2.6.1, nonce concatenation).
 *
 * Waking: an eventfd per queue, watched by the loop. Ending: rd_kafka_destroy() has no time-out, so it runs in a thread
 * that is left behind when it takes too long; the process ends soon after anyway. */
#include "lib/kafka_conf.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/url.h"

#include <librdkafka/rdkafka.h>

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#define SCRAM_VERSION 0x02060100 /* 2.6.1 */
#define HEARTBEAT_MS  1000

/* ---- settings ---- */

static const struct kafka_conf reserved[] = {
    {"bootstrap.servers", "it has a setting of its own"},
    {"metadata.broker.list", "it has a setting of its own"},
    {"group.id", "it has a setting of its own"},
    {"session.timeout.ms", "it has a setting of its own"},
    {"heartbeat.interval.ms", "it has a setting of its own"},
    {"message.timeout.ms", "the delivery time-out is given by the program"},
    {"delivery.timeout.ms", "the delivery time-out is given by the program"},
    {"enable.auto.commit", "offsets are committed when the work is done, never by time"},
    {"enable.auto.offset.store", "offsets are committed when the work is done, never by time"},
    {"auto.offset.reset", "a new group must begin with the oldest job"},
    {"partition.assignment.strategy", "the group is cooperative-sticky, mixed groups cannot start"},
    {"group.protocol", "only the classic protocol is supported"},
    {"group.instance.id", "static membership fences restarted pods"},
    {"enable.idempotence", "messages must not be written twice by the client"},
    {"acks", "a message counts when all in-sync replicas have it"},
    {"request.required.acks", "a message counts when all in-sync replicas have it"},
    {"transactional.id", "transactions are not used"},
    {"log.queue", "logs are read on the loop"},
    {"enable.partition.eof", "it is not used"},
};

const char *kafka_conf_reserved(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++) {
        if (strcmp(reserved[i].name, name) == 0) return reserved[i].value;
    }
    return NULL;
}

static bool is_mechanism(const char *name)
{
    return strcmp(name, "sasl.mechanism") == 0 || strcmp(name, "sasl.mechanisms") == 0;
}

const char *kafka_conf_refused(const struct kafka_conf *conf, size_t n_conf)
{
    bool scram = false;
    for (size_t i = 0; i < n_conf; i++) {
        if (is_mechanism(conf[i].name)) scram = strncasecmp(conf[i].value, "SCRAM", 5) == 0;
    }
    if (scram && rd_kafka_version() < SCRAM_VERSION) {
        return "SCRAM needs librdkafka 2.6.1 or later: older ones cannot log in to Kafka 4 (use PLAIN over TLS or "
               "mTLS)";
    }
    return NULL;
}

/* Every address of "host:port,..." is this machine's; a scheme may stand before each, as librdkafka allows. */
static bool all_on_loopback(const char *brokers)
{
    for (const char *at = brokers; *at;) {
        char host[URL_MAX];
        size_t len = strcspn(at, ",");
        const char *scheme = memmem(at, len, "://", 3), *from = scheme ? scheme + 3 : at;
        while (*from == ' ') from++;
        size_t n = len - (size_t)(from - at);
        if (n >= sizeof(host)) return false;
        memcpy(host, from, n);
        host[n] = '\0';
        if (!url_host_is_loopback(host)) return false;
        at += len + (at[len] == ',');
    }
    return true;
}

/* The user's properties that would leave a certificate or its name unchecked, for librdkafka's ways to say so. */
static bool is_unverified(const struct kafka_conf *c)
{
    if (strcmp(c->name, "enable.ssl.certificate.verification") == 0)
        return strcasecmp(c->value, "true") != 0 && strcasecmp(c->value, "t") != 0 && strcmp(c->value, "1") != 0;
    return strcmp(c->name, "ssl.endpoint.identification.algorithm") == 0 && strcasecmp(c->value, "https") != 0;
}

static const struct kafka_conf *first_unverified(const struct kafka_conf *conf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (is_unverified(&conf[i])) return &conf[i];
    return NULL;
}

const char *kafka_version(void)
{
    return rd_kafka_version_str();
}

void kafka_reason(char **ret_reason, const char *fmt, ...)
{
    if (!ret_reason) return;
    va_list ap;
    va_start(ap, fmt);
    if (vasprintf(ret_reason, fmt, ap) < 0) *ret_reason = NULL; /* no memory for words: the code says it */
    va_end(ap);
}

static bool is_secret(const char *name)
{
    return strstr(name, "password") || strstr(name, "secret") || strstr(name, "key.pem") || strstr(name, "jaas");
}

/* is_optional: what this version does not know is passed over. */
static int set_all(rd_kafka_conf_t *c, const struct kafka_conf *conf, size_t n, bool is_user, bool is_optional,
                   char **ret_reason)
{
    for (size_t i = 0; i < n; i++) {
        const char *why = is_user ? kafka_conf_reserved(conf[i].name) : NULL;
        if (why) {
            kafka_reason(ret_reason, "%s cannot be set: %s", conf[i].name, why);
            return ERR_INVALID;
        }
        char text[256];
        rd_kafka_conf_res_t res = rd_kafka_conf_set(c, conf[i].name, conf[i].value, text, sizeof(text));
        if (res == RD_KAFKA_CONF_OK || (res == RD_KAFKA_CONF_UNKNOWN && is_optional)) continue;
        kafka_reason(ret_reason, "%s: %s", conf[i].name, is_secret(conf[i].name) ? "not accepted" : text);
        return ERR_INVALID;
    }
    return 0;
}

static void conf_freep(rd_kafka_conf_t **c)
{
    if (*c) rd_kafka_conf_destroy(*c);
}

int kafka_conf_make(const char *brokers, const struct kafka_conf *user, size_t n_user,
                    const struct kafka_conf *defaults, size_t n_defaults, const struct kafka_conf *forced,
                    size_t n_forced, struct rd_kafka_conf_s **ret_conf, char **ret_reason)
{
    const char *refused = kafka_conf_refused(user, n_user);
    if (refused) {
        kafka_reason(ret_reason, "%s", refused);
        return ERR_INVALID;
    }
    if (!brokers || !*brokers) {
        kafka_reason(ret_reason, "no Kafka brokers are given");
        return ERR_INVALID;
    }
    const struct kafka_conf *unverified = first_unverified(user, n_user);
    if (unverified && !all_on_loopback(brokers)) {
        kafka_reason(ret_reason,
                     "%s = %s: certificates and their names are always verified, but for brokers on loopback",
                     unverified->name, unverified->value);
        return ERR_INVALID;
    }
    CLEANUP(conf_freep) rd_kafka_conf_t *c = rd_kafka_conf_new();
    if (!c) return ERR_NOMEM;
    const struct kafka_conf base[] = {
        {"client.id", "keyroll"},
        {"socket.nagle.disable", "true"},
        {"reconnect.backoff.max.ms", "2000"},
        {"topic.metadata.refresh.interval.ms", "30000"}, /* topics made later are found in half a minute, not five */
    };
    const struct kafka_conf must[] = {{"bootstrap.servers", brokers}, {"log.queue", "true"}};
    int rc = set_all(c, base, ARRAY_LEN(base), false, true, ret_reason);
    if (rc == 0) rc = set_all(c, defaults, n_defaults, false, true, ret_reason);
    if (rc == 0) rc = set_all(c, user, n_user, true, false, ret_reason);
    if (rc == 0) rc = set_all(c, forced, n_forced, false, false, ret_reason);
    if (rc == 0) rc = set_all(c, must, ARRAY_LEN(must), false, false, ret_reason);
    if (rc < 0) return rc;
    *ret_conf = TAKE(c);
    return 0;
}

bool kafka_log_is_noise(const char *fac, const char *text)
{
    if (strcmp(fac, "AUTOCREATE") == 0) return true;
    if (strcmp(fac, "CONFWARN") != 0) return false;
    return strstr(text, "is a consumer property") || strstr(text, "is a producer property");
}

/* ---- errors ---- */

int kafka_err(int rd_err)
{
    switch (rd_err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return 0;
    case RD_KAFKA_RESP_ERR__FATAL:
    case RD_KAFKA_RESP_ERR_FENCED_INSTANCE_ID:
        return ERR_KAFKA_FATAL;
    case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
    case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
    case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
    case RD_KAFKA_RESP_ERR__ASSIGNMENT_LOST:
    case RD_KAFKA_RESP_ERR__STATE:
    case RD_KAFKA_RESP_ERR__DESTROY:
        return ERR_CANCELLED;
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        return ERR_TIMEOUT_SENT;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_OFFSET_METADATA_TOO_LARGE:
    case RD_KAFKA_RESP_ERR_INVALID_COMMIT_OFFSET_SIZE:
    case RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART:
    case RD_KAFKA_RESP_ERR__UNKNOWN_TOPIC:
    case RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION:
    case RD_KAFKA_RESP_ERR_INVALID_GROUP_ID:
        return ERR_KAFKA_REFUSED;
    case RD_KAFKA_RESP_ERR__INVALID_ARG:
        return ERR_INVALID;
    default:
        return ERR_KAFKA_DOWN;
    }
}

/* ---- waking ---- */

const char kafka_wake_bytes[8] = {
    1}; /* eventfd(2): eight bytes, any number but 2^64-1; on big-endian it reads as 2^56, which is as good */

struct kafka_wake {
    struct loop *loop;
    int fd;
    struct loop_fd *watch;
    struct loop_timer *timer;
    bool again; /* a deferred call is on its way */
    void (*fn)(void *arg);
    void *arg;
};

static void run_again(void *arg)
{
    struct kafka_wake *w = arg;
    w->again = false;
    w->fn(w->arg);
}

static void fd_fired(void *arg)
{
    struct kafka_wake *w = arg;
    uint64_t count;
    ssize_t n = read(w->fd, &count, sizeof(count)); /* one read empties an eventfd */
    if (n < 0 && errno != EAGAIN && errno != EINTR) return;
    w->fn(w->arg);
}

static void timer_fired(void *arg)
{
    struct kafka_wake *w = arg;
    loop_timer_start(w->timer, HEARTBEAT_MS);
    w->fn(w->arg);
}

struct kafka_wake *kafka_wake_new(struct loop *l, void (*fn)(void *arg), void *arg)
{
    struct kafka_wake *w = calloc(1, sizeof(*w));
    if (!w) return NULL;
    *w = (struct kafka_wake){.loop = l, .fn = fn, .arg = arg, .fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)};
    if (w->fd >= 0) w->watch = loop_fd_new(l, w->fd, fd_fired, w);
    w->timer = loop_timer_new(l, timer_fired, w);
    if (!w->watch || !w->timer) {
        kafka_wake_free(w);
        return NULL;
    }
    loop_timer_start(w->timer, 0);
    return w;
}

int kafka_wake_fd(const struct kafka_wake *w)
{
    return w->fd;
}

void kafka_wake_again(struct kafka_wake *w)
{
    if (w->again) return;
    w->again = loop_defer(w->loop, run_again, w) == 0; /* out of memory: the timer comes within a second */
}

void kafka_wake_free(struct kafka_wake *w)
{
    if (!w) return;
    loop_defer_cancel(w->loop, run_again, w);
    loop_fd_free(w->watch);
    loop_timer_free(w->timer);
    if (w->fd >= 0) close(w->fd);
    free(w);
}

/* ---- ending ---- */

struct ending {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    rd_kafka_t *rk;
    bool done, abandoned; /* who comes last frees */
};

static void ending_free(struct ending *e)
{
    pthread_mutex_destroy(&e->lock);
    pthread_cond_destroy(&e->cond);
    free(e);
}

static void *run_ending(void *arg)
{
    struct ending *e = arg;
    rd_kafka_destroy_flags(e->rk, RD_KAFKA_DESTROY_F_NO_CONSUMER_CLOSE);
    pthread_mutex_lock(&e->lock);
    e->done = true;
    bool abandoned = e->abandoned;
    pthread_cond_signal(&e->cond);
    pthread_mutex_unlock(&e->lock);
    if (abandoned) ending_free(e);
    return NULL;
}

static bool start_thread(struct ending *e)
{
    pthread_attr_t attr;
    pthread_t thread;
    if (pthread_attr_init(&attr) != 0) return false;
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    int rc = pthread_create(&thread, &attr, run_ending, e);
    pthread_attr_destroy(&attr);
    return rc == 0;
}

bool kafka_destroy(struct rd_kafka_s *rk, int64_t wait_ms)
{
    struct ending *e = calloc(1, sizeof(*e));
    if (!e) return false;
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_mutex_init(&e->lock, NULL);
    pthread_cond_init(&e->cond, &attr);
    pthread_condattr_destroy(&attr);
    e->rk = rk;
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += wait_ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    if (!start_thread(e)) {
        ending_free(e);
        return false;
    }
    pthread_mutex_lock(&e->lock);
    int rc = 0;
    while (!e->done && rc == 0) rc = pthread_cond_timedwait(&e->cond, &e->lock, &until);
    bool done = e->done;
    e->abandoned = !done;
    pthread_mutex_unlock(&e->lock);
    if (done) ending_free(e);
    return done;
}

/* ---- missed messages ---- */

#define MISSED_SEEKS 5

bool kafka_missed_takes(struct kafka_missed *m, int64_t offset)
{
    if (!m->any) return true;
    if (offset > m->offset && m->seeks < MISSED_SEEKS) return false;
    *m = (struct kafka_missed){0};
    return true;
}

bool kafka_missed_seek(struct kafka_missed *m, struct rd_kafka_s *rk, const char *topic, int32_t partition)
{
    if (!m->any || m->seeks >= MISSED_SEEKS) return false;
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(1);
    if (!l) return true;
    rd_kafka_topic_partition_list_add(l, topic, partition)->offset = m->offset;
    rd_kafka_error_t *error = rd_kafka_seek_partitions(rk, l, 0);
    if (error) rd_kafka_error_destroy(error);
    rd_kafka_topic_partition_list_destroy(l);
    m->seeks++;
    return m->seeks < MISSED_SEEKS;
}
