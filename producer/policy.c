/* The scheduler's policy (policy.h). It remembers nothing: what was asked for before does not count, only what the
 * record and the journal say now (design, section 3), so that a lost message, broker or Redis delays work and harms
 * nothing.
 *
 * The order of the rules is the order of their importance: what is open is finished first (R2), then what stands in the
 * record as planned (retire, reap; R6), then what an operator or a leak asks for (R9), then age, then the daily look.
 * The record's own next-try time holds publishing back (R10). A state that waits for a person gets a look now and then
 * and nothing else. */
#include "producer/policy.h"

#include "lib/err.h"
#include "lib/fnv.h"
#include "lib/mutant.h"

#include "schema/options.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define RUNG_GRACE_MAX_MS 30000 /* how long a job on a retry topic is left to Kafka after its time */

void policy_from_options(const struct options *o, struct policy *ret)
{
    *ret = (struct policy){.observe = o->mode == OPTIONS_OBSERVE,
                           .max_age_ms = o->max_age_ms,
                           .max_age_jitter_ms = o->max_age_jitter_ms,
                           .audit_interval_ms = o->audit_interval_ms,
                           .assisted_poll_ms = o->assisted_poll_ms,
                           .rungs = (unsigned)o->retry_delays.n};
}

static uint64_t name_hash(const char *s)
{
    return fnv_mix(fnv1a(FNV1A_START, s));
}

int64_t policy_age_ms(const struct policy *p, const char *licence)
{
    char name[IDENTITY_LICENCE_MAX];
    identity_lower(licence, name, sizeof name);
    if (p->max_age_jitter_ms <= 0) return p->max_age_ms;
    if (p->canary) return p->max_age_ms - p->max_age_jitter_ms;
    return p->max_age_ms - (int64_t)(name_hash(name) % (uint64_t)(p->max_age_jitter_ms + 1));
}

const char *policy_rank_name(enum policy_rank r)
{
    static const char *const names[] = {"exposed", "urgent",     "retire", "reap",   "resume",
                                        "rotate",  "first look", "audit",  "nothing"};
    return names[r];
}

int policy_compare(const struct policy_verdict *a, const struct policy_verdict *b)
{
    bool first = a->recovered && a->rank > POLICY_URGENT, second = b->recovered && b->rank > POLICY_URGENT;
    if (first != second) return first ? (b->rank > POLICY_URGENT ? -1 : 1) : a->rank > POLICY_URGENT ? 1 : -1;
    if (a->rank != b->rank) return a->rank < b->rank ? -1 : 1;
    if (a->canary != b->canary) return a->canary ? -1 : 1;
    return (a->oldest_ms > b->oldest_ms) - (a->oldest_ms < b->oldest_ms);
}

/* ---- helpers ---- */

static void say(struct policy_verdict *v, const char *fmt, ...) PRINTF_LIKE(2, 3);
static void say(struct policy_verdict *v, const char *fmt, ...)
{
    va_list ap;
    if (v->wordless) return;
    va_start(ap, fmt);
    vsnprintf(v->why, sizeof v->why, fmt, ap);
    va_end(ap);
}

static void set_job(struct policy_verdict *v, int kind, int reason, const char *key_id, int64_t rotation)
{
    v->kind = kind;
    v->reason = reason;
    size_t len = strnlen(key_id, sizeof v->replace_key_id - 1); /* by hand: for each licence at every tick */
    memcpy(v->replace_key_id, key_id, len);
    v->replace_key_id[len] = '\0';
    v->rotation = rotation;
}

/* Due now, or planned: rank NOTHING with the time at which it will be. */
static void due_at(struct policy_verdict *v, enum policy_rank rank, int64_t at_ms, int64_t now_ms)
{
    v->at_ms = at_ms;
    v->rank = at_ms <= now_ms ? rank : POLICY_NOTHING;
}

/* When the scheduler may publish again after a failure: what is on a retry topic comes back from there first. */
static int64_t ready_ms(const struct policy *p, const struct record *r)
{
    if (p->recovered && r->parked[0]) return TIME_NONE;
    bool on_rung = r->state == RECORD_RETRY && r->error && r->attempts >= 1 && r->attempts <= p->rungs;
    if (r->next_ms == TIME_NONE || !on_rung || r->updated_ms == TIME_NONE) return r->next_ms;
    int64_t delay = r->next_ms - r->updated_ms;
    int64_t grace = delay < 0 ? 0 : delay < RUNG_GRACE_MAX_MS ? delay : RUNG_GRACE_MAX_MS;
    return r->next_ms + grace;
}

