/* Calls per host (hosts.h). A host is there as long as a call of it is: running ones are counted, others wait with a
 * copy of their request. The wait is bounded by the caller: each job has one call at a time, and jobs are limited. */
#include "worker/hosts.h"

#include "lib/err.h"
#include "lib/fnv.h"
#include "lib/secret.h"
#include "worker/breakers.h"

#include <string.h>

#define BUCKETS 256

struct waiting {
    struct waiting *next;
    struct instance_request req; /* strings and secret are ours */
    struct ticket t;
};
struct host {
    struct host *next; /* in its bucket */
    unsigned running;
    struct waiting *first[2]; /* urgent, others */
    struct waiting **end[2];
    char name[BREAKER_NAME_MAX];
};
struct hosts {
    struct instance_port instance;
    unsigned most, limit; /* of all workers; of this one */
    size_t n_waiting;
    bool closing;
    struct host *buckets[BUCKETS];
};
struct call {
    struct hosts *h;
    struct host *host;
    struct ticket t;
};

/* ---- copies ---- */

static void waiting_free(struct waiting *w)
{
    if (!w) return;
    const char *const texts[] = {w->req.target.licence,     w->req.target.url, w->req.target.profile,
                                 w->req.target.credentials, w->req.key_id,     w->req.traceparent};
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) free((char *)(uintptr_t)texts[i]);
    secret_free((struct secret *)(uintptr_t)w->req.secret);
    free(w);
}

static struct waiting *waiting_new(const struct instance_request *req, struct ticket t)
{
    struct waiting *w = calloc(1, sizeof(*w));
    if (!w) return NULL;
    w->req = *req;
    w->t = t;
    const char **const texts[] = {&w->req.target.licence,     &w->req.target.url, &w->req.target.profile,
                                  &w->req.target.credentials, &w->req.key_id,     &w->req.traceparent};
    const char *const given[] = {req->target.licence,     req->target.url, req->target.profile,
                                 req->target.credentials, req->key_id,     req->traceparent};
    bool fine = true;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        *texts[i] = given[i] ? strdup(given[i]) : NULL;
        fine = fine && (*texts[i] || !given[i]);
    }
    w->req.secret = req->secret ? secret_copy(req->secret) : NULL;
    if (fine && (w->req.secret || !req->secret)) return w;
    waiting_free(w);
    return NULL;
}

/* ---- hosts ---- */

static struct host **place(struct hosts *h, const char *name)
{
    struct host **at = &h->buckets[fnv1a(FNV1A_START, name) % BUCKETS];
    while (*at && strcmp((*at)->name, name) != 0) at = &(*at)->next;
    return at;
}

static struct host *need(struct hosts *h, const char *name)
{
    struct host **at = place(h, name);
    if (*at) return *at;
    struct host *made = calloc(1, sizeof(*made));
    if (!made) return NULL;
    memcpy(made->name, name, sizeof(made->name));
    for (int k = 0; k < 2; k++) made->end[k] = &made->first[k];
    *at = made;
    return made;
}

static void drop_if_idle(struct hosts *h, struct host *host)
{
    if (host->running || host->first[0] || host->first[1]) return;
    struct host **at = place(h, host->name);
    *at = host->next;
    free(host);
}

static struct waiting *pop(struct hosts *h, struct host *host)
{
    for (int k = 0; k < 2; k++) {
        struct waiting *w = host->first[k];
        if (!w) continue;
        host->first[k] = w->next;
        if (!host->first[k]) host->end[k] = &host->first[k];
        h->n_waiting--;
        return w;
    }
    return NULL;
}

/* ---- calls ---- */

static void on_done(void *self, uint64_t id, const void *result);

static int start(struct hosts *h, struct host *host, const struct instance_request *req, struct ticket t)
{
    struct call *call = malloc(sizeof(*call));
    if (!call) return ERR_NOMEM;
    *call = (struct call){h, host, t};
    host->running++;
    int rc = h->instance.call(h->instance.self, req, (struct ticket){on_done, call, 0});
    if (rc == 0) return 0;
    host->running--;
    free(call);
    return rc;
}

static void start_waiting(struct hosts *h, struct host *host)
{
    struct waiting *w;
    while (!h->closing && host->running < h->limit && (w = pop(h, host))) {
        host->running++; /* holds the host while tickets are completed */
        int rc = start(h, host, &w->req, w->t);
        const struct instance_result failed = {.err = rc, .retry_after_ms = -1};
        if (rc < 0) ticket_complete(w->t, &failed);
        waiting_free(w);
        host->running--;
    }
}

static void on_done(void *self, uint64_t id, const void *result)
{
    struct call *call = self;
    struct hosts *h = call->h;
    struct host *host = call->host;
    struct ticket t = call->t;
    (void)id;
    free(call);
    ticket_complete(t, result); /* while it still counts: its owner's next call waits behind the others */
    host->running--;
    start_waiting(h, host);
    drop_if_idle(h, host);
}

static int call_instance(void *self, const struct instance_request *req, struct ticket t)
{
    struct hosts *h = self;
    char name[BREAKER_NAME_MAX];
    if (h->closing) return ERR_CANCELLED;
    breakers_host_name(req->target.url ? req->target.url : "", name);
    struct host *host = name[0] ? need(h, name) : NULL;
    if (!host) return h->instance.call(h->instance.self, req, t); /* it says itself what is wrong */
    if (host->running < h->limit) {
        int rc = start(h, host, req, t);
        if (rc < 0) drop_if_idle(h, host);
        return rc;
    }
    struct waiting *w = waiting_new(req, t);
    if (!w) return ERR_NOMEM;
    int k = req->urgent ? 0 : 1;
    *host->end[k] = w;
    host->end[k] = &w->next;
    h->n_waiting++;
    return 0;
}

static bool abilities(void *self, const char *profile, struct instance_abilities *ret)
{
    struct hosts *h = self;
    return h->instance.abilities(h->instance.self, profile, ret);
}

struct instance_port hosts_instance(struct hosts *h)
{
    return (struct instance_port){h, call_instance, abilities};
}

void hosts_share(struct hosts *h, size_t workers)
{
    unsigned before = h->limit;
    h->limit = workers >= h->most ? 1 : h->most / (unsigned)workers;
    if (h->limit <= before) return;
    for (size_t i = 0; i < BUCKETS; i++)
        for (struct host *host = h->buckets[i], *next; host; host = next) {
            start_waiting(h, host);
            next = host->next;
            drop_if_idle(h, host);
        }
}

size_t hosts_limit(const struct hosts *h)
{
    return h->limit;
}

size_t hosts_waiting(const struct hosts *h)
{
    return h->n_waiting;
}

/* ---- life ---- */

int hosts_new(struct instance_port instance, unsigned most, struct hosts **ret_hosts)
{
    struct hosts *h = calloc(1, sizeof(*h));
    if (!h) return ERR_NOMEM;
    h->instance = instance;
    h->most = h->limit = most;
    *ret_hosts = h;
    return 0;
}

void hosts_stop(struct hosts *h)
{
    if (h) h->closing = true;
}

void hosts_free(struct hosts *h)
{
    if (!h) return;
    for (size_t i = 0; i < BUCKETS; i++) {
        while (h->buckets[i]) {
            struct host *host = h->buckets[i];
            struct waiting *w;
            h->buckets[i] = host->next;
            while ((w = pop(h, host))) waiting_free(w);
            free(host);
        }
    }
    free(h);
}
