/* The decision table in front of CreateAccessKey: each row by name, then every small world (keys x status x what is
 * seen x what the record says) against the rules that must hold in all of them. */
#include "lib/clock.h"
#include "schema/keyslots.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define K1  "AKIA0000000000000001"
#define K2  "AKIA0000000000000002"
#define K3  "AKIA0000000000000003"
#define NOW 1000000000
#define DAY 86400000

struct scene {
    struct aws_key keys[4];
    size_t n;
    struct record record;
    struct keyslots_in in;
    struct keyslots_out out;
    char drift[RECORD_TEXT_MAX];
};

static void lists(struct scene *s, const char *id, enum aws_key_status status)
{
    struct aws_key *k = &s->keys[s->n++];
    snprintf(k->id, sizeof(k->id), "%s", id);
    k->status = status;
    k->created_ms = NOW - 90 * (int64_t)DAY;
}

static struct record_key *knows(struct scene *s, const char *id, enum key_role role, enum aws_key_status status)
{
    struct record_key *k = record_add(&s->record, id);
    k->role = role;
    k->status = status;
    k->listed = true;
    if (role == KEY_CURRENT) k->seen_ms = NOW - 1000;
    if (status == AWS_KEY_INACTIVE) k->inactive_ms = NOW - 8 * (int64_t)DAY;
    return k;
}

static void begin(struct scene *s)
{
    memset(s, 0, sizeof(*s));
    record_init(&s->record, "4711", "123456789012", "SynergistExpress-4711");
    s->in = (struct keyslots_in){.keys = s->keys, .record = &s->record, .replace_id = "", .seen_id = "", .now_ms = NOW};
}

static void sees(struct scene *s, const char *id)
{
    s->in.seen = id[0] ? INSTANCE_SEEN_ID : INSTANCE_SEEN_NONE;
    s->in.seen_id = id;
}

static enum slot_action decide(struct scene *s)
{
    s->in.n_keys = s->n;
    keyslots_decide(&s->in, &s->out);
    return s->out.action;
}

static bool observe(struct scene *s)
{
    return keyslots_observe(&s->record, s->keys, s->n, s->in.seen, s->in.seen_id, NOW, s->drift);
}

/* ---- one key, none, a new record -----------------------------------------------------------------------------------
 */

static void plain_world_is_adopted_and_replaced(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K1, AWS_KEY_ACTIVE);
    sees(&s, K1);
    assert_false(observe(&s));
    assert_string_equal(record_current(&s.record)->id, K1);
    assert_int_equal(record_current(&s.record)->seen_ms, NOW);
    assert_int_equal(decide(&s), SLOT_CREATE);
    assert_string_equal(s.out.old_id, K1);
    assert_true(s.out.old_seen);
}

static void one_key_of_an_unreadable_instance(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K1, AWS_KEY_ACTIVE);
    assert_false(observe(&s));
    assert_int_equal(decide(&s), SLOT_CREATE);
    assert_string_equal(s.out.old_id, K1);
    assert_false(s.out.old_seen); /* it is only assumed */
}

static void expired_and_unknown_status_are_replaced_not_touched(void **state)
{
    (void)state;
    static const enum aws_key_status odd[] = {AWS_KEY_INACTIVE, AWS_KEY_EXPIRED, AWS_KEY_STATUS_UNKNOWN};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++) {
        struct scene s;
        begin(&s);
        lists(&s, K1, odd[i]);
        sees(&s, K1);
        assert_false(observe(&s));
        assert_int_equal(decide(&s), SLOT_CREATE);
        assert_string_equal(s.out.old_id, K1);
    }
}

static void no_key_at_all(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    sees(&s, "");
    assert_false(observe(&s));
    assert_int_equal(decide(&s), SLOT_CREATE);
    assert_string_equal(s.out.old_id, "");
    assert_false(s.out.old_seen);
}

static void instance_holds_a_key_that_is_gone(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    sees(&s, K1); /* deleted long ago: today's outage */
    assert_false(observe(&s));
    assert_int_equal(decide(&s), SLOT_CREATE);
}

/* ---- two and more --------------------------------------------------------------------------------------------------
 */

