/* The scheduler's view of the breakers (circuits.h). They are few, so the whole hash is read before each survey. */
#include "producer/circuits.h"

#include "lib/err.h"
#include "lib/json.h"
#include "producer/map.h"

#include <string.h>

struct circuits {
    struct store *store;
    const struct clock *clock;
    struct map open; /* names; the values say nothing */
    bool known, asking;
};

struct circuits *circuits_new(struct store *store, const struct clock *clock)
{
    struct circuits *c = calloc(1, sizeof *c);
    if (c) *c = (struct circuits){.store = store, .clock = clock};
    return c;
}

void circuits_free(struct circuits *c)
{
    if (!c) return;
    map_done(&c->open, NULL);
    free(c);
}

bool circuits_open_now(const char *value, int64_t now_ms)
{
    AUTO_JSON json_t *o = NULL;
    (void)!json_read(value, strlen(value), 0, &o, NULL); /* NULL: open until it is read again */
    const json_t *at = json_object_get(o, "at_ms");
    return !json_is_integer(at) || now_ms - json_integer_value(at) < CIRCUITS_STALE_MS;
}

static void on_removed(void *self, uint64_t id, const void *result)
{
    (void)self, (void)id, (void)result; /* what is still there is seen at the next look */
}

/* Should its worker live and say so again just now, its next probe writes it anew. */
static void remove_stale(struct circuits *c, const char *name)
{
    char key[STORE_KEY_MAX];
    store_key(c->store, NULL, "breakers", key);
    const struct redis_arg args[] = {{"HDEL", 4}, {key, strlen(key)}, {name, strlen(name)}};
    struct redis_port *p = &c->store->redis;
    (void)!p->command(p->self, ARRAY_LEN(args), args, (struct ticket){on_removed, NULL, 0});
}

static void on_read(void *self, uint64_t id, const void *result)
{
    struct circuits *c = self;
    const struct redis_reply *r = result;
    int64_t now = clock_wall_ms(c->clock);
    struct map open = {0};
    (void)id;
    c->asking = false;
    if (r->err || r->value->type != REDIS_ARRAY) return;
    for (size_t i = 0; i + 1 < r->value->count; i += 2) {
        const struct redis_value *name = redis_item(r->value, i), *value = redis_item(r->value, i + 1);
        if (!name || !name->str || !value || !value->str) continue;
        if (!circuits_open_now(value->str, now)) {
            remove_stale(c, name->str);
            continue;
        }
        if (map_put(&open, name->str, c, NULL) == 0) continue;
        map_done(&open, NULL); /* half of it would be a lie */
        return;
    }
    map_done(&c->open, NULL);
    c->open = open;
    c->known = true;
}

void circuits_look(struct circuits *c)
{
    char key[STORE_KEY_MAX];
    if (c->asking) return;
    store_key(c->store, NULL, "breakers", key);
    const struct redis_arg args[] = {{"HGETALL", 7}, {key, strlen(key)}};
    struct redis_port *p = &c->store->redis;
    c->asking = p->command(p->self, ARRAY_LEN(args), args, (struct ticket){on_read, c, 0}) == 0;
}

bool circuits_closed(const struct circuits *c, const char *breaker)
{
    return c->known && !map_get(&c->open, breaker);
}
