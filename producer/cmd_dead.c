/* keyroll dead list | show | replay | drop: the dead letters, which are read from their topic; nothing else is stored.
 *
 * One job is one row, however often it failed: the newest letter, with those before as its history. Later tries that
 * failed alike have no letter of their own (job.dead_step); the record counts them. A letter is closed
 * by a mark (schema/deadmark.h). One whose licence became well again counts as resolved at once, also before the
 * scheduler has put the mark.
 *
 * A replay publishes the job anew; the worker goes on where the journal says. Its target comes from the inventory, so
 * that nothing is done to a user that is not looked after any more. The job goes first and the mark second: what breaks
 * off in between is replayed twice at worst, which changes nothing. */
#include "lib/err.h"
#include "lib/kafka_follow.h"
#include "lib/settings.h"
#include "producer/command.h"
#include "producer/dead_close.h"
#include "producer/fleet.h"
#include "producer/held.h"
#include "producer/progress.h"
#include "producer/publish.h"
#include "producer/table.h"

#include <fnmatch.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define NAME    "dead"
#define READ_MS 30000

struct filter {
    const char *class, *code, *step, *account, *licence;
    int64_t older_ms, younger_ms; /* 0: any */
    char **ids;                   /* n_ids letters or job ids; none: all */
    int n_ids;
    bool closed; /* those that are closed, too */
};
/* A job that failed: its newest letter. */
struct entry {
    const struct dead *l;
    enum dead_state state;
    const struct deadmark *mark;
    bool well;                    /* resolved, but not marked yet */
    size_t again;                 /* later tries that failed at the same step, as the record counts them */
    int64_t again_ms;             /* the last of them; again > 0 */
    char reason[RECORD_TEXT_MAX]; /* and what it said */
};
struct dead_command {
    struct client c;
    struct deads deads;
    struct filter filter;
    struct entry *entries; /* n, the latest first */
    size_t n;
    int read; /* the topic is read to its end */
    bool json, dry_run, all, no_redis;
    int64_t now_ms;
    char by[JOB_BY_MAX];
};

/* ---- reading the topic ---- */

static void on_message(void *arg, const struct kafka_message_in *m)
{
    struct dead_command *d = arg;
    (void)!deads_take(&d->deads, m); /* counted there, told at the end */
}

static void on_caught_up(void *arg)
{
    ((struct dead_command *)arg)->read = 1;
}

static int read_topic(struct dead_command *d)
{
    AUTO_FREE char *why = NULL;
    const struct options *o = d->c.o;
    struct kafka_follow *k = NULL;
    const struct kafka_follow_options ko = {.brokers = o->brokers,
                                            .client_id = "keyroll-dead",
                                            .topic = o->topic_dead,
                                            .conf = o->kafka,
                                            .n_conf = o->n_kafka,
                                            .on_message = on_message,
                                            .on_caught_up = on_caught_up,
                                            .arg = d};
    int rc = options_require(o, OPTIONS_NEED_KAFKA, &why);
    if (rc == 0) rc = kafka_follow_new(d->c.loop, &ko, &k, &why);
    if (rc < 0) return client_fail(&d->c, rc, "Kafka: %s", why ? why : err_text(rc));
    client_pause(&d->c, READ_MS, &d->read);
    if (!kafka_follow_caught_up(k)) {
        const char *reason = kafka_follow_reason(k);
        rc = client_fail(&d->c, ERR_KAFKA_DOWN, "Kafka at %s: %s", o->brokers,
                         reason[0] ? reason : "the dead-letter topic could not be read to its end");
    }
    kafka_follow_free(k, 1000);
    return rc;
}

/* ---- choosing ---- */

static bool is_named(const struct filter *f, const struct dead *l)
{
    char id[DEADS_ID_MAX];
    dead_id(l, id);
    for (int i = 0; i < f->n_ids; i++)
        if (strcmp(f->ids[i], id) == 0 || (l->has_job && strcmp(f->ids[i], l->job_id) == 0)) return true;
    return f->n_ids == 0;
}

