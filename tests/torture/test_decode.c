/* Everything that reads what comes from outside, with the n-th allocation failing in turn: ERR_NOMEM or a result as
 * without, never a crash, no secret left (secret_count), no leak (the leak sanitizer in the asan build). */
#include "lib/json.h"
#include "lib/aws_container.h"
#include "lib/aws_error.h"
#include "lib/aws_iam.h"
#include "lib/aws_profile.h"
#include "lib/aws_sts.h"
#include "lib/credref.h"
#include "lib/err.h"
#include "lib/escrow.h"
#include "lib/profile.h"
#include "lib/redis_url.h"
#include "lib/synergist_reply.h"
#include "lib/xml.h"
#include "schema/deadletter.h"
#include "schema/inventory.h"
#include "schema/options.h"
#include "schema/policy_file.h"
#include "schema/record.h"
#include "schema/trigger.h"
#include "tests/torture/torture.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define KEY    "AKIAIOSFODNN7EXAMPLE"
#define SECRET "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
#define MOST   100000

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#define LEAKS() __lsan_do_recoverable_leak_check()
#else
#define LEAKS() 0
#endif

static char folder[64], path[128];

static void write_file(const char *name, const char *text)
{
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
    assert_int_equal(chmod(path, 0600), 0);
}

/* Runs work() with each allocation failing once. It returns 0 (a whole result), or its error. */
static void torture(const char *what, int (*work)(void))
{
    size_t secrets = secret_count();
    assert_int_equal(work(), 0);
    size_t n = 1, refused = 0;
    for (; n < MOST; n++) {
        torture_arm(n);
        int rc = work();
        bool reached = torture_disarm();
        if (rc != 0 && rc != ERR_NOMEM) fail_msg("%s: allocation %zu fails: %s", what, n, err_name(rc));
        if (secret_count() != secrets) fail_msg("%s: allocation %zu fails: a secret is left", what, n);
        if (LEAKS()) fail_msg("%s: allocation %zu fails: a leak, see above", what, n);
        refused += rc == ERR_NOMEM;
        if (!reached) break;
    }
    assert_true(n < MOST && n > 1); /* it does allocate */
    assert_true(refused > 0);
    print_message("%s: %zu allocations, %zu refusals\n", what, n - 1, refused);
}

static char *slurp(const char *name, size_t *ret_len)
{
    char file[300];
    static char text[65536];
    snprintf(file, sizeof file, "%s/vectors/%s", TEST_DATA, name);
    FILE *f = fopen(file, "r");
    assert_non_null(f);
    *ret_len = fread(text, 1, sizeof text - 1, f);
    fclose(f);
    text[*ret_len] = '\0';
    return text;
}

static int job(void)
{
    size_t len;
    const char *text = slurp("messages/valid/job-full.json", &len);
    struct job j;
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 16);
    int rc = job_decode(text, len, &j, NULL);
    return rc < 0 ? rc : job_encode(&j, &out);
}

static int event(void)
{
    size_t len;
    const char *text = slurp("messages/valid/event-full.json", &len);
    struct event e;
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 16);
    int rc = event_decode(text, len, &e, NULL);
    return rc < 0 ? rc : event_encode(&e, &out);
}

static int deadletter(void)
{
    size_t len;
    const char *text = slurp("messages/valid/deadletter-full.json", &len);
    static struct deadletter d;
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 16);
    int rc = deadletter_decode(text, len, &d, NULL);
    if (rc == 0) rc = deadletter_encode(&d, &out);
    return rc < 0 ? rc : deadletter_set_raw(&d, text, len);
}

static int record(void)
{
    static const char text[] = "{\"format\":\"keyroll.record/1\",\"state\":\"current\",\"keys\":[{\"id\":\"" KEY
                               "\",\"role\":\"current\",\"status\":\"Active\"}]}";
    static struct record r;
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 16);
    int rc = record_decode(text, sizeof text - 1, &r);
    if (rc == 0 && r.n_keys != 1) return ERR_INTERNAL;
    return rc < 0 ? rc : record_encode(&r, &out);
}

