/* Topics and groups for the commands.
 *
 * A plan is the list of differences between what should be and what is; applying walks the plan. So `--dry-run` is the
 * plan, and a second run finds nothing to do. Nothing is ever deleted or made smaller.
 *
 * The client is a consumer without a group: a producer's metadata request would make missing topics with the broker's
 * defaults. Topic settings are changed by the old AlterConfigs request, which replaces them all
 * (IncrementalAlterConfigs came with librdkafka 2.2), so those that were set by hand are read first and sent along.
 *
 * Blocking: each call waits at most the time given at birth, per request. librdkafka's mock answers no such request but
 * metadata, offsets and commits; the error says so. */
#include "lib/kafka_admin.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/kafka_conf.h"
#include "lib/text.h"

#include <librdkafka/rdkafka.h>

#include <stdio.h>
#include <string.h>

#define DESTROY_WAIT_MS 2000
#define GRACE_MS        1000 /* librdkafka reports its own time-outs a little late */

struct kafka_admin {
    rd_kafka_t *rk;
    int64_t wait_ms;
    char trouble[256]; /* what librdkafka said last about the connection */
};

/* ---- errors ---- */

static void erred(rd_kafka_t *rk, int err, const char *text, void *opaque)
{
    (void)rk;
    struct kafka_admin *a = opaque;
    if (err != RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN) text_copy(a->trouble, sizeof(a->trouble), text);
}

static int request_err(rd_kafka_resp_err_t err)
{
    switch ((int)err) {
    case RD_KAFKA_RESP_ERR_NO_ERROR:
        return 0;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
    case RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED:
        return ERR_PERMISSION;
    case RD_KAFKA_RESP_ERR__TIMED_OUT:
    case RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT:
        return ERR_TIMEOUT_SENT;
    case RD_KAFKA_RESP_ERR__TRANSPORT:
    case RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN:
    case RD_KAFKA_RESP_ERR__RESOLVE:
    case RD_KAFKA_RESP_ERR__AUTHENTICATION:
        return ERR_KAFKA_DOWN;
    default:
        return ERR_KAFKA_REFUSED;
    }
}

/* Says what failed, with the broker's words or librdkafka's about the connection. Returns the code. */
static int fail(struct kafka_admin *a, char **ret_reason, const char *what, rd_kafka_resp_err_t err, const char *text)
{
    rd_kafka_poll(a->rk, 0); /* fetches what was said about connections */
    int rc = request_err(err);
    if (rc == ERR_TIMEOUT_SENT || rc == ERR_KAFKA_DOWN) {
        kafka_reason(ret_reason, "%s: no answer from the broker in %lld ms%s%s", what, (long long)a->wait_ms,
                     a->trouble[0] ? ": " : "", a->trouble);
    } else {
        kafka_reason(ret_reason, "%s: %s", what, text && *text ? text : rd_kafka_err2str(err));
    }
    return rc;
}

/* ---- metadata ---- */

static void metadata_freep(const struct rd_kafka_metadata **md)
{
    if (*md) rd_kafka_metadata_destroy(*md);
}
#define AUTO_METADATA CLEANUP(metadata_freep)

/* All topics and brokers. No answer means that nothing was reached: ERR_KAFKA_DOWN. */
static int fetch_metadata(struct kafka_admin *a, const struct rd_kafka_metadata **ret_md, char **ret_reason)
{
    rd_kafka_resp_err_t err = rd_kafka_metadata(a->rk, 1, NULL, ret_md, (int)a->wait_ms);
    if (!err) return 0;
    *ret_md = NULL;
    int rc = fail(a, ret_reason, "asking for topics", err, NULL);
    return rc == ERR_TIMEOUT_SENT ? ERR_KAFKA_DOWN : rc;
}

static const struct rd_kafka_metadata_topic *find_topic(const struct rd_kafka_metadata *md, const char *name)
{
    for (int i = 0; i < md->topic_cnt; i++) {
        if (strcmp(md->topics[i].topic, name) == 0 && md->topics[i].partition_cnt > 0) return &md->topics[i];
    }
    return NULL;
}

int kafka_admin_ping(struct kafka_admin *a, int *ret_brokers, char **ret_reason)
{
    AUTO_METADATA const struct rd_kafka_metadata *md = NULL;
    int rc = fetch_metadata(a, &md, ret_reason);
    if (rc == 0) *ret_brokers = md->broker_cnt;
    return rc;
}

