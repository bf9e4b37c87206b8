/* The intake of topic triggers (triggers.h).
 *
 * Every event is a claim of somebody whom we do not know. So it can ask for three things only: a look (an audit, which
 * changes nothing), a rotation that policy allows now, and the mark "exposed" on a key that the licence's own record
 * names, which is what a real leak needs. Each is asked for once per key, and so often per licence and hour
 * (schema/lua/trigger_take.lua; each of the three has its own count, so that a lie of one kind does not keep the truth
 * of another out); the workers' gate (pauses, max_rotations_per_hour) stands behind all of it.
 *
 * An event that names several keys is several asks. An ask walks through its steps; what fails for want of a server is
 * tried again until it is done, and its message is not committed before. The order is: look, count, mark, tell,
 * publish. A process that dies in between finds the message again, and the count lets the same message through.
 *
 * Limits: MESSAGES_MAX messages are held in memory, then their partitions are paused; ASKS_MAX asks are under way. */
#include "producer/triggers.h"

#include "lib/err.h"
#include "producer/publish.h"
#include "schema/event.h"
#include "schema/options.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MESSAGES_MAX    1000
#define MESSAGES_RESUME 200
#define ASKS_MAX        64
#define AGAIN_MS        500
#define COMMIT_MS       200
#define SEEN_MS         86400000LL
#define LOOK_SEEN_MS    60000
#define LOOKS_PER_HOUR  12
#define STATE_MAX       32768

enum step { LOOK, COUNT, MARK, TELL, PUBLISH };

/* A message, in the order of its partition. */
struct slot {
    struct slot *next;  /* of the partition */
    struct slot *queue; /* of those not begun */
    int32_t partition;
    int64_t offset;
    unsigned open;    /* asks */
    bool begun, lost; /* lost: the partition is not ours any more */
    size_t len;
    char text[];
};
struct part {
    struct slot *head, *tail;
    int64_t next;      /* offset behind the last message taken */
    int64_t committed; /* next to read, as committed or about to be */
    bool ours, paused, dirty;
};
struct ask {
    struct triggers *t;
    struct slot *slot;
    struct ask *again; /* in the list of those to be tried again */
    enum step step;
    unsigned number; /* within the message */
    unsigned reports;
    int err; /* of the reports */
    char user_key[IDENTITY_KEY_MAX], licence[IDENTITY_LICENCE_MAX];
    char key_id[AWS_KEY_ID_MAX]; /* "" none */
    struct trigger trigger;
    bool has_job;
    struct job job;
    struct store_peek u;
};
struct triggers {
    struct triggers_options o;
    struct kafka_in *in;
    struct loop_timer *again_timer, *commit_timer;
    struct part *parts;
    size_t n_parts, n_messages, n_asks;
    struct slot *queue, **queue_end;
    struct ask *again;
    bool stopping;
};

const char *trigger_outcome_name(enum trigger_outcome o)
{
    static const char *const names[] = {"asked",   "marked",  "known",   "own",      "strange",
                                        "refused", "limited", "unknown", "malformed"};
    return names[o];
}

/* ---- messages and offsets ---- */

static void go_on(struct triggers *t);

static struct part *part_of(struct triggers *t, int32_t partition)
{
    if (partition < 0) return NULL;
    if ((size_t)partition >= t->n_parts) {
        size_t n = (size_t)partition + 1;
        struct part *parts = realloc(t->parts, n * sizeof *parts);
        if (!parts) return NULL;
        memset(parts + t->n_parts, 0, (n - t->n_parts) * sizeof *parts);
        t->parts = parts;
        t->n_parts = n;
    }
    return &t->parts[partition];
}

/* The commit moves on over all finished messages at the head. */
static void advance(struct triggers *t, struct part *p)
{
    while (p->head && p->head->begun && p->head->open == 0) {
        struct slot *s = p->head;
        p->head = s->next;
        if (!p->head) p->tail = NULL;
        p->committed = s->offset + 1;
        p->dirty = true;
        free(s);
        t->n_messages--;
    }
    if (p->dirty && !t->stopping) loop_timer_start(t->commit_timer, COMMIT_MS);
}

