/* keyroll topics apply: makes the topics that keyroll needs, or shows what differs. */
#include "lib/err.h"
#include "lib/kafka_admin.h"
#include "producer/command.h"
#include "producer/table.h"
#include "schema/topics.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#define NAME           "topics"
#define WAIT_MS        15000
#define SHOWN_TRIES    50
#define SHOWN_AGAIN_MS 200

static int failed(int rc, const char *what, const char *why)
{
    return command_fail(
        NAME, rc == ERR_INVALID || rc == ERR_TIMEOUT_SENT ? EXIT_USAGE : EXIT_FAILED, "%s: %s%s", what,
        why ? why : err_text(rc),
        rc == ERR_TIMEOUT_SENT ? " (the broker does not answer such requests: make the topics by its own means)" : "");
}

static const char *kind_name(enum kafka_change_kind k)
{
    static const char *const names[] = {"create", "add partitions", "set", "cannot be changed"};
    return names[k];
}

static size_t print_plan(const struct topics *t, const struct kafka_plan *plan)
{
    static const char *const heads[] = {"TOPIC", "CHANGE", "WHAT", "HAVE", "WANT"};
    AUTO_TABLE struct table out;
    size_t cannot = 0;
    table_init(&out, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < plan->n; i++) {
        const struct kafka_change *c = &plan->changes[i];
        table_add(&out, t->specs[c->spec].name);
        table_add(&out, kind_name(c->kind));
        table_add(&out, c->what);
        table_add(&out, c->have[0] ? c->have : "-");
        table_add(&out, c->want[0] ? c->want : "-");
        cannot += c->kind == KAFKA_CANNOT;
    }
    if (plan->n) table_print(&out, stdout);
    return cannot;
}

/* Brokers learn of a new topic one after the other, and refuse messages for it until they have: so "made" is only said
 * when the cluster shows it. What the broker never shows is told by the next run. */
static void wait_until_shown(struct kafka_admin *a, const struct topics *t)
{
    for (int i = 0; i < SHOWN_TRIES; i++) {
        struct kafka_plan plan = {0};
        AUTO_FREE char *why = NULL;
        size_t missing = 0;
        int rc = kafka_admin_plan(a, t->specs, t->n, &plan, &why);
        for (size_t k = 0; rc == 0 && k < plan.n; k++) missing += plan.changes[k].kind == KAFKA_CREATE;
        kafka_plan_done(&plan);
        if (rc == 0 && missing == 0) return;
        (void)poll(NULL, 0, SHOWN_AGAIN_MS);
    }
}

static int apply(struct kafka_admin *a, const struct topics *t, bool dry_run)
{
    struct kafka_plan plan = {0};
    AUTO_FREE char *why = NULL;
    int rc = kafka_admin_plan(a, t->specs, t->n, &plan, &why);
    if (rc < 0) return failed(rc, "comparing", why);
    size_t cannot = print_plan(t, &plan), n = plan.n;
    if (!dry_run && n > cannot) rc = kafka_admin_apply(a, t->specs, t->n, &plan, &why);
    kafka_plan_done(&plan);
    if (rc < 0) return failed(rc, "applying", why);
    if (!dry_run && n > cannot) wait_until_shown(a, t);
    if (n == 0) printf("%zu topics, all as they should be\n", t->n);
    if (n > cannot) printf("%zu changes %s\n", n - cannot, dry_run ? "to be made" : "made");
    if (cannot)
        return command_fail(NAME, EXIT_BAD, "%zu differences cannot be changed on a topic that exists: see above",
                            cannot);
    return EXIT_OK;
}

int cmd_topics(const struct options *o, int argc, char **argv)
{
    bool dry_run = false;
    const char *file = NULL;
    const struct command_flag flags[] = {{"--dry-run", &dry_run, NULL, NULL}, {"--file", NULL, &file, NULL}};
    struct kafka_admin *a = NULL;
    struct topics t = {0};
    AUTO_FREE char *why = NULL;
    int brokers = 0;
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc != 1 || strcmp(argv[0], "apply") != 0)
        return command_fail(NAME, EXIT_USAGE, "write keyroll topics apply [--dry-run]");
    int rc = options_require(o, OPTIONS_NEED_KAFKA, &why);
    if (rc < 0) return failed(rc, "settings", why);
    rc = kafka_admin_new(o->brokers, o->kafka, o->n_kafka, WAIT_MS, &a, &why);
    if (rc == 0) rc = kafka_admin_ping(a, &brokers, &why);
    int code = EXIT_OK;
    if (rc < 0) {
        code = failed(rc, o->brokers, why);
    } else if ((rc = topics_init(&t, o, file, brokers, &why)) < 0) {
        code = failed(rc, "topics", why);
    } else {
        code = apply(a, &t, dry_run);
    }
    topics_done(&t);
    kafka_admin_free(a);
    return code;
}
