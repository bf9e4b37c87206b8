/* The policy file (policy_file.h). It is written by people, so every fault is told with its place, and a name that is
 * not known is a fault: a window that a slip of the pen turned into nothing would open all hours.
 *
 * What JSON Schema cannot say is checked here as well: days that do not exist, stretches without length, windows no
 * longer than the lead, a licence named twice, a jitter as long as the age, with what a policy takes over counted in.
 */
#include "schema/policy_file.h"

#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/text.h"
#include "schema/message.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define S    1000LL
#define MIN  (60 * S)
#define HOUR (60 * MIN)
#define DAY  (24 * HOUR)
#define LIST 100000 /* canaries, exclusions */

/* Where we are, and who hears of it. */
struct reading {
    policy_complain *complain;
    void *arg;
    char path[POLICY_PATH_MAX];
    unsigned faults;
    bool no_memory;
};

static void fault(struct reading *in, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void fault(struct reading *in, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    in->faults++;
    if (in->complain) in->complain(in->arg, in->path, text);
}

/* Goes down to a member or an item; returns what leave() takes. */
static size_t enter(struct reading *in, const char *name)
{
    char clean[POLICY_NAME_MAX];
    size_t before = strlen(in->path);
    message_words(clean, sizeof clean, name);
    snprintf(in->path + before, sizeof in->path - before, "%s%s", before ? "." : "", clean);
    return before;
}

static size_t enter_item(struct reading *in, size_t i)
{
    size_t before = strlen(in->path);
    snprintf(in->path + before, sizeof in->path - before, "[%zu]", i);
    return before;
}

static void leave(struct reading *in, size_t before)
{
    in->path[before] = '\0';
}

/* ---- dates ---- */

static bool two(const char *p, int *ret)
{
    if (p[0] < '0' || p[0] > '9' || p[1] < '0' || p[1] > '9') return false;
    *ret = (p[0] - '0') * 10 + p[1] - '0';
    return true;
}

static int days_in(int year, int month)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    return days[month - 1] + (month == 2 && leap);
}

bool policy_date_parse(const char *text, int64_t *ret_day)
{
    int century, rest, month, day;
    if (strlen(text) != 10 || text[4] != '-' || text[7] != '-') return false;
    if (!two(text, &century) || !two(text + 2, &rest) || !two(text + 5, &month) || !two(text + 8, &day)) return false;
    int year = century * 100 + rest;
    if (year < 1970 || year >= 2100 || month < 1 || month > 12 || day < 1 || day > days_in(year, month)) return false;
    int64_t days = day - 1;
    for (int y = 1970; y < year; y++) days += 337 + days_in(y, 2);
    for (int m = 1; m < month; m++) days += days_in(year, m);
    *ret_day = days;
    return true;
}

void policy_date_format(int64_t day, char out[11])
{
    char text[TIME_TEXT_MAX];
    time_format(day * DAY, text);
    snprintf(out, 11, "%.10s", text);
}

/* ---- values ---- */

static const char *text_of(struct reading *in, const json_t *v, const char *how)
{
    const char *text = json_string_value(v);
    if (!text) fault(in, "%s", how);
    return text;
}

static bool parse_span(const char *text, int64_t *ret_ms)
{
    static const struct {
        char unit;
        int64_t ms;
    } units[] = {{'s', S}, {'m', MIN}, {'h', HOUR}, {'d', DAY}};
    size_t digits = strspn(text, "0123456789");
    if (digits < 1 || digits > 9 || !text[digits] || text[digits + 1]) return false;
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        if (units[i].unit != text[digits]) continue;
        *ret_ms = strtoll(text, NULL, 10) * units[i].ms;
        return true;
    }
    return false;
}

