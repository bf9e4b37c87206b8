/* The books: what happened to each licence and to all of them.
 *
 * Every key of an instance's user is in exactly one class, told from what the instance did with it:
 *   current       stored in the instance
 *   predecessor   was stored in the instance earlier (overlap or quarantine of a rotation)
 *   orphan        made through CreateAccessKey, exists, and was never stored in the instance
 *   unexplained   anything else that exists: a second key from the start, or a stranger's
 * JSON is written straight into a buffer: at 100,000 licences a tree of objects would take a gigabyte. */
#include "tests/sandbox/books.h"

#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define ACTIONS_MAX 64

struct tally {
    const char *action;
    enum service service;
    uint64_t n;
    uint64_t errors; /* HTTP >= 400, or closed without a reply */
    uint64_t took_us;
};

static struct tally tallies[ACTIONS_MAX];
static size_t n_tallies;

/* ---- filing ---------------------------------------------------------------------------------------------- */

static struct tally *tally_of(enum service s, const char *action)
{
    for (size_t i = 0; i < n_tallies; i++)
        if (tallies[i].service == s && strcmp(tallies[i].action, action) == 0) return &tallies[i];
    if (n_tallies == ACTIONS_MAX) return &tallies[0];
    tallies[n_tallies] = (struct tally){.action = action, .service = s};
    return &tallies[n_tallies++];
}

static void count_call(struct licence *l, const struct request *r)
{
    for (uint32_t i = 0; i < l->n_counts; i++) {
        if (l->counts[i].service != r->service || strcmp(l->counts[i].action, r->action) != 0) continue;
        l->counts[i].n++;
        return;
    }
    l->counts = must_realloc(l->counts, (l->n_counts + 1) * sizeof(*l->counts));
    l->counts[l->n_counts++] = (struct call_count){r->action, (uint8_t)r->service, 1};
}

void books_call(struct world *w, const struct request *r, int64_t took_us)
{
    (void)w;
    int http = r->reply.end == REPLY_CLOSE ? 0 : r->reply.status;
    struct tally *t = tally_of(r->service, r->action);
    t->n++;
    t->errors += http == 0 || http >= 400;
    t->took_us += (uint64_t)took_us;
    struct licence *l = r->licence;
    if (!l) return;
    count_call(l, r);
    if (l->n_calls < CALLS_KEPT && (l->n_calls & (l->n_calls - 1)) == 0) {
        size_t cap = l->n_calls ? (size_t)l->n_calls * 2 : 1;
        l->calls = must_realloc(l->calls, cap * sizeof(*l->calls));
    }
    l->calls[l->n_calls++ % CALLS_KEPT] =
        (struct call_entry){r->now_ms, r->action, (uint8_t)r->service, (uint16_t)http};
}

void books_done(void)
{
    n_tallies = 0;
}

/* ---- keys ------------------------------------------------------------------------------------------------ */

static const char *status_text(int s)
{
    static const char *const text[] = {"Active", "Inactive", "Deleted"};
    return text[s];
}

static const char *actor_text(int a)
{
    static const char *const text[] = {"initial", "api", "stranger"};
    return text[a];
}

static const char *class_of(const struct licence *l, const struct key *k)
{
    if (k->status == KEY_DELETED) return "deleted";
    if (k == l->stored_key) return "current";
    if (k->stored_once) return "predecessor";
    return k->events[0].actor == ACTOR_API ? "orphan" : "unexplained";
}

static void write_key(struct buf *b, const struct licence *l, const struct key *k)
{
    buf_printf(b,
               "{\"id\":\"%s\",\"status\":\"%s\",\"class\":\"%s\",\"created_ms\":%lld,\"created_by\":\"%s\","
               "\"last_used_ms\":%lld,\"used_by_instance\":%s,\"history\":[",
               k->id, status_text(k->status), class_of(l, k), (long long)k->events[0].at_ms,
               actor_text(k->events[0].actor), (long long)k->last_used_ms, k->used_once ? "true" : "false");
    for (uint32_t i = 0; i < k->n_events; i++)
        buf_printf(b, "%s{\"at_ms\":%lld,\"status\":\"%s\",\"by\":\"%s\"}", i ? "," : "", (long long)k->events[i].at_ms,
                   status_text(k->events[i].status), actor_text(k->events[i].actor));
    buf_puts(b, "]}");
}

static void write_ids(struct buf *b, const struct licence *l, const char *name, const char *class)
{
    const char *comma = "";
    buf_printf(b, ",\"%s\":[", name);
    for (const struct key *k = l->user->keys; k; k = k->next) {
        if (strcmp(class_of(l, k), class) != 0) continue;
        buf_printf(b, "%s\"%s\"", comma, k->id);
        comma = ",";
    }
    buf_putc(b, ']');
}

