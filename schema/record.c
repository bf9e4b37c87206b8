/* Codec of the record and the journal (record.h). Both are flat JSON documents; times are milliseconds, absent members
 * mean "none". A new optional member is a minor change; a changed meaning raises the major in RECORD_FORMAT and needs a
 * reader for the old one. Unknown members are ignored, so that an older worker can read what a newer one wrote. */
#include "schema/record.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/json.h"
#include "lib/text.h"
#include "schema/minor.h"

#include <stdio.h>
#include <string.h>

#define RECORD_FORMAT  "keyroll.record/1"
#define JOURNAL_FORMAT "keyroll.journal/1"
#define DOC_MAX        16384

static const char *const state_names[] = {
#define NAME_ROW(name, text) text,
    RECORD_STATES(NAME_ROW)
#undef NAME_ROW
};
static const char *const role_names[] = {"current", "replaced", "unused", "left"};
static const char *const next_names[] = {"none", "retire", "reap"};
static const char *const kind_names[] = {"rotate", "retire", "reap"};
static const char *const step_names[] = {"intent",   "doubt", "created",    "await",      "set",
                                         "withdraw", "undo",  "deactivate", "reactivate", "delete"};
static const char *const direction_names[] = {"", "set", "undo"};

const char *record_state_name(enum record_state s)
{
    return (size_t)s < ARRAY_LEN(state_names) ? state_names[s] : "unknown";
}

const char *journal_step_name(enum journal_step s)
{
    return (size_t)s < ARRAY_LEN(step_names) ? step_names[s] : "unknown";
}

const char *journal_direction_name(enum journal_direction d)
{
    return (size_t)d < ARRAY_LEN(direction_names) ? direction_names[d] : "unknown";
}

/* ---- reading ---------------------------------------------------------------------------------------------------- */

static int lookup(const char *const *names, size_t n, const char *text)
{
    for (size_t i = 0; text && i < n; i++)
        if (!strcmp(names[i], text)) return (int)i;
    return -1;
}

/* Each reader leaves the default where the member is absent and reports ERR_SYNTAX where it has another type or is too
 * long. */
static int get_text(const json_t *o, const char *name, char *out, size_t size)
{
    const json_t *v = json_object_get(o, name);
    if (!v) return 0;
    const char *s = json_string_value(v);
    if (!s || json_string_length(v) >= size || strlen(s) != json_string_length(v)) return ERR_SYNTAX;
    memcpy(out, s, json_string_length(v) + 1);
    return 0;
}

static int get_int(const json_t *o, const char *name, int64_t *out)
{
    const json_t *v = json_object_get(o, name);
    if (!v) return 0;
    if (!json_is_integer(v)) return ERR_SYNTAX;
    *out = json_integer_value(v);
    return 0;
}

static int get_bool(const json_t *o, const char *name, bool *out)
{
    const json_t *v = json_object_get(o, name);
    if (!v) return 0;
    if (!json_is_boolean(v)) return ERR_SYNTAX;
    *out = json_is_true(v);
    return 0;
}

static int get_enum(const json_t *o, const char *name, const char *const *names, size_t n, int *out)
{
    const json_t *v = json_object_get(o, name);
    if (!v) return 0;
    int i = lookup(names, n, json_string_value(v));
    if (i < 0) return ERR_SYNTAX;
    *out = i;
    return 0;
}

static int get_unsigned(const json_t *o, const char *name, unsigned *out)
{
    int64_t n = *out;
    int rc = get_int(o, name, &n);
    if (rc < 0) return rc;
    if (n < 0 || n > UINT32_MAX) return ERR_SYNTAX;
    *out = (unsigned)n;
    return 0;
}

#define TRY(expr)                                                                                                      \
    do {                                                                                                               \
        int rc_ = (expr);                                                                                              \
        if (rc_ < 0) return rc_;                                                                                       \
    } while (0)

