#include "lib/http_valid.h"

#include <string.h>
#include <strings.h>

enum { METHOD_MAX = 16, URL_MAX = 8192, HEADERS_MAX = 64 };

bool http_method_is_valid(const char *method)
{
    size_t len = strlen(method);
    return len >= 1 && len < METHOD_MAX && strspn(method, "ABCDEFGHIJKLMNOPQRSTUVWXYZ") == len;
}

bool http_url_is_valid(const char *url)
{
    if (strncasecmp(url, "http://", 7) != 0 && strncasecmp(url, "https://", 8) != 0) return false;
    size_t len = 0;
    for (; url[len]; len++)
        if ((unsigned char)url[len] <= ' ' || url[len] == 0x7f) return false;
    return len <= URL_MAX;
}

/* "Name: value" with a value: libcurl drops a header without one, after it was signed perhaps. */
static bool header_is_valid(const char *header)
{
    const char *colon = strchr(header, ':');
    if (!colon || colon == header || strpbrk(header, "\r\n")) return false;
    return colon[1 + strspn(colon + 1, " \t")] != '\0';
}

bool http_headers_are_valid(const char *const *headers, unsigned *ret_count, size_t *ret_bytes)
{
    *ret_count = 0;
    *ret_bytes = 0;
    for (; headers && *headers; headers++) {
        if (!header_is_valid(*headers) || ++*ret_count > HEADERS_MAX) return false;
        *ret_bytes += strlen(*headers) + 1;
    }
    return true;
}
