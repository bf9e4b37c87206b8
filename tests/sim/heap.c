/* The heap of keyroll-sim. A history allocates and frees some ten thousand small blocks on one thread, and a fifth of
 * its time went into the C library's malloc(). Here each size has a list of free blocks and nothing goes back to the
 * system. Blocks freed twice are noticed by the mark in front of them. Left out of the sanitizers' builds, which
 * bring their own. */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define STEP    32 /* bytes from one size to the next */
#define SIZES   512
#define ARENA   ((size_t)16 << 20)
#define IN_USE  0x6b65797265616c21u
#define NOT_NOW 0x6b65796667726565u

struct block { /* its bytes follow */
    size_t size, mark;
};
struct free_block {
    struct block head;
    struct free_block *next;
};
static struct free_block *free_blocks[SIZES + 1]; /* by size / STEP */
static char *arena;
static size_t arena_left;

static void *map(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return p == MAP_FAILED ? NULL : p;
}

static struct block *carve(size_t bytes)
{
    if (arena_left < bytes) {
        arena = map(ARENA);
        arena_left = arena ? ARENA : 0;
        if (!arena) return NULL;
    }
    struct block *b = (struct block *)(void *)arena;
    arena += bytes;
    arena_left -= bytes;
    return b;
}

void *malloc(size_t bytes)
{
    const size_t at = (bytes + STEP - 1) / STEP + (bytes == 0);
    struct block *b;
    if (bytes > PTRDIFF_MAX / 2) {
        b = NULL;
    } else if (at > SIZES) {
        b = map(sizeof(*b) + bytes);
        if (b) b->size = bytes;
    } else if (free_blocks[at]) {
        b = &free_blocks[at]->head;
        free_blocks[at] = free_blocks[at]->next;
        __builtin_prefetch(free_blocks[at]); /* it was freed long ago: the next malloc() would wait for it */
    } else {
        b = carve(sizeof(*b) + at * STEP);
        if (b) b->size = at * STEP;
    }
    if (!b) {
        errno = ENOMEM;
        return NULL;
    }
    b->mark = IN_USE;
    return b + 1;
}

void free(void *p)
{
    if (!p) return;
    struct block *b = (struct block *)p - 1;
    if (b->mark != IN_USE) abort();
    b->mark = NOT_NOW;
    if (b->size > SIZES * STEP) {
        munmap(b, sizeof(*b) + b->size);
        return;
    }
    struct free_block *f = (struct free_block *)(void *)b;
    f->next = free_blocks[b->size / STEP];
    free_blocks[b->size / STEP] = f;
}

void *calloc(size_t n, size_t bytes)
{
    size_t all;
    if (__builtin_mul_overflow(n, bytes, &all)) all = SIZE_MAX;
    void *p = malloc(all);
    return p ? memset(p, 0, all) : NULL;
}

void *realloc(void *p, size_t bytes)
{
    const struct block *b = p ? (struct block *)p - 1 : NULL;
    if (b && bytes && bytes <= b->size) return p;
    void *moved = malloc(bytes);
    if (!moved) return NULL;
    if (b) memcpy(moved, p, b->size < bytes ? b->size : bytes);
    free(p);
    return moved;
}

/* Blocks begin at multiples of 16; more is asked for by nobody here. */
int posix_memalign(void **ret, size_t alignment, size_t bytes)
{
    if (alignment > sizeof(struct block)) return EINVAL;
    *ret = malloc(bytes);
    return *ret ? 0 : ENOMEM;
}

void *aligned_alloc(size_t alignment, size_t bytes)
{
    void *p = NULL;
    return posix_memalign(&p, alignment, bytes) ? NULL : p;
}

size_t malloc_usable_size(void *p);
size_t malloc_usable_size(void *p)
{
    return p ? ((struct block *)p - 1)->size : 0;
}
