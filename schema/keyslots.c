/* The decision table of keyslots.h. Everything here is a pure function of what was listed, what the instance shows and
 * what the record explains. Three rules stand above the rows:
 *   - a key that the record does not explain is never touched, and no new key is made beside it: a person decides (I3);
 *   - "unknown" (status, use, what the instance holds) is a value of its own and never counts as the convenient one;
 *   - room is made only by deleting a key that is Inactive, was so for its quarantine, and whose replacement was seen
 * in use since (R5). */
#include "schema/keyslots.h"

#include "lib/clock.h"
#include "lib/mutant.h"
#include "lib/text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define YOUNG_MS 3600000 /* a key is given to its instance before it is so old: see keyslots_shows_old() */

static const struct aws_key *listed(const struct aws_key *keys, size_t n, const char *id)
{
    for (size_t i = 0; i < n; i++)
        if (!strcmp(keys[i].id, id)) return &keys[i];
    return NULL;
}

static void PRINTF_LIKE(4, 5)
    answer(struct keyslots_out *out, enum slot_action action, const char *key_id, const char *fmt, ...)
{
    va_list ap;
    out->action = action;
    if (key_id != out->key_id) text_copy(out->key_id, sizeof(out->key_id), key_id);
    va_start(ap, fmt);
    vsnprintf(out->reason, sizeof(out->reason), fmt, ap);
    va_end(ap);
}

/* ---- observe ------------------------------------------------------------------------------------------------------
 */

static void note(struct record_key *k, const struct aws_key *a, int64_t now_ms)
{
    bool was_inactive = k->status == AWS_KEY_INACTIVE;
    k->listed = a != NULL;
    k->status = a ? a->status : AWS_KEY_STATUS_UNKNOWN;
    if (!a) return;
    if (a->created_ms != TIME_NONE) k->created_ms = a->created_ms;
    if (k->status == AWS_KEY_INACTIVE && was_inactive && k->inactive_ms != TIME_NONE) return;
    k->inactive_ms = k->status == AWS_KEY_INACTIVE ? now_ms : k->status == AWS_KEY_ACTIVE ? TIME_NONE : k->inactive_ms;
    k->inactive_aws_ms = TIME_NONE;
}

/* A new record takes a plain world as it is; anything else stays unexplained and decide() will ask a person. */
static void adopt_plain(struct record *r, const struct aws_key *keys, size_t n_keys, enum instance_seen seen,
                        const char *seen_id, int64_t now_ms)
{
    const char *id = NULL;
    if (seen == INSTANCE_SEEN_ID) id = seen_id;
    bool lives = n_keys == 1 && (keys[0].status == AWS_KEY_ACTIVE || keys[0].status == AWS_KEY_EXPIRED);
    if (seen == INSTANCE_SEEN_UNKNOWN && lives) id = keys[0].id; /* an Inactive one may be anybody's */
    if (!id) return;
    struct record_key *k = record_add(r, id);
    if (!k) return;
    k->role = KEY_CURRENT;
    if (seen == INSTANCE_SEEN_ID) k->seen_ms = now_ms;
    note(k, listed(keys, n_keys, id), now_ms);
}

/* What changed on a key that the record knows. Returns a text for a drift, NULL when all is as expected or harmless. */
static const char *changed(const struct record_key *k, const struct aws_key *a)
{
    bool was_active = k->listed && k->status == AWS_KEY_ACTIVE;
    bool was_inactive = k->listed && k->status == AWS_KEY_INACTIVE;
    if (k->role == KEY_CURRENT && was_active && !a) return "was deleted by somebody else while the instance uses it";
    if (k->role == KEY_CURRENT && was_active && a->status == AWS_KEY_INACTIVE)
        return "was made Inactive by somebody else while the instance uses it";
    if (MUTANT(GONE_ASKS) && k->role == KEY_REPLACED && k->listed && !a) return "was deleted by somebody else";
    if (k->role != KEY_CURRENT && k->role != KEY_LEFT && was_inactive && a && a->status == AWS_KEY_ACTIVE)
        return "was made Active again by somebody else";
    return NULL;
}

