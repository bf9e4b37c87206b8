/* Users and tags as IAM lists them; several pages are separated by a line "====". The call itself is replaced. */
#include "lib/aws_call.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "producer/discover.h"
#include "tests/fuzz/fuzz.h"

static struct loop *loop;
static struct options options;
static struct ticket pending;
static const char *rest;
static size_t rest_len;
static int finished, calls;

static void answer(void *arg)
{
    (void)arg;
    const char *cut = memmem(rest, rest_len, "\n====\n", 6);
    size_t len = cut ? (size_t)(cut - rest) : rest_len;
    AUTO_FREE char *body = fuzz_text((const uint8_t *)rest, len);
    rest += cut ? len + 6 : len;
    rest_len -= cut ? len + 6 : len;
    ticket_complete(pending, &(struct aws_raw_result){.body = body, .body_len = len});
}

int aws_call_raw_iam(struct aws_call *c, const char *account, const char *action, const char *form, struct ticket t)
{
    (void)c;
    fuzz_touch(account);
    fuzz_touch(action);
    fuzz_touch(form);
    FUZZ_REQUIRE(++calls < 100000);
    pending = t;
    return loop_defer(loop, answer, NULL);
}

static void hear(void *arg, const struct inventory_complaint *c)
{
    (void)arg;
    fuzz_touch(c->reason);
}

static void done(void *arg, int err, const char *reason)
{
    (void)arg;
    if (err) fuzz_touch(reason);
    finished = 1;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    char *words[] = {(char[]){"fuzz"}, (char[]){"--config="}, (char[]){"--inventory-discover=123456789012"},
                     (char[]){"--discover-tag=keyroll"}, NULL};
    char *reason = NULL;
    int n = 4;
    (void)argc;
    (void)argv;
    loop = loop_new();
    FUZZ_REQUIRE(loop && options_load(&options, OPTIONS_ALL, &n, words, NULL, &reason) == 0);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct inventory *inv = inventory_new(&options, hear, NULL);
    FUZZ_REQUIRE(inv);
    rest = (const char *)data;
    rest_len = size;
    finished = calls = 0;
    struct discover *d = discover_new(loop, &options, (struct aws_call *)loop, inv, done, NULL);
    FUZZ_REQUIRE(d);
    loop_run_until(loop, &finished);
    discover_free(d);
    FUZZ_REQUIRE(inventory_seal(inv) == 0);
    inventory_free(inv);
    return 0;
}
