/* The list of topics: names, retry delays, small clusters, files of one's own. */
#include "lib/err.h"
#include "schema/options.h"
#include "schema/topics.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static struct options o;
static struct topics t;
static char *reason;

static int setup(void **state)
{
    (void)state;
    char *argv[] = {(char[]){"test"}, (char[]){"--config="}, (char[]){"--topic-prefix=kr"},
                    (char[]){"--retry-delays=10s,1m,1h"}, NULL};
    int argc = 4;
    return options_load(&o, OPTIONS_ALL, &argc, argv, NULL, &reason);
}

static int teardown(void **state)
{
    (void)state;
    options_done(&o);
    free(reason);
    reason = NULL;
    return 0;
}

static const char *setting(const struct kafka_topic_spec *s, const char *name)
{
    for (size_t i = 0; i < s->n_config; i++)
        if (strcmp(s->config[i].name, name) == 0) return s->config[i].value;
    return "";
}

static const struct kafka_topic_spec *find(const char *name)
{
    for (size_t i = 0; i < t.n; i++)
        if (strcmp(t.specs[i].name, name) == 0) return &t.specs[i];
    fail_msg("no topic %s", name);
    return NULL;
}

static void test_built_in(void **state)
{
    (void)state;
    assert_int_equal(topics_init(&t, &o, NULL, 0, &reason), 0);
    const char *const expected[] = {o.topic_jobs,     o.topic_urgent,   o.topic_dead,     o.topic_events,
                                    o.topic_keys,     o.topic_retry[0], o.topic_retry[1], o.topic_retry[2],
                                    o.topic_triggers, o.topic_campaigns};
    assert_int_equal(t.n, ARRAY_LEN(expected));
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_int_equal(find(expected[i])->replication, 3);
        assert_string_equal(setting(find(expected[i]), "min.insync.replicas"), "2");
    }
    assert_int_equal(find("kr.jobs")->partitions, 24);
    assert_string_equal(setting(find("kr.keys"), "cleanup.policy"), "compact");
    topics_done(&t);
}

static void test_small_clusters(void **state)
{
    (void)state;
    assert_int_equal(topics_init(&t, &o, NULL, 1, &reason), 0);
    assert_int_equal(find("kr.jobs")->replication, 1);
    assert_string_equal(setting(find("kr.jobs"), "min.insync.replicas"), "1");
    topics_done(&t);
    assert_int_equal(topics_init(&t, &o, NULL, 2, &reason), 0);
    assert_int_equal(find("kr.jobs")->replication, 2);
    assert_string_equal(setting(find("kr.jobs"), "min.insync.replicas"), "1");
    topics_done(&t);
    assert_int_equal(topics_init(&t, &o, NULL, 9, &reason), 0);
    assert_int_equal(find("kr.jobs")->replication, 3);
    topics_done(&t);
}

static void refuses(const char *text, int rc)
{
    char path[64];
    snprintf(path, sizeof path, "/tmp/keyroll-test-topics-%ld.json", (long)getpid());
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fputs(text, file);
    fclose(file);
    free(reason);
    assert_int_equal(topics_init(&t, &o, path, 3, &reason), rc);
    unlink(path);
    assert_non_null(reason);
    assert_null(t.specs);
}

static void test_dead_letters_outlive_quarantines(void **state)
{
    (void)state;
    free(reason);
    o.quarantine_ms = 90 * 86400000LL; /* as long as they are kept */
    assert_int_equal(topics_init(&t, &o, NULL, 0, &reason), ERR_INVALID);
    assert_non_null(strstr(reason, "retention.ms"));
    o.quarantine_ms = 88 * 86400000LL;
    free(reason);
    assert_int_equal(topics_init(&t, &o, NULL, 0, &reason), 0);
    topics_done(&t);
}

static void test_files_that_are_refused(void **state)
{
    (void)state;
    refuses("{", ERR_SYNTAX);
    refuses("{}", ERR_INVALID);
    refuses("{\"replication_factor\": 1, \"topics\": [{}]}", ERR_INVALID);
    refuses("{\"replication_factor\": 1, \"topics\": [{\"name\": \"a\", \"partitions\": 0}]}", ERR_INVALID);
    refuses("{\"replication_factor\": 1, \"topics\": [{\"name\": \"a\", \"partitions\": 1, \"config\": "
            "{\"retention.ms\": 5}}]}",
            ERR_INVALID);
    free(reason);
    assert_int_equal(topics_init(&t, &o, "/nonexistent/topics.json", 3, &reason), ERR_IO);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_built_in),
        cmocka_unit_test(test_small_clusters),
        cmocka_unit_test(test_files_that_are_refused),
        cmocka_unit_test(test_dead_letters_outlive_quarantines),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
