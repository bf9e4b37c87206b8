/* Dead letters: jobs that failed for good, and messages that are no jobs. Enough to tell a person and to replay. */
#ifndef KEYROLL_DEADLETTER_H
#define KEYROLL_DEADLETTER_H

#include "schema/event.h"
#include "schema/job.h"

#define DEADLETTER_MAX_BYTES  24576
#define DEADLETTER_RAW_MAX    4096 /* bytes kept of a message that cannot be read */
#define DEADLETTER_TOPIC_MAX  250
#define DEADLETTER_BASE64_MAX ((DEADLETTER_RAW_MAX + 2) / 3 * 4 + 1)

struct deadletter {
    bool has_job;
    struct job job;                  /* valid when has_job */
    char raw[DEADLETTER_BASE64_MAX]; /* without a job: the message's first bytes, base64; "" when there is a job or it
                                        was empty */
    char step[EVENT_STEP_MAX];       /* where it failed, "decode" for a message that is no job */
    char error_code[EVENT_ERROR_MAX], error_class[EVENT_ERROR_MAX];
    char reason[EVENT_REASON_MAX]; /* what happened and what to do, message_words() */
    int64_t attempts;              /* 1.. */
    int64_t first_failed_at_ms, last_failed_at_ms;
    char by[JOB_BY_MAX]; /* the worker that gave up */
    char origin_topic[DEADLETTER_TOPIC_MAX];
    int64_t origin_partition, origin_offset; /* -1 unknown */
};

/* Sets raw from a message that cannot be read; cuts it. ERR_NOMEM. */
MUST_CHECK int deadletter_set_raw(struct deadletter *d, const char *bytes, size_t len);
/* Sets error_code, error_class and reason from an err.h code and the words of the one who failed (NULL: the code's
 * own). */
void deadletter_set_error(struct deadletter *d, int code, const char *words);
/* As job_decode and job_encode. The job inside is checked as a job message is. */
MUST_CHECK int deadletter_decode(const char *bytes, size_t len, struct deadletter *ret, struct message_fault *fault);
MUST_CHECK int deadletter_encode(const struct deadletter *d, struct buf *out);

#endif
