/* The pure parts of the AWS edge: names and rules of form, endpoints by partition, the error table. */
#include "lib/aws.h"

#include "lib/aws_endpoint.h"
#include "lib/aws_error.h"
#include "lib/aws_sts.h"
#include "lib/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

static void names(void **state)
{
    (void)state;
    assert_string_equal(aws_op_name(AWS_ACCESS_KEY_LAST_USED), "GetAccessKeyLastUsed");
    assert_string_equal(aws_op_name(AWS_OPS), "?");
    for (unsigned op = 0; op < AWS_OPS; op++) assert_true(strlen(aws_op_name((enum aws_op)op)) > 3);
    assert_int_equal(aws_key_status_parse("Inactive"), AWS_KEY_INACTIVE);
    assert_int_equal(aws_key_status_parse("Expired"), AWS_KEY_EXPIRED);
    assert_int_equal(aws_key_status_parse("active"), AWS_KEY_STATUS_UNKNOWN);
    assert_int_equal(aws_key_status_parse("Unknown"), AWS_KEY_STATUS_UNKNOWN);
    assert_int_equal(aws_key_status_parse(NULL), AWS_KEY_STATUS_UNKNOWN);
    assert_string_equal(aws_key_status_name(AWS_KEY_INACTIVE), "Inactive");
}

static void rules_of_form(void **state)
{
    (void)state;
    char text[200];
    memset(text, 'a', sizeof(text));
    text[64] = '\0';
    assert_true(aws_user_name_valid(text));
    assert_true(aws_key_id_valid(text));
    text[64] = 'a';
    text[65] = '\0';
    assert_false(aws_user_name_valid(text));
    assert_true(aws_user_name_valid("a+=,.@-_Z9"));
    assert_false(aws_user_name_valid(""));
    assert_false(aws_user_name_valid(NULL));
    assert_false(aws_user_name_valid("a b"));
    assert_false(aws_user_name_valid("a/b"));
    assert_false(aws_user_name_valid("\xc3\xa9"));
    assert_false(aws_key_id_valid("AKIAIOSFODNN7EX"));
    assert_true(aws_key_id_valid("AKIAIOSFODNN7EXA"));
    assert_false(aws_key_id_valid("AKIAIOSFODNN7EX/AMPLE"));
    memset(text, 'A', 129);
    text[129] = '\0';
    assert_false(aws_key_id_valid(text));
    assert_true(aws_account_valid("000000000001"));
    assert_false(aws_account_valid("00000000001"));
    assert_false(aws_account_valid("0000000000012"));
    assert_false(aws_account_valid("00000000000x"));
    assert_false(aws_account_valid(NULL));
    assert_true(aws_bucket_name_valid("my.bucket-1"));
    assert_false(aws_bucket_name_valid("ab"));
    assert_false(aws_bucket_name_valid("../x"));
    assert_false(aws_bucket_name_valid("a/b"));
}

static void users_of_arns(void **state)
{
    (void)state;
    char user[AWS_USER_MAX];
    assert_true(aws_arn_user("arn:aws:iam::123456789012:user/a/b/Name", user));
    assert_string_equal(user, "Name");
    assert_false(aws_arn_user("arn:aws:sts::123456789012:assumed-role/r/Name", user));
    assert_false(aws_arn_user("arn:aws:iam::123456789012:root", user));
    assert_false(aws_arn_user("arn:aws:iam::123456789012:user/", user));
    assert_false(aws_arn_user("arn:aws", user));
    assert_false(aws_arn_user("", user));
}

