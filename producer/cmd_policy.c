/* keyroll policy check | diff: what is wrong with a policy file, and what it would change, before it is put in place.
 */
#include "lib/err.h"
#include "lib/settings.h"
#include "producer/command.h"
#include "producer/fleet.h"
#include "producer/foresee.h"
#include "producer/table.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME   "policy"
#define DAYS   30
#define SHOWN  50 /* licences without --all */
#define DAY_MS 86400000LL

static int out_of_memory(void)
{
    return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
}

/* ---- check ---- */

static void tell(void *arg, const char *path, const char *reason)
{
    printf("%s%s%s: %s\n", (const char *)arg, *path ? ", " : "", path, reason);
}

/* Beside the file itself: does the inventory name what it has? */
static int check_inventory(const struct options *o, struct policies *p, const char *file, size_t *ret_faults)
{
    struct client c;
    AUTO_INVENTORY struct inventory *inv = NULL;
    if (!o->inventory) return EXIT_OK;
    if (client_init(&c, o, "keyroll-policy") < 0) return out_of_memory();
    int rc = fleet_load_now(&c, false, &inv);
    if (rc < 0) return command_client_failed(NAME, &c, rc);
    *ret_faults = policies_check(p, inv, tell, (void *)(uintptr_t)file);
    client_done(&c);
    return EXIT_OK;
}

static int check(const struct options *o, const char *file)
{
    AUTO_POLICIES struct policies *p = NULL;
    size_t faults = 0;
    int rc = policies_new(o, file, tell, (void *)(uintptr_t)file, &p);
    if (rc == ERR_IO || rc == ERR_NOMEM) return command_fail(NAME, EXIT_FAILED, "%s: %s", file, err_text(rc));
    if (rc < 0) return EXIT_BAD;
    int code = check_inventory(o, p, file, &faults);
    if (code != EXIT_OK) return code;
    const struct policy_file *f = policies_file(p);
    printf("%s: %zu policies, %zu canaries, %zu exclusions; %s\n", file, f->n_policies, f->n_canaries, f->n_exclusions,
           faults ? "does not fit the inventory, see above" : "good");
    return faults ? EXIT_BAD : EXIT_OK;
}

/* ---- diff ---- */

struct change {
    const struct inventory_row *row;
    int64_t before_ms, after_ms; /* next scheduled rotation; TIME_NONE: not foreseen */
    char why[RECORD_TEXT_MAX];
};
struct diff {
    struct client *c;
    struct policies *before, *after;
    struct foresee days_before, days_after;
    struct change *changes;
    size_t n, sooner, later, stopped, started;
    size_t due_before, due_after;
};

static void explain(const struct policy *p, int64_t after_ms, char *out, size_t size)
{
    out[0] = '\0';
    if (after_ms == TIME_NONE)
        snprintf(out, size, "%s", p->blocked ? p->blocked : "no window opens");
    else if (p->excluded && after_ms >= p->excluded_until_ms)
        snprintf(out, size, "excluded until then: %s", p->excluded);
    else if (p->canary)
        snprintf(out, size, "canary");
}

static int compare(void *arg, size_t i, const struct inventory_row *row, const struct store_peek *u)
{
    struct diff *d = arg;
    struct policy before, after;
    int64_t now = d->days_after.at_ms;
    (void)i;
    policies_for(d->before, row, &before);
    policies_for(d->after, row, &after);
    struct change c = {.row = row,
                       .before_ms = forecast_next_ms(&before, row->licence, u, now),
                       .after_ms = forecast_next_ms(&after, row->licence, u, now)};
    d->due_before += c.before_ms != TIME_NONE && c.before_ms <= now;
    d->due_after += c.after_ms != TIME_NONE && c.after_ms <= now;
    if (u->err) return 0;
    int rc = forecast_add(d->days_before.forecast, &before, row->licence, u, NULL);
    if (rc == 0) rc = forecast_add(d->days_after.forecast, &after, row->licence, u, NULL);
    if (rc < 0 || c.before_ms == c.after_ms) return rc;
    explain(&after, c.after_ms, c.why, sizeof c.why);
    d->stopped += c.after_ms == TIME_NONE;
    d->started += c.before_ms == TIME_NONE;
    d->sooner += c.before_ms != TIME_NONE && c.after_ms != TIME_NONE && c.after_ms < c.before_ms;
    d->later += c.before_ms != TIME_NONE && c.after_ms != TIME_NONE && c.after_ms > c.before_ms;
    d->changes[d->n++] = c;
    return 0;
}

