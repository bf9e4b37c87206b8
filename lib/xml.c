/* Bounded XML reading over expat. The path of the element being read is one string that grows and shrinks; the text of
 * the innermost element is gathered in a buffer which is emptied whenever an element starts, so that at an end tag it
 * holds the text of a leaf. A doctype stops the parser before it could declare anything. expat takes its memory from an
 * arena that is used again for the next document and wiped after each: creating a parser is most of the cost of a small
 * document, and CreateAccessKey's answer leaves no copy of the secret behind. Limits: see the header; loop thread only
 * (the arena is one per process; a nested reading falls back to the heap). */
#include "lib/xml.h"

#include "lib/err.h"
#include "lib/secret.h"

#include <expat.h>
#include <stdint.h>
#include <string.h>
#include <sys/random.h>

struct reader {
    XML_Parser parser;
    const struct xml_handler *h;
    char path[XML_PATH_MAX];
    size_t path_len;
    size_t name_at[XML_DEPTH_MAX]; /* length of the path before each open element */
    unsigned depth;
    bool leaf; /* no child element since the last start tag */
    int error; /* first failure; the parser was stopped */
    struct buf text;
};

/* ---- memory: blocks carry their size, so that they can be wiped when given back ---- */

#define ARENA_BYTES 49152

struct block {
    size_t size;
    size_t in_arena;
    char bytes[] __attribute__((aligned(16)));
};
static char arena[ARENA_BYTES] __attribute__((aligned(16)));
static size_t arena_used;
static bool arena_busy;

static void *block_alloc(size_t size)
{
    size_t whole = (sizeof(struct block) + size + 15) & ~(size_t)15;
    if (whole < size) return NULL;
    bool fits = whole <= ARENA_BYTES - arena_used;
    struct block *b = fits ? (struct block *)(void *)(arena + arena_used) : malloc(whole);
    if (!b) return NULL;
    if (fits) arena_used += whole;
    b->size = size;
    b->in_arena = fits;
    return b->bytes;
}

static void block_free(void *p)
{
    if (!p) return;
    struct block *b = (struct block *)(void *)((char *)p - offsetof(struct block, bytes));
    if (b->in_arena) return; /* wiped with the whole arena */
    secret_wipe(b->bytes, b->size);
    free(b);
}

static void *block_realloc(void *p, size_t size)
{
    if (!p) return block_alloc(size);
    struct block *b = (struct block *)(void *)((char *)p - offsetof(struct block, bytes));
    if (size <= b->size) return p;
    void *fresh = block_alloc(size);
    if (!fresh) return NULL;
    memcpy(fresh, p, b->size);
    block_free(p);
    return fresh;
}

static void *heap_alloc(size_t size)
{
    struct block *b = malloc(sizeof(*b) + size);
    if (!b) return NULL;
    b->size = size;
    b->in_arena = 0;
    return b->bytes;
}

static void *heap_realloc(void *p, size_t size)
{
    void *fresh = heap_alloc(size);
    if (!fresh || !p) return fresh;
    struct block *b = (struct block *)(void *)((char *)p - offsetof(struct block, bytes));
    memcpy(fresh, p, b->size < size ? b->size : size);
    block_free(p);
    return fresh;
}

static void arena_release(void)
{
    secret_wipe(arena, arena_used);
    arena_used = 0;
    arena_busy = false;
}

/* ---- what expat calls ---- */

static void stop(struct reader *r, int error)
{
    if (!r->error) r->error = error;
    (void)XML_StopParser(r->parser, XML_FALSE); /* fails only when it has already stopped */
}

static const char *local_name(const char *name)
{
    const char *colon = strrchr(name, ':');
    return colon ? colon + 1 : name;
}

/* attributes: name, value, name, value, ..., NULL */
static int tell_attributes(struct reader *r, const XML_Char **attributes)
{
    int rc = 0;
    if (!r->h->attribute) return 0;
    for (; rc == 0 && attributes[0]; attributes += 2)
        rc = r->h->attribute(r->h->arg, r->path, local_name(attributes[0]), attributes[1]);
    return rc;
}

static void on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct reader *r = arg;
    if (r->error) return;
    const char *local = local_name(name);
    size_t len = strlen(local);
    if (r->depth == XML_DEPTH_MAX || r->path_len + len + 2 > sizeof(r->path)) {
        stop(r, ERR_SYNTAX);
        return;
    }
    r->name_at[r->depth++] = r->path_len;
    if (r->path_len) r->path[r->path_len++] = '/';
    memcpy(r->path + r->path_len, local, len + 1);
    r->path_len += len;
    r->leaf = true;
    buf_reset(&r->text);
    int rc = r->h->enter ? r->h->enter(r->h->arg, r->path) : 0;
    if (rc == 0) rc = tell_attributes(r, attributes);
    if (rc) stop(r, rc);
}