static void partitions(void **state)
{
    (void)state;
    static const char *const table[][4] = {
        /* region, partition, IAM's URL, IAM's signing region */
        {"eu-west-1", "aws", "https://iam.amazonaws.com/", "us-east-1"},
        {"cn-northwest-1", "aws-cn", "https://iam.cn-north-1.amazonaws.com.cn/", "cn-north-1"},
        {"us-gov-east-1", "aws-us-gov", "https://iam.us-gov.amazonaws.com/", "us-gov-west-1"},
        {"eusc-de-east-1", "aws-eusc", "https://iam.eusc-de-east-1.amazonaws.eu/", "eusc-de-east-1"},
        {"us-iso-west-1", "aws-iso", "https://iam.us-iso-east-1.c2s.ic.gov/", "us-iso-east-1"},
        {"us-isob-east-1", "aws-iso-b", "https://iam.us-isob-east-1.sc2s.sgov.gov/", "us-isob-east-1"},
        {"eu-isoe-west-1", "aws-iso-e", "https://iam.eu-isoe-west-1.cloud.adc-e.uk/", "eu-isoe-west-1"},
        {"us-isof-south-1", "aws-iso-f", "https://iam.us-isof-south-1.csp.hci.ic.gov/", "us-isof-south-1"},
    };
    struct aws_endpoint e;
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        assert_string_equal(aws_partition_of(table[i][0]), table[i][1]);
        assert_int_equal(aws_endpoint_iam(table[i][1], NULL, &e), 0);
        assert_string_equal(e.url, table[i][2]);
        assert_string_equal(e.region, table[i][3]);
    }
    assert_int_equal(aws_endpoint_iam("aws-moon", NULL, &e), ERR_INVALID);
    assert_null(aws_partition_suffix("aws-moon"));
}

static void endpoints(void **state)
{
    (void)state;
    struct aws_endpoint e;
    assert_int_equal(aws_endpoint_sts("cn-north-1", NULL, &e), 0);
    assert_string_equal(e.url, "https://sts.cn-north-1.amazonaws.com.cn/");
    assert_string_equal(e.host, "sts.cn-north-1.amazonaws.com.cn");
    assert_int_equal(aws_endpoint_sts("eu-west-1", "http://LocalHost:4566/base/", &e), 0);
    assert_string_equal(e.url, "http://LocalHost:4566/base/");
    assert_string_equal(e.host, "LocalHost:4566");
    assert_string_equal(e.path, "/base/");
    assert_int_equal(aws_endpoint_sts("eu-west-1", "https://vpce.example:443", &e), 0);
    assert_string_equal(e.host, "vpce.example"); /* libcurl leaves the scheme's own port out of Host */
    static const char *const bad[] = {"ftp://x", "https://", "https://user@host", "x", "https://h?q", ""};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(aws_endpoint_sts("eu-west-1", bad[i], &e), ERR_INVALID);
    assert_int_equal(aws_endpoint_sts("EU west", NULL, &e), ERR_INVALID);

    assert_int_equal(aws_endpoint_bucket("my-bucket", "eu-west-1", NULL, false, "a=b", &e), 0);
    assert_string_equal(e.url, "https://my-bucket.s3.eu-west-1.amazonaws.com/?a=b");
    assert_string_equal(e.path, "/");
    assert_int_equal(aws_endpoint_bucket("my.bucket", "eu-west-1", NULL, false, NULL, &e), 0);
    assert_string_equal(e.url, "https://s3.eu-west-1.amazonaws.com/my.bucket");
    assert_int_equal(aws_endpoint_bucket("my-bucket", "eu-west-1", NULL, true, NULL, &e), 0);
    assert_string_equal(e.url, "https://s3.eu-west-1.amazonaws.com/my-bucket");
    assert_int_equal(aws_endpoint_bucket("my-bucket", "eu-west-1", "http://[::1]:9000", true, NULL, &e), 0);
    assert_string_equal(e.url, "http://[::1]:9000/my-bucket");
    assert_string_equal(e.host, "[::1]:9000");
    assert_int_equal(aws_endpoint_bucket("my-bucket", "eu-west-1", "https://s3.localhost:9000/", false, NULL, &e), 0);
    assert_string_equal(e.url, "https://my-bucket.s3.localhost:9000/");
    assert_string_equal(e.host, "my-bucket.s3.localhost:9000");
    static const char *const addresses[] = {"http://127.0.0.1:9000", "http://10.0.0.1", "http://[::1]:9000"};
    for (size_t i = 0; i < ARRAY_LEN(addresses); i++) { /* no name goes in front of an address */
        assert_int_equal(aws_endpoint_bucket("my-bucket", "eu-west-1", addresses[i], false, NULL, &e), 0);
        assert_string_equal(e.path, "/my-bucket");
        assert_memory_equal(e.url, addresses[i], strlen(addresses[i]));
    }
    assert_int_equal(aws_endpoint_bucket("my.bucket", "eu-west-1", "https://s3.localhost:9000", false, NULL, &e), 0);
    assert_string_equal(e.url, "https://s3.localhost:9000/my.bucket");
    assert_int_equal(aws_endpoint_bucket("a/b", "eu-west-1", NULL, false, NULL, &e), ERR_INVALID);
    char long_url[600] = "https://";
    memset(long_url + 8, 'h', 590);
    assert_int_equal(aws_endpoint_sts("eu-west-1", long_url, &e), ERR_TOO_LARGE);
}