static int run_diff(struct diff *d, const struct inventory *inv)
{
    const struct options *o = d->c->o;
    size_t total = inventory_count(inv);
    const struct forecast_options fo = {d->days_after.at_ms, d->days_after.days, o->max_rotations_per_hour,
                                        o->overlap_ms, o->quarantine_ms};
    AUTO_FREE const struct inventory_row **rows = calloc(total + 1, sizeof *rows);
    d->changes = calloc(total + 1, sizeof *d->changes);
    d->days_before.forecast = forecast_new(&fo);
    d->days_after.forecast = forecast_new(&fo);
    if (!rows || !d->changes || !d->days_before.forecast || !d->days_after.forecast) return ERR_NOMEM;
    for (size_t i = 0; i < total; i++) rows[i] = inventory_row(inv, i);
    int rc = foresee_peek(d->c, rows, total, compare, d);
    if (rc == 0) rc = forecast_run(d->days_before.forecast);
    return rc < 0 ? rc : forecast_run(d->days_after.forecast);
}

static void print_licences(const struct diff *d, bool all)
{
    static const char *const heads[] = {"LICENCE", "POLICY", "ROTATES NOW", "WOULD ROTATE", "WHY"};
    AUTO_TABLE struct table t;
    size_t shown = all || d->n < SHOWN ? d->n : SHOWN;
    if (!d->n) return;
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < shown; i++) {
        const struct change *c = &d->changes[i];
        char before[TABLE_TIME_MAX], after[TABLE_TIME_MAX];
        table_time(c->before_ms, before);
        table_time(c->after_ms, after);
        table_add(&t, c->row->licence);
        table_add(&t, *c->row->policy ? c->row->policy : "default");
        table_add(&t, before);
        table_add(&t, after);
        table_add(&t, *c->why ? c->why : "-");
    }
    table_print(&t, stdout);
    if (shown < d->n) printf("and %zu more; --all shows them\n", d->n - shown);
    putchar('\n');
}

static void print_days(const struct diff *d)
{
    static const char *const heads[] = {"DAY (UTC)", "ROTATE NOW", "WOULD ROTATE", "WAITING NOW", "WOULD WAIT"};
    AUTO_TABLE struct table t;
    size_t n;
    const struct forecast_day *before = forecast_days(d->days_before.forecast, &n);
    const struct forecast_day *after = forecast_days(d->days_after.forecast, &n);
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < n; i++) {
        char day[11];
        if (before[i].rotate == after[i].rotate && before[i].waiting == after[i].waiting) continue;
        policy_date_format(before[i].begin_ms / DAY_MS, day);
        table_add(&t, day);
        table_addf(&t, "%zu", before[i].rotate);
        table_addf(&t, "%zu", after[i].rotate);
        table_addf(&t, "%zu", before[i].waiting);
        table_addf(&t, "%zu", after[i].waiting);
    }
    if (t.n_cells) table_print(&t, stdout);
    if (t.n_cells) putchar('\n');
}

static void print_diff(const struct diff *d, bool all)
{
    print_licences(d, all);
    print_days(d);
    printf("%zu licences change: %zu sooner, %zu later, %zu not foreseen any more, %zu foreseen anew; due at once: %zu "
           "instead of %zu\n",
           d->n, d->sooner, d->later, d->stopped, d->started, d->due_after, d->due_before);
}

