/* The HTTP side: listening, reading requests, sending replies when their time has come. */
#ifndef SANDBOX_SERVER_H
#define SANDBOX_SERVER_H

#include "tests/sandbox/world.h"

#include <stdbool.h>

struct server_options {
    const char *listen;     /* ADDR:PORT without TLS, NULL = none; port 0 = any free one */
    const char *tls_listen; /* ADDR:PORT with TLS, NULL = none */
    const char *tls_cert;   /* PEM file */
    const char *tls_key;    /* PEM file */
    bool any_loopback;      /* bind to all addresses, serve loopback peers only */
    bool die_with_parent;
};

/* Opens the ports (w->port, w->tls_port are set). Returns 0, or -1 after a line on stderr. */
int server_open(struct world *w, const struct server_options *o);
/* Serves until a signal or /_control/quit, then closes everything. */
void server_run(void);

#endif
