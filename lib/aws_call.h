/* The real AWS edge: builds, signs and sends the calls of aws.h, follows pages, maps errors once, paces per account. */
#ifndef KEYROLL_AWS_CALL_H
#define KEYROLL_AWS_CALL_H

#include "lib/aws.h"
#include "lib/aws_error.h" /* aws_error_map() */
#include "lib/aws_pace.h"
#include "lib/clock.h"

struct loop;
struct http;
struct aws_call;
struct aws_creds;

struct aws_call_options {
    const struct clock *clock;
    const struct rng *rng;
    struct http *http;
    struct aws_creds *creds;                               /* own identity; per-account roles are assumed through it */
    const char *region;                                    /* home region (STS, defaults), e.g. eu-west-1 */
    const char *partition;                                 /* aws, aws-cn, aws-us-gov, ...; NULL: from region */
    const char *endpoint;                                  /* AWS_ENDPOINT_URL, NULL = none */
    const char *endpoint_iam, *endpoint_sts, *endpoint_s3; /* AWS_ENDPOINT_URL_*, win over endpoint */
    bool s3_path_style;                                    /* programs set it whenever an endpoint override is in use */
    const char *role_template; /* "arn:aws:iam::{account}:role/keyroll"; NULL or "": use own identity as it is */
    const char *external_id;   /* may be NULL */
    const char *session_name;  /* RoleSessionName: "keyroll-<worker id>" */
    double calls_per_s;        /* IAM reads, and as many writes, per account: what the budget starts with, or a fixed
                                  rate without one; 0 = unlimited */
    unsigned burst;            /* of a fixed rate; default = rate */
    struct aws_budget_port budget; /* shared with other processes; take NULL: none */
};
MUST_CHECK int aws_call_new(struct loop *l, const struct aws_call_options *o, struct aws_call **ret_call);
void aws_call_free(struct aws_call *c);
struct aws_port aws_call_port(struct aws_call *c);
/* Turns on the accounts' budgets, and places among those who begin (aws.h, aws_turns.h). Freed with the edge. */
struct aws_turn_port aws_call_turns(struct aws_call *c);
/* Corrected wall clock (own clock plus the offset learned from Date headers). */
int64_t aws_call_now_ms(const struct aws_call *c);
/* What is known of each account's budget. */
void aws_call_budgets(const struct aws_call *c, void (*fn)(void *arg, const struct aws_pace_view *v), void *arg);

/* A raw signed IAM query for discovery and reports (scheduler): action and already-encoded extra form fields. Completed
 * with const struct aws_raw_result *: the XML body for the caller to parse, or the mapped error. */
struct aws_raw_result {
    struct aws_result base;
    const char *body;
    size_t body_len;
};
MUST_CHECK int aws_call_raw_iam(struct aws_call *c, const char *account, const char *action, const char *form,
                                struct ticket t);

#endif
