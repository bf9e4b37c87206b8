/* The XML reader itself: paths balance, depth is bounded. */
#include "lib/xml.h"
#include "tests/fuzz/fuzz.h"

static int enter(void *arg, const char *path)
{
    int *depth = arg;
    FUZZ_REQUIRE(++*depth <= XML_DEPTH_MAX && strlen(path) < XML_PATH_MAX);
    return 0;
}

static int leaf(void *arg, const char *path, const char *text, size_t len)
{
    (void)arg;
    (void)xml_path_ends(path, "Error/Code");
    FUZZ_REQUIRE(text[len] == '\0');
    return 0;
}

static int leave(void *arg, const char *path)
{
    int *depth = arg;
    fuzz_touch(path);
    FUZZ_REQUIRE(--*depth >= 0);
    return 0;
}

static int attribute(void *arg, const char *path, const char *name, const char *value)
{
    (void)arg;
    fuzz_touch(path);
    fuzz_touch(name);
    fuzz_touch(value);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int depth = 0;
    const struct xml_handler h = {.enter = enter, .leaf = leaf, .leave = leave, .attribute = attribute, .arg = &depth};
    AUTO_FREE char *text = fuzz_text(data, size);
    if (xml_read(text, size, &h) == 0) FUZZ_REQUIRE(depth == 0);
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 16);
    (void)xml_find(text, size, "Error/Code", &out);
    return 0;
}
