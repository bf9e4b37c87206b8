/* AWS's shared files: the first half is the credentials file, what follows a line "====" the config file. */
#include "lib/aws_profile.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *cut = memmem(data, size, "====\n", 5);
    size_t first = cut ? (size_t)(cut - data) : size;
    char a[32], b[32];
    int fa = fuzz_file(data, first, a);
    int fb = fuzz_file(cut ? cut + 5 : data, cut ? size - first - 5 : 0, b);
    setenv("AWS_SHARED_CREDENTIALS_FILE", a, 1);
    setenv("AWS_CONFIG_FILE", b, 1);
    static const char *const names[] = {"default", "work"};
    for (int i = 0; i < 2; i++) {
        struct aws_profile p;
        if (aws_profile_load(names[i], &p) < 0) continue;
        if (aws_profile_has_keys(&p)) FUZZ_REQUIRE(p.found && p.access_key_id && p.secret);
        aws_profile_done(&p);
    }
    struct secret *s = NULL;
    if (aws_secret_file(a, 4096, &s) == 0) FUZZ_REQUIRE(secret_len(s) >= 1 && secret_len(s) <= 4096);
    secret_free(s);
    close(fa);
    close(fb);
    return 0;
}
