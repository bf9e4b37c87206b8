/* The minder of the embedded default.
 *
 * Everything follows from one function, step(): it looks at what runs and does the next thing that is missing. It is
 * called after every event (a child ended, became ready, a delay passed, a signal came), so a start, a restart and the
 * orderly end are the same code. Order of the start: broker and Redis, then endpoints.conf, then scheduler and worker.
 * Order of the end: scheduler, worker, Redis, broker, each with a deadline after which it is killed.
 *
 * A fallen child is started again after 200 ms, doubled with each fall up to 10 s and forgotten after a minute's run.
 * A new broker has a new address and knows no message: endpoints.conf is written anew, scheduler and worker are started
 * again with it, and the scheduler publishes what is due; this is what makes a forgetful broker harmless. Redis keeps
 * its address and its data, the others connect again by themselves.
 *
 * Limits: one machine, one worker; what a child says goes to its log file, not to the terminal. */
#include "producer/up.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/escrow.h"
#include "lib/http.h"
#include "lib/json.h"
#include "lib/loop.h"
#include "lib/redis.h"
#include "producer/broker.h"
#include "producer/child.h"
#include "producer/endpoints.h"
#include "schema/topics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define BACKOFF_MS       200
#define BACKOFF_MAX_MS   10000
#define STEADY_MS        60000 /* a run this long forgets the falls before it */
#define HOPELESS_STARTS  5     /* in a row, before it was ever ready: there is no use in going on */
#define PROBE_EVERY_MS   100
#define PROBE_TIMEOUT_MS 2000
#define SLOW_START_MS    15000 /* then it is told what is waited for */
#define MOVE_MS          5000  /* scheduler and worker may take so long to leave a broker that is gone */
#define STOP_MS          10000
#define STOP_MARGIN_MS   5000 /* for the worker, beyond its own drain_timeout */
#define PARTITIONS_MAX   4    /* per topic: one worker reads them all */
#define LOG_MAX_BYTES    (16 << 20)

enum { BROKER, REDIS, SCHEDULER, WORKER, MEMBERS };

struct member {
    struct up *up;
    const char *name;
    pid_t pid;              /* 0: does not run */
    bool ready, once_ready; /* once_ready: at least once since `up` began */
    bool resting;           /* waits for its next start */
    bool leaving;           /* was told to end */
    unsigned falls;         /* in a row */
    uint64_t run;           /* number of its process, for late answers */
    uint64_t address;       /* the broker's run that it was started for */
    int64_t started_mono_ms;
    struct loop_timer *rest, *deadline;
    char listen[300], probe[340]; /* host:port, and the URL that says whether it is ready */
    bool probing;
    char log[PATH_MAX];
};

struct up {
    const struct options *o;
    const struct up_places *at;
    struct loop *loop;
    struct http *http;
    struct redis *redis;
    struct loop_timer *probe;
    struct member members[MEMBERS];
    char **env; /* of the children; owned, strings borrowed */
    char *redis_url, *conf, *redis_conf, *escrow;
    char *brokers;    /* owned; NULL: the broker has not told yet */
    uint64_t written; /* the broker's run that endpoints.conf names */
    int broker_out;   /* read end, -1: none */
    struct loop_fd *broker_watch;
    struct buf broker_said;
    bool stopping, told_ready, told_slow;
    int64_t began_mono_ms;
    int code;
};

static void step(struct up *u);

/* ---- words for people ---- */

static void tell(const char *fmt, ...) PRINTF_LIKE(1, 2);
static void tell(const char *fmt, ...)
{
    char now[16] = "";
    time_t t = time(NULL);
    struct tm local;
    va_list ap;
    if (localtime_r(&t, &local)) (void)strftime(now, sizeof now, "%H:%M:%S", &local);
    printf("%s ", now);
    va_start(ap, fmt);
    vprintf(fmt, ap);
    va_end(ap);
    putchar('\n');
    fflush(stdout); /* a closed terminal is no reason to stop */
}

/* The message of a JSON line, the line itself when it is none. */
static void plain_words(const char *line, char *out, size_t size)
{
    AUTO_JSON json_t *root = NULL;
    (void)!json_read(line, strlen(line), 0, &root, NULL); /* NULL: the line itself */
    const char *message = json_string_value(json_object_get(root, "message"));
    const char *detail = json_string_value(json_object_get(root, "error.message"));
    snprintf(out, size, "%s%s%s", message ? message : line, detail ? ": " : "", detail ? detail : "");
}

