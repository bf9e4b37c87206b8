/* Names in one normal form.
 *
 * An instance (licence) has one IAM user; its messages, its lease and its record all go by "account/user" in lower
 * case, because IAM holds user names to be the same when they differ by case only. Whoever needs one of these names
 * calls here, so that the scheduler, the workers and the commands can never disagree about them.
 *
 * The checks are strict on purpose: names end up in URLs, form bodies, Redis keys and file names, and the sets allowed
 * here contain nothing that any of these would have to escape. All of it is ASCII and independent of the locale. */
#include "schema/identity.h"

#include "lib/err.h"

#include <inttypes.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <string.h>

#define PLACEHOLDER     "{licence}"
#define PLACEHOLDER_LEN (sizeof(PLACEHOLDER) - 1)

static bool is_digit(unsigned char c)
{
    return c >= '0' && c <= '9';
}

static bool is_lower(unsigned char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_word(unsigned char c)
{
    return is_lower(c) || (c >= 'A' && c <= 'Z') || is_digit(c) || c == '_';
}

static bool is_name(unsigned char c)
{
    return is_word(c) || (c && strchr("+=,.@-", c));
}

static bool is_bucket(unsigned char c)
{
    return is_lower(c) || is_digit(c) || c == '.' || c == '-';
}

static bool is_region(unsigned char c)
{
    return is_lower(c) || is_digit(c) || c == '-';
}

/* True when s has min..max characters, all of the set. Never reads further than max + 1. */
static bool matches(const char *s, size_t min, size_t max, bool (*allowed)(unsigned char))
{
    if (!s) return false;
    size_t n = 0;
    while (s[n] && n <= max) {
        if (!allowed((unsigned char)s[n])) return false;
        n++;
    }
    return n >= min && n <= max;
}

bool identity_licence_valid(const char *licence)
{
    return matches(licence, 1, IDENTITY_LICENCE_MAX - 1, is_name);
}

bool identity_user_valid(const char *user)
{
    return matches(user, 1, AWS_USER_MAX - 1, is_name);
}

bool identity_account_valid(const char *account)
{
    return matches(account, AWS_ACCOUNT_MAX - 1, AWS_ACCOUNT_MAX - 1, is_digit);
}

bool identity_key_id_valid(const char *key_id)
{
    return matches(key_id, 16, AWS_KEY_ID_MAX - 1, is_word);
}

bool identity_bucket_valid(const char *bucket)
{
    if (!matches(bucket, 3, 63, is_bucket)) return false;
    char first = bucket[0], last = bucket[strlen(bucket) - 1];
    return first != '.' && first != '-' && last != '.' && last != '-';
}

bool identity_region_valid(const char *region)
{
    return matches(region, 1, 31, is_region);
}

static bool all_name(const char *from, const char *to)
{
    while (from < to && is_name((unsigned char)*from)) from++;
    return from == to;
}

int identity_template_check(const char *template, const char **ret_reason)
{
    const char *at = template ? strstr(template, PLACEHOLDER) : NULL;
    if (!at) {
        *ret_reason = "it must contain {licence}, for example " IDENTITY_TEMPLATE;
        return ERR_INVALID;
    }
    const char *rest = at + PLACEHOLDER_LEN;
    if (strstr(rest, PLACEHOLDER)) {
        *ret_reason = "it must contain {licence} once only";
        return ERR_INVALID;
    }
    if (!all_name(template, at) || !all_name(rest, rest + strlen(rest))) {
        *ret_reason = "IAM user names are made of letters, digits and _+=,.@- only (no blank, no en dash)";
        return ERR_INVALID;
    }
    if (strlen(template) - PLACEHOLDER_LEN + IDENTITY_LICENCE_MAX - 1 > AWS_USER_MAX - 1) {
        *ret_reason = "beside {licence} it may hold 17 characters: IAM user names have at most 64, licences up to 47";
        return ERR_INVALID;
    }
    return 0;
}

int identity_user(const char *template, const char *licence, char out[AWS_USER_MAX])
{
    const char *at = template ? strstr(template, PLACEHOLDER) : NULL;
    if (!at || !identity_licence_valid(licence)) return ERR_INVALID;
    char name[AWS_USER_MAX];
    int n = snprintf(name, sizeof name, "%.*s%s%s", (int)(at - template), template, licence, at + PLACEHOLDER_LEN);
    if (n < 0 || (size_t)n >= sizeof name || !identity_user_valid(name)) return ERR_INVALID;
    memcpy(out, name, (size_t)n + 1);
    return 0;
}

static char lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

size_t identity_lower(const char *s, char *out, size_t max)
{
    size_t n = 0;
    for (; s[n] && n + 1 < max; n++) out[n] = lower(s[n]);
    out[n] = '\0';
    return n;
}

bool identity_same(const char *a, const char *b)
{
    while (*a && lower(*a) == lower(*b)) a++, b++;
    return lower(*a) == lower(*b);
}

int identity_key(const char *account, const char *user, char out[IDENTITY_KEY_MAX])
{
    if (!identity_account_valid(account) || !identity_user_valid(user)) return ERR_INVALID;
    memcpy(out, account, AWS_ACCOUNT_MAX - 1);
    out[AWS_ACCOUNT_MAX - 1] = '/';
    identity_lower(user, out + AWS_ACCOUNT_MAX, IDENTITY_KEY_MAX - AWS_ACCOUNT_MAX);
    return 0;
}

int identity_job_id(const char *kind, const char *account, const char *user, const char *replace_key_id,
                    int64_t rotation, char out[IDENTITY_JOB_ID_MAX])
{
    char name[AWS_USER_MAX], text[16 + AWS_ACCOUNT_MAX + AWS_USER_MAX + AWS_KEY_ID_MAX + 32];
    identity_lower(user, name, sizeof name);
    /* No part can hold a line feed, so the joined text is unambiguous. */
    int n = snprintf(text, sizeof text, "%s\n%s\n%s\n%s\n%" PRId64, kind, account, name,
                     replace_key_id ? replace_key_id : "", rotation);
    if (n < 0 || (size_t)n >= sizeof text) return ERR_INTERNAL;
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int len = 0;
    if (EVP_Digest(text, (size_t)n, digest, &len, EVP_sha256(), NULL) != 1 || len < 16) return ERR_INTERNAL;
    static const char hex[] = "0123456789abcdef";
    for (size_t i = 0; i < 16; i++) {
        out[2 * i] = hex[digest[i] >> 4];
        out[2 * i + 1] = hex[digest[i] & 15];
    }
    out[IDENTITY_JOB_ID_MAX - 1] = '\0';
    return 0;
}
