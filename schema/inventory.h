/* The inventory: which licences there are, and where. From a CSV or JSON file, or added row by row by discovery. Bad
 * rows are told and left out, good ones go on. One struct is one generation: built, sealed, then only read. */
#ifndef KEYROLL_INVENTORY_H
#define KEYROLL_INVENTORY_H

#include "lib/cleanup.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct inventory;
struct job;
struct options;

/* One licence. Strings are never NULL, "" when the inventory says nothing; they live as long as the inventory. */
struct inventory_row {
    const char *licence, *account;
    const char *user; /* from user_template when the inventory gives none */
    const char *bucket;
    const char *region; /* aws_region when the inventory gives none */
    const char *instance_url;
    const char *time_zone;   /* IANA name, "" = UTC */
    const char *policy;      /* name of a policy, "" = the default one */
    const char *profile;     /* "default" when the inventory gives none */
    const char *credentials; /* reference: file:PATH#LICENCE or env:NAME, "" none */
    uint32_t line;           /* where its row begins in the file, from 1; 0 = not from a file */
};

/* A row, or the file, that was refused. Borrowed. */
struct inventory_complaint {
    uint32_t line;       /* 0: not about one line */
    const char *licence; /* "" when it could not be read */
    const char *reason;  /* what is wrong and what to do */
};
typedef void inventory_complain(void *arg, const struct inventory_complaint *c);

/* Begins an empty inventory. o: borrowed until inventory_seal (user_template, aws_region, waits). complain: called from
 * within the functions below, for each bad row; may be NULL. NULL when out of memory. */
struct inventory *inventory_new(const struct options *o, inventory_complain *complain, void *arg);
void inventory_free(struct inventory *inv);
void inventory_freep(struct inventory **inv);
/* Reads a file: JSON (an array of objects) when the name ends in .json, else CSV (RFC 4180) with a header row. Columns,
 * in any order: licence, account, bucket, instance_url (these four are required), user, region, time_zone, policy,
 * profile, credentials; blanks and - in a header name count as _, letters in either case. At most 256 MiB. 0 also when
 * rows were bad: they are told. ERR_IO, ERR_NOMEM; ERR_SYNTAX, ERR_INVALID, ERR_TOO_LARGE: the file as a whole (a
 * column that is not known or absent, no JSON array): told by complain with line and reason, and nothing of it may be
 * used. */
MUST_CHECK int inventory_read_file(struct inventory *inv, const char *path);
/* The same from memory: takes text (malloc'd, NUL-terminated behind len) over in any case. */
MUST_CHECK int inventory_read_csv(struct inventory *inv, char *text, size_t len);
MUST_CHECK int inventory_read_json(struct inventory *inv, const char *text, size_t len);
/* Adds one row as discovery found it; strings are copied, NULL counts as "". 0 also when it was bad and told.
 * ERR_NOMEM. */
MUST_CHECK int inventory_add(struct inventory *inv, const struct inventory_row *row);
/* Ends building: rows whose licence or user stands twice (also by case only) are left out, all of them, since a key
 * rolled for one would cut off the other; look-ups work from here on. ERR_NOMEM. */
MUST_CHECK int inventory_seal(struct inventory *inv);

size_t inventory_count(const struct inventory *inv);
/* Rows that were refused, duplicates included. */
size_t inventory_bad(const struct inventory *inv);
/* i in 0..inventory_count()-1, in the order of the file. */
const struct inventory_row *inventory_row(const struct inventory *inv, size_t i);
/* Without regard to case. NULL: not there. */
const struct inventory_row *inventory_find(const struct inventory *inv, const char *licence);
/* By "account/user" as identity_key writes it. NULL: not there. */
const struct inventory_row *inventory_find_user(const struct inventory *inv, const char *user_key);

enum inventory_change {
    INVENTORY_VANISHED /* only before */,
    INVENTORY_ADDED /* only after */,
    INVENTORY_MOVED /* another user, instance or bucket */
};
/* Compares two sealed generations by licence; fn gets the rows (NULL where there is none). Returns the number of
 * changes. A licence that vanished, perhaps by a slip of the pen, is not touched any more: tell the person. */
size_t inventory_compare(const struct inventory *before, const struct inventory *after,
                         void (*fn)(void *arg, enum inventory_change what, const struct inventory_row *before,
                                    const struct inventory_row *after),
                         void *arg);
/* Copies the target (licence to time zone) into a job; all else stays. */
void inventory_target(const struct inventory_row *row, struct job *j);

#define AUTO_INVENTORY CLEANUP(inventory_freep)

#endif
