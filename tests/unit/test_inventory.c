/* The inventory: CSV and JSON, bad rows, duplicates, look-ups, generations, and its size and speed at 100,000 licences.
 */
#include "lib/err.h"
#include "schema/inventory.h"
#include "schema/job.h"
#include "schema/options.h"

#include <malloc.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define HEADER "licence,account,user,bucket,region,instance_url,time_zone,policy,profile,credentials\n"

struct told {
    size_t n;
    uint32_t line[32];
    char licence[32][64], reason[32][300];
};

static struct options options;
static struct told told;

static void hear(void *arg, const struct inventory_complaint *c)
{
    struct told *t = arg;
    assert_true(t->n < ARRAY_LEN(t->line));
    t->line[t->n] = c->line;
    snprintf(t->licence[t->n], sizeof t->licence[0], "%s", c->licence);
    snprintf(t->reason[t->n++], sizeof t->reason[0], "%s", c->reason);
}

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

/* Reads text; *ret_rc is the reader's answer. */
static struct inventory *read_text(const char *text, bool json, int *ret_rc)
{
    memset(&told, 0, sizeof told);
    struct inventory *inv = inventory_new(&options, hear, &told);
    assert_non_null(inv);
    *ret_rc = json ? inventory_read_json(inv, text, strlen(text)) : inventory_read_csv(inv, strdup(text), strlen(text));
    if (*ret_rc == 0) assert_int_equal(inventory_seal(inv), 0);
    return inv;
}

static struct inventory *read_good(const char *text, bool json)
{
    int rc;
    struct inventory *inv = read_text(text, json, &rc);
    assert_int_equal(rc, 0);
    return inv;
}

static void refuses(const char *text, bool json, int expected, uint32_t line, const char *part)
{
    int rc;
    struct inventory *inv = read_text(text, json, &rc);
    inventory_free(inv);
    assert_int_equal(rc, expected);
    assert_true(told.n >= 1);
    assert_int_equal(told.line[told.n - 1], line);
    if (!strstr(told.reason[told.n - 1], part)) fail_msg("%s does not hold %s", told.reason[told.n - 1], part);
}

static void test_plain_csv(void **state)
{
    (void)state;
    AUTO_INVENTORY struct inventory *inv = read_good(
        HEADER "L1,123456789012,,bucket-1,eu-central-1,https://l1.example/,Europe/London,gold,assisted,env:L1\n"
               "L2,123456789012,Other.User,bucket-2,,http://l2.example:8080/x,,,,\n",
        false);
    assert_int_equal(inventory_count(inv), 2);
    assert_int_equal(told.n, 0);
    const struct inventory_row *r = inventory_row(inv, 0);
    assert_string_equal(r->user, "SynergistExpress-L1");
    assert_string_equal(r->region, "eu-central-1");
    assert_string_equal(r->policy, "gold");
    assert_string_equal(r->profile, "assisted");
    assert_string_equal(r->credentials, "env:L1");
    assert_int_equal(r->line, 2);
    r = inventory_row(inv, 1);
    assert_string_equal(r->user, "Other.User");
    assert_string_equal(r->region, options.aws_region);
    assert_string_equal(r->profile, "default");
    assert_string_equal(r->time_zone, "");
    assert_null(inventory_row(inv, 2));
}

static void test_csv_forms(void **state)
{
    (void)state;
    /* Order, case and blanks of the header; BOM; CRLF; quotes with commas, quotes and line ends; blank lines; no last
     * line end. */
    AUTO_INVENTORY struct inventory *inv = read_good("\xef\xbb\xbf"
                                                     "Instance URL, Bucket ,LICENCE,account\r\n"
                                                     "\"https://a.example/?x=1,2\",\"bucket-a\",A,123456789012\r\n"
                                                     "\r\n  \r\n"
                                                     " https://b.example/ ,\tbucket-b\t, \"B\" ,123456789012",
                                                     false);
    assert_int_equal(told.n, 0);
    assert_int_equal(inventory_count(inv), 2);
    assert_string_equal(inventory_row(inv, 0)->instance_url, "https://a.example/?x=1,2");
    assert_string_equal(inventory_row(inv, 1)->licence, "B");
    assert_string_equal(inventory_row(inv, 1)->bucket, "bucket-b");
    assert_int_equal(inventory_row(inv, 1)->line, 5);
}

