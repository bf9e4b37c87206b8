/* One IAM user, one instance, two workers, one scheduler: the lease, the journal and the record in Redis, the states on
 * keyroll.keys, and the rows of worker/rotate.c, retire.c and reap.c, under crashes, freezes, lost and late calls, lost
 * Redis writes, a restored instance and a stranger. README.md says what is abstracted; run checks it.
 *
 * Given by -D: R1..R14 (rules, 1 on), EXPOSE, READ, STRANGER, MEND_* (1 = with it; the defaults are what worker/ and producer/ do),
 * FAULTS (how many faults), ROTATIONS (how many are due), KEYS (highest key id), PERSON_NEVER (mask of reasons that
 * must not be reached with a second key left). */
#ifndef R1
#define R1 1
#endif
#ifndef R2
#define R2 1
#endif
#ifndef R3
#define R3 1
#endif
#ifndef R4
#define R4 1
#endif
#ifndef R5
#define R5 1
#endif
#ifndef R6
#define R6 1
#endif
#ifndef R7
#define R7 1
#endif
#ifndef R8
#define R8 1
#endif
#ifndef R9
#define R9 1
#endif
#ifndef R10
#define R10 1
#endif
#ifndef R11
#define R11 1
#endif
#ifndef R12
#define R12 1
#endif
#ifndef R13
#define R13 1
#endif
#ifndef R14
#define R14 1
#endif
#ifndef STRANGER
#define STRANGER 1
#endif
#ifndef EXPOSE /* keys in use leak (R9); an overlap has a time of its own */
#define EXPOSE 0
#endif
#ifndef READ /* 0: nothing tells which key the instance holds (R11); no restores */
#define READ 1
#endif
#ifndef MEND_JOURNAL_BACK
#define MEND_JOURNAL_BACK 1
#endif
#ifndef MEND_JOURNAL_FIRST
#define MEND_JOURNAL_FIRST 0
#endif
#ifndef MEND_FALL_BACK
#define MEND_FALL_BACK 1
#endif
#ifndef MEND_PATIENT_SET
#define MEND_PATIENT_SET 1
#endif
#ifndef MEND_UNDO_LOOKS
#define MEND_UNDO_LOOKS 1
#endif
#ifndef MEND_REOFFER
#define MEND_REOFFER 1
#endif
#ifndef MEND_DOUBT_SKEW
#define MEND_DOUBT_SKEW 1
#endif
#ifndef MEND_EMPTY
#define MEND_EMPTY 1
#endif
#ifndef MEND_HANDOVER
#define MEND_HANDOVER 1
#endif
#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef ROTATIONS
#define ROTATIONS 2
#endif
#ifndef PERSON_NEVER
#define PERSON_NEVER 0
#endif
#ifndef KEYS
#define KEYS 6
#endif

#define B(k)      (1 << (k))
#define HAS(m, k) (((m) >> (k)) & 1)

/* ---- the world's truth -------------------------------------------------------------------------------------------- */

byte act = B(1), ina;     /* AWS: ids of the Active and Inactive keys */
byte foreign, used;       /* ids a stranger made; of those, the ones already used */
byte inst = 1;            /* the key that the instance holds */
byte bak = 1;             /* and the one in its nightly copy */
byte age[KEYS + 1];       /* rotations that led to a key: what the policy sees as its age */
byte next_id = 2;
byte faults = FAULTS;
bit raced;                /* others changed a key or the instance after the reads on which a call under way relies */
byte exposed;             /* ids of leaked keys; the mark is on keyroll.keys and is not lost */
byte passed;              /* EXPOSE: predecessors whose overlap is over */
bit news;                 /* the world changed since a person was asked */

#define exists (act | ina)
#define quiet  (late_op[0] == 0 && late_op[1] == 0)

/* Calls that are under way without their worker, or that land after it gave up on the answer. FROZEN: it was sent by a
 * worker that froze, so it may land until the skew limit; else within a few minutes. */
#define L_NONE       0
#define L_CREATE     1
#define L_DEACTIVATE 2
#define L_ACTIVATE   3
#define L_DELETE     4
#define L_SET        5
byte late_op[2], late_key[2];
bit late_frozen[2], late_orphan[2]; /* orphan: its worker is alive and gets the answer when it wakes */
byte orphan_key;                    /* it is about to delete this key (R14) */

/* ---- Redis: lease, journal, record -------------------------------------------------------------------------------- */

#define J_NONE       0
#define J_INTENT     1
#define J_DOUBT      2
#define J_DOUBT_INA  3 /* DOUBT with doubt_inactive_ms */
#define J_CREATED    4
#define J_SET        5
#define J_WITHDRAW   6
#define J_UNDO       7
#define J_DEACTIVATE 8
#define J_REACTIVATE 9
#define J_DELETE     10

/* Why a person is asked. */
#define P_NONE        0
#define P_UNEXPLAINED 1 /* a listed key that neither record nor journal explains */
#define P_DRIFTED     2 /* the instance shows a key that is not ours, or no way back is left */
#define P_TOUCHED     3 /* somebody else changed or deleted a key of ours */
#define P_DOUBT       4 /* a newcomer after a lost create that may be a stranger's */
#define P_STUCK       5 /* an open journal with which no step can go on */
#define P_HANDOVER    6 /* retire or reap under way, and the instance does not show the newest key */

