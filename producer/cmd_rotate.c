/* keyroll rotate: publishes urgent rotations and, when asked, waits for their end.
 *
 * The wait is driven by the events topic, opened at its end before anything is published: each event of one of the
 * licences makes its record worth a look. A slow poll stands behind it, so that a lost event costs seconds and not the
 * wait. */
#include "lib/err.h"
#include "lib/kafka_follow.h"
#include "producer/command.h"
#include "producer/held.h"
#include "producer/progress.h"
#include "producer/publish.h"
#include "producer/subjects.h"
#include "schema/event.h"

#include <stdio.h>
#include <string.h>

#define NAME      "rotate"
#define OPEN_MS   10000
#define POLL_MS   5000
#define SETTLE_MS 100 /* between an event and the record that follows it */

enum outcome { WAITING, ROTATED, ENDED_BADLY };
struct want {
    int64_t before;     /* rotation number when it was published */
    int64_t updated_ms; /* of the record then */
    enum outcome outcome;
};
struct rotate {
    struct client *c;
    struct subjects subjects;
    struct want *wants;
    struct kafka_follow *events;
    int opened; /* the events topic is followed */
    int news;   /* an event of ours came, or the poll is due */
    bool exposed, wait;
    char by[JOB_BY_MAX];
};

/* ---- may it be done ---- */

static int refuse(const struct subject *s, const char *why)
{
    return command_fail(NAME, EXIT_FAILED, "%s: %s", s->row->licence, why);
}

static int check(const struct rotate *r, const struct subject *s)
{
    const struct store_peek *u = &s->peek;
    char text[RECORD_TEXT_MAX + 64];
    if (u->err) return refuse(s, "its record cannot be read: a newer keyroll may have written it");
    if (r->exposed && (!u->has_record || !record_current(&u->record)))
        return refuse(s, "keyroll does not know its key yet: wait for the first look (keyroll status), or run keyroll "
                         "rotate without --exposed");
    if (!u->has_record) return 0;
    enum record_state state = u->record.state;
    bool person = state == RECORD_DRIFTED || state == RECORD_EXCLUDED || (state == RECORD_AWAITING && u->has_journal);
    if (!person) return 0;
    snprintf(text, sizeof text, "is %s: %s", record_state_name(state), u->record.reason);
    return refuse(s, text);
}

/* ---- publishing ---- */

/* R9: the mark comes before the job, in Redis and on the events topic. */
static int mark_exposed(struct rotate *r, struct subject *s)
{
    const char *id = record_current(&s->peek.record)->id;
    struct store_reply reply = {0};
    struct waiter w;
    int rc = store_mark_exposed(&r->c->store, s->key, id, client_ticket(&w, client_copy_reply, &reply));
    rc = client_reply(r->c, rc, &w, &reply, s->row->licence);
    if (rc < 0) return rc;
    bool known = false;
    for (size_t i = 0; i < s->peek.n_exposed; i++) known = known || strcmp(s->peek.exposed_ids[i], id) == 0;
    if (!known && s->peek.n_exposed < RECORD_KEYS_MAX)
        snprintf(s->peek.exposed_ids[s->peek.n_exposed++], AWS_KEY_ID_MAX, "%s", id);
    return witness_report(r->c, s->row, &s->peek, EVENT_EXPOSED, id, r->by, "marked as exposed by an operator");
}

static void copy_report(void *into, const void *result)
{
    *(int *)into = ((const struct kafka_report *)result)->err;
}

static int publish(struct rotate *r, struct subject *s)
{
    const struct record_key *current = s->peek.has_record ? record_current(&s->peek.record) : NULL;
    struct policy_verdict v = {.rank = POLICY_URGENT,
                               .kind = JOB_ROTATE,
                               .reason = r->exposed ? JOB_EXPOSED : JOB_OPERATOR,
                               .urgent = true,
                               .rotation = s->peek.has_record ? s->peek.record.rotation : 0};
    struct job j;
    struct waiter w;
    int err = 0;
    snprintf(v.replace_key_id, sizeof v.replace_key_id, "%s", current ? current->id : "");
    int rc = publish_make(s->row, &v, r->by, clock_wall_ms(&clock_system), &j);
    if (rc == 0) rc = publish_job(kafka_out_port(r->c->kafka), r->c->o, &j, client_ticket(&w, copy_report, &err));
    if (rc == 0) rc = client_wait(r->c, &w);
    if (rc == 0) rc = err;
    if (rc < 0)
        return client_fail(r->c, rc, "%s: the job could not be published: %s%s%s", s->row->licence, err_text(rc),
                           r->c->kafka_said[0] ? ": " : "", r->c->kafka_said);
    if (!r->wait) printf("%s: published, job %s\n", s->row->licence, j.job_id);
    return 0;
}

/* ---- waiting ---- */

static void on_event(void *arg, const struct kafka_message_in *m)
{
    struct rotate *r = arg;
    for (size_t i = 0; i < r->subjects.n && !r->news; i++)
        if (r->wants[i].outcome == WAITING && strcmp(r->subjects.items[i].key, m->key) == 0) r->news = 1;
}

static void on_open(void *arg)
{
    ((struct rotate *)arg)->opened = 1;
}