static void write_licence(struct buf *b, const struct licence *l)
{
    buf_json(b, l->name);
    buf_printf(b, ":{\"account\":\"%s\",\"user\":", l->user->account->id);
    buf_json(b, l->user->name);
    buf_printf(b, ",\"bucket\":\"%s\",\"kind\":\"%s\",\"stored_key_id\":", l->bucket, l->kind);
    buf_json(b, l->stored.id);
    buf_printf(b, ",\"stored_pair_matches\":%s,\"keys\":[",
               l->stored_key && l->stored.secret && strcmp(l->stored.secret, l->stored_key->secret) == 0 ? "true"
                                                                                                         : "false");
    for (const struct key *k = l->user->keys; k; k = k->next) {
        write_key(b, l, k);
        if (k->next) buf_putc(b, ',');
    }
    buf_printf(b, "],\"creates\":%u,\"deletes\":%u,\"updates\":%u,\"writes\":%u,\"record_version\":%u", l->creates,
               l->deletes, l->updates, l->writes, l->record_version);
    buf_printf(b, ",\"uses\":%u,\"refused_uses\":%u,\"outages\":%u,\"presign_breaks\":%u,\"rotated\":%u", l->uses,
               l->refused, l->outages, l->presign_breaks, l->rotated);
    buf_printf(b, ",\"ever_accepted\":%s,\"failing\":%s", l->ever_accepted ? "true" : "false",
               l->failing ? "true" : "false");
    buf_puts(b, ",\"stored_history\":[");
    for (uint32_t i = 0; i < l->n_held; i++) {
        if (i) buf_putc(b, ',');
        buf_json(b, l->held[i]);
    }
    buf_putc(b, ']');
    write_ids(b, l, "orphan_keys", "orphan");
    write_ids(b, l, "predecessor_keys", "predecessor");
    write_ids(b, l, "unexplained_keys", "unexplained");
    buf_putc(b, '}');
}

/* ---- totals ---------------------------------------------------------------------------------------------- */

struct scan {
    size_t keys, active, inactive, current, predecessor, orphan, unexplained;
    size_t accepted, failing, rotated, never_accepted, outage, presign, over_two;
};

static void scan_licence(struct scan *s, const struct licence *l)
{
    size_t mine = 0;
    for (const struct key *k = l->user->keys; k; k = k->next) {
        if (k->status == KEY_DELETED) continue;
        const char *class = class_of(l, k);
        mine++;
        s->active += k->status == KEY_ACTIVE;
        s->inactive += k->status == KEY_INACTIVE;
        s->current += *class == 'c';
        s->predecessor += *class == 'p';
        s->orphan += *class == 'o';
        s->unexplained += *class == 'u';
    }
    s->keys += mine;
    s->over_two += mine > 2;
    s->accepted += l->ever_accepted && !l->failing;
    s->failing += l->failing;
    s->never_accepted += !l->ever_accepted;
    s->rotated += l->rotated > 0;
    s->outage += l->outages > 0;
    s->presign += l->presign_breaks > 0;
}

void books_summary(struct world *w, struct buf *out)
{
    struct scan s = {0};
    for (size_t i = 0; i < w->n_licences; i++) scan_licence(&s, w->licences[i]);
    const struct totals *t = &w->totals;
    const struct {
        const char *name;
        long long value;
    } rows[] = {
        {"licences", (long long)w->n_licences},
        {"accounts", (long long)w->n_accounts},
        {"creates", (long long)t->creates},
        {"deletes", (long long)t->deletes},
        {"updates", (long long)t->updates},
        {"writes", (long long)t->writes},
        {"rotated", (long long)t->rotated},
        {"rotated_licences", (long long)s.rotated},
        {"outages", (long long)t->outages},
        {"outage_licences", (long long)s.outage},
        {"outage_ms", (long long)t->outage_ms},
        {"uses", (long long)t->uses},
        {"refused_uses", (long long)t->refused_uses},
        {"presign_breaks", (long long)t->presign_breaks},
        {"presign_break_licences", (long long)s.presign},
        {"throttled", (long long)t->throttled},
        {"keys", (long long)s.keys},
        {"active_keys", (long long)s.active},
        {"inactive_keys", (long long)s.inactive},
        {"current_keys", (long long)s.current},
        {"predecessor_keys", (long long)s.predecessor},
        {"orphan_keys", (long long)s.orphan},
        {"unexplained_keys", (long long)s.unexplained},
        {"users_over_two_keys", (long long)s.over_two},
        {"instances_ok", (long long)s.accepted},
        {"instances_failing", (long long)s.failing},
        {"instances_never_accepted", (long long)s.never_accepted},
    };
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++)
        buf_printf(out, "%s\"%s\":%lld", i ? "," : "{", rows[i].name, rows[i].value);
    buf_putc(out, '}');
}

