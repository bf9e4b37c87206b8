/* At most so many calls under way at one host (HOST:PORT of the instances' addresses), since many instances may share
 * one: a slow host then takes neither all of the HTTP client's handles nor more load than it can bear. The limit is
 * that of all workers together; each has an equal part of it (worker/members.h), since jobs are spread evenly by user.
 * A port in front of the real one; within an instance lib/synergist.h lets one call go at a time. Loop thread only. */
#ifndef KEYROLL_HOSTS_H
#define KEYROLL_HOSTS_H

#include "lib/instance.h"
#include "lib/metrics.h"

struct hosts;
/* most: calls at once of all workers, >= 1; until hosts_share() they are all this one's. instance: the port behind.
 * ERR_NOMEM. */
MUST_CHECK int hosts_new(struct instance_port instance, unsigned most, struct hosts **ret_hosts);
/* Before the port behind is freed: nothing leaves any more (ERR_CANCELLED), and what waits will be dropped. Takes NULL.
 */
void hosts_stop(struct hosts *h);
/* After the port behind is freed, which completes what is under way; what still waits is dropped. Takes NULL. */
void hosts_free(struct hosts *h);
/* Calls wait in order, urgent ones first; each is handed on with its own deadline. */
struct instance_port hosts_instance(struct hosts *h);
/* From now on so many workers share the limit, >= 1; each may have one call at a host whatever the limit. What is under
 * way beyond it ends as it would. */
void hosts_share(struct hosts *h, size_t workers);
/* Calls that this worker may have under way at one host. */
size_t hosts_limit(const struct hosts *h);
/* Calls that wait now. */
size_t hosts_waiting(const struct hosts *h);

#endif
