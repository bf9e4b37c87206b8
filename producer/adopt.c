/* A person's word takes the place of what keyroll could not see (I3): which key is in use, which ones were replaced and
 * may go the way of all predecessors, which ones are to be left alone. Every listed key must be named, so that nothing
 * is swept along unseen. A replaced key is `unseen`: keyroll did not watch the change, so that retiring it takes AWS's
 * last-used as proof (R11). */
#include "producer/adopt.h"

#include "lib/clock.h"
#include "lib/err.h"

#include <stdio.h>
#include <string.h>

static const struct aws_key *listed(const struct adopt_in *in, const char *id)
{
    for (size_t i = 0; i < in->n_keys; i++)
        if (strcmp(in->keys[i].id, id) == 0) return &in->keys[i];
    return NULL;
}

static bool named(const char *const *ids, const char *id)
{
    for (; ids && *ids; ids++)
        if (strcmp(*ids, id) == 0) return true;
    return false;
}

static int check_named(const struct adopt_in *in, const char *const *ids, const char *flag, char *reason)
{
    for (; ids && *ids; ids++) {
        if (!listed(in, *ids))
            snprintf(reason, RECORD_TEXT_MAX, "%s %.130s: AWS does not list this key", flag, *ids);
        else if (strcmp(*ids, in->current_id) == 0)
            snprintf(reason, RECORD_TEXT_MAX, "%s %.130s: this is the key in use", flag, *ids);
        else
            continue;
        return ERR_INVALID;
    }
    return 0;
}

static int check(const struct adopt_in *in, char *reason)
{
    int rc = check_named(in, in->replaced, "--replaced", reason);
    if (rc == 0) rc = check_named(in, in->left, "--leave", reason);
    if (rc < 0) return rc;
    size_t len = (size_t)snprintf(reason, RECORD_TEXT_MAX, "say what these keys are (--replaced KEY or --leave KEY):");
    size_t open = 0;
    for (size_t i = 0; i < in->n_keys; i++) {
        const char *id = in->keys[i].id;
        bool replaced = named(in->replaced, id), left = named(in->left, id);
        if (replaced && left) {
            snprintf(reason, RECORD_TEXT_MAX, "%.130s is named as replaced and as left", id);
            return ERR_INVALID;
        }
        if (replaced || left || strcmp(id, in->current_id) == 0) continue;
        open++;
        if (len < RECORD_TEXT_MAX) len += (size_t)snprintf(reason + len, RECORD_TEXT_MAX - len, " %s", id);
    }
    if (open) return ERR_INVALID;
    if (in->n_keys > RECORD_KEYS_MAX - 1) {
        snprintf(reason, RECORD_TEXT_MAX, "the user has %zu keys: delete some in AWS first", in->n_keys);
        return ERR_INVALID;
    }
    reason[0] = '\0';
    return 0;
}

/* What an entry keeps of the one before: what AWS cannot tell. */
static void fill(struct record_key *k, const struct record *before, const struct aws_key *a, const char *id,
                 int64_t now_ms)
{
    const struct record_key *old = record_find_const(before, id);
    k->status = a ? a->status : AWS_KEY_STATUS_UNKNOWN;
    k->listed = a != NULL;
    k->created_ms = a ? a->created_ms : TIME_NONE;
    k->offered_ms = old ? old->offered_ms : TIME_NONE;
    k->exposed = old && old->exposed;
    k->rotation = old ? old->rotation : 0;
    k->inactive_ms = TIME_NONE;
    if (k->status == AWS_KEY_INACTIVE)
        k->inactive_ms = old && old->inactive_ms != TIME_NONE ? old->inactive_ms : now_ms;
    k->inactive_aws_ms = TIME_NONE;
}

static void plan_replaced(const struct adopt_in *in, struct record_key *k)
{
    k->role = KEY_REPLACED;
    k->unseen = true;
    k->rotation = in->number;
    k->replaced_ms = in->now_ms;
    snprintf(k->replaced_by, sizeof k->replaced_by, "%s", in->current_id);
    bool inactive = k->status == AWS_KEY_INACTIVE;
    if (inactive) k->inactive_aws_ms = in->now_ms; /* uses until now were before the eyes of who adopts it */
    k->next = inactive ? KEY_NEXT_REAP : KEY_NEXT_RETIRE;
    k->next_ms = in->now_ms + (inactive ? in->quarantine_ms : k->exposed ? 0 : in->overlap_ms);
}

int adopt_record(const struct adopt_in *in, struct record *r, char ret_reason[RECORD_TEXT_MAX])
{
    int rc = check(in, ret_reason);
    if (rc < 0) return rc;
    struct record made = *r;
    made.n_keys = 0;
    if (in->current_id[0]) {
        struct record_key *k = record_add(&made, in->current_id);
        fill(k, r, listed(in, in->current_id), in->current_id, in->now_ms);
        k->role = KEY_CURRENT;
        k->next = KEY_NEXT_NONE;
        k->next_ms = TIME_NONE;
        if (in->current_seen) k->seen_ms = in->now_ms;
        if (k->offered_ms == TIME_NONE) k->offered_ms = in->now_ms; /* AWS has to see it in use after this (R11) */
    }
    for (size_t i = 0; i < in->n_keys; i++) {
        const char *id = in->keys[i].id;
        if (strcmp(id, in->current_id) == 0) continue;
        struct record_key *k = record_add(&made, id);
        fill(k, r, &in->keys[i], id, in->now_ms);
        if (named(in->replaced, id))
            plan_replaced(in, k);
        else
            k->role = KEY_LEFT;
    }
    unsigned drifts = made.drifts;
    record_settle(&made);
    made.drifts = drifts; /* a second change by others still means another rotator */
    if (in->replaced && in->replaced[0]) made.rotation = in->number;
    made.audited_ms = in->now_ms;
    *r = made;
    return 0;
}
