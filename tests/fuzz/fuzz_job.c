/* Jobs from Kafka: what is accepted can be written again and reads the same. */
#include "schema/job.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct job j, again;
    struct message_fault fault;
    AUTO_FREE char *text = fuzz_text(data, size);
    if (job_decode(text, size, &j, &fault) < 0) {
        fuzz_touch(fault.text);
        return 0;
    }
    AUTO_BUF struct buf out;
    char key[IDENTITY_KEY_MAX];
    buf_init(&out, 1 << 20);
    FUZZ_REQUIRE(job_encode(&j, &out) == 0);
    FUZZ_REQUIRE(job_decode(out.data, out.len, &again, &fault) == 0);
    FUZZ_REQUIRE(strcmp(j.user, again.user) == 0 && strcmp(j.job_id, again.job_id) == 0 && j.kind == again.kind);
    FUZZ_REQUIRE(job_key(&j, key) == 0 && job_identify(&again) == 0);
    return 0;
}
