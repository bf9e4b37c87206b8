/* What an instance answered. Documented are: a JSON envelope (success, errorcode, data), and errors as XML at HTTP 404,
 * in two forms, even to JSON calls (apidoc.synergist.co.uk/v3.0/reference/overview, /reference/v30xxx-overview,
 * /v3/reference/test). Member names come in mixed case. In front of an instance stand proxies with pages of their own.
 *
 * One rule decides: a definite, documented error envelope is a refusal, which had no effect; a documented success at a
 * 2xx status is a success; everything else is "not understood" (ERR_INSTANCE_FAILURE, class UNKNOWN: read back). That
 * covers HTML, an empty body, a bare 404 (documented is 404 *with* XML, so this one came from something else on the
 * way, and for a write nobody knows how far that got), 5xx even with an envelope, and contradictions (success at a 404,
 * success with an error code, a member twice). Logins are the exception: 404001-404003 are always taken at their word,
 * as trying on could lock the account. Limits: replies up to what http lets through; invalid UTF-8 is replaced, as the
 * documentation names no charset. */
#include "lib/synergist_reply.h"

#include "lib/err.h"
#include "lib/json.h"
#include "lib/text.h"
#include "lib/xml.h"

#include <ctype.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define JSON_DEPTH_MAX 64

/* ---- JSON -------------------------------------------------------------------------------------------------- */

/* Refuses nesting that no envelope has before the recursive parser sees it. Braces in strings are not counted. */
static bool too_deep(const char *s, size_t len)
{
    unsigned depth = 0;
    bool in_string = false;
    for (size_t i = 0; i < len; i++) {
        if (in_string) {
            if (s[i] == '\\')
                i++;
            else if (s[i] == '"')
                in_string = false;
        } else if (s[i] == '"') {
            in_string = true;
        } else if (s[i] == '{' || s[i] == '[') {
            if (++depth > JSON_DEPTH_MAX) return true;
        } else if ((s[i] == '}' || s[i] == ']') && depth) {
            depth--;
        }
    }
    return false;
}

/* Length of the valid UTF-8 sequence at s (1..4), 0 when there is none. RFC 3629. */
static size_t utf8_length(const unsigned char *s, size_t left)
{
    if (s[0] < 0x80) return 1;
    size_t n = s[0] >= 0xc2 && s[0] <= 0xdf ? 2 : (s[0] & 0xf0) == 0xe0 ? 3 : s[0] >= 0xf0 && s[0] <= 0xf4 ? 4 : 0;
    if (n == 0 || n > left) return 0;
    for (size_t i = 1; i < n; i++)
        if ((s[i] & 0xc0) != 0x80) return 0;
    if (s[0] == 0xe0 && s[1] < 0xa0) return 0;
    if (s[0] == 0xed && s[1] > 0x9f) return 0; /* surrogates */
    if (s[0] == 0xf0 && s[1] < 0x90) return 0;
    if (s[0] == 0xf4 && s[1] > 0x8f) return 0;
    return n;
}

/* A copy with each invalid byte as "?". Secret buffer: the reply may hold one. */
static int repair_utf8(const char *text, size_t len, struct buf *out)
{
    for (size_t i = 0; i < len && !out->error;) {
        size_t n = utf8_length((const unsigned char *)text + i, len - i);
        (void)buf_add(out, n ? text + i : "?", n ? n : 1); /* the error sticks */
        i += n ? n : 1;
    }
    return out->error;
}

static json_t *parse_json(const char *text, size_t len)
{
    json_error_t at;
    if (too_deep(text, len)) return NULL;
    json_t *root = NULL;
    if (json_read(text, len, JSON_REJECT_DUPLICATES, &root, &at) == ERR_NOMEM) return NULL;
    if (root || json_error_code(&at) != json_error_invalid_utf8) return root;
    AUTO_BUF struct buf repaired;
    buf_init_secret(&repaired, len);
    if (repair_utf8(text, len, &repaired) < 0) return NULL;
    return json_read(buf_str(&repaired), repaired.len, JSON_REJECT_DUPLICATES, &root, &at) < 0 ? NULL : root;
}

