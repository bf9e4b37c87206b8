/* The scheduler daemon. At every tick it compares what is (Redis, restored from the keys topic where Redis lost it)
 * with what should be (inventory and policy) and publishes what is missing; it remembers nothing that matters (design,
 * section 3).
 *
 * What must be there before anything is published: the lead (one of several schedulers publishes), an inventory, and
 * the whole keys topic once read, because a licence that Redis forgot must not look like one that was never rotated.
 * Each of these is waited for, and /readyz and the log say which. A tick is one survey, then one list of jobs; both are
 * dropped when the lead is lost.
 *
 * SIGHUP and a changed inventory file load it anew; a file that cannot be read leaves the generation before in use.
 * SIGTERM gives the lead back, waits for outstanding delivery reports and ends; a second one ends at once. */
#include "producer/schedule.h"

#include "lib/aws_call.h"
#include "lib/aws_creds.h"
#include "lib/err.h"
#include "lib/kafka_follow.h"
#include "lib/log.h"
#include "lib/metrics.h"
#include "producer/alarms.h"
#include "producer/campaigns.h"
#include "producer/circuits.h"
#include "producer/client.h"
#include "producer/dead_watch.h"
#include "producer/dispatch.h"
#include "producer/fleet.h"
#include "producer/leader.h"
#include "producer/notify.h"
#include "producer/probes.h"
#include "producer/strays.h"
#include "producer/survey.h"
#include "producer/triggers.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#define REDISCOVER_MS  600000 /* how often the accounts are asked for their users again */
#define LEFT_OUT_MAX   20     /* lines about single licences per load */
#define ONCE_LOOK_MS   20
#define ONCE_TELL_MS   30000
#define TRIGGER_SAY_MS 60000
#define TRIGGER_LINES  20   /* lines a minute about events for which nothing was done */
#define HURRY_MS       5000 /* after an alarm ticks are so close for so long: its record, other workers' breakers and */
#define HURRY_TICK_MS  1000 /* a message that came too early are caught up with */
#define ALARM_REST_MS  200  /* between the ticks that alarms ask for, */
#define ALARM_SHARE    4    /* and so many times what the last one took */
#define SAY_AGAIN_MS   60000 /* the same complaint is not logged more often */

struct schedule {
    const struct options *o;
    struct client c;
    struct policies *policies;
    struct states states;
    struct kafka_follow *keys, *campaign_topic;
    struct campaigns *campaigns;
    struct leader *leader;
    struct fleet *fleet;
    struct inventory *inventory, *next_inventory; /* in use; loaded, taken over at the next tick */
    struct survey *survey;
    struct dispatch *dispatch;
    struct strays *strays;
    struct dead_watch *dead;
    struct circuits *circuits;
    struct alarms *alarms;
    struct notify *notify;     /* NULL: nobody is to be told */
    struct triggers *triggers; /* NULL: they are not read */
    struct probes *probes;
    struct metrics *metrics;
    struct loop_timer *tick, *once_timer;
    int64_t tick_began_mono_ms, loaded_mono_ms, hurry_until_mono_ms, tick_took_ms;
    size_t unknown; /* licences without a record at the last survey */
    int64_t trigger_said_mono_ms;
    unsigned trigger_said; /* lines about events for which nothing was done */
    bool loading, reload, reload_policies, stopping, fatal, leads;
    bool once, undelivered;
    int64_t published_mono_ms; /* --once: when all was published; 0 not yet */
    unsigned complaints;
    char said[300]; /* the last complaint about Kafka or Redis */
    int64_t said_mono_ms;
    char not_ready[200];
    struct {
        struct metric *licences, *due, *published, *failed, *oldest, *leader, *tick, *bad_rows, *restored, *limited,
            *aged, *redis, *ready, *waiting, *dead_open, *resolved, *triggers, *notices;
    } m;
};

/* ---- metrics ---- */

static bool is_ready(void *arg, char *why, size_t size);

static void on_collect(void *arg)
{
    struct schedule *s = arg;
    char why[200];
    metric_set(s->m.redis, NULL, NULL, redis_ready(s->c.redis));
    metric_set(s->m.ready, NULL, NULL, is_ready(s, why, sizeof why));
}

