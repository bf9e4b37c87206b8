/* The AWS edge over a fake HTTP: what is sent, what becomes of each reply, what is never repeated. */
#include "fake_aws.h"

#include "lib/aws_call.h"
#include "lib/aws_creds.h"

#define ACCOUNT "123456789012"
#define USER    "SynergistExpress-77"
#define KEY     "AKIAIOSFODNN7EXAMPLE"

static struct aws_creds *creds;
static struct aws_call *edge;
static struct aws_port port;

/* The last result, copied; a created secret as text. */
static struct aws_result got;
static char got_secret[128];
static int n_got;

static void on_done(void *self, uint64_t id, const void *result)
{
    (void)self;
    (void)id;
    got = *(const struct aws_result *)result;
    got_secret[0] = '\0';
    if (got.created_secret) (void)snprintf(got_secret, sizeof(got_secret), "%s", secret_bytes(got.created_secret));
    n_got++;
}
static const struct ticket ticket = {.done = on_done};

static int setup_rate(double rate)
{
    (void)setenv("AWS_ACCESS_KEY_ID", "AKIAWORKERWORKER0001", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "worker-secret", 1);
    (void)setenv("AWS_SESSION_TOKEN", "worker-token", 1);
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", "/nonexistent", 1);
    (void)setenv("AWS_CONFIG_FILE", "/nonexistent", 1);
    struct aws_creds_options co = {.clock = &fake_clock, .rng = &rng_system, .region = "eu-west-1"};
    struct aws_call_options o = {
        .clock = &fake_clock, .rng = &rng_system, .region = "eu-west-1", .calls_per_s = rate, .burst = 2};
    n_got = 0;
    if (aws_creds_new(NULL, &co, &creds) < 0) return 1;
    o.creds = creds;
    if (aws_call_new(NULL, &o, &edge) < 0) return 1;
    port = aws_call_port(edge);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_rate(0);
}
static int setup_slow(void **state)
{
    (void)state;
    return setup_rate(1);
}

static int teardown(void **state)
{
    (void)state;
    aws_call_free(edge);
    aws_creds_free(creds);
    fake_reset();
    return secret_count() != 0 || !LIST_EMPTY(&fake_timers);
}

/* Starts a call and turns the loop until its request lies in HTTP's queue. */
static void start(struct aws_request q)
{
    if (!q.account) q.account = ACCOUNT;
    assert_int_equal(port.call(port.self, &q, ticket), 0);
    turn(0);
}

#define IAM(op, inner)                                                                                                 \
    "<" op "Response xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">" inner                                       \
    "<ResponseMetadata><RequestId>r-1</RequestId></ResponseMetadata></" op "Response>"
#define MEMBER(user, id, status)                                                                                       \
    "<member><UserName>" user "</UserName><AccessKeyId>" id "</AccessKeyId><Status>" status                            \
    "</Status><CreateDate>2026-01-02T03:04:05Z</CreateDate></member>"
#define REFUSAL(code, message)                                                                                         \
    "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error><Type>Sender</Type><Code>" code         \
    "</Code><Message>" message "</Message></Error><RequestId>r-2</RequestId></ErrorResponse>"
#define CREATED                                                                                                        \
    IAM("CreateAccessKey", "<CreateAccessKeyResult><AccessKey><UserName>" USER "</UserName><AccessKeyId>" KEY          \
                           "</AccessKeyId><Status>Active</Status><SecretAccessKey>se/cr+et&amp;</SecretAccessKey></"   \
                           "AccessKey></CreateAccessKeyResult>")

#define TRACE "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"

static void list_request_and_answer(void **state)
{
    (void)state;
    start(
        (struct aws_request){.op = AWS_LIST_ACCESS_KEYS, .user = USER, .session_note = "job-1", .traceparent = TRACE});
    assert_int_equal(n_sent, 1);
    struct sent *s = oldest();
    assert_string_equal(s->req.url, "https://iam.amazonaws.com/");
    assert_string_equal(s->req.method, "POST");
    assert_string_equal((const char *)s->req.body, "Action=ListAccessKeys&Version=2010-05-08&UserName=" USER);
    assert_int_equal(s->req.class, HTTP_IAM);
    assert_false(s->req.fresh_connection);
    turn(5000);
    assert_true(leave(s));
    assert_string_equal(header(s, "X-Amz-Date"), "20261123T085305Z"); /* a read is dated when it leaves */
    assert_string_equal(header(s, "X-Amz-Security-Token"), "worker-token");
    assert_non_null(
        strstr(header(s, "Authorization"), "Credential=AKIAWORKERWORKER0001/20261123/us-east-1/iam/aws4_request"));
    assert_non_null(
        strstr(header(s, "Authorization"), "SignedHeaders=content-type;host;x-amz-date;x-amz-security-token,"));
    assert_non_null(strstr(header(s, "User-Agent"), "job/job-1"));
    assert_string_equal(header(s, "traceparent"), TRACE);
    assert_string_equal(header(s, "Content-Type"), "application/x-www-form-urlencoded; charset=utf-8");
    reply(s, 200,
          IAM("ListAccessKeys",
              "<ListAccessKeysResult><AccessKeyMetadata>" MEMBER("SYNERGISTEXPRESS-77", KEY, "Active")
                  MEMBER(USER, "AKIAIOSFODNN7EXAMPL2",
                         "Expired") "</AccessKeyMetadata><IsTruncated>false</IsTruncated></ListAccessKeysResult>"));
    assert_int_equal(n_got, 1);
    assert_int_equal(got.err, 0);
    assert_int_equal(got.n_keys, 2);
    assert_string_equal(got.keys[0].id, KEY);
    assert_int_equal(got.keys[0].status, AWS_KEY_ACTIVE);
    assert_int_equal(got.keys[0].created_ms, time_parse("2026-01-02T03:04:05Z"));
    assert_int_equal(got.keys[1].status, AWS_KEY_EXPIRED);
    assert_string_equal(got.request_id, "r-1");
    assert_int_equal(got.sent_wall_ms, time_parse("2026-11-23T08:53:05Z"));
}

