/* What the verbs of `keyroll campaign` share: documents in Redis, read and written by a command. */
#ifndef KEYROLL_CAMPAIGN_CMD_H
#define KEYROLL_CAMPAIGN_CMD_H

#include "producer/campaign.h"
#include "producer/client.h"

#define CAMPAIGN_COMMAND "campaign"

/* Reads one document; *ret is to be released with campaign_done(). ERR_NOT_FOUND with c->error. */
MUST_CHECK int campaign_get(struct client *c, const char *name, struct campaign *ret);
/* Reads all, by name: *ret_list of *ret_n, to be released with campaign_list_free(). Unreadable ones are told on
 * stderr. */
MUST_CHECK int campaign_get_all(struct client *c, struct campaign **ret_list, size_t *ret_n);
void campaign_list_free(struct campaign *list, size_t n);
/* Writes it at revision `expected` to Redis, then to Kafka; sets revision, changed_at_ms and by. ERR_JOURNAL_VERSION:
 * somebody else changed it meanwhile. Errors with c->error. */
MUST_CHECK int campaign_set(struct client *c, struct campaign *doc, int64_t expected);

/* keyroll campaign list, show NAME. */
int campaign_cmd_list(const struct options *o, bool json);
int campaign_cmd_show(const struct options *o, const char *name, bool json, bool watch);

#endif