static void test_bad_rows_are_told_and_good_ones_go_on(void **state)
{
    (void)state;
    AUTO_INVENTORY struct inventory *inv = read_good("licence,account,bucket,instance_url,credentials\n"
                                                     "L 1,123456789012,bucket,https://a/,\n"       /* 2 */
                                                     "L2,12345678901,bucket,https://a/,\n"         /* 3 */
                                                     "L3,123456789012,B,https://a/,\n"             /* 4 */
                                                     "L4,123456789012,bucket,https://u:p@a/,\n"    /* 5 */
                                                     "L5,123456789012,bucket,https://a/,geheim\n"  /* 6 */
                                                     "L6,123456789012,bucket\n"                    /* 7 */
                                                     "L\"7,123456789012,bucket,https://a/,\n"      /* 8 */
                                                     "\"L8\"x,123456789012,bucket,https://a/,\n"   /* 9 */
                                                     "L9,123456789012,bucket,https://a/,env:L9\n"  /* 10 */
                                                     "\"L\n10\",123456789012,bucket,https://a/,\n" /* 11, 12 */
                                                     "L11,123456789012,bucket,https://a/,\n"       /* 13 */
                                                     "L12,123456789012,bucket,\"https://a/,\n",
                                                     false); /* 14 */
    static const uint32_t lines[] = {2, 3, 4, 5, 6, 7, 8, 9, 11, 14};
    static const char *const parts[] = {"licence:",     "account:",    "bucket:",      "instance_url:",
                                        "credentials:", "3 fields",    "quote inside", "behind a closing",
                                        "licence:",     "never closed"};
    assert_int_equal(told.n, ARRAY_LEN(lines));
    for (size_t i = 0; i < told.n; i++) {
        assert_int_equal(told.line[i], lines[i]);
        if (!strstr(told.reason[i], parts[i])) fail_msg("line %u: %s", lines[i], told.reason[i]);
        assert_null(strstr(told.reason[i], "geheim"));
    }
    assert_string_equal(told.licence[1], "L2");
    assert_int_equal(inventory_bad(inv), told.n);
    assert_int_equal(inventory_count(inv), 2);
    assert_non_null(inventory_find(inv, "l9"));
    assert_int_equal(inventory_find(inv, "L11")->line, 13);
}

static void test_files_that_are_refused(void **state)
{
    (void)state;
    refuses("", false, ERR_SYNTAX, 1, "empty");
    refuses("licence,account,bucket,instance_url,colour\n", false, ERR_INVALID, 1, "\"colour\"");
    refuses("licence;account;bucket;instance_url\n", false, ERR_INVALID, 1, "separated by commas");
    refuses("licence,account,bucket\n", false, ERR_INVALID, 1, "instance_url");
    refuses("licence,account,bucket,instance_url,Bucket\n", false, ERR_INVALID, 1, "twice");
    refuses("{}", true, ERR_SYNTAX, 1, "array");
    refuses("\n[{\"licence\":\"L1\"}", true, ERR_SYNTAX, 2, "cut");
    refuses("[\n{} {}]", true, ERR_SYNTAX, 2, "comma");
    refuses("[\n{},\n{\"licence\" 1}]", true, ERR_SYNTAX, 3, "not JSON");
    refuses("[]\nx", true, ERR_SYNTAX, 2, "behind");
    AUTO_INVENTORY struct inventory *inv = inventory_new(&options, hear, &told);
    assert_int_equal(inventory_read_file(inv, "/nonexistent/fleet.csv"), ERR_IO);
    assert_non_null(strstr(told.reason[told.n - 1], "/nonexistent/fleet.csv"));
    char *nul = malloc(12);
    memcpy(nul, "licence\0abc", 12);
    assert_int_equal(inventory_read_csv(inv, nul, 11), ERR_SYNTAX);
}

