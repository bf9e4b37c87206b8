/* The operators' commands: one row each, one file each (cmd_NAME.c). */
#ifndef KEYROLL_COMMAND_H
#define KEYROLL_COMMAND_H

#include "producer/client.h"

/* Exit codes of all commands. */
enum command_exit {
    EXIT_OK = 0,
    EXIT_FAILED = 1, /* it could not be done: a server is away, a licence is unknown, the settings forbid it */
    EXIT_USAGE = 2,  /* wrong arguments or settings */
    EXIT_BAD =
        3, /* it was done, and the answer is bad: a check failed, a licence ended in a state that needs a person */
};

struct command {
    const char *name;
    const char *args;    /* "LICENCE... [--wait]" */
    const char *summary; /* one line */
    const char *help;    /* more lines, exit codes included; each ends with a line feed */
    int (*run)(const struct options *o, int argc,
               char **argv); /* argv: without the program and the command; returns the exit code. NULL: cmd_up */
};

/* Prints "keyroll NAME: text" to stderr and returns code. */
int command_fail(const char *name, int code, const char *fmt, ...) PRINTF_LIKE(3, 4);
/* The same with the client's last error; the code follows from err. Closes the client. */
int command_client_failed(const char *name, struct client *c, int err);

/* Takes the flags that a command knows out of argv; what is left are its arguments. */
struct command_flag {
    const char *name;     /* "--wait" */
    bool *is_set;         /* a plain flag, or NULL */
    const char **value;   /* --name VALUE or --name=VALUE, or NULL */
    const char ***values; /* the same, as often as it comes: NULL-terminated list, owned by the caller (free) */
};
/* False: an unknown flag or one without its value was told on stderr. argc and argv are changed. */
bool command_flags(const char *name, const struct command_flag *flags, size_t n, int *argc, char **argv);

int cmd_up(int argc, char **argv); /* reads the settings itself; argv begins with the command */
int cmd_schedule(const struct options *o, int argc, char **argv);
int cmd_plan(const struct options *o, int argc, char **argv);
int cmd_dead(const struct options *o, int argc, char **argv);
int cmd_policy(const struct options *o, int argc, char **argv);
int cmd_rotate(const struct options *o, int argc, char **argv);
int cmd_status(const struct options *o, int argc, char **argv);
int cmd_audit(const struct options *o, int argc, char **argv);
int cmd_reveal(const struct options *o, int argc, char **argv);
int cmd_confirm(const struct options *o, int argc, char **argv);
int cmd_campaign(const struct options *o, int argc, char **argv);
int cmd_adopt(const struct options *o, int argc, char **argv);
int cmd_pause(const struct options *o, int argc, char **argv);
int cmd_resume(const struct options *o, int argc, char **argv);
int cmd_inventory(const struct options *o, int argc, char **argv);
int cmd_topics(const struct options *o, int argc, char **argv);
int cmd_escrow(const struct options *o, int argc, char **argv);
int cmd_doctor(const struct options *o, int argc, char **argv);
int cmd_version(const struct options *o, int argc, char **argv);

#endif
