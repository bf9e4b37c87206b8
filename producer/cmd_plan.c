/* keyroll plan: what the scheduler would publish now, or will do in the coming days. Reads inventory and Redis, judges
 * with the scheduler's own policy, changes nothing. */
#include "lib/err.h"
#include "producer/command.h"
#include "producer/fleet.h"
#include "producer/foresee.h"
#include "producer/survey.h"
#include "producer/table.h"

#include <string.h>

#define NAME "plan"

struct line {
    const struct inventory_row *row;
    struct policy_verdict v;
    int err;
};

static bool is_asked(const struct inventory_row *row, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (identity_same(row->licence, argv[i])) return true;
    return argc == 0;
}

static int by_order(const void *a, const void *b)
{
    const struct line *x = a, *y = b;
    return policy_compare(&x->v, &y->v);
}

/* Judges the rows asked for at now_ms; *ret_n of them are in ret, in the order of publication. */
static int judge(struct client *c, struct policies *p, const struct inventory *inv, int argc, char **argv,
                 int64_t now_ms, struct line *ret, size_t *ret_n)
{
    struct policy policy;
    size_t total = inventory_count(inv), n = 0;
    AUTO_FREE char(*keys)[IDENTITY_KEY_MAX] = calloc(STORE_PEEK_MAX, sizeof *keys);
    AUTO_FREE struct store_peek *peeks = calloc(STORE_PEEK_MAX, sizeof *peeks);
    if (!keys || !peeks) return client_fail(c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    for (size_t at = 0; at < total;) {
        const char *list[STORE_PEEK_MAX];
        size_t first = n, batch = 0;
        for (; at < total && batch < STORE_PEEK_MAX; at++) {
            const struct inventory_row *row = inventory_row(inv, at);
            if (!is_asked(row, argc, argv) || identity_key(row->account, row->user, keys[batch]) < 0) continue;
            list[batch] = keys[batch];
            batch++;
            ret[n++].row = row;
        }
        int rc = batch ? client_peek(c, list, batch, peeks) : 0;
        if (rc < 0) return rc;
        for (size_t i = 0; i < batch; i++) {
            const struct inventory_row *row = ret[first + i].row;
            policies_for(p, row, &policy);
            ret[first + i].err = peeks[i].err;
            if (!peeks[i].err) policy_judge(&policy, row->licence, &peeks[i], now_ms, &ret[first + i].v);
        }
    }
    qsort(ret, n, sizeof *ret, by_order);
    *ret_n = n;
    return 0;
}

static const char *what(const struct line *l)
{
    if (l->err) return "unreadable";
    if (l->v.kind < 0) return "-";
    return job_kind_name(l->v.kind);
}

static bool is_shown(const struct line *l, bool all)
{
    return all || l->err || policy_is_due(&l->v) || l->v.waits;
}

static void print_table(const struct line *lines, size_t n, bool all, bool observe)
{
    static const char *const heads[] = {"LICENCE", "ACCOUNT", "DUE", "WHAT", "REASON", "SINCE/AT", "WHY"};
    AUTO_TABLE struct table t;
    size_t due = 0, waiting = 0;
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < n; i++) {
        const struct line *l = &lines[i];
        char at[TABLE_TIME_MAX];
        due += policy_is_due(&l->v) && !l->err;
        waiting += l->v.waits;
        if (!is_shown(l, all)) continue;
        table_time(l->v.at_ms, at);
        table_add(&t, l->row->licence);
        table_add(&t, l->row->account);
        table_add(&t, l->err                  ? "-"
                      : l->v.waits            ? "waits"
                      : !policy_is_due(&l->v) ? "no"
                      : l->v.held             ? "held"
                      : l->v.urgent           ? "urgent"
                                              : "yes");
        table_add(&t, what(l));
        table_add(&t, l->v.kind < 0 || l->err ? "-" : job_reason_name(l->v.reason));
        table_add(&t, at);
        table_add(&t, l->err ? err_text(l->err) : l->v.why);
    }
    table_print(&t, stdout);
    printf("%zu licences, %zu due, %zu waiting%s\n", n, due, waiting,
           observe ? "; mode = observe: only audits are published (held: would be in mode rotate)" : "");
}