typedef redis {
    byte cur, ret, reap; /* record: CURRENT; KEY_NEXT_RETIRE; KEY_NEXT_REAP */
    bit kept;            /* the sealed pair of cur */
    byte st;             /* P_*: state AWAITING, DRIFTED, STUCK with its reason */
    byte js, jn, jo, jseen;
    bit sealed, jtok, jpat, jrep; /* sealed pair; a writer is named (takeover); patient_ms; repair */
    byte lease;                   /* 0 free, else worker + 1 */
}
redis r;     /* what Redis answers */
redis s;     /* what its replica has: all but the last write */
redis ev;    /* the user's state on keyroll.keys */
bit gap;     /* !READ: Redis was replaced since the open journal began */
bit jlost;   /* a failover lost the journal's first write, and nobody wrote since: the topic's number is the higher one */
bit holdoff; /* R3: after a change of run or replication id */
bit lossy;   /* and calls whose journal it lost may still be under way */

#define COPY(a, b)                                                                                                     \
    a.cur = b.cur; a.ret = b.ret; a.reap = b.reap; a.kept = b.kept; a.st = b.st; a.js = b.js;   \
    a.jn = b.jn; a.jo = b.jo; a.jseen = b.jseen; a.sealed = b.sealed; a.jtok = b.jtok; a.jpat = b.jpat;                \
    a.jrep = b.jrep; a.lease = b.lease
#define WRITE COPY(s, r); jlost = 0
#define NO_JOURNAL(x)                                                                                                  \
    x.js = J_NONE; x.jn = 0; x.jo = 0; x.jseen = 0; x.sealed = 0; x.jtok = 0; x.jpat = 0; x.jrep = 0

bit hold[2];  /* what each worker believes, by its own clock */
bit stale[2]; /* Redis went back under it: journal and record are at another version */
bit idle0 = 1;

#define explained (B(r.cur) | r.ret | r.reap)
#define unexplained (exists & ~explained)

/* ---- effects, with the invariants that they must keep --------------------------------------------------------------- */

#define works HAS(act, inst)
#define SEES(k)  (READ && inst == (k))          /* a read of the instance says so */
#define OTHER(k) (READ && inst != (k))          /* or the opposite */
#define TWO(m) (((m) & ((m) - 1)) != 0)
#define no_slot TWO(exists) /* the quota: two keys, Active or not */

inline made(k)
{
    assert(next_id <= KEYS); /* else raise KEYS */
    k = next_id;
    next_id++;
    act = act | B(k);
}

/* I1: no call of ours takes a living key from the instance. I3: no stranger's key is deleted, and none in use. */
inline deactivate_lands(k)
{
    assert(!(works && inst == k) || raced || HAS(exposed, k)); /* I1; R7: a late write may give a leaked key back */
    if
    :: HAS(act, k) -> act = act & ~B(k); ina = ina | B(k); news = 1
    :: else
    fi
}
inline activate_lands(k)
{
    if
    :: HAS(ina, k) -> ina = ina & ~B(k); act = act | B(k); news = 1
    :: else
    fi
}
inline delete_lands(k)
{
    assert(!HAS(foreign & exists, k));            /* I3 */
    assert(!(works && inst == k) || raced);       /* I1 */
    assert(!(HAS(exists, k) && inst == k) || raced); /* I3: never the one in use */
    act = act & ~B(k);
    ina = ina & ~B(k);
    news = 1
}
inline set_lands(k)
{
    assert(!works || HAS(act, k) || raced || HAS(exposed, k)); /* I1; R7: an emergency watches, and writes again */
    if
    :: inst != k -> bak = inst; inst = k; news = 1
    :: else
    fi
}

inline free_slot_of(i)
{
    late_op[i] = 0; late_key[i] = 0; late_frozen[i] = 0; late_orphan[i] = 0
}

inline lands(i)
{
    if
    :: late_op[i] == L_CREATE && no_slot -> skip /* LimitExceeded */
    :: late_op[i] == L_CREATE && !no_slot ->
        age[next_id] = age[late_key[i]] + 1; made(late_key[i]); news = 1;
        if
        :: late_orphan[i] && R14 -> orphan_key = late_key[i]
        :: else
        fi
    :: late_op[i] == L_DEACTIVATE -> deactivate_lands(late_key[i])
    :: late_op[i] == L_ACTIVATE -> activate_lands(late_key[i])
    :: late_op[i] == L_DELETE -> delete_lands(late_key[i])
    :: late_op[i] == L_SET -> set_lands(late_key[i])
    fi;
    free_slot_of(i)
}

inline goes_late(op, k, frozen, orphan)
{
    if
    :: late_op[0] == 0 -> late_op[0] = op; late_key[0] = k; late_frozen[0] = frozen; late_orphan[0] = orphan
    :: else -> late_op[1] = op; late_key[1] = k; late_frozen[1] = frozen; late_orphan[1] = orphan
    fi
}
#define late_room (late_op[0] == 0 || late_op[1] == 0)
#define late_create_net    ((late_op[0] == L_CREATE && !late_frozen[0]) || (late_op[1] == L_CREATE && !late_frozen[1]))
#define late_create        (late_op[0] == L_CREATE || late_op[1] == L_CREATE)
#define late_set           (late_op[0] == L_SET || late_op[1] == L_SET)

/* R4: absence is believed after create_doubt. MEND_DOUBT_SKEW: after a takeover not before the skew limit either. */
#define absence_believed (!R4 || (MEND_DOUBT_SKEW -> !late_create : !late_create_net))
#define strangers_idle   ((foreign & exists & ~used) != 0)