/* The last line of a child's log, cut to what fits; "" when there is none. */
static void last_words(const struct member *m, char *out, size_t size)
{
    char text[1024];
    int fd = open(m->log, O_RDONLY | O_CLOEXEC);
    *out = '\0';
    if (fd < 0) return;
    off_t end = lseek(fd, 0, SEEK_END), from = end > (off_t)sizeof text - 1 ? end - (off_t)sizeof text + 1 : 0;
    ssize_t n = pread(fd, text, sizeof text - 1, from);
    close(fd);
    while (n > 0 && text[n - 1] == '\n') n--;
    text[n > 0 ? n : 0] = '\0';
    const char *line = strrchr(text, '\n');
    plain_words(line ? line + 1 : text, out, size);
}

/* ---- starting ---- */

static int64_t now_ms(void)
{
    return clock_mono_ms(&clock_system);
}

/* A free port of 127.0.0.1. Somebody may take it before the child does: then it falls and gets another one. */
static int free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool fine =
        fd >= 0 && bind(fd, (struct sockaddr *)&a, sizeof a) == 0 && getsockname(fd, (struct sockaddr *)&a, &len) == 0;
    if (fd >= 0) close(fd);
    return fine ? ntohs(a.sin_port) : 0;
}

/* Where this child listens: the scheduler as `listen` says, the worker one port above. */
static void choose_listen(struct member *m, bool is_worker)
{
    const char *given = m->up->o->listen, *colon = given ? strrchr(given, ':') : NULL;
    int port = colon ? (int)strtol(colon + 1, NULL, 10) : 0;
    int host = colon ? (int)(colon - given) : 0;
    if (port > 0 && port + is_worker <= 65535)
        port += is_worker;
    else
        port = free_port();
    if (!colon) given = "127.0.0.1", host = 9;
    snprintf(m->listen, sizeof m->listen, "%.*s:%d", host, given, port);
    bool any = strncmp(given, "0.0.0.0:", 8) == 0 || strncmp(given, "[::]:", 5) == 0;
    snprintf(m->probe, sizeof m->probe, "http://%.*s:%d", any ? 9 : host, any ? "127.0.0.1" : given, port);
}

/* A log that has grown large makes room for a new one. */
static void turn_log(const struct member *m)
{
    struct stat st;
    char old[PATH_MAX + 8];
    if (stat(m->log, &st) < 0 || st.st_size < LOG_MAX_BYTES) return;
    snprintf(old, sizeof old, "%s.old", m->log);
    (void)rename(m->log, old); /* else it goes on growing: no reason to stop */
}

static void fall(struct member *m, const char *why, bool by_itself);

static void spawn(struct member *m, const char *const *argv, int out)
{
    const struct child_spec spec = {
        .argv = argv, .env = m->up->env, .log = m->log, .out = out, .keep = m->up->at->lock};
    int error = 0;
    turn_log(m);
    m->run++;
    m->ready = m->leaving = m->probing = false;
    m->started_mono_ms = now_ms();
    if (child_spawn(&spec, &m->pid, &error) == 0) return;
    char why[200];
    m->pid = 0;
    snprintf(why, sizeof why, "%s", strerror(error));
    fall(m, why, true);
}

static void forget_broker(struct up *u)
{
    loop_fd_free(TAKE(u->broker_watch));
    if (u->broker_out >= 0) close(u->broker_out);
    u->broker_out = -1;
    buf_reset(&u->broker_said);
    free(TAKE(u->brokers));
}

/* Reads the line in which the broker tells its address. */
static void on_broker_said(void *arg)
{
    struct up *u = arg;
    char chunk[512];
    ssize_t n = read(u->broker_out, chunk, sizeof chunk);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    bool fine = n > 0 && buf_add(&u->broker_said, chunk, (size_t)n) == 0;
    char *end = fine ? strchr(u->broker_said.data, '\n') : NULL;
    if (fine && !end) return;
    loop_fd_free(TAKE(u->broker_watch)); /* it says no more */
    if (!end || strncmp(u->broker_said.data, BROKER_READY, strlen(BROKER_READY)) != 0) return;
    u->brokers =
        strndup(u->broker_said.data + strlen(BROKER_READY), (size_t)(end - u->broker_said.data) - strlen(BROKER_READY));
    if (!u->brokers) return;
    u->members[BROKER].ready = u->members[BROKER].once_ready = true;
    step(u);
}

