/* Probes as Kubernetes and Prometheus ask for them. Health is the loop's heartbeat: an answer at all shows that it
 * turns, so that /healthz is always 200 here and hangs, for the prober to see, when the loop does. */
#include "producer/probes.h"

#include "lib/err.h"
#include "lib/http_server.h"

#include <stdlib.h>
#include <string.h>

struct probes {
    struct probes_options o;
    struct http_server *server;
};

static int answer(void *arg, const struct http_server_request *req, struct buf *body, const char **ret_content_type)
{
    struct probes *p = arg;
    char why[300] = "";
    *ret_content_type = "text/plain; charset=utf-8";
    if (strcmp(req->path, "/healthz") == 0) {
        (void)buf_adds(body, "ok\n");
        return body->error ? 500 : 200;
    }
    if (strcmp(req->path, "/readyz") == 0) {
        bool ready = p->o.ready(p->o.arg, why, sizeof why);
        (void)buf_addf(body, "%s\n", ready ? "ok" : why);
        return ready ? 200 : 503;
    }
    if (strcmp(req->path, "/metrics") == 0) {
        *ret_content_type = "text/plain; version=0.0.4; charset=utf-8";
        return metrics_write(p->o.metrics, body) < 0 ? 500 : 200;
    }
    (void)buf_adds(body, "not found\n");
    return 404;
}

int probes_new(const struct probes_options *o, struct probes **ret_probes)
{
    struct probes *p = calloc(1, sizeof *p);
    if (!p) return ERR_NOMEM;
    p->o = *o;
    int rc = http_server_new(o->loop, o->listen, answer, p, &p->server);
    if (rc < 0) {
        free(p);
        return rc;
    }
    *ret_probes = p;
    return 0;
}

void probes_free(struct probes *p)
{
    if (!p) return;
    http_server_free(p->server);
    free(p);
}

int probes_port(const struct probes *p)
{
    return http_server_port(p->server);
}
