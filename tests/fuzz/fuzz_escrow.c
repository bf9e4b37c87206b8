/* Envelopes as they lie in Redis: nothing but what we sealed opens. */
#include "lib/err.h"
#include "lib/escrow.h"
#include "tests/fuzz/fuzz.h"

static struct escrow *escrow;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char path[32], *reason = NULL;
    (void)argc;
    (void)argv;
    (void)fuzz_file((const uint8_t *)"0123456789abcdef0123456789abcdef", 32, path);
    FUZZ_REQUIRE(escrow_load(path, &escrow, &reason) == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct secret *s = NULL;
    AUTO_FREE char *text = fuzz_text(data, size);
    int rc = escrow_open(escrow, "user", "AKIAIOSFODNN7EXAMPLE", text, size, &s);
    FUZZ_REQUIRE(rc == ERR_SEAL_BROKEN || rc == ERR_SEAL_KEY);
    (void)escrow_is_fresh(escrow, text, size);

    /* What was sealed opens; one changed byte does not. */
    if (size < 2 || size > 400) return 0;
    AUTO_BUF struct buf out;
    buf_init(&out, 2048);
    AUTO_SECRET struct secret *secret = secret_new(data, size);
    FUZZ_REQUIRE(secret && escrow_seal(escrow, &rng_system, "user", "AKIAIOSFODNN7EXAMPLE", secret, &out) == 0);
    AUTO_SECRET struct secret *opened = NULL;
    FUZZ_REQUIRE(escrow_open(escrow, "USER", "AKIAIOSFODNN7EXAMPLE", out.data, out.len, &opened) == 0);
    FUZZ_REQUIRE(secret_equal(secret, opened));
    size_t at = (data[0] * 256u + data[1]) % out.len;
    out.data[at] ^= 1 << (size % 7);
    FUZZ_REQUIRE(escrow_open(escrow, "user", "AKIAIOSFODNN7EXAMPLE", out.data, out.len, &s) < 0);
    return 0;
}