#define PAGE(members, more)                                                                                            \
    IAM("ListAccessKeys",                                                                                              \
        "<ListAccessKeysResult><AccessKeyMetadata>" members "</AccessKeyMetadata>" more "</ListAccessKeysResult>")

static void pages_add_up(void **state)
{
    (void)state;
    start((struct aws_request){.op = AWS_LIST_ACCESS_KEYS, .user = USER});
    reply(oldest(), 200,
          PAGE(MEMBER(USER, "AKIA0000000000000001", "Active"), "<IsTruncated>true</IsTruncated><Marker>m/1=</Marker>"));
    assert_int_equal(n_got, 0);
    const int64_t first_page_ms = clock_mono_ms(&fake_clock);
    turn(5000);
    assert_string_equal((const char *)oldest()->req.body,
                        "Action=ListAccessKeys&Version=2010-05-08&UserName=" USER "&Marker=m%2F1%3D");
    reply(oldest(), 200, PAGE("", "<IsTruncated>true</IsTruncated><Marker>m2</Marker>")); /* short, yet not the last */
    turn(0);
    reply(oldest(), 200, PAGE(MEMBER(USER, "AKIA0000000000000002", "Inactive"), "<IsTruncated>false</IsTruncated>"));
    assert_int_equal(n_got, 1);
    assert_int_equal(got.err, 0);
    assert_int_equal(got.n_keys, 2);
    assert_string_equal(got.keys[1].id, "AKIA0000000000000002");
    assert_int_equal(got.listed_mono_ms, first_page_ms);
}

/* The first page is empty and not the last; a key moves to another page while they are read. */
static void pages_that_are_empty_or_change(void **state)
{
    (void)state;
    start((struct aws_request){.op = AWS_LIST_ACCESS_KEYS, .user = USER});
    reply(oldest(), 200, PAGE("", "<IsTruncated>true</IsTruncated><Marker>m1</Marker>"));
    turn(0);
    reply(oldest(), 200,
          PAGE(MEMBER(USER, "AKIA0000000000000001", "Active"), "<IsTruncated>true</IsTruncated><Marker>m2</Marker>"));
    assert_int_equal(n_got, 0);
    turn(0);
    reply(oldest(), 200,
          PAGE(MEMBER(USER, "AKIA0000000000000001", "Inactive") MEMBER(USER, "AKIA0000000000000002", "Active"), ""));
    assert_int_equal(got.err, 0);
    assert_int_equal(got.n_keys, 2); /* the one that stands twice is one, as it was seen last */
    assert_string_equal(got.keys[0].id, "AKIA0000000000000001");
    assert_int_equal(got.keys[0].status, AWS_KEY_INACTIVE);
    assert_string_equal(got.keys[1].id, "AKIA0000000000000002");
}

static void pages_without_an_end_are_an_error(void **state)
{
    (void)state;
    start((struct aws_request){.op = AWS_LIST_ACCESS_KEYS, .user = USER});
    size_t pages = 0;
    for (; !n_got && pages < 1000; pages++) {
        reply(oldest(), 200, PAGE("", "<IsTruncated>true</IsTruncated><Marker>again</Marker>"));
        turn(0);
    }
    assert_int_equal(pages, 32);
    assert_int_equal(got.err, ERR_TOO_LARGE);
}

static void a_failed_page_is_no_empty_page(void **state)
{
    (void)state;
    start((struct aws_request){.op = AWS_LIST_ACCESS_KEYS, .user = USER});
    reply(oldest(), 200, PAGE(MEMBER(USER, KEY, "Active"), "<IsTruncated>true</IsTruncated><Marker>m</Marker>"));
    turn(0);
    reply(oldest(), 500, REFUSAL("ServiceFailure", "x"));
    assert_int_equal(got.err, ERR_AWS_FAILURE);
    assert_int_equal(got.n_keys, 0); /* nor half a list */

    const char *const bad[] = {
        PAGE(MEMBER(USER, KEY, "Active"), "<IsTruncated>true</IsTruncated>"), /* truncated, no marker */
        PAGE(MEMBER("Somebody-else", KEY, "Active"), ""),                     /* another user's keys */
        PAGE("<member><UserName>" USER "</UserName></member>", ""),           /* a key without its id */
        IAM("ListAccessKeys", ""),
        "<html>fine</html>",
        "",
        "not xml", /* no list at all */
        "<!DOCTYPE x [<!ENTITY a \"b\">]>" PAGE("", ""),
        /* no key of another user is no word about ours */
        IAM("ListAccessKeys",
            "<ListAccessKeysResult><UserName>Somebody-else</UserName><AccessKeyMetadata/></ListAccessKeysResult>"),
        /* nobody knows whether that was the last page */
        PAGE(MEMBER(USER, KEY, "Active"), "<IsTruncated>TRUE</IsTruncated><Marker>m</Marker>"),
        PAGE(MEMBER(USER, KEY, "Active"), "<IsTruncated>true</IsTruncated><IsTruncated>false</IsTruncated>"),
        PAGE("", "<IsTruncated>true</IsTruncated><Marker>a</Marker><Marker>b</Marker>"),
        /* one of two keys, with the other's status */
        PAGE("<member><AccessKeyId>" KEY "</AccessKeyId><AccessKeyId>AKIAIOSFODNN7EXAMPL2</AccessKeyId></member>", ""),
        PAGE("<member><AccessKeyId>" KEY "</AccessKeyId><Status>Inactive</Status><Status>Active</Status></member>", ""),
        PAGE("<member><AccessKeyId>AKIA\tOSFODNN7EXAMPLE</AccessKeyId></member>", ""),
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        start((struct aws_request){.op = AWS_LIST_ACCESS_KEYS, .user = USER});
        reply(oldest(), 200, bad[i]);
        if (got.err != ERR_NET_BAD_REPLY) fail_msg("%zu: %s", i, err_name(got.err));
    }
}

