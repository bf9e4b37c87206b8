/* keyroll doctor: is everything in place, one line per check, and what to do where it is not. It changes nothing: the
 * rights to change and delete keys are tried on a key id that does not exist, which IAM answers with NoSuchEntity to
 * those who may and with AccessDenied to those who may not. */
#include "lib/aws_creds.h"
#include "lib/err.h"
#include "lib/escrow.h"
#include "lib/json.h"
#include "lib/kafka_admin.h"
#include "producer/command.h"
#include "producer/fleet.h"
#include "producer/look.h"
#include "schema/topics.h"
#include "schema/options_use.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NAME         "doctor"
#define KAFKA_MS     5000
#define NO_SUCH_KEY  "AKIAKEYROLLDOCTOR000"
#define ACCOUNTS_MAX 64

struct doctor {
    struct client *c;
    const struct options *o;
    struct inventory *inventory;
    json_t *list; /* of checks, for --json; NULL: lines are printed at once */
    size_t failed;
};

static void PRINTF_LIKE(4, 5) tell(struct doctor *d, bool ok, const char *check, const char *fmt, ...)
{
    char text[600];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    for (char *p = text; *p; p++)
        if ((unsigned char)*p < 0x20) *p = ' ';
    d->failed += !ok;
    if (d->list)
        json_array_append_new(d->list, json_pack("{s:s, s:b, s:s}", "check", check, "ok", ok, "text", text));
    else
        printf("%-5s  %-18s %s\n", ok ? "ok" : "FAILS", check, text);
    (void)fflush(stdout); /* a check that hangs shows after those before it */
}

/* ---- settings and inventory ---- */

static void check_settings(struct doctor *d)
{
    AUTO_FREE char *why = NULL;
    int rc = options_require(
        d->o, OPTIONS_NEED_KAFKA | OPTIONS_NEED_REDIS | OPTIONS_NEED_ESCROW | OPTIONS_NEED_INVENTORY, &why);
    tell(d, rc == 0, "settings", rc ? "%s" : "from %s",
         rc                  ? (why ? why : err_text(rc))
         : d->o->config_path ? d->o->config_path
                             : "environment and flags");
    const char *bad = kafka_conf_refused(d->o->kafka, d->o->n_kafka);
    if (bad) tell(d, false, "versions", "%s", bad);
}

static void check_inventory(struct doctor *d)
{
    int rc = fleet_load_now(d->c, false, &d->inventory);
    if (rc < 0) {
        tell(d, false, "inventory", "%s", d->c->error);
        return;
    }
    size_t bad = inventory_bad(d->inventory), n = inventory_count(d->inventory);
    tell(d, bad == 0 && n > 0, "inventory",
         bad ? "%zu licences, %zu bad rows: run keyroll inventory check"
         : n ? "%zu licences"
             : "%zu licences: name some",
         n, bad);
}

/* ---- Kafka ---- */

static void check_topics(struct doctor *d, struct kafka_admin *a, int brokers)
{
    struct topics t = {0};
    struct kafka_plan plan = {0};
    AUTO_FREE char *why = NULL;
    int rc = topics_init(&t, d->o, NULL, brokers, &why);
    if (rc == 0) rc = kafka_admin_plan(a, t.specs, t.n, &plan, &why);
    if (rc == ERR_TIMEOUT_SENT)
        tell(d, true, "topics",
             "not told: this broker answers no such questions (the one of keyroll up makes them itself)");
    else if (rc < 0)
        tell(d, false, "topics", "%s", why ? why : err_text(rc));
    else
        tell(d, plan.n == 0, "topics", plan.n ? "%zu topics, %zu differences: run keyroll topics apply" : "%zu topics",
             t.n, plan.n);
    kafka_plan_done(&plan);
    topics_done(&t);
}

static void check_kafka(struct doctor *d)
{
    struct kafka_admin *a = NULL;
    AUTO_FREE char *why = NULL;
    int brokers = 0;
    if (!d->o->brokers) return; /* told by the settings */
    int rc = kafka_admin_new(d->o->brokers, d->o->kafka, d->o->n_kafka, KAFKA_MS, &a, &why);
    if (rc == 0) rc = kafka_admin_ping(a, &brokers, &why);
    if (rc < 0)
        tell(d, false, "Kafka", "%s: %s; check brokers and kafka.*", d->o->brokers, why ? why : err_text(rc));
    else
        tell(d, true, "Kafka", "%d broker%s, librdkafka %s", brokers, brokers == 1 ? "" : "s", kafka_version());
    if (rc == 0) check_topics(d, a, brokers);
    kafka_admin_free(a);
}

/* ---- Redis and the workers ---- */

struct workers {
    const struct escrow *own; /* NULL: nothing to compare with */
    size_t live, odd;
    bool no_memory;
    char first_odd[128];
};