static size_t dirty_parts(struct triggers *t, struct kafka_partition *list, size_t most)
{
    size_t n = 0;
    for (size_t i = 0; i < t->n_parts && n < most; i++) {
        if (!t->parts[i].ours || !t->parts[i].dirty) continue;
        list[n++] = (struct kafka_partition){t->o.o->topic_triggers, (int32_t)i, t->parts[i].committed};
    }
    return n;
}

static void clean(struct triggers *t, const struct kafka_partition *list, size_t n)
{
    for (size_t i = 0; i < n; i++)
        if (t->parts[list[i].partition].committed == list[i].offset) t->parts[list[i].partition].dirty = false;
}

static void commit(void *arg)
{
    struct triggers *t = arg;
    struct kafka_partition list[64];
    size_t n = dirty_parts(t, list, ARRAY_LEN(list));
    if (!n || t->stopping) return;
    if (kafka_in_commit(t->in, list, n) == 0)
        clean(t, list, n);
    else
        loop_timer_start(t->commit_timer, COMMIT_MS);
}

static void commit_now(struct triggers *t, int64_t wait_ms)
{
    struct kafka_partition list[64];
    size_t n = dirty_parts(t, list, ARRAY_LEN(list));
    if (n && kafka_in_commit_sync(t->in, list, n, wait_ms) == 0) clean(t, list, n);
}

static void on_committed(void *arg, const struct kafka_partition *list, size_t n, int err)
{
    struct triggers *t = arg;
    if (!err || t->stopping) return;
    for (size_t i = 0; i < n; i++) {
        struct part *p = part_of(t, list[i].partition);
        if (p) p->dirty = p->ours;
    }
    loop_timer_start(t->commit_timer, COMMIT_MS);
}

static void on_message(void *arg, const struct kafka_message_in *m)
{
    struct triggers *t = arg;
    struct part *p = part_of(t, m->partition);
    if (!p || t->stopping) return;
    struct slot *s = m->value_len <= TRIGGER_MAX_BYTES + 1 ? malloc(sizeof *s + m->value_len + 1)
                                                           : malloc(sizeof *s + 2); /* refused as too large */
    if (!s) {                                                                       /* taken again later */
        p->next = m->offset;
        p->paused = kafka_in_pause(t->in, m->topic, m->partition) == 0;
        return;
    }
    *s = (struct slot){.partition = m->partition, .offset = m->offset, .len = m->value_len};
    if (s->len <= TRIGGER_MAX_BYTES + 1) memcpy(s->text, m->value, s->len);
    if (p->tail)
        p->tail->next = s;
    else
        p->head = s;
    p->tail = s;
    p->ours = true;
    p->next = m->offset + 1;
    *t->queue_end = s;
    t->queue_end = &s->queue;
    if (++t->n_messages >= MESSAGES_MAX && !p->paused) p->paused = kafka_in_pause(t->in, m->topic, m->partition) == 0;
    go_on(t);
}

static void resume_parts(struct triggers *t)
{
    if (t->n_messages > MESSAGES_RESUME || t->stopping) return;
    for (size_t i = 0; i < t->n_parts; i++) {
        struct part *p = &t->parts[i];
        if (!p->paused || !p->ours) continue;
        p->paused = false;
        if (kafka_in_resume(t->in, t->o.o->topic_triggers, (int32_t)i, p->next) < 0)
            p->ours = false; /* taken away meanwhile */
    }
}

static void on_assigned(void *arg, const struct kafka_partition *list, size_t n)
{
    struct triggers *t = arg;
    for (size_t i = 0; i < n; i++) {
        struct part *p = part_of(t, list[i].partition);
        if (p) p->ours = true;
    }
}

