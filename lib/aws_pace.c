/* Queues and slots by account and family. One timer serves all: it is set to the next moment at which a slot is there,
 * something is to be asked, or a waiting item runs out of time. Accounts are few (a hundred hold half a million users),
 * so they are a list; an account stays for the life of the process.
 *
 * A fixed rate is a token bucket: tokens are counted as fractions and grow with the monotonic clock.
 *
 * Who waits for a turn takes a slot of the reads, and goes only while the account's writes do not queue either: a job
 * needs one of each, and what is begun should be ended. Accounts take turns about, so that none has all the places. */
#include "lib/aws_pace.h"

#include "lib/err.h"
#include "lib/loop.h"

#include <string.h>

#define FIXED_HOLD_MS  1000
#define WRITES_WAITING 32 /* two reservations: enough to use all of the writes' budget */

TAILQ_HEAD(item_list, aws_pace_item);

struct aws_pace_account {
    TAILQ_ENTRY(aws_pace_account) link;
    struct aws_pace *pace;
    enum aws_family family;
    struct item_list waiting[AWS_PACE_ORDERS];
    unsigned n[AWS_PACE_ORDERS];
    struct aws_pace_account *writes; /* of the same account; where turns are waited for, else NULL */
    struct budget_share share;
    struct budget_ask ask; /* under way */
    double tokens, base;   /* fixed rate: may be negative after a hold */
    int64_t filled_mono_ms;
    int64_t first_leave_by; /* no item's time passes before this; INT64_MAX: none has one */
    uint64_t calls, throttled, asks;
    char name[];
};
struct aws_pace {
    struct aws_pace_options o;
    double burst;
    struct loop_timer *timer;
    TAILQ_HEAD(, aws_pace_account) accounts;
    unsigned n_accounts, turns;         /* waiting for one */
    struct aws_pace_account *last_turn; /* who had one last */
    unsigned asking;                    /* answers that are still to come */
    bool closing;
};

static void pump(void *arg);

const char *aws_family_name(enum aws_family f)
{
    static const char *const names[] = {"iam-read", "iam-write", "sts"};
    return names[f];
}

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

static void destroy(struct aws_pace *p)
{
    while (!TAILQ_EMPTY(&p->accounts)) {
        struct aws_pace_account *a = TAILQ_FIRST(&p->accounts);
        TAILQ_REMOVE(&p->accounts, a, link);
        free(a);
    }
    free(p);
}

void aws_pace_free(struct aws_pace *p)
{
    if (!p) return;
    loop_timer_free(p->timer);
    p->closing = true;
    if (!p->asking) destroy(p); /* else with the last answer */
}

static struct aws_pace_account *account_find(struct aws_pace *p, const char *name, enum aws_family f)
{
    struct aws_pace_account *a;
    TAILQ_FOREACH(a, &p->accounts, link)
    if (a->family == f && strcmp(a->name, name) == 0) return a;
    size_t len = strlen(name) + 1;
    a = calloc(1, sizeof(*a) + len);
    if (!a) return NULL;
    memcpy(a->name, name, len);
    a->pace = p;
    a->family = f;
    for (int i = 0; i < AWS_PACE_ORDERS; i++) TAILQ_INIT(&a->waiting[i]);
    a->tokens = p->burst;
    a->filled_mono_ms = clock_mono_ms(p->o.clock);
    a->first_leave_by = INT64_MAX;
    TAILQ_INSERT_TAIL(&p->accounts, a, link);
    p->n_accounts++;
    return a;
}

/* Of what may go as soon as there is a slot. */
static struct aws_pace_item *head(struct aws_pace_account *a)
{
    for (int i = 0; i < AWS_PACE_TURN; i++)
        if (a->n[i]) return TAILQ_FIRST(&a->waiting[i]);
    return NULL;
}

static int64_t begin_at(const struct aws_pace *p)
{
    return p->o.begin_at ? p->o.begin_at(p->o.begin_arg) : 0;
}

/* Is a turn waited for here that lacks nothing but its slot? */
static bool has_turn(const struct aws_pace_account *a, int64_t now)
{
    if (!a->n[AWS_PACE_TURN] || begin_at(a->pace) > now) return false;
    const struct aws_pace_account *w = a->writes;
    return !w || w->n[AWS_PACE_BEGUN] + w->n[AWS_PACE_ORDINARY] < WRITES_WAITING;
}

static struct budget_need need_of(const struct aws_pace_account *a, int64_t now)
{
    return (struct budget_need){.emergency = a->n[AWS_PACE_EMERGENCY],
                                .ordinary = a->n[AWS_PACE_BEGUN] + a->n[AWS_PACE_ORDINARY] +
                                            (has_turn(a, now) ? a->n[AWS_PACE_TURN] : 0)};
}

