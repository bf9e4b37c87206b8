/* How fast the scheduler publishes: what a survey of COUNT due licences gives goes through the real dispatch and
 * producer to a real broker, delivery reports and log lines included.
 *
 * publish BROKERS TOPIC COUNT [bare]: prints NAME VALUE. Its own CPU counts: librdkafka's threads included, the
 * broker's not. bare: as many bytes straight to librdkafka, which tells what broker and machine bear. */
#include "lib/err.h"
#include "lib/log.h"
#include "producer/dispatch.h"
#include "schema/options.h"
#include "tests/bench/fleet.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define ACCOUNTS 20

struct bench {
    struct dispatch *d;
    size_t count, reported;
    int done;
};

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static _Noreturn void die(const char *what, int rc)
{
    fprintf(stderr, "publish: %s: %s\n", what, err_text(rc));
    exit(1);
}

static void reported(void *arg, const struct dispatch_sent *j, int err, const char *detail)
{
    struct bench *b = arg;
    if (err) die(detail, err);
    LOG(LOG_LEVEL_INFO, "published", job_kind_name(j->kind), LOG_S("keyroll.licence", j->licence),
        LOG_S("keyroll.job_id", j->job_id), LOG_S("keyroll.key_id", j->key_id));
    b->done = ++b->reported == b->count;
}

static void make(size_t i, char text[6][96], struct inventory_row *row, struct survey_due *due)
{
    bench_row(i, ACCOUNTS, row, text);
    *due = (struct survey_due){
        .row = row, .verdict = {.rank = POLICY_ROTATE, .kind = JOB_ROTATE, .reason = JOB_SCHEDULED}, .signature = i};
    snprintf(due->verdict.replace_key_id, sizeof due->verdict.replace_key_id, "AKIA%016zu", i);
}

static void warm(void *self, uint64_t id, const void *result)
{
    const struct kafka_report *r = result;
    (void)id;
    if (r->err) die("first message", r->err);
    *(int *)self = 1;
}

/* ---- bare ---- */

struct bare {
    struct loop_timer *again;
    struct kafka_port port;
    const char *topic;
    char value[640];
    struct kafka_header headers[4];
    size_t count, given, reported;
    int done;
};

static void on_bare(void *self, uint64_t id, const void *result)
{
    struct bare *b = self;
    const struct kafka_report *r = result;
    (void)id;
    if (r->err) die("bare", r->err);
    b->done = ++b->reported == b->count;
}

static void give(void *arg)
{
    struct bare *b = arg;
    for (int n = 0; n < 500 && b->given < b->count; n++) {
        char key[64];
        int len = snprintf(key, sizeof key, "%012zu/synergistexpress-l%06zu", b->given % ACCOUNTS, b->given);
        const struct kafka_message_out m = {b->topic,        key,        (size_t)len,          b->value,
                                            sizeof b->value, b->headers, ARRAY_LEN(b->headers)};
        if (b->port.produce(b->port.self, &m, (struct ticket){on_bare, b, 0}) < 0) break; /* full: a little later */
        b->given++;
    }
    if (b->given < b->count) loop_timer_start(b->again, 0);
}

static void run_bare(struct loop *l, struct bare *b)
{
    memset(b->value, 'x', sizeof b->value);
    for (size_t i = 0; i < ARRAY_LEN(b->headers); i++)
        b->headers[i] = (struct kafka_header){"header", "0123456789abcdef0123456789abcdef", 32};
    b->again = loop_timer_new(l, give, b);
    if (!b->again) die("memory", ERR_NOMEM);
    give(b);
    loop_run_until(l, &b->done);
    loop_timer_free(b->again);
}

int main(int argc, char **argv)
{
    if (argc < 4) return 2;
    struct bench b = {.count = (size_t)strtoull(argv[3], NULL, 10)};
    struct options o = {
        .tick_ms = 30000, .max_rotations_per_hour = 1000000000, .topic_jobs = argv[2], .topic_urgent = argv[2]};
    struct loop *loop = loop_new();
    struct kafka_out *out;
    AUTO_FREE char *why = NULL;
    char(*text)[6][96] = calloc(b.count, sizeof *text);
    struct inventory_row *rows = calloc(b.count, sizeof *rows);
    struct survey_due *due = calloc(b.count, sizeof *due);
    if (!loop || !text || !rows || !due) die("memory", ERR_NOMEM);
    for (size_t i = 0; i < b.count; i++) make(i, text[i], &rows[i], &due[i]);
    const struct kafka_out_options ko = {.brokers = argv[1], .client_id = "bench", .delivery_timeout_ms = 60000};
    int rc = kafka_out_new(loop, &ko, &out, &why), there = 0;
    if (rc < 0) die(why ? why : "Kafka", rc);
    const struct kafka_message_out first = {.topic = argv[2], .key = "", .value = "{}", .value_len = 2};
    struct kafka_port port = kafka_out_port(out);
    if ((rc = port.produce(port.self, &first, (struct ticket){warm, &there, 0})) < 0) die("first message", rc);
    loop_run_until(loop, &there);
    const struct dispatch_options d = {loop, port, &o, &clock_system, "bench", reported, NULL, &b};
    if (!(b.d = dispatch_new(&d))) die("dispatch", ERR_NOMEM);
    double cpu = cpu_s();
    int64_t began = clock_mono_ms(&clock_system);
    if (argc > 4) {
        struct bare bare = {.port = port, .topic = argv[2], .count = b.count};
        run_bare(loop, &bare);
    } else {
        dispatch_list(b.d, due, b.count);
        loop_run_until(loop, &b.done);
    }
    int64_t took_ms = clock_mono_ms(&clock_system) - began;
    printf("wall_s %.3f\ncpu_s %.3f\nper_s %.0f\n", (double)took_ms / 1000, cpu_s() - cpu,
           (double)b.count * 1000 / (double)(took_ms ? took_ms : 1));
    fflush(stdout);
    kafka_out_free(out, 1000);
    dispatch_free(b.d);
    loop_free(loop);
    free(text);
    free(rows);
    free(due);
    return 0;
}
