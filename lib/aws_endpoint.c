/* Endpoints by partition: one table, looked up by the region's prefix. China's IAM is signed with cn-north-1 although
 * the partition's default region is another one; a key of one partition is unknown (InvalidClientTokenId) in all
 * others. */
#include "lib/aws_endpoint.h"

#include "lib/err.h"

#include <stdio.h>
#include <string.h>

static const struct partition {
    const char *name, *prefix, *iam_host, *iam_region, *suffix;
} partitions[] = {
    {"aws-cn", "cn-", "iam.cn-north-1.amazonaws.com.cn", "cn-north-1", "amazonaws.com.cn"},
    {"aws-us-gov", "us-gov-", "iam.us-gov.amazonaws.com", "us-gov-west-1", "amazonaws.com"},
    {"aws-eusc", "eusc-", "iam.eusc-de-east-1.amazonaws.eu", "eusc-de-east-1", "amazonaws.eu"},
    {"aws-iso-b", "us-isob-", "iam.us-isob-east-1.sc2s.sgov.gov", "us-isob-east-1", "sc2s.sgov.gov"},
    {"aws-iso-e", "eu-isoe-", "iam.eu-isoe-west-1.cloud.adc-e.uk", "eu-isoe-west-1", "cloud.adc-e.uk"},
    {"aws-iso-f", "us-isof-", "iam.us-isof-south-1.csp.hci.ic.gov", "us-isof-south-1", "csp.hci.ic.gov"},
    {"aws-iso", "us-iso-", "iam.us-iso-east-1.c2s.ic.gov", "us-iso-east-1", "c2s.ic.gov"},
    {"aws", "", "iam.amazonaws.com", "us-east-1", "amazonaws.com"}, /* last: matches every region */
};

static const struct partition *by_name(const char *name)
{
    for (size_t i = 0; i < ARRAY_LEN(partitions); i++)
        if (strcmp(partitions[i].name, name) == 0) return &partitions[i];
    return NULL;
}

static const struct partition *by_region(const char *region)
{
    const struct partition *p = partitions;
    while (strncmp(region, p->prefix, strlen(p->prefix)) != 0) p++;
    return p;
}

const char *aws_partition_of(const char *region)
{
    return by_region(region)->name;
}

const char *aws_partition_iam_region(const char *partition)
{
    const struct partition *p = by_name(partition);
    return p ? p->iam_region : NULL;
}

const char *aws_partition_suffix(const char *partition)
{
    const struct partition *p = by_name(partition);
    return p ? p->suffix : NULL;
}

bool aws_region_valid(const char *region)
{
    size_t n = region ? strspn(region, "abcdefghijklmnopqrstuvwxyz0123456789-") : 0;
    return n > 0 && n < AWS_REGION_MAX && region[n] == '\0';
}

bool aws_bucket_name_valid(const char *bucket)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyz0123456789.-ABCDEFGHIJKLMNOPQRSTUVWXYZ_";
    size_t n = bucket ? strspn(bucket, allowed) : 0;
    if (n < 3 || n > 255 || bucket[n] != '\0') return false;
    return bucket[0] != '.' && bucket[0] != '-'; /* "." and ".." are path segments */
}

/* Is the name a single DNS label, which a wildcard certificate covers? */
static bool is_label(const char *bucket)
{
    size_t n = strspn(bucket, "abcdefghijklmnopqrstuvwxyz0123456789-");
    return bucket[n] == '\0' && n <= 63;
}

static int printed(int len, size_t size)
{
    return len < 0 || (size_t)len >= size ? ERR_TOO_LARGE : 0;
}

/* Is the host of a URL an address, which no name can be put in front of? host: what follows "://". */
static bool is_address(const char *host)
{
    size_t len = strcspn(host, ":/"), digits = strspn(host, "0123456789.");
    return *host == '[' || (len > 0 && digits >= len);
}

/* Takes "https://host[:port][/base]" apart: the Host header as libcurl writes it, the base path without a final slash.
 */
static int split_url(const char *url, char *host, size_t host_max, char *base, size_t base_max)
{
    bool https = strncmp(url, "https://", 8) == 0;
    if (!https && strncmp(url, "http://", 7) != 0) return ERR_INVALID;
    const char *at = url + (https ? 8 : 7);
    size_t len = strcspn(at, "/?#");
    if (len == 0 || memchr(at, '@', len) || strpbrk(at + len, "?#")) return ERR_INVALID;
    const char *path = at + len;
    size_t path_len = strlen(path);
    while (path_len && path[path_len - 1] == '/') path_len--;
    const char *own_port = https ? ":443" : ":80";
    size_t port_len = strlen(own_port);
    if (len > port_len && memcmp(at + len - port_len, own_port, port_len) == 0) len -= port_len;
    int rc = printed(snprintf(host, host_max, "%.*s", (int)len, at), host_max);
    return rc ? rc : printed(snprintf(base, base_max, "%.*s", (int)path_len, path), base_max);
}

static int fill(struct aws_endpoint *e, const char *base_url, const char *path, const char *query, const char *region)
{
    char base[128];
    int rc = split_url(base_url, e->host, sizeof(e->host), base, sizeof(base));
    if (!rc) rc = printed(snprintf(e->path, sizeof(e->path), "%s%s", base, path), sizeof(e->path));
    bool https = strncmp(base_url, "https", 5) == 0;
    if (!rc)
        rc = printed(snprintf(e->url, sizeof(e->url), "%s://%s%s%s%s", https ? "https" : "http", e->host, e->path,
                              query ? "?" : "", query ? query : ""),
                     sizeof(e->url));
    return rc ? rc : printed(snprintf(e->region, sizeof(e->region), "%s", region), sizeof(e->region));
}

int aws_endpoint_iam(const char *partition, const char *override, struct aws_endpoint *ret)
{
    const struct partition *p = by_name(partition);
    if (!p) return ERR_INVALID;
    char url[128];
    (void)snprintf(url, sizeof(url), "https://%s", p->iam_host);
    return fill(ret, override ? override : url, "/", NULL, p->iam_region);
}

int aws_endpoint_sts(const char *region, const char *override, struct aws_endpoint *ret)
{
    if (!aws_region_valid(region)) return ERR_INVALID;
    char url[160];
    (void)snprintf(url, sizeof(url), "https://sts.%s.%s", region, by_region(region)->suffix);
    return fill(ret, override ? override : url, "/", NULL, region);
}

int aws_endpoint_bucket(const char *bucket, const char *region, const char *override, bool path_style,
                        const char *query, struct aws_endpoint *ret)
{
    if (!aws_bucket_name_valid(bucket) || !aws_region_valid(region)) return ERR_INVALID;
    char own[128], url[AWS_URL_MAX], path[260] = "/";
    (void)snprintf(own, sizeof(own), "https://s3.%s.%s", region, by_region(region)->suffix);
    const char *base = override ? override : own, *host = strstr(base, "://");
    if (!host) return ERR_INVALID;
    host += 3;
    path_style |= !is_label(bucket) || is_address(host);
    if (path_style) (void)snprintf(path, sizeof(path), "/%s", bucket);
    int rc = printed(snprintf(url, sizeof(url), "%.*s%s%s%s", (int)(host - base), base, path_style ? "" : bucket,
                              path_style ? "" : ".", host),
                     sizeof(url));
    return rc ? rc : fill(ret, url, path, query, region);
}