static bool fits(const struct filter *f, const struct dead *l, int64_t now_ms)
{
    char pattern[IDENTITY_LICENCE_MAX * 4], licence[IDENTITY_LICENCE_MAX];
    if (!is_named(f, l)) return false;
    if (f->class && strcmp(f->class, l->error_class) != 0) return false;
    if (f->code && strcmp(f->code, l->error_code) != 0) return false;
    if (f->step && strcmp(f->step, l->step) != 0) return false;
    if (f->account && strcmp(f->account, l->account) != 0) return false;
    if (f->older_ms && now_ms - l->last_ms < f->older_ms) return false;
    if (f->younger_ms && now_ms - l->last_ms > f->younger_ms) return false;
    if (!f->licence) return true;
    identity_lower(f->licence, pattern, sizeof pattern);
    identity_lower(l->licence, licence, sizeof licence);
    return fnmatch(pattern, licence, 0) == 0;
}

static int latest_first(const void *a, const void *b)
{
    const struct entry *x = a, *y = b;
    if (x->l->last_ms != y->l->last_ms) return x->l->last_ms > y->l->last_ms ? -1 : 1;
    return (x->l->offset < y->l->offset) - (x->l->offset > y->l->offset);
}

static void note_record(struct entry *e, const struct store_peek *u)
{
    const struct record *r = &u->record;
    char step[EVENT_STEP_MAX];
    if (dead_is_resolved(e->l, u)) {
        e->state = DEAD_RESOLVED;
        e->well = true;
        return;
    }
    if (u->err || !u->has_record || r->updated_ms <= e->l->last_ms || r->attempts <= e->l->attempts) return;
    event_step(r->step, step);
    if (strcmp(step, e->l->step) != 0) return; /* it failed with another job */
    e->again = (size_t)(r->attempts - e->l->attempts);
    e->again_ms = r->updated_ms;
    memcpy(e->reason, r->reason, sizeof e->reason);
}

/* Asks Redis how the licences of open letters are now. */
static int look_at_records(struct dead_command *d)
{
    AUTO_FREE char(*keys)[IDENTITY_KEY_MAX] = calloc(STORE_PEEK_MAX, sizeof *keys);
    AUTO_FREE struct store_peek *peeks = calloc(STORE_PEEK_MAX, sizeof *peeks);
    if (!keys || !peeks) return client_fail(&d->c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < d->n;) {
        const char *list[STORE_PEEK_MAX];
        struct entry *of[STORE_PEEK_MAX];
        size_t batch = 0;
        for (; at < d->n && batch < STORE_PEEK_MAX; at++) {
            struct entry *e = &d->entries[at];
            if (e->state != DEAD_OPEN || !e->l->has_job) continue;
            if (identity_key(e->l->account, e->l->user, keys[batch]) < 0) continue;
            list[batch] = keys[batch];
            of[batch++] = e;
        }
        rc = batch ? client_peek(&d->c, list, batch, peeks) : 0;
        for (size_t i = 0; rc == 0 && i < batch; i++) note_record(of[i], &peeks[i]);
    }
    return rc;
}

static void drop_closed(struct dead_command *d)
{
    size_t kept = 0;
    for (size_t i = 0; i < d->n; i++)
        if (d->filter.closed || d->entries[i].state == DEAD_OPEN) d->entries[kept++] = d->entries[i];
    d->n = kept;
}