static int get_key_id(const json_t *o, const char *name, char out[AWS_KEY_ID_MAX])
{
    TRY(get_text(o, name, out, AWS_KEY_ID_MAX));
    return !out[0] || aws_key_id_valid(out) ? 0 : ERR_SYNTAX;
}

/* "keyroll.x/1" or "keyroll.x/1.7": same major. */
static int check_format(const json_t *o, const char *format)
{
    const char *f = json_string_value(json_object_get(o, "format"));
    size_t n = strlen(format);
    if (!f) return ERR_SYNTAX;
    return !strncmp(f, format, n) && (f[n] == '\0' || f[n] == '.') ? 0 : ERR_VERSION;
}

static int key_decode(const json_t *o, struct record_key *k)
{
    int role = KEY_CURRENT, next = KEY_NEXT_NONE;
    char status[16] = "";
    if (!json_is_object(o)) return ERR_SYNTAX;
    TRY(get_key_id(o, "id", k->id));
    if (!k->id[0]) return ERR_SYNTAX;
    TRY(get_enum(o, "role", role_names, ARRAY_LEN(role_names), &role));
    TRY(get_enum(o, "next", next_names, ARRAY_LEN(next_names), &next));
    TRY(get_text(o, "status", status, sizeof(status)));
    k->role = (enum key_role)role;
    k->next = (enum key_next)next;
    k->status = aws_key_status_parse(status);
    TRY(get_bool(o, "listed", &k->listed));
    TRY(get_bool(o, "exposed", &k->exposed));
    TRY(get_bool(o, "unseen", &k->unseen));
    TRY(get_key_id(o, "replaced_by", k->replaced_by));
    TRY(get_int(o, "rotation", &k->rotation));
    TRY(get_int(o, "created_ms", &k->created_ms));
    TRY(get_int(o, "seen_ms", &k->seen_ms));
    TRY(get_int(o, "offered_ms", &k->offered_ms));
    TRY(get_int(o, "replaced_ms", &k->replaced_ms));
    TRY(get_int(o, "inactive_ms", &k->inactive_ms));
    TRY(get_int(o, "inactive_aws_ms", &k->inactive_aws_ms));
    return get_int(o, "next_ms", &k->next_ms);
}

static void key_init(struct record_key *k)
{
    memset(k, 0, sizeof(*k));
    k->status = AWS_KEY_STATUS_UNKNOWN;
    k->created_ms = k->seen_ms = k->offered_ms = k->replaced_ms = k->inactive_ms = k->inactive_aws_ms = k->next_ms =
        TIME_NONE;
}

static int keys_decode(const json_t *a, struct record *r)
{
    if (!a) return 0;
    if (!json_is_array(a)) return ERR_SYNTAX;
    if (json_array_size(a) > RECORD_KEYS_MAX) return ERR_TOO_LARGE;
    for (size_t i = 0; i < json_array_size(a); i++) {
        key_init(&r->keys[i]);
        TRY(key_decode(json_array_get(a, i), &r->keys[i]));
        r->n_keys = i + 1;
    }
    return 0;
}

