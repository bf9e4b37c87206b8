/* S3: the few calls a key is proven with. */
#ifndef SANDBOX_S3_H
#define SANDBOX_S3_H

#include "tests/sandbox/world.h"

/* Attachments with these numbers exist in every bucket, as attachment_N.txt. */
#define S3_ATTACHMENTS 3

/* Finds bucket, object and action. virtual_bucket: from the host name, or NULL. */
void s3_route(struct world *w, struct request *r, const char *virtual_bucket);
/* True when the request went to the endpoint of another region; the reply is made then. */
bool s3_redirected(struct world *w, struct request *r);
void s3_handle(struct world *w, struct request *r);

#endif