const json_t *synergist_member(const json_t *obj, const char *name, bool *ret_ambiguous)
{
    const json_t *found = NULL;
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)obj, key, value)
    {
        if (strcasecmp(key, name) != 0) continue;
        if (found) {
            if (ret_ambiguous) *ret_ambiguous = true;
            return NULL;
        }
        found = value;
    }
    return found;
}

bool synergist_text(const json_t *value, char *out, size_t max)
{
    char number[32];
    const char *text = json_string_value(value);
    size_t len = json_string_length(value);
    if (json_is_boolean(value)) {
        text = json_is_true(value) ? "true" : "false";
        len = strlen(text);
    } else if (json_is_real(value)) { /* 13.1, as it was most likely written */
        len = (size_t)snprintf(number, sizeof(number), "%.6g", json_real_value(value));
        text = number;
    } else if (json_is_integer(value)) {
        len = (size_t)snprintf(number, sizeof(number), "%" JSON_INTEGER_FORMAT, json_integer_value(value));
        text = number;
    }
    if (!text || len >= max || strlen(text) != len) return false;
    memcpy(out, text, len + 1);
    return true;
}

/* success: true, "true" or 1; everything else that is there counts as false. */
static bool is_true(const json_t *v)
{
    const char *s = json_string_value(v);
    return json_is_true(v) || (s && strcasecmp(s, "true") == 0) || (json_is_integer(v) && json_integer_value(v) == 1);
}

/* ---- codes ------------------------------------------------------------------------------------------------- */

static bool has_code(const struct profile_codes *list, const char *code)
{
    for (size_t i = 0; i < list->n; i++)
        if (strcmp(list->items[i], code) == 0) return true;
    return false;
}

static bool is_login_code(const char *code)
{
    return strcmp(code, "404001") == 0 || strcmp(code, "404002") == 0 || strcmp(code, "404003") == 0;
}

/* 404500 is documented with the text "invalid action <name>"; a number alone, or other words, is a refusal of another
 * kind. */
static bool says_no_such_call(const char *code, const char *text)
{
    if (strcmp(code, "404004") == 0) return true;
    return strcmp(code, "404500") == 0 && (!text || !*text || strcasestr(text, "invalid action"));
}

/* A definite error envelope at this HTTP status. */
static void judge_error(const struct profile *p, int status, struct synergist_reply *r)
{
    if (is_login_code(r->code))
        r->err = ERR_INSTANCE_LOGIN;
    else if (status >= 500)
        r->err = ERR_INSTANCE_FAILURE; /* it broke on the way: how far it got is not known */
    else if (has_code(&p->locked, r->code) || has_code(&p->mismatch, r->code))
        r->err = ERR_BUSY;
    else if (has_code(&p->test_failed, r->code))
        r->err = ERR_INSTANCE_TEST;
    else
        r->err = ERR_INSTANCE_REFUSED; /* `denied` codes and all others */
    if (r->err != ERR_INSTANCE_REFUSED) return;
    r->denied = has_code(&p->denied, r->code);
    r->no_such_call = !r->denied && says_no_such_call(r->code, r->text);
}

static void judge_json(const struct profile *p, int status, const char *body, size_t len, struct synergist_reply *r)
{
    r->root = parse_json(body, len);
    if (!json_is_object(r->root)) return;
    bool ambiguous = false;
    const json_t *success = synergist_member(r->root, "success", &ambiguous);
    const json_t *code = synergist_member(r->root, "errorcode", &ambiguous);
    const json_t *text = synergist_member(r->root, "errormessage", &ambiguous);
    const json_t *data = synergist_member(r->root, "data", &ambiguous);
    bool odd_code = code && !json_is_null(code) && !synergist_text(code, r->code, sizeof(r->code));
    bool has_error = *r->code && strcmp(r->code, "0") != 0;
    if (!has_error) r->code[0] = '\0';
    if (json_is_string(text) && json_string_length(text))
        r->text = strdup(json_string_value(text)); /* NULL: no words then */
    if (is_login_code(r->code)) {
        r->err = ERR_INSTANCE_LOGIN;
        return;
    }
    bool succeeded = success ? is_true(success) : !has_error && data != NULL;
    if (odd_code || ambiguous || (success && succeeded && has_error) || (!success && !code))
        return; /* contradicts itself, or no envelope */
    if (succeeded && !has_error) {
        if (status / 100 == 2) r->err = 0;
        return;
    }
    judge_error(p, status, r);
}

