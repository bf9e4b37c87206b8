/* What goes out: whole bodies, both encodings, the password recipes, addresses. */
#include "lib/synergist_request.h"

#include "lib/cleanup.h"
#include "lib/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
/* cmocka.h needs the four above */
#include <cmocka.h>

static void fill_same(void *self, void *out, size_t len)
{
    (void)self;
    memset(out, 0xab, len);
}
static const struct rng fixed_rng = {.fill = fill_same};

struct fixture {
    struct profiles *set;
    const struct profile *p;
    struct secret *password, *secret;
    struct synergist_login login;
};

static int set_up(void **state)
{
    static struct fixture f;
    if (profiles_load(NULL, &f.set, NULL) < 0) return -1;
    f.p = profiles_find(f.set, "default");
    f.password = secret_from_string("p&w=\"1\"");
    f.secret = secret_from_string("wJalr/K7MDENG+bPx\"\\=");
    f.login = (struct synergist_login){.user = "api", .password = f.password};
    *state = &f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    profiles_free(f->set);
    secret_free(f->password);
    secret_free(f->secret);
    return secret_count() == 0 ? 0 : -1;
}

#define B                 "--keyroll-abababababababababababababababab"
#define PART(name, value) B "\r\nContent-Disposition: form-data; name=\"" name "\"\r\n\r\n" value "\r\n"
#define LOGIN             PART("user", "api") PART("password", "p&w=\"1\"") PART("version", "4")
#define END               B "--\r\n"

static void expect_body(struct formdata *f, const char *body)
{
    assert_int_equal(formdata_end(f), 0);
    assert_string_equal(buf_str(&f->body), body);
    formdata_done(f);
}

static void multipart_bodies(void **state)
{
    struct fixture *f = *state;
    struct formdata d;
    formdata_init(&d, true, &fixed_rng, 65536);
    assert_string_equal(d.content_type,
                        "Content-Type: multipart/form-data; boundary=keyroll-abababababababababababababababab");
    synergist_form_write(&d, f->p, &f->login, "AKIAIOSFODNN7EXAMPLE", f->secret, NULL, NULL);
    expect_body(&d, LOGIN PART("action", "update")
                        PART("input", "{\"data\":[{\"systemparameters_iamaccesskey\":\"AKIAIOSFODNN7EXAMPLE\","
                                      "\"systemparameters_iamsecretkey\":\"wJalr/K7MDENG+bPx\\\"\\\\=\"}]}") END);
    formdata_init(&d, true, &fixed_rng, 65536);
    synergist_form_read_back(&d, f->p, &f->login);
    expect_body(&d, LOGIN PART("style", "modeldata") PART("modelstructure", "systemdetails") END);
    formdata_init(&d, true, &fixed_rng, 65536);
    synergist_form_presigned(&d, f->p, &f->login, NULL);
    expect_body(&d, LOGIN PART("rows", "1") END);
    formdata_init(&d, true, &fixed_rng, 65536);
    synergist_form_presigned(&d, f->p, &f->login, "42");
    expect_body(&d, LOGIN PART("attachmentid", "42") END);
    formdata_init(&d, true, &fixed_rng, 65536);
    synergist_form_test(&d, f->p, &f->login);
    expect_body(&d, LOGIN PART("action", "testaws") END);
    formdata_init(&d, true, &fixed_rng, 65536);
    synergist_form_version(&d, f->p, &f->login);
    expect_body(&d, LOGIN PART("action", "version") END);
}

static void urlencoded_body(void **state)
{
    struct fixture *f = *state;
    struct formdata d;
    struct profile p = *f->p;
    p.company = "1";
    p.auth = PROFILE_AUTH_SHA512;
    p.write.id_field = "uuid";
    p.write.record_version_field = "systemRecordVersionNumber";
    p.write.params.items[0].name = "extra";
    p.write.params.items[0].value = "a b";
    p.write.params.n = 1;
    formdata_init(&d, false, &fixed_rng, 65536);
    assert_string_equal(d.content_type, "Content-Type: application/x-www-form-urlencoded");
    synergist_form_write(&d, &p, &f->login, "AKIAIOSFODNN7EXAMPLE", f->secret, "00AA", "64");
    expect_body(
        &d, "user=api&sha512password=p%26w%3D%221%22&version=4&company=1&action=update&extra=a%20b&input="
            "%7B%22data%22%3A%5B%7B%22uuid%22%3A%2200AA%22%2C%22systemRecordVersionNumber%22%3A64%2C"
            "%22systemparameters_iamaccesskey%22%3A%22AKIAIOSFODNN7EXAMPLE%22%2C%22systemparameters_iamsecretkey%22%3A"
            "%22wJalr%2FK7MDENG%2BbPx%5C%22%5C%5C%3D%22%7D%5D%7D");
    formdata_init(&d, false, &fixed_rng, 100); /* too small: an error, not a cut body */
    synergist_form_write(&d, &p, &f->login, "AKIAIOSFODNN7EXAMPLE", f->secret, NULL, "x1");
    assert_int_equal(formdata_end(&d), ERR_TOO_LARGE);
    formdata_done(&d);
}

