/* TZif files: what is accepted has offsets that can be, and changes that come later. */
#include "producer/zone.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_ZONE struct zone *z = NULL;
    if (zone_parse(data, size, &z) < 0) return 0;
    for (int64_t at = -4000000000000LL; at < 8000000000000LL; at += 700000000000LL) {
        int32_t offset = zone_offset_s(z, at);
        FUZZ_REQUIRE(offset >= -200000 && offset <= 200000);
        FUZZ_REQUIRE(zone_next_change_ms(z, at) > at);
    }
    return 0;
}