static void too_many_keys_are_an_error(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 1 << 20);
    (void)buf_adds(&b, "<ListAccessKeysResponse><ListAccessKeysResult><AccessKeyMetadata>");
    for (int i = 0; i <= AWS_KEYS_MAX; i++) (void)buf_addf(&b, MEMBER(USER, "AKIA%016d", "Active"), i);
    assert_int_equal(buf_adds(&b, "</AccessKeyMetadata></ListAccessKeysResult></ListAccessKeysResponse>"), 0);
    start((struct aws_request){.op = AWS_LIST_ACCESS_KEYS, .user = USER});
    reply(oldest(), 200, b.data);
    assert_int_equal(got.err, ERR_TOO_LARGE);
}

static void create_goes_out_once_on_a_fresh_connection(void **state)
{
    (void)state;
    start((struct aws_request){.op = AWS_CREATE_ACCESS_KEY, .user = USER});
    struct sent *s = oldest();
    assert_true(s->req.fresh_connection);
    assert_string_equal((const char *)s->req.body, "Action=CreateAccessKey&Version=2010-05-08&UserName=" USER);
    reply(s, 200, CREATED);
    assert_int_equal(got.err, 0);
    assert_string_equal(got.keys[0].id, KEY);
    assert_int_equal(got.keys[0].status, AWS_KEY_ACTIVE);
    assert_int_equal(got.keys[0].created_ms, TIME_NONE);
    assert_string_equal(got_secret, "se/cr+et&");
}

static void a_mutation_is_dated_when_it_was_asked_for(void **state)
{
    (void)state;
    const enum aws_op ops[] = {AWS_CREATE_ACCESS_KEY, AWS_UPDATE_ACCESS_KEY, AWS_DELETE_ACCESS_KEY};
    for (size_t i = 0; i < ARRAY_LEN(ops); i++) {
        int64_t asked = fake_wall;
        start((struct aws_request){.op = ops[i], .user = USER, .key_id = KEY, .status = AWS_KEY_INACTIVE});
        turn(200000);
        reply_lost(oldest(), ERR_NET_CONNECT);
        assert_int_equal(got.err, ERR_NET_CONNECT);
        assert_int_equal(got.sent_wall_ms, asked);
    }
}

#define PAIR(id)                                                                                                       \
    IAM("CreateAccessKey", "<CreateAccessKeyResult><AccessKey><UserName>" USER "</UserName>" id                        \
                           "<SecretAccessKey>s</SecretAccessKey></AccessKey></CreateAccessKeyResult>")

static void an_unclear_create_is_unknown_and_not_repeated(void **state)
{
    (void)state;
    AUTO_BUF struct buf latin1; /* each letter takes two bytes once it is read */
    buf_init(&latin1, 1 << 20);
    (void)buf_adds(&latin1, "<?xml version=\"1.0\" encoding=\"ISO-8859-1\"?><CreateAccessKeyResponse><Note>");
    for (int i = 0; i < 4000; i++) (void)buf_addc(&latin1, '\xe9');
    assert_int_equal(buf_adds(&latin1, "</Note></CreateAccessKeyResponse>"), 0);
    const struct {
        int status;
        const char *body;
        int err;
    } cases[] = {
        {500, REFUSAL("ServiceFailure", "x"), ERR_AWS_FAILURE},
        {503, REFUSAL("Throttling", "at the wrong status"), ERR_AWS_FAILURE},
        {502, "<html>bad gateway</html>", ERR_AWS_FAILURE},
        {200, "<html>fine</html>", ERR_NET_BAD_REPLY},
        {200,
         IAM("CreateAccessKey", "<CreateAccessKeyResult><AccessKey><AccessKeyId>" KEY
                                "</AccessKeyId></AccessKey></CreateAccessKeyResult>"),
         ERR_NET_BAD_REPLY},
        {200,
         IAM("CreateAccessKey",
             "<CreateAccessKeyResult><AccessKey><UserName>other</UserName><AccessKeyId>" KEY
             "</AccessKeyId><SecretAccessKey>s</SecretAccessKey></AccessKey></CreateAccessKeyResult>"),
         ERR_NET_BAD_REPLY},
        {404, "not here", ERR_NET_BAD_REPLY},
        {200, PAIR("<AccessKeyId>" KEY "</AccessKeyId><AccessKeyId>AKIAIOSFODNN7EXAMPL2</AccessKeyId>"),
         ERR_NET_BAD_REPLY},
        {200, PAIR("<AccessKeyId>AKIA&#10;OSFODNN7EXAMPLE</AccessKeyId>"), ERR_NET_BAD_REPLY},
        {200, PAIR("<AccessKeyId>" KEY "</AccessKeyId><SecretAccessKey>another</SecretAccessKey>"), ERR_NET_BAD_REPLY},
        {201, REFUSAL("AccessDenied", "at the wrong status"), ERR_NET_BAD_REPLY},
        {302, REFUSAL("AccessDenied", "at the wrong status"), ERR_NET_BAD_REPLY},
        {200, latin1.data, ERR_NET_BAD_REPLY},
        {0, "", ERR_NET_LOST},
        {0, "", ERR_TIMEOUT_SENT},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t before = n_sent;
        start((struct aws_request){.op = AWS_CREATE_ACCESS_KEY, .user = USER});
        if (cases[i].status)
            reply(oldest(), cases[i].status, cases[i].body);
        else
            reply_lost(oldest(), cases[i].err);
        turn(60000);
        assert_int_equal(n_sent, before + 1);
        if (got.err != cases[i].err || err_class(got.err) != ERR_CLASS_UNKNOWN)
            fail_msg("%zu: %s", i, err_name(got.err));
        assert_string_equal(got_secret, "");
    }
}

