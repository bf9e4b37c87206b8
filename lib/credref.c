/* Credentials references: file:PATH#LICENCE and env:NAME, for a hundred thousand licences in one file.
 *
 * A file is scanned once into a hash from licence to one secret ("user NUL password") and again only when stat() tells
 * of a change, asked at most once a second. The scanner is our own and reads one shape (object of objects of strings),
 * as jansson would leave copies of every password on the heap; the bytes of the file are in one buffer that is wiped.
 * A new version which cannot be parsed (an editor half-way through) does not take the old one away: it is reported and
 * the old one stays. A file that is gone or may not be read any more does, because that may be meant. Modes: readable
 * by others or writable by group or others is refused, as the passwords may be known or forged; readable by the group
 * is reported and accepted, since that is how Kubernetes hands secrets to an unprivileged process (fsGroup).
 * Limits: 64 MiB a file, files are forgotten only at the end; a symbolic link is followed (Kubernetes swaps them). */
#include "lib/credref.h"

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fnv.h"
#include "lib/text.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_BYTES_MAX ((size_t)64 << 20)
#define CHECK_EVERY_MS 1000
#define TEXT_MAX       1024 /* bytes of one licence, user or password */

struct entry {
    char *licence;       /* owned */
    struct secret *pair; /* user NUL password */
};
/* Open addressing, linear probing, at most half full. */
struct entries {
    struct entry *slots;
    size_t n_slots, n; /* n_slots: 0 or a power of two */
};
struct file {
    struct file *next;
    char *path;
    struct entries entries;
    struct stat seen;      /* state that was last read, also when it could not be parsed */
    int64_t checked_at_ms; /* monotonic */
    int err;               /* what the last look at it gave; 0: entries are valid */
    char reason[CREDREF_REASON_MAX];
};
struct credref {
    struct credref_options o;
    struct file *files;
};

/* ---- the hash ---------------------------------------------------------------------------------------------- */

static uint64_t hash_text(const char *s, size_t len)
{
    uint64_t h = fnv1a_bytes(FNV1A_START, s, len); /* the keys are an operator's own file */
    return h ^ h >> 29;
}

static void entries_done(struct entries *e)
{
    for (size_t i = 0; i < e->n_slots; i++) {
        free(e->slots[i].licence);
        secret_free(e->slots[i].pair);
    }
    free(e->slots);
    *e = (struct entries){0};
}

/* The slot of a licence, or the free one where it belongs. n_slots must not be 0. */
static struct entry *slot_of(const struct entries *e, const char *licence, size_t len)
{
    for (size_t at = hash_text(licence, len);; at++) {
        struct entry *s = &e->slots[at & (e->n_slots - 1)];
        if (!s->licence || (strncmp(s->licence, licence, len) == 0 && s->licence[len] == '\0')) return s;
    }
}

static int grow(struct entries *e)
{
    struct entries wide = {.n_slots = e->n_slots ? e->n_slots * 2 : 64, .n = e->n};
    wide.slots = calloc(wide.n_slots, sizeof(*wide.slots));
    if (!wide.slots) return ERR_NOMEM;
    for (size_t i = 0; i < e->n_slots; i++)
        if (e->slots[i].licence) *slot_of(&wide, e->slots[i].licence, strlen(e->slots[i].licence)) = e->slots[i];
    free(e->slots);
    *e = wide;
    return 0;
}

/* Takes pair over, also when it fails. *ret_twice: the licence was there; the later one holds. */
static int entries_set(struct entries *e, const char *licence, struct secret *pair, bool *ret_twice)
{
    AUTO_SECRET struct secret *owned = pair;
    if ((e->n + 1) * 2 > e->n_slots) {
        int rc = grow(e);
        if (rc < 0) return rc;
    }
    struct entry *s = slot_of(e, licence, strlen(licence));
    *ret_twice = s->licence != NULL;
    if (!s->licence) {
        s->licence = strdup(licence);
        if (!s->licence) return ERR_NOMEM;
        e->n++;
    }
    secret_free(s->pair);
    s->pair = TAKE(owned);
    return 0;
}

