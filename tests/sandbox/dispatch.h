/* From a request to its reply. */
#ifndef SANDBOX_DISPATCH_H
#define SANDBOX_DISPATCH_H

#include "tests/sandbox/world.h"

/* What the server does next with a request. */
enum dispatched {
    DISPATCHED_REPLY,          /* send r->reply after r->reply.delay_ms */
    DISPATCHED_LATER,          /* wait r->reply.delay_ms, call dispatch_late, then send r->reply */
    DISPATCHED_CLOSE_AND_LATER /* close the connection now; dispatch_late after r->reply.delay_ms */
};

enum dispatched dispatch(struct world *w, struct request *r);
void dispatch_late(struct world *w, struct request *r);

#endif
