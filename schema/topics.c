/* The topics as they should be.
 *
 * One file, schema/topics.json, is both the published form and what `keyroll topics apply` works from: it is built into
 * the program, and a copy with other partitions or retention may be given instead. A small cluster cannot keep three
 * copies; there replication follows the number of brokers, and min.insync.replicas stays one below it, so that a broker
 * may be restarted without stopping the fleet. */
#include "schema/topics.h"

#include "lib/err.h"
#include "schema/options.h"
#include "schema/topics_json.h"

#include <stdio.h>
#include <string.h>

#define DELAY "{delay}"

struct topics_store {
    json_t *root; /* owns the texts of settings */
    char **names; /* n_names, owned */
    size_t n_names;
    struct kafka_conf **configs; /* n_configs arrays, owned */
    size_t n_configs;
    char insync[16]; /* min.insync.replicas where the cluster is small */
};

static int fail(int rc, char **ret_reason, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int fail(int rc, char **ret_reason, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (vasprintf(ret_reason, fmt, args) < 0) *ret_reason = NULL;
    va_end(args);
    return rc;
}

void topics_done(struct topics *t)
{
    struct topics_store *s = t->store;
    for (size_t i = 0; s && i < s->n_names; i++) free(s->names[i]);
    for (size_t i = 0; s && i < s->n_configs; i++) free(s->configs[i]);
    if (s) {
        free(s->names);
        free(s->configs);
        json_decref(s->root);
    }
    free(s);
    free(t->specs);
    *t = (struct topics){0};
}

static int load(const char *path, json_t **ret_root, char **ret_reason)
{
    json_error_t where;
    const char *name = path ? path : "built-in topics";
    *ret_root = path ? json_load_file(path, JSON_REJECT_DUPLICATES, &where)
                     : json_loads(schema_topics, JSON_REJECT_DUPLICATES, &where);
    if (*ret_root) return 0;
    enum json_error_code code = json_error_code(&where);
    if (code == json_error_out_of_memory) return ERR_NOMEM;
    return fail(code == json_error_cannot_open_file ? ERR_IO : ERR_SYNTAX, ret_reason, "%s:%d: %s", name, where.line,
                where.text);
}

/* The settings of one topic; min.insync.replicas is lowered where the cluster is small. *ret: owned by the store. */
static int read_config(struct topics *t, const json_t *config, int replication, const struct kafka_conf **ret,
                       char **ret_reason)
{
    struct topics_store *s = t->store;
    struct kafka_conf **configs = realloc(s->configs, (s->n_configs + 1) * sizeof *configs);
    if (!configs) return ERR_NOMEM;
    s->configs = configs;
    struct kafka_conf *made = calloc(json_object_size(config) + 1, sizeof *made);
    if (!made) return ERR_NOMEM;
    configs[s->n_configs++] = made;
    *ret = made;
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)config, name, value)
    {
        const char *text = json_string_value(value);
        if (!text) return fail(ERR_INVALID, ret_reason, "topics: %s: write the value in quotes", name);
        bool too_high =
            strcmp(name, "min.insync.replicas") == 0 && strtol(text, NULL, 10) >= replication && replication > 0;
        *made++ = (struct kafka_conf){name, too_high ? s->insync : text};
    }
    return 0;
}

/* Appends one topic; name is taken over. */
static int add(struct topics *t, char *name, const json_t *topic, int replication, char **ret_reason)
{
    struct topics_store *s = t->store;
    if (!name) return ERR_NOMEM;
    char **names = realloc(s->names, (s->n_names + 1) * sizeof *names);
    struct kafka_topic_spec *specs = names ? realloc(t->specs, (t->n + 1) * sizeof *specs) : NULL;
    if (names) s->names = names;
    if (specs) t->specs = specs;
    if (!specs) {
        free(name);
        return ERR_NOMEM;
    }
    names[s->n_names++] = name;
    const json_t *config = json_object_get(topic, "config");
    json_int_t partitions = json_integer_value(json_object_get(topic, "partitions"));
    if (partitions < 1 || partitions > 10000)
        return fail(ERR_INVALID, ret_reason, "topics: %s: partitions must be 1..10000", name);
    struct kafka_topic_spec spec = {.name = name, .partitions = (int)partitions, .replication = replication};
    int rc = read_config(t, config, replication, &spec.config, ret_reason);
    if (rc < 0) return rc;
    spec.n_config = json_object_size(config);
    specs[t->n++] = spec;
    return 0;
}

/* Adds a topic, or one for each retry delay where its name has {delay}. */
static int add_topic(struct topics *t, const struct options *o, const json_t *topic, int replication, char **ret_reason)
{
    const char *name = json_string_value(json_object_get(topic, "name")), *at = name ? strstr(name, DELAY) : NULL;
    if (!name) return fail(ERR_INVALID, ret_reason, "topics: a topic has no name");
    char *whole = NULL;
    if (!at)
        return add(t, asprintf(&whole, "%s.%s", o->topic_prefix, name) < 0 ? NULL : whole, topic, replication,
                   ret_reason);
    for (size_t i = 0; i < o->retry_delays.n; i++) {
        int n = asprintf(&whole, "%s.%.*s%s%s", o->topic_prefix, (int)(at - name), name, o->retry_delays.items[i],
                         at + strlen(DELAY));
        int rc = add(t, n < 0 ? NULL : whole, topic, replication, ret_reason);
        if (rc < 0) return rc;
    }
    return 0;
}

/* Dead letters must outlive every quarantine: until then the old key can be made Active again, and what is known of the
 * failure is wanted. */
static int check_dead(const struct topics *t, const struct options *o, char **ret_reason)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct kafka_topic_spec *spec = &t->specs[i];
        if (strcmp(spec->name, o->topic_dead) != 0) continue;
        for (size_t k = 0; k < spec->n_config; k++) {
            long long ms = strtoll(spec->config[k].value, NULL, 10);
            if (strcmp(spec->config[k].name, "retention.ms") != 0 || ms < 0 || ms > o->overlap_ms + o->quarantine_ms)
                continue;
            return fail(ERR_INVALID, ret_reason,
                        "topics: %s: retention.ms = %lld must be longer than overlap and quarantine together: raise it "
                        "(keyroll topics apply --file), or lower quarantine",
                        spec->name, ms);
        }
    }
    return 0;
}

static int fill(struct topics *t, const struct options *o, const char *path, int brokers, char **ret_reason)
{
    if (!(t->store = calloc(1, sizeof *t->store))) return ERR_NOMEM;
    int rc = load(path, &t->store->root, ret_reason);
    if (rc < 0) return rc;
    const json_t *topics = json_object_get(t->store->root, "topics");
    json_int_t replication = json_integer_value(json_object_get(t->store->root, "replication_factor"));
    if (!json_is_array(topics) || replication < 1 || replication > 100)
        return fail(ERR_INVALID, ret_reason, "topics: needs replication_factor (1..100) and an array of topics");
    if (brokers > 0 && replication > brokers) replication = brokers;
    snprintf(t->store->insync, sizeof t->store->insync, "%d", replication > 1 ? (int)replication - 1 : 1);
    for (size_t i = 0; rc == 0 && i < json_array_size(topics); i++)
        rc = add_topic(t, o, json_array_get(topics, i), (int)replication, ret_reason);
    return rc < 0 ? rc : check_dead(t, o, ret_reason);
}

int topics_init(struct topics *t, const struct options *o, const char *path, int brokers, char **ret_reason)
{
    *t = (struct topics){0};
    *ret_reason = NULL;
    int rc = fill(t, o, path, brokers, ret_reason);
    if (rc < 0) topics_done(t);
    return rc;
}