static void read_duration(struct reading *in, const json_t *v, int64_t least, int64_t most, int64_t *ret_ms)
{
    static const char how[] = "write a number and one of s, m, h, d in quotes, for example \"80d\"";
    const char *text = text_of(in, v, how);
    int64_t ms;
    if (!text) return;
    if (!parse_span(text, &ms))
        fault(in, "%s", how);
    else if (ms < least || ms > most)
        fault(in, "must be between %llds and %lldd", least / S, most / DAY);
    else
        *ret_ms = ms;
}

static bool read_minute(struct reading *in, const json_t *v, bool end, int *ret_min)
{
    const char *text = json_string_value(v);
    int hour, minute;
    bool form = text && strlen(text) == 5 && text[2] == ':' && two(text, &hour) && two(text + 3, &minute);
    if (form && minute < 60 && (hour < 24 || (end && hour == 24 && minute == 0))) {
        *ret_min = hour * 60 + minute;
        return true;
    }
    fault(in, "write a time of the day in quotes, \"00:00\" to \"%s\"", end ? "24:00" : "23:59");
    return false;
}

static bool read_date(struct reading *in, const json_t *v, int64_t *ret_day)
{
    const char *text = json_string_value(v);
    if (text && policy_date_parse(text, ret_day)) return true;
    fault(in, "write a day that exists in quotes, for example \"2026-12-24\"");
    return false;
}

static void read_reason(struct reading *in, const json_t *v, char out[POLICY_REASON_MAX])
{
    const char *text = json_string_value(v);
    message_words(out, POLICY_REASON_MAX, text);
    if (!text || !*text || strcmp(text, out) != 0)
        fault(in, "write the reason in quotes, up to 100 characters and no control characters");
}

static bool read_licence(struct reading *in, const json_t *v, char out[IDENTITY_LICENCE_MAX])
{
    const char *text = json_string_value(v);
    if (text && identity_licence_valid(text)) {
        identity_lower(text, out, IDENTITY_LICENCE_MAX);
        return true;
    }
    fault(in, "write a licence in quotes: up to 47 letters, digits and _+=,.@-");
    return false;
}

/* ---- objects ---- */

/* True when v is an object that has all of `required` and nothing but these and `optional` (lists end with NULL). */
static bool check_object(struct reading *in, const json_t *v, const char *const *required, const char *const *optional)
{
    unsigned before = in->faults;
    if (!json_is_object(v)) {
        fault(in, "write an object, { ... }");
        return false;
    }
    for (const char *const *name = required; *name; name++)
        if (!json_object_get(v, *name)) fault(in, "\"%s\" is missing", *name);
    const char *name;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)v, name, value)
    {
        bool known = false;
        for (const char *const *k = required; *k && !known; k++) known = strcmp(*k, name) == 0;
        for (const char *const *k = optional; *k && !known; k++) known = strcmp(*k, name) == 0;
        size_t at = enter(in, name);
        if (!known) fault(in, "there is no such name: remove it or correct it");
        leave(in, at);
    }
    return in->faults == before;
}

static bool check_array(struct reading *in, const json_t *v, size_t most)
{
    if (!json_is_array(v))
        fault(in, "write a list, [ ... ]");
    else if (json_array_size(v) > most)
        fault(in, "at most %zu entries", most);
    else
        return true;
    return false;
}

static const char *const nothing[] = {NULL};

static unsigned read_days(struct reading *in, const json_t *v)
{
    static const char *const names[] = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
    unsigned days = 0;
    const json_t *item;
    size_t i;
    if (!check_array(in, v, ARRAY_LEN(names))) return 0;
    if (json_array_size(v) == 0) fault(in, "name a day at least, or leave \"days\" out for all of them");
    json_array_foreach((json_t *)(uintptr_t)v, i, item)
    {
        const char *text = json_string_value(item);
        size_t at = enter_item(in, i), day = 0;
        while (day < ARRAY_LEN(names) && (!text || strcmp(names[day], text) != 0)) day++;
        if (day == ARRAY_LEN(names))
            fault(in, "write mon, tue, wed, thu, fri, sat or sun in quotes");
        else if (days & 1u << day)
            fault(in, "%s stands twice", text);
        else
            days |= 1u << day;
        leave(in, at);
    }
    return days;
}

