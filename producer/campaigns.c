/* Campaigns in the scheduler (campaigns.h).
 *
 * Everything is level-triggered: documents are read at every tick, members are judged by their records, and the open
 * wave follows from how the members stand. What this file keeps between ticks is thrift (parsed documents, orders) and
 * the time at which a wave was opened, for the pace; a new scheduler opens it anew, which can only slow it down.
 *
 * The document is Redis's; the topic is the second witness. Whatever Redis holds newer than the topic is produced
 * again, whatever Redis lost is put back at revision 0, so that either may be lost at any moment. */
#include "producer/campaigns.h"

#include "lib/err.h"
#include "lib/log.h"
#include "producer/map.h"

#include <stdio.h>
#include <string.h>

#define MARKS_MAX 200 /* leaked keys marked per survey: each costs a command */

/* What the topic says of one name. */
struct witness {
    char *doc;
    size_t len;
    int64_t revision;
};

/* One document of Redis. */
struct one {
    struct one *next;
    char *raw;
    size_t raw_len;
    bool there; /* seen in the last read */
    struct campaign doc;
    struct campaign_members members;
    bool has_members;
    size_t wave, waves, before, bound, allowed;
    int64_t opened_ms;
};

struct campaigns {
    struct campaigns_options o;
    const struct inventory *inv;
    struct one *first;
    struct map topic; /* name -> struct witness */
    bool caught_up, loading;
    struct ticket loaded;
    unsigned marks;
    struct metric *m_members, *m_stopped;
};

/* A write under way. */
struct put {
    struct campaigns *c;
    char name[CAMPAIGN_NAME_MAX];
    char *doc;
    size_t len;
};

struct campaigns *campaigns_new(const struct campaigns_options *o)
{
    struct campaigns *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->o = *o;
    c->m_members = metric_new(o->metrics, METRIC_GAUGE, "keyroll_campaign_licences",
                              "Licences of the running campaigns by how they stand", "campaign", "state", NULL, 0);
    c->m_stopped = metric_new(o->metrics, METRIC_COUNTER, "keyroll_campaigns_stopped_total",
                              "Campaigns that their failures stopped", NULL, NULL, NULL, 0);
    return c;
}

static void one_free(struct one *n)
{
    campaign_done(&n->doc);
    campaign_members_done(&n->members);
    free(n->raw);
    free(n);
}

static void witness_free(void *value)
{
    struct witness *w = value;
    free(w->doc);
    free(w);
}

void campaigns_free(struct campaigns *c)
{
    if (!c) return;
    for (struct one *n = c->first, *next; n; n = next) {
        next = n->next;
        one_free(n);
    }
    map_done(&c->topic, witness_free);
    free(c);
}

void campaigns_renew(struct campaigns *c, const struct inventory *inv)
{
    c->inv = inv;
    for (struct one *n = c->first; n; n = n->next) {
        campaign_members_done(&n->members);
        n->has_members = false;
    }
}

/* ---- the topic ---- */

bool campaigns_take(struct campaigns *c, const struct kafka_message_in *m)
{
    AUTO_CAMPAIGN struct campaign *doc = calloc(1, sizeof *doc);
    if (!doc || !m->value_len || campaign_decode(m->value, m->value_len, doc, NULL) < 0) return false;
    struct witness *w = map_get(&c->topic, doc->name);
    if (w && w->revision >= doc->revision) return false;
    struct witness *fresh = calloc(1, sizeof *fresh);
    if (fresh) fresh->doc = malloc(m->value_len);
    void *before = NULL;
    if (!fresh || !fresh->doc || map_put(&c->topic, doc->name, fresh, &before) < 0) {
        if (fresh) witness_free(fresh);
        return false;
    }
    memcpy(fresh->doc, m->value, m->value_len);
    fresh->len = m->value_len;
    fresh->revision = doc->revision;
    if (before) witness_free(before);
    return c->caught_up;
}

void campaigns_caught_up(struct campaigns *c)
{
    c->caught_up = true;
}

