/* Events: one per transition, on the events topic. The audit log, the second witness from which records are rebuilt
 * (R8), and how others learn of outcomes. CloudEvents 1.0 in Kafka's binary mode: attributes in headers,
 * event.schema.json as the value. No secret is ever part of one. */
#ifndef KEYROLL_EVENT_H
#define KEYROLL_EVENT_H

#include "lib/clock.h"
#include "lib/kafka_out.h"
#include "schema/identity.h"
#include "schema/job.h"
#include "schema/message.h"

#define EVENT_MAX_BYTES    8192
#define EVENT_STEP_MAX     JOB_STEP_MAX
#define EVENT_ERROR_MAX    33
#define EVENT_REASON_CHARS 300
#define EVENT_REASON_MAX   (4 * EVENT_REASON_CHARS + 1)
#define EVENT_HEADERS_MAX  8

/* X(name, text): ce_type is keyroll.rotation.<text>. Those marked * are written, with the report in, before the next
 * effect. */
#define EVENT_TYPES(X)                                                                                                 \
    X(EVENT_INTENT, "intent")             /* * CreateAccessKey is about to be called: keys_seen, key_old */            \
    X(EVENT_CREATED, "created")           /* * key_new exists, its secret is sealed */                                 \
    X(EVENT_OFFERED, "offered")           /* * the pivot: key_new is about to be written, or shown */                  \
    X(EVENT_REPLACED, "replaced")         /* * the instance is proven to use key_new in place of key_old */            \
    X(EVENT_INACTIVE, "inactive")         /* * key_old was, or is about to be, set Inactive */                         \
    X(EVENT_REACTIVATED, "reactivated")   /* key_old was made Active again */                                          \
    X(EVENT_DELETED, "deleted")           /* key_old was deleted */                                                    \
    X(EVENT_UNDONE, "undone")             /* key_new was never offered and was deleted */                              \
    X(EVENT_WITHDRAWN, "withdrawn")       /* key_new was offered, refused, and is put out of use */                    \
    X(EVENT_LOST, "lost")                 /* key_new vanished from AWS: closed, a new rotation will start (R12) */     \
    X(EVENT_DRIFTED, "drifted")           /* instance and AWS disagree, or somebody else changed a key */              \
    X(EVENT_ADOPTED, "adopted")           /* a person accepted what is there */                                        \
    X(EVENT_AWAITING, "awaiting")         /* a person must paste, confirm or look */                                   \
    X(EVENT_REVEALED, "revealed")         /* the pair was shown to a person: by */                                     \
    X(EVENT_CONFIRMED, "confirmed")       /* a person says that it is pasted: by */                                    \
    X(EVENT_AUDITED, "audited")           /* a look without a change */                                                \
    X(EVENT_STUCK, "stuck")               /* failed after the pivot: a dead letter was sent */                         \
    X(EVENT_RETRY, "retry")               /* failed, will be tried again at next_at_ms */                              \
    X(EVENT_EXPOSED, "exposed")           /* key_old is marked as exposed (R9) */                                      \
    X(EVENT_FAILED, "failed")             /* failed before the pivot and undone: a dead letter was sent */             \
    X(EVENT_REPLAYED, "replayed")         /* a dead letter's job was published again: by */                            \
    X(EVENT_DROPPED, "dropped")           /* a person gave a dead letter up: by, reason */                             \
    X(EVENT_RESOLVED, "resolved")         /* the licence of a dead letter is well again */                             \
    X(EVENT_UNDO_STARTED, "undo-started") /* * the direction is undo: key_new will never be offered (R1) */            \
    X(EVENT_RECOVERED, "recovered")       /* what this and other licences were parked for answers again: reason */
enum event_type {
#define EVENT_ENUM(name, text) name,
    EVENT_TYPES(EVENT_ENUM)
#undef EVENT_ENUM
        EVENT_TYPE_COUNT
};

/* Strings are "" and times 0 when absent. */
struct event {
    int type; /* enum event_type */
    int kind; /* enum job_kind of the job that caused it */
    char licence[IDENTITY_LICENCE_MAX], account[AWS_ACCOUNT_MAX], user[AWS_USER_MAX];
    char job_id[IDENTITY_JOB_ID_MAX];
    int64_t rotation; /* number of the rotation; 0 none */
    int64_t number;   /* fencing number of the lease under which it was written: orders events of a user; 0 none */
    char key_new[AWS_KEY_ID_MAX], key_old[AWS_KEY_ID_MAX];
    struct message_keys keys_seen; /* ids that AWS listed before the create */
    char step[EVENT_STEP_MAX];     /* where in the job, "create"; letters, digits and ._- with - for blanks */
    char reason[EVENT_REASON_MAX]; /* one plain sentence, message_words() */
    char error_code[EVENT_ERROR_MAX], error_class[EVENT_ERROR_MAX]; /* event_set_error() */
    char by[JOB_BY_MAX];                                            /* person or worker */
    int64_t at_ms;
    int64_t next_at_ms;                     /* when something happens next */
    bool assisted, repair, unseen, exposed; /* as in the journal and the record */
};

/* As job_decode and job_encode. */
MUST_CHECK int event_decode(const char *bytes, size_t len, struct event *ret_event, struct message_fault *fault);
MUST_CHECK int event_encode(const struct event *e, struct buf *out);
const char *event_type_name(int type); /* "intent", ...; "unknown" */
/* Sets error_code and error_class from an err.h code; 0 clears both. */
void event_set_error(struct event *e, int code);
/* Writes a step's name as messages have it: - for blanks, cut to fit. */
void event_step(const char *name, char out[EVENT_STEP_MAX]);
/* Writes the Kafka key, "account/user" in lower case. ERR_INVALID. */
MUST_CHECK int event_key(const struct event *e, char out[IDENTITY_KEY_MAX]);

/* CloudEvents attributes, ready for a kafka_message_out; points into itself: do not copy. */
struct event_header_set {
    struct kafka_header headers[EVENT_HEADERS_MAX];
    size_t n;
    char id[128], source[128], type[64], time[TIME_TEXT_MAX], subject[IDENTITY_KEY_MAX];
};
/* source: worker or scheduler id, becomes /keyroll/<source>. ce_id is made of job id, type, step and time, so that a
 * repeated send of the same event has the same id
 * (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md#id). ERR_INVALID: account or user is not valid.
 */
MUST_CHECK int event_headers(const struct event *e, const char *source, struct event_header_set *out);
/* The type that ce_type names, -1 when it is none of ours. For consumers that want to choose without reading the value.
 */
int event_headers_type(const struct kafka_header *headers, size_t n);

#endif
