/* The shipped Lua scripts and the commands beside them, run side by side: in the simulation's Redis (tests/sim/redis.c:
 * liblua 5.1 and a redis.call of ours) and in a real redis-server whose clock is set by hand (set_time.c). Random
 * sequences of calls, from a printed seed; each reply and, at the end of a sequence, all that is stored with its time
 * to live has to be the same. What differs is a fault of the simulation, which then proves something about another
 * Redis.
 *
 * 1,000 sequences, 10,000 at full size (KEYROLL_TEST_SIZE=full). KEYROLL_LUA_SEED: another seed. */
#include "lib/buf.h"
#include "lib/clock.h"
#include "lib/err.h"
#include "lib/loop.h"
#include "lib/redis.h"
#include "schema/lua.h"
#include "tests/sim/redis.h"
#include "tests/sim/redis_db.h"
#include "tests/unit/redis_process.h"

#include <fcntl.h>
#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <sys/mman.h>

#include <cmocka.h>

#define ARGS_MAX 40
#define DATA_MAX 160

/* ---- the two servers ---- */

static struct {
    struct redis_process process;
    struct loop *loop;
    struct redis *redis;
    int wake;
    bool ready;
    int64_t *now_us; /* the server's clock */
    char clock[80];
} real;

static struct {
    struct sim sim;
    struct sim_net net;
    struct sim_redis *redis;
} model;

static struct {
    uint64_t seed, state;
    struct buf told; /* the calls of this sequence, and the replies */
} run;

static void on_state(void *arg, enum redis_state s, const struct redis_server *server, int err)
{
    (void)arg, (void)server, (void)err;
    real.ready = s == REDIS_READY;
    real.wake = 1;
}

static void set_time(int64_t ms)
{
    model.sim.wall_offset_ms = ms - model.sim.mono_ms;
    *real.now_us = ms * 1000;
}

