/* The campaigns of the scheduler: read from Redis before every survey, asked about each licence during it, summed up
 * after it. Restores Redis from the campaigns topic and keeps the topic up to date. Loop thread only. */
#ifndef KEYROLL_CAMPAIGNS_H
#define KEYROLL_CAMPAIGNS_H

#include "lib/kafka_in.h"
#include "lib/kafka_out.h"
#include "lib/metrics.h"
#include "producer/campaign.h"

struct campaigns;
struct campaigns_options {
    struct store *store;
    struct kafka_port kafka;
    const char *topic;
    const struct clock *clock;
    const char *by; /* who stops a campaign that failed too often */
    bool observe;   /* mode = observe: nothing is rotated */
    struct metrics *metrics;
};
/* NULL when out of memory. */
struct campaigns *campaigns_new(const struct campaigns_options *o);
/* After redis_free() and kafka_out_free(). Takes NULL. */
void campaigns_free(struct campaigns *c);
/* A message of the campaigns topic. True: it is news, worth a tick. */
bool campaigns_take(struct campaigns *c, const struct kafka_message_in *m);
/* The whole topic was read once: from now on what Redis lacks is put back. */
void campaigns_caught_up(struct campaigns *c);
/* Another generation of the inventory; NULL: none. Borrowed until the next call. */
void campaigns_renew(struct campaigns *c, const struct inventory *inv);
/* Reads the documents. 0: the ticket is completed once, later, with NULL; what could not be read stays as it was.
 * ERR_BUSY, ERR_REDIS_DOWN, ERR_NOMEM. */
MUST_CHECK int campaigns_load(struct campaigns *c, struct ticket t);
/* During a survey: row of the inventory, what Redis holds of it, and policy's verdict, which may be changed. */
void campaigns_adjust(void *arg, size_t row, const struct inventory_row *who, const struct policy *p,
                      const struct store_peek *u, struct policy_verdict *v);
/* Is a small wave open, whose last member everything waits for? Then news of a licence are worth a tick. */
bool campaigns_wait(const struct campaigns *c);
/* After a survey that counts. True: a wave was opened or a key marked, so that another look is worth it now. */
bool campaigns_sum_up(struct campaigns *c);

#endif
