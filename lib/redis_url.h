/* Redis addresses: redis://[user@]host[:port][/db], rediss://..., unix://[user@]/path[?db=N]. Pure. */
#ifndef KEYROLL_REDIS_URL_H
#define KEYROLL_REDIS_URL_H

#include "lib/cleanup.h"

#include <stdbool.h>

struct redis_url {
    bool tls;      /* rediss */
    char *host;    /* owned; name or address without brackets; NULL for unix */
    unsigned port; /* 1..65535 */
    char *path;    /* owned; unix only */
    char *user;    /* owned; NULL: the default user */
    unsigned db;   /* 0..16383 */
};

/* Splits url. ERR_INVALID (also for a password inside: it belongs in a file), ERR_NOMEM. Release with redis_url_done().
 */
MUST_CHECK int redis_url_parse(const char *url, struct redis_url *ret_url);
void redis_url_done(struct redis_url *u);

#endif