static int setup(void **state)
{
    (void)state;
    snprintf(real.clock, sizeof real.clock, "/tmp/keyroll-test-clock-XXXXXX");
    int fd = mkstemp(real.clock);
    if (fd < 0 || ftruncate(fd, sizeof(*real.now_us)) < 0) return -1;
    real.now_us = mmap(NULL, sizeof(*real.now_us), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    if (real.now_us == MAP_FAILED) return -1;
    sim_init(&model.sim, 1, NULL);
    model.net = (struct sim_net){.sim = &model.sim};
    model.redis = sim_redis_new(&model.net);
    set_time(SIM_START_WALL_MS);

    setenv("KEYROLL_SET_TIME", real.clock, 1);
    setenv("LD_PRELOAD", SET_TIME, 1);
    int rc = redis_process_start(&real.process, NULL);
    unsetenv("LD_PRELOAD");
    if (rc < 0 || !(real.loop = loop_new())) return -1;
    const struct redis_options o = {.url = real.process.url, .on_state = on_state};
    if (redis_new(real.loop, &o, &real.redis) < 0) return -1;
    while (!real.ready) {
        real.wake = 0;
        loop_run_until(real.loop, &real.wake);
    }
    buf_init(&run.told, 16 << 20);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    redis_free(real.redis);
    loop_free(real.loop);
    redis_process_stop(&real.process);
    sim_redis_free(model.redis);
    sim_done(&model.sim);
    munmap(real.now_us, sizeof(*real.now_us));
    unlink(real.clock);
    buf_done(&run.told);
    return 0;
}

/* ---- replies as text ---- */

static int by_text(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* An error is told by its first word: the rest names the script's hash and line. */
static void print_refusal(struct buf *out, const char *s)
{
    if (strncmp(s, "ERR ", 4) == 0) s += 4;
    static const char *const telling[] = {"WRONGTYPE",      "not an integer", "syntax error", "wrong number",
                                          "invalid expire", "overflow",       "bad argument", "attempt to",
                                          "bad argument",   "Wrong number"};
    for (size_t i = 0; i < ARRAY_LEN(telling); i++)
        if (strstr(s, telling[i])) {
            buf_addf(out, "!%s", telling[i]);
            return;
        }
    buf_addf(out, "!%s", s);
}

static void print_bytes(struct buf *out, const char *s, size_t len)
{
    buf_addc(out, '"');
    for (size_t i = 0; i < len; i++)
        if (s[i] < ' ' || s[i] > '~' || s[i] == '"')
            buf_addf(out, "\\x%02x", (unsigned char)s[i]);
        else
            buf_addc(out, s[i]);
    buf_addc(out, '"');
}

/* Redis keeps sets and large hashes in an order of its own. group: 1 items, 2 pairs are sorted, 0 stays as it is; below
 * it the exposed ids, which scripts return as their last item, are sorted. */
static void print(struct buf *out, const struct redis_value *v, size_t group)
{
    char *items[2 * DATA_MAX];
    switch (v->type) {
    case REDIS_NIL:
        buf_adds(out, "nil");
        return;
    case REDIS_INTEGER:
        buf_addf(out, "%" PRId64, v->integer);
        return;
    case REDIS_ERROR:
        print_refusal(out, v->str);
        return;
    case REDIS_STATUS:
        buf_addf(out, "+%s", v->str);
        return;
    case REDIS_STRING:
        print_bytes(out, v->str, v->len);
        return;
    case REDIS_ARRAY:
        break;
    }
    size_t step = group ? group : 1, n = 0;
    assert_true(v->count % step == 0 && v->count / step <= ARRAY_LEN(items));
    for (size_t i = 0; i < v->count; i += step) {
        AUTO_BUF struct buf one;
        buf_init(&one, 1 << 20);
        for (size_t k = 0; k < step; k++) {
            const struct redis_value *item = v->items[i + k];
            bool marks = !group && i + 1 == v->count && item->type == REDIS_ARRAY;
            for (size_t m = 0; marks && m < item->count; m++) marks = item->items[m]->type == REDIS_STRING;
            if (k) buf_adds(&one, "=");
            print(&one, item, marks ? 1 : 0);
        }
        items[n++] = buf_take(&one);
    }
    if (group) qsort(items, n, sizeof items[0], by_text);
    buf_addc(out, '[');
    for (size_t i = 0; i < n; i++) {
        buf_addf(out, "%s%s", i ? ", " : "", items[i]);
        free(items[i]);
    }
    buf_addc(out, ']');
}

struct answer {
    struct buf text;
    size_t group;
    bool done;
};

static void answered(void *self, uint64_t id, const void *result)
{
    (void)id;
    struct answer *a = self;
    const struct redis_reply *r = result;
    if (r->value)
        print(&a->text, r->value, a->group);
    else
        buf_addf(&a->text, "(%s)", err_name(r->err));
    a->done = true;
    real.wake = 1;
}

/* ---- random numbers and words ---- */

static uint64_t random64(void)
{
    uint64_t z = run.state += UINT64_C(0x9e3779b97f4a7c15); /* splitmix64 */
    z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
    return z ^ z >> 31;
}

static size_t below(size_t n)
{
    return (size_t)(random64() % n);
}

static bool one_in(size_t n)
{
    return below(n) == 0;
}

/* Every key there is. The first four of each user belong together, in the scripts' order. */
static const char *const keys[] = {"kr:{1/a}:lease", "kr:{1/a}:journal", "kr:{1/a}:record", "kr:{1/a}:exposed",
                                   "kr:{1/b}:lease", "kr:{1/b}:journal", "kr:{1/b}:record", "kr:{1/b}:exposed",
                                   "kr:holdoff",     "kr:server",        "kr:pause:all",    "kr:pause:1",
                                   "kr:rate",        "kr:leader",        "kr:docs",         "kr:revisions",
                                   "kr:budget",      "kr:seen",          "kr:hour",         "kr:members"};
enum {
    LEASE,
    JOURNAL,
    RECORD,
    EXPOSED,
    HOLDOFF = 8,
    SERVER,
    PAUSE,
    PAUSE_ONE,
    RATE,
    LEADER,
    DOCS,
    REVISIONS,
    BUDGET,
    SEEN,
    HOUR,
    MEMBERS
};

/* One call: its words, copied. */
struct call {
    const struct redis_script *script;
    size_t n_keys, n;
    size_t group;
    struct redis_arg args[ARGS_MAX];
    char data[ARGS_MAX][DATA_MAX];
};

static void add_bytes(struct call *c, const void *data, size_t len)
{
    assert_true(c->n < ARGS_MAX && len < DATA_MAX);
    memcpy(c->data[c->n], data, len);
    c->data[c->n][len] = '\0';
    c->args[c->n] = (struct redis_arg){c->data[c->n], len};
    c->n++;
}

static void add(struct call *c, const char *s)
{
    add_bytes(c, s, strlen(s));
}

static void add_number(struct call *c, int64_t n)
{
    char text[24];
    snprintf(text, sizeof text, "%" PRId64, n);
    add(c, text);
}

static void add_doc(struct call *c)
{
    char doc[DATA_MAX];
    size_t n = below(one_in(4) ? DATA_MAX - 1 : 20);
    for (size_t i = 0; i < n; i++) doc[i] = one_in(8) ? (char)random64() : (char)('a' + below(26));
    add_bytes(c, doc, n);
}

/* The stored version, more often than not. */
static void add_version(struct call *c, const char *key, const char *field)
{
    const char *now = one_in(4) ? NULL : sim_redis_peek(model.redis, key, field, NULL);
    if (!now)
        add_number(c, (int64_t)below(4));
    else if (one_in(4))
        add_number(c, strtoll(now, NULL, 10) - 1);
    else
        add_number(c, strtoll(now, NULL, 10));
}

static int64_t some_ms(void)
{
    static const int64_t ms[] = {1, 20, 1000, 15000, 60000, 3600000};
    return ms[below(ARRAY_LEN(ms))];
}

static void add_number_of_any_kind(struct call *c)
{
    static const char *const odd[] = {"",
                                      "abc",
                                      "1.5",
                                      "0",
                                      "-1",
                                      "+1",
                                      " 1",
                                      "1 ",
                                      "01",
                                      "-0",
                                      "9223372036854775807",
                                      "-9223372036854775808",
                                      "9223372036854775808",
                                      "99999999999999999999",
                                      "1e3",
                                      "0x10"};
    if (one_in(3))
        add(c, odd[below(ARRAY_LEN(odd))]);
    else
        add_number(c, some_ms());
}

/* ---- what a spec's letters mean ---- */

static const char *const tokens[] = {"t1", "t2", ""}, *const opids[] = {"o1", "o2", "o3"};
static const char *const ids[] = {"AKIA1", "AKIA2", "AKIA3", "AKIA4"};

static void add_one_of(struct call *c, const char *const *words, size_t n)
{
    add(c, words[below(n)]);
}
#define ADD_ONE_OF(c, ...)                                                                                             \
    add_one_of(c, (const char *const[]){__VA_ARGS__}, sizeof((const char *const[]){__VA_ARGS__}) / sizeof(char *))

/* u: the first of the user's keys. */
static void add_by_letter(struct call *c, char letter, size_t u)
{
    switch (letter) {
    case 't': { /* the holder's, more often than not */
        const char *holder = one_in(4) ? NULL : sim_redis_peek(model.redis, keys[u + LEASE], "token", NULL);
        add(c, holder && strlen(holder) < 10 ? holder : tokens[below(one_in(8) ? 3 : 2)]);
        break;
    }
    case 'j':
        add_version(c, keys[u + JOURNAL], "version");
        break;
    case 'r':
        add_version(c, keys[u + RECORD], "version");
        break;
    case 'o':
        add_one_of(c, opids, ARRAY_LEN(opids));
        break;
    case 'd':
        ADD_ONE_OF(c, "", "set", "set", "undo");
        break;
    case 'D':
        add_doc(c);
        break;
    case 'S': /* a sealed pair or none */
        if (one_in(2))
            add(c, "");
        else
            add_doc(c);
        break;
    case 'e':
        ADD_ONE_OF(c, "keep", "end");
        break;
    case 'p':
        ADD_ONE_OF(c, "same", "drop", "journal");
        break;
    case 'i':
        add_one_of(c, ids, ARRAY_LEN(ids));
        break;
    case 'l':
        ADD_ONE_OF(c, "keep", "release");
        break;
    case 'm':
        add_number(c, some_ms());
        break;
    case 'M': /* a lease's life */
        add_number(c, one_in(3) ? some_ms() : 15000);
        break;
    case 'n':
        add_number(c, (int64_t)below(4));
        break;
    case 'b':
        ADD_ONE_OF(c, "0", "1");
        break;
    case 'f':
        add_number(c, *real.now_us / 1000 + (int64_t)below(3) - 1);
        break; /* a fence's number */
    case 's':
        ADD_ONE_OF(c, "run1 repl1", "run2 repl1", "run2 repl2");
        break;
    case 'c':
        ADD_ONE_OF(c, "c1", "c2");
        break; /* a campaign */
    case 'R':
        ADD_ONE_OF(c, "5", "20", "2.5", "300");
        break;
    case 'h':
        ADD_ONE_OF(c, "1", "0.5", "0.9");
        break;
    case '*': /* marks, any number of them */
        for (size_t n = below(4); n; n--) add_one_of(c, ids, ARRAY_LEN(ids));
        break;
    default:
        fail_msg("letter %c", letter);
    }
}

#define USER (-1) /* this script's keys are the user's, from the lease on */
struct spec {
    struct redis_script script;
    size_t n_keys;
    int keys[5]; /* keys[0] USER: the first n_keys of a user; else indices */
    const char *args;
    const char *replies; /* first words that have to be seen, for the count of what is reached */
};
static const struct spec specs[] = {
    {{"server_seen", lua_server_seen}, 2, {SERVER, HOLDOFF}, "sm", "0 positive"},
    {{"lease_acquire", lua_lease_acquire}, 5, {USER}, "tMmf", "\"HOLD\" \"HELD\" \"OK\""},
    {{"lease_acquire", lua_lease_acquire}, 5, {USER}, "tMmf", ""},
    {{"lease_acquire", lua_lease_acquire}, 5, {USER}, "tMm", ""},
    {{"journal_put", lua_journal_put}, 2, {USER}, "tjodDS", ""},
    {{"lease_renew", lua_lease_renew}, 1, {USER}, "tM", "0 1"},
    {{"lease_release", lua_lease_release}, 2, {USER}, "t", "0 1"},
    {{"journal_put", lua_journal_put}, 2, {USER}, "tjodDS", "\"OK\" \"LEASE\" \"VERSION\" \"DIRECTION\""},
    {{"journal_put", lua_journal_put}, 2, {USER}, "tjodDS", ""},
    {{"record_put", lua_record_put}, 3, {USER}, "troDejpil", "\"OK\" \"LEASE\" \"VERSION\""},
    {{"record_put", lua_record_put}, 3, {USER}, "troDejpil", ""},
    {{"gate", lua_gate}, 3, {PAUSE, PAUSE_ONE, RATE}, "n", "\"OK\" \"PAUSED\" \"LIMITED\""},
    {{"peek", lua_peek}, 8, {USER}, "", "array"},
    {{"restore", lua_restore}, 4, {USER}, "DSdf*", "0 1"},
    {{"restore_newer", lua_restore_newer}, 4, {USER}, "DSdfrjb*", "0 1"},
    {{"reseal", lua_reseal}, 3, {USER}, "tojSrS", "\"OK\" \"LEASE\" \"VERSION\""},
    {{"leader_take", lua_leader_take}, 1, {LEADER}, "tm", "\"OK\" \"HELD\""},
    {{"leader_release", lua_leader_release}, 1, {LEADER}, "t", "0 1"},
    {{"campaign_put", lua_campaign_put}, 2, {DOCS, REVISIONS}, "cnoD", "\"OK\" \"VERSION\""},
    {{"budget_take", lua_budget_take}, 1, {BUDGET}, "nbnnRhRn", "positive"},
    {{"member_beat", lua_member_beat}, 1, {MEMBERS}, "omD", "1 2"},
    {{"trigger_take", lua_trigger_take}, 2, {SEEN, HOUR}, "omn", "\"TAKEN\" \"SEEN\" \"LIMITED\""},
};
static unsigned reached[ARRAY_LEN(specs)][8];

static void make_script_call(struct call *c, const struct spec *s)
{
    size_t u = one_in(6) ? 4 : 0;
    c->script = &s->script;
    c->n_keys = s->n_keys;
    for (size_t i = 0; i < s->n_keys; i++) {
        size_t at = s->keys[0] != USER ? (size_t)s->keys[i] : s->n_keys == 8 ? i : i == 4 ? HOLDOFF : u + i;
        size_t odd = below(ARRAY_LEN(keys)); /* gate's counters only ever hold numbers, see make_command */
        add(c, one_in(60) && odd != RATE ? keys[odd] : keys[at]);
    }
    for (const char *a = s->args; *a; a++) add_by_letter(c, *a, u);
}

/* Commands: k any key, f a field, v a value, i any number, other letters as above. */
static const struct {
    const char *name, *args;
    size_t group;
} commands[] = {
    {"GET", "k", 0},       {"SET", "kv", 0},     {"SET", "kvPi", 0},   {"SET", "kvXi", 0},   {"SET", "kvN", 0},
    {"DEL", "k", 0},       {"DEL", "kkk", 0},    {"EXISTS", "kk", 0},  {"HGET", "kf", 0},    {"HSET", "kfv", 0},
    {"HSET", "kfvfi", 0},  {"HSET", "kfvf", 0},  {"HMGET", "kff", 0},  {"HDEL", "kff", 0},   {"HGETALL", "k", 2},
    {"HINCRBY", "kfi", 0}, {"HEXISTS", "kf", 0}, {"EXPIRE", "ki", 0},  {"PEXPIRE", "ki", 0}, {"PTTL", "k", 0},
    {"SADD", "kff", 0},    {"SREM", "kff", 0},   {"SMEMBERS", "k", 1}, {"SCARD", "k", 0},    {"TIME", "", 0},
    {"FLUSHALL", "", 0},   {"INCR", "k", 0},     {"GET", "", 0},       {"HSET", "kf", 0},
};

static void make_command(struct call *c)
{
    size_t i = below(ARRAY_LEN(commands));
    if (strcmp(commands[i].name, "FLUSHALL") == 0 && !one_in(10)) i = 0;
    c->group = commands[i].group;
    add(c, commands[i].name);
    bool counters = false; /* gate walks over these in the hash's own order: rubbish there has no one result */
    for (const char *a = commands[i].args; *a; a++) switch (*a) {
        case 'k':
            add(c, keys[below(ARRAY_LEN(keys))]);
            counters = counters || strcmp(c->data[c->n - 1], keys[RATE]) == 0;
            break;
        case 'f':
            if (counters)
                add(c, "29923733");
            else
                ADD_ONE_OF(c, "token", "version", "doc", "opid", "AKIA1", "AKIA2", "29923733");
            break;
        case 'v':
            if (one_in(2))
                add_number_of_any_kind(c);
            else
                add_doc(c);
            break;
        case 'i':
            add_number_of_any_kind(c);
            break;
        case 'P':
            add(c, "PX");
            break;
        case 'X':
            add(c, "EX");
            break;
        case 'N':
            add(c, "NX");
            break;
        default:
            fail_msg("letter %c", *a);
        }
}

/* ---- both at once ---- */

static void tell(const struct call *c)
{
    buf_addf(&run.told, "%" PRId64 " %s", *real.now_us / 1000, c->script ? c->script->name : "command");
    for (size_t i = 0; i < c->n; i++) {
        buf_addc(&run.told, ' ');
        print_bytes(&run.told, c->args[i].data, c->args[i].len);
    }
    buf_addc(&run.told, '\n');
}

/* ret_text, when not NULL: the reply, borrowed until the next call. */
static void both(const struct call *c, size_t sequence, const char **ret_text)
{
    static struct answer a;
    static struct buf ours;
    if (!a.text.max) buf_init(&a.text, 16 << 20);
    if (!ours.max) buf_init(&ours, 16 << 20);
    buf_reset(&a.text);
    buf_reset(&ours);
    a.done = false;
    a.group = c->group;
    struct redis_port p = redis_port(real.redis);
    const struct ticket t = {answered, &a, 0};
    assert_int_equal(
        c->script ? p.eval(p.self, c->script, c->n_keys, c->n, c->args, t) : p.command(p.self, c->n, c->args, t), 0);
    while (!a.done) {
        real.wake = 0;
        loop_run_until(real.loop, &real.wake);
    }
    struct sim_reply reply = {0};
    print(&ours, sim_redis_run(model.redis, c->script, c->n_keys, c->n, c->args, &reply), c->group);
    sim_reply_free(&reply);
    tell(c);
    buf_addf(&run.told, "    %s\n", buf_str(&ours));
    if (strcmp(buf_str(&a.text), buf_str(&ours)) != 0) {
        fprintf(stderr, "%s", buf_str(&run.told));
        fail_msg("seed %" PRIu64 ", sequence %zu, last call above: the simulation answers %s, redis-server %s",
                 run.seed, sequence, buf_str(&ours), buf_str(&a.text));
    }
    if (ret_text) *ret_text = buf_str(&ours);
}

/* All that is stored, with types and time to live. */
static const char lua_dump[] =
    "local out = {} "
    "local function try(...) local ok, v = pcall(redis.call, ...) return ok and v or '-' end "
    "local function sorted(t, step) "
    "  if type(t) ~= 'table' then return t end "
    "  local s = {} for i = 1, #t, step do s[#s + 1] = t[i] .. (step > 1 and '=' .. t[i + 1] or '') end "
    "  table.sort(s) return s end "
    "for i = 1, #KEYS do "
    "  out[i] = {redis.call('PTTL', KEYS[i]), try('GET', KEYS[i]), sorted(try('HGETALL', KEYS[i]), 2), "
    "sorted(try('SMEMBERS', KEYS[i]), 1)} "
    "end return out";
static const struct redis_script dump = {"dump", lua_dump};

/* A command that only the server has. Returns its reply as text, borrowed until the next one. */
static const char *ask_server(size_t n, const char *const *words)
{
    static struct answer a;
    struct redis_arg args[4];
    if (!a.text.max) buf_init(&a.text, 1000);
    buf_reset(&a.text);
    a.done = false;
    for (size_t i = 0; i < n; i++) args[i] = (struct redis_arg){words[i], strlen(words[i])};
    struct redis_port p = redis_port(real.redis);
    assert_int_equal(p.command(p.self, n, args, (struct ticket){answered, &a, 0}), 0);
    while (!a.done) {
        real.wake = 0;
        loop_run_until(real.loop, &real.wake);
    }
    return buf_str(&a.text);
}

static void compare_all(size_t sequence)
{
    struct call all = {.script = &dump, .n_keys = ARRAY_LEN(keys)};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) add(&all, keys[i]);
    both(&all, sequence, NULL);
    struct call count = {.n_keys = 0}; /* and nothing beside these keys */
    add(&count, "EXISTS");
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) add(&count, keys[i]);
    const char *text;
    both(&count, sequence, &text);
    long known = strtol(text, NULL, 10);
    assert_int_equal(strtol(ask_server(1, (const char *const[]){"DBSIZE"}), NULL, 10), known);
}