static int record_fill(const json_t *o, struct record *r)
{
    int state = RECORD_NEW;
    int64_t error = 0;
    TRY(check_format(o, RECORD_FORMAT));
    TRY(get_text(o, "licence", r->licence, sizeof(r->licence)));
    TRY(get_text(o, "account", r->account, sizeof(r->account)));
    TRY(get_text(o, "user", r->user, sizeof(r->user)));
    TRY(get_enum(o, "state", state_names, ARRAY_LEN(state_names), &state));
    r->state = (enum record_state)state;
    TRY(get_int(o, "rotation", &r->rotation));
    TRY(get_int(o, "rotated_ms", &r->rotated_ms));
    TRY(get_int(o, "next_ms", &r->next_ms));
    TRY(get_text(o, "reason", r->reason, sizeof(r->reason)));
    TRY(get_text(o, "step", r->step, sizeof(r->step)));
    TRY(get_int(o, "error", &error));
    r->error = (int)error;
    TRY(get_unsigned(o, "attempts", &r->attempts));
    TRY(get_text(o, "parked", r->parked, sizeof(r->parked)));
    TRY(get_bool(o, "asked", &r->asked));
    TRY(get_bool(o, "looked", &r->looked));
    TRY(get_bool(o, "repair", &r->repair));
    TRY(get_unsigned(o, "drifts", &r->drifts));
    TRY(get_int(o, "first_failed_ms", &r->first_failed_ms));
    TRY(get_int(o, "audited_ms", &r->audited_ms));
    TRY(get_int(o, "updated_ms", &r->updated_ms));
    TRY(get_int(o, "number", &r->number));
    return keys_decode(json_object_get(o, "keys"), r);
}

static int seen_decode(const json_t *a, struct journal *j)
{
    if (!a) return 0;
    if (!json_is_array(a)) return ERR_SYNTAX;
    if (json_array_size(a) > AWS_KEYS_MAX) return ERR_TOO_LARGE;
    for (size_t i = 0; i < json_array_size(a); i++) {
        const char *id = json_string_value(json_array_get(a, i));
        if (!id || !aws_key_id_valid(id)) return ERR_SYNTAX;
        text_copy(j->seen[i], sizeof(j->seen[i]), id);
        j->n_seen = i + 1;
    }
    return 0;
}

static int journal_fill(const json_t *o, struct journal *j)
{
    int kind = JOURNAL_ROTATE, step = JOURNAL_INTENT, direction = DIRECTION_NONE;
    TRY(check_format(o, JOURNAL_FORMAT));
    TRY(get_enum(o, "kind", kind_names, ARRAY_LEN(kind_names), &kind));
    TRY(get_enum(o, "step", step_names, ARRAY_LEN(step_names), &step));
    TRY(get_enum(o, "direction", direction_names, ARRAY_LEN(direction_names), &direction));
    j->kind = (enum journal_kind)kind;
    j->step = (enum journal_step)step;
    j->direction = (enum journal_direction)direction;
    TRY(get_int(o, "rotation", &j->rotation));
    TRY(get_text(o, "job_id", j->job_id, sizeof(j->job_id)));
    TRY(seen_decode(json_object_get(o, "seen"), j));
    TRY(get_int(o, "intent_ms", &j->intent_ms));
    TRY(get_int(o, "intent_last_ms", &j->intent_last_ms));
    TRY(get_int(o, "intent_aws_ms", &j->intent_aws_ms));
    TRY(get_key_id(o, "key_new", j->key_new));
    TRY(get_int(o, "key_new_created_ms", &j->key_new_created_ms));
    TRY(get_key_id(o, "key_old", j->key_old));
    TRY(get_bool(o, "old_seen", &j->old_seen));
    TRY(get_key_id(o, "key_doubt", j->key_doubt));
    TRY(get_int(o, "doubt_inactive_ms", &j->doubt_inactive_ms));
    TRY(get_int(o, "offered_ms", &j->offered_ms));
    TRY(get_int(o, "written_ms", &j->written_ms));
    TRY(get_int(o, "patient_ms", &j->patient_ms));
    TRY(get_bool(o, "repair", &j->repair));
    TRY(get_bool(o, "assisted", &j->assisted));
    TRY(get_bool(o, "exposed", &j->exposed));
    TRY(get_bool(o, "secret_lost", &j->secret_lost));
    TRY(get_int(o, "started_ms", &j->started_ms));
    TRY(get_int(o, "updated_ms", &j->updated_ms));
    TRY(get_int(o, "hold_off_ms", &j->hold_off_ms));
    TRY(get_bool(o, "told_anew", &j->told_anew));
    return get_int(o, "number", &j->number);
}

