/* The state of the simulated world: accounts, users, keys, licences with their instances.
 *
 * Truth and what the services see of it are two things here, as they are at AWS: a key's status changes at once in
 * IAM's own record, each service learns of it after a delay of its own, drawn from the settings, and lists may show
 * an older state (key_seen_at reads it out of the key's history).
 *
 * Nothing is ever freed before the end: deleted keys stay for the books. A licence takes about 1.5 kB with its user
 * and key, so that 100,000 fit in 150 MB. */
#include "tests/sandbox/world.h"

#include "tests/sandbox/policy.h"
#include "tests/sandbox/sigv4.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define BASE32       "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
#define BASE64       "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
#define FLAP_REFUSED 0.3

int64_t world_now_ms(const struct world *w)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000 + t.tv_nsec / 1000000 + w->set.clock_offset_ms;
}

/* ---- keys ------------------------------------------------------------------------------------------------ */

static void add_event(struct key *k, int64_t at_ms, enum key_status status, enum actor actor)
{
    k->events = must_realloc(k->events, (k->n_events + 1) * sizeof(*k->events));
    k->events[k->n_events++] = (struct key_event){at_ms, (uint8_t)status, (uint8_t)actor};
    k->changed_ms = at_ms;
}

static struct key *make_key(struct world *w, const char *prefix)
{
    struct key *k = must_alloc(sizeof(*k));
    do {
        (void)strcpy(k->id, prefix);
        rng_text(&w->rng, BASE32, 16, k->id + 4);
    } while (table_get(&w->keys, k->id));
    rng_text(&w->rng, BASE64, 40, k->secret);
    table_put(&w->keys, k->id, k);
    if (w->n_keys == w->cap_keys) {
        w->cap_keys = w->cap_keys ? w->cap_keys * 2 : 256;
        w->all_keys = must_realloc(w->all_keys, w->cap_keys * sizeof(struct key *));
    }
    w->all_keys[w->n_keys++] = k;
    return k;
}

struct key *key_new(struct world *w, struct user *u, enum actor actor, int64_t at_ms)
{
    struct key *k = make_key(w, "AKIA");
    k->user = u;
    add_event(k, at_ms, KEY_ACTIVE, actor);
    for (int s = 0; s < SVC_SIGNED; s++) {
        const struct range *d = &w->set.new_key_delay_ms;
        k->usable_from_ms[s] = actor == ACTOR_INITIAL ? 0 : at_ms + rng_between(&w->rng, d->min, d->max);
    }
    struct key **at = &u->keys;
    while (*at) at = &(*at)->next;
    *at = k;
    return k;
}

struct key *key_new_session(struct world *w, struct session *s)
{
    struct key *k = make_key(w, "ASIA");
    k->session = s;
    return k;
}

struct key *key_find(const struct world *w, const char *id)
{
    return table_get(&w->keys, id);
}

void key_set_status(struct world *w, struct key *k, enum key_status status, enum actor actor)
{
    int64_t now = world_now_ms(w);
    if (k->status == status) return;
    k->was_status = k->status;
    k->status = (uint8_t)status;
    add_event(k, now, status, actor);
    for (int s = 0; s < SVC_SIGNED; s++)
        k->lag_until_ms[s] = now + rng_between(&w->rng, w->set.status_delay_ms.min, w->set.status_delay_ms.max);
}

bool key_usable(struct world *w, struct key *k, enum service s, int64_t now_ms)
{
    uint8_t seen = now_ms < k->lag_until_ms[s] ? k->was_status : k->status;
    if (seen != KEY_ACTIVE || now_ms < k->usable_from_ms[s]) return false;
    if (w->set.flap_ms && k->usable_from_ms[s] && now_ms < k->usable_from_ms[s] + w->set.flap_ms)
        return rng_unit(&w->rng) >= FLAP_REFUSED;
    return true;
}

bool key_seen_at(const struct key *k, int64_t at_ms, enum key_status *ret_status)
{
    const struct key_event *last = NULL;
    for (uint32_t i = 0; i < k->n_events && k->events[i].at_ms <= at_ms; i++) last = &k->events[i];
    if (!last || last->status == KEY_DELETED) return false;
    *ret_status = last->status;
    return true;
}