static void test_json(void **state)
{
    (void)state;
    AUTO_INVENTORY struct inventory *inv =
        read_good("[\n {\"licence\": \"L1\", \"account\": \"123456789012\", \"bucket\": \"bucket-1\", "
                  "\"instance_url\": \"https://a/\"},\n"
                  " {\"licence\": \"L2\", \"account\": 123456789012, \"bucket\": \"bucket-1\", \"instance_url\": "
                  "\"https://a/\"},\n"
                  " {\"license\": \"L3\"},\n 17,\n"
                  " {\"licence\": \"L4\",\n  \"account\": \"123456789012\", \"bucket\": \"bucket-4\", "
                  "\"instance_url\": \"https://d/\", \"user\": \"\"}\n]\n",
                  true);
    assert_int_equal(inventory_count(inv), 2);
    assert_int_equal(told.n, 3);
    assert_int_equal(told.line[0], 3);
    assert_non_null(strstr(told.reason[0], "account"));
    assert_int_equal(told.line[1], 4);
    assert_non_null(strstr(told.reason[1], "license"));
    assert_int_equal(told.line[2], 5);
    assert_string_equal(inventory_find(inv, "L4")->user, "SynergistExpress-L4");
    assert_int_equal(inventory_find(inv, "L4")->line, 6);
    AUTO_INVENTORY struct inventory *none = read_good(" [ ] ", true);
    assert_int_equal(inventory_count(none), 0);
    assert_null(inventory_find(none, "L4"));
}

static void test_duplicates_leave_together(void **state)
{
    (void)state;
    AUTO_INVENTORY struct inventory *inv = read_good("licence,account,user,bucket,instance_url\n"
                                                     "L1,123456789012,,bucket,https://a/\n"
                                                     "L2,123456789012,,bucket,https://a/\n"
                                                     "l1,123456789012,other,bucket,https://a/\n"
                                                     "L3,123456789012,SYNERGISTEXPRESS-l2,bucket,https://a/\n"
                                                     "L4,999999999999,SynergistExpress-L2,bucket,https://a/\n"
                                                     "L1,123456789012,third,bucket,https://a/\n",
                                                     false);
    assert_int_equal(told.n, 3);
    assert_int_equal(told.line[0], 4);
    assert_non_null(strstr(told.reason[0], "licence L1 in line 2"));
    assert_int_equal(told.line[1], 5);
    assert_non_null(strstr(told.reason[1], "IAM user is also that of licence L2 in line 3"));
    assert_int_equal(told.line[2], 7);
    assert_int_equal(inventory_count(inv), 1);
    assert_int_equal(inventory_bad(inv), 5);
    assert_non_null(inventory_find(inv, "L4")); /* the same name in another account is another user */
    assert_null(inventory_find(inv, "L1"));
    assert_null(inventory_find(inv, "L2"));
    assert_non_null(inventory_find_user(inv, "999999999999/synergistexpress-l2"));
    assert_null(inventory_find_user(inv, "123456789012/synergistexpress-l2"));
    assert_null(inventory_find_user(inv, "nonsense"));
}

static void test_discovered_rows(void **state)
{
    (void)state;
    memset(&told, 0, sizeof told);
    AUTO_INVENTORY struct inventory *inv = inventory_new(&options, hear, &told);
    char licence[300] = "D1";
    struct inventory_row row = {.licence = licence,
                                .account = "123456789012",
                                .user = "SynergistExpress-D1",
                                .bucket = "bucket",
                                .instance_url = "https://d/"};
    assert_int_equal(inventory_add(inv, &row), 0);
    memset(licence, 'x', sizeof licence - 1);
    assert_int_equal(inventory_add(inv, &row), 0);
    assert_int_equal(told.n, 1);
    assert_int_equal(inventory_seal(inv), 0);
    assert_string_equal(inventory_row(inv, 0)->licence, "D1"); /* copied */
    struct job j = {.kind = JOB_AUDIT, .reason = JOB_DAILY, .created_at_ms = 1};
    inventory_target(inventory_row(inv, 0), &j);
    AUTO_BUF struct buf out;
    buf_init(&out, JOB_MAX_BYTES);
    assert_int_equal(job_identify(&j), 0);
    assert_int_equal(job_encode(&j, &out), 0); /* what the inventory lets through, a job may carry */
}

