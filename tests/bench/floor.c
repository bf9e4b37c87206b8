/* The floor under the worker's CPU: a bare libcurl client which makes the requests of rotate, retire and reap with the
 * worker's connection plan, and nothing else: no Kafka, Redis, journal, sealing, retries or checks of what comes back.
 *
 *   rotate   list, read, create, identity, bucket, write, read, test
 *   retire   read, list, read, test, deactivate, test
 *   reap     read, list, last used, read, identity, delete
 *
 * Plan: CreateAccessKey on a fresh connection (closed when 32 are open to IAM), the last request to a bucket or an
 * instance closes its connection, IAM and STS stay open. --in-flight slots have one easy handle each, driven by epoll
 * and curl_multi_socket_action. The first failure ends it: exit code 1. Beyond some hundred slots libcurl itself
 * slows down, so the floor is meant for 100.
 *
 * Input (stdin): a line "iam sts s3 path|virtual" of base URLs, then a line per licence: account user bucket region
 * instance-URL login password operator-id operator-secret. Output: JSON. */
#include "tests/bench/floor_request.h"

#include <curl/curl.h>
#include <getopt.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REPLY_MAX     16384
#define KEEP_OPEN_IAM 32
#define EVENTS        128
#define PLAN_MAX      8

struct step {
    enum floor_call call;
    bool last; /* the connection is closed after it */
};
struct plan {
    const char *name;
    size_t n;
    struct step steps[PLAN_MAX];
};
static const struct plan plans[] = {
    {"rotate",
     8,
     {{CALL_LIST, false},
      {CALL_READ, false},
      {CALL_CREATE, false},
      {CALL_IDENTITY, false},
      {CALL_BUCKET, true},
      {CALL_WRITE, false},
      {CALL_READ, false},
      {CALL_TEST, true}}},
    {"retire",
     6,
     {{CALL_READ, false},
      {CALL_LIST, false},
      {CALL_READ, false},
      {CALL_TEST, false},
      {CALL_DEACTIVATE, false},
      {CALL_TEST, true}}},
    {"reap",
     6,
     {{CALL_READ, false},
      {CALL_LIST, false},
      {CALL_LAST_USED, false},
      {CALL_READ, true},
      {CALL_IDENTITY, false},
      {CALL_DELETE, false}}},
};

struct slot {
    CURL *easy;
    struct floor_target *t;
    size_t step;
    struct floor_message m;
    struct curl_slist nodes[5];
    char reply[REPLY_MAX];
    size_t reply_len;
};

static struct floor_endpoints endpoints;
static struct floor_target *targets;
static size_t n_targets, next_target, ended;
static const struct plan *plan;
static CURLM *multi;
static int epoll_fd, open_iam;
static long timeout_ms = -1;
static const char *ca_file;
static struct {
    uint8_t armed;
    bool iam;
} socks[65536];

static void die(const char *what, const char *why)
{
    fprintf(stderr, "floor: %s: %s\n", what, why);
    exit(1);
}

/* ---- sockets ------------------------------------------------------------------------------------------------------
 */

static int on_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *unused)
{
    (void)easy, (void)arg, (void)unused;
    struct epoll_event ev = {.data.fd = fd};
    uint8_t wanted = what == CURL_POLL_REMOVE ? 0 : (uint8_t)what;
    if (wanted & CURL_POLL_IN) ev.events |= EPOLLIN;
    if (wanted & CURL_POLL_OUT) ev.events |= EPOLLOUT;
    int op = !wanted ? EPOLL_CTL_DEL : socks[fd].armed ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    (void)epoll_ctl(epoll_fd, op, fd, &ev); /* a closed one is out of the set already */
    socks[fd].armed = wanted;
    return 0;
}

static int on_timer(CURLM *m, long ms, void *arg)
{
    (void)m, (void)arg;
    timeout_ms = ms;
    return 0;
}

static curl_socket_t on_open(void *arg, curlsocktype purpose, struct curl_sockaddr *a)
{
    (void)purpose;
    struct slot *s = arg;
    int fd = socket(a->family, a->socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, a->protocol);
    if (fd < 0 || fd >= (int)(sizeof(socks) / sizeof(socks[0]))) die("socket", "no descriptor");
    socks[fd].armed = 0;
    socks[fd].iam = s->m.host == HOST_IAM;
    open_iam += socks[fd].iam;
    return fd;
}

