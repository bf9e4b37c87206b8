/* One value of the settings table, from text into its field.
 *
 * A table in here maps each type to its parser. Every parser either replaces the whole field or leaves it as it was, so
 * that a refused value never leaves half a setting behind. Numbers are taken whole ("10x" is refused, not read as 10)
 * and checked against the row's range. Why a value was refused is said in words that tell what to write instead; the
 * caller adds where it stood. The text of a secret is never part of it. */
#include "lib/settings_value.h"

#include "lib/err.h"
#include "lib/secret.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct {
    const char *name;
    int64_t ms;
} duration_units[] = {{"d", 86400000}, {"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

/* Reads decimal digits; false when there are none or they do not fit. */
static bool read_digits(const char **p, int64_t *ret)
{
    int64_t value = 0;
    if (**p < '0' || **p > '9') return false;
    for (; **p >= '0' && **p <= '9'; (*p)++)
        if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, **p - '0', &value)) return false;
    *ret = value;
    return true;
}

/* Reads a unit at *p; the units of one duration go down, as in 1h30m, and the last used one is kept in *next. */
static bool read_unit(const char **p, size_t *next, int64_t *ret_ms)
{
    size_t len = strspn(*p, "dhms");
    for (size_t i = *next; i < ARRAY_LEN(duration_units); i++) {
        if (strlen(duration_units[i].name) != len || strncmp(duration_units[i].name, *p, len) != 0) continue;
        *p += len;
        *next = i + 1;
        *ret_ms = duration_units[i].ms;
        return true;
    }
    return false;
}

int settings_parse_duration(const char *text, int64_t *ret_ms)
{
    if (strcmp(text, "0") == 0) {
        *ret_ms = 0;
        return 0;
    }
    int64_t total = 0, count, unit;
    size_t next = 0;
    const char *p = text;
    do {
        if (!read_digits(&p, &count) || !read_unit(&p, &next, &unit)) return ERR_INVALID;
        if (__builtin_mul_overflow(count, unit, &count) || __builtin_add_overflow(total, count, &total))
            return ERR_INVALID;
    } while (*p);
    *ret_ms = total;
    return 0;
}

void settings_format_duration(int64_t ms, char out[SETTINGS_DURATION_MAX])
{
    size_t len = 0;
    if (ms <= 0) {
        snprintf(out, SETTINGS_DURATION_MAX, "0s");
        return;
    }
    /* As people say it: 25h, not 1d1h; but 80d. */
    for (size_t i = ms % 86400000 && ms < 2 * 86400000LL ? 1 : 0; i < ARRAY_LEN(duration_units) && ms > 0; i++) {
        int64_t count = ms / duration_units[i].ms;
        ms -= count * duration_units[i].ms;
        if (count > 0)
            len += (size_t)snprintf(out + len, SETTINGS_DURATION_MAX - len, "%" PRId64 "%s", count,
                                    duration_units[i].name);
        if (len >= SETTINGS_DURATION_MAX) return;
    }
}

int settings_parse_size(const char *text, int64_t *ret_bytes)
{
    static const struct {
        const char *name;
        int64_t bytes;
    } units[] = {{"", 1},        {"B", 1},         {"K", 1 << 10}, {"KiB", 1 << 10},
                 {"M", 1 << 20}, {"MiB", 1 << 20}, {"G", 1 << 30}, {"GiB", 1 << 30}};
    int64_t count;
    const char *p = text;
    if (!read_digits(&p, &count)) return ERR_INVALID;
    for (size_t i = 0; i < ARRAY_LEN(units); i++)
        if (strcmp(p, units[i].name) == 0)
            return __builtin_mul_overflow(count, units[i].bytes, ret_bytes) ? ERR_INVALID : 0;
    return ERR_INVALID;
}

static void write_number(const struct setting *row, int64_t n, struct buf *out)
{
    char text[SETTINGS_DURATION_MAX];
    if (row->type == SETTING_DURATION) {
        settings_format_duration(n, text);
        (void)buf_adds(out, text);
    } else if (row->type == SETTING_SIZE && n >= 1024 && n % 1024 == 0) {
        bool mega = n % (1 << 20) == 0;
        (void)buf_addf(out, "%" PRId64 "%s", mega ? n >> 20 : n >> 10, mega ? "MiB" : "KiB");
    } else {
        (void)buf_addf(out, "%" PRId64, n);
    }
}

