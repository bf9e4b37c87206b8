/* Discovery on canned IAM answers: the test takes the place of aws_call_raw_iam(). */
#include "lib/aws_call.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "producer/discover.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define ACCOUNT "123456789012"

/* One call that is expected, and its answer. */
struct step {
    const char *action, *form; /* form: what it must contain */
    int err;
    const char *body;
};
static const struct step *script;
static size_t at, n_script;
static struct loop *loop;
static struct ticket pending;
static int bad;

static void answer(void *arg)
{
    const struct step *s = &script[at++];
    struct aws_raw_result r = {.base = {.err = s->err}, .body = s->body, .body_len = s->body ? strlen(s->body) : 0};
    (void)arg;
    snprintf(r.base.code, sizeof r.base.code, "%s", s->err ? "SomeCode" : "");
    ticket_complete(pending, &r);
}

int aws_call_raw_iam(struct aws_call *c, const char *account, const char *action, const char *form, struct ticket t)
{
    (void)c;
    if (at >= n_script || strcmp(account, ACCOUNT) != 0 || strcmp(action, script[at].action) != 0 ||
        !strstr(form, script[at].form)) {
        print_message("call %zu: %s %s\n", at, action, form);
        bad++;
        return ERR_INTERNAL;
    }
    pending = t;
    return loop_defer(loop, answer, NULL);
}

struct run {
    struct options o;
    struct inventory *inv;
    int done, err;
    char reason[400];
};

static void on_done(void *arg, int err, const char *reason)
{
    struct run *r = arg;
    r->done = 1;
    r->err = err;
    snprintf(r->reason, sizeof r->reason, "%s", reason);
}

static void discover(struct run *r, const struct step *steps, size_t n)
{
    script = steps;
    n_script = n;
    at = 0;
    bad = 0;
    loop = loop_new();
    struct discover *d = discover_new(loop, &r->o, NULL, r->inv, on_done, r);
    assert_non_null(d);
    loop_run_until(loop, &r->done);
    discover_free(d);
    loop_free(loop);
    assert_int_equal(bad, 0);
    assert_int_equal(at, n);
    assert_int_equal(inventory_seal(r->inv), 0);
}

static int set_up(void **state)
{
    static char account[] = ACCOUNT;
    static char *accounts[] = {account};
    struct run *r = calloc(1, sizeof *r);
    static char template[] = "SynergistExpress-{licence}", prefix[] = "SynergistExpress-", path[] = "/",
                region[] = "eu-west-1";
    r->o.user_template = template;
    r->o.discover_prefix = prefix;
    r->o.discover_path = path;
    r->o.aws_region = region;
    r->o.overlap_ms = r->o.quarantine_ms = 30LL * 86400000;
    r->o.skew_limit_ms = r->o.create_doubt_ms = r->o.newcomer_wait_ms = 86400000;
    r->o.inventory_discover = (struct settings_list){accounts, 1};
    r->inv = inventory_new(&r->o, NULL, NULL);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct run *r = *state;
    inventory_free(r->inv);
    free(r);
    return 0;
}

#define TAG(key, value) "<member><Key>" key "</Key><Value>" value "</Value></member>"
#define USER(name, tags)                                                                                               \
    "<member><Path>/</Path><UserName>" name                                                                            \
    "</UserName><UserPolicyList><member><PolicyName>p</PolicyName></member></UserPolicyList><Tags>" tags               \
    "</Tags></member>"
#define DETAILS(users, rest)                                                                                           \
    "<GetAccountAuthorizationDetailsResponse "                                                                         \
    "xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><GetAccountAuthorizationDetailsResult><UserDetailList>" users \
    "</UserDetailList>" rest "</GetAccountAuthorizationDetailsResult></GetAccountAuthorizationDetailsResponse>"
#define BUCKET TAG("synergist:bucket", "synergist-x")

static void details_page_by_page(void **state)
{
    struct run *r = *state;
    static const struct step steps[] = {
        {"GetAccountAuthorizationDetails", "Filter.member.1=User", 0,
         DETAILS(USER("SynergistExpress-0001", BUCKET TAG("synergist:instance", "0001.example.com")
                                                   TAG("synergist:credentials", "file:/etc/logins"))
                     USER("somebody", BUCKET) USER("SynergistExpress-", BUCKET),
                 "<IsTruncated>true</IsTruncated><Marker>a b&amp;c</Marker>")},
        {"GetAccountAuthorizationDetails", "Marker=a%20b%26c", 0,
         DETAILS(USER("SynergistExpress-0002",
                      BUCKET TAG("synergist:licence", "other") TAG("synergist:instance", "https://two.example.com/x")
                          TAG("synergist:region", "us-east-1")),
                 "<IsTruncated>false</IsTruncated>")}};
    discover(r, steps, ARRAY_LEN(steps));
    assert_int_equal(r->err, 0);
    assert_int_equal(inventory_count(r->inv), 2);
    const struct inventory_row *one = inventory_find(r->inv, "0001"), *two = inventory_find(r->inv, "other");
    assert_string_equal(one->account, ACCOUNT);
    assert_string_equal(one->user, "SynergistExpress-0001");
    assert_string_equal(one->instance_url, "https://0001.example.com");
    assert_string_equal(one->credentials, "file:/etc/logins#0001");
    assert_string_equal(two->region, "us-east-1");
    assert_string_equal(two->user, "SynergistExpress-0002");
}

