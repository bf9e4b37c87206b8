/* Instance API profiles: JSON text into struct profile, and the set of them by name.
 *
 * A profile is written by a person and decides what is sent to a customer's system, so reading is strict: an unknown
 * member is an error (a misspelt "read_bakc" must not mean "off"), names that go on the wire hold harmless characters
 * only, and the reason names the file, the member and what is allowed. The JSON document stays alive behind the
 * structure, which borrows its strings. The shipped profiles are compiled in from deploy/profiles, byte for byte.
 * Limits: 256 KiB a file; files are read once, at start. schema/profile.schema.json states the same rules; what a
 * schema cannot say (members that need each other) is checked in check_whole(). */
#include "lib/profile.h"

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/profile_data.h" /* generated, cmake/embed_profiles.cmake */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#define FILE_MAX     ((size_t)256 * 1024)
#define REASON_MAX   1024
#define NAME_MAX_LEN 64
#define TEXT_MAX_LEN 256

struct entry {
    json_t *root; /* owns the strings of p */
    bool from_dir;
    struct profile p;
};
struct profiles {
    struct entry **entries; /* by name, ascending */
    size_t n;
};

/* Where we are, for the reason; the first failure is kept. */
struct reader {
    const char *file;
    struct buf reason;
    int err;
};

static int PRINTF_LIKE(3, 4) reject(struct reader *r, const char *member, const char *fmt, ...)
{
    if (r->err) return r->err;
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* cut is fine: it is a message */
    va_end(args);
    (void)buf_addf(&r->reason, "%s: %s: %s", r->file, member, text); /* no memory for it: the code alone tells */
    return r->err = ERR_INVALID;
}

/* ---- values ---------------------------------------------------------------------------------------------- */

/* Letters, digits, _ . - : safe as a parameter name, in a path and in a multipart header. */
static bool is_word(const char *s)
{
    size_t n = strspn(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-");
    return n > 0 && n <= NAME_MAX_LEN && s[n] == '\0' && !strstr(s, "..");
}

static bool is_code(const char *s)
{
    size_t n = strspn(s, "0123456789");
    return n > 0 && n <= 12 && s[n] == '\0';
}

static void check_members(struct reader *r, const json_t *obj, const char *path, const char *const *known)
{
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)obj, key, value)
    {
        const char *const *k = known;
        while (*k && strcmp(*k, key) != 0) k++;
        if (!*k) (void)reject(r, path, "unknown member \"%.64s\"", key);
    }
}

/* A sub-object, NULL when absent. */
static const json_t *get_object(struct reader *r, const json_t *obj, const char *path, const char *key)
{
    const json_t *v = json_object_get(obj, key);
    if (!v) return NULL;
    if (json_is_object(v)) return v;
    (void)reject(r, path, "must be an object");
    return NULL;
}

/* A section that is an object or the word "off" (the same as absent). */
static const json_t *get_section(struct reader *r, const json_t *root, const char *key)
{
    const json_t *v = json_object_get(root, key);
    if (!v || json_is_object(v)) return v;
    if (!json_is_string(v) || strcmp(json_string_value(v), "off") != 0)
        (void)reject(r, key, "must be an object or \"off\"");
    return NULL;
}

static const char *get_text(struct reader *r, const json_t *obj, const char *path, const char *key,
                            const char *fallback)
{
    const json_t *v = json_object_get(obj, key);
    if (!v) return fallback;
    if (!json_is_string(v) || json_string_length(v) > TEXT_MAX_LEN) {
        (void)reject(r, path, "\"%s\" must be a string of at most %d bytes", key, TEXT_MAX_LEN);
        return fallback;
    }
    return json_string_value(v);
}

