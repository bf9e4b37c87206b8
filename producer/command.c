/* What the commands share: complaints, flags, exit codes. Settings were taken out of the arguments before a command
 * sees them, so what begins with "--" here is the command's own, or unknown. */
#include "producer/command.h"

#include "lib/err.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int command_fail(const char *name, int code, const char *fmt, ...)
{
    va_list ap;
    fprintf(stderr, "keyroll %s: ", name);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
    return code;
}

int command_client_failed(const char *name, struct client *c, int err)
{
    fprintf(stderr, "keyroll %s: %s\n", name, c->error[0] ? c->error : err_text(err));
    client_done(c);
    return EXIT_FAILED;
}

static int append(const char ***list, const char *value)
{
    size_t n = 0;
    while (*list && (*list)[n]) n++;
    const char **longer = realloc(*list, (n + 2) * sizeof *longer);
    if (!longer) return ERR_NOMEM;
    longer[n] = value;
    longer[n + 1] = NULL;
    *list = longer;
    return 0;
}

/* Takes argv[at] (and its value) as flag f. Returns the number of words used, 0: it is another one, -1: told. */
static int take_flag(const char *name, const struct command_flag *f, int at, int argc, char **argv)
{
    size_t len = strlen(f->name);
    const char *word = argv[at], *value = NULL;
    if (strncmp(word, f->name, len) != 0 || (word[len] && word[len] != '=')) return 0;
    if (f->is_set) {
        if (word[len]) return command_fail(name, -1, "%s takes no value", f->name);
        *f->is_set = true;
        return 1;
    }
    int used = 1;
    if (word[len]) {
        value = word + len + 1;
    } else if (at + 1 < argc) {
        value = argv[at + 1];
        used = 2;
    }
    if (!value || !*value) return command_fail(name, -1, "%s needs a value", f->name);
    if (f->value) *f->value = value;
    if (f->values && append(f->values, value) < 0) return command_fail(name, -1, "%s", err_text(ERR_NOMEM));
    return used;
}

bool command_flags(const char *name, const struct command_flag *flags, size_t n, int *argc, char **argv)
{
    int kept = 0;
    bool only_arguments = false;
    for (int at = 0; at < *argc;) {
        int used = 0;
        if (!only_arguments && strcmp(argv[at], "--") == 0) {
            only_arguments = true;
            at++;
            continue;
        }
        for (size_t i = 0; i < n && used == 0 && !only_arguments; i++)
            used = take_flag(name, &flags[i], at, *argc, argv);
        if (used < 0) return false;
        if (used == 0 && !only_arguments && argv[at][0] == '-' && argv[at][1]) {
            command_fail(name, 0, "unknown flag %s; see keyroll %s --help", argv[at], name);
            return false;
        }
        if (used == 0) argv[kept++] = argv[at];
        at += used ? used : 1;
    }
    *argc = kept;
    return true;
}