/* The topics, each with no more partitions than are of use here. */
static int name_topics(const struct options *o, struct buf *out, char **ret_why)
{
    struct topics topics = {0};
    int rc = topics_init(&topics, o, NULL, 1, ret_why);
    for (size_t i = 0; rc == 0 && i < topics.n; i++) {
        int partitions = topics.specs[i].partitions;
        (void)buf_addf(out, "%s=%d", topics.specs[i].name, partitions < PARTITIONS_MAX ? partitions : PARTITIONS_MAX);
        rc = buf_addc(out, '\0');
    }
    topics_done(&topics);
    return rc;
}

static void start_broker(struct up *u)
{
    struct member *m = &u->members[BROKER];
    AUTO_BUF struct buf names;
    AUTO_FREE char *why = NULL;
    const char *argv[64] = {u->at->self, "up", "--child=broker"};
    size_t n = 3;
    int ends[2];
    buf_init(&names, 1 << 16);
    int rc = name_topics(u->o, &names, &why);
    for (size_t at = 0; rc == 0 && at < names.len && n < ARRAY_LEN(argv) - 1; at += strlen(names.data + at) + 1)
        argv[n++] = names.data + at;
    if (rc < 0 || pipe2(ends, O_CLOEXEC | O_NONBLOCK) < 0) {
        fall(m, why ? why : rc < 0 ? err_text(rc) : strerror(errno), true);
        return;
    }
    (void)fcntl(ends[1], F_SETFL, 0);
    forget_broker(u);
    spawn(m, argv, ends[1]);
    close(ends[1]);
    u->broker_out = ends[0];
    if (m->pid && !(u->broker_watch = loop_fd_new(u->loop, ends[0], on_broker_said, u))) (void)kill(m->pid, SIGKILL);
}

static void start_redis(struct up *u)
{
    const char *argv[] = {u->at->redis_server, u->redis_conf, NULL};
    spawn(&u->members[REDIS], argv, -1);
}

static void start_daemon(struct up *u, int which)
{
    struct member *m = &u->members[which];
    bool is_worker = which == WORKER;
    const char *id = settings_source(&u->o->settings, "worker_id") == SETTINGS_DEFAULT ? NULL : u->o->worker_id;
    const char *argv[12];
    size_t n = 0;
    choose_listen(m, is_worker);
    argv[n++] = is_worker ? u->at->worker : u->at->self;
    if (!is_worker) argv[n++] = "schedule";
    argv[n++] = "--config";
    argv[n++] = u->conf;
    argv[n++] = "--listen";
    argv[n++] = m->listen;
    if (is_worker && id) argv[n++] = "--worker-id", argv[n++] = id;
    argv[n] = NULL;
    m->address = u->members[BROKER].run;
    spawn(m, argv, -1);
}

/* ---- files for the children ---- */

/* Replaces a file of mode 0600 as a whole. ERR_IO with errno. */
static int replace_file(const char *path, const struct buf *text)
{
    char fresh[PATH_MAX + 8];
    snprintf(fresh, sizeof fresh, "%s.new", path);
    (void)unlink(fresh);
    int fd = open(fresh, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0) return ERR_IO;
    bool fine = write(fd, text->data, text->len) == (ssize_t)text->len;
    if (close(fd) < 0 || !fine || rename(fresh, path) < 0) {
        (void)unlink(fresh);
        return ERR_IO;
    }
    return 0;
}

static int write_endpoints(struct up *u, char **ret_why)
{
    AUTO_BUF struct buf text;
    buf_init_secret(&text, 1 << 20); /* kafka.* may hold a password */
    const struct endpoints e = {u->brokers, u->redis_url, u->escrow};
    (void)buf_addf(&text, "# Written by `keyroll up` (pid %ld) and removed when it ends.\n", (long)getpid());
    int rc = endpoints_write(u->o, &e, &text, ret_why);
    if (rc == 0) rc = replace_file(u->conf, &text);
    if (rc == ERR_IO && asprintf(ret_why, "%s: %s", u->conf, strerror(errno)) < 0) *ret_why = NULL;
    return rc;
}

