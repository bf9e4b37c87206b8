/* One load is one generation: the file first, then each account of inventory_discover in turn; a licence that stands in
 * both is taken from the file, where a person wrote it. A generation that cannot be read as a whole is not used: the
 * one before stays, since a licence that is missing by accident would silently not be looked after. */
#include "producer/fleet.h"

#include "lib/err.h"
#include "producer/client.h"
#include "producer/discover.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct fleet {
    struct fleet_options o;
    struct inventory *building; /* owned while a load is under way */
    struct discover *discover;
    struct ticket ticket;
    bool busy;
    int err;
    char reason[400];
    struct stat seen;
};

struct fleet *fleet_new(const struct fleet_options *o)
{
    struct fleet *f = calloc(1, sizeof *f);
    if (f) f->o = *o;
    return f;
}

static void complete(void *arg)
{
    struct fleet *f = arg;
    if (!f->err) {
        f->err = inventory_seal(f->building);
        if (f->err) snprintf(f->reason, sizeof f->reason, "inventory: %s", err_text(f->err));
    }
    struct fleet_result r = {f->err, f->reason, f->err ? NULL : TAKE(f->building)};
    inventory_free(TAKE(f->building));
    f->busy = false;
    ticket_complete(f->ticket, &r);
}

void fleet_free(struct fleet *f)
{
    if (!f) return;
    loop_defer_cancel(f->o.loop, complete, f);
    discover_free(f->discover);
    inventory_free(f->building);
    free(f);
}

/* Complaints pass through here, so that the one about the file as a whole becomes the reason. */
static void complained(void *arg, const struct inventory_complaint *c)
{
    struct fleet *f = arg;
    if (c->line)
        snprintf(f->reason, sizeof f->reason, "%s line %u: %s", f->o.o->inventory ? f->o.o->inventory : "inventory",
                 c->line, c->reason);
    else
        snprintf(f->reason, sizeof f->reason, "%s: %s", f->o.o->inventory ? f->o.o->inventory : "inventory", c->reason);
    if (f->o.complain) f->o.complain(f->o.arg, c);
}

static void discovered(void *arg, int err, const char *reason)
{
    struct fleet *f = arg;
    f->err = err;
    if (err) snprintf(f->reason, sizeof f->reason, "%s", reason);
    complete(f);
}

static void read_file(struct fleet *f)
{
    const char *path = f->o.o->inventory;
    f->reason[0] = '\0';
    memset(&f->seen, 0, sizeof f->seen);
    if (!path) return;
    (void)!stat(path, &f->seen); /* what cannot be looked at cannot be read either, and is told there */
    f->err = inventory_read_file(f->building, path);
    if (f->err && (!f->reason[0] || !strstr(f->reason, path)))
        snprintf(f->reason, sizeof f->reason, "inventory %s: %s", path, err_text(f->err));
}

int fleet_load(struct fleet *f, struct ticket t)
{
    if (f->busy) return ERR_BUSY;
    f->building = inventory_new(f->o.o, complained, f);
    if (!f->building) return ERR_NOMEM;
    f->ticket = t;
    f->err = 0;
    read_file(f);
    int rc;
    if (f->err || f->o.o->inventory_discover.n == 0) {
        rc = loop_defer(f->o.loop, complete, f);
    } else {
        discover_free(f->discover);
        f->discover = discover_new(f->o.loop, f->o.o, f->o.aws, f->building, discovered, f);
        rc = f->discover ? 0 : ERR_NOMEM;
    }
    if (rc < 0) inventory_free(TAKE(f->building));
    f->busy = rc == 0;
    return rc;
}

bool fleet_file_changed(const struct fleet *f)
{
    struct stat now;
    if (!f->o.o->inventory || stat(f->o.o->inventory, &now) < 0)
        return false; /* vanished: the next load would fail; keep what is known */
    return now.st_mtim.tv_sec != f->seen.st_mtim.tv_sec || now.st_mtim.tv_nsec != f->seen.st_mtim.tv_nsec ||
           now.st_ino != f->seen.st_ino || now.st_dev != f->seen.st_dev || now.st_size != f->seen.st_size;
}

/* ---- for commands ---- */

struct loaded {
    int err;
    char reason[400];
    struct inventory *inventory;
};

static void copy_loaded(void *into, const void *result)
{
    struct loaded *l = into;
    const struct fleet_result *r = result;
    l->err = r->err;
    snprintf(l->reason, sizeof l->reason, "%s", r->reason);
    l->inventory = r->inventory;
}

static void tell(void *arg, const struct inventory_complaint *c)
{
    (void)arg;
    if (c->line)
        fprintf(stderr, "keyroll: inventory line %u%s%s: %s\n", c->line, c->licence[0] ? ", licence " : "", c->licence,
                c->reason);
    else if (c->licence[0]) /* else it is about the whole file: it ends the command, which tells it */
        fprintf(stderr, "keyroll: discovered licence %s: %s\n", c->licence, c->reason);
}

int fleet_load_now(struct client *c, bool told, struct inventory **ret_inventory)
{
    AUTO_FREE char *why = NULL;
    int rc = options_require(c->o, OPTIONS_NEED_INVENTORY, &why);
    if (rc < 0) return client_fail(c, rc, "%s", why ? why : err_text(rc));
    if (c->o->inventory_discover.n && (rc = client_aws(c)) < 0) return rc;
    const struct fleet_options fo = {.loop = c->loop, .o = c->o, .aws = c->aws, .complain = told ? tell : NULL};
    struct fleet *f = fleet_new(&fo);
    struct loaded l = {0};
    struct waiter w;
    if (!f) return client_fail(c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    rc = fleet_load(f, client_ticket(&w, copy_loaded, &l));
    if (rc == 0) rc = client_wait(c, &w);
    fleet_free(f);
    if (rc < 0) return client_fail(c, rc, "inventory: %s", err_text(rc));
    if (l.err) return client_fail(c, l.err, "%s", l.reason);
    *ret_inventory = l.inventory;
    return 0;
}
