/* Mutants: faults that can be switched into the code under simulation, to see that its checker notices. In the programs
 * MUTANT(x) is the constant false; only the copy of the code in tests/sim is built with KEYROLL_MUTANTS.
 * KEYROLL_MUTANTS_UNSEEN: tried, and no history of 20,000 showed it. */
#ifndef KEYROLL_MUTANT_H
#define KEYROLL_MUTANT_H

#ifdef KEYROLL_MUTANTS
/* X(name, what it does, the rule that it breaks, the seed to begin with: for time, all others follow) */
#define KEYROLL_MUTANT_LIST(X)                                                                                         \
    X(GUARD_BLIND, "steps go on without a lease", "R3", 1)                                                             \
    X(NO_HOLD_OFF, "leases are given at once after Redis failed over", "R3", 14981)                                    \
    X(NO_FENCE, "no script compares the lease token, but acquire", "R3", 1)                                            \
    X(UNDO_OFFERED, "a refused write is taken back at once", "R1", 1)                                                  \
    X(UNDO_BLIND, "an undo believes its journal and does not look at the instance", "R1", 15949)                       \
    X(DONE_BEFORE_JOURNAL, "the done test comes before the journal", "R2", 1)                                          \
    X(EFFECT_FIRST, "CreateAccessKey goes before its intent is journalled", "R2", 1)                                   \
    X(ABSENT_AT_ONCE, "the first list that shows no new key is believed", "R4", 1)                                     \
    X(UNKNOWN_IS_UNUSED, "a newcomer whose use nobody knows counts as unused", "R4", 1)                                \
    X(CREATE_AGAIN, "CreateAccessKey is repeated after a lost reply", "R4", 1)                                         \
    X(REST_SKIPPED, "what may be a stranger's key is deleted before it was Inactive for an hour", "R4", 1)             \
    X(NEWCOMER_TAKEN, "a key that was made after a rotation counts as ours, with no create open", "R4", 1)             \
    X(REAP_EARLY, "a key is deleted before its quarantine is over", "R5", 1)                                           \
    X(NUDGE_BELIEVED, "a retire does not ask the record whether its time has come", "R6", 1)                           \
    X(RETIRE_BLIND, "a retire does not look at the instance", "R6", 1)                                                 \
    X(EXPOSED_REVIVED, "an exposed key is made Active again", "R7", 1)                                                 \
    X(OFFERED_UNTOLD, "that a key is offered is not told on Kafka", "R8", 16789)                                       \
    X(OFFERED_UNDONE, "an offered key whose secret is lost is deleted at once", "R8", 17576)                           \
    X(EXPOSED_WAITS, "an exposed key that was replaced waits for its overlap", "R9", 1)                                \
    X(UNDONE_IS_DONE, "a rotation that was undone counts as done", "R10", 1)                                           \
    X(USE_UNASKED, "where nothing can be read a retire does not ask AWS who is in use", "R11", 1)                      \
    X(DEAD_STAYS, "a new key that somebody set Inactive stays so", "R12", 1)                                           \
    X(UNSEALABLE_AWAITED, "a pair that cannot be opened is waited for", "R13", 1)                                      \
    X(ORPHAN_IN_DOUBT, "a key is deleted without a lease after a lost reply", "R14", 17019)                            \
    X(SETTLE_ONCE, "one proof of a new key is enough", "I1", 1)                                                        \
    X(UNSEALED, "a new secret is not sealed", "I2", 1)                                                                 \
    X(UNSETTLED, "a key that is refused counts as settled", "I1", 1)                                                   \
    X(DELETE_FIRST, "the first listed key is deleted", "I3", 1)                                                        \
    X(UNREAD_TAKEN, "where nothing can be read each key of the user counts as ours", "I3", 1)                          \
    X(SECRET_TOLD, "the secret stands in a reason", "I6", 1)                                                           \
    X(COMMIT_EARLY, "the offset is finished before the delivery report", "I7", 1)                                      \
    X(PARKED_DONE, "a job that is parked counts as done", "I7", 1)                                                     \
    X(ABANDONED_DONE, "a job that is abandoned counts as done", "I7", 1)                                               \
    X(LEASE_KEPT, "a failed run keeps its lease and goes on as if it were done", "I8", 1)                              \
    X(BLIND_ASKS, "a person is asked when AWS cannot say at once whether a key was used", "I8", 1)                     \
    X(EXPIRED_ASKS, "a person is asked about an expired key", "I8", 1)                                                 \
    X(GONE_ASKS, "a person is asked when somebody else deleted the predecessor", "I8", 1)
/* X(what it does, the rule, why it is not seen) */
#define KEYROLL_MUTANTS_UNSEEN(X)                                                                                      \
    X("a third key instead of the kept pair", "R5", "the limit of two keys stops it, and a person is told")            \
    X("a second write without a proof before it", "I1", "a stranger has to come within the same seconds")              \
    X("a key is taken away by a look of any age", "R6",                                                                \
      "what comes after the look must hang for minutes, and somebody change just that key meanwhile (saga.look)")      \
    X("a takeover does not wait for the last calls of the one before", "R7",                                           \
      "the call must land after the next worker's, on the very key that went back into use")                           \
    X("a new key that one list does not show is lost", "R12",                                                          \
      "only a key that the instance's test refuses is looked up, and then the list was late as well")
enum keyroll_mutant {
    MUTANT_NONE,
#define KEYROLL_MUTANT_ENUM(name, text, rule, first) MUTANT_##name,
    KEYROLL_MUTANT_LIST(KEYROLL_MUTANT_ENUM)
#undef KEYROLL_MUTANT_ENUM
        MUTANTS
};
extern int keyroll_mutant; /* which one is on */
#define MUTANT(name) (keyroll_mutant == MUTANT_##name)
#else
#define MUTANT(name) 0
#endif

#endif