static void make_metrics(struct schedule *s)
{
    static const double seconds[] = {0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 30};
    struct metrics *m = s->metrics;
    s->m.licences = metric_new(m, METRIC_GAUGE, "keyroll_licences",
                               "Licences of the inventory by state of their record", "state", NULL, NULL, 0);
    s->m.due =
        metric_new(m, METRIC_GAUGE, "keyroll_due", "Licences with due work at the last tick", "what", NULL, NULL, 0);
    s->m.published = metric_new(m, METRIC_COUNTER, "keyroll_jobs_published_total", "Jobs published, delivery report in",
                                "kind", "reason", NULL, 0);
    s->m.failed = metric_new(m, METRIC_COUNTER, "keyroll_jobs_undelivered_total", "Jobs that could not be published",
                             "kind", NULL, NULL, 0);
    s->m.oldest = metric_new(m, METRIC_GAUGE, "keyroll_oldest_key_age_seconds", "Age of the oldest key in use", NULL,
                             NULL, NULL, 0);
    s->m.leader =
        metric_new(m, METRIC_GAUGE, "keyroll_leader", "1 while this scheduler publishes", NULL, NULL, NULL, 0);
    s->m.tick = metric_new(m, METRIC_HISTOGRAM, "keyroll_tick_duration_seconds", "Time of one survey of the fleet",
                           NULL, NULL, seconds, ARRAY_LEN(seconds));
    s->m.bad_rows = metric_new(m, METRIC_GAUGE, "keyroll_inventory_bad_rows", "Rows of the inventory that were refused",
                               NULL, NULL, NULL, 0);
    s->m.restored = metric_new(m, METRIC_COUNTER, "keyroll_records_restored_total",
                               "Records put back after Redis had lost them", NULL, NULL, NULL, 0);
    s->m.limited = metric_new(m, METRIC_GAUGE, "keyroll_rotations_waiting",
                              "Due rotations that wait for max_rotations_per_hour", NULL, NULL, NULL, 0);
    s->m.aged = metric_new(m, METRIC_GAUGE, "keyroll_licences_by_key_age",
                           "Licences whose key in use is at least so many days old", "min_days", NULL, NULL, 0);
    s->m.redis = metric_new(m, METRIC_GAUGE, "keyroll_redis_connected", "1 while Redis answers", NULL, NULL, NULL, 0);
    s->m.ready = metric_new(m, METRIC_GAUGE, "keyroll_ready", "1 when ready", NULL, NULL, NULL, 0);
    metric_set(metric_new(m, METRIC_GAUGE, "keyroll_build_info", "Versions", "version", "librdkafka", NULL, 0),
               KEYROLL_VERSION, kafka_version(), 1);
    for (int kind = 0; kind < JOB_KINDS; kind++) metric_add(s->m.failed, job_kind_name(kind), NULL, 0);
    s->m.waiting =
        metric_new(m, METRIC_GAUGE, "keyroll_policy_waiting",
                   "Licences whose due work waits for a window, an exclusion or a known policy", NULL, NULL, NULL, 0);
    s->m.dead_open =
        metric_new(m, METRIC_GAUGE, "keyroll_dead_letters_open",
                   "Jobs that failed for good and were neither replayed, dropped nor resolved", NULL, NULL, NULL, 0);
    s->m.resolved = metric_new(m, METRIC_COUNTER, "keyroll_dead_letters_resolved_total",
                               "Dead letters closed because their licence is well again", NULL, NULL, NULL, 0);
    s->m.triggers = metric_new(m, METRIC_COUNTER, "keyroll_triggers_total",
                               "Events of the triggers topic, by who sent them and what became of them", "source",
                               "outcome", NULL, 0);
    s->m.notices =
        metric_new(m, METRIC_COUNTER, "keyroll_notices_total",
                   "Messages to people, by the way they went and whether they were taken", "kind", "outcome", NULL, 0);
    metric_set(s->m.leader, NULL, NULL, 0);
    metrics_on_collect(m, on_collect, s);
}

static void tell_metrics(struct schedule *s, const struct survey_result *r)
{
    for (size_t i = 0; i < SURVEY_STATES; i++)
        metric_set(s->m.licences, record_state_name((enum record_state)i), NULL, (double)r->states[i]);
    metric_set(s->m.licences, "unknown", NULL, (double)r->unknown);
    metric_set(s->m.licences, "unreadable", NULL, (double)r->unreadable);
    metric_set(s->m.licences, "rotating", NULL, (double)r->rotating);
    for (size_t i = 0; i < POLICY_NOTHING; i++)
        metric_set(s->m.due, policy_rank_name((enum policy_rank)i), NULL, (double)r->due[i]);
    metric_set(s->m.due, "held", NULL, (double)r->held); /* mode = observe */
    if (r->oldest_created_ms != TIME_NONE)
        metric_set(s->m.oldest, NULL, NULL, (double)(clock_wall_ms(&clock_system) - r->oldest_created_ms) / 1000);
    for (size_t i = 0; i < SURVEY_AGES; i++) {
        char days[16];
        snprintf(days, sizeof days, "%d", survey_age_days[i]);
        metric_set(s->m.aged, days, NULL, (double)r->aged[i]);
    }
    metric_set(s->m.limited, NULL, NULL, (double)dispatch_limited(s->dispatch));
    metric_set(s->m.waiting, NULL, NULL, (double)r->waiting);
    metric_set(s->m.dead_open, NULL, NULL, (double)dead_watch_open(s->dead));
}

/* ---- complaints ---- */

/* Servers that are away complain many times a second: the same words once a minute will do. */
static void complain(struct schedule *s, enum log_level level, const char *event, const char *text)
{
    int64_t now = clock_mono_ms(&clock_system);
    if (strcmp(text, s->said) == 0 && now - s->said_mono_ms < SAY_AGAIN_MS) return;
    snprintf(s->said, sizeof s->said, "%s", text);
    s->said_mono_ms = now;
    LOG0(level, event, text);
}

