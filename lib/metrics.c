/* Metrics in Prometheus' text format 0.0.4. A metric holds up to 64 series (label pairs) in an array: values of labels
 * are bounded by design, and what comes beyond is folded into "other", so that no outside input can grow the memory.
 * Look-up is linear with pointers compared first, since callers pass literals; a metric is hot for a handful of series.
 * A metric without labels shows its zero from the start; one with labels shows a series from its first use on.
 * Limits: loop thread only; an update for which there is no memory is dropped. */
#include "lib/metrics.h"

#include "lib/err.h"
#include "lib/fnv.h"

#include <assert.h>
#include <inttypes.h>
#include <math.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SERIES_MAX     64
#define COLLECT_MAX    16
#define LABELS_MAX     4096
#define BOUND_TEXT_MAX 24

struct series {
    char *v1, *v2;     /* owned; NULL when the label is unused */
    char *labels;      /* owned: `{a="x",b="y"` as it is written, "" without labels */
    uint64_t hash;     /* of both: each step of each rotation looks its series up */
    double value;      /* counter, gauge; histogram: sum */
    uint64_t count;    /* histogram */
    uint64_t *buckets; /* histogram: n_bounds, not cumulative */
};
struct metric {
    struct metric *next;
    enum metric_type type;
    char *name, *help, *label1, *label2;
    double *bounds;
    char (*bound_texts)[BOUND_TEXT_MAX]; /* one each, and "+Inf" */
    size_t n_bounds;
    struct series *series[SERIES_MAX + 1]; /* the last place is for "other" */
    size_t n_series;
};
struct metrics {
    struct metric *first, **last;
    struct {
        void (*fn)(void *arg);
        void *arg;
    } collect[COLLECT_MAX];
    size_t n_collect;
};

struct metrics *metrics_new(void)
{
    struct metrics *m = calloc(1, sizeof(*m));
    if (m) m->last = &m->first;
    return m;
}

static void series_free(struct series *s)
{
    if (!s) return;
    free(s->v1);
    free(s->v2);
    free(s->labels);
    free(s->buckets);
    free(s);
}

static void metric_free(struct metric *m)
{
    if (!m) return;
    for (size_t i = 0; i < m->n_series; i++) series_free(m->series[i]);
    free(m->name);
    free(m->help);
    free(m->label1);
    free(m->label2);
    free(m->bounds);
    free(m->bound_texts);
    free(m);
}

static void metric_freep(struct metric **m)
{
    metric_free(*m);
}

void metrics_free(struct metrics *m)
{
    if (!m) return;
    while (m->first) {
        struct metric *next = m->first->next;
        metric_free(m->first);
        m->first = next;
    }
    free(m);
}

static bool copy_text(char **out, const char *text)
{
    *out = text ? strdup(text) : NULL;
    return !text || *out;
}

static uint64_t hash_of(const char *v1, const char *v2)
{
    return fnv1a(fnv1a_byte(fnv1a(FNV1A_START, v1 ? v1 : ""), 0xff), v2 ? v2 : "");
}

static void add_escaped(struct buf *out, const char *text, bool quotes)
{
    for (; *text; text++) {
        if (*text == '\\')
            (void)buf_adds(out, "\\\\"); /* errors stick and are returned by metrics_write() */
        else if (*text == '\n')
            (void)buf_adds(out, "\\n");
        else if (*text == '"' && quotes)
            (void)buf_adds(out, "\\\"");
        else
            (void)buf_addc(out, *text);
    }
}

static void add_count(struct buf *out, uint64_t n)
{
    char digits[24], *at = digits + sizeof(digits);
    do *--at = (char)('0' + n % 10);
    while (n /= 10);
    (void)buf_add(out, at, (size_t)(digits + sizeof(digits) - at));
}