/* What is under way goes on; its messages are the next owner's to commit. */
static void on_revoked(void *arg, const struct kafka_partition *list, size_t n, bool lost)
{
    struct triggers *t = arg;
    if (!lost) commit_now(t, 2000);
    for (size_t i = 0; i < n; i++) {
        struct part *p = part_of(t, list[i].partition);
        if (!p) continue;
        for (struct slot *s = p->head, *next; s; s = next) {
            next = s->next;
            s->lost = true;
            t->n_messages--;
            if (s->begun && s->open == 0) free(s);
        }
        *p = (struct part){0};
    }
}

/* ---- the end of an ask ---- */

static void tell(const struct ask *a, enum trigger_outcome what, const char *why)
{
    a->t->o.told(a->t->o.arg, &a->trigger, what, a->licence, why);
}

static void close_slot(struct triggers *t, struct slot *s)
{
    if (s->open) return;
    if (s->lost)
        free(s);
    else
        advance(t, &t->parts[s->partition]);
}

static void end(struct ask *a)
{
    struct triggers *t = a->t;
    struct slot *s = a->slot;
    free(a);
    t->n_asks--;
    s->open--;
    if (t->stopping) { /* not committed: it comes again */
        if (s->lost && !s->open) free(s);
        return;
    }
    close_slot(t, s);
    go_on(t);
}

static void finish(struct ask *a, enum trigger_outcome what, const char *why)
{
    tell(a, what, why);
    end(a);
}

static void try_again(struct ask *a)
{
    struct triggers *t = a->t;
    if (t->stopping) {
        end(a);
        return;
    }
    a->again = t->again;
    t->again = a;
    loop_timer_start(t->again_timer, AGAIN_MS);
}

/* ---- deciding ---- */

static bool is_own_doing(const struct triggers *t, const char *actor)
{
    return strcmp(actor, t->o.o->aws_session_name) == 0 || strncmp(actor, "keyroll-", 8) == 0;
}

static void make_job(struct ask *a, const struct inventory_row *row, const struct policy_verdict *v)
{
    char by[JOB_BY_MAX];
    snprintf(by, sizeof by, "trigger: %.80s", a->trigger.kind);
    a->has_job = publish_make(row, v, by, clock_wall_ms(a->t->o.clock), &a->job) == 0;
}

/* Each returns true when the ask goes on at its step; else it has ended. */
static bool decide_look(struct ask *a, const struct inventory_row *row)
{
    struct policy_verdict v = {.rank = POLICY_AUDIT,
                               .kind = JOB_AUDIT,
                               .reason = JOB_DAILY,
                               .urgent = a->trigger.urgent,
                               .rotation = a->u.has_record ? a->u.record.rotation : 0};
    if (!a->trigger.urgent && is_own_doing(a->t, a->trigger.actor)) {
        finish(a, TRIGGER_OWN, "keyroll did that itself");
        return false;
    }
    const struct record_key *current = a->u.has_record ? record_current(&a->u.record) : NULL;
    snprintf(v.replace_key_id, sizeof v.replace_key_id, "%s", current ? current->id : "");
    make_job(a, row, &v);
    a->step = COUNT;
    return true;
}

static bool decide_rotate(struct ask *a, const struct inventory_row *row, const struct policy *p)
{
    char why[RECORD_TEXT_MAX];
    const struct record_key *current = a->u.has_record ? record_current(&a->u.record) : NULL;
    if (a->key_id[0] && current && strcmp(current->id, a->key_id) != 0) {
        finish(a, TRIGGER_KNOWN, "that key is not in use any more");
        return false;
    }
    if (!policy_allows_rotation(p, &a->u, clock_wall_ms(a->t->o.clock), why)) {
        finish(a, TRIGGER_REFUSED, why);
        return false;
    }
    struct policy_verdict v = {
        .rank = POLICY_ROTATE, .kind = JOB_ROTATE, .reason = JOB_OPERATOR, .rotation = a->u.record.rotation};
    snprintf(v.replace_key_id, sizeof v.replace_key_id, "%s", current->id);
    snprintf(a->key_id, sizeof a->key_id, "%s", current->id);
    make_job(a, row, &v);
    a->step = COUNT;
    return true;
}

