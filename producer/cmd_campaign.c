/* keyroll campaign start, pause, resume, stop: writes what is wanted; the scheduler does it. list and show are in
 * campaign_show.c. */
#include "lib/err.h"
#include "producer/campaign_cmd.h"
#include "producer/command.h"
#include "producer/filter.h"
#include "producer/fleet.h"
#include "producer/table.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NAME      CAMPAIGN_COMMAND
#define LIST_MAX  (4 << 20)
#define NOT_FOUND 5 /* unknown licences named, then counted */

struct start {
    const char *name, *filter, *file, *reason, *waves, *pace, *stop;
    bool all, dry_run;
};

/* ---- start: what is asked for ---- */

static int read_choices(const struct start *s, struct campaign *doc)
{
    if (!s->name || !campaign_name_valid(s->name))
        return command_fail(NAME, EXIT_USAGE, "--name: 1 to 64 letters, digits, dots, dashes or underscores");
    if (s->all + (s->filter != NULL) + (s->file != NULL) != 1)
        return command_fail(NAME, EXIT_USAGE, "say for whom: one of --all, --filter, --file");
    snprintf(doc->name, sizeof doc->name, "%s", s->name);
    doc->reason = s->reason ? campaign_reason_parse(s->reason) : CAMPAIGN_OPERATOR;
    doc->selector = s->all ? CAMPAIGN_ALL : s->filter ? CAMPAIGN_FILTER : CAMPAIGN_LIST;
    if (doc->reason < 0)
        return command_fail(NAME, EXIT_USAGE, "--reason %s: operator, scheduled or exposed", s->reason);
    if (campaign_pace(s->pace ? s->pace : "off", &doc->pace_milli) < 0)
        return command_fail(NAME, EXIT_USAGE, "--pace %s: write for example 2/s, 30/m, 100/h or off", s->pace);
    if (campaign_share(s->stop ? s->stop : "2%", &doc->stop_share) < 0)
        return command_fail(NAME, EXIT_USAGE, "--stop-at-failures %s: write for example 2%%, 0.5%% or off", s->stop);
    const char *waves = s->waves ? s->waves : doc->reason == CAMPAIGN_EXPOSED ? "100%" : "1,10,100%";
    if (strlen(waves) >= sizeof doc->waves) return command_fail(NAME, EXIT_USAGE, "--waves: too long");
    snprintf(doc->waves, sizeof doc->waves, "%s", waves);
    if (s->filter && (strlen(s->filter) >= sizeof doc->filter || !message_printable(s->filter)))
        return command_fail(NAME, EXIT_USAGE, "--filter: at most %zu printable characters", sizeof doc->filter - 1);
    if (s->filter) snprintf(doc->filter, sizeof doc->filter, "%s", s->filter);
    return EXIT_OK;
}

static int add_line(struct buf *list, const char *path, unsigned line, char *text)
{
    text[strcspn(text, "\r\n#")] = '\0';
    char *begin = text + strspn(text, " \t"), *end = begin + strcspn(begin, " \t,");
    if (begin == end) return EXIT_OK;
    *end = '\0';
    if (!identity_licence_valid(begin))
        return command_fail(NAME, EXIT_FAILED, "%s line %u: \"%.60s\" is no licence", path, line, begin);
    return buf_addf(list, "%s\n", begin) < 0
               ? command_fail(NAME, EXIT_FAILED, "%s: too long: at most %d bytes", path, LIST_MAX)
               : EXIT_OK;
}

static int read_list(const char *path, struct campaign *doc)
{
    AUTO_BUF struct buf list;
    char text[1024];
    unsigned line = 0;
    int code = EXIT_OK;
    FILE *f = fopen(path, "re");
    if (!f) return command_fail(NAME, EXIT_FAILED, "%s: %s", path, strerror(errno));
    buf_init(&list, LIST_MAX);
    while (code == EXIT_OK && fgets(text, sizeof text, f)) code = add_line(&list, path, ++line, text);
    if (code == EXIT_OK && ferror(f)) code = command_fail(NAME, EXIT_FAILED, "%s: cannot be read", path);
    fclose(f);
    if (code != EXIT_OK) return code;
    if (!list.len) return command_fail(NAME, EXIT_FAILED, "%s: names no licence", path);
    doc->list = strdup(buf_str(&list));
    return doc->list ? EXIT_OK : command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
}

