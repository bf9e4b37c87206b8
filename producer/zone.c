/* TZif files (zone.h): RFC 9636.
 *
 * A file holds a list of moments at which the offset changes, and behind it a rule, in the form of POSIX's TZ, for all
 * time after the last of them. Only offsets count here: names, the daylight flag and leap seconds are passed over (a
 * file with leap seconds counts differently; such files live under "right/" and are refused). Nothing here reads a file
 * or the environment, so that the calendar can be tested on any data. */
#include "producer/zone.h"

#include "lib/err.h"

#include <ctype.h>
#include <stdbool.h>
#include <string.h>

#define HEAD     44
#define OFFSET_S 93600 /* RFC 9636 section 3.2: within 26 hours */

/* One change of a rule: month/week/day (M), day of the year without 29 February (J), or with it (0). */
struct change {
    char form; /* 'M', 'J', '0' */
    int month, week, day;
    int64_t at_s; /* local seconds after midnight, may be negative or over a day */
};

struct zone {
    size_t n;
    int64_t *at_s;        /* n, rising */
    int32_t *offset_s;    /* n, from that moment on */
    int32_t first_s;      /* before the first */
    bool has_rule, dst;   /* dst: the rule has two offsets */
    int32_t std_s, dst_s; /* ahead of UTC */
    struct change to_dst, to_std;
};

void zone_free(struct zone *z)
{
    if (!z) return;
    free(z->at_s);
    free(z->offset_s);
    free(z);
}

/* ---- days ---- */

/* Days since 1970-01-01 of a date of the Gregorian calendar (Howard Hinnant, "chrono-compatible low-level date
 * algorithms", days_from_civil). */
static int64_t days_of(int64_t year, int month, int day)
{
    year -= month <= 2;
    int64_t era = (year >= 0 ? year : year - 399) / 400, in_era = year - era * 400;
    int64_t in_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    return era * 146097 + in_era * 365 + in_era / 4 - in_era / 100 + in_year - 719468;
}

static bool is_leap(int64_t year)
{
    return year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
}

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

static int64_t year_of(int64_t utc_s)
{
    int64_t day = floor_div(utc_s, 86400), year = 1970 + floor_div(day * 400, 146097);
    while (days_of(year, 1, 1) > day) year--;
    while (days_of(year + 1, 1, 1) <= day) year++;
    return year;
}

/* ---- the rule ---- */

static int64_t change_day(const struct change *c, int64_t year)
{
    if (c->form == 'J') return days_of(year, 1, 1) + c->day - 1 + (is_leap(year) && c->day >= 60);
    if (c->form == '0') return days_of(year, 1, 1) + c->day;
    int64_t first = days_of(year, c->month, 1);
    int64_t weekday = (first + 4) % 7; /* 1970-01-01 was a Thursday; Sunday is 0 */
    if (weekday < 0) weekday += 7;
    int64_t day = first + (c->day - weekday + 7) % 7 + 7 * (c->week - 1);
    int64_t next = c->month == 12 ? days_of(year + 1, 1, 1) : days_of(year, c->month + 1, 1);
    return day < next ? day : day - 7;
}

/* When the change takes place, in UTC; local time before it is `before` ahead. */
static int64_t change_at_s(const struct change *c, int64_t year, int32_t before)
{
    return change_day(c, year) * 86400 + c->at_s - before;
}

static int32_t rule_offset_s(const struct zone *z, int64_t utc_s)
{
    if (!z->dst) return z->std_s;
    int64_t year = year_of(utc_s + z->std_s);
    int64_t begin = change_at_s(&z->to_dst, year, z->std_s), end = change_at_s(&z->to_std, year, z->dst_s);
    bool in_dst = begin < end ? utc_s >= begin && utc_s < end : utc_s >= begin || utc_s < end;
    return in_dst ? z->dst_s : z->std_s;
}

static int64_t rule_next_s(const struct zone *z, int64_t utc_s)
{
    if (!z->dst) return INT64_MAX;
    int64_t best = INT64_MAX, year = year_of(utc_s);
    for (int64_t y = year - 1; y <= year + 2; y++) {
        int64_t begin = change_at_s(&z->to_dst, y, z->std_s), end = change_at_s(&z->to_std, y, z->dst_s);
        if (begin > utc_s && begin < best) best = begin;
        if (end > utc_s && end < best) best = end;
    }
    return best;
}

