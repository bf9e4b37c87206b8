/* Replies of Redis, through the client and schema/store. The transport is replaced: what the server "says" is the
 * input. A first byte of 'i' answers the client's own INFO first, so that the rest meets commands. */
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/redis.h"
#include "lib/redis_transport.h"
#include "schema/store.h"
#include "tests/fuzz/fuzz.h"

#define USER "123456789012/user"

static struct {
    const struct redis_transport_events *events;
    void *arg;
    bool up, asked;
} wire;

int redis_transport_new(struct loop *l, const struct redis_url *url, const char *ca_file,
                        const struct redis_transport_events *events, void *arg, struct redis_transport **ret_transport)
{
    (void)l;
    (void)url;
    (void)ca_file;
    wire.events = events;
    wire.arg = arg;
    *ret_transport = NULL;
    return 0;
}
void redis_transport_free(struct redis_transport *t)
{
    (void)t;
    wire.up = false;
}
int redis_transport_connect(struct redis_transport *t)
{
    (void)t;
    wire.asked = true;
    return 0;
}
void redis_transport_write(struct redis_transport *t, const void *data, size_t len)
{
    (void)t;
    (void)data;
    (void)len;
}
void redis_transport_drop(struct redis_transport *t)
{
    (void)t;
    wire.up = false;
}

static struct loop *loop;
static int turned;
static size_t open_tickets;

static void stop_turn(void *arg)
{
    (void)arg;
    turned = 1;
}

static void turn(void)
{
    turned = 0;
    FUZZ_REQUIRE(loop_defer(loop, stop_turn, NULL) == 0);
    loop_run_until(loop, &turned);
}

static void say(const char *bytes, size_t len)
{
    if (wire.up && len) wire.events->on_data(wire.arg, bytes, len);
}

static void walk(const struct redis_value *v, int depth)
{
    FUZZ_REQUIRE(depth < 10);
    if (!v) return;
    if (v->type == REDIS_STRING || v->type == REDIS_STATUS || v->type == REDIS_ERROR) {
        FUZZ_REQUIRE(v->str[v->len] == '\0');
        fuzz_touch(v->str);
    }
    for (size_t i = 0; i < v->count; i++) walk(redis_item(v, i), depth + 1);
}

static void got_reply(void *self, uint64_t id, const void *result)
{
    const struct redis_reply *r = result;
    (void)self;
    (void)id;
    open_tickets--;
    if (!r->err) walk(r->value, 0);
}

static void got_lease(void *self, uint64_t id, const void *result)
{
    const struct store_lease *l = result;
    (void)self;
    (void)id;
    open_tickets--;
    if (l->err) return;
    FUZZ_REQUIRE(l->n_exposed <= RECORD_KEYS_MAX && l->record.n_keys <= RECORD_KEYS_MAX);
    FUZZ_REQUIRE(!l->kept || aws_key_id_valid(l->kept_id));
}

static void got_store(void *self, uint64_t id, const void *result)
{
    const struct store_reply *r = result;
    (void)self;
    (void)id;
    open_tickets--;
    fuzz_touch(r->text);
}

static void got_peek(void *self, uint64_t id, const void *result)
{
    const struct store_peek_reply *r = result;
    (void)self;
    (void)id;
    open_tickets--;
    for (size_t i = 0; !r->err && i < r->n; i++) FUZZ_REQUIRE(r->users[i].n_exposed <= RECORD_KEYS_MAX);
}

/* One of each kind of call that there is. */
static void ask(struct redis *r)
{
    struct store s;
    struct store_user u;
    static const char *const users[] = {USER, "123456789012/other"};
    struct redis_port port = redis_port(r);
    const struct redis_arg words[] = {{"GET", 3}, {"x", 1}};
    store_init(&s, port, &rng_system, "kr:", 15000);
    store_user_init(&s, &u, USER);
    if (port.command(port.self, 2, words, (struct ticket){got_reply, NULL, 1}) == 0) open_tickets++;
    if (store_acquire(&s, &u, (struct ticket){got_lease, NULL, 2}) == 0) open_tickets++;
    if (store_peek(&s, users, 2, (struct ticket){got_peek, NULL, 3}) == 0) open_tickets++;
    if (store_renew(&s, &u, (struct ticket){got_store, NULL, 4}) == 0) open_tickets++;
    if (store_gate(&s, "123456789012", 10, (struct ticket){got_store, NULL, 5}) == 0) open_tickets++;
    if (store_leader_take(&s, "me", 1000, (struct ticket){got_store, NULL, 6}) == 0) open_tickets++;
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc;
    (void)argv;
    loop = loop_new();
    FUZZ_REQUIRE(loop);
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char info[] = "$48\r\nrun_id:0123\r\nrole:master\r\nredis_version:7.0.15\r\n\r\n";
    struct redis *r = NULL;
    FUZZ_REQUIRE(redis_new(loop, &(struct redis_options){.url = "unix:///nowhere"}, &r) == 0);
    for (int i = 0; i < 3 && !wire.asked; i++) turn();
    FUZZ_REQUIRE(wire.asked);
    wire.asked = false;
    wire.up = true;
    wire.events->on_open(wire.arg);
    bool prepared = size && data[0] == 'i';
    if (prepared) {
        say(info, sizeof info - 1);
        FUZZ_REQUIRE(redis_ready(r));
    }
    size_t first = size / 2; /* two pieces: parsers keep what is not whole yet */
    if (!prepared) say((const char *)data, size);
    ask(r);
    turn();
    AUTO_FREE char *text = fuzz_text(data, size);
    if (prepared) {
        if (first > 1) say(text + 1, first - 1);
        say(text + (first > 1 ? first : 1), size - (first > 1 ? first : 1));
    }
    turn();
    redis_free(r);
    turn();
    FUZZ_REQUIRE(open_tickets == 0);
    return 0;
}
