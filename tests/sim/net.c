/* Timing and faults of simulated calls (net.h). A call is two events, effect and answer; a fault moves, drops or
 * falsifies one of them. Effects belong to the world: they happen also when the caller died meanwhile. */
#include "tests/sim/net.h"

#include "lib/err.h"

#include <assert.h>

#define WAY_MOST_MS 20
#define FOREVER_MS  1200000 /* later than any row waits */

static const char *const names[] = {
#define FAULT_NAME(name, text) text,
    SIM_FAULTS(FAULT_NAME)
#undef FAULT_NAME
};

const char *sim_fault_name(enum sim_fault_kind k)
{
    return names[k];
}

static void unlink_op(struct sim_op *op)
{
    if (!op->link) return;
    *op->link = op->next;
    if (op->next) op->next->link = op->link;
    op->link = NULL;
}

static void settle(struct sim_op *op)
{
    if (op->effects_due || op->answer_due) return;
    unlink_op(op);
    op->class->free(op);
}

bool sim_client_frozen(const struct sim_client *c)
{
    return c->frozen_until_ms > c->net->sim->mono_ms;
}

void sim_client_freeze(struct sim_client *c, int64_t ms)
{
    int64_t until = c->net->sim->mono_ms + ms;
    if (until > c->frozen_until_ms) c->frozen_until_ms = until;
    sim_say(c->net->sim, "%s freezes for %lld ms", c->name, (long long)ms);
    if (c->froze) c->froze(c, ms);
}

static void on_crash(void *arg)
{
    struct sim_client *c = arg;
    if (c->crash) c->crash(c);
}

static void on_effect(void *arg)
{
    struct sim_op *op = arg;
    struct sim_client *c = op->client;
    op->effects_due--;
    op->net->effects--;
    op->class->effect(op);
    if (op->fault.kind == SIM_CRASH_AFTER && c) sim_after(op->net->sim, 0, on_crash, c, c);
    if (op->fault.kind == SIM_FREEZE_AFTER && c) sim_client_freeze(c, op->fault.delay_ms);
    settle(op);
}

static void on_answer(void *arg)
{
    struct sim_op *op = arg;
    struct sim_client *c = op->client;
    if (c && sim_client_frozen(c)) {
        sim_after(op->net->sim, c->frozen_until_ms - op->net->sim->mono_ms, on_answer, op, NULL);
        return;
    }
    op->answer_due = false;
    if (!op->completed) { /* else its caller died meanwhile */
        op->completed = true;
        unlink_op(op);
        op->class->answer(op, op->err);
    }
    settle(op);
}

static int64_t way(struct sim_net *net)
{
    return sim_between(net->sim, 1, WAY_MOST_MS);
}

/* No earlier than the one before it on the same connection. */
static int64_t in_order(struct sim_op *op, int64_t *last_ms, int64_t delay_ms)
{
    int64_t now = op->net->sim->mono_ms;
    if (!op->class->fifo) return delay_ms;
    if (now + delay_ms < *last_ms) delay_ms = *last_ms - now;
    *last_ms = now + delay_ms;
    return delay_ms;
}

static void effect_in(struct sim_op *op, int64_t delay_ms, bool ordered)
{
    op->effects_due++;
    op->net->effects++;
    if (ordered) delay_ms = in_order(op, &op->client->fifo_effect_ms[op->class->edge], delay_ms);
    sim_after(op->net->sim, delay_ms, on_effect, op, NULL);
}

static void answer_in(struct sim_op *op, int64_t delay_ms, int err, bool ordered)
{
    op->answer_due = true;
    op->err = err;
    if (ordered) delay_ms = in_order(op, &op->client->fifo_answer_ms[op->class->edge], delay_ms);
    sim_after(op->net->sim, delay_ms, on_answer, op, NULL);
}

/* Fine: there and back. The answer never overtakes the effect. */
static void there_and_back(struct sim_op *op, int64_t there_ms)
{
    effect_in(op, there_ms, true);
    int64_t effect_ms =
        op->class->fifo ? op->client->fifo_effect_ms[op->class->edge] - op->net->sim->mono_ms : there_ms;
    answer_in(op, effect_ms + way(op->net), 0, true);
}