#define TRUNCATED(marker) "<IsTruncated>true</IsTruncated><Marker>" marker "</Marker>"

static void a_user_on_the_second_page_only(void **state)
{
    struct run *r = *state;
    static const struct step steps[] = {
        {"GetAccountAuthorizationDetails", "", 0, DETAILS("", TRUNCATED("m"))},
        {"GetAccountAuthorizationDetails", "Marker=m", 0,
         DETAILS(USER("SynergistExpress-0001", BUCKET TAG("synergist:instance", "one.example.com")), "")}};
    discover(r, steps, ARRAY_LEN(steps));
    assert_int_equal(r->err, 0);
    assert_int_equal(inventory_count(r->inv), 1);
}

/* What is missing from half a list would be missing from the fleet. */
static void half_a_list_is_not_believed(void **state)
{
    struct run *r = *state;
    static const struct step first = {
        "GetAccountAuthorizationDetails", "", 0,
        DETAILS(USER("SynergistExpress-0001", BUCKET TAG("synergist:instance", "one.example.com")), TRUNCATED("m"))};
    static const struct {
        int err;
        const char *body;
        int told;
    } second[] = {
        {ERR_AWS_FAILURE, NULL, ERR_AWS_FAILURE},
        {ERR_AWS_DENIED, NULL, ERR_AWS_DENIED}, /* the slow way would list some twice */
        {0, DETAILS("", "<IsTruncated>true</IsTruncated>"), ERR_NET_BAD_REPLY},
        {0, DETAILS("", "<IsTruncated>TRUE</IsTruncated><Marker>m</Marker>"), ERR_NET_BAD_REPLY},
        {0, DETAILS("", "<IsTruncated>true</IsTruncated><IsTruncated>false</IsTruncated>"), ERR_NET_BAD_REPLY},
        {0, DETAILS("", TRUNCATED("m")), ERR_NET_BAD_REPLY}, /* the same page again, for ever */
        {0, "<html>fine</html>", ERR_NET_BAD_REPLY},
        {0, "<ListUsersResponse><ListUsersResult><Users/></ListUsersResult></ListUsersResponse>", ERR_NET_BAD_REPLY},
    };
    for (size_t i = 0; i < ARRAY_LEN(second); i++) {
        const struct step steps[] = {first,
                                     {"GetAccountAuthorizationDetails", "Marker=m", second[i].err, second[i].body}};
        r->done = 0;
        discover(r, steps, 2);
        if (r->err != second[i].told) fail_msg("%zu: %d", i, r->err);
        inventory_free(r->inv);
        r->inv = inventory_new(&r->o, NULL, NULL);
    }
}

static void pages_without_an_end_are_an_error(void **state)
{
    struct run *r = *state;
    static struct step steps[500]; /* PAGES_MAX */
    static char bodies[500][600];
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        snprintf(bodies[i], sizeof bodies[i], DETAILS("", TRUNCATED("m%zu")), i);
        steps[i] = (struct step){"GetAccountAuthorizationDetails", "", 0, bodies[i]};
    }
    discover(r, steps, ARRAY_LEN(steps));
    assert_int_equal(r->err, ERR_TOO_LARGE);
}

