/* The libraries that talk to the network are included by one file each, so that their versions are asked of the loader:
 * which file was really loaded is what a person wants to know anyway. */
#include "producer/versions.h"

#include "lib/kafka_out.h"

#include <link.h>
#include <openssl/crypto.h>
#include <string.h>

static const struct {
    const char *file, *name;
} shown[] = {{"libcurl", "libcurl"},
             {"libhiredis", "hiredis"},
             {"libuv", "libuv"},
             {"libmicrohttpd", "libmicrohttpd"},
             {"libexpat", "expat"}};

/* "/usr/lib/.../libcurl.so.4.8.0" -> "libcurl.so.4.8.0": the link's target carries the version. */
static int add_loaded(struct dl_phdr_info *info, size_t size, void *arg)
{
    json_t *o = arg;
    (void)size;
    const char *slash = info->dlpi_name ? strrchr(info->dlpi_name, '/') : NULL;
    if (!slash) return 0;
    for (size_t i = 0; i < sizeof shown / sizeof shown[0]; i++) {
        size_t len = strlen(shown[i].file);
        if (strncmp(slash + 1, shown[i].file, len) != 0 || (slash[1 + len] != '.' && slash[1 + len] != '-')) continue;
        char *real = realpath(info->dlpi_name, NULL);
        const char *base = real ? strrchr(real, '/') : NULL;
        json_object_set_new(o, shown[i].name, json_string(base ? base + 1 : slash + 1));
        free(real);
    }
    return 0;
}

json_t *versions_json(void)
{
    json_t *o = json_object();
    if (!o) return NULL;
    json_object_set_new(o, "librdkafka", json_string(kafka_version()));
    json_object_set_new(o, "jansson", json_string(jansson_version_str()));
    json_object_set_new(o, "OpenSSL", json_string(OpenSSL_version(OPENSSL_VERSION)));
    dl_iterate_phdr(add_loaded, o);
    return o;
}
