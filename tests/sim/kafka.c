/* The simulated broker (kafka.h): a list. A message whose delivery report is lost may or may not stand in it. */
#include "tests/sim/kafka.h"

#include "lib/err.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define CLIENTS_MAX 16
#define TIMEOUT_MS  10000 /* lib/kafka_out.h: delivery_timeout_ms */

struct port {
    struct sim_kafka *kafka;
    struct sim_client *client;
};
struct sim_kafka {
    struct sim_net *net;
    struct sim_kafka_message *v;
    size_t n, cap;
    struct port ports[CLIENTS_MAX];
    size_t n_ports;
    void (*fn)(void *arg, const struct sim_kafka_message *m);
    void *arg;
};
struct kafka_op {
    struct sim_op op;
    struct sim_kafka *kafka;
    struct sim_kafka_message m;
    int64_t offset;
};

static char *copy(const void *data, size_t len)
{
    char *p = malloc(len + 1);
    if (!p) abort();
    if (len) memcpy(p, data, len);
    p[len] = '\0';
    return p;
}

static void message_done(struct sim_kafka_message *m)
{
    free(m->topic);
    free(m->key);
    free(m->value);
    free(m->headers);
}

static struct kafka_header *copy_headers(const struct kafka_header *h, size_t n)
{
    size_t bytes = 0;
    if (!n) return NULL;
    for (size_t i = 0; i < n; i++) bytes += strlen(h[i].name) + h[i].len + 2;
    struct kafka_header *to = malloc(n * sizeof(*to) + bytes);
    if (!to) abort();
    char *at = (char *)(to + n);
    for (size_t i = 0; i < n; i++) {
        size_t name = strlen(h[i].name) + 1;
        memcpy(at, h[i].name, name);
        if (h[i].len) memcpy(at + name, h[i].value, h[i].len);
        at[name + h[i].len] = '\0';
        to[i] = (struct kafka_header){at, at + name, h[i].len};
        at += name + h[i].len + 1;
    }
    return to;
}

static void op_effect(struct sim_op *op)
{
    struct kafka_op *o = (struct kafka_op *)op;
    struct sim_kafka *k = o->kafka;
    if (k->n == k->cap) {
        k->cap = k->cap ? k->cap * 2 : 64;
        k->v = realloc(k->v, k->cap * sizeof(*k->v));
        if (!k->v) abort();
    }
    o->m.wall_ms = sim_wall_ms(k->net->sim);
    o->offset = (int64_t)k->n;
    k->v[k->n++] = o->m;
    o->m = (struct sim_kafka_message){0};
    if (k->fn) k->fn(k->arg, &k->v[k->n - 1]);
}

static void op_answer(struct sim_op *op, int err)
{
    struct kafka_op *o = (struct kafka_op *)op;
    const struct kafka_report report = {err == ERR_TIMEOUT_SENT || err == ERR_TIMEOUT ? ERR_KAFKA_UNDELIVERED : err, 0,
                                        o->offset, ""};
    ticket_complete(op->ticket, &report);
}

static void op_free(struct sim_op *op)
{
    struct kafka_op *o = (struct kafka_op *)op;
    message_done(&o->m);
    free(o);
}

static const struct sim_op_class kafka_class = {SIM_KAFKA,
                                                true,
                                                op_effect,
                                                op_answer,
                                                op_free,
                                                ERR_KAFKA_UNDELIVERED,
                                                ERR_KAFKA_REFUSED,
                                                ERR_KAFKA_UNDELIVERED,
                                                ERR_KAFKA_UNDELIVERED};

static int port_produce(void *self, const struct kafka_message_out *m, struct ticket t)
{
    struct port *p = self;
    struct kafka_op *o = calloc(1, sizeof(*o));
    if (!o) abort();
    o->kafka = p->kafka;
    o->m = (struct sim_kafka_message){copy(m->topic, strlen(m->topic)),
                                      copy(m->key, m->key_len),
                                      copy(m->value, m->value_len),
                                      m->value_len,
                                      0,
                                      copy_headers(m->headers, m->n_headers),
                                      m->n_headers};
    sim_op_begin(p->kafka->net, p->client, &o->op, &kafka_class, o->m.topic, true, TIMEOUT_MS, t);
    return 0;
}

struct sim_kafka *sim_kafka_new(struct sim_net *net)
{
    struct sim_kafka *k = calloc(1, sizeof(*k));
    if (!k) abort();
    k->net = net;
    return k;
}

void sim_kafka_free(struct sim_kafka *k)
{
    for (size_t i = 0; i < k->n; i++) message_done(&k->v[i]);
    free(k->v);
    free(k);
}

struct kafka_port sim_kafka_port(struct sim_kafka *k, struct sim_client *c)
{
    for (size_t i = 0; i < k->n_ports; i++)
        if (k->ports[i].client == c) return (struct kafka_port){&k->ports[i], port_produce};
    assert(k->n_ports < CLIENTS_MAX);
    k->ports[k->n_ports] = (struct port){k, c};
    return (struct kafka_port){&k->ports[k->n_ports++], port_produce};
}

size_t sim_kafka_count(const struct sim_kafka *k)
{
    return k->n;
}

const struct sim_kafka_message *sim_kafka_at(const struct sim_kafka *k, size_t i)
{
    return &k->v[i];
}

void sim_kafka_on_message(struct sim_kafka *k, void (*fn)(void *arg, const struct sim_kafka_message *m), void *arg)
{
    k->fn = fn;
    k->arg = arg;
}
