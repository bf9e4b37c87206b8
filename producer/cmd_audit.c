/* keyroll audit: the first half of the manual procedure, live: the user, its keys, what the instance uses, whether it
 * works, and what keyroll would do next. Changes nothing, not even the record. */
#include "lib/err.h"
#include "lib/escrow.h"
#include "producer/command.h"
#include "producer/look.h"
#include "producer/policy.h"
#include "producer/subjects.h"
#include "producer/table.h"
#include "schema/keyslots.h"
#include "schema/options_use.h"

#include <stdio.h>
#include <string.h>

#define NAME "audit"

struct finding {
    struct look look;
    struct aws_result user, last_used[AWS_KEYS_MAX];
    int user_err, last_used_err[AWS_KEYS_MAX];
    char user_why[CLIENT_ERROR_MAX];
    int test_err;
    bool tested;
    char test_why[CLIENT_ERROR_MAX];
    char sts[200], bucket[200]; /* verdicts on the kept pair, or why there is none */
    bool pair_bad;
    struct keyslots_out slots;
    bool decided, is_bad;
    char drift[RECORD_TEXT_MAX];
};

struct audit {
    struct client *c;
    struct escrow *escrow; /* NULL: not at hand */
};

/* ---- asking ---- */

static int64_t read_ms(const struct audit *a)
{
    return a->c->o->read_timeout_ms;
}

static void ask_user(struct audit *a, const struct inventory_row *row, struct finding *f)
{
    const struct aws_request q = {
        .op = AWS_GET_USER, .account = row->account, .user = row->user, .timeout_ms = read_ms(a)};
    f->user_err = client_aws_call(a->c, &q, &f->user);
    snprintf(f->user_why, sizeof f->user_why, "%s", f->user_err ? a->c->error : "");
    for (size_t i = 0; i < f->look.n_keys; i++) {
        const struct aws_request u = {.op = AWS_ACCESS_KEY_LAST_USED,
                                      .account = row->account,
                                      .user = row->user,
                                      .key_id = f->look.keys[i].id,
                                      .timeout_ms = read_ms(a)};
        f->last_used_err[i] = client_aws_call(a->c, &u, &f->last_used[i]);
    }
}

static void ask_test(struct audit *a, const struct inventory_row *row, struct finding *f)
{
    struct instance_result r;
    const struct instance_request q = {
        .op = INSTANCE_TEST, .target = look_target(row), .timeout_ms = read_ms(a), .last_on_connection = true};
    if (!f->look.can.can_test) return;
    f->test_err = client_instance_call(a->c, &q, &r);
    f->tested = f->test_err != ERR_INSTANCE_UNSUPPORTED;
    snprintf(f->test_why, sizeof f->test_why, "%s", f->test_err ? a->c->error : "");
}

struct kept {
    char envelope[STORE_SEALED_MAX], id[AWS_KEY_ID_MAX];
    size_t len;
};

static void copy_kept(void *into, const void *result)
{
    struct kept *k = into;
    const struct redis_reply *r = result;
    const struct redis_value *id = r->err ? NULL : redis_item(r->value, 0),
                             *sealed = r->err ? NULL : redis_item(r->value, 1);
    if (!id || !sealed || id->type != REDIS_STRING || sealed->type != REDIS_STRING) return;
    if (sealed->len > sizeof k->envelope) return;
    snprintf(k->id, sizeof k->id, "%s", id->str);
    memcpy(k->envelope, sealed->str, sealed->len);
    k->len = sealed->len;
}

static void probe(struct audit *a, const struct inventory_row *row, const char *key_id, const struct secret *secret,
                  enum aws_op op, struct finding *f, char *out, size_t size)
{
    struct aws_result r;
    const struct aws_request q = {.op = op,
                                  .account = row->account,
                                  .user = row->user,
                                  .key_id = key_id,
                                  .probe_secret = secret,
                                  .bucket = row->bucket,
                                  .region = row->region,
                                  .timeout_ms = read_ms(a),
                                  .last_on_connection = true};
    int rc = client_aws_call(a->c, &q, &r);
    f->pair_bad = f->pair_bad || rc < 0;
    snprintf(out, size, "%s", rc ? a->c->error : "accepted");
}

