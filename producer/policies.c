/* The policies in use (policies.h). Licences that share policy and zone share a gate, which remembers the next opening:
 * a fleet in the middle of the nightly copy costs one look at the calendar, not one for each licence. */
#include "producer/policies.h"

#include "lib/buf.h"
#include "lib/err.h"
#include "producer/client.h"
#include "producer/map.h"
#include "schema/job.h"
#include "schema/options.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define ZONES "/usr/share/zoneinfo" /* hier(7); TZDIR names another, as in tzset(3) */

/* What is known about a name of the tz database. */
struct named_zone {
    struct zone *zone;
    bool good;
};

struct policies {
    const struct options *o;
    struct policy base; /* what does not depend on the licence */
    struct policy_file file;
    char *path;
    struct stat seen;
    struct map zones; /* name -> struct named_zone */
    struct map gates; /* "policy zone" -> struct calendar_gate */
};

static void free_zone(void *value)
{
    struct named_zone *z = value;
    zone_free(z->zone);
    free(z);
}

void policies_free(struct policies *p)
{
    if (!p) return;
    policy_file_done(&p->file);
    map_done(&p->zones, free_zone);
    map_done(&p->gates, free);
    free(p->path);
    free(p);
}

/* Without a file the settings are the one policy. */
static int no_file(struct policies *p, const struct policy_rules *base)
{
    p->file.policies = malloc(sizeof *base);
    if (!p->file.policies) return ERR_NOMEM;
    p->file.policies[0] = *base;
    p->file.n_policies = 1;
    return 0;
}

int policies_new(const struct options *o, const char *path, policy_complain *complain, void *arg, struct policies **ret)
{
    AUTO_POLICIES struct policies *p = calloc(1, sizeof *p);
    AUTO_FREE struct policy_rules *base = malloc(sizeof *base);
    if (!p || !base) return ERR_NOMEM;
    p->o = o;
    policy_from_options(o, &p->base);
    policy_rules_init(base, o->max_age_ms, o->max_age_jitter_ms);
    if (!path) path = o->policy_file;
    if (path) {
        if (!(p->path = strdup(path))) return ERR_NOMEM;
        (void)!stat(path, &p->seen); /* what cannot be looked at cannot be read either, and is told there */
    }
    int rc = path ? policy_file_read(path, base, complain, arg, &p->file) : no_file(p, base);
    if (rc == 0) *ret = TAKE(p);
    return rc;
}

bool policies_changed(const struct policies *p)
{
    struct stat now;
    if (!p->path || stat(p->path, &now) < 0) return false; /* vanished: keep what is known */
    return now.st_mtim.tv_sec != p->seen.st_mtim.tv_sec || now.st_mtim.tv_nsec != p->seen.st_mtim.tv_nsec ||
           now.st_ino != p->seen.st_ino || now.st_dev != p->seen.st_dev || now.st_size != p->seen.st_size;
}

const struct policy_file *policies_file(const struct policies *p)
{
    return &p->file;
}

/* ---- zones ---- */

static int read_zone(const char *name, struct zone **ret)
{
    const char *dir = getenv("TZDIR");
    char path[512], chunk[8192];
    AUTO_BUF struct buf bytes;
    buf_init(&bytes, ZONE_FILE_MAX);
    if (!job_time_zone_valid(name) || *name == '/' || strstr(name, "..")) return ERR_INVALID;
    int n = snprintf(path, sizeof path, "%s/%s", dir && *dir ? dir : ZONES, name);
    FILE *file = n > 0 && (size_t)n < sizeof path ? fopen(path, "re") : NULL;
    if (!file) return ERR_NOT_FOUND;
    int rc = 0;
    size_t got;
    while (rc == 0 && (got = fread(chunk, 1, sizeof chunk, file)) > 0) rc = buf_add(&bytes, chunk, got);
    if (rc == 0 && ferror(file)) rc = ERR_IO; /* a directory, for one */
    fclose(file);
    return rc < 0 ? rc : zone_parse(bytes.data, bytes.len, ret);
}

/* NULL: out of memory. */
static const struct named_zone *find_zone(struct policies *p, const char *name)
{
    struct named_zone *z = map_get(&p->zones, name);
    if (z) return z;
    z = calloc(1, sizeof *z);
    if (!z) return NULL;
    z->good = read_zone(name, &z->zone) == 0;
    if (map_put(&p->zones, name, z, NULL) == 0) return z;
    free_zone(z);
    return NULL;
}

