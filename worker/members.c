/* Signs of life (members.h). The token is made anew by each process: a worker_id may be used twice by mistake, and then
 * two would count as one. */
#include "worker/members.h"

#include "lib/err.h"
#include "lib/loop.h"

#include <stdlib.h>
#include <string.h>

struct members {
    struct store *store;
    struct loop_timer *timer;
    char *about; /* owned */
    void (*changed)(void *arg, size_t n);
    void *arg;
    size_t n;
    char token[STORE_TOKEN_MAX];
};

static void on_counted(void *self, uint64_t id, const void *result)
{
    struct members *m = self;
    const struct store_reply *r = result;
    (void)id;
    if (r->err || r->version < 1 || (size_t)r->version == m->n) return;
    m->n = (size_t)r->version;
    m->changed(m->arg, m->n);
}

static void beat(void *arg)
{
    struct members *m = arg;
    (void)!store_member_beat(m->store, m->token, MEMBERS_LIFE_MS, m->about,
                             (struct ticket){on_counted, m, 0}); /* a miss is made good by the next one */
    loop_timer_start(m->timer, MEMBERS_BEAT_MS);
}

int members_new(struct loop *l, struct store *store, const char *about, void (*changed)(void *arg, size_t n), void *arg,
                struct members **ret_members)
{
    struct members *m = calloc(1, sizeof(*m));
    if (!m) return ERR_NOMEM;
    *m = (struct members){.store = store, .changed = changed, .arg = arg, .n = 1};
    m->timer = loop_timer_new(l, beat, m);
    m->about = strdup(about);
    if (!m->timer || !m->about) {
        members_free(m);
        return ERR_NOMEM;
    }
    store_opid(store, m->token);
    *ret_members = m;
    return 0;
}

void members_beat(struct members *m)
{
    beat(m);
}

void members_free(struct members *m)
{
    if (!m) return;
    loop_timer_free(m->timer);
    free(m->about);
    free(m);
}
