/* The common budgets in Redis: one per AWS account and API family, kr:budget:<account>:<family>, shared by all workers.
 * A thin edge: the arithmetic is schema/lua/budget_take.lua. Loop thread only. */
#ifndef KEYROLL_BUDGET_STORE_H
#define KEYROLL_BUDGET_STORE_H

#include "lib/aws_pace.h"
#include "schema/store.h"

struct budget_store {
    struct store *store; /* borrowed */
    double start_per_s;  /* calls a second before anything is known of an account */
    double most_per_s;   /* more is never tried */
    double share;        /* 0..1: part of what was seen to work that is used; emergencies use all of it */
};
#define BUDGET_MOST_PER_S 1000.0
/* STS bears more: 600 requests a second per account and region where nothing else is agreed, see "Request rate quotas",
 * https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html */
#define BUDGET_STS_TIMES 10

/* b stays where it is while the port is in use. */
struct aws_budget_port budget_store_port(struct budget_store *b);
/* "budget:<account>:<family>", for store_key(). */
#define BUDGET_NAME_MAX 64
void budget_store_name(const char *account, enum aws_family f, char out[BUDGET_NAME_MAX]);

#endif
