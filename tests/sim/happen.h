/* What happens to a history beside the faults of single calls. */
#ifndef KEYROLL_SIM_HAPPEN_H
#define KEYROLL_SIM_HAPPEN_H

#include "tests/sim/world.h"

/* X(name, text) */
#define SIM_HAPPENINGS(X)                                                                                              \
    X(HAPPEN_CRASH, "a worker crashes")                                                                                \
    X(HAPPEN_FREEZE, "a worker freezes")                                                                               \
    X(HAPPEN_DRAIN, "a worker is told to end")                                                                         \
    X(HAPPEN_REDIS_RESTART, "Redis restarts")                                                                          \
    X(HAPPEN_REDIS_FAILOVER, "Redis fails over, the last writes are lost")                                             \
    X(HAPPEN_REDIS_EMPTY, "Redis restarts empty")                                                                      \
    X(HAPPEN_FLUSH, "Redis is flushed")                                                                                \
    X(HAPPEN_EVICT, "Redis evicts a key")                                                                              \
    X(HAPPEN_SHUFFLE, "the group rebalances")                                                                          \
    X(HAPPEN_REDELIVER, "commits are lost")                                                                            \
    X(HAPPEN_TRUNCATE, "a topic is truncated")                                                                         \
    X(HAPPEN_RECREATE, "a topic is made anew")                                                                         \
    X(HAPPEN_LATE_COPY, "an old message comes again")                                                                  \
    X(HAPPEN_OPERATOR, "an operator asks for a rotation")                                                              \
    X(HAPPEN_EXPOSED, "the key in use is exposed")                                                                     \
    X(HAPPEN_INSTANCE_DOWN, "the instance is down for an hour")                                                        \
    X(HAPPEN_WRITES_REFUSED, "the instance refuses writes for an hour")                                                \
    X(HAPPEN_TESTS_FAIL, "the instance's tests fail for an hour")                                                      \
    X(HAPPEN_RESTORE, "the instance is restored from an old copy")                                                     \
    X(HAPPEN_STRANGER_MAKES, "a stranger makes a key")                                                                 \
    X(HAPPEN_STRANGER_DELETES, "a stranger deletes a key")                                                             \
    X(HAPPEN_STRANGER_DEACTIVATES, "a stranger sets a key Inactive")                                                   \
    X(HAPPEN_STRANGER_ACTIVATES, "a stranger makes a key Active")                                                      \
    X(HAPPEN_CLOCK, "a worker's clock jumps")                                                                          \
    X(HAPPEN_BLIND, "last-used look-ups tell nothing for a day")                                                       \
    X(HAPPEN_REDIS_CLOCK, "the clock of Redis jumps")
enum sim_happening {
#define SIM_HAPPENING_ENUM(name, text) name,
    SIM_HAPPENINGS(SIM_HAPPENING_ENUM)
#undef SIM_HAPPENING_ENUM
        HAPPENINGS
};
const char *sim_happening_name(int n);
/* arg: any non-negative number; chooses which one, how long and so on. From within an event. */
void sim_happen(struct sim_world *w, int n, int64_t arg);

#endif
