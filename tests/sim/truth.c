/* The world's truth and its judge (truth.h).
 *
 * I1: an act of keyroll never takes the instance from a key that AWS accepts to one that it refuses. What a stranger
 * does (a restored copy, a key deleted in the console) may; and an act whose last look at the instance lies before the
 * stranger's change is not blamed for it: keyroll has to heal that afterwards. I3: a key is deleted or set Inactive by
 * keyroll only if keyroll made it and the instance does not use it, or if the instance was seen to use it before and
 * holds another accepted key now. One that was offered was Inactive for the quarantine. An exposed key may go Inactive
 * at once when its successor is in use. */
#include "tests/sim/truth.h"

#include "lib/err.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#define DATE_GRAIN_MS      2000 /* two dates of AWS, which are of whole seconds, are compared */
#define SIM_KEYS_STRANGERS 16   /* of SIM_KEYS_MAX, for those of strangers */
#define QUOTA              2
#define FLAP_LEAST_MS      1000 /* and two seconds more at most */
#define PROOF_MS                                                                                                       \
    20000 /* a pair was proven so shortly before it is written; the answer may have waited for a worker that stood     \
             still, for less than its lease */
/* R4: so long after an intent whose create had no answer a newcomer may be taken for ours: the 20 s in which it is
 * begun and the 10 s that it may take, AWS's skew limit, and half a minute for an intent that was repeated. */
#define CREATE_LIFE_MS  (16 * 60000)
#define CREATE_SLACK_MS 5000
#define LATE_MS         15000        /* its lease has ended: somebody else may have gone on since */
#define LOOK_MOST_MS    300000       /* a retry or two of what comes between a look and its call */
#define UNSEEN_MS       (40 * 60000) /* what the instance has held for so long shows in last-used (R11) */
#define USE_GRAIN_MS    (15 * 60000) /* facts/aws, section 11: the first use in each 15 minutes is kept */

void sim_truth_init(struct sim_truth *t, struct sim *s)
{
    memset(t, 0, sizeof(*t));
    t->sim = s;
    t->instance_outside_ms = t->intent_ms = t->intent_first_ms = -1;
}

void sim_violate(struct sim_truth *t, const char *fmt, ...)
{
    char text[300];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    sim_say(t->sim, "VIOLATION %s", text);
    if (!t->violation[0])
        snprintf(t->violation, sizeof(t->violation), "at %lld ms: %s", (long long)t->sim->mono_ms - 1000000, text);
}

struct sim_key *sim_truth_find(struct sim_truth *t, const char *id)
{
    for (size_t i = 0; i < t->n; i++)
        if (t->keys[i].exists && !strcmp(t->keys[i].id, id)) return &t->keys[i];
    return NULL;
}

size_t sim_truth_count(const struct sim_truth *t)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n; i++) n += t->keys[i].exists;
    return n;
}

static void remember_list(struct sim_truth *t)
{
    t->n_before = 0;
    t->listed_change_ms = t->sim->mono_ms;
    for (size_t i = 0; i < t->n && t->n_before < ARRAY_LEN(t->listed_before); i++) {
        if (!t->keys[i].exists) continue;
        memcpy(t->listed_before[t->n_before], t->keys[i].id, sizeof(t->keys[i].id));
        t->status_before[t->n_before++] = t->keys[i].status;
    }
}

static struct sim_key *new_key(struct sim_truth *t, enum sim_by by)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    static const char mixed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    if (t->n == SIM_KEYS_MAX) abort();
    struct sim_key *k = &t->keys[t->n++];
    memset(k, 0, sizeof(*k));
    snprintf(k->id, sizeof(k->id), "AKIA%02zu", t->n);
    for (size_t i = strlen(k->id); i < 20; i++) k->id[i] = letters[sim_random(t->sim) % 32];
    for (size_t i = 0; i < 40; i++) k->secret[i] = mixed[sim_random(t->sim) % 64];
    k->exists = true;
    k->made_by = by;
    k->made_ms = t->sim->mono_ms;
    k->created_wall_ms = sim_wall_ms(t->sim) / 1000 * 1000; /* CreateDate has whole seconds */
    k->inactive_wall_ms = TIME_NONE;
    k->outside_ms = k->marked_ms = k->left_ms = -1;
    return k;
}

