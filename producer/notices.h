/* What a person is told (I8), gathered into messages: bounded, nothing twice within a day, one message per interval.
 * Pure: time is an argument. */
#ifndef KEYROLL_NOTICES_H
#define KEYROLL_NOTICES_H

#include "lib/buf.h"
#include "producer/map.h"
#include "schema/campaign.h"
#include "schema/deadletter.h"
#include "schema/event.h"

#define NOTICES_MAX       200              /* of one message; what is more is counted */
#define NOTICES_FRESH_MS  86400000LL       /* older news is not told any more */
#define NOTICES_AGAIN_MS  (20 * 3600000LL) /* the same thing is told again after so long, should it still be told of */
#define NOTICES_SETTLE_MS 1000             /* what happens together is told together */
#define NOTICES_MAX_BYTES 1000000

enum notice_kind {
    NOTICE_STUCK,
    NOTICE_AWAITING,
    NOTICE_DRIFTED,
    NOTICE_FAILING,
    NOTICE_DEAD,
    NOTICE_CAMPAIGN,
    NOTICE_KINDS
};
/* "stuck", "awaiting operator", "drifted", "failing", "dead letter", "campaign stopped" */
const char *notice_kind_name(int kind);

/* Strings are "" when absent. */
struct notice {
    int kind;
    char licence[IDENTITY_LICENCE_MAX], account[AWS_ACCOUNT_MAX], user[AWS_USER_MAX];
    char campaign[CAMPAIGN_NAME_MAX];
    char step[EVENT_STEP_MAX], error_code[EVENT_ERROR_MAX];
    char reason[EVENT_REASON_MAX]; /* what happened and what to do */
    char by[JOB_BY_MAX];
    int64_t at_ms;
};

/* Each: true and *ret when it is something that a person is told. */
bool notice_from_event(const struct event *e, struct notice *ret);
bool notice_from_dead(const struct deadletter *d, struct notice *ret);
bool notice_from_campaign(const struct campaign *c, struct notice *ret);

/* The message that is being filled, and what was told lately. All zeros is an empty one. */
struct notices {
    struct notice *items; /* NOTICES_MAX of them, or NULL */
    size_t n;
    size_t more[NOTICE_KINDS]; /* not kept */
    struct map told;           /* what -> when, as an allocated int64_t */
    int64_t first_mono_ms;     /* of this message */
    int64_t last_mono_ms;      /* when the last message was taken; 0 never */
};
void notices_done(struct notices *n);
/* Takes what is fresh and was not told lately. False: it is not told. Of dead letters only the first of a kind (step
 * and error) is told, and none of a licence that was told as stuck. */
bool notices_add(struct notices *n, const struct notice *one, int64_t now_ms, int64_t now_mono_ms);
/* Until the message is to be sent, >= 0; -1: there is none. News goes after NOTICES_SETTLE_MS, and not sooner than
 * interval_ms after the message before. */
int64_t notices_wait_ms(const struct notices *n, int64_t interval_ms, int64_t now_mono_ms);
/* Writes the message (JSON: version, at, from, text, notices, more) and empties it. ERR_NOMEM leaves all as it was. */
MUST_CHECK int notices_take(struct notices *n, const char *from, int64_t now_ms, int64_t now_mono_ms, struct buf *out);

#endif
