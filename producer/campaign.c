/* Campaigns, decided from what is (campaign.h).
 *
 * Done is a fact of the record: a rotation that ended after the campaign began, whoever asked for it. So two campaigns
 * over one licence, a repeated message or a new scheduler never make a second rotation: the first one answers them all.
 * A failure counts from the same moment; one from before gets a new try. */
#include "producer/campaign.h"

#include "lib/err.h"
#include "lib/fnv.h"
#include "producer/filter.h"
#include "schema/keyslots.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define RATE_SPAN_MS 60000

const char *campaign_member_name(enum campaign_member m)
{
    static const char *const names[] = {
#define MEMBER_NAME(name, text) text,
        CAMPAIGN_MEMBERS(MEMBER_NAME)
#undef MEMBER_NAME
    };
    return names[m];
}

/* ---- settings ---- */

int campaign_waves(const char *text, size_t total, size_t ret_bounds[CAMPAIGN_STEPS_MAX], char reason[200])
{
    int n = 0;
    size_t before = 0;
    for (const char *p = text; *p;) {
        char *end;
        unsigned long long value = strtoull(p, &end, 10);
        bool percent = *end == '%';
        if (end == p || *p < '0' || *p > '9' || value == 0 || (percent && value > 100)) {
            snprintf(reason, 200, "waves \"%.60s\": write rising counts or shares, for example 1,10,100%%", text);
            return ERR_SYNTAX;
        }
        end += percent;
        if (*end == ',' && end[1]) end++;
        if (n == CAMPAIGN_STEPS_MAX || (*end && (end[-1] != ',' || *end < '0' || *end > '9'))) {
            snprintf(reason, 200, "waves \"%.60s\": at most %d, separated by commas", text, CAMPAIGN_STEPS_MAX);
            return ERR_SYNTAX;
        }
        size_t bound = percent ? (size_t)((total * value + 99) / 100) : value > total ? total : (size_t)value;
        if (bound > before || (n == 0 && total == 0)) ret_bounds[n++] = before = bound;
        p = end;
    }
    if (n == 0) {
        snprintf(reason, 200, "waves: name at least one, for example 100%%");
        return ERR_SYNTAX;
    }
    if (before < total) { /* the last wave is everybody */
        if (n == CAMPAIGN_STEPS_MAX) n--;
        ret_bounds[n++] = total;
    }
    return n;
}

/* Digits with at most two decimals, as hundredths; NULL: not so. */
static const char *read_hundredths(const char *text, int64_t *ret)
{
    char *end;
    if (*text < '0' || *text > '9') return NULL;
    long long whole = strtoll(text, &end, 10), part = 0;
    if (whole > 1000000) return NULL;
    if (*end == '.') {
        end++;
        for (int64_t unit = 10; unit >= 1; unit /= 10, end += *end >= '0' && *end <= '9')
            part += *end >= '0' && *end <= '9' ? (*end - '0') * unit : 0;
        if (*end >= '0' && *end <= '9') return NULL;
    }
    *ret = whole * 100 + part;
    return end;
}

int campaign_share(const char *text, int64_t *ret_share)
{
    if (strcmp(text, "off") == 0) {
        *ret_share = 10000;
        return 0;
    }
    int64_t share;
    const char *end = read_hundredths(text, &share);
    if (!end || strcmp(end, "%") != 0 || share > 10000) return ERR_SYNTAX;
    *ret_share = share;
    return 0;
}

int campaign_pace(const char *text, int64_t *ret_milli)
{
    static const struct {
        const char *unit;
        int64_t seconds;
    } units[] = {{"/s", 1}, {"/m", 60}, {"/h", 3600}};
    int64_t hundredths;
    if (strcmp(text, "off") == 0) {
        *ret_milli = 0;
        return 0;
    }
    const char *end = read_hundredths(text, &hundredths);
    for (size_t i = 0; end && i < ARRAY_LEN(units); i++) {
        if (strcmp(end, units[i].unit) != 0) continue;
        int64_t milli = hundredths * 10 / units[i].seconds;
        if (milli <= 0 || milli > 1000000000) return ERR_SYNTAX;
        *ret_milli = milli;
        return 0;
    }
    return ERR_SYNTAX;
}

/* ---- members ---- */

void campaign_members_done(struct campaign_members *m)
{
    free(m->order);
    free(m->place);
    free(m->now);
    *m = (struct campaign_members){0};
}

/* The same on every machine. */
static uint64_t rank_of(const char *campaign, const char *licence)
{
    char name[IDENTITY_LICENCE_MAX];
    identity_lower(licence, name, sizeof name);
    return fnv_mix(fnv1a(fnv1a_byte(fnv1a(FNV1A_START, campaign), '/'), name));
}

struct ranked {
    uint64_t rank;
    uint32_t row;
};

static int by_rank(const void *a, const void *b)
{
    const struct ranked *x = a, *y = b;
    if (x->rank != y->rank) return x->rank < y->rank ? -1 : 1;
    return (x->row > y->row) - (x->row < y->row);
}

