/* The instances' own use of their keys, and the outages that shows.
 *
 * A real instance reads and writes its bucket all day. Here each uses its stored pair once per use-interval, spread
 * over the interval. A signature verifies exactly if both sides hold the same secret, so the use compares secrets
 * instead of hashing, and asks the same key_usable() that decides on requests from outside.
 *
 * An outage is a refusal after the instance has held an accepted key; it ends with the next accepted use. Every
 * accepted use also counts as a presigned URL handed out: if the key dies within presign-life after its last use by
 * the instance, that is a presign break, counted once per key. */
#include "tests/sandbox/uses.h"

#include <string.h>

#define TICK_MAX_MS 1000

void uses_settle(struct world *w, struct licence *l, int64_t now_ms)
{
    if (!l->apply_at_ms || now_ms < l->apply_at_ms) return;
    l->apply_at_ms = 0;
    instance_store(w, l, l->pending.id, l->pending.secret);
}

void uses_issued(struct licence *l, struct key *k, int64_t now_ms)
{
    struct issued *oldest = &l->issued[0];
    for (int i = 0; i < ISSUED_MAX; i++) {
        struct issued *one = &l->issued[i];
        if (one->key == k) {
            one->last_ms = now_ms;
            return;
        }
        if (one->last_ms < oldest->last_ms) oldest = one;
    }
    *oldest = (struct issued){.key = k, .last_ms = now_ms};
}

static void check_issued(struct world *w, struct licence *l, int64_t now_ms)
{
    for (int i = 0; i < ISSUED_MAX; i++) {
        struct issued *one = &l->issued[i];
        if (!one->key || one->broken || now_ms >= one->last_ms + w->set.presign_life_ms) continue;
        if (key_usable(w, one->key, SVC_S3, now_ms)) continue;
        one->broken = true;
        l->presign_breaks++;
        w->totals.presign_breaks++;
    }
}

static const char *try_key(struct world *w, const struct licence *l, int64_t now_ms)
{
    struct key *k = l->stored_key;
    if (!l->stored.id) return "NoKey";
    if (!k || !key_usable(w, k, SVC_S3, now_ms)) return "InvalidAccessKeyId";
    if (!l->stored.secret || strcmp(l->stored.secret, k->secret) != 0) return "SignatureDoesNotMatch";
    if (k->user != l->user) return "AccessDenied";
    return NULL;
}

static void book_accepted(struct world *w, struct licence *l, int64_t now_ms)
{
    struct key *k = l->stored_key;
    if (!k->used_once && k->events[0].actor != ACTOR_INITIAL) {
        l->rotated++;
        w->totals.rotated++;
    }
    k->used_once = true;
    k->last_used_ms = now_ms;
    k->last_used_service = SVC_S3;
    uses_issued(l, k, now_ms);
    l->ever_accepted = true;
    if (l->failing) w->totals.outage_ms += now_ms - l->failing_since_ms;
    l->failing = false;
}

static void book_refused(struct world *w, struct licence *l, int64_t now_ms)
{
    if (!l->ever_accepted) return;
    l->refused++;
    w->totals.refused_uses++;
    if (l->failing) return;
    l->failing = true;
    l->failing_since_ms = now_ms;
    l->outages++;
    w->totals.outages++;
}

const char *uses_once(struct world *w, struct licence *l, int64_t now_ms)
{
    uses_settle(w, l, now_ms);
    l->uses++;
    w->totals.uses++;
    const char *code = try_key(w, l, now_ms);
    if (code)
        book_refused(w, l, now_ms);
    else
        book_accepted(w, l, now_ms);
    check_issued(w, l, now_ms);
    return code;
}

void uses_tick(struct world *w)
{
    static size_t next;
    static int64_t last_ms;
    static double owed;
    int64_t now = world_now_ms(w), passed = now - last_ms;
    last_ms = now;
    if (!w->set.use_interval_ms || !w->n_licences) return;
    if (passed < 0 || passed > TICK_MAX_MS) passed = TICK_MAX_MS;
    owed += (double)passed * (double)w->n_licences / (double)w->set.use_interval_ms;
    if (owed > (double)w->n_licences) owed = (double)w->n_licences;
    for (; owed >= 1; owed -= 1) {
        if (next >= w->n_licences) next = 0;
        struct licence *l = w->licences[next++];
        if (!l->flags.down) (void)uses_once(w, l, now);
    }
}
