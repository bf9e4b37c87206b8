/* keyroll status: what is known of each licence: state, keys, what happens next and why. Reads Redis and the inventory
 * only. */
#include "lib/err.h"
#include "lib/json.h"
#include "producer/circuits.h"
#include "producer/command.h"
#include "producer/policies.h"
#include "producer/subjects.h"
#include "producer/table.h"

#include <stdio.h>
#include <string.h>

#define NAME "status"

static const char *state_of(const struct store_peek *u)
{
    if (u->err) return "unreadable";
    if (u->has_journal && u->lease_ms >= 0) return "rotating";
    if (!u->has_record) return u->has_journal ? "rotating" : record_state_name(RECORD_NEW);
    return record_state_name(u->record.state);
}

static const char *reason_of(const struct store_peek *u)
{
    if (u->err) return "its record cannot be read: a newer keyroll may have written it";
    if (!u->has_record) return u->has_journal ? "" : "never looked at";
    return u->record.reason;
}

static bool is_exposed(const struct store_peek *u, const struct record_key *k)
{
    return k->exposed || store_peek_exposed(u, k->id);
}

static const char *role_name(enum key_role r)
{
    static const char *const names[] = {"current", "replaced", "unused", "left"};
    return names[r];
}

static const char *next_name(enum key_next n)
{
    static const char *const names[] = {"none", "retire", "reap"};
    return names[n];
}

/* ---- JSON ---- */

static void set_time(json_t *o, const char *name, int64_t ms)
{
    if (ms != TIME_NONE && ms != 0) json_object_set_new(o, name, json_integer(ms));
}

static json_t *key_json(const struct store_peek *u, const struct record_key *k, int64_t now_ms)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:b, s:b}", "id", k->id, "role", role_name(k->role), "status",
                          aws_key_status_name(k->status), "exposed", is_exposed(u, k), "listed", k->listed);
    set_time(o, "created_ms", k->created_ms);
    if (k->created_ms != TIME_NONE) json_object_set_new(o, "age_ms", json_integer(now_ms - k->created_ms));
    if (k->next != KEY_NEXT_NONE) json_object_set_new(o, "next", json_string(next_name(k->next)));
    set_time(o, "next_ms", k->next_ms);
    return o;
}

static json_t *journal_json(const struct journal *j)
{
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:b}", "step", journal_step_name(j->step), "direction",
                          journal_direction_name(j->direction), "key_new", j->key_new, "key_old", j->key_old,
                          "assisted", j->assisted);
    json_object_set_new(o, "rotation", json_integer(j->rotation));
    set_time(o, "started_ms", j->started_ms);
    set_time(o, "offered_ms", j->offered_ms);
    return o;
}

static json_t *licence_json(const struct subject *s, struct policies *p, int64_t now_ms)
{
    const struct store_peek *u = &s->peek;
    const struct record *r = &u->record;
    struct policy_verdict v;
    json_t *keys = json_array();
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "licence", s->row->licence, "account", s->row->account,
                          "user", s->row->user, "state", state_of(u), "reason", reason_of(u), "keys", keys);
    json_object_set_new(o, "journal", !u->err && u->has_journal ? journal_json(&u->journal) : json_null());
    if (u->err) return o;
    if (u->has_record) {
        for (size_t i = 0; i < r->n_keys; i++) json_array_append_new(keys, key_json(u, &r->keys[i], now_ms));
        const struct record_key *current = record_current(r);
        json_object_set_new(o, "key_id", current ? json_string(current->id) : json_null());
        json_object_set_new(o, "rotation", json_integer(r->rotation));
        json_object_set_new(o, "attempts", json_integer(r->attempts));
        json_object_set_new(o, "step", json_string(r->step));
        json_object_set_new(o, "error", json_string(r->error ? err_name(r->error) : ""));
        set_time(o, "rotated_ms", r->rotated_ms);
        set_time(o, "audited_ms", r->audited_ms);
        set_time(o, "updated_ms", r->updated_ms);
        set_time(o, "retry_ms", r->next_ms);
    }
    json_object_set_new(o, "pair_kept", json_boolean(u->kept));
    struct policy policy;
    policies_for(p, s->row, &policy);
    policy_judge(&policy, s->row->licence, u, now_ms, &v);
    if (v.kind >= 0) json_object_set_new(o, "next", json_string(job_kind_name(v.kind)));
    set_time(o, "next_ms", v.at_ms);
    json_object_set_new(o, "why", json_string(v.why));
    return o;
}

