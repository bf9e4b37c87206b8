/* IAM's Query API, version 2010-05-08. */
#ifndef SANDBOX_IAM_H
#define SANDBOX_IAM_H

#include "tests/sandbox/world.h"

/* The static name of an action, or NULL when IAM here has no such action. */
const char *iam_action(const char *name);
/* Finds r->target and r->licence from the parameters, before anything is verified. */
void iam_target(struct world *w, struct request *r);
/* Authorises and carries out a request whose signature was verified. */
void iam_handle(struct world *w, struct request *r);

/* Which items of n belong on the page asked for by Marker and MaxItems. Returns false after a ValidationError. */
struct page {
    size_t from;
    size_t to;
    bool truncated;
};
bool iam_page(struct world *w, struct request *r, size_t n, struct page *ret);
/* IsTruncated and Marker. */
void iam_page_end(struct request *r, const struct page *p);

#endif
