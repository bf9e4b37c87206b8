/* The slot map: ids of ended things find nothing, also under random use against a naive list. */
#include "lib/clock.h"
#include "lib/slots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define LIVE_MAX 200
#define DEAD_MAX 4000
#define ROUNDS   20000

static void id_finds_its_owner(void **state)
{
    (void)state;
    struct slots s = {0};
    int a, b;
    uint64_t ia = slots_add(&s, &a), ib = slots_add(&s, &b);
    assert_true(ia != 0 && ib != 0 && ia != ib);
    assert_ptr_equal(slots_find(&s, ia), &a);
    assert_ptr_equal(slots_find(&s, ib), &b);
    slots_remove(&s, ia);
    assert_null(slots_find(&s, ia));
    assert_ptr_equal(slots_find(&s, ib), &b);
    assert_int_equal(s.used, 1);
    slots_done(&s);
}

static void next_ends_the_earlier_id(void **state)
{
    (void)state;
    struct slots s = {0};
    int a;
    uint64_t first = slots_add(&s, &a), second = slots_next(&s, first);
    assert_true(second != 0 && second != first);
    assert_null(slots_find(&s, first));
    assert_ptr_equal(slots_find(&s, second), &a);
    assert_int_equal(slots_next(&s, first), 0);
    slots_remove(&s, first); /* a stale id removes nothing */
    assert_ptr_equal(slots_find(&s, second), &a);
    slots_done(&s);
}

static void unknown_ids_find_nothing(void **state)
{
    (void)state;
    struct slots s = {0};
    int a;
    assert_null(slots_find(&s, 0));
    assert_null(slots_find(&s, UINT64_MAX));
    uint64_t id = slots_add(&s, &a);
    assert_null(slots_find(&s, id + 1));
    assert_null(slots_find(&s, (uint64_t)(uint32_t)id)); /* generation 0 is never given out */
    slots_remove(&s, UINT64_MAX);
    assert_ptr_equal(slots_find(&s, id), &a);
    slots_done(&s);
}

static void generation_wraps_without_zero(void **state)
{
    (void)state;
    struct slots s = {0};
    int a;
    uint64_t id = slots_add(&s, &a);
    s.v[(uint32_t)id].generation = UINT32_MAX;
    id = (uint64_t)UINT32_MAX << 32 | (uint32_t)id;
    uint64_t next = slots_next(&s, id);
    assert_int_equal(next >> 32, 1);
    assert_ptr_equal(slots_find(&s, next), &a);
    slots_done(&s);
}

struct model {
    uint64_t live[LIVE_MAX], dead[DEAD_MAX];
    char *owner[LIVE_MAX];
    size_t n_live, n_dead;
};

static void bury(struct model *m, uint64_t id)
{
    m->dead[m->n_dead++ % DEAD_MAX] = id;
}

static void random_history(void **state)
{
    (void)state;
    static char owners[LIVE_MAX];
    static struct model m;
    struct slots s = {0};
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t dice = rng_below(&rng_system, 10);
        size_t k = m.n_live ? (size_t)rng_below(&rng_system, m.n_live) : 0;
        if (dice < 5 && m.n_live < LIVE_MAX) {
            m.owner[m.n_live] = &owners[i % LIVE_MAX];
            m.live[m.n_live] = slots_add(&s, m.owner[m.n_live]);
            assert_true(m.live[m.n_live++] != 0);
        } else if (dice < 7 && m.n_live) {
            bury(&m, m.live[k]);
            m.live[k] = slots_next(&s, m.live[k]);
        } else if (m.n_live) {
            bury(&m, m.live[k]);
            slots_remove(&s, m.live[k]);
            m.n_live--;
            m.live[k] = m.live[m.n_live];
            m.owner[k] = m.owner[m.n_live];
        }
        assert_int_equal(s.used, m.n_live);
        if (i % 500) continue;
        for (size_t x = 0; x < m.n_live; x++) assert_ptr_equal(slots_find(&s, m.live[x]), m.owner[x]);
        for (size_t x = 0; x < m.n_dead && x < DEAD_MAX; x++) assert_null(slots_find(&s, m.dead[x]));
    }
    slots_done(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(id_finds_its_owner),       cmocka_unit_test(next_ends_the_earlier_id),
        cmocka_unit_test(unknown_ids_find_nothing), cmocka_unit_test(generation_wraps_without_zero),
        cmocka_unit_test(random_history),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
