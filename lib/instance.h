/* A Synergist instance as the rotation sees it: typed calls through one table of functions (simulation stands in for
 * it). The real one is lib/synergist.c, driven by a profile (lib/profile.h): the vendor documents the envelope, not the
 * System Parameters calls, so names and ways are configuration. */
#ifndef KEYROLL_INSTANCE_H
#define KEYROLL_INSTANCE_H

#include "lib/aws.h"

struct profile;

enum instance_op {
    INSTANCE_READ_KEY,  /* which key id does it use: read-back, else presigned URL, as the profile says -> key_seen,
                           proof */
    INSTANCE_WRITE_KEY, /* both halves in ONE request */
    INSTANCE_TEST,      /* exercise the key: the instance's own test call, else a GET of a presigned URL */
    INSTANCE_VERSION,   /* action=version: reachable, login accepted? */
    INSTANCE_OPS
};
/* What the instance is known to use. */
enum instance_seen { INSTANCE_SEEN_UNKNOWN, INSTANCE_SEEN_NONE /* holds no key */, INSTANCE_SEEN_ID };
/* How it is known, best first. */
enum instance_proof { INSTANCE_PROOF_NONE, INSTANCE_PROOF_READ_BACK, INSTANCE_PROOF_PRESIGNED, INSTANCE_PROOF_TEST };

/* Where an instance is and how it is talked to. Borrowed. */
struct instance_target {
    const char *licence;
    const char *url;         /* base URL of the instance */
    const char *profile;     /* profile name */
    const char *credentials; /* reference: file:PATH#LICENCE or env:NAME; resolved at each call (re-read on change) */
};
struct instance_request {
    enum instance_op op;
    struct instance_target target;
    const char *key_id;
    const struct secret *secret; /* WRITE_KEY */
    int64_t timeout_ms;
    int64_t deadline_mono_ms; /* as in aws_request */
    bool last_on_connection;
    bool urgent;             /* goes before others in the queue */
    const char *traceparent; /* goes along as a header (trace.h); may be NULL */
};
/* What a ticket is completed with: const struct instance_result *. Borrowed. */
struct instance_result {
    int err; /* 0; ERR_INSTANCE_LOGIN (404001-404003: stop trying), ERR_INSTANCE_REFUSED (definite, no effect),
                ERR_INSTANCE_FAILURE, ERR_INSTANCE_TEST (the test ran and failed), ERR_INSTANCE_UNSUPPORTED (the profile
                has no such way), ERR_NET_*, ERR_TIMEOUT_*, ERR_NOT_FOUND (credentials reference) */
    int http_status;
    char code[16];     /* the instance's error code, "404002" */
    char message[200]; /* the instance's words, cleaned; never a secret */
    enum instance_seen seen;
    char key_seen[AWS_KEY_ID_MAX]; /* READ_KEY */
    enum instance_proof proof;     /* READ_KEY, TEST: how we know; TEST by presigned GET also sets key_seen */
    int64_t retry_after_ms;        /* -1 none */
    bool told_to_wait;             /* that is what the instance itself said, not the profile */
};
/* Abilities of a profile, known without a call. */
struct instance_abilities {
    bool can_write;        /* false: assisted mode */
    bool can_read;         /* read-back or presigned URL: READ_KEY may answer with an id */
    bool can_test;         /* own test call or presigned GET */
    int64_t write_life_ms; /* longest time after which a write that was sent may still land (R1, R7) */
    int64_t write_timeout_ms, read_timeout_ms, test_timeout_ms;
};

struct instance_port {
    void *self;
    /* 0: the ticket completes exactly once, later. ERR_NOMEM, ERR_INVALID: nothing happened. */
    int (*call)(void *self, const struct instance_request *req, struct ticket t);
    /* What the profile of that name can do; false for an unknown profile. Never blocks. */
    bool (*abilities)(void *self, const char *profile, struct instance_abilities *ret);
};

const char *instance_op_name(enum instance_op op);
const char *instance_proof_name(enum instance_proof p);

#endif