/* A name; required when fallback is NULL and need is set. */
static const char *get_word(struct reader *r, const json_t *obj, const char *path, const char *key,
                            const char *fallback, bool need)
{
    const char *s = get_text(r, obj, path, key, NULL);
    if (!s) {
        if (need && !fallback) (void)reject(r, path, "\"%s\" is required", key);
        return fallback;
    }
    if (!is_word(s)) (void)reject(r, path, "\"%s\" must be 1 to %d of A-Za-z0-9_.- without \"..\"", key, NAME_MAX_LEN);
    return s;
}

/* One of the names; its index. */
static unsigned get_choice(struct reader *r, const json_t *obj, const char *path, const char *key,
                           const char *const *names, unsigned fallback)
{
    const char *s = get_text(r, obj, path, key, NULL);
    if (!s) return fallback;
    for (unsigned i = 0; names[i]; i++)
        if (strcmp(names[i], s) == 0) return i;
    (void)reject(r, path, "\"%s\": \"%.64s\" is not known; the first allowed value is \"%s\"", key, s, names[0]);
    return fallback;
}

static int64_t get_int(struct reader *r, const json_t *obj, const char *path, const char *key, int64_t min, int64_t max,
                       int64_t fallback)
{
    const json_t *v = json_object_get(obj, key);
    if (!v) return fallback;
    if (!json_is_integer(v) || json_integer_value(v) < min || json_integer_value(v) > max) {
        (void)reject(r, path, "\"%s\" must be a whole number from %lld to %lld", key, (long long)min, (long long)max);
        return fallback;
    }
    return json_integer_value(v);
}

/* Parameters that a call sets itself may not be set beside it. */
static bool is_reserved(const char *name)
{
    static const char *const reserved[] = {"user",   "password", "sha512password", "md5password", "version",
                                           "action", "input",    "company",        "style",       "modelstructure"};
    for (size_t i = 0; i < ARRAY_LEN(reserved); i++)
        if (strcasecmp(reserved[i], name) == 0) return true;
    return false;
}

static void read_params(struct reader *r, const json_t *section, const char *path, struct profile_params *ret)
{
    const json_t *obj = get_object(r, section, path, "params");
    const char *key;
    json_t *value;
    if (!obj) return;
    json_object_foreach((json_t *)(uintptr_t)obj, key, value)
    {
        if (!is_word(key) || is_reserved(key)) {
            (void)reject(r, path, "params: the name \"%.64s\" is not allowed (keyroll sets it, or its characters)",
                         key);
        } else if (!json_is_string(value) || json_string_length(value) > TEXT_MAX_LEN) {
            (void)reject(r, path, "params: \"%s\" must be a string of at most %d bytes", key, TEXT_MAX_LEN);
        } else if (ret->n == PROFILE_PARAMS_MAX) {
            (void)reject(r, path, "params: more than %d", PROFILE_PARAMS_MAX);
        } else {
            ret->items[ret->n].name = key;
            ret->items[ret->n++].value = json_string_value(value);
        }
    }
}

static void read_codes(struct reader *r, const json_t *errors, const char *key, struct profile_codes *ret)
{
    const json_t *list = json_object_get(errors, key);
    if (!list) return;
    if (!json_is_array(list) || json_array_size(list) > PROFILE_CODES_MAX) {
        (void)reject(r, "errors", "\"%s\" must be a list of at most %d codes", key, PROFILE_CODES_MAX);
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *code = json_string_value(json_array_get(list, i));
        if (!code || !is_code(code))
            (void)reject(r, "errors", "\"%s\": a code is a string of 1 to 12 digits", key);
        else
            ret->items[ret->n++] = code;
    }
}

/* ---- sections, in the order of the file ------------------------------------------------------------------- */

static void read_api(struct reader *r, const json_t *root, struct profile *p)
{
    static const char *const known[] = {"version", "format", "encoding", NULL};
    static const char *const formats[] = {"jsonapi", NULL};
    static const char *const encodings[] = {"multipart", "urlencoded", NULL};
    const json_t *api = get_object(r, root, "api", "api");
    if (api) check_members(r, api, "api", known);
    p->version = get_word(r, api, "api", "version", "4", false);
    (void)get_choice(r, api, "api", "format", formats, 0); /* the only one there is: named so that others may follow */
    p->encoding = (enum profile_encoding)get_choice(r, api, "api", "encoding", encodings, PROFILE_MULTIPART);
}

