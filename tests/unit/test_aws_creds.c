/* Our own identity: the chain of providers, roles by account, sharing and refreshing. */
#include "fake_aws.h"

#include "lib/aws_container.h"
#include "lib/aws_creds.h"

#include <unistd.h>

#define ACCOUNT "123456789012"

static struct aws_creds *creds;
static char dir[] = "/tmp/keyroll-creds-XXXXXX";

static struct {
    int n, err;
    char key_id[64], secret[64], token[64], message[200];
    int64_t expires_ms;
} got;

static void on_done(void *self, uint64_t id, const void *result)
{
    (void)self;
    (void)id;
    const struct aws_creds_result *r = result;
    got.n++;
    got.err = r->err;
    (void)snprintf(got.message, sizeof(got.message), "%s", r->message);
    if (r->err) return;
    (void)snprintf(got.key_id, sizeof(got.key_id), "%s", r->identity->access_key_id);
    (void)snprintf(got.secret, sizeof(got.secret), "%s", secret_bytes(r->identity->secret));
    (void)snprintf(got.token, sizeof(got.token), "%s",
                   r->identity->session_token ? secret_bytes(r->identity->session_token) : "");
    got.expires_ms = r->identity->expires_ms;
}
static const struct ticket ticket = {.done = on_done};

static const char *path_of(const char *name)
{
    static char paths[4][128];
    static unsigned n;
    char *path = paths[n++ % 4];
    (void)snprintf(path, 128, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const char *text)
{
    FILE *f = fopen(path_of(name), "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
}

static int setup(void **state)
{
    (void)state;
    static const char *const names[] = {"AWS_ACCESS_KEY_ID",
                                        "AWS_SECRET_ACCESS_KEY",
                                        "AWS_SESSION_TOKEN",
                                        "AWS_CREDENTIAL_EXPIRATION",
                                        "AWS_WEB_IDENTITY_TOKEN_FILE",
                                        "AWS_ROLE_ARN",
                                        "AWS_ROLE_SESSION_NAME",
                                        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                                        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
                                        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++) (void)unsetenv(names[i]);
    (void)setenv("AWS_EC2_METADATA_DISABLED", "true", 1);
    (void)unlink(path_of("credentials"));
    (void)unlink(path_of("config"));
    (void)unlink(path_of("token"));
    (void)setenv("AWS_SHARED_CREDENTIALS_FILE", path_of("credentials"), 1);
    (void)setenv("AWS_CONFIG_FILE", path_of("config"), 1);
    memset(&got, 0, sizeof(got));
    return 0;
}

static void open_creds(const char *profile, const char *role_template)
{
    struct aws_creds_options o = {.clock = &fake_clock,
                                  .rng = &rng_system,
                                  .region = "eu-west-1",
                                  .profile = profile,
                                  .role_template = role_template,
                                  .external_id = role_template ? "ext/1" : NULL,
                                  .session_name = "keyroll-worker:1"};
    assert_int_equal(aws_creds_new(NULL, &o, &creds), 0);
}

static int teardown(void **state)
{
    (void)state;
    aws_creds_free(creds);
    creds = NULL;
    fake_reset();
    return secret_count() != 0 || !LIST_EMPTY(&fake_timers);
}

static void ask(const char *account)
{
    int before = got.n;
    assert_int_equal(aws_creds_get(creds, account, ticket), 0);
    assert_int_equal(got.n, before); /* never before it returns */
    turn(0);
}

/* What STS answers: credentials that live for ms. */
static const char *assumed(const char *key_id, int64_t ms)
{
    static char text[1024];
    char expires[TIME_TEXT_MAX];
    time_format(fake_wall + ms, expires);
    (void)snprintf(
        text, sizeof(text),
        "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><Credentials>"
        "<AccessKeyId>%s</AccessKeyId><SecretAccessKey>s-%s</SecretAccessKey><SessionToken>t-%s</SessionToken>"
        "<Expiration>%s</Expiration></Credentials></AssumeRoleResult></AssumeRoleResponse>",
        key_id, key_id, key_id, expires);
    return text;
}
#define REFUSAL(code) "<ErrorResponse><Error><Code>" code "</Code><Message>no</Message></Error></ErrorResponse>"
/* Answers a request that has no last moment. */
static void reply_plain(struct sent *s, int status, const char *body)
{
    s->left = true;
    reply(s, status, body);
}
#define HOUR_MS INT64_C(3600000)

static void environment(void **state)
{
    (void)state;
    (void)setenv("AWS_ACCESS_KEY_ID", "AKIAENV", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    (void)setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path_of("token"), 1); /* comes later in the chain */
    open_creds(NULL, NULL);
    assert_string_equal(aws_creds_source(creds), "environment");
    assert_null(aws_creds_now(creds, NULL));
    ask(ACCOUNT); /* no role template: our own */
    assert_int_equal(got.err, 0);
    assert_string_equal(got.key_id, "AKIAENV");
    assert_string_equal(got.token, "");
    assert_int_equal(got.expires_ms, TIME_NONE);
    assert_non_null(aws_creds_now(creds, "210987654321"));
    assert_int_equal(aws_creds_get(creds, "12", ticket), ERR_INVALID);
}

static void half_an_environment_is_an_error(void **state)
{
    (void)state;
    (void)setenv("AWS_ACCESS_KEY_ID", "AKIAENV", 1);
    open_creds(NULL, NULL);
    ask(NULL);
    assert_int_equal(got.err, ERR_AWS_NO_CREDENTIALS);
    assert_non_null(strstr(got.message, "AWS_SECRET_ACCESS_KEY"));
}

static void nothing_at_all(void **state)
{
    (void)state;
    open_creds(NULL, NULL);
    assert_string_equal(aws_creds_source(creds), "none");
    ask(NULL);
    assert_int_equal(got.err, ERR_AWS_NO_CREDENTIALS);
    assert_int_equal(err_class(got.err), ERR_CLASS_PERMANENT);
    write_file("credentials", "[default]\nno equals sign\n");
    turn(2000);
    ask(NULL);
    assert_non_null(strstr(got.message, "shared AWS files"));
}

static void shared_files(void **state)
{
    (void)state;
    (void)setenv("AWS_ACCESS_KEY_ID", "AKIAENV", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    write_file("credentials",
               "# comment\n[default]\naws_access_key_id = AKIADEF\naws_secret_access_key=d\n\n"
               "[other]\r\naws_access_key_id = AKIAOTHER ; comment\r\n  aws_secret_access_key = nested\r\n"
               "AWS_SECRET_ACCESS_KEY = a/b+c=#d\r\naws_session_token=tok\r\n");
    write_file("config",
               "[profile other]\nregion = x\n[profile  cfg]\naws_access_key_id = AKIACFG\naws_secret_access_key = c\n"
               "[cfg]\naws_access_key_id = AKIAWRONG\n[sso-session cfg]\nsso_start_url = x\n");
    open_creds("other", NULL); /* an explicit profile removes the environment step */
    assert_string_equal(aws_creds_source(creds), "shared file, profile other");
    ask(NULL);
    assert_string_equal(got.key_id, "AKIAOTHER");
    assert_string_equal(got.secret, "a/b+c=#d");
    assert_string_equal(got.token, "tok");
    aws_creds_free(creds);
    open_creds("cfg", NULL);
    assert_string_equal(aws_creds_source(creds), "config file, profile cfg");
    ask(NULL);
    assert_string_equal(got.key_id, "AKIACFG");
    aws_creds_free(creds);
    open_creds("absent", NULL);
    ask(NULL);
    assert_int_equal(got.err, ERR_AWS_NO_CREDENTIALS);
    assert_string_equal(got.message, "profile absent is in no shared file");
}

static void chained_profile_roles(void **state)
{
    (void)state;
    write_file(
        "config",
        "[profile top]\nrole_arn = arn:aws:iam::1:role/top\nsource_profile = mid\nexternal_id = e\n"
        "[profile mid]\nrole_arn = arn:aws:iam::1:role/mid\nsource_profile = base\nrole_session_name = mid session\n");
    write_file("credentials", "[base]\naws_access_key_id = AKIABASE\naws_secret_access_key = b\n");
    open_creds("top", NULL);
    assert_string_equal(aws_creds_source(creds), "assumed role, profile top");
    ask(NULL);
    assert_string_equal(oldest()->req.url, "https://sts.eu-west-1.amazonaws.com/");
    assert_string_equal(
        (const char *)oldest()->req.body,
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fmid&RoleSessionName=mid-session");
    assert_true(leave(oldest()));
    assert_non_null(strstr(header(oldest(), "Authorization"), "Credential=AKIABASE/"));
    reply(oldest(), 200, assumed("ASIAMIDMIDMIDMIDMID1", HOUR_MS));
    assert_true(leave(oldest()));
    assert_non_null(strstr(oldest()->req.body, "role%2Ftop&RoleSessionName=keyroll-worker-1&ExternalId=e"));
    assert_non_null(strstr(header(oldest(), "Authorization"), "Credential=ASIAMIDMIDMIDMIDMID1/"));
    assert_string_equal(header(oldest(), "X-Amz-Security-Token"), "t-ASIAMIDMIDMIDMIDMID1");
    reply(oldest(), 200, assumed("ASIATOPTOPTOPTOPTOP1", HOUR_MS));
    turn(0);
    assert_int_equal(got.err, 0);
    assert_string_equal(got.key_id, "ASIATOPTOPTOPTOPTOP1");
}

static void profiles_that_cannot_be_used(void **state)
{
    (void)state;
    static const struct {
        const char *config, *message;
    } cases[] = {
        {"[profile x]\nrole_arn = r\nsource_profile = x2\n", "profile x2 is in no file"},
        {"[profile x]\nrole_arn = r\nsource_profile = x\n", "profile x holds no access key"},
        {"[profile x]\nrole_arn = r\nmfa_serial = m\nsource_profile = y\n",
         "profile x wants MFA, which a service cannot give"},
        {"[profile x]\nrole_arn = r\ncredential_source = Ec2InstanceMetadata\n",
         "profile x has role_arn but no source_profile that is supported"},
        {"[profile x]\nsso_session = s\n",
         "profile x holds nothing that is supported (keys, role_arn, web_identity_token_file)"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        write_file("config", cases[i].config);
        open_creds("x", NULL);
        ask(NULL);
        assert_int_equal(got.err, ERR_AWS_NO_CREDENTIALS);
        assert_string_equal(got.message, cases[i].message);
        aws_creds_free(creds);
    }
    write_file(
        "config",
        "[profile x]\nrole_arn = r\nsource_profile = y\n[profile y]\nrole_arn = r\nsource_profile = x\n"); /* a circle
                                                                                                            */
    open_creds("x", NULL);
    ask(NULL);
    assert_int_equal(got.err, ERR_TOO_LARGE);
}

static void web_identity(void **state)
{
    (void)state;
    (void)setenv("AWS_WEB_IDENTITY_TOKEN_FILE", path_of("token"), 1);
    (void)setenv("AWS_ROLE_ARN", "arn:aws:iam::1:role/pod", 1);
    (void)setenv("AWS_ROLE_SESSION_NAME", "pod-1", 1);
    open_creds(NULL, NULL);
    assert_string_equal(aws_creds_source(creds), "web identity");
    ask(NULL);
    assert_int_equal(got.err, ERR_NOT_FOUND);
    assert_non_null(strstr(got.message, "token"));
    write_file("token", "jwt.one+two\n");
    turn(2000);
    ask(NULL);
    assert_string_equal(
        (const char *)oldest()->req.body,
        "Action=AssumeRoleWithWebIdentity&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A1%3Arole%2Fpod"
        "&RoleSessionName=pod-1&WebIdentityToken=jwt.one%2Btwo");
    assert_true(oldest()->req.body_is_secret);
    assert_true(leave(oldest()));
    assert_null(header(oldest(), "Authorization"));
    write_file("token", "jwt.three");
    reply(oldest(), 400, REFUSAL("InvalidIdentityToken")); /* the file is read again, once */
    assert_non_null(strstr(oldest()->req.body, "WebIdentityToken=jwt.three"));
    reply(oldest(), 200, assumed("ASIAPODPODPODPODPOD1", HOUR_MS));
    turn(0);
    assert_string_equal(got.key_id, "ASIAPODPODPODPODPOD1");
}

/* What a container endpoint answers. */
static const char *contained(const char *key_id, int64_t ms)
{
    static char text[512];
    char expires[TIME_TEXT_MAX];
    time_format(fake_wall + ms, expires);
    (void)snprintf(text, sizeof(text),
                   "{\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s\",\"Token\":\"t\",\"Expiration\":\"%s\"}", key_id,
                   expires);
    return text;
}

static void container_endpoint(void **state)
{
    (void)state;
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials", 1);
    (void)setenv("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", path_of("token"), 1);
    open_creds(NULL, NULL);
    assert_string_equal(aws_creds_source(creds), "container endpoint");
    ask(NULL);
    assert_int_equal(got.err, ERR_NOT_FOUND);
    write_file("token", "one\n");
    turn(2000);
    ask(NULL);
    assert_string_equal(oldest()->req.url, "http://169.254.170.23/v1/credentials");
    assert_string_equal(oldest()->given, "Authorization: one");
    reply_plain(oldest(), 500, "{\"code\":\"Internal\",\"message\":\"no\"}");
    turn(0);
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    assert_string_equal(got.message, "container credentials: HTTP 500 Internal no");
    write_file("token", "two"); /* read anew for each fetch */
    turn(1000);
    ask(NULL);
    assert_string_equal(oldest()->given, "Authorization: two");
    reply_plain(oldest(), 200, contained("ASIACONTAINER0000001", HOUR_MS));
    turn(0);
    assert_int_equal(got.err, 0);
    assert_string_equal(got.key_id, "ASIACONTAINER0000001");
    assert_string_equal(got.token, "t");
    turn(45 * 60000); /* refreshed ahead of expiry, the old set goes on */
    size_t before = n_sent;
    assert_non_null(aws_creds_now(creds, NULL));
    assert_int_equal(n_sent, before + 1);
    reply_plain(oldest(), 200, "{\"AccessKeyId\":\"ASIA\"}");
    turn(0);
    assert_non_null(aws_creds_now(creds, NULL));
    write_file("token", "two\r\nX-Evil: 1");
    turn(10 * 60000);
    ask(NULL);
    assert_int_equal(got.err, ERR_AWS_NO_CREDENTIALS);
    assert_non_null(strstr(got.message, "line break"));
}

/* Parts of a set become headers: one that cannot is no set, so that no job is given up for it. */
static void a_set_that_no_header_can_carry(void **state)
{
    (void)state;
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials", 1);
    open_creds(NULL, NULL);
    static const struct {
        const char *id, *token;
    } bad[] = {
        {"ASIACONTAINER\\r\\n000", "t"}, {"ASIA CONTAINER", "t"}, {"ASIA/CONTAINER", "t"}, {"ASIA", "t\\nX-Evil: 1"}};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        char text[300], expires[TIME_TEXT_MAX];
        time_format(fake_wall + HOUR_MS, expires);
        (void)snprintf(text, sizeof(text),
                       "{\"AccessKeyId\":\"%s\",\"SecretAccessKey\":\"s\",\"Token\":\"%s\",\"Expiration\":\"%s\"}",
                       bad[i].id, bad[i].token, expires);
        turn(2000);
        ask(NULL);
        reply_plain(oldest(), 200, text);
        turn(0);
        if (got.err != ERR_AWS_CREDENTIALS) fail_msg("%zu: %s", i, err_name(got.err));
        assert_non_null(strstr(got.message, "header"));
        assert_null(strstr(got.message, "Evil"));
    }
}

static void container_addresses(void **state)
{
    (void)state;
    static const char *const good[] = {
        "https://example.com/x",   "http://127.0.0.1:8080/x",  "http://localhost/x",       "http://[::1]:80/x",
        "http://169.254.170.2/v2", "http://169.254.170.23/v1", "http://[fd00:ec2::23]/v1", "http://127.1.2.3"};
    static const char *const bad[] = {"http://example.com/x",
                                      "http://127.0.0.1@example.com/",
                                      "http://localhost:80@example.com/",
                                      "http://127.0.0.1.example.com/",
                                      "http://169.254.170.2.x/",
                                      "http://localhost.x/",
                                      "ftp://127.0.0.1/",
                                      "http://169.254.169.254/x",
                                      "http://",
                                      "https://",
                                      "http://[::1].example.com/",
                                      "http://127.0.0.300/",
                                      ""};
    for (size_t i = 0; i < ARRAY_LEN(good); i++) assert_true(aws_container_url_allowed(good[i]));
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) assert_false(aws_container_url_allowed(bad[i]));
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://example.com/", 1);
    open_creds(NULL, NULL);
    ask(NULL);
    assert_int_equal(got.err, ERR_AWS_NO_CREDENTIALS);
    assert_non_null(strstr(got.message, "FULL_URI is not allowed"));
}

static void instance_metadata_comes_last(void **state)
{
    (void)state;
    (void)unsetenv("AWS_EC2_METADATA_DISABLED");
    open_creds("absent", NULL); /* whoever names a profile means that one */
    assert_string_equal(aws_creds_source(creds), "none");
    aws_creds_free(creds);
    open_creds(NULL, NULL);
    assert_string_equal(aws_creds_source(creds), "instance metadata");
    ask(NULL);
    reply_plain(oldest(), 200, "TOKEN");
    reply_plain(oldest(), 200, "role");
    reply_plain(oldest(), 200, contained("ASIAINSTANCE00000001", HOUR_MS));
    turn(0);
    assert_int_equal(got.err, 0);
    assert_string_equal(got.key_id, "ASIAINSTANCE00000001");
    turn(45 * 60000); /* refreshed ahead of expiry, with the same session token */
    assert_non_null(aws_creds_now(creds, NULL));
    assert_string_equal(oldest()->given, "X-aws-ec2-metadata-token: TOKEN");
    (void)setenv("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://169.254.170.23/v1/credentials", 1);
    assert_string_equal(aws_creds_source(creds), "container endpoint");
    (void)setenv("AWS_ACCESS_KEY_ID", "AKIAENV", 1);
    assert_string_equal(aws_creds_source(creds), "environment");
    aws_creds_free(creds); /* with a fetch under way */
    creds = NULL;
}

static void use_environment(void)
{
    (void)setenv("AWS_ACCESS_KEY_ID", "AKIAENV", 1);
    (void)setenv("AWS_SECRET_ACCESS_KEY", "s", 1);
    open_creds(NULL, "arn:aws:iam::{account}:role/keyroll");
}

static void a_role_per_account_is_shared(void **state)
{
    (void)state;
    use_environment();
    for (int i = 0; i < 50; i++) assert_int_equal(aws_creds_get(creds, ACCOUNT, ticket), 0);
    assert_int_equal(aws_creds_get(creds, "210987654321", ticket), 0);
    turn(0);
    turn(0);
    assert_int_equal(n_sent, 2);
    struct sent *first = &sent[1],
                *second = &sent[0]; /* the first waited for our own identity, the second found it there */
    assert_string_equal(
        (const char *)first->req.body,
        "Action=AssumeRole&Version=2011-06-15&RoleArn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fkeyroll"
        "&RoleSessionName=keyroll-worker-1&ExternalId=ext%2F1");
    reply(first, 200, assumed("ASIAONEONEONEONEONE1", HOUR_MS));
    turn(0);
    assert_int_equal(got.n, 50);
    assert_string_equal(got.key_id, "ASIAONEONEONEONEONE1");
    reply(second, 403, REFUSAL("AccessDenied"));
    turn(0);
    assert_int_equal(got.n, 51);
    assert_int_equal(got.err, ERR_AWS_DENIED);
    assert_string_equal(got.message, "STS for arn:aws:iam::210987654321:role/keyroll: HTTP 403 AccessDenied no");
}

static void failures_have_no_unknown_outcome(void **state)
{
    (void)state;
    use_environment();
    static const int lost[] = {ERR_NET_LOST, ERR_TIMEOUT_SENT, ERR_NET_BAD_REPLY, ERR_NET_CONNECT};
    for (size_t i = 0; i < ARRAY_LEN(lost); i++) {
        ask(ACCOUNT);
        turn(0);
        reply_lost(oldest(), lost[i]);
        turn(0);
        assert_int_equal(got.err, i == 3 ? ERR_NET_CONNECT : ERR_AWS_CREDENTIALS);
        size_t before = n_sent;
        ask(ACCOUNT); /* asked again at once: the same answer, without a storm on STS */
        assert_int_equal(n_sent, before);
        assert_int_equal(got.n, (int)(2 * i + 2));
        turn(1000);
    }
    ask(ACCOUNT);
    reply(oldest(), 500, REFUSAL("InternalFailure"));
    turn(0);
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    turn(1000);
    ask(ACCOUNT);
    reply(oldest(), 200, "<AssumeRoleResponse/>");
    turn(0);
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    turn(1000);
    ask(ACCOUNT);
    reply(oldest(), 200, assumed("ASIAONEONEONEONEONE1", -1));
    turn(0);
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS); /* refreshed, yet expired */
}

static void refreshed_ahead_of_expiry(void **state)
{
    (void)state;
    use_environment();
    ask(ACCOUNT);
    turn(0);
    reply(oldest(), 200, assumed("ASIAONEONEONEONEONE1", HOUR_MS));
    turn(0);
    turn(44 * 60000);
    assert_non_null(aws_creds_now(creds, ACCOUNT));
    assert_int_equal(n_sent, 1);
    turn(60000); /* 15 minutes left: refreshed in the background, others go on with the old set */
    assert_non_null(aws_creds_now(creds, ACCOUNT));
    assert_int_equal(n_sent, 2);
    ask(ACCOUNT);
    assert_int_equal(n_sent, 2);
    assert_int_equal(got.n, 2);
    reply_lost(oldest(), ERR_NET_CONNECT);
    turn(29000);
    assert_non_null(aws_creds_now(creds, ACCOUNT));
    assert_int_equal(n_sent, 2); /* not again for half a minute */
    turn(5 * 60000);             /* 10 minutes left: all wait */
    assert_null(aws_creds_now(creds, ACCOUNT));
    ask(ACCOUNT);
    ask(ACCOUNT);
    assert_int_equal(n_sent, 3);
    assert_int_equal(got.n, 2);
    reply(oldest(), 200, assumed("ASIATWOTWOTWOTWOTWO1", HOUR_MS));
    turn(0);
    assert_int_equal(got.n, 4);
    assert_string_equal(got.key_id, "ASIATWOTWOTWOTWOTWO1");
}

static void short_lived_sets_are_used(void **state)
{
    (void)state;
    use_environment();
    ask(ACCOUNT);
    turn(0);
    reply(oldest(), 200, assumed("ASIAONEONEONEONEONE1", 900000)); /* the shortest STS gives: 15 minutes */
    turn(0);
    assert_int_equal(got.err, 0);
    turn(120000);
    assert_non_null(aws_creds_now(creds, ACCOUNT));
    assert_int_equal(n_sent, 1);
}

static void own_set_refused_by_sts(void **state)
{
    (void)state;
    use_environment();
    ask(ACCOUNT);
    turn(0);
    (void)setenv("AWS_ACCESS_KEY_ID", "AKIAENV2", 1);
    reply(oldest(), 403, REFUSAL("ExpiredToken"));
    turn(0);
    assert_int_equal(got.err, ERR_AWS_CREDENTIALS);
    turn(1000);
    ask(ACCOUNT);
    turn(0);
    assert_true(leave(oldest()));
    assert_non_null(strstr(header(oldest(), "Authorization"), "Credential=AKIAENV2/"));
}

static void a_wrong_clock_is_mended(void **state)
{
    (void)state;
    use_environment();
    ask(ACCOUNT);
    turn(0);
    struct http_reply r = reply_nothing;
    r.status = 403;
    r.body = "<ErrorResponse><Error><Code>SignatureDoesNotMatch</Code><Message>Signature expired: "
             "x</Message></Error></ErrorResponse>";
    r.date_ms = fake_wall + HOUR_MS;
    reply_with(oldest(), r);
    assert_true(leave(oldest()));
    char want[TIME_TEXT_MAX];
    time_format(fake_wall + HOUR_MS, want);
    assert_memory_equal(header(oldest(), "X-Amz-Date") + 9, want + 11, 2); /* the hour */
    reply(oldest(), 200, assumed("ASIAONEONEONEONEONE1", 2 * HOUR_MS));
    turn(0);
    assert_int_equal(got.err, 0);
}

static void freed_while_fetching(void **state)
{
    (void)state;
    use_environment();
    ask(ACCOUNT);
    turn(0);
    struct sent *s = oldest();
    aws_creds_free(creds);
    creds = NULL;
    assert_int_equal(got.n, 1);
    assert_int_equal(got.err, ERR_CANCELLED);
    assert_false(leave(s));
    assert_int_equal(got.n, 1);
}

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) ? 0 : 1;
}
static int remove_dir(void **state)
{
    (void)setup(state);
    return rmdir(dir);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(environment),
        T(half_an_environment_is_an_error),
        T(nothing_at_all),
        T(shared_files),
        T(chained_profile_roles),
        T(profiles_that_cannot_be_used),
        T(web_identity),
        T(container_endpoint),
        T(a_set_that_no_header_can_carry),
        T(container_addresses),
        T(instance_metadata_comes_last),
        T(a_role_per_account_is_shared),
        T(failures_have_no_unknown_outcome),
        T(refreshed_ahead_of_expiry),
        T(short_lived_sets_are_used),
        T(own_set_refused_by_sts),
        T(a_wrong_clock_is_mended),
        T(freed_while_fetching),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
