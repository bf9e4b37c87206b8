/* The control API under /_control/: books, faults, flags of instances, settings, and acts of other people.
 *
 * Plain JSON over HTTP on the same port, for test scripts on the same machine; there is no authentication, the
 * server refuses peers that are not loopback. tests/sandbox/README.md describes each call. */
#include "tests/sandbox/control.h"

#include "tests/sandbox/books.h"
#include "tests/sandbox/faults.h"
#include "tests/sandbox/inventory.h"
#include "tests/sandbox/reply.h"

#include <errno.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool quit_asked;

bool control_quit_asked(void)
{
    return quit_asked;
}

static void refuse(struct request *r, int http, const char *reason)
{
    r->reply.status = http;
    buf_clear(&r->reply.body);
    buf_puts(&r->reply.body, "{\"error\":");
    buf_json(&r->reply.body, reason);
    buf_puts(&r->reply.body, "}\n");
}

/* Replies with a JSON value and drops it. */
static void reply_json(struct request *r, json_t *j)
{
    char *text = json_dumps(j, JSON_COMPACT);
    buf_puts(&r->reply.body, text ? text : "null");
    buf_putc(&r->reply.body, '\n');
    free(text);
    json_decref(j);
}

/* The licence named in the body, or NULL after a refusal. */
static struct licence *licence_of(struct world *w, struct request *r, const json_t *body)
{
    const char *name = json_string_value(json_object_get(body, "licence"));
    struct licence *l = name ? world_licence(w, name) : NULL;
    if (!l) refuse(r, 404, "no such licence");
    return l;
}

/* ---- reading --------------------------------------------------------------------------------------------- */

static void get_books(struct world *w, struct request *r, json_t *body)
{
    const char *summary = form_get(&r->params, "summary"), *licence = form_get(&r->params, "licence");
    (void)body;
    if (summary && strcmp(summary, "0") != 0) {
        books_summary(w, &r->reply.body);
        buf_putc(&r->reply.body, '\n');
    } else if (!books_write(w, &r->reply.body, licence)) {
        refuse(r, 404, "no such licence");
    }
}

static void get_requests(struct world *w, struct request *r, json_t *body)
{
    (void)body;
    if (!books_requests(w, &r->reply.body, form_get(&r->params, "licence"))) refuse(r, 404, "no such licence");
}

static void get_secrets(struct world *w, struct request *r, json_t *body)
{
    (void)body;
    books_secrets(w, &r->reply.body);
}

static void get_stats(struct world *w, struct request *r, json_t *body)
{
    (void)body;
    books_stats(w, &r->reply.body);
}

static void get_settings(struct world *w, struct request *r, json_t *body)
{
    (void)body;
    reply_json(r, settings_json(&w->set));
}

static void get_faults(struct world *w, struct request *r, json_t *body)
{
    (void)w;
    (void)body;
    reply_json(r, faults_json());
}

/* ---- faults and settings --------------------------------------------------------------------------------- */

static void post_faults(struct world *w, struct request *r, json_t *body)
{
    const char *reason = "", *replace = form_get(&r->params, "replace");
    (void)w;
    if (replace && strcmp(replace, "0") != 0) faults_clear();
    int n = faults_add(body, &reason);
    if (n < 0)
        refuse(r, 400, reason);
    else
        reply_json(r, json_pack("{s:i}", "added", n));
}

static void delete_faults(struct world *w, struct request *r, json_t *body)
{
    (void)w;
    (void)body;
    faults_clear();
    reply_json(r, json_object());
}

static void post_settings(struct world *w, struct request *r, json_t *body)
{
    const char *name;
    json_t *value;
    struct settings changed = w->set;
    json_object_foreach(body, name, value)
    {
        char *text = json_is_string(value) ? must_dup(json_string_value(value)) : json_dumps(value, JSON_ENCODE_ANY);
        int rc = text ? settings_set(&changed, name, text) : -1;
        free(text);
        if (rc < 0) {
            refuse(r, 400, arena_printf(&r->arena, "bad setting %s", name));
            return;
        }
    }
    w->set = changed;
    reply_json(r, settings_json(&w->set));
}