void settings_value_range(const struct setting *row, struct buf *out)
{
    bool counts = row->type == SETTING_INT || row->type == SETTING_DURATION || row->type == SETTING_SIZE ||
                  row->type == SETTING_DOUBLE;
    if (!counts || row->max == 0) return;
    write_number(row, row->min, out);
    (void)buf_adds(out, "..");
    write_number(row, row->max, out);
}

const char *settings_type_name(enum setting_type type)
{
    static const char *const names[] = {"text",     "path", "secret", "list",          "number",
                                        "duration", "size", "number", "true or false", "choice"};
    return (unsigned)type < ARRAY_LEN(names) ? names[type] : "?";
}

static int out_of_range(const struct setting *row, char *why)
{
    AUTO_BUF struct buf range;
    buf_init(&range, SETTINGS_WHY_MAX);
    settings_value_range(row, &range);
    snprintf(why, SETTINGS_WHY_MAX, "out of range, write a value in %s", buf_str(&range));
    return ERR_INVALID;
}

static bool in_range(const struct setting *row, int64_t n)
{
    return n >= row->min && (row->max == 0 || n <= row->max);
}

static int set_text(const struct setting *row, void *field, const char *text, const char *home, char *why)
{
    char *copy = NULL;
    if (row->type == SETTING_PATH && strncmp(text, "~/", 2) == 0) {
        if (!home || !*home) {
            snprintf(why, SETTINGS_WHY_MAX, "~/ needs HOME to be set, write the whole path");
            return ERR_INVALID;
        }
        if (asprintf(&copy, "%s/%s", home, text + 2) < 0) return ERR_NOMEM;
    } else if (*text && !(copy = strdup(text))) {
        return ERR_NOMEM;
    }
    free(*(char **)field);
    *(char **)field = copy;
    return 0;
}

static int set_secret(const struct setting *row, void *field, const char *text, const char *home, char *why)
{
    (void)row, (void)home, (void)why;
    struct secret *copy = NULL;
    if (*text && !(copy = secret_from_string(text))) return ERR_NOMEM;
    secret_free(*(struct secret **)field);
    *(struct secret **)field = copy;
    return 0;
}

static void list_done(struct settings_list *l)
{
    for (size_t i = 0; i < l->n; i++) free(l->items[i]);
    free(l->items);
    *l = (struct settings_list){0};
}

/* Appends the text between from and to without the blanks around it; an empty one is left out. */
static int list_add(struct settings_list *l, const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\t')) from++;
    while (to > from && (to[-1] == ' ' || to[-1] == '\t')) to--;
    if (from == to) return 0;
    char **items = realloc(l->items, (l->n + 1) * sizeof *items);
    if (!items) return ERR_NOMEM;
    l->items = items;
    if (!(items[l->n] = strndup(from, (size_t)(to - from)))) return ERR_NOMEM;
    l->n++;
    return 0;
}

static int set_list(const struct setting *row, void *field, const char *text, const char *home, char *why)
{
    (void)home;
    CLEANUP(list_done) struct settings_list list = {0};
    for (const char *p = text;; p++) {
        const char *end = strchrnul(p, ',');
        int rc = list_add(&list, p, end);
        if (rc < 0) return rc;
        p = end;
        if (!*p) break;
    }
    if (!in_range(row, (int64_t)list.n)) {
        snprintf(why, SETTINGS_WHY_MAX, "it takes %" PRId64 " to %" PRId64 " items separated by commas", row->min,
                 row->max);
        return ERR_INVALID;
    }
    list_done(field);
    *(struct settings_list *)field = list;
    list = (struct settings_list){0};
    return 0;
}

static int set_int(const struct setting *row, void *field, const char *text, const char *home, char *why)
{
    (void)home;
    bool minus = *text == '-';
    const char *p = text + minus;
    int64_t n;
    if (!read_digits(&p, &n) || *p) {
        snprintf(why, SETTINGS_WHY_MAX, "not a whole number, write digits only");
        return ERR_INVALID;
    }
    if (minus) n = -n;
    if (!in_range(row, n)) return out_of_range(row, why);
    *(int64_t *)field = n;
    return 0;
}

static int set_duration(const struct setting *row, void *field, const char *text, const char *home, char *why)
{
    (void)home;
    int64_t ms;
    if (settings_parse_duration(text, &ms) < 0) {
        snprintf(why, SETTINGS_WHY_MAX,
                 "not a duration, write a number and one of ms, s, m, h, d, for example 25h or 1h30m");
        return ERR_INVALID;
    }
    if (!in_range(row, ms)) return out_of_range(row, why);
    *(int64_t *)field = ms;
    return 0;
}

