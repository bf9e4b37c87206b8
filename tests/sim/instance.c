/* The simulated instance (instance.h): reads and writes its one pair, tests it, and lies as told by faults. */
#include "tests/sim/instance.h"

#include "lib/err.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS_MAX 16

struct port {
    struct sim_instance *instance;
    struct sim_client *client;
};
struct sim_instance {
    struct sim_instance_options o;
    struct port ports[CLIENTS_MAX];
    size_t n_ports;
    bool down, refuse_writes, fail_tests;
};
struct instance_op_sim {
    struct sim_op op;
    struct sim_instance *instance;
    enum instance_op what;
    char key_id[AWS_KEY_ID_MAX], secret[SIM_SECRET_MAX];
    struct instance_result result;
};
/* A write that was accepted and is applied later. */
struct late_write {
    struct sim_truth *truth;
    char key_id[AWS_KEY_ID_MAX], secret[SIM_SECRET_MAX];
    int64_t begun_ms;
};

static void apply_late(void *arg)
{
    struct late_write *w = arg;
    sim_truth_write(w->truth, w->key_id, w->secret, SIM_BY_KEYROLL, w->begun_ms);
    free(w);
}

static void write_pair(struct instance_op_sim *o)
{
    struct sim_instance *in = o->instance;
    enum sim_fault_kind kind = o->op.fault.kind;
    if (kind == SIM_IGNORED) return;
    if (kind == SIM_REFUSED_LATER) o->result.err = ERR_INSTANCE_REFUSED;
    if (kind == SIM_APPLIED_LATER || kind == SIM_REFUSED_LATER) {
        struct late_write *w = calloc(1, sizeof(*w));
        if (!w) abort();
        w->truth = in->o.truth;
        w->begun_ms = o->op.begun_ms;
        memcpy(w->key_id, o->key_id, sizeof(w->key_id));
        memcpy(w->secret, o->secret, sizeof(w->secret));
        sim_after(in->o.net->sim, o->op.fault.delay_ms, apply_late, w, NULL);
        return;
    }
    sim_truth_write(in->o.truth, o->key_id, o->secret, SIM_BY_KEYROLL, o->op.begun_ms);
}

static void read_key(struct instance_op_sim *o)
{
    struct sim_truth *t = o->instance->o.truth;
    bool stale =
        o->op.fault.kind == SIM_STALE && t->sim->mono_ms - t->instance_change_ms < o->instance->o.can.write_life_ms;
    const struct sim_pair *p = stale ? &t->instance_before : &t->instance;
    o->result.seen = p->any ? INSTANCE_SEEN_ID : INSTANCE_SEEN_NONE;
    o->result.proof = INSTANCE_PROOF_READ_BACK;
    snprintf(o->result.key_seen, sizeof(o->result.key_seen), "%s", p->any ? p->id : "");
    t->instance_read_ms = t->sim->mono_ms;
    struct sim_key *k = p->any ? sim_truth_find(t, p->id) : NULL;
    if (k) k->was_seen = true;
    if (!stale) t->instance_shown_ms = t->sim->mono_ms;
}

static void test_key(struct instance_op_sim *o)
{
    struct sim_truth *t = o->instance->o.truth;
    o->result.proof = INSTANCE_PROOF_TEST;
    if (o->op.fault.kind == SIM_TEST_FAILS || o->instance->fail_tests || !sim_truth_works(t))
        o->result.err = ERR_INSTANCE_TEST;
}

static void op_effect(struct sim_op *op)
{
    struct instance_op_sim *o = (struct instance_op_sim *)op;
    struct sim_instance *in = o->instance;
    const struct instance_abilities *can = &in->o.can;
    bool able = o->what == INSTANCE_WRITE_KEY  ? can->can_write
                : o->what == INSTANCE_READ_KEY ? can->can_read
                                               : can->can_test;
    if (op->fault.kind == SIM_LOGIN) {
        o->result.err = ERR_INSTANCE_LOGIN;
        snprintf(o->result.code, sizeof(o->result.code), "404002");
    } else if (in->down) {
        o->result.err = ERR_NET_CONNECT;
    } else if (!able) {
        o->result.err = ERR_INSTANCE_UNSUPPORTED;
    } else if (o->what == INSTANCE_WRITE_KEY && in->refuse_writes) {
        o->result.err = ERR_INSTANCE_REFUSED;
    } else if (o->what == INSTANCE_WRITE_KEY) {
        write_pair(o);
    } else if (o->what == INSTANCE_READ_KEY) {
        read_key(o);
    } else {
        test_key(o);
    }
}

static void op_answer(struct sim_op *op, int err)
{
    struct instance_op_sim *o = (struct instance_op_sim *)op;
    struct instance_result failure = {.err = err, .retry_after_ms = -1};
    ticket_complete(op->ticket, err ? &failure : &o->result);
}

static void op_free(struct sim_op *op)
{
    struct instance_op_sim *o = (struct instance_op_sim *)op;
    secret_wipe(o->secret, sizeof(o->secret));
    free(o);
}

static const struct sim_op_class instance_class = {
    SIM_INSTANCE,         false,        op_effect,           op_answer, op_free, ERR_NET_CONNECT,
    ERR_INSTANCE_REFUSED, ERR_NET_LOST, ERR_INSTANCE_FAILURE};

static int port_call(void *self, const struct instance_request *q, struct ticket t)
{
    struct port *p = self;
    bool writes = q->op == INSTANCE_WRITE_KEY;
    if (writes && (!q->key_id || !q->secret)) return ERR_INVALID;
    struct instance_op_sim *o = calloc(1, sizeof(*o));
    if (!o) abort();
    o->instance = p->instance;
    o->what = q->op;
    if (writes) {
        snprintf(o->key_id, sizeof(o->key_id), "%s", q->key_id);
        snprintf(o->secret, sizeof(o->secret), "%s", secret_bytes(q->secret));
    }
    o->result = (struct instance_result){.retry_after_ms = -1};
    if (writes && p->instance->o.acts)
        p->instance->o.acts(p->instance->o.arg, p->client, instance_op_name(q->op), o->key_id);
    sim_op_begin(p->instance->o.net, p->client, &o->op, &instance_class, instance_op_name(q->op), writes, q->timeout_ms,
                 t);
    return 0;
}

static bool port_abilities(void *self, const char *profile, struct instance_abilities *ret)
{
    const struct port *p = self;
    if (strcmp(profile, p->instance->o.profile)) return false;
    *ret = p->instance->o.can;
    return true;
}

struct sim_instance *sim_instance_new(const struct sim_instance_options *o)
{
    struct sim_instance *i = calloc(1, sizeof(*i));
    if (!i) abort();
    i->o = *o;
    return i;
}

void sim_instance_free(struct sim_instance *i)
{
    free(i);
}

struct instance_port sim_instance_port(struct sim_instance *i, struct sim_client *c)
{
    for (size_t n = 0; n < i->n_ports; n++)
        if (i->ports[n].client == c) return (struct instance_port){&i->ports[n], port_call, port_abilities};
    assert(i->n_ports < CLIENTS_MAX);
    i->ports[i->n_ports] = (struct port){i, c};
    return (struct instance_port){&i->ports[i->n_ports++], port_call, port_abilities};
}

void sim_instance_down(struct sim_instance *i, bool down)
{
    i->down = down;
}

void sim_instance_refuse_writes(struct sim_instance *i, bool refuse)
{
    i->refuse_writes = refuse;
}

void sim_instance_fail_tests(struct sim_instance *i, bool fail)
{
    i->fail_tests = fail;
}
