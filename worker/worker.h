/* The worker process put together: edges, store, saga engine, intake, probes and metrics; start order and drain. */
#ifndef KEYROLL_WORKER_H
#define KEYROLL_WORKER_H

#include "lib/loop.h"
#include "schema/options.h"

struct worker;
/* Builds everything and starts connecting. On failure *reterr (caller frees) is one line for stderr. ERR_* of the part
 * that failed. */
MUST_CHECK int worker_new(struct loop *l, const struct options *o, struct worker **ret_worker, char **reterr);
/* Runs until drained or a fatal error. Returns the process's exit code: 0 drained, 1 fatal or drain deadline. */
int worker_run(struct worker *w);
void worker_free(struct worker *w);

#endif
