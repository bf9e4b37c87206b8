/* keyroll: the scheduler and the operators' commands. main() finds the command in its table, reads the settings and
 * hands over. */
#include "lib/err.h"
#include "lib/harden.h"
#include "lib/log.h"
#include "producer/command.h"
#include "producer/manpage.h"

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
    {"schedule", "[--once]", "the scheduler: decides what is due and publishes it, until SIGTERM",
     "Runs in the foreground and logs JSON lines to stderr. Several may run: one leads, the others stand by.\n"
     "SIGHUP reads the inventory again; so does a change of the file. SIGTERM ends it, a second one at once.\n"
     "--once  looks at the fleet once, publishes what is due and ends; also when another one leads. For a cron job:\n"
     "        what is published and not yet done is published again by each run, which does no harm.\n"
     "Exit codes: 0 ended as asked, 1 could not start, a fatal error, or --once: a job could not be published, 2 "
     "wrong\n"
     "settings.\n",
     cmd_schedule},
    {"plan", "[LICENCE...] [--all] [--at TIME] [--days N] [--json]", "who is due, why and when; changes nothing",
     "Shows what the scheduler would publish now, in its order, and what waits for a window; --all also what is not "
     "due "
     "yet.\n"
     "--at TIME  as if it were this time: 2026-12-24T18:00:00Z, or a date; with --days what is done until then counts\n"
     "--days N   the coming days instead: rotations, retirements and deletions per day, with windows, exclusions and\n"
     "           max_rotations_per_hour\n"
     "In mode observe it shows what would be done in mode rotate, as \"held\".\n"
     "Exit codes: 0 shown, 1 could not (Redis or inventory), 2 usage or settings.\n",
     cmd_plan},
    {"policy", "check [FILE] | diff FILE [--all] [--at TIME] [--days N] [--json]",
     "checks a policy file, or shows what it would change",
     "check  tells all faults of FILE (policy_file when none is named), and where it does not fit the inventory\n"
     "diff   compares FILE with what is in force: whose next rotation moves, and the coming days (30, --days) side by "
     "side\n"
     "Exit codes: 0 good, or shown; 1 could not; 2 usage or settings; 3 the file is bad.\n",
     cmd_policy},
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
    {"dead",
     "list | show [ID...] | replay [ID...] | drop [ID...] --reason TEXT [FILTER...] [--all] [--dry-run] [--json]",
     "jobs that failed for good: see them, try them again, give them up",
     "list    open letters, one line per job; --closed also those that were replayed, dropped or resolved\n"
     "show    one with its whole history\n"
     "replay  publishes the jobs again, the oldest first; each goes on where its journal says. --limit N, --pace R/s "
     "(10)\n"
     "drop    gives them up; the reason is kept on the events topic\n"
     "Filters: --class retriable|unknown|permanent|fatal, --code CODE, --step STEP, --account A, --licence PATTERN\n"
     "(shell pattern), --older AGE, --younger AGE. replay and drop want an ID, a filter or --all. ID: as list shows "
     "it, "
     "or a job's.\n"
     "A letter whose licence became well again is resolved by itself.\n"
     "Exit codes: 0 done; 1 could not; 2 usage or settings; 3 replay: some cannot be replayed, with the reason.\n",
     cmd_dead},
    {"pause", "[--account A] [--reason TEXT]", "no new key is made until resume; what is under way goes on",
     "Exit codes: 0 done, 1 could not, 2 usage or settings.\n", cmd_pause},
    {"resume", "[--account A]", "ends a pause", "Exit codes: 0 done, 1 could not, 2 usage or settings.\n", cmd_resume},
    {"campaign",
     "start --name N (--all | --filter EXPR | --file F) [...] | list | show N [--watch] | pause N | resume N | stop N",
     "rotates many licences, in waves, and stops by itself when too many fail",
     "start   --name N          letters, digits, dots, dashes, underscores\n"
     "        --all, --filter EXPR, --file F: for whom. EXPR: COLUMN=VALUE, !=, ~GLOB, !~GLOB, separated by commas, "
     "all\n"
     "        must hold; columns are those of the inventory. F: one licence per line\n"
     "        --reason R         operator (the default); scheduled; exposed: the keys have leaked, each goes Inactive "
     "as\n"
     "                           soon as its successor is proven\n"
     "        --waves W          how many may have begun: 1,10,100% (the default; exposed: 100%). The next wave "
     "begins\n"
     "                           when all of the last ended\n"
     "        --pace R           new licences per time, 2/s, 30/m, 100/h; off (the default)\n"
     "        --stop-at-failures S  share of failed among ended, 2% (the default), 0.5%, off\n"
     "        --dry-run          only shows who is meant and how long it takes\n"
     "show    how far it is, rate and time left, failures by reason; --watch until it ends; --json\n"
     "pause, resume, stop: nothing new is begun; what is under way goes on. --reason TEXT is kept\n"
     "Exit codes: 0 done, 1 could not, 2 usage or settings, 3 show: it was stopped, or some failed.\n",
     cmd_campaign},
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
        printf("usage: keyroll %s %s%s[SETTINGS]\n\n%s.\n\n%s\nSettings: keyroll --help, keyroll.conf(5).\n", c->name,
               c->args, c->args[0] ? " " : "", c->summary, c->help);
        return EXIT_OK;
    }
    print_usage(stdout);
    putchar('\n');
    options_write_help(OPTIONS_ALL, &text);
    fputs(buf_str(&text), stdout);
    return text.error ? EXIT_FAILED : EXIT_OK;
}

/* For deploy/man/keyroll.1; a test compares. */
static int print_man(void)
{
    AUTO_BUF struct buf text;
    buf_init(&text, 1 << 20);
    manpage_write(commands, ARRAY_LEN(commands), &text);
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
    if (name && strcmp(name, "help") == 0 && argc > 2 && strcmp(argv[2], "--man") == 0) return print_man();
    if (name && strcmp(name, "help") == 0) return print_help(argc > 2 ? find_command(argv[2]) : NULL);
    if (asks_for(argc, argv, "--help", "-h")) return print_help(c);
    if (name && (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0)) {
        printf("keyroll %s\n", KEYROLL_VERSION);
        return EXIT_OK;
    }
    if (!c && name) {
        fprintf(stderr, "keyroll: there is no command \"%s\"; see keyroll --help\n", name);
        return EXIT_USAGE;
    }
    if (!c) {
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
