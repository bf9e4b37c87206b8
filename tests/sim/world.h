/* One licence in a simulated world: its truth, the four edges, workers that run the real sagas, a scheduler that runs
 * the real policy, and people. What tests and the large simulation drive. */
#ifndef KEYROLL_SIM_WORLD_H
#define KEYROLL_SIM_WORLD_H

#include "producer/policy.h"
#include "producer/states.h"
#include "tests/sim/aws.h"
#include "tests/sim/group.h"
#include "tests/sim/instance.h"
#include "tests/sim/kafka.h"
#include "tests/sim/redis.h"
#include "worker/report.h"

#define SIM_WORKERS_MAX 4
#define SIM_DROPPED     4 /* the last so many */
#define SIM_ACCOUNT     "123456789012"
#define SIM_USER        "SynergistExpress-4711"
#define SIM_LICENCE     "4711"
#define SIM_USER_KEY    "123456789012/synergistexpress-4711"

struct sim_world;
struct loop;

/* A fault, or something that happens, at the n-th call of a row. NULL and -1 match all. */
struct sim_rule {
    const char *table;    /* "rotate", ... */
    int row;              /* index in the table */
    const char *step;     /* or its name */
    int edge;             /* enum sim_edge */
    const char *op;       /* "CreateAccessKey", "journal_put", "prefix.events" ... */
    unsigned skip, times; /* calls let pass first; calls hit then, 0 = 1 */
    struct sim_fault fault;
    void (*act)(struct sim_world *w); /* done right after the call began */
    unsigned seen, hit;               /* counted here */
};
#define SIM_ANY .row = -1, .edge = -1

/* A call that was made, for the matrix. */
struct sim_cell {
    const char *table, *step, *op;
    int row;
    enum sim_edge edge;
    bool writes;
};
/* Why this kind cannot be there; NULL: it can. worker: the caller is one. */
const char *sim_fault_why_not(enum sim_edge edge, const char *op, bool writes, bool worker, enum sim_fault_kind k);
static inline bool sim_fault_possible(enum sim_edge edge, const char *op, bool writes, bool worker,
                                      enum sim_fault_kind k)
{
    return !sim_fault_why_not(edge, op, writes, worker, k);
}

/* Random faults: each call is hurt with this chance until then. */
struct sim_swarm {
    unsigned per_thousand;
    uint32_t kinds;   /* bit per enum sim_fault_kind */
    int64_t until_ms; /* monotonic, since the start; 0 = the calls alone count */
    unsigned calls;   /* the first so many calls; 0 = all */
};

/* What goes wrong in one history: faults of single calls, and things that happen when a call begins. All random choices
 * of this kind are in here, so that a history can be told again with some of them left out. */
#define SIM_PLAN_MAX    96
#define SIM_HAPPENING_0 100 /* above: happenings, in the numbers of whoever drives */
struct sim_plan_item {
    unsigned call; /* the n-th of the history, from 1 */
    int what;      /* enum sim_fault_kind, or SIM_HAPPENING_0 + n */
    int64_t arg;   /* a fault's delay_ms; a happening's own */
};
struct sim_plan {
    struct sim_plan_item v[SIM_PLAN_MAX];
    size_t n;
};

struct sim_options {
    uint64_t seed;
    FILE *story;
    unsigned workers; /* 0 = 1 */
    struct instance_abilities can;
    struct rotation_policy rotation;
    struct policy policy;
    struct sim_rule *rules;
    size_t n_rules; /* borrowed; counted in place */
    struct sim_swarm swarm;
    const struct sim_plan *replay; /* instead of the swarm */
    void (*happen)(struct sim_world *w, int n, int64_t arg);
    void (*cover)(void *arg, const struct sim_call *c, enum sim_fault_kind kind); /* told of each call; NULL */
    void *cover_arg;
    unsigned copies; /* times each job is published; 0 = 1 */
    bool restless;   /* schedulers publish at every tick, whatever is under way */
    bool two_schedulers;
    bool log_cells;
};

