/* The instance's metadata service: token, role, credentials; what it refuses; never version 1. */
#include "fake_aws.h"

#include "lib/aws_creds.h"
#include "lib/aws_imds.h"

#define HOUR_MS INT64_C(3600000)
#define BASE    "http://169.254.169.254/latest/"
#define ROLES   "meta-data/iam/security-credentials/"

static struct aws_imds *imds;
static struct {
    int n, err;
    char key_id[64], message[200];
    int64_t expires_ms;
} got;

static void on_done(void *arg, int err, const char *message, struct aws_identity *identity)
{
    assert_ptr_equal(arg, &got);
    got.n++;
    got.err = err;
    (void)snprintf(got.message, sizeof(got.message), "%s", message);
    if (!identity) return;
    (void)snprintf(got.key_id, sizeof(got.key_id), "%s", identity->access_key_id);
    got.expires_ms = identity->expires_ms;
    aws_identity_unref(identity);
}

static int setup(void **state)
{
    (void)state;
    (void)unsetenv("AWS_EC2_METADATA_DISABLED");
    (void)unsetenv("AWS_EC2_METADATA_SERVICE_ENDPOINT");
    (void)unsetenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    memset(&got, 0, sizeof(got));
    imds = aws_imds_new(NULL, &fake_clock);
    return imds ? 0 : 1;
}

static int teardown(void **state)
{
    (void)state;
    aws_imds_unref(imds);
    fake_reset();
    return secret_count() != 0;
}

static void fetch(void)
{
    char reason[200] = "";
    assert_int_equal(aws_imds_fetch(imds, on_done, &got, reason), 0);
}

static void answer(int status, const char *body)
{
    struct sent *s = oldest();
    s->left = true; /* nothing is computed at the last moment */
    reply(s, status, body);
}

static void expect(const char *method, const char *url, const char *header_given)
{
    struct sent *s = oldest();
    assert_string_equal(s->req.method, method);
    assert_string_equal(s->req.url, url);
    assert_string_equal(s->given, header_given);
    assert_in_range(s->req.timeout_ms, 1, 2000);
}

static const char *credentials(const char *key_id)
{
    static char text[512];
    char expires[TIME_TEXT_MAX];
    time_format(fake_wall + HOUR_MS, expires);
    (void)snprintf(text, sizeof(text),
                   "{\"Code\":\"Success\",\"LastUpdated\":\"2026-11-23T08:00:00Z\",\"Type\":\"AWS-HMAC\","
                   "\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"%s\"}",
                   key_id, expires);
    return text;
}

static void three_requests(void **state)
{
    (void)state;
    fetch();
    expect("PUT", BASE "api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600");
    answer(200, "TOKEN-ONE==");
    expect("GET", BASE ROLES, "X-aws-ec2-metadata-token: TOKEN-ONE==");
    answer(200, "keyroll-worker\n");
    expect("GET", BASE ROLES "keyroll-worker", "X-aws-ec2-metadata-token: TOKEN-ONE==");
    answer(200, credentials("ASIAINSTANCE00000001"));
    assert_int_equal(got.n, 1);
    assert_int_equal(got.err, 0);
    assert_string_equal(got.key_id, "ASIAINSTANCE00000001");
    assert_int_equal(got.expires_ms, fake_wall + HOUR_MS);
}

static void the_token_is_kept_for_its_life(void **state)
{
    (void)state;
    fetch();
    answer(200, "TOKEN");
    answer(200, "role");
    answer(200, credentials("ASIAINSTANCE00000001"));
    turn(5 * HOUR_MS);
    fetch();
    expect("GET", BASE ROLES, "X-aws-ec2-metadata-token: TOKEN");
    answer(200, "other-role"); /* somebody replaced the instance profile */
    expect("GET", BASE ROLES "other-role", "X-aws-ec2-metadata-token: TOKEN");
    answer(200, credentials("ASIAINSTANCE00000002"));
    assert_string_equal(got.key_id, "ASIAINSTANCE00000002");
    turn(HOUR_MS);
    fetch();
    expect("PUT", BASE "api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600");
    answer(500, "");
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
}

static void a_refused_token_is_replaced_once(void **state)
{
    (void)state;
    fetch();
    answer(200, "OLD");
    answer(200, "role");
    answer(200, credentials("ASIAINSTANCE00000001"));
    fetch();
    answer(401, "");
    expect("PUT", BASE "api/token", "X-aws-ec2-metadata-token-ttl-seconds: 21600");
    answer(200, "NEW");
    expect("GET", BASE ROLES, "X-aws-ec2-metadata-token: NEW");
    answer(200, "role");
    answer(200, credentials("ASIAINSTANCE00000002"));
    assert_int_equal(got.n, 2);
    assert_string_equal(got.key_id, "ASIAINSTANCE00000002");
    fetch();
    answer(200, "role");
    answer(401, "");
    answer(200, "NEWER");
    answer(401, "");
    assert_int_equal(got.n, 3);
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    assert_string_equal(got.message, "instance metadata: HTTP 401 to the request for a role");
}

