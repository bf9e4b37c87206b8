/* keyroll-sandbox-bench: how many signed requests a second does the sandbox answer, and what do they cost it?
 *
 * Signs a few thousand different requests beforehand with a signer of its own (a third reading of the rules, beside
 * the sandbox's and the product's), then sends them over keep-alive connections, one outstanding on each, from one
 * epoll loop. Reports answers per second and, from the sandbox's own CPU time (/_control/stats), answers per second of
 * one core, which is the figure that holds on a shared machine. Any answer but 200 counts as an error: exit code 1.
 * Limits: requests are valid for five minutes after signing, so runs are at most 240 s. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define CONNECTIONS_MAX 1024
#define ANSWER_MAX      16384
#define LICENCES_MAX    2000

struct text {
    char *bytes;
    size_t len;
};

struct credential {
    char *id;
    char *secret;
    char *user; /* NULL for the operator */
};

struct connection {
    int fd;
    size_t request;
    size_t sent;
    char answer[ANSWER_MAX];
    size_t got;
};

static struct {
    const char *endpoints;
    const char *classes; /* letters: i IAM, t STS, s S3 */
    double seconds;
    int connections;
} options = {NULL, "its", 10, 32};

static struct text *requests;
static size_t n_requests;
static int port;
static char date[17], day[9];
static uint64_t answers, errors;

static void die(const char *what)
{
    (void)fprintf(stderr, "keyroll-sandbox-bench: %s: %s\n", what, errno ? strerror(errno) : "failed");
    exit(1);
}

