/* People and strangers (world.h). `reveal` follows the design's R11: the direction is decided and journalled before
 * anything is shown; what it shows may be shown again until the pair is proven. */
#include "tests/sim/world.h"

#include "lib/err.h"

#include <stdlib.h>
#include <string.h>

#define WAIT_MS 600000

struct answer {
    bool done;
    int err;
    int64_t version;
    struct store_lease lease;
    char sealed[STORE_SEALED_MAX], kept[STORE_SEALED_MAX];
    size_t sealed_len, kept_len;
};

static void on_lease(void *self, uint64_t id, const void *result)
{
    struct answer *a = self;
    const struct store_lease *l = result;
    (void)id;
    a->done = true;
    a->err = l->err;
    if (l->err) return;
    a->lease = *l;
    if (l->sealed) memcpy(a->sealed, l->sealed, a->sealed_len = l->sealed_len);
    if (l->kept) memcpy(a->kept, l->kept, a->kept_len = l->kept_len);
}

static void on_reply(void *self, uint64_t id, const void *result)
{
    struct answer *a = self;
    const struct store_reply *r = result;
    (void)id;
    a->done = true;
    a->err = r->err;
    a->version = r->version;
}

static void on_delivered(void *self, uint64_t id, const void *result)
{
    struct answer *a = self;
    const struct kafka_report *r = result;
    (void)id;
    a->done = true;
    a->err = r->err;
}

static int wait_for(struct sim_world *w, struct answer *a, int rc)
{
    if (rc < 0) return rc;
    while (!a->done && sim_step(&w->sim)) continue;
    a->done = false;
    return a->err;
}

static bool take_lease(struct sim_world *w, struct store_user *u, struct answer *a)
{
    int64_t until = w->sim.mono_ms + WAIT_MS;
    store_user_init(&w->person_store, u, SIM_USER_KEY);
    while (w->sim.mono_ms < until) {
        if (wait_for(w, a, store_acquire(&w->person_store, u, (struct ticket){on_lease, a, 0})) == 0) {
            store_user_hold(u, &a->lease);
            return true;
        }
        sim_run_for(w, 500);
    }
    return false;
}

static int tell_state(struct sim_world *w, const struct answer *held, const struct journal *j)
{
    AUTO_BUF struct buf b;
    buf_init(&b, 32768);
    buf_adds(&b, "{\"version\":\"keyroll.state/1\",\"record\":");
    int rc = record_encode(&held->lease.record, &b);
    buf_adds(&b, ",\"journal\":");
    if (!rc) rc = journal_encode(j, &b);
    buf_adds(&b, ",\"exposed\":[]}");
    if (rc < 0) return rc;
    struct answer a = {0};
    struct kafka_port port = sim_kafka_port(w->kafka, &w->person);
    const struct kafka_message_out m = {sim_topic_keys, SIM_USER_KEY, strlen(SIM_USER_KEY), b.data, b.len, NULL, 0};
    return wait_for(w, &a, port.produce(port.self, &m, (struct ticket){on_delivered, &a, 0}));
}

/* Journals that the pair is shown from now on. */
static int offer(struct sim_world *w, struct store_user *u, const struct answer *held, struct journal *j)
{
    char opid[STORE_TOKEN_MAX];
    struct answer a = {0};
    j->step = JOURNAL_SET;
    j->direction = DIRECTION_SET;
    j->assisted = true;
    j->written_ms = j->updated_ms = sim_wall_ms(&w->sim);
    if (j->offered_ms == TIME_NONE) j->offered_ms = j->written_ms;
    j->number = u->number;
    store_opid(&w->person_store, opid);
    int rc =
        wait_for(w, &a, store_journal_put(&w->person_store, u, j, opid, NULL, 0, (struct ticket){on_reply, &a, 0}));
    if (rc < 0) return rc;
    u->journal_version = a.version;
    return tell_state(w, held, j);
}

bool sim_reveal(struct sim_world *w, struct sim_pair *ret_pair)
{
    struct store_user u;
    struct secret *s = NULL;
    struct answer *held = calloc(1, sizeof(*held));
    if (!held) abort();
    bool shown = take_lease(w, &u, held) && held->lease.has_journal;
    struct journal j = held->lease.journal;
    shown = shown && (j.step == JOURNAL_AWAIT || (j.step == JOURNAL_SET && j.assisted));
    const bool kept = j.repair && !held->sealed_len;
    const char *envelope = kept ? held->kept : held->sealed;
    const size_t len = kept ? held->kept_len : held->sealed_len;
    /* as in producer/cmd_reveal.c: what cannot be opened is not offered */
    shown = shown && len && escrow_open(w->escrow, SIM_USER, j.key_new, envelope, len, &s) == 0;
    shown = shown && offer(w, &u, held, &j) == 0;
    if (shown) {
        *ret_pair = (struct sim_pair){.any = true};
        snprintf(ret_pair->id, sizeof(ret_pair->id), "%s", j.key_new);
        snprintf(ret_pair->secret, sizeof(ret_pair->secret), "%s", secret_bytes(s));
        sim_say(&w->sim, "a person is shown %s", j.key_new);
    }
    secret_free(s);
    struct answer a = {0};
    (void)wait_for(w, &a, store_release(&w->person_store, &u, (struct ticket){on_reply, &a, 0}));
    free(held);
    return shown;
}

void sim_paste(struct sim_world *w, const struct sim_pair *pair)
{
    sim_truth_write(&w->truth, pair->id, pair->secret, SIM_BY_PERSON, w->sim.mono_ms);
}

void sim_confirm(struct sim_world *w)
{
    struct job j;
    struct journal open;
    if (!sim_journal(w, &open)) return;
    sim_fill_job(w, JOB_ROTATE, JOB_OPERATOR, open.key_old, open.rotation, &j);
    j.confirm = true;
    sim_publish_job(w, &w->person, &j);
}

void sim_mark_exposed(struct sim_world *w, const char *key_id)
{
    struct answer a = {0};
    struct sim_key *k = sim_truth_find(&w->truth, key_id);
    if (k) k->exposed = true;
    sim_say(&w->sim, "%s is exposed", key_id);
    if (wait_for(w, &a, store_mark_exposed(&w->person_store, SIM_USER_KEY, key_id, (struct ticket){on_reply, &a, 0})))
        abort();
}

void sim_pause(struct sim_world *w, const char *reason)
{
    struct answer a = {0};
    if (wait_for(w, &a, store_pause(&w->person_store, NULL, reason, (struct ticket){on_reply, &a, 0}))) abort();
}

bool sim_has_no_way_back(struct sim_world *w)
{
    const struct sim_truth *t = &w->truth;
    const struct sim_key *held = sim_truth_find(&w->truth, t->instance.id);
    return w->restored_once && t->instance.any && (!held || held->exposed);
}

void sim_restore_instance(struct sim_world *w, const struct sim_key *k)
{
    if (sim_state(w) == RECORD_DRIFTED && sim_has_no_way_back(w)) w->no_way_back = true; /* until it is adopted */
    w->restored_once = true;
    sim_say(&w->sim, "the instance is restored from an older copy");
    sim_truth_write(&w->truth, k->id, k->secret, SIM_BY_STRANGER, w->sim.mono_ms);
}
