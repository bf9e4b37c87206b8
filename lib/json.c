/* Jansson (2.14) does not see all its failed allocations: it goes on with strings that are cut, takes them for whole,
 * and writes behind its buffer (tests/torture shows it). So a failure does not return to it: json_read() is left at
 * once by longjmp(), and what the reading had allocated is freed from a list. Blocks are libc's own, so that those from
 * before the first reading may be freed.
 *
 * What jansson frees while it reads was mostly allocated just before; what was not (a text that breaks off has its
 * whole tree freed, from the front) is not looked for but freed when the reading ends: else a megabyte would take
 * seconds. */
#include "lib/json.h"

#include "lib/err.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>

#define LOOK_BACK 32

struct blocks {
    void **v; /* the array is kept for the next reading */
    size_t n, cap;
};
static _Thread_local struct {
    bool active;
    jmp_buf out;
    struct blocks all, dead; /* of the reading under way; dead: freed by jansson, still among all */
} reading;

static bool note_block(struct blocks *b, void *p)
{
    if (b->n == b->cap) {
        size_t cap = b->cap ? 2 * b->cap : 256;
        void **v = realloc(b->v, cap * sizeof(*v));
        if (!v) return false;
        b->v = v;
        b->cap = cap;
    }
    b->v[b->n++] = p;
    return true;
}

static void free_blocks(const struct blocks *b)
{
    for (size_t i = 0; i < b->n; i++) free(b->v[i]);
}

static void *noting_malloc(size_t bytes)
{
    void *p = malloc(bytes);
    if (!reading.active || (p && note_block(&reading.all, p))) return p;
    free(p);
    longjmp(reading.out, 1);
}

static void noting_free(void *p)
{
    struct blocks *all = &reading.all;
    if (!reading.active || !p) {
        free(p);
        return;
    }
    for (size_t i = all->n; i-- > 0 && all->n - i <= LOOK_BACK;) {
        if (all->v[i] != p) continue;
        all->v[i] = all->v[--all->n];
        free(p);
        return;
    }
    if (!note_block(&reading.dead, p)) longjmp(reading.out, 1);
}

int json_read(const char *bytes, size_t len, size_t flags, json_t **ret_root, json_error_t *where)
{
    json_error_t own;
    json_set_alloc_funcs(noting_malloc, noting_free);
    reading.all.n = reading.dead.n = 0;
    if (setjmp(reading.out) != 0) {
        reading.active = false;
        free_blocks(&reading.all);
        return ERR_NOMEM;
    }
    reading.active = true;
    json_t *root = json_loadb(bytes, len, flags, where ? where : &own);
    reading.active = false;
    free_blocks(&reading.dead);
    if (!root) return ERR_SYNTAX;
    *ret_root = root;
    return 0;
}
