/* Jansson (2.14) does not see all its failed allocations: it goes on with strings that are cut, takes them for whole,
 * and writes behind its buffer (tests/torture shows it). So a failure does not return to it: json_read() is left at
 * once by longjmp(), and what the reading had allocated is freed from a list.
 *
 * A reply makes some hundred small blocks, all of them dead a moment later. They come from one arena, which is wiped
 * and begun anew when its last block is freed; what does not fit is libc's, as is what was allocated before the first
 * reading. Under a sanitizer, and where allocations are made to fail, there is no arena: it would hide what jansson
 * does with its blocks.
 * A tree that is kept would hold the arena for ever: json_read_kept().
 *
 * What jansson frees while it reads was mostly allocated just before; what was not (a text that breaks off has its
 * whole tree freed, from the front) is not looked for but freed when the reading ends: else a megabyte would take
 * seconds.
 * Most texts are plain and read by json_plain.c; jansson reads the others.
 * Limits: a tree is freed by the thread that read it. */
#include "lib/json.h"

#include "lib/err.h"
#include "lib/json_plain.h"
#include "lib/secret.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#if defined(__SANITIZE_ADDRESS__)
#define HAS_ARENA 0
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAS_ARENA 0
#endif
#endif
#ifndef HAS_ARENA
#define HAS_ARENA 1
#endif
#define ARENA_BYTES 65536

#define LOOK_BACK 32

struct blocks {
    void **v; /* the array is kept for the next reading */
    size_t n, cap;
};
static _Thread_local struct {
    bool active, kept; /* kept: what is read now stays, so it is not in the arena's way */
    jmp_buf out;
    struct blocks all, dead; /* of the reading under way; dead: freed by jansson, still among all */
} reading;

static _Thread_local struct {
    unsigned char *base;    /* NULL: not needed yet, or no memory for it */
    size_t used, top, live; /* bytes given out, the most of them since the last wipe, blocks not freed yet */
} arena;
static bool use_arena = HAS_ARENA;

static void *arena_alloc(size_t bytes)
{
    const size_t align = _Alignof(max_align_t);
    if (!use_arena || bytes > ARENA_BYTES) return NULL;
    if (!arena.base && !(arena.base = malloc(ARENA_BYTES))) return NULL;
    size_t need = (bytes + align - 1) / align * align;
    if (need > ARENA_BYTES - arena.used) return NULL;
    void *p = arena.base + arena.used;
    arena.used += need;
    if (arena.used > arena.top) arena.top = arena.used;
    arena.live++;
    return p;
}

static void arena_wipe_dead(void)
{
    if (arena.live) return;
    if (arena.top) secret_wipe(arena.base, arena.top);
    arena.used = arena.top = 0;
}

static bool in_arena(const void *p)
{
    return arena.base && (uintptr_t)p - (uintptr_t)arena.base < ARENA_BYTES;
}

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
    void *p = reading.active && !reading.kept ? arena_alloc(bytes) : NULL;
    if (p) return p;
    p = malloc(bytes);
    if (!reading.active || (p && note_block(&reading.all, p))) return p;
    free(p);
    longjmp(reading.out, 1);
}

static void noting_free(void *p)
{
    struct blocks *all = &reading.all;
    if (in_arena(p)) {
        arena.live--;
        if (!reading.active) arena_wipe_dead();
        return;
    }
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

void json_without_arena(void)
{
    use_arena = false;
}

static int read_tree(const char *bytes, size_t len, size_t flags, json_t **ret_root, json_error_t *where)
{
    json_error_t own;
    const size_t live = arena.live;
    json_set_alloc_funcs(noting_malloc, noting_free);
    reading.all.n = reading.dead.n = 0;
    if (setjmp(reading.out) != 0) {
        reading.active = false;
        free_blocks(&reading.all);
        arena.live = live;
        arena_wipe_dead();
        return ERR_NOMEM;
    }
    reading.active = true;
    json_t *root = flags & ~(size_t)JSON_REJECT_DUPLICATES ? NULL : json_plain_read(bytes, len);
    if (!root) root = json_loadb(bytes, len, flags, where ? where : &own);
    reading.active = false;
    free_blocks(&reading.dead);
    arena_wipe_dead();
    if (!root) return ERR_SYNTAX;
    *ret_root = root;
    return 0;
}

int json_read(const char *bytes, size_t len, size_t flags, json_t **ret_root, json_error_t *where)
{
    reading.kept = false;
    return read_tree(bytes, len, flags, ret_root, where);
}

int json_read_kept(const char *bytes, size_t len, size_t flags, json_t **ret_root, json_error_t *where)
{
    reading.kept = true;
    return read_tree(bytes, len, flags, ret_root, where);
}

bool json_arena_empty(void)
{
    return arena.live == 0;
}
