/* The dead-letter topic as a table (deads.h).
 *
 * A job keeps its id whatever becomes of it, so that all its letters can be found again: the newest stands for the job,
 * those before are its history. A mark names the letter that it closes by its place, so the order in which partitions
 * are read does not matter; a letter behind the mark is a new one, and opens the job again. */
#include "producer/deads.h"

#include "lib/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void deads_init(struct deads *d, bool keep_text)
{
    *d = (struct deads){.keep_text = keep_text};
}

void deads_done(struct deads *d)
{
    for (size_t i = 0; i < d->n; i++) {
        free(d->items[i].key);
        free(d->items[i].text);
    }
    free(d->items);
    map_done(&d->jobs, NULL);
    map_done(&d->histories, NULL);
    map_done(&d->marks, free);
    *d = (struct deads){0};
}

static void place_id(int64_t partition, int64_t offset, char out[DEADS_ID_MAX])
{
    snprintf(out, DEADS_ID_MAX, "%" PRId64 "-%" PRId64, partition, offset);
}

void dead_id(const struct dead *l, char out[DEADS_ID_MAX])
{
    place_id(l->partition, l->offset, out);
}

const char *dead_state_name(enum dead_state s)
{
    static const char *const names[] = {"open", "replayed", "dropped", "resolved"};
    return names[s];
}

#define HISTORY_MAX (IDENTITY_KEY_MAX + 48)

static void history_name(const char *user_key, int kind, int64_t first_failed_ms, char out[HISTORY_MAX])
{
    snprintf(out, HISTORY_MAX, "%s %d %" PRId64, user_key, kind, first_failed_ms);
}

/* ---- reading ---- */

static int take_mark(struct deads *d, const struct kafka_message_in *m)
{
    char id[DEADS_ID_MAX];
    void *before = NULL;
    struct deadmark *mark = malloc(sizeof *mark);
    if (!mark) return ERR_NOMEM;
    int rc = deadmark_decode(m->value, m->value_len, mark, NULL);
    if (rc == 0) {
        place_id(mark->partition, mark->offset, id);
        rc = map_put(&d->marks, id, mark, &before);
    }
    if (rc < 0)
        free(mark);
    else
        free(before);
    return rc;
}

static int copy_texts(const struct deads *d, const struct kafka_message_in *m, struct dead *l)
{
    l->key = strdup(m->key);
    if (!l->key) return ERR_NOMEM;
    if (!d->keep_text) return 0;
    l->text = malloc(m->value_len + 1);
    if (!l->text) return ERR_NOMEM;
    memcpy(l->text, m->value, m->value_len);
    l->text[m->value_len] = '\0';
    l->text_len = m->value_len;
    return 0;
}

static void fill(const struct deadletter *from, struct dead *l)
{
    l->has_job = from->has_job;
    memcpy(l->step, from->step, sizeof l->step);
    memcpy(l->error_code, from->error_code, sizeof l->error_code);
    memcpy(l->error_class, from->error_class, sizeof l->error_class);
    l->attempts = from->attempts;
    l->first_ms = from->first_failed_at_ms;
    l->last_ms = from->last_failed_at_ms;
    if (!from->has_job) return;
    l->kind = from->job.kind;
    memcpy(l->job_id, from->job.job_id, sizeof l->job_id);
    memcpy(l->licence, from->job.licence, sizeof l->licence);
    memcpy(l->account, from->job.account, sizeof l->account);
    memcpy(l->user, from->job.user, sizeof l->user);
}