static void second_key_of_a_stranger_asks_a_person(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K1, AWS_KEY_ACTIVE);
    lists(&s, K2, AWS_KEY_INACTIVE);
    sees(&s, K1);
    assert_false(observe(&s));
    assert_int_equal(decide(&s), SLOT_PERSON);
    assert_string_equal(s.out.key_id, K2);
    assert_non_null(strstr(s.out.reason, K2));
}

static void two_keys_of_an_unreadable_instance(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K1, AWS_KEY_ACTIVE);
    lists(&s, K2, AWS_KEY_ACTIVE);
    (void)observe(&s);
    assert_int_equal(decide(&s), SLOT_PERSON);
}

static void three_keys_ask_a_person(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K1, AWS_KEY_ACTIVE);
    lists(&s, K2, AWS_KEY_ACTIVE);
    lists(&s, K3, AWS_KEY_ACTIVE);
    sees(&s, K2);
    assert_false(observe(&s));
    assert_int_equal(decide(&s), SLOT_PERSON);
}

static void predecessor_in_overlap_waits(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K1, AWS_KEY_ACTIVE);
    lists(&s, K2, AWS_KEY_ACTIVE);
    sees(&s, K2);
    s.record.state = RECORD_OVERLAP;
    knows(&s, K2, KEY_CURRENT, AWS_KEY_ACTIVE);
    struct record_key *old = knows(&s, K1, KEY_REPLACED, AWS_KEY_ACTIVE);
    old->next = KEY_NEXT_RETIRE;
    old->next_ms = NOW + DAY;
    assert_false(observe(&s));
    assert_int_equal(decide(&s), SLOT_WAIT);
    assert_int_equal(s.out.until_ms, NOW + DAY);
}

/* A whole quarantine, and the successor seen in use since (R5). */
static struct record_key *in_quarantine(struct scene *s)
{
    begin(s);
    lists(s, K1, AWS_KEY_INACTIVE);
    lists(s, K2, AWS_KEY_ACTIVE);
    sees(s, K2);
    s->record.state = RECORD_QUARANTINE;
    knows(s, K2, KEY_CURRENT, AWS_KEY_ACTIVE);
    struct record_key *old = knows(s, K1, KEY_REPLACED, AWS_KEY_INACTIVE);
    old->next = KEY_NEXT_REAP;
    old->next_ms = NOW - 1;
    return old;
}

static void quarantine_over_frees_the_slot(void **state)
{
    (void)state;
    struct scene s;
    in_quarantine(&s);
    assert_false(observe(&s));
    assert_int_equal(decide(&s), SLOT_FREE);
    assert_string_equal(s.out.key_id, K1);
}

static void not_freed_without_proof(void **state)
{
    (void)state;
    struct scene s;
    struct record_key *old = in_quarantine(&s);
    old->next_ms = NOW + 1; /* the quarantine still runs */
    assert_int_equal(decide(&s), SLOT_WAIT);

    in_quarantine(&s);
    record_find(&s.record, K2)->seen_ms = NOW - 30 * (int64_t)DAY; /* seen before it went Inactive, not since */
    s.in.seen = INSTANCE_SEEN_UNKNOWN;
    assert_int_equal(decide(&s), SLOT_WAIT);

    in_quarantine(&s);
    record_find(&s.record, K2)->seen_ms = TIME_NONE;
    s.in.seen = INSTANCE_SEEN_UNKNOWN;
    assert_int_equal(decide(&s), SLOT_WAIT);

    old = in_quarantine(&s);
    old->role = KEY_LEFT; /* a person said: leave it */
    assert_int_equal(decide(&s), SLOT_PERSON);
    assert_string_equal(s.out.key_id, K1);

    in_quarantine(&s);
    s.keys[0].status = AWS_KEY_STATUS_UNKNOWN;
    assert_int_not_equal(decide(&s), SLOT_FREE);
    s.keys[0].status = AWS_KEY_EXPIRED;
    assert_int_not_equal(decide(&s), SLOT_FREE);
}

/* ---- the job's key, drift, repair ----------------------------------------------------------------------------------
 */