/* ---- worker --------------------------------------------------------------------------------------------------------- */

/* An end without a trace in the process: SIGKILL, or a freeze after which the first look says that the lease is lost. */
#define MINE    (r.lease == me + 1 && !stale[me])
#define ALLOWED (!R3 || MINE)
#define NEXT    break

/* A write to Redis. `refused`: where a definite LEASE or VERSION leads. FREEZE: it wakes with the request unsent. */
#define PUT(body, refused)                                                                                             \
    do                                                                                                                 \
    :: atomic { ALLOWED -> WRITE; body; jw = 1; break }                                                                \
    :: atomic { !ALLOWED -> goto refused }                                                                             \
    :: atomic { faults > 0 && hold[me] -> faults--; hold[me] = 0; if :: r.lease == me + 1 -> r.lease = 0 :: else fi }  \
    :: atomic { faults > 0 && hold[me] -> faults--; goto gone }                                                        \
    od
/* The journal's document, as the worker has it. R1's compare of the direction is in the callers: only they turn it. */
#define DOC          r.js = js; r.jn = kn; r.jo = ko; r.jseen = seen; r.jtok = 1; r.jpat = pat; r.jrep = rep; r.st = P_NONE
#define JOURNAL(step, more)                                                                                            \
    js = step;                                                                                                         \
    PUT(DOC; more, gone)
/* The record, with which the journal ends. */
#define RECORD(pair)                                                                                                   \
    PUT(r.cur = cur; r.ret = ret; r.reap = reap; r.kept = (pair); r.st = P_NONE; gap = 0; NO_JOURNAL(r), gone)
/* The state goes to keyroll.keys, with its delivery report; J_NONE: the journal is about to end. */
#define EVENT(step)                                                                                                    \
    if                                                                                                                 \
    :: atomic { hold[me] -> NO_JOURNAL(ev); ev.cur = cur; ev.ret = ret; ev.reap = reap;                                \
                if :: step != J_NONE -> ev.js = step; ev.jn = kn; ev.jo = ko; ev.jseen = seen; ev.jrep = rep           \
                   :: else fi }                                                                                        \
    :: atomic { !hold[me] -> goto gone }                                                                               \
    :: atomic { faults > 0 && hold[me] -> faults--; goto gone }                                                        \
    fi
/* A call by key id, or of the instance: answered; or its effect comes after the answer was given up (`unknown` follows);
 * or its worker crashes or freezes while it is under way. A lost answer is like the answered one, since the row is
 * repeated and repeating changes nothing. */
#define CALL(op, k, effect, unknown)                                                                                   \
    if                                                                                                                 \
    :: atomic { hold[me] -> assert(!(hold[0] && hold[1])); effect }                                                    \
    :: atomic { !hold[me] -> goto gone }                                                                               \
    :: atomic { faults > 0 && hold[me] && late_room -> faults--; goes_late(op, k, 0, 0); goto unknown }                \
    :: atomic { faults > 0 && hold[me] && late_room -> faults--; goes_late(op, k, 1, 0); goto gone }                   \
    :: atomic { faults > 0 && hold[me] -> faults--; goto gone }                                                        \
    fi
/* R7: after a takeover no destructive step before the skew limit, and the survey again. */
#define PATIENCE                                                                                                       \
    if                                                                                                                 \
    :: atomic { R7 && pat && hold[me] && quiet -> pat = 0; goto survey }                                               \
    :: atomic { R7 && pat && hold[me] && faults > 0 -> faults--; goto gone }                                           \
    :: atomic { R7 && pat && !hold[me] -> goto gone }                                                                  \
    :: atomic { !(R7 && pat) -> skip }                                                                                 \
    fi
/* The failure or the wait goes to the record, and the lease back. */
#define LEAVE goto leave
#define PERSON(why) reason = why; goto person

/* What is due (producer/policy.c). A journal under way; else what the record plans; else age and drift. */
#define TIME_IS_UP  (quiet || !R7)
#define RETIRES(m)  (EXPOSE -> (((m) & passed) | (R9 -> (m) & exposed : 0)) : (TIME_IS_UP || !R6 -> (m) : 0)) /* R6, R9 */
#define REAPS(m)    (TIME_IS_UP || !R6 -> (m) : 0)
#define RESUMABLE                                                                                                      \
    (r.js == J_INTENT -> ((unexplained & ~r.jseen) != 0 || absence_believed)                                           \
     : (r.js == J_DOUBT_INA -> (quiet && !strangers_idle) : (r.js == J_WITHDRAW -> (!R1 || !late_set) : true)))
#define OLD(k)      (age[k] < ROTATIONS && !HAS(forgotten, k))
#define DUE_AGE     (OLD(r.cur) || HAS(exposed, r.cur))
#define DUE_DRIFT   (unexplained != 0 || OTHER(r.cur) || !HAS(act, r.cur) || (r.ret & ~act) != 0 || (r.reap & ~ina) != 0)
#define DUE_PLANNED (r.ret != 0 || r.reap != 0)
#define JOURNAL_LOST (MEND_JOURNAL_BACK && R8 && jlost && r.cur != 0 && r.js == J_NONE && ev.js != J_NONE)
#define DUE                                                                                                            \
    (r.js != J_NONE -> (R2 && RESUMABLE && (r.st == P_NONE || news))                                                   \
     : (r.cur == 0 -> (!R8 || !MEND_EMPTY)                                                                             \
        : (r.st != P_NONE -> (news && r.st == P_UNEXPLAINED)                                                           \
           : (DUE_DRIFT || (RETIRES(r.ret) | REAPS(r.reap)) != 0 || (!DUE_PLANNED && DUE_AGE)))))
