/* Presigned URLs that an instance shows; addresses of instances. */
#include "lib/http_head.h"
#include "lib/presigned.h"
#include "lib/url.h"
#include "tests/fuzz/fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_FREE char *url = fuzz_text(data, size);
    struct presigned p;
    bool tls = false, loopback = false;
    char host[URL_HOST_MAX];
    if (presigned_parse(url, &p) == 0) {
        FUZZ_REQUIRE(aws_key_id_valid(p.key_id));
        FUZZ_REQUIRE(!p.may_fetch || strncasecmp(url, "http", 4) == 0);
    }
    bool good = presigned_check_url(url, &tls, &loopback) == 0;
    if (url_host(url, host)) {
        FUZZ_REQUIRE(url_valid(url));
        fuzz_touch(host);
    }
    /* The two judges of addresses agree: what one calls loopback the other does not call foreign. */
    if (good && url_valid(url)) FUZZ_REQUIRE(loopback == url_is_loopback(url));
    (void)url_host_is_loopback(url);
    (void)http_host_is_local(url, size);
    (void)presigned_key_id_shown(url);
    return 0;
}
