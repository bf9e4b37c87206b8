/* Who calls, and may he? */
#ifndef SANDBOX_ACCESS_H
#define SANDBOX_ACCESS_H

#include "tests/sandbox/policy.h"
#include "tests/sandbox/world.h"

/* The verified caller of one request; lives in its arena. */
struct principal {
    enum role role;
    struct user *user; /* NULL for a role session */
    struct account *account;
    const char *arn;
    const char *unique_id; /* AIDA..., or AROA...:session */
};

/* Makes r->caller and r->account out of the verified r->signer, and remembers the key's use. */
void access_identify(struct world *w, struct request *r);
/* May r->caller do action on resource? target: the user behind the resource, or NULL. */
enum verdict access_ask(struct world *w, struct request *r, const char *action, const char *resource,
                        const struct user *target);
/* Takes a token out of the account's bucket. Returns false when there is none left (throttled). */
bool access_rate(struct world *w, struct account *a, enum bucket_kind kind, int64_t now_ms);

#endif
