/* Compiled in front of the simulated world's own sources: what its judge, its people and its scheduler do with our
 * codecs is not what is tortured, so no allocation is refused meanwhile. */
#ifndef KEYROLL_TORTURE_SPARED_H
#define KEYROLL_TORTURE_SPARED_H

#include "producer/states.h"
#include "schema/job.h"
#include "schema/record.h"
#include "tests/sim/group.h"
#include "tests/sim/world.h"
#include "tests/torture/torture.h"

#define SPARED_VOID(call)                                                                                              \
    do {                                                                                                               \
        torture_pause(true);                                                                                           \
        call;                                                                                                          \
        torture_pause(false);                                                                                          \
    } while (0)
#define SPARED(call)                                                                                                   \
    __extension__({                                                                                                    \
        torture_pause(true);                                                                                           \
        __auto_type result_ = (call);                                                                                  \
        torture_pause(false);                                                                                          \
        result_;                                                                                                       \
    })
#define record_decode(...)  SPARED(record_decode(__VA_ARGS__))
#define record_encode(...)  SPARED(record_encode(__VA_ARGS__))
#define journal_decode(...) SPARED(journal_decode(__VA_ARGS__))
#define journal_encode(...) SPARED(journal_encode(__VA_ARGS__))
#define job_identify(...)   SPARED(job_identify(__VA_ARGS__))
#define job_encode(...)     SPARED(job_encode(__VA_ARGS__))
#define states_take(...)    SPARED(states_take(__VA_ARGS__))
#define states_find(...)    SPARED(states_find(__VA_ARGS__))
#define report_new(...)     SPARED(report_new(__VA_ARGS__))
#define sim_intake_start(k) SPARED_VOID(sim_intake_start(k))

#endif
