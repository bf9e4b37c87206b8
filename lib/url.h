/* Addresses, judged without resolving them: is it an http(s) URL, does it stay on this machine. Pure. */
#ifndef KEYROLL_URL_H
#define KEYROLL_URL_H

#include <stdbool.h>
#include <stddef.h>

#define URL_MAX      256
#define URL_HOST_MAX 254

/* Writes the host of an http:// or https:// URL in lower case, without brackets. False when it is not such a URL, is
 * longer than URL_MAX - 1, names no host, holds a user name or password, or a character that URLs do not have (blank,
 * control, \). */
bool url_host(const char *url, char host[URL_HOST_MAX]);
/* True for http(s) URLs as above. */
bool url_valid(const char *url);
/* True when the host is surely this machine: 127.0.0.0/8 written as four numbers, ::1, localhost, or a name under
 * .localhost (RFC 6761 section 6.3). Anything else, also a name that might resolve to 127.0.0.1, is not. */
bool url_is_loopback(const char *url);
/* The same for "host:port", "[::1]:port" or a bare host. */
bool url_host_is_loopback(const char *host);

#endif