/* ---- start: what comes of it ---- */

static void name_unknown(const struct campaign *doc, const struct inventory *inv)
{
    int shown = 0;
    for (const char *p = doc->list, *end; p && (end = strchr(p, '\n')) && shown < NOT_FOUND; p = end + 1) {
        char name[IDENTITY_LICENCE_MAX];
        snprintf(name, sizeof name, "%.*s", (int)(end - p), p);
        if (!inventory_find(inv, name)) shown += fprintf(stderr, "  %s\n", name) > 0;
    }
}

/* The slowest of the pace and our own limits says how long it takes at least. */
static void tell_time(const struct options *o, const struct campaign *doc, size_t n)
{
    const bool hurry = doc->reason == CAMPAIGN_EXPOSED; /* waits for no allowance */
    const struct {
        const char *what;
        double per_s; /* 0: no limit */
    } limits[] = {{"its pace", (double)doc->pace_milli / 1000},
                  {"max_rotations_per_hour", hurry ? 0 : (double)o->max_rotations_per_hour / 3600},
                  {"plan_publish_rate", o->plan_publish_rate}};
    char text[TABLE_TIME_MAX];
    size_t slowest = 0;
    for (size_t i = 1; i < ARRAY_LEN(limits); i++)
        if (limits[i].per_s > 0 && (limits[slowest].per_s <= 0 || limits[i].per_s < limits[slowest].per_s)) slowest = i;
    if (limits[slowest].per_s <= 0) return;
    table_span((int64_t)((double)n / limits[slowest].per_s * 1000), text);
    printf("it takes %s at least, by %s\n", text, limits[slowest].what);
}

static int show_start(const struct options *o, const struct campaign *doc, const struct inventory *inv)
{
    size_t bounds[CAMPAIGN_STEPS_MAX];
    char reason[200] = "";
    struct campaign_members m;
    int rc = campaign_members_find(doc, inv, &m, reason);
    if (rc < 0)
        return command_fail(NAME, rc == ERR_SYNTAX ? EXIT_USAGE : EXIT_FAILED, "%s", reason[0] ? reason : err_text(rc));
    size_t n = m.n, unknown = m.unknown;
    campaign_members_done(&m);
    int waves = campaign_waves(doc->waves, n, bounds, reason);
    if (waves < 0) return command_fail(NAME, EXIT_USAGE, "--%s", reason);
    if (unknown) {
        int code = command_fail(NAME, EXIT_FAILED, "the inventory does not have %zu of the licences:", unknown);
        name_unknown(doc, inv);
        return code;
    }
    if (n == 0) return command_fail(NAME, EXIT_FAILED, "no licence of the inventory is meant");
    printf("campaign %s: %zu licences in %d wave%s (", doc->name, n, waves, waves == 1 ? "" : "s");
    for (int i = 0; i < waves; i++) printf("%s%zu", i ? ", " : "", bounds[i]);
    printf("), reason %s\n", campaign_reason_name(doc->reason));
    tell_time(o, doc, n);
    return EXIT_OK;
}