/* A key that keyroll offered and took back: its write landed later than the profile says that it can (write_life_ms).
 */
static bool was_offered(const struct record_key *k)
{
    return k && k->role == KEY_UNUSED && k->offered_ms != TIME_NONE;
}

static bool seen_drifts(const struct record *r, enum instance_seen seen, const char *seen_id,
                        char reason[RECORD_TEXT_MAX])
{
    const struct record_key *current = record_current(r);
    if (seen != INSTANCE_SEEN_ID) return false;
    const struct record_key *k = record_find_const(r, seen_id);
    if (k && (k->role == KEY_CURRENT || k->role == KEY_REPLACED || was_offered(k))) return false;
    snprintf(reason, RECORD_TEXT_MAX,
             "the instance uses %s, which keyroll does not know as given to it (that is %s); run: keyroll adopt %s",
             seen_id, current ? current->id : "none", r->licence);
    return true;
}

/* "K1 and K2": every listed key that neither the record nor the text explains. Returns the first, NULL without any. */
static const char *list_unexplained(const struct record *r, const struct aws_key *keys, size_t n_keys, const char *text,
                                    char ret_ids[RECORD_TEXT_MAX])
{
    const char *first = NULL;
    ret_ids[0] = '\0';
    for (size_t i = 0; i < n_keys; i++) {
        size_t len = strlen(ret_ids);
        if (record_find_const(r, keys[i].id) || strstr(text, keys[i].id)) continue;
        snprintf(ret_ids + len, RECORD_TEXT_MAX - len, "%s%s", first ? " and " : "", keys[i].id);
        if (!first) first = keys[i].id;
    }
    return first;
}

/* Who is asked about one key has to hear of the other ones, too. */
static void name_unexplained(const struct record *r, const struct aws_key *keys, size_t n_keys,
                             char reason[RECORD_TEXT_MAX])
{
    char ids[RECORD_TEXT_MAX];
    size_t len = strlen(reason);
    if (!list_unexplained(r, keys, n_keys, reason, ids)) return;
    snprintf(reason + len, RECORD_TEXT_MAX - len, "; nobody explains %s", ids);
}

static int64_t ago_ms(int64_t at_ms, int64_t now_ms)
{
    if (at_ms == TIME_NONE) return INT64_MAX;
    return now_ms > at_ms ? now_ms - at_ms : at_ms - now_ms;
}

/* How long ago what the list contradicts was done or seen, by AWS's clock if that is known: Redis's may have been set
 * since. INT64_MAX: it contradicts nothing. */
static int64_t contradicted_ms(const struct record_key *k, const struct aws_key *a, int64_t now_ms, int64_t aws_ms)
{
    const bool gone = k->role == KEY_CURRENT && !k->listed;
    const bool inactive = k->role != KEY_CURRENT && k->status == AWS_KEY_INACTIVE;
    if (gone) return a ? ago_ms(k->inactive_ms, now_ms) : INT64_MAX;
    if (!k->listed || k->rotation <= 0) return INT64_MAX; /* not made, nor set Inactive, by keyroll */
    if (!a) return ago_ms(k->created_ms, aws_ms == TIME_NONE ? now_ms : aws_ms);
    if (k->role == KEY_CURRENT && k->status == AWS_KEY_ACTIVE && a->status == AWS_KEY_INACTIVE)
        return ago_ms(k->seen_ms, now_ms); /* keyroll may have made it Active again, just before it was seen in use */
    if (!inactive || a->status != AWS_KEY_ACTIVE) return INT64_MAX;
    bool by_aws = k->inactive_aws_ms != TIME_NONE && aws_ms != TIME_NONE;
    return by_aws ? ago_ms(k->inactive_aws_ms, aws_ms) : ago_ms(k->inactive_ms, now_ms);
}

