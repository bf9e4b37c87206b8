/* The look at the whole fleet over a Redis edge that has lost everything: what the keys topic knows is put back before
 * anything is judged, also when that cannot begin at once. */
#include "lib/err.h"
#include "producer/survey.h"
#include "schema/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define USER "123456789012/synergistexpress-acme"

static struct {
    struct ticket peek, restore;
    int restores, refuse; /* what the next restore answers at once */
} edge;

static int eval(void *self, const struct redis_script *script, size_t n_keys, size_t n_args,
                const struct redis_arg *args, struct ticket t)
{
    (void)self, (void)n_keys, (void)n_args, (void)args;
    if (strcmp(script->name, "peek") == 0) {
        edge.peek = t;
        return 0;
    }
    assert_string_equal(script->name, "restore");
    edge.restores++;
    edge.restore = t;
    return edge.refuse;
}

/* One user, of whom Redis holds nothing. */
static void answer_peek(void)
{
    static const struct redis_value gone = {.type = REDIS_INTEGER, .integer = -2}, nil = {.type = REDIS_NIL},
                                    none = {.type = REDIS_ARRAY};
    static const struct redis_value *const user[] = {&gone, &nil, &nil, &nil, &nil, &nil, &nil, &nil, &none};
    static const struct redis_value one = {.type = REDIS_ARRAY, .count = ARRAY_LEN(user), .items = user};
    static const struct redis_value *const users[] = {&one};
    static const struct redis_value all = {.type = REDIS_ARRAY, .count = 1, .items = users};
    ticket_complete(edge.peek, &(const struct redis_reply){0, &all});
}

static struct {
    int calls, err;
    size_t items, restored, unknown;
} result;

static void on_done(void *arg, const struct survey_result *r)
{
    (void)arg;
    result.calls++;
    result.err = r->err;
    result.items = r->n_items;
    result.restored = r->restored;
    result.unknown = r->unknown;
}

static void remember(struct states *s)
{
    struct record r;
    AUTO_BUF struct buf text;
    buf_init(&text, 65536);
    record_init(&r, "acme", "123456789012", "SynergistExpress-acme");
    r.number = r.rotation = 7;
    assert_int_equal(buf_adds(&text, "{\"version\":\"keyroll.state/1\",\"record\":"), 0);
    assert_int_equal(record_encode(&r, &text), 0);
    assert_int_equal(buf_adds(&text, ",\"journal\":null,\"exposed\":[]}"), 0);
    assert_int_equal(states_take(s, USER, text.data, text.len), 0);
}

static void nothing_is_judged_that_is_to_be_put_back(void **state)
{
    (void)state;
    static const char csv[] =
        "licence,account,bucket,instance_url\nacme,123456789012,synergist-acme,https://a.example/\n";
    char *argv[] = {(char[]){"x"}, (char[]){"--config=/dev/null"}, NULL};
    AUTO_FREE char *reason = NULL;
    struct options o;
    int argc = 2;
    assert_int_equal(options_load(&o, OPTIONS_ALL, &argc, argv, NULL, &reason), 0);
    AUTO_INVENTORY struct inventory *inv = inventory_new(&o, NULL, NULL);
    assert_int_equal(inventory_read_csv(inv, strdup(csv), sizeof csv - 1), 0);
    assert_int_equal(inventory_seal(inv), 0);
    struct store store;
    store_init(&store, (struct redis_port){.eval = eval}, &rng_system, "kr:", 15000);
    struct states states = {0};
    struct policies *policies = NULL;
    assert_int_equal(policies_new(&o, NULL, NULL, NULL, &policies), 0);
    remember(&states);
    struct survey *s = survey_new(&(const struct survey_options){
        .store = &store, .policies = &policies, .states = &states, .clock = &clock_system, .done = on_done});

    edge.refuse = ERR_BUSY; /* it cannot be put back now: the look is thrown away, the next one tries again */
    assert_int_equal(survey_begin(s, inv), 0);
    answer_peek();
    assert_int_equal(edge.restores, 1);
    assert_int_equal(result.calls, 1);
    assert_int_equal(result.err, ERR_BUSY);
    assert_int_equal(result.items, 0);
    assert_int_equal(result.unknown, 0);

    edge.refuse = 0;
    assert_int_equal(survey_begin(s, inv), 0);
    answer_peek();
    assert_int_equal(result.calls, 1); /* waits for the answer */
    static const struct redis_value yes = {.type = REDIS_INTEGER, .integer = 1};
    ticket_complete(edge.restore, &(const struct redis_reply){0, &yes});
    assert_int_equal(result.calls, 2);
    assert_int_equal(result.err, 0);
    assert_int_equal(result.restored, 1);
    assert_int_equal(result.items, 0);

    survey_free(s);
    policies_free(policies);
    states_done(&states);
    options_done(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(nothing_is_judged_that_is_to_be_put_back)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
