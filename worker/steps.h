/* Steps that several job kinds share, and helpers for those that one kind adds. A start function begins one operation;
 * a got function takes its result in. They retry nothing and log nothing: the engine's work. */
#ifndef KEYROLL_STEPS_H
#define KEYROLL_STEPS_H

#include "schema/event.h"
#include "worker/rotation.h"

typedef struct saga_verdict step_start_fn(struct saga *s);
typedef struct saga_verdict step_got_fn(struct saga *s, const void *result);

/* Takes the lease and loads journal, record, sealed pairs. Busy: waits its remaining time in place, uncounted. Finds
 * the table of an open journal of another kind first. */
step_start_fn step_lease;
step_got_fn step_lease_got;
#define WAIT_IN_PLACE_MS 60000 /* what has to wait for longer ends its run */
#define LAG_LOOK_MS      15000 /* between looks at a list, or an instance, that seems to lag (keyslots_lags, _shows_old) */
/* ListAccessKeys, all pages. */
step_start_fn step_list;
step_got_fn step_list_got;
/* Which key does the instance use. A profile that cannot tell gives INSTANCE_SEEN_UNKNOWN. */
step_start_fn step_read;
step_got_fn step_read_got;
step_got_fn step_read_first_got; /* the same, of two reads around a survey the first (step_weigh_reads) */
/* The instance exercises its key. */
step_start_fn step_test;
step_got_fn step_test_got; /* failure: the row's retries, then `failed` */
/* STS accepts the current key, whose pair is kept: a list that shows it may be of before somebody else deleted it, and
 * its predecessor is about to be taken away. Goes on where that pair is not at hand. */
step_start_fn step_prove_kept;
step_got_fn step_prove_kept_got;
/* Which keys are marked as exposed: read again before a key is made Active, a mark may have come since the lease. */
step_start_fn step_marks;
step_got_fn step_marks_got;
/* step_marks was asked a moment ago. */
bool step_marks_are_fresh(const struct rotation *r);
/* Plain "it worked" for journal puts, record puts and events. */
step_got_fn step_journal_got, step_record_got, step_event_got;
/* A retire or reap under way finds that the instance does not show the newest key: its journal ends without a further
 * effect, first on Kafka, and the rotation's table, which repairs or reports, goes on under the same lease. */
step_start_fn step_hand_over_event, step_hand_over;
step_got_fn step_hand_over_got;
/* Gives the lease back: there is nothing more to do. */
step_start_fn step_done;
step_got_fn step_done_got;
/* Ends after the last record write, which gave the lease back. */
step_got_fn step_closed_got;
/* Gives the lease back and parks (drain). */
step_start_fn step_park;
step_got_fn step_park_got;
/* Writes the failure of rotation_note() into the record, keeps the journal, gives the lease back, ends. */
step_start_fn step_fail_record;
step_got_fn step_fail_record_got;

/* Writes the journal with this step name; the row's `got` is step_journal_got. */
struct saga_verdict step_put_journal(struct rotation *r, enum journal_step step);
/* The same with a sealed pair. */
struct saga_verdict step_put_journal_sealed(struct rotation *r, enum journal_step step, const char *sealed, size_t len);
struct saga_verdict step_put_record(struct rotation *r, bool end_journal, bool release, enum store_pair pair,
                                    const char *pair_key_id);
/* What becomes of the kept pair when a key goes: it stays while a predecessor is left that the instance may go back to.
 */
enum store_pair step_pair_left(const struct rotation *r);
struct saga_verdict step_put_event(struct rotation *r, enum event_type type);
/* One AWS call on this user; key_id and status as the operation needs them. Mutating ones carry the lease's deadline.
 */
struct saga_verdict step_aws(struct rotation *r, enum aws_op op, const char *key_id, enum aws_key_status status);
/* STS or bucket probe with this pair. */
struct saga_verdict step_probe(struct rotation *r, enum aws_op op, const char *key_id, const struct secret *secret);
/* last: the connection is closed after it. */
struct saga_verdict step_instance(struct rotation *r, enum instance_op op, bool last);
/* Takes in how long a failed call's instance wants to be left alone: by itself binding, by its profile for the record.
 */
