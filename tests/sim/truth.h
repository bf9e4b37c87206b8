/* The truth of one IAM user and its instance, and the judge over it: keys, who made them, what the instance holds, and
 * the invariants I1 and I3 of the design checked at each change. Whatever keyroll believes is not looked at here. */
#ifndef KEYROLL_SIM_TRUTH_H
#define KEYROLL_SIM_TRUTH_H

#include "lib/aws.h"
#include "tests/sim/sim.h"

#define SIM_KEYS_MAX   64
#define SIM_SECRET_MAX 41

enum sim_by { SIM_BY_KEYROLL, SIM_BY_PERSON /* pastes what keyroll shows */, SIM_BY_STRANGER };

struct sim_key {
    char id[24], secret[SIM_SECRET_MAX];
    enum aws_key_status status;
    bool exists, exposed, deleted; /* deleted: by keyroll */
    int64_t marked_ms;             /* since when the mark lies in Redis; -1 not yet */
    enum sim_by made_by;           /* STRANGER also for the keys that were there at the start */
    bool original;                 /* was there at the start */
    int64_t made_ms;               /* monotonic */
    int64_t created_wall_ms;
    int64_t usable_ms; /* monotonic: refused as too new before */
    bool was_used;
    int64_t first_used_wall_ms, last_used_wall_ms;
    bool was_offered;             /* a write of it to the instance took effect */
    bool was_held;                /* the instance held it while it was accepted */
    bool was_alone;               /* keyroll saw it as the user's only key */
    bool was_doubted;             /* keyroll began to take it back while a create of its own was open */
    int64_t doubted_ms;           /* when it began so last */
    bool was_seen;                /* keyroll read it there */
    bool was_shown;               /* the instance held it, accepted or not */
    int64_t inactive_wall_ms;     /* when it went Inactive; TIME_NONE */
    bool changed_outside;         /* a stranger changed its status last */
    int64_t outside_ms;           /* when a stranger changed or deleted it last; -1 never */
    int64_t left_ms;              /* when keyroll or a person gave the instance another one; -1 it did not go so */
    int64_t flap_ms, flap_end_ms; /* accepted for a moment before it is usable: propagation flaps */
};
struct sim_pair {
    bool any;
    char id[24], secret[SIM_SECRET_MAX];
};
struct sim_truth {
    struct sim *sim;
    struct sim_key keys[SIM_KEYS_MAX];
    size_t n;
    char listed_before[4][24]; /* keys as listed before the last change: what a stale list shows */
    enum aws_key_status status_before[4];
    size_t n_before;
    int64_t listed_change_ms; /* when they changed last */
    int64_t propagate_least_ms, propagate_most_ms;
    bool ghost;            /* a list showed a key that keyroll had deleted */
    bool idle;             /* the instance has a key and does not use it for days */
    bool unreadable;       /* the instance shows nothing: the user's only Active key counts as its key (R11) */
    int64_t quarantine_ms; /* a key that was offered lives so long as Inactive (R5) */
    int64_t rest_ms;       /* and one that may be a stranger's so long (R4) */
    bool create_open;      /* an intent was journalled, and no journal since tells what became of its create */
    bool outrun;           /* a call of keyroll's landed on a key that the instance was restored to since it was sent */
    bool revived_late;     /* keyroll's own call made a key Active long after it was given up */
    bool blinded;          /* a look-up of a key that was never in use told nothing */
    struct sim_pair instance, instance_before;
    int64_t instance_change_ms;  /* when it changed last */
    int64_t instance_outside_ms; /* when somebody else changed it; -1 never */
    int64_t instance_read_ms;    /* last time keyroll looked */
    int64_t instance_shown_ms;   /* and saw what it holds, not what it held before */
    int64_t listed_ms;           /* last time keyroll saw a list */
    int64_t outside_ms;          /* last time a stranger touched any key */
    int64_t asked_ms;            /* when the call whose effect comes now was begun: it was decided before */
    int64_t asked_listed_ms;     /* listed_ms of then: a call may land after another worker's look */
    bool listed_before_outside;  /* that list was of before a stranger's change */
    bool unproven;               /* keyroll acts, and has nothing to try the instance's key with: no pair, no test */
    bool asked_unproven;         /* both, when the call was begun */
    int64_t intent_ms;           /* when keyroll meant to send its last CreateAccessKey; -1 never */
    int64_t intent_first_ms;     /* when it meant to for the first time since it was let through the gate */
    bool at_gate;                /* it was there since the last intent: the next one is a new one */
    bool held_accepted;          /* the instance once held an accepted key */
    unsigned creates, deletes;   /* by keyroll */
    char violation[400];         /* the first one, "" none */
};

void sim_truth_init(struct sim_truth *t, struct sim *s);
void sim_violate(struct sim_truth *t, const char *fmt, ...) PRINTF_LIKE(2, 3);
/* A key that is there from the start, or made by a stranger. Usable at once. */
struct sim_key *sim_truth_put(struct sim_truth *t, enum aws_key_status status, int64_t age_ms, bool original);
struct sim_key *sim_truth_find(struct sim_truth *t, const char *id);
size_t sim_truth_count(const struct sim_truth *t);
/* ERR_AWS_LIMIT; *ret_key. */
int sim_truth_create(struct sim_truth *t, enum sim_by by, struct sim_key **ret_key);
/* ERR_AWS_NO_ENTITY. */
int sim_truth_update(struct sim_truth *t, const char *id, enum aws_key_status status, enum sim_by by);
int sim_truth_delete(struct sim_truth *t, const char *id, enum sim_by by);
/* 0, ERR_KEY_TOO_NEW, ERR_KEY_BAD_SECRET. */
int sim_truth_try(struct sim_truth *t, const char *id, const char *secret);
/* The same, for who asks while it propagates: it may be accepted for a moment and refused again. */
int sim_truth_probe(struct sim_truth *t, const char *id, const char *secret);
/* The instance's stored pair is accepted, from now on. */
bool sim_truth_works(struct sim_truth *t);
/* The pair in the instance changes; id "" = none. begun_ms: when the write was sent. */
void sim_truth_write(struct sim_truth *t, const char *id, const char *secret, enum sim_by by, int64_t begun_ms);
/* Somebody uses the key now (a probe, the instance's test). */
void sim_truth_touch(struct sim_truth *t, const char *id);
/* What GetAccessKeyLastUsed says; *ret_wall_ms only for AWS_USED_AT. */
enum aws_used sim_truth_last_used(struct sim_truth *t, const char *id, int64_t *ret_wall_ms);
/* Leave to create is asked for. */
void sim_truth_gate(struct sim_truth *t);
/* An intent to create is about to be journalled: after the gate a new one, else the same one is told anew. */
void sim_truth_intend(struct sim_truth *t);
uint64_t sim_truth_digest(const struct sim_truth *t);

#endif
