/* Hardening of a process (harden.h). Children start anew: PR_SET_DUMPABLE is reset by exec, and each program of ours
 * sets it again; the limit and the environment are inherited. */
#include "lib/harden.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

void harden_process(void)
{
    const struct rlimit none = {0, 0};
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
    (void)unsetenv("SSLKEYLOGFILE");
    /* A closed descriptor 0..2 would be given to the next file that is opened, and our messages written into it. */
    for (int fd = 0; fd >= 0 && fd <= STDERR_FILENO;) {
        fd = open("/dev/null", O_RDWR);
        if (fd > STDERR_FILENO) close(fd);
    }
}