struct sim_key *sim_truth_put(struct sim_truth *t, enum aws_key_status status, int64_t age_ms, bool original)
{
    remember_list(t);
    struct sim_key *k = new_key(t, SIM_BY_STRANGER);
    k->status = status;
    k->created_wall_ms -= age_ms;
    k->original = original;
    if (status == AWS_KEY_INACTIVE) k->inactive_wall_ms = sim_wall_ms(t->sim);
    sim_say(t->sim, "%s %s: %s", k->id, original ? "is there" : "is made by a stranger", aws_key_status_name(status));
    return k;
}

int sim_truth_create(struct sim_truth *t, enum sim_by by, struct sim_key **ret_key)
{
    if (sim_truth_count(t) >= QUOTA) return ERR_AWS_LIMIT;
    if (t->n + SIM_KEYS_STRANGERS >= SIM_KEYS_MAX) {
        sim_violate(t, "I8: it makes keys without end");
        return ERR_AWS_LIMIT;
    }
    remember_list(t);
    struct sim_key *k = new_key(t, by);
    k->usable_ms =
        t->sim->mono_ms + (t->propagate_most_ms ? sim_between(t->sim, t->propagate_least_ms, t->propagate_most_ms) : 0);
    /* somewhere on the way, shorter than three proofs two seconds apart */
    k->flap_ms = t->sim->mono_ms + (k->usable_ms - t->sim->mono_ms) * (k->secret[0] & 15) / 16;
    k->flap_end_ms = k->flap_ms + FLAP_LEAST_MS + (k->secret[1] & 31) * 64;
    t->creates += by == SIM_BY_KEYROLL;
    sim_say(t->sim, "%s is created", k->id);
    *ret_key = k;
    return 0;
}

int sim_truth_try(struct sim_truth *t, const char *id, const char *secret)
{
    const struct sim_key *k = sim_truth_find(t, id);
    if (!k || k->status != AWS_KEY_ACTIVE || k->usable_ms > t->sim->mono_ms) return ERR_KEY_TOO_NEW;
    return strcmp(k->secret, secret) ? ERR_KEY_BAD_SECRET : 0;
}

int sim_truth_probe(struct sim_truth *t, const char *id, const char *secret)
{
    const struct sim_key *k = sim_truth_find(t, id);
    const int64_t now = t->sim->mono_ms;
    bool flaps = k && k->status == AWS_KEY_ACTIVE && now >= k->flap_ms && now < k->flap_end_ms;
    return flaps && !strcmp(k->secret, secret) ? 0 : sim_truth_try(t, id, secret);
}

bool sim_truth_works(struct sim_truth *t)
{
    return t->instance.any && sim_truth_try(t, t->instance.id, t->instance.secret) == 0;
}

/* ---- use ----------------------------------------------------------------------------------------------------------
 */

void sim_truth_touch(struct sim_truth *t, const char *id)
{
    struct sim_key *k = sim_truth_find(t, id);
    if (!k) return;
    if (!k->was_used) k->first_used_wall_ms = sim_wall_ms(t->sim);
    k->was_used = true;
    k->last_used_wall_ms = sim_wall_ms(t->sim);
}

/* The instance uses its key all the time, unless it is idle. */
static void instance_uses(struct sim_truth *t)
{
    if (!sim_truth_works(t)) return;
    if (!t->idle) sim_truth_touch(t, t->instance.id);
    sim_truth_find(t, t->instance.id)->was_held = true;
    t->held_accepted = true;
}

enum aws_used sim_truth_last_used(struct sim_truth *t, const char *id, int64_t *ret_wall_ms)
{
    instance_uses(t);
    const struct sim_key *k = sim_truth_find(t, id);
    if (!k) return AWS_USED_UNKNOWN;
    if (!k->was_used) return AWS_USED_NEVER;
    *ret_wall_ms = k->first_used_wall_ms + (k->last_used_wall_ms - k->first_used_wall_ms) / USE_GRAIN_MS * USE_GRAIN_MS;
    return AWS_USED_AT;
}

/* ---- changes ------------------------------------------------------------------------------------------------------
 */

/* Whether keyroll could know what the instance holds. Where it cannot be read, AWS's last-used tells it, a while later;
 * not of a key that is Inactive and does not work there, and one that is exposed does not wait for it (R9). */
static bool could_be_seen(const struct sim_truth *t, const struct sim_key *k)
{
    if (!t->unreadable) return t->instance_outside_ms < t->instance_shown_ms;
    return k && k->status == AWS_KEY_ACTIVE && !k->exposed && t->asked_ms - t->instance_change_ms > UNSEEN_MS;
}

/* A call that was sent lands, whatever is seen meanwhile: the instance was restored to this key since, from another. */
static bool restored_since_sent(const struct sim_truth *t, const char *id)
{
    return t->instance.any && !strcmp(t->instance.id, id) && strcmp(t->instance_before.id, id) != 0 &&
           t->instance_change_ms == t->instance_outside_ms && t->instance_outside_ms >= t->asked_ms;
}