/* ---- reading the rule ---- */

static bool read_number(const char **p, int64_t most, int64_t *ret)
{
    int64_t n = 0;
    int digits = 0;
    for (; isdigit((unsigned char)**p) && digits < 4; digits++) n = n * 10 + *(*p)++ - '0';
    *ret = n;
    return digits > 0 && n <= most;
}

static bool skip_name(const char **p)
{
    const char *from = *p;
    if (**p == '<') {
        while (**p && **p != '>') (*p)++;
        return *(*p)++ == '>';
    }
    while (isalpha((unsigned char)**p)) (*p)++;
    return *p - from >= 3;
}

/* [+-]hh[:mm[:ss]], up to 167 hours. */
static bool read_time(const char **p, int64_t *ret_s)
{
    int64_t part, total = 0, sign = **p == '-' ? -1 : 1;
    if (**p == '-' || **p == '+') (*p)++;
    if (!read_number(p, 167, &part)) return false;
    total = part * 3600;
    for (int64_t unit = 60; unit >= 1 && **p == ':'; unit /= 60) {
        (*p)++;
        if (!read_number(p, 59, &part)) return false;
        total += part * unit;
        if (unit == 1) break;
    }
    *ret_s = sign * total;
    return true;
}

static bool read_offset(const char **p, int32_t *ret_ahead_s)
{
    int64_t behind;
    if (!read_time(p, &behind) || behind > OFFSET_S || behind < -OFFSET_S) return false;
    *ret_ahead_s = (int32_t)-behind;
    return true;
}

static bool read_change(const char **p, struct change *c)
{
    int64_t month = 0, week = 0, day = 0;
    *c = (struct change){.form = '0', .at_s = 7200};
    if (**p == 'M') {
        c->form = *(*p)++;
        if (!read_number(p, 12, &month) || month < 1 || *(*p)++ != '.') return false;
        if (!read_number(p, 5, &week) || week < 1 || *(*p)++ != '.') return false;
        if (!read_number(p, 6, &day)) return false;
    } else if (**p == 'J') {
        c->form = *(*p)++;
        if (!read_number(p, 365, &day) || day < 1) return false;
    } else if (!read_number(p, 365, &day)) {
        return false;
    }
    c->month = (int)month;
    c->week = (int)week;
    c->day = (int)day;
    if (**p != '/') return true;
    (*p)++;
    return read_time(p, &c->at_s);
}

/* text: the rule without its line feeds; "" means that there is none. */
static bool read_rule(struct zone *z, const char *text)
{
    const char *p = text;
    if (!*p) return true;
    if (!skip_name(&p) || !read_offset(&p, &z->std_s)) return false;
    z->has_rule = true;
    if (!*p) return true;
    z->dst = true;
    z->dst_s = z->std_s + 3600;
    if (!skip_name(&p)) return false;
    if (*p != ',' && !read_offset(&p, &z->dst_s)) return false;
    if (*p++ != ',' || !read_change(&p, &z->to_dst)) return false;
    if (*p++ != ',' || !read_change(&p, &z->to_std)) return false;
    return !*p;
}

/* ---- reading the file ---- */

