/* The simulated account (aws.h). Effects are those of truth.c; here are the calls around them: the time a request was
 * signed, lists that lag, and what probes say. */
#include "tests/sim/aws.h"

#include "lib/err.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS_MAX 16
#define STALE_MS    240000 /* lists lag no longer (R4 believes them after five minutes) */

struct port {
    struct sim_aws *aws;
    struct sim_client *client;
};
struct sim_aws {
    struct sim_aws_options o;
    struct port ports[CLIENTS_MAX];
    size_t n_ports;
    bool blind, deny_probe;
    char misname[AWS_KEY_ID_MAX]; /* "" does not */
};
struct aws_op_sim {
    struct sim_op op;
    struct sim_aws *aws;
    enum aws_op what;
    char key_id[AWS_KEY_ID_MAX], secret[SIM_SECRET_MAX];
    enum aws_key_status status;
    int64_t sent_wall_ms, listed_ms;
    bool is_unproven;
    /* its list */
    unsigned pages;           /* so far */
    size_t n_first, n_passed; /* keys there were at the first page, and those that were passed on the way */
    struct aws_result result;
};

static bool is_mutation(enum aws_op op)
{
    return op == AWS_CREATE_ACCESS_KEY || op == AWS_UPDATE_ACCESS_KEY || op == AWS_DELETE_ACCESS_KEY;
}

static void copy_key(struct aws_key *to, const char *id, enum aws_key_status status, int64_t created_ms)
{
    snprintf(to->id, sizeof(to->id), "%s", id);
    to->status = status;
    to->created_ms = created_ms;
}

static void note_alone(struct sim_truth *t)
{
    for (size_t i = 0; i < t->n && sim_truth_count(t) == 1; i++) t->keys[i].was_alone |= t->keys[i].exists;
}

/* What a look-up of a key says. */
static void last_used(struct aws_op_sim *o)
{
    struct sim_truth *t = o->aws->o.truth;
    struct aws_result *r = &o->result;
    const struct sim_key *k = sim_truth_find(t, o->key_id);
    r->used = o->aws->blind ? AWS_USED_UNKNOWN : sim_truth_last_used(t, o->key_id, &r->used_at_ms);
    if (!k) r->err = ERR_AWS_DENIED; /* facts/aws, section 2 */
    t->blinded = t->blinded || (o->aws->blind && k && !k->was_held);
}

/* A key that keyroll deleted before. */
static void list_ghost(struct sim_truth *t, const char *id)
{
    for (size_t i = 0; i < t->n; i++) t->ghost = t->ghost || (t->keys[i].deleted && !strcmp(t->keys[i].id, id));
}

static void list_before(struct aws_op_sim *o)
{
    struct sim_truth *t = o->aws->o.truth;
    struct aws_result *r = &o->result;
    for (size_t i = 0; i < t->n_before; i++) {
        const struct sim_key *k = sim_truth_find(t, t->listed_before[i]);
        list_ghost(t, t->listed_before[i]);
        copy_key(&r->keys[r->n_keys++], t->listed_before[i], t->status_before[i], k ? k->created_wall_ms : TIME_NONE);
    }
}

/* A list in two pages, each of its own moment: what stands on the first may be gone or changed before the second, what
 * is made in between may belong before it. In which order AWS lists them and how many a page holds is its own affair
 * (facts/aws, section 2): the oldest or the newest first, none or one on the first page. */
static void list_page(struct aws_op_sim *o)
{
    struct sim_truth *t = o->aws->o.truth;
    struct aws_result *r = &o->result;
    const bool newest_first = o->op.fault.delay_ms & 1, first_empty = o->op.fault.delay_ms & 2;
    if (!o->pages) o->n_first = t->n;
    const size_t n = newest_first ? o->n_first : t->n, most = o->pages++ ? n : !first_empty;
    for (size_t i = 0; i < r->n_keys; i++) list_ghost(t, r->keys[i].id);
    while (o->n_passed < n && r->n_keys < most) {
        const size_t passed = o->n_passed++;
        const struct sim_key *k = &t->keys[newest_first ? n - 1 - passed : passed];
        if (k->exists) copy_key(&r->keys[r->n_keys++], k->id, k->status, k->created_wall_ms);
    }
}

static void list(struct aws_op_sim *o)
{
    struct sim_truth *t = o->aws->o.truth;
    struct aws_result *r = &o->result;
    const bool first = !o->pages;
    note_alone(t);
    const bool stale = o->op.fault.kind == SIM_STALE && t->sim->mono_ms - t->listed_change_ms < STALE_MS;
    if (first) t->listed_ms = r->listed_mono_ms = t->sim->mono_ms;
    if (first) t->listed_before_outside = stale && t->outside_ms == t->listed_change_ms;
    if (o->op.fault.kind == SIM_PAGED)
        list_page(o);
    else if (stale)
        list_before(o);
    else
        for (size_t i = 0; i < t->n; i++)
            if (t->keys[i].exists)
                copy_key(&r->keys[r->n_keys++], t->keys[i].id, t->keys[i].status, t->keys[i].created_wall_ms);
}

static void create(struct aws_op_sim *o)
{
    struct sim_key *k;
    struct aws_result *r = &o->result;
    r->err = sim_truth_create(o->aws->o.truth, SIM_BY_KEYROLL, &k);
    if (r->err) return;
    copy_key(&r->keys[0], o->aws->misname[0] ? o->aws->misname : k->id, k->status, k->created_wall_ms);
    o->aws->misname[0] = '\0';
    r->n_keys = 1;
    r->created_secret = secret_from_string(k->secret);
}