/* redis.conf takes "..." with backslashes, as C does. */
static void quote(struct buf *out, const char *text)
{
    (void)buf_addc(out, '"');
    for (; *text; text++) {
        if (*text == '"' || *text == '\\') (void)buf_addc(out, '\\');
        (void)buf_addc(out, *text);
    }
    (void)buf_addc(out, '"');
}

static int write_redis_conf(struct up *u)
{
    AUTO_BUF struct buf text;
    char folder[PATH_MAX];
    buf_init(&text, 1 << 16);
    snprintf(folder, sizeof folder, "%s/redis", u->at->state_dir);
    if (mkdir(folder, 0700) < 0 && errno != EEXIST) return ERR_IO;
    (void)buf_adds(&text, "port 0\nunixsocketperm 700\nunixsocket ");
    quote(&text, u->redis_url + strlen("unix://"));
    (void)buf_adds(&text, "\ndir ");
    quote(&text, folder);
    (void)buf_adds(&text, "\nappendonly yes\nappendfsync everysec\nsave \"\"\nmaxmemory-policy noeviction\n"
                          "databases 1\ndaemonize no\nlogfile \"\"\nloglevel notice\n");
    return text.error ? text.error : replace_file(u->redis_conf, &text);
}

/* ---- ready or not ---- */

static void note_ready(struct member *m)
{
    struct up *u = m->up;
    if (u->told_ready && !m->ready) tell("%s runs again", m->name);
    m->ready = m->once_ready = true;
    if (u->told_ready || !u->members[SCHEDULER].ready || !u->members[WORKER].ready) return;
    u->told_ready = true;
    tell("ready: scheduler %s, worker %s (/metrics, /readyz)", u->members[SCHEDULER].probe, u->members[WORKER].probe);
}

static void on_probed(void *self, uint64_t id, const void *result)
{
    struct up *u = self;
    const struct http_reply *r = result;
    struct member *m = &u->members[id % MEMBERS];
    if (m->run != id / MEMBERS) return; /* of the process before */
    m->probing = false;
    if (m->pid && !m->leaving && r->err == 0 && r->status == 200) {
        note_ready(m);
    } else if (!u->told_slow && !u->told_ready && !u->stopping && now_ms() - u->began_mono_ms > SLOW_START_MS) {
        u->told_slow = true;
        int len = (int)strcspn(r->body ? r->body : "", "\n");
        tell("waiting for the %s: %.*s (its log: %s)", m->name, r->err ? 20 : len, r->err ? err_text(r->err) : r->body,
             m->log);
    }
}

static void probe(void *arg)
{
    struct up *u = arg;
    loop_timer_start(u->probe, PROBE_EVERY_MS);
    for (int i = SCHEDULER; i <= WORKER; i++) {
        struct member *m = &u->members[i];
        char url[400];
        if (!m->pid || m->ready || m->leaving || m->probing) continue;
        snprintf(url, sizeof url, "%s/readyz", m->probe);
        const struct http_request req = {.class = HTTP_OTHER,
                                         .method = "GET",
                                         .url = url,
                                         .timeout_ms = PROBE_TIMEOUT_MS,
                                         .last_on_connection = true};
        m->probing = http_send(u->http, &req, (struct ticket){on_probed, u, m->run * MEMBERS + (uint64_t)i}) == 0;
    }
}

static void on_redis(void *arg, enum redis_state s, const struct redis_server *server, int err)
{
    struct up *u = arg;
    (void)server;
    (void)err;
    struct member *m = &u->members[REDIS];
    if (s != REDIS_READY || !m->pid) return;
    note_ready(m);
    step(u);
}

/* ---- falling, and the way down ---- */

static void give_up(struct up *u, int code)
{
    if (u->code == 0) u->code = code;
    u->stopping = true;
}

static void on_rested(void *arg)
{
    struct member *m = arg;
    m->resting = false;
    step(m->up);
}

