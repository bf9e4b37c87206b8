/* The forecast (forecast.h) goes hour by hour, which is how rotations are limited. Licences that are not due yet stand
 * in one heap by the time at which they will be; those that are due stand in one heap per gate, canaries and oldest
 * keys first, since all behind one gate may go at the same times. So a day costs as many steps as it has rotations,
 * however many wait. */
#include "producer/forecast.h"

#include "lib/err.h"

#include <string.h>

#define HOUR_MS  3600000LL
#define DAY_MS   86400000LL
#define DAYS_MAX 400

struct item {
    size_t gate;
    bool canary;
    int64_t created_ms, age_ms, min_gap_ms, due_ms;
};

/* A binary heap of items' numbers. */
struct heap {
    size_t *at, n, cap;
    bool (*before)(const struct item *a, const struct item *b);
};

struct group {
    struct calendar_gate *gate; /* NULL: at any time */
    struct heap ready;
};

struct forecast {
    struct forecast_options o;
    struct forecast_day *days;
    size_t n_days;
    struct item *items;
    size_t n, cap;
    struct group *groups;
    size_t n_groups;
    struct heap later;
};

/* ---- heap ---- */

static void swap(struct heap *h, size_t a, size_t b)
{
    size_t kept = h->at[a];
    h->at[a] = h->at[b];
    h->at[b] = kept;
}

static int push(struct heap *h, const struct item *items, size_t item)
{
    if (h->n == h->cap) {
        size_t cap = h->cap ? h->cap * 2 : 64, *at = realloc(h->at, cap * sizeof *at);
        if (!at) return ERR_NOMEM;
        h->at = at;
        h->cap = cap;
    }
    size_t i = h->n++;
    h->at[i] = item;
    for (; i && h->before(&items[h->at[i]], &items[h->at[(i - 1) / 2]]); i = (i - 1) / 2) swap(h, i, (i - 1) / 2);
    return 0;
}

/* n > 0. */
static size_t pop(struct heap *h, const struct item *items)
{
    size_t first = h->at[0], i = 0;
    h->at[0] = h->at[--h->n];
    for (;;) {
        size_t best = i;
        for (size_t child = 2 * i + 1; child <= 2 * i + 2 && child < h->n; child++)
            if (h->before(&items[h->at[child]], &items[h->at[best]])) best = child;
        if (best == i) return first;
        swap(h, i, best);
        i = best;
    }
}

static bool sooner(const struct item *a, const struct item *b)
{
    return a->due_ms < b->due_ms;
}

static bool goes_first(const struct item *a, const struct item *b)
{
    if (a->canary != b->canary) return a->canary;
    return a->created_ms < b->created_ms;
}

/* ---- one licence ---- */