static void read_auth(struct reader *r, const json_t *root, struct profile *p)
{
    static const char *const known[] = {"mode", "recipe", NULL};
    static const char *const known_recipe[] = {"encoding", "hex_case", "prefix", "suffix", NULL};
    static const char *const modes[] = {"password", "sha512password", NULL};
    static const char *const charsets[] = {"utf-8", "utf-16le", "utf-16be", NULL};
    static const char *const cases[] = {"lower", "upper", NULL};
    const json_t *auth = get_object(r, root, "auth", "auth");
    if (auth) check_members(r, auth, "auth", known);
    p->auth = (enum profile_auth)get_choice(r, auth, "auth", "mode", modes, PROFILE_AUTH_PASSWORD);
    const json_t *recipe = get_object(r, auth, "auth.recipe", "recipe");
    if (recipe) check_members(r, recipe, "auth.recipe", known_recipe);
    p->recipe.charset = (enum profile_charset)get_choice(r, recipe, "auth.recipe", "encoding", charsets, PROFILE_UTF8);
    p->recipe.upper_hex = get_choice(r, recipe, "auth.recipe", "hex_case", cases, 0) == 1;
    p->recipe.prefix = get_text(r, recipe, "auth.recipe", "prefix", "");
    p->recipe.suffix = get_text(r, recipe, "auth.recipe", "suffix", "");
}

static void read_identifier(struct reader *r, const json_t *write, struct profile *p)
{
    static const char *const known[] = {"field", "value", "from", "member", NULL};
    static const char *const sources[] = {"version", NULL};
    const json_t *id = get_object(r, write, "write.identifier", "identifier");
    if (!id) return;
    check_members(r, id, "write.identifier", known);
    p->write.id_field = get_word(r, id, "write.identifier", "field", NULL, true);
    p->write.id_value = get_text(r, id, "write.identifier", "value", NULL);
    (void)get_choice(r, id, "write.identifier", "from", sources, 0);
    bool from = json_object_get(id, "from") != NULL;
    if (from == (p->write.id_value != NULL))
        (void)reject(r, "write.identifier", "give either \"value\" or \"from\": \"version\"");
    if (p->write.id_value && !*p->write.id_value) (void)reject(r, "write.identifier", "\"value\" is empty");
    p->write.id_member = get_word(r, id, "write.identifier", "member", from ? "uuid" : NULL, false);
    if (!from && p->write.id_member) (void)reject(r, "write.identifier", "\"member\" belongs to \"from\"");
}

static void read_write(struct reader *r, const json_t *root, struct profile *p)
{
    static const char *const known[] = {
        "area", "action", "key_id_field", "secret_field", "identifier", "record_version_field", "params", NULL};
    const json_t *w = get_section(r, root, "write");
    if (!w) return;
    check_members(r, w, "write", known);
    p->can_write = true;
    p->write.area = get_word(r, w, "write", "area", NULL, true);
    p->write.action = get_word(r, w, "write", "action", "update", false);
    p->write.key_id_field = get_word(r, w, "write", "key_id_field", NULL, true);
    p->write.secret_field = get_word(r, w, "write", "secret_field", NULL, true);
    p->write.record_version_field = get_word(r, w, "write", "record_version_field", NULL, false);
    read_identifier(r, w, p);
    read_params(r, w, "write", &p->write.params);
}

