/* The inventory, one generation.
 *
 * A CSV file is parsed in place: its text stays in memory and the rows point into it, so that 100,000 licences cost
 * little more than the file itself. JSON is parsed one object at a time, for the same reason, and copied into an arena,
 * as are rows that discovery adds. A value that equals the one of the row before (account, region, profile) shares its
 * memory.
 *
 * Every row is checked as strictly as a job message, because it becomes one; a wait shorter than the design's is
 * refused per row, unless its instance is on loopback. Duplicates are found by two hash tables (licence, account/user,
 * both without regard to case) and leave together: of two instances that share a user, rolling one would cut off the
 * other. */
#include "schema/inventory.h"

#include "lib/buf.h"
#include "lib/err.h"
#include "lib/fnv.h"
#include "lib/json.h"
#include "schema/csv.h"
#include "schema/identity.h"
#include "schema/job.h"
#include "schema/options.h"
#include "lib/text.h"
#include "lib/url.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define FILE_MAX_BYTES (256u << 20)
#define CHUNK_BYTES    (64u << 10)
#define ROWS_FIRST     64
#define NONE           UINT32_MAX

enum column {
    COL_LICENCE,
    COL_ACCOUNT,
    COL_USER,
    COL_BUCKET,
    COL_REGION,
    COL_INSTANCE_URL,
    COL_TIME_ZONE,
    COL_POLICY,
    COL_PROFILE,
    COL_CREDENTIALS,
    COLUMNS
};
static const struct {
    const char *name;
    size_t offset;
    bool required;
} columns[COLUMNS] = {
    [COL_LICENCE] = {"licence", offsetof(struct inventory_row, licence), true},
    [COL_ACCOUNT] = {"account", offsetof(struct inventory_row, account), true},
    [COL_USER] = {"user", offsetof(struct inventory_row, user), false},
    [COL_BUCKET] = {"bucket", offsetof(struct inventory_row, bucket), true},
    [COL_REGION] = {"region", offsetof(struct inventory_row, region), false},
    [COL_INSTANCE_URL] = {"instance_url", offsetof(struct inventory_row, instance_url), true},
    [COL_TIME_ZONE] = {"time_zone", offsetof(struct inventory_row, time_zone), false},
    [COL_POLICY] = {"policy", offsetof(struct inventory_row, policy), false},
    [COL_PROFILE] = {"profile", offsetof(struct inventory_row, profile), false},
    [COL_CREDENTIALS] = {"credentials", offsetof(struct inventory_row, credentials), false},
};

/* Memory that is only given back as a whole. */
struct chunk {
    struct chunk *next;
    size_t used;
    char bytes[CHUNK_BYTES];
};

struct index {
    uint32_t *slots; /* row numbers, NONE = free; a power of two of them, at most half full */
    uint32_t mask;
};

struct inventory {
    const struct options *options;
    inventory_complain *complain;
    void *arg;
    struct inventory_row *rows;
    bool *twice; /* per row: a duplicate, to be left out */
    uint32_t n, cap;
    size_t bad;
    struct index by_licence, by_user;
    struct chunk *chunks;
    char **texts; /* CSV files read, n_texts of them */
    size_t n_texts;
};

static const char **field(struct inventory_row *row, enum column c)
{
    return (const char **)(void *)((char *)row + columns[c].offset);
}

static void tell(struct inventory *inv, uint32_t line, const char *licence, const char *fmt, ...) PRINTF_LIKE(4, 5);
static void tell(struct inventory *inv, uint32_t line, const char *licence, const char *fmt, ...)
{
    char reason[300];
    if (!inv->complain) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(reason, sizeof reason, fmt, args);
    va_end(args);
    inv->complain(inv->arg, &(struct inventory_complaint){line, licence ? licence : "", reason});
}

/* ---- life ---- */

struct inventory *inventory_new(const struct options *o, inventory_complain *complain, void *arg)
{
    struct inventory *inv = calloc(1, sizeof *inv);
    if (inv) *inv = (struct inventory){.options = o, .complain = complain, .arg = arg};
    return inv;
}