/* An answer that nobody gives: the op waits until its client is dropped, or longer than anybody listens. */
static void no_answer(struct sim_op *op)
{
    answer_in(op, FOREVER_MS, ERR_CANCELLED, false);
}

static void hurt(struct sim_op *op, int64_t timeout_ms)
{
    const struct sim_op_class *k = op->class;
    int64_t there = way(op->net), back = there + way(op->net), delay = op->fault.delay_ms;
    switch (op->fault.kind) {
    case SIM_RETRIABLE:
        answer_in(op, back, k->retriable, true);
        return;
    case SIM_PERMANENT:
        answer_in(op, back, k->permanent, true);
        return;
    case SIM_LOST_BEFORE:
        answer_in(op, back, k->lost, true);
        return;
    case SIM_LOST_AFTER:
        effect_in(op, there, true);
        answer_in(op, back, k->lost, true);
        return;
    case SIM_FAILURE_AFTER:
        effect_in(op, there, true);
        answer_in(op, back, k->failure, true);
        return;
    case SIM_TIMEOUT:
        answer_in(op, timeout_ms, ERR_TIMEOUT_SENT, false);
        return;
    case SIM_TIMEOUT_EFFECT:
        effect_in(op, there, true);
        answer_in(op, timeout_ms, ERR_TIMEOUT_SENT, false);
        return;
    case SIM_LATE_EFFECT:
        effect_in(op, delay, false);
        answer_in(op, timeout_ms, ERR_TIMEOUT_SENT, false);
        return;
    case SIM_LATE_ANSWER:
        effect_in(op, there, true);
        answer_in(op, FOREVER_MS, 0, false);
        return;
    case SIM_UNSENT:
        answer_in(op, timeout_ms, ERR_TIMEOUT, false);
        return;
    case SIM_CRASH_BEFORE:
        no_answer(op);
        sim_after(op->net->sim, 0, on_crash, op->client, op->client);
        return;
    case SIM_CRASH_AFTER:
        effect_in(op, there, true);
        no_answer(op);
        return;
    case SIM_FREEZE_BEFORE:
        sim_client_freeze(op->client, delay);
        effect_in(op, delay, false);
        answer_in(op, delay + way(op->net), 0, false);
        return;
    case SIM_SLOW:
        effect_in(op, delay, true);
        answer_in(op, delay + way(op->net), 0, true);
        return;
    case SIM_PAGED:
        effect_in(op, there, true);
        effect_in(op, there + delay, true);
        answer_in(op, there + delay + way(op->net), 0, true);
        return;
    default:
        there_and_back(op, there);
        return; /* the edge falsifies the rest itself */
    }
}

void sim_op_begin(struct sim_net *net, struct sim_client *c, struct sim_op *op, const struct sim_op_class *class,
                  const char *name, bool writes, int64_t timeout_ms, struct ticket t)
{
    const struct sim_call call = {c, class->edge, name, writes};
    op->class = class;
    op->net = net;
    op->client = c;
    op->ticket = t;
    op->name = name;
    op->writes = writes;
    op->begun_ms = net->sim->mono_ms;
    op->next = c->first;
    op->link = &c->first;
    if (op->next) op->next->link = &op->next;
    c->first = op;
    if (net->choose) net->choose(net->arg, &call, &op->fault);
    if (op->fault.kind != SIM_FINE)
        sim_say(net->sim, "%s %s/%s %s: %s", c->name, c->table ? c->table : "-", c->step ? c->step : "-", name,
                names[op->fault.kind]);
    hurt(op, timeout_ms);
    assert(op->answer_due);
}

/* The queue still holds the answer's event, which frees the op. */
void sim_client_dropped(struct sim_client *c)
{
    while (c->first) {
        struct sim_op *op = c->first;
        unlink_op(op);
        op->completed = true;
        op->class->answer(op, ERR_CANCELLED);
        op->client = NULL;
    }
    sim_cancel(c->net->sim, c);
}
