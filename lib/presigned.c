/* Presigned S3 URLs: reads which access key id signed one. An instance hands these out for its attachments, so they
 * show the key it uses without any undocumented call. The URL comes from outside: nothing is copied that was not
 * checked, and whether it may be fetched is decided here by scheme and host alone (its host may be any S3 address, in
 * the instance's own region and partition). Limits: SigV4 only (the old AWSAccessKeyId form is not read); the signature
 * is not checked, we do not hold the secret then. */
#include "lib/presigned.h"

#include "lib/clock.h"
#include "lib/err.h"
#include "lib/url.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#define URL_MAX_BYTES   8192
#define VALUE_MAX_BYTES 256

bool presigned_key_id_shown(const char *text)
{
    size_t n = strspn(text, "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_");
    return n >= 16 && n <= 128 && text[n] == '\0';
}

static bool is_loopback(const char *host, size_t len)
{
    char name[URL_HOST_MAX + 2]; /* and brackets */
    if (len == 0 || len >= sizeof(name)) return false;
    memcpy(name, host, len);
    name[len] = '\0';
    return url_host_is_loopback(name);
}

int presigned_check_url(const char *url, bool *ret_tls, bool *ret_loopback)
{
    bool tls = strncasecmp(url, "https://", 8) == 0;
    if (!tls && strncasecmp(url, "http://", 7) != 0) return ERR_SYNTAX;
    size_t len = strlen(url);
    if (len > URL_MAX_BYTES) return ERR_SYNTAX;
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)url[i] <= ' ' || (unsigned char)url[i] >= 0x7f || strchr("\"<>\\^`{|}", url[i]))
            return ERR_SYNTAX;
    const char *host = url + (tls ? 8 : 7);
    size_t authority = strcspn(host, "/?#");
    if (memchr(host, '@', authority)) return ERR_SYNTAX; /* user info: credentials in a URL, or a disguised host */
    size_t host_len = host[0] == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":/?#");
    if (host_len == 0 || host_len > authority) return ERR_SYNTAX;
    const char *port = host + host_len;
    size_t port_len = authority - host_len;
    if (port_len && (port[0] != ':' || strspn(port + 1, "0123456789") != port_len - 1 || port_len > 6))
        return ERR_SYNTAX;
    *ret_tls = tls;
    *ret_loopback = is_loopback(host, host_len);
    return 0;
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Percent-decodes into out; ERR_SYNTAX when it is malformed, too long or decodes to a control character. */
static int decode(const char *text, size_t len, char out[VALUE_MAX_BYTES])
{
    size_t n = 0;
    for (size_t i = 0; i < len; i++) {
        int c = (unsigned char)text[i];
        if (c == '%') {
            if (i + 2 >= len) return ERR_SYNTAX;
            int high = hex_value(text[i + 1]), low = hex_value(text[i + 2]);
            if (high < 0 || low < 0) return ERR_SYNTAX;
            c = high << 4 | low;
            i += 2;
        }
        if (c < 0x20 || c == 0x7f || n + 1 >= VALUE_MAX_BYTES) return ERR_SYNTAX;
        out[n++] = (char)c;
    }
    out[n] = '\0';
    return 0;
}

/* One parameter by name, decoded; *ret_n counts how often it is there. */
static int find_param(const char *query, const char *name, char out[VALUE_MAX_BYTES], unsigned *ret_n)
{
    size_t name_len = strlen(name);
    *ret_n = 0;
    for (const char *at = query; *at && *at != '#';) {
        size_t len = strcspn(at, "&#");
        size_t eq = strcspn(at, "=&#");
        if (eq == name_len && eq < len && strncasecmp(at, name, eq) == 0) {
            int rc = decode(at + eq + 1, len - eq - 1, out);
            if (rc < 0) return rc;
            ++*ret_n;
        }
        at += len;
        if (*at == '&') at++;
    }
    return 0;
}

/* KEYID/20261123/eu-west-1/s3/aws4_request */
static int read_credential(char *value, struct presigned *ret)
{
    char *slash = strchr(value, '/');
    if (!slash) return ERR_SYNTAX;
    *slash = '\0';
    if (!presigned_key_id_shown(value)) return ERR_SYNTAX;
    memcpy(ret->key_id, value, strlen(value) + 1); /* 128 at most, checked above */
    char *region = strchr(slash + 1, '/');
    if (!region) return 0;
    region++;
    size_t len = strcspn(region, "/");
    if (len < sizeof(ret->region)) memcpy(ret->region, region, len);
    return 0;
}

/* 20261123T085300Z */
static int64_t read_date(const char *value)
{
    char iso[32];
    if (strlen(value) != 16 || value[8] != 'T' || value[15] != 'Z') return TIME_NONE;
    (void)snprintf(iso, sizeof(iso), "%.4s-%.2s-%.2sT%.2s:%.2s:%.2sZ", value, value + 4, value + 6, value + 9,
                   value + 11, value + 13);
    return time_parse(iso);
}

int presigned_parse(const char *url, struct presigned *ret)
{
    struct presigned p = {.signed_ms = TIME_NONE, .expires_s = -1};
    char value[VALUE_MAX_BYTES];
    bool tls, loopback;
    unsigned n;
    int rc = presigned_check_url(url, &tls, &loopback);
    const char *query = rc < 0 ? NULL : strchr(url, '?');
    if (!query) return ERR_SYNTAX;
    query++;
    rc = find_param(query, "X-Amz-Credential", value, &n);
    if (rc < 0 || n != 1) return ERR_SYNTAX;
    rc = read_credential(value, &p);
    if (rc < 0) return rc;
    if (find_param(query, "X-Amz-Date", value, &n) == 0 && n == 1) p.signed_ms = read_date(value);
    if (find_param(query, "X-Amz-Expires", value, &n) == 0 && n == 1 && *value && strlen(value) <= 9 &&
        value[strspn(value, "0123456789")] == '\0')
        p.expires_s = strtoll(value, NULL, 10); /* at most nine digits */
    p.may_fetch = tls || loopback;
    *ret = p;
    return 0;
}