int user_key_count(const struct user *u)
{
    int n = 0;
    for (const struct key *k = u->keys; k; k = k->next) n += k->status != KEY_DELETED;
    return n;
}

/* ---- users and accounts ---------------------------------------------------------------------------------- */

static char *index_of(const struct account *a, const char *name)
{
    char *text = must_alloc(strlen(a->id) + strlen(name) + 2);
    (void)sprintf(text, "%s/%s", a->id, name);
    for (char *p = text; *p; p++) *p = (char)tolower((unsigned char)*p);
    return text;
}

struct user *world_user(const struct world *w, const struct account *a, const char *name)
{
    char text[160];
    int n = snprintf(text, sizeof(text), "%s/%s", a->id, name);
    if (n < 0 || (size_t)n >= sizeof(text)) return NULL;
    for (char *p = text; *p; p++) *p = (char)tolower((unsigned char)*p);
    return table_get(&w->users, text);
}

struct user *world_add_user(struct world *w, struct account *a, const char *name, const char *path, enum role role)
{
    struct user *u = must_alloc(sizeof(*u));
    u->name = must_dup(name);
    u->index = index_of(a, name);
    u->path = path;
    u->account = a;
    u->role = role;
    u->created_ms = world_now_ms(w);
    (void)strcpy(u->id, "AIDA");
    rng_text(&w->rng, BASE32, 17, u->id + 4);
    table_put(&w->users, u->index, u);
    if (a->n_users == a->cap_users) {
        a->cap_users = a->cap_users ? a->cap_users * 2 : 16;
        a->users = must_realloc(a->users, a->cap_users * sizeof(struct user *));
    }
    a->users[a->n_users++] = u;
    return u;
}

struct account *world_account(const struct world *w, const char *id)
{
    for (size_t i = 0; i < w->n_accounts; i++)
        if (strcmp(w->accounts[i].id, id) == 0) return &w->accounts[i];
    return NULL;
}

const char *user_arn(struct arena *a, const struct user *u)
{
    return arena_printf(a, "arn:aws:iam::%s:user%s%s", u->account->id, u->path, u->name);
}

const char *licence_profile(const struct licence *l)
{
    if (!l->flags.write) return "assisted";
    return l->flags.readback ? "default" : "no-readback";
}

/* In the order of their keys, as IAM lists them. */
int user_tags(struct arena *a, const struct world *w, const struct user *u, struct tag tags[USER_TAGS_MAX])
{
    const struct licence *l = u->licence;
    int n = 0;
    if (!l) return 0;
    tags[n++] = (struct tag){"synergist:bucket", l->bucket};
    if (w->credentials[0])
        tags[n++] = (struct tag){"synergist:credentials", arena_printf(a, "file:%s", w->credentials)};
    tags[n++] = (struct tag){"synergist:instance", arena_printf(a, "%s://127.0.0.1:%d/%s", w->port ? "http" : "https",
                                                                w->port ? w->port : w->tls_port, l->name)};
    tags[n++] = (struct tag){"synergist:licence", l->name};
    tags[n++] = (struct tag){"synergist:profile", licence_profile(l)};
    tags[n++] = (struct tag){"synergist:region", l->region};
    tags[n++] = (struct tag){"synergist:time-zone", w->time_zone};
    return n;
}

/* ---- licences -------------------------------------------------------------------------------------------- */

static void pair_set(struct pair *p, const char *id, const char *secret)
{
    char *new_id = id ? must_dup(id) : NULL, *new_secret = secret ? must_dup(secret) : NULL;
    free(p->id);
    free(p->secret);
    *p = (struct pair){new_id, new_secret};
}

static void remember_held(struct licence *l)
{
    const char *id = l->stored.id;
    if (!id || (l->n_held && strcmp(l->held[l->n_held - 1], id) == 0)) return;
    l->held = must_realloc(l->held, (l->n_held + 1) * sizeof(char *));
    l->held[l->n_held++] = must_dup(id);
}

void instance_store(struct world *w, struct licence *l, const char *id, const char *secret)
{
    struct pair old = l->stored;
    l->stored = (struct pair){0};
    pair_set(&l->stored, id, secret);
    free(l->before.id);
    free(l->before.secret);
    l->before = old;
    remember_held(l);
    l->stored_key = l->stored.id ? key_find(w, l->stored.id) : NULL;
    if (l->stored_key) l->stored_key->stored_once = true;
}

