/* keyroll pause and resume: the word that the workers ask for before every new key. What is under way goes on to its
 * end. */
#include "lib/err.h"
#include "producer/command.h"
#include "producer/held.h"
#include "schema/job.h"

#include <stdio.h>

static int set_pause(const char *name, const struct options *o, const char *account, const char *reason)
{
    struct client c;
    struct store_reply r = {0};
    struct waiter w;
    if (account && !identity_account_valid(account))
        return command_fail(name, EXIT_USAGE, "--account %s: write its 12 digits", account);
    if (client_init(&c, o, "keyroll-pause") < 0) return command_fail(name, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    int rc = client_redis(&c);
    if (rc < 0) return command_client_failed(name, &c, rc);
    rc = store_pause(&c.store, account, reason, client_ticket(&w, client_copy_reply, &r));
    rc = client_reply(&c, rc, &w, &r, "Redis");
    if (rc < 0) return command_client_failed(name, &c, rc);
    client_done(&c);
    printf("%s: %s%s%s\n", account ? account : "all accounts", reason ? "no new key is made: " : "goes on",
           reason ? reason : "", "");
    return EXIT_OK;
}

int cmd_pause(const struct options *o, int argc, char **argv)
{
    const char *account = NULL, *reason = NULL;
    const struct command_flag flags[] = {{"--account", NULL, &account, NULL}, {"--reason", NULL, &reason, NULL}};
    char text[RECORD_TEXT_MAX], by[JOB_BY_MAX];
    if (!command_flags("pause", flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc) return command_fail("pause", EXIT_USAGE, "takes no arguments: %s", argv[0]);
    person_name(by, sizeof by);
    snprintf(text, sizeof text, "%.120s (%.40s)", reason ? reason : "no reason given", by);
    return set_pause("pause", o, account, text);
}

int cmd_resume(const struct options *o, int argc, char **argv)
{
    const char *account = NULL;
    const struct command_flag flags[] = {{"--account", NULL, &account, NULL}};
    if (!command_flags("resume", flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc) return command_fail("resume", EXIT_USAGE, "takes no arguments: %s", argv[0]);
    return set_pause("resume", o, account, NULL);
}