/* redis: whether the records are needed, or only make the picture better. */
static int collect(struct dead_command *d, bool redis)
{
    int rc = read_topic(d);
    if (rc < 0) return rc;
    d->entries = calloc(d->deads.n + 1, sizeof *d->entries);
    if (!d->entries) return client_fail(&d->c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    const struct dead *l;
    for (size_t at = 0; (l = deads_next(&d->deads, &at));) {
        struct entry e = {.l = l};
        e.state = deads_state(&d->deads, l, &e.mark);
        if (fits(&d->filter, l, d->now_ms)) d->entries[d->n++] = e;
    }
    rc = client_redis(&d->c);
    if (rc == 0) rc = look_at_records(d);
    if (rc < 0 && redis) return rc;
    if (rc < 0) fprintf(stderr, "keyroll " NAME ": %s; what is well again cannot be told\n", d->c.error);
    d->no_redis = rc < 0;
    d->c.error[0] = '\0';
    drop_closed(d);
    if (d->n) qsort(d->entries, d->n, sizeof *d->entries, latest_first);
    if (d->deads.bad)
        fprintf(stderr, "keyroll " NAME ": %" PRIu64 " messages of the topic cannot be read: left out\n", d->deads.bad);
    return 0;
}

/* ---- list and show ---- */

static json_t *letter_json(const struct dead *l)
{
    char id[DEADS_ID_MAX];
    AUTO_FREE struct deadletter *letter = malloc(sizeof *letter);
    dead_id(l, id);
    json_t *o = json_pack("{s:s, s:s, s:s, s:s, s:I, s:I, s:I}", "id", id, "step", l->step, "error_code", l->error_code,
                          "error_class", l->error_class, "attempts", (json_int_t)l->attempts, "first_failed_at_ms",
                          (json_int_t)l->first_ms, "last_failed_at_ms", (json_int_t)l->last_ms);
    if (letter && dead_letter(l, letter) == 0) {
        json_object_set_new(o, "reason", json_string(letter->reason));
        json_object_set_new(o, "by", json_string(letter->by));
    }
    return o;
}

static json_t *entry_json(const struct dead_command *d, const struct entry *e, bool history)
{
    json_t *o = letter_json(e->l);
    json_object_set_new(o, "state", json_string(dead_state_name(e->state)));
    json_object_set_new(o, "times", json_integer((json_int_t)e->l->times + (json_int_t)e->again));
    if (e->again) {
        json_object_set_new(o, "attempts", json_integer((json_int_t)e->l->attempts + (json_int_t)e->again));
        json_object_set_new(o, "last_failed_at_ms", json_integer(e->again_ms));
    }
    if (e->l->has_job) {
        json_object_set_new(o, "kind", json_string(job_kind_name(e->l->kind)));
        json_object_set_new(o, "job_id", json_string(e->l->job_id));
        json_object_set_new(o, "licence", json_string(e->l->licence));
        json_object_set_new(o, "account", json_string(e->l->account));
        json_object_set_new(o, "user", json_string(e->l->user));
    }
    if (e->mark)
        json_object_set_new(o, "mark",
                            json_pack("{s:s, s:s, s:s, s:I}", "action", deadmark_action_name(e->mark->action), "by",
                                      e->mark->by, "reason", e->mark->reason, "at_ms", (json_int_t)e->mark->at_ms));
    if (!history) return o;
    json_t *list = json_array();
    size_t shown = 0;
    for (const struct dead *l = e->l; (l = deads_earlier(&d->deads, l)) && shown < DEADS_HISTORY_MAX; shown++) {
        const struct deadmark *mark;
        json_t *one = letter_json(l);
        json_object_set_new(one, "state", json_string(dead_state_name(deads_state(&d->deads, l, &mark))));
        if (mark) json_object_set_new(one, "closed_by", json_string(mark->by));
        json_array_append_new(list, one);
    }
    json_object_set_new(o, "history", list);
    return o;
}

static int print_json(const struct dead_command *d, bool history)
{
    json_t *list = json_array();
    AUTO_JSON json_t *root = json_pack("{s:o}", "letters", list);
    for (size_t i = 0; root && i < d->n; i++) json_array_append_new(list, entry_json(d, &d->entries[i], history));
    AUTO_FREE char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (!text) return ERR_NOMEM;
    puts(text);
    return 0;
}

static void reason_of(const struct dead *l, char *out, size_t size)
{
    AUTO_FREE struct deadletter *letter = malloc(sizeof *letter);
    snprintf(out, size, "%s", letter && dead_letter(l, letter) == 0 ? letter->reason : "-");
}

static void print_table(const struct dead_command *d)
{
    static const char *const heads[] = {"ID",    "LICENCE", "ACCOUNT",    "JOB",   "STEP",
                                        "ERROR", "TIMES",   "LAST (UTC)", "STATE", "REASON"};
    AUTO_TABLE struct table t;
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < d->n; i++) {
        const struct entry *e = &d->entries[i];
        const struct dead *l = e->l;
        char id[DEADS_ID_MAX], last[TABLE_TIME_MAX], reason[EVENT_REASON_MAX];
        dead_id(l, id);
        table_time(e->again ? e->again_ms : l->last_ms, last);
        reason_of(l, reason, sizeof reason);
        table_add(&t, id);
        table_add(&t, l->has_job ? l->licence : "-");
        table_add(&t, l->has_job ? l->account : "-");
        table_add(&t, l->has_job ? job_kind_name(l->kind) : "-");
        table_add(&t, l->step);
        table_addf(&t, "%s %s", l->error_code, l->error_class);
        table_addf(&t, "%zu", l->times + e->again);
        table_add(&t, last);
        table_add(&t, dead_state_name(e->state));
        table_add(&t, reason);
    }
    if (d->n) table_print(&t, stdout);
    printf("%zu dead letters%s\n", d->n, d->filter.closed ? "" : " are open");
}