static void read_span(struct reading *in, const json_t *v, struct policy_span *ret)
{
    static const char *const required[] = {"from", "to", NULL}, *const optional[] = {"days", NULL};
    *ret = (struct policy_span){.days = POLICY_DAYS_ALL};
    if (!check_object(in, v, required, optional)) return;
    size_t at = enter(in, "from");
    bool good = read_minute(in, json_object_get(v, "from"), false, &ret->from_min);
    leave(in, at);
    at = enter(in, "to");
    good = read_minute(in, json_object_get(v, "to"), true, &ret->to_min) && good;
    if (good && ret->from_min == ret->to_min) fault(in, "is the same as \"from\": for whole days write 00:00 to 24:00");
    leave(in, at);
    const json_t *days = json_object_get(v, "days");
    if (!days) return;
    at = enter(in, "days");
    ret->days = read_days(in, days);
    leave(in, at);
}

static void read_spans(struct reading *in, const json_t *v, struct policy_span *ret, size_t *ret_n)
{
    *ret_n = 0;
    if (!check_array(in, v, POLICY_SPANS_MAX)) return;
    for (size_t i = 0; i < json_array_size(v); i++) {
        size_t at = enter_item(in, i);
        read_span(in, json_array_get(v, i), &ret[(*ret_n)++]);
        leave(in, at);
    }
}

static void read_dates(struct reading *in, const json_t *v, struct policy_dates *ret)
{
    static const char *const required[] = {"from", "reason", NULL}, *const optional[] = {"to", NULL};
    if (!check_object(in, v, required, optional)) return;
    size_t at = enter(in, "from");
    bool good = read_date(in, json_object_get(v, "from"), &ret->first_day);
    leave(in, at);
    ret->last_day = ret->first_day;
    at = enter(in, "to");
    const json_t *to = json_object_get(v, "to");
    if (to) good = read_date(in, to, &ret->last_day) && good;
    if (good && ret->last_day < ret->first_day) fault(in, "is before \"from\"");
    leave(in, at);
    at = enter(in, "reason");
    read_reason(in, json_object_get(v, "reason"), ret->reason);
    leave(in, at);
}

static void read_blackouts(struct reading *in, const json_t *v, struct policy_rules *r)
{
    r->n_blackouts = 0;
    if (!check_array(in, v, POLICY_DATES_MAX)) return;
    for (size_t i = 0; i < json_array_size(v); i++) {
        size_t at = enter_item(in, i);
        read_dates(in, json_array_get(v, i), &r->blackouts[r->n_blackouts++]);
        leave(in, at);
    }
}

static void read_nightly(struct reading *in, const json_t *v, struct policy_rules *r)
{
    r->has_nightly_copy = !json_is_null(v);
    if (r->has_nightly_copy) read_span(in, v, &r->nightly_copy);
}

/* ---- one policy ---- */

static int span_min(const struct policy_span *s)
{
    return s->to_min > s->from_min ? s->to_min - s->from_min : s->to_min + 1440 - s->from_min;
}

static void check_rules(struct reading *in, const struct policy_rules *r)
{
    if (r->max_age_jitter_ms >= r->max_age_ms)
        fault(in, "max_age_jitter must be shorter than max_age, also where one of them is taken over");
    else if (r->min_gap_ms > r->max_age_ms - r->max_age_jitter_ms)
        fault(in, "min_gap must not be longer than max_age less max_age_jitter");
    for (size_t i = 0; i < r->n_windows; i++)
        if (span_min(&r->windows[i]) * MIN <= r->lead_ms) fault(in, "windows must be longer than the lead");
}

