/* Commands that change a user's journal or record take its lease first, as a worker does, and tell events and keys
 * topic what they did, delivery report in, before anything else comes of it (R8). A command is quick and ends with its
 * process, so that the lease is not renewed by a timer: its lifetime is the limit, and held_renew() prolongs it between
 * slow steps. */
#include "producer/held.h"

#include "lib/err.h"
#include "producer/states.h"
#include "schema/event.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define STATE_MAX 32768
#define PUT_TRIES 5

void person_name(char *out, size_t size)
{
    const char *sudo = getenv("SUDO_USER");
    const struct passwd *p = getpwuid(getuid());
    snprintf(out, size, "%s", sudo && *sudo ? sudo : p ? p->pw_name : "unknown");
    for (char *s = out; *s; s++)
        if (*s <= ' ' || *s >= 0x7f) *s = '?';
}

/* ---- the lease ---- */

struct answer {
    struct held *h;
    int err;
    int64_t wait_ms;
};

static void copy_sealed(char *into, size_t *ret_len, const char *from, size_t len)
{
    if (!from || len > STORE_SEALED_MAX) return;
    memcpy(into, from, len);
    *ret_len = len;
}

static void copy_lease(void *into, const void *result)
{
    struct answer *a = into;
    const struct store_lease *l = result;
    a->err = l->err;
    a->wait_ms = l->wait_ms;
    if (l->err) return;
    struct held *h = a->h;
    store_user_hold(&h->user, l);
    h->is_held = true;
    h->takeover = l->takeover;
    h->has_journal = l->has_journal;
    if (l->has_journal) h->journal = l->journal;
    h->has_record = l->has_record;
    if (l->has_record) h->record = l->record;
    copy_sealed(h->sealed, &h->sealed_len, l->sealed, l->sealed_len);
    copy_sealed(h->kept, &h->kept_len, l->kept, l->kept_len);
    memcpy(h->kept_id, l->kept_id, sizeof h->kept_id);
    memcpy(h->exposed, l->exposed, sizeof h->exposed);
    h->n_exposed = l->n_exposed;
}

int held_take(struct held *h, struct client *c, const struct inventory_row *row, int64_t wait_ms)
{
    char key[IDENTITY_KEY_MAX];
    *h = (struct held){.c = c, .row = row};
    record_init(&h->record, row->licence, row->account, row->user);
    journal_init(&h->journal, JOURNAL_ROTATE);
    int rc = identity_key(row->account, row->user, key);
    if (rc < 0) return client_fail(c, rc, "%s: account or user is not valid", row->licence);
    store_user_init(&c->store, &h->user, key);
    int64_t until = clock_mono_ms(&clock_system) + wait_ms;
    for (;;) {
        struct answer a = {.h = h};
        struct waiter w;
        h->user.wall_ms = clock_wall_ms(&clock_system);
        rc = store_acquire(&c->store, &h->user, client_ticket(&w, copy_lease, &a));
        if (rc == 0) rc = client_wait(c, &w);
        if (rc == 0) rc = a.err;
        if (rc == 0) return 0;
        bool busy = rc == ERR_LEASE_HELD || rc == ERR_LEASE_HOLD_OFF;
        if (!busy) return client_fail(c, rc, "%s: %s", row->licence, err_text(rc));
        if (clock_mono_ms(&clock_system) >= until)
            return client_fail(c, rc, "%s: %s; try again in a moment", row->licence,
                               rc == ERR_LEASE_HELD ? "a worker is at it" : err_text(rc));
        int over = 0;
        client_pause(c, a.wait_ms > 0 && a.wait_ms < 500 ? a.wait_ms + 1 : 500, &over);
    }
}

int held_renew(struct held *h)
{
    struct store_reply r = {0};
    struct waiter w;
    int rc = store_renew(&h->c->store, &h->user, client_ticket(&w, client_copy_reply, &r));
    rc = client_reply(h->c, rc, &w, &r, h->row->licence);
    if (rc < 0) h->is_held = false;
    return rc;
}

/* Unknown outcomes are repeated with the same opid: the script knows a write that it has seen. */
static bool may_repeat(int err)
{
    return err == ERR_REDIS_LOST || err == ERR_TIMEOUT_SENT || err == ERR_REDIS_DOWN;
}

int held_put_journal(struct held *h)
{
    char opid[STORE_TOKEN_MAX];
    struct store_reply r = {0};
    struct waiter w;
    int rc = 0;
    store_opid(&h->c->store, opid);
    h->journal.updated_ms = clock_wall_ms(&clock_system);
    h->journal.number = h->user.number;
    for (int i = 0; i < PUT_TRIES; i++) {
        rc = store_journal_put(&h->c->store, &h->user, &h->journal, opid, NULL, 0,
                               client_ticket(&w, client_copy_reply, &r));
        rc = client_reply(h->c, rc, &w, &r, h->row->licence);
        if (!may_repeat(rc)) break;
        int over = 0;
        client_pause(h->c, 500, &over);
    }
    if (rc < 0) return rc;
    h->user.journal_version = h->journal.version = r.version;
    h->has_journal = true;
    return 0;
}

