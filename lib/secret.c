/* The only home of secret bytes. Thousands live at once and RLIMIT_MEMLOCK is small, so they share pages: a slab
 * allocator with a few slot sizes over anonymous mappings that are locked (best effort: a container without the right
 * keeps working), left out of core dumps and not inherited by a fork. A slot is wiped when it is freed; mappings are
 * kept for reuse. Larger contents (a web identity token may be 20,000 bytes) get a mapping of their own. Limits: no
 * guard pages; a secret is a value, not to be changed in place. Thread-safe (one mutex). */
#include "lib/secret.h"

#include <assert.h>
#include <openssl/crypto.h>
#include <pthread.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#define SECRET_MAGIC 0x5ec2e7a1u
#define CHUNK_BYTES  ((size_t)32768)
#define LARGE_CLASS  ((uint8_t)0xff)
#define SECRET_MAX   ((size_t)1 << 20)

struct secret {
    uint32_t magic;
    uint32_t len;
    uint8_t class; /* index of slot_bytes, or LARGE_CLASS */
    char bytes[];
};
struct slot {
    struct slot *next;
};

static const size_t slot_bytes[] = {64, 128, 512, 2048};
static struct slot *free_slots[ARRAY_LEN(slot_bytes)];
static size_t live;
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;

static void *map_pages(size_t bytes)
{
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (p == MAP_FAILED) return NULL;
    (void)mlock(p, bytes); /* best effort: see the head of this file */
    (void)madvise(p, bytes, MADV_DONTDUMP);
    (void)madvise(p, bytes, MADV_WIPEONFORK);
    return p;
}

static bool add_chunk(size_t class)
{
    char *chunk = map_pages(CHUNK_BYTES);
    if (!chunk) return false;
    for (size_t at = 0; at + slot_bytes[class] <= CHUNK_BYTES; at += slot_bytes[class]) {
        struct slot *s = (struct slot *)(void *)(chunk + at);
        s->next = free_slots[class];
        free_slots[class] = s;
    }
    return true;
}

static struct secret *alloc_slot(size_t class)
{
    if (!free_slots[class] && !add_chunk(class)) return NULL;
    struct slot *s = free_slots[class];
    free_slots[class] = s->next;
    return (struct secret *)(void *)s;
}

static size_t whole_bytes(size_t len)
{
    return offsetof(struct secret, bytes) + len + 1;
}

static struct secret *alloc_secret(size_t len)
{
    for (size_t class = 0; class < ARRAY_LEN(slot_bytes); class ++) {
        if (whole_bytes(len) > slot_bytes[class]) continue;
        struct secret *s = alloc_slot(class);
        if (s) s->class = (uint8_t) class;
        return s;
    }
    struct secret *s = map_pages(whole_bytes(len));
    if (s) s->class = LARGE_CLASS;
    return s;
}

struct secret *secret_new(const void *bytes, size_t len)
{
    if (len > SECRET_MAX) return NULL;
    pthread_mutex_lock(&mutex);
    struct secret *s = alloc_secret(len);
    if (s) live++;
    pthread_mutex_unlock(&mutex);
    if (!s) return NULL;
    s->magic = SECRET_MAGIC;
    s->len = (uint32_t)len;
    if (len) memcpy(s->bytes, bytes, len);
    s->bytes[len] = '\0';
    return s;
}

struct secret *secret_from_string(const char *s)
{
    return secret_new(s, strlen(s));
}

struct secret *secret_copy(const struct secret *s)
{
    return secret_new(secret_bytes(s), secret_len(s));
}

static void free_slot(struct secret *s)
{
    size_t class = s->class;
    secret_wipe(s, slot_bytes[class]);
    struct slot *slot = (struct slot *)(void *)s;
    slot->next = free_slots[class];
    free_slots[class] = slot;
}

static void free_large(struct secret *s)
{
    size_t bytes = whole_bytes(s->len);
    secret_wipe(s, bytes);
    (void)munmap(s, bytes);
}

void secret_free(struct secret *s)
{
    if (!s) return;
    assert(s->magic == SECRET_MAGIC);
    pthread_mutex_lock(&mutex);
    live--;
    if (s->class == LARGE_CLASS)
        free_large(s);
    else
        free_slot(s);
    pthread_mutex_unlock(&mutex);
}

void secret_freep(struct secret **s)
{
    secret_free(*s);
    *s = NULL;
}

const char *secret_bytes(const struct secret *s)
{
    assert(s->magic == SECRET_MAGIC);
    return s->bytes;
}

size_t secret_len(const struct secret *s)
{
    assert(s->magic == SECRET_MAGIC);
    return s->len;
}

bool secret_equal(const struct secret *a, const struct secret *b)
{
    return secret_len(a) == secret_len(b) && CRYPTO_memcmp(a->bytes, b->bytes, a->len) == 0;
}

void secret_wipe(void *p, size_t len)
{
    if (p && len) explicit_bzero(p, len);
}

size_t secret_count(void)
{
    pthread_mutex_lock(&mutex);
    size_t n = live;
    pthread_mutex_unlock(&mutex);
    return n;
}
