/* Marks: what became of a dead letter. They stand on the dead-letter topic itself, behind the letters and under the
 * same key, so that the topic alone tells which letters are open. */
#ifndef KEYROLL_DEADMARK_H
#define KEYROLL_DEADMARK_H

#include "schema/event.h"
#include "schema/job.h"

#define DEADMARK_MAX_BYTES 4096

enum deadmark_action {
    DEADMARK_REPLAYED, /* its job was published again */
    DEADMARK_DROPPED,  /* a person gave it up, for a reason */
    DEADMARK_RESOLVED, /* its licence is well again */
};
struct deadmark {
    int action;                /* enum deadmark_action */
    int64_t partition, offset; /* of the letter, on the same topic */
    char job_id[IDENTITY_JOB_ID_MAX];
    char licence[IDENTITY_LICENCE_MAX], account[AWS_ACCOUNT_MAX], user[AWS_USER_MAX]; /* "" for what was no job */
    char by[JOB_BY_MAX];                                                              /* person or scheduler */
    char reason[EVENT_REASON_MAX];                                                    /* dropped: required */
    int64_t at_ms;
};

/* As job_decode and job_encode. */
MUST_CHECK int deadmark_decode(const char *bytes, size_t len, struct deadmark *ret, struct message_fault *fault);
MUST_CHECK int deadmark_encode(const struct deadmark *m, struct buf *out);
const char *deadmark_action_name(int action);
/* True when these bytes name themselves a mark, good or bad. Cheap. */
bool deadmark_is(const char *bytes, size_t len);

#endif
