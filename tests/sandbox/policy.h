/* An IAM policy document, enforced. */
#ifndef SANDBOX_POLICY_H
#define SANDBOX_POLICY_H

#include "tests/sandbox/world.h"

#include <stdbool.h>
#include <stddef.h>

struct policy;

enum verdict { VERDICT_ALLOW, VERDICT_IMPLICIT_DENY, VERDICT_EXPLICIT_DENY };

/* One question to a policy. */
struct policy_question {
    const char *action;   /* iam:CreateAccessKey */
    const char *resource; /* ARN, or "*" for actions that name no resource */
    const char *principal_arn;
    const char *principal_name; /* aws:username; NULL for sessions */
    const char *account;        /* of the principal */
    bool tls;
    const struct tag *tags; /* of the resource */
    int n_tags;
};

/* Reads and checks a document. Returns NULL and an English reason in error when it is not understood: elements that
 * this code does not enforce are refused, never skipped. */
struct policy *policy_load(const char *path, char *error, size_t error_size);
void policy_free(struct policy *p);
/* Source: docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html */
enum verdict policy_ask(const struct policy *p, const struct policy_question *q);

#endif
