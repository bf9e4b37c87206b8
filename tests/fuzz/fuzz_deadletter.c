/* Dead letters, which `keyroll` shows and replays. */
#include "schema/deadletter.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct deadletter d, again;
    struct message_fault fault;
    AUTO_FREE char *text = fuzz_text(data, size);
    memset(&d, 0, sizeof d);
    FUZZ_REQUIRE(deadletter_set_raw(&d, text, size) == 0);
    if (deadletter_decode(text, size, &d, &fault) < 0) {
        fuzz_touch(fault.text);
        return 0;
    }
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 20);
    FUZZ_REQUIRE(deadletter_encode(&d, &out) == 0);
    FUZZ_REQUIRE(deadletter_decode(out.data, out.len, &again, &fault) == 0);
    FUZZ_REQUIRE(d.has_job == again.has_job && strcmp(d.reason, again.reason) == 0);
    return 0;
}