static void read_rules(struct reading *in, const json_t *v, struct policy_rules *r)
{
    static const char *const names[] = {"max_age", "max_age_jitter", "min_gap",   "lead", "windows",
                                        "quiet",   "nightly_copy",   "blackouts", NULL};
    unsigned before = in->faults;
    if (!check_object(in, v, nothing, names)) return;
    const char *name;
    json_t *m;
    json_object_foreach((json_t *)(uintptr_t)v, name, m)
    {
        size_t at = enter(in, name);
        if (strcmp(name, "max_age") == 0) read_duration(in, m, 1 * S, 3650 * DAY, &r->max_age_ms);
        if (strcmp(name, "max_age_jitter") == 0) read_duration(in, m, 0, 365 * DAY, &r->max_age_jitter_ms);
        if (strcmp(name, "min_gap") == 0) read_duration(in, m, 0, 365 * DAY, &r->min_gap_ms);
        if (strcmp(name, "lead") == 0) read_duration(in, m, 0, 1 * DAY, &r->lead_ms);
        if (strcmp(name, "windows") == 0) read_spans(in, m, r->windows, &r->n_windows);
        if (strcmp(name, "quiet") == 0) read_spans(in, m, r->quiet, &r->n_quiet);
        if (strcmp(name, "nightly_copy") == 0) read_nightly(in, m, r);
        if (strcmp(name, "blackouts") == 0) read_blackouts(in, m, r);
        leave(in, at);
    }
    if (!json_object_get(v, "min_gap") && r->min_gap_ms > (r->max_age_ms - r->max_age_jitter_ms) / 2)
        r->min_gap_ms = (r->max_age_ms - r->max_age_jitter_ms) / 2;
    if (in->faults == before) check_rules(in, r);
}

void policy_rules_init(struct policy_rules *r, int64_t max_age_ms, int64_t max_age_jitter_ms)
{
    int64_t half = (max_age_ms - max_age_jitter_ms) / 2;
    *r = (struct policy_rules){.name = "default",
                               .max_age_ms = max_age_ms,
                               .max_age_jitter_ms = max_age_jitter_ms,
                               .min_gap_ms = half < DAY ? half : DAY,
                               .lead_ms = 10 * MIN,
                               .has_nightly_copy = true,
                               .nightly_copy = {POLICY_DAYS_ALL, 20 * 60, 22 * 60 + 30}};
}

/* ---- the parts of the file ---- */

static void read_policies(struct reading *in, const json_t *v, const struct policy_rules *base, struct policy_file *f)
{
    const char *name;
    json_t *m;
    f->policies = calloc(v && json_is_object(v) ? json_object_size(v) + 1 : 1, sizeof *f->policies);
    if (!f->policies) {
        in->no_memory = true;
        return;
    }
    f->policies[0] = *base;
    snprintf(f->policies[0].name, sizeof f->policies[0].name, "default");
    f->n_policies = 1;
    if (!v) return;
    if (!json_is_object(v) || json_object_size(v) > POLICY_COUNT_MAX) {
        fault(in, "write an object of at most %d policies by name, { \"default\": { ... } }", POLICY_COUNT_MAX);
        return;
    }
    size_t at = enter(in, "default");
    if (json_object_get(v, "default")) read_rules(in, json_object_get(v, "default"), &f->policies[0]);
    leave(in, at);
    json_object_foreach((json_t *)(uintptr_t)v, name, m)
    {
        if (strcmp(name, "default") == 0) continue;
        struct policy_rules *r = &f->policies[f->n_policies++];
        *r = f->policies[0];
        at = enter(in, name);
        if (message_word_valid(name))
            text_copy(r->name, sizeof r->name, name);
        else
            fault(in, "a policy's name has 1 to 100 letters, digits and ._-");
        read_rules(in, m, r);
        leave(in, at);
    }
}