/* Begun by json_plain.c, which gives it up at the escape; read by jansson. */
static int escaped(void)
{
    static const char text[] = "{\"format\":\"keyroll.record/1\",\"state\":\"current\",\"keys\":[{\"id\":\"" KEY
                               "\"}],\"reason\":\"said \\\"no\\\"\"}";
    static struct record r;
    int rc = record_decode(text, sizeof text - 1, &r);
    return rc == 0 && strcmp(r.reason, "said \"no\"") != 0 ? ERR_INTERNAL : rc;
}

static int journal(void)
{
    static const char text[] = "{\"format\":\"keyroll.journal/1\",\"kind\":\"rotate\",\"step\":\"set\",\"direction\":"
                               "\"set\",\"seen\":[\"" KEY "\"],\"key_new\":\"" KEY "\"}";
    static struct journal j;
    AUTO_BUF struct buf out;
    buf_init(&out, 1 << 16);
    int rc = journal_decode(text, sizeof text - 1, &j);
    return rc < 0 ? rc : journal_encode(&j, &out);
}

static int list(void)
{
    static const char text[] =
        "<ListAccessKeysResponse><ListAccessKeysResult><AccessKeyMetadata><member><UserName>u</"
        "UserName><AccessKeyId>" KEY "</AccessKeyId><Status>Active</Status><CreateDate>2026-01-02T03:04:05Z</"
        "CreateDate></member></AccessKeyMetadata>"
        "<IsTruncated>true</IsTruncated><Marker>m</Marker></ListAccessKeysResult></ListAccessKeysResponse>";
    struct aws_result r = {0};
    AUTO_FREE char *marker = NULL;
    int rc = aws_iam_parse(AWS_LIST_ACCESS_KEYS, "u", text, sizeof text - 1, &r, &marker);
    return rc == 0 && (r.n_keys != 1 || !marker) ? ERR_INTERNAL : rc;
}

static int create(void)
{
    static const char text[] =
        "<CreateAccessKeyResponse><CreateAccessKeyResult><AccessKey><UserName>u</"
        "UserName><AccessKeyId>" KEY "</AccessKeyId><Status>Active</Status><SecretAccessKey>" SECRET
        "</SecretAccessKey></AccessKey></CreateAccessKeyResult></CreateAccessKeyResponse>";
    struct aws_result r = {0};
    AUTO_FREE char *marker = NULL;
    int rc = aws_iam_parse(AWS_CREATE_ACCESS_KEY, "u", text, sizeof text - 1, &r, &marker);
    if (rc == 0 && !r.created_secret) rc = ERR_INTERNAL;
    secret_free(r.created_secret);
    return rc;
}

static int assume(void)
{
    static const char text[] = "<AssumeRoleResponse><AssumeRoleResult><Credentials><AccessKeyId>ASIAIOSFODNN7EXAMPLE</"
                               "AccessKeyId><SecretAccessKey>" SECRET "</SecretAccessKey><SessionToken>t</SessionToken>"
                               "<Expiration>2026-11-15T13:34:41Z</Expiration></Credentials></AssumeRoleResult></"
                               "AssumeRoleResponse>";
    struct aws_identity *i = NULL;
    int rc = aws_sts_parse_credentials(text, sizeof text - 1, &i);
    if (rc == 0) aws_identity_unref(i);
    return rc;
}

static int profiles(void)
{
    size_t len;
    const char *text = slurp("profile/valid/everything.json", &len);
    struct profiles *set = NULL;
    AUTO_FREE char *why = NULL;
    AUTO_FREE char *reason = NULL;
    int rc = profiles_load(NULL, &set, &reason);
    if (rc < 0) return rc;
    rc = profiles_add(set, text, len, "x", &why);
    profiles_free(set);
    return rc;
}

static int reply(void)
{
    static const char json[] = "{\"success\":true,\"data\":[{\"a\":\"" KEY "\"}]}";
    static const struct profile p;
    struct synergist_reply r;
    synergist_reply_read(&p, 200, json, sizeof json - 1, &r);
    int rc = r.err;
    synergist_reply_done(&r);
    return rc == ERR_INSTANCE_FAILURE ? ERR_NOMEM : rc; /* not understood: as good, both may have had an effect */
}