void inventory_free(struct inventory *inv)
{
    if (!inv) return;
    while (inv->chunks) {
        struct chunk *next = inv->chunks->next;
        free(inv->chunks);
        inv->chunks = next;
    }
    for (size_t i = 0; i < inv->n_texts; i++) free(inv->texts[i]);
    free(inv->texts);
    free(inv->by_licence.slots);
    free(inv->by_user.slots);
    free(inv->twice);
    free(inv->rows);
    free(inv);
}

void inventory_freep(struct inventory **inv)
{
    inventory_free(*inv);
}

/* Copies a string into the arena; NULL when out of memory or longer than a chunk. */
static const char *keep(struct inventory *inv, const char *text)
{
    size_t len = strlen(text) + 1;
    if (len == 1) return "";
    if (len > CHUNK_BYTES) return NULL;
    if (!inv->chunks || CHUNK_BYTES - inv->chunks->used < len) {
        struct chunk *fresh = malloc(sizeof *fresh);
        if (!fresh) return NULL;
        fresh->used = 0;
        fresh->next = inv->chunks;
        inv->chunks = fresh;
    }
    char *at = inv->chunks->bytes + inv->chunks->used;
    memcpy(at, text, len);
    inv->chunks->used += len;
    return at;
}

/* ---- look-up ---- */

static uint32_t hash(uint64_t h, const char *text)
{
    h = fnv1a_fold(h, text);
    return (uint32_t)(h ^ h >> 32);
}
static uint32_t hash_user(const char *account, const char *user)
{
    return hash(hash(FNV1A_START, account), user);
}

static uint32_t row_hash(const struct inventory *inv, const struct index *x, uint32_t i)
{
    const struct inventory_row *row = &inv->rows[i];
    return x == &inv->by_licence ? hash(FNV1A_START, row->licence) : hash_user(row->account, row->user);
}

static void index_put(const struct inventory *inv, struct index *x, uint32_t i)
{
    uint32_t at = row_hash(inv, x, i) & x->mask;
    while (x->slots[at] != NONE) at = (at + 1) & x->mask;
    x->slots[at] = i;
}

/* Makes the index anew for `room` rows from the first n ones. */
static int index_build(const struct inventory *inv, struct index *x, uint32_t room)
{
    uint32_t size = 2 * ROWS_FIRST;
    while (size < 2 * (uint64_t)room) size *= 2;
    uint32_t *slots = malloc(size * sizeof *slots);
    if (!slots) return ERR_NOMEM;
    memset(slots, 0xff, size * sizeof *slots);
    free(x->slots);
    *x = (struct index){slots, size - 1};
    for (uint32_t i = 0; i < inv->n; i++) index_put(inv, x, i);
    return 0;
}

static uint32_t find_licence(const struct inventory *inv, const char *licence)
{
    const struct index *x = &inv->by_licence;
    if (!x->slots) return NONE;
    for (uint32_t at = hash(FNV1A_START, licence) & x->mask;; at = (at + 1) & x->mask)
        if (x->slots[at] == NONE || identity_same(inv->rows[x->slots[at]].licence, licence)) return x->slots[at];
}

static uint32_t find_user(const struct inventory *inv, const char *account, const char *user)
{
    const struct index *x = &inv->by_user;
    if (!x->slots) return NONE;
    for (uint32_t at = hash_user(account, user) & x->mask;; at = (at + 1) & x->mask) {
        uint32_t i = x->slots[at];
        if (i == NONE) return NONE;
        if (strcmp(inv->rows[i].account, account) == 0 && identity_same(inv->rows[i].user, user)) return i;
    }
}

/* ---- one row ---- */

