/* Which licences an operator means: "account=123456789012,profile!=assisted,licence~GB-*". All terms must hold. Pure.
 */
#ifndef KEYROLL_FILTER_H
#define KEYROLL_FILTER_H

#include "schema/inventory.h"

#define FILTER_TERMS_MAX 16

struct filter {
    struct filter_term {
        int column;         /* of the inventory */
        bool negated, glob; /* != and !~; ~ and !~: * and ? match any characters */
        char value[256];
    } terms[FILTER_TERMS_MAX];
    size_t n; /* 0: everything */
};
/* Terms NAME=VALUE, NAME!=VALUE, NAME~GLOB, NAME!~GLOB, separated by commas; NAME: licence, account, user, bucket,
 * region, instance_url, time_zone, policy, profile. ERR_SYNTAX with a sentence in reason (200 bytes). */
MUST_CHECK int filter_parse(const char *text, struct filter *ret, char reason[200]);
/* Without regard to case. */
bool filter_matches(const struct filter *f, const struct inventory_row *row);

#endif