/* What is waited for; told once when it changes. */
static bool wait_for(struct schedule *s, const char *what)
{
    if (strcmp(s->not_ready, what) != 0) {
        snprintf(s->not_ready, sizeof s->not_ready, "%s", what);
        LOG0(LOG_LEVEL_INFO, "waiting", what);
    }
    return false;
}

/* ---- policies ---- */

static void policy_fault(void *arg, const char *path, const char *reason)
{
    struct schedule *s = arg;
    if (++s->complaints > LEFT_OUT_MAX) return;
    LOG(LOG_LEVEL_WARN, "policy", reason, LOG_S("keyroll.where", *path ? path : NULL));
}

/* Reads the policy file, at start and whenever it changed. One that cannot be read leaves those before in use. Not
 * while a survey is under way. */
static int load_policies(struct schedule *s)
{
    struct policies *read = NULL;
    if (s->policies && !s->reload_policies && !policies_changed(s->policies)) return 0;
    s->complaints = 0;
    s->reload_policies = false;
    int rc = policies_new(s->o, NULL, policy_fault, s, &read);
    if (rc < 0) {
        char text[200];
        snprintf(text, sizeof text, "the policy file cannot be used: %s; see keyroll policy check", err_text(rc));
        complain(s, LOG_LEVEL_ERROR, "policy-file", text);
        return rc;
    }
    dispatch_stop(s->dispatch);
    policies_free(s->policies);
    s->policies = read;
    LOG(LOG_LEVEL_INFO, "policy-file", "loaded", LOG_I("keyroll.policies", policies_file(read)->n_policies),
        LOG_I("keyroll.exclusions", policies_file(read)->n_exclusions),
        LOG_I("keyroll.canaries", policies_file(read)->n_canaries));
    if (s->inventory) (void)policies_check(read, s->inventory, policy_fault, s);
    return 0;
}

/* ---- inventory ---- */

static void row_refused(void *arg, const struct inventory_complaint *c)
{
    struct schedule *s = arg;
    bool whole = c->line == 0 && !c->licence[0]; /* told when the load ends */
    if (whole || ++s->complaints > LEFT_OUT_MAX) return;
    LOG(LOG_LEVEL_WARN, "inventory-row", c->reason, LOG_I("keyroll.line", c->line),
        LOG_S("keyroll.licence", c->licence[0] ? c->licence : NULL));
}

static void note_change(void *arg, enum inventory_change what, const struct inventory_row *before,
                        const struct inventory_row *after)
{
    static const char *const events[] = {"licence-vanished", "licence-added", "licence-moved"};
    struct schedule *s = arg;
    if (what == INVENTORY_ADDED || ++s->complaints > LEFT_OUT_MAX) return;
    LOG(LOG_LEVEL_WARN, events[what],
        what == INVENTORY_VANISHED ? "the inventory does not name it any more: it is not touched"
                                   : "the inventory names another user, instance or bucket",
        LOG_S("keyroll.licence", before ? before->licence : after->licence));
}

static void tick_now(struct schedule *s)
{
    if (!s->stopping) loop_timer_start(s->tick, 0);
}

static void on_loaded(void *self, uint64_t id, const void *result)
{
    struct schedule *s = self;
    const struct fleet_result *r = result;
    (void)id;
    s->loading = false;
    if (r->err) {
        LOG(LOG_LEVEL_ERROR, "inventory", r->reason,
            LOG_S("keyroll.then", s->inventory ? "the inventory read before stays in use" : "nothing is scheduled"));
        wait_for(s, r->reason);
        return;
    }
    inventory_free(s->next_inventory);
    s->next_inventory = r->inventory;
    LOG(LOG_LEVEL_INFO, "inventory", "loaded", LOG_I("keyroll.licences", inventory_count(r->inventory)),
        LOG_I("keyroll.bad_rows", inventory_bad(r->inventory)));
    metric_set(s->m.bad_rows, NULL, NULL, (double)inventory_bad(r->inventory));
    tick_now(s);
}

static void load_inventory(struct schedule *s)
{
    int64_t now = clock_mono_ms(&clock_system);
    bool discover = s->o->inventory_discover.n && now - s->loaded_mono_ms >= REDISCOVER_MS;
    bool first = !s->inventory && !s->next_inventory;
    if (s->loading || !(first || s->reload || discover || fleet_file_changed(s->fleet))) return;
    s->complaints = 0;
    int rc = fleet_load(s->fleet, (struct ticket){on_loaded, s, 0});
    if (rc < 0) {
        LOG0(LOG_LEVEL_ERROR, "inventory", err_text(rc));
        return;
    }
    s->loading = true;
    s->reload = false;
    s->loaded_mono_ms = now;
}

static void take_inventory(struct schedule *s)
{
    if (!s->next_inventory) return;
    s->complaints = 0;
    if (s->inventory) inventory_compare(s->inventory, s->next_inventory, note_change, s);
    dispatch_stop(s->dispatch);
    inventory_free(s->inventory);
    s->inventory = TAKE(s->next_inventory);
    strays_renew(s->strays, s->inventory);
    campaigns_renew(s->campaigns, s->inventory);
    s->complaints = 0;
    (void)policies_check(s->policies, s->inventory, policy_fault, s);
    triggers_wake(s->triggers);
}