/* ---- instances ------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    size_t at;
} switches[] =
    {
        {"readback", offsetof(struct instance_flags, readback)},
        {"write", offsetof(struct instance_flags, write)},
        {"presigned", offsetof(struct instance_flags, presigned)},
        {"test", offsetof(struct instance_flags, test)},
        {"login_refused", offsetof(struct instance_flags, login_refused)},
        {"disabled", offsetof(struct instance_flags, disabled)},
        {"down", offsetof(struct instance_flags, down)},
        {"lose_writes", offsetof(struct instance_flags, lose_writes)},
        {"mixed_case", offsetof(struct instance_flags, mixed_case)},
},
  numbers[] = {
      {"slow_ms", offsetof(struct instance_flags, slow_ms)},
      {"apply_delay_ms", offsetof(struct instance_flags, apply_delay_ms)},
      {"show_old_ms", offsetof(struct instance_flags, show_old_ms)},
};

static bool set_style(struct instance_flags *f, const char *text)
{
    static const char *const names[] = {"xml", "oldxml", "json", "json200", "html"};
    for (int i = 0; text && i < 5; i++) {
        if (strcmp(text, names[i]) != 0) continue;
        f->error_style = (uint8_t)i;
        return true;
    }
    return false;
}

static bool set_flag(struct instance_flags *f, const char *name, const json_t *value)
{
    if (strcmp(name, "error_style") == 0) return set_style(f, json_string_value(value));
    for (size_t i = 0; i < sizeof(switches) / sizeof(switches[0]); i++) {
        if (strcmp(name, switches[i].name) != 0) continue;
        *(bool *)(void *)((char *)f + switches[i].at) = json_is_true(value);
        return json_is_boolean(value);
    }
    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++) {
        if (strcmp(name, numbers[i].name) != 0) continue;
        *(int32_t *)(void *)((char *)f + numbers[i].at) = (int32_t)json_integer_value(value);
        return json_is_integer(value);
    }
    return false;
}

/* "restore-previous", "none", or {"access_key_id":..., "secret":...}. */
static bool set_key(struct world *w, struct licence *l, const json_t *key)
{
    const char *word = json_string_value(key);
    if (word && strcmp(word, "none") == 0) {
        instance_store(w, l, NULL, NULL);
        return true;
    }
    if (word && strcmp(word, "restore-previous") == 0 && l->before.id) {
        char *id = must_dup(l->before.id), *secret = l->before.secret ? must_dup(l->before.secret) : NULL;
        instance_store(w, l, id, secret);
        free(id);
        free(secret);
        return true;
    }
    const char *id = json_string_value(json_object_get(key, "access_key_id"));
    const char *secret = json_string_value(json_object_get(key, "secret"));
    if (!id || !secret) return false;
    instance_store(w, l, id, secret);
    return true;
}

static void post_instance(struct world *w, struct request *r, json_t *body)
{
    json_t *all = json_object_get(body, "all"), *flags = json_object_get(body, "set"), *value;
    struct licence *l = json_is_true(all) ? NULL : licence_of(w, r, body);
    if (!l && !json_is_true(all)) return;
    for (size_t i = l ? w->n_licences - 1 : 0; i < w->n_licences; i++) {
        const char *name;
        json_object_foreach(flags, name, value)
        {
            if (set_flag(l ? &l->flags : &w->licences[i]->flags, name, value)) continue;
            refuse(r, 400, arena_printf(&r->arena, "bad flag %s", name));
            return;
        }
    }
    json_t *key = json_object_get(body, "key");
    if (key && (!l || !set_key(w, l, key)))
        refuse(r, 400, "bad key, or no previous one");
    else
        reply_json(r, json_pack("{s:b}", "ok", 1));
}

static void post_paste(struct world *w, struct request *r, json_t *body)
{
    struct licence *l = licence_of(w, r, body);
    const char *id = json_string_value(json_object_get(body, "access_key_id"));
    const char *secret = json_string_value(json_object_get(body, "secret"));
    if (!l) return;
    if (!id || !secret) {
        refuse(r, 400, "access_key_id and secret are needed");
        return;
    }
    instance_write(w, l, id, secret);
    reply_json(r, json_pack("{s:b}", "ok", 1));
}

/* ---- strangers ------------------------------------------------------------------------------------------- */

/* The key a stranger lays hands on: the one named, or the newest that exists. */
static struct key *stranger_key(struct world *w, const struct licence *l, const json_t *body)
{
    const char *id = json_string_value(json_object_get(body, "access_key_id"));
    struct key *found = NULL;
    if (id) {
        found = key_find(w, id);
        return found && found->user == l->user && found->status != KEY_DELETED ? found : NULL;
    }
    for (struct key *k = l->user->keys; k; k = k->next)
        if (k->status != KEY_DELETED) found = k;
    return found;
}