/* Marks the rows of a list. */
static void take_listed(const struct campaign *c, const struct inventory *inv, struct campaign_members *m)
{
    for (const char *p = c->list, *end; p && (end = strchr(p, '\n')); p = end + 1) {
        char name[IDENTITY_LICENCE_MAX];
        size_t len = (size_t)(end - p) < sizeof name - 1 ? (size_t)(end - p) : sizeof name - 1;
        memcpy(name, p, len);
        name[len] = '\0';
        const struct inventory_row *row = inventory_find(inv, name);
        if (row)
            m->place[row - inventory_row(inv, 0)] = 0;
        else
            m->unknown++;
    }
}

static int choose(const struct campaign *c, const struct inventory *inv, struct campaign_members *m, char reason[200])
{
    struct filter f = {.n = 0};
    int rc = c->selector == CAMPAIGN_FILTER ? filter_parse(c->filter, &f, reason) : 0;
    if (rc < 0) return rc;
    for (size_t i = 0; i < m->rows; i++) {
        bool chosen = c->selector != CAMPAIGN_LIST && filter_matches(&f, inventory_row(inv, i));
        m->place[i] = chosen ? 0 : UINT32_MAX;
    }
    if (c->selector == CAMPAIGN_LIST) take_listed(c, inv, m);
    return 0;
}

static int put_in_order(const struct campaign *c, const struct inventory *inv, struct campaign_members *m)
{
    for (size_t i = 0; i < m->rows; i++) m->n += m->place[i] != UINT32_MAX;
    AUTO_FREE struct ranked *all = calloc(m->n + 1, sizeof *all);
    m->order = calloc(m->n + 1, sizeof *m->order);
    m->now = calloc(m->n + 1, 1);
    if (!all || !m->order || !m->now) return ERR_NOMEM;
    size_t n = 0;
    for (size_t i = 0; i < m->rows; i++)
        if (m->place[i] != UINT32_MAX)
            all[n++] = (struct ranked){rank_of(c->name, inventory_row(inv, i)->licence), (uint32_t)i};
    qsort(all, n, sizeof *all, by_rank);
    for (size_t i = 0; i < n; i++) {
        m->order[i] = all[i].row;
        m->place[all[i].row] = (uint32_t)i;
    }
    return 0;
}

int campaign_members_find(const struct campaign *c, const struct inventory *inv, struct campaign_members *ret,
                          char reason[200])
{
    *ret = (struct campaign_members){.rows = inventory_count(inv)};
    ret->place = calloc(ret->rows + 1, sizeof *ret->place);
    int rc = ret->place ? choose(c, inv, ret, reason) : ERR_NOMEM;
    if (rc == 0) rc = put_in_order(c, inv, ret);
    if (rc < 0) campaign_members_done(ret);
    return rc;
}

/* ---- one member ---- */

static bool is_marked(const struct store_peek *u, const struct record_key *k)
{
    return k->exposed || store_peek_exposed(u, k->id);
}

/* A leaked key that is still Active beside its successor. */
static bool exposed_is_active(const struct store_peek *u)
{
    for (size_t i = 0; i < u->record.n_keys; i++) {
        const struct record_key *k = &u->record.keys[i];
        if (k->role == KEY_REPLACED && k->listed && k->status == AWS_KEY_ACTIVE && is_marked(u, k)) return true;
    }
    return false;
}

static bool no_slot(const struct record *r)
{
    size_t listed = 0;
    for (size_t i = 0; i < r->n_keys; i++) listed += r->keys[i].listed;
    return listed >= KEYSLOTS_QUOTA && record_next_key(r);
}

enum campaign_member campaign_judge(const struct campaign *c, const struct store_peek *u)
{
    const struct record *r = &u->record;
    if (!u->has_record) return u->has_journal ? MEMBER_RUNNING : MEMBER_PENDING;
    bool since = r->updated_ms != TIME_NONE && r->updated_ms >= c->created_at_ms;
    if (r->rotated_ms != TIME_NONE && r->rotated_ms >= c->created_at_ms)
        return c->reason == CAMPAIGN_EXPOSED && exposed_is_active(u) ? MEMBER_RUNNING : MEMBER_DONE;
    if (r->state == RECORD_DRIFTED || r->state == RECORD_EXCLUDED) return MEMBER_LEFT_OUT;
    if (r->state == RECORD_AWAITING) return MEMBER_PERSON;
    if ((r->state == RECORD_FAILED || r->state == RECORD_STUCK) && since) return MEMBER_FAILED;
    if (u->has_journal || (r->state == RECORD_RETRY && since)) return MEMBER_RUNNING;
    return no_slot(r) ? MEMBER_NO_SLOT : MEMBER_PENDING;
}

const char *campaign_to_mark(const struct campaign *c, const struct store_peek *u)
{
    const struct record_key *current = u->has_record ? record_current(&u->record) : NULL;
    if (c->reason != CAMPAIGN_EXPOSED || !current || is_marked(u, current)) return NULL;
    bool newer = u->record.rotated_ms != TIME_NONE && u->record.rotated_ms >= c->created_at_ms;
    return newer ? NULL : current->id;
}