static int set_size(const struct setting *row, void *field, const char *text, const char *home, char *why)
{
    (void)home;
    int64_t bytes;
    if (settings_parse_size(text, &bytes) < 0) {
        snprintf(why, SETTINGS_WHY_MAX, "not a size, write a number and one of KiB, MiB, GiB, for example 64KiB");
        return ERR_INVALID;
    }
    if (!in_range(row, bytes)) return out_of_range(row, why);
    *(int64_t *)field = bytes;
    return 0;
}

static int set_double(const struct setting *row, void *field, const char *text, const char *home, char *why)
{
    (void)home;
    char *end;
    double n = strtod(text, &end);
    if (end == text || *end || !isfinite(n)) {
        snprintf(why, SETTINGS_WHY_MAX, "not a number, write for example 8 or 0.5");
        return ERR_INVALID;
    }
    if (n < (double)row->min || (row->max != 0 && n > (double)row->max)) return out_of_range(row, why);
    *(double *)field = n;
    return 0;
}

static int set_bool(const struct setting *row, void *field, const char *text, const char *home, char *why)
{
    static const char *const words[] = {"false", "no", "off", "0", "true", "yes", "on", "1"};
    (void)row, (void)home;
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        if (strcasecmp(text, words[i]) != 0) continue;
        *(bool *)field = i >= ARRAY_LEN(words) / 2;
        return 0;
    }
    snprintf(why, SETTINGS_WHY_MAX, "write true or false");
    return ERR_INVALID;
}

static int set_enum(const struct setting *row, void *field, const char *text, const char *home, char *why)
{
    (void)home;
    int position = 0;
    for (const char *p = row->choices; *p; position++) {
        const char *end = strchrnul(p, '|');
        if (strlen(text) == (size_t)(end - p) && strncasecmp(text, p, (size_t)(end - p)) == 0) {
            *(int *)field = position;
            return 0;
        }
        p = *end ? end + 1 : end;
    }
    snprintf(why, SETTINGS_WHY_MAX, "write one of %s", row->choices);
    return ERR_INVALID;
}

int settings_value_set(const struct setting *row, void *target, const char *text, const char *home,
                       char why[SETTINGS_WHY_MAX])
{
    static int (*const set[])(const struct setting *, void *, const char *, const char *, char *) = {
        [SETTING_STRING] = set_text, [SETTING_PATH] = set_text,     [SETTING_SECRET] = set_secret,
        [SETTING_LIST] = set_list,   [SETTING_INT] = set_int,       [SETTING_DURATION] = set_duration,
        [SETTING_SIZE] = set_size,   [SETTING_DOUBLE] = set_double, [SETTING_BOOL] = set_bool,
        [SETTING_ENUM] = set_enum,
    };
    return set[row->type](row, (char *)target + row->offset, text, home, why);
}

static void write_list(const struct settings_list *list, struct buf *out)
{
    for (size_t i = 0; i < list->n; i++) (void)buf_addf(out, "%s%s", i ? "," : "", list->items[i]);
}

static void write_enum(const struct setting *row, int position, struct buf *out)
{
    const char *p = row->choices;
    for (; position > 0; position--) p = strchrnul(p, '|') + 1;
    (void)buf_add(out, p, (size_t)(strchrnul(p, '|') - p));
}

void settings_value_write(const struct setting *row, const void *target, struct buf *out)
{
    const void *field = (const char *)target + row->offset;
    switch (row->type) {
    case SETTING_STRING:
    case SETTING_PATH:
        if (*(char *const *)field) (void)buf_adds(out, *(char *const *)field);
        break;
    case SETTING_SECRET:
        break;
    case SETTING_LIST:
        write_list(field, out);
        break;
    case SETTING_INT:
    case SETTING_DURATION:
    case SETTING_SIZE:
        write_number(row, *(const int64_t *)field, out);
        break;
    case SETTING_DOUBLE:
        (void)buf_addf(out, "%.17g", *(const double *)field);
        break;
    case SETTING_BOOL:
        (void)buf_adds(out, *(const bool *)field ? "true" : "false");
        break;
    case SETTING_ENUM:
        write_enum(row, *(const int *)field, out);
        break;
    }
}

void settings_value_done(const struct setting *row, void *target)
{
    void *field = (char *)target + row->offset;
    if (row->type == SETTING_STRING || row->type == SETTING_PATH) {
        free(*(char **)field);
        *(char **)field = NULL;
    } else if (row->type == SETTING_SECRET) {
        secret_free(*(struct secret **)field);
        *(struct secret **)field = NULL;
    } else if (row->type == SETTING_LIST) {
        list_done(field);
    }
}