static void job_of_a_replaced_key_has_nothing_to_do(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K2, AWS_KEY_ACTIVE);
    sees(&s, K2);
    knows(&s, K2, KEY_CURRENT, AWS_KEY_ACTIVE);
    s.record.state = RECORD_CURRENT;
    s.in.replace_id = K1;
    assert_int_equal(decide(&s), SLOT_NOTHING);
    s.in.replace_id = K2;
    assert_int_equal(decide(&s), SLOT_CREATE);
}

/* A message is redelivered after its worker died, having done it: an instance that held no key has none to compare. */
static void stale_job_without_a_key_has_nothing_to_do(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K2, AWS_KEY_ACTIVE);
    sees(&s, K2);
    knows(&s, K2, KEY_CURRENT, AWS_KEY_ACTIVE);
    s.record.state = RECORD_CURRENT;
    assert_int_equal(decide(&s), SLOT_CREATE);
    s.in.is_stale = true;
    assert_int_equal(decide(&s), SLOT_NOTHING);
}

static void restored_instance_is_repaired_with_the_kept_pair(void **state)
{
    (void)state;
    struct scene s;
    struct record_key *old = in_quarantine(&s);
    old->status = AWS_KEY_ACTIVE;
    s.keys[0].status = AWS_KEY_ACTIVE;
    old->next = KEY_NEXT_RETIRE;
    sees(&s, K1);
    s.in.pair_kept = true;
    assert_false(observe(&s)); /* going back is not drift */
    assert_int_equal(decide(&s), SLOT_REPAIR);
    assert_string_equal(s.out.key_id, K2);
    s.in.pair_kept = false;
    assert_int_equal(decide(&s), SLOT_FALL_BACK);
    assert_string_equal(s.out.key_id, K1);
    old->exposed = true;
    assert_int_equal(decide(&s), SLOT_DRIFTED);
    old->exposed = false;
    s.keys[0].status = AWS_KEY_INACTIVE;
    assert_int_equal(decide(&s), SLOT_DRIFTED);
    sees(&s, "");
    s.in.pair_kept = true;
    assert_int_equal(decide(&s), SLOT_REPAIR); /* it lost its key altogether */
}

static void foreign_key_in_the_instance_drifts(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K1, AWS_KEY_ACTIVE);
    lists(&s, K3, AWS_KEY_ACTIVE);
    knows(&s, K1, KEY_CURRENT, AWS_KEY_ACTIVE);
    s.record.state = RECORD_CURRENT;
    sees(&s, K3);
    assert_true(observe(&s));
    assert_non_null(strstr(s.drift, K3));
    assert_int_equal(decide(&s), SLOT_PERSON);
}

/* A key of ours that was refused and taken back, and whose write landed later than any should. */
static void a_withdrawn_key_in_the_instance_is_no_strangers(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K1, AWS_KEY_ACTIVE);
    lists(&s, K2, AWS_KEY_INACTIVE);
    knows(&s, K1, KEY_CURRENT, AWS_KEY_ACTIVE);
    knows(&s, K2, KEY_UNUSED, AWS_KEY_INACTIVE);
    s.record.state = RECORD_FAILED;
    sees(&s, K2);
    record_find(&s.record, K2)->offered_ms = NOW - 3600000;
    assert_false(observe(&s));
    s.in.pair_kept = true;
    assert_int_equal(decide(&s), SLOT_REPAIR);
    assert_string_equal(s.out.key_id, K1);
    s.in.pair_kept = false;
    assert_int_equal(decide(&s), SLOT_DRIFTED);
    assert_string_equal(s.out.key_id, K2);
    assert_non_null(strstr(s.out.reason, "took back"));

    record_find(&s.record, K2)->offered_ms = TIME_NONE; /* never offered: somebody else gave it */
    assert_true(observe(&s));
}

/* A key that was touched, and one that nobody explains: the person hears of both. */
static void a_drift_names_the_unexplained_key(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    knows(&s, K1, KEY_CURRENT, AWS_KEY_ACTIVE);
    s.record.state = RECORD_CURRENT;
    sees(&s, K1);
    lists(&s, K1, AWS_KEY_INACTIVE);
    lists(&s, K2, AWS_KEY_ACTIVE);
    assert_true(observe(&s));
    assert_non_null(strstr(s.drift, K1));
    assert_non_null(strstr(s.drift, K2));
}

