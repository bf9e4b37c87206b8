/* Faults by rule. */
#ifndef SANDBOX_FAULTS_H
#define SANDBOX_FAULTS_H

#include "tests/sandbox/world.h"

#include <jansson.h>

enum fault_kind {
    FAULT_REFUSE,            /* refuse:CODE:HTTP */
    FAULT_THROTTLE,          /* throttle */
    FAULT_EFFECT_THEN_CLOSE, /* effect-then-close */
    FAULT_EFFECT_THEN_500,   /* effect-then-500 */
    FAULT_CLOSE_BEFORE,      /* close-before */
    FAULT_TIMEOUT,           /* timeout:MS */
    FAULT_DELAY_EFFECT,      /* delay-effect:MS */
    FAULT_CLOSE_THEN_EFFECT, /* close-then-effect:MS */
    FAULT_SLOW,              /* slow:MS */
    FAULT_STALE_LIST,        /* stale-list[:MS] */
    FAULT_BAD_XML,           /* bad-xml */
    FAULT_ENDLESS_BODY,      /* endless-body */
    FAULT_REDIRECT,          /* redirect:URL */
    FAULT_RETRY_AFTER,       /* retry-after:MS */
};

/* What hit a request; lives in its arena. */
struct fault {
    enum fault_kind kind;
    int64_t ms;
    int http;
    const char *text; /* code or URL */
};

/* Adds the rules of a JSON list (or one object). Returns the number added, or -1 and an English reason; then none is.
 */
int faults_add(const json_t *list, const char **ret_reason);
void faults_clear(void);
/* The fault for this request, or NULL. Counts the rule down. */
struct fault *faults_match(struct world *w, struct request *r);
json_t *faults_json(void);

#endif