static int reply_xml(void)
{
    static const char xml[] = "<response><success>true</success></response>";
    AUTO_BUF struct buf out;
    buf_init(&out, 100);
    return xml_find(xml, sizeof xml - 1, "success", &out);
}

static int settings(void)
{
    write_file("settings", "brokers = a:1,b:2\noverlap = 25h\nkafka.x.y = z\nredis_password = word\n");
    char flag[200], *argv[] = {(char[]){"x"}, flag, NULL};
    AUTO_FREE char *reason = NULL;
    struct options o;
    int argc = 2;
    snprintf(flag, sizeof flag, "--config=%s", path);
    int rc = options_load(&o, OPTIONS_ALL, &argc, argv, NULL, &reason);
    options_done(&o);
    return rc;
}

static int inventory(bool json)
{
    static const char csv[] =
        "licence,account,bucket,instance_url\nacme,123456789012,synergist-acme,https://a.example/\n";
    static const char text[] = "[{\"licence\":\"acme\",\"account\":\"123456789012\",\"bucket\":\"synergist-acme\","
                               "\"instance_url\":\"https://a.example/\"}]";
    static char template[] = IDENTITY_TEMPLATE, region[] = "eu-west-1";
    struct options o = {.user_template = template, .aws_region = region};
    o.overlap_ms = o.quarantine_ms = INT64_C(30) * 86400000;
    o.skew_limit_ms = o.create_doubt_ms = o.newcomer_wait_ms = 86400000;
    AUTO_INVENTORY struct inventory *inv = inventory_new(&o, NULL, NULL);
    if (!inv) return ERR_NOMEM;
    int rc =
        json ? inventory_read_json(inv, text, sizeof text - 1) : inventory_read_csv(inv, strdup(csv), sizeof csv - 1);
    if (rc == 0) rc = inventory_seal(inv);
    return rc == 0 && inventory_count(inv) != 1 ? ERR_INTERNAL : rc;
}

static int inventory_csv(void)
{
    return inventory(false);
}

static int inventory_json(void)
{
    return inventory(true);
}

static int shared_files(void)
{
    struct aws_profile p;
    write_file("credentials", "[default]\naws_access_key_id = " KEY "\naws_secret_access_key = " SECRET "\n");
    setenv("AWS_SHARED_CREDENTIALS_FILE", path, 1);
    setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
    int rc = aws_profile_load("default", &p);
    if (rc < 0) return rc;
    rc = aws_profile_has_keys(&p) ? 0 : ERR_INTERNAL;
    aws_profile_done(&p);
    return rc;
}

static int logins(void)
{
    char reference[200], reason[CREDREF_REASON_MAX];
    struct credref_login login = {0};
    write_file("logins",
               "{\"acme\":{\"user\":\"api\",\"password\":\"pass\"},\"b\":{\"user\":\"c\",\"password\":\"d\"}}");
    snprintf(reference, sizeof reference, "file:%s#acme", path);
    struct credref *c = credref_new(&(struct credref_options){0});
    if (!c) return ERR_NOMEM;
    int rc = credref_get(c, reference, 1, &login, reason);
    if (rc == 0) secret_free(login.password);
    credref_free(c);
    return rc;
}

static int escrow(void)
{
    struct escrow *e = NULL;
    AUTO_FREE char *why = NULL;
    AUTO_SECRET struct secret *s = secret_from_string(SECRET);
    AUTO_SECRET struct secret *opened = NULL;
    AUTO_BUF struct buf out;
    buf_init(&out, 1024);
    write_file("escrow", "0123456789abcdef0123456789abcdef");
    int rc = escrow_load(path, &e, &why);
    if (rc < 0) return rc;
    rc = escrow_seal(e, &rng_system, "u", KEY, s, &out);
    if (rc == 0) rc = escrow_open(e, "u", KEY, out.data, out.len, &opened);
    if (rc == 0 && !secret_equal(s, opened)) rc = ERR_INTERNAL;
    escrow_free(e);
    return rc;
}

