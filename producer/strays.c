/* A licence that vanished from the inventory, perhaps by a slip of the pen, is left alone, and said so: in the log when
 * it vanishes, once more loudly when work on it is still open, and in `keyroll status` as long as it lasts. The keys
 * topic is the list of all users that keyroll ever wrote about, so that this survives restarts. */
#include "producer/strays.h"

#include "lib/err.h"
#include "lib/log.h"

#include <stdio.h>
#include <string.h>

#define LINES_MAX 20

struct strays {
    struct store *store;
    const struct states *states;
    struct map told; /* user keys told already; values are licences, owned */
    bool dirty, writing;
};

struct strays *strays_new(struct store *store, const struct states *states)
{
    struct strays *s = calloc(1, sizeof *s);
    if (s) *s = (struct strays){.store = store, .states = states, .dirty = true};
    return s;
}

void strays_free(struct strays *s)
{
    if (!s) return;
    map_done(&s->told, free);
    free(s);
}

static void tell(const char *user_key, const struct state *state)
{
    if (state->has_journal)
        LOG(LOG_LEVEL_ERROR, "stray-open",
            "work on it is open, but the inventory does not name it: put the row back, or look at its keys in AWS",
            LOG_S("keyroll.licence", state->record.licence), LOG_S("keyroll.user", user_key),
            LOG_S("keyroll.step", journal_step_name(state->journal.step)));
    else
        LOG(LOG_LEVEL_WARN, "stray", "keyroll looked after it, but the inventory does not name it: it is not touched",
            LOG_S("keyroll.licence", state->record.licence), LOG_S("keyroll.user", user_key));
}

static void add(struct strays *s, struct map *now, const char *user_key, unsigned *lines)
{
    char *licence = map_take(&s->told, user_key);
    if (!licence) {
        struct state *state = malloc(sizeof *state);
        if (state && states_find(s->states, user_key, state) == 0) {
            licence = strdup(state->record.licence);
            if (++*lines <= LINES_MAX) tell(user_key, state);
        }
        free(state);
    }
    if (licence && map_put(now, user_key, licence, NULL) < 0) free(licence); /* told again next time */
}

void strays_renew(struct strays *s, const struct inventory *inv)
{
    struct map now = {0};
    const char *key;
    bool open;
    unsigned lines = 0;
    size_t at = 0, before = s->told.n;
    while (states_next(s->states, &at, &key, &open))
        if (!inventory_find_user(inv, key)) add(s, &now, key, &lines);
    if (lines > LINES_MAX)
        LOG(LOG_LEVEL_WARN, "stray", "and more licences that the inventory does not name",
            LOG_I("keyroll.more", lines - LINES_MAX));
    s->dirty = s->dirty || lines || now.n != before;
    map_done(&s->told, free);
    s->told = now;
}

static void written(void *self, uint64_t id, const void *result)
{
    struct strays *s = self;
    const struct redis_reply *r = result;
    (void)id;
    s->writing = false;
    if (r->err) s->dirty = true;
}

static void ignored(void *self, uint64_t id, const void *result)
{
    (void)self;
    (void)id;
    (void)result;
}

static int command(struct strays *s, size_t n, const char *const *words, struct ticket t)
{
    struct redis_arg *args = calloc(n, sizeof *args);
    if (!args) return ERR_NOMEM;
    for (size_t i = 0; i < n; i++) args[i] = (struct redis_arg){words[i], strlen(words[i])};
    int rc = s->store->redis.command(s->store->redis.self, n, args, t);
    free(args);
    return rc;
}

void strays_look(struct strays *s)
{
    char name[STORE_KEY_MAX];
    if (!s->dirty || s->writing) return;
    store_key(s->store, NULL, "strays", name);
    const char *const del[] = {"DEL", name};
    const char **words = calloc(2 + 2 * s->told.n, sizeof *words);
    if (!words) return;
    size_t n = 0, at = 0;
    words[n++] = "HSET";
    words[n++] = name;
    const char *key, *licence;
    while ((licence = map_next(&s->told, &at, &key))) {
        words[n++] = key;
        words[n++] = licence;
    }
    int rc =
        command(s, 2, del, (struct ticket){n > 2 ? ignored : written, s, 0}); /* pipelined: the two run in this order */
    if (rc == 0 && n > 2) rc = command(s, n, words, (struct ticket){written, s, 0});
    free(words);
    s->writing = rc == 0;
    s->dirty = rc < 0;
}
