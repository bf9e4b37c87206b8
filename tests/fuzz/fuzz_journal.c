/* Journals as Redis gives them back. */
#include "schema/record.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct journal j, again;
    AUTO_FREE char *text = fuzz_text(data, size);
    if (journal_decode(text, size, &j) < 0) return 0;
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 20);
    FUZZ_REQUIRE(journal_encode(&j, &out) == 0);
    FUZZ_REQUIRE(journal_decode(out.data, out.len, &again) == 0);
    FUZZ_REQUIRE(j.step == again.step && j.direction == again.direction && j.n_seen == again.n_seen);
    FUZZ_REQUIRE(strcmp(j.key_new, again.key_new) == 0 && strcmp(j.key_old, again.key_old) == 0);
    return 0;
}