static int append(struct deads *d, const struct dead *l)
{
    char id[DEADS_ID_MAX];
    void *before = NULL;
    if (d->n == d->cap) {
        size_t cap = d->cap ? d->cap * 2 : 64;
        struct dead *items = realloc(d->items, cap * sizeof *items);
        if (!items) return ERR_NOMEM;
        d->items = items;
        d->cap = cap;
    }
    dead_id(l, id);
    struct dead *made = &d->items[d->n];
    *made = *l;
    int rc = map_put(&d->jobs, l->has_job ? l->job_id : id, (void *)(uintptr_t)(d->n + 1), &before);
    if (rc < 0) return rc;
    made->earlier = (size_t)(uintptr_t)before;
    made->times = made->earlier ? d->items[made->earlier - 1].times + 1 : 1;
    d->n++;
    return 0;
}

static int add_to_history(struct deads *d, const struct dead *l)
{
    char key[IDENTITY_KEY_MAX], name[HISTORY_MAX];
    if (!l->has_job || identity_key(l->account, l->user, key) < 0) return 0;
    history_name(key, l->kind, l->first_ms, name);
    return map_put(&d->histories, name, (void *)(uintptr_t)d->n, NULL);
}

static int take_letter(struct deads *d, const struct kafka_message_in *m)
{
    AUTO_FREE struct deadletter *letter = malloc(sizeof *letter);
    struct dead l = {.partition = m->partition, .offset = m->offset};
    if (!letter) return ERR_NOMEM;
    int rc = deadletter_decode(m->value, m->value_len, letter, NULL);
    if (rc < 0) return rc;
    fill(letter, &l);
    rc = copy_texts(d, m, &l);
    if (rc == 0) rc = append(d, &l);
    if (rc < 0) {
        free(l.key);
        free(l.text);
        return rc;
    }
    return add_to_history(d, &l);
}

int deads_take(struct deads *d, const struct kafka_message_in *m)
{
    int rc = deadmark_is(m->value, m->value_len) ? take_mark(d, m) : take_letter(d, m);
    if (rc < 0 && rc != ERR_NOMEM) d->bad++;
    return rc;
}

/* ---- asking ---- */

const struct dead *deads_next(const struct deads *d, size_t *at)
{
    void *position = map_next(&d->jobs, at, NULL);
    return position ? &d->items[(size_t)(uintptr_t)position - 1] : NULL;
}

const struct dead *deads_earlier(const struct deads *d, const struct dead *l)
{
    return l->earlier ? &d->items[l->earlier - 1] : NULL;
}

enum dead_state deads_state(const struct deads *d, const struct dead *l, const struct deadmark **ret_mark)
{
    char id[DEADS_ID_MAX];
    dead_id(l, id);
    const struct deadmark *mark = map_get(&d->marks, id);
    if (ret_mark) *ret_mark = mark;
    return mark ? (enum dead_state)(DEAD_REPLAYED + mark->action) : DEAD_OPEN;
}

const char *deads_standing_step(const struct deads *d, const char *user_key, int kind, int64_t first_failed_ms,
                                int64_t now_ms)
{
    char name[HISTORY_MAX];
    const struct deadmark *mark;
    history_name(user_key, kind, first_failed_ms, name);
    size_t position = (size_t)(uintptr_t)map_get(&d->histories, name);
    if (!position) return "";
    const struct dead *l = &d->items[position - 1];
    enum dead_state state = deads_state(d, l, &mark);
    if (state == DEAD_REPLAYED && now_ms - mark->at_ms < DEADS_REPLAY_MS && mark->at_ms - now_ms < DEADS_REPLAY_MS)
        return NULL;
    return state == DEAD_OPEN || state == DEAD_DROPPED ? l->step : "";
}

bool dead_is_resolved(const struct dead *l, const struct store_peek *u)
{
    if (!l->has_job || u->err || !u->has_record || u->has_journal || u->record.updated_ms <= l->last_ms) return false;
    enum record_state s = u->record.state;
    return s == RECORD_CURRENT || s == RECORD_OVERLAP || s == RECORD_QUARANTINE;
}

int dead_letter(const struct dead *l, struct deadletter *ret)
{
    return l->text ? deadletter_decode(l->text, l->text_len, ret, NULL) : ERR_NOT_FOUND;
}
