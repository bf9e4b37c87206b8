/* Settings read from a file, the environment and flags into a struct, all by one table.
 *
 * Each source is read whole, in rising order of precedence, and each value is checked when it is read, also one that a
 * later source overrides: a wrong line in a file is told even while a flag hides it. Where each value came from is
 * kept, because some may not come from everywhere (secrets never from flags, where any user of the machine can see
 * them).
 *
 * An error is one line: where it stands, which setting, what is wrong, what to write. Values are quoted in it only
 * where they cannot be secret. Unknown names in a file and unknown flags of the form --kafka. are errors; unknown
 * variables are not (see the header), and other unknown flags are left to the command. Not thread-safe; used at start
 * only. */
#include "lib/settings.h"

#include "lib/err.h"
#include "lib/secret.h"
#include "lib/settings_value.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define FILE_MAX_BYTES (1 << 20)
#define NAME_MAX_BYTES 64
#define WHERE_MAX      4200 /* a path and a line number */

struct settings_origin {
    enum settings_source source;
    int line; /* in the settings file being read; 0: not from it */
};

/* Fills *reterr with one line and returns rc. */
static int fail(int rc, char **reterr, const char *fmt, ...) PRINTF_LIKE(3, 4);
static int fail(int rc, char **reterr, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    if (vasprintf(reterr, fmt, args) < 0) *reterr = NULL;
    va_end(args);
    return rc;
}

static int no_memory(char **reterr)
{
    *reterr = NULL;
    return ERR_NOMEM;
}

/* Names are compared with - and _ as the same letter. */
static bool same_name(const char *a, const char *b, size_t b_len)
{
    for (size_t i = 0; i < b_len; i++)
        if (!a[i] || a[i] != (b[i] == '-' ? '_' : b[i])) return false;
    return !a[b_len];
}

static const struct setting *find(const struct settings *s, const char *name, size_t len)
{
    for (size_t i = 0; i < s->n_rows; i++)
        if (same_name(s->rows[i].name, name, len)) return &s->rows[i];
    return NULL;
}

const struct setting *settings_find(const struct settings *s, const char *name)
{
    return find(s, name, strlen(name));
}

/* Edit distance of two short names; a long one counts as far away. */
static size_t distance(const char *a, const char *b)
{
    size_t row[NAME_MAX_BYTES + 1], n = strlen(b);
    if (n > NAME_MAX_BYTES || strlen(a) > NAME_MAX_BYTES) return NAME_MAX_BYTES;
    for (size_t j = 0; j <= n; j++) row[j] = j;
    for (size_t i = 1; a[i - 1]; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= n; j++) {
            char c = b[j - 1] == '-' ? '_' : b[j - 1];
            size_t change = diagonal + (a[i - 1] != c), one_off = (row[j] < row[j - 1] ? row[j] : row[j - 1]) + 1;
            diagonal = row[j];
            row[j] = change < one_off ? change : one_off;
        }
    }
    return row[n];
}

const struct setting *settings_suggest(const struct settings *s, const char *name)
{
    const struct setting *best = NULL;
    size_t least = 4;
    for (size_t i = 0; i < s->n_rows; i++) {
        size_t d = distance(s->rows[i].name, name);
        if (d < least && d < strlen(name)) {
            least = d;
            best = &s->rows[i];
        }
    }
    return best;
}

int settings_init(struct settings *s, const struct setting *rows, size_t n_rows, void *target)
{
    *s = (struct settings){.rows = rows, .n_rows = n_rows, .target = target, .env_prefix = "KEYROLL_", .programs = ~0u};
    s->origins = calloc(n_rows ? n_rows : 1, sizeof *s->origins);
    if (!s->origins) return ERR_NOMEM;
    for (size_t i = 0; i < n_rows; i++) {
        char why[SETTINGS_WHY_MAX] = "";
        int rc = rows[i].fallback ? settings_value_set(&rows[i], target, rows[i].fallback, "~", why) : 0;
        assert(rc == 0 || rc == ERR_NOMEM); /* a default that the table itself refuses is our bug */
        if (rc < 0) return rc;
    }
    return 0;
}