static void post_stranger(struct world *w, struct request *r, json_t *body)
{
    struct licence *l = licence_of(w, r, body);
    const char *op = json_string_value(json_object_get(body, "op"));
    if (!l) return;
    if (!op) op = "";
    struct key *k = NULL;
    if (strcmp(op, "create") == 0) {
        if (user_key_count(l->user) >= w->set.max_keys && !json_is_true(json_object_get(body, "overrun"))) {
            refuse(r, 409, "LimitExceeded");
            return;
        }
        k = key_new(w, l->user, ACTOR_STRANGER, r->now_ms);
        if (json_is_true(json_object_get(body, "store"))) instance_store(w, l, k->id, k->secret);
        reply_json(r, json_pack("{s:s,s:s}", "access_key_id", k->id, "secret", k->secret));
        return;
    }
    enum key_status status = strcmp(op, "delete") == 0       ? KEY_DELETED
                             : strcmp(op, "deactivate") == 0 ? KEY_INACTIVE
                                                             : KEY_ACTIVE;
    bool known = status != KEY_ACTIVE || strcmp(op, "activate") == 0;
    k = known ? stranger_key(w, l, body) : NULL;
    if (!k) {
        refuse(r, 400, known ? "no such key" : "op is create, delete, deactivate or activate");
        return;
    }
    key_set_status(w, k, status, ACTOR_STRANGER);
    reply_json(r, json_pack("{s:s}", "access_key_id", k->id));
}

static void post_licences(struct world *w, struct request *r, json_t *body)
{
    json_t *count = json_object_get(body, "count"), *names = json_array();
    const char *kind = json_string_value(json_object_get(body, "kind"));
    long long n = count ? json_integer_value(count) : 1;
    struct licence_start start = {.name = json_string_value(json_object_get(body, "licence")), .kind = kind};
    start.key_age_ms = json_integer_value(json_object_get(body, "key_age_days")) * 86400000;
    for (long long i = 0; i < n; i++) {
        const struct licence *l = world_add_licence(w, &start);
        if (!l) {
            json_decref(names);
            refuse(r, 400, "the licence exists, or its kind is unknown");
            return;
        }
        (void)json_array_append_new(names, json_pack("{s:s,s:s,s:s,s:s,s:s}", "licence", l->name, "account",
                                                     l->user->account->id, "user", l->user->name, "bucket", l->bucket,
                                                     "password", l->password));
    }
    reply_json(r, names);
}

static void post_inventory(struct world *w, struct request *r, json_t *body)
{
    const char *dir = json_string_value(json_object_get(body, "dir"));
    if (!dir || inventory_write(w, dir) < 0)
        refuse(r, 400, dir ? strerror(errno) : "dir is needed");
    else
        reply_json(r, json_pack("{s:b}", "ok", 1));
}

static void post_quit(struct world *w, struct request *r, json_t *body)
{
    (void)w;
    (void)body;
    quit_asked = true;
    reply_json(r, json_object());
}

/* ---- dispatch -------------------------------------------------------------------------------------------- */

static const struct {
    const char *method;
    const char *name;
    void (*run)(struct world *w, struct request *r, json_t *body);
} calls[] = {
    {"GET", "books", get_books},         {"GET", "requests", get_requests},   {"GET", "secrets", get_secrets},
    {"GET", "stats", get_stats},         {"GET", "settings", get_settings},   {"GET", "faults", get_faults},
    {"POST", "faults", post_faults},     {"DELETE", "faults", delete_faults}, {"POST", "settings", post_settings},
    {"POST", "instance", post_instance}, {"POST", "paste", post_paste},       {"POST", "stranger", post_stranger},
    {"POST", "licences", post_licences}, {"POST", "quit", post_quit},         {"POST", "inventory", post_inventory},
};

void control_handle(struct world *w, struct request *r)
{
    const char *name = r->path + strlen("/_control/");
    r->reply.status = 200;
    r->reply.type = "application/json";
    for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++) {
        if (strcmp(calls[i].name, name) != 0 || strcmp(calls[i].method, r->method) != 0) continue;
        r->action = calls[i].name;
        json_t *body = r->body.len ? json_loadb(r->body.data, r->body.len, 0, NULL) : json_object();
        if (body)
            calls[i].run(w, r, body);
        else
            refuse(r, 400, "the body is no JSON");
        json_decref(body);
        return;
    }
    refuse(r, 404, "no such call");
}
