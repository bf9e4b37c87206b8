/* Each library is asked through the one file that includes it. */
#include "producer/versions.h"

#include "lib/cleanup.h"
#include "lib/http.h"
#include "lib/http_server.h"
#include "lib/kafka_out.h"
#include "lib/loop.h"
#include "lib/redis.h"
#include "lib/xml.h"

#include <openssl/crypto.h>

static const char *openssl_version(void)
{
    return OpenSSL_version(OPENSSL_VERSION_STRING);
}

static const struct {
    const char *name;
    const char *(*version)(void);
} libraries[] = {{"librdkafka", kafka_version},      {"libcurl", http_library_version},
                 {"OpenSSL", openssl_version},       {"jansson", jansson_version_str},
                 {"hiredis", redis_library_version}, {"libuv", loop_library_version},
                 {"expat", xml_library_version},     {"libmicrohttpd", http_server_library_version}};

json_t *versions_json(void)
{
    json_t *o = json_object();
    if (!o) return NULL;
    for (size_t i = 0; i < ARRAY_LEN(libraries); i++)
        json_object_set_new(o, libraries[i].name, json_string(libraries[i].version()));
    return o;
}
