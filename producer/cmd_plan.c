/* keyroll plan: what the scheduler would publish now. Reads inventory and Redis, judges with the scheduler's own
 * policy, changes nothing. */
#include "lib/err.h"
#include "producer/command.h"
#include "producer/fleet.h"
#include "producer/survey.h"
#include "producer/table.h"

#include <string.h>

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

/* Judges the rows asked for; *ret_n of them are in ret, in the order of publication. */
static int judge(struct client *c, const struct inventory *inv, int argc, char **argv, struct line *ret, size_t *ret_n)
{
    struct policy policy;
    size_t total = inventory_count(inv), n = 0;
    policy_from_options(c->o, &policy);
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
        int64_t now = clock_wall_ms(&clock_system);
        for (size_t i = 0; i < batch; i++) {
            ret[first + i].err = peeks[i].err;
            if (!peeks[i].err) policy_judge(&policy, ret[first + i].row->licence, &peeks[i], now, &ret[first + i].v);
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
    return all || l->err || policy_is_due(&l->v);
}

static void print_table(const struct line *lines, size_t n, bool all, bool observe)
{
    static const char *const heads[] = {"LICENCE", "ACCOUNT", "DUE", "WHAT", "REASON", "SINCE/AT", "WHY"};
    AUTO_TABLE struct table t;
    size_t due = 0;
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < n; i++) {
        const struct line *l = &lines[i];
        char at[TABLE_TIME_MAX];
        due += policy_is_due(&l->v) && !l->err;
        if (!is_shown(l, all)) continue;
        table_time(l->v.at_ms, at);
        table_add(&t, l->row->licence);
        table_add(&t, l->row->account);
        table_add(&t, l->err                  ? "-"
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
    printf("%zu licences, %zu due%s\n", n, due,
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
        json_t *o = json_pack("{s:s, s:s, s:s, s:b, s:b, s:b, s:s}", "licence", l->row->licence, "account",
                              l->row->account, "user", l->row->user, "due", policy_is_due(&l->v) && !l->err, "held",
                              l->v.held, "urgent", l->v.urgent, "what", what(l));
        if (l->v.kind >= 0) json_object_set_new(o, "reason", json_string(job_reason_name(l->v.reason)));
        if (l->v.replace_key_id[0]) json_object_set_new(o, "key_id", json_string(l->v.replace_key_id));
        if (l->v.at_ms != TIME_NONE) json_object_set_new(o, "at_ms", json_integer(l->v.at_ms));
        json_object_set_new(o, "why", json_string(l->err ? err_text(l->err) : l->v.why));
        json_array_append_new(list, o);
    }
    AUTO_FREE char *text = json_dumps(root, JSON_INDENT(2) | JSON_SORT_KEYS);
    if (!text) return command_fail("plan", EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    puts(text);
    return EXIT_OK;
}

static int unknown_licence(const struct inventory *inv, int argc, char **argv)
{
    for (int i = 0; i < argc; i++)
        if (!inventory_find(inv, argv[i]))
            return command_fail("plan", EXIT_FAILED, "the inventory has no licence %s", argv[i]);
    return 0;
}

int cmd_plan(const struct options *o, int argc, char **argv)
{
    bool json = false, all = false;
    const struct command_flag flags[] = {{"--json", &json, NULL, NULL}, {"--all", &all, NULL, NULL}};
    if (!command_flags("plan", flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    struct client c;
    AUTO_INVENTORY struct inventory *inv = NULL;
    if (client_init(&c, o, "keyroll-plan") < 0) return command_fail("plan", EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    int rc = fleet_load_now(&c, true, &inv);
    if (rc == 0) rc = client_redis(&c);
    if (rc < 0) return command_client_failed("plan", &c, rc);
    if (unknown_licence(inv, argc, argv)) {
        client_done(&c);
        return EXIT_FAILED;
    }
    AUTO_FREE struct line *lines = calloc(inventory_count(inv) + 1, sizeof *lines);
    size_t n = 0;
    rc = lines ? judge(&c, inv, argc, argv, lines, &n) : ERR_NOMEM;
    if (rc < 0) return command_client_failed("plan", &c, rc);
    client_done(&c);
    bool observe = o->mode == OPTIONS_OBSERVE;
    if (json) return print_json(lines, n, all || argc, observe);
    print_table(lines, n, all || argc, observe);
    return EXIT_OK;
}
