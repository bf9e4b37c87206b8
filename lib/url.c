/* Addresses, judged without resolving them.
 *
 * Shortened waits are allowed only where every address is loopback, so this is a safety check, and it is written to say
 * no: an address that two programs could read differently (a user part, a backslash, 0x7f.1, 2130706433) is refused
 * rather than interpreted. Names are never resolved: what a name means can change after the check. */
#include "lib/url.h"

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

#define SIX_LETTERS  "0123456789abcdefABCDEF:."
#define NAME_LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

static bool is_allowed(unsigned char c)
{
    return c > 0x20 && c < 0x7f && !strchr("\\\"<>^`{|}", c);
}

/* The part between the scheme and the path; 0 when the URL is not one of ours. */
static size_t authority(const char *url, const char **ret_from)
{
    if (strncmp(url, "http://", 7) == 0)
        *ret_from = url + 7;
    else if (strncmp(url, "https://", 8) == 0)
        *ret_from = url + 8;
    else
        return 0;
    return strcspn(*ret_from, "/?#");
}

/* Checks what follows the host: nothing, or a port of 1..5 digits. */
static bool port_fine(const char *from, const char *end)
{
    if (from == end) return true;
    size_t digits = strspn(from + 1, "0123456789");
    return *from == ':' && digits >= 1 && digits <= 5 && from + 1 + digits == end;
}

bool url_host(const char *url, char host[URL_HOST_MAX])
{
    if (!url || strnlen(url, URL_MAX) >= URL_MAX) return false;
    for (const char *p = url; *p; p++)
        if (!is_allowed((unsigned char)*p)) return false;
    const char *from = NULL;
    size_t len = authority(url, &from);
    if (len == 0 || memchr(from, '@', len)) return false;
    bool six = *from == '[';
    const char *end = from + len, *stop = six ? memchr(from, ']', len) : memchr(from, ':', len);
    if (six && !stop) return false;
    if (!stop) stop = end;
    if (!port_fine(six ? stop + 1 : stop, end)) return false;
    from += six;
    size_t n = (size_t)(stop - from);
    if (n == 0 || n >= URL_HOST_MAX || strspn(from, six ? SIX_LETTERS : NAME_LETTERS) < n) return false;
    for (size_t i = 0; i < n; i++) host[i] = from[i] >= 'A' && from[i] <= 'Z' ? (char)(from[i] + 32) : from[i];
    host[n] = '\0';
    return true;
}

bool url_valid(const char *url)
{
    char host[URL_HOST_MAX];
    return url_host(url, host);
}

/* host: lower case, no brackets, no port. */
static bool bare_is_loopback(const char *host)
{
    static const char suffix[] = ".localhost";
    struct in_addr four;
    struct in6_addr six;
    if (inet_pton(AF_INET, host, &four) == 1) return ntohl(four.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, host, &six) == 1) return memcmp(&six, &in6addr_loopback, sizeof six) == 0;
    size_t len = strlen(host), tail = sizeof suffix - 1;
    return strcmp(host, "localhost") == 0 || (len > tail && strcmp(host + len - tail, suffix) == 0);
}

bool url_is_loopback(const char *url)
{
    char host[URL_HOST_MAX];
    return url_host(url, host) && bare_is_loopback(host);
}

bool url_host_is_loopback(const char *host)
{
    char url[URL_MAX] = "http://";
    size_t len = strlen(host);
    if (len + 8 > sizeof url || strpbrk(host, "/?#")) return false;
    memcpy(url + 7, host, len + 1);
    return url_is_loopback(url);
}