static void print_letter(const struct dead *l, const struct deadmark *mark, const char *state)
{
    char id[DEADS_ID_MAX], first[TABLE_TIME_MAX], last[TABLE_TIME_MAX], at[TABLE_TIME_MAX];
    AUTO_FREE struct deadletter *letter = malloc(sizeof *letter);
    dead_id(l, id);
    table_time(l->first_ms, first);
    table_time(l->last_ms, last);
    printf("  %s  %s  step %s, %s (%s), %" PRId64 " attempts since %s\n", id, last, l->step, l->error_code,
           l->error_class, l->attempts, first);
    if (letter && dead_letter(l, letter) == 0)
        printf("        %s\n        by %s, from %s partition %" PRId64 " offset %" PRId64 "\n", letter->reason,
               letter->by[0] ? letter->by : "-", letter->origin_topic[0] ? letter->origin_topic : "-",
               letter->origin_partition, letter->origin_offset);
    if (mark) {
        table_time(mark->at_ms, at);
        printf("        %s %s by %s%s%s\n", state, at, mark->by, mark->reason[0] ? ": " : "", mark->reason);
    } else {
        printf("        %s\n", state);
    }
}

static void print_entry(const struct dead_command *d, const struct entry *e)
{
    const struct dead *l = e->l;
    if (l->has_job)
        printf("%s of %s, account %s, user %s, job %s: failed %zu times\n", job_kind_name(l->kind), l->licence,
               l->account, l->user, l->job_id, l->times + e->again);
    else
        printf("a message that is no job\n");
    if (e->again) {
        char at[TABLE_TIME_MAX];
        table_time(e->again_ms, at);
        printf("  tried again %zu times since the letter, and failed alike, last %s\n        %s\n", e->again, at,
               e->reason[0] ? e->reason : "-");
    }
    print_letter(l, e->mark, e->well ? "resolved: the licence is well again" : dead_state_name(e->state));
    size_t shown = 0;
    for (; (l = deads_earlier(&d->deads, l)) && shown < DEADS_HISTORY_MAX; shown++) {
        const struct deadmark *mark;
        enum dead_state state = deads_state(&d->deads, l, &mark);
        print_letter(l, mark, mark ? dead_state_name(state) : "followed by the letter above");
    }
    if (l) printf("  and %zu before\n", l->times);
    putchar('\n');
}

