/* What happens to a history beside the faults of single calls. */
#ifndef KEYROLL_SIM_HAPPEN_H
#define KEYROLL_SIM_HAPPEN_H

#include "tests/sim/world.h"

/* X(name, text, person): person: afterwards somebody may have to be asked; all else heals. */
#define SIM_HAPPENINGS(X)                                                                                              \
    X(HAPPEN_CRASH, "a worker crashes", false)                                                                         \
    X(HAPPEN_FREEZE, "a worker freezes", false)                                                                        \
    X(HAPPEN_DRAIN, "a worker is told to end", false)                                                                  \
    X(HAPPEN_REDIS_RESTART, "Redis restarts", false)                                                                   \
    X(HAPPEN_REDIS_FAILOVER, "Redis fails over, the last writes are lost", true)                                       \
    X(HAPPEN_REDIS_EMPTY, "Redis restarts empty", true)                                                                \
    X(HAPPEN_FLUSH, "Redis is flushed", true)                                                                          \
    X(HAPPEN_EVICT, "Redis evicts a key", true)                                                                        \
    X(HAPPEN_SHUFFLE, "the group rebalances", false)                                                                   \
    X(HAPPEN_REDELIVER, "commits are lost", false)                                                                     \
    X(HAPPEN_TRUNCATE, "a topic is truncated", false)                                                                  \
    X(HAPPEN_RECREATE, "a topic is made anew", false)                                                                  \
    X(HAPPEN_LATE_COPY, "an old message comes again", false)                                                           \
    X(HAPPEN_OPERATOR, "an operator asks for a rotation", false)                                                       \
    X(HAPPEN_EXPOSED, "the key in use is exposed", false)                                                              \
    X(HAPPEN_INSTANCE_DOWN, "the instance is down for an hour", false)                                                 \
    X(HAPPEN_WRITES_REFUSED, "the instance refuses writes for an hour", false)                                         \
    X(HAPPEN_TESTS_FAIL, "the instance's tests fail for an hour", false)                                               \
    X(HAPPEN_RESTORE, "the instance is restored from an old copy", false)                                              \
    X(HAPPEN_STRANGER_MAKES, "a stranger makes a key", true)                                                           \
    X(HAPPEN_STRANGER_DELETES, "a stranger deletes a key", true)                                                       \
    X(HAPPEN_STRANGER_DEACTIVATES, "a stranger sets a key Inactive", true)                                             \
    X(HAPPEN_STRANGER_ACTIVATES, "a stranger makes a key Active", true)                                                \
    X(HAPPEN_CLOCK, "a worker's clock jumps", false)                                                                   \
    X(HAPPEN_BLIND, "last-used look-ups tell nothing for a day", true)
enum sim_happening {
#define SIM_HAPPENING_ENUM(name, text, person) name,
    SIM_HAPPENINGS(SIM_HAPPENING_ENUM)
#undef SIM_HAPPENING_ENUM
        HAPPENINGS
};
const char *sim_happening_name(int n);
bool sim_happening_asks(int n);
/* arg: any non-negative number; chooses which one, how long and so on. From within an event. */
void sim_happen(struct sim_world *w, int n, int64_t arg);

#endif