static void read_read_back(struct reader *r, const json_t *root, struct profile *p)
{
    static const char *const known[] = {"area", "action", "style", "model", "field", "params", NULL};
    const json_t *b = get_section(r, root, "read_back");
    if (!b) return;
    check_members(r, b, "read_back", known);
    p->can_read_back = true;
    p->read_back.area = get_word(r, b, "read_back", "area", NULL, true);
    p->read_back.action = get_word(r, b, "read_back", "action", "", false);
    p->read_back.style = get_word(r, b, "read_back", "style", "modeldata", false);
    p->read_back.model = get_word(r, b, "read_back", "model", "", false);
    p->read_back.field = get_word(r, b, "read_back", "field", NULL, true);
    read_params(r, b, "read_back", &p->read_back.params);
}

static void read_fields(struct reader *r, const json_t *section, struct profile *p)
{
    const json_t *list = json_object_get(section, "fields");
    if (!json_is_array(list) || json_array_size(list) < 1 || json_array_size(list) > PROFILE_FIELDS_MAX) {
        (void)reject(r, "presigned", "\"fields\" must be a list of 1 to %d names", PROFILE_FIELDS_MAX);
        return;
    }
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        if (!name || !is_word(name)) {
            (void)reject(r, "presigned", "\"fields\": a name is 1 to %d of A-Za-z0-9_.-", NAME_MAX_LEN);
            return;
        }
        p->presigned.fields[p->presigned.n_fields++] = name;
    }
}

static void read_presigned(struct reader *r, const json_t *root, struct profile *p)
{
    static const char *const known[] = {"area",   "style",  "model", "attachment_id", "rows", "id_field",
                                        "fields", "params", NULL};
    const json_t *s = get_section(r, root, "presigned");
    if (!s) return;
    check_members(r, s, "presigned", known);
    p->can_presign = true;
    p->presigned.area = get_word(r, s, "presigned", "area", NULL, true);
    p->presigned.style = get_word(r, s, "presigned", "style", "", false);
    p->presigned.model = get_word(r, s, "presigned", "model", "", false);
    p->presigned.attachment_id = get_word(r, s, "presigned", "attachment_id", NULL, false);
    p->presigned.id_field = get_word(r, s, "presigned", "id_field", NULL, false);
    p->presigned.rows = (unsigned)get_int(r, s, "presigned", "rows", 1, 100, 1);
    read_fields(r, s, p);
    read_params(r, s, "presigned", &p->presigned.params);
}

static void read_success(struct reader *r, const json_t *test, struct profile *p)
{
    static const char *const known[] = {"rule", "member", "equals", NULL};
    static const char *const rules[] = {"envelope", "member", NULL};
    const json_t *s = get_object(r, test, "test.success", "success");
    if (s) check_members(r, s, "test.success", known);
    p->test.success = (enum profile_success)get_choice(r, s, "test.success", "rule", rules, PROFILE_SUCCESS_ENVELOPE);
    bool by_member = p->test.success == PROFILE_SUCCESS_MEMBER;
    p->test.member = get_word(r, s, "test.success", "member", NULL, by_member);
    p->test.equals = get_text(r, s, "test.success", "equals", NULL);
    if (by_member && !p->test.equals) (void)reject(r, "test.success", "\"equals\" is required by the rule \"member\"");
    if (!by_member && (p->test.member || p->test.equals))
        (void)reject(r, "test.success", "\"member\" and \"equals\" belong to the rule \"member\"");
}

static void read_test(struct reader *r, const json_t *root, struct profile *p)
{
    static const char *const known[] = {"area", "action", "success", "params", NULL};
    const json_t *t = json_object_get(root, "test");
    const char *word = json_string_value(t);
    if (!t || (word && strcmp(word, "off") == 0)) return;
    if (word && strcmp(word, "presigned") == 0) {
        p->test_by = PROFILE_TEST_PRESIGNED;
        return;
    }
    if (!json_is_object(t)) {
        (void)reject(r, "test", "must be an object, \"presigned\" or \"off\"");
        return;
    }
    check_members(r, t, "test", known);
    p->test_by = PROFILE_TEST_CALL;
    p->test.area = get_word(r, t, "test", "area", NULL, true);
    p->test.action = get_word(r, t, "test", "action", NULL, true);
    read_success(r, t, p);
    read_params(r, t, "test", &p->test.params);
}