byte forgotten; /* R10 off: ids of finished jobs are remembered */

#define GONE_BACK                                                                                                      \
    if :: hold[0] -> stale[0] = 1 :: else fi;                                                                          \
    if :: hold[1] -> stale[1] = 1 :: else fi;                                                                          \
    holdoff = 1; lossy = 1
#define FAILOVER jlost = (r.js != J_NONE && s.js == J_NONE); COPY(r, s); gap = (!READ && r.js != J_NONE); GONE_BACK
#define FLUSH                                                                                                          \
    NO_JOURNAL(r); r.cur = 0; r.ret = 0; r.reap = 0; r.kept = 0; r.st = 0; r.lease = 0; jlost = 0; gap = 0; COPY(s, r); GONE_BACK

#define newcomers (exists & ~(B(cur) | ret | reap))

proctype worker(bit me)
{
    byte cur, ret, reap;   /* the record, as it was loaded and is changed */
    byte js, kn, ko, seen; /* the journal: its step, key_new (or key_doubt), key_old (or the key retired or reaped), seen */
    bit sec;         /* the secret is at hand */
    bit pat, jw;     /* patience is due; this run wrote the journal */
    bit pset;        /* patience is due before the pivot */
    bit rep;         /* repair */
    byte reason;

end_idle:
    do
    :: atomic {
        (r.lease == 0 || !hold[r.lease - 1]) && (!R3 || !holdoff) && (me == 0 || !idle0) && !(MEND_JOURNAL_FIRST && JOURNAL_LOST) && DUE -> /* LEASE */
        COPY(s, r);
        r.lease = me + 1;
        hold[me] = 1;
        if :: me == 0 -> idle0 = 0 :: else fi;
        cur = r.cur; ret = r.ret; reap = r.reap;
        js = r.js; kn = r.jn; ko = r.jo; seen = r.jseen; sec = r.sealed; rep = r.jrep;
        if :: rep && r.kept && kn == r.cur -> sec = 1 :: else fi;
        if :: quiet -> lossy = 0 :: else fi;
        pat = r.js != J_NONE && (r.jtok || r.jpat) && !quiet; /* nothing under way: the wait changes nothing */
        pset = r.js != J_NONE && lossy;
        goto survey
       }
    od;

survey: /* LIST, READ, DECIDE */
    if
    :: atomic { !hold[me] -> goto gone }
    :: atomic { hold[me] ->
        if :: quiet -> raced = 0 :: else fi;
        news = 0;
        if
        :: js == J_INTENT -> goto doubt_judge
        :: js == J_DOUBT || js == J_DOUBT_INA -> goto doubt_resume
        :: js == J_CREATED ->
            if
            :: MEND_UNDO_LOOKS && SEES(kn) -> goto forward
            :: else -> if :: sec -> goto settle :: !sec && R13 -> goto undo :: !sec && !R13 -> PERSON(P_STUCK) fi
            fi
        :: js == J_SET ->
            if
            :: !HAS(exists, kn) -> if :: R12 -> goto lost_event :: else -> PERSON(P_STUCK) fi
            :: HAS(ina, kn) -> if :: R12 && !HAS(exposed, kn) -> goto revive :: else -> PERSON(P_STUCK) fi
            :: !READ && HAS(act, kn) && sec -> goto offered_event
            :: !READ && HAS(act, kn) && !sec -> PERSON(P_STUCK)
            :: HAS(act, kn) && SEES(kn) -> goto test
            :: HAS(act, kn) && OTHER(kn) && inst != ko && !HAS(B(cur) | ret | reap, inst) -> PERSON(P_DRIFTED)
            :: HAS(act, kn) && OTHER(kn) && (inst == ko || HAS(B(cur) | ret | reap, inst)) ->
                if
                :: sec -> if :: MEND_REOFFER -> goto offered_event :: else -> goto set fi
                :: !sec && R13 -> goto withdraw
                :: !sec && !R13 -> PERSON(P_STUCK)
                fi
            fi
        :: js == J_WITHDRAW -> goto withdraw_wait
        :: js == J_UNDO -> goto undo_delete
        :: js == J_DEACTIVATE || js == J_DELETE -> goto judge
        :: js == J_REACTIVATE -> goto reactivate
        :: js == J_NONE && cur == 0 -> /* adopt_plain: the record takes what the instance uses, if it is all */
            cur = inst;
            if :: newcomers -> PERSON(P_UNEXPLAINED) :: else -> LEAVE fi
        :: js == J_NONE && cur != 0 -> goto decide
        fi
       }
    fi;

decide: /* keyslots_observe, keyslots_decide, and what the job asks for */
    atomic {
        if
        :: !hold[me] -> goto gone
        :: hold[me] && newcomers != 0 -> PERSON(P_UNEXPLAINED)
        :: hold[me] && newcomers == 0 && !HAS(act, cur) -> PERSON(P_TOUCHED)
        :: hold[me] && newcomers == 0 && HAS(act, cur) && (reap & act) != 0 -> PERSON(P_TOUCHED)
        :: hold[me] && newcomers == 0 && HAS(act, cur) && (reap & act) == 0 ->
            ret = ret & exists; reap = reap & exists; /* what is gone needs no explanation */
            if
            :: OTHER(cur) && !HAS(ret | reap, inst) -> PERSON(P_DRIFTED)
            :: OTHER(cur) && HAS(ret | reap, inst) ->
                if
                :: R5 && r.kept -> kn = cur; ko = inst; sec = 1; rep = 1; goto repair
                :: R5 && !r.kept && MEND_FALL_BACK && HAS(ret & act & ~exposed, inst) -> goto fall_back
                :: R5 && !r.kept && !(MEND_FALL_BACK && HAS(ret & act & ~exposed, inst)) -> PERSON(P_DRIFTED)
                :: !R5 && no_slot -> kn = 0; ko = (HAS(ret, inst) || HAS(reap, inst) -> inst : 0); goto reap_journal
                :: !R5 && !no_slot -> kn = 0; ko = inst; seen = exists; goto intent
                fi
            :: !OTHER(cur) && (ret & ina) != 0 -> goto prepare
            :: !OTHER(cur) && (ret & ina) == 0 && ret != 0 ->
                if :: RETIRES(ret) != 0 -> ko = 1; do :: HAS(RETIRES(ret), ko) -> break :: else -> ko++ od; kn = 0; goto judge
                :: else -> LEAVE
                fi
            :: !OTHER(cur) && ret == 0 && reap != 0 ->
                if :: REAPS(reap) != 0 -> ko = 1; do :: HAS(reap, ko) -> break :: else -> ko++ od; kn = 0; goto judge
                :: else -> LEAVE
                fi
            :: !OTHER(cur) && ret == 0 && reap == 0 && (OLD(cur) || HAS(exposed, cur)) && !no_slot ->
                kn = 0; ko = cur; rep = 0; seen = exists; goto intent
            :: !OTHER(cur) && ret == 0 && reap == 0 && !((OLD(cur) || HAS(exposed, cur)) && !no_slot) -> LEAVE
            fi
        fi
    };

fall_back: /* the pair is lost, but its predecessor lives and is in use: it is current again, the other is retired */
    atomic { ret = (ret | B(cur)) & ~B(inst); cur = inst };
    EVENT(J_NONE);
    RECORD(0);
    goto gone;

/* ---- rotate: create ---- */
intent:
    JOURNAL(J_INTENT, r.sealed = 0);
intent_event:
    EVENT(J_INTENT);
create:
    if
    :: atomic { hold[me] && !no_slot ->
        assert(!(hold[0] && hold[1])); /* I4 */
        made(kn); age[kn] = age[ko] + 1; sec = 1; goto escrow }
    :: atomic { hold[me] && no_slot -> goto absent } /* LimitExceeded: drop_journal */
    :: atomic { !hold[me] -> goto gone }
    :: atomic { faults > 0 && hold[me] && !no_slot -> faults--; made(kn); age[kn] = age[ko] + 1; kn = 0; goto doubt_judge }
    :: atomic { faults > 0 && hold[me] -> faults--; goto doubt_judge } /* the request was lost */
    :: atomic { faults > 0 && hold[me] && late_room -> faults--; goes_late(L_CREATE, ko, 0, 0); goto doubt_judge }
    :: atomic { faults > 0 && hold[me] && late_room -> faults--; goes_late(L_CREATE, ko, 1, 0); goto gone } /* crash */
    :: atomic { faults > 0 && hold[me] && late_room -> faults--; goes_late(L_CREATE, ko, 1, 1); goto gone } /* freeze */
    :: atomic { faults > 0 && hold[me] -> faults--; goto gone }
    fi;
escrow:
    js = J_CREATED;
    PUT(DOC; r.sealed = 1, orphan);
created_event:
    EVENT(J_CREATED);
settle:
    if
    :: atomic { hold[me] -> if :: quiet -> raced = 0 :: else fi; if :: HAS(act, kn) -> goto pivot :: else -> goto undo_read fi }
    :: atomic { faults > 0 && hold[me] -> faults--; goto undo_read } /* never usable, attempts spent */
    :: atomic { faults > 0 && hold[me] -> faults--; goto gone }
    :: atomic { !hold[me] -> goto gone }
    fi;
repair:
    skip;
/* ---- set: the pivot ---- */
pivot:
    if
    :: atomic { MEND_PATIENT_SET && pset && quiet && hold[me] -> pset = 0; goto survey }
    :: atomic { MEND_PATIENT_SET && pset && !hold[me] -> goto gone }
    :: atomic { MEND_PATIENT_SET && pset && hold[me] && faults > 0 -> faults--; goto gone }
    :: atomic { !(MEND_PATIENT_SET && pset) -> skip }
    fi;
    JOURNAL(J_SET, r.sealed = (sec && !rep));
offered_event:
    EVENT(J_SET);
set:
    CALL(L_SET, kn, set_lands(kn); goto test, test);
    /* not reached */
test: /* CHECK, TEST: the read decides; a write that is refused for good, which may land after all */
    if
    :: atomic { !READ && hold[me] && works -> goto finish_prepare } /* its own test: with whichever key */
    :: atomic { !READ && hold[me] && !works -> goto survey }
    :: atomic { hold[me] && SEES(kn) && HAS(act, kn) -> goto finish_prepare }
    :: atomic { hold[me] && SEES(kn) && !HAS(act, kn) -> goto survey } /* REVIEW */
    :: atomic { hold[me] && OTHER(kn) && sec -> goto set }
    :: atomic { hold[me] && OTHER(kn) && !sec -> LEAVE }
    :: atomic { hold[me] && !SEES(kn) && faults > 0 && !rep -> faults--; if :: R1 -> goto withdraw :: else -> goto undo fi }
    :: atomic { hold[me] && faults > 0 -> faults--; goto gone }
    :: atomic { !hold[me] -> goto gone }
    fi;
finish_prepare:
    atomic {
        ret = (ret | (cur != kn -> B(cur) : 0) | (HAS(exists, ko) && ko != kn -> B(ko) : 0)) & exists & ~B(kn);
        reap = ((reap & exists) | (ret & ina)) & ~B(kn);
        ret = ret & ~ina & ~reap;
        cur = kn
    }
replaced_event:
    EVENT(J_NONE);
finish:
    RECORD((rep -> r.kept : ((ret | reap) != 0 && r.sealed)));
    goto gone;

/* ---- review (R12) ---- */
revive:
    CALL(L_ACTIVATE, kn, activate_lands(kn); goto survey, revive);
lost_event:
    EVENT(J_NONE);
lost_close:
    atomic { if :: cur == kn -> cur = 0 :: else fi; ret = ret & ~B(kn); reap = reap & ~B(kn) };
    RECORD(r.kept);
    goto gone;

/* ---- doubt (R4) ---- */
doubt_judge:
    if
    :: atomic { !hold[me] -> goto gone }
    :: atomic { faults > 0 && hold[me] -> faults--; goto gone }
    :: atomic { hold[me] ->
        if
        :: (newcomers & ~seen) == 0 -> if :: absence_believed -> goto absent :: else -> LEAVE fi
        :: TWO(newcomers & ~seen) -> PERSON(P_DOUBT)
        :: (newcomers & ~seen) != 0 && !TWO(newcomers & ~seen) ->
            kn = 1; do :: HAS(newcomers & ~seen, kn) -> break :: else -> kn++ od;
            if
            :: SEES(kn) -> PERSON(P_DRIFTED)
            :: !SEES(kn) && R4 && HAS(used, kn) -> PERSON(P_DOUBT)
            :: !SEES(kn) && !(R4 && HAS(used, kn)) -> skip
            fi
        fi
       }
    fi;
doubt_journal:
    JOURNAL(J_DOUBT, skip);
doubt_event:
    EVENT(J_DOUBT);
    goto doubt_deactivate;
doubt_resume:
    if
    :: atomic { !hold[me] -> goto gone }
    :: atomic { hold[me] ->
        if
        :: !HAS(exists, kn) -> goto absent
        :: HAS(exists, kn) && SEES(kn) -> PERSON(P_DRIFTED)
        :: HAS(act, kn) && !SEES(kn) && js == J_DOUBT_INA && R4 -> PERSON(P_DOUBT) /* its owner noticed */
        :: HAS(act, kn) && !SEES(kn) && !(js == J_DOUBT_INA && R4) -> goto doubt_deactivate
        :: HAS(ina, kn) && !SEES(kn) && js == J_DOUBT -> goto doubt_inactive
        :: HAS(ina, kn) && !SEES(kn) && js == J_DOUBT_INA && HAS(used, kn) && R4 -> PERSON(P_DOUBT)
        :: HAS(ina, kn) && !SEES(kn) && js == J_DOUBT_INA && !(HAS(used, kn) && R4) ->
            if :: R4 && (strangers_idle || !quiet) -> LEAVE :: else -> goto doubt_delete fi /* DOUBT_WAIT: an hour */
        fi
       }
    fi;
doubt_deactivate:
    PATIENCE;
    if :: atomic { !R4 -> goto doubt_delete } :: atomic { R4 -> skip } fi;
    CALL(L_DEACTIVATE, kn, deactivate_lands(kn); goto doubt_inactive, doubt_resume);
doubt_inactive:
    JOURNAL(J_DOUBT_INA, skip);
    goto doubt_resume;
doubt_delete:
    PATIENCE;
    CALL(L_DELETE, kn, delete_lands(kn); goto deleted_event, doubt_resume);
deleted_event:
    EVENT(J_DOUBT_INA);
absent: /* the journal ends, the lease stays, the survey begins anew */
    RECORD(r.kept);
    js = J_NONE; kn = 0; ko = 0; seen = 0; sec = 0; rep = 0; pat = 0; pset = 0; jw = 0;
    goto survey;

/* ---- withdraw (R1) ---- */
withdraw:
    if
    :: atomic { rep && MEND_FALL_BACK -> goto absent } /* nothing new was offered: decide anew */
    :: atomic { rep && !MEND_FALL_BACK -> PERSON(P_STUCK) }
    :: atomic { !rep -> skip }
    fi;
    JOURNAL(J_WITHDRAW, skip);
    EVENT(J_WITHDRAW);
withdraw_wait:
    if
    :: atomic { R1 && late_set && hold[me] -> LEAVE }
    :: atomic { !READ && (!R1 || !late_set) && hold[me] -> PERSON(P_STUCK) }
    :: atomic { (!R1 || !late_set) && hold[me] && SEES(kn) -> goto forward }
    :: atomic { (!R1 || !late_set) && hold[me] && OTHER(kn) -> skip }
    :: atomic { !hold[me] -> goto gone }
    :: atomic { hold[me] && faults > 0 -> faults--; goto gone }
    fi;
    PATIENCE;
withdraw_deactivate:
    CALL(L_DEACTIVATE, kn, deactivate_lands(kn), withdraw_deactivate);
withdraw_prepare:
    reap = (reap | B(kn)) & exists;
withdrawn_event:
    EVENT(J_NONE);
withdraw_close:
    RECORD(r.kept);
    goto gone;
forward:
    JOURNAL(J_SET, skip);
    goto test;

/* ---- undo: a key that was never offered ---- */
undo_read: /* what the instance uses is never taken back */
    if
    :: atomic { MEND_UNDO_LOOKS && SEES(kn) && hold[me] -> goto forward }
    :: atomic { !(MEND_UNDO_LOOKS && SEES(kn)) -> skip }
    :: atomic { !hold[me] -> goto gone }
    fi;
undo:
    if
    :: atomic { MEND_UNDO_LOOKS && gap && hold[me] -> PERSON(P_STUCK) } /* it may have been offered */
    :: atomic { MEND_UNDO_LOOKS && gap && !hold[me] -> goto gone }
    :: atomic { !(MEND_UNDO_LOOKS && gap) -> skip }
    fi;
    JOURNAL(J_UNDO, skip);
undo_event:
    EVENT(J_UNDO);
undo_delete:
    PATIENCE;
    if
    :: atomic { MEND_UNDO_LOOKS && SEES(kn) && hold[me] -> PERSON(P_DRIFTED) } /* R1: the direction is not turned */
    :: atomic { !hold[me] -> goto gone }
    :: atomic { !(MEND_UNDO_LOOKS && SEES(kn)) -> skip }
    fi;
    CALL(L_DELETE, kn, delete_lands(kn), undo_delete);
undone_event:
    EVENT(J_NONE);
undo_close:
    if :: atomic { !R10 -> forgotten = forgotten | B(cur) } :: atomic { R10 -> skip } fi;
    RECORD(r.kept);
    goto gone;

/* ---- retire and reap ---- */
#define NOT_IN_USE (OTHER(cur) || !HAS(act, cur)) /* the newest key */
/* R11: where nothing can be read, AWS's last-used tells: the predecessor is used since it was replaced, or the newest is not. */
#define STILL_USED (!READ && R11 && inst != cur)
judge: /* READ, LIST, READ AGAIN, JUDGE */
    if
    :: atomic { !hold[me] -> goto gone }
    :: atomic { hold[me] && STILL_USED -> PERSON(P_STUCK) }
    :: atomic { hold[me] && !STILL_USED ->
        if
        :: R6 && NOT_IN_USE && js != J_NONE ->
            if
            :: MEND_HANDOVER -> goto handover
            :: !MEND_HANDOVER -> PERSON(P_HANDOVER)
            fi
        :: R6 && NOT_IN_USE && js == J_NONE -> goto survey
        :: !(R6 && NOT_IN_USE) ->
            if
            :: js == J_DELETE || (js == J_NONE && HAS(reap, ko)) ->
                if
                :: !HAS(exists, ko) -> goto reaped
                :: HAS(act, ko) -> PERSON(P_TOUCHED)
                :: HAS(ina, ko) -> goto reap_journal
                fi
            :: js == J_DEACTIVATE || (js == J_NONE && HAS(ret, ko)) ->
                if
                :: !HAS(act, ko) -> goto prepare
                :: HAS(act, ko) -> goto retire_journal
                fi
            fi
        fi
       }
    fi;
handover: /* the journal of a retire or reap ends without effect: the next look repairs */
    EVENT(J_NONE);
    RECORD(r.kept);
    js = J_NONE; kn = 0; ko = 0; seen = 0; sec = 0; rep = 0; pat = 0; pset = 0; jw = 0;
    goto survey;
retire_journal:
    JOURNAL(J_DEACTIVATE, skip);
deactivate:
    PATIENCE;
    CALL(L_DEACTIVATE, ko, deactivate_lands(ko), deactivate);
watch:
    if
    :: atomic { hold[me] && (READ -> inst == cur || HAS(exposed, ko) : works) -> goto prepare }
    :: atomic { hold[me] && !(READ -> inst == cur || HAS(exposed, ko) : works) -> goto back }
    :: atomic { !hold[me] -> goto gone }
    :: atomic { hold[me] && faults > 0 -> faults--; goto gone }
    fi;
prepare:
    atomic { reap = (reap | ret) & ina; ret = ret & act };
inactive_event:
    EVENT(J_NONE);
close:
    RECORD(r.kept);
    goto gone;
back:
    JOURNAL(J_REACTIVATE, skip);
reactivate:
    CALL(L_ACTIVATE, ko, activate_lands(ko), reactivate);
reactivated:
    atomic { ret = ret | B(ko); reap = reap & ~B(ko) };
    EVENT(J_NONE);
    RECORD(r.kept);
    goto gone;
reap_journal:
    JOURNAL(J_DELETE, skip);
delete:
    PATIENCE;
    CALL(L_DELETE, ko, delete_lands(ko), delete);
reaped:
    atomic { ret = ret & ~B(ko); reap = reap & ~B(ko) };
deleted:
    EVENT(J_NONE);
    RECORD(r.kept && (ret | reap) != 0);
    goto gone;

/* ---- how a run ends ---- */
orphan: /* R14: the only effect without a lease */
    if
    :: atomic { R14 -> delete_lands(kn); goto gone }
    :: atomic { R14 && faults > 0 -> faults--; goto gone }
    :: atomic { !R14 -> goto gone }
    fi;
person: /* FAIL_RECORD with AWAITING, DRIFTED or STUCK */
    if
    :: atomic { ALLOWED && hold[me] -> WRITE; r.cur = cur; r.ret = ret; r.reap = reap; r.st = reason; if :: jw -> r.jtok = 0 :: else fi; goto gone }
    :: atomic { !(ALLOWED && hold[me]) -> goto gone }
    fi;
leave: /* FAIL_RECORD, DONE_RELEASE */
    if
    :: atomic { ALLOWED && hold[me] -> WRITE; r.cur = cur; r.ret = ret; r.reap = reap; if :: jw -> r.jtok = 0 :: else fi; goto gone }
    :: atomic { !(ALLOWED && hold[me]) -> goto gone }
    fi;
gone: /* the journal keeps its writer, unless the lease was given back */
    atomic {
        if :: r.lease == me + 1 -> r.lease = 0 :: else fi;
        hold[me] = 0; stale[me] = 0;
        cur = 0; ret = 0; reap = 0; js = 0; kn = 0; ko = 0; seen = 0; sec = 0; pat = 0; pset = 0; jw = 0; rep = 0; reason = 0;
        if :: me == 0 -> idle0 = 1 :: else fi;
        goto end_idle
    }
}

