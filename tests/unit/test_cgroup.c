/* Memory limits of control groups, on folders that look like the kernel's. */
#include "lib/cgroup.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#define MIB ((uint64_t)1 << 20)

static char root[64];

static int setup(void **state)
{
    (void)state;
    (void)strcpy(root, "/tmp/keyroll-cgroup-XXXXXX");
    return mkdtemp(root) ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    char command[128];
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", root);
    return system(command);
}

/* Writes a file below root and makes its folders. */
static const char *put(const char *name, const char *text)
{
    static char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", root, name);
    for (char *p = path + strlen(root) + 1; (p = strchr(p, '/')); p++) {
        *p = '\0';
        (void)mkdir(path, 0700);
        *p = '/';
    }
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    return path;
}

static uint64_t limit(const char *proc_cgroup)
{
    return cgroup_memory_limit_bytes(put("self", proc_cgroup), root);
}

static void version_2(void **state)
{
    (void)state;
    put("kubepods/pod1/memory.max", "134217728\n");
    put("kubepods/pod1/worker/memory.max", "max\n");
    assert_int_equal(limit("0::/kubepods/pod1/worker\n"), 128 * MIB); /* the parent's counts */
    put("kubepods/pod1/worker/memory.max", "67108864\n");
    assert_int_equal(limit("0::/kubepods/pod1/worker\n"), 64 * MIB);
    assert_int_equal(limit("0::/other\n"), 0);
}

static void a_container_sees_its_own_group_as_the_root(void **state)
{
    (void)state;
    put("memory.max", "134217728\n");
    assert_int_equal(limit("0::/\n"), 128 * MIB);
    assert_int_equal(limit("0::/../../somewhere/else\n"), 128 * MIB);
    put("memory/memory.limit_in_bytes", "67108864\n");
    assert_int_equal(limit("4:memory:/docker/0123abcd\n"), 64 * MIB); /* version 1: the path of the host */
}

static void version_1(void **state)
{
    (void)state;
    put("memory/memory.limit_in_bytes", "9223372036854771712\n");
    put("memory/a/b/memory.limit_in_bytes", "134217728\n");
    assert_int_equal(limit("5:devices:/a\n4:cpu,memory:/a/b\n3:memoryless:/a\n0::/\n"), 128 * MIB);
    assert_int_equal(limit("4:memory:/a\n"), 0);
    assert_int_equal(limit("3:memoryless:/a/b\n"), 0);
}

static void nothing_to_see(void **state)
{
    (void)state;
    assert_int_equal(cgroup_memory_limit_bytes("/nonexistent", root), 0);
    assert_int_equal(limit(""), 0);
    assert_int_equal(limit("no colons\n::\n4:memory\n"), 0);
    put("memory.max", "not a number\n");
    assert_int_equal(limit("0::/\n"), 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(version_2),
        T(a_container_sees_its_own_group_as_the_root),
        T(version_1),
        T(nothing_to_see),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