static int start(const struct options *o, const struct start *s)
{
    AUTO_CAMPAIGN struct campaign *doc = calloc(1, sizeof *doc);
    struct inventory *inv = NULL;
    struct client c;
    if (!doc) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    int code = read_choices(s, doc);
    if (code == EXIT_OK && s->file) code = read_list(s->file, doc);
    if (code != EXIT_OK) return code;
    if (o->mode == OPTIONS_OBSERVE)
        return command_fail(
            NAME, EXIT_FAILED,
            "mode = observe: keyroll changes no key; set mode = rotate for scheduler and workers first");
    if (client_init(&c, o, "keyroll-campaign") < 0) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    int rc = fleet_load_now(&c, false, &inv);
    if (rc == 0) code = show_start(o, doc, inv);
    inventory_free(inv);
    if (rc == 0 && code == EXIT_OK && !s->dry_run) {
        doc->created_at_ms = clock_wall_ms(&clock_system);
        rc = client_redis(&c);
        if (rc == 0) rc = campaign_set(&c, doc, 0);
        if (rc == 0) printf("started; see keyroll campaign show %s --watch\n", doc->name);
    }
    if (rc < 0) return command_client_failed(NAME, &c, rc);
    client_done(&c);
    return code;
}

static int cmd_start(const struct options *o, int argc, char **argv)
{
    struct start s = {0};
    const struct command_flag flags[] = {
        {"--name", NULL, &s.name, NULL},      {"--all", &s.all, NULL, NULL},
        {"--filter", NULL, &s.filter, NULL},  {"--file", NULL, &s.file, NULL},
        {"--reason", NULL, &s.reason, NULL},  {"--waves", NULL, &s.waves, NULL},
        {"--pace", NULL, &s.pace, NULL},      {"--stop-at-failures", NULL, &s.stop, NULL},
        {"--dry-run", &s.dry_run, NULL, NULL}};
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc) return command_fail(NAME, EXIT_USAGE, "start takes no arguments: %s", argv[0]);
    return start(o, &s);
}

/* ---- pause, resume, stop ---- */

static int set_state(const struct options *o, const char *name, enum campaign_state state, const char *why)
{
    struct campaign doc = {.list = NULL};
    struct client c;
    if (client_init(&c, o, "keyroll-campaign") < 0) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    int rc = campaign_get(&c, name, &doc);
    bool over = rc == 0 && doc.state == CAMPAIGN_DONE;
    if (over) rc = client_fail(&c, ERR_INVALID, "campaign %s is done", name);
    if (rc == 0) {
        doc.state = (int)state;
        message_words(doc.why, sizeof doc.why, why ? why : "");
        rc = campaign_set(&c, &doc, doc.revision);
    }
    campaign_done(&doc);
    if (rc < 0) return command_client_failed(NAME, &c, over ? ERR_NOT_FOUND : rc);
    client_done(&c);
    printf("campaign %s: %s\n", name, campaign_state_name(state));
    return EXIT_OK;
}

static int cmd_state(const struct options *o, int argc, char **argv, enum campaign_state state)
{
    const char *why = NULL;
    const struct command_flag flags[] = {{"--reason", NULL, &why, NULL}};
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc != 1) return command_fail(NAME, EXIT_USAGE, "name one campaign");
    return set_state(o, argv[0], state, why);
}

/* ---- the command ---- */

int cmd_campaign(const struct options *o, int argc, char **argv)
{
    static const struct {
        const char *verb;
        enum campaign_state state;
    } states[] = {{"pause", CAMPAIGN_PAUSED}, {"resume", CAMPAIGN_RUNNING}, {"stop", CAMPAIGN_STOPPED}};
    bool json = false, watch = false;
    const char *verb = argc ? argv[0] : "";
    if (argc) {
        argc--;
        argv++;
    }
    if (strcmp(verb, "start") == 0) return cmd_start(o, argc, argv);
    for (size_t i = 0; i < ARRAY_LEN(states); i++)
        if (strcmp(verb, states[i].verb) == 0) return cmd_state(o, argc, argv, states[i].state);
    const struct command_flag flags[] = {{"--json", &json, NULL, NULL}, {"--watch", &watch, NULL, NULL}};
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (strcmp(verb, "list") == 0 && argc == 0 && !watch) return campaign_cmd_list(o, json);
    if (strcmp(verb, "show") == 0 && argc == 1) return campaign_cmd_show(o, argv[0], json, watch);
    return command_fail(
        NAME, EXIT_USAGE,
        "write start, list, show NAME, pause NAME, resume NAME or stop NAME; see keyroll campaign --help");
}