/* It ended, or could not begin, without being told to. by_itself: no signal was its end, so its log says why. */
static void fall(struct member *m, const char *why, bool by_itself)
{
    struct up *u = m->up;
    int64_t rest = BACKOFF_MS;
    char words[400] = "";
    if (m->pid && now_ms() - m->started_mono_ms >= STEADY_MS) m->falls = 0;
    for (unsigned i = 0; i < m->falls && rest < BACKOFF_MAX_MS; i++) rest *= 2;
    if (rest > BACKOFF_MAX_MS) rest = BACKOFF_MAX_MS;
    m->falls++;
    m->pid = 0;
    m->ready = false;
    if (by_itself) last_words(m, words, sizeof words);
    const char *colon = words[0] ? ": " : "";
    if (by_itself && !m->once_ready && m->falls >= HOPELESS_STARTS) {
        tell("%s does not start (%s)%s%s; its log is %s", m->name, why, colon, words, m->log);
        give_up(u, 1);
        return;
    }
    tell("%s fell (%s)%s%s; starts again in %.1f s", m->name, why, colon, words, (double)rest / 1000);
    m->resting = true;
    loop_timer_start(m->rest, rest);
}

static void ended(struct member *m, int status)
{
    struct up *u = m->up;
    char why[80], words[400];
    child_status_text(status, why, sizeof why);
    loop_timer_stop(m->deadline);
    m->ready = false;
    if (m == &u->members[BROKER]) forget_broker(u);
    if (u->stopping || m->leaving) {
        m->pid = 0;
        if (u->stopping) tell("%s stopped (%s)", m->name, why);
        return;
    }
    if (WIFEXITED(status) && WEXITSTATUS(status) == 2 && m >= &u->members[SCHEDULER]) {
        last_words(m, words, sizeof words);
        m->pid = 0;
        tell("%s refuses its settings: %s", m->name, words);
        give_up(u, 2);
        return;
    }
    fall(m, why, WIFEXITED(status));
}

static void on_child(void *arg)
{
    struct up *u = arg;
    for (int i = 0; i < MEMBERS; i++) {
        int status;
        struct member *m = &u->members[i];
        if (m->pid && waitpid(m->pid, &status, WNOHANG) == m->pid) ended(m, status);
    }
    step(u);
}

static void on_deadline(void *arg)
{
    struct member *m = arg;
    if (!m->pid) return;
    tell("%s did not stop in time: killed", m->name);
    (void)kill(m->pid, SIGKILL);
}

static void ask_to_leave(struct member *m, int64_t within_ms)
{
    if (m->leaving) return;
    m->leaving = true;
    (void)kill(m->pid, SIGTERM);
    loop_timer_start(m->deadline, within_ms);
}

/* One after the other; true when all are gone. */
static bool stop_next(struct up *u)
{
    static const int order[] = {SCHEDULER, WORKER, REDIS, BROKER};
    for (size_t i = 0; i < ARRAY_LEN(order); i++) {
        struct member *m = &u->members[order[i]];
        loop_timer_stop(m->rest);
        if (!m->pid) continue;
        ask_to_leave(m, order[i] == WORKER ? u->o->drain_timeout_ms + STOP_MARGIN_MS : STOP_MS);
        return false;
    }
    return true;
}

/* ---- the one function that decides ---- */

static void mind_daemons(struct up *u)
{
    bool can_run = u->brokers && u->members[REDIS].once_ready;
    for (int i = SCHEDULER; i <= WORKER; i++) {
        struct member *m = &u->members[i];
        if (m->pid && m->address != u->members[BROKER].run) ask_to_leave(m, MOVE_MS);
        if (!m->pid && !m->resting && can_run) start_daemon(u, i);
    }
}

static void publish_endpoints(struct up *u)
{
    AUTO_FREE char *why = NULL;
    uint64_t run = u->members[BROKER].run;
    if (!u->brokers || u->written == run) return;
    int rc = write_endpoints(u, &why);
    if (rc < 0) {
        tell("%s", why ? why : err_text(rc));
        give_up(u, rc == ERR_INVALID ? 2 : 1);
        return;
    }
    if (u->written) tell("the broker has a new address: scheduler and worker start again with it");
    u->written = run;
}

static void step(struct up *u)
{
    if (!u->stopping && !u->members[BROKER].pid && !u->members[BROKER].resting) start_broker(u);
    if (!u->stopping && !u->members[REDIS].pid && !u->members[REDIS].resting) start_redis(u);
    if (!u->stopping) publish_endpoints(u);
    if (!u->stopping) mind_daemons(u);
    if (u->stopping && stop_next(u)) loop_stop(u->loop);
}

