/* Events, which records are rebuilt from. */
#include "schema/event.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct event e, again;
    struct message_fault fault;
    AUTO_FREE char *text = fuzz_text(data, size);
    if (event_decode(text, size, &e, &fault) < 0) {
        fuzz_touch(fault.text);
        return 0;
    }
    AUTO_BUF struct buf out;
    struct event_header_set headers;
    buf_init(&out, 1 << 20);
    FUZZ_REQUIRE(event_encode(&e, &out) == 0);
    FUZZ_REQUIRE(event_decode(out.data, out.len, &again, &fault) == 0);
    FUZZ_REQUIRE(strcmp(e.user, again.user) == 0 && e.type == again.type && e.keys_seen.n == again.keys_seen.n);
    FUZZ_REQUIRE(event_headers(&e, "fuzz", &headers) == 0);
    FUZZ_REQUIRE(event_headers_type(headers.headers, headers.n) == e.type);
    return 0;
}
