/* keyroll reveal and confirm: the assisted mode, for instances whose API may not write parameters (design, section 6).
 *
 * Reveal is the pivot: with it the new key is offered, so direction and time are journalled and told on the events
 * topic, delivery reports in, before a single character is shown (R11). It may be repeated until the instance is
 * proven. The pair goes into a new file of mode 0600, or to the terminal; never into a pipe, where nobody knows who
 * keeps it. Confirm is a person's word and no proof: it makes a worker look at once. */
#include "lib/err.h"
#include "lib/escrow.h"
#include "producer/command.h"
#include "producer/held.h"
#include "producer/publish.h"
#include "producer/subjects.h"
#include "schema/event.h"
#include "schema/options_use.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define NAME          "reveal"
#define LEASE_WAIT_MS 20000

/* ---- where the pair goes ---- */

static int open_target(const char *path, int *ret_fd)
{
    if (!path) {
        if (!isatty(STDOUT_FILENO))
            return command_fail(NAME, EXIT_USAGE,
                                "standard output is no terminal: name a new file with --to FILE, the pair is written "
                                "there with mode 0600");
        *ret_fd = STDOUT_FILENO;
        return 0;
    }
    *ret_fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    return *ret_fd < 0 ? command_fail(NAME, EXIT_FAILED, "%s: %s", path, strerror(errno)) : 0;
}

static int write_all(int fd, const char *data, size_t len)
{
    while (len) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return ERR_IO;
        data += n;
        len -= (size_t)n;
    }
    return 0;
}

/* The one place where a secret leaves the program in clear. */
static int write_pair(int fd, const char *key_id, const struct secret *secret)
{
    struct buf text;
    buf_init_secret(&text, 4096);
    (void)buf_addf(&text, "IAM access key: %s\nIAM secret key: ", key_id);
    (void)buf_add(&text, secret_bytes(secret), secret_len(secret));
    (void)buf_addc(&text, '\n');
    int rc = text.error ? text.error : write_all(fd, text.data, text.len);
    if (rc == 0 && fd != STDOUT_FILENO && fsync(fd) < 0) rc = ERR_IO;
    buf_done(&text);
    return rc;
}

/* ---- what may be shown ---- */

static int load_escrow(const struct options *o, struct escrow **ret_escrow)
{
    AUTO_FREE char *why = NULL;
    int rc = options_require(o, OPTIONS_NEED_ESCROW, &why);
    if (rc < 0) return command_fail(NAME, EXIT_USAGE, "%s", why ? why : err_text(rc));
    rc = options_escrow(o, ret_escrow, &why);
    return rc < 0 ? command_fail(NAME, EXIT_FAILED, "escrow key: %s", why ? why : err_text(rc)) : 0;
}

/* 0: the journal waits for a person and its pair can be opened. */
static int open_pair(struct held *h, const struct escrow *escrow, struct secret **ret_secret)
{
    struct client *c = h->c;
    const struct journal *j = &h->journal;
    const char *licence = h->row->licence;
    bool waits = h->has_journal && j->kind == JOURNAL_ROTATE &&
                 (j->step == JOURNAL_AWAIT || (j->step == JOURNAL_SET && j->assisted));
    if (!waits)
        return client_fail(c, ERR_NOT_FOUND, "%s: no pair waits to be pasted%s%s", licence,
                           h->has_journal ? "; its rotation stands at " : "",
                           h->has_journal ? journal_step_name(j->step) : "");
    if (j->direction == DIRECTION_UNDO)
        return client_fail(c, ERR_JOURNAL_DIRECTION, "%s: this rotation is being undone", licence);
    const char *envelope = h->sealed;
    size_t len = h->sealed_len;
    if (!len && j->repair && strcmp(h->kept_id, j->key_new) == 0) {
        envelope = h->kept;
        len = h->kept_len;
    }
    if (!len)
        return client_fail(c, ERR_NOT_FOUND, "%s: the secret of %s is lost; %s%s%s", licence, j->key_new,
                           j->step == JOURNAL_SET ? "paste it as it was shown, or run: keyroll adopt "
                                                  : "the workers withdraw that key and begin anew",
                           j->step == JOURNAL_SET ? licence : "", j->step == JOURNAL_SET ? " --force" : "");
    int rc = escrow_open(escrow, h->row->user, j->key_new, envelope, len, ret_secret);
    return rc < 0 ? client_fail(c, rc, "%s: the sealed pair cannot be opened: %s; is escrow_key_file the workers' own?",
                                licence, err_text(rc))
                  : 0;
}

/* Set-started: from here on the key counts as offered. */
static int offer(struct held *h, const char *by)
{
    struct journal *j = &h->journal;
    int64_t now = clock_wall_ms(&clock_system);
    bool first = j->offered_ms == TIME_NONE;
    j->step = JOURNAL_SET;
    j->direction = DIRECTION_SET;
    j->assisted = true;
    if (first) j->offered_ms = now;
    j->written_ms = now;
    h->record.state = RECORD_AWAITING;
    snprintf(h->record.reason, sizeof h->record.reason, "waiting for the revealed pair to be pasted into the instance");
    int rc = held_put_journal(h);
    if (rc == 0 && first) rc = held_report(h, EVENT_OFFERED, JOB_ROTATE, by, "shown to a person");
    if (rc == 0) rc = held_report(h, EVENT_REVEALED, JOB_ROTATE, by, "the pair was shown");
    return rc == 0 ? held_renew(h) : rc;
}