/* ---- slots ---- */

static void fill(struct aws_pace_account *a, int64_t now)
{
    const struct aws_pace *p = a->pace;
    a->tokens += (double)(now - a->filled_mono_ms) * p->o.per_s / 1000;
    if (a->tokens > p->burst) a->tokens = p->burst;
    a->filled_mono_ms = now;
}

static bool use_slot(struct aws_pace_account *a, struct aws_pace_item *item, int64_t now)
{
    bool got;
    if (a->pace->o.per_s <= 0) return true;
    if (a->pace->o.budget.take) {
        got = budget_use(&a->share, item->order == AWS_PACE_EMERGENCY, now, &item->epoch);
    } else {
        fill(a, now);
        got = a->tokens >= 1;
        if (got) a->tokens -= 1;
    }
    a->calls += got;
    return got;
}

static void on_granted(void *self, uint64_t id, const void *result)
{
    struct aws_pace_account *a = self;
    struct aws_pace *p = a->pace;
    const struct budget_grant *g = result;
    (void)id;
    p->asking--;
    if (p->closing) {
        if (!p->asking) destroy(p);
        return;
    }
    int64_t now = clock_mono_ms(p->o.clock);
    if (g->err)
        budget_failed(&a->share, &a->ask, p->o.per_s, now);
    else
        budget_granted(&a->share, &a->ask, g, now);
    if (!g->err) a->base = g->base_per_s;
    loop_timer_start(p->timer, 0);
}

static void ask(struct aws_pace_account *a, int64_t now)
{
    struct aws_pace *p = a->pace;
    const struct budget_need need = need_of(a, now);
    if (!p->o.budget.take || p->o.per_s <= 0 || !budget_wants(&a->share, &need, now, &a->ask)) return;
    int rc = p->o.budget.take(p->o.budget.self, a->name, a->family, &a->ask, (struct ticket){on_granted, a, 0});
    if (rc < 0) {
        budget_failed(&a->share, &a->ask, p->o.per_s, now);
        return;
    }
    a->asks++;
    p->asking++;
}

/* When something can happen here by itself; INT64_MAX never. */
static int64_t due_ms(struct aws_pace_account *a, int64_t now)
{
    const struct budget_need need = need_of(a, now);
    int64_t due = INT64_MAX;
    if (a->n[AWS_PACE_TURN] && begin_at(a->pace) > now) due = begin_at(a->pace);
    if (a->pace->o.per_s <= 0) return has_turn(a, now) ? now : due;
    if (a->pace->o.budget.take) {
        int64_t slot = budget_due_ms(&a->share, &need, now);
        if (slot < due) due = slot;
    } else if (head(a) || has_turn(a, now)) {
        double token_ms = a->tokens >= 1 ? 0 : (1 - a->tokens) * 1000 / a->pace->o.per_s;
        due = now + (int64_t)token_ms + (token_ms > (double)(int64_t)token_ms); /* rounded up */
    }
    return head(a) && a->first_leave_by < due ? a->first_leave_by : due;
}

static void arm(struct aws_pace *p, int64_t now)
{
    int64_t first = INT64_MAX;
    struct aws_pace_account *a;
    TAILQ_FOREACH(a, &p->accounts, link)
    {
        int64_t due = due_ms(a, now);
        if (due < first) first = due;
    }
    if (first != INT64_MAX) loop_timer_start(p->timer, first > now ? first - now : 0);
}

/* ---- the queue ---- */

int aws_pace_enter(struct aws_pace *p, const char *account, enum aws_family f, struct aws_pace_item *item)
{
    bool turn = item->order == AWS_PACE_TURN;
    item->account = NULL;
    if (p->o.per_s <= 0 && !turn) return 1;
    struct aws_pace_account *a = account_find(p, account, f);
    if (!a || (turn && !a->writes && !(a->writes = account_find(p, account, AWS_FAMILY_WRITE)))) return ERR_NOMEM;
    int64_t now = clock_mono_ms(p->o.clock);
    bool first = !head(a) && !a->n[item->order];
    item->account = a;
    TAILQ_INSERT_TAIL(&a->waiting[item->order], item, link);
    a->n[item->order]++;
    p->turns += turn;
    if (first && (!turn || has_turn(a, now)) && use_slot(a, item, now)) {
        aws_pace_leave(p, item);
        return 1;
    }
    if (item->leave_by_mono_ms && item->leave_by_mono_ms < a->first_leave_by)
        a->first_leave_by = item->leave_by_mono_ms;
    ask(a, now);
    arm(p, now);
    return 0;
}

