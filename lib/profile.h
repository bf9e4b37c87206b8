/* Instance API profiles: how one kind of Synergist instance is read, written and tested. All configuration, JSON files
 * (schema/profile.schema.json says every member; samples in deploy/profiles). The vendor documents the envelope and not
 * the System Parameters calls, so every name that is not documented is a member here. */
#ifndef KEYROLL_PROFILE_H
#define KEYROLL_PROFILE_H

#include "lib/instance.h"

struct profiles;

#define PROFILE_PARAMS_MAX 16 /* extra parameters of one call */
#define PROFILE_CODES_MAX  16 /* error codes of one kind */
#define PROFILE_FIELDS_MAX 8  /* fields that may hold a presigned URL */

enum profile_encoding { PROFILE_MULTIPART, PROFILE_URLENCODED };
enum profile_auth { PROFILE_AUTH_PASSWORD, PROFILE_AUTH_SHA512 };
enum profile_charset { PROFILE_UTF8, PROFILE_UTF16LE, PROFILE_UTF16BE };
enum profile_success { PROFILE_SUCCESS_ENVELOPE, PROFILE_SUCCESS_MEMBER };
enum profile_test { PROFILE_TEST_OFF, PROFILE_TEST_CALL, PROFILE_TEST_PRESIGNED };

/* Extra parameters, sent as they are. */
struct profile_params {
    struct {
        const char *name, *value;
    } items[PROFILE_PARAMS_MAX];
    size_t n;
};
/* Error codes of one kind, "404900". */
struct profile_codes {
    const char *items[PROFILE_CODES_MAX];
    size_t n;
};

/* Strings are never NULL unless said, live as long as the profiles and are borrowed from there. Names of parameters,
 * areas and actions hold [A-Za-z0-9_.-] only. */
struct profile {
    const char *name;
    const char *version; /* API version sent, "4" */
    enum profile_encoding encoding;
    const char *company; /* NULL: not sent */
    bool plain_http;     /* http:// also to addresses that are not loopback */

    enum profile_auth auth;
    struct { /* sha512password = hex(SHA-512(charset(prefix password suffix))); {user} in prefix, suffix */
        enum profile_charset charset;
        bool upper_hex;
        const char *prefix, *suffix;
    } recipe;

    bool can_write; /* false: assisted; then `write` is empty */
    struct {
        const char *area, *action;
        const char *key_id_field, *secret_field;
        const char *id_field;             /* NULL: no identifier is sent */
        const char *id_value;             /* fixed identifier, or NULL: taken from action=version, member id_member */
        const char *id_member;            /* NULL when id_value is set */
        const char *record_version_field; /* NULL: not sent; else read first (by the read-back call) and sent */
        struct profile_params params;
    } write;

    bool can_read_back;
    struct {
        const char *area, *action, *style, *model, *field; /* action, style, model: "" = not sent */
        struct profile_params params;
    } read_back;

    bool can_presign;
    struct {
        const char *area, *style, *model;
        const char *attachment_id; /* NULL: the first `rows` of the list */
        unsigned rows;
        const char *id_field; /* the list shows no URL: read this record by its id; NULL = do not */
        const char *
            fields[PROFILE_FIELDS_MAX]; /* the first one is a GET URL (fetched by the test), the others are only read */
        size_t n_fields;
        struct profile_params params;
    } presigned;

    enum profile_test test_by;
    struct {
        const char *area, *action;
        enum profile_success success;
        const char *member, *equals; /* PROFILE_SUCCESS_MEMBER */
        struct profile_params params;
    } test;

    struct profile_codes locked, mismatch, denied, test_failed;
    int64_t busy_after_ms, failure_after_ms; /* told as retry_after_ms when the instance names none */
    int64_t read_timeout_ms, write_timeout_ms, test_timeout_ms;
    int64_t write_life_ms;
};

/* Loads the shipped profiles (default, no-readback, assisted) and then every *.json in dir (NULL: none), which may
 * override them. ERR_SYNTAX / ERR_INVALID with *ret_reason (caller frees): file, place, what to do. ERR_NOT_FOUND,
 * ERR_IO for the folder or a file that cannot be read, ERR_NOMEM; *ret_reason may be NULL then. */
MUST_CHECK int profiles_load(const char *dir, struct profiles **ret_profiles, char **ret_reason);
void profiles_free(struct profiles *p);
/* NULL when there is none of that name. Borrowed. */
const struct profile *profiles_find(const struct profiles *p, const char *name);
void profile_abilities(const struct profile *p, struct instance_abilities *ret);
/* The n-th name in alphabetical order, NULL behind the last. Borrowed. */
const char *profiles_name(const struct profiles *p, size_t n);
/* Parses one profile (len bytes of JSON, where = its name in the reason) and adds or replaces it: the step of
 * profiles_load, for tests and `doctor`. Errors as there. */
MUST_CHECK int profiles_add(struct profiles *p, const char *text, size_t len, const char *where, char **ret_reason);

#endif
