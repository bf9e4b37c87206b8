/* AWS's error answers: taken from XML and given a code of lib/err.h, once. The table is facts of AWS's service models.
 */
#ifndef KEYROLL_AWS_ERROR_H
#define KEYROLL_AWS_ERROR_H

#include "lib/aws.h"

/* Reads <ErrorResponse><Error><Code/>... (IAM, STS) and the bare <Error> of S3 into code, message and, when it is still
 * empty, request_id. ret_region: S3's <Region>, "" when absent; may be NULL. Not XML: code and message stay empty.
 * Never fails. Only the first line of the message is kept: IAM appends the canonical request, token header included, to
 * some. */
void aws_error_parse(const char *body, size_t len, struct aws_result *r, char *ret_region, size_t region_max);
/* Copies text without control characters, cut to max - 1 bytes, first line only. */
void aws_text_copy(char *out, size_t max, const char *text, size_t len);
/* "Signature expired: ..." and "Signature not yet current: ...": a wrong clock, not a wrong secret. */
bool aws_error_is_clock(const struct aws_result *r);

/* Maps (operation, HTTP status, AWS's code) to a code of err.h. code: "" when the answer was none of AWS's. op: AWS_OPS
 * for a call that is none of the table's. CREATE: unclear outcomes are class UNKNOWN. Pure. Facts, section 3. */
int aws_error_map(enum aws_op op, int http_status, const char *code);

#endif