static void a_definite_refusal_of_a_create_is_not_unknown(void **state)
{
    (void)state;
    const struct {
        int status;
        const char *body;
        int err;
    } cases[] = {
        {409, REFUSAL("LimitExceeded", "Cannot exceed quota for AccessKeysPerUser: 2"), ERR_AWS_LIMIT},
        {400, REFUSAL("Throttling", "Rate exceeded"), ERR_AWS_THROTTLED},
        {404, REFUSAL("NoSuchEntity", "x"), ERR_AWS_NO_ENTITY},
        {403, REFUSAL("AccessDenied", "x"), ERR_AWS_DENIED},
        {403, REFUSAL("ExpiredToken", "x"), ERR_AWS_CREDENTIALS},
        {403, REFUSAL("InvalidClientTokenId", "x"), ERR_AWS_CREDENTIALS},
        {403, REFUSAL("SignatureDoesNotMatch", "Signature expired: 20261123T085300Z is now earlier than ..."),
         ERR_AWS_CLOCK},
        {400, REFUSAL("SomethingNew", "x"), ERR_AWS_INVALID},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t before = n_sent;
        start((struct aws_request){.op = AWS_CREATE_ACCESS_KEY, .user = USER});
        reply(oldest(), cases[i].status, cases[i].body);
        turn(60000);
        assert_int_equal(n_sent, before + 1); /* the saga repeats it, not the edge */
        if (got.err != cases[i].err || err_class(got.err) == ERR_CLASS_UNKNOWN)
            fail_msg("%zu: %s", i, err_name(got.err));
    }
    assert_string_equal(got.code, "SomethingNew");
    assert_string_equal(got.request_id, "r-2");
}

static void the_lease_bounds_the_wait(void **state)
{
    (void)state;
    start((struct aws_request){.op = AWS_DELETE_ACCESS_KEY,
                               .user = USER,
                               .key_id = KEY,
                               .timeout_ms = 4000,
                               .deadline_mono_ms = fake_mono + 10000});
    assert_int_equal(oldest()->req.queue_timeout_ms, 6000);
    turn(6001);
    assert_false(leave(oldest()));
    assert_int_equal(got.err, ERR_TIMEOUT);
    assert_int_equal(got.sent_wall_ms, TIME_NONE);
    start((struct aws_request){.op = AWS_DELETE_ACCESS_KEY,
                               .user = USER,
                               .key_id = KEY,
                               .timeout_ms = 4000,
                               .deadline_mono_ms = fake_mono + 10000});
    turn(5999);
    assert_true(leave(oldest()));
    reply(oldest(), 200, IAM("DeleteAccessKey", ""));
    assert_int_equal(got.err, 0);
}

static void malformed_requests_never_start(void **state)
{
    (void)state;
    const struct aws_request bad[] = {
        {.op = AWS_LIST_ACCESS_KEYS, .account = ACCOUNT, .user = ""},
        {.op = AWS_LIST_ACCESS_KEYS, .account = ACCOUNT},
        {.op = AWS_CREATE_ACCESS_KEY, .account = ACCOUNT, .user = "a&UserName=b"},
        {.op = AWS_CREATE_ACCESS_KEY, .account = "12345678901", .user = USER},
        {.op = AWS_CREATE_ACCESS_KEY, .user = USER},
        {.op = AWS_DELETE_ACCESS_KEY, .account = ACCOUNT, .user = USER},
        {.op = AWS_DELETE_ACCESS_KEY, .account = ACCOUNT, .user = USER, .key_id = "short"},
        {.op = AWS_UPDATE_ACCESS_KEY, .account = ACCOUNT, .user = USER, .key_id = KEY, .status = AWS_KEY_EXPIRED},
        {.op = AWS_GET_USER, .account = ACCOUNT, .user = USER, .session_note = "a\r\nX-Evil: 1"},
        {.op = AWS_LIST_BUCKET, .account = ACCOUNT, .key_id = KEY, .bucket = "bucket"}, /* no pair to try */
        {.op = AWS_OPS, .account = ACCOUNT},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) assert_int_equal(port.call(port.self, &bad[i], ticket), ERR_INVALID);
    assert_int_equal(n_sent, 0);
}