static void note_reply(size_t spec, const char *text)
{
    const char *at = text + (*text == '[');
    size_t n = 0;
    for (const char *want = specs[spec].replies; *want; n++) {
        size_t len = strcspn(want, " ");
        bool positive = strncmp(want, "positive", len) == 0, array = strncmp(want, "array", len) == 0;
        if (array ? *at == '[' : positive ? *at > '0' && *at <= '9' : strncmp(at, want, len) == 0) reached[spec][n]++;
        want += len + (want[len] == ' ');
    }
}

static void move_time(int64_t *now_ms)
{
    if (one_in(3))
        *now_ms += (int64_t)below(50);
    else if (one_in(4))
        *now_ms += some_ms();
    else if (one_in(400))
        *now_ms -= 5000; /* set back */
    set_time(*now_ms);
}

static void one_sequence(size_t sequence)
{
    run.state = run.seed * UINT64_C(0x100000001b3) + sequence;
    buf_reset(&run.told);
    int64_t now_ms = SIM_START_WALL_MS + (int64_t)sequence * 3;
    set_time(now_ms);
    struct call flush = {0};
    add(&flush, "FLUSHALL");
    both(&flush, sequence, NULL);
    bool raw = one_in(2); /* half of them meet keys that no script wrote */
    struct call hold = {0};
    add(&hold, "SET"), add(&hold, keys[HOLDOFF]), add(&hold, "1");
    if (!one_in(8)) both(&hold, sequence, NULL);
    for (size_t n = 5 + below(40); n; n--) {
        static struct call c;
        c.script = NULL;
        c.n = c.n_keys = c.group = 0;
        if (raw && one_in(4)) {
            make_command(&c);
            both(&c, sequence, NULL);
        } else {
            size_t s = below(ARRAY_LEN(specs));
            const char *text;
            make_script_call(&c, &specs[s]);
            both(&c, sequence, &text);
            note_reply(s, text);
        }
        move_time(&now_ms);
    }
    compare_all(sequence);
}

