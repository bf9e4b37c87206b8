/* A server for the HTTP client's tests that misbehaves on request: the path says how. A thread per connection. */
#ifndef KEYROLL_TESTS_RAW_SERVER_H
#define KEYROLL_TESTS_RAW_SERVER_H

#include <stddef.h>

struct raw_server;

/* How it speaks TLS. The certificate is its own CA and is written to raw_server_ca(). */
enum raw_tls {
    RAW_PLAIN,
    RAW_TLS,            /* for "localhost", "*.s3.localhost" and 127.0.0.1, valid for a day */
    RAW_TLS_EXPIRED,    /* since an hour */
    RAW_TLS_NOT_YET,    /* in an hour */
    RAW_TLS_OTHER_NAME, /* for "elsewhere.example" and 192.0.2.1 */
    RAW_TLS_UNTRUSTED,  /* raw_server_ca() holds another certificate of that name */
    RAW_TLS_OLD,        /* TLS 1.1 at most */
    RAW_TLS_12,         /* TLS 1.2 at most */
};

/* Listens on a free port of 127.0.0.1. Aborts the program on failure. */
struct raw_server *raw_server_new(enum raw_tls tls);
/* Ends all connections and threads. */
void raw_server_free(struct raw_server *s);
int raw_server_port(const struct raw_server *s);
const char *raw_server_ca(const struct raw_server *s);
/* Requests read in full whose path is or begins with this one; connections accepted; connections open now. */
int raw_server_hits(struct raw_server *s, const char *path);
int raw_server_connections(struct raw_server *s);
int raw_server_open(struct raw_server *s);

/* From now on every path is answered with these bytes, whatever it says; NULL: by its path again. Then `fill` again and
 * again until fill_total bytes are out (-1: until the peer leaves), gap_ms between two of them; the connection ends
 * there. Borrowed until the next call. */
struct raw_answer {
    const char *head;
    size_t head_len; /* 0: as long as the string */
    const char *fill;
    size_t fill_len;
    long long fill_total;
    int gap_ms;
};
void raw_server_answer(struct raw_server *s, const struct raw_answer *a);

#endif
