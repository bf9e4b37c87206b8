/* A container usually sees its own group as the root of the mount, whatever /proc/self/cgroup says (it names the group
 * as the host sees it, unless there is a cgroup namespace). So the path is walked upwards, what is not there is
 * skipped, and the root is asked last. */
#include "lib/cgroup.h"

#include "lib/cleanup.h"

#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PATH_MAX_BYTES 1024
#define NO_LIMIT       (UINT64_C(1) << 60) /* version 1 writes "none" as the largest number of pages */

static void file_closep(FILE **f)
{
    if (*f) (void)fclose(*f);
}

/* 0: no such file, "max", or no limit. */
static uint64_t read_limit(const char *path)
{
    CLEANUP(file_closep) FILE *f = fopen(path, "re");
    char line[64];
    if (!f || !fgets(line, sizeof(line), f)) return 0;
    char *end;
    uint64_t limit = strtoumax(line, &end, 10);
    return end == line || limit >= NO_LIMIT ? 0 : limit;
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return !a ? b : !b || a < b ? a : b;
}

/* Walks from group up to the root of the mount. */
static uint64_t walk(const char *mount, char *group, const char *file)
{
    uint64_t least = 0;
    for (;;) {
        char path[2 * PATH_MAX_BYTES];
        int len = snprintf(path, sizeof(path), "%s%s/%s", mount, group, file);
        if (len > 0 && (size_t)len < sizeof(path)) least = smaller(least, read_limit(path));
        char *last = strrchr(group, '/');
        if (!last) return least;
        *last = '\0';
    }
}

/* Is "memory" in a list like "cpu,memory"? */
static bool names_memory(const char *list, size_t len)
{
    static const char word[] = "memory";
    for (const char *p = list, *end = list + len; p < end;) {
        const char *comma = memchr(p, ',', (size_t)(end - p));
        size_t n = (size_t)((comma ? comma : end) - p);
        if (n == sizeof(word) - 1 && memcmp(p, word, n) == 0) return true;
        p += n + 1;
    }
    return false;
}

uint64_t cgroup_memory_limit_bytes(const char *proc_cgroup, const char *root)
{
    CLEANUP(file_closep) FILE *f = fopen(proc_cgroup, "re");
    char line[PATH_MAX_BYTES], mount[PATH_MAX_BYTES];
    uint64_t least = 0;
    while (f && fgets(line, sizeof(line), f)) { /* HIERARCHY:CONTROLLERS:/GROUP */
        line[strcspn(line, "\n")] = '\0';
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group) continue;
        bool v2 = group == controllers + 1;
        if (!v2 && !names_memory(controllers + 1, (size_t)(group - controllers) - 1)) continue;
        int len = snprintf(mount, sizeof(mount), "%s%s", root, v2 ? "" : "/memory");
        if (len < 0 || (size_t)len >= sizeof(mount)) continue;
        group++;
        if (strcmp(group, "/") == 0) *group = '\0';
        least = smaller(least, walk(mount, group, v2 ? "memory.max" : "memory.limit_in_bytes"));
    }
    return least;
}