enum keyslots_lag keyslots_lags(const struct record *r, const struct aws_key *keys, size_t n_keys, int64_t doubt_ms,
                                int64_t now_ms, int64_t aws_ms)
{
    enum keyslots_lag lag = KEYSLOTS_IN_STEP;
    for (size_t i = 0; i < r->n_keys; i++) {
        const struct record_key *k = &r->keys[i];
        if (contradicted_ms(k, listed(keys, n_keys, k->id), now_ms, aws_ms) >= doubt_ms) continue;
        if (!k->listed) return KEYSLOTS_GONE_LISTED;
        lag = KEYSLOTS_BEHIND;
    }
    return lag;
}

bool keyslots_shows_old(const struct record *r, enum instance_seen seen, const char *seen_id, int64_t life_ms,
                        int64_t now_ms, int64_t aws_ms)
{
    const struct record_key *k = record_current(r);
    if (!k || k->seen_ms == TIME_NONE || seen == INSTANCE_SEEN_UNKNOWN) return false;
    if (seen == INSTANCE_SEEN_ID && !strcmp(seen_id, k->id)) return false;
    bool young = k->rotation > 0 && k->created_ms != TIME_NONE && aws_ms != TIME_NONE;
    return now_ms - k->seen_ms < life_ms || (young && aws_ms - k->created_ms < YOUNG_MS + life_ms);
}

/* What no rule allows (lib/mutant.h). */
static bool takes_newcomer(const struct record *r, const struct aws_key *a, enum instance_seen seen)
{
    const struct record_key *k = record_current(r);
    if (MUTANT(UNREAD_TAKEN)) return seen == INSTANCE_SEEN_UNKNOWN;
    return MUTANT(NEWCOMER_TAKEN) && k && a->created_ms >= k->created_ms && a->created_ms - k->created_ms < 900000;
}

static void take_newcomers(struct record *r, const struct aws_key *keys, size_t n_keys, enum instance_seen seen,
                           int64_t now_ms)
{
    for (size_t i = 0; i < n_keys; i++) {
        if (record_find(r, keys[i].id) || !takes_newcomer(r, &keys[i], seen)) continue;
        struct record_key *k = record_add(r, keys[i].id);
        if (!k) return;
        k->role = KEY_REPLACED;
        k->rotation = r->rotation > 0 ? r->rotation : 1;
        k->next = KEY_NEXT_RETIRE;
        k->next_ms = now_ms;
    }
}

bool keyslots_observe(struct record *r, const struct aws_key *keys, size_t n_keys, enum instance_seen seen,
                      const char *seen_id, int64_t now_ms, char ret_reason[RECORD_TEXT_MAX])
{
    bool drift = false;
    ret_reason[0] = '\0';
    if (r->n_keys == 0) { /* never looked at, or nothing was known the last time */
        adopt_plain(r, keys, n_keys, seen, seen_id, now_ms);
        return false;
    }
    if (MUTANT(UNREAD_TAKEN) || MUTANT(NEWCOMER_TAKEN)) take_newcomers(r, keys, n_keys, seen, now_ms);
    for (size_t i = 0; i < r->n_keys; i++) {
        struct record_key *k = &r->keys[i];
        const struct aws_key *a = listed(keys, n_keys, k->id);
        const char *what = changed(k, a);
        if (what && !drift)
            snprintf(ret_reason, RECORD_TEXT_MAX, "key %s %s; run: keyroll adopt %s", k->id, what, r->licence);
        drift = drift || what;
        note(k, a, now_ms);
        if (k->role == KEY_CURRENT && seen == INSTANCE_SEEN_ID && !strcmp(seen_id, k->id)) k->seen_ms = now_ms;
    }
    for (size_t i = r->n_keys; i-- > 0;) { /* what is gone and was not in use needs no explanation any more */
        struct record_key *k = &r->keys[i];
        if (!k->listed && k->role != KEY_CURRENT && !(seen == INSTANCE_SEEN_ID && !strcmp(seen_id, k->id)))
            record_remove(r, k->id);
    }
    for (size_t i = 0; i < n_keys && !drift; i++) {
        if (record_find(r, keys[i].id)) continue;
        snprintf(ret_reason, RECORD_TEXT_MAX, "key %s was made by somebody else; run: keyroll adopt %s", keys[i].id,
                 r->licence);
        drift = r->state != RECORD_NEW && r->state != RECORD_AWAITING;
        if (!drift) ret_reason[0] = '\0';
    }
    bool other = !drift && seen_drifts(r, seen, seen_id, ret_reason);
    if (drift || other) name_unexplained(r, keys, n_keys, ret_reason);
    return drift || other;
}