/* What is wrong with a row and what to write, NULL: nothing. Static text. */
static const char *fault_of(const struct inventory *inv, const struct inventory_row *r)
{
    if (!identity_licence_valid(r->licence)) return "licence: write 1 to 47 letters, digits and _+=,.@-";
    if (!identity_account_valid(r->account))
        return "account: write the 12 digits of the AWS account (a spreadsheet may have cut zeros)";
    if (!identity_user_valid(r->user)) return "user: write 1 to 64 letters, digits and _+=,.@-, or leave it empty";
    if (!identity_bucket_valid(r->bucket)) return "bucket: write the name of the instance's S3 bucket";
    if (!identity_region_valid(r->region))
        return "region: write an AWS region, for example eu-west-1, or leave it empty";
    if (!url_valid(r->instance_url))
        return "instance_url: write an address like https://host/, without user and password";
    if (*r->time_zone && (!job_time_zone_valid(r->time_zone) || strlen(r->time_zone) >= JOB_TIME_ZONE_MAX))
        return "time_zone: write a name like Europe/London, or leave it empty";
    if (*r->policy && !message_word_valid(r->policy)) return "policy: write a policy's name, or leave it empty";
    if (!message_word_valid(r->profile)) return "profile: write a profile's name, or leave it empty";
    if (*r->credentials && (!job_credentials_valid(r->credentials) || strlen(r->credentials) >= JOB_CREDENTIALS_MAX))
        return "credentials: write file:PATH#LICENCE or env:NAME, never a password";
    if (!options_waits_allowed(inv->options, r->instance_url))
        return "instance_url: waits are shortened, which is allowed only for instances on loopback";
    return NULL;
}

/* Fills what the row leaves to defaults. ERR_NOMEM. */
static int complete(struct inventory *inv, struct inventory_row *r)
{
    if (!*r->region) r->region = inv->options->aws_region;
    if (!*r->profile) r->profile = "default";
    if (*r->user) return 0;
    char user[AWS_USER_MAX];
    if (identity_user(inv->options->user_template, r->licence, user) < 0) return 0; /* the licence is told as wrong */
    return (r->user = keep(inv, user)) ? 0 : ERR_NOMEM;
}

static int grow(struct inventory *inv)
{
    if (inv->n < inv->cap) return 0;
    if (inv->cap > (1u << 30)) return ERR_NOMEM;
    uint32_t cap = inv->cap ? 2 * inv->cap : ROWS_FIRST;
    struct inventory_row *rows = realloc(inv->rows, cap * sizeof *rows);
    if (!rows) return ERR_NOMEM;
    inv->rows = rows;
    bool *twice = realloc(inv->twice, cap * sizeof *twice);
    if (!twice) return ERR_NOMEM;
    inv->twice = twice;
    if (index_build(inv, &inv->by_licence, cap) < 0 || index_build(inv, &inv->by_user, cap) < 0) return ERR_NOMEM;
    inv->cap = cap;
    return 0;
}

static void tell_twice(struct inventory *inv, const struct inventory_row *r, uint32_t other, const char *what)
{
    if (inv->rows[other].line)
        tell(inv, r->line, r->licence,
             "its %s is also that of licence %s in line %" PRIu32 ": both are left out, remove one", what,
             inv->rows[other].licence, inv->rows[other].line);
    else
        tell(inv, r->line, r->licence, "its %s is also that of licence %s: both are left out", what,
             inv->rows[other].licence);
}

/* Appends a row whose strings stay where they are; a bad one is told. */
static int append(struct inventory *inv, struct inventory_row *r)
{
    int rc = complete(inv, r);
    if (rc == 0) rc = grow(inv);
    if (rc < 0) return rc;
    const char *fault = fault_of(inv, r);
    if (fault) {
        inv->bad++;
        tell(inv, r->line, identity_licence_valid(r->licence) ? r->licence : "", "%s", fault);
        return 0;
    }
    uint32_t same_licence = find_licence(inv, r->licence), same_user = find_user(inv, r->account, r->user);
    if (same_licence != NONE) inv->twice[same_licence] = true;
    if (same_user != NONE) inv->twice[same_user] = true;
    if (same_licence != NONE)
        tell_twice(inv, r, same_licence, "licence");
    else if (same_user != NONE)
        tell_twice(inv, r, same_user, "IAM user");
    inv->twice[inv->n] = same_licence != NONE || same_user != NONE;
    inv->rows[inv->n++] = *r;
    index_put(inv, &inv->by_licence, inv->n - 1);
    index_put(inv, &inv->by_user, inv->n - 1);
    return 0;
}

