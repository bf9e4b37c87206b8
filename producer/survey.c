/* A survey reads all users in batches, a few of them in flight at once so that a fleet of any size costs the same
 * memory and Redis is never handed more than it can chew. Each answer is judged at once and only what is due is kept.
 * The whole is thrown away when any batch fails: half a picture would publish the wrong things first, and the next tick
 * comes soon. */
#include "producer/survey.h"

#include "lib/err.h"

#include <string.h>

#define IN_FLIGHT 4

struct survey {
    struct survey_options o;
    const struct inventory *inv;
    struct survey_result r;
    size_t cap;  /* of r.items */
    size_t next; /* row of the next batch */
    unsigned in_flight, restoring;
    bool busy;
};

struct survey *survey_new(const struct survey_options *o)
{
    struct survey *s = calloc(1, sizeof *s);
    if (s) s->o = *o;
    return s;
}

void survey_free(struct survey *s)
{
    if (!s) return;
    free(s->r.items);
    free(s);
}

bool survey_busy(const struct survey *s)
{
    return s->busy;
}

static uint64_t mix(uint64_t h, int64_t v)
{
    h = (h ^ (uint64_t)v) * 0x9e3779b97f4a7c15ULL;
    return h ^ (h >> 29);
}

uint64_t survey_signature(const struct store_peek *u)
{
    uint64_t h = mix(u->has_record, u->has_journal);
    if (u->has_record) h = mix(mix(h, u->record.updated_ms), u->record.number);
    if (u->has_journal) h = mix(mix(h, u->journal.updated_ms), u->journal.version);
    return mix(h, (int64_t)u->n_exposed);
}

/* ---- putting back what was lost ---- */

static void on_restored(void *self, uint64_t id, const void *result);

static int begin_restore(struct survey *s, const char *user_key, const struct store_peek *u, struct state *state)
{
    const struct ticket t = {on_restored, s, 0};
    const char *ids[RECORD_KEYS_MAX];
    int rc = states_find(s->o.states, user_key, state);
    if (rc < 0) return rc;
    for (size_t i = 0; i < state->n_exposed; i++) ids[i] = state->exposed[i];
    const struct journal *j = state->has_journal ? &state->journal : NULL;
    return !u->has_record && !u->has_journal
               ? store_restore(s->o.store, user_key, &state->record, j, ids, state->n_exposed, t)
               : store_restore_newer(s->o.store, user_key, u, &state->record, j, ids, state->n_exposed, t);
}

/* True when the licence is not judged now: what the topic knows is being put back, or cannot be just now. Judged
 * without it, a first look would write a record that explains nothing, over which nothing is put back any more. */
static bool restore(struct survey *s, const char *user_key, const struct store_peek *u)
{
    if (!s->o.states || !states_knows(s->o.states, user_key)) return false;
    struct state *state = malloc(sizeof *state);
    int rc = state ? begin_restore(s, user_key, u, state) : ERR_NOMEM;
    free(state);
    if (rc == ERR_SYNTAX || rc == ERR_VERSION || rc == ERR_TOO_LARGE || rc == ERR_NOT_FOUND) return false;
    if (rc < 0)
        s->r.err = rc;
    else
        s->restoring++;
    return true;
}

/* ---- judging ---- */

static bool keep(struct survey *s, const struct survey_due *due)
{
    if (s->r.n_items == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 256;
        struct survey_due *items = realloc(s->r.items, cap * sizeof *items);
        if (!items) return false;
        s->r.items = items;
        s->cap = cap;
    }
    s->r.items[s->r.n_items++] = *due;
    return true;
}

const int survey_age_days[SURVEY_AGES] = {0, 7, 30, 60, 80, 90, 180, 365};

static void count(struct survey *s, const struct store_peek *u)
{
    struct survey_result *r = &s->r;
    r->rotating += u->has_journal && u->lease_ms >= 0;
    if (!u->has_record) {
        r->unknown++;
        return;
    }
    r->states[u->record.state]++;
    const struct record_key *k = record_current(&u->record);
    if (!k || k->created_ms == TIME_NONE) return;
    int64_t days = (clock_wall_ms(s->o.clock) - k->created_ms) / 86400000;
    for (size_t i = 0; i < SURVEY_AGES && days >= survey_age_days[i]; i++) r->aged[i]++;
    if (r->oldest_created_ms == TIME_NONE || k->created_ms < r->oldest_created_ms) r->oldest_created_ms = k->created_ms;
}