/* True when every key id of ours is among a worker's, and the other way round. */
static bool same_keys(const struct escrow *e, const json_t *ids)
{
    size_t own = 0;
    for (; e && escrow_key_id(e, own); own++) {
        bool found = false;
        json_t *id;
        size_t i;
        json_array_foreach((json_t *)(uintptr_t)ids, i, id) found =
            found || strcmp(json_string_value(id) ? json_string_value(id) : "", escrow_key_id(e, own)) == 0;
        if (!found) return false;
    }
    return own == json_array_size(ids);
}

static void hold_against(struct workers *w, const char *about, size_t len)
{
    AUTO_JSON json_t *o = NULL;
    int rc = json_read(about, len, 0, &o, NULL);
    if (rc == ERR_NOMEM) w->no_memory = true;
    if (rc < 0) return;
    w->live++;
    if (!w->own || same_keys(w->own, json_object_get(o, "escrow"))) return;
    const char *id = json_string_value(json_object_get(o, "worker"));
    if (w->odd++ == 0) snprintf(w->first_odd, sizeof(w->first_odd), "%s", id ? id : "");
}

/* Each that gives signs of life (schema/lua/member_beat.lua); all end when the last of them does. */
static void see_workers(void *into, const void *result)
{
    const struct redis_reply *r = result;
    if (r->err || r->value->type != REDIS_ARRAY) return;
    for (size_t i = 1; i < r->value->count; i += 2) {
        const struct redis_value *one = redis_item(r->value, i);
        const char *about = one && one->str ? memchr(one->str, ' ', one->len) : NULL;
        if (about) hold_against(into, about + 1, one->len - (size_t)(about + 1 - one->str));
    }
}

static bool check_redis(struct doctor *d)
{
    if (!d->o->redis_url) return false;
    int rc = client_redis(d->c);
    if (rc < 0) {
        tell(d, false, "Redis", "%s", d->c->error);
        return false;
    }
    const struct redis_server *s = redis_server(d->c->redis);
    tell(d, !s->is_cluster && !s->is_replica, "Redis", "version %s%s%s", s->version,
         s->is_cluster ? ": a cluster is not supported, use one primary" : "",
         s->is_replica ? ": this is a replica, name the primary" : "");
    tell(d, s->aof_enabled == 1, "Redis persistence", "%s",
         s->aof_enabled == 1   ? "append only file"
         : s->aof_enabled == 0 ? "no append only file: a restart loses journals; set appendonly yes"
                               : "unknown: INFO does not tell");
    bool evicts = s->maxmemory_policy[0] && strcmp(s->maxmemory_policy, "noeviction") != 0;
    tell(d, !evicts, "Redis eviction",
         evicts ? "%s: leases and journals may be thrown away; set maxmemory-policy noeviction" : "%s",
         s->maxmemory_policy[0] ? s->maxmemory_policy : "noeviction, or not told");
    return true;
}

static struct escrow *load_escrow(struct doctor *d)
{
    AUTO_FREE char *why = NULL;
    struct escrow *e = NULL;
    int rc = options_escrow(d->o, &e, &why);
    if (rc < 0)
        tell(d, false, "escrow key", "%s",
             why ? why : "escrow_key_file is not set here: commands that open pairs (reveal) need it");
    else
        tell(d, true, "escrow key", "seals with %s", escrow_key_id(e, 0));
    return e;
}

static void check_workers(struct doctor *d)
{
    char key[STORE_KEY_MAX];
    struct escrow *e = load_escrow(d);
    struct workers w = {.own = e};
    store_key(&d->c->store, NULL, "members", key);
    const char *const words[] = {"HGETALL", key};
    if (client_command(d->c, 2, words, see_workers, &w) < 0) d->c->error[0] = '\0';
    if (w.no_memory) tell(d, false, "workers", "no memory to read what they tell");
    tell(d, w.live > 0, "workers", w.live ? "%zu running" : "%zu: start keyroll-worker", w.live);
    if (w.live && e)
        tell(d, w.odd == 0, "escrow keys",
             w.odd ? "%zu workers (%s first) have other keys than this machine: give all the same files"
                   : "%zu workers differ",
             w.odd, w.first_odd);
    escrow_free(e);
}

/* ---- AWS ---- */

