/* The keys topic, from which records are put back, and the circuit breakers that workers leave in Redis. */
#include "lib/err.h"
#include "producer/circuits.h"
#include "producer/states.h"
#include "tests/fuzz/fuzz.h"

static bool same_ids(const struct state *a, const struct state *b)
{
    if (a->n_exposed != b->n_exposed) return false;
    for (size_t i = 0; i < a->n_exposed; i++)
        if (strcmp(a->exposed[i], b->exposed[i]) != 0) return false;
    return true;
}

/* What is accepted can be written again, and says the same then. */
static void round_trip(const struct state *s)
{
    static struct state again;
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 20);
    const struct journal *j = s->has_journal ? &s->journal : NULL;
    FUZZ_REQUIRE(state_encode(&s->record, j, s->exposed, s->n_exposed, &out) == 0);
    FUZZ_REQUIRE(state_decode(out.data, out.len, &again) == 0);
    FUZZ_REQUIRE(again.has_journal == s->has_journal && same_ids(s, &again));
    FUZZ_REQUIRE(again.record.state == s->record.state && again.record.n_keys == s->record.n_keys);
    FUZZ_REQUIRE(!j || (again.journal.step == j->step && strcmp(again.journal.key_new, j->key_new) == 0));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct state s;
    struct states all = {0};
    AUTO_FREE char *text = fuzz_text(data, size);
    (void)circuits_open_now(text, 1763888888123);
    const bool fine = size > 0 && state_decode(text, size, &s) == 0;
    if (fine) round_trip(&s);
    for (int i = 0; i < 2; i++) FUZZ_REQUIRE((states_take(&all, "u", text, size) == 0) == (fine || size == 0));
    FUZZ_REQUIRE(states_knows(&all, "u") == fine);
    if (fine) FUZZ_REQUIRE(states_find(&all, "u", &s) == 0 && states_number(&all, "u") >= s.record.number);
    for (size_t i = 0; fine && i < s.record.n_keys; i++)
        FUZZ_REQUIRE(strcmp(states_user_of(&all, s.record.keys[i].id), "u") == 0);
    states_done(&all);
    return 0;
}