static bool waits_for_person(enum record_state s)
{
    return s == RECORD_DRIFTED || s == RECORD_EXCLUDED || s == RECORD_AWAITING;
}

/* ---- when policy allows it ---- */

/* Puts scheduled work off that may not be begun now. It stays planned, with the time and the reason. broken: the
 * instance has no living key; only a person's word keeps it waiting. */
static void put_off(const struct policy *p, enum calendar_work work, bool broken, int64_t now_ms,
                    struct policy_verdict *v)
{
    const char *reason = NULL, *how = "waits";
    int64_t next = now_ms;
    if (!policy_is_due(v)) return;
    if (p->excluded && now_ms < p->excluded_until_ms) {
        reason = p->excluded;
        how = "excluded";
        next = p->excluded_until_ms;
    } else if (broken) {
        return;
    } else if (p->blocked) {
        reason = p->blocked;
        next = TIME_NONE;
    } else if (p->gate) {
        next = calendar_gate_next(p->gate, work, now_ms, &reason);
    }
    if (!reason) return;
    char why[sizeof v->why];
    memcpy(why, v->why, sizeof why);
    say(v, "%s: %.120s (%.60s)", how, reason, why);
    v->rank = POLICY_NOTHING;
    v->waits = true;
    v->at_ms = next;
}

void policy_put_off(const struct policy *p, int64_t now_ms, struct policy_verdict *v)
{
    put_off(p, CALENDAR_ROTATE, false, now_ms, v);
}

/* ---- an open journal ---- */

static int journal_job(const struct journal *j)
{
    return j->kind == JOURNAL_RETIRE ? JOB_RETIRE : j->kind == JOURNAL_REAP ? JOB_REAP : JOB_ROTATE;
}

/* How long the journal is left alone after the last look at it. */
static int64_t journal_rest_ms(const struct policy *p, const struct store_peek *u, bool *ret_poll)
{
    const struct journal *j = &u->journal;
    enum record_state state = u->has_record ? u->record.state : RECORD_NEW;
    /* a worker was there: it may have been offered */
    const bool asked = state == RECORD_AWAITING && u->record.error == ERR_NEEDS_PERSON;
    *ret_poll = j->step != JOURNAL_AWAIT || !j->secret_lost || asked;
    if (!*ret_poll) return 0; /* nothing is left to reveal: the workers undo it */
    if (state == RECORD_DRIFTED || state == RECORD_EXCLUDED) return p->audit_interval_ms;
    if (j->step == JOURNAL_AWAIT)
        return p->audit_interval_ms; /* waits for reveal; looked at daily, so that nothing waits in silence */
    if (j->assisted && j->step == JOURNAL_SET) return p->assisted_poll_ms;
    if (state == RECORD_AWAITING) return p->assisted_poll_ms; /* whether the person has looked shows in the world */
    *ret_poll = false;
    return 0;
}

static int64_t later(int64_t a, int64_t b)
{
    return a > b ? a : b;
}

/* When a worker was there last, by our clock: it stamps the record by Redis's, which may be behind. Else such a journal
 * would be looked at at every tick. What is later than Redis's time is no stamp of a worker's, but of an operator's
 * command. */
static int64_t looked_ms(const struct store_peek *u, int64_t now_ms)
{
    int64_t at = u->has_record ? u->record.updated_ms : TIME_NONE;
    const bool behind = u->now_ms > 0 && u->now_ms < now_ms;
    return behind && at != TIME_NONE && at <= u->now_ms ? at + now_ms - u->now_ms : at;
}

