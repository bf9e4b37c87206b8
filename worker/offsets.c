/* Offset tracker (offsets.h). Per partition a ring of "finished" bits above the base; the base moves over finished
 * ones, so each offset costs O(1) over its life. */
#include "worker/offsets.h"

#include "lib/err.h"
#include "lib/text.h"

#include <stdio.h>
#include <string.h>

struct part {
    char topic[250];
    int32_t partition;
    uint32_t epoch;
    bool assigned, started;
    int64_t base;      /* lowest unfinished */
    int64_t next;      /* one above the highest taken */
    int64_t committed; /* what the broker has, -1 unknown */
    unsigned char *done;
    size_t size; /* ring size in offsets, a power of two */
};
struct offsets {
    struct part **v;
    size_t n;
    size_t max_span;
    uint32_t epochs;
};

int offsets_new(size_t max_span, struct offsets **ret_offsets)
{
    struct offsets *o = calloc(1, sizeof(*o));
    if (!o) return ERR_NOMEM;
    o->max_span = max_span;
    *ret_offsets = o;
    return 0;
}

void offsets_free(struct offsets *o)
{
    if (!o) return;
    for (size_t i = 0; i < o->n; i++) {
        free(o->v[i]->done);
        free(o->v[i]);
    }
    free(o->v);
    free(o);
}

static int find_any(const struct offsets *o, const char *topic, int32_t partition)
{
    for (size_t i = 0; i < o->n; i++)
        if (o->v[i]->partition == partition && !strcmp(o->v[i]->topic, topic)) return (int)i;
    return ERR_NOT_FOUND;
}

static int add_part(struct offsets *o, const char *topic, int32_t partition)
{
    struct part **v = realloc(o->v, (o->n + 1) * sizeof(struct part *));
    if (!v) return ERR_NOMEM;
    o->v = v;
    struct part *p = calloc(1, sizeof(*p));
    if (!p) return ERR_NOMEM;
    text_copy(p->topic, sizeof(p->topic), topic);
    p->partition = partition;
    p->size = 256;
    p->done = calloc(p->size, 1);
    if (!p->done) {
        free(p);
        return ERR_NOMEM;
    }
    o->v[o->n] = p;
    return (int)o->n++;
}

int offsets_assign(struct offsets *o, const char *topic, int32_t partition)
{
    int i = find_any(o, topic, partition);
    if (i < 0) i = add_part(o, topic, partition);
    if (i < 0) return i;
    struct part *p = o->v[i];
    p->epoch = ++o->epochs;
    p->assigned = true;
    p->started = false;
    p->committed = -1;
    memset(p->done, 0, p->size);
    return i;
}

void offsets_revoke(struct offsets *o, const char *topic, int32_t partition)
{
    int i = find_any(o, topic, partition);
    if (i < 0) return;
    o->v[i]->assigned = false;
    o->v[i]->epoch = ++o->epochs;
}

int offsets_find(const struct offsets *o, const char *topic, int32_t partition)
{
    int i = find_any(o, topic, partition);
    return i >= 0 && o->v[i]->assigned ? i : ERR_NOT_FOUND;
}

static unsigned char *slot(const struct part *p, int64_t offset)
{
    return &p->done[(size_t)offset & (p->size - 1)];
}

static int grow(struct part *p, size_t need)
{
    size_t size = p->size;
    while (size < need) size *= 2;
    unsigned char *done = calloc(size, 1);
    if (!done) return ERR_NOMEM;
    for (int64_t k = p->base; k < p->next; k++) done[(size_t)k & (size - 1)] = *slot(p, k);
    free(p->done);
    p->done = done;
    p->size = size;
    return 0;
}

/* An offset below what is finished: the log begins anew, the topic was deleted and made again, or cut by a broker that
 * lost its end. What is open belongs to the old one; its ends change nothing. */
static void begin_anew(struct offsets *o, struct part *p, int64_t offset)
{
    p->epoch = ++o->epochs;
    p->base = p->next = offset;
    p->committed = -1;
    memset(p->done, 0, p->size);
}

int offsets_take(struct offsets *o, int index, int64_t offset, struct offset_ref *ret_ref)
{
    if (index < 0 || (size_t)index >= o->n || !o->v[index]->assigned) return ERR_NOT_FOUND;
    struct part *p = o->v[index];
    if (!p->started) {
        p->started = true;
        p->base = p->next = offset;
    }
    if (offset < p->base) begin_anew(o, p, offset);
    if (offset < p->next) return ERR_INVALID;
    size_t span = (size_t)(offset - p->base) + 1;
    if (p->base == p->next) { /* nothing open: what lies between was never delivered */
        p->base = p->next = offset;
        span = 1;
    }
    if (span > o->max_span) return ERR_BUSY;
    if (span > p->size && grow(p, span) < 0) return ERR_NOMEM;
    for (int64_t k = p->next; k < offset; k++) *slot(p, k) = 1;
    *slot(p, offset) = 0;
    p->next = offset + 1;
    *ret_ref = (struct offset_ref){(uint32_t)index, p->epoch, offset};
    return 0;
}

void offsets_done(struct offsets *o, struct offset_ref ref)
{
    if (ref.partition >= o->n) return;
    struct part *p = o->v[ref.partition];
    if (!p->assigned || p->epoch != ref.epoch || ref.offset < p->base || ref.offset >= p->next) return;
    *slot(p, ref.offset) = 1;
    while (p->base < p->next && *slot(p, p->base)) {
        *slot(p, p->base) = 0;
        p->base++;
    }
}

int64_t offsets_rewind(struct offsets *o, struct offset_ref ref)
{
    if (ref.partition >= o->n) return ERR_NOT_FOUND;
    struct part *p = o->v[ref.partition];
    if (!p->assigned || p->epoch != ref.epoch || ref.offset < p->base || ref.offset >= p->next) return ERR_NOT_FOUND;
    p->epoch = ++o->epochs;
    p->next = p->base;
    memset(p->done, 0, p->size);
    return p->base;
}

bool offsets_to_commit(const struct offsets *o, int index, int64_t *ret_offset)
{
    const struct part *p = o->v[index];
    if (!p->assigned || !p->started || p->base <= p->committed) return false;
    *ret_offset = p->base;
    return true;
}

void offsets_committed(struct offsets *o, int index, uint32_t epoch, int64_t offset)
{
    struct part *p = o->v[index];
    if (p->assigned && p->epoch == epoch && offset > p->committed) p->committed = offset;
}

int64_t offsets_head(const struct offsets *o, int index, int64_t *ret_span)
{
    const struct part *p = o->v[index];
    if (!p->assigned || !p->started || p->base == p->next) return -1;
    *ret_span = p->next - p->base;
    return p->base;
}

size_t offsets_count(const struct offsets *o)
{
    return o->n;
}

bool offsets_name(const struct offsets *o, int index, const char **ret_topic, int32_t *ret_partition,
                  uint32_t *ret_epoch)
{
    if (index < 0 || (size_t)index >= o->n || !o->v[index]->assigned) return false;
    *ret_topic = o->v[index]->topic;
    *ret_partition = o->v[index]->partition;
    *ret_epoch = o->v[index]->epoch;
    return true;
}
