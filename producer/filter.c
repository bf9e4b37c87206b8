/* Filters over the inventory's columns (filter.h). No column that changes with a rotation can be named: who belongs to
 * a campaign must not depend on how far it is. */
#include "producer/filter.h"

#include "lib/err.h"

#include <fnmatch.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define COLUMN(name)                                                                                                   \
    {                                                                                                                  \
#name, offsetof(struct inventory_row, name)                                                                    \
    }
static const struct {
    const char *name;
    size_t offset;
} columns[] = {COLUMN(licence),      COLUMN(account),   COLUMN(user),   COLUMN(bucket), COLUMN(region),
               COLUMN(instance_url), COLUMN(time_zone), COLUMN(policy), COLUMN(profile)};

static int parse_term(const char *text, size_t len, struct filter_term *t, char reason[200])
{
    size_t name = strspn(text, "abcdefghijklmnopqrstuvwxyz_"), at = name;
    *t = (struct filter_term){.column = -1};
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        if (strlen(columns[i].name) == name && strncmp(text, columns[i].name, name) == 0) t->column = (int)i;
    if (at < len && text[at] == '!') {
        t->negated = true;
        at++;
    }
    bool has_operator = at < len && (text[at] == '=' || text[at] == '~');
    t->glob = has_operator && text[at] == '~';
    size_t value = has_operator ? len - at - 1 : 0;
    if (t->column < 0 || !has_operator || value == 0 || value >= sizeof t->value) {
        snprintf(reason, 200,
                 "filter \"%.*s\": write COLUMN=VALUE, !=, ~GLOB or !~GLOB; columns are those of the inventory",
                 (int)(len < 60 ? len : 60), text);
        return ERR_SYNTAX;
    }
    memcpy(t->value, text + at + 1, value);
    t->value[value] = '\0';
    return 0;
}

int filter_parse(const char *text, struct filter *ret, char reason[200])
{
    *ret = (struct filter){.n = 0};
    for (const char *p = text;;) {
        size_t len = strcspn(p, ",");
        if (ret->n == FILTER_TERMS_MAX) {
            snprintf(reason, 200, "a filter has at most %d terms", FILTER_TERMS_MAX);
            return ERR_SYNTAX;
        }
        int rc = parse_term(p, len, &ret->terms[ret->n], reason);
        if (rc < 0) return rc;
        ret->n++;
        if (!p[len]) return 0;
        p += len + 1;
    }
}

bool filter_matches(const struct filter *f, const struct inventory_row *row)
{
    for (size_t i = 0; i < f->n; i++) {
        const struct filter_term *t = &f->terms[i];
        const char *value = *(const char *const *)(const void *)((const char *)row + columns[t->column].offset);
        bool met = t->glob ? fnmatch(t->value, value, FNM_CASEFOLD) == 0 : strcasecmp(t->value, value) == 0;
        if (met == t->negated) return false;
    }
    return true;
}
