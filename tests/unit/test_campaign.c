/* Campaigns: what may be asked for, who is meant and in which order, and how far it is by the records alone. */
#include "lib/clock.h"
#include "lib/err.h"
#include "producer/campaign.h"
#include "producer/filter.h"
#include "schema/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define BEGAN 1800000000000LL

static struct options options;

static int setup(void **state)
{
    (void)state;
    char *argv[] = {(char[]){"test"}, (char[]){"--config="}, NULL}, *reason = NULL;
    int argc = 2;
    return options_load(&options, OPTIONS_ALL, &argc, argv, NULL, &reason);
}

static int teardown(void **state)
{
    (void)state;
    options_done(&options);
    return 0;
}

static void hear(void *arg, const struct inventory_complaint *c)
{
    (void)arg;
    fail_msg("%s: %s", c->licence, c->reason);
}

/* n licences 0001.. ; every tenth in another region, odd ones assisted. */
static struct inventory *fleet(size_t n)
{
    struct inventory *inv = inventory_new(&options, hear, NULL);
    assert_non_null(inv);
    for (size_t i = 1; i <= n; i++) {
        char licence[16], user[40];
        snprintf(licence, sizeof licence, "%04zu", i);
        snprintf(user, sizeof user, "SynergistExpress-%04zu", i);
        const struct inventory_row row = {.licence = licence,
                                          .account = "123456789012",
                                          .user = user,
                                          .bucket = "bucket",
                                          .region = i % 10 ? "eu-west-1" : "us-east-1",
                                          .instance_url = "https://x/",
                                          .time_zone = "",
                                          .policy = "",
                                          .profile = i % 2 ? "assisted" : "default",
                                          .credentials = ""};
        assert_int_equal(inventory_add(inv, &row), 0);
    }
    assert_int_equal(inventory_seal(inv), 0);
    assert_int_equal(inventory_count(inv), n);
    return inv;
}

static struct campaign campaign(const char *waves)
{
    struct campaign c = {.name = "spring", .state = CAMPAIGN_RUNNING, .stop_share = 200, .created_at_ms = BEGAN};
    snprintf(c.waves, sizeof c.waves, "%s", waves);
    return c;
}

/* ---- documents ---- */

static void test_document(void **state)
{
    (void)state;
    struct campaign c = campaign("1,10%"), back;
    struct message_fault fault;
    AUTO_BUF struct buf text;
    buf_init(&text, CAMPAIGN_MAX_BYTES);
    c.selector = CAMPAIGN_LIST;
    c.list = strdup("0001\nGB-7\n");
    c.changed_at_ms = BEGAN + 1;
    c.revision = 3;
    snprintf(c.by, sizeof c.by, "rob");
    snprintf(c.why, sizeof c.why, "an audit");
    assert_int_equal(campaign_encode(&c, &text), 0);
    assert_int_equal(campaign_decode(text.data, text.len, &back, &fault), 0);
    assert_string_equal(back.list, c.list);
    assert_string_equal(back.waves, c.waves);
    assert_string_equal(back.why, c.why);
    assert_int_equal(back.revision, 3);
    campaign_done(&back);
    campaign_done(&c);
}

static void refused(const char *text)
{
    struct campaign c;
    assert_true(campaign_decode(text, strlen(text), &c, NULL) < 0);
    campaign_done(&c);
}

#define HEAD                                                                                                           \
    "{\"version\":\"keyroll.campaign/1\",\"reason\":\"operator\",\"state\":\"running\",\"stop_share\":200,"            \
    "\"created_at_ms\":1,\"changed_at_ms\":1,\"by\":\"x\",\"waves\":\"100%\",\"revision\":1,"
static void test_bad_documents(void **state)
{
    (void)state;
    refused(HEAD "\"name\":\"a b\",\"selector\":\"all\"}");
    refused(HEAD "\"name\":\"a\",\"selector\":\"filter\"}");
    refused(HEAD "\"name\":\"a\",\"selector\":\"all\",\"filter\":\"licence=1\"}");
    refused(HEAD "\"name\":\"a\",\"selector\":\"list\",\"licences\":[]}");
    refused(HEAD "\"name\":\"a\",\"selector\":\"list\",\"licences\":[\"a/b\"]}");
    refused(HEAD "\"name\":\"a\",\"selector\":\"list\",\"licences\":[7]}");
    refused("{}");
    struct campaign c;
    const char *good = HEAD "\"name\":\"a\",\"selector\":\"all\"}";
    assert_int_equal(campaign_decode(good, strlen(good), &c, NULL), 0);
    assert_string_equal(c.waves, "100%");
}