static int list(struct dead_command *d)
{
    int rc = collect(d, false);
    if (rc < 0) return rc;
    if (d->json) return print_json(d, false);
    print_table(d);
    return 0;
}

static int show(struct dead_command *d)
{
    d->filter.closed = true;
    int rc = collect(d, false);
    if (rc < 0) return rc;
    if (d->n == 0)
        return client_fail(&d->c, ERR_NOT_FOUND, "there is no such dead letter; see keyroll dead list --closed");
    if (d->json) return print_json(d, true);
    for (size_t i = 0; i < d->n; i++) print_entry(d, &d->entries[i]);
    return 0;
}

/* ---- closing ---- */

static void copy_err(void *into, const void *result)
{
    *(int *)into = *(const int *)result;
}

static int close_letter(struct dead_command *d, const struct dead *l, enum deadmark_action action, const char *reason)
{
    struct waiter w;
    int err = 0;
    int rc = dead_close(kafka_out_port(d->c.kafka), d->c.o, l, action, d->by, reason, clock_wall_ms(&clock_system),
                        client_ticket(&w, copy_err, &err));
    if (rc == 0) rc = client_wait(&d->c, &w);
    if (rc == 0) rc = err;
    if (rc == 0) return 0;
    char id[DEADS_ID_MAX];
    dead_id(l, id);
    return client_fail(&d->c, rc, "%s: the mark could not be written: %s%s%s", id, err_text(rc),
                       d->c.kafka_said[0] ? ": " : "", d->c.kafka_said);
}

static void tell_one(const struct dead_command *d, const struct entry *e, const char *what)
{
    char id[DEADS_ID_MAX];
    dead_id(e->l, id);
    printf("%s  %s%s%s: %s\n", id, e->l->licence, e->l->has_job ? ", " : "",
           e->l->has_job ? job_kind_name(e->l->kind) : "no job", what);
    (void)d;
}

static int drop(struct dead_command *d, const char *reason)
{
    int rc = collect(d, false);
    if (rc == 0 && !d->dry_run) rc = client_kafka(&d->c);
    for (size_t i = 0; rc == 0 && i < d->n; i++) {
        if (!d->dry_run) rc = close_letter(d, d->entries[i].l, DEADMARK_DROPPED, reason);
        if (rc == 0) tell_one(d, &d->entries[i], d->dry_run ? "would be dropped" : "dropped");
    }
    if (rc == 0) printf("%zu dead letters %s\n", d->n, d->dry_run ? "would be dropped" : "dropped");
    return rc;
}

/* ---- replay ---- */

/* The job to be published. NULL with *ret_why: it cannot be. */
static const char *make_job(const struct dead_command *d, const struct dead *l, const struct inventory *inv,
                            struct job *ret)
{
    AUTO_FREE struct deadletter *letter = malloc(sizeof *letter);
    char key[IDENTITY_KEY_MAX];
    if (!letter || dead_letter(l, letter) < 0) return "it cannot be read";
    if (!letter->has_job) return "it is no job: the scheduler publishes what is due by itself; drop it";
    if (job_key(&letter->job, key) < 0) return "its user is not valid";
    const struct inventory_row *row = inventory_find_user(inv, key);
    if (!row) return "the inventory does not name its user any more";
    if (!identity_same(row->licence, letter->job.licence)) return "the inventory gives its user to another licence";
    *ret = letter->job;
    inventory_target(row, ret);
    snprintf(ret->requested_by, sizeof ret->requested_by, "%s", d->by);
    ret->dead_step[0] = '\0'; /* the letter is closed by this: failing again is news */
    return NULL;
}

static void copy_report(void *into, const void *result)
{
    *(int *)into = ((const struct kafka_report *)result)->err;
}