static void other_answers(void **state)
{
    (void)state;
    start((struct aws_request){.op = AWS_UPDATE_ACCESS_KEY, .user = USER, .key_id = KEY, .status = AWS_KEY_INACTIVE});
    assert_string_equal((const char *)oldest()->req.body, "Action=UpdateAccessKey&Version=2010-05-08&UserName=" USER
                                                          "&AccessKeyId=" KEY "&Status=Inactive");
    reply(oldest(), 200, IAM("UpdateAccessKey", ""));
    assert_int_equal(got.err, 0);

#define USED(inner)                                                                                                    \
    IAM("GetAccessKeyLastUsed", "<GetAccessKeyLastUsedResult><UserName>" USER "</UserName><AccessKeyLastUsed>" inner   \
                                "</AccessKeyLastUsed></GetAccessKeyLastUsedResult>")
    const struct {
        const char *body;
        enum aws_used used;
    } cases[] = {
        {USED("<LastUsedDate>2026-11-01T00:00:00.500+00:00</LastUsedDate><ServiceName>s3</ServiceName>"), AWS_USED_AT},
        {USED("<ServiceName>N/A</ServiceName><Region>N/A</Region>"), AWS_USED_NEVER},
        {USED("<ServiceName>s3</ServiceName>"), AWS_USED_UNKNOWN}, /* no date, but somebody used it */
        {USED(""), AWS_USED_UNKNOWN},
        {USED("<LastUsedDate>yesterday</LastUsedDate>"), AWS_USED_UNKNOWN},
        {USED("<LastUsedDate>2026-11-01T00:00:00Z</LastUsedDate><ServiceName>N/A</ServiceName>"), AWS_USED_AT},
    };
    const char *const unclear[] = {USED("<ServiceName>s3</ServiceName><ServiceName>N/A</ServiceName>"),
                                   USED("<LastUsedDate>2026-11-01T00:00:00Z</LastUsedDate><LastUsedDate>x</"
                                        "LastUsedDate>")};
    for (size_t i = 0; i < ARRAY_LEN(unclear); i++) {
        start((struct aws_request){.op = AWS_ACCESS_KEY_LAST_USED, .user = USER, .key_id = KEY});
        reply(oldest(), 200, unclear[i]);
        assert_int_equal(got.err, ERR_NET_BAD_REPLY);
        assert_int_equal(got.used, AWS_USED_UNKNOWN);
    }
    start((struct aws_request){.op = AWS_ACCESS_KEY_LAST_USED, .user = "Somebody-else", .key_id = KEY});
    reply(oldest(), 200, USED("<ServiceName>N/A</ServiceName>"));
    assert_int_equal(got.err, ERR_NET_BAD_REPLY); /* it is not the key that was asked about */
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        start((struct aws_request){.op = AWS_ACCESS_KEY_LAST_USED, .key_id = KEY});
        reply(oldest(), 200, cases[i].body);
        assert_int_equal(got.err, 0);
        assert_int_equal(got.used, cases[i].used);
        assert_string_equal(got.used_user, USER);
        if (i == 0) assert_int_equal(got.used_at_ms, time_parse("2026-11-01T00:00:00.5Z"));
    }
    start((struct aws_request){.op = AWS_ACCESS_KEY_LAST_USED, .key_id = KEY});
    reply(oldest(), 403, REFUSAL("AccessDenied", "x"));
    assert_int_equal(got.err, ERR_AWS_DENIED);
    assert_int_equal(got.used, AWS_USED_UNKNOWN);

    start((struct aws_request){.op = AWS_GET_USER, .user = USER});
    reply(oldest(), 200,
          IAM("GetUser", "<GetUserResult><User><Path>/</Path><UserName>" USER
                         "</UserName><UserId>AIDA1</UserId><Arn>arn:aws:iam::" ACCOUNT ":user/" USER
                         "</Arn></User></GetUserResult>"));
    assert_int_equal(got.err, 0);
    assert_string_equal(got.identity_user_id, "AIDA1");
}

#define IDENTITY(account, arn)                                                                                         \
    "<GetCallerIdentityResponse><GetCallerIdentityResult><Arn>" arn "</Arn><UserId>AIDA1</UserId><Account>" account    \
    "</Account></GetCallerIdentityResult></GetCallerIdentityResponse>"

static void probe_identity(int status, const char *body, int want)
{
    AUTO_SECRET struct secret *pair = secret_from_string("new-secret");
    start((struct aws_request){.op = AWS_CALLER_IDENTITY, .user = USER, .key_id = KEY, .probe_secret = pair});
    assert_string_equal(oldest()->req.url, "https://sts.eu-west-1.amazonaws.com/");
    assert_true(leave(oldest()));
    assert_null(header(oldest(), "X-Amz-Security-Token"));
    assert_non_null(
        strstr(header(oldest(), "Authorization"), "Credential=" KEY "/20261123/eu-west-1/sts/aws4_request"));
    reply(oldest(), status, body);
    if (got.err != want) fail_msg("%s instead of %s for %s", err_name(got.err), err_name(want), body);
}

static void probes_at_sts(void **state)
{
    (void)state;
    probe_identity(200, IDENTITY(ACCOUNT, "arn:aws:iam::" ACCOUNT ":user/" USER), 0);
    assert_string_equal(got.identity_account, ACCOUNT);
    probe_identity(200, IDENTITY(ACCOUNT, "arn:aws:iam::" ACCOUNT ":user/div/team/synergistexpress-77"), 0);
    probe_identity(200, IDENTITY("999999999999", "arn:aws:iam::999999999999:user/" USER), ERR_KEY_WRONG_USER);
    probe_identity(200, IDENTITY(ACCOUNT, "arn:aws:iam::" ACCOUNT ":user/SynergistExpress-7"), ERR_KEY_WRONG_USER);
    probe_identity(200, IDENTITY(ACCOUNT, "arn:aws:sts::" ACCOUNT ":assumed-role/x/" USER), ERR_KEY_WRONG_USER);
    probe_identity(200, "<x/>", ERR_NET_BAD_REPLY);
    probe_identity(403, REFUSAL("InvalidClientTokenId", "x"), ERR_KEY_TOO_NEW);
    probe_identity(
        403,
        REFUSAL("SignatureDoesNotMatch",
                "The request signature we calculated does not match&#10;&#10;The Canonical String was token"),
        ERR_KEY_BAD_SECRET);
    assert_string_equal(got.message, "The request signature we calculated does not match");
    probe_identity(400, REFUSAL("Throttling", "x"), ERR_AWS_THROTTLED);
    probe_identity(500, REFUSAL("InternalFailure", "x"), ERR_AWS_FAILURE);
}

