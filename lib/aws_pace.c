/* Token buckets by account. Tokens are counted as fractions and grow with the monotonic clock; one timer serves all
 * accounts: it is set to the next moment at which a token is there or a waiting item runs out of time. Accounts are few
 * (a hundred hold half a million users), so they are a list; an account stays for the life of the process. */
#include "lib/aws_pace.h"

#include "lib/err.h"
#include "lib/loop.h"

#include <string.h>

TAILQ_HEAD(item_list, aws_pace_item);

struct aws_pace_account {
    TAILQ_ENTRY(aws_pace_account) link;
    struct item_list urgent, ordinary;
    double tokens; /* may be negative after a hold */
    int64_t filled_mono_ms;
    int64_t first_leave_by; /* no item's time passes before this; INT64_MAX: none has one */
    char name[];
};
struct aws_pace {
    struct aws_pace_options o;
    double burst;
    struct loop_timer *timer;
    TAILQ_HEAD(, aws_pace_account) accounts;
};

static void pump(void *arg);

struct aws_pace *aws_pace_new(struct loop *l, const struct aws_pace_options *o)
{
    struct aws_pace *p = calloc(1, sizeof(*p));
    if (!p) return NULL;
    TAILQ_INIT(&p->accounts);
    p->o = *o;
    p->burst = o->burst ? o->burst : o->per_s;
    if (p->burst < 1) p->burst = 1;
    p->timer = loop_timer_new(l, pump, p);
    if (p->timer) return p;
    free(p);
    return NULL;
}

void aws_pace_free(struct aws_pace *p)
{
    if (!p) return;
    loop_timer_free(p->timer);
    while (!TAILQ_EMPTY(&p->accounts)) {
        struct aws_pace_account *a = TAILQ_FIRST(&p->accounts);
        TAILQ_REMOVE(&p->accounts, a, link);
        free(a);
    }
    free(p);
}

static struct aws_pace_account *account_find(struct aws_pace *p, const char *name)
{
    struct aws_pace_account *a;
    TAILQ_FOREACH(a, &p->accounts, link)
    if (strcmp(a->name, name) == 0) return a;
    size_t len = strlen(name) + 1;
    a = calloc(1, sizeof(*a) + len);
    if (!a) return NULL;
    memcpy(a->name, name, len);
    TAILQ_INIT(&a->urgent);
    TAILQ_INIT(&a->ordinary);
    a->tokens = p->burst;
    a->filled_mono_ms = clock_mono_ms(p->o.clock);
    a->first_leave_by = INT64_MAX;
    TAILQ_INSERT_TAIL(&p->accounts, a, link);
    return a;
}

static void fill(struct aws_pace *p, struct aws_pace_account *a, int64_t now)
{
    a->tokens += (double)(now - a->filled_mono_ms) * p->o.per_s / 1000;
    if (a->tokens > p->burst) a->tokens = p->burst;
    a->filled_mono_ms = now;
}

static struct aws_pace_item *head(struct aws_pace_account *a)
{
    struct aws_pace_item *item = TAILQ_FIRST(&a->urgent);
    return item ? item : TAILQ_FIRST(&a->ordinary);
}

static struct item_list *list_of(struct aws_pace_item *item)
{
    return item->urgent ? &item->account->urgent : &item->account->ordinary;
}

/* Sets the timer to the next moment at which something can happen. */
static void arm(struct aws_pace *p, int64_t now)
{
    int64_t wait = INT64_MAX;
    struct aws_pace_account *a;
    TAILQ_FOREACH(a, &p->accounts, link)
    {
        if (!head(a)) continue;
        double token_ms = a->tokens >= 1 ? 0 : (1 - a->tokens) * 1000 / p->o.per_s;
        int64_t token = (int64_t)token_ms + (token_ms > (double)(int64_t)token_ms); /* rounded up */
        if (token < wait) wait = token;
        if (a->first_leave_by - now < wait) wait = a->first_leave_by > now ? a->first_leave_by - now : 0;
    }
    if (wait != INT64_MAX) loop_timer_start(p->timer, wait);
}

int aws_pace_enter(struct aws_pace *p, const char *account, struct aws_pace_item *item)
{
    item->account = NULL;
    if (p->o.per_s <= 0) return 1;
    struct aws_pace_account *a = account_find(p, account);
    if (!a) return ERR_NOMEM;
    int64_t now = clock_mono_ms(p->o.clock);
    fill(p, a, now);
    if (a->tokens >= 1 && !head(a)) {
        a->tokens -= 1;
        return 1;
    }
    item->account = a;
    TAILQ_INSERT_TAIL(list_of(item), item, link);
    if (item->leave_by_mono_ms && item->leave_by_mono_ms < a->first_leave_by)
        a->first_leave_by = item->leave_by_mono_ms;
    arm(p, now);
    return 0;
}

void aws_pace_leave(struct aws_pace *p, struct aws_pace_item *item)
{
    (void)p;
    if (!item->account) return;
    TAILQ_REMOVE(list_of(item), item, link);
    item->account = NULL;
}

void aws_pace_hold(struct aws_pace *p, const char *account, int64_t hold_ms)
{
    if (p->o.per_s <= 0) return;
    struct aws_pace_account *a = account_find(p, account);
    if (!a) return;
    fill(p, a, clock_mono_ms(p->o.clock));
    double debt = -(double)hold_ms * p->o.per_s / 1000;
    if (a->tokens > debt) a->tokens = debt;
}

/* Moves what has run out of time to out, and finds the next such moment. */
static void take_expired(struct aws_pace_account *a, struct item_list *from, int64_t now, struct item_list *out)
{
    for (struct aws_pace_item *item = TAILQ_FIRST(from), *next; item; item = next) {
        next = TAILQ_NEXT(item, link);
        if (item->leave_by_mono_ms && item->leave_by_mono_ms <= now) {
            TAILQ_REMOVE(from, item, link);
            TAILQ_INSERT_TAIL(out, item, link);
        } else if (item->leave_by_mono_ms && item->leave_by_mono_ms < a->first_leave_by) {
            a->first_leave_by = item->leave_by_mono_ms;
        }
    }
}

static void expire(struct aws_pace *p, struct aws_pace_account *a, int64_t now)
{
    if (a->first_leave_by > now) return;
    struct item_list out = TAILQ_HEAD_INITIALIZER(out);
    a->first_leave_by = INT64_MAX;
    take_expired(a, &a->urgent, now, &out);
    take_expired(a, &a->ordinary, now, &out);
    while (!TAILQ_EMPTY(&out)) {
        struct aws_pace_item *item = TAILQ_FIRST(&out);
        TAILQ_REMOVE(&out, item, link);
        item->account = NULL;
        p->o.on_turn(p->o.arg, item, true);
    }
}

static void pump(void *arg)
{
    struct aws_pace *p = arg;
    int64_t now = clock_mono_ms(p->o.clock);
    struct aws_pace_account *a;
    TAILQ_FOREACH(a, &p->accounts, link)
    {
        if (!head(a)) continue;
        expire(p, a, now);
        fill(p, a, now);
        for (struct aws_pace_item *item; a->tokens >= 1 && (item = head(a));) {
            a->tokens -= 1;
            aws_pace_leave(p, item);
            p->o.on_turn(p->o.arg, item, false);
        }
    }
    arm(p, now);
}
