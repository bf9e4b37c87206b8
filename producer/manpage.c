/* man(7) source of keyroll(1). Help texts are printed as they are (.nf), since their lines are set by hand. */
#include "producer/manpage.h"

#include <string.h>

/* Escapes what man(7) reads as markup. Line feeds stay; a line may not begin with a dot or a quote. */
static void add_roff(struct buf *out, const char *text)
{
    bool first = true;
    for (; *text; text++) {
        if (first && (*text == '.' || *text == '\'')) (void)buf_adds(out, "\\&");
        first = *text == '\n';
        if (*text == '\\')
            (void)buf_adds(out, "\\e");
        else if (*text == '-')
            (void)buf_adds(out, "\\-");
        else
            (void)buf_addc(out, *text);
    }
}

static void add_command(struct buf *out, const struct command *c)
{
    (void)buf_adds(out, ".SS \"keyroll ");
    add_roff(out, c->name);
    if (c->args[0]) (void)buf_addc(out, ' ');
    add_roff(out, c->args);
    (void)buf_adds(out, "\"\n");
    add_roff(out, c->summary);
    (void)buf_adds(out, ".\n.PP\n.nf\n");
    add_roff(out, c->help);
    (void)buf_adds(out, ".fi\n");
}

void manpage_write(const struct command *commands, size_t n, struct buf *out)
{
    (void)buf_adds(out, ".TH KEYROLL 1 \"\" \"keyroll " KEYROLL_VERSION "\" \"keyroll\"\n"
                        ".SH NAME\nkeyroll \\- rolls the AWS access keys of a fleet of Synergist cloud instances\n"
                        ".SH SYNOPSIS\n.B keyroll\n.I COMMAND\n[\\fIARGUMENTS\\fP] [\\fISETTINGS\\fP]\n"
                        ".SH DESCRIPTION\n"
                        "The scheduler and the operators' commands. Settings stand behind the command as\n"
                        "\\fB\\-\\-\\fP\\fIname\\fP\\fB=\\fP\\fIvalue\\fP; see\n.BR keyroll.conf (5).\n"
                        ".SH COMMANDS\n");
    for (size_t i = 0; i < n; i++) add_command(out, &commands[i]);
    (void)buf_adds(out, ".SH EXIT STATUS\n0 done, 1 could not be done, 2 wrong usage or settings, 3 done, with a bad "
                        "result.\n"
                        ".SH SEE ALSO\n.BR keyroll.conf (5),\n.BR keyroll\\-worker (1)\n");
}