int inventory_add(struct inventory *inv, const struct inventory_row *row)
{
    struct inventory_row copy = *row, given = *row;
    for (int c = 0; c < COLUMNS; c++) {
        const char *text = *field(&given, (enum column)c), *before;
        before = inv->n ? *field(&inv->rows[inv->n - 1], (enum column)c) : "";
        if (!text) text = "";
        if (strlen(text) >= URL_MAX) { /* longer than any field may be */
            inv->bad++;
            tell(inv, row->line, "", "%s: too long", columns[c].name);
            return 0;
        }
        *field(&copy, (enum column)c) = strcmp(before, text) == 0 ? before : keep(inv, text);
        if (!*field(&copy, (enum column)c)) return ERR_NOMEM;
    }
    return append(inv, &copy);
}

int inventory_seal(struct inventory *inv)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < inv->n; i++)
        if (!inv->twice[i]) inv->rows[kept++] = inv->rows[i];
    inv->bad += inv->n - kept;
    bool changed = kept != inv->n;
    inv->n = kept;
    free(inv->twice);
    inv->twice = NULL;
    inv->options = NULL;
    if (!changed) return 0;
    if (index_build(inv, &inv->by_licence, kept) < 0 || index_build(inv, &inv->by_user, kept) < 0) return ERR_NOMEM;
    return 0;
}

/* ---- CSV ---- */

/* Maps header names to columns. place[i]: column of the i-th field. */
static int read_header(struct inventory *inv, char **names, size_t n, enum column *place)
{
    bool seen[COLUMNS] = {false};
    for (size_t i = 0; i < n; i++) {
        char name[64];
        identity_lower(names[i], name, sizeof name);
        for (char *p = name; *p; p++)
            if (*p == ' ' || *p == '-') *p = '_';
        int c = 0;
        while (c < COLUMNS && strcmp(columns[c].name, name) != 0) c++;
        if (c == COLUMNS) {
            tell(inv, 1, "",
                 "unknown column \"%.60s\": columns are licence, account, user, bucket, region, instance_url, "
                 "time_zone, "
                 "policy, profile, credentials, separated by commas",
                 names[i]);
            return ERR_INVALID;
        }
        if (seen[c]) {
            tell(inv, 1, "", "column %s stands twice: remove one", columns[c].name);
            return ERR_INVALID;
        }
        seen[c] = true;
        place[i] = (enum column)c;
    }
    for (int c = 0; c < COLUMNS; c++) {
        if (seen[c] || !columns[c].required) continue;
        tell(inv, 1, "", "no column %s: add it to the header row", columns[c].name);
        return ERR_INVALID;
    }
    return 0;
}

static int add_record(struct inventory *inv, const struct csv *csv, const enum column *place, size_t n_columns)
{
    struct inventory_row row = {.line = csv->line};
    if (csv->n != n_columns) {
        inv->bad++;
        tell(inv, csv->line, "", "%zu fields, but the header row has %zu", csv->n, n_columns);
        return 0;
    }
    for (int c = 0; c < COLUMNS; c++) *field(&row, (enum column)c) = "";
    for (size_t i = 0; i < n_columns; i++) *field(&row, place[i]) = csv->fields[i];
    return append(inv, &row);
}

static int read_records(struct inventory *inv, struct csv *csv)
{
    enum column place[CSV_FIELDS_MAX];
    int rc = csv_next(csv);
    if (rc != 1) {
        tell(inv, csv->line, "", "%s", rc == 0 ? "the file is empty: write a header row" : csv->fault);
        return ERR_SYNTAX;
    }
    size_t n_columns = csv->n;
    rc = read_header(inv, csv->fields, n_columns, place);
    while (rc == 0) {
        int got = csv_next(csv);
        if (got == 0) return 0;
        if (got == 1) {
            rc = add_record(inv, csv, place, n_columns);
        } else {
            inv->bad++;
            tell(inv, csv->line, "", "%s", csv->fault);
        }
    }
    return rc;
}