/* ---- requests and their answers ---- */

static void options_freep(rd_kafka_AdminOptions_t **o)
{
    if (*o) rd_kafka_AdminOptions_destroy(*o);
}
static void queue_freep(rd_kafka_queue_t **q)
{
    if (*q) rd_kafka_queue_destroy(*q);
}
static void event_freep(rd_kafka_event_t **ev)
{
    if (*ev) rd_kafka_event_destroy(*ev);
}
#define AUTO_OPTIONS CLEANUP(options_freep)
#define AUTO_QUEUE   CLEANUP(queue_freep)
#define AUTO_EVENT   CLEANUP(event_freep)

static rd_kafka_AdminOptions_t *make_options(struct kafka_admin *a, rd_kafka_admin_op_t op)
{
    rd_kafka_AdminOptions_t *o = rd_kafka_AdminOptions_new(a->rk, op);
    char text[128];
    if (o)
        (void)rd_kafka_AdminOptions_set_request_timeout(o, (int)a->wait_ms, text, sizeof(text)); /* else its default */
    return o;
}

/* Waits for the answer of the request whose queue this is. The event is the caller's. */
static int await(struct kafka_admin *a, rd_kafka_queue_t *q, const char *what, rd_kafka_event_t **ret_ev,
                 char **ret_reason)
{
    rd_kafka_event_t *ev = rd_kafka_queue_poll(q, (int)(a->wait_ms + GRACE_MS));
    if (!ev) return fail(a, ret_reason, what, RD_KAFKA_RESP_ERR__TIMED_OUT, NULL);
    rd_kafka_resp_err_t err = rd_kafka_event_error(ev);
    if (err) {
        int rc = fail(a, ret_reason, what, err, rd_kafka_event_error_string(ev));
        rd_kafka_event_destroy(ev);
        return rc;
    }
    *ret_ev = ev;
    return 0;
}

/* The outcome per topic of CreateTopics and CreatePartitions. */
static int check_topics(struct kafka_admin *a, const char *what, const rd_kafka_topic_result_t **results, size_t n,
                        char **ret_reason)
{
    for (size_t i = 0; i < n; i++) {
        rd_kafka_resp_err_t err = rd_kafka_topic_result_error(results[i]);
        if (err) return fail(a, ret_reason, what, err, rd_kafka_topic_result_error_string(results[i]));
    }
    return 0;
}

/* ---- reading settings ---- */

static void resource_freep(rd_kafka_ConfigResource_t **r)
{
    if (*r) rd_kafka_ConfigResource_destroy(*r);
}
#define AUTO_RESOURCE CLEANUP(resource_freep)

/* Reads a topic's settings; the entries belong to the event. */
static int describe(struct kafka_admin *a, const char *topic, rd_kafka_event_t **ret_ev,
                    const rd_kafka_ConfigEntry_t ***ret_entries, size_t *ret_n, char **ret_reason)
{
    AUTO_RESOURCE rd_kafka_ConfigResource_t *r = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, topic);
    AUTO_OPTIONS rd_kafka_AdminOptions_t *o = make_options(a, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS);
    AUTO_QUEUE rd_kafka_queue_t *q = rd_kafka_queue_new(a->rk);
    AUTO_EVENT rd_kafka_event_t *ev = NULL;
    if (!r || !o || !q) return ERR_NOMEM;
    char what[300];
    snprintf(what, sizeof(what), "reading the settings of topic %s", topic);
    rd_kafka_DescribeConfigs(a->rk, &r, 1, o, q);
    int rc = await(a, q, what, &ev, ret_reason);
    if (rc < 0) return rc;
    size_t n = 0;
    const rd_kafka_ConfigResource_t **answers =
        rd_kafka_DescribeConfigs_result_resources(rd_kafka_event_DescribeConfigs_result(ev), &n);
    if (n != 1) return fail(a, ret_reason, what, RD_KAFKA_RESP_ERR__BAD_MSG, NULL);
    rd_kafka_resp_err_t err = rd_kafka_ConfigResource_error(answers[0]);
    if (err) return fail(a, ret_reason, what, err, rd_kafka_ConfigResource_error_string(answers[0]));
    *ret_entries = rd_kafka_ConfigResource_configs(answers[0], ret_n);
    *ret_ev = TAKE(ev);
    return 0;
}