static void set_time(json_t *o, const char *name, int64_t ms)
{
    json_object_set_new(o, name, ms == TIME_NONE ? json_null() : json_integer(ms));
}

static int print_diff_json(const struct diff *d)
{
    json_t *list = json_array();
    AUTO_JSON json_t *root = json_pack(
        "{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:o, s:o, s:o}", "at_ms", (json_int_t)d->days_after.at_ms, "sooner",
        (json_int_t)d->sooner, "later", (json_int_t)d->later, "stopped", (json_int_t)d->stopped, "started",
        (json_int_t)d->started, "due_before", (json_int_t)d->due_before, "due_after", (json_int_t)d->due_after,
        "licences", list, "days_before", foresee_json(&d->days_before), "days_after", foresee_json(&d->days_after));
    for (size_t i = 0; root && i < d->n; i++) {
        const struct change *c = &d->changes[i];
        json_t *o = json_pack("{s:s, s:s, s:s}", "licence", c->row->licence, "policy", c->row->policy, "why", c->why);
        set_time(o, "before_ms", c->before_ms);
        set_time(o, "after_ms", c->after_ms);
        json_array_append_new(list, o);
    }
    AUTO_FREE char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (!text) return ERR_NOMEM;
    puts(text);
    return 0;
}

static int diff(const struct options *o, const char *file, const struct foresee *when, bool all, bool json)
{
    struct client c;
    AUTO_INVENTORY struct inventory *inv = NULL;
    AUTO_POLICIES struct policies *before = NULL, *after = NULL;
    if (client_init(&c, o, "keyroll-policy") < 0) return out_of_memory();
    int rc = policies_now(&c, file, &after);
    if (rc < 0 && rc != ERR_IO && rc != ERR_NOMEM) {
        command_client_failed(NAME, &c, rc);
        return EXIT_BAD;
    }
    struct diff d = {.c = &c, .days_before = *when, .days_after = *when};
    if (!d.days_after.days) d.days_before.days = d.days_after.days = DAYS;
    if (rc == 0) rc = policies_now(&c, NULL, &before);
    if (rc == 0) rc = fleet_load_now(&c, false, &inv);
    if (rc == 0) rc = client_redis(&c);
    d.before = before;
    d.after = after;
    if (rc == 0) rc = run_diff(&d, inv);
    if (rc == 0 && json) rc = print_diff_json(&d);
    if (rc == 0 && !json) print_diff(&d, all);
    foresee_done(&d.days_before);
    foresee_done(&d.days_after);
    free(d.changes);
    if (rc < 0) return command_client_failed(NAME, &c, rc);
    client_done(&c);
    return EXIT_OK;
}

int cmd_policy(const struct options *o, int argc, char **argv)
{
    bool json = false, all = false;
    const char *at = NULL, *days = NULL;
    const struct command_flag flags[] = {{"--json", &json, NULL, NULL},
                                         {"--all", &all, NULL, NULL},
                                         {"--at", NULL, &at, NULL},
                                         {"--days", NULL, &days, NULL}};
    struct foresee when;
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    const char *fault = foresee_read(at, days, &when);
    if (fault) return command_fail(NAME, EXIT_USAGE, "%s", fault);
    const char *file = argc == 2 ? argv[1] : o->policy_file;
    bool checks = argc >= 1 && argc <= 2 && strcmp(argv[0], "check") == 0;
    if (checks && !file) return command_fail(NAME, EXIT_USAGE, "name a file, or set policy_file");
    if (checks) return check(o, file);
    if (argc == 2 && strcmp(argv[0], "diff") == 0) return diff(o, argv[1], &when, all, json);
    return command_fail(NAME, EXIT_USAGE, "write keyroll policy check [FILE] or keyroll policy diff FILE");
}