static void read_limits(struct reader *r, const json_t *root, struct profile *p)
{
    static const char *const known_errors[] = {"locked", "mismatch", "denied", "test_failed", NULL};
    static const char *const known_retry[] = {"busy_ms", "failure_ms", NULL};
    static const char *const known_times[] = {"read", "write", "test", NULL};
    const json_t *e = get_object(r, root, "errors", "errors");
    if (e) check_members(r, e, "errors", known_errors);
    read_codes(r, e, "locked", &p->locked);
    read_codes(r, e, "mismatch", &p->mismatch);
    read_codes(r, e, "denied", &p->denied);
    read_codes(r, e, "test_failed", &p->test_failed);
    const json_t *retry = get_object(r, root, "retry", "retry");
    if (retry) check_members(r, retry, "retry", known_retry);
    p->busy_after_ms = get_int(r, retry, "retry", "busy_ms", 0, 3600000, 5000);
    p->failure_after_ms = get_int(r, retry, "retry", "failure_ms", 0, 3600000, 10000);
    const json_t *t = get_object(r, root, "timeouts_ms", "timeouts_ms");
    if (t) check_members(r, t, "timeouts_ms", known_times);
    p->read_timeout_ms = get_int(r, t, "timeouts_ms", "read", 100, 600000, 10000);
    p->write_timeout_ms = get_int(r, t, "timeouts_ms", "write", 100, 600000, 10000);
    p->test_timeout_ms = get_int(r, t, "timeouts_ms", "test", 100, 600000, 30000);
    p->write_life_ms = get_int(r, root, "profile", "write_life_ms", 1000, 86400000, 120000);
}

static void read_switches(struct reader *r, const json_t *root, struct profile *p)
{
    static const char *const plain[] = {"loopback", "anywhere", NULL};
    p->company = get_word(r, root, "profile", "company", NULL, false);
    p->plain_http = get_choice(r, root, "profile", "plain_http", plain, 0) == 1;
    (void)get_text(r, root, "profile", "description", "");
    const json_t *assisted = json_object_get(root, "assisted");
    if (assisted && !json_is_boolean(assisted)) (void)reject(r, "assisted", "must be true or false");
    if (json_is_true(assisted) && p->can_write) (void)reject(r, "assisted", "is true, but \"write\" is not \"off\"");
    if (!json_is_true(assisted) && !p->can_write)
        (void)reject(r, "write", "is missing; without write permission say \"write\": \"off\" and \"assisted\": true");
}

/* What members need of each other. */
static void check_whole(struct reader *r, const struct profile *p)
{
    if (p->can_write && strcasecmp(p->write.key_id_field, p->write.secret_field) == 0)
        (void)reject(r, "write", "key_id_field and secret_field are the same");
    if (p->can_write && p->write.id_field &&
        (strcasecmp(p->write.id_field, p->write.key_id_field) == 0 ||
         strcasecmp(p->write.id_field, p->write.secret_field) == 0))
        (void)reject(r, "write.identifier", "the field is one of those that are written");
    if (p->can_write && p->write.record_version_field && !p->can_read_back)
        (void)reject(r, "write", "record_version_field needs read_back, which reads it");
    if (p->can_read_back && p->can_write && strcasecmp(p->read_back.field, p->write.secret_field) == 0)
        (void)reject(r, "read_back", "the field is that of the secret; it must be that of the key id");
    if (p->test_by == PROFILE_TEST_PRESIGNED && !p->can_presign)
        (void)reject(r, "test", "\"presigned\" needs the section presigned");
    if (p->write_life_ms < p->write_timeout_ms) (void)reject(r, "write_life_ms", "is shorter than timeouts_ms.write");
}