static void on_produced(void *self, uint64_t id, const void *result)
{
    const struct kafka_report *r = result;
    (void)self;
    (void)id;
    if (r->err)
        LOG(LOG_LEVEL_WARN, "campaign-unwitnessed",
            "a campaign could not be written to Kafka yet: again at the next tick",
            LOG_S("error.code", err_name(r->err)));
}

static void produce(struct campaigns *c, const char *name, const char *doc, size_t len)
{
    const struct kafka_message_out m = {c->o.topic, name, strlen(name), doc, len, NULL, 0};
    (void)!c->o.kafka.produce(c->o.kafka.self, &m, (struct ticket){on_produced, c, 0}); /* else at the next tick */
}

/* ---- writing ---- */

static void on_put(void *self, uint64_t id, const void *result)
{
    struct put *p = self;
    const struct store_reply *r = result;
    (void)id;
    if (r->err == 0)
        produce(p->c, p->name, p->doc, p->len);
    else if (r->err != ERR_JOURNAL_VERSION && r->err != ERR_CANCELLED)
        LOG(LOG_LEVEL_WARN, "campaign", "a campaign could not be written to Redis yet: again at the next tick",
            LOG_S("keyroll.campaign", p->name), LOG_S("error.code", err_name(r->err)));
    free(p->doc);
    free(p);
}

/* Takes doc over. expected: the revision that is there. */
static void put(struct campaigns *c, const char *name, char *doc, size_t len, int64_t expected)
{
    char opid[STORE_TOKEN_MAX];
    struct put *p = calloc(1, sizeof *p);
    if (!p) {
        free(doc);
        return;
    }
    *p = (struct put){.c = c, .doc = doc, .len = len};
    snprintf(p->name, sizeof p->name, "%s", name);
    store_opid(c->o.store, opid);
    if (store_campaign_put(c->o.store, name, expected, opid, doc, len, (struct ticket){on_put, p, 0}) == 0) return;
    free(p->doc);
    free(p);
}

static void change(struct campaigns *c, struct one *n, enum campaign_state state, const char *why)
{
    struct campaign doc = n->doc; /* borrows the list */
    struct buf text;
    buf_init(&text, CAMPAIGN_MAX_BYTES);
    doc.state = (int)state;
    doc.revision++;
    doc.changed_at_ms = clock_wall_ms(c->o.clock);
    snprintf(doc.by, sizeof doc.by, "%s", c->o.by);
    message_words(doc.why, sizeof doc.why, why);
    int rc = campaign_encode(&doc, &text);
    if (rc == 0)
        put(c, doc.name, text.data, text.len, n->doc.revision);
    else
        buf_done(&text);
}

/* ---- reading ---- */

static struct one *find(struct campaigns *c, const char *name)
{
    for (struct one *n = c->first; n; n = n->next)
        if (strcmp(n->doc.name, name) == 0) return n;
    return NULL;
}

/* Another document under a known name keeps how far its wave is, unless who belongs to it changed. */
static void adopt(struct one *n, struct campaign *doc)
{
    bool same = n->doc.selector == doc->selector && strcmp(n->doc.filter, doc->filter) == 0 &&
                n->doc.created_at_ms == doc->created_at_ms;
    campaign_done(&n->doc);
    n->doc = *doc;
    doc->list = NULL;
    if (same) return;
    campaign_members_done(&n->members);
    n->has_members = false;
    n->wave = 0;
}

static void read_one(struct campaigns *c, const char *name, const char *bytes, size_t len)
{
    struct one *n = find(c, name);
    if (n && n->raw_len == len && memcmp(n->raw, bytes, len) == 0) {
        n->there = true;
        return;
    }
    AUTO_CAMPAIGN struct campaign *doc = calloc(1, sizeof *doc);
    char *raw = malloc(len + 1);
    int rc = doc && raw ? campaign_decode(bytes, len, doc, NULL) : ERR_NOMEM;
    if (!n && rc == 0 && (n = calloc(1, sizeof *n))) {
        n->next = c->first;
        c->first = n;
    }
    if (rc < 0 || !n) {
        free(raw);
        LOG(LOG_LEVEL_ERROR, "campaign", "a campaign cannot be read: a newer keyroll may have written it",
            LOG_S("keyroll.campaign", name));
        return;
    }
    adopt(n, doc);
    memcpy(raw, bytes, len);
    free(n->raw);
    n->raw = raw;
    n->raw_len = len;
    n->there = true;
}