/* ---- the tick ---- */

static bool can_work(struct schedule *s)
{
    if (!redis_ready(s->c.redis)) return wait_for(s, "Redis is not reachable");
    if (!leader_leads(s->leader)) return wait_for(s, "another scheduler leads: standing by");
    if (!s->inventory)
        return s->loading ? false : wait_for(s, s->not_ready[0] ? s->not_ready : "the inventory was not read yet");
    if (!kafka_follow_caught_up(s->keys)) {
        const char *why = kafka_follow_reason(s->keys);
        return wait_for(s, why[0] ? why : "reading the keys topic");
    }
    if (!kafka_follow_caught_up(s->campaign_topic)) {
        const char *why = kafka_follow_reason(s->campaign_topic);
        return wait_for(s, why[0] ? why : "reading the campaigns topic");
    }
    if (s->once && !dead_watch_caught_up(s->dead)) return wait_for(s, "reading the dead-letter topic");
    if (s->not_ready[0]) LOG0(LOG_LEVEL_INFO, "ready", "scheduling");
    s->not_ready[0] = '\0';
    return true;
}

/* Whatever came of reading them: what is known of campaigns is judged in this survey. */
static void campaigns_read(void *self, uint64_t id, const void *result)
{
    struct schedule *s = self;
    (void)id, (void)result;
    if (s->stopping || survey_busy(s->survey)) return;
    int rc = survey_begin(s->survey, s->inventory);
    if (rc < 0) complain(s, LOG_LEVEL_WARN, "survey", err_text(rc));
}

static void tick(void *arg)
{
    struct schedule *s = arg;
    if (s->stopping) return;
    int64_t soon = ALARM_SHARE * s->tick_took_ms > HURRY_TICK_MS ? ALARM_SHARE * s->tick_took_ms : HURRY_TICK_MS;
    bool hurries = clock_mono_ms(&clock_system) < s->hurry_until_mono_ms && s->o->tick_ms > soon;
    loop_timer_start(s->tick, hurries ? soon : s->o->tick_ms);
    load_inventory(s);
    if (survey_busy(s->survey)) return; /* a slow Redis: the tick after will do */
    (void)!load_policies(s);            /* told there */
    take_inventory(s);
    if (!can_work(s)) return;
    dispatch_stop(s->dispatch);
    s->tick_began_mono_ms = clock_mono_ms(&clock_system);
    circuits_look(s->circuits);
    int rc = campaigns_load(s->campaigns, (struct ticket){campaigns_read, s, 0});
    if (rc < 0 && rc != ERR_BUSY) complain(s, LOG_LEVEL_WARN, "campaigns", err_text(rc));
    strays_look(s->strays);
}

static void seen(void *arg, const char *user_key, const struct store_peek *u)
{
    struct schedule *s = arg;
    if (!s->stopping && leader_leads(s->leader)) dead_watch_see(s->dead, kafka_out_port(s->c.kafka), user_key, u);
}

static void resolved(void *arg, const struct dead *l)
{
    struct schedule *s = arg;
    metric_add(s->m.resolved, NULL, NULL, 1);
    LOG(LOG_LEVEL_INFO, "dead-letter-resolved", "the licence is well again", LOG_S("keyroll.licence", l->licence),
        LOG_S("keyroll.job_id", l->job_id), LOG_S("keyroll.step", l->step));
}

static const char *dead_step(void *arg, const char *user_key, int kind, int64_t first_failed_ms)
{
    return dead_watch_step(((struct schedule *)arg)->dead, user_key, kind, first_failed_ms);
}

static void dead_letters_read(void *arg)
{
    tick_now(arg);
}

static void surveyed(void *arg, const struct survey_result *r)
{
    struct schedule *s = arg;
    if (s->stopping) return;
    if (r->err) {
        complain(s, LOG_LEVEL_WARN, "survey", err_text(r->err));
        return;
    }
    s->tick_took_ms = clock_mono_ms(&clock_system) - s->tick_began_mono_ms;
    metric_observe(s->m.tick, NULL, NULL, (double)s->tick_took_ms / 1000);
    if (r->unreadable) {
        char text[200];
        snprintf(text, sizeof text, "%zu records cannot be read (first: %s): a newer keyroll may have written them",
                 r->unreadable, r->unreadable_licence);
        complain(s, LOG_LEVEL_ERROR, "unreadable", text);
    }
    if (r->restored) {
        LOG(LOG_LEVEL_WARN, "restored", "Redis had lost records: put back from the keys topic",
            LOG_I("keyroll.records", r->restored));
        metric_add(s->m.restored, NULL, NULL, (double)r->restored);
        tick_now(s);
    }
    if (r->unknown > s->unknown) dispatch_forget(s->dispatch);
    s->unknown = r->unknown;
    if (leader_leads(s->leader) && campaigns_sum_up(s->campaigns)) tick_now(s);
    if (leader_leads(s->leader)) dispatch_list(s->dispatch, r->items, r->n_items);
    tell_metrics(s, r);
    if (!s->once || r->restored || !leader_leads(s->leader)) return; /* restored: the next look sees it */
    loop_timer_stop(s->tick);
    loop_timer_start(s->once_timer, 0);
}

