/* The scheduler's view of the dead letters (dead_watch.h). Of each user with open letters it keeps their places only; a
 * fleet has few of them, and the survey asks for each licence, so the look-up must cost nothing when there is none.
 *
 * What was closed is learned from the topic itself, as all others learn it: the mark comes back by the same way. So two
 * schedulers, or a command beside them, do not disagree. */
#include "producer/dead_watch.h"

#include "lib/err.h"
#include "lib/kafka_follow.h"
#include "producer/dead_close.h"

#include <stdio.h>
#include <string.h>

struct dead_watch {
    struct dead_watch_options o;
    struct kafka_follow *follow;
    struct deads deads;
    struct map users;   /* user key -> newest letter's position + 1: where to begin */
    struct map closing; /* letter's id -> itself: a mark is under way */
};

/* A mark under way. */
struct closing {
    struct dead_watch *w;
    size_t letter;
    char id[DEADS_ID_MAX];
};

static void on_message(void *arg, const struct kafka_message_in *m)
{
    struct dead_watch *w = arg;
    size_t before = w->deads.n;
    char key[IDENTITY_KEY_MAX];
    if (deads_take(&w->deads, m) < 0 || w->deads.n == before) return; /* what cannot be read is told by the command */
    const struct dead *l = &w->deads.items[before];
    if (l->has_job && identity_key(l->account, l->user, key) == 0)
        (void)!map_put(&w->users, key, (void *)(uintptr_t)(before + 1), NULL); /* no memory: it is not resolved by us */
}

static void on_caught_up(void *arg)
{
    struct dead_watch *w = arg;
    w->o.caught_up(w->o.arg);
}

int dead_watch_new(const struct dead_watch_options *o, struct dead_watch **ret, char **ret_reason)
{
    struct dead_watch *w = calloc(1, sizeof *w);
    if (!w) return ERR_NOMEM;
    w->o = *o;
    deads_init(&w->deads, false);
    const struct kafka_follow_options ko = {.brokers = o->o->brokers,
                                            .client_id = "keyroll-scheduler-dead",
                                            .topic = o->o->topic_dead,
                                            .conf = o->o->kafka,
                                            .n_conf = o->o->n_kafka,
                                            .on_message = on_message,
                                            .on_caught_up = on_caught_up,
                                            .arg = w};
    int rc = kafka_follow_new(o->loop, &ko, &w->follow, ret_reason);
    if (rc < 0)
        free(w);
    else
        *ret = w;
    return rc;
}

void dead_watch_stop(struct dead_watch *w, int64_t wait_ms)
{
    if (!w) return;
    kafka_follow_free(TAKE(w->follow), wait_ms);
}

void dead_watch_free(struct dead_watch *w)
{
    if (!w) return;
    kafka_follow_free(w->follow, 0);
    deads_done(&w->deads);
    map_done(&w->users, NULL);
    map_done(&w->closing, NULL);
    free(w);
}

bool dead_watch_caught_up(const struct dead_watch *w)
{
    return kafka_follow_caught_up(w->follow);
}

const char *dead_watch_step(const struct dead_watch *w, const char *user_key, int kind, int64_t first_failed_ms)
{
    return kafka_follow_caught_up(w->follow)
               ? deads_standing_step(&w->deads, user_key, kind, first_failed_ms, clock_wall_ms(w->o.clock))
               : NULL;
}

size_t dead_watch_open(const struct dead_watch *w)
{
    size_t open = 0;
    const struct dead *l;
    for (size_t at = 0; (l = deads_next(&w->deads, &at));) open += deads_state(&w->deads, l, NULL) == DEAD_OPEN;
    return open;
}

static void on_closed(void *self, uint64_t id, const void *result)
{
    struct closing *c = self;
    struct dead_watch *w = c->w;
    (void)id;
    (void)map_take(&w->closing, c->id);
    if (*(const int *)result == 0 && w->o.resolved) w->o.resolved(w->o.arg, &w->deads.items[c->letter]);
    free(c);
}

static void resolve(struct dead_watch *w, struct kafka_port kafka, const struct dead *l)
{
    struct closing *c = calloc(1, sizeof *c);
    if (!c) return;
    *c = (struct closing){.w = w, .letter = (size_t)(l - w->deads.items)};
    dead_id(l, c->id);
    int rc = map_get(&w->closing, c->id) ? ERR_BUSY : map_put(&w->closing, c->id, c, NULL);
    if (rc == 0)
        rc = dead_close(kafka, w->o.o, l, DEADMARK_RESOLVED, w->o.o->worker_id, "the licence is well again",
                        clock_wall_ms(w->o.clock), (struct ticket){on_closed, c, 0});
    if (rc == 0) return;
    if (rc != ERR_BUSY) (void)map_take(&w->closing, c->id);
    free(c);
}

void dead_watch_see(struct dead_watch *w, struct kafka_port kafka, const char *user_key, const struct store_peek *u)
{
    size_t position = (size_t)(uintptr_t)map_get(&w->users, user_key);
    if (!position) return;
    const struct dead *l = &w->deads.items[position - 1];
    if (!dead_is_resolved(l, u)) return;
    bool pending = false;
    /* All jobs of this user: few letters are open at a time, and this runs once for each that becomes well. */
    const struct dead *one;
    for (size_t at = 0; (one = deads_next(&w->deads, &at));) {
        char key[IDENTITY_KEY_MAX];
        if (!one->has_job || identity_key(one->account, one->user, key) < 0 || strcmp(key, user_key) != 0) continue;
        if (deads_state(&w->deads, one, NULL) != DEAD_OPEN || !dead_is_resolved(one, u)) continue;
        pending = true;
        resolve(w, kafka, one);
    }
    if (!pending) (void)map_take(&w->users, user_key); /* all closed: nothing more to ask */
}