bool books_write(struct world *w, struct buf *out, const char *licence)
{
    const struct licence *one = licence ? world_licence(w, licence) : NULL;
    if (licence && !one) return false;
    buf_puts(out, "{\"licences\":{");
    if (one) write_licence(out, one);
    for (size_t i = 0; i < w->n_licences && !one; i++) {
        if (i) buf_puts(out, ",\n");
        write_licence(out, w->licences[i]);
    }
    buf_puts(out, "},\"totals\":");
    books_summary(w, out);
    buf_puts(out, "}\n");
    return true;
}

/* ---- requests, secrets, stats ---------------------------------------------------------------------------- */

bool books_requests(struct world *w, struct buf *out, const char *licence)
{
    const struct licence *l = licence ? world_licence(w, licence) : NULL;
    if (licence && !l) return false;
    buf_puts(out, "{\"counts\":{");
    for (uint32_t i = 0; l && i < l->n_counts; i++)
        buf_printf(out, "%s\"%s.%s\":%u", i ? "," : "", service_name(l->counts[i].service), l->counts[i].action,
                   l->counts[i].n);
    const char *comma = "";
    for (size_t i = 0; !l && i < n_tallies; i++) {
        if (tallies[i].service == SVC_CONTROL) continue;
        buf_printf(out, "%s\"%s.%s\":%llu", comma, service_name(tallies[i].service), tallies[i].action,
                   (unsigned long long)tallies[i].n);
        comma = ",";
    }
    buf_puts(out, "},\"log\":[");
    uint32_t n = l ? l->n_calls : 0, from = n > CALLS_KEPT ? n - CALLS_KEPT : 0;
    for (uint32_t i = from; i < n; i++) {
        const struct call_entry *c = &l->calls[i % CALLS_KEPT];
        buf_printf(out, "%s{\"at_ms\":%lld,\"service\":\"%s\",\"action\":\"%s\",\"http\":%u}", i > from ? "," : "",
                   (long long)c->at_ms, service_name(c->service), c->action, c->http);
    }
    buf_puts(out, "]}\n");
    return true;
}

void books_secrets(struct world *w, struct buf *out)
{
    buf_puts(out, "{\"keys\":[");
    for (size_t i = 0; i < w->n_keys; i++) {
        const struct key *k = w->all_keys[i];
        buf_printf(out, "%s{\"access_key_id\":\"%s\",\"secret\":\"%s\",\"user\":", i ? ",\n" : "", k->id, k->secret);
        buf_json(out, k->user ? k->user->name : NULL);
        buf_puts(out, ",\"session_token\":");
        buf_json(out, k->session ? k->session->token : NULL);
        buf_putc(out, '}');
    }
    buf_puts(out, "],\n\"passwords\":[");
    for (size_t i = 0; i < w->n_licences; i++) buf_printf(out, "%s\"%s\"", i ? "," : "", w->licences[i]->password);
    buf_puts(out, "]}\n");
}

static double seconds_of(const struct timeval *t)
{
    return (double)t->tv_sec + (double)t->tv_usec / 1e6;
}

void books_stats(struct world *w, struct buf *out)
{
    struct rusage use;
    uint64_t n[SVC_COUNT] = {0}, errors[SVC_COUNT] = {0}, us[SVC_COUNT] = {0};
    (void)getrusage(RUSAGE_SELF, &use);
    for (size_t i = 0; i < n_tallies; i++) {
        n[tallies[i].service] += tallies[i].n;
        errors[tallies[i].service] += tallies[i].errors;
        us[tallies[i].service] += tallies[i].took_us;
    }
    double up = (double)(world_now_ms(w) - w->started_ms) / 1000;
    buf_printf(out, "{\"uptime_s\":%.3f,\"cpu_user_s\":%.6f,\"cpu_system_s\":%.6f,\"max_rss_kib\":%ld,\"classes\":{",
               up, seconds_of(&use.ru_utime), seconds_of(&use.ru_stime), use.ru_maxrss);
    for (int s = 0; s < SVC_COUNT; s++)
        buf_printf(out, "%s\"%s\":{\"requests\":%llu,\"errors\":%llu,\"per_s\":%.1f,\"mean_us\":%.1f}", s ? "," : "",
                   service_name(s), (unsigned long long)n[s], (unsigned long long)errors[s],
                   up > 0 ? (double)n[s] / up : 0, n[s] ? (double)us[s] / (double)n[s] : 0);
    buf_puts(out, "},\"actions\":{");
    for (size_t i = 0; i < n_tallies; i++)
        buf_printf(out, "%s\"%s.%s\":{\"requests\":%llu,\"errors\":%llu}", i ? "," : "",
                   service_name(tallies[i].service), tallies[i].action, (unsigned long long)tallies[i].n,
                   (unsigned long long)tallies[i].errors);
    buf_puts(out, "}}\n");
}