/* ---- the scanner: {"LICENCE": {"user": "...", "password": "..."}, ...} ---------------------------------------- */

struct scan {
    const char *start, *at, *end;
    const char *problem; /* what was expected */
};

static int problem(struct scan *s, const char *expected)
{
    if (!s->problem) s->problem = expected;
    return ERR_SYNTAX;
}

/* Skips blanks; is the next byte c? Then it is taken. */
static bool take(struct scan *s, char c)
{
    while (s->at < s->end && strchr(" \t\r\n", *s->at) && *s->at) s->at++;
    if (s->at == s->end || *s->at != c) return false;
    s->at++;
    return true;
}

static int scan_hex4(struct scan *s, unsigned *ret)
{
    *ret = 0;
    if (s->end - s->at < 4) return problem(s, "four hex digits");
    for (int i = 0; i < 4; i++) {
        char c = *s->at++;
        int v = c >= '0' && c <= '9' ? c - '0' : (c | 32) >= 'a' && (c | 32) <= 'f' ? (c | 32) - 'a' + 10 : -1;
        if (v < 0) return problem(s, "four hex digits");
        *ret = *ret << 4 | (unsigned)v;
    }
    return 0;
}

static size_t put_utf8(unsigned c, char *out)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)((n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0) | c);
    return n;
}

/* Behind "\u". */
static int scan_unicode(struct scan *s, char *out, size_t *n)
{
    unsigned c, low;
    int rc = scan_hex4(s, &c);
    if (rc < 0) return rc;
    if (c >= 0xd800 && c < 0xdc00) {
        if (s->end - s->at < 2 || s->at[0] != '\\' || s->at[1] != 'u')
            return problem(s, "the second half of a surrogate pair");
        s->at += 2;
        rc = scan_hex4(s, &low);
        if (rc < 0) return rc;
        if (low < 0xdc00 || low > 0xdfff) return problem(s, "the second half of a surrogate pair");
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c <= 0xdfff) {
        return problem(s, "the first half of a surrogate pair");
    }
    if (c == 0) return problem(s, "a string without NUL");
    *n += put_utf8(c, out + *n);
    return 0;
}

static int scan_escape(struct scan *s, char *out, size_t *n)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (s->at == s->end) return problem(s, "an escape");
    char c = *s->at++;
    if (c == 'u') return scan_unicode(s, out, n);
    const char *found = c ? strchr(from, c) : NULL;
    if (!found) return problem(s, "an escape");
    out[(*n)++] = to[found - from];
    return 0;
}

/* A string, decoded into out (TEXT_MAX + 8 bytes); *ret_len its length. */
static int scan_string(struct scan *s, const char *what, char *out, size_t *ret_len)
{
    size_t n = 0;
    if (!take(s, '"')) return problem(s, what);
    while (s->at < s->end && *s->at != '"') {
        if (n >= TEXT_MAX) return problem(s, "a string of at most 1024 bytes");
        char c = *s->at++;
        if ((unsigned char)c < 0x20) return problem(s, "a string without control characters");
        if (c != '\\') {
            out[n++] = c;
            continue;
        }
        int rc = scan_escape(s, out, &n);
        if (rc < 0) return rc;
    }
    if (s->at == s->end) return problem(s, "the end of a string");
    s->at++;
    out[n] = '\0';
    *ret_len = n;
    return 0;
}

/* Scratch of one login, wiped after use. */
struct login_text {
    char name[TEXT_MAX + 8], value[TEXT_MAX + 8];
    char user[TEXT_MAX + 8], password[TEXT_MAX + 8];
    size_t user_len, password_len;
    bool has_user, has_password;
};