static void judge_journal(const struct policy *p, const struct store_peek *u, int64_t now_ms, struct policy_verdict *v)
{
    const struct journal *j = &u->journal;
    bool poll;
    int64_t rest = journal_rest_ms(p, u, &poll);
    int64_t touched = later(j->updated_ms, looked_ms(u, now_ms));
    int64_t at = u->has_record ? ready_ms(p, &u->record) : TIME_NONE;
    if (poll && touched != TIME_NONE) at = later(at, touched + rest);
    int64_t rotation = j->rotation > 0 ? j->rotation : 1; /* a message needs one; the worker goes by the journal */
    set_job(v, journal_job(j), poll ? JOB_POLL : JOB_RESUME, j->key_old,
            journal_job(j) == JOB_ROTATE ? j->rotation : rotation);
    v->urgent = j->exposed;
    if (u->lease_ms >= 0) {
        v->at_ms = TIME_NONE;
        say(v, "a worker is at it: %s", journal_step_name(j->step));
        return;
    }
    due_at(v, v->urgent ? POLICY_EXPOSED : POLICY_RESUME, at, now_ms);
    if (at == TIME_NONE) v->at_ms = touched;
    if (poll)
        say(v, "open at %s, waits for a person; looked at again", journal_step_name(j->step));
    else
        say(v, "open at %s, no worker is at it", journal_step_name(j->step));
}

/* ---- what the record plans ---- */

/* The key whose retire or reap comes first; exposed ones at once, before all others. */
static const struct record_key *planned_key(const struct store_peek *u, int64_t now_ms, int64_t *ret_at_ms,
                                            bool *ret_exposed)
{
    const struct record_key *best = NULL;
    for (size_t i = 0; i < u->record.n_keys; i++) {
        const struct record_key *k = &u->record.keys[i];
        if (k->next == KEY_NEXT_NONE || k->role == KEY_CURRENT || k->next_ms == TIME_NONE) continue;
        bool exposed = k->next == KEY_NEXT_RETIRE && (k->exposed || store_peek_exposed(u, k->id));
        if (MUTANT(EXPOSED_WAITS)) exposed = false;
        int64_t at = exposed && k->next_ms > now_ms ? now_ms : k->next_ms;
        if (best && (*ret_exposed ? !exposed || at >= *ret_at_ms : !exposed && at >= *ret_at_ms)) continue;
        best = k;
        *ret_at_ms = at;
        *ret_exposed = exposed;
    }
    return best;
}

static bool judge_planned(const struct policy *p, const struct store_peek *u, int64_t now_ms, struct policy_verdict *v)
{
    const struct record *r = &u->record;
    int64_t at = TIME_NONE;
    bool exposed = false;
    const struct record_key *k = planned_key(u, now_ms, &at, &exposed);
    if (!k) return false;
    bool failing = r->state == RECORD_RETRY || r->state == RECORD_STUCK || r->state == RECORD_FAILED;
    bool retire = k->next == KEY_NEXT_RETIRE;
    set_job(v, retire ? JOB_RETIRE : JOB_REAP, exposed ? JOB_EXPOSED : JOB_SCHEDULED, k->id, k->rotation);
    v->urgent = exposed;
    due_at(v,
           exposed  ? POLICY_EXPOSED
           : retire ? POLICY_RETIRE
                    : POLICY_REAP,
           failing ? later(at, ready_ms(p, r)) : at, now_ms);
    if (exposed)
        say(v, "%s is exposed: it is set Inactive at once", k->id);
    else
        say(v, retire ? "the overlap of %s ends: it is set Inactive" : "the quarantine of %s ends: it is deleted",
            k->id);
    if (!exposed) put_off(p, retire ? CALENDAR_RETIRE : CALENDAR_REAP, false, now_ms, v);
    return true;
}

/* ---- rotate ---- */

static void judge_rotate_now(struct policy_verdict *v, const struct record *r, const struct record_key *current,
                             int reason)
{
    set_job(v, JOB_ROTATE, reason, current ? current->id : "", r->rotation);
}

/* R12: given by us, deleted by others. What is planned for the predecessors needs a living successor first. */
static bool judge_gone(const struct policy *p, const struct store_peek *u, int64_t now_ms, struct policy_verdict *v)
{
    const struct record *r = &u->record;
    const struct record_key *current = record_current(r);
    if (!current || current->listed || r->rotation <= 0) return false;
    judge_rotate_now(v, r, current, JOB_SCHEDULED);
    v->urgent = true; /* the instance is cut off */
    due_at(v, POLICY_URGENT, ready_ms(p, r), now_ms);
    say(v, "%s is gone in AWS", current->id);
    return true;
}