static const char *entry_value(const rd_kafka_ConfigEntry_t **entries, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(rd_kafka_ConfigEntry_name(entries[i]), name) == 0) return rd_kafka_ConfigEntry_value(entries[i]);
    }
    return NULL;
}

/* ---- plan ---- */

void kafka_plan_done(struct kafka_plan *p)
{
    for (size_t i = 0; i < p->n; i++) {
        free(p->changes[i].what);
        free(p->changes[i].have);
        free(p->changes[i].want);
    }
    free(p->changes);
    *p = (struct kafka_plan){0};
}

static int add_change(struct kafka_plan *p, enum kafka_change_kind kind, size_t spec, const char *what,
                      const char *have, const char *want)
{
    struct kafka_change *changes = realloc(p->changes, (p->n + 1) * sizeof(*changes));
    if (!changes) return ERR_NOMEM;
    p->changes = changes;
    struct kafka_change *c = &changes[p->n++];
    *c = (struct kafka_change){
        .kind = kind, .spec = spec, .what = strdup(what), .have = strdup(have), .want = strdup(want)};
    return c->what && c->have && c->want ? 0 : ERR_NOMEM;
}

static int add_number(struct kafka_plan *p, enum kafka_change_kind kind, size_t spec, const char *what, int have,
                      int want)
{
    char have_text[16], want_text[16];
    snprintf(have_text, sizeof(have_text), "%d", have);
    snprintf(want_text, sizeof(want_text), "%d", want);
    return add_change(p, kind, spec, what, have_text, want_text);
}

static int plan_shape(struct kafka_plan *p, size_t spec, const struct kafka_topic_spec *s,
                      const struct rd_kafka_metadata_topic *t)
{
    int rc = 0, have = t->partition_cnt, replicas = t->partitions[0].replica_cnt;
    if (have != s->partitions) {
        rc = add_number(p, have < s->partitions ? KAFKA_PARTITIONS : KAFKA_CANNOT, spec, "partitions", have,
                        s->partitions);
    }
    if (rc == 0 && s->replication > 0 && replicas != s->replication) {
        rc = add_number(p, KAFKA_CANNOT, spec, "replication", replicas, s->replication);
    }
    return rc;
}

static int plan_settings(struct kafka_admin *a, struct kafka_plan *p, size_t spec, const struct kafka_topic_spec *s,
                         char **ret_reason)
{
    if (s->n_config == 0) return 0;
    AUTO_EVENT rd_kafka_event_t *ev = NULL;
    const rd_kafka_ConfigEntry_t **entries = NULL;
    size_t n = 0;
    int rc = describe(a, s->name, &ev, &entries, &n, ret_reason);
    for (size_t i = 0; rc == 0 && i < s->n_config; i++) {
        const char *have = entry_value(entries, n, s->config[i].name);
        if (have && strcmp(have, s->config[i].value) == 0) continue;
        rc = add_change(p, KAFKA_CONFIG, spec, s->config[i].name, have ? have : "", s->config[i].value);
    }
    return rc;
}

int kafka_admin_plan(struct kafka_admin *a, const struct kafka_topic_spec *specs, size_t n_specs,
                     struct kafka_plan *ret_plan, char **ret_reason)
{
    AUTO_METADATA const struct rd_kafka_metadata *md = NULL;
    CLEANUP(kafka_plan_done) struct kafka_plan plan = {0};
    int rc = fetch_metadata(a, &md, ret_reason);
    for (size_t i = 0; rc == 0 && i < n_specs; i++) {
        const struct rd_kafka_metadata_topic *t = find_topic(md, specs[i].name);
        if (!t) {
            rc = add_number(&plan, KAFKA_CREATE, i, "partitions", 0, specs[i].partitions);
            continue;
        }
        rc = plan_shape(&plan, i, &specs[i], t);
        if (rc == 0) rc = plan_settings(a, &plan, i, &specs[i], ret_reason);
    }
    if (rc < 0) return rc;
    *ret_plan = plan;
    plan = (struct kafka_plan){0};
    return 0;
}

/* ---- apply ---- */

