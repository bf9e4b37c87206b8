/* Histories (history.h). Three streams of random numbers: the setting (start, abilities), the world's own, and the
 * faults'. Leaving a fault out changes neither of the first two. */
#include "tests/sim/history.h"

#include "lib/err.h"
#include "tests/sim/happen.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DAY_MS        INT64_C(86400000)
#define DAYS          40
#define PLAN_BASE     1000 /* a plan item at call 0: the base story */
#define PLAN_CELL     1001 /* and the directed fault */
#define DIRECTED_OF10 9    /* seeds of ten with directed faults */
#define CELLS_MAX     4000
#define TURNS_MAX     3
#define START_MS      600000

/* A fault at one row's call, and the bases that come by there. */
struct cell {
    struct sim_cell at;
    enum sim_fault_kind kind;
    uint64_t bases;
};
static struct cell cells[CELLS_MAX];
static size_t n_cells;
static size_t turns[TURNS_MAX * CELLS_MAX]; /* cells by turns: more often those that few bases come by */
static size_t n_turns;

/* ---- the cells ----------------------------------------------------------------------------------------------------
 */

static void add_cell(const struct sim_cell *c, enum sim_fault_kind kind, size_t base)
{
    for (size_t i = 0; i < n_cells; i++) {
        struct cell *x = &cells[i];
        if (x->kind != kind || x->at.row != c->row || strcmp(x->at.table, c->table) || strcmp(x->at.op, c->op))
            continue;
        x->bases |= UINT64_C(1) << base;
        return;
    }
    if (n_cells == CELLS_MAX) abort();
    cells[n_cells++] = (struct cell){*c, kind, UINT64_C(1) << base};
}

static void make_turns(void)
{
    for (int round = 1; round <= TURNS_MAX; round++)
        for (size_t i = 0; i < n_cells; i++) {
            const int bases = __builtin_popcountll(cells[i].bases);
            if (round <= (bases > 4 ? 1 : bases > 2 ? 2 : TURNS_MAX)) turns[n_turns++] = i;
        }
}

void sim_history_prepare(void)
{
    for (size_t b = 0; b < sim_n_bases; b++) {
        struct sim_options o;
        struct sim_rule rules[SIM_BASE_RULES];
        sim_options_default(&o, 7);
        o.workers = 2;
        if (sim_bases[b].options) sim_bases[b].options(&o);
        o.n_rules = sim_base_rules(&sim_bases[b], rules);
        o.rules = rules;
        o.log_cells = true;
        struct sim_world *w = sim_world_new(&o);
        sim_start_plain(w);
        sim_drive(w, sim_bases[b].person, 0, 120000, DAYS);
        for (size_t i = 0; i < w->n_cells; i++)
            for (int k = SIM_FINE + 1; k < SIM_FAULT_KINDS; k++) {
                const struct sim_cell *c = &w->cells[i];
                if (sim_fault_possible(c->edge, c->op, c->writes, true, (enum sim_fault_kind)k))
                    add_cell(c, (enum sim_fault_kind)k, b);
            }
        sim_world_free(w);
    }
    make_turns();
}

size_t sim_history_cells(void)
{
    return n_cells;
}

static void plan_add(struct sim_plan *p, unsigned call, int what, int64_t arg)
{
    if (p->n < SIM_PLAN_MAX) p->v[p->n++] = (struct sim_plan_item){call, what, arg};
}

static struct sim_call call_at(const struct cell *c, struct sim_client *by)
{
    *by = (struct sim_client){.table = c->at.table, .step = c->at.step, .row = c->at.row};
    return (struct sim_call){by, c->at.edge, c->at.op, c->at.writes};
}

unsigned long sim_history_covered(const struct sim_coverage *v, size_t cell)
{
    struct sim_client by;
    const struct sim_call call = call_at(&cells[cell], &by);
    return sim_coverage_of(v, &call, cells[cell].kind);
}

void sim_history_direct(size_t cell, unsigned nth, struct sim_plan *ret)
{
    size_t base = nth % sim_n_bases;
    while (!(cells[cell].bases >> base & 1)) base = (base + 1) % sim_n_bases;
    ret->n = 0;
    plan_add(ret, 0, PLAN_CELL, (int64_t)cell);
    plan_add(ret, 0, PLAN_BASE, (int64_t)base);
}

/* ---- the setting --------------------------------------------------------------------------------------------------
 */

struct setting {
    uint64_t state;
    uint64_t seed;
};

static uint64_t draw(struct setting *s)
{
    uint64_t z = s->state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
}

