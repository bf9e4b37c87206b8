/* keyroll campaign list and show: how far campaigns are, from their documents and the licences' records. */
#include "lib/err.h"
#include "producer/campaign_cmd.h"
#include "producer/command.h"
#include "producer/progress.h"
#include "producer/subjects.h"
#include "producer/table.h"

#include <stdio.h>
#include <string.h>

#define WATCH_MS   1000
#define CAUSES_MAX 32

/* Failed licences by what they say. */
struct cause {
    char text[RECORD_TEXT_MAX], licence[IDENTITY_LICENCE_MAX];
    size_t n;
};
struct view {
    struct campaign_progress p;
    struct cause causes[CAUSES_MAX];
    size_t n_causes;
    struct campaign_rate rate; /* of the open wave */
};

static void add_cause(struct view *v, const struct subject *s)
{
    char text[RECORD_TEXT_MAX];
    snprintf(text, sizeof text, "%s: %s",
             s->peek.record.step[0] ? s->peek.record.step : record_state_name(s->peek.record.state),
             s->peek.record.error ? err_text(s->peek.record.error) : s->peek.record.reason);
    for (size_t i = 0; i < v->n_causes; i++) {
        if (strcmp(v->causes[i].text, text) != 0) continue;
        v->causes[i].n++;
        return;
    }
    if (v->n_causes == CAUSES_MAX) return;
    struct cause *c = &v->causes[v->n_causes++];
    *c = (struct cause){.n = 1};
    memcpy(c->text, text, sizeof c->text);
    snprintf(c->licence, sizeof c->licence, "%s", s->row->licence);
}

static int64_t rotated_since(const struct campaign *doc, const struct subject *s)
{
    int64_t at = s->peek.has_record ? s->peek.record.rotated_ms : TIME_NONE;
    return at == TIME_NONE || at < doc->created_at_ms ? TIME_NONE : at;
}

/* Judges all members anew. subjects: all rows of the inventory, in its order. */
static int look(struct client *c, const struct campaign *doc, const struct subjects *all, struct view *v)
{
    struct campaign_members m;
    char reason[200] = "";
    campaign_rate_done(&v->rate);
    *v = (struct view){.n_causes = 0};
    int rc = campaign_members_find(doc, all->inventory, &m, reason);
    if (rc < 0) return client_fail(c, rc, "%s", reason[0] ? reason : err_text(rc));
    for (size_t i = 0; i < m.n; i++) {
        const struct subject *s = &all->items[m.order[i]];
        enum campaign_member now = s->peek.err ? MEMBER_LEFT_OUT : campaign_judge(doc, &s->peek);
        m.now[i] = (uint8_t)now;
        if (now == MEMBER_FAILED || now == MEMBER_PERSON || now == MEMBER_LEFT_OUT) add_cause(v, s);
    }
    rc = campaign_sum(doc, &m, &v->p);
    for (size_t i = v->p.before; rc == 0 && i < v->p.bound; i++)
        campaign_rate_add(&v->rate, rotated_since(doc, &all->items[m.order[i]]));
    campaign_members_done(&m);
    return rc < 0 ? client_fail(c, rc, "its waves cannot be read") : 0;
}

static size_t ended(const struct view *v)
{
    size_t n = 0;
    for (int i = 0; i < MEMBER_KINDS; i++) n += campaign_member_ended((enum campaign_member)i) ? v->p.count[i] : 0;
    return n;
}

static void print_view(const struct campaign *doc, struct view *v)
{
    char at[TABLE_TIME_MAX], left[TABLE_TIME_MAX];
    int64_t left_ms = campaign_left_ms(&v->p, &v->rate);
    table_time(doc->created_at_ms, at);
    printf("campaign %s: %s%s%s\n", doc->name, campaign_state_name(doc->state), doc->why[0] ? ": " : "", doc->why);
    printf("  began %s by %s, reason %s, waves %s, wave %zu of %zu\n", at, doc->by, campaign_reason_name(doc->reason),
           doc->waves, v->p.wave, v->p.waves);
    for (int i = 0; i < MEMBER_KINDS; i++)
        if (v->p.count[i]) printf("  %-18s %zu\n", campaign_member_name((enum campaign_member)i), v->p.count[i]);
    if (left_ms != TIME_NONE && !v->p.ended && doc->state == CAMPAIGN_RUNNING) {
        table_span(left_ms, left);
        printf("  %.2f/s, about %s left\n", campaign_rate_per_s(&v->rate), left);
    }
    for (size_t i = 0; i < v->n_causes; i++)
        printf("  %zu: %s (%s%s)\n", v->causes[i].n, v->causes[i].text, v->causes[i].licence,
               v->causes[i].n > 1 ? " and others" : "");
}

static json_t *view_json(const struct campaign *doc, struct view *v)
{
    json_t *counts = json_object(), *causes = json_array();
    int64_t left_ms = campaign_left_ms(&v->p, &v->rate);
    for (int i = 0; i < MEMBER_KINDS; i++)
        json_object_set_new(counts, campaign_member_name((enum campaign_member)i),
                            json_integer((json_int_t)v->p.count[i]));
    for (size_t i = 0; i < v->n_causes; i++)
        json_array_append_new(causes, json_pack("{s:s, s:s, s:I}", "reason", v->causes[i].text, "licence",
                                                v->causes[i].licence, "licences", (json_int_t)v->causes[i].n));
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:f, s:o, s:o, s:o}", "name", doc->name,
                     "state", campaign_state_name(doc->state), "why", doc->why, "reason",
                     campaign_reason_name(doc->reason), "by", doc->by, "waves", doc->waves, "wave",
                     (json_int_t)v->p.wave, "licences", (json_int_t)v->p.members, "ended", (json_int_t)ended(v),
                     "created_at_ms", (json_int_t)doc->created_at_ms, "rate_per_s", campaign_rate_per_s(&v->rate),
                     "left_ms", left_ms == TIME_NONE ? json_null() : json_integer((json_int_t)left_ms), "counts",
                     counts, "causes", causes);
}