static void probe(struct aws_op_sim *o)
{
    struct sim_truth *t = o->aws->o.truth;
    if (!o->secret[0]) return;
    if (o->what == AWS_CALLER_IDENTITY && o->aws->deny_probe) {
        o->aws->deny_probe = false;
        o->result.err = ERR_AWS_DENIED;
        return;
    }
    o->result.err = sim_truth_probe(t, o->key_id, o->secret);
    if (!o->result.err) sim_truth_touch(t, o->key_id);
}

/* A request leaves now. A Date header has whole seconds. */
static void stamp(struct aws_op_sim *o)
{
    o->sent_wall_ms = o->result.sent_wall_ms = sim_wall_ms(o->aws->o.net->sim);
    o->result.date_ms = o->sent_wall_ms / 1000 * 1000;
}

static void op_effect(struct sim_op *op)
{
    struct aws_op_sim *o = (struct aws_op_sim *)op;
    struct sim_truth *t = o->aws->o.truth;
    struct aws_result *r = &o->result;
    if (o->pages) stamp(o); /* each page is asked for anew */
    if (sim_wall_ms(op->net->sim) - o->sent_wall_ms > o->aws->o.skew_limit_ms) {
        r->err = ERR_AWS_CLOCK; /* R7: AWS refuses what slept too long */
        return;
    }
    t->asked_ms = op->begun_ms;
    t->asked_listed_ms = o->listed_ms;
    t->asked_unproven = o->is_unproven;
    switch (o->what) {
    case AWS_LIST_ACCESS_KEYS:
        list(o);
        return;
    case AWS_CREATE_ACCESS_KEY:
        create(o);
        return;
    case AWS_UPDATE_ACCESS_KEY:
        r->err = sim_truth_update(t, o->key_id, o->status, SIM_BY_KEYROLL);
        return;
    case AWS_DELETE_ACCESS_KEY:
        r->err = sim_truth_delete(t, o->key_id, SIM_BY_KEYROLL);
        return;
    case AWS_ACCESS_KEY_LAST_USED:
        last_used(o);
        return;
    case AWS_CALLER_IDENTITY:
    case AWS_LIST_BUCKET:
        probe(o);
        return;
    default:
        return;
    }
}

static void op_answer(struct sim_op *op, int err)
{
    struct aws_op_sim *o = (struct aws_op_sim *)op;
    struct aws_result failure = {
        .err = err, .retry_after_ms = -1, .date_ms = TIME_NONE, .sent_wall_ms = o->sent_wall_ms};
    ticket_complete(op->ticket, err ? &failure : &o->result);
}

static void op_free(struct sim_op *op)
{
    struct aws_op_sim *o = (struct aws_op_sim *)op;
    secret_free(o->result.created_secret);
    secret_wipe(o->secret, sizeof(o->secret));
    free(o);
}

static const struct sim_op_class aws_class = {SIM_AWS,           false,          op_effect,    op_answer,      op_free,
                                              ERR_AWS_THROTTLED, ERR_AWS_DENIED, ERR_NET_LOST, ERR_AWS_FAILURE};

static int port_call(void *self, const struct aws_request *q, struct ticket t)
{
    struct port *p = self;
    if (!q->user || !q->user[0]) return ERR_INVALID;
    bool needs_id =
        q->op == AWS_UPDATE_ACCESS_KEY || q->op == AWS_DELETE_ACCESS_KEY || q->op == AWS_ACCESS_KEY_LAST_USED;
    if (needs_id && (!q->key_id || !q->key_id[0])) return ERR_INVALID;
    struct aws_op_sim *o = calloc(1, sizeof(*o));
    if (!o) abort();
    o->aws = p->aws;
    o->what = q->op;
    o->status = q->status;
    if (q->key_id) snprintf(o->key_id, sizeof(o->key_id), "%s", q->key_id);
    if (q->probe_secret) snprintf(o->secret, sizeof(o->secret), "%s", secret_bytes(q->probe_secret));
    o->listed_ms = p->aws->o.truth->listed_ms;
    o->result = (struct aws_result){.retry_after_ms = -1};
    stamp(o);
    const char *what =
        q->op == AWS_UPDATE_ACCESS_KEY && q->status == AWS_KEY_ACTIVE ? SIM_MAKES_ACTIVE : aws_op_name(q->op);
    if (is_mutation(q->op) && p->aws->o.acts) p->aws->o.acts(p->aws->o.arg, p->client, what, o->key_id);
    o->is_unproven = p->aws->o.truth->unproven && p->aws->o.truth->listed_before_outside;
    sim_op_begin(p->aws->o.net, p->client, &o->op, &aws_class, aws_op_name(q->op), is_mutation(q->op), q->timeout_ms,
                 t);
    return 0;
}

struct sim_aws *sim_aws_new(const struct sim_aws_options *o)
{
    struct sim_aws *a = calloc(1, sizeof(*a));
    if (!a) abort();
    a->o = *o;
    return a;
}

void sim_aws_free(struct sim_aws *a)
{
    free(a);
}

struct aws_port sim_aws_port(struct sim_aws *a, struct sim_client *c)
{
    for (size_t i = 0; i < a->n_ports; i++)
        if (a->ports[i].client == c) return (struct aws_port){&a->ports[i], port_call};
    assert(a->n_ports < CLIENTS_MAX);
    a->ports[a->n_ports] = (struct port){a, c};
    return (struct aws_port){&a->ports[a->n_ports++], port_call};
}

void sim_aws_deny_probe(struct sim_aws *a)
{
    a->deny_probe = true;
}

void sim_aws_misname(struct sim_aws *a, const char *id)
{
    snprintf(a->misname, sizeof(a->misname), "%s", id);
}

void sim_aws_blind(struct sim_aws *a, bool blind)
{
    a->blind = blind;
}
