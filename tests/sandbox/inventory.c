/* Files that tell others about the simulated world: addresses, operator keys, the inventory of licences.
 *
 * Each file appears whole: it is written under another name and renamed. Files with secrets have mode 0600. */
#include "tests/sandbox/inventory.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int write_file(const char *path, const struct buf *b, mode_t mode)
{
    char temporary[PATH_MAX];
    if ((size_t)snprintf(temporary, sizeof(temporary), "%s.new", path) >= sizeof(temporary)) {
        errno = ENAMETOOLONG;
        return -1;
    }
    (void)unlink(temporary);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (fd < 0) return -1;
    size_t at = 0;
    while (at < b->len) {
        ssize_t n = write(fd, b->data + at, b->len - at);
        if (n <= 0) break;
        at += (size_t)n;
    }
    if (close(fd) < 0 || at < b->len) return -1;
    return rename(temporary, path);
}

static void put_key(struct buf *b, const char *name, const struct key *k)
{
    buf_printf(b, "\"%s\":{\"access_key_id\":\"%s\",\"secret_access_key\":\"%s\"}", name, k->id, k->secret);
}

int inventory_endpoints(const struct world *w, const char *path)
{
    struct buf b = {0};
    buf_printf(&b, "{\"pid\":%ld,\"port\":%d,\"tls_port\":%d,", (long)getpid(), w->port, w->tls_port);
    if (w->port)
        buf_printf(&b, "\"url\":\"http://127.0.0.1:%d\",", w->port);
    else
        buf_puts(&b, "\"url\":null,");
    if (w->tls_port)
        buf_printf(&b, "\"tls_url\":\"https://127.0.0.1:%d\",", w->tls_port);
    else
        buf_puts(&b, "\"tls_url\":null,");
    buf_printf(&b, "\"region\":\"%s\",\"role_name\":\"%s\",\"external_id\":", w->region, w->role_name);
    buf_json(&b, w->external_id);
    buf_putc(&b, ',');
    put_key(&b, "admin", w->accounts[0].operator_key);
    buf_putc(&b, ',');
    put_key(&b, "rotator", w->rotator_key);
    buf_puts(&b, ",\"accounts\":[");
    for (size_t i = 0; i < w->n_accounts; i++) {
        const struct account *a = &w->accounts[i];
        buf_printf(&b, "%s{\"id\":\"%s\",\"role_arn\":\"arn:aws:iam::%s:role/%s\",", i ? "," : "", a->id, a->id,
                   w->role_name);
        put_key(&b, "admin", a->operator_key);
        buf_putc(&b, '}');
    }
    buf_puts(&b, "]}\n");
    int rc = write_file(path, &b, 0600);
    buf_done(&b);
    return rc;
}

static int write_csv(const struct world *w, const char *dir, const char *credentials)
{
    char path[PATH_MAX];
    struct buf b = {0};
    buf_puts(&b, "licence,account,user,bucket,region,instance_url,time_zone,policy,profile,credentials\n");
    for (size_t i = 0; i < w->n_licences; i++) {
        const struct licence *l = w->licences[i];
        buf_printf(&b, "%s,%s,%s,%s,%s,%s://127.0.0.1:%d/%s,%s,default,%s,file:%s#%s\n", l->name, l->user->account->id,
                   l->user->name, l->bucket, l->region, w->port ? "http" : "https", w->port ? w->port : w->tls_port,
                   l->name, w->time_zone, licence_profile(l), credentials, l->name);
    }
    int n = snprintf(path, sizeof(path), "%s/inventory.csv", dir);
    int rc = n > 0 && (size_t)n < sizeof(path) ? write_file(path, &b, 0644) : -1;
    buf_done(&b);
    return rc;
}

static int write_credentials(const struct world *w, const char *path)
{
    struct buf b = {0};
    buf_puts(&b, "{");
    for (size_t i = 0; i < w->n_licences; i++) {
        const struct licence *l = w->licences[i];
        buf_puts(&b, i ? ",\n" : "\n");
        buf_json(&b, l->name);
        buf_printf(&b, ": {\"user\": \"keyroll-%s\", \"password\": \"%s\"}", l->lower, l->password);
    }
    buf_puts(&b, "\n}\n");
    int rc = write_file(path, &b, 0600);
    buf_done(&b);
    return rc;
}

int inventory_write(struct world *w, const char *dir)
{
    if (mkdir(dir, 0755) < 0 && errno != EEXIST) return -1;
    char *whole = realpath(dir, NULL), path[PATH_MAX];
    if (!whole) return -1;
    int n = snprintf(path, sizeof(path), "%s/credentials", whole);
    free(whole);
    if (n < 0 || (size_t)n >= sizeof(path)) return -1;
    if (write_credentials(w, path) < 0) return -1;
    snprintf(w->credentials, sizeof(w->credentials), "%s", path);
    return write_csv(w, dir, path);
}