/* ---- settings ---- */

static void waves(const char *text, size_t total, const char *expected)
{
    size_t bounds[CAMPAIGN_STEPS_MAX];
    char reason[200], out[200] = "";
    int n = campaign_waves(text, total, bounds, reason);
    for (int i = 0; i < n; i++) snprintf(out + strlen(out), sizeof out - strlen(out), "%s%zu", i ? " " : "", bounds[i]);
    assert_string_equal(n < 0 ? "refused" : out, expected);
}

static void test_waves(void **state)
{
    (void)state;
    waves("1,10,100%", 500, "1 10 500");
    waves("1,10,100%", 5, "1 5");
    waves("1%,10%", 50, "1 5 50"); /* the last wave is everybody; a share of a licence is one */
    waves("100%", 7, "7");
    waves("5,3,9", 20, "5 9 20"); /* a wave that adds nobody is none */
    waves("3", 0, "0");
    waves("", 5, "refused");
    waves("0,5", 5, "refused");
    waves("1,,5", 5, "refused");
    waves("1;5", 5, "refused");
    waves("101%", 5, "refused");
    waves("-1", 5, "refused");
    waves("5,", 5, "refused");
}

static void test_share_and_pace(void **state)
{
    (void)state;
    int64_t n;
    assert_int_equal(campaign_share("2%", &n), 0);
    assert_int_equal(n, 200);
    assert_int_equal(campaign_share("0.5%", &n), 0);
    assert_int_equal(n, 50);
    assert_int_equal(campaign_share("off", &n), 0);
    assert_int_equal(n, 10000);
    assert_int_equal(campaign_share("2", &n), ERR_SYNTAX);
    assert_int_equal(campaign_share("101%", &n), ERR_SYNTAX);
    assert_int_equal(campaign_pace("2/s", &n), 0);
    assert_int_equal(n, 2000);
    assert_int_equal(campaign_pace("30/m", &n), 0);
    assert_int_equal(n, 500);
    assert_int_equal(campaign_pace("0.25/s", &n), 0);
    assert_int_equal(n, 250);
    assert_int_equal(campaign_pace("off", &n), 0);
    assert_int_equal(n, 0);
    assert_int_equal(campaign_pace("2", &n), ERR_SYNTAX);
    assert_int_equal(campaign_pace("0/s", &n), ERR_SYNTAX);
    assert_int_equal(campaign_pace("1.234/s", &n), ERR_SYNTAX);
}

static size_t matching(const struct inventory *inv, const char *text)
{
    struct filter f;
    char reason[200] = "";
    size_t n = 0;
    if (filter_parse(text, &f, reason) < 0) {
        assert_true(reason[0]);
        return SIZE_MAX;
    }
    for (size_t i = 0; i < inventory_count(inv); i++) n += filter_matches(&f, inventory_row(inv, i));
    return n;
}

static void test_filter(void **state)
{
    (void)state;
    AUTO_INVENTORY struct inventory *inv = fleet(100);
    assert_int_equal(matching(inv, "account=123456789012"), 100);
    assert_int_equal(matching(inv, "region=us-east-1"), 10);
    assert_int_equal(matching(inv, "region=US-EAST-1"), 10);
    assert_int_equal(matching(inv, "region!=us-east-1,profile=default"), 40);
    assert_int_equal(matching(inv, "licence~001*"), 10);
    assert_int_equal(matching(inv, "licence!~00?0"), 91);
    assert_int_equal(matching(inv, ""), SIZE_MAX);
    assert_int_equal(matching(inv, "colour=red"), SIZE_MAX);
    assert_int_equal(matching(inv, "licence"), SIZE_MAX);
    assert_int_equal(matching(inv, "licence="), SIZE_MAX);
    assert_int_equal(matching(inv, "licence=1,"), SIZE_MAX);
}

