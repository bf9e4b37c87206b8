/* keyroll up: the embedded default. Checks that it may work here, takes the state directory for itself, says what it is
 * good for, and hands over to producer/up.c.
 *
 * It reads its own settings: endpoints.conf in the state directory is its own work, possibly left behind by an earlier
 * run that was killed, and must not come back as input. Hidden: `keyroll up --child=broker`, the broker's process. */
#include "lib/err.h"
#include "producer/broker.h"
#include "producer/command.h"
#include "producer/endpoints.h"
#include "producer/up.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define NAME          "up"
#define SYSTEM_CONFIG "/etc/keyroll/keyroll.conf"
#define LOCK_TRIES    30 /* 100 ms apart: children of an `up` that was killed are just about to go */
#define LOCK_FD       10 /* at least: out of the way of the descriptors that children get */

/* ---- settings ---- */

/* Reads the settings as every command does, but never endpoints.conf. *ret_words: what is left of the arguments;
 * argc words, the caller frees the array. */
static int load(struct options *o, int *argc, char **argv, char ***ret_words, char **ret_why)
{
    static char from_system[] = "--config=" SYSTEM_CONFIG, none[] = "--config=";
    const char *named = getenv("KEYROLL_CONFIG");
    bool given = settings_peek_flag(*argc, argv, "config") || (named && *named);
    char **words = calloc((size_t)*argc + 2, sizeof *words);
    if (!words) return ERR_NOMEM;
    int n = 0;
    words[n++] = argv[0];
    if (!given) words[n++] = access(SYSTEM_CONFIG, F_OK) == 0 ? from_system : none;
    for (int i = 1; i < *argc; i++) words[n++] = argv[i];
    *ret_words = words;
    *argc = n;
    return options_load(o, OPTIONS_ALL, argc, words, environ, ret_why);
}

static int check(const struct options *o, int argc, char **argv)
{
    static const char *const ours[] = {"brokers", "redis_url", "redis_password", "redis_password_file"};
    AUTO_FREE char *why = NULL;
    if (argc > 1) return command_fail(NAME, EXIT_USAGE, "unknown argument %s; see keyroll up --help", argv[1]);
    for (size_t i = 0; i < ARRAY_LEN(ours); i++)
        if (settings_source(&o->settings, ours[i]) != SETTINGS_DEFAULT)
            return command_fail(NAME, EXIT_USAGE,
                                "%s is set, but up brings its own Kafka and Redis: take it out, or run keyroll "
                                "schedule and keyroll-worker",
                                ours[i]);
    if (options_require(o, OPTIONS_NEED_INVENTORY, &why) < 0)
        return command_fail(NAME, EXIT_USAGE, "%s", why ? why : err_text(ERR_NOMEM));
    if (!o->state_dir) return command_fail(NAME, EXIT_USAGE, "no state directory: set state_dir (or HOME)");
    return 0;
}

/* ---- programs ---- */

/* The first executable of this name in PATH. NULL: none. The caller frees. */
static char *find_in_path(const char *name)
{
    const char *path = getenv("PATH");
    for (const char *p = path ? path : "/usr/bin:/bin"; *p;) {
        const char *end = strchrnul(p, ':');
        char *found;
        if (asprintf(&found, "%.*s/%s", (int)(end - p), p, name) < 0) return NULL;
        if (*found == '/' && access(found, X_OK) == 0) return found;
        free(found);
        p = *end ? end + 1 : end;
    }
    return NULL;
}

/* keyroll-worker: beside this program, in a build tree's worker/, or in PATH. */
static char *find_worker(const char *self)
{
    static const char *const folders[] = {"", "../worker/"};
    int dir = (int)(strrchr(self, '/') - self);
    for (size_t i = 0; i < ARRAY_LEN(folders); i++) {
        char *found;
        if (asprintf(&found, "%.*s/%skeyroll-worker", dir, self, folders[i]) < 0) return NULL;
        if (access(found, X_OK) == 0) return found;
        free(found);
    }
    return find_in_path("keyroll-worker");
}

/* ---- the state directory ---- */

/* Makes the directory and those above it. */
static int make_directory(const char *path)
{
    char part[PATH_MAX];
    size_t len = strlen(path);
    if (len >= sizeof part) return ENAMETOOLONG;
    memcpy(part, path, len + 1);
    for (char *p = part + 1; *p; p++) {
        if (*p != '/') continue;
        *p = '\0';
        if (mkdir(part, 0700) < 0 && errno != EEXIST) return errno;
        *p = '/';
    }
    return mkdir(part, 0700) < 0 && errno != EEXIST ? errno : 0;
}

