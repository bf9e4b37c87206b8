/* Header lines of replies, times and delays in them. */
#include "lib/clock.h"
#include "lib/http_head.h"
#include "tests/fuzz/fuzz.h"

#include "lib/cleanup.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct http_head head;
    http_head_init(&head);
    for (size_t at = 0; at < size;) {
        const uint8_t *end = memchr(data + at, '\n', size - at);
        size_t len = end ? (size_t)(end - data) + 1 - at : size - at;
        char *line = malloc(len); /* without a terminator: as libcurl hands it over */
        FUZZ_REQUIRE(line);
        memcpy(line, data + at, len);
        (void)http_head_line(&head, line, len);
        free(line);
        at += len;
    }
    int64_t ms = http_head_retry_after_ms(&head, 1780000000000);
    FUZZ_REQUIRE(ms >= -1 && ms <= 24 * 3600 * 1000);
    fuzz_touch(head.content_type);
    fuzz_touch(head.request_id);
    http_head_done(&head);
    AUTO_FREE char *text = fuzz_text(data, size);
    int64_t t = time_parse(text);
    if (t != TIME_NONE) {
        char again[TIME_TEXT_MAX];
        time_format(t, again);
        fuzz_touch(again);
    }
    (void)time_parse_http(text);
    return 0;
}