/* ---- members ---- */

static void test_order_is_a_stable_sample(void **state)
{
    (void)state;
    char reason[200];
    struct campaign c = campaign("1,10,100%"), other = campaign("100%");
    struct campaign_members m, again, others;
    AUTO_INVENTORY struct inventory *inv = fleet(1000);
    snprintf(other.name, sizeof other.name, "autumn");
    assert_int_equal(campaign_members_find(&c, inv, &m, reason), 0);
    assert_int_equal(campaign_members_find(&c, inv, &again, reason), 0);
    assert_int_equal(campaign_members_find(&other, inv, &others, reason), 0);
    assert_int_equal(m.n, 1000);
    assert_memory_equal(m.order, again.order, m.n * sizeof *m.order);
    assert_true(memcmp(m.order, others.order, m.n * sizeof *m.order) != 0);
    size_t early = 0;
    for (size_t i = 0; i < 100; i++) early += m.order[i] < 500;
    assert_in_range(early, 30, 70); /* not the first of the file */
    for (size_t i = 0; i < m.n; i++) assert_int_equal(m.place[m.order[i]], i);
    campaign_members_done(&m);
    campaign_members_done(&again);
    campaign_members_done(&others);
}

static void test_list_and_filter(void **state)
{
    (void)state;
    char reason[200];
    struct campaign c = campaign("100%");
    struct campaign_members m;
    AUTO_INVENTORY struct inventory *inv = fleet(20);
    c.selector = CAMPAIGN_LIST;
    c.list = strdup("0003\n0007\nnobody\n0003\n");
    assert_int_equal(campaign_members_find(&c, inv, &m, reason), 0);
    assert_int_equal(m.n, 2);
    assert_int_equal(m.unknown, 1);
    campaign_members_done(&m);
    campaign_done(&c);
    c.selector = CAMPAIGN_FILTER;
    snprintf(c.filter, sizeof c.filter, "licence=0004");
    assert_int_equal(campaign_members_find(&c, inv, &m, reason), 0);
    assert_int_equal(m.n, 1);
    assert_int_equal(m.order[0], 3);
    campaign_members_done(&m);
    snprintf(c.filter, sizeof c.filter, "nonsense");
    assert_int_equal(campaign_members_find(&c, inv, &m, reason), ERR_SYNTAX);
}

static struct store_peek u;

static struct record_key *one_key(void)
{
    memset(&u, 0, sizeof u);
    u.lease_ms = -2;
    u.has_record = true;
    record_init(&u.record, "0001", "123456789012", "SynergistExpress-0001");
    journal_init(&u.journal, JOURNAL_ROTATE);
    struct record_key *k = record_add(&u.record, "AKIACURRENTKEY000001");
    k->role = KEY_CURRENT;
    k->status = AWS_KEY_ACTIVE;
    k->listed = true;
    record_settle(&u.record);
    u.record.updated_ms = BEGAN - 1000;
    return k;
}

static void rotated(int64_t at_ms)
{
    u.record.rotated_ms = u.record.updated_ms = at_ms;
}

static void test_judge(void **state)
{
    (void)state;
    struct campaign c = campaign("100%");
    memset(&u, 0, sizeof u);
    assert_int_equal(campaign_judge(&c, &u), MEMBER_PENDING); /* never looked at */
    one_key();
    assert_int_equal(campaign_judge(&c, &u), MEMBER_PENDING);
    rotated(BEGAN - 1);
    assert_int_equal(campaign_judge(&c, &u), MEMBER_PENDING);
    rotated(BEGAN);
    assert_int_equal(campaign_judge(&c, &u), MEMBER_DONE);
    one_key();
    u.has_journal = true;
    assert_int_equal(campaign_judge(&c, &u), MEMBER_RUNNING);
    one_key();
    u.record.state = RECORD_FAILED; /* of an earlier try: it gets a new one */
    assert_int_equal(campaign_judge(&c, &u), MEMBER_PENDING);
    u.record.updated_ms = BEGAN + 1;
    assert_int_equal(campaign_judge(&c, &u), MEMBER_FAILED);
    u.record.state = RECORD_RETRY;
    assert_int_equal(campaign_judge(&c, &u), MEMBER_RUNNING);
    u.record.state = RECORD_AWAITING;
    assert_int_equal(campaign_judge(&c, &u), MEMBER_PERSON);
    u.record.state = RECORD_DRIFTED;
    assert_int_equal(campaign_judge(&c, &u), MEMBER_LEFT_OUT);
    one_key();
    struct record_key *old = record_add(&u.record, "AKIAPREDECESSOR00001");
    old->role = KEY_REPLACED;
    old->status = AWS_KEY_INACTIVE;
    old->listed = true;
    old->next = KEY_NEXT_REAP;
    old->next_ms = BEGAN + 5;
    record_settle(&u.record);
    u.record.updated_ms = BEGAN - 1000;
    assert_int_equal(campaign_judge(&c, &u), MEMBER_NO_SLOT);
}

