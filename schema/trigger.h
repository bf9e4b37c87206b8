/* Triggers: events from outside that may start work (topic triggers). EventBridge's envelope, bare, as SNS wraps it, or
 * as the data of a CloudEvent; and our own small form (trigger.schema.json). What they say is a claim: nothing here or
 * behind it trusts it further than policy allows. */
#ifndef KEYROLL_TRIGGER_H
#define KEYROLL_TRIGGER_H

#include "schema/job.h"
#include "schema/message.h"

#define TRIGGER_MAX_BYTES  262144 /* EventBridge's own limit */
#define TRIGGER_KIND_MAX   81
#define TRIGGER_REASON_MAX 401

enum trigger_want {
    TRIGGER_NOTHING, /* of a kind that is not known, or none of our business */
    TRIGGER_ROTATE,  /* our own form: rotate this licence */
    TRIGGER_EXPOSED, /* this key leaked */
    TRIGGER_LOOK,    /* somebody made, changed or deleted a key, or an instance says that its key fails: look */
};

/* Strings are "" when absent. */
struct trigger {
    int want;                      /* enum trigger_want */
    bool urgent;                   /* LOOK: an instance is cut off */
    char kind[TRIGGER_KIND_MAX];   /* "aws.health AWS_RISK_CREDENTIALS_EXPOSED", "aws.iam CreateAccessKey", "keyroll
                                      rotate" */
    char account[AWS_ACCOUNT_MAX]; /* of the user, where the event tells it for certain */
    char user[AWS_USER_MAX];
    char licence[IDENTITY_LICENCE_MAX];
    struct message_keys keys; /* the access keys it is about, long-term ones only */
    char actor[JOB_BY_MAX];   /* who did it: our own form's "by", CloudTrail's session name */
    char reason[TRIGGER_REASON_MAX];
};

/* Reads a message. 0 also for kinds that are not known (TRIGGER_NOTHING, kind set as far as it is known).
 * ERR_TOO_LARGE, ERR_SYNTAX, ERR_INVALID, ERR_VERSION: no event, or one without what its kind must have; fault says
 * what. ERR_NOMEM. Sources of the forms: AWS Health events
 * (https://docs.aws.amazon.com/health/latest/ug/aws-health-events-eventbridge-schema.html), GuardDuty findings
 * (https://docs.aws.amazon.com/guardduty/latest/ug/guardduty_findings_eventbridge.html), CloudTrail records
 * (https://docs.aws.amazon.com/awscloudtrail/latest/userguide/cloudtrail-event-reference-record-contents.html),
 * CloudEvents 1.0 (https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md). */
MUST_CHECK int trigger_decode(const char *bytes, size_t len, struct trigger *ret, struct message_fault *fault);

#endif