static uint32_t be32(const unsigned char *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static int64_t be64(const unsigned char *p)
{
    return (int64_t)((uint64_t)be32(p) << 32 | be32(p + 4));
}

struct head {
    uint64_t n_isut, n_isstd, n_leap, n_time, n_type, n_char;
};

static bool read_head(const unsigned char *p, size_t len, struct head *h)
{
    if (len < HEAD || memcmp(p, "TZif", 4) != 0) return false;
    *h = (struct head){be32(p + 20), be32(p + 24), be32(p + 28), be32(p + 32), be32(p + 36), be32(p + 40)};
    return h->n_type > 0 && h->n_type <= 256 && h->n_leap == 0;
}

static uint64_t body_size(const struct head *h, unsigned width)
{
    return h->n_time * (width + 1) + h->n_type * 6 + h->n_char + h->n_leap * (width + 4) + h->n_isstd + h->n_isut;
}

static int32_t type_offset(const unsigned char *types, size_t i)
{
    return (int32_t)be32(types + 6 * i);
}

static int read_body(struct zone *z, const unsigned char *p, const struct head *h, unsigned width)
{
    const unsigned char *index = p + h->n_time * width, *types = index + h->n_time;
    for (size_t i = 0; i < h->n_type; i++)
        if (type_offset(types, i) > OFFSET_S || type_offset(types, i) < -OFFSET_S) return ERR_SYNTAX;
    z->n = (size_t)h->n_time;
    z->first_s = type_offset(types, 0);
    z->at_s = calloc(z->n + 1, sizeof *z->at_s);
    z->offset_s = calloc(z->n + 1, sizeof *z->offset_s);
    if (!z->at_s || !z->offset_s) return ERR_NOMEM;
    for (size_t i = 0; i < z->n; i++) {
        z->at_s[i] = width == 8 ? be64(p + 8 * i) : (int32_t)be32(p + 4 * i);
        if (index[i] >= h->n_type || (i && z->at_s[i] <= z->at_s[i - 1])) return ERR_SYNTAX;
        z->offset_s[i] = type_offset(types, index[i]);
    }
    return 0;
}

static int read_footer(struct zone *z, const unsigned char *p, size_t len)
{
    char text[128];
    const unsigned char *end = len > 1 && *p == '\n' ? memchr(p + 1, '\n', len - 1) : NULL;
    if (!end || (size_t)(end - p) > sizeof text) return ERR_SYNTAX;
    size_t n = (size_t)(end - p) - 1;
    memcpy(text, p + 1, n);
    text[n] = '\0';
    return read_rule(z, text) ? 0 : ERR_SYNTAX;
}

static int read_file(struct zone *z, const unsigned char *p, size_t len)
{
    struct head h;
    if (len > ZONE_FILE_MAX || !read_head(p, len, &h)) return ERR_SYNTAX;
    bool wide = p[4] >= '2';
    uint64_t size = body_size(&h, 4);
    if (size > len - HEAD) return ERR_SYNTAX;
    if (!wide) return read_body(z, p + HEAD, &h, 4);
    p += HEAD + size; /* the same again, with 64 bits */
    len -= HEAD + (size_t)size;
    if (!read_head(p, len, &h)) return ERR_SYNTAX;
    size = body_size(&h, 8);
    if (size > len - HEAD) return ERR_SYNTAX;
    int rc = read_body(z, p + HEAD, &h, 8);
    return rc < 0 ? rc : read_footer(z, p + HEAD + size, len - HEAD - (size_t)size);
}

int zone_parse(const void *bytes, size_t len, struct zone **ret_zone)
{
    AUTO_ZONE struct zone *z = calloc(1, sizeof *z);
    if (!z) return ERR_NOMEM;
    int rc = read_file(z, bytes, len);
    if (rc == 0) *ret_zone = TAKE(z);
    return rc;
}

/* ---- asking ---- */

/* The number of changes at or before this moment. */
static size_t changes_until(const struct zone *z, int64_t utc_s)
{
    size_t low = 0, high = z->n;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (z->at_s[mid] <= utc_s)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

int32_t zone_offset_s(const struct zone *z, int64_t utc_ms)
{
    if (!z) return 0;
    int64_t utc_s = floor_div(utc_ms, 1000);
    size_t i = changes_until(z, utc_s);
    if (i == z->n && z->has_rule) return rule_offset_s(z, utc_s);
    return i ? z->offset_s[i - 1] : z->first_s;
}

int64_t zone_next_change_ms(const struct zone *z, int64_t utc_ms)
{
    if (!z) return INT64_MAX;
    int64_t utc_s = floor_div(utc_ms, 1000), next;
    size_t i = changes_until(z, utc_s);
    if (i < z->n)
        next = z->at_s[i];
    else
        next = z->has_rule ? rule_next_s(z, utc_s) : INT64_MAX;
    return next > INT64_MAX / 1000 ? INT64_MAX : next * 1000;
}