static int read_profile(struct reader *r, const json_t *root, struct profile *p)
{
    static const char *const known[] = {
        "$schema",   "name",      "description", "api",    "auth",  "company",     "plain_http",    "assisted", "write",
        "read_back", "presigned", "test",        "errors", "retry", "timeouts_ms", "write_life_ms", NULL};
    if (!json_is_object(root)) return reject(r, "profile", "must be a JSON object");
    check_members(r, root, "profile", known);
    p->name = get_word(r, root, "profile", "name", NULL, true);
    read_api(r, root, p);
    read_auth(r, root, p);
    read_write(r, root, p);
    read_read_back(r, root, p);
    read_presigned(r, root, p);
    read_test(r, root, p);
    read_limits(r, root, p);
    read_switches(r, root, p);
    if (!r->err) check_whole(r, p);
    return r->err;
}

/* ---- the set ---------------------------------------------------------------------------------------------- */

static void entry_free(struct entry *e)
{
    if (!e) return;
    json_decref(e->root);
    free(e);
}

static void entry_freep(struct entry **e)
{
    entry_free(*e);
}

static size_t place_of(const struct profiles *p, const char *name, bool *ret_there)
{
    size_t at = 0;
    while (at < p->n && strcmp(p->entries[at]->p.name, name) < 0) at++;
    *ret_there = at < p->n && strcmp(p->entries[at]->p.name, name) == 0;
    return at;
}

/* Takes the entry over, also when it fails. */
static int insert(struct profiles *p, struct entry *fresh)
{
    CLEANUP(entry_freep) struct entry *e = fresh;
    bool there;
    size_t at = place_of(p, e->p.name, &there);
    if (there) {
        entry_free(p->entries[at]);
        p->entries[at] = TAKE(e);
        return 0;
    }
    struct entry **grown = realloc(p->entries, (p->n + 1) * sizeof(*grown));
    if (!grown) return ERR_NOMEM;
    memmove(grown + at + 1, grown + at, (p->n - at) * sizeof(*grown));
    grown[at] = TAKE(e);
    p->entries = grown;
    p->n++;
    return 0;
}

static int add(struct profiles *p, const char *text, size_t len, bool from_dir, struct reader *r)
{
    CLEANUP(entry_freep) struct entry *e = calloc(1, sizeof(*e));
    json_error_t at;
    if (!e) return ERR_NOMEM;
    e->from_dir = from_dir;
    int rc = json_read_kept(text, len, JSON_REJECT_DUPLICATES, &e->root, &at);
    if (rc == ERR_SYNTAX)
        (void)buf_addf(&r->reason, "%s: line %d, column %d: %s", r->file, at.line, at.column, at.text);
    if (rc < 0) return rc;
    rc = read_profile(r, e->root, &e->p);
    if (rc < 0) return rc;
    bool there;
    size_t place = place_of(p, e->p.name, &there);
    if (from_dir && there && p->entries[place]->from_dir)
        return reject(r, "name", "another file of this folder has the name \"%s\" too", e->p.name);
    return insert(p, TAKE(e));
}

int profiles_add(struct profiles *p, const char *text, size_t len, const char *where, char **ret_reason)
{
    struct reader r = {.file = where};
    buf_init(&r.reason, REASON_MAX);
    int rc = add(p, text, len, false, &r);
    if (rc < 0 && ret_reason && r.reason.len) *ret_reason = buf_take(&r.reason);
    buf_done(&r.reason);
    return rc;
}

static int read_file(const char *path, char **ret_text, size_t *ret_len)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
    AUTO_FREE char *text = malloc(FILE_MAX + 1);
    size_t len = 0;
    ssize_t got = text ? 1 : -1;
    while (got > 0 && len <= FILE_MAX) {
        got = read(fd, text + len, FILE_MAX + 1 - len);
        if (got < 0 && errno == EINTR)
            got = 1;
        else if (got > 0)
            len += (size_t)got;
    }
    (void)close(fd); /* only read from */
    if (!text) return ERR_NOMEM;
    if (got < 0) return ERR_IO;
    if (len > FILE_MAX) return ERR_TOO_LARGE;
    *ret_text = TAKE(text);
    *ret_len = len;
    return 0;
}