static void new_topic_freep(rd_kafka_NewTopic_t **t)
{
    if (*t) rd_kafka_NewTopic_destroy(*t);
}
static void new_partitions_freep(rd_kafka_NewPartitions_t **p)
{
    if (*p) rd_kafka_NewPartitions_destroy(*p);
}
#define AUTO_NEW_TOPIC      CLEANUP(new_topic_freep)
#define AUTO_NEW_PARTITIONS CLEANUP(new_partitions_freep)

static int create(struct kafka_admin *a, const struct kafka_topic_spec *s, char **ret_reason)
{
    char text[256], what[300];
    snprintf(what, sizeof(what), "creating topic %s", s->name);
    AUTO_NEW_TOPIC rd_kafka_NewTopic_t *t =
        rd_kafka_NewTopic_new(s->name, s->partitions, s->replication > 0 ? s->replication : -1, text, sizeof(text));
    if (!t) {
        kafka_reason(ret_reason, "%s: %s", what, text);
        return ERR_INVALID;
    }
    for (size_t i = 0; i < s->n_config; i++) {
        if (rd_kafka_NewTopic_set_config(t, s->config[i].name, s->config[i].value)) return ERR_INVALID;
    }
    AUTO_OPTIONS rd_kafka_AdminOptions_t *o = make_options(a, RD_KAFKA_ADMIN_OP_CREATETOPICS);
    AUTO_QUEUE rd_kafka_queue_t *q = rd_kafka_queue_new(a->rk);
    AUTO_EVENT rd_kafka_event_t *ev = NULL;
    if (!o || !q) return ERR_NOMEM;
    rd_kafka_CreateTopics(a->rk, &t, 1, o, q);
    int rc = await(a, q, what, &ev, ret_reason);
    if (rc < 0) return rc;
    size_t n = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(ev), &n);
    return check_topics(a, what, results, n, ret_reason);
}

static int grow(struct kafka_admin *a, const struct kafka_topic_spec *s, char **ret_reason)
{
    char text[256], what[300];
    snprintf(what, sizeof(what), "adding partitions to topic %s", s->name);
    AUTO_NEW_PARTITIONS rd_kafka_NewPartitions_t *p =
        rd_kafka_NewPartitions_new(s->name, (size_t)s->partitions, text, sizeof(text));
    AUTO_OPTIONS rd_kafka_AdminOptions_t *o = make_options(a, RD_KAFKA_ADMIN_OP_CREATEPARTITIONS);
    AUTO_QUEUE rd_kafka_queue_t *q = rd_kafka_queue_new(a->rk);
    AUTO_EVENT rd_kafka_event_t *ev = NULL;
    if (!p || !o || !q) return ERR_NOMEM;
    rd_kafka_CreatePartitions(a->rk, &p, 1, o, q);
    int rc = await(a, q, what, &ev, ret_reason);
    if (rc < 0) return rc;
    size_t n = 0;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreatePartitions_result_topics(rd_kafka_event_CreatePartitions_result(ev), &n);
    return check_topics(a, what, results, n, ret_reason);
}

static bool is_ours(const struct kafka_topic_spec *s, const char *name)
{
    for (size_t i = 0; i < s->n_config; i++) {
        if (strcmp(s->config[i].name, name) == 0) return true;
    }
    return false;
}

/* What the request must hold: what else was set on the topic, and ours. A name twice is refused by the broker. */
static int fill_settings(struct kafka_admin *a, rd_kafka_ConfigResource_t *r, const struct kafka_topic_spec *s,
                         char **ret_reason)
{
    AUTO_EVENT rd_kafka_event_t *ev = NULL;
    const rd_kafka_ConfigEntry_t **entries = NULL;
    size_t n = 0;
    int rc = describe(a, s->name, &ev, &entries, &n, ret_reason);
    if (rc < 0) return rc;
    for (size_t i = 0; i < n; i++) {
        const char *name = rd_kafka_ConfigEntry_name(entries[i]), *value = rd_kafka_ConfigEntry_value(entries[i]);
        if (!value || is_ours(s, name) ||
            rd_kafka_ConfigEntry_source(entries[i]) != RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG)
            continue;
        if (rd_kafka_ConfigResource_set_config(r, name, value)) return ERR_INVALID;
    }
    for (size_t i = 0; i < s->n_config; i++) {
        if (rd_kafka_ConfigResource_set_config(r, s->config[i].name, s->config[i].value)) return ERR_INVALID;
    }
    return 0;
}