/* ---- table ---- */

static void add_line(struct table *t, const struct subject *s, struct policies *p, int64_t now_ms)
{
    const struct store_peek *u = &s->peek;
    const struct record_key *current = u->has_record && !u->err ? record_current(&u->record) : NULL;
    char age[TABLE_TIME_MAX] = "-", at[TABLE_TIME_MAX] = "-", others[200] = "";
    struct policy_verdict v = {.kind = -1, .at_ms = TIME_NONE};
    struct policy policy;
    policies_for(p, s->row, &policy);
    if (!u->err) policy_judge(&policy, s->row->licence, u, now_ms, &v);
    if (current && current->created_ms != TIME_NONE) table_span(now_ms - current->created_ms, age);
    for (size_t i = 0; !u->err && u->has_record && i < u->record.n_keys; i++) {
        const struct record_key *k = &u->record.keys[i];
        if (k == current) continue;
        size_t len = strlen(others);
        snprintf(others + len, sizeof others - len, "%s%s %s%s", len ? ", " : "", k->id, aws_key_status_name(k->status),
                 is_exposed(u, k) ? " EXPOSED" : "");
    }
    table_time(v.at_ms, at);
    table_add(t, s->row->licence);
    table_add(t, state_of(u));
    table_addf(t, "%s%s", current ? current->id : "-", current && is_exposed(u, current) ? " EXPOSED" : "");
    table_add(t, age);
    table_add(t, others[0] ? others : "-");
    table_add(t, v.kind < 0 ? "-" : job_kind_name(v.kind));
    table_add(t, at);
    table_add(t, reason_of(u));
}

/* ---- what holds for all: strays and pauses ---- */

struct extra {
    json_t *strays, *paused, *breakers;
    int err;
};

static void copy_hash(void *into, const void *result)
{
    struct extra *e = into;
    const struct redis_reply *r = result;
    if (r->err || r->value->type != REDIS_ARRAY) {
        e->err = r->err;
        return;
    }
    for (size_t i = 0; i + 1 < r->value->count; i += 2) {
        const struct redis_value *k = redis_item(r->value, i), *v = redis_item(r->value, i + 1);
        if (k && v) json_array_append_new(e->strays, json_pack("{s:s, s:s}", "licence", v->str, "user", k->str));
    }
}

/* name -> what the worker that opened it wrote; closed ones are not there, nor what a worker left that is gone. */
static void copy_breakers(void *into, const void *result)
{
    const struct redis_reply *r = result;
    struct extra *e = into;
    if (r->err || r->value->type != REDIS_ARRAY) return;
    for (size_t i = 0; i + 1 < r->value->count; i += 2) {
        const struct redis_value *k = redis_item(r->value, i), *v = redis_item(r->value, i + 1);
        bool now = v && v->str && circuits_open_now(v->str, clock_wall_ms(&clock_system));
        json_t *one = NULL;
        if (now) (void)!json_read(v->str, v->len, JSON_REJECT_DUPLICATES, &one, NULL); /* NULL: it is not shown */
        if (k && k->str && json_is_object(one))
            json_object_set_new(e->breakers, k->str, one);
        else
            json_decref(one);
    }
}

