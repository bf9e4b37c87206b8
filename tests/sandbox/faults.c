/* Faults by rule.
 *
 * A rule has conditions (all must hold) and one effect. Rules are tried in the order they were added; the first that
 * applies is taken. `nth` lets a rule hit only the nth request that meets its other conditions, `count` ends it after
 * that many hits, `probability` draws from the seeded generator. What an effect means is told in dispatch.c. */
#include "tests/sandbox/faults.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct rule {
    struct rule *next;
    char *service; /* NULL = any */
    char *action;
    char *user;
    char *licence;
    char *account;
    char *effect;
    char *text;
    enum fault_kind kind;
    int64_t ms;
    int http;
    double probability;
    long long nth;   /* 0 = every one */
    long long count; /* hits left; -1 = no end */
    long long seen;
    long long hits;
};

static struct rule *rules;

static void free_rule(struct rule *rule)
{
    free(rule->service);
    free(rule->action);
    free(rule->user);
    free(rule->licence);
    free(rule->account);
    free(rule->effect);
    free(rule->text);
    free(rule);
}

void faults_clear(void)
{
    while (rules) {
        struct rule *next = rules->next;
        free_rule(rules);
        rules = next;
    }
}

/* ---- reading --------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum fault_kind kind;
    const char *argument; /* "" none, "ms", "ms?", "code", "url" */
} kinds[] = {
    {"refuse", FAULT_REFUSE, "code"},
    {"throttle", FAULT_THROTTLE, ""},
    {"effect-then-close", FAULT_EFFECT_THEN_CLOSE, ""},
    {"effect-then-500", FAULT_EFFECT_THEN_500, ""},
    {"close-before", FAULT_CLOSE_BEFORE, ""},
    {"timeout", FAULT_TIMEOUT, "ms"},
    {"delay-effect", FAULT_DELAY_EFFECT, "ms"},
    {"close-then-effect", FAULT_CLOSE_THEN_EFFECT, "ms"},
    {"slow", FAULT_SLOW, "ms"},
    {"stale-list", FAULT_STALE_LIST, "ms?"},
    {"bad-xml", FAULT_BAD_XML, ""},
    {"endless-body", FAULT_ENDLESS_BODY, ""},
    {"redirect", FAULT_REDIRECT, "url"},
    {"retry-after", FAULT_RETRY_AFTER, "ms"},
};

static const char *parse_argument(struct rule *rule, const char *wanted, const char *given)
{
    char *end = NULL;
    if (!*wanted) return given ? "this effect takes no argument" : NULL;
    if (!given && strcmp(wanted, "ms?") == 0) {
        rule->ms = 60000;
        return NULL;
    }
    if (!given) return "the effect lacks its argument";
    if (strcmp(wanted, "url") == 0) {
        rule->text = must_dup(given);
        return NULL;
    }
    if (strcmp(wanted, "code") == 0) {
        const char *colon = strchr(given, ':');
        rule->http = colon ? atoi(colon + 1) : 400;
        rule->text = must_dup(given);
        rule->text[strcspn(rule->text, ":")] = 0;
        return rule->http >= 200 && rule->http <= 599 ? NULL : "refuse wants CODE:HTTP";
    }
    rule->ms = strtoll(given, &end, 10);
    return *end || rule->ms < 0 ? "the effect wants milliseconds" : NULL;
}

static const char *parse_effect(struct rule *rule, const char *effect)
{
    if (!effect) return "a rule has no effect";
    size_t len = strcspn(effect, ":");
    rule->effect = must_dup(effect);
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strlen(kinds[i].name) != len || strncmp(kinds[i].name, effect, len) != 0) continue;
        rule->kind = kinds[i].kind;
        return parse_argument(rule, kinds[i].argument, effect[len] ? effect + len + 1 : NULL);
    }
    return "unknown effect";
}

