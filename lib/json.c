/* Jansson (2.14) does not see all its failed allocations: it goes on with strings that are cut, takes them for whole,
 * and writes behind its buffer (tests/torture shows it). So a failure does not return to it: json_read() is left at
 * once by longjmp(), and what the reading had allocated is freed from a list. Blocks are libc's own, so that those from
 * before the first reading may be freed. */
#include "lib/json.h"

#include "lib/err.h"

#include <setjmp.h>
#include <stdbool.h>
#include <stdlib.h>

static _Thread_local struct {
    bool active;
    jmp_buf out;
    void **blocks; /* of the reading under way; the array is kept for the next one */
    size_t n, cap;
} reading;

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
    void *p = malloc(bytes);
    if (!reading.active || (p && note_block(p))) return p;
    free(p);
    longjmp(reading.out, 1);
}

/* What is freed while reading was mostly allocated just before. */
static void noting_free(void *p)
{
    for (size_t i = reading.active && p ? reading.n : 0; i-- > 0;) {
        if (reading.blocks[i] != p) continue;
        reading.blocks[i] = reading.blocks[--reading.n];
        break;
    }
    free(p);
}

int json_read(const char *bytes, size_t len, size_t flags, json_t **ret_root, json_error_t *where)
{
    json_error_t own;
    json_set_alloc_funcs(noting_malloc, noting_free);
    reading.n = 0;
    if (setjmp(reading.out) != 0) {
        reading.active = false;
        for (size_t i = 0; i < reading.n; i++) free(reading.blocks[i]);
        return ERR_NOMEM;
    }
    reading.active = true;
    json_t *root = json_loadb(bytes, len, flags, where ? where : &own);
    reading.active = false;
    if (!root) return ERR_SYNTAX;
    *ret_root = root;
    return 0;
}
