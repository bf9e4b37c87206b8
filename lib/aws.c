/* The names and the rules of form of AWS: pure look-ups and checks that every other file about AWS uses. */
#include "lib/aws.h"

#include <string.h>
#include <strings.h>

const char *aws_op_name(enum aws_op op)
{
    static const char *const names[] = {
        [AWS_LIST_ACCESS_KEYS] = "ListAccessKeys",           [AWS_CREATE_ACCESS_KEY] = "CreateAccessKey",
        [AWS_UPDATE_ACCESS_KEY] = "UpdateAccessKey",         [AWS_DELETE_ACCESS_KEY] = "DeleteAccessKey",
        [AWS_ACCESS_KEY_LAST_USED] = "GetAccessKeyLastUsed", [AWS_GET_USER] = "GetUser",
        [AWS_CALLER_IDENTITY] = "GetCallerIdentity",         [AWS_LIST_BUCKET] = "ListObjectsV2",
    };
    return (unsigned)op < AWS_OPS ? names[op] : "?";
}

static const char *const status_names[] = {[AWS_KEY_ACTIVE] = "Active",
                                           [AWS_KEY_INACTIVE] = "Inactive",
                                           [AWS_KEY_EXPIRED] = "Expired",
                                           [AWS_KEY_STATUS_UNKNOWN] = "Unknown"};

const char *aws_key_status_name(enum aws_key_status s)
{
    return (unsigned)s <= AWS_KEY_STATUS_UNKNOWN ? status_names[s] : "Unknown";
}

enum aws_key_status aws_key_status_parse(const char *s)
{
    for (unsigned i = 0; s && i < AWS_KEY_STATUS_UNKNOWN; i++)
        if (strcmp(s, status_names[i]) == 0) return (enum aws_key_status)i;
    return AWS_KEY_STATUS_UNKNOWN;
}

static bool is_word(char c)
{
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

bool aws_user_name_valid(const char *name)
{
    size_t n = 0;
    for (; name && name[n]; n++)
        if (n == AWS_USER_MAX - 1 || (!is_word(name[n]) && !strchr("+=,.@-", name[n]))) return false;
    return n > 0;
}

bool aws_key_id_valid(const char *id)
{
    size_t n = 0;
    for (; id && id[n]; n++)
        if (n == AWS_KEY_ID_MAX - 1 || !is_word(id[n])) return false;
    return n >= 16;
}

bool aws_account_valid(const char *account)
{
    size_t n = 0;
    for (; account && account[n]; n++)
        if (n == AWS_ACCOUNT_MAX - 1 || account[n] < '0' || account[n] > '9') return false;
    return n == AWS_ACCOUNT_MAX - 1;
}