static void add_number(struct buf *out, double v)
{
    if (v >= 0 && v < 1e15 && v == (double)(uint64_t)v) /* nearly all of them, and printf() is slow */
        add_count(out, (uint64_t)v);
    else if (isnan(v))
        (void)buf_adds(out, "NaN");
    else if (isinf(v))
        (void)buf_adds(out, v > 0 ? "+Inf" : "-Inf");
    else
        (void)buf_addf(out, "%.15g", v);
}

static void add_label(struct buf *out, bool *first, const char *name, const char *value)
{
    if (!name) return;
    (void)buf_addf(out, "%c%s=\"", *first ? '{' : ',', name);
    add_escaped(out, value, true);
    (void)buf_addc(out, '"');
    *first = false;
}

/* What a series' labels look like in each of its lines; NULL when out of memory. Caller frees. */
static char *labels_text(const struct metric *m, const struct series *s)
{
    AUTO_BUF struct buf text;
    bool first = true;
    buf_init(&text, LABELS_MAX);
    add_label(&text, &first, m->label1, s->v1);
    add_label(&text, &first, m->label2, s->v2);
    return text.error ? NULL : buf_take(&text);
}

static struct series *series_add(struct metric *m, const char *v1, const char *v2)
{
    struct series *s = calloc(1, sizeof(*s));
    if (!s) return NULL;
    bool ok = copy_text(&s->v1, m->label1 ? v1 : NULL) && copy_text(&s->v2, m->label2 ? v2 : NULL);
    if (ok && m->n_bounds) {
        s->buckets = calloc(m->n_bounds, sizeof(*s->buckets));
        ok = s->buckets != NULL;
    }
    ok = ok && (s->labels = labels_text(m, s));
    if (!ok) {
        series_free(s);
        return NULL;
    }
    s->hash = hash_of(s->v1, s->v2);
    return m->series[m->n_series++] = s;
}

/* The bounds as they are written. NULL when out of memory; caller frees. */
static char (*bound_texts(const double *bounds, size_t n))[BOUND_TEXT_MAX]
{
    char(*texts)[BOUND_TEXT_MAX] = malloc((n + 1) * sizeof(*texts));
    if (!texts) return NULL;
    for (size_t i = 0; i < n; i++) (void)snprintf(texts[i], sizeof(texts[i]), "%.15g", bounds[i]);
    memcpy(texts[n], "+Inf", 5);
    return texts;
}

