/* AWS as the rotation sees it: typed calls through one table of functions, so that simulation can stand in for it.
 * The real one is lib/aws_call.c (signing, own identity, error classes) over lib/http; XML by lib/xml; one file per
 * service. */
#ifndef KEYROLL_AWS_H
#define KEYROLL_AWS_H

#include "lib/aws_pace.h"
#include "lib/secret.h"
#include "lib/ticket.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define AWS_KEY_ID_MAX  129 /* 16..128 word characters and the terminator */
#define AWS_USER_MAX    65  /* 64 characters [\w+=,.@-]; unique without regard to case */
#define AWS_ACCOUNT_MAX 13
#define AWS_CODE_MAX    64
#define AWS_KEYS_MAX    16 /* quota is 2, but eight were seen (facts 4): more than this is an error, not a cut */

enum aws_op {
    AWS_LIST_ACCESS_KEYS,     /* user -> keys (all pages) */
    AWS_CREATE_ACCESS_KEY,    /* user -> created, created_secret. Sent on a fresh connection, never repeated by us or by
                                 the transport */
    AWS_UPDATE_ACCESS_KEY,    /* user, key_id, status */
    AWS_DELETE_ACCESS_KEY,    /* user, key_id */
    AWS_ACCESS_KEY_LAST_USED, /* key_id -> last_used, user of the key */
    AWS_GET_USER,             /* user -> identity.arn, user_id */
    AWS_CALLER_IDENTITY,      /* with the probe pair, or our own when probe_secret is NULL -> identity */
    AWS_LIST_BUCKET,          /* with the probe pair: ListObjectsV2 max-keys=1 on bucket/region */
    AWS_OPS
};
enum aws_key_status {
    AWS_KEY_ACTIVE,
    AWS_KEY_INACTIVE,
    AWS_KEY_EXPIRED,
    AWS_KEY_STATUS_UNKNOWN
}; /* unknown is neither Active nor Inactive */
enum aws_used {
    AWS_USED_UNKNOWN,
    AWS_USED_NEVER,
    AWS_USED_AT
}; /* a failed or absent look-up is UNKNOWN: do not touch */

struct aws_key {
    char id[AWS_KEY_ID_MAX];
    enum aws_key_status status;
    int64_t created_ms; /* TIME_NONE when AWS left it out */
};

/* One call. Borrowed until call() returns; what outlives it is copied. */
struct aws_request {
    enum aws_op op;
    const char *account; /* 12 digits; chooses the identity (role), the endpoint (partition) and the rate budget */
    const char *user;    /* never empty for user operations: an empty name acts on the caller (facts 2) */
    const char *key_id;
    enum aws_key_status status;
    const struct secret *probe_secret; /* CALLER_IDENTITY, LIST_BUCKET: the pair (key_id, probe_secret) to try */
    const char *bucket, *region;
    int64_t timeout_ms;       /* whole call, queueing for a handle and for the rate budget excluded */
    int64_t deadline_mono_ms; /* must have LEFT by then at the latest less timeout_ms, else it ends ERR_TIMEOUT unsent
                                 (lease); 0 = none */
    bool urgent;              /* before ordinary ones in the rate budget's queue */
    bool emergency;           /* before all of them, and from the whole budget instead of our share of it */
    bool last_on_connection;  /* LIST_BUCKET: close the connection afterwards */
    const char *traceparent;  /* goes along as a header (trace.h); may be NULL */
    const char *session_note; /* job id, into the User-Agent so that CloudTrail joins calls with jobs; may be NULL */
    struct aws_turn *turn;    /* a read that goes with the slot of this turn, if that is still good; may be NULL */
};

/* What a ticket is completed with: const struct aws_result *. Borrowed. */
struct aws_result {
    int err; /* err.h; class decides. For a sent CREATE anything unclear is class UNKNOWN */
    int http_status;
    char code[AWS_CODE_MAX]; /* AWS's error code, "" when none */
    char message[200];       /* AWS's words, control characters removed; never a secret */
    char request_id[64];
    int64_t date_ms;        /* server's Date header, TIME_NONE when absent */
    int64_t sent_wall_ms;   /* X-Amz-Date of the (last) request, corrected clock; TIME_NONE when never sent */
    int64_t retry_after_ms; /* -1 none */
    struct aws_key keys[AWS_KEYS_MAX];
    size_t n_keys;                 /* LIST; CREATE: keys[0] */
    int64_t listed_mono_ms;        /* LIST: when its first page came; what stands there is no younger */
    struct secret *created_secret; /* CREATE: borrowed; take a secret_copy() */
    enum aws_used used;
    int64_t used_at_ms;
    char used_user[AWS_USER_MAX];                                                    /* LAST_USED */
    char identity_account[AWS_ACCOUNT_MAX], identity_arn[256], identity_user_id[64]; /* CALLER_IDENTITY, GET_USER */
};

struct aws_port {
    void *self;
    /* 0: the ticket completes exactly once, later. ERR_NOMEM, ERR_INVALID (empty user or key id): nothing happened. */
    int (*call)(void *self, const struct aws_request *req, struct ticket t);
};

/* A turn: leave to begin on an account, waited for before anything is taken or held for it. It comes with a slot of the
 * account's read budget for the first call, and counts as a place among those who begin until it is ended or a few
 * seconds old. Embedded in what waits, zeroed before its first use. */
struct aws_turn {
    struct aws_pace_item item;
    void (*ready)(struct aws_turn *t); /* set before take(): called once, later, when the turn has come */
    TAILQ_ENTRY(aws_turn) link;        /* among those who have a place */
    bool has_place, has_slot;
    int64_t begun_mono_ms;
};
struct aws_turn_port {
    void *self;
    /* 1: it is there already, ready() is not called. 0: ready() will be called, unless end() is. ERR_NOMEM. */
    int (*take)(void *self, const char *account, struct aws_turn *t);
    void (*end)(void *self, struct aws_turn *t); /* whatever state it is in, never taken included */
};

const char *aws_op_name(enum aws_op op);                 /* "CreateAccessKey" */
const char *aws_key_status_name(enum aws_key_status s);  /* "Active", "Inactive", "Expired", "Unknown" */
enum aws_key_status aws_key_status_parse(const char *s); /* anything else is UNKNOWN */
/* 64 characters of [A-Za-z0-9_+=,.@-], 1..64 long (IAM's rule for user names). Pure. */
bool aws_user_name_valid(const char *name);
bool aws_key_id_valid(const char *id);       /* 16..128 of [A-Za-z0-9_] */
bool aws_account_valid(const char *account); /* 12 digits */

#endif
