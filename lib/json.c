/* Jansson (2.14) does not see all its failed allocations: it goes on with strings that are cut, takes them for whole,
 * and writes behind its buffer (tests/torture shows it). So a failure does not return to it: json_read() is left at
 * once by longjmp(), and what the reading had allocated is freed from a list.
 *
 * A reply makes some hundred small blocks, all of them dead a moment later. They come from one arena, which is wiped
 * and begun anew when its last block is freed; what does not fit is libc's (so is what was allocated before the first
 * reading). Under a sanitizer, and where allocations are made to fail, there is no arena: it would hide what
 * jansson does with its blocks.
 * Limits: a tree is freed by the thread that read it. */
#include "lib/json.h"

#include "lib/err.h"
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

static _Thread_local struct {
    bool active;
    jmp_buf out;
    void **blocks; /* libc's, of the reading under way; the array is kept for the next one */
    size_t n, cap;
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

static bool note_block(void *p)
{
    if (reading.n == reading.cap) {
        size_t cap = reading.cap ? 2 * reading.cap : 256;
        void **blocks = realloc(reading.blocks, cap * sizeof(*blocks));
        if (!blocks) return false;
        reading.blocks = blocks;
        reading.cap = cap;
    }
    reading.blocks[reading.n++] = p;
    return true;
}

static void *noting_malloc(size_t bytes)
{
    void *p = reading.active ? arena_alloc(bytes) : NULL;
    if (p) return p;
    p = malloc(bytes);
    if (!reading.active || (p && note_block(p))) return p;
    free(p);
    longjmp(reading.out, 1);
}

/* What is freed while reading was mostly allocated just before. */
static void noting_free(void *p)
{
    if (in_arena(p)) {
        arena.live--;
        if (!reading.active) arena_wipe_dead();
        return;
    }
    for (size_t i = reading.active && p ? reading.n : 0; i-- > 0;) {
        if (reading.blocks[i] != p) continue;
        reading.blocks[i] = reading.blocks[--reading.n];
        break;
    }
    free(p);
}

/* Gives back what a reading that was left had allocated. live: blocks of the arena before it. */
static void give_back(size_t live)
{
    for (size_t i = 0; i < reading.n; i++) free(reading.blocks[i]);
    arena.live = live;
    arena_wipe_dead();
}

void json_without_arena(void)
{
    use_arena = false;
}

int json_read(const char *bytes, size_t len, size_t flags, json_t **ret_root, json_error_t *where)
{
    json_error_t own;
    const size_t live = arena.live;
    json_set_alloc_funcs(noting_malloc, noting_free);
    reading.n = 0;
    if (setjmp(reading.out) != 0) {
        reading.active = false;
        give_back(live);
        return ERR_NOMEM;
    }
    reading.active = true;
    json_t *root = json_loadb(bytes, len, flags, where ? where : &own);
    reading.active = false;
    arena_wipe_dead();
    if (!root) return ERR_SYNTAX;
    *ret_root = root;
    return 0;
}