static int reveal(struct client *c, const struct subject *s, const struct escrow *escrow, const char *path)
{
    struct held h;
    AUTO_SECRET struct secret *secret = NULL;
    char by[JOB_BY_MAX];
    int fd = -1, code = EXIT_OK;
    person_name(by, sizeof by);
    int rc = held_take(&h, c, s->row, LEASE_WAIT_MS);
    if (rc < 0) return command_fail(NAME, EXIT_FAILED, "%s", c->error);
    rc = open_pair(&h, escrow, &secret);
    if (rc == 0) code = open_target(path, &fd);
    if (rc == 0 && code == EXIT_OK) rc = offer(&h, by);
    if (rc == 0 && code == EXIT_OK) {
        rc = write_pair(fd, h.journal.key_new, secret);
        if (rc < 0) client_fail(c, rc, "%s could not be written; reveal it again", path ? path : "the terminal");
    }
    if (fd >= 0 && fd != STDOUT_FILENO) {
        close(fd);
        if (rc < 0) (void)unlink(path); /* nothing, or half of it, was written */
    }
    if (rc == 0 && code == EXIT_OK) {
        h.record.next_ms = clock_wall_ms(&clock_system) + c->o->assisted_poll_ms;
        rc = held_close(&h, false);
    }
    held_release(&h);
    if (rc < 0) return command_fail(NAME, EXIT_FAILED, "%s", c->error);
    if (code == EXIT_OK && path)
        printf("%s: the pair of %s is in %s; paste both halves into Utilities > System Parameters, delete the file, "
               "then run: keyroll confirm %s\n",
               s->row->licence, h.journal.key_new, path, s->row->licence);
    return code;
}

int cmd_reveal(const struct options *o, int argc, char **argv)
{
    const char *path = NULL;
    const struct command_flag flags[] = {{"--to", NULL, &path, NULL}};
    struct client c;
    struct subjects s = {0};
    struct escrow *escrow = NULL;
    if (!command_flags(NAME, flags, ARRAY_LEN(flags), &argc, argv)) return EXIT_USAGE;
    if (argc != 1) return command_fail(NAME, EXIT_USAGE, "name one licence; see keyroll " NAME " --help");
    if (o->mode == OPTIONS_OBSERVE) return command_fail(NAME, EXIT_FAILED, "mode = observe: keyroll changes no key");
    if (!path && !isatty(STDOUT_FILENO)) return open_target(NULL, &(int){0}); /* told before anything is touched */
    int code = load_escrow(o, &escrow);
    if (code) return code;
    if (client_init(&c, o, "keyroll-reveal") < 0) return command_fail(NAME, EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    int rc = subjects_find(&c, argc, argv, true, &s);
    if (rc == 0) rc = client_kafka(&c);
    if (rc == 0) code = reveal(&c, &s.items[0], escrow, path);
    subjects_done(&s);
    escrow_free(escrow);
    if (rc < 0) return command_client_failed(NAME, &c, rc);
    client_done(&c);
    return code;
}

/* ---- confirm ---- */

static void copy_report(void *into, const void *result)
{
    *(int *)into = ((const struct kafka_report *)result)->err;
}

static int confirm(struct client *c, const struct subject *s)
{
    const struct journal *j = &s->peek.journal;
    if (s->peek.err || !s->peek.has_journal || !j->assisted || j->step != JOURNAL_SET)
        return client_fail(c, ERR_NOT_FOUND, "%s: nothing was revealed that could be confirmed", s->row->licence);
    struct policy_verdict v = {.kind = JOB_ROTATE, .reason = JOB_OPERATOR, .urgent = true, .rotation = j->rotation};
    struct job job;
    struct waiter w;
    char by[JOB_BY_MAX];
    int err = 0;
    person_name(by, sizeof by);
    snprintf(v.replace_key_id, sizeof v.replace_key_id, "%s", j->key_old);
    int rc =
        witness_report(c, s->row, &s->peek, EVENT_CONFIRMED, j->key_old, by, "a person says that the pair is pasted");
    if (rc < 0) return rc;
    rc = publish_make(s->row, &v, by, clock_wall_ms(&clock_system), &job);
    job.confirm = true;
    if (rc == 0) rc = publish_job(kafka_out_port(c->kafka), c->o, &job, client_ticket(&w, copy_report, &err));
    if (rc == 0) rc = client_wait(c, &w);
    if (rc == 0) rc = err;
    if (rc < 0) return client_fail(c, rc, "%s: the job could not be published: %s", s->row->licence, err_text(rc));
    printf("%s: confirmed; a worker looks at the instance now (keyroll status %s)\n", s->row->licence, s->row->licence);
    return 0;
}

int cmd_confirm(const struct options *o, int argc, char **argv)
{
    struct client c;
    struct subjects s = {0};
    if (!command_flags("confirm", NULL, 0, &argc, argv)) return EXIT_USAGE;
    if (argc != 1) return command_fail("confirm", EXIT_USAGE, "name one licence; see keyroll confirm --help");
    if (o->mode == OPTIONS_OBSERVE)
        return command_fail("confirm", EXIT_FAILED, "mode = observe: keyroll changes no key");
    if (client_init(&c, o, "keyroll-confirm") < 0)
        return command_fail("confirm", EXIT_FAILED, "%s", err_text(ERR_NOMEM));
    int rc = subjects_find(&c, argc, argv, true, &s);
    if (rc == 0) rc = client_kafka(&c);
    if (rc == 0) rc = confirm(&c, &s.items[0]);
    subjects_done(&s);
    if (rc < 0) return command_client_failed("confirm", &c, rc);
    client_done(&c);
    return EXIT_OK;
}
