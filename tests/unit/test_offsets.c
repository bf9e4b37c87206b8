/* The offset tracker: plain order, holes, epochs, limits; then random histories against a naive model that remembers
 * every delivered offset. Seeds are fixed so that a failure repeats. */
#include "lib/err.h"
#include "worker/offsets.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define SPAN      1000
#define MODEL_MAX 6000

static struct offsets *make(size_t span)
{
    struct offsets *o;
    assert_int_equal(offsets_new(span, &o), 0);
    return o;
}

static struct offset_ref take(struct offsets *o, int index, int64_t offset)
{
    struct offset_ref ref = {0};
    assert_int_equal(offsets_take(o, index, offset, &ref), 0);
    return ref;
}

static void lowest_unfinished_is_committed(void **state)
{
    (void)state;
    struct offsets *o = make(SPAN);
    int64_t at = -1, span = 0;
    int i = offsets_assign(o, "jobs", 3);
    assert_int_equal(offsets_find(o, "jobs", 3), i);
    assert_int_equal(offsets_find(o, "jobs", 4), ERR_NOT_FOUND);
    assert_false(offsets_to_commit(o, i, &at));
    struct offset_ref a = take(o, i, 100), b = take(o, i, 101), c = take(o, i, 102);
    assert_int_equal(offsets_head(o, i, &span), 100);
    assert_int_equal(span, 3);
    offsets_done(o, b);
    assert_true(offsets_to_commit(o, i, &at)); /* a fresh assignment may state where it stands */
    assert_int_equal(at, 100);
    offsets_done(o, a);
    assert_true(offsets_to_commit(o, i, &at));
    assert_int_equal(at, 102);
    offsets_done(o, c);
    offsets_done(o, c); /* twice changes nothing */
    assert_true(offsets_to_commit(o, i, &at));
    assert_int_equal(at, 103);
    assert_int_equal(offsets_head(o, i, &span), -1);
    offsets_free(o);
}

static void what_is_open_can_come_again(void **state)
{
    (void)state;
    struct offsets *o = make(SPAN);
    int64_t at = -1, span = 0;
    int i = offsets_assign(o, "jobs", 3);
    struct offset_ref a = take(o, i, 100), b = take(o, i, 101), c = take(o, i, 102);
    offsets_done(o, a);
    offsets_done(o, c);
    assert_int_equal(offsets_rewind(o, c), 101);           /* from the head on, not from c */
    assert_int_equal(offsets_rewind(o, b), ERR_NOT_FOUND); /* the first copies are of the past */
    offsets_done(o, b);
    assert_int_equal(offsets_head(o, i, &span), -1);
    assert_true(offsets_to_commit(o, i, &at));
    assert_int_equal(at, 101);
    struct offset_ref again = take(o, i, 101);
    offsets_done(o, b);
    assert_int_equal(offsets_head(o, i, &span), 101);
    offsets_done(o, again);
    assert_true(offsets_to_commit(o, i, &at));
    assert_int_equal(at, 102);
    assert_int_equal(offsets_rewind(o, again), ERR_NOT_FOUND); /* it is finished */
    offsets_free(o);
}

static void committed_never_moves_back(void **state)
{
    (void)state;
    struct offsets *o = make(SPAN);
    const char *topic;
    int32_t partition;
    uint32_t epoch;
    int64_t at;
    int i = offsets_assign(o, "jobs", 0);
    assert_true(offsets_name(o, i, &topic, &partition, &epoch));
    for (int64_t k = 0; k < 10; k++) offsets_done(o, take(o, i, k));
    offsets_committed(o, i, epoch, 10);
    offsets_committed(o, i, epoch, 4);
    assert_false(offsets_to_commit(o, i, &at));
    offsets_committed(o, i, epoch + 7, 99); /* of another assignment */
    offsets_done(o, take(o, i, 10));
    assert_true(offsets_to_commit(o, i, &at));
    assert_int_equal(at, 11);
    offsets_free(o);
}

static void end_of_an_earlier_assignment_changes_nothing(void **state)
{
    (void)state;
    struct offsets *o = make(SPAN);
    int64_t at;
    int i = offsets_assign(o, "jobs", 0);
    struct offset_ref old = take(o, i, 5);
    offsets_revoke(o, "jobs", 0);
    offsets_done(o, old);
    assert_int_equal(offsets_find(o, "jobs", 0), ERR_NOT_FOUND);
    struct offset_ref ref;
    assert_int_equal(offsets_take(o, i, 6, &ref), ERR_NOT_FOUND);
    assert_false(offsets_to_commit(o, i, &at));
    assert_int_equal(offsets_assign(o, "jobs", 0), i);
    struct offset_ref fresh = take(o, i, 5);
    offsets_done(o, old);
    assert_true(!offsets_to_commit(o, i, &at) || at == 5);
    offsets_done(o, fresh);
    assert_true(offsets_to_commit(o, i, &at));
    assert_int_equal(at, 6);
    offsets_free(o);
}

static void gaps_count_as_finished(void **state)
{
    (void)state;
    struct offsets *o = make(SPAN);
    int64_t at, span;
    int i = offsets_assign(o, "jobs", 0);
    struct offset_ref a = take(o, i, 10), b = take(o, i, 20);
    offsets_done(o, a);
    assert_true(offsets_to_commit(o, i, &at));
    assert_int_equal(at, 20);
    offsets_done(o, b);
    struct offset_ref far = take(o, i, 5000000); /* nothing open: no span to limit */
    assert_int_equal(offsets_head(o, i, &span), 5000000);
    assert_int_equal(span, 1);
    offsets_done(o, far);
    offsets_free(o);
}

