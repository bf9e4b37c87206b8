/* keyroll-worker: settings, hardening, then worker.c. Exit codes: 0 drained; 1 could not start, or a fatal error; 2
 * settings. */
#include "lib/err.h"
#include "lib/harden.h"
#include "lib/log.h"
#include "worker/worker.h"

#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

extern char **environ;

static void raise_files(void)
{
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) < 0 || r.rlim_cur == r.rlim_max) return;
    r.rlim_cur = r.rlim_max;
    (void)setrlimit(RLIMIT_NOFILE, &r); /* connections are bounded by the handles anyway */
}

static int usage(void)
{
    AUTO_BUF struct buf text;
    buf_init(&text, 1 << 20);
    buf_adds(&text,
             "Usage: keyroll-worker [--config FILE] [--SETTING=VALUE]...\n\n"
             "Takes rotation jobs from Kafka and carries them out. Stops on SIGTERM: finishes or parks what runs.\n\n"
             "Exit codes: 0 drained, 1 cannot start or fatal error, 2 settings are wrong.\n\nSettings:\n");
    options_write_help(OPTIONS_WORKER, &text);
    fputs(buf_str(&text), stdout);
    return 0;
}

static int complain(char *text, int code)
{
    fprintf(stderr, "keyroll-worker: %s\n", text ? text : "out of memory");
    free(text);
    return code;
}

static int run(const struct options *o)
{
    char *why = NULL;
    struct worker *w = NULL;
    struct loop *l = loop_new();
    if (!l) return complain(NULL, 1);
    int rc = worker_new(l, o, &w, &why);
    if (rc < 0) {
        loop_free(l);
        return complain(why, err_class(rc) == ERR_CLASS_PERMANENT ? 2 : 1);
    }
    int code = worker_run(w);
    if (code == 0) {
        worker_free(w);
        loop_free(l);
    }
    return code; /* otherwise something is still under way: the process ends as it is, journals and leases tell the rest
                  */
}

int main(int argc, char **argv)
{
    struct options o;
    char *why = NULL;
    harden_process();
    raise_files();
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--help")) return usage();
        if (!strcmp(argv[i], "--version")) return printf("keyroll-worker %s\n", KEYROLL_VERSION) < 0;
    }
    int rc = options_load(&o, OPTIONS_WORKER, &argc, argv, environ, &why);
    if (!rc) rc = options_require(&o, OPTIONS_NEED_KAFKA | OPTIONS_NEED_REDIS | OPTIONS_NEED_ESCROW, &why);
    if (!rc && argc > 1 && asprintf(&why, "%s: unknown argument; see --help", argv[1]) >= 0) rc = ERR_INVALID;
    int code = 2;
    if (rc < 0) {
        complain(why, 2);
    } else {
        log_open(STDERR_FILENO, (enum log_level)o.log_level, "keyroll-worker", o.worker_id);
        code = run(&o);
    }
    options_done(&o);
    return code;
}
