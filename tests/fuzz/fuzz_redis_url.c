/* Addresses of Redis. */
#include "lib/redis_url.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE char *text = fuzz_text(data, size);
    struct redis_url u;
    if (redis_url_parse(text, &u) < 0) return 0;
    FUZZ_REQUIRE((u.host != NULL) != (u.path != NULL));
    FUZZ_REQUIRE(u.db <= 16383 && (u.path || (u.port >= 1 && u.port <= 65535)));
    redis_url_done(&u);
    return 0;
}
