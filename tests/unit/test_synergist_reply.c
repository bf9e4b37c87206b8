/* Replies of instances: a folder of plain and odd ones, each with its verdict in the first line; words for people; S3's
 * answers. */
#include "lib/synergist_reply.h"

#include "lib/cleanup.h"
#include "lib/err.h"
#include "lib/secret.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h needs the four above */
#include <cmocka.h>

static const struct profile profile = {
    .locked = {.items = {"404900"}, .n = 1},
    .mismatch = {.items = {"404901"}, .n = 1},
    .denied = {.items = {"404902"}, .n = 1},
    .test_failed = {.items = {"404903"}, .n = 1},
};

struct vector {
    int status;
    char err[32], code[16], flags[64];
    char bytes[65536];
    const char *body;
    size_t len;
};

static void read_vector(const char *name, struct vector *v)
{
    char path[512];
    (void)snprintf(path, sizeof(path), "%s/vectors/synergist/%s", TEST_DATA, name);
    FILE *f = fopen(path, "rb");
    assert_non_null(f);
    size_t n = fread(v->bytes, 1, sizeof(v->bytes) - 1, f);
    fclose(f);
    v->bytes[n] = '\0';
    const char *line_end = memchr(v->bytes, '\n', n);
    assert_non_null(line_end);
    assert_int_equal(sscanf(v->bytes, "%d %31s %15s %63s", &v->status, v->err, v->code, v->flags), 4);
    v->body = line_end + 1;
    v->len = n - (size_t)(v->body - v->bytes);
}

static void check_vector(const char *name)
{
    static struct vector v;
    read_vector(name, &v);
    struct synergist_reply r;
    synergist_reply_read(&profile, v.status, v.body, v.len, &r);
    bool good = strcmp(err_name(r.err), v.err) == 0 && strcmp(*r.code ? r.code : "-", v.code) == 0 &&
                r.no_such_call == !!strstr(v.flags, "no_such_call") && r.not_ours == !!strstr(v.flags, "not_ours") &&
                r.denied == !!strstr(v.flags, "denied");
    if (!good)
        print_error("%s: got %s, code %s, %s%s%s\n", name, err_name(r.err), r.code,
                    r.no_such_call ? "no_such_call " : "", r.not_ours ? "not_ours " : "", r.denied ? "denied" : "");
    assert_true(good);
    synergist_reply_done(&r);
}

static void corpus(void **state)
{
    (void)state;
    struct dirent **list = NULL;
    int n = scandir(TEST_DATA "/vectors/synergist", &list, NULL, alphasort);
    assert_true(n > 50);
    for (int i = 0; i < n; i++) {
        if (strstr(list[i]->d_name, ".reply")) check_vector(list[i]->d_name);
        free(list[i]);
    }
    free(list);
}

/* Every prefix of every reply is read without harm; none but the whole one is a success. */
static void cut_replies(void **state)
{
    (void)state;
    static struct vector v;
    read_vector("json-success-update.reply", &v);
    for (size_t len = 0; len < v.len; len++) {
        AUTO_FREE char *copy = strndup(v.body, len);
        struct synergist_reply r;
        synergist_reply_read(&profile, 200, copy, len, &r);
        assert_int_equal(r.err, ERR_INSTANCE_FAILURE);
        synergist_reply_done(&r);
    }
}

static int verdict(int status, const char *body)
{
    struct synergist_reply r;
    synergist_reply_read(&profile, status, body, strlen(body), &r);
    int err = r.err;
    synergist_reply_done(&r);
    return err;
}

static void deep_and_huge(void **state)
{
    (void)state;
    size_t n = 1 << 20;
    AUTO_FREE char *text = malloc(n + 1);
    memset(text, '[', n);
    memcpy(text, "{\"data\":", 8);
    text[n] = '\0';
    assert_int_equal(verdict(200, text), ERR_INSTANCE_FAILURE);
    for (size_t i = 0; i + 5 <= n; i += 5) memcpy(text + i, "{\"a\":", 5);
    assert_int_equal(verdict(200, text), ERR_INSTANCE_FAILURE);
    memset(text, ' ', n);
    assert_int_equal(verdict(200, text), ERR_INSTANCE_FAILURE);
    for (size_t i = 0; i + 3 <= n; i += 3) memcpy(text + i, "<a>", 3);
    assert_int_equal(verdict(404, text), ERR_INSTANCE_FAILURE);
    memset(text, 'x', n);
    static const char head[] = "{\"success\":true,\"errorcode\":0,\"data\":[],\"errormessage\":\"";
    memcpy(text, head, strlen(head));
    memcpy(text + n - 2, "\"}", 2);
    assert_int_equal(verdict(200, text), 0);
}

