/* Events from outside: whatever is accepted names only what may be named, and nothing that would spoil a log line. */
#include "schema/trigger.h"
#include "schema/identity.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct trigger t;
    struct message_fault fault = {""};
    AUTO_FREE char *text = fuzz_text(data, size);
    int rc = trigger_decode(text, size, &t, &fault);
    fuzz_touch(fault.text);
    for (const char *p = t.kind; *p; p++) FUZZ_REQUIRE(*p >= ' ' && *p < 0x7f);
    for (const char *p = t.actor; *p; p++) FUZZ_REQUIRE(*p >= ' ' && *p < 0x7f);
    if (rc < 0) {
        FUZZ_REQUIRE(t.want == TRIGGER_NOTHING);
        return 0;
    }
    for (size_t i = 0; i < t.keys.n; i++) FUZZ_REQUIRE(identity_key_id_valid(t.keys.ids[i]));
    FUZZ_REQUIRE(!t.licence[0] || identity_licence_valid(t.licence));
    FUZZ_REQUIRE(!t.user[0] || identity_user_valid(t.user));
    FUZZ_REQUIRE(!t.account[0] || identity_account_valid(t.account));
    FUZZ_REQUIRE(t.want != TRIGGER_EXPOSED || t.keys.n > 0);
    FUZZ_REQUIRE(t.want != TRIGGER_ROTATE || t.licence[0]);
    FUZZ_REQUIRE(t.want != TRIGGER_LOOK || (t.account[0] && t.user[0]));
    return 0;
}