/* R9: the mark is what counts, so it is set in mode observe, too: no event comes twice. The job follows from it, as the
 * scheduler would find it at its next tick. */
static bool decide_exposed(struct ask *a, const struct inventory_row *row, const struct policy *p)
{
    const struct record_key *k = a->u.has_record ? record_find_const(&a->u.record, a->key_id) : NULL;
    struct policy_verdict v;
    const char *why = NULL;
    enum trigger_outcome what = TRIGGER_KNOWN;
    if (!k)
        why = "not a key that its record names", what = TRIGGER_STRANGE;
    else if (k->exposed || store_peek_exposed(&a->u, a->key_id))
        why = "the key is marked already";
    else if (k->status == AWS_KEY_INACTIVE)
        why = "the key is Inactive already";
    else if (a->u.n_exposed == RECORD_KEYS_MAX)
        why = "too many keys of this user are marked: see keyroll status", what = TRIGGER_REFUSED;
    if (why) {
        finish(a, what, why);
        return false;
    }
    snprintf(a->u.exposed_ids[a->u.n_exposed++], AWS_KEY_ID_MAX, "%s", a->key_id);
    policy_judge(p, row->licence, &a->u, clock_wall_ms(a->t->o.clock), &v);
    if (v.rank == POLICY_EXPOSED && !v.held) make_job(a, row, &v);
    a->step = COUNT;
    return true;
}

static void run(struct ask *a);

static bool decide(struct ask *a)
{
    struct triggers *t = a->t;
    const struct inventory *inv = t->o.inventory(t->o.arg);
    struct policies *policies = t->o.policies(t->o.arg);
    const struct inventory_row *row = inv ? inventory_find_user(inv, a->user_key) : NULL;
    struct policy p;
    if (!row || !policies) {
        finish(a, TRIGGER_STRANGE, "the inventory does not name its user");
        return false;
    }
    policies_for(policies, row, &p);
    int want = a->trigger.want;
    if (want == TRIGGER_LOOK) return decide_look(a, row);
    return want == TRIGGER_ROTATE ? decide_rotate(a, row, &p) : decide_exposed(a, row, &p);
}

/* ---- the steps ---- */

static void on_peeked(void *self, uint64_t id, const void *result)
{
    struct ask *a = self;
    const struct store_peek_reply *r = result;
    (void)id;
    if (r->err) {
        try_again(a);
        return;
    }
    a->u = r->users[0];
    if (a->u.err) {
        finish(a, TRIGGER_REFUSED, "its record cannot be read: a newer keyroll may have written it");
        return;
    }
    if (decide(a)) run(a);
}

static int look(struct ask *a)
{
    const char *list[] = {a->user_key};
    return store_peek(a->t->o.store, list, 1, (struct ticket){on_peeked, a, 0});
}

static void on_counted(void *self, uint64_t id, const void *result)
{
    struct ask *a = self;
    const struct store_reply *r = result;
    (void)id;
    if (r->err == ERR_BUSY) {
        finish(a, TRIGGER_KNOWN, "asked for before");
        return;
    }
    if (r->err == ERR_RATE_LIMITED) {
        finish(a, TRIGGER_LIMITED, "events asked for this licence too often in this hour (triggers_per_hour)");
        return;
    }
    if (r->err) {
        try_again(a);
        return;
    }
    a->step = a->trigger.want == TRIGGER_EXPOSED ? MARK : PUBLISH;
    run(a);
}

static int count(struct ask *a)
{
    static const char *const wants[] = {"", "rotate", "exposed", "look"};
    static const char *const counters[] = {"", "trigger-hour", "trigger-exposed", "trigger-looks"};
    bool looks = a->trigger.want == TRIGGER_LOOK;
    char what[AWS_KEY_ID_MAX + 16], message[64];
    snprintf(what, sizeof what, "%s:%.128s", wants[a->trigger.want], a->key_id);
    snprintf(message, sizeof message, "%" PRId32 "-%" PRId64 "-%u", a->slot->partition, a->slot->offset, a->number);
    return store_trigger_take(a->t->o.store, a->user_key, what, counters[a->trigger.want], message,
                              looks ? LOOK_SEEN_MS : SEEN_MS, looks ? LOOKS_PER_HOUR : a->t->o.o->triggers_per_hour,
                              (struct ticket){on_counted, a, 0});
}