/* Redis lost the record and the instance cannot be read: one of the two may be a key of ours that nobody offered. */
static void a_question_names_every_unexplained_key(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K1, AWS_KEY_ACTIVE);
    lists(&s, K2, AWS_KEY_ACTIVE);
    assert_false(observe(&s));
    assert_int_equal(decide(&s), SLOT_PERSON);
    assert_string_equal(s.out.key_id, K1);
    assert_non_null(strstr(s.out.reason, K1 " and " K2 "; run: keyroll adopt 4711"));

    begin(&s); /* the same beside a drift: the key that was in use is gone */
    knows(&s, K3, KEY_CURRENT, AWS_KEY_ACTIVE);
    s.record.state = RECORD_CURRENT;
    lists(&s, K1, AWS_KEY_ACTIVE);
    lists(&s, K2, AWS_KEY_ACTIVE);
    assert_true(observe(&s));
    assert_non_null(strstr(s.drift, K3));
    assert_non_null(strstr(s.drift, K1 " and " K2));
}

static void changes_by_others_drift(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    knows(&s, K1, KEY_CURRENT, AWS_KEY_ACTIVE);
    s.record.state = RECORD_CURRENT;
    sees(&s, K1);
    assert_true(observe(&s)); /* deleted while in use */

    begin(&s);
    knows(&s, K1, KEY_CURRENT, AWS_KEY_ACTIVE);
    s.record.state = RECORD_CURRENT;
    lists(&s, K1, AWS_KEY_INACTIVE);
    sees(&s, K1);
    assert_true(observe(&s));

    in_quarantine(&s);
    s.keys[0].status = AWS_KEY_ACTIVE; /* made Active again */
    assert_true(observe(&s));
    assert_non_null(strstr(s.drift, K1));

    in_quarantine(&s);
    lists(&s, K3, AWS_KEY_ACTIVE); /* a newcomer */
    assert_true(observe(&s));
    assert_non_null(strstr(s.drift, K3));
}

#define DOUBT_MS 300000

static enum keyslots_lag lag(const struct scene *s)
{
    return keyslots_lags(&s->record, s->keys, s->n, DOUBT_MS, NOW, TIME_NONE);
}

/* Its own word from a moment ago, or from a clock that went ahead by little, is doubted; nothing is doubted for ever.
 */
static void a_list_that_shows_a_current_key_that_was_found_gone(void **state)
{
    (void)state;
    static const struct {
        int64_t found_ms;
        enum keyslots_lag lag;
    } cases[] = {{NOW - 60000, KEYSLOTS_GONE_LISTED},
                 {NOW + 60000, KEYSLOTS_GONE_LISTED},
                 {NOW - DOUBT_MS, KEYSLOTS_IN_STEP},
                 {NOW + DOUBT_MS, KEYSLOTS_IN_STEP},
                 {TIME_NONE, KEYSLOTS_IN_STEP}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scene s;
        begin(&s);
        struct record_key *other = knows(&s, K1, KEY_REPLACED, AWS_KEY_INACTIVE);
        other->rotation = 7;
        lists(&s, K1, AWS_KEY_INACTIVE);
        struct record_key *k = knows(&s, K2, KEY_CURRENT, AWS_KEY_STATUS_UNKNOWN);
        k->listed = false;
        k->inactive_ms = cases[i].found_ms;
        assert_int_equal(lag(&s), KEYSLOTS_IN_STEP); /* still gone */
        lists(&s, K2, AWS_KEY_ACTIVE);
        assert_int_equal(lag(&s), cases[i].lag);
        s.keys[0].status = AWS_KEY_ACTIVE; /* behind, too: the worse one counts */
        other->inactive_ms = NOW - 1000;
        assert_int_equal(lag(&s), cases[i].lag ? cases[i].lag : KEYSLOTS_BEHIND);
    }
}