static bool chance(struct setting *s, unsigned percent)
{
    return draw(s) % 100 < percent;
}

/* The turn at or after this one whose cell this base comes by. */
static size_t next_turn(uint64_t turn, uint64_t base)
{
    for (turn %= n_turns; !(cells[turns[turn]].bases >> base & 1);) turn = (turn + 1) % n_turns;
    return turns[turn];
}

/* Directed faults: three by turns and one by chance. Returns the base. */
static uint64_t direct(struct setting *s, struct sim_plan *p)
{
    const uint64_t nth = s->seed / 10 * DIRECTED_OF10 + s->seed % 10, round = nth / n_turns;
    const uint64_t turn[] = {nth, nth + n_turns / 2 + 13 * round, nth + n_turns / 4 + 29 * round, draw(s)};
    const size_t first = turns[turn[0] % n_turns], second = turns[turn[1] % n_turns];
    uint64_t bases = cells[first].bases;
    uint64_t base = draw(s) % sim_n_bases;
    if (bases & cells[second].bases) bases &= cells[second].bases;
    while (!(bases >> base & 1)) base = (base + 1) % sim_n_bases;
    plan_add(p, 0, PLAN_CELL, (int64_t)first);
    for (size_t i = 1; i < ARRAY_LEN(turn); i++) plan_add(p, 0, PLAN_CELL, (int64_t)next_turn(turn[i], base));
    return base;
}

/* The seed's own plan: directed faults, base story, happenings. The swarm's faults come on the way. */
static void make_plan(struct setting *s, struct sim_plan *p, struct sim_options *o)
{
    const bool directed = s->seed % 10 < DIRECTED_OF10;
    const uint64_t base = directed ? direct(s, p) : draw(s) % sim_n_bases;
    if (directed || chance(s, 30)) plan_add(p, 0, PLAN_BASE, (int64_t)base);
    const bool more = !directed || chance(s, 50);
    static const unsigned rates[] = {0, 10, 30, 60, 120};
    const unsigned rate = rates[draw(s) % ARRAY_LEN(rates)], calls = 20 + (unsigned)(draw(s) % 140);
    uint32_t kinds = (uint32_t)draw(s);
    if (draw(s) % 3) kinds &= (uint32_t)draw(s);
    if (more && rate) o->swarm = (struct sim_swarm){rate, kinds, 0, calls};
    const unsigned n = more ? (unsigned)(draw(s) % 4) : 0;
    for (unsigned i = 0; i < n; i++) { /* one draw a statement: compilers order arguments as they like */
        const unsigned call = 1 + (unsigned)(draw(s) % 90);
        const int what = SIM_HAPPENING_0 + (int)(draw(s) % HAPPENINGS);
        const int64_t arg = (int64_t)(draw(s) >> 2);
        plan_add(p, call, what, arg);
    }
}

static void set_abilities(struct setting *s, struct sim_options *o)
{
    const unsigned luck = (unsigned)(draw(s) % 100);
    if (luck < 12) o->can.can_read = false;
    if (luck < 4 || (luck >= 12 && luck < 18)) o->can.can_test = false;
    if (luck < 2 || luck == 4 || (luck >= 18 && luck < 30)) o->can.can_write = false;
    o->workers = 1 + (unsigned)(draw(s) % 3);
    o->copies = 1 + (unsigned)(draw(s) % 2);
    o->restless = chance(s, 40);
    o->two_schedulers = chance(s, 25);
}

static void put(struct sim_world *w, enum aws_key_status status, bool in_instance)
{
    const struct sim_key *k = sim_truth_put(&w->truth, status, 100 * DAY_MS, true);
    if (in_instance) sim_truth_write(&w->truth, k->id, k->secret, SIM_BY_STRANGER, w->sim.mono_ms);
}

enum start {
    START_PLAIN,    /* one Active key, which the instance holds */
    START_DEAD,     /* no key, or one that is Inactive or expired */
    START_TWO_KEYS, /* and one that nobody explains */
};

static enum start set_start(struct setting *s, struct sim_world *w)
{
    const unsigned luck = (unsigned)(draw(s) % 100);
    if (luck < 4)
        ; /* no key at all */
    else if (luck < 8)
        put(w, AWS_KEY_INACTIVE, true);
    else if (luck < 11)
        put(w, AWS_KEY_EXPIRED, true);
    else
        put(w, AWS_KEY_ACTIVE, true);
    if (luck >= 11 && luck < 15) put(w, luck % 2 ? AWS_KEY_ACTIVE : AWS_KEY_INACTIVE, false);
    sim_run_for(w, START_MS); /* long ago */
    return luck < 11 ? START_DEAD : luck < 15 ? START_TWO_KEYS : START_PLAIN;
}