static void on_marked(void *self, uint64_t id, const void *result)
{
    struct ask *a = self;
    (void)id;
    if (((const struct store_reply *)result)->err) {
        try_again(a);
        return;
    }
    a->step = TELL;
    run(a);
}

static int mark(struct ask *a)
{
    return store_mark_exposed(a->t->o.store, a->user_key, a->key_id, (struct ticket){on_marked, a, 0});
}

static void on_told(void *self, uint64_t id, const void *result)
{
    struct ask *a = self;
    (void)id;
    if (((const struct kafka_report *)result)->err) a->err = ((const struct kafka_report *)result)->err;
    if (--a->reports) return;
    if (a->err) {
        try_again(a);
        return;
    }
    if (!a->has_job) {
        finish(a, TRIGGER_MARKED, "the key is marked; what is under way obeys that, or mode = rotate once it is set");
        return;
    }
    a->step = PUBLISH;
    run(a);
}

static int send_event(struct ask *a)
{
    const struct record *r = &a->u.record;
    struct event e = {.type = EVENT_EXPOSED, .at_ms = clock_wall_ms(a->t->o.clock), .exposed = true};
    struct event_header_set headers;
    AUTO_BUF struct buf value;
    char by[JOB_BY_MAX];
    buf_init(&value, EVENT_MAX_BYTES);
    snprintf(by, sizeof by, "trigger: %.80s", a->trigger.kind);
    snprintf(e.licence, sizeof e.licence, "%s", a->licence);
    snprintf(e.account, sizeof e.account, "%s", r->account);
    snprintf(e.user, sizeof e.user, "%s", r->user);
    snprintf(e.key_old, sizeof e.key_old, "%s", a->key_id);
    snprintf(e.by, sizeof e.by, "%s", by);
    message_words(e.reason, sizeof e.reason, a->trigger.reason[0] ? a->trigger.reason : "an event says that it leaked");
    e.rotation = r->rotation;
    int rc = identity_job_id("trigger", e.account, e.user, e.key_old, e.rotation, e.job_id);
    if (rc == 0) rc = event_encode(&e, &value);
    if (rc == 0) rc = event_headers(&e, a->t->o.o->worker_id, &headers);
    if (rc < 0) return rc;
    const struct kafka_message_out m = {
        a->t->o.o->topic_events, a->user_key, strlen(a->user_key), value.data, value.len, headers.headers, headers.n};
    return a->t->o.kafka.produce(a->t->o.kafka.self, &m, (struct ticket){on_told, a, 0});
}

static int send_state(struct ask *a)
{
    AUTO_BUF struct buf value;
    buf_init(&value, STATE_MAX);
    int rc = state_encode(&a->u.record, a->u.has_journal ? &a->u.journal : NULL,
                          (const char(*)[AWS_KEY_ID_MAX])a->u.exposed_ids, a->u.n_exposed, &value);
    if (rc < 0) return rc;
    const struct kafka_message_out m = {
        a->t->o.o->topic_keys, a->user_key, strlen(a->user_key), value.data, value.len, NULL, 0};
    return a->t->o.kafka.produce(a->t->o.kafka.self, &m, (struct ticket){on_told, a, 0});
}

/* The second witness (R8). Both are sent again when one was not delivered. */
static int tell_topics(struct ask *a)
{
    a->err = 0;
    a->reports = 1;
    int rc = send_event(a);
    if (rc < 0) return rc;
    a->reports = 2;
    rc = send_state(a);
    if (rc == 0) return 0;
    a->err = rc;
    a->reports = 1; /* the event's report sees the error */
    return 0;
}

