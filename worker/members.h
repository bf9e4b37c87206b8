/* How many workers share one limit: each gives a sign of life in Redis (schema/lua/member_beat.lua) and is told how
 * many do. One that joins is counted by the others within MEMBERS_BEAT_MS, one that died is counted for MEMBERS_LIFE_MS
 * more, so a limit that is divided by their number is exceeded for seconds at most. Loop thread only. */
#ifndef KEYROLL_MEMBERS_H
#define KEYROLL_MEMBERS_H

#include "schema/store.h"

#define MEMBERS_BEAT_MS 5000
#define MEMBERS_LIFE_MS 15000

struct loop;
struct members;
/* about: what the worker tells of itself, for the doctor; a JSON object, is copied. changed: the number of workers is
 * another one, >= 1; it is 1 until Redis told. ERR_NOMEM. */
MUST_CHECK int members_new(struct loop *l, struct store *store, const char *about, void (*changed)(void *arg, size_t n),
                           void *arg, struct members **ret_members);
/* Gives a sign now, and from now on again and again: once Redis can be reached. While it cannot, the last number
 * holds. */
void members_beat(struct members *m);
/* After redis_free(), which completes what is under way. Takes NULL. */
void members_free(struct members *m);

#endif
