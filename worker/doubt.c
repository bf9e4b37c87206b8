/* Doubt: CreateAccessKey was sent and its reply was lost (R4). Absence is believed late; a newcomer is taken for ours
 * only when nothing speaks against it, then set Inactive, and deleted an hour later. All else is a person's. Rows of
 * rotate.c's table. */
#include "lib/err.h"
#include "lib/mutant.h"
#include "lib/text.h"
#include "worker/rotate.h"

#include <stdio.h>
#include <string.h>

#define DOUBT_POLLS   3
#define DATE_SLACK_MS 2000 /* CreateDate has whole seconds; clocks are corrected by the Date header */

static bool was_seen(const struct journal *j, const char *id)
{
    for (size_t i = 0; i < j->n_seen; i++)
        if (!strcmp(j->seen[i], id)) return true;
    return false;
}

static size_t newcomers(struct rotation *r, const struct aws_key **ret_first)
{
    size_t n = 0;
    for (size_t i = 0; i < r->n_keys; i++) {
        if (was_seen(&r->journal, r->keys[i].id) || record_find(&r->record, r->keys[i].id)) continue;
        if (n++ == 0) *ret_first = &r->keys[i];
    }
    return n;
}

/* From the journalled intent to the last moment at which AWS takes the call: it is sent no later than create() and its
 * time limit allow, and AWS takes what was signed until its clock limit is over. */
static int64_t life_ms(const struct rotation *r)
{
    const struct rotation_policy *p = &r->env->policy;
    return CREATE_BEGIN_MS + p->mutate_timeout_ms + p->skew_limit_ms;
}

static struct saga_verdict doubt_absent(struct rotation *r)
{
    /* what AWS made at the last moment shows in lists a little later still */
    int64_t left = step_left_ms(r, r->journal.intent_last_ms + life_ms(r) + r->env->policy.create_doubt_ms);
    if ((!left && r->polls > 0) || MUTANT(ABSENT_AT_ONCE)) return saga_jump(ABSENT);
    if (r->polls++ < DOUBT_POLLS) return saga_jump_in(DOUBT_LIST, DOUBT_POLL_MS);
    return rotate_wait_until(r, step_now_ms(r) + left + 1, RECORD_RETRY,
                             "the reply to CreateAccessKey was lost; no new key is listed so far");
}

struct saga_verdict doubt_judge(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    struct journal *j = &r->journal;
    const struct aws_key *k = NULL;
    char text[RECORD_TEXT_MAX];
    size_t n = newcomers(r, &k);
    if (n == 0) return doubt_absent(r);
    int64_t sent_ms =
        j->intent_aws_ms != TIME_NONE ? j->intent_aws_ms : j->intent_ms; /* CreateDate is AWS's time, too */
    bool in_window =
        k->created_ms != TIME_NONE && k->created_ms >= sent_ms - DATE_SLACK_MS && k->created_ms <= sent_ms + life_ms(r);
    if (n > 1 || !in_window) {
        snprintf(text, sizeof(text),
                 "the reply to CreateAccessKey was lost and key %s%s%s may be ours or somebody else's; run: keyroll "
                 "adopt %s",
                 k->id, n > 1 ? " or " : "", n > 1 ? r->keys[r->n_keys - 1].id : "", r->job->licence);
        return rotate_ask_person(r, RECORD_AWAITING, text);
    }
    text_copy(j->key_doubt, sizeof(j->key_doubt), k->id);
    return saga_next();
}

struct saga_verdict doubt_read_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    char text[RECORD_TEXT_MAX];
    struct saga_verdict v = step_read_got(s, result);
    if (v.move != SAGA_NEXT) return v;
    if (r->seen != INSTANCE_SEEN_ID || strcmp(r->seen_id, r->journal.key_doubt)) return saga_next();
    snprintf(text, sizeof(text), "the instance uses %s, whose secret keyroll never had; run: keyroll adopt %s",
             r->seen_id, r->job->licence);
    return rotate_ask_person(r, RECORD_DRIFTED, text);
}

struct saga_verdict doubt_last_used(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    return step_aws(r, AWS_ACCESS_KEY_LAST_USED, r->journal.key_doubt, AWS_KEY_ACTIVE);
}

struct saga_verdict doubt_last_used_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    const struct aws_result *a = result;
    char text[RECORD_TEXT_MAX];
    if (step_aws_error(r, a)) return a->err == ERR_TIMEOUT ? saga_again(100) : saga_fail(a->err);
    if (a->used == AWS_USED_NEVER || MUTANT(UNKNOWN_IS_UNUSED)) return saga_next();
    snprintf(text, sizeof(text),
             "the reply to CreateAccessKey was lost; key %s looks like ours but %s; run: keyroll adopt %s",
             r->journal.key_doubt, a->used == AWS_USED_AT ? "was used" : "nobody knows whether it was used",
             r->job->licence);
    return rotate_ask_person(r, RECORD_AWAITING, text);
}