static void reported(void *arg, const struct dispatch_sent *j, int err, const char *detail)
{
    struct schedule *s = arg;
    if (err) {
        char text[300];
        snprintf(text, sizeof text, "a job could not be published: %s%s%.150s; it is tried again", err_text(err),
                 *detail ? ": " : "", detail);
        s->undelivered = true;
        metric_add(s->m.failed, job_kind_name(j->kind), NULL, 1);
        complain(s, LOG_LEVEL_WARN, "undelivered", text);
        return;
    }
    metric_add(s->m.published, job_kind_name(j->kind), job_reason_name(j->reason), 1);
    LOG(LOG_LEVEL_INFO, "published", job_kind_name(j->kind), LOG_S("keyroll.licence", j->licence),
        LOG_S("keyroll.job_id", j->job_id), LOG_S("event.reason", job_reason_name(j->reason)),
        LOG_S("keyroll.key_id", j->key_id[0] ? j->key_id : NULL));
}

/* ---- alarms ---- */

static bool recovered(void *arg, const char *breaker)
{
    return circuits_closed(((struct schedule *)arg)->circuits, breaker);
}

static void rung(void *arg, const struct event *e)
{
    struct schedule *s = arg;
    int64_t now = clock_mono_ms(&clock_system), apart = ALARM_SHARE * s->tick_took_ms;
    int64_t rest = s->tick_began_mono_ms + (apart > ALARM_REST_MS ? apart : ALARM_REST_MS) - now;
    (void)e;
    if (s->stopping) return;
    s->hurry_until_mono_ms = now + HURRY_MS;
    loop_timer_start(s->tick, rest > 0 ? rest : 0);
}

/* ---- people ---- */

static void told_people(void *arg, const char *way, int err, const char *detail)
{
    struct schedule *s = arg;
    metric_add(s->m.notices, way, err ? "failed" : "taken", 1);
    if (!err) {
        LOG0(LOG_LEVEL_INFO, "notified",
             strcmp(way, "url") == 0 ? "notify_url took a message" : "notify_command took a message");
        return;
    }
    char text[300];
    snprintf(text, sizeof text, "notify_%s did not take a message: %.200s; it is tried again", way,
             *detail ? detail : err_text(err));
    complain(s, LOG_LEVEL_WARN, "notify", text);
}

/* ---- triggers ---- */

static const struct inventory *inventory_now(void *arg)
{
    return ((struct schedule *)arg)->inventory;
}

static struct policies *policies_in_use(void *arg)
{
    return ((struct schedule *)arg)->policies;
}

static bool may_trigger(void *arg)
{
    struct schedule *s = arg;
    return !s->stopping && redis_ready(s->c.redis) && kafka_follow_caught_up(s->keys);
}

/* The sender as a label: one of few, whatever the event says. */
static const char *source_of(const struct trigger *t)
{
    static const char *const known[] = {"aws.health", "aws.guardduty", "aws.iam", "keyroll"};
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (strncmp(t->kind, known[i], strlen(known[i])) == 0 && t->kind[strlen(known[i])] == ' ') return known[i];
    return "other";
}

/* What was done is always logged; what was not is counted always and logged now and then, since anybody can send it. */
static void triggered(void *arg, const struct trigger *t, enum trigger_outcome what, const char *licence,
                      const char *why)
{
    struct schedule *s = arg;
    metric_add(s->m.triggers, source_of(t), trigger_outcome_name(what), 1);
    bool done = what == TRIGGER_ASKED || what == TRIGGER_MARKED;
    int64_t now = clock_mono_ms(&clock_system);
    if (!done && now - s->trigger_said_mono_ms < TRIGGER_SAY_MS && s->trigger_said >= TRIGGER_LINES) return;
    if (now - s->trigger_said_mono_ms >= TRIGGER_SAY_MS) {
        s->trigger_said_mono_ms = now;
        s->trigger_said = 0;
    }
    s->trigger_said += !done;
    bool person = what == TRIGGER_LIMITED && t->want == TRIGGER_EXPOSED; /* it may be true */
    if (person)
        why = "a key that may have leaked stays Active, since events asked too often: see keyroll rotate --exposed";
    LOG(done     ? LOG_LEVEL_INFO
        : person ? LOG_LEVEL_ERROR
                 : LOG_LEVEL_WARN,
        "trigger", why, LOG_S("keyroll.kind", t->kind), LOG_S("keyroll.outcome", trigger_outcome_name(what)),
        LOG_S("keyroll.licence", *licence ? licence : NULL), LOG_S("keyroll.key_id", t->keys.n ? t->keys.ids[0] : NULL),
        LOG_S("keyroll.actor", t->actor[0] ? t->actor : NULL), LOG_S("event.reason", t->reason[0] ? t->reason : NULL));
}

/* ---- what happens outside ---- */

