/* Redis addresses, after https://www.iana.org/assignments/uri-schemes/prov/redis with two differences: a password is
 * refused (it would show up in process lists and configuration dumps), and unix:// names a socket. Pure code. */
#include "lib/redis_url.h"

#include "lib/err.h"

#include <ctype.h>
#include <string.h>

#define PORT_DEFAULT 6379
#define DB_MAX       16383

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* Copies len bytes with %XX decoded; control characters (also decoded ones) are refused. */
static int decode(const char *s, size_t len, char **ret_text)
{
    AUTO_FREE char *out = malloc(len + 1);
    if (!out) return ERR_NOMEM;
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        char c = s[i];
        if (c == '%') {
            if (len - i < 3 || hex_digit(s[i + 1]) < 0 || hex_digit(s[i + 2]) < 0) return ERR_INVALID;
            c = (char)(hex_digit(s[i + 1]) * 16 + hex_digit(s[i + 2]));
            i += 2;
        }
        if (iscntrl((unsigned char)c)) return ERR_INVALID;
        out[n++] = c;
    }
    out[n] = '\0';
    if (n == 0) return ERR_INVALID;
    *ret_text = TAKE(out);
    return 0;
}

/* Reads a decimal number in 0..max that fills s..end. */
static int number(const char *s, const char *end, unsigned max, unsigned *ret_number)
{
    unsigned value = 0;
    if (s == end || end - s > 5) return ERR_INVALID;
    for (; s < end; s++) {
        if (*s < '0' || *s > '9') return ERR_INVALID;
        value = value * 10 + (unsigned)(*s - '0');
    }
    if (value > max) return ERR_INVALID;
    *ret_number = value;
    return 0;
}

/* Takes "user@" off the front of the authority s..end. */
static int parse_user(struct redis_url *u, const char **s, const char *end)
{
    const char *at = memchr(*s, '@', (size_t)(end - *s));
    if (!at) return 0;
    if (memchr(*s, ':', (size_t)(at - *s))) return ERR_INVALID; /* a password */
    int rc = at > *s ? decode(*s, (size_t)(at - *s), &u->user) : 0;
    *s = at + 1;
    return rc;
}

static int parse_authority(struct redis_url *u, const char *s, const char *end)
{
    int rc = parse_user(u, &s, end);
    if (rc < 0) return rc;
    const char *host = s, *host_end, *rest;
    if (s < end && *s == '[') {
        host = s + 1;
        host_end = memchr(host, ']', (size_t)(end - host));
        if (!host_end) return ERR_INVALID;
        rest = host_end + 1;
    } else {
        host_end = memchr(s, ':', (size_t)(end - s));
        if (!host_end) host_end = end;
        rest = host_end;
    }
    u->port = PORT_DEFAULT;
    if (rest < end) {
        if (*rest != ':' || number(rest + 1, end, 65535, &u->port) < 0 || u->port == 0) return ERR_INVALID;
    }
    return decode(host, (size_t)(host_end - host), &u->host);
}

static int parse_tcp(struct redis_url *u, const char *s)
{
    if (strchr(s, '?') || strchr(s, '#')) return ERR_INVALID;
    const char *end = s + strcspn(s, "/");
    if (*end == '/' && end[1] != '\0') {
        int rc = number(end + 1, end + strlen(end), DB_MAX, &u->db);
        if (rc < 0) return rc;
    }
    return parse_authority(u, s, end);
}

static int parse_unix(struct redis_url *u, const char *s)
{
    const char *path = strchr(s, '/');
    if (!path) return ERR_INVALID;
    int rc = parse_user(u, &s, path);
    if (rc < 0) return rc;
    if (s != path) return ERR_INVALID;
    const char *end = path + strcspn(path, "?");
    if (*end == '?') {
        if (strncmp(end, "?db=", 4) != 0) return ERR_INVALID;
        rc = number(end + 4, end + strlen(end), DB_MAX, &u->db);
        if (rc < 0) return rc;
    }
    return decode(path, (size_t)(end - path), &u->path);
}

int redis_url_parse(const char *url, struct redis_url *ret_url)
{
    struct redis_url u = {0};
    int rc = ERR_INVALID;
    if (strncmp(url, "redis://", 8) == 0) {
        rc = parse_tcp(&u, url + 8);
    } else if (strncmp(url, "rediss://", 9) == 0) {
        u.tls = true;
        rc = parse_tcp(&u, url + 9);
    } else if (strncmp(url, "unix://", 7) == 0) {
        rc = parse_unix(&u, url + 7);
    }
    if (rc < 0) {
        redis_url_done(&u);
        return rc;
    }
    *ret_url = u;
    return 0;
}

void redis_url_done(struct redis_url *u)
{
    free(u->host);
    free(u->path);
    free(u->user);
    *u = (struct redis_url){0};
}