static const char *parse_match(struct rule *rule, json_t *match)
{
    const char *name;
    json_t *value;
    json_object_foreach(match, name, value)
    {
        const char *text = json_string_value(value);
        char **place = strcmp(name, "action") == 0 || strcmp(name, "op") == 0 ? &rule->action
                       : strcmp(name, "service") == 0                         ? &rule->service
                       : strcmp(name, "user") == 0                            ? &rule->user
                       : strcmp(name, "licence") == 0                         ? &rule->licence
                       : strcmp(name, "account") == 0                         ? &rule->account
                                                                              : NULL;
        if (place && text) {
            free(*place);
            *place = must_dup(text);
        } else if (strcmp(name, "nth") == 0 && json_is_integer(value)) {
            rule->nth = json_integer_value(value);
        } else if (strcmp(name, "probability") == 0 && json_is_number(value)) {
            rule->probability = json_number_value(value);
        } else {
            return "a match has an unknown member or type";
        }
    }
    return NULL;
}

static const char *parse_rule(struct rule *rule, const json_t *j)
{
    json_t *count = json_object_get(j, "count");
    rule->probability = 1;
    rule->count = json_is_integer(count) ? json_integer_value(count) : -1;
    if (!json_is_object(j)) return "a rule is no object";
    const char *problem = parse_match(rule, json_object_get(j, "match"));
    return problem ? problem : parse_effect(rule, json_string_value(json_object_get(j, "effect")));
}

int faults_add(const json_t *list, const char **ret_reason)
{
    struct rule *made = NULL, **at = &made;
    size_t n = json_is_array(list) ? json_array_size(list) : 1;
    const char *problem = NULL;
    for (size_t i = 0; i < n && !problem; i++) {
        struct rule *rule = *at = must_alloc(sizeof(*rule));
        at = &rule->next;
        problem = parse_rule(rule, json_is_array(list) ? json_array_get(list, i) : list);
    }
    if (problem) {
        while (made) {
            struct rule *next = made->next;
            free_rule(made);
            made = next;
        }
        *ret_reason = problem;
        return -1;
    }
    for (at = &rules; *at; at = &(*at)->next)
        ;
    *at = made;
    return (int)n;
}

/* ---- matching -------------------------------------------------------------------------------------------- */

static bool same(const char *wanted, const char *is)
{
    return !wanted || (is && strcasecmp(wanted, is) == 0);
}

static bool meets(const struct rule *rule, const struct request *r)
{
    return same(rule->service, service_name(r->service)) && same(rule->action, r->action) &&
           same(rule->user, r->target ? r->target->name : NULL) &&
           same(rule->licence, r->licence ? r->licence->name : NULL) &&
           same(rule->account, r->account ? r->account->id : NULL);
}

struct fault *faults_match(struct world *w, struct request *r)
{
    for (struct rule *rule = rules; rule; rule = rule->next) {
        if (rule->count == 0 || !meets(rule, r)) continue;
        rule->seen++;
        if (rule->nth && rule->seen != rule->nth) continue;
        if (rule->probability < 1 && rng_unit(&w->rng) >= rule->probability) continue;
        if (rule->count > 0) rule->count--;
        rule->hits++;
        struct fault *f = arena_alloc(&r->arena, sizeof(*f));
        *f = (struct fault){rule->kind, rule->ms, rule->http,
                            rule->text ? arena_dup(&r->arena, rule->text, strlen(rule->text)) : NULL};
        return f;
    }
    return NULL;
}

json_t *faults_json(void)
{
    json_t *list = json_array();
    for (const struct rule *rule = rules; rule; rule = rule->next)
        (void)json_array_append_new(list, json_pack("{s:s?,s:s?,s:s?,s:s?,s:s?,s:s,s:I,s:I,s:I}", "service",
                                                    rule->service, "action", rule->action, "user", rule->user,
                                                    "licence", rule->licence, "account", rule->account, "effect",
                                                    rule->effect, "seen", (json_int_t)rule->seen, "hits",
                                                    (json_int_t)rule->hits, "left", (json_int_t)rule->count));
    return list;
}
