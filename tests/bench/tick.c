/* The scheduler's tick over a large fleet on a real Redis: what one survey costs in CPU and memory.
 *
 * tick COUNT: fills a private redis-server with COUNT licences over 20 accounts, a tenth of each in every state that
 * matters, three policies and five zones, the keys topic's states in memory as the scheduler holds them, and half of
 * the keys due. Prints one line per figure: NAME VALUE. Its own CPU counts, not Redis's. */
#include "lib/err.h"
#include "producer/dispatch.h"
#include "producer/forecast.h"
#include "producer/survey.h"
#include "schema/options.h"
#include "tests/unit/redis_process.h"
#include "tests/bench/fleet.h"

#include <inttypes.h>
#include <sys/resource.h>
#include <time.h>

#define DAY      86400000LL
#define ACCOUNTS 20
#define PENDING  2000

struct bench {
    struct options o;
    struct loop *loop;
    struct redis *redis;
    struct store store;
    struct inventory *inv;
    struct policies *policies;
    struct states states;
    struct survey *survey;
    size_t count, next, pending;
    int ready, filled, surveyed;
    int64_t now_ms;
    struct survey_result result;
};

static _Noreturn void die(const char *what, int rc)
{
    fprintf(stderr, "tick: %s: %s\n", what, err_text(rc));
    exit(1);
}

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double resident_mib(void)
{
    FILE *f = fopen("/proc/self/statm", "r");
    long pages = 0;
    if (!f || fscanf(f, "%*s %ld", &pages) != 1) die("/proc/self/statm", ERR_IO);
    fclose(f);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / (1 << 20);
}

/* ---- the fleet ---- */

static void make_row(const struct bench *b, size_t i, struct inventory_row *row, char text[6][96])
{
    static const char *const zones[] = {"Europe/London", "Europe/Berlin", "America/New_York", "Australia/Sydney", ""};
    static const char *const names[] = {"", "weekend", "nights"};
    (void)b;
    bench_row(i, ACCOUNTS, row, text);
    snprintf(text[4], 96, "http://127.0.0.1:9/L%06zu", i);
    row->time_zone = zones[i % ARRAY_LEN(zones)];
    row->policy = names[i % ARRAY_LEN(names)];
}

static void make_record(const struct bench *b, size_t i, const struct inventory_row *row, struct record *r)
{
    record_init(r, row->licence, row->account, row->user);
    struct record_key *k = record_add(r, "AKIAIOSFODNN7EXAMPLE");
    k->role = KEY_CURRENT;
    k->status = AWS_KEY_ACTIVE;
    k->listed = true;
    k->rotation = b->now_ms - 50 * DAY;
    k->created_ms = b->now_ms - (int64_t)(i % 2 ? 100 : 20) * DAY - (int64_t)i;
    k->seen_ms = k->offered_ms = b->now_ms - 3600000;
    if (i % 10 == 3) {
        struct record_key *old = record_add(r, "AKIAI44QH8DHBEXAMPLE");
        old->role = KEY_REPLACED;
        old->status = AWS_KEY_INACTIVE;
        old->listed = true;
        snprintf(old->replaced_by, sizeof old->replaced_by, "%s", r->keys[0].id);
        old->rotation = k->rotation;
        old->created_ms = old->replaced_ms = old->inactive_ms = b->now_ms - 3 * DAY;
        old->next = KEY_NEXT_REAP;
        old->next_ms = b->now_ms + 4 * DAY;
    }
    record_settle(r);
    r->rotation = k->rotation;
    r->rotated_ms = k->created_ms;
    r->audited_ms = r->updated_ms = b->now_ms - 3600000;
    r->number = b->now_ms;
    if (i % 100 == 7) {
        r->state = RECORD_AWAITING;
        snprintf(r->reason, sizeof r->reason, "two keys that nobody knows: see keyroll audit");
    }
}

static void fill(struct bench *b);

static void on_put(void *self, uint64_t id, const void *result)
{
    struct bench *b = self;
    const struct store_reply *r = result;
    (void)id;
    if (r->err) die("filling Redis", r->err);
    b->pending--;
    fill(b);
    b->filled = !b->pending;
}

static void keep_state(struct bench *b, const char *key, const struct record *r)
{
    AUTO_BUF struct buf text;
    buf_init(&text, 65536);
    (void)buf_adds(&text, "{\"version\":\"keyroll.state/1\",\"record\":");
    (void)!record_encode(r, &text);
    (void)buf_adds(&text, ",\"journal\":null,\"exposed\":[]}");
    int rc = states_take(&b->states, key, buf_str(&text), text.len);
    if (rc < 0) die("states", rc);
}

static void fill(struct bench *b)
{
    for (; b->next < b->count && b->pending < PENDING; b->next++) {
        const struct inventory_row *row = inventory_row(b->inv, b->next);
        char key[IDENTITY_KEY_MAX];
        struct record r;
        make_record(b, b->next, row, &r);
        int rc = identity_key(row->account, row->user, key);
        if (rc == 0) rc = store_restore(&b->store, key, &r, NULL, NULL, 0, (struct ticket){on_put, b, 0});
        if (rc < 0) die("filling Redis", rc);
        keep_state(b, key, &r);
        b->pending++;
    }
}

/* ---- set-up ---- */

