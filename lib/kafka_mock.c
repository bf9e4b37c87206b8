/* librdkafka's mock broker.
 *
 * Good for one machine: groups, commits, headers, idempotent producers. Not for more: it forgets everything when the
 * process ends, keeps 5 MiB per partition, has no TLS, no logins, no retention by time and no admin calls (topics are
 * made here), and a first join takes 3 s on librdkafka below 2.6. Level triggering makes such a broker harmless: what
 * it forgets is published again. rdkafka_mock.h promises no stability; only this file knows it. */
#include "lib/kafka_mock.h"

#include "lib/err.h"
#include "lib/kafka_conf.h"

#include <librdkafka/rdkafka.h>
#include <librdkafka/rdkafka_mock.h>

#define BROKERS_MAX     9
#define DESTROY_WAIT_MS 2000

struct kafka_mock {
    rd_kafka_t *rk; /* the mock wants a client to live in; it never connects */
    rd_kafka_mock_cluster_t *cluster;
};

static rd_kafka_t *host_client(char **ret_reason)
{
    char text[256] = "out of memory";
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    if (conf) {
        (void)rd_kafka_conf_set(conf, "client.id", "keyroll-mock", NULL, 0); /* these two cannot fail */
        (void)rd_kafka_conf_set(conf, "log_level", "3", NULL, 0);
    }
    rd_kafka_t *rk = conf ? rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof(text)) : NULL;
    if (rk) return rk;
    if (conf) rd_kafka_conf_destroy(conf);
    kafka_reason(ret_reason, "%s", text);
    return NULL;
}

static int make_topics(struct kafka_mock *m, const struct kafka_mock_topic *topics, size_t n, int brokers,
                       char **ret_reason)
{
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t err =
            rd_kafka_mock_topic_create(m->cluster, topics[i].name, topics[i].partitions, brokers < 3 ? brokers : 3);
        if (err == RD_KAFKA_RESP_ERR_NO_ERROR) continue;
        kafka_reason(ret_reason, "topic %s: %s", topics[i].name, rd_kafka_err2str(err));
        return ERR_INVALID;
    }
    return 0;
}

int kafka_mock_start(int brokers, const struct kafka_mock_topic *topics, size_t n_topics, struct kafka_mock **ret_mock,
                     char **ret_reason)
{
    if (brokers < 1 || brokers > BROKERS_MAX) {
        kafka_reason(ret_reason, "%d brokers: between 1 and %d are possible", brokers, BROKERS_MAX);
        return ERR_INVALID;
    }
    struct kafka_mock *m = calloc(1, sizeof(*m));
    if (!m) return ERR_NOMEM;
    m->rk = host_client(ret_reason);
    if (m->rk) m->cluster = rd_kafka_mock_cluster_new(m->rk, brokers);
    if (m->rk && !m->cluster) kafka_reason(ret_reason, "the mock brokers cannot start");
    int rc = m->cluster ? make_topics(m, topics, n_topics, brokers, ret_reason) : ERR_INVALID;
    if (rc < 0) {
        kafka_mock_stop(m);
        return rc;
    }
#if RD_KAFKA_VERSION >= 0x020600ff
    rd_kafka_mock_group_initial_rebalance_delay_ms(m->cluster, 100);
#endif
    *ret_mock = m;
    return 0;
}

const char *kafka_mock_brokers(const struct kafka_mock *m)
{
    return rd_kafka_mock_cluster_bootstraps(m->cluster);
}

int kafka_mock_set_down(struct kafka_mock *m, int id, int is_down)
{
    rd_kafka_resp_err_t err =
        is_down ? rd_kafka_mock_broker_set_down(m->cluster, id) : rd_kafka_mock_broker_set_up(m->cluster, id);
    return err ? ERR_NOT_FOUND : 0;
}

void kafka_mock_fail(struct kafka_mock *m, int api_key, int n, int rd_err)
{
    for (int i = 0; i < n; i++) rd_kafka_mock_push_request_errors(m->cluster, (int16_t)api_key, 1, rd_err);
}

void kafka_mock_stop(struct kafka_mock *m)
{
    if (!m) return;
    if (m->cluster) rd_kafka_mock_cluster_destroy(m->cluster);
    if (m->rk) (void)kafka_destroy(m->rk, DESTROY_WAIT_MS); /* left behind: it has no callbacks */
    free(m);
}