void instance_write(struct world *w, struct licence *l, const char *id, const char *secret)
{
    int64_t now = world_now_ms(w);
    l->writes++;
    w->totals.writes++;
    l->record_version++;
    l->modified_ms = now;
    if (l->flags.lose_writes) return;
    if (l->flags.show_old_ms) l->show_old_until_ms = now + l->flags.show_old_ms;
    if (!l->flags.apply_delay_ms) {
        l->apply_at_ms = 0; /* a later write wins over one still waiting */
        instance_store(w, l, id, secret);
        return;
    }
    pair_set(&l->pending, id, secret);
    l->apply_at_ms = now + l->flags.apply_delay_ms;
}

struct licence *world_licence(const struct world *w, const char *name)
{
    char lower[64];
    size_t n = strlen(name);
    if (n >= sizeof(lower)) return NULL;
    for (size_t i = 0; i <= n; i++) lower[i] = (char)tolower((unsigned char)name[i]);
    return table_get(&w->licence_by_name, lower);
}

/* The static name of a kind of start, or NULL. */
static const char *known_kind(const char *kind)
{
    static const char *const kinds[] = {"plain",           "expired",       "inactive",     "two-keys",
                                        "inactive-second", "none",          "no-readback",  "assisted",
                                        "xml-errors",      "oldxml-errors", "html-errors",  "json-errors",
                                        "json200-errors",  "mixed-case",    "no-presigned", "no-test"};
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (strcmp(kind, kinds[i]) == 0) return kinds[i];
    return NULL;
}

bool world_kind_known(const char *kind)
{
    return known_kind(kind) != NULL;
}

/* Gives the new licence the keys and flags of its odd start. */
static void apply_kind(struct world *w, struct licence *l, const char *kind, int64_t age_ms)
{
    l->kind = kind;
    int64_t born = l->user->created_ms = world_now_ms(w) - age_ms;
    struct key *k = strcmp(kind, "none") == 0 ? NULL : key_new(w, l->user, ACTOR_INITIAL, born);
    if (k) instance_store(w, l, k->id, k->secret);
    if (strcmp(kind, "expired") == 0) key_set_status(w, k, KEY_DELETED, ACTOR_INITIAL);
    if (strcmp(kind, "inactive") == 0) key_set_status(w, k, KEY_INACTIVE, ACTOR_INITIAL);
    if (strcmp(kind, "two-keys") == 0) (void)key_new(w, l->user, ACTOR_INITIAL, born + age_ms / 2);
    if (strcmp(kind, "inactive-second") == 0)
        key_set_status(w, key_new(w, l->user, ACTOR_INITIAL, born + age_ms / 2), KEY_INACTIVE, ACTOR_INITIAL);
    if (k) memset(k->lag_until_ms, 0, sizeof(k->lag_until_ms));
    l->flags.readback = strcmp(kind, "no-readback") != 0;
    l->flags.write = strcmp(kind, "assisted") != 0;
    l->flags.presigned = strcmp(kind, "no-presigned") != 0;
    l->flags.test = strcmp(kind, "no-test") != 0;
    l->flags.mixed_case = strcmp(kind, "mixed-case") == 0;
    if (strcmp(kind, "oldxml-errors") == 0) l->flags.error_style = STYLE_OLD_XML;
    if (strcmp(kind, "html-errors") == 0) l->flags.error_style = STYLE_HTML;
    if (strcmp(kind, "json-errors") == 0) l->flags.error_style = STYLE_JSON;
    if (strcmp(kind, "json200-errors") == 0) l->flags.error_style = STYLE_JSON_200;
}

static void name_licence(struct world *w, struct licence *l, const char *name)
{
    char text[64];
    if (name)
        (void)snprintf(text, sizeof(text), "%s", name);
    else
        (void)snprintf(text, sizeof(text), "%s%06zu", w->licence_prefix, w->n_licences + 1);
    l->name = must_dup(text);
    for (char *p = text; *p; p++) *p = (char)tolower((unsigned char)*p);
    l->lower = must_dup(text);
    char bucket[80];
    (void)snprintf(bucket, sizeof(bucket), "synergist-%s", text);
    l->bucket = must_dup(bucket);
}

