/* How many jobs a worker may have under way at once. Pure. */
#ifndef KEYROLL_CAPACITY_H
#define KEYROLL_CAPACITY_H

#include <stddef.h>
#include <stdint.h>

/* wanted: the setting max_in_flight. memory_bytes: the limit of our control group, 0 = none. Returns wanted, or less:
 * what fits into an eighth less than that memory, at least CAPACITY_LEAST. */
#define CAPACITY_LEAST 16
size_t capacity_in_flight(size_t wanted, uint64_t memory_bytes);

#endif
