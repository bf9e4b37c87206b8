/* Our reading of plain JSON beside jansson's: the same trees, the same refusals. */
#include "lib/err.h"
#include "lib/json.h"
#include "tests/fuzz/fuzz.h"

static char *told(const json_t *root)
{
    char *text = json_dumps(root, JSON_COMPACT | JSON_ENCODE_ANY);
    FUZZ_REQUIRE(text);
    return text;
}

static void compare(const char *text, size_t size, size_t flags)
{
    AUTO_JSON json_t *mine = NULL, *other = json_loadb(text, size, flags, NULL);
    const int rc = json_read(text, size, flags, &mine, NULL);
    FUZZ_REQUIRE(rc == (other ? 0 : ERR_SYNTAX));
    if (!other) return;
    char *a = told(mine), *b = told(other);
    FUZZ_REQUIRE(strcmp(a, b) == 0);
    free(a);
    free(b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE char *text = fuzz_text(data, size);
    compare(text, size, JSON_REJECT_DUPLICATES);
    compare(text, size, 0);
    return 0;
}