static void judge_outage(struct sim_truth *t, bool worked, enum sim_by by, const char *what, const char *id)
{
    if (sim_truth_works(t)) {
        instance_uses(t);
        return;
    }
    if (!worked || by == SIM_BY_STRANGER) return;
    if (!could_be_seen(t, sim_truth_find(t, id))) return; /* changed behind its back since the last look */
    if (restored_since_sent(t, id)) return;
    sim_violate(t, "I1: %s %s takes the instance's last accepted key away", what, id);
}

void sim_truth_gate(struct sim_truth *t)
{
    t->at_gate = true;
}

void sim_truth_intend(struct sim_truth *t)
{
    bool again = t->intent_ms >= 0 && t->sim->mono_ms - t->intent_ms < 60000; /* a row that is repeated */
    if (!again) t->intent_ms = t->sim->mono_ms;
    if (t->at_gate) t->intent_first_ms = t->intent_ms;
    t->at_gate = false;
    t->create_open = true;
}

/* A stranger's key that nobody can tell from our own. R11: where the instance shows nothing, the user's only key is its
 * key. R4: made after our intent to create, never used, and whoever goes on does not know what became of the create. An
 * intent that was told anew may be gone on with as it was told before: the last telling got nowhere. */
static bool passes_for_ours(const struct sim_truth *t, const struct sim_key *k)
{
    if (t->unreadable && k->was_alone) return true;
    return k->was_doubted && !k->was_used && k->made_ms >= t->intent_first_ms - CREATE_SLACK_MS &&
           k->made_ms - t->intent_ms <= CREATE_LIFE_MS;
}

/* Who acts on a look of then has to look again. */
static bool is_old(const struct sim_truth *t, int64_t looked_ms)
{
    return t->asked_ms - looked_ms > LOOK_MOST_MS;
}

/* R4: what may be a stranger's key lies Inactive for an hour, in which he would notice, before it is deleted. So do
 * keys of our own whose secret was lost: nobody can tell them apart. */
static void judge_rest(struct sim_truth *t, const struct sim_key *k)
{
    if (!k->was_doubted || k->was_shown || k->changed_outside) return;
    if (t->asked_ms < k->doubted_ms) return; /* its maker knew it, before somebody else came to doubt it (R14) */
    if (k->inactive_wall_ms == TIME_NONE || sim_wall_ms(t->sim) - k->inactive_wall_ms < t->rest_ms)
        sim_violate(t, "R4: %s, which may be a stranger's, is deleted before it was Inactive for an hour", k->id);
}

static void judge_against(struct sim_truth *t, const struct sim_key *k, bool deletes)
{
    const char *verb = deletes ? "deleted" : "set Inactive";
    bool held = t->instance.any && !strcmp(t->instance.id, k->id);
    const bool outrun = held && restored_since_sent(t, k->id);
    t->outrun = t->outrun || outrun;
    if (held && !outrun && (could_be_seen(t, k) || (!t->unreadable && is_old(t, t->instance_read_ms))))
        sim_violate(t, "I3: %s is %s while the instance holds it", k->id, verb);
    if (k->made_by == SIM_BY_STRANGER && !k->was_shown && !passes_for_ours(t, k))
        sim_violate(t, "I3: %s is %s, though keyroll neither made it nor saw it in use", k->id, verb);
    /* a stranger came in between: after the call was sent, or after a look that is no older than it has to be */
    bool unforeseen =
        t->outside_ms >= t->asked_ms || (t->outside_ms > t->asked_listed_ms && !is_old(t, t->asked_listed_ms));
    if (k->made_by == SIM_BY_STRANGER && k->was_held && !unforeseen && !t->asked_unproven && !held &&
        !sim_truth_works(t) && could_be_seen(t, k))
        sim_violate(t, "I3: %s is %s while the instance has no other accepted key", k->id, verb);
    if (!deletes) return;
    judge_rest(t, k);
    bool lived = k->was_offered || k->was_held;
    if (!lived) return;
    if (k->status == AWS_KEY_ACTIVE && !(k->changed_outside && k->outside_ms > t->asked_listed_ms))
        sim_violate(t, "R1: %s was offered to the instance and is deleted while Active", k->id);
    if (k->inactive_wall_ms == TIME_NONE ||
        (!k->changed_outside && sim_wall_ms(t->sim) - k->inactive_wall_ms < t->quarantine_ms - DATE_GRAIN_MS))
        sim_violate(t, "R5: %s is deleted before its quarantine is over", k->id);
}