static void test_exposed_is_done_when_the_old_key_is_not_active(void **state)
{
    (void)state;
    struct campaign c = campaign("100%");
    c.reason = CAMPAIGN_EXPOSED;
    one_key();
    assert_string_equal(campaign_to_mark(&c, &u), "AKIACURRENTKEY000001");
    snprintf(u.exposed_ids[u.n_exposed++], sizeof u.exposed_ids[0], "AKIACURRENTKEY000001");
    assert_null(campaign_to_mark(&c, &u));
    assert_int_equal(campaign_judge(&c, &u), MEMBER_PENDING);
    struct record_key *old = record_find(&u.record, "AKIACURRENTKEY000001");
    old->role = KEY_REPLACED;
    old->next = KEY_NEXT_RETIRE;
    struct record_key *fresh = record_add(&u.record, "AKIANEWKEY0000000001");
    fresh->role = KEY_CURRENT;
    fresh->status = AWS_KEY_ACTIVE;
    fresh->listed = true;
    rotated(BEGAN + 10);
    assert_int_equal(campaign_judge(&c, &u), MEMBER_RUNNING);
    assert_null(campaign_to_mark(&c, &u)); /* the new one has not leaked */
    record_find(&u.record, "AKIACURRENTKEY000001")->status = AWS_KEY_INACTIVE;
    assert_int_equal(campaign_judge(&c, &u), MEMBER_DONE);
}

static void test_ask(void **state)
{
    (void)state;
    struct campaign c = campaign("100%");
    struct policy_verdict v = {.rank = POLICY_NOTHING, .kind = -1};
    one_key();
    u.record.rotation = 4;
    campaign_ask(&c, &u, BEGAN + 1, &v);
    assert_int_equal(v.rank, POLICY_ROTATE);
    assert_int_equal(v.kind, JOB_ROTATE);
    assert_int_equal(v.reason, JOB_OPERATOR);
    assert_int_equal(v.rotation, 4);
    assert_string_equal(v.replace_key_id, "AKIACURRENTKEY000001");
    struct policy_verdict retire = {.rank = POLICY_RETIRE, .kind = JOB_RETIRE}, before = retire;
    campaign_ask(&c, &u, BEGAN + 1, &retire); /* what the record plans goes first */
    assert_memory_equal(&retire, &before, sizeof retire);
    u.lease_ms = 5000;
    v = (struct policy_verdict){.rank = POLICY_NOTHING, .kind = -1};
    campaign_ask(&c, &u, BEGAN + 1, &v);
    assert_int_equal(v.rank, POLICY_NOTHING);
}

/* ---- progress ---- */

static struct campaign_progress sum(const struct campaign *c, const char *members)
{
    struct campaign_progress p;
    uint8_t now[64];
    struct campaign_members m = {.now = now, .n = strlen(members)};
    for (size_t i = 0; i < m.n; i++) now[i] = (uint8_t)(strchr(".rsDFPL", members[i]) - ".rsDFPL");
    assert_int_equal(campaign_sum(c, &m, &p), 0);
    return p;
}

