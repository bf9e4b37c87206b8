/* What `keyroll adopt` writes: a record that explains every key, as a person said it. */
#ifndef KEYROLL_ADOPT_H
#define KEYROLL_ADOPT_H

#include "schema/record.h"

struct adopt_in {
    const struct aws_key *keys; /* as listed now */
    size_t n_keys;
    const char *current_id;      /* the key in use; "" = the instance holds none */
    bool current_seen;           /* the instance showed it; else it is the person's word */
    const char *const *replaced; /* NULL-terminated ids, or NULL */
    const char *const *left;
    int64_t overlap_ms, quarantine_ms, now_ms;
    int64_t number; /* of the lease: becomes the rotation number of the replaced keys */
};
/* Rewrites r. ERR_INVALID with reason: a named key is not listed, is the one in use, or stands twice; a listed key is
 * not named; too many keys. r is unchanged then. Pure. */
MUST_CHECK int adopt_record(const struct adopt_in *in, struct record *r, char ret_reason[RECORD_TEXT_MAX]);

#endif
