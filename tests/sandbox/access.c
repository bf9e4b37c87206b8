/* Who calls, and may he?
 *
 * Four kinds of caller: the operator of an account may do everything in it; the rotator and the role that exists in
 * every account do what the policy given at start allows (everything in IAM without one); an instance's user may use
 * its own bucket and nothing else; the rest may do nothing. The hidden token buckets of AWS's throttling live here too.
 */
#include "tests/sandbox/access.h"

#include "tests/sandbox/policy.h"

#include <string.h>

void access_identify(struct world *w, struct request *r)
{
    struct key *k = r->signer;
    struct principal *p = arena_alloc(&r->arena, sizeof(*p));
    k->last_used_ms = r->now_ms;
    k->last_used_service = (uint8_t)r->service;
    if (k->user) {
        *p = (struct principal){k->user->role, k->user, k->user->account, user_arn(&r->arena, k->user), k->user->id};
    } else {
        struct session *s = k->session;
        p->role = ROLE_ROTATOR;
        p->account = s->account;
        p->arn = arena_printf(&r->arena, "arn:aws:sts::%s:assumed-role/%s/%s", s->account->id, s->role_name, s->name);
        p->unique_id = arena_printf(&r->arena, "AROA%.8s%.9s:%s", s->account->id + 4, "KEYROLLROL", s->name);
    }
    (void)w;
    r->caller = p;
    r->account = p->account;
}

enum verdict access_ask(struct world *w, struct request *r, const char *action, const char *resource,
                        const struct user *target)
{
    const struct principal *p = r->caller;
    if (p->role == ROLE_OPERATOR) return VERDICT_ALLOW;
    if (p->role == ROLE_INSTANCE) {
        bool own = p->user->licence && r->bucket && strcmp(r->bucket, p->user->licence->bucket) == 0;
        return strncmp(action, "s3:", 3) == 0 && own ? VERDICT_ALLOW : VERDICT_IMPLICIT_DENY;
    }
    if (p->role == ROLE_PLAIN) return VERDICT_IMPLICIT_DENY;
    if (!w->policy) return strncmp(action, "s3:", 3) == 0 ? VERDICT_IMPLICIT_DENY : VERDICT_ALLOW;
    struct tag tags[USER_TAGS_MAX];
    struct policy_question q = {.action = action,
                                .resource = resource,
                                .principal_arn = p->arn,
                                .tls = r->tls,
                                .principal_name = p->user ? p->user->name : NULL,
                                .account = p->account->id,
                                .tags = tags};
    if (target) q.n_tags = user_tags(&r->arena, w, target, tags);
    /* For a session the policy sees the role, docs.aws.amazon.com: global condition key aws:PrincipalArn. */
    if (!p->user)
        q.principal_arn =
            arena_printf(&r->arena, "arn:aws:iam::%s:role/%s", p->account->id, r->signer->session->role_name);
    return policy_ask(w->policy, &q);
}

bool access_rate(struct world *w, struct account *a, enum bucket_kind kind, int64_t now_ms)
{
    double rate = kind == BUCKET_STS ? w->set.sts_rate : kind == BUCKET_S3 ? w->set.s3_rate : w->set.iam_rate;
    if (rate <= 0 || !a) return true;
    struct token_bucket *b = &a->buckets[kind];
    double size = rate < 1 ? 1 : rate; /* one second's worth */
    if (!b->started) *b = (struct token_bucket){size, now_ms, true};
    b->tokens += rate * (double)(now_ms - b->at_ms) / 1000;
    b->at_ms = now_ms;
    if (b->tokens > size) b->tokens = size;
    if (b->tokens >= 1) {
        b->tokens -= 1;
        return true;
    }
    a->throttled++;
    w->totals.throttled++;
    return false;
}