struct saga_verdict doubt_journal(struct saga *s)
{
    return step_put_journal(ROTATION(s), JOURNAL_DOUBT);
}

struct saga_verdict doubt_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_LOST);
}

/* Each look at the key follows a list, on whatever way it comes here. */
struct saga_verdict doubt_deactivate(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    return rotate_take_key(r, AWS_UPDATE_ACCESS_KEY, r->journal.key_doubt, r->listed_mono_ms);
}

struct saga_verdict doubt_inactive(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    if (r->journal.doubt_inactive_ms == TIME_NONE)
        r->journal.doubt_inactive_ms = step_latest_ms(r) + step_may_land_ms(r); /* what lands late ends no rest */
    return step_put_journal(r, JOURNAL_DOUBT);
}

/* What is left of the hour for which the key lies Inactive (R4). By AWS's clock, too: it did not go Inactive before the
 * intent, whatever clocks were set since. */
static int64_t rest_left_ms(const struct rotation *r)
{
    const struct journal *j = &r->journal;
    const int64_t rest_ms = r->env->policy.newcomer_wait_ms, aws_ms = step_aws_ms(r);
    const int64_t left = step_left_ms(r, j->doubt_inactive_ms + rest_ms);
    const int64_t by_aws =
        j->intent_aws_ms == TIME_NONE || aws_ms == TIME_NONE ? 0 : j->intent_aws_ms + rest_ms - aws_ms;
    return left > by_aws ? left : by_aws;
}

struct saga_verdict doubt_wait(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    char text[RECORD_TEXT_MAX];
    int64_t left = rest_left_ms(r);
    if (!left) return saga_jump(LIST);
    if (left <= 2000) return saga_jump_in(LIST, left + 1);
    snprintf(text, sizeof(text), "the secret of key %s was lost with its reply: it is Inactive and will be deleted",
             r->journal.key_doubt);
    return rotate_wait_until(r, step_now_ms(r) + left + 1, RECORD_RETRY, text);
}

/* Not set Inactive so far: that nobody uses it may have been asked long ago. Else a list that lags, or its owner, who
 * noticed. */
static struct saga_verdict active(struct rotation *r)
{
    const struct journal *j = &r->journal;
    char text[RECORD_TEXT_MAX];
    if (j->doubt_inactive_ms == TIME_NONE) return saga_jump(DOUBT_LAST_USED);
    if (step_left_ms(r, j->doubt_inactive_ms + r->env->policy.create_doubt_ms)) return saga_jump_in(LIST, LAG_LOOK_MS);
    snprintf(
        text, sizeof(text),
        "the reply to CreateAccessKey was lost; key %s looked like ours, was set Inactive and was made Active again "
        "by somebody else; run: keyroll adopt %s",
        j->key_doubt, r->job->licence);
    return rotate_ask_person(r, RECORD_AWAITING, text);
}

struct saga_verdict doubt_resume(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    const struct journal *j = &r->journal;
    const struct aws_key *k = step_listed(r, j->key_doubt);
    if (!k) return r->polls++ == 0 ? saga_jump_in(LIST, DOUBT_POLL_MS) : saga_jump(ABSENT);
    if (r->seen == INSTANCE_SEEN_ID && !strcmp(r->seen_id, k->id)) return saga_jump(DOUBT_READ);
    if (k->status == AWS_KEY_ACTIVE) return active(r);
    if (k->status != AWS_KEY_INACTIVE)
        return rotate_ask_person(r, RECORD_AWAITING,
                                 "a key whose secret was lost has a status that keyroll does not know");
    if (j->doubt_inactive_ms == TIME_NONE) return saga_jump(DOUBT_INACTIVE);
    if (rest_left_ms(r) && !MUTANT(REST_SKIPPED)) return saga_jump(DOUBT_WAIT);
    return saga_next();
}

struct saga_verdict doubt_delete(struct saga *s)
{
    struct rotation *r = ROTATION(s);
    return rotate_take_key(r, AWS_DELETE_ACCESS_KEY, r->journal.key_doubt, r->listed_mono_ms);
}

struct saga_verdict doubt_deleted_event(struct saga *s)
{
    return step_put_event(ROTATION(s), EVENT_DELETED);
}

/* The lost create is resolved: nothing of it is there. The journal ends, the lease stays, the survey begins anew. */
struct saga_verdict doubt_absent_put(struct saga *s)
{
    return step_put_record(ROTATION(s), true, false, STORE_PAIR_SAME, NULL);
}

struct saga_verdict doubt_absent_got(struct saga *s, const void *result)
{
    struct rotation *r = ROTATION(s);
    struct saga_verdict v = step_record_got(s, result);
    if (v.move != SAGA_NEXT) return v;
    r->has_journal = false;
    r->lease.user.journal_version = 0;
    r->polls = 0;
    return saga_jump(LIST);
}
