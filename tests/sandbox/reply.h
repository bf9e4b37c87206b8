/* The envelopes of the AWS services' replies. */
#ifndef SANDBOX_REPLY_H
#define SANDBOX_REPLY_H

#include "tests/sandbox/world.h"

/* An error in the form of r->service: ErrorResponse for IAM and STS, a bare Error for S3, the instance's own style. */
void reply_error(struct world *w, struct request *r, int http, const char *code, const char *message);
/* Opens <ActionResponse><ActionResult> and closes it again with the RequestId. The body goes in between. */
void reply_begin(struct request *r, bool with_result);
void reply_end(struct world *w, struct request *r, bool with_result);
/* 2026-01-02T03:04:05Z in the arena. */
const char *reply_time(struct arena *a, int64_t at_ms);
/* A new request id in the arena. */
const char *reply_request_id(struct world *w, struct request *r);

#endif
