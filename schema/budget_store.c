/* One script call per reservation (budget_store.h). */
#include "schema/budget_store.h"

#include "lib/err.h"
#include "schema/lua.h" /* generated */

#include <stdio.h>
#include <string.h>

#define HOUR_MS    INT64_C(3600000)
#define MOST_PER_S INT64_C(1000000)

static const struct redis_script script_take = {"budget_take", lua_budget_take};

static int64_t number(const struct redis_value *v, size_t i)
{
    const struct redis_value *item = redis_item(v, i);
    return item && item->type == REDIS_INTEGER ? item->integer : -1;
}

/* The script's own bounds, with room to spare: what is beyond them was not computed by it on what it wrote, and would
 * make a worker spin or wait for ever. Counted in what the reply counts in. */
static bool is_sane(const struct redis_value *v)
{
    static const int64_t most[] = {INT64_MAX, BUDGET_SLOTS_MAX, HOUR_MS * 1000,    HOUR_MS * 1000,
                                   HOUR_MS,   HOUR_MS,          MOST_PER_S * 1000, MOST_PER_S * 1000};
    if (v->type != REDIS_ARRAY || v->count < ARRAY_LEN(most)) return false;
    for (size_t i = 0; i < ARRAY_LEN(most); i++)
        if (number(v, i) < 0 || number(v, i) > most[i]) return false;
    return true;
}

static void read_grant(const struct redis_value *v, struct budget_grant *g)
{
    if (!is_sane(v)) {
        g->err = ERR_NET_BAD_REPLY;
        return;
    }
    *g = (struct budget_grant){.epoch = number(v, 0),
                               .n = (unsigned)number(v, 1),
                               .first_ms = (double)number(v, 2) / 1000,
                               .interval_ms = (double)number(v, 3) / 1000,
                               .valid_ms = number(v, 4),
                               .wait_ms = number(v, 5),
                               .rate_per_s = (double)number(v, 6) / 1000,
                               .base_per_s = (double)number(v, 7) / 1000};
}

static void on_reply(void *self, uint64_t id, const void *result)
{
    struct ticket *t = self, mine = *t;
    const struct redis_reply *r = result;
    struct budget_grant g = {.err = r->err};
    (void)id;
    free(t);
    if (!r->err) read_grant(r->value, &g);
    ticket_complete(mine, &g);
}

void budget_store_name(const char *account, enum aws_family f, char out[BUDGET_NAME_MAX])
{
    snprintf(out, BUDGET_NAME_MAX, "budget:%s:%s", account, aws_family_name(f));
}

static int take(void *self, const char *account, enum aws_family f, const struct budget_ask *ask, struct ticket t)
{
    struct budget_store *b = self;
    char name[BUDGET_NAME_MAX], key[STORE_KEY_MAX], v[7][32];
    struct redis_arg args[9];
    budget_store_name(account, f, name);
    store_key(b->store, NULL, name, key);
    snprintf(v[0], sizeof v[0], "%u", ask->n);
    snprintf(v[1], sizeof v[1], "%u", ask->throttled);
    snprintf(v[2], sizeof v[2], "%lld", (long long)ask->epoch);
    double times = f == AWS_FAMILY_STS ? BUDGET_STS_TIMES : 1;
    snprintf(v[3], sizeof v[3], "%.3f", b->start_per_s * times);
    snprintf(v[4], sizeof v[4], "%.3f", b->share);
    snprintf(v[5], sizeof v[5], "%.3f", b->most_per_s * times);
    snprintf(v[6], sizeof v[6], "%u", ask->dropped);
    const char *const words[9] = {key, v[0], ask->emergency ? "1" : "0", v[1], v[2], v[3], v[4], v[5], v[6]};
    for (size_t i = 0; i < ARRAY_LEN(words); i++) args[i] = (struct redis_arg){words[i], strlen(words[i])};
    struct ticket *mine = malloc(sizeof *mine);
    if (!mine) return ERR_NOMEM;
    *mine = t;
    const struct redis_port *p = &b->store->redis;
    int rc = p->eval(p->self, &script_take, 1, ARRAY_LEN(args), args, (struct ticket){on_reply, mine, 0});
    if (rc < 0) free(mine);
    return rc;
}

struct aws_budget_port budget_store_port(struct budget_store *b)
{
    return (struct aws_budget_port){.self = b, .take = take};
}