static void lead_changed(void *arg, bool leads, const char *holder)
{
    struct schedule *s = arg;
    metric_set(s->m.leader, NULL, NULL, leads);
    if (leads && !s->leads) LOG0(LOG_LEVEL_INFO, "leader", "this scheduler leads");
    if (!leads && (s->leads || holder[0]))
        LOG(LOG_LEVEL_INFO, "standby", "another scheduler leads", LOG_S("keyroll.holder", holder));
    s->leads = leads;
    if (!leads && holder[0] && s->once) loop_timer_start(s->once_timer, 0); /* the other one publishes */
    if (leads)
        tick_now(s);
    else
        dispatch_stop(s->dispatch);
}

static void server_seen(void *self, uint64_t id, const void *result)
{
    const struct store_reply *r = result;
    (void)self;
    (void)id;
    if (!r->err && r->wait_ms > 0)
        LOG(LOG_LEVEL_WARN, "redis", "the server changed: no lease is given for a while",
            LOG_I("keyroll.wait_ms", r->wait_ms));
}

static void redis_changed(void *arg, enum redis_state state, const struct redis_server *server, int err)
{
    struct schedule *s = arg;
    if (s->stopping) return;
    if (state == REDIS_READY) {
        s->said[0] = '\0';
        if (server->is_cluster) {
            LOG(LOG_LEVEL_ERROR, "redis-cluster", CLIENT_NO_CLUSTER, LOG_S("redis.url", s->o->redis_url));
            s->fatal = true;
            loop_stop(s->c.loop);
            return;
        }
        LOG(LOG_LEVEL_INFO, "redis", "connected", LOG_S("redis.version", server->version));
        (void)!store_server_seen(&s->c.store, server, (struct ticket){server_seen, s, 0}); /* the workers ask, too */
        leader_ask_now(s->leader);
        triggers_wake(s->triggers);
    } else if (err) {
        char text[300];
        snprintf(text, sizeof text, err == ERR_REDIS_AUTH ? "Redis refused the user or password: %s" : "Redis: %s",
                 redis_reason(s->c.redis));
        complain(s, err == ERR_REDIS_AUTH ? LOG_LEVEL_ERROR : LOG_LEVEL_WARN, "redis", text);
    }
}

static void kafka_fatal(void *arg, const char *reason)
{
    struct schedule *s = arg;
    LOG0(LOG_LEVEL_ERROR, "kafka-fatal", reason);
    s->fatal = true;
    loop_stop(s->c.loop);
}

static void kafka_logged(void *arg, int level, const char *fac, const char *text)
{
    struct schedule *s = arg;
    char line[300];
    snprintf(line, sizeof line, "broker: %s: %s", fac, text);
    complain(s, level <= 4 ? LOG_LEVEL_WARN : LOG_LEVEL_DEBUG, "kafka", line);
}

/* The next wave begins when the last of this one is proven, not with the tick after that. */
static void tick_for_wave(struct schedule *s)
{
    int64_t apart = ALARM_SHARE * s->tick_took_ms > HURRY_TICK_MS ? ALARM_SHARE * s->tick_took_ms : HURRY_TICK_MS;
    int64_t rest = s->tick_began_mono_ms + apart - clock_mono_ms(&clock_system);
    if (!s->stopping && apart < s->o->tick_ms) loop_timer_start(s->tick, rest > 0 ? rest : 0);
}

static void state_message(void *arg, const struct kafka_message_in *m)
{
    struct schedule *s = arg;
    int rc = states_take(&s->states, m->key, m->value, m->value_len);
    if (kafka_follow_caught_up(s->keys) && campaigns_wait(s->campaigns)) tick_for_wave(s);
    if (rc < 0)
        LOG(LOG_LEVEL_WARN, "state", "a message of the keys topic cannot be read: its user could not be restored",
            LOG_S("keyroll.user", m->key), LOG_S("error.message", err_text(rc)), LOG_I("kafka.offset", m->offset));
}

static void campaign_message(void *arg, const struct kafka_message_in *m)
{
    struct schedule *s = arg;
    if (campaigns_take(s->campaigns, m)) tick_now(s);
}

static void campaigns_caught(void *arg)
{
    struct schedule *s = arg;
    campaigns_caught_up(s->campaigns);
    tick_now(s);
}

static void caught_up(void *arg)
{
    struct schedule *s = arg;
    LOG(LOG_LEVEL_INFO, "keys-topic", "read to its end", LOG_I("keyroll.users", s->states.users.n));
    if (s->inventory) strays_renew(s->strays, s->inventory);
    triggers_wake(s->triggers);
    tick_now(s);
}

static bool is_ready(void *arg, char *why, size_t size)
{
    struct schedule *s = arg;
    const char *text = NULL;
    if (!redis_ready(s->c.redis))
        text = "Redis is not reachable";
    else if (!kafka_follow_caught_up(s->keys))
        text = kafka_follow_reason(s->keys)[0] ? kafka_follow_reason(s->keys) : "reading the keys topic";
    else if (!s->inventory && !s->next_inventory)
        text = "no inventory could be read";
    if (text) snprintf(why, size, "%s", text);
    return !text;
}

/* ---- start and end ---- */

static void resigned(void *arg)
{
    struct schedule *s = arg;
    loop_stop(s->c.loop);
}

