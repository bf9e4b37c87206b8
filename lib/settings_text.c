/* The texts made from a settings table: --help, the sample settings file, the man page entries.
 *
 * All three walk the same rows in the same order, so none can miss a setting or tell another default. Errors of the
 * output buffer are sticky (lib/buf.h) and are looked at once by the caller. Descriptions are plain text: they are
 * wrapped here, and what man(7) would read as markup is escaped here. */
#include "lib/settings.h"
#include "lib/settings_value.h"

#include <string.h>

#define WIDTH       100
#define HELP_INDENT 6

/* Appends words of text, wrapped; each line begins with prefix. The first line goes on at column `at`. */
static void write_wrapped(struct buf *out, const char *prefix, const char *text, size_t at)
{
    const char *p = text;
    while (*p) {
        size_t len = strcspn(p, " ");
        if (at > strlen(prefix) && at + 1 + len > WIDTH) {
            (void)buf_addf(out, "\n%s", prefix);
            at = strlen(prefix);
        } else if (at > strlen(prefix)) {
            (void)buf_addc(out, ' ');
            at++;
        }
        (void)buf_add(out, p, len);
        at += len;
        p += len + (p[len] == ' ');
    }
    (void)buf_addc(out, '\n');
}

static void write_flag_name(struct buf *out, const char *name)
{
    (void)buf_adds(out, "--");
    for (; *name; name++) (void)buf_addc(out, *name == '_' ? '-' : *name);
}

static void write_env_name(struct buf *out, const char *name)
{
    (void)buf_adds(out, "KEYROLL_");
    for (; *name; name++) (void)buf_addc(out, *name >= 'a' && *name <= 'z' ? (char)(*name - 'a' + 'A') : *name);
}

static const char *default_text(const struct setting *row)
{
    if (row->fallback_text) return row->fallback_text;
    return row->fallback && *row->fallback ? row->fallback : "none";
}

/* "number of %, 1..90, default 20". */
static void write_facts(struct buf *out, const struct setting *row)
{
    if (row->type == SETTING_ENUM) {
        (void)buf_addf(out, "%s", row->choices);
    } else {
        (void)buf_adds(out, settings_type_name(row->type));
        if (row->unit) (void)buf_addf(out, " (%s)", row->unit);
    }
    AUTO_BUF struct buf range;
    buf_init(&range, 256);
    settings_value_range(row, &range);
    if (range.len) (void)buf_addf(out, ", %s", buf_str(&range));
    (void)buf_addf(out, ", default %s", default_text(row));
}

void settings_write_help(const struct setting *rows, size_t n_rows, unsigned programs, struct buf *out)
{
    static const char indent[HELP_INDENT + 1] = "      ";
    const char *section = NULL;
    for (size_t i = 0; i < n_rows; i++) {
        const struct setting *row = &rows[i];
        if (row->section) section = row->section;
        if (!(row->programs & programs)) continue;
        if (section) (void)buf_addf(out, "\n%s\n", section);
        section = NULL;
        (void)buf_adds(out, "  ");
        if (row->type == SETTING_SECRET)
            (void)buf_addf(out, "%s (settings file or environment only)", row->name);
        else
            write_flag_name(out, row->name);
        AUTO_BUF struct buf facts;
        buf_init(&facts, 1024);
        write_facts(&facts, row);
        (void)buf_addf(out, "  (%s)\n%s", buf_str(&facts), indent);
        write_wrapped(out, indent, row->text, HELP_INDENT);
    }
}

static void write_programs(struct buf *out, const struct setting *row, const char *const *program_names)
{
    bool first = true;
    for (unsigned i = 0; program_names[i]; i++) {
        if (!(row->programs & (1u << i))) continue;
        (void)buf_addf(out, "%s%s", first ? "" : ", ", program_names[i]);
        first = false;
    }
}

void settings_write_sample(const struct setting *rows, size_t n_rows, const char *const *program_names, struct buf *out)
{
    for (size_t i = 0; i < n_rows; i++) {
        const struct setting *row = &rows[i];
        if (row->not_in_file) continue;
        if (row->section) (void)buf_addf(out, "\n# ==== %s ====\n", row->section);
        (void)buf_adds(out, "\n# ");
        write_wrapped(out, "# ", row->text, 2);
        AUTO_BUF struct buf facts;
        buf_init(&facts, 1024);
        (void)buf_addc(&facts, '(');
        write_facts(&facts, row);
        (void)buf_adds(&facts, "; read by ");
        write_programs(&facts, row, program_names);
        (void)buf_adds(&facts, "; environment ");
        write_env_name(&facts, row->name);
        if (row->env) (void)buf_addf(&facts, ",%s", row->env);
        (void)buf_addc(&facts, ')');
        (void)buf_adds(out, "# ");
        write_wrapped(out, "# ", buf_str(&facts), 2);
        (void)buf_addf(out, "#%s =%s%s\n", row->name, row->fallback ? " " : "", row->fallback ? row->fallback : "");
    }
}

/* Escapes what man(7) reads as markup: backslashes, hyphens that must stay hyphens, a dot or quote at the line's start.
 */
static void write_roff(struct buf *out, const char *text)
{
    if (*text == '.' || *text == '\'') (void)buf_adds(out, "\\&");
    for (; *text; text++) {
        if (*text == '\\')
            (void)buf_adds(out, "\\e");
        else if (*text == '-')
            (void)buf_adds(out, "\\-");
        else
            (void)buf_addc(out, *text);
    }
}

void settings_write_man(const struct setting *rows, size_t n_rows, const char *const *program_names, struct buf *out)
{
    for (size_t i = 0; i < n_rows; i++) {
        const struct setting *row = &rows[i];
        if (row->section) {
            (void)buf_adds(out, ".SS \"");
            write_roff(out, row->section);
            (void)buf_adds(out, "\"\n");
        }
        AUTO_BUF struct buf facts;
        buf_init(&facts, 2048);
        write_facts(&facts, row);
        (void)buf_adds(&facts, "; read by ");
        write_programs(&facts, row, program_names);
        if (row->env) (void)buf_addf(&facts, "; also set by %s", row->env);
        (void)buf_addf(out, ".TP\n.B %s\n", row->name);
        write_roff(out, row->text);
        (void)buf_adds(out, "\n(");
        write_roff(out, buf_str(&facts));
        (void)buf_adds(out, ")\n");
    }
}