static int open_events(struct rotate *r)
{
    AUTO_FREE char *why = NULL;
    const struct options *o = r->c->o;
    const struct kafka_follow_options ko = {.brokers = o->brokers,
                                            .client_id = "keyroll-rotate",
                                            .topic = o->topic_events,
                                            .from_end = true,
                                            .conf = o->kafka,
                                            .n_conf = o->n_kafka,
                                            .on_message = on_event,
                                            .on_caught_up = on_open,
                                            .arg = r};
    int rc = kafka_follow_new(r->c->loop, &ko, &r->events, &why);
    if (rc < 0) return client_fail(r->c, rc, "Kafka: %s", why ? why : err_text(rc));
    client_pause(r->c, OPEN_MS, &r->opened);
    if (kafka_follow_caught_up(r->events)) return 0;
    const char *reason = kafka_follow_reason(r->events);
    return client_fail(r->c, ERR_KAFKA_DOWN, "Kafka at %s: %s", o->brokers,
                       reason[0] ? reason : "the events topic could not be opened");
}

static bool needs_person(enum record_state s)
{
    return s == RECORD_AWAITING || s == RECORD_STUCK || s == RECORD_FAILED || s == RECORD_DRIFTED ||
           s == RECORD_EXCLUDED;
}

static enum outcome judge(const struct want *w, const struct store_peek *u)
{
    if (u->err || !u->has_record) return WAITING;
    const struct record *r = &u->record;
    if (r->rotation > w->before) return ROTATED;
    if (u->lease_ms >= 0 || r->updated_ms == w->updated_ms) return WAITING;
    if (needs_person(r->state)) return ENDED_BADLY;
    if (u->has_journal || r->state == RECORD_RETRY) return WAITING; /* it goes on by itself */
    return r->reason[0] ? ENDED_BADLY : WAITING;                    /* put off: paused, limited, no free slot */
}

static void look(struct rotate *r, size_t *done, size_t *bad, const char **note)
{
    *done = *bad = 0;
    *note = "";
    for (size_t i = 0; i < r->subjects.n; i++) {
        const struct subject *s = &r->subjects.items[i];
        struct want *w = &r->wants[i];
        if (w->outcome == WAITING) w->outcome = judge(w, &s->peek);
        *done += w->outcome != WAITING;
        *bad += w->outcome == ENDED_BADLY;
        if (w->outcome == WAITING && s->peek.has_record && s->peek.record.reason[0]) *note = s->peek.record.reason;
    }
}

static int wait_for_all(struct rotate *r)
{
    struct progress p;
    size_t done = 0, bad = 0;
    const char *note = "";
    progress_begin(&p, "rotated", r->subjects.n, clock_mono_ms(&clock_system));
    int rc = 0;
    while (rc == 0 && done < r->subjects.n) {
        client_pause(r->c, p.is_terminal ? 1000 : POLL_MS, &r->news);
        r->news = 0;
        int settled = 0;
        client_pause(r->c, SETTLE_MS, &settled);
        rc = subjects_peek(r->c, &r->subjects);
        if (rc == ERR_REDIS_DOWN || rc == ERR_REDIS_LOST) rc = 0; /* it comes back, or the person ends the wait */
        look(r, &done, &bad, &note);
        progress_show(&p, done, bad, note, clock_mono_ms(&clock_system));
    }
    progress_end(&p);
    return rc;
}

static int tell_outcome(const struct rotate *r)
{
    int code = EXIT_OK;
    for (size_t i = 0; i < r->subjects.n; i++) {
        const struct subject *s = &r->subjects.items[i];
        const struct record *rec = &s->peek.record;
        if (r->wants[i].outcome == ROTATED) {
            printf("%s: rotated, %s, new key %s\n", s->row->licence, record_state_name(rec->state),
                   record_current(rec) ? record_current(rec)->id : "-");
            continue;
        }
        printf("%s: %s: %s\n", s->row->licence, record_state_name(rec->state),
               rec->reason[0] ? rec->reason : err_text(rec->error));
        code = EXIT_BAD;
    }
    return code;
}

/* ---- the command ---- */

static int run(struct rotate *r)
{
    int rc = client_kafka(r->c);
    if (rc == 0 && r->wait) rc = open_events(r);
    for (size_t i = 0; rc == 0 && i < r->subjects.n; i++) {
        struct subject *s = &r->subjects.items[i];
        r->wants[i] = (struct want){s->peek.has_record ? s->peek.record.rotation : 0,
                                    s->peek.has_record ? s->peek.record.updated_ms : TIME_NONE, WAITING};
        if (r->exposed) rc = mark_exposed(r, s);
        if (rc == 0) rc = publish(r, s);
    }
    if (rc == 0 && r->wait) rc = wait_for_all(r);
    return rc;
}

int cmd_rotate(const struct options *o, int argc, char **argv)
{
    struct client c;
    struct rotate r = {.c = &c};
    const struct command_flag flags[] = {{"--wait", &r.wait, NULL, NULL}, {"--exposed", &r.exposed, NULL, NULL}};
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc == 0) return command_fail(NAME, EXIT_USAGE, "name the licences; see keyroll " NAME " --help");
    if (o->mode == OPTIONS_OBSERVE)
        return command_fail(
            NAME, EXIT_FAILED,
            "mode = observe: keyroll changes no key; set mode = rotate for scheduler and workers first");
    if (client_init(&c, o, "keyroll-rotate") < 0) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    person_name(r.by, sizeof r.by);
    int rc = subjects_find(&c, argc, argv, true, &r.subjects), code = EXIT_OK;
    for (size_t i = 0; rc == 0 && code == EXIT_OK && i < r.subjects.n; i++) code = check(&r, &r.subjects.items[i]);
    if (rc == 0 && code == EXIT_OK) {
        r.wants = calloc(r.subjects.n + 1, sizeof *r.wants);
        rc = r.wants ? run(&r) : ERR_NOMEM;
        if (rc == 0 && r.wait) code = tell_outcome(&r);
    }
    kafka_follow_free(r.events, 1000);
    subjects_done(&r.subjects);
    free(r.wants);
    if (rc < 0) return command_client_failed(NAME, &c, rc);
    client_done(&c);
    return code;
}