/* A topic that was deleted and made again: nothing of it may be taken for a repeat, however far the old one was. */
static void log_begins_anew(void **state)
{
    (void)state;
    struct offsets *o = make(SPAN);
    int i = offsets_assign(o, "jobs", 0);
    uint32_t epoch;
    int64_t offset = 0;
    for (int64_t k = 0; k < 1000; k++) offsets_done(o, take(o, i, k));
    assert_true(offsets_name(o, i, &(const char *){NULL}, &(int32_t){0}, &epoch));
    offsets_committed(o, i, epoch, 900);
    const uint32_t ended = epoch;
    const struct offset_ref open = take(o, i, 1000);
    const struct offset_ref first = take(o, i, 0), second = take(o, i, 1);
    assert_int_equal(offsets_take(o, i, 1, &(struct offset_ref){0}), ERR_INVALID);
    offsets_done(o, open);
    assert_false(offsets_to_commit(o, i, &offset) && offset > 0);
    offsets_done(o, first);
    offsets_committed(o, i, ended, 1000); /* was under way when the log ended */
    assert_true(offsets_to_commit(o, i, &offset));
    assert_int_equal(offset, 1);
    offsets_done(o, second);
    assert_true(offsets_to_commit(o, i, &offset));
    assert_int_equal(offset, 2);
    offsets_free(o);
}

static void limits_and_repeats(void **state)
{
    (void)state;
    struct offsets *o = make(SPAN);
    struct offset_ref ref;
    int i = offsets_assign(o, "jobs", 0);
    struct offset_ref head = take(o, i, 0);
    assert_int_equal(offsets_take(o, i, SPAN, &ref), ERR_BUSY);
    take(o, i, SPAN - 1);
    assert_int_equal(offsets_take(o, i, 0, &ref), ERR_INVALID);
    assert_int_equal(offsets_take(o, i, 500, &ref), ERR_INVALID);
    offsets_done(o, head);
    take(o, i, SPAN); /* the head moved */
    assert_int_equal(offsets_take(o, -1, 0, &ref), ERR_NOT_FOUND);
    assert_int_equal(offsets_take(o, 7, 0, &ref), ERR_NOT_FOUND);
    offsets_done(o, (struct offset_ref){99, 1, 1});
    offsets_free(o);
}

/* ---- random histories ---------------------------------------------------------------------------------------------
 */

static uint64_t seed;

static uint64_t dice(uint64_t bound)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (seed >> 33) % bound;
}

/* Everything that was delivered in this assignment, with its end. */
struct model {
    struct offset_ref refs[MODEL_MAX];
    bool done[MODEL_MAX];
    size_t n;
    int64_t next;
};

static int64_t model_lowest(const struct model *m)
{
    for (size_t k = 0; k < m->n; k++)
        if (!m->done[k]) return m->refs[k].offset;
    return m->next;
}

static void deliver(struct offsets *o, int i, struct model *m)
{
    int64_t offset = m->next + (dice(10) ? 0 : (int64_t)dice(60));
    int64_t lowest = m->n ? model_lowest(m) : offset;
    struct offset_ref ref;
    int rc = offsets_take(o, i, offset, &ref);
    if (lowest != m->next && offset - lowest + 1 > SPAN) {
        assert_int_equal(rc, ERR_BUSY);
        return;
    }
    assert_int_equal(rc, 0);
    m->refs[m->n++] = ref;
    m->next = offset + 1;
}

static void finish_one(struct offsets *o, struct model *m)
{
    size_t k = (size_t)dice(m->n);
    for (size_t tries = 0; m->done[k] && tries < 40; tries++) k = (size_t)dice(m->n);
    offsets_done(o, m->refs[k]);
    m->done[k] = true;
}

static void check(const struct offsets *o, int i, const struct model *m)
{
    int64_t at, span, lowest = model_lowest(m);
    if (!m->n) return;
    /* What lies between the last finished one and the next delivered one may count as open until that one is delivered.
     */
    assert_true(offsets_to_commit(o, i, &at));
    bool open = lowest != m->next;
    assert_int_equal(offsets_head(o, i, &span), open ? lowest : -1);
    assert_int_equal(at, lowest);
}

static void random_histories(void **state)
{
    (void)state;
    static struct model m;
    for (uint64_t s = 1; s <= 60; s++) {
        seed = s;
        struct offsets *o = make(SPAN);
        int i = offsets_assign(o, "jobs", 0);
        memset(&m, 0, sizeof(m));
        m.next = (int64_t)dice(1000);
        for (int round = 0; round < 3000 && m.n < MODEL_MAX; round++) {
            uint64_t d = dice(100);
            if (d < 45 || !m.n)
                deliver(o, i, &m);
            else if (d < 99)
                finish_one(o, &m);
            else if (dice(10) == 0) { /* rebalance: everything open comes again */
                int64_t back = model_lowest(&m);
                struct offset_ref stale = m.refs[0];
                offsets_revoke(o, "jobs", 0);
                assert_int_equal(offsets_assign(o, "jobs", 0), i);
                memset(&m, 0, sizeof(m));
                m.next = back;
                offsets_done(o, stale);
            }
            if (round % 7 == 0) check(o, i, &m);
        }
        offsets_free(o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lowest_unfinished_is_committed),
        cmocka_unit_test(what_is_open_can_come_again),
        cmocka_unit_test(committed_never_moves_back),
        cmocka_unit_test(end_of_an_earlier_assignment_changes_nothing),
        cmocka_unit_test(gaps_count_as_finished),
        cmocka_unit_test(log_begins_anew),
        cmocka_unit_test(limits_and_repeats),
        cmocka_unit_test(random_histories),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