static bool judge_urgent(const struct policy *p, const struct store_peek *u, int64_t now_ms, struct policy_verdict *v)
{
    const struct record *r = &u->record;
    const struct record_key *current = record_current(r);
    bool exposed = current && (current->exposed || store_peek_exposed(u, current->id));
    if (!r->repair && !exposed) return false;
    judge_rotate_now(v, r, current, exposed ? JOB_EXPOSED : JOB_REPAIR);
    v->urgent = true;
    due_at(v, exposed ? POLICY_EXPOSED : POLICY_URGENT, ready_ms(p, r), now_ms);
    if (exposed)
        say(v, "%s is exposed", current->id);
    else
        say(v, "the instance went back to an older key");
    return true;
}

/* A person asked for it, and the message is gone: it parked, or waits for longer than the retry topics. */
static bool judge_asked(const struct policy *p, const struct store_peek *u, int64_t now_ms, struct policy_verdict *v)
{
    const struct record *r = &u->record;
    if (!r->asked || r->state != RECORD_RETRY) return false;
    judge_rotate_now(v, r, record_current(r), JOB_OPERATOR);
    due_at(v, POLICY_ROTATE, ready_ms(p, r), now_ms);
    say(v, "asked for, and not done yet");
    return true;
}

/* By age, or because the instance has no living key. */
static void judge_age(const struct policy *p, const char *licence, const struct store_peek *u, int64_t now_ms,
                      struct policy_verdict *v)
{
    const struct record *r = &u->record;
    const struct record_key *current = record_current(r);
    int64_t at = TIME_NONE;
    judge_rotate_now(v, r, current, JOB_SCHEDULED);
    if (!current) {
        say(v, "the instance has no key");
    } else if (!current->listed || current->status != AWS_KEY_ACTIVE) {
        say(v, "%s is %s in AWS", current->id, current->listed ? aws_key_status_name(current->status) : "gone");
    } else if (current->created_ms == TIME_NONE) {
        say(v, "nobody knows the age of %s", current->id);
    } else {
        int64_t age = policy_age_ms(p, licence);
        at = current->created_ms + age;
        say(v, "%s is %" PRId64 " days old, due at %" PRId64, current->id, (now_ms - current->created_ms) / 86400000,
            age / 86400000);
    }
    bool broken = !current || !current->listed || current->status != AWS_KEY_ACTIVE;
    if (!broken && p->min_gap_ms && r->rotated_ms != TIME_NONE) at = later(at, r->rotated_ms + p->min_gap_ms);
    due_at(v, POLICY_ROTATE, later(at, ready_ms(p, r)), now_ms);
    if (v->rank == POLICY_ROTATE && at != TIME_NONE) v->at_ms = at;
    if (current) v->oldest_ms = current->created_ms;
    put_off(p, CALENDAR_ROTATE, broken, now_ms, v);
}

static void judge_audit(const struct policy *p, const struct store_peek *u, int64_t now_ms, struct policy_verdict *v)
{
    const struct record *r = &u->record;
    const struct record_key *current = record_current(r);
    set_job(v, JOB_AUDIT, JOB_DAILY, current ? current->id : "", r->rotation);
    v->urgent = false;
    int64_t last = waits_for_person(r->state) ? later(r->audited_ms, r->updated_ms) : r->audited_ms;
    int64_t at = last == TIME_NONE ? TIME_NONE : last + p->audit_interval_ms;
    bool failing = r->state == RECORD_RETRY || r->state == RECORD_FAILED || r->state == RECORD_STUCK;
    if (failing && r->next_ms != TIME_NONE && r->audited_ms < r->next_ms)
        at = ready_ms(p, r); /* one look when its time has come */
    due_at(v, POLICY_AUDIT, at, now_ms);
    say(v, last == TIME_NONE ? "never looked at with success" : "the last look was %" PRId64 " h ago",
        last == TIME_NONE ? 0 : (now_ms - last) / 3600000);
}

/* ---- all rules ---- */

static void judge_first(const struct store_peek *u, struct policy_verdict *v)
{
    (void)u;
    set_job(v, JOB_AUDIT, JOB_DAILY, "", 0);
    v->rank = POLICY_FIRST;
    say(v, "first look");
}

