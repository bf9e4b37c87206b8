/* The lease is asked for every RENEW_MS, by the holder (renewal) and by the others (take-over) alike. It counts from
 * before the request was sent, on the monotonic clock, so that a lost answer never makes this process believe in it for
 * too long. */
#include "producer/leader.h"

#include "lib/err.h"

#include <stdio.h>
#include <string.h>

#define RENEW_MS   5000
#define STANDBY_MS 2000

struct leader {
    struct leader_options o;
    char token[STORE_LEADER_MAX], holder[STORE_LEADER_MAX];
    struct loop_timer *timer;
    bool asking, leads, resigned;
    int64_t asked_mono_ms, until_mono_ms;
    void (*done)(void *arg);
    void *done_arg;
    uint64_t generation; /* of the answer waited for: an older one is dropped */
};

static void ask(void *arg);

bool leader_leads(const struct leader *l)
{
    return l->leads && clock_mono_ms(l->o.clock) < l->until_mono_ms;
}

static void change(struct leader *l, bool leads, const char *holder)
{
    bool news = leads != l->leads || strcmp(holder, l->holder) != 0;
    l->leads = leads;
    snprintf(l->holder, sizeof l->holder, "%s", holder);
    char *colon = strrchr(l->holder, ' ');
    if (news && l->o.on_change) {
        if (colon) *colon = '\0'; /* only the name is told, not the token behind it */
        l->o.on_change(l->o.arg, leads, l->holder);
        snprintf(l->holder, sizeof l->holder, "%s", holder);
    }
}

static void on_answer(void *self, uint64_t id, const void *result)
{
    struct leader *l = self;
    const struct store_reply *r = result;
    if (id != l->generation || l->resigned) return;
    l->asking = false;
    if (r->err == 0) {
        l->until_mono_ms = l->asked_mono_ms + LEADER_TTL_MS;
        change(l, true, l->token);
    } else if (r->err == ERR_LEASE_HELD) {
        change(l, false, r->text);
    } else if (!leader_leads(l)) {
        change(l, false, "");
    }
    int64_t wait = r->err == ERR_LEASE_HELD && r->wait_ms > 0 && r->wait_ms < STANDBY_MS ? r->wait_ms + 1 : STANDBY_MS;
    loop_timer_start(l->timer, l->leads ? RENEW_MS : wait);
}

static void ask(void *arg)
{
    struct leader *l = arg;
    if (l->resigned) return;
    if (l->leads && !leader_leads(l)) change(l, false, "");
    if (!l->asking) {
        l->asked_mono_ms = clock_mono_ms(l->o.clock);
        l->asking =
            store_leader_take(l->o.store, l->token, LEADER_TTL_MS, (struct ticket){on_answer, l, ++l->generation}) == 0;
    }
    loop_timer_start(l->timer, l->leads ? RENEW_MS : STANDBY_MS);
}

void leader_ask_now(struct leader *l)
{
    ask(l);
}

struct leader *leader_new(const struct leader_options *o)
{
    struct leader *l = calloc(1, sizeof *l);
    char random[STORE_TOKEN_MAX];
    if (!l) return NULL;
    l->o = *o;
    store_opid(o->store, random);
    snprintf(l->token, sizeof l->token, "%.100s %s", o->name, random);
    if (!(l->timer = loop_timer_new(o->loop, ask, l))) {
        free(l);
        return NULL;
    }
    loop_timer_start(l->timer, 0);
    return l;
}

void leader_free(struct leader *l)
{
    if (!l) return;
    loop_timer_free(l->timer);
    free(l);
}

static void on_released(void *self, uint64_t id, const void *result)
{
    struct leader *l = self;
    (void)id;
    (void)result;
    l->done(l->done_arg);
}

void leader_resign(struct leader *l, void (*done)(void *arg), void *arg)
{
    l->resigned = true;
    l->done = done;
    l->done_arg = arg;
    loop_timer_stop(l->timer);
    bool led = l->leads || l->asking;
    l->leads = false;
    if (led && store_leader_release(l->o.store, l->token, (struct ticket){on_released, l, 0}) == 0) return;
    done(arg);
}
