/* The process that holds a pod's namespaces: sleeps, reaps orphans, ends on SIGTERM. */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static void on_child(int number)
{
    (void)number;
    while (waitpid(-1, NULL, WNOHANG) > 0) {
    }
}

static void on_end(int number)
{
    (void)number;
    _exit(0);
}

int main(void)
{
    (void)signal(SIGCHLD, on_child);
    (void)signal(SIGTERM, on_end);
    (void)signal(SIGINT, on_end);
    for (;;) (void)pause();
}