static void on_terminate(void *arg)
{
    struct schedule *s = arg;
    if (s->stopping) {
        loop_stop(s->c.loop);
        return;
    }
    LOG0(LOG_LEVEL_INFO, "stopping", "the lead is given back");
    s->stopping = true;
    loop_timer_stop(s->tick);
    dispatch_stop(s->dispatch);
    triggers_stop(s->triggers, 1000);
    notify_stop(s->notify, 1000);
    leader_resign(s->leader, resigned, s);
}

/* --once: ends as on SIGTERM when all is published, delivery reports in, and a person was told what there is to tell;
 * or cannot be told now: the next run does it. */
static void end_when_published(void *arg)
{
    struct schedule *s = arg;
    if (s->stopping) return;
    bool published = !dispatch_left(s->dispatch) && !dispatch_outstanding(s->dispatch);
    if (published && !s->published_mono_ms) s->published_mono_ms = clock_mono_ms(&clock_system);
    bool told = !s->notify || notify_settled(s->notify);
    if (published && (told || clock_mono_ms(&clock_system) - s->published_mono_ms >= ONCE_TELL_MS))
        on_terminate(s);
    else
        loop_timer_start(s->once_timer, ONCE_LOOK_MS);
}

static void on_hangup(void *arg)
{
    struct schedule *s = arg;
    s->reload = s->reload_policies = true;
    tick_now(s);
}

static int open_notify(struct schedule *s, char **ret_why)
{
    const struct notify_options no = {.loop = s->c.loop,
                                      .o = s->o,
                                      .clock = &clock_system,
                                      .rng = &rng_system,
                                      .http = s->c.http,
                                      .sent = told_people,
                                      .on_fatal = kafka_fatal,
                                      .on_log = kafka_logged,
                                      .arg = s};
    return notify_new(&no, &s->notify, ret_why);
}

