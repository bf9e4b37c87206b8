/* keyroll inventory check FILE: is every row good. Reads the file only. */
#include "lib/err.h"
#include "lib/profile.h"
#include "producer/command.h"
#include "schema/inventory.h"

#include <stdio.h>
#include <string.h>

#define NAME "inventory"

struct check {
    const char *path;
    bool told_whole; /* a complaint about the file itself was printed */
};

static void tell(void *arg, const struct inventory_complaint *c)
{
    struct check *k = arg;
    if (c->line == 0) {
        k->told_whole = true;
        fprintf(stderr, "keyroll " NAME ": %s%s%s\n", strstr(c->reason, k->path) ? "" : k->path,
                strstr(c->reason, k->path) ? "" : ": ", c->reason);
        return;
    }
    printf("line %u%s%s: %s\n", c->line, c->licence[0] ? ", licence " : "", c->licence, c->reason);
}

/* Rows that name a profile that is not there are good for nothing, though well-formed. */
static size_t check_profiles(const struct inventory *inv, const struct profiles *p)
{
    size_t bad = 0;
    for (size_t i = 0; i < inventory_count(inv); i++) {
        const struct inventory_row *row = inventory_row(inv, i);
        if (profiles_find(p, row->profile)) continue;
        printf("line %u, licence %s: there is no profile %s\n", row->line, row->licence, row->profile);
        bad++;
    }
    return bad;
}

int cmd_inventory(const struct options *o, int argc, char **argv)
{
    if (!command_flags(NAME, NULL, 0, &argc, argv)) return EXIT_USAGE;
    const char *path = argc == 2 ? argv[1] : argc == 1 ? o->inventory : NULL;
    if (argc < 1 || strcmp(argv[0], "check") != 0 || !path)
        return command_fail(NAME, EXIT_USAGE, "write keyroll inventory check FILE");
    struct check k = {path, false};
    AUTO_INVENTORY struct inventory *inv = inventory_new(o, tell, &k);
    struct profiles *profiles = NULL;
    AUTO_FREE char *why = NULL;
    int rc = inv ? inventory_read_file(inv, path) : ERR_NOMEM;
    if (rc == 0) rc = inventory_seal(inv);
    if (rc < 0) return k.told_whole ? EXIT_FAILED : command_fail(NAME, EXIT_FAILED, "%s: %s", path, err_text(rc));
    rc = profiles_load(o->profiles_dir, &profiles, &why);
    if (rc < 0) return command_fail(NAME, EXIT_FAILED, "profiles: %s", why ? why : err_text(rc));
    size_t bad = inventory_bad(inv) + check_profiles(inv, profiles);
    profiles_free(profiles);
    printf("%s: %zu licences, %zu bad rows\n", path, inventory_count(inv), bad);
    return bad ? EXIT_BAD : EXIT_OK;
}