struct sim_worker {
    struct sim_client client; /* first */
    struct sim_world *world;
    char name[8];
    bool alive;
    struct clock clock;
    int64_t wall_off_ms; /* its wall clock is wrong by so much */
    struct store store;
    struct leases leases;
    struct report *report;
    struct rotation_env env;
    struct loop *loop;
    struct intake *intake;
    struct kafka_in in;
    struct rotation *calling; /* whose row starts a call now */
};

struct sim_scheduler {
    struct sim_client client; /* first */
    struct sim_world *world;
    struct store store;
    uint64_t digest; /* of the world, at the last publication */
    unsigned idle;   /* publications in a row that changed nothing of it */
    bool outranked;  /* what it puts back is older than what it replaces */
};

struct sim_world {
    struct sim sim; /* first */
    struct sim_options o;
    struct sim_net net;
    struct sim_truth truth;
    struct sim_redis *redis;
    struct sim_aws *aws;
    struct sim_instance *instance;
    struct sim_kafka *kafka;
    const struct escrow *escrow;
    struct sim_worker workers[SIM_WORKERS_MAX];
    /* scheduler */
    struct sim_scheduler schedulers[2];
    struct store scheduler_store; /* for the names of keys */
    struct states states;         /* what the keys topic says */
    uint64_t last_digest;
    unsigned same; /* looks in a row that changed nothing */
    int64_t same_since_ms;
    bool planned; /* one of them called for planned work */
    bool quiet;
    struct sim_group group;
    unsigned calls; /* so far */
    uint64_t fate;  /* state of the random numbers for faults */
    struct sim_plan plan;
    unsigned published, restored, crashes;
    /* people */
    struct sim_client person;
    struct store person_store;
    /* outcomes */
    unsigned outcomes[OUTCOME_WAITING + 1];
    char dead_step[RECORD_STEP_MAX], dead_reason[RECORD_TEXT_MAX];
    int dead_error;
    struct sim_cell *cells;
    size_t n_cells, cap_cells;
    struct {
        char token[STORE_TOKEN_MAX];
        int64_t at_ms;
    } dropped[SIM_DROPPED]; /* leases that Redis dropped under their holders, who cannot know for their lifetime */
    unsigned n_dropped;
    unsigned leases_evicted; /* of what counts as a loss */
    int64_t redis_ahead_ms;  /* its wall clock, by the happenings */
    bool redis_set_back;     /* that clock was: a lease's number may be lower than one that a failover lost */
    int64_t effect_number;   /* the lease's, under which the last effect was begun */
    /* What may need a person's eyes (history.c) */
    bool stranger_hurts;   /* a stranger made a key, or changed one that is in use, newest or put away */
    bool went_back;        /* a failover or an eviction took record or journal back and left the rest (a flush: R8) */
    uint64_t state_before; /* hash of both when Redis went down */
    bool restored_once;    /* the instance was restored to an older key */
    bool no_way_back;      /* to one that leaked or is gone, and drifted so, before it was restored once more */
    bool dead_pair_lost;   /* the instance went back to an Inactive key, and the kept pair cannot be opened */
    char unsealable[24];   /* the key whose sealed pair cannot be opened; "" none */
    bool old_first_look;   /* a job from before the first record began when Redis had lost it */
    bool refused;          /* a call was refused for good */
    bool instance_hurt;    /* a call to the instance did not simply go well */
    bool wrong;            /* a person pasted another pair than the one that was shown */
    bool intent_lies;      /* in Redis, of the create that is open */
    bool orphan_allowed;   /* a stranger or a lost witness may leave what nobody can explain */
};

/* Settings like the shipped defaults, except a quarantine of a day. can: writes, reads and tests. */
void sim_options_default(struct sim_options *o, uint64_t seed);
/* A user without a key, an instance without a key, nothing published. */
struct sim_world *sim_world_new(const struct sim_options *o);
void sim_world_free(struct sim_world *w);
/* The plain start: one Active key, 100 days old, in the instance. */
struct sim_key *sim_start_plain(struct sim_world *w);
/* The scheduler begins to look. */
void sim_schedule(struct sim_world *w);
/* Runs until nothing changes any more, or the world is that many days old. True: it is quiet. */
bool sim_run_quiet(struct sim_world *w, int days);
/* Runs for that long. */
void sim_run_for(struct sim_world *w, int64_t ms);
/* Runs until until(w) says so. False: the queue is empty or max_ms passed. */
bool sim_run_until(struct sim_world *w, bool (*until)(struct sim_world *w), int64_t max_ms);

