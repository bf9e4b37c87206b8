/* Child processes of `keyroll up`.
 *
 * setsid() takes a child off the terminal, so that Ctrl-C reaches the parent alone, which then stops the children in
 * order. PR_SET_PDEATHSIG makes the kernel kill a child when the parent is gone, SIGKILL included; it is set by the
 * child itself, so a parent that died before that is noticed by getppid(). The kernel watches the thread that forked:
 * call this from the main thread. The signal survives execve() but not another fork(): children of a child are its own
 * business (redis-server's rewrite of its AOF ends by itself).
 *
 * Between fork() and execve() only async-signal-safe calls are made: libcurl may have started threads. A failed
 * execve() is told through a pipe that closes by itself when it worked. */
#include "producer/child.h"

#include "lib/err.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define KEPT_FD 3

/* Signals as a program expects to find them. */
static void reset_signals(void)
{
    sigset_t none;
    for (int signum = 1; signum < NSIG; signum++) (void)signal(signum, SIG_DFL); /* SIGKILL and the like refuse */
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

/* Moves descriptors to where the program finds them; the rest closes at execve(). */
static int place_descriptors(const struct child_spec *spec, int null, int log)
{
    if (dup2(null, STDIN_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0) return -1;
    if (dup2(spec->out >= 0 ? spec->out : log, STDOUT_FILENO) < 0) return -1;
    return spec->keep >= 0 && dup2(spec->keep, KEPT_FD) < 0 ? -1 : 0;
}

static void become(const struct child_spec *spec, pid_t parent, int null, int log, int tell)
{
    if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) == 0 && getppid() != parent) _exit(1);
    reset_signals();
    if (setsid() >= 0 && place_descriptors(spec, null, log) == 0)
        (void)execve(spec->argv[0], (char *const *)(size_t)spec->argv, spec->env); /* it changes neither */
    int error = errno;
    if (write(tell, &error, sizeof error) < 0) _exit(126);
    _exit(127);
}

/* A descriptor above those that are given away, so that no dup2() in the child hits it. */
static int lift(int fd)
{
    int high = fd < 0 || fd > KEPT_FD ? fd : fcntl(fd, F_DUPFD_CLOEXEC, KEPT_FD + 1);
    if (high != fd) close(fd);
    return high;
}

/* What execve() said: 0 when it worked. */
static int read_verdict(int fd)
{
    int error = 0;
    ssize_t n;
    do n = read(fd, &error, sizeof error);
    while (n < 0 && errno == EINTR);
    return n == sizeof error ? error : 0;
}

static int fork_child(const struct child_spec *spec, int null, int log, pid_t *ret_pid)
{
    int tell[2];
    pid_t parent = getpid();
    if (pipe2(tell, O_CLOEXEC) < 0) return errno;
    tell[1] = lift(tell[1]);
    pid_t pid = fork();
    if (pid == 0) become(spec, parent, null, log, tell[1]);
    int error = pid < 0 ? errno : 0;
    close(tell[1]);
    if (pid > 0) error = read_verdict(tell[0]);
    close(tell[0]);
    if (pid > 0 && error) (void)waitpid(pid, NULL, 0);
    if (!error) *ret_pid = pid;
    return error;
}

int child_spawn(const struct child_spec *spec, pid_t *ret_pid, int *ret_errno)
{
    int null = lift(open("/dev/null", O_RDWR | O_CLOEXEC));
    int log = lift(open(spec->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
    int error = null < 0 || log < 0 ? errno : fork_child(spec, null, log, ret_pid);
    if (null >= 0) close(null);
    if (log >= 0) close(log);
    if (error) *ret_errno = error;
    return error ? ERR_IO : 0;
}

void child_status_text(int status, char *out, size_t size)
{
    if (WIFSIGNALED(status))
        snprintf(out, size, "signal %d (%s)", WTERMSIG(status), strsignal(WTERMSIG(status)));
    else
        snprintf(out, size, "exit status %d", WEXITSTATUS(status));
}
