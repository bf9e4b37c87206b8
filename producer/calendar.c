/* The calendar (calendar.h).
 *
 * Whether something may be begun is asked of the local wall clock at one moment: is it within a stretch, and is it
 * still within the lead before one. So a change of the clocks needs no rule of its own: an hour that is left out does
 * not come, one that comes twice counts twice. The next opening is found by walking over the moments at which the
 * answer can change: the ends of stretches, midnights, and the changes of the zone. */
#include "producer/calendar.h"

#include "lib/clock.h"

#include <stddef.h>

#define MINUTE_MS 60000LL
#define DAY_MS    86400000LL
#define DAY_MIN   1440
#define GIVE_UP   (800 * DAY_MS)

/* A moment as the wall clock shows it. */
struct local {
    int64_t day;
    int weekday; /* 0 Monday */
    int minute;
    int64_t into_ms; /* past that minute */
};

static int64_t floor_div(int64_t a, int64_t b)
{
    return a / b - (a % b != 0 && (a % b < 0) != (b < 0));
}

static struct local to_local(const struct zone *zone, int64_t utc_ms)
{
    int64_t ms = utc_ms + zone_offset_s(zone, utc_ms) * 1000LL;
    struct local l = {.day = floor_div(ms, DAY_MS)};
    int64_t in_day = ms - l.day * DAY_MS, weekday = (l.day + 3) % 7; /* 1970-01-01 was a Thursday */
    l.weekday = (int)(weekday < 0 ? weekday + 7 : weekday);
    l.minute = (int)(in_day / MINUTE_MS);
    l.into_ms = in_day % MINUTE_MS;
    return l;
}

int64_t calendar_day(const struct zone *zone, int64_t utc_ms)
{
    return to_local(zone, utc_ms).day;
}

static bool begins_on(const struct policy_span *s, int weekday)
{
    return s->days & 1u << weekday;
}

/* early_min: the stretch counts as beginning so much earlier, at most a day. */
static bool in_span(const struct policy_span *s, const struct local *l, int early_min)
{
    int to = s->to_min > s->from_min ? s->to_min : s->to_min + DAY_MIN;
    for (int back = -1; back <= 1; back++) { /* begun yesterday, today; or early, that of tomorrow */
        int now = l->minute - back * DAY_MIN, weekday = (l->weekday + back + 7) % 7;
        if (begins_on(s, weekday) && now >= s->from_min - early_min && now < to) return true;
    }
    return false;
}

static bool in_spans(const struct policy_span *s, size_t n, const struct local *l, int early_min)
{
    for (size_t i = 0; i < n; i++)
        if (in_span(&s[i], l, early_min)) return true;
    return false;
}

static const struct policy_dates *blackout_on(const struct policy_rules *r, int64_t day)
{
    for (size_t i = 0; i < r->n_blackouts; i++)
        if (day >= r->blackouts[i].first_day && day <= r->blackouts[i].last_day) return &r->blackouts[i];
    return NULL;
}

static enum calendar_hindrance hindrance(const struct policy_rules *r, enum calendar_work work, const struct local *l,
                                         int early_min, const char **ret_reason)
{
    const struct policy_dates *b = blackout_on(r, l->day);
    if (b) {
        *ret_reason = b->reason;
        return CALENDAR_BLACKOUT;
    }
    if (work == CALENDAR_REAP) return CALENDAR_OPEN;
    if (r->has_nightly_copy && in_span(&r->nightly_copy, l, early_min)) {
        *ret_reason = "the nightly copy of the instance";
        return CALENDAR_NIGHTLY_COPY;
    }
    if (in_spans(r->quiet, r->n_quiet, l, early_min)) {
        *ret_reason = "a quiet time";
        return CALENDAR_QUIET;
    }
    if (work == CALENDAR_ROTATE && r->n_windows && !in_spans(r->windows, r->n_windows, l, 0)) {
        *ret_reason = "no maintenance window is open";
        return CALENDAR_NO_WINDOW;
    }
    return CALENDAR_OPEN;
}

enum calendar_hindrance calendar_look(const struct policy_rules *r, const struct zone *zone, enum calendar_work work,
                                      int64_t utc_ms, const char **ret_reason)
{
    const char *reason = NULL;
    struct local now = to_local(zone, utc_ms);
    enum calendar_hindrance found = hindrance(r, work, &now, 0, &reason);
    if (found == CALENDAR_OPEN && r->lead_ms > 0) {
        /* Both are needed: the wall clock sees a stretch shorter than the lead, the clock behind a change of zone sees
         * one that comes sooner than the wall clock tells. */
        int early = (int)((r->lead_ms + MINUTE_MS - 1) / MINUTE_MS);
        struct local soon = to_local(zone, utc_ms + r->lead_ms);
        if (hindrance(r, work, &now, early, &reason) != CALENDAR_OPEN ||
            hindrance(r, work, &soon, 0, &reason) != CALENDAR_OPEN)
            found = CALENDAR_LEAD;
    }
    if (ret_reason) *ret_reason = reason;
    return found;
}

/* ---- the next opening ---- */

static void sooner(const struct local *l, int minute, int64_t *best_ms)
{
    int64_t ahead = (int64_t)(minute - l->minute) * MINUTE_MS - l->into_ms;
    while (ahead <= 0) ahead += DAY_MS;
    if (ahead < *best_ms) *best_ms = ahead;
}

static void span_edges(const struct policy_span *s, const struct local *l, int64_t *best)
{
    sooner(l, s->from_min, best);
    sooner(l, s->to_min % DAY_MIN, best);
}

/* The next moment at which the answer can change to "open". */
static int64_t next_edge(const struct policy_rules *r, const struct zone *zone, int64_t utc_ms)
{
    struct local l = to_local(zone, utc_ms);
    int64_t ahead = DAY_MS, change = zone_next_change_ms(zone, utc_ms);
    sooner(&l, 0, &ahead);
    if (r->has_nightly_copy) span_edges(&r->nightly_copy, &l, &ahead);
    for (size_t i = 0; i < r->n_quiet; i++) span_edges(&r->quiet[i], &l, &ahead);
    for (size_t i = 0; i < r->n_windows; i++) span_edges(&r->windows[i], &l, &ahead);
    return change < utc_ms + ahead ? change : utc_ms + ahead;
}

int64_t calendar_next(const struct policy_rules *r, const struct zone *zone, enum calendar_work work, int64_t utc_ms)
{
    for (int64_t at = utc_ms; at - utc_ms <= GIVE_UP; at = next_edge(r, zone, at))
        if (calendar_look(r, zone, work, at, NULL) == CALENDAR_OPEN) return at;
    return TIME_NONE;
}

int64_t calendar_gate_next(struct calendar_gate *g, enum calendar_work work, int64_t utc_ms, const char **ret_reason)
{
    struct calendar_memo *m = &g->memo[work];
    if (m->known && utc_ms >= m->from_ms &&
        (m->next_ms == TIME_NONE ? utc_ms - m->from_ms < DAY_MS : utc_ms < m->next_ms)) {
        *ret_reason = m->reason;
        return m->next_ms;
    }
    const char *reason = NULL;
    if (calendar_look(g->rules, g->zone, work, utc_ms, &reason) == CALENDAR_OPEN) {
        *ret_reason = NULL;
        return utc_ms;
    }
    *m = (struct calendar_memo){true, utc_ms, calendar_next(g->rules, g->zone, work, utc_ms), reason};
    *ret_reason = reason;
    return m->next_ms;
}