void step_note_wait(struct rotation *r, const struct instance_result *i);
/* AWS's time now, by its last reply and the monotonic clock; not later than it is. TIME_NONE: no reply yet. */
int64_t step_aws_ms(const struct rotation *r);
/* The key is Inactive: notes since when by both clocks, unless it was before. */
void step_note_inactive(const struct rotation *r, struct record_key *k, bool was);
/* Takes an AWS result in: its time; an error with a Retry-After, texts for the reason. 0 or the error. */
int step_aws_error(struct rotation *r, const struct aws_result *a);
/* How far the clock that the record's times are of (step_now_ms()) is behind AWS's, which tells when a key was used. */
int64_t step_behind_aws_ms(const struct rotation *r);
/* Takes a key away: AWS_UPDATE_ACCESS_KEY sets it Inactive, AWS_DELETE_ACCESS_KEY deletes it. Not yet after a takeover,
 * when a frozen worker's calls may still land (R7), nor by a look of long ago (R6): since then a call waited for its
 * turn or its answer, and others may have changed keys or instance. looked_mono_ms: when the first of the looks was
 * taken by which the key may go. survey: the row with which they begin anew; fail_record: where a run ends that waits,
 * or has looked in vain. */
struct saga_verdict step_take_key(struct rotation *r, enum aws_op op, const char *key_id, int64_t looked_mono_ms,
                                  int survey, int fail_record);
/* How much longer a call that sets a key Inactive may land, ms: one had no answer, or an earlier run made one. AWS
 * takes it until its clock limit (R7), and should somebody make the key Active meanwhile it goes Inactive again then,
 * which no list tells; so whatever begins with that key's rest begins when it can no longer land. */
int64_t step_may_land_ms(const struct rotation *r);
/* When the quarantine ends of a key that this run set Inactive, by step_now_ms(). */
int64_t step_quarantine_end_ms(const struct rotation *r);
/* When the overlap ends that begins now, by step_now_ms(). Should that clock be slow and be set right meanwhile, the
 * key stays Active for as long all the same (R6): it does not end before its time by AWS's clock. Where the two differ
 * by less than what the overlap has to spare (25 h for links that live 24 h), either may be the wrong one, and it is
 * left. */
int64_t step_overlap_end_ms(const struct rotation *r);
/* Milliseconds that the key of an open journal may not be offered yet, since Redis may have lost that it was to be
 * deleted, and the call may still land (tests/model, PATIENT_SET); 0 = may go. */
int64_t step_offer_patience_ms(const struct rotation *r);
/* What was listed, against what is known (keyslots_lags). */
enum keyslots_lag step_list_lag(const struct rotation *r);
/* What was read may be what the instance held before (keyslots_shows_old): look again in LAG_LOOK_MS. Not a key that
 * AWS lists and the record does not know, it is new; nor one that the record knows where the pair is kept: to write
 * that again harms nothing. One that neither knows may be gone for good: a stranger deleted it. */
bool step_shows_old(struct rotation *r);
/* Both reads were to show the newest key before the target is taken away (R6). Where they differ one is stale, and
 * nobody knows which: the one that showed something else counts, of two such the one that showed the target. */
void step_weigh_reads(struct rotation *r, const char *newest_id);
const struct aws_key *step_listed(const struct rotation *r, const char *id);
/* By the mark, as read last, or by the record. */
bool step_is_exposed(const struct rotation *r, const char *id);
/* The time that stamps and waits go by: Redis's since the lease was granted, this host's before. */
int64_t step_now_ms(const struct rotation *r);
/* For a stamp that a later call's safety hangs on: not earlier than now, whichever of both clocks is wrong. */
int64_t step_latest_ms(const struct rotation *r);
/* What is left until such a moment: 0 only when it has surely passed. */
int64_t step_left_ms(const struct rotation *r, int64_t until_ms);

/* Notes why a run ends. counted: as a failed attempt. */
void rotation_note(struct rotation *r, int err, bool counted, const char *fmt, ...) PRINTF_LIKE(4, 5);
/* A wait, not a failure: try again at this wall time, state unchanged unless given. */
void rotation_note_wait(struct rotation *r, int64_t until_ms, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* What every kind does with a failed row: lost lease, drain, else note and record. record_row/park_row: rows of the
 * asking table. */
struct saga_verdict rotation_failed(struct rotation *r, int row, int err, int fail_record_row, int park_row);

#endif
