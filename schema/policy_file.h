/* The policy file: named policies, canaries and exclusions (policy.schema.json), read into plain values. */
#ifndef KEYROLL_POLICY_FILE_H
#define KEYROLL_POLICY_FILE_H

#include "schema/identity.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define POLICY_NAME_MAX   101
#define POLICY_REASON_MAX 401 /* 100 characters of up to four bytes, and the terminator */
#define POLICY_PATH_MAX   160
#define POLICY_FILE_MAX   (32 << 20) /* bytes */
#define POLICY_SPANS_MAX  50
#define POLICY_DATES_MAX  50
#define POLICY_COUNT_MAX  200
#define POLICY_DAYS_ALL   0x7fu

/* A daily stretch of local time: from_min until before to_min, in minutes of the day 0..1440; when to_min is not after
 * from_min it ends on the next day. days: bit 0 Monday .. bit 6 Sunday: the days on which it begins. */
struct policy_span {
    unsigned days;
    int from_min, to_min;
};
/* Local dates, both included, as days since 1970-01-01. */
struct policy_dates {
    int64_t first_day, last_day;
    char reason[POLICY_REASON_MAX];
};
/* One policy, with what it takes over from the default one filled in. */
struct policy_rules {
    char name[POLICY_NAME_MAX];
    int64_t max_age_ms, max_age_jitter_ms;
    int64_t min_gap_ms; /* between two rotations of one licence */
    int64_t lead_ms;    /* nothing is begun later than this before a time in which it may not run */
    struct policy_span windows[POLICY_SPANS_MAX]; /* rotations are begun in these only; none: at any time */
    size_t n_windows;
    bool has_nightly_copy;
    struct policy_span nightly_copy;            /* the vendor copies the instance */
    struct policy_span quiet[POLICY_SPANS_MAX]; /* other times to leave it alone */
    size_t n_quiet;
    struct policy_dates blackouts[POLICY_DATES_MAX];
    size_t n_blackouts;
};
struct policy_exclusion {
    char licence[IDENTITY_LICENCE_MAX]; /* lower case */
    int64_t expires_ms;                 /* from then on it is looked after again */
    char reason[POLICY_REASON_MAX];
};
struct policy_file {
    struct policy_rules *policies; /* n_policies; the first is "default" */
    size_t n_policies;
    struct policy_exclusion *exclusions; /* by licence */
    size_t n_exclusions;
    char (*canaries)[IDENTITY_LICENCE_MAX]; /* by licence, lower case */
    size_t n_canaries;
};

/* path: where in the file, "policies.default.windows[0].from", "" the whole; reason: what is wrong and what to do. */
typedef void policy_complain(void *arg, const char *path, const char *reason);

/* What holds where no file says otherwise: the vendor's nightly copy from 20:00 to 22:30, a lead of 10 minutes, a gap
 * of a day but at most half the age at which a key is due. */
void policy_rules_init(struct policy_rules *r, int64_t max_age_ms, int64_t max_age_jitter_ms);
/* Reads a file's text. base: what its "default" policy takes over. All faults are told, then ERR_INVALID or ERR_SYNTAX
 * (no JSON, a name twice), ERR_VERSION, ERR_TOO_LARGE; ERR_NOMEM. complain may be NULL. */
MUST_CHECK int policy_file_decode(const char *bytes, size_t len, const struct policy_rules *base,
                                  policy_complain *complain, void *arg, struct policy_file *ret_file);
/* The same for a path; ERR_IO, too. */
MUST_CHECK int policy_file_read(const char *path, const struct policy_rules *base, policy_complain *complain, void *arg,
                                struct policy_file *ret_file);
void policy_file_done(struct policy_file *f); /* takes a zeroed struct */

/* NULL: there is none of that name. name "" is "default". */
const struct policy_rules *policy_file_find(const struct policy_file *f, const char *name);
const struct policy_exclusion *policy_file_exclusion(const struct policy_file *f, const char *licence);
bool policy_file_is_canary(const struct policy_file *f, const char *licence);

/* "2026-12-24" as days since 1970-01-01; false: no such day, or not between 1970 and 2100. */
bool policy_date_parse(const char *text, int64_t *ret_day);
void policy_date_format(int64_t day, char out[11]);

#define AUTO_POLICY_FILE CLEANUP(policy_file_done)

#endif
