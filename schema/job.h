/* A job: one piece of due work on one licence. It carries its whole target and no secret (job.schema.json). */
#ifndef KEYROLL_JOB_H
#define KEYROLL_JOB_H

#include "lib/kafka_out.h"
#include "schema/identity.h"
#include "schema/message.h"
#include "lib/url.h"

#define JOB_MAX_BYTES       8192
#define JOB_PROFILE_MAX     101
#define JOB_CREDENTIALS_MAX 256
#define JOB_TIME_ZONE_MAX   65
#define JOB_BUCKET_MAX      64
#define JOB_REGION_MAX      32
#define JOB_BY_MAX          101
#define JOB_STEP_MAX        33

enum job_kind { JOB_ROTATE, JOB_RETIRE, JOB_REAP, JOB_AUDIT, JOB_KINDS };
enum job_reason {
    JOB_SCHEDULED, /* policy says it is due */
    JOB_OPERATOR,  /* a person asked */
    JOB_EXPOSED,   /* the key leaked (R9) */
    JOB_REPAIR,    /* the instance shows another key than it should */
    JOB_RESUME,    /* an open journal without a lease (R2) */
    JOB_POLL,      /* assisted mode: has the person pasted the pair? */
    JOB_DAILY,     /* the daily audit; written "audit" */
    JOB_REASONS
};

/* Strings are "" when absent. */
struct job {
    char job_id[IDENTITY_JOB_ID_MAX];
    int kind;   /* enum job_kind */
    int reason; /* enum job_reason */
    char licence[IDENTITY_LICENCE_MAX];
    char account[AWS_ACCOUNT_MAX];
    char user[AWS_USER_MAX]; /* as IAM writes it */
    char bucket[JOB_BUCKET_MAX];
    char region[JOB_REGION_MAX]; /* of the bucket */
    char instance_url[URL_MAX];
    char profile[JOB_PROFILE_MAX];
    char credentials[JOB_CREDENTIALS_MAX]; /* reference: file:PATH#LICENCE or env:NAME */
    char time_zone[JOB_TIME_ZONE_MAX];     /* of the instance, IANA name */
    char replace_key_id[AWS_KEY_ID_MAX]; /* rotate: the key believed to be current; retire, reap: the key it is about */
    int64_t rotation; /* number of the rotation it is about; rotate: the last finished one; 0 = none yet */
    bool confirm;     /* assisted mode: a person says that the pair is pasted (R11) */
    bool urgent;
    int64_t created_at_ms;
    int64_t due_at_ms;             /* when policy made it due; 0 = not told */
    char requested_by[JOB_BY_MAX]; /* person or program, printable ASCII */
    char dead_step[JOB_STEP_MAX];  /* a later try of what failed for good at this step: its dead letter is on the topic,
                                      and failing there again writes no other; "" else */
};

/* Reads a message's value. ERR_TOO_LARGE (over 8 KiB), ERR_SYNTAX, ERR_VERSION, ERR_INVALID, ERR_NOMEM. fault: why; may
 * be NULL. *ret_job is only meaningful on success. */
MUST_CHECK int job_decode(const char *bytes, size_t len, struct job *ret_job, struct message_fault *fault);
/* Appends the JSON. ERR_INVALID: a field holds what decoding would refuse. ERR_NOMEM, ERR_TOO_LARGE. */
MUST_CHECK int job_encode(const struct job *j, struct buf *out);
/* Sets job_id from kind, account, user, key id and rotation. ERR_INTERNAL. */
MUST_CHECK int job_identify(struct job *j);
/* Writes the Kafka key, "account/user" in lower case. ERR_INVALID. */
MUST_CHECK int job_key(const struct job *j, char out[IDENTITY_KEY_MAX]);
const char *job_kind_name(int kind);     /* "rotate", ...; "unknown" */
const char *job_reason_name(int reason); /* "scheduled", ... */
/* JOB_ROTATE.. or -1. */
int job_kind_parse(const char *name);
/* "file:" and a path, or "env:" and a variable's name; the form of an IANA time zone's name. Lengths are the field's.
 */
bool job_credentials_valid(const char *s);
bool job_time_zone_valid(const char *s);

/* The form itself, for dead letters. */
extern const struct form job_form;
/* Reads a job out of an object already parsed; as job_decode. */
MUST_CHECK int job_read(const json_t *root, struct job *ret_job, struct message_fault *fault);

/* ---- Kafka headers of jobs ---- */

#define JOB_TRACEPARENT_MAX 56
#define JOB_ERROR_MAX       64
#define JOB_HEADERS_MAX     6

struct job_headers {
    char job_id[IDENTITY_JOB_ID_MAX]; /* keyroll-job-id; "" absent */
    int64_t attempt;                  /* keyroll-attempt: 1 = the first; 1 when absent */
    int64_t
        not_before_ms; /* keyroll-not-before: by the clock of Redis, which all workers have in common; 0 = at once */
    int64_t first_seen_ms; /* keyroll-first-seen: wall clock of the first publication, 0 = absent */
    char
        last_error[JOB_ERROR_MAX]; /* keyroll-last-error: name and class of the last failure, "NET_CONNECT retriable" */
    char traceparent[JOB_TRACEPARENT_MAX]; /* W3C trace context, "" absent */
};
/* Ready for a kafka_message_out; points into itself: do not copy. */
struct job_header_set {
    struct kafka_header headers[JOB_HEADERS_MAX];
    size_t n;
    char text[3][24];
};
/* out borrows from h. Absent ones are left out. */
void job_headers_encode(const struct job_headers *h, struct job_header_set *out);
/* Unknown headers are ignored; of one that stands twice the last counts. A bad job id, attempt or time: ERR_INVALID
 * with fault; a bad traceparent or last error is dropped, nothing depends on it. *ret is filled with defaults in any
 * case. */
MUST_CHECK int job_headers_decode(const struct kafka_header *headers, size_t n, struct job_headers *ret,
                                  struct message_fault *fault);

#endif
