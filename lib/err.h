/* The one table of error codes. A fallible function returns 0 or one of these (negative). The class decides what
 * happens next and belongs to the code; it is never guessed from text. Map curl, HTTP, Redis, Kafka and AWS errors to
 * ours once, at their boundary. */
#ifndef KEYROLL_ERR_H
#define KEYROLL_ERR_H

enum err_class {
    ERR_CLASS_NONE,      /* no error */
    ERR_CLASS_RETRIABLE, /* had no effect: try again later */
    ERR_CLASS_UNKNOWN,   /* may have had an effect: read back first */
    ERR_CLASS_PERMANENT, /* trying again changes nothing: compensate, tell a person */
    ERR_CLASS_FATAL,     /* the process cannot go on */
};

/* X(name, value, class, text). Values are part of logs, events and dead letters: never renumber, only append. */
#define ERR_TABLE(X)                                                                                                   \
    X(ERR_NOMEM, -1, RETRIABLE, "out of memory")                                                                       \
    X(ERR_INVALID, -2, PERMANENT, "invalid value")                                                                     \
    X(ERR_TOO_LARGE, -3, PERMANENT, "larger than allowed")                                                             \
    X(ERR_NOT_FOUND, -4, PERMANENT, "not found")                                                                       \
    X(ERR_CANCELLED, -5, RETRIABLE, "cancelled")                                                                       \
    X(ERR_TIMEOUT, -6, RETRIABLE, "timed out before it was sent")                                                      \
    X(ERR_TIMEOUT_SENT, -7, UNKNOWN, "timed out after it was sent")                                                    \
    X(ERR_IO, -8, RETRIABLE, "input/output error")                                                                     \
    X(ERR_BUSY, -9, RETRIABLE, "busy")                                                                                 \
    X(ERR_INTERNAL, -10, FATAL, "internal error")                                                                      \
    X(ERR_SYNTAX, -11, PERMANENT, "cannot be parsed")                                                                  \
    X(ERR_VERSION, -12, PERMANENT, "unknown schema version")                                                           \
    X(ERR_PERMISSION, -13, PERMANENT, "not permitted")                                                                 \
    X(ERR_NET_CONNECT, -20, RETRIABLE, "cannot connect")                                                               \
    X(ERR_NET_RESOLVE, -21, RETRIABLE, "cannot resolve the host name")                                                 \
    X(ERR_NET_TLS, -22, RETRIABLE, "TLS handshake or certificate refused")                                             \
    X(ERR_NET_LOST, -23, UNKNOWN, "connection lost after the request was sent")                                        \
    X(ERR_NET_BAD_REPLY, -24, UNKNOWN, "the reply cannot be understood")                                               \
    X(ERR_NET_REDIRECT, -25, PERMANENT, "redirected to another address: never followed")                               \
    X(ERR_REDIS_DOWN, -30, RETRIABLE, "Redis is not reachable")                                                        \
    X(ERR_REDIS_LOST, -31, UNKNOWN, "Redis connection lost before the reply")                                          \
    X(ERR_REDIS_REFUSED, -32, RETRIABLE, "Redis refused the command")                                                  \
    X(ERR_REDIS_AUTH, -33, FATAL, "Redis refused the login")                                                           \
    X(ERR_LEASE_HELD, -40, RETRIABLE, "another worker holds the lease")                                                \
    X(ERR_LEASE_LOST, -41, RETRIABLE, "the lease was lost")                                                            \
    X(ERR_LEASE_HOLD_OFF, -42, RETRIABLE, "Redis changed its run id: no lease until old ones ended")                   \
    X(ERR_JOURNAL_VERSION, -43, RETRIABLE, "somebody else wrote the journal")                                          \
    X(ERR_JOURNAL_DIRECTION, -44, PERMANENT, "the rotation's direction was already decided")                           \
    X(ERR_PAUSED, -45, RETRIABLE, "paused by an operator")                                                             \
    X(ERR_RATE_LIMITED, -46, RETRIABLE, "max_rotations_per_hour reached")                                              \
    X(ERR_BREAKER_OPEN, -47, RETRIABLE, "left alone for now: it fails for everybody")                                  \
    X(ERR_KAFKA_DOWN, -50, RETRIABLE, "Kafka is not reachable")                                                        \
    X(ERR_KAFKA_FATAL, -51, FATAL, "fatal Kafka client error")                                                         \
    X(ERR_KAFKA_UNDELIVERED, -52, UNKNOWN, "no delivery report for the message")                                       \
    X(ERR_KAFKA_REFUSED, -53, PERMANENT, "the broker refused the message")                                             \
    X(ERR_AWS_THROTTLED, -60, RETRIABLE, "AWS throttled the call")                                                     \
    X(ERR_AWS_FAILURE, -61, UNKNOWN, "AWS answered with a server failure")                                             \
    X(ERR_AWS_DENIED, -62, PERMANENT, "AWS denied the call to our own identity")                                       \
    X(ERR_AWS_NO_ENTITY, -63, PERMANENT, "no such IAM user or key")                                                    \
    X(ERR_AWS_LIMIT, -64, PERMANENT, "IAM quota: both key slots are taken")                                            \
    X(ERR_AWS_CREDENTIALS, -65, RETRIABLE, "our own AWS credentials were refused or have expired")                     \
    X(ERR_AWS_NO_CREDENTIALS, -66, PERMANENT, "no AWS credentials found")                                              \
    X(ERR_AWS_CLOCK, -67, RETRIABLE, "AWS refused the time of the request")                                            \
    X(ERR_AWS_BUSY_ENTITY, -68, RETRIABLE, "IAM is changing this user: retry after minutes")                           \
    X(ERR_AWS_INVALID, -69, PERMANENT, "AWS calls the request invalid")                                                \
    X(ERR_AWS_NOT_READY, -70, RETRIABLE, "the report is not ready yet")                                                \
    X(ERR_KEY_TOO_NEW, -71, RETRIABLE, "the key is not known (yet)")                                                   \
    X(ERR_KEY_BAD_SECRET, -72, PERMANENT, "the secret does not match the key")                                         \
    X(ERR_KEY_NO_ACCESS, -73, PERMANENT, "the key is accepted but may not use the bucket")                             \
    X(ERR_KEY_WRONG_USER, -74, PERMANENT, "the key belongs to another user")                                           \
    X(ERR_BUCKET_MISSING, -75, PERMANENT, "no such bucket")                                                            \
    X(ERR_BUCKET_REGION, -76, PERMANENT, "the bucket is in another region")                                            \
    X(ERR_INSTANCE_LOGIN, -80, PERMANENT, "the instance refused the login")                                            \
    X(ERR_INSTANCE_REFUSED, -81, PERMANENT, "the instance refused the call")                                           \
    X(ERR_INSTANCE_FAILURE, -82, UNKNOWN, "the instance failed")                                                       \
    X(ERR_INSTANCE_TEST, -83, RETRIABLE, "the instance's own test failed")                                             \
    X(ERR_INSTANCE_UNSUPPORTED, -84, PERMANENT, "the profile has no such call")                                        \
    X(ERR_INSTANCE_UNPROVEN, -85, RETRIABLE, "the instance does not show the new key")                                 \
    X(ERR_SEAL_KEY, -90, PERMANENT, "the escrow key named by the envelope is not loaded")                              \
    X(ERR_SEAL_BROKEN, -91, PERMANENT, "the sealed secret was changed or belongs elsewhere")                           \
    X(ERR_NEEDS_PERSON, -95, PERMANENT, "a person must look")                                                          \
    X(ERR_ATTEMPTS, -96, PERMANENT, "attempts are spent")                                                              \
    X(ERR_DRAINING, -97, RETRIABLE, "the worker is stopping")

enum err {
#define ERR_ENUM(name, value, class, text) name = value,
    ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
};

/* Class of a code; 0 is NONE, an unlisted code is FATAL. Pure. */
enum err_class err_class(int code);
/* Short name without the prefix, "OK" for 0, never NULL. Static storage. */
const char *err_name(int code);
/* One plain sentence, never NULL. Static storage. */
const char *err_text(int code);
/* "none", "retriable", "unknown", "permanent", "fatal". */
const char *err_class_name(enum err_class c);

#endif