static int scan_login_member(struct scan *s, struct login_text *t)
{
    size_t len, value_len;
    int rc = scan_string(s, "\"user\" or \"password\"", t->name, &len);
    if (rc < 0) return rc;
    if (!take(s, ':')) return problem(s, "\":\"");
    rc = scan_string(s, "a string", t->value, &value_len);
    if (rc < 0) return rc;
    if (strcmp(t->name, "user") == 0) {
        memcpy(t->user, t->value, value_len + 1);
        t->user_len = value_len;
        t->has_user = true;
    } else if (strcmp(t->name, "password") == 0) {
        memcpy(t->password, t->value, value_len + 1);
        t->password_len = value_len;
        t->has_password = true;
    } /* other members are for other readers */
    return 0;
}

static int scan_login(struct scan *s, struct login_text *t)
{
    *t = (struct login_text){0};
    if (!take(s, '{')) return problem(s, "an object with user and password");
    do {
        int rc = scan_login_member(s, t);
        if (rc < 0) return rc;
    } while (take(s, ','));
    if (!take(s, '}')) return problem(s, "\",\" or \"}\"");
    if (!t->has_user || !t->has_password) return problem(s, "both user and password");
    if (t->user_len == 0 || t->user_len >= CREDREF_USER_MAX) return problem(s, "a user of 1 to 255 bytes");
    if (strlen(t->user) != t->user_len || strlen(t->password) != t->password_len)
        return problem(s, "strings without NUL");
    return 0;
}

static struct secret *make_pair(struct login_text *t)
{
    char both[2 * TEXT_MAX + 16];
    memcpy(both, t->user, t->user_len + 1);
    memcpy(both + t->user_len + 1, t->password, t->password_len);
    struct secret *pair = secret_new(both, t->user_len + 1 + t->password_len);
    secret_wipe(both, sizeof(both));
    return pair;
}

static int scan_file(struct scan *s, struct entries *e, struct login_text *t, char *licence, unsigned *ret_twice)
{
    size_t len;
    if (!take(s, '{')) return problem(s, "an object of licences");
    bool more = !take(s, '}');
    while (more) {
        int rc = scan_string(s, "a licence", licence, &len);
        if (rc < 0) return rc;
        if (!take(s, ':')) return problem(s, "\":\"");
        rc = scan_login(s, t);
        if (rc < 0) return rc;
        struct secret *pair = make_pair(t);
        bool twice = false;
        rc = pair ? entries_set(e, licence, pair, &twice) : ERR_NOMEM;
        if (rc < 0) return rc;
        *ret_twice += twice;
        more = take(s, ',');
        if (!more && !take(s, '}')) return problem(s, "\",\" or \"}\"");
    }
    (void)take(s, '\0'); /* only skips the blanks */
    return s->at == s->end ? 0 : problem(s, "the end of the file");
}

/* ---- one file ---------------------------------------------------------------------------------------------- */

static void warn(const struct credref *c, const struct file *f, const char *text)
{
    char line[CREDREF_REASON_MAX + 256];
    (void)snprintf(line, sizeof(line), "%.200s: %s", f->path, text);
    if (c->o.warn) c->o.warn(c->o.warn_arg, line);
}

static int PRINTF_LIKE(3, 4) fail(struct file *f, int err, const char *fmt, ...)
{
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(f->reason, sizeof(f->reason), fmt, args);
    va_end(args);
    return err;
}

static bool same_state(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size && a->st_mode == b->st_mode &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

static int check_mode(const struct credref *c, struct file *f, const struct stat *st)
{
    if (!S_ISREG(st->st_mode)) return fail(f, ERR_INVALID, "%.120s is not a file", f->path);
    if (st->st_mode & (S_IRWXO | S_IWGRP))
        return fail(f, ERR_PERMISSION, "%.120s: mode %04o lets others in: chmod 600", f->path,
                    (unsigned)st->st_mode & 07777);
    if ((uint64_t)st->st_size > FILE_BYTES_MAX) return fail(f, ERR_TOO_LARGE, "%.120s is larger than 64 MiB", f->path);
    if (st->st_mode & S_IRGRP) warn(c, f, "may be read by its group; mode 600 is meant");
    return 0;
}

static int read_all(int fd, struct buf *out)
{
    char chunk[16384];
    int rc = 0;
    for (;;) {
        ssize_t got = read(fd, chunk, sizeof(chunk));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) rc = ERR_IO;
        if (got > 0) rc = buf_add(out, chunk, (size_t)got);
        if (got <= 0 || rc < 0) break;
    }
    secret_wipe(chunk, sizeof(chunk));
    return rc;
}