struct licence *world_add_licence(struct world *w, const struct licence_start *start)
{
    const char *kind = known_kind(start->kind ? start->kind : "plain");
    if (!kind || (start->name && (!*start->name || strlen(start->name) > 47 || world_licence(w, start->name))))
        return NULL;
    struct licence *l = must_alloc(sizeof(*l));
    name_licence(w, l, start->name);
    l->region = w->region;
    rng_text(&w->rng, "abcdefghijkmnpqrstuvwxyz23456789", 24, l->password);
    rng_text(&w->rng, "0123456789ABCDEF", 32, l->uuid);
    l->record_version = 1;
    l->modified_ms = world_now_ms(w);
    char name[128];
    (void)snprintf(name, sizeof(name), "SynergistExpress-%s", l->name);
    struct account *a = &w->accounts[w->n_licences % w->n_accounts];
    l->user = world_add_user(w, a, name, w->user_path, ROLE_INSTANCE);
    l->user->licence = l;
    if (w->n_licences == w->cap_licences) {
        w->cap_licences = w->cap_licences ? w->cap_licences * 2 : 64;
        w->licences = must_realloc(w->licences, w->cap_licences * sizeof(struct licence *));
    }
    w->licences[w->n_licences++] = l;
    table_put(&w->licence_by_name, l->lower, l);
    table_put(&w->bucket_owner, l->bucket, l);
    apply_kind(w, l, kind, start->key_age_ms);
    return l;
}

/* ---- beginning and end ----------------------------------------------------------------------------------- */

void world_init(struct world *w, size_t n_accounts)
{
    w->started_ms = world_now_ms(w);
    w->n_accounts = n_accounts;
    w->accounts = must_alloc(n_accounts * sizeof(*w->accounts));
    for (size_t i = 0; i < n_accounts; i++) {
        struct account *a = &w->accounts[i];
        (void)snprintf(a->id, sizeof(a->id), "1000000%05u", (unsigned)i + 1);
        a->operator_user = world_add_user(w, a, "keyroll-operator", "/", ROLE_OPERATOR);
        a->operator_key = key_new(w, a->operator_user, ACTOR_INITIAL, w->started_ms);
    }
    w->rotator_user = world_add_user(w, &w->accounts[0], "keyroll-rotator", "/", ROLE_ROTATOR);
    w->rotator_key = key_new(w, w->rotator_user, ACTOR_INITIAL, w->started_ms);
}

static void free_licence(struct licence *l)
{
    while (l->objects) {
        struct object *next = l->objects->next;
        free(l->objects->name);
        free(l->objects->data);
        free(l->objects);
        l->objects = next;
    }
    struct pair *pairs[] = {&l->stored, &l->before, &l->pending};
    for (size_t i = 0; i < 3; i++) pair_set(pairs[i], NULL, NULL);
    free(l->name);
    free(l->lower);
    free(l->bucket);
    for (uint32_t i = 0; i < l->n_held; i++) free(l->held[i]);
    free(l->held);
    free(l->counts);
    free(l->calls);
    free(l);
}

static void free_account(struct account *a)
{
    for (size_t i = 0; i < a->n_users; i++) {
        free(a->users[i]->name);
        free(a->users[i]->index);
        free(a->users[i]);
    }
    free(a->users);
    free(a->report.csv);
}

static void free_key(struct key *k)
{
    if (k->session) {
        free(k->session->token);
        free(k->session->name);
        free(k->session->role_name);
        free(k->session);
    }
    sigv4_cache_free(k->cache);
    free(k->events);
    free(k);
}

void world_done(struct world *w)
{
    for (size_t i = 0; i < w->n_licences; i++) free_licence(w->licences[i]);
    for (size_t i = 0; i < w->n_keys; i++) free_key(w->all_keys[i]);
    for (size_t i = 0; i < w->n_accounts; i++) free_account(&w->accounts[i]);
    free(w->licences);
    free(w->all_keys);
    free(w->accounts);
    table_done(&w->keys);
    table_done(&w->users);
    table_done(&w->licence_by_name);
    table_done(&w->bucket_owner);
    policy_free(w->policy);
}
