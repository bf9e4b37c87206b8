/* Signature Version 4: AWS's published suite, a list signed by botocore, the cache of derived keys. */
#include "lib/aws_sign.h"

#include "lib/clock.h"
#include "lib/err.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define MAX     ((size_t)1 << 20)
#define VECTORS TEST_DATA "/vectors/sigv4"

static char *read_file(const char *dir, const char *name, size_t *ret_len)
{
    char path[1024];
    (void)snprintf(path, sizeof(path), VECTORS "/%s/%s", dir, name);
    FILE *f = fopen(path, "rb");
    if (!f) fail_msg("%s", path);
    char *text = calloc(1, 65536);
    *ret_len = fread(text, 1, 65535, f);
    (void)fclose(f);
    return text;
}

struct vector {
    char *text, *method, *path, *query, *body;
    struct aws_sign_header headers[20];
    size_t n;
};

/* Takes "POST /path?query HTTP/1.1\nName:value\n  folded\n\nbody" apart, in place. */
static void vector_split(struct vector *v)
{
    char *line_end = strchr(v->text, '\n');
    *line_end = '\0';
    v->method = v->text;
    v->path = strchr(v->text, ' ') + 1;
    v->path[-1] = '\0';
    *strrchr(v->path, ' ') = '\0'; /* a path may hold a raw space */
    v->query = strchr(v->path, '?');
    if (v->query) *v->query++ = '\0';
    char *p = line_end + 1;
    while (*p && *p != '\n') {
        char *colon = strchr(p, ':');
        *colon = '\0';
        char *end = colon + 1 + strcspn(colon + 1, "\n");
        while (end[0] && (end[1] == ' ' || end[1] == '\t')) end += 1 + strcspn(end + 1, "\n");
        v->headers[v->n++] = (struct aws_sign_header){p, colon + 1};
        p = *end ? end + 1 : end;
        if (*end) *end = '\0';
    }
    v->body = *p ? p + 1 : p;
}

static void check_vector(const char *name)
{
    size_t len;
    AUTO_FREE char *context_text = read_file(name, "context.json", &len);
    AUTO_JSON json_t *context = json_loads(context_text, 0, NULL);
    assert_non_null(context);
    json_t *c = json_object_get(context, "credentials");
    const char *token_text = json_string_value(json_object_get(c, "token"));
    bool omit = json_is_true(json_object_get(context, "omit_session_token"));
    AUTO_SECRET struct secret *secret = secret_from_string(json_string_value(json_object_get(c, "secret_access_key")));
    AUTO_SECRET struct secret *token = token_text && !omit ? secret_from_string(token_text) : NULL;
    struct vector v = {.text = read_file(name, "request.txt", &len)};
    vector_split(&v);
    struct aws_sign_request r = {.method = v.method,
                                 .path = v.path,
                                 .query = v.query,
                                 .headers = v.headers,
                                 .n_headers = v.n,
                                 .body = v.body,
                                 .body_len = strlen(v.body),
                                 .region = json_string_value(json_object_get(context, "region")),
                                 .service = json_string_value(json_object_get(context, "service")),
                                 .normalize_path = json_is_true(json_object_get(context, "normalize")),
                                 .add_content_sha256 = json_is_true(json_object_get(context, "sign_body")),
                                 .wall_ms = time_parse(json_string_value(json_object_get(context, "timestamp")))};

    AUTO_BUF struct buf canonical, names, out;
    buf_init(&canonical, MAX);
    buf_init(&names, MAX);
    buf_init(&out, MAX);
    assert_int_equal(aws_sign_canonical(&r, token, &canonical, &names), 0);
    AUTO_FREE char *want = read_file(name, "header-canonical-request.txt", &len);
    if (strcmp(want, buf_str(&canonical)) != 0) fail_msg("%s: got\n%s\nwant\n%s", name, buf_str(&canonical), want);

    struct aws_sign_keys *keys = aws_sign_keys_new(4);
    size_t n = 0;
    assert_int_equal(
        aws_sign(keys, &r, json_string_value(json_object_get(c, "access_key_id")), secret, token, &out, &n), 0);
    assert_int_equal(n, 2 + (token != NULL) + r.add_content_sha256);
    const char *line = out.data;
    for (size_t i = 1; i < n; i++) line += strlen(line) + 1;
    AUTO_FREE char *signature = read_file(name, "header-signature.txt", &len);
    char expected[1024];
    (void)snprintf(expected, sizeof(expected),
                   "Authorization: AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, "
                   "SignedHeaders=%s, Signature=%s",
                   buf_str(&names), signature);
    assert_string_equal(line, expected);
    aws_sign_keys_free(keys);
    free(v.text);
}

static void published_suite(void **state)
{
    (void)state;
    DIR *d = opendir(VECTORS);
    assert_non_null(d);
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(d));) {
        if (e->d_name[0] == '.' || strchr(e->d_name, '.')) continue;
        check_vector(e->d_name);
        n++;
    }
    (void)closedir(d);
    assert_int_equal(n, 38);
}

static const char *text_of(json_t *c, const char *name)
{
    return json_string_value(json_object_get(c, name));
}