int inventory_read_csv(struct inventory *inv, char *text, size_t len)
{
    char **texts = realloc(inv->texts, (inv->n_texts + 1) * sizeof *texts);
    if (!texts) {
        free(text);
        return ERR_NOMEM;
    }
    inv->texts = texts;
    texts[inv->n_texts++] = text;
    if (memchr(text, '\0', len)) {
        tell(inv, 0, "", "the file holds a NUL byte: save it as UTF-8 text");
        return ERR_SYNTAX;
    }
    struct csv csv;
    csv_init(&csv, text);
    return read_records(inv, &csv);
}

/* ---- JSON ---- */

/* Reads one object into the inventory. */
static int add_object(struct inventory *inv, const json_t *object, uint32_t line)
{
    struct inventory_row row = {.line = line};
    const char *name;
    json_t *value;
    if (!json_is_object(object)) {
        inv->bad++;
        tell(inv, line, "", "not an object: write {\"licence\": ..., ...}");
        return 0;
    }
    json_object_foreach((json_t *)(uintptr_t)object, name, value)
    {
        int c = 0;
        while (c < COLUMNS && strcmp(columns[c].name, name) != 0) c++;
        if (c < COLUMNS && json_is_string(value)) {
            *field(&row, (enum column)c) = json_string_value(value);
            continue;
        }
        inv->bad++;
        tell(inv, line, "", c < COLUMNS ? "%.60s: write a text in quotes" : "unknown name \"%.60s\": remove it", name);
        return 0;
    }
    return inventory_add(inv, &row);
}

/* Skips blanks and counts lines. */
static const char *skip_blanks(const char *p, uint32_t *line)
{
    for (; *p == ' ' || *p == '\t' || *p == '\r' || *p == '\n'; p++) *line += *p == '\n';
    return p;
}

static int refuse_json(struct inventory *inv, uint32_t line, const char *reason)
{
    tell(inv, line, "", "%s", reason);
    return ERR_SYNTAX;
}

/* Parses the value at *p, adds it and moves on behind it. */
static int read_object(struct inventory *inv, const char **p, const char *end, uint32_t *line)
{
    json_error_t where;
    AUTO_JSON json_t *object = NULL;
    int rc = json_read(*p, (size_t)(end - *p), JSON_DISABLE_EOF_CHECK | JSON_DECODE_ANY | JSON_REJECT_DUPLICATES,
                       &object, &where);
    if (rc == ERR_NOMEM) return rc;
    if (rc < 0) {
        tell(inv, *line + (uint32_t)where.line - 1, "", "not JSON here: %.160s", where.text);
        return ERR_SYNTAX;
    }
    rc = add_object(inv, object, *line);
    const char *stop = *p + where.position; /* bytes read: set on success too, with this flag */
    for (; *p < stop; (*p)++) *line += **p == '\n';
    return rc;
}

int inventory_read_json(struct inventory *inv, const char *text, size_t len)
{
    uint32_t line = 1;
    const char *end = text + len, *p = skip_blanks(text, &line);
    if (memchr(text, '\0', len)) return refuse_json(inv, 0, "the file holds a NUL byte: save it as UTF-8 text");
    if (*p != '[') return refuse_json(inv, line, "not a JSON array: write [ {\"licence\": ...}, ... ]");
    p = skip_blanks(p + 1, &line);
    bool first = true;
    while (*p && *p != ']') {
        if (!first && *p != ',') return refuse_json(inv, line, "no comma between two objects");
        if (!first) p = skip_blanks(p + 1, &line);
        int rc = read_object(inv, &p, end, &line);
        if (rc < 0) return rc;
        first = false;
        p = skip_blanks(p, &line);
    }
    if (*p != ']') return refuse_json(inv, line, "the array is not closed: the file seems to be cut");
    p = skip_blanks(p + 1, &line);
    return *p ? refuse_json(inv, line, "more text behind the array") : 0;
}

/* ---- file ---- */