static void time_is_ours(void **state)
{
    (void)state;
    struct call c = {0};
    add(&c, "TIME");
    set_time(SIM_START_WALL_MS + 12345);
    both(&c, 0, NULL);
}

static void simulation_and_server_agree(void **state)
{
    (void)state;
    const char *seed = getenv("KEYROLL_LUA_SEED"), *size = getenv("KEYROLL_TEST_SIZE");
    /* What has expired goes when it is asked for, not when the server finds time. */
    assert_string_equal(ask_server(3, (const char *const[]){"DEBUG", "SET-ACTIVE-EXPIRE", "0"}), "+OK");
    run.seed = seed ? strtoull(seed, NULL, 10) : 1;
    size_t sequences = size && strcmp(size, "full") == 0 ? 10000 : 1000;
    for (size_t i = 0; i < sequences; i++) one_sequence(i);
    print_message("%zu sequences, seed %" PRIu64 "\n", sequences, run.seed);
    for (size_t s = 0; s < ARRAY_LEN(specs); s++) { /* each kind of answer was compared */
        size_t n = 0;
        for (const char *want = specs[s].replies; *want; n++) {
            size_t len = strcspn(want, " ");
            print_message("  %-14s %.*s: %u\n", specs[s].script.name, (int)len, want, reached[s][n]);
            assert_true(reached[s][n] >= 10);
            want += len + (want[len] == ' ');
        }
    }
}