static void pair_done(struct settings_pair *p)
{
    free(p->name);
    if (p->value) secret_wipe(p->value, strlen(p->value));
    free(p->value);
}

void settings_done(struct settings *s)
{
    for (size_t i = 0; i < s->n_rows; i++) settings_value_done(&s->rows[i], s->target);
    for (size_t i = 0; i < s->n_pairs; i++) pair_done(&s->pairs[i]);
    free(s->pairs);
    free(s->pair_origins);
    free(s->origins);
    *s = (struct settings){0};
}

/* Where a value stands, for messages: "FILE:12", "environment variable X" or "flag --x". */
struct place {
    enum settings_source source;
    const char *where;
    int line;
};

static int set_row(struct settings *s, const struct setting *row, const char *value, const struct place *at,
                   char **reterr)
{
    char why[SETTINGS_WHY_MAX] = "";
    struct settings_origin *origin = &s->origins[row - s->rows];
    if (at->line && origin->line)
        return fail(ERR_INVALID, reterr, "%s: %s is set twice, first in line %d: keep one of the two", at->where,
                    row->name, origin->line);
    int rc = settings_value_set(row, s->target, value, s->home, why);
    if (rc == ERR_NOMEM) return no_memory(reterr);
    if (rc < 0 && row->type == SETTING_SECRET) return fail(rc, reterr, "%s: %s: %s", at->where, row->name, why);
    if (rc < 0) return fail(rc, reterr, "%s: %s = \"%.80s\": %s", at->where, row->name, value, why);
    *origin = (struct settings_origin){at->source, at->line};
    return 0;
}

/* Grows both arrays of passed-through settings by one empty pair. */
static struct settings_pair *pair_add(struct settings *s)
{
    struct settings_pair *pairs = realloc(s->pairs, (s->n_pairs + 1) * sizeof *pairs);
    if (!pairs) return NULL;
    s->pairs = pairs;
    struct settings_origin *origins = realloc(s->pair_origins, (s->n_pairs + 1) * sizeof *origins);
    if (!origins) return NULL;
    s->pair_origins = origins;
    pairs[s->n_pairs] = (struct settings_pair){0};
    origins[s->n_pairs] = (struct settings_origin){0};
    return &pairs[s->n_pairs];
}

