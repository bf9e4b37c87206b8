/* What the budget's script answers: eight numbers, each nine bytes of input (a kind and a value). Whatever they say, a
 * worker neither spins nor waits for longer than an hour, and its slots lie in time. */
#include "lib/budget.h"
#include "lib/err.h"
#include "schema/budget_store.h"
#include "tests/fuzz/fuzz.h"

#define NOW INT64_C(1000000)

static struct ticket asked;
static struct budget_grant grant;

static int eval(void *self, const struct redis_script *script, size_t n_keys, size_t n_args,
                const struct redis_arg *args, struct ticket t)
{
    (void)self, (void)script, (void)n_keys, (void)n_args, (void)args;
    asked = t;
    return 0;
}

static void on_grant(void *self, uint64_t id, const void *result)
{
    (void)self, (void)id;
    grant = *(const struct budget_grant *)result;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct redis_value numbers[12] = {{.type = REDIS_NIL}};
    const struct redis_value *items[12];
    size_t n = 0;
    for (; n < 12 && size >= 9; n++, data += 9, size -= 9) {
        numbers[n].type = data[0] % 8 ? REDIS_INTEGER : REDIS_NIL;
        memcpy(&numbers[n].integer, data + 1, 8);
        items[n] = &numbers[n];
    }
    struct store store = {.redis = {.eval = eval}, .prefix = "kr:"};
    struct budget_store b = {&store, 5, 100, 0.5};
    static struct budget_share share;
    struct budget_ask ask;
    const struct budget_need need = {.ordinary = 50};
    memset(&share, 0, sizeof share);
    FUZZ_REQUIRE(budget_wants(&share, &need, NOW, &ask));
    struct aws_budget_port port = budget_store_port(&b);
    FUZZ_REQUIRE(port.take(port.self, "123456789012", 0, &ask, (struct ticket){on_grant, NULL, 0}) == 0);
    const struct redis_value all = {.type = REDIS_ARRAY, .count = n, .items = items};
    ticket_complete(asked, &(const struct redis_reply){0, &all});
    if (grant.err) {
        FUZZ_REQUIRE(grant.err == ERR_NET_BAD_REPLY);
        budget_failed(&share, &ask, b.start_per_s, NOW);
    } else {
        FUZZ_REQUIRE(grant.n <= BUDGET_SLOTS_MAX);
        budget_granted(&share, &ask, &grant, NOW);
    }
    int64_t due = budget_due_ms(&share, &need, NOW), epoch;
    FUZZ_REQUIRE(due == INT64_MAX || due <= NOW + 2 * 3600000);
    FUZZ_REQUIRE(share.ask_not_before_ms <= NOW + 3600000);
    for (int i = 0; i < 3; i++) (void)budget_use(&share, i == 2, NOW + i, &epoch);
    return 0;
}