static void drop_absent(struct campaigns *c)
{
    for (struct one **at = &c->first, *n; (n = *at);) {
        if (n->there) {
            at = &n->next;
            continue;
        }
        *at = n->next;
        one_free(n);
    }
}

/* Redis and the topic, each brought up to date by the other. */
static void reconcile(struct campaigns *c)
{
    const char *name;
    size_t at = 0;
    if (!c->caught_up) return;
    for (struct one *n = c->first; n; n = n->next) {
        const struct witness *w = map_get(&c->topic, n->doc.name);
        if (!w || w->revision < n->doc.revision) produce(c, n->doc.name, n->raw, n->raw_len);
    }
    for (struct witness *w; (w = map_next(&c->topic, &at, &name));) {
        if (find(c, name)) continue;
        char *doc = malloc(w->len);
        if (!doc) return;
        memcpy(doc, w->doc, w->len);
        LOG(LOG_LEVEL_WARN, "campaign-restored", "Redis had lost it: put back from the campaigns topic",
            LOG_S("keyroll.campaign", name));
        put(c, name, doc, w->len, 0);
    }
}

static void ensure_members(struct campaigns *c, struct one *n)
{
    char reason[200] = "";
    if (n->has_members || !c->inv || n->doc.state > CAMPAIGN_PAUSED) return;
    int rc = campaign_members_find(&n->doc, c->inv, &n->members, reason);
    if (rc < 0) {
        LOG(LOG_LEVEL_ERROR, "campaign", reason[0] ? reason : err_text(rc), LOG_S("keyroll.campaign", n->doc.name));
        return;
    }
    n->has_members = true;
    n->wave = 0;
    n->before = 0;
    n->bound = n->allowed = 0; /* nothing is begun before it is known how far it is */
}

static void on_documents(void *self, uint64_t id, const void *result)
{
    struct campaigns *c = self;
    const struct redis_reply *r = result;
    (void)id;
    c->loading = false;
    if (!r->err && r->value->type == REDIS_ARRAY) {
        for (struct one *n = c->first; n; n = n->next) n->there = false;
        for (size_t i = 0; i + 1 < r->value->count; i += 2) {
            const struct redis_value *k = redis_item(r->value, i), *v = redis_item(r->value, i + 1);
            if (k && v && k->type == REDIS_STRING && v->type == REDIS_STRING) read_one(c, k->str, v->str, v->len);
        }
        drop_absent(c);
        reconcile(c);
    }
    for (struct one *n = c->first; n; n = n->next) ensure_members(c, n);
    c->marks = 0;
    ticket_complete(c->loaded, NULL);
}

int campaigns_load(struct campaigns *c, struct ticket t)
{
    char key[STORE_KEY_MAX];
    if (c->loading) return ERR_BUSY;
    store_key(c->o.store, NULL, "campaigns", key);
    const struct redis_arg words[] = {{"HGETALL", 7}, {key, strlen(key)}};
    c->loaded = t;
    int rc = c->o.store->redis.command(c->o.store->redis.self, 2, words, (struct ticket){on_documents, c, 0});
    c->loading = rc == 0;
    return rc;
}

/* ---- during a survey ---- */

static void on_marked(void *self, uint64_t id, const void *result)
{
    (void)self, (void)id, (void)result; /* whether it is there shows at the next look */
}

static void mark(struct campaigns *c, const struct inventory_row *who, const char *key_id)
{
    char user_key[IDENTITY_KEY_MAX];
    if (c->marks >= MARKS_MAX || c->o.observe || identity_key(who->account, who->user, user_key) < 0) return;
    if (store_mark_exposed(c->o.store, user_key, key_id, (struct ticket){on_marked, c, 0}) == 0) c->marks++;
}

