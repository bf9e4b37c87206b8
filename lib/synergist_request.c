/* What is sent to an instance. POST with form data only (apidoc.synergist.co.uk/reference/rest-verbs): login, version
 * and everything else in the body, so that no secret is ever in an address. Names go out in lower case where they are
 * ours; where they are the profile's, as it spells them. The recipe of sha512password is not public, so its parts are
 * settings: the default hashes the UTF-8 bytes of the password. */
#include "lib/synergist_request.h"

#include "lib/err.h"
#include "lib/presigned.h"

#include <assert.h>
#include <ctype.h>
#include <openssl/evp.h>
#include <string.h>

#define HASHED_MAX 8192

/* ---- password ---------------------------------------------------------------------------------------------- */

/* prefix or suffix with {user} filled in. */
static void add_template(struct buf *out, const char *text, const char *user)
{
    for (const char *hit; (hit = strstr(text, "{user}")) != NULL; text = hit + 6) {
        (void)buf_add(out, text, (size_t)(hit - text));
        (void)buf_adds(out, user);
    }
    (void)buf_adds(out, text);
}

static void add_unit(struct buf *out, unsigned unit, bool big)
{
    char bytes[2] = {(char)(unit >> 8), (char)unit};
    char swapped[2] = {bytes[1], bytes[0]};
    (void)buf_add(out, big ? bytes : swapped, 2);
}

/* One code point at s; its bytes, 0 when malformed. */
static size_t next_point(const unsigned char *s, size_t left, unsigned *ret_c)
{
    size_t n = s[0] < 0x80 ? 1 : s[0] < 0xc2 ? 0 : s[0] < 0xe0 ? 2 : s[0] < 0xf0 ? 3 : s[0] < 0xf5 ? 4 : 0;
    if (n == 0 || n > left) return 0;
    unsigned c = n == 1 ? s[0] : s[0] & (0x7fu >> n);
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80) return 0;
        c = c << 6 | (s[i] & 0x3fu);
    }
    if (c > 0x10ffff || (c >= 0xd800 && c < 0xe000)) return 0;
    *ret_c = c;
    return n;
}

static int to_utf16(const struct buf *text, bool big, struct buf *out)
{
    for (size_t at = 0; at < text->len;) {
        unsigned c;
        size_t n = next_point((const unsigned char *)text->data + at, text->len - at, &c);
        if (n == 0) return ERR_INVALID;
        if (c >= 0x10000) {
            add_unit(out, 0xd800 + ((c - 0x10000) >> 10), big);
            c = 0xdc00 + ((c - 0x10000) & 0x3ff);
        }
        add_unit(out, c, big);
        at += n;
    }
    return out->error;
}

static int hash_hex(const struct buf *input, bool upper, struct buf *out)
{
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    if (EVP_Digest(buf_str(input), input->len, digest, &len, EVP_sha512(), NULL) != 1) return ERR_NOMEM;
    (void)buf_add_hex(out, digest, len);
    secret_wipe(digest, sizeof(digest));
    for (size_t i = 0; upper && i < out->len; i++) out->data[i] = (char)toupper((unsigned char)out->data[i]);
    return out->error;
}

int synergist_password(const struct profile *p, const char *user, const struct secret *password,
                       struct secret **ret_sent)
{
    AUTO_BUF struct buf text;
    AUTO_BUF struct buf wide;
    AUTO_BUF struct buf hex;
    buf_init_secret(&text, HASHED_MAX);
    buf_init_secret(&wide, 2 * HASHED_MAX);
    buf_init_secret(&hex, 2 * EVP_MAX_MD_SIZE);
    if (p->auth == PROFILE_AUTH_PASSWORD) {
        *ret_sent = secret_copy(password);
        return *ret_sent ? 0 : ERR_NOMEM;
    }
    add_template(&text, p->recipe.prefix, user);
    (void)buf_add(&text, secret_bytes(password), secret_len(password));
    add_template(&text, p->recipe.suffix, user);
    if (text.error) return text.error;
    bool utf8 = p->recipe.charset == PROFILE_UTF8;
    int rc = utf8 ? 0 : to_utf16(&text, p->recipe.charset == PROFILE_UTF16BE, &wide);
    if (rc == 0) rc = hash_hex(utf8 ? &text : &wide, p->recipe.upper_hex, &hex);
    if (rc < 0) return rc;
    *ret_sent = secret_new(buf_str(&hex), hex.len);
    return *ret_sent ? 0 : ERR_NOMEM;
}

/* ---- addresses --------------------------------------------------------------------------------------------- */

