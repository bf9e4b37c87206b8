/* endpoints.conf: written by `keyroll up` into the state directory, found there by all commands (schema/options.c).
 *
 * It holds the whole configuration, not only the addresses, because it takes the place of the settings file for those
 * who read it: what was given to `up` by file, environment or flag holds for its children and for `keyroll status` in
 * another terminal. Left out are what belongs to one process alone (its name, its port) and secrets, which the private
 * Redis has none of. Paths are made absolute, since commands run elsewhere. */
#include "producer/endpoints.h"

#include "lib/err.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

/* Rows that are not handed on: of one process, or replaced by our own. */
static bool is_ours(const char *name)
{
    static const char *const names[] = {"config",          "brokers",        "redis_url",
                                        "escrow_key_file", "redis_password", "redis_password_file",
                                        "listen",          "worker_id",      "state_dir"};
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (strcmp(names[i], name) == 0) return true;
    return false;
}

/* Appends a path, made absolute. */
static void write_path(const char *path, const char *here, struct buf *out)
{
    if (path && *path) (void)buf_addf(out, "%s%s%s", *path == '/' ? "" : here, *path == '/' ? "" : "/", path);
}

static void write_row(const struct options *o, const struct setting *row, const char *here, struct buf *out)
{
    (void)buf_addf(out, "%s = ", row->name);
    if (row->type == SETTING_PATH)
        write_path(*(char *const *)((const char *)o + row->offset), here, out);
    else
        settings_write_value(&o->settings, row, out);
    (void)buf_addc(out, '\n');
}

static void write_escrow(const struct options *o, const struct endpoints *e, const char *here, struct buf *out)
{
    const struct settings_list *given = &o->escrow_key_file;
    (void)buf_adds(out, "escrow_key_file = ");
    for (size_t i = 0; i < given->n; i++) {
        if (i) (void)buf_addc(out, ',');
        write_path(given->items[i], here, out);
    }
    if (given->n == 0) (void)buf_adds(out, e->escrow_key_file);
    (void)buf_addc(out, '\n');
}

/* A member that died without leaving holds the group up for one session: short, since nothing is far away here. */
static void write_timings(const struct options *o, struct buf *out)
{
    bool session = settings_source(&o->settings, "session_timeout") == SETTINGS_DEFAULT;
    if (session && settings_source(&o->settings, "heartbeat") == SETTINGS_DEFAULT)
        (void)buf_adds(out, "session_timeout = 6s\nheartbeat = 1s\n");
}

int endpoints_write(const struct options *o, const struct endpoints *e, struct buf *out, char **ret_reason)
{
    const struct settings *s = &o->settings;
    AUTO_FREE char *here = getcwd(NULL, 0);
    size_t rows = 0, lines = 0, start = out->len;
    if (!here) return ERR_NOMEM;
    (void)buf_addf(out, "brokers = %s\nredis_url = %s\n", e->brokers, e->redis_url);
    write_escrow(o, e, here, out);
    (void)buf_adds(out, "state_dir = ");
    write_path(o->state_dir, here, out);
    (void)buf_addc(out, '\n');
    rows = 4;
    for (size_t i = 0; i < s->n_rows; i++) {
        const struct setting *row = &s->rows[i];
        if (settings_source(s, row->name) == SETTINGS_DEFAULT || is_ours(row->name)) continue;
        write_row(o, row, here, out);
        rows++;
    }
    for (size_t i = 0; i < s->n_pairs; i++, rows++)
        (void)buf_addf(out, "kafka.%s = %s\n", s->pairs[i].name, s->pairs[i].value);
    if (out->error) return out->error;
    for (size_t i = start; i < out->len; i++) lines += out->data[i] == '\n';
    if (lines != rows) {
        if (asprintf(ret_reason, "a setting holds a line break: it cannot be handed on") < 0) *ret_reason = NULL;
        return ERR_INVALID;
    }
    write_timings(o, out);
    return out->error;
}

/* The entry is NAME=... with a name of the comma-separated list. */
static bool is_named(const char *entry, const char *list)
{
    for (const char *p = list; p && *p;) {
        const char *end = strchrnul(p, ',');
        size_t len = (size_t)(end - p);
        if (strncmp(entry, p, len) == 0 && entry[len] == '=') return true;
        p = *end ? end + 1 : end;
    }
    return false;
}

/* The entry is KEYROLL_NAME=... of this row. */
static bool is_own_variable(const char *entry, const char *row_name)
{
    size_t len = strlen(row_name);
    return strncmp(entry, "KEYROLL_", 8) == 0 && strncasecmp(entry + 8, row_name, len) == 0 && entry[8 + len] == '=';
}

static bool is_setting(const char *entry)
{
    if (strncmp(entry, "KEYROLL_KAFKA_", 14) == 0) return true;
    for (size_t i = 0; i < options_table_len; i++)
        if (is_named(entry, options_table[i].env) || is_own_variable(entry, options_table[i].name)) return true;
    return false;
}

char **endpoints_environment(char *const *env)
{
    size_t n = 0;
    while (env[n]) n++;
    char **kept = calloc(n + 1, sizeof *kept);
    if (!kept) return NULL;
    n = 0;
    for (; *env; env++)
        if (!is_setting(*env)) kept[n++] = *env;
    return kept;
}