static void test_short_waits_are_for_loopback(void **state)
{
    (void)state;
    int64_t overlap = options.overlap_ms;
    options.overlap_ms = 1000;
    options.aws_endpoint = (char[]){"http://127.0.0.1:4566"};
    AUTO_INVENTORY struct inventory *inv = read_good("licence,account,bucket,instance_url\n"
                                                     "L1,123456789012,bucket,http://127.0.0.1:81/\n"
                                                     "L2,123456789012,bucket,https://l2.example/\n",
                                                     false);
    options.overlap_ms = overlap;
    options.aws_endpoint = NULL;
    assert_int_equal(inventory_count(inv), 1);
    assert_int_equal(told.line[0], 3);
    assert_non_null(strstr(told.reason[0], "loopback"));
}

static char changes[256];

static void note(void *arg, enum inventory_change what, const struct inventory_row *before,
                 const struct inventory_row *after)
{
    (void)arg;
    size_t len = strlen(changes);
    snprintf(changes + len, sizeof changes - len, "%d:%s ", (int)what, before ? before->licence : after->licence);
}

static void test_generations(void **state)
{
    (void)state;
    AUTO_INVENTORY struct inventory *old = read_good(
        "licence,account,bucket,instance_url\n"
        "L1,123456789012,bucket,https://a/\nL2,123456789012,bucket,https://b/\nL3,123456789012,bucket,https://c/\n",
        false);
    AUTO_INVENTORY struct inventory *new = read_good(
        "licence,account,bucket,instance_url\n"
        "l1,123456789012,bucket,https://a/\nL4,123456789012,bucket,https://d/\nL3,123456789012,bucket,https://moved/\n",
        false);
    assert_int_equal(inventory_compare(old, new, note, NULL), 3);
    assert_string_equal(changes, "0:L2 2:L3 1:L4 ");
}

static double now_ms(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec * 1e3 + (double)t.tv_nsec / 1e6;
}

static void test_hundred_thousand(void **state)
{
    (void)state;
    enum { N = 100000 };
    AUTO_BUF struct buf text;
    buf_init(&text, 64u << 20);
    (void)buf_adds(&text, HEADER);
    for (int i = 0; i < N; i++)
        (void)buf_addf(&text,
                       "L%06d,%012d,,synergist-l%06d,eu-west-1,https://l%06d.cloud.example/,Europe/"
                       "London,,default,file:/etc/keyroll/logins.csv#L%06d\n",
                       i, 100000000 + i / 5000, i, i, i);
    assert_int_equal(text.error, 0);
    size_t len = text.len;
    char *csv = buf_take(&text);
    struct mallinfo2 before = mallinfo2();
    double began = now_ms();
    AUTO_INVENTORY struct inventory *inv = inventory_new(&options, hear, &told);
    assert_int_equal(inventory_read_csv(inv, csv, len), 0);
    assert_int_equal(inventory_seal(inv), 0);
    double took = now_ms() - began;
    struct mallinfo2 after = mallinfo2();
    assert_int_equal(inventory_count(inv), N);
    printf("100,000 licences: %.0f ms, %zu kB beside the file's %zu kB\n", took,
           (after.uordblks + after.hblkhd - before.uordblks - before.hblkhd) / 1000, len / 1000);
    assert_true(took < 5000); /* 300 ms is the aim of an optimised build; this one may run under a sanitizer */
    assert_string_equal(inventory_find(inv, "l099999")->bucket, "synergist-l099999");
    assert_string_equal(inventory_find_user(inv, "000100000019/synergistexpress-l099999")->licence, "L099999");
    assert_null(inventory_find(inv, "L100000"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_plain_csv),
        cmocka_unit_test(test_csv_forms),
        cmocka_unit_test(test_bad_rows_are_told_and_good_ones_go_on),
        cmocka_unit_test(test_files_that_are_refused),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_duplicates_leave_together),
        cmocka_unit_test(test_discovered_rows),
        cmocka_unit_test(test_short_waits_are_for_loopback),
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_hundred_thousand),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