/* ---- one run ------------------------------------------------------------------------------------------------------
 */

static void cover(void *arg, const struct sim_call *c, enum sim_fault_kind kind)
{
    sim_coverage_note(arg, c, kind);
}

static size_t take_rules(const struct sim_plan *p, struct sim_rule *rules, struct sim_options *o, bool *ret_person,
                         bool *ret_loses)
{
    size_t n = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->v[i].what == PLAN_BASE) {
            const struct sim_base *b = &sim_bases[p->v[i].arg];
            n += sim_base_rules(b, rules + n);
            if (b->options) b->options(o);
            *ret_person = b->person;
            *ret_loses = b->loses;
        } else if (p->v[i].what == PLAN_CELL) {
            const struct cell *c = &cells[p->v[i].arg];
            rules[n++] = (struct sim_rule){
                .table = c->at.table, .row = c->at.row, .edge = (int)c->at.edge, .op = c->at.op, .fault = {c->kind, 0}};
        }
    }
    return n;
}

static bool plans(const struct sim_plan *p, int what)
{
    for (size_t i = 0; i < p->n; i++)
        if (p->v[i].what == what) return true;
    return false;
}

/* Where nothing can be read, only an Active key is known to be the instance's, and AWS's last-used is all there is:
 * what the instance refused, what it went back to and what somebody pasted wrongly cannot be told apart from the rest,
 * nor can times be compared with AWS's when the clock that they are of was set in between, nor what was offered be
 * known when Redis may have lost it. */
static bool unread_asks(const struct sim_world *w, const struct sim_plan *p, enum start start, bool restored)
{
    static const int hides[] = {HAPPEN_WRITES_REFUSED, HAPPEN_TESTS_FAIL, HAPPEN_REDIS_CLOCK, HAPPEN_REDIS_RESTART};
    if (w->o.can.can_read) return false;
    bool hidden = false;
    for (size_t i = 0; i < ARRAY_LEN(hides); i++) hidden = hidden || plans(p, SIM_HAPPENING_0 + hides[i]);
    return hidden || start != START_PLAIN || restored || w->instance_hurt || w->wrong;
}

/* A stranger changed what is in use, or new, or put away. A story in which he touches the new key heals where a test
 * notices it, unless the instance goes back to an older key or refuses the next one (that one keeps its slot for the
 * quarantine), the new one is exposed, or a call is refused for good. */
static bool stranger_asks(const struct sim_world *w, const struct sim_plan *p, bool restored, bool exposed)
{
    if (w->stranger_hurts || (w->truth.outside_ms && !w->o.can.can_test)) return true;
    const bool refuses = plans(p, SIM_HAPPENING_0 + HAPPEN_WRITES_REFUSED);
    return w->truth.outside_ms && (restored || exposed || refuses || w->refused);
}

/* tests/sim/README.md, "Which histories still leave a second key": a record or journal that went back in time while the
 * rest stayed; a restored instance, or one that cannot be read, whose pair is lost; a call that makes the predecessor
 * Active and lands when nothing tells of it any more; a job from before the first record that comes when Redis has lost
 * it. What is lost twice may not have been put back yet. */
static bool loss_asks(const struct sim_world *w, const struct sim_key *held, enum start start, bool restored)
{
    const unsigned losses = sim_redis_losses(w->redis);
    const bool is_dead = held && held->status != AWS_KEY_ACTIVE && !strcmp(held->id, w->unsealable);
    if (w->dead_pair_lost || (restored && is_dead)) return true;
    if (!losses) return false;
    return w->truth.revived_late || w->went_back || losses > 1 || restored || w->old_first_look ||
           start == START_DEAD || !w->o.can.can_write || !w->o.can.can_read;
}

/* A rotation that only an operator asked for, and that was given up, is his to ask for again: the dead letter tells
 * him, and policy wants nothing of a key that is young, alone and in use. */
static bool asked_in_vain(struct sim_world *w, const struct sim_plan *p)
{
    const struct sim_key *held = sim_truth_find(&w->truth, w->truth.instance.id);
    const enum record_state state = sim_state(w);
    if (!plans(p, SIM_HAPPENING_0 + HAPPEN_OPERATOR) || !w->outcomes[OUTCOME_DEAD]) return false;
    if (state != RECORD_FAILED && state != RECORD_STUCK) return false;
    return held && held->made_by == SIM_BY_KEYROLL && sim_truth_works(&w->truth) && sim_truth_count(&w->truth) == 1;
}