static void a_list_that_does_not_show_our_new_key_yet(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++) {
        struct scene s;
        begin(&s);
        s.record.state = RECORD_OVERLAP;
        lists(&s, K1, AWS_KEY_ACTIVE);
        knows(&s, K1, KEY_REPLACED, AWS_KEY_ACTIVE);
        struct record_key *k = knows(&s, K2, KEY_CURRENT, AWS_KEY_ACTIVE);
        k->rotation = 7;
        k->created_ms = NOW - (old ? 301000 : 60000);
        sees(&s, K2);
        assert_int_equal(lag(&s), old ? KEYSLOTS_IN_STEP : KEYSLOTS_BEHIND);
        assert_true(observe(&s));
    }
}

/* Redis's clock was set since; AWS's was not. */
static void a_list_is_doubted_by_the_clock_of_aws(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++) {
        const int64_t at = NOW - 7 * DAY, aws = at + (old ? 301000 : 60000);
        struct scene s;
        begin(&s);
        lists(&s, K1, AWS_KEY_ACTIVE);
        struct record_key *k = knows(&s, K2, KEY_CURRENT, AWS_KEY_ACTIVE);
        k->rotation = 7;
        k->created_ms = at;
        assert_int_equal(keyslots_lags(&s.record, s.keys, s.n, DOUBT_MS, NOW, aws),
                         old ? KEYSLOTS_IN_STEP : KEYSLOTS_BEHIND);
        lists(&s, K2, AWS_KEY_ACTIVE);
        k = knows(&s, K1, KEY_REPLACED, AWS_KEY_INACTIVE);
        k->rotation = 7;
        k->inactive_aws_ms = at;
        assert_int_equal(keyslots_lags(&s.record, s.keys, s.n, DOUBT_MS, NOW, aws),
                         old ? KEYSLOTS_IN_STEP : KEYSLOTS_BEHIND);
    }
}

static void a_list_that_shows_as_active_what_we_just_set_inactive(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++) {
        struct scene s;
        begin(&s);
        s.record.state = RECORD_QUARANTINE;
        lists(&s, K1, AWS_KEY_ACTIVE);
        lists(&s, K2, AWS_KEY_ACTIVE);
        knows(&s, K2, KEY_CURRENT, AWS_KEY_ACTIVE)->rotation = 7;
        struct record_key *k = knows(&s, K1, KEY_REPLACED, AWS_KEY_INACTIVE);
        k->rotation = 7;
        k->inactive_ms = NOW - (old ? 301000 : 60000);
        sees(&s, K2);
        assert_int_equal(lag(&s), old ? KEYSLOTS_IN_STEP : KEYSLOTS_BEHIND);
        assert_true(observe(&s));
    }
}

/* A test that failed had it made Active, which the list does not show yet. */
static void a_list_that_shows_as_inactive_what_was_just_seen_in_use(void **state)
{
    (void)state;
    for (int old = 0; old < 2; old++) {
        struct scene s;
        begin(&s);
        s.record.state = RECORD_OVERLAP;
        lists(&s, K1, AWS_KEY_ACTIVE);
        lists(&s, K2, AWS_KEY_INACTIVE);
        knows(&s, K1, KEY_REPLACED, AWS_KEY_ACTIVE)->rotation = 6;
        struct record_key *k = knows(&s, K2, KEY_CURRENT, AWS_KEY_ACTIVE);
        k->rotation = 7;
        k->seen_ms = NOW - (old ? 301000 : 60000);
        sees(&s, K2);
        assert_int_equal(lag(&s), old ? KEYSLOTS_IN_STEP : KEYSLOTS_BEHIND);
        assert_true(observe(&s));
        assert_non_null(strstr(s.drift, "made Inactive by somebody else"));
    }
}