/* ---- everything else ------------------------------------------------------------------------------------------------ */

#define holder_gone (r.lease == 0 || !hold[r.lease - 1])

proctype world()
{
    byte k;
    do
    :: atomic { late_op[0] != 0 -> lands(0) }
    :: atomic { late_op[1] != 0 -> lands(1) }
    :: atomic { late_op[0] != 0 -> free_slot_of(0) }
    :: atomic { late_op[1] != 0 -> free_slot_of(1) }
    :: atomic { orphan_key != 0 -> delete_lands(orphan_key); orphan_key = 0 }
    :: atomic { orphan_key != 0 && faults > 0 -> faults--; orphan_key = 0 }
    :: atomic { holdoff -> /* one lease lifetime later: who could not renew knows it */
        holdoff = 0;
        if :: hold[0] && r.lease != 1 -> hold[0] = 0 :: else fi;
        if :: hold[1] && r.lease != 2 -> hold[1] = 0 :: else fi
       }
    :: atomic { R8 && r.cur == 0 && r.js == J_NONE && holder_gone && !holdoff -> /* producer/survey.c, restore.lua */
        COPY(r, ev);
        r.jtok = (r.js != J_NONE);
        COPY(s, r)
       }
    :: atomic { JOURNAL_LOST && holder_gone && !holdoff ->
        jlost = 0; r.js = ev.js; r.jn = ev.jn; r.jo = ev.jo; r.jseen = ev.jseen; r.jrep = ev.jrep; r.jtok = 1; r.st = P_NONE;
        COPY(s, r) /* the topic has a rotation open that Redis does not know: its journal was lost */
       }
    :: atomic { strangers_idle -> used = used | (foreign & exists); news = 1 }
    /* faults */
    :: atomic { faults > 0 -> faults--; FAILOVER }
    :: atomic { faults > 0 -> faults--; FLUSH }
    :: atomic { EXPOSE && faults > 0 && works && !HAS(exposed, inst) -> faults--; exposed = exposed | B(inst); news = 1 }
    :: atomic { EXPOSE && quiet && !hold[0] && !hold[1] && !holdoff && r.cur != 0 && (r.ret & ~passed) != 0 && !DUE ->
        assert((r.ret & exposed & act) == 0 || r.st != P_NONE); /* R9: no leaked key waits for its overlap */
        passed = passed | r.ret
       }
    :: atomic { READ && faults > 0 && bak != inst && HAS(exists, bak) -> faults--; inst = bak; raced = 1; news = 1 }
    :: atomic { STRANGER && faults > 0 && !no_slot -> faults--; made(k); foreign = foreign | B(k); k = 0; news = 1 }
    :: atomic { STRANGER && faults > 0 -> faults--; k = 1;
        do :: HAS(exists, k) && !HAS(foreign, k) -> break :: k < KEYS -> k++ :: k == KEYS -> goto none od;
        if
        :: act = act & ~B(k); ina = ina & ~B(k)
        :: HAS(act, k) -> act = act & ~B(k); ina = ina | B(k)
        :: HAS(ina, k) -> ina = ina & ~B(k); act = act | B(k)
        fi;
        news = 1; raced = 1;
none:   k = 0
       }
    :: atomic { faults > 0 -> faults = 0 } /* faults stop */
    :: atomic { timeout -> break }
    od;
    atomic {
    /* Liveness and I2, I8: nothing is left to do, so all is current, or a person was told why not. */
    assert(!hold[0] && !hold[1] && quiet && orphan_key == 0);
    if
    :: r.st == P_NONE ->
        assert(r.js == J_NONE);
        assert(exists == B(r.cur));
        assert(inst == r.cur && works);
        assert(age[r.cur] == ROTATIONS || EXPOSE); /* I5: not one more */
        assert((exposed & act) == 0) /* R9 */
    :: else -> assert(!HAS(PERSON_NEVER, r.st) || !TWO(exists))
    fi
    }
}

init
{
    atomic {
        r.cur = 1;
        s.cur = 1;
        ev.cur = 1;
        run worker(0);
        run worker(1);
        run world()
    }
}