/* The pair of the current key is kept sealed until its predecessor is gone; only then can it be tried from here. */
static void ask_pair(struct audit *a, const struct subject *s, struct finding *f)
{
    char key[STORE_KEY_MAX];
    struct kept k = {.len = 0};
    AUTO_SECRET struct secret *secret = NULL;
    store_key(&a->c->store, s->key, "record", key);
    const char *const words[] = {"HMGET", key, "sealed_id", "sealed"};
    if (client_command(a->c, ARRAY_LEN(words), words, copy_kept, &k) < 0) k.len = 0;
    const char *why = NULL;
    if (!k.len)
        why = "the secret is not kept";
    else if (!a->escrow)
        why = "escrow_key_file is not at hand";
    else if (escrow_open(a->escrow, s->row->user, k.id, k.envelope, k.len, &secret) < 0)
        why = "the sealed pair cannot be opened";
    if (why) {
        const char *test = !f->tested    ? "which has no test"
                           : f->test_err ? "whose test failed"
                                         : "whose test succeeded";
        snprintf(f->sts, sizeof f->sts, "not testable from here (%s): trust the instance, %s", why, test);
        snprintf(f->bucket, sizeof f->bucket, "%s", f->sts);
        return;
    }
    probe(a, s->row, k.id, secret, AWS_CALLER_IDENTITY, f, f->sts, sizeof f->sts);
    probe(a, s->row, k.id, secret, AWS_LIST_BUCKET, f, f->bucket, sizeof f->bucket);
}

/* ---- judging ---- */

static void judge(const struct subject *s, struct finding *f)
{
    struct record r;
    const struct look *l = &f->look;
    record_init(&r, s->row->licence, s->row->account, s->row->user);
    if (s->peek.has_record) r = s->peek.record;
    bool drift = false;
    if (!l->list_err) {
        drift = keyslots_observe(&r, l->keys, l->n_keys, l->seen, l->seen_id, clock_wall_ms(&clock_system), f->drift);
        const struct keyslots_in in = {.keys = l->keys,
                                       .n_keys = l->n_keys,
                                       .seen = l->seen,
                                       .seen_id = l->seen_id,
                                       .record = &r,
                                       .replace_id = "",
                                       .pair_kept = s->peek.kept,
                                       .now_ms = clock_wall_ms(&clock_system)};
        keyslots_decide(&in, &f->slots);
        f->decided = true;
    }
    if (!drift) f->drift[0] = '\0';
    bool slots_bad = f->decided && (f->slots.action == SLOT_DRIFTED || f->slots.action == SLOT_PERSON ||
                                    f->slots.action == SLOT_LOST || f->slots.action == SLOT_REPAIR ||
                                    f->slots.action == SLOT_FALL_BACK);
    f->is_bad = drift || slots_bad || l->list_err || l->read_err || f->user_err || f->test_err || f->pair_bad;
}

static void what_next(const struct subject *s, const struct finding *f, char *out, size_t size)
{
    const struct store_peek *u = &s->peek;
    if (f->look.list_err)
        snprintf(out, size, "nothing can be said while AWS does not list the keys");
    else if (u->has_journal)
        snprintf(out, size, "work on it is open at %s%s", journal_step_name(u->journal.step),
                 u->lease_ms >= 0 ? ", a worker is at it" : "");
    else if (f->drift[0])
        snprintf(out, size, "%s", f->drift);
    else if (f->slots.action == SLOT_CREATE)
        snprintf(out, size, "nothing is wrong; a rotation would make a new key and replace %s",
                 f->slots.old_id[0] ? f->slots.old_id : "none");
    else
        snprintf(out, size, "%s", f->slots.reason);
}

/* ---- telling ---- */

static const char *used_text(const struct finding *f, size_t i, char out[TABLE_TIME_MAX])
{
    const struct aws_result *r = &f->last_used[i];
    if (f->last_used_err[i] || r->used == AWS_USED_UNKNOWN) return "unknown";
    if (r->used == AWS_USED_NEVER) return "never";
    table_time(r->used_at_ms, out);
    return out;
}

static const char *seen_text(const struct look *l)
{
    if (l->read_err) return l->read_why;
    return l->seen == INSTANCE_SEEN_ID     ? l->seen_id
           : l->seen == INSTANCE_SEEN_NONE ? "no key"
                                           : "it does not show its key";
}

static const char *test_text(const struct finding *f)
{
    return !f->tested ? "no test call" : f->test_err ? f->test_why : "ok";
}