static int set_pair(struct settings *s, const char *name, const char *value, const struct place *at, char **reterr)
{
    if (!*name || strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789._") != strlen(name))
        return fail(ERR_INVALID, reterr,
                    "%s: %s%.60s: write a property of librdkafka in lower case, for example %sclient.rack", at->where,
                    s->pass_prefix, name, s->pass_prefix);
    struct settings_pair made = {strdup(name), strdup(value)};
    if (!made.name || !made.value) {
        pair_done(&made);
        return no_memory(reterr);
    }
    size_t i = 0;
    while (i < s->n_pairs && strcmp(s->pairs[i].name, name) != 0) i++;
    if (i < s->n_pairs && at->line && s->pair_origins[i].line) {
        pair_done(&made);
        return fail(ERR_INVALID, reterr, "%s: %s%s is set twice, first in line %d: keep one of the two", at->where,
                    s->pass_prefix, name, s->pair_origins[i].line);
    }
    if (i == s->n_pairs) {
        if (!pair_add(s)) {
            pair_done(&made);
            return no_memory(reterr);
        }
        s->n_pairs++;
    }
    pair_done(&s->pairs[i]);
    s->pairs[i] = made;
    s->pair_origins[i] = (struct settings_origin){at->source, at->line};
    return 0;
}

static bool is_passed_through(const struct settings *s, const char *name)
{
    return s->pass_prefix && strncmp(name, s->pass_prefix, strlen(s->pass_prefix)) == 0;
}

static int unknown_name(const struct settings *s, const char *where, const char *name, char **reterr)
{
    const struct setting *near = settings_suggest(s, name);
    return fail(ERR_INVALID, reterr, "%s: unknown setting \"%.60s\"%s%s%s", where, name, near ? ", did you mean " : "",
                near ? near->name : ": --help lists them all", near ? "?" : "");
}

int settings_set(struct settings *s, const char *name, const char *value, enum settings_source source,
                 const char *where, char **reterr)
{
    struct place at = {source, where, 0};
    if (is_passed_through(s, name)) return set_pair(s, name + strlen(s->pass_prefix), value, &at, reterr);
    const struct setting *row = settings_find(s, name);
    return row ? set_row(s, row, value, &at, reterr) : unknown_name(s, where, name, reterr);
}

enum settings_source settings_source(const struct settings *s, const char *name)
{
    const struct setting *row = settings_find(s, name);
    return row ? s->origins[row - s->rows].source : SETTINGS_DEFAULT;
}

void settings_write_value(const struct settings *s, const struct setting *row, struct buf *out)
{
    settings_value_write(row, s->target, out);
}

/* ---- file ---- */

/* Cuts blanks off both ends, in place. */
static char *trim(char *text)
{
    char *end = text + strlen(text);
    while (end > text && strchr(" \t\r", end[-1])) *--end = '\0';
    return text + strspn(text, " \t");
}

static int read_line(struct settings *s, char *line, const struct place *at, char **reterr)
{
    char *name = trim(line);
    if (!*name || *name == '#') return 0;
    char *equals = strchr(name, '=');
    if (!equals)
        return fail(ERR_INVALID, reterr, "%s: no \"=\" in this line: write name = value, or # before a comment",
                    at->where);
    *equals = '\0';
    name = trim(name);
    char *value = trim(equals + 1);
    if (is_passed_through(s, name)) return set_pair(s, name + strlen(s->pass_prefix), value, at, reterr);
    const struct setting *row = settings_find(s, name);
    if (!row) return unknown_name(s, at->where, name, reterr);
    if (row->not_in_file)
        return fail(ERR_INVALID, reterr, "%s: %s has no meaning in the settings file: remove it", at->where, name);
    return set_row(s, row, value, at, reterr);
}

static int read_whole(const char *path, struct buf *out, char **reterr)
{
    FILE *file = fopen(path, "re");
    if (!file) return fail(ERR_IO, reterr, "%s: cannot read the settings file: %s", path, strerror(errno));
    char chunk[4096];
    size_t n;
    int rc = 0;
    while (rc == 0 && (n = fread(chunk, 1, sizeof chunk, file)) > 0) rc = buf_add(out, chunk, n);
    int error = ferror(file) ? errno : 0;
    fclose(file);
    secret_wipe(chunk, sizeof chunk);
    if (rc == ERR_NOMEM) return no_memory(reterr);
    if (rc < 0) return fail(ERR_INVALID, reterr, "%s: larger than 1 MiB: this is no settings file", path);
    if (error) return fail(ERR_IO, reterr, "%s: cannot read the settings file: %s", path, strerror(error));
    if (memchr(buf_str(out), '\0', out->len))
        return fail(ERR_INVALID, reterr, "%s: holds a NUL byte: this is no settings file", path);
    return 0;
}

static void forget_lines(struct settings *s)
{
    for (size_t i = 0; i < s->n_rows; i++) s->origins[i].line = 0;
    for (size_t i = 0; i < s->n_pairs; i++) s->pair_origins[i].line = 0;
}

int settings_read_file(struct settings *s, const char *path, char **reterr)
{
    AUTO_BUF struct buf text;
    buf_init_secret(&text, FILE_MAX_BYTES);
    int rc = read_whole(path, &text, reterr);
    if (rc < 0) return rc;
    forget_lines(s);
    char *next = text.data;
    for (int line = 1; rc == 0 && next && *next; line++) {
        char *here = next, where[WHERE_MAX];
        next = strchrnul(here, '\n');
        if (*next) *next++ = '\0';
        snprintf(where, sizeof where, "%s:%d", path, line);
        rc = read_line(s, here, &(struct place){SETTINGS_FILE, where, line}, reterr);
    }
    forget_lines(s);
    return rc;
}

/* ---- environment ---- */

/* The value of the variable when entry is NAME=value with a value, else NULL. */
static const char *entry_value(const char *entry, const char *name, size_t len)
{
    return strncmp(entry, name, len) == 0 && entry[len] == '=' && entry[len + 1] ? entry + len + 1 : NULL;
}

static const char *find_env(char *const *env, const char *name, size_t len)
{
    for (; env && *env; env++) {
        const char *value = entry_value(*env, name, len);
        if (value) return value;
    }
    return NULL;
}

static int set_from_env(struct settings *s, const struct setting *row, char *const *env, const char *name, size_t len,
                        char **reterr)
{
    const char *value = find_env(env, name, len);
    if (!value) return 0;
    char where[WHERE_MAX];
    snprintf(where, sizeof where, "environment variable %.*s", (int)len, name);
    return set_row(s, row, value, &(struct place){SETTINGS_ENV, where, 0}, reterr);
}

static int read_row_env(struct settings *s, const struct setting *row, char *const *env, char **reterr)
{
    int rc = 0;
    for (const char *p = row->env; rc == 0 && p && *p;) {
        const char *end = strchrnul(p, ',');
        rc = set_from_env(s, row, env, p, (size_t)(end - p), reterr);
        p = *end ? end + 1 : end;
    }
    if (rc < 0) return rc;
    char name[2 * NAME_MAX_BYTES];
    int len = snprintf(name, sizeof name, "%s%s", s->env_prefix, row->name);
    for (char *p = name; *p; p++) *p = *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
    return set_from_env(s, row, env, name, (size_t)len, reterr);
}

/* KEYROLL_KAFKA_SASL_USERNAME=x sets kafka.sasl.username. */
static int read_pair_env(struct settings *s, const char *entry, char **reterr)
{
    char prefix[2 * NAME_MAX_BYTES], name[4 * NAME_MAX_BYTES], where[WHERE_MAX];
    size_t len = (size_t)snprintf(prefix, sizeof prefix, "%s%s", s->env_prefix, s->pass_prefix);
    for (char *p = prefix; *p; p++) *p = *p == '.' ? '_' : *p >= 'a' && *p <= 'z' ? (char)(*p - 'a' + 'A') : *p;
    const char *equals = strchr(entry, '=');
    if (strncmp(entry, prefix, len) != 0 || !equals || !equals[1]) return 0;
    size_t n = (size_t)(equals - entry) - len;
    if (equals < entry + len || n >= sizeof name) return 0;
    for (size_t i = 0; i < n; i++) {
        char c = entry[len + i];
        name[i] = c == '_' ? '.' : c >= 'A' && c <= 'Z' ? (char)(c - 'A' + 'a') : c;
    }
    name[n] = '\0';
    snprintf(where, sizeof where, "environment variable %.*s", (int)(equals - entry), entry);
    return set_pair(s, name, equals + 1, &(struct place){SETTINGS_ENV, where, 0}, reterr);
}

int settings_read_env(struct settings *s, char *const *env, char **reterr)
{
    int rc = 0;
    for (size_t i = 0; rc == 0 && i < s->n_rows; i++) rc = read_row_env(s, &s->rows[i], env, reterr);
    for (; rc == 0 && s->pass_prefix && env && *env; env++) rc = read_pair_env(s, *env, reterr);
    return rc;
}

/* ---- flags ---- */

/* What librdkafka calls secret (its CONFIGURATION.md): these may not stand on a command line. */
static bool is_secret_pair(const char *name)
{
    static const char *const secrets[] = {"sasl.password",
                                          "ssl.key.password",
                                          "ssl.keystore.password",
                                          "ssl.key.pem",
                                          "sasl.oauthbearer.client.secret",
                                          "sasl.oauthbearer.config"};
    for (size_t i = 0; i < ARRAY_LEN(secrets); i++)
        if (strcmp(name, secrets[i]) == 0) return true;
    return false;
}

/* Splits "--name=value"; the value is NULL without "=". False when it is no long flag or its name is too long. */
static bool split_flag(const char *arg, char name[4 * NAME_MAX_BYTES], const char **ret_value)
{
    if (strncmp(arg, "--", 2) != 0 || !arg[2]) return false;
    size_t len = strcspn(arg + 2, "=");
    if (len >= 4 * NAME_MAX_BYTES) return false;
    memcpy(name, arg + 2, len);
    name[len] = '\0';
    *ret_value = arg[2 + len] ? arg + 2 + len + 1 : NULL;
    return true;
}

/* One flag being read, and where in argv we are. */
struct flag {
    char name[4 * NAME_MAX_BYTES];
    const char *value; /* NULL: not given with "=" */
    int argc, at;
    char **argv;
};

/* The value of a flag that needs one: behind "=", or the next argument. */
static const char *flag_value(struct flag *f)
{
    if (!f->value && f->at + 1 < f->argc) f->value = f->argv[++f->at];
    return f->value;
}

static int take_pair(struct settings *s, struct flag *f, char **reterr)
{
    const char *name = f->name + strlen(s->pass_prefix);
    if (is_secret_pair(name))
        return fail(
            ERR_INVALID, reterr,
            "flag --%s: a secret must not be on the command line: set it in the settings file or in the environment",
            f->name);
    if (!flag_value(f)) return fail(ERR_INVALID, reterr, "flag --%s needs a value: --%s=VALUE", f->name, f->name);
    char where[sizeof f->name + 16];
    snprintf(where, sizeof where, "flag --%s", f->name);
    return set_pair(s, name, f->value, &(struct place){SETTINGS_FLAG, where, 0}, reterr);
}

static int take_row(struct settings *s, const struct setting *row, struct flag *f, bool negated, char **reterr)
{
    if (row->type == SETTING_SECRET)
        return fail(
            ERR_INVALID, reterr,
            "flag --%s: a secret must not be on the command line: set %s in the settings file or in the environment",
            f->name, row->name);
    if (!(row->programs & s->programs))
        return fail(ERR_INVALID, reterr, "flag --%s: this program has no use for %s: leave it out", f->name, row->name);
    if (negated && f->value) return fail(ERR_INVALID, reterr, "flag --%s takes no value", f->name);
    if (row->type == SETTING_BOOL && !f->value) f->value = negated ? "false" : "true";
    if (!flag_value(f)) return fail(ERR_INVALID, reterr, "flag --%s needs a value: --%s=VALUE", f->name, f->name);
    char where[sizeof f->name + 16];
    snprintf(where, sizeof where, "flag --%s", f->name);
    return set_row(s, row, f->value, &(struct place){SETTINGS_FLAG, where, 0}, reterr);
}

/* Takes the flag if it is a setting; *ret_taken says so. */
static int take_flag(struct settings *s, struct flag *f, bool *ret_taken, char **reterr)
{
    *ret_taken = true;
    if (is_passed_through(s, f->name)) return take_pair(s, f, reterr);
    const struct setting *row = settings_find(s, f->name);
    bool negated = false;
    if (!row && strncmp(f->name, "no-", 3) == 0) {
        row = settings_find(s, f->name + 3);
        negated = row && row->type == SETTING_BOOL;
        if (!negated) row = NULL;
    }
    if (row) return take_row(s, row, f, negated, reterr);
    *ret_taken = false;
    return 0;
}

int settings_take_flags(struct settings *s, int *argc, char **argv, char **reterr)
{
    int kept = 1, rc = 0;
    struct flag f = {.argc = *argc, .at = 1, .argv = argv};
    for (; rc == 0 && f.at < f.argc && strcmp(argv[f.at], "--") != 0; f.at++) {
        bool taken = false;
        char *arg = argv[f.at];
        if (split_flag(arg, f.name, &f.value)) rc = take_flag(s, &f, &taken, reterr);
        if (!taken) argv[kept++] = arg;
    }
    if (rc < 0) return rc;
    while (f.at < f.argc) argv[kept++] = argv[f.at++];
    argv[kept] = NULL;
    *argc = kept;
    return 0;
}

const char *settings_peek_flag(int argc, char *const *argv, const char *name)
{
    char found[4 * NAME_MAX_BYTES];
    const char *value;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (!split_flag(argv[i], found, &value) || !same_name(name, found, strlen(found))) continue;
        return value ? value : i + 1 < argc ? argv[i + 1] : NULL;
    }
    return NULL;
}
