/* Topics and groups for the commands: what is there, what should be, the lag. Blocking, with a deadline; not for the
 * loop. */
#ifndef KEYROLL_KAFKA_ADMIN_H
#define KEYROLL_KAFKA_ADMIN_H

#include "lib/kafka_out.h"

#include <stdbool.h>

struct kafka_admin;

/* A topic as it should be. */
struct kafka_topic_spec {
    const char *name;
    int partitions;                  /* 1.. */
    int replication;                 /* 0: as the broker says; else only looked at when the topic is made */
    const struct kafka_conf *config; /* topic settings, for example cleanup.policy; others are left alone */
    size_t n_config;
};

enum kafka_change_kind {
    KAFKA_CREATE,     /* the topic is missing */
    KAFKA_PARTITIONS, /* has fewer partitions: they are added (keys move to others!) */
    KAFKA_CONFIG,     /* a setting differs */
    KAFKA_CANNOT,     /* differs, and cannot be changed here: more partitions, another replication factor */
};
/* One difference between a spec and the cluster. All texts owned by the plan. */
struct kafka_change {
    enum kafka_change_kind kind;
    size_t spec;       /* index of the spec */
    char *what;        /* "partitions", "replication" or the setting */
    char *have, *want; /* "" when there is none */
};
struct kafka_plan {
    struct kafka_change *changes; /* in the order of the specs */
    size_t n;
};

/* Where a group is on one partition. */
struct kafka_lag {
    char *topic; /* owned */
    int32_t partition;
    int64_t committed; /* next to read, -1: nothing committed */
    int64_t end;       /* offset behind the last message */
    int64_t lag;       /* messages not committed */
};

/* Each call below waits at most wait_ms. ERR_INVALID with *ret_reason (caller frees), ERR_NOMEM. */
MUST_CHECK int kafka_admin_new(const char *brokers, const struct kafka_conf *conf, size_t n_conf, int64_t wait_ms,
                               struct kafka_admin **ret_admin, char **ret_reason);
void kafka_admin_free(struct kafka_admin *a); /* takes NULL */

/* Compares specs with the cluster; an empty plan means that nothing is to do. Release with kafka_plan_done().
 * Errors: ERR_KAFKA_DOWN (no broker answers), ERR_PERMISSION, ERR_NOMEM; *ret_reason says which broker and why. */
MUST_CHECK int kafka_admin_plan(struct kafka_admin *a, const struct kafka_topic_spec *specs, size_t n_specs,
                                struct kafka_plan *ret_plan, char **ret_reason);
/* Carries the plan out: creates, adds partitions, changes settings; KAFKA_CANNOT is passed over. Stops at the first
 * failure (what was done stays; make a new plan). Errors: as kafka_admin_plan(), ERR_KAFKA_REFUSED (the broker's words
 * in *ret_reason), ERR_TIMEOUT_SENT (the broker does not answer such requests: librdkafka's mock does not). */
MUST_CHECK int kafka_admin_apply(struct kafka_admin *a, const struct kafka_topic_spec *specs, size_t n_specs,
                                 const struct kafka_plan *plan, char **ret_reason);
void kafka_plan_done(struct kafka_plan *p);

/* Brokers that answer, and their version of the truth: the number of brokers. Errors as kafka_admin_plan(). */
MUST_CHECK int kafka_admin_ping(struct kafka_admin *a, int *ret_brokers, char **ret_reason);

/* The group's place on all partitions of the topics (those that do not exist are left out). Joins nothing, commits
 * nothing. Free with kafka_lag_free(). Errors as kafka_admin_plan(), ERR_INVALID. */
MUST_CHECK int kafka_group_lag(const char *brokers, const struct kafka_conf *conf, size_t n_conf, const char *group,
                               const char *const *topics, size_t n_topics, int64_t wait_ms, struct kafka_lag **ret_lag,
                               size_t *ret_n, char **ret_reason);
void kafka_lag_free(struct kafka_lag *lag, size_t n);

#endif
