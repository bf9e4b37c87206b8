/* Commands name licences; everything else about them comes from the inventory, so that no command can act on a user
 * that the scheduler would not look after. */
#include "producer/subjects.h"

#include "lib/err.h"
#include "producer/fleet.h"

#include <string.h>

void subjects_done(struct subjects *s)
{
    free(s->items);
    inventory_free(s->inventory);
    *s = (struct subjects){0};
}

static bool has(const struct subjects *s, const struct inventory_row *row)
{
    for (size_t i = 0; i < s->n; i++)
        if (s->items[i].row == row) return true;
    return false;
}

static int add(struct client *c, struct subjects *s, const struct inventory_row *row)
{
    struct subject *item = &s->items[s->n];
    item->row = row;
    int rc = identity_key(row->account, row->user, item->key);
    if (rc < 0) return client_fail(c, rc, "%s: account or user is not valid", row->licence);
    s->n++;
    return 0;
}

int subjects_peek(struct client *c, struct subjects *s)
{
    AUTO_FREE const char **keys = calloc(s->n + 1, sizeof *keys);
    AUTO_FREE struct store_peek *peeks = calloc(STORE_PEEK_MAX, sizeof *peeks);
    if (!keys || !peeks) return client_fail(c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    for (size_t i = 0; i < s->n; i++) keys[i] = s->items[i].key;
    for (size_t at = 0; at < s->n; at += STORE_PEEK_MAX) {
        size_t n = s->n - at < STORE_PEEK_MAX ? s->n - at : STORE_PEEK_MAX;
        int rc = client_peek(c, keys + at, n, peeks);
        if (rc < 0) return rc;
        for (size_t i = 0; i < n; i++) s->items[at + i].peek = peeks[i];
    }
    return 0;
}

int subjects_find(struct client *c, int argc, char **argv, bool peek, struct subjects *ret)
{
    *ret = (struct subjects){0};
    int rc = fleet_load_now(c, false, &ret->inventory);
    if (rc < 0) return rc;
    size_t total = argc ? (size_t)argc : inventory_count(ret->inventory);
    ret->items = calloc(total + 1, sizeof *ret->items);
    if (!ret->items) return client_fail(c, ERR_NOMEM, "%s", err_text(ERR_NOMEM));
    for (size_t i = 0; rc == 0 && i < total; i++) {
        const struct inventory_row *row =
            argc ? inventory_find(ret->inventory, argv[i]) : inventory_row(ret->inventory, i);
        if (!row)
            return client_fail(c, ERR_NOT_FOUND,
                               "the inventory has no (good) row for licence %s; see keyroll inventory check", argv[i]);
        if (!argc || !has(ret, row)) rc = add(c, ret, row);
    }
    if (rc == 0 && peek) rc = client_redis(c);
    return rc == 0 && peek ? subjects_peek(c, ret) : rc;
}