static int publish(struct dead_command *d, const struct job *j)
{
    struct waiter w;
    int err = 0;
    int rc = publish_job(kafka_out_port(d->c.kafka), d->c.o, j, client_ticket(&w, copy_report, &err));
    if (rc == 0) rc = client_wait(&d->c, &w);
    if (rc == 0) rc = err;
    if (rc == 0) return 0;
    return client_fail(&d->c, rc, "%s: the job could not be published: %s%s%s", j->licence, err_text(rc),
                       d->c.kafka_said[0] ? ": " : "", d->c.kafka_said);
}

/* The pace is held against the beginning, so that slow reports do not make it slower. */
static void hold_pace(struct dead_command *d, double pace, size_t done, int64_t began_mono_ms)
{
    int64_t due = began_mono_ms + (int64_t)((double)done * 1000 / pace), now = clock_mono_ms(&clock_system);
    int nothing = 0;
    if (due > now) client_pause(&d->c, due - now, &nothing);
}

static int replay_all(struct dead_command *d, const struct inventory *inv, size_t limit, double pace,
                      size_t *ret_skipped)
{
    struct progress p;
    size_t done = 0;
    int rc = 0;
    int64_t began = clock_mono_ms(&clock_system);
    progress_begin(&p, "replayed", d->n < limit ? d->n : limit, began);
    for (size_t i = d->n; rc == 0 && i-- > 0 && done < limit;) { /* the oldest first */
        const struct entry *e = &d->entries[i];
        struct job j;
        const char *why = make_job(d, e->l, inv, &j);
        if (why) {
            tell_one(d, e, why);
            (*ret_skipped)++;
            continue;
        }
        if (!d->dry_run) {
            hold_pace(d, pace, done, began);
            rc = publish(d, &j);
            if (rc == 0) rc = close_letter(d, e->l, DEADMARK_REPLAYED, "");
            progress_show(&p, done, 0, "", clock_mono_ms(&clock_system));
        }
        if (rc == 0) tell_one(d, e, d->dry_run ? "would be replayed" : "replayed");
        done += rc == 0;
    }
    progress_end(&p);
    if (rc == 0)
        printf("%zu jobs %s, %zu cannot be, %zu left\n", done, d->dry_run ? "would be replayed" : "replayed",
               *ret_skipped, d->n - done - *ret_skipped);
    return rc;
}

static int replay(struct dead_command *d, size_t limit, double pace, int *ret_code)
{
    AUTO_INVENTORY struct inventory *inv = NULL;
    size_t skipped = 0;
    int rc = fleet_load_now(&d->c, false, &inv);
    if (rc == 0) rc = collect(d, true);
    if (rc == 0 && !d->dry_run) rc = client_kafka(&d->c);
    if (rc == 0) rc = replay_all(d, inv, limit, pace, &skipped);
    if (skipped) *ret_code = EXIT_BAD;
    return rc;
}

/* ---- the command ---- */

static const char *read_age(const char *text, int64_t *ret_ms)
{
    if (!text || settings_parse_duration(text, ret_ms) == 0) return NULL;
    return "--older and --younger: write a duration like 12h or 7d";
}

static const char *read_amounts(const char *limit, const char *pace, size_t *ret_limit, double *ret_pace)
{
    char *end;
    *ret_limit = SIZE_MAX;
    *ret_pace = 10;
    if (limit) {
        long long n = strtoll(limit, &end, 10);
        if (*end || n < 1) return "--limit: write a number from 1";
        *ret_limit = (size_t)n;
    }
    if (!pace) return NULL;
    *ret_pace = strtod(pace, &end);
    if ((*end && strcmp(end, "/s") != 0) || !(*ret_pace >= 0.001 && *ret_pace <= 10000))
        return "--pace: write jobs per second, for example 5/s or 0.5/s";
    return NULL;
}

static const char *check_filter(const struct filter *f)
{
    static const char *const classes[] = {"retriable", "unknown", "permanent", "fatal"};
    bool known = !f->class;
    for (size_t i = 0; i < ARRAY_LEN(classes) && !known; i++) known = strcmp(classes[i], f->class) == 0;
    if (!known) return "--class: write retriable, unknown, permanent or fatal";
    if (f->licence && strlen(f->licence) >= IDENTITY_LICENCE_MAX * 4) return "--licence: the pattern is too long";
    return NULL;
}

