/* W3C trace context (https://www.w3.org/TR/trace-context/#traceparent-header): names one job's way through scheduler,
 * Kafka, worker, AWS and instance. Nothing depends on it. */
#ifndef KEYROLL_TRACE_H
#define KEYROLL_TRACE_H

#include "lib/clock.h"

#include <stdbool.h>

#define TRACE_PARENT_MAX 56 /* "00-" 32 hex "-" 16 hex "-01" */
#define TRACE_ID_MAX     33
#define TRACE_HEADER_MAX 72

/* Begins a trace: new trace and span ids. */
void trace_make(const struct rng *rng, char out[TRACE_PARENT_MAX]);
/* A new span in the parent's trace; begins a trace where the parent is NULL or not in form. */
void trace_child(const struct rng *rng, const char *parent, char out[TRACE_PARENT_MAX]);
/* The 32 hex digits of the trace; "" where the parent is NULL or not in form. */
void trace_id(const char *parent, char out[TRACE_ID_MAX]);
/* The HTTP header's line, "traceparent: 00-...". False, and "": there is none. */
bool trace_header(const char *parent, char out[TRACE_HEADER_MAX]);

#endif
