/* Reading JSON was most of the time of a history: the same documents are read again and again, by each worker,
 * scheduler and judge. Decoding is a pure function of the bytes, so that here its results are remembered:
 * record_decode() and its like are the real ones (compiled under the name ..._plain, see CMakeLists.txt) the first
 * time, and a copy of what they gave when the very same bytes come again. Nothing that a mutant changes may be
 * remembered: there is none in the decoders. */
#include "producer/states.h"
#include "schema/job.h"
#include "schema/record.h"

#include <stdlib.h>
#include <string.h>

#define SLOTS 64 /* a power of two */

struct slot {
    char *bytes; /* owned; NULL: empty */
    size_t len, cap;
    uint64_t hash;
    int rc;
    void *result; /* owned; valid when rc is 0 */
};
struct memo {
    size_t size; /* of a result */
    struct slot slots[SLOTS];
};

/* Eight bytes at a time; which slot a document falls into changes nothing that a history shows. */
static uint64_t hash_of(const char *bytes, size_t len)
{
    uint64_t h = len, v;
    for (; len >= sizeof(v); bytes += sizeof(v), len -= sizeof(v)) {
        memcpy(&v, bytes, sizeof(v));
        h = (h ^ v) * 0x9e3779b97f4a7c15u;
        h ^= h >> 32;
    }
    for (; len; bytes++, len--) h = (h ^ (unsigned char)*bytes) * 0x100000001b3u;
    return h ^ (h >> 29);
}

static void *must(void *p)
{
    if (!p) abort();
    return p;
}

/* The slot of these bytes; *ret_known: it holds their result. */
static struct slot *look_up(struct memo *m, const char *bytes, size_t len, bool *ret_known)
{
    const uint64_t hash = hash_of(bytes, len);
    struct slot *s = &m->slots[hash % SLOTS];
    *ret_known = s->bytes && s->hash == hash && s->len == len && memcmp(s->bytes, bytes, len) == 0;
    if (*ret_known) return s;
    if (!s->bytes || s->cap < len) {
        s->cap = len + 512;
        s->bytes = must(realloc(s->bytes, s->cap));
    }
    if (!s->result) s->result = must(malloc(m->size));
    memcpy(s->bytes, bytes, len);
    s->len = len;
    s->hash = hash;
    return s;
}

int record_decode_plain(const char *json, size_t len, struct record *ret_record);
int journal_decode_plain(const char *json, size_t len, struct journal *ret_journal);
int job_decode_plain(const char *bytes, size_t len, struct job *ret_job, struct message_fault *fault);

int record_decode(const char *json, size_t len, struct record *ret_record)
{
    static struct memo memo = {.size = sizeof(struct record)};
    bool known;
    struct slot *s = look_up(&memo, json, len, &known);
    if (!known) s->rc = record_decode_plain(json, len, s->result);
    if (s->rc == 0) memcpy(ret_record, s->result, sizeof(*ret_record));
    return s->rc;
}

int journal_decode(const char *json, size_t len, struct journal *ret_journal)
{
    static struct memo memo = {.size = sizeof(struct journal)};
    bool known;
    struct slot *s = look_up(&memo, json, len, &known);
    if (!known) s->rc = journal_decode_plain(json, len, s->result);
    if (s->rc == 0) memcpy(ret_journal, s->result, sizeof(*ret_journal));
    return s->rc;
}

/* A refusal is read again for its text: it does not happen here. */
int job_decode(const char *bytes, size_t len, struct job *ret_job, struct message_fault *fault)
{
    static struct memo memo = {.size = sizeof(struct job)};
    bool known;
    struct slot *s = look_up(&memo, bytes, len, &known);
    if (!known) s->rc = job_decode_plain(bytes, len, s->result, fault);
    if (s->rc < 0) return job_decode_plain(bytes, len, ret_job, fault);
    memcpy(ret_job, s->result, sizeof(*ret_job));
    return 0;
}