static int by_exclusion(const void *a, const void *b)
{
    const struct policy_exclusion *x = a, *y = b;
    return strcmp(x->licence, y->licence);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static void read_exclusion(struct reading *in, const json_t *v, struct policy_exclusion *ret)
{
    static const char *const required[] = {"licence", "expires", "reason", NULL};
    int64_t day = 0;
    if (!check_object(in, v, required, nothing)) return;
    size_t at = enter(in, "licence");
    (void)read_licence(in, json_object_get(v, "licence"), ret->licence);
    leave(in, at);
    at = enter(in, "expires");
    (void)read_date(in, json_object_get(v, "expires"), &day);
    ret->expires_ms = day * DAY;
    leave(in, at);
    at = enter(in, "reason");
    read_reason(in, json_object_get(v, "reason"), ret->reason);
    leave(in, at);
}

static void read_exclusions(struct reading *in, const json_t *v, struct policy_file *f)
{
    if (!v || !check_array(in, v, LIST)) return;
    unsigned before = in->faults;
    f->exclusions = calloc(json_array_size(v) + 1, sizeof *f->exclusions);
    in->no_memory = in->no_memory || !f->exclusions;
    for (size_t i = 0; f->exclusions && i < json_array_size(v); i++) {
        size_t at = enter_item(in, i);
        read_exclusion(in, json_array_get(v, i), &f->exclusions[f->n_exclusions++]);
        leave(in, at);
    }
    if (f->n_exclusions) qsort(f->exclusions, f->n_exclusions, sizeof *f->exclusions, by_exclusion);
    for (size_t i = 1; in->faults == before && i < f->n_exclusions; i++)
        if (strcmp(f->exclusions[i].licence, f->exclusions[i - 1].licence) == 0)
            fault(in, "licence %s stands twice", f->exclusions[i].licence);
}

static void read_canaries(struct reading *in, const json_t *v, struct policy_file *f)
{
    if (!v || !check_array(in, v, LIST)) return;
    unsigned before = in->faults;
    f->canaries = calloc(json_array_size(v) + 1, sizeof *f->canaries);
    in->no_memory = in->no_memory || !f->canaries;
    for (size_t i = 0; f->canaries && i < json_array_size(v); i++) {
        size_t at = enter_item(in, i);
        (void)read_licence(in, json_array_get(v, i), f->canaries[f->n_canaries++]);
        leave(in, at);
    }
    if (f->n_canaries) qsort(f->canaries, f->n_canaries, sizeof *f->canaries, by_text);
    for (size_t i = 1; in->faults == before && i < f->n_canaries; i++)
        if (strcmp(f->canaries[i], f->canaries[i - 1]) == 0) fault(in, "licence %s stands twice", f->canaries[i]);
}

/* The version as our messages have it: NAME/1, NAME/1.x. */
static int check_version(struct reading *in, const json_t *v)
{
    static const char name[] = "keyroll.policy/";
    const char *text = json_string_value(v);
    bool ours = text && strncmp(text, name, sizeof name - 1) == 0;
    const char *p = ours ? text + sizeof name - 1 : "";
    size_t minor = *p == '1' && p[1] == '.' ? strspn(p + 2, "0123456789") : 0;
    if (*p == '1' && (!p[1] || (minor >= 1 && minor <= 4 && !p[2 + minor]))) return 0;
    size_t at = enter(in, "version");
    fault(in, "write \"version\": \"keyroll.policy/1\"");
    leave(in, at);
    return ours && strspn(p, "0123456789") > 0 && *p != '1' ? ERR_VERSION : ERR_INVALID;
}

static int read_root(struct reading *in, const json_t *root, const struct policy_rules *base, struct policy_file *f)
{
    static const char *const required[] = {"version", NULL};
    static const char *const optional[] = {"description", "policies", "canaries", "exclusions", NULL};
    if (!json_is_object(root)) {
        fault(in, "not an object: write { \"version\": \"keyroll.policy/1\", ... }");
        return ERR_SYNTAX;
    }
    int rc = check_version(in, json_object_get(root, "version"));
    if (rc == ERR_VERSION) return rc;
    (void)check_object(in, root, required, optional);
    const json_t *words = json_object_get(root, "description");
    size_t at = enter(in, "description");
    if (words && !json_is_string(words)) fault(in, "write a text in quotes");
    leave(in, at);
    at = enter(in, "policies");
    read_policies(in, json_object_get(root, "policies"), base, f);
    leave(in, at);
    at = enter(in, "canaries");
    read_canaries(in, json_object_get(root, "canaries"), f);
    leave(in, at);
    at = enter(in, "exclusions");
    read_exclusions(in, json_object_get(root, "exclusions"), f);
    leave(in, at);
    return in->no_memory ? ERR_NOMEM : in->faults ? ERR_INVALID : 0;
}

int policy_file_decode(const char *bytes, size_t len, const struct policy_rules *base, policy_complain *complain,
                       void *arg, struct policy_file *ret_file)
{
    struct reading in = {.complain = complain, .arg = arg};
    struct policy_file f = {0};
    json_error_t where;
    if (len > POLICY_FILE_MAX) {
        fault(&in, "larger than %d bytes", POLICY_FILE_MAX);
        return ERR_TOO_LARGE;
    }
    if (len && memchr(bytes, '\0', len)) {
        fault(&in, "holds a NUL byte: save it as UTF-8 text");
        return ERR_SYNTAX;
    }
    AUTO_JSON json_t *root = NULL;
    int rc = json_read(bytes, len, JSON_REJECT_DUPLICATES, &root, &where);
    if (rc == ERR_NOMEM) return rc;
    if (rc < 0) {
        fault(&in, "not JSON, line %d column %d: %.160s", where.line, where.column, where.text);
        return ERR_SYNTAX;
    }
    rc = read_root(&in, root, base, &f);
    if (rc < 0)
        policy_file_done(&f);
    else
        *ret_file = f;
    return rc;
}

static int read_whole(FILE *file, struct buf *out)
{
    char chunk[16384];
    size_t n;
    int rc = 0;
    while (rc == 0 && (n = fread(chunk, 1, sizeof chunk, file)) > 0) rc = buf_add(out, chunk, n);
    return rc == 0 && ferror(file) ? ERR_IO : rc;
}

int policy_file_read(const char *path, const struct policy_rules *base, policy_complain *complain, void *arg,
                     struct policy_file *ret_file)
{
    struct reading in = {.complain = complain, .arg = arg};
    AUTO_BUF struct buf text;
    buf_init(&text, POLICY_FILE_MAX + 1);
    FILE *file = fopen(path, "re");
    int rc = file ? read_whole(file, &text) : ERR_IO;
    if (rc == ERR_IO) fault(&in, "cannot be read: %s", strerror(errno));
    if (rc == ERR_TOO_LARGE) fault(&in, "larger than %d bytes", POLICY_FILE_MAX);
    if (file) fclose(file);
    return rc < 0 ? rc : policy_file_decode(buf_str(&text), text.len, base, complain, arg, ret_file);
}

void policy_file_done(struct policy_file *f)
{
    free(f->policies);
    free(f->exclusions);
    free(f->canaries);
    *f = (struct policy_file){0};
}

/* ---- asking ---- */

const struct policy_rules *policy_file_find(const struct policy_file *f, const char *name)
{
    if (!*name) name = "default";
    for (size_t i = 0; i < f->n_policies; i++)
        if (strcmp(f->policies[i].name, name) == 0) return &f->policies[i];
    return NULL;
}

const struct policy_exclusion *policy_file_exclusion(const struct policy_file *f, const char *licence)
{
    struct policy_exclusion key;
    if (!f->n_exclusions) return NULL;
    identity_lower(licence, key.licence, sizeof key.licence);
    return bsearch(&key, f->exclusions, f->n_exclusions, sizeof key, by_exclusion);
}

bool policy_file_is_canary(const struct policy_file *f, const char *licence)
{
    char key[IDENTITY_LICENCE_MAX];
    if (!f->n_canaries) return false;
    identity_lower(licence, key, sizeof key);
    return bsearch(key, f->canaries, f->n_canaries, sizeof *f->canaries, by_text) != NULL;
}