/* Whatever calls failed, whoever crashed: keyroll ends that alone, unless one of these says why a person has to look.
 */
static bool heals(struct sim_world *w, const struct sim_plan *p, enum start start)
{
    const struct sim_truth *t = &w->truth;
    const struct sim_key *held = sim_truth_find(&w->truth, t->instance.id);
    const bool restored = w->restored_once;
    bool exposed = false;
    for (size_t i = 0; i < t->n; i++) exposed = exposed || t->keys[i].exposed;
    if (start == START_TWO_KEYS || t->ghost || t->blinded) return false;
    if (restored && (start == START_DEAD || sim_has_no_way_back(w))) return false; /* nor forward */
    if (w->no_way_back && sim_state(w) == RECORD_DRIFTED) return false;
    return !unread_asks(w, p, start, restored) && !stranger_asks(w, p, restored, exposed) &&
           !loss_asks(w, held, start, restored) && !asked_in_vain(w, p);
}

static void happen(struct sim_world *w, int n, int64_t arg)
{
    sim_happen(w, n, arg);
}

static void fill(const struct sim_world *w, struct sim_history *ret)
{
    struct record r;
    struct sim_world *world = (struct sim_world *)(uintptr_t)w;
    ret->trace = w->sim.trace;
    ret->events = w->sim.ran;
    ret->creates = w->truth.creates;
    ret->deletes = w->truth.deletes;
    ret->state = sim_state(world);
    ret->asks = sim_asks(world);
    if (sim_record(world, &r)) snprintf(ret->reason, sizeof(ret->reason), "%s", r.reason);
    snprintf(ret->violation, sizeof(ret->violation), "%s", w->truth.violation);
}

void sim_history_run(uint64_t seed, const struct sim_plan *replay, FILE *story, struct sim_coverage *coverage,
                     struct sim_history *ret)
{
    struct setting s = {seed * 0xd6e8feb86659fd93u + 3, seed};
    struct sim_options o;
    struct sim_rule rules[SIM_BASE_RULES + SIM_PLAN_MAX];
    struct sim_plan plan = {.n = 0};
    bool person = false, loses = false;
    sim_options_default(&o, seed);
    o.story = story;
    set_abilities(&s, &o);
    struct setting start = {draw(&s), seed};
    const unsigned wrong = chance(&s, 20);
    const int64_t late_ms = chance(&s, 30) ? (int64_t)(draw(&s) % (3 * DAY_MS)) : 60000;
    make_plan(&s, &plan, &o);
    if (replay) {
        plan = *replay;
        o.swarm = (struct sim_swarm){0, 0, 0, 0};
    }
    o.n_rules = take_rules(&plan, rules, &o, &person, &loses);
    o.rules = rules;
    o.replay = &plan;
    o.happen = happen;
    o.cover = coverage ? cover : NULL;
    o.cover_arg = coverage;
    memset(ret, 0, sizeof(*ret));
    ret->seed = seed;
    struct sim_world *w = sim_world_new(&o);
    if (!plans(&plan, SIM_HAPPENING_0 + HAPPEN_REDIS_FAILOVER) && !loses) sim_redis_no_failover(w->redis);
    const enum start begins = set_start(&start, w);
    sim_drive(w, person || !o.can.can_write, wrong, late_ms, DAYS);
    sim_check_end(w);
    ret->heals = heals(w, &plan, begins);
    if (ret->heals && sim_asks(w))
        sim_violate(&w->truth, "I8: it rests as %s, though nothing happened that keyroll does not heal alone",
                    record_state_name(sim_state(w)));
    fill(w, ret);
    ret->plan = plan; /* and what the swarm added */
    for (size_t i = 0; i < w->plan.n && ret->plan.n < SIM_PLAN_MAX; i++) ret->plan.v[ret->plan.n++] = w->plan.v[i];
    sim_world_free(w);
}

/* ---- shrinking ----------------------------------------------------------------------------------------------------
 */

/* "I1", "I8", or the first word. */
static bool same_violation(const char *a, const char *b)
{
    a = strstr(a, "ms: ");
    b = strstr(b, "ms: ");
    if (!a || !b) return false;
    a += 4;
    b += 4;
    size_t n = strcspn(a, " ");
    return strcspn(b, " ") == n && !strncmp(a, b, n);
}