static void own_identity_is_not_a_probe(void **state)
{
    (void)state;
    start((struct aws_request){.op = AWS_CALLER_IDENTITY});
    reply(oldest(), 403, REFUSAL("InvalidClientTokenId", "x"));
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    start((struct aws_request){.op = AWS_CALLER_IDENTITY, .user = USER});
    reply(oldest(), 200, IDENTITY(ACCOUNT, "arn:aws:iam::" ACCOUNT ":user/worker"));
    assert_int_equal(got.err, 0);
}

static void probe_bucket(const char *bucket, const char *region, int status, const char *body,
                         const char *header_region, int want)
{
    AUTO_SECRET struct secret *pair = secret_from_string("new-secret");
    start((struct aws_request){.op = AWS_LIST_BUCKET,
                               .key_id = KEY,
                               .probe_secret = pair,
                               .bucket = bucket,
                               .region = region,
                               .last_on_connection = true});
    struct http_reply r = reply_nothing;
    r.status = status;
    r.body = body;
    r.bucket_region = header_region;
    assert_true(oldest()->req.last_on_connection);
    assert_int_equal(oldest()->req.class, HTTP_S3);
    reply_with(oldest(), r);
    if (got.err != want) fail_msg("%s instead of %s for %s", err_name(got.err), err_name(want), body);
}

#define S3_REFUSAL(code, more)                                                                                         \
    "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>" code "</Code><Message>m</Message>" more                \
    "<RequestId>r-3</RequestId><HostId>h</HostId></Error>"