void aws_pace_leave(struct aws_pace *p, struct aws_pace_item *item)
{
    struct aws_pace_account *a = item->account;
    if (!a) return;
    TAILQ_REMOVE(&a->waiting[item->order], item, link);
    a->n[item->order]--;
    p->turns -= item->order == AWS_PACE_TURN;
    item->account = NULL;
}

void aws_pace_wake(struct aws_pace *p)
{
    if (p->turns) loop_timer_start(p->timer, 0);
}

void aws_pace_throttled(struct aws_pace *p, const char *account, enum aws_family f, int64_t sent_epoch)
{
    if (p->o.per_s <= 0) return;
    struct aws_pace_account *a = account_find(p, account, f);
    if (!a) return;
    int64_t now = clock_mono_ms(p->o.clock);
    a->throttled++;
    if (p->o.budget.take) {
        budget_throttled(&a->share, sent_epoch);
        ask(a, now);
        return;
    }
    fill(a, now);
    double debt = -(double)FIXED_HOLD_MS * p->o.per_s / 1000;
    if (a->tokens > debt) a->tokens = debt;
}

/* Moves what has run out of time to out, and finds the next such moment. */
static void take_expired(struct aws_pace_account *a, int order, int64_t now, struct item_list *out)
{
    for (struct aws_pace_item *item = TAILQ_FIRST(&a->waiting[order]), *next; item; item = next) {
        next = TAILQ_NEXT(item, link);
        if (item->leave_by_mono_ms && item->leave_by_mono_ms <= now) {
            aws_pace_leave(a->pace, item);
            TAILQ_INSERT_TAIL(out, item, link);
        } else if (item->leave_by_mono_ms && item->leave_by_mono_ms < a->first_leave_by) {
            a->first_leave_by = item->leave_by_mono_ms;
        }
    }
}

static void expire(struct aws_pace_account *a, int64_t now)
{
    struct aws_pace *p = a->pace;
    if (a->first_leave_by > now) return;
    struct item_list out = TAILQ_HEAD_INITIALIZER(out);
    a->first_leave_by = INT64_MAX;
    for (int i = 0; i < AWS_PACE_ORDERS; i++) take_expired(a, i, now, &out);
    while (!TAILQ_EMPTY(&out)) {
        struct aws_pace_item *item = TAILQ_FIRST(&out);
        TAILQ_REMOVE(&out, item, link);
        p->o.on_turn(p->o.arg, item, true);
    }
}

static struct aws_pace_account *after(struct aws_pace *p, struct aws_pace_account *a)
{
    struct aws_pace_account *next = a ? TAILQ_NEXT(a, link) : NULL;
    return next ? next : TAILQ_FIRST(&p->accounts);
}

/* One each in turn, until none can go. */
static void give_turns(struct aws_pace *p, int64_t now)
{
    unsigned passed = 0;
    for (struct aws_pace_account *a = p->last_turn; p->turns && passed < p->n_accounts; passed++) {
        a = after(p, a);
        struct aws_pace_item *item = TAILQ_FIRST(&a->waiting[AWS_PACE_TURN]);
        if (head(a) || !has_turn(a, now) || !use_slot(a, item, now)) continue;
        aws_pace_leave(p, item);
        p->last_turn = a;
        p->o.on_turn(p->o.arg, item, false);
        passed = 0;
    }
}

static void pump(void *arg)
{
    struct aws_pace *p = arg;
    int64_t now = clock_mono_ms(p->o.clock);
    struct aws_pace_account *a;
    TAILQ_FOREACH(a, &p->accounts, link)
    {
        expire(a, now);
        for (struct aws_pace_item *item; (item = head(a)) && use_slot(a, item, now);) {
            aws_pace_leave(p, item);
            p->o.on_turn(p->o.arg, item, false);
        }
    }
    give_turns(p, now);
    TAILQ_FOREACH(a, &p->accounts, link)
    ask(a, now);
    arm(p, now);
}

void aws_pace_each(struct aws_pace *p, void (*fn)(void *arg, const struct aws_pace_view *v), void *arg)
{
    int64_t now = clock_mono_ms(p->o.clock);
    struct aws_pace_account *a;
    if (p->o.per_s <= 0) return;
    TAILQ_FOREACH(a, &p->accounts, link)
    {
        const struct aws_pace_view v = {.account = a->name,
                                        .family = a->family,
                                        .rate_per_s = p->o.budget.take ? a->share.rate_per_s : p->o.per_s,
                                        .base_per_s = a->base,
                                        .held = budget_held(&a->share, now),
                                        .waiting = a->n[0] + a->n[1] + a->n[2] + a->n[AWS_PACE_TURN],
                                        .calls = a->calls,
                                        .throttled = a->throttled,
                                        .asks = a->asks};
        fn(arg, &v);
    }
}
