/* The byte stream under the Redis client: TCP, TLS or a unix socket on the loop, one connection at a time.
 * Loop thread only. */
#ifndef KEYROLL_REDIS_TRANSPORT_H
#define KEYROLL_REDIS_TRANSPORT_H

#include "lib/cleanup.h"
#include "lib/redis_url.h"

#include <stddef.h>

struct loop;
struct redis_transport;

/* None of them is called before redis_transport_connect() returned, nor after redis_transport_drop(). Each may drop or
 * free the transport. */
struct redis_transport_events {
    void (*on_open)(void *arg);                               /* connected, for TLS: and the peer is verified */
    void (*on_data)(void *arg, const char *data, size_t len); /* borrowed bytes */
    void (*on_down)(void *arg, int err, const char *why);     /* ends the connection; ERR_NET_*; why is borrowed */
};

/* Borrows url for its lifetime. ca_file: CA bundle for TLS, NULL: the system's.
 * Errors: ERR_NOMEM, ERR_INVALID (ca_file cannot be used). */
MUST_CHECK int redis_transport_new(struct loop *l, const struct redis_url *url, const char *ca_file,
                                   const struct redis_transport_events *events, void *arg,
                                   struct redis_transport **ret_transport);
void redis_transport_free(struct redis_transport *t);
/* Starts one attempt: all addresses of the name, in order. ERR_NOMEM, ERR_IO: nothing was started. The caller limits
 * the time. */
MUST_CHECK int redis_transport_connect(struct redis_transport *t);
/* Sends, keeping what the socket does not take yet (that copy is wiped). Only between on_open and on_down. A failure is
 * reported by on_down, later. */
void redis_transport_write(struct redis_transport *t, const void *data, size_t len);
/* Ends the attempt or connection without an event. */
void redis_transport_drop(struct redis_transport *t);

#endif
