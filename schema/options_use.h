/* What both programs make from their settings: our own AWS identity, calls to AWS, the escrow keys. */
#ifndef KEYROLL_OPTIONS_USE_H
#define KEYROLL_OPTIONS_USE_H

#include "lib/aws_call.h"
#include "lib/aws_creds.h"
#include "lib/escrow.h"
#include "schema/options.h"

/* Options of aws_creds_new(); they point into o and live as long. */
struct aws_creds_options options_aws_creds(const struct options *o, struct http *http);
/* Options of aws_call_new(), without a shared budget; they point into o and live as long. */
struct aws_call_options options_aws_call(const struct options *o, struct http *http, struct aws_creds *creds);
/* Loads the files of escrow_key_file. *ret_reason: owned by the caller, may be NULL. ERR_NOT_FOUND when none is set,
 * and as escrow_load(). */
MUST_CHECK int options_escrow(const struct options *o, struct escrow **ret_escrow, char **ret_reason);

#endif
