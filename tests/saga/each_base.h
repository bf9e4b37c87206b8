/* One test for each story of tests/sim/bases.h. KEYROLL_BASE=NAME: only for that one; KEYROLL_PART=I/N: for every
 * Nth, from the Ith (0 is the first) on. */
#ifndef KEYROLL_EACH_BASE_H
#define KEYROLL_EACH_BASE_H

#include "tests/saga/saga_test.h"
#include "tests/sim/bases.h"

#include <stdio.h>

#define EACH_BASE_MAX 64

/* The test's state is the story, a const struct sim_base *. Returns main()'s exit status. */
static inline int run_each_base(const char *group, CMUnitTestFunction test)
{
    struct CMUnitTest tests[EACH_BASE_MAX];
    const char *only = getenv("KEYROLL_BASE");
    const char *part = getenv("KEYROLL_PART");
    size_t n = 0, first = 0, every = 1;
    if (part && (sscanf(part, "%zu/%zu", &first, &every) != 2 || first >= every || every > sim_n_bases)) {
        fprintf(stderr, "KEYROLL_PART=%s: not I/N with I < N, N no more than %zu\n", part, sim_n_bases);
        return 2;
    }
    for (size_t i = first; i < sim_n_bases && n < EACH_BASE_MAX; i += every) {
        if (only && strcmp(only, sim_bases[i].name)) continue;
        tests[n++] = (struct CMUnitTest){sim_bases[i].name, test, NULL, NULL, (void *)(uintptr_t)&sim_bases[i]};
    }
    return _cmocka_run_group_tests(group, tests, n, NULL, NULL);
}

#endif