void campaign_ask(const struct campaign *c, const struct store_peek *u, int64_t now_ms, struct policy_verdict *v)
{
    const struct record_key *current = u->has_record ? record_current(&u->record) : NULL;
    if (u->has_journal || u->lease_ms >= 0 || (policy_is_due(v) && v->rank <= POLICY_RESUME)) return;
    if (!u->has_record) return;                           /* the first look, which policy asks for, comes first */
    if (c->reason == CAMPAIGN_EXPOSED && current) return; /* the mark makes it due */
    *v = (struct policy_verdict){.rank = POLICY_ROTATE,
                                 .held = v->held,
                                 .failing_since_ms = v->failing_since_ms,
                                 .kind = JOB_ROTATE,
                                 .reason = c->reason == CAMPAIGN_SCHEDULED ? JOB_SCHEDULED : JOB_OPERATOR,
                                 .rotation = u->record.rotation,
                                 .at_ms = now_ms};
    if (current) memcpy(v->replace_key_id, current->id, sizeof v->replace_key_id);
    snprintf(v->why, sizeof v->why, "campaign %s", c->name);
}

/* ---- all of them ---- */

static void judge_failures(const struct campaign *c, struct campaign_progress *p)
{
    size_t failed = p->count[MEMBER_FAILED], ended = failed + p->count[MEMBER_DONE];
    if (c->stop_share >= 10000 || failed == 0) return;
    p->too_many = failed * 10000 > ended * (size_t)c->stop_share;
    if (!p->too_many) return;
    snprintf(p->why, sizeof p->why, "%zu of %zu failed, more than the %" PRId64 ".%02" PRId64 " %% allowed", failed,
             ended, c->stop_share / 100, c->stop_share % 100);
}

int campaign_sum(const struct campaign *c, const struct campaign_members *m, struct campaign_progress *ret)
{
    size_t bounds[CAMPAIGN_STEPS_MAX], at = 0;
    char reason[200];
    *ret = (struct campaign_progress){.members = m->n, .ended = true};
    int n = campaign_waves(c->waves, m->n, bounds, reason);
    if (n < 0) return n;
    ret->waves = (size_t)n;
    for (size_t i = 0; i < m->n; i++) ret->count[m->now[i]]++;
    while (at < m->n && campaign_member_ended(m->now[at])) at++;
    ret->ended = at == m->n;
    size_t w = 0;
    while (w + 1 < (size_t)n && bounds[w] <= at) w++;
    ret->wave = w + 1;
    ret->before = w ? bounds[w - 1] : 0;
    ret->bound = bounds[w];
    judge_failures(c, ret);
    return 0;
}

void campaign_rate_done(struct campaign_rate *r)
{
    free(r->at_ms);
    *r = (struct campaign_rate){0};
}

void campaign_rate_add(struct campaign_rate *r, int64_t rotated_ms)
{
    if (rotated_ms == TIME_NONE || rotated_ms <= 0) return;
    if (r->n == r->cap) {
        size_t cap = r->cap ? 2 * r->cap : 64;
        int64_t *at_ms = reallocarray(r->at_ms, cap, sizeof *at_ms);
        if (!at_ms) return;
        r->at_ms = at_ms;
        r->cap = cap;
    }
    r->at_ms[r->n++] = rotated_ms;
}

static int by_time(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

double campaign_rate_per_s(struct campaign_rate *r)
{
    if (r->n < 2) return 0;
    qsort(r->at_ms, r->n, sizeof *r->at_ms, by_time);
    int64_t last = r->at_ms[r->n - 1], span = (last - r->at_ms[0]) / 3;
    size_t from = r->n - 1;
    if (span < RATE_SPAN_MS) span = RATE_SPAN_MS;
    while (from && r->at_ms[from - 1] >= last - span) from--;
    if (from == r->n - 1 || last == r->at_ms[from]) return 0;
    return (double)(r->n - 1 - from) * 1000 / (double)(last - r->at_ms[from]);
}

int64_t campaign_left_ms(const struct campaign_progress *p, struct campaign_rate *r)
{
    size_t ended = 0;
    double per_s = campaign_rate_per_s(r);
    for (int i = 0; i < MEMBER_KINDS; i++) ended += campaign_member_ended((enum campaign_member)i) ? p->count[i] : 0;
    return per_s > 0 ? (int64_t)((double)(p->members - ended) / per_s * 1000) : TIME_NONE;
}

size_t campaign_allowed(const struct campaign *c, size_t before, size_t bound, int64_t opened_ms, int64_t now_ms)
{
    if (c->pace_milli <= 0) return bound;
    int64_t open = now_ms > opened_ms ? now_ms - opened_ms : 0;
    /* one at once, then by the pace; per 1,000 s and milliseconds make a million */
    uint64_t more = 1 + (uint64_t)open / 1000 * (uint64_t)c->pace_milli / 1000;
    return more < bound - before ? before + (size_t)more : bound;
}