unsigned sim_history_shrink(struct sim_history *h)
{
    unsigned runs = 1;
    struct sim_history again;
    sim_history_run(h->seed, &h->plan, NULL, NULL, &again);
    if (!same_violation(h->violation, again.violation)) return runs; /* its plan was too long to be kept */
    for (bool less = true; less;) {
        less = false;
        for (size_t i = h->plan.n; i-- > 0;) {
            struct sim_plan p = h->plan;
            memmove(&p.v[i], &p.v[i + 1], (p.n - i - 1) * sizeof(p.v[0]));
            p.n--;
            runs++;
            sim_history_run(h->seed, &p, NULL, NULL, &again);
            if (!same_violation(h->violation, again.violation)) continue;
            *h = again;
            h->plan = p;
            less = true;
        }
    }
    return runs;
}

/* ---- plans as text ------------------------------------------------------------------------------------------------
 */

/* Rows may share a name: the later ones of them have their number behind it. */
static void cell_name(size_t at, char *out, size_t size)
{
    const struct cell *c = &cells[at];
    int before = 0;
    for (size_t i = 0; i < at; i++)
        before += cells[i].kind == c->kind && !strcmp(cells[i].at.table, c->at.table) &&
                  !strcmp(cells[i].at.step, c->at.step) && !strcmp(cells[i].at.op, c->at.op);
    int n = snprintf(out, size, "%s|%s|%s|%s", c->at.table, c->at.step, c->at.op, sim_fault_name(c->kind));
    if (before) snprintf(out + n, size - (size_t)n, "#%d", before + 1);
}

void sim_plan_print(const struct sim_plan *p, FILE *out)
{
    char name[300];
    for (size_t i = 0; i < p->n; i++) {
        const struct sim_plan_item *x = &p->v[i];
        if (i) fprintf(out, "; ");
        if (x->what == PLAN_BASE) {
            fprintf(out, "base: %s", sim_bases[x->arg].name);
        } else if (x->what == PLAN_CELL) {
            cell_name((size_t)x->arg, name, sizeof(name));
            fprintf(out, "at: %s", name);
        } else {
            fprintf(out, "%u: %s: %" PRId64, x->call,
                    x->what >= SIM_HAPPENING_0 ? sim_happening_name(x->what - SIM_HAPPENING_0)
                                               : sim_fault_name((enum sim_fault_kind)x->what),
                    x->arg);
        }
    }
    fprintf(out, "\n");
}

static bool parse_base(const char *text, struct sim_plan *p)
{
    for (size_t i = 0; i < sim_n_bases; i++)
        if (!strcmp(sim_bases[i].name, text)) {
            plan_add(p, 0, PLAN_BASE, (int64_t)i);
            return true;
        }
    return false;
}

static bool parse_cell(const char *text, struct sim_plan *p)
{
    char name[300];
    for (size_t i = 0; i < n_cells; i++) {
        cell_name(i, name, sizeof(name));
        if (strcmp(name, text)) continue;
        plan_add(p, 0, PLAN_CELL, (int64_t)i);
        return true;
    }
    return false;
}

static bool parse_item(char *text, struct sim_plan *p)
{
    if (!strncmp(text, "base: ", 6)) return parse_base(text + 6, p);
    if (!strncmp(text, "at: ", 4)) return parse_cell(text + 4, p);
    char *name = strstr(text, ": "), *arg = name ? strstr(name + 2, ": ") : NULL;
    if (!arg) return false;
    *arg = '\0';
    name += 2;
    const unsigned call = (unsigned)strtoul(text, NULL, 10);
    const int64_t value = strtoll(arg + 2, NULL, 10);
    for (int n = 0; n < HAPPENINGS; n++)
        if (!strcmp(sim_happening_name(n), name)) {
            plan_add(p, call, SIM_HAPPENING_0 + n, value);
            return true;
        }
    for (int k = 0; k < SIM_FAULT_KINDS; k++)
        if (!strcmp(sim_fault_name((enum sim_fault_kind)k), name)) {
            plan_add(p, call, k, value);
            return true;
        }
    return false;
}

bool sim_plan_parse(char *text, struct sim_plan *ret)
{
    ret->n = 0;
    text[strcspn(text, "\n")] = '\0';
    for (char *next, *at = text; *at; at = next) {
        char *end = strstr(at, "; ");
        next = end ? end + 2 : at + strlen(at);
        if (end) *end = '\0';
        if (!parse_item(at, ret)) return false;
    }
    return true;
}