static void on_stop(void *arg)
{
    struct up *u = arg;
    if (u->stopping) {
        tell("asked twice: killing all");
        for (int i = 0; i < MEMBERS; i++)
            if (u->members[i].pid) (void)kill(u->members[i].pid, SIGKILL);
        return;
    }
    tell("stopping: scheduler, worker, Redis, broker");
    u->stopping = true;
    step(u);
}

/* ---- begin and end ---- */

static int make_paths(struct up *u)
{
    const char *dir = u->at->state_dir;
    if (asprintf(&u->redis_url, "unix://%s/redis.sock", dir) < 0) u->redis_url = NULL;
    if (asprintf(&u->conf, "%s/" ENDPOINTS_FILE, dir) < 0) u->conf = NULL;
    if (asprintf(&u->redis_conf, "%s/redis.conf", dir) < 0) u->redis_conf = NULL;
    if (asprintf(&u->escrow, "%s/escrow.key", dir) < 0) u->escrow = NULL;
    return u->redis_url && u->conf && u->redis_conf && u->escrow ? 0 : ERR_NOMEM;
}

static int make_members(struct up *u)
{
    static const char *const names[] = {"broker", "redis", "scheduler", "worker"};
    for (int i = 0; i < MEMBERS; i++) {
        struct member *m = &u->members[i];
        m->up = u;
        m->name = names[i];
        int n = snprintf(m->log, sizeof m->log, "%s/%s.log", u->at->state_dir, names[i]);
        if (n < 0 || (size_t)n >= sizeof m->log) return ERR_TOO_LARGE;
        m->rest = loop_timer_new(u->loop, on_rested, m);
        m->deadline = loop_timer_new(u->loop, on_deadline, m);
        if (!m->rest || !m->deadline) return ERR_NOMEM;
    }
    return 0;
}

static int make_clients(struct up *u)
{
    const struct http_options h = {.ca_file = u->o->ca_file, .handles = {1, 1, 1, 1, 2}};
    const struct redis_options r = {.url = u->redis_url, .on_state = on_redis, .arg = u};
    int rc = http_new(u->loop, &h, &u->http);
    if (rc == 0) rc = redis_new(u->loop, &r, &u->redis);
    if (rc == 0 && !(u->probe = loop_timer_new(u->loop, probe, u))) rc = ERR_NOMEM;
    if (rc == 0 && !(u->env = endpoints_environment(environ))) rc = ERR_NOMEM;
    return rc;
}

static int start(struct up *u)
{
    if (!(u->loop = loop_new())) return ERR_NOMEM;
    int rc = make_paths(u);
    if (rc == 0) rc = make_members(u);
    if (rc == 0) rc = make_clients(u);
    if (rc == 0) rc = escrow_make_file(&rng_system, u->escrow);
    if (rc == 0) rc = write_redis_conf(u);
    if (rc == 0) rc = loop_signal(u->loop, SIGCHLD, on_child, u);
    if (rc == 0) rc = loop_signal(u->loop, SIGTERM, on_stop, u);
    if (rc == 0) rc = loop_signal(u->loop, SIGINT, on_stop, u);
    if (rc == 0) rc = loop_signal(u->loop, SIGHUP, on_stop, u); /* the terminal went away */
    return rc;
}

static void done(struct up *u)
{
    forget_broker(u);
    buf_done(&u->broker_said);
    redis_free(u->redis);
    http_free(u->http);
    loop_timer_free(u->probe);
    for (int i = 0; i < MEMBERS; i++) {
        loop_timer_free(u->members[i].rest);
        loop_timer_free(u->members[i].deadline);
    }
    loop_free(u->loop);
    if (u->conf) (void)unlink(u->conf); /* its addresses are dead */
    free(u->env);
    free(u->redis_url);
    free(u->conf);
    free(u->redis_conf);
    free(u->escrow);
}

int up_run(const struct options *o, const struct up_places *places)
{
    struct up u = {.o = o, .at = places, .broker_out = -1, .began_mono_ms = now_ms()};
    buf_init(&u.broker_said, 4096);
    int rc = start(&u);
    if (rc == 0) {
        loop_timer_start(u.probe, PROBE_EVERY_MS);
        step(&u);
        loop_run(u.loop);
    } else {
        tell("cannot start in %s: %s%s%s", places->state_dir, err_text(rc), rc == ERR_IO ? ": " : "",
             rc == ERR_IO ? strerror(errno) : "");
        u.code = 1;
    }
    int code = u.code;
    done(&u);
    return code;
}
