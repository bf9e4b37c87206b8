/* Events from outside: what is read out of AWS's forms and ours, what is passed over, what is refused. */
#include "lib/err.h"
#include "schema/trigger.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

static struct trigger t;
static struct message_fault fault;

static int decode(const char *text)
{
    fault.text[0] = '\0';
    return trigger_decode(text, strlen(text), &t, &fault);
}

static const char health[] =
    "{\"version\":\"0\",\"id\":\"1\",\"detail-type\":\"AWS Health Event\",\"source\":\"aws.health\","
    "\"account\":\"123456789012\",\"time\":\"2026-11-25T12:00:00Z\",\"region\":\"us-east-1\",\"resources\":[],"
    "\"detail\":{\"eventTypeCode\":\"AWS_RISK_CREDENTIALS_EXPOSED\",\"service\":\"RISK\",\"eventTypeCategory\":"
    "\"issue\","
    "\"eventRegion\":\"global\",\"affectedEntities\":[{\"entityValue\":\"AKIAIOSFODNN7EXAMPLE\"},"
    "{\"entityValue\":\"AKIAI44QH8DHBEXAMPLE\"},{\"entityValue\":\"AKIAIOSFODNN7EXAMPLE\"},{\"entityValue\":7}]}}";

static void aws_health(void **state)
{
    (void)state;
    assert_int_equal(decode(health), 0);
    assert_int_equal(t.want, TRIGGER_EXPOSED);
    assert_string_equal(t.kind, "aws.health AWS_RISK_CREDENTIALS_EXPOSED");
    assert_int_equal(t.keys.n, 2);
    assert_string_equal(t.keys.ids[1], "AKIAI44QH8DHBEXAMPLE");
    assert_string_equal(t.account, ""); /* the envelope's need not be the affected one */
    assert_int_equal(decode("{\"detail-type\":\"AWS Health Event\",\"source\":\"aws.health\",\"detail\":{"
                            "\"eventTypeCode\":\"AWS_EC2_OPERATIONAL_ISSUE\"}}"),
                     0);
    assert_int_equal(t.want, TRIGGER_NOTHING);
    assert_int_equal(decode("{\"detail-type\":\"AWS Health Event\",\"source\":\"aws.health\",\"detail\":{"
                            "\"eventTypeCode\":\"AWS_RISK_CREDENTIALS_EXPOSED\",\"affectedEntities\":{}}}"),
                     ERR_INVALID);
}

static void guardduty(void **state)
{
    (void)state;
    assert_int_equal(
        decode("{\"detail-type\":\"GuardDuty Finding\",\"source\":\"aws.guardduty\",\"detail\":{\"accountId\":"
               "\"123456789012\",\"type\":\"UnauthorizedAccess:IAMUser/InstanceCredentialExfiltration.OutsideAWS\","
               "\"severity\":8,\"resource\":{\"resourceType\":\"AccessKey\",\"accessKeyDetails\":{\"accessKeyId\":"
               "\"AKIAIOSFODNN7EXAMPLE\",\"userName\":\"SynergistExpress-1\",\"userType\":\"IAMUser\"}}}}"),
        0);
    assert_int_equal(t.want, TRIGGER_EXPOSED);
    assert_string_equal(t.user, "SynergistExpress-1");
    /* in PascalCase, and a role's session */
    assert_int_equal(decode("{\"detail-type\":\"GuardDuty Finding\",\"source\":\"aws.guardduty\",\"detail\":{\"Type\":"
                            "\"Recon:IAMUser/MaliciousIPCaller\",\"Resource\":{\"AccessKeyDetails\":{\"AccessKeyId\":"
                            "\"AKIAIOSFODNN7EXAMPLE\",\"UserType\":\"IAMUser\"}}}}"),
                     0);
    assert_int_equal(t.want, TRIGGER_EXPOSED);
    assert_int_equal(decode("{\"detail-type\":\"GuardDuty Finding\",\"source\":\"aws.guardduty\",\"detail\":{\"type\":"
                            "\"Recon:IAMUser/X\",\"resource\":{\"accessKeyDetails\":{\"accessKeyId\":"
                            "\"ASIAIOSFODNN7EXAMPLE\",\"userType\":\"AssumedRole\"}}}}"),
                     0);
    assert_int_equal(t.want, TRIGGER_NOTHING);
    assert_int_equal(decode("{\"detail-type\":\"GuardDuty Finding\",\"source\":\"aws.guardduty\",\"detail\":{\"type\":"
                            "\"CryptoCurrency:EC2/BitcoinTool.B\"}}"),
                     0);
    assert_int_equal(t.want, TRIGGER_NOTHING);
}