static void judge(struct survey *s, size_t at, const char *user_key, const struct store_peek *u)
{
    const struct inventory_row *row = inventory_row(s->inv, at);
    struct survey_due due = {.row = row};
    s->r.licences++;
    if (u->err == ERR_NOMEM) {
        s->r.err = ERR_NOMEM;
        return;
    }
    if (u->err) {
        if (s->r.unreadable++ == 0)
            memcpy(s->r.unreadable_licence, row->licence, strnlen(row->licence, IDENTITY_LICENCE_MAX - 1) + 1);
        return;
    }
    if (s->o.states && states_are_newer(s->o.states, user_key, u) && restore(s, user_key, u)) return;
    count(s, u);
    if (s->o.seen) s->o.seen(s->o.arg, user_key, u);
    struct policy policy;
    policies_for(*s->o.policies, row, &policy);
    policy.wordless = true;
    policy.recovered =
        s->o.recovered && u->has_record && u->record.parked[0] && s->o.recovered(s->o.arg, u->record.parked);
    policy_judge(&policy, row->licence, u, clock_wall_ms(s->o.clock), &due.verdict);
    if (s->o.adjust) s->o.adjust(s->o.adjust_arg, at, row, &policy, u, &due.verdict);
    if (!due.verdict.held) s->r.due[due.verdict.rank]++;
    s->r.held += due.verdict.held;
    s->r.waiting += due.verdict.waits;
    if (!policy_is_due(&due.verdict) || due.verdict.held) return;
    due.signature = survey_signature(u);
    if (!keep(s, &due)) s->r.err = ERR_NOMEM;
}

/* ---- batches ---- */

static int by_urgency(const void *a, const void *b)
{
    const struct survey_due *x = a, *y = b;
    return policy_compare(&x->verdict, &y->verdict);
}

static void more(struct survey *s);

static void end(struct survey *s)
{
    if (s->in_flight || s->restoring || !s->busy) return;
    s->busy = false;
    if (s->r.n_items) qsort(s->r.items, s->r.n_items, sizeof *s->r.items, by_urgency);
    s->o.done(s->o.arg, &s->r);
}

static void on_restored(void *self, uint64_t id, const void *result)
{
    struct survey *s = self;
    const struct store_reply *r = result;
    (void)id;
    s->restoring--;
    if (r->err) s->r.err = r->err;
    if (!r->err && r->version == 1) s->r.restored++;
    end(s);
}

static void on_peeked(void *self, uint64_t id, const void *result)
{
    struct survey *s = self;
    const struct store_peek_reply *r = result;
    s->in_flight--;
    if (r->err) s->r.err = r->err;
    for (size_t i = 0; !r->err && i < r->n; i++) {
        const struct inventory_row *row = inventory_row(s->inv, (size_t)id + i);
        char key[IDENTITY_KEY_MAX];
        if (identity_key(row->account, row->user, key) == 0) judge(s, (size_t)id + i, key, &r->users[i]);
    }
    if (!s->r.err) more(s);
    end(s);
}

static int ask(struct survey *s, size_t first, size_t n)
{
    char keys[STORE_PEEK_MAX][IDENTITY_KEY_MAX];
    const char *list[STORE_PEEK_MAX];
    for (size_t i = 0; i < n; i++) {
        const struct inventory_row *row = inventory_row(s->inv, first + i);
        if (identity_key(row->account, row->user, keys[i]) < 0)
            return ERR_INVALID; /* the inventory let through what it must not */
        list[i] = keys[i];
    }
    return store_peek(s->o.store, list, n, (struct ticket){on_peeked, s, first});
}

static void more(struct survey *s)
{
    size_t total = inventory_count(s->inv);
    while (!s->r.err && s->in_flight < IN_FLIGHT && s->next < total) {
        size_t n = total - s->next < STORE_PEEK_MAX ? total - s->next : STORE_PEEK_MAX;
        int rc = ask(s, s->next, n);
        if (rc < 0) {
            s->r.err = rc;
            return;
        }
        s->in_flight++;
        s->next += n;
    }
}

int survey_begin(struct survey *s, const struct inventory *inv)
{
    if (s->busy) return ERR_BUSY;
    struct survey_due *items = s->r.items;
    s->r = (struct survey_result){.items = items, .oldest_created_ms = TIME_NONE};
    s->inv = inv;
    s->next = 0;
    s->busy = true;
    more(s);
    if (s->in_flight) return 0;
    s->busy = false;
    if (s->r.err) return s->r.err;
    s->o.done(s->o.arg, &s->r); /* an empty inventory */
    return 0;
}