static void records_and_members(void **state)
{
    (void)state;
    struct synergist_reply r;
    const char *body =
        "{\"Success\":true,\"errorcode\":0,\"DATA\":[{\"SystemParameters_IAMAccessKey\":\"AKIA\",\"n\":13.1,\"N2\":4,"
        "\"b\":true},{\"x\":1}]}";
    char out[16];
    synergist_reply_read(&profile, 200, body, strlen(body), &r);
    assert_int_equal(r.err, 0);
    const json_t *record = synergist_record(&r, 0);
    assert_true(synergist_text(synergist_member(record, "systemparameters_iamaccesskey", NULL), out, sizeof(out)));
    assert_string_equal(out, "AKIA");
    assert_true(synergist_text(synergist_member(record, "n", NULL), out, sizeof(out)));
    assert_string_equal(out, "13.1");
    assert_true(synergist_text(synergist_member(record, "n2", NULL), out, sizeof(out)));
    assert_string_equal(out, "4");
    assert_true(synergist_text(synergist_member(record, "b", NULL), out, sizeof(out)));
    assert_string_equal(out, "true");
    assert_false(synergist_text(synergist_member(record, "absent", NULL), out, sizeof(out)));
    assert_false(synergist_text(synergist_member(record, "systemparameters_iamaccesskey", NULL), out, 4));
    assert_non_null(synergist_record(&r, 1));
    assert_null(synergist_record(&r, 2));
    synergist_reply_done(&r);
    body = "{\"success\":true,\"errorcode\":0,\"data\":{\"a\":\"1\",\"A\":\"2\"}}";
    bool ambiguous = false;
    synergist_reply_read(&profile, 200, body, strlen(body), &r);
    assert_null(synergist_member(synergist_record(&r, 0), "a", &ambiguous));
    assert_true(ambiguous);
    assert_null(synergist_record(&r, 1));
    synergist_reply_done(&r);
}

static void words(void **state)
{
    (void)state;
    char out[200];
    AUTO_SECRET struct secret *secret = secret_from_string("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    AUTO_SECRET struct secret *tiny = secret_from_string("abc");
    const struct secret *const both[] = {secret, NULL, tiny};
    synergist_clean(" invalid\r\n\taction \x01 caf\xc3\xa9 abc \xff\x7f ", both, 3, out, sizeof(out));
    assert_string_equal(out, "invalid action caf\xc3\xa9 abc");
    const char *const withheld = "(withheld: the reply repeats what was sent)";
    synergist_clean("bad value wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", both, 3, out, sizeof(out));
    assert_string_equal(out, withheld);
    synergist_clean("bad value ...FEMI/K7M...", both, 3, out, sizeof(out));
    assert_string_equal(out, withheld);
    synergist_clean("bad value FEMI%2FK7MDENG", both, 3, out, sizeof(out));
    assert_string_equal(out, withheld);
    synergist_clean(NULL, both, 3, out, sizeof(out));
    assert_string_equal(out, "");
    synergist_clean("caf\xc3\xa9", NULL, 0, out, 5); /* cut at a whole character */
    assert_string_equal(out, "caf");
}

static void s3_answers(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *body, *code;
        int err;
    } cases[] = {
        {200, "x", "", 0},
        {206, "x", "", 0},
        {416, "<Error><Code>InvalidRange</Code></Error>", "", 0},
        {404, "<?xml version=\"1.0\"?><Error><Code>NoSuchKey</Code><Key>a</Key></Error>", "NoSuchKey", 0},
        {404, "<Error><Code>NoSuchBucket</Code></Error>", "NoSuchBucket", ERR_INSTANCE_TEST},
        {404, "<html>", "", ERR_INSTANCE_FAILURE},
        {403, "<Error><Code>InvalidAccessKeyId</Code></Error>", "InvalidAccessKeyId", ERR_INSTANCE_TEST},
        {403, "", "", ERR_INSTANCE_TEST},
        {403, "<Error><Code>a b</Code></Error>", "", ERR_INSTANCE_TEST},
        {400, "<Error><Code>ExpiredToken</Code></Error>", "ExpiredToken", ERR_INSTANCE_TEST},
        {301, "<Error><Code>PermanentRedirect</Code></Error>", "", ERR_NET_REDIRECT},
        {503, "<Error><Code>SlowDown</Code></Error>", "SlowDown", ERR_INSTANCE_FAILURE},
        {500, "", "", ERR_INSTANCE_FAILURE},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        char code[64];
        assert_int_equal(presigned_verdict(cases[i].status, cases[i].body, strlen(cases[i].body), code, sizeof(code)),
                         cases[i].err);
        if (cases[i].code[0]) assert_string_equal(code, cases[i].code);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(corpus),        cmocka_unit_test(cut_replies),
        cmocka_unit_test(deep_and_huge), cmocka_unit_test(records_and_members),
        cmocka_unit_test(words),         cmocka_unit_test(s3_answers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