static void expect_hash(const struct profile *p, const char *hex)
{
    struct secret *sent = NULL;
    AUTO_SECRET struct secret *plain = secret_from_string("p\xc3\xa4ss\xf0\x9f\x98\x80");
    assert_int_equal(synergist_password(p, "api", plain, &sent), 0);
    assert_string_equal(secret_bytes(sent), hex);
    secret_free(sent);
}

/* Expected values by Python: hashlib.sha512("...".encode("utf-8" or "utf-16-le" or "utf-16-be")).hexdigest() */
static void password_recipes(void **state)
{
    struct fixture *f = *state;
    struct profile p = *f->p;
    expect_hash(&p, "p\xc3\xa4ss\xf0\x9f\x98\x80");
    p.auth = PROFILE_AUTH_SHA512;
    expect_hash(&p, "a7649b5b6a465d3e45afacfde4427d8aff9e8f1685208760548b64b198324a42"
                    "14af4b5b9410e94a57fe53fc963436b7a3c7b92e215d0e136b2f3ff9eee315fb");
    p.recipe.charset = PROFILE_UTF16LE;
    expect_hash(&p, "25e6d83b3dd03a80489a70bdc786bd5e98bb8f34d4553e24ecf9405962310ecc"
                    "dad8e22a1a892abf84dffeb69505897e4f8bdb06bf40fc286f625fd1a74ccd3d");
    p.recipe.charset = PROFILE_UTF16BE;
    p.recipe.upper_hex = true;
    p.recipe.prefix = "{user}:";
    p.recipe.suffix = "{user}x{user}";
    expect_hash(&p, "A44A281D6105DBC78C1994B3F402B054C41AE8C4AA53FFABD45BC532152AF726"
                    "FAC864196E71D6B16F0168F2659E7606FCF1D794D645460F36AFD036DDFA3E8E");
    AUTO_SECRET struct secret *latin = secret_from_string("p\xe4ss");
    struct secret *sent = NULL;
    assert_int_equal(synergist_password(&p, "api", latin, &sent), ERR_INVALID);
    assert_null(sent);
}

static void addresses(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *base, *url;
    } good[] = {
        {"https://host", "https://host/jsonapi/system.json"},
        {"https://host/", "https://host/jsonapi/system.json"},
        {"https://host:8443/L1//", "https://host:8443/L1/jsonapi/system.json"},
        {"http://127.0.0.1:8080/L1", "http://127.0.0.1:8080/L1/jsonapi/system.json"},
        {"http://localhost/L1", "http://localhost/L1/jsonapi/system.json"},
    };
    static const char *const bad[] = {"",
                                      "host",
                                      "http://host",
                                      "http://10.0.0.1",
                                      "ftp://host",
                                      "https://u:p@host",
                                      "https://host?a=b",
                                      "https://host#x",
                                      "https://ho st",
                                      "http://127.0.0.1.evil.example"};
    const char *reason;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        AUTO_BUF struct buf url;
        buf_init(&url, 1000);
        assert_int_equal(synergist_check_url(f->p, good[i].base, &reason), 0);
        assert_int_equal(synergist_url(good[i].base, "system", &url), 0);
        assert_string_equal(buf_str(&url), good[i].url);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        assert_int_equal(synergist_check_url(f->p, bad[i], &reason), ERR_INVALID);
    struct profile p = *f->p;
    p.plain_http = true;
    assert_int_equal(synergist_check_url(&p, "http://10.0.0.1", &reason), 0);
}

static void json_strings(void **state)
{
    (void)state;
    AUTO_BUF struct buf b;
    buf_init(&b, 100);
    formdata_json_string(&b, "a\"\\\n\x01\xc3\xa9/", 8);
    assert_string_equal(buf_str(&b), "\"a\\\"\\\\\\u000a\\u0001\xc3\xa9/\"");
}

int main(void)
{
#define TEST(fn) cmocka_unit_test_setup_teardown(fn, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(multipart_bodies), TEST(urlencoded_body),          TEST(password_recipes),
        TEST(addresses),        cmocka_unit_test(json_strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