static int64_t later_of(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* When policy wants the rotation, without the calendar. */
static int64_t due_ms(const struct policy *p, const char *licence, const struct store_peek *u)
{
    const struct record *r = &u->record;
    const struct record_key *k = u->has_record && !u->err ? record_current(r) : NULL;
    bool person =
        u->has_record && (r->state == RECORD_DRIFTED || r->state == RECORD_EXCLUDED || r->state == RECORD_AWAITING);
    if (!k || person || u->has_journal || p->blocked || k->created_ms == TIME_NONE) return TIME_NONE;
    int64_t at = k->created_ms + policy_age_ms(p, licence);
    if (r->rotated_ms != TIME_NONE) at = later_of(at, r->rotated_ms + p->min_gap_ms);
    if (p->excluded) at = later_of(at, p->excluded_until_ms);
    return later_of(at, r->next_ms);
}

int64_t forecast_next_ms(const struct policy *p, const char *licence, const struct store_peek *u, int64_t now_ms)
{
    int64_t at = due_ms(p, licence, u);
    const char *reason;
    if (at == TIME_NONE) return TIME_NONE;
    at = later_of(at, now_ms);
    return p->gate ? calendar_gate_next(p->gate, CALENDAR_ROTATE, at, &reason) : at;
}

/* ---- life ---- */

struct forecast *forecast_new(const struct forecast_options *o)
{
    struct forecast *f = calloc(1, sizeof *f);
    if (!f) return NULL;
    f->o = *o;
    f->later.before = sooner;
    if (f->o.days > DAYS_MAX) f->o.days = DAYS_MAX;
    int64_t first = o->from_ms - o->from_ms % DAY_MS;
    f->n_days = f->o.days + (first != o->from_ms);
    f->days = calloc(f->n_days, sizeof *f->days);
    if (!f->days) {
        free(f);
        return NULL;
    }
    for (size_t i = 0; i < f->n_days; i++)
        f->days[i] = (struct forecast_day){.begin_ms = first + (int64_t)i * DAY_MS, .oldest_created_ms = TIME_NONE};
    return f;
}

void forecast_free(struct forecast *f)
{
    if (!f) return;
    for (size_t i = 0; i < f->n_groups; i++) free(f->groups[i].ready.at);
    free(f->groups);
    free(f->later.at);
    free(f->items);
    free(f->days);
    free(f);
}

const struct forecast_day *forecast_days(const struct forecast *f, size_t *ret_n)
{
    *ret_n = f->n_days;
    return f->days;
}

static int find_group(struct forecast *f, struct calendar_gate *gate, size_t *ret)
{
    for (*ret = f->n_groups; *ret > 0; (*ret)--)
        if (f->groups[*ret - 1].gate == gate) {
            (*ret)--;
            return 0;
        }
    struct group *groups = realloc(f->groups, (f->n_groups + 1) * sizeof *groups);
    if (!groups) return ERR_NOMEM;
    f->groups = groups;
    groups[f->n_groups] = (struct group){gate, {.before = goes_first}};
    *ret = f->n_groups++;
    return 0;
}

static int64_t end_ms(const struct forecast *f)
{
    return f->o.from_ms + f->o.days * DAY_MS;
}

static struct forecast_day *day_of(struct forecast *f, int64_t at_ms)
{
    if (at_ms == TIME_NONE || at_ms < f->o.from_ms || at_ms >= end_ms(f)) return NULL;
    return &f->days[(at_ms - f->days[0].begin_ms) / DAY_MS];
}

static int64_t allowed_ms(struct calendar_gate *gate, enum calendar_work work, int64_t at_ms)
{
    const char *reason;
    return gate ? calendar_gate_next(gate, work, at_ms, &reason) : at_ms;
}

/* A key will be put out of use, and a while later deleted. */
static void add_end(struct forecast *f, struct calendar_gate *gate, bool retire, int64_t at_ms)
{
    struct forecast_day *d;
    if (retire) {
        at_ms = allowed_ms(gate, CALENDAR_RETIRE, at_ms);
        if (at_ms == TIME_NONE) return;
        if ((d = day_of(f, at_ms))) d->retire++;
        at_ms += f->o.quarantine_ms;
    }
    at_ms = allowed_ms(gate, CALENDAR_REAP, at_ms);
    if ((d = day_of(f, at_ms))) d->reap++;
}

int forecast_add(struct forecast *f, const struct policy *p, const char *licence, const struct store_peek *u,
                 bool *ret_foreseen)
{
    int64_t due = due_ms(p, licence, u);
    if (ret_foreseen) *ret_foreseen = due != TIME_NONE;
    int64_t free_ms = f->o.from_ms; /* no rotation before the last one is over */
    for (size_t i = 0; u->has_record && !u->err && i < u->record.n_keys; i++) {
        const struct record_key *k = &u->record.keys[i];
        if (k->next == KEY_NEXT_NONE || k->role == KEY_CURRENT || k->next_ms == TIME_NONE) continue;
        bool retire = k->next == KEY_NEXT_RETIRE;
        int64_t at = later_of(k->next_ms, f->o.from_ms);
        add_end(f, p->gate, retire, at);
        free_ms = later_of(free_ms, at + (retire ? f->o.quarantine_ms : 0));
    }
    if (due == TIME_NONE) return 0;
    if (f->n == f->cap) {
        size_t cap = f->cap ? f->cap * 2 : 256;
        struct item *items = realloc(f->items, cap * sizeof *items);
        if (!items) return ERR_NOMEM;
        f->items = items;
        f->cap = cap;
    }
    struct item *item = &f->items[f->n];
    *item = (struct item){.canary = p->canary,
                          .created_ms = record_current(&u->record)->created_ms,
                          .age_ms = policy_age_ms(p, licence),
                          .min_gap_ms = p->min_gap_ms,
                          .due_ms = later_of(due, free_ms)};
    int rc = find_group(f, p->gate, &item->gate);
    if (rc == 0) rc = push(&f->later, f->items, f->n);
    if (rc == 0) f->n++;
    return rc;
}

/* ---- the days ---- */

static int rotate(struct forecast *f, size_t i, int64_t at_ms)
{
    struct item *item = &f->items[i];
    struct forecast_day *d = day_of(f, at_ms);
    if (d) d->rotate++;
    add_end(f, f->groups[item->gate].gate, true, at_ms + f->o.overlap_ms);
    item->created_ms = at_ms;
    item->due_ms = later_of(at_ms + item->age_ms, at_ms + item->min_gap_ms);
    item->due_ms = later_of(item->due_ms, at_ms + f->o.overlap_ms + f->o.quarantine_ms);
    return push(&f->later, f->items, i);
}

/* The group with the licence that goes first among those that may go before end_ms; NULL: none. */
static struct group *next_group(struct forecast *f, int64_t now_ms, int64_t before_ms)
{
    struct group *best = NULL;
    for (size_t i = 0; i < f->n_groups; i++) {
        struct group *g = &f->groups[i];
        if (!g->ready.n) continue;
        int64_t at = allowed_ms(g->gate, CALENDAR_ROTATE, now_ms);
        if (at == TIME_NONE || at >= before_ms) continue;
        if (!best || goes_first(&f->items[g->ready.at[0]], &f->items[best->ready.at[0]])) best = g;
    }
    return best;
}

static int hour(struct forecast *f, int64_t now_ms, int64_t before_ms)
{
    int64_t left = f->o.most_per_hour;
    int rc = 0;
    while (rc == 0 && f->later.n && f->items[f->later.at[0]].due_ms < before_ms) {
        size_t i = pop(&f->later, f->items);
        rc = push(&f->groups[f->items[i].gate].ready, f->items, i);
    }
    for (struct group *g; rc == 0 && left > 0 && (g = next_group(f, now_ms, before_ms));) {
        size_t i = pop(&g->ready, f->items);
        struct item *item = &f->items[i];
        int64_t at = allowed_ms(g->gate, CALENDAR_ROTATE, later_of(now_ms, item->due_ms));
        if (at == TIME_NONE || at >= before_ms) { /* its window ends before it is due */
            item->due_ms = at == TIME_NONE ? INT64_MAX : at;
            rc = push(&f->later, f->items, i);
            continue;
        }
        left--;
        rc = rotate(f, i, at);
    }
    return rc;
}

static void end_day(struct forecast *f, struct forecast_day *d)
{
    for (size_t i = 0; i < f->n_groups; i++) d->waiting += f->groups[i].ready.n;
    for (size_t i = 0; i < f->n; i++)
        if (d->oldest_created_ms == TIME_NONE || f->items[i].created_ms < d->oldest_created_ms)
            d->oldest_created_ms = f->items[i].created_ms;
}

int forecast_run(struct forecast *f)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < f->n_days; i++) {
        int64_t begin = later_of(f->days[i].begin_ms, f->o.from_ms), end = f->days[i].begin_ms + DAY_MS;
        if (end > end_ms(f)) end = end_ms(f);
        for (int64_t at = begin; rc == 0 && at < end;) {
            int64_t before = at - at % HOUR_MS + HOUR_MS;
            if (before > end) before = end;
            rc = hour(f, at, before);
            at = before;
        }
        end_day(f, &f->days[i]);
    }
    return rc;
}