#define HOUR_MS 3600000
#define TTL_MS  15000

static const char *ask(const char *name, const char *const *text, size_t n_keys, size_t n)
{
    const char *reply;
    struct call c = {.n_keys = n_keys};
    for (size_t i = 0; i < ARRAY_LEN(specs); i++)
        if (!strcmp(specs[i].script.name, name)) c.script = &specs[i].script;
    for (size_t i = 0; i < n; i++) add(&c, text[i]);
    both(&c, 0, &reply);
    return reply;
}

static const char *acquire(const char *user, const char *token)
{
    const char *const words[] = {keys[user[0] == 'a' ? LEASE : LEASE + 4],
                                 keys[user[0] == 'a' ? JOURNAL : JOURNAL + 4],
                                 keys[user[0] == 'a' ? RECORD : RECORD + 4],
                                 keys[user[0] == 'a' ? EXPOSED : EXPOSED + 4],
                                 keys[HOLDOFF],
                                 token,
                                 "15000",
                                 "15000"};
    return ask("lease_acquire", words, 5, ARRAY_LEN(words));
}

static const char *lead(const char *token)
{
    const char *const words[] = {keys[LEADER], token, "15000"};
    return ask("leader_take", words, 1, ARRAY_LEN(words));
}

static const char *member(const char *token)
{
    const char *const words[] = {keys[MEMBERS], token, "15000", "{\"worker\":\"w 1\"}"};
    return ask("member_beat", words, 1, ARRAY_LEN(words));
}

