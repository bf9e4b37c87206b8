/* keyroll escrow rekey: changes the master key of what lies sealed in Redis (rekey.h does one user). Users that
 * somebody holds are tried again at the end of each round; after the last round they are named. */
#include "lib/err.h"
#include "producer/command.h"
#include "producer/rekey.h"
#include "schema/options_use.h"

#include <stdio.h>
#include <string.h>

#define NAME         "escrow"
#define ROUNDS       3
#define WAIT_MOST_MS 2000
#define MASTERS_MAX  16

struct tally {
    size_t pairs, resealed_users, busy, closed, others;
    struct {
        char id[17];
        size_t n;
    } under[MASTERS_MAX]; /* pairs under each master key; beyond the table they count in `others` */
    size_t n_under;
    int64_t wait_ms; /* until the first busy one may be free */
};

static int load_escrow(const struct options *o, struct escrow **ret_escrow)
{
    AUTO_FREE char *why = NULL;
    int rc = options_require(o, OPTIONS_NEED_ESCROW | OPTIONS_NEED_REDIS, &why);
    if (rc < 0) return command_fail(NAME, EXIT_USAGE, "%s", why ? why : err_text(rc));
    rc = options_escrow(o, ret_escrow, &why);
    return rc < 0 ? command_fail(NAME, EXIT_FAILED, "escrow key: %s", why ? why : err_text(rc)) : 0;
}

static void count_pair(struct tally *t, const char *id)
{
    size_t i = 0;
    t->pairs++;
    while (i < t->n_under && strcmp(t->under[i].id, id) != 0) i++;
    if (i == MASTERS_MAX) {
        t->others++;
        return;
    }
    if (i == t->n_under) snprintf(t->under[t->n_under++].id, sizeof t->under[0].id, "%s", id);
    t->under[i].n++;
}

static void count_user(struct tally *t, const struct rekey_user *u, const char *first)
{
    for (size_t i = 0; i < u->n_found; i++) count_pair(t, u->outcome == REKEY_RESEALED ? first : u->under[i]);
    t->resealed_users += u->outcome == REKEY_RESEALED;
    t->closed += u->outcome == REKEY_CLOSED;
    if (u->outcome != REKEY_BUSY) return;
    t->busy++;
    if (u->wait_ms > 0 && (!t->wait_ms || u->wait_ms < t->wait_ms)) t->wait_ms = u->wait_ms;
}

static void tell_closed(const char *user, const struct rekey_user *u)
{
    const char *next = u->err == ERR_SEAL_KEY ? "add the file of that key to escrow_key_file"
                                              : "it cannot be opened any more; the workers treat its secret as lost";
    fprintf(stderr, "keyroll %s: %s: %s (sealed by %s%s%s): %s\n", NAME, user, err_text(u->err), u->under[0],
            u->n_found > 1 ? ", " : "", u->n_found > 1 ? u->under[1] : "", next);
}

/* One pass over the users that are left; those that stay busy move to the front. *n: how many are left. */
static int round_trip(struct client *c, const struct escrow *e, char **users, size_t *n, bool dry, struct tally *t)
{
    size_t left = 0;
    t->busy = 0;
    t->wait_ms = 0;
    for (size_t i = 0; i < *n; i++) {
        struct rekey_user u;
        int rc = rekey_user(c, e, users[i], dry, &u);
        if (rc < 0) return rc;
        count_user(t, &u, escrow_key_id(e, 0));
        if (u.outcome == REKEY_CLOSED) tell_closed(users[i], &u);
        if (u.outcome != REKEY_BUSY) continue;
        for (size_t k = 0; k < u.n_found; k++) t->pairs--; /* counted when its turn comes */
        for (size_t k = 0; k < u.n_found; k++)
            for (size_t m = 0; m < t->n_under; m++) t->under[m].n -= strcmp(t->under[m].id, u.under[k]) == 0;
        char *moved = users[left];
        users[left++] = users[i];
        users[i] = moved;
    }
    *n = left;
    return 0;
}

static int print_tally(const struct tally *t, const struct escrow *e, char **busy, bool dry)
{
    size_t stale = t->others;
    for (size_t i = 0; i < t->n_under; i++) {
        bool first = strcmp(t->under[i].id, escrow_key_id(e, 0)) == 0;
        if (!t->under[i].n) continue;
        if (!first) stale += t->under[i].n;
        printf("%zu under %s%s\n", t->under[i].n, t->under[i].id[0] ? t->under[i].id : "no key that can be read",
               first ? ", the first key" : "");
    }
    for (size_t i = 0; i < t->busy; i++)
        fprintf(stderr, "keyroll %s: %s is being worked on: run it again in a minute\n", NAME, busy[i]);
    printf("%zu pairs, %zu users sealed anew, %zu left\n", t->pairs, t->resealed_users, stale + t->busy);
    if (!stale && !t->busy) return EXIT_OK;
    if (dry) printf("run keyroll escrow rekey to seal them under the first key\n");
    return EXIT_BAD;
}

static int rekey(struct client *c, const struct escrow *e, bool dry)
{
    char **users = NULL;
    size_t n = 0, all = 0;
    struct tally t = {0};
    int rc = rekey_list(c, &users, &n);
    all = n;
    for (int round = 0; rc == 0 && n > 0 && round < ROUNDS; round++) {
        int never = 0;
        if (round > 0) client_pause(c, t.wait_ms > 0 && t.wait_ms < WAIT_MOST_MS ? t.wait_ms : WAIT_MOST_MS, &never);
        rc = round_trip(c, e, users, &n, dry, &t);
    }
    int code = rc < 0 ? EXIT_FAILED : print_tally(&t, e, users, dry);
    rekey_free_users(users, all);
    if (rc < 0) return command_client_failed(NAME, c, rc);
    client_done(c);
    return code;
}

int cmd_escrow(const struct options *o, int argc, char **argv)
{
    bool dry = false;
    const struct command_flag flags[] = {{"--dry-run", &dry, NULL, NULL}};
    struct client c;
    struct escrow *e = NULL;
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc != 1 || strcmp(argv[0], "rekey") != 0)
        return command_fail(NAME, EXIT_USAGE, "write keyroll escrow rekey [--dry-run]");
    int code = load_escrow(o, &e);
    if (code) return code;
    if (client_init(&c, o, "keyroll-escrow") < 0) {
        code = command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    } else {
        int rc = client_redis(&c);
        code = rc < 0 ? command_client_failed(NAME, &c, rc) : rekey(&c, e, dry);
    }
    escrow_free(e);
    return code;
}
