/* Answers of IAM, STS and S3. The first byte chooses the operation that was asked. */
#include "lib/aws_error.h"
#include "lib/aws_iam.h"
#include "lib/aws_s3.h"
#include "lib/aws_sts.h"
#include "tests/fuzz/fuzz.h"

static void check_ids(const struct aws_result *r)
{
    FUZZ_REQUIRE(r->n_keys <= AWS_KEYS_MAX);
    for (size_t i = 0; i < r->n_keys; i++) FUZZ_REQUIRE(aws_key_id_valid(r->keys[i].id));
}

static void answers(enum aws_op op, const char *body, size_t len)
{
    struct aws_result r = {0};
    char *marker = NULL;
    int rc = aws_iam_parse(op, "SynergistExpress-acme", body, len, &r, &marker);
    if (rc == 0) {
        check_ids(&r);
        if (op == AWS_CREATE_ACCESS_KEY) FUZZ_REQUIRE(r.n_keys == 1 && r.created_secret);
        fuzz_touch(r.used_user);
        fuzz_touch(r.identity_arn);
    }
    secret_free(r.created_secret);
    free(marker);
}

static void refusals(const char *body, size_t len)
{
    struct aws_result r = {0};
    char region[AWS_REGION_MAX] = "";
    aws_error_parse(body, len, &r, region, sizeof region);
    fuzz_touch(region);
    (void)aws_error_is_clock(&r);
    for (int op = 0; op <= AWS_OPS; op++) (void)aws_error_map((enum aws_op)op, 400, r.code);
    for (const char *p = r.message; *p; p++) FUZZ_REQUIRE((unsigned char)*p >= ' ' && *p != 0x7f);
    struct aws_result s3 = {0};
    aws_s3_refusal(301, "eu-west-1", body, len, &s3);
    fuzz_touch(s3.message);
}

static void sts(const char *body, size_t len)
{
    struct aws_result r = {0};
    struct aws_identity *i = NULL;
    char user[AWS_USER_MAX];
    if (aws_sts_parse_identity(body, len, &r) == 0) (void)aws_arn_user(r.identity_arn, user);
    if (aws_sts_parse_credentials(body, len, &i) == 0) {
        FUZZ_REQUIRE(i->secret && i->session_token && i->access_key_id);
        aws_identity_unref(i);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0) return 0;
    AUTO_FREE char *body = fuzz_text(data + 1, size - 1);
    unsigned choice = data[0] % (AWS_OPS + 3u);
    if (choice <= AWS_GET_USER) answers((enum aws_op)choice, body, size - 1);
    if (choice == AWS_OPS) refusals(body, size - 1);
    if (choice == AWS_OPS + 1) sts(body, size - 1);
    if (choice == AWS_OPS + 2) (void)aws_s3_parse_list(body, size - 1);
    return 0;
}