static int print_json(const struct line *lines, size_t n, bool all, bool observe)
{
    AUTO_JSON json_t *root = json_object();
    json_t *list = json_array();
    json_object_set_new(root, "mode", json_string(observe ? "observe" : "rotate"));
    json_object_set_new(root, "licences", list);
    for (size_t i = 0; i < n; i++) {
        const struct line *l = &lines[i];
        if (!is_shown(l, all)) continue;
        json_t *o = json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:b, s:s}", "licence", l->row->licence, "account",
                              l->row->account, "user", l->row->user, "due", policy_is_due(&l->v) && !l->err, "held",
                              l->v.held, "waits", l->v.waits, "urgent", l->v.urgent, "what", what(l));
        if (l->v.kind >= 0) json_object_set_new(o, "reason", json_string(job_reason_name(l->v.reason)));
        if (l->v.replace_key_id[0]) json_object_set_new(o, "key_id", json_string(l->v.replace_key_id));
        if (l->v.at_ms != TIME_NONE) json_object_set_new(o, "at_ms", json_integer(l->v.at_ms));
        json_object_set_new(o, "why", json_string(l->err ? err_text(l->err) : l->v.why));
        json_array_append_new(list, o);
    }
    AUTO_FREE char *text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    if (!text) return ERR_NOMEM;
    puts(text);
    return 0;
}

static int unknown_licence(const struct inventory *inv, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (!inventory_find(inv, argv[i]))
            return command_fail(NAME, EXIT_FAILED, "the inventory has no licence %s", argv[i]);
    return 0;
}

/* The days to come; argc, argv: the licences asked for. */
static int show_days(struct client *c, struct policies *p, const struct inventory *inv, int argc, char **argv,
                     struct foresee *f, bool json)
{
    AUTO_FREE const struct inventory_row **rows = calloc(inventory_count(inv) + 1, sizeof *rows);
    if (!rows) return client_fail(c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    size_t n = 0;
    for (size_t i = 0; i < inventory_count(inv); i++)
        if (is_asked(inventory_row(inv, i), argc, argv)) rows[n++] = inventory_row(inv, i);
    int rc = foresee_run(c, p, rows, n, f);
    if (rc == 0 && json) rc = foresee_print_json(f);
    if (rc == 0 && !json) foresee_print(f, c->o);
    return rc;
}

static int show_now(struct client *c, struct policies *p, const struct inventory *inv, int argc, char **argv,
                    int64_t now_ms, bool all, bool json)
{
    AUTO_FREE struct line *lines = calloc(inventory_count(inv) + 1, sizeof *lines);
    size_t n = 0;
    int rc = lines ? judge(c, p, inv, argc, argv, now_ms, lines, &n) : ERR_NOMEM;
    if (rc < 0) return rc;
    bool observe = c->o->mode == OPTIONS_OBSERVE;
    if (json) return print_json(lines, n, all || argc, observe);
    print_table(lines, n, all || argc, observe);
    return 0;
}

int cmd_plan(const struct options *o, int argc, char **argv)
{
    bool json = false, all = false;
    const char *at = NULL, *days = NULL;
    const struct command_flag flags[] = {{"--json", &json, NULL, NULL},
                                         {"--all", &all, NULL, NULL},
                                         {"--at", NULL, &at, NULL},
                                         {"--days", NULL, &days, NULL}};
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    struct foresee f = {0};
    const char *fault = foresee_read(at, days, &f);
    if (fault) return command_fail(NAME, EXIT_USAGE, "%s", fault);
    struct client c;
    AUTO_INVENTORY struct inventory *inv = NULL;
    AUTO_POLICIES struct policies *p = NULL;
    if (client_init(&c, o, "keyroll-plan") < 0) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    int rc = policies_now(&c, NULL, &p);
    if (rc == 0) rc = fleet_load_now(&c, true, &inv);
    if (rc == 0) rc = client_redis(&c);
    if (rc == 0 && unknown_licence(inv, argc, argv)) {
        client_done(&c);
        return EXIT_FAILED;
    }
    if (rc == 0 && f.days)
        rc = show_days(&c, p, inv, argc, argv, &f, json);
    else if (rc == 0)
        rc = show_now(&c, p, inv, argc, argv, f.at_ms, all, json);
    foresee_done(&f);
    if (rc < 0) return command_client_failed(NAME, &c, rc);
    client_done(&c);
    return EXIT_OK;
}