static void redis_changed(void *arg, enum redis_state s, const struct redis_server *server, int err)
{
    struct bench *b = arg;
    (void)server;
    if (s != REDIS_READY && err) die("Redis", err);
    b->ready = s == REDIS_READY;
}

static void make_inventory(struct bench *b)
{
    b->inv = inventory_new(&b->o, NULL, NULL);
    for (size_t i = 0; i < b->count; i++) {
        struct inventory_row row;
        char text[6][96];
        make_row(b, i, &row, text);
        int rc = b->inv ? inventory_add(b->inv, &row) : ERR_NOMEM;
        if (rc < 0) die("inventory", rc);
    }
    int rc = inventory_seal(b->inv);
    if (rc < 0 || inventory_count(b->inv) != b->count) die("inventory", rc < 0 ? rc : ERR_INVALID);
}

static void make_policies(struct bench *b, const char *dir)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/policy.json", dir);
    FILE *f = fopen(path, "w");
    if (!f) die(path, ERR_IO);
    fputs("{\"version\":\"keyroll.policy/1\",\"policies\":{\"default\":{},"
          "\"weekend\":{\"windows\":[{\"days\":[\"sat\",\"sun\"],\"from\":\"00:00\",\"to\":\"06:00\"}]},"
          "\"nights\":{\"windows\":[{\"from\":\"23:00\",\"to\":\"05:00\"}]}}}",
          f);
    fclose(f);
    int rc = policies_new(&b->o, path, NULL, NULL, &b->policies);
    if (rc < 0) die("policies", rc);
}

static void surveyed(void *arg, const struct survey_result *r)
{
    struct bench *b = arg;
    if (r->err) die("survey", r->err);
    b->result = *r;
    b->surveyed = 1;
}

/* ---- the figures ---- */

static int64_t wall(void *self)
{
    return ((struct bench *)self)->now_ms;
}

static void run_survey(struct bench *b, const char *what)
{
    double before = cpu_s();
    b->surveyed = 0;
    int rc = survey_begin(b->survey, b->inv);
    if (rc < 0) die("survey", rc);
    loop_run_until(b->loop, &b->surveyed);
    printf("%s_cpu_s %.3f\n", what, cpu_s() - before);
    printf("%s_due %zu\n%s_waiting %zu\n", what, b->result.n_items, what, b->result.waiting);
}

static int forecast_one(struct bench *b, struct forecast *f, size_t i)
{
    const struct inventory_row *row = inventory_row(b->inv, i);
    static struct store_peek u;
    struct policy p;
    memset(&u, 0, sizeof u);
    u.lease_ms = -2;
    u.has_record = true;
    make_record(b, i, row, &u.record);
    policies_for(b->policies, row, &p);
    return forecast_add(f, &p, row->licence, &u, NULL);
}

static void run_forecast(struct bench *b)
{
    double before = cpu_s();
    const struct forecast_options fo = {b->now_ms, 30, 500, 25 * 3600000LL, 7 * DAY};
    AUTO_FORECAST struct forecast *f = forecast_new(&fo);
    int rc = f ? 0 : ERR_NOMEM;
    for (size_t i = 0; rc == 0 && i < b->count; i++) rc = forecast_one(b, f, i);
    if (rc == 0) rc = forecast_run(f);
    if (rc < 0) die("forecast", rc);
    printf("forecast_cpu_s %.3f\n", cpu_s() - before);
}

int main(int argc, char **argv)
{
    struct bench b = {.count = argc > 1 ? (size_t)strtoull(argv[1], NULL, 10) : 100000};
    struct redis_process server;
    char no_file[] = "--config=", *words[] = {argv[0], no_file, NULL}, *env[] = {NULL};
    int n = 2;
    AUTO_FREE char *why = NULL;
    int rc = options_load(&b.o, OPTIONS_ALL, &n, words, env, &why);
    if (rc < 0) die(why ? why : "options", rc);
    b.o.mode = OPTIONS_ROTATE;
    b.now_ms = 1795608000000LL; /* Wednesday 2026-11-25, noon in UTC */
    if (redis_process_start(&server, NULL) < 0) die("redis-server", ERR_IO);
    b.loop = loop_new();
    const struct redis_options ro = {.url = server.url, .on_state = redis_changed, .arg = &b};
    rc = b.loop ? redis_new(b.loop, &ro, &b.redis) : ERR_NOMEM;
    if (rc < 0) die("Redis", rc);
    loop_run_until(b.loop, &b.ready);
    store_init(&b.store, redis_port(b.redis), &rng_system, "kr:", 15000);
    make_inventory(&b);
    make_policies(&b, server.dir);
    fill(&b);
    loop_run_until(b.loop, &b.filled);
    const struct clock clock = {&b, wall, wall};
    const struct survey_options so = {
        .store = &b.store, .policies = &b.policies, .states = &b.states, .clock = &clock, .done = surveyed, .arg = &b};
    b.survey = survey_new(&so);
    if (!b.survey) die("survey", ERR_NOMEM);
    run_survey(&b, "first_tick");
    run_survey(&b, "tick");
    printf("resident_mib %.1f\n", resident_mib());
    run_forecast(&b);
    fflush(stdout); /* the child that ends the server has a copy of what is not written yet */
    redis_free(b.redis);
    survey_free(b.survey);
    policies_free(b.policies);
    states_done(&b.states);
    inventory_free(b.inv);
    loop_free(b.loop);
    options_done(&b.o);
    redis_process_stop(&server);
    return 0;
}
