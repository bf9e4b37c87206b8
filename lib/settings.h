/* Settings by one table: each row says name, type, range, default and meaning; flags, environment, settings file,
 * --help, the sample file and the man page all come from it. */
#ifndef KEYROLL_SETTINGS_H
#define KEYROLL_SETTINGS_H

#include "lib/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct secret;

enum setting_type {                   /* field it fills, owned by the struct and freed by settings_done */
                    SETTING_STRING,   /* char *, NULL when unset or empty */
                    SETTING_PATH,     /* char *, NULL when unset or empty; a leading ~/ is the home directory */
                    SETTING_SECRET,   /* struct secret *, NULL when unset or empty; file and environment only, never a
                                         flag */
                    SETTING_LIST,     /* struct settings_list, separated by commas; min and max count the items */
                    SETTING_INT,      /* int64_t */
                    SETTING_DURATION, /* int64_t milliseconds, written "25h", "90s", "500ms", "7d", "1h30m" */
                    SETTING_SIZE,     /* int64_t bytes, written "8192", "64KiB", "1MiB", "2GiB" */
                    SETTING_DOUBLE,   /* double */
                    SETTING_BOOL,     /* bool, written true or false (yes, no, on, off, 1, 0) */
                    SETTING_ENUM,     /* int, the position in choices */
};

struct settings_list {
    char **items; /* owned, n of them; NULL when n is 0 */
    size_t n;
};

/* One row. Static storage. */
struct setting {
    const char
        *name; /* Required: [a-z][a-z0-9_]*, the key in the settings file. Flag: --name with - for _; both are taken */
    enum setting_type type;
    unsigned programs;         /* Required: mask of programs that use it; what the bits mean is the table owner's */
    size_t offset;             /* of the field in the owner's struct */
    int64_t min, max;          /* INT, DURATION (ms), SIZE (bytes), DOUBLE, LIST (items); max 0 = no upper bound */
    const char *fallback;      /* default as it would be written; NULL: unset (or 0, false, the first choice) */
    const char *fallback_text; /* how a default that depends on the machine is described, e.g. "HOST-PID"; else NULL */
    const char *unit;          /* for INT and DOUBLE, e.g. "%"; may be NULL */
    const char *choices;       /* ENUM: "observe|rotate" */
    const char *env; /* other variables that set it, separated by commas, later ones win; KEYROLL_NAME wins over them */
    const char *section; /* heading that begins with this row; NULL: the one before goes on */
    bool not_in_file;    /* flag and environment only, such as the name of the file itself */
    const char *text;    /* Required: what it does, plain sentences */
};

/* A setting that is passed through as it is: kafka.x.y = value. */
struct settings_pair {
    char *name; /* without the prefix */
    char *value;
};

enum settings_source { SETTINGS_DEFAULT, SETTINGS_FILE, SETTINGS_ENV, SETTINGS_FLAG };

/* The state of reading; embedded by the owner. Fields are read-only for others. */
struct settings {
    const struct setting *rows; /* borrowed, static */
    size_t n_rows;
    void *target;                    /* borrowed: the struct that the offsets are in */
    unsigned programs;               /* programs whose settings are taken as flags */
    const char *env_prefix;          /* "KEYROLL_" */
    const char *pass_prefix;         /* "kafka.", NULL: nothing is passed through */
    const char *home;                /* borrowed: for ~/, may be NULL */
    struct settings_origin *origins; /* owned, per row */
    struct settings_pair *pairs;     /* owned, n_pairs, in rising order of precedence, each name once */
    size_t n_pairs;
    struct settings_origin *pair_origins;
};

/* Sets all fields to their defaults. target must be zeroed (or hold nothing owned) before. ERR_NOMEM. */
MUST_CHECK int settings_init(struct settings *s, const struct setting *rows, size_t n_rows, void *target);
/* Frees what the settings own in the target, wipes secrets and passed-through values. Takes a zeroed struct. */
void settings_done(struct settings *s);

/* Each source overrides what was read before: call file, environment, flags in this order.
 * Errors: ERR_INVALID (wrong value or unknown name), ERR_IO (file), ERR_NOMEM; *reterr (caller frees, NULL when out of
 * memory) is one line: where, what, what to do. It never holds the value of a secret or of a passed-through setting. */

/* Lines `name = value`; blank lines and lines that begin with # are skipped; a name may stand once. At most 1 MiB. */
MUST_CHECK int settings_read_file(struct settings *s, const char *path, char **reterr);
/* Variables KEYROLL_NAME, KEYROLL_KAFKA_X_Y (= kafka.x.y) and the rows' own. An empty variable counts as unset. Others
 * that begin with KEYROLL_ are left alone: Kubernetes makes such ones for every Service (KEYROLL_SERVICE_HOST,
 * KEYROLL_PORT). */
MUST_CHECK int settings_read_env(struct settings *s, char *const *env, char **reterr);
/* Takes --name=value, --name value, --flag, --no-flag (bool) and --kafka.x.y=value out of argv (argv[0] stays, *argc
 * shrinks) and leaves every other argument, unknown flags too, in order for the command to judge. Stops at "--", which
 * stays. */
MUST_CHECK int settings_take_flags(struct settings *s, int *argc, char **argv, char **reterr);
/* Finds the value of --name in argv without taking it; NULL when it is not there. Borrowed from argv. */
const char *settings_peek_flag(int argc, char *const *argv, const char *name);

/* Sets one by name as if written by `where` (for tests and for defaults that depend on the machine). */
MUST_CHECK int settings_set(struct settings *s, const char *name, const char *value, enum settings_source source,
                            const char *where, char **reterr);
/* Where a setting's value comes from; SETTINGS_DEFAULT for an unknown name. */
enum settings_source settings_source(const struct settings *s, const char *name);
/* Appends a row's value as it would be written in a settings file; nothing for a secret and for what is unset. */
void settings_write_value(const struct settings *s, const struct setting *row, struct buf *out);
/* The row of that name ('-' counts as '_'), or the likeliest one for a mistyped name (_suggest). NULL: none. */
const struct setting *settings_find(const struct settings *s, const char *name);
const struct setting *settings_suggest(const struct settings *s, const char *name);

/* Texts made from the table, appended to out. programs: only rows with one of these bits. */
void settings_write_help(const struct setting *rows, size_t n_rows, unsigned programs, struct buf *out);
/* program_names: name of each bit, lowest first, NULL-terminated. */
void settings_write_sample(const struct setting *rows, size_t n_rows, const char *const *program_names,
                           struct buf *out);
/* A run of .SS/.TP entries in man(7) markup. */
void settings_write_man(const struct setting *rows, size_t n_rows, const char *const *program_names, struct buf *out);

/* Reads "25h", "90s", "500ms", "7d", "1h30m", "0". Returns 0, or ERR_INVALID (also on overflow). */
MUST_CHECK int settings_parse_duration(const char *text, int64_t *ret_ms);
/* Writes the shortest exact form: "25h", "1m30s", "0s"; out holds 32 bytes. */
#define SETTINGS_DURATION_MAX 32
void settings_format_duration(int64_t ms, char out[SETTINGS_DURATION_MAX]);
/* Reads "8192", "64KiB", "1MiB", "2GiB" (K, M, G mean the same). Returns 0, or ERR_INVALID. */
MUST_CHECK int settings_parse_size(const char *text, int64_t *ret_bytes);

#endif