static bool has_filter(const struct filter *f)
{
    return f->n_ids || f->class || f->code || f->step || f->account || f->licence || f->older_ms || f->younger_ms;
}

static int run(struct dead_command *d, const char *what, const char *reason, size_t limit, double pace)
{
    int code = EXIT_OK, rc;
    if (strcmp(what, "list") == 0)
        rc = list(d);
    else if (strcmp(what, "show") == 0)
        rc = show(d);
    else if (strcmp(what, "drop") == 0)
        rc = drop(d, reason);
    else
        rc = replay(d, limit, pace, &code);
    free(d->entries);
    deads_done(&d->deads);
    if (rc < 0) return command_client_failed(NAME, &d->c, rc);
    client_done(&d->c);
    return code;
}

/* What is wrong with the words as a whole; NULL: nothing. */
static const char *check_words(const struct dead_command *d, const char *what, const char *reason)
{
    bool acts = strcmp(what, "replay") == 0 || strcmp(what, "drop") == 0;
    if (!acts && strcmp(what, "list") != 0 && strcmp(what, "show") != 0)
        return "write keyroll dead list, show, replay or drop";
    if (strcmp(what, "show") == 0 && !has_filter(&d->filter)) return "show: name a letter by its ID, or filter";
    if (acts && !has_filter(&d->filter) && !d->all) return "name letters, filter, or say --all";
    if (strcmp(what, "drop") == 0 && (!reason || !*reason)) return "drop needs --reason TEXT: it is kept";
    if (strcmp(what, "replay") == 0 && d->c.o->mode == OPTIONS_OBSERVE && !d->dry_run)
        return "mode = observe: keyroll changes no key; set mode = rotate for scheduler and workers first";
    return NULL;
}

int cmd_dead(const struct options *o, int argc, char **argv)
{
    struct dead_command d = {.now_ms = clock_wall_ms(&clock_system)};
    struct filter *f = &d.filter;
    const char *older = NULL, *younger = NULL, *limit_text = NULL, *pace_text = NULL, *reason = NULL;
    const struct command_flag flags[] = {{"--json", &d.json, NULL, NULL},        {"--dry-run", &d.dry_run, NULL, NULL},
                                         {"--all", &d.all, NULL, NULL},          {"--closed", &f->closed, NULL, NULL},
                                         {"--class", NULL, &f->class, NULL},     {"--code", NULL, &f->code, NULL},
                                         {"--step", NULL, &f->step, NULL},       {"--account", NULL, &f->account, NULL},
                                         {"--licence", NULL, &f->licence, NULL}, {"--older", NULL, &older, NULL},
                                         {"--younger", NULL, &younger, NULL},    {"--limit", NULL, &limit_text, NULL},
                                         {"--pace", NULL, &pace_text, NULL},     {"--reason", NULL, &reason, NULL}};
    size_t limit;
    double pace;
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    const char *what = argc ? argv[0] : "";
    f->ids = argv + (argc ? 1 : 0);
    f->n_ids = argc ? argc - 1 : 0;
    d.c.o = o;
    const char *fault = read_age(older, &f->older_ms);
    if (!fault) fault = read_age(younger, &f->younger_ms);
    if (!fault) fault = read_amounts(limit_text, pace_text, &limit, &pace);
    if (!fault) fault = check_filter(f);
    if (!fault) fault = check_words(&d, what, reason);
    if (fault) return command_fail(NAME, EXIT_USAGE, "%s", fault);
    if (strcmp(what, "list") == 0 && d.all) f->closed = true;
    if (client_init(&d.c, o, "keyroll-dead") < 0) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    deads_init(&d.deads, true);
    person_name(d.by, sizeof d.by);
    return run(&d, what, reason, limit, pace);
}