static int on_close(void *arg, curl_socket_t fd)
{
    (void)arg;
    open_iam -= socks[fd].iam;
    socks[fd].iam = false;
    socks[fd].armed = 0;
    return close(fd);
}

static size_t on_body(char *bytes, size_t size, size_t n, void *arg)
{
    struct slot *s = arg;
    if (s->reply_len + size * n >= REPLY_MAX) return 0;
    memcpy(s->reply + s->reply_len, bytes, size * n);
    s->reply_len += size * n;
    return size * n;
}

/* ---- slots --------------------------------------------------------------------------------------------------------
 */

static void slot_init(struct slot *s)
{
    s->easy = curl_easy_init();
    if (!s->easy) die("curl", "out of memory");
    curl_easy_setopt(s->easy, CURLOPT_PRIVATE, s);
    curl_easy_setopt(s->easy, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(s->easy, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(s->easy, CURLOPT_USERAGENT, "floor/1.0 job/0123456789abcdef0123456789abcdef");
    curl_easy_setopt(s->easy, CURLOPT_PROXY, "");
    curl_easy_setopt(s->easy, CURLOPT_CAPATH, NULL);
    if (ca_file) curl_easy_setopt(s->easy, CURLOPT_CAINFO, ca_file);
    curl_easy_setopt(s->easy, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(s->easy, CURLOPT_WRITEDATA, s);
    curl_easy_setopt(s->easy, CURLOPT_OPENSOCKETFUNCTION, on_open);
    curl_easy_setopt(s->easy, CURLOPT_OPENSOCKETDATA, s);
    curl_easy_setopt(s->easy, CURLOPT_CLOSESOCKETFUNCTION, on_close);
}

static void link_headers(struct slot *s)
{
    for (size_t i = 0; i < s->m.heads; i++) s->nodes[i] = (struct curl_slist){s->m.head[i], &s->nodes[i + 1]};
    static char expect[] = "Expect:";
    s->nodes[s->m.heads] = (struct curl_slist){expect, NULL};
}

static void send_step(struct slot *s)
{
    const struct step *step = &plan->steps[s->step];
    bool fresh = step->call == CALL_CREATE;
    floor_build(&endpoints, s->t, step->call, &s->m);
    link_headers(s);
    s->reply_len = 0;
    curl_easy_setopt(s->easy, CURLOPT_URL, s->m.url);
    curl_easy_setopt(s->easy, CURLOPT_HTTPHEADER, s->nodes);
    if (s->m.body_len) {
        curl_easy_setopt(s->easy, CURLOPT_POST, 1L);
        curl_easy_setopt(s->easy, CURLOPT_POSTFIELDSIZE, (long)s->m.body_len);
        curl_easy_setopt(s->easy, CURLOPT_POSTFIELDS, s->m.body);
    } else {
        curl_easy_setopt(s->easy, CURLOPT_HTTPGET, 1L);
    }
    curl_easy_setopt(s->easy, CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
    curl_easy_setopt(s->easy, CURLOPT_FORBID_REUSE, step->last || (fresh && open_iam >= KEEP_OPEN_IAM) ? 1L : 0L);
    curl_easy_setopt(s->easy, CURLOPT_SSL_SESSIONID_CACHE, s->m.host == HOST_IAM || s->m.host == HOST_STS ? 1L : 0L);
    if (curl_multi_add_handle(multi, s->easy) != CURLM_OK) die("curl", "add handle");
}

static void take_next(struct slot *s)
{
    s->t = next_target < n_targets ? &targets[next_target++] : NULL;
    s->step = 0;
    if (s->t) send_step(s);
}

static void on_done(struct slot *s, CURLcode code)
{
    long status = 0;
    curl_easy_getinfo(s->easy, CURLINFO_RESPONSE_CODE, &status);
    curl_multi_remove_handle(multi, s->easy);
    s->reply[s->reply_len] = '\0';
    enum floor_call call = plan->steps[s->step].call;
    if (code != CURLE_OK) die(s->m.url, curl_easy_strerror(code));
    if (!floor_take(s->t, call, status, s->reply)) die(s->m.url, s->reply);
    if (++s->step < plan->n) {
        send_step(s);
        return;
    }
    ended++;
    take_next(s);
}

/* ---- the run ------------------------------------------------------------------------------------------------------
 */

static void act(int fd, int events)
{
    int running, left;
    curl_multi_socket_action(multi, fd, events, &running);
    for (CURLMsg *m; (m = curl_multi_info_read(multi, &left));) {
        struct slot *s = NULL;
        CURLcode code = m->data.result;
        curl_easy_getinfo(m->easy_handle, CURLINFO_PRIVATE, (char **)&s);
        on_done(s, code);
    }
}

static void turn(void)
{
    struct epoll_event ready[EVENTS];
    int n = epoll_wait(epoll_fd, ready, EVENTS, timeout_ms < 0 || timeout_ms > 1000 ? 1000 : (int)timeout_ms);
    for (int i = 0; i < n; i++) {
        int events = (ready[i].events & (EPOLLIN | EPOLLHUP) ? CURL_CSELECT_IN : 0) |
                     (ready[i].events & EPOLLOUT ? CURL_CSELECT_OUT : 0) |
                     (ready[i].events & EPOLLERR ? CURL_CSELECT_ERR : 0);
        act(ready[i].data.fd, events);
    }
    if (n == 0 || timeout_ms == 0) act(CURL_SOCKET_TIMEOUT, 0);
}

static double cpu_s(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

static double mono_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* Not getrusage(): its figure begins with that of the process which started this one. */
static long peak_rss_bytes(void)
{
    char line[256];
    long kib = 0;
    FILE *f = fopen("/proc/self/status", "r");
    while (f && fgets(line, sizeof(line), f))
        if (sscanf(line, "VmHWM: %ld", &kib) == 1) break;
    if (f) fclose(f);
    return kib * 1024;
}

static void run_plan(struct slot *slots, size_t n_slots)
{
    double cpu = cpu_s(), mono = mono_s();
    next_target = ended = 0;
    for (size_t i = 0; i < n_slots; i++) take_next(&slots[i]);
    while (ended < n_targets) turn();
    mono = mono_s() - mono;
    printf("\"%s\": {\"cpu_us\": %.1f, \"per_s\": %.0f}, ", plan->name, (cpu_s() - cpu) * 1e6 / (double)n_targets,
           (double)n_targets / mono);
}

static void read_input(void)
{
    char style[16], line[1024];
    if (scanf("%159s %159s %159s %15s\n", endpoints.iam, endpoints.sts, endpoints.s3, style) != 4)
        die("stdin", "no addresses");
    endpoints.virtual_buckets = strcmp(style, "virtual") == 0;
    while (fgets(line, sizeof(line), stdin)) {
        targets = realloc(targets, (n_targets + 1) * sizeof(*targets));
        if (!targets) die("stdin", "out of memory");
        struct floor_target *t = memset(&targets[n_targets], 0, sizeof(*t));
        if (sscanf(line, "%15s %63s %63s %31s %159s %63s %63s %31s %63s", t->account, t->user, t->bucket, t->region,
                   t->instance, t->login, t->password, t->operator_id, t->operator_secret) != 9)
            die("stdin: a bad line", line);
        n_targets++;
    }
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"in-flight", 1, NULL, 'n'}, {"life", 0, NULL, 'l'}, {"ca", 1, NULL, 'c'}, {NULL, 0, NULL, 0}};
    size_t in_flight = 100, n_plans = 1;
    for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (c == 'n') in_flight = strtoul(optarg, NULL, 10);
        if (c == 'l') n_plans = sizeof(plans) / sizeof(plans[0]);
        if (c == 'c') ca_file = optarg;
        if (c == '?') return 2;
    }
    read_input();
    struct slot *slots = calloc(in_flight, sizeof(*slots));
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    curl_global_init(CURL_GLOBAL_DEFAULT);
    multi = curl_multi_init();
    if (!slots || !multi || epoll_fd < 0) die("start", "out of memory");
    curl_multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, on_socket);
    curl_multi_setopt(multi, CURLMOPT_TIMERFUNCTION, on_timer);
    curl_multi_setopt(multi, CURLMOPT_MAXCONNECTS, (long)(3 * in_flight + 64));
    for (size_t i = 0; i < in_flight; i++) slot_init(&slots[i]);
    printf("{");
    for (size_t i = 0; i < n_plans; i++) {
        plan = &plans[i];
        run_plan(slots, in_flight);
    }
    printf("\"count\": %zu, \"in_flight\": %zu, \"rss_bytes\": %ld}\n", n_targets, in_flight, peak_rss_bytes());
    return 0;
}