/* ---- decide -------------------------------------------------------------------------------------------------------
 */

static bool is_ours(const struct record_key *k)
{
    return k->role == KEY_REPLACED || k->role == KEY_UNUSED;
}

/* Deletable now, by R5. */
static bool may_free(const struct record *r, const struct record_key *k, const struct aws_key *a, int64_t now_ms)
{
    if (!is_ours(k) || !a || a->status != AWS_KEY_INACTIVE || k->inactive_ms == TIME_NONE) return false;
    if (k->next != KEY_NEXT_REAP || k->next_ms == TIME_NONE || k->next_ms > now_ms) return false;
    const struct record_key *current = record_current(r);
    if (!current || current->seen_ms == TIME_NONE) return false;
    if (k->role == KEY_UNUSED) return true;
    return current->listed && current->status == AWS_KEY_ACTIVE && current->seen_ms >= k->inactive_ms;
}

/* Both slots are taken: which one can go, when, or who must look. */
static void decide_full(const struct keyslots_in *in, struct keyslots_out *out)
{
    int64_t until = INT64_MAX;
    for (size_t i = 0; i < in->n_keys; i++) {
        const struct record_key *k = record_find_const(in->record, in->keys[i].id);
        if (!k || !is_ours(k)) continue;
        if (may_free(in->record, k, &in->keys[i], in->now_ms)) {
            answer(out, SLOT_FREE, k->id, "key %s is Inactive, its quarantine is over and its replacement is in use",
                   k->id);
            return;
        }
        int64_t at = k->next_ms == TIME_NONE ? in->now_ms + 3600000 : k->next_ms;
        if (at < until) until = at;
    }
    if (until != INT64_MAX) {
        out->until_ms = until > in->now_ms ? until : in->now_ms + 60000;
        answer(out, SLOT_WAIT, "", "both key slots are taken until a predecessor is deleted");
        return;
    }
    for (size_t i = 0; i < in->n_keys; i++) {
        if (!strcmp(in->keys[i].id, out->old_id)) continue;
        answer(out, SLOT_PERSON, in->keys[i].id,
               "both key slots are taken and %s is not ours to delete; delete it in AWS or run: keyroll adopt %s",
               in->keys[i].id, in->record->licence);
        return;
    }
    answer(out, SLOT_PERSON, "", "both key slots are taken; look at the user in AWS, then run: keyroll adopt %s",
           in->record->licence);
}

static bool unexplained(const struct keyslots_in *in, struct keyslots_out *out)
{
    char ids[RECORD_TEXT_MAX];
    const char *first = list_unexplained(in->record, in->keys, in->n_keys, "", ids);
    if (!first) return false;
    answer(out, SLOT_PERSON, first,
           "nobody explains key %s; run: keyroll adopt %s --replaced KEY (may be removed) or --leave KEY", ids,
           in->record->licence);
    return true;
}