static int redis_address(void)
{
    struct redis_url u;
    int rc = redis_url_parse("redis://user@host:6379/2", &u);
    if (rc == 0) redis_url_done(&u);
    return rc;
}

static int container(void)
{
    static const char text[] = "{\"AccessKeyId\":\"ASIAIOSFODNN7EXAMPLE\",\"SecretAccessKey\":\"" SECRET
                               "\",\"Token\":\"a \\u00e4 t\",\"Expiration\":\"2026-11-15T13:34:41Z\"}";
    struct aws_identity *i = NULL;
    int rc = aws_container_parse(text, sizeof text - 1, &i);
    if (rc == 0) aws_identity_unref(i);
    return rc;
}

/* In an envelope of SNS: JSON within JSON. */
static int trigger(void)
{
    static const char text[] = "{\"Type\":\"Notification\",\"Message\":\"{\\\"version\\\":\\\"keyroll.trigger/1\\\","
                               "\\\"action\\\":\\\"rotate\\\",\\\"licence\\\":\\\"0001\\\",\\\"by\\\":\\\"crm\\\","
                               "\\\"reason\\\":\\\"asked\\\"}\"}";
    static struct trigger t;
    struct message_fault fault;
    int rc = trigger_decode(text, sizeof text - 1, &t, &fault);
    return rc == 0 && (t.want != TRIGGER_ROTATE || strcmp(t.licence, "0001") != 0) ? ERR_INTERNAL : rc;
}

static int policies(void)
{
    static const char text[] = "{\"version\":\"keyroll.policy/1\",\"policies\":{\"late\":{\"max_age\":\"360d\"}},"
                               "\"canaries\":[\"B\",\"a\"],\"exclusions\":[{\"licence\":\"Zoo\",\"expires\":"
                               "\"2027-01-01\",\"reason\":\"said \\\"no\\\"\"}]}";
    struct policy_rules base;
    struct policy_file f = {0};
    policy_rules_init(&base, 80 * INT64_C(86400000), 0);
    int rc = policy_file_decode(text, sizeof text - 1, &base, NULL, NULL, &f);
    if (rc == 0 && (!policy_file_is_canary(&f, "B") || !policy_file_exclusion(&f, "zoo"))) rc = ERR_INTERNAL;
    policy_file_done(&f);
    return rc;
}

#define WORKS(X)                                                                                                       \
    X(job)                                                                                                             \
    X(event)                                                                                                           \
    X(deadletter)                                                                                                      \
    X(record)                                                                                                          \
    X(escaped)                                                                                                         \
    X(journal)                                                                                                         \
    X(list)                                                                                                            \
    X(create)                                                                                                          \
    X(assume)                                                                                                          \
    X(profiles)                                                                                                        \
    X(reply)                                                                                                           \
    X(reply_xml)                                                                                                       \
    X(settings)                                                                                                        \
    X(inventory_csv)                                                                                                   \
    X(inventory_json)                                                                                                  \
    X(shared_files)                                                                                                    \
    X(logins)                                                                                                          \
    X(escrow)                                                                                                          \
    X(redis_address)                                                                                                   \
    X(container)                                                                                                       \
    X(trigger)                                                                                                         \
    X(policies)

#define TEST(name)                                                                                                     \
    static void test_##name(void **state)                                                                              \
    {                                                                                                                  \
        (void)state;                                                                                                   \
        torture(#name, name);                                                                                          \
    }
WORKS(TEST)

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/keyroll-torture-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    (void)state;
    static const char *const names[] = {"settings", "credentials", "logins", "escrow"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    return rmdir(folder);
}

int main(void)
{
#define ENTRY(name) cmocka_unit_test(test_##name),
    const struct CMUnitTest tests[] = {WORKS(ENTRY)};
    json_without_arena();
    return cmocka_run_group_tests(tests, setup, teardown);
}