/* ---- gates ---- */

static struct calendar_gate *find_gate(struct policies *p, const struct policy_rules *rules, const char *zone_name,
                                       const struct zone *zone)
{
    char key[POLICY_NAME_MAX + JOB_TIME_ZONE_MAX + 2];
    snprintf(key, sizeof key, "%s %s", rules->name, zone_name);
    struct calendar_gate *g = map_get(&p->gates, key);
    if (g) return g;
    g = calloc(1, sizeof *g);
    if (!g) return NULL;
    g->rules = rules;
    g->zone = zone;
    if (map_put(&p->gates, key, g, NULL) == 0) return g;
    free(g);
    return NULL;
}

static void apply(struct policy *p, const struct policy_rules *r)
{
    p->max_age_ms = r->max_age_ms;
    p->max_age_jitter_ms = r->max_age_jitter_ms;
    p->min_gap_ms = r->min_gap_ms;
}

void policies_for(struct policies *p, const struct inventory_row *row, struct policy *ret)
{
    const struct policy_rules *rules = policy_file_find(&p->file, row->policy);
    const struct policy_exclusion *x = policy_file_exclusion(&p->file, row->licence);
    const struct zone *zone = NULL;
    *ret = p->base;
    if (x) {
        ret->excluded = x->reason;
        ret->excluded_until_ms = x->expires_ms;
    }
    if (!rules) {
        ret->blocked = p->path ? "the policy file has no policy of the name that the inventory gives"
                               : "the inventory names a policy, but policy_file is not set";
        return;
    }
    apply(ret, rules);
    ret->canary = policy_file_is_canary(&p->file, row->licence);
    if (*row->time_zone) {
        const struct named_zone *z = find_zone(p, row->time_zone);
        if (!z || !z->good) {
            ret->blocked = "the system does not know its time zone: correct the inventory, or install tzdata";
            return;
        }
        zone = z->zone;
    }
    ret->gate = find_gate(p, rules, row->time_zone, zone);
    if (!ret->gate) ret->blocked = err_text(ERR_NOMEM);
}

/* ---- checking ---- */

struct checking {
    policy_complain *complain;
    void *arg;
    size_t n;
};

static void told(struct checking *c, const char *path, const char *reason)
{
    c->n++;
    if (c->complain) c->complain(c->arg, path, reason);
}

size_t policies_check(struct policies *p, const struct inventory *inv, policy_complain *complain, void *arg)
{
    struct checking c = {complain, arg, 0};
    char path[POLICY_PATH_MAX + IDENTITY_LICENCE_MAX];
    for (size_t i = 0; i < inventory_count(inv); i++) {
        const struct inventory_row *row = inventory_row(inv, i);
        struct policy policy;
        policies_for(p, row, &policy);
        snprintf(path, sizeof path, "licence %s, policy \"%s\", time zone \"%s\"", row->licence, row->policy,
                 row->time_zone);
        if (policy.blocked) told(&c, path, policy.blocked);
    }
    for (size_t i = 0; i < p->file.n_exclusions; i++) {
        snprintf(path, sizeof path, "exclusions: licence %s", p->file.exclusions[i].licence);
        if (!inventory_find(inv, p->file.exclusions[i].licence)) told(&c, path, "is not in the inventory");
    }
    for (size_t i = 0; i < p->file.n_canaries; i++) {
        snprintf(path, sizeof path, "canaries: licence %s", p->file.canaries[i]);
        if (!inventory_find(inv, p->file.canaries[i])) told(&c, path, "is not in the inventory");
    }
    return c.n;
}

/* ---- for commands ---- */

static void tell(void *arg, const char *path, const char *reason)
{
    (void)arg;
    fprintf(stderr, "keyroll: policy file%s%s: %s\n", *path ? ", " : "", path, reason);
}

int policies_now(struct client *c, const char *path, struct policies **ret)
{
    int rc = policies_new(c->o, path, tell, NULL, ret);
    if (rc == 0) return 0;
    if (!path) path = c->o->policy_file ? c->o->policy_file : "";
    return client_fail(c, rc, "policy file %s: %s; see keyroll policy check", path, err_text(rc));
}
