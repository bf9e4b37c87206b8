/* keyroll adopt: a person accepts what is there. The keys and the instance are read live under the user's lease; the
 * record that is written explains every key (adopt.h). An open journal is closed only with --force, after showing what
 * it holds: its new key may be in the instance, and its sealed pair goes with it. */
#include "lib/err.h"
#include "producer/adopt.h"
#include "producer/command.h"
#include "producer/held.h"
#include "producer/look.h"
#include "producer/subjects.h"
#include "schema/event.h"

#include <stdio.h>
#include <string.h>

#define NAME          "adopt"
#define LEASE_WAIT_MS 20000

struct adopt_args {
    const char **replaced, **left;
    const char *current;
    bool force;
};

static int refuse_open(const struct held *h)
{
    const struct journal *j = &h->journal;
    return client_fail(h->c, ERR_BUSY,
                       "%s: a rotation is open at %s (new key %s, key before %s, %s): let the workers finish it, or "
                       "close it with --force; the sealed secret of the new key is lost then",
                       h->row->licence, journal_step_name(j->step), j->key_new[0] ? j->key_new : "none",
                       j->key_old[0] ? j->key_old : "none",
                       j->offered_ms == TIME_NONE ? "never offered to the instance" : "offered to the instance");
}

/* The key in use: as the instance shows it, else as the person says. */
static int find_current(const struct held *h, const struct adopt_args *args, const struct look *l, const char **ret_id,
                        bool *ret_seen)
{
    *ret_seen = l->seen == INSTANCE_SEEN_ID;
    *ret_id = l->seen_id;
    if (l->list_err) return client_fail(h->c, l->list_err, "%s: %s", h->row->licence, l->list_why);
    if (l->seen == INSTANCE_SEEN_ID && args->current && strcmp(args->current, l->seen_id) != 0)
        return client_fail(h->c, ERR_INVALID, "%s: --current %s, but the instance uses %s", h->row->licence,
                           args->current, l->seen_id);
    if (l->seen != INSTANCE_SEEN_UNKNOWN) return 0;
    if (!args->current)
        return client_fail(h->c, ERR_INVALID,
                           "%s: the instance does not show its key (%s): look there and name it with --current KEY",
                           h->row->licence, l->read_err ? l->read_why : "nothing can be read");
    *ret_id = args->current;
    for (size_t i = 0; i < l->n_keys; i++)
        if (strcmp(l->keys[i].id, args->current) == 0) return 0;
    return client_fail(h->c, ERR_INVALID, "%s: --current %s: AWS does not list this key", h->row->licence,
                       args->current);
}

static int adopt(struct held *h, const struct adopt_args *args)
{
    struct look l;
    const char *current = NULL;
    bool seen = false;
    char reason[RECORD_TEXT_MAX], by[JOB_BY_MAX];
    if (h->has_journal && !args->force) return refuse_open(h);
    int rc = look_at(h->c, h->row, &l);
    if (rc == 0) rc = find_current(h, args, &l, &current, &seen);
    if (rc < 0) return rc;
    const struct adopt_in in = {.keys = l.keys,
                                .n_keys = l.n_keys,
                                .current_id = current,
                                .current_seen = seen,
                                .replaced = args->replaced,
                                .left = args->left,
                                .overlap_ms = h->c->o->overlap_ms,
                                .quarantine_ms = h->c->o->quarantine_ms,
                                .now_ms = clock_wall_ms(&clock_system),
                                .number = h->user.number};
    rc = adopt_record(&in, &h->record, reason);
    if (rc < 0) return client_fail(h->c, rc, "%s: %s", h->row->licence, reason);
    person_name(by, sizeof by);
    bool had_journal = h->has_journal;
    h->has_journal = false; /* the state that is told has none */
    rc = held_renew(h);     /* the reads may have taken a while */
    if (rc == 0) rc = held_report(h, EVENT_ADOPTED, JOB_AUDIT, by, "a person accepted what is there");
    if (rc == 0) rc = held_renew(h);
    if (rc == 0) rc = held_close(h, had_journal);
    return rc;
}

static void tell(const struct held *h)
{
    const struct record *r = &h->record;
    static const char *const roles[] = {"in use", "replaced", "unused", "left alone"};
    printf("%s: adopted, %s\n", h->row->licence, record_state_name(r->state));
    for (size_t i = 0; i < r->n_keys; i++)
        printf("  %s  %s, %s%s\n", r->keys[i].id, aws_key_status_name(r->keys[i].status), roles[r->keys[i].role],
               r->keys[i].next == KEY_NEXT_RETIRE ? ", will be set Inactive"
               : r->keys[i].next == KEY_NEXT_REAP ? ", will be deleted"
                                                  : "");
}

static int run(struct client *c, int argc, char **argv, const struct adopt_args *args)
{
    struct subjects s = {0};
    struct held h = {0};
    int rc = subjects_find(c, argc, argv, true, &s);
    if (rc == 0) rc = client_kafka(c);
    if (rc == 0) rc = held_take(&h, c, s.items[0].row, LEASE_WAIT_MS);
    if (rc == 0) rc = adopt(&h, args);
    if (rc == 0) tell(&h);
    held_release(&h);
    subjects_done(&s);
    return rc;
}

int cmd_adopt(const struct options *o, int argc, char **argv)
{
    struct adopt_args args = {0};
    const struct command_flag flags[] = {{"--replaced", NULL, NULL, &args.replaced},
                                         {"--leave", NULL, NULL, &args.left},
                                         {"--current", NULL, &args.current, NULL},
                                         {"--force", &args.force, NULL, NULL}};
    struct client c;
    int code = EXIT_OK;
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) {
        code = EXIT_USAGE;
    } else if (argc != 1) {
        code = command_fail(NAME, EXIT_USAGE, "name one licence; see keyroll " NAME " --help");
    } else if (client_init(&c, o, "keyroll-adopt") < 0) {
        code = command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    } else {
        int rc = run(&c, argc, argv, &args);
        if (rc < 0)
            code = command_client_failed(NAME, &c, rc);
        else
            client_done(&c);
    }
    free(args.replaced);
    free(args.left);
    return code;
}