#define TRAIL(name, more)                                                                                              \
    "{\"detail-type\":\"AWS API Call via CloudTrail\",\"source\":\"aws.iam\",\"account\":\"123456789012\",\"detail\":" \
    "{\"eventName\":\"" name "\",\"recipientAccountId\":\"123456789012\",\"userIdentity\":{\"type\":\"AssumedRole\","  \
    "\"arn\":\"arn:aws:sts::123456789012:assumed-role/admin/mallory\",\"accountId\":\"123456789012\"}" more "}}"

static void cloudtrail(void **state)
{
    (void)state;
    assert_int_equal(decode(TRAIL("CreateAccessKey",
                                  ",\"requestParameters\":{\"userName\":\"SynergistExpress-1\"},\"responseElements\":{"
                                  "\"accessKey\":{\"accessKeyId\":\"AKIAIOSFODNN7EXAMPLE\",\"status\":\"Active\"}}")),
                     0);
    assert_int_equal(t.want, TRIGGER_LOOK);
    assert_string_equal(t.account, "123456789012");
    assert_string_equal(t.user, "SynergistExpress-1");
    assert_string_equal(t.actor, "mallory");
    assert_string_equal(t.keys.ids[0], "AKIAIOSFODNN7EXAMPLE");
    assert_int_equal(decode(TRAIL("DeleteAccessKey", ",\"errorCode\":\"AccessDenied\",\"requestParameters\":null")), 0);
    assert_int_equal(t.want, TRIGGER_NOTHING); /* nothing was changed */
    assert_int_equal(decode(TRAIL("ListAccessKeys", "")), 0);
    assert_int_equal(t.want, TRIGGER_NOTHING);
    assert_int_equal(decode(TRAIL("UpdateAccessKey", ",\"requestParameters\":null")), ERR_INVALID);
    assert_int_equal(decode(TRAIL("UpdateAccessKey", ",\"requestParameters\":{\"userName\":\"a b\"}")), ERR_INVALID);
}

static void our_own(void **state)
{
    (void)state;
    assert_int_equal(decode("{\"version\":\"keyroll.trigger/1\",\"action\":\"rotate\",\"licence\":\"0001\",\"by\":"
                            "\"crm\",\"reason\":\"the customer asked\"}"),
                     0);
    assert_int_equal(t.want, TRIGGER_ROTATE);
    assert_string_equal(t.licence, "0001");
    assert_string_equal(t.actor, "crm");
    assert_string_equal(t.reason, "the customer asked");
    assert_int_equal(decode("{\"version\":\"keyroll.trigger/1\",\"action\":\"exposed\",\"key_id\":"
                            "\"AKIAIOSFODNN7EXAMPLE\",\"reason\":\"on a pastebin\"}"),
                     0);
    assert_int_equal(t.want, TRIGGER_EXPOSED);
    assert_false(t.urgent);
    assert_int_equal(decode("{\"version\":\"keyroll.trigger/1\",\"action\":\"failing\",\"licence\":\"0001\",\"reason\":"
                            "\"no attachment opens\"}"),
                     0);
    assert_int_equal(t.want, TRIGGER_LOOK);
    assert_true(t.urgent);
    assert_int_equal(decode("{\"version\":\"keyroll.trigger/1\",\"action\":\"failing\",\"reason\":\"x\"}"),
                     ERR_INVALID);
    assert_int_equal(decode("{\"version\":\"keyroll.trigger/1\",\"action\":\"rotate\",\"reason\":\"x\"}"), ERR_INVALID);
    assert_int_equal(decode("{\"version\":\"keyroll.trigger/1\",\"action\":\"exposed\",\"licence\":\"1\",\"reason\":"
                            "\"x\"}"),
                     ERR_INVALID);
    assert_int_equal(decode("{\"version\":\"keyroll.trigger/2\",\"action\":\"rotate\"}"), ERR_VERSION);
}