static int print_json(json_t *root)
{
    AUTO_FREE char *text = json_dumps(root, JSON_INDENT(2));
    if (!text) return command_fail(CAMPAIGN_COMMAND, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    puts(text);
    return EXIT_OK;
}

/* ---- show ---- */

static int refresh(struct client *c, const char *name, struct campaign *doc, struct subjects *all, struct view *v)
{
    campaign_done(doc);
    int rc = campaign_get(c, name, doc);
    if (rc == 0) rc = subjects_peek(c, all);
    return rc < 0 ? rc : look(c, doc, all, v);
}

static int watch_it(struct client *c, const char *name, struct campaign *doc, struct subjects *all, struct view *v)
{
    struct progress p;
    int rc = 0;
    progress_begin(&p, "ended", v->p.members, clock_mono_ms(&clock_system));
    while (rc == 0 && doc->state <= CAMPAIGN_PAUSED) {
        char note[80];
        int woken = 0;
        snprintf(note, sizeof note, "wave %zu of %zu, %s", v->p.wave, v->p.waves, campaign_state_name(doc->state));
        progress_show(&p, ended(v), v->p.count[MEMBER_FAILED], note, clock_mono_ms(&clock_system));
        client_pause(c, WATCH_MS, &woken);
        rc = refresh(c, name, doc, all, v);
    }
    progress_end(&p);
    return rc;
}

int campaign_cmd_show(const struct options *o, const char *name, bool json, bool watch)
{
    struct client c;
    struct campaign doc = {.list = NULL};
    struct subjects all = {0};
    AUTO_FREE struct view *v = calloc(1, sizeof *v);
    int code = EXIT_OK;
    if (!v || client_init(&c, o, "keyroll-campaign") < 0)
        return command_fail(CAMPAIGN_COMMAND, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    int rc = campaign_get(&c, name, &doc);
    if (rc == 0) rc = subjects_find(&c, 0, NULL, true, &all);
    if (rc == 0) rc = look(&c, &doc, &all, v);
    if (rc == 0 && watch) rc = watch_it(&c, name, &doc, &all, v);
    if (rc == 0 && json) {
        AUTO_JSON json_t *root = view_json(&doc, v);
        code = print_json(root);
    } else if (rc == 0) {
        print_view(&doc, v);
    }
    if (rc == 0 && code == EXIT_OK && (doc.state == CAMPAIGN_STOPPED || v->p.count[MEMBER_FAILED])) code = EXIT_BAD;
    campaign_rate_done(&v->rate);
    subjects_done(&all);
    campaign_done(&doc);
    if (rc < 0) return command_client_failed(CAMPAIGN_COMMAND, &c, rc);
    client_done(&c);
    return code;
}

/* ---- list ---- */

static void list_table(const struct campaign *list, size_t n)
{
    static const char *const heads[] = {"CAMPAIGN", "STATE", "REASON", "FOR", "BEGAN (UTC)", "BY", "WHY"};
    static const char *const selectors[] = {"all", "", "a list"};
    AUTO_TABLE struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < n; i++) {
        const struct campaign *doc = &list[i];
        char at[TABLE_TIME_MAX];
        table_time(doc->created_at_ms, at);
        table_add(&t, doc->name);
        table_add(&t, campaign_state_name(doc->state));
        table_add(&t, campaign_reason_name(doc->reason));
        table_add(&t, doc->selector == CAMPAIGN_FILTER ? doc->filter : selectors[doc->selector]);
        table_add(&t, at);
        table_add(&t, doc->by);
        table_add(&t, doc->why);
    }
    table_print(&t, stdout);
}

static int list_json(const struct campaign *list, size_t n)
{
    AUTO_JSON json_t *root = json_object();
    json_t *all = json_array();
    for (size_t i = 0; i < n; i++)
        json_array_append_new(all, json_pack("{s:s, s:s, s:s, s:s, s:I, s:s}", "name", list[i].name, "state",
                                             campaign_state_name(list[i].state), "reason",
                                             campaign_reason_name(list[i].reason), "by", list[i].by, "created_at_ms",
                                             (json_int_t)list[i].created_at_ms, "why", list[i].why));
    json_object_set_new(root, "campaigns", all);
    return print_json(root);
}

int campaign_cmd_list(const struct options *o, bool json)
{
    struct client c;
    struct campaign *list = NULL;
    size_t n = 0;
    int code = EXIT_OK;
    if (client_init(&c, o, "keyroll-campaign") < 0)
        return command_fail(CAMPAIGN_COMMAND, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    int rc = campaign_get_all(&c, &list, &n);
    if (rc < 0) return command_client_failed(CAMPAIGN_COMMAND, &c, rc);
    if (json)
        code = list_json(list, n);
    else
        list_table(list, n);
    campaign_list_free(list, n);
    client_done(&c);
    return code;
}
