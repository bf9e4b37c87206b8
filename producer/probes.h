/* /healthz, /readyz and /metrics of the scheduler. */
#ifndef KEYROLL_PROBES_H
#define KEYROLL_PROBES_H

#include "lib/loop.h"
#include "lib/metrics.h"

#include <stdbool.h>

struct probes;
struct probes_options {
    struct loop *loop;
    const char *listen;
    struct metrics *metrics;
    /* Ready? Else a line that says why not. */
    bool (*ready)(void *arg, char *why, size_t size);
    void *arg;
};
/* Errors of http_server_new(). */
MUST_CHECK int probes_new(const struct probes_options *o, struct probes **ret_probes);
void probes_free(struct probes *p); /* takes NULL */
int probes_port(const struct probes *p);

#endif