static double now_s(void)
{
    struct timespec t;
    (void)clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- signing --------------------------------------------------------------------------------------------- */

static void hex_of(const uint8_t *bytes, char out[65])
{
    for (int i = 0; i < 32; i++) (void)snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void sha256_hex(const char *text, char out[65])
{
    uint8_t digest[32];
    if (EVP_Digest(text, strlen(text), digest, NULL, EVP_sha256(), NULL) != 1) die("SHA-256");
    hex_of(digest, out);
}

static void hmac(uint8_t key[64], size_t *key_len, const char *text)
{
    uint8_t out[32];
    unsigned n = sizeof(out);
    if (!HMAC(EVP_sha256(), key, (int)*key_len, (const uint8_t *)text, strlen(text), out, &n)) die("HMAC");
    memcpy(key, out, n);
    *key_len = n;
}

/* The Authorization header for a canonical request whose signed headers are named. */
static char *authorization(const struct credential *c, const char *region, const char *service, const char *canonical,
                           const char *signed_headers)
{
    char hash[65], to_sign[512], signature[65], *header = NULL;
    uint8_t key[64];
    size_t len = (size_t)snprintf((char *)key, sizeof(key), "AWS4%s", c->secret);
    hmac(key, &len, day);
    hmac(key, &len, region);
    hmac(key, &len, service);
    hmac(key, &len, "aws4_request");
    sha256_hex(canonical, hash);
    (void)snprintf(to_sign, sizeof(to_sign), "AWS4-HMAC-SHA256\n%s\n%s/%s/%s/aws4_request\n%s", date, day, region,
                   service, hash);
    hmac(key, &len, to_sign);
    hex_of(key, signature);
    if (asprintf(&header, "AWS4-HMAC-SHA256 Credential=%s/%s/%s/%s/aws4_request, SignedHeaders=%s, Signature=%s", c->id,
                 day, region, service, signed_headers, signature) < 0)
        die("memory");
    return header;
}

static void keep(char *bytes)
{
    requests = realloc(requests, (n_requests + 1) * sizeof(*requests));
    if (!requests) die("memory");
    requests[n_requests++] = (struct text){bytes, strlen(bytes)};
}

/* A form POST to IAM or STS. */
static void sign_form(const struct credential *c, const char *region, const char *service, const char *body)
{
    static const char signed_headers[] = "content-type;host;x-amz-date";
    static const char type[] = "application/x-www-form-urlencoded; charset=utf-8";
    char hash[65], *canonical = NULL, *request = NULL;
    sha256_hex(body, hash);
    if (asprintf(&canonical, "POST\n/\n\ncontent-type:%s\nhost:127.0.0.1:%d\nx-amz-date:%s\n\n%s\n%s", type, port, date,
                 signed_headers, hash) < 0)
        die("memory");
    char *header = authorization(c, region, service, canonical, signed_headers);
    if (asprintf(&request,
                 "POST / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Type: %s\r\nX-Amz-Date: %s\r\n"
                 "Authorization: %s\r\nContent-Length: %zu\r\n\r\n%s",
                 port, type, date, header, strlen(body), body) < 0)
        die("memory");
    free(canonical);
    free(header);
    keep(request);
}

static void sign_list(const struct credential *c, const char *region, const char *bucket)
{
    static const char signed_headers[] = "host;x-amz-content-sha256;x-amz-date";
    char hash[65], *canonical = NULL, *request = NULL;
    sha256_hex("", hash);
    if (asprintf(&canonical,
                 "GET\n/%s\nlist-type=2&max-keys=1\nhost:127.0.0.1:%d\nx-amz-content-sha256:%s\n"
                 "x-amz-date:%s\n\n%s\n%s",
                 bucket, port, hash, date, signed_headers, hash) < 0)
        die("memory");
    char *header = authorization(c, region, "s3", canonical, signed_headers);
    if (asprintf(&request,
                 "GET /%s?list-type=2&max-keys=1 HTTP/1.1\r\nHost: 127.0.0.1:%d\r\n"
                 "X-Amz-Content-Sha256: %s\r\nX-Amz-Date: %s\r\nAuthorization: %s\r\n\r\n",
                 bucket, port, hash, date, header) < 0)
        die("memory");
    free(canonical);
    free(header);
    keep(request);
}

/* ---- talking to the control API --------------------------------------------------------------------------- */

static int open_connection(void)
{
    struct sockaddr_in to = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int on = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&to, sizeof(to)) < 0) die("connect");
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static json_t *control_get(const char *call)
{
    char request[128];
    int fd = open_connection();
    int n =
        snprintf(request, sizeof(request), "GET /_control/%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", call);
    if (write(fd, request, (size_t)n) != n) die("write");
    char *all = NULL;
    size_t len = 0, cap = 0;
    for (ssize_t got = 1; got > 0;) {
        if (cap - len < 65536) {
            cap = cap * 2 + 131072;
            all = realloc(all, cap);
            if (!all) die("memory");
        }
        got = read(fd, all + len, cap - len - 1);
        if (got > 0) len += (size_t)got;
    }
    (void)close(fd);
    all[len] = 0;
    char *body = strstr(all, "\r\n\r\n");
    json_t *j = body ? json_loads(body + 4, 0, NULL) : NULL;
    free(all);
    if (!j) die("control reply");
    return j;
}

static double sandbox_cpu_s(void)
{
    json_t *stats = control_get("stats");
    double cpu = json_number_value(json_object_get(stats, "cpu_user_s")) +
                 json_number_value(json_object_get(stats, "cpu_system_s"));
    json_decref(stats);
    return cpu;
}

/* ---- making the requests ---------------------------------------------------------------------------------- */

static void sign_for(const struct credential *operator, const struct credential * c, const char *region)
{
    char body[256], bucket[80];
    (void)snprintf(bucket, sizeof(bucket), "synergist-%s", strchr(c->user, '-') + 1);
    for (char *p = bucket; *p; p++)
        if (*p >= 'A' && *p <= 'Z') *p += 'a' - 'A';
    (void)snprintf(body, sizeof(body), "Action=ListAccessKeys&Version=2010-05-08&UserName=%s", c->user);
    if (strchr(options.classes, 'i')) sign_form(operator, "us-east-1", "iam", body);
    if (strchr(options.classes, 't')) sign_form(c, region, "sts", "Action=GetCallerIdentity&Version=2011-06-15");
    if (strchr(options.classes, 's')) sign_list(c, region, bucket);
}

static void make_requests(void)
{
    json_t *ends = json_load_file(options.endpoints, 0, NULL), *admin = json_object_get(ends, "admin");
    const char *region = json_string_value(json_object_get(ends, "region"));
    const char *account =
        json_string_value(json_object_get(json_array_get(json_object_get(ends, "accounts"), 0), "id"));
    time_t t = time(NULL);
    struct tm tm;
    (void)gmtime_r(&t, &tm);
    (void)strftime(date, sizeof(date), "%Y%m%dT%H%M%SZ", &tm);
    (void)snprintf(day, sizeof(day), "%.8s", date);
    port = (int)json_integer_value(json_object_get(ends, "port"));
    if (!port || !region || !account) die("endpoints file");
    struct credential operator= {(char *)json_string_value(json_object_get(admin, "access_key_id")),
                                 (char *)json_string_value(json_object_get(admin, "secret_access_key")), NULL};
    json_t *books = control_get("books"), *secrets = control_get("secrets"), *k;
    size_t i, used = 0;
    json_array_foreach(json_object_get(secrets, "keys"), i, k)
    {
        const char *user = json_string_value(json_object_get(k, "user"));
        const char *licence = user ? strchr(user, '-') + 1 : NULL;
        json_t *book = licence ? json_object_get(json_object_get(books, "licences"), licence) : NULL;
        const char *id = json_string_value(json_object_get(k, "access_key_id"));
        const char *stored = json_string_value(json_object_get(book, "stored_key_id"));
        const char *owner = json_string_value(json_object_get(book, "account"));
        if (!stored || strcmp(stored, id) != 0 || strcmp(owner, account) != 0 || used++ >= LICENCES_MAX) continue;
        struct credential c = {(char *)id, (char *)json_string_value(json_object_get(k, "secret")), (char *)user};
        sign_for(&operator, & c, region);
    }
    json_decref(secrets);
    json_decref(books);
    json_decref(ends);
    if (!n_requests) die("no instance to ask for");
}

/* ---- the run ---------------------------------------------------------------------------------------------- */

static void send_some(struct connection *c)
{
    const struct text *t = &requests[c->request];
    ssize_t n = write(c->fd, t->bytes + c->sent, t->len - c->sent);
    if (n < 0 && errno != EAGAIN) die("write");
    if (n > 0) c->sent += (size_t)n;
}

/* True when a whole answer is in. */
static bool answered(struct connection *c)
{
    c->answer[c->got] = 0;
    char *end = strstr(c->answer, "\r\n\r\n"), *length = strcasestr(c->answer, "\r\nContent-Length:");
    if (!end || !length) return false;
    if (c->got < (size_t)(end + 4 - c->answer) + strtoul(length + 17, NULL, 10)) return false;
    answers++;
    if (strncmp(c->answer, "HTTP/1.1 200", 12) != 0) {
        if (!errors++) (void)fprintf(stderr, "%.400s\n", c->answer);
    }
    return true;
}

static void on_event(struct connection *c, uint32_t events, size_t *next)
{
    if (events & EPOLLIN) {
        ssize_t n = read(c->fd, c->answer + c->got, sizeof(c->answer) - c->got - 1);
        if (n == 0 || (n < 0 && errno != EAGAIN)) die("the sandbox closed a connection");
        if (n > 0) c->got += (size_t)n;
        if (!answered(c)) return;
        c->request = (*next)++ % n_requests;
        c->sent = c->got = 0;
    }
    if (c->sent < requests[c->request].len) send_some(c);
}

static double run(void)
{
    static struct connection connections[CONNECTIONS_MAX];
    struct epoll_event events[256];
    int poll = epoll_create1(EPOLL_CLOEXEC);
    size_t next = 0;
    if (poll < 0) die("epoll");
    for (int i = 0; i < options.connections; i++) {
        struct connection *c = &connections[i];
        struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
        c->fd = open_connection();
        c->request = next++ % n_requests;
        if (fcntl(c->fd, F_SETFL, O_NONBLOCK) < 0 || epoll_ctl(poll, EPOLL_CTL_ADD, c->fd, &e) < 0) die("epoll");
    }
    double began = now_s(), ends = began + options.seconds;
    while (now_s() < ends) {
        int n = epoll_wait(poll, events, 256, 100);
        for (int i = 0; i < n; i++) on_event(events[i].data.ptr, events[i].events, &next);
    }
    double took = now_s() - began;
    for (int i = 0; i < options.connections; i++) (void)close(connections[i].fd);
    (void)close(poll);
    return took;
}

static void read_options(int argc, char **argv)
{
    static const struct option longs[] = {
        {"help", no_argument, NULL, 'h'},          {"endpoints", required_argument, NULL, 'e'},
        {"seconds", required_argument, NULL, 's'}, {"connections", required_argument, NULL, 'c'},
        {"classes", required_argument, NULL, 'k'}, {NULL, 0, NULL, 0}};
    int c;
    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'e')
            options.endpoints = optarg;
        else if (c == 's')
            options.seconds = atof(optarg);
        else if (c == 'c')
            options.connections = atoi(optarg);
        else if (c == 'k')
            options.classes = optarg;
        else if (c == 'h') {
            (void)printf(
                "Usage: keyroll-sandbox-bench --endpoints FILE [--seconds N] [--connections N] [--classes its]\n"
                "Signed requests per second against a running keyroll-sandbox; i IAM, t STS, s S3.\n");
            exit(0);
        } else {
            exit(2);
        }
    }
    if (options.endpoints && options.seconds > 0 && options.seconds <= 240 && options.connections > 0 &&
        options.connections <= CONNECTIONS_MAX)
        return;
    (void)fprintf(stderr, "keyroll-sandbox-bench: --endpoints FILE, at most 240 s and %d connections\n",
                  CONNECTIONS_MAX);
    exit(2);
}

int main(int argc, char **argv)
{
    read_options(argc, argv);
    make_requests();
    double cpu = sandbox_cpu_s();
    double took = run();
    cpu = sandbox_cpu_s() - cpu;
    (void)printf("{\"answers\":%llu,\"errors\":%llu,\"seconds\":%.3f,\"per_s\":%.0f,\"sandbox_cpu_s\":%.3f,"
                 "\"per_cpu_s\":%.0f,\"us_cpu_each\":%.1f}\n",
                 (unsigned long long)answers, (unsigned long long)errors, took, (double)answers / took, cpu,
                 cpu > 0 ? (double)answers / cpu : 0, answers ? cpu / (double)answers * 1e6 : 0);
    for (size_t i = 0; i < n_requests; i++) free(requests[i].bytes);
    free(requests);
    return errors || !answers ? 1 : 0;
}