static void a_read_that_may_show_what_was_there_before(void **state)
{
    (void)state;
    static const struct {
        int64_t seen_ms;
        const char *shows; /* NULL: nothing can be read */
        bool old;
    } cases[] = {{NOW - 119000, K1, true},  {NOW - 119000, "", true},    {NOW - 119000, K3, true},
                 {NOW - 119000, K2, false}, {NOW - 119000, NULL, false}, {NOW - 120000, K1, false},
                 {NOW + 119000, K1, true},  {NOW + 120000, K1, true}, /* a clock was set */
                 {TIME_NONE, K1, false}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct scene s;
        begin(&s);
        assert_false(keyslots_shows_old(&s.record, INSTANCE_SEEN_ID, K1, 120000, NOW, NOW)); /* the first look */
        knows(&s, K1, KEY_REPLACED, AWS_KEY_ACTIVE);
        knows(&s, K2, KEY_CURRENT, AWS_KEY_ACTIVE)->seen_ms = cases[i].seen_ms;
        if (cases[i].shows) sees(&s, cases[i].shows);
        assert_int_equal(keyslots_shows_old(&s.record, s.in.seen, s.in.seen_id, 120000, NOW, NOW), cases[i].old);
    }
    struct scene s; /* Redis's clock was set a day ahead after the last look: AWS's tells how old the key is at most */
    begin(&s);
    struct record_key *k = knows(&s, K2, KEY_CURRENT, AWS_KEY_ACTIVE);
    k->seen_ms = NOW - 86400000;
    k->created_ms = NOW - 3600000;
    k->rotation = 7;
    assert_true(keyslots_shows_old(&s.record, INSTANCE_SEEN_NONE, "", 120000, NOW, NOW));
    assert_false(keyslots_shows_old(&s.record, INSTANCE_SEEN_NONE, "", 120000, NOW, TIME_NONE));
    assert_false(keyslots_shows_old(&s.record, INSTANCE_SEEN_NONE, "", 120000, NOW, NOW + 120000));
    k->rotation = 0; /* not given by keyroll */
    assert_false(keyslots_shows_old(&s.record, INSTANCE_SEEN_NONE, "", 120000, NOW, NOW));
}

static void drifted_and_excluded_stay(void **state)
{
    (void)state;
    struct scene s;
    begin(&s);
    lists(&s, K1, AWS_KEY_ACTIVE);
    sees(&s, K1);
    knows(&s, K1, KEY_CURRENT, AWS_KEY_ACTIVE);
    s.record.state = RECORD_EXCLUDED;
    assert_int_equal(decide(&s), SLOT_PERSON);
    s.record.state = RECORD_DRIFTED;
    snprintf(s.record.reason, sizeof(s.record.reason), "why");
    assert_int_equal(decide(&s), SLOT_PERSON);
    assert_string_equal(s.out.reason, "why");
}

/* ---- every small world ---------------------------------------------------------------------------------------------
 */

static const char *const ids[] = {K1, K2, K3};

static const struct aws_key *listed(const struct scene *s, const char *id)
{
    for (size_t i = 0; i < s->n; i++)
        if (!strcmp(s->keys[i].id, id)) return &s->keys[i];
    return NULL;
}

static void check_rules(const struct scene *s)
{
    const struct keyslots_out *o = &s->out;
    const struct record_key *current = record_current(&s->record);
    const struct record_key *k = record_find_const(&s->record, o->key_id);
    if (o->action == SLOT_CREATE || o->action == SLOT_FREE || o->action == SLOT_REPAIR || o->action == SLOT_FALL_BACK) {
        for (size_t i = 0; i < s->n; i++)
            assert_non_null(record_find_const(&s->record, s->keys[i].id)); /* never beside a stranger's */
        assert_true(s->record.state != RECORD_DRIFTED && s->record.state != RECORD_EXCLUDED);
    }
    if (o->action == SLOT_CREATE) assert_true(s->n < KEYSLOTS_QUOTA);
    if (o->action == SLOT_FREE) {
        assert_true(k && (k->role == KEY_REPLACED || k->role == KEY_UNUSED));
        assert_int_equal(listed(s, o->key_id)->status, AWS_KEY_INACTIVE);
        assert_true(k->next == KEY_NEXT_REAP && k->next_ms <= NOW && current && current->seen_ms != TIME_NONE);
        assert_true(s->in.seen != INSTANCE_SEEN_ID || strcmp(s->in.seen_id, o->key_id));
    }
    if (o->action == SLOT_FALL_BACK) {
        assert_true(!s->in.pair_kept && k && k->role == KEY_REPLACED && !k->exposed);
        assert_int_equal(listed(s, o->key_id)->status, AWS_KEY_ACTIVE);
        assert_true(s->in.seen == INSTANCE_SEEN_ID && !strcmp(s->in.seen_id, o->key_id));
    }
    if (o->action == SLOT_REPAIR) assert_true(s->in.pair_kept && current && listed(s, current->id));
    if (o->old_seen) assert_string_equal(o->old_id, s->in.seen_id);
    if (o->action != SLOT_CREATE && o->action != SLOT_NOTHING) assert_true(o->reason[0]);
}

