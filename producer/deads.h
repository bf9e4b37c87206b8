/* The dead-letter topic as a table: letters, what became of them, and the history of each job. Built message by
 * message. Loop thread only. */
#ifndef KEYROLL_DEADS_H
#define KEYROLL_DEADS_H

#include "lib/kafka_in.h"
#include "producer/map.h"
#include "schema/deadletter.h"
#include "schema/deadmark.h"
#include "schema/store.h"

#define DEADS_ID_MAX      32 /* "3-17": partition and offset */
#define DEADS_HISTORY_MAX 50 /* letters of one job that are shown */

enum dead_state { DEAD_OPEN, DEAD_REPLAYED, DEAD_DROPPED, DEAD_RESOLVED };

/* One letter. Strings are owned by the table. */
struct dead {
    int32_t partition;
    int64_t offset;
    bool has_job;
    int kind; /* enum job_kind, has_job */
    char job_id[IDENTITY_JOB_ID_MAX];
    char licence[IDENTITY_LICENCE_MAX], account[AWS_ACCOUNT_MAX], user[AWS_USER_MAX];
    char step[EVENT_STEP_MAX], error_code[EVENT_ERROR_MAX], error_class[EVENT_ERROR_MAX];
    char *key;                           /* of the message */
    int64_t attempts, first_ms, last_ms; /* of this letter */
    char *text;                          /* the value, text_len bytes, NULL when not kept */
    size_t text_len;
    size_t earlier; /* the letter before of the same job: its position + 1, 0 none */
    size_t times;   /* letters of the job up to this one */
};

struct deads {
    bool keep_text;
    struct dead *items;
    size_t n, cap;
    struct map jobs;      /* job id, or the letter's id for what was no job -> position + 1 of the newest */
    struct map histories; /* user, kind and first failure -> position + 1 of the newest */
    struct map marks;     /* letter's id -> struct deadmark */
    uint64_t bad;         /* messages that are neither */
};
/* keep_text: the values are kept, for showing and replaying. */
void deads_init(struct deads *d, bool keep_text);
void deads_done(struct deads *d);
/* Takes a message of the topic. ERR_SYNTAX, ERR_INVALID, ERR_VERSION, ERR_TOO_LARGE: counted as bad; ERR_NOMEM. */
MUST_CHECK int deads_take(struct deads *d, const struct kafka_message_in *m);
/* Walks over the newest letter of each job: *at from 0; NULL at the end. */
const struct dead *deads_next(const struct deads *d, size_t *at);
/* What became of the letter, as its marks tell; *ret_mark (may be NULL): the mark, NULL for an open one. */
enum dead_state deads_state(const struct deads *d, const struct dead *l, const struct deadmark **ret_mark);
const char *dead_state_name(enum dead_state s);
/* The step at which work of this kind failed for good, when the newest letter of the same history of failures still
 * stands for it: it is open, or a person dropped it. "" when another failure is news: there is no letter, or it was
 * replayed or resolved. NULL: it was replayed so lately that this is the next try, and another beside it would be one
 * too many. A history has one beginning, record.first_failed_ms, which its letters repeat; the ids of its jobs differ,
 * since one that goes on with an open journal names the rotation's own number. */
const char *deads_standing_step(const struct deads *d, const char *user_key, int kind, int64_t first_failed_ms,
                                int64_t now_ms);
#define DEADS_REPLAY_MS 300000 /* a replay is waited for so long: its message may be lost */
/* The letter before of the same job; NULL: there is none. */
const struct dead *deads_earlier(const struct deads *d, const struct dead *l);
void dead_id(const struct dead *l, char out[DEADS_ID_MAX]);
/* True when the licence was seen to be well after the letter was written: its record is current (or in overlap or
 * quarantine) and nothing is open. Pure. */
bool dead_is_resolved(const struct dead *l, const struct store_peek *u);
/* Reads the letter again. text must have been kept. As deadletter_decode(). */
MUST_CHECK int dead_letter(const struct dead *l, struct deadletter *ret);

#endif
