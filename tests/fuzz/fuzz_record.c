/* Records as Redis gives them back. */
#include "schema/record.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct record r, again;
    AUTO_FREE char *text = fuzz_text(data, size);
    if (record_decode(text, size, &r) < 0) return 0;
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 20);
    FUZZ_REQUIRE(record_encode(&r, &out) == 0);
    FUZZ_REQUIRE(record_decode(out.data, out.len, &again) == 0);
    FUZZ_REQUIRE(r.n_keys == again.n_keys && r.state == again.state && r.next_ms == again.next_ms);
    (void)record_current(&r);
    (void)record_next_key(&r);
    record_settle(&r);
    return 0;
}