static void wrappers(void **state)
{
    (void)state;
    char text[8192], quoted[4096] = "";
    snprintf(text, sizeof text,
             "{\"specversion\":\"1.0\",\"id\":\"1\",\"source\":\"/x\",\"type\":\"com.amazon.aws\",\"data\":%s}",
             health);
    assert_int_equal(decode(text), 0);
    assert_int_equal(t.want, TRIGGER_EXPOSED);
    for (const char *p = health; *p; p++) {
        size_t n = strlen(quoted);
        snprintf(quoted + n, sizeof quoted - n, "%s%c", *p == '"' ? "\\" : "", *p);
    }
    snprintf(text, sizeof text, "{\"Type\":\"Notification\",\"MessageId\":\"1\",\"Message\":\"%s\"}", quoted);
    assert_int_equal(decode(text), 0);
    assert_int_equal(t.want, TRIGGER_EXPOSED);
    assert_int_equal(decode("{\"specversion\":\"1.0\",\"type\":\"a\",\"data\":{\"specversion\":\"1.0\",\"data\":{"
                            "\"specversion\":\"1.0\",\"data\":{\"specversion\":\"1.0\",\"data\":{}}}}}"),
                     ERR_INVALID); /* too deep */
    assert_int_equal(decode("{\"specversion\":\"1.0\",\"type\":\"com.example.other\",\"source\":\"/s\",\"data\":{}}"),
                     0);
    assert_int_equal(t.want, TRIGGER_NOTHING);
    assert_int_equal(decode("{\"Type\":\"Notification\",\"Message\":\"hello\"}"), ERR_SYNTAX);
}

static void what_is_no_event(void **state)
{
    (void)state;
    static const char *const bad[] = {"", "x", "[]", "7", "null", "{", "{\"a\":1,\"a\":2}", "{\"a\":\"\\u0000\"}"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_true(decode(bad[i]) < 0);
        assert_int_equal(t.want, TRIGGER_NOTHING);
    }
    assert_int_equal(decode("{}"), 0);
    assert_int_equal(t.want, TRIGGER_NOTHING);
    AUTO_FREE char *large = malloc(TRIGGER_MAX_BYTES + 2);
    memset(large, ' ', TRIGGER_MAX_BYTES + 1);
    assert_int_equal(trigger_decode(large, TRIGGER_MAX_BYTES + 1, &t, &fault), ERR_TOO_LARGE);
}

/* Nothing from outside goes into a log line as it is. */
static void kinds_are_printable(void **state)
{
    (void)state;
    assert_int_equal(
        decode("{\"detail-type\":\"AWS\\n{\\\"x\\\":1}\\u001b[31m\",\"source\":\"a b\\u00e9\",\"detail\":{}}"), 0);
    for (const char *p = t.kind; *p; p++) assert_true(*p >= ' ' && *p < 0x7f);
    assert_non_null(strstr(t.kind, "a_b"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(aws_health),
        cmocka_unit_test(guardduty),
        cmocka_unit_test(cloudtrail),
        cmocka_unit_test(our_own),
        cmocka_unit_test(wrappers),
        cmocka_unit_test(what_is_no_event),
        cmocka_unit_test(kinds_are_printable),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
