/* The home of secrets: copies, comparison, wiping, pages that no core dump holds. */
#include "lib/err.h"
#include "lib/secret.h"
#include "lib/secret_file.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

static void sizes(void **state)
{
    (void)state;
    static const size_t lens[] = {0, 1, 40, 51, 55, 56, 64, 115, 119, 120, 500, 503, 2039, 2040, 20000, 1 << 20};
    char *bytes = malloc(1 << 20);
    memset(bytes, 'k', 1 << 20);
    for (size_t i = 0; i < ARRAY_LEN(lens); i++) {
        AUTO_SECRET struct secret *s = secret_new(bytes, lens[i]);
        assert_non_null(s);
        assert_int_equal(secret_len(s), lens[i]);
        assert_memory_equal(secret_bytes(s), bytes, lens[i]);
        assert_int_equal(secret_bytes(s)[lens[i]], '\0');
        AUTO_SECRET struct secret *copy = secret_copy(s);
        assert_true(secret_equal(s, copy));
        assert_int_equal(secret_count(), 2);
    }
    assert_null(secret_new(bytes, (1 << 20) + 1));
    assert_int_equal(secret_count(), 0);
    secret_free(NULL);
    free(bytes);
}

static void thousands(void **state)
{
    (void)state;
    enum { N = 20000 };
    struct secret **all = calloc(N, sizeof(*all));
    for (int round = 0; round < 2; round++) {
        for (int i = 0; i < N; i++) {
            char text[64];
            int n = snprintf(text, sizeof(text), "secret number %d", i);
            assert_non_null(all[i] = secret_new(text, (size_t)n));
        }
        assert_int_equal(secret_count(), N);
        for (int i = 0; i < N; i++) {
            char text[64];
            (void)snprintf(text, sizeof(text), "secret number %d", i);
            assert_string_equal(secret_bytes(all[i]), text);
        }
        for (int i = 0; i < N; i++) secret_free(all[i]);
    }
    free(all);
}

static void differences(void **state)
{
    (void)state;
    AUTO_SECRET struct secret *a = secret_from_string("abc");
    AUTO_SECRET struct secret *b = secret_from_string("abd");
    AUTO_SECRET struct secret *c = secret_from_string("abcd");
    AUTO_SECRET struct secret *d = secret_new("abc", 3);
    assert_false(secret_equal(a, b));
    assert_false(secret_equal(a, c));
    assert_true(secret_equal(a, d));
}

static void wiped_when_freed(void **state)
{
    (void)state;
    struct secret *s = secret_from_string("wipe me, I am a secret of a certain length");
    const char *where = secret_bytes(s);
    struct secret *other = secret_from_string("keeps the page in use");
    secret_free(s);
    assert_memory_not_equal(where, "wipe me", 7); /* the mapping is kept, so looking is allowed */
    assert_int_equal(where[20], 0);
    secret_free(other);
    char plain[] = "plain";
    secret_wipe(plain, sizeof(plain));
    assert_memory_equal(plain, "\0\0\0\0\0", 6);
    secret_wipe(NULL, 0);
}

/* The kernel's own flags of the page at an address, "" when they cannot be read. */
static void flags_at(uintptr_t at, char flags[512])
{
    char line[512];
    bool inside = false;
    FILE *maps = fopen("/proc/self/smaps", "r");
    flags[0] = '\0';
    while (maps && fgets(line, sizeof(line), maps)) {
        unsigned long from, to;
        if (sscanf(line, "%lx-%lx ", &from, &to) == 2) inside = from <= at && at < to;
        if (inside && strncmp(line, "VmFlags:", 8) == 0) memcpy(flags, line, sizeof(line));
    }
    if (maps) (void)fclose(maps);
}

/* dd = do not dump, wf = wipe on fork, lo = locked, where this process may lock at all. */
static void flags_of_its_page(void **state)
{
    (void)state;
    AUTO_SECRET struct secret *s = secret_from_string("x");
    char flags[512], probe[512];
    flags_at((uintptr_t)secret_bytes(s), flags);
    if (!flags[0]) skip();
    assert_non_null(strstr(flags, " dd"));
    assert_non_null(strstr(flags, " wf"));
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_true(page != MAP_FAILED);
    (void)mlock(page, 4096); /* the sanitizers make nothing of it */
    flags_at((uintptr_t)page, probe);
    assert_int_equal(munmap(page, 4096), 0);
    if (strstr(probe, " lo")) assert_non_null(strstr(flags, " lo"));
}

static int read_into(const char *path, size_t max, size_t *ret_len, struct stat *ret_state)
{
    AUTO_BUF struct buf b;
    buf_init_secret(&b, max);
    int rc = secret_file_read(path, &b, ret_state);
    *ret_len = b.len;
    return rc;
}

static void files(void **state)
{
    (void)state;
    char dir[] = "/tmp/keyroll-secret-XXXXXX", path[64], bytes[6000];
    size_t len;
    struct stat st = {0};
    assert_non_null(mkdtemp(dir));
    snprintf(path, sizeof path, "%s/file", dir);
    assert_int_equal(read_into(path, 100, &len, &st), ERR_NOT_FOUND);
    assert_int_equal(errno, ENOENT);
    assert_int_equal(st.st_mode, 0);
    memset(bytes, 's', sizeof bytes);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0640);
    assert_int_equal(write(fd, bytes, sizeof bytes), sizeof bytes);
    close(fd);
    assert_int_equal(read_into(path, sizeof bytes, &len, NULL), 0);
    assert_int_equal(len, sizeof bytes);
    assert_int_equal(read_into(path, sizeof bytes - 1, &len, &st), ERR_TOO_LARGE);
    assert_true(S_ISREG(st.st_mode) && (st.st_mode & S_IRGRP)); /* told nevertheless */
    assert_int_equal(truncate(path, 0), 0);
    assert_int_equal(read_into(path, 100, &len, NULL), 0);
    assert_int_equal(len, 0);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(read_into(dir, 100, &len, &st), ERR_IO);
    assert_int_equal(errno, EISDIR);
    assert_true(S_ISDIR(st.st_mode));
    assert_int_equal(rmdir(dir), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(thousands),
        cmocka_unit_test(differences),
        cmocka_unit_test(wiped_when_freed),
        cmocka_unit_test(flags_of_its_page),
        cmocka_unit_test(files),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