#define BEGINS(text, with) assert_int_equal(strncmp(text, with, strlen(with)), 0)

/* Workers are counted while they give signs of life, whatever the server's clock does. */
static void workers_that_live_are_counted(void **state)
{
    (void)state;
    int64_t now_ms = SIM_START_WALL_MS;
    set_time(now_ms);
    struct call flush = {0};
    add(&flush, "FLUSHALL");
    both(&flush, 0, NULL);
    assert_string_equal(member("a"), "1");
    assert_string_equal(member("b"), "2");
    assert_string_equal(member("a"), "2"); /* again, not another one */
    set_time(now_ms += 10000);
    assert_string_equal(member("c"), "3");
    set_time(now_ms += 6000);
    assert_string_equal(member("c"), "1"); /* the others have been silent for 16 s */
    set_time(now_ms -= HOUR_MS);
    assert_string_equal(member("a"), "1"); /* c's sign lies in the future now: it comes again */
    assert_string_equal(member("c"), "2");
}

/* The server's clock goes back by an hour: nobody waits longer than a lease lasts, neither for a hold-off that lies in
 * the future now, nor for the leases of the dead, which would last an hour longer. */
static void a_clock_that_is_set_back_stops_nobody(void **state)
{
    (void)state;
    int64_t now_ms = SIM_START_WALL_MS + HOUR_MS;
    set_time(now_ms);
    struct call flush = {0};
    add(&flush, "FLUSHALL");
    both(&flush, 0, NULL);
    BEGINS(acquire("a", "dead"), "[\"HOLD\"");
    set_time(now_ms += TTL_MS + 1);
    BEGINS(acquire("a", "dead"), "[\"OK\"");
    BEGINS(lead("dead"), "[\"OK\"");
    set_time(now_ms -= HOUR_MS);
    BEGINS(acquire("b", "other"), "[\"HOLD\"");
    BEGINS(lead("other"), "[\"HELD\"");
    set_time(now_ms += TTL_MS + 1);
    BEGINS(acquire("b", "other"), "[\"OK\"");
    BEGINS(lead("other"), "[\"OK\"");
    BEGINS(acquire("a", "other"), "[\"HELD\"");
    set_time(now_ms += TTL_MS + 1);
    BEGINS(acquire("a", "other"), "[\"OK\"");
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(time_is_ours), cmocka_unit_test(workers_that_live_are_counted),
                                       cmocka_unit_test(a_clock_that_is_set_back_stops_nobody),
                                       cmocka_unit_test(simulation_and_server_agree)};
    return cmocka_run_group_tests(tests, setup, teardown);
}