void campaigns_adjust(void *arg, size_t row, const struct inventory_row *who, const struct policy *p,
                      const struct store_peek *u, struct policy_verdict *v)
{
    struct campaigns *c = arg;
    for (struct one *n = c->first; n; n = n->next) {
        if (!n->has_members || row >= n->members.rows || n->members.place[row] == UINT32_MAX) continue;
        size_t place = n->members.place[row];
        enum campaign_member m = campaign_judge(&n->doc, u);
        n->members.now[place] = (uint8_t)m;
        if (n->doc.state != CAMPAIGN_RUNNING || place >= n->allowed) continue;
        const char *leaked = campaign_member_ended(m) ? NULL : campaign_to_mark(&n->doc, u);
        if (leaked) mark(c, who, leaked);
        if (m != MEMBER_PENDING) continue;
        int64_t now = clock_wall_ms(c->o.clock);
        campaign_ask(&n->doc, u, now, v);
        if (v->rank == POLICY_ROTATE)
            policy_put_off(p, now, v); /* an emergency is due by its mark, and waits for nothing */
        v->held = policy_is_due(v) && c->o.observe && v->kind != JOB_AUDIT;
    }
}

/* ---- after it ---- */

static void tell(struct campaigns *c, const struct one *n, const struct campaign_progress *p)
{
    for (int i = 0; i < MEMBER_KINDS; i++)
        metric_set(c->m_members, n->doc.name, campaign_member_name((enum campaign_member)i), (double)p->count[i]);
}

static void end_campaign(struct campaigns *c, struct one *n, const struct campaign_progress *p)
{
    char why[200];
    if (p->too_many) {
        LOG(LOG_LEVEL_ERROR, "campaign-stopped", p->why, LOG_S("keyroll.campaign", n->doc.name));
        metric_add(c->m_stopped, NULL, NULL, 1);
        change(c, n, CAMPAIGN_STOPPED, p->why);
        return;
    }
    snprintf(why, sizeof why, "%zu done, %zu failed, %zu wait for a person, %zu left out", p->count[MEMBER_DONE],
             p->count[MEMBER_FAILED], p->count[MEMBER_PERSON], p->count[MEMBER_LEFT_OUT]);
    LOG(LOG_LEVEL_INFO, "campaign-done", why, LOG_S("keyroll.campaign", n->doc.name));
    change(c, n, CAMPAIGN_DONE, why);
}

/* How far it may go until the next look. True: farther than before. */
static bool open_wave(struct campaigns *c, struct one *n, const struct campaign_progress *p)
{
    int64_t now = clock_wall_ms(c->o.clock);
    size_t was = n->allowed;
    if (p->wave != n->wave) {
        LOG(LOG_LEVEL_INFO, "campaign-wave", "opened", LOG_S("keyroll.campaign", n->doc.name),
            LOG_I("keyroll.wave", p->wave), LOG_I("keyroll.waves", p->waves), LOG_I("keyroll.licences", p->bound));
        n->before = n->wave ? n->bound : 0;
        n->wave = p->wave;
        n->waves = p->waves;
        n->bound = p->bound;
        n->opened_ms = now;
    }
    n->allowed = campaign_allowed(&n->doc, n->before, n->bound, n->opened_ms, now);
    return n->allowed > was;
}

bool campaigns_wait(const struct campaigns *c)
{
    for (const struct one *n = c->first; n; n = n->next)
        if (n->has_members && n->doc.state == CAMPAIGN_RUNNING && n->wave && n->wave < n->waves) return true;
    return false;
}

bool campaigns_sum_up(struct campaigns *c)
{
    bool again = c->marks > 0;
    for (struct one *n = c->first; n; n = n->next) {
        struct campaign_progress p;
        if (!n->has_members || n->doc.state > CAMPAIGN_PAUSED || campaign_sum(&n->doc, &n->members, &p) < 0) continue;
        tell(c, n, &p);
        if (n->doc.state != CAMPAIGN_RUNNING) continue;
        if (p.too_many || p.ended)
            end_campaign(c, n, &p);
        else if (open_wave(c, n, &p) && !n->doc.pace_milli)
            again = true;
    }
    return again;
}
