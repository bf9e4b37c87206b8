/* Runs a program once, with bytes on its standard input and a deadline, on the loop. No shell is involved, and nothing
 * of our environment or descriptors reaches it. Loop thread only. */
#ifndef KEYROLL_SUBPROCESS_H
#define KEYROLL_SUBPROCESS_H

#include "lib/cleanup.h"
#include "lib/ticket.h"

#include <stddef.h>

struct loop;
struct subprocess;

struct subprocess_options {
    const char *const *argv; /* NULL-terminated; argv[0] is the absolute path of the program */
    const char *const *env;  /* NULL-terminated: all of its environment */
    const void *input;       /* written to its standard input, which is then closed */
    size_t input_len;
    int64_t timeout_ms; /* then it and its process group are killed */
};
/* What the ticket is completed with: const struct subprocess_result *. */
struct subprocess_result {
    int err; /* 0: it ended by itself with status 0. ERR_IO: another status or a signal; ERR_TIMEOUT_SENT: killed
                at its deadline */
    int exit_status; /* -1: ended by a signal */
};

/* Everything is copied. Its output is thrown away. ERR_IO: it could not be started; ERR_NOMEM: neither completes the
 * ticket. *ret: valid until the ticket is completed. */
MUST_CHECK int subprocess_run(struct loop *l, const struct subprocess_options *o, struct ticket t,
                              struct subprocess **ret);
/* Kills it; the ticket is not completed any more. For the end of the process: nobody waits for it. NULL is fine. */
void subprocess_abandon(struct subprocess *p);

#endif
