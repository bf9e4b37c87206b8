/* The settings file, read and checked as a program does it at its start. */
#include "schema/options.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[32], flag[64];
    int fd = fuzz_file(data, size, path);
    snprintf(flag, sizeof flag, "--config=%s", path);
    char *words[] = {(char[]){"fuzz"}, flag, NULL};
    AUTO_FREE char *reason = NULL;
    int n = 2;
    struct options o;
    if (options_load(&o, OPTIONS_ALL, &n, words, NULL, &reason) < 0) FUZZ_REQUIRE(reason && !strchr(reason, '\n'));
    options_done(&o);
    close(fd);
    return 0;
}