/* *ret_dir: absolute, ours alone. The caller frees. */
static int take_directory(const char *given, char **ret_dir)
{
    struct stat st;
    int error = make_directory(given);
    char *dir = error ? NULL : realpath(given, NULL);
    if (!dir) return command_fail(NAME, EXIT_FAILED, "state_dir %s: %s", given, strerror(error ? error : errno));
    *ret_dir = dir;
    if (stat(dir, &st) < 0 || !S_ISDIR(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 077))
        return command_fail(NAME, EXIT_FAILED,
                            "state_dir %s holds keys and must be yours alone: chmod 700, or name another one", dir);
    struct sockaddr_un a;
    if (strlen(dir) + sizeof "/redis.sock" > sizeof a.sun_path)
        return command_fail(NAME, EXIT_FAILED, "state_dir %s is too long for a socket in it: name a shorter one", dir);
    return 0;
}

/* *ret_fd holds the lock until it and all copies of it are closed: children keep one, so the next `up` waits for them.
 */
static int take_lock(const char *dir, int *ret_fd)
{
    char path[PATH_MAX + 8], holder[32] = "";
    snprintf(path, sizeof path, "%s/lock", dir);
    int low = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    int fd = low < 0 ? -1 : fcntl(low, F_DUPFD_CLOEXEC, LOCK_FD);
    if (low >= 0) close(low);
    if (fd < 0) return command_fail(NAME, EXIT_FAILED, "%s: %s", path, strerror(errno));
    for (int tries = 0; flock(fd, LOCK_EX | LOCK_NB) < 0; tries++) {
        if (errno == EWOULDBLOCK && tries < LOCK_TRIES) {
            (void)poll(NULL, 0, 100); /* no loop yet: the children of the last `up` are dying */
            continue;
        }
        ssize_t n = pread(fd, holder, sizeof holder - 1, 0);
        holder[n > 0 ? strspn(holder, "0123456789") : 0] = '\0';
        close(fd);
        return command_fail(NAME, EXIT_FAILED,
                            "another keyroll up (pid %s) works in %s: stop it, or name another state_dir",
                            *holder ? holder : "unknown", dir);
    }
    int n = snprintf(holder, sizeof holder, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) < 0 || pwrite(fd, holder, (size_t)n, 0) < 0) { /* only the message above suffers */
    }
    *ret_fd = fd;
    return 0;
}

/* ---- the whole ---- */

static void say_what_it_is(const struct options *o, const char *dir)
{
    printf(
        "keyroll up: everything on this machine, for trying keyroll out and for small fleets.\n"
        "  good for   up to about 500 licences; one scheduler, one worker\n"
        "  Kafka      in memory, 127.0.0.1 only: it forgets all when it ends and keeps at most 5 MiB per partition;\n"
        "             what is due is then published again, but there is no lasting audit log\n"
        "  Redis      private, %s/redis, written to disk every second; no replica\n"
        "  not for    bulk, several machines, or a fleet that must go on when this machine stops: run keyroll\n"
        "             schedule and keyroll-worker on a real Kafka and Redis\n"
        "  mode       %s\n"
        "  others     find it by themselves, or by --state-dir %s; logs are there, too\n",
        dir, o->mode == OPTIONS_ROTATE ? "rotate" : "observe: nothing is changed until mode = rotate is set", dir);
    fflush(stdout);
}

static int run(const struct options *o, const char *self)
{
    AUTO_FREE char *dir = NULL, *worker = find_worker(self), *redis = find_in_path("redis-server");
    int lock = -1;
    if (!worker)
        return command_fail(NAME, EXIT_FAILED, "keyroll-worker is not there: neither beside %s nor in PATH", self);
    if (!redis)
        return command_fail(NAME, EXIT_FAILED,
                            "redis-server is not in PATH: install it, as root: apt-get install redis-server");
    int code = take_directory(o->state_dir, &dir);
    if (code == 0) code = take_lock(dir, &lock);
    if (code) return code;
    say_what_it_is(o, dir);
    const struct up_places places = {
        .state_dir = dir, .self = self, .worker = worker, .redis_server = redis, .lock = lock};
    return up_run(o, &places);
}

int cmd_up(int argc, char **argv)
{
    char self[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", self, sizeof self - 1);
    if (argc > 1 && strcmp(argv[1], "--child=broker") == 0) return broker_run(argc - 2, argv + 2);
    if (len <= 0) return command_fail(NAME, EXIT_FAILED, "/proc is not there: %s", strerror(errno));
    self[len] = '\0';
    struct options o = {0};
    AUTO_FREE char *why = NULL;
    AUTO_FREE char **words = NULL;
    int rc = load(&o, &argc, argv, &words, &why);
    int code = EXIT_USAGE;
    if (rc < 0) {
        command_fail(NAME, EXIT_USAGE, "%s", why ? why : err_text(rc));
    } else {
        (void)umask(077);
        code = check(&o, argc, words);
        if (code == 0) code = run(&o, self);
    }
    options_done(&o);
    return code;
}
