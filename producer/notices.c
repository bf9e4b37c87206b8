/* Notices (notices.h). The text is for people and chats, the list for programs; both hold what events and dead letters
 * hold: no secret is ever part of those (I6). */
#include "producer/notices.h"

#include "lib/err.h"
#include "lib/json.h"

#include <stdio.h>
#include <string.h>

#define TOLD_MAX   10000
#define TEXT_LINES 20
#define TEXT_MAX   16384

const char *notice_kind_name(int kind)
{
    static const char *const names[] = {"stuck",   "awaiting operator", "drifted",
                                        "failing", "dead letter",       "campaign stopped"};
    return kind >= 0 && kind < NOTICE_KINDS ? names[kind] : "unknown";
}

/* ---- what is told ---- */

static enum notice_kind kind_of(const struct event *e)
{
    switch (e->type) {
    case EVENT_STUCK:
        return NOTICE_STUCK;
    case EVENT_AWAITING:
        return NOTICE_AWAITING;
    case EVENT_DRIFTED:
        return NOTICE_DRIFTED;
    case EVENT_AUDITED: /* with a code: the instance fails and its key does not (worker/audit.c) */
        return e->error_code[0] ? NOTICE_FAILING : NOTICE_KINDS;
    default:
        return NOTICE_KINDS;
    }
}

bool notice_from_event(const struct event *e, struct notice *ret)
{
    *ret = (struct notice){.kind = kind_of(e), .at_ms = e->at_ms};
    if (ret->kind == NOTICE_KINDS) return false;
    memcpy(ret->licence, e->licence, sizeof ret->licence);
    memcpy(ret->account, e->account, sizeof ret->account);
    memcpy(ret->user, e->user, sizeof ret->user);
    memcpy(ret->step, e->step, sizeof ret->step);
    memcpy(ret->error_code, e->error_code, sizeof ret->error_code);
    memcpy(ret->reason, e->reason, sizeof ret->reason);
    memcpy(ret->by, e->by, sizeof ret->by);
    return true;
}

bool notice_from_dead(const struct deadletter *d, struct notice *ret)
{
    *ret = (struct notice){.kind = NOTICE_DEAD, .at_ms = d->last_failed_at_ms};
    if (d->has_job) {
        memcpy(ret->licence, d->job.licence, sizeof ret->licence);
        memcpy(ret->account, d->job.account, sizeof ret->account);
        memcpy(ret->user, d->job.user, sizeof ret->user);
    }
    memcpy(ret->step, d->step, sizeof ret->step);
    memcpy(ret->error_code, d->error_code, sizeof ret->error_code);
    memcpy(ret->reason, d->reason, sizeof ret->reason);
    memcpy(ret->by, d->by, sizeof ret->by);
    return true;
}

bool notice_from_campaign(const struct campaign *c, struct notice *ret)
{
    *ret = (struct notice){.kind = NOTICE_CAMPAIGN, .at_ms = c->changed_at_ms};
    if (c->state != CAMPAIGN_STOPPED) return false;
    memcpy(ret->campaign, c->name, sizeof ret->campaign);
    memcpy(ret->by, c->by, sizeof ret->by);
    message_words(ret->reason, sizeof ret->reason, c->why);
    return true;
}

/* What must not be told twice: of dead letters the kind of failure, of others the thing itself. */
static void name_of(const struct notice *one, char *out, size_t size)
{
    if (one->kind == NOTICE_DEAD)
        snprintf(out, size, "%d %s %s", one->kind, one->step, one->error_code);
    else
        snprintf(out, size, "%d %s%s %s %.200s", one->kind, one->licence, one->campaign, one->step, one->reason);
}

/* ---- gathering ---- */

void notices_done(struct notices *n)
{
    free(n->items);
    map_done(&n->told, free);
    *n = (struct notices){0};
}

/* Forgets what may be told again; all of it should it be too much, for then a lot is told anyway. */
static void prune(struct notices *n, int64_t now_ms)
{
    struct map kept = {0};
    const char *name;
    size_t at = 0;
    for (int64_t *when; (when = map_next(&n->told, &at, &name));)
        if (now_ms - *when >= NOTICES_AGAIN_MS || kept.n >= TOLD_MAX / 2 || map_put(&kept, name, when, NULL) < 0)
            free(when);
    map_done(&n->told, NULL);
    n->told = kept;
}

static bool is_recent(const struct notices *n, const char *name, int64_t now_ms)
{
    const int64_t *when = map_get(&n->told, name);
    return when && now_ms - *when < NOTICES_AGAIN_MS;
}

static void remember(struct notices *n, const char *name, int64_t now_ms)
{
    int64_t *when = map_get(&n->told, name);
    if (!when) {
        if (n->told.n >= TOLD_MAX) prune(n, now_ms);
        when = malloc(sizeof *when);
        if (when && map_put(&n->told, name, when, NULL) < 0) free(TAKE(when)); /* told twice at worst */
    }
    if (when) *when = now_ms;
}

/* Marks it as told. A stuck licence's dead letter is the same news. */
static bool told_lately(struct notices *n, const struct notice *one, int64_t now_ms)
{
    char name[512], stuck[64];
    name_of(one, name, sizeof name);
    snprintf(stuck, sizeof stuck, "stuck %s", one->licence);
    if (is_recent(n, name, now_ms)) return true;
    if (one->kind == NOTICE_DEAD && one->licence[0] && is_recent(n, stuck, now_ms)) return true;
    remember(n, name, now_ms);
    if (one->kind == NOTICE_STUCK) remember(n, stuck, now_ms);
    return false;
}

