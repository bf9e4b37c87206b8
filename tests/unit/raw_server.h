/* A server for the HTTP client's tests that misbehaves on request: the path says how. A thread per connection. */
#ifndef KEYROLL_TESTS_RAW_SERVER_H
#define KEYROLL_TESTS_RAW_SERVER_H

struct raw_server;

/* Listens on a free port of 127.0.0.1. tls: speaks TLS with a certificate for "localhost" and 127.0.0.1, written (it is
 * its own CA) to raw_server_ca(). Aborts the program on failure. */
struct raw_server *raw_server_new(int tls);
/* Ends all connections and threads. */
void raw_server_free(struct raw_server *s);
int raw_server_port(const struct raw_server *s);
const char *raw_server_ca(const struct raw_server *s);
/* Requests read in full whose path is or begins with this one; connections accepted; connections open now. */
int raw_server_hits(struct raw_server *s, const char *path);
int raw_server_connections(struct raw_server *s);
int raw_server_open(struct raw_server *s);

#endif