static int alter(struct kafka_admin *a, const struct kafka_topic_spec *s, char **ret_reason)
{
    char what[300];
    snprintf(what, sizeof(what), "changing the settings of topic %s", s->name);
    AUTO_RESOURCE rd_kafka_ConfigResource_t *r = rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, s->name);
    AUTO_OPTIONS rd_kafka_AdminOptions_t *o = make_options(a, RD_KAFKA_ADMIN_OP_ALTERCONFIGS);
    AUTO_QUEUE rd_kafka_queue_t *q = rd_kafka_queue_new(a->rk);
    AUTO_EVENT rd_kafka_event_t *ev = NULL;
    if (!r || !o || !q) return ERR_NOMEM;
    int rc = fill_settings(a, r, s, ret_reason);
    if (rc < 0) return rc;
    rd_kafka_AlterConfigs(a->rk, &r, 1, o, q);
    rc = await(a, q, what, &ev, ret_reason);
    if (rc < 0) return rc;
    size_t n = 0;
    const rd_kafka_ConfigResource_t **answers =
        rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(ev), &n);
    rd_kafka_resp_err_t err = n == 1 ? rd_kafka_ConfigResource_error(answers[0]) : RD_KAFKA_RESP_ERR__BAD_MSG;
    return err ? fail(a, ret_reason, what, err, n == 1 ? rd_kafka_ConfigResource_error_string(answers[0]) : NULL) : 0;
}

int kafka_admin_apply(struct kafka_admin *a, const struct kafka_topic_spec *specs, size_t n_specs,
                      const struct kafka_plan *plan, char **ret_reason)
{
    size_t altered = n_specs; /* the spec whose settings were sent last: one request for all of a topic's */
    for (size_t i = 0; i < plan->n; i++) {
        const struct kafka_change *c = &plan->changes[i];
        if (c->spec >= n_specs) return ERR_INVALID;
        int rc = 0;
        if (c->kind == KAFKA_CREATE) rc = create(a, &specs[c->spec], ret_reason);
        if (c->kind == KAFKA_PARTITIONS) rc = grow(a, &specs[c->spec], ret_reason);
        if (c->kind == KAFKA_CONFIG && altered != c->spec) {
            rc = alter(a, &specs[c->spec], ret_reason);
            altered = c->spec;
        }
        if (rc < 0) return rc;
    }
    return 0;
}

/* ---- lag ---- */

static void list_freep(rd_kafka_topic_partition_list_t **l)
{
    if (*l) rd_kafka_topic_partition_list_destroy(*l);
}
#define AUTO_LIST CLEANUP(list_freep)

void kafka_lag_free(struct kafka_lag *lag, size_t n)
{
    for (size_t i = 0; lag && i < n; i++) free(lag[i].topic);
    free(lag);
}

static rd_kafka_topic_partition_list_t *all_partitions(const struct rd_kafka_metadata *md, const char *const *topics,
                                                       size_t n)
{
    rd_kafka_topic_partition_list_t *l = rd_kafka_topic_partition_list_new(16);
    for (size_t i = 0; l && i < n; i++) {
        const struct rd_kafka_metadata_topic *t = find_topic(md, topics[i]);
        for (int p = 0; t && p < t->partition_cnt; p++)
            rd_kafka_topic_partition_list_add(l, t->topic, t->partitions[p].id);
    }
    return l;
}

static int fill_lag(struct kafka_admin *a, const rd_kafka_topic_partition_t *p, struct kafka_lag *ret,
                    char **ret_reason)
{
    int64_t low = 0, high = 0;
    rd_kafka_resp_err_t err = p->err;
    if (!err) err = rd_kafka_query_watermark_offsets(a->rk, p->topic, p->partition, &low, &high, (int)a->wait_ms);
    if (err) return fail(a, ret_reason, "asking for offsets", err, NULL);
    int64_t committed = p->offset >= 0 ? p->offset : -1;
    int64_t from = committed > low ? committed : low;
    *ret = (struct kafka_lag){.topic = strdup(p->topic),
                              .partition = p->partition,
                              .committed = committed,
                              .end = high,
                              .lag = high > from ? high - from : 0};
    return ret->topic ? 0 : ERR_NOMEM;
}

