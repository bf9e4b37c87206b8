/* Circuit breaker: one thing outside (an AWS account, a host, a broker) that fails for everybody is left alone, and one
 * call now and then probes whether it is back (Nygard, Release It!, "Circuit Breaker"). Pure: time and randomness are
 * arguments. Outcomes are counted with a half-life, so that the share is that of the last seconds.
 *
 * Subjects (users, licences) that fail while others succeed are ill by themselves: what they do later says nothing of
 * the other side, and as probes they would keep it shut for their neighbours. So it is remembered who failed last; an
 * ill subject's failures do not count, and one that is not known to fail may probe long before the wait is over. */
#ifndef KEYROLL_BREAKER_H
#define KEYROLL_BREAKER_H

#include "lib/clock.h"

#include <stdbool.h>
#include <stdint.h>

#define BREAKER_HALF_LIFE_MS 10000
#define BREAKER_SHARE        0.5  /* opens when so much of it failed */
#define BREAKER_FEW          5    /* and so many */
#define BREAKER_ROW          20   /* or so many in a row */
#define BREAKER_WAIT_MS      2000 /* until the first probe; doubles with each that fails */
#define BREAKER_WAIT_MAX_MS  30000
#define BREAKER_PROBE_MS     90000 /* a probe that was not heard of for so long is lost */
#define BREAKER_ALONE        3     /* failures of one user alone, after which they are his own matter */
#define BREAKER_ILL_MAX      1024  /* subjects that are remembered */
#define BREAKER_ILL_MS       60000 /* a failure is the subject's own when another succeeded since, so lately */
#define BREAKER_FRESH        8     /* a subject that did not fail may probe after this part of the wait */

enum breaker_state { BREAKER_CLOSED, BREAKER_HALF_OPEN, BREAKER_OPEN };
const char *breaker_state_name(enum breaker_state s); /* "closed", "half-open", "open" */

/* All zeros is a closed one; breaker_done() frees what it remembers. */
struct breaker {
    enum breaker_state state;
    unsigned row;     /* failures in a row */
    double good, bad; /* counted outcomes, fading */
    int64_t faded_mono_ms;
    uint64_t subject; /* whose calls failed; 0 none */
    unsigned alone;   /* failures in a row of this subject, 0 once there are several */
    bool several;
    unsigned opened;       /* times in a row */
    int64_t until_mono_ms; /* OPEN: no probe before; HALF_OPEN: the probe left at until */
    int64_t fresh_mono_ms; /* OPEN: no probe of a subject that did not fail before */
    int64_t good_mono_ms;  /* the last success; valid when any_good */
    bool any_good;
    struct breaker_ill {
        uint64_t subject;
        int64_t since_mono_ms; /* its first failure since its last success */
    } * ill;                   /* owned */
    unsigned n_ill, cap_ill;
};
void breaker_done(struct breaker *b);

/* May a call for this subject go? At the end of the wait the one that asks is the probe. */
bool breaker_allows(struct breaker *b, uint64_t subject, int64_t now_mono_ms);
/* The same without becoming the probe. */
bool breaker_would_allow(const struct breaker *b, uint64_t subject, int64_t now_mono_ms);
/* A call ended. subject: a hash of whom it was for (a user, a licence), not 0. True when the state changed. */
bool breaker_note(struct breaker *b, bool good, uint64_t subject, int64_t now_mono_ms, const struct rng *rng);
/* Nothing came of the probe (it was not sent, or tells nothing): the next call is one. */
void breaker_unprobed(struct breaker *b, int64_t now_mono_ms);
/* Somebody else saw that it is back. True when it was not closed. */
bool breaker_close(struct breaker *b, int64_t now_mono_ms);
/* Closed, yet nothing succeeded lately: a failure is more likely the other side's than this subject's. single: also
 * when all failures were of one subject, as long as they are few. */
bool breaker_suspects(struct breaker *b, bool single, int64_t now_mono_ms);
/* Until a probe may go, >= 0. */
int64_t breaker_wait_ms(const struct breaker *b, int64_t now_mono_ms);

#endif
