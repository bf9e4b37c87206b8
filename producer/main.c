/* keyroll: the scheduler and the operators' commands. main() finds the command in its table, reads the settings and
 * hands over. */
#include "lib/err.h"
#include "lib/harden.h"
#include "lib/log.h"
#include "producer/command.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct command commands[] = {
    {"up", "", "all of it on this machine: Kafka, Redis, scheduler, worker; to try it out, for small fleets",
     "Runs in the foreground until SIGTERM or Ctrl-C, then stops everything in order. Its Redis data, escrow key, "
     "logs\n"
     "and endpoints are in state_dir, where the other commands find them. Settings given here hold for all of it.\n"
     "Good for some hundred licences: its Kafka keeps everything in memory and forgets it when it ends.\n"
     "Exit codes: 0 stopped as asked, 1 could not start, 2 usage or settings.\n",
     NULL},
    {"schedule", "", "the scheduler: decides what is due and publishes it, until SIGTERM",
     "Runs in the foreground and logs JSON lines to stderr. Several may run: one leads, the others stand by.\n"
     "SIGHUP reads the inventory again; so does a change of the file. SIGTERM ends it, a second one at once.\n"
     "Exit codes: 0 ended as asked, 1 could not start or a fatal error, 2 wrong settings.\n",
     cmd_schedule},
    {"plan", "[LICENCE...] [--all] [--json]", "who is due, why and when; changes nothing",
     "Shows what the scheduler would publish now, in its order; --all also what is not due yet.\n"
     "In mode observe it shows what would be done in mode rotate, as \"held\".\n"
     "Exit codes: 0 shown, 1 could not (Redis or inventory), 2 usage or settings.\n",
     cmd_plan},
    {"rotate", "LICENCE... [--wait] [--exposed]", "rotates now, before all scheduled work",
     "--exposed  the key in use has leaked: it is set Inactive as soon as its successor is proven, without an "
     "overlap.\n"
     "--wait     ends when every licence is rotated (the old key then stays Active for its overlap), or needs a "
     "person.\n"
     "Refused in mode observe.\n"
     "Exit codes: 0 published, or rotated (--wait); 1 could not be published; 2 usage or settings; 3 --wait: a licence "
     "was not\n"
     "rotated: it failed, needs a person, or is put off (paused, no free key slot), with the reason.\n",
     cmd_rotate},
    {"status", "[LICENCE...] [--json]", "state, keys and next step of each licence",
     "Exit codes: 0 shown, 1 could not (Redis, inventory, unknown licence), 2 usage or settings.\n", cmd_status},
    {"audit", "LICENCE... [--json]", "looks at user, keys and instance, live; changes nothing",
     "Asks AWS and the instance now: keys with status, age and last use, the key in the instance, its test, STS and "
     "the bucket\n"
     "where the pair is at hand, and what keyroll would do next.\n"
     "Exit codes: 0 all is well, 1 could not, 2 usage or settings, 3 something is wrong.\n",
     cmd_audit},
    {"reveal", "LICENCE [--to FILE]", "assisted mode: shows the new pair, to be pasted into the instance",
     "Writes the pair into a new file of mode 0600, or to the terminal. Who asked is recorded. May be repeated until "
     "the instance\n"
     "uses the new key.\n"
     "Exit codes: 0 shown, 1 could not (nothing waits, a server is away), 2 usage or settings.\n",
     cmd_reveal},
    {"confirm", "LICENCE", "assisted mode: the pair is pasted, look now",
     "Makes a worker look at the instance at once. It is no proof: what the instance shows counts.\n"
     "Exit codes: 0 published, 1 could not, 2 usage or settings.\n",
     cmd_confirm},
    {"adopt", "LICENCE [--replaced KEY]... [--leave KEY]... [--current KEY] [--force]",
     "accepts what is there, after drift or for odd keys",
     "The key that the instance uses becomes the current one. Every other key must be named:\n"
     "--replaced KEY  was in use before: it is set Inactive after the overlap and deleted after the quarantine\n"
     "--leave KEY     is left alone\n"
     "--current KEY   the key in use, where the instance does not show it\n"
     "--force         also while a rotation is open: closes it; the sealed secret of its new key is lost\n"
     "Exit codes: 0 adopted, 1 refused or could not, 2 usage or settings.\n",
     cmd_adopt},
    {"pause", "[--account A] [--reason TEXT]", "no new key is made until resume; what is under way goes on",
     "Exit codes: 0 done, 1 could not, 2 usage or settings.\n", cmd_pause},
    {"resume", "[--account A]", "ends a pause", "Exit codes: 0 done, 1 could not, 2 usage or settings.\n", cmd_resume},
    {"inventory", "check [FILE]", "checks an inventory file, row by row",
     "Exit codes: 0 all rows are good, 1 the file cannot be read, 2 usage or settings, 3 bad rows.\n", cmd_inventory},
    {"topics", "apply [--dry-run] [--file FILE]", "makes the Kafka topics, or shows what differs",
     "--file  another list of topics of the same form as schema/topics.json\n"
     "Exit codes: 0 as they should be, 1 Kafka cannot be reached or refuses, 2 usage, or a broker that cannot make "
     "topics,\n"
     "3 something differs that cannot be changed here.\n",
     cmd_topics},
    {"escrow", "rekey [--dry-run]", "seals all pairs that wait in Redis again, under the first escrow key",
     "To change the master key: put the new file first in escrow_key_file, behind it the old ones; restart scheduler "
     "and\n"
     "workers with it; run this; when it ends with 0 nothing names the old keys any more, and they may go.\n"
     "May be interrupted, and run again, at any time. Users that are being worked on are waited for, some seconds "
     "each.\n"
     "--dry-run  counts what lies under which key, changes nothing\n"
     "Exit codes: 0 nothing is left under another key, 1 could not (Redis, key files), 2 usage or settings,\n"
     "3 something is left: a user is being worked on, or a pair cannot be opened with these keys; see above.\n",
     cmd_escrow},
    {"doctor", "[LICENCE] [--json]", "checks everything that keyroll needs, and says what to do",
     "Changes nothing. One line per check; one instance is asked for its version: the one named, else the first.\n"
     "Exit codes: 0 all is well, 1 could not, 2 usage or settings, 3 a check fails.\n",
     cmd_doctor},
    {"version", "[--json]", "own and library versions, and combinations known to be bad",
     "Exit codes: 0 fine, 2 usage or settings, 3 a combination is known to be bad.\n", cmd_version},
};

