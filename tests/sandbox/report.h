/* Credential reports and account details. */
#ifndef SANDBOX_REPORT_H
#define SANDBOX_REPORT_H

#include "tests/sandbox/world.h"

void report_generate(struct world *w, struct request *r); /* GenerateCredentialReport */
void report_get(struct world *w, struct request *r);      /* GetCredentialReport */
void report_details(struct world *w, struct request *r);  /* GetAccountAuthorizationDetails */

#endif