static int add_file(struct profiles *p, const char *dir, const char *name, char **ret_reason)
{
    AUTO_BUF struct buf path;
    buf_init(&path, 4096);
    struct reader r = {.file = name};
    buf_init(&r.reason, REASON_MAX);
    AUTO_FREE char *text = NULL;
    size_t len = 0;
    int rc = buf_addf(&path, "%s/%s", dir, name);
    if (rc == 0) rc = read_file(buf_str(&path), &text, &len);
    if (rc < 0)
        (void)buf_addf(&r.reason, "%s: %s", buf_str(&path), err_text(rc));
    else
        rc = add(p, text, len, true, &r);
    if (rc < 0 && r.reason.len) *ret_reason = buf_take(&r.reason);
    buf_done(&r.reason);
    return rc;
}

static int is_profile_file(const struct dirent *d)
{
    size_t n = strlen(d->d_name);
    return d->d_name[0] != '.' && n > 5 && strcmp(d->d_name + n - 5, ".json") == 0;
}

static int add_dir(struct profiles *p, const char *dir, char **ret_reason)
{
    struct dirent **list = NULL;
    int n = scandir(dir, &list, is_profile_file, alphasort);
    if (n < 0) {
        int rc = errno == ENOMEM ? ERR_NOMEM : errno == ENOENT ? ERR_NOT_FOUND : ERR_IO;
        if (asprintf(ret_reason, "%s: the folder of profiles cannot be read: %s", dir, strerror(errno)) < 0)
            *ret_reason = NULL;
        return rc;
    }
    int rc = 0;
    for (int i = 0; i < n; i++) {
        if (rc == 0) rc = add_file(p, dir, list[i]->d_name, ret_reason);
        free(list[i]);
    }
    free(list);
    return rc;
}

static void profiles_freep(struct profiles **p)
{
    profiles_free(*p);
}

int profiles_load(const char *dir, struct profiles **ret_profiles, char **ret_reason)
{
    CLEANUP(profiles_freep) struct profiles *p = calloc(1, sizeof(*p));
    AUTO_FREE char *reason = NULL;
    int rc = p ? 0 : ERR_NOMEM;
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(profile_data); i++)
        rc = profiles_add(p, (const char *)profile_data[i].text, profile_data[i].len, profile_data[i].name, &reason);
    if (rc == 0 && dir) rc = add_dir(p, dir, &reason);
    if (rc < 0) {
        if (ret_reason) *ret_reason = TAKE(reason);
        return rc;
    }
    *ret_profiles = TAKE(p);
    return 0;
}

void profiles_free(struct profiles *p)
{
    if (!p) return;
    for (size_t i = 0; i < p->n; i++) entry_free(p->entries[i]);
    free(p->entries);
    free(p);
}

const struct profile *profiles_find(const struct profiles *p, const char *name)
{
    bool there;
    if (!name) return NULL;
    size_t at = place_of(p, name, &there);
    return there ? &p->entries[at]->p : NULL;
}

const char *profiles_name(const struct profiles *p, size_t n)
{
    return n < p->n ? p->entries[n]->p.name : NULL;
}

void profile_abilities(const struct profile *p, struct instance_abilities *ret)
{
    *ret = (struct instance_abilities){
        .can_write = p->can_write,
        .can_read = p->can_read_back || p->can_presign,
        .can_test = p->test_by != PROFILE_TEST_OFF,
        .write_life_ms = p->write_life_ms,
        .write_timeout_ms = p->write_timeout_ms,
        .read_timeout_ms = p->read_timeout_ms,
        .test_timeout_ms = p->test_timeout_ms,
    };
}