static void on_end(void *arg, const XML_Char *name)
{
    (void)name;
    struct reader *r = arg;
    if (r->error) return;
    int rc = 0;
    if (r->leaf && r->h->leaf) rc = r->h->leaf(r->h->arg, r->path, buf_str(&r->text), r->text.len);
    if (!rc && r->h->leave) rc = r->h->leave(r->h->arg, r->path);
    r->leaf = false;
    r->path_len = r->name_at[--r->depth];
    r->path[r->path_len] = '\0';
    if (rc) stop(r, rc);
}

static void on_text(void *arg, const XML_Char *text, int len)
{
    struct reader *r = arg;
    if (r->error || !r->leaf || !r->h->leaf) return;
    int rc = buf_add(&r->text, text, (size_t)len);
    if (rc < 0) stop(r, rc);
}

static void on_doctype(void *arg, const XML_Char *name, const XML_Char *sysid, const XML_Char *pubid, int has_subset)
{
    (void)name, (void)sysid, (void)pubid, (void)has_subset;
    stop(arg, ERR_SYNTAX);
}

/* One salt per process, not expat's getrandom() for each small document. Without randomness expat makes its own. */
static void set_salt(XML_Parser parser)
{
    static uint8_t salt[16];
    static bool drawn;
    if (!drawn) drawn = getrandom(salt, sizeof(salt), GRND_NONBLOCK) == (ssize_t)sizeof(salt);
    if (!drawn) return;
#if XML_MAJOR_VERSION > 2 || XML_MINOR_VERSION >= 8 /* since expat 2.8.0, which deprecates the other */
    (void)XML_SetHashSalt16Bytes(parser, salt);
#else
    unsigned long word;
    memcpy(&word, salt, sizeof(word));
    (void)XML_SetHashSalt(parser, word);
#endif
}

static int parse(struct reader *r, const char *data, size_t len)
{
    set_salt(r->parser);
    XML_SetUserData(r->parser, r);
    XML_SetElementHandler(r->parser, on_start, on_end);
    XML_SetCharacterDataHandler(r->parser, on_text);
    XML_SetStartDoctypeDeclHandler(r->parser, on_doctype);
    enum XML_Status status = XML_Parse(r->parser, data, (int)len, 1);
    if (r->error) return r->error;
    if (status == XML_STATUS_OK) return 0;
    return XML_GetErrorCode(r->parser) == XML_ERROR_NO_MEMORY ? ERR_NOMEM : ERR_SYNTAX;
}

int xml_read(const char *data, size_t len, const struct xml_handler *h)
{
    static const XML_Memory_Handling_Suite in_arena = {block_alloc, block_realloc, block_free};
    static const XML_Memory_Handling_Suite in_heap = {heap_alloc, heap_realloc, block_free};
    if (len > XML_BYTES_MAX) return ERR_TOO_LARGE;
    bool own_arena = !arena_busy;
    arena_busy = true;
    struct reader r = {.h = h, .parser = XML_ParserCreate_MM(NULL, own_arena ? &in_arena : &in_heap, NULL)};
    int rc = ERR_NOMEM;
    if (r.parser) {
        /* Without entities a text has no more characters than its document; in UTF-8 one takes at most twice the bytes
         * that it takes in those that expat reads (Latin-1). */
        buf_init_secret(&r.text, 2 * len);
        rc = parse(&r, data, len);
        XML_ParserFree(r.parser);
        buf_done(&r.text);
    }
    if (own_arena) arena_release();
    return rc;
}

struct finding {
    const char *end;
    struct buf *out;
    bool found;
};

#define FIND_STOP 1 /* not an error: enough was read */

static int find_leaf(void *arg, const char *path, const char *text, size_t len)
{
    struct finding *f = arg;
    if (!xml_path_ends(path, f->end)) return 0;
    f->found = true;
    int rc = buf_add(f->out, text, len);
    return rc < 0 ? rc : FIND_STOP;
}

int xml_find(const char *data, size_t len, const char *end, struct buf *out)
{
    struct finding f = {.end = end, .out = out};
    struct xml_handler h = {.leaf = find_leaf, .arg = &f};
    int rc = xml_read(data, len, &h);
    if (rc < 0) return rc;
    return f.found ? 0 : ERR_NOT_FOUND;
}

bool xml_path_ends(const char *path, const char *end)
{
    size_t n = strlen(path), m = strlen(end);
    if (m > n || memcmp(path + n - m, end, m) != 0) return false;
    return m == n || path[n - m - 1] == '/';
}

/* "expat_2.5.0" */
const char *xml_library_version(void)
{
    const char *text = XML_ExpatVersion(), *number = strchr(text, '_');
    return number ? number + 1 : text;
}
