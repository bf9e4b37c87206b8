/* The consumers' side of Kafka: one group over the topics that carry jobs, one partition each (other users' partitions
 * do not matter to this one). It delivers to the real intake (worker/intake.c), keeps committed offsets, moves
 * partitions between members, and judges I7: what is committed has its outcome somewhere. */
#ifndef KEYROLL_SIM_GROUP_H
#define KEYROLL_SIM_GROUP_H

#include "tests/sim/kafka.h"
#include "worker/intake.h"

#include <stdbool.h>

struct sim_world;
struct sim_worker;

enum sim_topic { SIM_JOBS, SIM_URGENT, SIM_RETRY_SHORT, SIM_RETRY_LONG, SIM_TOPICS };
extern const char *const sim_topic_names[SIM_TOPICS];
extern const char *const sim_topic_dead;

struct sim_entry {
    size_t message; /* in the broker's list */
    char job_id[IDENTITY_JOB_ID_MAX];
    bool done; /* a saga that it began ended well, and its record says so */
    bool more; /* the same, but there was more to do, and nothing has begun with that yet: no promise to anybody */
    bool copy; /* its job was handed on, and that copy has arrived */
};
struct sim_log {
    struct sim_group *group;
    struct sim_entry *v;
    int64_t start, end, cap; /* offsets; v[0] is offset 0 */
    int64_t committed;       /* -1 nothing yet */
    int owner;               /* worker, -1 none */
    unsigned epoch;          /* changes with its owner */
    bool fetching;
};
struct sim_group {
    struct sim_world *world;
    struct sim_log logs[SIM_TOPICS];
    bool rebalancing;
};
/* One member; what the intake sees as its consumer. */
struct kafka_in {
    struct sim_worker *worker;
    bool joined, stopped;
    struct {
        bool assigned, paused;
        int64_t position;
    } t[SIM_TOPICS];
};

void sim_group_init(struct sim_group *g, struct sim_world *w);
void sim_group_done(struct sim_group *g);
/* A message arrived at the broker. */
void sim_group_append(struct sim_group *g, const struct sim_kafka_message *m, size_t index);
/* Members come and go. */
void sim_group_join(struct sim_worker *k);
void sim_group_leave(struct sim_worker *k);  /* in good order: commits, gives up */
void sim_group_died(struct sim_worker *k);   /* its partitions are free after the session's time */
void sim_group_silent(struct sim_worker *k); /* thrown out while it is frozen */
void sim_group_woke(struct sim_worker *k);
/* Faults of the broker. */
void sim_group_shuffle(struct sim_group *g); /* a rebalance that moves partitions for no reason */
void sim_group_redeliver(struct sim_group *g, enum sim_topic t, int64_t back); /* the last commits are lost */
void sim_group_truncate(struct sim_group *g, enum sim_topic t);                /* what nobody read yet is gone */
void sim_group_recreate(struct sim_group *g, enum sim_topic t);                /* the topic is deleted and made anew */
/* Messages that are not committed. */
int64_t sim_group_lag(const struct sim_group *g);

/* ---- the intake of one worker ---- */
struct sim_intake;
void sim_intake_start(struct sim_worker *k);
/* Memory goes; nobody is told. */
void sim_intake_drop(struct sim_worker *k);
/* Nothing is under way and nothing is left to commit. */
bool sim_intake_idle(const struct sim_worker *k);
/* SIGTERM: `gone` is called when it is over. */
void sim_intake_drain(struct sim_worker *k);

#endif
