/* Whose key is which, and what may be done: the pure decision table in front of CreateAccessKey. It never guesses: what
 * the journal, the record or the events do not name is left alone and a person is asked, by key id (I3, R5). */
#ifndef KEYROLL_KEYSLOTS_H
#define KEYROLL_KEYSLOTS_H

#include "lib/instance.h"
#include "schema/record.h"

#define KEYSLOTS_QUOTA 2 /* AccessKeysPerUser: active or not, cannot be raised */

enum slot_action {
    SLOT_NOTHING, /* the job was answered, its key is not the current one any more; everything listed is explained (R2)
                   */
    SLOT_CREATE,  /* a slot is free: replace `old_id` ("" = the instance holds none) */
    SLOT_FREE,    /* delete key_id first: Inactive for the quarantine, its replacement seen in use since */
    SLOT_WAIT,    /* a slot becomes free at until_ms: a predecessor is in overlap or quarantine (uncounted) */
    SLOT_REPAIR,  /* the instance went back to a predecessor: write the kept pair again */
    SLOT_FALL_BACK, /* the same, and the pair is lost: the predecessor key_id lives and becomes current again */
    SLOT_LOST,      /* the current key is gone from AWS: close it as lost, then decide again */
    SLOT_DRIFTED,   /* instance and AWS disagree, or somebody else changed a key */
    SLOT_PERSON,    /* a person must look at key_id */
};
struct keyslots_in {
    const struct aws_key *keys;
    size_t n_keys; /* as listed now */
    enum instance_seen seen;
    const char *seen_id;         /* what the instance uses; UNKNOWN: nothing can be read */
    const struct record *record; /* n_keys 0 and state NEW when there is none */
    const char *replace_id;      /* the job's key to be replaced; "" = whatever is current */
    bool is_stale;               /* the job was published before the record's last rotation ended, which answered it */
    bool pair_kept;              /* the sealed pair of the current key is there */
    bool operator_asked;         /* a person asked for this rotation */
    int64_t now_ms;
};
struct keyslots_out {
    enum slot_action action;
    char key_id[AWS_KEY_ID_MAX];  /* FREE, PERSON, DRIFTED: which */
    char old_id[AWS_KEY_ID_MAX];  /* CREATE, FREE: the key that the new one will replace */
    bool old_seen;                /* the instance was seen to use old_id */
    int64_t until_ms;             /* WAIT */
    char reason[RECORD_TEXT_MAX]; /* for a person: what, which key, what to do */
};
/* Pure. */
void keyslots_decide(const struct keyslots_in *in, struct keyslots_out *out);

/* Lists of IAM lag behind: they may still show a deleted key, or not yet a new one
 * (https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot_general.html, "Changes that I make are not always
 * immediately visible"). AWS gives no bound; ours is R4's, the setting create_doubt. */
enum keyslots_lag {
    KEYSLOTS_IN_STEP,     /* nothing contradicts what is known, or not lately */
    KEYSLOTS_BEHIND,      /* contradicts what keyroll did: look again, unless the instance says that its key fails */
    KEYSLOTS_GONE_LISTED, /* shows the current key, which was found gone, and AWS brings none back. Believed, it would
                             keep the slot taken while the instance is cut off */
};
/* doubt_ms: for how long a list is doubted after what it contradicts, rotation_policy.create_doubt_ms. now_ms: when
 * the list was made, which what followed it may have delayed. aws_ms: the same by AWS's clock, which CreateDate is of,
 * too; TIME_NONE not known. Pure. */
enum keyslots_lag keyslots_lags(const struct record *r, const struct aws_key *keys, size_t n_keys, int64_t doubt_ms,
                                int64_t now_ms, int64_t aws_ms);
/* Instances lag, too: one that was seen to use the current key less than life_ms ago, and shows another or none, may
 * answer with what it held before. Look again: what stays for life_ms is believed, also where the clock was set back
 * since and the last look seems to be still to come. Where it was set forwards, how long ago that look was is not
 * known: so AWS's clock tells of a key of ours that it was made within the hour. life_ms: for how long an old value may
 * be shown, instance_abilities.write_life_ms. aws_ms: now by AWS's clock, TIME_NONE not known. Pure. */
bool keyslots_shows_old(const struct record *r, enum instance_seen seen, const char *seen_id, int64_t life_ms,
                        int64_t now_ms, int64_t aws_ms);
/* Brings the record in line with what was listed and seen: status of each known key, `listed`, `seen_ms`; a record that
 * is NEW adopts a plain world (one key in use, others none). Returns true when something was changed by others (drift),
 * with the reason. Pure. */
bool keyslots_observe(struct record *r, const struct aws_key *keys, size_t n_keys, enum instance_seen seen,
                      const char *seen_id, int64_t now_ms, char ret_reason[RECORD_TEXT_MAX]);

#endif
