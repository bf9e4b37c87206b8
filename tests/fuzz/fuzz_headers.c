/* Kafka headers. Input: lines "name=value", the value up to the next line feed, any other bytes. */
#include "schema/event.h"
#include "schema/job.h"
#include "tests/fuzz/fuzz.h"

#define MOST 24

/* Names are NUL-terminated, values carry their length: as lib/kafka_in hands them out. */
static size_t split(char *text, size_t size, struct kafka_header *headers)
{
    size_t n = 0;
    for (char *at = text, *end = text + size; at < end && n < MOST;) {
        char *line_end = memchr(at, '\n', (size_t)(end - at));
        if (!line_end) line_end = end;
        *line_end = '\0';
        char *equals = memchr(at, '=', (size_t)(line_end - at));
        headers[n].name = at;
        headers[n].value = equals ? equals + 1 : NULL;
        headers[n++].len = equals ? (size_t)(line_end - equals - 1) : 0;
        if (equals) *equals = '\0';
        at = line_end + 1;
    }
    return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kafka_header headers[MOST];
    struct job_headers h, again;
    struct job_header_set set;
    struct message_fault fault;
    AUTO_FREE char *text = fuzz_text(data, size);
    size_t n = split(text, size, headers);
    (void)event_headers_type(headers, n);
    if (job_headers_decode(headers, n, &h, &fault) < 0) {
        fuzz_touch(fault.text);
        return 0;
    }
    job_headers_encode(&h, &set);
    FUZZ_REQUIRE(job_headers_decode(set.headers, set.n, &again, &fault) == 0);
    FUZZ_REQUIRE(h.attempt == again.attempt && h.not_before_ms == again.not_before_ms);
    FUZZ_REQUIRE(strcmp(h.traceparent, again.traceparent) == 0 && strcmp(h.last_error, again.last_error) == 0);
    return 0;
}