static void print_usage(FILE *out)
{
    fprintf(out, "usage: keyroll COMMAND [ARGUMENTS] [SETTINGS]\n\nRolls the AWS access keys of a fleet of Synergist "
                 "cloud instances.\n\ncommands:\n");
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    fprintf(out, "\nkeyroll COMMAND --help tells more of one, keyroll --help of the settings.\n");
    fprintf(out, "Exit codes of all commands: 0 done, 1 could not be done, 2 wrong usage or settings, 3 done, with a "
                 "bad result.\n");
}

static int print_help(const struct command *c)
{
    AUTO_BUF struct buf text;
    buf_init(&text, 1 << 20);
    if (c) {
        printf("usage: keyroll %s %s%s[SETTINGS]\n\n%s.\n\n%s\n", c->name, c->args, c->args[0] ? " " : "", c->summary,
               c->help);
    } else {
        print_usage(stdout);
        putchar('\n');
    }
    options_write_help(OPTIONS_ALL, &text);
    fputs(buf_str(&text), stdout);
    return text.error ? EXIT_FAILED : EXIT_OK;
}

static const struct command *find_command(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(commands); i++)
        if (strcmp(commands[i].name, name) == 0) return &commands[i];
    return NULL;
}

static bool asks_for(int argc, char **argv, const char *flag, const char *letter)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++)
        if (strcmp(argv[i], flag) == 0 || (letter && strcmp(argv[i], letter) == 0)) return true;
    return false;
}

/* The command is the first word: settings may only stand behind it. */
static int run(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : NULL;
    const struct command *c = name ? find_command(name) : NULL;
    if (name && strcmp(name, "help") == 0) return print_help(argc > 2 ? find_command(argv[2]) : NULL);
    if (asks_for(argc, argv, "--help", "-h")) return print_help(c);
    if (name && (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)) {
        printf("keyroll %s\n", KEYROLL_VERSION);
        return EXIT_OK;
    }
    if (!c) {
        if (name) fprintf(stderr, "keyroll: there is no command \"%s\"\n", name);
        print_usage(stderr);
        return EXIT_USAGE;
    }
    if (!c->run) return cmd_up(argc - 1, argv + 1); /* reads its own settings */
    struct options o;
    AUTO_FREE char *why = NULL;
    int n = argc - 1;
    int rc = options_load(&o, OPTIONS_ALL, &n, argv + 1, environ, &why);
    if (rc < 0) {
        fprintf(stderr, "keyroll: %s\n", why ? why : err_text(rc));
        options_done(&o);
        return EXIT_USAGE;
    }
    log_open(STDERR_FILENO, (enum log_level)o.log_level, "keyroll", o.worker_id);
    int code = c->run(&o, n - 1, argv + 2);
    options_done(&o);
    return code;
}

int main(int argc, char **argv)
{
    harden_process();
    signal(SIGPIPE, SIG_IGN);
    int code = run(argc, argv);
    if (fflush(stdout) != 0 && code == 0) code = EXIT_FAILED;
    return code;
}
