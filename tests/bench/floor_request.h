/* The requests of a rotation as the floor sends them: built and read with as little work as possible. */
#ifndef KEYROLL_BENCH_FLOOR_REQUEST_H
#define KEYROLL_BENCH_FLOOR_REQUEST_H

#include <stdbool.h>
#include <stddef.h>

#define FLOOR_TEXT_MAX 160
#define FLOOR_BODY_MAX 2048

enum floor_call {
    CALL_LIST,
    CALL_READ,
    CALL_CREATE,
    CALL_IDENTITY,
    CALL_BUCKET,
    CALL_WRITE,
    CALL_TEST,
    CALL_DEACTIVATE,
    CALL_LAST_USED,
    CALL_DELETE,
    CALLS
};
enum floor_host { HOST_IAM, HOST_STS, HOST_S3, HOST_INSTANCE };

/* A signing key with its HMAC state begun, good for one day, region and service. */
struct floor_key;

struct floor_endpoints {
    char iam[FLOOR_TEXT_MAX], sts[FLOOR_TEXT_MAX], s3[FLOOR_TEXT_MAX]; /* base URLs without a slash at the end */
    bool virtual_buckets; /* the bucket is the first label of the host, not of the path */
};

/* One licence and what is known of its keys. */
struct floor_target {
    char account[16], user[64], bucket[64], region[32], instance[FLOOR_TEXT_MAX], login[64], password[64];
    char operator_id[32], operator_secret[64];
    char old_id[32], new_id[32], new_secret[64];
};

struct floor_message {
    enum floor_host host;
    char url[512];
    char head[3][512]; /* header lines */
    size_t heads;
    char body[FLOOR_BODY_MAX];
    size_t body_len; /* 0: GET */
};

/* Writes the request. Signing keys of operators are cached between calls. */
void floor_build(const struct floor_endpoints *e, const struct floor_target *t, enum floor_call call,
                 struct floor_message *ret);
/* Takes from a reply what later requests need. False: it is not what was expected. */
bool floor_take(struct floor_target *t, enum floor_call call, long status, const char *body);

#endif
