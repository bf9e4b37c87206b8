/* Settings of the programs: the file that is found, what is derived, what is refused, and the texts that are committed.
 * KEYROLL_UPDATE=1 in the environment writes the committed texts anew. */
#include "lib/err.h"
#include "lib/log.h"
#include "lib/secret.h"
#include "schema/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define ROOT TEST_DATA "/../.."

static char folder[64];
static struct options o;
static char *error;

static int setup(void **state)
{
    (void)state;
    snprintf(folder, sizeof folder, "/tmp/keyroll-test-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static int teardown(void **state)
{
    char path[128];
    (void)state;
    options_done(&o);
    free(error);
    error = NULL;
    static const char *const names[] = {"endpoints.conf", "a.conf", "password", "keyroll/endpoints.conf", "keyroll"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)remove(path);
    }
    return rmdir(folder);
}

static char *write_file(const char *name, const char *text)
{
    static char path[128];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    return path;
}

/* Loads with these flags (NULL-terminated, after --config= so that no file of the machine is read) and variables. */
static int load_with(char *const *env, const char *const *flags)
{
    char texts[16][200], *argv[17];
    int argc = 0;
    snprintf(texts[argc], sizeof texts[0], "test");
    argv[argc] = texts[argc];
    argc++;
    for (; *flags; flags++, argc++) {
        snprintf(texts[argc], sizeof texts[0], "%s", *flags);
        argv[argc] = texts[argc];
    }
    argv[argc] = NULL;
    options_done(&o);
    free(error);
    error = NULL;
    return options_load(&o, OPTIONS_ALL, &argc, argv, env, &error);
}
#define LOAD(...) load_with(NULL, (const char *const[]){"--config=", __VA_ARGS__, NULL})
#define OK(...)   assert_int_equal(LOAD(__VA_ARGS__), 0)

static void refused(int rc, const char *part)
{
    assert_int_equal(rc, ERR_INVALID);
    assert_non_null(error);
    if (!strstr(error, part)) fail_msg("\"%s\" does not hold \"%s\"", error, part);
    assert_null(strchr(error, '\n'));
}

static void test_defaults(void **state)
{
    (void)state;
    OK("--brokers=a:1,b:2");
    assert_string_equal(o.brokers, "a:1,b:2");
    assert_int_equal(o.mode, OPTIONS_OBSERVE);
    assert_int_equal(o.max_rotations_per_hour, 20);
    assert_int_equal(o.overlap_ms, 90000000);
    assert_int_equal(o.quarantine_ms, 604800000);
    assert_int_equal(o.max_age_ms, 80 * 86400000LL);
    assert_int_equal(o.lease_ttl_ms, 15000);
    assert_int_equal(o.log_level, LOG_LEVEL_INFO);
    assert_string_equal(o.topic_jobs, "keyroll.jobs");
    assert_string_equal(o.topic_retry[1], "keyroll.retry.5m");
    assert_int_equal(o.retry_delays.n, 2);
    assert_int_equal(o.retry_delay_ms[0], 30000);
    assert_string_equal(o.discover_prefix, "SynergistExpress-");
    assert_string_equal(o.listen, "127.0.0.1:0");
    assert_non_null(o.worker_id);
    assert_memory_equal(o.aws_session_name, "keyroll-", 8);
    assert_true(strlen(o.aws_session_name) <= 64);
    assert_null(options_endpoint(&o, "iam"));
    assert_false(options_s3_path_style(&o));
    assert_true(options_waits_allowed(&o, "https://instance.example/"));
    OK("--listen=off", "--topic-prefix=x", "--worker-id=w");
    assert_null(o.listen);
    assert_string_equal(o.topic_dead, "x.dead");
    assert_string_equal(o.aws_session_name, "keyroll-w");
}

static void test_file_that_is_found(void **state)
{
    (void)state;
    char home[100], state_home[100], config[150], state_dir[100], sub[100];
    snprintf(home, sizeof home, "HOME=%s", folder);
    snprintf(state_home, sizeof state_home, "XDG_STATE_HOME=%s", folder);
    snprintf(state_dir, sizeof state_dir, "--state-dir=%s", folder);
    snprintf(sub, sizeof sub, "%s/keyroll", folder);
    assert_int_equal(mkdir(sub, 0700), 0);
    write_file("keyroll/endpoints.conf", "brokers = found:1\n");
    write_file("endpoints.conf", "brokers = state:1\n");
    snprintf(config, sizeof config, "KEYROLL_CONFIG=%s", write_file("a.conf", "brokers = a:1\n"));
    assert_int_equal(load_with((char *[]){home, state_home, NULL}, (const char *const[]){NULL}), 0);
    assert_string_equal(o.brokers, "found:1");
    assert_string_equal(o.state_dir, sub);
    assert_int_equal(load_with((char *[]){home, state_home, NULL}, (const char *const[]){state_dir, NULL}), 0);
    assert_string_equal(o.brokers, "state:1");
    assert_int_equal(load_with((char *[]){home, state_home, config, NULL}, (const char *const[]){NULL}), 0);
    assert_string_equal(o.brokers, "a:1");
    assert_string_equal(o.config_path, config + strlen("KEYROLL_CONFIG="));
    assert_int_equal(load_with((char *[]){home, state_home, config, NULL}, (const char *const[]){"--config=", NULL}),
                     0);
    assert_null(o.brokers);
    assert_null(o.config_path);
    assert_int_equal(load_with((char *[]){home, NULL}, (const char *const[]){"--config", "/nonexistent/x.conf", NULL}),
                     ERR_IO);
    write_file("a.conf", "config = b.conf\n");
    refused(load_with((char *[]){config, NULL}, (const char *const[]){NULL}), "no meaning in the settings file");
}

static void test_aws_variables(void **state)
{
    (void)state;
    char *env[] = {(char[]){"AWS_REGION=eu-west-2"},
                   (char[]){"AWS_DEFAULT_REGION=us-east-1"},
                   (char[]){"AWS_PROFILE=ops"},
                   (char[]){"AWS_CA_BUNDLE=/ca.pem"},
                   (char[]){"AWS_ENDPOINT_URL=http://127.0.0.1:1"},
                   (char[]){"AWS_ENDPOINT_URL_STS=http://127.0.0.1:2"},
                   NULL};
    assert_int_equal(load_with(env, (const char *const[]){"--config=", NULL}), 0);
    assert_string_equal(o.aws_region, "eu-west-2");
    assert_string_equal(o.aws_profile, "ops");
    assert_string_equal(o.ca_file, "/ca.pem");
    assert_string_equal(options_endpoint(&o, "iam"), "http://127.0.0.1:1");
    assert_string_equal(options_endpoint(&o, "sts"), "http://127.0.0.1:2");
    assert_true(options_s3_path_style(&o));
    assert_int_equal(
        load_with(env, (const char *const[]){"--config=", "--aws-region=eu-north-1", "--s3-path-style=false", NULL}),
        0);
    assert_string_equal(o.aws_region, "eu-north-1");
    assert_false(options_s3_path_style(&o));
}

static void test_short_waits(void **state)
{
    (void)state;
    static const char *const waits[] = {"--overlap=23h", "--quarantine=23h", "--skew-limit=14m", "--create-doubt=4m",
                                        "--newcomer-wait=59m"};
    for (size_t i = 0; i < ARRAY_LEN(waits); i++) {
        refused(LOAD(waits[i]), "loopback");
        refused(LOAD(waits[i], "--aws-endpoint=https://aws.example/"), "loopback");
        refused(LOAD(waits[i], "--aws-endpoint-iam=http://127.0.0.1:1", "--aws-endpoint-s3=http://127.0.0.1:1"),
                "sts is not");
        refused(LOAD(waits[i], "--aws-endpoint=http://127.0.0.1:1", "--aws-endpoint-s3=http://s3.example"),
                "s3 is not");
        OK(waits[i], "--aws-endpoint=http://127.0.0.1:1");
        assert_true(options_waits_allowed(&o, NULL));
        assert_true(options_waits_allowed(&o, "http://localhost:8080/x"));
        assert_false(options_waits_allowed(&o, "https://instance.example/"));
    }
    OK("--overlap=24h", "--quarantine=1d");
}

static void test_combinations_that_are_refused(void **state)
{
    (void)state;
    refused(LOAD("--user-template=SynergistExpress"), "{licence}");
    refused(LOAD("--user-template=Synergist Express-{licence}"), "user_template");
    refused(LOAD("--mutate-timeout=13s"), "lease_ttl");
    OK("--mutate-timeout=12999ms");
    refused(LOAD("--lease-renew=8s"), "lease_renew");
    refused(LOAD("--lease-max-age=10s"), "lease_max_age");
    refused(LOAD("--settle-successes=100", "--settle-interval=18001ms"), "settle_successes");
    OK("--settle-successes=100", "--settle-interval=18s");
    refused(LOAD("--settle-interval=10s", "--lease-max-age=29s"), "raise lease_max_age");
    OK("--settle-interval=10s", "--lease-max-age=30s", "--retire-watch=30s");
    refused(LOAD("--retire-watch=31m"), "retire_watch");
    OK("--retire-watch=30m");
    refused(LOAD("--heartbeat=4s"), "session_timeout");
    refused(LOAD("--max-age=5d"), "max_age_jitter");
    refused(LOAD("--retry-delays=5m,30s"), "rising");
    refused(LOAD("--retry-delays=soon"), "rising");
    OK("--retry-delays=");
    refused(LOAD("--redis-url=redis://:pw@h:1"), "password");
    assert_null(strstr(error, "pw"));
    refused(LOAD("--redis-url=http://h:1"), "redis://");
    OK("--redis-url=rediss://user@h:6379/2");
    OK("--redis-url=unix:///run/a:b@c.sock");
    refused(LOAD("--listen=9464"), "HOST:PORT");
    refused(LOAD("--listen=::1:80"), "HOST:PORT");
    refused(LOAD("--listen=a:70000"), "HOST:PORT");
    OK("--listen=[::1]:80");
    refused(LOAD("--kafka.enable.auto.commit=true"), "commits are ours");
    refused(LOAD("--kafka.group.id=x"), "set group");
    OK("--kafka.client.rack=a");
    assert_int_equal(o.n_kafka, 1);
    assert_string_equal(o.kafka[0].name, "client.rack");
    refused(LOAD("--inventory-discover=12345"), "12 digits");
    refused(LOAD("--aws-role-template=keyroll"), "arn:aws");
    refused(LOAD("--redis-prefix=a{b"), "redis_prefix");
    refused(LOAD("--topic-prefix=a b"), "topic_prefix");
    refused(LOAD("--aws-endpoint=127.0.0.1:1"), "aws_endpoint");
    refused(LOAD("--max-rotations-per-hour=0"), "max_rotations_per_hour");
    refused(LOAD("--worker-id=a b"), "worker_id");
    refused(LOAD("--aws-session-name=x y"), "aws_session_name");
}

static void test_require(void **state)
{
    (void)state;
    OK("--brokers=a:1");
    assert_int_equal(options_require(&o, OPTIONS_NEED_KAFKA, &error), 0);
    refused(options_require(&o, OPTIONS_NEED_KAFKA | OPTIONS_NEED_REDIS, &error), "redis_url is not set");
    OK("--redis-url=redis://h:1");
    refused(options_require(&o, OPTIONS_NEED_INVENTORY, &error), "inventory");
    refused((free(error), error = NULL, options_require(&o, OPTIONS_NEED_ESCROW, &error)), "escrow_key_file");
}

static void test_redis_password(void **state)
{
    (void)state;
    AUTO_SECRET struct secret *password = NULL;
    char flag[160];
    OK("--brokers=a:1");
    assert_int_equal(options_redis_password(&o, &password, &error), 0);
    assert_null(password);
    snprintf(flag, sizeof flag, "--redis-password-file=%s", write_file("password", "pw with blanks \n"));
    OK(flag);
    assert_int_equal(options_redis_password(&o, &password, &error), 0);
    assert_string_equal(secret_bytes(password), "pw with blanks ");
    secret_free(password);
    password = NULL;
    OK("--redis-password-file=/nonexistent/x");
    assert_int_equal(options_redis_password(&o, &password, &error), ERR_IO);
    char *env[] = {(char[]){"KEYROLL_REDIS_PASSWORD=p"}, NULL};
    assert_int_equal(load_with(env, (const char *const[]){"--config=", NULL}), 0);
    assert_int_equal(options_redis_password(&o, &password, &error), 0);
    assert_int_equal(secret_len(password), 1);
    refused(LOAD("--redis-password=x"), "command line");
}

/* ---- the texts in the tree ---- */

static void compare(const char *path, const struct buf *text)
{
    assert_int_equal(text->error, 0);
    if (getenv("KEYROLL_UPDATE")) {
        FILE *file = fopen(path, "w");
        assert_non_null(file);
        assert_int_equal(fwrite(text->data, 1, text->len, file), text->len);
        fclose(file);
        return;
    }
    FILE *file = fopen(path, "r");
    if (!file) fail_msg("%s is not there", path);
    char *found = calloc(1, text->len + 2);
    assert_non_null(found);
    size_t n = fread(found, 1, text->len + 1, file);
    fclose(file);
    bool same = n == text->len && memcmp(found, text->data, n) == 0;
    free(found);
    if (!same) fail_msg("%s is not what the table says: run this test with KEYROLL_UPDATE=1", path);
}

static void test_committed_texts(void **state)
{
    (void)state;
    AUTO_BUF struct buf sample, man;
    buf_init(&sample, 1 << 18);
    buf_init(&man, 1 << 18);
    options_write_sample(&sample);
    options_write_man(&man);
    compare(ROOT "/deploy/keyroll.conf", &sample);
    compare(ROOT "/deploy/man/keyroll.conf.5", &man);
}

/* Every row is in every text, with its default, and its name can be a flag, a variable and a key. */
static void test_texts_are_complete(void **state)
{
    (void)state;
    AUTO_BUF struct buf help, sample, man;
    buf_init(&help, 1 << 18);
    buf_init(&sample, 1 << 18);
    buf_init(&man, 1 << 18);
    options_write_help(OPTIONS_ALL, &help);
    options_write_sample(&sample);
    options_write_man(&man);
    for (size_t i = 0; i < options_table_len; i++) {
        const struct setting *row = &options_table[i];
        char line[200], flag[100];
        snprintf(flag, sizeof flag, "%s%s  (", row->type == SETTING_SECRET ? "" : "--", row->name);
        for (char *p = flag; *p; p++)
            if (*p == '_') *p = '-';
        if (row->type != SETTING_SECRET && !strstr(buf_str(&help), flag)) fail_msg("--help lacks %s", row->name);
        snprintf(line, sizeof line, "\n#%s =%s%s\n", row->name, row->fallback ? " " : "",
                 row->fallback ? row->fallback : "");
        if (!row->not_in_file && !strstr(buf_str(&sample), line)) fail_msg("the sample lacks %s", row->name);
        snprintf(line, sizeof line, "\n.B %s\n", row->name);
        if (!strstr(buf_str(&man), line)) fail_msg("the man page lacks %s", row->name);
        assert_int_equal(row->name[strspn(row->name, "abcdefghijklmnopqrstuvwxyz0123456789_")], 0);
        assert_true(row->programs != 0 && row->text != NULL);
        for (size_t k = 0; k < i; k++) assert_string_not_equal(row->name, options_table[k].name);
    }
    AUTO_BUF struct buf worker;
    buf_init(&worker, 1 << 18);
    options_write_help(OPTIONS_WORKER, &worker);
    assert_null(strstr(buf_str(&worker), "--max-age "));
    assert_non_null(strstr(buf_str(&worker), "--lease-ttl "));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_defaults, setup, teardown),
        cmocka_unit_test_setup_teardown(test_file_that_is_found, setup, teardown),
        cmocka_unit_test_setup_teardown(test_aws_variables, setup, teardown),
        cmocka_unit_test_setup_teardown(test_short_waits, setup, teardown),
        cmocka_unit_test_setup_teardown(test_combinations_that_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_require, setup, teardown),
        cmocka_unit_test_setup_teardown(test_redis_password, setup, teardown),
        cmocka_unit_test(test_committed_texts),
        cmocka_unit_test(test_texts_are_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