struct metric *metric_new(struct metrics *ms, enum metric_type type, const char *name, const char *help,
                          const char *label1, const char *label2, const double *bounds, size_t n_bounds)
{
    for (struct metric *m = ms->first; m; m = m->next)
        if (strcmp(m->name, name) == 0) return m;
    CLEANUP(metric_freep) struct metric *m = calloc(1, sizeof(*m));
    if (!m) return NULL;
    m->type = type;
    m->n_bounds = type == METRIC_HISTOGRAM ? n_bounds : 0;
    if (!copy_text(&m->name, name) || !copy_text(&m->help, help ? help : "") || !copy_text(&m->label1, label1) ||
        !copy_text(&m->label2, label2))
        return NULL;
    if (m->n_bounds) {
        m->bounds = malloc(n_bounds * sizeof(*bounds));
        if (!m->bounds) return NULL;
        memcpy(m->bounds, bounds, n_bounds * sizeof(*bounds));
        if (!(m->bound_texts = bound_texts(bounds, n_bounds))) return NULL;
    }
    if (!label1 && !label2 && !series_add(m, NULL, NULL)) return NULL;
    *ms->last = m;
    ms->last = &m->next;
    return TAKE(m);
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

static struct series *find(struct metric *m, const char *v1, const char *v2)
{
    if (!m) return NULL;
    v1 = m->label1 ? (v1 ? v1 : "") : NULL;
    v2 = m->label2 ? (v2 ? v2 : "") : NULL;
    const uint64_t hash = hash_of(v1, v2);
    for (size_t i = 0; i < m->n_series; i++)
        if (m->series[i]->hash == hash && same(m->series[i]->v1, v1) && same(m->series[i]->v2, v2)) return m->series[i];
    if (m->n_series < SERIES_MAX) return series_add(m, v1, v2);
    if (m->n_series > SERIES_MAX) return m->series[SERIES_MAX];
    return series_add(m, "other", "other");
}

void metric_add(struct metric *m, const char *v1, const char *v2, double amount)
{
    struct series *s = find(m, v1, v2);
    if (s) s->value += amount;
}

void metric_set(struct metric *m, const char *v1, const char *v2, double value)
{
    struct series *s = find(m, v1, v2);
    if (s) s->value = value;
}

void metric_raise(struct metric *m, const char *v1, const char *v2, double value)
{
    struct series *s = find(m, v1, v2);
    if (s && s->value < value) s->value = value;
}

void metric_zero(struct metric *m)
{
    for (size_t i = 0; m && i < m->n_series; i++) m->series[i]->value = 0;
}

void metric_observe(struct metric *m, const char *v1, const char *v2, double value)
{
    struct series *s = find(m, v1, v2);
    if (!s) return;
    s->value += value;
    s->count++;
    for (size_t i = 0; i < m->n_bounds; i++) {
        if (value > m->bounds[i]) continue;
        s->buckets[i]++;
        return;
    }
}

void metrics_on_collect(struct metrics *m, void (*fn)(void *arg), void *arg)
{
    assert(m->n_collect < COLLECT_MAX);
    m->collect[m->n_collect].fn = fn;
    m->collect[m->n_collect++].arg = arg;
}

/* One sample line up to the value. le: NULL, or the bucket's upper bound. */
static void add_sample(struct buf *out, const struct metric *m, const struct series *s, const char *suffix,
                       const char *le)
{
    (void)buf_adds(out, m->name);
    (void)buf_adds(out, suffix);
    (void)buf_adds(out, s->labels);
    if (le) {
        (void)buf_adds(out, s->labels[0] ? ",le=\"" : "{le=\"");
        (void)buf_adds(out, le);
        (void)buf_addc(out, '"');
    }
    (void)buf_adds(out, le || s->labels[0] ? "} " : " ");
}

static void add_count_line(struct buf *out, uint64_t n)
{
    add_count(out, n);
    (void)buf_addc(out, '\n');
}

static void write_histogram(struct buf *out, const struct metric *m, const struct series *s)
{
    uint64_t total = 0;
    for (size_t i = 0; i < m->n_bounds; i++) {
        total += s->buckets[i];
        add_sample(out, m, s, "_bucket", m->bound_texts[i]);
        add_count_line(out, total);
    }
    add_sample(out, m, s, "_bucket", m->n_bounds ? m->bound_texts[m->n_bounds] : "+Inf");
    add_count_line(out, s->count);
    add_sample(out, m, s, "_sum", NULL);
    add_number(out, s->value);
    (void)buf_addc(out, '\n');
    add_sample(out, m, s, "_count", NULL);
    add_count_line(out, s->count);
}

static void write_metric(struct buf *out, const struct metric *m)
{
    static const char *const types[] = {"counter", "gauge", "histogram"};
    (void)buf_addf(out, "# HELP %s ", m->name);
    add_escaped(out, m->help, false);
    (void)buf_addf(out, "\n# TYPE %s %s\n", m->name, types[m->type]);
    for (size_t i = 0; i < m->n_series; i++) {
        if (m->type == METRIC_HISTOGRAM) {
            write_histogram(out, m, m->series[i]);
            continue;
        }
        add_sample(out, m, m->series[i], "", NULL);
        add_number(out, m->series[i]->value);
        (void)buf_addc(out, '\n');
    }
}

int metrics_write(struct metrics *m, struct buf *out)
{
    for (size_t i = 0; i < m->n_collect; i++) m->collect[i].fn(m->collect[i].arg);
    for (const struct metric *one = m->first; one; one = one->next) write_metric(out, one);
    return out->error;
}