/* ---- XML --------------------------------------------------------------------------------------------------- */

struct xml_envelope {
    struct synergist_reply *r;
    bool is_error, is_success, first_text;
};

static void set_code(struct synergist_reply *r, const char *code)
{
    size_t len = strlen(code);
    if (len < sizeof(r->code)) memcpy(r->code, code, len + 1);
}

static int on_enter(void *arg, const char *path)
{
    struct xml_envelope *e = arg;
    if (strcasecmp(path, "Responses/Error") == 0 || strcasecmp(path, "Errors/Error") == 0) e->is_error = true;
    if (strcasecmp(path, "Responses/Success") == 0) e->is_success = true;
    return 0;
}

static int on_attribute(void *arg, const char *path, const char *name, const char *value)
{
    struct xml_envelope *e = arg;
    if (strcasecmp(path, "Responses/Error") == 0 && strcasecmp(name, "ErrorID") == 0) set_code(e->r, value);
    return 0;
}

static int on_leaf(void *arg, const char *path, const char *text, size_t len)
{
    struct xml_envelope *e = arg;
    if (strcasecmp(path, "Errors/Error/ErrorID") == 0) set_code(e->r, text);
    bool is_text =
        strcasecmp(path, "Errors/Error/ErrorText") == 0 || strcasecmp(path, "Responses/Error/ErrorText") == 0;
    if (is_text && len && !e->r->text) e->r->text = strdup(text); /* NULL: no words then */
    return 0;
}

static bool is_number(const char *s)
{
    return *s && s[strspn(s, "0123456789")] == '\0';
}

static void judge_xml(const struct profile *p, int status, const char *body, size_t len, struct synergist_reply *r)
{
    struct xml_envelope e = {.r = r};
    struct xml_handler h = {.enter = on_enter, .leaf = on_leaf, .attribute = on_attribute, .arg = &e};
    int rc = xml_read(body, len, &h);
    if (rc < 0 || e.is_error == e.is_success || (e.is_error && !is_number(r->code))) {
        r->code[0] = '\0'; /* HTML, a broken document, none or both of the two forms: not understood */
        return;
    }
    if (e.is_error)
        judge_error(p, status, r);
    else if (status / 100 == 2)
        r->err = 0; /* an update's documented XML answer; it carries nothing that we read */
}

/* ---- the whole --------------------------------------------------------------------------------------------- */

void synergist_reply_read(const struct profile *p, int status, const char *body, size_t len,
                          struct synergist_reply *ret)
{
    *ret = (struct synergist_reply){.err = ERR_INSTANCE_FAILURE};
    if (len >= 3 && memcmp(body, "\xef\xbb\xbf", 3) == 0) { /* a byte order mark, which jansson does not skip */
        body += 3;
        len -= 3;
    }
    size_t blank = strspn(body, " \t\r\n");
    char first = blank < len ? body[blank] : '\0';
    if (status / 100 == 3) {
        ret->err = ERR_NET_REDIRECT; /* before any look at the body: nobody documented one here */
        return;
    }
    if (first == '{') /* by its first character: content types are not documented and sometimes wrong */
        judge_json(p, status, body, len, ret);
    else if (first == '<')
        judge_xml(p, status, body, len, ret);
    ret->not_ours = status == 404 && ret->err == ERR_INSTANCE_FAILURE && !ret->root;
}

