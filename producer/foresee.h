/* The forecast as the commands show it: read from Redis, run, printed per day (`keyroll plan --days`, `policy diff`).
 */
#ifndef KEYROLL_FORESEE_H
#define KEYROLL_FORESEE_H

#include "producer/client.h"
#include "producer/forecast.h"
#include "producer/policies.h"

struct foresee {
    int64_t at_ms;
    unsigned days; /* 0: only at_ms was asked for */
    size_t skip;   /* days of the forecast that lie before at_ms: what happens until then is foreseen, but not shown */
    struct forecast *forecast;
    size_t licences, unforeseen, unreadable;
};
/* Reads --at (RFC 3339 time or a date; NULL: now) and --days (1..400; NULL: 0). Returns NULL, or what is wrong. */
const char *foresee_read(const char *at, const char *days, struct foresee *ret);
/* Runs it over the rows, from now on when at_ms is to come. Errors with c->error. */
MUST_CHECK int foresee_run(struct client *c, struct policies *p, const struct inventory_row *const *rows, size_t n,
                           struct foresee *f);
void foresee_print(const struct foresee *f, const struct options *o);
/* ERR_NOMEM. */
MUST_CHECK int foresee_print_json(const struct foresee *f);
/* The days as a JSON list, owned by the caller; NULL when out of memory. */
json_t *foresee_json(const struct foresee *f);
void foresee_done(struct foresee *f);

/* Calls fn for each row with what Redis holds of it. Errors with c->error; what fn returns (< 0) ends it. */
typedef int foresee_each(void *arg, size_t i, const struct inventory_row *row, const struct store_peek *u);
MUST_CHECK int foresee_peek(struct client *c, const struct inventory_row *const *rows, size_t n, foresee_each *fn,
                            void *arg);

#endif
