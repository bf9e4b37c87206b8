/* What an instance answers: a first line with the HTTP status (as in tests/unit/vectors/synergist), then the body. */
#include "lib/err.h"
#include "lib/secret.h"
#include "lib/synergist_reply.h"
#include "tests/fuzz/fuzz.h"

static const struct profile profile = {
    .locked = {.items = {"404900"}, .n = 1},
    .mismatch = {.items = {"404901"}, .n = 1},
    .denied = {.items = {"404902"}, .n = 1},
    .test_failed = {.items = {"404903"}, .n = 1},
};
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *line_end = memchr(data, '\n', size < 100 ? size : 100);
    size_t skip = line_end ? (size_t)(line_end - data) + 1 : 0;
    int status = size >= 3 && data[0] >= '1' && data[0] <= '5' ? (data[0] - '0') * 100 + data[2] % 10 : 200;
    AUTO_FREE char *body = fuzz_text(data + skip, size - skip);
    AUTO_SECRET struct secret *secret = secret_from_string(SECRET);
    const struct secret *secrets[] = {secret};
    struct synergist_reply r;
    char text[200], code[64];
    synergist_reply_read(&profile, status, body, size - skip, &r);
    if (r.err == 0) FUZZ_REQUIRE(status < 400);
    synergist_clean(r.text, secrets, 1, text, sizeof text);
    FUZZ_REQUIRE(!strstr(text, "wJalrXUt") && strlen(text) < sizeof text);
    for (size_t n = 0; n < 3; n++) {
        const json_t *record = synergist_record(&r, n);
        if (record && json_is_object(record))
            (void)synergist_text(synergist_member(record, "aws_key", NULL), text, sizeof text);
    }
    synergist_reply_done(&r);
    (void)presigned_verdict(status, body, size - skip, code, sizeof code);
    return 0;
}