/* Each of three keys: absent, Active, Inactive, Expired, unknown; explained as nothing, current, replaced (due or not),
 * unused. */
static void one_world(unsigned status[3], unsigned role[3], unsigned seen, unsigned pair)
{
    struct scene s;
    begin(&s);
    s.record.state = RECORD_CURRENT;
    for (int i = 0; i < 3; i++) {
        if (status[i]) lists(&s, ids[i], (enum aws_key_status)(status[i] - 1));
        if (!role[i]) continue;
        static const enum key_role roles[] = {KEY_CURRENT, KEY_CURRENT, KEY_REPLACED, KEY_REPLACED, KEY_UNUSED};
        struct record_key *k = knows(&s, ids[i], roles[role[i]], status[i] == 2 ? AWS_KEY_INACTIVE : AWS_KEY_ACTIVE);
        k->next = role[i] == 1 ? KEY_NEXT_NONE : status[i] == 2 ? KEY_NEXT_REAP : KEY_NEXT_RETIRE;
        k->next_ms = role[i] == 3 ? NOW + DAY : NOW - DAY;
    }
    s.in.pair_kept = pair;
    if (seen == 4)
        s.in.seen = INSTANCE_SEEN_UNKNOWN;
    else
        sees(&s, seen < 3 ? ids[seen] : "");
    decide(&s);
    check_rules(&s);
}

static void rules_hold_in_every_small_world(void **state)
{
    (void)state;
    for (unsigned n = 0; n < 125 * 125 * 10; n++) {
        unsigned status[3] = {n % 5, n / 5 % 5, n / 25 % 5}, role[3] = {n / 125 % 5, n / 625 % 5, n / 3125 % 5};
        if ((role[0] == 1) + (role[1] == 1) + (role[2] == 1) > 1) continue;
        one_world(status, role, n / 15625 % 5, n / 78125);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_world_is_adopted_and_replaced),
        cmocka_unit_test(one_key_of_an_unreadable_instance),
        cmocka_unit_test(expired_and_unknown_status_are_replaced_not_touched),
        cmocka_unit_test(no_key_at_all),
        cmocka_unit_test(instance_holds_a_key_that_is_gone),
        cmocka_unit_test(second_key_of_a_stranger_asks_a_person),
        cmocka_unit_test(two_keys_of_an_unreadable_instance),
        cmocka_unit_test(three_keys_ask_a_person),
        cmocka_unit_test(predecessor_in_overlap_waits),
        cmocka_unit_test(quarantine_over_frees_the_slot),
        cmocka_unit_test(not_freed_without_proof),
        cmocka_unit_test(job_of_a_replaced_key_has_nothing_to_do),
        cmocka_unit_test(stale_job_without_a_key_has_nothing_to_do),
        cmocka_unit_test(restored_instance_is_repaired_with_the_kept_pair),
        cmocka_unit_test(foreign_key_in_the_instance_drifts),
        cmocka_unit_test(a_withdrawn_key_in_the_instance_is_no_strangers),
        cmocka_unit_test(a_drift_names_the_unexplained_key),
        cmocka_unit_test(a_question_names_every_unexplained_key),
        cmocka_unit_test(changes_by_others_drift),
        cmocka_unit_test(a_list_that_does_not_show_our_new_key_yet),
        cmocka_unit_test(a_list_that_shows_as_inactive_what_was_just_seen_in_use),
        cmocka_unit_test(a_read_that_may_show_what_was_there_before),
        cmocka_unit_test(a_list_is_doubted_by_the_clock_of_aws),
        cmocka_unit_test(a_list_that_shows_a_current_key_that_was_found_gone),
        cmocka_unit_test(a_list_that_shows_as_active_what_we_just_set_inactive),
        cmocka_unit_test(drifted_and_excluded_stay),
        cmocka_unit_test(rules_hold_in_every_small_world),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
