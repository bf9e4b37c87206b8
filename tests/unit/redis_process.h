/* A private redis-server for a test: its own folder, unix socket and (optional) ports. Header only: the tests are
 * single files. */
#ifndef KEYROLL_TEST_REDIS_PROCESS_H
#define KEYROLL_TEST_REDIS_PROCESS_H

#include <errno.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

struct redis_process {
    pid_t pid;
    char dir[64], socket[96], url[128];
};

/* A port of 127.0.0.1 that was free a moment ago. */
static inline unsigned free_port(void)
{
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(a);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) < 0 || getsockname(fd, (struct sockaddr *)&a, &len) < 0) abort();
    close(fd);
    return ntohs(a.sin_port);
}

/* Runs argv and waits for it. Returns its exit status. */
static inline int run_program(const char *const *argv)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stdout) || !freopen("/dev/null", "w", stderr)) _exit(126);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    int status = 0;
    if (pid < 0 || waitpid(pid, &status, 0) < 0) return -1;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static inline int redis_process_answers(const char *path)
{
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    snprintf(a.sun_path, sizeof(a.sun_path), "%s", path);
    int ok = fd >= 0 && connect(fd, (struct sockaddr *)&a, sizeof(a)) == 0;
    if (fd >= 0) close(fd);
    return ok;
}

/* Starts (again) in the folder of p; extra: more arguments, NULL-terminated. 0, or -1 when it does not come up in 10 s.
 */
static inline int redis_process_run(struct redis_process *p, const char *const *extra)
{
    const char *argv[64] = {"redis-server", "--port", "0", "--unixsocket",           p->socket, "--dir",
                            p->dir,         "--save", "",  "--enable-debug-command", "yes",     "--loglevel",
                            "warning"};
    size_t n = 13;
    while (extra && *extra && n < 63) argv[n++] = *extra++;
    p->pid = fork();
    if (p->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (!freopen("/dev/null", "w", stdout)) _exit(126);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    for (int i = 0; i < 1000; i++) {
        if (redis_process_answers(p->socket)) return 0;
        if (waitpid(p->pid, NULL, WNOHANG) == p->pid) break;
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    }
    return -1;
}

static inline int redis_process_start(struct redis_process *p, const char *const *extra)
{
    snprintf(p->dir, sizeof(p->dir), "/tmp/keyroll-test-redis-XXXXXX");
    if (!mkdtemp(p->dir)) return -1;
    snprintf(p->socket, sizeof(p->socket), "%s/redis.sock", p->dir);
    snprintf(p->url, sizeof(p->url), "unix://%s", p->socket);
    return redis_process_run(p, extra);
}

/* kill -9, and waits for its end. */
static inline void redis_process_kill(struct redis_process *p)
{
    if (p->pid <= 0) return;
    kill(p->pid, SIGKILL);
    waitpid(p->pid, NULL, 0);
    p->pid = 0;
    unlink(p->socket);
}

static inline void redis_process_stop(struct redis_process *p)
{
    redis_process_kill(p);
    const char *const argv[] = {"rm", "-rf", p->dir, NULL};
    (void)run_program(argv); /* a leftover folder harms nobody */
}

#endif