static void probes_at_a_bucket(void **state)
{
    (void)state;
    probe_bucket(
        "my-bucket", "eu-central-1", 200,
        "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Name>my-bucket</Name></ListBucketResult>",
        "", 0);
    struct sent *s = &sent[n_sent - 1];
    assert_non_null(strstr(header(s, "Authorization"),
                           "/eu-central-1/s3/aws4_request, SignedHeaders=host;x-amz-content-sha256;x-amz-date,"));
    assert_string_equal(header(s, "X-Amz-Content-Sha256"),
                        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    assert_null(header(s, "Content-Type"));
    probe_bucket("my-bucket", NULL, 200, "<html/>", "", ERR_NET_BAD_REPLY);
    probe_bucket("my-bucket", NULL, 403, S3_REFUSAL("AccessDenied", ""), "", ERR_KEY_NO_ACCESS);
    assert_string_equal(got.request_id, "r-3");
    probe_bucket("my-bucket", NULL, 403, S3_REFUSAL("InvalidAccessKeyId", "<AWSAccessKeyId>x</AWSAccessKeyId>"), "",
                 ERR_KEY_TOO_NEW);
    probe_bucket("my-bucket", NULL, 403, S3_REFUSAL("SignatureDoesNotMatch", ""), "", ERR_KEY_BAD_SECRET);
    probe_bucket("my-bucket", NULL, 404, S3_REFUSAL("NoSuchBucket", ""), "", ERR_BUCKET_MISSING);
    probe_bucket("my-bucket", NULL, 503, S3_REFUSAL("SlowDown", ""), "", ERR_AWS_THROTTLED);
    probe_bucket("my-bucket", NULL, 500, S3_REFUSAL("InternalError", ""), "", ERR_AWS_FAILURE);
    probe_bucket("my-bucket", NULL, 301, S3_REFUSAL("PermanentRedirect", ""), "us-west-2", ERR_BUCKET_REGION);
    assert_string_equal(got.message, "the bucket is in region us-west-2");
    probe_bucket("my-bucket", NULL, 301, "", "us-west-2", ERR_BUCKET_REGION);
    probe_bucket("my-bucket", NULL, 307, S3_REFUSAL("TemporaryRedirect", ""), "us-west-2", ERR_BUCKET_REGION);
    probe_bucket("my-bucket", NULL, 307, S3_REFUSAL("TemporaryRedirect", ""), "", ERR_NET_REDIRECT);
    probe_bucket("my-bucket", NULL, 400, S3_REFUSAL("AuthorizationHeaderMalformed", "<Region>eu-north-1</Region>"), "",
                 ERR_BUCKET_REGION);
    assert_string_equal(got.message, "the bucket is in region eu-north-1");
    probe_bucket("my-bucket", NULL, 400, S3_REFUSAL("AuthorizationHeaderMalformed", ""), "", ERR_AWS_INVALID);
    probe_bucket("my-bucket", NULL, 403, "", "", ERR_NET_BAD_REPLY);
}

static void expired_token_is_mended_once(void **state)
{
    (void)state;
    start((struct aws_request){.op = AWS_DELETE_ACCESS_KEY, .user = USER, .key_id = KEY});
    (void)setenv("AWS_ACCESS_KEY_ID", "AKIAWORKERWORKER0002", 1);
    reply(oldest(), 403, REFUSAL("ExpiredToken", "The security token included in the request is expired"));
    turn(0);
    assert_int_equal(n_got, 0);
    assert_true(leave(oldest()));
    assert_non_null(strstr(header(oldest(), "Authorization"), "AKIAWORKERWORKER0002"));
    reply(oldest(), 403, REFUSAL("ExpiredToken", "x"));
    turn(60000);
    assert_int_equal(n_got, 1);
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    assert_int_equal(n_sent, 2);
}

static void a_wrong_clock_is_mended_for_reads(void **state)
{
    (void)state;
    struct http_reply skewed = reply_nothing;
    skewed.status = 403;
    skewed.body =
        REFUSAL("SignatureDoesNotMatch", "Signature expired: 20261123T085300Z is now earlier than 20261123T093800Z");
    skewed.date_ms = fake_wall + 3600000;
    start((struct aws_request){.op = AWS_LIST_ACCESS_KEYS, .user = USER});
    reply_with(oldest(), skewed);
    turn(0);
    assert_int_equal(n_got, 0);
    assert_int_equal(aws_call_now_ms(edge), fake_wall + 3600000);
    reply(oldest(), 200, PAGE("", ""));
    assert_int_equal(got.err, 0);
    assert_int_equal(got.sent_wall_ms, fake_wall + 3600000);

    skewed.date_ms = fake_wall;
    start((struct aws_request){.op = AWS_CREATE_ACCESS_KEY, .user = USER});
    reply_with(oldest(), skewed);
    turn(60000);
    assert_int_equal(got.err, ERR_AWS_CLOCK);
    assert_int_equal(n_sent, 3);
    assert_int_equal(aws_call_now_ms(edge), fake_wall); /* corrected back */
}

static void an_old_reply_does_not_turn_the_clock(void **state)
{
    (void)state;
    struct http_reply r = reply_nothing;
    r.status = 200;
    r.body = PAGE("", "");
    r.date_ms = fake_wall;
    start((struct aws_request){.op = AWS_LIST_ACCESS_KEYS, .user = USER});
    assert_true(leave(oldest()));
    turn(600000); /* the process was frozen for ten minutes */
    reply_with(oldest(), r);
    assert_int_equal(got.err, 0);
    assert_int_equal(aws_call_now_ms(edge), fake_wall);
}

static void rate_and_urgency(void **state)
{
    (void)state;
    struct aws_request q = {.op = AWS_LIST_ACCESS_KEYS, .account = ACCOUNT, .user = USER};
    for (int i = 0; i < 4; i++) assert_int_equal(port.call(port.self, &q, ticket), 0);
    q.op = AWS_GET_USER;
    q.urgent = true;
    assert_int_equal(port.call(port.self, &q, ticket), 0);
    q.account = "210987654321";
    assert_int_equal(port.call(port.self, &q, ticket), 0); /* another account has a budget of its own */
    turn(0);
    assert_int_equal(n_sent, 3);
    assert_non_null(strstr(sent[2].req.body, "GetUser"));
    turn(1000);
    assert_int_equal(n_sent, 4);
    assert_non_null(strstr(sent[3].req.body, "GetUser")); /* before the two that were first */
    turn(999);
    assert_int_equal(n_sent, 4);
    turn(1001);
    assert_int_equal(n_sent, 6);
    reply(oldest(), 400, REFUSAL("Throttling", "Rate exceeded"));
    assert_int_equal(n_got, 0); /* no effect: it queues again */
    turn(1999);
    assert_int_equal(n_sent, 6); /* held for a second, then a token has to grow */
    turn(2);
    assert_int_equal(n_sent, 7);
}

static void time_passes_in_the_rate_queue(void **state)
{
    (void)state;
    struct aws_request q = {.op = AWS_LIST_ACCESS_KEYS, .account = ACCOUNT, .user = USER};
    q.op = AWS_UPDATE_ACCESS_KEY; /* reads have a rate of their own */
    q.key_id = KEY;
    for (int i = 0; i < 30; i++) assert_int_equal(port.call(port.self, &q, ticket), 0);
    q.op = AWS_CREATE_ACCESS_KEY;
    q.timeout_ms = 1000;
    q.deadline_mono_ms = fake_mono + 4500;
    assert_int_equal(port.call(port.self, &q, ticket), 0);
    turn(3499);
    assert_int_equal(n_got, 0);
    turn(1);
    assert_int_equal(n_got, 1);
    assert_int_equal(got.err, ERR_TIMEOUT);
    assert_int_equal(err_class(got.err), ERR_CLASS_RETRIABLE);
    q.deadline_mono_ms = fake_mono; /* too late from the start: still completed, and later */
    assert_int_equal(port.call(port.self, &q, ticket), 0);
    assert_int_equal(n_got, 1);
    turn(0);
    assert_int_equal(n_got, 2);
    assert_int_equal(got.err, ERR_TIMEOUT);
}

static struct aws_raw_result raw;
static char raw_body[256];
static void on_raw(void *self, uint64_t id, const void *result)
{
    (void)self;
    (void)id;
    raw = *(const struct aws_raw_result *)result;
    (void)snprintf(raw_body, sizeof(raw_body), "%s", raw.body ? raw.body : "");
}

static void raw_queries(void **state)
{
    (void)state;
    struct ticket t = {.done = on_raw};
    assert_int_equal(aws_call_raw_iam(edge, ACCOUNT, "ListUsers", "MaxItems=1000", t), 0);
    turn(0);
    assert_string_equal((const char *)oldest()->req.body, "Action=ListUsers&Version=2010-05-08&MaxItems=1000");
    reply(oldest(), 200, "<ListUsersResponse/>");
    assert_int_equal(raw.base.err, 0);
    assert_string_equal(raw_body, "<ListUsersResponse/>");
    assert_int_equal(aws_call_raw_iam(edge, ACCOUNT, "GetCredentialReport", NULL, t), 0);
    turn(0);
    reply(oldest(), 404, REFUSAL("ReportInProgress", "x"));
    assert_int_equal(raw.base.err, ERR_AWS_NOT_READY);
    assert_null(raw.body);
    assert_int_equal(aws_call_raw_iam(edge, "x", "ListUsers", NULL, t), ERR_INVALID);
}

static void nowhere_to_put_it(void **state)
{
    (void)state;
    struct aws_request q = {.op = AWS_LIST_ACCESS_KEYS, .account = ACCOUNT, .user = USER};
    fake_http_send_fails = ERR_NOMEM;
    assert_int_equal(port.call(port.self, &q, ticket), 0); /* our identity comes first, and later */
    turn(0);
    assert_int_equal(got.err, ERR_NOMEM);
    assert_int_equal(port.call(port.self, &q, ticket), ERR_NOMEM);
    assert_int_equal(n_got, 1);
}

static void freed_with_calls_open(void **state)
{
    (void)state;
    struct aws_request q = {.op = AWS_LIST_ACCESS_KEYS, .account = ACCOUNT, .user = USER};
    for (int i = 0; i < 5; i++) assert_int_equal(port.call(port.self, &q, ticket), 0);
    turn(0); /* two in HTTP, three in the rate queue */
    assert_true(leave(oldest()));
    q.account = "210987654321";
    aws_creds_invalidate(creds, NULL);
    assert_int_equal(port.call(port.self, &q, ticket), 0); /* waits for our identity */
    aws_call_free(edge);
    edge = NULL;
    assert_int_equal(n_got, 6);
    assert_int_equal(got.err, ERR_CANCELLED);
    turn(0);
    reply(oldest(), 200, PAGE("", ""));
    assert_false(leave(oldest()));
    assert_int_equal(n_got, 6);
}

static void endpoints_can_be_moved(void **state)
{
    (void)state;
    struct aws_call_options o = {
        .clock = &fake_clock, .creds = creds, .region = "cn-north-1", .endpoint_s3 = "http://127.0.0.1:9000/"};
    struct aws_call *china;
    assert_int_equal(aws_call_new(NULL, &o, &china), 0);
    struct aws_port p = aws_call_port(china);
    struct aws_request q = {.op = AWS_LIST_ACCESS_KEYS, .account = ACCOUNT, .user = USER};
    assert_int_equal(p.call(p.self, &q, ticket), 0);
    turn(0);
    assert_string_equal(oldest()->req.url, "https://iam.cn-north-1.amazonaws.com.cn/");
    assert_true(leave(oldest()));
    assert_non_null(strstr(header(oldest(), "Authorization"), "/cn-north-1/iam/"));
    reply(oldest(), 200, PAGE("", ""));
    AUTO_SECRET struct secret *pair = secret_from_string("x");
    q = (struct aws_request){
        .op = AWS_LIST_BUCKET, .key_id = KEY, .probe_secret = pair, .bucket = "b.c.d", .region = "cn-north-1"};
    assert_int_equal(p.call(p.self, &q, ticket), 0);
    assert_string_equal(oldest()->req.url, "http://127.0.0.1:9000/b.c.d?list-type=2&max-keys=1");
    aws_call_free(china);
    fake_reset();
    o.partition = "aws-moon";
    assert_int_equal(aws_call_new(NULL, &o, &china), ERR_INVALID);
    o.region = "";
    assert_int_equal(aws_call_new(NULL, &o, &china), ERR_INVALID);
}

static enum aws_family asked[8];
static struct ticket asked_ticket;
static size_t n_asked;
static int take_budget(void *self, const char *account, enum aws_family f, const struct budget_ask *ask,
                       struct ticket t)
{
    (void)self, (void)ask;
    assert_string_equal(account, ACCOUNT);
    assert_true(n_asked < ARRAY_LEN(asked));
    asked[n_asked++] = f;
    asked_ticket = t;
    return 0;
}

/* Probes at STS have a budget of their own, where there is a common one. */
static void sts_waits_for_its_budget(void **state)
{
    (void)state;
    struct aws_call *paced;
    const struct aws_call_options o = {.clock = &fake_clock,
                                       .rng = &rng_system,
                                       .creds = creds,
                                       .region = "eu-west-1",
                                       .calls_per_s = 8,
                                       .budget = {NULL, take_budget}};
    assert_int_equal(aws_call_new(NULL, &o, &paced), 0);
    struct aws_port p = aws_call_port(paced);
    AUTO_SECRET struct secret *pair = secret_from_string("x");
    struct aws_request q = {.op = AWS_CALLER_IDENTITY,
                            .account = ACCOUNT,
                            .user = USER,
                            .key_id = KEY,
                            .probe_secret = pair,
                            .timeout_ms = 1000};
    n_asked = 0;
    assert_int_equal(p.call(p.self, &q, ticket), 0);
    turn(0);
    assert_int_equal(n_sent, 0);
    assert_int_equal(n_asked, 1);
    assert_int_equal(asked[0], AWS_FAMILY_STS);
    assert_string_equal(aws_family_name(asked[0]), "sts");
    const struct budget_grant g = {
        .epoch = 1, .n = 1, .interval_ms = 1, .valid_ms = 1000, .rate_per_s = 80, .base_per_s = 80};
    ticket_complete(asked_ticket, &g);
    turn(1);
    assert_int_equal(n_sent, 1);
    assert_int_equal(oldest()->req.class, HTTP_STS);
    aws_call_free(paced);
    fake_reset();
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(list_request_and_answer),
        T(pages_add_up),
        T(pages_that_are_empty_or_change),
        T(pages_without_an_end_are_an_error),
        T(a_failed_page_is_no_empty_page),
        T(too_many_keys_are_an_error),
        T(create_goes_out_once_on_a_fresh_connection),
        T(a_mutation_is_dated_when_it_was_asked_for),
        T(an_unclear_create_is_unknown_and_not_repeated),
        T(a_definite_refusal_of_a_create_is_not_unknown),
        T(the_lease_bounds_the_wait),
        T(malformed_requests_never_start),
        T(other_answers),
        T(probes_at_sts),
        T(sts_waits_for_its_budget),
        T(own_identity_is_not_a_probe),
        T(probes_at_a_bucket),
        T(expired_token_is_mended_once),
        T(a_wrong_clock_is_mended_for_reads),
        T(an_old_reply_does_not_turn_the_clock),
        T(raw_queries),
        T(nowhere_to_put_it),
        T(endpoints_can_be_moved),
        cmocka_unit_test_setup_teardown(rate_and_urgency, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(time_passes_in_the_rate_queue, setup_slow, teardown),
        cmocka_unit_test_setup_teardown(freed_with_calls_open, setup_slow, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