static void error_table(void **state)
{
    (void)state;
    static const struct {
        enum aws_op op;
        int status;
        const char *code;
        int err;
    } table[] = {
        {AWS_LIST_ACCESS_KEYS, 400, "Throttling", ERR_AWS_THROTTLED},
        {AWS_LIST_ACCESS_KEYS, 400, "ThrottlingException", ERR_AWS_THROTTLED},
        {AWS_LIST_ACCESS_KEYS, 503, "Throttling", ERR_AWS_THROTTLED},
        {AWS_LIST_ACCESS_KEYS, 400, "RequestLimitExceeded", ERR_AWS_THROTTLED},
        {AWS_CREATE_ACCESS_KEY, 409, "LimitExceeded", ERR_AWS_LIMIT},
        {AWS_CREATE_ACCESS_KEY, 400, "LimitExceededException", ERR_AWS_THROTTLED}, /* the other spelling */
        {AWS_CREATE_ACCESS_KEY, 500, "ServiceFailure", ERR_AWS_FAILURE},
        {AWS_CREATE_ACCESS_KEY, 503, "SlowDown", ERR_AWS_FAILURE},
        {AWS_DELETE_ACCESS_KEY, 503, "ServiceUnavailable", ERR_AWS_FAILURE},
        {AWS_DELETE_ACCESS_KEY, 404, "NoSuchEntity", ERR_AWS_NO_ENTITY},
        {AWS_DELETE_ACCESS_KEY, 409, "EntityTemporarilyUnmodifiable", ERR_AWS_BUSY_ENTITY},
        {AWS_DELETE_ACCESS_KEY, 409, "ConcurrentModification", ERR_AWS_BUSY_ENTITY},
        {AWS_DELETE_ACCESS_KEY, 409, "DeleteConflict", ERR_AWS_INVALID},
        {AWS_UPDATE_ACCESS_KEY, 400, "ValidationError", ERR_AWS_INVALID},
        {AWS_UPDATE_ACCESS_KEY, 403, "AccessDenied", ERR_AWS_DENIED},
        {AWS_UPDATE_ACCESS_KEY, 403, "OptInRequired", ERR_AWS_DENIED},
        {AWS_UPDATE_ACCESS_KEY, 403, "SomeNewRefusal", ERR_AWS_DENIED},
        {AWS_LIST_ACCESS_KEYS, 403, "InvalidClientTokenId", ERR_AWS_CREDENTIALS},
        {AWS_LIST_ACCESS_KEYS, 403, "SignatureDoesNotMatch", ERR_AWS_CREDENTIALS},
        {AWS_LIST_ACCESS_KEYS, 400, "IncompleteSignature", ERR_AWS_INVALID},
        {AWS_LIST_ACCESS_KEYS, 400, "RequestExpired", ERR_AWS_CLOCK},
        {AWS_OPS, 404, "ReportInProgress", ERR_AWS_NOT_READY},
        {AWS_OPS, 410, "ReportNotPresent", ERR_AWS_NOT_READY},
        {AWS_OPS, 410, "ReportExpired", ERR_AWS_NOT_READY},
        {AWS_CALLER_IDENTITY, 403, "InvalidClientTokenId", ERR_KEY_TOO_NEW},
        {AWS_CALLER_IDENTITY, 403, "SignatureDoesNotMatch", ERR_KEY_BAD_SECRET},
        {AWS_CALLER_IDENTITY, 403, "AccessDenied", ERR_AWS_DENIED},
        {AWS_LIST_BUCKET, 403, "InvalidAccessKeyId", ERR_KEY_TOO_NEW},
        {AWS_LIST_BUCKET, 403, "AccessDenied", ERR_KEY_NO_ACCESS},
        {AWS_LIST_BUCKET, 403, "AllAccessDisabled", ERR_KEY_NO_ACCESS},
        {AWS_LIST_BUCKET, 404, "NoSuchBucket", ERR_BUCKET_MISSING},
        {AWS_LIST_BUCKET, 301, "PermanentRedirect", ERR_BUCKET_REGION},
        {AWS_LIST_BUCKET, 403, "RequestTimeTooSkewed", ERR_AWS_CLOCK},
        {AWS_LIST_BUCKET, 403, "", ERR_NET_BAD_REPLY},
        {AWS_LIST_ACCESS_KEYS, 302, "", ERR_NET_REDIRECT},
        {AWS_CREATE_ACCESS_KEY, 302, "", ERR_NET_BAD_REPLY}, /* unknown: a key may have been made */
        {AWS_CREATE_ACCESS_KEY, 429, "", ERR_NET_BAD_REPLY},
        {AWS_CREATE_ACCESS_KEY, 429, "Throttling", ERR_AWS_THROTTLED},
        {AWS_LIST_ACCESS_KEYS, 429, "", ERR_AWS_THROTTLED},
        {AWS_LIST_ACCESS_KEYS, 404, "", ERR_NET_BAD_REPLY},
        {AWS_LIST_ACCESS_KEYS, 504, "", ERR_AWS_FAILURE},
        {AWS_LIST_ACCESS_KEYS, 400, "Whatever", ERR_AWS_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        int err = aws_error_map(table[i].op, table[i].status, table[i].code);
        if (err != table[i].err)
            fail_msg("%s %d %s: %s", aws_op_name(table[i].op), table[i].status, table[i].code, err_name(err));
    }
}

static void error_answers(void **state)
{
    (void)state;
    struct aws_result r = {0};
    char region[32];
    const char *text =
        "<ErrorResponse xmlns=\"x\"><Error><Type>Sender</Type><Code>NoSuchEntity</Code><Message>The user with name\tx "
        "cannot be found.</Message></Error><RequestId>abc</RequestId></ErrorResponse>";
    aws_error_parse(text, strlen(text), &r, region, sizeof(region));
    assert_string_equal(r.code, "NoSuchEntity");
    assert_string_equal(r.message, "The user with namex cannot be found.");
    assert_string_equal(r.request_id, "abc");
    assert_string_equal(region, "");
    text = "<Error><Code>AuthorizationHeaderMalformed</Code><Message>m</Message><Region>eu-west-1</Region></Error>";
    aws_error_parse(text, strlen(text), &r, region, sizeof(region));
    assert_string_equal(region, "eu-west-1");
    text = "<Error><Code>Half</Code><Message>";
    aws_error_parse(text, strlen(text), &r, NULL, 0);
    assert_string_equal(r.code, ""); /* half an answer is no answer */
    aws_error_parse("", 0, &r, NULL, 0);
    assert_string_equal(r.code, "");
    char cut[5];
    aws_text_copy(cut, sizeof(cut), "\n\nabcdefg", 9);
    assert_string_equal(cut, "abcd");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names),         cmocka_unit_test(rules_of_form), cmocka_unit_test(users_of_arns),
        cmocka_unit_test(partitions),    cmocka_unit_test(endpoints),     cmocka_unit_test(error_table),
        cmocka_unit_test(error_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