static int group_lag(struct kafka_admin *a, const char *const *topics, size_t n_topics, struct kafka_lag **ret_lag,
                     size_t *ret_n, char **ret_reason)
{
    AUTO_METADATA const struct rd_kafka_metadata *md = NULL;
    int rc = fetch_metadata(a, &md, ret_reason);
    if (rc < 0) return rc;
    AUTO_LIST rd_kafka_topic_partition_list_t *l = all_partitions(md, topics, n_topics);
    struct kafka_lag *lag = l ? calloc((size_t)l->cnt + 1, sizeof(*lag)) : NULL;
    if (!lag) return ERR_NOMEM;
    rd_kafka_resp_err_t err = l->cnt > 0 ? rd_kafka_committed(a->rk, l, (int)a->wait_ms) : RD_KAFKA_RESP_ERR_NO_ERROR;
    if (err) rc = fail(a, ret_reason, "asking for the group's offsets", err, NULL);
    int64_t end = clock_mono_ms(&clock_system) + a->wait_ms;
    for (int i = 0; rc == 0 && i < l->cnt; i++) {
        if (clock_mono_ms(&clock_system) > end)
            rc = fail(a, ret_reason, "asking for offsets", RD_KAFKA_RESP_ERR__TIMED_OUT, NULL);
        else
            rc = fill_lag(a, &l->elems[i], &lag[i], ret_reason);
    }
    if (rc < 0) {
        kafka_lag_free(lag, (size_t)l->cnt);
        return rc == ERR_TIMEOUT_SENT ? ERR_KAFKA_DOWN : rc;
    }
    *ret_lag = lag;
    *ret_n = (size_t)l->cnt;
    return 0;
}

/* ---- life ---- */

static int open_client(const char *brokers, const struct kafka_conf *conf, size_t n_conf, const char *group,
                       int64_t wait_ms, struct kafka_admin **ret_admin, char **ret_reason)
{
    struct kafka_admin *a = calloc(1, sizeof(*a));
    if (!a) return ERR_NOMEM;
    a->wait_ms = wait_ms;
    const struct kafka_conf defaults[] = {{"client.id", "keyroll-admin"}};
    const struct kafka_conf forced[] = {{"allow.auto.create.topics", "false"},
                                        {"enable.auto.commit", "false"},
                                        {"max.poll.interval.ms", KAFKA_NO_MEMBER_POLL_MS},
                                        {"group.id", group}};
    rd_kafka_conf_t *c = NULL;
    int rc = kafka_conf_make(brokers, conf, n_conf, defaults, 1, forced, group ? 4 : 3, &c, ret_reason);
    if (rc == 0) {
        char text[512];
        rd_kafka_conf_set_opaque(c, a);
        rd_kafka_conf_set_error_cb(c, erred);
        a->rk = rd_kafka_new(RD_KAFKA_CONSUMER, c, text, sizeof(text));
        if (!a->rk) {
            rd_kafka_conf_destroy(c);
            kafka_reason(ret_reason, "%s", text);
            rc = ERR_INVALID;
        }
    }
    if (rc < 0) {
        kafka_admin_free(a);
        return rc;
    }
    *ret_admin = a;
    return 0;
}

int kafka_admin_new(const char *brokers, const struct kafka_conf *conf, size_t n_conf, int64_t wait_ms,
                    struct kafka_admin **ret_admin, char **ret_reason)
{
    return open_client(brokers, conf, n_conf, NULL, wait_ms, ret_admin, ret_reason);
}

void kafka_admin_free(struct kafka_admin *a)
{
    if (!a) return;
    if (!a->rk || kafka_destroy(a->rk, DESTROY_WAIT_MS)) free(a); /* else the client in the background keeps it */
}

int kafka_group_lag(const char *brokers, const struct kafka_conf *conf, size_t n_conf, const char *group,
                    const char *const *topics, size_t n_topics, int64_t wait_ms, struct kafka_lag **ret_lag,
                    size_t *ret_n, char **ret_reason)
{
    struct kafka_admin *a = NULL;
    int rc = open_client(brokers, conf, n_conf, group, wait_ms, &a, ret_reason);
    if (rc < 0) return rc;
    rc = group_lag(a, topics, n_topics, ret_lag, ret_n, ret_reason);
    kafka_admin_free(a);
    return rc;
}
