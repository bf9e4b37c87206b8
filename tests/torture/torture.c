/* The allocators that our libraries are linked with here: they count, fail on request, and otherwise are libc's. */
#define KEYROLL_TORTURE_ITSELF
#include "tests/torture/torture.h"

#include "tests/torture/names.h"

static size_t fail_at, fail_most = 1, count;
static bool armed, paused;

static bool fails(void)
{
    if (!armed || paused) return false;
    count++;
    return count >= fail_at && count - fail_at < fail_most;
}

void *torture_malloc(size_t n)
{
    return fails() ? NULL : malloc(n);
}

void *torture_calloc(size_t n, size_t size)
{
    return fails() ? NULL : calloc(n, size);
}

void *torture_realloc(void *p, size_t n)
{
    return fails() ? NULL : realloc(p, n);
}

void *torture_reallocarray(void *p, size_t n, size_t size)
{
    return fails() ? NULL : reallocarray(p, n, size);
}

char *torture_strdup(const char *s)
{
    return fails() ? NULL : strdup(s);
}

char *torture_strndup(const char *s, size_t n)
{
    return fails() ? NULL : strndup(s, n);
}

int torture_vasprintf(char **out, const char *fmt, va_list ap)
{
    return fails() ? -1 : vasprintf(out, fmt, ap);
}

int torture_asprintf(char **out, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    int n = torture_vasprintf(out, fmt, ap);
    va_end(ap);
    return n;
}

void torture_arm(size_t nth)
{
    torture_arm_many(nth, 1);
}

void torture_arm_many(size_t nth, size_t most)
{
    armed = nth != 0;
    fail_at = nth;
    fail_most = most;
    count = 0;
}

void torture_pause(bool pause)
{
    paused = pause;
}

bool torture_disarm(void)
{
    bool reached = armed && count >= fail_at;
    armed = false;
    return reached;
}

size_t torture_count(void)
{
    return count;
}