/* Whatever becomes of the PUT, nothing is asked without a token. */
static void never_version_one(void **state)
{
    (void)state;
    static const int statuses[] = {400, 401, 403, 404, 405, 500};
    for (size_t i = 0; i < ARRAY_LEN(statuses); i++) {
        fetch();
        answer(statuses[i], "");
        assert_int_equal(got.n, (int)i + 1);
        assert_int_equal(got.err, statuses[i] == 403 ? ERR_AWS_NO_CREDENTIALS : ERR_AWS_CREDENTIALS);
    }
    static const char *const no_tokens[] = {"", "two\r\nX-Evil: 1", "<html> </html>"};
    for (size_t i = 0; i < ARRAY_LEN(no_tokens); i++) {
        fetch();
        answer(200, no_tokens[i]);
        assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    }
    assert_int_equal(n_sent, ARRAY_LEN(statuses) + ARRAY_LEN(no_tokens));
}

static void silence(void **state)
{
    (void)state;
    fetch();
    struct sent *s = oldest();
    s->left = true;
    reply_lost(s, ERR_TIMEOUT_SENT); /* a hop limit of 1 drops the answer on its way into a container */
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    assert_non_null(strstr(got.message, "hop limit must be 2"));
    fetch();
    s = oldest();
    s->left = true;
    reply_lost(s, ERR_NET_CONNECT);
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    assert_non_null(strstr(got.message, "http://169.254.169.254"));
    fetch();
    s = oldest();
    s->left = true;
    reply_lost(s, ERR_CANCELLED);
    assert_int_equal(got.err, ERR_CANCELLED);
}

static void no_role_and_no_credentials(void **state)
{
    (void)state;
    fetch();
    answer(200, "TOKEN");
    answer(404, "<html>not found</html>");
    assert_int_equal(err_class(got.err), ERR_CLASS_RETRIABLE); /* one may be attached at any time */
    assert_non_null(strstr(got.message, "no role is attached"));
    fetch();
    answer(200, "role");
    answer(200, "{\"Code\":\"AssumeRoleUnauthorizedAccess\",\"Message\":\"EC2 cannot assume the role\\n\"}");
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    assert_non_null(strstr(got.message, "AssumeRoleUnauthorizedAccess EC2 cannot assume"));
    fetch();
    answer(200, "../../user-data");
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    assert_int_equal(got.n, 3);
}

static void role_names(void **state)
{
    (void)state;
    char role[AWS_IMDS_ROLE_MAX];
    assert_int_equal(aws_imds_role("a_B+=,.@-9\r\nsecond", 18, role), 0);
    assert_string_equal(role, "a_B+=,.@-9");
    char longest[AWS_IMDS_ROLE_MAX + 1];
    memset(longest, 'r', sizeof(longest));
    assert_int_equal(aws_imds_role(longest, AWS_IMDS_ROLE_MAX - 1, role), 0);
    assert_int_equal(aws_imds_role(longest, AWS_IMDS_ROLE_MAX, role), ERR_NET_BAD_REPLY);
    static const char *const bad[] = {"", "\n", "..", "a/b", "a b", "a?b", "<html>"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(aws_imds_role(bad[i], strlen(bad[i]), role), ERR_NET_BAD_REPLY);
}

static void switches(void **state)
{
    (void)state;
    char reason[200] = "";
    assert_true(aws_imds_configured());
    (void)setenv("AWS_EC2_METADATA_DISABLED", "false", 1);
    assert_true(aws_imds_configured());
    (void)setenv("AWS_EC2_METADATA_DISABLED", "TRUE", 1);
    assert_false(aws_imds_configured());
    (void)setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6", 1);
    fetch();
    assert_string_equal(oldest()->req.url, "http://[fd00:ec2::254]/latest/api/token");
    answer(500, "");
    (void)setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1338/", 1); /* wins over the mode */
    fetch();
    assert_string_equal(oldest()->req.url, "http://127.0.0.1:1338/latest/api/token");
    answer(500, "");
    (void)setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "both", 1);
    assert_int_equal(aws_imds_fetch(imds, on_done, &got, reason), ERR_AWS_NO_CREDENTIALS);
    assert_non_null(strstr(reason, "MODE"));
    (void)unsetenv("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    static const char *const bad[] = {"ftp://127.0.0.1", "http://", "http://a@b", "http://a?b", "169.254.169.254"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        (void)setenv("AWS_EC2_METADATA_SERVICE_ENDPOINT", bad[i], 1);
        assert_int_equal(aws_imds_fetch(imds, on_done, &got, reason), ERR_AWS_NO_CREDENTIALS);
    }
}

static void freed_while_fetching(void **state)
{
    (void)state;
    fetch();
    aws_imds_unref(imds);
    imds = NULL;
    answer(200, "TOKEN");
    answer(200, "role");
    answer(200, credentials("ASIAINSTANCE00000001"));
    assert_int_equal(got.n, 1);
    assert_int_equal(got.err, 0);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(three_requests),
        T(the_token_is_kept_for_its_life),
        T(a_refused_token_is_replaced_once),
        T(never_version_one),
        T(silence),
        T(no_role_and_no_credentials),
        T(role_names),
        T(switches),
        T(freed_while_fetching),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