/* jansson frees without wiping, and a read-back may show a secret: overwrites every string in place. */
static void wipe_strings(json_t *v)
{
    const char *key;
    json_t *child;
    size_t i;
    if (json_is_string(v)) secret_wipe((char *)(uintptr_t)json_string_value(v), json_string_length(v));
    json_array_foreach(v, i, child) wipe_strings(child);
    json_object_foreach(v, key, child) wipe_strings(child);
}

void synergist_reply_done(struct synergist_reply *r)
{
    wipe_strings(r->root);
    json_decref(r->root);
    if (r->text) secret_wipe(r->text, strlen(r->text));
    free(r->text);
    *r = (struct synergist_reply){0};
}

const json_t *synergist_record(const struct synergist_reply *r, size_t n)
{
    const json_t *data = synergist_member(r->root, "data", NULL);
    const json_t *record = json_is_array(data) ? json_array_get(data, n) : n == 0 ? data : NULL;
    return json_is_object(record) ? record : NULL;
}

/* ---- words for people -------------------------------------------------------------------------------------- */

#define WINDOW 8 /* this many bytes of a secret in a row count as the secret */

static bool holds_window(const char *text, size_t len, const char *bytes, size_t n)
{
    size_t window = n < WINDOW ? n : WINDOW;
    if (window < 4) return false; /* a password of three letters is in every sentence */
    for (size_t i = 0; i + window <= n; i++)
        if (memmem(text, len, bytes + i, window)) return true;
    return false;
}

static bool holds_secret(const char *text, size_t len, const struct secret *s)
{
    AUTO_BUF struct buf encoded;
    buf_init_secret(&encoded, 3 * secret_len(s));
    if (holds_window(text, len, secret_bytes(s), secret_len(s))) return true;
    if (buf_add_percent(&encoded, secret_bytes(s), secret_len(s)) < 0) return true; /* cannot tell: withhold */
    return holds_window(text, len, buf_str(&encoded), encoded.len);
}

void synergist_clean(const char *text, const struct secret *const *secrets, size_t n, char *out, size_t max)
{
    size_t len = text ? strlen(text) : 0, used = 0;
    for (size_t i = 0; i < n; i++) {
        if (!len || !secrets[i] || !holds_secret(text, len, secrets[i])) continue;
        text_copy(out, max, "(withheld: the reply repeats what was sent)");
        return;
    }
    for (size_t i = 0; i < len;) {
        size_t step = utf8_length((const unsigned char *)text + i, len - i);
        bool blank = step == 1 && (unsigned char)text[i] <= ' ';
        bool keep = step && text[i] != 0x7f && !(blank && (used == 0 || out[used - 1] == ' '));
        if (keep && used + step >= max) break;
        if (keep) {
            memcpy(out + used, blank ? " " : text + i, step);
            used += step;
        }
        i += step ? step : 1;
    }
    if (used && out[used - 1] == ' ') used--;
    out[used] = '\0';
}

/* ---- S3's answer to a presigned GET ------------------------------------------------------------------------ */

static void read_s3_code(const char *body, size_t len, char *code, size_t max)
{
    AUTO_BUF struct buf found;
    buf_init(&found, max - 1);
    if (xml_find(body, len, "Error/Code", &found) < 0 || found.len == 0) return;
    for (size_t i = 0; i < found.len; i++)
        if (!isalnum((unsigned char)found.data[i])) return;
    memcpy(code, found.data, found.len + 1);
}

int presigned_verdict(int status, const char *body, size_t len, char *code, size_t code_max)
{
    code[0] = '\0';
    if (status / 100 == 2 || status == 304 || status == 416)
        return 0; /* 416: an empty object and our Range; it was opened */
    if (status >= 400) read_s3_code(body, len, code, code_max);
    if (status / 100 == 3) return ERR_NET_REDIRECT;
    if (status == 404 && strcmp(code, "NoSuchKey") == 0)
        return 0; /* looked for with an accepted key: the object is gone */
    if (status == 404 && strcmp(code, "NoSuchBucket") == 0) return ERR_INSTANCE_TEST;
    return status == 400 || status == 401 || status == 403 ? ERR_INSTANCE_TEST : ERR_INSTANCE_FAILURE;
}
