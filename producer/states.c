/* Each message of the compacted topic <prefix>.keys is the whole state of one user, without secrets:
 *   {"version":"keyroll.state/1","record":{...},"journal":{...}|null,"exposed":["AKIA...", ...]}
 * The text is kept as it came and decoded when it is asked for, which is seldom: a fleet's states are read at every
 * start and needed only when Redis lost them. Of two states the one written under the higher lease number counts, the
 * later message among equals: a worker that was frozen may publish late. */
#include "producer/states.h"

#include "lib/err.h"
#include "lib/buf.h"
#include "lib/json.h"
#include "schema/minor.h"

#include <string.h>

#define STATE_MAX_BYTES 65536

struct state_entry {
    int64_t number; /* of the last writer */
    bool open;      /* it has a journal */
    size_t len;
    char text[];
};

void states_done(struct states *s)
{
    map_done(&s->users, free);
    map_done(&s->keys, free);
}

static bool version_known(const json_t *root)
{
    const char *v = json_string_value(json_object_get(root, "version"));
    size_t len = strlen(STATES_VERSION);
    return v && strncmp(v, STATES_VERSION, len) == 0 && (!v[len] || v[len] == '.');
}

int state_decode(const char *value, size_t len, struct state *ret)
{
    if (len > STATE_MAX_BYTES) return ERR_TOO_LARGE;
    AUTO_JSON json_t *root = NULL;
    int rc = json_read(value, len, JSON_REJECT_DUPLICATES, &root, NULL);
    if (rc < 0) return rc;
    if (!json_is_object(root)) return ERR_SYNTAX;
    if (!version_known(root)) return ERR_VERSION;
    const json_t *record = json_object_get(root, "record"), *journal = json_object_get(root, "journal");
    *ret = (struct state){0};
    if (!json_is_object(record)) return ERR_SYNTAX;
    rc = record_read(record, &ret->record);
    if (rc == 0 && json_is_object(journal)) {
        rc = journal_read(journal, &ret->journal);
        ret->has_journal = rc == 0;
    }
    const json_t *ids = json_object_get(root, "exposed"), *id;
    size_t i;
    json_array_foreach((json_t *)ids, i, id)
    {
        const char *text = json_string_value(id);
        if (text && aws_key_id_valid(text) && ret->n_exposed < RECORD_KEYS_MAX)
            memcpy(ret->exposed[ret->n_exposed++], text, strlen(text) + 1);
    }
    return rc;
}

static int64_t number_of(const struct state *s)
{
    return s->has_journal && s->journal.number > s->record.number ? s->journal.number : s->record.number;
}

/* Best effort: without memory a trigger finds the user by its name only. */
static void index_keys(struct states *s, const char *user_key, const struct record *r)
{
    for (size_t i = 0; i < r->n_keys; i++) {
        const char *known = map_get(&s->keys, r->keys[i].id);
        if (known && strcmp(known, user_key) == 0) continue;
        char *copy = strdup(user_key);
        void *before = NULL;
        if (!copy) return;
        if (map_put(&s->keys, r->keys[i].id, copy, &before) < 0)
            free(copy);
        else
            free(before);
    }
}

const char *states_user_of(const struct states *s, const char *key_id)
{
    return map_get(&s->keys, key_id);
}

int state_encode(const struct record *r, const struct journal *j, const char (*exposed)[AWS_KEY_ID_MAX],
                 size_t n_exposed, struct buf *out)
{
    (void)buf_adds(out, "{\"version\":\"" STATES_VERSION SCHEMA_MINOR "\"" SCHEMA_MINOR_MEMBER ",\"record\":");
    int rc = record_encode(r, out);
    (void)buf_adds(out, ",\"journal\":");
    if (rc == 0 && j)
        rc = journal_encode(j, out);
    else
        (void)buf_adds(out, "null");
    (void)buf_adds(out, ",\"exposed\":[");
    for (size_t i = 0; i < n_exposed; i++) (void)buf_addf(out, "%s\"%s\"", i ? "," : "", exposed[i]);
    (void)buf_adds(out, "]}");
    return rc < 0 ? rc : out->error;
}

int states_take(struct states *s, const char *user_key, const char *value, size_t len)
{
    struct state state;
    void *before = NULL;
    if (len == 0) {
        free(map_take(&s->users, user_key));
        return 0;
    }
    int rc = state_decode(value, len, &state);
    if (rc < 0) {
        s->bad++;
        return rc;
    }
    const struct state_entry *known = map_get(&s->users, user_key);
    if (known && known->number > number_of(&state)) return 0;
    AUTO_FREE struct state_entry *e = malloc(sizeof *e + len);
    if (!e) return ERR_NOMEM;
    *e = (struct state_entry){number_of(&state), state.has_journal, len};
    memcpy(e->text, value, len);
    rc = map_put(&s->users, user_key, e, &before);
    if (rc < 0) return rc;
    free(before);
    e = NULL;
    index_keys(s, user_key, &state.record);
    return 0;
}

bool states_knows(const struct states *s, const char *user_key)
{
    return map_get(&s->users, user_key) != NULL;
}

int64_t states_number(const struct states *s, const char *user_key)
{
    const struct state_entry *e = map_get(&s->users, user_key);
    return e ? e->number : -1;
}

bool states_are_newer(const struct states *s, const char *user_key, const struct store_peek *u)
{
    if (u->lease_ms >= 0) return false;
    if (!u->has_record && !u->has_journal) return true;
    int64_t told = states_number(s, user_key);
    if (told <= u->record.number || (u->has_journal && told <= u->journal.number)) return false;
    return !u->has_journal || states_is_open(s, user_key);
}

bool states_is_open(const struct states *s, const char *user_key)
{
    const struct state_entry *e = map_get(&s->users, user_key);
    return e && e->open;
}

int states_find(const struct states *s, const char *user_key, struct state *ret)
{
    const struct state_entry *e = map_get(&s->users, user_key);
    if (!e) return ERR_NOT_FOUND;
    int rc = state_decode(e->text, e->len, ret);
    if (rc == 0 && ret->has_journal) ret->journal.secret_lost = true;
    return rc;
}

bool states_next(const struct states *s, size_t *at, const char **ret_user_key, bool *ret_open)
{
    const struct state_entry *e = map_next(&s->users, at, ret_user_key);
    if (e) *ret_open = e->open;
    return e != NULL;
}