static json_t *load(const char *json, size_t len, int *ret_err)
{
    if (len > DOC_MAX) {
        *ret_err = ERR_TOO_LARGE;
        return NULL;
    }
    json_t *o = NULL;
    *ret_err = json_read(json, len, JSON_REJECT_DUPLICATES, &o, NULL);
    if (*ret_err < 0) return NULL;
    *ret_err = ERR_SYNTAX;
    if (json_is_object(o)) return o;
    json_decref(o);
    return NULL;
}

int record_read(const json_t *o, struct record *ret_record)
{
    struct record r;
    record_init(&r, "", "", "");
    int rc = record_fill(o, &r);
    if (rc == 0) *ret_record = r;
    return rc;
}

int record_decode(const char *json, size_t len, struct record *ret_record)
{
    int err;
    AUTO_JSON json_t *o = load(json, len, &err);
    return o ? record_read(o, ret_record) : err;
}

int journal_read(const json_t *o, struct journal *ret_journal)
{
    struct journal j;
    journal_init(&j, JOURNAL_ROTATE);
    int rc = journal_fill(o, &j);
    if (rc == 0) *ret_journal = j;
    return rc;
}

int journal_decode(const char *json, size_t len, struct journal *ret_journal)
{
    int err;
    AUTO_JSON json_t *o = load(json, len, &err);
    return o ? journal_read(o, ret_journal) : err;
}

/* ---- writing: straight into the buffer, since this is in the hot path of each transition ---------------------------
 */

static void put_name(struct buf *b, const char *name)
{
    char last = b->len ? b->data[b->len - 1] : '{';
    if (last != '{' && last != '[') buf_addc(b, ',');
    buf_addc(b, '"');
    buf_adds(b, name);
    buf_adds(b, "\":");
}

static void put_quoted(struct buf *b, const char *s)
{
    buf_addc(b, '"');
    for (; *s; s++) {
        size_t plain = 0; /* bytes that stand for themselves are copied at once: nearly all */
        while ((signed char)s[plain] >= 0x20 && s[plain] != '"' && s[plain] != '\\') plain++;
        buf_add(b, s, plain);
        s += plain;
        unsigned char c = (unsigned char)*s;
        if (!c) break;
        if (c == '"' || c == '\\') buf_addc(b, '\\');
        if (c < 0x20)
            buf_addf(b, "\\u%04x", c);
        else
            buf_addc(b, c < 0x80 ? (char)c : '?'); /* texts of others may be no UTF-8: never an unreadable record */
    }
    buf_addc(b, '"');
}

static void put_text(struct buf *b, const char *name, const char *s)
{
    if (!s[0]) return;
    put_name(b, name);
    put_quoted(b, s);
}

static void put_int(struct buf *b, const char *name, int64_t n, int64_t absent)
{
    if (n == absent) return;
    char digits[TEXT_INT_MAX]; /* a dozen numbers in each document, and buf_addf() prints twice */
    put_name(b, name);
    buf_add(b, digits, text_int(digits, n));
}

static void put_bool(struct buf *b, const char *name, bool v)
{
    if (!v) return;
    put_name(b, name);
    buf_adds(b, "true");
}

static void key_encode(const struct record_key *k, struct buf *b)
{
    buf_addc(b, '{');
    put_text(b, "id", k->id);
    put_text(b, "role", role_names[k->role]);
    put_text(b, "status", aws_key_status_name(k->status));
    put_bool(b, "listed", k->listed);
    put_bool(b, "exposed", k->exposed);
    put_bool(b, "unseen", k->unseen);
    put_text(b, "replaced_by", k->replaced_by);
    put_int(b, "rotation", k->rotation, 0);
    put_int(b, "created_ms", k->created_ms, TIME_NONE);
    put_int(b, "seen_ms", k->seen_ms, TIME_NONE);
    put_int(b, "offered_ms", k->offered_ms, TIME_NONE);
    put_int(b, "replaced_ms", k->replaced_ms, TIME_NONE);
    put_int(b, "inactive_ms", k->inactive_ms, TIME_NONE);
    put_int(b, "inactive_aws_ms", k->inactive_aws_ms, TIME_NONE);
    if (k->next != KEY_NEXT_NONE) put_text(b, "next", next_names[k->next]);
    put_int(b, "next_ms", k->next_ms, TIME_NONE);
    buf_addc(b, '}');
}