static unsigned line_of(const struct scan *s)
{
    unsigned line = 1;
    for (const char *p = s->start; p < s->at; p++) line += *p == '\n';
    return line;
}

static int parse_bytes(const struct credref *c, struct file *f, const struct buf *bytes)
{
    AUTO_FREE struct login_text *t = malloc(sizeof(*t));
    char licence[TEXT_MAX + 8];
    struct entries fresh = {0};
    unsigned twice = 0;
    if (!t) return fail(f, ERR_NOMEM, "out of memory");
    struct scan s = {.start = buf_str(bytes), .at = buf_str(bytes), .end = buf_str(bytes) + bytes->len};
    int rc = scan_file(&s, &fresh, t, licence, &twice);
    secret_wipe(t, sizeof(*t));
    if (rc < 0) {
        entries_done(&fresh);
        if (rc != ERR_SYNTAX) return fail(f, rc, "%s", err_text(rc));
        return fail(f, rc, "%.100s: line %u: expected %s", f->path, line_of(&s), s.problem);
    }
    entries_done(&f->entries);
    f->entries = fresh;
    if (twice) warn(c, f, "has a licence more than once; the last one holds");
    return 0;
}

static int read_open_file(const struct credref *c, struct file *f, int fd, struct stat *ret_state)
{
    if (fstat(fd, ret_state) < 0) return fail(f, ERR_IO, "%.120s: %s", f->path, strerror(errno));
    if (same_state(ret_state, &f->seen)) return f->err;
    int rc = check_mode(c, f, ret_state);
    if (rc < 0) return rc;
    AUTO_BUF struct buf bytes;
    buf_init_secret(&bytes, FILE_BYTES_MAX);
    rc = read_all(fd, &bytes);
    if (rc < 0) return fail(f, rc, "%.120s: %s", f->path, err_text(rc));
    rc = parse_bytes(c, f, &bytes);
    if (rc == ERR_SYNTAX && f->entries.n_slots) { /* a version that was good is still there */
        warn(c, f, f->reason);
        return 0;
    }
    return rc;
}

static void refresh(const struct credref *c, struct file *f, int64_t now_mono_ms)
{
    struct stat st;
    if (f->checked_at_ms != INT64_MIN && now_mono_ms - f->checked_at_ms < CHECK_EVERY_MS) return;
    f->checked_at_ms = now_mono_ms;
    if (stat(f->path, &st) == 0 && same_state(&st, &f->seen) && f->err != ERR_NOMEM && f->err != ERR_IO) return;
    int fd = open(f->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK); /* a pipe in its place must not stop us */
    if (fd < 0) {
        int rc = errno == ENOENT || errno == ENOTDIR ? ERR_NOT_FOUND : errno == EACCES ? ERR_PERMISSION : ERR_IO;
        f->seen = (struct stat){0};
        f->err = fail(f, rc, "%.120s: %s", f->path, strerror(errno));
        entries_done(&f->entries);
        return;
    }
    st = (struct stat){0};
    f->err = read_open_file(c, f, fd, &st);
    f->seen = st;
    (void)close(fd); /* only read from */
    if (f->err) entries_done(&f->entries);
}

static struct file *find_file(struct credref *c, const char *path, size_t len)
{
    for (struct file *f = c->files; f; f = f->next)
        if (strncmp(f->path, path, len) == 0 && f->path[len] == '\0') return f;
    struct file *f = calloc(1, sizeof(*f));
    if (!f) return NULL;
    f->checked_at_ms = INT64_MIN;
    f->path = strndup(path, len);
    if (!f->path) {
        free(f);
        return NULL;
    }
    f->next = c->files;
    c->files = f;
    return f;
}