static void print_text(const struct subject *s, const struct finding *f)
{
    static const char *const heads[] = {"KEY", "STATUS", "AGE", "LAST USED (UTC)", "IN THE INSTANCE"};
    AUTO_TABLE struct table t;
    char next[RECORD_TEXT_MAX + 100];
    const struct look *l = &f->look;
    int64_t now = clock_wall_ms(&clock_system);
    printf("%s: user %s in account %s%s%s\n", s->row->licence, s->row->user, s->row->account, f->user_err ? ": " : "",
           f->user_err ? f->user_why : "");
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < l->n_keys; i++) {
        char age[TABLE_TIME_MAX] = "-", used[TABLE_TIME_MAX];
        if (l->keys[i].created_ms != TIME_NONE) table_span(now - l->keys[i].created_ms, age);
        table_add(&t, l->keys[i].id);
        table_add(&t, aws_key_status_name(l->keys[i].status));
        table_add(&t, age);
        table_add(&t, used_text(f, i, used));
        table_add(&t, l->seen == INSTANCE_SEEN_ID && strcmp(l->seen_id, l->keys[i].id) == 0 ? "yes" : "");
    }
    if (l->list_err)
        printf("  keys: %s\n", l->list_why);
    else
        table_print(&t, stdout);
    what_next(s, f, next, sizeof next);
    printf("  instance:      %s%s%s\n", seen_text(l), l->seen == INSTANCE_SEEN_ID ? ", by " : "",
           l->seen == INSTANCE_SEEN_ID ? instance_proof_name(l->proof) : "");
    printf("  instance test: %s\n  STS:           %s\n  bucket:        %s\n  next:          %s\n", test_text(f), f->sts,
           f->bucket, next);
}

static json_t *to_json(const struct subject *s, const struct finding *f)
{
    char next[RECORD_TEXT_MAX + 100];
    const struct look *l = &f->look;
    json_t *keys = json_array();
    what_next(s, f, next, sizeof next);
    for (size_t i = 0; i < l->n_keys; i++) {
        const struct aws_result *u = &f->last_used[i];
        bool known = !f->last_used_err[i];
        json_t *k = json_pack("{s:s, s:s, s:s, s:b}", "id", l->keys[i].id, "status",
                              aws_key_status_name(l->keys[i].status), "used",
                              !known || u->used == AWS_USED_UNKNOWN ? "unknown"
                              : u->used == AWS_USED_NEVER           ? "never"
                                                                    : "at",
                              "in_instance", l->seen == INSTANCE_SEEN_ID && strcmp(l->seen_id, l->keys[i].id) == 0);
        if (l->keys[i].created_ms != TIME_NONE)
            json_object_set_new(k, "created_ms", json_integer(l->keys[i].created_ms));
        if (known && u->used == AWS_USED_AT) json_object_set_new(k, "used_ms", json_integer(u->used_at_ms));
        json_array_append_new(keys, k);
    }
    return json_pack("{s:s, s:s, s:s, s:b, s:o, s:s, s:s, s:s, s:s, s:s, s:s, s:s}", "licence", s->row->licence,
                     "account", s->row->account, "user", s->row->user, "ok", !f->is_bad, "keys", keys, "list",
                     l->list_err ? l->list_why : "ok", "user_found", f->user_err ? f->user_why : "ok", "instance",
                     seen_text(l), "instance_test", test_text(f), "sts", f->sts, "bucket", f->bucket, "next", next);
}

/* ---- the command ---- */

static int audit_one(struct audit *a, const struct subject *s, json_t *list, bool *ret_bad)
{
    AUTO_FREE struct finding *f = calloc(1, sizeof *f);
    if (!f) return client_fail(a->c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    int rc = look_at(a->c, s->row, &f->look);
    if (rc < 0) return rc;
    ask_user(a, s->row, f);
    ask_test(a, s->row, f);
    ask_pair(a, s, f);
    a->c->error[0] = '\0';
    judge(s, f);
    *ret_bad = *ret_bad || f->is_bad;
    if (list)
        json_array_append_new(list, to_json(s, f));
    else
        print_text(s, f);
    return 0;
}

int cmd_audit(const struct options *o, int argc, char **argv)
{
    bool json = false, bad = false;
    const struct command_flag flags[] = {{"--json", &json, NULL, NULL}};
    struct client c;
    struct audit a = {.c = &c};
    struct subjects s = {0};
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc == 0) return command_fail(NAME, EXIT_USAGE, "name the licences; see keyroll " NAME " --help");
    if (client_init(&c, o, "keyroll-audit") < 0) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    AUTO_JSON json_t *list = json ? json_array() : NULL;
    int rc = subjects_find(&c, argc, argv, true, &s);
    AUTO_FREE char *why = NULL;
    if (options_escrow(o, &a.escrow, &why) < 0) a.escrow = NULL; /* then the pair is not testable, which is told */
    for (size_t i = 0; rc == 0 && i < s.n; i++) rc = audit_one(&a, &s.items[i], list, &bad);
    subjects_done(&s);
    escrow_free(a.escrow);
    if (rc < 0) return command_client_failed(NAME, &c, rc);
    client_done(&c);
    if (json) {
        AUTO_JSON json_t *root = json_pack("{s:O}", "licences", list);
        AUTO_FREE char *text = json_dumps(root, JSON_INDENT(2));
        if (!text) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
        puts(text);
    }
    return bad ? EXIT_BAD : EXIT_OK;
}