static int open_edges(struct schedule *s)
{
    const struct options *o = s->o;
    AUTO_FREE char *why = NULL;
    int rc = options_require(o, OPTIONS_NEED_KAFKA | OPTIONS_NEED_REDIS | OPTIONS_NEED_INVENTORY, &why);
    if (rc < 0) return client_fail(&s->c, rc, "%s", why ? why : err_text(rc));
    if ((rc = client_open_redis(&s->c, redis_changed, s)) < 0) return rc;
    if ((rc = client_open_kafka(&s->c, kafka_fatal, kafka_logged, s)) < 0) return rc;
    const struct campaigns_options po = {&s->c.store,  kafka_out_port(s->c.kafka), o->topic_campaigns, &clock_system,
                                         o->worker_id, o->mode == OPTIONS_OBSERVE, s->metrics};
    s->campaigns = campaigns_new(&po);
    if (!s->campaigns) return client_fail(&s->c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    if (o->inventory_discover.n && (rc = client_aws(&s->c)) < 0) return rc;
    if (notify_wanted(o) && (rc = client_http(&s->c)) < 0) return rc;
    const struct kafka_follow_options ko = {.brokers = o->brokers,
                                            .client_id = s->c.service,
                                            .topic = o->topic_keys,
                                            .conf = o->kafka,
                                            .n_conf = o->n_kafka,
                                            .on_message = state_message,
                                            .on_caught_up = caught_up,
                                            .on_fatal = kafka_fatal,
                                            .on_log = kafka_logged,
                                            .arg = s};
    const struct dead_watch_options wo = {s->c.loop, o, &clock_system, resolved, dead_letters_read, s};
    rc = kafka_follow_new(s->c.loop, &ko, &s->keys, &why);
    struct kafka_follow_options co = ko;
    co.topic = o->topic_campaigns;
    co.on_message = campaign_message;
    co.on_caught_up = campaigns_caught;
    if (rc == 0) rc = kafka_follow_new(s->c.loop, &co, &s->campaign_topic, &why);
    if (rc == 0) rc = dead_watch_new(&wo, &s->dead, &why);
    const struct alarms_options ao = {s->c.loop, o, rung, kafka_fatal, kafka_logged, s};
    if (rc == 0) rc = alarms_new(&ao, &s->alarms, &why);
    const struct triggers_options to = {.loop = s->c.loop,
                                        .o = o,
                                        .clock = &clock_system,
                                        .store = &s->c.store,
                                        .kafka = kafka_out_port(s->c.kafka),
                                        .states = &s->states,
                                        .inventory = inventory_now,
                                        .policies = policies_in_use,
                                        .ready = may_trigger,
                                        .told = triggered,
                                        .on_fatal = kafka_fatal,
                                        .on_log = kafka_logged,
                                        .arg = s};
    if (rc == 0 && o->triggers_per_hour > 0) rc = triggers_new(&to, &s->triggers, &why);
    if (rc == 0 && notify_wanted(o)) rc = open_notify(s, &why);
    return rc < 0 ? client_fail(&s->c, rc, "Kafka: %s", why ? why : err_text(rc)) : 0;
}

static int make_parts(struct schedule *s)
{
    const struct leader_options lo = {s->c.loop, &s->c.store, &clock_system, s->o->worker_id, lead_changed, s};
    const struct fleet_options fo = {s->c.loop, s->o, s->c.aws, row_refused, s};
    const struct survey_options so = {.store = &s->c.store,
                                      .policies = &s->policies,
                                      .states = &s->states,
                                      .clock = &clock_system,
                                      .seen = seen,
                                      .recovered = recovered,
                                      .done = surveyed,
                                      .arg = s,
                                      .adjust = campaigns_adjust,
                                      .adjust_arg = s->campaigns};
    const struct dispatch_options d = {
        s->c.loop, kafka_out_port(s->c.kafka), s->o, &clock_system, s->o->worker_id, reported, dead_step, s};
    s->dispatch = dispatch_new(&d);
    s->survey = survey_new(&so);
    s->fleet = fleet_new(&fo);
    s->strays = strays_new(&s->c.store, &s->states);
    s->circuits = circuits_new(&s->c.store, &clock_system);
    s->tick = loop_timer_new(s->c.loop, tick, s);
    s->once_timer = loop_timer_new(s->c.loop, end_when_published, s);
    s->leader = s->dispatch ? leader_new(&lo) : NULL;
    int rc = load_policies(s);
    if (rc < 0)
        return client_fail(&s->c, ERR_INVALID, "policy_file = %s: see above, and keyroll policy check",
                           s->o->policy_file ? s->o->policy_file : "");
    if (s->survey && s->fleet && s->strays && s->circuits && s->tick && s->once_timer && s->leader) return 0;
    return client_fail(&s->c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
}

static int listen_for_probes(struct schedule *s)
{
    const struct probes_options po = {s->c.loop, s->o->listen, s->metrics, is_ready, s};
    if (!s->o->listen) return 0;
    int rc = probes_new(&po, &s->probes);
    if (rc < 0)
        return client_fail(&s->c, ERR_IO, "listen = %s: %s (is the address in use?)", s->o->listen, err_text(rc));
    LOG(LOG_LEVEL_INFO, "listening", "probes and metrics", LOG_S("server.address", s->o->listen),
        LOG_I("server.port", probes_port(s->probes)));
    return 0;
}

static int start(struct schedule *s)
{
    s->metrics = metrics_new();
    if (!s->metrics || client_init(&s->c, s->o, "keyroll-scheduler") < 0)
        return client_fail(&s->c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    make_metrics(s);
    int rc = open_edges(s);
    if (rc == 0) rc = make_parts(s);
    if (rc == 0) rc = listen_for_probes(s);
    if (rc == 0) rc = loop_signal(s->c.loop, SIGTERM, on_terminate, s);
    if (rc == 0) rc = loop_signal(s->c.loop, SIGINT, on_terminate, s);
    if (rc == 0) rc = loop_signal(s->c.loop, SIGHUP, on_hangup, s);
    if (rc == 0) tick_now(s);
    return rc;
}

static void done(struct schedule *s)
{
    s->stopping = true;
    probes_free(s->probes);
    kafka_follow_free(s->keys, 1000);
    kafka_follow_free(s->campaign_topic, 1000);
    dead_watch_stop(s->dead, 1000);
    alarms_free(TAKE(s->alarms), 1000);
    triggers_stop(s->triggers, 1000);
    notify_stop(s->notify, 1000);
    loop_timer_free(s->tick);
    loop_timer_free(s->once_timer);
    kafka_out_free(TAKE(s->c.kafka), 2000); /* reports come in until here */
    redis_free(TAKE(s->c.redis));           /* and answers until here */
    aws_call_free(TAKE(s->c.aws));
    aws_creds_free(TAKE(s->c.creds));
    http_free(TAKE(s->c.http)); /* its completions come until here */
    notify_free(s->notify);
    campaigns_free(s->campaigns);
    dead_watch_free(s->dead);
    triggers_free(s->triggers);
    strays_free(s->strays);
    circuits_free(s->circuits);
    survey_free(s->survey);
    dispatch_free(s->dispatch);
    leader_free(s->leader);
    fleet_free(s->fleet);
    inventory_free(s->inventory);
    inventory_free(s->next_inventory);
    policies_free(s->policies);
    states_done(&s->states);
    metrics_free(s->metrics);
    client_done(&s->c);
}

int schedule_run(const struct options *o, bool once)
{
    struct schedule *s = calloc(1, sizeof *s);
    if (!s) return 1;
    s->o = o;
    s->once = once;
    int rc = start(s), code = 0;
    if (rc < 0) {
        LOG0(LOG_LEVEL_ERROR, "start", s->c.error);
        code = rc == ERR_INVALID || rc == ERR_SYNTAX ? 2 : 1;
    } else {
        LOG(LOG_LEVEL_INFO, "started",
            o->mode == OPTIONS_OBSERVE ? "mode = observe: plans and audits only" : "mode = rotate",
            LOG_S("service.version", KEYROLL_VERSION));
        loop_run(s->c.loop);
        LOG0(LOG_LEVEL_INFO, "stopped", s->fatal ? "after a fatal error" : "clean");
        code = s->fatal || (once && s->undelivered) ? 1 : 0;
    }
    done(s);
    free(s);
    return code;
}