static bool is_empty(const struct notices *n)
{
    size_t more = 0;
    for (int k = 0; k < NOTICE_KINDS; k++) more += n->more[k];
    return n->n + more == 0;
}

bool notices_add(struct notices *n, const struct notice *one, int64_t now_ms, int64_t now_mono_ms)
{
    if (now_ms - one->at_ms >= NOTICES_FRESH_MS) return false;
    if (told_lately(n, one, now_ms)) return false;
    if (!n->items) n->items = calloc(NOTICES_MAX, sizeof *n->items);
    if (is_empty(n)) n->first_mono_ms = now_mono_ms;
    if (n->items && n->n < NOTICES_MAX)
        n->items[n->n++] = *one;
    else
        n->more[one->kind]++;
    return true;
}

int64_t notices_wait_ms(const struct notices *n, int64_t interval_ms, int64_t now_mono_ms)
{
    if (is_empty(n)) return -1;
    int64_t at = n->first_mono_ms + NOTICES_SETTLE_MS;
    if (n->last_mono_ms && n->last_mono_ms + interval_ms > at) at = n->last_mono_ms + interval_ms;
    return at > now_mono_ms ? at - now_mono_ms : 0;
}

/* ---- the message ---- */

static void write_head(const struct notices *n, struct buf *out)
{
    const char *before = "";
    (void)buf_adds(out, "keyroll: ");
    for (int k = 0; k < NOTICE_KINDS; k++) {
        size_t count = n->more[k];
        for (size_t i = 0; i < n->n; i++) count += n->items[i].kind == k;
        if (!count) continue;
        (void)buf_addf(out, "%s%zu %s", before, count, notice_kind_name(k));
        before = ", ";
    }
}

static void write_text(const struct notices *n, struct buf *out)
{
    write_head(n, out);
    for (size_t i = 0; i < n->n && i < TEXT_LINES; i++) {
        const struct notice *one = &n->items[i];
        const char *what = one->campaign[0] ? one->campaign : one->licence;
        (void)buf_addf(out, "\n%s%s%s%s%s: %s", what, *what ? ": " : "", notice_kind_name(one->kind),
                       one->step[0] ? " at " : "", one->step, one->reason[0] ? one->reason : one->error_code);
    }
    if (n->n > TEXT_LINES) (void)buf_addf(out, "\nand %zu more: see keyroll status", n->n - TEXT_LINES);
}

static int set_text(json_t *o, const char *name, const char *text)
{
    return *text ? json_object_set_new(o, name, json_string(text)) : 0;
}

static json_t *one_json(const struct notice *one)
{
    char at[TIME_TEXT_MAX];
    time_format(one->at_ms, at);
    json_t *o = json_pack("{s:s, s:s}", "kind", notice_kind_name(one->kind), "at", at);
    int rc = o ? 0 : -1;
    if (!rc) rc = set_text(o, "licence", one->licence);
    if (!rc) rc = set_text(o, "account", one->account);
    if (!rc) rc = set_text(o, "user", one->user);
    if (!rc) rc = set_text(o, "campaign", one->campaign);
    if (!rc) rc = set_text(o, "step", one->step);
    if (!rc) rc = set_text(o, "error_code", one->error_code);
    if (!rc) rc = set_text(o, "reason", one->reason);
    if (!rc) rc = set_text(o, "by", one->by);
    if (!rc) return o;
    json_decref(o);
    return NULL;
}

static json_t *message_json(const struct notices *n, const char *from, const char *text, int64_t now_ms)
{
    char at[TIME_TEXT_MAX];
    time_format(now_ms, at);
    AUTO_JSON json_t *root = json_pack("{s:s, s:s, s:s, s:s, s:[], s:{}}", "version", "keyroll.notice/1", "at", at,
                                       "from", from, "text", text, "notices", "more");
    json_t *list = json_object_get(root, "notices"), *more = json_object_get(root, "more");
    for (size_t i = 0; root && i < n->n; i++)
        if (json_array_append_new(list, one_json(&n->items[i])) < 0) return NULL;
    for (int k = 0; root && k < NOTICE_KINDS; k++)
        if (n->more[k] && json_object_set_new(more, notice_kind_name(k), json_integer((json_int_t)n->more[k])) < 0)
            return NULL;
    return TAKE(root);
}

int notices_take(struct notices *n, const char *from, int64_t now_ms, int64_t now_mono_ms, struct buf *out)
{
    AUTO_BUF struct buf text;
    buf_init(&text, TEXT_MAX);
    write_text(n, &text);
    AUTO_JSON json_t *root = text.error ? NULL : message_json(n, from, buf_str(&text), now_ms);
    AUTO_FREE char *json = root ? json_dumps(root, JSON_COMPACT | JSON_ENSURE_ASCII) : NULL;
    if (!json || buf_adds(out, json) < 0) return ERR_NOMEM;
    n->n = 0;
    memset(n->more, 0, sizeof n->more);
    n->last_mono_ms = now_mono_ms;
    return 0;
}