int record_encode(const struct record *r, struct buf *out)
{
    buf_addc(out, '{');
    put_text(out, "format", RECORD_FORMAT SCHEMA_MINOR);
    put_text(out, "new_in_minor", SCHEMA_MINOR_NEW);
    put_text(out, "licence", r->licence);
    put_text(out, "account", r->account);
    put_text(out, "user", r->user);
    put_text(out, "state", state_names[r->state]);
    put_int(out, "rotation", r->rotation, 0);
    put_int(out, "rotated_ms", r->rotated_ms, TIME_NONE);
    put_name(out, "keys");
    buf_addc(out, '[');
    for (size_t i = 0; i < r->n_keys; i++) {
        if (i) buf_addc(out, ',');
        key_encode(&r->keys[i], out);
    }
    buf_addc(out, ']');
    put_int(out, "next_ms", r->next_ms, TIME_NONE);
    put_text(out, "reason", r->reason);
    put_text(out, "step", r->step);
    put_int(out, "error", r->error, 0);
    put_int(out, "attempts", r->attempts, 0);
    put_text(out, "parked", r->parked);
    put_bool(out, "asked", r->asked);
    put_bool(out, "looked", r->looked);
    put_bool(out, "repair", r->repair);
    put_int(out, "drifts", r->drifts, 0);
    put_int(out, "first_failed_ms", r->first_failed_ms, TIME_NONE);
    put_int(out, "audited_ms", r->audited_ms, TIME_NONE);
    put_int(out, "updated_ms", r->updated_ms, TIME_NONE);
    put_int(out, "number", r->number, 0);
    return buf_addc(out, '}');
}

int journal_encode(const struct journal *j, struct buf *out)
{
    buf_addc(out, '{');
    put_text(out, "format", JOURNAL_FORMAT SCHEMA_MINOR);
    put_text(out, "new_in_minor", SCHEMA_MINOR_NEW);
    put_text(out, "kind", kind_names[j->kind]);
    put_text(out, "step", step_names[j->step]);
    put_text(out, "direction", direction_names[j->direction]);
    put_int(out, "rotation", j->rotation, 0);
    put_text(out, "job_id", j->job_id);
    put_name(out, "seen");
    buf_addc(out, '[');
    for (size_t i = 0; i < j->n_seen; i++) {
        if (i) buf_addc(out, ',');
        put_quoted(out, j->seen[i]);
    }
    buf_addc(out, ']');
    put_int(out, "intent_ms", j->intent_ms, TIME_NONE);
    put_int(out, "intent_last_ms", j->intent_last_ms, TIME_NONE);
    put_int(out, "intent_aws_ms", j->intent_aws_ms, TIME_NONE);
    put_text(out, "key_new", j->key_new);
    put_int(out, "key_new_created_ms", j->key_new_created_ms, TIME_NONE);
    put_text(out, "key_old", j->key_old);
    put_bool(out, "old_seen", j->old_seen);
    put_text(out, "key_doubt", j->key_doubt);
    put_int(out, "doubt_inactive_ms", j->doubt_inactive_ms, TIME_NONE);
    put_int(out, "offered_ms", j->offered_ms, TIME_NONE);
    put_int(out, "written_ms", j->written_ms, TIME_NONE);
    put_int(out, "patient_ms", j->patient_ms, TIME_NONE);
    put_bool(out, "repair", j->repair);
    put_bool(out, "assisted", j->assisted);
    put_bool(out, "exposed", j->exposed);
    put_bool(out, "secret_lost", j->secret_lost);
    put_int(out, "started_ms", j->started_ms, TIME_NONE);
    put_int(out, "updated_ms", j->updated_ms, TIME_NONE);
    put_int(out, "hold_off_ms", j->hold_off_ms, TIME_NONE);
    put_bool(out, "told_anew", j->told_anew);
    put_int(out, "number", j->number, 0);
    return buf_addc(out, '}');
}