static void on_published(void *self, uint64_t id, const void *result)
{
    struct ask *a = self;
    (void)id;
    if (((const struct kafka_report *)result)->err)
        try_again(a);
    else
        finish(a, TRIGGER_ASKED, job_kind_name(a->job.kind));
}

static int publish(struct ask *a)
{
    if (!a->has_job) return ERR_INVALID;
    return publish_job(a->t->o.kafka, a->t->o.o, &a->job, (struct ticket){on_published, a, 0});
}

static void run(struct ask *a)
{
    static int (*const steps[])(struct ask *) = {look, count, mark, tell_topics, publish};
    int rc = a->t->stopping ? ERR_CANCELLED : steps[a->step](a);
    if (rc == 0) return;
    if (rc == ERR_INVALID)
        finish(a, TRIGGER_REFUSED, "its row of the inventory makes no valid job");
    else
        try_again(a);
}

static void again(void *arg)
{
    struct triggers *t = arg;
    struct ask *list = t->again;
    t->again = NULL;
    while (list) {
        struct ask *a = list;
        list = a->again;
        run(a);
    }
    go_on(t);
}

/* ---- beginning ---- */

/* user_key NULL: it is nobody whom we know. */
static void begin_ask(struct triggers *t, struct slot *s, const struct trigger *tr, const char *user_key,
                      const char *licence, const char *key_id)
{
    struct ask *a = user_key ? calloc(1, sizeof *a) : NULL;
    if (!user_key) {
        t->o.told(t->o.arg, tr, TRIGGER_STRANGE, licence, "not a user or key that keyroll looks after");
        return;
    }
    if (!a) {
        t->o.told(t->o.arg, tr, TRIGGER_REFUSED, licence, err_text(ERR_NOMEM));
        return;
    }
    a->t = t;
    a->slot = s;
    a->trigger = *tr;
    a->number = s->open;
    snprintf(a->user_key, sizeof a->user_key, "%s", user_key);
    snprintf(a->licence, sizeof a->licence, "%s", licence);
    snprintf(a->key_id, sizeof a->key_id, "%s", key_id);
    s->open++;
    t->n_asks++;
    run(a);
}

/* The user that the event names, if the inventory has it. */
static const char *named_user(const struct trigger *tr, const struct inventory *inv, char key[IDENTITY_KEY_MAX])
{
    const struct inventory_row *row = tr->licence[0] ? inventory_find(inv, tr->licence) : NULL;
    int rc = ERR_NOT_FOUND;
    if (row)
        rc = identity_key(row->account, row->user, key);
    else if (tr->account[0] && tr->user[0])
        rc = identity_key(tr->account, tr->user, key);
    return rc == 0 ? key : NULL;
}

static const char *licence_of(const struct inventory *inv, const char *user_key)
{
    const struct inventory_row *row = user_key ? inventory_find_user(inv, user_key) : NULL;
    return row ? row->licence : "";
}

static void begin_asks(struct triggers *t, struct slot *s, const struct trigger *tr)
{
    const struct inventory *inv = t->o.inventory(t->o.arg);
    char named[IDENTITY_KEY_MAX];
    const char *user = named_user(tr, inv, named);
    if (tr->want != TRIGGER_EXPOSED) {
        begin_ask(t, s, tr, licence_of(inv, user)[0] ? user : NULL, licence_of(inv, user),
                  tr->keys.n ? tr->keys.ids[0] : "");
        return;
    }
    for (size_t i = 0; i < tr->keys.n; i++) { /* the key tells the user, not the other way round */
        const char *owner = states_user_of(t->o.states, tr->keys.ids[i]);
        begin_ask(t, s, tr, owner, licence_of(inv, owner), tr->keys.ids[i]);
    }
}