int synergist_check_url(const struct profile *p, const char *base, const char **ret_reason)
{
    bool tls, loopback;
    *ret_reason = "the instance's address must be http(s)://HOST[:PORT][/PATH] without login, query and blanks";
    if (presigned_check_url(base, &tls, &loopback) < 0 || strpbrk(base, "?#")) return ERR_INVALID;
    *ret_reason = "the instance's address must be https:// (or the profile say \"plain_http\": \"anywhere\")";
    return tls || loopback || p->plain_http ? 0 : ERR_INVALID;
}

int synergist_url(const char *base, const char *area, struct buf *out)
{
    size_t len = strlen(base);
    while (len && base[len - 1] == '/') len--;
    (void)buf_add(out, base, len); /* errors stick */
    (void)buf_adds(out, "/jsonapi/");
    (void)buf_adds(out, area);
    return buf_adds(out, ".json");
}

/* ---- forms ------------------------------------------------------------------------------------------------- */

static void add_nonempty(struct formdata *f, const char *name, const char *value)
{
    if (value && *value) formdata_adds(f, name, value);
}

static void add_params(struct formdata *f, const struct profile_params *params)
{
    for (size_t i = 0; i < params->n; i++) formdata_adds(f, params->items[i].name, params->items[i].value);
}

/* What every call begins with. action: "" or NULL for none. */
static void begin(struct formdata *f, const struct profile *p, const struct synergist_login *l, const char *action)
{
    formdata_adds(f, "user", l->user);
    formdata_add(f, p->auth == PROFILE_AUTH_PASSWORD ? "password" : "sha512password", secret_bytes(l->password),
                 secret_len(l->password));
    formdata_adds(f, "version", p->version);
    add_nonempty(f, "company", p->company);
    add_nonempty(f, "action", action);
}

void synergist_form_version(struct formdata *f, const struct profile *p, const struct synergist_login *l)
{
    begin(f, p, l, "version");
}

void synergist_form_read_back(struct formdata *f, const struct profile *p, const struct synergist_login *l)
{
    begin(f, p, l, p->read_back.action);
    add_nonempty(f, "style", p->read_back.style);
    add_nonempty(f, "modelstructure", p->read_back.model);
    add_params(f, &p->read_back.params);
}

void synergist_form_presigned(struct formdata *f, const struct profile *p, const struct synergist_login *l,
                              const char *attachment_id)
{
    char rows[16];
    begin(f, p, l, NULL);
    if (attachment_id) { /* one record shows its details model by default (apidoc .../reference/using-models) */
        formdata_adds(f, "attachmentid", attachment_id);
        return;
    }
    add_nonempty(f, "style", p->presigned.style);
    add_nonempty(f, "modelstructure", p->presigned.model);
    (void)snprintf(rows, sizeof(rows), "%u", p->presigned.rows);
    if (p->presigned.attachment_id)
        formdata_adds(f, "attachmentid", p->presigned.attachment_id);
    else
        formdata_adds(f, "rows", rows);
    add_params(f, &p->presigned.params);
}

void synergist_form_test(struct formdata *f, const struct profile *p, const struct synergist_login *l)
{
    begin(f, p, l, p->test.action);
    add_params(f, &p->test.params);
}

static void add_member(struct buf *b, const char *name, const char *value, size_t len)
{
    if (b->data && b->data[b->len - 1] != '{') (void)buf_addc(b, ','); /* errors stick */
    formdata_json_string(b, name, strlen(name));
    (void)buf_addc(b, ':');
    formdata_json_string(b, value, len);
}

/* Record versions are numbers in every sample; as text only if it was no number when read. */
static void add_record_version(struct buf *b, const char *name, const char *value)
{
    size_t digits = strspn(value, "0123456789");
    if (digits == 0 || value[digits] || (value[0] == '0' && digits > 1)) {
        add_member(b, name, value, strlen(value));
        return;
    }
    if (b->data[b->len - 1] != '{') (void)buf_addc(b, ',');
    formdata_json_string(b, name, strlen(name));
    (void)buf_addf(b, ":%s", value);
}

void synergist_form_write(struct formdata *f, const struct profile *p, const struct synergist_login *l,
                          const char *key_id, const struct secret *secret, const char *id, const char *record_version)
{
    AUTO_BUF struct buf input;
    assert(p->can_write && key_id[0] && secret_len(secret));
    buf_init_secret(&input, 16384);
    (void)buf_adds(&input, "{\"data\":[{");
    if (id) add_member(&input, p->write.id_field, id, strlen(id));
    if (record_version && !input.error) add_record_version(&input, p->write.record_version_field, record_version);
    add_member(&input, p->write.key_id_field, key_id, strlen(key_id));
    add_member(&input, p->write.secret_field, secret_bytes(secret), secret_len(secret));
    (void)buf_adds(&input, "}]}");
    begin(f, p, l, p->write.action);
    add_params(f, &p->write.params);
    formdata_add(f, "input", buf_str(&input), input.len);
    if (input.error) f->body.error = input.error; /* a record that was cut must not go out */
}