/* The instance went back to a predecessor of ours that still works, and its successor cannot be written again. */
static bool may_fall_back(const struct keyslots_in *in)
{
    if (in->seen != INSTANCE_SEEN_ID) return false;
    const struct record_key *k = record_find_const(in->record, in->seen_id);
    const struct aws_key *a = listed(in->keys, in->n_keys, in->seen_id);
    return k && k->role == KEY_REPLACED && !k->exposed && a && a->status == AWS_KEY_ACTIVE;
}

/* The instance shows something else than the current key. True when that decides. */
static bool decide_seen(const struct keyslots_in *in, const struct record_key *current, struct keyslots_out *out)
{
    bool current_alive = current && listed(in->keys, in->n_keys, current->id);
    if (in->seen == INSTANCE_SEEN_UNKNOWN) return false;
    if (in->seen == INSTANCE_SEEN_ID && current && !strcmp(in->seen_id, current->id)) return false;
    if (in->seen == INSTANCE_SEEN_NONE && !current) return false;
    if (current && !current_alive && current->listed) {
        answer(out, SLOT_LOST, current->id, "the current key %s is gone from AWS", current->id);
        return true;
    }
    if (current_alive && in->pair_kept) {
        answer(out, SLOT_REPAIR, current->id, "the instance went back to %s: writing %s again",
               in->seen == INSTANCE_SEEN_ID ? in->seen_id : "no key", current->id);
        return true;
    }
    if (current && !current_alive) return false; /* it never was there: the instance needs a key */
    if (current && may_fall_back(in)) {
        answer(out, SLOT_FALL_BACK, in->seen_id,
               "the instance went back to %s and the pair of %s is lost: %s is retired", in->seen_id, current->id,
               current->id);
        return true;
    }
    if (in->seen == INSTANCE_SEEN_ID && was_offered(record_find_const(in->record, in->seen_id))) {
        answer(out, SLOT_DRIFTED, in->seen_id,
               "the instance uses %s, which it was offered and keyroll took back (a write that landed late?); run: "
               "keyroll adopt %s",
               in->seen_id, in->record->licence);
        return true;
    }
    answer(out, SLOT_DRIFTED, in->seen == INSTANCE_SEEN_ID ? in->seen_id : "",
           "the instance uses %s instead of %s; run: keyroll adopt %s",
           in->seen == INSTANCE_SEEN_ID ? in->seen_id : "no key", current ? current->id : "none", in->record->licence);
    return true;
}

void keyslots_decide(const struct keyslots_in *in, struct keyslots_out *out)
{
    const struct record *r = in->record;
    const struct record_key *current = record_current(r);
    memset(out, 0, sizeof(*out));
    out->until_ms = TIME_NONE;
    if (r->state == RECORD_EXCLUDED || r->state == RECORD_DRIFTED) {
        answer(out, SLOT_PERSON, "", "%.180s", r->reason[0] ? r->reason : record_state_name(r->state));
        return;
    }
    if (MUTANT(EXPIRED_ASKS) && current && current->status == AWS_KEY_EXPIRED) {
        answer(out, SLOT_PERSON, current->id, "key %s has expired", current->id);
        return;
    }
    if (unexplained(in, out) || decide_seen(in, current, out)) return;
    if (in->replace_id && in->replace_id[0] && current && strcmp(in->replace_id, current->id)) {
        answer(out, SLOT_NOTHING, current->id, "%s was replaced already", in->replace_id);
        return;
    }
    if (in->is_stale) {
        answer(out, SLOT_NOTHING, current ? current->id : "", "a later rotation answered this job");
        return;
    }
    if (current) {
        text_copy(out->old_id, sizeof(out->old_id), current->id);
        out->old_seen = in->seen == INSTANCE_SEEN_ID && !strcmp(in->seen_id, current->id);
    }
    if (in->n_keys >= KEYSLOTS_QUOTA) {
        decide_full(in, out);
        return;
    }
    answer(out, SLOT_CREATE, "", "a key slot is free");
}
