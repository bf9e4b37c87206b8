/* What the fuzz targets share. A target is one file with LLVMFuzzerTestOneInput(); it aborts where our own promise
 * breaks, the sanitizers abort on all else. */
#ifndef KEYROLL_TESTS_FUZZ_H
#define KEYROLL_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

#define FUZZ_REQUIRE(condition)                                                                                        \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition);                             \
            abort();                                                                                                   \
        }                                                                                                              \
    } while (0)

/* A copy of its own, NUL-terminated right behind the bytes, so that a read beyond them is seen. Caller frees. */
static inline char *fuzz_text(const uint8_t *data, size_t size)
{
    char *s = malloc(size + 1);
    FUZZ_REQUIRE(s);
    if (size) memcpy(s, data, size);
    s[size] = '\0';
    return s;
}

/* The bytes as a file without a name that only we may read; path: 32 bytes, opens it anew. Caller closes the result. */
static inline int fuzz_file(const uint8_t *data, size_t size, char path[32])
{
    int fd = memfd_create("fuzz", MFD_CLOEXEC);
    FUZZ_REQUIRE(fd >= 0 && fchmod(fd, 0600) == 0);
    for (size_t at = 0; at < size;) {
        ssize_t n = write(fd, data + at, size - at);
        FUZZ_REQUIRE(n > 0);
        at += (size_t)n;
    }
    snprintf(path, 32, "/proc/self/fd/%d", fd);
    return fd;
}

/* Reads every byte of a string, for the sanitizers. */
static inline void fuzz_touch(const char *s)
{
    volatile size_t n = s ? strlen(s) : 0;
    (void)n;
}

#endif