/* ---- looking up -------------------------------------------------------------------------------------------- */

static int get_from_file(struct credref *c, const char *spec, int64_t now_mono_ms, struct credref_login *ret_login,
                         char *reason)
{
    const char *hash = strrchr(spec, '#');
    struct file *f = find_file(c, spec, (size_t)(hash - spec));
    if (!f) return ERR_NOMEM;
    refresh(c, f, now_mono_ms);
    if (f->err) {
        memcpy(reason, f->reason, sizeof(f->reason));
        return f->err;
    }
    const struct entry *e = f->entries.n ? slot_of(&f->entries, hash + 1, strlen(hash + 1)) : NULL;
    if (!e || !e->licence) {
        (void)snprintf(reason, CREDREF_REASON_MAX, "%.100s has no login for %.60s", f->path, hash + 1);
        return ERR_NOT_FOUND;
    }
    const char *user = secret_bytes(e->pair);
    size_t user_len = strlen(user);
    ret_login->password = secret_new(user + user_len + 1, secret_len(e->pair) - user_len - 1);
    if (!ret_login->password) return ERR_NOMEM;
    memcpy(ret_login->user, user, user_len + 1); /* shorter than CREDREF_USER_MAX: the scanner saw to it */
    return 0;
}

static int get_from_env(const char *name, struct credref_login *ret_login, char *reason)
{
    const char *value = getenv(name);
    if (!value) {
        (void)snprintf(reason, CREDREF_REASON_MAX, "the environment has no %.100s", name);
        return ERR_NOT_FOUND;
    }
    const char *colon = strchr(value, ':');
    size_t user_len = colon ? (size_t)(colon - value) : 0;
    if (user_len == 0 || user_len >= CREDREF_USER_MAX) {
        (void)snprintf(reason, CREDREF_REASON_MAX, "the environment's %.100s must be user:password", name);
        return ERR_INVALID;
    }
    ret_login->password = secret_from_string(colon + 1);
    if (!ret_login->password) return ERR_NOMEM;
    memcpy(ret_login->user, value, user_len);
    ret_login->user[user_len] = '\0';
    return 0;
}

int credref_check(const char *reference)
{
    if (strncmp(reference, "env:", 4) == 0) {
        const char *name = reference + 4;
        size_t n = strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
        return n > 0 && name[n] == '\0' && !(name[0] >= '0' && name[0] <= '9') ? 0 : ERR_INVALID;
    }
    if (strncmp(reference, "file:", 5) != 0 || strlen(reference) > 4096) return ERR_INVALID;
    const char *hash = strrchr(reference + 5, '#');
    return hash && hash > reference + 5 && hash[1] ? 0 : ERR_INVALID;
}

int credref_get(struct credref *c, const char *reference, int64_t now_mono_ms, struct credref_login *ret_login,
                char ret_reason[CREDREF_REASON_MAX])
{
    ret_reason[0] = '\0';
    if (credref_check(reference) < 0) {
        (void)snprintf(ret_reason, CREDREF_REASON_MAX, "a credentials reference is file:PATH#LICENCE or env:NAME");
        return ERR_INVALID;
    }
    int rc = strncmp(reference, "env:", 4) == 0 ? get_from_env(reference + 4, ret_login, ret_reason)
                                                : get_from_file(c, reference + 5, now_mono_ms, ret_login, ret_reason);
    if (rc == ERR_NOMEM) text_copy(ret_reason, CREDREF_REASON_MAX, err_text(rc));
    return rc;
}

struct credref *credref_new(const struct credref_options *o)
{
    struct credref *c = calloc(1, sizeof(*c));
    if (c && o) c->o = *o;
    return c;
}

void credref_free(struct credref *c)
{
    if (!c) return;
    while (c->files) {
        struct file *f = c->files;
        c->files = f->next;
        entries_done(&f->entries);
        free(f->path);
        free(f);
    }
    free(c);
}
