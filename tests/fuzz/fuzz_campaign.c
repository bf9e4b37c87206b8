/* Campaigns from Redis, marks from the dead-letter topic: what is accepted can be written again, and says the same
 * then. */
#include "schema/campaign.h"
#include "schema/deadmark.h"
#include "tests/fuzz/fuzz.h"

static void campaign(const char *text, size_t size)
{
    struct message_fault fault = {""};
    AUTO_BUF struct buf out;
    AUTO_BUF struct buf twice;
    struct campaign c, again;
    buf_init(&out, CAMPAIGN_MAX_BYTES);
    buf_init(&twice, CAMPAIGN_MAX_BYTES);
    int rc = campaign_decode(text, size, &c, &fault);
    fuzz_touch(fault.text);
    if (rc == 0) {
        FUZZ_REQUIRE(campaign_name_valid(c.name));
        fuzz_touch(campaign_state_name(c.state));
        fuzz_touch(campaign_reason_name(c.reason));
        FUZZ_REQUIRE(campaign_encode(&c, &out) == 0);
        FUZZ_REQUIRE(campaign_decode(out.data, out.len, &again, &fault) == 0);
        FUZZ_REQUIRE(campaign_encode(&again, &twice) == 0);
        FUZZ_REQUIRE(out.len == twice.len && memcmp(out.data, twice.data, out.len) == 0);
        campaign_done(&again);
    }
    campaign_done(&c);
}

static void mark(const char *text, size_t size)
{
    struct message_fault fault = {""};
    AUTO_BUF struct buf out;
    struct deadmark m, again;
    buf_init(&out, DEADMARK_MAX_BYTES);
    (void)deadmark_is(text, size);
    if (deadmark_decode(text, size, &m, &fault) == 0) {
        fuzz_touch(deadmark_action_name(m.action));
        FUZZ_REQUIRE(deadmark_encode(&m, &out) == 0);
        FUZZ_REQUIRE(deadmark_is(out.data, out.len));
        FUZZ_REQUIRE(deadmark_decode(out.data, out.len, &again, &fault) == 0);
        FUZZ_REQUIRE(again.action == m.action && again.offset == m.offset);
    }
    fuzz_touch(fault.text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE char *text = fuzz_text(data, size);
    campaign(text, size);
    mark(text, size);
    return 0;
}