static int read_whole(struct inventory *inv, FILE *file, const char *path, struct buf *out)
{
    char chunk[16384];
    size_t n;
    int rc = 0;
    while (rc == 0 && (n = fread(chunk, 1, sizeof chunk, file)) > 0) rc = buf_add(out, chunk, n);
    if (rc == 0 && !ferror(file)) return 0;
    if (rc == 0) tell(inv, 0, "", "cannot read %.200s: %s", path, strerror(errno));
    if (rc == ERR_TOO_LARGE) tell(inv, 0, "", "%.200s is larger than 256 MiB", path);
    return rc < 0 ? rc : ERR_IO;
}

int inventory_read_file(struct inventory *inv, const char *path)
{
    AUTO_BUF struct buf text;
    buf_init(&text, FILE_MAX_BYTES);
    FILE *file = fopen(path, "re");
    if (!file) {
        tell(inv, 0, "", "cannot read %.200s: %s", path, strerror(errno));
        return ERR_IO;
    }
    int rc = read_whole(inv, file, path, &text);
    fclose(file);
    if (rc < 0) return rc;
    size_t len = strlen(path);
    if (len > 5 && strcmp(path + len - 5, ".json") == 0) return inventory_read_json(inv, buf_str(&text), text.len);
    len = text.len;
    char *taken = buf_take(&text);
    return taken ? inventory_read_csv(inv, taken, len) : ERR_NOMEM;
}

/* ---- reading a sealed one ---- */

size_t inventory_count(const struct inventory *inv)
{
    return inv->n;
}

size_t inventory_bad(const struct inventory *inv)
{
    return inv->bad;
}

const struct inventory_row *inventory_row(const struct inventory *inv, size_t i)
{
    return i < inv->n ? &inv->rows[i] : NULL;
}

const struct inventory_row *inventory_find(const struct inventory *inv, const char *licence)
{
    uint32_t i = find_licence(inv, licence);
    return i == NONE ? NULL : &inv->rows[i];
}

const struct inventory_row *inventory_find_user(const struct inventory *inv, const char *user_key)
{
    char account[AWS_ACCOUNT_MAX];
    const char *slash = strchr(user_key, '/');
    if (!slash || slash - user_key != AWS_ACCOUNT_MAX - 1) return NULL;
    memcpy(account, user_key, AWS_ACCOUNT_MAX - 1);
    account[AWS_ACCOUNT_MAX - 1] = '\0';
    uint32_t i = find_user(inv, account, slash + 1);
    return i == NONE ? NULL : &inv->rows[i];
}

static bool same_place(const struct inventory_row *a, const struct inventory_row *b)
{
    return strcmp(a->account, b->account) == 0 && identity_same(a->user, b->user) &&
           strcmp(a->bucket, b->bucket) == 0 && strcmp(a->instance_url, b->instance_url) == 0;
}

size_t inventory_compare(const struct inventory *before, const struct inventory *after,
                         void (*fn)(void *arg, enum inventory_change what, const struct inventory_row *before,
                                    const struct inventory_row *after),
                         void *arg)
{
    size_t changes = 0;
    assert((before->rows || !before->n) && (after->rows || !after->n));
    for (uint32_t i = 0; i < before->n; i++) {
        const struct inventory_row *old = &before->rows[i], *now = inventory_find(after, old->licence);
        if (now && same_place(old, now)) continue;
        changes++;
        fn(arg, now ? INVENTORY_MOVED : INVENTORY_VANISHED, old, now);
    }
    for (uint32_t i = 0; i < after->n; i++) {
        if (inventory_find(before, after->rows[i].licence)) continue;
        changes++;
        fn(arg, INVENTORY_ADDED, NULL, &after->rows[i]);
    }
    return changes;
}

void inventory_target(const struct inventory_row *row, struct job *j)
{
    text_copy(j->licence, sizeof j->licence, row->licence);
    text_copy(j->account, sizeof j->account, row->account);
    text_copy(j->user, sizeof j->user, row->user);
    text_copy(j->bucket, sizeof j->bucket, row->bucket);
    text_copy(j->region, sizeof j->region, row->region);
    text_copy(j->instance_url, sizeof j->instance_url, row->instance_url);
    text_copy(j->profile, sizeof j->profile, row->profile);
    text_copy(j->credentials, sizeof j->credentials, row->credentials);
    text_copy(j->time_zone, sizeof j->time_zone, row->time_zone);
}
