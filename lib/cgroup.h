/* What the kernel allows this process: the memory limit of its control groups, version 1 or 2.
 * docs.kernel.org/admin-guide/cgroup-v2.html, "memory.max"; .../cgroup-v1/memory.html, "memory.limit_in_bytes". */
#ifndef KEYROLL_CGROUP_H
#define KEYROLL_CGROUP_H

#include <stdint.h>

/* The smallest memory limit of the groups that the process is in, of their parents included; 0 when there is none, or
 * it is not to be seen. proc_cgroup: /proc/self/cgroup; root: where the groups are mounted, /sys/fs/cgroup (both are
 * arguments for the tests). Blocking, some small files of the kernel. */
uint64_t cgroup_memory_limit_bytes(const char *proc_cgroup, const char *root);

#endif
