/* A campaign: a bulk rotation that an operator asked for. The document says what is wanted; how far it is follows from
 * the licences' records alone, so that losing the scheduler loses nothing (campaign.schema.json). */
#ifndef KEYROLL_CAMPAIGN_H
#define KEYROLL_CAMPAIGN_H

#include "schema/job.h"

#define CAMPAIGN_NAME_MAX   65
#define CAMPAIGN_FILTER_MAX 401
#define CAMPAIGN_WAVES_MAX  129
#define CAMPAIGN_WHY_MAX    801
#define CAMPAIGN_MAX_BYTES  900000 /* with the list: about 90,000 licences of 8 characters */

enum campaign_reason { CAMPAIGN_OPERATOR, CAMPAIGN_SCHEDULED, CAMPAIGN_EXPOSED };
enum campaign_state {
    CAMPAIGN_RUNNING,
    CAMPAIGN_PAUSED,
    CAMPAIGN_STOPPED, /* by a person, or by its failures: nothing new is begun, nothing is undone */
    CAMPAIGN_DONE     /* every licence ended: done, failed, or left to a person */
};
enum campaign_selector { CAMPAIGN_ALL, CAMPAIGN_FILTER, CAMPAIGN_LIST };

struct campaign {
    char name[CAMPAIGN_NAME_MAX];     /* 1..64 of [A-Za-z0-9._-] */
    int reason, state, selector;      /* enums above */
    char filter[CAMPAIGN_FILTER_MAX]; /* FILTER: as campaign_filter_parse() (producer) reads it */
    char waves[CAMPAIGN_WAVES_MAX];   /* "1,10,100%": how many may have begun, wave by wave */
    int64_t pace_milli;               /* new licences per 1,000 s; 0 no pace */
    int64_t stop_share;               /* failed of ended that stops it, in 1/100 %; 10000 never */
    int64_t created_at_ms;            /* what was rotated since then is done */
    int64_t changed_at_ms;
    char by[JOB_BY_MAX];        /* who began it, or changed it last */
    char why[CAMPAIGN_WHY_MAX]; /* of the present state, message_words() */
    int64_t revision;           /* 1.., of this document */
    char *list;                 /* LIST: licences, each with a line feed behind it; owned; NULL none */
};
void campaign_done(struct campaign *c);
void campaign_freep(struct campaign **c);
const char *campaign_state_name(int state);
const char *campaign_reason_name(int reason);
/* CAMPAIGN_OPERATOR.. or -1. */
int campaign_reason_parse(const char *name);
bool campaign_name_valid(const char *name);

/* As job_decode and job_encode. On success the receiver releases it with campaign_done(). */
MUST_CHECK int campaign_decode(const char *bytes, size_t len, struct campaign *ret, struct message_fault *fault);
MUST_CHECK int campaign_encode(const struct campaign *c, struct buf *out);

#define AUTO_CAMPAIGN CLEANUP(campaign_freep)

#endif
