/* Child processes that cannot outlive us and that the terminal's signals do not reach. For `keyroll up`. */
#ifndef KEYROLL_CHILD_H
#define KEYROLL_CHILD_H

#include "lib/cleanup.h"

#include <stddef.h>
#include <sys/types.h>

struct child_spec {
    const char *const *argv; /* Required: NULL-terminated; argv[0] is the path of the program */
    char *const *env;        /* Required: NULL-terminated */
    const char *log;         /* Required: file that standard error (and output) is appended to, mode 0600 */
    int out;                 /* descriptor for standard output, -1: the log */
    int keep;                /* a descriptor that stays open in it, for the lock that it holds; -1: none */
};

/* Starts a process in a session of its own. The kernel kills it (SIGKILL) when the calling thread ends, whichever way.
 * Errors: ERR_IO with *ret_errno: no process, no log file, or the program cannot be executed. */
MUST_CHECK int child_spawn(const struct child_spec *spec, pid_t *ret_pid, int *ret_errno);
/* "exit status 1", "signal 9 (Killed)": what waitpid() told. */
void child_status_text(int status, char *out, size_t size);

#endif