int sim_truth_update(struct sim_truth *t, const char *id, enum aws_key_status status, enum sim_by by)
{
    struct sim_key *k = sim_truth_find(t, id);
    if (!k) return ERR_AWS_NO_ENTITY;
    instance_uses(t);
    bool worked = sim_truth_works(t);
    if (by == SIM_BY_KEYROLL && status == AWS_KEY_INACTIVE) judge_against(t, k, false);
    remember_list(t);
    if (status == AWS_KEY_INACTIVE && k->status != AWS_KEY_INACTIVE) k->inactive_wall_ms = sim_wall_ms(t->sim);
    if (by == SIM_BY_KEYROLL && status == AWS_KEY_ACTIVE && t->sim->mono_ms - t->asked_ms > LATE_MS)
        t->revived_late = true;
    k->status = status;
    k->changed_outside = by == SIM_BY_STRANGER;
    if (by == SIM_BY_STRANGER) k->outside_ms = t->outside_ms = t->sim->mono_ms;
    sim_say(t->sim, "%s becomes %s%s", id, aws_key_status_name(status), by == SIM_BY_STRANGER ? " by a stranger" : "");
    judge_outage(t, worked, by, "setting Inactive", id);
    return 0;
}

int sim_truth_delete(struct sim_truth *t, const char *id, enum sim_by by)
{
    struct sim_key *k = sim_truth_find(t, id);
    if (!k) return ERR_AWS_NO_ENTITY;
    instance_uses(t);
    bool worked = sim_truth_works(t);
    if (by == SIM_BY_KEYROLL) judge_against(t, k, true);
    remember_list(t);
    k->exists = false;
    if (by == SIM_BY_STRANGER) k->outside_ms = t->outside_ms = t->sim->mono_ms;
    k->deleted = by == SIM_BY_KEYROLL;
    t->deletes += k->deleted;
    sim_say(t->sim, "%s is deleted%s", id, by == SIM_BY_STRANGER ? " by a stranger" : "");
    judge_outage(t, worked, by, "deleting", id);
    return 0;
}

/* A stranger touched the key after its last proof before the write: nobody can see that coming. */
static bool was_touched_since(const struct sim_truth *t, const char *id, int64_t begun_ms, enum sim_by by)
{
    for (size_t i = 0; i < t->n; i++) {
        const struct sim_key *k = &t->keys[i];
        if (strcmp(k->id, id)) continue;
        if (by == SIM_BY_PERSON) return k->outside_ms >= 0; /* pasted long after it was shown */
        return k->outside_ms >= begun_ms - PROOF_MS;
    }
    return false;
}

void sim_truth_write(struct sim_truth *t, const char *id, const char *secret, enum sim_by by, int64_t begun_ms)
{
    instance_uses(t);
    bool worked = sim_truth_works(t);
    struct sim_key *before = sim_truth_find(t, t->instance.id);
    if (before && strcmp(before->id, id)) before->left_ms = by == SIM_BY_STRANGER ? -1 : t->sim->mono_ms;
    t->instance_before = t->instance;
    t->instance_change_ms = t->sim->mono_ms;
    t->instance.any = id[0] != '\0';
    snprintf(t->instance.id, sizeof(t->instance.id), "%s", id);
    snprintf(t->instance.secret, sizeof(t->instance.secret), "%s", secret);
    struct sim_key *k = sim_truth_find(t, id);
    if (k) k->was_shown = true;
    if (k) k->left_ms = -1;
    if (k && by != SIM_BY_STRANGER) k->was_offered = true;
    if (by == SIM_BY_STRANGER) t->instance_outside_ms = t->sim->mono_ms;
    sim_say(t->sim, "the instance holds %s%s", id[0] ? id : "no key", by == SIM_BY_STRANGER ? " by a stranger" : "");
    judge_outage(t, worked && !was_touched_since(t, id, begun_ms, by), by, "writing", id);
}

uint64_t sim_truth_digest(const struct sim_truth *t)
{
    uint64_t h = 14695981039346656037u;
    for (size_t i = 0; i < t->n; i++) {
        if (!t->keys[i].exists) continue;
        for (const char *p = t->keys[i].id; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
        h = (h ^ (unsigned)t->keys[i].status) * 1099511628211u;
    }
    for (const char *p = t->instance.any ? t->instance.id : "-"; *p; p++) h = (h ^ (unsigned char)*p) * 1099511628211u;
    return h;
}
