/* Calls of simulated programs to simulated servers: the way there, the effect, the way back, and what may go wrong on
 * each. Every edge (Redis, AWS, instance, Kafka) makes its operations of struct sim_op; here they are timed, hurt and
 * completed. */
#ifndef KEYROLL_SIM_NET_H
#define KEYROLL_SIM_NET_H

#include "lib/ticket.h"
#include "tests/sim/sim.h"

enum sim_edge { SIM_REDIS, SIM_AWS, SIM_INSTANCE, SIM_KAFKA, SIM_EDGES };

/* X(name, text): what goes wrong with one call. */
#define SIM_FAULTS(X)                                                                                                  \
    X(SIM_FINE, "done")                                                                                                \
    X(SIM_RETRIABLE, "retriable")            /* refused for now: no effect */                                          \
    X(SIM_PERMANENT, "permanent")            /* refused for good: no effect */                                         \
    X(SIM_LOST_BEFORE, "unknown, no effect") /* connection lost: nothing happened */                                   \
    X(SIM_LOST_AFTER, "unknown, effect")     /* connection lost: it happened */                                        \
    X(SIM_FAILURE_AFTER, "failure, effect")  /* it happened, and the answer is a server failure */                     \
    X(SIM_TIMEOUT, "timeout, no effect")                                                                               \
    X(SIM_TIMEOUT_EFFECT, "timeout, effect")                                                                           \
    X(SIM_LATE_EFFECT, "late effect")               /* times out; it happens delay_ms after the call */                \
    X(SIM_LATE_ANSWER, "late answer")               /* it happens; the answer comes after everybody stopped waiting */ \
    X(SIM_UNSENT, "unsent")                         /* never left: ERR_TIMEOUT */                                      \
    X(SIM_CRASH_BEFORE, "crash before")             /* the caller dies, nothing left it */                             \
    X(SIM_CRASH_AFTER, "crash after")               /* it happens, then the caller dies without the answer */          \
    X(SIM_FREEZE_BEFORE, "freeze before")           /* the caller stops for delay_ms with the request on its lips */   \
    X(SIM_FREEZE_AFTER, "freeze after")             /* it happens; the caller stops for delay_ms before it hears */    \
    X(SIM_SLOW, "slow")                             /* fine, after delay_ms */                                         \
    X(SIM_STALE, "stale")                           /* a read answers with what was true before the last change */     \
    X(SIM_PAGED, "in pages")                        /* AWS: a list in two pages, the second one delay_ms later */      \
    X(SIM_IGNORED, "accepted and lost")             /* instance: says yes, does nothing */                             \
    X(SIM_APPLIED_LATER, "accepted, applied later") /* instance: says yes, does it after delay_ms */                   \
    X(SIM_REFUSED_LATER,                                                                                               \
      "refused, applied later")     /* instance: says no for certain, does it after delay_ms all the same */           \
    X(SIM_TEST_FAILS, "test fails") /* instance: its own test says no */                                               \
    X(SIM_LOGIN, "login refused")   /* instance */
enum sim_fault_kind {
#define SIM_FAULT_ENUM(name, text) name,
    SIM_FAULTS(SIM_FAULT_ENUM)
#undef SIM_FAULT_ENUM
        SIM_FAULT_KINDS
};
const char *sim_fault_name(enum sim_fault_kind k);
struct sim_fault {
    enum sim_fault_kind kind;
    int64_t delay_ms;
};

struct sim_net;
struct sim_op;

/* A process that makes calls. */
struct sim_client {
    struct sim_net *net;
    const char *name;
    int64_t frozen_until_ms;                                      /* monotonic; it hears and does nothing before */
    int64_t fifo_effect_ms[SIM_EDGES], fifo_answer_ms[SIM_EDGES]; /* Redis and Kafka keep the order of a connection */
    struct sim_op *first;
    void (*crash)(struct sim_client *c);             /* NULL: cannot */
    void (*froze)(struct sim_client *c, int64_t ms); /* told at the moment; may be NULL */
    /* Which row makes the call (for rules and the story); set by whoever starts it. */
    const char *table, *step;
    int row;
};

/* One call as the chooser of faults sees it. */
struct sim_call {
    struct sim_client *client;
    enum sim_edge edge;
    const char *op;
    bool writes; /* it changes something */
};

struct sim_net {
    struct sim *sim;
    void (*choose)(void *arg, const struct sim_call *call, struct sim_fault *fault); /* leaves SIM_FINE or sets one */
    void *arg;
    size_t effects; /* scheduled and not done yet */
};

/* The edge's part of an operation. */
struct sim_op_class {
    enum sim_edge edge;
    bool fifo;
    void (*effect)(struct sim_op *op); /* the server does it; result kept in the op */
    void (*answer)(struct sim_op *op,
                   int err); /* completes the ticket; err: the call's own failure, 0 = what effect found */
    void (*free)(struct sim_op *op);
    int retriable, permanent, lost, failure; /* errors of the fault kinds */
};
/* First member of an edge's operation. */
struct sim_op {
    const struct sim_op_class *class;
    struct sim_net *net;
    struct sim_client *client; /* NULL once it died */
    struct ticket ticket;
    const char *name;
    struct sim_fault fault;
    bool writes;
    int64_t begun_ms;
    unsigned effects_due; /* events that are still to come */
    bool answer_due;
    bool completed; /* the ticket is done with */
    int err;        /* of the answer */
    struct sim_op *next, **link;
};

/* Begins a call: from now on the op belongs to the net, which frees it with class->free. timeout_ms: the caller's. */
void sim_op_begin(struct sim_net *net, struct sim_client *c, struct sim_op *op, const struct sim_op_class *class,
                  const char *name, bool writes, int64_t timeout_ms, struct ticket t);
/* The client is gone: its tickets are completed with ERR_CANCELLED (their receivers must be gone already), effects on
 * their way stay. */
void sim_client_dropped(struct sim_client *c);
void sim_client_freeze(struct sim_client *c, int64_t ms);
bool sim_client_frozen(const struct sim_client *c);

#endif
