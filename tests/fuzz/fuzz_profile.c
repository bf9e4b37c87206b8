/* Instance API profiles. */
#include "lib/profile.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct profiles *set = NULL;
    struct instance_abilities abilities;
    AUTO_FREE char *reason = NULL;
    AUTO_FREE char *why = NULL;
    AUTO_FREE char *text = fuzz_text(data, size);
    FUZZ_REQUIRE(profiles_load(NULL, &set, &reason) == 0);
    if (profiles_add(set, text, size, "fuzz.json", &why) < 0) fuzz_touch(why);
    for (size_t i = 0; profiles_name(set, i); i++) {
        const struct profile *p = profiles_find(set, profiles_name(set, i));
        FUZZ_REQUIRE(p);
        profile_abilities(p, &abilities);
    }
    profiles_free(set);
    return 0;
}