/* The daily look, unless something else is due; what is planned stays told when neither is. */
static void judge_or_audit(const struct policy *p, const struct store_peek *u, int64_t now_ms, struct policy_verdict *v)
{
    if (policy_is_due(v)) return;
    struct policy_verdict audit = {.kind = -1, .rank = POLICY_NOTHING, .at_ms = TIME_NONE, .wordless = v->wordless};
    judge_audit(p, u, now_ms, &audit);
    if (policy_is_due(&audit) || v->kind < 0) *v = audit;
}

static void judge_record(const struct policy *p, const char *licence, const struct store_peek *u, int64_t now_ms,
                         struct policy_verdict *v)
{
    const struct record *r = &u->record;
    if (waits_for_person(r->state)) {
        if (r->state == RECORD_AWAITING && judge_planned(p, u, now_ms, v) && v->rank != POLICY_EXPOSED)
            v->rank = POLICY_NOTHING;
        if (v->rank == POLICY_NOTHING) v->kind = -1;
        judge_or_audit(p, u, now_ms, v);
        return;
    }
    bool gone = judge_gone(p, u, now_ms, v), decided = gone || judge_planned(p, u, now_ms, v);
    if (!gone && !policy_is_due(v)) decided = judge_urgent(p, u, now_ms, v) || judge_asked(p, u, now_ms, v) || decided;
    if (!decided && r->audited_ms != TIME_NONE) judge_age(p, licence, u, now_ms, v);
    judge_or_audit(p, u, now_ms, v);
}

void policy_judge(const struct policy *p, const char *licence, const struct store_peek *u, int64_t now_ms,
                  struct policy_verdict *ret)
{
    *ret = (struct policy_verdict){
        .rank = POLICY_NOTHING, .kind = -1, .at_ms = TIME_NONE, .oldest_ms = TIME_NONE, .wordless = p->wordless};
    if (u->has_journal)
        judge_journal(p, u, now_ms, ret);
    else if (u->lease_ms >= 0)
        say(ret, "a worker is at it");
    else if (!u->has_record)
        judge_first(u, ret);
    else
        judge_record(p, licence, u, now_ms, ret);
    ret->held = policy_is_due(ret) && p->observe && ret->kind != JOB_AUDIT;
    ret->canary = p->canary;
    ret->failing_since_ms = u->has_record ? u->record.first_failed_ms : TIME_NONE;
    ret->recovered = policy_is_due(ret) && p->recovered && u->has_record && u->record.parked[0];
    if (ret->kind != JOB_ROTATE) ret->oldest_ms = ret->at_ms;
}

bool policy_allows_rotation(const struct policy *p, const struct store_peek *u, int64_t now_ms,
                            char ret_why[RECORD_TEXT_MAX])
{
    const struct record *r = &u->record;
    const struct record_key *current = u->has_record ? record_current(r) : NULL;
    struct policy_verdict v = {.rank = POLICY_ROTATE, .kind = JOB_ROTATE};
    bool broken = current && (!current->listed || current->status != AWS_KEY_ACTIVE);
    int64_t from =
        p->min_gap_ms && u->has_record && r->rotated_ms != TIME_NONE ? r->rotated_ms + p->min_gap_ms : now_ms;
    const char *why = NULL;
    if (p->observe)
        why = "mode = observe: no key is changed";
    else if (!current)
        why = "keyroll does not know its key yet";
    else if (u->has_journal || u->lease_ms >= 0)
        why = "work on it is under way";
    else if (r->state != RECORD_CURRENT)
        why = r->state == RECORD_OVERLAP || r->state == RECORD_QUARANTINE
                  ? "its last rotation is not over yet"
                  : "its state does not allow it: see keyroll status";
    else if (from > now_ms && !broken)
        why = "its last rotation was less than min_gap ago";
    if (why) {
        snprintf(ret_why, RECORD_TEXT_MAX, "%s", why);
        return false;
    }
    say(&v, "asked for by an event");
    put_off(p, CALENDAR_ROTATE, broken, now_ms, &v);
    snprintf(ret_why, RECORD_TEXT_MAX, "%s", v.why);
    return !v.waits;
}