/* ---- values ------------------------------------------------------------------------------------------------------ */

void record_init(struct record *r, const char *licence, const char *account, const char *user)
{
    memset(r, 0, sizeof(*r));
    text_copy(r->licence, sizeof(r->licence), licence);
    text_copy(r->account, sizeof(r->account), account);
    text_copy(r->user, sizeof(r->user), user);
    r->state = RECORD_NEW;
    r->rotated_ms = r->next_ms = r->first_failed_ms = r->audited_ms = r->updated_ms = TIME_NONE;
}

void journal_init(struct journal *j, enum journal_kind kind)
{
    memset(j, 0, sizeof(*j));
    j->kind = kind;
    j->intent_ms = j->intent_last_ms = j->intent_aws_ms = j->key_new_created_ms = j->doubt_inactive_ms = TIME_NONE;
    j->offered_ms = j->written_ms = j->patient_ms = j->started_ms = j->updated_ms = TIME_NONE;
    j->hold_off_ms = TIME_NONE;
}

const struct record_key *record_find_const(const struct record *r, const char *id)
{
    for (size_t i = 0; id && id[0] && i < r->n_keys; i++)
        if (!strcmp(r->keys[i].id, id)) return &r->keys[i];
    return NULL;
}

struct record_key *record_find(struct record *r, const char *id)
{
    return (struct record_key *)record_find_const(r, id);
}

const struct record_key *record_current(const struct record *r)
{
    for (size_t i = 0; i < r->n_keys; i++)
        if (r->keys[i].role == KEY_CURRENT) return &r->keys[i];
    return NULL;
}

struct record_key *record_add(struct record *r, const char *id)
{
    struct record_key *k = record_find(r, id);
    if (k) return k;
    if (r->n_keys == RECORD_KEYS_MAX) return NULL;
    k = &r->keys[r->n_keys++];
    key_init(k);
    text_copy(k->id, sizeof(k->id), id);
    return k;
}

void record_remove(struct record *r, const char *id)
{
    struct record_key *k = record_find(r, id);
    if (!k) return;
    size_t i = (size_t)(k - r->keys);
    memmove(k, k + 1, (r->n_keys - i - 1) * sizeof(*k));
    r->n_keys--;
}

void record_settle(struct record *r)
{
    bool active = false, inactive = false;
    for (size_t i = 0; i < r->n_keys; i++) {
        const struct record_key *k = &r->keys[i];
        if (k->role != KEY_REPLACED && k->role != KEY_UNUSED) continue;
        if (k->next == KEY_NEXT_RETIRE) active = true;
        if (k->next == KEY_NEXT_REAP) inactive = true;
    }
    r->state = active ? RECORD_OVERLAP : inactive ? RECORD_QUARANTINE : RECORD_CURRENT;
    r->reason[0] = r->step[0] = r->parked[0] = '\0';
    r->error = 0;
    r->attempts = r->drifts = 0;
    r->asked = r->looked = r->repair = false;
    r->first_failed_ms = r->next_ms = TIME_NONE;
}

const struct record_key *record_next_key(const struct record *r)
{
    const struct record_key *best = NULL;
    for (size_t i = 0; i < r->n_keys; i++) {
        const struct record_key *k = &r->keys[i];
        if (k->next == KEY_NEXT_NONE || k->next_ms == TIME_NONE) continue;
        if (!best || k->next_ms < best->next_ms) best = k;
    }
    return best;
}