static void the_slow_way_when_denied(void **state)
{
    struct run *r = *state;
    static const struct step steps[] = {
        {"GetAccountAuthorizationDetails", "", ERR_AWS_DENIED, NULL},
        {"ListUsers", "PathPrefix=%2F", 0,
         "<ListUsersResponse><ListUsersResult><Users><member><Path>/</Path><UserName>SynergistExpress-0001</UserName></"
         "member><member><Path>/</Path>"
         "<UserName>else</UserName></member></Users><IsTruncated>true</IsTruncated><Marker>m</Marker></"
         "ListUsersResult></ListUsersResponse>"},
        {"ListUsers", "Marker=m", 0,
         "<ListUsersResponse><ListUsersResult><Users><member><Path>/</Path><UserName>SynergistExpress-0002</UserName></"
         "member><member><Path>/</Path>"
         "<UserName>SynergistExpress-0003</UserName></member></Users><IsTruncated>false</IsTruncated></"
         "ListUsersResult></ListUsersResponse>"},
        {"ListUserTags", "UserName=SynergistExpress-0001", 0,
         "<ListUserTagsResponse><ListUserTagsResult><Tags>" BUCKET
         "</Tags><IsTruncated>true</IsTruncated><Marker>t</Marker></ListUserTagsResult></ListUserTagsResponse>"},
        {"ListUserTags", "Marker=t", 0,
         "<ListUserTagsResponse><ListUserTagsResult><Tags>" TAG(
             "synergist:instance", "https://one.example.com") "</Tags><IsTruncated>false</IsTruncated></"
                                                              "ListUserTagsResult></ListUserTagsResponse>"},
        {"ListUserTags", "UserName=SynergistExpress-0002", ERR_AWS_NO_ENTITY, NULL}, /* deleted since the list */
        {"ListUserTags", "UserName=SynergistExpress-0003", 0,
         "<ListUserTagsResponse><ListUserTagsResult><Tags>" BUCKET TAG(
             "synergist:instance", "three.example.com") "</Tags><IsTruncated>false</IsTruncated></ListUserTagsResult></"
                                                        "ListUserTagsResponse>"}};
    discover(r, steps, ARRAY_LEN(steps));
    assert_int_equal(r->err, 0);
    assert_int_equal(inventory_count(r->inv), 2);
    assert_string_equal(inventory_find(r->inv, "0001")->bucket, "synergist-x");
    assert_string_equal(inventory_find(r->inv, "0001")->instance_url, "https://one.example.com");
    assert_non_null(inventory_find(r->inv, "0003"));
}

static void tags_choose(void **state)
{
    struct run *r = *state;
    static char fleet[] = "fleet=north", managed[] = "managed";
    static char *tags[] = {fleet, managed};
    static const struct step steps[] = {
        {"GetAccountAuthorizationDetails", "", 0,
         DETAILS(USER("SynergistExpress-0001",
                      BUCKET TAG("synergist:instance", "a.example.com") TAG("fleet", "north") TAG("managed", ""))
                     USER("SynergistExpress-0002",
                          BUCKET TAG("synergist:instance", "b.example.com") TAG("fleet", "south") TAG("managed", ""))
                         USER("SynergistExpress-0003",
                              BUCKET TAG("synergist:instance", "c.example.com") TAG("fleet", "north")),
                 "")}};
    r->o.discover_tag = (struct settings_list){tags, 2};
    discover(r, steps, ARRAY_LEN(steps));
    assert_int_equal(inventory_count(r->inv), 1);
    assert_non_null(inventory_find(r->inv, "0001"));
}

static void the_file_wins(void **state)
{
    struct run *r = *state;
    static const struct step steps[] = {
        {"GetAccountAuthorizationDetails", "", 0,
         DETAILS(USER("SynergistExpress-0001", BUCKET TAG("synergist:instance", "tag.example.com")), "")}};
    const struct inventory_row row = {"0001", ACCOUNT, "", "synergist-file", "", "https://file.example.com", "", "",
                                      "",     "",      2};
    assert_int_equal(inventory_add(r->inv, &row), 0);
    discover(r, steps, ARRAY_LEN(steps));
    assert_int_equal(inventory_count(r->inv), 1);
    assert_string_equal(inventory_find(r->inv, "0001")->bucket, "synergist-file");
}

static void failures_are_told(void **state)
{
    struct run *r = *state;
    static const struct step refused[] = {{"GetAccountAuthorizationDetails", "", ERR_AWS_CREDENTIALS, NULL}};
    discover(r, refused, 1);
    assert_int_equal(r->err, ERR_AWS_CREDENTIALS);
    assert_non_null(strstr(r->reason, ACCOUNT));
    assert_non_null(strstr(r->reason, "SomeCode"));
}

static void garbage_is_refused(void **state)
{
    struct run *r = *state;
    static const struct step cut[] = {{"GetAccountAuthorizationDetails", "", 0, "<a><b>"}};
    discover(r, cut, 1);
    assert_int_equal(r->err, ERR_NET_BAD_REPLY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(details_page_by_page, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_user_on_the_second_page_only, set_up, tear_down),
        cmocka_unit_test_setup_teardown(half_a_list_is_not_believed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(pages_without_an_end_are_an_error, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_slow_way_when_denied, set_up, tear_down),
        cmocka_unit_test_setup_teardown(tags_choose, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_file_wins, set_up, tear_down),
        cmocka_unit_test_setup_teardown(failures_are_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(garbage_is_refused, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