static void copy_paused(void *into, const void *result)
{
    const struct redis_reply *r = result;
    struct extra *e = into;
    if (!r->err && r->value->type == REDIS_STRING) json_object_set_new(e->paused, "all", json_string(r->value->str));
}

/* Ignored when it fails: the licences themselves were read. */
static void read_extra(struct client *c, struct extra *e)
{
    char strays[STORE_KEY_MAX], paused[STORE_KEY_MAX], breakers[STORE_KEY_MAX];
    store_key(&c->store, NULL, "strays", strays);
    store_key(&c->store, NULL, "pause:all", paused);
    store_key(&c->store, NULL, "breakers", breakers);
    const char *const ask_breakers[] = {"HGETALL", breakers};
    const char *const ask_strays[] = {"HGETALL", strays}, *const ask_paused[] = {"GET", paused};
    if (client_command(c, 2, ask_strays, copy_hash, e) < 0 || client_command(c, 2, ask_paused, copy_paused, e) < 0 ||
        client_command(c, 2, ask_breakers, copy_breakers, e) < 0)
        c->error[0] = '\0';
}

static void print_all(const struct subjects *s, struct policies *p, const struct extra *e, bool asked, int64_t now_ms)
{
    static const char *const heads[] = {"LICENCE", "STATE", "KEY", "AGE", "OTHER KEYS", "NEXT", "WHEN (UTC)", "REASON"};
    AUTO_TABLE struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < s->n; i++) add_line(&t, &s->items[i], p, now_ms);
    table_print(&t, stdout);
    const char *paused = json_string_value(json_object_get(e->paused, "all"));
    if (paused) printf("paused: %s\n", paused);
    const char *name;
    json_t *breaker;
    json_object_foreach(e->breakers, name, breaker)
        printf("breaker %s: %s (%s, seen by %s): its jobs are parked\n", name,
               json_string_value(json_object_get(breaker, "state")),
               json_string_value(json_object_get(breaker, "error")), json_string_value(json_object_get(breaker, "by")));
    if (asked) return;
    json_t *one;
    size_t i;
    json_array_foreach(e->strays, i, one)
        printf("%s: not in the inventory any more, not touched (%s)\n",
               json_string_value(json_object_get(one, "licence")), json_string_value(json_object_get(one, "user")));
}

static int print_json(const struct subjects *s, struct policies *p, const struct extra *e, int64_t now_ms)
{
    AUTO_JSON json_t *root = json_object();
    json_t *list = json_array();
    json_object_set_new(root, "licences", list);
    json_object_set(root, "strays", e->strays);
    json_object_set(root, "paused", e->paused);
    json_object_set(root, "breakers", e->breakers);
    for (size_t i = 0; i < s->n; i++) json_array_append_new(list, licence_json(&s->items[i], p, now_ms));
    AUTO_FREE char *text = json_dumps(root, JSON_INDENT(2));
    if (!text) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    puts(text);
    return EXIT_OK;
}

int cmd_status(const struct options *o, int argc, char **argv)
{
    bool json = false;
    const struct command_flag flags[] = {{"--json", &json, NULL, NULL}};
    struct client c;
    struct subjects s = {0};
    AUTO_POLICIES struct policies *p = NULL;
    struct extra e = {json_array(), json_object(), json_object(), 0};
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (client_init(&c, o, "keyroll-status") < 0) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    int code = EXIT_OK, rc = policies_now(&c, NULL, &p);
    if (rc == 0) rc = subjects_find(&c, argc, argv, true, &s);
    if (rc == 0) {
        read_extra(&c, &e);
        int64_t now = clock_wall_ms(&clock_system);
        if (json)
            code = print_json(&s, p, &e, now);
        else
            print_all(&s, p, &e, argc > 0, now);
    }
    subjects_done(&s);
    json_decref(e.strays);
    json_decref(e.paused);
    json_decref(e.breakers);
    if (rc < 0) return command_client_failed(NAME, &c, rc);
    client_done(&c);
    return code;
}