/* Publishes a job of this kind about key_id ("" none) and rotation, as the scheduler would. */
void sim_publish(struct sim_world *w, int kind, int reason, const char *key_id, int64_t rotation);
void sim_publish_job(struct sim_world *w, struct sim_client *by, const struct job *j);
void sim_fill_job(struct sim_world *w, int kind, int reason, const char *key_id, int64_t rotation, struct job *ret);
void sim_worker_crash(struct sim_worker *k);
void sim_worker_drain(struct sim_worker *k); /* SIGTERM; it comes back */
/* Messages that are not finished. */
static inline size_t sim_messages(const struct sim_world *w)
{
    return (size_t)sim_group_lag(&w->group);
}

/* Redis's wall clock is set: leases end before their time. */
void sim_set_redis_clock(struct sim_world *w, int64_t ahead_ms);
/* It is wrong by so much more from now on. */
void sim_step_redis_clock(struct sim_world *w, int64_t by_ms);
/* It is about to restart, or to lose everything. */
void sim_redis_goes(struct sim_world *w);
/* Redis loses one of the user's keys ("lease", "journal", "record", "exposed"), against its settings. */
void sim_evict(struct sim_world *w, const char *what);

/* What Redis holds, decoded from the truth. False: nothing there. */
bool sim_record(struct sim_world *w, struct record *ret);
bool sim_journal(struct sim_world *w, struct journal *ret);
bool sim_leased(struct sim_world *w);
enum record_state sim_state(struct sim_world *w); /* RECORD_NEW when there is none */
uint64_t sim_world_digest(struct sim_world *w);

/* At the end: I2, I6, I8 and that nothing is left over. "" when all is well, else what is wrong. Includes what was seen
 * on the way. */
const char *sim_check_end(struct sim_world *w);
/* The licence is in a state that asks for a person. */
bool sim_asks(struct sim_world *w);
/* The same, and the licence is current: one key, in use. */
const char *sim_check_current(struct sim_world *w);

/* ---- people and strangers (person.c); all run until they are done: not from within an event ---- */

/* keyroll reveal: takes the lease, decides the direction, opens the sealed pair. False: there is nothing to show. */
bool sim_reveal(struct sim_world *w, struct sim_pair *ret_pair);
void sim_paste(struct sim_world *w, const struct sim_pair *pair);
void sim_confirm(struct sim_world *w);
void sim_mark_exposed(struct sim_world *w, const char *key_id);
void sim_pause(struct sim_world *w, const char *reason); /* NULL: resume */
/* The instance goes back to an older key, as a restored copy does. */
void sim_restore_instance(struct sim_world *w, const struct sim_key *k);
/* It was restored to a key that leaked or that AWS does not know: only a person can end that. */
bool sim_has_no_way_back(struct sim_world *w);

/* Internal seams between the files of this folder. */
void sim_workers_start(struct sim_world *w);
void sim_workers_stop(struct sim_world *w);
void sim_workers_redis_up(struct sim_world *w);
bool sim_workers_idle(const struct sim_world *w);
void sim_scheduler_start(struct sim_world *w);
void sim_worker_intake_calls(struct sim_worker *k, const char *step);
void sim_worker_step_calls(struct sim_worker *k, struct rotation *r);
void sim_worker_drained(void *worker);
void sim_intake_busy(struct sim_worker *k);
void sim_world_outcome(struct sim_world *w, const struct rotation *r, int outcome);
/* Something that is no call of its own: 0 goes well, 1 is lost before its effect, 2 after it. */
int sim_luck(struct sim_world *w);
uint64_t sim_fate(struct sim_world *w);
/* The call's operation as a name that lasts. */
const char *sim_lasting_name(const struct sim_call *c);
extern const char *const sim_topic_events, *const sim_topic_keys;

#endif
