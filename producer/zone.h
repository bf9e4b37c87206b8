/* A time zone of the tz database: UTC to local time, for any moment. Made from the bytes of a TZif file. Pure. */
#ifndef KEYROLL_ZONE_H
#define KEYROLL_ZONE_H

#include "lib/cleanup.h"

#include <stdint.h>
#include <stdlib.h>

#define ZONE_FILE_MAX 262144 /* bytes; the largest of the database are some thousand */

struct zone;

/* Reads a TZif file, versions 1 to 4 (RFC 9636 section 3), with the rule behind its data for the time after the last
 * change (section 3.3.1; the form is POSIX's TZ with the hours of RFC 9636). bytes: borrowed. ERR_SYNTAX: no such file,
 * cut, or against itself; ERR_NOMEM. */
MUST_CHECK int zone_parse(const void *bytes, size_t len, struct zone **ret_zone);
void zone_free(struct zone *z); /* takes NULL */
/* Seconds that local time is ahead of UTC at this moment. z NULL: UTC, 0. */
int32_t zone_offset_s(const struct zone *z, int64_t utc_ms);
/* The first moment after utc_ms at which the offset may change; INT64_MAX: never again. */
int64_t zone_next_change_ms(const struct zone *z, int64_t utc_ms);

static inline void zone_freep(struct zone **z)
{
    zone_free(*z);
}
#define AUTO_ZONE CLEANUP(zone_freep)

#endif
