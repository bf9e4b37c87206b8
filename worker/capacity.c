/* The figures are those of tests/bench, rounded up: what a worker takes without jobs, with all of its connections open
 * under TLS and Kafka's and Redis' buffers full; and what one job adds, with its message, record, journal, pair and,
 * for a while, a place in the queue of calls. tests/integration/test_limits.py shows that they hold. */
#include "worker/capacity.h"

#define BASE_BYTES    ((uint64_t)56 << 20)
#define PER_JOB_BYTES ((uint64_t)20 << 10)

size_t capacity_in_flight(size_t wanted, uint64_t memory_bytes)
{
    if (!memory_bytes) return wanted;
    uint64_t usable = memory_bytes - memory_bytes / 8;
    uint64_t fits = usable > BASE_BYTES ? (usable - BASE_BYTES) / PER_JOB_BYTES : 0;
    if (fits < CAPACITY_LEAST) fits = CAPACITY_LEAST;
    return fits < wanted ? (size_t)fits : wanted;
}