static void check_rights(struct doctor *d, const struct inventory_row *row)
{
    static const struct {
        enum aws_op op;
        const char *action;
    } tried[] = {{AWS_LIST_ACCESS_KEYS, "iam:ListAccessKeys"},
                 {AWS_UPDATE_ACCESS_KEY, "iam:UpdateAccessKey"},
                 {AWS_DELETE_ACCESS_KEY, "iam:DeleteAccessKey"}};
    for (size_t i = 0; i < ARRAY_LEN(tried); i++) {
        struct aws_result r;
        char check[40];
        const struct aws_request q = {.op = tried[i].op,
                                      .account = row->account,
                                      .user = row->user,
                                      .key_id = NO_SUCH_KEY,
                                      .status = AWS_KEY_INACTIVE,
                                      .timeout_ms = d->o->read_timeout_ms};
        int rc = client_aws_call(d->c, &q, &r);
        snprintf(check, sizeof check, "%.20s", tried[i].action + 4);
        bool allowed = rc == 0 || (rc == ERR_AWS_NO_ENTITY && tried[i].op != AWS_LIST_ACCESS_KEYS);
        if (allowed)
            tell(d, true, check, "account %s: allowed on %s", row->account, row->user);
        else
            tell(d, false, check, "account %s: %s%s", row->account, d->c->error,
                 rc == ERR_AWS_DENIED ? "; allow it in the policy, see deploy/iam" : "");
    }
}

static void check_account(struct doctor *d, const struct inventory_row *row)
{
    struct aws_result r;
    const struct aws_request q = {
        .op = AWS_CALLER_IDENTITY, .account = row->account, .user = row->user, .timeout_ms = d->o->read_timeout_ms};
    int rc = client_aws_call(d->c, &q, &r);
    if (rc < 0) {
        tell(d, false, "AWS identity", "account %s (credentials from %s): %s", row->account,
             aws_creds_source(d->c->creds), d->c->error);
        return;
    }
    bool same = strcmp(r.identity_account, row->account) == 0;
    tell(d, same, "AWS identity",
         same ? "account %s: %s" : "account %s: we are %s, of another account; set aws_role_template", row->account,
         r.identity_arn);
    if (same) check_rights(d, row);
}

static void check_aws(struct doctor *d)
{
    const char *seen[ACCOUNTS_MAX];
    size_t n = 0;
    if (client_aws(d->c) < 0) {
        tell(d, false, "AWS", "%s", d->c->error);
        return;
    }
    for (size_t i = 0; i < inventory_count(d->inventory) && n < ACCOUNTS_MAX; i++) {
        const struct inventory_row *row = inventory_row(d->inventory, i);
        size_t at = 0;
        while (at < n && strcmp(seen[at], row->account) != 0) at++;
        if (at < n) continue;
        seen[n++] = row->account;
        check_account(d, row);
    }
}

/* ---- one instance ---- */

static void check_instance(struct doctor *d, const struct inventory_row *row)
{
    struct instance_result r;
    const struct instance_request q = {.op = INSTANCE_VERSION,
                                       .target = look_target(row),
                                       .timeout_ms = d->o->read_timeout_ms,
                                       .last_on_connection = true};
    int rc = client_instances(d->c);
    if (rc == 0) rc = client_instance_call(d->c, &q, &r);
    if (rc < 0)
        tell(d, false, "instance", "%s at %s: %s", row->licence, row->instance_url, d->c->error);
    else
        tell(d, true, "instance", "%s: %s", row->licence, r.message[0] ? r.message : "answers, the login is accepted");
}

static const struct inventory_row *chosen(const struct doctor *d, int argc, char **argv)
{
    if (argc) return inventory_find(d->inventory, argv[0]);
    return inventory_count(d->inventory) ? inventory_row(d->inventory, 0) : NULL;
}

int cmd_doctor(const struct options *o, int argc, char **argv)
{
    bool json = false;
    const struct command_flag flags[] = {{"--json", &json, NULL, NULL}};
    struct client c;
    struct doctor d = {.c = &c, .o = o};
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc > 1) return command_fail(NAME, EXIT_USAGE, "takes one licence at most: %s", argv[1]);
    if (client_init(&c, o, "keyroll-doctor") < 0) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    AUTO_JSON json_t *list = json ? json_array() : NULL;
    d.list = list;
    check_settings(&d);
    check_kafka(&d);
    if (check_redis(&d)) check_workers(&d);
    check_inventory(&d);
    const struct inventory_row *row = d.inventory ? chosen(&d, argc, argv) : NULL;
    if (d.inventory) check_aws(&d);
    if (row) check_instance(&d, row);
    if (d.inventory && argc && !row) tell(&d, false, "instance", "the inventory has no licence %s", argv[0]);
    inventory_free(d.inventory);
    client_done(&c);
    if (json) {
        AUTO_JSON json_t *root = json_pack("{s:b, s:O}", "ok", d.failed == 0, "checks", list);
        AUTO_FREE char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
        puts(text ? text : "{}");
    } else {
        printf("%zu checks fail\n", d.failed);
    }
    return d.failed ? EXIT_BAD : EXIT_OK;
}
