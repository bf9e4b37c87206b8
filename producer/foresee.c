/* The forecast for the commands (foresee.h). Fleets are read in batches and each licence is added at once, so that a
 * hundred thousand of them need no more memory than their items. */
#include "producer/foresee.h"

#include "lib/err.h"
#include "producer/table.h"
#include "schema/options.h"
#include "schema/policy_file.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define DAY_MS 86400000LL

const char *foresee_read(const char *at, const char *days, struct foresee *ret)
{
    int64_t day;
    *ret = (struct foresee){.at_ms = clock_wall_ms(&clock_system)};
    if (at && policy_date_parse(at, &day))
        ret->at_ms = day * DAY_MS;
    else if (at)
        ret->at_ms = time_parse(at);
    if (ret->at_ms == TIME_NONE || ret->at_ms < 0)
        return "--at: write a time like 2026-12-24T18:00:00Z, or a date like 2026-12-24 (its midnight in UTC)";
    if (!days) return NULL;
    char *end;
    unsigned long n = strtoul(days, &end, 10);
    if (*end || days[0] < '0' || days[0] > '9' || n < 1 || n > 400) return "--days: write a number from 1 to 400";
    ret->days = (unsigned)n;
    return NULL;
}

void foresee_done(struct foresee *f)
{
    forecast_free(f->forecast);
    *f = (struct foresee){0};
}

int foresee_peek(struct client *c, const struct inventory_row *const *rows, size_t n, foresee_each *fn, void *arg)
{
    AUTO_FREE char(*keys)[IDENTITY_KEY_MAX] = calloc(STORE_PEEK_MAX, sizeof *keys);
    AUTO_FREE struct store_peek *peeks = calloc(STORE_PEEK_MAX, sizeof *peeks);
    if (!keys || !peeks) return client_fail(c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    int rc = 0;
    for (size_t at = 0; rc == 0 && at < n; at += STORE_PEEK_MAX) {
        const char *list[STORE_PEEK_MAX];
        size_t batch = n - at < STORE_PEEK_MAX ? n - at : STORE_PEEK_MAX;
        for (size_t i = 0; i < batch; i++) {
            if (identity_key(rows[at + i]->account, rows[at + i]->user, keys[i]) < 0)
                return client_fail(c, ERR_INVALID, "%s: account or user is not valid", rows[at + i]->licence);
            list[i] = keys[i];
        }
        rc = client_peek(c, list, batch, peeks);
        for (size_t i = 0; rc == 0 && i < batch; i++) rc = fn(arg, at + i, rows[at + i], &peeks[i]);
    }
    return rc;
}

struct adding {
    struct foresee *f;
    struct policies *p;
};

static int add(void *arg, size_t i, const struct inventory_row *row, const struct store_peek *u)
{
    struct adding *a = arg;
    struct policy policy;
    bool foreseen = false;
    (void)i;
    a->f->licences++;
    if (u->err) {
        a->f->unreadable++;
        return 0;
    }
    policies_for(a->p, row, &policy);
    int rc = forecast_add(a->f->forecast, &policy, row->licence, u, &foreseen);
    a->f->unforeseen += !foreseen;
    return rc;
}

int foresee_run(struct client *c, struct policies *p, const struct inventory_row *const *rows, size_t n,
                struct foresee *f)
{
    int64_t now = clock_wall_ms(&clock_system), from = f->at_ms > now ? now : f->at_ms;
    f->skip = (size_t)(f->at_ms / DAY_MS - from / DAY_MS);
    if (f->skip + f->days > 400)
        return client_fail(c, ERR_INVALID, "--at: no more than 400 days ahead, --days included");
    const struct forecast_options fo = {from, (unsigned)f->skip + f->days, c->o->max_rotations_per_hour,
                                        c->o->overlap_ms, c->o->quarantine_ms};
    struct adding a = {f, p};
    f->forecast = forecast_new(&fo);
    if (!f->forecast) return client_fail(c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    int rc = foresee_peek(c, rows, n, add, &a);
    return rc < 0 ? rc : forecast_run(f->forecast);
}

/* From the day of at_ms on; the last one is cut when the first is. */
static const struct forecast_day *shown_days(const struct foresee *f, size_t *ret_n)
{
    size_t n;
    const struct forecast_day *days = forecast_days(f->forecast, &n);
    size_t most = (size_t)((f->at_ms + f->days * DAY_MS - 1) / DAY_MS - f->at_ms / DAY_MS + 1);
    *ret_n = n - f->skip < most ? n - f->skip : most;
    return days + f->skip;
}

void foresee_print(const struct foresee *f, const struct options *o)
{
    static const char *const heads[] = {"DAY (UTC)", "ROTATE", "RETIRE", "REAP", "WAITING", "OLDEST KEY"};
    AUTO_TABLE struct table t;
    size_t n;
    const struct forecast_day *days = shown_days(f, &n);
    table_init(&t, heads, ARRAY_LEN(heads));
    for (size_t i = 0; i < n; i++) {
        char day[11], age[TABLE_TIME_MAX] = "-";
        policy_date_format(days[i].begin_ms / DAY_MS, day);
        if (days[i].oldest_created_ms != TIME_NONE)
            table_span(days[i].begin_ms + DAY_MS - days[i].oldest_created_ms, age);
        table_add(&t, day);
        table_addf(&t, "%zu", days[i].rotate);
        table_addf(&t, "%zu", days[i].retire);
        table_addf(&t, "%zu", days[i].reap);
        table_addf(&t, "%zu", days[i].waiting);
        table_add(&t, age);
    }
    table_print(&t, stdout);
    printf("%zu licences, at most %" PRId64 " rotations per hour", f->licences, o->max_rotations_per_hour);
    if (f->unforeseen)
        printf("; %zu not foreseen: never looked at, in the middle of something, a person is waited for, or no policy",
               f->unforeseen);
    if (f->unreadable) printf("; %zu records cannot be read", f->unreadable);
    printf("%s\n", o->mode == OPTIONS_OBSERVE ? "; mode = observe: nothing of this happens before mode = rotate" : "");
}

json_t *foresee_json(const struct foresee *f)
{
    size_t n;
    const struct forecast_day *days = shown_days(f, &n);
    json_t *list = json_array();
    for (size_t i = 0; i < n; i++) {
        char day[11];
        policy_date_format(days[i].begin_ms / DAY_MS, day);
        json_t *o = json_pack("{s:s, s:I, s:I, s:I, s:I}", "day", day, "rotate", (json_int_t)days[i].rotate, "retire",
                              (json_int_t)days[i].retire, "reap", (json_int_t)days[i].reap, "waiting",
                              (json_int_t)days[i].waiting);
        if (o && days[i].oldest_created_ms != TIME_NONE)
            json_object_set_new(o, "oldest_created_ms", json_integer(days[i].oldest_created_ms));
        json_array_append_new(list, o);
    }
    return list;
}

int foresee_print_json(const struct foresee *f)
{
    AUTO_JSON json_t *root = json_pack("{s:I, s:I, s:I, s:I, s:o}", "at_ms", (json_int_t)f->at_ms, "licences",
                                       (json_int_t)f->licences, "unforeseen", (json_int_t)f->unforeseen, "unreadable",
                                       (json_int_t)f->unreadable, "days", foresee_json(f));
    AUTO_FREE char *text = root ? json_dumps(root, JSON_INDENT(2)) : NULL;
    if (!text) return ERR_NOMEM;
    puts(text);
    return 0;
}