static void begin(struct triggers *t, struct slot *s)
{
    struct trigger tr;
    struct message_fault fault = {""};
    s->begun = true;
    s->open = 1; /* ours, so that it does not end while asks are begun */
    int rc = s->len > TRIGGER_MAX_BYTES ? ERR_TOO_LARGE : trigger_decode(s->text, s->len, &tr, &fault);
    if (s->len > TRIGGER_MAX_BYTES) tr = (struct trigger){.kind = "-"};
    if (rc < 0)
        t->o.told(t->o.arg, &tr, TRIGGER_MALFORMED, "", fault.text[0] ? fault.text : err_text(rc));
    else if (tr.want == TRIGGER_NOTHING)
        t->o.told(t->o.arg, &tr, TRIGGER_UNKNOWN, "", "nothing is done for events of this kind");
    else
        begin_asks(t, s, &tr);
    s->open--;
    close_slot(t, s);
}

static void go_on(struct triggers *t)
{
    while (t->queue && !t->stopping && t->n_asks < ASKS_MAX && t->o.ready(t->o.arg) && t->o.inventory(t->o.arg)) {
        struct slot *s = t->queue;
        t->queue = s->queue;
        if (!t->queue) t->queue_end = &t->queue;
        if (s->lost)
            free(s);
        else
            begin(t, s);
    }
    resume_parts(t);
}

void triggers_wake(struct triggers *t)
{
    if (t && !t->stopping) go_on(t);
}

/* ---- life ---- */

static void on_fatal(void *arg, const char *reason)
{
    struct triggers *t = arg;
    t->o.on_fatal(t->o.arg, reason);
}

static void on_log(void *arg, int level, const char *fac, const char *text)
{
    struct triggers *t = arg;
    t->o.on_log(t->o.arg, level, fac, text);
}

int triggers_new(const struct triggers_options *o, struct triggers **ret, char **ret_reason)
{
    struct triggers *t = calloc(1, sizeof *t);
    char group[300];
    if (!t) return ERR_NOMEM;
    t->o = *o;
    t->queue_end = &t->queue;
    t->again_timer = loop_timer_new(o->loop, again, t);
    t->commit_timer = loop_timer_new(o->loop, commit, t);
    snprintf(group, sizeof group, "%s-triggers", o->o->group);
    const char *topics[] = {o->o->topic_triggers};
    const struct kafka_in_options ki = {.brokers = o->o->brokers,
                                        .group = group,
                                        .client_id = "keyroll-triggers",
                                        .topics = topics,
                                        .n_topics = 1,
                                        .conf = o->o->kafka,
                                        .n_conf = o->o->n_kafka,
                                        .session_timeout_ms = o->o->session_timeout_ms,
                                        .heartbeat_ms = o->o->heartbeat_ms,
                                        .on_message = on_message,
                                        .on_assigned = on_assigned,
                                        .on_revoked = on_revoked,
                                        .on_committed = on_committed,
                                        .on_fatal = on_fatal,
                                        .on_log = on_log,
                                        .arg = t};
    int rc = t->again_timer && t->commit_timer ? kafka_in_new(o->loop, &ki, &t->in, ret_reason) : ERR_NOMEM;
    if (rc == 0) {
        *ret = t;
        return 0;
    }
    loop_timer_free(t->again_timer);
    loop_timer_free(t->commit_timer);
    free(t);
    return rc;
}

void triggers_stop(struct triggers *t, int64_t wait_ms)
{
    if (!t || t->stopping) return;
    commit_now(t, wait_ms);
    t->stopping = true;
    loop_timer_stop(t->again_timer);
    loop_timer_stop(t->commit_timer);
    kafka_in_free(TAKE(t->in), wait_ms);
}

void triggers_free(struct triggers *t)
{
    if (!t) return;
    triggers_stop(t, 0);
    loop_timer_free(t->again_timer);
    loop_timer_free(t->commit_timer);
    for (struct ask *a = t->again, *next; a; a = next) {
        next = a->again;
        free(a);
    }
    for (struct slot *s = t->queue, *next; s; s = next) { /* those that are lost hang here only */
        next = s->queue;
        if (s->lost) free(s);
    }
    for (size_t i = 0; i < t->n_parts; i++)
        for (struct slot *s = t->parts[i].head, *next; s; s = next) {
            next = s->next;
            free(s);
        }
    free(t->parts);
    free(t);
}