static void test_waves_open_when_the_last_is_proven(void **state)
{
    (void)state;
    struct campaign c = campaign("1,3,100%");
    c.stop_share = 10000;
    assert_int_equal(sum(&c, "......").bound, 1);
    assert_int_equal(sum(&c, "r.....").bound, 1);
    assert_int_equal(sum(&c, "D.....").bound, 3);
    assert_int_equal(sum(&c, "DrD...").bound, 3);
    assert_int_equal(sum(&c, "DPD...").bound, 6); /* one that waits for a person holds nobody up */
    assert_int_equal(sum(&c, "DFL...").wave, 3);
    assert_int_equal(sum(&c, "DDDDDD").ended, true);
    assert_int_equal(sum(&c, "DDDDsD").ended, false);
}

static void test_failures_stop_it(void **state)
{
    (void)state;
    struct campaign c = campaign("100%");
    assert_true(sum(&c, "F.").too_many); /* a canary that fails is all of them */
    assert_false(sum(&c, "DDDDDDDDDD.P").too_many);
    c.stop_share = 2500;
    assert_false(sum(&c, "DDDF").too_many); /* exactly the share is not more than it */
    assert_true(sum(&c, "DDFF").too_many);
    assert_non_null(strstr(sum(&c, "DDFF").why, "2 of 4 failed"));
    c.stop_share = 10000;
    assert_false(sum(&c, "FFFF").too_many);
}

static void test_what_is_left_goes_by_the_recent_rate(void **state)
{
    (void)state;
    struct campaign_rate r = {.n = 0};
    struct campaign_progress p = {.members = 1000};
    assert_int_equal(campaign_left_ms(&p, &r), TIME_NONE);
    campaign_rate_add(&r, TIME_NONE);
    campaign_rate_add(&r, 0);
    campaign_rate_add(&r, 5000);
    assert_int_equal(campaign_left_ms(&p, &r), TIME_NONE);                        /* one tells no rate */
    for (int64_t i = 100; i > 0; i--) campaign_rate_add(&r, 5000 + i * 10000);    /* one in ten seconds, in any order */
    for (int64_t i = 1; i <= 600; i++) campaign_rate_add(&r, 1005000 + i * 1000); /* then one a second */
    assert_true(campaign_rate_per_s(&r) > 0.99 && campaign_rate_per_s(&r) < 1.01);
    p.count[MEMBER_DONE] = 690;
    p.count[MEMBER_FAILED] = 5;
    p.count[MEMBER_LEFT_OUT] = 5;
    p.count[MEMBER_RUNNING] = 100;
    assert_true(campaign_left_ms(&p, &r) > 297000 && campaign_left_ms(&p, &r) < 303000);
    campaign_rate_done(&r);
}

static void test_pace(void **state)
{
    (void)state;
    struct campaign c = campaign("100%");
    assert_int_equal(campaign_allowed(&c, 0, 500, BEGAN, BEGAN), 500);
    c.pace_milli = 500; /* one in two seconds */
    assert_int_equal(campaign_allowed(&c, 0, 500, BEGAN, BEGAN), 1);
    assert_int_equal(campaign_allowed(&c, 0, 500, BEGAN, BEGAN + 10000), 6);
    assert_int_equal(campaign_allowed(&c, 10, 500, BEGAN, BEGAN + 10000), 16);
    assert_int_equal(campaign_allowed(&c, 0, 500, BEGAN, BEGAN + 100000000), 500);
    assert_int_equal(campaign_allowed(&c, 0, 500, BEGAN, BEGAN - 100000), 1); /* a clock that went back */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_document),
        cmocka_unit_test(test_bad_documents),
        cmocka_unit_test(test_waves),
        cmocka_unit_test(test_share_and_pace),
        cmocka_unit_test(test_filter),
        cmocka_unit_test(test_order_is_a_stable_sample),
        cmocka_unit_test(test_list_and_filter),
        cmocka_unit_test(test_judge),
        cmocka_unit_test(test_exposed_is_done_when_the_old_key_is_not_active),
        cmocka_unit_test(test_ask),
        cmocka_unit_test(test_waves_open_when_the_last_is_proven),
        cmocka_unit_test(test_failures_stop_it),
        cmocka_unit_test(test_what_is_left_goes_by_the_recent_rate),
        cmocka_unit_test(test_pace),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