int held_close(struct held *h, bool end_journal)
{
    char opid[STORE_TOKEN_MAX];
    struct store_reply r = {0};
    struct waiter w;
    int rc = 0;
    store_opid(&h->c->store, opid);
    h->record.updated_ms = clock_wall_ms(&clock_system);
    h->record.number = h->user.number;
    const struct store_record_put how = {
        .end_journal = end_journal, .release = true, .pair = STORE_PAIR_SAME, .opid = opid};
    for (int i = 0; i < PUT_TRIES; i++) {
        rc = store_record_put(&h->c->store, &h->user, &h->record, &how, client_ticket(&w, client_copy_reply, &r));
        rc = client_reply(h->c, rc, &w, &r, h->row->licence);
        if (!may_repeat(rc)) break;
        int over = 0;
        client_pause(h->c, 500, &over);
    }
    if (rc == 0) h->is_held = false;
    return rc;
}

void held_release(struct held *h)
{
    struct store_reply r;
    struct waiter w;
    if (!h->is_held) return;
    h->is_held = false;
    if (store_release(&h->c->store, &h->user, client_ticket(&w, client_copy_reply, &r)) < 0) return;
    if (client_wait(h->c, &w) < 0) return;
}

/* ---- events and state ---- */

static int send_event(struct client *c, const struct event *e, const char *key)
{
    struct event_header_set set;
    AUTO_BUF struct buf value;
    buf_init(&value, EVENT_MAX_BYTES);
    int rc = event_encode(e, &value);
    if (rc == 0) rc = event_headers(e, c->o->worker_id, &set);
    if (rc < 0) return client_fail(c, rc, "event %s: %s", event_type_name(e->type), err_text(rc));
    const struct kafka_message_out m = {c->o->topic_events, key,         strlen(key), value.data,
                                        value.len,          set.headers, set.n};
    return client_produce(c, &m);
}

static int send_state(struct client *c, const char *key, const struct record *r, const struct journal *j,
                      char (*exposed)[AWS_KEY_ID_MAX], size_t n_exposed)
{
    AUTO_BUF struct buf value;
    buf_init(&value, STATE_MAX);
    int rc = state_encode(r, j, (const char(*)[AWS_KEY_ID_MAX])exposed, n_exposed, &value);
    if (rc < 0) return client_fail(c, rc, "state of %s: %s", key, err_text(rc));
    const struct kafka_message_out m = {c->o->topic_keys, key, strlen(key), value.data, value.len, NULL, 0};
    return client_produce(c, &m);
}

static void fill_event(struct event *e, const struct inventory_row *row, int type, const char *by, const char *reason)
{
    *e = (struct event){.type = type, .at_ms = clock_wall_ms(&clock_system)};
    snprintf(e->licence, sizeof e->licence, "%s", row->licence);
    snprintf(e->account, sizeof e->account, "%s", row->account);
    snprintf(e->user, sizeof e->user, "%s", row->user);
    snprintf(e->by, sizeof e->by, "%s", by);
    message_words(e->reason, sizeof e->reason, reason);
}

/* A job id for events that no job caused: made of what they are about, like any other. */
static int identify(struct event *e)
{
    return identity_job_id("command", e->account, e->user, e->key_old, e->number, e->job_id);
}

int held_report(struct held *h, int type, int kind, const char *by, const char *reason)
{
    struct event e;
    const struct journal *j = h->has_journal ? &h->journal : NULL;
    h->record.number = h->user.number; /* else the state would be taken for older than the last one under this user */
    fill_event(&e, h->row, type, by, reason);
    e.kind = kind;
    e.number = h->user.number;
    e.rotation = j ? j->rotation : h->record.rotation;
    if (j) {
        snprintf(e.job_id, sizeof e.job_id, "%s", j->job_id);
        snprintf(e.key_new, sizeof e.key_new, "%s", j->key_new);
        snprintf(e.key_old, sizeof e.key_old, "%s", j->key_old);
        e.assisted = j->assisted;
        e.repair = j->repair;
    } else if (record_current(&h->record)) {
        snprintf(e.key_new, sizeof e.key_new, "%s", record_current(&h->record)->id);
    }
    int rc = e.job_id[0] ? 0 : identify(&e);
    if (rc == 0) rc = send_event(h->c, &e, h->user.key);
    if (rc < 0) return rc;
    return send_state(h->c, h->user.key, &h->record, j, h->exposed, h->n_exposed);
}

int witness_report(struct client *c, const struct inventory_row *row, const struct store_peek *u, int type,
                   const char *key_old, const char *by, const char *reason)
{
    struct event e;
    char key[IDENTITY_KEY_MAX];
    fill_event(&e, row, type, by, reason);
    snprintf(e.key_old, sizeof e.key_old, "%s", key_old);
    e.exposed = type == EVENT_EXPOSED;
    e.rotation = u->record.rotation;
    int rc = identity_key(row->account, row->user, key);
    if (rc == 0) rc = identify(&e);
    if (rc < 0) return client_fail(c, rc, "%s: %s", row->licence, err_text(rc));
    rc = send_event(c, &e, key);
    if (rc < 0) return rc;
    return send_state(c, key, &u->record, u->has_journal ? &u->journal : NULL,
                      (char(*)[AWS_KEY_ID_MAX])(uintptr_t)u->exposed_ids, u->n_exposed);
}