static void botocore_agrees(void **state)
{
    (void)state;
    AUTO_JSON json_t *file = json_load_file(VECTORS "/botocore.json", 0, NULL);
    json_t *cases = json_object_get(file, "cases"), *c;
    assert_true(json_array_size(cases) >= 30);
    struct aws_sign_keys *keys = aws_sign_keys_new(3); /* smaller than the list: eviction is met too */
    size_t i;
    json_array_foreach(cases, i, c)
    {
        AUTO_SECRET struct secret *secret = secret_from_string(text_of(c, "secret"));
        AUTO_SECRET struct secret *token = text_of(c, "token") ? secret_from_string(text_of(c, "token")) : NULL;
        AUTO_FREE char *url = strdup(text_of(c, "url"));
        char *host = strstr(url, "://") + 3, *path = strchr(host, '/'), *query = strchr(path, '?');
        AUTO_FREE char *host_copy = strndup(host, (size_t)(path - host));
        if (query) *query++ = '\0';
        bool s3 = strcmp(text_of(c, "service"), "s3") == 0;
        struct aws_sign_header headers[2] = {{"Host", host_copy}, {"Content-Type", text_of(c, "content_type")}};
        struct aws_sign_request r = {.method = text_of(c, "method"),
                                     .path = path,
                                     .query = query,
                                     .headers = headers,
                                     .n_headers = headers[1].value ? 2 : 1,
                                     .body = text_of(c, "body"),
                                     .body_len = strlen(text_of(c, "body")),
                                     .region = text_of(c, "region"),
                                     .service = text_of(c, "service"),
                                     .double_encode_path = !s3,
                                     .normalize_path = !s3,
                                     .add_content_sha256 = s3,
                                     .wall_ms = time_parse(text_of(c, "time"))};
        AUTO_BUF struct buf out;
        buf_init_secret(&out, MAX);
        size_t n = 0;
        assert_int_equal(aws_sign(keys, &r, text_of(c, "key_id"), secret, token, &out, &n), 0);
        const char *line = out.data;
        for (size_t k = 0; k < n; k++, line += strlen(line) + 1) {
            if (strncmp(line, "Authorization: ", 15) == 0) assert_string_equal(line + 15, text_of(c, "authorization"));
            if (strncmp(line, "X-Amz-Content-Sha256: ", 22) == 0)
                assert_string_equal(line + 22, text_of(c, "content_sha256"));
        }
    }
    aws_sign_keys_free(keys);
}

static void sign_once(struct aws_sign_keys *keys, const struct secret *secret, struct buf *out)
{
    struct aws_sign_header host = {"Host", "sts.amazonaws.com"};
    struct aws_sign_request r = {
        .method = "POST", .headers = &host, .n_headers = 1, .region = "us-east-1", .service = "sts"};
    size_t n;
    assert_int_equal(aws_sign(keys, &r, "AKIAIOSFODNN7EXAMPLE", secret, NULL, out, &n), 0);
}

static void cached_key_never_serves_another_secret(void **state)
{
    (void)state;
    size_t live = secret_count();
    struct aws_sign_keys *keys = aws_sign_keys_new(8);
    AUTO_SECRET struct secret *good = secret_from_string("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY");
    AUTO_SECRET struct secret *bad = secret_from_string("wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEX");
    AUTO_BUF struct buf first, second, third;
    buf_init(&first, MAX);
    buf_init(&second, MAX);
    buf_init(&third, MAX);
    sign_once(keys, good, &first);
    sign_once(keys, bad, &second);
    sign_once(keys, good, &third);
    assert_memory_not_equal(first.data, second.data, first.len);
    assert_memory_equal(first.data, third.data, first.len);
    aws_sign_keys_free(keys);
    assert_int_equal(secret_count(), live + 2); /* the two of this test; no derived key is left */
}

static void refusals(void **state)
{
    (void)state;
    struct aws_sign_keys *keys = aws_sign_keys_new(1);
    AUTO_SECRET struct secret *secret = secret_from_string("x");
    AUTO_BUF struct buf out;
    buf_init(&out, MAX);
    struct aws_sign_request r = {.method = "GET", .region = "us-east-1", .service = "s3"};
    size_t n;
    assert_int_equal(aws_sign(keys, &r, "AKIAIOSFODNN7EXAMPLE", secret, NULL, &out, &n), ERR_INVALID); /* no host */
    char long_name[600];
    memset(long_name, 'h', sizeof(long_name));
    long_name[599] = '\0';
    struct aws_sign_header headers[40] = {{"host", "h"}, {long_name, "v"}};
    r.headers = headers;
    r.n_headers = 2;
    assert_int_equal(aws_sign(keys, &r, "AKIAIOSFODNN7EXAMPLE", secret, NULL, &out, &n), ERR_TOO_LARGE);
    r.n_headers = 1;
    r.region = long_name;
    assert_int_equal(aws_sign(keys, &r, "AKIAIOSFODNN7EXAMPLE", secret, NULL, &out, &n), ERR_TOO_LARGE);
    r.region = "us-east-1";
    for (size_t i = 0; i < 40; i++) headers[i] = (struct aws_sign_header){"host", "h"};
    r.n_headers = 40;
    assert_int_equal(aws_sign(keys, &r, "AKIAIOSFODNN7EXAMPLE", secret, NULL, &out, &n), ERR_TOO_LARGE);
    char query[1024] = "";
    for (size_t i = 0; i < 200; i++) memcpy(query + 2 * i, "a&", 3);
    r.n_headers = 1;
    r.query = query;
    assert_int_equal(aws_sign(keys, &r, "AKIAIOSFODNN7EXAMPLE", secret, NULL, &out, &n), ERR_TOO_LARGE);
    assert_int_equal(out.len, 0);
    aws_sign_keys_free(keys);
    aws_sign_keys_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(published_suite),
        cmocka_unit_test(botocore_agrees),
        cmocka_unit_test(cached_key_never_serves_another_secret),
        cmocka_unit_test(refusals),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
